%% Shared state: increments per second from Erlang and from Python, and what the limit on keys adds.
-module(bench_state).

-export([state/1]).

-define(KEYS, 1000).

-spec state(bench:settings()) -> [bench_report:target()].
state(#{rounds := Rounds, ms := Ms}) ->
    {ok, Worker} = py_context:new(#{mode => worker}),
    Owngil = [begin {ok, Ctx} = py_context:new(#{mode => owngil}), Ctx end || _ <- [1, 2]],
    try
        from_erlang(Rounds, Ms),
        from_python(Rounds, Ms, Worker, Owngil),
        new_keys(Rounds)
    after
        ok = py:state_clear(),
        lists:foreach(fun py_context:destroy/1, [Worker | Owngil])
    end,
    [].

from_erlang(Rounds, Ms) ->
    bench_report:title("Shared state from Erlang: operations per second of so many processes together"),
    bench_report:header(["", "1", "2", "50"]),
    lists:foreach(fun({Name, Subject}) ->
        Rates = bench_measure:interleaved(
            Rounds, [fun() -> bench_measure:per_second(Subject, N, Ms) end || N <- [1, 2, 50]]),
        bench_report:row([Name | [bench_report:rate(Rate) || Rate <- Rates]])
    end, [{"state_incr, one counter", fun() -> py:state_incr(<<"n">>) end},
          {"state_incr, a counter each", fun() -> py:state_incr(self()) end},
          {"state_fetch, one key", fun() -> py:state_fetch(<<"n">>) end},
          {"three fetches and an increment", fun() ->
              [{ok, _} = py:state_fetch(<<"n">>) || _ <- [1, 2, 3]],
              py:state_incr(<<"m">>)
          end}]).

%% Seconds are Python's own, of which a request takes none.
from_python(Rounds, Ms, Worker, [One, Two]) ->
    bench_report:title("erlang.state_incr from Python: increments per second"),
    bench_report:header(["", "one counter"]),
    Count = fun(Ctxs, Threads) -> fun() ->
        Refs = [py:cast(Ctx, bench_work, count, [<<"n">>, Threads, Ms / 1000]) || Ctx <- Ctxs],
        lists:sum([begin {ok, N} = py:await(Ref), N end || Ref <- Refs]) * 1000 / Ms
    end end,
    Subjects = [{"one thread, owngil", Count([One], 1)},
                {"one thread, worker", Count([Worker], 1)},
                {"50 threads, worker", Count([Worker], 50)},
                {"two owngil contexts, a thread each", Count([One, Two], 1)},
                {"two owngil contexts, 50 threads each", Count([One, Two], 50)}],
    Rates = bench_measure:interleaved(Rounds, [Subject || {_, Subject} <- Subjects]),
    lists:foreach(fun({{Name, _}, Rate}) -> bench_report:row([Name, bench_report:rate(Rate)]) end,
                  lists:zip(Subjects, Rates)).

new_keys(Rounds) ->
    bench_report:title("New keys stored per second by 50 processes"),
    bench_report:header(["", "no limit", "limit", "x"]),
    [Free, Limited] = bench_measure:interleaved(Rounds, [fun() -> store_new(Max) end || Max <- [infinity, 50 * ?KEYS]]),
    bench_report:row(["state_store", bench_report:rate(Free), bench_report:rate(Limited),
                      bench_report:ratio(Limited / Free)]).

store_new(Max) ->
    ok = py:state_clear(),
    ok = application:set_env(erlang_python, max_state_entries, Max),
    Us = bench_measure:elapsed_us(fun() ->
        Jobs = [spawn_monitor(fun() -> [ok = py:state_store({N, K}, K) || K <- lists:seq(1, ?KEYS)] end)
                || N <- lists:seq(1, 50)],
        [receive {'DOWN', Monitor, process, Pid, normal} -> ok end || {Pid, Monitor} <- Jobs]
    end),
    ok = application:set_env(erlang_python, max_state_entries, infinity),
    50 * ?KEYS * 1.0e6 / Us.
