%% The main course: the source of Python's standard library, analysed by one context and then by as many as there are
%% schedulers.
-module(demo_library).

-export([run/1]).

-define(POOL, demo_library).
%% Over the library so many times, so that there is something to measure.
-define(PASSES, 5).
-define(TOP_NAMES, 8).

-type findings() :: #{lines := non_neg_integer(), functions := non_neg_integer(),
                      longest := {non_neg_integer(), binary(), binary()}, names := #{binary() => pos_integer()}}.

-spec run(demo:settings()) -> [boolean()].
run(#{here := Here, terminal := Terminal}) ->
    Size = erlang:system_info(schedulers),
    {Options, Kind} = kind(),
    {ok, _} = py_context_router:start_pool(?POOL, Size, Options#{paths => [Here], imports => [stdlib_analysis]}),
    Contexts = py_context_router:contexts(?POOL),
    {ok, Files} = py:call(?POOL, stdlib_analysis, source_files, []),
    demo_screen:tell("~b source files of Python's standard library are parsed with Python's own module ast, ~b times "
                     "over.",
                     [length(Files), ?PASSES]),
    demo_screen:tell("A context is a Python interpreter that serves Erlang; here ~ts.", [Kind]),
    Work = list_to_tuple(lists:append(lists:duplicate(?PASSES, Files))),
    Load = load(),
    {OneUs, One} = analyse("one context", [hd(Contexts)], Work, Terminal),
    {AllUs, All} = analyse(io_lib:format("~b contexts", [Size]), Contexts, Work, Terminal),
    demo_screen:tell("Speed-up: ~.2f times with ~b contexts on ~b cores.",
                     [OneUs / AllUs, Size, erlang:system_info(logical_processors)]),
    ok = explain(OneUs / AllUs, Size, Load),
    ok = py_context_router:stop_pool(?POOL),
    show(One),
    [demo_screen:check(One =:= All, "both found exactly the same"),
     demo_screen:check(length(Files) > 100 andalso maps:get(functions, One) > 1000, "it is a whole library")].

%% Cores that others keep busy are no cores.
explain(Speedup, Size, Load) when Size > 1, Speedup < 1.5, Load > 1.0 ->
    demo_screen:tell("Other programs were busy here as well (~.1f threads on average): try again when they are not.",
                     [Load]);
explain(_Speedup, _Size, _Load) ->
    ok.

%% The average number of running threads over the last minute, where the system says it.
load() ->
    case file:read_file("/proc/loadavg") of
        {ok, Text} -> binary_to_float(hd(string:split(Text, " ")));
        {error, _} -> 0.0
    end.

kind() ->
    case py:subinterp_supported() of
        true -> {#{mode => owngil}, "they share one process, and each has a GIL (global interpreter lock) of its own"};
        false -> {#{isolation => context}, "each in a process of its own, since this Python has one GIL per process"}
    end.

%% One Erlang process per context; they take the files from a common counter.
-spec analyse(iodata(), [pid()], tuple(), boolean()) -> {pos_integer(), findings()}.
analyse(Label, Contexts, Work, Terminal) ->
    Next = atomics:new(1, []),
    Self = self(),
    Bar = demo_screen:bar_open(lists:flatten(Label), tuple_size(Work), Terminal),
    Start = erlang:monotonic_time(microsecond),
    Pids = [spawn_link(fun() -> Self ! {findings, self(), take(Next, Work, Ctx, Self, nothing())} end)
            || Ctx <- Contexts],
    ok = progress(Bar, 0, tuple_size(Work)),
    Findings = lists:foldl(fun merge/2, nothing(), [receive {findings, Pid, F} -> F end || Pid <- Pids]),
    Us = erlang:monotonic_time(microsecond) - Start,
    ok = demo_screen:bar_close(Bar, demo_screen:ms(Us)),
    {Us, Findings}.

take(Next, Work, Ctx, Owner, Findings) ->
    case atomics:add_get(Next, 1, 1) of
        Index when Index =< tuple_size(Work) ->
            {ok, File} = py:call(Ctx, stdlib_analysis, analyse, [element(Index, Work)]),
            Owner ! analysed,
            take(Next, Work, Ctx, Owner, merge(file_findings(File), Findings));
        _ ->
            Findings
    end.

progress(_Bar, Total, Total) ->
    ok;
progress(Bar, Done, Total) ->
    receive analysed -> ok end,
    _ = (Done + 1) rem 10 =:= 0 andalso demo_screen:bar(Bar, Done + 1),
    progress(Bar, Done + 1, Total).

nothing() ->
    #{lines => 0, functions => 0, longest => {0, <<>>, <<>>}, names => #{}}.

%% The keys of a Python dict come as binaries.
file_findings(#{<<"lines">> := Lines, <<"functions">> := Functions, <<"longest">> := Longest, <<"names">> := Names}) ->
    #{lines => Lines, functions => Functions, longest => Longest, names => Names}.

-spec merge(findings(), findings()) -> findings().
merge(A, B) ->
    Sum = fun(_Name, X, Y) -> X + Y end,
    #{lines => maps:get(lines, A) + maps:get(lines, B),
      functions => maps:get(functions, A) + maps:get(functions, B),
      longest => max(maps:get(longest, A), maps:get(longest, B)),
      names => maps:merge_with(Sum, maps:get(names, A), maps:get(names, B))}.

show(#{lines := Lines, functions := Functions, longest := {LongestLines, Name, File}, names := Names}) ->
    demo_screen:tell("It has ~ts lines and ~ts functions; the longest is ~ts in ~ts with ~b lines.",
                     [demo_screen:grouped(Lines div ?PASSES), demo_screen:grouped(Functions div ?PASSES), Name, File,
                      LongestLines]),
    Top = lists:sublist(lists:reverse(lists:keysort(2, maps:to_list(Names))), ?TOP_NAMES),
    demo_screen:tell("The names used most: ~ts.",
                     [lists:join(", ", [[N, " ", demo_screen:grouped(Uses div ?PASSES)] || {N, Uses} <- Top])]).
