%% @doc Bytes from a port process: a 4-byte length before each frame.
%%
%% The length is read here (and written by py_writer), not by the emulator's `{packet, 4}': that allocates whatever the length says before
%% anybody can look at it, and waits for ever for a frame of 2^31 bytes or more.
-module(py_wire).

-include("py_protocol.hrl").

-export([partial/1, add/2, own/1]).

-export_type([partial/0]).

%% The beginning of a frame: how many bytes are there, how many there must be before it is worth looking again, and the
%% bytes, newest first.
-opaque partial() :: {Have :: non_neg_integer(), Need :: pos_integer(), [binary()]}.

-define(LENGTH_BYTES, 4).
%% A binary up to this size is copied with a message.
-define(HEAP_BINARY_BYTES, 64).

%% @doc Bytes that are less than a frame. `{bad, Length}': the frame would be larger than any that a port may send.
-spec partial(binary()) -> partial() | {bad, pos_integer()}.
partial(Bytes) ->
    partial(byte_size(Bytes), [Bytes], Bytes).

partial(_Have, _Chunks, <<Length:32, _/binary>>) when Length > ?WIRE_FRAME_BYTES -> {bad, Length};
partial(Have, Chunks, <<Length:32, _/binary>>) -> {Have, Length + ?LENGTH_BYTES, Chunks};
partial(Have, Chunks, _Short) -> {Have, ?LENGTH_BYTES, Chunks}.

%% @doc The bytes that came next. `{ready, Begun, Rest}': a whole frame, or a length that {@link partial/1} has not seen, and
%% what follows it. Only what was begun is copied.
-spec add(binary(), partial()) -> partial() | {ready, binary(), binary()}.
add(Bytes, {Have, Need, Chunks}) when Have + byte_size(Bytes) < Need ->
    {Have + byte_size(Bytes), Need, [Bytes | Chunks]};
add(Bytes, {Have, Need, Chunks}) ->
    Missing = Need - Have,
    <<Last:Missing/binary, Rest/binary>> = Bytes,
    {ready, iolist_to_binary(lists:reverse(Chunks, [Last])), Rest}.

%% @doc The same bytes, for who keeps them. A part of what was read at once keeps all of that alive, and counts as all of it in
%% whoever gets it: who gets many such parts would collect garbage all the time.
-spec own(binary()) -> binary().
own(Part) when byte_size(Part) =< ?HEAP_BINARY_BYTES ->
    binary:copy(Part);
own(Part) ->
    case binary:referenced_byte_size(Part) > 2 * byte_size(Part) of
        true -> binary:copy(Part);
        false -> Part
    end.
