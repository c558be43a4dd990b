%% Whichever process of the application is ended, it comes back with what it had: pools of the configuration and of users
%% with their options, the limit, registrations, functions, shared state.
-module(comeback_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [every_process_is_killed, all_are_killed_at_once, supervisor_of_the_pools_obeys_a_forged_exit,
     supervisors_are_asked_nonsense, what_was_stopped_stays_stopped, supervisors_that_end_at_once, calls_go_on, contexts_of_users, starts_go_on].

init_per_testcase(_Case, Config) ->
    ok = py_test:start([{pools, [{configured, 2, #{env => [{"MARK", "configured"}]}}]}]),
    _ = py_test:start_pool(started, 2, #{env => [{"MARK", "started"}], isolation => context}),
    ok = py:register_pool(started, statistics),
    ok = py:register_function(same, fun([Value]) -> Value end),
    ok = py:state_store(kept, {value, 1}),
    ok = py_semaphore:set_max_concurrent(17),
    Config.

end_per_testcase(_Case, _Config) -> py_test:stop().

%% Proves it for every process of the tree, one after the other, among them supervisors.
every_process_is_killed(_) ->
    Paths = [Path || {Path, _} <- tree(), Path =/= []],
    ?assert(length(Paths) > 25),
    _ = [begin
             Pid = at(Path),
             kill(Pid),
             replaced(Path, Pid),
             all_is_back({killed, Path})
         end || Path <- Paths],
    ok.

%% Proves that the application survives that each of its processes is killed once, all in a moment.
all_are_killed_at_once(_) ->
    Top = whereis(erlang_python_sup),
    _ = [begin
             _ = [exit(Pid, kill) || {Path, Pid} <- Order(tree()), Path =/= []],
             all_is_back(all_at_once)
         end || Order <- [fun lists:reverse/1, fun(Tree) -> Tree end, fun shuffled/1]],
    ?assertEqual(Top, whereis(erlang_python_sup)).

shuffled(Tree) ->
    [Node || {_, Node} <- lists:sort([{rand:uniform(), Node} || Node <- Tree])].

%% Proves that the message after which every call got no_such_pool, for ever, does no lasting harm.
supervisor_of_the_pools_obeys_a_forged_exit(_) ->
    Before = whereis(py_pools_sup),
    py_pools_sup ! {'EXIT', whereis(erlang_python_sup), shutdown},
    py_test:eventually(fun() -> lists:member(whereis(py_pools_sup), [undefined, Before]) =:= false end),
    all_is_back(forged_exit).

%% Proves that what an OTP supervisor does not survive, a call or a cast that it does not know, takes nothing along.
supervisors_are_asked_nonsense(_) ->
    _ = [begin
             Pid = at(Path),
             Monitor = monitor(process, Pid),
             gen_server:cast(Pid, nonsense),
             receive {'DOWN', Monitor, process, Pid, _} -> ok end,
             all_is_back({asked, Path})
         end || Path <- [[py_pools_sup], [py_pools_sup, default], [py_pools_sup, started, py_port_sup],
                         [py_pools_sup, contexts], [py_pools_sup, io, py_context_sup]]],
    ok.

%% Proves that a pool that was stopped does not come back, whether users or the configuration had started it.
what_was_stopped_stays_stopped(_) ->
    ok = py_context_router:stop_pool(started),
    ok = py_context_router:stop_pool(configured),
    kill(whereis(py_pools_sup)),
    py_test:answers(default),
    py_test:answers(io),
    _ = [?assertEqual({error, {no_such_pool, Pool}}, py:call(Pool, probe, echo, [1])) || Pool <- [started, configured]],
    ?assertEqual([contexts, default, io], lists:sort(maps:keys(py:stats()))),
    {ok, [_]} = py_context_router:start_pool(started, 1),
    ok = py_context_router:stop_pool(started),
    ?assertNot(py_context_router:pool_started(started)).

%% Proves that a pool which has just been started, and not looked around yet, ends when its supervisor wants that: it does not wait for an
%% answer of a supervisor that waits for its end, as one does that was killed in that moment.
supervisors_that_end_at_once(_) ->
    {ok, Spec} = py_tables:spec(started),
    Starts = [fun() -> py_pool:start_link(Spec#{pool => py_test:unique(at_once)}, self()) end,
              fun() ->
                  kill(whereis(py_standalone)),
                  py_standalone:start_link(self())
              end],
    _ = [py_test:in_process(fun() ->
             process_flag(trap_exit, true),
             {ok, Pid} = Start(),
             Monitor = monitor(process, Pid),
             true = exit(Pid, shutdown),
             receive {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual(shutdown, Reason) end
         end) || Start <- Starts],
    all_is_back(ended_at_once).

%% Proves that a call that comes while the pools are away waits for them: it may be lost with its context, but no caller
%% is told that there is no such pool.
calls_go_on(_) ->
    Stop = atomics:new(1, []),
    Jobs = [py_test:async(fun() -> outcomes(Stop, Pool, []) end) || Pool <- [default, io, configured, started]],
    _ = [begin
             Pid = at([py_pools_sup]),
             kill(Pid),
             replaced([py_pools_sup], Pid),
             py_test:answers(configured)
         end || _ <- lists:seq(1, 3)],
    ok = atomics:put(Stop, 1, 1),
    Outcomes = lists:usort(lists:append([py_test:join(Job) || Job <- Jobs])),
    ?assertEqual([], Outcomes -- [{ok, 1}, {error, {context_died, stopped}}, {error, {context_died, {signal, sigkill}}}]),
    ?assert(lists:member({ok, 1}, Outcomes)).

outcomes(Stop, Pool, Seen) ->
    case atomics:get(Stop, 1) of
        1 -> Seen;
        0 -> outcomes(Stop, Pool, lists:usort([py:call(Pool, probe, echo, [1]) | Seen]))
    end.

%% Proves that contexts that users started end with a reason when their pool does, and that new ones can be had at once.
contexts_of_users(_) ->
    _ = [begin
             {ok, Ctx} = py_context:new(#{}),
             Monitor = monitor(process, Ctx),
             kill(Kill()),
             receive {'DOWN', Monitor, process, Ctx, Reason} ->
                 ?assertEqual({shutdown, {context_died, stopped}}, Reason)
             end,
             ?assertEqual({error, {context_died, stopped}}, py_context:call(Ctx, probe, echo, [1])),
             {ok, New} = py_context:new(#{}),
             ?assertEqual({ok, 1}, py_context:call(New, probe, echo, [1])),
             ok = py_context:stop(New)
         end || Kill <- [fun() -> whereis(py_pools_sup) end, fun() -> whereis(py_standalone) end,
                         fun() -> at([py_pools_sup, contexts]) end]],
    ok.

%% Proves that pools that are being started when the process that started them is killed are there afterwards.
starts_go_on(_) ->
    Starting = [py_test:async(fun() -> py_context_router:start_pool(Pool, 1) end) || Pool <- [one, two, three]],
    kill(whereis(py_context_router)),
    _ = [?assertMatch({ok, [_]}, py_test:join(Job)) || Job <- Starting],
    _ = [?assertEqual({ok, 1}, py:call(Pool, probe, echo, [1])) || Pool <- [one, two, three]],
    ok.

%% Everything that was made in init_per_testcase.
all_is_back(Why) ->
    _ = [py_test:eventually(fun() ->
             Result = call(Pool, [<<"MARK">>]),
             Result =:= {ok, Mark} orelse {Why, Pool, Result}
         end) || {Pool, Mark} <- [{default, none}, {io, none}, {configured, <<"configured">>}, {started, <<"started">>}]],
    py_test:eventually(fun() -> [py_context_router:num_contexts(Pool) || Pool <- pools()] =:= [2, 2, 2, 2] end),
    py_test:eventually(fun() -> [length(py_test:contexts(Pool)) || Pool <- pools()] =:= [2, 2, 2, 2] end),
    ?assertEqual({Why, 17}, {Why, py_semaphore:max_concurrent()}),
    ?assertEqual([{{statistics, '_'}, started}], py_context_router:list_pool_registrations()),
    ?assertEqual({ok, {value, 1}}, py:state_fetch(kept)),
    ?assertEqual({Why, {ok, 5}}, {Why, py:call(configured, erlang, call, [same, 5])}),
    ?assertEqual({Why, {ok, 2}}, {Why, py:call(statistics, median, [[3, 1, 2]])}),
    {ok, Ctx} = py_context:new(#{}),
    ?assertEqual({ok, 6}, py_context:call(Ctx, probe, echo, [6])),
    ok = py_context:stop(Ctx),
    py_test:no_slots_taken(),
    _ = [{Pool, 0} = {Pool, maps:get(in_flight, Stats)} || {Pool, Stats} <- maps:to_list(py:stats())],
    ok.

pools() -> [default, io, configured, started].

call(Pool, Args) ->
    py:call(Pool, os, getenv, Args).

kill(Pid) ->
    Monitor = monitor(process, Pid),
    true = exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.

%% Every process by its way down from the top, the nearest first. Children of one kind are numbered.
tree() ->
    [{[], whereis(erlang_python_sup)} | below([], whereis(erlang_python_sup))].

below(Path, Sup) ->
    Children = [Child || Child = {_, Pid, _, _} <- lists:reverse(supervisor:which_children(Sup)), is_pid(Pid)],
    Named = lists:zipwith(fun({undefined, Pid, Kind, _}, N) -> {N, Pid, Kind}; ({Id, Pid, Kind, _}, _) -> {Id, Pid, Kind} end,
                          Children, lists:seq(1, length(Children))),
    [{Path ++ [Id], Pid} || {Id, Pid, _} <- Named]
        ++ lists:append([below(Path ++ [Id], Pid) || {Id, Pid, supervisor} <- Named]).

at(Path) ->
    {Path, {_, Pid}} = {Path, lists:keyfind(Path, 1, tree())},
    Pid.

%% Until then those that depend on it may go on.
replaced(Path, Pid) ->
    py_test:eventually(fun() ->
        case lists:keyfind(Path, 1, try tree() catch exit:_ -> [] end) of
            {_, Other} -> Other =/= Pid;
            false -> {Path, missing}
        end
    end).
