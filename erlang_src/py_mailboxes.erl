%% @doc What a pool's messages may take in the mailboxes of the processes that they go to (`max_mailbox_bytes'): a value.
%%
%% A process that does not keep up slows Python down: while one is `slow', the port is not told that its messages were
%% handled, so `erlang.send' waits. One that has taken none of them for ten seconds is `stuck': it gets no more, and the
%% others go on.
%%
%% Messages are counted as they are sent. Now and then, by what was sent since, the process is asked how many wait.
-module(py_mailboxes).

-export([new/1, add/4, look/2, is_holding/1, is_stuck/2, all_keep_up/1]).

-export_type([mailboxes/0]).

%% A process is asked after a part of what it may have.
-define(PARTS, 16).
-define(STUCK_MS, 10000).
%% So many destinations are known; then those are forgotten in whose mailboxes nothing of ours waits.
-define(KNOWN, 1000).

-record(mailbox, {
    bytes = 0 :: non_neg_integer(),     % that may wait there
    count = 0 :: non_neg_integer(),     % messages that these are
    look_at = 0 :: non_neg_integer(),   % ask again when there are so many bytes
    state = keeps_up :: keeps_up | {slow, Waiting :: non_neg_integer(), Since :: integer()} | stuck
}).
-record(mailboxes, {
    max :: pos_integer() | infinity,
    boxes = #{} :: #{pid() => #mailbox{}},
    known = ?KNOWN :: pos_integer(),    % so many may be in there before all are asked
    slow = 0 :: non_neg_integer(),      % how many of them are slow
    stuck = 0 :: non_neg_integer()      % and stuck
}).
-opaque mailboxes() :: #mailboxes{}.

-spec new(Max :: pos_integer() | infinity) -> mailboxes().
new(Max) ->
    #mailboxes{max = Max}.

%% @doc Messages have been sent to a process of this node: how many, and what they take there.
-spec add(pid(), Bytes :: non_neg_integer(), Count :: non_neg_integer(), mailboxes()) -> mailboxes().
add(_Pid, _Bytes, 0, M) ->
    M;
add(_Pid, _Bytes, _Count, M = #mailboxes{max = infinity}) ->
    M;
add(Pid, Bytes, Count, M = #mailboxes{max = Max, boxes = Boxes}) ->
    Before = case Boxes of
        #{Pid := Known} -> Known;
        _ -> #mailbox{look_at = part(Max)}
    end,
    Box = Before#mailbox{bytes = Before#mailbox.bytes + Bytes, count = Before#mailbox.count + Count},
    case Box of
        #mailbox{state = keeps_up, bytes = Waiting, look_at = LookAt} when Waiting >= LookAt ->
            ask(Pid, Box, now_ms(), M);
        %% A port program that does not wait.
        #mailbox{state = {slow, _, _}, bytes = Waiting} when Waiting >= 2 * Max ->
            put_box(Pid, Box, Box#mailbox{state = stuck}, M);
        #mailbox{state = {slow, Waiting, Since}} ->
            put_box(Pid, Box, Box#mailbox{state = {slow, Waiting + Count, Since}}, M);
        _ ->
            pruned(M#mailboxes{boxes = Boxes#{Pid => Box}})
    end.

%% @doc Asks those that are slow or stuck again.
-spec look(Now :: integer(), mailboxes()) -> mailboxes().
look(Now, M = #mailboxes{boxes = Boxes}) ->
    maps:fold(fun(_Pid, #mailbox{state = keeps_up}, Acc) -> Acc;
                 (Pid, Box, Acc) -> ask(Pid, Box, Now, Acc)
              end, M, Boxes).

%% @doc Python is to wait.
-spec is_holding(mailboxes()) -> boolean().
is_holding(#mailboxes{slow = Slow}) ->
    Slow > 0.

%% @doc Nobody needs to be looked at.
-spec all_keep_up(mailboxes()) -> boolean().
all_keep_up(#mailboxes{slow = Slow, stuck = Stuck}) ->
    Slow + Stuck =:= 0.

-spec is_stuck(pid(), mailboxes()) -> boolean().
is_stuck(Pid, #mailboxes{boxes = Boxes}) ->
    case Boxes of
        #{Pid := #mailbox{state = stuck}} -> true;
        _ -> false
    end.

ask(Pid, Box = #mailbox{bytes = Bytes, count = Count}, Now, M = #mailboxes{max = Max}) ->
    case process_info(Pid, message_queue_len) of
        undefined ->
            put_box(Pid, Box, none, M);
        {message_queue_len, Length} ->
            %% Others may have sent some of them.
            Waiting = min(Length, Count),
            Left = Box#mailbox{bytes = Bytes * Waiting div Count, count = Waiting},
            put_box(Pid, Box, judged(Left, Max, Now), M)
    end.

judged(#mailbox{count = 0}, _Max, _Now) ->
    none;
%% It must have caught up by a good part before it is trusted again.
judged(Box = #mailbox{bytes = Bytes, state = State}, Max, _Now)
        when Bytes < Max div 2; Bytes < Max, State =:= keeps_up ->
    Box#mailbox{state = keeps_up, look_at = Bytes + part(Max)};
judged(Box = #mailbox{count = Count, state = {slow, Waiting, Since}}, _Max, Now) when Count >= Waiting ->
    case Now - Since >= ?STUCK_MS of
        true -> Box#mailbox{state = stuck};
        false -> Box
    end;
judged(Box = #mailbox{state = stuck}, _Max, _Now) ->
    Box;
judged(Box = #mailbox{count = Count}, _Max, Now) ->
    Box#mailbox{state = {slow, Count, Now}}.

put_box(Pid, Before, After, M = #mailboxes{boxes = Boxes, slow = Slow, stuck = Stuck}) ->
    M#mailboxes{
        boxes = case After of
            none -> maps:remove(Pid, Boxes);
            _ -> Boxes#{Pid => After}
        end,
        slow = Slow - slow(Before) + slow(After),
        stuck = Stuck - stuck(Before) + stuck(After)
    }.

slow(#mailbox{state = {slow, _, _}}) -> 1;
slow(_) -> 0.

stuck(#mailbox{state = stuck}) -> 1;
stuck(_) -> 0.

part(Max) ->
    max(1, Max div ?PARTS).

%% Python may send to many: what it has sent to one must not be forgotten for that.
pruned(M = #mailboxes{boxes = Boxes, known = Known}) when map_size(Boxes) =< Known ->
    M;
pruned(M = #mailboxes{boxes = Boxes}) ->
    Now = now_ms(),
    Left = maps:fold(fun(Pid, Box, Acc) -> ask(Pid, Box, Now, Acc) end, M, Boxes),
    Left#mailboxes{known = max(?KNOWN, 2 * map_size(Left#mailboxes.boxes))}.

now_ms() ->
    erlang:monotonic_time(millisecond).
