%% @doc The limits on concurrent requests: what users call, and the process that looks after those who have to wait.
%%
%% Each pool has a limit of its own; functions without a pool are about `default'. Nobody talks to this process while a limit is
%% not reached (py_slots), nor while slots go from hand to hand (py_waiters): it changes limits, serves whoever is the first to
%% wait, and looks for slots of dead processes while somebody waits. It has the numbers of contexts too (py_tags).
-module(py_semaphore).
-behaviour(gen_server).

-include("py_unexpected.hrl").

%% API.
-export([max_concurrent/0, max_concurrent/1, current/0, current/1, set_max_concurrent/1, set_max_concurrent/2]).
-export([acquire/1, acquire/2, release/0, release/1]).
%% For py_waiters.
-export([waits/1, freed/2, served/0]).
%% For requests.
-export([overloaded/1, is_limit/1, is_queue/1]).
%% For pools.
-export([open_limit/3, close_limit/1, open_tags/3, close_tag/2]).
-export([start_link/1]).
%% gen_server.
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).

%% While somebody waits: how often to look for slots of dead processes.
-define(AUDIT_MS, 1000).
%% After a change of the limit: how long until nobody can be about to act on the old one.
-define(SETTLE_MS, 1000).
%% What fits an entry of `atomics'.
-define(LARGEST, 16#7fffffffffffffff).

-record(state, {
    tags :: py_tags:tags(),
    %% Limits that somebody waits at, or that more than they say may be held of.
    watched = #{} :: #{py_slots:limit() => []},
    %% Of the next look at them.
    timer = none :: none | reference(),
    %% Of the next look whether a lowered limit has settled.
    settling = #{} :: #{reference() => py_slots:limit()}
}).

%% API.

-spec max_concurrent() -> pos_integer().
max_concurrent() ->
    max_concurrent(default).

%% @doc The limit of a pool. Raises `{no_such_pool, Pool}' where there is none, as the other functions do that return a number.
-spec max_concurrent(atom()) -> pos_integer().
max_concurrent(Pool) ->
    py_slots:max(limit(Pool)).

-spec current() -> non_neg_integer().
current() ->
    current(default).

%% @doc How many slots are held now; slots of processes that have died are freed before they are counted.
-spec current(atom()) -> non_neg_integer().
current(Pool) ->
    py_started:call(?MODULE, {current, limit(Pool)}).

-spec set_max_concurrent(pos_integer()) -> ok.
set_max_concurrent(Max) ->
    set_max_concurrent(default, Max).

%% @doc Requests that are running are not touched; new ones wait until fewer than `Max' are.
-spec set_max_concurrent(atom(), pos_integer()) -> ok.
set_max_concurrent(Pool, Max) ->
    is_limit(Max) orelse error({bad_argument, max_concurrent, Max}),
    py_started:call(?MODULE, {set_max, limit(Pool), Max}).

limit(Pool) ->
    is_atom(Pool) orelse error({bad_argument, pool, Pool}),
    case py_limits:find(Pool) of
        {ok, Limit} -> Limit;
        {error, Reason} -> error(Reason)
    end.

%% @doc What the limit may be.
-spec is_limit(term()) -> boolean().
is_limit(Max) ->
    is_integer(Max) andalso Max > 0 andalso Max =< ?LARGEST.

%% @doc How many may be allowed to wait.
-spec is_queue(term()) -> boolean().
is_queue(infinity) -> true;
is_queue(Max) -> is_integer(Max) andalso Max >= 0 andalso Max =< ?LARGEST.

-spec acquire(timeout()) -> ok | {error, max_concurrent | py_started:not_started()}.
acquire(Timeout) ->
    acquire(default, Timeout).

%% @doc Takes a slot by hand, for at most `Timeout' milliseconds of waiting. It is given back by {@link release/1}, or
%% when the calling process dies.
-spec acquire(atom(), timeout()) ->
    ok | {error, max_concurrent | {queue_full, atom()} | {no_such_pool, atom()} | py_started:not_started()}.
acquire(Pool, Timeout) ->
    is_atom(Pool) orelse error({bad_argument, pool, Pool}),
    _ = py_args:timeout(Timeout),
    py_started:result(fun() ->
        case py_limits:find(Pool) of
            {ok, Limit} -> take(Pool, Limit, Timeout);
            {error, _} = Error -> Error
        end
    end).

take(Pool, Limit, Timeout) ->
    Id = py_pid:self_id(),
    case py_slots:take(Limit, Id, 0) of
        full ->
            case py_waiters:wait(Limit, Id, 0, Timeout) of
                timeout -> {error, max_concurrent};
                queue_full -> {error, {queue_full, Pool}};
                closed -> {error, {no_such_pool, Pool}};
                _Slot -> ok
            end;
        _Slot ->
            ok
    end.

-spec release() -> ok.
release() ->
    release(default).

%% @doc Gives back a slot that was taken by {@link acquire/2}; without one, nothing happens.
-spec release(atom()) -> ok.
release(Pool) ->
    Limit = limit(Pool),
    case py_slots_audit:release_by_hand(Limit, py_pid:self_id()) of
        none -> ok;
        %% Whoever asks next finds it free, or in the hands of one that has waited.
        ok -> py_waiters:served(Limit)
    end.

%% For py_waiters.

%% @doc Somebody waits at a limit at which nobody did.
-spec waits(py_slots:limit()) -> ok.
waits(Limit) ->
    tell({waits, Limit}).

%% @doc Somebody gave back a slot while others wait.
-spec freed(py_slots:limit(), py_slots:slot()) -> ok.
freed(Limit, Slot) ->
    tell({freed, Limit, Slot}).

%% @doc Until what it has been told before has been done.
-spec served() -> ok.
served() ->
    py_started:call(?MODULE, served).

%% Between two lives of the process there is nobody by its name.
tell(Message) ->
    case whereis(?MODULE) of
        undefined -> ok;
        Pid ->
            Pid ! Message,
            ok
    end.

%% For requests.

%% @doc The error of a request that got no slot within its timeout.
-spec overloaded(py_slots:limit()) -> {error, {overloaded, non_neg_integer(), pos_integer()}}.
overloaded(Limit) ->
    {error, {overloaded, py_slots_audit:held(Limit), py_slots:max(Limit)}}.

%% For pools.

%% @doc The limit of a pool that starts, before anything is sent to it.
-spec open_limit(atom(), pos_integer(), non_neg_integer() | infinity) -> py_slots:limit() | {error, bad_request}.
open_limit(Pool, Max, MaxQueued) ->
    py_started:call(?MODULE, {open_limit, Pool, Max, MaxQueued}).

%% @doc The pool is gone for good. That of `default' stays: slots can be taken by hand without the pool.
-spec close_limit(atom()) -> ok | {error, pool_is_there | bad_request}.
close_limit(default) ->
    ok;
close_limit(Pool) ->
    py_started:call(?MODULE, {close_limit, Pool}).

%% @doc `N' numbers for contexts of the port process that `Owner' stands for, in a pool. They are closed, and what was sent to
%% them is freed, when it dies.
-spec open_tags(atom(), pid(), non_neg_integer()) -> [py_counters:tag()] | {error, no_tags | bad_request}.
open_tags(Pool, Owner, N) ->
    py_started:call(?MODULE, {open_tags, py_limits:limit(Pool), Owner, N}).

%% @doc A context of this port process has stopped; its number may be given to another. It is closed already when the
%% port process has died.
-spec close_tag(pid(), py_counters:tag()) -> ok | {error, bad_request}.
close_tag(Owner, Tag) ->
    py_started:call(?MODULE, {close_tag, Owner, Tag}).

-spec start_link(pos_integer()) -> gen_server:start_ret().
start_link(Max) ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, Max, []).

%% gen_server.

-spec init(pos_integer()) -> {ok, #state{}, {continue, adopt}}.
init(Max) ->
    process_flag(message_queue_data, off_heap),
    ok = py_counters:install(),
    %% The pool may come later, or not at all.
    _ = py_limits:find(default) =/= {error, {no_such_pool, default}} orelse py_limits:open(default, Max, infinity),
    {ok, #state{tags = py_tags:new()}, {continue, adopt}}.

%% After a restart of this process: all may be in the middle of something.
-spec handle_continue(adopt, #state{}) -> {noreply, #state{}}.
handle_continue(adopt, State) ->
    Limits = py_limits:all(),
    ok = py_waiters:adopt(Limits),
    {noreply, lists:foldl(fun adopt/2, State, Limits)}.

adopt(Limit, State) ->
    Next = case py_slots_audit:in_debt(Limit) of
        true -> settle_later(Limit, indebted(Limit, State));
        false -> State
    end,
    case py_slots:waiting(Limit) of
        0 -> Next;
        _ -> audit(Limit, watch(Limit, Next))
    end.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call(Request, From, State) when not ?IS_FROM(From) ->
    py_unexpected:call(Request, From, State);
handle_call(served, _From, State) ->
    {reply, ok, State};
handle_call({current, Limit} = Request, From, State) ->
    known(Limit, Request, From, State, fun() ->
        Held = py_slots_audit:audit(Limit, fun py_tags:is_live/1),
        {reply, Held, serve(Limit, State)}
    end);
handle_call({set_max, Limit, Max} = Request, From, State) when is_integer(Max), Max > 0, Max =< ?LARGEST ->
    known(Limit, Request, From, State, fun() -> {reply, ok, set_max(Limit, Max, State)} end);
handle_call({close_limit, Pool}, _From, State) when is_atom(Pool) ->
    case {py_limits:find(Pool), py_tables:spec(Pool), py_tables:pool(Pool)} of
        {{ok, Limit}, none, none} ->
            Next = serve(Limit, State),
            ok = py_limits:close(Pool),
            ok = py_waiters:close(Limit),
            {reply, ok, Next};
        _ ->
            {reply, {error, pool_is_there}, State}
    end;
handle_call(Request, From = {Caller, _}, State) ->
    %% Whoever else closed a tag would take a context out of service.
    case is_pools(Request) andalso py_tables:is_pool(Caller) of
        true -> {Reply, Next} = pool(Request, State), {reply, Reply, Next};
        false -> py_unexpected:call(Request, From, State)
    end.

known(Limit, Request, From, State, Fun) ->
    case py_limits:is_limit(Limit) of
        true -> Fun();
        false -> py_unexpected:call(Request, From, State)
    end.

is_pools({open_limit, Pool, Max, MaxQueued}) -> is_atom(Pool) andalso is_limit(Max) andalso is_queue(MaxQueued);
is_pools({open_tags, Limit, Owner, N}) -> is_pid(Owner) andalso is_integer(N) andalso N >= 0 andalso py_limits:is_limit(Limit);
is_pools({close_tag, Owner, Tag}) -> is_pid(Owner) andalso is_integer(Tag) andalso Tag >= 0;
is_pools(_Other) -> false.

pool({open_limit, Pool, Max, MaxQueued}, State) ->
    case py_limits:open(Pool, Max, MaxQueued) of
        {changed, Limit} ->
            ok = py_slots:set_max_queued(Limit, MaxQueued),
            {Limit, set_max(Limit, Max, State)};
        {_, Limit} ->
            {Limit, State}
    end;
pool({open_tags, Limit, Owner, N}, State = #state{tags = Tags}) ->
    case py_tags:open(N, Owner, Limit, Tags) of
        {error, _} = Error -> {Error, State};
        {Opened, Next} -> {Opened, State#state{tags = Next}}
    end;
pool({close_tag, Owner, Tag}, State = #state{tags = Tags}) ->
    case py_tags:close(Owner, Tag, Tags) of
        unknown -> {ok, State};
        {Limit, Next} -> {ok, serve(Limit, State#state{tags = Next})}
    end.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Message, State) ->
    py_unexpected:message(Message, State).

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({waits, Limit} = Message, State) ->
    case py_limits:is_limit(Limit) of
        true ->
            _ = py_slots:set_waiting(Limit, 1, 2),
            {noreply, watch(Limit, audit(Limit, State))};
        false ->
            py_unexpected:message(Message, State)
    end;
handle_info({freed, Limit, Slot} = Message, State) when is_integer(Slot), Slot > 0 ->
    case py_limits:is_limit(Limit) of
        true -> {noreply, serve(Limit, State)};
        false -> py_unexpected:message(Message, State)
    end;
handle_info({timeout, Timer, audit}, State = #state{timer = Timer, watched = Watched}) ->
    Look = fun(Limit, Next) ->
        case py_limits:is_limit(Limit) andalso py_slots:waiting(Limit) of
            Waiting when Waiting =:= false; Waiting =:= 0 -> Next;
            _ -> watch(Limit, audit(Limit, Next))
        end
    end,
    {noreply, lists:foldl(Look, State#state{timer = none, watched = #{}}, maps:keys(Watched))};
handle_info({timeout, Timer, settle} = Message, State = #state{settling = Settling}) ->
    case maps:take(Timer, Settling) of
        {Limit, Others} -> {noreply, settle(Limit, State#state{settling = Others})};
        error -> py_unexpected:message(Message, State)
    end;
handle_info({'DOWN', Monitor, process, _, _} = Message, State = #state{tags = Tags}) ->
    case py_tags:down(Monitor, Tags) of
        {Owner, Limits, Next} ->
            ok = py_owed:forget(Owner),
            ok = py_grants:forget(Owner),
            ok = py_waiters:died(Owner, Limits),
            {noreply, lists:foldl(fun serve/2, State#state{tags = Next}, Limits)};
        unknown ->
            py_unexpected:message(Message, State)
    end;
handle_info(Message, State) ->
    py_unexpected:message(Message, State).

%% A limit that somebody waits at, or that is indebted, is looked at every second.
watch(Limit, State = #state{watched = Watched, timer = none}) ->
    watch(Limit, State#state{watched = Watched, timer = erlang:start_timer(?AUDIT_MS, self(), audit)});
watch(Limit, State = #state{watched = Watched}) ->
    State#state{watched = Watched#{Limit => []}}.

audit(Limit, State) ->
    _ = py_slots_audit:audit(Limit, fun py_tags:is_live/1),
    serve(Limit, State).

set_max(Limit, Max, State) ->
    %% From here on nobody but this process grants anything, until as many are held as the limit says.
    Indebted = indebted(Limit, State),
    ok = py_slots:set_max(Limit, Max),
    serve(Limit, settle_later(Limit, Indebted)).

indebted(Limit, State) ->
    ok = py_slots:set_indebted(Limit, true),
    ok = py_slots:set_waiting(Limit, 2),
    watch(Limit, State).

%% Gives out what can be given.
serve(Limit, State) ->
    _ = py_slots:is_indebted(Limit) andalso not py_slots_audit:in_debt(Limit) andalso py_slots:set_indebted(Limit, false),
    ok = py_waiters:serve(Limit),
    State.

settle_later(Limit, State = #state{settling = Settling}) ->
    State#state{settling = Settling#{erlang:start_timer(?SETTLE_MS, self(), settle) => Limit}}.

settle(Limit, State) ->
    case {py_limits:is_limit(Limit) andalso py_slots_audit:in_debt(Limit), is_settling(Limit, State)} of
        {true, false} -> settle_later(Limit, State);
        {false, false} -> ok = py_slots_audit:settle(Limit), State;
        %% The limit has been changed again since.
        {_, true} -> State
    end.

is_settling(Limit, #state{settling = Settling}) ->
    lists:member(Limit, maps:values(Settling)).
