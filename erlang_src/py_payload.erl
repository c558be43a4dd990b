%% @doc A value that has come from a port process: decoded with `[safe]', so Python can make no atoms but those that py_atoms
%% admitted, never compressed, and no larger than `max_term_bytes'. Everything that comes from there is decoded here, in the
%% process that wants it.
-module(py_payload).

-include("py_protocol.hrl").

-export([value/1, size/1, with_segments/3]).

-export_type([payload/0, reason/0]).

%% A binary, or the list of its pieces, the first of which may be the large binaries that were not in the frame: in the value
%% `[Token | Index]' stands for each.
-type payload() :: binary() | [binary() | {segments, Token :: non_neg_integer(), tuple()}].

%% The one is what Python may cause, the other what a port program that is intact never sends.
-type reason() :: {not_encodable, atom_table_full} | {bad_reply, binary()}.

%% What a byte of the external format may take at the most: an element of a list of empty lists.
-define(WORST_TERM_BYTES, 16).
%% Payloads up to this size cannot pass any max_term_bytes that is allowed.
-define(SMALL_BYTES, (?MIN_TERM_BYTES div ?WORST_TERM_BYTES)).

%% @doc The payload with these large binaries.
-spec with_segments(payload(), non_neg_integer(), [binary()]) -> payload().
with_segments(Payload, Token, Binaries) when is_binary(Payload) ->
    with_segments([Payload], Token, Binaries);
with_segments(Pieces, Token, Binaries) ->
    [{segments, Token, list_to_tuple(Binaries)} | Pieces].

%% @doc How many bytes came for it.
-spec size(payload()) -> non_neg_integer().
size([{segments, _, Binaries} | Pieces]) -> lists:sum([byte_size(B) || B <- tuple_to_list(Binaries)]) + iolist_size(Pieces);
size(Payload) -> iolist_size(Payload).

-spec value(payload()) -> {value, term()} | {error, reason()}.
value([{segments, Token, Binaries} | Pieces]) ->
    case value(iolist_to_binary(Pieces)) of
        {value, Value} -> {value, py_segments:put_in(Value, Token, Binaries)};
        Error -> Error
    end;
value(Pieces) when is_list(Pieces) ->
    value(iolist_to_binary(Pieces));
value(<<131, 80, _/binary>>) ->
    {error, {bad_reply, <<"compressed">>}};
value(Payload) when byte_size(Payload) > ?SMALL_BYTES ->
    Max = py_config:max_term_bytes(),
    case byte_size(Payload) * ?WORST_TERM_BYTES =< Max orelse py_term_size:within(Payload, Max) of
        true -> decoded(Payload);
        false -> {error, {bad_reply, <<"larger than max_term_bytes">>}}
    end;
value(Payload) ->
    decoded(Payload).

decoded(Payload) ->
    try binary_to_term(Payload, [safe]) of
        Value -> {value, Value}
    catch
        %% An atom beyond the bound of py_atoms, or what a port program that is intact does not write.
        error:badarg ->
            case py_unknown_atom:find(Payload) of
                {ok, _} -> {error, {not_encodable, atom_table_full}};
                none -> {error, {bad_reply, <<"no term">>}}
            end
    end.
