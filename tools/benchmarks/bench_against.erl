%% tools/bench --against DIR: the same subjects on two builds of the same API, each in a node of its own. The nodes take turns in
%% every round, so that what the machine does meanwhile hits both; what counts is the median of the rounds' ratios.
%%
%% Plain arguments: here=DIR ours=LIBDIR other=LIBDIR [quick] [pinned]
-module(bench_against).

-export([main/0]).
%% In the nodes.
-export([prepare/1, measure/2]).

-define(MESSAGES, 200000).
-define(ITEMS, 100000).
-define(SHORT, 20000).
-define(SLEEPERS, 1000).
-define(NO_LIMIT, 10000).

-type unit() :: us | per_second.

-spec main() -> no_return().
main() ->
    Arguments = init:get_plain_arguments(),
    {Rounds, Ms} = case lists:member("quick", Arguments) of true -> {3, 150}; false -> {9, 300} end,
    [Ours, Other] = Nodes = [node_with(bench:value(Key, Arguments), Arguments) || Key <- ["ours", "other"]],
    bench:conditions(#{rounds => Rounds, ms => Ms}, "none, the defaults", lists:member("pinned", Arguments),
                     peer:call(Ours, py, version, [])),
    bench_report:title("This build against " ++ bench:value("other", Arguments)),
    bench_report:header(["", "this", "other", "this / other", "from", "to"]),
    lists:foreach(fun({Name, Unit}) -> row(Name, Unit, Ours, Other, Rounds, Ms) end, subjects()),
    lists:foreach(fun peer:stop/1, Nodes),
    halt(0).

node_with(LibDir, Arguments) ->
    {ok, Peer, _} = peer:start(#{connection => standard_io, env => [{"ERL_LIBS", LibDir}, {"ERL_CRASH_DUMP_SECONDS", "0"}],
                                 args => ["-pa", filename:dirname(code:which(?MODULE))]}),
    ok = peer:call(Peer, ?MODULE, prepare, [bench:value("here", Arguments)], infinity),
    Peer.

row(Name, Unit, Ours, Other, Rounds, Ms) ->
    Measure = fun(Peer) -> peer:call(Peer, ?MODULE, measure, [Name, Ms], infinity) end,
    try
        %% Who begins changes with the rounds.
        Pairs = [case Round rem 2 of
                     0 -> {A, B} = {Measure(Ours), Measure(Other)}, {A, B};
                     1 -> B = Measure(Other), {Measure(Ours), B}
                 end || Round <- lists:seq(1, Rounds)],
        Ratios = lists:sort([A / B || {A, B} <- Pairs]),
        [Mine, Theirs] = [bench_measure:median(Values) || Values <- [[A || {A, _} <- Pairs], [B || {_, B} <- Pairs]]],
        bench_report:row([Name, show(Unit, Mine), show(Unit, Theirs)
                          | [bench_report:ratio(R) || R <- [bench_measure:median(Ratios), hd(Ratios), lists:last(Ratios)]]])
    catch
        Class:Reason -> bench_report:note("~ts could not be measured: ~tp", [Name, {Class, Reason}])
    end.

show(us, Us) -> bench_report:us(Us);
show(per_second, Rate) -> bench_report:rate(Rate).

-spec subjects() -> [{string(), unit()}].
subjects() ->
    [{"one caller, owngil", us},
     {"one caller, default pool", us},
     {"eval, owngil", us},
     {"50 callers, owngil", per_second},
     {"50 callers, default pool", per_second},
     {"1000 callers, default pool", per_second},
     {"callback, owngil", us},
     {"callback, worker", us},
     {"send of integers, owngil", per_second},
     {"send of tuples, owngil", per_second},
     {"stream of 100,000", per_second},
     {"stream of 20,000", per_second},
     {"1000 coroutines that sleep 10 ms", us},
     {"64 KiB of bytes", us},
     {"1 MiB of bytes", us},
     {"16 MiB of bytes", us},
     {"100,000 integers", us},
     {"10,000 maps of 3 keys", us},
     {"a worker context", us},
     {"an owngil context", us}].

%% In the nodes.

-spec prepare(file:filename()) -> ok.
prepare(Here) ->
    ok = bench:start(Here),
    ok = py:register_function(bench_same, fun([Value]) -> Value end),
    ok = persistent_term:put(?MODULE, maps:from_list([{Mode, context(Mode)} || Mode <- [owngil, worker]])),
    %% Builds before limits per pool have one limit.
    _ = [catch apply(py_semaphore, set_max_concurrent, Args) || Args <- [[?NO_LIMIT], [contexts, ?NO_LIMIT]]],
    ok.

context(Mode) ->
    {ok, Ctx} = py_context:new(#{mode => Mode}),
    %% What is imported at the first use must not be measured.
    {ok, _} = py:call(Ctx, bench_work, gathered, [<<"math">>, 0, 0.0]),
    Ctx.

-spec measure(string(), pos_integer()) -> number().
measure(Name, Ms) ->
    #{owngil := Owngil, worker := Worker} = persistent_term:get(?MODULE),
    measure(Name, Ms, Owngil, Worker).

measure("one caller, owngil", Ms, Ctx, _) -> bench_measure:latency_us(sqrt(Ctx), Ms);
measure("one caller, default pool", Ms, _, _) -> bench_measure:latency_us(sqrt(), Ms);
measure("eval, owngil", Ms, Ctx, _) -> bench_measure:latency_us(fun() -> {ok, 4} = py:eval(Ctx, <<"2 + 2">>) end, Ms);
measure("50 callers, owngil", Ms, Ctx, _) -> bench_measure:per_second(sqrt(Ctx), 50, Ms);
measure("50 callers, default pool", Ms, _, _) -> bench_measure:per_second(sqrt(), 50, Ms);
measure("1000 callers, default pool", Ms, _, _) -> bench_measure:per_second(sqrt(), 1000, Ms);
measure("callback, owngil", Ms, Ctx, _) -> callback(Ctx, Ms);
measure("callback, worker", Ms, _, Ctx) -> callback(Ctx, Ms);
measure("send of integers, owngil", _, Ctx, _) -> sent(Ctx, 1);
measure("send of tuples, owngil", _, Ctx, _) -> sent(Ctx, {binary:copy(<<"x">>, 100), [1, 2.5, none]});
measure("stream of 100,000", _, _, Ctx) -> streamed(Ctx, ?ITEMS);
measure("stream of 20,000", _, _, Ctx) -> streamed(Ctx, ?SHORT);
measure("1000 coroutines that sleep 10 ms", _, _, _) -> slept();
measure("64 KiB of bytes", Ms, Ctx, _) -> there_and_back(Ctx, rand:bytes(64 * 1024), Ms);
measure("1 MiB of bytes", Ms, Ctx, _) -> there_and_back(Ctx, rand:bytes(1024 * 1024), Ms);
measure("16 MiB of bytes", Ms, Ctx, _) -> there_and_back(Ctx, rand:bytes(16 * 1024 * 1024), Ms);
measure("100,000 integers", Ms, Ctx, _) -> there_and_back(Ctx, [rand:uniform(1 bsl 31) || _ <- lists:seq(1, 100000)], Ms);
measure("10,000 maps of 3 keys", Ms, Ctx, _) ->
    Map = fun(I) -> #{<<"id">> => I, <<"name">> => <<"somebody">>, <<"score">> => I / 3} end,
    there_and_back(Ctx, [Map(I) || I <- lists:seq(1, 10000)], Ms);
measure("a worker context", _, _, _) -> started(worker);
measure("an owngil context", _, _, _) -> started(owngil).

sqrt(Ctx) -> fun() -> {ok, 4.0} = py:call(Ctx, math, sqrt, [16]) end.

sqrt() -> fun() -> {ok, 4.0} = py:call(math, sqrt, [16]) end.

callback(Ctx, Ms) ->
    {ok, Us} = py:call(Ctx, bench_work, called, [<<"bench_same">>, Ms / 1000], #{timeout => infinity}),
    Us.

sent(Ctx, Message) ->
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

streamed(Ctx, Count) ->
    Us = bench_measure:elapsed_us(fun() ->
        {ok, Items} = py:stream(Ctx, builtins, range, [Count]),
        Count = length(Items)
    end),
    Count * 1.0e6 / Us.

slept() ->
    bench_measure:elapsed_us(fun() ->
        Refs = [py:async_call(asyncio, sleep, [0.01]) || _ <- lists:seq(1, ?SLEEPERS)],
        _ = [{ok, none} = py:async_await(Ref) || Ref <- Refs]
    end).

there_and_back(Ctx, Value, Ms) ->
    erlang:garbage_collect(),
    bench_measure:latency_us(fun() -> {ok, Value} = py:call(Ctx, bench_work, same, [Value]) end, Ms).

started(Mode) ->
    bench_measure:median([bench_measure:elapsed_us(fun() ->
        {ok, Ctx} = py_context:new(#{mode => Mode}),
        ok = py_context:destroy(Ctx)
    end) || _ <- lists:seq(1, 5)]).
