%% @doc All slots of a limit, one after the other: who holds them, and what the dead have left.
-module(py_slots_audit).

-include("py_slots.hrl").

-export([held/1, in_flight/2, audit/2, sweep_tag/2, in_debt/1, settle/1, release_by_hand/2]).

%% @doc Gives back a slot that was taken by hand: one of `Id' if there is one, else anybody's, since a semaphore may be
%% taken in one process and given back in another.
-spec release_by_hand(py_slots:limit(), py_pid:id()) -> ok | none.
release_by_hand(Limit, Id) ->
    Held = [{Slot, Value} || {Slot, Value} <- entries(Limit), ?TAG_OF(Value) =:= 0, Value band 1 =:= 0],
    {Own, Others} = lists:partition(fun({_, Value}) -> Value =:= Id end, Held),
    case lists:search(fun({Slot, Value}) -> py_slots:free(Limit, Slot, Value) end, Own ++ Others) of
        {value, {Slot, _}} -> py_waiters:given_back(Limit, Slot);
        false -> none
    end.

%% @doc Exactly how many requests hold an entry for a context, those in chains of calls too. Reads every entry.
-spec in_flight(py_slots:limit(), py_counters:tag()) -> non_neg_integer().
in_flight(Limit, Tag) ->
    length([Slot || {Slot, Value} <- nested_entries(Limit) ++ entries(Limit), ?TAG_OF(Value) =:= Tag]).

%% @doc The context has stopped. Its port process may be there, and answers what was sent to it all the same: it owes that
%% from now on without a slot.
-spec sweep_tag(py_slots:limit(), py_counters:tag()) -> ok.
sweep_tag(Limit, Tag) ->
    Owner = py_pid:pid(py_counters:owner(py_counters:ref(), Tag), py_pid:template()),
    IsThere = is_process_alive(Owner),
    lists:foreach(
        fun({Slot, Value}) when ?TAG_OF(Value) =:= Tag -> sweep(Limit, Slot, Value, IsThere, Owner);
           (_Other) -> ok
        end,
        nested_entries(Limit) ++ entries(Limit)).

sweep(Limit, Slot, Value, false, _Owner) ->
    case answer_of(Limit, Slot, Value) of
        gone -> ok;
        Answer -> _ = drop(Limit, Slot, Value, Answer), ok
    end;
sweep(Limit, Slot, Value, true, Owner) ->
    case answer_of(Limit, Slot, Value) of
        Answer when is_integer(Answer), Answer > 0, Answer band 1 =:= 0 ->
            ok = py_owed:add(Answer bsr 1, Owner),
            case drop(Limit, Slot, Value, Answer) of
                true -> ok;
                false -> py_owed:remove(Answer bsr 1)
            end;
        gone ->
            ok;
        StreamOrNone ->
            _ = drop(Limit, Slot, Value, StreamOrNone),
            ok
    end.

%% What a request waits for that was seen to hold an entry. The entry is looked at last: somebody else may have it by now.
answer_of(Limit, Slot, Value) ->
    Answer = atomics:get(Limit, ?ANSWER + Slot),
    case atomics:get(Limit, ?ENTRY + Slot) bor 1 =:= Value bor 1 of
        true -> Answer;
        false -> gone
    end.

%% Frees an entry whose request may be answered all the same: that answer is not to be taken for that of who has the slot
%% next. Its caller may mark it as sent in this moment.
drop(Limit, Slot, Value, Answer) ->
    ok = py_slots:came(Limit, Slot, Answer),
    py_slots:free(Limit, Slot, Value) orelse py_slots:free(Limit, Slot, Value bor 1).

%% @doc Frees what dead processes left: entries that were not sent, or that went to a context that is gone (`IsLive'
%% says so). Returns how many slots are held.
-spec audit(py_slots:limit(), fun((py_counters:tag()) -> boolean())) -> non_neg_integer().
audit(Limit, IsLive) ->
    Template = py_pid:template(),
    IsHeld = fun({Slot, Value}) ->
        case abandoned(Value, Template, IsLive) andalso answer_of(Limit, Slot, Value) of
            Answer when is_integer(Answer) -> not drop(Limit, Slot, Value, Answer);
            _ -> atomics:get(Limit, ?ENTRY + Slot) =/= 0
        end
    end,
    _ = [IsHeld(Entry) || Entry <- nested_entries(Limit)],
    length(lists:filter(IsHeld, entries(Limit))).

abandoned(Value, Template, IsLive) ->
    Tag = ?TAG_OF(Value),
    (Value band 1 =:= 0 orelse Tag =:= 0 orelse not IsLive(Tag)) andalso not is_process_alive(py_pid:pid(Value, Template)).

%% @doc Whether slots beyond the limit are held: true for a while after a shrink.
-spec in_debt(py_slots:limit()) -> boolean().
in_debt(Limit) ->
    Max = atomics:get(Limit, ?MAX),
    lists:any(fun({Slot, _}) -> Slot > Max end, entries(Limit)).

%% @doc Entries beyond the limit are not looked at any more. Only when none has been held for a while: somebody may have
%% read the old limit just before it was lowered, and not have claimed yet.
-spec settle(py_slots:limit()) -> ok.
settle(Limit) ->
    atomics:put(Limit, ?HIGH, atomics:get(Limit, ?MAX)).

%% @doc How many slots are held, dead takers included.
-spec held(py_slots:limit()) -> non_neg_integer().
held(Limit) ->
    length(entries(Limit)).

entries(Limit) ->
    entries(Limit, atomics:get(Limit, ?HIGH), 0, []).

%% Taken one after the other, so none beyond as many as have been taken yet.
nested_entries(Limit) ->
    case atomics:get(Limit, ?NESTED) of
        0 -> [];
        Taken -> entries(Limit, ?CAPACITY + 1 + min(Taken, ?NESTED_CAPACITY - 1), ?CAPACITY, [])
    end.

entries(_Limit, Last, Last, Acc) ->
    Acc;
entries(Limit, Slot, Last, Acc) ->
    case atomics:get(Limit, ?ENTRY + Slot) of
        0 -> entries(Limit, Slot - 1, Last, Acc);
        Value -> entries(Limit, Slot - 1, Last, [{Slot, Value} | Acc])
    end.
