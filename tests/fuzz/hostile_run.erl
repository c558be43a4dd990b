%% Rounds in which a hostile program (hostile_port/) is in the place of the port program of two pools, while an honest
%% pool beside them answers. After each round the node must be as it was before the first.
%%
%% Started by tests/fuzz/run_hostile; the arguments are how long in seconds, the directory to work in, a seed to begin
%% with or 0, and modes of the program: all, when there are none.
-module(hostile_run).

-export([main/1]).

-define(MODES, ["greeting", "mixed", "segments", "random", "mutated", "forged", "lengths", "truncated", "flood", "closed",
                "silence"]).
-define(POOLS, [hostile_a, hostile_b]).
-define(CALLERS, 6).     % of each hostile pool
%% How long a start may take before the pool is stopped.
-define(START_MS, 10000).
-define(ROUND_MS, 3000).
%% A hostile pool has a minute to start; a caller that has not ended so long after its pool was stopped never will.
-define(END_MS, 90000).
-define(SETTLE_MS, 30000).
-define(RECORDED_BYTES, 12 bsl 20).
%% From this size on a binary is in shared memory.
-define(LARGE_BYTES, 131072).
%% What Erlang writes and is not given back is bounded by eight times this: a round gets there.
-define(MAX_FRAME_BYTES, 4 bsl 20).
%% What the pools may keep of it: with the one, Erlang discards what is idle again and again.
-define(SHARED_MEMORY, [512 bsl 10, 256 bsl 20]).

-spec main([string()]) -> no_return().
main([Seconds, Dir, First | Modes]) ->
    process_flag(trap_exit, true),
    ok = hostile_app:start([{max_frame_bytes, ?MAX_FRAME_BYTES}]),
    ok = record(filename:join(Dir, "session.bin")),
    ok = py:state_store(hostile_large, large()),
    %% The bystander: no message may reach it.
    true = register(hostile_victim, spawn_link(fun() -> receive after infinity -> ok end end)),
    Honest = checked:start(default, 3, spared),
    Seed = case list_to_integer(First) of 0 -> rand:uniform(1 bsl 32); N -> N end,
    %% What is loaded and made at the first time.
    _ = round(0, "forged", Seed, Dir, Honest, none),
    ok = checked:pause(Honest),
    timer:sleep(1000),
    _ = steady:snapshot(),  % loads what it needs itself
    Before = steady:snapshot(),
    ok = checked:resume(Honest),
    End = erlang:monotonic_time(millisecond) + 1000 * list_to_integer(Seconds),
    Problems = rounds(case Modes of [] -> ?MODES; _ -> Modes end, 1, Seed, End, Dir, Honest, Before),
    ok = checked:stop(Honest),
    Counts = checked:counts(Honest),
    Broken = hostile_app:crashes(),
    _ = [io:format("a process of the application crashed: ~0P~n", [Report, 60]) || Report <- Broken],
    io:format("honest pool: ~0p~nmemory ~b KiB, ~b atoms~n",
              [Counts, erlang:memory(total) div 1024, erlang:system_info(atom_count)]),
    Bad = maps:with([wrong, lost, doubled], Counts),
    Failed = length(Problems) + length(Broken) + lists:sum(maps:values(Bad)),
    ok = hostile_app:stop(),
    io:format("~s~n", [case Failed of 0 -> "nothing found"; _ -> "FAILED" end]),
    halt(min(Failed, 1)).

rounds([Mode | Modes], N, Seed, End, Dir, Honest, Before) ->
    case erlang:monotonic_time(millisecond) < End of
        true ->
            Found = round(N, Mode, Seed, Dir, Honest, Before),
            Found ++ rounds(Modes ++ [Mode], N + 1, Seed + 1, End, Dir, Honest, Before);
        false ->
            []
    end.

%% What was not right.
round(N, Mode, Seed, Dir, Honest, Before) ->
    Began = erlang:monotonic_time(millisecond),
    Answers = counters:new(3, []),
    Jobs = [spawn_monitor(fun() -> hostile_pool(Pool, Mode, Seed, Dir, Answers) end) || Pool <- ?POOLS],
    Ends = [ended(Job) || Job <- Jobs],
    ok = checked:pause(Honest),
    {message_queue_len, Messages} = process_info(whereis(hostile_victim), message_queue_len),
    Found = lists:append(Ends)
        ++ [{messages_to_a_bystander, Messages} || Messages > 0]
        ++ [Difference || Before =/= none, Difference <- steady:wait(Before, ?SETTLE_MS)]
        ++ left_over(?SETTLE_MS),
    ok = checked:resume(Honest),
    io:format("round ~b: ~s, seed ~b: ~b ok, ~b errors, ~b starts, ~b ms, ~b KiB~n",
              [N, Mode, Seed, counters:get(Answers, 1), counters:get(Answers, 2), counters:get(Answers, 3),
               erlang:monotonic_time(millisecond) - Began, erlang:memory(total) div 1024]),
    _ = [io:format("  FOUND ~0P~n", [Problem, 60]) || Problem <- Found],
    Found.

ended({Pid, Monitor}) ->
    receive
        {'DOWN', Monitor, process, Pid, {found, Found}} -> Found;
        {'DOWN', Monitor, process, Pid, Reason} -> [{round_crashed, Reason}]
    after 2 * ?END_MS -> [{round_hangs, process_info(Pid, current_stacktrace)}]
    end.

%% Programs that nobody has killed.
left_over(LeftMs) ->
    case [Pid || Pid <- filelib:wildcard("[0-9]*", "/proc"), {ok, Exe} <- [file:read_link("/proc/" ++ Pid ++ "/exe")],
                 filename:basename(Exe) =:= "hostile_port"] of
        [] -> [];
        Left when LeftMs =< 0 -> [{os_processes_left, Left}];
        _ ->
            timer:sleep(200),
            left_over(LeftMs - 200)
    end.

hostile_pool(Pool, Mode, Seed, Dir, Answers) ->
    Starts = filename:join(Dir, atom_to_list(Pool) ++ ".starts"),
    _ = file:delete(Starts),
    Env = [{"HOSTILE_MODE", Mode}, {"HOSTILE_SEED", integer_to_list(Seed + erlang:phash2(Pool, 1000) * 1000000)},
           {"HOSTILE_CORPUS", filename:join(Dir, "session.bin")}, {"HOSTILE_STARTS", Starts}],
    Options = #{env => Env, hard_timeout_grace => 1000, shutdown_grace => 1000,
                isolation => case Seed rem 3 of 0 -> context; _ -> pool end,
                shared_memory => lists:nth(Seed rem length(?SHARED_MEMORY) + 1, ?SHARED_MEMORY)},
    {Starter, StarterMonitor} = spawn_monitor(fun() ->
        exit({started, py_context_router:start_pool(Pool, 2, Options)})
    end),
    Callers = [spawn_monitor(fun() -> caller(Pool, Answers, N) end) || N <- lists:seq(1, ?CALLERS)],
    timer:sleep(?ROUND_MS),
    _ = [Pid ! finish || {Pid, _} <- Callers],
    %% A port that says READY and then never starts its contexts looks like a preload that takes long: that has no limit of
    %% its own, but it can be stopped, and whoever waits for the start is told.
    Started = fun(Ms) ->
        receive
            {'DOWN', StarterMonitor, process, Starter, {started, {ok, _}}} -> [];
            {'DOWN', StarterMonitor, process, Starter, {started, {error, _}}} -> [];
            {'DOWN', StarterMonitor, process, Starter, Other} -> [{start_pool, Other}]
        after Ms -> hangs
        end
    end,
    Early = Started(?START_MS),
    StopFound = case py_context_router:stop_pool(Pool) of
        ok -> [];
        {error, {no_such_pool, Pool}} -> [];
        Wrong -> [{stop_pool, Wrong}]
    end,
    StartFound = case Early of
        hangs ->
            case Started(?END_MS) of
                hangs -> [{start_pool_hangs, process_info(Starter, current_stacktrace)}];
                Late -> Late
            end;
        _ -> Early
    end,
    CallersFound = lists:append([
        receive
            {'DOWN', Monitor, process, Pid, {found, Found}} -> Found;
            {'DOWN', Monitor, process, Pid, Reason} -> [{caller_crashed, Reason}]
        after ?END_MS ->
            Facts = process_info(Pid, [current_stacktrace, dictionary, message_queue_len]),
            exit(Pid, kill),
            [{caller_hangs, Facts}]
        end || {Pid, Monitor} <- Callers]),
    counters:add(Answers, 3, filelib:file_size(Starts)),
    exit({found, StartFound ++ StopFound ++ CallersFound}).

%% Asks in all ways, one after the other; whatever comes must have the shape that the API promises.
caller(Pool, Answers, N) ->
    _ = rand:seed(exsss, {N, erlang:phash2(Pool), erlang:unique_integer()}),
    ask_on(Pool, Answers, []).

ask_on(Pool, Answers, Found) ->
    receive
        finish -> exit({found, Found})
    after 0 ->
        Problem = case contexts(Pool) of
            [] -> timer:sleep(20), [];
            Contexts -> ask(lists:nth(rand:uniform(length(Contexts)), Contexts), Pool, Answers)
        end,
        %% Messages are Python's right; answers that outlive their question are not.
        ask_on(Pool, Answers, Problem ++ strays() ++ Found)
    end.

contexts(Pool) ->
    case py_context_router:pool_started(Pool) of
        true -> py_context_router:contexts(Pool);
        false -> []
    end.

strays() ->
    receive
        {py_reply, _, _} = Stray -> [{stray, Stray}];
        {py_items, _, _} = Stray -> [{stray, Stray}];
        {'DOWN', _, process, _, _} = Stray -> [{stray, Stray}];
        %% Large ones would fill the memory of the node.
        Message when Message =/= finish -> strays()
    after 0 -> []
    end.

ask(Ctx, Pool, Answers) ->
    Way = rand:uniform(12),
    Timeout = case rand:uniform(4) of 1 -> infinity; _ -> rand:uniform(800) end,
    try answer(Way, Ctx, Pool, Timeout) of
        Good when Good =:= ok; Good =:= done; Good =:= not_running; element(1, Good) =:= ok -> counters:add(Answers, 1, 1), [];
        {error, _} -> counters:add(Answers, 2, 1), [];
        Bad -> [{answer, Way, Bad}]
    catch
        Class:Reason:Stack -> [{raised, Way, Class, Reason, Stack}]
    end.

answer(1, Ctx, _, Timeout) -> py:call(Ctx, m, f, [self(), binary:copy(<<7>>, 2500000)], #{timeout => Timeout});
answer(2, Ctx, _, Timeout) -> bound(Ctx, fun() -> py:eval(<<"1">>, #{x => args()}, limited(Timeout)) end);
answer(3, Ctx, _, Timeout) -> py:exec(Ctx, <<"x = 1">>, Timeout);
answer(4, Ctx, _, Timeout) -> bound(Ctx, fun() -> py:await(py:cast(m, f, args(), #{}, limited(Timeout)), 20000) end);
answer(5, Ctx, _, Timeout) -> bound(Ctx, fun() -> py:stream(m, f, args(), #{}, limited(Timeout)) end);
answer(6, Ctx, _, Timeout) ->
    {ok, Ref} = py:stream_start(m, f, args(), #{context => Ctx}),
    One = py:stream_next(Ref, limited(Timeout)),
    ok = py:stream_cancel(Ref),
    One;
answer(7, Ctx, _, Timeout) -> bound(Ctx, fun() -> py:async_await(py:async_call(m, f, args(), #{}, limited(Timeout)), 20000) end);
answer(8, Ctx, _, _) -> py:interrupt(Ctx);
answer(10, _, Pool, _) ->
    _ = maps:get(Pool, py:stats(), none),
    ok;
answer(9, _, Pool, _) -> py:call(Pool, m, f, args());
answer(_, Ctx, _, Timeout) -> py:call(Ctx, m, f, [make_ref() | args()], #{timeout => Timeout}).

%% With large binaries now and then, which leave the frame, and one that fills the pipe all the same.
args() ->
    case rand:uniform(6) of
        1 -> [self(), large()];
        2 -> [self(), lists:seq(1, 100000), large()];
        3 -> [self(), #{large => {large(), [large(), <<"small">>]}}];
        _ -> [self()]
    end.

large() -> binary:copy(<<7>>, ?LARGE_BYTES + rand:uniform(3 * ?LARGE_BYTES)).

limited(infinity) -> 2000;
limited(Ms) -> Ms.

bound(Ctx, Ask) ->
    case py_context_router:bind_context(Ctx) of
        ok -> try Ask() after py_context_router:unbind_context() end;
        Error -> Error
    end.

%% The frames that an honest port program writes in a session with something of everything, as they are on the wire.
record(File) ->
    ok = py:state_store(hostile_key, [self()]),
    PyPort = py_test:owner_of(py_test:os_pid(default)),
    Tracer = spawn_link(fun() -> recorder([], 0) end),
    1 = erlang:trace(PyPort, true, ['receive', {tracer, Tracer}]),
    Ask = fun(F, Args) -> {F, {ok, _}} = {F, py:call(default, hostile_session, F, Args)} end,
    lists:foreach(fun({F, Args}) -> Ask(F, Args) end,
                  [{echo, [1]}, {echo, [#{a => [1.5, <<"x">>, {b, self()}]}]}, {echo, [1 bsl 200]},
                   {echo, [binary:copy(<<"large">>, 250000)]}, {say, []}, {callbacks, []}, {messages, [self()]},
                   {atoms, []}]),
    [Ctx | _] = py_context_router:contexts(default),
    {error, _} = py:call(default, hostile_session, fail, []),
    ok = py_context_router:bind_context(Ctx),
    _ = py:stream(hostile_session, items, [50]),
    _ = py:await(py:cast(hostile_session, echo, [2])),
    _ = py:async_await(py:async_call(hostile_session, later, [3])),
    _ = py:eval(<<"1 + 1">>),
    _ = py:exec(<<"y = 2">>),
    _ = py:call(Ctx, time, sleep, [1.0], #{timeout => 50}),
    _ = py:stats(),
    ok = py_context_router:unbind_context(),
    timer:sleep(1500),
    _ = erlang:trace(PyPort, false, ['receive']),
    Delivered = erlang:trace_delivered(PyPort),
    receive {trace_delivered, PyPort, Delivered} -> ok end,
    Tracer ! {recorded, self()},
    receive {bytes, Bytes} -> ok = file:write_file(File, Bytes) end,
    flush(),
    Kinds = lists:sort(kinds(iolist_to_binary(Bytes), #{})),
    io:format("recorded ~b bytes; operations and how many: ~0p~n", [iolist_size(Bytes), Kinds]).

recorder(Bytes, Size) ->
    receive
        {trace, _, 'receive', {Port, {data, Data}}} when is_port(Port), Size < ?RECORDED_BYTES ->
            recorder([Bytes | Data], Size + byte_size(Data));
        {recorded, From} -> From ! {bytes, Bytes};
        _ -> recorder(Bytes, Size)
    end.

kinds(<<Length:32, Frame:Length/binary, Rest/binary>>, Kinds) ->
    <<131, 104, _, 97, Operation, _/binary>> = Frame,
    kinds(Rest, maps:update_with(Operation, fun(N) -> N + 1 end, 1, Kinds));
kinds(_, Kinds) ->
    maps:to_list(Kinds).

flush() ->
    receive _ -> flush() after 0 -> ok end.
