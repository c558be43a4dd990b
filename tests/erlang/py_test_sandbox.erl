%% What the sandbox suites share: native code that makes system calls, operations that must be refused, and whether this
%% kernel has what a level needs.
-module(py_test_sandbox).

-include_lib("stdlib/include/assert.hrl").

-export([native/0, with/3, needs/2, refused/2, succeed/2, directory/0]).

%% The directory of the module `rawcall', built from native/rawcall.c, or why there is none.
-spec native() -> {ok, file:filename()} | {skip, string()}.
native() ->
    Directory = directory(),
    Source = filename:join([filename:dirname(py_test:python_modules()), "native", "rawcall.c"]),
    Include = os:cmd([os:getenv("ERLANG_PYTHON_TEST_PYTHON", "python3"),
                      " -c 'import sysconfig; print(sysconfig.get_paths()[\"include\"], end=\"\")'"]),
    Output = filename:join(Directory, "rawcall.so"),
    case os:find_executable("cc") of
        false ->
            {skip, "no C compiler: hostile native code cannot be tried"};
        Compiler ->
            Said = os:cmd([Compiler, " -shared -fPIC -w -I'", Include, "' -o '", Output, "' '", Source, "'"]),
            case filelib:is_file(Output) of
                true -> {ok, Directory};
                false -> {skip, "native code cannot be built: " ++ Said}
            end
    end.

%% A new directory of its own for a suite or a case.
-spec directory() -> file:filename().
directory() ->
    Directory = filename:join("/tmp", "erlang_python_sandbox_" ++ os:getpid() ++ "_"
                              ++ integer_to_list(erlang:unique_integer([positive]))),
    ok = file:make_dir(Directory),
    Directory.

%% Runs Fun with the only context of a pool with these options.
-spec with(term(), map(), fun((pid()) -> R)) -> R.
with(Sandbox, Options, Fun) ->
    Pool = list_to_atom("sandboxed_" ++ integer_to_list(erlang:unique_integer([positive]) rem 50)),
    {ok, [Ctx]} = py_context_router:start_pool(Pool, 1, Options#{sandbox => Sandbox}),
    try Fun(Ctx)
    after ok = py_context_router:stop_pool(Pool)
    end.

%% The configuration, or for Common Test to skip: this kernel does not have what the level is made of.
-spec needs(term(), Config) -> Config | {skip, string()}.
needs(Sandbox, Config) ->
    case py_context_router:start_pool(sandbox_probe, 1, #{sandbox => Sandbox}) of
        {ok, _} ->
            ok = py_context_router:stop_pool(sandbox_probe),
            Config;
        {error, {sandbox_unavailable, What}} ->
            {skip, lists:flatten(io_lib:format("this kernel cannot do it: ~tp", [What]))}
    end.

%% Every one of the pieces of code raises PermissionError.
-spec refused(pid(), [{atom(), iodata()}]) -> ok.
refused(Ctx, Codes) ->
    Outcomes = [{Name, py:exec(Ctx, iolist_to_binary(["import os, socket, subprocess, signal, sys, fcntl, resource\n", Code]))}
                || {Name, Code} <- Codes],
    ?assertEqual([], [Outcome || {_, Result} = Outcome <- Outcomes, not is_refusal(Result)]).

is_refusal({error, {'PermissionError', _}}) -> true;
is_refusal(_) -> false.

%% Every one of the pieces of code runs.
-spec succeed(pid(), [{atom(), iodata()}]) -> ok.
succeed(Ctx, Codes) ->
    Outcomes = [{Name, py:exec(Ctx, iolist_to_binary(["import os, socket, subprocess, signal, sys, threading\n", Code]))}
                || {Name, Code} <- Codes],
    ?assertEqual([], [Outcome || {_, Result} = Outcome <- Outcomes, Result =/= ok]).
