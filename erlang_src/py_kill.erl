%% @doc SIGKILL for all processes of a port program: its keepers, Python, and whatever Python has started. The port
%% program itself sends it (`--kill'), so that a release needs neither a shell nor `kill'.
-module(py_kill).

-export([mark/0, target/2, keeper/1, python/2, is_whole/2, is_running/1, all/1, all_later/1]).

-export_type([mark/0, target/0]).

%% A number that all processes of a pool carry (port/runtime/process_tree.h). A process number would not do: it is
%% somebody else's soon after its process has died, and children outlive their parents.
-type mark() :: pos_integer().
-type target() :: {Keeper :: none | pos_integer(), mark()}.

%% A port program that is told to leave flushes what its Python has buffered first.
-define(GRACE_MS, 1000).
-define(MAX_MARK, (1 bsl 61 - 1)).

%% @doc A mark that nobody else has; the second argument of the port program.
-spec mark() -> mark().
mark() ->
    <<N:61, _:3>> = rand:bytes(8),
    max(1, min(?MAX_MARK, N)).

%% @doc What `all/1' needs to know about the port program that was started with this mark.
-spec target(port(), mark()) -> target().
target(Port, Mark) ->
    case erlang:port_info(Port, os_pid) of
        {os_pid, Keeper} -> {Keeper, Mark};
        undefined -> {none, Mark}
    end.

%% @doc The process that the node has started: the outer of two keepers.
-spec keeper(target()) -> none | pos_integer().
keeper({Keeper, _Mark}) ->
    Keeper.

%% @doc The process that says that it is Python, if it is one of ours: the child of the child of the keeper.
-spec python(term(), target()) -> none | pos_integer().
python(OsPid, {Keeper, _Mark}) when is_integer(OsPid), OsPid > 0, is_integer(Keeper) ->
    case parent(parent(OsPid)) of
        Keeper -> OsPid;
        _ -> none
    end;
python(_OsPid, _Target) ->
    none.

parent(none) ->
    none;
parent(OsPid) ->
    case stat(OsPid) of
        {_State, Parent} -> Parent;
        _ -> none
    end.

%% @doc Whether the processes that a port program needs are there: its keeper, and Python if its number is known.
-spec is_whole(target(), Python :: none | pos_integer()) -> boolean().
is_whole({Keeper, _Mark}, Python) ->
    %% Where there is no /proc nobody knows.
    stat("self") =:= gone orelse lists:all(fun is_running/1, [OsPid || OsPid <- [Keeper, Python], OsPid =/= none]).

%% @doc Whether there is such a process. One that has ended and was not waited for is none.
-spec is_running(pos_integer()) -> boolean().
is_running(OsPid) ->
    case stat(OsPid) of
        gone -> false;
        {State, _} -> State =/= <<"Z">>;
        unknown -> true
    end.

stat(OsPid) when is_integer(OsPid) ->
    stat(integer_to_list(OsPid));
stat(Name) ->
    %% Raw: without the file server, which somebody may keep busy.
    case file:open(["/proc/", Name, "/stat"], [raw, read, binary]) of
        {ok, File} ->
            Read = file:read(File, 1024),
            ok = file:close(File),
            case Read of
                {ok, Stat} -> fields(Stat);
                _ -> gone
            end;
        {error, Gone} when Gone =:= enoent; Gone =:= esrch ->
            gone;
        {error, _} ->
            unknown
    end.

fields(Stat) ->
    %% The name, in parentheses, may hold anything; state and parent follow it.
    [_, After] = string:split(Stat, <<") ">>, trailing),
    [State, Parent | _] = binary:split(After, <<" ">>, [global]),
    {State, binary_to_integer(Parent)}.

%% @doc Kills them now; also what a dead port program left behind.
-spec all(target()) -> ok.
all(Target) ->
    after_ms(0, Target).

%% @doc Kills what has not left by itself in a second.
-spec all_later(target()) -> ok.
all_later(Target) ->
    after_ms(?GRACE_MS, Target).

after_ms(Ms, {none, Mark}) ->
    after_ms(Ms, {0, Mark});
after_ms(Ms, {Keeper, Mark}) ->
    _ = spawn(fun() ->
        receive after Ms -> ok end,
        Port = open_port({spawn_executable, py_config:executable()},
                         [{args, ["--kill", integer_to_list(Keeper), integer_to_list(Mark)]}, exit_status, hide]),
        %% It would die with the process that opened it.
        receive
            {Port, {exit_status, _}} -> ok
        end
    end),
    ok.
