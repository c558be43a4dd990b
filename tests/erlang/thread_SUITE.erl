%% Work that a request leaves to threads belongs to it: namespace, caller and chain, until it has ended (thread_end_SUITE
%% has the end). The ways to leave work are those of working.py.
-module(thread_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 1}}].

all() -> [{group, worker}, {group, owngil}].

groups() ->
    Own = [main_is_that_of_the_request, main_is_written_by_its_process_alone, classes_are_made_in_threads,
           caller_is_that_of_the_request, callbacks_are_those_of_the_request, coroutines_leave_work_too,
           streams_leave_work_too, request_that_gives_way, threads_of_the_preload],
    Shared = [pools_serve_many_processes, pools_keep_no_namespace, contexts_of_an_interpreter, ended_request_is_nobodys,
              queued_work_of_an_ended_request, request_ends_while_its_thread_asks],
    Chains = [thread_asks_its_own_context, threads_ask_at_once, crossing_requests_with_threads],
    py_test_modes:groups(Own ++ Shared ++ Chains).

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

init_per_group(Mode, Config) -> py_test_modes:init_group(Mode, Config).
end_per_group(_Group, _Config) -> ok.

init_per_testcase(_Case, Config) ->
    Pool = py_test:start_pool(2, #{mode => proplists:get_value(mode, Config), hard_timeout_grace => 20000}),
    [A, B] = py_test:contexts(Pool),
    _ = [ok = py:exec(Ctx, <<"import asyncio, erlang, working">>) || Ctx <- [A, B]],
    ok = py:register_function(same, fun([Value]) -> Value end),
    [{pool, Pool}, {a, A}, {b, B} | Config].

end_per_testcase(_Case, Config) ->
    _ = py_test:stop_pool(proplists:get_value(pool, Config)),
    py_test_callbacks:clean_up().

%% What threads see.

%% Proves that classes of a namespace are pickled and found in every way to leave work, also where no Python code of the
%% user's is on the thread's stack.
main_is_that_of_the_request(Config) ->
    ok = py:exec(a(Config), <<"
import pickle, sys, working
class Point:
    def __init__(self): self.x = 1
    def __eq__(self, other): return self.x == other.x
def differences():
    return working.in_all(pickle.dumps, Point()) | working.in_all(pickle.loads, pickle.dumps(Point()))
def name():
    return sys.modules['__main__'].Point.__name__
">>),
    ?assertEqual({ok, #{}}, py:eval(a(Config), <<"differences()">>)),
    ?assertEqual({ok, #{}}, py:eval(a(Config), <<"working.in_all(name)">>)).

%% Proves that what a thread sets in __main__ is the namespace's, and seen by no other process.
main_is_written_by_its_process_alone(Config) ->
    Run = fun() ->
        ok = py:exec(a(Config), <<"
import working
def set_main(value):
    import __main__
    __main__.written = value
def lost():
    return [way.__name__ for way in (*working.WAYS, *working.POOLS)
            if way(set_main, way.__name__) is not None or globals().get('written') != way.__name__]
">>),
        ?assertEqual({ok, []}, py:eval(a(Config), <<"lost()">>))
    end,
    Run(),
    ok = py:exec(a(Config), <<"written = 'first'">>),
    py_test:in_process(Run),
    ?assertEqual({ok, <<"first">>}, py:eval(a(Config), <<"written">>)),
    {error, {'NameError', _}} = py_test:in_process(fun() -> py:eval(a(Config), <<"written">>) end),
    {error, {'AttributeError', _}} = py_test:in_process(fun() ->
        py:eval(a(Config), <<"__import__('__main__').written">>)
    end).

%% Proves that a dataclass with textual annotations gets its fields right in a thread.
classes_are_made_in_threads(Config) ->
    ok = py:exec(a(Config), <<"
from __future__ import annotations
import dataclasses, working
from typing import ClassVar
def fields():
    @dataclasses.dataclass
    class Counted:
        count: ClassVar[int] = 0
        x: int = 1
    return [field.name for field in dataclasses.fields(Counted)]
">>),
    ?assertEqual({ok, [<<"x">>]}, py:eval(a(Config), <<"fields()">>)),
    ?assertEqual({ok, #{}}, py:eval(a(Config), <<"working.in_all(fields)">>)).

%% Proves that erlang.self() is the caller in each of them.
caller_is_that_of_the_request(Config) ->
    ?assertEqual({ok, self()}, py:eval(a(Config), <<"working.thread(erlang.self)">>)),
    ?assertEqual({ok, #{}}, py:eval(a(Config), <<"working.in_all(erlang.self)">>)).

%% Proves that functions which threads call have the caller of the request, and call Python in its context, with its
%% namespace.
callbacks_are_those_of_the_request(Config) ->
    ok = py:exec(a(Config), <<"
import erlang, working
def own(): return ['own', erlang.self(), erlang.callers()]
">>),
    ok = py:register_function(callers, fun([]) -> get('$callers') end),
    ok = py:register_function(here, fun([]) ->
        {ok, [<<"own">>, Self, [Caller | _]]} = py:call('__main__', own, []),
        {Self =:= self(), Caller}
    end),
    ?assertEqual({ok, {true, self()}}, py:eval(a(Config), <<"working.thread(erlang.call, 'here')">>)),
    ?assertEqual({ok, #{}}, py:eval(a(Config), <<"working.in_all(erlang.call, 'here')">>)),
    ?assertEqual({ok, #{}}, py:eval(a(Config), <<"working.in_all(erlang.call, 'callers')">>)).

%% Proves the same of a coroutine on the loop of the context, of several at once.
coroutines_leave_work_too(Config) ->
    Ask = fun(N) ->
        ok = py:exec(a(Config), ["
import asyncio, erlang, pickle, working
n = ", integer_to_list(N), "
class Point: pass
def own(): return [n, erlang.self(), pickle.loads(pickle.dumps(Point())) is not None, erlang.same(n)]
async def differences():
    await asyncio.sleep(0.01)
    return [await working.awaited_in_all(own), await asyncio.to_thread(own)]
"]),
        {self(), N, py:async_await(py:async_call(a(Config), '__main__', differences, []))}
    end,
    Jobs = [py_test:async(fun() -> Ask(N) end) || N <- lists:seq(1, 10)],
    _ = [begin
             {Pid, N, Answer} = py_test:join(Job),
             ?assertEqual({ok, [#{}, [N, Pid, true, N]]}, Answer)
         end || Job <- Jobs].

%% Proves the same of streams, synchronous and not, between whose items others run.
streams_leave_work_too(Config) ->
    ok = py:exec(a(Config), <<"
import asyncio, erlang, pickle, working
class Point: pass
def own():
    pickle.dumps(Point())
    return erlang.self()
def items():
    for _ in range(3):
        yield working.thread(own)
        yield working.kept_executor(own)
async def items_later():
    for _ in range(3):
        yield await asyncio.to_thread(own)
        await asyncio.sleep(0.01)
def waits():
    later = working.shared.submit(lambda: (working.opened.wait(), own())[1])
    yield 1
    working.open()
    yield later.result()
">>),
    ok = py_context_router:bind_context(a(Config)),
    _ = [begin
             {ok, Ref} = py:stream_start('__main__', Function, []),
             ?assertEqual(lists:duplicate(N, self()), [Item || Item <- items(Ref), Item =/= 1])
         end || {Function, N} <- [{items, 6}, {items_later, 3}, {waits, 1}]],
    ok = py_context_router:unbind_context().

items(Ref) ->
    receive
        {py_stream, Ref, {data, Item}} -> [Item | items(Ref)];
        {py_stream, Ref, done} -> [];
        {py_stream, Ref, Error} -> [Error]
    end.

%% Proves that work stays its request's while that gives way to others, until its last step has ended.
request_that_gives_way(Config) ->
    Ctx = a(Config),
    ok = py:exec(Ctx, <<"
import erlang, working
def begin():
    working.opened.clear()
    global later
    later = working.shared.submit(lambda: (working.opened.wait(), erlang.self())[1])
    return erlang.schedule_py('__main__', 'go_on', [0])
def go_on(n):
    if n < 100: return erlang.schedule_py('__main__', 'go_on', [n + 1])
    working.open()
    return later.result()
">>),
    Others = [py_test:async(fun() -> [py:call(Ctx, probe, echo, [N]) || N <- lists:seq(1, 50)] end) || _ <- [1, 2]],
    ?assertEqual({ok, self()}, py:call(Ctx, '__main__', 'begin', [])),
    _ = [py_test:join(Job) || Job <- Others],
    ok.

%% Proves that threads which the preload starts see what it defines, and have no caller.
threads_of_the_preload(Config) ->
    Opts = #{mode => proplists:get_value(mode, Config), preload => <<"
import erlang, pickle, working
class Point: pass
differences = [working.in_all(pickle.dumps, Point()), working.in_all(erlang.self), working.thread(erlang.self)]
">>},
    py_test:with_pool(1, Opts, fun(Pool) ->
        ?assertEqual({ok, [#{}, #{}, none]}, py:eval(Pool, <<"differences">>))
    end).

%% Pools of threads that many use, and work that outlives its request.

%% Proves that each work of a pool that a module keeps belongs to the process that submits it, at once and one after the
%% other.
pools_serve_many_processes(Config) ->
    Ask = fun(N) ->
        ok = py:exec(a(Config), ["
import erlang, pickle, working
n = ", integer_to_list(N), "
class Point: pass
def own():
    import __main__
    pickle.dumps(Point())
    return [__main__.n, erlang.self(), erlang.same(n)]
"]),
        {self(), N, [py:eval(a(Config), ["working.", Way, "(own)"]) || Way <- ["kept_executor", "kept_thread_pool"]]}
    end,
    Check = fun({Pid, N, Answers}) -> ?assertEqual([{ok, [N, Pid, N]}, {ok, [N, Pid, N]}], Answers) end,
    _ = [Check(py_test:in_process(fun() -> Ask(N) end)) || N <- lists:seq(1, 5)],
    Jobs = [py_test:async(fun() -> Ask(N) end) || N <- lists:seq(1, 20)],
    _ = [Check(py_test:join(Job)) || Job <- Jobs].

%% Proves that a pool of threads keeps no namespace of those that it has worked for.
pools_keep_no_namespace(Config) ->
    ok = py:exec(a(Config), <<"import weakref, working\nworking.references = []">>),
    py_test:in_process(fun() ->
        ok = py:exec(a(Config), <<"
import weakref, working
class Thing: pass
thing = Thing()
working.references.append(weakref.ref(thing))
working.kept_executor(len, [])
working.kept_thread_pool(len, [])
">>)
    end),
    py_test:eventually(fun() ->
        {ok, 0} =:= py:eval(a(Config), <<"(__import__('gc').collect(), "
            "sum(reference() is not None for reference in working.references))[1]">>)
    end).

%% Proves that two contexts, which in worker mode share their modules and their pools of threads, do not see each
%% other's.
contexts_of_an_interpreter(Config) ->
    Ask = fun(Ctx, N) ->
        ok = py:exec(Ctx, ["
import erlang, working
n = ", integer_to_list(N), "
def own():
    import __main__
    return [__main__.n, erlang.self(), erlang.where()]
"]),
        {self(), [py:eval(Ctx, <<"working.kept_executor(own)">>) || _ <- lists:seq(1, 50)]}
    end,
    ok = py:register_function(where, fun([]) -> {ok, N} = py:eval(<<"n">>), N end),
    Jobs = [{N, py_test:async(fun() -> Ask(Ctx, N) end)} || {N, Ctx} <- [{1, a(Config)}, {2, b(Config)}]],
    _ = [begin
             {Pid, Answers} = py_test:join(Job),
             ?assertEqual(lists:duplicate(50, {ok, [N, Pid, N]}), Answers)
         end || {N, Job} <- Jobs].

%% Proves that a thread which outlives its request is nobody's, in the namespace that has started it, also when the
%% process of that has ended, and while the context runs others.
ended_request_is_nobodys(Config) -> outlives(Config, <<"leave">>).

%% Proves the same of work that has not begun when its request ends.
queued_work_of_an_ended_request(Config) -> outlives(Config, <<"leave_queued">>).

outlives(Config, How) ->
    ok = py:register_function(callers, fun([]) -> get('$callers') end),
    py_test:in_process(fun() ->
        ok = py:exec(a(Config), [<<"
import erlang, pickle, working
word = 'kept'
class Point: pass
def own():
    import __main__
    pickle.dumps(Point())
    __main__.set_later = 1
    return [__main__.word, erlang.self(), erlang.callers()]
working.">>, How, <<"(own)
">>])
    end),
    {ok, 1} = py:call(a(Config), probe, echo, [1]),
    {ok, none} = py:call(a(Config), working, open, []),
    eventually_seen(Config, [[<<"kept">>, none, []]]),
    {error, {'NameError', _}} = py:eval(a(Config), <<"set_later">>).

%% Proves that a thread whose request ends while it waits for Erlang gets its answer.
request_ends_while_its_thread_asks(Config) ->
    Self = self(),
    ok = py:register_function(wait, fun([]) -> Self ! {waits, self()}, receive go -> ok end,
        {ok, 4.0} = py:call(a(Config), math, sqrt, [16]), 5 end),
    ok = py:exec(a(Config), <<"
import erlang, threading, working
threading.Thread(target=lambda: working.seen.append([erlang.wait(), erlang.self()])).start()
">>),
    receive {waits, Pid} -> Pid ! go end,
    eventually_seen(Config, [[5, none]]).

eventually_seen(Config, Expected) ->
    Ctx = a(Config),
    py_test:eventually(fun() -> {ok, Expected} =:= py:eval(Ctx, <<"__import__('working').seen">>) end),
    {ok, Expected} = py:call(Ctx, working, take_seen, []),
    ok.

%% Chains.

%% Proves that what a thread asks of the context that waits for it runs in the thread, with the namespace of the request,
%% and does not stand still.
thread_asks_its_own_context(Config) ->
    ok = py:exec(a(Config), <<"
import erlang, threading, working
def where(): return threading.get_ident()
def asks(): return erlang.call('where') == threading.get_ident()
def level(n):
    return 0 if n == 0 else working.thread(erlang.call, 'down', n - 1) + 1
">>),
    ok = py:register_function(where, fun([]) -> {ok, V} = py:call('__main__', where, []), V end),
    ok = py:register_function(down, fun([N]) -> {ok, V} = py:call('__main__', level, [N]), V end),
    ?assertEqual({ok, true}, py:eval(a(Config), <<"working.thread(asks)">>)),
    ?assertEqual({ok, 20}, py:eval(a(Config), <<"level(20)">>)).

%% Proves that many threads of a request may do so at once, each for itself: what comes back to one does not wait for
%% another.
threads_ask_at_once(Config) ->
    ok = py:exec(a(Config), <<"
import erlang, threading, working
from concurrent.futures import ThreadPoolExecutor
count = 40
met = threading.Barrier(count, timeout=20)
def meet(ident):
    met.wait()
    return threading.get_ident() == ident
def asks(_): return erlang.call('meet', threading.get_ident())
def all_ask():
    with ThreadPoolExecutor(count) as pool:
        return set(pool.map(asks, range(count)))
">>),
    ok = py:register_function(meet, fun([Ident]) -> {ok, V} = py:call('__main__', meet, [Ident]), V end),
    ?assertEqual({ok, [true]}, py:eval(a(Config), <<"all_ask()">>)).

%% Proves that a thread's chain is as old as its request's: of two requests that need each other's context, the one whose
%% thread asks is served first when it is older.
crossing_requests_with_threads(Config) ->
    A = a(Config),
    B = b(Config),
    Self = self(),
    ok = py:register_function(begin_chain, fun([]) ->
        Self ! {begun, self()},
        receive go -> none end
    end),
    ok = py:register_function(to_b, fun([]) ->
        Self ! {older, self()},
        receive go -> ok end,
        {ok, V} = py:call(B, probe, echo, [b]),
        V
    end),
    ok = py:register_function(to_a, fun([]) ->
        Self ! {newer, self()},
        receive go -> ok end,
        {ok, V} = py:call(A, probe, echo, [a]),
        V
    end),
    Older = py_test:async(fun() -> py:call(A, working, in_chain_thread, [begin_chain, to_b]) end),
    Begun = receive {begun, Pid} -> Pid end,
    Newer = py_test:async(fun() -> py:call(B, working, call, [to_a]) end),
    Second = receive {newer, Pid2} -> Pid2 end,
    Begun ! go,
    First = receive {older, Pid1} -> Pid1 end,
    Second ! go,
    First ! go,
    ?assertEqual({ok, <<"b">>}, py_test:join(Older)),
    ?assertEqual({ok, <<"a">>}, py_test:join(Newer)).

%% Helpers.

a(Config) -> proplists:get_value(a, Config).
b(Config) -> proplists:get_value(b, Config).
