%% @doc Streams that the calling process reads itself: all at once, or folded over. Those that are sent to a process are
%% py_stream_server's.
%%
%% Python sends as long as it has credit, in items and in bytes, and gets more for what has been consumed.
-module(py_stream).

-include("py_protocol.hrl").
-include("py_route.hrl").

-export([collect/1, fold/3]).

%% What a stream that is collected may have on its way. Its items are limited by nothing else: all of them are wanted.
-define(COLLECT_BYTES, 8388608).
-define(ALL_ITEMS, 1000000000).

-record(reader, {
    alias :: reference(),
    route :: #route{},
    caller :: #caller{},
    slot :: py_slots:slot() | 0,
    deadline :: integer() | infinity,
    guard :: pid()
}).

%% @doc All items, in their order.
-spec collect(py_call:request()) -> {ok, [term()]} | {error, term()}.
collect(Request) ->
    case open(Request) of
        {ok, Reader} -> collect(Reader, [], ?ALL_ITEMS, ?COLLECT_BYTES - ?FIRST_CREDIT_BYTES);
        {error, _} = Error -> Error
    end.

%% The first batch comes as soon as there is an item, and with it more credit. Earlier that could overtake the request.
collect(Reader, Batches, MoreItems, MoreBytes) ->
    case next(Reader) of
        {items, Payload} ->
            case py_protocol:items(Payload) of
                {ok, Items} ->
                    ok = credit(Reader, MoreItems, MoreBytes + py_protocol:items_bytes(Payload)),
                    collect(Reader, [Items | Batches], 0, 0);
                {error, _} = Error ->
                    ok = abandon(Reader),
                    Error
            end;
        ok ->
            {ok, joined(Batches, [])};
        {error, _} = Error ->
            Error
    end.

joined([Batch | Before], After) -> joined(Before, Batch ++ After);
joined([], All) -> All.

%% @doc Calls `Fun' with each item as it comes, in the calling process. Python gets credit for what `Fun' has seen. An
%% exception of `Fun' ends the stream and goes on to the caller.
-spec fold(fun((term(), Acc) -> Acc), Acc, py_call:request()) -> {ok, Acc} | {error, term()}.
fold(Fun, Acc, Request) ->
    case open(Request) of
        {ok, Reader} -> fold_batches(Fun, Acc, Reader);
        {error, _} = Error -> Error
    end.

fold_batches(Fun, Acc, Reader) ->
    case next(Reader) of
        {items, Payload} ->
            case py_protocol:items(Payload) of
                {ok, Items} ->
                    Next = fold_items(Fun, Acc, Items, Reader),
                    ok = credit(Reader, length(Items), py_protocol:items_bytes(Payload)),
                    fold_batches(Fun, Next, Reader);
                {error, _} = Error ->
                    ok = abandon(Reader),
                    Error
            end;
        ok ->
            {ok, Acc};
        {error, _} = Error ->
            Error
    end.

fold_items(Fun, Acc, Items, Reader) ->
    try
        lists:foldl(Fun, Acc, Items)
    catch
        Class:Reason:Stack ->
            ok = abandon(Reader),
            erlang:raise(Class, Reason, Stack)
    end.

%% The reader.

open({Target, Operation, Flags, Limit}) ->
    case py_request:open(Target, Operation, Flags, Limit) of
        {open, Alias, Route, Caller, Slot, Left} ->
            {ok, #reader{alias = Alias, route = Route, caller = Caller, slot = Slot, deadline = deadline(Left),
                         guard = guard(Route, Alias)}};
        {error, _} = Error ->
            Error
    end.

%% When the reader is killed nobody else could tell Python to stop.
guard(Route, Alias) ->
    Reader = self(),
    spawn(fun() ->
        Monitor = monitor(process, Reader),
        receive
            done -> ok;
            {'DOWN', Monitor, process, _, _} -> py_request:cancel(Route, Alias)
        end
    end).

next(Reader = #reader{alias = Alias, route = Route, deadline = Deadline}) ->
    receive
        {py_items, Alias, Payload} ->
            {items, Payload};
        {py_reply, Alias, Payload} ->
            ok = close(Reader),
            py_request:outcome(py_protocol:decode(Payload), Route);
        {'DOWN', Alias, process, _, Reason} ->
            ok = close(Reader),
            ok = py_env:forget(Route#route.ctx),
            py_request:lost(Reason, Reader#reader.slot, Route, Reader#reader.caller)
    after left(Deadline) ->
        ok = close(Reader),
        ok = py_request:cancel(Route, Alias),
        Late = py_request:expired(Alias, Route),
        ok = flush(Alias),
        Late
    end.

credit(#reader{route = #route{port = Port, id = Id}, alias = Alias}, Items, Bytes) ->
    py_port:write(Port, py_protocol:credit(Alias, Id, Items, Bytes)).

%% Leaves a stream before its end.
abandon(Reader = #reader{alias = Alias, route = Route}) ->
    ok = close(Reader),
    ok = py_request:cancel(Route, Alias),
    flush(Alias).

close(#reader{alias = Alias, guard = Guard}) ->
    true = demonitor(Alias, [flush]),
    Guard ! done,
    ok.

flush(Alias) ->
    receive
        {py_items, Alias, _} -> flush(Alias);
        {py_reply, Alias, _} -> flush(Alias)
    after 0 ->
        ok
    end.

deadline(infinity) -> infinity;
deadline(Ms) -> erlang:monotonic_time(millisecond) + Ms.

left(infinity) -> infinity;
left(Deadline) -> max(0, Deadline - erlang:monotonic_time(millisecond)).
