%% @doc The limit on concurrent requests: what users call, and the queue of those who have to wait.
%%
%% Nobody talks to this process while the limit is not reached (py_slots). Waiters are served in the order of their
%% arrival: the process that gives a slot back says which, and it goes to the head of the queue.
-module(py_semaphore).
-behaviour(gen_server).

%% API.
-export([max_concurrent/0, current/0, set_max_concurrent/1, acquire/1, release/0]).
%% For requests.
-export([wait/3, queue/2, give_up/1, freed/1, overloaded/0]).
%% For pools.
-export([open_tags/2, close_tag/1]).
-export([start_link/1]).
%% gen_server.
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).

-define(TAGS_TABLE, py_tags).
%% While somebody waits: how often to look for slots of dead processes.
-define(AUDIT_MS, 1000).
%% After a change of the limit: how long until nobody can be about to act on the old one.
-define(SETTLE_MS, 1000).

-record(waiter, {pid :: pid(), id :: py_slots:id(), tag :: py_slots:tag()}).
-record(state, {
    slots :: py_slots:ref(),
    %% In order; one that has given up is in the queue and not in the map.
    queue = queue:new() :: queue:queue(reference()),
    waiters = #{} :: #{reference() => #waiter{}},
    %% Slots beyond a lowered limit are still held: every grant is counted.
    debt = false :: boolean(),
    free_tags :: queue:queue(py_slots:tag()),
    owners = #{} :: #{reference() => pid()},
    timer = none :: none | reference()
}).

%% API.

-spec max_concurrent() -> pos_integer().
max_concurrent() ->
    py_slots:max(py_slots:ref()).

%% @doc How many slots are held now; slots of processes that have died are freed before they are counted.
-spec current() -> non_neg_integer().
current() ->
    gen_server:call(?MODULE, current, infinity).

%% @doc Requests that are running are not touched; new ones wait until fewer than `Max' are.
-spec set_max_concurrent(pos_integer()) -> ok.
set_max_concurrent(Max) when is_integer(Max), Max > 0 ->
    gen_server:call(?MODULE, {set_max, Max}, infinity);
set_max_concurrent(Max) ->
    error({bad_argument, max_concurrent, Max}).

%% @doc Takes a slot by hand, for at most `Timeout' milliseconds of waiting. It is given back by {@link release/0}, or
%% when the calling process dies.
-spec acquire(timeout()) -> ok | {error, max_concurrent}.
acquire(Timeout) ->
    _ = py_args:timeout(Timeout),
    Id = py_slots:self_id(),
    case py_slots:take(py_slots:ref(), Id, 0) of
        full ->
            case wait(Id, 0, Timeout) of
                timeout -> {error, max_concurrent};
                _Slot -> ok
            end;
        _Slot ->
            ok
    end.

%% @doc Gives back a slot that was taken by {@link acquire/1}; without one, nothing happens.
-spec release() -> ok.
release() ->
    _ = py_slots:release_by_hand(py_slots:ref(), py_slots:self_id()),
    ok.

%% For requests.

%% @doc Queues for a slot. `closed': the context takes no more requests.
-spec wait(py_slots:id(), py_slots:tag(), timeout()) -> py_slots:slot() | closed | timeout.
wait(Id, Tag, Timeout) ->
    Alias = queue(Id, Tag),
    receive
        {Alias, Answer} -> Answer;
        {'DOWN', Alias, process, _, _} -> semaphore_died(Id, Tag, Timeout)
    after Timeout ->
        give_up(Alias)
    end.

%% It restarts at once and reads the entries as they are. The time waited so far is not counted: this ends a bug.
semaphore_died(Id, Tag, Timeout) ->
    receive after 10 -> wait(Id, Tag, Timeout) end.

%% @doc Queues for a slot without waiting: `{Alias, Slot | closed}' comes, or `DOWN'.
-spec queue(py_slots:id(), py_slots:tag()) -> reference().
queue(Id, Tag) ->
    Alias = monitor(process, ?MODULE, [{alias, reply_demonitor}]),
    ok = tell({wait, Alias, #waiter{pid = self(), id = Id, tag = Tag}}),
    Alias.

%% @doc Leaves the queue. A slot may be on its way: then it is the caller's.
-spec give_up(reference()) -> py_slots:slot() | closed | timeout.
give_up(Alias) ->
    ok = tell({give_up, Alias}),
    receive
        {Alias, gave_up} -> timeout;
        {Alias, Answer} -> Answer;
        {'DOWN', Alias, process, _, _} -> timeout
    end.

%% @doc Somebody gave back `Slot' while others wait.
-spec freed(py_slots:slot()) -> ok.
freed(Slot) ->
    tell({freed, Slot}).

%% Between two lives of the process there is nobody by its name.
tell(Message) ->
    case whereis(?MODULE) of
        undefined -> ok;
        Pid ->
            Pid ! Message,
            ok
    end.

%% @doc The error of a request that got no slot within its timeout.
-spec overloaded() -> {error, {overloaded, non_neg_integer(), pos_integer()}}.
overloaded() ->
    Ref = py_slots:ref(),
    {error, {overloaded, py_slots:held(Ref), py_slots:max(Ref)}}.

%% For pools.

%% @doc `N' numbers for contexts of the port process that `Owner' stands for. They are closed, and what was sent to
%% them is freed, when it dies.
-spec open_tags(pid(), non_neg_integer()) -> [py_slots:tag()].
open_tags(Owner, N) ->
    gen_server:call(?MODULE, {open_tags, Owner, N}, infinity).

%% @doc A context has stopped; its number may be given to another.
-spec close_tag(py_slots:tag()) -> ok.
close_tag(Tag) ->
    gen_server:call(?MODULE, {close_tag, Tag}, infinity).

-spec start_link(pos_integer()) -> gen_server:start_ret().
start_link(Max) ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, Max, []).

%% gen_server.

-spec init(pos_integer()) -> {ok, #state{}, {continue, adopt}}.
init(Max) ->
    process_flag(message_queue_data, off_heap),
    Slots = case persistent_term:get(py_slots, none) of
        none ->
            New = py_slots:new(Max),
            py_slots:install(New),
            New;
        Existing ->
            Existing
    end,
    Used = [Tag || {Tag, _} <- ets:tab2list(?TAGS_TABLE)],
    Free = queue:from_list(lists:seq(1, 16383) -- Used),
    {ok, #state{slots = Slots, free_tags = Free}, {continue, adopt}}.

%% After a restart of this process: the port processes that it watched, and a limit that nobody waits for.
-spec handle_continue(adopt, #state{}) -> {noreply, #state{}}.
handle_continue(adopt, State = #state{slots = Slots}) ->
    py_slots:set_waiting(Slots, 0),
    Owners = lists:usort([Owner || {_, Owner} <- ets:tab2list(?TAGS_TABLE)]),
    Adopted = lists:foldl(fun watch_owner/2, State, Owners),
    {noreply, serve(Adopted#state{debt = py_slots:in_debt(Slots)})}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call(current, _From, State = #state{slots = Slots}) ->
    {reply, py_slots:audit(Slots, fun is_live/1), State};
handle_call({set_max, Max}, _From, State = #state{slots = Slots}) ->
    ok = py_slots:set_max(Slots, Max),
    %% From here on newcomers come here until serve/1 has looked.
    py_slots:set_waiting(Slots, 1),
    _ = erlang:send_after(?SETTLE_MS, self(), settle),
    {reply, ok, serve(State#state{debt = true})};
handle_call({open_tags, Owner, N}, _From, State = #state{slots = Slots}) ->
    {Tags, Free} = queue:split(N, State#state.free_tags),
    Opened = queue:to_list(Tags),
    lists:foreach(
        fun(Tag) ->
            ets:insert(?TAGS_TABLE, {Tag, Owner}),
            py_slots:open_tag(Slots, Tag)
        end,
        Opened),
    {reply, Opened, watch_owner(Owner, State#state{free_tags = Free})};
handle_call({close_tag, Tag}, _From, State) ->
    {reply, ok, serve(close(Tag, State))}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({freed, Slot}, State) ->
    {noreply, serve(Slot, State)};
handle_info({wait, Alias, Waiter}, State = #state{queue = Queue, waiters = Waiters}) ->
    Queued = State#state{queue = queue:in(Alias, Queue), waiters = Waiters#{Alias => Waiter}},
    case map_size(Waiters) of
        %% The limit may be held by the dead alone; while somebody waits the timer sees to that.
        0 -> {noreply, arm(audit(Queued))};
        _ -> {noreply, Queued}
    end;
handle_info({give_up, Alias}, State = #state{waiters = Waiters}) ->
    case maps:take(Alias, Waiters) of
        {_, Rest} ->
            Alias ! {Alias, gave_up},
            {noreply, serve(State#state{waiters = Rest})};
        error ->
            %% Its slot is on the way.
            {noreply, State}
    end;
handle_info(audit, State = #state{waiters = Waiters, debt = Debt}) when map_size(Waiters) > 0; Debt ->
    {noreply, arm(audit(State#state{timer = none}))};
handle_info(audit, State) ->
    {noreply, State#state{timer = none}};
handle_info(settle, State = #state{slots = Slots}) ->
    _ = case py_slots:in_debt(Slots) of
        true -> erlang:send_after(?SETTLE_MS, self(), settle);
        false -> py_slots:settle(Slots)
    end,
    {noreply, State};
handle_info({'DOWN', Monitor, process, Owner, _}, State = #state{owners = Owners}) ->
    Closed = lists:foldl(fun([Tag], Acc) -> close(Tag, Acc) end, State, ets:match(?TAGS_TABLE, {'$1', Owner})),
    {noreply, serve(Closed#state{owners = maps:remove(Monitor, Owners)})};
handle_info(_Message, State) ->
    {noreply, State}.

audit(State = #state{slots = Slots}) ->
    _ = py_slots:audit(Slots, fun is_live/1),
    serve(State).

arm(State = #state{timer = none}) ->
    State#state{timer = erlang:send_after(?AUDIT_MS, self(), audit)};
arm(State) ->
    State.

is_live(0) -> true;
is_live(Tag) -> ets:member(?TAGS_TABLE, Tag).

watch_owner(Owner, State = #state{owners = Owners}) ->
    case lists:member(Owner, maps:values(Owners)) of
        true -> State;
        false -> State#state{owners = Owners#{monitor(process, Owner) => Owner}}
    end.

close(Tag, State = #state{slots = Slots, free_tags = Free}) ->
    py_slots:close_tag(Slots, Tag),
    ets:delete(?TAGS_TABLE, Tag),
    py_slots:sweep_tag(Slots, Tag),
    State#state{free_tags = queue:in(Tag, Free)}.

%% Gives out what can be given. The number of waiters is published before the entries are looked at, so whoever gives
%% a slot back after that look tells us.
serve(State) ->
    serve(1, State).

serve(Hint, State = #state{slots = Slots, waiters = Waiters, debt = Debt}) ->
    Waiting = map_size(Waiters),
    Owed = Debt andalso py_slots:in_debt(Slots),
    py_slots:set_waiting(Slots, Waiting + debt_count(Owed)),
    grant(Hint, State#state{debt = Owed}).

debt_count(true) -> 1;
debt_count(false) -> 0.

grant(_Hint, State = #state{waiters = Waiters}) when map_size(Waiters) =:= 0 ->
    State#state{queue = queue:new()};
grant(Hint, State = #state{slots = Slots, queue = Queue, waiters = Waiters}) ->
    {{value, Alias}, Rest} = queue:out(Queue),
    case Waiters of
        #{Alias := Waiter} ->
            case try_take(Hint, Waiter, State) of
                full ->
                    State;
                Answer ->
                    Alias ! {Alias, Answer},
                    serve(Hint, State#state{queue = Rest, waiters = maps:remove(Alias, Waiters)})
            end;
        _ ->
            grant(Hint, State#state{slots = Slots, queue = Rest})
    end.

%% A waiter that was killed is passed over: its entry would only come back with the next audit.
try_take(Hint, #waiter{pid = Pid, id = Id, tag = Tag}, #state{slots = Slots, debt = Debt}) ->
    case is_process_alive(Pid) of
        false -> closed;
        true ->
            case Debt andalso py_slots:held(Slots) >= py_slots:effective_max(Slots) of
                true -> full;
                false -> py_slots:take_now(Slots, Id, Tag, Hint)
            end
    end.
