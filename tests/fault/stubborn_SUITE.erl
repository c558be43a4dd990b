%% @doc Python code that runs at odd moments (in an error's text, a finalizer, a preload) can be stopped like any other.
-module(stubborn_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([late_coroutine/1, error_text/1, finalizer_of_env/1, preload/1, swallowed_interrupt/1, interrupts_in_a_row/1]).

all() -> [error_text, finalizer_of_env, preload, swallowed_interrupt, interrupts_in_a_row, late_coroutine].

init_per_testcase(_Case, Config) ->
    {ok, _} = application:ensure_all_started(erlang_python),
    {ok, [Ctx]} = py_context_router:start_pool(stubborn, 1, #{mode => owngil, hard_timeout_grace => 20000}),
    [{ctx, Ctx} | Config].

end_per_testcase(_Case, _Config) ->
    application:stop(erlang_python).

%% Proves that an exception whose text does not end is timed out, and the context goes on.
error_text(Config) ->
    Ctx = proplists:get_value(ctx, Config),
    ?assertEqual({error, timeout}, py:exec(Ctx, "
class Endless(Exception):
    def __str__(self):
        while True: pass
raise Endless()
", 300)),
    ?assertEqual({ok, 2}, py:eval(Ctx, "1 + 1")).

%% Proves that a finalizer that does not end, run when the process of its namespace has died, is interrupted.
finalizer_of_env(Config) ->
    Ctx = proplists:get_value(ctx, Config),
    {Pid, Monitor} = spawn_monitor(fun() ->
        ok = py:exec(Ctx, "
class Endless:
    def __del__(self):
        while True: pass
kept = Endless()
")
    end),
    receive {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual(normal, Reason) end,
    ?assertEqual({ok, 4}, py:call(Ctx, builtins, max, [[1, 4]], #{timeout => 60000})).

%% Proves that a context whose preload does not end can be stopped by whoever started it.
preload(_Config) ->
    {Pid, Monitor} = spawn_monitor(fun() ->
        {ok, _} = py_context:new(#{mode => worker, preload => "while True: pass"})
    end),
    timer:sleep(500),
    exit(Pid, kill),
    receive {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual(killed, Reason) end,
    {ok, Other} = py_context:new(#{mode => worker}),
    ?assertEqual({ok, 4.0}, py:call(Other, math, sqrt, [16])),
    ok = py_context:stop(Other).

%% Proves that code which catches the interrupt of a timeout and goes on is interrupted again.
swallowed_interrupt(Config) ->
    Ctx = proplists:get_value(ctx, Config),
    ?assertEqual({error, timeout}, py:exec(Ctx, "
caught = 0
while True:
    try:
        while True: pass
    except KeyboardInterrupt:
        caught += 1
        if caught == 2: raise
", 200)),
    ?assertEqual({ok, 2}, py:call(Ctx, builtins, max, [[2]], #{timeout => 60000})).

%% Proves that of many interrupts, each for another request, none is lost behind an earlier one, and none hits a later
%% request.
interrupts_in_a_row(Config) ->
    Ctx = proplists:get_value(ctx, Config),
    Self = self(),
    lists:foreach(fun(_) ->
        Pid = spawn_link(fun() ->
            Self ! {self(), started},
            Self ! {self(), py:exec(Ctx, "while True: pass")}
        end),
        receive {Pid, started} -> ok end,
        ok = interrupt_until_running(Ctx),
        receive {Pid, Result} -> ?assertEqual({error, interrupted}, Result) end,
        ?assertEqual({ok, 1}, py:call(Ctx, builtins, max, [[1]]))
    end, lists:seq(1, 100)).

interrupt_until_running(Ctx) ->
    case py:interrupt(Ctx) of
        ok -> ok;
        not_running -> interrupt_until_running(Ctx)
    end.

%% Proves that a coroutine that swallows the end of its time is ended with its port process when the grace is over, whether
%% it waits in asyncio or in a loop on top of a callback, and that one which gives in the second time is not.
late_coroutine(_Config) ->
    Self = self(),
    Code = "
import asyncio
async def swallow(times):
    while times:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            times -= 1
    await asyncio.sleep(0)
",
    Swallow = fun(Times) -> py:async_await(py:async_call('__main__', swallow, [Times], #{}, 100), 30000) end,
    ok = py:register_function(swallow, fun([Times]) -> Self ! {nested, Swallow(Times)}, none end),
    Nested = fun(Times) -> _ = py:call(erlang, call, [swallow, Times]), receive {nested, Result} -> Result end end,
    _ = [py_test:with_pool(1, #{hard_timeout_grace => 3000}, fun(Pool) ->
        [Ctx] = py_test:contexts(Pool),
        ok = py_context_router:bind_context(Ctx),
        ok = py:exec(Code),
        OsPid = py_test:os_pid(Pool),
        ?assertEqual({error, timeout}, How(Times)),
        End(OsPid),
        ok = py_context_router:unbind_context()
    end) || How <- [Swallow, Nested], {Times, End} <- [{2, fun stays/1}, {1000000, fun gone/1}]],
    ok = py:unregister_function(swallow).

gone(OsPid) -> py_test:eventually(fun() -> not py_test:alive(OsPid) end).

stays(OsPid) ->
    timer:sleep(4000),
    ?assert(py_test:alive(OsPid)).
