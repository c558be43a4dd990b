%% @doc What the levels off and default of the pool option sandbox refuse, that the rest goes on working, and which values
%% the option has. The other levels: sandbox_strict_SUITE, sandbox_kernel_SUITE.
-module(sandbox_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, init_per_suite/1, end_per_suite/1]).
-export([default_keeps_the_process/1, default_allows_children/1, off_refuses_nothing/1, signals_stay_inside/1,
         signals_inside_work/1, off_confines_nothing/1, levels_say_what_is_confined/1, memory_limit_still_kills/1,
         values_of_the_option/1, environment_takes_rules/1, kernel_without_seccomp/1, kernel_without_landlock/1]).

-import(py_test_sandbox, [with/3, refused/2, succeed/2]).

all() ->
    [default_keeps_the_process, default_allows_children, off_refuses_nothing, signals_stay_inside, signals_inside_work,
     off_confines_nothing, levels_say_what_is_confined, memory_limit_still_kills, values_of_the_option,
     environment_takes_rules, kernel_without_seccomp, kernel_without_landlock].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

%% For cases about what only a kernel with signal scopes does.
if_confined(Fun) ->
    with(default, #{}, fun(Ctx) ->
        #{confined := Confined} = hd([Stats || Stats = #{contexts := [C]} <- maps:values(py:stats()), C =:= Ctx]),
        case lists:member(signals, Confined) of
            true -> Fun();
            false -> {skip, "this kernel has no Landlock with signal scopes (Linux 6.12)"}
        end
    end).

%% Proves that code cannot duplicate or replace the process that serves the pool, in either mode.
default_keeps_the_process(_) ->
    [with(default, #{mode => Mode}, fun(Ctx) ->
         ?assertMatch({error, {_, _}}, py:exec(Ctx, "import os\nos.fork()")),
         ?assertMatch({error, {_, _}}, py:exec(Ctx, "import os\nos.execv('/bin/true', ['true'])")),
         ?assertEqual({ok, 2}, py:eval(Ctx, "1 + 1"))
     end) || Mode <- py_test_modes:supported()].

default_allows_children(_) ->
    [with(default, #{mode => Mode}, fun(Ctx) ->
         ?assertEqual(ok, py:exec(Ctx, "import subprocess\nassert subprocess.run(['true']).returncode == 0"))
     end) || Mode <- py_test_modes:supported()].

off_refuses_nothing(_) ->
    with(off, #{}, fun(Ctx) ->
        ?assertEqual(ok, py:exec(Ctx, "
import os
child = os.fork()
if child == 0: os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"))
    end).

%% Proves that no way of sending a signal reaches a process outside the pool: not the parent of the port process, not the
%% node, not a process of the same user, and not by native code or a child.
signals_stay_inside(_) ->
    if_confined(fun() ->
        Outside = open_port({spawn_executable, os:find_executable("sleep")}, [{args, ["600"]}]),
        {os_pid, Sleep} = erlang:port_info(Outside, os_pid),
        Targets = [["os.getppid()"], os:getpid(), integer_to_list(Sleep)],
        [with(default, Options, fun(Ctx) ->
             refused(Ctx, lists:append([[
                 {kill, ["os.kill(", Pid, ", 0)"]},
                 {pidfd, ["signal.pidfd_send_signal(os.pidfd_open(", Pid, "), 0)"]},
                 {killpg, ["os.killpg(os.getpgid(", Pid, "), 0)"]},
                 {native, ["import ctypes\n"
                           "if ctypes.CDLL(None, use_errno=True).kill(", Pid, ", 0) == -1: raise PermissionError(ctypes.get_errno())"]}]
                 || Pid <- Targets])),
             %% kill(-1) and a child's kill say nothing when they reach nobody: what must hold is that nobody dies.
             ok = py:exec(Ctx, ["import subprocess\n"
                                "subprocess.run(['sh', '-c', 'kill -9 ", integer_to_list(Sleep), "'], capture_output=True)"]),
             py:exec(Ctx, "import os\nos.kill(-1, 9)"),
             ?assert(py_test:alive(Sleep))
         end) || Options <- [#{mode => worker}, #{mode => worker, isolation => context}]],
        ?assert(py_test:alive(Sleep)),
        port_close(Outside),
        py_test:signal(Sleep, "KILL")
    end).

%% Proves that signals among the processes and threads of a pool work as ever, whichever thread started whom.
signals_inside_work(_) ->
    [with(default, #{mode => Mode}, fun(Ctx) ->
         succeed(Ctx, [
             {self, "os.kill(os.getpid(), 0)"},
             {terminate, "p = subprocess.Popen(['sleep', '600'])\np.terminate()\nassert p.wait() == -15"},
             {other_thread, "p = subprocess.Popen(['sleep', '600'])\nt = threading.Thread(target=p.kill)\nt.start()\nt.join()\n"
                            "assert p.wait() == -9"},
             {group, "p = subprocess.Popen(['sleep', '600'], start_new_session=True)\nos.killpg(p.pid, 9)\nassert p.wait() == -9"},
             {files, "import tempfile\nwith tempfile.TemporaryDirectory() as d:\n    os.mkdir(d + '/a'); os.mkdir(d + '/b')\n"
                     "    open(d + '/a/x', 'w').close()\n    os.rename(d + '/a/x', d + '/b/x')\n    os.link(d + '/b/x', d + '/a/y')"},
             {thread, "signal.pthread_kill(threading.get_ident(), 0)"},
             {pidfd, "p = subprocess.Popen(['sleep', '600'])\nsignal.pidfd_send_signal(os.pidfd_open(p.pid), 9)\nassert p.wait() == -9"},
             {asyncio, "import asyncio\nasync def f():\n    p = await asyncio.create_subprocess_exec('sleep', '600')\n"
                       "    p.terminate()\n    return await p.wait()\nassert asyncio.run(f()) == -15"}])
     end) || Mode <- py_test_modes:supported()].

%% Proves that off is off: a signal to the parent is not refused.
off_confines_nothing(_) ->
    with(off, #{}, fun(Ctx) -> ?assertEqual(ok, py:exec(Ctx, "import os\nos.kill(os.getppid(), 0)")) end).

%% Proves that py:stats/0 says for each pool what the kernel keeps inside.
levels_say_what_is_confined(_) ->
    Known = [signals, abstract_sockets, files, network, syscalls],
    [with(Level, #{}, fun(Ctx) ->
         [Confined] = [C || #{confined := C, contexts := [Of]} <- maps:values(py:stats()), Of =:= Ctx],
         ?assertEqual([], Confined -- Known),
         case Level of
             off -> ?assertEqual([], Confined);
             default -> ok;
             strict -> ?assertEqual([signals, syscalls], Confined)
         end
     end) || Level <- [off, default, strict]].

%% Proves that the port process still kills its own group when it uses too much memory, at every level.
memory_limit_still_kills(_) ->
    [with(Level, #{memory_limit => 200 * 1024 * 1024}, fun(Ctx) ->
         ?assertEqual({Level, {error, {context_died, {killed, memory_limit}}}},
                      {Level, py:exec(Ctx, "import time\nhoard = b'x' * (400 * 1024 * 1024)\ntime.sleep(30)")})
     end) || Level <- [default, strict]].

%% Proves that a wrong value of the option names the key and what is wrong with it.
values_of_the_option(_) ->
    Wrong = [
        {'maybe', {bad_option, sandbox, 'maybe'}},
        {#{colour => red}, {bad_option, sandbox, colour}},
        {#{read => "/tmp"}, {bad_option, sandbox, {read, $/, not_a_path}}},
        {#{read => ["/no/such/place"]}, {bad_option, sandbox, {read, "/no/such/place", enoent}}},
        {#{write => [<<"tmp">>]}, {bad_option, sandbox, {write, <<"tmp">>, not_absolute}}},
        {#{write => all}, {bad_option, sandbox, {write, all}}},
        {#{exec => ["/no/such/program"]}, {bad_option, sandbox, {exec, "/no/such/program", enoent}}},
        {#{net => all}, {bad_option, sandbox, {net, all}}},
        {#{net => [{connect, 70000}]}, {bad_option, sandbox, {net, [{connect, 70000}]}}},
        {#{net => [{listen, 80}]}, {bad_option, sandbox, {net, [{listen, 80}]}}},
        {#{processes => -1}, {bad_option, sandbox, {processes, -1}}},
        {#{processes => 3}, {bad_option, sandbox, {processes, 3, exec_is_none}}},
        {#{syscalls => all}, {bad_option, sandbox, {syscalls, all}}}],
    [?assertEqual({Value, {error, Reason}}, {Value, py_context_router:start_pool(wrong, 1, #{sandbox => Value})})
     || {Value, Reason} <- Wrong],
    Whole = #{read => all, write => [], net => none, exec => none, processes => infinity},
    ?assertEqual({ok, Whole}, py_sandbox:option(kernel)),
    ?assertEqual({ok, Whole}, py_sandbox:option(#{})),
    ?assertEqual({ok, Whole#{read => [<<"/tmp">>], net => [{connect, 80}], exec => [<<"/bin">>], processes => 0}},
                 py_sandbox:option(#{read => ["/tmp"], net => [{connect, 80}], exec => ["/bin"], processes => 0,
                                     syscalls => default})).

%% Proves that rules may stand in the application's environment, and that wrong ones keep it from starting.
environment_takes_rules(_) ->
    ok = py_test:stop(),
    ok = application:load(erlang_python),
    ok = application:set_env(erlang_python, sandbox, #{write => ["/no/such/place"]}),
    ?assertMatch({error, {erlang_python, {{bad_config, sandbox, {bad_option, sandbox, {write, _, enoent}}}, _}}},
                 application:ensure_all_started(erlang_python)),
    ok = py_test:start([{sandbox, #{}}]),
    try
        %% A context that a user starts, in the shared port process and with one of its own, is restricted as well.
        Refused = fun(Ctx) -> refused(Ctx, [{write, "open('/tmp/never_here', 'w')"}, {run, "subprocess.run(['true'])"}]) end,
        case py:call(math, sqrt, [4]) of
            {ok, 2.0} ->
                [Refused(Ctx) || Ctx <- [py:context(1)]],
                [py_test:with_context(Opts, Refused) || Opts <- [#{mode => worker}, #{mode => worker, isolation => context}]];
            {error, {context_died, {start_failed, {sandbox_unavailable, What}}}} ->
                {skip, lists:flatten(io_lib:format("this kernel cannot do it: ~tp", [What]))}
        end
    after
        ok = py_test:start()
    end.

%% Proves that strict and kernel do not start, rather than with less, where there is no seccomp.
kernel_without_seccomp(_) ->
    on_kernel_without("seccomp", fun(Outcomes, _Text) ->
        ?assertMatch(#{strict := {error, {sandbox_unavailable, seccomp}},
                       kernel := {error, {sandbox_unavailable, _}},
                       default := {ok, _}}, Outcomes)
    end).

%% Proves that without Landlock kernel does not start, that default starts and says once that signals are not confined,
%% and that strict confines them by other means.
kernel_without_landlock(_) ->
    on_kernel_without("landlock", fun(Outcomes, Text) ->
        ?assertMatch(#{strict := {ok, [signals, syscalls]},
                       kernel := {error, {sandbox_unavailable, landlock}},
                       default := {ok, []}}, Outcomes),
        ?assertMatch([_, _], string:split(Text, "signals are not confined", all))
    end).

%% Another node, whose system calls are refused as by a kernel that does not have them, tells what pools of each level
%% say of themselves.
on_kernel_without(What, Check) ->
    Launcher = filename:join([filename:dirname(py_test:python_modules()), "native", "without.py"]),
    Ebin = filename:dirname(code:which(py)),
    Eval = "application:load(erlang_python), application:set_env(erlang_python, default_pool_size, 1),"
           "application:set_env(erlang_python, io_pool_size, 1), {ok, _} = application:ensure_all_started(erlang_python),"
           "Outcomes = maps:from_list([{Level, case py_context_router:start_pool(x, 1, #{sandbox => Level}) of"
           " {ok, _} -> C = maps:get(confined, maps:get(x, py:stats())), ok = py_context_router:stop_pool(x), {ok, C};"
           " Error -> Error end} || Level <- [default, strict, kernel]]),"
           "io:format(\"~noutcomes: ~0tp.~n\", [Outcomes]), halt().",
    Text = os:cmd(lists:join(" ", [os:getenv("ERLANG_PYTHON_TEST_PYTHON", "python3"), Launcher, What, "erl", "-noshell", "-pa", Ebin,
                                   "-eval", "'" ++ Eval ++ "'", "2>&1"])),
    case re:run(Text, "^outcomes: (.*\\.)$", [multiline, {capture, all_but_first, list}]) of
        {match, [Term]} ->
            {ok, Tokens, _} = erl_scan:string(Term),
            {ok, Outcomes} = erl_parse:parse_term(Tokens),
            Check(Outcomes, Text);
        nomatch ->
            case re:run(Text, "(OSError: libseccomp|seccomp_load failed)", [{capture, first, list}]) of
                {match, [Why]} -> {skip, "another kernel cannot be feigned here: " ++ Why};
                nomatch -> error({no_outcomes, Text})
            end
    end.
