%% @doc How a port program is started: its arguments, its environment, and how the emulator passes on what it writes.
-module(py_port_program).

-export([program/1, open/2, failure/2]).

-export_type([program/0]).

-type program() :: #{pool := atom(), executable := file:filename_all(), env := [{string(), string() | false}],
                     cwd := binary() | none}.

%% What the dynamic loader ends with when a library is not there.
-define(LOADER_STATUS, 127).
-define(LOADER_MS, 5000).
%% What is said of one that was gone before its INIT was written, whose exit status the emulator does not tell.
-define(UNKNOWN, {signal, sigkill}).

-spec program(py_port:options()) -> program().
program(Options) ->
    maps:with([pool, executable, env, cwd], Options).

%% @doc The calling process owns the port.
-spec open(py_port:options(), py_kill:mark()) -> {ok, port()} | {error, term()}.
open(#{cwd := Cwd} = Options, Mark) ->
    %% The emulator's own answer would be a line on the node's standard error and the exit status 2.
    case Cwd =:= none orelse filelib:is_dir(Cwd) of
        true -> opened(program(Options), Mark);
        false -> {error, <<"cwd ", Cwd/binary, " is not a directory (pool option cwd)">>}
    end.

opened(Program = #{pool := Pool}, Mark) ->
    %% OTP issue 11052: the default limits on the port's message queue can leave it busy for ever.
    run(Program, [native(atom_to_list(Pool)), integer_to_list(Mark)],
        [stream, {busy_limits_port, {262144, 524288}}, {busy_limits_msgq, disabled}]).

run(#{executable := Executable, env := Env, cwd := Cwd}, Args, Settings) ->
    try
        {ok, open_port({spawn_executable, Executable}, [
            binary, exit_status, eof, use_stdio, hide, {args, Args},
            {env, [{native(Name), native(Value)} || {Name, Value} <- Env]} | [{cd, Cwd} || Cwd =/= none] ++ Settings])}
    catch
        error:Reason -> {error, {port_program, Executable, Reason}}
    end.

%% @doc Why a program that has ended before it was ready has: of one that could not be loaded, what the loader says. That is on
%% the standard error of the node, for its own is captured only when it runs.
-spec failure(py_port:why(), none | program()) -> py_port:why().
failure(Why, Program) when is_map(Program), (Why =:= {exit_status, ?LOADER_STATUS} orelse Why =:= ?UNKNOWN) ->
    case run(Program, ["--version"], [stderr_to_stdout]) of
        {ok, Port} ->
            case complaint(Port, []) of
                <<>> -> Why;
                Text -> {start_failed, <<Text/binary, " (docs/getting-started.md, Releases)">>}
            end;
        {error, _} ->
            Why
    end;
failure(Why, _Program) ->
    Why.

complaint(Port, Said) ->
    receive
        {Port, {data, Bytes}} -> complaint(Port, [Said, Bytes]);
        {Port, eof} -> complaint(Port, Said);
        {Port, {exit_status, ?LOADER_STATUS}} -> string:trim(iolist_to_binary(Said));
        {Port, {exit_status, _}} -> <<>>
    after ?LOADER_MS ->
        <<>>
    end.

%% What makes open_port hand out UTF-8, which Python expects, also where the locale made the node count in Latin-1.
native(Text) when is_list(Text) ->
    case file:native_name_encoding() of
        latin1 -> binary_to_list(unicode:characters_to_binary(Text));
        utf8 -> Text
    end;
native(false) -> false.
