%% What Python and Erlang say to each other in callbacks: values of every type and size.
-module(callback_values_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [every_type_both_ways, random_values_both_ways, large_values, values_over_the_limit, result_python_cannot_hold,
      result_erlang_cannot_hold, new_atoms, names_that_are_no_str, atoms_of_no_str].

init_per_suite(Config) -> ok = py_test:start([{max_frame_bytes, 8 bsl 20}]), Config.
end_per_suite(_Config) -> py_test:stop().

end_per_testcase(_Case, _Config) ->
    py_test_callbacks:clean_up().

%% Proves that a value of every type comes to Erlang as an argument, and back as a result, as it is.
every_type_both_ways(_) ->
    ok = py:register_function(same, fun([Value]) -> Value end),
    Self = self(),
    ok = py:register_function(tell, fun([Value]) -> Self ! {told, Value}, ok end),
    Values = [0, -1, 255, 256, 1 bsl 70, -(1 bsl 200), 1.5, -0.0, true, false, none, [], [1, 2, 3], "abc", {}, {1},
              {<<"a">>, {<<"b">>, [none]}}, #{}, #{<<"b">> => [2]}, #{1 => {2, 3}}, <<>>, <<"text">>, <<0, 255, 254>>,
              <<"grüße"/utf8>>, self(), make_ref(), lists:seq(1, 1000), list_to_tuple(lists:seq(1, 300))],
    py_test_modes:in_each(fun(Ctx) ->
        _ = [begin
                 ?assertEqual({ok, Value}, py:call(Ctx, calling, call, [same, Value])),
                 {ok, _} = py:call(Ctx, calling, call, [tell, Value]),
                 receive {told, Told} -> ?assertEqual(Value, Told) end
             end || Value <- Values]
    end).

%% Proves the same of random nested values.
random_values_both_ways(_) ->
    ok = py:register_function(same, fun([Value]) -> Value end),
    _ = [begin
             Value = random(4),
             ?assertEqual({ok, Value}, py:call(calling, call, [same, Value]))
         end || _ <- lists:seq(1, 300)],
    ok.

%% Proves that arguments and results of several megabytes go in pieces, several at once, and none is mixed up.
large_values(_) ->
    ok = py:register_function(same, fun([Value]) -> Value end),
    Sizes = [1 bsl 20, (1 bsl 20) + 1, 3 bsl 20, 5 bsl 20],
    Jobs = [py_test:async(fun() ->
        _ = [begin
                 Value = binary:copy(<<N>>, Size),
                 ?assert({ok, Value} =:= py:call(calling, call, [same, Value]))
             end || Size <- Sizes],
        done
    end) || N <- lists:seq(1, 6)],
    _ = [?assertEqual(done, py_test:join(Job)) || Job <- Jobs],
    {ok, 3145728} = py:eval(<<"len(__import__('erlang').same(b'\\0' * (3 << 20)))">>).

%% Proves that values above max_frame_bytes raise an error that names the limit, and that the next call works.
values_over_the_limit(_) ->
    ok = py:register_function(size, fun([Value]) -> byte_size(Value) end),
    ok = py:register_function(make, fun([Size]) -> binary:copy(<<"x">>, Size) end),
    ok = py:register_function(boom, fun([Size]) -> error(binary:copy(<<"x">>, Size)) end),
    {error, {'ValueError', Text}} = py:eval(<<"__import__('erlang').size(b'x' * (9 << 20))">>),
    ?assertMatch({match, _}, re:run(Text, "max_frame_bytes")),
    ?assertMatch({ok, #{<<"reason">> := {<<"too_large">>, _, 8388608}}}, py:call(calling, caught, [make, 9 bsl 20])),
    ?assertMatch({ok, #{<<"error_class">> := <<"error">>}}, py:call(calling, caught, [boom, 9 bsl 20])),
    ?assertEqual({ok, 10}, py:call(calling, call, [size, <<"0123456789">>])).

%% Proves that a result that Python cannot hold is a ConversionError for who called, at once.
result_python_cannot_hold(_) ->
    ok = py:register_function(make, fun([1]) -> deep(5000); ([2]) -> #{#{} => 1} end),
    py_test_modes:in_each(fun(Ctx) ->
        _ = [?assertMatch({ok, {<<"ConversionError">>, _}}, py:call(Ctx, calling, raised, [make, What]))
             || What <- [1, 2]],
        _ = [?assertMatch({error, {not_encodable, _}}, py:call(Ctx, calling, call, [make, What])) || What <- [1, 2]],
        ?assertEqual({ok, 4.0}, py:call(Ctx, math, sqrt, [16]))
    end).

%% Proves that arguments without a term fail before anything is called.
result_erlang_cannot_hold(_) ->
    Self = self(),
    ok = py:register_function(tell, fun(Args) -> Self ! {told, Args} end),
    ok = py:exec(<<"import erlang\ndeep = []\nfor _ in range(5000): deep = [deep]\n">>),
    ?assertMatch({error, _}, py:eval(<<"erlang.tell(deep)">>)),
    ?assertMatch({error, _}, py:eval(<<"erlang.tell(1, {1: 'a', 1.0: 'b', True: deep})">>)),
    receive {told, _} = Told -> error(Told) after 0 -> ok end,
    ?assertEqual({ok, 1}, py:eval(<<"1">>)).

%% Proves that atoms that the node did not have can be results of Erlang and arguments of Python, within the bound.
new_atoms(_) ->
    Self = self(),
    ok = py:register_function(tell, fun([Value]) -> Self ! {told, Value}, none end),
    Name = "callback_atom_" ++ integer_to_list(erlang:unique_integer([positive])),
    Code = unicode:characters_to_binary(["__import__('erlang').tell(__import__('erlang').Atom('", Name, "x'))"]),
    {ok, none} = py:eval(Code),
    receive {told, Told} -> ?assertEqual(list_to_atom(Name ++ "x"), Told) end,
    ok = py:register_function(fresh, fun([Text]) -> binary_to_atom(Text) end),
    ?assertEqual({ok, <<"fresh_", (list_to_binary(Name))/binary>>},
                 py:call(calling, call, [fresh, <<"fresh_", (list_to_binary(Name))/binary>>])).

%% Proves that a function is named by a str and by nothing else: what the package itself asks for has numbers, and no
%% number reaches that.
names_that_are_no_str(_) ->
    ok = py:state_store(kept, 1),
    ok = py:exec("
import asyncio
def refused(name):
    async def later(): return await erlang.async_call(name)
    found = []
    for use in (lambda: erlang.call(name), lambda: asyncio.run(later()), lambda: erlang.call(name, 'kept', 2)):
        try: found.append(use())
        except TypeError as error: found.append(str(error))
    return found
"),
    _ = [begin
             Text = iolist_to_binary(["an Erlang function is named by a str, not by ", Type]),
             ?assertEqual({ok, [Text, Text, Text]}, py:eval(["refused(", Name, ")"]))
         end || {Name, Type} <- [{"14", "int"}, {"2**80", "int"}, {"-1", "int"}, {"True", "bool"}, {"b'id'", "bytes"},
                                 {"None", "NoneType"}, {"1.0", "float"}, {"erlang.state_get", "function"}]],
    ?assertMatch({error, {'TypeError', _}}, py:eval("getattr(erlang, 14)")),
    ?assertEqual({ok, 1}, py:state_fetch(kept)),
    ok = py:state_clear().

%% Proves that what is no str makes no atom and finds no process, and takes nothing of the room for atoms.
atoms_of_no_str(_) ->
    _ = [?assertMatch({error, {'TypeError', <<What:2/binary, _/binary>>}}, py:eval([Function, "(", Value, ")"]))
         || Value <- ["b'no_atom_1'", "['no_atom_2']", "5", "None"],
            {Function, What} <- [{"erlang.atom", <<"an">>}, {"erlang.Atom", <<"an">>}, {"erlang.whereis", <<"a ">>}],
            %% Which takes bytes for the name of a process.
            {Function, Value} =/= {"erlang.whereis", "b'no_atom_1'"}],
    ?assertEqual({ok, none}, py:eval("erlang.whereis(b'no_atom_1')")),
    _ = [?assertError(badarg, binary_to_existing_atom(Name))
         || Name <- [<<"no_atom", "_1">>, <<"b'no_atom_1'">>, <<"['no_atom_2']">>]],
    ok.

%% Helpers.

deep(0) -> [];
deep(N) -> [deep(N - 1)].

random(0) -> rand:uniform(1000);
random(Depth) ->
    case rand:uniform(6) of
        1 -> rand:uniform(1 bsl 80);
        2 -> rand:normal();
        3 -> rand:bytes(rand:uniform(40));
        4 -> [random(Depth - 1) || _ <- lists:seq(1, rand:uniform(5))];
        5 -> list_to_tuple([random(Depth - 1) || _ <- lists:seq(1, rand:uniform(5))]);
        6 -> maps:from_list([{N, random(Depth - 1)} || N <- lists:seq(1, rand:uniform(4))])
    end.
