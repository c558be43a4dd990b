%% What a process leaves running in Python, or gives to others, works when the process has ended; what nobody has any more
%% goes with it.
-module(outliving_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 5}}].

all() -> [{group, worker}, {group, owngil}, {group, isolated}].

groups() ->
    py_test_modes:placement_groups(
        [streams_of_another_owner, threads, tasks, cached_objects, encoders, finalizers_find_their_globals,
         nothing_is_left_at_once, large_namespaces_are_collected_at_their_end, what_others_held_is_collected, memory_stays_level]).

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

init_per_group(Placement, Config) -> py_test_modes:placed_pool_group(Placement, 1, #{}, Config).
end_per_group(_Placement, Config) -> py_test_modes:end_pool_group(Config).

init_per_testcase(_Case, Config) ->
    {ok, none} = py:call(ctx(Config), outliving, close, []),
    Config.

end_per_testcase(_Case, _Config) -> ok.

%% Proves that a stream with another owner goes on when the process that began it has ended, synchronous or not.
streams_of_another_owner(Config) ->
    Owner = self(),
    _ = [begin
             Stream = left_by(Config, <<"
import outliving
def word(): return constant
constant = 'word'
def numbers():
    outliving.seen.append('began')
    while not outliving.opened.is_set():
        yield 1
    yield word()
async def numbers_later():
    outliving.seen.append('began')
    await outliving.until_opened()
    yield word()
">>, fun() ->
                 {ok, Ref} = py:stream_start('__main__', Function, [], #{owner => Owner}),
                 eventually_seen([<<"began">>], Config),
                 Ref
             end),
             ?assertEqual(<<"word">>, last_item(Stream, none)),
             {ok, none} = py:call(ctx(Config), outliving, close, [])
         end || Function <- [numbers, numbers_later]],
    ok.

last_item(Ref, Last) ->
    receive
        {py_stream, Ref, {data, Item}} -> last_item(Ref, Item);
        {py_stream, Ref, done} -> Last;
        {py_stream, Ref, Error} -> Error
    end.

%% Proves the same of a thread.
threads(Config) ->
    left_by(Config, <<"
import outliving, threading
def word(): return 'word'
def run():
    outliving.opened.wait()
    outliving.seen.append(word())
threading.Thread(target=run, daemon=True).start()
">>, fun() -> ok end),
    eventually_seen([<<"word">>], Config).

%% Proves the same of a task that a coroutine has left on its loop.
tasks(Config) ->
    left_by(Config, <<"
import asyncio, outliving
def word(): return 'word'
async def later():
    await outliving.until_opened()
    outliving.seen.append(word())
async def leave():
    outliving.kept.append(asyncio.create_task(later()))
    await asyncio.sleep(0)
">>, fun() -> {ok, none} = py:async_await(py:async_call('__main__', leave, [])) end),
    eventually_seen([<<"word">>], Config).

%% Proves the same of an object that a module keeps.
cached_objects(Config) ->
    left_by(Config, <<"
import outliving
def word(): return constant
constant = 'word'
class Cached:
    def word(self): return word()
outliving.kept.append(Cached())
">>, fun() -> ok end),
    ?assertEqual({ok, <<"word">>}, py:call(ctx(Config), outliving, call_kept, [])).

%% Proves the same of an encoder.
encoders(Config) ->
    left_by(Config, <<"
import erlang, outliving
def word(): return 'word'
class Encoded: pass
erlang.register_encoder(Encoded, lambda value: word())
outliving.kept.append(Encoded())
">>, fun() -> ok end),
    ?assertEqual({ok, <<"word">>}, py:call(ctx(Config), outliving, kept_value, [])).

%% Proves that finalizers run when a process has ended, with what they refer to, and that those of classes, which are the
%% collector's, need no other process to end: requests are enough.
finalizers_find_their_globals(Config) ->
    left_by(Config, <<"
import outliving
def word(): return constant
constant = 'deleted'
class Deleted:
    def __del__(self): outliving.seen.append(word())
deleted = Deleted()
def generator():
    try:
        yield
    finally:
        outliving.seen.append('left')
left = generator()
next(left)
">>, fun() -> ok end),
    py_test:eventually(fun() ->
        {ok, Seen} = py:call(ctx(Config), outliving, take_seen, []),
        lists:sort(Seen) =:= [<<"deleted">>, <<"left">>]
    end).

%% Proves that what only the process had is gone with it, functions and what they refer to, without Python's collector.
nothing_is_left_at_once(Config) ->
    Ctx = ctx(Config),
    ok = py_context:exec(Ctx, <<"import gc\ngc.disable()">>),
    left_by(Config, <<"
import functools, outliving
tracked = outliving.Tracked()
def function(): return tracked
def outer():
    def inner(): return tracked
    return inner
inner = outer()
@functools.lru_cache
def cached(): return function
cached()
part = functools.partial(function)
many = [function for _ in range(100)]
">>, fun() -> ?assertEqual({ok, 1}, py:call(Ctx, outliving, alive, [])) end),
    py_test:eventually(fun() -> py:call(Ctx, outliving, alive, []) =:= {ok, 0} end),
    ok = py_context:exec(Ctx, <<"gc.enable()">>).

%% Proves that a namespace that is too large to be looked at is collected when its process ends, with no other process to
%% end and no request to come.
large_namespaces_are_collected_at_their_end(Config) ->
    Ctx = ctx(Config),
    ok = py_context:exec(Ctx, <<"import gc\nkept_threshold = gc.get_threshold()\ngc.collect()\ngc.set_threshold(0)">>),
    left_by(Config, <<"
import outliving
tracked = outliving.Tracked()
def function(): return tracked
many = [[[]] for _ in range(20_000)]
large = bytearray(b'x') * (128 << 20)
">>, fun() -> ok end),
    ?assertEqual({ok, 0}, py:call(Ctx, outliving, alive, [])),
    ok = py_context:exec(Ctx, <<"gc.set_threshold(*kept_threshold)">>).

%% Proves that what others held when its process ended, and do not any more, is collected when that is much.
what_others_held_is_collected(Config) ->
    Ctx = ctx(Config),
    Held = <<"
import outliving
large = bytearray(b'x') * (8 << 20)
tracked = outliving.Tracked()
def function(): return large
outliving.kept.append(function)
">>,
    _ = [begin
             left_by(Config, Held, fun() -> ok end),
             {ok, none} = py:call(Ctx, outliving, close, [])
         end || _ <- lists:seq(1, 12)],
    {ok, Left} = py:call(Ctx, outliving, alive, []),
    ?assert(Left < 8).

%% Proves that ten thousand processes, each with a function and a list of a megabyte, leave no memory behind.
memory_stays_level(Config) ->
    OsPid = py_test:os_pid(proplists:get_value(pool, Config)),
    megabytes(Config, 500),
    Before = py_test:rss(OsPid),
    megabytes(Config, 10000),
    ?assertEqual(OsPid, py_test:os_pid(proplists:get_value(pool, Config))),
    ?assert(py_test:rss(OsPid) - Before < 64 bsl 20).

megabytes(Config, Count) ->
    Ctx = ctx(Config),
    py_test:in_process(fun() ->
        lists:foreach(
            fun(_) ->
                Jobs = [py_test:async(fun() ->
                    ok = py:exec(Ctx, <<"large = [0] * 131072\ndef f():\n    return large\n">>)
                end) || _ <- lists:seq(1, 20)],
                lists:foreach(fun py_test:join/1, Jobs)
            end,
            lists:seq(1, Count div 20))
    end).

%% Helpers.

%% Runs code in a process that ends, and opens what waits for that when its namespace has been dropped.
left_by(Config, Code, Then) ->
    Ctx = ctx(Config),
    Before = envs(Config),
    Result = py_test:in_process(fun() ->
        ok = py_context_router:bind_context(Ctx),
        ok = py:exec(Ctx, Code),
        Then()
    end),
    py_test:eventually(fun() -> envs(Config) =< Before end),
    {ok, none} = py:call(Ctx, outliving, open_all, []),
    Result.

eventually_seen(Seen, Config) ->
    py_test:eventually(fun() -> py:call(ctx(Config), outliving, take_seen, []) =:= {ok, Seen} end).

envs(Config) ->
    #{envs := Envs} = maps:get(proplists:get_value(pool, Config), py:stats()),
    Envs.

ctx(Config) -> py_test_modes:first_context(Config).
