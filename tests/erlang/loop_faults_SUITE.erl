%% What one request does to the loop of its context is no matter of the others: limits of time, interrupts and ends hit
%% whom they are meant for, and a context or a port process is never lost by them.
-module(loop_faults_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [late_task_below_a_call, late_task_beside_a_busy_one, cancel_busy_task, interrupt_busy_task, late_busy_task,
     late_step_before_a_stream, slow_ends_of_tasks, many_collected_streams, task_for_a_waiting_thread,
     task_on_the_loop_of_another_context, interrupted_import].

init_per_suite(Config) -> ok = py_test:start([{max_concurrent, 3000}]), Config.
end_per_suite(_Config) -> py_test:stop().

init_per_testcase(_Case, Config) ->
    {ok, Ctx} = py_context:new(#{}),
    [{ctx, Ctx} | Config].

end_per_testcase(_Case, Config) ->
    ok = py_context:stop(ctx(Config)),
    py_test_callbacks:clean_up().

%% Proves that a call goes on though a task that waits in the same context is late, and the port process survives.
late_task_below_a_call(Config) ->
    Ctx = ctx(Config),
    Task = py_test:async(fun() -> py_context:submit_await(Ctx, loop_faults, sleeps, [3600], #{}, 300) end),
    ?assertEqual({ok, <<"slept">>}, py_context:submit_await(Ctx, loop_faults, sleeps, [0])),
    ?assertEqual({ok, <<"worked">>}, py:call(Ctx, loop_faults, works, [1])),
    ?assertEqual({ok, none}, py:call(Ctx, time, sleep, [7])),
    ?assertEqual({error, timeout}, py_test:join(Task)).

%% Proves that a task without a limit of time is not ended for one that is late because of it.
late_task_beside_a_busy_one(Config) ->
    Ctx = ctx(Config),
    Task = py_test:async(fun() -> py_context:submit_await(Ctx, loop_faults, sleeps, [3600], #{}, 500) end),
    {ok, Ref} = holding(Ctx, 7),
    ?assertEqual({error, timeout}, py_test:join(Task)),
    ?assertEqual({ok, <<"worked">>}, result(Ref)).

%% Proves that a task that never lets the loop go on can be cancelled.
cancel_busy_task(Config) ->
    Ctx = ctx(Config),
    {ok, Ref} = holding(Ctx, 3600),
    ok = py:cancel(Ref),
    ?assertEqual({error, cancelled}, result(Ref)),
    ?assertEqual({ok, <<"slept">>}, py_context:submit_await(Ctx, loop_faults, sleeps, [0])).

%% Proves the same of an interrupt.
interrupt_busy_task(Config) ->
    Ctx = ctx(Config),
    {ok, Ref} = holding(Ctx, 3600),
    ?assertEqual(ok, py:interrupt(Ctx)),
    ?assertEqual({error, interrupted}, result(Ref)),
    ?assertEqual({ok, <<"slept">>}, py_context:submit_await(Ctx, loop_faults, sleeps, [0])).

%% Proves that it is ended when it is late itself, and those that wait beside it are not.
late_busy_task(Config) ->
    Ctx = ctx(Config),
    true = register(loop_faults, self()),
    {ok, Other} = py_context:submit(Ctx, loop_faults, sleeps, [1]),
    ?assertEqual({error, timeout}, py_context:submit_await(Ctx, loop_faults, holds_up, [loop_faults, 3600], #{}, 300)),
    ?assertEqual({ok, <<"slept">>}, result(Other)).

%% Proves that a turn of a stream is not late for a task that has waited for a callback in the same context before.
late_step_before_a_stream(Config) ->
    Ctx = ctx(Config),
    ok = py:register_function(answer, fun([]) -> 42 end),
    ?assertEqual({ok, <<"slept">>}, py_context:submit_await(Ctx, loop_faults, sleeps, [0])),
    ?assertEqual({ok, 42}, py_context:submit_await(Ctx, loop_faults, asks, [answer], #{}, 1000)),
    ok = py_context_router:bind_context(Ctx),
    ?assertEqual({ok, [1, 2, 3]}, py:stream(loop_faults, slow_items, [2])),
    ok = py_context_router:unbind_context().

%% Proves that a context whose tasks take a while to end does not keep the reading of requests from the others.
slow_ends_of_tasks(Config) ->
    lists:foreach(
        fun(N) ->
            {ok, Ctx} = py_context:new(#{}),
            Refs = [element(2, py_context:submit(Ctx, loop_faults, ends_slowly, [Ms / 1000])) || Ms <- lists:seq(N, N + 9)],
            {ok, _} = py_context:submit_await(Ctx, loop_faults, sleeps, [0]),
            ok = py_context:stop(Ctx),
            ?assertEqual([{error, {context_died, stopped}}], lists:usort([result(Ref) || Ref <- Refs])),
            ?assertEqual({ok, <<"worked">>}, py:call(ctx(Config), loop_faults, works, [0]))
        end, lists:seq(1, 10)).

%% Proves that all of very many streams that wait for a busy context are read to their ends.
many_collected_streams(Config) ->
    Ctx = ctx(Config),
    Busy = py_test:async(fun() -> py:call(Ctx, loop_faults, works, [1]) end),
    Jobs = [py_test:async(fun() ->
                ok = py_context_router:bind_context(Ctx),
                {ok, Items} = py:stream(loop_faults, numbers, [2500]),
                length(Items)
            end) || _ <- lists:seq(1, 1200)],
    ?assertEqual({ok, <<"worked">>}, py_test:join(Busy)),
    ?assertEqual([2500], lists:usort([py_test:join(Job) || Job <- Jobs])).

%% Proves that what a Python thread has called may use coroutines in that thread's context.
task_for_a_waiting_thread(Config) ->
    Ctx = ctx(Config),
    ok = py:register_function(slept, fun([]) ->
        {ok, Value} = py_context:submit_await(Ctx, loop_faults, sleeps, [0.01]),
        Value
    end),
    ?assertEqual({ok, <<"slept">>}, py:call(Ctx, loop_faults, in_thread, [slept])),
    ?assertEqual({ok, <<"worked">>}, py:call(Ctx, loop_faults, works, [0])).

%% Proves that a coroutine may go to the loop of another context and call Erlang there.
task_on_the_loop_of_another_context(Config) ->
    Ctx = ctx(Config),
    ok = py:register_function(answer, fun([]) -> 42 end),
    py_test:with_context(#{}, fun(Other) ->
        {ok, none} = py_context:submit_await(Other, loop_faults, publish_loop, []),
        ?assertEqual({ok, 42}, py_context:submit_await(Ctx, loop_faults, in_published_loop, [answer])),
        ?assertEqual({ok, <<"slept">>}, py_context:submit_await(Other, loop_faults, sleeps, [0])),
        ?assertEqual({ok, <<"slept">>}, py_context:submit_await(Ctx, loop_faults, sleeps, [0]))
    end).

%% Proves that a call that is late while it imports a module leaves that whole.
interrupted_import(Config) ->
    Ctx = ctx(Config),
    ?assertMatch({error, _}, py:call(Ctx, slow_import, nothing, [], #{timeout => 50})),
    ?assertEqual({ok, true}, py:eval(Ctx, <<"'slow_import' in __import__('sys').modules">>)).

%% Helpers.

ctx(Config) -> proplists:get_value(ctx, Config).

%% A task that holds up the loop when this returns.
holding(Ctx, Seconds) ->
    Name = py_test:unique(loop_faults),
    true = register(Name, self()),
    {ok, Ref} = py_context:submit(Ctx, loop_faults, holds_up, [Name, Seconds]),
    receive <<"holding">> -> true = unregister(Name) end,
    {ok, Ref}.

result(Ref) ->
    receive {async_result, Ref, Result} -> Result end.
