%% Which processes are OTP's or the application's, so that no Python reaches them, and which are users'.
-module(py_protected_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [all_of_a_node, group_leaders, helpers_of_ours, names, processes_of_users, processes_that_otp_starts, of_a_shell,
     of_an_application, of_callbacks, of_this_test, dead_ones].

init_per_suite(Config) ->
    ok = py_test:start(),
    Config.

end_per_suite(_Config) ->
    py_test:stop().

%% Proves that every process of a node that runs much of OTP, and this application, is protected, but the one that asks.
all_of_a_node(_) ->
    Epmd = messages_nodes_SUITE:start_epmd(),
    {ok, Peer, _} = peer:start_link(#{connection => standard_io,
                                      args => ["-pa", filename:dirname(code:which(?MODULE))]}),
    ok = peer:call(Peer, code, add_pathsa, [code:get_path()]),
    {Number, Open} = peer:call(Peer, ?MODULE, look_at_all, [], 60000),
    ?assertEqual([], Open),
    ?assert(Number > 80),
    ok = peer:stop(Peer),
    messages_nodes_SUITE:stop_epmd(Epmd).

%% There.
-spec look_at_all() -> {non_neg_integer(), [term()]}.
look_at_all() ->
    {ok, _} = net_kernel:start(py_test:unique(protected), #{name_domain => shortnames}),
    ok = py_test:start(),
    ok = application:set_env(mnesia, dir, py_test:temp_file("mnesia")),
    [{ok, _} = application:ensure_all_started(Application)
     || Application <- [ssl, inets, mnesia, sasl, os_mon, runtime_tools, ssh, snmp],
        %% Distributions of OTP leave some out.
        code:lib_dir(Application) =/= {error, bad_name}],
    ok = timer:start(),
    {ok, _} = pg:start_link(),
    {ok, _} = cover:start(),
    {ok, _} = dets:open_file(a_dets, [{file, py_test:temp_file("dets")}]),
    {ok, _} = disk_log:open([{name, a_log}, {file, py_test:temp_file("log")}]),
    {ok, File} = file:open(py_test:temp_file("file"), [write]),
    {ok, _} = inets:start(httpd, [{port, 0}, {server_name, "a"}, {server_root, "/tmp"}, {document_root, "/tmp"}]),
    {ok, _} = inets:start(httpc, [{profile, a_profile}]),
    {ok, 4.0} = py:call(io, math, sqrt, [16]),
    {ok, Ctx} = py_context:new(#{}),
    Ref = py:cast(math, sqrt, [16]),
    {ok, Stream} = py:stream_start(itertools, count, []),
    Look = fun(Pid) -> process_info(Pid, [registered_name, initial_call, dictionary, parent, current_stacktrace]) end,
    Pids = processes() -- [self()],
    Open = [{Pid, Look(Pid)} || Pid <- Pids, not py_protected:process(Pid), is_process_alive(Pid)],
    Found = {length(Pids), Open},
    ok = py:stream_cancel(Stream),
    {ok, 4.0} = py:await(Ref),
    ok = py_context:stop(Ctx),
    ok = file:close(File),
    _ = application:stop(mnesia),
    py_test:stop(),
    py_test:remove_temp_files(),
    Found.

%% Proves that whatever answers io_requests is protected, also what Common Test has.
group_leaders(_) ->
    ?assert(py_protected:process(group_leader())),
    ?assert(py_protected:process(whereis(user))),
    {ok, File} = file:open("/dev/null", [write]),
    ?assert(py_protected:process(File)),
    ok = file:close(File).

%% Proves that our processes are protected which have no name and are no servers.
helpers_of_ours(_) ->
    [Route | _] = py_tables:contexts(default),
    ?assert(py_protected:process(element(4, Route))),
    ?assert(py_protected:process(element(2, Route))),
    Ref = py:cast(math, sqrt, [16]),
    ?assertEqual({ok, 4.0}, py:await(Ref)),
    ?assert(py_protected:process(get('$py_caster'))).

names(_) ->
    [?assert(py_protected:name(Name))
     || Name <- [init, rex, code_server, kernel_sup, logger, user, timer_server, py_semaphore, erlang_python_sup,
                 py_standalone, application_controller, erl_prim_loader, net_kernel, global_name_server]],
    [?assertNot(py_protected:name(Name))
     || Name <- [my_server, py, python, py_test, erlang, lists, ssl_proxy_of_mine, undefined, messages_collector]].

%% Proves that servers and processes of users are not protected, whatever behaviour they have and whoever waits in OTP's
%% code.
processes_of_users(_) ->
    {ok, Sup} = supervisor:start_link(?MODULE, sup),
    {ok, Server} = supervisor:start_child(Sup, #{id => a, start => {gen_server, start_link, [?MODULE, server, []]}}),
    Start = {gen_server, start_link, [{local, protected_named}, ?MODULE, server, []]},
    {ok, Named} = supervisor:start_child(Sup, #{id => b, start => Start}),
    {ok, Event} = supervisor:start_child(Sup, #{id => c, start => {gen_event, start_link, []}}),
    {ok, Unlinked} = gen_event:start({local, protected_events}),
    Pids = [Sup, Server, Named, Event, Unlinked, self(), spawn(fun wait/0), spawn(?MODULE, wait, []),
            spawn(timer, sleep, [60000]), spawn(fun() -> timer:sleep(60000) end), proc_lib:spawn(fun wait/0),
            proc_lib:spawn(?MODULE, wait, []),
            proc_lib:spawn(fun() -> gen_server:call(Server, wait, infinity) end),
            spawn(fun() -> py:call(time, sleep, [1]) end), spawn(py, call, [time, sleep, [1]]),
            spawn(gen_server, call, [Server, wait, infinity]), inner(fun() -> spawn(fun wait/0) end)],
    [?assertEqual({Pid, false}, {Pid, py_protected:process(Pid)}) || Pid <- Pids],
    [?assertEqual({Pid, false}, {Pid, py_protected:caller(Pid)}) || Pid <- Pids],
    unlink(Sup),
    exit(Sup, shutdown),
    ok = gen_event:stop(Unlinked).

%% Proves the same of functions of users that OTP runs: for a timer, rpc, erpc.
processes_that_otp_starts(_) ->
    Test = self(),
    Tell = fun() -> Test ! {at, self()}, wait() end,
    {ok, _} = timer:apply_after(0, ?MODULE, tell, [Test]),
    {ok, _} = timer:apply_after(0, erlang, apply, [Tell, []]),
    {ok, _} = timer:apply_after(0, py, call, [builtins, exec, [<<"1">>]]),
    _ = rpc:async_call(node(), ?MODULE, tell, [Test]),
    true = rpc:cast(node(), ?MODULE, tell, [Test]),
    ok = erpc:cast(node(), Tell),
    _ = erpc:send_request(node(), Tell),
    [receive {at, Pid} ->
         ?assertEqual({Pid, false}, {Pid, py_protected:process(Pid)}),
         ?assertEqual({Pid, false}, {Pid, py_protected:caller(Pid)})
     end || _ <- lists:seq(1, 6)],
    {ok, <<"ok">>} = rpc:call(node(), py, call, [sending, to_self, []]),
    {ok, <<"ok">>} = erpc:call(node(), py, call, [sending, to_self, []]),
    ok.

%% Proves the same of what is typed into a shell, and of what that starts.
of_a_shell(_) ->
    Erl = filename:join([code:root_dir(), "bin", "erl"]),
    Port = open_port({spawn_executable, Erl}, [{args, ["-pa" | code:get_path()]}, binary, stderr_to_stdout, exit_status,
                                               {env, [{"ERL_CRASH_DUMP_SECONDS", "0"}]}]),
    Code = "application:ensure_all_started(erlang_python), F = fun() -> receive x -> ok end end, P = spawn(F), "
           "io:format(\"~w~n\", [{answer, [py_protected:process(X) || X <- [self(), P, proc_lib:spawn(F)]], "
           "py_protected:process(group_leader()), py:eval(\"erlang.send(erlang.self(), 1)\")}]).\n",
    true = port_command(Port, Code),
    answered(Port, <<>>, <<"{answer,[false,false,false],true,{ok,none}}">>),
    true = port_command(Port, "halt().\n"),
    ended(Port).

%% A port that is closed with its case would leave the node behind.
ended(Port) ->
    receive
        {Port, {exit_status, _}} -> ok;
        {Port, {data, _}} -> ended(Port)
    end.

answered(Port, Text, Part) ->
    case binary:match(Text, Part) of
        nomatch ->
            receive {Port, {data, More}} -> answered(Port, <<Text/binary, More/binary>>, Part)
            after 60000 -> error(Text)
            end;
        _ -> ok
    end.

%% Proves that what an application starts in start/2 is the user's, but not the process of OTP that runs start/2.
of_an_application(_) ->
    Test = self(),
    ok = application:load({application, protected_app, [{mod, {?MODULE, Test}}, {applications, [kernel, stdlib]}]}),
    ok = application:start(protected_app),
    receive
        {started, Starter, Pids} ->
            [?assertEqual({Pid, false}, {Pid, py_protected:process(Pid)}) || Pid <- Pids],
            ?assert(py_protected:process(Starter)),
            ?assert(py_protected:caller(Starter))
    end,
    ok = application:stop(protected_app),
    ok = application:unload(protected_app).

%% Proves that the process of a callback, and what it starts, are the user's.
of_callbacks(_) ->
    Test = self(),
    ok = py:register_function(protected_callback, fun([]) ->
        Pids = [self(), spawn(fun wait/0), proc_lib:spawn(fun wait/0), spawn_link(fun wait/0)],
        Test ! {pids, Pids, [Pid || Pid <- Pids, py_protected:process(Pid) orelse py_protected:caller(Pid)]},
        {ok, <<"ok">>} = py:call(sending, to_self, []),
        <<"ok">>
    end),
    ?assertEqual({ok, <<"ok">>}, py:eval("erlang.protected_callback()")),
    receive {pids, _, Protected} -> ?assertEqual([], Protected) end,
    py_test_callbacks:clean_up().

of_this_test(_) ->
    ?assertNot(py_protected:process(self())),
    ?assertEqual({ok, <<"ok">>}, py:call(sending, to_self, [])).

dead_ones(_) ->
    {Pid, Monitor} = spawn_monitor(fun() -> ok end),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end,
    ?assertNot(py_protected:process(Pid)),
    ?assertNot(py_protected:caller(Pid)).

%% Helpers.

wait() -> receive x -> ok after 60000 -> ok end.

tell(Test) ->
    Test ! {at, self()},
    wait().

%% Run in a process that ends.
inner(Fun) ->
    py_test:in_process(Fun).

start(_Type, Test) ->
    Pids = [spawn(fun wait/0), spawn_link(?MODULE, wait, []), spawn(fun() -> timer:sleep(60000) end),
            proc_lib:spawn(fun wait/0)],
    {ok, Sup} = supervisor:start_link(?MODULE, sup),
    Test ! {started, self(), [Sup | Pids]},
    {ok, Sup}.

stop(_) -> ok.

init(sup) -> {ok, {#{}, []}};
init(server) -> {ok, server};
init(Handler) -> {ok, Handler}.

handle_call(_, _, State) -> {noreply, State}.
handle_cast(_, State) -> {noreply, State}.
handle_call(_, State) -> {ok, ok, State}.
handle_event(_, State) -> {ok, State}.
handle_info(_, State) -> {noreply, State}.
