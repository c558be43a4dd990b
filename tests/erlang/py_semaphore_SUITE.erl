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
     death_of_the_port_gives_slots_back, restart_of_the_semaphore, never_more_than_the_limit_run, bad_arguments,
     pools_do_not_wait_for_each_other, defaults_of_the_limit, a_pool_that_restarts_keeps_its_limit, limits_of_other_pools_by_hand,
     no_more_than_may_wait, a_hand_over_that_was_cut_off, everybody_is_served_whoever_dies, waiters_of_a_stopped_pool,
     waiters_by_hand_of_a_stopped_pool, free_when_it_is_given_back].

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
    py_test:with_pool(1, #{hard_timeout_grace => infinity, max_concurrent => 10}, fun(Pool) ->
        Ctx = py_context_router:get_context(Pool),
        #{Pool := #{os_pid := OsPid}} = py:stats(),
        Living = py_test:async(fun() -> py:call(Ctx, time, sleep, [600]) end),
        TimedOut = py_test:async(fun() -> py:call(Ctx, time, sleep, [600], #{timeout => 1000}) end),
        {Killed, Monitor} = py_test:async(fun() -> py:call(Ctx, time, sleep, [600]) end),
        py_test:eventually(fun() -> py_semaphore:current(Pool) =:= 3 end),
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
    py_test:with_pool(8, #{max_concurrent => 3}, fun(Pool) ->
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

%% Proves that calls that fill the limit of one pool keep those of no other pool waiting.
pools_do_not_wait_for_each_other(_) ->
    py_test:with_pool(1, #{}, fun(Slow) ->
        Ctx = hd(py_test:contexts(Slow)),
        Held = [py_test:async(fun() -> py:call(Ctx, probe, wait_gate, [<<"held">>], #{timeout => infinity}) end)
                || _ <- lists:seq(1, 20)],
        py_test:eventually(fun() -> py_semaphore:current(Slow) =:= 3 end),
        ?assertEqual([{ok, N} || N <- lists:seq(1, 200)], [py:call(probe, echo, [N]) || N <- lists:seq(1, 200)]),
        _ = [exit(Pid, kill) || {Pid, _} <- Held]
    end).

%% Proves what the limits are when nobody has said what they should be.
defaults_of_the_limit(_) ->
    ?assertEqual(2 * erlang:system_info(schedulers) + 1, py_semaphore:max_concurrent()),
    ?assertEqual(py_semaphore:max_concurrent(), py_semaphore:max_concurrent(default)),
    ?assertEqual(2 * py_context_router:num_contexts(io) + 1, py_semaphore:max_concurrent(io)),
    py_test:with_pool(3, #{}, fun(Pool) -> ?assertEqual(7, py_semaphore:max_concurrent(Pool)) end),
    py_test:with_pool(3, #{max_concurrent => 70}, fun(Pool) -> ?assertEqual(70, py_semaphore:max_concurrent(Pool)) end),
    [?assertEqual({error, {bad_option, Option, Bad}}, py_context_router:start_pool(refused, 1, #{Option => Bad}))
     || {Option, Bad} <- [{max_concurrent, 0}, {max_concurrent, infinity}, {max_queued, -1}, {max_queued, many}]].

%% Proves that a limit that was set by hand outlives the process of its pool, and not the pool.
a_pool_that_restarts_keeps_its_limit(_) ->
    Pool = py_test:start_pool(1, #{}),
    ok = py_semaphore:set_max_concurrent(Pool, 9),
    {Before, _} = py_tables:pool(Pool),
    exit(Before, kill),
    py_test:eventually(fun() -> case py_tables:pool(Pool) of {Pid, _} -> Pid =/= Before; none -> false end end),
    py_test:answers(Pool),
    ?assertEqual(9, py_semaphore:max_concurrent(Pool)),
    ok = py_context_router:stop_pool(Pool),
    ?assertError({no_such_pool, Pool}, py_semaphore:max_concurrent(Pool)),
    {ok, _} = py_context_router:start_pool(Pool, 1, #{}),
    ?assertEqual(3, py_semaphore:max_concurrent(Pool)),
    ok = py_context_router:stop_pool(Pool).

%% Proves that slots of any pool can be taken by hand, and what is said where there is none.
limits_of_other_pools_by_hand(_) ->
    py_test:with_pool(1, #{max_concurrent => 1}, fun(Pool) ->
        ok = py_semaphore:acquire(Pool, 0),
        ?assertEqual({1, 0}, {py_semaphore:current(Pool), py_semaphore:current()}),
        ?assertEqual({error, {overloaded, 1, 1}}, py:call(hd(py_test:contexts(Pool)), probe, echo, [1], #{timeout => 20})),
        ?assertEqual({error, max_concurrent}, py_test:in_process(fun() -> py_semaphore:acquire(Pool, 20) end)),
        ok = py_semaphore:release(Pool),
        py_test:answers(Pool)
    end),
    ?assertEqual({error, {no_such_pool, nobody}}, py_semaphore:acquire(nobody, 0)),
    _ = [?assertError({no_such_pool, nobody}, Fun())
         || Fun <- [fun() -> py_semaphore:current(nobody) end, fun() -> py_semaphore:release(nobody) end,
                    fun() -> py_semaphore:set_max_concurrent(nobody, 1) end]].

%% Proves that no more calls wait than may, and that the next one is told at once: calls, casts and slots by hand.
no_more_than_may_wait(_) ->
    py_test:with_pool(1, #{max_concurrent => 1, max_queued => 2}, fun(Pool) ->
        Ctx = hd(py_test:contexts(Pool)),
        ok = py_semaphore:acquire(Pool, 0),
        Waiting = [py_test:async(fun() -> py:call(Ctx, probe, echo, [N], #{timeout => infinity}) end) || N <- [1, 2]],
        _ = [waits(Pid) || {Pid, _} <- Waiting],
        Full = {error, {queue_full, Pool}},
        ?assertEqual(Full, py:call(Ctx, probe, echo, [3], #{timeout => infinity})),
        ?assertEqual(Full, py:await(py:cast(Ctx, probe, echo, [3]))),
        ?assertEqual(Full, py_semaphore:acquire(Pool, infinity)),
        ?assertMatch(<<"as many calls", _/binary>>, py_error:format_error(Full)),
        ok = py_semaphore:release(Pool),
        ?assertEqual([{ok, 1}, {ok, 2}], [py_test:join(Job) || Job <- Waiting]),
        py_test:answers(Pool)
    end).

%% Proves that a waiter gets its slot although who was handing it over was killed in the middle: when the waiter was chosen, when that was
%% noted, when its row was taken, or when the slot was the waiter's.
a_hand_over_that_was_cut_off(_) ->
    Limit = py_limits:limit(default),
    ok = py_semaphore:set_max_concurrent(1),
    _ = [begin
             Blocked = {Next, _} = cut_off(Limit, Steps),
             exit(whereis(py_semaphore), kill),
             py_test:eventually(fun() -> {Steps, py_semaphore:current()} =:= {Steps, 1} end),
             py_test:eventually(fun() -> ets:match(py_waiters, {{note, '_'}, '_', '_'}) =:= [] end),
             Next ! done,
             ?assertEqual(ok, py_test:join(Blocked)),
             py_test:no_slots_taken(),
             ?assertEqual(0, py_waiters:count(Limit))
         end || Steps <- [[pop], [pop, note], [pop, note, take], [pop, note, take, hand]]],
    ok.

%% As in py_waiters:hand/3, by a process that dies there.
cut_off(Limit, Steps) ->
    Cutter = spawn(fun() -> receive go -> ok end end),
    Dying = py_pid:id(Cutter),
    %% It holds the slot, so that the other one waits.
    1 = py_slots:reserve(Limit, Dying),
    Blocked = {Next, _} = py_test:async(fun() -> ok = py_semaphore:acquire(infinity), receive done -> ok end end),
    waits(Next),
    [[Key, Alias, Id]] = ets:match(py_waiters, {'$1', '$2', Next, '$3', '_'}),
    lists:foreach(
        fun(pop) -> true = is_integer(py_slots:pop(Limit));
           (note) -> true = ets:insert(py_waiters, {{note, Cutter}, Alias, 1});
           (take) -> [_] = ets:take(py_waiters, Key);
           (hand) -> ok = py_slots:hand(Limit, 1, Dying, Id, 0)
        end,
        Steps),
    Cutter ! go,
    py_test:eventually(fun() -> not is_process_alive(Cutter) end),
    Blocked.

%% Proves that no waiter is forgotten and no slot lost, while callers are killed, give up and the limit changes.
everybody_is_served_whoever_dies(_) ->
    py_test:with_pool(2, #{max_concurrent => 3, isolation => context}, fun(Pool) ->
        Contexts = py_test:contexts(Pool),
        Limit = py_limits:limit(Pool),
        Steady = [py_test:async(fun() ->
            [{N, py:call(lists:nth(1 + N rem 2, Contexts), probe, echo, [N], #{timeout => infinity})} || N <- lists:seq(1, 300)]
        end) || _ <- lists:seq(1, 20)],
        Victims = spawn(fun() -> process_flag(trap_exit, true), victims(Contexts) end),
        Changer = spawn_link(fun() -> [begin
                                           ok = py_semaphore:set_max_concurrent(Pool, N),
                                           spin(20000)
                                       end || _ <- lists:seq(1, 50), N <- [1, 5, 3, 2]] end),
        [[?assertEqual({ok, N}, Result) || {N, Result} <- py_test:join(Job)] || Job <- Steady],
        exit(Victims, kill),
        unlink(Changer),
        exit(Changer, kill),
        py_test:no_slots_taken(),
        py_test:eventually(fun() -> py_waiters:count(Limit) =:= 0 end),
        ?assertEqual([], ets:match(py_waiters, {{note, '_'}, '_', '_'}))
    end).

victims(Contexts) ->
    Pids = [spawn_link(fun() -> endless(Contexts, 1) end) || _ <- lists:seq(1, 10)],
    spin(rand:uniform(100000)),
    _ = [exit(Pid, kill) || Pid <- Pids],
    victims(Contexts).

endless(Contexts, N) ->
    _ = py:call(lists:nth(1 + N rem 2, Contexts), probe, echo, [N], #{timeout => N rem 3}),
    endless(Contexts, N + 1).

%% Proves that who waits for a slot of a pool that is stopped is told, and does not wait for ever.
waiters_of_a_stopped_pool(_) ->
    Pool = py_test:start_pool(1, #{max_concurrent => 1}),
    [Ctx] = py_test:contexts(Pool),
    Running = py_test:waiting(Ctx, 600),
    Waiting = [py_test:async(fun() -> py:call(Ctx, probe, echo, [N], #{timeout => infinity}) end) || N <- lists:seq(1, 10)],
    _ = [waits(Pid) || {Pid, _} <- Waiting],
    Cast = py:cast(Ctx, probe, echo, [1]),
    ok = py_context_router:stop_pool(Pool),
    ?assertEqual([{error, {context_died, stopped}}], lists:usort([py_test:join(Job) || Job <- [Running | Waiting]])),
    ?assertMatch({error, {context_died, stopped}}, py:await(Cast)),
    %% A caller that remembers the pool's limit.
    ?assertMatch({error, {context_died, stopped}}, py:call(Ctx, probe, echo, [1])).

%% Proves the same of slots that are taken by hand.
waiters_by_hand_of_a_stopped_pool(_) ->
    Pool = py_test:start_pool(1, #{max_concurrent => 1}),
    Limit = py_limits:limit(Pool),
    ok = py_semaphore:acquire(Pool, 0),
    Waiting = [py_test:async(fun() -> py_semaphore:acquire(Pool, infinity) end) || _ <- lists:seq(1, 3)],
    _ = [waits(Pid) || {Pid, _} <- Waiting],
    ok = py_context_router:stop_pool(Pool),
    ?assertEqual([{error, {no_such_pool, Pool}}], lists:usort([py_test:join(Job) || Job <- Waiting])),
    ?assertEqual(0, py_waiters:count(Limit)).

%% Proves that a slot that was given back by hand can be had at once, though somebody had waited in vain before.
free_when_it_is_given_back(_) ->
    py_test:with_pool(1, #{max_concurrent => 1}, fun(Pool) ->
        _ = [begin
                 ok = py_semaphore:acquire(Pool, 0),
                 ?assertEqual({error, max_concurrent}, py_semaphore:acquire(Pool, 0)),
                 ok = py_semaphore:release(Pool),
                 ?assertEqual({N, ok}, {N, py_semaphore:acquire(Pool, 0)}),
                 ok = py_semaphore:release(Pool)
             end || N <- lists:seq(1, 200)]
    end).

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
