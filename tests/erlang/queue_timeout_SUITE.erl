%% The option `queue_timeout': how long a request waits for a slot of its pool's limit, beside how long it may take.
-module(queue_timeout_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").
-include("../../erlang_src/py_route.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [limits, refused, in_all_shapes, the_first_limit_counts, what_gets_its_turn_has_its_whole_timeout, in_a_row, balanced, bad_values].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

%% Proves how the two limits of a request are put together, whichever is given first.
limits(_) ->
    Plain = #caller{chain = 0, who = self(), id = py_pid:self_id()},
    Nested = Plain#caller{chain = 1},
    ?assertEqual([30000, infinity, 5, 5], [py_time_limit:total(Limit, Plain) || Limit <- [default, infinity, 5, {5, 1}]]),
    ?assertEqual([infinity, infinity, 5], [py_time_limit:total(Limit, Nested) || Limit <- [default, {default, 1}, 5]]),
    ?assertEqual([infinity, infinity, 1, 0], [py_time_limit:queue(Limit) || Limit <- [default, 5, {5, 1}, {default, 0}]]),
    ?assertEqual({5, 1}, py_time_limit:with_total(5, py_time_limit:with_queue(1, default))),
    ?assertEqual({5, 1}, py_time_limit:with_queue(1, py_time_limit:with_total(5, default))),
    ?assertEqual([infinity, {infinity, 1}, 5, {5, 1}],
                 [py_time_limit:unless_given(infinity, Limit) || Limit <- [default, {default, 1}, 5, {5, 1}]]),
    ?assertEqual([7, {7, 1}, 5, {5, 1}, 7],
                 [py_time_limit:at_most(7, Limit) || Limit <- [default, {infinity, 1}, 5, {5, 1}, infinity]]).

%% Proves that a call that finds no slot in this time is refused, is never run, and leaves nothing in the queue.
refused(_) ->
    with_full_pool(fun(Pool, Ctx) ->
        Directory = list_to_binary(py_test:temp_file("once")),
        Call = fun(QueueMs) -> py:call(Ctx, os, mkdir, [Directory], #{timeout => infinity, queue_timeout => QueueMs}) end,
        ?assertEqual([{error, {overloaded, 1, 1}} || _ <- [0, 1, 50]], [Call(Ms) || Ms <- [0, 1, 50]]),
        py_test:eventually(fun() -> py_waiters:count(py_limits:limit(Pool)) =:= 0 end),
        ok = py_semaphore:release(Pool),
        ?assertEqual({ok, none}, Call(0)),
        ok = file:del_dir(Directory),
        ?assertMatch(#{Pool := #{errors := 3}}, py:stats())
    end).

%% Proves the same of everything that asks for something of a pool.
in_all_shapes(_) ->
    with_full_pool(fun(Pool, Ctx) ->
        Options = #{queue_timeout => 10},
        Overloaded = {error, {overloaded, 1, 1}},
        ?assertEqual(Overloaded, py:call(Pool, probe, echo, [1], #{}, Options)),
        ?assertEqual(Overloaded, py:eval(Ctx, "1", #{}, Options)),
        ?assertEqual(Overloaded, py:exec(Ctx, "pass", Options)),
        ?assertEqual(Overloaded, py:await(py:cast(Pool, probe, echo, [1], #{}, Options))),
        ?assertEqual(Overloaded, py:async_await(py:async_call(Pool, asyncio, sleep, [0], #{}, Options))),
        ?assertEqual(Overloaded, py:stream(Pool, builtins, range, [3], #{}, Options)),
        {ok, Ref} = py:stream_start(builtins, range, [3], Options#{pool => Pool}),
        ?assertEqual({py_stream, Ref, Overloaded}, receive Message -> Message after 10000 -> none end),
        ?assertEqual({ok, [{ok, 1}, Overloaded]}, py:parallel([{probe, echo, [1]}, {Pool, probe, echo, [2], #{}, Options}]))
    end).

%% Proves that of both limits the one that is over first counts, and what is said then.
the_first_limit_counts(_) ->
    with_full_pool(fun(_Pool, Ctx) ->
        ?assertEqual({error, {overloaded, 1, 1}}, py:call(Ctx, probe, echo, [1], #{timeout => 20, queue_timeout => 60000})),
        ?assertEqual({error, {overloaded, 1, 1}}, py:await(py:cast(Ctx, probe, echo, [1], #{timeout => 20, queue_timeout => 60000})))
    end),
    py_test:with_pool(1, #{}, fun(Pool) ->
        ?assertEqual({error, timeout}, py:call(Pool, time, sleep, [30], #{}, #{timeout => 50, queue_timeout => 0})),
        ?assertEqual({error, timeout}, py:await(py:cast(Pool, time, sleep, [30], #{}, #{timeout => 50, queue_timeout => 10})))
    end).

%% Proves that the time in the queue is not that of the work.
what_gets_its_turn_has_its_whole_timeout(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        Options = #{timeout => infinity, queue_timeout => 50},
        ?assertEqual({ok, none}, py:call(Pool, time, sleep, [0.3], #{}, Options)),
        ?assertEqual({ok, none}, py:await(py:cast(Pool, time, sleep, [0.3], #{}, Options)))
    end).

%% Proves that casts that stand behind one that waits are refused in their own time, and those that may wait longer are not.
in_a_row(_) ->
    with_full_pool(fun(Pool, Ctx) ->
        [First, Second, Third] = [py:cast(Ctx, probe, echo, [N], #{timeout => infinity, queue_timeout => Ms})
                                  || {N, Ms} <- [{1, infinity}, {2, 30}, {3, 60000}]],
        ?assertEqual({error, {overloaded, 1, 1}}, py:await(Second)),
        ok = py_semaphore:release(Pool),
        ?assertEqual([{ok, 1}, {ok, 3}], [py:await(Ref) || Ref <- [First, Third]])
    end).

%% Proves that calls of py:parallel wait for so long each when it is their turn, not from the beginning.
balanced(_) ->
    py_test:with_pool(1, #{max_concurrent => 1}, fun(Pool) ->
        %% The last one would have waited for 1.5 seconds.
        Calls = [{Pool, time, sleep, [0.5], #{}, #{queue_timeout => 1200}} || _ <- lists:seq(1, 4)],
        ?assertEqual({ok, [{ok, none} || _ <- Calls]}, py:parallel(Calls))
    end).

bad_values(_) ->
    _ = [?assertError({bad_argument, queue_timeout, Bad}, py:call(math, sqrt, [4], #{}, #{queue_timeout => Bad}))
         || Bad <- [-1, 1.5, soon, 16#100000000]].

%% A pool of one context whose only slot is taken until the fun gives it back, or is done.
with_full_pool(Fun) ->
    py_test:with_pool(1, #{max_concurrent => 1}, fun(Pool) ->
        ok = py_semaphore:acquire(Pool, 0),
        Fun(Pool, hd(py_test:contexts(Pool)))
    end).
