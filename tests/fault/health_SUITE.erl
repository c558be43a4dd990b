%% Pools whose interpreter was left so that all later calls fail: they are replaced, and nobody else is.
-module(health_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include("../../erlang_src/py_route.hrl").

-define(WORKS, {ok, {6, <<"(1+2j)">>}}).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [{group, worker}, {group, owngil}, {group, process_each}, {group, honest}].

groups() ->
    [{Group, [], sabotages()} || Group <- [worker, owngil, process_each]] ++
    [{honest, [], [honest_errors, honest_timeouts, long_request_before_the_check, customs, coroutines_that_raise,
                   threads_that_compute, strict_sandbox, only_the_sick_process, own_contexts, callers_learn_why, one_check_at_a_time,
                   nothing_is_kept_of_contexts_that_are_gone, interrupt_is_not_for_the_check]}].

sabotages() ->
    [modules_none, modules_cleared, module_erlang_replaced, erlang_emptied, encoding_broken, builtins_cleared,
     builtins_len_gone, builtins_raise, import_raises, import_hangs, import_sleeps, meta_path_raises, meta_path_empty,
     importer_cache_none, path_hooks_gone, importlib_broken, trace_raises, trace_hangs, profile_hangs, monitoring_raises,
     monitoring_hangs, audit_raises, recursion_limit, loop_broken, limit_nofile, limit_as, limit_data, threads_raise, gc_hangs].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

init_per_group(owngil, Config) -> py_test_modes:init_group(owngil, Config);
init_per_group(process_each, Config) -> [{mode, worker}, {isolation, context} | Config];
init_per_group(honest, Config) -> Config;
init_per_group(Mode, Config) -> [{mode, Mode} | Config].

end_per_group(_Group, _Config) -> ok.

%% Sabotage. Each case proves that after it, with nothing but calls that have a timeout, the pool answers again.

modules_none(Config) -> heals(modules_none, Config).
modules_cleared(Config) -> heals(modules_cleared, Config).
module_erlang_replaced(Config) -> heals(module_erlang_replaced, Config).
erlang_emptied(Config) -> heals(erlang_emptied, Config).
encoding_broken(Config) -> heals(encoding_broken, Config).
builtins_cleared(Config) -> heals(builtins_cleared, Config).
builtins_len_gone(Config) -> heals(builtins_len_gone, Config).
builtins_raise(Config) -> heals(builtins_raise, Config).
import_raises(Config) -> heals(import_raises, Config).
import_hangs(Config) -> heals(import_hangs, Config).
import_sleeps(Config) -> heals(import_sleeps, Config).
meta_path_raises(Config) -> heals(meta_path_raises, Config).
meta_path_empty(Config) -> heals(meta_path_empty, Config).
importer_cache_none(Config) -> heals(importer_cache_none, Config).
path_hooks_gone(Config) -> heals(path_hooks_gone, Config).
importlib_broken(Config) -> heals(importlib_broken, Config).
trace_raises(Config) -> heals(trace_raises, Config).
trace_hangs(Config) -> heals(trace_hangs, Config).
profile_hangs(Config) -> heals(profile_hangs, Config).
monitoring_raises(Config) -> heals(monitoring_raises, Config).
monitoring_hangs(Config) -> heals(monitoring_hangs, Config).
audit_raises(Config) -> heals(audit_raises, Config).
recursion_limit(Config) -> heals(recursion_limit, Config).
limit_nofile(Config) -> heals(limit_nofile, Config).
limit_as(Config) -> heals(limit_as, Config).
limit_data(Config) -> heals(limit_data, Config).
threads_raise(Config) -> heals(threads_raise, Config).
gc_hangs(Config) -> heals(gc_hangs, Config).

%% An event loop that ends whenever it runs: coroutines do not go on, other calls do.
loop_broken(Config) ->
    Options = #{mode => ?config(mode, Config), isolation => proplists:get_value(isolation, Config, pool)},
    py_test:with_pool(1, Options, fun(Pool) ->
        ?assertEqual({ok, <<"awaited">>}, awaited(Pool, 30000)),
        _ = within(2000, Pool, sabotage, loop_broken, []),
        ok = py_test:eventually(fun() -> awaited(Pool, 500) =:= {ok, <<"awaited">>} end, 60000)
    end).

awaited(Pool, Timeout) ->
    case py_test:contexts(Pool) of
        [Ctx | _] -> py:async_await(py:async_call(Ctx, sabotage, awaited, [], #{timeout => Timeout}), infinity);
        [] -> no_context
    end.

%% `work' does what programs do: it imports, opens files, starts threads, makes classes, allocates.
heals(Sabotage, Config) ->
    Options = #{mode => ?config(mode, Config), isolation => proplists:get_value(isolation, Config, pool)},
    py_test:with_pool(1, Options, fun(Pool) ->
        ?assertEqual(?WORKS, work(Pool)),
        _ = within(2000, Pool, sabotage, Sabotage, []),
        ok = py_test:eventually(fun() -> work(Pool) =:= ?WORKS andalso work(Pool) =:= ?WORKS end, 60000),
        py_test:nothing_left()
    end).

%% On a context of the pool, if there is one.
within(Ms, Pool, M, F, Args) ->
    case py_test:contexts(Pool) of
        [Ctx | _] -> py:call(Ctx, M, F, Args, #{timeout => Ms});
        [] -> no_context
    end.

work(Pool) -> within(1000, Pool, sabotage_work, work, []).

%% Others. Each proves that a process which can work is never replaced.

%% A thousand errors of every kind, in both modes.
honest_errors(_) ->
    Kinds = ['ValueError', 'MemoryError', 'SystemError', 'ImportError', 'OSError', 'RecursionError', 'NameError',
             'TypeError', 'RuntimeError', 'KeyError'],
    stays(fun(Pool) ->
        _ = [?assertMatch({error, {Kind, <<"honest">>}}, without_quotes(py:call(Pool, sabotage, honest_error, [Kind])))
             || _ <- lists:seq(1, 100), Kind <- Kinds],
        _ = [?assertMatch({error, {'ModuleNotFoundError', _}}, py:call(Pool, sabotage, honest_import, []))
             || _ <- lists:seq(1, 20)]
    end).

without_quotes({error, {'KeyError', <<"'honest'">>}}) -> {error, {'KeyError', <<"honest">>}};
without_quotes(Result) -> Result.

%% Calls that take longer than their callers wait.
honest_timeouts(_) ->
    stays(fun(Pool) ->
        _ = [?assertEqual({error, timeout}, within(50, Pool, trouble, spin, [])) || _ <- lists:seq(1, 20)]
    end).

%% A check waits for its turn behind a request that takes longer than a check may.
long_request_before_the_check(_) ->
    stays(fun(Pool) ->
        Long = py_test:waiting(Pool, 4),
        _ = [{error, timeout} = within(20, Pool, probe, echo, [1]) || _ <- lists:seq(1, 10)],
        ?assertMatch({ok, _}, py_test:join(Long)),
        ?assertEqual({ok, 1}, py:call(Pool, probe, echo, [1]))
    end).

%% What programs do to an interpreter and may do: wrap __import__, replace print and stdout, profile, switch gc off.
customs(_) ->
    stays(fun(Pool) ->
        {ok, none} = py:call(Pool, sabotage, honest_customs, []),
        fail(Pool, 20),
        timer:sleep(1500),
        fail(Pool, 20)
    end).

%% Errors of coroutines, beside others that wait.
coroutines_that_raise(_) ->
    stays(fun(Pool) ->
        Refs = [py:async_call(Pool, sabotage, honest_coroutine, [N / 100]) || N <- lists:seq(1, 30)],
        _ = [?assertMatch({error, {'ValueError', _}}, py:async_await(Ref)) || Ref <- Refs],
        fail(Pool, 5)
    end).

%% Four contexts that compute and fail, and so wait for each other's GIL.
threads_that_compute(_) ->
    py_test:with_pool(4, #{}, fun(Pool) ->
        OsPid = py_test:os_pid(Pool),
        Jobs = [py_test:async(fun() ->
            [py:call(Ctx, trouble, spin, [], #{timeout => 100}) || _ <- lists:seq(1, 10)]
        end) || Ctx <- py_test:contexts(Pool)],
        _ = [?assertEqual(lists:duplicate(10, {error, timeout}), py_test:join(Job)) || Job <- Jobs],
        checked(Pool),
        ?assertEqual(OsPid, py_test:os_pid(Pool))
    end).

%% A check does nothing that the strict sandbox refuses.
strict_sandbox(_) ->
    py_test:with_pool(1, #{sandbox => strict}, fun(Pool) ->
        OsPid = py_test:os_pid(Pool),
        fail(Pool, 5),
        checked(Pool),
        ?assertEqual(OsPid, py_test:os_pid(Pool))
    end).

%% With a process for each context only the sick one goes.
only_the_sick_process(_) ->
    py_test:with_pool(2, #{isolation => context}, fun(Pool) ->
        [Sick, Well] = py_test:contexts(Pool),
        [SickPid, WellPid] = [py_test:os_pid(Ctx) || Ctx <- [Sick, Well]],
        {ok, none} = py:call(Sick, sabotage, builtins_len_gone, []),
        fail(Sick, 3),
        ok = py_test:eventually(fun() -> not py_test:alive(SickPid) end),
        ?assertEqual(WellPid, py_test:os_pid(Well)),
        ok = py_test:eventually(fun() -> length(py_test:contexts(Pool)) =:= 2 end)
    end).

%% A context that a user has started ends, and says why.
own_contexts(_) ->
    {ok, Ctx} = py_context:new(#{mode => worker, isolation => context}),
    Monitor = monitor(process, Ctx),
    {ok, none} = py:call(Ctx, sabotage, import_raises, []),
    fail(Ctx, 3),
    ?assertEqual({shutdown, {context_died, {killed, unhealthy}}},
                 receive {'DOWN', Monitor, process, Ctx, Reason} -> Reason after 30000 -> still_there end),
    ?assertEqual({error, {context_died, {killed, unhealthy}}}, py:call(Ctx, math, sqrt, [4])).

%% Whoever has a request there is told the cause, and the log says what was wrong, with context and pool.
callers_learn_why(_) ->
    Log = py_test_log:collect(),
    py_test:with_pool(1, #{}, fun(Pool) ->
        Ctx = py_context_router:get_context(Pool),
        Waiting = py_test:async(fun() -> py:async_await(py:async_call(Ctx, asyncio, sleep, [600]), infinity) end),
        ok = py_test:eventually(fun() -> #{tasks := N} = context_stats(Ctx), N =:= 1 end),
        {ok, none} = py:call(Ctx, sabotage, builtins_len_gone, []),
        fail(Ctx, 3),
        ?assertEqual({error, {context_died, {killed, unhealthy}}}, py_test:join(Waiting)),
        Text = py_test_log:text(py_test_log:wait("builtins lack len")),
        ?assertMatch({match, _}, re:run(Text, atom_to_list(Pool))),
        ?assertMatch({match, _}, re:run(Text, "context 1")),
        ?assertMatch({match, _}, re:run(py_error:format_error({context_died, {killed, unhealthy}}), "check"))
    end),
    ok = py_test_log:stop(Log).

%% However many calls fail, a check is made at most once a second, and less often when it passes.
one_check_at_a_time(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        {PoolPid, _} = py_tables:pool(Pool),
        1 = erlang:trace(PoolPid, true, ['receive']),
        Until = erlang:monotonic_time(millisecond) + 3000,
        fail_until(Pool, Until),
        1 = erlang:trace(PoolPid, false, ['receive']),
        Checks = length([1 || {trace, _, 'receive', {py_reply, _, _}} <- messages()]),
        ?assert(Checks >= 1),
        ?assert(Checks =< 3)
    end).

fail_until(Pool, Until) ->
    fail(Pool, 100),
    erlang:monotonic_time(millisecond) >= Until orelse fail_until(Pool, Until).

messages() ->
    receive Message -> [Message | messages()] after 100 -> [] end.

%% Nothing is left of contexts that were counted.
nothing_is_kept_of_contexts_that_are_gone(_) ->
    Before = length(ets:tab2list(py_symptoms)),
    py_test:with_pool(2, #{}, fun(Pool) ->
        fail(Pool, 10),
        ?assert(length(ets:tab2list(py_symptoms)) > Before)
    end),
    ok = py_test:eventually(fun() -> length(ets:tab2list(py_symptoms)) =:= Before end).

%% py:interrupt/1 is for requests: the check that runs meanwhile is none.
interrupt_is_not_for_the_check(_) ->
    stays(fun(Pool) ->
        Ctx = py_context_router:get_context(Pool),
        _ = [begin
                 fail(Pool, 3),
                 _ = [py:interrupt(Ctx) || _ <- lists:seq(1, 20)]
             end || _ <- lists:seq(1, 20)],
        fail(Pool, 3)
    end).

%% Runs Fun(Pool) in each mode, with slots for those that have given up as well; its process must be there afterwards, and a check must have passed.
stays(Fun) ->
    _ = [py_test:with_pool(1, #{mode => Mode, max_concurrent => 64}, fun(Pool) ->
             OsPid = py_test:os_pid(Pool),
             _ = Fun(Pool),
             checked(Pool),
             ?assertEqual(OsPid, py_test:os_pid(Pool))
         end) || Mode <- py_test_modes:supported()],
    ok.

%% The pool has had a check of a context answered: that is what makes it quiet. On a slow machine it may be quiet no more, and
%% have seen a failure or two since: then some more bring the next check.
checked(Pool) ->
    ok = py_test:eventually(fun() ->
        lists:any(fun(Ctx) -> [0] =:= [N || {_, N, _, _} <- ets:lookup(py_symptoms, Ctx)] end, py_test:contexts(Pool))
            orelse begin fail(Pool, 1), false end
    end).

fail(Target, Times) ->
    _ = [{error, _} = py:call(Target, sabotage, honest_error, ['ValueError']) || _ <- lists:seq(1, Times)],
    ok.

context_stats(Ctx) ->
    #route{port = Port, owner = Owner, id = Id} = py_tables:route(Ctx),
    #{contexts := #{Id := Stats}} = py_info:port_stats(Owner, Port),
    Stats.
