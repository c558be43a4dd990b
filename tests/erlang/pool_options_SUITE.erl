%% Options of a pool: each does what it says, and a wrong one is refused by name.
-module(pool_options_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [worker_mode, owngil_mode, unknown_mode, unknown_option, values_out_of_range, paths_come_first, imports_are_loaded,
     failing_import, preload_runs_in_every_context, failing_preload, failing_preload_of_a_context, order_of_start,
     environment_variables, environment_variables_that_cannot_be, home_of_python, working_directory, missing_working_directory, niceness, virtual_environment,
     missing_virtual_environment, python_option, executable_is_python, isolation_by_context,
     isolation_by_context_with_preload, max_requests_replaces_without_a_lost_call, fork_is_refused,
     subprocesses_work, option_values_as_strings_and_binaries].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) ->
    ok = py_test:stop(),
    py_test:remove_temp_files().

%% Proves that worker contexts are threads of one interpreter: they share modules.
worker_mode(_) ->
    py_test:with_pool(2, #{mode => worker}, fun(Pool) ->
        [One, Two] = py_test:contexts(Pool),
        {ok, 7} = py:call(One, probe, set_here, [7]),
        ?assertEqual({ok, 7}, py:call(Two, probe, get_here, []))
    end).

%% Proves that owngil contexts are interpreters of their own: they share no modules.
owngil_mode(_) ->
    case py:subinterp_supported() of
        false ->
            ?assertEqual({error, {unsupported, owngil_requires_python_3_13}},
                         py_context_router:start_pool(py_test:unique(pool), 1, owngil));
        true ->
            py_test:with_pool(2, #{mode => owngil}, fun(Pool) ->
                [One, Two] = py_test:contexts(Pool),
                {ok, 7} = py:call(One, probe, set_here, [7]),
                ?assertEqual({{ok, 7}, {ok, 0}},
                             {py:call(One, probe, get_here, []), py:call(Two, probe, get_here, [])}),
                ?assertEqual(py:call(One, probe, pid, []), py:call(Two, probe, pid, []))
            end)
    end.

%% Proves that an unknown mode is refused in both forms.
unknown_mode(_) ->
    Name = py_test:unique(pool),
    ?assertEqual({error, {invalid_mode, bogus}}, py_context_router:start_pool(Name, 1, bogus)),
    ?assertEqual({error, {invalid_mode, bogus}}, py_context_router:start_pool(Name, 1, #{mode => bogus})),
    ?assertNot(py_context_router:pool_started(Name)).

%% Proves that an option nobody knows is refused by its name.
unknown_option(_) ->
    ?assertEqual({error, {bad_option, colour}},
                 py_context_router:start_pool(py_test:unique(pool), 1, #{colour => red})).

%% Proves that values of the wrong type or range are refused, naming the option.
values_out_of_range(_) ->
    _ = [begin
             {error, Reason} = py_context_router:start_pool(py_test:unique(pool), 1, #{Key => Value}),
             ?assertNotEqual({Key, Reason, nomatch},
                             {Key, Reason, string:find(io_lib:format("~p", [Reason]), atom_to_list(Key))})
         end
         || {Key, Value} <- [{nice, 20}, {nice, -1}, {nice, high}, {memory_limit, -1}, {memory_limit, lots},
                             {hard_timeout_grace, -5}, {hard_timeout_grace, soon}, {max_requests, 0},
                             {isolation, none_at_all}, {sandbox, 'maybe'}, {imports, json}, {paths, 5}, {env, [1]},
                             {preload, 5}]],
    ok.

%% Proves that paths come first in sys.path, in their order, and that modules in them are found.
paths_come_first(_) ->
    [One, Two] = [new_directory() || _ <- [1, 2]],
    ok = file:write_file(filename:join(One, "in_the_path.py"), <<"where = 'one'\ndef get():\n    return where\n">>),
    ok = file:write_file(filename:join(Two, "in_the_path.py"), <<"where = 'two'\ndef get():\n    return where\n">>),
    py_test:with_pool(1, #{paths => [Two, One]}, fun(Pool) ->
        ?assertEqual({ok, <<"two">>}, py:call(Pool, in_the_path, get, [])),
        {ok, Path} = py:eval(py_context_router:get_context(Pool), <<"__import__('sys').path">>),
        ?assertEqual([list_to_binary(D) || D <- [Two, One]], lists:sublist(Path, 2))
    end).

%% Proves that imports are there before the first call.
imports_are_loaded(_) ->
    py_test:with_pool(1, #{imports => [wave, <<"html.parser">>]}, fun(Pool) ->
        Ctx = py_context_router:get_context(Pool),
        ?assertEqual({ok, [true, true, false]},
                     py:eval(Ctx, <<"[n in __import__('sys').modules for n in ('wave', 'html.parser', 'chunk')]">>))
    end).

%% Proves that a module that cannot be imported fails the start with its name.
failing_import(_) ->
    failing_start(#{imports => [no_such_module_here]}, ["no_such_module_here"]).

%% Proves that preload code runs in every context before its first call.
preload_runs_in_every_context(_) ->
    Preload = <<"import math\ndef from_preload():\n    return math.floor(2.5)\n">>,
    py_test:with_pool(2, #{preload => Preload}, fun(Pool) ->
        _ = [begin
                 ?assertEqual({ok, 2}, py:call(Ctx, '__main__', from_preload, [])),
                 ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"from_preload()">>))
             end || Ctx <- py_test:contexts(Pool)],
        ok
    end).

%% Proves that preload code that fails fails the start with Python's error, and leaves nothing behind.
failing_preload(_) ->
    failing_start(#{preload => <<"value = 1\nvalue / 0\n">>}, ["ZeroDivisionError", "division by zero"]),
    failing_start(#{preload => <<"def broken(:\n">>}, ["SyntaxError"]),
    case py:subinterp_supported() of
        true -> failing_start(#{mode => owngil, preload => <<"1 / 0">>}, ["ZeroDivisionError"]);
        false -> ok
    end,
    ?assertEqual({ok, 1}, py:call(probe, echo, [1])).

failing_start(Opts, Parts) ->
    Name = py_test:unique(pool),
    {error, Reason} = py_context_router:start_pool(Name, 1, Opts),
    Text = io_lib:format("~tp", [Reason]),
    _ = [?assertNotEqual({Text, nomatch}, {Text, string:find(Text, Part)}) || Part <- Parts],
    ?assertNot(py_context_router:pool_started(Name)),
    ?assertEqual({error, {no_such_pool, Name}}, py:call(Name, math, sqrt, [1])).

%% Proves the same of one context's own preload.
failing_preload_of_a_context(_) ->
    process_flag(trap_exit, true),
    {error, Reason} = py_context:new(#{preload => <<"1 / 0">>}),
    ?assertNotEqual(nomatch, string:find(io_lib:format("~tp", [Reason]), "ZeroDivisionError")),
    py_test:with_context(#{}, fun(Ctx) -> ?assertEqual({ok, 1}, py:call(Ctx, probe, echo, [1])) end).

%% Proves the order: paths, then imports, then the pool's preload.
order_of_start(_) ->
    Dir = new_directory(),
    ok = file:write_file(filename:join(Dir, "step_of_start.py"), <<"steps = ['import']\n">>),
    Opts = #{paths => [Dir], imports => [step_of_start],
             preload => <<"import sys\nsys.modules['step_of_start'].steps.append('preload')\n">>},
    py_test:with_pool(1, Opts, fun(Pool) ->
        ?assertEqual({ok, [<<"import">>, <<"preload">>]},
                     py_context:eval(py_context_router:get_context(Pool), <<"sys.modules['step_of_start'].steps">>))
    end).

%% Proves that env sets variables of the pool's process and of no other.
environment_variables(_) ->
    Opts = #{env => [{"PY_TEST_ONE", "1"}, {<<"PY_TEST_TWO">>, <<"zwei ü"/utf8>>}]},
    py_test:with_pool(1, Opts, fun(Pool) ->
        Get = fun(P, Name) -> py:call(P, os, getenv, [Name]) end,
        ?assertEqual([{ok, <<"1">>}, {ok, <<"zwei ü"/utf8>>}],
                     [Get(Pool, N) || N <- [<<"PY_TEST_ONE">>, <<"PY_TEST_TWO">>]]),
        ?assertEqual({ok, none}, Get(default, <<"PY_TEST_ONE">>))
    end).

%% Proves that a variable that no process can have is refused, and the sentence names it and keeps its value to itself.
environment_variables_that_cannot_be(_) ->
    Secret = "VERY_SECRET",
    _ = [begin
        Env = [{"GOOD", Secret}, Wrong],
        {error, Reason = {bad_option, env, Env}} = py_context_router:start_pool(py_test:unique(pool), 1, #{env => Env}),
        Sentence = py_error:format_error(Reason),
        ?assertNotEqual({Named, nomatch}, {Named, string:find(Sentence, Named)}),
        ?assertEqual(nomatch, string:find(Sentence, Secret)),
        ?assertEqual(nomatch, string:find(Sentence, "GOOD")),
        %% What is printed of it is text.
        ?assert(is_list(unicode:characters_to_list(Sentence)))
    end || {Wrong, Named} <- [{{"LATIN", <<"caf", 233>>}, "LATIN"}, {{"A=B", Secret}, "A=B"}, {{"NUL", [$a, 0]}, "NUL"},
                              {{<<"NUL">>, <<0>>}, "NUL"}, {{"NO\0", Secret}, "NO"}, {{"", Secret}, "name"},
                              {{"NUMBER", 5}, "NUMBER"}, {{"A=", false}, "A="}, {plain, "no pair"}, {{1, Secret}, "no pair"}]],
    ?assertMatch({error, {bad_option, env, _}}, py_context:new(#{env => [{"A=B", "x"}]})).

%% Proves that the error of a start with a wrong PYTHONHOME names the variable and its value.
home_of_python(_) ->
    {error, Reason} = py_context_router:start_pool(py_test:unique(pool), 1, #{env => [{"PYTHONHOME", "/no/such/home"}]}),
    _ = [?assertNotEqual({Part, nomatch}, {Part, string:find(py_error:format_error(Reason), Part)})
         || Part <- ["PYTHONHOME", "/no/such/home"]],
    ok.

%% Proves that cwd is the working directory of the pool's process.
working_directory(_) ->
    Dir = new_directory(),
    py_test:with_pool(1, #{cwd => Dir}, fun(Pool) ->
        {ok, Real} = py:call('os.path', realpath, [list_to_binary(Dir)]),
        ?assertEqual({ok, Real}, py:call(Pool, os, getcwd, []))
    end).

%% Proves that a working directory that is not there fails the start.
missing_working_directory(_) ->
    ?assertEqual({error, <<"cwd /no/such/directory is not a directory (pool option cwd)">>},
                 py_context_router:start_pool(py_test:unique(pool), 1, #{cwd => "/no/such/directory"})).

%% Proves that nice lowers the priority of the pool's process.
niceness(_) ->
    {ok, Before} = py:eval(<<"__import__('os').nice(0)">>),
    py_test:with_pool(1, #{nice => 5}, fun(Pool) ->
        ?assertEqual({ok, min(19, Before + 5)}, py:call(Pool, os, nice, [0]))
    end).

%% Proves that a pool in a virtual environment has its prefix, its executable and its packages.
virtual_environment(_) ->
    Dir = py_test:temp_file("venv"),
    {ok, none} = py:call(venv, create, [list_to_binary(Dir)], #{symlinks => true}),
    [Site] = filelib:wildcard(filename:join(Dir, "lib/python*/site-packages")),
    ok = file:write_file(filename:join(Site, "only_in_venv.py"), <<"def get():\n    return 'found'\n">>),
    py_test:with_pool(1, #{venv => Dir}, fun(Pool) ->
        Ctx = py_context_router:get_context(Pool),
        ?assertEqual({ok, <<"found">>}, py:call(Pool, only_in_venv, get, [])),
        ?assertEqual({ok, list_to_binary(Dir)}, py:eval(Ctx, <<"__import__('sys').prefix">>)),
        {ok, Executable} = py:eval(Ctx, <<"__import__('sys').executable">>),
        ?assertEqual(list_to_binary(Dir), binary:part(Executable, 0, length(Dir)))
    end),
    _ = file:del_dir_r(Dir),
    ok.

%% Proves that a virtual environment that is not there fails the start and is named.
missing_virtual_environment(_) ->
    {error, Reason} = py_context_router:start_pool(py_test:unique(pool), 1, #{venv => "/no/such/venv"}),
    ?assertNotEqual(nomatch, string:find(io_lib:format("~tp", [Reason]), "/no/such/venv")).

%% Proves that python sets the interpreter that sys.executable names.
python_option(_) ->
    {ok, Executable} = py:eval(<<"__import__('sys').executable">>),
    py_test:with_pool(1, #{python => Executable}, fun(Pool) ->
        ?assertEqual({ok, Executable}, py:eval(py_context_router:get_context(Pool), <<"__import__('sys').executable">>))
    end).

%% Proves that sys.executable is a Python and not the port program.
executable_is_python(_) ->
    {ok, Executable} = py:eval(<<"__import__('sys').executable">>),
    {ok, Version} = py:eval(<<"'.'.join(map(str, __import__('sys').version_info[:3]))">>),
    Program = "import sys; print(\".\".join(map(str, sys.version_info[:3])))",
    Printed = os:cmd(binary_to_list(Executable) ++ " -c '" ++ Program ++ "'"),
    ?assertEqual(binary_to_list(Version), string:trim(Printed)).

%% Proves that isolation => context gives each context an OS process.
isolation_by_context(_) ->
    py_test:with_pool(3, #{isolation => context}, fun(Pool) ->
        Pids = [py_test:os_pid(Ctx) || Ctx <- py_test:contexts(Pool)],
        ?assertEqual({3, 3}, {length(Pids), length(lists:usort(Pids))}),
        ?assertEqual([{ok, N} || N <- lists:seq(1, 20)],
                     [py_test:in_process(fun() -> py:call(Pool, probe, echo, [N]) end) || N <- lists:seq(1, 20)])
    end).

%% Proves that such a pool honours the other options, and fails as one.
isolation_by_context_with_preload(_) ->
    py_test:with_pool(2, #{isolation => context, preload => <<"n = 5">>}, fun(Pool) ->
        ?assertEqual([{ok, 5}, {ok, 5}], [py_context:eval(Ctx, <<"n">>) || Ctx <- py_test:contexts(Pool)])
    end),
    failing_start(#{isolation => context, preload => <<"1 / 0">>}, ["ZeroDivisionError"]).

%% Proves that max_requests replaces the process from time to time without losing a call.
max_requests_replaces_without_a_lost_call(_) ->
    py_test:with_pool(1, #{max_requests => 20}, fun(Pool) ->
        First = py_test:os_pid(Pool),
        Jobs = [py_test:async(fun() -> calls_until_replaced(Pool, First) end) || _ <- lists:seq(1, 8)],
        _ = [?assertEqual(ok, py_test:join(Job)) || Job <- Jobs],
        py_test:eventually(fun() -> not py_test:alive(First) end)
    end).

calls_until_replaced(Pool, First) ->
    case py:call(Pool, probe, pid, []) of
        {ok, First} -> calls_until_replaced(Pool, First);
        {ok, _} -> ok
    end.

%% Proves that os.fork and os.exec, which would double or replace the pool's process, are refused in Python.
fork_is_refused(_) ->
    Before = py_test:os_pid(default),
    ?assertMatch({error, {_, _}}, py:call(os, fork, [])),
    ?assertMatch({error, {_, _}}, py:call(os, execv, [<<"/bin/true">>, [<<"true">>]])),
    ?assertEqual(Before, py_test:os_pid(default)).

%% Proves that child processes made by subprocess and multiprocessing's spawn work.
subprocesses_work(_) ->
    ?assertEqual({ok, <<"hi\n">>}, py:call(subprocess, check_output, [[<<"echo">>, <<"hi">>]])),
    ?assertEqual({ok, <<"hi\n">>}, py:call(subprocess, check_output, [<<"echo hi">>], #{shell => true, text => true})),
    ok = py:exec(<<"import multiprocessing as mp, operator\n"
                   "def run():\n"
                   "    with mp.get_context('spawn').Pool(1) as pool:\n"
                   "        return pool.apply(operator.add, (1, 2))\n">>),
    ?assertEqual({ok, 3}, py:call('__main__', run, [], #{}, 60000)).

%% Proves that texts in options may be strings or binaries.
option_values_as_strings_and_binaries(_) ->
    Dir = new_directory(),
    _ = [py_test:with_pool(1, Opts, fun(Pool) ->
             ?assertEqual({ok, 3}, py:call(Pool, '__main__', three, []))
         end)
         || Opts <- [#{preload => "def three():\n    return 3\n", cwd => list_to_binary(Dir), paths => [Dir]},
                     #{preload => <<"def three():\n    return 3\n">>, cwd => Dir, paths => [list_to_binary(Dir)]}]],
    ok.

new_directory() ->
    Dir = py_test:temp_file("dir"),
    ok = filelib:ensure_dir(filename:join(Dir, "x")),
    Dir.
