%% @doc When a port process that died is started again, and what its callers are told meanwhile. Pure: events in,
%% decisions out; py_pool acts on them.
-module(py_pool_core).

-export([new/0, started/1, up/2, died/3, answer/1, phase/1]).

-export_type([core/0, why/0]).

-type why() :: term().
-record(core, {
    phase = starting :: starting | up | waiting,
    %% Since when it is up, in milliseconds of monotonic time.
    since = 0 :: integer(),
    %% Deaths without a minute of good health between them.
    deaths = 0 :: non_neg_integer(),
    %% What callers are told while it is down, `none' when they wait.
    told = none :: none | {error, why()},
    delay = 0 :: non_neg_integer()
}).
-opaque core() :: #core{}.

%% A port that has lived this long died of something new.
-define(HEALTHY_MS, 60000).
-define(FIRST_DELAY_MS, 50).
-define(MAX_DELAY_MS, 5000).
%% Callers wait for a restart that comes sooner than this, and fail at once when it does not.
-define(PATIENCE_MS, 1000).

-spec new() -> core().
new() ->
    #core{}.

%% @doc The port process is being started.
-spec started(core()) -> core().
started(Core) ->
    Core#core{phase = starting}.

%% @doc It takes requests.
-spec up(integer(), core()) -> core().
up(_Now, Core = #core{phase = up}) ->
    Core;
up(Now, Core) ->
    Core#core{phase = up, since = Now, told = none}.

%% @doc It died; it is to be started again after so many milliseconds. The first death costs no delay.
-spec died(why(), integer(), core()) -> {non_neg_integer(), core()}.
died(Why, Now, Core = #core{phase = Phase}) ->
    Deaths = case Phase of
        up when Now - Core#core.since >= ?HEALTHY_MS -> 0;
        _ -> Core#core.deaths
    end,
    %% One that never came up has nothing to wait for: its next start would most likely fail the same way.
    Delay = case Phase of
        up -> delay(Deaths);
        _ -> max(?FIRST_DELAY_MS, delay(Deaths))
    end,
    Told = case Phase =:= up andalso Delay < ?PATIENCE_MS of
        true -> none;
        false -> {error, Why}
    end,
    {Delay, Core#core{phase = waiting, deaths = Deaths + 1, told = Told, delay = Delay}}.

delay(0) -> 0;
delay(Deaths) when Deaths > 7 -> ?MAX_DELAY_MS;
delay(Deaths) -> min(?MAX_DELAY_MS, ?FIRST_DELAY_MS bsl (Deaths - 1)).

%% @doc What a caller is told who wants a context of it now: go ahead, wait, or why not.
-spec answer(core()) -> up | wait | {error, why()}.
answer(#core{phase = up}) -> up;
answer(#core{told = none}) -> wait;
answer(#core{told = {error, Why}}) -> {error, Why}.

-spec phase(core()) -> starting | up | {waiting, non_neg_integer()}.
phase(#core{phase = waiting, delay = Delay}) -> {waiting, Delay};
phase(#core{phase = Phase}) -> Phase.
