%% Information about the node's Python: versions, modes, sizes, memory, reloading.
-module(info_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 1}}].

all() ->
    [version, execution_mode, subinterp_supported, num_executors, memory_stats, gc, gc_of_a_generation, tracemalloc,
     reload, reload_of_a_module_that_is_not_there, python_package, stub_of_the_builtin_module,
     classes_of_the_builtin_module].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) ->
    ok = py_test:stop(),
    py_test:remove_temp_files().

%% Proves that what type checkers see of the module _erlang is what there is.
stub_of_the_builtin_module(_) ->
    {ok, Differences} = py:call(stubs, differences, []),
    ?assertEqual([], lists:append(Differences)).

%% Proves that the collector sees the classes that the module _erlang owns: otherwise each interpreter that ends leaves all of its memory.
classes_of_the_builtin_module(_) ->
    ok = py:exec("import _erlang, gc"),
    {ok, Seen} = py:eval("sorted(c.__name__ for c in gc.get_referents(_erlang) if isinstance(c, type) and c.__module__ == '_erlang')"),
    ?assertEqual([<<"Origin">>, <<"Steps">>, <<"Ticket">>], Seen).

%% Proves that version is that of the Python that runs the calls.
version(_) ->
    {ok, Version} = py:version(),
    {ok, Sys} = py:eval(<<"__import__('sys').version">>),
    {ok, Short} = py:call(platform, python_version, []),
    ?assert(Version =:= Sys orelse Version =:= Short).

%% Proves that execution_mode is the mode of the environment.
execution_mode(_) ->
    ?assertEqual(worker, py:execution_mode()).

%% Proves that subinterp_supported is true exactly from Python 3.13 on.
subinterp_supported(_) ->
    {ok, Since} = py:eval(<<"__import__('sys').version_info[:2] >= (3, 13)">>),
    ?assertEqual(Since, py:subinterp_supported()).

%% Proves that num_executors is the size of the default pool.
num_executors(_) ->
    ?assertEqual(py_context_router:num_contexts(default), py:num_executors()),
    ?assertEqual(2, py:num_executors()).

%% Proves that memory_stats has the fields of the contract.
memory_stats(_) ->
    {ok, Stats} = py:memory_stats(),
    ?assertMatch(#{gc_stats := [_, _, _], gc_count := _, gc_threshold := _}, Stats),
    ?assertEqual({3, 3}, {tuple_or_list_size(maps:get(gc_count, Stats)),
                          tuple_or_list_size(maps:get(gc_threshold, Stats))}).

%% Proves that gc collects cycles and tells how many objects it found.
gc(_) ->
    ok = py:exec(<<"for _ in range(50):\n    ring = []\n    ring.append(ring)\ndel ring">>),
    {ok, Collected} = py:gc(),
    ?assert(is_integer(Collected) andalso Collected >= 0),
    {ok, Again} = py:gc(),
    ?assert(is_integer(Again)).

%% Proves that one generation can be collected, and that others than 0, 1, 2 are refused.
gc_of_a_generation(_) ->
    _ = [?assertMatch({ok, N} when is_integer(N), py:gc(Generation)) || Generation <- [0, 1, 2]],
    ?assertMatch({error, _}, try py:gc(7) catch error:Reason -> {error, Reason} end).

%% Proves that tracemalloc can be switched on and off, and shows in memory_stats meanwhile.
tracemalloc(_) ->
    ok = py:tracemalloc_start(),
    {ok, On} = py:memory_stats(),
    ok = py:tracemalloc_stop(),
    {ok, Off} = py:memory_stats(),
    ?assert(length(maps:keys(On)) > length(maps:keys(Off))),
    ok = py:tracemalloc_start(5),
    ok = py:tracemalloc_stop().

%% Proves that reload brings the new text of a module into every context of the default pool.
reload(_) ->
    Dir = py_test:temp_file("reload"),
    File = filename:join(Dir, "reloaded_module.py"),
    ok = filelib:ensure_dir(File),
    ok = file:write_file(File, <<"def get():\n    return 'old'\n">>),
    Contexts = py_context_router:contexts(),
    _ = [ok = py:exec(Ctx, <<"import sys\nsys.dont_write_bytecode = True\nsys.path.append('",
                             (list_to_binary(Dir))/binary, "')">>) || Ctx <- Contexts],
    _ = [?assertEqual({ok, <<"old">>}, py:call(Ctx, reloaded_module, get, [])) || Ctx <- Contexts],
    ok = file:write_file(File, <<"def get():\n    return 'new text'\n">>),
    ok = py:reload(reloaded_module),
    _ = [?assertEqual({ok, <<"new text">>}, py:call(Ctx, reloaded_module, get, [])) || Ctx <- Contexts],
    _ = file:del_dir_r(Dir),
    ok.

%% Proves that a module that cannot be reloaded is an error that names it, or nothing to do, but no crash.
reload_of_a_module_that_is_not_there(_) ->
    case py:reload(no_such_module_here) of
        ok -> ok;
        {error, Reason} ->
            ?assertNotEqual(nomatch, string:find(io_lib:format("~tp", [Reason]), "no_such_module_here"))
    end.

%% Proves that the package erlang can be imported and refuses names it does not have.
python_package(_) ->
    ok = py:exec(<<"import erlang\nfrom erlang import Atom, Pid, Ref">>),
    ?assertMatch({error, {'AttributeError', _}}, py:eval(<<"erlang.no_such_name_here">>)),
    ?assertMatch({error, {'ImportError', _}}, py:exec(<<"from erlang import no_such_name_here">>)),
    ?assertEqual({ok, false}, py:eval(<<"hasattr(erlang, '__path_hooks__')">>)).

tuple_or_list_size(T) when is_tuple(T) -> tuple_size(T);
tuple_or_list_size(L) when is_list(L) -> length(L).
