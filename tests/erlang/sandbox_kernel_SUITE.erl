%% @doc What sandbox => kernel and its rules refuse, to Python and to hostile native code, in every thread of the process;
%% and that what the rules allow works.
-module(sandbox_kernel_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, init_per_suite/1, end_per_suite/1]).
-export([threads_that_come_and_go_are_held/1, bare_kernel_refuses/1, bare_kernel_allows_work/1, native_code_is_held/1, threads_of_the_preload_are_held/1,
         blocked_signals_do_not_help/1, preload_is_free/1, every_mode_and_isolation/1, replaced_contexts_are_held/1,
         own_contexts_are_held/1, recycled_processes_are_held/1, read_rules/1, write_rules/1, net_rules/1, exec_rules/1,
         process_limit/1, no_processes/1, numpy/1, path_that_went_away/1, memory_limit/1]).

-import(py_test_sandbox, [with/3, refused/2, succeed/2]).

all() ->
    [bare_kernel_refuses, bare_kernel_allows_work, native_code_is_held, threads_of_the_preload_are_held, threads_that_come_and_go_are_held,
     blocked_signals_do_not_help, preload_is_free, every_mode_and_isolation, replaced_contexts_are_held,
     own_contexts_are_held, recycled_processes_are_held, read_rules, write_rules, net_rules, exec_rules, process_limit, no_processes, numpy,
     path_that_went_away, memory_limit].

init_per_suite(Config) ->
    ok = py_test:start(),
    case py_test_sandbox:needs(kernel, Config) of
        {skip, _} = Skip -> Skip;
        _ -> [{native, py_test_sandbox:native()}, {directory, py_test_sandbox:directory()} | Config]
    end.
end_per_suite(Config) ->
    ok = py_test:stop(),
    _ = [file:del_dir_r(Directory) || {ok, Directory} <- [proplists:get_value(native, Config)]],
    file:del_dir_r(proplists:get_value(directory, Config)).

%% What no rule allows, in short.
-define(REFUSED, [{write, "open('/tmp/never_here', 'w')"}, {run, "subprocess.run(['true'])"}, {socket, "socket.socket()"},
                  {kill, "os.kill(os.getppid(), 0)"}]).

%% Proves that a kernel pool without rules reads, and does nothing else to the machine.
bare_kernel_refuses(Config) ->
    Directory = proplists:get_value(directory, Config),
    with(kernel, #{}, fun(Ctx) ->
        ok = py:exec(Ctx, ["d = '", Directory, "'; path = d + '/new'"]),
        refused(Ctx, ?REFUSED ++ [
            {mkdir, "os.mkdir(path)"}, {mknod, "os.mknod(path)"}, {symlink, "os.symlink('x', path)"}, {rmdir, "os.rmdir(d)"},
            {rename, "os.rename(d, d + '2')"}, {truncate, "os.truncate(os.__file__, 0)"}, {chmod, "os.chmod(d, 0o700)"},
            {chown, "os.chown(d, 0, 0)"}, {utime, "os.utime(d)"}, {setxattr, "os.setxattr(d, 'user.x', b'x')"},
            {sqlite, "import sqlite3\ntry: sqlite3.connect(path).execute('create table t(a)')\n"
                     "except sqlite3.OperationalError: raise PermissionError"},
            {posix_spawn, "os.posix_spawn('/bin/true', ['true'], {})"}, {fork, "os.fork()"},
            {udp, "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"}, {local, "socket.socket(socket.AF_UNIX)"},
            {netlink, "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)"},
            {datagram_pair, "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)"},
            {pidfd, "signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 0)"}, {killpg, "os.killpg(1, 0)"},
            {memory_of_others, "open(f'/proc/{os.getppid()}/mem', 'rb').read(1)"},
            {descriptors_of_others, "os.open(f'/proc/{os.getppid()}/fd/0', os.O_RDONLY)"},
            {priority, "os.setpriority(os.PRIO_PROCESS, os.getppid(), 5)"}, {chroot, "os.chroot('/')"},
            {setuid, "os.setuid(os.getuid())"}, {unshare, "os.unshare(os.CLONE_NEWUSER)"},
            {clock, "import time\ntime.clock_settime(time.CLOCK_REALTIME, time.time())"}])
    end),
    ?assertEqual({ok, []}, file:list_dir(Directory)).

%% Proves that what needs none of that works: modules, asyncio, threads, sqlite in memory and read, ssl, logging.
bare_kernel_allows_work(_) ->
    with(kernel, #{}, fun(Ctx) ->
        succeed(Ctx, [
            {modules, "import json, datetime, decimal, hashlib, ctypes, zoneinfo"},
            {read, "with open(os.__file__) as source: assert 'import' in source.read()"},
            {null, "open('/dev/null', 'w').write('x')"},
            {asyncio, "import asyncio\nasync def f():\n    await asyncio.sleep(0.001)\n    return await asyncio.to_thread(lambda: 5)\nassert asyncio.run(f()) == 5"},
            {threads, "import concurrent.futures\n"
                      "with concurrent.futures.ThreadPoolExecutor() as e: assert e.submit(lambda: 5).result() == 5"},
            {sqlite, "import sqlite3\nc = sqlite3.connect(':memory:')\nc.execute('create table t(a)')\nassert c.execute('select 1').fetchone() == (1,)"},
            {ssl, "import ssl\nssl.create_default_context()"},
            {logging, "import logging\nlogging.getLogger('x').warning('logged')\nprint('printed')"},
            {pair, "a, b = socket.socketpair()\na.send(b'x')\nassert b.recv(1) == b'x'"},
            {random, "assert len(os.urandom(4)) == 4"},
            {self, "os.kill(os.getpid(), 0)\nassert os.path.exists('/proc/self/statm')"},
            {erlang, "import erlang\nassert erlang.state_get('no such key', 5) == 5"}]),
        ?assertMatch({error, {'PermissionError', _}}, py:exec(Ctx, "open('/tmp/never', 'w')"))
    end).

%% Proves that native code, which asks nobody, gets no further than Python.
native_code_is_held(Config) ->
    Path = filename:join(proplists:get_value(directory, Config), "native"),
    with_native(Config, kernel, #{}, fun(Ctx) ->
        ok = checker(Ctx, Path),
        succeed(Ctx, [
            {processes, "check([('fork',), ('vfork',), ('clone', 17), ('clone3', None, 0), ('execve', b'/bin/true', None, None),"
                        "('execveat', -100, b'/bin/true', None, None, 0), ('setsid',), ('setpgid', 0, 0), ('x32_execve', None)])"},
            {namespaces, "check([('clone', 0x10900 | flag) for flag in (0x20000, 0x40000000, 0x80, 0x2000000)] + [('unshare', 0x20000),"
                         "('setns', 0, 0), ('chroot', b'/'), ('mount',)])"},
            {files, "check([('openat', -100, path, 0o102, 0o600), ('openat', -100, b'/etc/hostname', 0o1000),"
                    "('openat2', -100, path, bytes([0o101]) + bytes(7) + bytes([0o200]) + bytes(15), 24), ('mkdirat', -100, path, 0o700),"
                    "('symlinkat', path, -100, path), ('truncate', b'/etc/hostname', 0), ('fchmod', 0, 0o700), ('fchmodat', -100, path, 0o700),"
                    "('fchmodat2', -100, path, 0o700, 0), ('fchown', 0, 0, 0), ('utimensat', -100, path, None, 0),"
                    "('mknodat', -100, path, 0o60600, 0x800), ('fsetxattr', 0, path, path, 1, 0), ('setxattrat', -100, path, 0, path, path, 1),"
                    "('file_setattr', -100, path, path, 1, 0), ('ioctl', 0, 0x40086602, path), ('ioctl', 0, 0xC0045877, 0),"
                    "('ioctl', 0, 0x8004587D, 0)])"},
            {signals, "check([('kill', parent, 0), ('kill', 0, 0), ('kill', -1, 0), ('tkill', parent, 0), ('tgkill', parent, parent, 0),"
                      "('rt_sigqueueinfo', parent, 0, None), ('pidfd_send_signal', 0, 0, None, 0), ('fcntl', 0, 8, parent)])"},
            {network, "check([('socket', f, t, 0) for f in (1, 2, 10, 16, 17, 38, 40) for t in (1, 2, 3)] + [('socketpair', 1, 2, 0, bytes(8)),"
                      "('socketpair', 1, 3, 0, bytes(8)), ('connect', 0, path, 3), ('bind', 0, path, 3), ('sendto', 1, path, 1, 0, path, 3)])"},
            {kernel, "check([('ptrace', 16, parent), ('process_vm_writev', parent), ('bpf',), ('perf_event_open',), ('userfaultfd', 0),"
                     "('keyctl', 0), ('io_uring_setup', 1, bytes(200)), ('init_module',), ('reboot',), ('kexec_load',),"
                     "('prlimit64', parent, 7, bytes(16), None), ('prlimit64', 0, 7, bytes(16), None), ('setpriority', 2, 0, 5),"
                     "('sched_setaffinity', parent, 8, bytes(8)), ('ioprio_set', 3, 0, 0), ('setuid', 0), ('capset', None, None),"
                     "('shmget', 1, 1, 0o1600), ('mq_unlink', path), ('open_by_handle_at', 0, None, 0), ('from_the_future',),"
                     "('ioctl', 0, 0x5412, path)])"},
            {compat, "try: rawcall.compat_getpid()\nexcept NotImplementedError: pass\nexcept OSError as e: assert e.errno == errno.ENOSYS\nelse: raise AssertionError"}])
    end).

with_native(Config, Sandbox, Options, Fun) ->
    case proplists:get_value(native, Config) of
        {ok, Directory} -> with(Sandbox, Options#{paths => [Directory]}, Fun);
        Skip -> Skip
    end.

checker(Ctx, Path) ->
    py:exec(Ctx, [
        "import os, rawcall, errno\n"
        "def refused(name, *arguments):\n"
        "    try: result = rawcall.raw(name, *arguments)\n"
        "    except NotImplementedError: return True\n"
        "    except OSError as e: return e.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS) or (name, e)\n"
        "    return (name, arguments, result)\n"
        "path = b'", Path, "'\n"
        "me, parent = os.getpid(), os.getppid()\n"
        "def check(calls):\n"
        "    wrong = [r for r in (refused(*call) for call in calls) if r is not True]\n"
        "    assert not wrong, wrong\n"]).

%% Proves that the restrictions reach threads that Python started before them, sleeping, computing or in C code.
threads_of_the_preload_are_held(_) ->
    Preload = "
import threading, queue, time, os
asked, answers = [queue.Queue() for _ in range(4)], queue.Queue()
def serve(questions):
    while True:
        try: answers.put(questions.get()())
        except Exception as e: answers.put(e)
for questions in asked: threading.Thread(target=serve, args=(questions,), daemon=True).start()
stop = []
def spin():
    while not stop: pass
    try: answers.put(open('/tmp/never_here', 'w'))
    except Exception as e: answers.put(e)
threading.Thread(target=spin, daemon=True).start()
r, w = os.pipe()
def block():
    os.read(r, 1)
    try: answers.put(open('/tmp/never_here', 'w'))
    except Exception as e: answers.put(e)
threading.Thread(target=block, daemon=True).start()
",
    [with(kernel, #{preload => Preload, mode => Mode}, fun(Ctx) ->
         succeed(Ctx, [
             {asked, "for q in asked:\n    for f in (lambda: open('/tmp/never_here', 'w'), socket.socket, lambda: subprocess.run(['true'])):\n"
                     "        q.put(f)\n        e = answers.get(timeout=20)\n        assert isinstance(e, PermissionError), e"},
             {blocked, "os.write(w, b'x')\ne = answers.get(timeout=20)\nassert isinstance(e, PermissionError), e"},
             {spinning, "stop.append(1)"},
             {spun, "e = answers.get(timeout=20)\nassert isinstance(e, PermissionError), e"},
             {all, "for t in os.listdir('/proc/self/task'):\n    try: s = open(f'/proc/self/task/{t}/status').read()\n"
                   "    except OSError: continue  # it has ended\n"
                   "    assert 'Seccomp:\\t2' in s and 'NoNewPrivs:\\t1' in s, s"}])
     end) || Mode <- py_test_modes:supported()].

%% Proves that no thread slips through while threads of the preload start others all the time.
threads_that_come_and_go_are_held(_) ->
    Preload = "
import threading, time, collections
seen = collections.deque(maxlen=5000)
def leaf():
    try: open('/tmp/never_here', 'w').close()
    except OSError: seen.append((time.monotonic(), False))
    else: seen.append((time.monotonic(), True))
def churn():
    while True:
        threads = [threading.Thread(target=leaf) for _ in range(3)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
for _ in range(4): threading.Thread(target=churn, daemon=True).start()
time.sleep(0.05)
",
    [with(kernel, #{preload => Preload}, fun(Ctx) ->
         succeed(Ctx, [{held, "import time\nbegin = time.monotonic()\n"
                              "while sum(t > begin for t, _ in list(seen)) < 50: time.sleep(0.01)\n"
                              "assert not any(written for t, written in list(seen) if t > begin)"}])
     end) || _ <- lists:seq(1, 3)],
    %% Before the restrictions it could.
    ok = file:delete("/tmp/never_here").

%% Proves that a thread that blocks every signal is restricted as well.
blocked_signals_do_not_help(_) ->
    Preload = "
import threading, queue, signal
asked, answers = queue.Queue(), queue.Queue()
ready = threading.Event()
def serve():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    ready.set()
    asked.get()
    try: answers.put(open('/tmp/never_here', 'w'))
    except Exception as e: answers.put(e)
threading.Thread(target=serve, daemon=True).start()
ready.wait()
",
    with(kernel, #{preload => Preload}, fun(Ctx) ->
        succeed(Ctx, [{held, "asked.put(1)\ne = answers.get(timeout=20)\nassert isinstance(e, PermissionError), e"}])
    end).

%% Proves that a preload may do what requests may not: open files and sockets, which stay open.
preload_is_free(Config) ->
    Path = filename:join(proplists:get_value(directory, Config), "log"),
    Preload = ["import socket, subprocess\nlog = open('", Path, "', 'w')\nserver = socket.socket()\nserver.bind(('127.0.0.1', 0))\n"
               "assert subprocess.run(['true']).returncode == 0"],
    with(kernel, #{preload => iolist_to_binary(Preload)}, fun(Ctx) ->
        succeed(Ctx, [{log, "log.write('x')\nlog.flush()"}]),
        refused(Ctx, [{listen, "server.listen()"} | ?REFUSED])
    end),
    ?assertEqual({ok, <<"x">>}, file:read_file(Path)),
    ok = file:delete(Path).

every_mode_and_isolation(_) ->
    [begin
         {ok, Contexts} = py_context_router:start_pool(several, 2, #{sandbox => kernel, mode => Mode, isolation => Isolation}),
         try [refused(Ctx, ?REFUSED) || Ctx <- Contexts]
         after ok = py_context_router:stop_pool(several)
         end
     end || Mode <- py_test_modes:supported(), Isolation <- [pool, context]].

%% Proves that a context that takes the place of another, and a port process that does, are restricted before they serve.
replaced_contexts_are_held(_) ->
    [begin
         {ok, [Ctx, _]} = py_context_router:start_pool(several, 2, #{sandbox => kernel, mode => Mode}),
         try
             exit(Ctx, kill),
             py_test:eventually(fun() -> length(py_context_router:contexts(several) -- [Ctx]) =:= 2 end),
             [refused(Next, ?REFUSED) || Next <- py_context_router:contexts(several)],
             {error, {context_died, _}} = py:call(several, os, '_exit', [3]),
             {ok, 2.0} = py:call(several, math, sqrt, [4]),
             [refused(Next, ?REFUSED) || Next <- py_context_router:contexts(several)]
         after
             ok = py_context_router:stop_pool(several)
         end
     end || Mode <- py_test_modes:supported()].

own_contexts_are_held(_) ->
    [py_test:with_context(#{mode => Mode, sandbox => kernel}, fun(Ctx) -> refused(Ctx, ?REFUSED) end)
     || Mode <- py_test_modes:supported()].

recycled_processes_are_held(_) ->
    {ok, [First]} = py_context_router:start_pool(several, 1, #{sandbox => kernel, max_requests => 3}),
    try
        [{ok, _} = py:call(several, math, sqrt, [4]) || _ <- lists:seq(1, 5)],
        py_test:eventually(fun() -> py_context_router:contexts(several) =/= [First] end),
        [refused(Next, [hd(?REFUSED)]) || Next <- py_context_router:contexts(several)]
    after
        ok = py_context_router:stop_pool(several)
    end.

%% Proves that read => [...] leaves Python what it needs, the paths named, and nothing else.
read_rules(Config) ->
    Directory = proplists:get_value(directory, Config),
    Path = filename:join(Directory, "readable"),
    ok = file:write_file(Path, "text"),
    with(#{read => [Path]}, #{}, fun(Ctx) ->
        succeed(Ctx, [{named, ["assert open('", Path, "').read() == 'text'"]},
                      {stdlib, "import json, decimal, sqlite3, ssl, asyncio, xml.dom.minidom\nos.listdir(os.path.dirname(os.__file__))"},
                      {ssl, "import ssl\nssl.create_default_context()"},
                      {devices, "open('/dev/urandom', 'rb').read(1)\nopen('/dev/null')"},
                      {itself, "assert int(open('/proc/self/statm').read().split()[1]) > 0\nos.listdir('/proc/self/fd')"}]),
        refused(Ctx, [{beside, ["os.listdir('", Directory, "')"]}, {root, "os.listdir('/')"}, {users, "open('/etc/passwd')"},
                      {others, "open('/proc/1/status')"}, {write, ["open('", Path, "', 'w')"]}])
    end),
    ok = file:delete(Path).

%% Proves that write => [...] allows what stands below, and no way out of it: links, devices, renaming, attributes.
write_rules(Config) ->
    Directory = proplists:get_value(directory, Config),
    Inside = filename:join(Directory, "inside"),
    ok = file:make_dir(Inside),
    with(#{write => [Inside]}, #{}, fun(Ctx) ->
        ok = py:exec(Ctx, ["d = '", Directory, "'; i = '", Inside, "'"]),
        succeed(Ctx, [
            {write, "open(i + '/a', 'w').write('x')"}, {again, "open(i + '/a', 'r+').truncate(0)"}, {rename, "os.rename(i + '/a', i + '/b')"},
            {directories, "os.makedirs(i + '/c/d')\nos.rename(i + '/b', i + '/c/b')"},
            {link, "os.link(i + '/c/b', i + '/e')"}, {symlink, "os.symlink('/etc/passwd', i + '/s')"},
            {sqlite, "import sqlite3\nc = sqlite3.connect(i + '/db')\nc.execute('create table t(a)')\nc.execute('insert into t values (1)')\nc.commit()"},
            {temporary, "import tempfile\nwith tempfile.TemporaryDirectory(dir=i) as t: open(t + '/x', 'w').write('x')"},
            {fifo, "os.mkfifo(i + '/f')"}]),
        refused(Ctx, [
            {beside, "open(d + '/x', 'w')"}, {dots, "open(i + '/../x', 'w')"}, {through_link, "open(i + '/s', 'r+')"},
            {device, "os.mknod(i + '/dev', 0o60600, os.makedev(254, 0))"}, {away, "try: os.rename(i + '/e', d + '/e')\nexcept OSError as e: raise PermissionError from e"},
            {into, "try: os.link('/etc/hostname', i + '/h')\nexcept OSError as e: raise PermissionError from e"},
            {itself, "os.rmdir(i)"}, {mode, "os.chmod(i + '/e', 0o600)"}])
    end).

%% Proves that net => [...] allows TCP with the ports named, and no other network.
net_rules(_) ->
    {ok, Listening} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Other} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Open} = inet:port(Listening),
    {ok, Shut} = inet:port(Other),
    {ok, Free} = gen_tcp:listen(0, []),
    {ok, Bindable} = inet:port(Free),
    ok = gen_tcp:close(Free),
    with(#{net => [{connect, Open}, {bind, Bindable}]}, #{}, fun(Ctx) ->
        ok = py:exec(Ctx, io_lib:format("free, shut, bindable = ~b, ~b, ~b", [Open, Shut, Bindable])),
        succeed(Ctx, [{connect, "socket.create_connection(('127.0.0.1', free)).close()"},
                      {bind, "s = socket.socket()\ns.bind(('127.0.0.1', bindable))\ns.listen()"},
                      {asyncio, "import asyncio\nasync def f():\n    r, w = await asyncio.open_connection('127.0.0.1', free)\n    w.close()\nasyncio.run(f())"},
                      {hosts, "socket.getaddrinfo('localhost', free)"}]),
        refused(Ctx, [
            {connect, "socket.create_connection(('127.0.0.1', shut))"}, {bind, "socket.socket().bind(('127.0.0.1', shut))"},
            {any_port, "socket.socket().bind(('127.0.0.1', 0))"},
            {fast_open, "socket.socket().sendmsg([b'x'], [], 0x20000000, ('127.0.0.1', shut))"},
            {fast_open_sendto, "socket.socket().sendto(b'x', 0x20000000, ('127.0.0.1', shut))"},
            {fast_open_connect, "s = socket.socket()\ns.setsockopt(6, 30, 1)\ns.connect(('127.0.0.1', shut))"},
            {udp, "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"}, {multipath, "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)"},
            {raw, "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"}, {local, "socket.socket(socket.AF_UNIX)"},
            {netlink, "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)"}, {packet, "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)"},
            {vsock, "socket.socket(40, socket.SOCK_STREAM)"}])
    end),
    with(#{net => [{connect, Open}]}, #{}, fun(Ctx) ->
        refused(Ctx, [{listen, "socket.socket().listen()"}, {bind, "socket.socket().bind(('127.0.0.1', 0))"}])
    end),
    [gen_tcp:close(Socket) || Socket <- [Listening, Other]].

%% Proves that exec => [...] allows the programs named, whose processes are held by the same rules and signals.
exec_rules(_) ->
    [Sleep, Shell] = [os:find_executable(Program) || Program <- ["sleep", "sh"]],
    with(#{exec => [Sleep, Shell]}, #{}, fun(Ctx) ->
        ok = py:exec(Ctx, ["sleep = '", Sleep, "'; sh = '", Shell, "'"]),
        succeed(Ctx, [
            {run, "assert subprocess.run([sh, '-c', 'echo hello'], capture_output=True).stdout == b'hello\\n'"},
            {posix_spawn, "os.waitpid(os.posix_spawn(sh, ['sh', '-c', ':'], {}), 0)"},
            {terminate, "p = subprocess.Popen([sleep, '600'])\nt = threading.Thread(target=p.terminate)\nt.start()\nt.join()\nassert p.wait() == -15"},
            {session, "p = subprocess.Popen([sleep, '600'], start_new_session=True)\nos.killpg(p.pid, 9)\np.wait()"},
            {child_kill, "assert subprocess.run([sh, '-c', f'kill -0 {os.getppid()}'], capture_output=True).returncode != 0"},
            {child_write, "assert subprocess.run([sh, '-c', 'echo x > /tmp/never_here'], capture_output=True).returncode != 0"},
            {child_of_child, "assert subprocess.run([sh, '-c', '/bin/ls'], capture_output=True).returncode == 126"}]),
        refused(Ctx, [{other, "subprocess.run([next(p for p in ('/bin/ls', '/usr/bin/ls') if os.path.exists(p))])"},
                      {kill, "os.kill(os.getppid(), 0)"}, {fork, "os.fork()"}])
    end).

%% Proves that processes => N bounds the processes of a pool, whoever runs it, or that the pool does not start.
process_limit(_) ->
    Sleep = os:find_executable("sleep"),
    case py_context_router:start_pool(limited, 1, #{sandbox => #{exec => [Sleep], processes => 3}}) of
        {error, {sandbox_unavailable, What}} ->
            {skip, lists:flatten(io_lib:format("this machine gives no cgroup: ~ts", [What]))};
        {ok, [Ctx]} ->
            try
                ?assertEqual(ok, py:exec(Ctx, ["
import subprocess
ps = []
try:
    for _ in range(10): ps.append(subprocess.Popen(['", Sleep, "', '600']))
except BlockingIOError: pass
assert 0 < len(ps) <= 3, len(ps)
for p in ps: p.kill(), p.wait()
"]))
            after
                ok = py_context_router:stop_pool(limited)
            end
    end.

%% Proves that processes => 0 refuses to start any, without a cgroup.
no_processes(_) ->
    Sleep = os:find_executable("sleep"),
    with(#{exec => [Sleep], processes => 0}, #{}, fun(Ctx) ->
        refused(Ctx, [{run, ["subprocess.run(['", Sleep, "', '0'])"]}])
    end).

numpy(_) ->
    Path = os:getenv("ERLANG_PYTHON_TEST_PYPI", ""),
    case filelib:is_dir(filename:join(Path, "numpy")) of
        false ->
            {skip, "numpy is not there"};
        true ->
            [with(Rules, #{paths => [Path]}, fun(Ctx) ->
                 succeed(Ctx, [{work, "import numpy\nassert numpy.linalg.norm(numpy.ones((200, 200)) @ numpy.ones((200, 200))) > 0\nimport numpy.random\nnumpy.random.rand(3)"}])
             end) || Rules <- [kernel, #{read => []}]]
    end.

%% Proves that a path that is gone when the pool starts again is named, and that nothing runs without the rule.
path_that_went_away(Config) ->
    Directory = filename:join(proplists:get_value(directory, Config), "goes"),
    ok = file:make_dir(Directory),
    Preload = ["import os\nos.rmdir('", Directory, "')"],
    {error, {sandbox_unavailable, Text}} =
        py_context_router:start_pool(lost, 1, #{sandbox => #{write => [Directory]}, preload => iolist_to_binary(Preload)}),
    ?assertMatch({_, _}, binary:match(Text, list_to_binary(Directory))),
    ?assertNot(py_context_router:pool_started(lost)).

memory_limit(_) ->
    [with(Rules, #{memory_limit => 200 * 1024 * 1024}, fun(Ctx) ->
         ?assertEqual({Rules, {error, {context_died, {killed, memory_limit}}}},
                      {Rules, py:exec(Ctx, "import time\nhoard = b'x' * (400 * 1024 * 1024)\ntime.sleep(30)")})
     end) || Rules <- [kernel, #{read => []}]].
