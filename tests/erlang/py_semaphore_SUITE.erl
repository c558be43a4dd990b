%% The limit on concurrent requests: exact, fair, and never leaking, whoever dies when.
-module(py_semaphore_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [acquire_and_release, no_slot_within_the_timeout, release_without_acquire, release_by_another_process,
     waiters_are_served_in_order, waiter_that_gives_up_is_passed_over, killed_waiter_is_passed_over,
     killed_holder_leaves_nothing, killed_in_the_act_leaves_nothing, raising_wakes_waiters, lowering_spares_the_running,
     lowering_and_raising_under_load, every_call_takes_a_slot, overloaded_names_figures, timed_out_call_gives_its_slot_back,
     death_of_the_port_gives_slots_back, restart_of_the_semaphore, never_more_than_the_limit_run, bad_arguments].

init_per_suite(Config) -> ok = py_test:start([{default_pool_size, 2}]), Config.
end_per_suite(_Config) -> py_test:stop().

init_per_testcase(_, Config) ->
    [{max, py_semaphore:max_concurrent()} | Config].

end_per_testcase(_, Config) ->
    ok = py_semaphore:set_max_concurrent(proplists:get_value(max, Config)).

%% Proves that slots taken by hand are counted and given back.
acquire_and_release(_) ->
    ?assertEqual(0, py_semaphore:current()),
    ok = py_semaphore:acquire(0),
    ok = py_semaphore:acquire(100),
    ?assertEqual(2, py_semaphore:current()),
    ok = py_semaphore:release(),
    ?assertEqual(1, py_semaphore:current()),
    ok = py_semaphore:release(),
    ?assertEqual(0, py_semaphore:current()).

%% Proves that who gets no slot is told so, and leaves nothing in the queue.
no_slot_within_the_timeout(_) ->
    ok = py_semaphore:set_max_concurrent(1),
    ok = py_semaphore:acquire(0),
    ?assertEqual({error, max_concurrent}, py_test:in_process(fun() -> py_semaphore:acquire(0) end)),
    ?assertEqual({error, max_concurrent}, py_test:in_process(fun() -> py_semaphore:acquire(20) end)),
    ok = py_semaphore:release(),
    ?assertEqual(ok, py_test:in_process(fun() -> py_semaphore:acquire(0) end)),
    py_test:no_slots_taken().

%% Proves that releasing what was not taken changes nothing.
release_without_acquire(_) ->
    ok = py_semaphore:release(),
    ?assertEqual(0, py_semaphore:current()),
    ok = py_semaphore:acquire(0),
    ?assertEqual(1, py_semaphore:current()),
    ok = py_semaphore:release().

%% Proves that a slot may be taken in one process and given back in another.
release_by_another_process(_) ->
    ok = py_semaphore:acquire(0),
    ok = py_test:in_process(fun() -> py_semaphore:release() end),
    ?assertEqual(0, py_semaphore:current()).

%% Proves that waiters get slots in the order in which they came.
waiters_are_served_in_order(_) ->
    ok = py_semaphore:set_max_concurrent(1),
    ok = py_semaphore:acquire(0),
    Self = self(),
    Waiters = [begin
                   Pid = spawn_link(fun() ->
                       ok = py_semaphore:acquire(infinity),
                       Self ! {served, N},
                       ok = py_semaphore:release()
                   end),
                   waits(Pid),
                   N
               end || N <- lists:seq(1, 30)],
    ok = py_semaphore:release(),
    ?assertEqual(Waiters, [receive {served, N} -> N end || _ <- Waiters]),
    py_test:no_slots_taken().

%% Proves that a waiter whose time is up neither blocks nor consumes.
waiter_that_gives_up_is_passed_over(_) ->
    ok = py_semaphore:set_max_concurrent(1),
    ok = py_semaphore:acquire(0),
    First = py_test:async(fun() -> py_semaphore:acquire(1000) end),
    waits(element(1, First)),
    Second = py_test:async(fun() -> py_semaphore:acquire(infinity) end),
    ?assertEqual({error, max_concurrent}, py_test:join(First)),
    ok = py_semaphore:release(),
    ?assertEqual(ok, py_test:join(Second)),
    py_test:no_slots_taken().

%% Proves the same of a waiter that is killed.
killed_waiter_is_passed_over(_) ->
    ok = py_semaphore:set_max_concurrent(1),
    ok = py_semaphore:acquire(0),
    Killed = [spawn(fun() -> py_semaphore:acquire(infinity) end) || _ <- lists:seq(1, 10)],
    _ = [waits(Pid) || Pid <- Killed],
    Second = py_test:async(fun() -> py_semaphore:acquire(infinity) end),
    waits(element(1, Second)),
    _ = [exit(Pid, kill) || Pid <- Killed],
    ok = py_semaphore:release(),
    ?assertEqual(ok, py_test:join(Second)),
    py_test:no_slots_taken().

%% Proves that a slot held by a process that is killed comes back, also to one who waits already.
killed_holder_leaves_nothing(_) ->
    ok = py_semaphore:set_max_concurrent(1),
    Self = self(),
    Holder = spawn(fun() -> ok = py_semaphore:acquire(0), Self ! holds, receive never -> ok end end),
    receive holds -> ok end,
    ?assertEqual(1, py_semaphore:current()),
    Waiter = py_test:async(fun() -> py_semaphore:acquire(infinity) end),
    waits(element(1, Waiter)),
    exit(Holder, kill),
    ?assertEqual(ok, py_test:join(Waiter)),
    py_test:no_slots_taken().

%% Proves that processes killed at any instant of a call, thousands of them, leave no slot behind.
killed_in_the_act_leaves_nothing(_) ->
    ok = py_semaphore:set_max_concurrent(20),
    lists:foreach(
        fun(Round) ->
            Pids = [spawn(fun() -> calls() end) || _ <- lists:seq(1, 40)],
            spin(Round rem 7 * 300),
            _ = [exit(Pid, kill) || Pid <- Pids]
        end,
        lists:seq(1, 100)),
    py_test:no_slots_taken(),
    ?assertEqual({ok, 2.0}, py:call(math, sqrt, [4])).

%% Proves that raising the limit lets waiters in.
raising_wakes_waiters(_) ->
    ok = py_semaphore:set_max_concurrent(1),
    ok = py_semaphore:acquire(0),
    Waiters = [py_test:async(fun() -> py_semaphore:acquire(infinity) end) || _ <- lists:seq(1, 3)],
    _ = [waits(Pid) || {Pid, _} <- Waiters],
    ok = py_semaphore:set_max_concurrent(4),
    ?assertEqual([ok, ok, ok], [py_test:join(W) || W <- Waiters]),
    ok = py_semaphore:release(),
    py_test:no_slots_taken().

%% Proves that lowering the limit leaves holders alone and lets nobody in until there are fewer than it says.
lowering_spares_the_running(_) ->
    ok = py_semaphore:set_max_concurrent(10),
    _ = [ok = py_semaphore:acquire(0) || _ <- lists:seq(1, 6)],
    ok = py_semaphore:set_max_concurrent(2),
    ?assertEqual({6, 2}, {py_semaphore:current(), py_semaphore:max_concurrent()}),
    lists:foreach(
        fun(Held) ->
            ?assertEqual({Held, {error, max_concurrent}}, {Held, py_test:in_process(fun() -> py_semaphore:acquire(0) end)}),
            ok = py_semaphore:release()
        end,
        [6, 5, 4, 3, 2]),
    ?assertEqual(ok, py_test:in_process(fun() -> py_semaphore:acquire(0) end)),
    ok = py_semaphore:release(),
    py_test:no_slots_taken().

%% Proves that no call fails or is lost while the limit goes up and down.
lowering_and_raising_under_load(_) ->
    Jobs = [py_test:async(fun() -> [py:call(math, sqrt, [4]) || _ <- lists:seq(1, 200)] end) || _ <- lists:seq(1, 20)],
    _ = [begin ok = py_semaphore:set_max_concurrent(N), spin(2000) end || _ <- lists:seq(1, 10), N <- [1, 50, 3, 7]],
    ?assertEqual([{ok, 2.0}], lists:usort(lists:append([py_test:join(Job) || Job <- Jobs]))),
    py_test:no_slots_taken().

%% Proves that calls of every kind hold a slot while Python has them.
every_call_takes_a_slot(_) ->
    ok = py_semaphore:set_max_concurrent(50),
    Held = fun(Fun) ->
        {Pid, _} = Job = py_test:async(Fun),
        py_test:eventually(fun() -> py_semaphore:current() >= 1 end),
        %% Each would run for ever.
        py_test:eventually(fun() ->
            _ = [py:interrupt(Ctx) || Ctx <- py_context_router:contexts()],
            not is_process_alive(Pid)
        end),
        _ = py_test:join(Job),
        py_test:no_slots_taken()
    end,
    Held(fun() -> py:call(probe, spin, []) end),
    Held(fun() -> py:eval(<<"__import__('probe').spin()">>) end),
    Held(fun() -> py:exec(<<"while True:\n    pass">>) end),
    Held(fun() -> py:await(py:cast(probe, spin, [])) end),
    Held(fun() -> py:parallel([{probe, spin, []}, {probe, spin, []}]) end).

%% Proves that a call that gets no slot says how many there are.
overloaded_names_figures(_) ->
    ok = py_semaphore:set_max_concurrent(1),
    ok = py_semaphore:acquire(0),
    ?assertEqual({error, {overloaded, 1, 1}}, py:call(math, sqrt, [4], #{}, 30)),
    ?assertEqual({error, {overloaded, 1, 1}}, py:eval(<<"1">>, #{}, 30)),
    ?assertEqual({error, {overloaded, 1, 1}}, py:await(py:cast(math, sqrt, [4], #{}, 30))),
    ok = py_semaphore:release(),
    ?assertEqual({ok, 2.0}, py:call(math, sqrt, [4])).

%% Proves that a call that timed out keeps its slot until Python is done, and no longer.
timed_out_call_gives_its_slot_back(_) ->
    ?assertEqual({error, timeout}, py:call(time, sleep, [0.5], #{}, 50)),
    ?assertEqual(1, py_semaphore:current()),
    py_test:no_slots_taken().

%% Proves that what a port process held is free when it dies: for callers that live, have timed out, or were killed.
death_of_the_port_gives_slots_back(_) ->
    ok = py_semaphore:set_max_concurrent(10),
    py_test:with_pool(1, #{hard_timeout_grace => infinity}, fun(Pool) ->
        Ctx = py_context_router:get_context(Pool),
        #{Pool := #{os_pid := OsPid}} = py:stats(),
        Living = py_test:async(fun() -> py:call(Ctx, time, sleep, [600]) end),
        TimedOut = py_test:async(fun() -> py:call(Ctx, time, sleep, [600], #{timeout => 1000}) end),
        {Killed, Monitor} = py_test:async(fun() -> py:call(Ctx, time, sleep, [600]) end),
        py_test:eventually(fun() -> py_semaphore:current() =:= 3 end),
        exit(Killed, kill),
        receive {'DOWN', Monitor, process, _, _} -> ok end,
        ?assertEqual({error, timeout}, py_test:join(TimedOut)),
        py_test:signal(OsPid, "KILL"),
        ?assertEqual({error, {context_died, {signal, sigkill}}}, py_test:join(Living)),
        py_test:no_slots_taken()
    end).

%% Proves that a crash of py_semaphore itself loses neither slots nor waiters.
restart_of_the_semaphore(_) ->
    ok = py_semaphore:set_max_concurrent(1),
    ok = py_semaphore:acquire(0),
    Waiter = py_test:async(fun() -> py_semaphore:acquire(infinity) end),
    waits(element(1, Waiter)),
    Before = whereis(py_semaphore),
    exit(Before, kill),
    py_test:eventually(fun() -> is_pid(whereis(py_semaphore)) andalso whereis(py_semaphore) =/= Before end),
    ?assertEqual({1, 1}, {py_semaphore:current(), py_semaphore:max_concurrent()}),
    ok = py_semaphore:release(),
    ?assertEqual(ok, py_test:join(Waiter)),
    ?assertEqual({ok, 2.0}, py:call(math, sqrt, [4])),
    py_test:no_slots_taken().

%% Proves that Python never has more requests than the limit, seen from Python.
never_more_than_the_limit_run(_) ->
    ok = py_semaphore:set_max_concurrent(3),
    py_test:with_pool(8, #{}, fun(Pool) ->
        ok = py_context:exec(hd(py_test:contexts(Pool)), <<
            "import sys, types, threading, time\n"
            "m = types.ModuleType('gauge_module')\n"
            "m.lock, m.now, m.most = threading.Lock(), 0, 0\n"
            "def enter():\n"
            "    with m.lock:\n"
            "        m.now += 1\n"
            "        m.most = max(m.most, m.now)\n"
            "    time.sleep(0.002)\n"
            "    with m.lock:\n"
            "        m.now -= 1\n"
            "m.enter = enter\n"
            "m.peak = lambda: m.most\n"
            "sys.modules['gauge_module'] = m\n">>),
        Jobs = [py_test:async(fun() -> [py:call(Pool, gauge_module, enter, []) || _ <- lists:seq(1, 20)] end)
                || _ <- lists:seq(1, 16)],
        ?assertEqual([{ok, none}], lists:usort(lists:append([py_test:join(Job) || Job <- Jobs]))),
        {ok, Most} = py:call(Pool, gauge_module, peak, []),
        ?assert(Most =< 3)
    end).

%% Proves that what cannot be a limit or a timeout is refused.
bad_arguments(_) ->
    _ = [?assertError({bad_argument, max_concurrent, _}, py_semaphore:set_max_concurrent(Bad)) || Bad <- [0, -1, many, 1.5]],
    _ = [?assertError({bad_argument, timeout, _}, py_semaphore:acquire(Bad)) || Bad <- [-1, soon, 1.5, 1 bsl 40]],
    ok.

%% Until nobody holds anything.

%% Until the process is waiting for a message.
waits(Pid) ->
    py_test:eventually(fun() -> process_info(Pid, status) =:= {status, waiting} end),
    %% Its request is with py_semaphore when that has answered a later one.
    _ = py_semaphore:current(),
    ok.

calls() ->
    _ = py:call(math, sqrt, [4]),
    calls().

%% Some time that no clock measures.
spin(0) -> ok;
spin(N) -> spin(N - 1).
