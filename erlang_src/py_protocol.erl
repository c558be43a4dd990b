%% @doc Frames to the port program and the payloads it sends back: docs/protocol.md, written once.
-module(py_protocol).

-include("py_protocol.hrl").
-include("py_route.hrl").

%% Frames.
-export([init/1, request/7, pieces/3, new_context/4, stop_context/2, drop_env/2, interrupt/2, stats/1]).
-export([result/3, functions/1, messages_taken/1, cancel/2, credit/4]).
%% Answers.
-export([decode/1, items/1, items_bytes/1, vocabulary/0]).

-export_type([operation/0, payload/0, outcome/0]).

%% Of an ITEMS payload: the version byte, the head of a list with its 4-byte length, and its end.
-define(LIST_BYTES, 7).

-type name() :: atom() | binary().
-type operation() ::
    {call, M :: name(), F :: name(), Args :: [term()], Kwargs :: map()}
    | {eval, Expr :: binary(), Locals :: map()}
    | {exec, Code :: binary()}.
%% A binary, or the list of its pieces.
-type payload() :: binary() | [binary()].
%% What became of a callback; `Text' and `Stack' are for people.
-type outcome() ::
    {ok, term()}
    | {error, error | exit | throw, Reason :: term(), Text :: binary(), Stack :: binary()}
    | unregistered.

-spec init(map()) -> binary().
init(Config) ->
    term_to_binary({?OP_INIT, Config}).

%% @doc The frame of a request. `TimeoutMs' is 0 for no limit.
-spec request(operation(), #route{}, #caller{}, reference(), non_neg_integer(), non_neg_integer(), non_neg_integer()) ->
    binary().
request({call, M, F, Args, Kwargs}, Route, Caller, Alias, Slot, TimeoutMs, Flags) ->
    #route{id = Id, env = Env} = Route,
    #caller{chain = Chain, who = Who} = Caller,
    term_to_binary({?OP_CALL, Id, Alias, Slot, TimeoutMs, Env, Flags, Chain, Who, M, F, Args, Kwargs});
request({eval, Expr, Locals}, Route, Caller, Alias, Slot, TimeoutMs, Flags) ->
    #route{id = Id, env = Env} = Route,
    #caller{chain = Chain, who = Who} = Caller,
    term_to_binary({?OP_EVAL, Id, Alias, Slot, TimeoutMs, Env, Flags, Chain, Who, Expr, Locals});
request({exec, Code}, Route, Caller, Alias, Slot, TimeoutMs, Flags) ->
    #route{id = Id, env = Env} = Route,
    #caller{chain = Chain, who = Who} = Caller,
    term_to_binary({?OP_EXEC, Id, Alias, Slot, TimeoutMs, Env, Flags, Chain, Who, Code}).

%% @doc Cuts a frame that is larger than a piece; the port joins them by `Alias', and gives `Slot' back when it cannot.
%% What term_to_binary/1 would give, without another copy of the bytes.
-spec pieces(reference(), non_neg_integer(), binary()) -> [iodata()].
pieces(Alias, Slot, Frame) ->
    <<131, Name/binary>> = term_to_binary(Alias),
    <<131, Number/binary>> = term_to_binary(Slot),
    cut([Name, Number], Frame).

cut(Head, <<Piece:?PIECE_BYTES/binary, Rest/binary>>) when Rest =/= <<>> ->
    [piece(?OP_PIECE, Head, Piece) | cut(Head, Rest)];
cut(Head, Last) ->
    [piece(?OP_LAST_PIECE, Head, Last)].

%% A 4-tuple (104) of a small integer (97), the reference and the slot, and a binary (109).
piece(Operation, Head, Bytes) ->
    [<<131, 104, 4, 97, Operation>>, Head, <<109, (byte_size(Bytes)):32>>, Bytes].

-spec new_context(reference(), pos_integer(), worker | owngil, [binary()]) -> binary().
new_context(Alias, Id, Mode, Preload) ->
    term_to_binary({?OP_NEW_CONTEXT, Alias, Id, mode(Mode), #{preload => Preload}}).

-spec stop_context(reference(), pos_integer()) -> binary().
stop_context(Alias, Id) ->
    term_to_binary({?OP_STOP_CONTEXT, Alias, Id}).

-spec drop_env(pos_integer(), pos_integer()) -> binary().
drop_env(Id, Env) ->
    term_to_binary({?OP_DROP_ENV, Id, Env}).

-spec interrupt(reference(), pos_integer()) -> binary().
interrupt(Alias, Id) ->
    term_to_binary({?OP_INTERRUPT, Alias, Id}).

-spec stats(reference()) -> binary().
stats(Alias) ->
    term_to_binary({?OP_STATS, Alias}).

%% @doc The answer to callback `Id', which Python code in context `Ctx' waits for (0: it is not known in which).
-spec result(non_neg_integer(), non_neg_integer(), outcome()) -> binary().
result(Ctx, Id, Outcome) ->
    term_to_binary({?OP_RESULT, Ctx, Id, Outcome}).

%% @doc The names of all functions that are registered.
-spec functions([binary()]) -> binary().
functions(Names) ->
    term_to_binary({?OP_FUNCTIONS, Names}).

%% @doc So many bytes of messages have been handed on.
-spec messages_taken(pos_integer()) -> binary().
messages_taken(Bytes) ->
    term_to_binary({?OP_MESSAGES_TAKEN, Bytes}).

%% @doc Ends the request of this alias, wherever it is; its reply is `{error, cancelled}' unless it has ended by itself.
-spec cancel(reference(), pos_integer()) -> binary().
cancel(Alias, Id) ->
    term_to_binary({?OP_CANCEL, Alias, Id}).

%% @doc The stream of this alias may send so many items and bytes more.
-spec credit(reference(), pos_integer(), non_neg_integer(), non_neg_integer()) -> binary().
credit(Alias, Id, Items, Bytes) ->
    term_to_binary({?OP_CREDIT, Alias, Id, Items, Bytes}).

%% @doc What a payload means to the caller. Decoded with `[safe]': Python can make no atoms but those that
%% py_atoms admitted.
-spec decode(payload()) -> ok | {ok, term()} | {error, term()}.
decode(Payload) when is_binary(Payload) ->
    try binary_to_term(Payload, [safe]) of
        {ok, _} = Ok -> Ok;
        ok -> ok;
        {exception, Class, Message} -> {error, {py_atoms:admit(Class), Message}};
        {exception, Class, Message, Traceback} -> {error, {py_atoms:admit(Class), Message, Traceback}};
        {error, _} = Error -> Error
    catch
        %% Only an atom beyond the bound of py_atoms gets here: the port writes nothing else that [safe] refuses.
        error:badarg -> {error, {not_encodable, atom_table_full}}
    end;
decode(Pieces) ->
    decode(iolist_to_binary(Pieces)).

%% @doc The items in a payload of a stream.
-spec items(payload()) -> {ok, [term()]} | {error, {not_encodable, atom_table_full}}.
items(Payload) when is_binary(Payload) ->
    try binary_to_term(Payload, [safe]) of
        Items -> {ok, Items}
    catch
        error:badarg -> {error, {not_encodable, atom_table_full}}
    end;
items(Pieces) ->
    items(iolist_to_binary(Pieces)).

%% @doc How many bytes of its credit a stream has used up for this payload: the items without the list around them.
-spec items_bytes(payload()) -> non_neg_integer().
items_bytes(Payload) ->
    iolist_size(Payload) - ?LIST_BYTES.

%% @doc The atoms that payloads hold. They must exist before the first payload is decoded, and other modules that name
%% them may not be loaded yet.
-spec vocabulary() -> [atom()].
vocabulary() ->
    [ok, exception, error, timeout, interrupted, cancelled, not_running, context_died, stopped, bad_request, unsupported,
     owngil_requires_python_3_13, overloaded, too_large, not_encodable, depth, map_key, duplicate_key, type,
     unregistered, exit, throw, true, false, none, nan, infinity, neg_infinity,
     python_version, executable, implementation, free_threaded, owngil,
     rss, contexts, in_flight, queued, calls, errors, timeouts, envs, tasks].

mode(worker) -> 0;
mode(owngil) -> 1.
