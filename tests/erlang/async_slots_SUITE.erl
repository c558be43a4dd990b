%% Coroutines and the limit max_concurrent: they hold a slot while Python runs them, and those that begin one after the
%% other in one context hold one together.
-module(async_slots_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 1}}].

all() ->
    [slots_are_given_back_while_waiting, cancel_of_a_request_that_waits_for_a_slot, one_slot_for_thousands,
     one_slot_for_those_that_never_wait, cancel_while_they_begin, timeout_while_they_begin, death_while_they_begin,
     stop_while_they_begin, one_too_large_among_them, functions_between_coroutines,
     the_first_coroutine_keeps_its_place, cancel_while_the_first_one_is_made].

init_per_testcase(_Case, Config) ->
    ok = py_test:start([{max_concurrent, 1}, {max_frame_bytes, 1 bsl 20}]),
    _ = [{ok, _} = py:call(Ctx, tasks, pending, []) || Ctx <- py_test:contexts(default)],
    Config.

end_per_testcase(_Case, _Config) ->
    ok = py_test:nothing_left(),
    py_test:stop().

%% Proves that coroutines that wait hold no slot: with two slots a thousand wait and calls go on.
slots_are_given_back_while_waiting(_) ->
    ok = py_semaphore:set_max_concurrent(2),
    Ctx = py:context(1),
    Refs = [py:async_call(Ctx, tasks, wait_gate, [<<"slots">>]) || _ <- lists:seq(1, 1000)],
    ok = py_test:eventually(fun() -> py:call(Ctx, tasks, pending, []) =:= {ok, 1000} end),
    _ = [?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])) || _ <- lists:seq(1, 100)],
    ?assertEqual(0, py_semaphore:current()),
    {ok, _} = py:call(Ctx, tasks, open_gate, [<<"slots">>]),
    _ = [?assertEqual({ok, <<"open">>}, py:async_await(Ref)) || Ref <- Refs],
    ?assertEqual(0, py_semaphore:current()).

%% Proves that a coroutine that has no slot yet is cancelled, with the one behind it going on.
cancel_of_a_request_that_waits_for_a_slot(_) ->
    ok = py_semaphore:set_max_concurrent(1),
    ok = py_semaphore:acquire(infinity),
    Refs = [First, Second, Third] = [py:async_call(tasks, value, [N]) || N <- [1, 2, 3]],
    ok = py:cancel(Second),
    ?assertEqual({error, cancelled}, py:async_await(Second)),
    ok = py:cancel(First),
    ?assertEqual({error, cancelled}, py:async_await(First)),
    ok = py_semaphore:release(),
    ?assertEqual({ok, 3}, py:async_await(Third)),
    ?assertEqual([{error, timeout}], lists:usort([py:async_await(Ref, 0) || Ref <- Refs])).

%% Proves that thousands of one process get through one slot, each with its own result, while another process calls.
one_slot_for_thousands(_) ->
    Other = py_test:async(fun() -> [{ok, 4.0} = py:call(math, sqrt, [16]) || _ <- lists:seq(1, 200)] end),
    Refs = [{N, py:async_call(tasks, value, [N, 0.001])} || N <- lists:seq(1, 5000)],
    _ = [?assertEqual({ok, N}, py:async_await(Ref)) || {N, Ref} <- Refs],
    ?assertEqual(200, length(py_test:join(Other))).

%% Proves the same for coroutines and functions that are done at once.
one_slot_for_those_that_never_wait(_) ->
    Refs = [{N, py:async_call(M, F, [N])} || N <- lists:seq(1, 5000), {M, F} <- [{tasks, value_at_once}, {operator, pos}]],
    _ = [?assertEqual({ok, N}, py:async_await(Ref)) || {N, Ref} <- Refs].

%% Those that wait for the only slot are sent together when it comes back.
together(Ctx, Count, Gate) ->
    ok = py_semaphore:acquire(infinity),
    Refs = [py:async_call(Ctx, tasks, wait_gate, [Gate]) || _ <- lists:seq(1, Count)],
    ok = py_semaphore:release(),
    Refs.

%% Proves that each of them can be cancelled, whether it has begun or not, and that the others go on.
cancel_while_they_begin(_) ->
    Ctx = py:context(1),
    _ = [begin
        Gate = integer_to_binary(Round),
        Refs = together(Ctx, 100, Gate),
        {Kept, Cancelled} = lists:partition(fun(_) -> rand:uniform(2) =:= 1 end, Refs),
        lists:foreach(fun py:cancel/1, Cancelled),
        _ = [?assertEqual({error, cancelled}, py:async_await(Ref)) || Ref <- Cancelled],
        ok = py_test:eventually(fun() -> py:call(Ctx, tasks, pending, []) =:= {ok, length(Kept)} end),
        {ok, _} = py:call(Ctx, tasks, open_gate, [Gate]),
        _ = [?assertEqual({ok, <<"open">>}, py:async_await(Ref)) || Ref <- Kept]
    end || Round <- lists:seq(1, 20)].

%% Proves that those that have not begun in time are told so, and the slot comes back.
timeout_while_they_begin(_) ->
    Ctx = py:context(1),
    ok = py_semaphore:acquire(infinity),
    Busy = [py:async_call(Ctx, probe, spin, [], #{timeout => 300})],
    Refs = [py:async_call(Ctx, tasks, value, [N], #{timeout => 100}) || N <- lists:seq(1, 50)],
    ok = py_semaphore:release(),
    ?assertEqual([{error, timeout}], lists:usort([timed_out(py:async_await(Ref)) || Ref <- Busy ++ Refs])),
    ?assertEqual({ok, 4.0}, py:call(Ctx, math, sqrt, [16])).

timed_out({error, {overloaded, 1, 1}}) -> {error, timeout};
timed_out(Result) -> Result.

%% Proves that all are told when the port process dies, and the slot comes back.
death_while_they_begin(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        [Ctx] = py_test:contexts(Pool),
        {ok, _} = py:call(Ctx, tasks, pending, []),
        OsPid = py_test:os_pid(Pool),
        Refs = together(Ctx, 200, <<"together">>),
        py_test:signal(OsPid, "KILL"),
        ?assertMatch([{error, {context_died, _}}], lists:usort([py:async_await(Ref) || Ref <- Refs])),
        ?assertEqual({ok, 4.0}, py:call(Pool, math, sqrt, [16]))
    end).

%% Proves the same when their context is stopped.
stop_while_they_begin(_) ->
    {ok, Ctx} = py_context:new(#{mode => worker}),
    {ok, _} = py:call(Ctx, tasks, pending, []),
    Refs = together(Ctx, 200, <<"together">>),
    ok = py_context:stop(Ctx),
    ?assertEqual([{error, {context_died, stopped}}], lists:usort([py:async_await(Ref) || Ref <- Refs])).

%% Proves that a request that cannot be sent is an error for itself alone.
one_too_large_among_them(_) ->
    ok = py_semaphore:acquire(infinity),
    Large = binary:copy(<<"x">>, 2 bsl 20),
    Values = [1, 2, Large, 4, Large],
    Refs = [py:async_call(tasks, value, [Value]) || Value <- Values],
    ok = py_semaphore:release(),
    ?assertMatch([{ok, 1}, {ok, 2}, {error, {too_large, _, _}}, {ok, 4}, {error, {too_large, _, _}}],
                 [py:async_await(Ref) || Ref <- Refs]).

%% Proves that what is called between them keeps its place.
functions_between_coroutines(_) ->
    Ctx = py:context(1),
    ok = py_context_router:bind_context(Ctx),
    ok = py:exec(<<"seen = []\nasync def note(n):\n    seen.append(n)\n">>),
    ok = py_semaphore:acquire(infinity),
    Refs = [case N rem 3 of
        0 -> py:async_call('__main__', 'seen.append', [N]);
        1 -> py:async_call('__main__', note, [N]);
        2 -> none = none_wanted(py:cast('__main__', 'seen.append', [N]))
    end || N <- lists:seq(1, 300)],
    ok = py_semaphore:release(),
    _ = [?assertEqual({ok, none}, py:async_await(Ref)) || Ref <- Refs, is_reference(Ref)],
    ?assertEqual({ok, lists:seq(1, 300)}, py:eval(<<"seen">>)).

none_wanted(_) -> none.

%% Proves the same for the first coroutine of a context, whose loop has to be started for it.
the_first_coroutine_keeps_its_place(_) ->
    ok = py_semaphore:set_max_concurrent(10),
    _ = [py_test:in_process(fun() ->
        {ok, Ctx} = py_context:new(#{mode => worker}),
        ok = py_context_router:bind_context(Ctx),
        ok = py:exec(<<"seen = []\nasync def note(n):\n    seen.append(n)\n">>),
        Busy = py:cast(time, sleep, [0.02]),
        Refs = [py:async_call('__main__', note, [1]) | [py:cast('__main__', 'seen.append', [N]) || N <- [2, 3]]],
        _ = [{ok, none} = py:await(Ref) || Ref <- [Busy | tl(Refs)]],
        {ok, none} = py:async_await(hd(Refs)),
        ?assertEqual({ok, [1, 2, 3]}, py:eval(<<"seen">>)),
        ok = py_context:stop(Ctx)
    end) || _ <- lists:seq(1, 10)],
    ok.

%% Proves that a coroutine that is cancelled while C code makes it, or before its first step, is answered: the first one of a
%% context, whose loop does not run yet.
cancel_while_the_first_one_is_made(_) ->
    _ = [py_test:with_context(#{mode => worker}, fun(Ctx) ->
        {ok, []} = py:call(Ctx, tasks, waiting, []),
        Ref = py:async_call(Ctx, tasks, held, []),
        timer:sleep(50),
        ok = py:cancel(Ref),
        ?assertEqual({error, cancelled}, py:async_await(Ref)),
        ?assertEqual({ok, []}, py:call(Ctx, tasks, waiting, []))
    end) || _ <- lists:seq(1, 3)],
    ok.
