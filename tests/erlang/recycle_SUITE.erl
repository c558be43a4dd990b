%% A port process that is replaced after max_requests finishes what waits in it: coroutines and streams hold no slot then.
-module(recycle_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

all() -> [coroutines, stream].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

coroutines(_Config) ->
    py_test:with_pool(1, #{max_requests => 20}, fun(Pool) ->
        [Ctx] = py_test:contexts(Pool),
        OsPid = py_test:os_pid(Pool),
        Refs = [element(2, {ok, _} = py_context:submit(Ctx, asyncio, sleep, [1, N])) || N <- lists:seq(1, 5)],
        recycled(Pool, OsPid),
        ?assertEqual([{ok, N} || N <- lists:seq(1, 5)], [py_event_loop:await(Ref) || Ref <- Refs]),
        py_test:eventually(fun() -> not py_test:alive(OsPid) end)
    end).

stream(_Config) ->
    py_test:with_pool(1, #{max_requests => 20}, fun(Pool) ->
        [Ctx] = py_test:contexts(Pool),
        ok = py:exec(Ctx, "
async def slowly():
    import asyncio
    for i in range(10):
        await asyncio.sleep(0.1)
        yield i
"),
        ok = py_context_router:bind_context(Ctx),
        OsPid = py_test:os_pid(Pool),
        {ok, Ref} = py:stream_start('__main__', slowly, []),
        {ok, 0} = py:stream_next(Ref, 30000),
        recycled(Pool, OsPid),
        ?assertEqual([{ok, I} || I <- lists:seq(1, 9)] ++ [done], [py:stream_next(Ref, 30000) || _ <- lists:seq(1, 10)]),
        py_test:eventually(fun() -> not py_test:alive(OsPid) end)
    end).

%% Until requests are served by another port process.
recycled(Pool, OsPid) ->
    py_test:eventually(fun() ->
        {ok, Now} = py_test:in_process(fun() -> py:call(Pool, os, getpid, []) end),
        Now =/= OsPid
    end).
