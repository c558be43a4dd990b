%% Erlang functions that Python waits for, while processes of either side are killed.
-module(callback_fault_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [process_is_killed, process_is_killed_in_a_chain, killed_by_its_own_link, killed_while_it_answers,
     registry_is_killed, tables_are_killed, port_dies_with_callbacks_in_flight, port_owner_is_killed,
     context_is_killed, callbacks_that_never_return, frozen_port, soak].

init_per_testcase(_Case, Config) ->
    ok = py_test:start([{max_concurrent, 200}]),
    ok = py:register_function(same, fun([Value]) -> Value end),
    Self = self(),
    ok = py:register_function(wait, fun([N]) -> Self ! {waits, N, self()}, receive go -> N end end),
    _ = [{ok, 1} = py:call(Ctx, calling, warm, []) || Ctx <- py_test:contexts(default) ++ py_test:contexts(io)],
    Config.

end_per_testcase(_Case, _Config) ->
    ok = py_test:nothing_left(),
    py_test:stop().

%% Proves that the death of a callback's process is an exit in Python, with the reason, and harms nobody else.
process_is_killed(_) ->
    _ = [begin
             Job = py_test:async(fun() -> py:call(calling, caught, [wait, N]) end),
             receive {waits, N, Pid} -> exit(Pid, Reason) end,
             ?assertMatch({ok, #{<<"error_class">> := <<"exit">>, <<"reason">> := Text, <<"function">> := <<"wait">>}},
                          py_test:join(Job))
         end || {N, Reason, Text} <- [{1, kill, <<"killed">>}, {2, shutdown, <<"shutdown">>},
                                      {3, {a, 1}, {<<"a">>, 1}}, {4, kill, <<"killed">>}]],
    ?assertEqual({ok, 5}, py:call(calling, call, [same, 5])).

%% Proves the same in the middle of a chain: the levels above have nobody to answer to, those below get the error.
process_is_killed_in_a_chain(_) ->
    Self = self(),
    ok = py:register_function(next, fun([0]) -> Self ! {level, 0, self()}, receive go -> 0 end;
                                       ([N]) ->
        Self ! {level, N, self()},
        {ok, V} = py:call(calling, call, [next, N - 1]),
        V + 1
    end),
    Job = py_test:async(fun() -> py:call(calling, call, [next, 6]) end),
    Pids = [receive {level, N, Pid} -> Pid end || N <- lists:seq(6, 0, -1)],
    exit(lists:nth(4, Pids), kill),
    lists:last(Pids) ! go,
    {error, {'ErlangError', Text}} = py_test:join(Job),
    ?assertMatch({match, _}, re:run(Text, "killed")),
    ?assertEqual({ok, 5}, py:call(calling, call, [same, 5])).

%% Proves that a process that a callback is linked to takes only the callback along.
killed_by_its_own_link(_) ->
    ok = py:register_function(linked, fun([]) -> spawn_link(fun() -> exit(broken) end), receive never -> ok end end),
    ?assertMatch({ok, #{<<"reason">> := <<"broken">>}}, py:call(calling, caught, [linked])),
    ?assertEqual({ok, 5}, py:call(calling, call, [same, 5])).

%% Proves that killing processes at any moment, also while they write a large answer, gives an answer or an error.
killed_while_it_answers(_) ->
    Self = self(),
    ok = py:register_function(large, fun([Size]) -> Self ! {large, self()}, binary:copy(<<"x">>, Size) end),
    _ = [begin
             Job = py_test:async(fun() -> py:eval(<<"len(__import__('erlang').large(n))">>, #{n => 4 bsl 20}) end),
             receive {large, Pid} -> ok end,
             busy_wait(N * 40),
             exit(Pid, kill),
             case py_test:join(Job) of
                 {ok, Size} -> ?assertEqual(4 bsl 20, Size);
                 {error, {'ErlangError', <<"large: exit:killed">>}} -> ok
             end
         end || N <- lists:seq(1, 150)],
    ?assertEqual({ok, 5}, py:call(calling, call, [same, 5])).

busy_wait(0) -> ok;
busy_wait(N) -> _ = erlang:system_time(), busy_wait(N - 1).

%% Proves that the registry's death loses no function, and that callbacks and registrations go on meanwhile.
registry_is_killed(_) ->
    Stop = atomics:new(1, []),
    Calls = [py_test:async(fun() -> call_until(Stop, 0) end) || _ <- lists:seq(1, 5)],
    _ = [begin
             exit(whereis(py_functions), kill),
             Name = "added " ++ integer_to_list(N),
             ok = py:register_function(Name, fun([]) -> N end),
             ?assertEqual({ok, N}, py:call(calling, call, [list_to_binary(Name)])),
             %% Five deaths in ten seconds are the top supervisor's limit.
             timer:sleep(2500)
         end || N <- lists:seq(1, 3)],
    ok = atomics:put(Stop, 1, 1),
    _ = [?assert(py_test:join(Job) > 0) || Job <- Calls],
    _ = [?assertEqual({ok, N}, py:call(calling, call, [list_to_binary("added " ++ integer_to_list(N))])) || N <- [1,
        2, 3]],
    ok.

call_until(Stop, N) ->
    {ok, N} = py:call(calling, call, [same, N]),
    case atomics:get(Stop, 1) of
        0 -> call_until(Stop, N + 1);
        1 -> N
    end.

%% Proves the same of every other worker of the top supervisor, with callbacks that wait meanwhile.
tables_are_killed(_) ->
    Jobs = [{N, py_test:async(fun() -> py:call(Ctx, calling, call, [wait, N]) end)}
            || {N, Ctx} <- lists:zip([1, 2], py_test:contexts(default))],
    Pids = [receive {waits, N, Pid} -> Pid end || {N, _} <- Jobs],
    Workers = [{Name, Pid} || {Name, Pid, worker, _} <- supervisor:which_children(erlang_python_sup), is_pid(Pid)],
    _ = [begin
             exit(Pid, kill),
             py_test:eventually(fun() -> py:call(io, calling, call, [same, 1]) =:= {ok, 1} end),
             timer:sleep(2500)
         end || {_Name, Pid} <- Workers],
    _ = [Pid ! go || Pid <- Pids],
    _ = [?assertEqual({ok, N}, py_test:join(Job)) || {N, Job} <- Jobs].

%% Proves that a port that dies with twenty callbacks in flight ends them, tells their callers, and comes back.
port_dies_with_callbacks_in_flight(_) ->
    py_test:with_pool(20, #{}, fun(Pool) ->
        OsPid = py_test:os_pid(Pool),
        Jobs = [py_test:async(fun() -> py:call(Ctx, calling, call, [wait, N]) end)
                || {N, Ctx} <- lists:zip(lists:seq(1, 20), py_test:contexts(Pool))],
        Pids = [receive {waits, N, Pid} -> Pid end || N <- lists:seq(1, 20)],
        py_test:signal(OsPid, "KILL"),
        _ = [?assertMatch({error, {context_died, _}}, py_test:join(Job)) || Job <- Jobs],
        _ = [py_test:eventually(fun() -> not is_process_alive(Pid) end) || Pid <- Pids],
        py_test:eventually(fun() -> py:call(Pool, calling, call, [same, 1]) =:= {ok, 1} end),
        ok = py_test:nothing_left()
    end).

%% Proves the same of the port's owner: nobody is left to answer, and nothing stays.
port_owner_is_killed(_) ->
    Owner = py_test:owner_of(py_test:os_pid(default)),
    Jobs = [py_test:async(fun() -> py:call(Ctx, calling, call, [wait, N]) end)
            || {N, Ctx} <- lists:zip([1, 2], py_test:contexts(default))],
    Pids = [receive {waits, N, Pid} -> Pid end || N <- [1, 2]],
    exit(Owner, kill),
    _ = [?assertMatch({error, {context_died, _}}, py_test:join(Job)) || Job <- Jobs],
    _ = [py_test:eventually(fun() -> not is_process_alive(Pid) end) || Pid <- Pids],
    py_test:eventually(fun() -> py:call(calling, call, [same, 1]) =:= {ok, 1} end),
    ok = py_test:nothing_left().

%% Proves that the death of a context's Erlang process ends what it waits for.
context_is_killed(_) ->
    {ok, Ctx} = py_context:new(#{}),
    Job = py_test:async(fun() -> py:call(Ctx, calling, call, [wait, 1]) end),
    receive {waits, 1, Pid} -> ok end,
    exit(Ctx, kill),
    ?assertMatch({error, {context_died, _}}, py_test:join(Job)),
    py_test:eventually(fun() -> not is_process_alive(Pid) end).

%% Proves that hundreds of callbacks that never return, abandoned one after the other, leave nothing behind.
callbacks_that_never_return(_) ->
    Processes = erlang:system_info(process_count),
    Results = [py_test:join(Job) || _ <- lists:seq(1, 20),
               Job <- [py_test:async(fun() -> py:call(calling, call, [wait, N], #{}, 20) end) || N <- lists:seq(1,
                   10)]],
    ?assertEqual([], [R || R <- Results, R =/= {error, timeout}]),
    ok = py_test:nothing_left(),
    py_test:eventually(fun() -> erlang:system_info(process_count) =< Processes + 5 end),
    ?assertEqual({ok, 5}, py:call(calling, call, [same, 5])).

%% Proves that a port program that is stopped as a whole while callbacks run gets their answers when it goes on.
frozen_port(_) ->
    OsPid = py_test:os_pid(default),
    Jobs = [{N, py_test:async(fun() -> py:call(Ctx, calling, call, [wait, N]) end)}
            || {N, Ctx} <- lists:zip([1, 2], py_test:contexts(default))],
    Pids = [receive {waits, N, Pid} -> Pid end || N <- [1, 2]],
    py_test:signal(OsPid, "STOP"),
    _ = [Pid ! go || Pid <- Pids],
    ok = py:register_function(while_frozen, fun([]) -> 3 end),
    py_test:signal(OsPid, "CONT"),
    _ = [?assertEqual({ok, N}, py_test:join(Job)) || {N, Job} <- Jobs],
    ?assertEqual({ok, 3}, py:call(calling, call, [while_frozen])).

%% Proves that fifty callers with nested callbacks get nothing but right answers for a minute.
soak(_) ->
    ok = py_test_callbacks:nested_work(60000, 50).
