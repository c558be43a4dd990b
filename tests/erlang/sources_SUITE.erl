%% The source of code that came from Erlang: in tracebacks, for inspect, and for how long.
-module(sources_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 1}}].

all() -> [{group, worker}, {group, owngil}, {group, isolated}].

groups() ->
    py_test_modes:placement_groups([tracebacks_of_preload, tracebacks_of_exec_and_eval, functions, classes,
                                    classes_of_the_same_name, lives_as_long_as_the_function, lives_as_long_as_the_class,
                                    goes_with_what_it_made, of_code_that_failed, very_long_code]).

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

init_per_group(Placement, Config) ->
    py_test_modes:placed_pool_group(Placement, 1, #{preload => preload()}, Config).
end_per_group(_Group, Config) -> py_test:stop_pool(proplists:get_value(pool, Config)).

init_per_testcase(_Case, Config) ->
    [{ctx, hd(py_test:contexts(proplists:get_value(pool, Config)))} | Config].

preload() -> <<"
import inspect
def half(n):
    return n / 0  # the guilty line of the preload
class Shape:
    'Something round.'
class Square(Shape):
    def area(self):
        return self.side ** 2
">>.

%% Proves that a traceback shows the lines of preload code, and which preload it was.
tracebacks_of_preload(Config) ->
    Traceback = traceback(py:call(ctx(Config), '__main__', half, [1], #{traceback => true})),
    ?assertNotEqual(nomatch, string:find(Traceback, "# the guilty line of the preload")),
    ?assertNotEqual(nomatch, string:find(Traceback, "\"<pool preload-")).

%% Proves that it shows those of exec, and an expression.
tracebacks_of_exec_and_eval(Config) ->
    ok = py:exec(ctx(Config), <<"def third(n):\n    return n / 0  # guilty too\n">>),
    Traceback = traceback(py:call(ctx(Config), '__main__', third, [1], #{traceback => true})),
    ?assertNotEqual(nomatch, string:find(Traceback, "# guilty too")),
    Code = <<"import traceback\ntry:\n    eval_me()\nexcept ZeroDivisionError as e:\n    text = ''.join(traceback.format_exception(e))\n">>,
    {ok, none} = py:eval(ctx(Config), <<"globals().update(eval_me=lambda: 1 / 0)">>),
    ok = py:exec(ctx(Config), Code),
    {ok, Text} = py:eval(ctx(Config), <<"text">>),
    ?assertNotEqual(nomatch, string:find(Text, "globals().update(eval_me=lambda: 1 / 0)")).

%% Proves that inspect knows the source of functions of preload code and of exec.
functions(Config) ->
    ?assertEqual({ok, <<"def half(n):\n    return n / 0  # the guilty line of the preload\n">>}, source(Config, "half")),
    ok = py:exec(ctx(Config), <<"x = 1\ndef later():\n    return x\n">>),
    ?assertEqual({ok, <<"def later():\n    return x\n">>}, source(Config, "later")).

%% Proves that inspect knows the source of classes: with and without methods, one in another, and decorated ones.
classes(Config) ->
    ?assertEqual({ok, <<"class Shape:\n    'Something round.'\n">>}, source(Config, "Shape")),
    ?assertMatch({ok, <<"class Square(Shape):\n    def area(self):\n", _/binary>>}, source(Config, "Square")),
    ?assertMatch({ok, <<"    def area(self):\n", _/binary>>}, source(Config, "Square.area")),
    ok = py:exec(ctx(Config), <<"
import dataclasses, enum
@dataclasses.dataclass(slots=True)
class Point:
    x: int
class Colour(enum.Enum):
    RED = 1
class Outer:
    class Inner:
        size = 1
def makes():
    class Local:
        def method(self): pass
    return Local
Local = makes()
">>),
    ?assertEqual({ok, <<"@dataclasses.dataclass(slots=True)\nclass Point:\n    x: int\n">>}, source(Config, "Point")),
    ?assertEqual({ok, <<"class Colour(enum.Enum):\n    RED = 1\n">>}, source(Config, "Colour")),
    ?assertEqual({ok, <<"    class Inner:\n        size = 1\n">>}, source(Config, "Outer.Inner")),
    ?assertEqual({ok, <<"    class Local:\n        def method(self): pass\n">>}, source(Config, "Local")),
    ?assertMatch({ok, <<"class UserDict", _/binary>>}, source(Config, "__import__('collections').UserDict")),
    ?assertMatch({error, {'TypeError', _}}, source(Config, "int")).

%% Proves that classes of two processes that have the same name are not mixed up.
classes_of_the_same_name(Config) ->
    Jobs = [py_test:async(fun() ->
        Class = iolist_to_binary(["class Same:\n    number = ", integer_to_binary(N), "\n"]),
        ok = py:exec(ctx(Config), [lists:duplicate(N, $\n), Class]),
        ?assertEqual({ok, Class}, source(Config, "Same"))
    end) || N <- lists:seq(1, 20)],
    lists:foreach(fun py_test:join/1, Jobs).

%% Proves that a function keeps its source, however much code comes after it.
lives_as_long_as_the_function(Config) ->
    ok = py:exec(ctx(Config), <<"def early(n):\n    return n / 0  # early and guilty\n">>),
    more_code(Config),
    ?assertMatch({ok, <<"def early(n):", _/binary>>}, source(Config, "early")),
    Traceback = traceback(py:call(ctx(Config), '__main__', early, [1], #{traceback => true})),
    ?assertNotEqual(nomatch, string:find(Traceback, "# early and guilty")),
    ?assertMatch({ok, <<"def half", _/binary>>}, source(Config, "half")).

%% Proves that a class does, also one that has no functions.
lives_as_long_as_the_class(Config) ->
    ok = py:exec(ctx(Config), <<"class Early:\n    size = 1\n">>),
    more_code(Config),
    ?assertEqual({ok, <<"class Early:\n    size = 1\n">>}, source(Config, "Early")).

more_code(Config) ->
    _ = [ok = py:exec(ctx(Config), ["value = ", integer_to_binary(N)]) || N <- lists:seq(1, 600)],
    ok.

%% Proves that nothing is kept of code that has left nothing behind.
goes_with_what_it_made(Config) ->
    ok = py:exec(ctx(Config), <<"import sys\nmark = int(sys._getframe().f_code.co_filename[len('<exec-'):-1])\n">>),
    py_test:in_process(fun() ->
        ok = py:exec(ctx(Config), <<"def f():\n    return lambda: 1\nclass C:\n    class D: pass\nclass E(C):\n    def m(self): pass\n">>),
        ?assertMatch({ok, <<"class C:\n", _/binary>>}, source(Config, "C")),
        ok = py:exec(ctx(Config), <<"del f, C, E\nimport gc\ngc.collect()\n">>),
        more_code(Config)
    end),
    ?assertEqual({ok, []}, py:eval(ctx(Config),
        <<"[f for f in __import__('linecache').cache if f.startswith('<exec-') and int(f[len('<exec-'):-1]) > mark]">>)),
    ?assertEqual({ok, []}, py:eval(ctx(Config),
        <<"[c for c, (ref, _) in __import__('erlang._sources')._sources._classes.items() if ref() is None]">>)).

%% Proves that what was defined before an exception has its source too.
of_code_that_failed(Config) ->
    ?assertMatch({error, {'ZeroDivisionError', _}},
                 py:exec(ctx(Config), <<"class Before:\n    size = 2\ndef before():\n    return 2\n1 / 0\n">>)),
    ?assertEqual({ok, <<"class Before:\n    size = 2\n">>}, source(Config, "Before")),
    ?assertEqual({ok, <<"def before():\n    return 2\n">>}, source(Config, "before")),
    ?assertMatch({error, {'SyntaxError', _}}, py:exec(ctx(Config), <<"def (:\n">>)).

%% Proves that a megabyte of code, which may be data, runs without being kept.
very_long_code(Config) ->
    ok = py:exec(ctx(Config), ["def huge():\n    return '", binary:copy(<<"x">>, 1000000), "'\n"]),
    ?assertMatch({error, {'OSError', _}}, source(Config, "huge")).

ctx(Config) -> proplists:get_value(ctx, Config).

source(Config, What) -> py:eval(ctx(Config), ["inspect.getsource(", What, ")"]).

traceback({error, {'ZeroDivisionError', _, Traceback}}) -> Traceback.
