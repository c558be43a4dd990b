%% Python sends more than a process takes: the node's memory is bounded, Python waits, nothing of what was sent before is lost,
%% and nobody else is held up for long.
-module(mailbox_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").
-include("../../erlang_src/py_route.hrl").

-define(MAX, (64 * 1024 * 1024)).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [a_slow_receiver_slows_python_down, who_never_receives_gets_no_more, the_caller_itself, small_messages, lists_of_nothing,
     large_messages, compressed_messages_are_refused].

init_per_suite(Config) ->
    ok = py_test:start([{max_mailbox_bytes, ?MAX}]),
    Config.

end_per_suite(_Config) ->
    ok = application:unset_env(erlang_python, max_mailbox_bytes),
    py_test:stop().

%% 400 MB go through a mailbox of 64 MiB.
a_slow_receiver_slows_python_down(_) ->
    with_sender(fun(Ctx) ->
        Self = self(),
        Receiver = spawn_link(fun() -> slowly(0, 400, 0, Self) end),
        ?assertEqual({ok, none}, flood(Ctx, Receiver, <<"bytes(1_000_000)">>, 400, 60000)),
        receive {received, Receiver, Most} -> ?assert(Most =< 150) end
    end).

slowly(N, N, Most, Parent) ->
    Parent ! {received, self(), Most};
slowly(N, All, Most, Parent) ->
    receive
        {N, <<_:1000000/binary>>} ->
            timer:sleep(1),
            {message_queue_len, Length} = process_info(self(), message_queue_len),
            slowly(N + 1, All, max(Most, Length), Parent)
    end.

%% After ten seconds it gets no more, which is counted and logged, and Python goes on.
who_never_receives_gets_no_more(_) ->
    Log = py_test_log:collect(),
    with_sender(fun(Ctx) ->
        Receiver = spawn(fun() -> receive stop -> ok end end),
        Before = erlang:memory(total),
        ?assertEqual({ok, none}, flood(Ctx, Receiver, <<"bytes(1_000_000)">>, 400, 60000)),
        ?assert(erlang:memory(total) - Before < 4 * ?MAX),
        {message_queue_len, Length} = process_info(Receiver, message_queue_len),
        ?assert(Length < 200),
        ?assertMatch(#{messages_refused := N} when N > 100, pool_stats(Ctx)),
        _ = py_test_log:wait("max_mailbox_bytes"),
        ok = py_test_log:stop(Log),
        %% Others are reached as before, and so is it when it has caught up.
        ?assertEqual({ok, none}, flood(Ctx, self(), <<"n">>, 10, 5000)),
        _ = [receive {N, N} -> ok after 5000 -> error(lost) end || N <- lists:seq(0, 9)],
        exit(Receiver, kill)
    end).

%% It waits for the call, so it cannot receive meanwhile.
the_caller_itself(_) ->
    with_sender(fun(Ctx) ->
        Before = erlang:memory(total),
        ?assertEqual({ok, none}, flood(Ctx, self(), <<"bytes(1_000_000)">>, 400, 60000)),
        ?assert(erlang:memory(total) - Before < 4 * ?MAX),
        Got = drain(0),
        ?assert(Got > 30 andalso Got < 200)
    end).

%% Proves that what a message takes is counted, not its bytes on the way, and that a timeout ends a send that waits.
small_messages(_) -> fills(<<"n">>, 10000000, 2 * ?MAX).
lists_of_nothing(_) -> fills(<<"[[]] * 1_000_000">>, 1000, 3 * ?MAX).
large_messages(_) -> fills(<<"bytes(1_000_000)">>, 400, ?MAX).

fills(Value, Times, MostBytes) ->
    with_sender(fun(Ctx) ->
        Receiver = spawn(fun() -> receive stop -> ok end end),
        ?assertEqual({error, timeout}, flood(Ctx, Receiver, Value, Times, 5000)),
        {memory, Bytes} = process_info(Receiver, memory),
        ?assert(Bytes < MostBytes),
        ?assertEqual({ok, 4.0}, py:call(Ctx, math, sqrt, [16], #{timeout => 5000})),
        exit(Receiver, kill)
    end).

%% As a port program would never send them: in a message, and in the arguments of a callback.
compressed_messages_are_refused(_) ->
    Big = binary:copy(<<0>>, 50000000),
    py_test:with_pool(1, #{}, fun(Pool) ->
        [Ctx] = py_test:contexts(Pool),
        Message = term_to_binary({self(), Big}, [{compressed, 9}]),
        Frame = <<(term_to_binary({12, 1}))/binary, (byte_size(Message)):32, Message/binary>>,
        {ok, _} = py:call(Ctx, hostile, frames, [[{bytes, Frame}]]),
        ?assertEqual({ok, none}, flood(Ctx, self(), <<"n">>, 1, 5000)),
        receive Received -> ?assertEqual({0, 0}, Received) end,
        receive {_, Big} -> error(received) after 200 -> ok end
    end),
    ?assertMatch({error, error, {bad_reply, <<"compressed">>}, _, _},
                 py_callback:inline(4, term_to_binary([Big, 1], [{compressed, 9}]), no_rule)).

%% Helpers.

with_sender(Fun) ->
    py_test:with_pool(1, #{}, fun(Pool) -> Fun(hd(py_test:contexts(Pool))) end).

%% Sends {N, Value} so many times.
flood(Ctx, Receiver, Value, Times, Timeout) ->
    ok = py:exec(Ctx, iolist_to_binary(["import erlang\n"
                                        "def flood(to, times):\n"
                                        "    for n in range(times):\n"
                                        "        erlang.send(to, (n, ", Value, "))\n"])),
    py:call(Ctx, '__main__', flood, [Receiver, Times], #{timeout => Timeout}).

drain(N) -> receive {N, _} -> drain(N + 1) after 500 -> N end.

pool_stats(Ctx) ->
    #route{pool = Pool} = py_tables:route(Ctx),
    #{Pool := Stats} = py:stats(),
    Stats.
