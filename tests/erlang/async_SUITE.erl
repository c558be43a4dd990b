%% Coroutines from Erlang: py:async_call, py_event_loop, py_context:submit, and what ends them. Their slots: async_slots_SUITE.
-module(async_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 1}}].

all() ->
    [{group, worker}, {group, owngil}, many_contexts].

groups() ->
    Cases = [results, keyword_arguments, awaitables_and_plain_functions, ten_thousand_sleep_together,
             synchronous_calls_interleave, a_synchronous_call_sees_no_loop, errors_have_one_shape,
             values_that_cannot_be_encoded, timeouts, an_await_that_times_out_can_be_repeated, gather, gather_that_fails,
             gather_with_timeouts_of_its_calls,
             cancel_while_waiting, cancel_while_running, cancel_in_the_queue, cancel_of_what_has_ended,
             a_coroutine_that_cancels_itself, a_task_that_holds_up_the_loop_is_late, the_death_of_a_caller_cancels,
             spawned_tasks_outlive_their_caller, tasks_left_behind_go_on, stop_answers_all, death_answers_all,
             self_is_the_caller, namespaces, calls_to_erlang, reentry, async_calls_in_callbacks, in_order,
             run, loops_by_reference, create_and_spawn, pool_is_sticky, loops_of_the_pool, run_async, submit, loop_is_started_and_stopped,
             the_owner_of_a_loop, a_loop_that_does_not_stop,
             a_loop_of_a_dead_owner_that_does_not_stop, a_stopped_loop_serves_nothing, a_context_that_is_stopped_with_its_loop, bad_arguments, nothing_is_left],
    py_test_modes:groups(Cases).

init_per_suite(Config) -> Config.
end_per_suite(_Config) -> py_test:stop().

init_per_group(Mode, Config) -> py_test_modes:start_group(Mode, Config).
end_per_group(_Group, _Config) -> ok.

init_per_testcase(_Case, Config) ->
    case proplists:get_value(mode, Config) of
        undefined ->
            ok = py_test:start(),
            [{mode, worker} | Config];
        _ ->
            Config
    end.

%% Proves that the result of a coroutine comes as the documented message, and by async_await.
results(_) ->
    Ref = py:async_call(tasks, value, [{a, 1}, 0.01]),
    receive {async_result, Ref, Result} -> ?assertEqual({ok, {<<"a">>, 1}}, Result) end,
    ?assertEqual({ok, 2}, py:async_await(py:async_call(tasks, value, [2]))),
    ?assertEqual({ok, 3}, py:async_await(py:async_call(<<"tasks">>, "value", [3]), 30000)),
    ?assertEqual({ok, 4}, py:async_await(py:async_call(py:context(1), tasks, value, [4]))),
    ?assertEqual({ok, 5}, py:async_await(py:async_call(default, tasks, value, [5]))),
    ?assertEqual({ok, <<"ErlangEventLoop">>}, py:async_await(py:async_call(tasks, loop_name, []))).

%% Proves that every way to ask for a coroutine takes keyword arguments.
keyword_arguments(_) ->
    Ctx = py:context(1),
    Expected = {ok, {[1], #{<<"a">> => 2}}},
    Kwargs = #{a => 2},
    {ok, Submitted} = py_context:submit(Ctx, tasks, arguments, [1], Kwargs),
    ?assertEqual(Expected, py:async_await(py:async_call(tasks, arguments, [1], Kwargs))),
    ?assertEqual(Expected, py:async_await(py:async_call(tasks, arguments, [1], Kwargs, 30000))),
    ?assertEqual(Expected, py:async_await(py:async_call(Ctx, tasks, arguments, [1], #{kwargs => Kwargs}))),
    ?assertEqual(Expected, py:async_await(py:async_call(default, tasks, arguments, [1], Kwargs))),
    ?assertEqual({ok, [element(2, Expected)]}, py:async_gather([{tasks, arguments, [1], Kwargs}])),
    ?assertEqual(Expected, py:async_await(Submitted)),
    ?assertEqual(Expected, py_context:submit_await(Ctx, tasks, arguments, [1], Kwargs)),
    ?assertEqual(Expected, py_context:submit_await(Ctx, tasks, arguments, [1], Kwargs, 30000)),
    ?assertEqual(Expected, py_event_loop:run(tasks, arguments, [1], Kwargs)),
    ?assertEqual(Expected, py_event_loop:run(tasks, arguments, [1], #{kwargs => Kwargs, timeout => 30000})),
    ?assertEqual(Expected, py_event_loop:await(py_event_loop:create_task(tasks, arguments, [1], Kwargs))),
    ?assertEqual(Expected, py_event_loop:await(py_event_loop:create_task(Ctx, tasks, arguments, [1], Kwargs))),
    ?assertEqual(Expected, py_event_loop_pool:run(tasks, arguments, [1], Kwargs)),
    ?assertEqual(Expected, py_event_loop_pool:await(py_event_loop_pool:create_task(tasks, arguments, [1], Kwargs))).

%% Proves that what is no coroutine can be awaited too, and what cannot be awaited is the result itself.
awaitables_and_plain_functions(_) ->
    ?assertEqual({ok, 4.0}, py:async_await(py:async_call(math, sqrt, [16]))),
    ?assertEqual({ok, 7}, py:async_await(py:async_call(tasks, 'Awaitable', [7]))),
    ?assertEqual({ok, none}, py:async_await(py:async_call(asyncio, sleep, [0]))).

%% Proves that ten thousand coroutines wait at the same time, each with its own result.
ten_thousand_sleep_together(_) ->
    Count = 10000,
    Refs = [{N, py:async_call(asyncio, sleep, [0.01, N])} || N <- lists:seq(1, Count)],
    _ = [?assertEqual({ok, N}, py:async_await(Ref)) || {N, Ref} <- Refs],
    ok.

%% Proves that a context runs calls while coroutines wait there, and that a call can wake them.
synchronous_calls_interleave(_) ->
    Ctx = py:context(1),
    Ref = py:async_call(Ctx, tasks, wait_gate, [<<"interleave">>]),
    ?assertEqual({ok, 4.0}, py:call(Ctx, math, sqrt, [16])),
    ?assertEqual({error, timeout}, py:async_await(Ref, 0)),
    ok = py:exec(Ctx, <<"seen = 1">>),
    ?assertEqual({ok, 1}, py:eval(Ctx, <<"seen">>)),
    ?assertEqual({ok, <<"opened">>}, py:call(Ctx, tasks, open_gate, [<<"interleave">>])),
    ?assertEqual({ok, <<"open">>}, py:async_await(Ref)).

%% Proves that a call may run a loop of its own while coroutines wait in the context.
a_synchronous_call_sees_no_loop(_) ->
    Ctx = py:context(1),
    Ref = py:async_call(Ctx, tasks, wait_gate, [<<"no loop">>]),
    ?assertEqual({ok, false}, py:call(Ctx, tasks, sees_a_loop, [])),
    ?assertEqual({ok, 3}, py:eval(Ctx, <<"__import__('asyncio').run(__import__('tasks').value(3, 0.01))">>)),
    ?assertEqual({ok, 3}, py:eval(Ctx, <<"erlang.run(__import__('tasks').value(3, 0.01))">>)),
    {ok, _} = py:call(Ctx, tasks, open_gate, [<<"no loop">>]),
    ?assertEqual({ok, <<"open">>}, py:async_await(Ref)).

%% Proves that errors look like those of calls, whether they come before or after the coroutine has waited.
errors_have_one_shape(_) ->
    Error = {error, {'ValueError', <<"no">>}},
    Ctx = py:context(1),
    ?assertEqual(Error, py:call(probe, raise_builtin, ['ValueError', <<"no">>])),
    ?assertEqual(Error, py:async_await(py:async_call(probe, raise_builtin, ['ValueError', <<"no">>]))),
    ?assertEqual(Error, py:async_await(py:async_call(tasks, fail, ['ValueError', <<"no">>]))),
    ?assertEqual(Error, py:async_await(py:async_call(tasks, fail_at_once, ['ValueError', <<"no">>]))),
    ?assertEqual(Error, py_event_loop:run(tasks, fail, ['ValueError', <<"no">>])),
    ?assertEqual(Error, py_context:submit_await(Ctx, tasks, fail, ['ValueError', <<"no">>])),
    ?assertMatch({error, {'ModuleNotFoundError', _}}, py:async_await(py:async_call(no_such_module_here, f, []))),
    ?assertMatch({error, {'AttributeError', _}}, py:async_await(py:async_call(tasks, no_such_function, []))),
    ?assertMatch({error, {'TypeError', _}}, py:async_await(py:async_call(tasks, value, []))),
    {error, {'ValueError', <<"no">>, Traceback}} =
        py:async_await(py:async_call(Ctx, tasks, fail, ['ValueError', <<"no">>], #{traceback => true})),
    ?assertMatch({_, _}, binary:match(Traceback, <<"tasks.py">>)).

%% Proves that a value that cannot be encoded is an error of this coroutine alone.
values_that_cannot_be_encoded(_) ->
    Ctx = py:context(1),
    ?assertMatch({error, {not_encodable, _}}, py:async_await(py:async_call(Ctx, tasks, unprintable, [], #{strict => true}))),
    ?assertMatch({ok, _}, py:async_await(py:async_call(Ctx, tasks, unprintable, []))),
    ?assertMatch({error, {not_encodable, _}}, py:async_await(py:async_call(tasks, value, [#{[] => 1}]))).

%% Proves that a timeout ends a coroutine in Python, and nothing else there.
timeouts(_) ->
    Ctx = py:context(1),
    Other = py:async_call(Ctx, tasks, wait_gate, [<<"timeouts">>]),
    Late = py:async_call(Ctx, tasks, until_cancelled, [timeouts], #{timeout => 100}),
    ?assertEqual({error, timeout}, py:async_await(Late)),
    ok = eventually_state(timeouts, <<"cancelled">>),
    ?assertEqual({error, timeout}, py_event_loop:run(asyncio, sleep, [1000], #{timeout => 50})),
    ?assertEqual({error, timeout}, py_context:submit_await(Ctx, asyncio, sleep, [1000], #{}, 50)),
    {ok, _} = py:call(Ctx, tasks, open_gate, [<<"timeouts">>]),
    ?assertEqual({ok, <<"open">>}, py:async_await(Other)).

%% Proves that async_await gives up after its time while the coroutine goes on.
an_await_that_times_out_can_be_repeated(_) ->
    Ctx = py:context(1),
    Ref = py:async_call(Ctx, tasks, wait_gate, [<<"await">>]),
    ?assertEqual({error, timeout}, py:async_await(Ref, 20)),
    ?assertEqual({error, timeout}, py_event_loop:await(Ref, 0)),
    {ok, _} = py:call(Ctx, tasks, open_gate, [<<"await">>]),
    ?assertEqual({ok, <<"open">>}, py:async_await(Ref)).

%% Proves that gather runs all calls at once and keeps their order.
gather(_) ->
    ?assertEqual({ok, []}, py:async_gather([])),
    Calls = [{tasks, value, [N, (20 - N) / 1000]} || N <- lists:seq(1, 20)],
    ?assertEqual({ok, lists:seq(1, 20)}, py:async_gather(Calls)),
    ?assertEqual({ok, [4.0, 1]}, py:async_gather([{math, sqrt, [16]}, {tasks, value, [1], #{seconds => 0.01}}], 30000)).

%% Proves that gather names all that failed by their numbers, and cancels what is late.
gather_that_fails(_) ->
    {error, {gather_failed, Failed} = Reason} =
        py:async_gather([{tasks, value, [1]}, {tasks, fail, ['ValueError', <<"no">>]}, {tasks, until_cancelled, [gather]}], 300),
    ?assertEqual([{2, {'ValueError', <<"no">>}}, {3, timeout}], Failed),
    ok = eventually_state(gather, <<"cancelled">>),
    Text = py_error:format_error(Reason),
    ?assertMatch({_, _}, binary:match(Text, <<"number 2: Python raised ValueError: no">>)).

%% Proves that of a call's own timeout and that of the gather the shorter one counts.
gather_with_timeouts_of_its_calls(_) ->
    Late = fun(Key, Timeout) -> {tasks, until_cancelled, [Key], #{}, Timeout} end,
    ?assertEqual({error, {gather_failed, [{1, timeout}]}},
                 py:async_gather([Late(own, 300), {tasks, value, [1], #{seconds => 0.01}, infinity}], infinity)),
    ok = eventually_state(own, <<"cancelled">>),
    ?assertEqual({error, {gather_failed, [{1, timeout}, {2, timeout}]}},
                 py:async_gather([Late(gathers, infinity), Late(options, [{timeout, infinity}])], 300)).

%% Proves that cancel ends a coroutine that waits, which sees it as asyncio's CancelledError.
cancel_while_waiting(_) ->
    Ref = py:async_call(tasks, until_cancelled, [waiting]),
    ok = eventually_state(waiting, <<"waiting">>),
    ok = py:cancel(Ref),
    ?assertEqual({error, cancelled}, py:async_await(Ref)),
    ?assertEqual({ok, <<"cancelled">>}, state(waiting)),
    Created = py_event_loop:create_task(asyncio, sleep, [1000]),
    ok = py:cancel(Created),
    ?assertEqual({error, cancelled}, py_event_loop:await(Created)),
    {ok, Submitted} = py_context:submit(py:context(1), asyncio, sleep, [1000]),
    ok = py:cancel(Submitted),
    ?assertEqual({error, cancelled}, py_event_loop:await(Submitted)).

%% Proves that cancel interrupts a function that runs, of a cast too, and that the context goes on.
cancel_while_running(_) ->
    Ctx = py:context(1),
    Run = fun(Start, Await) ->
        ok = py:state_remove(<<"running">>),
        Ref = Start(),
        ok = eventually_state(running, <<"running">>),
        ok = py:cancel(Ref),
        ?assertEqual({error, cancelled}, Await(Ref)),
        ?assertEqual({ok, 4.0}, py:call(Ctx, math, sqrt, [16]))
    end,
    Run(fun() -> py:async_call(Ctx, tasks, tell_and_spin, [running]) end, fun py:async_await/1),
    Run(fun() -> py:cast(Ctx, tasks, tell_and_spin, [running]) end, fun py:await/1),
    Run(fun() -> py:spawn_call(Ctx, tasks, tell_and_spin, [running]) end, fun py:await/1).

%% Proves that a request that its context has not begun is cancelled without being run, and that the one before it is
%% not touched.
cancel_in_the_queue(_) ->
    Ctx = py:context(1),
    Busy = py:cast(Ctx, tasks, tell_and_spin, [queue]),
    ok = eventually_state(queue, <<"running">>),
    Queued = py:async_call(Ctx, tasks, tell_later, [queued, 0]),
    Cast = py:cast(Ctx, erlang, state_set, [queued, 1]),
    ok = py:cancel(Queued),
    ok = py:cancel(Cast),
    ?assertEqual({error, cancelled}, py:async_await(Queued)),
    ?assertEqual({error, cancelled}, py:await(Cast)),
    ?assertEqual({error, timeout}, py:await(Busy, 50)),
    ok = py:cancel(Busy),
    ?assertEqual({error, cancelled}, py:await(Busy)),
    ?assertEqual({error, not_found}, state(queued)).

%% Proves that cancelling what has ended, or never was, does nothing.
cancel_of_what_has_ended(_) ->
    Ref = py:async_call(tasks, value, [1]),
    receive {async_result, Ref, Result} -> ?assertEqual({ok, 1}, Result) end,
    ok = py:cancel(Ref),
    ok = py:cancel(make_ref()),
    ?assertEqual({error, timeout}, py:async_await(Ref, 50)).

%% Proves that a coroutine that Python itself cancels ends with Python's exception.
a_coroutine_that_cancels_itself(_) ->
    ?assertMatch({error, {'CancelledError', _}}, py:async_await(py:async_call(tasks, cancels_itself, []))).

%% Proves that a coroutine that never waits is ended by its timeout, while one that waits beside it is not.
a_task_that_holds_up_the_loop_is_late(_) ->
    Ctx = py:context(1),
    Other = py:async_call(Ctx, tasks, wait_gate, [<<"late">>]),
    ?assertEqual({error, timeout}, py:async_await(py:async_call(Ctx, tasks, spin, [], #{timeout => 200}))),
    {ok, _} = py:call(Ctx, tasks, open_gate, [<<"late">>]),
    ?assertEqual({ok, <<"open">>}, py:async_await(Other)).

%% Proves that a coroutine ends with the process that asked for it, however it was asked for.
the_death_of_a_caller_cancels(_) ->
    Starts = [fun(Key) -> py:async_call(tasks, until_cancelled, [Key]) end,
              fun(Key) -> py_event_loop:create_task(tasks, until_cancelled, [Key]) end,
              fun(Key) -> py_context:submit(py:context(1), tasks, until_cancelled, [Key]) end,
              fun(Key) -> py_event_loop:run(tasks, until_cancelled, [Key]) end],
    lists:foreach(
        fun(Start) ->
            Key = py_test:unique(death),
            Pid = spawn(fun() -> Start(Key), timer:sleep(infinity) end),
            ok = eventually_state(Key, <<"waiting">>),
            exit(Pid, kill),
            ok = eventually_state(Key, <<"cancelled">>)
        end,
        Starts).

%% Proves that a task that nobody waits for goes on when the process that began it has died.
spawned_tasks_outlive_their_caller(_) ->
    ok = py_test:in_process(fun() -> py_event_loop:spawn_task(tasks, tell_later, [spawned, 0.05]) end),
    ok = py_test:in_process(fun() -> py_event_loop_pool:spawn_task(tasks, tell_later, [pooled], #{seconds => 0.05}) end),
    ok = eventually_state(spawned, <<"ended">>),
    ok = eventually_state(pooled, <<"ended">>).

%% Proves that tasks that a coroutine leaves behind go on after it has been answered.
tasks_left_behind_go_on(_) ->
    ?assertEqual({ok, none}, py:async_await(py:async_call(tasks, background, [background]))),
    ok = eventually_state(background, <<"ended">>).

%% Proves that stopping a context answers every coroutine in it, and ends it in Python.
stop_answers_all(Config) ->
    {ok, Ctx} = py_context:new(#{mode => proplists:get_value(mode, Config)}),
    Refs = [py:async_call(Ctx, tasks, until_cancelled, [stopped]) || _ <- lists:seq(1, 20)],
    ok = eventually_state(stopped, <<"waiting">>),
    ok = py_context:stop(Ctx),
    _ = [?assertEqual({error, {context_died, stopped}}, py:async_await(Ref)) || Ref <- Refs],
    ok = eventually_state(stopped, <<"cancelled">>),
    ?assertEqual({error, {context_died, stopped}}, py:async_await(py:async_call(Ctx, tasks, value, [1]))),
    ?assertEqual({error, {context_died, stopped}}, py_context:submit_await(Ctx, tasks, value, [1])).

%% Proves that the death of the port process answers every coroutine in it, and that the pool goes on.
death_answers_all(Config) ->
    py_test:with_pool(1, #{mode => proplists:get_value(mode, Config)}, fun(Pool) ->
        OsPid = py_test:os_pid(Pool),
        Refs = [py:async_call(Pool, tasks, wait_gate, [never]) || _ <- lists:seq(1, 20)],
        ok = py_test:eventually(fun() -> py:call(Pool, tasks, pending, []) =:= {ok, 20} end),
        py_test:signal(OsPid, "KILL"),
        _ = [?assertEqual({error, {context_died, {signal, sigkill}}}, py:async_await(Ref)) || Ref <- Refs],
        ?assertEqual({ok, 1}, py:async_await(py:async_call(Pool, tasks, value, [1]))),
        ?assertEqual(0, py_semaphore:current())
    end).

%% Proves that erlang.self() is the process that asked for the coroutine, also after others had their turn.
self_is_the_caller(_) ->
    Ctx = py:context(1),
    Jobs = [py_test:async(fun() ->
        {ok, Seen} = py:async_await(py:async_call(Ctx, tasks, who_am_i, [0.02])),
        ?assertEqual({self(), self()}, Seen)
    end) || _ <- lists:seq(1, 20)],
    lists:foreach(fun py_test:join/1, Jobs).

%% Proves that coroutines work in the namespace of the process that asked for them, also when they take turns with those
%% of others in the same context.
namespaces(_) ->
    Ctx = py:context(1),
    Jobs = [py_test:async(fun() ->
        ok = py_event_loop:exec(Ctx, <<"import asyncio\n"
                                       "async def mine():\n"
                                       "    await asyncio.sleep(0.01)\n"
                                       "    import __main__\n"
                                       "    return (number, __main__.number)\n">>),
        ok = py:exec(Ctx, ["number = ", integer_to_binary(N)]),
        ?assertEqual({ok, N}, py_event_loop:eval(Ctx, <<"number">>)),
        ?assertEqual({ok, {N, N}}, py:async_await(py:async_call(Ctx, '__main__', mine, []))),
        ?assertEqual({ok, {N, N}}, py:async_await(py:async_call('__main__', mine, []))),
        ?assertEqual({ok, {N, N}}, py_event_loop:run('__main__', mine, [])),
        ?assertEqual({ok, {N, N}}, py_event_loop_pool:run('__main__', mine, []))
    end) || N <- lists:seq(1, 10)],
    lists:foreach(fun py_test:join/1, Jobs).

%% Proves that coroutines call Erlang both ways, from many at once, and get its exceptions.
calls_to_erlang(_) ->
    ok = py:register_function(double, fun([N]) -> timer:sleep(5), 2 * N end),
    ok = py:register_function(bad, fun(_) -> error(oops) end),
    Ctx = py:context(1),
    Refs = [{N, py:async_call(Ctx, tasks, F, [double, N])} || N <- lists:seq(1, 50), F <- [call, async_call]],
    _ = [?assertEqual({ok, 2 * N}, py:async_await(Ref)) || {N, Ref} <- Refs],
    ?assertMatch({error, {'ErlangError', _}}, py:async_await(py:async_call(Ctx, tasks, call, [bad]))),
    ?assertMatch({error, {'ErlangError', _}}, py:async_await(py:async_call(Ctx, tasks, async_call, [bad]))).

%% Proves that what a coroutine calls in Erlang may call the same context, synchronously and asynchronously.
reentry(_) ->
    Ctx = py:context(1),
    ok = py:register_function(sync_again, fun([N]) -> {ok, V} = py:call(Ctx, tasks_probe(), echo, [N]), V end),
    ok = py:register_function(async_again, fun([N]) ->
        {ok, V} = py:async_await(py:async_call(Ctx, tasks, value, [N, 0.01])),
        V
    end),
    _ = [?assertEqual({ok, N}, py:async_await(py:async_call(Ctx, tasks, F, [Callback, N])))
         || F <- [call, async_call], Callback <- [sync_again, async_again], N <- lists:seq(1, 5)],
    Refs = [{N, py:async_call(Ctx, tasks, F, [Callback, N])}
            || F <- [call, async_call], Callback <- [sync_again, async_again], N <- lists:seq(1, 20)],
    _ = [?assertEqual({ok, N}, py:async_await(Ref)) || {N, Ref} <- Refs],
    ?assertEqual({ok, 7}, py:call(Ctx, erlang, call, [async_again, 7])).

tasks_probe() -> probe.

%% Proves that a callback may ask for coroutines on other contexts and gather them.
async_calls_in_callbacks(_) ->
    ok = py:register_function(gathered, fun([N]) ->
        {ok, Values} = py:async_gather([{tasks, value, [I, 0.01]} || I <- lists:seq(1, N)]),
        lists:sum(Values)
    end),
    ?assertEqual({ok, 55}, py:call(erlang, call, [gathered, 10])),
    ?assertEqual({ok, 55}, py:async_await(py:async_call(tasks, async_call, [gathered, 10]))).

%% Proves that coroutines of one process are begun in the order in which it asked for them.
in_order(_) ->
    Ctx = py:context(1),
    ok = py:exec(Ctx, <<"seen = []\nasync def enter(n):\n    seen.append(n)\n    await __import__('asyncio').sleep(0.01)\n">>),
    Refs = [py:async_call(Ctx, '__main__', enter, [N]) || N <- lists:seq(1, 100)],
    _ = [{ok, none} = py:async_await(Ref) || Ref <- Refs],
    ?assertEqual({ok, lists:seq(1, 100)}, py:eval(Ctx, <<"seen">>)).

%% Proves that py_event_loop:run waits for the result, where routing says and on a context.
run(_) ->
    %% Of a process that is not bound its scheduler says where, which may be another one by the next call.
    ok = py_context_router:bind_context(py:context()),
    {ok, Loop} = py_event_loop:get_loop(),
    ?assertEqual({ok, Loop}, py_context:loop_ref(py:context())),
    ok = py_context_router:unbind_context(),
    ?assertEqual({ok, 1}, py_event_loop:run(tasks, value, [1, 0.01])),
    ?assertEqual({ok, 2}, py_event_loop:run(py:context(1), tasks, value, [2, 0.01])),
    ?assertEqual({ok, 3}, py_event_loop:run(io, tasks, value, [3, 0.01])).

%% Proves that a loop is known by a reference, which stands for its context wherever a loop or a context may, until that has
%% ended.
loops_by_reference(Config) ->
    {ok, Ctx} = py_context:new(#{mode => proplists:get_value(mode, Config)}),
    {ok, Loop} = py_context:loop_ref(Ctx),
    ok = py_event_loop:exec(Loop, "n = 2"),
    ?assertEqual({ok, 2}, py_event_loop:eval(Loop, "n")),
    ?assertEqual({ok, 2}, py:eval(Ctx, "n")),
    ?assertEqual({ok, 1}, py_event_loop:run(Loop, tasks, value, [1, 0.01])),
    ?assertEqual({ok, 4}, py_event_loop:await(py_event_loop:create_task(Loop, tasks, value, [4]))),
    ok = py_event_loop:spawn_task(Loop, tasks, value, [5]),
    Ref = make_ref(),
    ok = py_event_loop:run_async(Loop, [{ref, Ref}, {caller, self()}, {module, tasks}, {func, value}, {args, [6]}]),
    ?assertEqual({ok, 6}, py_event_loop:await(Ref)),
    ok = py_context:stop(Ctx),
    ?assertEqual({error, {no_such_loop, Loop}}, py_event_loop:run(Loop, tasks, value, [1])),
    ?assertEqual({error, {no_such_loop, Loop}}, py_event_loop:eval(Loop, "n")),
    ?assertError({no_such_loop, Loop}, py_event_loop:create_task(Loop, tasks, value, [1])).

%% Proves that tasks are created and awaited with or without a context, and spawned without a word about their end.
create_and_spawn(_) ->
    Ctx = py:context(1),
    Refs = [py_event_loop:create_task(tasks, value, [1, 0.01]), py_event_loop:create_task(Ctx, tasks, value, [2])],
    ?assertEqual([{ok, 1}, {ok, 2}], [py_event_loop:await(Ref) || Ref <- Refs]),
    ok = py_event_loop:spawn_task(tasks, tell_later, [created, 0]),
    ok = py_event_loop:spawn_task(Ctx, tasks, fail, ['ValueError']),
    ok = eventually_state(created, <<"ended">>),
    {ok, none} = py:async_await(py:async_call(Ctx, asyncio, sleep, [0.01])),
    receive Message -> ?assertEqual(none, Message) after 0 -> ok end.

%% Proves that the loop pool sends all tasks of a process to one context, and processes to different ones.
pool_is_sticky(_) ->
    Places = [py_test:in_process(fun() ->
        {ok, Loop} = py_event_loop_pool:get_loop(),
        {ok, Place} = py_event_loop_pool:run(probe, thread, []),
        ?assertEqual({ok, Place}, py_event_loop:run(Loop, probe, thread, [])),
        Refs = [py_event_loop_pool:create_task(probe, thread, []) || _ <- lists:seq(1, 10)],
        _ = [?assertEqual({ok, Place}, py_event_loop_pool:await(Ref)) || Ref <- Refs],
        ok = py_event_loop_pool:exec(<<"kept = 5">>),
        ?assertEqual({ok, 5}, py_event_loop_pool:eval(<<"kept">>)),
        ?assertEqual({ok, 6}, py_event_loop_pool:eval(<<"kept + more">>, #{more => 1})),
        ?assertEqual({ok, 5}, py:eval(<<"kept">>)),
        Place
    end) || _ <- lists:seq(1, 20)],
    ?assertEqual(2, length(lists:usort(Places))),
    ?assertEqual(#{num_loops => 2, supported => true}, py_event_loop_pool:get_stats()).

%% Proves that code can be run on each loop of the pool, and that it is known who has a namespace where.
loops_of_the_pool(_) ->
    {ok, Loops} = py_event_loop_pool:get_all_loops(),
    ?assertEqual(2, length(lists:usort(Loops))),
    py_test:in_process(fun() ->
        _ = [ok = py_event_loop_pool:exec(Loop, "here = 1") || Loop <- Loops],
        ?assertEqual([{ok, 1}, {ok, 1}], [py_event_loop_pool:eval(Loop, "here") || Loop <- Loops]),
        {ok, Sessions} = py_event_loop_pool:get_all_sessions(),
        ?assertEqual([], [{self(), Loop} || Loop <- Loops] -- Sessions)
    end),
    Ref = make_ref(),
    ok = py_event_loop_pool:run_async(#{ref => Ref, caller => self(), module => tasks, func => value, args => [3]}),
    ?assertEqual({ok, 3}, py_event_loop:await(Ref)).

%% Proves that run_async sends the result to whom it was asked to, under the reference that came with it.
run_async(_) ->
    Ref = make_ref(),
    ok = py_event_loop:run_async(py:context(1), #{ref => Ref, caller => self(), module => tasks, func => value, args => [3]}),
    ?assertEqual({ok, 3}, py_event_loop:await(Ref)).

%% Proves that submit gives a reference and runs in the shared namespace of the context.
submit(_) ->
    Ctx = py:context(1),
    {ok, Ref} = py_context:submit(Ctx, tasks, value, [1, 0.01]),
    receive {async_result, Ref, Result} -> ?assertEqual({ok, 1}, Result) end,
    ok = py_context:exec(Ctx, <<"async def shared(n):\n    return n + 1\n">>),
    ?assertEqual({ok, 2}, py_context:submit_await(Ctx, '__main__', shared, [1])).

%% Proves that a loop that was started can be stopped, which cancels its tasks and tells its owner, and started again.
loop_is_started_and_stopped(_) ->
    Ctx = py:context(1),
    ?assertEqual({error, no_loop}, py_context:stop_loop(Ctx)),
    {ok, Loop} = py_context:loop_ref(Ctx),
    ok = py_context:start_loop(Ctx),
    ?assertEqual({error, already_running}, py_context:start_loop(Ctx)),
    {ok, Ref} = py_context:submit(Ctx, tasks, until_cancelled, [loop]),
    ok = eventually_state(loop, <<"waiting">>),
    ?assertEqual({ok, 4.0}, py:call(Ctx, math, sqrt, [16])),
    ok = py_context:stop_loop(Ctx, 5000),
    receive {py_loop_exit, Ctx, Result} -> ?assertEqual({ok, <<"stopped">>}, Result) end,
    ?assertEqual({error, cancelled}, py_event_loop:await(Ref)),
    ?assertEqual({ok, <<"cancelled">>}, state(loop)),
    ok = py_context:start_loop(Ctx),
    ?assertEqual({ok, Loop}, py_context:loop_ref(Ctx)),
    ?assertEqual({ok, 1}, py_context:submit_await(Ctx, tasks, value, [1, 0.01])),
    ok = py_context:stop_loop(Ctx),
    receive {py_loop_exit, Ctx, Again} -> ?assertEqual({ok, <<"stopped">>}, Again) end.

%% Proves that a context that is stopped does not wait for what its loop runs: that is interrupted, and the owner told.
a_context_that_is_stopped_with_its_loop(Config) ->
    {ok, Ctx} = py_context:new(#{mode => proplists:get_value(mode, Config)}),
    ok = py_context:start_loop(Ctx),
    {ok, Spins} = py_context:submit(Ctx, tasks, tell_and_spin, [stopped_loop]),
    ok = eventually_state(stopped_loop, <<"running">>),
    ok = py_context:stop(Ctx),
    ?assertEqual({error, {context_died, stopped}}, py_event_loop:await(Spins)),
    receive {py_loop_exit, Ctx, Result} -> ?assertEqual({error, {context_died, stopped}}, Result) end.

%% Proves that a loop ends with its owner, and that another process than the caller can own it; its owner is told of the
%% context's death too.
the_owner_of_a_loop(Config) ->
    Ctx = py:context(1),
    Owner = spawn(fun() -> timer:sleep(infinity) end),
    ok = py_context:start_loop(Ctx, #{owner => Owner}),
    Ref = py:async_call(Ctx, tasks, until_cancelled, [owner]),
    ok = eventually_state(owner, <<"waiting">>),
    exit(Owner, kill),
    ?assertEqual({error, cancelled}, py:async_await(Ref)),
    ok = py_test:eventually(fun() -> py_context:start_loop(Ctx) =:= ok end),
    ok = py_context:stop_loop(Ctx),
    receive {py_loop_exit, Ctx, _} -> ok end,
    {ok, Own} = py_context:new(#{mode => proplists:get_value(mode, Config)}),
    ok = py_context:start_loop(Own),
    ok = py_context:stop(Own),
    receive {py_loop_exit, Own, Result} -> ?assertEqual({error, {context_died, stopped}}, Result) end,
    ?assertEqual({error, {context_died, stopped}}, py_context:start_loop(Own)).

%% Proves that a task that holds up the loop is interrupted when the time of stop_loop is over.
a_loop_that_does_not_stop(Config) ->
    py_test:with_context(#{mode => proplists:get_value(mode, Config)}, fun(Ctx) ->
        ok = py_context:start_loop(Ctx),
        {ok, Spins} = py_context:submit(Ctx, tasks, tell_and_spin, [spins]),
        ok = eventually_state(spins, <<"running">>),
        ?assertEqual(ok, py_context:stop_loop(Ctx, 100)),
        ?assertEqual({error, interrupted}, py_event_loop:await(Spins)),
        receive {py_loop_exit, Ctx, Result} -> ?assertEqual({error, interrupted}, Result) end,
        ok = py_context:start_loop(Ctx),
        {ok, _} = py_context:submit(Ctx, tasks, stubborn, [stubborn]),
        ok = eventually_state(stubborn, <<"waiting">>),
        ?assertEqual({error, timeout}, py_context:stop_loop(Ctx, 100)),
        ?assertEqual({error, already_running}, py_context:start_loop(Ctx))
    end).

%% Proves that a loop whose owner has died becomes free, though a task there does not let itself be cancelled, and though
%% somebody waits for its end without a limit of time.
a_loop_of_a_dead_owner_that_does_not_stop(Config) ->
    py_test:with_context(#{mode => proplists:get_value(mode, Config)}, fun(Ctx) ->
        Owner = spawn(fun() -> receive never -> ok end end),
        ok = py_context:start_loop(Ctx, #{owner => Owner}),
        {ok, _} = py_context:submit(Ctx, tasks, stubborn, [dead_owner]),
        ok = eventually_state(dead_owner, <<"waiting">>),
        ?assertEqual({error, timeout}, py_context:stop_loop(Ctx, 100)),
        Stopping = py_test:async(fun() -> py_context:stop_loop(Ctx, infinity) end),
        exit(Owner, kill),
        ?assertEqual({error, timeout}, py_test:join(Stopping)),
        ?assertEqual(ok, py_context:start_loop(Ctx)),
        ?assertEqual({ok, 1}, py_context:submit_await(Ctx, tasks, value, [1, 0.01]))
    end).

%% Proves that nothing listens any more when a loop was stopped, and that the next one can serve again.
a_stopped_loop_serves_nothing(_) ->
    Ctx = py:context(1),
    ok = py_context:start_loop(Ctx),
    {ok, Port} = py_context:submit_await(Ctx, tasks, serve, []),
    {ok, Socket} = gen_tcp:connect("127.0.0.1", Port, [{active, false}]),
    ok = py_context:stop_loop(Ctx),
    ?assertEqual({error, econnrefused}, gen_tcp:connect("127.0.0.1", Port, [])),
    ?assertMatch({error, _}, gen_tcp:recv(Socket, 1)),
    {ok, Other} = py_context:submit_await(Ctx, tasks, serve, []),
    {ok, Connected} = gen_tcp:connect("127.0.0.1", Other, []),
    ok = gen_tcp:close(Connected),
    receive {py_loop_exit, Ctx, Result} -> ?assertEqual({ok, <<"stopped">>}, Result) end.

%% Proves that what cannot be meant raises an error that names the argument.
bad_arguments(_) ->
    ?assertError({bad_argument, args, a}, py:async_call(math, sqrt, a)),
    ?assertError({bad_argument, kwargs, a}, py:async_call(math, sqrt, [1], a)),
    ?assertError({bad_argument, reference, a}, py:async_await(a)),
    ?assertError({bad_argument, timeout, a}, py:async_await(make_ref(), a)),
    ?assertError({bad_argument, reference, a}, py:cancel(a)),
    ?assertError({bad_argument, calls, a}, py:async_gather(a)),
    ?assertError({bad_argument, call, a}, py:async_gather([a])),
    ?assertError({bad_argument, options, {x, 1}}, py_event_loop:run(math, sqrt, [4], #{timeout => 1, x => 1})),
    ?assertError({bad_argument, options, _}, py_context:start_loop(py:context(1), #{owner => a})),
    ?assertMatch({error, {no_such_pool, nowhere}}, py:async_await(py:async_call(nowhere, math, sqrt, [4]))).

%% Proves that all of this has left no request waiting in Python, no slot taken, and no message.
nothing_is_left(_) ->
    lists:foreach(
        fun(Ctx) ->
            Waiting = fun() -> py:call(Ctx, tasks, waiting, []) end,
            py_test:eventually(fun() -> Waiting() =:= {ok, []} orelse Waiting() end)
        end,
        py_test:contexts(default)),
    ok = py_test:no_slots_taken(),
    receive Message -> ?assertEqual(none, Message) after 0 -> ok end.

%% Proves that the loops of many contexts run at once.
many_contexts(_) ->
    py_test:with_pool(8, #{}, fun(Pool) ->
        Refs = [{N, py:async_call(Ctx, tasks, value, [N, 0.01])}
                || Ctx <- py_test:contexts(Pool), N <- lists:seq(1, 50)],
        _ = [?assertEqual({ok, N}, py:async_await(Ref)) || {N, Ref} <- Refs],
        ok
    end).

%% What a coroutine has told in the shared state.
eventually_state(Key, Value) -> py_test:eventually(fun() -> state(Key) =:= {ok, Value} end).

state(Key) -> py:state_fetch(atom_to_binary(Key)).
