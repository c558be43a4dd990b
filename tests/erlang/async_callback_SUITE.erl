%% Coroutines that wait for Erlang functions which call Python again, in the same context: with every kind of event loop
%% the context serves them meanwhile, and a request that waits like that can be interrupted.
-module(async_callback_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

all() -> [{group, asyncio_run}, {group, erlang_run}, {group, task}].

groups() ->
    Cases = [same_context, many_at_once, deep, timeout_while_waiting],
    [{asyncio_run, [], Cases}, {erlang_run, [], Cases}, {task, [], Cases}].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

init_per_group(Group, Config) -> [{kind, Group} | Config].

end_per_group(_Group, _Config) -> ok.

init_per_testcase(_Case, Config) ->
    Code = "
import asyncio

async def one(name, *args):
    return await erlang.async_call(name, *args)

async def many(name, n):
    return sum(await asyncio.gather(*[erlang.async_call(name, i) for i in range(n)]))

def asyncio_run(function, *args):
    return asyncio.run(globals()[function](*args))

def erlang_run(function, *args):
    return erlang.run(globals()[function](*args))
",
    ok = py:exec(Code),
    Config.

%% The function calls Python by routing, which leads to the context that waits for it, and finds the caller's namespace.
same_context(Config) ->
    ok = py:exec("def double(x): return 2 * x"),
    ok = py:register_function(doubled, fun([N]) -> {ok, V} = py:call('__main__', double, [N]), V end),
    ?assertEqual({ok, 42}, run(Config, one, [doubled, 21])).

%% A thousand functions at once, all of which come back to the context.
many_at_once(Config) ->
    ok = py:register_function(squared, fun([N]) -> {ok, V} = py:eval("n * n", #{n => N}), V end),
    ?assertEqual({ok, lists:sum([N * N || N <- lists:seq(0, 999)])}, run(Config, many, [squared, 1000])).

%% Coroutine, function, coroutine, function ... twenty levels of loops on top of one another.
deep(Config) ->
    ok = py:register_function(down, fun
        ([0]) -> 0;
        ([N]) -> {ok, V} = run(Config, one, [down, N - 1]), V + 1
    end),
    ?assertEqual({ok, 20}, run(Config, one, [down, 20])).

%% The timeout ends the coroutine that waits, and the function's process; the context, and its OS process, go on.
timeout_while_waiting(Config) ->
    Test = self(),
    ok = py:register_function(never, fun([]) -> Test ! {runs, self()}, receive after infinity -> ok end end),
    OsPid = py_test:os_pid(default),
    ?assertEqual({error, timeout}, run(Config, one, [never], 300)),
    Pid = receive {runs, Runs} -> Runs end,
    py_test:eventually(fun() -> not is_process_alive(Pid) end),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16], #{}, 30000)),
    ?assertEqual(OsPid, py_test:os_pid(default)).

run(Config, Function, Args) -> run(Config, Function, Args, 30000).

run(Config, Function, Args, Timeout) ->
    case proplists:get_value(kind, Config) of
        task -> py:async_await(py:async_call('__main__', Function, Args, #{}, Timeout));
        Runner -> py:call('__main__', Runner, [Function | Args], #{}, Timeout)
    end.
