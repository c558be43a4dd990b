%% The application: start, stop, start again; its configuration keys and their older names.
-module(app_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [starts_with_defaults, stop_ends_every_process, starts_again, calls_while_stopped, stop_with_calls_in_flight,
     stop_with_callbacks_in_flight,
     semaphore_limits_calls, semaphore_counts_every_kind_of_call, default_pool_size_wins, context_mode,
     unknown_context_mode, io_pool_configuration, loops_of_their_own, older_names_are_mapped, older_names_warn_once,
     imports_paths_preload_for_every_pool, pools_from_configuration, pools_from_configuration_that_fail,
     pool_from_configuration_with_failing_code,
     wrong_values, venv_for_every_pool, application_metadata, nothing_left_in_the_node].

init_per_suite(Config) -> Config.
end_per_suite(_Config) ->
    ok = py_test:stop(),
    py_test:remove_temp_files().

end_per_testcase(_Case, _Config) -> py_test:stop().

%% Proves that with nothing configured the default pool has a context per scheduler, the io pool ten, and the limit is
%% twice the schedulers and one.
starts_with_defaults(_) ->
    py_test:stop(),
    {ok, _} = application:ensure_all_started(erlang_python),
    Schedulers = erlang:system_info(schedulers),
    ?assertEqual({Schedulers, 10, 2 * Schedulers + 1},
                 {py_context_router:num_contexts(), py_context_router:num_contexts(io), py_semaphore:max_concurrent()}),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

%% Proves that event_loop_pool_owngil gives py_event_loop_pool a pool of its own, of subinterpreters, where processes stay with
%% their loops; and that without such interpreters tasks are told why.
loops_of_their_own(_) ->
    ok = py_test:start([{event_loop_pool_owngil, true}, {event_loop_pool_size, 2}]),
    case py:subinterp_supported() of
        true ->
            ?assertEqual(#{num_loops => 2, supported => true}, py_event_loop_pool:get_stats()),
            ?assertMatch(#{event_loop_pool := #{mode := owngil, size := 2}}, py:stats()),
            {ok, Loops} = py_event_loop_pool:get_all_loops(),
            Kept = [py_test:in_process(fun() ->
                ok = py_event_loop_pool:exec("kept = 5"),
                {ok, Loop} = py_event_loop_pool:get_loop(),
                ?assert(lists:member(Loop, Loops)),
                {ok, Sessions} = py_event_loop_pool:get_all_sessions(),
                ?assert(lists:member({self(), Loop}, Sessions)),
                ?assertEqual({ok, <<"SUBINTERP">>}, py_event_loop_pool:run(loops, mode, [])),
                py_event_loop_pool:eval("kept")
            end) || _ <- lists:seq(1, 4)],
            ?assertEqual([{ok, 5} || _ <- Kept], Kept),
            ok = a_chain_stays_with_its_starter();
        false ->
            ?assertEqual(#{num_loops => 0, supported => false}, py_event_loop_pool:get_stats()),
            ?assertMatch({error, {context_died, {start_failed, _}}}, py_event_loop_pool:run(math, sqrt, [16]))
    end,
    %% The calls of others go elsewhere.
    ?assertEqual({ok, <<"SHARED_GIL">>}, py:call(loops, mode, [])).

%% A callback's process is another one each time.
a_chain_stays_with_its_starter() ->
    ok = py:register_function(loop_and, fun([Expr]) -> {py_event_loop_pool:get_loop(), py_event_loop_pool:eval(Expr)} end),
    [py_test:in_process(fun() ->
         {ok, Loop} = py_event_loop_pool:get_loop(),
         ?assertMatch({ok, {{<<"ok">>, Loop}, _}}, py:call(erlang, call, [loop_and, <<"1">>])),
         ok = py_event_loop_pool:exec("kept = 6"),
         ?assertEqual({ok, {{<<"ok">>, Loop}, {<<"ok">>, 6}}}, py:call(erlang, call, [loop_and, <<"kept">>]))
     end) || _ <- lists:seq(1, 10)],
    py:unregister_function(loop_and).

%% Proves that stopping the application ends its OS processes, also one that is busy.
stop_ends_every_process(_) ->
    ok = py_test:start(),
    Pool = py_test:start_pool(1, #{}),
    OsPids = [py_test:os_pid(P) || P <- [default, io, Pool]],
    _ = py:cast(probe, spin, []),
    ok = application:stop(erlang_python),
    _ = [py_test:eventually(fun() -> not py_test:alive(OsPid) end) || OsPid <- OsPids],
    ok.

%% Proves that the application can be stopped and started again several times in one node.
starts_again(_) ->
    _ = [begin
             ok = py_test:start(),
             ?assertEqual({ok, N}, py:call(probe, echo, [N])),
             ok = application:stop(erlang_python)
         end || N <- lists:seq(1, 5)],
    ok.

%% Proves that a call while the application is stopped returns or raises, and does not hang.
calls_while_stopped(_) ->
    py_test:stop(),
    Result = try py:call(math, sqrt, [16]) catch _:_ -> raised end,
    ?assert(Result =:= raised orelse element(1, Result) =:= error).

%% Proves that callers in the middle of a call learn that the application was stopped, running and queued ones.
stop_with_calls_in_flight(_) ->
    ok = py_test:start(),
    [Ctx | _] = py_context_router:contexts(),
    Running = py_test:waiting(Ctx, 600),
    Queued = [py_test:async(fun() -> py:call(Ctx, probe, echo, [N]) end) || N <- [1, 2]],
    py_test:eventually(fun() -> py_semaphore:current() =:= 3 end),
    ok = application:stop(erlang_python),
    ?assertEqual([{error, {context_died, stopped}}], lists:usort([py_test:join(Job) || Job <- [Running | Queued]])).

%% Proves that callbacks that run when the application is stopped end with it, and that this is no error for the log.
stop_with_callbacks_in_flight(_) ->
    Log = py_test_log:collect(),
    Self = self(),
    Ended = [begin
        ok = py_test:start(),
        ok = py:register_function(stay, fun([]) -> Self ! {here, self()}, receive never -> ok end end),
        Job = py_test:async(fun() -> py:exec("
import asyncio
async def many():
    await asyncio.gather(*(erlang.async_call('stay') for _ in range(200)))
asyncio.run(many())
") end),
        Monitors = [receive {here, Pid} -> monitor(process, Pid) end || _ <- lists:seq(1, 200)],
        ok = application:stop(erlang_python),
        [receive {'DOWN', Monitor, process, _, _} -> ok end || Monitor <- Monitors],
        py_test:join(Job)
    end || _ <- lists:seq(1, 10)],
    ?assertEqual([{error, {context_died, stopped}}], lists:usort(Ended)),
    %% Lines come in order: what is to be seen is there by now.
    logger:error("the last line"),
    ?assertEqual([<<"the last line">>], errors()),
    py_test_log:stop(Log).

errors() ->
    receive
        {py_test_log, #{level := error} = Event} ->
            case py_test_log:text(Event) of
                <<"the last line">> = Last -> [Last];
                Text -> [Text | errors()]
            end;
        {py_test_log, _} ->
            errors()
    end.

%% Proves that a value that cannot be meant keeps the application from starting, with an error that names the key; and
%% that the key which is looked at all the time is no other limit when it is set to such a value later.
wrong_values(_) ->
    [begin
         py_test:stop(),
         ok = application:load(erlang_python),
         ok = application:set_env(erlang_python, Key, Wrong),
         ?assertMatch({Key, Wrong, {error, {erlang_python, {{bad_config, Key, Why}, _}}}} when Why =:= Wrong,
                      {Key, Wrong, application:ensure_all_started(erlang_python)})
     end || {Key, Values} <- [{max_concurrent, [0, -1, 1.5, foo]}, {max_frame_bytes, [0, infinity, foo]},
                              {max_term_bytes, [0, infinity, 1.5, foo]},
                              {max_state_entries, [0, -1, 1.5, foo, <<"1">>]}, {max_state_bytes, [0, -1, foo]}, {event_loop_pool_size, [0, foo]}, {event_loop_pool_owngil, [0, foo]},
                              {pools, [foo]}],
            Wrong <- Values],
    %% None is no value of these, nor like none at all.
    _ = [begin
             py_test:stop(),
             ok = application:load(erlang_python),
             ok = application:set_env(erlang_python, Key, none),
             {error, {erlang_python, {Reason, _}}} = application:ensure_all_started(erlang_python),
             ?assertMatch({Key, {bad_config, Key, _}}, {Key, Reason}),
             ?assertNotEqual(nomatch, string:find(py_error:format_error(Reason), "environment key " ++ atom_to_list(Key) ++ ": "))
         end || Key <- [send, send_names, imports, paths, max_queued, max_callbacks, shared_memory, hard_timeout_grace, sandbox,
                        context_mode, io_pool_mode, default_pool_size, io_pool_size]],
    ok = py_test:start([{max_state_entries, 1}]),
    ok = application:set_env(erlang_python, max_state_entries, foo),
    ?assertError({bad_config, max_state_entries, foo}, py:state_store(key, 1)),
    ?assertError({bad_config, max_state_entries, foo}, py:state_incr(key)),
    ok = application:set_env(erlang_python, max_state_entries, 1),
    ?assertEqual(ok, py:state_store(key, 1)).

%% Proves that max_concurrent is the number of calls in Python's hands, beyond which a caller is told of the overload.
semaphore_limits_calls(_) ->
    ok = py_test:start([{max_concurrent, 2}, {default_pool_size, 3}]),
    ?assertEqual({2, 0}, {py_semaphore:max_concurrent(), py_semaphore:current()}),
    Busy = [py_test:async(fun() -> py:call(py:context(N), probe, wait_gate, [<<"limit">>]) end) || N <- [1, 2]],
    py_test:eventually(fun() -> py_semaphore:current() =:= 2 end),
    ?assertEqual({error, {overloaded, 2, 2}}, py:call(probe, echo, [1], #{}, 100)),
    ?assertEqual({error, {overloaded, 2, 2}}, py:call(py:context(3), probe, echo, [1], #{timeout => 100})),
    ?assertEqual({error, {overloaded, 2, 2}}, py:eval(<<"1">>, #{}, 100)),
    ok = py_semaphore:set_max_concurrent(3),
    {ok, _} = py:call(py:context(3), probe, open_gate, [<<"limit">>]),
    _ = [?assertEqual({ok, <<"open">>}, py_test:join(Job)) || Job <- Busy],
    ?assertEqual(0, py_semaphore:current()).

%% Proves that eval, exec, cast and spawn_call take slots like call.
semaphore_counts_every_kind_of_call(_) ->
    ok = py_test:start([{max_concurrent, 9}]),
    [One, Two] = [py:context(N) || N <- [1, 2]],
    Gate = <<"__import__('probe').wait_gate('kinds')">>,
    %% All wait in the first context, so that the second can open the gate.
    Kinds = [fun() -> py:call(One, probe, wait_gate, [<<"kinds">>]) end,
             fun() -> py:eval(One, Gate) end,
             fun() -> py:exec(One, Gate) end,
             fun() -> py:await(py:cast(One, probe, wait_gate, [<<"kinds">>])) end,
             fun() -> py_context:call(One, probe, wait_gate, [<<"kinds">>]) end,
             fun() -> bound(One, fun() -> py:await(py:spawn_call(probe, wait_gate, [<<"kinds">>])) end) end],
    Jobs = [begin
                Job = py_test:async(Kind),
                py_test:eventually(fun() -> py_semaphore:current() =:= N end),
                Job
            end || {N, Kind} <- lists:zip(lists:seq(1, 6), Kinds)],
    {ok, _} = py:call(Two, probe, open_gate, [<<"kinds">>]),
    _ = [?assert(lists:member(py_test:join(Job), [ok, {ok, <<"open">>}])) || Job <- Jobs],
    py_test:no_slots_taken().

bound(Ctx, Fun) ->
    ok = py_context_router:bind_context(Ctx),
    Fun().

%% Proves that default_pool_size wins over num_contexts, which works alone.
default_pool_size_wins(_) ->
    ok = py_test:start([{num_contexts, 4}, {default_pool_size, 3}]),
    ?assertEqual({3, 3}, {py_context_router:num_contexts(), py:num_executors()}),
    py_test:stop(),
    ok = application:load(erlang_python),
    ok = application:set_env(erlang_python, num_contexts, 4),
    {ok, _} = application:ensure_all_started(erlang_python),
    ?assertEqual(4, py_context_router:num_contexts()).

%% Proves that context_mode is the mode of the default pool and of execution_mode/0.
context_mode(_) ->
    ok = py_test:start([{context_mode, worker}]),
    ?assertEqual({worker, false}, {py:execution_mode(), py_context:is_subinterp(py:context(1))}),
    case py:subinterp_supported() of
        false -> ok;
        true ->
            ok = py_test:start([{context_mode, owngil}]),
            ?assertEqual({owngil, true}, {py:execution_mode(), py_context:is_subinterp(py:context(1))}),
            ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
            ?assertEqual(false, py_context:is_subinterp(py_context_router:get_context(io)))
    end.

%% Proves that a mode that does not exist fails the start of the application and is named.
unknown_context_mode(_) -> start_fails([{context_mode, bogus}], "bogus").

%% Proves that size and mode of the io pool can be configured.
io_pool_configuration(_) ->
    ok = py_test:start([{io_pool_size, 3}]),
    ?assertEqual({3, false}, {py_context_router:num_contexts(io),
                              py_context:is_subinterp(py_context_router:get_context(io))}),
    case py:subinterp_supported() of
        false -> ok;
        true ->
            ok = py_test:start([{io_pool_mode, subinterp}]),
            ?assertEqual(true, py_context:is_subinterp(py_context_router:get_context(io)))
    end,
    ok = py_test:start([{io_pool_mode, worker}]),
    ?assertEqual(false, py_context:is_subinterp(py_context_router:get_context(io))).

%% Proves that the older names num_executors and num_workers still set the size of the default pool.
older_names_are_mapped(_) ->
    _ = [begin
             py_test:stop(),
             ok = application:load(erlang_python),
             ok = application:set_env(erlang_python, Key, 3),
             {ok, _} = application:ensure_all_started(erlang_python),
             ?assertEqual({Key, 3}, {Key, py_context_router:num_contexts()})
         end || Key <- [num_executors, num_workers]],
    ok.

%% Proves that each start with older names gives one warning, which names them, and that without them there is none.
older_names_warn_once(_) ->
    Log = py_test_log:collect(),
    try
        ok = py_test:start([{num_workers, 2}, {num_async_workers, 2}]),
        ?assertMatch(#{level := warning}, py_test_log:wait("num_workers")),
        py_test:stop(),
        ?assertEqual([], [E || E = #{level := warning} <- collected(), mentions_older_name(E)]),
        ok = py_test:start(),
        py_test:stop(),
        ?assertEqual([], [E || E <- collected(), mentions_older_name(E)])
    after
        py_test_log:stop(Log)
    end.

collected() ->
    receive {py_test_log, Event} -> [Event | collected()]
    after 0 -> []
    end.

mentions_older_name(Event) -> string:find(py_test_log:text(Event), "num_workers") =/= nomatch.

%% Proves that imports, paths and preload_code apply to every pool, also to one started later.
imports_paths_preload_for_every_pool(_) ->
    Dir = py_test:temp_file("paths"),
    ok = filelib:ensure_dir(filename:join(Dir, "x")),
    ok = file:write_file(filename:join(Dir, "configured_module.py"), <<"def get():\n    return 'configured'\n">>),
    ok = py_test:start([{paths, [Dir]}, {imports, [wave]}, {preload_code, <<"def five():\n    return 5\n">>}]),
    Pool = py_test:start_pool(1, #{}),
    _ = [begin
             ?assertEqual({ok, <<"configured">>}, py:call(P, configured_module, get, [])),
             ?assertEqual({ok, true}, py:call(P, probe, module_loaded, [<<"wave">>])),
             ?assertEqual({ok, 5}, py:call(P, '__main__', five, []))
         end || P <- [default, io, Pool]],
    ok.

%% Proves that pools of sys.config start with the application, with their options.
pools_from_configuration(_) ->
    ok = py_test:start([{pools, [{from_config, 2, #{env => [{"FROM_CONFIG", "yes"}]}}, {another, 1, worker},
                                 {third, 1}]}]),
    ?assertEqual({2, 1, 1}, list_to_tuple([py_context_router:num_contexts(P) || P <- [from_config, another, third]])),
    ?assertEqual({ok, <<"yes">>}, py:call(from_config, os, getenv, [<<"FROM_CONFIG">>])).

%% Proves that a faulty pool or option in sys.config fails the start of the application and is named.
pools_from_configuration_that_fail(_) ->
    start_fails([{pools, [{bad_pool, 1, #{colour => red}}]}], "colour"),
    start_fails([{pools, [{bad_pool, none, #{}}]}], "pools"),
    start_fails([{sandbox, bogus}], "sandbox"),
    start_fails([{venv, 42}], "venv"),
    start_fails([{imports, json}], "imports"),
    start_fails([{hard_timeout_grace, -1}], "hard_timeout_grace"),
    start_fails([{max_concurrent, lots}], "max_concurrent").

%% Proves that a pool of sys.config whose Python code fails says why, in the log and to its callers, while the
%% application and the other pools serve.
pool_from_configuration_with_failing_code(_) ->
    Log = py_test_log:collect(),
    try
        ok = py_test:start([{pools, [{bad_pool, 1, #{preload => <<"1 / 0">>}}]}]),
        _ = py_test_log:wait("ZeroDivisionError"),
        {error, Reason} = py:call(bad_pool, probe, echo, [1]),
        ?assertNotEqual(nomatch, string:find(io_lib:format("~tp", [Reason]), "ZeroDivisionError")),
        ?assertEqual({ok, 1}, py:call(probe, echo, [1]))
    after
        py_test_log:stop(Log)
    end.

start_fails(Env, Part) ->
    py_test:stop(),
    Log = py_test_log:collect(),
    try
        ok = application:load(erlang_python),
        _ = [application:set_env(erlang_python, K, V) || {K, V} <- Env],
        {error, Reason} = application:ensure_all_started(erlang_python),
        Text = io_lib:format("~tp", [Reason]),
        ?assertNotEqual({Text, nomatch}, {Text, string:find(Text, Part)}),
        ?assertNot(lists:keymember(erlang_python, 1, application:which_applications()))
    after
        py_test_log:stop(Log)
    end.

%% Proves that a virtual environment can be set for all pools.
venv_for_every_pool(_) ->
    ok = py_test:start(),
    Dir = py_test:temp_file("venv"),
    {ok, none} = py:call(venv, create, [list_to_binary(Dir)], #{symlinks => true}),
    ok = py_test:start([{venv, Dir}]),
    _ = [?assertEqual({ok, list_to_binary(Dir)},
                      py:eval(py_context_router:get_context(P), <<"__import__('sys').prefix">>))
         || P <- [default, io]],
    py_test:stop(),
    _ = file:del_dir_r(Dir),
    ok.

%% Proves that the application's own description is complete: modules that exist, registered names that are taken.
application_metadata(_) ->
    ok = py_test:start(),
    {ok, Modules} = application:get_key(erlang_python, modules),
    _ = [?assertMatch({module, M}, code:ensure_loaded(M)) || M <- Modules],
    _ = [?assert(lists:member(M, Modules))
         || M <- [py, py_context, py_context_router, py_semaphore, py_error, py_nif]],
    {ok, Registered} = application:get_key(erlang_python, registered),
    _ = [?assert(is_pid(whereis(Name))) || Name <- Registered],
    ok.

%% Proves that a start and a stop leave no process, port, table or registered name behind.
nothing_left_in_the_node(_) ->
    cycle(),
    Before = inventory(),
    cycle(),
    py_test:eventually(fun() -> inventory() =:= Before orelse {before, Before, now, inventory()} end).

cycle() ->
    ok = py_test:start(),
    ok = py:exec(<<"x = 1">>),
    {ok, _} = py:parallel([{probe, echo, [N]} || N <- lists:seq(1, 10)]),
    py_test:stop().

inventory() -> {length(erlang:ports()), length(ets:all()), lists:sort(registered())}.
