%% @doc A request from its caller's side: slot, alias, write, wait. No process but the caller takes part, and py_port for
%% the reply. This is the hot path: what it does beyond the plain case is in functions of its own.
-module(py_request).

-include("py_protocol.hrl").
-include("py_route.hrl").

-export([run/4, open/4, cancel/2]).
%% Several at once (py_pipeline).
-export([limit/2, take/3, lifetime/1, post/7, outcome/2, lost/4, expired/2]).

-export_type([result/0, limit/0, open/0]).

-type result() :: ok | {ok, term()} | {error, term()}.
%% `default': nobody asked for a limit of time.
-type limit() :: timeout() | default.
%% A stream that has begun: its items come as `{py_items, Alias, Payload}', its end as `{py_reply, Alias, Payload}' or
%% `DOWN'. `Left' is what the time limit has left.
-type open() :: {open, Alias :: reference(), #route{}, #caller{}, py_slots:slot() | 0, Left :: timeout()}.

-define(DEFAULT_MS, 30000).

%% @doc Runs an operation and waits for its result. The timeout covers everything: the wait for a pool that restarts, for
%% a slot, for the context, and the work.
-spec run(py_route:target(), py_protocol:operation(), non_neg_integer(), limit()) -> result().
run(Target, Operation, Flags, Limit) ->
    start(Target, Operation, Flags, Limit).

%% @doc Begins a stream. Its items and its end are for the caller to receive; when it is done with the alias it
%% deactivates it (demonitor/2).
-spec open(py_route:target(), py_protocol:operation(), non_neg_integer(), limit()) -> open() | {error, term()}.
open(Target, Operation, Flags, Limit) ->
    start(Target, Operation, Flags bor ?FLAG_STREAM, Limit).

%% @doc Ends a request wherever it is. Its reply comes all the same: `{error, cancelled}', unless it ended by itself.
-spec cancel(#route{}, reference()) -> ok.
cancel(#route{port = Port, id = Id}, Alias) ->
    py_port:write(Port, py_protocol:cancel(Alias, Id)).

start(Target, Operation, Flags, Limit) ->
    Caller = py_env:caller(),
    Timeout = limit(Limit, Caller),
    case prepare(Target, Operation, Caller) of
        Route = #route{} ->
            Slots = py_slots:ref(),
            case take(Slots, Caller, Route) of
                full -> wait_for_slot(Route, Caller, Target, Operation, Flags, Timeout);
                closed -> elsewhere(Route, Target, Operation, Flags, Timeout);
                Slot -> run_with(Slot, Slots, Route, Caller, Target, Operation, Flags, Timeout)
            end;
        Unavailable ->
            unavailable(Unavailable, Target, Operation, Flags, Timeout)
    end.

%% @doc In a chain of calls the limit of the call that began it is enough: what it waits for is never cut short by one
%% that nobody asked for.
-spec limit(limit(), #caller{}) -> timeout().
limit(default, #caller{chain = 0}) -> ?DEFAULT_MS;
limit(default, _Caller) -> infinity;
limit(Timeout, _Caller) -> Timeout.

%% @doc A slot, at once or not at all. A chain of calls has one already; the context that waits for the callback serves
%% it also when it takes no other requests any more (its port process is being replaced).
-spec take(py_slots:ref(), #caller{}, #route{}) -> py_slots:slot() | 0 | full | closed.
take(Slots, #caller{id = Id, chain = 0}, #route{tag = Tag}) ->
    py_slots:take(Slots, Id, Tag);
take(Slots, #caller{id = Id, home = Home}, #route{ctx = Ctx, tag = Tag}) ->
    case py_slots:take_nested(Slots, Id, Tag) of
        closed when Ctx =:= Home -> 0;
        Answer -> Answer
    end.

%% The route of an operation; eval and exec need a namespace of the caller's.
prepare(Target, Operation, Caller) ->
    case py_route:find(Target, Operation, Caller) of
        Route = #route{env = 0} when element(1, Operation) =/= call,
                                     not (is_tuple(Target) andalso element(1, Target) =:= env) ->
            case py_env:ensure(Route) of
                stale -> {stale, Route};
                Ensured -> Ensured
            end;
        Found ->
            Found
    end.

run_with(Slot, Slots, #route{tag = Tag}, #caller{id = Id}, _Target, _Operation, _Flags, 0) ->
    ok = py_slots:cancel(Slots, Id, Tag, Slot),
    {error, timeout};
run_with(Slot, Slots, Route = #route{owner = Owner}, Caller, Target, Operation, Flags, Timeout) ->
    Alias = monitor(process, Owner, [{alias, lifetime(Flags)}]),
    case is_callback(Caller) of
        false ->
            Posted = post(Slot, Slots, Route, Caller, Alias, Operation, {Flags, Timeout}),
            sent(Posted, Alias, Slot, Route, Caller, Target, Operation, Flags, Timeout);
        true ->
            ok = py_chain:asking(Alias, Route),
            Posted = post(Slot, Slots, Route, Caller, Alias, Operation, {Flags, Timeout}),
            Result = sent(Posted, Alias, Slot, Route, Caller, Target, Operation, Flags, Timeout),
            ok = py_chain:answered(Alias),
            Result
    end.

%% What dies with a callback that is given up. Its own requests alone: what it has spawned goes on as it likes.
is_callback(#caller{chain = 0}) -> false;
is_callback(#caller{root = Root}) -> Root =:= none.

sent(ok, Alias, Slot, Route, Caller, _Target, _Operation, Flags, Timeout) when Flags >= ?FLAG_STREAM ->
    {open, Alias, Route, Caller, Slot, Timeout};
sent(ok, Alias, Slot, Route, Caller, _Target, _Operation, _Flags, Timeout) ->
    receive
        {py_reply, Alias, Payload} -> outcome(py_protocol:decode(Payload), Route);
        {'DOWN', Alias, process, _, Reason} ->
            ok = py_env:forget(Route#route.ctx),
            lost(Reason, Slot, Route, Caller)
    after Timeout ->
        expired(Alias, Route)
    end;
sent(closed, _Alias, _Slot, Route, _Caller, Target, Operation, Flags, Timeout) ->
    elsewhere(Route, Target, Operation, Flags, Timeout);
sent({error, _} = Error, _Alias, _Slot, _Route, _Caller, _Target, _Operation, _Flags, _Timeout) ->
    Error.

%% @doc Of the alias of a request: a stream has more than one message.
-spec lifetime(Flags :: non_neg_integer()) -> reply_demonitor | demonitor.
lifetime(Flags) when Flags >= ?FLAG_STREAM -> demonitor;
lifetime(_Flags) -> reply_demonitor.

%% @doc Writes a request for which a slot is held. Unless the answer is `ok', the slot is given back and `Alias' is void.
-spec post(py_slots:slot() | 0, py_slots:ref(), #route{}, #caller{}, reference(), py_protocol:operation(),
           {non_neg_integer(), timeout()}) -> ok | closed | {error, {too_large, pos_integer(), pos_integer()}}.
post(Slot, Slots, Route = #route{tag = Tag}, Caller = #caller{id = Id}, Alias, Operation, {Flags, Timeout}) ->
    Frame = py_protocol:request(Operation, Route, Caller, Alias, Slot, wire_timeout(Timeout), Flags),
    case write(Route, Alias, Slot, Frame, Timeout) of
        ok ->
            py_slots:sent(Slots, Id, Tag, Slot);
        Failed ->
            true = demonitor(Alias, [flush]),
            ok = py_slots:cancel(Slots, Id, Tag, Slot),
            Failed
    end.

wire_timeout(infinity) -> 0;
wire_timeout(Ms) -> Ms.

write(#route{port = Port, owner = Owner}, _Alias, _Slot, Frame, Timeout) when byte_size(Frame) =< ?MIN_FRAME_BYTES ->
    command(Port, Owner, Frame, Timeout);
write(#route{port = Port, owner = Owner}, Alias, Slot, Frame, Timeout) ->
    case py_config:max_frame_bytes() of
        Max when byte_size(Frame) > Max -> {error, {too_large, byte_size(Frame), Max}};
        _ when byte_size(Frame) =< ?PIECE_BYTES -> command(Port, Owner, Frame, Timeout);
        _ -> write_pieces(py_protocol:pieces(Alias, Slot, Frame), Port, Owner, Timeout)
    end.

write_pieces([], _Port, _Owner, _Timeout) ->
    ok;
write_pieces([Piece | Rest], Port, Owner, Timeout) ->
    case command(Port, Owner, Piece, Timeout) of
        ok -> write_pieces(Rest, Port, Owner, Timeout);
        closed -> closed
    end.

command(Port, Owner, Data, Timeout) ->
    try erlang:port_command(Port, Data, [nosuspend]) of
        true -> ok;
        false -> command_when_free(Port, Owner, Data, Timeout)
    catch
        error:badarg -> closed
    end.

%% The port does not keep up, or it is frozen as a whole (SIGSTOP), and then nobody could time out who is suspended
%% here: py_port is told, and kills a port that gives no sign of life by then.
command_when_free(Port, Owner, Data, Timeout) ->
    ok = py_port:expect(Owner, Timeout),
    try erlang:port_command(Port, Data) of
        true -> ok
    catch
        error:badarg -> closed
    end.

%% @doc What the caller gets for a reply; errors are counted for the pool's statistics.
-spec outcome(result(), #route{}) -> result().
outcome({error, timeout} = Error, #route{pool = Pool}) ->
    py_tables:count(Pool, timeouts),
    Error;
outcome({error, _} = Error, #route{pool = Pool}) ->
    py_tables:count(Pool, errors),
    Error;
outcome(Result, _Route) ->
    Result.

%% @doc The port process died with the request in its hands.
-spec lost(term(), py_slots:slot() | 0, #route{}, #caller{}) -> {error, {context_died, term()}}.
lost(Reason, Slot, Route = #route{tag = Tag}, #caller{id = Id}) ->
    ok = py_slots:cancel(py_slots:ref(), Id, Tag, Slot),
    outcome({error, {context_died, py_port:why(Reason)}}, Route).

%% @doc The deadline has passed. The slot stays Python's until it is really done; py_port sees to it that this ends.
-spec expired(reference(), #route{}) -> result().
expired(Alias, Route = #route{owner = Owner}) ->
    receive
        {py_reply, Alias, Payload} -> outcome(py_protocol:decode(Payload), Route)
    after 0 ->
        true = demonitor(Alias, [flush]),
        ok = py_port:expect(Owner, 0),
        outcome({error, timeout}, Route)
    end.

wait_for_slot(Route = #route{tag = Tag}, Caller = #caller{id = Id}, Target, Operation, Flags, Timeout) ->
    Start = erlang:monotonic_time(millisecond),
    case py_semaphore:wait(Id, Tag, Timeout) of
        timeout ->
            py_tables:count(Route#route.pool, errors),
            py_semaphore:overloaded();
        closed ->
            elsewhere(Route, Target, Operation, Flags, left(Timeout, Start));
        Slot ->
            run_with(Slot, py_slots:ref(), Route, Caller, Target, Operation, Flags, left(Timeout, Start))
    end.

%% The context is gone and nothing was sent to it.
elsewhere(#route{ctx = Ctx}, Target, Operation, Flags, Timeout) ->
    ok = py_env:forget(Ctx),
    unavailable({stale, Ctx}, Target, Operation, Flags, Timeout).

unavailable({stale, #route{ctx = Ctx}}, Target, Operation, Flags, Timeout) ->
    ok = py_env:forget(Ctx),
    unavailable({stale, Ctx}, Target, Operation, Flags, Timeout);
unavailable({gone, Ctx}, _Target, _Operation, _Flags, _Timeout) ->
    {error, {context_died, py_context:why_dead(Ctx)}};
unavailable({stale, Ctx}, {context, Ctx}, _Operation, _Flags, _Timeout) ->
    {error, {context_died, py_context:why_dead(Ctx)}};
unavailable({stale, Ctx}, {env, Ctx, _}, _Operation, _Flags, _Timeout) ->
    {error, {context_died, py_context:why_dead(Ctx)}};
unavailable(Unavailable, Target, Operation, Flags, Timeout) ->
    Start = erlang:monotonic_time(millisecond),
    case wait_for_pool(Unavailable, pool_of(Target, Operation), Timeout) of
        ok -> start(Target, Operation, Flags, left(Timeout, Start));
        {error, _} = Error -> Error
    end.

%% Waits until the pool has a context, and another than the one that is known to be gone.
wait_for_pool({down, Pool}, _, Timeout) ->
    py_pool:await(Pool, none, Timeout);
wait_for_pool({stale, Ctx}, Pool, Timeout) ->
    py_pool:await(Pool, Ctx, Timeout).

%% What was bound is forgotten by now.
pool_of({pool, Pool}, _Operation) -> Pool;
pool_of(routed, {call, M, F, _, _}) -> py_route:lookup_pool(M, F);
pool_of(routed, _Operation) -> default.

left(infinity, _Start) -> infinity;
left(Timeout, Start) -> max(0, Timeout - (erlang:monotonic_time(millisecond) - Start)).
