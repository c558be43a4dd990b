%% Python calls Erlang, which calls Python: to any depth, in any context, with the namespace of who began, exactly once.
-module(reentry_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 3}}].

all() -> [{group, worker}, {group, owngil}, {group, anywhere}].

groups() ->
    [{anywhere, [],
      [through_the_default_pool, through_other_contexts, through_other_pools, isolation_by_context,
       registered_pool_wins, namespace_at_every_level_everywhere, bound_processes, created_namespace]}
     | py_test_modes:groups(in_each_mode())].

in_each_mode() ->
    [ten_levels, hundreds_of_levels, too_many_levels, one_after_the_other, callbacks_in_finally, except_base_exception,
     exactly_once, levels_share_a_namespace, definitions_of_a_nested_exec_stay, exceptions_through_levels,
     all_operations_at_every_level, large_values_through_levels, recursion_of_python_and_of_callbacks,
     main_is_the_namespace, local_variables_survive].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

init_per_group(Mode, Config) -> py_test_modes:init_group(Mode, Config).
end_per_group(_Group, _Config) -> ok.

init_per_testcase(_Case, Config) ->
    case proplists:get_value(mode, Config) of
        anywhere -> Config;
        Mode ->
            {ok, Ctx} = py_context:new(#{mode => Mode}),
            [{ctx, Ctx} | Config]
    end.

end_per_testcase(_Case, Config) ->
    case proplists:get_value(ctx, Config) of
        undefined -> ok;
        Ctx -> ok = py_context:stop(Ctx)
    end,
    py_test_callbacks:clean_up().

%% In each mode.

%% Proves that ten levels through functions of the caller's own namespace give the right answer.
ten_levels(Config) -> ?assertEqual({ok, 10}, levels(ctx(Config), 10)).

%% Proves the same of a hundred levels, five hundred, and nearly as many as there may be.
hundreds_of_levels(Config) -> [?assertEqual({ok, N}, levels(ctx(Config), N)) || N <- [100, 500, 990]].

%% Proves that one level too many is a RecursionError for who asked for it, and the context goes on.
too_many_levels(Config) ->
    Ctx = ctx(Config),
    {error, {'ErlangError', Text}} = levels(Ctx, 1500),
    ?assertMatch({match, _}, re:run(Text, "RecursionError|ErlangError")),
    ?assertEqual({ok, 50}, levels(Ctx, 50)),
    ok = py:exec(Ctx, <<"def catching(n):\n    try:\n        return erlang.down(n) + 1\n"
                        "    except erlang.ErlangError as error:\n        return -10000\n">>),
    ok = py:register_function(down, fun([N]) -> {ok, V} = py:call(Ctx, '__main__', catching, [N - 1]), V end),
    {ok, Deep} = py:call(Ctx, '__main__', catching, [5000]),
    ?assert(Deep < 0 andalso Deep > -10000).

%% Proves that calls whose arguments are calls work: f(g(h(x))), each of which calls Python.
one_after_the_other(Config) ->
    Ctx = ctx(Config),
    ok = py:exec(Ctx, <<"def double(x):\n    return 2 * x\n">>),
    Double = fun(X) -> {ok, V} = py:call(Ctx, '__main__', double, [X]), V end,
    ok = py:register_function(f, fun([X]) -> Double(X) + 1 end),
    ok = py:register_function(g, fun([X]) -> Double(Double(X)) end),
    ok = py:register_function(h, fun([X]) -> {ok, V} = py:call(Ctx, calling, nested, [[f, g], X]), V end),
    ?assertEqual({ok, f(g(h(3)))}, py:call(Ctx, calling, nested, [[f, g, h], 3])),
    ?assertEqual({ok, f(g(h(4)))}, py:eval(Ctx, <<"erlang.f(erlang.g(erlang.h(4)))">>)),
    ?assertEqual({ok, [f(N) || N <- lists:seq(0, 99)]}, py:eval(Ctx, <<"[erlang.f(n) for n in range(100)]">>)).

f(X) -> 2 * X + 1.
g(X) -> 4 * X.
h(X) -> f(g(X)).

%% Proves that a callback in a finally block works and loses no exception that is on its way.
callbacks_in_finally(Config) ->
    Ctx = ctx(Config),
    ok = py:register_function(again, fun([X]) -> {ok, V} = py:call(Ctx, probe, echo, [X]), V end),
    ?assertEqual({ok, [5, <<"on its way">>]}, py:call(Ctx, calling, in_finally, [again, 5])),
    ok = py:register_function(fails, fun([]) -> error(kaboom) end),
    ?assertEqual({error, {'ErlangError', <<"fails: error:kaboom">>}}, py:call(Ctx, calling, in_finally, [fails])).

%% Proves that code that catches everything catches nothing of how callbacks work.
except_base_exception(Config) ->
    Ctx = ctx(Config),
    ok = py:register_function(again, fun([0]) -> 0;
                                        ([N]) -> {ok, V} = py:call(Ctx, calling, under_except_base, [again, N - 1]),
                                            V end),
    ?assertEqual({ok, [<<"returned">>, [<<"returned">>, [<<"returned">>, 0]]]},
                 py:call(Ctx, calling, under_except_base, [again, 2])),
    ok = py:register_function(fails, fun([]) -> exit(gone) end),
    ?assertEqual({ok, [<<"caught">>, <<"ErlangError">>]}, py:call(Ctx, calling, under_except_base, [fails])).

%% Proves that no effect happens twice: neither those of Python before a callback nor those of Erlang.
exactly_once(Config) ->
    Ctx = ctx(Config),
    Counter = counters:new(1, []),
    ok = py:exec(Ctx, <<"before = after = 0\ndef step(n):\n    global before, after\n    before += 1\n"
                        "    value = erlang.next(n) if n else 0\n    after += 1\n    return value\n">>),
    ok = py:register_function(next, fun([N]) ->
        ok = counters:add(Counter, 1, 1),
        {ok, A} = py:call(Ctx, '__main__', step, [N - 1]),
        {ok, B} = py:call(Ctx, '__main__', step, [N - 1]),
        A + B + 1
    end),
    ?assertEqual({ok, 1023}, py:call(Ctx, '__main__', step, [10])),
    ?assertEqual(1023, counters:get(Counter, 1)),
    ?assertEqual({ok, {2047, 2047}}, py:eval(Ctx, <<"(before, after)">>)).

%% Proves that every level of a chain works in the namespace of the process that began it, and no other process does.
levels_share_a_namespace(Config) ->
    Ctx = ctx(Config),
    ok = py:exec(Ctx, <<"trace = []\n">>),
    ok = py:register_function(next, fun([N]) ->
        ok = py:exec(Ctx, [<<"trace.append(">>, integer_to_binary(N), <<")">>]),
        {ok, V} = py:eval(Ctx, <<"erlang.next(n - 1) if n else len(trace)">>, #{n => N}),
        V
    end),
    ?assertEqual({ok, 6}, py:eval(Ctx, <<"erlang.next(5)">>)),
    ?assertEqual({ok, [5, 4, 3, 2, 1, 0]}, py:eval(Ctx, <<"trace">>)),
    ?assertMatch({error, {'NameError', _}}, py_test:in_process(fun() -> py:eval(Ctx, <<"trace">>) end)),
    Own = [py_test:async(fun() ->
        ok = py:exec(Ctx, [<<"trace = [">>, integer_to_binary(N), <<"]\n">>]),
        {ok, Length} = py:eval(Ctx, <<"erlang.next(3)">>),
        {Length, py:eval(Ctx, <<"trace[0]">>)}
    end) || N <- lists:seq(1, 10)],
    ?assertEqual([{5, {ok, N}} || N <- lists:seq(1, 10)], [py_test:join(Job) || Job <- Own]).

%% Proves that what a nested level defines is there above, also while a loop above it runs.
definitions_of_a_nested_exec_stay(Config) ->
    Ctx = ctx(Config),
    ok = py:register_function(define, fun([Name]) -> py:exec(Ctx, [Name, <<" = '">>, Name, <<"'\n">>]), none end),
    ok = py:exec(Ctx, <<"erlang.define('abc')\nseen = abc\n"
                        "for name in ('a', 'b'):\n    erlang.define(name)\nseen += a + b\n">>),
    ?assertEqual({ok, <<"abcab">>}, py:eval(Ctx, <<"seen">>)).

%% Proves that an exception at the bottom is seen by every level as what it is, and ends at the level that catches it.
exceptions_through_levels(Config) ->
    Ctx = ctx(Config),
    ok = py:exec(Ctx, <<"def down(n):\n    if n == 0:\n        raise KeyError('the bottom')\n"
                        "    return erlang.next(n - 1)\n"
                        "def catching(n):\n    try:\n        return down(n)\n    except erlang.ErlangError as error:\n"
                        "        return (error.error_class, error.reason)\n">>),
    ok = py:register_function(next, fun([N]) ->
        case py:call(Ctx, '__main__', down, [N]) of
            {ok, V} -> V;
            {error, Reason} -> exit({level, N, Reason})
        end
    end),
    ?assertMatch({error, {'KeyError', _}}, py:call(Ctx, '__main__', down, [0])),
    ?assertMatch({ok, {<<"exit">>, {<<"level">>, 0, {<<"KeyError">>, <<"'the bottom'">>}}}},
                 py:call(Ctx, '__main__', catching, [1])),
    {error, {'ErlangError', Text}} = py:call(Ctx, '__main__', down, [5]),
    ?assertMatch({match, _}, re:run(Text, "the bottom")),
    {ok, {<<"exit">>, {<<"level">>, 4, {<<"ErlangError">>, _}}}} = py:call(Ctx, '__main__', catching, [5]),
    ?assertEqual({ok, 1}, py:call(Ctx, probe, echo, [1])).

%% Proves that call, eval, exec, cast and parallel all work inside callbacks, the routed ones too.
all_operations_at_every_level(Config) ->
    Ctx = ctx(Config),
    ok = py:exec(Ctx, <<"def value():\n    return 7\n">>),
    ok = py:register_function(all, fun([N]) ->
        {ok, 7} = py:call(Ctx, '__main__', value, []),
        {ok, 7} = py:eval(Ctx, <<"value()">>),
        ok = py:exec(Ctx, <<"assert value() == 7">>),
        Cast = py:cast(math, sqrt, [49]),
        OnCtx = py:cast(Ctx, '__main__', value, []),
        {ok, Results} = py:parallel([{math, sqrt, [49]} || _ <- lists:seq(1, 8)]),
        [{ok, 7.0}] = lists:usort(Results),
        {ok, 7.0} = py:await(Cast),
        {ok, 7} = py:await(OnCtx),
        {ok, V} = case N of
            0 -> {ok, 0};
            _ -> py:eval(Ctx, <<"erlang.all(n)">>, #{n => N - 1})
        end,
        V + 7
    end),
    ?assertEqual({ok, 7 * 6}, py:eval(Ctx, <<"erlang.all(5)">>)).

%% Proves that arguments and results in pieces pass through levels.
large_values_through_levels(Config) ->
    Ctx = ctx(Config),
    ok = py:register_function(next, fun([0, Value]) -> Value;
                                       ([N, Value]) -> {ok, V} = py:call(Ctx, calling, call, [next, N - 1, Value]),
                                           V end),
    Large = rand:bytes(3 bsl 20),
    ?assert({ok, Large} =:= py:call(Ctx, calling, call, [next, 4, Large])).

%% Proves that Python's limit of recursion counts per level: deep Python in many levels is no recursion.
recursion_of_python_and_of_callbacks(Config) ->
    Ctx = ctx(Config),
    ok = py:exec(Ctx, <<"def deep(k, n):\n    if k: return deep(k - 1, n)\n"
                        "    return erlang.next(n - 1) + 1 if n else 0\n">>),
    ok = py:register_function(next, fun([N]) -> {ok, V} = py:call(Ctx, '__main__', deep, [200, N]), V end),
    ?assertEqual({ok, 100}, py:call(Ctx, '__main__', deep, [200, 100])).

%% Proves that `__main__' is the namespace of the level that runs, before, in and after a callback of another process.
main_is_the_namespace(Config) ->
    Ctx = ctx(Config),
    ok = py:exec(Ctx, <<"import sys, erlang\ndef who():\n    return sys.modules['__main__'].name\nname = 'starter'\n"
                        "def run():\n    return [who(), erlang.other(), who()]\n">>),
    ok = py:register_function(other, fun([]) ->
        {ok, Same} = py:call(Ctx, '__main__', who, []),
        Same
    end),
    ?assertEqual({ok, [<<"starter">>, <<"starter">>, <<"starter">>]}, py:call(Ctx, '__main__', run, [])).

%% Proves that locals of eval are the level's own.
local_variables_survive(Config) ->
    Ctx = ctx(Config),
    ok = py:register_function(next, fun([N]) -> {ok, V} = py:eval(Ctx, <<"(erlang.next(x - 1) if x else 0) + x">>,
        #{x => N}), V end),
    ?assertEqual({ok, 2 * 55}, py:eval(Ctx, <<"erlang.next(x) + sum(range(x + 1))">>, #{x => 10})).

%% Anywhere.

%% Proves that the most natural demo works: routed calls all the way, through '__main__'.
through_the_default_pool(_) ->
    ok = py:exec(<<"def level(n):\n    return erlang.next(n - 1) + 1 if n else 0\n">>),
    ok = py:register_function(next, fun([N]) -> {ok, V} = py:call('__main__', level, [N]), V end),
    _ = [?assertEqual({ok, N}, py:call('__main__', level, [N])) || N <- [0, 1, 10, 100]],
    ok.

%% Proves that levels may alternate between contexts, of all kinds at once.
through_other_contexts(_) ->
    All = [Ctx || Mode <- py_test_modes:supported(), _ <- [1, 2], {ok, Ctx} <- [py_context:new(#{mode => Mode})]]
        ++ py_test:contexts(default),
    Next = fun(N) -> lists:nth(N rem length(All) + 1, All) end,
    ok = py:register_function(next, fun([0]) -> 0;
                                       ([N]) -> {ok, V} = py:call(Next(N), calling, call, [next, N - 1]), V + 1 end),
    _ = [?assertEqual({ok, 60}, py:call(Ctx, calling, call, [next, 60])) || Ctx <- All],
    _ = [ok = py_context:stop(Ctx) || Ctx <- lists:sublist(All, 2 * length(py_test_modes:supported()))],
    ok.

%% Proves the same of pools, each of which has a port process of its own.
through_other_pools(_) ->
    py_test:with_pool(1, #{}, fun(A) ->
        py_test:with_pool(2, #{mode => lists:last(py_test_modes:supported())}, fun(B) ->
            Next = fun(N) -> element(N rem 4 + 1, {default, A, io, B}) end,
            ok = py:register_function(next, fun([0]) -> 0;
                                               ([N]) -> {ok, V} = py:call(Next(N), calling, call, [next, N - 1]),
                                                   V + 1 end),
            ?assertEqual({ok, 60}, py:call(A, calling, call, [next, 60])),
            ?assertEqual({ok, 61}, py:call(default, calling, call, [next, 61]))
        end)
    end).

%% Proves the same where each context is a process of the operating system.
isolation_by_context(_) ->
    py_test:with_pool(3, #{isolation => context}, fun(Pool) ->
        Contexts = py_test:contexts(Pool),
        ok = py:register_function(next, fun([0]) -> 0;
                                           ([N]) ->
            {ok, V} = py:call(lists:nth(N rem 3 + 1, Contexts), calling, call, [next, N - 1]),
            V + 1
        end),
        ?assertEqual({ok, 60}, py:call(Pool, calling, call, [next, 60]))
    end).

%% Proves that a module that is registered for a pool goes there from callbacks, and all else to the context that waits.
registered_pool_wins(_) ->
    ok = py:register_pool(io, statistics),
    Default = py_test:os_pid(default),
    Io = py_test:os_pid(io),
    py_test:with_pool(1, #{}, fun(Pool) ->
        Own = py_test:os_pid(Pool),
        ok = py:register_function(places, fun([]) ->
            {ok, Here} = py:call(os, getpid, []),
            {ok, Mean} = py:call(statistics, mean, [[1, 3]]),
            {ok, There} = py:call(io, os, getpid, []),
            {ok, First} = py:call(default, os, getpid, []),
            [Here, Mean, There, First]
        end),
        ?assertEqual({ok, [Default, 2, Io, Default]}, py:call(default, calling, call, [places])),
        {ok, [Here, 2, Io, _]} = py_test:in_process(fun() -> py:call(Pool, calling, call, [places]) end),
        ?assertEqual(Own, Here)
    end),
    ok = py:unregister_pool(statistics).

%% Proves that in every context that a chain visits it finds the starter's namespace there, and leaves nothing
%% elsewhere.
namespace_at_every_level_everywhere(_) ->
    Contexts = [Ctx || Mode <- py_test_modes:supported(), {ok, Ctx} <- [py_context:new(#{mode => Mode})]]
               ++ py_test:contexts(io),
    Count = length(Contexts),
    Work = fun(Token) ->
        _ = [ok = py:exec(Ctx, ["token = '", Token, "'\ncount = 0\ndef step(n):\n    global count\n    count += 1\n",
                                "    return [token] + (erlang.next(n - 1) if n else [])\n"]) || Ctx <- Contexts],
        {ok, Tokens} = py:call(lists:last(Contexts), '__main__', step, [4 * Count - 1]),
        ?assertEqual(lists:duplicate(4 * Count, list_to_binary(Token)), Tokens),
        _ = [?assertEqual({ok, 4}, py:eval(Ctx, <<"count">>)) || Ctx <- Contexts],
        done
    end,
    ok = py:register_function(next, fun([N]) ->
        {ok, V} = py:call(lists:nth(N rem Count + 1, Contexts), '__main__', step, [N]),
        V
    end),
    Jobs = [py_test:async(fun() -> Work("process " ++ integer_to_list(N)) end) || N <- lists:seq(1, 8)],
    _ = [?assertEqual(done, py_test:join(Job)) || Job <- Jobs],
    _ = [ok = py_context:stop(Ctx) || Ctx <- lists:sublist(Contexts, length(py_test_modes:supported()))],
    ok.

%% Proves that what its starter is bound to, and what a callback binds itself to, are where routed calls go.
bound_processes(_) ->
    py_test:with_context(#{}, fun(A) ->
        py_test:with_context(#{}, fun(B) ->
            [{ok, ThreadA}, {ok, ThreadB}] = [py:call(Ctx, probe, thread, []) || Ctx <- [A, B]],
            ok = py:register_function(here, fun([]) -> {ok, V} = py:call(probe, thread, []), V end),
            ok = py:register_function(bound, fun([]) ->
                ok = py_context_router:bind_context(B),
                {ok, V} = py:call(probe, thread, []),
                V
            end),
            py_test:in_process(fun() ->
                ok = py_context_router:bind_context(A),
                ?assertEqual({ok, ThreadA}, py:call(calling, call, [here])),
                ?assertEqual({ok, ThreadB}, py:call(calling, call, [bound])),
                ?assertEqual({ok, ThreadA}, py:call(calling, call, [here]))
            end)
        end)
    end).

%% Proves that a request in a namespace made by create_local_env keeps it in its callbacks.
created_namespace(_) ->
    py_test:with_context(#{}, fun(Ctx) ->
        {ok, Env} = py_context:create_local_env(Ctx),
        ok = py_context:exec(Ctx, <<"x = 'in the env'">>, Env),
        ok = py:register_function(x, fun([]) -> {ok, V} = py:eval(Ctx, <<"x">>), V end),
        ?assertEqual({ok, <<"in the env">>}, py_context:eval(Ctx, <<"erlang.x()">>, #{}, 5000, Env))
    end).

%% Helpers.

ctx(Config) -> proplists:get_value(ctx, Config).

levels(Ctx, N) ->
    ok = py:exec(Ctx, <<"def level(n):\n    return erlang.next(n - 1) + 1 if n else 0\n">>),
    ok = py:register_function(next, fun([Left]) -> {ok, V} = py:call(Ctx, '__main__', level, [Left]), V end),
    py:call(Ctx, '__main__', level, [N]).
