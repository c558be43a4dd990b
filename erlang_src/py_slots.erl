%% @doc The limit of a pool on requests that are in Python's hands: its lock-free half. Who has to wait is in py_waiters.
%%
%% A limit is an `atomics' array of its own, and a slot is one entry of it, taken by one compare-and-exchange with a number that
%% names the taker, and given back by one exchange. The entries are the only truth (there is no counter beside them), so a process
%% that is killed between any two steps leaves either nothing or an entry that names it, which the audit frees. Beside it stands
%% what answer the request waits for, so that nobody but the port process that has the request gives its slot back.
%%
%% An entry is `<<Serial:20, Tag:14, Id:28, Sent:1>>': the pid of the taker (py_pid), the context it is for (0: taken by hand), and
%% whether the request is with the port. While it is not, the slot is the taker's and dies with it. Afterwards it is
%% Python's: given back with the reply, or when the port process of that context dies.
%%
%% Requests inside a chain of calls take no slot of the limit, since the call that began the chain holds its own until
%% it is done. They are entries of a second region, so that they are seen where a context's requests are counted.
-module(py_slots).

%% The limit.
-export([new/3, set_max/2, max/1, max_queued/1, set_max_queued/2]).
%% Any process.
-export([take/3, take_nested/3, expect/3, sent/4, cancel/4]).
%% py_port.
-export([answered/4, started/3]).
%% py_waiters and py_semaphore.
-export([waiting/1, set_waiting/3, set_waiting/2, is_indebted/1, set_indebted/2]).
-export([enter/1, head/1, pop/1, queued/1, number/1]).
-export([reserve/2, unreserve/3, hand/5, is_held/4, give_back/4, effective_max/1, release_by_hand/2]).
-export([sweep_tag/2, audit/2, held/1, in_debt/1, settle/1, in_flight/2]).

-export_type([limit/0, slot/0, answer/0, waiting/0]).

-opaque limit() :: atomics:atomics_ref().
-type slot() :: pos_integer().
%% What a slot waits for: the address of an alias, and whether that is a stream's.
-type answer() :: non_neg_integer().
%% 0: nobody waits. 1: somebody does, and py_semaphore may not know. 2: it knows, and looks after them.
-type waiting() :: 0..2.

-define(MAX, 1).            % entries in use
-define(WAITING, 2).        % waiting(); unless 0, newcomers queue, and whoever gives a slot back looks who waits
-define(HIGH, 3).           % entries beyond are free: ?MAX, or after a shrink what it was
-define(NOMINAL, 4).        % the limit as it was asked for
-define(NESTED, 5).         % how many entries of the second region have ever been taken: where to look for a free one
-define(INDEBTED, 6).       % 1: more may be held than the limit says, and py_semaphore alone gives slots to those that wait
-define(MAX_QUEUED, 7).     % how many may wait; -1: any number
-define(NUMBER, 8).         % of this limit
-define(HEAD, 9).           % the place in the queue that was served last
-define(TAIL, 10).          % the place in the queue that was taken last
-define(ENTRY, 10).         % + slot
-define(ANSWER, (?ENTRY + ?CAPACITY + ?NESTED_CAPACITY)).   % + slot: the answer() to what the entry's request asked
%% A third of a MiB for both regions. More requests of one pool are never in Python's hands.
-define(CAPACITY, 16384).
%% The second region. A nested request that finds no free entry within some tries goes without.
-define(NESTED_CAPACITY, 4096).
-define(NESTED_TRIES, 64).

-define(TAG_SHIFT, 29).
-define(TAG_MASK, 16#3fff).
-define(VALUE(Id, Tag), ((Id) bor ((Tag) bsl ?TAG_SHIFT))).
%% Between two requests, while somebody waits: of the process that hands it on.
-define(RESERVED(Holder), ((Holder) bor 1)).
-define(TAG_OF(Value), (((Value) bsr ?TAG_SHIFT) band ?TAG_MASK)).

%% The limit

%% @doc `Number' tells it from other limits.
-spec new(pos_integer(), pos_integer(), non_neg_integer() | infinity) -> limit().
new(Number, Max, MaxQueued) ->
    Limit = atomics:new(?ANSWER + ?CAPACITY + ?NESTED_CAPACITY, [{signed, true}]),
    ok = atomics:put(Limit, ?NUMBER, Number),
    ok = set_max(Limit, Max),
    ok = set_max_queued(Limit, MaxQueued),
    Limit.

%% @doc Only py_semaphore calls this: after a shrink, grants are its business until nothing is held beyond the new limit.
-spec set_max(limit(), pos_integer()) -> ok.
set_max(Limit, Max) ->
    Entries = min(Max, ?CAPACITY),
    ok = atomics:put(Limit, ?HIGH, max(atomics:get(Limit, ?HIGH), Entries)),
    ok = atomics:put(Limit, ?NOMINAL, Max),
    ok = atomics:put(Limit, ?MAX, Entries).

-spec max(limit()) -> pos_integer().
max(Limit) ->
    atomics:get(Limit, ?NOMINAL).

-spec effective_max(limit()) -> pos_integer().
effective_max(Limit) ->
    atomics:get(Limit, ?MAX).

%% @doc How many may wait for a slot.
-spec max_queued(limit()) -> non_neg_integer() | infinity.
max_queued(Limit) ->
    case atomics:get(Limit, ?MAX_QUEUED) of
        -1 -> infinity;
        N -> N
    end.

-spec set_max_queued(limit(), non_neg_integer() | infinity) -> ok.
set_max_queued(Limit, infinity) -> atomics:put(Limit, ?MAX_QUEUED, -1);
set_max_queued(Limit, N) -> atomics:put(Limit, ?MAX_QUEUED, N).

-spec waiting(limit()) -> waiting().
waiting(Limit) ->
    atomics:get(Limit, ?WAITING).

-spec set_waiting(limit(), waiting()) -> ok.
set_waiting(Limit, Waiting) ->
    atomics:put(Limit, ?WAITING, Waiting).

%% @doc If it is as the caller thinks.
-spec set_waiting(limit(), waiting(), waiting()) -> ok | waiting().
set_waiting(Limit, Before, Waiting) ->
    atomics:compare_exchange(Limit, ?WAITING, Before, Waiting).

-spec is_indebted(limit()) -> boolean().
is_indebted(Limit) ->
    atomics:get(Limit, ?INDEBTED) =:= 1.

-spec set_indebted(limit(), boolean()) -> ok.
set_indebted(Limit, true) -> atomics:put(Limit, ?INDEBTED, 1);
set_indebted(Limit, false) -> atomics:put(Limit, ?INDEBTED, 0).

%% The places of those that wait, in order. What stands at a place is in py_waiters.

-spec number(limit()) -> pos_integer().
number(Limit) ->
    atomics:get(Limit, ?NUMBER).

%% @doc The next place.
-spec enter(limit()) -> pos_integer().
enter(Limit) ->
    atomics:add_get(Limit, ?TAIL, 1).

%% @doc The place that was served last.
-spec head(limit()) -> non_neg_integer().
head(Limit) ->
    atomics:get(Limit, ?HEAD).

%% @doc How many places there are to be served, those included that were left.
-spec queued(limit()) -> non_neg_integer().
queued(Limit) ->
    max(0, atomics:get(Limit, ?TAIL) - atomics:get(Limit, ?HEAD)).

%% @doc The place that is to be served now, by the caller alone.
-spec pop(limit()) -> pos_integer() | none.
pop(Limit) ->
    Head = atomics:get(Limit, ?HEAD),
    case atomics:get(Limit, ?TAIL) of
        Head ->
            none;
        _ ->
            case atomics:compare_exchange(Limit, ?HEAD, Head, Head + 1) of
                ok -> Head + 1;
                _ -> pop(Limit)
            end
    end.

%% Taking

%% @doc A slot for a request to the context `Tag', at once or not at all.
-spec take(limit(), py_pid:id(), py_counters:tag()) -> slot() | full | closed.
take(Limit, Id, Tag) ->
    case atomics:get(Limit, ?WAITING) of
        0 -> take_now(Limit, Id, Tag);
        _ -> full
    end.

%% @doc Past those that wait, on behalf of one of them.
-spec take_now(limit(), py_pid:id(), py_counters:tag()) -> slot() | full | closed.
take_now(Limit, Id, Tag) ->
    Max = atomics:get(Limit, ?MAX),
    %% Neighbouring pids start at neighbouring entries, so the first try nearly always succeeds.
    First = (Id bsr 1) rem Max,
    claim(Limit, py_counters:ref(), Id, Tag, First, First, Max).

claim(Limit, Counters, Id, Tag, At, First, Max) ->
    case atomics:compare_exchange(Limit, ?ENTRY + 1 + At, 0, ?VALUE(Id, Tag)) of
        ok ->
            claimed(Limit, Counters, Id, Tag, At + 1);
        _ ->
            case (At + 1) rem Max of
                First -> full;
                Next -> claim(Limit, Counters, Id, Tag, Next, First, Max)
            end
    end.

%% @doc A free slot for somebody who waits; the calling process holds it until {@link hand/5}.
-spec reserve(limit(), py_pid:id()) -> slot() | full.
reserve(Limit, Holder) ->
    take_now(Limit, ?RESERVED(Holder), 0).

%% @doc Nobody waited.
-spec unreserve(limit(), slot(), Holder :: py_pid:id()) -> ok.
unreserve(Limit, Slot, Holder) ->
    _ = free(Limit, Slot, ?RESERVED(Holder)),
    ok.

%% @doc A slot that the process `Holder' holds becomes that of a request to the context `Tag'. `lost': it holds it no more.
-spec hand(limit(), slot(), Holder :: py_pid:id(), py_pid:id(), py_counters:tag()) -> ok | closed | lost.
hand(Limit, Slot, Holder, Id, Tag) ->
    case Tag =:= 0 orelse py_counters:claim(py_counters:ref(), Tag) of
        true ->
            case atomics:compare_exchange(Limit, ?ENTRY + Slot, ?RESERVED(Holder), ?VALUE(Id, Tag)) of
                ok ->
                    ok;
                _ ->
                    ok = released(Tag),
                    lost
            end;
        false ->
            ok = released(Tag),
            closed
    end.

%% @doc Whether it is the slot of a request that was not sent yet.
-spec is_held(limit(), slot(), py_pid:id(), py_counters:tag()) -> boolean().
is_held(Limit, Slot, Id, Tag) ->
    atomics:get(Limit, ?ENTRY + Slot) =:= ?VALUE(Id, Tag).

claimed(_Limit, _Counters, _Id, 0, Slot) ->
    Slot;
claimed(Limit, Counters, Id, Tag, Slot) ->
    case py_counters:claim(Counters, Tag) of
        true ->
            Slot;
        false ->
            %% Whoever has looked meanwhile has found it taken.
            ok = cancel(Limit, Id, Tag, Slot),
            closed
    end.

%% @doc The same for a request in a chain of calls: never `full', and 0 when the second region is too full.
-spec take_nested(limit(), py_pid:id(), py_counters:tag()) -> slot() | 0 | closed.
take_nested(Limit, Id, Tag) ->
    claim_nested(Limit, py_counters:ref(), Id, Tag, ?NESTED_TRIES).

claim_nested(_Limit, _Counters, _Id, Tag, 0) ->
    case py_counters:load(Tag) of
        Load when Load >= 0 -> 0;
        _ -> closed
    end;
claim_nested(Limit, Counters, Id, Tag, Tries) ->
    Slot = ?CAPACITY + 1 + atomics:add_get(Limit, ?NESTED, 1) rem ?NESTED_CAPACITY,
    case atomics:compare_exchange(Limit, ?ENTRY + Slot, 0, ?VALUE(Id, Tag)) of
        ok -> claimed(Limit, Counters, Id, Tag, Slot);
        _ -> claim_nested(Limit, Counters, Id, Tag, Tries - 1)
    end.

%% @doc Before the request is written: what its answer will look like.
-spec expect(limit(), slot(), answer()) -> ok.
expect(Limit, Slot, Answer) ->
    atomics:put(Limit, ?ANSWER + Slot, Answer).

%% @doc The request is with the port: from now on the slot is given back by the reply. When that has happened
%% already, the entry is no longer ours and stays as it is.
-spec sent(limit(), py_pid:id(), py_counters:tag(), slot() | 0) -> ok.
sent(_Limit, _Id, _Tag, 0) ->
    ok;
sent(Limit, Id, Tag, Slot) ->
    Value = ?VALUE(Id, Tag),
    _ = atomics:compare_exchange(Limit, ?ENTRY + Slot, Value, Value bor 1),
    ok.

%% Giving back

%% @doc The taker gives back a slot that may have been given back for it already.
-spec cancel(limit(), py_pid:id(), py_counters:tag(), slot() | 0) -> ok.
cancel(_Limit, _Id, _Tag, 0) ->
    ok;
cancel(Limit, Id, Tag, Slot) ->
    _ = give_back(Limit, Id, Tag, Slot) andalso is_of_limit(Slot) andalso py_waiters:given_back(Limit, Slot),
    ok.

%% @doc The same without a look who waits. Whether there was anything to give back.
-spec give_back(limit(), py_pid:id(), py_counters:tag(), slot()) -> boolean().
give_back(Limit, Id, Tag, Slot) ->
    Value = ?VALUE(Id, Tag),
    free(Limit, Slot, Value) orelse free(Limit, Slot, Value bor 1).

free(Limit, Slot, Value) ->
    case atomics:compare_exchange(Limit, ?ENTRY + Slot, Value, 0) of
        ok ->
            ok = released(?TAG_OF(Value)),
            true;
        _ ->
            false
    end.

%% Slots that are taken by hand are for no context.
released(0) -> ok;
released(Tag) -> py_counters:released(Tag).

is_of_limit(Slot) -> Slot =< ?CAPACITY.

%% @doc Gives back the slot of a reply. `unknown': the port process of `Owner' has no such request; whatever holds the slot
%% keeps it. The port's word alone gives nothing back, since pools of several port processes share a limit.
-spec answered(limit(), slot(), py_protocol:address(), Owner :: py_pid:id()) -> plain | stream | unknown.
answered(Limit, Slot, Address, Owner) when Slot =< ?CAPACITY + ?NESTED_CAPACITY ->
    Answer = atomics:get(Limit, ?ANSWER + Slot),
    case Answer bsr 1 =:= Address andalso take_back(Limit, Slot, Owner) of
        true ->
            ok = came(Limit, Slot, Answer),
            kind(Answer);
        false ->
            unknown
    end;
answered(_Limit, _Slot, _Address, _Owner) ->
    unknown.

%% @doc The same for a request that goes on without its slot; its answer comes later.
-spec started(limit(), slot(), Owner :: py_pid:id()) -> {plain | stream, py_protocol:address()} | unknown.
started(Limit, Slot, Owner) when Slot =< ?CAPACITY + ?NESTED_CAPACITY ->
    Answer = atomics:get(Limit, ?ANSWER + Slot),
    case take_back(Limit, Slot, Owner) of
        true ->
            ok = came(Limit, Slot, Answer),
            {kind(Answer), Answer bsr 1};
        false ->
            unknown
    end;
started(_Limit, _Slot, _Owner) ->
    unknown.

kind(Answer) when Answer band 1 =:= 0 -> plain;
kind(_Answer) -> stream.

%% This answer does not come twice: the slot may be somebody else's by now, who has not said yet what answer that waits for.
came(Limit, Slot, Answer) ->
    _ = atomics:compare_exchange(Limit, ?ANSWER + Slot, Answer, 0),
    ok.

take_back(Limit, Slot, Owner) ->
    take_back(Limit, Slot, Owner, atomics:get(Limit, ?ENTRY + Slot), py_counters:ref()).

take_back(_Limit, _Slot, _Owner, 0, _Counters) ->
    false;
take_back(Limit, Slot, Owner, Value, Counters) ->
    Tag = ?TAG_OF(Value),
    case Tag > 0 andalso py_counters:owner(Counters, Tag) of
        Owner ->
            %% When somebody waits it is not given back, but becomes ours until it is handed on.
            IsWanted = is_of_limit(Slot) andalso atomics:get(Limit, ?WAITING) > 0,
            Next = case IsWanted of true -> ?RESERVED(Owner); false -> 0 end,
            case atomics:compare_exchange(Limit, ?ENTRY + Slot, Value, Next) of
                ok ->
                    ok = py_counters:answered(Counters, Tag),
                    _ = case IsWanted of
                        true -> py_waiters:pass_on(Limit, Slot, Owner);
                        false -> is_of_limit(Slot) andalso py_waiters:given_back(Limit, Slot)
                    end,
                    true;
                %% The caller has marked it as sent in this moment.
                Other ->
                    take_back(Limit, Slot, Owner, Other, Counters)
            end;
        _ ->
            false
    end.

%% @doc Gives back a slot that was taken by hand: one of `Id' if there is one, else anybody's, since a semaphore may be
%% taken in one process and given back in another.
-spec release_by_hand(limit(), py_pid:id()) -> ok | none.
release_by_hand(Limit, Id) ->
    Held = [{Slot, Value} || {Slot, Value} <- entries(Limit), ?TAG_OF(Value) =:= 0, Value band 1 =:= 0],
    {Own, Others} = lists:partition(fun({_, Value}) -> Value =:= Id end, Held),
    case lists:search(fun({Slot, Value}) -> free(Limit, Slot, Value) end, Own ++ Others) of
        {value, {Slot, _}} -> py_waiters:given_back(Limit, Slot);
        false -> none
    end.

%% All of them

%% @doc Exactly how many requests hold an entry for a context, those in chains of calls too. Reads every entry.
-spec in_flight(limit(), py_counters:tag()) -> non_neg_integer().
in_flight(Limit, Tag) ->
    length([Slot || {Slot, Value} <- nested_entries(Limit) ++ entries(Limit), ?TAG_OF(Value) =:= Tag]).

%% @doc The context has stopped. Its port process may be there, and answers what was sent to it all the same: it owes that
%% from now on without a slot.
-spec sweep_tag(limit(), py_counters:tag()) -> ok.
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
    ok = came(Limit, Slot, Answer),
    free(Limit, Slot, Value) orelse free(Limit, Slot, Value bor 1).

%% @doc Frees what dead processes left: entries that were not sent, or that went to a context that is gone (`IsLive'
%% says so). Returns how many slots are held.
-spec audit(limit(), fun((py_counters:tag()) -> boolean())) -> non_neg_integer().
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
-spec in_debt(limit()) -> boolean().
in_debt(Limit) ->
    Max = atomics:get(Limit, ?MAX),
    lists:any(fun({Slot, _}) -> Slot > Max end, entries(Limit)).

%% @doc Entries beyond the limit are not looked at any more. Only when none has been held for a while: somebody may have
%% read the old limit just before it was lowered, and not have claimed yet.
-spec settle(limit()) -> ok.
settle(Limit) ->
    atomics:put(Limit, ?HIGH, atomics:get(Limit, ?MAX)).

%% @doc How many slots are held, dead takers included.
-spec held(limit()) -> non_neg_integer().
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
