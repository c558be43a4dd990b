%% Nothing is mixed up: every caller gets its own value, under load, in every mode and size; contexts keep order and
%% do not wait for each other.
-module(order_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 4}}].

all() ->
    [own_value_in_worker, own_value_in_owngil, own_value_in_isolated_processes, own_value_of_large_sizes,
     own_value_while_callers_die, own_value_while_calls_time_out, own_value_while_limit_changes,
     order_across_processes, one_request_at_a_time, alternating_contexts,
     long_call_blocks_no_other_context, long_call_blocks_no_large_reply, no_call_is_lost].

init_per_suite(Config) -> ok = py_test:start([{max_concurrent, 300}]), Config.
end_per_suite(_Config) -> py_test:stop().

%% Proves that 200 callers of two worker contexts get their own values, 100 calls each, of mixed sizes.
own_value_in_worker(_) ->
    py_test:with_pool(2, #{max_concurrent => 300}, fun(Pool) -> load(Pool, 200, 100, small_sizes()) end).

%% Proves the same of interpreters with their own GIL.
own_value_in_owngil(_) ->
    py_test_modes:with_owngil(fun() ->
        py_test:with_pool(2, #{mode => owngil, max_concurrent => 300}, fun(Pool) -> load(Pool, 200, 100, small_sizes()) end)
    end).

%% Proves the same of a pool whose contexts are processes of their own.
own_value_in_isolated_processes(_) ->
    py_test:with_pool(2, #{isolation => context, max_concurrent => 300}, fun(Pool) -> load(Pool, 100, 50, small_sizes()) end).

%% Proves that values of up to 3 MiB, which travel in pieces, are not mixed with small ones or with each other.
own_value_of_large_sizes(_) ->
    Sizes = [0, 1000, 65536, 1 bsl 20, (1 bsl 20) + 1, 3 bsl 20],
    py_test:with_pool(2, #{max_concurrent => 300}, fun(Pool) -> load(Pool, 30, 12, Sizes) end).

%% Proves that the survivors get their own values while other callers are killed in the middle of theirs.
own_value_while_callers_die(_) ->
    py_test:with_pool(2, #{max_concurrent => 300}, fun(Pool) ->
        %% Linked to their killer, they end with it.
        Victims = spawn(fun() -> process_flag(trap_exit, true), victims(Pool) end),
        load(Pool, 30, 30, [0, 100, 5000, 1500000]),
        exit(Victims, kill),
        py_test:no_slots_taken()
    end).

victims(Pool) ->
    Doomed = [spawn_link(fun() -> endless_calls(Pool) end) || _ <- lists:seq(1, 20)],
    timer:sleep(rand:uniform(5)),
    _ = [exit(Pid, kill) || Pid <- Doomed],
    victims(Pool).

endless_calls(Pool) ->
    _ = py:call(Pool, probe, answer, [<<"doomed">>, rand:uniform(200000)]),
    endless_calls(Pool).

%% Proves the same while other calls time out, so that late replies are about.
own_value_while_calls_time_out(_) ->
    py_test:with_pool(2, #{max_concurrent => 300}, fun(Pool) ->
        Hasty = [py_test:async(fun() ->
            [py:call(Ctx, probe, tagged_sleep, [<<"late">>, 0.005], #{timeout => 3})
             || _ <- lists:seq(1, 40), Ctx <- py_test:contexts(Pool)]
        end) || _ <- lists:seq(1, 3)],
        load(Pool, 50, 40, small_sizes()),
        _ = [?assertEqual([], [R || R <- py_test:join(Job), R =/= {error, timeout}, R =/= {ok, <<"late">>}])
             || Job <- Hasty],
        ok
    end).

%% Proves the same while the limit of concurrent calls goes up and down.
own_value_while_limit_changes(_) ->
    py_test:with_pool(2, #{max_concurrent => 300}, fun(Pool) ->
        Changer = spawn_link(fun() -> change_limit(Pool) end),
        load(Pool, 100, 60, [0, 100]),
        unlink(Changer),
        exit(Changer, kill),
        ok = py_semaphore:set_max_concurrent(Pool, 300),
        py_test:no_slots_taken()
    end).

change_limit(Pool) ->
    ok = py_semaphore:set_max_concurrent(Pool, rand:uniform(10)),
    timer:sleep(2),
    change_limit(Pool).

%% Every caller makes its calls with tokens that nobody else uses; each answer must be made of its own token.
load(Pool, Callers, Calls, Sizes) ->
    Jobs = [py_test:async(fun() -> caller(Pool, Caller, Calls, Sizes) end) || Caller <- lists:seq(1, Callers)],
    _ = [?assertEqual(ok, py_test:join(Job)) || Job <- Jobs],
    ok.

caller(_, _, 0, _) -> ok;
caller(Pool, Caller, Calls, Sizes) ->
    Token = iolist_to_binary([integer_to_list(Caller), $-, integer_to_list(Calls)]),
    Size = lists:nth(1 + (Caller + Calls) rem length(Sizes), Sizes),
    %% The token goes with an argument of the same size, so that requests are as mixed as replies.
    {ok, {Token, Text}} = py:call(Pool, probe, answer, [Token, Size], #{}),
    Unit = <<Token/binary, ".">>,
    Expected = binary:part(binary:copy(Unit, Size div byte_size(Unit) + 1), 0, Size),
    ?assert(Text =:= Expected),
    {ok, {Token, Echoed}} = py:call(Pool, probe, echo, [{Token, Expected}]),
    ?assert(Echoed =:= Expected),
    caller(Pool, Caller, Calls - 1, Sizes).

small_sizes() -> [0, 1, 20, 300, 4000, 70000].

%% Proves that what several processes do to one context one after the other happens there in that order.
order_across_processes(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        [Ctx] = py_test:contexts(Pool),
        _ = [{ok, N} = py_test:in_process(fun() -> py:call(Ctx, probe, arrive, [N]) end) || N <- lists:seq(1, 300)],
        ?assertEqual({ok, lists:seq(1, 300)}, py:call(Ctx, probe, arrivals, []))
    end).

%% Proves that a context never runs two requests at once, whoever sends them.
one_request_at_a_time(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        [Ctx] = py_test:contexts(Pool),
        ok = py_context:exec(Ctx, <<"import time\ninside = 0\nmost = 0\n"
                                    "def enter():\n"
                                    "    global inside, most\n"
                                    "    inside += 1\n"
                                    "    most = max(most, inside)\n"
                                    "    time.sleep(0.002)\n"
                                    "    inside -= 1\n"
                                    "    return most\n">>),
        Jobs = [py_test:async(fun() -> [py_context:call(Ctx, '__main__', enter, []) || _ <- lists:seq(1, 10)] end)
                || _ <- lists:seq(1, 20)],
        ?assertEqual([{ok, 1}], lists:usort(lists:append([py_test:join(Job) || Job <- Jobs])))
    end).

%% Proves that one caller going from context to context gets the right one's answer every time.
alternating_contexts(_) ->
    py_test:with_pool(4, #{}, fun(Pool) ->
        Contexts = py_test:contexts(Pool),
        Threads = [{Ctx, py:call(Ctx, probe, thread, [])} || Ctx <- Contexts],
        Walkers = [py_test:async(fun() ->
            [?assertEqual(Thread, py:call(Ctx, probe, thread, [])) || _ <- lists:seq(1, 250), {Ctx, Thread} <- Threads]
        end) || _ <- [1, 2, 3]],
        _ = [py_test:join(Walker) || Walker <- Walkers],
        ok
    end).

%% Proves that a call that never ends in one context leaves the other contexts of its process answering, in both modes.
long_call_blocks_no_other_context(_) ->
    _ = [py_test:with_pool(3, #{mode => Mode}, fun(Pool) ->
             [Busy | Free] = py_test:contexts(Pool),
             Job = py_test:spinning(Busy),
             _ = [?assertEqual({ok, N}, py:call(Ctx, probe, echo, [N])) || Ctx <- Free, N <- lists:seq(1, 50)],
             ok = py:interrupt(Busy),
             ?assertEqual({error, interrupted}, py_test:join(Job))
         end) || Mode <- py_test_modes:supported()],
    ok.

%% Proves that large replies of another context pass while one context computes.
long_call_blocks_no_large_reply(_) ->
    py_test:with_pool(2, #{max_concurrent => 300}, fun(Pool) ->
        [Busy, Free] = py_test:contexts(Pool),
        Job = py_test:spinning(Busy),
        Text = binary:copy(<<"y">>, 10 bsl 20),
        ?assert({ok, Text} =:= py:call(Free, probe, echo, [Text])),
        ok = py:interrupt(Busy),
        ?assertEqual({error, interrupted}, py_test:join(Job))
    end).

%% Proves that of 20 000 calls of 100 callers on the default pool none is lost.
no_call_is_lost(_) ->
    Jobs = [py_test:async(fun() -> length([ok || N <- lists:seq(1, 200), {ok, N} =:= py:call(probe, echo, [N])]) end)
            || _ <- lists:seq(1, 100)],
    ?assertEqual(20000, lists:sum([py_test:join(Job) || Job <- Jobs])),
    ?assertEqual(0, py_semaphore:current()).
