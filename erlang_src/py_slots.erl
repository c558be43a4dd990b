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

-include("py_slots.hrl").

%% The limit.
-export([new/3, set_max/2, max/1, max_queued/1, set_max_queued/2]).
%% Any process.
-export([take/3, take_nested/3, expect/3, sent/4, cancel/4]).
%% py_port.
-export([answered/4, started/3]).
%% py_waiters and py_semaphore.
-export([waiting/1, set_waiting/3, set_waiting/2, is_indebted/1, set_indebted/2]).
-export([enter/1, head/1, pop/1, queued/1, number/1]).
-export([reserve/2, unreserve/3, hand/5, is_held/4, give_back/4, effective_max/1]).
%% py_slots_audit.
-export([free/3, came/3]).

-export_type([limit/0, slot/0, answer/0, waiting/0]).

-type limit() :: atomics:atomics_ref().
-type slot() :: pos_integer().
%% What a slot waits for: the address of an alias, and whether that is a stream's.
-type answer() :: non_neg_integer().
%% 0: nobody waits. 1: somebody does, and py_semaphore may not know. 2: it knows, and looks after them.
-type waiting() :: 0..2.

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
    _ = give_back(Limit, Id, Tag, Slot) andalso ?IS_OF_LIMIT(Slot) andalso py_waiters:given_back(Limit, Slot),
    ok.

%% @doc The same without a look who waits. Whether there was anything to give back.
-spec give_back(limit(), py_pid:id(), py_counters:tag(), slot()) -> boolean().
give_back(Limit, Id, Tag, Slot) ->
    Value = ?VALUE(Id, Tag),
    free(Limit, Slot, Value) orelse free(Limit, Slot, Value bor 1).

%% @doc The entry, if this is what it holds. Whoever waits is not looked for.
-spec free(limit(), slot(), Entry :: pos_integer()) -> boolean().
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

%% @doc This answer does not come twice: the slot may be somebody else's by now, who has not said yet what answer that waits for.
-spec came(limit(), slot(), answer()) -> ok.
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
            IsWanted = ?IS_OF_LIMIT(Slot) andalso atomics:get(Limit, ?WAITING) > 0,
            Next = case IsWanted of true -> ?RESERVED(Owner); false -> 0 end,
            case atomics:compare_exchange(Limit, ?ENTRY + Slot, Value, Next) of
                ok ->
                    ok = py_counters:answered(Counters, Tag),
                    _ = case IsWanted of
                        true -> py_waiters:pass_on(Limit, Slot, Owner);
                        false -> ?IS_OF_LIMIT(Slot) andalso py_waiters:given_back(Limit, Slot)
                    end,
                    true;
                %% The caller has marked it as sent in this moment.
                Other ->
                    take_back(Limit, Slot, Owner, Other, Counters)
            end;
        _ ->
            false
    end.
