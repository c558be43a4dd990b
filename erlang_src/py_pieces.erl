%% @doc The values of which a port process has sent some pieces and not the last: a value with bounds, for one value and
%% for all of them, so that a port cannot make the node keep more.
-module(py_pieces).

-include("py_protocol.hrl").

-export([new/1, add/3, take/2]).

-export_type([pieces/0, key/0]).

%% The alias of a reply or stream, or the number of a callback or a message.
-type key() :: reference() | integer().

-record(pieces, {
    %% How many bytes each has, and its pieces, newest first.
    values = #{} :: #{key() => {pos_integer(), [binary()]}},
    bytes = 0 :: non_neg_integer(),
    max_value :: pos_integer(),
    max_all :: pos_integer()
}).
-opaque pieces() :: #pieces{}.

%% The port sends one value in pieces after the other; between them there may be one that was collected from messages or
%% items, and one more is allowed for.
-define(VALUES, 3).
%% Beside the bytes of a piece: what the node keeps for it.
-define(OVERHEAD, 128).

%% @doc `MaxValue': max_frame_bytes of the pool, beyond which there are a header and the piece that comes last.
-spec new(pos_integer()) -> pieces().
new(MaxValue) ->
    Max = MaxValue + 2 * ?PIECE_BYTES,
    #pieces{max_value = Max, max_all = ?VALUES * Max}.

-spec add(key(), binary(), pieces()) -> {ok, pieces()} | too_large.
add(Key, Piece, P = #pieces{values = Values, bytes = All, max_value = MaxValue, max_all = MaxAll}) ->
    {Before, Chunks} = maps:get(Key, Values, {0, []}),
    Bytes = byte_size(Piece) + ?OVERHEAD,
    case Before + Bytes =< MaxValue andalso All + Bytes =< MaxAll of
        true -> {ok, P#pieces{values = Values#{Key => {Before + Bytes, [py_wire:own(Piece) | Chunks]}}, bytes = All + Bytes}};
        false -> too_large
    end.

%% @doc The pieces that came before the last one, newest first.
-spec take(key(), pieces()) -> {[binary()], pieces()}.
take(_Key, P = #pieces{bytes = 0}) ->
    {[], P};
take(Key, P = #pieces{values = Values, bytes = All}) ->
    case maps:take(Key, Values) of
        {{Bytes, Reversed}, Rest} -> {Reversed, P#pieces{values = Rest, bytes = All - Bytes}};
        error -> {[], P}
    end.
