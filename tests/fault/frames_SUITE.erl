%% Frames as hostile Python code writes them: to the descriptor of the replies. Each ends its port process or changes
%% nothing; none reaches a process that pools share, or a caller of another pool.
-module(frames_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").
-include("../../erlang_src/py_route.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [malformed_frames, frames_out_of_turn, lengths_then_death, lengths_and_no_death, new_atoms, compressed_frames,
     compressed_reply, replies_nobody_asked_for, replies_of_another_pool, slots_of_another_pool, endless_pieces,
     endless_notices, endless_wishes_to_be_killed, replies_are_closed, replies_are_replaced, requests_are_closed, a_child_holds_the_replies, a_reply_of_another_shape,
     an_interrupt_that_is_answered_with_nonsense,
     items_beyond_the_credit, items_of_no_stream, a_stream_ends_with_a_value, an_answer_comes_once, what_the_dead_owed, pieces_are_copied, shared_servers_live].

init_per_suite(Config) ->
    ok = py_test:start([{max_concurrent, 32}]),
    Config.
end_per_suite(_Config) -> py_test:stop().

init_per_testcase(_Case, Config) ->
    [{servers, servers()} | Config].

%% Whatever a case does, the processes that pools share are the same afterwards.
end_per_testcase(_Case, Config) ->
    ?assertEqual(proplists:get_value(servers, Config), servers()),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ok.

servers() ->
    [{Name, whereis(Name)} || Name <- [erlang_python_sup, py_output, py_functions, py_semaphore, py_context_router,
                                       py_pools_sup, py_standalone]].

%% Proves that a frame that is malformed in any way ends its port process, and that the pool starts again.
malformed_frames(_) ->
    Ref = make_ref(),
    Bad = [<<>>, <<0>>, <<131>>, <<131, 104>>, <<"hello world">>, <<131, 255>>, t(x), t([1]), t(#{}), t(5), t({}), t({99}),
           t({-1, 2}), t({1 bsl 70, x}), t({1, not_a_ref, 0}), t({1, Ref, -1}), t({1, Ref, x}), t({1, Ref, 1.5}), t({2, x}),
           t({3, x}), t({3, #{1 => 2}}), t({3, #{python_version => {deep, [tuple]}}}), t({5, 3, 0, <<"x">>}),
           t({5, 1, -1, <<"x">>}), t({5, 1, 0, x}), t({5, one, 0, <<"x">>}), t({5, 1, 0, binary:copy(<<"x">>, 20000)}),
           t({6, -1}), t({6, x}), t({7, x, Ref}), t({8, a, b}), t({8, -1, 5}), t({9, x}), t({9, [x]}),
           t({9, [<<"a">> | <<"b">>]}), t({10, x}), t({11, 1, 2}), t({11, 1, 0, 1, 0, none, <<"f">>}),
           t({11, 1, 1, 0, 0, none, <<"f">>}), t({11, -1, 1, 1, 0, none, <<"f">>}), t({11, 1, 1, 1, 0, someone, <<"f">>}),
           t({11, 1, 1, 1, 0, none, f}), t({11, 1, 1, 1, 0, none, 5}), t({11, 1, 1 bsl 64, 1, 0, none, <<"f">>}),
           t({12, x}), t({12, -1}), t({13, x}), t({14, x}), t({14, 0}), t({14, 5}), t({15, x}), t({15, []}), t({15, [x]}),
           t({15, [1 | 2]}), t({16, x}), t({2, 0}),
           <<(t({15, [1]}))/binary, "trailing">>, <<(t({6, 1}))/binary, 0>>, <<131, 105, 255, 255, 255, 255>>,
           <<131, 104, 2, 97, 9, 108, 255, 255, 255, 255>>, <<131, 104, 2, 97, 9, 109, 127, 255, 255, 255>>],
    [?assertEqual({Frame, malformed}, {Frame, py_protocol:notice(Frame)}) || Frame <- Bad],
    [with_pool(fun(Pool) ->
         Before = py_test:os_pid(Pool),
         ?assertEqual({Frame, {error, {context_died, {killed, bad_frame}}}}, {Frame, wait(Pool, Frame)}),
         back(Pool, Before)
     end) || Frame <- [<<>>, <<131, 255>>, t({99}), t({5, 3, 0, <<"x">>}), t({9, [x]}), t({11, 1, 1, 1, 0, someone, <<"f">>})]].

%% Proves that what a port process says once, at its start, it cannot say later.
frames_out_of_turn(_) ->
    [with_pool(fun(Pool) ->
         ?assertEqual({error, {context_died, {killed, bad_frame}}}, wait(Pool, t(Frame)))
     end) || Frame <- [{3, #{python_version => <<"9.9">>}}, {4, <<"cannot start">>}]].

%% Proves that a length that no frame has, followed by death, is noticed: a call without a limit is answered, and the node
%% has not allocated what the length says.
lengths_then_death(_) ->
    [with_pool(fun(Pool) ->
         ?assertMatch({_, {error, {context_died, _}}},
                      {Length, call(Pool, hostile, length_and_death, [Length, Signal], infinity)}),
         back(Pool, none)
     end) || Length <- [16#ffffffff, 16#80000000, 16#7fffffff, 1600000000, 1 bsl 20 + 4097], Signal <- [9, 11]],
    ?assert(memory() < 1 bsl 30).

%% Proves the same of a process that goes on living, and of a length that is allowed and never filled.
lengths_and_no_death(_) ->
    with_pool(fun(Pool) ->
        Before = py_test:os_pid(Pool),
        ?assertMatch({error, {context_died, {killed, bad_frame}}},
                     call(Pool, hostile, length_and_death, [16#ffffffff, 0], infinity)),
        back(Pool, Before),
        Again = py_test:os_pid(Pool),
        ?assertMatch({error, {context_died, {signal, sigkill}}},
                     call(Pool, hostile, length_and_death, [1 bsl 20, 9], infinity)),
        back(Pool, Again)
    end).

%% Proves that headers make no atoms.
new_atoms(_) ->
    with_pool(fun(Pool) ->
        Before = erlang:system_info(atom_count),
        ?assertMatch({error, {context_died, {killed, bad_frame}}}, call(Pool, hostile, atoms, [10000], 60000)),
        ?assert(erlang:system_info(atom_count) - Before < 500)
    end).

%% Proves that a compressed header is refused, however small it is.
compressed_frames(_) ->
    Bomb = term_to_binary({9, [binary:copy(<<0>>, 500000)]}, [{compressed, 9}]),
    ?assertMatch(<<131, 80, _/binary>>, Bomb),
    with_pool(fun(Pool) -> ?assertMatch({error, {context_died, {killed, bad_frame}}}, wait(Pool, Bomb)) end).

%% Proves that a compressed answer is not unpacked: its port process has broken the protocol.
compressed_reply(_) ->
    Bomb = term_to_binary({ok, binary:copy(<<0>>, 50000000)}, [{compressed, 9}]),
    ?assertEqual({error, {context_died, {killed, bad_frame}}}, answered_with(Bomb)).

%% Proves that an answer that is none of the protocol's is the end of the port process, not of its caller.
a_reply_of_another_shape(_) ->
    [?assertEqual({Payload, {error, {context_died, {killed, bad_frame}}}}, {Payload, answered_with(Payload)})
     || Payload <- [t(value), t({exception, 5, 6}), t({exception, <<"A">>, b, c})]].

%% Proves the same of the answer to an interrupt, which is `ok', `not_running' or an error.
an_interrupt_that_is_answered_with_nonsense(_) ->
    Killed = {error, {context_died, {killed, bad_frame}}},
    [?assertEqual({Payload, Answer}, {Payload, interrupted(t(Payload))})
     || {Payload, Answer} <- [{{ok, []}, Killed}, {{ok, 42}, Killed}, {ok, Killed}, {5, Killed}, {{ok, not_running}, not_running},
                              {{ok, ok}, ok}, {{error, timeout}, {error, timeout}}]].

%% Of a context whose port process answers with this payload.
interrupted(Payload) ->
    Test = self(),
    Owner = spawn_link(fun() ->
        Port = open_port({spawn, "cat"}, [binary]),
        _ = py_writer:start_link(Port),
        Test ! {self(), Port},
        receive {Port, {data, <<_:32, Frame/binary>>}} -> ok end,
        {13, Alias, _} = binary_to_term(Frame),
        Alias ! {py_reply, Alias, Payload},
        receive stop -> py_owed:forget(self()) end
    end),
    receive {Owner, Port} -> ok end,
    ok = py_tables:add_context((py_tables:route(py:context(1)))#route{ctx = Owner, owner = Owner, port = Port}),
    Answer = py:interrupt(Owner),
    ok = py_tables:remove_context(Owner, stopped),
    Owner ! stop,
    Answer.

%% Proves that a message to an alias that no request was made with is not sent, whoever owns it.
replies_nobody_asked_for(_) ->
    with_pool(fun(Pool) ->
        Alias = alias(),
        Frames = [<<(t({1, Alias, Slot}))/binary, (t({ok, forged}))/binary>> || Slot <- [0, 1, 2, 5, 65536, 81920, 1 bsl 40]]
            ++ [<<(t({16, Alias}))/binary, (t([forged]))/binary>>],
        ?assertMatch({ok, _}, py:call(Pool, hostile, frames, [[{bytes, F} || F <- Frames]])),
        ?assertEqual({ok, 4.0}, py:call(Pool, math, sqrt, [16])),
        receive Forged -> error({forged, Forged}) after 0 -> ok end
    end).

%% Proves that an answer to a call of another pool is not believed, though alias and slot are right.
replies_of_another_pool(_) ->
    with_pool(fun(Pool) ->
        py_test:with_pool(1, #{}, fun(Victim) ->
            {Job, Alias, Slot} = traced(fun() -> py:call(Victim, time, sleep, [1.0]) end),
            Forged = [<<(t({1, Alias, Slot}))/binary, (t({ok, forged}))/binary>>,
                      <<(t({1, Alias, 0}))/binary, (t({ok, forged}))/binary>>, t({15, [Slot]}),
                      <<(t({16, Alias}))/binary, (t([forged]))/binary>>],
            ?assertMatch({ok, _}, py:call(Pool, hostile, frames, [[{bytes, F} || F <- Forged], 10])),
            ?assertEqual({ok, 4.0}, py:call(Pool, math, sqrt, [16])),
            ?assertEqual({ok, none}, py_test:join(Job))
        end)
    end).

%% Proves that a port process gives back no slots but its own.
slots_of_another_pool(_) ->
    with_pool(fun(Pool) ->
        ok = py_semaphore:acquire(Pool, 0),
        Before = py_semaphore:current(Pool),
        ?assertMatch({ok, _}, py:call(Pool, hostile, frames, [[{bytes, t({15, lists:seq(0, 200)})}], 20])),
        ?assertEqual({ok, 4.0}, py:call(Pool, math, sqrt, [16])),
        ?assertEqual(Before, py_semaphore:current(Pool)),
        ok = py_semaphore:release(Pool)
    end).

%% Proves that pieces of values that never end are bounded, and end the port process.
endless_pieces(_) ->
    floods([<<(t({2, make_ref()}))/binary, 0:(8 bsl 20)>>, t({2, make_ref()}), t({2, -5})]),
    ?assert(memory() < 1 bsl 30).

%% Proves that more of what costs the node something than an honest port process sends is the end of a hostile one.
endless_notices(_) ->
    floods([t(Frame) || Frame <- [{5, 1, 1, <<>>}, {5, 2, 1, binary:copy(<<"x">>, 8000)}, {10, <<"no">>}, {6, 1}, {13, 5}, {15, [77]},
                                  {15, [77]}, {9, [<<"ok">>]}]]).

floods(Frames) ->
    [with_pool(fun(Pool) ->
         ?assertEqual({Frame, {error, {context_died, {killed, bad_frame}}}},
                      {Frame, call(Pool, hostile, endless, [{bytes, Frame}], 60000)}),
         back(Pool, none)
     end) || Frame <- Frames].

%% Proves that a process that has lost its pipes ends, so that a call without a limit is answered.
replies_are_closed(_) -> lost_pipe(close_replies).
replies_are_replaced(_) -> lost_pipe(replace_replies).
requests_are_closed(_) -> lost_pipe(close_requests).

lost_pipe(How) ->
    with_pool(fun(Pool) ->
        Before = py_test:os_pid(Pool),
        ?assertMatch({error, {context_died, _}}, call(Pool, hostile, How, [], infinity)),
        back(Pool, Before)
    end).

%% Proves that death is noticed also when somebody else holds the descriptor of the replies.
a_child_holds_the_replies(_) ->
    with_pool(fun(Pool) ->
        Before = py_test:os_pid(Pool),
        {ok, _Child} = py:call(Pool, hostile, leave_a_child_with_the_descriptor, []),
        ?assertMatch({error, {context_died, {signal, sigkill}}},
                     call(Pool, signal, raise_signal, [9], infinity)),
        back(Pool, Before)
    end).

%% Proves that a stream cannot send more than it had credit for.
items_beyond_the_credit(_) ->
    ok = application:set_env(erlang_python, max_frame_bytes, 16 * 1024 * 1024),
    Self = self(),
    Before = memory(),
    try py_test:with_pool(2, #{}, fun(Pool) ->
        [One, Other] = py_test:contexts(Pool),
        {Job, Alias, _} = traced(fun() ->
            {ok, Ref} = py:stream_start(hostile, one_and_wait, [], #{context => One, owner => Self}),
            Ref
        end),
        Ref = py_test:join(Job),
        Items = <<(t({16, Alias}))/binary, (t([binary:copy(<<0>>, 1000000)]))/binary>>,
        %% Nobody reads them, so no credit is added.
        ?assertEqual({error, {context_died, {killed, bad_frame}}},
                     py:call(Other, hostile, endless, [{bytes, Items}], #{timeout => 60000})),
        %% The second, when a frame of the port program itself came in between.
        ?assert(lists:member(end_of(Ref), [{context_died, {killed, bad_frame}}, {bad_reply, <<"no term">>}])),
        ?assert(memory() - Before < 1 bsl 29)
    end)
    after
        ok = application:unset_env(erlang_python, max_frame_bytes)
    end.

%% Proves that a port process that is to be killed is killed once, however often it says so: each time is a program that runs.
endless_wishes_to_be_killed(_) ->
    with_pool(fun(Pool) ->
        1 = erlang:trace_pattern({py_kill, all, 1}, true, [call_count]),
        ?assertEqual({error, {context_died, {killed, timeout}}}, call(Pool, hostile, endless, [{bytes, t({7, 1, make_ref()})}], 60000)),
        {call_count, Kills} = erlang:trace_info({py_kill, all, 1}, call_count),
        _ = erlang:trace_pattern({py_kill, all, 1}, false, [call_count]),
        %% And when it has died, for what it has left behind.
        ?assert(Kills =< 2)
    end).

%% Proves that items for a request that is no stream, and that waits without a slot, reach nobody: its caller learns of the end of
%% the port process all the same.
items_of_no_stream(_) ->
    py_test:with_pool(2, #{}, fun(Pool) ->
        [One, Other] = py_test:contexts(Pool),
        {Job, Alias, _} = traced(fun() -> py:async_await(py:async_call(One, asyncio, sleep, [60])) end),
        py_test:eventually(fun() -> ets:member(py_owed, py_protocol:alias_address(Alias)) end),
        ?assertMatch({ok, _}, py:call(Other, hostile, frames, [[{bytes, <<(t({16, Alias}))/binary, (t([1]))/binary>>}]])),
        ok = py_test:stop_pool(Pool),
        ?assertMatch({error, {context_died, _}}, py_test:join(Job, 20000))
    end).

%% Proves that a stream that is ended with a value is the end of the port process, not of who reads the stream.
a_stream_ends_with_a_value(_) ->
    Start = fun() ->
        {ok, Ref} = py:stream_start(hostile, one_and_wait, [], #{context => get(hostile_context)}),
        end_of(Ref)
    end,
    Collect = fun() ->
        ok = py_context_router:bind_context(get(hostile_context)),
        {error, Why} = py:stream(hostile, one_and_wait, []),
        Why
    end,
    [py_test:with_pool(2, #{}, fun(Pool) ->
         [One, Other] = py_test:contexts(Pool),
         {Job, Alias, Slot} = traced(fun() -> put(hostile_context, One), Read() end),
         _ = py:call(Other, hostile, frame_and_wait, [{bytes, <<(t({1, Alias, Slot}))/binary, (t({ok, 42}))/binary>>}],
                     #{timeout => 20000}),
         ?assertEqual({context_died, {killed, bad_frame}}, py_test:join(Job))
     end) || Read <- [Start, Collect]].

%% Proves that an answer that is sent twice is handed on once, by whichever slot it goes: the caller finds nothing afterwards.
an_answer_comes_once(_) ->
    Stream = {fun() -> py:stream(hostile, one_and_wait, []) end, ok},
    Call = {fun() -> py:call(time, sleep, [2.0]) end, {ok, 42}},
    [py_test:with_pool(2, #{}, fun(Pool) ->
         [One, Other] = py_test:contexts(Pool),
         {Job, Alias, Slot} = traced(fun() ->
             ok = py_context_router:bind_context(One),
             Result = Ask(),
             timer:sleep(200),
             {Result, process_info(self(), messages)}
         end),
         Frames = [{bytes, <<(t({1, Alias, S}))/binary, (t(Answer))/binary>>} || S <- Slots(Slot)],
         {ok, _} = py:call(Other, hostile, frames, [Frames]),
         ?assertMatch({{ok, _}, {messages, []}}, py_test:join(Job))
     end) || {Ask, Answer} <- [Stream, Call],
             Slots <- [fun(S) -> [0, S] end, fun(S) -> [S, 0] end, fun(S) -> [S, S] end, fun(_) -> [0, 0] end],
             {Answer, Slots(1)} =/= {{ok, 42}, [0, 0]}].

%% Proves that what was noted for a port process that was gone already does not stay.
what_the_dead_owed(_) ->
    {Gone, Monitor} = spawn_monitor(fun() -> ok end),
    receive {'DOWN', Monitor, process, Gone, _} -> ok end,
    ok = py_owed:add(1 bsl 80, Gone),
    ok = py_owed:forget(self()),
    ?assertNot(py_owed:take(1 bsl 80, Gone)).

%% Proves that a small piece does not keep what was read with it.
pieces_are_copied(_) ->
    Read = binary:copy(<<1>>, 65536),
    {ok, Pieces} = py_pieces:add(key, binary:part(Read, 5, 100), py_pieces:new(1 bsl 20)),
    {[Piece], _} = py_pieces:take(key, Pieces),
    ?assertEqual(100, byte_size(Piece)),
    ?assert(binary:referenced_byte_size(Piece) < 1000).

%% Proves that frames about output, memory and refusals of any shape leave the process that logs them alone.
shared_servers_live(_) ->
    with_pool(fun(Pool) ->
        Output = whereis(py_output),
        ?assertMatch({ok, _}, py:call(Pool, hostile, frames,
                                      [[{bytes, t(F)} || F <- [{5, 1, 1 bsl 31, <<255, 254>>}, {10, <<255>>}, {6, 1 bsl 62}]]])),
        ?assertEqual({error, {context_died, {killed, memory_limit}}}, wait(Pool, t({8, 1 bsl 62, 0}))),
        back(Pool, none),
        _ = sys:get_state(Output),
        ?assertEqual(Output, whereis(py_output))
    end).

%% Helpers.

%% Of the node, without what is garbage.
memory() ->
    _ = [garbage_collect(Pid) || Pid <- processes()],
    erlang:memory(total).

end_of(Ref) ->
    case py:stream_next(Ref, 30000) of
        {ok, _} -> end_of(Ref);
        {error, Why} -> Why
    end.

t(Term) -> term_to_binary(Term).

with_pool(Fun) ->
    py_test:with_pool(1, #{}, Fun).

wait(Pool, Frame) ->
    call(Pool, hostile, frame_and_wait, [{bytes, Frame}], 10000).

call(Pool, M, F, Args, Timeout) ->
    py:call(hd(py_test:contexts(Pool)), M, F, Args, #{timeout => Timeout}).

%% The result of a call whose answer another context of the same port process forges.
answered_with(Payload) ->
    py_test:with_pool(2, #{}, fun(Pool) ->
        [One, Other] = py_test:contexts(Pool),
        {Job, Alias, Slot} = traced(fun() -> py:call(One, time, sleep, [2.0]) end),
        _ = py:call(Other, hostile, frame, [{bytes, <<(t({1, Alias, Slot}))/binary, Payload/binary>>}]),
        py_test:join(Job)
    end).

%% Runs Fun in a process of its own; the alias and the slot of the first request that it, or a process that it starts,
%% makes.
traced(Fun) ->
    _ = erlang:trace_pattern({py_protocol, request, 7}, true, []),
    Go = make_ref(),
    Job = {Pid, _} = py_test:async(fun() -> receive Go -> Fun() end end),
    1 = erlang:trace(Pid, true, [call, set_on_spawn]),
    Pid ! Go,
    receive
        {trace, _, call, {py_protocol, request, [Operation, _, _, Alias, Slot, _, _]}} when element(1, Operation) =:= call ->
            {Job, Alias, Slot}
    after 10000 ->
        error(no_request)
    end.

%% The pool has another process, which answers.
back(Pool, Before) ->
    py_test:eventually(fun() ->
        py:call(Pool, math, sqrt, [16]) =:= {ok, 4.0} andalso py_test:os_pid(Pool) =/= Before
    end).
