%% Any Python thread, and any coroutine, calls Erlang.
-module(callback_threads_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 1}}].

all() -> [{group, worker}, {group, owngil}].

groups() ->
    Threads = [one_thread, fifty_threads, executor, errors_in_threads, nested_calls_of_threads, tree_of_threads,
               threads_of_many_requests, thread_outlives_its_request, thread_has_no_caller, large_values_of_threads],
    Coroutines = [two_thousand_at_once, every_way_to_run_a_loop, loops_in_threads, errors_in_coroutines,
                  cancellation_ends_the_process, timeout_of_a_coroutine, others_run_meanwhile,
                      large_values_of_coroutines,
                  nested_calls_of_coroutines_elsewhere],
    py_test_modes:groups(Threads ++ Coroutines).

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

init_per_group(Mode, Config) -> py_test_modes:init_group(Mode, Config).
end_per_group(_Group, _Config) -> ok.

init_per_testcase(_Case, Config) ->
    {ok, Ctx} = py_context:new(#{mode => proplists:get_value(mode, Config)}),
    {ok, 1} = py:call(Ctx, calling, warm, []),
    ok = py:register_function(same, fun([Value]) -> Value end),
    ok = py:register_function(boom, fun([]) -> error(kaboom) end),
    [{ctx, Ctx} | Config].

end_per_testcase(_Case, Config) ->
    ok = py_context:stop(ctx(Config)),
    py_test_callbacks:clean_up().

%% Threads.

%% Proves that a thread that Python started calls Erlang while the context waits for it.
one_thread(Config) ->
    _ = [?assertEqual({ok, {<<"ok">>, N}}, py:call(ctx(Config), calling, from_thread, [same, N]))
         || N <- lists:seq(1, 100)],
    ok.

%% Proves that fifty threads at once each get an answer.
fifty_threads(Config) ->
    ?assertEqual({ok, lists:duplicate(50, {<<"ok">>, 7})}, py:call(ctx(Config), calling, from_threads, [50, same, 7])).

%% Proves that the threads of an executor get the answers to what they asked, in order.
executor(Config) ->
    Values = lists:seq(1000, 2000),
    ?assertEqual({ok, Values}, py:call(ctx(Config), calling, from_executor, [8, same, Values])).

%% Proves that errors arrive in the thread that called.
errors_in_threads(Config) ->
    ?assertEqual({ok, lists:duplicate(10, {<<"error">>, <<"ErlangError">>, <<"boom: error:kaboom">>})},
                 py:call(ctx(Config), calling, from_threads, [10, boom])),
    {ok, {<<"error">>, <<"UnknownFunction">>, _}} = py:call(ctx(Config), calling, from_thread, [nowhere]).

%% Proves that the callback of a thread may call the context that waits for that thread.
nested_calls_of_threads(Config) ->
    Ctx = ctx(Config),
    ok = py:register_function(back, fun([X]) -> {ok, V} = py:call(Ctx, calling, call, [same, X], #{timeout => 20000}),
        V end),
    ?assertEqual({ok, lists:duplicate(20, {<<"ok">>, 3})}, py:call(Ctx, calling, from_threads, [20, back, 3])),
    ok = py:register_function(many, fun([X]) ->
        Jobs = [py_test:async(fun() -> py:call(Ctx, probe, echo, [{X, I}],
            #{timeout => 20000}) end) || I <- lists:seq(1, 10)],
        lists:usort([element(1, py_test:join(Job)) || Job <- Jobs]) =:= [ok]
    end),
    ?assertEqual({ok, lists:duplicate(5, {<<"ok">>, true})}, py:call(Ctx, calling, from_threads, [5, many, 3])).

%% Proves that each level may wait for a thread of its own.
tree_of_threads(Config) ->
    Ctx = ctx(Config),
    ok = py:register_function(next, fun([N]) ->
        {ok, V} = py:call(Ctx, calling, thread_tree, [next, N], #{timeout => 20000}),
        V
    end),
    ?assertEqual({ok, 10}, py:call(Ctx, calling, thread_tree, [next, 10])).

%% Proves that threads of many requests at once do not get one another's answers.
threads_of_many_requests(Config) ->
    Mode = proplists:get_value(mode, Config),
    py_test:with_pool(2, #{mode => Mode}, fun(Pool) ->
        Jobs = [{N, py_test:async(fun() ->
            [py:call(Pool, calling, from_executor, [4, same, lists:seq(N, N + 20)]) || _ <- lists:seq(1, 5)]
        end)} || N <- lists:seq(1, 20)],
        _ = [?assertEqual(lists:duplicate(5, {ok, lists:seq(N, N + 20)}), py_test:join(Job)) || {N, Job} <- Jobs]
    end).

%% Proves that a thread may go on when the request that started it is over.
thread_outlives_its_request(Config) ->
    Self = self(),
    ok = py:register_function(tell, fun([X]) -> Self ! {told, X}, none end),
    _ = [begin
             {ok, <<"started">>} = py:call(ctx(Config), calling, leave_thread, [tell, N]),
             receive {told, N} -> ok end
         end || N <- lists:seq(1, 50)],
    ok.

%% Proves that the callbacks of threads have nobody as their caller.
thread_has_no_caller(Config) ->
    ok = py:register_function(callers, fun([]) -> get('$callers') end),
    ?assertEqual({ok, {<<"ok">>, []}}, py:call(ctx(Config), calling, from_thread, [callers])).

%% Proves that values in pieces reach the right thread.
large_values_of_threads(Config) ->
    Large = rand:bytes(3 bsl 20),
    ?assert({ok, lists:duplicate(4, {<<"ok">>, Large})} =:= py:call(ctx(Config), calling, from_threads, [4, same,
        Large])).

%% Coroutines.

%% Proves that thousands of calls may wait at once, and each coroutine gets its answer.
two_thousand_at_once(Config) ->
    Values = lists:seq(0, 1999),
    ?assertEqual({ok, Values}, py:call(ctx(Config), calling, gather, [same, 2000])),
    Here = self(),
    ok = py:register_function(meet, fun([N]) -> Here ! {arrived, self()}, receive go -> N end end),
    Job = py_test:async(fun() -> py:call(ctx(Config), calling, gather, [meet, 2000]) end),
    Waiting = [receive {arrived, Pid} -> Pid end || _ <- Values],
    _ = [Pid ! go || Pid <- lists:reverse(Waiting)],
    ?assertEqual({ok, Values}, py_test:join(Job)).

%% Proves that it works with a runner, a loop made by hand, and one loop after another in the same context.
every_way_to_run_a_loop(Config) ->
    _ = [?assertEqual({ok, lists:seq(0, 49)}, py:call(ctx(Config), calling, gather_in_loop, [Kind, same, 50]))
         || Kind <- [runner, loop]],
    ?assertEqual({ok, lists:seq(0, 49) ++ lists:seq(0, 49)},
                 py:call(ctx(Config), calling, gather_in_loop, [two_in_turn, same, 50])).

%% Proves that several threads may each run a loop.
loops_in_threads(Config) ->
    ?assertEqual({ok, lists:duplicate(5, lists:seq(0, 99))}, py:call(ctx(Config), calling, gather_in_threads, [5,
        same, 100])).

%% Proves that errors are raised where the call is awaited, and name the function.
errors_in_coroutines(Config) ->
    ?assertEqual({ok, lists:duplicate(2, {<<"ErlangError">>, <<"boom: error:kaboom">>, <<"boom">>})},
                 py:call(ctx(Config), calling, async_raised, [boom])),
    {ok, [{<<"UnknownFunction">>, _, <<"nowhere">>}, _]} = py:call(ctx(Config), calling, async_raised, [nowhere]),
    ok = py:register_function(deep, fun([]) -> lists:foldl(fun(_, Deep) -> [Deep] end, [], lists:seq(1, 2000)) end),
    {ok, [{<<"ConversionError">>, _, _}, _]} = py:call(ctx(Config), calling, async_raised, [deep]).

%% Proves that a task that is cancelled ends the Erlang process that it waits for.
cancellation_ends_the_process(Config) ->
    Self = self(),
    ok = py:register_function(never, fun([]) -> Self ! {waits, self()}, receive never -> ok end end),
    _ = [begin
             ?assertEqual({ok, <<"cancelled">>}, py:call(ctx(Config), calling, async_cancelled, [never])),
             receive {waits, Pid} -> py_test:eventually(fun() -> not is_process_alive(Pid) end) end
         end || _ <- lists:seq(1, 10)],
    ?assertEqual({ok, [0, 1, 2]}, py:call(ctx(Config), calling, gather, [same, 3])).

%% Proves the same of asyncio.timeout.
timeout_of_a_coroutine(Config) ->
    Self = self(),
    ok = py:register_function(never, fun([]) -> Self ! {waits, self()}, receive never -> ok end end),
    ?assertEqual({ok, <<"timeout">>}, py:call(ctx(Config), calling, async_timeout, [0.05, never])),
    receive {waits, Pid} -> py_test:eventually(fun() -> not is_process_alive(Pid) end) end.

%% Proves that other coroutines run, and may call Erlang, while one waits for it.
others_run_meanwhile(Config) ->
    Self = self(),
    ok = py:register_function(wait, fun([]) -> Self ! {waits, self()}, receive go -> 5 end end),
    ok = py:register_function(beside_go, fun([]) -> Self ! beside, none end),
    Job = py_test:async(fun() -> py:call(ctx(Config), calling, async_beside, [wait]) end),
    receive beside -> ok end,
    receive {waits, Pid} -> Pid ! go end,
    ?assertEqual({ok, {5, true}}, py_test:join(Job)).

%% Proves that values in pieces come through an inbox too.
large_values_of_coroutines(Config) ->
    Large = rand:bytes(3 bsl 20),
    ?assert({ok, Large} =:= py:call(ctx(Config), calling, async_one, [same, Large])).

%% Proves that the callback of a coroutine calls Python in contexts that do not wait for it.
nested_calls_of_coroutines_elsewhere(Config) ->
    ok = py:register_function(there, fun([X]) -> {ok, V} = py:call(io, probe, echo, [X]), V end),
    ?assertEqual({ok, lists:seq(0, 99)}, py:call(ctx(Config), calling, gather, [there, 100])).

%% Helpers.

ctx(Config) -> proplists:get_value(ctx, Config).
