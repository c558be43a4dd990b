%% @doc The life of a pool: starts its port processes and contexts, publishes where they are, and starts again what
%% died. Requests never come here, except those that have nowhere to go ({@link await/3}).
%%
%% A pool has one *unit* when its contexts share a port process, and one per context with `isolation => context'. When
%% and whether a dead unit is started again is decided in py_pool_core.
-module(py_pool).
-behaviour(gen_server).

-include_lib("kernel/include/logger.hrl").
-include("py_route.hrl").

%% API.
-export([start_link/2, await/3, await_start/1, routes/1]).
%% gen_server.
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(unit, {
    indices :: [pos_integer()],                          % of its contexts in the pool
    core = py_pool_core:new() :: py_pool_core:core(),
    owner = none :: none | pid(),                        % py_port
    info = #{} :: map(),                                 % from READY
    next_id = 1 :: pos_integer(),
    pending = #{} :: #{reference() => {Index :: pos_integer(), #route{}}},
    contexts = #{} :: #{pos_integer() => #route{}},
    failure = none :: none | {start_failed, term()},     % why a context did not start
    replaced = none :: none | pid()                      % the owner that retires when this one is up
}).
-record(state, {
    pool :: atom(),
    spec :: py_pool_options:spec(),
    sup :: pid(),
    ports = none :: none | pid(),
    contexts = none :: none | pid(),
    units = #{} :: #{pos_integer() => #unit{}},
    watched = #{} :: #{reference() => {context, pid()}},
    retiring = #{} :: #{pid() => {Since :: integer(), [#route{}]}},
    calls :: counters:counters_ref(),
    %% Callers that wait until there is a context, and not this one.
    waiters = [] :: [{gen_server:from(), none | pid()}],
    starters = [] :: [gen_server:from()]
}).

%% How often to look whether a retiring port process has finished what it had.
-define(RETIRE_POLL_MS, 20).
%% How long a chain of calls may wait for a pool: it may hold what the start of that pool waits for.
-define(CHAIN_MS, 30000).
-define(OWN_START, <<"what it runs while it starts has made this call, which would wait for the start">>).
%% How long coroutines and streams of a port process that is replaced may go on.
-define(RETIRE_TASKS_MS, 300000).

%% API.

-spec start_link(py_pool_options:spec(), pid()) -> gen_server:start_ret().
start_link(Spec, Sup) ->
    gen_server:start_link(?MODULE, {Spec, Sup}, []).

%% @doc Waits until the pool has a context that is not `Stale'. Not for long: a pool that is backing off, or cannot
%% start, says so at once, and so does one whose start waits for the calling process: its preload code has called it.
-spec await(atom(), none | pid(), timeout()) -> ok | {error, term()}.
await(Pool, Stale, Timeout) ->
    case py_tables:pool(Pool) of
        none -> {error, {no_such_pool, Pool}};
        {Pid, _} -> ask_from_chain(Pid, Pool, fun(Source) -> {await, {Stale, Source}} end, Timeout)
    end.

%% @doc Waits until every context of the pool has started: `{ok, Contexts}', or why one has not.
-spec await_start(atom()) -> {ok, [pid()]} | {error, term()}.
await_start(Pool) ->
    case py_tables:pool(Pool) of
        none -> {error, {no_such_pool, Pool}};
        {Pid, _} -> ask_from_chain(Pid, Pool, fun(Source) -> {await_start, Source} end, infinity)
    end.

%% Pools whose starts wait for each other, or for a context where a chain waits for them, cannot tell: they have a limit.
ask_from_chain(Pid, Pool, Request, Timeout) ->
    case py_chain:source() of
        none -> ask(Pid, Pool, Request(none), Timeout);
        Source -> ask(Pid, Pool, Request(Source), min(Timeout, ?CHAIN_MS))
    end.

ask(Pid, Pool, Request, Timeout) ->
    try
        gen_server:call(Pid, Request, Timeout)
    catch
        exit:{timeout, _} -> {error, timeout};
        exit:_ -> {error, {no_such_pool, Pool}}
    end.

%% @doc The contexts that take requests, and what their port processes said of themselves.
-spec routes(atom()) -> [#route{}].
routes(Pool) ->
    py_tables:contexts(Pool).

%% gen_server.

-spec init({py_pool_options:spec(), pid()}) -> {ok, #state{}, {continue, start}}.
init({Spec = #{pool := Pool}, Sup}) ->
    process_flag(trap_exit, true),
    %% A predecessor that crashed left its routes.
    ok = py_tables:unpublish(Pool),
    ok = py_tables:add_pool(Pool, info(Spec, [])),
    {ok, #state{pool = Pool, spec = Spec, sup = Sup, calls = counters:new(1, [])}, {continue, start}}.

%% The supervisor answers when it has started us.
-spec handle_continue(start, #state{}) -> {noreply, #state{}}.
handle_continue(start, State = #state{sup = Sup, spec = Spec}) ->
    Children = supervisor:which_children(Sup),
    {_, Ports, _, _} = lists:keyfind(py_port_sup, 1, Children),
    {_, Contexts, _, _} = lists:keyfind(py_context_sup, 1, Children),
    Indices = lists:seq(1, maps:get(contexts, Spec)),
    Units = case maps:get(isolation, Spec) of
        pool -> #{1 => #unit{indices = Indices}};
        context -> maps:from_list([{Index, #unit{indices = [Index]}} || Index <- Indices])
    end,
    Started = State#state{ports = Ports, contexts = Contexts, units = Units},
    {noreply, lists:foldl(fun start_unit/2, Started, maps:keys(Units))}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call({await, {Stale, Source}}, From, State = #state{waiters = Waiters}) ->
    case answer(Stale, State) of
        wait ->
            case is_own_start(Source, State) of
                true -> {reply, {error, {context_died, {start_failed, ?OWN_START}}}, State};
                false -> {noreply, State#state{waiters = [{From, Stale} | Waiters]}}
            end;
        Answer ->
            {reply, Answer, State}
    end;
handle_call({await_start, Source}, From, State = #state{starters = Starters}) ->
    case is_own_start(Source, State) of
        true -> {reply, {error, ?OWN_START}, State};
        false -> {noreply, tell_starters(State#state{starters = [From | Starters]})}
    end;
handle_call(info, _From, State = #state{calls = Calls, units = Units, spec = Spec}) ->
    {reply, #{calls => counters:get(Calls, 1), spec => Spec,
              units => [{Owner, Info, py_pool_core:phase(Core)}
                        || #unit{owner = Owner, info = Info, core = Core} <- maps:values(Units)]}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({py_port, Owner, What}, State) ->
    case unit_of(Owner, State) of
        {Id, Unit} -> {noreply, port(What, Id, Unit, State)};
        none -> {noreply, State}
    end;
handle_info({py_reply, Alias, Payload}, State = #state{units = Units}) ->
    case [{Id, Unit} || {Id, Unit = #unit{pending = #{Alias := _}}} <- maps:to_list(Units)] of
        [{Id, Unit}] -> {noreply, context_answered(Alias, py_protocol:decode(Payload), Id, Unit, State)};
        [] -> {noreply, State}
    end;
handle_info({'DOWN', Monitor, process, Pid, Reason}, State = #state{watched = Watched}) ->
    case maps:take(Monitor, Watched) of
        {{context, _}, Rest} -> {noreply, context_down(Pid, Reason, State#state{watched = Rest})};
        error -> {noreply, owner_down(Pid, Reason, State)}
    end;
handle_info({start, Id}, State = #state{units = Units}) when is_map_key(Id, Units) ->
    {noreply, start_unit(Id, State)};
handle_info(retire, State) ->
    {noreply, retire(State)};
handle_info(_Message, State) ->
    {noreply, State}.

%% The contexts follow their port processes, and say `stopped'.
-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{pool = Pool, units = Units, retiring = Retiring}) ->
    ok = py_tables:remove_pool(Pool),
    Owners = [Owner || #unit{owner = Owner} <- maps:values(Units), Owner =/= none] ++ maps:keys(Retiring),
    lists:foreach(fun py_port:stop/1, Owners).

%% Starting a unit.

start_unit(Id, State = #state{pool = Pool, spec = Spec, ports = Ports, calls = Calls}) ->
    #unit{core = Core} = Unit = maps:get(Id, State#state.units),
    Options = #{
        pool => Pool,
        manager => self(),
        executable => py_config:executable(),
        config => py_pool_options:config(Spec, py_config:package_path()),
        env => maps:get(env, Spec),
        cwd => maps:get(cwd, Spec),
        grace => maps:get(hard_timeout_grace, Spec),
        max_requests => maps:get(max_requests, Spec),
        calls => Calls},
    Starting = Unit#unit{core = py_pool_core:started(Core), failure = none, pending = #{}, contexts = #{}, next_id = 1},
    case py_port_sup:start_port(Ports, Options) of
        {ok, Owner} ->
            _ = monitor(process, Owner),
            put_unit(Id, Starting#unit{owner = Owner}, State);
        {error, Reason} ->
            unit_died({start_failed, Reason}, Id, Starting, State)
    end.

port({ready, Info = #{port := Port}}, Id, Unit = #unit{owner = Owner, indices = Indices}, State) ->
    Tags = py_semaphore:open_tags(Owner, length(Indices)),
    Next = lists:foldl(
        fun({Index, Tag}, Acc) -> start_context(Index, Tag, Port, Acc, State) end,
        Unit#unit{info = Info},
        lists:zip(Indices, Tags)),
    put_unit(Id, Next, State);
port({died, Why, Lines}, _Id, #unit{owner = Owner, info = Info}, State = #state{pool = Pool}) ->
    log_death(Pool, Owner, maps:get(os_pid, Info, none), Why, Lines),
    State;
port(recycle, Id, #unit{owner = Owner, indices = Indices}, State = #state{units = Units, pool = Pool}) ->
    ?LOG_NOTICE("pool ~ts: the port process has served its max_requests and is replaced", [Pool],
                #{pool => Pool}),
    Next = lists:max(maps:keys(Units)) + 1,
    %% The old unit serves on until the new one is up.
    start_unit(Next, State#state{units = Units#{Next => #unit{indices = Indices, replaced = Owner}, Id := maps:get(Id, Units)}}).

start_context(Index, Tag, Port, Unit = #unit{owner = Owner, next_id = CtxId, pending = Pending}, #state{pool = Pool, spec = Spec}) ->
    %% Its pid comes with the process, which is started when the port has the context.
    Route = #route{ctx = self(), port = Port, owner = Owner, id = CtxId, tag = Tag, pool = Pool},
    Alias = py_port:new_context(Owner, Port, CtxId, maps:get(mode, Spec), []),
    Unit#unit{next_id = CtxId + 1, pending = Pending#{Alias => {Index, Route}}}.

context_answered(Alias, Answer, Id, Unit = #unit{pending = Pending, contexts = Contexts}, State) ->
    {{Index, Route}, Rest} = maps:take(Alias, Pending),
    #state{contexts = Sup, spec = Spec, watched = Watched} = State,
    case Answer of
        ok ->
            {ok, Ctx} = py_context_sup:start_context(Sup, Route, maps:get(mode, Spec)),
            Monitor = monitor(process, Ctx),
            Next = Unit#unit{pending = Rest, contexts = Contexts#{Index => Route#route{ctx = Ctx}}},
            unit_changed(Id, Next, State#state{watched = Watched#{Monitor => {context, Ctx}}});
        {ok, _} ->
            context_answered(Alias, ok, Id, Unit, State);
        {error, Reason} ->
            unit_failed(Reason, Id, Unit#unit{pending = Rest}, State)
    end.

%% A context that does not start fails the whole unit: a pool of another size than asked for would be a surprise.
unit_failed(Reason, Id, Unit = #unit{owner = Owner, failure = none}, State) ->
    _ = spawn(fun() -> py_port:stop(Owner) end),
    put_unit(Id, Unit#unit{failure = {start_failed, Reason}}, State);
unit_failed(_Reason, Id, Unit, State) ->
    put_unit(Id, Unit, State).

unit_changed(Id, Unit = #unit{pending = Pending, core = Core, failure = none, replaced = Replaced}, State)
        when map_size(Pending) =:= 0 ->
    Up = Unit#unit{core = py_pool_core:up(now_ms(), Core), replaced = none},
    Retired = put_unit(Id, Up, retire_owner(Replaced, State)),
    tell_starters(tell_waiters(publish(Retired)));
unit_changed(Id, Unit, State) ->
    put_unit(Id, Unit, State).

%% Death.

owner_down(Owner, Reason, State = #state{retiring = Retiring}) ->
    case unit_of(Owner, State) of
        {Id, Unit = #unit{failure = none}} ->
            case successor(Owner, State) of
                none -> unit_died(py_port:why(Reason), Id, Unit, State);
                Next -> publish(inherit(Next, Id, State))
            end;
        {Id, Unit = #unit{failure = Failure}} ->
            unit_died(Failure, Id, Unit, State);
        none ->
            State#state{retiring = maps:remove(Owner, Retiring)}
    end.

%% It died while its successor was starting: that one takes its place.
successor(Owner, #state{units = Units}) ->
    case [Id || {Id, #unit{replaced = Replaced}} <- maps:to_list(Units), Replaced =:= Owner] of
        [Id] -> Id;
        [] -> none
    end.

inherit(Next, Id, State = #state{units = Units}) ->
    #{Next := Unit} = Units,
    State#state{units = maps:remove(Id, Units#{Next := Unit#unit{replaced = none}})}.

unit_died(Why, Id, Unit = #unit{core = Core, replaced = Replaced}, State = #state{pool = Pool, starters = Starters}) ->
    {Delay, Next} = py_pool_core:died(Why, now_ms(), Core),
    %% Whoever waits for the start is told the reason, and gives the pool up.
    _ = [log_restart(Pool, Why, Delay) || Starters =:= []],
    _ = py_tables:count(Pool, restarts),
    _ = erlang:send_after(Delay, self(), {start, Id}),
    Down = Unit#unit{core = Next, owner = none, info = #{}, pending = #{}, contexts = #{}, replaced = Replaced},
    tell_starters(tell_waiters(publish(put_unit(Id, Down, State)))).

%% A context ended alone: it was stopped or killed by somebody. Its place is filled.
context_down(Ctx, Reason, State = #state{units = Units}) ->
    case [{Id, Unit, Index, Route} || {Id, Unit = #unit{contexts = Contexts}} <- maps:to_list(Units),
                                      {Index, Route} <- maps:to_list(Contexts), Route#route.ctx =:= Ctx] of
        [{Id, Unit = #unit{owner = Owner, contexts = Contexts}, Index, Route = #route{port = Port, id = CtxId, tag = Tag}}] ->
            case is_process_alive(Owner) of
                true ->
                    _ = case Reason of
                        killed ->
                            ok = py_tables:remove_killed_context(Ctx),
                            py_port:stop_context(Owner, Port, CtxId);
                        _ ->
                            py_tables:remove_context(Ctx, stopped)
                    end,
                    ok = py_semaphore:close_tag(Tag),
                    [NewTag] = py_semaphore:open_tags(Owner, 1),
                    Without = Unit#unit{contexts = maps:remove(Index, Contexts)},
                    publish(put_unit(Id, start_context(Index, NewTag, Route#route.port, Without, State), State));
                false ->
                    %% It followed its port process, whose DOWN is on the way.
                    State
            end;
        [] ->
            State
    end.

%% Recycling: new requests go to the successor; what the old port process has it finishes.

retire_owner(none, State) ->
    State;
retire_owner(Owner, State = #state{units = Units, retiring = Retiring}) ->
    case unit_of(Owner, State) of
        {Id, #unit{contexts = Contexts}} ->
            Routes = maps:values(Contexts),
            Slots = py_slots:ref(),
            lists:foreach(
                fun(#route{ctx = Ctx, tag = Tag}) ->
                    py_slots:close_tag(Slots, Tag),
                    py_tables:remove_context(Ctx, stopped)
                end, Routes),
            self() ! retire,
            Since = erlang:monotonic_time(millisecond),
            State#state{units = maps:remove(Id, Units), retiring = Retiring#{Owner => {Since, Routes}}};
        none ->
            State
    end.

retire(State = #state{retiring = Retiring}) ->
    {Idle, Busy} = lists:partition(fun is_idle/1, maps:to_list(Retiring)),
    lists:foreach(fun({Owner, _}) -> py_port:stop(Owner) end, Idle),
    _ = [erlang:send_after(?RETIRE_POLL_MS, self(), retire) || Busy =/= []],
    State#state{retiring = maps:from_list(Busy)}.

%% Coroutines and streams that wait have given their slots back: the port is asked for those, and they have some time.
is_idle({Owner, {Since, Routes = [#route{port = Port} | _]}}) ->
    Slots = py_slots:ref(),
    lists:all(fun(#route{tag = Tag}) -> py_slots:in_flight(Slots, Tag) =:= 0 end, Routes)
        andalso (tasks(py_info:port_stats(Owner, Port)) =:= 0
                 orelse erlang:monotonic_time(millisecond) - Since > ?RETIRE_TASKS_MS).

tasks(#{contexts := Contexts}) -> lists:sum([N || #{tasks := N} <- maps:values(Contexts)]);
tasks(_None) -> 0.

%% What others are told.

%% Contexts of a unit that is coming up are not offered before all of its are there; a context that is being replaced
%% alone takes only itself out.
publish(State = #state{pool = Pool, spec = Spec, units = Units}) ->
    Up = [Unit || Unit <- maps:values(Units), py_pool_core:answer(Unit#unit.core) =:= up],
    Routes = lists:keysort(1, lists:append([maps:to_list(Contexts) || #unit{contexts = Contexts} <- Up])),
    ok = py_tables:publish(Pool, [Route || {_, Route} <- Routes]),
    ok = py_tables:set_pool_info(Pool, info(Spec, Up)),
    State.

info(#{contexts := Size, mode := Mode, isolation := Isolation}, Up) ->
    Ready = case Up of
        [#unit{info = Info} | _] -> maps:remove(port, Info);
        [] -> #{}
    end,
    #{size => Size, mode => Mode, isolation => Isolation, python => Ready}.

%% Whether the start of one of the contexts waits for whoever asks.
is_own_start({python, Owner, CtxId}, State) ->
    case unit_of(Owner, State) of
        {_, #unit{core = Core, pending = Pending}} ->
            py_pool_core:answer(Core) =/= up
                orelse lists:any(fun({_, #route{id = Id}}) -> Id =:= CtxId end, maps:values(Pending));
        none ->
            false
    end;
is_own_start(_NotItsPreload, _State) ->
    false.

answer(Stale, #state{units = Units}) ->
    Answers = [{py_pool_core:answer(Unit#unit.core), Unit} || Unit <- maps:values(Units)],
    Offered = [Route || {up, #unit{contexts = Contexts}} <- Answers, Route <- maps:values(Contexts)],
    case lists:any(fun(#route{ctx = Ctx, owner = Owner}) -> Ctx =/= Stale andalso is_process_alive(Owner) end, Offered) of
        true -> ok;
        false ->
            case [Why || {{error, Why}, _} <- Answers] of
                Whys when length(Whys) =:= map_size(Units) -> {error, {context_died, hd(Whys)}};
                _ -> wait
            end
    end.

tell_waiters(State = #state{waiters = Waiters}) ->
    Left = lists:filter(
        fun({From, Stale}) ->
            case answer(Stale, State) of
                wait -> true;
                Answer ->
                    gen_server:reply(From, Answer),
                    false
            end
        end,
        Waiters),
    State#state{waiters = Left}.

tell_starters(State = #state{starters = []}) ->
    State;
tell_starters(State = #state{starters = Starters, units = Units, pool = Pool}) ->
    Answers = [py_pool_core:answer(Unit#unit.core) || Unit <- maps:values(Units)],
    Failures = [Why || {error, Why} <- Answers],
    case {Failures, lists:all(fun(Answer) -> Answer =:= up end, Answers)} of
        {[Why | _], _} -> reply_all(Starters, {error, start_error(Why)}, State);
        {[], true} -> reply_all(Starters, {ok, [Ctx || #route{ctx = Ctx} <- py_tables:contexts(Pool)]}, State);
        {[], false} -> State
    end.

reply_all(Starters, Answer, State) ->
    lists:foreach(fun(From) -> gen_server:reply(From, Answer) end, Starters),
    State#state{starters = []}.

start_error({start_failed, Reason}) -> Reason;
start_error(Why) -> {context_died, Why}.

log_death(_Pool, _Owner, _OsPid, stopped, _Lines) ->
    ok;
log_death(Pool, _Owner, none, Why, Lines) ->
    ?LOG_ERROR("pool ~ts, port process: ~ts~ts", [Pool, py_error:format_why(Why), last_lines(Lines)],
               #{pool => Pool, why => Why});
log_death(Pool, _Owner, OsPid, Why, Lines) ->
    ?LOG_ERROR("pool ~ts: port process ~p died: ~ts~ts", [Pool, OsPid, py_error:format_why(Why), last_lines(Lines)],
               #{pool => Pool, why => Why}).

last_lines([]) -> "";
last_lines(Lines) -> ["; it wrote last:" | [["\n  ", py_error:printable(Line)] || Line <- Lines]].

log_restart(_Pool, _Why, 0) ->
    ok;
log_restart(Pool, Why, Delay) ->
    ?LOG_WARNING("pool ~ts is down (~ts) and starts again in ~b ms", [Pool, py_error:format_why(Why), Delay],
                 #{pool => Pool, why => Why}).

put_unit(Id, Unit, State = #state{units = Units}) ->
    State#state{units = Units#{Id => Unit}}.

unit_of(Owner, #state{units = Units}) ->
    case [{Id, Unit} || {Id, Unit = #unit{owner = Other}} <- maps:to_list(Units), Other =:= Owner] of
        [Found] -> Found;
        [] -> none
    end.

now_ms() ->
    erlang:monotonic_time(millisecond).
