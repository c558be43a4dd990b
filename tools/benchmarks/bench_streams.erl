%% Streams: items per second by each way to read them, and how soon the first item is there.
-module(bench_streams).

-export([streams/1]).

-define(POOL, bench_streams).
-define(PY, bench_coroutines).
-define(ITEMS, 100000).
%% The first item of a stream, beside a call: so many are asked for in a row.
-define(FIRST, 300).
-define(WANTED_PER_SECOND, 1000000).
-define(WANTED_FIRST, 2).

-spec streams(bench:settings()) -> [bench_report:target()].
streams(#{rounds := Rounds, here := Here}) ->
    {ok, [Ctx]} = py_context_router:start_pool(?POOL, 1, #{paths => [Here]}),
    try
        items(Ctx, Rounds) ++ first(Ctx, Rounds)
    after
        ok = py_context_router:stop_pool(?POOL)
    end.

items(Ctx, Rounds) ->
    bench_report:title("Streams from a worker context: " ++ integer_to_list(?ITEMS) ++ " small integers"),
    bench_report:header(["", "items per second"]),
    Subjects = [
        {"py:stream, range", fun() -> {ok, Items} = py:stream(Ctx, builtins, range, [?ITEMS]), length(Items) end},
        {"py:stream, generator", collected(Ctx, generator)},
        {"py:stream, async generator", collected(Ctx, async_generator)},
        {"py:stream, async generator that waits", collected(Ctx, waiting_generator)},
        {"py:stream_fold, generator", fun() -> folded(generator) end},
        {"stream_start, generator, messages received", fun() -> received(started(Ctx, generator), 0) end},
        {"stream_start, async generator, messages received", fun() -> received(started(Ctx, async_generator), 0) end},
        {"stream_start, generator, stream_next", fun() -> pulled(started(Ctx, generator), 0) end}],
    Medians = bench_measure:interleaved(Rounds, [fun() -> per_second(Read) end || {_, Read} <- Subjects]),
    lists:foreach(fun({{Name, _}, Rate}) -> bench_report:row([Name, bench_report:rate(Rate)]) end,
                  lists:zip(Subjects, Medians)),
    [bench_report:target("small integers collected per second", hd(Medians), {at_least, ?WANTED_PER_SECOND},
                         fun bench_report:rate/1)].

per_second(Read) ->
    Us = bench_measure:elapsed_us(fun() -> ?ITEMS = Read() end),
    ?ITEMS * 1.0e6 / Us.

collected(Ctx, Function) ->
    fun() ->
        {ok, Items} = py:stream(Ctx, ?PY, Function, [?ITEMS]),
        length(Items)
    end.

folded(Function) ->
    ok = py:register_pool(?POOL, ?PY),
    try
        {ok, Count} = py:stream_fold(fun(_Item, Count) -> Count + 1 end, 0, {?PY, Function, [?ITEMS]}),
        Count
    after
        ok = py:unregister_pool(?PY)
    end.

started(Ctx, Function) ->
    {ok, Ref} = py:stream_start(?PY, Function, [?ITEMS], #{context => Ctx}),
    Ref.

received(Ref, Count) ->
    receive
        {py_stream, Ref, {data, _}} -> received(Ref, Count + 1);
        {py_stream, Ref, done} -> Count
    end.

pulled(Ref, Count) ->
    case py:stream_next(Ref, infinity) of
        {ok, _} -> pulled(Ref, Count + 1);
        done -> Count
    end.

first(Ctx, Rounds) ->
    bench_report:title("The first item of a stream of three, beside a call"),
    bench_report:header(["", "time", "x py:call"]),
    Subjects = [
        {"py:call, a function", fun() -> {ok, 3} = py:call(Ctx, ?PY, function, [3]), now_ns() end},
        {"py:stream_fold, generator", fun() -> first_folded(generator) end},
        {"py:stream_fold, async generator", fun() -> first_folded(async_generator) end},
        {"stream_start, generator, first message", fun() -> first_received(started3(Ctx, generator)) end},
        {"stream_start, async generator, first message", fun() -> first_received(started3(Ctx, async_generator)) end}],
    ok = py:register_pool(?POOL, ?PY),
    [Call | _] = Medians = try
        bench_measure:interleaved(Rounds, [fun() -> first_us(Ask) end || {_, Ask} <- Subjects])
    after
        ok = py:unregister_pool(?PY)
    end,
    lists:foreach(fun({{Name, _}, Us}) ->
        bench_report:row([Name, bench_report:us(Us), bench_report:ratio(Us / Call)])
    end, lists:zip(Subjects, Medians)),
    [bench_report:target("first item of a fold, x py:call", lists:nth(2, Medians) / Call, {at_most, ?WANTED_FIRST},
                         fun bench_report:ratio/1)].

%% The median time from the question until `Ask' has seen the first item, which it says; it also reads the rest.
first_us(Ask) ->
    bench_measure:median([begin Start = now_ns(), (Ask() - Start) / 1000 end || _ <- lists:seq(1, ?FIRST)]).

first_folded(Function) ->
    {ok, Seen} = py:stream_fold(fun(0, none) -> now_ns(); (_, Seen) -> Seen end, none, {?PY, Function, [3]}),
    Seen.

started3(Ctx, Function) ->
    {ok, Ref} = py:stream_start(?PY, Function, [3], #{context => Ctx}),
    Ref.

first_received(Ref) ->
    Seen = receive {py_stream, Ref, {data, 0}} -> now_ns() end,
    2 = received(Ref, 0),
    Seen.

now_ns() -> erlang:monotonic_time(nanosecond).
