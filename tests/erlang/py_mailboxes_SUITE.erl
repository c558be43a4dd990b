%% What waits in the mailboxes of those that Python sends to, as a value (py_mailboxes).
-module(py_mailboxes_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(MAX, 16000).

suite() -> [{timetrap, {minutes, 1}}].

all() ->
    [who_takes_them_is_never_asked_to_wait, who_does_not_holds_python_up, who_catches_up, who_is_stuck, who_is_stuck_and_comes_back,
     who_takes_some_is_not_stuck, more_than_was_allowed, among_thousands, dead, others_messages, no_limit, random].

init_per_testcase(_Case, Config) ->
    Pid = spawn(fun receiver/0),
    [{receiver, Pid} | Config].

end_per_testcase(_Case, Config) -> exit(receiver(Config), kill).

who_takes_them_is_never_asked_to_wait(Config) ->
    Pid = receiver(Config),
    lists:foldl(fun(_, M) ->
        Next = send(Pid, 10, M),
        take(Pid, 10),
        ?assertNot(py_mailboxes:is_holding(Next)),
        Next
    end, py_mailboxes:new(?MAX), lists:seq(1, 200)).

who_does_not_holds_python_up(Config) ->
    Pid = receiver(Config),
    M = send(Pid, 15, py_mailboxes:new(?MAX)),
    ?assertNot(py_mailboxes:is_holding(M)),
    ?assert(py_mailboxes:all_keep_up(M)),
    Full = send(Pid, 2, M),
    ?assert(py_mailboxes:is_holding(Full)),
    ?assertNot(py_mailboxes:is_stuck(Pid, Full)),
    ?assertNot(py_mailboxes:all_keep_up(Full)).

who_catches_up(Config) ->
    Pid = receiver(Config),
    Full = send(Pid, 17, py_mailboxes:new(?MAX)),
    take(Pid, 2),
    Some = py_mailboxes:look(now_ms(), Full),
    ?assert(py_mailboxes:is_holding(Some)),
    take(Pid, 8),
    ?assertNot(py_mailboxes:is_holding(py_mailboxes:look(now_ms(), Some))).

who_is_stuck(Config) ->
    Pid = receiver(Config),
    Full = send(Pid, 17, py_mailboxes:new(?MAX)),
    Stuck = stuck(Full),
    ?assertNot(py_mailboxes:is_holding(Stuck)),
    ?assert(py_mailboxes:is_stuck(Pid, Stuck)),
    ?assertNot(py_mailboxes:is_stuck(self(), Stuck)),
    ?assertNot(py_mailboxes:all_keep_up(Stuck)).

who_is_stuck_and_comes_back(Config) ->
    Pid = receiver(Config),
    Stuck = stuck(send(Pid, 17, py_mailboxes:new(?MAX))),
    take(Pid, 12),
    Back = py_mailboxes:look(now_ms(), Stuck),
    ?assertNot(py_mailboxes:is_stuck(Pid, Back)),
    ?assert(py_mailboxes:all_keep_up(Back)).

who_takes_some_is_not_stuck(Config) ->
    Pid = receiver(Config),
    Full = send(Pid, 30, py_mailboxes:new(?MAX)),
    lists:foldl(fun(_, M) ->
        take(Pid, 1),
        Next = py_mailboxes:look(late(), M),
        ?assertNot(py_mailboxes:is_stuck(Pid, Next)),
        ?assert(py_mailboxes:is_holding(Next)),
        Next
    end, Full, lists:seq(1, 10)).

%% A port program that goes on although it was told to wait.
more_than_was_allowed(Config) ->
    Pid = receiver(Config),
    Full = send(Pid, 17, py_mailboxes:new(?MAX)),
    ?assertNot(py_mailboxes:is_stuck(Pid, send(Pid, 14, Full))),
    More = send(Pid, 16, Full),
    ?assert(py_mailboxes:is_stuck(Pid, More)),
    ?assertNot(py_mailboxes:is_holding(More)).

%% Proves that what waits somewhere is not forgotten because messages went to many others.
among_thousands(Config) ->
    Pid = receiver(Config),
    Others = [spawn(fun receiver/0) || _ <- lists:seq(1, 2500)],
    Full = lists:foldl(fun(_, M) ->
        Sent = lists:foldl(fun(Other, Acc) -> send(Other, 1, Acc) end, send(Pid, 1, M), Others),
        _ = [take(Other, 1) || Other <- Others],
        Sent
    end, py_mailboxes:new(?MAX), lists:seq(1, 17)),
    ?assert(py_mailboxes:is_holding(Full)),
    _ = [exit(Other, kill) || Other <- Others],
    take(Pid, 17),
    ?assert(py_mailboxes:all_keep_up(py_mailboxes:look(now_ms(), Full))).

dead(Config) ->
    Pid = receiver(Config),
    Full = send(Pid, 17, py_mailboxes:new(?MAX)),
    exit(Pid, kill),
    ok = py_test:eventually(fun() -> not is_process_alive(Pid) end),
    ?assert(py_mailboxes:all_keep_up(py_mailboxes:look(now_ms(), Full))),
    ?assert(py_mailboxes:all_keep_up(py_mailboxes:look(late(), stuck(Full)))).

%% Messages of others are not held against Python, as long as its own are taken.
others_messages(Config) ->
    Pid = receiver(Config),
    _ = [Pid ! from_others || _ <- lists:seq(1, 5)],
    lists:foldl(fun(_, M) ->
        Next = send(Pid, 4, M),
        take(Pid, 4),
        ?assertNot(py_mailboxes:is_holding(Next)),
        Next
    end, py_mailboxes:new(?MAX), lists:seq(1, 100)).

no_limit(Config) ->
    ?assert(py_mailboxes:all_keep_up(send(receiver(Config), 1000, py_mailboxes:new(infinity)))).

%% Proves that whatever is sent and taken in whatever order, what waits is bounded while Python is not held up, and that once
%% all is taken everybody keeps up.
random(_Config) ->
    Pids = [spawn(fun receiver/0) || _ <- lists:seq(1, 5)],
    Last = lists:foldl(fun(_, M) ->
        Pid = lists:nth(rand:uniform(5), Pids),
        case rand:uniform(3) of
            1 -> take(Pid, rand:uniform(20)), py_mailboxes:look(now_ms(), M);
            _ ->
                case py_mailboxes:is_holding(M) of
                    true -> M;
                    false ->
                        %% Asked for after each sixteenth of what it may have, and three are sent at a time.
                        ?assert(waiting(Pid) * 1000 =< ?MAX + ?MAX div 16 + 3000),
                        send(Pid, rand:uniform(3), M)
                end
        end
    end, py_mailboxes:new(?MAX), lists:seq(1, 2000)),
    _ = [take(Pid, 1000) || Pid <- Pids],
    ?assert(py_mailboxes:all_keep_up(py_mailboxes:look(now_ms(), Last))),
    _ = [exit(Pid, kill) || Pid <- Pids],
    ok.

%% Helpers.

receiver(Config) -> proplists:get_value(receiver, Config).

%% Takes as many of the others as it is told to.
receiver() ->
    receive {take, N, From} -> taken(N), From ! {taken, self()}, receiver() end.

taken(0) -> ok;
taken(N) -> receive Message when element(1, Message) =/= take -> taken(N - 1) after 0 -> ok end.

%% Messages that are said to take 1000 bytes each.
send(_Pid, 0, M) -> M;
send(Pid, N, M) ->
    Pid ! {message, N},
    send(Pid, N - 1, py_mailboxes:add(Pid, 1000, 1, M)).

take(Pid, N) ->
    Pid ! {take, N, self()},
    receive {taken, Pid} -> ok end.

waiting(Pid) ->
    {message_queue_len, Length} = process_info(Pid, message_queue_len),
    Length.

late() -> now_ms() + 20000.

now_ms() -> erlang:monotonic_time(millisecond).

stuck(M) -> py_mailboxes:look(late(), M).
