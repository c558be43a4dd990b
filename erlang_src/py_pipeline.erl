%% @doc Many calls of one process in flight at once. A value, not a process: whoever holds it (py_parallel, py_caster)
%% receives messages and hands them to {@link handle/2}, which says what has been completed.
%%
%% Calls are sent in the order in which they were added; what a call has to wait for before it can be sent (a slot, a pool
%% that restarts) holds up those behind it, never the replies to those before it.
-module(py_pipeline).

-include("py_protocol.hrl").
-include("py_route.hrl").

-export([new/1, add/2, handle/2, cancel/2, timeout/1, is_idle/1, references/1, keys/1, flight/2]).
%% spawn.
-export([exit_with_pool/3]).

-export_type([pipeline/0, job/0, key/0, completion/0]).

-type key() :: term().
%% `timeout' counts from when the call is added, with `balance' from when it is sent. `caller': on whose behalf, and in
%% which chain of calls.
-type job() :: #{key := key(), target := py_route:target(), operation := py_protocol:operation(),
                 flags := non_neg_integer(), timeout := timeout(), caller := #caller{}}.
-type completion() :: {key(), py_request:result()}.

%% As many as begin in a millisecond.
-define(RIDERS, 31).

-record(job, {
    key :: key(),
    target :: py_route:target(),
    operation :: py_protocol:operation(),
    flags :: non_neg_integer(),
    timeout :: timeout(),
    deadline :: integer() | infinity,
    caller :: #caller{}
}).
-record(pipeline, {
    id :: py_slots:id(),
    %% Whether calls go to the least busy context of the default pool, instead of the scheduler's.
    balance :: boolean(),
    queue = queue:new() :: queue:queue(#job{}),
    %% The first call, while it waits: for a slot, or for its pool.
    head = none :: none | {slot, reference(), #route{}, #job{}} | {pool, reference(), #job{}},
    flights = #{} :: #{reference() => {#job{}, #route{}, py_slots:slot() | 0}},
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
    #pipeline{id = py_slots:self_id(), balance = Balance}.

-spec add(job(), pipeline()) -> {[completion()], pipeline()}.
add(#{key := Key, target := Target, operation := Operation, flags := Flags, timeout := Timeout, caller := Caller},
    P = #pipeline{queue = Queue, id = Id}) ->
    Deadline = case P#pipeline.balance of
        true -> infinity;
        false -> deadline(Timeout)
    end,
    Job = #job{key = Key, target = Target, operation = Operation, flags = Flags, timeout = Timeout, deadline = Deadline,
               caller = Caller#caller{id = Id}},
    Queued = placed(Job, queued, P#pipeline{queue = queue:in(Job, Queue)}),
    completed(pump(scheduled(Job, Queued))).

%% @doc `ignored': the message is not the pipeline's.
-spec handle(term(), pipeline()) -> {[completion()], pipeline()} | ignored.
handle({py_reply, Alias, Payload}, P = #pipeline{flights = Flights}) ->
    case Flights of
        #{Alias := {_, Route, _}} -> completed(pump(landed(Alias, py_request:outcome(py_protocol:decode(Payload), Route), P)));
        _ -> ignored
    end;
handle({Alias, Answer}, P = #pipeline{head = {slot, Alias, Route, Job}}) ->
    completed(pump(granted(Answer, Route, Job, P#pipeline{head = none})));
handle({'DOWN', Alias, process, _, _}, P = #pipeline{head = {slot, Alias, _Route, Job}}) ->
    %% py_semaphore crashed and is back, or about to be.
    completed(pump(again(Job, P#pipeline{head = none})));
handle({'DOWN', Monitor, process, _, Reason}, P = #pipeline{head = {pool, Monitor, Job}}) ->
    Free = P#pipeline{head = none},
    completed(pump(case Reason of
        {py_awaited, ok} -> again(Job, Free);
        {py_awaited, {error, _} = Error} -> done(Job, Error, Free);
        _ -> done(Job, {error, timeout}, Free)
    end));
handle({'DOWN', Alias, process, _, Reason}, P = #pipeline{flights = Flights}) ->
    case Flights of
        #{Alias := {Job, Route, Slot}} ->
            completed(pump(landed(Alias, py_request:lost(Reason, Slot, Route, Job#job.caller), P)));
        _ ->
            ignored
    end;
handle(timeout, P = #pipeline{deadlines = Deadlines}) ->
    Now = now_ms(),
    Late = gb_sets:fold(fun({Deadline, Key}, Keys) -> [Key || Deadline =< Now] ++ Keys end, [], first_ones(Deadlines, Now)),
    completed(pump(lists:foldl(fun late/2, P, Late)));
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
        _ -> [Job || Job = #job{key = Key} <- queue:to_list(Queue), is_map_key(Key, Unwanted)]
    end,
    Left = lists:foldl(fun(Job, Next) -> done(Job, {error, cancelled}, Next) end, P, Dropped),
    Cancel = fun(Key, Next) ->
        case Places of
            #{Key := head} ->
                {Job, _, Free} = leave(Next),
                done(Job, {error, cancelled}, Free);
            #{Key := Alias} ->
                #{Alias := {_, Route, _}} = Flights,
                ok = py_request:cancel(Route, Alias),
                Next;
            _ ->
                Next
        end
    end,
    completed(pump(lists:foldl(Cancel, Left, Begun))).

%% @doc The keys of all calls that are not completed.
-spec keys(pipeline()) -> [key()].
keys(#pipeline{places = Places}) ->
    maps:keys(Places).

%% @doc Where a call is in Python's hands.
-spec flight(key(), pipeline()) -> {Alias :: reference(), #route{}} | none.
flight(Key, #pipeline{places = Places, flights = Flights}) ->
    case Places of
        #{Key := Alias} when is_reference(Alias) ->
            #{Alias := {_, Route, _}} = Flights,
            {Alias, Route};
        _ ->
            none
    end.

%% @doc How long until `timeout' is to be handled.
-spec timeout(pipeline()) -> timeout().
timeout(#pipeline{deadlines = Deadlines}) ->
    case gb_sets:is_empty(Deadlines) of
        true -> infinity;
        false ->
            {Deadline, _} = gb_sets:smallest(Deadlines),
            max(0, Deadline - now_ms())
    end.

-spec is_idle(pipeline()) -> boolean().
is_idle(#pipeline{queue = Queue, head = Head, flights = Flights}) ->
    Head =:= none andalso map_size(Flights) =:= 0 andalso queue:is_empty(Queue).

%% @doc The references in messages for the pipeline: a map that has those of the requests in flight as keys, and the one
%% that its first call waits with.
-spec references(pipeline()) -> {#{reference() => term()}, reference() | none}.
references(#pipeline{flights = Flights, head = none}) -> {Flights, none};
references(#pipeline{flights = Flights, head = {slot, Alias, _, _}}) -> {Flights, Alias};
references(#pipeline{flights = Flights, head = {pool, Monitor, _}}) -> {Flights, Monitor}.

%% Sending.

pump(P = #pipeline{head = none, queue = Queue, places = Places}) ->
    case queue:out(Queue) of
        {{value, Job = #job{key = Key}}, Rest} ->
            Next = P#pipeline{queue = Rest},
            case is_map_key(Key, Places) of
                true -> pump(start(Job, Next));
                %% It timed out in the queue, or was cancelled there.
                false -> pump(Next)
            end;
        {empty, _} ->
            P
    end;
pump(P) ->
    P.

start(Job0, P0) ->
    {Job, P} = restart_clock(Job0, P0),
    case choose(Job, P) of
        Route = #route{tag = Tag} ->
            case py_request:take(py_slots:ref(), Job#job.caller, Route) of
                full -> placed(Job, head, P#pipeline{head = {slot, py_semaphore:queue(P#pipeline.id, Tag), Route, Job}});
                Answer -> granted(Answer, Route, Job, P)
            end;
        {down, Pool} ->
            await_pool(Pool, none, Job, P);
        {gone, Ctx} ->
            done(Job, {error, {context_died, py_context:why_dead(Ctx)}}, P)
    end.

granted(closed, Route, Job, P) ->
    stale(Route, Job, P);
granted(Slot, Route, Job, P0) ->
    {Riders, P} = riders(Slot, Route, Job, P0),
    send(Job, Riders, Slot, Route, P).

%% Tasks that begin one after the other in one context are one request to the limit: the last of them has the slot, and
%% gives it back when it has begun, and with it all those before it. Otherwise each would have to wait for the slot of
%% another one to come back, a way to Python and back. Not where tasks take long to begin: other contexts may be free.
riders(0, _Route, _Job, P) ->
    {[], P};
riders(_Slot, #route{tag = Tag} = Route, Job, P = #pipeline{balance = false}) ->
    case can_ride(Job) andalso not py_slots:is_slow(py_slots:ref(), Tag) of
        true -> riders_from_queue(Route, ?RIDERS, [], P);
        false -> {[], P}
    end;
riders(_Slot, _Route, _Job, P) ->
    {[], P}.

riders_from_queue(Route = #route{ctx = Ctx}, Room, Riders, P = #pipeline{queue = Queue, places = Places}) when Room > 0 ->
    case queue:peek(Queue) of
        {value, Job = #job{key = Key}} when is_map_key(Key, Places) ->
            case can_ride(Job) andalso choose(Job, P) of
                #route{ctx = Ctx} = Same -> riders_from_queue(Route, Room - 1, [{Same, Job} | Riders], unqueued(P));
                _ -> {lists:reverse(Riders), P}
            end;
        {value, _Gone} ->
            riders_from_queue(Route, Room, Riders, unqueued(P));
        empty ->
            {lists:reverse(Riders), P}
    end;
riders_from_queue(_Route, 0, Riders, P) ->
    {lists:reverse(Riders), P}.

can_ride(#job{flags = Flags, caller = #caller{chain = Chain}}) ->
    Chain =:= 0 andalso Flags band ?FLAG_TASK =/= 0.

unqueued(P = #pipeline{queue = Queue}) ->
    P#pipeline{queue = queue:drop(Queue)}.

send(Job, [], Slot, Route, P) ->
    send(Job, Slot, Route, P);
send(Job, [{NextRoute, Next} | Riders], Slot, Route, P0) ->
    case send(Job, 0, Route, P0) of
        P = #pipeline{head = none} ->
            send(Next, Riders, Slot, NextRoute, P);
        %% The context is gone.
        P = #pipeline{id = Id, queue = Queue} ->
            ok = py_slots:cancel(py_slots:ref(), Id, Route#route.tag, Slot),
            P#pipeline{queue = lists:foldr(fun({_, Rider}, Q) -> queue:in_r(Rider, Q) end, Queue,
                                           [{NextRoute, Next} | Riders])}
    end.

send(Job0, Slot, Route = #route{owner = Owner, ctx = Ctx}, P0) ->
    {Job, P = #pipeline{flights = Flights, loads = Loads}} = restart_clock(Job0, P0),
    #job{operation = Operation, flags = Flags, deadline = Deadline, caller = Caller} = Job,
    Alias = monitor(process, Owner, [{alias, py_request:lifetime(Flags)}]),
    case py_request:post(Slot, py_slots:ref(), Route, Caller, Alias, Operation, {Flags, left(Deadline)}) of
        ok ->
            placed(Job, Alias, P#pipeline{
                flights = Flights#{Alias => {Job, Route, Slot}},
                loads = Loads#{Ctx => maps:get(Ctx, Loads, 0) + 1}});
        closed ->
            stale(Route, Job, P);
        {error, _} = Error ->
            done(Job, Error, P)
    end.

%% The context is gone and nothing was sent to it.
stale(#route{ctx = Ctx}, Job = #job{target = {context, Ctx}}, P) ->
    done(Job, {error, {context_died, py_context:why_dead(Ctx)}}, P);
stale(#route{ctx = Ctx}, Job = #job{target = {env, Ctx, _}}, P) ->
    done(Job, {error, {context_died, py_context:why_dead(Ctx)}}, P);
stale(#route{ctx = Ctx, pool = Pool}, Job = #job{caller = Caller}, P) ->
    await_pool(Pool, Ctx, Job#job{caller = py_env:without(Ctx, Caller)}, P).

%% In a process of its own: replies must go on being served.
await_pool(Pool, Stale, Job = #job{deadline = Deadline}, P) ->
    {_, Monitor} = spawn_monitor(?MODULE, exit_with_pool, [Pool, Stale, left(Deadline)]),
    placed(Job, head, P#pipeline{head = {pool, Monitor, Job}}).

%% @private
-spec exit_with_pool(atom(), none | pid(), timeout()) -> no_return().
exit_with_pool(Pool, Stale, Timeout) ->
    exit({py_awaited, py_pool:await(Pool, Stale, Timeout)}).

again(Job, P = #pipeline{queue = Queue}) ->
    placed(Job, queued, P#pipeline{queue = queue:in_r(Job, Queue)}).

%% Calls to the caller's own functions go where its namespace is; calls of a bound process where it is bound, those to a
%% registered module by its rules; the others can be balanced.
choose(#job{target = Target, operation = Operation, caller = Caller}, #pipeline{balance = false}) ->
    py_route:find(Target, Operation, Caller);
choose(#job{target = Target, operation = {call, M, _, _, _} = Operation, caller = Caller}, #pipeline{loads = Loads}) ->
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

scheduled(#job{deadline = infinity}, P) ->
    P;
scheduled(#job{key = Key, deadline = Deadline}, P = #pipeline{deadlines = Deadlines}) ->
    P#pipeline{deadlines = gb_sets:add_element({Deadline, Key}, Deadlines)}.

%% Of many balanced calls the last are sent long after they were added.
restart_clock(Job, P = #pipeline{balance = false}) ->
    {Job, P};
restart_clock(Job = #job{key = Key, timeout = Timeout, deadline = Before}, P = #pipeline{deadlines = Deadlines}) ->
    Again = Job#job{deadline = deadline(Timeout)},
    {Again, scheduled(Again, P#pipeline{deadlines = gb_sets:del_element({Before, Key}, Deadlines)})}.

placed(#job{key = Key}, Place, P = #pipeline{places = Places}) ->
    P#pipeline{places = Places#{Key => Place}}.

first_ones(Deadlines, Now) ->
    gb_sets:filter(fun({Deadline, _}) -> Deadline =< Now end, Deadlines).

late(Key, P = #pipeline{places = Places, flights = Flights, queue = Queue}) ->
    case Places of
        #{Key := queued} ->
            [Job] = [Job || Job = #job{key = Other} <- queue:to_list(Queue), Other =:= Key],
            done(Job, py_semaphore:overloaded(), P);
        #{Key := head} ->
            {Job, Why, Free} = leave(P),
            done(Job, case Why of overloaded -> py_semaphore:overloaded(); _ -> {error, timeout} end, Free);
        #{Key := Alias} ->
            #{Alias := {_, Route, _}} = Flights,
            landed(Alias, py_request:expired(Alias, Route), P);
        _ ->
            P
    end.

%% The first call waits no more. `overloaded': no slot came in that time.
leave(P = #pipeline{head = {slot, Alias, #route{tag = Tag}, Job}, id = Id}) ->
    Free = P#pipeline{head = none},
    case py_semaphore:give_up(Alias) of
        timeout -> {Job, overloaded, Free};
        closed -> {Job, closed, Free};
        Slot ->
            ok = py_slots:cancel(py_slots:ref(), Id, Tag, Slot),
            {Job, granted, Free}
    end;
leave(P = #pipeline{head = {pool, Monitor, Job}}) ->
    demonitor(Monitor, [flush]),
    {Job, pool, P#pipeline{head = none}}.

%% Completion.

landed(Alias, Result, P = #pipeline{flights = Flights, loads = Loads}) ->
    {{Job, #route{ctx = Ctx}, _Slot}, Rest} = maps:take(Alias, Flights),
    Job#job.flags >= ?FLAG_STREAM andalso demonitor(Alias, [flush]),
    Less = case maps:get(Ctx, Loads) of
        1 -> maps:remove(Ctx, Loads);
        N -> Loads#{Ctx := N - 1}
    end,
    done(Job, Result, P#pipeline{flights = Rest, loads = Less}).

done(#job{key = Key, deadline = Deadline}, Result, P = #pipeline{done = Done, deadlines = Deadlines, places = Places}) ->
    P#pipeline{
        done = [{Key, Result} | Done],
        places = maps:remove(Key, Places),
        deadlines = case Deadline of
            infinity -> Deadlines;
            _ -> gb_sets:del_element({Deadline, Key}, Deadlines)
        end}.

completed(P = #pipeline{done = Done}) ->
    {lists:reverse(Done), P#pipeline{done = []}}.

deadline(infinity) -> infinity;
deadline(Ms) -> now_ms() + Ms.

left(infinity) -> infinity;
left(Deadline) -> max(1, Deadline - now_ms()).

now_ms() ->
    erlang:monotonic_time(millisecond).
