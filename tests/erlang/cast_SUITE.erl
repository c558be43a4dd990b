%% Calls that do not wait: py:cast, py:spawn_call, py:await and py:parallel.
-module(cast_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [cast_and_await, cast_with_kwargs, cast_on_context, spawn_call_sends_message, spawn_call_with_kwargs_and_timeout,
     await_in_any_order, many_at_once, errors_come_through_await, await_times_out_and_can_be_repeated,
     await_of_unknown_reference, cast_never_blocks, cast_sees_own_definitions, cast_waits_for_a_slot,
     cast_of_a_dead_caller, parallel_keeps_order, parallel_holds_errors_inside, parallel_runs_at_once,
     killed_caster, parallel_of_nothing, parallel_sees_own_definitions, parallel_more_calls_than_slots, parallel_large_values,
     no_messages_left].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

%% Proves that cast gives a reference and await the value that belongs to it.
cast_and_await(_) ->
    Ref = py:cast(math, sqrt, [16]),
    ?assert(is_reference(Ref)),
    ?assertEqual({ok, 4.0}, py:await(Ref)),
    ?assertEqual({ok, 5.0}, py:await(py:cast(<<"math">>, "sqrt", [25]), 30000)).

%% Proves that cast carries keyword arguments.
cast_with_kwargs(_) ->
    ?assertEqual({ok, {[1], #{<<"a">> => 2}}}, py:await(py:cast(probe, arguments, [1], #{a => 2}))).

%% Proves that cast can be sent to a context.
cast_on_context(_) ->
    [One, Two] = [py:context(N) || N <- [1, 2]],
    {ok, Thread1} = py:call(One, probe, thread, []),
    {ok, Thread2} = py:call(Two, probe, thread, []),
    Refs = [py:cast(Ctx, probe, thread, []) || Ctx <- [One, Two, One]],
    ?assertEqual([{ok, Thread1}, {ok, Thread2}, {ok, Thread1}], [py:await(R) || R <- Refs]).

%% Proves that whoever waits for what was cast is told when the process that casts for it was killed, and can cast again.
killed_caster(_) ->
    Ctx = py:context(1),
    Ways = [fun() -> py:await(py:cast(Ctx, time, sleep, [2]), infinity) end,
            fun() -> py_event_loop:run(Ctx, asyncio, sleep, [2]) end,
            fun() -> py_context:submit_await(Ctx, asyncio, sleep, [2], #{}, infinity) end,
            fun() -> py:async_await(py:async_call(Ctx, asyncio, sleep, [2]), infinity) end,
            fun() -> {error, {gather_failed, [{1, Why}, {2, {context_died, {caster_died, _}}}]}} =
                         py:async_gather([{asyncio, sleep, [2]}, {asyncio, sleep, [2]}], infinity),
                     {error, Why}
            end],
    [begin
         Job = {Pid, _} = py_test:async(fun() -> {Way(), py:await(py:cast(math, sqrt, [4]), infinity)} end),
         py_test:eventually(fun() -> is_pid(caster(Pid)) andalso process_info(Pid, status) =:= {status, waiting} end),
         true = exit(caster(Pid), kill),
         ?assertEqual({{error, {context_died, {caster_died, killed}}}, {ok, 2.0}}, py_test:join(Job))
     end || Way <- Ways].

caster(Pid) ->
    {dictionary, Dictionary} = process_info(Pid, dictionary),
    proplists:get_value('$py_caster', Dictionary).

%% Proves that the reply of spawn_call is the documented message, and that of cast too.
spawn_call_sends_message(_) ->
    Spawned = py:spawn_call(math, sqrt, [16]),
    receive {py_response, Spawned, First} -> ?assertEqual({ok, 4.0}, First) end,
    Cast = py:cast(math, sqrt, [25]),
    receive {py_response, Cast, Second} -> ?assertEqual({ok, 5.0}, Second) end.

%% Proves that spawn_call/4 takes keyword arguments and spawn_call/5 a timeout, which ends the call.
spawn_call_with_kwargs_and_timeout(_) ->
    ?assertEqual({ok, {[1], #{<<"a">> => 2}}}, py:await(py:spawn_call(probe, arguments, [1], #{a => 2}))),
    ?assertEqual({ok, {[1], #{<<"a">> => 2}}}, py:await(py:spawn_call(probe, arguments, [1], #{a => 2}, 30000))),
    ?assertEqual({error, timeout}, py:await(py:spawn_call(probe, spin, [], #{}, 50))).

%% Proves that results can be awaited in an order different from that of the calls.
await_in_any_order(_) ->
    Refs = [{N, py:cast(probe, echo, [N])} || N <- lists:seq(1, 50)],
    _ = [?assertEqual({ok, N}, py:await(Ref)) || {N, Ref} <- lists:reverse(Refs)],
    ok.

%% Proves that a thousand calls in flight from one process all come back, each to its reference.
many_at_once(_) ->
    Refs = [{N, py:cast(probe, echo, [{token, N}])} || N <- lists:seq(1, 1000)],
    _ = [?assertEqual({ok, {<<"token">>, N}}, py:await(Ref)) || {N, Ref} <- Refs],
    ok.

%% Proves that await gives Python's errors.
errors_come_through_await(_) ->
    ?assertEqual({error, {'ValueError', <<"no">>}}, py:await(py:cast(probe, raise_builtin, ['ValueError', <<"no">>]))),
    ?assertMatch({error, {'ModuleNotFoundError', _}}, py:await(py:cast(no_such_module_here, f, []))),
    ?assertMatch({error, {not_encodable, _}}, py:await(py:cast(probe, echo, [#{[] => 1}]))).

%% Proves that await gives up after its timeout while the call goes on, and that a later await gets the value.
await_times_out_and_can_be_repeated(_) ->
    Ref = py:cast(probe, wait_gate, [<<"await">>]),
    ?assertEqual({error, timeout}, py:await(Ref, 50)),
    ?assertEqual({error, timeout}, py:await(Ref, 0)),
    {ok, _} = py:call(free_context(), probe, open_gate, [<<"await">>]),
    ?assertEqual({ok, <<"open">>}, py:await(Ref)).

%% Both contexts of the default pool are threads of one interpreter, so either opens the gate; the one that is not
%% waiting in it does so at once.
free_context() ->
    Parent = self(),
    _ = [spawn(fun() -> _ = py:call(Ctx, probe, echo, [1]), Parent ! {free, Ctx} end)
         || Ctx <- [py:context(1), py:context(2)]],
    receive {free, Ctx} -> Ctx end.

%% Proves that awaiting what was never cast is a timeout.
await_of_unknown_reference(_) ->
    ?assertEqual({error, timeout}, py:await(make_ref(), 10)).

%% Proves that cast returns although every context is busy and every slot is taken.
cast_never_blocks(_) ->
    with_max_concurrent(1, fun() ->
        Blocker = py:cast(probe, wait_gate, [<<"block">>]),
        py_test:eventually(fun() -> py_semaphore:current() =:= 1 end),
        Refs = [py:cast(probe, echo, [N]) || N <- lists:seq(1, 20)],
        ?assertEqual({error, timeout}, py:await(hd(Refs), 20)),
        %% The casts wait in the context of the blocker, so the call that opens the gate needs a slot beside theirs.
        ok = py_semaphore:set_max_concurrent(100),
        {ok, _} = py:call(free_context(), probe, open_gate, [<<"block">>]),
        ?assertEqual({ok, <<"open">>}, py:await(Blocker)),
        ?assertEqual([{ok, N} || N <- lists:seq(1, 20)], [py:await(R) || R <- Refs])
    end).

%% Proves that functions defined by the process with exec are found by its casts.
cast_sees_own_definitions(_) ->
    ok = py:exec(<<"def triple(n):\n    return 3 * n\n">>),
    Refs = [py:cast('__main__', triple, [N]) || N <- lists:seq(1, 20)],
    ?assertEqual([{ok, 3 * N} || N <- lists:seq(1, 20)], [py:await(R) || R <- Refs]).

%% Proves that casts beyond the limit wait for a slot instead of failing.
cast_waits_for_a_slot(_) ->
    with_max_concurrent(2, fun() ->
        Refs = [py:cast(probe, tagged_sleep, [N, 0.01]) || N <- lists:seq(1, 30)],
        ?assertEqual([{ok, N} || N <- lists:seq(1, 30)], [py:await(R) || R <- Refs])
    end).

%% Proves that casts of a process that is gone give their slots back.
cast_of_a_dead_caller(_) ->
    py_test:in_process(fun() -> [py:cast(probe, tagged_sleep, [N, 0.01]) || N <- lists:seq(1, 20)] end),
    py_test:no_slots_taken(),
    ?assertEqual({ok, 1}, py:call(probe, echo, [1])).

%% Proves that results of parallel are in the order of the calls, whatever order they ended in.
parallel_keeps_order(_) ->
    Calls = [{probe, tagged_sleep, [N, (20 - N) / 1000]} || N <- lists:seq(1, 20)],
    ?assertEqual({ok, [{ok, N} || N <- lists:seq(1, 20)]}, py:parallel(Calls)).

%% Proves that an error of one call stays in its place and does not hurt the others.
parallel_holds_errors_inside(_) ->
    ?assertEqual({ok, [{ok, 4.0}, {error, {'ValueError', <<"no">>}}, {ok, 5.0}]},
                 py:parallel([{math, sqrt, [16]}, {probe, raise_builtin, ['ValueError', <<"no">>]},
                              {<<"math">>, "sqrt", [25]}])),
    {ok, [{error, {not_encodable, _}}, {ok, 1}]} = py:parallel([{probe, echo, [#{[] => 1}]}, {probe, echo, [1]}]),
    ok.

%% Proves that the calls of one parallel run at once: two of them wait for each other.
parallel_runs_at_once(_) ->
    Name = atom_to_binary(py_test:unique(meeting)),
    ?assertEqual({ok, [{ok, <<"met">>}, {ok, <<"met">>}]},
                 py:parallel([{probe, meet, [Name, 2]}, {probe, meet, [Name, 2]}])).

%% Proves that parallel of an empty list is an empty list.
parallel_of_nothing(_) ->
    ?assertEqual({ok, []}, py:parallel([])).

%% Proves that functions defined by the caller with exec are found by parallel.
parallel_sees_own_definitions(_) ->
    py_test:in_process(fun() ->
        ok = py:exec(<<"def square(n):\n    return n * n\n">>),
        ?assertEqual({ok, [{ok, N * N} || N <- lists:seq(1, 10)]},
                     py:parallel([{'__main__', square, [N]} || N <- lists:seq(1, 10)]))
    end).

%% Proves that parallel may be given more calls than the limit allows at once.
parallel_more_calls_than_slots(_) ->
    with_max_concurrent(1, fun() ->
        ?assertEqual({ok, [{ok, N} || N <- lists:seq(1, 200)]},
                     py:parallel([{probe, echo, [N]} || N <- lists:seq(1, 200)]))
    end).

%% Proves that large results of parallel calls are not mixed up.
parallel_large_values(_) ->
    {ok, Results} = py:parallel([{probe, answer, [N, 1500000]} || N <- lists:seq(1, 10)]),
    _ = [begin
             {ok, {N, Text}} = Result,
             ?assertEqual(1500000, byte_size(Text)),
             Unit = <<(integer_to_binary(N))/binary, ".">>,
             ?assertEqual(Unit, binary:part(Text, 0, byte_size(Unit)))
         end || {N, Result} <- lists:zip(lists:seq(1, 10), Results)],
    ok.

%% Proves that parallel and awaited casts leave nothing in the mailbox.
no_messages_left(_) ->
    py_test:in_process(fun() ->
        {ok, _} = py:parallel([{probe, echo, [N]} || N <- lists:seq(1, 50)]),
        _ = [{ok, _} = py:await(py:cast(probe, echo, [N])) || N <- lists:seq(1, 50)],
        {error, timeout} = py:await(py:spawn_call(probe, spin, [], #{}, 50)),
        ?assertEqual({message_queue_len, 0}, process_info(self(), message_queue_len))
    end).

with_max_concurrent(Max, Fun) ->
    Before = py_semaphore:max_concurrent(),
    ok = py_semaphore:set_max_concurrent(Max),
    try Fun() after py_semaphore:set_max_concurrent(Before) end.
