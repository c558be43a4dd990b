%% A step of a coroutine that runs the loop that it is on, which asyncio refuses and nest_asyncio allows: many notebooks do.
-module(nested_loop_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 1}}].

all() -> [{group, worker}, {group, owngil}, {group, isolated}].

groups() ->
    py_test_modes:placement_groups([in_a_first_step, deeper, others_go_on, it_is_late, refused_by_asyncio, nest_asyncio]).

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

init_per_group(Placement, Config) -> py_test_modes:init_placement(Placement, Config).
end_per_group(_Group, _Config) -> ok.

init_per_testcase(_Case, Config) ->
    Paths = [py_test:python_modules() | [Dir || Dir <- [os:getenv("ERLANG_PYTHON_TEST_PYPI")], Dir =/= false]],
    Pool = py_test:start_pool(1, (proplists:get_value(options, Config))#{paths => Paths}),
    [{pool, Pool} | Config].

end_per_testcase(_Case, Config) -> py_test:stop_pool(proplists:get_value(pool, Config)).

%% Proves that a first step may run its loop, also when that was asleep and is woken for it, and again and again.
in_a_first_step(Config) ->
    Ctx = ctx(Config),
    Waits = waits(Ctx),
    _ = [begin
        ?assertEqual({ok, N}, await(py:async_call(Ctx, nested_loops, at_once, [N])))
    end || N <- lists:seq(1, 5)],
    %% Together: some of them are started between two rounds of the loop.
    Refs = [py:async_call(Ctx, nested_loops, at_once, [N]) || N <- lists:seq(1, 20)],
    ?assertEqual([{ok, N} || N <- lists:seq(1, 20)], [await(Ref) || Ref <- Refs]),
    ok = py:cancel(Waits).

%% Proves that what is run so may do the same.
deeper(Config) ->
    Ctx = ctx(Config),
    Waits = waits(Ctx),
    ?assertEqual({ok, 10}, await(py:async_call(Ctx, nested_loops, down, [10]))),
    ?assertEqual({ok, 10}, await(py:async_call(Ctx, nested_loops, down, [10]))),
    ok = py:cancel(Waits).

%% Proves that the loop's other tasks go on meanwhile, and timers and descriptors are seen.
others_go_on(Config) ->
    Ctx = ctx(Config),
    Other = py:async_call(Ctx, nested_loops, ticks, [20]),
    ?assertEqual({ok, <<"line">>}, await(py:async_call(Ctx, nested_loops, reads_a_line, []))),
    ?assertEqual({ok, <<"line">>}, await(py:async_call(Ctx, nested_loops, reads_a_line, []))),
    ?assertEqual({ok, 20}, await(Other)).

%% Proves that a timeout ends what waits so, and the next request is served.
it_is_late(Config) ->
    Ctx = ctx(Config),
    Waits = waits(Ctx),
    ?assertEqual({error, timeout},
                 py:async_await(py:async_call(Ctx, nested_loops, for_ever, [], #{timeout => 100}), 30000)),
    ?assertEqual({ok, 1}, await(py:async_call(Ctx, nested_loops, at_once, [1]))),
    ok = py:cancel(Waits).

%% Proves that without such a patch asyncio's own error is raised.
refused_by_asyncio(Config) ->
    Ctx = ctx(Config),
    ?assertEqual({error, {'RuntimeError', <<"This event loop is already running">>}},
                 await(py:async_call(Ctx, nested_loops, plainly, []))).

%% Proves that nest_asyncio works, also when it is applied in a first step, and that each coroutine has its own caller.
nest_asyncio(Config) ->
    Ctx = ctx(Config),
    case py:call(Ctx, 'importlib.util', find_spec, [<<"nest_asyncio">>]) of
        {ok, none} -> {skip, "nest_asyncio is not installed; set ERLANG_PYTHON_TEST_PYPI to a directory that holds it"};
        {ok, _} ->
            case py:eval(Ctx, <<"__import__('sys').version_info >= (3, 14)">>) of
                {ok, true} -> {skip, "nest_asyncio 1.6 does not know Python 3.14"};
                {ok, false} -> with_nest_asyncio(Ctx)
            end
    end.

with_nest_asyncio(Ctx) ->
    Waits = waits(Ctx),
    _ = [?assertEqual({ok, N}, await(py:async_call(Ctx, nested_loops, with_nest_asyncio, [N]))) || N <- lists:seq(1, 3)],
    Jobs = [py_test:async(fun() ->
        ?assertEqual({ok, [self(), self()]}, await(py:async_call(Ctx, nested_loops, who_am_i, [])))
    end) || _ <- lists:seq(1, 10)],
    lists:foreach(fun py_test:join/1, Jobs),
    ok = py:cancel(Waits).

ctx(Config) -> hd(py_test:contexts(proplists:get_value(pool, Config))).

%% A coroutine that keeps the loop of the context alive: it sleeps when the next request comes.
waits(Ctx) -> py:async_call(Ctx, asyncio, sleep, [3600]).

await(Ref) -> py:async_await(Ref, 30000).
