%% @doc Streams that the calling process reads itself: all at once, or folded over. Those that are sent to a process are
%% py_stream_server's.
%%
%% Python sends as long as it has credit, in items and in bytes, and gets more for what has been consumed.
-module(py_stream).

-include("py_protocol.hrl").
-include("py_route.hrl").
-include("py_attempt.hrl").

-export([collect/1, fold/3]).
%% spawn.
-export([guard/2]).

%% What a stream that is collected may have on its way. Its items are limited by nothing else: all of them are wanted.
-define(COLLECT_BYTES, 8388608).
-define(ALL_ITEMS, 1000000000).

-record(reader, {
    attempt :: py_attempt:attempt(),
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
                    py_request:outcome(Error, route(Reader))
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
-spec fold(fun((term(), Acc) -> Acc), Acc, py_call:call()) -> {ok, Acc} | {error, term()}.
fold(Fun, Acc, Call) when is_function(Fun, 2) ->
    case open(unlimited(py_call:tuple(Call))) of
        {ok, Reader} -> fold_batches(Fun, Acc, Reader);
        {error, _} = Error -> Error
    end;
fold(Fun, _Acc, _Call) ->
    error({bad_argument, function, Fun}).

%% It takes as long as `Fun' takes.
unlimited({Target, Operation, Flags, default}) -> {Target, Operation, Flags, infinity};
unlimited(Request) -> Request.

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
                    py_request:outcome(Error, route(Reader))
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
        {open, Attempt} -> {ok, #reader{attempt = Attempt, guard = guard(Attempt)}};
        {error, _} = Error -> Error
    end.

route(#reader{attempt = #attempt{route = Route = #route{}}}) -> Route.

%% When the reader is killed nobody else could tell Python to stop.
guard(Attempt) ->
    spawn(?MODULE, guard, [self(), Attempt]).

%% @private
-spec guard(pid(), py_attempt:attempt()) -> ok.
guard(Reader, Attempt) ->
    Monitor = monitor(process, Reader),
    receive
        done -> ok;
        {'DOWN', Monitor, process, _, _} -> py_request:cancel(Attempt)
    end.

next(Reader = #reader{attempt = A = #attempt{alias = Alias, deadline = Deadline}}) ->
    receive
        {py_items, Alias, Payload} ->
            {items, Payload};
        {py_reply, Alias, Payload} ->
            ended({reply, Payload}, Reader);
        {'DOWN', Alias, process, _, Reason} ->
            ok = py_env:forget((route(Reader))#route.ctx),
            ended({down, Reason}, Reader)
    after py_attempt:left(Deadline) ->
        ok = py_request:cancel(A),
        Late = ended(timeout, Reader),
        ok = flush(Alias),
        Late
    end.

ended(Event, Reader = #reader{attempt = A}) ->
    ok = close(Reader),
    {{done, Outcome}, _} = py_attempt:step(Event, A),
    case py_request:result(Outcome, A) of
        {ok, _} = Value -> py_request:end_of_stream(Value, route(Reader));
        End -> End
    end.

credit(#reader{attempt = A}, Items, Bytes) ->
    py_request:credit(A, Items, Bytes).

%% Leaves a stream before its end.
abandon(Reader = #reader{attempt = A = #attempt{alias = Alias}}) ->
    ok = close(Reader),
    ok = py_request:cancel(A),
    flush(Alias).

close(#reader{attempt = #attempt{alias = Alias}, guard = Guard}) ->
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
