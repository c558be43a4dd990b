%% tools/demo: a tour of erlang_python for somebody who knows nothing about it. Every chapter checks what it shows; the
%% exit status is the number of chapters with a failed check.
%%
%% Plain arguments (after -extra): here=DIR [terminal].
-module(demo).

-export([main/0]).
-export_type([settings/0]).

-type settings() :: #{here := file:filename(), terminal := boolean()}.

-define(CHAPTERS, [
    {"Real work: what is in Python's own standard library?", fun demo_library:run/1},
    {"Calls: arguments, values, errors", fun demo_calls:values/1},
    {"Python calls Erlang, which calls Python", fun demo_callbacks:run/1},
    {"Pools: slow calls do not hold up quick ones", fun demo_calls:pools/1},
    {"Too many calls at once", fun demo_calls:overload/1},
    {"Python crashes, Erlang does not", fun demo_crash:run/1}
]).

-spec main() -> no_return().
main() ->
    Arguments = init:get_plain_arguments(),
    [Here | _] = [Value || Argument <- Arguments, ["here", Value] <- [string:split(Argument, "=")]],
    ok = io:setopts([{encoding, unicode}]),
    case application:ensure_all_started(erlang_python) of
        {ok, _} -> ok;
        {error, Reason} ->
            io:format("The application does not start: ~tp~n", [Reason]),
            halt(1)
    end,
    introduction(),
    Settings = #{here => Here, terminal => lists:member("terminal", Arguments)},
    Failed = [Title || {Number, {Title, Run}} <- lists:zip(lists:seq(1, length(?CHAPTERS)), ?CHAPTERS),
                       not chapter(Number, Title, Run, Settings)],
    case Failed of
        [] -> io:format("~nEverything did what it said. Next: docs/getting-started.md, or tools/shell to try it.~n");
        _ -> io:format("~nNot as it should be: ~ts.~n", [lists:join("; ", Failed)])
    end,
    halt(length(Failed)).

introduction() ->
    {ok, Python} = py:version(),
    io:format("erlang_python lets Erlang call Python. Python runs in operating-system processes of its own, which~n"
              "Erlang supervises: here Erlang/OTP ~s with ~b schedulers, and Python ~ts.~n",
              [erlang:system_info(otp_release), erlang:system_info(schedulers), hd(string:split(Python, " "))]).

%% A chapter that crashes fails, and the next one comes.
chapter(Number, Title, Run, Settings) ->
    demo_screen:chapter(Number, Title),
    {Pid, Monitor} = spawn_monitor(fun() -> exit({checks, Run(Settings)}) end),
    receive
        {'DOWN', Monitor, process, Pid, {checks, Checks}} ->
            lists:all(fun(Held) -> Held end, Checks);
        {'DOWN', Monitor, process, Pid, Reason} ->
            demo_screen:check(false, lists:flatten(io_lib:format("stopped by ~tp", [Reason])))
    end.
