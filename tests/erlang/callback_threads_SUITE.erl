%% Any Python thread, and any coroutine, calls Erlang.
-module(callback_threads_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 1}}].

all() -> [{group, worker}, {group, owngil}].

groups() ->
    Threads = [one_thread, fifty_threads, executor, errors_in_threads, nested_calls_of_threads, tree_of_threads,
               threads_of_many_requests, thread_outlives_its_request, large_values_of_threads, guest_outlasts_its_context],
    Coroutines = [a_thousand_at_once, every_way_to_run_a_loop, loops_in_threads, errors_in_coroutines,
                  cancellation_ends_the_process, timeout_of_a_coroutine, others_run_meanwhile,
                  closed_loop_ends_its_calls, async_call_as_a_function, large_values_of_coroutines,
                  nested_calls_of_coroutines_elsewhere],
    Loops = [nested_calls_of_loops_in_threads, nested_coroutines_of_loops_in_threads, loops_in_guests,
             loop_of_a_thread_that_goes_on, cancelled_before_its_request_is_served,
             loop_closed_before_its_request_is_served, late_before_its_request_is_served],
    py_test_modes:groups(Threads ++ Coroutines ++ Loops).

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

%% Proves that what a thread runs for a callback goes on when its context has been stopped, and harms nothing.
guest_outlasts_its_context(_Config) ->
    py_test:with_context(#{mode => worker}, fun(Stays) ->
        {ok, Ctx} = py_context:new(#{mode => worker}),
        OsPid = py_test:os_pid(Stays),
        Gate = atom_to_binary(py_test:unique(gate)),
        ok = py:register_function(back, fun([]) -> {ok, <<"open">>} = py:call(Ctx, probe, wait_gate, [Gate]), left end),
        Gates = fun(Python) -> py:eval(Stays, ["(lambda gates: ", Python, ")(__import__('probe')._gates)"]) end,
        %% Contexts are dummies.
        Threads = fun() -> py:eval(Stays, "sum(not t.name.startswith('Dummy') for t in __import__('threading').enumerate())") end,
        Before = Threads(),
        {ok, _} = py:call(Ctx, calling, leave_thread, [back]),
        py_test:eventually(fun() -> Gates(["'", Gate, "' in gates"]) =:= {ok, true} end),
        ok = py_context:stop(Ctx),
        {ok, _} = py:call(Stays, probe, open_gate, [Gate]),
        py_test:eventually(fun() -> Threads() =:= Before end),
        ?assertEqual(OsPid, py_test:os_pid(Stays))
    end).

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

%% Proves that values in pieces reach the right thread.
large_values_of_threads(Config) ->
    Large = rand:bytes(3 bsl 20),
    ?assert({ok, lists:duplicate(4, {<<"ok">>, Large})} =:= py:call(ctx(Config), calling, from_threads, [4, same,
        Large])).

%% Coroutines.

%% Proves that as many calls as the limit allows may wait at once, and that each coroutine gets its answer.
a_thousand_at_once(Config) ->
    Values = lists:seq(0, 999),
    ?assertEqual({ok, Values}, py:call(ctx(Config), calling, gather, [same, 1000])),
    Here = self(),
    ok = py:register_function(meet, fun([N]) -> Here ! {arrived, self()}, receive go -> N end end),
    Job = py_test:async(fun() -> py:call(ctx(Config), calling, gather, [meet, 1000]) end),
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
                      %% Other contexts of the process may have closed some meanwhile.
                      {ok, {More, []}} = py_context:eval(Ctx, ["leave_many(kinds['", Kind, "'], ", Close, ", 20)"]),
                      ?assert(More =< 0),
                      _ = [py_test:eventually(fun() -> not is_process_alive(Pid) end) || Pid <- waiting(60)]
                  end || Close <- ["True", "False"]],
             ?assertEqual({ok, [0, 1, 2]}, py:call(Ctx, calling, gather, [same, 3]))
         end || Kind <- ["asyncio", "erlang"]],
    ok.

waiting(N) -> [receive {waits, Pid} -> Pid end || _ <- lists:seq(1, N)].

%% Proves that it refuses keyword arguments and names that are no str as erlang.call does, and that tools can ask for
%% its types.
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

%% Loops in threads that Python started.

%% Proves that the functions which coroutines of such a loop wait for may call the very context that waits for the
%% thread: the loop serves them, between its rounds.
nested_calls_of_loops_in_threads(Config) ->
    Ctx = ctx(Config),
    ok = define_loops(Ctx),
    ok = py:register_function(back, fun([X]) -> {ok, V} = py:call(Ctx, probe, echo, [X]), V end),
    ok = py:register_function(back_often, fun([X]) ->
        Jobs = [py_test:async(fun() -> py:call(Ctx, probe, echo, [{X, I}]) end) || I <- lists:seq(1, 5)],
        _ = [{ok, _} = py_test:join(Job) || Job <- Jobs],
        X
    end),
    _ = [?assertEqual({ok, lists:seq(0, N - 1)}, py:call(Ctx, '__main__', in_thread, [Kind, Function, N]))
         || Kind <- [asyncio, erlang], {Function, N} <- [{back, 1}, {back, 100}, {back_often, 20}]],
    ok.

%% Proves the same of functions that start a coroutine there, which is awaited where its function's request is served.
nested_coroutines_of_loops_in_threads(Config) ->
    Ctx = ctx(Config),
    ok = define_loops(Ctx),
    ok = py:register_function(back, fun([X]) ->
        {ok, V} = py_context:submit_await(Ctx, calling, '_one', [same, [X]]),
        V
    end),
    _ = [?assertEqual({ok, lists:seq(0, 9)}, py:call(Ctx, '__main__', in_thread, [Kind, back, 10]))
         || Kind <- [asyncio, erlang]],
    ok.

%% Proves that each level may run a loop of its own, in a thread of its own or in the one that serves it: whoever waits
%% last in a chain serves what it asks for.
loops_in_guests(Config) ->
    Ctx = ctx(Config),
    ok = define_loops(Ctx),
    _ = [begin
             ok = py:register_function(next, fun
                 ([0]) -> 0;
                 ([N]) -> {ok, V} = py:call(Ctx, '__main__', Down, [N - 1]), V + 1
             end),
             ?assertEqual({ok, 10}, py:call(Ctx, '__main__', First, [10]))
         end || First <- [down_in_thread, down_in_loop_in_thread], Down <- [down, down_in_loop, down_in_thread,
                                                                           down_in_loop_in_thread]],
    ok.

%% Proves that a loop in a thread of its own serves them for requests of many callers at once, and after those.
loop_of_a_thread_that_goes_on(Config) ->
    Ctx = ctx(Config),
    ok = define_loops(Ctx),
    ok = py:register_function(back, fun([X]) -> {ok, V} = py:call(Ctx, probe, echo, [X]), V end),
    ok = py_context:exec(Ctx, "begin()"),
    try
        Jobs = [begin
                    Code = ["submit('back', ", integer_to_list(N), ").result()"],
                    {N, py_test:async(fun() -> py_context:eval(Ctx, Code) end)}
                end || N <- lists:seq(1, 50)],
        _ = [?assertEqual({ok, N}, py_test:join(Job)) || {N, Job} <- Jobs],
        Self = self(),
        ok = py:register_function(tell, fun([X]) -> {ok, V} = py:call(Ctx, probe, echo, [X]), Self ! {told, V}, V end),
        %% The context is idle; the loop serves it all the same.
        _ = [begin
                 ok = py_context:exec(Ctx, ["submit('tell', ", integer_to_list(N), ")"]),
                 receive {told, N} -> ok end
             end || N <- lists:seq(1, 50)],
        ok
    after
        ok = py_context:exec(Ctx, "finish()")
    end.

%% Proves that what a function has asked for is answered when the call is cancelled before that could be served.
cancelled_before_its_request_is_served(Config) ->
    before_its_request_is_served(Config, "cancelled", infinity, cancelled).

%% Proves the same when the loop stops and is closed.
loop_closed_before_its_request_is_served(Config) ->
    before_its_request_is_served(Config, "closed", infinity, cancelled).

%% Proves that a request whose time is over when the loop comes to it is not run.
late_before_its_request_is_served(Config) -> before_its_request_is_served(Config, "late", 20, timeout).

before_its_request_is_served(Config, How, Timeout, Error) ->
    Ctx = ctx(Config),
    ok = define_loops(Ctx),
    {ok, Beside} = py_context:new(#{mode => proplists:get_value(mode, Config)}),
    Self = self(),
    ok = py:register_function(spawn_ask, fun([]) ->
        _ = spawn(fun() ->
            Self ! {asks, self()},
            Self ! {answered, py:call(Ctx, probe, echo, [1], #{timeout => Timeout})}
        end),
        receive never -> ok end
    end),
    ok = py:register_function(gate, fun([]) -> Self ! {at_gate, self()}, receive open -> ok end end),
    _ = [begin
             Job = py_test:async(fun() -> py_context:eval(Ctx, [How, "(kinds['", Kind, "'])"]) end),
             Gate = receive {at_gate, Pid} -> Pid end,
             Asks = receive {asks, Asking} -> Asking end,
             %% A caller with a short timeout may have ended by now.
             py_test:eventually(fun() -> lists:member(process_info(Asks, status), [{status, waiting}, undefined]) end),
             %% Behind it on the same pipe.
             {ok, 4.0} = py:call(Beside, math, sqrt, [16]),
             _ = [timer:sleep(2 * Timeout) || Timeout =/= infinity],
             Gate ! open,
             ?assertEqual({ok, <<"ended">>}, py_test:join(Job)),
             receive {answered, Answer} -> ?assertEqual({error, Error}, Answer) end,
             ?assertEqual({ok, 1}, py:call(Ctx, probe, echo, [1]))
         end || Kind <- ["asyncio", "erlang"]],
    ok = py_context:stop(Beside).

define_loops(Ctx) ->
    py_context:exec(Ctx, <<"
import asyncio, erlang, threading
kinds = {'asyncio': asyncio.new_event_loop, 'erlang': erlang.new_event_loop}

def wait_for_thread(function, *args):
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*args)))
    thread.start()
    thread.join()
    return results[0]

def run_in(kind, coroutine):
    with asyncio.Runner(loop_factory=kinds[kind]) as runner:
        return runner.run(coroutine)

async def gather(name, count):
    return await asyncio.gather(*(erlang.async_call(name, n) for n in range(count)))

async def one(name, *args):
    return await erlang.async_call(name, *args)

def in_thread(kind, name, count):
    return wait_for_thread(run_in, kind, gather(name, count))

def down(n):
    return erlang.call('next', n)

def down_in_loop(n):
    return run_in('erlang' if n % 2 else 'asyncio', one('next', n))

def down_in_thread(n):
    return wait_for_thread(down, n)

def down_in_loop_in_thread(n):
    return wait_for_thread(down_in_loop, n)

def begin():
    global loop, thread
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

def submit(name, *args):
    return asyncio.run_coroutine_threadsafe(one(name, *args), loop)

def finish():
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()

def cancelled(kind):
    async def main():
        task = asyncio.ensure_future(one('spawn_ask'))
        await asyncio.sleep(0)
        erlang.gate()
        task.cancel()
        await asyncio.wait([task])
        return 'ended'
    def run():
        with asyncio.Runner(loop_factory=kind) as runner:
            return runner.run(main())
    return wait_for_thread(run)

def late(kind):
    async def main():
        task = asyncio.ensure_future(one('spawn_ask'))
        await asyncio.sleep(0)
        erlang.gate()
        await asyncio.wait([task], timeout=0.1)
        return 'ended'
    def run():
        with asyncio.Runner(loop_factory=kind) as runner:
            return runner.run(main())
    return wait_for_thread(run)

def closed(kind):
    async def main():
        task = asyncio.current_task()
        task._log_destroy_pending = False
        other = asyncio.ensure_future(one('spawn_ask'))
        other._log_destroy_pending = False
        await asyncio.sleep(0)
        asyncio.get_running_loop().stop()
        erlang.gate()
        await asyncio.sleep(3600)
    def run():
        loop = kind()
        task = loop.create_task(main())
        loop.run_forever()
        loop.close()
        return 'ended'
    return wait_for_thread(run)
">>).

%% Helpers.

ctx(Config) -> proplists:get_value(ctx, Config).
