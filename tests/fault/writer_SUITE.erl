%% Writing to a port process that takes no input: nobody hangs whom others depend on, what was posted keeps its order, and
%% what waits is bounded.
-module(writer_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [{group, queue}, nobody_hangs, retiring_port_hangs_nobody, stopped_port_is_killed_for_what_waits, flooded_port_is_killed,
     writer_that_was_killed].

%% Of a port that is no Python.
groups() ->
    [{queue, [], [order, offer_waits_for_nobody, latest_is_told_once, bound, closed_port]}].

init_per_suite(Config) -> ok = py_test:start([{max_concurrent, 400}]), Config.
end_per_suite(_Config) -> py_test:stop().

%% Proves that what several processes post to a port that is stopped arrives when it goes on: everything, each process's
%% frames in order, and without a process for each.
order(_) ->
    with_stopped_cat(fun(Port, Continue) ->
        Before = erlang:system_info(process_count),
        Jobs = [py_test:async(fun() -> [ok = py_writer:post(Port, frame({P, N}, N)) || N <- lists:seq(1, 2000)] end)
                || P <- lists:seq(1, 5)],
        _ = [py_test:join(Job) || Job <- Jobs],
        ?assert(erlang:system_info(process_count) < Before + 50),
        ?assertEqual(busy, py_writer:offer(Port, [<<"x">>])),
        Continue(),
        Frames = [next(Port) || _ <- lists:seq(1, 10000)],
        _ = [?assertEqual(lists:seq(1, 2000), [N || {Of, N} <- Frames, Of =:= P]) || P <- lists:seq(1, 5)],
        ok = py_writer:post(Port, frame(last, 1)),
        ?assertEqual(last, next(Port))
    end).

%% Proves that an offer is taken by a port that keeps up, and does not overtake what waits.
offer_waits_for_nobody(_) ->
    with_stopped_cat(fun(Port, Continue) ->
        N = fill(Port),
        ?assertEqual(busy, py_writer:offer(Port, [frame(early, 1)])),
        Continue(),
        _ = [next(Port) || _ <- lists:seq(1, N)],
        py_test:eventually(fun() -> py_writer:offer(Port, [frame(a, 1), frame(b, 1)]) =:= ok end),
        receive
            {Port, {data, <<Length:32, A:Length/binary, _:32, B/binary>>}} ->
                ?assertEqual([a, b], [element(1, binary_to_term(Frame)) || Frame <- [A, B]])
        end
    end).

%% Proves that of a state that changes while the port is stopped the last is told, and it alone.
latest_is_told_once(_) ->
    with_stopped_cat(fun(Port, Continue) ->
        N = fill(Port),
        State = counters:new(1, []),
        _ = [begin
                 counters:put(State, 1, Now),
                 ok = py_writer:post_latest(Port, fun() -> [frame({state, counters:get(State, 1)}, 1)] end)
             end || Now <- lists:seq(1, 100)],
        ok = py_writer:post(Port, frame(last, 1)),
        Continue(),
        _ = [next(Port) || _ <- lists:seq(1, N)],
        ?assertEqual([{state, 100}, last], [next(Port), next(Port)])
    end).

%% Proves that what waits is bounded, and that the owner of the port is told once when the bound is reached.
bound(_) ->
    with_stopped_cat(fun(Port, _Continue) ->
        {Writer, _, _, _} = erlang:port_get_data(Port),
        Frame = binary:copy(<<"x">>, 100000),
        _ = [ok = py_writer:post(Port, Frame) || _ <- lists:seq(1, 1000)],
        ?assertEqual([{py_kill, takes_no_input}], messages()),
        ?assert(py_test:memory(Writer) < 20 bsl 20)
    end).

%% Proves that a port that is gone is no error for who posts.
closed_port(_) ->
    with_stopped_cat(fun(Port, _Continue) ->
        port_close(Port),
        ?assertEqual(ok, py_writer:post(Port, <<"x">>)),
        ?assertEqual(ok, py_writer:post_latest(Port, fun() -> [] end)),
        ?assertEqual(closed, py_writer:offer(Port, [<<"x">>])),
        ?assertEqual(closed, py_writer:send(Port, self(), <<"x">>, infinity))
    end).

%% Proves that while a port process is stopped, and everything that may be written to it is, every process of the
%% application answers, and no process is made for what waits; and that when it goes on all of it has its effect.
nobody_hangs(_) ->
    %% Without shared memory: a large value fills the pipe.
    py_test:with_pool(3, #{hard_timeout_grace => infinity, shared_memory => 0}, fun(Pool) ->
        [Ctx, Other, Third] = py_test:contexts(Pool),
        OsPid = py_test:os_pid(Ctx),
        Suite = self(),
        ok = py:register_function(gate, fun([N]) -> Suite ! {at_gate, N, self()}, receive go -> N end end),
        Callbacks = [element(2, {ok, _} = py_context:submit(Ctx, tasks, async_call, [gate, N])) || N <- lists:seq(1, 60)],
        AtGate = [receive {at_gate, N, Pid} -> Pid end || N <- lists:seq(1, 60)],
        {Doomed, Killed} = lists:split(30, AtGate),
        Sleeping = [element(2, {ok, _} = py_context:submit(Ctx, asyncio, sleep, [1000])) || _ <- lists:seq(1, 1000)],
        ?assertEqual({ok, 1}, py_event_loop:await(element(2, py_context:submit(Ctx, probe, echo, [1])))),
        {ok, Stream} = py:stream_start(streams, count, [0, 5000], #{context => Other}),
        ?assertEqual({ok, 0}, py:stream_next(Stream, 30000)),
        Envs = [env(Other) || _ <- lists:seq(1, 300)],
        Casting = casting(Ctx),

        ok = py_test:signal(OsPid, "STOP"),
        Large = binary:copy(<<"x">>, 5 bsl 20),
        {Filler, _} = Filling = py_test:async(fun() -> py:call(Ctx, probe, echo, [Large], #{timeout => infinity}) end),
        py_test:eventually(fun() -> process_info(Filler, status) =:= {status, suspended} end),
        Casting ! cast,
        _ = [Pid ! go || Pid <- Doomed],
        _ = [exit(Pid, kill) || Pid <- Killed],
        _ = [ok = py:cancel(Ref) || Ref <- Sleeping],
        _ = [exit(Env, kill) || Env <- Envs],
        exit(Third, kill),
        ok = py:register_function(late, fun([N]) -> N + 1 end),
        _ = [?assertEqual({ok, N}, py:stream_next(Stream, 30000)) || N <- lists:seq(1, 700)],
        ok = all_answer(),
        %% The filler, the caster, the writer, and callbacks with their answers.
        ?assert(length([Pid || Pid <- processes(), process_info(Pid, status) =:= {status, suspended}]) =< 3 + 30),

        ok = py_test:signal(OsPid, "CONT"),
        ?assert({ok, Large} =:= py_test:join(Filling)),
        ?assertEqual({ok, lists:seq(1, 200)}, receive {seen, Seen} -> Seen end),
        ?assertEqual([{error, cancelled}], lists:usort([py_event_loop:await(Ref) || Ref <- Sleeping])),
        {Answered, Lost} = lists:split(30, [py_event_loop:await(Ref) || Ref <- Callbacks]),
        ?assertEqual([{ok, N} || N <- lists:seq(1, 30)], Answered),
        ?assertEqual(['ErlangError'], lists:usort([Class || {error, {Class, _}} <- Lost])),
        ?assertEqual(30, length(Lost)),
        ?assertEqual([{ok, N} || N <- lists:seq(701, 4999)] ++ [done],
                     [py:stream_next(Stream, 30000) || _ <- lists:seq(701, 5000)]),
        ?assertEqual({ok, 2}, py:call(Ctx, calling, call, [late, 1])),
        py_test:eventually(fun() -> length(py_test:contexts(Pool)) =:= 3 end),
        _ = [?assertEqual({ok, OsPid}, py:call(Each, os, getpid, [])) || Each <- py_test:contexts(Pool)],
        py_test:eventually(fun() -> maps:get(envs, maps:get(Pool, py:stats())) < 10 end),
        ok = py:unregister_function(gate),
        ok = py:unregister_function(late),
        py_test:nothing_left()
    end).

%% Proves that a port process that is stopped while it is replaced holds up nobody, and goes.
retiring_port_hangs_nobody(_) ->
    py_test:with_pool(1, #{max_requests => 20, hard_timeout_grace => infinity}, fun(Pool) ->
        [Ctx] = py_test:contexts(Pool),
        OsPid = py_test:os_pid(Pool),
        {ok, _} = py_context:submit(Ctx, asyncio, sleep, [1000]),
        py_test:eventually(fun() -> py_test:in_process(fun() -> py:call(Pool, os, getpid, []) end) =/= {ok, OsPid} end),
        ok = py_test:signal(OsPid, "STOP"),
        _ = [begin ok = all_answer(), timer:sleep(50) end || _ <- lists:seq(1, 10)],
        py_test:eventually(fun() -> not py_test:alive(OsPid) end),
        py_test:answers(Pool)
    end).

%% Proves that a port process that takes no input is killed when the grace is over also when nothing but control frames
%% waits for it.
stopped_port_is_killed_for_what_waits(_) ->
    py_test:with_pool(1, #{hard_timeout_grace => 200}, fun(Pool) ->
        OsPid = py_test:os_pid(Pool),
        Waiting = py_test:waiting(Pool, 600),
        ok = py_test:signal(OsPid, "STOP"),
        Port = py_test:port_of(OsPid),
        _ = [ok = py_writer:post(Port, credit()) || _ <- lists:seq(1, 60000)],
        ?assertEqual({error, {context_died, {killed, timeout}}}, py_test:join(Waiting)),
        py_test:answers(Pool)
    end).

%% Proves that a port process is killed, and its pool comes back, when more waits for it than may, whatever the grace.
flooded_port_is_killed(_) ->
    Log = py_test_log:collect(),
    try
        py_test:with_pool(1, #{hard_timeout_grace => infinity}, fun(Pool) ->
            OsPid = py_test:os_pid(Pool),
            Waiting = py_test:waiting(Pool, 600),
            ok = py_test:signal(OsPid, "STOP"),
            Port = py_test:port_of(OsPid),
            _ = [ok = py_writer:post(Port, credit()) || _ <- lists:seq(1, 200000)],
            ?assertEqual({error, {context_died, {killed, timeout}}}, py_test:join(Waiting)),
            _ = py_test_log:wait("takes no input"),
            py_test:answers(Pool)
        end)
    after
        py_test_log:stop(Log)
    end.

%% Proves that whoever kills the process that writes ends the port process, which has lost what waited, and no pool.
writer_that_was_killed(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        OsPid = py_test:os_pid(Pool),
        {Writer, _, _, _} = erlang:port_get_data(py_test:port_of(OsPid)),
        exit(Writer, kill),
        py_test:eventually(fun() -> not py_test:alive(OsPid) end),
        py_test:answers(Pool)
    end).

%% Helpers.

%% A port program that gives back what it takes, and takes nothing before it is told.
with_stopped_cat(Fun) ->
    py_test:in_process(fun() ->
        Port = open_port({spawn_executable, os:find_executable("cat")}, [{packet, 4}, binary]),
        _ = py_writer:start_link(Port),
        {os_pid, OsPid} = erlang:port_info(Port, os_pid),
        ok = py_test:signal(OsPid, "STOP"),
        try
            Fun(Port, fun() -> ok = py_test:signal(OsPid, "CONT") end)
        after
            py_test:signal(OsPid, "KILL")
        end
    end).

%% Posts until something waits. How much that was.
fill(Port) -> fill(Port, 1).

fill(Port, N) ->
    ok = py_writer:post(Port, frame(N, 60000)),
    {_, _, Queue, _} = erlang:port_get_data(Port),
    case atomics:get(Queue, 1) of
        0 -> fill(Port, N + 1);
        _ -> N
    end.

frame(Term, Padding) -> term_to_binary({Term, binary:copy(<<"x">>, Padding)}).

%% With {packet, 4} the emulator frames what py_writer has framed already.
next(Port) ->
    receive {Port, {data, <<_Length:32, Frame/binary>>}} -> element(1, binary_to_term(Frame))
    after 30000 -> error(no_frame)
    end.

messages() ->
    receive {py_kill, _} = Message -> [Message | messages()]
    after 0 -> []
    end.

%% For a stream that nobody has.
credit() -> py_protocol:credit(make_ref(), 1, 1, 1).

%% A process that has a namespace in a context.
env(Ctx) ->
    Suite = self(),
    Pid = spawn(fun() ->
        ok = py:exec(Ctx, "mine = 1"),
        Suite ! {self(), has_env},
        receive after infinity -> ok end
    end),
    receive {Pid, has_env} -> Pid end.

%% A process that casts when it is told, and says in which order the casts ran.
casting(Ctx) ->
    Suite = self(),
    Pid = spawn_link(fun() ->
        ok = py:exec(Ctx, "seen = []"),
        Suite ! {self(), ready},
        receive cast -> ok end,
        Refs = [py:cast(Ctx, '__main__', 'seen.append', [N]) || N <- lists:seq(1, 200)],
        _ = [{ok, none} = py:await(Ref, infinity) || Ref <- Refs],
        Suite ! {seen, py:eval(Ctx, "seen")}
    end),
    receive {Pid, ready} -> Pid end.

%% Whether each process of the application's supervision tree answers within a second.
all_answer() ->
    lists:foreach(fun(Pid) -> {Pid, true} = {Pid, answers(Pid)} end, tree(whereis(erlang_python_sup))).

answers(Pid) ->
    try
        _ = sys:get_state(Pid, 1000),
        true
    catch
        exit:{noproc, _} -> true;
        exit:{timeout, _} -> process_info(Pid, current_stacktrace)
    end.

tree(Sup) ->
    {Sup, true} = {Sup, answers(Sup)},
    [Sup | lists:append([case Type of
                             supervisor -> tree(Pid);
                             worker -> [Pid]
                         end || {_, Pid, Type, _} <- supervisor:which_children(Sup), is_pid(Pid)])].
