%% The shapes of calls: every target takes the same, with the same options, and lists of pairs where maps are taken.
-module(shapes_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [shapes_without_python, strings_that_are_lists, wrong_shapes, routed, in_the_default_pool, {group, worker}, {group, owngil},
     {group, own_process}, pools_by_registration, keyword_lists_of_pools, keyword_lists_in_the_configuration,
     keyword_lists_of_contexts, none_of_the_application, none_of_a_pool].

groups() ->
    [{Group, [], [calls, kwargs_and_timeouts, options, code, streams, tasks, none_of_a_call]}
     || Group <- [worker, owngil, own_process]].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

init_per_group(own_process, Config) ->
    [{pool, py_test:start_pool(2, #{isolation => context})} | Config];
init_per_group(Mode, Config) ->
    py_test_modes:pool_group(Mode, 2, #{}, Config).

end_per_group(_Group, Config) ->
    py_test:stop_pool(proplists:get_value(pool, Config)).

init_per_testcase(Case, Config) when Case =:= none_of_the_application; Case =:= keyword_lists_in_the_configuration ->
    Config;
init_per_testcase(_Case, Config) ->
    Config.

end_per_testcase(Case, _Config) when Case =:= none_of_the_application; Case =:= keyword_lists_in_the_configuration ->
    ok = py_test:start();
end_per_testcase(_Case, _Config) ->
    ok.

%% As values.

%% Proves what each shape stands for: the target, what is called, the flags and the limit of time.
shapes_without_python(_) ->
    Ctx = self(),
    Call = fun(Kwargs) -> {call, m, f, [1], Kwargs} end,
    _ = [?assertEqual({Args, Expected}, {Args, py_call:tuple(Args)}) || {Args, Expected} <- [
        {{m, f, [1]}, {routed, Call(#{}), 0, default}},
        {{m, f, [1], #{a => 2}}, {routed, Call(#{a => 2}), 0, default}},
        {{m, f, [1], [{a, 2}]}, {routed, Call(#{a => 2}), 0, default}},
        {{m, f, [1], []}, {routed, Call(#{}), 0, default}},
        {{m, f, [1], #{kwargs => #{a => 2}, timeout => 5}}, {routed, Call(#{kwargs => #{a => 2}, timeout => 5}), 0, default}},
        {{m, f, [1], #{a => 2}, 5}, {routed, Call(#{a => 2}), 0, 5}},
        {{m, f, [1], [{a, 2}], infinity}, {routed, Call(#{a => 2}), 0, infinity}},
        {{m, f, [1], #{a => 2}, #{timeout => 5, strict => true}}, {routed, Call(#{a => 2}), 2, 5}},
        {{m, f, [1], #{}, [{traceback, true}, buffer]}, {routed, Call(#{}), 5, default}},
        {{m, f, [1], #{}, [{strict, false}, {none_as, nil}]}, {routed, Call(#{}), 32, default}},
        {{p, m, f, [1]}, {{pool, p}, Call(#{}), 0, default}},
        {{p, m, f, [1], #{timeout => 5}}, {{pool, p}, Call(#{timeout => 5}), 0, default}},
        {{p, m, f, [1], [{timeout, 5}]}, {{pool, p}, Call(#{timeout => 5}), 0, default}},
        {{p, m, f, [1], 5}, {{pool, p}, Call(#{}), 0, 5}},
        {{p, m, f, [1], #{kwargs => 1, timeout => 5}}, {{pool, p}, Call(#{kwargs => 1, timeout => 5}), 0, default}},
        {{p, m, f, [1], [{a, 2}], [{timeout, 5}]}, {{pool, p}, Call(#{a => 2}), 0, 5}},
        {{p, m, f, [1], #{}, #{traceback => true}}, {{pool, p}, Call(#{}), 1, default}},
        {{Ctx, m, f, [1]}, {{context, Ctx}, Call(#{}), 0, infinity}},
        {{Ctx, m, f, [1], 5}, {{context, Ctx}, Call(#{}), 0, 5}},
        {{Ctx, m, f, [1], #{timeout => 5}}, {{context, Ctx}, Call(#{}), 0, 5}},
        {{Ctx, m, f, [1], [{kwargs, [{a, 2}]}, {strict, true}]}, {{context, Ctx}, Call(#{a => 2}), 2, infinity}},
        {{Ctx, m, f, [1], #{a => 2}, 5}, {{context, Ctx}, Call(#{a => 2}), 0, 5}},
        {{Ctx, m, f, [1], #{a => 2}, #{buffer => true}}, {{context, Ctx}, Call(#{a => 2}), 4, infinity}}]],
    ?assertEqual({routed, {eval, <<"x">>, #{x => 1}}, 0, default}, py_call:eval("x", [{x, 1}])),
    ?assertEqual({{pool, p}, {eval, <<"x">>, #{}}, 0, default}, py_call:eval(p, "x")),
    ?assertEqual({{context, Ctx}, {eval, <<"x">>, #{}}, 0, infinity}, py_call:eval(Ctx, "x")),
    ?assertEqual({routed, {eval, <<"x">>, #{}}, 0, 5}, py_call:eval("x", #{}, 5)),
    ?assertEqual({{pool, p}, {eval, <<"x">>, #{x => 1}}, 1, default}, py_call:eval(p, "x", #{x => 1}, #{traceback => true})),
    ?assertEqual({routed, {exec, <<"x">>}, 0, 5}, py_call:exec("x", 5)),
    ?assertEqual({routed, {exec, <<"x">>}, 1, default}, py_call:exec("x", [traceback])),
    ?assertEqual({{pool, p}, {exec, <<"x">>}, 0, default}, py_call:exec(p, "x")),
    ?assertEqual({{pool, p}, {exec, <<"x">>}, 0, 5}, py_call:exec(p, "x", #{timeout => 5})).

%% Proves that a string in the place of a function names one, unless what follows are keyword arguments and there is no pool
%% of the first name.
strings_that_are_lists(_) ->
    ?assertMatch({{pool, io}, {call, math, <<"sqrt">>, [16], _}, 0, default}, py_call:request(io, math, "sqrt", [16])),
    ?assertMatch({{pool, none}, {call, math, <<"sqrt">>, [16], _}, 0, default}, py_call:request(none, math, "sqrt", [16])),
    ?assertMatch({{pool, io}, {call, time, <<"time">>, [], _}, 0, default}, py_call:request(io, time, "time", [])),
    ?assertMatch({routed, {call, m, f, "text", _}, 0, default}, py_call:request(m, f, "text", [])),
    ?assertMatch({routed, {call, m, f, "text", #{a := 1}}, 0, default}, py_call:request(m, f, "text", [{a, 1}])),
    ?assertMatch({routed, {call, m, f, "1 text", #{}}, 0, default}, py_call:request(m, f, "1 text", [])),
    ?assertMatch({routed, {call, m, f, "text", #{a := 1}}, 0, 5}, py_call:request(m, f, "text", [{a, 1}], 5)),
    ?assertMatch({routed, {call, m, f, "text", #{a := 1, b := true}}, 0, default}, py_call:request(m, f, "text", [{a, 1}, b])),
    ?assertMatch({routed, {call, m, f, "text", #{a := true}}, 0, 5}, py_call:request(m, f, "text", [a], 5)),
    ?assertMatch({{pool, io}, {call, m, <<"f">>, [a], _}, 0, default}, py_call:request(io, m, "f", [a])),
    ?assertMatch({{pool, io}, {call, m, <<"f">>, [1], #{a := 1}}, 0, default}, py_call:request(io, m, "f", [1], [{a, 1}])),
    ?assertEqual({ok, 4.0}, py:call(io, "math", "sqrt", [16])).

%% Proves that what cannot be meant is an exception that says which argument it is.
wrong_shapes(_) ->
    Ctx = self(),
    _ = [?assertError({bad_argument, Which, _}, Fun()) || {Which, Fun} <- [
        {kwargs, fun() -> py:call(m, f, [], a) end},
        {kwargs, fun() -> py:call(m, f, [], [a, 1]) end},
        {kwargs, fun() -> py:call(m, f, [], [{1, 2}]) end},
        {args, fun() -> py:call(io, m, f, a) end},
        {pool, fun() -> py:call(<<"io">>, m, f, []) end},
        {pool, fun() -> py:call("io", m, f, [], #{}, 5) end},
        {timeout, fun() -> py:call(io, m, f, [], #{}, soon) end},
        {options, fun() -> py:call(io, m, f, [], #{}, #{kwargs => #{}}) end},
        {options, fun() -> py:call(io, m, f, [], #{}, #{none_as => nothing}) end},
        {options, fun() -> py:call(io, m, f, [], #{}, #{strict => 1}) end},
        {options, fun() -> py:call(Ctx, m, f, [], #{time_out => 5}) end},
        {options, fun() -> py:call(m, f, [], #{}, [{timeout, 5}, {<<"x">>, 1}]) end},
        {timeout, fun() -> py:eval("1", #{}, #{timeout => -1}) end},
        {locals, fun() -> py:eval(io, "1", 5) end},
        {pool, fun() -> py:eval("io", "1", #{}, 5) end},
        {code, fun() -> py:exec(io, 5) end},
        {timeout, fun() -> py:exec("x = 1", soon) end},
        {call, fun() -> py:parallel([{Ctx, m, f, []}]) end},
        {call, fun() -> py:stream_fold(fun(X, _) -> X end, 0, {m, f}) end}]],
    ok.

%% Every target.

routed(_) ->
    ?assertEqual({ok, {[1], #{<<"a">> => 2}}}, py:call(probe, arguments, [1], [{a, 2}])),
    ?assertEqual({error, timeout}, py:call(time, sleep, [1], #{}, #{timeout => 50})),
    ?assertMatch({error, {'JSONDecodeError', _, <<"Traceback", _/binary>>}}, py:call(json, loads, [<<"x">>], [], [traceback])),
    ?assertMatch({error, {'ZeroDivisionError', _, _}}, py:eval("1/0", [], [traceback])),
    ?assertEqual(ok, py:exec("x = 1", #{timeout => 5000})),
    ?assertEqual({error, timeout}, py:exec("while True: pass", 50)),
    ?assertEqual({ok, [nil]}, py:stream_eval("[None]", #{}, #{none_as => nil})),
    ?assertEqual({ok, [{ok, {[], #{<<"a">> => 1}}}, {ok, nil}, {error, timeout}]},
                 py:parallel([{probe, arguments, [], [{a, 1}]}, {io, builtins, print, [], #{}, [{none_as, nil}]},
                              {time, sleep, [1], [], 50}])).

%% The calls of the issue, word for word.
in_the_default_pool(_) ->
    ?assertEqual({error, timeout}, py:call(io, time, sleep, [1], #{}, 100)),
    ?assertEqual({ok, 1}, py:eval(io, "1")),
    ?assertEqual(ok, py:exec(io, "y = 2")),
    ?assertEqual({ok, 2}, py:eval(io, "y")).

%% Proves that calls, casts and what waits for them take every shape.
calls(Config) ->
    _ = [begin
             Call = fun(Extra) -> apply(py, call, [Target, probe, arguments, [1] | Extra]) end,
             Kwargs = {ok, {[1], #{<<"a">> => 2}}},
             ?assertEqual({ok, {[1], #{}}}, Call([])),
             ?assertEqual({ok, {[1], #{}}}, Call([30000])),
             ?assertEqual(Kwargs, Call([#{a => 2}, 30000])),
             ?assertEqual(Kwargs, Call([[{a, 2}], [{timeout, 30000}]])),
             ?assertEqual(Kwargs, py:await(py:cast(Target, probe, arguments, [1], [{a, 2}], #{timeout => infinity}))),
             ?assertEqual(Kwargs, py:await(py:spawn_call(Target, probe, arguments, [1], #{a => 2}, 30000))),
             ?assertEqual(Kwargs, py:async_await(py:async_call(Target, probe, arguments, [1], #{a => 2}, 30000)))
         end || Target <- targets(Config)],
    ok.

targets(Config) ->
    Pool = proplists:get_value(pool, Config),
    [Pool, hd(py_test:contexts(Pool))].

%% Proves that a keyword argument of Python may be called timeout, or kwargs, and that a timeout is none; on a context it is options
%% that stand there.
kwargs_and_timeouts(Config) ->
    [Pool, Ctx] = targets(Config),
    ?assertEqual({ok, {[], #{<<"timeout">> => 5}}}, py:call(Pool, probe, arguments, [], #{timeout => 5})),
    ?assertEqual({ok, {[], #{}}}, py:call(Ctx, probe, arguments, [], #{timeout => 30000})),
    ?assertEqual({ok, {[], #{<<"timeout">> => 5}}}, py:call(Ctx, probe, arguments, [], #{timeout => 5}, 30000)),
    Kwargs = {ok, {[], #{<<"kwargs">> => #{<<"a">> => 2}}}},
    ?assertEqual(Kwargs, py:call(probe, arguments, [], #{kwargs => #{a => 2}})),
    ?assertEqual(Kwargs, py:call(Pool, probe, arguments, [], #{kwargs => #{a => 2}})),
    ?assertEqual(Kwargs, py:await(py:cast(Pool, probe, arguments, [], [{kwargs, #{a => 2}}]))),
    ?assertEqual(Kwargs, py:async_await(py:async_call(probe, arguments, [], #{kwargs => #{a => 2}}))),
    Named = {ok, {[], #{<<"a">> => 2}}},
    ?assertEqual(Named, py:call(Ctx, probe, arguments, [], #{kwargs => #{a => 2}})),
    ?assertEqual(Named, py:await(py:cast(Ctx, probe, arguments, [], [{kwargs, [{a, 2}]}]))),
    _ = [begin
             ?assertEqual({error, timeout}, py:call(Target, time, sleep, [0.5], #{}, 50)),
             ?assertEqual({error, timeout}, py:await(py:cast(Target, time, sleep, [0.5], #{}, 50))),
             ?assertEqual({error, timeout}, py:async_await(py:async_call(Target, asyncio, sleep, [30], #{}, 50)))
         end || Target <- [Pool, Ctx]],
    ok.

%% Proves that each option does what it does on every target.
options(Config) ->
    _ = [begin
             ?assertMatch({error, {'JSONDecodeError', _, <<"Traceback", _/binary>>}},
                          py:call(Target, json, loads, [<<"x">>], #{}, #{traceback => true})),
             ?assertEqual({error, {not_encodable, {type, <<"object">>}}},
                          py:call(Target, builtins, object, [], #{}, #{strict => true})),
             ?assertMatch({ok, <<"<object", _/binary>>}, py:call(Target, builtins, object, [], #{}, #{strict => false})),
             ?assertEqual({ok, <<1, 2>>}, py:eval(Target, "__import__('array').array('B', [1, 2])", #{}, #{buffer => true})),
             ?assertEqual({ok, [1, 2]}, py:eval(Target, "__import__('array').array('B', [1, 2])", #{}, []))
         end || Target <- targets(Config)],
    ok.

%% Proves that expressions and statements run in pools and contexts, in the caller's own namespace.
code(Config) ->
    _ = [begin
             ?assertEqual({ok, 7}, py:eval(Target, "a + 1", [{a, 6}])),
             ?assertEqual({ok, 7}, py:eval(Target, "a + 1", #{a => 6}, 30000)),
             ?assertEqual({error, timeout}, py:eval(Target, "__import__('time').sleep(0.5)", #{}, #{timeout => 50})),
             ?assertEqual(ok, py:exec(Target, "def here(): return 'here'")),
             ?assertEqual(ok, py:exec(Target, "x = 1", 30000)),
             ?assertMatch({error, {'NameError', _, _}}, py:exec(Target, "missing", #{traceback => true})),
             ?assertEqual({ok, <<"here">>}, py:call(Target, '__main__', here, []))
         end || Target <- targets(Config)],
    ok.

%% Proves the same of streams.
streams(Config) ->
    _ = [begin
             ?assertEqual({ok, [0, 1, 2]}, py:stream(Target, builtins, range, [3])),
             ?assertEqual({ok, [0, 1, 2]}, py:stream(Target, builtins, range, [3], [], 30000)),
             ?assertEqual({ok, [2, 1]}, py:stream(Target, builtins, sorted, [[1, 2]], [{reverse, true}], [])),
             ?assertEqual({ok, [0, 2, 4]}, py:stream_eval(Target, "[2 * n for n in range(limit)]", [{limit, 3}])),
             ?assertEqual({ok, [1]}, py:stream_eval(Target, "[1]")),
             ?assertEqual({ok, [nil]}, py:stream_eval(Target, "[None]", #{}, #{none_as => nil})),
             ?assertEqual({ok, 3}, py:stream_fold(fun(N, Sum) -> N + Sum end, 0, {Target, builtins, range, [3]})),
             ?assertEqual({error, timeout}, py:stream_fold(fun(N, _) -> N end, 0, {Target, streams, step_by_step, [2, 0.5], [], 50}))
         end || Target <- targets(Config)],
    {ok, Ref} = py:stream_start(builtins, range, [1], [{pool, hd(targets(Config))}, {kwargs, []}, {none_as, nil}]),
    ?assertEqual([{ok, 0}, done], [py:stream_next(Ref, 30000) || _ <- [1, 2]]).

%% Proves the same of tasks on event loops.
tasks(Config) ->
    _ = [begin
             Done = {ok, <<"done">>},
             ?assertEqual(Done, py_event_loop:run(Target, asyncio, sleep, [0, <<"done">>])),
             ?assertEqual(Done, py_event_loop:await(py_event_loop:create_task(Target, asyncio, sleep, [0], [{result, <<"done">>}]))),
             ?assertEqual({ok, [<<"done">>, nil]},
                          py:async_gather([{Target, asyncio, sleep, [0, <<"done">>]},
                                           {Target, asyncio, sleep, [0], #{}, #{none_as => nil}}]))
         end || Target <- targets(Config)],
    Ctx = lists:last(targets(Config)),
    ?assertEqual({ok, <<"done">>}, py_context:submit_await(Ctx, asyncio, sleep, [0], [{result, <<"done">>}], [{timeout, 30000}])),
    ?assertEqual({ok, <<"done">>}, py_event_loop:run(asyncio, sleep, [0], [{kwargs, [{result, <<"done">>}]}, {timeout, 30000}])).

%% Proves that None comes as the call asks, at whatever depth, as a key too.
none_of_a_call(Config) ->
    Expr = "[None, {None: (None,)}, True]",
    _ = [begin
             ?assertEqual({ok, [none, #{none => {none}}, true]}, py:eval(Target, Expr)),
             _ = [?assertEqual({ok, [As, #{As => {As}}, true]}, py:eval(Target, Expr, #{}, #{none_as => As}))
                  || As <- [nil, undefined, none]],
             ?assertEqual({ok, nil}, py:async_await(py:async_call(Target, asyncio, sleep, [0], #{}, [{none_as, nil}]))),
             ?assertEqual({error, {not_encodable, {duplicate_key, <<"Atom('nil')">>}}},
                          py:eval(Target, "{None: 1, __import__('erlang').Atom('nil'): 2}", #{}, #{none_as => nil}))
         end || Target <- targets(Config)],
    ok.

pools_by_registration(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        ok = py:register_pool(Pool, probe),
        ?assertEqual({ok, {[1], #{<<"a">> => 2}}}, py:call(probe, arguments, [1], [{a, 2}], [{timeout, 30000}])),
        ok = py:unregister_pool(probe)
    end).

%% Keyword lists of options.

keyword_lists_of_pools(_) ->
    Pool = py_test:unique(pool),
    {ok, [_]} = py_context_router:start_pool(Pool, 1, [{isolation, context}, {sandbox, [{net, none}]}, {env, [{"A", "b"}]}]),
    ?assertMatch(#{Pool := #{isolation := context}}, py:stats()),
    ?assertEqual({ok, <<"b">>}, py:call(Pool, os, getenv, [<<"A">>])),
    ok = py_test:stop_pool(Pool),
    _ = [?assertMatch({error, {bad_option, _, _}}, py_context_router:start_pool(Pool, 1, Bad))
         || Bad <- [[{isolation, none}], [1], [isolation | context], {isolation, context}, "text", 7]],
    ok.

keyword_lists_in_the_configuration(_) ->
    ok = py_test:start([{pools, [{reports, 2, [{isolation, context}]}, {more, 1, [{none_as, nil}]}, {plain, 1, worker}]}]),
    ?assertMatch(#{reports := #{isolation := context, size := 2}, plain := #{mode := worker}}, py:stats()),
    ?assertEqual({ok, nil}, py:eval(more, "None")).

keyword_lists_of_contexts(_) ->
    {ok, Ctx} = py_context:new([{mode, worker}, {preload, "greeting = 'hello'"}]),
    ?assertEqual({ok, <<"hello">>}, py_context:eval(Ctx, "greeting", [{unused, 1}], [{timeout, 30000}])),
    ?assertMatch({error, {'NameError', _, _}}, py_context:exec(Ctx, "missing", [traceback])),
    ok = py_context:start_loop(Ctx, [{owner, self()}]),
    ok = py_context:stop(Ctx).

%% None for all.

%% Proves that the application's key is about everything that comes from Python, and that a call may say otherwise.
none_of_the_application(_) ->
    ok = py_test:start([{none_as, nil}]),
    ?assertEqual({ok, [nil]}, py:eval("[None]")),
    ?assertEqual({ok, [none]}, py:eval("[None]", #{}, #{none_as => none})),
    ?assertEqual({ok, [nil]}, py:stream_eval("[None]")),
    Self = self(),
    ok = py:register_function(takes, fun(Args) -> Self ! {takes, Args}, ok end),
    ?assertEqual({ok, <<"ok">>}, py:eval("erlang.takes(None, [None])")),
    receive {takes, Args} -> ?assertEqual([nil, [nil]], Args) end,
    ?assertEqual({ok, nil}, py:eval("erlang.send(pid, ('sent', None))", #{pid => Self})),
    receive {<<"sent">>, Sent} -> ?assertEqual(nil, Sent) end,
    ?assertEqual({ok, true}, py:eval("value is None", #{value => nil})),
    ?assertMatch({error, {bad_config, none_as, _}}, failed_start([{none_as, nothing}])).

failed_start(Env) ->
    py_test:stop(),
    ok = application:load(erlang_python),
    _ = [application:set_env(erlang_python, K, V) || {K, V} <- Env],
    {error, {erlang_python, {Reason, _}}} = application:ensure_all_started(erlang_python),
    case Reason of
        {bad_return, {_, Error}} -> Error;
        Error -> {error, Error}
    end.

none_of_a_pool(_) ->
    py_test:with_pool(1, #{none_as => undefined}, fun(Pool) ->
        ?assertEqual({ok, undefined}, py:eval(Pool, "None")),
        ?assertEqual({ok, none}, py:eval("None"))
    end).
