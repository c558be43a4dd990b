%% Between the node and Python stand two keepers (port/runtime/keeper.h): whatever Python does to its parents ends its
%% pool at most, and whatever Python has started ends with it.
-module(keeper_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [places, {group, off}, {group, default}, keepers_are_out_of_reach,
     stopped_inner_keeper_goes_on, stopped_outer_keeper, stopped_outer_keeper_and_dying_python, both_keepers_stopped,
     own_process_group, statuses_with_children,
     children_after_stop, children_after_crash, children_after_kill, children_after_timeout, children_after_memory_limit,
     children_after_keepers_are_killed, children_of_a_stopped_python, storm_of_forks,
     orderly_stop_is_polite, node_killed, child_setup_killed, node_halts, node_killed_with_stopped_processes,
     kill_knows_its_pool, forged_process_numbers, nothing_left_of_many].

groups() ->
    [{Level, [], [killed_keepers, terminated_keepers, keepers_group]} || Level <- [off, default]].

init_per_suite(Config) -> ok = py_test:start([{max_concurrent, 50}]), Config.
end_per_suite(_Config) ->
    py_test:stop(),
    py_test:remove_temp_files().

init_per_group(Level, Config) -> [{sandbox, Level} | Config].
end_per_group(_Level, _Config) -> ok.

%% Proves that the numbers that are told are those of Python and of the outer keeper, that only keepers stand between
%% Python and what the node starts programs with, and that these are in other process groups than Python.
places(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        OsPid = py_test:os_pid(Pool),
        {ok, {Inner, Outer, ChildSetup}} = py:call(Pool, relatives, above, []),
        ?assertMatch(#{os_pid := OsPid, os_pids := [OsPid], keeper := Outer, keepers := [Outer]},
                     maps:get(Pool, py:stats())),
        ?assertEqual({os_pid, Outer}, erlang:port_info(py_test:port_of(OsPid), os_pid)),
        ?assertEqual([<<"py_keeper\n">>, <<"py_keeper\n">>, <<"erl_child_setup\n">>],
                     [comm(Pid) || Pid <- [Inner, Outer, ChildSetup]]),
        ?assertEqual(4, length(lists:usort([group_of(Pid) || Pid <- [OsPid, Inner, Outer, ChildSetup]])))
    end).

%% Proves that each keeper, and both, may be killed.
killed_keepers(Config) ->
    _ = [dies_alone(Config, [Whom, kill, 9], {signal, sigkill}) || Whom <- [inner, outer, both]],
    ok.

%% Proves that each keeper, and both, may be asked to leave, by any of the usual signals.
terminated_keepers(Config) ->
    _ = [dies_alone(Config, [Whom, kill, Number], {signal, sigterm})
         || {Whom, Number} <- [{inner, 15}, {outer, 15}, {both, 15}, {inner, 1}, {outer, 2}, {inner, 3}]],
    ok.

%% Proves that signals to the process groups of the keepers meet nobody else.
keepers_group(Config) ->
    _ = [dies_alone(Config, [Whom, group, Number], {signal, Signal})
         || Whom <- [inner, outer], {Number, Signal} <- [{9, sigkill}, {15, sigterm}]],
    ok.

%% Where the sandbox lets Python signal its parents, it does, and waits for what comes; elsewhere somebody outside does it.
dies_alone(Config, Attack, Why) ->
    Default = identity(py_test:os_pid(default)),
    Sandbox = ?config(sandbox, Config),
    py_test:with_pool(1, #{sandbox => Sandbox}, fun(Pool) ->
        Before = everybody(Pool),
        Job = case Sandbox of
            off ->
                py_test:async(fun() -> py:call(Pool, relatives, attack, Attack) end);
            default ->
                Waiting = py_test:waiting(Pool, 600),
                attack(lists:sublist(Before, 3), Attack),
                Waiting
        end,
        ?assertEqual({error, {context_died, Why}}, py_test:join(Job)),
        py_test:answers(Pool),
        all_gone(Before)
    end),
    ?assertEqual(Default, identity(py_test:os_pid(default))).

attack([_, {Inner, _}, {Outer, _}], [Whom, How, Number]) ->
    Targets = case Whom of
        inner -> [Inner];
        outer -> [Outer];
        both -> [Outer, Inner]
    end,
    Numbers = case How of
        kill -> Targets;
        group -> [["-", group_of(Target)] || Target <- Targets]
    end,
    _ = os:cmd(lists:flatten(io_lib:format("kill -~b ~ts", [Number, lists:join(" ", [text(N) || N <- Numbers])]))),
    ok.

text(N) when is_integer(N) -> integer_to_list(N);
text(N) -> N.

%% Proves that where the kernel has signal scopes Python cannot even reach the keepers.
keepers_are_out_of_reach(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        #{confined := Confined} = maps:get(Pool, py:stats()),
        Family = family(Pool),
        case lists:member(signals, Confined) of
            true ->
                _ = [?assertMatch({error, {'PermissionError', _}}, py:call(Pool, relatives, attack, [Whom, How, 9]))
                     || Whom <- [inner, outer, both], How <- [kill, group]],
                ?assertEqual(Family, family(Pool));
            false ->
                {skip, "this kernel has no Landlock with signal scopes (Linux 6.12)"}
        end
    end).

%% Proves that the inner keeper cannot be kept from its work by stopping it.
stopped_inner_keeper_goes_on(_) ->
    py_test:with_pool(1, #{sandbox => off}, fun(Pool) ->
        Family = [_, Inner | _] = family(Pool),
        {ok, Children} = py:call(Pool, relatives, start_all_kinds, []),
        Living = [identity(Child) || Child <- Children],
        _ = [{ok, true} = py:call(Pool, relatives, send, [inner, Number]) || _ <- lists:seq(1, 50), Number <- [19, 20, 21]],
        py_test:eventually(fun() -> state_of(Inner) =/= $T end),
        ?assertEqual(Inner, identity(py_test:parent(py_test:os_pid(Pool)))),
        {ok, true} = py:call(Pool, relatives, send, [inner, 19]),
        ?assertEqual({error, {context_died, {exit_status, 3}}}, py:call(Pool, trouble, leave, [3])),
        all_gone(Family ++ Living)
    end).

%% Proves that a pool whose outer keeper is stopped works, and leaves nothing when it is stopped.
stopped_outer_keeper(_) ->
    Pool = py_test:start_pool(1, #{sandbox => off}),
    Family = [_, _, Outer] = family(Pool),
    {ok, Children} = py:call(Pool, relatives, start_all_kinds, []),
    Living = [identity(Child) || Child <- Children],
    {ok, true} = py:call(Pool, relatives, send, [outer, 19]),
    py_test:eventually(fun() -> state_of(Outer) =:= $T end),
    ?assertEqual({ok, 1}, py:call(Pool, probe, echo, [1])),
    py_test:stop_pool(Pool),
    all_gone(Family ++ Living).

%% Proves that the death of Python is noticed although the keeper that would report it is stopped.
stopped_outer_keeper_and_dying_python(_) ->
    py_test:with_pool(1, #{sandbox => off}, fun(Pool) ->
        Family = [_, _, Outer] = family(Pool),
        {ok, true} = py:call(Pool, relatives, send, [outer, 19]),
        py_test:eventually(fun() -> state_of(Outer) =:= $T end),
        Ctx = py_context_router:get_context(Pool),
        ?assertMatch({error, {context_died, _}}, py:call(Ctx, trouble, leave, [3], #{timeout => infinity})),
        py_test:answers(Pool),
        all_gone(Family)
    end).

%% Proves the same with both of them stopped.
both_keepers_stopped(_) ->
    py_test:with_pool(1, #{sandbox => off}, fun(Pool) ->
        Family = [_, Inner, Outer] = family(Pool),
        {ok, Children} = py:call(Pool, relatives, start_all_kinds, []),
        Living = [identity(Child) || Child <- Children],
        {ok, true} = py:call(Pool, relatives, send, [outer, 19]),
        py_test:eventually(fun() -> state_of(Outer) =:= $T end),
        {ok, true} = py:call(Pool, relatives, send, [inner, 19]),
        py_test:eventually(fun() -> state_of(Inner) =:= $T end),
        Ctx = py_context_router:get_context(Pool),
        ?assertMatch({error, {context_died, _}}, py:call(Ctx, trouble, leave, [3], #{timeout => infinity})),
        py_test:answers(Pool),
        all_gone(Family ++ Living)
    end).

%% Proves that a signal to Python's own group ends Python, and that the keepers report of what.
own_process_group(_) ->
    _ = [py_test:with_pool(1, #{}, fun(Pool) ->
             Family = family(Pool),
             ?assertEqual({error, {context_died, {signal, Signal}}},
                          py:call(Pool, relatives, attack, [own, group, Number])),
             py_test:answers(Pool),
             all_gone(Family)
         end) || {Number, Signal} <- [{9, sigkill}, {15, sigterm}, {11, sigsegv}]],
    ok.

%% Proves that children that live on change nothing about the cause that is told.
statuses_with_children(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        _ = [begin
                 Family = family(Pool),
                 {ok, Children} = py:call(Pool, relatives, start_all_kinds, []),
                 Living = [identity(Child) || Child <- Children],
                 ?assertEqual({error, {context_died, Why}}, py:call(Pool, M, F, Args)),
                 py_test:answers(Pool),
                 all_gone(Family ++ Living)
             end || {{M, F, Args}, Why} <- [{{trouble, leave, [0]}, {exit_status, 0}},
                                            {{trouble, leave, [1]}, {exit_status, 1}},
                                            {{trouble, leave, [127]}, {exit_status, 127}},
                                            {{trouble, segfault, []}, {signal, sigsegv}},
                                            {{trouble, abort, []}, {signal, sigabrt}},
                                            {{relatives, attack, [own, group, 9]}, {signal, sigkill}}]],
        ok
    end).

%% Proves that children of every kind are gone after their pool was stopped: in sessions and groups of their own, without
%% an environment, daemons, deaf to SIGTERM, stopped.
children_after_stop(_) ->
    Pool = py_test:start_pool(2, #{}),
    Before = everybody(Pool),
    py_test:stop_pool(Pool),
    all_gone(Before).

%% Proves the same after a crash.
children_after_crash(_) -> gone_after(#{}, fun(Pool, _) -> {error, _} = py:call(Pool, trouble, segfault, []) end).

%% Proves the same after Python was killed from outside.
children_after_kill(_) -> gone_after(#{}, fun(_, OsPid) -> py_test:signal(OsPid, "KILL") end).

%% Proves the same after Python was killed for a call that did not end.
children_after_timeout(_) ->
    gone_after(#{hard_timeout_grace => 100}, fun(Pool, _) ->
        {error, _} = py:call(py_context_router:get_context(Pool), trouble, compute, [], #{timeout => 20})
    end).

%% Proves the same after Python was killed for its memory.
children_after_memory_limit(_) ->
    gone_after(#{memory_limit => 300 bsl 20}, fun(Pool, _) ->
        {error, {context_died, {killed, memory_limit}}} = py:call(Pool, trouble, bloat, [600])
    end).

%% Proves the same after both keepers were killed from outside, so that nobody adopts the orphans.
children_after_keepers_are_killed(_) ->
    gone_after(#{}, fun(_, OsPid) ->
        Inner = py_test:parent(OsPid),
        Outer = py_test:parent(Inner),
        _ = os:cmd(lists:concat(["kill -9 ", Outer, " ", Inner]))
    end).

%% Proves the same of a pool that is stopped while Python is, so that it cannot leave.
children_of_a_stopped_python(_) ->
    Pool = py_test:start_pool(1, #{}),
    Before = everybody(Pool),
    py_test:signal(py_test:os_pid(Pool), "STOP"),
    py_test:stop_pool(Pool),
    all_gone(Before).

gone_after(Opts, Death) ->
    py_test:with_pool(1, Opts, fun(Pool) ->
        OsPid = py_test:os_pid(Pool),
        Before = everybody(Pool),
        _ = Death(Pool, OsPid),
        all_gone(Before),
        py_test:answers(Pool)
    end).

%% Proves that processes that fork and leave all the time, each in a session of its own, are caught: when their pool is
%% stopped, and when it dies. (They would end by themselves only after the time that this waits.)
storm_of_forks(_) ->
    _ = [begin
             Pool = py_test:start_pool(1, #{}),
             OsPid = py_test:os_pid(Pool),
             Mark = mark_of(OsPid),
             {ok, _} = py:call(Pool, relatives, start_storm, [8, 120]),
             many_children(py_test:parent(OsPid), 50, #{}),
             End(Pool),
             py_test:eventually(fun() -> marked(Mark) =:= [] end),
             py_test:stop_pool(Pool)
         end || End <- [fun py_test:stop_pool/1, fun(Pool) -> {error, _} = py:call(Pool, trouble, leave, [1]) end]],
    ok.

%% Waits until a process has had so many children. (Of those that fork and leave nobody sees many at one time.)
many_children(OsPid, Number, Seen) when map_size(Seen) < Number ->
    Path = io_lib:format("/proc/~b/task/~b/children", [OsPid, OsPid]),
    {ok, Children} = file:read_file(Path),
    many_children(OsPid, Number, maps:merge(Seen, maps:from_keys(binary:split(Children, <<" ">>, [global, trim]), seen)));
many_children(_OsPid, _Number, _Seen) ->
    ok.

%% Proves that a pool that is stopped gives its children the time to leave by themselves, in other sessions too.
orderly_stop_is_polite(_) ->
    Pool = py_test:start_pool(1, #{}),
    Files = [{py_test:temp_file("polite"), Session} || Session <- [true, false]],
    Living = [begin
                  {ok, Child} = py:call(Pool, relatives, start_polite, [list_to_binary(File), Session]),
                  identity(Child)
              end || {File, Session} <- Files],
    py_test:stop_pool(Pool),
    all_gone(Living),
    _ = [?assert(filelib:is_file(File)) || {File, _} <- Files],
    ok.

%% Proves that everything is gone after the node was killed.
node_killed(_) ->
    node_ends(fun(_, OsPid, _) -> py_test:signal(OsPid, "KILL") end).

%% Proves the same after the death of what the node starts programs with, which ends the node.
child_setup_killed(_) ->
    node_ends(fun(_, _, ChildSetup) -> py_test:signal(ChildSetup, "KILL") end).

%% Proves the same after the node was halted.
node_halts(_) ->
    node_ends(fun(Peer, _, _) -> _ = peer:cast(Peer, erlang, halt, [0]) end).

%% Proves the same when Python and the inner keeper are stopped, so that they do not see the end of their input.
node_killed_with_stopped_processes(_) ->
    node_ends(fun(Peer, OsPid, _) ->
        #{default := #{os_pid := Python}} = peer:call(Peer, py, stats, []),
        %% In one go: the outer keeper continues the inner one at once.
        _ = os:cmd(lists:concat(["kill -STOP ", Python, " ", py_test:parent(Python), "; kill -KILL ", OsPid]))
    end).

node_ends(End) ->
    {ok, Peer, _} = peer:start(#{connection => standard_io, env => [{"ERL_CRASH_DUMP", "/dev/null"}],
                                 args => ["-pa", filename:dirname(code:which(?MODULE))]}),
    ok = peer:call(Peer, code, add_pathsa, [code:get_path()]),
    ok = peer:call(Peer, py_test, start, []),
    OsPid = list_to_integer(peer:call(Peer, os, getpid, [])),
    Before = peer:call(Peer, ?MODULE, everybody, [default]) ++ peer:call(Peer, ?MODULE, everybody, [io]),
    {ok, {_, _, ChildSetup}} = peer:call(Peer, py, call, [relatives, above, []]),
    _ = End(Peer, OsPid, ChildSetup),
    all_gone([identity_of(OsPid), identity_of(ChildSetup) | Before]),
    try peer:stop(Peer) catch exit:_ -> ok end.

%% Proves that a process that has got the number of a keeper is not taken for it, and neither are pools with another mark.
kill_knows_its_pool(_) ->
    Sleep = open_port({spawn_executable, os:find_executable("sleep")}, [{args, ["600"]}]),
    {os_pid, Stranger} = erlang:port_info(Sleep, os_pid),
    #{default := #{os_pid := Default, keeper := Keeper}} = py:stats(),
    _ = [?assertEqual("0\n", os:cmd(lists:concat([py_config:executable(), " --kill ", Pid, " ", Mark, "; echo $?"])))
         || Pid <- [0, 1, Stranger, Keeper, list_to_integer(os:getpid())], Mark <- [py_kill:mark(), py_kill:mark()]],
    ?assertEqual("2\n", os:cmd(py_config:executable() ++ " --kill 0 0; echo $?")),
    ?assert(py_test:alive(Stranger)),
    ?assertEqual(Default, py_test:os_pid(default)),
    py_test:signal(Stranger, "KILL").

%% Proves that what a port program says its number is, is believed only when it is a grandchild of the keeper.
forged_process_numbers(_) ->
    #{default := #{os_pid := OsPid, keeper := Keeper}} = py:stats(),
    Target = {Keeper, 1},
    ?assertEqual(OsPid, py_kill:python(OsPid, Target)),
    _ = [?assertEqual(none, py_kill:python(Forged, Target))
         || Forged <- [0, 1, -1, Keeper, list_to_integer(os:getpid()), 1 bsl 31, 1 bsl 64, 1 bsl 80, 1.5, none, <<"1">>, [1],
                       #{}, self()]],
    ?assertEqual(none, py_kill:python(OsPid, {none, 1})).

%% Proves that a hundred starts, and stops and deaths, leave neither a process nor a zombie.
nothing_left_of_many(_) ->
    {ok, {_, _, ChildSetup}} = py:call(relatives, above, []),
    Before = children_of(ChildSetup),
    Pool = py_test:unique(many),
    All = lists:append([begin
                            py_test:start_pool(Pool, 1, #{}),
                            Family = family(Pool),
                            _ = [{error, _} = py:call(Pool, trouble, leave, [1]) || N rem 4 =:= 0],
                            py_test:stop_pool(Pool),
                            Family
                        end || N <- lists:seq(1, 100)]),
    all_gone(All),
    py_test:eventually(fun() -> children_of(ChildSetup) -- Before =:= [] end).

%% Python, its keepers, and children of every kind.
everybody(Pool) ->
    Family = family(Pool),
    {ok, Children} = py:call(Pool, relatives, start_all_kinds, []),
    Family ++ [identity(Child) || Child <- Children].

%% Python, the inner and the outer keeper.
family(Pool) ->
    OsPid = py_test:os_pid(Pool),
    Inner = py_test:parent(OsPid),
    [identity(Pid) || Pid <- [OsPid, Inner, py_test:parent(Inner)]].

all_gone(Identities) ->
    py_test:eventually(fun() ->
        case [{Identity, comm(Pid)} || Identity = {Pid, _} <- Identities, is_there(Identity)] of
            [] -> true;
            Left -> Left
        end
    end).

%% A number is given to another process soon; with the time of its start it names one process.
identity(Pid) ->
    {_, _, [_ | _] = Rest} = stat(Pid),
    {Pid, lists:nth(20, Rest)}.

identity_of(Pid) ->
    case stat(Pid) of
        gone -> {Pid, gone};
        {_, _, Rest} -> {Pid, lists:nth(20, Rest)}
    end.

is_there({Pid, Started}) ->
    case stat(Pid) of
        gone -> false;
        {_, _, Rest = [State | _]} ->
            lists:nth(20, Rest) =:= Started andalso not lists:member(State, [<<"Z">>, <<"X">>])
    end.

state_of({Pid, _}) ->
    case stat(Pid) of
        gone -> $X;
        {_, _, [<<State>> | _]} -> State
    end.

group_of(Pid) ->
    {_, _, [_State, _Parent, Group | _]} = stat(Pid),
    Group.

%% The fields from the third on.
stat(Pid) ->
    case file:read_file(["/proc/", integer_to_list(Pid), "/stat"]) of
        {ok, Stat} ->
            [Before, After] = string:split(Stat, <<") ">>, trailing),
            {Pid, Before, binary:split(After, <<" ">>, [global])};
        {error, _} ->
            gone
    end.

comm(Pid) ->
    case file:read_file(["/proc/", integer_to_list(Pid), "/comm"]) of
        {ok, Name} -> Name;
        {error, _} -> gone
    end.

all_pids() ->
    {ok, Names} = file:list_dir("/proc"),
    [list_to_integer(Name) || Name = [C | _] <- Names, C >= $1, C =< $9].

children_of(Parent) ->
    [Pid || Pid <- all_pids(), {_, _, [_State, P | _]} <- [stat(Pid)], binary_to_integer(P) =:= Parent].

%% Processes that live and carry the mark of this one, as the kernel shows it.
mark_of(Pid) ->
    case file:read_file(["/proc/", integer_to_list(Pid), "/limits"]) of
        {ok, Limits} ->
            {match, [Mark]} = re:run(Limits, "Max realtime timeout +([0-9a-z]+)", [{capture, all_but_first, list}]),
            Mark;
        {error, _} ->
            gone
    end.

marked(Mark) ->
    [Pid || Pid <- all_pids(), mark_of(Pid) =:= Mark, is_there(identity_of(Pid))].
