%% A node that has no room for one more process (emulator flag +P): what needs a process fails, with a reason, and the
%% pool goes on. The node is one of OTP's peers, without distribution.
-module(process_limit_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() -> [callbacks, messages_to_another_node, streams].

init_per_testcase(_Case, Config) ->
    {ok, Peer, _} = peer:start_link(#{connection => standard_io,
                                      args => ["+P", "1024", "-pa", filename:dirname(code:which(?MODULE))]}),
    ok = peer:call(Peer, code, add_pathsa, [code:get_path()]),
    ok = peer:call(Peer, py_test, start, [[{send_names, [{somebody, 'nowhere@localhost'}]}]]),
    [{peer, Peer} | Config].

end_per_testcase(_Case, Config) ->
    ok = peer:call(?config(peer, Config), py_test, stop, [], 30000),
    peer:stop(?config(peer, Config)).

%% Each case runs there, in one process.
there(Case, Config) -> ok = peer:call(?config(peer, Config), ?MODULE, Case, [], 60000).

callbacks(Config) -> there(callbacks_there, Config).
messages_to_another_node(Config) -> there(messages_there, Config).
streams(Config) -> there(streams_there, Config).

%% Proves that Python gets an exception when its callback cannot begin, and that callbacks work again when there is room.
callbacks_there() ->
    ok = py:register_function(same, fun([Value]) -> Value end),
    ?assertEqual({ok, 5}, py:call(calling, call, [same, 5])),
    when_full(fun() ->
        ?assertMatch({ok, #{<<"reason">> := <<"system_limit">>}}, py:call(calling, caught, [same, 5])),
        ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16]))
    end),
    ?assertEqual({ok, 5}, py:call(calling, call, [same, 5])),
    py_test:nothing_left().

%% Proves that a message to another node is dropped with a line in the log, and that those to processes here arrive.
messages_there() ->
    {ok, _} = py:call(messaging, send, [self(), first]),
    Log = py_test_log:collect(),
    when_full(fun() ->
        {ok, _} = py:eval(<<"erlang.send(('somebody', 'nowhere@localhost'), 1)">>),
        {ok, _} = py:call(messaging, send, [self(), second])
    end),
    _ = py_test_log:wait("no process can be started"),
    ok = py_test_log:stop(Log),
    [receive Message -> ?assertEqual(Expected, Message) end || Expected <- [<<"first">>, <<"second">>]],
    ok.

%% Proves that what needs a process here says so as spawn does, and leaves nothing behind.
streams_there() ->
    when_full(fun() ->
        ?assertError(system_limit, py:stream(builtins, range, [3])),
        ?assertError(system_limit, py:stream_fold(fun erlang:'+'/2, 0, {builtins, range, [3]})),
        ?assertError(system_limit, py:async_call(asyncio, sleep, [0.01]))
    end),
    ?assertEqual({ok, [0, 1, 2]}, py:stream(builtins, range, [3])),
    ?assertEqual({ok, <<"slept">>}, py:async_await(py:async_call(asyncio, sleep, [0.01, <<"slept">>]))),
    py_test:nothing_left().

when_full(Fun) ->
    Idle = fill([]),
    try Fun() after
        Monitors = [erlang:monitor(process, Pid) || Pid <- Idle],
        _ = [exit(Pid, kill) || Pid <- Idle],
        [receive {'DOWN', Monitor, _, _, _} -> ok end || Monitor <- Monitors]
    end,
    ok.

fill(Pids) ->
    try spawn(fun() -> receive never -> ok end end) of
        Pid -> fill([Pid | Pids])
    catch
        error:system_limit -> Pids
    end.
