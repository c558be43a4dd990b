%% @doc A request whose caller waits for it: slot, alias, write, wait. No process but the caller takes part, and py_port for
%% the reply. This is the hot path: the plain case is written out here, and everything else is decided by py_attempt.
%%
%% What is done for a request in whatever shell is here too, for py_pipeline and the streams.
-module(py_request).

-include("py_protocol.hrl").
-include("py_route.hrl").
-include("py_attempt.hrl").

-export([run/4, open/4]).
%% For all shells of an attempt.
-export([take/2, post/2, result/2, cancel/1, credit/3, outcome/2, end_of_stream/2]).

-export_type([result/0]).

-type result() :: ok | {ok, term()} | {error, term()}.

%% @doc Runs an operation and waits for its result. The timeout covers everything: the wait for a pool that restarts, for
%% a slot, for the context, and the work.
-spec run(py_route:target(), py_protocol:operation(), non_neg_integer(), py_time_limit:limit()) -> result().
run(Target, Operation, Flags, Limit) ->
    try
        start(Target, Operation, Flags, Limit)
    catch
        error:Reason:Stack -> py_started:failed(Reason, Stack)
    end.

%% @doc Begins a stream. Its items come to the caller as `{py_items, Alias, Payload}', its end as `{py_reply, Alias, Payload}' or
%% `DOWN'; when the caller is done with the alias it deactivates it (demonitor/2).
-spec open(py_route:target(), py_protocol:operation(), non_neg_integer(), py_time_limit:limit()) ->
    {open, py_attempt:attempt()} | {error, term()}.
open(Target, Operation, Flags, Limit) ->
    try
        start(Target, Operation, Flags bor ?FLAG_STREAM, Limit)
    catch
        error:Reason:Stack -> py_started:failed(Reason, Stack)
    end.

%% The plain case: there is a context, a slot, and time. One record is made of it, when it is sent.
start(Target, Operation, Flags, Limit) ->
    Caller = py_env:caller(),
    Timeout = py_time_limit:total(Limit, Caller),
    case find(Target, Operation, Caller) of
        Route = #route{} when Timeout =/= 0 ->
            case take(Caller, Route) of
                Slot when is_integer(Slot) ->
                    send(#attempt{target = Target, operation = none, flags = Flags, timeout = Timeout, caller = Caller,
                                  at = flight, route = Route, slot = Slot}, Operation, Timeout);
                None ->
                    next({slot, None}, (queued(Target, Operation, Flags, Limit, Caller))#attempt{route = Route})
            end;
        Found ->
            next({route, Found}, queued(Target, Operation, Flags, Limit, Caller))
    end.

queued(Target, Operation, Flags, Limit, Caller) ->
    A = py_attempt:new(Target, Operation, Flags, py_time_limit:total(Limit, Caller), Caller),
    A#attempt{queue_deadline = py_attempt:deadline(py_time_limit:queue(Limit))}.

%% The route of an operation; eval and exec need a namespace of the caller's.
find(Target, Operation, Caller) ->
    case py_route:find(Target, Operation, Caller) of
        Route = #route{env = 0} when element(1, Operation) =/= call,
                                     not (is_tuple(Target) andalso element(1, Target) =:= env) ->
            case py_env:ensure(Route) of
                stale -> {stale, Route#route.ctx};
                Ensured -> Ensured
            end;
        Found ->
            Found
    end.

%% The attempt is as if it were in flight. Its operation is beside it, so that a large value is garbage when it is written,
%% and its alias, so that the compiler sees where it comes from: then a long message queue costs the receive nothing.
send(A = #attempt{route = Route = #route{owner = Owner}, flags = Flags, caller = Caller}, Operation, Timeout) ->
    Alias = monitor(process, Owner, [{alias, lifetime(Flags)}]),
    case is_callback(Caller) of
        false ->
            sent(write(A, Alias, Operation, Timeout), Alias, A, Operation, Timeout);
        true ->
            ok = py_chain:asking(Alias, Route),
            Result = sent(write(A, Alias, Operation, Timeout), Alias, A, Operation, Timeout),
            ok = py_chain:answered(Alias),
            Result
    end.

%% What dies with a callback that is given up. Its own requests alone: what it has spawned goes on as it likes.
is_callback(#caller{chain = 0}) -> false;
is_callback(#caller{root = Root}) -> Root =:= none.

sent(ok, Alias, A = #attempt{flags = Flags}, _Operation, Timeout) when Flags >= ?FLAG_STREAM ->
    {open, A#attempt{alias = Alias, deadline = py_attempt:deadline(Timeout)}};
sent(ok, Alias, A = #attempt{route = Route = #route{tag = Tag}}, _Operation, Timeout) ->
    _ = py_counters:is_alone(Tag) andalso stay_awake(),
    receive
        {py_reply, Alias, Payload} -> outcome(py_protocol:decode(Payload, Route#route.pool), Route);
        {'DOWN', Alias, process, _, Reason} -> next({down, Reason}, A)
    after Timeout ->
        next(timeout, A#attempt{alias = Alias})
    end;
%% Its time was over before it was written as a whole.
sent(late, Alias, A = #attempt{flags = Flags}, Operation, Timeout) when Flags >= ?FLAG_STREAM ->
    sent(ok, Alias, A, Operation, Timeout);
sent(late, Alias, A, _Operation, _Timeout) ->
    next(timeout, A#attempt{alias = Alias});
sent(Failed, _Alias, A, Operation, _Timeout) ->
    next({sent, Failed}, A#attempt{operation = Operation}).

%% A scheduler that has nothing to run goes to sleep, and to wake it takes longer than a short call. One that has something looks for
%% input meanwhile. For who is alone in a context only: otherwise there is enough to do.
stay_awake() ->
    true = erlang:yield(),
    erlang:yield().

%% Beyond the plain case.

next(Event, A = #attempt{deadline = none, timeout = Timeout}) ->
    next(Event, A#attempt{deadline = py_attempt:deadline(Timeout)});
next(Event, A) ->
    {Action, Next} = py_attempt:step(Event, A),
    act(Action, Next).

act(route, A = #attempt{target = Target, operation = Operation}) ->
    %% Its memory may have changed with what it waited for.
    Caller = py_env:caller(),
    next({route, find(Target, Operation, Caller)}, A#attempt{caller = Caller});
act(take, A = #attempt{caller = Caller, route = Route}) ->
    next({slot, take(Caller, Route)}, A);
act(queue, A = #attempt{caller = #caller{id = Id}, route = #route{limit = Limit, tag = Tag}}) ->
    case py_waiters:wait(Limit, Id, Tag, py_attempt:left(py_attempt:expiry(A))) of
        timeout -> next(timeout, A);
        Answer -> next({slot, Answer}, A)
    end;
act(send, A = #attempt{operation = Operation, deadline = Deadline}) ->
    case py_attempt:left(Deadline) of
        0 -> next(timeout, A);
        Left -> send(A#attempt{at = flight, operation = none}, Operation, Left)
    end;
act({await, Where, Stale}, A = #attempt{operation = Operation, deadline = Deadline}) ->
    _ = Stale =:= none orelse py_env:forget(Stale),
    next({pool, py_pool_await:context(py_route:pool_of(Where, Operation), Stale, py_attempt:left(Deadline))}, A);
act({done, Outcome}, A) ->
    _ = case Outcome of
        {gone, Ctx} -> py_env:forget(Ctx);
        {lost, _} -> py_env:forget(A#attempt.route#route.ctx);
        _ -> ok
    end,
    result(Outcome, A).

%% For all shells of an attempt.

%% @doc A slot, at once or not at all. A chain of calls has one already; the context that waits for the callback serves
%% it also when it takes no other requests any more (its port process is being replaced).
-spec take(#caller{}, #route{}) -> py_slots:slot() | 0 | full | closed.
take(#caller{id = Id, chain = 0}, #route{limit = Limit, tag = Tag}) ->
    py_slots:take(Limit, Id, Tag);
take(#caller{id = Id, home = Home}, #route{ctx = Ctx, limit = Limit, tag = Tag}) ->
    case py_slots:take_nested(Limit, Id, Tag) of
        closed when Ctx =:= Home -> 0;
        Answer -> Answer
    end.

%% @doc Writes a request for which a slot is held: where its answer comes. Otherwise the slot is given back.
-spec post(py_attempt:attempt(), timeout()) ->
    reference() | closed | withdrawn | {error, {too_large, pos_integer(), pos_integer()}}.
post(A = #attempt{operation = Operation, flags = Flags, route = #route{owner = Owner}}, Timeout) ->
    Alias = monitor(process, Owner, [{alias, lifetime(Flags)}]),
    case write(A, Alias, Operation, Timeout) of
        Sent when Sent =:= ok; Sent =:= late -> Alias;
        Failed -> Failed
    end.

%% A late reply vanishes by itself. A stream has more than one message.
lifetime(Flags) when Flags >= ?FLAG_STREAM -> demonitor;
lifetime(_Flags) -> reply_demonitor.

write(A = #attempt{slot = Slot, flags = Flags, route = Route, caller = Caller}, Alias, Operation, Timeout) ->
    case py_segments:is_large(Operation) of
        true ->
            {Less, Binaries} = py_segments:take_out_of(Operation, Alias, Route#route.port, any),
            write_large(A, Alias, Operation, Less, Binaries, Timeout);
        false ->
            Frame = py_protocol:request(Operation, Route, Caller, Alias, Slot, wire_timeout(Timeout), Flags),
            write_encoded(A, Alias, Operation, Frame, Timeout)
    end.

write_encoded(A, Alias, Operation, Frame, Timeout) when byte_size(Frame) < ?LARGE_BYTES ->
    write(A, Alias, Operation, Frame, [], Timeout);
write_encoded(A = #attempt{route = Route}, Alias, Operation, Frame, Timeout) ->
    case py_segments:take_out_of(Operation, Alias, Route#route.port, byte_size(Frame)) of
        {_, []} -> write(A, Alias, Operation, Frame, [], Timeout);
        {Less, Binaries} -> write_large(A, Alias, Operation, Less, Binaries, Timeout)
    end.

%% Large binaries travel through memory that is shared, if there is some.
write_large(A = #attempt{slot = Slot, flags = Flags, route = Route, caller = Caller}, Alias, Operation, Less, Binaries, Timeout) ->
    Frame = py_protocol:request(Less, Route, Caller, Alias, Slot, wire_timeout(Timeout), Flags),
    case write(A, Alias, Operation, Frame, Binaries, Timeout) of
        no_room ->
            Whole = py_protocol:request(Operation, Route, Caller, Alias, Slot, wire_timeout(Timeout), Flags),
            write(A, Alias, Operation, Whole, [], Timeout);
        Written ->
            Written
    end.

write(#attempt{slot = Slot, flags = Flags, route = Route = #route{limit = Limit, tag = Tag, owner = Owner},
               caller = Caller = #caller{id = Id}}, Alias, Operation, Frame, Binaries, Timeout) ->
    Address = py_protocol:request_address(Frame),
    ok = expect(Limit, Slot, Address, Owner, Flags),
    ok = py_grants:request(Route, Caller, Operation, Frame),
    case write_frame(Route, Alias, Slot, Frame, Binaries, Timeout) of
        ok ->
            py_slots:sent(Limit, Id, Tag, Slot);
        late ->
            ok = py_slots:sent(Limit, Id, Tag, Slot),
            late;
        no_room ->
            no_room;
        Failed ->
            true = demonitor(Alias, [flush]),
            ok = unexpect(Slot, Address, Flags),
            ok = py_slots:cancel(Limit, Id, Tag, Slot),
            Failed
    end.

%% py_port passes on no answer that nobody expects from its port process.
expect(Limit, Slot, Address, _Owner, Flags) when Slot > 0, Flags < ?FLAG_STREAM ->
    py_slots:expect(Limit, Slot, Address bsl 1);
expect(_Limit, 0, Address, Owner, Flags) when Flags < ?FLAG_STREAM ->
    py_owed:add(Address, Owner);
expect(Limit, Slot, Address, Owner, _Stream) ->
    ok = py_owed:add_stream(Address, Owner),
    case Slot of
        0 -> ok;
        _ -> py_slots:expect(Limit, Slot, Address bsl 1 bor 1)
    end.

unexpect(Slot, _Address, Flags) when Slot > 0, Flags < ?FLAG_STREAM -> ok;
unexpect(_Slot, Address, _Flags) -> py_owed:remove(Address).

wire_timeout(infinity) -> 0;
wire_timeout(Ms) -> Ms.

write_frame(#route{port = Port, owner = Owner}, _Alias, _Slot, Frame, [], Timeout) when byte_size(Frame) =< ?MIN_FRAME_BYTES ->
    py_writer:send(Port, Owner, Frame, Timeout);
write_frame(#route{port = Port, owner = Owner, id = Id}, Alias, Slot, Frame, Binaries, Timeout) ->
    Bytes = byte_size(Frame) + iolist_size(Binaries),
    case py_config:max_frame_bytes() of
        Max when Bytes > Max -> {error, {too_large, Bytes, Max}};
        _ when Binaries =/= [] -> py_segments:send(Port, Owner, {Alias, Slot, Id}, Frame, Binaries, Timeout);
        _ -> py_writer:send_all(Port, Owner, py_protocol:in_pieces(Alias, Slot, Frame), Timeout)
    end.

%% @doc What came of a request.
-spec result(py_attempt:outcome(), py_attempt:attempt()) -> result().
result({result, Result}, _A) ->
    Result;
result({reply, Payload}, #attempt{route = Route}) ->
    outcome(py_protocol:decode(Payload, Route#route.pool), Route);
result({lost, Reason}, #attempt{slot = Slot, route = Route = #route{limit = Limit, tag = Tag}, caller = #caller{id = Id}}) ->
    Died = {error, {context_died, py_port:why(Reason)}},
    Counted = py_started:result(fun() ->
        ok = py_slots:cancel(Limit, Id, Tag, Slot),
        outcome(Died, Route)
    end),
    case Counted of
        %% The application has ended, and with it what counts.
        {error, {not_started, _}} -> Died;
        Died -> Died
    end;
result({gone, Ctx}, _A) ->
    py_context:gone(Ctx);
result(overloaded, #attempt{route = #route{pool = Pool, limit = Limit}}) ->
    py_tables:count(Pool, errors),
    py_semaphore:overloaded(Limit);
%% It stood behind one that waited.
result(overloaded, #attempt{route = none, target = Target, operation = Operation}) ->
    case py_route:limit_of(Target, Operation) of
        {ok, Limit} -> py_semaphore:overloaded(Limit);
        {error, _} = Error -> Error
    end;
result(queue_full, #attempt{route = #route{pool = Pool}}) ->
    py_tables:count(Pool, errors),
    {error, {queue_full, Pool}};
result({unsent, Why}, #attempt{slot = Slot, route = #route{limit = Limit, tag = Tag}, caller = #caller{id = Id}}) ->
    ok = py_slots:cancel(Limit, Id, Tag, Slot),
    {error, Why};
result(withdrawn, #attempt{route = #route{pool = Pool}}) ->
    py_tables:count(Pool, timeouts),
    {error, timeout};
%% The slot stays Python's until it is really done; py_port sees to it that this ends.
result(expired, #attempt{alias = Alias, route = Route = #route{owner = Owner}}) ->
    %% First: from now on nothing comes. What came until now must not stay in the mailbox of the caller.
    true = demonitor(Alias, [flush]),
    receive
        {py_reply, Alias, Payload} -> outcome(py_protocol:decode(Payload, Route#route.pool), Route)
    after 0 ->
        ok = py_port:expect(Owner, 0),
        outcome({error, timeout}, Route)
    end.

%% @doc Ends a request wherever it is. Its reply comes all the same: `{error, cancelled}', unless it ended by itself.
-spec cancel(py_attempt:attempt()) -> ok.
cancel(#attempt{alias = Alias, route = #route{port = Port, id = Id}}) ->
    py_writer:post(Port, py_protocol:cancel(Alias, Id)).

%% @doc The stream may send so many items and bytes more.
-spec credit(py_attempt:attempt(), non_neg_integer(), non_neg_integer()) -> ok.
credit(#attempt{alias = Alias, route = #route{port = Port, id = Id}}, Items, Bytes) ->
    ok = py_owed:add_credit(py_protocol:alias_address(Alias), Bytes),
    py_writer:post(Port, py_protocol:credit(Alias, Id, Items, Bytes)).

%% @doc What the caller gets for a reply; errors are counted for the pool's statistics.
-spec outcome(result(), #route{}) -> result().
outcome({error, timeout} = Error, Route = #route{pool = Pool}) ->
    py_tables:count(Pool, timeouts),
    py_symptoms:note(timeout, Route),
    Error;
outcome({error, {bad_reply, What}}, Route = #route{owner = Owner}) ->
    outcome(py_port:violated(Owner, <<"a reply that is ", What/binary>>), Route);
outcome({error, Reason} = Error, Route = #route{pool = Pool}) ->
    py_tables:count(Pool, errors),
    py_symptoms:note(Reason, Route),
    Error;
outcome(Result, _Route) ->
    Result.

%% @doc The same of the reply that ends a stream, which has no value.
-spec end_of_stream(result(), #route{}) -> ok | {error, term()}.
end_of_stream({ok, _}, Route) -> outcome({error, {bad_reply, <<"the end of a stream with a value">>}}, Route);
end_of_stream(Result, Route) -> outcome(Result, Route).
