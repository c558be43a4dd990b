%% What functions say when there is nothing that they could be about: the application does not run, or a pid is that of
%% no context.
-module(not_started_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(NOT_STARTED, {not_started, erlang_python}).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [predicates, errors, exceptions, after_a_stop, as_a_sentence, no_contexts, dead_contexts, contexts_that_are_linked].

init_per_testcase(Case, Config) ->
    case lists:member(Case, [no_contexts, dead_contexts, contexts_that_are_linked]) of
        true -> ok = py_test:start();
        false -> py_test:stop()
    end,
    Config.

end_per_testcase(_Case, _Config) -> py_test:stop().

%% Proves that questions whether something runs are answered, with no, and that nothing waits to be stopped.
predicates(_) ->
    Questions = [fun py_context_router:is_started/0, fun py:contexts_started/0,
                 fun() -> py_context_router:pool_started(default) end, fun() -> py_context_router:pool_started([]) end],
    ?assertEqual([false, false, false, false], [Question() || Question <- Questions]),
    ?assertEqual(worker, py:execution_mode()),
    ?assertEqual(ok, py_context:stop(dead())),
    %% A request asks it that was sent when the application ended.
    ?assertNot(py_counters:is_alone(1)).

%% Proves that functions whose type has errors return one that says so.
errors(_) ->
    _ = [?assertEqual({Name, {error, ?NOT_STARTED}}, {Name, Fun()}) || {Name, Fun} <- error_functions()],
    ok.

error_functions() ->
    Ctx = self(),
    Env = make_ref(),
    [{call, fun() -> py:call(math, sqrt, [4]) end},
     {call_pool, fun() -> py:call(io, math, sqrt, [4]) end},
     {call_context, fun() -> py:call(Ctx, math, sqrt, [4]) end},
     {eval, fun() -> py:eval(<<"1">>) end}, {eval_context, fun() -> py:eval(Ctx, <<"1">>) end},
     {exec, fun() -> py:exec(<<"x = 1">>) end}, {exec_context, fun() -> py:exec(Ctx, <<"x = 1">>) end},
     {parallel, fun() -> py:parallel([{math, sqrt, [4]}]) end},
     {gather, fun() -> py:async_gather([{math, sqrt, [4]}]) end},
     {stream, fun() -> py:stream(builtins, range, [3]) end}, {stream_eval, fun() -> py:stream_eval(<<"[1]">>) end},
     {stream_fold, fun() -> py:stream_fold(fun(X, _) -> X end, 0, {builtins, range, [3]}) end},
     {stream_start, fun() -> py:stream_start(builtins, range, [3]) end},
     {interrupt, fun() -> py:interrupt(Ctx) end},
     {start_contexts, fun() -> py:start_contexts() end}, {stop_contexts, fun() -> py:stop_contexts() end},
     {version, fun py:version/0}, {memory_stats, fun py:memory_stats/0}, {gc, fun py:gc/0},
     {tracemalloc_start, fun py:tracemalloc_start/0}, {tracemalloc_stop, fun py:tracemalloc_stop/0},
     {reload, fun() -> py:reload(math) end},
     {state_store, fun() -> py:state_store(a, 1) end}, {state_fetch, fun() -> py:state_fetch(a) end},
     {start_pool, fun() -> py_context_router:start_pool(p, 1) end},
     {stop_pool, fun() -> py_context_router:stop_pool(p) end},
     {bind, fun() -> py_context_router:bind_context(Ctx) end},
     {bind_pool, fun() -> py_context_router:bind_context(default, Ctx) end},
     {acquire, fun() -> py_semaphore:acquire(0) end},
     {new, fun() -> py_context:new(#{}) end}, {start_link, fun() -> py_context:start_link(1, worker) end},
     {context_call, fun() -> py_context:call(Ctx, math, sqrt, [4]) end},
     {context_call_env, fun() -> py_context:call(Ctx, math, sqrt, [4], Env) end},
     {context_eval, fun() -> py_context:eval(Ctx, <<"1">>) end}, {context_exec, fun() -> py_context:exec(Ctx, <<"1">>) end},
     {create_local_env, fun() -> py_context:create_local_env(Ctx) end},
     {start_loop, fun() -> py_context:start_loop(Ctx) end}, {stop_loop, fun() -> py_context:stop_loop(Ctx) end},
     {loop_ref, fun() -> py_context:loop_ref(Ctx) end}, {interp_id, fun() -> py_context:get_interp_id(Ctx) end},
     {submit_await, fun() -> py_context:submit_await(Ctx, math, sqrt, [4]) end},
     {loop_run, fun() -> py_event_loop:run(math, sqrt, [4]) end}, {loop_exec, fun() -> py_event_loop:exec(<<"1">>) end},
     {pool_run, fun() -> py_event_loop_pool:run(math, sqrt, [4]) end},
     {pool_exec, fun() -> py_event_loop_pool:exec(<<"1">>) end},
     {pool_eval, fun() -> py_event_loop_pool:eval(<<"1">>) end}, {pool_loop, fun py_event_loop_pool:get_loop/0},
     {get_loop, fun py_event_loop:get_loop/0}, {get_all_loops, fun py_event_loop_pool:get_all_loops/0},
     {get_all_sessions, fun py_event_loop_pool:get_all_sessions/0},
     {pool_run_async, fun() -> py_event_loop_pool:run_async(#{}) end},
     {nif_call, fun() -> py_nif:context_call(Env, math, sqrt, [4], #{}, Env) end},
     {nif_eval, fun() -> py_nif:context_eval(Env, <<"1">>, #{}, Env) end},
     {nif_exec, fun() -> py_nif:context_exec(Env, <<"1">>, Env) end}].

%% Proves that functions whose type has no error raise it, and never badarg or noproc.
exceptions(_) ->
    _ = [?assertEqual({Name, raised, ?NOT_STARTED}, {Name, raised, raised(Fun)}) || {Name, Fun} <- raising_functions()],
    ok.

raised(Fun) ->
    try Fun() of Value -> {returned, Value}
    catch error:Reason -> Reason; Class:Reason -> {Class, Reason}
    end.

raising_functions() ->
    Ctx = self(),
    [{cast, fun() -> py:cast(math, sqrt, [4]) end}, {spawn_call, fun() -> py:spawn_call(math, sqrt, [4]) end},
     {async_call, fun() -> py:async_call(math, sqrt, [4]) end},
     {register_function, fun() -> py:register_function(f, fun(_) -> ok end) end},
     {unregister_function, fun() -> py:unregister_function(f) end},
     {register_pool, fun() -> py:register_pool(p, math) end}, {unregister_pool, fun() -> py:unregister_pool(math) end},
     {context, fun py:context/0}, {context_1, fun() -> py:context(1) end},
     {get_context, fun() -> py_context_router:get_context(io) end},
     {num_executors, fun py:num_executors/0}, {stats, fun py:stats/0},
     {subinterp_supported, fun py:subinterp_supported/0},
     {num_contexts, fun py_context_router:num_contexts/0}, {contexts, fun py_context_router:contexts/0},
     {lookup_pool, fun() -> py_context_router:lookup_pool(math, sqrt) end},
     {registrations, fun py_context_router:list_pool_registrations/0},
     {unbind, fun py_context_router:unbind_context/0},
     {state_remove, fun() -> py:state_remove(a) end}, {state_keys, fun py:state_keys/0},
     {state_clear, fun py:state_clear/0}, {state_incr, fun() -> py:state_incr(a) end},
     {state_decr, fun() -> py:state_decr(a, 2) end},
     {max_concurrent, fun py_semaphore:max_concurrent/0}, {current, fun py_semaphore:current/0},
     {set_max_concurrent, fun() -> py_semaphore:set_max_concurrent(3) end}, {release, fun py_semaphore:release/0},
     {is_subinterp, fun() -> py_context:is_subinterp(Ctx) end}, {nif_ref, fun() -> py_context:get_nif_ref(Ctx) end},
     {local_env, fun() -> py:get_local_env(Ctx) end}, {submit, fun() -> py_context:submit(Ctx, math, sqrt, [4]) end},
     {create_task, fun() -> py_event_loop:create_task(math, sqrt, [4]) end},
     {spawn_task, fun() -> py_event_loop:spawn_task(math, sqrt, [4]) end},
     {get_stats, fun py_event_loop_pool:get_stats/0},
     {run_async, fun() -> py_event_loop:run_async(Ctx, #{ref => make_ref(), caller => self(), module => math,
                                                         func => sqrt, args => [4]}) end}].

%% Proves the same for a process that has called Python before, and remembers its contexts and its caster.
after_a_stop(_) ->
    ok = py_test:start(),
    ok = py:exec(<<"x = 1">>),
    {ok, 1} = py:await(py:cast(probe, echo, [1])),
    Ctx = py:context(),
    ok = py_context_router:bind_context(io, Ctx),
    py_test:stop(),
    _ = [?assertEqual({Name, {error, ?NOT_STARTED}}, {Name, Fun()}) || {Name, Fun} <- error_functions()],
    _ = [?assertEqual({Name, ?NOT_STARTED}, {Name, raised(Fun)}) || {Name, Fun} <- raising_functions(),
                                                                    Name =/= context, Name =/= get_context,
                                                                    Name =/= get_loop, Name =/= unbind],
    ok = py_test:start(),
    ?assertEqual({ok, 2}, py:call(probe, echo, [2])),
    ?assertEqual({ok, 3}, py:await(py:cast(probe, echo, [3]))),
    ?assertMatch({error, {'NameError', _}}, py:eval(<<"x">>)).

%% Proves that the reason reads as a sentence, and that no reason whatever keeps format_error from making one.
as_a_sentence(_) ->
    ?assertNotEqual(nomatch, string:find(py_error:format_error({error, ?NOT_STARTED}), "not running")),
    rand:seed(exsss, py_test:seed()),
    Reasons = [{overloaded, 1, 2}, {too_large, 1, 2}, {gather_failed, [{1, timeout}]}, {state_full, 1},
               {context_died, {signal, sigkill}}, {context_died, {exit_status, 1}}, {port_program, "x", enoent},
               {start_failed, {'E', <<"x">>}}, {bad_config, k, {bad_option, a}}, {not_encodable, {map_key, <<"x">>}},
               {'E', <<"x">>, <<"y">>}, {bad_request, <<"x">>}, {no_such_context, self()}, {unsupported, x}],
    _ = [begin
             Reason = py_test_terms:mutate(py_test_terms:one_of(Reasons)),
             ?assert({is_binary(py_error:format_error(Reason)), Reason} =:= {true, Reason}),
             ?assert(is_binary(py_error:format_why(Reason)))
         end || _ <- lists:seq(1, 5000)],
    ok.

%% Proves that a process that is no context is refused at once, wherever a context is asked for, and hears nothing of it.
no_contexts(_) ->
    Silent = spawn_link(fun() -> receive never -> ok end end),
    Remote = binary_to_term(<<131, 88, 100, 10:16, "other@host", 77:32, 0:32, 1:32>>),
    _ = [begin
             Error = {error, {no_such_context, Pid}},
             _ = [?assertEqual({Name, Error}, {Name, Fun(Pid)}) || {Name, Fun} <- with_context_or_error()],
             _ = [?assertError({no_such_context, Pid}, Fun(Pid)) || {_, Fun} <- with_context_or_exception()],
             {ok, Ref} = py_context:submit(Pid, math, sqrt, [4]),
             ?assertEqual(Error, py_event_loop:await(Ref))
         end || Pid <- [Silent, self(), Remote, whereis(py_semaphore), whereis(init), whereis(py_pools_sup)]],
    ?assertEqual({message_queue_len, 0}, process_info(Silent, message_queue_len)),
    ?assertEqual(nomatch, string:find(py_error:format_error({no_such_context, Silent}), "default pool")),
    _ = [?assertError({bad_argument, _, Wrong}, Fun(Wrong))
         || Wrong <- [a, <<"x">>, [], {}, 1.5],
            {Name, Fun} <- with_context_or_error() ++ with_context_or_exception(), Name =/= py],
    ok.

with_context_or_error() ->
    [{stop, fun py_context:stop/1}, {destroy, fun py_context:destroy/1}, {interrupt, fun py:interrupt/1},
     {context_interrupt, fun py_context:interrupt/1},
     {py, fun(Ctx) -> py:call(Ctx, math, sqrt, [4]) end}, {py, fun(Ctx) -> py:eval(Ctx, <<"1">>) end},
     {py, fun(Ctx) -> py:exec(Ctx, <<"1">>) end},
     {call, fun(Ctx) -> py_context:call(Ctx, math, sqrt, [4]) end}, {eval, fun(Ctx) -> py_context:eval(Ctx, <<"1">>) end},
     {exec, fun(Ctx) -> py_context:exec(Ctx, <<"1">>) end},
     {submit_await, fun(Ctx) -> py_context:submit_await(Ctx, math, sqrt, [4]) end},
     {start_loop, fun py_context:start_loop/1}, {stop_loop, fun py_context:stop_loop/1},
     {loop_ref, fun py_context:loop_ref/1}, {create_local_env, fun py_context:create_local_env/1},
     {interp_id, fun py_context:get_interp_id/1}, {bind, fun py_context_router:bind_context/1},
     {bind_pool, fun(Ctx) -> py_context_router:bind_context(io, Ctx) end}].

with_context_or_exception() ->
    [{is_subinterp, fun py_context:is_subinterp/1}, {nif_ref, fun py_context:get_nif_ref/1},
     {local_env, fun py_context:get_local_env/1}].

%% Proves that a context that is dead is no mistake: stopping it again is done, and the others say what it died of.
dead_contexts(_) ->
    {ok, Ctx} = py_context:new(#{}),
    ok = py_context:stop(Ctx),
    Unknown = dead(),
    _ = [begin
             ?assertEqual(ok, py_context:stop(Pid)),
             _ = [?assertEqual({Name, {error, {context_died, stopped}}}, {Name, Fun(Pid)})
                  || {Name, Fun} <- with_context_or_error(), Name =/= stop, Name =/= destroy],
             _ = [?assertError({context_died, stopped}, Fun(Pid)) || {_, Fun} <- with_context_or_exception()]
         end || Pid <- [Ctx, Unknown]],
    ok.

dead() ->
    {Pid, Monitor} = spawn_monitor(fun() -> ok end),
    receive {'DOWN', Monitor, process, Pid, _} -> Pid end.

%% Proves that a process that has linked itself to a context of a pool and dies does not take it from the others, while a
%% context of one's own goes with its user.
contexts_that_are_linked(_) ->
    Pooled = py:context(1),
    Monitor = monitor(process, Pooled),
    _ = spawn(fun() -> link(Pooled), exit(crashed) end),
    true = exit(Pooled, shutdown),
    Pooled ! {'EXIT', self(), killed},
    ?assertEqual({ok, 1}, py:call(Pooled, probe, echo, [1])),
    true = demonitor(Monitor, [flush]),
    ok = py_context:stop(Pooled),
    {ok, Own} = py_context:new(#{}),
    OwnMonitor = monitor(process, Own),
    _ = spawn(fun() -> link(Own), exit(crashed) end),
    receive {'DOWN', OwnMonitor, process, Own, _} -> ok end.
