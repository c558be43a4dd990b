%% Random terms, for those who throw them at everything: what nobody expects, and what is nearly right. The caller seeds
%% `rand' (py_test:seed/0). No atom is made here.
-module(py_test_terms).

-export([term/0, term/1, mutate/1, pid/0, one_of/1]).

-spec term() -> term().
term() -> term(3).

%% A term with at most Depth levels.
-spec term(non_neg_integer()) -> term().
term(0) -> leaf();
term(Depth) ->
    case rand:uniform(9) of
        N when N =< 5 -> leaf();
        6 -> [term(Depth - 1) || _ <- some(4)];
        7 -> list_to_tuple([term(Depth - 1) || _ <- some(4)]);
        8 -> maps:from_list([{term(Depth - 1), term(Depth - 1)} || _ <- some(3)]);
        9 -> [term(Depth - 1) | leaf()]
    end.

leaf() ->
    case rand:uniform(10) of
        1 -> atom();
        2 -> integer();
        3 -> one_of([0.0, -1.5, 1.0e300]);
        4 -> binary();
        5 -> one_of([make_ref(), alias()]);
        6 -> pid();
        7 -> one_of([fun() -> ok end, fun(X) -> X end, fun(X, _) -> X end, fun lists:append/2]);
        8 -> one_of([[], {}, #{}, <<1:3>>, "text", [233, 20013], [a | b], [{a, 1}]]);
        9 -> hd(erlang:ports());
        10 -> one_of([atom(), integer()])
    end.

atom() ->
    one_of([ok, error, true, false, undefined, none, infinity, timeout, '', 'with space', shared, owner, call, 'été',
            kwargs, mode, contexts_, '_', '$1', 'EXIT', 'DOWN', normal, killed, shutdown]).

%% Small ones, since the number of contexts is one of them; those at the bounds of 32 and 64 bits; and beyond.
integer() ->
    case rand:uniform(4) of
        1 -> rand:uniform(4) - 2;
        2 -> one_of([-1, 1]) * ((1 bsl one_of([16, 31, 32, 40, 62, 63, 64, 80, 200])) - one_of([0, 1]));
        3 -> -rand:uniform(1 bsl 20);
        4 -> 1025 + rand:uniform(1 bsl 20)
    end.

binary() ->
    case rand:uniform(4) of
        1 -> <<>>;
        2 -> one_of([<<"name">>, <<"a.b">>, <<"1 +">>, <<"x = ">>, <<"été"/utf8>>, <<"__main__">>, <<0>>, <<255>>]);
        3 -> rand:bytes(rand:uniform(20));
        4 -> binary:copy(<<"long">>, rand:uniform(500))
    end.

%% Of this node, dead or alive but none of the application's, or of a node that does not exist.
-spec pid() -> pid().
pid() ->
    case rand:uniform(4) of
        1 -> self();
        2 -> one_of([whereis(init), whereis(kernel_sup), whereis(code_server), whereis(user)]);
        3 -> spawn(fun() -> ok end);
        4 -> binary_to_term(<<131, 88, 100, 10:16, "other@host", 77:32, 0:32, 1:32>>)
    end.

%% The term with one of its parts replaced.
-spec mutate(term()) -> term().
mutate(Tuple) when is_tuple(Tuple), tuple_size(Tuple) > 0 ->
    case rand:uniform(8) of
        1 -> term();
        2 -> list_to_tuple([term() | tuple_to_list(Tuple)]);
        3 -> list_to_tuple(tl(tuple_to_list(Tuple)));
        _ ->
            At = rand:uniform(tuple_size(Tuple)),
            setelement(At, Tuple, mutate(element(At, Tuple)))
    end;
mutate(Map) when map_size(Map) > 0 ->
    Key = one_of(maps:keys(Map)),
    case rand:uniform(4) of
        1 -> maps:remove(Key, Map);
        2 -> Map#{term() => term()};
        _ -> Map#{Key := mutate(maps:get(Key, Map))}
    end;
mutate([Head | Tail]) ->
    case rand:uniform(3) of
        1 -> [mutate(Head) | Tail];
        2 -> [Head | mutate(Tail)];
        3 -> term()
    end;
mutate(_) ->
    term().

-spec one_of([Term, ...]) -> Term.
one_of(Terms) -> lists:nth(rand:uniform(length(Terms)), Terms).

some(Most) -> lists:seq(1, rand:uniform(Most + 1) - 1).
