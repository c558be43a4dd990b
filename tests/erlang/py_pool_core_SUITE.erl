%% When a pool's port process is started again, and what its callers are told: the decisions alone, without processes.
-module(py_pool_core_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(MINUTE, 60000).

all() ->
    [callers_wait_for_the_first_start, first_death_restarts_at_once, delays_double_up_to_a_bound, a_minute_of_health_forgives,
     just_under_a_minute_does_not, patience_ends_with_long_delays, a_failed_start_is_told_at_once,
     success_after_failures_is_up, up_twice_keeps_the_clock].

%% Proves that callers wait while the pool starts for the first time.
callers_wait_for_the_first_start(_) ->
    Core = py_pool_core:new(),
    ?assertEqual(wait, py_pool_core:answer(Core)),
    ?assertEqual(starting, py_pool_core:phase(Core)),
    ?assertEqual(up, py_pool_core:answer(py_pool_core:up(0, Core))).

%% Proves that a death out of the blue costs no delay, and that callers wait for the restart.
first_death_restarts_at_once(_) ->
    {0, Core} = py_pool_core:died({signal, sigsegv}, 5, py_pool_core:up(0, py_pool_core:new())),
    ?assertEqual(wait, py_pool_core:answer(Core)),
    ?assertEqual({waiting, 0}, py_pool_core:phase(Core)),
    ?assertEqual(wait, py_pool_core:answer(py_pool_core:started(Core))).

%% Proves the sequence of delays of a pool that dies whenever it is up.
delays_double_up_to_a_bound(_) ->
    {Delays, _} = deaths(11, 100, py_pool_core:new()),
    ?assertEqual([0, 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000], Delays).

%% Proves that a pool that lived for a minute is treated like one that never died.
a_minute_of_health_forgives(_) ->
    {_, Bad} = deaths(8, 100, py_pool_core:new()),
    Healthy = py_pool_core:up(1000, py_pool_core:started(Bad)),
    {Delay, Core} = py_pool_core:died({exit_status, 1}, 1000 + ?MINUTE, Healthy),
    ?assertEqual(0, Delay),
    ?assertEqual(wait, py_pool_core:answer(Core)).

%% Proves that shorter lives do not count as health.
just_under_a_minute_does_not(_) ->
    {_, Bad} = deaths(3, 100, py_pool_core:new()),
    Again = py_pool_core:up(1000, py_pool_core:started(Bad)),
    {Delay, _} = py_pool_core:died({exit_status, 1}, 1000 + ?MINUTE - 1, Again),
    ?assertEqual(200, Delay).

%% Proves that callers wait for a restart that comes within a second, and are told the cause when it does not.
patience_ends_with_long_delays(_) ->
    {_, Soon} = deaths(6, 100, py_pool_core:new()),
    ?assertEqual(wait, py_pool_core:answer(Soon)),
    {_, Late} = deaths(7, 100, py_pool_core:new()),
    ?assertEqual({error, {signal, sigabrt}}, py_pool_core:answer(Late)),
    %% Also while the next start is tried: nobody knows yet whether it goes well.
    ?assertEqual({error, {signal, sigabrt}}, py_pool_core:answer(py_pool_core:started(Late))).

%% Proves that a pool that does not come up is not waited for, and not tried in a tight loop.
a_failed_start_is_told_at_once(_) ->
    Why = {start_failed, {'SyntaxError', <<"preload">>}},
    {First, Core} = py_pool_core:died(Why, 0, py_pool_core:new()),
    ?assertEqual({50, {error, Why}}, {First, py_pool_core:answer(Core)}),
    {Second, Core2} = py_pool_core:died(Why, 60, py_pool_core:started(Core)),
    {Third, Core3} = py_pool_core:died(Why, 120, py_pool_core:started(Core2)),
    ?assertEqual([50, 100], [Second, Third]),
    ?assertEqual({error, Why}, py_pool_core:answer(Core3)).

%% Proves that past failures are not told once the pool is up.
success_after_failures_is_up(_) ->
    {_, Bad} = deaths(9, 100, py_pool_core:new()),
    ?assertEqual(up, py_pool_core:answer(py_pool_core:up(0, py_pool_core:started(Bad)))).

%% Proves that replacing one context of a healthy pool does not restart its clock.
up_twice_keeps_the_clock(_) ->
    {_, Bad} = deaths(3, 100, py_pool_core:new()),
    Once = py_pool_core:up(0, py_pool_core:started(Bad)),
    Twice = py_pool_core:up(?MINUTE - 1, Once),
    {Delay, _} = py_pool_core:died({exit_status, 1}, ?MINUTE, Twice),
    ?assertEqual(0, Delay).

%% The delays of a pool that dies `Lived' milliseconds after each start.
deaths(N, Lived, Core) ->
    lists:mapfoldl(
        fun(I, Before) ->
            Now = I * 10000,
            py_pool_core:died({signal, sigabrt}, Now + Lived, py_pool_core:up(Now, py_pool_core:started(Before)))
        end,
        Core, lists:seq(1, N)).
