%% Chains of calls that cross where event loops are: coroutines of an older chain below a newer call, coroutines that hold
%% up their loop, loops that requests run on top of one another.
-module(crossing_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() -> [{group, worker}, {group, owngil}].

groups() ->
    py_test_modes:groups([coroutine_below_a_newer_call, coroutine_below_a_newer_loop, coroutines_that_cross,
                          a_loop_on_top_of_a_loop, loops_on_top_of_loops, variables_of_another_chain]).

init_per_suite(Config) -> Config.
end_per_suite(_Config) -> py_test:stop().

init_per_group(Mode, Config) -> py_test_modes:start_group(Mode, Config).
end_per_group(_Group, _Config) -> py_test:stop().

init_per_testcase(_Case, Config) ->
    %% From now on each context is in its event loop when it has nothing to do.
    _ = [{ok, 0} = py:async_await(py:async_call(Ctx, crossing, awaits, [0])) || Ctx <- py_test:contexts(default)],
    Config.

end_per_testcase(_Case, _Config) -> py_test_callbacks:clean_up().

%% Proves that a call that waits on top of a loop does not keep an older chain's coroutine waiting for what that chain
%% holds: the newer call is served there.
coroutine_below_a_newer_call(_) -> below(fun(C) -> py:call(C, erlang, call, [to_d]) end).

%% Proves the same for a call that waits in a loop of its own.
coroutine_below_a_newer_loop(_) ->
    _ = [below(fun(C) -> py:call(C, crossing, one, [Runner, to_d]) end) || Runner <- [erlang, asyncio]].

below(Newer) ->
    [C, D] = py_test:contexts(default),
    Self = self(),
    ok = py:register_function(to_c, fun([]) ->
        Ref = py:async_call(C, tasks, wait_gate, [<<"older">>]),
        Self ! begun,
        {ok, V} = py:async_await(Ref, infinity),
        V
    end),
    ok = py:register_function(to_d, fun(_) ->
        {ok, V} = py:call(D, math, sqrt, [4]),
        {ok, _} = py:call(C, tasks, open_gate, [<<"older">>]),
        V
    end),
    {ok, none} = py:call(C, tasks, close_gate, [<<"older">>]),
    Older = py_test:async(fun() -> py:call(D, erlang, call, [to_c]) end),
    receive begun -> ok end,
    ok = py_test:eventually(fun() -> py:call(C, tasks, pending, []) =:= {ok, 1} end),
    ?assertEqual({ok, 2.0}, Newer(C)),
    ?assertEqual({ok, <<"open">>}, py_test:join(Older)).

%% Proves that many chains of coroutines to and fro come to their end, whether those wait or hold up their loops.
coroutines_that_cross(_) ->
    Contexts = list_to_tuple(py_test:contexts(default)),
    ok = py:register_function(down, fun([F, N]) ->
        {ok, V} = py:async_await(py:async_call(element(N rem 2 + 1, Contexts), crossing, F, [N]), infinity),
        V
    end),
    _ = [begin
        Refs = [py:async_call(element(N rem 2 + 1, Contexts), crossing, F, [10])
                || N <- lists:seq(1, Chains), F <- [awaits, blocks, mixes, blocks_next]],
        _ = [?assertEqual({ok, 10}, py:async_await(Ref, 60000)) || Ref <- Refs]
    end || Chains <- [1, 1, 1, 1, 2, 2, 3, 10]].

%% Proves that a loop goes on to serve what its coroutines wait for after another loop has run on top of it.
a_loop_on_top_of_a_loop(_) ->
    Self = self(),
    ok = py:register_function(now, fun([Runner]) ->
        {ok, V} = py:call(crossing, one, [Runner, value]),
        Self ! now,
        V
    end),
    ok = py:register_function(value, fun([_]) -> 1 end),
    _ = [begin
        ok = py:register_function(later, fun([_]) ->
            Self ! {later, self()},
            receive go -> ok end,
            {ok, V} = py:call(crossing, plain, [2]),
            V
        end),
        Job = py_test:async(fun() -> py:call(crossing, two_at_once, [Runner, now, later]) end),
        receive {later, Pid} -> receive now -> Pid ! go end end,
        ?assertEqual({ok, [1, 2]}, py_test:join(Job))
    end || Runner <- [asyncio, erlang], _ <- lists:seq(1, 10)].

%% Proves the same for trees of loops, many at once.
loops_on_top_of_loops(_) ->
    Levels = [level_4, level_3, level_2, level_1],
    Calls = lists:zip(Levels, tl(Levels) ++ [leaf]),
    ok = py:register_function(leaf, fun([_]) -> 1 end),
    _ = [ok = py:register_function(Level, fun([Runner]) ->
        {ok, [A, B]} = py:call(crossing, two_at_once, [Runner, Next, Next]),
        A + B
    end) || {Level, Next} <- Calls],
    Jobs = [py_test:async(fun() -> py:call(crossing, two_at_once, [Runner, level_4, level_4]) end)
            || _ <- lists:seq(1, 8), Runner <- [asyncio, erlang]],
    _ = [?assertEqual({ok, [16, 16]}, py_test:join(Job)) || Job <- Jobs].

%% Proves that a request of another chain, served while one waits, runs with the context variables of its own process, not with
%% those that the waiting one has set; and that a request of the same chain sees these.
variables_of_another_chain(_) ->
    [C, D] = py_test:contexts(default),
    Self = self(),
    Seen = fun() -> py:call(D, crossing, variables, []) end,
    Set = fun(Value) -> ok = py:exec(D, ["import crossing\ncrossing.set_variables(", integer_to_list(Value), ")"]) end,
    ok = py:register_function(older, fun([]) -> Self ! {older, self()}, receive go -> ok end, Seen() end),
    ok = py:register_function(newer, fun([]) ->
        Same = Seen(),
        Self ! {newer, self()},
        receive go -> ok end,
        Same
    end),
    Cross = fun(Before) ->
        Older = py_test:async(fun() -> Before(), py:call(C, erlang, call, [older]) end),
        First = receive {older, OlderPid} -> OlderPid end,
        Newer = py_test:async(fun() ->
            Set(50),
            {ok, Within} = py:call(D, crossing, with_variables, [3, newer]),
            {Within, Seen()}
        end),
        Second = receive {newer, NewerPid} -> NewerPid end,
        First ! go,
        {ok, OfOlder} = py_test:join(Older),
        Second ! go,
        %% An Erlang function that returns a pair; it comes back from Python with a binary in place of the atom.
        ?assertEqual({{<<"ok">>, [3, 3]}, {ok, [50, 50]}}, py_test:join(Newer)),
        OfOlder
    end,
    ?assertEqual({<<"ok">>, [40, 40]}, Cross(fun() -> Set(40) end)),
    ?assertEqual({<<"ok">>, [28, none]}, Cross(fun() -> ok end)).
