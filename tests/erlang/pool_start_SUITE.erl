%% Starting pools: again, with other options, and below supervisors of the user's.
-module(pool_start_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [the_same_again, other_options, default_pool_again, default_pool_with_other_options, option_that_is_meant,
     pool_in_a_tree, pool_in_a_tree_comes_back, pool_in_a_tree_that_cannot_start, names_are_taken,
     one_name_in_one_tree, limit_of_a_pool_in_a_tree, pool_in_a_tree_that_starts_anew, pool_of_a_killed_tree_can_be_started, tree_that_was_killed,
     context_in_a_tree, wrong_specs,
     program_that_cannot_be_loaded].

init_per_testcase(_Case, Config) ->
    process_flag(trap_exit, true),
    ok = py_test:start(),
    Config.

end_per_testcase(_Case, _Config) -> py_test:stop().

%% Again.

%% Proves that a pool may be asked for again as it is, whatever form its options have.
the_same_again(_) ->
    py_test:with_pool(1, #{nice => 1, mode => worker}, fun(Pool) ->
        {OsPid, Contexts} = {py_test:os_pid(Pool), py_test:contexts(Pool)},
        ?assertEqual({ok, Contexts}, py_context_router:start_pool(Pool, 1, #{nice => 1})),
        ?assertEqual({ok, Contexts}, py_context_router:start_pool(Pool, 1, [{mode, worker}, {nice, 1}, {env, []}])),
        ?assertEqual(OsPid, py_test:os_pid(Pool))
    end).

%% Proves that a pool that runs is no other pool, and that the error says in what.
other_options(_) ->
    py_test:with_pool(1, #{nice => 1}, fun(Pool) ->
        Before = py_test:os_pid(Pool),
        Other = [{3, #{nice => 1}, [contexts]}, {1, #{}, [nice]}, {1, #{nice => 1, isolation => context}, [isolation]},
                 {2, #{nice => 2, preload => "x = 1"}, [contexts, nice, preload]}],
        _ = [?assertEqual({error, {already_started, Pool, Keys}}, py_context_router:start_pool(Pool, Size, Options))
             || {Size, Options, Keys} <- Other],
        Text = py_error:format_error({already_started, Pool, [contexts, nice]}),
        _ = [?assertMatch({match, _}, re:run(Text, Part)) || Part <- [atom_to_list(Pool), "size, nice", "stop_pool"]],
        ?assertEqual({1, Before}, {py_context_router:num_contexts(Pool), py_test:os_pid(Pool)})
    end).

%% Proves that whoever starts the default pool and says nothing of it, or what it is, has it.
default_pool_again(_) ->
    Contexts = py_test:contexts(default),
    _ = [?assertEqual({ok, Contexts}, py_context_router:start(Options))
         || Options <- [#{}, [], #{contexts => 2}, #{mode => worker}, [{contexts, 2}, {mode, worker}]]],
    ?assertEqual({ok, Contexts}, py:start_contexts()).

%% Proves that the default pool, which nobody has started by hand, gets the options that somebody starts it with, and says so.
default_pool_with_other_options(_) ->
    Log = py_test_log:collect(),
    {ok, Three} = py_context_router:start(#{contexts => 3}),
    ?assertEqual({3, Three}, {length(Three), py_test:contexts(default)}),
    _ = py_test_log:wait("default is started again"),
    py_test_log:stop(Log),
    ?assertEqual({ok, Three}, py_context_router:start(#{mode => worker})),
    {ok, _} = py_context_router:start(#{contexts => 1, preload => "here = 1"}),
    ?assertEqual({ok, 1}, py_context:eval(py:context(1), "here")),
    ?assertEqual({error, {bad_option, colour}}, py_context_router:start(#{colour => red})),
    ?assertEqual(1, py_context_router:num_contexts()).

%% Proves that the error for an option that there is not names the one that is meant.
option_that_is_meant(_) ->
    ?assertEqual({error, {bad_option, memory_limt}}, py_context_router:start_pool(wrong, 1, #{memory_limt => 1})),
    ?assertMatch({match, _}, re:run(py_error:format_error({bad_option, memory_limt}), "is memory_limit meant")),
    ?assertEqual(nomatch, re:run(py_error:format_error({bad_option, colour}), "meant")).

%% Trees.

init(Specs) -> {ok, {#{strategy => one_for_one, intensity => 3, period => 10}, Specs}}.

start_tree(Specs) -> supervisor:start_link(?MODULE, Specs).

%% Proves that a pool can be a child of a supervisor: it is up when that goes on, lives below it, and ends with it.
pool_in_a_tree(_) ->
    Pool = py_test:unique(pool),
    {ok, Tree} = start_tree([py_pool:child_spec(#{name => Pool, size => 2, isolation => context})]),
    ?assertEqual({2, {ok, 4.0}}, {py_context_router:num_contexts(Pool), py:call(Pool, math, sqrt, [16])}),
    ?assertMatch(#{Pool := #{isolation := context}}, py:stats()),
    [{{py_pool, Pool}, Sup, supervisor, [py_pool_start]}] = supervisor:which_children(Tree),
    ?assert(lists:member(Sup, element(2, process_info(Tree, links)))),
    ?assertEqual({error, {supervised, Pool, Tree}}, py_context_router:stop_pool(Pool)),
    OsPid = py_test:os_pid(Pool),
    ok = supervisor:terminate_child(Tree, {py_pool, Pool}),
    ?assertEqual({error, {no_such_pool, Pool}}, py:call(Pool, math, sqrt, [16])),
    py_test:eventually(fun() -> not py_test:alive(OsPid) end),
    {ok, _} = supervisor:restart_child(Tree, {py_pool, Pool}),
    ?assertEqual({ok, 4.0}, py:call(Pool, math, sqrt, [16])),
    ok = stop_tree(Tree),
    ?assertEqual({error, {no_such_pool, Pool}}, py:call(Pool, math, sqrt, [16])).

stop_tree(Tree) ->
    true = exit(Tree, shutdown),
    receive {'EXIT', Tree, shutdown} -> ok end.

%% Proves that such a pool is there again whatever of it is killed, and once, though the application's own supervisor of pools
%% is started again too.
pool_in_a_tree_comes_back(_) ->
    Pool = py_test:unique(pool),
    {ok, Tree} = start_tree([py_pool:child_spec([{name, Pool}])]),
    [{Id, Sup, _, _}] = supervisor:which_children(Tree),
    exit(Sup, kill),
    py_test:eventually(fun() -> [{Id, New, _, _}] = supervisor:which_children(Tree), is_pid(New) andalso New =/= Sup end),
    ?assertEqual({ok, 4.0}, py:call(Pool, math, sqrt, [16])),
    Before = py_test:os_pid(Pool),
    Pools = whereis(py_pools_sup),
    exit(Pools, kill),
    py_test:eventually(fun() -> is_pid(whereis(py_pools_sup)) andalso whereis(py_pools_sup) =/= Pools end),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ?assertEqual({{ok, 4.0}, Before}, {py:call(Pool, math, sqrt, [16]), py_test:os_pid(Pool)}),
    ?assertNot(lists:keymember(Pool, 1, supervisor:which_children(py_pools_sup))),
    ok = stop_tree(Tree).

%% Proves that a tree with a pool that does not start does not start, and why, and that nothing of it is left.
pool_in_a_tree_that_cannot_start(_) ->
    Pool = py_test:unique(pool),
    {error, {shutdown, {failed_to_start_child, {py_pool, Pool}, Why}}} =
        start_tree([py_pool:child_spec(#{name => Pool, preload => "raise ValueError('no luck')"})]),
    ?assertMatch({match, _}, re:run(py_error:format_error(Why), "no luck")),
    {error, {shutdown, {failed_to_start_child, _, {bad_option, colour}}}} =
        start_tree([py_pool:child_spec(#{name => Pool, colour => red})]),
    ?assertNot(py_context_router:pool_started(Pool)),
    ?assertEqual({error, {no_such_pool, Pool}}, py:call(Pool, math, sqrt, [16])).

%% Proves that a name has one pool, whoever starts them and in whatever order.
names_are_taken(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        OsPid = py_test:os_pid(Pool),
        ?assertMatch({error, {shutdown, {failed_to_start_child, _, {already_started, Pool}}}},
                     start_tree([py_pool:child_spec(#{name => Pool})])),
        ?assertEqual(OsPid, py_test:os_pid(Pool))
    end),
    Own = py_test:unique(pool),
    {ok, Tree} = start_tree([py_pool:child_spec(#{name => Own})]),
    OsPid = py_test:os_pid(Own),
    ?assertMatch({error, {shutdown, {failed_to_start_child, _, {already_started, Own}}}},
                 start_tree([py_pool:child_spec(#{name => Own})])),
    ?assertMatch({ok, [_]}, py_context_router:start_pool(Own, 1)),
    ?assertEqual({error, {already_started, Own, [contexts]}}, py_context_router:start_pool(Own, 2)),
    ?assertEqual(OsPid, py_test:os_pid(Own)),
    ok = stop_tree(Tree).

%% Proves that the same supervisor can have a name only once, and that the pool that has it does not notice.
one_name_in_one_tree(_) ->
    Pool = py_test:unique(pool),
    Spec = py_pool:child_spec(#{name => Pool}),
    {ok, Tree} = start_tree([Spec]),
    OsPid = py_test:os_pid(Pool),
    already_started(Pool, supervisor:start_child(Tree, Spec#{id => another})),
    ?assertEqual({{ok, 4.0}, OsPid}, {py:call(Pool, math, sqrt, [16]), py_test:os_pid(Pool)}),
    ok = stop_tree(Tree),
    ?assertMatch({error, {shutdown, {failed_to_start_child, another, {already_started, Pool}}}},
                 start_tree([Spec, Spec#{id => another}])),
    ?assertNot(py_context_router:pool_started(Pool)).

%% Earlier releases of OTP add the specification of the child.
already_started(Pool, {error, Reason}) ->
    ?assert(lists:member({already_started, Pool}, [Reason, element(1, Reason)])).

%% Proves that the limit of such a pool goes with it, and not what was set by hand when only its processes were killed.
limit_of_a_pool_in_a_tree(_) ->
    Pool = py_test:unique(pool),
    {ok, Tree} = start_tree([py_pool:child_spec(#{name => Pool, max_concurrent => 7})]),
    ok = py_semaphore:set_max_concurrent(Pool, 5),
    ?assertEqual(5, py_semaphore:max_concurrent(Pool)),
    ok = killed_below(Pool, Tree),
    ?assertEqual(5, py_semaphore:max_concurrent(Pool)),
    ok = supervisor:terminate_child(Tree, {py_pool, Pool}),
    ?assertError({no_such_pool, Pool}, py_semaphore:max_concurrent(Pool)),
    {ok, _} = supervisor:restart_child(Tree, {py_pool, Pool}),
    ?assertEqual(7, py_semaphore:max_concurrent(Pool)),
    ok = stop_tree(Tree),
    ?assertError({no_such_pool, Pool}, py_semaphore:max_concurrent(Pool)).

%% Proves that such a pool is still its supervisor's when our own supervisor below that has started all of it anew.
pool_in_a_tree_that_starts_anew(_) ->
    Pool = py_test:unique(pool),
    Spec = py_pool:child_spec(#{name => Pool}),
    {ok, Tree} = start_tree([Spec]),
    ok = killed_below(Pool, Tree),
    ?assertEqual({error, {supervised, Pool, Tree}}, py_context_router:stop_pool(Pool)),
    already_started(Pool, supervisor:start_child(Tree, Spec#{id => another})),
    ?assertEqual({ok, 4.0}, py:call(Pool, math, sqrt, [16])),
    ok = stop_tree(Tree).

%% Kills the supervisor of the port processes, whose death ends the others below ours, and waits until all are there again.
killed_below(Pool, Tree) ->
    [{_, Sup, _, _}] = supervisor:which_children(Tree),
    {_, Ports, _, _} = lists:keyfind(py_port_sup, 1, supervisor:which_children(Sup)),
    {Before, _} = py_tables:pool(Pool),
    Monitor = monitor(process, Before),
    exit(Ports, kill),
    receive {'DOWN', Monitor, process, _, _} -> ok end,
    ?assertEqual({ok, 4.0}, py:call(Pool, math, sqrt, [16])),
    ?assertMatch([{_, Sup, _, _}], supervisor:which_children(Tree)),
    ok.

%% Proves that what a killed supervisor leaves behind does not keep anybody else from starting the pool, though it takes its time.
pool_of_a_killed_tree_can_be_started(_) ->
    Name = py_test:unique(pool),
    {ok, Tree} = start_tree([py_pool:child_spec(#{name => Name})]),
    {Pool, _} = py_tables:pool(Name),
    true = erlang:suspend_process(Pool),
    exit(Tree, kill),
    receive {'EXIT', Tree, killed} -> ok end,
    Job = py_test:async(fun() -> py_context_router:start_pool(Name, 2) end),
    py_test:eventually(fun() -> {ok, Kept} = py_tables:spec(Name), is_map(Kept) end),
    true = erlang:resume_process(Pool),
    ?assertMatch({ok, [_, _]}, py_test:join(Job)),
    ?assertEqual({ok, 4.0}, py:call(Name, math, sqrt, [16])),
    ok = py_context_router:stop_pool(Name).

%% Proves that what a killed supervisor leaves behind does not keep its successor from starting the pool.
tree_that_was_killed(_) ->
    Pool = py_test:unique(pool),
    Spec = py_pool:child_spec(#{name => Pool}),
    {ok, Tree} = start_tree([Spec]),
    exit(Tree, kill),
    receive {'EXIT', Tree, killed} -> ok end,
    {ok, Next} = start_tree([Spec]),
    ?assertEqual({ok, 4.0}, py:call(Pool, math, sqrt, [16])),
    ok = stop_tree(Next).

%% Proves the same of a context.
context_in_a_tree(_) ->
    {ok, Tree} = start_tree([py_context:child_spec(#{id => model, preload => "model = 7", isolation => context}),
                             py_context:child_spec([])]),
    Find = fun(Id) -> {Id, Ctx, worker, [py_context]} = lists:keyfind(Id, 1, supervisor:which_children(Tree)), Ctx end,
    Ctx = Find(model),
    ?assertEqual({ok, 7}, py_context:eval(Ctx, "model")),
    ?assertEqual({ok, 4.0}, py:call(Find(py_context), math, sqrt, [16])),
    {error, {context_died, _}} = py:call(Ctx, os, '_exit', [3]),
    py_test:eventually(fun() -> is_pid(Find(model)) andalso py_context:eval(Find(model), "model") =:= {ok, 7} end),
    ok = stop_tree(Tree).

wrong_specs(_) ->
    _ = [?assertError({bad_argument, options, _}, py_pool:child_spec(Wrong)) || Wrong <- [#{}, [], #{name => "reports"}, 7]],
    ?assertError({bad_argument, options, 7}, py_context:child_spec(7)).

%% Proves that of a port program that has ended too soon to say why, the loader is asked, and of no other.
program_that_cannot_be_loaded(_) ->
    Failure = fun(Lines, Why) ->
        Program = py_test:temp_file("program"),
        ok = file:write_file(Program, ["#!/bin/sh\n", Lines]),
        ok = file:change_mode(Program, 8#755),
        py_port_program:failure(Why, #{pool => unloaded, executable => Program, env => [], cwd => none})
    end,
    _ = [?assertMatch({start_failed, <<"cannot open libx.so (", _/binary>>}, Failure("echo cannot open libx.so; exit 127", Why))
         || Why <- [{exit_status, 127}, {signal, sigkill}]],
    ?assertEqual({signal, sigkill}, Failure("echo 1.0", {signal, sigkill})),
    ?assertEqual({signal, sigkill}, py_port_program:failure({signal, sigkill}, none)).
