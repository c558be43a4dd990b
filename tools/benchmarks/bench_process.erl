%% The life of port processes: how long a pool is away when its process is killed, and what an idle one uses.
-module(bench_process).

-export([restart/1, idle/1]).

-define(POOL, bench_restart).
-define(RETRY_MS, 1).

-spec restart(bench:settings()) -> [bench_report:target()].
restart(#{rounds := Rounds}) ->
    bench_report:title("SIGKILL of a pool's process while a call runs in it (pool of 2, a new one each time)"),
    bench_report:header(["", "caller told", "next good call"]),
    Killer = bench_os:killer(),
    Medians = [begin
        {Told, Back} = lists:unzip([kill_once(Mode, Killer) || _ <- lists:seq(1, Rounds)]),
        bench_report:row([atom_to_list(Mode), bench_report:us(bench_measure:median(Told)),
                          bench_report:us(bench_measure:median(Back))]),
        bench_measure:median(Back)
     end || Mode <- [worker, owngil]],
    true = port_close(Killer),
    [bench_report:target("restart of a pool until the next good call", lists:max(Medians), {at_most, 200000},
                         fun bench_report:us/1)].

%% Microseconds from the kill until the running call has its error, and until a call succeeds.
kill_once(Mode, Killer) ->
    {ok, _} = py_context_router:start_pool(?POOL, 2, #{mode => Mode}),
    {ok, Pid} = py:call(?POOL, os, getpid, []),
    {_, Monitor} = spawn_monitor(fun() -> exit({result, py:call(?POOL, time, sleep, [60])}) end),
    timer:sleep(50),
    Start = erlang:monotonic_time(microsecond),
    bench_os:kill(Killer, Pid),
    receive {'DOWN', Monitor, process, _, {result, {error, {context_died, {signal, sigkill}}}}} -> ok end,
    Told = erlang:monotonic_time(microsecond),
    ok = until_good(),
    Back = erlang:monotonic_time(microsecond),
    ok = py_context_router:stop_pool(?POOL),
    {Told - Start, Back - Start}.

until_good() ->
    case py:call(?POOL, math, sqrt, [16]) of
        {ok, 4.0} -> ok;
        {error, _} ->
            timer:sleep(?RETRY_MS),
            until_good()
    end.

-spec idle(bench:settings()) -> [bench_report:target()].
idle(#{idle_ms := Ms, ms := BusyMs}) ->
    bench_report:title(lists:flatten(io_lib:format("Idle for ~b s after traffic", [Ms div 1000]))),
    bench_report:header(["port process of pool", "CPU ticks", "wake-ups"]),
    {ok, _} = py_context_router:start_pool(bench_idle, 2, #{mode => owngil}),
    Pids = [begin
        _ = bench_measure:per_second(fun() -> {ok, 4.0} = py:call(Pool, math, sqrt, [16]) end, 10, BusyMs),
        {ok, Pid} = py:call(Pool, os, getpid, []),
        {Pool, Pid}
     end || Pool <- [default, io, bench_idle]],
    timer:sleep(500),
    Before = [{bench_os:cpu_ticks(Pid), bench_os:wake_ups(Pid)} || {_, Pid} <- Pids],
    timer:sleep(Ms),
    After = [{bench_os:cpu_ticks(Pid), bench_os:wake_ups(Pid)} || {_, Pid} <- Pids],
    Ticks = [begin
        bench_report:row([io_lib:format("~p~s", [Pool, case Pool of bench_idle -> " (owngil)"; _ -> "" end]),
                          integer_to_list(Ticks1 - Ticks0), integer_to_list(Wakes1 - Wakes0)]),
        Ticks1 - Ticks0
     end || {{Pool, _}, {Ticks0, Wakes0}, {Ticks1, Wakes1}} <- lists:zip3(Pids, Before, After)],
    ok = py_context_router:stop_pool(bench_idle),
    [bench_report:target("CPU of idle port processes, ticks of 10 ms", lists:sum(Ticks), {at_most, 0},
                         fun integer_to_list/1)].
