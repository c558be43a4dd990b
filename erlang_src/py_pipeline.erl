%% @doc Many calls of one process in flight at once. A value, not a process: whoever holds it (py_parallel, py_caster)
%% receives messages and hands them to {@link handle/2}, which says what has been completed.
%%
%% Calls are sent in the order in which they were added; what a call has to wait for before it can be sent (a slot, a pool
%% that restarts) holds up those behind it, never the replies to those before it. What happens to each is decided by
%% py_attempt.
-module(py_pipeline).

-include("py_protocol.hrl").
-include("py_route.hrl").
-include("py_attempt.hrl").

-export([new/1, add/2, handle/2, cancel/2, timeout/1, is_idle/1, references/1, keys/1, flight/2]).
%% spawn.
-export([exit_with_pool/3]).

-export_type([pipeline/0, job/0, key/0, completion/0]).

-type key() :: term().
%% `timeout' and `queue_timeout' count from when the call is added, with `balance' from when it is its turn. `caller': on whose behalf, and in
%% which chain of calls.
-type job() :: #{key := key(), target := py_route:target(), operation := py_protocol:operation(),
                 flags := non_neg_integer(), timeout := timeout(), queue_timeout := timeout(), caller := #caller{}}.
-type completion() :: {key(), py_request:result()}.

%% As many as begin in a millisecond.
-define(RIDERS, 31).

-record(pipeline, {
    id :: py_pid:id(),
    %% Whether calls go to the least busy context of the default pool, instead of the scheduler's.
    balance :: boolean(),
    queue = queue:new() :: queue:queue(#attempt{}),
    %% The first call, while it waits: for a slot, or for its pool (a monitor on the process that waits for that).
    head = none :: none | {reference() | py_waiters:place(), #attempt{}},
    flights = #{} :: #{reference() => #attempt{}},
    %% Where every call is.
    places = #{} :: #{key() => queued | head | reference()},
    deadlines = gb_sets:new() :: gb_sets:set({integer(), key()}),
    %% Calls of ours in each context.
    loads = #{} :: #{pid() => pos_integer()},
    done = [] :: [completion()]
}).
-opaque pipeline() :: #pipeline{}.

-spec new(#{balance := boolean()}) -> pipeline().
new(#{balance := Balance}) ->
    #pipeline{id = py_pid:self_id(), balance = Balance}.

-spec add(job(), pipeline()) -> {[completion()], pipeline()}.
add(#{key := Key, target := Target, operation := Operation, flags := Flags, timeout := Timeout, queue_timeout := QueueTimeout,
      caller := Caller}, P = #pipeline{id = Id, balance = Balance}) ->
    A = #attempt{key = Key, target = Target, operation = Operation, flags = Flags, timeout = Timeout,
                 queue_timeout = QueueTimeout, deadline = infinity, caller = Caller#caller{id = Id}},
    {Scheduled, Next = #pipeline{queue = Queue}} = case Balance of
        true -> scheduled(A, P);
        false -> start_clocks(A, P)
    end,
    completed(pump(placed(Scheduled, queued, Next#pipeline{queue = queue:in(Scheduled, Queue)}))).

%% @doc `ignored': the message is not the pipeline's.
-spec handle(term(), pipeline()) -> {[completion()], pipeline()} | ignored.
handle({py_reply, Alias, Payload}, P = #pipeline{flights = Flights})
        when is_map_key(Alias, Flights), (is_binary(Payload) orelse is_list(Payload)) ->
    completed(pump(landed({reply, Payload}, Alias, P)));
handle({'DOWN', Ref, process, _, Reason}, P = #pipeline{head = {Ref, A = #attempt{at = pool}}}) ->
    Event = case Reason of
        {py_awaited, Answer} -> {pool, Answer};
        _ -> {pool, {error, timeout}}
    end,
    completed(pump(next(Event, A, P#pipeline{head = none})));
handle({'DOWN', Alias, process, _, Reason}, P = #pipeline{flights = Flights}) when is_map_key(Alias, Flights) ->
    completed(pump(landed({down, Reason}, Alias, P)));
handle(timeout, P = #pipeline{deadlines = Deadlines}) ->
    Now = erlang:monotonic_time(millisecond),
    Late = gb_sets:fold(fun({Deadline, Key}, Keys) -> [Key || Deadline =< Now] ++ Keys end, [], first_ones(Deadlines, Now)),
    completed(pump(lists:foldl(fun late/2, P, Late)));
handle(Message, P = #pipeline{head = {Place, A = #attempt{at = slot}}}) ->
    case py_waiters:is_answer(Message, Place) of
        {true, Answer} -> completed(pump(next({slot, Answer}, A, P#pipeline{head = none})));
        false -> ignored
    end;
handle(_Other, _P) ->
    ignored.

%% @doc Those that are not in Python's hands yet are completed with `{error, cancelled}'; the others are ended there, and
%% completed by what Python then says. Keys that are not there are passed over.
-spec cancel([key()], pipeline()) -> {[completion()], pipeline()}.
cancel(Keys, P = #pipeline{places = Places, queue = Queue, flights = Flights}) ->
    {Queued, Begun} = lists:partition(fun(Key) -> maps:get(Key, Places, gone) =:= queued end, Keys),
    Unwanted = maps:from_keys(Queued, []),
    Dropped = case Queued of
        [] -> [];
        _ -> [A || A = #attempt{key = Key} <- queue:to_list(Queue), is_map_key(Key, Unwanted)]
    end,
    Left = lists:foldl(fun(A, Next) -> next(cancel, A, Next) end, P, Dropped),
    Cancel = fun(Key, Next) ->
        case Places of
            #{Key := head} ->
                {A, Free} = leave(Next),
                next(cancel, A, Free);
            #{Key := Alias} ->
                #{Alias := A} = Flights,
                next(cancel, A, Next);
            _ ->
                Next
        end
    end,
    completed(pump(lists:foldl(Cancel, Left, Begun))).

%% @doc The keys of all calls that are not completed.
-spec keys(pipeline()) -> [key()].
keys(#pipeline{places = Places}) ->
    maps:keys(Places).

%% @doc A call that is in Python's hands.
-spec flight(key(), pipeline()) -> py_attempt:attempt() | none.
flight(Key, #pipeline{places = Places, flights = Flights}) ->
    case Places of
        #{Key := Alias} when is_reference(Alias) -> map_get(Alias, Flights);
        _ -> none
    end.

%% @doc How long until `timeout' is to be handled.
-spec timeout(pipeline()) -> timeout().
timeout(#pipeline{deadlines = Deadlines}) ->
    case gb_sets:is_empty(Deadlines) of
        true -> infinity;
        false ->
            {Deadline, _} = gb_sets:smallest(Deadlines),
            py_attempt:left(Deadline)
    end.

-spec is_idle(pipeline()) -> boolean().
is_idle(#pipeline{queue = Queue, head = Head, flights = Flights}) ->
    Head =:= none andalso map_size(Flights) =:= 0 andalso queue:is_empty(Queue).

%% @doc The references in messages for the pipeline: a map that has those of the requests in flight as keys, and the one
%% that its first call waits with.
-spec references(pipeline()) -> {#{reference() => term()}, reference() | none}.
references(#pipeline{flights = Flights, head = none}) -> {Flights, none};
references(#pipeline{flights = Flights, head = {Place, #attempt{at = slot}}}) -> {Flights, py_waiters:reference(Place)};
references(#pipeline{flights = Flights, head = {Monitor, _}}) -> {Flights, Monitor}.

%% Sending.

pump(P = #pipeline{head = none, queue = Queue, places = Places}) ->
    case queue:out(Queue) of
        {{value, A = #attempt{key = Key}}, Rest} ->
            Next = P#pipeline{queue = Rest},
            case is_map_key(Key, Places) of
                true -> pump(next(start, A, Next));
                %% It timed out in the queue, or was cancelled there.
                false -> pump(Next)
            end;
        {empty, _} ->
            P
    end;
pump(P) ->
    P.

next(Event, A, P) ->
    {Action, Next} = py_attempt:step(Event, A),
    act(Action, Next, P).

act(route, A0, P0) ->
    {A, P} = restart_clocks(A0, P0),
    next({route, choose_if_started(A, P)}, A, P);
act(take, A = #attempt{caller = Caller, route = Route}, P) ->
    next({slot, py_request:take(Caller, Route)}, A, P);
act(queue, A = #attempt{route = #route{limit = Limit, tag = Tag}}, P = #pipeline{id = Id}) ->
    case py_waiters:queue(Limit, Id, Tag) of
        Answer when Answer =:= queue_full; Answer =:= closed -> next({slot, Answer}, A, P);
        Place -> placed(A, head, P#pipeline{head = {Place, A}})
    end;
act({await, Where, Stale}, A0, P0) ->
    {A = #attempt{operation = Operation, deadline = Deadline}, P} = scheduled(A0, P0),
    %% In a process of its own: replies must go on being served.
    {_, Monitor} = spawn_monitor(?MODULE, exit_with_pool, [py_route:pool_of(Where, Operation), Stale, left(Deadline)]),
    placed(A, head, P#pipeline{head = {Monitor, A}});
act(send, A, P0) ->
    {Riders, P} = riders(A, P0),
    send(A, Riders, P);
act(wait, A0, P0) ->
    {A = #attempt{alias = Alias, route = #route{ctx = Ctx}}, P = #pipeline{flights = Flights, loads = Loads}} = scheduled(A0, P0),
    placed(A, Alias, P#pipeline{flights = Flights#{Alias => A}, loads = Loads#{Ctx => maps:get(Ctx, Loads, 0) + 1}});
act(cancel, A, P) ->
    ok = py_request:cancel(A),
    P;
act({done, Outcome}, A, P) ->
    done(A, py_request:result(Outcome, A), P).

%% @private
-spec exit_with_pool(atom(), none | pid(), timeout()) -> no_return().
exit_with_pool(Pool, Stale, Timeout) ->
    exit({py_awaited, py_pool_await:context(Pool, Stale, Timeout)}).

%% Tasks that begin one after the other in one context are one request to the limit: the last of them has the slot, and
%% gives it back when it has begun, and with it all those before it. Otherwise each would have to wait for the slot of
%% another one to come back, a way to Python and back. Not where tasks take long to begin: other contexts may be free.
riders(A = #attempt{slot = Slot, route = Route = #route{tag = Tag}}, P = #pipeline{balance = false}) when Slot > 0 ->
    case can_ride(A) andalso not py_counters:is_slow(Tag) of
        true -> riders_from_queue(Route, ?RIDERS, [], P);
        false -> {[], P}
    end;
riders(_A, P) ->
    {[], P}.

riders_from_queue(Route = #route{ctx = Ctx}, Room, Riders, P = #pipeline{queue = Queue, places = Places}) when Room > 0 ->
    case queue:peek(Queue) of
        {value, A = #attempt{key = Key}} when is_map_key(Key, Places) ->
            case can_ride(A) andalso choose(A, P) of
                #route{ctx = Ctx} = Same ->
                    riders_from_queue(Route, Room - 1, [A#attempt{route = Same} | Riders], unqueued(P));
                _ -> {lists:reverse(Riders), P}
            end;
        {value, _Gone} ->
            riders_from_queue(Route, Room, Riders, unqueued(P));
        empty ->
            {lists:reverse(Riders), P}
    end;
riders_from_queue(_Route, 0, Riders, P) ->
    {lists:reverse(Riders), P}.

can_ride(#attempt{flags = Flags, caller = #caller{chain = Chain}}) ->
    Chain =:= 0 andalso Flags band ?FLAG_TASK =/= 0.

unqueued(P = #pipeline{queue = Queue}) ->
    P#pipeline{queue = queue:drop(Queue)}.

send(A, [], P) ->
    send(A, P);
send(A = #attempt{slot = Slot, route = #route{limit = Limit, tag = Tag}}, [Next | Riders], P0) ->
    case send(A#attempt{slot = 0}, P0) of
        P = #pipeline{head = none} ->
            send(Next#attempt{slot = Slot}, Riders, P);
        %% The context is gone.
        P = #pipeline{id = Id, queue = Queue} ->
            ok = py_slots:cancel(Limit, Id, Tag, Slot),
            P#pipeline{queue = lists:foldr(fun queue:in_r/2, Queue, [Next | Riders])}
    end.

send(A0, P0) ->
    {A = #attempt{deadline = Deadline}, P} = restart_clocks(A0, P0),
    next({sent, py_request:post(A, left(Deadline))}, A, P).

choose_if_started(A, P) ->
    try
        choose(A, P)
    catch
        error:Reason:Stack -> py_started:failed(Reason, Stack)
    end.

%% Calls to the caller's own functions go where its namespace is; calls of a bound process where it is bound, those to a
%% registered module by its rules; the others can be balanced.
choose(#attempt{target = Target, operation = Operation, caller = Caller}, #pipeline{balance = false}) ->
    py_route:find(Target, Operation, Caller);
choose(#attempt{target = Target, operation = {call, M, _, _, _} = Operation, caller = Caller}, #pipeline{loads = Loads}) ->
    Own = M =:= '__main__' orelse M =:= <<"__main__">> orelse Caller#caller.bound =/= none,
    case py_route:find(Target, Operation, Caller) of
        Route = #route{pool = default} when not Own -> least_busy(py_tables:contexts(default), Route, Loads, Caller);
        Found -> Found
    end.

least_busy([], Route, _Loads, _Caller) ->
    Route;
least_busy([First | Rest], _Route, Loads, #caller{envs = Envs}) ->
    Load = fun(#route{ctx = Ctx}) -> maps:get(Ctx, Loads, 0) end,
    Best = lists:foldl(fun(Route, Least) -> case Load(Route) < Load(Least) of true -> Route; false -> Least end end, First, Rest),
    maps:get(Best#route.ctx, Envs, Best).

%% Deadlines.

%% Where it is now it may expire at another time than before.
scheduled(A = #attempt{key = Key, expiry = Before}, P = #pipeline{deadlines = Deadlines}) ->
    case py_attempt:expiry(A) of
        Before -> {A, P};
        Expiry -> {A#attempt{expiry = Expiry}, P#pipeline{deadlines = added(Expiry, Key, removed(Before, Key, Deadlines))}}
    end.

added(infinity, _Key, Deadlines) -> Deadlines;
added(Expiry, Key, Deadlines) -> gb_sets:add_element({Expiry, Key}, Deadlines).

removed(Never, _Key, Deadlines) when is_atom(Never) -> Deadlines;
removed(Expiry, Key, Deadlines) -> gb_sets:del_element({Expiry, Key}, Deadlines).

start_clocks(A = #attempt{timeout = Timeout, queue_timeout = QueueTimeout}, P) ->
    scheduled(A#attempt{deadline = py_attempt:deadline(Timeout), queue_deadline = py_attempt:deadline(QueueTimeout)}, P).

%% Of many balanced calls the last are sent long after they were added.
restart_clocks(A, P = #pipeline{balance = false}) -> {A, P};
restart_clocks(A, P) -> start_clocks(A, P).

placed(#attempt{key = Key}, Place, P = #pipeline{places = Places}) ->
    P#pipeline{places = Places#{Key => Place}}.

first_ones(Deadlines, Now) ->
    gb_sets:filter(fun({Deadline, _}) -> Deadline =< Now end, Deadlines).

late(Key, P = #pipeline{places = Places, queue = Queue}) ->
    case Places of
        #{Key := queued} ->
            [A] = [A || A = #attempt{key = Other} <- queue:to_list(Queue), Other =:= Key],
            next(timeout, A, P);
        #{Key := head} ->
            case leave(P) of
                %% It had waited for too long, but not for nothing.
                {A = #attempt{at = granted, slot = Slot, deadline = Deadline}, Free} when Slot > 0 ->
                    case py_attempt:left(Deadline) of
                        0 -> next(timeout, A, Free);
                        _ -> next({slot, Slot}, A, Free)
                    end;
                {A, Free} ->
                    next(timeout, A, Free)
            end;
        #{Key := Alias} ->
            landed(timeout, Alias, P);
        _ ->
            P
    end.

%% The first call waits no more. Its slot may have come meanwhile, or the news that its context is gone.
leave(P = #pipeline{head = {Place, A = #attempt{at = slot}}}) ->
    Left = case py_waiters:leave(Place) of
        timeout -> A;
        closed -> A#attempt{at = pool};
        Slot -> A#attempt{at = granted, slot = Slot}
    end,
    {Left, P#pipeline{head = none}};
leave(P = #pipeline{head = {Monitor, A = #attempt{at = pool}}}) ->
    demonitor(Monitor, [flush]),
    {A, P#pipeline{head = none}}.

%% Completion.

landed(Event, Alias, P = #pipeline{flights = Flights, loads = Loads}) ->
    {A = #attempt{flags = Flags, route = #route{ctx = Ctx}}, Rest} = maps:take(Alias, Flights),
    Flags >= ?FLAG_STREAM andalso demonitor(Alias, [flush]),
    Less = case maps:get(Ctx, Loads) of
        1 -> maps:remove(Ctx, Loads);
        N -> Loads#{Ctx := N - 1}
    end,
    next(Event, A, P#pipeline{flights = Rest, loads = Less}).

done(#attempt{key = Key, expiry = Expiry}, Result, P = #pipeline{done = Done, deadlines = Deadlines, places = Places}) ->
    P#pipeline{
        done = [{Key, Result} | Done],
        places = maps:remove(Key, Places),
        deadlines = removed(Expiry, Key, Deadlines)}.

completed(P = #pipeline{done = Done}) ->
    {lists:reverse(Done), P#pipeline{done = []}}.

left(infinity) -> infinity;
left(Deadline) -> max(1, py_attempt:left(Deadline)).
