%% What the bench prints: tables, and at the end the targets with PASS or MISS.
-module(bench_report).

-export([title/1, header/1, row/1, note/2, us/1, rate/1, ratio/1, target/4, summary/1]).
-export_type([target/0]).

-opaque target() :: {What :: string(), Shown :: string(), Wanted :: string(), boolean()}.

-define(FIRST_WIDTH, 44).
-define(WIDTH, 16).

-spec title(string()) -> ok.
title(Text) ->
    io:format("~n~ts~n~ts~n", [Text, lists:duplicate(string:length(Text), $-)]).

-spec header([string()]) -> ok.
header(Cells) -> row(Cells).

-spec row([iodata()]) -> ok.
row([First | Cells]) ->
    io:format("  ~ts~ts~n", [string:pad(First, ?FIRST_WIDTH), [string:pad(Cell, ?WIDTH, leading) || Cell <- Cells]]).

-spec note(io:format(), [term()]) -> ok.
note(Format, Args) ->
    io:format("  " ++ Format ++ "~n", Args).

%% A duration given in microseconds, in a unit that suits it.
-spec us(number()) -> string().
us(Us) when Us >= 1.0e6 -> format("~.2f s", [Us / 1.0e6]);
us(Us) when Us >= 1.0e4 -> format("~.1f ms", [Us / 1.0e3]);
us(Us) when Us >= 1.0e3 -> format("~.2f ms", [Us / 1.0e3]);
us(Us) when Us >= 100 -> format("~b us", [round(Us)]);
us(Us) -> format("~.1f us", [float(Us)]).

-spec rate(number()) -> string().
rate(PerSecond) when PerSecond >= 1.0e3 -> format("~.1f K/s", [PerSecond / 1.0e3]);
rate(PerSecond) -> format("~b /s", [round(PerSecond)]).

-spec ratio(number()) -> string().
ratio(Ratio) -> format("~.2f x", [float(Ratio)]).

%% `at_most' and `at_least' a bound; `Show' turns the value and the bound into text.
-spec target(string(), number(), {at_most | at_least, number()}, fun((number()) -> string())) -> target().
target(What, Value, {at_most, Bound}, Show) -> {What, Show(Value), "at most " ++ Show(Bound), Value =< Bound};
target(What, Value, {at_least, Bound}, Show) -> {What, Show(Value), "at least " ++ Show(Bound), Value >= Bound}.

-spec summary([target()]) -> ok.
summary([]) ->
    ok;
summary(Targets) ->
    title("Targets"),
    lists:foreach(
        fun({What, Shown, Wanted, Met}) ->
            io:format("  ~ts  ~ts~ts   wanted: ~ts~n",
                      [case Met of true -> "PASS"; false -> "MISS" end, string:pad(What, ?FIRST_WIDTH - 6),
                       string:pad(Shown, ?WIDTH, leading), Wanted])
        end,
        Targets).

format(Format, Args) ->
    lists:flatten(io_lib:format(Format, Args)).
