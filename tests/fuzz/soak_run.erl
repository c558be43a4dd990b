%% Pools that are hurt in three ways, and callers beside them that know what every answer must be (tools/soak).
%%
%% `default': spared. `killed': its OS process gets SIGKILL now and then. `frames': its Python writes hostile frames to the
%% descriptor of the replies. `messages': its Python sends messages to forged pids and to names that it may not reach.
-module(soak_run).

-export([main/1]).

-define(SAMPLE_MS, 5000).
-define(KILL_MS, 3000).
-define(SETTLE_MS, 20000).
%% What a call of a hostile pool may take: its process may be killed or be silent meanwhile.
-define(CALL_MS, 5000).

-spec main([string()]) -> no_return().
main([Seconds]) ->
    process_flag(trap_exit, true),
    ok = hostile_app:start([]),
    true = register(hostile_victim, spawn_link(fun() -> receive after infinity -> ok end end)),
    _ = [{ok, _} = py_context_router:start_pool(Pool, 2, #{}) || Pool <- [killed, frames, messages]],
    Spared = checked:start(default, 3, spared),
    Killed = checked:start(killed, 3, killed),
    %% What is loaded at the first time.
    _ = kill(), _ = frames(), _ = messages(),
    ok = checked:pause(Spared),
    ok = checked:pause(Killed),
    timer:sleep(1000),
    _ = steady:snapshot(),  % loads what it needs itself
    Before = steady:snapshot(),
    ok = checked:resume(Spared),
    ok = checked:resume(Killed),
    Done = counters:new(3, []),
    Jobs = [spawn_link(fun() -> repeat(Fun, Done, At) end)
            || {At, Fun} <- [{1, fun kill/0}, {2, fun frames/0}, {3, fun messages/0}]],
    Began = erlang:monotonic_time(millisecond),
    sample(Began, Began + 1000 * list_to_integer(Seconds), Spared, Killed, Done),
    _ = [begin Pid ! finish, receive {'EXIT', Pid, _} -> ok end end || Pid <- Jobs],
    ok = checked:pause(Spared),
    ok = checked:pause(Killed),
    {message_queue_len, Reached} = process_info(whereis(hostile_victim), message_queue_len),
    Found = [{messages_to_a_bystander, Reached} || Reached > 0] ++ steady:wait(Before, ?SETTLE_MS) ++ hostile_app:crashes(),
    _ = [io:format("FOUND ~0P~n", [Problem, 60]) || Problem <- Found],
    Counts = [{Pool, checked:counts(Callers)} || {Pool, Callers} <- [{spared, Spared}, {killed, Killed}]],
    _ = [io:format("~p: ~0p~n", [Pool, Of]) || {Pool, Of} <- Counts],
    Bad = lists:sum([maps:get(Key, Of) || {_, Of} <- Counts, Key <- [wrong, lost, doubled]]),
    io:format("~b kills, ~b hostile frames, ~b rounds of hostile messages; wrong, lost or doubled: ~b~n~s~n",
              [counters:get(Done, 1), counters:get(Done, 2), counters:get(Done, 3), Bad,
               case Bad + length(Found) of 0 -> "nothing found"; _ -> "FAILED" end]),
    ok = hostile_app:stop(),
    halt(min(1, Bad + length(Found))).

repeat(Fun, Done, At) ->
    receive finish -> ok
    after 0 ->
        _ = Fun(),
        counters:add(Done, At, 1),
        repeat(Fun, Done, At)
    end.

sample(Began, End, Spared, Killed, Done) ->
    Now = erlang:monotonic_time(millisecond),
    io:format("~4b s: ~b KiB, ~b processes, ~b atoms, ~b kills, ~b frames, ~b messages, spared ~0p, killed ~0p~n",
              [(Now - Began) div 1000, erlang:memory(total) div 1024, erlang:system_info(process_count),
               erlang:system_info(atom_count), counters:get(Done, 1), counters:get(Done, 2), counters:get(Done, 3),
               checked:counts(Spared), checked:counts(Killed)]),
    case Now < End of
        true -> timer:sleep(min(?SAMPLE_MS, End - Now)), sample(Began, End, Spared, Killed, Done);
        false -> ok
    end.

kill() ->
    timer:sleep(rand:uniform(?KILL_MS)),
    %% Known by its parent's parent; a pool that starts again has none to kill.
    case ask(killed, os, getpid, [], #{timeout => ?CALL_MS}) of
        {ok, OsPid} -> py_test:signal(OsPid, "KILL");
        {error, _} -> ok
    end.

frames() ->
    Ref = make_ref(),
    Frames = [<<>>, <<131, 255>>, t({99}), t({5, 3, 0, <<"x">>}), t({5, 1, 0, <<"said">>}), t({9, [x]}), t({15, lists:seq(0, 60)}),
              t({12, 1}), t({3, #{python_version => <<"9.9">>}}), t({4, <<"no">>}), t({8, 1 bsl 62, 0}), t({10, <<255>>}),
              t({7, 1, Ref}), t({13, 5}), t({11, 1, 5, 5, 0, none, 10}), t({14, -5}), t({2, Ref}),
              <<(t({1, Ref, rand:uniform(64)}))/binary, (t({ok, forged}))/binary>>,
              <<(t({1, alias(), 0}))/binary, (t({ok, forged}))/binary>>, <<(t({16, Ref}))/binary, (t([forged]))/binary>>,
              term_to_binary({9, [binary:copy(<<0>>, 500000)]}, [{compressed, 9}]), rand:bytes(rand:uniform(300))],
    Frame = lists:nth(rand:uniform(length(Frames)), Frames),
    Opts = #{timeout => ?CALL_MS},
    _ = case rand:uniform(12) of
        1 -> ask(frames, hostile, length_and_death, [16#ffffffff, 9], Opts);
        2 -> ask(frames, hostile, length_and_death, [1 bsl 20, 0], Opts#{timeout => 200});
        3 -> ask(frames, hostile, endless, [{bytes, Frame}], Opts#{timeout => 500});
        4 -> ask(frames, hostile, atoms, [50], Opts#{timeout => 500});
        _ -> ask(frames, hostile, frames, [[{bytes, Frame}], rand:uniform(20)], Opts)
    end,
    receive Stray when Stray =/= finish -> error({stray, Stray}) after 0 -> ok end.

messages() ->
    Victim = term_to_binary(whereis(hostile_victim)),
    Forged = [{bytes, binary:part(Victim, 1, byte_size(Victim) - 1)}
              | [{bytes, binary:part(Pid, 1, byte_size(Pid) - 1)}
                 || Name <- [py_semaphore, py_output, py_pools_sup, init, erlang_python_sup],
                    Pid <- [term_to_binary(whereis(Name))]]],
    Opts = #{timeout => ?CALL_MS},
    _ = ask(messages, hostile_messages, by_name, [], Opts),
    _ = ask(messages, hostile_messages, by_pid, [Forged], Opts),
    %% Frames go round the check in Python.
    Message = t({whereis(hostile_victim), {'EXIT', self(), kill}}),
    Frame = <<(t({12, 1}))/binary, (byte_size(Message)):32, Message/binary>>,
    _ = ask(messages, hostile, frames, [[{bytes, Frame}], 50], Opts),
    ok.

%% A pool that starts again has no contexts.
ask(Pool, M, F, Args, Opts) ->
    case py_context_router:contexts(Pool) of
        [] -> timer:sleep(20), {error, starting};
        Contexts -> py:call(lists:nth(rand:uniform(length(Contexts)), Contexts), M, F, Args, Opts)
    end.

t(Term) -> term_to_binary(Term).
