%% @doc What sandbox => strict refuses: each line of its table in docs/pools.md, by Python's functions, by those of them
%% that no audit event tells of, and by native code, which the kernel refuses. And that other work goes on.
-module(sandbox_strict_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, init_per_suite/1, end_per_suite/1]).
-export([processes/1, files/1, signals/1, network/1, native_code/1, limits/1, machine/1, bare_system_calls/1,
         hook_stays/1, nothing_left_on_disk/1, strict_allows_work/1, extension_of_configured_paths/1]).

-import(py_test_sandbox, [with/3, refused/2, succeed/2]).

all() ->
    [processes, files, signals, network, native_code, limits, machine, bare_system_calls, hook_stays, nothing_left_on_disk,
     strict_allows_work, extension_of_configured_paths].

init_per_suite(Config) ->
    ok = py_test:start(),
    case py_test_sandbox:needs(strict, Config) of
        {skip, _} = Skip -> Skip;
        _ -> [{native, py_test_sandbox:native()}, {directory, py_test_sandbox:directory()} | Config]
    end.
end_per_suite(Config) ->
    ok = py_test:stop(),
    _ = [file:del_dir_r(Directory) || {ok, Directory} <- [proplists:get_value(native, Config)]],
    file:del_dir_r(proplists:get_value(directory, Config)).

in_each_mode(Fun) ->
    [with(strict, #{mode => Mode}, Fun) || Mode <- py_test_modes:supported()].

%% Runs Fun with a context that has the module rawcall, which makes system calls.
with_native(Config, Fun) ->
    case proplists:get_value(native, Config) of
        {ok, Directory} -> with(strict, #{paths => [Directory]}, Fun);
        Skip -> Skip
    end.

%% Proves that no process is started, by any of the ways.
processes(_) ->
    in_each_mode(fun(Ctx) ->
        refused(Ctx, [
            {run, "subprocess.run(['true'])"},
            {system, "os.system('true')"},
            {posix_spawn, "os.posix_spawn('/bin/true', ['true'], {})"},
            {popen, "os.popen('true')"},
            {fork, "try: os.fork()\nexcept RuntimeError: raise PermissionError"},  % owngil: of the interpreter
            {exec, "try: os.execv('/bin/true', ['true'])\nexcept RuntimeError: raise PermissionError"},
            {fork_exec, "import _posixsubprocess\nr, w = os.pipe()\n"
                        "_posixsubprocess.fork_exec([b'true'], [b'/bin/true'], True, (w,), None, None, -1, -1, -1, -1, -1, -1, "
                        "r, w, False, False, -1, None, None, None, -1, None, *([True] if sys.version_info < (3, 14) else []))"},
            {multiprocessing, "import multiprocessing\nmultiprocessing.get_context('spawn').Process(target=print).start()"},
            {asyncio, "import asyncio\nasync def f(): await asyncio.create_subprocess_exec('true')\nasyncio.run(f())"}])
    end).

%% Proves that nothing is written, made, moved or changed in the file system.
files(Config) ->
    Directory = proplists:get_value(directory, Config),
    in_each_mode(fun(Ctx) ->
        ok = py:exec(Ctx, ["d = '", Directory, "'; path = d + '/new'"]),
        refused(Ctx, [
            {write, "open(path, 'w')"},
            {create, "open(path, 'x')"},
            {append, "open(path, 'a')"},
            {update, "open(__import__('os').__file__, 'r+')"},
            {os_open, "os.open(path, os.O_RDONLY | os.O_CREAT)"},
            {os_write, "os.open(path, os.O_WRONLY | os.O_CREAT)"},
            {dir_fd, "os.open('new', os.O_RDWR | os.O_CREAT, dir_fd=os.open(d, os.O_RDONLY))"},
            {truncating, "os.open(os.__file__, os.O_RDONLY | os.O_TRUNC)"},
            {tmpfile, "os.open(d, os.O_TMPFILE | os.O_RDWR)"},
            {opener, "open(path, 'r', opener=lambda p, f: os.open(p, os.O_CREAT | os.O_WRONLY))"},
            {own_memory, "open('/proc/self/mem', 'r+b')"},
            {reopen, "open('/proc/self/fd/2', 'wb')"},
            {history, "try: import readline\nexcept ImportError: raise PermissionError\nreadline.write_history_file(path)"},  % not in owngil
            {mkdir, "os.mkdir(path)"},
            {mknod, "os.mknod(path)"},
            {mkfifo, "os.mkfifo(path)"},
            {link, "os.link(os.__file__, path)"},
            {symlink, "os.symlink(os.__file__, path)"},
            {rename, "os.rename(d, d + '2')"},
            {replace, "os.replace(d, d + '2')"},
            {remove, "os.remove(path)"},
            {rmdir, "os.rmdir(d)"},
            {rmtree, "import shutil\nshutil.rmtree(d)"},
            {chmod, "os.chmod(d, 0o700)"},
            {fchmod, "os.fchmod(os.open(d, os.O_RDONLY), 0o700)"},
            {chown, "os.chown(d, 0, 0)"},
            {utime, "os.utime(d)"},
            {setxattr, "os.setxattr(d, 'user.x', b'x')"},
            {truncate, "os.truncate(os.__file__, 0)"},
            {sqlite, "import sqlite3\nsqlite3.connect(path)"},
            {semaphore, "import multiprocessing\nmultiprocessing.get_context('spawn').Lock()"},
            {shared_memory, "from multiprocessing import shared_memory\nshared_memory.SharedMemory(create=True, size=10)"}])
    end),
    ?assertEqual({ok, []}, file:list_dir(Directory)).

%% Proves that no signal leaves the process.
signals(_) ->
    in_each_mode(fun(Ctx) ->
        refused(Ctx, [
            {kill, "os.kill(os.getppid(), 0)"},
            {kill_all, "os.kill(-1, 0)"},
            {killpg, "os.killpg(os.getpgid(os.getppid()), 0)"},
            {pidfd, "signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 0)"},
            {owner, "fcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())"},
            {group, "os.setpgid(0, os.getpgid(os.getppid()))"},
            {session, "os.setsid()"}]),
        succeed(Ctx, [{thread, "signal.pthread_kill(threading.get_ident(), 0)"}])
    end).

%% Proves that there is no network, not even a socket for it.
network(_) ->
    in_each_mode(fun(Ctx) ->
        refused(Ctx, [
            {connect, "socket.socket().connect(('127.0.0.1', 9))"},
            {create_connection, "socket.create_connection(('127.0.0.1', 9))"},
            {bind, "socket.socket().bind(('127.0.0.1', 0))"},
            {listen, "socket.socket().listen()"},
            {datagram, "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))"},
            {message, "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, ('127.0.0.1', 9))"},
            {local, "socket.socket(socket.AF_UNIX).connect('/run/any')"},
            {abstract, "socket.socket(socket.AF_UNIX).bind('\\0any')"},
            {local_datagram, "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)"},
            {netlink, "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)"},
            {raw, "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"},
            {name, "socket.getaddrinfo('localhost', 80)"},
            {host, "socket.gethostbyname('localhost')"}])
    end).

%% Proves that no native code is loaded but that of Python, its environment and the configured paths.
native_code(Config) ->
    in_each_mode(fun(Ctx) ->
        [?assertMatch({Module, {error, {'ImportError', _}}}, {Module, py:exec(Ctx, ["import ", Module])})
         || Module <- ["ctypes", "_ctypes"]],
        refused(Ctx, [
            {library, "import importlib.machinery, importlib.util\n"
                      "f = next(line.split()[-1] for line in open('/proc/self/maps') if 'libc.' in line)\n"
                      "loader = importlib.machinery.ExtensionFileLoader('x', f)\n"
                      "importlib.util.module_from_spec(importlib.machinery.ModuleSpec('x', loader, origin=f))"}
            | case proplists:get_value(native, Config) of
                {ok, Directory} ->
                    [{path, ["sys.path.insert(0, '", Directory, "')\nimport rawcall"]},
                     {create_dynamic, ["import _imp, importlib.machinery\n",
                                       "_imp.create_dynamic(importlib.machinery.ModuleSpec('rawcall', None, origin='", Directory,
                                       "/rawcall.so'))"]},
                     {dots, ["import _imp, importlib.machinery\n",
                             "_imp.create_dynamic(importlib.machinery.ModuleSpec('rawcall', None, origin=os.path.dirname(os.__file__) + '/../../../../../../../../..", Directory,
                             "/rawcall.so'))"]}];
                _ -> []
              end])
    end).

%% Proves that limits, priorities and processors of this and other processes stay as they are.
limits(_) ->
    in_each_mode(fun(Ctx) ->
        refused(Ctx, [
            {setrlimit, "resource.setrlimit(resource.RLIMIT_NOFILE, (5, 5))"},
            {prlimit, "resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (5, 5))"},
            {priority, "os.setpriority(os.PRIO_PROCESS, os.getppid(), 5)"},
            {user_priority, "os.setpriority(os.PRIO_USER, 0, 5)"},
            {affinity, "os.sched_setaffinity(os.getppid(), [0])"},
            {scheduler, "os.sched_setscheduler(os.getppid(), os.SCHED_IDLE, os.sched_param(0))"}])
    end).

%% Proves that the process stays who and where it is.
machine(_) ->
    in_each_mode(fun(Ctx) ->
        refused(Ctx, [
            {chroot, "os.chroot('/')"},
            {setuid, "os.setuid(os.getuid())"},
            {setgid, "os.setgid(os.getgid())"},
            {setgroups, "os.setgroups([])"},
            {unshare, "os.unshare(os.CLONE_NEWUSER)"},
            {hostname, "socket.sethostname('x')"},
            {clock, "import time\ntime.clock_settime(time.CLOCK_REALTIME, time.time())"}])
    end).

%% Proves that the kernel refuses the same to native code, which asks no audit hook.
bare_system_calls(Config) ->
    with_native(Config, fun(Ctx) ->
        ok = py:exec(Ctx, [
            "import os, rawcall, errno\n"
            "def refused(name, *arguments):\n"
            "    try: result = rawcall.raw(name, *arguments)\n"
            "    except NotImplementedError: return True\n"
            "    except OSError as e: return e.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS) or (name, e)\n"
            "    return (name, result)\n"
            "path = b'", proplists:get_value(directory, Config), "/native'\n"
            "me, parent = os.getpid(), os.getppid()\n"
            "def check(calls):\n"
            "    wrong = [r for r in (refused(*call) for call in calls) if r is not True]\n"
            "    assert not wrong, wrong\n"]),
        succeed(Ctx, [
            {processes, "check([('fork',), ('vfork',), ('clone', 17), ('clone', 0xf00), ('clone3', None, 0), ('execve', b'/bin/true', None, None),"
                        "('execveat', -100, b'/bin/true', None, None, 0), ('setsid',), ('setpgid', 0, 0), ('x32_execve', None)])"},
            {files, "check([('open', path, 0o101, 0o600), ('openat', -100, path, 0o102, 0o600), ('openat', -100, b'/etc/hostname', 0o1000), ('openat', -100, b'/etc/hostname', 3),"
                    "('openat2', -100, path, bytes([0o101]) + bytes(23), 24), ('creat', path, 0o600), ('mkdirat', -100, path, 0o700),"
                    "('unlinkat', -100, path, 0), ('renameat2', -100, path, -100, path, 0), ('linkat', -100, path, -100, path, 0),"
                    "('symlinkat', path, -100, path), ('truncate', path, 0), ('fchmod', 0, 0o700), ('fchmodat', -100, path, 0o700),"
                    "('fchmodat2', -100, path, 0o700, 0), ('fchown', 0, 0, 0), ('utimensat', -100, path, None, 0),"
                    "('mknodat', -100, path, 0o10600, 0), ('setxattr', path, path, path, 1, 0), ('setxattrat', -100, path, 0, path, path, 1),"
                    "('file_setattr', -100, path, path, 1, 0), ('ioctl', 0, 0x40086602, path), ('ioctl', 0, 0xC0045877, 0)])"},
            {signals, "check([('kill', parent, 0), ('kill', 0, 0), ('kill', -1, 0), ('kill', me | 1 << 32, 0), ('tkill', parent, 0),"
                      "('tgkill', parent, parent, 0), ('rt_sigqueueinfo', parent, 0, None), ('pidfd_send_signal', 0, 0, None, 0),"
                      "('fcntl', 0, 8, parent), ('fcntl', 0, 15, parent), ('ioctl', 0, 0x8901, path)])\n"
                      "assert rawcall.raw('kill', me, 0) == 0"},
            {network, "check([('socket', f, t, 0) for f in (1, 2, 10, 16, 17, 38) for t in (1, 2, 3)] + [('socketpair', 1, 2, 0, bytes(8)),"
                      "('socketpair', 1, 3, 0, bytes(8)), ('connect', 0, path, 3), ('bind', 0, path, 3), ('listen', 0, 1), ('sendto', 1, path, 1, 0, path, 3)])"},
            {kernel, "check([('ptrace', 16, parent), ('process_vm_writev', parent), ('mount',), ('unshare', 0x20000), ('setns', 0, 0), ('chroot', b'/'),"
                     "('bpf',), ('perf_event_open',), ('userfaultfd', 0), ('keyctl', 0), ('io_uring_setup', 1, bytes(200)), ('init_module',),"
                     "('reboot',), ('kexec_load',), ('prlimit64', parent, 7, bytes(16), None), ('prlimit64', 0, 7, bytes(16), None),"
                     "('setpriority', 2, 0, 5), ('sched_setaffinity', parent, 8, bytes(8)), ('ioprio_set', 3, 0, 0), ('setuid', 0),"
                     "('setgroups', 0, None), ('capset', None, None), ('clock_settime', 0, None), ('sethostname', path, 1), ('shmget', 1, 1, 0o1600),"
                     "('mq_unlink', path), ('open_by_handle_at', 0, None, 0), ('personality', 0x40000), ('from_the_future',), ('ioctl', 0, 0x5412, path)])"},
            {compat, "try: rawcall.compat_getpid()\nexcept NotImplementedError: pass\nexcept OSError as e: assert e.errno == errno.ENOSYS\nelse: raise AssertionError"}])
    end).

%% Proves that Python cannot take the hook away, nor get round it with a hook or a module of its own.
hook_stays(_) ->
    in_each_mode(fun(Ctx) ->
        py:exec(Ctx, "import sys\nsys.addaudithook(lambda *a: None)"),
        py:exec(Ctx, "import gc, sys\nfor o in gc.get_objects():\n    if callable(o) and getattr(o, '__name__', '') == 'audit': raise SystemError"),
        py:exec(Ctx, "import sys\nsys.audit('cpython._PySys_ClearAuditHooks')"),
        refused(Ctx, [{still, "open('/tmp/never', 'w')"}, {posix, "import posix\nposix.open('/tmp/never', posix.O_CREAT | posix.O_WRONLY)"},
                      {io, "import _io\n_io.FileIO('/tmp/never', 'w')"}, {thread, "import concurrent.futures\n"
                       "with concurrent.futures.ThreadPoolExecutor() as e: e.submit(open, '/tmp/never', 'w').result()"}])
    end).

%% Proves that what writes a file and says nothing when it cannot leaves none.
nothing_left_on_disk(_) ->
    in_each_mode(fun(Ctx) ->
        {ok, Pid} = py:eval(Ctx, "__import__('os').getpid()"),
        _ = py:exec(Ctx, "import sys\nsys.activate_stack_trampoline('perf')\ndef f(): pass\nf()\nsys.deactivate_stack_trampoline()"),
        ?assertNot(filelib:is_file("/tmp/perf-" ++ integer_to_list(Pid) ++ ".map"))
    end).

%% Proves that under strict modules load, files are read, threads, loops and pairs of sockets work, and output is logged.
strict_allows_work(_) ->
    in_each_mode(fun(Ctx) ->
        succeed(Ctx, [
            {modules, "import json, datetime, asyncio, decimal, logging, ssl, hashlib\nassert json.loads('[1]') == [1]\nssl.create_default_context()"},
            {read, "with open(os.__file__) as source: assert 'import' in source.read()"},
            {output, "print('still logged')"},
            {logging, "import logging\nlogging.getLogger('x').warning('logged')"},
            {threads, "import concurrent.futures\n"
                      "with concurrent.futures.ThreadPoolExecutor() as e: assert e.submit(lambda: 5).result() == 5"},
            {asyncio, "import asyncio, time\nasync def f():\n    await asyncio.sleep(0.001)\n    return await asyncio.to_thread(lambda: 5)\nassert asyncio.run(f()) == 5"},
            {pair, "a, b = socket.socketpair()\na.sendmsg([b'x'])\nassert b.recv(1) == b'x'"},
            {descriptors, "r, w = os.pipe()\nos.write(w, b'x')\nassert os.read(r, 1) == b'x'\nos.memfd_create('m')"},
            {erlang, "import erlang\nassert erlang.state_get('no such key', 5) == 5"}])
    end),
    with(strict, #{isolation => context}, fun(Ctx) -> ?assertEqual({ok, 2}, py:eval(Ctx, "1 + 1")) end).

%% Proves that extension modules in the option paths are loaded.
extension_of_configured_paths(Config) ->
    with_native(Config, fun(Ctx) -> succeed(Ctx, [{import, "import rawcall\nassert rawcall.raw('getpid') == os.getpid()"}]) end).
