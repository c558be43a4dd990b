%% A timeout, an interrupt, a stop or a death in the middle of a chain of calls ends every level of it, and nothing
%% else.
-module(callback_unwind_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 1}}].

all() -> [{group, worker}, {group, owngil}].

groups() ->
    Cases = [timeout_while_the_last_level_sleeps, timeout_while_the_last_level_spins, timeout_while_erlang_waits,
             timeout_of_an_inner_level, timeout_of_a_call_across_contexts, no_limit_of_its_own, many_timeouts,
             swallowed_timeout, interrupt_in_the_middle, interrupt_while_erlang_waits, stop_in_the_middle,
             answers_while_stopping,
             stop_from_a_callback, death_in_the_middle, death_across_pools, caller_is_killed, callback_is_abandoned,
             answer_after_the_timeout],
    py_test_modes:groups(Cases).

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

init_per_group(Mode, Config) -> py_test_modes:init_group(Mode, Config).
end_per_group(_Group, _Config) -> ok.

init_per_testcase(_Case, Config) ->
    Pool = py_test:start_pool(2, #{mode => proplists:get_value(mode, Config)}),
    [A, B] = py_test:contexts(Pool),
    %% An import that is interrupted stays broken.
    _ = [{ok, 1} = py:call(Ctx, calling, warm, []) || Ctx <- [A, B | py_test:contexts(default)]],
    Self = self(),
    ok = py:register_function(ended, fun([Level]) -> Self ! {ended, Level}, none end),
    %% What a finally block says by calling back once more, through Python.
    ok = py:register_function(ended_nested, fun([Level]) ->
        {ok, Level} = py:call(probe, echo, [Level]),
        Self ! {ended, Level},
        none
    end),
    [{pool, Pool}, {a, A}, {b, B} | Config].

end_per_testcase(_Case, Config) ->
    _ = py_test:stop_pool(proplists:get_value(pool, Config)),
    py_test_callbacks:clean_up().

%% Proves that the timeout of the outermost call ends all levels, the last of which sleeps in Python, and that their
%% finally blocks run and may call Erlang.
timeout_while_the_last_level_sleeps(Config) ->
    Ctx = a(Config),
    chain(Ctx, 5, fun() -> py:call(Ctx, calling, sleep_steps, [600]) end),
    ?assertEqual({error, timeout}, start(Ctx, 5, #{timeout => 200})),
    all_ended(5),
    still_works(Config).

%% Proves the same while the last level runs bytecode for ever.
timeout_while_the_last_level_spins(Config) ->
    Ctx = a(Config),
    chain(Ctx, 5, fun() -> py:call(Ctx, calling, finally_spins, [ended_nested, 0]) end),
    ?assertEqual({error, timeout}, start(Ctx, 5, #{timeout => 200})),
    all_ended(5),
    receive {ended, 0} -> ok end,
    still_works(Config).

%% Proves the same while the last callback waits in Erlang: its process is ended.
timeout_while_erlang_waits(Config) ->
    Ctx = a(Config),
    Self = self(),
    chain(Ctx, 5, fun() -> Self ! {waits, self()}, receive never -> ok end end),
    ?assertEqual({error, timeout}, start(Ctx, 5, #{timeout => 200})),
    receive {waits, Pid} -> py_test:eventually(fun() -> not is_process_alive(Pid) end) end,
    all_ended(5),
    still_works(Config).

%% Proves that a timeout of an inner call ends the levels above it only; those below see it as any error and go on.
timeout_of_an_inner_level(Config) ->
    Ctx = a(Config),
    ok = py:register_function(inner, fun([]) ->
        {error, timeout} = py:call(Ctx, calling, finally_sleeps, [ended_nested, inner, 600], #{timeout => 100}),
        {ok, 5} = py:call(Ctx, probe, echo, [5]),
        5
    end),
    ?assertEqual({ok, 5}, py:call(Ctx, calling, finally_calls, [ended_nested, outer, call, inner],
        #{timeout => 60000})),
    receive {ended, <<"inner">>} -> ok end,
    receive {ended, <<"outer">>} -> ok end,
    still_works(Config).

%% Proves that a timeout reaches the levels of a chain in other contexts, through the processes that it ends.
timeout_of_a_call_across_contexts(Config) ->
    [A, B] = [a(Config), b(Config)],
    Self = self(),
    ok = py:register_function(next, fun([0]) -> Self ! {waits, self()}, receive never -> ok end;
                                       ([N]) ->
        Other = case N rem 2 of 0 -> A; 1 -> B end,
        {ok, V} = py:call(Other, calling, finally_calls, [ended_nested, N, call, next, N - 1]),
        V
    end),
    ?assertEqual({error, timeout}, py:call(A, calling, finally_calls, [ended_nested, 4, call, next, 3],
        #{timeout => 200})),
    receive {waits, Pid} -> py_test:eventually(fun() -> not is_process_alive(Pid) end) end,
    %% The innermost is told first. One further out may be cancelled when it is in its finally block already, for the error
    %% that came from within: what it calls there is cut short then, but it has been there.
    receive {ended, 1} -> ok end,
    still_works(Config),
    Ended = [begin {ok, Tokens} = py:call(Ctx, calling, take_ended, []), Tokens end || Ctx <- lists:usort([A, B])],
    ?assertEqual([1, 2, 3, 4], lists:usort(lists:append(Ended))).

%% Proves that callbacks have no limit of their own: the caller's counts, also where a plain call has 30 seconds.
no_limit_of_its_own(Config) ->
    Ctx = a(Config),
    ok = py:register_function(limit, fun([]) -> py_time_limit:total(default, py_env:caller()) =:= infinity end),
    ?assertEqual({ok, true}, py:call(Ctx, calling, call, [limit])).

%% Proves that hundreds of timeouts at random moments of chains leave nothing behind and no wrong answer.
many_timeouts(Config) ->
    Contexts = [a(Config), b(Config)],
    ok = py:register_function(hop, fun([0]) -> 0;
                                      ([N]) ->
        Ctx = lists:nth(rand:uniform(2), Contexts),
        case py:call(Ctx, calling, call, [hop, N - 1], #{timeout => 1000}) of
            {ok, V} -> V + 1;
            {error, Reason} -> exit(Reason)
        end
    end),
    Jobs = [py_test:async(fun() ->
        [py:call(Ctx, calling, call, [hop, 12], #{timeout => rand:uniform(8)}) || _ <- lists:seq(1, 40),
            Ctx <- Contexts]
    end) || _ <- lists:seq(1, 6)],
    Results = lists:append([py_test:join(Job) || Job <- Jobs]),
    ?assertEqual([], [R || R <- Results, R =/= {ok, 12}, R =/= {error, timeout}, not is_overload(R)]),
    still_works(Config).

is_overload({error, {overloaded, _, _}}) -> true;
is_overload(_) -> false.

%% Proves that Python code that swallows the interrupt while a callback runs is interrupted again, and the caller is
%% told.
swallowed_timeout(Config) ->
    Ctx = a(Config),
    ok = py:exec(Ctx, <<"import erlang\ndef swallow():\n    for n in range(3):\n        try:\n"
                        "            erlang.never()\n"
                        "        except BaseException as error:\n"
                        "            erlang.ended(type(error).__name__)\n    return n\n">>),
    ok = py:register_function(never, fun([]) -> receive never -> ok end end),
    ?assertEqual({error, timeout}, py:call(Ctx, '__main__', swallow, [], #{timeout => 100})),
    _ = [receive {ended, Name} -> ?assertEqual(<<"KeyboardInterrupt">>, Name) end || _ <- [1, 2, 3]],
    still_works(Config).

%% Proves that py:interrupt ends all levels of the context, whatever the last one does.
interrupt_in_the_middle(Config) ->
    Ctx = a(Config),
    Self = self(),
    _ = [begin
             chain(Ctx, 5, fun() -> py:call(Ctx, calling, tell_and, [tell, Function | Args]) end),
             ok = py:register_function(tell, fun([]) -> Self ! last, none end),
             Job = py_test:async(fun() -> start(Ctx, 5, #{}) end),
             receive last -> ok end,
             timer:sleep(Pause),
             ok = py:interrupt(Ctx),
             ?assertEqual({error, interrupted}, py_test:join(Job)),
             all_ended(5)
         end || {Function, Args} <- [{sleep_steps, [600]}, {finally_spins, [ended_nested, 0]}], Pause <- [0, 5, 50]],
    flush(),
    still_works(Config).

%% Proves that py:interrupt ends the levels while the last callback waits in Erlang.
interrupt_while_erlang_waits(Config) ->
    Ctx = a(Config),
    Self = self(),
    _ = [begin
             chain(Ctx, Depth, fun() -> Self ! last, receive never -> ok end end),
             Job = py_test:async(fun() -> start(Ctx, Depth, #{}) end),
             receive last -> ok end,
             ok = py:interrupt(Ctx),
             ?assertEqual({error, interrupted}, py_test:join(Job)),
             all_ended(Depth)
         end || _ <- lists:seq(1, 10), Depth <- [1, 2, 20]],
    still_works(Config).

%% Proves that a context that is stopped in the middle of a chain answers every level of it.
stop_in_the_middle(Config) ->
    Self = self(),
    _ = [begin
             {ok, Ctx} = py_context:new(#{mode => proplists:get_value(mode, Config)}),
             chain(Ctx, 5, fun() -> Last(Ctx) end),
             ok = py:register_function(tell, fun([]) -> Self ! last, none end),
             Job = py_test:async(fun() -> start(Ctx, 5, #{}) end),
             receive last -> ok end,
             ok = py_context:stop(Ctx),
             ?assertMatch({error, {context_died, _}}, py_test:join(Job)),
             all_ended(5)
         end || Last <- [fun(Ctx) -> py:call(Ctx, calling, tell_and, [tell, sleep_steps, 600]) end,
                         fun(_) -> Self ! last, receive never -> ok end end]],
    still_works(Config).

%% Proves that a finally block gets the answers to its callbacks also in a context that is being stopped.
answers_while_stopping(Config) ->
    Self = self(),
    {ok, Ctx} = py_context:new(#{mode => proplists:get_value(mode, Config)}),
    ok = py:register_function(same, fun([Value]) -> Value end),
    ok = py:register_function(never, fun([]) -> Self ! last, receive never -> ok end end),
    Job = py_test:async(fun() ->
        ok = py:exec(Ctx, <<"def run():\n    try:\n        erlang.never()\n    finally:\n"
        "        erlang.ended(sum(erlang.same(n) for n in range(100)))\n">>),
        py:call(Ctx, '__main__', run, [])
    end),
    receive last -> ok end,
    ok = py_context:stop(Ctx),
    ?assertMatch({error, {context_died, _}}, py_test:join(Job)),
    receive {ended, 4950} -> ok after 0 -> error(no_answers) end.

%% Proves that a callback may stop the context that waits for it.
stop_from_a_callback(Config) ->
    {ok, Ctx} = py_context:new(#{mode => proplists:get_value(mode, Config)}),
    ok = py:register_function(stop, fun([]) -> ok = py_context:stop(Ctx), none end),
    ?assertMatch({error, {context_died, _}}, py:call(Ctx, calling, finally_calls, [ended, 1, call, stop])),
    still_works(Config).

%% Proves that the death of the port process in the middle of a chain reaches every level's caller.
death_in_the_middle(Config) ->
    Ctx = a(Config),
    Self = self(),
    OsPid = py_test:os_pid(Ctx),
    ok = py:register_function(next, fun([0]) -> Self ! {waits, self()}, receive never -> ok end;
                                       ([N]) -> py:call(Ctx, calling, call, [next, N - 1]) end),
    Job = py_test:async(fun() -> py:call(Ctx, calling, call, [next, 10]) end),
    receive {waits, Pid} -> ok end,
    py_test:signal(OsPid, "KILL"),
    ?assertMatch({error, {context_died, _}}, py_test:join(Job)),
    py_test:eventually(fun() -> not is_process_alive(Pid) end),
    still_works(Config).

%% Proves that a chain of which one pool dies goes on in the other, where the death is an error like any other.
death_across_pools(Config) ->
    Pool = proplists:get_value(pool, Config),
    OsPid = py_test:os_pid(Pool),
    ok = py:register_function(there, fun([]) ->
        {error, {context_died, _}} = py:call(Pool, calling, call, [back]),
        {ok, V} = py:call(default, probe, echo, [7]),
        V
    end),
    ok = py:register_function(back, fun([]) ->
        py_test:signal(OsPid, "KILL"),
        receive never -> ok end
    end),
    ?assertEqual({ok, 7}, py:call(default, calling, call, [there])),
    still_works(Config).

%% Proves that the death of who began a chain leaves a chain that ends by itself or at its deadline.
caller_is_killed(Config) ->
    Ctx = a(Config),
    Self = self(),
    ok = py:register_function(next, fun([0]) -> Self ! {waits, self()}, receive go -> none end;
                                       ([N]) -> {ok, V} = py:call(Ctx, calling, call, [next, N - 1]), V end),
    {Caller, Monitor} = py_test:async(fun() -> py:call(Ctx, calling, call, [next, 5]) end),
    receive {waits, Pid} -> ok end,
    exit(Caller, kill),
    receive {'DOWN', Monitor, _, _, _} -> ok end,
    Pid ! go,
    still_works(Config),
    {Other, _} = py_test:async(fun() -> py:call(Ctx, calling, call, [next, 5], #{timeout => 200}) end),
    receive {waits, _} -> exit(Other, kill) end,
    still_works(Config).

%% Proves that what an abandoned callback asks of Python afterwards does no harm, and its answer reaches nobody.
callback_is_abandoned(Config) ->
    Ctx = a(Config),
    Self = self(),
    ok = py:register_function(never, fun([]) ->
        process_flag(trap_exit, true),
        receive {'EXIT', _, Reason} -> Self ! {abandoned, Reason, py:call(Ctx, probe, echo, [1])} end,
        <<"an answer that nobody waits for">>
    end),
    _ = [begin
             ?assertEqual({error, timeout}, py:call(Ctx, calling, call, [never], #{timeout => 20})),
             receive {abandoned, Reason, Result} ->
                 ?assertEqual({{shutdown, abandoned}, {ok, 1}}, {Reason, Result})
             end
         end || _ <- lists:seq(1, 10)],
    still_works(Config).

%% Proves that an answer that comes at the moment of the timeout is never taken for that of the next callback.
answer_after_the_timeout(Config) ->
    Ctx = a(Config),
    ok = py:register_function(slow, fun([N]) -> timer:sleep(N rem 7), N end),
    _ = [case py:call(Ctx, calling, call, [slow, N], #{timeout => 3}) of
             {ok, N} -> ok;
             {error, timeout} -> ok;
             %% Those that timed out hold their slots until Python has seen it.
             {error, {overloaded, _, _}} -> ok
         end || N <- lists:seq(1, 300)],
    ok = py:register_function(same, fun([N]) -> N end),
    ?assertEqual({ok, lists:seq(1, 100)}, py:eval(Ctx, <<"[erlang.same(n) for n in range(1, 101)]">>)),
    still_works(Config).

%% Helpers.

a(Config) -> proplists:get_value(a, Config).
b(Config) -> proplists:get_value(b, Config).

%% Registers `next' so that `Depth' levels end in `Last'.
chain(Ctx, _Depth, Last) ->
    ok = py:register_function(next, fun([0]) -> Last();
                                       ([N]) ->
        case py:call(Ctx, calling, finally_calls, [ended_nested, N, call, next, N - 1]) of
            {ok, V} -> V;
            {error, Reason} -> exit(Reason)
        end
    end).

start(Ctx, Depth, Options) ->
    py:call(Ctx, calling, finally_calls, [ended_nested, Depth, call, next, Depth - 1], Options).

%% Innermost first.
all_ended(Depth) ->
    lists:foreach(fun(N) -> receive {ended, N} -> ok after 20000 -> error({level_did_not_end, N}) end end,
                  lists:seq(1, Depth)).

flush() -> receive {ended, _} -> flush() after 0 -> ok end.

still_works(Config) ->
    Pool = proplists:get_value(pool, Config),
    ok = py:register_function(works, fun([X]) -> {ok, V} = py:call(Pool, probe, echo, [X]), V end),
    py_test:eventually(fun() -> py:call(Pool, probe, echo, [1]) =:= {ok, 1} end),
    _ = [?assertEqual({ok, N}, py:call(Ctx, calling, call, [works, N]))
         || Ctx <- py_test:contexts(Pool), N <- lists:seq(1, 5)],
    py_test:nothing_left().
