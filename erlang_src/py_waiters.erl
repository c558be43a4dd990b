%% @doc Who waits for a slot: the queue of each limit, in order.
%%
%% A waiter takes a place (a number) and puts a row there, and whoever gives a slot back hands it to the first: nobody stands
%% between them. That is py_port, which sees the replies, or py_semaphore for what other processes give back, and what the dead
%% have left. Both have no reason to die between two steps; should one be killed all the same, its *note* says which slot it was just
%% handing to whom, and py_semaphore does that again ({@link died/2}). Callers are killed all day, so they hand on nothing.
%%
%% A limit has a word (py_slots:waiting/1) that says whether there are waiters. A waiter first puts its row, then sets the word;
%% whoever finds no place to serve clears the word, and then looks again. While the word is set no slot is free, but for moments,
%% since each that comes free is handed on. Who waits when nobody did tells py_semaphore, which hands out what came free in that
%% moment, and looks every second for slots of dead processes.
-module(py_waiters).

%% For who waits.
-export([wait/4, queue/3, reference/1, is_answer/2, leave/1]).
%% For who gives slots back.
-export([pass_on/3, given_back/2, served/1]).
%% py_semaphore.
-export([serve/1, close/1, died/2, adopt/1, count/1]).

-export_type([place/0]).

-define(TABLE, py_waiters).
%% py_semaphore has crashed, or the application ends: how long until the next look.
-define(AGAIN_MS, 10).
%% A slot is being handed to us, which takes a moment: how long until the next look whether the application is still there.
-define(ARRIVING_MS, 1000).

-record(place, {limit :: py_slots:limit(), number :: pos_integer(), alias :: reference(), id :: py_pid:id(),
                tag :: py_counters:tag()}).
-opaque place() :: #place{}.

%% Rows are `{Key, Alias, Pid, Id, Tag}', and `{{note, Pid}, Alias, Slot}'. Keys are numbers, which cost least.
-define(KEY(Limit, Number), ((py_slots:number(Limit) bsl 44) + Number)).

%% @doc Waits for a slot. `closed': the context takes no more requests; `queue_full': as many wait as may.
-spec wait(py_slots:limit(), py_pid:id(), py_counters:tag(), timeout()) ->
    py_slots:slot() | closed | timeout | queue_full.
wait(Limit, Id, Tag, Timeout) ->
    case has_room(Limit) of
        true ->
            Alias = monitor(process, py_semaphore, [{alias, explicit_unalias}]),
            Place = enter(Limit, Alias, Id, Tag),
            receive
                {Alias, Answer} ->
                    waited(answer(Answer, Place), Place, py_attempt:deadline(Timeout));
                {'DOWN', Alias, process, _, _} ->
                    unwatched(Place, py_attempt:deadline(Timeout))
            after Timeout ->
                leave(Place)
            end;
        Other ->
            Other
    end.

waited(lost, #place{limit = Limit, id = Id, tag = Tag}, Deadline) -> wait(Limit, Id, Tag, py_attempt:left(Deadline));
waited(Answer, _Place, _Deadline) -> Answer.

%% py_semaphore comes back at once, and the row is there. Unless the application ends.
unwatched(Place = #place{alias = Alias}, Deadline) ->
    receive
        {Alias, Answer} -> waited(answer(Answer, Place), Place, Deadline)
    after min(?AGAIN_MS, py_attempt:left(Deadline)) ->
        case is_running() andalso py_attempt:left(Deadline) of
            false -> error({not_started, erlang_python});
            0 -> leave(Place);
            _ -> unwatched(Place, Deadline)
        end
    end.

is_running() ->
    ets:whereis(?TABLE) =/= undefined.

%% @doc Queues for a slot without waiting: a message comes that {@link is_answer/2} knows.
-spec queue(py_slots:limit(), py_pid:id(), py_counters:tag()) -> place() | closed | queue_full.
queue(Limit, Id, Tag) ->
    case has_room(Limit) of
        true -> enter(Limit, monitor(process, py_semaphore, [{alias, explicit_unalias}]), Id, Tag);
        Other -> Other
    end.

%% @doc In the messages for this place.
-spec reference(place()) -> reference().
reference(#place{alias = Alias}) -> Alias.

%% @doc The answer in a message, which ends the wait; so does `lost', after which the caller is to queue again.
-spec is_answer(term(), place()) -> {true, py_slots:slot() | closed | lost} | false.
is_answer({Alias, Answer}, Place = #place{alias = Alias}) ->
    {true, answer(Answer, Place)};
%% py_semaphore has died, and is back or about to be.
is_answer({'DOWN', Alias, process, _, _}, Place = #place{alias = Alias}) ->
    case leave(Place) of
        timeout -> {true, lost};
        Answer -> {true, Answer}
    end;
is_answer(_Message, _Place) ->
    false.

answer(Answer, #place{limit = Limit, alias = Alias, id = Id, tag = Tag}) ->
    ok = forget(Alias),
    case Answer of
        closed -> closed;
        lost -> lost;
        Slot when is_integer(Slot) -> Slot;
        %% Who was handing it to us has died.
        {noted, Slot} ->
            case py_slots:is_held(Limit, Slot, Id, Tag) of
                true -> Slot;
                false -> lost
            end
    end.

forget(Alias) ->
    _ = unalias(Alias),
    true = demonitor(Alias, [flush]),
    ok.

%% @doc Leaves the queue. A slot may be on its way: then it is the caller's.
-spec leave(place()) -> py_slots:slot() | closed | timeout.
leave(Place = #place{limit = Limit, number = Number, alias = Alias}) ->
    ok = may_be_served(Limit),
    case taken(?KEY(Limit, Number)) of
        true ->
            ok = forget(Alias),
            timeout;
        false ->
            arriving(Place)
    end.

%% Somebody hands us a slot. Should it die meanwhile, py_semaphore says so, unless the application ends.
arriving(Place = #place{alias = Alias}) ->
    receive
        {Alias, OnItsWay} ->
            case answer(OnItsWay, Place) of
                lost -> timeout;
                Answer -> Answer
            end
    after ?ARRIVING_MS ->
        case is_running() of
            true ->
                arriving(Place);
            false ->
                ok = forget(Alias),
                timeout
        end
    end.

%% A slot may be free, that py_semaphore is about to give.
may_be_served(Limit) ->
    case py_slots:waiting(Limit) =:= 2 andalso not py_slots:is_indebted(Limit) of
        true -> ok;
        false -> served()
    end.

served() ->
    try
        py_semaphore:served()
    catch
        error:{not_started, _} -> ok
    end.

taken(Key) ->
    try
        ets:take(?TABLE, Key) =/= []
    catch
        %% The application has ended.
        error:badarg -> true
    end.

%% Processes remember where they have called: the pool may be gone since, and its limit with it.
has_room(Limit) ->
    case py_limits:is_limit(Limit) andalso py_slots:max_queued(Limit) of
        false -> closed;
        infinity -> true;
        Max -> py_slots:queued(Limit) < Max orelse count(Limit) < Max orelse queue_full
    end.

%% @doc How many wait, those included that have been killed.
-spec count(py_slots:limit()) -> non_neg_integer().
count(Limit) ->
    case py_slots:queued(Limit) of
        0 -> 0;
        _ ->
            First = ?KEY(Limit, 0),
            ets:select_count(?TABLE, [{{'$1', '_', '_', '_', '_'}, [{'>', '$1', First}, {'<', '$1', First + (1 bsl 44)}], [true]}])
    end.

enter(Limit, Alias, Id, Tag) ->
    Number = py_slots:enter(Limit),
    Key = ?KEY(Limit, Number),
    true = ets:insert(?TABLE, {Key, Alias, self(), Id, Tag}),
    _ = case py_slots:set_waiting(Limit, 0, 1) =:= 2 andalso not py_slots:is_indebted(Limit) of
        true -> ok;
        false -> py_semaphore:waits(Limit)
    end,
    %% Who serves this place before the row is there passes it over.
    case py_slots:head(Limit) >= Number andalso ets:take(?TABLE, Key) of
        [_] -> enter(Limit, Alias, Id, Tag);
        _ -> entered(#place{limit = Limit, number = Number, alias = Alias, id = Id, tag = Tag})
    end.

%% The pool may have gone before the row was there.
entered(Place = #place{limit = Limit, number = Number, alias = Alias}) ->
    _ = py_limits:is_limit(Limit) orelse ets:take(?TABLE, ?KEY(Limit, Number)) =:= [] orelse (Alias ! {Alias, closed}),
    Place.

%% Handing on.

%% @doc The calling process, py_port, holds this slot, and somebody waits.
-spec pass_on(py_slots:limit(), py_slots:slot(), Holder :: py_pid:id()) -> ok.
pass_on(Limit, Slot, Holder) ->
    case py_slots:is_indebted(Limit) of
        true ->
            ok = py_slots:unreserve(Limit, Slot, Holder),
            py_semaphore:freed(Limit, Slot);
        false ->
            case hand(Limit, Slot, Holder) of
                handed ->
                    ok;
                nobody ->
                    ok = py_slots:unreserve(Limit, Slot, Holder),
                    calm(Limit)
            end
    end.

%% @doc Another process has.
-spec given_back(py_slots:limit(), py_slots:slot()) -> ok.
given_back(Limit, Slot) ->
    case py_slots:waiting(Limit) of
        0 -> ok;
        _ -> py_semaphore:freed(Limit, Slot)
    end.

%% @doc Until a slot that the calling process has given back is in somebody's hands, if somebody waits.
-spec served(py_slots:limit()) -> ok.
served(Limit) ->
    case py_slots:waiting(Limit) of
        0 -> ok;
        _ -> served()
    end.

%% @doc Hands out all that is free.
-spec serve(py_slots:limit()) -> ok.
serve(Limit) ->
    serve(Limit, py_pid:self_id()).

serve(Limit, Self) ->
    %% While more is held than the limit says, all is counted.
    IsFull = py_slots:is_indebted(Limit) andalso py_slots_audit:held(Limit) >= py_slots:effective_max(Limit),
    case not IsFull andalso py_slots:queued(Limit) > 0 andalso py_slots:reserve(Limit, Self) of
        Slot when is_integer(Slot) ->
            case hand(Limit, Slot, Self) of
                handed ->
                    serve(Limit, Self);
                nobody ->
                    ok = py_slots:unreserve(Limit, Slot, Self),
                    calm(Limit)
            end;
        full ->
            ok;
        false when IsFull ->
            ok;
        false ->
            calm(Limit)
    end.

%% @doc The pool of this limit is gone, which takes no more from now on (py_limits): whoever waits is told.
-spec close(py_slots:limit()) -> ok.
close(Limit) ->
    turn_away(Limit, ?KEY(Limit, (1 bsl 44) - 1), closed).

%% Who waits up to this key. Somebody who lives may be about to take a row: whoever takes it has it.
turn_away(Limit, Last, Answer) ->
    Rows = [{{'$1', '_', '_', '_', '_'}, [{'>', '$1', ?KEY(Limit, 0)}, {'=<', '$1', Last}], ['$1']}],
    _ = [Alias ! {Alias, Answer} || Key <- ets:select(?TABLE, Rows), {_, Alias, _, _, _} <- ets:take(?TABLE, Key)],
    ok.

%% To the first that lives, and whose context takes requests.
hand(Limit, Slot, Holder) ->
    case py_slots:pop(Limit) of
        none ->
            nobody;
        Place ->
            Key = ?KEY(Limit, Place),
            case ets:lookup(?TABLE, Key) of
                [{_, Alias, Pid, Id, Tag}] ->
                    true = ets:insert(?TABLE, {{note, self()}, Alias, Slot}),
                    Outcome = is_process_alive(Pid) andalso ets:take(?TABLE, Key) =/= []
                        andalso py_slots:hand(Limit, Slot, Holder, Id, Tag),
                    Handed = handed(Outcome, Alias, Slot),
                    true = ets:delete(?TABLE, {note, self()}),
                    case Handed of
                        %% Its entry would only come back with the next audit.
                        passed_over ->
                            _ = ets:delete(?TABLE, Key),
                            hand(Limit, Slot, Holder);
                        _ ->
                            handed
                    end;
                %% It has left.
                [] ->
                    hand(Limit, Slot, Holder)
            end
    end.

handed(ok, Alias, Slot) ->
    Alias ! {Alias, Slot},
    handed;
handed(closed, Alias, _Slot) ->
    Alias ! {Alias, closed},
    passed_over;
%% The slot is not ours any more: the waiter comes again.
handed(lost, Alias, Slot) ->
    Alias ! {Alias, {noted, Slot}},
    handed;
handed(false, _Alias, _Slot) ->
    passed_over.

%% Nobody waits.
calm(Limit) ->
    case py_slots:is_indebted(Limit) of
        true ->
            ok;
        false ->
            ok = py_slots:set_waiting(Limit, 0),
            case py_slots:queued(Limit) of
                0 ->
                    ok;
                _ ->
                    _ = py_slots:set_waiting(Limit, 0, 1),
                    py_semaphore:waits(Limit)
            end
    end.

%% Crashes.

%% @doc This process has died, which gave slots of these limits: whom it was handing one to looks whether it has it, and whom it had
%% only chosen queues again. One that has its answer already has no alias any more.
-spec died(pid(), [py_slots:limit()]) -> ok.
died(Pid, Limits) ->
    _ = [Alias ! {Alias, {noted, Slot}} || {_, Alias, Slot} <- ets:take(?TABLE, {note, Pid})],
    lists:foreach(fun overtaken/1, Limits).

%% @doc The same of all that are dead, for a new py_semaphore.
-spec adopt([py_slots:limit()]) -> ok.
adopt(Limits) ->
    _ = [died(Pid, []) || [Pid] <- ets:match(?TABLE, {{note, '$1'}, '_', '_'}), not is_process_alive(Pid)],
    lists:foreach(fun overtaken/1, Limits).

%% At places that were served.
overtaken(Limit) ->
    turn_away(Limit, ?KEY(Limit, py_slots:head(Limit)), lost).
