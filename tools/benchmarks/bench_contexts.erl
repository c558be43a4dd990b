%% What a context costs: time to start, memory.
-module(bench_contexts).

-export([contexts/1]).

-define(POOL, bench_contexts).

-spec contexts(bench:settings()) -> [bench_report:target()].
contexts(#{contexts := Count, rounds := Rounds}) ->
    bench_report:title("Starting contexts"),
    bench_report:header(["", "time", "memory"]),
    lists:foreach(fun(Mode) -> process_row(Mode, Rounds) end, [worker, owngil]),
    lists:foreach(fun(Mode) -> context_row(Mode, Count) end, [worker, owngil]),
    [].

process_row(Mode, Rounds) ->
    Results = [process(Mode) || _ <- lists:seq(1, Rounds)],
    {Times, Bytes} = lists:unzip(Results),
    bench_report:row([io_lib:format("pool of one ~p context, with its process", [Mode]),
                      bench_report:us(bench_measure:median(Times)), mebibytes(bench_measure:median(Bytes))]).

process(Mode) ->
    Us = bench_measure:elapsed_us(fun() -> {ok, _} = py_context_router:start_pool(?POOL, 1, #{mode => Mode}) end),
    {ok, Pid} = py:call(?POOL, os, getpid, []),
    Bytes = bench_os:resident_bytes(Pid),
    ok = py_context_router:stop_pool(?POOL),
    {Us, Bytes}.

%% In a port process that runs already; memory is what the process grows by, divided by their number.
context_row(Mode, Count) ->
    {ok, First} = py_context:new(#{mode => Mode}),
    {ok, Pid} = py:call(First, os, getpid, []),
    Before = bench_os:resident_bytes(Pid),
    Started = [begin
        Start = erlang:monotonic_time(microsecond),
        {ok, Ctx} = py_context:new(#{mode => Mode}),
        {erlang:monotonic_time(microsecond) - Start, Ctx}
     end || _ <- lists:seq(1, Count)],
    Grown = bench_os:resident_bytes(Pid) - Before,
    {Times, Contexts} = lists:unzip(Started),
    bench_report:row([io_lib:format("another ~p context (median of ~b)", [Mode, Count]),
                      bench_report:us(bench_measure:median(Times)), mebibytes(Grown / Count)]),
    lists:foreach(fun(Ctx) -> ok = py_context:destroy(Ctx) end, [First | Contexts]).

mebibytes(Bytes) ->
    io_lib:format("~.1f MiB", [Bytes / 1048576]).
