%% @doc Which word was meant.
-module(py_spelling).

-export([nearest/2]).

%% @doc Of the words the one that takes least to become this one, if that is little: a mistake, and one more for every four
%% characters.
-spec nearest(atom(), [atom()]) -> atom() | none.
nearest(Word, Words) ->
    Text = atom_to_list(Word),
    case lists:sort([{distance(Text, atom_to_list(Other)), Other} || Other <- Words]) of
        [{Distance, Other} | _] when Distance =< 1 + length(Text) div 4 -> Other;
        _ -> none
    end.

%% How many characters have to be put in, taken out or replaced: a row for each of the first word.
distance(From, To) ->
    First = lists:seq(0, length(To)),
    lists:last(lists:foldl(fun(Char, Row = [Left | _]) -> row(Char, To, Row, Left + 1) end, First, From)).

row(Char, To, [Diagonal | Above], Left) ->
    [Left | cells(Char, To, Diagonal, Above, Left)].

cells(Char, [Other | To], Diagonal, [Above | Rest], Left) ->
    Cell = min(min(Left, Above) + 1, Diagonal + case Char =:= Other of true -> 0; false -> 1 end),
    [Cell | cells(Char, To, Above, Rest, Cell)];
cells(_Char, [], _Diagonal, [], _Left) ->
    [].
