%% The attacks of issue 9 that the kernel has to stop: signals, processes, files, limits. The others are security_SUITE's.
-module(security_kernel_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 3}}].

all() -> [{group, default}, {group, strict}, children_die_with_the_pool, nothing_on_disk].

groups() -> [Group || {_, _, [_ | _]} = Group <- security_test:groups(attacks())].

init_per_suite(Config) ->
    ok = py_test:start(),
    Directory = py_test_sandbox:directory(),
    true = os:putenv("SECURITY_DIRECTORY", Directory),
    Config.
end_per_suite(_Config) ->
    py_test:stop(),
    _ = file:del_dir_r(os:getenv("SECURITY_DIRECTORY")),
    os:unsetenv("SECURITY_DIRECTORY").

%% What is aimed at the node is aimed only where the kernel says that it stops it.
init_per_group(Level, Config) ->
    case security_test:confined(Level) of
        true -> [{level, Level} | Config];
        false -> {skip, "this kernel has no Landlock with signal scopes (Linux 6.12)"}
    end.
end_per_group(_Level, _Config) -> ok.

attacks() ->
    Node = os:getpid(),
    Path = filename:join(os:getenv("SECURITY_DIRECTORY", "/tmp"), "new"),
    Both = [default, strict],
    [%% 3. Signals.
     {kill_parent, "os.kill(os.getppid(), 9)", Both, refused},
     {killpg_parent, "os.killpg(os.getpgid(os.getppid()), 9)", Both, refused},
     {pidfd_parent, "signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9)", Both, refused},
     {sigqueue_parent, "libc()('sigqueue', os.getppid(), 9, None)", [default], refused},
     {tgkill_parent, "libc()('syscall', 234 if os.uname().machine == 'x86_64' else 131, os.getppid(), os.getppid(), 9)",
      [default], refused},
     {owner_parent, "import fcntl\nr, w = os.pipe()\nfcntl.fcntl(r, fcntl.F_SETOWN, os.getppid())\n"
                    "fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC)\nos.write(w, b'x')", [default], any},
     {owner_refused, "import fcntl\nfcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())", [strict], refused},
     {kill_node, ["os.kill(", Node, ", 9)"], Both, refused},
     {killpg_node, ["os.killpg(os.getpgid(", Node, "), 9)"], Both, refused},
     {pidfd_node, ["signal.pidfd_send_signal(os.pidfd_open(", Node, "), 9)"], Both, refused},
     {kill_all, "os.kill(-1, 9)", [default], any},
     {kill_all_refused, "os.kill(-1, 9)", [strict], refused},
     {child_kills_node, ["refused_to('sh', '-c', 'kill -9 ", Node, "')"], [default], refused},
     {memory_of_node, ["open('/proc/", Node, "/mem', 'r+b')"], Both, refused},
     {limits_of_node, ["from resource import *\nprlimit(", Node, ", RLIMIT_CORE, getrlimit(RLIMIT_CORE))"],
      [strict], refused},
     {priority_of_node, ["os.setpriority(os.PRIO_PROCESS, ", Node, ", 1)"], [strict], refused},
     {processors_of_node, ["os.sched_setaffinity(", Node, ", os.sched_getaffinity(0))"], [strict], refused},
     {oom_score_of_node, ["open('/proc/", Node, "/oom_score_adj', 'w')"], [strict], refused},
     {descriptors_of_node, ["open('/proc/", Node, "/fd/0', 'wb')"], Both, refused},
     {own_group, "os.killpg(0, 9)", Both, any},
     {fork, "os.fork()", Both, refused},
     %% 8. The table of strict.
     {fork_exec, "fork_exec()", [strict], refused},
     {write_history_file, ["history('", Path, "')"], [strict], refused},
     {mknod, ["os.mknod('", Path, "')"], [strict], refused},
     {mkfifo, ["os.mkfifo('", Path, "')"], [strict], refused},
     {write, ["open('", Path, "', 'w')"], [strict], refused},
     {mkdir, ["os.mkdir('", Path, "')"], [strict], refused},
     {listen, "import socket\nsocket.socket().listen()", [strict], refused},
     {connect, "import socket\nsocket.create_connection(('127.0.0.1', 9))", [strict], refused},
     {foreign_library, "foreign_library()", [strict], refused},
     {limit_nofile, "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (5, 5))", [strict], refused},
     {limit_as, "import resource\nresource.setrlimit(resource.RLIMIT_AS, (5, 5))", [strict], refused},
     {perf_trampoline, "perf()", [strict], {ok, none}}].

kill_parent(C) -> attack(?FUNCTION_NAME, C).
killpg_parent(C) -> attack(?FUNCTION_NAME, C).
pidfd_parent(C) -> attack(?FUNCTION_NAME, C).
sigqueue_parent(C) -> attack(?FUNCTION_NAME, C).
tgkill_parent(C) -> attack(?FUNCTION_NAME, C).
owner_parent(C) -> attack(?FUNCTION_NAME, C).
owner_refused(C) -> attack(?FUNCTION_NAME, C).
kill_node(C) -> attack(?FUNCTION_NAME, C).
killpg_node(C) -> attack(?FUNCTION_NAME, C).
pidfd_node(C) -> attack(?FUNCTION_NAME, C).
kill_all(C) -> attack(?FUNCTION_NAME, C).
kill_all_refused(C) -> attack(?FUNCTION_NAME, C).
child_kills_node(C) -> attack(?FUNCTION_NAME, C).
memory_of_node(C) -> attack(?FUNCTION_NAME, C).
limits_of_node(C) -> attack(?FUNCTION_NAME, C).
priority_of_node(C) -> attack(?FUNCTION_NAME, C).
processors_of_node(C) -> attack(?FUNCTION_NAME, C).
oom_score_of_node(C) -> attack(?FUNCTION_NAME, C).
descriptors_of_node(C) -> attack(?FUNCTION_NAME, C).
own_group(C) -> attack(?FUNCTION_NAME, C).
fork(C) -> attack(?FUNCTION_NAME, C).
fork_exec(C) -> attack(?FUNCTION_NAME, C).
write_history_file(C) -> attack(?FUNCTION_NAME, C).
mknod(C) -> attack(?FUNCTION_NAME, C).
mkfifo(C) -> attack(?FUNCTION_NAME, C).
write(C) -> attack(?FUNCTION_NAME, C).
mkdir(C) -> attack(?FUNCTION_NAME, C).
listen(C) -> attack(?FUNCTION_NAME, C).
connect(C) -> attack(?FUNCTION_NAME, C).
foreign_library(C) -> attack(?FUNCTION_NAME, C).
limit_nofile(C) -> attack(?FUNCTION_NAME, C).
limit_as(C) -> attack(?FUNCTION_NAME, C).
perf_trampoline(C) -> attack(?FUNCTION_NAME, C).

attack(Name, Config) -> security_test:attack(Name, attacks(), ?config(level, Config)).

%% Proves that children in sessions of their own, deaf and without an environment, are gone with their pool: when it is
%% stopped, and when it dies.
children_die_with_the_pool(_) ->
    security_test:unharmed(fun() ->
        Stopped = py_test:start_pool(1, #{}),
        {ok, Child} = py:call(Stopped, attacks, daemon, []),
        ?assert(py_test:alive(Child)),
        py_test:stop_pool(Stopped),
        py_test:eventually(fun() -> not py_test:alive(Child) end),
        py_test:with_pool(1, #{}, fun(Pool) ->
            {ok, Orphan} = py:call(Pool, attacks, daemon, []),
            {error, {context_died, _}} = py:call(Pool, signal, raise_signal, [9]),
            py_test:eventually(fun() -> not py_test:alive(Orphan) end)
        end)
    end).

%% Proves that none of the attacks on files has left one.
nothing_on_disk(_) ->
    ?assertEqual({ok, []}, file:list_dir(os:getenv("SECURITY_DIRECTORY"))).
