%% Large values there and back, against the echo of the same bytes in the external term format.
-module(bench_values).

-export([values/1]).

-spec values(bench:settings()) -> [bench_report:target()].
values(#{rounds := Rounds, echo_port := Program}) ->
    bench_report:title("Values there and back through a Python function; echo: encoded, sent back, decoded"),
    bench_report:header(["", "echo", "owngil", "x echo"]),
    Echo = bench_echo:open(Program),
    {ok, Ctx} = py_context:new(#{mode => owngil}),
    lists:foreach(fun({Name, Value}) -> row(Name, Value, Echo, Ctx, Rounds) end, samples()),
    ok = py_context:destroy(Ctx),
    ok = bench_echo:close(Echo),
    [].

samples() ->
    [{"1 KiB of bytes", rand:bytes(1024)},
     {"64 KiB of bytes", rand:bytes(64 * 1024)},
     {"1 MiB of bytes", rand:bytes(1024 * 1024)},
     {"16 MiB of bytes", rand:bytes(16 * 1024 * 1024)},
     {"1 MiB of text (str)", binary:copy(<<"Erlang and Python. Grüße "/utf8>>, 39000)},
     {"100,000 integers", [rand:uniform(1 bsl 31) || _ <- lists:seq(1, 100000)]},
     {"100,000 floats", [rand:uniform() || _ <- lists:seq(1, 100000)]},
     {"10,000 maps of 3 keys",
      [#{<<"id">> => I, <<"name">> => <<"somebody">>, <<"score">> => I / 3} || I <- lists:seq(1, 10000)]}].

row(Name, Value, Echo, Ctx, Rounds) ->
    Ours = fun() -> {ok, Value} = py:call(Ctx, bench_work, same, [Value]) end,
    Floor = fun() ->
        Value = binary_to_term(iolist_to_binary(bench_echo:call(Echo, term_to_binary(Value))))
    end,
    Repeats = max(1, min(200, 4000000 div max(1, erlang:external_size(Value)))),
    [FloorUs, OursUs] = bench_measure:interleaved(Rounds, [fun() -> mean_us(Repeats, F) end || F <- [Floor, Ours]]),
    bench_report:row([Name, bench_report:us(FloorUs), bench_report:us(OursUs), bench_report:ratio(OursUs / FloorUs)]).

mean_us(Repeats, Subject) ->
    erlang:garbage_collect(),
    bench_measure:elapsed_us(fun() -> [Subject() || _ <- lists:seq(1, Repeats)] end) / Repeats.
