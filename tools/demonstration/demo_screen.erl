%% What the tour prints: chapters, sentences, checks, and a progress bar that is redrawn only on a terminal.
-module(demo_screen).

-export([chapter/2, tell/2, say/2, check/2, bar_open/3, bar/2, bar_close/2, ms/1, grouped/1]).
-export_type([bar/0]).

-define(BAR_CELLS, 40).
-define(LABEL_WIDTH, 14).
-define(TEXT_WIDTH, 100).

-opaque bar() :: {Label :: string(), Total :: pos_integer(), Redraw :: boolean()}.

-spec chapter(pos_integer(), string()) -> ok.
chapter(Number, Title) ->
    io:format("~n~b. ~ts~n", [Number, Title]).

%% Sentences, broken into lines.
-spec tell(io:format(), [term()]) -> ok.
tell(Format, Args) ->
    Words = string:lexemes(unicode:characters_to_list(io_lib:format(Format, Args)), " \n"),
    io:format("  ~ts~n", [lines(Words, 0)]).

lines([], _Column) ->
    [];
lines([Word | Rest], Column) ->
    case Column + 1 + string:length(Word) of
        Next when Next > ?TEXT_WIDTH, Column > 0 -> ["\n   ", Word | lines(Rest, string:length(Word))];
        Next -> [" ", Word | lines(Rest, Next)]
    end.

%% A line as it is.
-spec say(io:format(), [term()]) -> ok.
say(Format, Args) ->
    io:format("   " ++ Format ++ "~n", Args).

%% Prints whether something that the text promises is so, and gives it back.
-spec check(boolean(), string()) -> boolean().
check(Holds, Text) ->
    io:format("   ~ts  ~ts~n", [case Holds of true -> "[ok]    "; false -> "[FAILED]" end, Text]),
    Holds.

-spec bar_open(string(), pos_integer(), Terminal :: boolean()) -> bar().
bar_open(Label, Total, Terminal) ->
    bar({Label, Total, Terminal}, 0).

-spec bar(bar(), non_neg_integer()) -> bar().
bar(Bar = {_Label, _Total, false}, _Done) ->
    Bar;
bar(Bar = {_Label, Total, true}, Done) ->
    io:format("\r~ts ~3b %", [drawn(Bar, Done), Done * 100 div Total]),
    Bar.

-spec bar_close(bar(), string()) -> ok.
bar_close(Bar = {_Label, Total, Redraw}, Text) ->
    io:format("~ts~ts  ~ts~n", [case Redraw of true -> "\r"; false -> "" end, drawn(Bar, Total), Text]).

drawn({Label, Total, _Redraw}, Done) ->
    Full = Done * ?BAR_CELLS div Total,
    ["   ", string:pad(Label, ?LABEL_WIDTH), "[", lists:duplicate(Full, $#),
     lists:duplicate(?BAR_CELLS - Full, $.), "]"].

%% A duration in microseconds, as milliseconds or seconds.
-spec ms(number()) -> string().
ms(Us) when Us >= 1.0e6 -> lists:flatten(io_lib:format("~.2f s", [Us / 1.0e6]));
ms(Us) -> lists:flatten(io_lib:format("~.2f ms", [Us / 1.0e3])).

%% 1234567 as 1,234,567.
-spec grouped(non_neg_integer()) -> string().
grouped(N) when N < 1000 -> integer_to_list(N);
grouped(N) -> lists:flatten([grouped(N div 1000), io_lib:format(",~3..0b", [N rem 1000])]).
