%% Conversion of random nested terms: what comes back is what the table of types says, for thousands of terms.
-module(types_random_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() -> [round_trips, round_trips_from_many_processes, round_trips_in_owngil].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

%% Proves that random terms come back as the table says. ERLANG_PYTHON_TEST_SEED repeats a run.
round_trips(_) ->
    rand:seed(exsss, py_test:seed()),
    check_terms(1500, default).

%% Proves the same with many callers at once, each with its own terms.
round_trips_from_many_processes(_) ->
    Seed = py_test:seed(),
    Jobs = [py_test:async(fun() -> rand:seed(exsss, Seed + N), check_terms(100, default) end) || N <- lists:seq(1, 20)],
    _ = [py_test:join(Job) || Job <- Jobs],
    ok.

%% Proves the same in interpreters with their own GIL.
round_trips_in_owngil(_) ->
    py_test_modes:with_owngil(fun() ->
        rand:seed(exsss, py_test:seed()),
        py_test:with_pool(1, #{mode => owngil}, fun(Pool) -> check_terms(500, Pool) end)
    end).

check_terms(Count, Pool) ->
    _ = [begin
             Term = term(5),
             Expected = expected(Term),
             case py:call(Pool, probe, echo, [Term]) of
                 {ok, Expected} -> ok;
                 Other -> ct:fail({sent, Term, expected, Expected, got, Other})
             end
         end || _ <- lists:seq(1, Count)],
    ok.

%% A random term with at most Depth levels.
term(0) -> leaf();
term(Depth) ->
    case rand:uniform(10) of
        N when N =< 4 -> leaf();
        5 -> [term(Depth - 1) || _ <- some(6)];
        6 -> [rand:uniform(300) - 1 || _ <- some(20)];
        7 -> list_to_tuple([term(Depth - 1) || _ <- some(5)]);
        8 -> maps:from_list([{{rand:uniform(1 bsl 70), key()}, term(Depth - 1)} || _ <- some(5)]);
        9 -> maps:from_list([{key(), term(Depth - 1)} || _ <- some(8)]);
        10 -> [term(Depth - 1) | opaque()]
    end.

leaf() ->
    case rand:uniform(13) of
        1 -> rand:uniform(1000) - 500;
        2 -> (rand:uniform(1 bsl 64) - (1 bsl 63)) bsl (rand:uniform(8) - 4);
        3 -> (rand:uniform(1 bsl 64) - (1 bsl 63)) bsl rand:uniform(3000);
        4 -> float();
        5 -> text();
        6 -> rand:bytes(rand:uniform(40) - 1);
        7 -> {bytes, text()};
        8 -> one_of([true, false, none, nil, undefined]);
        9 -> one_of([hello, 'with space', 'été', '', 'None']);
        10 -> one_of([self(), make_ref()]);
        11 -> opaque();
        12 -> [];
        13 -> binary:copy(text(), rand:uniform(50))
    end.

%% A tail that is no list makes the whole list opaque.
opaque() -> one_of([fun lists:map/2, <<5:3>>, <<1, 2, 3:5>>, [a | b], [1, #{k => nil} | {t}], hd(erlang:ports())]).

%% Keys that stay different in Python: texts and integers, never both 1 and 1.0.
key() -> one_of([text(), rand:uniform(1 bsl 66), <<"k">>]).

text() -> unicode:characters_to_binary([code_point() || _ <- some(12)]).

code_point() ->
    case rand:uniform(16#10FFFF) of
        P when P >= 16#D800, P =< 16#DFFF -> $s;
        P when P rem 3 =:= 0 -> P;
        P -> P rem 128
    end.

float() ->
    case <<(rand:uniform(1 bsl 64) - 1):64>> of
        <<F:64/float>> -> F;
        _ -> -0.0
    end.

some(Max) -> lists:seq(1, rand:uniform(Max + 1) - 1).

one_of(Choices) -> lists:nth(rand:uniform(length(Choices)), Choices).

%% What the table of types says of a term that goes to Python and back.
expected(A) when A =:= true; A =:= false -> A;
expected(A) when A =:= none; A =:= nil; A =:= undefined -> none;
expected(A) when is_atom(A) -> atom_to_binary(A);
expected({bytes, B}) when is_binary(B) -> B;
expected(T) when is_tuple(T) -> list_to_tuple([expected(E) || E <- tuple_to_list(T)]);
expected(M) when is_map(M) -> maps:from_list([{expected(K), expected(V)} || {K, V} <- maps:to_list(M)]);
expected(L) when is_list(L) ->
    try length(L) of
        _ -> [expected(E) || E <- L]
    catch
        error:badarg -> L
    end;
expected(Other) -> Other.
