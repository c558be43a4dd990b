%% @doc What a port process has written last, for the report of its death.
%%
%% When Python crashes, faulthandler writes where it was to standard error, a line for each frame of each thread. That belongs
%% into the report of the death and not, line by line, into the log before it: from the line that it begins with the lines are
%% held. Whoever lives on has written such a line by himself; then they are given back.
-module(py_last_words).

-export([new/0, add/4, release/1, all/1]).

-export_type([words/0]).

-record(words, {
    last = [] :: [binary()],                 % newest first
    held = none :: none | [binary()],        % likewise
    count = 0 :: non_neg_integer()           % of those held
}).
-opaque words() :: #words{}.

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
    case Count < ?HELD_LINES andalso not is_blank(Line) of
        true -> {held, W#words{held = [Line | Held], count = Count + 1}};
        false -> {held, W}
    end;
add(_Ctx, _Fd, Line, W = #words{last = Last}) ->
    %% Tracebacks and the like have empty lines that tell nothing.
    case is_blank(Line) of
        true -> {log, W};
        false -> {log, W#words{last = lists:sublist([Line | Last], ?LAST_LINES)}}
    end.

is_blank(<<C, Rest/binary>>) when C =:= $\s; C =:= $\t; C =:= $\r; C =:= $\n -> is_blank(Rest);
is_blank(Rest) -> Rest =:= <<>>.

%% @doc It has not died: the lines that were held, in their order.
-spec release(words()) -> {[binary()], words()}.
release(W = #words{held = none}) ->
    {[], W};
release(W = #words{held = Held, last = Last}) ->
    {lists:reverse(Held), W#words{held = none, count = 0, last = lists:sublist(Held ++ Last, ?LAST_LINES)}}.

%% @doc All that is remembered, the oldest first.
-spec all(words()) -> [binary()].
all(#words{held = none, last = Last}) -> lists:reverse(Last);
all(#words{held = Held, last = Last}) -> lists:reverse(Last, lists:reverse(Held)).
