%% Python sends messages to processes of another node. The other node is one of OTP's peers; they find each other
%% through epmd, which the suite starts where none runs.
-module(messages_nodes_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-define(NAME, messages_collector).

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [pids_of_another_node, names_of_another_node, thousands_in_order, large_messages, local_and_remote,
     dead_process_of_another_node, not_granted, the_dead_are_forgotten, pids_know_their_node,
     pids_sort_as_in_erlang, unknown_node, node_that_hangs,
     hanging_node_and_timeout, node_that_dies].

init_per_suite(Config) ->
    Epmd = start_epmd(),
    {ok, _} = net_kernel:start(py_test:unique(messages_nodes), #{name_domain => shortnames}),
    ok = py_test:start([{max_concurrent, 50}]),
    [{epmd, Epmd} | Config].

end_per_suite(Config) ->
    py_test:stop(),
    ok = net_kernel:stop(),
    stop_epmd(?config(epmd, Config)).

init_per_testcase(_Case, Config) ->
    {ok, Peer, Node} = peer:start_link(#{name => peer:random_name(), host => "localhost", connection => standard_io,
                                         args => ["-pa", filename:dirname(code:which(?MODULE)),
                                                  "-setcookie", atom_to_list(erlang:get_cookie())]}),
    true = net_kernel:connect_node(Node),
    [{peer, Peer}, {node, Node}, {os_pid, list_to_integer(erpc:call(Node, os, getpid, []))} | Config].

end_per_testcase(_Case, Config) ->
    Peer = ?config(peer, Config),
    unlink(Peer),
    %% It may be stopped still, and would not hear that it is to end.
    ok = py_test:signal(?config(os_pid, Config), "KILL"),
    try peer:stop(Peer) catch exit:_ -> ok end,
    py_test:no_slots_taken().

%% Proves that a message to a pid of another node arrives.
pids_of_another_node(Config) ->
    Collector = collector(Config),
    _ = [begin
             {ok, none} = py:call(Pool, messaging, send, [Collector, {Pool, self()}]),
             ?assertEqual({atom_to_binary(Pool), self()}, got(Collector))
         end || Pool <- [default, io, default]],
    ok.

%% Proves that a pair of name and node, as str or Atom, reaches the process of that name there.
names_of_another_node(Config) ->
    Collector = collector(Config),
    Node = ?config(node, Config),
    _ = [py_test:with_pool(1, Options, fun(Pool) ->
             _ = [begin
                      {ok, none} = py:eval(hd(py_test:contexts(Pool)), ["erlang.send(", To, ", 5)"],
                                           #{name => <<"messages_collector">>, node => atom_to_binary(Node)}),
                      ?assertEqual(5, got(Collector))
                  end || To <- ["(name, node)", "(erlang.Atom(name), erlang.Atom(node))", "(name, erlang.Atom(node))"]]
         end) || Options <- [#{send_names => [{?NAME, Node}]}, #{send => local, send_names => [{?NAME, Node}]},
                             #{send => any}]],
    ok.

%% Proves that thousands arrive in order.
thousands_in_order(Config) ->
    Collector = collector(Config),
    {ok, none} = py:call(messaging, count, [Collector, 1, 20000]),
    ?assertEqual(lists:seq(1, 20000), got(Collector, 20000)).

%% Proves that messages of several megabytes arrive whole and in their place.
large_messages(Config) ->
    Collector = collector(Config),
    Large = binary:copy(<<"l">>, 3 bsl 20),
    {ok, _} = py:eval("[erlang.send(pid, m) for m in (1, large, 2, large, 3)]", #{pid => Collector, large => Large}),
    ?assert([1, Large, 2, Large, 3] =:= got(Collector, 5)).

%% Proves that messages to both nodes in turn arrive, those to each in order.
local_and_remote(Config) ->
    Collector = collector(Config),
    {ok, _} = py:eval("[erlang.send(pid, n) for n in range(5000) for pid in (here, there)]",
                      #{here => self(), there => Collector}),
    ?assertEqual(lists:seq(0, 4999), [receive N -> N after 0 -> nothing end || _ <- lists:seq(1, 5000)]),
    ?assertEqual(lists:seq(0, 4999), got(Collector, 5000)).

%% Proves that a dead process of another node raises nothing, as in Erlang.
dead_process_of_another_node(Config) ->
    [Dead] = erpc:call(?config(node, Config), ?MODULE, dead_processes, [1]),
    ?assertEqual({ok, <<"ok">>}, py:call(messaging, attempt, [Dead, 1])).

%% Proves that a pid of another node that Erlang has not given is refused, and with `send => local' any.
not_granted(Config) ->
    Collector = collector(Config),
    <<131, Etf/binary>> = term_to_binary(Collector),
    Forged = "__import__('sending').forged(etf)",
    {ok, {<<"PermissionError">>, _}} = py:eval(Forged, #{etf => {bytes, Etf}}),
    {ok, <<"ok">>} = py:call(sending, attempt, [Collector, 1]),
    {ok, <<"ok">>} = py:eval(Forged, #{etf => {bytes, Etf}}),
    ?assertEqual([1, <<"hello">>], got(Collector, 2)),
    py_test:with_pool(1, #{send => local}, fun(Pool) ->
        {ok, {<<"PermissionError">>, _}} = py:call(Pool, sending, attempt, [Collector, 1])
    end).

%% Proves that dead processes of another node are forgotten, and those that live are not.
the_dead_are_forgotten(Config) ->
    Rule = py_send:new(no_pool, #{send => granted, send_names => []}),
    Grants = py_send:grants(Rule),
    Collector = collector(Config),
    Dead = erpc:call(?config(node, Config), ?MODULE, dead_processes, [3000]),
    ok = py_grants:answer(Grants, {ok, [Collector | Dead]}, <<>>),
    py_test:eventually(fun() ->
        _ = [py_grants:add(Grants, Pid) || Pid <- dead_processes(10)],
        ets:info(Grants, size) < 2500
    end),
    ?assertEqual({ok, Collector}, py_send:reach(Collector, Rule)).

%% Proves what Python can see of a pid: its node, a readable text, equality.
pids_know_their_node(Config) ->
    Node = ?config(node, Config),
    Collector = collector(Config),
    ?assertEqual({ok, [node(), Node]}, py:eval("[p.node for p in pids]", #{pids => [self(), Collector]})),
    {ok, Text} = py:eval("repr(pid)", #{pid => Collector}),
    ?assertMatch({match, _}, re:run(Text, "^Pid<.*@localhost\\.[0-9]+\\.[0-9]+>$")),
    ?assertEqual({ok, true}, py:eval("a == b and hash(a) == hash(b)", #{a => Collector, b => Collector})).

%% Proves that pids of two nodes sort in Python as they do in Erlang.
pids_sort_as_in_erlang(Config) ->
    Spawned = dead_processes(20) ++ erpc:call(?config(node, Config), ?MODULE, dead_processes, [20]),
    Shuffled = [Pid || {_, Pid} <- lists:sort([{rand:uniform(), Pid} || Pid <- Spawned])],
    ?assertEqual({ok, lists:sort(Spawned)}, py:eval("sorted(pids)", #{pids => Shuffled})).

%% Proves that a message to a node that there is not is lost without an error, as in Erlang, and nothing waits for it.
unknown_node(_Config) ->
    py_test:with_pool(1, #{send_names => [{anybody, 'nobody@localhost'}]}, fun(Pool) ->
        ?assertEqual({ok, none}, py:call(Pool, messaging, send_name, [anybody, <<"nobody@localhost">>, 1]))
    end),
    {ok, none} = py:call(messaging, send, [self(), 1]),
    receive 1 -> ok end.

%% Proves that a node that hangs stops who floods it, before py_port has much of it, and not its pool's calls.
node_that_hangs(Config) ->
    Collector = collector(Config),
    py_test:with_pool(2, #{}, fun(Pool) ->
        [Flooding, Other] = py_test:contexts(Pool),
        Owner = py_test:owner_of(py_test:os_pid(Pool)),
        ok = py_test:signal(?config(os_pid, Config), "STOP"),
        Job = py_test:async(fun() -> py:call(Flooding, messaging, flood, [Collector, 1 bsl 17, 400]) end),
        ok = py_test:settled(fun() -> py_test:memory(Owner) end),
        ?assert(is_process_alive(element(1, Job))),
        ?assert(py_test:memory(Owner) < 8 bsl 20),
        ?assertEqual({ok, 4.0}, py:call(Other, math, sqrt, [16])),
        ok = py_test:signal(?config(os_pid, Config), "CONT"),
        ?assertEqual({ok, <<"flooded">>}, py_test:join(Job)),
        _ = [?assertEqual(1 bsl 17, byte_size(Message)) || Message <- got(Collector, 400)]
    end).

%% Proves that a call that waits for such a node times out by itself, long before its port process would be killed.
hanging_node_and_timeout(Config) ->
    Collector = collector(Config),
    py_test:with_pool(2, #{hard_timeout_grace => 30000}, fun(Pool) ->
        [Flooding, _Other] = py_test:contexts(Pool),
        OsPid = py_test:os_pid(Pool),
        ok = py_test:signal(?config(os_pid, Config), "STOP"),
        ?assertEqual({error, timeout},
                     py:call(Flooding, messaging, flood_for_ever, [Collector, 1 bsl 17], #{timeout => 1000})),
        ?assertEqual({ok, OsPid}, py:call(Flooding, os, getpid, [])),
        ok = py_test:signal(?config(os_pid, Config), "CONT")
    end).

%% Proves that the death of a node ends nothing on this side: what is sent there is lost, and everything else goes on.
node_that_dies(Config) ->
    Collector = collector(Config),
    py_test:with_pool(1, #{}, fun(Pool) ->
        Job = py_test:async(fun() -> py:call(Pool, messaging, flood, [Collector, 1 bsl 16, 3000]) end),
        _ = got(Collector, 5),
        ok = py_test:signal(?config(os_pid, Config), "KILL"),
        ?assertEqual({ok, <<"flooded">>}, py_test:join(Job)),
        ?assertEqual({ok, 4.0}, py:call(Pool, math, sqrt, [16]))
    end).

%% Helpers.

%% A process of the other node, which also has a name there, that keeps what comes in order, for got/1.
collector(Config) ->
    erpc:call(?config(node, Config), ?MODULE, start_collector, []).

%% On the other node.
-spec start_collector() -> pid().
start_collector() ->
    Pid = spawn(fun collect/0),
    true = register(?NAME, Pid),
    Pid.

collect() ->
    receive
        {got, From, Ref, Number} ->
            From ! {Ref, next(Number)},
            collect()
    end.

%% One question is asked at a time, so all others are messages from Python.
next(0) -> [];
next(Number) -> receive Message -> [Message | next(Number - 1)] end.

%% The next messages that a collector has received.
got(Collector, Number) ->
    Ref = make_ref(),
    Collector ! {got, self(), Ref, Number},
    receive {Ref, Messages} -> Messages after 30000 -> error(nothing) end.

got(Collector) ->
    [Message] = got(Collector, 1),
    Message.

%% Also on the other node.
-spec dead_processes(pos_integer()) -> [pid()].
dead_processes(Number) ->
    [begin
         {Pid, Monitor} = spawn_monitor(fun() -> ok end),
         receive {'DOWN', Monitor, process, Pid, _} -> Pid end
     end || _ <- lists:seq(1, Number)].

%% In the foreground: it gives up when there is one, and ends with the suite otherwise.
start_epmd() ->
    Port = open_port({spawn_executable, os:find_executable("epmd")}, [stderr_to_stdout, exit_status]),
    py_test:eventually(fun() -> erl_epmd:names("localhost") =/= {error, address} end),
    Port.

stop_epmd(Port) ->
    _ = [py_test:signal(OsPid, "TERM") || {os_pid, OsPid} <- [erlang:port_info(Port, os_pid)]],
    ok.
