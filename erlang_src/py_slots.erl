%% @doc The node-wide limit on requests that are in Python's hands: its lock-free half. Waiting is py_semaphore's.
%%
%% A slot is one entry of an `atomics' array, taken by one compare-and-exchange with a number that names the taker, and
%% given back by one exchange. The entries are the only truth (there is no counter beside them), so a process that is
%% killed between any two steps leaves either nothing or an entry that names it, which the audit frees.
%%
%% An entry is `<<Serial:20, Tag:14, Id:28, Sent:1>>': the pid of the taker, the context it is for (0: taken by hand), and
%% whether the request is with the port. While it is not, the slot is the taker's and dies with it. Afterwards it is
%% Python's: given back with the reply, or when the port process of that context dies.
%%
%% Requests inside a chain of calls take no slot of the limit, since the call that began the chain holds its own until
%% it is done. They are entries of a second region, so that they are seen where a context's requests are counted.
-module(py_slots).

%% Set-up, and the waiters' half (py_semaphore).
-export([new/1, install/1, ref/0, set_max/2, set_waiting/2, take_now/4, release_by_hand/2]).
-export([sweep_tag/2, audit/2, held/1, in_debt/1, settle/1]).
%% Any process.
-export([self_id/0, take/3, take_nested/3, sent/4, cancel/4, release/2, max/1, effective_max/1]).
%% Contexts.
-export([open_tag/2, close_tag/2, load/2, is_slow/2, in_flight/2]).
%% The counts of pool registrations and of running callbacks share the array: the hot path then needs one reference.
-export([registrations/1, set_registrations/2, callbacks/1, add_callbacks/2]).

-export_type([ref/0, id/0, tag/0, slot/0]).

-type ref() :: atomics:atomics_ref().
%% A pid as a number.
-type id() :: pos_integer().
-type tag() :: 0..16383.
-type slot() :: pos_integer().

-define(MAX, 1).            % entries in use
-define(WAITING, 2).        % not 0: newcomers queue, and whoever gives a slot back tells py_semaphore
-define(HIGH, 3).           % entries beyond are free: ?MAX, or after a shrink what it was
-define(REGISTRATIONS, 4).
-define(NOMINAL, 5).        % the limit as it was asked for
-define(CALLBACKS, 6).      % that run; their descendants must look for them
-define(NESTED, 7).         % how many entries of the second region have ever been taken: where to look for a free one
-define(LOAD, 8).           % + tag: requests in flight in a context, CLOSED when it takes no more
-define(TAGS, 16384).
-define(LAST, (?LOAD + ?TAGS)).   % + tag: when it last completed a request, in microseconds
-define(GAP, (?LAST + ?TAGS)).    % + tag: how long after the one before
-define(ENTRY, (?GAP + ?TAGS)).   % + slot
%% 512 KiB of the array's 1024. Beyond as many concurrent requests the limit limits nothing.
-define(CAPACITY, 65536).
%% The second region. A nested request that finds no free entry within some tries goes without.
-define(NESTED_CAPACITY, 16384).
-define(NESTED_TRIES, 64).

%% Longer than the wake-up of another context's thread costs.
-define(SLOW_US, 500).

-define(CLOSED, -(1 bsl 40)).
-define(ID_BITS, 28).
-define(TAG_BITS, 14).
-define(ID_MASK, ((1 bsl ?ID_BITS) - 1)).
-define(TAG_MASK, ((1 bsl ?TAG_BITS) - 1)).
-define(VALUE(Id, Tag), ((Id) bor ((Tag) bsl (?ID_BITS + 1)))).
-define(TAG_OF(Value), (((Value) bsr (?ID_BITS + 1)) band ?TAG_MASK)).

%% Set-up

-spec new(pos_integer()) -> ref().
new(Max) ->
    Ref = atomics:new(?ENTRY + ?CAPACITY + ?NESTED_CAPACITY, [{signed, true}]),
    %% Tag 0 is for slots taken by hand and always open; the others are opened one by one.
    lists:foreach(fun(Tag) -> atomics:put(Ref, ?LOAD + Tag, ?CLOSED) end, lists:seq(1, ?TAGS - 1)),
    ok = set_max(Ref, Max),
    Ref.

-spec install(ref()) -> ok.
install(Ref) ->
    persistent_term:put(?MODULE, Ref).

-spec ref() -> ref().
ref() ->
    case persistent_term:get(?MODULE, none) of
        none -> error({not_started, erlang_python});
        Ref -> Ref
    end.

%% @doc Only py_semaphore calls this: after a shrink, grants are its business until nothing is held beyond the new limit.
-spec set_max(ref(), pos_integer()) -> ok.
set_max(Ref, Max) ->
    Entries = min(Max, ?CAPACITY),
    ok = atomics:put(Ref, ?HIGH, max(atomics:get(Ref, ?HIGH), Entries)),
    ok = atomics:put(Ref, ?NOMINAL, Max),
    ok = atomics:put(Ref, ?MAX, Entries).

-spec max(ref()) -> pos_integer().
max(Ref) ->
    atomics:get(Ref, ?NOMINAL).

-spec effective_max(ref()) -> pos_integer().
effective_max(Ref) ->
    atomics:get(Ref, ?MAX).

-spec set_waiting(ref(), non_neg_integer()) -> ok.
set_waiting(Ref, N) ->
    atomics:put(Ref, ?WAITING, N).

%% Taking and giving back

%% @doc The calling process as a number; the key of everything that it takes. Costs a microsecond: callers keep it.
-spec self_id() -> id().
self_id() ->
    pid_id(self()).

%% @doc A slot for a request to the context `Tag', at once or not at all.
-spec take(ref(), id(), tag()) -> slot() | full | closed.
take(Ref, Id, Tag) ->
    case atomics:get(Ref, ?WAITING) of
        0 -> take_from(Ref, Id, Tag, Id bsr 1);
        _ -> full
    end.

%% @doc For py_semaphore: past the waiters, on behalf of one; the entry `Hint' first.
-spec take_now(ref(), id(), tag(), slot()) -> slot() | full | closed.
take_now(Ref, Id, Tag, Hint) ->
    take_from(Ref, Id, Tag, Hint - 1).

%% Neighbouring pids start at neighbouring entries, so the first try nearly always succeeds.
take_from(Ref, Id, Tag, Start) ->
    Max = atomics:get(Ref, ?MAX),
    First = Start rem Max,
    claim(Ref, Id, Tag, First, First, Max).

claim(Ref, Id, Tag, At, First, Max) ->
    case atomics:compare_exchange(Ref, ?ENTRY + 1 + At, 0, ?VALUE(Id, Tag)) of
        ok ->
            claimed(Ref, Id, Tag, At + 1);
        _ ->
            case (At + 1) rem Max of
                First -> full;
                Next -> claim(Ref, Id, Tag, Next, First, Max)
            end
    end.

claimed(Ref, Id, Tag, Slot) ->
    case atomics:add_get(Ref, ?LOAD + Tag, 1) of
        Load when Load > 0 -> Slot;
        _ ->
            ok = cancel(Ref, Id, Tag, Slot),
            closed
    end.

%% @doc The same for a request in a chain of calls: never `full', and 0 when the second region is too full.
-spec take_nested(ref(), id(), tag()) -> slot() | 0 | closed.
take_nested(Ref, Id, Tag) ->
    claim_nested(Ref, Id, Tag, ?NESTED_TRIES).

claim_nested(Ref, _Id, Tag, 0) ->
    case load(Ref, Tag) of
        Load when Load >= 0 -> 0;
        _ -> closed
    end;
claim_nested(Ref, Id, Tag, Tries) ->
    Slot = ?CAPACITY + 1 + atomics:add_get(Ref, ?NESTED, 1) rem ?NESTED_CAPACITY,
    case atomics:compare_exchange(Ref, ?ENTRY + Slot, 0, ?VALUE(Id, Tag)) of
        ok -> claimed(Ref, Id, Tag, Slot);
        _ -> claim_nested(Ref, Id, Tag, Tries - 1)
    end.

%% @doc The request is with the port: from now on the slot is given back by the reply. When that has happened
%% already, the entry is no longer ours and stays as it is.
-spec sent(ref(), id(), tag(), slot() | 0) -> ok.
sent(_Ref, _Id, _Tag, 0) ->
    ok;
sent(Ref, Id, Tag, Slot) ->
    Value = ?VALUE(Id, Tag),
    _ = atomics:compare_exchange(Ref, ?ENTRY + Slot, Value, Value bor 1),
    ok.

%% @doc The taker gives back a slot that may have been given back for it already.
-spec cancel(ref(), id(), tag(), slot() | 0) -> ok.
cancel(_Ref, _Id, _Tag, 0) ->
    ok;
cancel(Ref, Id, Tag, Slot) ->
    Value = ?VALUE(Id, Tag),
    case free(Ref, Slot, Value) of
        true -> ok;
        false ->
            _ = free(Ref, Slot, Value bor 1),
            ok
    end.

free(Ref, Slot, Value) ->
    case atomics:compare_exchange(Ref, ?ENTRY + Slot, Value, 0) of
        ok ->
            freed(Ref, Slot, Value),
            true;
        _ ->
            false
    end.

%% @doc Gives back the slot of a reply.
-spec release(ref(), slot() | 0) -> ok.
release(_Ref, 0) ->
    ok;
release(Ref, Slot) when Slot =< ?CAPACITY + ?NESTED_CAPACITY ->
    case atomics:exchange(Ref, ?ENTRY + Slot, 0) of
        0 -> ok;
        Value ->
            Now = erlang:monotonic_time(microsecond),
            Before = atomics:exchange(Ref, ?LAST + ?TAG_OF(Value), Now),
            ok = atomics:put(Ref, ?GAP + ?TAG_OF(Value), Now - Before),
            freed(Ref, Slot, Value)
    end.

%% @doc Gives back a slot that was taken by hand: one of `Id' if there is one, else anybody's, since a semaphore may be
%% taken in one process and given back in another.
-spec release_by_hand(ref(), id()) -> ok | none.
release_by_hand(Ref, Id) ->
    Held = [{Slot, Value} || {Slot, Value} <- entries(Ref), ?TAG_OF(Value) =:= 0],
    {Own, Others} = lists:partition(fun({_, Value}) -> Value =:= Id end, Held),
    case lists:any(fun({Slot, Value}) -> free(Ref, Slot, Value) end, Own ++ Others) of
        true -> ok;
        false -> none
    end.

freed(Ref, Slot, Value) ->
    ok = atomics:sub(Ref, ?LOAD + ?TAG_OF(Value), 1),
    case atomics:get(Ref, ?WAITING) of
        0 -> ok;
        _ when Slot > ?CAPACITY -> ok;
        _ -> py_semaphore:freed(Slot)
    end.

%% Contexts

%% @doc From now on requests may be sent to this context.
-spec open_tag(ref(), tag()) -> ok.
open_tag(Ref, Tag) ->
    ok = atomics:put(Ref, ?GAP + Tag, 0),
    ok = atomics:put(Ref, ?LAST + Tag, erlang:monotonic_time(microsecond) - ?SLOW_US - 1),
    atomics:put(Ref, ?LOAD + Tag, 0).

%% @doc From now on {@link take/3} answers `closed'. A request that got its slot before is seen by {@link in_flight/2}.
-spec close_tag(ref(), tag()) -> ok.
close_tag(Ref, Tag) ->
    atomics:put(Ref, ?LOAD + Tag, ?CLOSED).

%% @doc About how many requests a context has: exact unless callers were killed in the act.
-spec load(ref(), tag()) -> integer().
load(Ref, Tag) ->
    atomics:get(Ref, ?LOAD + Tag).

%% @doc Whether what a busy context runs is not one of those calls that take microseconds: the last took longer, or there
%% was none for a while.
-spec is_slow(ref(), tag()) -> boolean().
is_slow(Ref, Tag) ->
    atomics:get(Ref, ?GAP + Tag) > ?SLOW_US
        orelse erlang:monotonic_time(microsecond) - atomics:get(Ref, ?LAST + Tag) > ?SLOW_US.

%% @doc Exactly how many requests hold an entry for a context, those in chains of calls too. Reads every entry.
-spec in_flight(ref(), tag()) -> non_neg_integer().
in_flight(Ref, Tag) ->
    length([Slot || {Slot, Value} <- nested_entries(Ref) ++ entries(Ref), ?TAG_OF(Value) =:= Tag]).

%% @doc The port process of this context is gone, and with it everything that was sent to it.
-spec sweep_tag(ref(), tag()) -> ok.
sweep_tag(Ref, Tag) ->
    lists:foreach(
        fun({Slot, Value}) -> ?TAG_OF(Value) =:= Tag andalso free(Ref, Slot, Value) end,
        nested_entries(Ref) ++ entries(Ref)).

%% @doc Frees what dead processes left: entries that were not sent, or that went to a context that is gone (`IsLive'
%% says so). Returns how many slots are held.
-spec audit(ref(), fun((tag()) -> boolean())) -> non_neg_integer().
audit(Ref, IsLive) ->
    Template = pid_template(),
    IsHeld = fun({Slot, Value}) -> not abandoned(Value, Template, IsLive) orelse not free(Ref, Slot, Value) end,
    _ = [IsHeld(Entry) || Entry <- nested_entries(Ref)],
    length(lists:filter(IsHeld, entries(Ref))).

abandoned(Value, Template, IsLive) ->
    Tag = ?TAG_OF(Value),
    (Value band 1 =:= 0 orelse not IsLive(Tag)) andalso not is_process_alive(id_pid(Value, Template)).

%% @doc Whether slots beyond the limit are held: true for a while after a shrink.
-spec in_debt(ref()) -> boolean().
in_debt(Ref) ->
    Max = atomics:get(Ref, ?MAX),
    lists:any(fun({Slot, _}) -> Slot > Max end, entries(Ref)).

%% @doc Entries beyond the limit are not looked at any more. Only when none has been held for a while: somebody may have
%% read the old limit just before it was lowered, and not have claimed yet.
-spec settle(ref()) -> ok.
settle(Ref) ->
    atomics:put(Ref, ?HIGH, atomics:get(Ref, ?MAX)).

%% @doc How many slots are held, dead takers included.
-spec held(ref()) -> non_neg_integer().
held(Ref) ->
    length(entries(Ref)).

entries(Ref) ->
    entries(Ref, atomics:get(Ref, ?HIGH), 0, []).

%% Taken one after the other, so none beyond as many as have been taken yet.
nested_entries(Ref) ->
    case atomics:get(Ref, ?NESTED) of
        0 -> [];
        Taken -> entries(Ref, ?CAPACITY + 1 + min(Taken, ?NESTED_CAPACITY - 1), ?CAPACITY, [])
    end.

entries(_Ref, Last, Last, Acc) ->
    Acc;
entries(Ref, Slot, Last, Acc) ->
    case atomics:get(Ref, ?ENTRY + Slot) of
        0 -> entries(Ref, Slot - 1, Last, Acc);
        Value -> entries(Ref, Slot - 1, Last, [{Slot, Value} | Acc])
    end.

%% Registrations and callbacks

-spec registrations(ref()) -> non_neg_integer().
registrations(Ref) ->
    atomics:get(Ref, ?REGISTRATIONS).

-spec set_registrations(ref(), non_neg_integer()) -> ok.
set_registrations(Ref, N) ->
    atomics:put(Ref, ?REGISTRATIONS, N).

%% @doc How many callbacks run; too many when a py_port was killed, which costs their would-be descendants a look.
-spec callbacks(ref()) -> non_neg_integer().
callbacks(Ref) ->
    atomics:get(Ref, ?CALLBACKS).

-spec add_callbacks(ref(), integer()) -> ok.
add_callbacks(Ref, N) ->
    atomics:add(Ref, ?CALLBACKS, N).

%% Pids as numbers. The external format of a local pid ends in <<Id:32, Serial:32, Creation:32>> (NEW_PID_EXT).

pid_id(Pid) ->
    Ext = term_to_binary(Pid),
    <<Id:32, Serial:32, _Creation:32>> = binary:part(Ext, byte_size(Ext), -12),
    (((Serial band 16#fffff) bsl (?TAG_BITS + ?ID_BITS)) bor Id) bsl 1.

%% Everything of the external format of a local pid but its numbers; asked anew each time, since it changes when
%% the node becomes distributed.
pid_template() ->
    Ext = term_to_binary(self()),
    Size = byte_size(Ext) - 12,
    <<Head:Size/binary, _:8/binary, Creation:4/binary>> = Ext,
    {Head, Creation}.

id_pid(Value, {Head, Creation}) ->
    Id = (Value bsr 1) band ?ID_MASK,
    Serial = Value bsr (1 + ?ID_BITS + ?TAG_BITS),
    binary_to_term(<<Head/binary, Id:32, Serial:32, Creation/binary>>).
