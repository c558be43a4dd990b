%% Calls as such: what one costs, how many there can be, and what the limit on concurrent calls adds.
-module(bench_calls).

-export([latency/1, throughput/1, limit/1]).

-define(PAYLOAD, (binary:copy(<<"x">>, 64))).
%% More than any number of callers here: the limit is out of the way.
-define(NO_LIMIT, 10000).

-spec latency(bench:settings()) -> [bench_report:target()].
latency(#{rounds := Rounds, ms := Ms} = Settings) ->
    with_subjects(Settings, fun(Echo, Owngil, Default, Ctx) ->
        Eval = fun() -> {ok, 4} = py:eval(Ctx, <<"2 + 2">>) end,
        bench_report:title("One caller"),
        bench_report:header(["", "time", "x echo"]),
        Hot = bench_measure:interleaved(Rounds, [fun() -> bench_measure:latency_us(S, Ms) end
                                                 || S <- [Echo, Owngil, Default, Eval]]),
        [Floor, First | _] = Hot,
        rows(["echo, 64 bytes", "py:call(Ctx, math, sqrt, [16]), owngil", "py:call(math, sqrt, [16]), default pool",
              "py:eval(Ctx, \"2 + 2\"), owngil"], Hot),
        Calls = Ms div 5,
        Cold = bench_measure:interleaved(Rounds, [fun() -> bench_measure:spaced_us(S, Calls) end
                                                  || S <- [Echo, Owngil, Default]]),
        rows(["after 5 ms of silence: echo", "  py:call(Ctx, ...), owngil", "  py:call(...), default pool"], Cold),
        [bench_report:target("one caller's latency, x echo", First / Floor, {at_most, 3}, fun bench_report:ratio/1)]
    end).

rows(Names, [Floor | _] = Times) ->
    lists:foreach(fun({Name, Us}) -> bench_report:row([Name, bench_report:us(Us), bench_report:ratio(Us / Floor)]) end,
                  lists:zip(Names, Times)).

-spec throughput(bench:settings()) -> [bench_report:target()].
throughput(#{rounds := Rounds, ms := Ms, callers := Callers} = Settings) ->
    with_subjects(Settings, fun(Echo, Owngil, Default, _Ctx) ->
        bench_report:title("Many callers: calls per second, py:call(math, sqrt, [16]) against an echo of 64 bytes"),
        bench_report:header(["callers", "echo", "owngil", "x echo", "default pool", "x echo"]),
        Rates = [begin
            [Floor, One, Pool] = Medians = bench_measure:interleaved(
                Rounds, [fun() -> bench_measure:per_second(S, N, Ms) end || S <- [Echo, Owngil, Default]]),
            bench_report:row([integer_to_list(N) | [bench_report:rate(Floor), bench_report:rate(One),
                              bench_report:ratio(One / Floor), bench_report:rate(Pool),
                              bench_report:ratio(Pool / Floor)]]),
            {N, Medians}
         end || N <- Callers],
        [bench_report:target("50 callers on one owngil context, x echo", One / Floor, {at_least, 0.5},
                             fun bench_report:ratio/1) || {50, [Floor, One, _]} <- Rates]
    end).

-spec limit(bench:settings()) -> [bench_report:target()].
limit(#{rounds := Rounds, ms := Ms} = Settings) ->
    Max = py_semaphore:max_concurrent(contexts),
    with_subjects(Settings, fun(_Echo, Owngil, _Default, _Ctx) ->
        bench_report:title("The limit on concurrent calls (py_semaphore)"),
        bench_report:header(["", "no limit", "limit " ++ integer_to_list(Max), "x"]),
        Under = fun(Limit, Measure) -> fun() -> ok = py_semaphore:set_max_concurrent(contexts, Limit), Measure() end end,
        [FreeUs, LimitedUs] = ab(Rounds, Under, Max, fun() -> bench_measure:latency_us(Owngil, Ms) end),
        bench_report:row(["one caller's latency", bench_report:us(FreeUs), bench_report:us(LimitedUs),
                          bench_report:ratio(LimitedUs / FreeUs)]),
        [FreeRate, LimitedRate] = ab(Rounds, Under, Max, fun() -> bench_measure:per_second(Owngil, 50, Ms) end),
        bench_report:row(["50 callers, of whom all but " ++ integer_to_list(Max) ++ " wait",
                          bench_report:rate(FreeRate), bench_report:rate(LimitedRate),
                          bench_report:ratio(LimitedRate / FreeRate)]),
        []
    end).

ab(Rounds, Under, Max, Measure) ->
    bench_measure:interleaved(Rounds, [Under(?NO_LIMIT, Measure), Under(Max, Measure)]).

%% The limits of the pools that are asked are out of the way: that of contexts that users start, and the default one.
with_subjects(#{echo_port := Program}, Run) ->
    Echo = bench_echo:open(Program),
    {ok, Ctx} = py_context:new(#{mode => owngil}),
    Payload = ?PAYLOAD,
    Limits = [{Pool, py_semaphore:max_concurrent(Pool)} || Pool <- [contexts, default]],
    _ = [ok = py_semaphore:set_max_concurrent(Pool, ?NO_LIMIT) || {Pool, _} <- Limits],
    try
        Run(fun() -> Payload = bench_echo:call(Echo, Payload) end,
            fun() -> {ok, 4.0} = py:call(Ctx, math, sqrt, [16]) end,
            fun() -> {ok, 4.0} = py:call(math, sqrt, [16]) end,
            Ctx)
    after
        _ = [ok = py_semaphore:set_max_concurrent(Pool, Limit) || {Pool, Limit} <- Limits],
        ok = py_context:destroy(Ctx),
        ok = bench_echo:close(Echo)
    end.
