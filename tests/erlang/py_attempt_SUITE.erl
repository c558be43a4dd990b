%% The pure part of a request: each way from its beginning to its end, and random ones against what must always hold.
-module(py_attempt_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").
-include("../../erlang_src/py_route.hrl").
-include("../../erlang_src/py_attempt.hrl").

all() ->
    [plain, waits_for_a_slot, context_gone_before_the_slot, context_gone_at_the_write, context_that_was_asked_for,
     pool_that_is_down, not_started, too_large, withdrawn, queue_of_slots_lost, port_process_died, late, cancelled, operation_is_dropped,
     time, random_ways].

%% Proves the way of most requests.
plain(_) ->
    ?assertEqual([route, take, send, wait, {done, {reply, <<"r">>}}],
                 way([start, {route, route(1)}, {slot, 7}, {sent, make_ref()}, {reply, <<"r">>}], new(routed))),
    %% In a chain of calls there may be none.
    ?assertEqual([route, take, send, wait], way([start, {route, route(1)}, {slot, 0}, {sent, make_ref()}], new(routed))).

%% Proves that a request waits in the queue when all slots are taken, and is sent when its turn comes.
waits_for_a_slot(_) ->
    ?assertEqual([route, take, queue, send], way([start, {route, route(1)}, {slot, full}, {slot, 3}], new(routed))).

%% Proves that a request for which a context takes no more goes to another, and remembers nothing of the first.
context_gone_before_the_slot(_) ->
    Gone = route(1),
    Others = [[{route, Gone}, {slot, closed}], [{route, Gone}, {slot, full}, {slot, closed}], [{route, {stale, Gone#route.ctx}}]],
    _ = [begin
             {Actions, A} = run([start | Events], new(Target, remembers(Gone))),
             ?assertEqual({await, Target, Gone#route.ctx}, lists:last(Actions)),
             ?assertMatch(#attempt{at = pool, route = none, slot = 0, caller = #caller{bound = none, pools = Pools, envs = Envs}}
                              when map_size(Pools) + map_size(Envs) =:= 0, A),
             ?assertEqual([route, take], way([{pool, ok}, {route, route(2)}], A)),
             ?assertEqual([{done, {result, {error, why}}}], way([{pool, {error, why}}], A))
         end || Target <- [routed, {pool, p}], Events <- Others],
    ok.

%% Proves the same of a port that is closed when the request is written: nothing was sent.
context_gone_at_the_write(_) ->
    Gone = route(1),
    {Actions, A} = run([start, {route, Gone}, {slot, 5}, {sent, closed}], new({pool, p})),
    ?assertEqual({await, {pool, p}, Gone#route.ctx}, lists:last(Actions)),
    ?assertMatch(#attempt{slot = 0, operation = {exec, _}}, A).

%% Proves that who asked for a context gets no other.
context_that_was_asked_for(_) ->
    Route = #route{ctx = Ctx} = route(1),
    Ways = [[{route, {gone, Ctx}}], [{route, {stale, Ctx}}], [{route, Route}, {slot, closed}],
            [{route, Route}, {slot, 1}, {sent, closed}]],
    _ = [?assertEqual({done, {gone, Ctx}}, lists:last(way([start | Events], new(Target))))
         || Target <- [{context, Ctx}, {env, Ctx, 0}], Events <- Ways],
    ok.

%% Proves that a pool without contexts is awaited, whichever it is.
pool_that_is_down(_) ->
    ?assertEqual([route, {await, {pool, io}, none}, route], way([start, {route, {down, io}}, {pool, ok}], new(routed))),
    ?assertEqual([route, {await, {pool, io}, none}, {done, {result, {error, {no_such_pool, io}}}}],
                 way([start, {route, {down, io}}, {pool, {error, {no_such_pool, io}}}], new(routed))).

not_started(_) ->
    Error = {error, {not_started, erlang_python}},
    ?assertEqual([route, {done, {result, Error}}], way([start, {route, Error}], new(routed))).

%% Proves that a value that is too large ends the request and waits for no other context.
too_large(_) ->
    Error = {error, {too_large, 2, 1}},
    ?assertEqual({done, {result, Error}}, lists:last(way([start, {route, route(1)}, {slot, 1}, {sent, Error}], new(routed)))).

%% Proves that a value that could not be handed over in its time ends the request, which is none that Python has begun.
withdrawn(_) ->
    ?assertEqual({done, withdrawn}, lists:last(way([start, {route, route(1)}, {slot, 1}, {sent, withdrawn}], new(routed)))).

%% Proves that a request whose place in the queue is lost begins again.
queue_of_slots_lost(_) ->
    ?assertEqual([route, take, queue, route, take],
                 way([start, {route, route(1)}, {slot, full}, {slot, lost}, {route, route(2)}], new(routed))).

%% Proves that a request that was sent is not sent again.
port_process_died(_) ->
    ?assertEqual({done, {lost, why}}, lists:last(way([{down, why}], in_flight(routed)))),
    ?assertEqual({done, {lost, why}}, lists:last(way([{down, why}], in_flight({pool, p})))).

%% Proves what a request is told whose time is over, by what it waits for.
late(_) ->
    Late = fun(Events) -> lists:last(way(Events ++ [timeout], new(routed))) end,
    ?assertEqual({done, overloaded}, Late([])),
    ?assertEqual({done, overloaded}, Late([start, {route, route(1)}, {slot, full}])),
    ?assertEqual({done, {unsent, timeout}}, Late([start, {route, route(1)}, {slot, 1}])),
    ?assertEqual({done, {result, {error, timeout}}}, Late([start, {route, {down, p}}])),
    ?assertEqual({done, {result, {error, timeout}}}, Late([start, {route, route(1)}, {slot, 1}, {sent, closed}])),
    ?assertEqual({done, expired}, lists:last(way([timeout], in_flight(routed)))).

%% Proves that a request is ended where it is, and one that is in Python's hands by Python.
cancelled(_) ->
    Cancel = fun(Events) -> lists:last(way(Events ++ [cancel], new(routed))) end,
    Cancelled = {done, {result, {error, cancelled}}},
    ?assertEqual(Cancelled, Cancel([])),
    ?assertEqual(Cancelled, Cancel([start, {route, route(1)}, {slot, full}])),
    ?assertEqual(Cancelled, Cancel([start, {route, {down, p}}])),
    ?assertEqual({done, {unsent, cancelled}}, Cancel([start, {route, route(1)}, {slot, 1}])),
    ?assertEqual([cancel, cancel, {done, {reply, <<"r">>}}], way([cancel, cancel, {reply, <<"r">>}], in_flight(routed))).

%% Proves that a request in flight keeps nothing of what was sent.
operation_is_dropped(_) ->
    ?assertMatch(#attempt{at = flight, operation = none}, in_flight(routed)).

time(_) ->
    ?assertEqual(infinity, py_attempt:left(py_attempt:deadline(infinity))),
    ?assertEqual(0, py_attempt:left(py_attempt:deadline(0))),
    ?assert(py_attempt:left(py_attempt:deadline(100000)) =< 100000).

%% Proves of random ways that a request is sent at most once with success, that it has its operation whenever it is to be
%% sent, that every slot that it took is given back or Python's, that it goes to no context that it knows to be gone, and
%% that the end is the end of it.
random_ways(_) ->
    _ = rand:seed(exsss, {py_test:seed(), 1, 1}),
    _ = [random_way(lists:nth(rand:uniform(4), [routed, {pool, p}, {context, ctx(1)}, {env, ctx(1), 3}]))
         || _ <- lists:seq(1, 20000)],
    ok.

random_way(Target) ->
    {Action, A} = py_attempt:step(start, new(Target, remembers(route(1)))),
    act(Action, A, #{held => none, sent => 0, stale => []}).

act(route, A, World = #{sent := 0, held := none}) ->
    Route = #route{ctx = Ctx} = route(rand:uniform(3)),
    Pinned = is_tuple(A#attempt.target) andalso element(1, A#attempt.target) =/= pool,
    next([{route, Route}, {route, {stale, Ctx}}] ++ [{route, {gone, ctx(1)}} || Pinned] ++ [{route, {down, p}} || not Pinned],
         A, World);
act(take, A, World = #{sent := 0, held := none}) ->
    took([full, closed, 0, rand:uniform(9)], A, World);
act(queue, A, World = #{sent := 0, held := none}) ->
    case rand:uniform(3) of
        1 -> next([timeout, cancel, {slot, lost}], A, World);
        _ -> took([closed, rand:uniform(9)], A, World)
    end;
act(send, A = #attempt{operation = {exec, _}, slot = Slot}, World = #{sent := 0, held := Held}) ->
    Slot = case Held of none -> 0; _ -> Held end,
    case rand:uniform(4) of
        1 -> next([timeout, cancel], A, World);
        %% The slot is given back by who could not write.
        2 -> next([{sent, closed}, {sent, {error, too_large}}], A, World#{held := none});
        _ -> next([{sent, make_ref()}], A, World#{held := none, sent := 1})
    end;
act(wait, A, World = #{sent := 1}) ->
    next([cancel, {reply, <<>>}, {down, why}, timeout], A, World);
act(cancel, A, World = #{sent := 1}) ->
    act(wait, A, World);
act({await, _, Stale}, A, World = #{sent := 0, held := none, stale := Before}) ->
    #attempt{caller = #caller{bound = Bound, envs = Envs}} = A,
    false = Stale =/= none andalso (is_map_key(Stale, Envs) orelse (Bound =/= none andalso Bound#route.ctx =:= Stale)),
    next([{pool, ok}, {pool, ok}, {pool, {error, why}}, timeout, cancel], A, World#{stale := [Stale | Before]});
act({done, {unsent, _}}, #attempt{slot = Slot}, #{sent := 0, held := Held}) ->
    Slot = case Held of none -> 0; _ -> Held end;
act({done, Outcome}, #attempt{at = At}, #{sent := Sent, held := none}) ->
    InFlight = Sent =:= 1,
    InFlight = At =:= flight,
    InFlight = case Outcome of
        {reply, _} -> true;
        {lost, _} -> true;
        expired -> true;
        _ -> false
    end.

took(Answers, A, World) ->
    case lists:nth(rand:uniform(length(Answers)), Answers) of
        Slot when is_integer(Slot), Slot > 0 -> next([{slot, Slot}], A, World#{held := Slot});
        Other -> next([{slot, Other}], A, World)
    end.

next(Events, A, World) ->
    {Action, Next} = py_attempt:step(lists:nth(rand:uniform(length(Events)), Events), A),
    act(Action, Next, World).

%% Helpers.

new(Target) -> new(Target, #caller{id = 1, who = self()}).

new(Target, Caller) -> py_attempt:new(Target, {exec, <<"pass">>}, 0, 1000, Caller).

in_flight(Target) ->
    {_, A} = run([start, {route, route(1)}, {slot, 1}, {sent, make_ref()}], new(Target)),
    A.

remembers(Route = #route{ctx = Ctx}) ->
    #caller{id = 1, who = self(), bound = Route, pools = #{default => Route}, envs = #{Ctx => Route}}.

ctx(N) -> list_to_pid("<0." ++ integer_to_list(N) ++ ".0>").

route(N) ->
    #route{ctx = ctx(N), port = hd(erlang:ports()), owner = self(), id = N, tag = N, pool = p, grants = none}.

way(Events, A) -> element(1, run(Events, A)).

run(Events, A) ->
    {Actions, Last} = lists:mapfoldl(fun py_attempt:step/2, A, Events),
    {Actions, Last}.
