%% A request that is told to end, and its work in threads: both end, and nothing else. The work is that of working.py.
-module(thread_end_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() -> [{group, worker}, {group, owngil}].

groups() ->
    py_test_modes:groups(
        [join_of_a_thread_that_spins, join_of_a_thread_that_waits_for_erlang, join_of_a_thread_with_a_loop,
         join_in_every_level, queued_work_ends_too, work_of_others_goes_on, pool_works_after_a_timeout,
         interrupt_reaches_threads, stop_reaches_threads, join_in_a_finally_block, join_in_a_coroutine,
         thread_that_imports, threads_that_start_all_the_time, sandboxed_threads]).

init_per_suite(Config) -> thread_SUITE:init_per_suite(Config).
end_per_suite(Config) -> thread_SUITE:end_per_suite(Config).

init_per_group(Mode, Config) -> py_test_modes:init_group(Mode, Config).
end_per_group(_Group, _Config) -> ok.

init_per_testcase(Case, Config) -> thread_SUITE:init_per_testcase(Case, Config).
end_per_testcase(Case, Config) -> thread_SUITE:end_per_testcase(Case, Config).

%% Proves that a request which waits for a thread that runs for ever is late, and that both end, without the port
%% process.
join_of_a_thread_that_spins(Config) ->
    _ = [is_late(Config, Expression)
         || Expression <- ["join(working.spin)", "many(2, working.spin)", "kept_executor(working.spin)",
                           "executor(working.spin)", "thread_pool(working.spin)", "imap_of_endless_items()",
                           "kept_thread_pool(working.spin)", "to_thread(working.spin)", "join(working.join, working.spin)"]],
    ok.

%% Proves the same of a thread that waits for an Erlang function, whose process ends.
join_of_a_thread_that_waits_for_erlang(Config) ->
    Self = self(),
    ok = py:register_function(never, fun([]) -> Self ! {never, self()}, receive never -> ok end end),
    _ = [begin
             is_late(Config, Expression),
             _ = [receive {never, Pid} -> py_test:eventually(fun() -> not is_process_alive(Pid) end) end
                  || _ <- lists:seq(1, N)]
         end || {Expression, N} <- [{"join(erlang.call, 'never')", 1}, {"many(2, erlang.call, 'never')", 2}]],
    ok.

%% Proves the same of a thread that sleeps in an event loop.
join_of_a_thread_with_a_loop(Config) -> is_late(Config, "join(working.sleep_in_loop)").

%% Proves the same of levels each of which waits for a thread, the last of which runs for ever.
join_in_every_level(Config) ->
    ok = py:register_function(down, fun([N]) -> {ok, V} = py:call(a(Config), working, tree, [down, N]), V end),
    is_late(Config, "tree('down', 5)").

%% Proves that work which waits in a pool ends with its request, so that who waits for all of it does not wait long.
queued_work_ends_too(Config) -> is_late(Config, "many(1000, working.spin)").

is_late(Config, Expression) ->
    Ctx = a(Config),
    OsPid = py_test:os_pid(Ctx),
    ?assertEqual({error, timeout}, py:eval(Ctx, ["working.", Expression], #{}, 300)),
    ?assertEqual({ok, 1}, py:call(Ctx, probe, echo, [1])),
    ?assertEqual(OsPid, py_test:os_pid(Ctx)).

%% Proves that the work of another request, in the same pool of threads, goes on when one is late.
work_of_others_goes_on(Config) ->
    Self = self(),
    ok = py:register_function(wait, fun([]) -> Self ! {waits, self()}, receive go -> 5 end end),
    %% Only contexts of the same interpreter have the same modules.
    Other = [py_test:async(fun() -> py:call(b(Config), working, kept_call, [wait]) end)
             || worker <- [proplists:get_value(mode, Config)]],
    Waiting = [receive {waits, Pid} -> Pid end || _ <- Other],
    is_late(Config, "kept_executor(working.spin)"),
    _ = [Pid ! go || Pid <- Waiting],
    _ = [?assertEqual({ok, 5}, py_test:join(Job)) || Job <- Other],
    ?assertEqual({ok, [0, 1]}, py:eval(a(Config), <<"list(working.shared.map(abs, range(2)))">>)).

%% Proves that the threads of a pool are not what ends, but their work: also of a pool whose first thread was started by
%% the request that is late.
pool_works_after_a_timeout(Config) ->
    Ctx = a(Config),
    ok = py:exec(Ctx, <<"
import working
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
made = []
def late(make, submit):
    made.append(make(1))
    submit(made[-1], working.spin)
executor = lambda pool, function: pool.submit(function).result()
thread_pool = lambda pool, function: pool.apply(function)
">>),
    _ = [begin
             ?assertEqual({error, timeout}, py:eval(Ctx, ["late(", Make, ", ", Submit, ")"], #{}, 300)),
             ?assertEqual({ok, <<>>}, py:eval(Ctx, [Submit, "(made[-1], str)"], #{}, 20000))
         end || {Make, Submit} <- [{"ThreadPoolExecutor", "executor"}, {"ThreadPool", "thread_pool"}]],
    ok.

%% Proves that py:interrupt/1 ends such a request, too.
interrupt_reaches_threads(Config) ->
    Ctx = a(Config),
    Job = begun(Ctx),
    ok = py:interrupt(Ctx),
    ?assertEqual({error, interrupted}, py_test:join(Job)).

%% Proves that a context which is stopped ends, with the threads of its requests.
stop_reaches_threads(Config) ->
    {ok, Ctx} = py_context:new(#{mode => proplists:get_value(mode, Config)}),
    OsPid = py_test:os_pid(Ctx),
    Job = begun(Ctx),
    ok = py_context:stop(Ctx),
    ?assertMatch({error, {context_died, stopped}}, py_test:join(Job)),
    ?assert(py_test:alive(OsPid)).

%% A call that waits for a thread that runs for ever.
begun(Ctx) ->
    Self = self(),
    ok = py:register_function(begun, fun([]) -> Self ! begun, none end),
    Job = py_test:async(fun() -> py:call(Ctx, working, join_announced, [begun]) end),
    receive begun -> Job end.

%% Proves that a request which is told while it waits for Erlang, and waits for its thread in a finally block, ends.
join_in_a_finally_block(Config) ->
    ok = py:register_function(never, fun([]) -> receive never -> ok end end),
    is_late(Config, "join_in_finally(working.spin)").

%% Proves that a coroutine that holds up its loop by waiting for a thread ends, and that the others go on.
join_in_a_coroutine(Config) ->
    Ctx = a(Config),
    OsPid = py_test:os_pid(Ctx),
    Others = py:async_call(Ctx, working, goes_on, [1]),
    ?assertEqual({error, timeout}, py:async_await(py:async_call(Ctx, working, holds_up, [], #{}, 300))),
    ?assertEqual({ok, <<"went on">>}, py:async_await(Others)),
    ?assertEqual(OsPid, py_test:os_pid(Ctx)).

%% Proves that an import in a thread is left to its end.
thread_that_imports(Config) ->
    Ctx = a(Config),
    {error, timeout} = py:eval(Ctx, <<"working.join(lambda: __import__('slow_import'))">>, #{}, 50),
    ?assertMatch({ok, _}, py:eval(Ctx, <<"__import__('slow_import').__name__">>)).

%% Proves that whenever the end comes, the start of a thread is none of what it harms, nor what others have submitted.
threads_that_start_all_the_time(Config) ->
    Ctx = a(Config),
    OsPid = py_test:os_pid(Ctx),
    _ = [?assertEqual({error, timeout},
                      py:eval(Ctx, ["working.", Function, "()"], #{}, 20 + N)) || N <- lists:seq(1, 20),
            Function <- ["keeps_starting", "keeps_submitting"]],
    ?assertEqual({ok, lists:seq(0, 9)}, py:eval(Ctx, <<"list(working.shared.map(abs, range(10)))">>)),
    ?assertEqual(OsPid, py_test:os_pid(Ctx)).

%% Proves that the sandbox changes nothing about it.
sandboxed_threads(Config) ->
    Opts = #{mode => proplists:get_value(mode, Config), sandbox => strict, paths => [py_test:python_modules()]},
    py_test:with_pool(1, Opts, fun(Pool) ->
        ok = py:exec(Pool, <<"
import pickle, working
class Point: pass
">>),
        ?assertEqual({ok, #{}}, py:eval(Pool, <<"working.in_threads(pickle.dumps, Point())">>)),
        ?assertEqual({error, timeout}, py:eval(Pool, <<"working.join(working.spin)">>, #{}, 300)),
        ?assertEqual({ok, 1}, py:eval(Pool, <<"1">>))
    end).

%% Helpers.

a(Config) -> proplists:get_value(a, Config).
b(Config) -> proplists:get_value(b, Config).
