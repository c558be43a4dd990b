%% Chains of calls among many others: under the limit, across contexts, from processes that callbacks spawn.
-module(reentry_load_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 5}}].

all() -> [{group, limit}, {group, crossing}, {group, spawned}, {group, load}].

groups() ->
    [{limit, [], [one_slot, one_slot_for_many_callers, one_slot_across_contexts, limit_is_for_those_outside]},
     {crossing, [], [two_chains_cross, two_chains_cross_between_pools, three_way, crossing_among_many, crossing_threads,
                     chain_waits_for_an_ordinary_call]},
     {spawned, [], [spawned_processes, generations, linked_worker_keeps_the_namespace, survivor_is_on_its_own,
                    server_that_outlives_the_callback, casts_go_to_the_chain, parallel_in_callbacks]},
     {load, [], [fifty_callers, random_trees]}].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

end_per_testcase(_Case, _Config) ->
    ok = py_semaphore:set_max_concurrent(100),
    py_test_callbacks:clean_up().

%% The limit.

%% Proves that a chain takes one slot however deep it is: it works with a limit of one.
one_slot(_) ->
    ok = py_semaphore:set_max_concurrent(1),
    register_levels(default),
    ?assertEqual({ok, 20}, py:call(default, calling, call, [next, 20])).

%% Proves the same of ten callers who wait for that slot.
one_slot_for_many_callers(_) ->
    ok = py_semaphore:set_max_concurrent(1),
    register_levels(default),
    all_ok([{{ok, 20}, fun() -> py:call(default, calling, call, [next, 20]) end} || _ <- lists:seq(1, 10), _ <- [1, 2,
        3]]).

%% Proves the same of chains that go through other contexts and pools.
one_slot_across_contexts(_) ->
    ok = py_semaphore:set_max_concurrent(1),
    Targets = py_test:contexts(default) ++ [io],
    ok = py:register_function(next, fun([0]) -> 0;
                                       ([N]) ->
        Target = lists:nth(N rem length(Targets) + 1, Targets),
        {ok, V} = py:call(Target, calling, call, [next, N - 1]),
        V + 1
    end),
    all_ok([{{ok, 20}, fun() -> py:call(Target, calling, call, [next, 20]) end}
            || Target <- Targets, _ <- lists:seq(1, 10)]).

%% Proves that a chain's requests do not count, and that others wait as long as the one that began it.
limit_is_for_those_outside(_) ->
    ok = py_semaphore:set_max_concurrent(2),
    Self = self(),
    ok = py:register_function(wait, fun([]) ->
        {ok, _} = py:call(io, math, sqrt, [4]),
        Self ! {in, self(), py_semaphore:current()},
        receive go -> ok end,
        {ok, 2.0} = py:call(io, math, sqrt, [4]),
        none
    end),
    Jobs = [py_test:async(fun() -> py:call(default, calling, call, [wait]) end) || _ <- [1, 2]],
    Inside = [receive {in, Pid, Held} -> ?assert(Held =< 2), Pid end || _ <- Jobs],
    ?assertMatch({error, {overloaded, 2, 2}}, py:call(probe, echo, [1], #{}, 20)),
    _ = [Pid ! go || Pid <- Inside],
    _ = [?assertEqual({ok, none}, py_test:join(Job)) || Job <- Jobs],
    ?assertEqual({ok, 1}, py:call(probe, echo, [1])).

%% Crossing.

%% Proves that chains from A to B and from B to A, hundreds of them at once, never wait for one another.
two_chains_cross(_) ->
    Other = lists:last(py_test_modes:supported()),
    _ = [py_test:with_context(#{mode => ModeA}, fun(A) ->
             py_test:with_context(#{mode => ModeB}, fun(B) -> cross([A, B], 300) end)
         end) || {ModeA, ModeB} <- [{worker, worker}, {Other, Other}, {worker, Other}]],
    ok.

%% Proves the same of contexts in two port processes.
two_chains_cross_between_pools(_) ->
    py_test:with_pool(1, #{}, fun(A) ->
        py_test:with_pool(1, #{}, fun(B) -> cross([A, B], 300) end)
    end).

%% Proves the same of three contexts in a circle.
three_way(_) ->
    py_test:with_pool(3, #{}, fun(Pool) -> cross(py_test:contexts(Pool), 300) end).

%% Each caller sends a chain from one context around all of them, twice; every hop is a level.
cross(Targets, Times) ->
    Count = length(Targets),
    ok = py:register_function(hop, fun([_, 0]) -> 0;
                                      ([At, Left]) ->
        {ok, V} = py:call(lists:nth(At + 1, Targets), calling, call, [hop, (At + 1) rem Count, Left - 1]),
        V + 1
    end),
    all_ok([{lists:duplicate(Times, {ok, 2 * Count}),
             fun() -> [py:call(lists:nth(At, Targets), calling, call, [hop, At rem Count, 2 * Count])
                       || _ <- lists:seq(1, Times)] end} || At <- lists:seq(1, Count), _ <- [1, 2]]).

%% Proves the same of chains between random contexts, with more callers than contexts and ordinary calls among them.
crossing_among_many(_) ->
    Contexts = py_test:contexts(default) ++ py_test:contexts(io),
    ok = py:register_function(hop, fun([0]) -> 0;
                                      ([Left]) ->
        {ok, V} = py:call(any(Contexts), calling, call, [hop, Left - 1], #{timeout => 60000}),
        V + 1
    end),
    all_ok([{lists:duplicate(50, {ok, 8}),
             fun() -> [py:call(any(Contexts), calling, call, [hop, 8], #{timeout => 60000}) || _ <- lists:seq(1,
                 50)] end}
            || _ <- lists:seq(1, 20)] ++
           [{lists:duplicate(200, {ok, 1}), fun() -> [py:call(any(Contexts), probe, echo, [1]) || _ <- lists:seq(1,
               200)] end}
            || _ <- lists:seq(1, 5)]).

%% Proves that chains that cross may be made by threads that their contexts wait for.
crossing_threads(_) ->
    py_test:with_pool(2, #{}, fun(Pool) ->
        [A, B] = py_test:contexts(Pool),
        Other = fun(1) -> {2, B}; (2) -> {1, A} end,
        ok = py:register_function(hop, fun([_, 0]) -> 0;
                                          ([At, Left]) ->
            {Next, Ctx} = Other(At),
            {ok, V} = py:call(Ctx, calling, from_thread, [hop, Next, Left - 1], #{timeout => 10000}),
            {<<"ok">>, Deeper} = V,
            Deeper + 1
        end),
        all_ok([{lists:duplicate(20, {ok, {<<"ok">>, 4}}),
                 fun() -> [py:call(Ctx, calling, from_thread, [hop, At, 4], #{timeout => 10000})
                           || _ <- lists:seq(1, 20)] end} || {At, Ctx} <- [{1, A}, {2, B}]])
    end).

%% Proves that a chain that needs a context where an ordinary call runs gets it when that ends.
chain_waits_for_an_ordinary_call(_) ->
    py_test:with_pool(3, #{}, fun(Pool) ->
        [A, B, C] = py_test:contexts(Pool),
        ok = py:register_function(other, fun([]) -> {ok, V} = py:call(B, probe, echo, [7]), V end),
        Gate = atom_to_binary(py_test:unique(gate)),
        Busy = py_test:async(fun() -> py:call(B, probe, wait_gate, [Gate]) end),
        Chain = py_test:async(fun() -> py:call(A, calling, call, [other]) end),
        py_test:eventually(fun() -> py_counters:callbacks() =:= 1 end),
        ?assertEqual({ok, <<"opened">>}, py:call(C, probe, open_gate, [Gate])),
        ?assertEqual({ok, <<"open">>}, py_test:join(Busy)),
        ?assertEqual({ok, 7}, py_test:join(Chain))
    end).

%% Spawned processes.

%% Proves that processes that a callback spawns work in the waiting context, with the starter's namespace, at once.
spawned_processes(_) ->
    py_test:with_context(#{}, fun(Ctx) ->
        ok = py:exec(Ctx, <<"name = 'the starter'\n">>),
        ok = py:register_function(fan, fun([N]) ->
            Ways = [fun(F) -> py_test:async(F) end,
                    fun(F) -> py_test:async(fun() -> in_proc_lib(F) end) end,
                    fun(F) -> py_test:async(fun() -> py_test:join(py_test:async(F)) end) end,
                    fun(F) -> task(F) end],
            Jobs = [Way(fun() -> py:eval(Ctx, <<"(name, n)">>, #{n => I}) end) || I <- lists:seq(1, N), Way <- Ways],
            [begin {ok, V} = py_test:join(Job), V end || Job <- Jobs]
        end),
        Expected = [{<<"the starter">>, I} || I <- lists:seq(1, 20), _ <- lists:seq(1, 4)],
        ?assertEqual({ok, Expected}, py:call(Ctx, calling, call, [fan, 20]))
    end).

in_proc_lib(F) ->
    Self = self(),
    Ref = make_ref(),
    _ = proc_lib:spawn_link(fun() -> Self ! {Ref, F()} end),
    receive {Ref, Value} -> Value end.

%% As Elixir's Task.Supervisor does: another process spawns it, $callers tells for whom.
task(F) ->
    Callers = [self() | get('$callers')],
    py_test:async(fun() ->
        put('$callers', Callers),
        F()
    end).

%% Proves that also a process many generations below belongs to the chain.
generations(_) ->
    py_test:with_context(#{}, fun(Ctx) ->
        ok = py:exec(Ctx, <<"name = 'the starter'\n">>),
        ok = py:register_function(deep, fun([N]) -> {ok, V} = descend(N, fun() -> py:eval(Ctx, <<"name">>) end), V end),
        _ = [?assertEqual({ok, <<"the starter">>}, py:call(Ctx, calling, call, [deep, N], #{timeout => 10000}))
             || N <- [1, 2, 5, 8]]
    end).

descend(0, F) -> F();
descend(N, F) -> py_test:in_process(fun() -> descend(N - 1, F) end).

%% Proves that a process that works for the chain again and again stays in it as long as the callback runs.
linked_worker_keeps_the_namespace(_) ->
    py_test:with_context(#{}, fun(Ctx) ->
        ok = py:exec(Ctx, <<"count = 0\ndef up():\n    global count\n    count += 1\n    return count\n">>),
        ok = py:register_function(work, fun([]) ->
            Last = py_test:in_process(fun() ->
                lists:last([py:call(Ctx, '__main__', up, []) || _ <- lists:seq(1, 100)])
            end),
            {ok, 100} = Last,
            none
        end),
        ?assertEqual({ok, none}, py:call(Ctx, calling, call, [work])),
        ?assertEqual({ok, 100}, py:eval(Ctx, <<"count">>))
    end).

%% Proves that a process that outlives its callback is a plain caller from then on, with a namespace of its own.
survivor_is_on_its_own(_) ->
    py_test:with_context(#{}, fun(Ctx) ->
        ok = py:exec(Ctx, <<"name = 'the starter'\n">>),
        Self = self(),
        ok = py:register_function(leave, fun([]) ->
            Callback = self(),
            Pid = spawn(fun() ->
                Callback ! {inside, py:eval(Ctx, <<"name">>)},
                receive outside -> ok end,
                Self ! {outside, py:eval(Ctx, <<"name">>), py:eval(Ctx, <<"1">>)}
            end),
            Self ! {pid, Pid},
            receive {inside, {ok, V}} -> V end
        end),
        ?assertEqual({ok, <<"the starter">>}, py:call(Ctx, calling, call, [leave])),
        receive {pid, Pid} ->
            py_test:eventually(fun() -> py_counters:callbacks() =:= 0 end),
            Pid ! outside
        end,
        receive {outside, A, B} -> ?assertMatch({{error, {'NameError', _}}, {ok, 1}}, {A, B}) end
    end).

%% Proves that requests of a survivor that are on their way when the callback returns are answered.
server_that_outlives_the_callback(_) ->
    py_test:with_context(#{}, fun(Ctx) ->
        Self = self(),
        ok = py:register_function(leave, fun([N]) ->
            _ = spawn(fun() -> Self ! {N, [py:call(Ctx, probe, echo, [I], #{timeout => 20000}) || I <- lists:seq(1,
                20)]} end),
            none
        end),
        _ = [begin
                 {ok, none} = py:call(Ctx, calling, call, [leave, N]),
                 receive {N, Results} -> ?assertEqual([{ok, I} || I <- lists:seq(1, 20)], Results) end
             end || N <- lists:seq(1, 100)]
    end).

%% Proves that casts of a callback run in the waiting context while it waits for them, in the starter's namespace.
casts_go_to_the_chain(_) ->
    py_test:with_context(#{}, fun(Ctx) ->
        ok = py:exec(Ctx, <<"def twice(n):\n    return 2 * n\n">>),
        ok = py:register_function(casts, fun([N]) ->
            Refs = [py:cast(Ctx, '__main__', twice, [I]) || I <- lists:seq(1, N)],
            [begin {ok, V} = py:await(Ref, 20000), V end || Ref <- Refs]
        end),
        ?assertEqual({ok, [2 * I || I <- lists:seq(1, 100)]}, py:call(Ctx, calling, call, [casts, 100])),
        ?assertEqual({ok, [2 * I || I <- lists:seq(1, 10)]},
                     py_test:join(py_test:async(fun() -> ok = py:exec(Ctx, <<"def twice(n):\n    return n + n\n">>),
                                                         py:call(Ctx, calling, call, [casts, 10]) end)))
    end).

%% Proves that parallel works inside callbacks, also of all contexts at once and with callbacks in it.
parallel_in_callbacks(_) ->
    ok = py:register_function(fan, fun([0]) -> 1;
                                      ([N]) ->
        {ok, Results} = py:parallel([{calling, call, [fan, N - 1]} || _ <- lists:seq(1, 4)]),
        lists:sum([V || {ok, V} <- Results])
    end),
    ?assertEqual({ok, 64}, py:call(calling, call, [fan, 3])),
    all_ok([{{ok, 16}, fun() -> py:call(calling, call, [fan, 2]) end} || _ <- lists:seq(1, 8)]).

%% Load.

%% Proves that fifty callers with nested callbacks for seconds get the right answers, each its own.
fifty_callers(_) -> ok = py_test_callbacks:nested_work(5000, 50).

%% Proves the same of trees of calls through random contexts, processes and pools.
random_trees(_) ->
    Contexts = py_test:contexts(default) ++ py_test:contexts(io),
    ok = py:register_function(tree, fun([0]) -> 1;
                                       ([N]) ->
        Call = fun() -> {ok, V} = py:call(any(Contexts), calling, call, [tree, N - 1], #{timeout => 60000}), V end,
        case rand:uniform(3) of
            1 -> Call() + Call();
            2 -> lists:sum([py_test:join(Job) || Job <- [py_test:async(Call), py_test:async(Call)]]);
            3 -> py_test:in_process(Call) + Call()
        end
    end),
    all_ok([{{ok, 32}, fun() -> py:call(any(Contexts), calling, call, [tree, 5], #{timeout => 60000}) end}
            || _ <- lists:seq(1, 20)]).

%% Helpers.

register_levels(Target) ->
    ok = py:register_function(next, fun([0]) -> 0;
                                       ([N]) -> {ok, V} = py:call(Target, calling, call, [next, N - 1]), V + 1 end).

all_ok(Work) ->
    Jobs = [{Expected, py_test:async(Fun)} || {Expected, Fun} <- Work],
    lists:foreach(fun({Expected, Job}) -> ?assertEqual(Expected, py_test:join(Job)) end, Jobs).

any(List) -> lists:nth(rand:uniform(length(List)), List).
