%% Who belongs to a chain of calls, where its requests go, and what they hold, without Python.
-module(py_chain_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").
-include("../../erlang_src/py_route.hrl").

suite() -> [{timetrap, {minutes, 1}}].

all() ->
    [plain_process, where_a_chain_began, end_of_a_callback_after_the_tables, process_that_runs_a_callback,
     callback_without_a_caller, descendants, distant_descendants, not_a_descendant,
     descendant_that_outlives_the_callback, process_that_called_python_before, home_has_the_starters_namespace,
     shared_namespace_of_the_home, starter_lives_in_the_default_pool, registered_pools_win, explicit_context,
     no_limit_that_nobody_asked_for, nested_entries, nested_entries_are_bounded, nested_entries_of_a_closed_context,
     nested_entries_are_swept_and_audited, answer_to_who_had_the_slot_before, answer_of_a_stopped_context, home_that_takes_no_more_requests].

init_per_suite(Config) ->
    ok = py_test:start_without_pools(),
    true = register(?MODULE, spawn(fun serve/0)),
    Config.

end_per_suite(_Config) ->
    exit(whereis(?MODULE), kill),
    py_test:stop_without_pools().

end_per_testcase(_, _Config) ->
    _ = [ets:delete_all_objects(Table) || Table <- [py_callbacks, py_homes, py_contexts, py_registrations]],
    ok = py_counters:set_registrations(0),
    Count = py_counters:callbacks(),
    py_counters:add_callbacks(-Count).

%% Inheritance.

%% Proves that a process is its own while no callback runs, and while callbacks run that are not its ancestors'.
plain_process(_) ->
    Plain = fun() ->
        Self = self(),
        ?assertMatch(#caller{who = Self, chain = 0, root = none, home = none}, py_env:caller())
    end,
    py_test:in_process(Plain),
    in_callback(7, fun(_Starter) -> py_test:in_process(Plain) end, elsewhere).

%% Proves that the process of a callback calls on behalf of the one that began the chain.
process_that_runs_a_callback(_) ->
    in_callback(7, fun(Starter) ->
        Self = self(),
        ?assertMatch(#caller{who = {Self, Starter}, chain = 7, root = none}, py_env:caller())
    end).

%% Proves that a callback of a thread which nobody called begins the chain itself.
callback_without_a_caller(_) ->
    py_test:in_process(fun() ->
        run(#callback{chain = 9, starter = none, port_owner = self(), id = 0, env = 0}),
        Self = self(),
        ?assertMatch(#caller{who = {Self, Self}, chain = 9}, py_env:caller())
    end).

%% Proves that it is known of a chain who began it: a process, or else where in Python that was, also in later callbacks.
where_a_chain_began(_) ->
    Source = fun() -> py_test:in_process(fun py_chain:source/0) end,
    Owner = self(),
    ?assertEqual(none, Source()),
    in_callback(7, fun(Starter) -> ?assertEqual({erlang, Starter}, Source()) end),
    py_test:in_process(fun() ->
        First = self(),
        run(#callback{chain = 9, starter = none, port_owner = Owner, id = 3, env = 0}),
        ?assertEqual([{python, Owner, 3}, {python, Owner, 3}], [py_chain:source(), Source()]),
        py_test:in_process(fun() ->
            run(#callback{chain = 9, starter = First, port_owner = self(), id = 1, env = 0}),
            ?assertEqual([{python, Owner, 3}, {python, Owner, 3}], [py_chain:source(), Source()])
        end)
    end).

%% Proves that what is done when a callback has ended can come after the end of the application.
end_of_a_callback_after_the_tables(_) ->
    ok = py_test:stop_without_pools(),
    try
        ?assertEqual(ok, py_chain:cancel_asked(self()))
    after
        py_test:start_without_pools()
    end.

%% Proves that what a callback spawns, however and however deep, belongs to its chain.
descendants(_) ->
    Raw = fun(Fun) -> py_test:in_process(Fun) end,
    Otp = fun(Fun) ->
        Self = self(),
        proc_lib:spawn_link(fun() -> Self ! {value, Fun()} end),
        receive {value, Value} -> Value end
    end,
    %% As Elixir's Task does under a supervisor.
    Task = fun(Fun) ->
        Callers = [self() | case get('$callers') of undefined -> []; List -> List end],
        Self = self(),
        _ = elsewhere(fun() ->
            spawn(fun() ->
                put('$callers', Callers),
                put('$ancestors', [py_output]),
                Self ! {value, Fun()}
            end)
        end),
        receive {value, Value} -> Value end
    end,
    in_callback(7, fun(Starter) ->
        Root = self(),
        Caller = fun() -> {self(), py_env:caller()} end,
        [begin
             Spawned = lists:foldl(fun(Spawn, Fun) -> fun() -> Spawn(Fun) end end, Caller, lists:reverse(Path)),
             {Pid, Inherited} = Spawned(),
             ?assertMatch({Path, #caller{who = {Pid, Starter}, chain = 7, root = Root}}, {Path, Inherited})
         end || Path <- [[Raw], [Otp], [Task], [Raw, Raw], [Otp, Otp], [Raw, Otp], [Otp, Raw], [Raw, Otp, Raw],
                         [Raw, Raw, Raw, Raw, Raw, Raw], [Otp, Otp, Otp, Otp, Otp, Otp, Otp, Otp, Otp, Otp],
                         [Task, Task], [Raw, Task], [Otp, Task], [Otp, Otp, Task, Raw]]]
    end).

%% Proves that plain processes are descendants up to the ninth, and only through parents that live.
distant_descendants(_) ->
    Chain = fun() -> (py_env:caller())#caller.chain end,
    Spawned = fun(_, Fun) -> fun() -> py_test:in_process(Fun) end end,
    Deep = fun(Levels) -> lists:foldl(Spawned, Chain, lists:seq(1, Levels)) end,
    in_callback(7, fun(_) ->
        ?assertEqual([7, 7, 0], [(Deep(Levels))() || Levels <- [1, 9, 10]]),
        Self = self(),
        Orphan = py_test:in_process(fun() -> spawn(fun() -> receive go -> Self ! {chain, Chain()} end end) end),
        Orphan ! go,
        ?assertEqual(0, receive {chain, Number} -> Number end)
    end).

%% Proves that a process which a callback asks for something is not taken for its child.
not_a_descendant(_) ->
    in_callback(7, fun(_) ->
        ?assertMatch(#caller{chain = 0}, elsewhere(fun() -> py_env:caller() end))
    end).

%% Proves that a process whose callback is over is its own, with what it was bound to and none of the chain's namespaces.
descendant_that_outlives_the_callback(_) ->
    Route = route(context(), 3, default),
    Self = self(),
    Child = in_callback(7, fun(_) ->
        Callback = self(),
        Pid = spawn(fun() ->
            #caller{chain = 7} = py_env:caller(),
            ok = py_env:bind(Route#route.ctx),
            Callback ! {bound, self()},
            receive go -> Self ! {later, py_env:caller()} end
        end),
        receive {bound, Pid} -> Pid end
    end, {home, Route#route{env = 4}}),
    py_test:eventually(fun() -> ets:tab2list(py_callbacks) =:= [] end),
    Child ! go,
    receive
        {later, Caller} ->
            ?assertMatch(#caller{who = Child, chain = 0, root = none, home = none}, Caller),
            ?assertEqual(#{}, Caller#caller.envs),
            ?assertEqual(Route#route{env = 0}, Caller#caller.bound)
    end.

%% Proves that a process which had called Python before stays what it is.
process_that_called_python_before(_) ->
    py_test:in_process(fun() ->
        #caller{chain = 0} = py_env:caller(),
        run(#callback{chain = 9, starter = none, port_owner = self(), id = 0, env = 0}),
        ?assertMatch(#caller{chain = 0}, py_env:caller())
    end).

%% Routing.

%% Proves that a callback's requests go to the context that waits for it, with the namespace of its request.
home_has_the_starters_namespace(_) ->
    Home = #route{ctx = Ctx} = route(context(), 5, default),
    in_callback(7, fun(_) ->
        Caller = py_env:caller(),
        ?assertMatch(#caller{home = Ctx}, Caller),
        [?assertEqual(Home#route{env = 4}, py_route:find(Target, {exec, <<>>}, Caller))
         || Target <- [routed, {pool, default}, {context, Ctx}]]
    end, {home, Home#route{env = 4}}).

%% Proves that where the request had the shared namespace, the starter's own is taken when it has one.
shared_namespace_of_the_home(_) ->
    Home = route(context(), 5, io),
    in_callback(7, fun(_) ->
        ?assertEqual(Home, py_route:find(routed, {exec, <<>>}, py_env:caller())),
        ?assertEqual(Home, py_route:find({pool, io}, {exec, <<>>}, py_env:caller()))
    end, {home, Home}),
    in_callback(8, fun(Starter) ->
        ok = py_homes:add_env(Starter, Home#route{env = 6}),
        ?assertEqual(Home#route{env = 6}, py_route:find(routed, {exec, <<>>}, py_env:caller())),
        ok = py_homes:remove_env(Starter, Home)
    end, {home, Home}).

%% Proves that the definitions of a process are found from a callback that a context of another pool waits for.
starter_lives_in_the_default_pool(_) ->
    Home = route(context(), 5, io),
    Own = #route{ctx = Ctx, tag = Tag} = route(context(), 6, default),
    py_counters:open(Tag, self()),
    in_callback(7, fun(Starter) ->
        ok = py_homes:add_env(Starter, Own#route{env = 2}),
        Caller = py_env:caller(),
        ?assertEqual(Own#route{env = 2}, py_route:find(routed, {exec, <<>>}, Caller)),
        ?assertEqual(Home, py_route:find({pool, io}, {exec, <<>>}, Caller)),
        ok = py_homes:remove_context(Ctx)
    end, {home, Home}),
    py_counters:close(Tag).

%% Proves that a module that is registered for a pool goes there from a callback too.
registered_pools_win(_) ->
    Home = route(context(), 5, default),
    true = ets:insert(py_registrations, {py_route:registration_key(numpy, '_'), gpu, {numpy, '_'}}),
    ok = py_counters:set_registrations(1),
    in_callback(7, fun(_) ->
        Caller = py_env:caller(),
        ?assertEqual({down, gpu}, py_route:find(routed, {call, numpy, zeros, [], #{}}, Caller)),
        ?assertEqual(Home, py_route:find(routed, {call, math, sqrt, [], #{}}, Caller))
    end, {home, Home}).

%% Proves that any context is reached with the starter's namespace there.
explicit_context(_) ->
    Home = route(context(), 5, default),
    Other = #route{ctx = Ctx} = route(context(), 6, io),
    true = ets:insert(py_contexts, {Ctx, Other}),
    in_callback(7, fun(Starter) ->
        Caller = py_env:caller(),
        ?assertEqual(Other, py_route:find({context, Ctx}, {exec, <<>>}, Caller)),
        ok = py_homes:add_env(Starter, Other#route{env = 3}),
        ?assertEqual(Other#route{env = 3}, py_route:find({context, Ctx}, {exec, <<>>}, Caller)),
        ?assertEqual(Other, py_route:find({env, Ctx, 0}, {exec, <<>>}, Caller)),
        ?assertMatch({gone, _}, py_route:find({context, self()}, {exec, <<>>}, Caller))
    end, {home, Home}).

%% Limits.

%% Proves that the default limit of time does not hold in a chain, and one that was asked for does.
no_limit_that_nobody_asked_for(_) ->
    Plain = py_chain:plain(),
    ?assertEqual([30000, 5, infinity], [py_time_limit:total(Limit, Plain) || Limit <- [default, 5, infinity]]),
    Nested = Plain#caller{chain = 1},
    ?assertEqual([infinity, 5, infinity], [py_time_limit:total(Limit, Nested) || Limit <- [default, 5, infinity]]).

%% Proves that nested requests are counted for their context, and never against the limit, also when it is reached.
nested_entries(_) ->
    {Slots, Id, Tag} = opened(),
    Max = py_slots:effective_max(Slots),
    Taken = [py_slots:take(Slots, Id, Tag) || _ <- lists:seq(1, Max)],
    ?assertEqual(full, py_slots:take(Slots, Id, Tag)),
    Nested = [py_slots:take_nested(Slots, Id, Tag) || _ <- lists:seq(1, 100)],
    ?assertEqual(100, length(lists:usort(Nested))),
    ?assertEqual(Max, py_slots_audit:held(Slots)),
    ?assertEqual(Max, py_semaphore:current()),
    ?assertEqual(Max + 100, py_slots_audit:in_flight(Slots, Tag)),
    ?assertEqual(Max + 100, py_counters:load(Tag)),
    lists:foreach(fun(Slot) -> py_slots:sent(Slots, Id, Tag, Slot) end, Nested),
    {Answered, Cancelled} = lists:split(50, Nested),
    lists:foreach(fun(Slot) -> answer(Slots, Slot) end, Taken ++ Answered),
    lists:foreach(fun(Slot) -> py_slots:cancel(Slots, Id, Tag, Slot) end, Cancelled),
    %% A second time changes nothing.
    lists:foreach(fun(Slot) -> ?assertEqual(unknown, py_slots:answered(Slots, Slot, 7, Id)) end, Nested),
    lists:foreach(fun(Slot) -> ?assertEqual(unknown, py_slots:started(Slots, Slot, Id)) end, Nested),
    ?assertEqual({0, 0, 0}, {py_slots_audit:held(Slots), py_slots_audit:in_flight(Slots, Tag), py_counters:load(Tag)}).

%% Proves that more nested requests than there are entries go without one, and entries that are free again are found.
nested_entries_are_bounded(_) ->
    {Slots, Id, Tag} = opened(),
    Nested = [py_slots:take_nested(Slots, Id, Tag) || _ <- lists:seq(1, 4096)],
    ?assertEqual(4096, length(lists:usort(Nested))),
    ?assertNot(lists:member(0, Nested)),
    ?assertEqual(0, py_slots:take_nested(Slots, Id, Tag)),
    ok = py_slots:sent(Slots, Id, Tag, 0),
    ok = py_slots:cancel(Slots, Id, Tag, 0),
    ?assertEqual(4096, py_slots_audit:in_flight(Slots, Tag)),
    ok = py_counters:close(Tag),
    ?assertEqual(closed, py_slots:take_nested(Slots, Id, Tag)),
    ok = py_slots_audit:sweep_tag(Slots, Tag),
    ?assertEqual(0, py_slots_audit:in_flight(Slots, Tag)),
    ok = py_counters:open(Tag, self()),
    Again = py_slots:take_nested(Slots, Id, Tag),
    ?assert(Again > 0),
    ok = answer(Slots, Again).

%% Proves that a context which takes no more requests takes no nested ones, and what was tried leaves nothing.
nested_entries_of_a_closed_context(_) ->
    {Slots, Id, Tag} = opened(),
    ok = py_counters:close(Tag),
    Closed = py_counters:load(Tag),
    ?assertEqual(closed, py_slots:take_nested(Slots, Id, Tag)),
    ?assertEqual({Closed, 0}, {py_counters:load(Tag), py_slots_audit:in_flight(Slots, Tag)}).

%% Proves that nothing is left of nested requests whose process died before it sent them, or whose context is gone.
nested_entries_are_swept_and_audited(_) ->
    {Slots, Id, Tag} = opened(),
    Sent = py_test:in_process(fun() ->
        Own = py_pid:self_id(),
        _NotSent = py_slots:take_nested(Slots, Own, Tag),
        Slot = py_slots:take_nested(Slots, Own, Tag),
        ok = py_slots:sent(Slots, Own, Tag, Slot),
        Slot
    end),
    Mine = py_slots:take_nested(Slots, Id, Tag),
    ?assertEqual(0, py_slots_audit:audit(Slots, fun(_) -> true end)),
    ?assertEqual(2, py_slots_audit:in_flight(Slots, Tag)),
    ok = answer(Slots, Sent),
    ok = answer(Slots, Mine),
    ?assertEqual(0, py_slots_audit:in_flight(Slots, Tag)).

%% Proves that the answer to a caller that was killed just after it wrote does not give back the slot of who has it now.
answer_to_who_had_the_slot_before(_) ->
    {Slots, Id, Tag} = opened(),
    Slot = py_test:in_process(fun() ->
        Taken = py_slots:take(Slots, py_pid:self_id(), Tag),
        ok = py_slots:expect(Slots, Taken, 7 bsl 1),
        Taken
    end),
    ?assertEqual(0, py_slots_audit:audit(Slots, fun(_) -> true end)),
    Mine = [py_slots:take(Slots, Id, Tag) || _ <- lists:seq(1, py_slots:effective_max(Slots))],
    ?assert(lists:member(Slot, Mine)),
    ?assertEqual(unknown, py_slots:answered(Slots, Slot, 7, Id)),
    ?assertEqual(length(Mine), py_slots_audit:held(Slots)),
    _ = [ok = answer(Slots, S) || S <- Mine],
    ?assertEqual(0, py_slots_audit:held(Slots)).

%% Proves the same of the answer to a request whose context has stopped, while its port process is there.
answer_of_a_stopped_context(_) ->
    {Slots, Id, Tag} = opened(),
    ok = py_counters:open(Tag + 1, self()),
    Alias = 8,
    Sent = [begin
                Slot = py_slots:take(Slots, Id, Tag),
                ok = py_slots:expect(Slots, Slot, Answer),
                ok = py_slots:sent(Slots, Id, Tag, Slot),
                Slot
            end || Answer <- [7 bsl 1 + 1, Alias bsl 1]],
    ok = py_slots_audit:sweep_tag(Slots, Tag),
    Mine = [py_slots:take(Slots, Id, Tag + 1) || _ <- lists:seq(1, py_slots:effective_max(Slots))],
    ?assertEqual(Sent, Sent -- (Sent -- Mine)),
    ?assertEqual([unknown, unknown], [py_slots:answered(Slots, Slot, Address, Id) || {Slot, Address} <- lists:zip(Sent, [7, Alias])]),
    ?assertEqual(length(Mine), py_slots_audit:held(Slots)),
    _ = [ok = answer(Slots, S) || S <- Mine],
    ok = py_owed:remove(Alias),
    ?assertEqual(0, py_slots_audit:held(Slots)).

%% Proves that the context that waits for a callback is reached also while its port process is being replaced.
home_that_takes_no_more_requests(_) ->
    {_, _, Tag} = opened(),
    ok = py_counters:close(Tag),
    Home = (route(context(), 5, default))#route{tag = Tag},
    in_callback(7, fun(_) ->
        Caller = py_env:caller(),
        ?assertEqual(0, py_request:take(Caller, Home)),
        ?assertEqual(closed, py_request:take(Caller, Home#route{ctx = self()})),
        ?assertEqual(closed, py_request:take(py_chain:plain(), Home))
    end, {home, Home}).

%% Helpers.

in_callback(Chain, Fun) ->
    in_callback(Chain, Fun, none).

%% The value of Fun(Starter) in a process that runs a callback; or, elsewhere, beside one.
in_callback(Chain, Fun, Where) ->
    Starter = self(),
    py_test:in_process(fun() ->
        Callback = #callback{chain = Chain, starter = Starter, port_owner = self(), id = 5, env = 0},
        case Where of
            {home, Home = #route{env = Env}} ->
                ok = py_homes:add_context(Home#route{owner = self(), id = 5, env = 0}),
                %% What the rows say, so that tests can compare.
                true = ets:update_element(py_homes, {self(), 5}, {3, Home#route{env = 0}}),
                run(Callback#callback{env = Env}, fun() -> Fun(Starter) end);
            none ->
                run(Callback, fun() -> Fun(Starter) end);
            elsewhere ->
                Other = spawn_link(fun() -> run(Callback, fun() -> receive stop -> ok end end) end),
                py_test:eventually(fun() -> ets:member(py_callbacks, Other) end),
                Value = Fun(Starter),
                Other ! stop,
                Value
        end
    end).

run(Callback) ->
    put('$ancestors', [self()]),
    ok = py_counters:add_callbacks(1),
    ok = py_chain:enter(Callback).

run(Callback, Fun) ->
    ok = run(Callback),
    Value = Fun(),
    ok = py_chain:leave(self()),
    ok = py_counters:add_callbacks(-1),
    Value.

%% The value of Fun in a process that nobody here is an ancestor of.
elsewhere(Fun) ->
    Ref = make_ref(),
    ?MODULE ! {self(), Ref, Fun},
    receive {Ref, Value} -> Value after 10000 -> error(no_answer) end.

serve() ->
    receive
        {Pid, Ref, Fun} ->
            _ = spawn(fun() -> Pid ! {Ref, Fun()} end),
            serve()
    end.

context() ->
    spawn_link(fun() -> receive stop -> ok end end).

route(Ctx, Id, Pool) ->
    #route{ctx = Ctx, port = hd(erlang:ports()), owner = self(), id = Id, tag = 100 + Id, pool = Pool, limit = py_limits:limit(default)}.

opened() ->
    Slots = py_limits:limit(default),
    ok = py_counters:open(99, self()),
    {Slots, py_pid:self_id(), 99}.

%% As the answer of a port process of ours gives a slot back.
answer(Slots, Slot) ->
    ok = py_slots:expect(Slots, Slot, 7 bsl 1),
    ?assertEqual(plain, py_slots:answered(Slots, Slot, 7, py_pid:self_id())),
    ok.
