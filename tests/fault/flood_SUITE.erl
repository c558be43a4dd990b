%% Floods: callers killed under load, hostile bytes on the port, large replies to a slow owner.
-module(flood_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [killed_callers_leave_nothing, killed_waiters_leave_nothing, overload_is_refused_and_passes, garbage_frames,
     truncated_terms, wrong_operations, wrong_fields, unknown_context, second_init, pieces_out_of_order,
     oversized_frame, giant_lengths_inside, deep_frames, random_frames, mutated_requests, slow_owner,
     large_replies_to_dead_callers].

init_per_suite(Config) -> ok = py_test:start([{max_concurrent, 64}]), Config.
end_per_suite(_Config) -> py_test:stop().

%% Proves that callers killed at random moments under load leave no slot, no monitor and no memory behind.
killed_callers_leave_nothing(_) ->
    py_test:with_pool(2, #{}, fun(Pool) ->
        OsPid = py_test:os_pid(Pool),
        Owner = py_test:owner_of(OsPid),
        kill_callers(Pool, 20),
        settle(Pool),
        Before = {monitors(Owner), py_test:rss(OsPid)},
        kill_callers(Pool, 100),
        settle(Pool),
        {MonitorsBefore, RssBefore} = Before,
        py_test:eventually(fun() -> monitors(Owner) =< MonitorsBefore end),
        ?assert(py_test:rss(OsPid) - RssBefore < 32 bsl 20),
        ?assertEqual(OsPid, py_test:os_pid(Pool))
    end).

kill_callers(_, 0) -> ok;
kill_callers(Pool, Rounds) ->
    Callers = [spawn(fun() -> calls_for_ever(Pool, N) end) || N <- lists:seq(1, 50)],
    timer:sleep(rand:uniform(10)),
    _ = [exit(Caller, kill) || Caller <- Callers],
    kill_callers(Pool, Rounds - 1).

calls_for_ever(Pool, N) ->
    _ = case rand:uniform(4) of
        1 -> py:call(Pool, probe, answer, [N, 100000]);
        %% Less than a piece: of a value in pieces whose sender was killed half way the port keeps the first for a
        %% minute.
        2 -> py:call(Pool, probe, echo, [binary:copy(<<"x">>, 900000)]);
        3 -> py:exec(py_context_router:get_context(Pool), <<"import probe\nx = [1, 2, 3]">>);
        4 -> py:call(Pool, probe, echo, [N])
    end,
    calls_for_ever(Pool, N).

monitors(Owner) ->
    {monitored_by, Watchers} = process_info(Owner, monitored_by),
    {monitors, Watched} = process_info(Owner, monitors),
    length(Watchers) + length(Watched).

settle(Pool) ->
    py_test:no_slots_taken(),
    _ = [{ok, 1} = py:call(Ctx, probe, echo, [1]) || Ctx <- py_test:contexts(Pool)],
    py_test:no_slots_taken().

%% Proves that callers killed while they wait for a slot leave none taken, and that those behind them are served.
killed_waiters_leave_nothing(_) ->
    py_test:with_pool(1, #{max_concurrent => 1}, fun(Pool) ->
        Holder = py_test:waiting(Pool, 0.5),
        Doomed = [spawn(fun() -> py:call(Pool, probe, echo, [N]) end) || N <- lists:seq(1, 50)],
        Served = [py_test:async(fun() -> py:call(Pool, probe, echo, [N]) end) || N <- lists:seq(1, 20)],
        _ = [exit(Pid, kill) || Pid <- Doomed],
        ?assertEqual({ok, <<"waited">>}, py_test:join(Holder)),
        ?assertEqual([{ok, N} || N <- lists:seq(1, 20)], [py_test:join(Job) || Job <- Served]),
        py_test:no_slots_taken()
    end).

%% Proves that far more callers than slots are either served or told of the overload, and nothing else.
overload_is_refused_and_passes(_) ->
    Before = py_semaphore:max_concurrent(),
    ok = py_semaphore:set_max_concurrent(4),
    try
        Jobs = [py_test:async(fun() -> py:call(probe, tagged_sleep, [N, 0.005], #{}, 300) end)
                || N <- lists:seq(1, 500)],
        Results = [{N, py_test:join(Job)} || {N, Job} <- lists:zip(lists:seq(1, 500), Jobs)],
        ?assertEqual([], [R || R = {N, Result} <- Results, not (Result =:= {ok, N} orelse refused(Result))]),
        ?assertNotEqual([], [N || {N, {ok, N}} <- Results]),
        py_test:no_slots_taken()
    after
        py_semaphore:set_max_concurrent(Before)
    end.

refused({error, {overloaded, _, 4}}) -> true;
refused({error, timeout}) -> true;
refused(_) -> false.

%% Proves that frames that are no terms at all are refused and end nothing.
garbage_frames(_) ->
    survives([<<>>, <<0>>, <<131>>, <<"hello world">>, <<131, 255>>, <<131, 0, 0, 0>>, binary:copy(<<255>>, 1000),
              binary:copy(<<131>>, 1000), <<131, 80, 0, 0, 16, 0, 120>>]).

%% Proves that every prefix of a valid request is refused.
truncated_terms(_) ->
    Frame = request(),
    survives([binary:part(Frame, 0, Length) || Length <- lists:seq(0, byte_size(Frame) - 1)]).

%% Proves that terms that are no message of the protocol are refused.
wrong_operations(_) ->
    survives([term_to_binary(T)
              || T <- [{}, {99}, {-1, 2}, {1 bsl 70}, {call, 1}, [], [1], #{}, 5, 1.5, <<"x">>, atom, {1}, {5},
                       {4, make_ref()},
                       {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}, self(), {11}, {14}]]).

%% Proves that messages with fields of the wrong type or range are refused.
wrong_fields(_) ->
    Alias = make_ref(),
    survives([term_to_binary(T)
              || T <- [{1, a, Alias, 0, 0, 0, 0, m, f, [], #{}}, {1, -1, Alias, 0, 0, 0, 0, m, f, [], #{}},
                       {1, 1, not_a_ref, 0, 0, 0, 0, m, f, [], #{}}, {1, 1, Alias, -5, 0, 0, 0, m, f, [], #{}},
                       {1, 1, Alias, 0, -1, 0, 0, m, f, [], #{}}, {1, 1, Alias, 0, 1 bsl 80, 0, 0, m, f, [], #{}},
                       {1, 1, Alias, 0, 0, -1, 0, m, f, [], #{}}, {1, 1, Alias, 0, 0, 0, 1 bsl 40, m, f, [], #{}},
                       {1, 1, Alias, 0, 0, 0, 0, 7, f, [], #{}}, {1, 1, Alias, 0, 0, 0, 0, m, [], [], #{}},
                       {1, 1, Alias, 0, 0, 0, 0, m, f, not_a_list, #{}}, {1, 1, Alias, 0, 0, 0, 0, m, f, [1 | 2], #{}},
                       {1, 1, Alias, 0, 0, 0, 0, m, f, [], []}, {1, 1, Alias, 0, 0, 0, 0, m, f, [], #{1 => 2}},
                       {2, 1, Alias, 0, 0, 0, 0, 5, #{}}, {2, 1, Alias, 0, 0, 0, 0, <<"1">>, []},
                       {3, 1, Alias, 0, 0, 0, 0, [1, 2]}, {12, 1, -1}, {12, x, y}, {13, Alias, none}, {13, none, 1},
                       {10, Alias, 1 bsl 40, 7, #{}}, {10, Alias, -1, 0, #{}}, {10, Alias, 1, 0, #{preload => 5}},
                       {11, Alias, 424242}, {14, 5}]]).

%% Proves that a request for a context that is not there is refused.
unknown_context(_) ->
    survives([term_to_binary({1, Ctx, make_ref(), 0, 0, 0, 0, math, sqrt, [1], #{}})
              || Ctx <- [0, 4242, 1 bsl 30, 1 bsl 62]]).

%% Proves that a second configuration, or a broken one, does not touch a running process.
second_init(_) ->
    survives([term_to_binary({0, Config}) || Config <- [#{}, x, #{pool => 5}, #{pool => <<"x">>, nice => 1000}]]).

%% Proves that pieces without a beginning, without an end, repeated, or of nonsense are refused.
pieces_out_of_order(_) ->
    [A, B, C] = [make_ref() || _ <- [1, 2, 3]],
    Frame = request(),
    Half = byte_size(Frame) div 2,
    survives([term_to_binary(T)
              || T <- [{5, A, 0, <<"no beginning">>}, {4, B, 0, Frame}, {4, B, 0, Frame}, {5, B, 0, Frame},
                       {5, B, 0, <<>>},
                       {4, C, 0, binary:part(Frame, 0, Half)}, {5, A, 0, <<>>}, {4, C, 0, <<>>}, {4, C, 0, <<"junk">>},
                       {4, make_ref(), 0, <<"never ended">>}, {4, not_a_ref, 0, <<>>}, {4, C, 0, not_bytes},
                       {4, C, not_a_slot, <<>>}, {4, C, <<>>}, {5, C, 0, <<"end">>}]]).

%% Proves that a frame longer than the protocol allows is skipped, and the next one is understood.
oversized_frame(_) ->
    survives([binary:copy(<<131>>, 3 bsl 20), term_to_binary({1, 1, make_ref(), 0, 0, 0, 0, m, f,
                                                              [binary:copy(<<1>>, 8 bsl 20)], #{}})]).

%% Proves that a length inside a term that is larger than the term is refused without being allocated.
giant_lengths_inside(_) ->
    Head = binary:part(request(), 0, 5),
    survives([<<131, 104, 2, 97, 1, 109, 16#FF, 16#FF, 16#FF, 16#FF>>,
              <<131, 105, 16#FF, 16#FF, 16#FF, 16#FF>>, <<131, 108, 16#FF, 16#FF, 16#FF, 16#FF, 97, 1>>,
              <<131, 116, 16#FF, 16#FF, 16#FF, 16#FF>>, <<131, 111, 16#FF, 16#FF, 16#FF, 16#FF, 0>>,
              <<131, 104, 2, 97, 1, 108, 16#7F, 16#FF, 16#FF, 16#FF>>, <<131, 118, 16#FF, 16#FF>>,
              <<Head/binary, 108, 16#10, 0, 0, 0>>]).

%% Proves that a frame of levels upon levels does not overflow the stack.
deep_frames(_) ->
    Deep = lists:foldl(fun(_, Inner) -> [Inner] end, 1, lists:seq(1, 100000)),
    survives([term_to_binary(Deep), term_to_binary({1, Deep}),
              term_to_binary({1, 1, make_ref(), 0, 0, 0, 0, Deep, f, [], #{}}),
              term_to_binary({1, 1, make_ref(), 0, 0, 0, 0, math, sqrt, [Deep], #{}}),
              <<131, (binary:copy(<<104, 1>>, 300000))/binary, 97, 1>>]).

%% Proves that thousands of frames of random bytes end nothing.
random_frames(_) ->
    rand:seed(exsss, py_test:seed()),
    survives([<<131, (rand:bytes(rand:uniform(200)))/binary>> || _ <- lists:seq(1, 2000)]).

%% Proves the same of valid requests with a few bytes changed. Alias and slot stay: the port gives them back unread, so
%% a change in them harms the receiver of the reply, which is here.
mutated_requests(_) ->
    rand:seed(exsss, py_test:seed()),
    Frame = request(),
    Kept = byte_size(term_to_binary({1, 1, make_ref(), 0, 1000})),
    survives([mutate(Frame, Kept, rand:uniform(4)) || _ <- lists:seq(1, 3000)]).

mutate(Frame, _, 0) -> Frame;
mutate(Frame, Kept, Count) ->
    At = Kept + rand:uniform(byte_size(Frame) - Kept) - 1,
    <<Head:At/binary, _, Tail/binary>> = Frame,
    mutate(<<Head/binary, (rand:uniform(256) - 1), Tail/binary>>, Kept, Count - 1).

%% A harmless request as Erlang would send it.
request() ->
    term_to_binary({1, 1, make_ref(), 0, 1000, 0, 0, probe, echo, [[1, 2.5, <<"text">>, {a, #{b => c}}, 1 bsl 70]],
                    #{}}).

%% Writes the frames straight to the port of a fresh pool, between calls; all calls must be answered by the same
%% process as before.
survives(Frames) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        OsPid = py_test:os_pid(Pool),
        Port = py_test:port_of(OsPid),
        Before = py_test:rss(OsPid),
        _ = [begin
                 ok = py_writer:send(Port, self(), Frame, infinity),
                 ?assertEqual({N, Frame, {ok, N}}, {N, Frame, py:call(Pool, probe, echo, [N])})
             end || {N, Frame} <- lists:zip(lists:seq(1, length(Frames)), Frames)],
        ?assertEqual(OsPid, py_test:os_pid(Pool)),
        ?assert(py_test:rss(OsPid) - Before < 200 bsl 20)
    end).

%% Proves that replies of megabytes wait in bounded memory for an owner that does not read, and arrive when it does.
slow_owner(_) ->
    py_test:with_pool(2, #{max_concurrent => 10}, fun(Pool) ->
        OsPid = py_test:os_pid(Pool),
        Owner = py_test:owner_of(OsPid),
        true = erlang:suspend_process(Owner),
        Jobs = [py_test:async(fun() -> py:call(Pool, probe, answer, [N, 3 bsl 20], #{}) end) || N <- lists:seq(1, 10)],
        py_test:eventually(fun() -> py_semaphore:current(Pool) =:= 10 end),
        timer:sleep(300),
        true = erlang:resume_process(Owner),
        _ = [begin
                 {ok, {N, Text}} = py_test:join(Job),
                 ?assertEqual(3 bsl 20, byte_size(Text)),
                 Unit = <<(integer_to_binary(N))/binary, ".">>,
                 ?assertEqual(Unit, binary:part(Text, 0, byte_size(Unit)))
             end || {N, Job} <- lists:zip(lists:seq(1, 10), Jobs)],
        ?assertEqual(OsPid, py_test:os_pid(Pool))
    end).

%% Proves that large replies to callers that are gone are dropped and leave the owner with no memory of them.
large_replies_to_dead_callers(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        Owner = py_test:owner_of(py_test:os_pid(Pool)),
        Rounds = [py_test:async(fun() -> py:call(Pool, probe, answer, [N, 10 bsl 20], #{}) end)
                  || N <- lists:seq(1, 20)],
        _ = [exit(Pid, kill) || {Pid, _} <- Rounds],
        settle(Pool),
        true = erlang:garbage_collect(Owner),
        {memory, Memory} = process_info(Owner, memory),
        {binary, Binaries} = process_info(Owner, binary),
        ?assert(Memory < 4 bsl 20),
        ?assert(lists:sum([Size || {_, Size, _} <- Binaries]) < 8 bsl 20)
    end).
