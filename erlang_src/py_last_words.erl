%% @doc What a port process has written last, for the report of its death.
%%
%% When Python crashes, faulthandler writes where it was to standard error, a line for each frame of each thread. That belongs
%% into the report of the death and not, line by line, into the log before it: from the line that it begins with the lines are
%% held. Whoever lives on has written such a line by himself; then they are given back. How many there were no room for is said.
-module(py_last_words).

-export([new/0, add/4, release/1, all/1]).

-export_type([words/0, released/0]).

-record(words, {
    last = [] :: [binary()],                 % newest first
    held = none :: none | [binary()],        % likewise
    count = 0 :: non_neg_integer()           % of those that were to be held
}).
-opaque words() :: #words{}.
-type released() :: binary() | {dropped, pos_integer()}.

-define(LAST_LINES, 10).
%% A few threads with deep stacks; the one that crashed comes first.
-define(HELD_LINES, 100).
%% Of what C code writes it is not known in which context.
-define(NO_CONTEXT, 0).
-define(STANDARD_ERROR, 2).

-spec new() -> words().
new() ->
    #words{}.

%% @doc A line, and what to do with it: `hold' says that lines are held from this one on, `held' that this one is too.
-spec add(CtxId :: non_neg_integer(), Fd :: 1 | 2, binary(), words()) -> {log | hold | held, words()}.
add(?NO_CONTEXT, ?STANDARD_ERROR, Line = <<"Fatal Python error: ", _/binary>>, W = #words{held = none}) ->
    {hold, W#words{held = [Line], count = 1}};
add(?NO_CONTEXT, ?STANDARD_ERROR, Line, W = #words{held = Held, count = Count}) when Held =/= none ->
    case Count < ?HELD_LINES of
        true -> {held, W#words{held = [Line | Held], count = Count + 1}};
        false -> {held, W#words{count = Count + 1}}
    end;
add(_Ctx, _Fd, Line, W = #words{last = Last}) ->
    {log, W#words{last = remember([Line], Last)}}.

remember(Lines, Last) ->
    lists:sublist(telling(Lines) ++ Last, ?LAST_LINES).

%% Tracebacks and the like have empty lines that tell nothing.
telling(Lines) ->
    [Line || Line <- Lines, not is_blank(Line)].

is_blank(<<C, Rest/binary>>) when C =:= $\s; C =:= $\t; C =:= $\r; C =:= $\n -> is_blank(Rest);
is_blank(Rest) -> Rest =:= <<>>.

%% @doc It has not died: the lines that were held, in their order, and how many came after them.
-spec release(words()) -> {[released()], words()}.
release(W = #words{held = none}) ->
    {[], W};
release(W = #words{held = Held, last = Last}) ->
    Dropped = [{dropped, N} || N <- [dropped(W)], N > 0],
    {lists:reverse(Held, Dropped), W#words{held = none, count = 0, last = remember(Held, Last)}}.

%% @doc All that is remembered and tells something, the oldest first.
-spec all(words()) -> [binary()].
all(#words{held = none, last = Last}) ->
    lists:reverse(Last);
all(W = #words{held = Held, last = Last}) ->
    More = [iolist_to_binary(io_lib:format("(and ~b lines more)", [N])) || N <- [dropped(W)], N > 0],
    lists:reverse(Last, lists:reverse(telling(Held), More)).

dropped(#words{count = Count}) -> max(0, Count - ?HELD_LINES).
