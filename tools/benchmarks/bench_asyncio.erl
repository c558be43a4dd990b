%% Event loops: ErlangEventLoop beside CPython's own loop, and beside uvloop where it can be had, each doing the same
%% work (bench_asyncio.py) in turn in the same context.
-module(bench_asyncio).

-export([asyncio/1]).

-define(POOL, bench_asyncio).
%% Two runs of the same loop differ by as much.
-define(NO_SLOWER, 0.95).

-spec asyncio(bench:settings()) -> [bench_report:target()].
asyncio(#{rounds := Rounds, ms := Ms, here := Here, pypi := Pypi}) ->
    {ok, [Ctx]} = py_context_router:start_pool(?POOL, 1, #{paths => [Here, Pypi]}),
    Uvloop = [<<"uvloop">> || {ok, true} =:= available(Ctx)],
    Loops = [<<"cpython">>, <<"erlang">> | Uvloop],
    bench_report:title("Event loops in a worker context"),
    Uvloop =:= [] andalso bench_report:note("uvloop cannot be had: no package index within reach", []),
    bench_report:header(["", "CPython's loop", "ErlangEventLoop" | ["uvloop" || _ <- Uvloop]] ++ ["to CPython's"]),
    Seconds = Ms / 1000,
    Targets = [rate(Ctx, Loops, Rounds, What, Function, Args) || {What, Function, Args} <- [
        {"tasks, one at a time", tasks, [1, Seconds]},
        {"tasks, 1000 at a time (gather)", tasks, [1000, Seconds]},
        {"loops made, run, closed", runs, [Seconds]},
        {"a thread wakes the loop, round trips", wakes, [Seconds]},
        {"callbacks posted by a thread", posts, [1, 20000]},
        {"callbacks posted by 50 threads", posts, [50, 400]},
        {"timers of 1 ms, 1000 at a time", timers, [1000, Seconds]},
        {"sleeps of 10 ms, 10,000 at once", sleeps, [10000, 0.01]},
        {"echo, protocol, 1 connection", echo, [protocol, 1, Seconds]},
        {"echo, protocol, 50 connections", echo, [protocol, 50, Seconds]},
        {"echo, streams, 1 connection", echo, [stream, 1, Seconds]},
        {"echo, streams, 50 connections", echo, [stream, 50, Seconds]}
    ]],
    [late(Ctx, Loops, Rounds, Delay, Times) || {Delay, Times} <- [{0.0005, 100}, {0.0053, 40}, {0.0503, 6}]],
    ok = py_context_router:stop_pool(?POOL),
    Targets.

available(Ctx) -> py:call(Ctx, bench_asyncio, available, [uvloop]).

rate(Ctx, Loops, Rounds, What, Function, Args) ->
    Medians = [Theirs, Ours | _] = measure(Ctx, Loops, Rounds, Function, Args),
    bench_report:row([What | [bench_report:rate(M) || M <- Medians]] ++ [bench_report:ratio(Ours / Theirs)]),
    bench_report:target(What, Ours / Theirs, {at_least, ?NO_SLOWER}, fun bench_report:ratio/1).

late(Ctx, Loops, Rounds, Delay, Times) ->
    Medians = [Theirs, Ours | _] = measure(Ctx, Loops, Rounds, lateness, [Delay, Times]),
    What = io_lib:format("sleep(~.1f ms) is late by", [Delay * 1000]),
    bench_report:row([What | [late(M * 1.0e6) || M <- Medians]] ++ [bench_report:ratio(Ours / Theirs)]).

late(Us) when Us < 0 -> [$-, bench_report:us(-Us)];
late(Us) -> bench_report:us(Us).

measure(Ctx, Loops, Rounds, Function, Args) ->
    bench_measure:interleaved(Rounds, [
        fun() ->
            {ok, Figure} = py:call(Ctx, bench_asyncio, Function, [Loop | Args]),
            Figure
        end || Loop <- Loops]).
