%% Whatever dies, shared state, registrations and routes stay: no process that can die owns their tables.
-module(tables_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [tables_belong_to_the_top, workers_are_killed_under_load, pool_is_killed, every_pool_is_killed,
     python_dies_while_it_counts, starts_that_fail, a_stop_that_takes_too_long].

init_per_testcase(_Case, Config) ->
    ok = py_test:start([{max_concurrent, 200}]),
    Config.

end_per_testcase(_Case, _Config) -> py_test:stop().

%% Proves that every table belongs to the top supervisor, which ends with the application only.
tables_belong_to_the_top(_) ->
    Top = whereis(erlang_python_sup),
    Tables = [Table || Table <- ets:all(), is_atom(Table), lists:prefix("py_", atom_to_list(Table))],
    _ = [?assert(lists:member(Table, Tables)) || Table <- [py_routes, py_registrations, py_state, py_atoms]],
    ?assertEqual([], [{Table, Owner} || Table <- Tables, Owner <- [ets:info(Table, owner)], Owner =/= Top]).

%% Proves that port processes that never become ready leave no rows, whether they fail or are killed.
starts_that_fail(_) ->
    Owners = fun() -> lists:sort(lists:append(ets:match(py_grants, {'_', '_', '$1'}))) end,
    Before = Owners(),
    {error, _} = py_context_router:start_pool(failing, 1, #{preload => <<"raise ValueError">>}),
    ?assertEqual(Before, Owners()),
    Start = py_test:async(fun() -> py_context_router:start_pool(hanging, 1, #{preload => <<"import time\ntime.sleep(600)">>}) end),
    py_test:eventually(fun() -> length(Owners() -- Before) =:= 1 end),
    [Killed] = Owners() -- Before,
    exit(Killed, kill),
    ?assertMatch({error, _}, py_test:join(Start)),
    Pool = py_test:start_pool(1, #{}),
    ?assertEqual(Before, Owners() -- [py_test:owner_of(py_test:os_pid(Pool))]),
    ok = py_test:stop_pool(Pool).

%% Proves that a pool whose process does not end in the time that its supervisor gives it leaves no rows either.
a_stop_that_takes_too_long(_) ->
    Rows = fun() -> [{Table, ets:info(Table, size)} || Table <- [py_pools, py_limits, py_routes, py_pool_specs, py_tags, py_grants]] end,
    Before = Rows(),
    Pool = py_test:start_pool(1, #{}),
    {Pid, _} = py_tables:pool(Pool),
    true = erlang:suspend_process(Pid),
    ok = py_context_router:stop_pool(Pool),
    ?assertNot(is_process_alive(Pid)),
    py_test:eventually(fun() -> Rows() =:= Before end),
    ?assertEqual({error, {no_such_pool, Pool}}, py:call(Pool, math, sqrt, [16])).

%% Proves that calls go on and nothing is forgotten while every worker of the top supervisor is killed, one after the
%% other: the pools' own supervisor is not one of them.
workers_are_killed_under_load(_) ->
    ok = py:register_pool(io, statistics),
    ok = py:register_function(same, fun([Value]) -> Value end),
    ok = py:state_store(kept, {value, 1}),
    Pool = py_test:start_pool(2, #{}),
    Routes = lists:sort(ets:tab2list(py_routes)),
    Stop = atomics:new(1, []),
    Calls = [py_test:async(fun() -> call_until(Stop, Target, 0) end) || Target <- [default, io, Pool], _ <- [1, 2, 3]],
    Counts = [fun() -> py:state_incr(<<"n">>) end, fun() -> counted_by_python(default) end,
              fun() -> counted_by_python(Pool) end],
    Counting = [py_test:async(fun() -> count_until(Stop, Count, 0) end) || Count <- Counts],
    _ = [killed_and_back(Name) || {Name, Pid, worker, _} <- supervisor:which_children(erlang_python_sup), is_pid(Pid)],
    ok = atomics:put(Stop, 1, 1),
    _ = [?assert(py_test:join(Job) > 0) || Job <- Calls],
    Counted = lists:sum([py_test:join(Job) || Job <- Counting]),
    ?assertEqual(Counted, counted()),
    ?assertEqual({ok, {value, 1}}, py:state_fetch(kept)),
    ?assertEqual(Routes, lists:sort(ets:tab2list(py_routes))),
    ?assertEqual([{{statistics, '_'}, io}], py_context_router:list_pool_registrations()),
    ?assertEqual({ok, 2}, py:call(statistics, median, [[3, 1, 2]])),
    ?assertEqual([{ok, 5}, {ok, 5}], [py:call(Target, erlang, call, [same, 5]) || Target <- [default, Pool]]),
    py_test:no_slots_taken(),
    ok = py_test:stop_pool(Pool).

killed_and_back(Name) ->
    Pid = child(Name),
    Monitor = monitor(process, Pid),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, killed} -> ok end,
    py_test:eventually(fun() -> is_pid(child(Name)) andalso child(Name) =/= Pid end),
    %% Under load for a while without it, before the next one goes.
    timer:sleep(500).

child(Name) ->
    {Name, Pid, _, _} = lists:keyfind(Name, 1, supervisor:which_children(erlang_python_sup)),
    Pid.

call_until(Stop, Target, N) ->
    {ok, N} = py:call(Target, probe, echo, [N]),
    {ok, N} = py:call(Target, erlang, call, [same, N]),
    case atomics:get(Stop, 1) of
        0 -> call_until(Stop, Target, N + 1);
        1 -> N
    end.

count_until(Stop, Count, N) ->
    _ = Count(),
    case atomics:get(Stop, 1) of
        0 -> count_until(Stop, Count, N + 1);
        1 -> N + 1
    end.

counted_by_python(Target) ->
    {ok, _} = py:call(Target, erlang, state_incr, [<<"n">>]).

%% Proves that a pool whose OS process is killed takes none of the state along that its Python made.
pool_is_killed(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        {ok, none} = py:call(Pool, erlang, state_set, [<<"made there">>, [1, 2]]),
        {ok, 1} = py:call(Pool, erlang, state_incr, [<<"n">>]),
        py_test:signal(py_test:os_pid(Pool), "KILL"),
        py_test:eventually(fun() -> py:call(Pool, erlang, state_incr, [<<"n">>]) =:= {ok, 2} end),
        ?assertEqual({ok, [1, 2]}, py:call(Pool, erlang, state_get, [<<"made there">>])),
        ?assertEqual({ok, [1, 2]}, py:state_fetch(<<"made there">>))
    end).

%% Proves the same when no pool is left alive.
every_pool_is_killed(_) ->
    _ = [ok = py:state_store(N, N) || N <- lists:seq(1, 100)],
    _ = [py_test:signal(py_test:os_pid(Pool), "KILL") || Pool <- [default, io]],
    ?assertEqual(lists:seq(1, 100), lists:sort(py:state_keys())),
    py_test:eventually(fun() -> [py:call(Pool, probe, echo, [1]) || Pool <- [default, io]] =:= [{ok, 1}, {ok, 1}] end),
    ?assertEqual(lists:seq(1, 100), lists:sort(py:state_keys())),
    ?assertEqual({ok, 7}, py:state_fetch(7)).

%% Proves that a process killed in the middle of counting leaves a number that others go on from, and no gap for them.
python_dies_while_it_counts(_) ->
    py_test:with_pool(2, #{}, fun(Pool) ->
        OsPid = py_test:os_pid(Pool),
        Jobs = [py_test:async(fun() -> py:call(Ctx, shared_state, count, [<<"n">>, 100000000]) end)
                || Ctx <- py_test:contexts(Pool)],
        py_test:eventually(fun() -> counted() > 1000 end),
        py_test:signal(OsPid, "KILL"),
        ?assertEqual([{error, {context_died, {signal, sigkill}}}], lists:usort([py_test:join(Job) || Job <- Jobs])),
        Before = counted(),
        ?assertEqual(Before + 1, py:state_incr(<<"n">>)),
        py_test:eventually(fun() ->
            py:call(Pool, erlang, state_incr, [<<"n">>]) =:= {ok, Before + 2}
        end)
    end).

counted() ->
    case py:state_fetch(<<"n">>) of
        {ok, N} -> N;
        {error, not_found} -> 0
    end.
