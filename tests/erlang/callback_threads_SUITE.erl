%% Any Python thread, and any coroutine, calls Erlang.
-module(callback_threads_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 1}}].

all() -> [{group, worker}, {group, owngil}].

groups() ->
    Threads = [one_thread, fifty_threads, executor, errors_in_threads, nested_calls_of_threads, tree_of_threads,
               threads_of_many_requests, thread_outlives_its_request, thread_has_no_caller, large_values_of_threads],
    Coroutines = [two_thousand_at_once, every_way_to_run_a_loop, loops_in_threads, errors_in_coroutines,
                  cancellation_ends_the_process, timeout_of_a_coroutine, others_run_meanwhile,
                  closed_loop_ends_its_calls, async_call_as_a_function, large_values_of_coroutines,
                  nested_calls_of_coroutines_elsewhere],
    py_test_modes:groups(Threads ++ Coroutines).

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

init_per_group(Mode, Config) -> py_test_modes:init_group(Mode, Config).
end_per_group(_Group, _Config) -> ok.

init_per_testcase(_Case, Config) ->
    {ok, Ctx} = py_context:new(#{mode => proplists:get_value(mode, Config)}),
    {ok, 1} = py:call(Ctx, calling, warm, []),
    ok = py:register_function(same, fun([Value]) -> Value end),
    ok = py:register_function(boom, fun([]) -> error(kaboom) end),
    [{ctx, Ctx} | Config].

end_per_testcase(_Case, Config) ->
    ok = py_context:stop(ctx(Config)),
    py_test_callbacks:clean_up().

%% Threads.

%% Proves that a thread that Python started calls Erlang while the context waits for it.
one_thread(Config) ->
    _ = [?assertEqual({ok, {<<"ok">>, N}}, py:call(ctx(Config), calling, from_thread, [same, N]))
         || N <- lists:seq(1, 100)],
    ok.

%% Proves that fifty threads at once each get an answer.
fifty_threads(Config) ->
    ?assertEqual({ok, lists:duplicate(50, {<<"ok">>, 7})}, py:call(ctx(Config), calling, from_threads, [50, same, 7])).

%% Proves that the threads of an executor get the answers to what they asked, in order.
executor(Config) ->
    Values = lists:seq(1000, 2000),
    ?assertEqual({ok, Values}, py:call(ctx(Config), calling, from_executor, [8, same, Values])).

%% Proves that errors arrive in the thread that called.
errors_in_threads(Config) ->
    ?assertEqual({ok, lists:duplicate(10, {<<"error">>, <<"ErlangError">>, <<"boom: error:kaboom">>})},
                 py:call(ctx(Config), calling, from_threads, [10, boom])),
    {ok, {<<"error">>, <<"UnknownFunction">>, _}} = py:call(ctx(Config), calling, from_thread, [nowhere]).

%% Proves that the callback of a thread may call the context that waits for that thread.
nested_calls_of_threads(Config) ->
    Ctx = ctx(Config),
    ok = py:register_function(back, fun([X]) -> {ok, V} = py:call(Ctx, calling, call, [same, X], #{timeout => 20000}),
        V end),
    ?assertEqual({ok, lists:duplicate(20, {<<"ok">>, 3})}, py:call(Ctx, calling, from_threads, [20, back, 3])),
    ok = py:register_function(many, fun([X]) ->
        Jobs = [py_test:async(fun() -> py:call(Ctx, probe, echo, [{X, I}],
            #{timeout => 20000}) end) || I <- lists:seq(1, 10)],
        lists:usort([element(1, py_test:join(Job)) || Job <- Jobs]) =:= [ok]
    end),
    ?assertEqual({ok, lists:duplicate(5, {<<"ok">>, true})}, py:call(Ctx, calling, from_threads, [5, many, 3])).

%% Proves that each level may wait for a thread of its own.
tree_of_threads(Config) ->
    Ctx = ctx(Config),
    ok = py:register_function(next, fun([N]) ->
        {ok, V} = py:call(Ctx, calling, thread_tree, [next, N], #{timeout => 20000}),
        V
    end),
    ?assertEqual({ok, 10}, py:call(Ctx, calling, thread_tree, [next, 10])).

%% Proves that threads of many requests at once do not get one another's answers.
threads_of_many_requests(Config) ->
    Mode = proplists:get_value(mode, Config),
    py_test:with_pool(2, #{mode => Mode}, fun(Pool) ->
        Jobs = [{N, py_test:async(fun() ->
            [py:call(Pool, calling, from_executor, [4, same, lists:seq(N, N + 20)]) || _ <- lists:seq(1, 5)]
        end)} || N <- lists:seq(1, 20)],
        _ = [?assertEqual(lists:duplicate(5, {ok, lists:seq(N, N + 20)}), py_test:join(Job)) || {N, Job} <- Jobs]
    end).

%% Proves that a thread may go on when the request that started it is over.
thread_outlives_its_request(Config) ->
    Self = self(),
    ok = py:register_function(tell, fun([X]) -> Self ! {told, X}, none end),
    _ = [begin
             {ok, <<"started">>} = py:call(ctx(Config), calling, leave_thread, [tell, N]),
             receive {told, N} -> ok end
         end || N <- lists:seq(1, 50)],
    ok.

%% Proves that the callbacks of threads have nobody as their caller.
thread_has_no_caller(Config) ->
    ok = py:register_function(callers, fun([]) -> get('$callers') end),
    ?assertEqual({ok, {<<"ok">>, []}}, py:call(ctx(Config), calling, from_thread, [callers])).

%% Proves that values in pieces reach the right thread.
large_values_of_threads(Config) ->
    Large = rand:bytes(3 bsl 20),
    ?assert({ok, lists:duplicate(4, {<<"ok">>, Large})} =:= py:call(ctx(Config), calling, from_threads, [4, same,
        Large])).

%% Coroutines.

%% Proves that thousands of calls may wait at once, and each coroutine gets its answer.
two_thousand_at_once(Config) ->
    Values = lists:seq(0, 1999),
    ?assertEqual({ok, Values}, py:call(ctx(Config), calling, gather, [same, 2000])),
    Here = self(),
    ok = py:register_function(meet, fun([N]) -> Here ! {arrived, self()}, receive go -> N end end),
    Job = py_test:async(fun() -> py:call(ctx(Config), calling, gather, [meet, 2000]) end),
    Waiting = [receive {arrived, Pid} -> Pid end || _ <- Values],
    _ = [Pid ! go || Pid <- lists:reverse(Waiting)],
    ?assertEqual({ok, Values}, py_test:join(Job)).

%% Proves that it works with a runner, a loop made by hand, and one loop after another in the same context.
every_way_to_run_a_loop(Config) ->
    _ = [?assertEqual({ok, lists:seq(0, 49)}, py:call(ctx(Config), calling, gather_in_loop, [Kind, same, 50]))
         || Kind <- [runner, loop]],
    ?assertEqual({ok, lists:seq(0, 49) ++ lists:seq(0, 49)},
                 py:call(ctx(Config), calling, gather_in_loop, [two_in_turn, same, 50])).

%% Proves that several threads may each run a loop.
loops_in_threads(Config) ->
    ?assertEqual({ok, lists:duplicate(5, lists:seq(0, 99))}, py:call(ctx(Config), calling, gather_in_threads, [5,
        same, 100])).

%% Proves that errors are raised where the call is awaited, and name the function.
errors_in_coroutines(Config) ->
    ?assertEqual({ok, lists:duplicate(2, {<<"ErlangError">>, <<"boom: error:kaboom">>, <<"boom">>})},
                 py:call(ctx(Config), calling, async_raised, [boom])),
    {ok, [{<<"UnknownFunction">>, _, <<"nowhere">>}, _]} = py:call(ctx(Config), calling, async_raised, [nowhere]),
    ok = py:register_function(deep, fun([]) -> lists:foldl(fun(_, Deep) -> [Deep] end, [], lists:seq(1, 2000)) end),
    {ok, [{<<"ConversionError">>, _, _}, _]} = py:call(ctx(Config), calling, async_raised, [deep]).

%% Proves that a task that is cancelled ends the Erlang process that it waits for.
cancellation_ends_the_process(Config) ->
    Self = self(),
    ok = py:register_function(never, fun([]) -> Self ! {waits, self()}, receive never -> ok end end),
    _ = [begin
             ?assertEqual({ok, <<"cancelled">>}, py:call(ctx(Config), calling, async_cancelled, [never])),
             receive {waits, Pid} -> py_test:eventually(fun() -> not is_process_alive(Pid) end) end
         end || _ <- lists:seq(1, 10)],
    ?assertEqual({ok, [0, 1, 2]}, py:call(ctx(Config), calling, gather, [same, 3])).

%% Proves the same of asyncio.timeout.
timeout_of_a_coroutine(Config) ->
    Self = self(),
    ok = py:register_function(never, fun([]) -> Self ! {waits, self()}, receive never -> ok end end),
    ?assertEqual({ok, <<"timeout">>}, py:call(ctx(Config), calling, async_timeout, [0.05, never])),
    receive {waits, Pid} -> py_test:eventually(fun() -> not is_process_alive(Pid) end) end.

%% Proves that other coroutines run, and may call Erlang, while one waits for it.
others_run_meanwhile(Config) ->
    Self = self(),
    ok = py:register_function(wait, fun([]) -> Self ! {waits, self()}, receive go -> 5 end end),
    ok = py:register_function(beside_go, fun([]) -> Self ! beside, none end),
    Job = py_test:async(fun() -> py:call(ctx(Config), calling, async_beside, [wait]) end),
    receive beside -> ok end,
    receive {waits, Pid} -> Pid ! go end,
    ?assertEqual({ok, {5, true}}, py_test:join(Job)).

%% Proves that the calls which a loop waits for when it is closed end in Erlang there and then, and that nothing is left
%% of the loop: no descriptor, and no object once it is forgotten. A loop that is forgotten without being closed takes
%% its calls along too.
closed_loop_ends_its_calls(Config) ->
    Ctx = ctx(Config),
    Self = self(),
    Begun = counters:new(1, []),
    ok = py:register_function(never, fun([]) ->
        Self ! {waits, self()},
        ok = counters:add(Begun, 1, 1),
        receive never -> ok end
    end),
    ok = py:register_function(all_wait, fun([]) ->
        py_test:eventually(fun() -> counters:get(Begun, 1) =:= 3 end),
        ok = counters:put(Begun, 1, 0)
    end),
    ok = py_context:exec(Ctx, <<"
import asyncio, erlang, gc, os, weakref
def leave(new_loop, close):
    loop = new_loop()
    async def begin():
        tasks = [asyncio.ensure_future(erlang.async_call('never')) for _ in range(3)]
        await erlang.async_call('all_wait')
        for task in tasks: task._log_destroy_pending = False
        loop.tasks = tasks
    loop.run_until_complete(begin())
    if close: loop.close()
    return weakref.ref(loop)
def leave_many(new_loop, close, n):
    before = len(os.listdir('/proc/self/fd'))
    loops = [leave(new_loop, close) for _ in range(n)]
    gc.collect()
    return len(os.listdir('/proc/self/fd')) - before, [loop() for loop in loops if loop() is not None]
kinds = {'asyncio': asyncio.new_event_loop, 'erlang': erlang.new_event_loop}
">>),
    _ = [begin
             %% Kept, so that nothing but closing it can have ended them.
             ok = py_context:exec(Ctx, ["loop = kinds['", Kind, "'](); leave(lambda: loop, True)"]),
             _ = [py_test:eventually(fun() -> not is_process_alive(Pid) end) || Pid <- waiting(3)],
             _ = [begin
                      {ok, {0, []}} = py_context:eval(Ctx, ["leave_many(kinds['", Kind, "'], ", Close, ", 20)"]),
                      _ = [py_test:eventually(fun() -> not is_process_alive(Pid) end) || Pid <- waiting(60)]
                  end || Close <- ["True", "False"]],
             ?assertEqual({ok, [0, 1, 2]}, py:call(Ctx, calling, gather, [same, 3]))
         end || Kind <- ["asyncio", "erlang"]],
    ok.

waiting(N) -> [receive {waits, Pid} -> Pid end || _ <- lists:seq(1, N)].

%% Proves that it refuses keyword arguments and names that are no str as erlang.call does, and that tools can ask for its
%% types.
async_call_as_a_function(Config) ->
    Ctx = ctx(Config),
    ok = py_context:exec(Ctx, <<"
import asyncio, erlang, inspect, typing
def refused(*args, **kwargs):
    try: return asyncio.run(erlang.async_call(*args, **kwargs))
    except TypeError as error: return str(error)
">>),
    ?assertEqual({ok, <<"the Erlang function same takes no keyword arguments, only positional ones">>},
                 py_context:eval(Ctx, <<"refused('same', x=1)">>)),
    ?assertEqual({ok, <<"an Erlang function is named by a str, not by int">>}, py_context:eval(Ctx, <<"refused(14)">>)),
    ?assertEqual({ok, true}, py_context:eval(Ctx, <<"'return' in typing.get_type_hints(erlang.async_call)">>)),
    ?assertEqual({ok, true}, py_context:eval(Ctx, <<"inspect.iscoroutinefunction(erlang.async_call)">>)),
    ?assertEqual({ok, [true, true, false, 1]},
                 py_context:eval(Ctx, <<"[erlang.same == erlang.same, erlang.same != erlang.boom, "
                                        "erlang.same == 'same', len({erlang.same, erlang.same})]">>)).

%% Proves that values in pieces come through an inbox too.
large_values_of_coroutines(Config) ->
    Large = rand:bytes(3 bsl 20),
    ?assert({ok, Large} =:= py:call(ctx(Config), calling, async_one, [same, Large])).

%% Proves that the callback of a coroutine calls Python in contexts that do not wait for it.
nested_calls_of_coroutines_elsewhere(Config) ->
    ok = py:register_function(there, fun([X]) -> {ok, V} = py:call(io, probe, echo, [X]), V end),
    ?assertEqual({ok, lists:seq(0, 99)}, py:call(ctx(Config), calling, gather, [there, 100])).

%% Helpers.

ctx(Config) -> proplists:get_value(ctx, Config).
