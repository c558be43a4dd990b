%% @doc What each level of the pool option sandbox refuses, and that the rest goes on working.
-module(sandbox_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, init_per_suite/1, end_per_suite/1]).
-export([default_keeps_the_process/1, default_allows_children/1, off_refuses_nothing/1, strict_refuses/1,
         strict_allows_work/1]).

all() -> [default_keeps_the_process, default_allows_children, off_refuses_nothing, strict_refuses, strict_allows_work].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

with(Level, Mode, Fun) ->
    {ok, [Ctx]} = py_context_router:start_pool(sandboxed, 1, #{sandbox => Level, mode => Mode}),
    try Fun(Ctx)
    after ok = py_context_router:stop_pool(sandboxed)
    end.

%% Proves that code cannot duplicate or replace the process that serves the pool, in either mode.
default_keeps_the_process(_) ->
    [with(default, Mode, fun(Ctx) ->
         ?assertMatch({error, {_, _}}, py:exec(Ctx, "import os\nos.fork()")),
         ?assertMatch({error, {_, _}}, py:exec(Ctx, "import os\nos.execv('/bin/true', ['true'])")),
         ?assertEqual({ok, 2}, py:eval(Ctx, "1 + 1"))
     end) || Mode <- py_test_modes:supported()].

default_allows_children(_) ->
    [with(default, Mode, fun(Ctx) ->
         ?assertEqual(ok, py:exec(Ctx, "import subprocess\nassert subprocess.run(['true']).returncode == 0"))
     end) || Mode <- py_test_modes:supported()].

off_refuses_nothing(_) ->
    with(off, worker, fun(Ctx) ->
        ?assertEqual(ok, py:exec(Ctx, "
import os
child = os.fork()
if child == 0: os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"))
    end).

%% Proves that strict refuses to start processes, to write files, to use the network and to load C libraries.
strict_refuses(_) ->
    Path = filename:join("/tmp", "erlang_python_strict_" ++ os:getpid()),
    Refused = [
        "import subprocess\nsubprocess.run(['true'])",
        "import os\nos.system('true')",
        "open(path, 'w')",
        "open(path, 'x')",
        "import os\nos.open(path, os.O_RDONLY | os.O_CREAT)",
        "import os\nos.open(path, os.O_WRONLY | os.O_CREAT)",
        "import os\nos.mkdir(path)",
        "import sqlite3\nsqlite3.connect(path)",
        "import socket\nsocket.socket().connect(('127.0.0.1', 9))",
        "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))"],
    with(strict, worker, fun(Ctx) ->
        ok = py:exec(Ctx, ["path = '", Path, "'"]),
        [?assertMatch({Code, {error, {'PermissionError', _}}}, {Code, py:exec(Ctx, Code)}) || Code <- Refused],
        ?assertMatch({error, {'ImportError', _}}, py:exec(Ctx, "import ctypes")),
        ?assertNot(filelib:is_file(Path))
    end).

%% Proves that under strict modules load, files are read, and output is logged.
strict_allows_work(_) ->
    [with(strict, Mode, fun(Ctx) ->
         ?assertEqual(ok, py:exec(Ctx, "
import json, datetime, asyncio, decimal, os
assert json.loads('[1]') == [1]
with open(os.__file__) as source: assert 'import' in source.read()
print('still logged')
"))
     end) || Mode <- py_test_modes:supported()].
