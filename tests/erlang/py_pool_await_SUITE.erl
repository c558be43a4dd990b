%% What a pool remembers of those that wait for it, by itself.
-module(py_pool_await_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

all() ->
    [a_process_waits_once, the_dead_are_forgotten].

%% Proves that a process that has given up and asks again does not wait twice.
a_process_waits_once(_) ->
    Waiting = lists:foldl(fun(N, Before) -> waits({self(), N}, Before) end, py_pool_await:new(), lists:seq(1, 10)),
    ?assertEqual([{self(), {{self(), 10}, none}}], callers(Waiting)).

%% Proves that a pool that never comes up does not remember all that have ever asked, and forgets nobody who waits.
the_dead_are_forgotten(_) ->
    Living = [spawn_link(fun() -> receive after infinity -> ok end end) || _ <- lists:seq(1, 600)],
    Waiting = lists:foldl(fun(Pid, Before) -> waits({Pid, tag}, Before) end, py_pool_await:new(), Living),
    Later = lists:foldl(fun(_, Before) -> waits({dead(), tag}, Before) end, Waiting, lists:seq(1, 5000)),
    Pids = [Pid || {Pid, _} <- callers(Later)],
    ?assert(length(Pids) =< 2000),
    ?assertEqual([], Living -- Pids),
    lists:foreach(fun(Pid) -> unlink(Pid), exit(Pid, kill) end, Living).

%% Of a pool that has no context yet.
waits(From, Waiting) ->
    {wait, Next} = py_pool_await:awaits(none, none, From, [], Waiting),
    Next.

callers(Waiting) ->
    maps:to_list(element(2, Waiting)).

dead() ->
    {Pid, Monitor} = spawn_monitor(fun() -> ok end),
    receive {'DOWN', Monitor, process, _, _} -> Pid end.
