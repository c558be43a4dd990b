%% @doc Python's own libraries work in a context as they do in a program, although the code of a context is no program.
-module(library_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([all/0, groups/0, init_per_suite/1, end_per_suite/1, init_per_group/2, end_per_group/2]).
-export([main_module/1, main_per_process/1, multiprocessing_default/1, process_pool/1, subprocess_output/1,
         traceback_source/1, source_of_function/1, many_keywords/1, frame_builtins/1, exit_is_an_exception/1,
         breakpoints/1, closed_output/1, output_descriptor/1]).

all() -> [{group, worker}, {group, owngil}, {group, isolated}].

groups() ->
    Cases = [main_module, main_per_process, multiprocessing_default, process_pool, subprocess_output, traceback_source,
             source_of_function, many_keywords, frame_builtins, exit_is_an_exception, breakpoints, closed_output,
             output_descriptor],
    py_test_modes:placement_groups(Cases).

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

init_per_group(Placement, Config) -> py_test_modes:placed_pool_group(Placement, 1, #{}, Config).
end_per_group(_Placement, Config) -> py_test:stop_pool(?config(pool, Config)).

ctx(Config) -> hd(py_test:contexts(?config(pool, Config))).

run(Config, Code) -> py:exec(ctx(Config), Code).

%% Proves that pickle, dataclasses and typing find what exec has defined, as they would in a program's __main__.
main_module(Config) ->
    ?assertEqual(ok, run(Config, "
from __future__ import annotations
import dataclasses, pickle, typing

@dataclasses.dataclass
class Point:
    x: int
    kind: typing.ClassVar[int] = 3
    z: int = 4

assert [field.name for field in dataclasses.fields(Point)] == ['x', 'z']
assert typing.get_type_hints(Point)['x'] is int
assert pickle.loads(pickle.dumps(Point(1))) == Point(1)
import __main__
assert __main__.Point is Point and 'Point' in vars(__main__)
")).

%% Proves that __main__ shows each Erlang process its own definitions.
main_per_process(Config) ->
    ok = run(Config, "mine = 1"),
    Self = self(),
    Pid = spawn_link(fun() ->
        Self ! {self(), run(Config, "import __main__\nassert not hasattr(__main__, 'mine')")}
    end),
    ?assertEqual(ok, receive {Pid, Result} -> Result end),
    ?assertEqual(ok, run(Config, "import __main__\nassert __main__.mine == 1")).

%% Proves that multiprocessing works without being told how: fork, its default below 3.14, is refused here.
multiprocessing_default(Config) ->
    ?assertEqual(ok, run(Config, "
import multiprocessing
with multiprocessing.Pool(2) as pool:
    assert pool.map(abs, [-1, -2, 3]) == [1, 2, 3]
")).

process_pool(Config) ->
    ?assertEqual(ok, run(Config, "
import concurrent.futures
with concurrent.futures.ProcessPoolExecutor(2) as pool:
    assert list(pool.map(abs, [-1, -2, 3])) == [1, 2, 3]
")).

subprocess_output(Config) ->
    ?assertEqual(ok, run(Config, "
import subprocess, sys
done = subprocess.run([sys.executable, '-c', 'print(6 * 7)'], capture_output=True, text=True)
assert done.stdout == '42\\n', done
")).

%% Proves that a traceback shows the lines of code that came from Erlang.
traceback_source(Config) ->
    ok = run(Config, "def divide(a, b):\n    return a / b  # the guilty line\n"),
    {error, {'ZeroDivisionError', _, Traceback}} =
        py:call(ctx(Config), '__main__', divide, [1, 0], #{traceback => true}),
    ?assertNotEqual(nomatch, string:find(Traceback, "the guilty line")).

source_of_function(Config) ->
    ?assertEqual(ok, run(Config, "def shown():\n    return 'shown'\n")),
    ?assertEqual(ok, run(Config, "import inspect\nassert \"return 'shown'\" in inspect.getsource(shown)")).

%% Proves that a call with very many keyword arguments takes time in proportion.
many_keywords(Config) ->
    Kwargs = maps:from_list([{integer_to_binary(I), I} || I <- lists:seq(1, 60000)]),
    ?assertEqual({ok, Kwargs}, py:call(ctx(Config), builtins, dict, [], #{kwargs => Kwargs})).

%% Proves that builtins which look at the frame that calls them see the caller's namespace.
frame_builtins(Config) ->
    Ctx = ctx(Config),
    ok = run(Config, "base = 40"),
    ?assertEqual({ok, 42}, py:call(Ctx, builtins, eval, [<<"base + 2">>])),
    ?assertEqual({ok, none}, py:call(Ctx, builtins, exec, [<<"made = base + 1">>])),
    ?assertEqual({ok, 41}, py:eval(Ctx, "made")),
    ?assertMatch({error, {'ZeroDivisionError', _}}, py:call(Ctx, builtins, eval, [<<"1 / 0">>])).

%% Proves that sys.exit() ends a request and not the process.
exit_is_an_exception(Config) ->
    ?assertMatch({error, {'SystemExit', <<"3">>}}, run(Config, "import sys\nsys.exit(3)")),
    ?assertEqual({ok, 2}, py:eval(ctx(Config), "1 + 1")).

%% Proves that breakpoint(), whose debugger has no terminal, says so, and that PYTHONBREAKPOINT names another one, or none.
breakpoints(Config) ->
    {error, {'RuntimeError', Message}} = run(Config, "breakpoint()"),
    _ = [?assertNotEqual({Part, nomatch}, {Part, string:find(Message, Part)})
         || Part <- ["breakpoint()", "PYTHONBREAKPOINT", "terminal"]],
    ok = run(Config, "
import os, sys, types
try:
    os.environ['PYTHONBREAKPOINT'] = '0'
    breakpoint()
    sys.modules['debugger_of_this_test'] = debugger = types.ModuleType('debugger_of_this_test')
    debugger.stop = lambda **kwargs: kwargs
    os.environ['PYTHONBREAKPOINT'] = 'debugger_of_this_test.stop'
    assert breakpoint(a=1) == {'a': 1}
finally:
    del os.environ['PYTHONBREAKPOINT']
"),
    {error, Quit = {'BdbQuit', _}} = run(Config, "import pdb\npdb.set_trace()\nx = 1\n"),
    ?assertNotEqual(nomatch, string:find(py_error:format_error(Quit), "terminal")).

%% Proves that code which closes or replaces fd 1, as daemons do, costs the port process nothing afterwards.
closed_output(Config) ->
    OsPid = py_test:os_pid(?config(pool, Config)),
    ok = run(Config, "import os\nos.dup2(os.open(os.devnull, os.O_WRONLY), 1)\nos.close(2)"),
    timer:sleep(200),
    Before = py_test:cpu_ticks(OsPid),
    timer:sleep(1000),
    ?assert(py_test:cpu_ticks(OsPid) - Before < 20),
    ?assertEqual(ok, run(Config, "print('still logged')")).

%% Proves that the package's door to the log takes the two descriptors there are and no other.
output_descriptor(Config) ->
    ?assertMatch({error, {'ValueError', _}}, run(Config, "import _erlang\n_erlang.write(7, b'x')")),
    ?assert(lists:keymember(erlang_python, 1, application:which_applications())).
