%% Streams: py:stream, py:stream_eval, py:stream_fold, py:stream_start. What ends them before their end: stream_end_SUITE.
-module(stream_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-import(stream_test, [received/1, settled/1, no_message/0, eventually_state/2, state/1]).

suite() -> [{timetrap, {minutes, 1}}].

all() -> [{group, worker}, {group, owngil}].

groups() ->
    Cases = [collect, collect_async, collect_what_can_be_iterated, collect_what_a_coroutine_returns, collect_eval, keyword_arguments,
             definitions_of_exec, empty, what_cannot_be_iterated, errors_in_the_middle,
             values_that_cannot_be_encoded, many_items, large_items, timeouts, messages, messages_of_async,
             errors_come_after_the_items, another_owner, where_it_runs, pulled, pulled_errors, pulled_with_a_timeout,
             folded, fold_of_an_endless_one, nobody_reads, nobody_reads_async, nobody_reads_large_items,
             nobody_reads_items_that_grow, a_slow_reader, a_reader_with_other_messages, items_come_one_by_one,
             items_of_a_slow_synchronous_one, streams_and_calls_interleave, many_streams, slots_are_given_back,
             self_is_the_caller, calls_to_erlang, streams_in_callbacks, bad_arguments, nothing_is_left],
    py_test_modes:groups(Cases).

init_per_group(Mode, Config) -> py_test_modes:start_group(Mode, Config).
end_per_group(_Group, _Config) -> py_test:stop().

%% Proves that all items of a generator come in their order, from a context and a pool too.
collect(_) ->
    ?assertEqual({ok, [1, 2, 3]}, py:stream(streams, count, [1, 4])),
    ?assertEqual({ok, [1, 2, 3]}, py:stream(<<"streams">>, "count", [1, 4])),
    ?assertEqual({ok, [1, 2, 3]}, py:stream(py:context(1), streams, count, [1, 4])),
    ?assertEqual({ok, [1, 2, 3]}, py:stream(default, streams, count, [1, 4])),
    ?assertEqual({ok, [1, 2, 3]}, py:stream(streams, count, [1, 4], #{}, infinity)).

%% Proves that asynchronous generators and iterators are streamed in the same way.
collect_async(_) ->
    ?assertEqual({ok, [1, 2, 3]}, py:stream(streams, async_count, [1, 4])),
    ?assertEqual({ok, [1, 2, 3]}, py:stream(streams, async_count, [1, 4, 0.01])),
    ?assertEqual({ok, [0, 1, 2]}, py:stream(streams, 'Range', [3])).

%% Proves that everything that Python can iterate is streamed.
collect_what_can_be_iterated(_) ->
    ?assertEqual({ok, [1, 2]}, py:stream(builtins, list, [[1, 2]])),
    ?assertEqual({ok, [1, 2]}, py:stream(builtins, iter, [[1, 2]])),
    ?assertEqual({ok, [0, 1, 2]}, py:stream(builtins, range, [3])),
    ?assertEqual({ok, [<<"ab">>]}, py:stream(builtins, dict, [], #{ab => 1})),
    ?assertEqual({ok, [{<<"a">>, 1}]}, py:stream_eval(<<"{'a': 1}.items()">>)),
    ?assertEqual({ok, [<<"x">>, <<"y">>]}, py:stream(builtins, str, [<<"xy">>])),
    ?assertEqual({ok, [0, 10, 20]}, py:stream(streams, 'Old', [])).

%% Proves that of a coroutine that is no generator what it returns is streamed, when it has returned.
collect_what_a_coroutine_returns(_) ->
    ?assertEqual({ok, [1, 2, 3]}, py:stream(streams, opened, [count, 1, 4])),
    ?assertEqual({ok, [1, 2, 3]}, py:stream(streams, opened, [count, 1, 4], #{pause => 0})),
    ?assertEqual({ok, [1, 2, 3]}, py:stream(streams, opened, [async_count, 1, 4, 0.001])),
    ?assertEqual({ok, [0, 1, 2]}, py:stream(streams, opened, ['Range', 3])),
    ?assertEqual({ok, [1, 2]}, py:stream(streams, opened, [list, [1, 2]])),
    ?assertEqual({ok, [0, 1, 2]}, py:stream(streams, opened, [opened, range, 3])),
    {ok, Ref} = py:stream_start(streams, opened, [count, 1, 4]),
    ?assertEqual({[1, 2, 3], done}, received(Ref)),
    ?assertEqual({ok, 6}, py:stream_fold(fun erlang:'+'/2, 0, {streams, opened, [async_count, 1, 4]})),
    ok = py:exec(<<"base = 10\nasync def opens():\n    return (base + i for i in range(2))\n">>),
    ?assertEqual({ok, [10, 11]}, py:stream_eval(<<"opens()">>)),
    ?assertEqual({ok, [10, 11]}, py:stream('__main__', opens, [])),
    ?assertMatch({error, {'TypeError', _}}, py:stream(streams, opened, [abs, 1])),
    ?assertEqual({error, {'ValueError', <<"no">>}}, py:stream(streams, opened, [fail_after, 3, 'ValueError', <<"no">>])),
    ?assertMatch({error, {'AttributeError', _}}, py:stream(streams, opened, [no_such_function])),
    ?assertEqual({error, timeout}, py:stream(streams, opens_never, [opens_too_late], #{}, 100)),
    ok = eventually_state(opens_too_late, <<"closed">>),
    {ok, Cancelled} = py:stream_start(streams, opens_never, [opens_cancelled]),
    ok = eventually_state(opens_cancelled, <<"waits">>),
    ok = py:stream_cancel(Cancelled),
    ?assertEqual({[], {error, cancelled}}, received(Cancelled)),
    ok = eventually_state(opens_cancelled, <<"closed">>).

%% Proves that an expression is streamed, with local variables and with what the process has defined.
collect_eval(_) ->
    ?assertEqual({ok, [0, 1, 4]}, py:stream_eval(<<"(x ** 2 for x in range(3))">>)),
    ?assertEqual({ok, [0, 2, 4]}, py:stream_eval("(x * factor for x in range(3))", #{factor => 2})),
    ok = py:exec(<<"base = 10\nasync def ups():\n    yield base\n    yield base + 1\n">>),
    ?assertEqual({ok, [10, 11]}, py:stream_eval(<<"ups()">>)),
    ?assertMatch({error, {'SyntaxError', _}}, py:stream_eval(<<"(x for">>)).

%% Proves that every way to start a stream takes keyword arguments.
keyword_arguments(_) ->
    Expected = [[1], #{<<"a">> => 2}],
    Kwargs = #{a => 2},
    ?assertEqual({ok, Expected}, py:stream(streams, arguments, [1], Kwargs)),
    ?assertEqual({ok, Expected}, py:stream(streams, arguments, [1], Kwargs, 30000)),
    ?assertEqual({ok, Expected}, py:stream(default, streams, arguments, [1], Kwargs)),
    ?assertEqual({ok, Expected}, py:stream(py:context(1), streams, arguments, [1], #{kwargs => Kwargs})),
    {ok, Ref} = py:stream_start(streams, arguments, [1], #{kwargs => Kwargs}),
    ?assertEqual({Expected, done}, received(Ref)),
    ?assertEqual({ok, lists:reverse(Expected)}, py:stream_fold(fun append/2, [], {streams, arguments, [1], Kwargs})).

%% Proves that functions that a process has defined are streamed, each process its own.
definitions_of_exec(_) ->
    Jobs = [py_test:async(fun() ->
        ok = py:exec(["def ups():\n    for i in range(3):\n        yield i + ", integer_to_binary(N), "\n",
                      "async def async_ups():\n    for i in ups():\n        yield i\n"]),
        Expected = [N, N + 1, N + 2],
        ?assertEqual({ok, Expected}, py:stream('__main__', ups, [])),
        ?assertEqual({ok, Expected}, py:stream('__main__', async_ups, [])),
        ?assertEqual({ok, Expected}, py:stream_eval(<<"ups()">>)),
        ?assertEqual({ok, lists:sum(Expected)}, py:stream_fold(fun erlang:'+'/2, 0, {'__main__', ups, []})),
        {ok, Ref} = py:stream_start('__main__', async_ups, []),
        ?assertEqual({Expected, done}, received(Ref))
    end) || N <- lists:seq(1, 10)],
    lists:foreach(fun py_test:join/1, Jobs).

%% Proves that a stream may have no items.
empty(_) ->
    ?assertEqual({ok, []}, py:stream(streams, count, [1, 1])),
    ?assertEqual({ok, []}, py:stream(streams, async_count, [1, 1])),
    ?assertEqual({ok, []}, py:stream(builtins, list, [])),
    ?assertEqual({ok, acc}, py:stream_fold(fun(_, Acc) -> Acc end, acc, {streams, count, [1, 1]})),
    {ok, Ref} = py:stream_start(streams, count, [1, 1]),
    ?assertEqual({[], done}, received(Ref)).

%% Proves that it is Python's error when the value cannot be iterated, or there is none.
what_cannot_be_iterated(_) ->
    ?assertMatch({error, {'TypeError', _}}, py:stream(math, sqrt, [4])),
    ?assertMatch({error, {'TypeError', _}}, py:stream(streams, count, [])),
    ?assertMatch({error, {'ModuleNotFoundError', _}}, py:stream(no_such_module_here, f, [])),
    ?assertMatch({error, {'ValueError', _}}, py:stream(math, sqrt, [-1])),
    {ok, Ref} = py:stream_start(math, sqrt, [4]),
    ?assertMatch({[], {error, {'TypeError', _}}}, received(Ref)),
    ?assertMatch({error, {'TypeError', _}}, py:stream_fold(fun append/2, [], {math, sqrt, [4]})).

%% Proves that an exception in the middle is the stream's result, in the one shape.
errors_in_the_middle(_) ->
    Error = {error, {'ValueError', <<"no">>}},
    _ = [begin
        ?assertEqual(Error, py:stream(streams, F, [N, 'ValueError', <<"no">>])),
        ?assertEqual(Error, py:stream_fold(fun append/2, [], {streams, F, [N, 'ValueError', <<"no">>]}))
    end || F <- [fail_after, async_fail_after], N <- [0, 3, 3000]],
    {error, {'ValueError', <<"no">>, Traceback}} =
        py:stream(py:context(1), streams, fail_after, [3, 'ValueError', <<"no">>], #{traceback => true}),
    ?assertMatch({_, _}, binary:match(Traceback, <<"fail_after">>)).

%% Proves that an item that cannot be encoded ends a strict stream after the items before it.
values_that_cannot_be_encoded(_) ->
    ?assertMatch({error, {not_encodable, _}}, py:stream(py:context(1), streams, unprintable_after, [3], #{strict => true})),
    ?assertMatch({ok, [0, 1, 2, _]}, py:stream(streams, unprintable_after, [3])),
    {ok, Ref} = py:stream_start(streams, unprintable_after, [3], #{strict => true}),
    ?assertMatch({[0, 1, 2], {error, {not_encodable, _}}}, received(Ref)).

%% Proves that a million items come complete and in order.
many_items(_) ->
    Count = 1000000,
    ?assertEqual({ok, lists:seq(0, Count - 1)}, py:stream(builtins, range, [Count])),
    {ok, Ref} = py:stream_start(streams, async_count, [0, 20000]),
    ?assertEqual({lists:seq(0, 19999), done}, received(Ref)).

%% Proves that items larger than a frame come whole, however they are read.
large_items(_) ->
    Size = 3 * 1024 * 1024,
    Expected = [binary:copy(<<N>>, Size) || N <- lists:seq(0, 4)],
    ?assertEqual({ok, Expected}, py:stream(streams, large, [5, Size])),
    {ok, Ref} = py:stream_start(streams, large, [5, Size]),
    ?assertEqual({Expected, done}, received(Ref)),
    ?assertEqual({ok, lists:reverse(Expected)}, py:stream_fold(fun append/2, [], {streams, large, [5, Size]})),
    ?assertMatch({error, {too_large, _, _}}, py:stream(streams, large, [1, 70 * 1024 * 1024])).

%% Proves that a timeout ends a stream, and its generator, whether it computes, sleeps, or waits to be read.
timeouts(_) ->
    ?assertEqual({error, timeout}, py:stream(streams, endless, [timeout_endless], #{}, 100)),
    ok = eventually_state(timeout_endless, <<"closed">>),
    ?assertEqual({error, timeout}, py:stream(streams, waits_for_ever, [timeout_waits], #{}, 100)),
    ok = eventually_state(timeout_waits, <<"closed">>),
    {ok, Ref} = py:stream_start(streams, waits_for_ever, [timeout_started], #{timeout => 100}),
    ?assertEqual({[<<"first">>], {error, timeout}}, received(Ref)),
    ok = eventually_state(timeout_started, <<"closed">>),
    {ok, Unread} = py:stream_start(streams, endless, [timeout_unread], #{timeout => 300}),
    ok = eventually_state(timeout_unread, <<"closed">>),
    ?assertMatch({[0 | _], {error, timeout}}, received(Unread)).

%% Proves that a stream comes as the documented messages.
messages(_) ->
    {ok, Ref} = py:stream_start(streams, count, [1, 3]),
    receive {py_stream, Ref, First} -> ?assertEqual({data, 1}, First) end,
    receive {py_stream, Ref, Second} -> ?assertEqual({data, 2}, Second) end,
    receive {py_stream, Ref, End} -> ?assertEqual(done, End) end.

%% Proves the same for asynchronous generators, and for as many items that credit has to be given.
messages_of_async(_) ->
    {ok, Ref} = py:stream_start(streams, async_count, [0, 5000]),
    ?assertEqual({lists:seq(0, 4999), done}, received(Ref)).

%% Proves that the items before an error are not lost.
errors_come_after_the_items(_) ->
    _ = [begin
        {ok, Ref} = py:stream_start(streams, F, [N, 'ValueError', <<"no">>]),
        ?assertEqual({lists:seq(0, N - 1), {error, {'ValueError', <<"no">>}}}, received(Ref))
    end || F <- [fail_after, async_fail_after], N <- [0, 3, 3000]].

%% Proves that another process than the caller can get the messages.
another_owner(_) ->
    Self = self(),
    Owner = spawn_link(fun() -> receive {read, Ref} -> Self ! {self(), received(Ref)} end end),
    {ok, Ref} = py:stream_start(streams, count, [0, 1000], #{owner => Owner}),
    Owner ! {read, Ref},
    receive {Owner, Received} -> ?assertEqual({lists:seq(0, 999), done}, Received) end,
    receive {py_stream, Ref, Event} -> ?assertEqual(none, Event) after 0 -> ok end.

%% Proves that a stream goes to the context or the pool that is asked for.
where_it_runs(_) ->
    [One, Two] = [py:context(N) || N <- [1, 2]],
    Place = fun(Options) ->
        {ok, Ref} = py:stream_start(probe, place, [], Options),
        {[Os, Thread], done} = received(Ref),
        {ok, {Os, Thread}}
    end,
    ?assertEqual(py:call(One, probe, place, []), Place(#{context => One})),
    ?assertEqual(py:call(Two, probe, place, []), Place(#{context => Two})),
    ?assertEqual({ok, py_test:os_pid(io)}, begin {ok, {Os, _}} = Place(#{pool => io}), {ok, Os} end),
    {ok, Nowhere} = py:stream_start(streams, count, [0, 1], #{pool => nowhere}),
    ?assertEqual({[], {error, {no_such_pool, nowhere}}}, received(Nowhere)),
    ?assertEqual({error, {no_such_pool, nowhere}}, py:stream(nowhere, streams, count, [0, 1])).

%% Proves that items are pulled one by one, to the end.
pulled(_) ->
    _ = [begin
        {ok, Ref} = py:stream_start(streams, F, [0, 3000]),
        _ = [?assertEqual({ok, N}, py:stream_next(Ref, 30000)) || N <- lists:seq(0, 2999)],
        ?assertEqual(done, py:stream_next(Ref, 30000)),
        ?assertEqual({error, timeout}, py:stream_next(Ref, 0))
    end || F <- [count, async_count]].

%% Proves that the error of a stream is pulled after its items.
pulled_errors(_) ->
    {ok, Ref} = py:stream_start(streams, fail_after, [1, 'ValueError', <<"no">>]),
    ?assertEqual({ok, 0}, py:stream_next(Ref, infinity)),
    ?assertEqual({error, {'ValueError', <<"no">>}}, py:stream_next(Ref, infinity)).

%% Proves that an item that does not come in time can be waited for again.
pulled_with_a_timeout(_) ->
    {ok, Ref} = py:stream_start(streams, gated, [<<"pulled">>, 1], #{context => py:context(1)}),
    ?assertEqual({error, timeout}, py:stream_next(Ref, 20)),
    ok = let_through(<<"pulled">>),
    ?assertEqual({ok, 0}, py:stream_next(Ref, 30000)),
    ?assertEqual(done, py:stream_next(Ref, 30000)).

%% Proves that a stream is folded in its order, in the calling process.
folded(_) ->
    Self = self(),
    _ = [begin
        Fun = fun(Item, Acc) -> ?assertEqual(Self, self()), [Item | Acc] end,
        ?assertEqual({ok, lists:seq(2999, 0, -1)}, py:stream_fold(Fun, [], {streams, F, [0, 3000]}))
    end || F <- [count, async_count]].

%% Proves that the generator is never far ahead of the fun.
fold_of_an_endless_one(_) ->
    Fun = fun(Item, _) when Item < 3000 -> Item;
             (_, _) -> receive after 200 -> throw(state(fold_endless_at)) end
    end,
    {ok, At} = try py:stream_fold(Fun, 0, {streams, endless, [fold_endless]}) catch throw:State -> State end,
    ?assert(At =< 3000 + 3000),
    ok = eventually_state(fold_endless, <<"closed">>).

%% Proves that a generator that never ends waits for an owner that never reads, with few items on their way.
nobody_reads(_) -> unread(endless).
nobody_reads_async(_) -> unread(async_endless).

unread(Function) ->
    Key = py_test:unique(Function),
    At = list_to_atom(atom_to_list(Key) ++ "_at"),
    {ok, Ref} = py:stream_start(streams, Function, [Key]),
    {ok, Reached} = settled(fun() -> state(At) end),
    ?assert(Reached =< 3000),
    {message_queue_len, Unread} = process_info(self(), message_queue_len),
    ?assert(Unread =< 200),
    ok = py:stream_cancel(Ref),
    {Items, {error, cancelled}} = received(Ref),
    ?assertEqual(lists:seq(0, length(Items) - 1), Items),
    ok = eventually_state(Key, <<"closed">>).

%% Proves that memory is bounded on both sides also when the items are large.
nobody_reads_large_items(_) ->
    Mebibyte = 1024 * 1024,
    Before = erlang:memory(binary),
    {ok, Ref} = py:stream_start(streams, endless_large, [3 * Mebibyte]),
    {ok, _} = settled(fun() -> {ok, erlang:memory(binary)} end),
    ?assert(erlang:memory(binary) - Before < 64 * Mebibyte),
    {message_queue_len, Unread} = process_info(self(), message_queue_len),
    ?assertEqual(1, Unread),
    ok = py:stream_cancel(Ref),
    ?assertMatch({[_], {error, cancelled}}, received(Ref)).

%% Proves the same when they are small at first.
nobody_reads_items_that_grow(_) ->
    Count = 100000,
    {ok, Ref} = py:stream_start(streams, growing, [Count]),
    _ = [{ok, _} = py:stream_next(Ref, 30000) || _ <- lists:seq(1, Count div 2)],
    {message_queue_len, Unread} = settled(fun() -> process_info(self(), message_queue_len) end),
    ?assert(Unread =< 200),
    ok = py:stream_cancel(Ref),
    ?assertMatch({_, {error, cancelled}}, received(Ref)).

%% Proves that a reader that falls behind gets everything all the same.
a_slow_reader(_) ->
    {ok, Ref} = py:stream_start(streams, count, [0, 3000]),
    Read = fun(N) ->
        N rem 500 =:= 0 andalso timer:sleep(50),
        receive {py_stream, Ref, {data, Item}} -> Item end
    end,
    ?assertEqual(lists:seq(0, 2999), [Read(N) || N <- lists:seq(0, 2999)]),
    ?assertEqual({[], done}, received(Ref)).

%% Proves that messages of others that a reader leaves where they are do not hold up a stream.
a_reader_with_other_messages(_) ->
    py_test:in_process(fun() ->
        _ = [self() ! {other, N} || N <- lists:seq(1, 1000)],
        {ok, Ref} = py:stream_start(streams, count, [0, 5000]),
        ?assertEqual({lists:seq(0, 4999), done}, received(Ref))
    end).

%% Proves that an item is sent on at once when the next one is not there yet.
items_come_one_by_one(_) ->
    {ok, Ref} = py:stream_start(streams, gated, [<<"one">>, 20], #{context => py:context(1)}),
    _ = [begin
        ?assertEqual({error, timeout}, py:stream_next(Ref, 0)),
        ok = let_through(<<"one">>),
        ?assertEqual({ok, N}, py:stream_next(Ref, 30000))
    end || N <- lists:seq(0, 19)],
    ?assertEqual(done, py:stream_next(Ref, 30000)).

%% Proves that the items of a synchronous generator do not wait for those that come later, also when it holds the thread.
items_of_a_slow_synchronous_one(_) ->
    {ok, Ref} = py:stream_start(streams, sleeps_for_long, [slow_one]),
    ?assertEqual({ok, <<"first">>}, py:stream_next(Ref, 30000)),
    ok = py:stream_cancel(Ref),
    ?assertEqual({[], {error, cancelled}}, received(Ref)),
    {ok, Steps} = py:stream_start(streams, step_by_step, [10, 0.005]),
    ?assertEqual({lists:seq(0, 9), done}, received(Steps)).

%% Proves that two streams and calls go on in one context at the same time.
streams_and_calls_interleave(_) ->
    Ctx = py:context(1),
    {ok, One} = py:stream_start(streams, endless, [], #{context => Ctx}),
    {ok, Two} = py:stream_start(streams, async_endless, [interleave], #{context => Ctx}),
    _ = [begin
        ?assertEqual({ok, N}, py:stream_next(One, 30000)),
        ?assertEqual({ok, N}, py:stream_next(Two, 30000)),
        ?assertEqual({ok, 4.0}, py:call(Ctx, math, sqrt, [16]))
    end || N <- lists:seq(0, 2999)],
    _ = [ok = py:stream_cancel(Ref) || Ref <- [One, Two]],
    _ = [?assertMatch({_, {error, cancelled}}, received(Ref)) || Ref <- [One, Two]],
    ok.

%% Proves that many streams in one context each get their own items.
many_streams(_) ->
    Ctx = py:context(1),
    Refs = [{N, element(2, py:stream_start(streams, F, [N, N + 500], #{context => Ctx}))}
            || N <- lists:seq(1, 15), F <- [count, async_count]],
    _ = [?assertEqual({lists:seq(N, N + 499), done}, received(Ref)) || {N, Ref} <- Refs],
    Jobs = [py_test:async(fun() -> {N, py:stream(streams, count, [N, N + 5000])} end) || N <- lists:seq(1, 50)],
    _ = [begin
        {N, Result} = py_test:join(Job),
        ?assertEqual({ok, lists:seq(N, N + 4999)}, Result)
    end || Job <- Jobs],
    ok.

%% Proves that streams that wait hold no slot.
slots_are_given_back(_) ->
    Before = py_semaphore:max_concurrent(),
    ok = py_semaphore:set_max_concurrent(2),
    Refs = [element(2, py:stream_start(streams, endless, [])) || _ <- lists:seq(1, 20)],
    _ = [?assertEqual({ok, 0}, py:stream_next(Ref, 30000)) || Ref <- Refs],
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ok = py_test:eventually(fun() -> py_semaphore:current() =:= 0 end),
    _ = [ok = py:stream_cancel(Ref) || Ref <- Refs],
    _ = [?assertMatch({_, {error, cancelled}}, received(Ref)) || Ref <- Refs],
    ok = py_semaphore:set_max_concurrent(Before).

%% Proves that erlang.self() is the process that started the stream, also when another one owns it.
self_is_the_caller(_) ->
    Self = self(),
    _ = [begin
        ?assertEqual({ok, [Self, Self]}, py:stream(streams, F, [2])),
        {ok, Ref} = py:stream_start(streams, F, [2]),
        ?assertEqual({[Self, Self], done}, received(Ref))
    end || F <- [who_am_i, async_who_am_i]].

%% Proves that generators call Erlang between their items, and that the context is free to be called from there.
calls_to_erlang(_) ->
    Ctx = py:context(1),
    ok = py:register_function(square, fun([N]) -> N * N end),
    ok = py:register_function(again, fun([N]) -> {ok, V} = py:call(Ctx, probe, echo, [N]), V end),
    ok = py:register_function(nested, fun([N]) -> {ok, L} = py:stream(Ctx, streams, count, [0, N]), length(L) end),
    _ = [begin
        ?assertEqual({ok, [0, 1, 4, 9]}, py:stream(Ctx, streams, F, [square, 4])),
        ?assertEqual({ok, [0, 1, 2, 3]}, py:stream(Ctx, streams, F, [again, 4])),
        ?assertEqual({ok, [0, 1, 2, 3]}, py:stream(Ctx, streams, F, [nested, 4]))
    end || F <- [call, async_call]].

%% Proves that a callback can stream from the context that waits for it: all at once, folded, and as messages, also when
%% the items are more than there is credit for.
streams_in_callbacks(_) ->
    ok = py:register_function(collected, fun([F, N]) -> {ok, L} = py:stream(streams, F, [0, N]), lists:sum(L) end),
    ok = py:register_function(folded, fun([F, N]) ->
        {ok, Sum} = py:stream_fold(fun erlang:'+'/2, 0, {streams, F, [0, N]}),
        Sum
    end),
    ok = py:register_function(started, fun([F, N]) ->
        {ok, Ref} = py:stream_start(streams, F, [0, N]),
        {Items, done} = received(Ref),
        lists:sum(Items)
    end),
    _ = [?assertEqual({ok, 5000 * 4999 div 2}, py:call(erlang, call, [Name, F, 5000]))
         || Name <- [collected, folded, started], F <- [count, async_count]],
    ok.

%% Proves that what cannot be meant raises an error that names the argument.
bad_arguments(_) ->
    ?assertError({bad_argument, args, a}, py:stream(streams, count, a)),
    ?assertError({bad_argument, code, 5}, py:stream_eval(5)),
    ?assertError({bad_argument, function, a}, py:stream_fold(a, [], {streams, count, [0, 1]})),
    ?assertError({bad_argument, call, a}, py:stream_fold(fun append/2, [], a)),
    ?assertError({bad_argument, options, a}, py:stream_start(streams, count, [0, 1], a)),
    ?assertError({bad_argument, options, {owner, a}}, py:stream_start(streams, count, [0, 1], #{owner => a})),
    ?assertError({bad_argument, options, {context, a}}, py:stream_start(streams, count, [0, 1], #{context => a})),
    ?assertError({bad_argument, options, {more, a}}, py:stream_start(streams, count, [0, 1], #{more => a})),
    ?assertError({bad_argument, reference, a}, py:stream_next(a, 0)),
    ?assertError({bad_argument, timeout, a}, py:stream_next(make_ref(), a)),
    ?assertError({bad_argument, reference, a}, py:stream_cancel(a)).

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

let_through(Name) ->
    py_test:eventually(fun() -> py:call(py:context(1), streams, let_through, [Name]) =:= {ok, true} end).
