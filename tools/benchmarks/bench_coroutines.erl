%% Coroutines asked for from Erlang: what one costs beside a call of a function on the same context, and how many there
%% can be.
-module(bench_coroutines).

-export([coroutines/1]).

-define(POOL, bench_coroutines).
-define(PY, bench_coroutines).
-define(IN_FLIGHT, 1000).
-define(SLEEPS, 10000).
-define(SLEEP_S, 0.01).
%% More than all that is asked for: the limit is out of the way.
-define(NO_LIMIT, 20000).

-spec coroutines(bench:settings()) -> [bench_report:target()].
coroutines(#{rounds := Rounds, ms := Ms, here := Here}) ->
    {ok, [Ctx]} = py_context_router:start_pool(?POOL, 1, #{paths => [Here]}),
    Max = py_semaphore:max_concurrent(?POOL),
    try
        ok = one_at_a_time(Ctx, Rounds, Ms),
        ok = in_flight(Ctx, Rounds, Ms, Max),
        sleeps(Ctx, Rounds, Max)
    after
        ok = py_context_router:stop_pool(?POOL)
    end.

one_at_a_time(Ctx, Rounds, Ms) ->
    bench_report:title("Coroutines from Erlang on a worker context, one caller"),
    bench_report:header(["", "time", "x py:call"]),
    Subjects = [
        {"py:call, a function", fun() -> {ok, 1} = py:call(Ctx, ?PY, function, [1]) end},
        {"py:async_call + async_await, a function", asking(Ctx, function)},
        {"the same, a coroutine that does not wait", asking(Ctx, coroutine)},
        {"the same, a coroutine that waits once", asking(Ctx, waits)}],
    [Call | _] = Medians = bench_measure:interleaved(
        Rounds, [fun() -> bench_measure:latency_us(Subject, Ms) end || {_, Subject} <- Subjects]),
    rows(Subjects, Medians, fun bench_report:us/1, Call).

asking(Ctx, Function) ->
    fun() -> {ok, 1} = py:async_await(py:async_call(Ctx, ?PY, Function, [1])) end.

in_flight(Ctx, Rounds, Ms, Max) ->
    lists:foreach(fun({Name, Limit}) ->
        bench_report:title("Coroutines per second, " ++ integer_to_list(?IN_FLIGHT) ++ " in flight; limit " ++ Name),
        bench_report:header(["", "per second", "x py:call"]),
        ok = py_semaphore:set_max_concurrent(?POOL, Limit),
        Calls = fun(Subject) -> fun() -> bench_measure:per_second(Subject, ?IN_FLIGHT, Ms) end end,
        One = fun(Function) -> fun() -> window(Ctx, Function, Ms) end end,
        Subjects = [
            {"1000 processes: py:call, a function",
             Calls(fun() -> {ok, 1} = py:call(Ctx, ?PY, function, [1]) end)},
            {"1000 processes: async_call, a coroutine", Calls(asking(Ctx, coroutine))},
            {"1000 processes: it waits once", Calls(asking(Ctx, waits))},
            {"one process: async_call, a coroutine", One(coroutine)},
            {"one process: it waits once", One(waits)}],
        [Call | _] = Medians = bench_measure:interleaved(Rounds, [Measure || {_, Measure} <- Subjects]),
        rows(Subjects, Medians, fun bench_report:rate/1, Call)
    end, [{integer_to_list(Max) ++ ", the default", Max}, {"out of the way", ?NO_LIMIT}]).

rows(Subjects, Medians, Show, Floor) ->
    lists:foreach(fun({{Name, _}, Median}) ->
        bench_report:row([Name, Show(Median), bench_report:ratio(Median / Floor)])
    end, lists:zip(Subjects, Medians)).

%% Coroutines per second of one process that always has as many in flight.
window(Ctx, Function, Ms) ->
    Ask = fun() -> py:async_call(Ctx, ?PY, Function, [1]) end,
    Start = erlang:monotonic_time(microsecond),
    Refs = queue:from_list([Ask() || _ <- lists:seq(1, ?IN_FLIGHT)]),
    Done = slide(Refs, Ask, Start + Ms * 1000, 0),
    Done * 1.0e6 / (erlang:monotonic_time(microsecond) - Start).

slide(Refs, Ask, Until, Done) ->
    case queue:out(Refs) of
        {empty, _} ->
            Done;
        {{value, Ref}, Rest} ->
            {ok, 1} = py:async_await(Ref),
            case erlang:monotonic_time(microsecond) < Until of
                true -> slide(queue:in(Ask(), Rest), Ask, Until, Done + 1);
                false -> slide(Rest, Ask, Until, Done + 1)
            end
    end.

sleeps(Ctx, Rounds, Max) ->
    bench_report:title(lists:flatten(io_lib:format("~b asyncio.sleep(~p) at once", [?SLEEPS, ?SLEEP_S]))),
    bench_report:header(["", "until all have ended"]),
    Under = fun(Limit) -> fun() ->
        ok = py_semaphore:set_max_concurrent(?POOL, Limit),
        float(bench_measure:elapsed_us(fun() ->
            Refs = [py:async_call(Ctx, ?PY, sleep, [?SLEEP_S]) || _ <- lists:seq(1, ?SLEEPS)],
            [{ok, none} = py:async_await(Ref) || Ref <- Refs]
        end))
    end end,
    Gather = fun() ->
        float(bench_measure:elapsed_us(fun() ->
            {ok, none} = py:async_await(py:async_call(Ctx, ?PY, sleeps, [?SLEEPS, ?SLEEP_S]))
        end))
    end,
    [One, Limited, Free] = bench_measure:interleaved(Rounds, [Gather, Under(Max), Under(?NO_LIMIT)]),
    bench_report:row(["one request that gathers them", bench_report:us(One)]),
    bench_report:row(["a request each, limit " ++ integer_to_list(Max), bench_report:us(Limited)]),
    bench_report:row(["a request each, no limit", bench_report:us(Free)]),
    [bench_report:target("10,000 sleeps of 10 ms from Erlang", Limited, {at_most, 500000}, fun bench_report:us/1)].
