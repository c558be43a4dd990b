%% Namespaces: every Erlang process has its own in a context, and it dies with the process.
-module(env_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [looks_like_main, encoding_in_a_comment, processes_do_not_share, processes_do_not_share_in_one_context, contexts_do_not_share,
     main_functions_are_found_first, main_function_that_is_missing, one_process_one_namespace_on_every_path,
     namespace_makes_a_process_stick, shared_namespace, main_falls_back_to_shared, local_env_by_hand,
     local_env_of_caller, nif_compatibility, nif_compatibility_errors, classes_and_globals_work,
     dies_with_its_process, dies_with_a_killed_process, failures_keep_nothing_alive,
     ten_thousand_processes_leave_nothing, many_namespaces_at_once, env_lost_with_its_pool].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

%% Proves that a process's namespace looks like that of a Python program, with the package erlang bound.
looks_like_main(_) ->
    ?assertEqual({ok, <<"__main__">>}, py:eval(<<"__name__">>)),
    ?assertEqual({ok, <<"erlang">>}, py:eval(<<"erlang.__name__">>)),
    ok = py:exec(<<"if __name__ == '__main__':\n    ran_as_main = True">>),
    ?assertEqual({ok, true}, py:eval(<<"ran_as_main">>)),
    ?assertEqual({ok, [none, none, none]}, py:eval(<<"[__doc__, __package__, __spec__]">>)),
    ?assertEqual({ok, <<"BuiltinImporter">>}, py:eval(<<"__loader__.__name__">>)),
    %% What a script's help shows.
    ?assertEqual({ok, false}, py:eval(<<"'Built-in' in __import__('argparse').ArgumentParser(description=__doc__).format_help()">>)).

%% Proves that code is UTF-8, whatever encoding a comment names.
encoding_in_a_comment(_) ->
    [begin
         ok = py:exec(<<"# -*- coding: ", Name/binary, " -*-\nword = 'ü'\n"/utf8>>),
         ?assertEqual({ok, <<"ü"/utf8>>}, py:eval(<<"word">>)),
         ?assertEqual({ok, 1}, py:eval(<<"# coding: ", Name/binary, "\nlen('ü')"/utf8>>))
     end || Name <- [<<"latin-1">>, <<"utf-16">>, <<"no-such-encoding">>]],
    py_test:with_pool(1, #{preload => <<"# coding: latin-1\nword = 'ü'\n"/utf8>>}, fun(Pool) ->
        ?assertEqual({ok, <<"ü"/utf8>>}, py:eval(hd(py_test:contexts(Pool)), <<"word">>))
    end).

%% Proves that two processes do not see each other's names.
processes_do_not_share(_) ->
    ok = py:exec(<<"mine = 'outer'">>),
    py_test:in_process(fun() ->
        ?assertMatch({error, {'NameError', _}}, py:eval(<<"mine">>)),
        ok = py:exec(<<"mine = 'inner'">>),
        ?assertEqual({ok, <<"inner">>}, py:eval(<<"mine">>))
    end),
    ?assertEqual({ok, <<"outer">>}, py:eval(<<"mine">>)).

%% Proves the same for processes in one and the same context, many at once.
processes_do_not_share_in_one_context(_) ->
    Ctx = py:context(1),
    Jobs = [py_test:async(fun() ->
        Code = iolist_to_binary(io_lib:format("number = ~p\ndef get():\n    return number\n", [N])),
        ok = py:exec(Ctx, Code),
        [?assertEqual({{ok, N}, {ok, N}}, {py:eval(Ctx, <<"number">>), py:call(Ctx, '__main__', get, [])})
         || _ <- lists:seq(1, 20)]
    end) || N <- lists:seq(1, 50)],
    _ = [py_test:join(Job) || Job <- Jobs],
    ok.

%% Proves that one process has different namespaces in different contexts.
contexts_do_not_share(_) ->
    [One, Two] = [py:context(N) || N <- [1, 2]],
    ok = py:exec(One, <<"where = 1">>),
    ?assertMatch({error, {'NameError', _}}, py:eval(Two, <<"where">>)),
    ok = py:exec(Two, <<"where = 2">>),
    ?assertEqual({{ok, 1}, {ok, 2}}, {py:eval(One, <<"where">>), py:eval(Two, <<"where">>)}).

%% Proves that '__main__' means the caller's own functions, with the caller's own globals.
main_functions_are_found_first(_) ->
    Define = <<"def who():\n    return name\n">>,
    Jobs = [py_test:async(fun() ->
        ok = py:exec(<<Define/binary, "name = ", (integer_to_binary(N))/binary>>),
        ?assertEqual([{ok, N} || _ <- lists:seq(1, 10)], [py:call('__main__', who, []) || _ <- lists:seq(1, 10)])
    end) || N <- lists:seq(1, 20)],
    _ = [py_test:join(Job) || Job <- Jobs],
    ok.

%% Proves that a function that the caller did not define is an error that names it.
main_function_that_is_missing(_) ->
    py_test:in_process(fun() ->
        {error, {Type, Message}} = py:call('__main__', nobody_defined_this, []),
        ?assert(lists:member(Type, ['AttributeError', 'NameError'])),
        ?assertNotEqual(nomatch, string:find(Message, <<"nobody_defined_this">>))
    end).

%% Proves that a process finds its definitions by call, cast, spawn_call, parallel and eval alike.
one_process_one_namespace_on_every_path(_) ->
    py_test:in_process(fun() ->
        ok = py:exec(<<"def add(a, b=1):\n    return a + b\n">>),
        ?assertEqual({ok, 3}, py:call('__main__', add, [2])),
        ?assertEqual({ok, 5}, py:call('__main__', add, [2], #{b => 3})),
        ?assertEqual({ok, 3}, py:await(py:cast('__main__', add, [2]))),
        ?assertEqual({ok, 3}, py:await(py:spawn_call('__main__', add, [2]))),
        ?assertEqual({ok, [{ok, 3}, {ok, 4}]}, py:parallel([{'__main__', add, [2]}, {'__main__', add, [3]}])),
        ?assertEqual({ok, 3}, py:eval(<<"add(2)">>))
    end).

%% Proves that a process with a namespace stays with its context, while its scheduler changes under load.
namespace_makes_a_process_stick(_) ->
    Jobs = [py_test:async(fun() ->
        ok = py:exec(<<"seen = 0">>),
        {ok, Thread} = py:call(probe, thread, []),
        _ = [begin
                 ok = py:exec(<<"seen += 1">>),
                 erlang:yield(),
                 ?assertEqual({ok, Thread}, py:call(probe, thread, []))
             end || _ <- lists:seq(1, 30)],
        ?assertEqual({ok, 30}, py:eval(<<"seen">>))
    end) || _ <- lists:seq(1, 30)],
    _ = [py_test:join(Job) || Job <- Jobs],
    ok.

%% Proves that py_context without an env uses the context's shared namespace, which all processes see.
shared_namespace(_) ->
    py_test:with_context(#{}, fun(Ctx) ->
        Code = <<"shared = 5\ndef get_shared():\n    return shared\n">>,
        ok = py_test:in_process(fun() -> py_context:exec(Ctx, Code) end),
        ?assertEqual({ok, 5}, py_context:eval(Ctx, <<"shared">>)),
        ?assertEqual({ok, 6}, py_context:eval(Ctx, <<"shared + n">>, #{n => 1})),
        ?assertEqual({ok, 5}, py_context:call(Ctx, '__main__', get_shared, []))
    end).

%% Proves that '__main__' reaches the shared namespace of the context when the caller's own has no such function.
main_falls_back_to_shared(_) ->
    py_test:with_context(#{preload => <<"def preloaded():\n    return 'shared'\n">>}, fun(Ctx) ->
        ?assertEqual({ok, <<"shared">>}, py:call(Ctx, '__main__', preloaded, [])),
        ok = py:exec(Ctx, <<"def preloaded():\n    return 'own'\n">>),
        ?assertEqual({ok, <<"own">>}, py:call(Ctx, '__main__', preloaded, [])),
        ?assertEqual({ok, <<"shared">>}, py_test:in_process(fun() -> py:call(Ctx, '__main__', preloaded, []) end))
    end).

%% Proves that an env made by hand is separate from the shared namespace and from other envs.
local_env_by_hand(_) ->
    py_test:with_context(#{}, fun(Ctx) ->
        {ok, One} = py_context:create_local_env(Ctx),
        {ok, Two} = py_context:create_local_env(Ctx),
        ok = py_context:exec(Ctx, <<"v = 1\ndef get():\n    return v\n">>, One),
        ok = py_context:exec(Ctx, <<"v = 2\ndef get():\n    return v\n">>, Two),
        ?assertEqual({ok, 1}, py_context:eval(Ctx, <<"v">>, #{}, infinity, One)),
        ?assertEqual({ok, 2}, py_context:eval(Ctx, <<"v">>, #{}, infinity, Two)),
        ?assertEqual({ok, 12}, py_context:eval(Ctx, <<"v + n">>, #{n => 10}, infinity, Two)),
        ?assertEqual({ok, 1}, py_context:call(Ctx, '__main__', get, [], #{}, infinity, One)),
        ?assertMatch({error, {'NameError', _}}, py_context:eval(Ctx, <<"v">>))
    end).

%% Proves that get_local_env is the namespace that py:exec of this process uses there.
local_env_of_caller(_) ->
    Ctx = py:context(1),
    py_test:in_process(fun() ->
        ok = py:exec(Ctx, <<"own = 'mine'">>),
        Env = case py:get_local_env(Ctx) of {ok, E} -> E; E -> E end,
        ?assertEqual({ok, <<"mine">>}, py_context:eval(Ctx, <<"own">>, #{}, infinity, Env))
    end).

%% Proves that code written for the NIF library's handles runs.
nif_compatibility(_) ->
    py_test:with_context(#{}, fun(Ctx) ->
        Handle = py_context:get_nif_ref(Ctx),
        {ok, Env} = py_context:create_local_env(Ctx),
        ok = py_nif:context_exec(Handle, <<"def scale(n, by=2):\n    return n * by\nbase = 10\n">>, Env),
        ?assertEqual({ok, 15}, py_nif:context_eval(Handle, <<"base + n">>, #{n => 5}, Env)),
        ?assertEqual({ok, 6}, py_nif:context_call(Handle, <<"__main__">>, <<"scale">>, [3], #{}, Env)),
        ?assertEqual({ok, 9}, py_nif:context_call(Handle, <<"__main__">>, <<"scale">>, [3], #{by => 3}, Env)),
        ?assertEqual({ok, 4.0}, py_nif:context_call(Handle, <<"math">>, <<"sqrt">>, [16], #{}, Env))
    end).

%% Proves that errors have the same shape there.
nif_compatibility_errors(_) ->
    py_test:with_context(#{}, fun(Ctx) ->
        Handle = py_context:get_nif_ref(Ctx),
        {ok, Env} = py_context:create_local_env(Ctx),
        ?assertMatch({error, {'ZeroDivisionError', _}}, py_nif:context_eval(Handle, <<"1 / 0">>, #{}, Env)),
        ?assertMatch({error, {'SyntaxError', _}}, py_nif:context_exec(Handle, <<"def">>, Env)),
        ?assertMatch({error, {'TypeError', _}}, py_nif:context_call(Handle, <<"math">>, <<"sqrt">>, [], #{}, Env))
    end).

%% Proves that what depends on __name__ and on globals works in a namespace: dataclasses, closures, global statements.
classes_and_globals_work(_) ->
    ok = py:exec(<<"from dataclasses import dataclass\n\n@dataclass\nclass P:\n    x: int\n\n"
                   "count = 0\ndef bump():\n    global count\n    count += 1\n    return count\n">>),
    ?assertEqual({ok, #{<<"x">> => 3}}, py:eval(<<"P(3)">>)),
    ?assertEqual([{ok, 1}, {ok, 2}], [py:call('__main__', bump, []) || _ <- [1, 2]]),
    ?assertEqual({ok, 2}, py:eval(<<"count">>)).

%% Proves that the objects of a namespace are freed when its process ends.
dies_with_its_process(_) ->
    nothing_tracked(),
    Keeper = py_test:async(fun() ->
        ok = py:exec(<<"import probe\nkept = probe.Tracked()\nkept.itself = kept">>),
        receive done -> ok end
    end),
    py_test:eventually(fun() -> tracked() =:= 1 end),
    element(1, Keeper) ! done,
    ok = py_test:join(Keeper),
    nothing_tracked().

%% Proves the same of a process that is killed.
dies_with_a_killed_process(_) ->
    {Pid, _} = py_test:async(fun() ->
        ok = py:exec(<<"import probe\nkept = [probe.Tracked() for _ in range(100)]">>),
        receive never -> ok end
    end),
    py_test:eventually(fun() -> tracked() =:= 100 end),
    exit(Pid, kill),
    nothing_tracked().

%% Proves that a failed exec and the Locals of an eval keep nothing alive once their process is gone.
failures_keep_nothing_alive(_) ->
    py_test:in_process(fun() ->
        {error, {'ZeroDivisionError', _}} = py:exec(<<"import probe\nx = probe.Tracked()\n1 / 0">>),
        {ok, 3} = py:eval(<<"(lambda kept: n)(__import__('probe').Tracked())">>, #{n => 3})
    end),
    nothing_tracked().

%% Proves that ten thousand processes with a namespace each leave no object, and no memory that grows with their number.
ten_thousand_processes_leave_nothing(_) ->
    nothing_tracked(),
    OsPid = py_test:os_pid(default),
    short_lives(2000),
    nothing_tracked(),
    Before = py_test:rss(OsPid),
    short_lives(10000),
    nothing_tracked(),
    ?assertEqual(OsPid, py_test:os_pid(default)),
    %% An empty namespace takes a few kilobytes, so that 10 000 that stayed would be far beyond this.
    ?assert(py_test:rss(OsPid) - Before < 16 bsl 20).

short_lives(0) -> ok;
short_lives(Count) ->
    Jobs = [py_test:async(fun() ->
        ok = py:exec(<<"import probe\nkept = probe.Tracked()\ndef f():\n    return kept\ndata = list(range(200))">>)
    end) || _ <- lists:seq(1, 50)],
    _ = [py_test:join(Job) || Job <- Jobs],
    short_lives(Count - 50).

%% Proves that a thousand namespaces live side by side.
many_namespaces_at_once(_) ->
    Parent = self(),
    Keepers = [{N, py_test:async(fun() ->
        ok = py:exec(iolist_to_binary(io_lib:format("me = ~p", [N]))),
        Parent ! {ready, N},
        receive check -> ?assertEqual({ok, N}, py:eval(<<"me">>)) end
    end)} || N <- lists:seq(1, 1000)],
    _ = [receive {ready, N} -> ok end || {N, _} <- Keepers],
    _ = [Pid ! check || {_, {Pid, _}} <- Keepers],
    _ = [py_test:join(Job) || {_, Job} <- Keepers],
    ok.

%% Proves that a process whose namespace went down with its pool gets a fresh one with the next call.
env_lost_with_its_pool(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        Ctx = py_context_router:get_context(Pool),
        ok = py_context_router:bind_context(Ctx),
        ok = py:exec(<<"before = 1">>),
        ok = py_context_router:unbind_context(),
        {error, {context_died, _}} = py:call(Pool, trouble, leave, [0]),
        py_test:eventually(fun() -> element(1, py:call(Pool, probe, echo, [1])) =:= ok end),
        New = py_context_router:get_context(Pool),
        ?assertMatch({error, {'NameError', _}}, py:eval(New, <<"before">>)),
        ok = py:exec(New, <<"after = 2">>),
        ?assertEqual({ok, 2}, py:eval(New, <<"after">>))
    end).

%% Both contexts of the default pool are threads of one interpreter, so either can count for both.
tracked() ->
    {ok, Count} = py:call(probe, tracked_alive, []),
    Count.

nothing_tracked() -> py_test:eventually(fun() -> tracked() =:= 0 end).
