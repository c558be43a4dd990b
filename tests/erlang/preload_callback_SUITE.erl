%% Preload code that calls Erlang: what that asks of Python may need the very pool whose start waits for it. Then it is
%% told so, and the pool starts, or says why it does not.
-module(preload_callback_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 3}}].

all() -> [{group, worker}, {group, owngil}, pools_that_wait_for_each_other, chain_that_holds_what_a_start_needs].

groups() ->
    py_test_modes:groups([first_start, every_way_to_call, failed_start, restart, context_that_is_replaced,
                          successor_of_a_port_process, own_context, start_of_the_same_pool, other_pool]).

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

init_per_group(Group, Config) -> py_test_modes:init_group(Group, Config).
end_per_group(_Group, _Config) -> ok.

end_per_testcase(_Case, _Config) -> py_test_callbacks:clean_up().

%% Proves that a pool starts whose preload code makes Erlang call that pool, and that this call is told why it fails.
first_start(Config) ->
    ok = py:register_function(own, fun([Pool]) -> py:call(pool(Pool), math, sqrt, [4]) end),
    [with_pool(Options, Config, fun(Pool) -> ?assertEqual([refused], said(Pool)) end)
     || Options <- [#{}, #{isolation => context}]].

%% Proves the same of casts, streams, children of the callback's process, and of a thread that the preload waits for.
every_way_to_call(Config) ->
    Cast = fun([Pool]) -> py:await(py:cast(pool(Pool), math, sqrt, [4], #{}), infinity) end,
    Stream = fun([Pool]) ->
        {ok, Ref} = py:stream_start(builtins, range, [3], #{pool => pool(Pool)}),
        py:stream_next(Ref, infinity)
    end,
    Child = fun([Pool]) -> py_test:in_process(fun() -> py:call(pool(Pool), math, sqrt, [4]) end) end,
    Deep = fun([Pool]) ->
        {ok, Answer} = py:call(io, erlang, call, [<<"plain">>, Pool]),
        Answer
    end,
    ok = py:register_function(plain, fun([Pool]) -> py:call(pool(Pool), math, sqrt, [4]) end),
    [begin
         ok = py:register_function(own, Function),
         with_pool(#{}, Config, fun(Pool) -> ?assertEqual([refused], said(Pool)) end)
     end || Function <- [Cast, Stream, Child, Deep]],
    ok = py:register_function(own, fun([Pool]) -> py:call(pool(Pool), math, sqrt, [4]) end),
    Thread = "
import threading, erlang
said = []
thread = threading.Thread(target=lambda: said.append(erlang.own(POOL)))
thread.start()
thread.join()
said = said[0]
",
    with_pool(#{preload => Thread}, Config, fun(Pool) -> ?assertEqual([refused], said(Pool)) end).

%% Proves that a preload that fails because of it fails the start, and leaves nothing behind.
failed_start(Config) ->
    ok = py:register_function(own, fun([Pool]) -> {ok, _} = py:call(pool(Pool), math, sqrt, [4]) end),
    Pool = py_test:unique(pool),
    {error, {'ErlangError', Message, _}} = start(Pool, 1, #{}, Config),
    ?assertNotEqual(nomatch, string:find(Message, "start_failed")),
    ?assertEqual({error, {no_such_pool, Pool}}, py:call(Pool, math, sqrt, [4])),
    ok = py:unregister_function(own),
    {ok, [_]} = start(Pool, 1, #{preload => ""}, Config),
    py_test:stop_pool(Pool).

%% Proves that a pool whose Python died comes back when its preload calls that pool by now.
restart(Config) ->
    with_pool(#{}, Config, fun(Pool) ->
        ?assertEqual([none], said(Pool)),
        ok = py:register_function(own, fun([Name]) -> py:call(pool(Name), math, sqrt, [4]) end),
        {error, {context_died, {exit_status, 3}}} = py:call(Pool, os, '_exit', [3]),
        ?assertEqual({ok, 2.0}, py:call(Pool, math, sqrt, [4])),
        ?assertEqual([refused], said(Pool))
    end).

%% Proves that the only context of a pool that was killed is replaced when its preload calls the pool.
context_that_is_replaced(Config) ->
    with_pool(#{}, Config, fun(Pool) ->
        ok = py:register_function(own, fun([Name]) -> py:call(pool(Name), math, sqrt, [4]) end),
        [Ctx] = py_test:contexts(Pool),
        true = exit(Ctx, kill),
        py_test:eventually(fun() -> length(py_test:contexts(Pool) -- [Ctx]) =:= 1 end),
        ?assertEqual({ok, 2.0}, py:call(Pool, math, sqrt, [4])),
        ?assertEqual([refused], said(Pool))
    end).

%% Proves that while a port process is being replaced the old one serves what the preload of the new one asks for.
successor_of_a_port_process(Config) ->
    with_pool(#{max_requests => 20}, Config, fun(Pool) ->
        ok = py:register_function(own, fun([Name]) -> py:call(pool(Name), math, sqrt, [4]) end),
        OsPid = py_test:os_pid(Pool),
        py_test:eventually(fun() -> py_test:in_process(fun() -> py_test:os_pid(Pool) end) =/= OsPid end),
        ?assertEqual([served], said(Pool))
    end).

%% Proves that a context that a user starts can call the pools from its preload, and start another context.
own_context(Config) ->
    Mode = proplists:get_value(mode, Config),
    ok = py:register_function(own, fun([]) -> py:call(math, sqrt, [4]) end),
    Preload = <<"import erlang\nsaid = erlang.own()">>,
    Said = fun(Ctx) -> py_context:eval(Ctx, "said[1]") end,
    py_test:with_context(#{mode => Mode, preload => Preload}, fun(Ctx) -> ?assertEqual({ok, 2.0}, Said(Ctx)) end),
    ok = py:register_function(another, fun([]) ->
        py_test:with_context(#{mode => Mode, preload => Preload}, fun(Ctx) -> Said(Ctx) end)
    end),
    py_test:with_context(#{mode => Mode, preload => <<"import erlang\nsaid = erlang.another()">>}, fun(Ctx) ->
        ?assertEqual({ok, 2.0}, Said(Ctx))
    end).

%% Proves that preload code that starts its own pool is told that it cannot wait for that.
start_of_the_same_pool(Config) ->
    ok = py:register_function(own, fun([Name]) -> py_context_router:start_pool(pool(Name), 1) end),
    with_pool(#{}, Config, fun(Pool) -> ?assertMatch([{error, _}], said(Pool)) end).

%% Proves that preload code may use another pool, and start one.
other_pool(Config) ->
    ok = py:register_function(own, fun([_]) ->
        py_test:with_pool(1, #{}, fun(Pool) -> {py:call(io, math, sqrt, [4]), py:call(Pool, math, sqrt, [9])} end)
    end),
    with_pool(#{}, Config, fun(Pool) -> ?assertEqual([{{<<"ok">>, 2.0}, {<<"ok">>, 3.0}}], said(Pool)) end).

%% Proves that of two pools whose preloads call each other both start: a call that a start makes waits for half a minute.
pools_that_wait_for_each_other(_Config) ->
    [First, Second] = Pools = [py_test:unique(pool), py_test:unique(pool)],
    Self = self(),
    Of = fun(Name) -> hd(Pools -- [pool(Name)]) end,
    ok = py:register_function(own, fun([Name]) ->
        Self ! {here, self()},
        receive go -> py:call(Of(Name), math, sqrt, [4]) end
    end),
    Jobs = [py_test:async(fun() -> start(Pool, 1, #{}, [{mode, worker}]) end) || Pool <- Pools],
    [receive {here, Pid} -> Pid ! go end || _ <- Pools],
    [{ok, [_]}, {ok, [_]}] = [py_test:join(Job) || Job <- Jobs],
    ?assert(lists:member([{error, <<"timeout">>}], [said(First), said(Second)])),
    lists:foreach(fun py_test:stop_pool/1, Pools).

%% Proves the same of a start that needs a context where a chain waits for it, which has no limit of time of its own.
chain_that_holds_what_a_start_needs(_Config) ->
    with_pool(#{preload => ""}, [{mode, worker}], fun(Needed) ->
        [Ctx] = py_test:contexts(Needed),
        with_pool(#{}, [{mode, worker}], fun(Pool) ->
            ok = py:register_function(own, fun([_]) -> py:call(Needed, math, sqrt, [4]) end),
            ok = py:register_function(hold, fun([]) ->
                {error, {context_died, _}} = py:call(Pool, os, '_exit', [1]),
                py:call(Pool, math, sqrt, [9])
            end),
            ?assertEqual({ok, {<<"error">>, <<"timeout">>}}, py:eval(Ctx, "__import__('erlang').hold()")),
            ?assertEqual({ok, 3.0}, py:call(Pool, math, sqrt, [9])),
            ?assertEqual([served], said(Pool))
        end)
    end).

%% Helpers.

pool(Name) -> binary_to_existing_atom(Name).

with_pool(Options, Config, Fun) ->
    Pool = py_test:unique(pool),
    {ok, _} = start(Pool, 1, Options, Config),
    try Fun(Pool) after py_test:stop_pool(Pool) end.

%% A pool whose preload asks the function `own', if there is one, and keeps the answer.
start(Pool, Size, Options, Config) ->
    Preload = maps:get(preload, Options, "
import erlang
said = erlang.own(POOL) if hasattr(erlang, 'own') else None
"),
    Named = ["POOL = '", atom_to_list(Pool), "'\n", Preload],
    py_context_router:start_pool(Pool, Size, Options#{mode => proplists:get_value(mode, Config),
                                                      preload => iolist_to_binary(Named)}).

%% What `own' has answered, in each context.
said(Pool) ->
    [answer(py_test:in_process(fun() -> py_context:eval(Ctx, "said") end)) || Ctx <- py_test:contexts(Pool)].

answer({ok, {<<"error">>, {<<"context_died">>, {<<"start_failed">>, Text}}}}) ->
    ?assertNotEqual(nomatch, string:find(Text, "start")),
    refused;
answer({ok, {<<"ok">>, 2.0}}) -> served;
answer({ok, {<<"ok">>, Value}}) -> {ok, Value};
answer({ok, {<<"error">>, Reason}}) -> {error, Reason};
answer({ok, Value}) -> Value.
