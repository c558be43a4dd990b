%% The limit on callbacks that run at once (pool option max_callbacks): the others wait in the port, in order, for free;
%% nesting never waits for it; a port that does not keep to it is kept to it here.
-module(callback_limit_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").
-include("../../erlang_src/py_protocol.hrl").

suite() -> [{timetrap, {minutes, 3}}].

all() -> [{group, worker}, {group, owngil}, {group, others}].

groups() ->
    Cases = [no_more_than_the_limit, order_is_kept, threads_wait_too, nested_beyond_the_limit, deep_with_a_limit_of_one,
             coroutines_in_a_nested_request, cancelled_ones_never_leave, timeout_ends_those_that_wait,
             system_functions_do_not_wait, send_needs_no_place, large_arguments_wait_whole, memory_is_given_back],
    [{worker, [], Cases}, {owngil, [], Cases},
     {others, [], [default_limit, infinity, option_is_checked, three_hundred_thousand, hostile_port_is_refused, large_arguments,
                   large_arguments_of_a_hostile_port,
                   abandoned_that_stay_are_killed]}].

init_per_suite(Config) -> ok = py_test:start([{num_contexts, 2}]), Config.
end_per_suite(_Config) -> py_test:stop().

init_per_group(others, Config) -> Config;
init_per_group(Mode, Config) -> py_test_modes:init_group(Mode, Config).

end_per_group(_Group, _Config) -> ok.

end_per_testcase(_Case, _Config) -> py_test:nothing_left().

%% Proves that of a hundred callbacks three run at a time, and all of them in the end.
no_more_than_the_limit(Config) ->
    Running = counters:new(1, [atomics]),
    Most = counters:new(1, [atomics]),
    ok = py:register_function(slowly, fun([N]) ->
        counters:add(Running, 1, 1),
        note_most(Most, counters:get(Running, 1)),
        timer:sleep(2),
        counters:sub(Running, 1, 1),
        N
    end),
    with_limit(3, Config, fun(_, Ctx) ->
        ?assertEqual({ok, lists:seq(0, 99)}, task(Ctx, gather, [slowly, 100])),
        ?assertEqual(3, counters:get(Most, 1))
    end).

note_most(Most, Now) -> counters:get(Most, 1) >= Now orelse counters:put(Most, 1, Now).

%% Proves that with room for one they run in the order in which they were made.
order_is_kept(Config) ->
    Self = self(),
    ok = py:register_function(ordered, fun([N]) -> Self ! {ran, N}, N end),
    with_limit(1, Config, fun(_, Ctx) ->
        {ok, _} = task(Ctx, gather, [ordered, 200]),
        ?assertEqual(lists:seq(0, 199), [receive {ran, N} -> N end || _ <- lists:seq(1, 200)])
    end).

%% Proves the same of threads, which wait without the GIL.
threads_wait_too(Config) ->
    ok = py:register_function(same, fun([N]) -> timer:sleep(1), N end),
    with_limit(2, Config, fun(_, Ctx) ->
        ?assertEqual({ok, lists:seq(0, 39)}, py:call(Ctx, gated, in_threads, [same, 40]))
    end).

%% Proves that 1,200 coroutines whose functions call Python, which calls Erlang, come to an end with a limit of 1,000,
%% and with one of 5; with functions and with coroutines in the middle, which are a thousand levels of one context, or a
%% thousand tasks of its loop.
nested_beyond_the_limit(Config) ->
    ok = py:register_function(inner, fun([N]) -> N + 1 end),
    _ = [with_limit(Limit, Config, fun(_, Ctx) ->
             ok = py:register_function(outer, fun([N]) -> {ok, V} = Middle(Ctx, N), V end),
             ?assertEqual({Limit, lists:seq(1, 1200)}, {Limit, ok_value(task(Ctx, gather, [outer, 1200]))})
         end) || {Limit, Middle} <- [{1000, fun through_a_coroutine/2}, {900, fun through_a_function/2},
                                     {5, fun through_a_coroutine/2}, {5, fun through_a_function/2}]],
    ok.

through_a_function(Ctx, N) -> py:call(Ctx, gated, tell, [inner, N]).

through_a_coroutine(Ctx, N) -> py:async_await(py:async_call(Ctx, gated, one, [inner, N]), infinity).

ok_value({ok, Value}) -> Value;
ok_value(Other) -> Other.

%% Proves that fifty levels need no more than one place.
deep_with_a_limit_of_one(Config) ->
    with_limit(1, Config, fun(_, Ctx) ->
        ok = py:register_function(down, fun
            ([0]) -> 0;
            ([N]) -> {ok, V} = py:call(Ctx, gated, tell, [down, N - 1]), V + 1
        end),
        ?assertEqual({ok, 50}, py:call(Ctx, gated, tell, [down, 50]))
    end).

%% Proves that a nested request with many callbacks gets on with one place of its own.
coroutines_in_a_nested_request(Config) ->
    ok = py:register_function(inner, fun([N]) -> N end),
    with_limit(1, Config, fun(_, Ctx) ->
        ok = py:register_function(spread, fun([N]) ->
            {ok, Values} = py:async_await(py:async_call(Ctx, gated, gather, [inner, N])),
            length(Values)
        end),
        ?assertEqual({ok, [0, 1, 2, 3, 4, 5]}, task(Ctx, gather, [spread, 6]))
    end).

%% Proves that of those that are cancelled while they wait Erlang never hears, and that others have their turn.
cancelled_ones_never_leave(Config) ->
    Ran = counters:new(1, [atomics]),
    ok = py:register_function(forever, fun([_]) -> counters:add(Ran, 1, 1), receive after infinity -> ok end end),
    ok = py:register_function(same, fun([N]) -> N end),
    with_limit(4, Config, fun(_, Ctx) ->
        ?assertEqual({ok, 100}, task(Ctx, start_and_cancel, [forever, 100])),
        ?assertEqual({ok, [0, 1]}, task(Ctx, gather, [same, 2])),
        ?assertEqual(4, counters:get(Ran, 1))
    end).

%% Proves that a request that is late takes those that wait along.
timeout_ends_those_that_wait(Config) ->
    ok = py:register_function(forever, fun([_]) -> receive after infinity -> ok end end),
    ok = py:register_function(same, fun([N]) -> N end),
    with_limit(2, Config, fun(_, Ctx) ->
        ?assertEqual({error, timeout}, task(Ctx, gather, [forever, 50], 300)),
        ?assertEqual({ok, [0, 1, 2, 3]}, task(Ctx, gather, [same, 4]))
    end).

%% Proves that state, names and atoms are there while all places are taken.
system_functions_do_not_wait(Config) ->
    Self = self(),
    ok = py:register_function(forever, fun([_]) -> Self ! in, receive after infinity -> ok end end),
    with_limit(1, Config, fun(_, Ctx) ->
        Blocked = py:async_call(Ctx, gated, one, [forever, 1]),
        receive in -> ok end,
        ?assertMatch({ok, _}, py:eval(Ctx, <<"[erlang.state_incr('gated_test'), erlang.whereis('nobody_by_this_name'), erlang.atom('ok')]">>)),
        ok = py:cancel(Blocked),
        _ = py:async_await(Blocked)
    end),
    ok = py:state_remove(<<"gated_test">>).

%% Proves that the message for which all callbacks wait can be sent.
send_needs_no_place(Config) ->
    Gate = spawn_link(fun() -> open([]) end),
    ok = py:register_function(awaits, fun([N]) -> Gate ! {wait, self()}, receive go -> N end end),
    with_limit(2, Config, fun(_, Ctx) ->
        ?assertEqual({ok, 2}, py:call(Ctx, gated, send_while_waiting, [awaits, Gate, 2]))
    end),
    unlink(Gate),
    exit(Gate, kill).

open(Waiting) ->
    receive
        {wait, Pid} -> open([Pid | Waiting]);
        <<"go on">> -> _ = [Pid ! go || Pid <- Waiting], open([])
    end.

%% Proves that arguments of several pieces wait as a whole and arrive as they are.
large_arguments_wait_whole(Config) ->
    ok = py:register_function(sized, fun([Bytes]) -> byte_size(Bytes) end),
    with_limit(1, Config, fun(_, Ctx) -> ?assertEqual({ok, 10}, task(Ctx, payloads, [sized, 10, 3000000])) end).

%% Proves that what waits does not stay: the arguments of requests that were cancelled are given back.
memory_is_given_back(Config) ->
    ok = py:register_function(forever, fun([_]) -> receive after infinity -> ok end end),
    with_limit(1, Config, fun(_, Ctx) ->
        OsPid = py_test:os_pid(Ctx),
        Round = fun() -> {error, timeout} = task(Ctx, payloads, [forever, 40, 1000000], 500) end,
        _ = [Round() || _ <- lists:seq(1, 6)],
        Before = py_test:rss(OsPid),
        _ = [Round() || _ <- lists:seq(1, 8)],
        ?assert(py_test:rss(OsPid) < Before + 80000000)
    end).

%% Proves that the limit is 1,000 where nothing else is said, and the environment's where it says something.
default_limit(_) ->
    ?assertMatch(#{max_callbacks := 1000}, py_config:defaults()),
    application:set_env(erlang_python, max_callbacks, 7),
    ?assertMatch(#{max_callbacks := 7}, py_config:defaults()),
    application:set_env(erlang_python, max_callbacks, none_at_all),
    ?assertMatch({error, {bad_config, max_callbacks, _}}, py_config:check()),
    application:unset_env(erlang_python, max_callbacks).

%% Proves that without a limit thousands run at once.
infinity(_) ->
    Self = self(),
    ok = py:register_function(gathers, fun([N]) -> Self ! {in, self()}, receive go -> N end end),
    py_test:with_pool(1, #{max_callbacks => infinity}, fun(Pool) ->
        Ref = py:async_call(Pool, gated, gather, [gathers, 2500]),
        Pids = [receive {in, Pid} -> Pid end || _ <- lists:seq(1, 2500)],
        _ = [Pid ! go || Pid <- Pids],
        ?assertEqual({ok, lists:seq(0, 2499)}, py:async_await(Ref))
    end).

%% Proves that what is no limit is refused.
option_is_checked(_) ->
    _ = [?assertEqual({error, {bad_option, max_callbacks, Value}},
                      py_context_router:start_pool(py_test:unique(pool), 1, #{max_callbacks => Value}))
         || Value <- [0, -1, 1.5, none, <<"1">>, 1 bsl 40]],
    ok.

%% Proves that the node has processes left while 300,000 coroutines wait for Erlang functions that do not come back.
three_hundred_thousand(_) ->
    ok = py:register_function(forever, fun([_]) -> receive after infinity -> ok end end),
    py_test:with_pool(1, #{}, fun(Pool) ->
        Before = erlang:system_info(process_count),
        Ctx = hd(py_test:contexts(Pool)),
        Job = py_test:async(fun() -> task(Ctx, gather, [forever, 300000], 20000) end),
        ok = py_test:eventually(fun() -> erlang:system_info(process_count) > Before + 900 end),
        timer:sleep(1000),
        ?assert(erlang:system_info(process_count) < Before + 1500),
        ?assertEqual({ok, 2.0}, py:call(math, sqrt, [4])),
        ?assertEqual({error, timeout}, py_test:join(Job))
    end).

%% Proves that of a port that ignores the limit no more than ten times as many are started, and that it is told.
hostile_port_is_refused(_) ->
    Sink = open_port({spawn, "cat"}, [binary, {packet, 4}]),
    _ = py_writer:start_link(Sink),
    ok = py:register_function(forever, fun(_) -> receive after infinity -> ok end end),
    Full = lists:foldl(fun start/2, py_callbacks:new(Sink, py_send:new(suite, #{send => any, send_names => []}), 300), lists:seq(1, 3010)),
    Refused = [receive {Sink, {data, <<_Length:32, Frame/binary>>}} -> binary_to_term(Frame) after 5000 -> none end || _ <- lists:seq(1, 10)],
    ?assertMatch([{?OP_RESULT, 3, 3001, {error, exit, {too_many_callbacks, 3000}, <<"exit:{too_many_callbacks,3000}">>, _}} | _],
                 Refused),
    ?assertEqual(3000, py_counters:callbacks()),
    process_flag(trap_exit, true),
    Left = lists:foldl(fun py_callbacks:abandon/2, Full, lists:seq(1, 3000)),
    Again = start(4000, ended(3000, Left)),
    receive {Sink, {data, <<_Length:32, Other/binary>>}} -> error({refused, binary_to_term(Other)}) after 200 -> ok end,
    _ = ended(1, py_callbacks:abandon(4000, Again)),
    port_close(Sink),
    process_flag(trap_exit, false).

%% Proves that of callbacks with 30 MB of arguments no more run at once than two values of max_frame_bytes hold, and all of
%% them in the end.
large_arguments(_) ->
    Running = counters:new(1, [atomics]),
    Most = counters:new(1, [atomics]),
    ok = py:register_function(hold, fun([Bytes]) ->
        counters:add(Running, 1, 1),
        note_most(Most, counters:get(Running, 1)),
        timer:sleep(400),
        counters:sub(Running, 1, 1),
        byte_size(Bytes)
    end),
    py_test:with_pool(1, #{}, fun(Pool) ->
        [Ctx] = py_test:contexts(Pool),
        ok = py:exec(Ctx, <<"
import asyncio, erlang
async def hold(times):
    return sum(await asyncio.gather(*(erlang.async_call('hold', bytes(30_000_000)) for _ in range(times))))
">>),
        ?assertEqual({ok, 20 * 30000000}, py:async_await(py:async_call(Ctx, '__main__', hold, [20]), 60000)),
        ?assert(lists:member(counters:get(Most, 1), [2, 3, 4]))
    end).

%% Proves that the arguments of a port that does not wait are bounded too, and that their room is given back.
large_arguments_of_a_hostile_port(_) ->
    Sink = open_port({spawn, "cat"}, [binary, {packet, 4}]),
    _ = py_writer:start_link(Sink),
    ok = py:register_function(forever, fun(_) -> receive after infinity -> ok end end),
    Bytes = binary:copy(<<131>>, 60 * 1024 * 1024),
    Start = fun(Id, Callbacks) ->
        py_callbacks:start({?OP_CALLBACK, 3, Id, 1, 0, none, <<"forever">>}, [<<131, 109, (byte_size(Bytes)):32>>, Bytes], Callbacks)
    end,
    process_flag(trap_exit, true),
    Full = lists:foldl(Start, py_callbacks:new(Sink, py_send:new(suite, #{send => any, send_names => []}), 300), lists:seq(1, 9)),
    Max = 8 * 64 * 1024 * 1024,
    receive
        {Sink, {data, <<_Length:32, Frame/binary>>}} ->
            ?assertMatch({?OP_RESULT, 3, 9, {error, exit, {too_many_callbacks, {bytes, Max}}, _, _}}, binary_to_term(Frame))
    end,
    Left = ended(8, lists:foldl(fun py_callbacks:abandon/2, Full, lists:seq(1, 8))),
    Again = Start(10, Left),
    receive {Sink, {data, <<_:32, Other/binary>>}} -> error({refused, binary_to_term(Other)}) after 200 -> ok end,
    _ = ended(1, py_callbacks:abandon(10, Again)),
    port_close(Sink),
    process_flag(trap_exit, false).

start(Id, Callbacks) ->
    py_callbacks:start({?OP_CALLBACK, 3, Id, 1, 0, none, <<"forever">>}, term_to_binary([1]), Callbacks).

ended(0, Callbacks) -> Callbacks;
ended(N, Callbacks) ->
    receive
        {'EXIT', Pid, Reason} when is_pid(Pid) ->
            case py_callbacks:ended(Pid, Reason, Callbacks) of
                unknown -> ended(N, Callbacks);
                Left -> ended(N - 1, Left)
            end
    after 5000 -> error({not_ended, N})
    end.

%% Proves that callbacks which nobody waits for any more, trap exits and stay, are no more than the limit: the oldest is
%% killed, and with the pool all of them.
abandoned_that_stay_are_killed(_) ->
    Self = self(),
    ok = py:register_function(stubborn, fun([N]) ->
        process_flag(trap_exit, true),
        Self ! {stays, N, self()},
        receive after infinity -> ok end
    end),
    py_test:with_pool(1, #{max_callbacks => 3}, fun(Pool) ->
        Ctx = hd(py_test:contexts(Pool)),
        Pids = [begin
                    Ref = py:async_call(Ctx, gated, one, [stubborn, N]),
                    receive {stays, N, Pid} -> ok end,
                    ok = py:cancel(Ref),
                    {error, cancelled} = py:async_await(Ref),
                    Pid
                end || N <- lists:seq(1, 6)],
        [First, Second, Third | Others] = Pids,
        _ = [py_test:eventually(fun() -> not is_process_alive(Pid) end) || Pid <- [First, Second, Third]],
        ?assertEqual([true, true, true], [is_process_alive(Pid) || Pid <- Others]),
        ok = py_test:stop_pool(Pool),
        _ = [py_test:eventually(fun() -> not is_process_alive(Pid) end) || Pid <- Others]
    end).

%% Helpers.

with_limit(Limit, Config, Fun) ->
    Mode = proplists:get_value(mode, Config),
    py_test:with_pool(1, #{max_callbacks => Limit, mode => Mode}, fun(Pool) -> Fun(Pool, hd(py_test:contexts(Pool))) end).

task(Ctx, Function, Args) -> task(Ctx, Function, Args, 60000).

task(Ctx, Function, Args, Timeout) ->
    py:async_await(py:async_call(Ctx, gated, Function, Args, #{timeout => Timeout}), infinity).
