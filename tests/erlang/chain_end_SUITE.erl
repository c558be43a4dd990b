%% A call chain through several contexts ends in all of them when it ends in one: what nobody waits for any more does not go
%% on, though it has no limit of time of its own.
-module(chain_end_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

all() -> [timeout, interrupt, callback_killed, port_killed, through_three].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

%% Contexts in port processes of their own, of which each calls the next and the last never ends by itself.
init_per_testcase(_Case, Config) ->
    Contexts = [element(2, {ok, _} = py_context:new(#{memory_limit => 1 bsl 30})) || _ <- [1, 2, 3]],
    Code = "
import time

def endless():
    try:
        erlang.call('endless_runs')
        while True:
            time.sleep(0.005)
    finally:
        erlang.send('chain_end', 'unwound')
",
    [ok = py_context:exec(Ctx, Code) || Ctx <- Contexts],
    register(chain_end, self()),
    Test = self(),
    ok = py:register_function(endless_runs, fun([]) -> Test ! runs, ok end),
    ok = py:register_function(there, fun([Next]) -> Test ! {callback, self()}, there(Next, Contexts) end),
    [{contexts, Contexts} | Config].

end_per_testcase(_Case, Config) ->
    unregister(chain_end),
    [py_context:stop(Ctx) || Ctx <- proplists:get_value(contexts, Config), is_process_alive(Ctx)],
    ok.

%% Without a limit: the chain's own is enough.
there(1, [_, B, _]) -> py:call(B, '__main__', endless, []);
there(2, [_, B, _]) -> py:call(B, erlang, call, [there, 3]);
there(3, [_, _, C]) -> py:call(C, '__main__', endless, []).

timeout(Config) ->
    [A, B, _] = proplists:get_value(contexts, Config),
    ?assertEqual({error, timeout}, py:call(A, erlang, call, [there, 1], #{timeout => 500})),
    ends([B]).

interrupt(Config) ->
    [A, B, _] = proplists:get_value(contexts, Config),
    Call = py_test:async(fun() -> py:call(A, erlang, call, [there, 1]) end),
    receive runs -> ok end,
    ok = py:interrupt(A),
    ?assertEqual({error, interrupted}, py_test:join(Call)),
    ends([B]).

callback_killed(Config) ->
    [A, B, _] = proplists:get_value(contexts, Config),
    Call = py_test:async(fun() -> py:call(A, erlang, call, [there, 1]) end),
    receive runs -> ok end,
    receive {callback, Pid} -> exit(Pid, kill) end,
    ?assertMatch({error, {'ErlangError', _}}, py_test:join(Call)),
    ends([B]).

port_killed(Config) ->
    [A, B, _] = proplists:get_value(contexts, Config),
    {ok, OsPid} = py:call(A, os, getpid, []),
    Call = py_test:async(fun() -> py:call(A, erlang, call, [there, 1]) end),
    receive runs -> ok end,
    py_test:signal(OsPid, "KILL"),
    ?assertEqual({error, {context_died, {signal, sigkill}}}, py_test:join(Call)),
    ends([B]).

through_three(Config) ->
    [A, B, C] = proplists:get_value(contexts, Config),
    ?assertEqual({error, timeout}, py:call(A, erlang, call, [there, 2], #{timeout => 500})),
    ends([C, B]).

%% The function's finally block has run, and the contexts are free.
ends(Contexts) ->
    receive <<"unwound">> -> ok after 30000 -> error(goes_on) end,
    [?assertEqual({ok, 4.0}, py:call(Ctx, math, sqrt, [16], #{timeout => 30000})) || Ctx <- Contexts],
    py_test:eventually(fun() -> ets:info(py_asked, size) =:= 0 end).
