%% Pools: start, stop, routing by registration, binding and affinity, the io pool, stats.
-module(pool_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [start_and_stop, stopped_pool_is_gone, pools_are_processes, sizes, same_name_twice, registration_of_a_module,
     registration_of_a_function, function_over_module, registration_through_py, registration_of_names_in_every_shape,
     lookup_and_list, registration_with_a_pool_that_is_not_there, stopping_forgets_nothing_else, bind_and_unbind,
     bind_over_registration, bind_to_a_context_of_a_pool, binding_dies_with_its_process,
     binding_to_a_dead_context_is_forgotten, affinity_spreads_processes, sticky_after_exec,
     io_pool_does_not_block_default, default_pool_does_not_block_io, context_numbers, start_and_stop_contexts,
     dead_context_is_replaced, stats_of_every_pool, stats_count, stop_with_calls_in_flight].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

%% Proves that a pool serves calls between start and stop, in all three forms of start_pool.
start_and_stop(_) ->
    _ = [begin
             Name = py_test:unique(pool),
             ?assertNot(py_context_router:pool_started(Name)),
             _ = apply(py_context_router, start_pool, [Name | Args]),
             ?assert(py_context_router:pool_started(Name)),
             ?assertEqual({ok, 4.0}, py:call(Name, math, sqrt, [16])),
             ?assertEqual(1, py_context_router:num_contexts(Name)),
             ok = py_context_router:stop_pool(Name),
             ?assertNot(py_context_router:pool_started(Name))
         end || Args <- [[1], [1, worker], [1, #{mode => worker}]]],
    ok.

%% Proves that calls to a stopped pool say that there is no such pool, and that its OS process ends.
stopped_pool_is_gone(_) ->
    Pool = py_test:start_pool(1, #{}),
    OsPid = py_test:os_pid(Pool),
    [Ctx] = py_test:contexts(Pool),
    Monitor = monitor(process, Ctx),
    ok = py_context_router:stop_pool(Pool),
    receive {'DOWN', Monitor, process, Ctx, _} -> ok end,
    ?assertEqual({error, {no_such_pool, Pool}}, py:call(Pool, math, sqrt, [16])),
    ?assertMatch({error, {context_died, _}}, py:call(Ctx, math, sqrt, [16])),
    py_test:eventually(fun() -> not py_test:alive(OsPid) end).

%% Proves that every pool is an OS process of its own, in which all its contexts live.
pools_are_processes(_) ->
    py_test:with_pool(2, #{}, fun(One) -> py_test:with_pool(2, #{}, fun(Two) ->
        Places = [[py:call(Ctx, probe, pid, []) || Ctx <- py_test:contexts(Pool)] || Pool <- [One, Two, default, io]],
        _ = [?assertEqual(1, length(lists:usort(P))) || P <- Places],
        ?assertEqual(4, length(lists:usort(Places)))
    end) end).

%% Proves that a pool has as many contexts as asked for, each a thread of its own.
sizes(_) ->
    py_test:with_pool(5, #{}, fun(Pool) ->
        Contexts = py_context_router:contexts(Pool),
        ?assertEqual({5, 5}, {length(lists:usort(Contexts)), py_context_router:num_contexts(Pool)}),
        ?assertEqual(5, length(lists:usort([py:call(Ctx, probe, thread, []) || Ctx <- Contexts])))
    end),
    _ = [?assertMatch({error, _}, py_context_router:start_pool(py_test:unique(pool), Size)) || Size <- [0, -1, many]],
    ok.

%% Proves that starting a pool under a name that is taken disturbs nothing.
same_name_twice(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        OsPid = py_test:os_pid(Pool),
        _ = py_context_router:start_pool(Pool, 3),
        ?assertEqual({1, OsPid}, {py_context_router:num_contexts(Pool), py_test:os_pid(Pool)})
    end).

%% Proves that calls to a registered module go to its pool, and back to the default after unregistration.
registration_of_a_module(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        Home = py_test:os_pid(Pool),
        Default = py_test:os_pid(default),
        ok = py_context_router:register_pool(Pool, probe),
        ?assertEqual({ok, Home}, py:call(probe, pid, [])),
        ?assertEqual({ok, Home}, py:await(py:cast(probe, pid, []))),
        ?assertEqual({ok, Default}, py:call(os, getpid, [])),
        ok = py_context_router:unregister_pool(probe),
        ?assertEqual({ok, Default}, py:call(probe, pid, []))
    end).

%% Proves that one function can be registered, leaving the rest of its module where it was.
registration_of_a_function(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        Home = py_test:os_pid(Pool),
        Default = py_test:os_pid(default),
        ok = py_context_router:register_pool(Pool, probe, pid),
        ?assertEqual({ok, Home}, py:call(probe, pid, [])),
        ?assertMatch({ok, {Default, _}}, py:call(probe, place, [])),
        ok = py_context_router:unregister_pool(probe, pid),
        ?assertEqual({ok, Default}, py:call(probe, pid, []))
    end).

%% Proves that a function's registration wins over its module's.
function_over_module(_) ->
    py_test:with_pool(1, #{}, fun(One) -> py_test:with_pool(1, #{}, fun(Two) ->
        [PidOne, PidTwo] = [py_test:os_pid(P) || P <- [One, Two]],
        ok = py_context_router:register_pool(One, probe),
        ok = py_context_router:register_pool(Two, probe, pid),
        ?assertEqual({ok, PidTwo}, py:call(probe, pid, [])),
        ?assertMatch({ok, {PidOne, _}}, py:call(probe, place, [])),
        ok = py_context_router:unregister_pool(probe, pid),
        ?assertEqual({ok, PidOne}, py:call(probe, pid, [])),
        ok = py_context_router:unregister_pool(probe)
    end) end).

%% Proves that py's own functions register and unregister modules and functions.
registration_through_py(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        Home = py_test:os_pid(Pool),
        Default = py_test:os_pid(default),
        ok = py:register_pool(Pool, probe),
        ?assertEqual({ok, Home}, py:call(probe, pid, [])),
        ok = py:unregister_pool(probe),
        ok = py:register_pool(Pool, {probe, pid}),
        ?assertEqual({ok, Home}, py:call(probe, pid, [])),
        ok = py:unregister_pool({probe, pid}),
        ?assertEqual({ok, Default}, py:call(probe, pid, []))
    end).

%% Proves that a registration made with an atom holds for binaries and strings, and the other way round.
registration_of_names_in_every_shape(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        Home = py_test:os_pid(Pool),
        Default = py_test:os_pid(default),
        _ = [begin
                 ok = py:register_pool(Pool, Registered),
                 _ = [?assertEqual({ok, Home}, py:call(M, F, []))
                      || M <- [probe, <<"probe">>, "probe"], F <- [pid, <<"pid">>, "pid"]],
                 ok = py:unregister_pool(Registered),
                 ?assertEqual({ok, Default}, py:call(probe, pid, []))
             end || Registered <- [probe, <<"probe">>, "probe", {probe, pid}, {<<"probe">>, <<"pid">>}]],
        ok
    end).

%% Proves that lookup and list tell what is registered.
lookup_and_list(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        ?assertEqual(default, py_context_router:lookup_pool(probe, pid)),
        ok = py_context_router:register_pool(Pool, probe),
        ok = py_context_router:register_pool(io, probe, pid),
        ?assertEqual({io, Pool}, {py_context_router:lookup_pool(probe, pid),
                                  py_context_router:lookup_pool(probe, place)}),
        ?assertEqual([{{probe, '_'}, Pool}, {{probe, pid}, io}],
                     lists:sort(py_context_router:list_pool_registrations())),
        ok = py_context_router:unregister_pool(probe),
        ok = py_context_router:unregister_pool(probe, pid),
        ?assertEqual([], py_context_router:list_pool_registrations())
    end).

%% Proves that a registration whose pool is not there is an error that names the pool, at registration or at the call.
registration_with_a_pool_that_is_not_there(_) ->
    try
        case py:register_pool(nowhere, probe) of
            ok -> ?assertEqual({error, {no_such_pool, nowhere}}, py:call(probe, pid, []));
            Error -> ?assertEqual({error, {no_such_pool, nowhere}}, Error)
        end
    after
        py:unregister_pool(probe)
    end.

%% Proves that stopping one pool leaves the calls, envs and registrations of another alone.
stopping_forgets_nothing_else(_) ->
    py_test:with_pool(1, #{}, fun(Stays) ->
        Home = py_test:os_pid(Stays),
        ok = py:register_pool(Stays, probe),
        ok = py:exec(<<"kept = 1">>),
        py_test:with_pool(1, #{}, fun(Goes) -> {ok, _} = py:call(Goes, probe, pid, []) end),
        ?assertEqual({{ok, Home}, {ok, 1}}, {py:call(probe, pid, []), py:eval(<<"kept">>)}),
        ok = py:unregister_pool(probe)
    end).

%% Proves that a bound process is served by that context until it is unbound, on every path.
bind_and_unbind(_) ->
    py_test:with_pool(3, #{}, fun(Pool) -> py_test:in_process(fun() ->
        Ctx = lists:last(py_test:contexts(Pool)),
        {ok, Thread} = py:call(Ctx, probe, thread, []),
        ok = py_context_router:bind_context(Ctx),
        ?assertEqual([{ok, Thread}], lists:usort([py:call(probe, thread, []) || _ <- lists:seq(1, 20)])),
        ?assertEqual({ok, Thread}, py:await(py:cast(probe, thread, []))),
        ?assertEqual({ok, Thread}, py:eval(<<"__import__('probe').thread()">>)),
        ?assertEqual(Ctx, py_context_router:get_context()),
        ok = py_context_router:unbind_context(),
        ?assertNotEqual({ok, Thread}, py:call(probe, thread, []))
    end) end).

%% Proves that a binding wins over a registration.
bind_over_registration(_) ->
    py_test:with_pool(1, #{}, fun(Pool) -> py_test:in_process(fun() ->
        Default = py_test:os_pid(default),
        ok = py:register_pool(Pool, probe),
        ok = py_context_router:bind_context(py:context(1)),
        ?assertEqual({ok, Default}, py:call(probe, pid, [])),
        ok = py_context_router:unbind_context(),
        ?assertNotEqual({ok, Default}, py:call(probe, pid, [])),
        ok = py:unregister_pool(probe)
    end) end).

%% Proves that a binding for one pool holds for calls to that pool and for no others.
bind_to_a_context_of_a_pool(_) ->
    py_test:with_pool(3, #{}, fun(Pool) -> py_test:in_process(fun() ->
        Default = py_test:os_pid(default),
        _ = [begin
                 {ok, Thread} = py:call(Ctx, probe, thread, []),
                 ok = py_context_router:bind_context(Pool, Ctx),
                 ?assertEqual([{ok, Thread}], lists:usort([py:call(Pool, probe, thread, []) || _ <- lists:seq(1, 10)])),
                 ?assertEqual({ok, Default}, py:call(probe, pid, []))
             end || Ctx <- py_test:contexts(Pool)],
        ok = py_context_router:unbind_context(Pool)
    end) end).

%% Proves that a binding is of one process alone.
binding_dies_with_its_process(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        [Ctx] = py_test:contexts(Pool),
        Home = py_test:os_pid(Pool),
        py_test:in_process(fun() ->
            ok = py_context_router:bind_context(Ctx),
            ?assertEqual({ok, Home}, py:call(probe, pid, [])),
            ?assertNotEqual({ok, Home}, py_test:in_process(fun() -> py:call(probe, pid, []) end))
        end)
    end).

%% Proves that a process bound to a context that is gone gets an error or another context, and is free after unbinding.
binding_to_a_dead_context_is_forgotten(_) ->
    py_test:in_process(fun() ->
        {ok, Ctx} = py_context:new(#{}),
        ok = py_context_router:bind_context(Ctx),
        {ok, 1} = py:call(probe, echo, [1]),
        ok = py_context:stop(Ctx),
        case py:call(probe, echo, [2]) of
            {ok, 2} -> ok;
            {error, {context_died, _}} -> ok
        end,
        ok = py_context_router:unbind_context(),
        ?assertEqual({ok, 3}, py:call(probe, echo, [3]))
    end).

%% Proves that processes that hold no namespace are spread over the contexts of a pool, when the node is busy enough for
%% its processes to be spread over the schedulers.
affinity_spreads_processes(_) ->
    case erlang:system_info(schedulers_online) of
        1 -> {skip, "one scheduler has one context"};
        _ ->
            py_test:eventually(fun() ->
                Jobs = [py_test:async(fun() -> lists:sum(lists:seq(1, 200000)), py:call(probe, thread, []) end)
                        || _ <- lists:seq(1, 50)],
                length(lists:usort([py_test:join(Job) || Job <- Jobs])) > 1
            end)
    end.

%% Proves that a process that has a namespace in a pool is served there by its context ever after.
sticky_after_exec(_) ->
    Jobs = [py_test:async(fun() ->
        ok = py:exec(<<"import threading">>),
        lists:usort([py:eval(<<"threading.get_native_id()">>) || _ <- lists:seq(1, 50)])
    end) || _ <- lists:seq(1, 20)],
    _ = [?assertMatch([{ok, _}], py_test:join(Job)) || Job <- Jobs],
    ok.

%% Proves that the default pool answers while every context of the io pool waits.
io_pool_does_not_block_default(_) -> one_pool_does_not_block(io, default).

%% Proves that the io pool answers while every context of the default pool waits.
default_pool_does_not_block_io(_) -> one_pool_does_not_block(default, io).

one_pool_does_not_block(Busy, Free) ->
    Before = py_semaphore:max_concurrent(),
    ok = py_semaphore:set_max_concurrent(50),
    try
        Gate = atom_to_binary(py_test:unique(gate)),
        [First | _] = Contexts = py_test:contexts(Busy),
        Waiting = [py_test:async(fun() -> py:call(Ctx, probe, wait_gate, [Gate]) end) || Ctx <- Contexts],
        ?assertEqual([{ok, N} || N <- lists:seq(1, 50)],
                     [py_test:in_process(fun() -> py:call(Free, probe, echo, [N]) end) || N <- lists:seq(1, 50)]),
        _ = [ok = wait_interrupted(Ctx) || Ctx <- Contexts],
        _ = [?assertEqual({error, interrupted}, py_test:join(Job)) || Job <- Waiting],
        ?assertEqual({ok, 1}, py:call(First, probe, echo, [1]))
    after
        py_semaphore:set_max_concurrent(Before)
    end.

wait_interrupted(Ctx) -> py_test:eventually(fun() -> py:interrupt(Ctx) =:= ok end).

%% Proves that context/1 counts from one, context/0 is one of the pool, and other numbers are refused.
context_numbers(_) ->
    All = py_context_router:contexts(),
    ?assertEqual(All, [py:context(N) || N <- lists:seq(1, py_context_router:num_contexts())]),
    ?assert(lists:member(py:context(), All)),
    ?assertEqual(py:context(2), py_context_router:get_context(2)),
    ?assert(lists:member(py_context_router:get_context(io), py_context_router:contexts(io))).

%% Proves that the contexts of the default pool can be stopped and started again with a number.
start_and_stop_contexts(_) ->
    ?assert(py:contexts_started()),
    ok = py:stop_contexts(),
    ?assertNot(py:contexts_started()),
    ?assertMatch({error, _}, py:call(math, sqrt, [16])),
    _ = py:start_contexts(#{contexts => 3}),
    ?assert(py:contexts_started()),
    ?assertEqual({3, {ok, 4.0}}, {py_context_router:num_contexts(), py:call(math, sqrt, [16])}),
    ok = py:stop_contexts(),
    _ = py:start_contexts(),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

%% Proves that a context of a pool that is killed is replaced, and that the next calls work.
dead_context_is_replaced(_) ->
    py_test:with_pool(2, #{}, fun(Pool) ->
        [Victim, _] = py_test:contexts(Pool),
        exit(Victim, kill),
        py_test:eventually(fun() ->
            Contexts = py_test:contexts(Pool),
            length(Contexts) =:= 2 andalso not lists:member(Victim, Contexts)
        end),
        ?assertEqual([{ok, N} || N <- lists:seq(1, 20)],
                     [py_test:in_process(fun() -> py:call(Pool, probe, echo, [N]) end) || N <- lists:seq(1, 20)])
    end).

%% Proves that stats/0 has an entry for every pool.
stats_of_every_pool(_) ->
    py_test:with_pool(2, #{}, fun(Pool) ->
        Stats = py:stats(),
        _ = [?assert(maps:is_key(Name, Stats)) || Name <- [default, io, Pool]],
        OsPid = py_test:os_pid(Pool),
        ?assertMatch(#{size := 2, mode := worker, in_flight := 0, queued := 0, os_pid := OsPid, restarts := 0},
                     maps:get(Pool, py:stats())),
        ?assert(maps:get(rss, maps:get(Pool, py:stats())) > 1 bsl 20)
    end).

%% Proves that stats/0 counts calls, errors, timeouts and restarts.
stats_count(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        #{calls := Calls} = maps:get(Pool, py:stats()),
        _ = [{ok, N} = py:call(Pool, probe, echo, [N]) || N <- lists:seq(1, 10)],
        {error, {'ValueError', _}} = py:call(Pool, probe, raise_builtin, ['ValueError']),
        {error, timeout} = py:call(py_context_router:get_context(Pool), probe, spin, [], #{timeout => 50}),
        py_test:eventually(fun() ->
            #{calls := C, errors := E, timeouts := T} = maps:get(Pool, py:stats()),
            C - Calls >= 12 andalso E >= 1 andalso T =:= 1
        end),
        _ = py:call(Pool, trouble, leave, [1]),
        py_test:eventually(fun() -> maps:get(restarts, maps:get(Pool, py:stats())) =:= 1 end)
    end).

%% Proves that callers inside a pool that is stopped are told at once that it was stopped.
stop_with_calls_in_flight(_) ->
    Pool = py_test:start_pool(1, #{}),
    [Ctx] = py_test:contexts(Pool),
    Running = py_test:waiting(Ctx, 600),
    Queued = py_test:async(fun() -> py:call(Ctx, probe, echo, [1]) end),
    py_test:eventually(fun() -> py_semaphore:current(Pool) =:= 2 end),
    ok = py_context_router:stop_pool(Pool),
    ?assertEqual([{error, {context_died, stopped}}, {error, {context_died, stopped}}],
                 [py_test:join(Job) || Job <- [Running, Queued]]),
    py_test:no_slots_taken().
