%% tools/bench: runs the groups asked for, and prints every figure beside the floor measured in the same run.
%%
%% Plain arguments (after -extra): here=DIR pypi=DIR echo=PROGRAM flags=TEXT [quick] [pinned] GROUP...
-module(bench).

-export([main/0]).
%% For bench_against.
-export([start/1, conditions/4, value/2]).
-export_type([settings/0]).

-type settings() :: #{
    here := file:filename(),       % the directory of bench_work.py
    pypi := file:filename(),       % where uvloop is, if it can be had
    echo_port := file:filename(),
    python := binary(),            % the interpreter that the product runs
    rounds := pos_integer(),       % each figure is the median of as many
    ms := pos_integer(),           % how long one of them is measured
    slice_ms := pos_integer(),
    idle_ms := pos_integer(),
    contexts := pos_integer(),
    callers := [pos_integer()]
}.

-define(GROUPS, [
    {"latency", fun bench_calls:latency/1},
    {"throughput", fun bench_calls:throughput/1},
    {"limit", fun bench_calls:limit/1},
    {"speedup", fun bench_speedup:speedup/1},
    {"values", fun bench_values:values/1},
    {"callbacks", fun bench_callbacks:callbacks/1},
    {"state", fun bench_state:state/1},
    {"asyncio", fun bench_asyncio:asyncio/1},
    {"coroutines", fun bench_coroutines:coroutines/1},
    {"streams", fun bench_streams:streams/1},
    {"contexts", fun bench_contexts:contexts/1},
    {"restart", fun bench_process:restart/1},
    {"idle", fun bench_process:idle/1}
]).

-spec main() -> no_return().
main() ->
    Arguments = init:get_plain_arguments(),
    Quick = lists:member("quick", Arguments),
    Chosen = [Group || Group = {Name, _} <- ?GROUPS, lists:member(Name, Arguments)],
    ok = start(value("here", Arguments)),
    {ok, Python} = py:eval(<<"__import__('sys').executable">>),
    Settings = (sizes(Quick))#{
        here => value("here", Arguments),
        pypi => value("pypi", Arguments),
        echo_port => value("echo", Arguments),
        python => Python},
    conditions(Settings, value("flags", Arguments), lists:member("pinned", Arguments), py:version()),
    Results = [run(Name, Run, Settings) || {Name, Run} <- Chosen],
    bench_report:summary(lists:append([Targets || {ok, Targets} <- Results])),
    halt(length([failed || failed <- Results])).

%% A group that fails, in a process of its own, does not take the figures of the others away.
run(Name, Run, Settings) ->
    {Pid, Monitor} = spawn_monitor(fun() -> exit({measured, Run(Settings)}) end),
    receive
        {'DOWN', Monitor, process, Pid, {measured, Targets}} ->
            {ok, Targets};
        {'DOWN', Monitor, process, Pid, Reason} ->
            bench_report:note("~ts could not be measured: ~tp", [Name, Reason]),
            failed
    end.

sizes(true) ->
    #{rounds => 3, ms => 150, slice_ms => 150, idle_ms => 5000, contexts => 4, callers => [1, 10, 50, 200, 1000]};
sizes(false) ->
    #{rounds => 7, ms => 300, slice_ms => 400, idle_ms => 10000, contexts => 8, callers => [1, 10, 50, 200, 1000]}.

-spec value(string(), [string()]) -> string().
value(Key, Arguments) ->
    [Value | _] = [Value || Argument <- Arguments, [K, Value] <- [string:split(Argument, "=")], K =:= Key],
    Value.

%% A pool that is killed on purpose is worth a log line to others, not to the reader of a table.
-spec start(file:filename()) -> ok.
start(Here) ->
    ok = logger:set_primary_config(level, none),
    ok = application:load(erlang_python),
    ok = application:set_env(erlang_python, paths, [Here]),
    {ok, _} = application:ensure_all_started(erlang_python),
    ok.

-spec conditions(map(), string(), boolean(), {ok, binary()}) -> ok.
conditions(#{rounds := Rounds, ms := Ms}, Flags, Pinned, {ok, Version}) ->
    bench_report:title("Conditions"),
    bench_report:note("~ts, ~b cores~ts; BEAM flags: ~ts", [cpu(), erlang:system_info(logical_processors),
                      case Pinned of true -> ", all pinned to core 0"; false -> "" end, Flags]),
    bench_report:note("OTP ~s (erts ~s), Python ~ts", [erlang:system_info(otp_release), erlang:system_info(version),
                      hd(string:split(Version, " "))]),
    bench_report:note("load of the machine before the start: ~ts (other work spoils every figure)", [load()]),
    bench_report:note("medians of ~b rounds, subjects in turn, ~b ms each; \"x echo\" is the ratio to a port program "
                      "that only echoes", [Rounds, Ms]).

%% The average number of running threads over the last minute.
load() ->
    case file:read_file("/proc/loadavg") of
        {ok, Text} -> hd(string:split(Text, " "));
        {error, _} -> "unknown"
    end.

cpu() ->
    case file:read_file("/proc/cpuinfo") of
        {ok, Text} ->
            case re:run(Text, "model name\\s*: (.*)", [{capture, all_but_first, binary}]) of
                {match, [Model]} -> Model;
                nomatch -> erlang:system_info(system_architecture)
            end;
        {error, _} -> erlang:system_info(system_architecture)
    end.
