%% The event loop of the package: erlang.run and its companions in contexts of both modes.
-module(asyncio_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() -> [{group, worker}, {group, owngil} | once()].

groups() -> py_test_modes:groups(in_both_modes()).

in_both_modes() ->
    [name_of_the_loop, several_at_once, mode, tcp, udp, unix_sockets, tls, subprocesses, killed_subprocess, executors,
     timers, call_soon_threadsafe, no_wake_up_is_lost, signals_are_refused, idle_costs_no_cpu, timeout_ends_the_wait,
     interrupt_ends_the_wait, closed_loops_leave_no_descriptors, run_inside_a_loop, errors_come_out, spawned_tasks,
     spawn_task_needs_a_loop, sleep_without_a_loop, policy, loop_by_hand, in_a_namespace, erlang_functions,
     selector_is_like_epoll, selector_wakes, selector_has_one_sleeper, selector_closed_while_sleeping].

once() -> [asyncio_is_imported_lazily, policy_ends_with_its_context].

init_per_suite(Config) -> ok = py_test:start([{max_concurrent, 100}]), Config.
end_per_suite(_Config) -> py_test:stop(), py_test:remove_temp_files().

init_per_group(Mode, Config) ->
    py_test_modes:pool_group(Mode, 3, #{hard_timeout_grace => 20000}, Config).

end_per_group(_Mode, Config) -> py_test:stop_pool(?config(pool, Config)).

%% Proves that erlang.run runs a coroutine on a loop of the class ErlangEventLoop.
name_of_the_loop(Config) ->
    ?assertEqual({ok, <<"ErlangEventLoop">>}, call(Config, name, [])).

%% Proves that all contexts of a pool run a loop of their own on their own thread at the same time.
several_at_once(Config) ->
    File = file("meet"),
    Contexts = py_test:contexts(?config(pool, Config)),
    Jobs = [py_test:async(fun() -> py:call(Ctx, loops, meet, [File, length(Contexts)]) end) || Ctx <- Contexts],
    Threads = [begin {ok, [_Loop, Thread]} = py_test:join(Job), Thread end || Job <- Jobs],
    ?assertEqual(length(Contexts), length(lists:usort(Threads))).

%% Proves that detect_mode tells the modes apart.
mode(Config) ->
    Expected = case ?config(mode, Config) of worker -> <<"SHARED_GIL">>; owngil -> <<"SUBINTERP">> end,
    ?assertEqual({ok, Expected}, call(Config, mode, [])).

%% Proves that a TCP server and many clients work in one loop.
tcp(Config) ->
    {ok, Answers} = call(Config, tcp, [50]),
    Answer = fun(Letter, N) -> iolist_to_binary([Letter, integer_to_binary(N)]) end,
    ?assertEqual([[Answer("A", N), Answer("B", N)] || N <- lists:seq(0, 49)], Answers).

%% Proves that datagrams are sent and received.
udp(Config) -> ?assertEqual({ok, <<"DATAGRAM">>}, call(Config, udp, [])).

%% Proves that Unix sockets work.
unix_sockets(Config) ->
    ?assertEqual({ok, [<<"ONE">>, <<"TWO">>]}, call(Config, unix, [file("socket")])).

%% Proves that TLS works, and that the certificate is checked.
tls(Config) ->
    case os:find_executable("openssl") of
        false -> {skip, "there is no openssl to make a certificate with"};
        _ ->
            {Certificate, Key} = {file("cert"), file("key")},
            Output = os:cmd("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext "
                            "subjectAltName=DNS:localhost -out " ++ binary_to_list(Certificate) ++ " -keyout " ++
                            binary_to_list(Key) ++ " 2>&1"),
            ?assert(filelib:is_file(Certificate), Output),
            ?assertEqual({ok, [<<"TLSv1.3">>, <<"SECRET">>, 50000]}, call(Config, tls, [Certificate, Key]))
    end.

%% Proves that subprocesses are fed, read and waited for, several at once, though contexts are not the main thread.
subprocesses(Config) ->
    Twice = fun(N) -> iolist_to_binary([integer_to_binary(N), integer_to_binary(N)]) end,
    ?assertEqual({ok, [[Twice(N), N] || N <- lists:seq(0, 7)]}, call(Config, children, [8])).

%% Proves that a killed subprocess is seen to have ended by its signal.
killed_subprocess(Config) -> ?assertEqual({ok, -9}, call(Config, killed_child, [])).

%% Proves that executors run functions in other threads.
executors(Config) -> ?assertEqual({ok, [20, false, 6]}, call(Config, executor, [20])).

%% Proves that timers, of less than a millisecond too, go off in their order, none early and none that was cancelled.
timers(Config) -> ?assertEqual({ok, [[0, 1, 2, 3, 4], []]}, call(Config, timers, [])).

%% Proves that call_soon_threadsafe loses nothing from 50 threads at once.
call_soon_threadsafe(Config) -> ?assertEqual({ok, true}, call(Config, threadsafe, [50, 200])).

%% Proves that a thread always wakes a loop that goes to sleep at that moment.
no_wake_up_is_lost(Config) -> ?assertEqual({ok, 20000}, call(Config, ping_pong, [20000])).

%% Proves that a signal handler is refused with a reason, as asyncio does in any thread but the main one.
signals_are_refused(Config) ->
    {error, {'RuntimeError', Message}} = call(Config, signal_handler, []),
    ?assertNotEqual(nomatch, string:find(Message, "main thread")).

%% Proves that a waiting loop sleeps: half a second of it takes less than a tenth of that in CPU time.
idle_costs_no_cpu(Config) ->
    {ok, Used} = call(Config, idle_cpu, [0.5]),
    ?assert(Used < 0.05, Used).

%% Proves that the timeout of a request ends a loop that waits for ever: its finally blocks run, and the context serves
%% the next request in the same process.
timeout_ends_the_wait(Config) ->
    waits_until(Config, fun(Ctx, Args) ->
        ?assertEqual({error, timeout}, py:call(Ctx, loops, forever, Args, #{timeout => 500}))
    end).

%% Proves the same of py:interrupt.
interrupt_ends_the_wait(Config) ->
    waits_until(Config, fun(Ctx, [Started | _] = Args) ->
        Job = py_test:async(fun() -> py:call(Ctx, loops, forever, Args) end),
        py_test:eventually(fun() -> filelib:is_file(Started) end),
        ok = py:interrupt(Ctx),
        ?assertEqual({error, interrupted}, py_test:join(Job))
    end).

waits_until(Config, End) ->
    [Ctx | _] = py_test:contexts(?config(pool, Config)),
    OsPid = py_test:os_pid(Ctx),
    {Started, Cleaned} = {file("started"), file("cleaned")},
    End(Ctx, [Started, Cleaned]),
    ?assert(filelib:is_file(Started)),
    py_test:wait_file(Cleaned),
    ?assertEqual(OsPid, py_test:os_pid(Ctx)),
    ?assertEqual({ok, <<"ErlangEventLoop">>}, py:call(Ctx, loops, name, [])).

%% Proves that a closed loop has closed all its descriptors.
closed_loops_leave_no_descriptors(Config) ->
    {ok, _} = call(Config, descriptors, [1]),
    {ok, Left} = call(Config, descriptors, [100]),
    %% Threads of other contexts may have opened some meanwhile, but not hundreds.
    ?assert(Left < 20, Left).

%% Proves that erlang.run refuses to run inside a loop, and says what to do.
run_inside_a_loop(Config) ->
    {error, {'RuntimeError', Message}} = call(Config, run_in_loop, []),
    ?assertNotEqual(nomatch, string:find(Message, "await")).

%% Proves that the exception of the coroutine is the request's.
errors_come_out(Config) ->
    ?assertEqual({error, {'LookupError', <<"not here">>}}, call(Config, failing, [])).

%% Proves that a spawned task runs to its end though nobody holds it.
spawned_tasks(Config) -> ?assertEqual({ok, [<<"later">>, [<<"done">>]]}, call(Config, spawned, [])).

%% Proves that spawn_task without a loop is refused.
spawn_task_needs_a_loop(Config) -> ?assertMatch({error, {'RuntimeError', _}}, call(Config, spawn_outside, [])).

%% Proves that erlang.sleep outside of a loop sleeps, and lets other threads run meanwhile.
sleep_without_a_loop(Config) -> ?assertEqual({ok, [none, true]}, call(Config, blocking_sleep, [])).

%% Proves that install makes asyncio's own functions use the loop, that it can be taken back, and that it warns whoever calls it,
%% unless it is told not to.
policy(Config) ->
    Theirs = <<"_UnixSelectorEventLoop">>,
    ?assertEqual({ok, [Theirs, {0, [{<<"DeprecationWarning">>, true}]}, <<"ErlangEventLoop">>, true, true, true, Theirs]}, call(Config, installed, [])).

%% Proves that new_event_loop gives a loop that can be run by hand.
loop_by_hand(Config) -> ?assertEqual({ok, [<<"ErlangEventLoop">>, true]}, call(Config, by_hand, [])).

%% Proves that code in the namespace of a process can run a loop.
in_a_namespace(Config) ->
    py_test:in_process(fun() ->
        Ctx = ctx(Config),
        ok = py:exec(Ctx, <<"import asyncio\n"
                            "async def add(a, b):\n"
                            "    await asyncio.sleep(0.001)\n"
                            "    return a + b\n">>),
        ?assertEqual({ok, 3}, py:eval(Ctx, <<"erlang.run(add(1, 2))">>))
    end).

%% Proves that coroutines on the loop await Erlang functions, many at once.
erlang_functions(Config) ->
    Name = py_test:unique(twice),
    ok = py:register_function(Name, fun([N]) -> 2 * N end),
    ?assertEqual({ok, [2 * N || N <- lists:seq(0, 199)]}, call(Config, ask_erlang, [Name, 200])),
    ok = py:unregister_function(Name).

%% Proves that the selector answers as selectors.EpollSelector does: files, closed and reused descriptors, hang-ups.
selector_is_like_epoll(Config) ->
    {ok, [Cases, Differences]} = py:call(ctx(Config), selector_cases, compare, []),
    ?assert(Cases > 10),
    ?assertEqual([], Differences).

%% Proves that wake ends exactly one select.
selector_wakes(Config) -> ?assertEqual({ok, [[], [], []]}, py:call(ctx(Config), selector_cases, wakes, [])).

%% Proves that a second thread cannot enter select while one is in it.
selector_has_one_sleeper(Config) ->
    ?assertEqual({ok, <<"RuntimeError">>}, py:call(ctx(Config), selector_cases, second_thread, [])).

%% Proves that closing a selector in which another thread sleeps ends that sleep.
selector_closed_while_sleeping(Config) ->
    ?assertEqual({ok, [[[<<"ValueError">>, none]], [<<"ValueError">>, none]]},
                 py:call(ctx(Config), selector_cases, closed_while_sleeping, [])).

%% Proves that a context that does not use asyncio has not imported it: that takes 50 ms.
asyncio_is_imported_lazily(_) ->
    lists:foreach(fun(Mode) ->
        py_test:with_pool(1, #{mode => Mode}, fun(Pool) ->
            ?assertEqual({ok, false}, py:call(Pool, builtins, eval, [<<"'asyncio' in __import__('sys').modules">>])),
            Looked = <<"erlang and 'asyncio' in __import__('sys').modules">>,
            ?assertEqual({ok, false}, py:eval(hd(py_test:contexts(Pool)), Looked))
        end)
    end, py_test_modes:supported()).

%% Proves that a context that takes over the interpreter of a stopped one does not inherit what that one installed.
policy_ends_with_its_context(_) ->
    py_test_modes:with_owngil(fun policy_ends/0).

policy_ends() ->
    Opts = #{mode => owngil},
    %% The process of these contexts ends with the last of them.
    py_test:with_context(Opts, fun(_Keeps) ->
        Used = py_test:with_context(Opts, fun(Ctx) ->
            {ok, none} = py:call(Ctx, loops, install, []),
            ?assertEqual({ok, <<"ErlangEventLoop">>}, py:call(Ctx, loops, default_loop, [])),
            {ok, Interpreter} = py:call(Ctx, loops, interpreter, []),
            Interpreter
        end),
        py_test:eventually(fun() -> py_test:with_context(Opts, fun(Ctx) ->
            ?assertEqual({ok, <<"_UnixSelectorEventLoop">>}, py:call(Ctx, loops, default_loop, [])),
            %% From 3.14 on interpreters end with their contexts.
            py:call(Ctx, loops, interpreter, []) =:= {ok, Used} orelse ends_interpreters()
        end) end)
    end).

ends_interpreters() ->
    {ok, Version} = py:version(),
    [<<"3">>, Minor | _] = binary:split(Version, [<<".">>, <<" ">>], [global]),
    binary_to_integer(Minor) >= 14.

call(Config, Function, Args) -> py:call(ctx(Config), loops, Function, Args).

file(Prefix) -> list_to_binary(py_test:temp_file(Prefix)).

ctx(Config) -> hd(py_test:contexts(?config(pool, Config))).
