%% @doc Which parts of a range of the segment file are in use: a value. The bytes are none of its business; port/segments/extents.h
%% is the same for the part that the port program writes.
%%
%% An extent has a power of two of bytes, of which those that were never written take no memory. One that was given back
%% keeps the memory that it has, for the next one of its size, until that is discarded: the port program does this, and gives
%% the extent back when it has.
-module(py_extents).

-export([new/2, take/2, give_back/2, discard/2]).

-export_type([extents/0, offset/0]).

-type offset() :: non_neg_integer().

-record(extents, {
    next :: offset(),
    limit :: offset(),
    %% By the power of two; the last that was given back is the first to be taken.
    free = #{} :: #{Class :: non_neg_integer() => [offset()]},
    used = #{} :: #{offset() => {Class :: non_neg_integer(), Bytes :: pos_integer(), Memory :: pos_integer()}},
    %% Those that have memory, and when they were given back.
    idle = #{} :: #{offset() => {Turn :: pos_integer(), Class :: non_neg_integer(), Memory :: pos_integer()}},
    %% Those whose memory is being discarded.
    discarded = #{} :: #{offset() => Class :: non_neg_integer()},
    turns = 0 :: non_neg_integer()
}).
-opaque extents() :: #extents{}.

-define(PAGE_BYTES, 4096).

%% @doc All between two places in the file, page by page.
-spec new(offset(), offset()) -> extents().
new(Begin, End) ->
    #extents{next = Begin, limit = End}.

%% @doc Where so many bytes have room, and how much memory is idle no more.
-spec take(pos_integer(), extents()) -> {offset(), WasIdle :: non_neg_integer(), extents()} | full.
take(Bytes, E = #extents{next = Next, limit = Limit, free = Free}) ->
    Class = class(Bytes),
    case Free of
        #{Class := [Offset | Rest]} ->
            taken(Offset, Class, Bytes, E#extents{free = Free#{Class := Rest}});
        _ when Next + (1 bsl Class) =< Limit ->
            taken(Next, Class, Bytes, E#extents{next = Next + (1 bsl Class)});
        _ ->
            full
    end.

taken(Offset, Class, Bytes, E = #extents{used = Used, idle = Idle}) ->
    {Memory, Others} = case maps:take(Offset, Idle) of
        {{_Turn, Class, Kept}, Rest} -> {Kept, Rest};
        error -> {0, Idle}
    end,
    {Offset, Memory, E#extents{used = Used#{Offset => {Class, Bytes, max(Memory, pages(Bytes))}}, idle = Others}}.

%% @doc How many bytes are used no more, and how much memory is idle now. `unknown': no extent that is in use begins there.
-spec give_back(offset(), extents()) -> {Bytes :: non_neg_integer(), Idle :: non_neg_integer(), extents()} | unknown.
give_back(Offset, E = #extents{used = Used, idle = Idle, discarded = Discarded, turns = Turns}) ->
    case {Used, Discarded} of
        {#{Offset := {Class, Bytes, Memory}}, _} ->
            {Bytes, Memory, free(Offset, Class, E#extents{used = maps:remove(Offset, Used), turns = Turns + 1,
                                                          idle = Idle#{Offset => {Turns + 1, Class, Memory}}})};
        {_, #{Offset := Class}} ->
            {0, 0, free(Offset, Class, E#extents{discarded = maps:remove(Offset, Discarded)})};
        _ ->
            unknown
    end.

free(Offset, Class, E = #extents{free = Free}) ->
    E#extents{free = Free#{Class => [Offset | maps:get(Class, Free, [])]}}.

%% @doc Takes so much memory, or all that there is, from extents that are idle, from the one that is so for longest on. They
%% are out of use until they are given back.
-spec discard(pos_integer(), extents()) -> {[{offset(), pos_integer()}], extents()}.
discard(Memory, E = #extents{idle = Idle}) ->
    Oldest = lists:sort([{Turn, Offset, Class, Kept} || {Offset, {Turn, Class, Kept}} <- maps:to_list(Idle)]),
    Chosen = enough(Oldest, Memory),
    {[{Offset, Kept} || {_, Offset, _, Kept} <- Chosen], lists:foldl(fun out_of_use/2, E, Chosen)}.

enough([First = {_, _, _, Kept} | Rest], Memory) when Memory > 0 -> [First | enough(Rest, Memory - Kept)];
enough(_, _) -> [].

out_of_use({_Turn, Offset, Class, _Kept}, E = #extents{free = Free, idle = Idle, discarded = Discarded}) ->
    E#extents{free = Free#{Class := lists:delete(Offset, map_get(Class, Free))}, idle = maps:remove(Offset, Idle),
              discarded = Discarded#{Offset => Class}}.

class(Bytes) -> class(max(Bytes, ?PAGE_BYTES), 12).

class(Bytes, Class) when Bytes =< 1 bsl Class -> Class;
class(Bytes, Class) -> class(Bytes, Class + 1).

pages(Bytes) -> (Bytes + ?PAGE_BYTES - 1) div ?PAGE_BYTES * ?PAGE_BYTES.
