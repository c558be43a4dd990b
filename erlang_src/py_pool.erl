%% @doc The life of a pool: starts its port processes and contexts, publishes where they are, and starts again what
%% died. Requests never come here, except those that have nowhere to go (py_pool_await).
%%
%% A pool has one *unit* (py_unit) when its contexts share a port process, and one per context with `isolation => context';
%% one more while a port process is replaced. What a unit does next is decided there, when it is started again in py_pool_core.
-module(py_pool).
-behaviour(gen_server).

-include("py_route.hrl").
-include("py_unexpected.hrl").

%% API.
-export([child_spec/1, start_link/2]).
%% gen_server.
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(state, {
    pool :: atom(),
    spec :: py_pool_options:spec(),
    kept :: py_pool_sup:kept(),
    sup :: pid(),
    ports = none :: none | pid(),
    contexts = none :: none | pid(),
    units = #{} :: #{pos_integer() => py_unit:unit()},
    watched = #{} :: #{reference() => {context | owner, pid()}},
    checkup = py_checkup:new() :: py_checkup:checkup(),
    calls :: counters:counters_ref(),
    waiting = py_pool_await:new() :: py_pool_await:waiting()
}).

%% How often to look whether a port process that drains has finished what it had.
-define(DRAIN_POLL_MS, 20).
%% How long a context may take to follow its port process.
-define(CONTEXT_MS, 1000).

%% API.

%% @doc A pool as a child of your own supervisor: `#{name => reports, size => 2}', and the options of
%% {@link py_context_router:start_pool/3}. It is up when the supervisor goes on, and ends with it.
-spec child_spec(#{name := atom(), size => pos_integer(), atom() => term()} | [{atom(), term()}]) -> supervisor:child_spec().
child_spec(Given) ->
    Options = py_args:map(options, Given),
    Pool = case Options of
        #{name := Name} when is_atom(Name) -> Name;
        _ -> error({bad_argument, options, Given})
    end,
    #{id => {?MODULE, Pool},
      start => {py_pool_start, supervised, [Pool, maps:get(size, Options, 1), maps:without([name, size], Options)]},
      type => supervisor,
      shutdown => infinity}.

-spec start_link(py_pool_sup:kept(), pid()) -> gen_server:start_ret().
start_link(Kept, Sup) ->
    gen_server:start_link(?MODULE, {Kept, Sup}, []).

%% gen_server.

-spec init({py_pool_sup:kept(), pid()}) -> {ok, #state{}, {continue, start}}.
init({Kept, Sup}) ->
    process_flag(trap_exit, true),
    Spec = #{pool := Pool} = spec(Kept),
    ok = py_succession:take_over(Pool, info(Spec, [])),
    %% A predecessor that crashed left its routes.
    ok = py_tables:unpublish(Pool),
    {ok, #state{pool = Pool, spec = Spec, kept = Kept, sup = Sup, calls = counters:new(1, [])}, {continue, start}}.

spec({supervised, _, Spec}) -> Spec;
spec(Spec) when is_map(Spec) -> Spec.

%% The supervisor answers when it has started us. py_semaphore too: the top supervisor may have to start it after us.
-spec handle_continue(start, #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_continue(start, State = #state{sup = Sup, pool = Pool, spec = Spec}) ->
    _ = py_semaphore:open_limit(Pool, maps:get(max_concurrent, Spec), maps:get(max_queued, Spec)),
    case py_pool_sup:siblings(Sup) of
        {ok, #{py_port_sup := Ports, py_context_sup := Contexts}} ->
            {noreply, start_units(State#state{ports = Ports, contexts = Contexts})};
        {stop, Reason} ->
            {stop, Reason, State}
    end.

start_units(State = #state{spec = Spec}) ->
    Indices = lists:seq(1, maps:get(contexts, Spec)),
    Units = case maps:get(isolation, Spec) of
        pool -> #{1 => py_unit:new(pool, Indices)};
        context -> maps:from_list([{Index, py_unit:new(pool, [Index])} || Index <- Indices])
    end,
    lists:foldl(fun start_unit/2, State#state{units = Units}, maps:keys(Units)).

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call(Request, From, State) when not ?IS_FROM(From) ->
    py_unexpected:call(Request, From, State);
handle_call({await, {Stale, Source}}, From, State = #state{waiting = Waiting}) ->
    answered(py_pool_await:awaits(Stale, Source, From, units(State), Waiting), State);
handle_call({await_start, Source}, From, State = #state{pool = Pool, waiting = Waiting}) ->
    answered(py_pool_await:awaits_start(Pool, Source, From, units(State), Waiting), State);
handle_call(info, _From, State = #state{calls = Calls, units = Units, spec = Spec}) ->
    {reply, #{calls => counters:get(Calls, 1), spec => Spec,
              units => [{py_unit:owner(Unit), py_unit:info(Unit), py_unit:phase(Unit)}
                        || Unit <- maps:values(Units), not py_unit:is_draining(Unit)]}, State};
handle_call(Request, From, State) ->
    py_unexpected:call(Request, From, State).

answered({wait, Waiting}, State) -> {noreply, State#state{waiting = Waiting}};
answered(Answer, State) -> {reply, Answer, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Message, State) ->
    py_unexpected:message(Message, State).

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({py_port, Owner, What}, State) ->
    case unit_of(Owner, State) of
        {Id, Unit} -> {noreply, port(What, Id, Unit, State)};
        none -> {noreply, State}
    end;
handle_info({py_reply, Alias, Payload}, State = #state{units = Units, pool = Pool}) when is_binary(Payload); is_list(Payload) ->
    case [{Id, Of} || {Id, Unit} <- maps:to_list(Units), Of <- [py_unit:is_pending(Alias, Unit)], Of =/= false] of
        [{Id, start}] ->
            {noreply, step(Id, py_unit:answered(Alias, py_protocol:decode(Payload, Pool), unit(Id, State)), State)};
        [{Id, tasks}] ->
            {noreply, tasks_left(Id, tasks(py_info:figures(Payload)), State)};
        [] ->
            {noreply, checked(py_checkup:answer(Alias, Payload, State#state.checkup), State)}
    end;
handle_info({py_symptoms, Ctx}, State = #state{checkup = Checkup}) when is_pid(Ctx) ->
    {noreply, State#state{checkup = py_checkup:suspect(Ctx, Checkup)}};
handle_info({'DOWN', Monitor, process, _, Reason} = Message, State = #state{watched = Watched, checkup = Checkup}) ->
    case maps:take(Monitor, Watched) of
        {{context, Pid}, Rest} -> {noreply, context_down(Pid, Reason, State#state{watched = Rest})};
        {{owner, Pid}, Rest} -> {noreply, owner_down(Pid, Reason, State#state{watched = Rest})};
        error ->
            case {py_checkup:down(Monitor, Checkup), Reason} of
                %% A question that was not answered has died with its port process.
                {Checked, {shutdown, {port_died, _}}} -> {noreply, State#state{checkup = Checked}};
                {Checkup, _} -> py_unexpected:message(Message, State);
                {Checked, _} -> {noreply, State#state{checkup = Checked}}
            end
    end;
handle_info({start, Id}, State = #state{units = Units}) ->
    case is_map_key(Id, Units) andalso py_unit:owner(unit(Id, State)) of
        none -> {noreply, start_unit(Id, State)};
        _ -> {noreply, State}
    end;
handle_info(drain, State) ->
    {noreply, drain(State)};
handle_info({'EXIT', _, normal}, State) ->
    {noreply, State};
%% `EXIT' comes from a process that is linked to this one: of ours our supervisor alone, which OTP obeys. It ends no pool.
handle_info(Message, State) ->
    py_unexpected:message(Message, State).

%% The contexts follow their port processes, and say `stopped'.
-spec terminate(term(), #state{}) -> ok.
terminate(Reason, State = #state{pool = Pool, units = Units, watched = Watched}) ->
    ok = py_tables:remove_pool(Pool),
    Gone = is_supervised(State) andalso is_end(Reason, State),
    _ = Gone andalso py_tables:forget_spec(Pool),
    lists:foreach(fun py_port:stop/1, [Owner || Unit <- maps:values(Units), Owner <- [py_unit:owner(Unit)], Owner =/= none]),
    %% Those that end by themselves while their supervisor ends them make it log an error.
    lists:foreach(fun await_context/1, [Monitor || {Monitor, {context, _}} <- maps:to_list(Watched)]),
    _ = Gone andalso close_limit(Pool),
    %% Whoever stops one of the others waits by himself, and holds up nobody's start or stop (py_pools_sup).
    _ = Gone andalso py_ending:await(Pool),
    ok.

%% Others are forgotten by py_pools_sup; and a successor below the same supervisor may have begun.
is_supervised(#state{pool = Pool, kept = Kept = {supervised, _, _}}) -> py_tables:spec(Pool) =:= {ok, Kept};
is_supervised(_State) -> false.

%% Whether our supervisor ends, which ends this process before the others, and does not start all of them again.
is_end(shutdown, #state{ports = Ports, contexts = Contexts}) ->
    lists:all(fun(Pid) -> Pid =:= none orelse is_process_alive(Pid) end, [Ports, Contexts]);
is_end(_Reason, #state{sup = Sup}) ->
    not is_process_alive(Sup).

%% Not while the application ends.
close_limit(Pool) ->
    is_pid(whereis(py_semaphore)) andalso py_started:result(fun() -> py_semaphore:close_limit(Pool) end).

await_context(Monitor) ->
    receive {'DOWN', Monitor, process, _, _} -> ok
    after ?CONTEXT_MS -> ok
    end.

checked(unknown, State) -> State;
checked(Checkup, State) -> State#state{checkup = Checkup}.

%% What a unit does next.

step(Id, {Effects, Unit}, State) ->
    lists:foldl(fun(Effect, Next) -> effect(Effect, Id, Next) end, put_unit(Id, Unit, State), Effects).

effect({open_tags, Indices}, Id, State = #state{pool = Pool}) ->
    Unit = unit(Id, State),
    case py_semaphore:open_tags(Pool, py_unit:owner(Unit), length(Indices)) of
        {error, Reason} -> step(Id, py_unit:no_tags(Indices, Reason, Unit), State);
        Tags -> step(Id, py_unit:tags(lists:zip(Indices, Tags), Pool, py_limits:limit(Pool), Unit), State)
    end;
effect({new_context, Index, Route = #route{owner = Owner, port = Port, id = CtxId}}, Id, State = #state{spec = Spec}) ->
    Alias = py_port:new_context(Owner, Port, CtxId, maps:get(mode, Spec), []),
    put_unit(Id, py_unit:asked(Alias, {context, Index, Route}, unit(Id, State)), State);
effect(restrict, Id, State) ->
    Unit = unit(Id, State),
    Alias = py_port:control(py_unit:owner(Unit), maps:get(port, py_unit:info(Unit)), fun py_protocol:restrict/1),
    put_unit(Id, py_unit:asked(Alias, restrict, Unit), State);
effect({start, Index, Route}, Id, State = #state{contexts = Sup, spec = Spec, watched = Watched}) ->
    {ok, Ctx} = py_context_sup:start_context(Sup, Route, maps:get(mode, Spec)),
    Watching = State#state{watched = Watched#{monitor(process, Ctx) => {context, Ctx}}},
    step(Id, py_unit:placed(Index, Route#route{ctx = Ctx}, unit(Id, State)), Watching);
effect(up, Id, State) ->
    Unit = unit(Id, State),
    Up = put_unit(Id, py_unit:up(now_ms(), Unit), drain_owner(py_unit:replaces(Unit), State)),
    tell(publish(Up));
effect(stop, Id, State) ->
    Owner = py_unit:owner(unit(Id, State)),
    _ = spawn(fun() -> py_port:stop(Owner) end),
    State;
effect({close, _Index, #route{owner = Owner, tag = Tag}}, _Id, State) ->
    ok = py_semaphore:close_tag(Owner, Tag),
    State.

start_unit(Id, State = #state{pool = Pool, spec = Spec, ports = Ports, calls = Calls}) ->
    Restricted = not py_sandbox:restricts_late(maps:get(sandbox, Spec)),
    case py_port_sup:start_port(Ports, Pool, Spec, Calls) of
        {ok, Owner} ->
            Watched = (State#state.watched)#{monitor(process, Owner) => {owner, Owner}},
            put_unit(Id, py_unit:started(Owner, Restricted, unit(Id, State)), State#state{watched = Watched});
        {error, Reason} ->
            unit_died({start_failed, Reason}, Id, py_unit:started(none, Restricted, unit(Id, State)), State)
    end.

port({ready, Info = #{port := Port}} = Ready, Id, Unit, State = #state{spec = Spec}) when is_port(Port) ->
    case py_unit:is_starting(Unit) of
        true ->
            ok = py_sandbox:note_confined(maps:get(pool, Spec), maps:get(sandbox, Spec), Info),
            step(Id, py_unit:ready(Info, Unit), State);
        false ->
            unexpected(Ready, Unit, State)
    end;
port({died, Why, Lines}, _Id, Unit, State = #state{pool = Pool}) when length(Lines) >= 0 ->
    ok = py_pool_log:death(Pool, maps:get(os_pid, py_unit:info(Unit), none), Why, Lines),
    State;
port(recycle, Id, Unit, State) ->
    case py_unit:is_draining(Unit) orelse successor(py_unit:owner(Unit), State) of
        none -> recycle(Id, Unit, State);
        _ -> State
    end;
port(Other, _Id, Unit, State) ->
    unexpected(Other, Unit, State).

unexpected(What, Unit, State) ->
    ok = py_unexpected:dropped({py_port, py_unit:owner(Unit), What}),
    State.

recycle(_Id, Unit, State = #state{units = Units, pool = Pool}) ->
    ok = py_pool_log:recycle(Pool),
    Next = lists:max(maps:keys(Units)) + 1,
    %% The old unit serves on until the new one is up.
    start_unit(Next, put_unit(Next, py_unit:new(pool, py_unit:keys(Unit), py_unit:owner(Unit)), State)).

%% Death.

owner_down(Owner, Reason, State = #state{units = Units}) ->
    case unit_of(Owner, State) of
        {Id, Unit} ->
            case {py_unit:is_draining(Unit), py_unit:failure(Unit), successor(Owner, State)} of
                {true, _, _} -> State#state{units = maps:remove(Id, Units)};
                {false, none, none} -> unit_died(py_port:why(Reason), Id, Unit, State);
                {false, none, Next} -> publish(inherit(Next, Id, State));
                {false, Failure, _} -> unit_died(Failure, Id, Unit, State)
            end;
        none ->
            State
    end.

%% It died while its successor was starting: that one takes its place.
successor(Owner, #state{units = Units}) ->
    case [Id || {Id, Unit} <- maps:to_list(Units), py_unit:replaces(Unit) =:= Owner] of
        [Id] -> Id;
        [] -> none
    end.

inherit(Next, Id, State = #state{units = Units}) ->
    put_unit(Next, py_unit:replaces_nobody(unit(Next, State)), State#state{units = maps:remove(Id, Units)}).

unit_died(Why, Id, Unit, State = #state{pool = Pool, waiting = Waiting}) ->
    {Delay, Down} = py_unit:died(Why, now_ms(), Unit),
    %% Whoever waits for the start is told the reason, and gives the pool up.
    _ = py_pool_await:is_start_awaited(Waiting) orelse py_pool_log:restart(Pool, Why, Delay),
    _ = py_tables:count(Pool, restarts),
    _ = erlang:send_after(Delay, self(), {start, Id}),
    tell(publish(put_unit(Id, Down, State))).

%% A context ended alone: it was stopped or killed by somebody. Its place is filled.
context_down(Ctx, Reason, State = #state{units = Units}) ->
    case [{Id, Unit, Found} || {Id, Unit} <- maps:to_list(Units), Found <- [py_unit:find(Ctx, Unit)], Found =/= none] of
        [{Id, Unit, {Index, #route{owner = Owner} = Route}}] ->
            %% Otherwise it followed its port process, whose DOWN is on the way.
            case is_process_alive(Owner) andalso not py_unit:is_draining(Unit) of
                true ->
                    ok = context_ended(Reason, Route),
                    publish(step(Id, py_unit:context_down(Index, Unit), State));
                false ->
                    State
            end;
        [] ->
            State
    end.

context_ended(killed, #route{ctx = Ctx, owner = Owner, port = Port, id = CtxId}) ->
    ok = py_tables:remove_killed_context(Ctx),
    _ = py_port:stop_context(Owner, Port, CtxId),
    ok;
context_ended(_Reason, #route{ctx = Ctx}) ->
    py_tables:remove_context(Ctx, stopped).

%% Draining: new requests go to the successor; what the old port process has it finishes.

drain_owner(none, State) ->
    State;
drain_owner(Owner, State = #state{units = Units}) ->
    case unit_of(Owner, State) of
        {Id, Unit} ->
            lists:foreach(
                fun(#route{ctx = Ctx, tag = Tag}) ->
                    ok = py_counters:close(Tag),
                    py_tables:remove_context(Ctx, stopped)
                end, maps:values(py_unit:contexts(Unit))),
            _ = [self() ! drain || not lists:any(fun py_unit:is_draining/1, maps:values(Units))],
            put_unit(Id, py_unit:drain(now_ms(), Unit), State);
        none ->
            State
    end.

drain(State = #state{units = Units}) ->
    Next = maps:fold(fun drain/3, State, maps:filter(fun(_, Unit) -> py_unit:is_draining(Unit) end, Units)),
    _ = [erlang:send_after(?DRAIN_POLL_MS, self(), drain) || lists:any(fun py_unit:is_draining/1, maps:values(Next#state.units))],
    Next.

drain(Id, Unit, State) ->
    case py_unit:drained(is_idle(Unit), now_ms(), Unit) of
        wait -> State;
        stop -> drained(Id, State);
        ask_for_tasks ->
            Alias = py_port:control(py_unit:owner(Unit), maps:get(port, py_unit:info(Unit)), fun py_protocol:stats/1),
            put_unit(Id, py_unit:tasks_asked(Alias, now_ms(), Unit), State)
    end.

is_idle(Unit) ->
    lists:all(fun(#route{limit = Limit, tag = Tag}) -> py_slots_audit:in_flight(Limit, Tag) =:= 0 end, maps:values(py_unit:contexts(Unit))).

tasks_left(Id, Tasks, State) ->
    case py_unit:tasks_left(Tasks, now_ms(), unit(Id, State)) of
        stop -> drained(Id, State);
        Unit -> put_unit(Id, Unit, State)
    end.

tasks(#{contexts := Contexts}) -> lists:sum([N || #{tasks := N} <- maps:values(Contexts)]);
tasks(_None) -> 0.

drained(Id, State = #state{units = Units}) ->
    ok = py_port:stop(py_unit:owner(unit(Id, State))),
    State#state{units = maps:remove(Id, Units)}.

%% What others are told.

publish(State = #state{pool = Pool, spec = Spec, units = Units}) ->
    Up = [{Unit, Offered} || Unit <- maps:values(Units), Offered <- [py_unit:offered(Unit)], map_size(Offered) > 0],
    Routes = lists:keysort(1, lists:append([maps:to_list(Offered) || {_, Offered} <- Up])),
    ok = py_tables:publish(Pool, [Route || {_, Route} <- Routes]),
    ok = py_tables:set_pool_info(Pool, info(Spec, [Unit || {Unit, _} <- Up])),
    State.

info(#{contexts := Size, mode := Mode, isolation := Isolation}, Up) ->
    Ready = case Up of
        [Unit | _] -> maps:without([port, grants], py_unit:info(Unit));
        [] -> #{}
    end,
    #{size => Size, mode => Mode, isolation => Isolation, python => Ready}.

tell(State = #state{pool = Pool, waiting = Waiting}) ->
    State#state{waiting = py_pool_await:tell(Pool, units(State), Waiting)}.

put_unit(Id, Unit, State = #state{units = Units}) ->
    State#state{units = Units#{Id => Unit}}.

unit(Id, #state{units = Units}) ->
    map_get(Id, Units).

units(#state{units = Units}) ->
    maps:values(Units).

unit_of(Owner, #state{units = Units}) ->
    case [Found || Found = {_, Unit} <- maps:to_list(Units), py_unit:owner(Unit) =:= Owner] of
        [Found] -> Found;
        [] -> none
    end.

now_ms() ->
    erlang:monotonic_time(millisecond).
