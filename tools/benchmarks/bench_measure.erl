%% How things are measured: each subject once per round, in turn, so that what the machine does meanwhile hits all of
%% them alike; the median of the rounds counts.
-module(bench_measure).

-export([interleaved/2, latency_us/2, spaced_us/2, per_second/3, median/1, elapsed_us/1]).
-export_type([subject/0]).

%% One call. What it returns is not looked at: it crashes when the answer is wrong.
-type subject() :: fun(() -> term()).

%% The median of `Rounds' results of each measurement, in the order given.
-spec interleaved(pos_integer(), [fun(() -> number())]) -> [float()].
interleaved(Rounds, Measurements) ->
    Results = [[Measure() || Measure <- Measurements] || _ <- lists:seq(1, Rounds)],
    [median(Column) || Column <- columns(Results)].

columns([[] | _]) -> [];
columns(Rows) -> [[hd(Row) || Row <- Rows] | columns([tl(Row) || Row <- Rows])].

-spec median([number()]) -> float().
median(Values) ->
    Sorted = lists:sort(Values),
    Count = length(Sorted),
    case Count rem 2 of
        1 -> float(lists:nth(Count div 2 + 1, Sorted));
        0 -> (lists:nth(Count div 2, Sorted) + lists:nth(Count div 2 + 1, Sorted)) / 2
    end.

%% Mean microseconds of a call: one caller, which asks again as soon as it has the answer, for `Ms' milliseconds.
-spec latency_us(subject(), pos_integer()) -> float().
latency_us(Subject, Ms) ->
    1.0e6 / per_second(Subject, 1, Ms).

%% Median microseconds of a call that comes after 5 ms of silence, so that everything has gone to sleep.
-spec spaced_us(subject(), pos_integer()) -> float().
spaced_us(Subject, Calls) ->
    in_process(fun() ->
        median([begin timer:sleep(5), elapsed_us(Subject) end || _ <- lists:seq(1, Calls)])
    end).

%% Calls per second of `Callers' processes together, each of which asks again as soon as it has the answer.
-spec per_second(subject(), pos_integer(), pos_integer()) -> float().
per_second(Subject, Callers, Ms) ->
    Stop = atomics:new(1, []),
    Self = self(),
    Pids = [spawn_link(fun() ->
                Subject(),
                Self ! {ready, self()},
                receive go -> ok end,
                Self ! {calls, self(), repeat(Subject, Stop, 0)}
            end) || _ <- lists:seq(1, Callers)],
    [receive {ready, Pid} -> ok end || Pid <- Pids],
    Start = erlang:monotonic_time(microsecond),
    [Pid ! go || Pid <- Pids],
    timer:sleep(Ms),
    ok = atomics:put(Stop, 1, 1),
    %% Until the last one has its answer: with more callers than are served in this time the calls of the rest count.
    Calls = lists:sum([receive {calls, Pid, N} -> N end || Pid <- Pids]),
    End = erlang:monotonic_time(microsecond),
    Calls * 1.0e6 / (End - Start).

repeat(Subject, Stop, N) ->
    Subject(),
    case atomics:get(Stop, 1) of
        0 -> repeat(Subject, Stop, N + 1);
        1 -> N + 1
    end.

-spec elapsed_us(fun(() -> term())) -> pos_integer().
elapsed_us(Work) ->
    Start = erlang:monotonic_time(nanosecond),
    Work(),
    max(1, (erlang:monotonic_time(nanosecond) - Start) div 1000).

%% In a process of its own, whose heap holds nothing else.
in_process(Work) ->
    {Pid, Monitor} = spawn_monitor(fun() -> exit({done, Work()}) end),
    receive
        {'DOWN', Monitor, process, Pid, {done, Result}} -> Result;
        {'DOWN', Monitor, process, Pid, Reason} -> exit(Reason)
    end.
