%% Python calls Erlang: what a callback costs beside a call, what nesting costs, coroutines that wait for Erlang, and
%% messages to a process, counted where they arrive.
-module(bench_callbacks).

-export([callbacks/1]).

-define(DEPTH, 10).
-define(MESSAGES, 1000000).
-define(IN_FLIGHT, 1000).

-spec callbacks(bench:settings()) -> [bench_report:target()].
callbacks(Settings) ->
    Owngil = context(owngil),
    Worker = context(worker),
    ok = py:register_function(bench_same, fun([Value]) -> Value end),
    ok = py:register_function(bench_deeper, fun([Depth]) ->
        {ok, Depth} = py:call(bench_work, down, [Depth]),
        Depth
    end),
    try
        round_trip(Settings, Owngil, Worker) ++ messages(Settings, Owngil, Worker)
    after
        ok = py:unregister_function(bench_same),
        ok = py:unregister_function(bench_deeper),
        lists:foreach(fun py_context:destroy/1, [Owngil, Worker])
    end.

context(Mode) ->
    {ok, Ctx} = py_context:new(#{mode => Mode}),
    %% What is imported at the first use must not be measured.
    {ok, _} = py:call(Ctx, bench_work, gathered, [<<"math">>, 0, 0.0]),
    Ctx.

round_trip(#{rounds := Rounds, ms := Ms}, Owngil, Worker) ->
    bench_report:title("Python calls Erlang"),
    bench_report:header(["", "time", "x py:call"]),
    Call = fun(Ctx) -> fun() ->
        bench_measure:latency_us(fun() -> {ok, 4.0} = py:call(Ctx, math, sqrt, [16]) end, Ms)
    end end,
    Python = fun(Ctx, Function, Args) -> fun() ->
        {ok, Us} = py:call(Ctx, bench_work, Function, Args ++ [Ms / 1000], #{timeout => infinity}),
        Us
    end end,
    Nested = fun(Ctx) -> fun() ->
        bench_measure:latency_us(fun() -> {ok, ?DEPTH} = py:call(Ctx, bench_work, down, [?DEPTH]) end, Ms)
    end end,
    Async = [<<"bench_same">>, ?IN_FLIGHT],
    [Floor, Callback, Deep, Gathered, WorkerFloor, WorkerCallback, WorkerDeep, WorkerGathered] =
        bench_measure:interleaved(Rounds, lists:append(
            [[Call(Ctx), Python(Ctx, called, [<<"bench_same">>]), Nested(Ctx), Python(Ctx, gathered, Async)]
             || Ctx <- [Owngil, Worker]])),
    rows("owngil", Floor, Callback, Deep, Gathered),
    rows("worker", WorkerFloor, WorkerCallback, WorkerDeep, WorkerGathered),
    [bench_report:target("callback, owngil, x py:call of one caller", Callback / Floor, {at_most, 2},
                         fun bench_report:ratio/1)].

rows(Mode, Floor, Callback, Deep, Gathered) ->
    Depth = integer_to_list(?DEPTH),
    lists:foreach(fun({Name, Us}) ->
        bench_report:row([Name ++ ", " ++ Mode, bench_report:us(Us), bench_report:ratio(Us / Floor)])
    end, [{"py:call(Ctx, math, sqrt, [16])", Floor},
          {"erlang.call(name, 1)", Callback},
          {Depth ++ " levels down and back", Deep},
          {"  per level", Deep / (?DEPTH + 1)},
          {"await async_call, " ++ integer_to_list(?IN_FLIGHT) ++ " in flight", Gathered}]).

messages(#{rounds := Rounds}, Owngil, Worker) ->
    bench_report:title("Messages per second to one process that drains, until the last of " ++
                       integer_to_list(?MESSAGES) ++ " has arrived"),
    bench_report:header(["", "messages"]),
    Larger = {binary:copy(<<"x">>, 100), [1, 2.5, none]},
    Subjects = [{"small integers, owngil", Owngil, 1},
                {"small integers, worker", Worker, 1},
                {"{binary of 100 bytes, list}, owngil", Owngil, Larger}],
    Rates = bench_measure:interleaved(Rounds, [fun() -> per_second(Ctx, Message) end || {_, Ctx, Message} <- Subjects]),
    lists:foreach(fun({{Name, _, _}, Rate}) -> bench_report:row([Name, bench_report:rate(Rate)]) end,
                  lists:zip(Subjects, Rates)),
    [bench_report:target("small messages per second, owngil", hd(Rates), {at_least, 1.0e6}, fun bench_report:rate/1)].

per_second(Ctx, Message) ->
    Self = self(),
    Drain = spawn_link(fun() ->
        ok = drain(?MESSAGES),
        Self ! {drained, self()}
    end),
    Us = bench_measure:elapsed_us(fun() ->
        {ok, none} = py:call(Ctx, bench_work, send, [Drain, Message, ?MESSAGES], #{timeout => infinity}),
        receive {drained, Drain} -> ok end
    end),
    ?MESSAGES * 1.0e6 / Us.

drain(0) -> ok;
drain(N) -> receive _ -> drain(N - 1) end.
