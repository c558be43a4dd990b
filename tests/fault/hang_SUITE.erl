%% Python that does not come back: timeouts, interrupts, and SIGKILL as the last step.
-module(hang_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").
-include("../../erlang_src/py_route.hrl").
-include("../../erlang_src/py_attempt.hrl").

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [endless_loop_is_interrupted, endless_loop_in_exec_and_eval, sleep_ends_by_itself, stubborn_code_is_killed,
     c_loop_is_killed, regular_expression_is_killed, c_loop_in_owngil_is_killed, everybody_is_told_of_the_kill,
     grace_of_infinity_kills_nobody, killed_caller_leaves_a_request_that_ends, slot_stays_taken_until_python_is_done,
     frozen_process_is_killed, frozen_process_without_a_timeout_can_be_resumed, memory_limit_kills,
     memory_limit_of_one_context, many_timeouts, late_replies_leave_nothing].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

%% Proves that a loop in Python that outlives its timeout is ended, and its context serves others, in both modes.
endless_loop_is_interrupted(_) ->
    _ = [py_test:with_pool(1, #{mode => Mode}, fun(Pool) ->
             Ctx = py_context_router:get_context(Pool),
             OsPid = py_test:os_pid(Ctx),
             _ = [begin
                      ?assertEqual({error, timeout}, py:call(Ctx, trouble, spin, [], #{timeout => 30})),
                      ?assertEqual({ok, N}, py:call(Ctx, probe, echo, [N]))
                  end || N <- lists:seq(1, 10)],
             ?assertEqual(OsPid, py_test:os_pid(Ctx)),
             py_test:no_slots_taken()
         end) || Mode <- py_test_modes:supported()],
    ok.

%% Proves the same of exec and eval, and that the namespace survives.
endless_loop_in_exec_and_eval(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        Ctx = py_context_router:get_context(Pool),
        ok = py:exec(Ctx, <<"kept = 1">>),
        ?assertEqual({error, timeout}, py:exec(Ctx, <<"while True:\n    kept += 1\n">>, 50)),
        {ok, N} = py:eval(Ctx, <<"kept">>),
        ?assert(N > 1),
        py_test:no_slots_taken()
    end).

%% Proves that a C call that ignores interrupts but ends in time costs nobody the process.
sleep_ends_by_itself(_) ->
    py_test:with_pool(1, #{hard_timeout_grace => 20000}, fun(Pool) ->
        Ctx = py_context_router:get_context(Pool),
        OsPid = py_test:os_pid(Ctx),
        ?assertEqual({error, timeout}, py:call(Ctx, trouble, sleep_in_c, [0.5], #{timeout => 20})),
        ?assertEqual({ok, 1}, py:call(Ctx, probe, echo, [1])),
        ?assertEqual(OsPid, py_test:os_pid(Ctx)),
        py_test:no_slots_taken()
    end).

%% Proves that code that swallows the interrupt is killed after the grace.
stubborn_code_is_killed(_) -> is_killed(#{}, fun(Ctx) -> py:call(Ctx, trouble, stubborn, [600], #{timeout => 50}) end).

%% Proves that a C loop that never looks for an interrupt is killed after the grace.
c_loop_is_killed(_) -> is_killed(#{}, fun(Ctx) -> py:call(Ctx, trouble, compute, [], #{timeout => 50}) end).

%% Proves the same of a regular expression that backtracks without end.
regular_expression_is_killed(_) ->
    is_killed(#{}, fun(Ctx) -> py:call(Ctx, trouble, backtrack, [], #{timeout => 50}) end).

%% Proves the same of an interpreter with its own GIL.
c_loop_in_owngil_is_killed(_) ->
    py_test_modes:with_owngil(fun() ->
        is_killed(#{mode => owngil}, fun(Ctx) -> py:call(Ctx, trouble, compute, [], #{timeout => 50}) end)
    end).

is_killed(Opts, Hang) ->
    py_test:with_pool(1, Opts#{hard_timeout_grace => 200}, fun(Pool) ->
        Ctx = py_context_router:get_context(Pool),
        OsPid = py_test:os_pid(Ctx),
        ?assertEqual({error, timeout}, Hang(Ctx)),
        until_killed(Ctx, OsPid, Hang),
        py_test:answers(Pool),
        ?assertNotEqual(OsPid, py_test:os_pid(Pool)),
        py_test:no_slots_taken()
    end).

%% An interrupt that comes while the code is on its way to what it hangs in ends it like any other; then it hangs again.
until_killed(Ctx, OsPid, Hang) ->
    py_test:eventually(fun() ->
        case py_test:alive(OsPid) andalso py:call(Ctx, probe, echo, [1], #{timeout => 1000}) of
            {ok, 1} -> Hang(Ctx), again;
            {error, timeout} -> still_hanging;
            _ -> not py_test:alive(OsPid)
        end
    end).

%% Proves that the other callers of a process that is killed for a timeout learn that, and so does the log.
everybody_is_told_of_the_kill(_) ->
    Log = py_test_log:collect(),
    try
        py_test:with_pool(2, #{hard_timeout_grace => 2000}, fun(Pool) ->
            [Hung, Other] = py_test:contexts(Pool),
            Waiting = py_test:waiting(Other, 600),
            Queued = py_test:async(fun() -> py:call(Other, probe, echo, [1]) end),
            OsPid = maps:get(os_pid, maps:get(Pool, py:stats())),
            Hang = fun(Ctx) -> py:call(Ctx, trouble, stubborn, [600], #{timeout => 50}) end,
            ?assertEqual({error, timeout}, Hang(Hung)),
            until_killed(Hung, OsPid, Hang),
            ?assertEqual([{error, {context_died, {killed, timeout}}}, {error, {context_died, {killed, timeout}}}],
                         [py_test:join(Job) || Job <- [Waiting, Queued]]),
            _ = py_test_log:wait("hard_timeout_grace"),
            py_test:answers(Pool)
        end)
    after
        py_test_log:stop(Log)
    end.

%% Proves that with hard_timeout_grace => infinity a request that does not end is left alone.
grace_of_infinity_kills_nobody(_) ->
    py_test:with_pool(2, #{hard_timeout_grace => infinity}, fun(Pool) ->
        [Hung, Other] = py_test:contexts(Pool),
        OsPid = py_test:os_pid(Hung),
        ?assertEqual({error, timeout}, py:call(Hung, trouble, stubborn, [1.5], #{timeout => 20})),
        ?assertEqual({ok, 1}, py:call(Other, probe, echo, [1])),
        ?assertEqual({ok, 2}, py:call(Hung, probe, echo, [2])),
        ?assertEqual(OsPid, py_test:os_pid(Hung)),
        py_test:no_slots_taken()
    end).

%% Proves that a request whose caller was killed still meets its deadline, and that its slot comes back then.
killed_caller_leaves_a_request_that_ends(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        Ctx = py_context_router:get_context(Pool),
        {Caller, Monitor} = py_test:spinning(Ctx, #{timeout => 1000}),
        exit(Caller, kill),
        receive {'DOWN', Monitor, process, Caller, _} -> ok end,
        ?assertEqual({ok, 1}, py:call(Ctx, probe, echo, [1])),
        py_test:no_slots_taken()
    end).

%% Proves that a caller that timed out does not make room for the next call while Python still works for it.
slot_stays_taken_until_python_is_done(_) ->
    py_test:with_pool(1, #{hard_timeout_grace => infinity, max_concurrent => 1}, fun(Pool) ->
        Ctx = py_context_router:get_context(Pool),
        {ok, _} = py:call(Ctx, trouble, say, [<<"loaded">>]),
        ?assertEqual({error, timeout}, py:call(Ctx, trouble, stubborn, [3.0], #{timeout => 300})),
        ?assertEqual(1, py_semaphore:current(Pool)),
        ?assertEqual({error, {overloaded, 1, 1}}, py:call(Ctx, probe, echo, [1], #{timeout => 20})),
        %% Other pools have limits of their own.
        ?assertEqual({ok, 1}, py:call(probe, echo, [1])),
        py_test:no_slots_taken()
    end).

%% Proves that a process that is stopped as a whole is killed once a call in it has timed out and the grace is over.
frozen_process_is_killed(_) ->
    py_test:with_pool(1, #{hard_timeout_grace => 200}, fun(Pool) ->
        OsPid = py_test:os_pid(Pool),
        Ctx = py_context_router:get_context(Pool),
        py_test:signal(OsPid, "STOP"),
        ?assertEqual({error, timeout}, py:call(Ctx, probe, echo, [1], #{timeout => 100})),
        py_test:eventually(fun() -> not py_test:alive(OsPid) end),
        py_test:answers(Pool),
        py_test:no_slots_taken()
    end).

%% Proves that a process that is stopped and continued answers the calls that wait without a timeout.
frozen_process_without_a_timeout_can_be_resumed(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        OsPid = py_test:os_pid(Pool),
        Ctx = py_context_router:get_context(Pool),
        py_test:signal(OsPid, "STOP"),
        Large = binary:copy(<<"x">>, 5 bsl 20),
        Jobs = [{V, py_test:async(fun() -> py:call(Ctx, probe, echo, [V], #{timeout => infinity}) end)}
                || V <- [1, 2, Large]],
        py_test:eventually(fun() -> py_semaphore:current(Pool) >= 3 end),
        ?assertEqual({ok, 4.0}, py:call(default, math, sqrt, [16])),
        py_test:signal(OsPid, "CONT"),
        _ = [?assert({ok, V} =:= py_test:join(Job)) || {V, Job} <- Jobs],
        ?assertEqual(OsPid, py_test:os_pid(Pool))
    end).

%% Proves that a process that grows beyond memory_limit is killed, with that cause for all its callers and for the log.
memory_limit_kills(_) ->
    Log = py_test_log:collect(),
    try
        py_test:with_pool(2, #{memory_limit => 200 bsl 20}, fun(Pool) ->
            [Greedy, Other] = py_test:contexts(Pool),
            Modest = py_test:waiting(Other, 600),
            Died = {error, {context_died, {killed, memory_limit}}},
            ?assertEqual(Died, py:call(Greedy, trouble, bloat, [400])),
            ?assertEqual(Died, py_test:join(Modest)),
            _ = py_test_log:wait("memory_limit"),
            py_test:answers(Pool),
            py_test:no_slots_taken()
        end)
    after
        py_test_log:stop(Log)
    end.

%% Proves that a context made with memory_limit is killed alone.
memory_limit_of_one_context(_) ->
    py_test:with_context(#{}, fun(Other) ->
        {ok, Greedy} = py_context:new(#{memory_limit => 200 bsl 20}),
        ok = py_context:exec(Other, <<"kept = 1">>),
        ?assertEqual({error, {context_died, {killed, memory_limit}}}, py:call(Greedy, trouble, bloat, [400])),
        ?assertEqual({ok, 1}, py_context:eval(Other, <<"kept">>))
    end).

%% Proves that hundreds of timeouts at random moments leave every slot free and every context working.
many_timeouts(_) ->
    Contexts = py_context_router:contexts(),
    Jobs = [py_test:async(fun() ->
        [py:call(Ctx, probe, tagged_sleep, [N, 0.002], #{timeout => rand:uniform(6)})
         || N <- lists:seq(1, 25), Ctx <- Contexts]
    end) || _ <- lists:seq(1, 8)],
    Results = lists:append([py_test:join(Job) || Job <- Jobs]),
    ?assertEqual([], [R || R <- Results, not expected(R)]),
    py_test:no_slots_taken(),
    _ = [?assertEqual({ok, 1}, py:call(Ctx, probe, echo, [1])) || Ctx <- Contexts],
    ok.

%% Proves that a reply that comes just when its caller gives up is its result or lost, and never left in its mailbox: tried at
%% a hundred thousand moments around that.
late_replies_leave_nothing(_) ->
    Owner = spawn_link(fun swallow/0),
    Sender = spawn_link(fun reply_at_once/0),
    Route = (py_tables:route(py:context(1)))#route{ctx = Owner, owner = Owner},
    Results = [begin
        Alias = monitor(process, Owner, [{alias, reply_demonitor}]),
        Sender ! Alias,
        ok = spin(N rem 500),
        Attempt = #attempt{target = routed, operation = none, flags = 0, caller = py_env:caller(), timeout = 1, at = flight,
                           route = Route, alias = Alias},
        Result = py_request:result(expired, Attempt),
        {Result, receive {py_reply, _, _} -> stray after 0 -> nothing end}
    end || N <- lists:seq(1, 100000)],
    %% Both ends were met, so the moment between them was.
    ?assertEqual([{{error, timeout}, nothing}, {{ok, late}, nothing}], lists:usort(Results)).

swallow() -> receive _ -> swallow() end.

reply_at_once() ->
    receive Alias -> Alias ! {py_reply, Alias, term_to_binary({ok, late})} end,
    reply_at_once().

spin(0) -> ok;
spin(N) -> spin(N - 1).

expected({ok, _}) -> true;
expected({error, timeout}) -> true;
expected({error, {overloaded, _, _}}) -> true;
expected(_) -> false.
