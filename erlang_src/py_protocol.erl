%% @doc Frames to the port program and what it sends back: docs/protocol.md, written once.
%%
%% What comes from a port process is hostile input, since the Python code in it can write to any of its descriptors: it is
%% decoded `safe', is never compressed, and has exactly the shape that is written here.
-module(py_protocol).

-include("py_protocol.hrl").
-include("py_route.hrl").

%% Frames.
-export([init/1, request/7, pieces/3, new_context/4, stop_context/2, drop_env/2, interrupt/2, stats/1, check/2]).
-export([segments_opened/1, with_segments/4, segments_read/1, discard/1, end_in_order/1]).
-export([restrict/1, result/3, functions/1, messages_taken/1, cancel/2, credit/4]).
%% Notices: the headers of frames that come.
-export([notice/1, reply_address/1, alias_address/1, request_address/1]).
%% Payloads.
-export([in_pieces/3, decode/1, decode/2, items/1, items_bytes/1, vocabulary/0]).

-export_type([operation/0, payload/0, outcome/0, notice/0, address/0]).

%% Of an ITEMS payload: the version byte, the head of a list with its 4-byte length, and its end.
-define(LIST_BYTES, 7).

-type name() :: atom() | binary().
-type operation() ::
    {call, M :: name(), F :: name(), Args :: [term()], Kwargs :: map()}
    | {eval, Expr :: binary(), Locals :: map()}
    | {exec, Code :: binary()}.
-type payload() :: py_payload:payload().
%% What tells one alias of this node from another: the part of a reference that is unique.
-type address() :: non_neg_integer().
%% The header of a frame, of exactly the shape that docs/protocol.md gives it.
-type notice() :: tuple().
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

%% @doc The restrictions of the sandbox that wait for the preload hold from now on.
-spec restrict(reference()) -> binary().
restrict(Alias) ->
    term_to_binary({?OP_RESTRICT, Alias}).

%% @doc Whether the context can still work: `{ok, ok}', `{error, {unhealthy, Text}}', or `{error, timeout}' when finding
%% that out did not end.
-spec check(reference(), pos_integer()) -> binary().
check(Alias, Id) ->
    term_to_binary({?OP_CHECK, Alias, Id}).

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

%% @doc Whether Erlang has opened the segment file.
-spec segments_opened(boolean()) -> binary().
segments_opened(Opened) ->
    term_to_binary({?OP_SEGMENTS_OPENED, Opened}).

%% @doc The frames for a frame in whose values `[Key | Index]' stands for the binary in each of these segments.
-spec with_segments(reference(), non_neg_integer(), [py_segments:segment()], binary()) -> [iodata()].
with_segments(Key, Slot, Segments, Frame) ->
    in_pieces(Key, Slot, term_to_binary({?OP_WITH_SEGMENTS, Key, Slot, Segments, Frame})).

%% @doc A frame of any size, in as many as that takes: see {@link pieces/3}.
-spec in_pieces(reference(), non_neg_integer(), binary()) -> [iodata()].
in_pieces(_Alias, _Slot, Frame) when byte_size(Frame) =< ?PIECE_BYTES -> [Frame];
in_pieces(Alias, Slot, Frame) -> pieces(Alias, Slot, Frame).

%% @doc What begins there was read.
-spec segments_read([py_extents:offset()]) -> binary().
segments_read(Offsets) ->
    term_to_binary({?OP_SEGMENTS_READ, Offsets}).

%% @doc The memory there is needed no more; the port program gives it back to the kernel, and then the extents to us.
-spec discard([py_segments:segment()]) -> binary().
discard(Segments) ->
    term_to_binary({?OP_DISCARD, Segments}).

%% @doc Python is to end in order, which may take so many milliseconds; then comes ENDED.
-spec end_in_order(non_neg_integer()) -> binary().
end_in_order(Ms) ->
    term_to_binary({?OP_END, Ms}).

%% Notices.

%% @doc The header of a frame, and where its payload begins (`none' for those that have none).
-spec notice(binary()) -> {notice(), non_neg_integer()} | malformed.
%% A tuple of less than 256 elements, and neither compressed nor anything else. (Compared as numbers, as in the addresses below: a
%% constant in a pattern is compared as bits, which takes longer than the rest.)
notice(Frame = <<Version, Tuple, _/binary>>) when Version =:= 131, Tuple =:= 104 ->
    try binary_to_term(Frame, [safe, used]) of
        {{?OP_REPLY, Alias, Slot}, _} = Notice when is_reference(Alias), is_integer(Slot), Slot >= 0 ->
            Notice;
        {Notice, Used} ->
            case is_notice(Notice) andalso (Used =:= byte_size(Frame) orelse has_payload(element(1, Notice))) of
                true -> {Notice, Used};
                false -> malformed
            end
    catch
        error:badarg -> malformed
    end;
notice(_Frame) ->
    malformed.

is_notice({?OP_ITEMS, Alias}) -> is_reference(Alias);
is_notice({?OP_STARTED, Slots}) -> Slots =/= [] andalso is_list_of(fun is_count/1, Slots);
is_notice({?OP_CALLBACK, Ctx, Id, Chain, Env, Caller, Function}) ->
    is_context(Ctx) andalso is_count(Id) andalso Id > 0 andalso is_count(Chain) andalso Chain > 0 andalso is_count(Env)
        andalso is_caller(Caller) andalso (is_binary(Function) orelse ?SYSTEM_FUNCTION(Function));
is_notice({?OP_MESSAGES, Count}) -> is_count(Count);
is_notice({?OP_REPLY_PIECE, Key}) -> is_reference(Key) orelse is_number_of_pieces(Key);
is_notice({?OP_SEGMENT_FILE, OsPid, Fd}) -> is_count(OsPid) andalso (Fd =:= none orelse is_count(Fd));
is_notice({?OP_SEGMENTS, Key, Token, Segments}) ->
    (is_reference(Key) orelse is_number_of_pieces(Key)) andalso is_count(Token) andalso Segments =/= []
        andalso is_list_of(fun is_segment/1, Segments);
is_notice({?OP_SEGMENTS_FREE, Offsets}) -> Offsets =/= [] andalso is_list_of(fun is_count/1, Offsets);
is_notice({?OP_LARGE_MESSAGE, Key}) -> is_number_of_pieces(Key) andalso Key < 0;
is_notice({?OP_ABANDONED, Id}) -> is_count(Id);
is_notice({?OP_OUTPUT, Fd, Ctx, Line}) when Fd =:= 1; Fd =:= 2 ->
    is_context(Ctx) andalso is_binary(Line) andalso byte_size(Line) =< ?LINE_BYTES;
is_notice({?OP_OUTPUT_DROPPED, Count}) -> is_count(Count);
is_notice({?OP_ATOMS, Names}) -> is_list_of(fun erlang:is_binary/1, Names);
is_notice({?OP_READY, Facts}) -> is_map(Facts) andalso lists:all(fun is_fact/1, maps:to_list(Facts));
is_notice({?OP_FATAL, Reason}) -> is_binary(Reason);
is_notice({?OP_STUCK, Ctx, Alias}) -> is_context(Ctx) andalso is_reference(Alias);
is_notice({?OP_MEMORY_LIMIT, Resident, Limit}) -> is_count(Resident) andalso is_count(Limit);
is_notice({?OP_ENDED}) -> true;
is_notice({?OP_REFUSED, Reason}) -> is_binary(Reason);
is_notice(_) -> false.

has_payload(?OP_ITEMS) -> true;
has_payload(?OP_CALLBACK) -> true;
has_payload(?OP_MESSAGES) -> true;
has_payload(?OP_REPLY_PIECE) -> true;
has_payload(?OP_LARGE_MESSAGE) -> true;
has_payload(_) -> false.

is_count(N) -> is_integer(N) andalso N >= 0 andalso N < 1 bsl 63.

is_context(Id) -> is_integer(Id) andalso Id >= 0 andalso Id < 1 bsl 32.

%% In the part of the file that the port program writes. Smaller binaries are in the frames, so that the number of those that
%% wait is bounded with their bytes.
is_segment({Offset, Bytes}) ->
    is_count(Offset) andalso Offset >= ?PORTS_SEGMENTS andalso is_count(Bytes) andalso Bytes >= ?LARGE_BYTES
        andalso Offset + Bytes =< ?SEGMENT_FILE_BYTES;
is_segment(_) ->
    false.

%% Of a callback, or negative of a message.
is_number_of_pieces(N) -> is_integer(N) andalso N =/= 0 andalso abs(N) < 1 bsl 63.

is_caller(none) -> true;
is_caller({Pid, Starter}) -> is_pid(Pid) andalso is_pid(Starter);
is_caller(Caller) -> is_pid(Caller).

is_fact({Key, Value}) when is_atom(Key) ->
    is_binary(Value) orelse is_boolean(Value) orelse is_count(Value) orelse is_list_of(fun erlang:is_atom/1, Value);
is_fact(_) ->
    false.

is_list_of(Is, [Element | Rest]) -> Is(Element) andalso is_list_of(Is, Rest);
is_list_of(_Is, []) -> true;
is_list_of(_Is, _) -> false.

%% Addresses.

%% @doc The address in the header of a reply or of items.
-spec reply_address(binary()) -> address() | malformed.
reply_address(<<_:40, Tag, _:16, Atom, N, _:N/binary, _:32, Low:32, High:32, _/binary>>) when Tag =:= 90, Atom =:= 119 ->
    High bsl 18 bor Low;
reply_address(<<_:40, Tag, _:16, Atom, N:16, _:N/binary, _:32, Low:32, High:32, _/binary>>) when Tag =:= 90, Atom =:= 100 ->
    High bsl 18 bor Low;
reply_address(<<_:40, Reference/binary>>) -> address(Reference);
reply_address(_Frame) -> malformed.

-spec alias_address(reference()) -> address().
alias_address(Alias) ->
    <<131, Reference/binary>> = term_to_binary(Alias),
    Address = address(Reference),
    true = is_integer(Address),
    Address.

%% @doc The address in a frame that request/7 has made.
-spec request_address(binary()) -> address().
request_address(<<_:40, Ctx, _, Tag, _:16, Atom, N, _:N/binary, _:32, Low:32, High:32, _/binary>>)
  when Ctx =:= 97, Tag =:= 90, Atom =:= 119 ->
    High bsl 18 bor Low;
request_address(<<_:40, Ctx, _, Tag, _:16, Atom, N:16, _:N/binary, _:32, Low:32, High:32, _/binary>>)
  when Ctx =:= 97, Tag =:= 90, Atom =:= 100 ->
    High bsl 18 bor Low;
request_address(Frame) ->
    Address = at_alias(Frame),
    true = is_integer(Address),
    Address.

%% After the version, a small tuple, the operation, and the context in one byte or four.
at_alias(<<131, 104, _, 97, _, 97, _, Reference/binary>>) -> address(Reference);
at_alias(<<131, 104, _, 97, _, 98, _:32, Reference/binary>>) -> address(Reference).

%% NEWER_REFERENCE_EXT, the node as ATOM_EXT, SMALL_ATOM_UTF8_EXT or ATOM_UTF8_EXT, then the creation. The second word
%% has the thread that made it and the next bits of its count, the first the lowest 18 bits. Each request and each reply is looked
%% at: what they are like mostly is matched at once, above.
address(<<90, _:16, 100, N:16, _:N/binary, _:32, Low:32, High:32, _/binary>>) -> High bsl 18 bor Low;
address(<<90, _:16, 119, N, _:N/binary, _:32, Low:32, High:32, _/binary>>) -> High bsl 18 bor Low;
address(<<90, _:16, 118, N:16, _:N/binary, _:32, Low:32, High:32, _/binary>>) -> High bsl 18 bor Low;
address(_) -> malformed.

%% Payloads.

%% @doc What a payload means to the caller. Decoded with `[safe]': Python can make no atoms but those that
%% py_atoms admitted. `{error, {bad_reply, Text}}': the port process has not answered as it must.
-spec decode(payload(), Pool :: atom()) -> ok | {ok, term()} | {error, term()}.
decode(Payload, Pool) ->
    case py_payload:value(Payload) of
        {value, {ok, _} = Ok} -> Ok;
        {value, ok} -> ok;
        {value, {exception, Class, Message}} when is_binary(Class), is_binary(Message) ->
            {error, {py_atoms:admit(Pool, Class), Message}};
        {value, {exception, Class, Message, Traceback}} when is_binary(Class), is_binary(Message), is_binary(Traceback) ->
            {error, {py_atoms:admit(Pool, Class), Message, Traceback}};
        {value, {error, _} = Error} -> Error;
        {value, _} -> {error, {bad_reply, <<"neither a value nor an error">>}};
        {error, _} = Error -> Error
    end.

%% @doc The same of an answer in which there is no exception.
-spec decode(payload()) -> ok | {ok, term()} | {error, term()}.
decode(Payload) ->
    decode(Payload, none).

%% @doc The items in a payload of a stream.
-spec items(payload()) -> {ok, [term()]} | {error, term()}.
items(Payload) ->
    case py_payload:value(Payload) of
        {value, Items} when length(Items) >= 0 -> {ok, Items};
        {value, _} -> {error, {bad_reply, <<"items that are no list">>}};
        {error, _} = Error -> Error
    end.

%% @doc How many bytes of its credit a stream has used up for this payload: the items without the list around them.
-spec items_bytes(payload()) -> non_neg_integer().
items_bytes(Payload) ->
    py_payload:size(Payload) - ?LIST_BYTES.

%% @doc The atoms that payloads hold. They must exist before the first payload is decoded, and other modules that name
%% them may not be loaded yet.
-spec vocabulary() -> [atom()].
vocabulary() ->
    [ok, exception, error, timeout, interrupted, cancelled, not_running, context_died, stopped, unhealthy, bad_request, unsupported,
     owngil_requires_python_3_13, overloaded, too_large, not_encodable, depth, map_key, duplicate_key, type,
     unregistered, exit, throw, true, false, none, nan, infinity, neg_infinity,
     python_version, executable, implementation, free_threaded, owngil,
     confined, signals, abstract_sockets, files, network, syscalls, sandbox_unavailable,
     rss, shared_memory, contexts, in_flight, queued, calls, errors, timeouts, envs, tasks].

mode(worker) -> 0;
mode(owngil) -> 1.
