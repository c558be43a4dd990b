%% Context variables, decimal's arithmetic among them, belong to the namespace of an Erlang process.
-module(variables_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(DEFAULT, {ok, [28, none]}).

suite() -> [{timetrap, {minutes, 1}}].

all() -> [{group, worker}, {group, owngil}, {group, isolated}].

groups() ->
    py_test_modes:placement_groups(
        [stay_with_their_process, reach_coroutines_and_streams, of_coroutines_end_with_them, of_a_process_without_a_namespace,
         of_a_call_in_steps, tokens_hold_from_one_request_to_the_next, of_the_shared_namespace, of_an_env_made_by_hand,
         preload_is_where_all_begin, imports_of_the_pool_are_preload_too]).

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

init_per_group(Placement, Config) -> py_test_modes:placed_pool_group(Placement, 1, #{}, Config).
end_per_group(_Placement, Config) -> py_test_modes:end_pool_group(Config).

%% Proves that what one process sets is there in its next requests, whatever their kind, and nowhere else.
stay_with_their_process(Config) ->
    Ctx = ctx(Config),
    own(Ctx, 5),
    _ = [py_test:in_process(fun() ->
        ?assertEqual(?DEFAULT, both(Ctx)),
        own(Ctx, N),
        ?assertEqual({ok, [N, N]}, both(Ctx))
    end) || N <- [7, 9]],
    py_test:in_process(fun() -> ?assertEqual({ok, <<"0.3333333333333333333333333333">>}, third(Ctx)) end),
    ?assertEqual({ok, <<"0.33333">>}, third(Ctx)),
    ?assertEqual({ok, [5, 5]}, both(Ctx)),
    ?assertEqual({ok, [5, 5]}, py:await(py:cast(Ctx, variables, both, []))).

%% Proves that coroutines and streams of a process begin with what it has set, in each of their steps.
reach_coroutines_and_streams(Config) ->
    ok = py_context_router:bind_context(ctx(Config)),
    own(ctx(Config), 6),
    Streams = [both_again_and_again, both_again_and_again_later],
    Run = fun() ->
        [py:async_await(py:async_call(variables, both_later, []))
         | [py:stream(variables, Stream, [3]) || Stream <- Streams]]
    end,
    ?assertEqual([{ok, [[6, 6], [6, 6]]} | [{ok, [[6, 6], [6, 6], [6, 6]]} || _ <- Streams]], Run()),
    Others = py_test:in_process(fun() ->
        ok = py_context_router:bind_context(ctx(Config)),
        Run()
    end),
    ?assertEqual([{ok, [[28, none], [28, none]]} | [{ok, [[28, none] || _ <- [1, 2, 3]]} || _ <- Streams]], Others),
    ok = py_context_router:unbind_context().

%% Proves that what a coroutine sets is its own, as in asyncio, while others run in between.
of_coroutines_end_with_them(Config) ->
    Ctx = ctx(Config),
    ok = py_context_router:bind_context(Ctx),
    Refs = [{N, py:async_call(variables, set_both_later, [N])} || N <- lists:seq(1, 20)],
    _ = [?assertEqual({ok, [N, N]}, py:async_await(Ref)) || {N, Ref} <- Refs],
    ?assertEqual(?DEFAULT, both(Ctx)),
    ok = py_context_router:unbind_context().

%% Proves that what a process sets by a call while it has no namespace ends with that call.
of_a_process_without_a_namespace(Config) ->
    Ctx = ctx(Config),
    py_test:in_process(fun() ->
        {ok, none} = py:call(Ctx, variables, set_both, [5]),
        ?assertEqual(?DEFAULT, both(Ctx)),
        own(Ctx, 6),
        ?assertEqual({ok, [6, 6]}, both(Ctx))
    end).

%% Proves that a call in steps keeps them from step to step, with others in between.
of_a_call_in_steps(Config) ->
    Ctx = ctx(Config),
    Jobs = [{N, py_test:async(fun() -> py:call(Ctx, variables, set_in_steps, [N, 200]) end)} || N <- lists:seq(1, 8)],
    _ = [?assertEqual({ok, [N, N]}, py_test:join(Job)) || {N, Job} <- Jobs],
    InNamespaces = [{N, py_test:async(fun() ->
        own(Ctx, 40),
        {py:call(Ctx, variables, set_in_steps, [N, 200]), both(Ctx)}
    end)} || N <- lists:seq(1, 8)],
    _ = [?assertEqual({{ok, [N, N]}, {ok, [N, N]}}, py_test:join(Job)) || {N, Job} <- InNamespaces],
    ok.

%% Proves that the requests of a process run in one and the same contextvars.Context: a token of one of them can be used
%% in another.
tokens_hold_from_one_request_to_the_next(Config) ->
    Ctx = ctx(Config),
    ok = py:exec(Ctx, <<"import variables\ntoken = variables.variable.set(1)">>),
    ok = py_test:in_process(fun() -> own(Ctx, 3) end),
    ?assertEqual({ok, 1}, py:eval(Ctx, <<"variables.variable.get()">>)),
    ok = py:exec(Ctx, <<"variables.variable.reset(token)">>),
    ?assertEqual({ok, none}, py:eval(Ctx, <<"variables.variable.get()">>)).

%% Proves that the shared namespace of a context has its own, which the requests that name it see.
of_the_shared_namespace(Config) ->
    Ctx = ctx(Config),
    ok = py_context:exec(Ctx, <<"import variables\nvariables.set_both(11)">>),
    py_test:in_process(fun() -> ?assertEqual({ok, [11, 11]}, py_context:call(Ctx, variables, both, [])) end),
    py_test:in_process(fun() -> ?assertEqual(?DEFAULT, both(Ctx)) end),
    ?assertEqual({ok, none}, py_context:call(Ctx, variables, set_both, [12])),
    ?assertEqual({ok, [12, 12]}, py_context:eval(Ctx, <<"variables.both()">>)).

%% Proves that a namespace made by hand has its own.
of_an_env_made_by_hand(Config) ->
    Ctx = ctx(Config),
    own(Ctx, 5),
    {ok, Env} = py_context:create_local_env(Ctx),
    ?assertEqual(?DEFAULT, py_context:call(Ctx, variables, both, [], Env)),
    ok = py_context:exec(Ctx, <<"import variables\nvariables.set_both(13)">>, Env),
    ?assertEqual({ok, [13, 13]}, py_context:call(Ctx, variables, both, [], Env)),
    ?assertEqual({ok, [5, 5]}, both(Ctx)).

%% Proves that every process begins with what the preload has set, and that nobody changes it for the others, although
%% decimal's context is one object.
preload_is_where_all_begin(Config) ->
    Preload = <<"import variables\nvariables.set_both(50)">>,
    py_test:with_pool(1, (options(Config))#{preload => Preload}, fun begins_with_fifty/1).

%% Proves the same of modules that the pool imports.
imports_of_the_pool_are_preload_too(Config) ->
    py_test:with_pool(1, (options(Config))#{imports => [<<"variables_preset">>]}, fun begins_with_fifty/1).

begins_with_fifty(Pool) ->
    [Ctx] = py_test:contexts(Pool),
    Fifty = {ok, [50, 50]},
    ?assertEqual(Fifty, both(Ctx)),
    _ = [py_test:in_process(fun() ->
        ok = py:exec(Ctx, <<"import variables">>),
        ?assertEqual(Fifty, both(Ctx)),
        own(Ctx, 6),
        ?assertEqual({ok, [6, 6]}, both(Ctx))
    end) || _ <- [1, 2]],
    {ok, none} = py:call(Ctx, variables, set_both, [7]),
    ok = py_context:exec(Ctx, <<"import variables\nvariables.set_both(8)">>),
    py_test:in_process(fun() -> ?assertEqual(Fifty, both(Ctx)) end).

%% Helpers.

options(Config) -> proplists:get_value(options, Config).

ctx(Config) -> py_test_modes:first_context(Config).

own(Ctx, N) -> ok = py:exec(Ctx, ["import variables\nvariables.set_both(", integer_to_list(N), ")"]).

both(Ctx) -> py:call(Ctx, variables, both, []).

third(Ctx) -> py:eval(Ctx, <<"str(__import__('decimal').Decimal(1) / 3)">>).
