%% Expressions and statements: py:eval and py:exec, and what they leave behind.
-module(eval_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 1}}].

all() ->
    [binary_and_string, unicode_source, locals_by_atom_and_binary, comprehensions_see_locals, lambdas_see_locals,
     nested_scopes_see_locals, locals_do_not_leak, locals_shadow_for_one_expression, functions_keep_their_globals,
     eval_with_timeout, eval_on_context, eval_errors, white_space_around_expressions, exec_statements,
     exec_keeps_what_ran_before_an_error, exec_on_context, exec_with_timeout, exec_errors, definitions_stay,
     imports_stay, large_source].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

%% Proves that an expression may be a binary or a string.
binary_and_string(_) ->
    ?assertEqual({ok, 3}, py:eval(<<"1 + 2">>)),
    ?assertEqual({ok, 3}, py:eval("1 + 2")),
    ?assertEqual({ok, [1, <<"a">>, none]}, py:eval(<<"[1, 'a', None]">>)).

%% Proves that source text outside ASCII is read as UTF-8 binary or as a list of code points.
unicode_source(_) ->
    ?assertEqual({ok, 2}, py:eval(<<"len('é日')"/utf8>>)),
    ?assertEqual({ok, 2}, py:eval("len('é日')")),
    ?assertEqual({ok, <<"é"/utf8>>}, py:eval(<<"'é'"/utf8>>)).

%% Proves that the names in Locals may be atoms or binaries.
locals_by_atom_and_binary(_) ->
    ?assertEqual({ok, 7}, py:eval(<<"x + y">>, #{x => 3, <<"y">> => 4})),
    ?assertEqual({ok, 5}, py:eval("n", #{n => 5})),
    ?assertEqual({ok, 1}, py:eval(<<"1">>, #{})).

%% Proves that comprehensions and generator expressions see Locals.
comprehensions_see_locals(_) ->
    ?assertEqual({ok, [0, 2, 4]}, py:eval(<<"[x * k for x in range(3)]">>, #{k => 2})),
    ?assertEqual({ok, #{0 => 5, 1 => 6}}, py:eval(<<"{x: x + k for x in range(2)}">>, #{k => 5})),
    ?assertEqual({ok, 6}, py:eval(<<"sum(x for x in range(9) if x < k)">>, #{k => 4})).

%% Proves that lambdas see Locals.
lambdas_see_locals(_) ->
    ?assertEqual({ok, 11}, py:eval(<<"(lambda y: y + k)(1)">>, #{k => 10})),
    ?assertEqual({ok, [3, 1, 2]}, py:eval(<<"sorted(l, key=lambda v: order[v])">>,
                                          #{l => [1, 2, 3], order => #{1 => 1, 2 => 2, 3 => 0}})).

%% Proves that scopes inside scopes see Locals.
nested_scopes_see_locals(_) ->
    ?assertEqual({ok, [[1, 2], [3, 4]]},
                 py:eval(<<"[[(lambda: c * a + b)() for b in (1, 2)] for a in (0, 1)]">>, #{c => 2})).

%% Proves that names given in Locals are gone when the expression is done.
locals_do_not_leak(_) ->
    ?assertEqual({ok, 1}, py:eval(<<"leaked_name">>, #{leaked_name => 1})),
    ?assertMatch({error, {'NameError', _}}, py:eval(<<"leaked_name">>)),
    ?assertEqual({ok, false}, py:eval(<<"'leaked_name' in globals()">>)).

%% Proves that Locals hide a variable of the namespace for one expression and do not change it.
locals_shadow_for_one_expression(_) ->
    ok = py:exec(<<"shadowed = 10">>),
    ?assertEqual({ok, 1}, py:eval(<<"shadowed">>, #{shadowed => 1})),
    ?assertEqual({ok, 10}, py:eval(<<"shadowed">>)).

%% Proves that a function called by the expression sees the namespace it was defined in, not Locals.
functions_keep_their_globals(_) ->
    ok = py:exec(<<"unit = 10\ndef scaled(n):\n    return n * unit\n">>),
    ?assertEqual({ok, 20}, py:eval(<<"scaled(n)">>, #{n => 2, unit => 1000})).

%% Proves that an expression that outlives its timeout gives {error,timeout} and that the next one works.
eval_with_timeout(_) ->
    ?assertEqual({ok, 2}, py:eval(<<"n + 1">>, #{n => 1}, 30000)),
    ?assertEqual({error, timeout}, py:eval(<<"[None for _ in iter(int, 1)]">>, #{}, 50)),
    ?assertEqual({ok, 2}, py:eval(<<"n + 1">>, #{n => 1}, infinity)).

%% Proves that expressions can be sent to a context, with and without Locals.
eval_on_context(_) ->
    Ctx = py:context(2),
    ?assertEqual({ok, 3}, py:eval(Ctx, <<"1 + 2">>)),
    ?assertEqual({ok, 3}, py:eval(Ctx, "n + 2", #{n => 1})).

%% Proves that faulty expressions are Python's errors.
eval_errors(_) ->
    ?assertMatch({error, {'SyntaxError', _}}, py:eval(<<"1 +">>)),
    ?assertMatch({error, {'SyntaxError', _}}, py:eval(<<"x = 1">>)),
    ?assertMatch({error, {'SyntaxError', _}}, py:eval(<<>>)),
    ?assertMatch({error, {'NameError', <<"name 'nobody' is not defined">>}}, py:eval(<<"nobody">>)),
    ?assertMatch({error, {'ZeroDivisionError', _}}, py:eval(<<"1 / 0">>)),
    ?assertMatch({error, _}, py:eval(<<"1", 0, "2">>)),
    ?assertMatch({error, _}, py:eval(<<"'", 255, "'">>)),
    ?assertEqual({ok, 1}, py:eval(<<"1">>)).

%% Proves that blanks before and a newline after an expression do not matter.
white_space_around_expressions(_) ->
    ?assertEqual({ok, 2}, py:eval(<<"  1 + 1">>)),
    ?assertEqual({ok, 2}, py:eval(<<"1 + 1\n">>)),
    ?assertEqual({ok, 2}, py:eval(<<"(1\n + 1)">>)).

%% Proves that statements of every kind run, from a binary or a string, and give ok.
exec_statements(_) ->
    ok = py:exec(<<"import json\nclass Box:\n    size = 3\n\ntotal = 0\nfor i in range(4):\n    total += i\n">>),
    ok = py:exec("with_string = 'é日'"),
    ok = py:exec(<<>>),
    ok = py:exec(<<"# nothing but a comment">>),
    ?assertEqual({ok, {3, 6, 2}}, py:eval(<<"(Box.size, total, len(with_string))">>)).

%% Proves that what ran before an error stays, as in Python itself.
exec_keeps_what_ran_before_an_error(_) ->
    ?assertMatch({error, {'ZeroDivisionError', _}}, py:exec(<<"before = 1\n1 / 0\nafter = 2">>)),
    ?assertEqual({ok, 1}, py:eval(<<"before">>)),
    ?assertMatch({error, {'NameError', _}}, py:eval(<<"after">>)).

%% Proves that statements can be sent to a context and are seen there by the same process.
exec_on_context(_) ->
    Ctx = py:context(2),
    ok = py:exec(Ctx, <<"here = 'two'">>),
    ?assertEqual({ok, <<"two">>}, py:eval(Ctx, <<"here">>)),
    ok = py:exec(Ctx, "there = 1", 30000),
    ?assertEqual({ok, 1}, py:eval(Ctx, <<"there">>)).

%% Proves that statements that outlive their timeout give {error,timeout} and leave the context usable.
exec_with_timeout(_) ->
    Ctx = py:context(1),
    ?assertEqual({error, timeout}, py:exec(Ctx, <<"while True:\n    pass">>, 50)),
    ?assertEqual(ok, py:exec(Ctx, <<"after_loop = 1">>)),
    ?assertEqual({ok, 1}, py:eval(Ctx, <<"after_loop">>)).

%% Proves that faulty statements are Python's errors.
exec_errors(_) ->
    ?assertMatch({error, {'SyntaxError', _}}, py:exec(<<"def broken(:">>)),
    ?assertMatch({error, {'IndentationError', _}}, py:exec(<<"if True:\npass">>)),
    ?assertMatch({error, {'ModuleNotFoundError', _}}, py:exec(<<"import no_such_module_here">>)),
    ?assertMatch({error, {'AssertionError', <<"because">>}}, py:exec(<<"assert False, 'because'">>)).

%% Proves that definitions of one exec are there for the next exec, eval and call of the process.
definitions_stay(_) ->
    ok = py:exec(<<"def double(n):\n    return 2 * n\n">>),
    ok = py:exec(<<"four = double(2)">>),
    ?assertEqual({ok, 4}, py:eval(<<"four">>)),
    ?assertEqual({ok, 6}, py:call('__main__', double, [3])),
    ?assertEqual({ok, 8}, py:call(<<"__main__">>, "double", [], #{n => 4})).

%% Proves that imports of one exec are there for the next eval.
imports_stay(_) ->
    ok = py:exec(<<"import math as m\nfrom os import path">>),
    ?assertEqual({ok, {4.0, <<"b">>}}, py:eval(<<"(m.sqrt(16), path.basename('a/b'))">>)).

%% Proves that source text of more than one protocol frame runs.
large_source(_) ->
    Filler = binary:copy(<<"# 3456789 123456789 123456789 123456789 123456789 123456789 1234\n">>, 40000),
    ok = py:exec(<<Filler/binary, "large_source = 'ran'">>),
    ?assertEqual({ok, <<"ran">>}, py:eval(<<"large_source">>)).
