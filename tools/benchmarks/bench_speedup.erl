%% Work that keeps a core busy, in two contexts at once against one: what each mode makes of two cores. Two bare Python
%% processes, started by hand, say what this machine can give at all.
-module(bench_speedup).

-export([speedup/1]).

-define(SLICES, 2).
-define(POOL, bench_speedup).

-spec speedup(bench:settings()) -> [bench_report:target()].
speedup(#{rounds := Rounds, slice_ms := SliceMs, python := Python, here := Here}) ->
    Steps = calibrate(SliceMs),
    bench_report:title(lists:flatten(io_lib:format(
        "CPU-bound Python, ~b slices of about ~b ms in each context", [?SLICES, SliceMs]))),
    bench_report:header(["", "one", "two at once", "speed-up"]),
    Program = filename:join(Here, "bench_work.py"),
    _ = row("Python processes without the product", Rounds, [process(Python, Program, Steps) || _ <- [1, 2]]),
    Owngil = in_pool("owngil contexts of one port process", #{mode => owngil}, Steps, Rounds),
    _ = in_pool("worker contexts of one port process", #{mode => worker}, Steps, Rounds),
    _ = in_pool("worker contexts, isolation => context", #{mode => worker, isolation => context}, Steps, Rounds),
    [bench_report:target("speed-up of two owngil contexts", Owngil, {at_least, 1.8}, fun bench_report:ratio/1)].

%% How many steps keep Python busy for `Ms' milliseconds.
calibrate(Ms) ->
    Steps = 1000000,
    {ok, Seconds} = py:call(bench_work, seconds, [Steps]),
    {ok, Again} = py:call(bench_work, seconds, [Steps]),
    round(Steps * Ms / 1000 / min(Seconds, Again)).

in_pool(Name, Options, Steps, Rounds) ->
    {ok, _} = py_context_router:start_pool(?POOL, 2, Options),
    Work = [fun() -> {ok, _} = py:call(Ctx, bench_work, spin, [Steps]) end || Ctx <- py_context_router:contexts(?POOL)],
    Speedup = row(Name, Rounds, Work),
    ok = py_context_router:stop_pool(?POOL),
    Speedup.

row(Name, Rounds, Work = [First, _]) ->
    _ = together(Work),
    [OneUs, TwoUs] = bench_measure:interleaved(Rounds, [fun() -> together([First]) end, fun() -> together(Work) end]),
    Speedup = 2 * OneUs / TwoUs,
    bench_report:row([Name, bench_report:us(OneUs), bench_report:us(TwoUs), bench_report:ratio(Speedup)]),
    Speedup.

%% Microseconds until each of the workers, at once, has done its slices.
together(Work) ->
    bench_measure:elapsed_us(fun() ->
        Running = [spawn_monitor(fun() -> [Slice() || _ <- lists:seq(1, ?SLICES)] end) || Slice <- Work],
        [receive {'DOWN', Monitor, process, _, Reason} -> normal = Reason end || {_, Monitor} <- Running]
    end).

%% A Python process that does a slice whenever it is asked.
process(Python, Program, Steps) ->
    Owner = spawn_link(fun() ->
        slices(open_port({spawn_executable, Python}, [{args, ["-I", Program]}, {line, 100}, use_stdio, binary]), Steps)
    end),
    fun() ->
        Owner ! {slice, self()},
        receive {Owner, done} -> ok end
    end.

slices(Port, Steps) ->
    receive {slice, From} -> ok end,
    port_command(Port, [integer_to_list(Steps), $\n]),
    receive {Port, {data, {eol, _Seconds}}} -> From ! {self(), done} end,
    slices(Port, Steps).
