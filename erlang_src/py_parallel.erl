%% @doc Many calls at once from one process: all that the limit allows are in flight, over the contexts of the default
%% pool, and nobody but the caller waits for them.
-module(py_parallel).

-include("py_route.hrl").

-export([run/2]).

-record(flight, {index :: pos_integer(), route :: #route{}, slot :: py_slots:slot(), deadline :: integer()}).
-record(state, {
    caller :: #caller{},
    timeout :: pos_integer(),
    flights = #{} :: #{reference() => #flight{}},
    results = #{} :: #{pos_integer() => py_request:result()},
    %% Per context, how many of ours it has: the next call goes where there are fewest.
    loads = #{} :: #{pid() => pos_integer()}
}).

%% @doc The results, in the order of the operations. Each has `Timeout' from the moment it has been sent.
-spec run([py_protocol:operation()], pos_integer()) -> [py_request:result()].
run(Operations, Timeout) ->
    Numbered = lists:zip(lists:seq(1, length(Operations)), Operations),
    #state{results = Results} = send(Numbered, #state{caller = py_env:caller(), timeout = Timeout}),
    [maps:get(Index, Results) || {Index, _} <- Numbered].

%% Slots are taken as they come: only with nothing in flight is one waited for, so two of us cannot block each other.
send([], State = #state{flights = Flights}) when map_size(Flights) =:= 0 ->
    State;
send([], State) ->
    send([], collect(State));
send([{Index, Operation} | Rest] = All, State = #state{caller = Caller, flights = Flights, timeout = Timeout}) ->
    case choose(Operation, State) of
        Route = #route{tag = Tag} ->
            Slots = py_slots:ref(),
            case py_slots:take(Slots, Caller#caller.id, Tag) of
                full when map_size(Flights) > 0 ->
                    send(All, collect(State));
                full ->
                    case py_semaphore:wait(Caller#caller.id, Tag, Timeout) of
                        timeout -> send(Rest, result(Index, py_semaphore:overloaded(), State));
                        closed -> again(All, Route, State);
                        Slot -> post(Slot, Route, All, State)
                    end;
                closed ->
                    again(All, Route, State);
                Slot ->
                    post(Slot, Route, All, State)
            end;
        Pool ->
            case py_pool:await(Pool, none, Timeout) of
                ok -> send(All, State);
                {error, _} = Error -> send(Rest, result(Index, Error, State))
            end
    end.

post(Slot, Route = #route{owner = Owner, ctx = Ctx}, [{Index, Operation} | Rest] = All, State) ->
    #state{caller = Caller, timeout = Timeout, flights = Flights, loads = Loads} = State,
    Alias = monitor(process, Owner, [{alias, reply_demonitor}]),
    case py_request:post(Slot, py_slots:ref(), Route, Caller, Alias, Operation, {0, Timeout}) of
        ok ->
            Deadline = erlang:monotonic_time(millisecond) + Timeout,
            Flight = #flight{index = Index, route = Route, slot = Slot, deadline = Deadline},
            send(Rest, State#state{
                flights = Flights#{Alias => Flight},
                loads = maps:update_with(Ctx, fun(N) -> N + 1 end, 1, Loads)});
        closed ->
            again(All, Route, State);
        {error, _} = Error ->
            send(Rest, result(Index, Error, State))
    end.

%% Nothing was sent: the pool has, or will have, another context.
again([{Index, _} | Rest] = All, #route{ctx = Ctx, pool = Pool}, State = #state{timeout = Timeout}) ->
    ok = py_env:forget(Ctx),
    case py_pool:await(Pool, Ctx, Timeout) of
        ok -> send(All, State#state{caller = py_env:caller()});
        {error, _} = Error -> send(Rest, result(Index, Error, State))
    end.

%% Calls to the caller's own functions go where its namespace is; calls of a bound process where it is bound, and to a
%% registered module's pool by its rules; all others to the least busy context of the default pool.
choose({call, M, _, _, _} = Operation, #state{caller = Caller = #caller{bound = Bound}, loads = Loads}) ->
    Own = M =:= '__main__' orelse M =:= <<"__main__">> orelse Bound =/= none,
    case py_route:find(routed, Operation, Caller) of
        {down, Pool} -> Pool;
        Route when Own -> Route;
        Route = #route{pool = default} ->
            case py_tables:contexts(default) of
                [] -> Route;
                Routes -> with_env(least_busy(Routes, Loads), Caller)
            end;
        Route -> Route
    end.

least_busy([First | Rest], Loads) ->
    Load = fun(#route{ctx = Ctx}) -> maps:get(Ctx, Loads, 0) end,
    lists:foldl(fun(Route, Best) -> case Load(Route) < Load(Best) of true -> Route; false -> Best end end, First, Rest).

with_env(Route = #route{ctx = Ctx}, #caller{envs = Envs}) ->
    maps:get(Ctx, Envs, Route).

%% Waits for any one of the requests in flight.
collect(State = #state{flights = Flights}) ->
    Next = lists:min([Deadline || #flight{deadline = Deadline} <- maps:values(Flights)]),
    receive
        {py_reply, Alias, Payload} when is_map_key(Alias, Flights) ->
            landed(Alias, fun(#flight{route = Route}) -> py_request:outcome(py_protocol:decode(Payload), Route) end, State);
        {'DOWN', Alias, process, _, Reason} when is_map_key(Alias, Flights) ->
            landed(Alias, fun(#flight{route = Route, slot = Slot}) -> py_request:lost(Reason, Slot, Route) end, State)
    after max(0, Next - erlang:monotonic_time(millisecond)) ->
        Late = [Alias || {Alias, #flight{deadline = Deadline}} <- maps:to_list(Flights), Deadline =< Next],
        lists:foldl(
            fun(Alias, Acc) -> landed(Alias, fun(#flight{route = Route}) -> py_request:expired(Alias, Route) end, Acc) end,
            State, Late)
    end.

landed(Alias, Result, State = #state{flights = Flights, loads = Loads}) ->
    {Flight = #flight{index = Index, route = #route{ctx = Ctx}}, Rest} = maps:take(Alias, Flights),
    Value = Result(Flight),
    result(Index, Value, State#state{
        flights = Rest,
        caller = py_env:caller(),
        loads = maps:update_with(Ctx, fun(N) -> N - 1 end, Loads)}).

result(Index, Value, State = #state{results = Results}) ->
    State#state{results = Results#{Index => Value}}.
