%% @doc Contexts that users start themselves: the pool `contexts', whose port process starts with the first of them and
%% ends with its own death only. One with limits of its own, or `isolation => context', gets a port process to itself.
%%
%% A port process and its contexts are a unit (py_unit), as in a pool. Nothing is started again here: that is for the
%% supervisors of the contexts.
-module(py_standalone).
-behaviour(gen_server).

-include_lib("kernel/include/logger.hrl").
-include("py_route.hrl").
-include("py_unexpected.hrl").

%% API.
-export([start_link/1, attach/2, await_end/1]).
%% gen_server.
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-define(POOL, contexts).

%% Who wants a context: it is to be its py_context.
-record(wish, {from :: gen_server:from(), mode :: worker | owngil, preload :: [binary()]}).
-record(port, {
    shared :: boolean(),
    monitor :: reference(),
    unit :: py_unit:unit(),
    wishes = #{} :: #{reference() => #wish{}},                   % by their keys, until they are granted or refused
    contexts = #{} :: #{reference() => reference()}              % the keys of the others, by the monitors on their processes
}).
-record(state, {
    sup :: pid(),
    ports_sup = none :: none | pid(),
    ports = #{} :: #{pid() => #port{}},
    checkup = py_checkup:new() :: py_checkup:checkup(),
    calls :: counters:counters_ref()
}).

%% API.

-spec start_link(pid()) -> gen_server:start_ret().
start_link(Sup) ->
    gen_server:start_link(?MODULE, Sup, []).

%% @doc Makes a context for the calling process, which is its py_context.
-spec attach(atom(), map()) -> {ok, #route{}, worker | owngil} | {error, term()}.
attach(Mode, Options) ->
    py_started:result(fun() -> py_started:call(?MODULE, {attach, Mode, Options}) end).

%% @doc A context of this port process was stopped. If it had that to itself, this returns when Python has ended there.
-spec await_end(pid()) -> ok.
await_end(Owner) ->
    try gen_server:call(?MODULE, {await_end, Owner}, infinity) of
        ok -> ok
    catch
        exit:_ -> ok
    end.

%% gen_server.

-spec init(pid()) -> {ok, #state{}, {continue, find}}.
init(Sup) ->
    process_flag(trap_exit, true),
    ok = py_succession:take_over(?POOL, #{size => 0, mode => worker, isolation => pool, python => #{}}),
    %% Not by gen_server: the name may be the predecessor's until then.
    ok = py_succession:take_name(?MODULE),
    {ok, #state{sup = Sup, calls = counters:new(1, [])}, {continue, find}}.

-spec handle_continue(find, #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_continue(find, State = #state{sup = Sup}) ->
    #{max_concurrent := Max, max_queued := MaxQueued} = py_config:defaults(),
    %% Not in init/1: the top supervisor may have to start py_semaphore after us.
    _ = py_semaphore:open_limit(?POOL, Max, MaxQueued),
    case py_pool_sup:siblings(Sup) of
        {ok, #{py_port_sup := Ports}} -> {noreply, State#state{ports_sup = Ports}};
        {stop, Reason} -> {stop, Reason, State}
    end.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call(Request, From, State) when not ?IS_FROM(From) ->
    py_unexpected:call(Request, From, State);
handle_call({attach, Mode, Options}, From, State) when is_map(Options) ->
    case py_pool_options:context(Mode, Options) of
        {ok, Spec} -> attach(Spec, From, State);
        {error, _} = Error -> {reply, Error, State}
    end;
handle_call({await_end, Owner}, From, State = #state{ports = Ports}) when is_pid(Owner) ->
    case Ports of
        #{Owner := #port{shared = true}} ->
            {reply, ok, State};
        _ ->
            _ = spawn(fun() ->
                ok = py_port:stop(Owner),
                ok = py_ending:await(Owner),
                gen_server:reply(From, ok)
            end),
            {noreply, State}
    end;
handle_call({await, _}, _From, State) ->
    {reply, {error, {no_such_pool, ?POOL}}, State};
handle_call({await_start, _}, _From, State) ->
    {reply, {ok, []}, State};
handle_call(info, _From, State = #state{calls = Calls, ports = Ports}) ->
    {reply, #{calls => counters:get(Calls, 1), spec => #{},
              units => [{Owner, py_unit:info(Unit), up} || {Owner, #port{unit = Unit}} <- maps:to_list(Ports)]}, State};
handle_call(Request, From, State) ->
    py_unexpected:call(Request, From, State).

attach(Spec = #{mode := Mode, isolation := Isolation}, From, State) ->
    Wish = #wish{from = From, mode = Mode, preload = own_preload(Spec)},
    case {Isolation, shared(State)} of
        {pool, {Owner, Port = #port{unit = Unit, wishes = Wishes}}} ->
            Key = make_ref(),
            Wanted = put_port(Owner, Port#port{wishes = Wishes#{Key => Wish}}, State),
            {noreply, step(Owner, py_unit:want(Key, Unit), Wanted)};
        {pool, none} -> start(true, shared_spec(Spec), Wish, State);
        {context, _} -> start(false, without_own_preload(Spec), Wish, State)
    end.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Message, State) ->
    py_unexpected:message(Message, State).

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({py_port, Owner, {ready, Info = #{port := P}}} = Message, State = #state{ports = Ports})
        when is_port(P), is_map_key(Owner, Ports) ->
    #port{unit = Unit} = map_get(Owner, Ports),
    case py_unit:is_starting(Unit) of
        true ->
            ok = py_sandbox:note_confined(?POOL, maps:get(sandbox, py_config:defaults()), Info),
            {noreply, step(Owner, py_unit:ready(Info, Unit), State)};
        false ->
            py_unexpected:message(Message, State)
    end;
handle_info({py_port, Owner, {died, Why, Lines}}, State = #state{ports = Ports})
        when is_map_key(Owner, Ports), length(Lines) >= 0 ->
    log_death(Why, Lines),
    {noreply, State};
handle_info({py_reply, Alias, Payload}, State = #state{ports = Ports}) when is_binary(Payload); is_list(Payload) ->
    case [{Owner, Unit} || {Owner, #port{unit = Unit}} <- maps:to_list(Ports), py_unit:is_pending(Alias, Unit) =:= start] of
        [{Owner, Unit}] -> {noreply, step(Owner, py_unit:answered(Alias, py_protocol:decode(Payload, ?POOL), Unit), State)};
        [] -> {noreply, checked(py_checkup:answer(Alias, Payload, State#state.checkup), State)}
    end;
handle_info({py_symptoms, Ctx}, State = #state{checkup = Checkup}) when is_pid(Ctx) ->
    {noreply, State#state{checkup = py_checkup:suspect(Ctx, Checkup)}};
handle_info({'DOWN', Monitor, process, Pid, Reason}, State0 = #state{ports = Ports, checkup = Checkup}) ->
    State = State0#state{checkup = py_checkup:down(Monitor, Checkup)},
    case Ports of
        #{Pid := Port = #port{monitor = Monitor}} ->
            {noreply, port_down(Reason, Port, State#state{ports = maps:remove(Pid, Ports)})};
        _ ->
            case [{Owner, Port} || {Owner, Port = #port{contexts = #{Monitor := _}}} <- maps:to_list(Ports)] of
                [{Owner, Port}] -> {noreply, context_down(Monitor, Reason, Owner, Port, State)};
                [] -> {noreply, State}
            end
    end;
handle_info({'EXIT', _, normal}, State) ->
    {noreply, State};
handle_info(Message, State) ->
    py_unexpected:message(Message, State).

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{ports = Ports}) ->
    ok = py_tables:remove_pool(?POOL),
    lists:foreach(fun py_port:stop/1, maps:keys(Ports)).

checked(unknown, State) -> State;
checked(Checkup, State) -> State#state{checkup = Checkup}.

%% The environment's preload_code is the port's business; the rest is the context's.
own_preload(#{preload := Preload}) ->
    lists:nthtail(length(environment_preload()), Preload).

without_own_preload(Spec) ->
    Spec#{preload => environment_preload()}.

environment_preload() ->
    maps:get(preload, py_config:defaults()).

shared_spec(#{pool := Pool}) ->
    (py_config:defaults())#{pool => Pool, contexts => 1}.

shared(#state{ports = Ports}) ->
    case [Found || Found = {Owner, #port{shared = true}} <- maps:to_list(Ports), is_process_alive(Owner)] of
        [Found | _] -> Found;
        [] -> none
    end.

start(Shared, Spec, Wish, State = #state{ports_sup = Sup, calls = Calls}) ->
    case py_port_sup:start_port(Sup, ?POOL, Spec#{max_requests => infinity}, Calls) of
        {ok, Owner} ->
            Key = make_ref(),
            Restricted = not py_sandbox:restricts_late(maps:get(sandbox, Spec)),
            Unit = py_unit:started(Owner, Restricted, py_unit:new(users, [Key])),
            Port = #port{shared = Shared, monitor = monitor(process, Owner), unit = Unit, wishes = #{Key => Wish}},
            {noreply, put_port(Owner, Port, State)};
        {error, _} = Error ->
            {reply, Error, State}
    end.

%% What a unit does next.

step(Owner, {Effects, Unit}, State) ->
    lists:foldl(fun(Effect, Next) -> effect(Effect, Owner, Next) end, put_unit(Owner, Unit, State), Effects).

effect({open_tags, Keys}, Owner, State) ->
    #port{unit = Unit} = port(Owner, State),
    case py_semaphore:open_tags(?POOL, Owner, length(Keys)) of
        {error, Reason} -> step(Owner, py_unit:no_tags(Keys, Reason, Unit), State);
        Tags -> step(Owner, py_unit:tags(lists:zip(Keys, Tags), ?POOL, py_limits:limit(?POOL), Unit), State)
    end;
effect({new_context, Key, Route = #route{port = P, id = Id}}, Owner, State) ->
    #port{unit = Unit, wishes = #{Key := #wish{mode = Mode, preload = Preload}}} = port(Owner, State),
    Alias = py_port:new_context(Owner, P, Id, Mode, Preload),
    put_unit(Owner, py_unit:asked(Alias, {context, Key, Route}, Unit), State);
effect(restrict, Owner, State) ->
    #port{unit = Unit} = port(Owner, State),
    Alias = py_port:control(Owner, maps:get(port, py_unit:info(Unit)), fun py_protocol:restrict/1),
    put_unit(Owner, py_unit:asked(Alias, restrict, Unit), State);
effect({start, Key, Route}, Owner, State) ->
    #port{unit = Unit, wishes = #{Key := #wish{from = {Ctx, _}}}} = port(Owner, State),
    step(Owner, py_unit:placed(Key, Route#route{ctx = Ctx}, Unit), State);
effect({granted, Key, Route = #route{ctx = Ctx}}, Owner, State) ->
    {#wish{from = From, mode = Mode}, Port = #port{contexts = Contexts}} = take_wish(Key, Owner, State),
    gen_server:reply(From, {ok, Route, Mode}),
    put_port(Owner, Port#port{contexts = Contexts#{monitor(process, Ctx) => Key}}, State);
effect({refused, Key, Reason, Route}, Owner, State) ->
    {#wish{from = From}, Port} = take_wish(Key, Owner, State),
    gen_server:reply(From, {error, Reason}),
    _ = Route =:= none orelse py_semaphore:close_tag(Owner, Route#route.tag),
    ok = end_if_own(Owner, Port),
    put_port(Owner, Port, State);
effect({close, _Key, #route{tag = Tag}}, Owner, State) ->
    ok = py_semaphore:close_tag(Owner, Tag),
    ok = end_if_own(Owner, port(Owner, State)),
    State.

take_wish(Key, Owner, State) ->
    Port = #port{wishes = Wishes} = port(Owner, State),
    {Wish, Rest} = maps:take(Key, Wishes),
    {Wish, Port#port{wishes = Rest}}.

%% A port process that was started for one context goes with it.
end_if_own(Owner, #port{shared = false}) ->
    _ = spawn(fun() -> py_port:stop(Owner) end),
    ok;
end_if_own(_Owner, _Port) ->
    ok.

context_down(Monitor, Reason, Owner, Port = #port{contexts = Contexts, unit = Unit}, State) ->
    {Key, Rest} = maps:take(Monitor, Contexts),
    #{Key := #route{ctx = Ctx, port = P, id = Id}} = py_unit:contexts(Unit),
    _ = case Reason of
        killed ->
            ok = py_tables:remove_killed_context(Ctx),
            py_port:stop_context(Owner, P, Id);
        _ ->
            ok
    end,
    step(Owner, py_unit:context_down(Key, Unit), put_port(Owner, Port#port{contexts = Rest}, State)).

port_down(Reason, #port{wishes = Wishes}, State) ->
    Error = {error, case py_port:why(Reason) of
        {start_failed, Cause} -> py_sandbox:start_error(Cause);
        Why -> {context_died, Why}
    end},
    lists:foreach(fun(#wish{from = From}) -> gen_server:reply(From, Error) end, maps:values(Wishes)),
    State.

log_death(stopped, _Lines) ->
    ok;
log_death(Why, Lines) ->
    ?LOG_ERROR("pool ~ts: a port process died: ~ts~ts",
               [?POOL, py_error:format_why(Why), [["\n  ", py_error:printable(Line)] || Line <- Lines]],
               #{pool => ?POOL, why => Why}).

port(Owner, #state{ports = Ports}) ->
    map_get(Owner, Ports).

put_port(Owner, Port, State = #state{ports = Ports}) ->
    State#state{ports = Ports#{Owner => Port}}.

put_unit(Owner, Unit, State) ->
    put_port(Owner, (port(Owner, State))#port{unit = Unit}, State).
