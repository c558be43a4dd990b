%% @doc The pool option `sandbox': its rules checked one by one, what of them goes to the port program, and what the port
%% program says of it. What the rules mean is written in docs/pools.md, and what enforces them is in port/sandbox.
-module(py_sandbox).

-include_lib("kernel/include/logger.hrl").

-export([option/1, level/1, rules/1, restricts_late/1, start_error/1, note_confined/3]).

-export_type([sandbox/0, rules/0]).

%% `kernel' and maps are brought into the form of a whole map.
-type sandbox() :: off | default | strict | rules().
-type rules() :: #{
    read := all | [binary()],
    write := [binary()],
    net := none | [{connect | bind, inet:port_number()}],
    exec := none | [binary()],
    processes := non_neg_integer() | infinity
}.

-define(KERNEL, #{read => all, write => [], net => none, exec => none, processes => infinity}).

%% @doc A value of the option in the form of {@link sandbox()}, or what is wrong with it.
-spec option(term()) -> {ok, sandbox()} | bad | {error, term()}.
option(Level) when Level =:= off; Level =:= default; Level =:= strict -> {ok, Level};
option(kernel) -> {ok, ?KERNEL};
option(Rules) when is_map(Rules) -> fold(maps:to_list(Rules), ?KERNEL);
option(Rules) when is_list(Rules) ->
    try py_args:map(sandbox, Rules) of
        Map -> option(Map)
    catch
        error:{bad_argument, _, _} -> bad
    end;
option(_) -> bad.

fold([], #{exec := none, processes := Processes}) when is_integer(Processes), Processes > 0 ->
    wrong({processes, Processes, exec_is_none});
fold([], Rules) ->
    {ok, Rules};
fold([{Key, Value} | Rest], Rules) ->
    case rule(Key, Value) of
        {ok, Checked} -> fold(Rest, Rules#{Key => Checked});
        default -> fold(Rest, Rules);
        unknown -> wrong(Key);
        bad -> wrong({Key, Value});
        {bad, Path, Why} -> wrong({Key, Path, Why})
    end.

wrong(What) -> {error, {bad_option, sandbox, What}}.

rule(read, all) -> {ok, all};
rule(read, Paths) -> paths(Paths);
rule(write, Paths) -> paths(Paths);
rule(net, none) -> {ok, none};
rule(net, Ports) when is_list(Ports) ->
    case [Port || Port <- Ports, not is_tcp_port(Port)] of
        [] -> {ok, Ports};
        [_ | _] -> bad
    end;
rule(net, _) -> bad;
rule(exec, none) -> {ok, none};
rule(exec, Paths) -> paths(Paths);
rule(processes, infinity) -> {ok, infinity};
rule(processes, N) when is_integer(N), N >= 0, N =< 16#7fffffff -> {ok, N};
rule(processes, _) -> bad;
rule(syscalls, default) -> default;
rule(syscalls, _) -> bad;
rule(_, _) -> unknown.

is_tcp_port({What, Port}) when What =:= connect; What =:= bind -> is_integer(Port) andalso Port >= 0 andalso Port =< 65535;
is_tcp_port(_) -> false.

%% The port program may run in another directory (pool option cwd), so paths are absolute.
paths(Paths) when is_list(Paths) ->
    try [path(Path) || Path <- Paths] of
        Checked -> {ok, Checked}
    catch
        throw:{bad, _, _} = Bad -> Bad
    end;
paths(_) ->
    bad.

path(Path) when is_binary(Path); is_list(Path) ->
    Text = try unicode:characters_to_binary(Path)
           catch error:badarg -> error
           end,
    is_binary(Text) andalso Text =/= <<>> andalso binary:match(Text, <<0>>) =:= nomatch orelse throw({bad, Path, not_a_path}),
    filename:pathtype(Text) =:= absolute orelse throw({bad, Path, not_absolute}),
    case file:read_file_info(Text) of
        {ok, _} -> Text;
        {error, Why} -> throw({bad, Path, Why})
    end;
path(Path) ->
    throw({bad, Path, not_a_path}).

%% @doc The number of the level in INIT.
-spec level(sandbox()) -> 0..3.
level(off) -> 0;
level(default) -> 1;
level(strict) -> 2;
level(Rules) when is_map(Rules) -> 3.

%% @doc What INIT has besides the level.
-spec rules(sandbox()) -> #{sandbox_rules => rules()}.
rules(Rules) when is_map(Rules) -> #{sandbox_rules => Rules};
rules(_) -> #{}.

%% @doc Whether the port process must be told RESTRICT when its contexts have started.
-spec restricts_late(sandbox()) -> boolean().
restricts_late(Sandbox) -> is_map(Sandbox).

%% @doc The reason why a port process did not start, as users see it.
-spec start_error(term()) -> term().
start_error(<<"sandbox_unavailable: seccomp">>) -> {sandbox_unavailable, seccomp};
start_error(<<"sandbox_unavailable: landlock">>) -> {sandbox_unavailable, landlock};
start_error(Reason) -> Reason.

%% @doc Says, once in the life of the node, that the kernel does not keep signals inside.
-spec note_confined(atom(), sandbox(), map()) -> ok.
note_confined(_Pool, off, _Info) ->
    ok;
note_confined(Pool, _Sandbox, Info) ->
    Known = lists:member(signals, maps:get(confined, Info, [])) orelse persistent_term:get(?MODULE, unsaid) =:= said,
    case Known of
        true ->
            ok;
        false ->
            persistent_term:put(?MODULE, said),
            ?LOG_WARNING("pool ~ts: signals are not confined: this kernel has no Landlock with signal scopes (Linux 6.12 and "
                         "later), so Python may signal any process of its user (pool option sandbox)",
                         [Pool], #{pool => Pool})
    end.
