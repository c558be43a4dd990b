%% What ends a stream before its end: cancelling, an exception of the fun that folds it, the death of its owner, of its
%% context and of the port process.
-module(stream_end_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-import(stream_test, [received/1, no_message/0, eventually_state/2, state/1]).

suite() -> [{timetrap, {minutes, 1}}].

all() -> [{group, worker}, {group, owngil}].

groups() ->
    Cases = [fold_with_an_exception, left_in_its_first_turn, left_by_a_callback, cancel_while_waiting, cancel_while_sleeping,
             cancel_while_computing, cancel_before_it_begins, cancel_by_another_process, cancel_of_what_has_ended,
             cancel_of_a_generator_that_refuses, the_death_of_an_owner, the_death_of_a_collector, stop_ends_streams,
             death_ends_streams, nothing_is_left],
    py_test_modes:groups(Cases).

init_per_group(Mode, Config) -> py_test_modes:start_group(Mode, Config).
end_per_group(_Group, _Config) -> py_test:stop().

%% Proves that an exception of the fun ends the generator and goes on to the caller.
fold_with_an_exception(_) ->
    _ = [begin
        Key = py_test:unique(fold),
        Fun = fun(500, Acc) -> Raise({enough, Acc}); (_, Acc) -> Acc + 1 end,
        ?assertException(Class, {enough, 500}, py:stream_fold(Fun, 0, {streams, F, [Key]})),
        ok = eventually_state(Key, <<"closed">>)
    end || F <- [endless, async_endless], {Class, Raise} <- [{throw, fun erlang:throw/1}, {error, fun erlang:error/1}]],
    no_message().

%% Proves that a generator whose stream is left in its first turn, wherever it is at that moment, comes to the end of its
%% finally block.
left_in_its_first_turn(_) ->
    Left = [begin
        Key = py_test:unique(F),
        At = rand:uniform(600),
        Fun = fun(Item, _) -> Item =:= At andalso throw(left) end,
        ?assertThrow(left, py:stream_fold(Fun, none, {streams, F, [Key]})),
        Key
    end || _ <- lists:seq(1, 100), F <- [endless, async_endless, busy]],
    _ = [ok = eventually_state(Key, <<"closed">>) || Key <- Left],
    no_message().

%% Proves that a stream that a callback leaves behind ends with it, whatever its loop does at that moment, and that the
%% call goes on.
left_by_a_callback(_) ->
    ok = py:register_function(left, fun([F, N]) ->
        {ok, Ref} = py:stream_start(streams, F, [0, N]),
        {ok, First} = py:stream_next(Ref, 30000),
        First
    end),
    _ = [?assertEqual({ok, 0}, py:call(erlang, call, [left, F, 5000]))
         || _ <- lists:seq(1, 1000), F <- [count, async_count]],
    ok.

%% Proves that cancel ends a generator that waits in asyncio, and that its owner is told.
cancel_while_waiting(_) ->
    %% Many, since the cancel may come while the generator has just begun, or is about to wait.
    _ = [cancelled(waits_for_ever) || _ <- lists:seq(1, 100)],
    {ok, Ref} = py:stream_start(streams, async_endless, [async_cancelled]),
    {ok, 0} = py:stream_next(Ref, infinity),
    ok = py:cancel(Ref),
    ?assertMatch({_, {error, cancelled}}, received(Ref)),
    ok = eventually_state(async_cancelled, <<"closed">>).

%% Proves that cancel ends a synchronous generator that sleeps between its items.
cancel_while_sleeping(_) -> cancelled(sleeps_for_long).

%% Proves that cancel ends a generator that computes.
cancel_while_computing(_) -> cancelled(spins).

cancelled(Function) ->
    Key = py_test:unique(Function),
    {ok, Ref} = py:stream_start(streams, Function, [Key]),
    ?assertEqual({ok, <<"first">>}, py:stream_next(Ref, 30000)),
    ok = py:stream_cancel(Ref),
    ?assertEqual({[], {error, cancelled}}, received(Ref)),
    ok = eventually_state(Key, <<"closed">>).

%% Proves that a stream whose context has not begun it is cancelled without being run.
cancel_before_it_begins(_) ->
    Ctx = py:context(1),
    Busy = py:cast(Ctx, probe, spin, []),
    {ok, Ref} = py:stream_start(streams, endless, [not_begun], #{context => Ctx}),
    ok = py:stream_cancel(Ref),
    ?assertEqual({[], {error, cancelled}}, received(Ref)),
    ok = py:cancel(Busy),
    ?assertEqual({error, cancelled}, py:await(Busy)),
    ?assertEqual({ok, 4.0}, py:call(Ctx, math, sqrt, [16])),
    ?assertEqual({error, not_found}, state(not_begun)).

%% Proves that any process that has the reference can cancel a stream.
cancel_by_another_process(_) ->
    {ok, Ref} = py:stream_start(streams, waits_for_ever, [by_another]),
    ok = py_test:in_process(fun() -> py:stream_cancel(Ref) end),
    ?assertMatch({_, {error, cancelled}}, received(Ref)).

%% Proves that nothing more is heard when a stream that has ended is cancelled.
cancel_of_what_has_ended(_) ->
    {ok, Ref} = py:stream_start(streams, count, [0, 1]),
    ?assertEqual({[0], done}, received(Ref)),
    ok = py:stream_cancel(Ref),
    ok = py:cancel(Ref),
    ok = py:stream_cancel(make_ref()),
    no_message().

%% Proves that a generator that raises when it is closed harms nobody.
cancel_of_a_generator_that_refuses(_) ->
    {ok, Ref} = py:stream_start(streams, swallows_the_end, [refuses]),
    {ok, 1} = py:stream_next(Ref, infinity),
    ok = py:stream_cancel(Ref),
    ok = eventually_state(refuses, <<"closed">>),
    ?assertMatch({_, {error, cancelled}}, received(Ref)),
    ?assertEqual({ok, [1, 2, 3]}, py:stream(streams, count, [1, 4])).

%% Proves that a generator is closed when the owner of its stream dies, whatever it does at that moment.
the_death_of_an_owner(_) ->
    _ = [begin
        Key = py_test:unique(F),
        Owner = spawn(fun() -> timer:sleep(infinity) end),
        {ok, _} = py:stream_start(streams, F, [Key], #{owner => Owner}),
        ok = py_test:eventually(fun() -> process_info(Owner, message_queue_len) > {message_queue_len, 0} end),
        exit(Owner, kill),
        ok = eventually_state(Key, <<"closed">>)
    end || F <- [endless, async_endless, waits_for_ever, sleeps_for_long, spins]].

%% Proves the same for a process that collects or folds.
the_death_of_a_collector(_) ->
    _ = [begin
        Key = py_test:unique(F),
        Pid = spawn(fun() -> Read(F, Key) end),
        ok = py_test:eventually(fun() -> process_info(Pid, status) =:= {status, waiting} end),
        timer:sleep(100),
        exit(Pid, kill),
        ok = eventually_state(Key, <<"closed">>)
    end || F <- [waits_for_ever, spins],
           Read <- [fun(G, Key) -> py:stream(streams, G, [Key], #{}, infinity) end,
                    fun(G, Key) -> py:stream_fold(fun append/2, [], {streams, G, [Key]}) end]].

%% Proves that stopping a context ends the streams in it, and closes their generators.
stop_ends_streams(Config) ->
    {ok, Ctx} = py_context:new(#{mode => proplists:get_value(mode, Config)}),
    {ok, Endless} = py:stream_start(streams, endless, [stop_endless], #{context => Ctx}),
    {ok, Waits} = py:stream_start(streams, waits_for_ever, [stop_waits], #{context => Ctx}),
    ?assertEqual({ok, 0}, py:stream_next(Endless, 30000)),
    ?assertEqual({ok, <<"first">>}, py:stream_next(Waits, 30000)),
    ok = py_context:stop(Ctx),
    ?assertMatch({_, {error, {context_died, stopped}}}, received(Endless)),
    ?assertEqual({[], {error, {context_died, stopped}}}, received(Waits)),
    ok = eventually_state(stop_endless, <<"closed">>),
    ok = eventually_state(stop_waits, <<"closed">>),
    ?assertEqual({error, {context_died, stopped}}, py:stream(Ctx, streams, count, [0, 1])).

%% Proves that the death of the port process ends the streams in it, however they are read.
death_ends_streams(Config) ->
    py_test:with_pool(1, #{mode => proplists:get_value(mode, Config)}, fun(Pool) ->
        OsPid = py_test:os_pid(Pool),
        {ok, Ref} = py:stream_start(streams, endless, [], #{pool => Pool}),
        {ok, 0} = py:stream_next(Ref, 30000),
        Collector = py_test:async(fun() -> py:stream(Pool, streams, waits_for_ever, [death]) end),
        ok = py_test:eventually(fun() -> py:call(Pool, tasks, pending, []) =:= {ok, 2} end),
        py_test:signal(OsPid, "KILL"),
        Died = {error, {context_died, {signal, sigkill}}},
        ?assertMatch({_, Died}, received(Ref)),
        ?assertEqual(Died, py_test:join(Collector)),
        ?assertEqual({ok, [0]}, py:stream(Pool, streams, count, [0, 1])),
        ?assertEqual(0, py_semaphore:current())
    end).

%% Proves that all of this has left no request waiting in Python, no slot taken, and no message.
nothing_is_left(_) ->
    lists:foreach(
        fun(Ctx) ->
            Waiting = fun() -> py:call(Ctx, tasks, waiting, []) end,
            py_test:eventually(fun() -> Waiting() =:= {ok, []} orelse Waiting() end)
        end,
        py_test:contexts(default)),
    ok = py_test:eventually(fun() -> py_semaphore:current() =:= 0 end),
    no_message().

append(Item, Items) -> [Item | Items].
