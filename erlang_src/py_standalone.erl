%% @doc Contexts that users start themselves: the pool `contexts', whose port process starts with the first of them and
%% ends with its own death only. One with limits of its own, or `isolation => context', gets a port process to itself.
%%
%% Nothing is started again here: that is for the supervisors of the contexts.
-module(py_standalone).
-behaviour(gen_server).

-include_lib("kernel/include/logger.hrl").
-include("py_route.hrl").

%% API.
-export([start_link/1, attach/1]).
%% gen_server.
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-define(POOL, contexts).

-record(wish, {from :: gen_server:from(), mode :: worker | owngil, preload :: [binary()]}).
-record(port, {
    shared :: boolean(),
    info = starting :: starting | map(),
    next_id = 1 :: pos_integer(),
    wishes = [] :: [#wish{}],                                    % until it is ready; newest first
    pending = #{} :: #{reference() => {#wish{}, #route{}}},
    contexts = #{} :: #{reference() => {pid(), #route{}}}        % by the monitor on the context
}).
-record(state, {
    sup :: pid(),
    ports_sup = none :: none | pid(),
    ports = #{} :: #{pid() => #port{}},
    calls :: counters:counters_ref()
}).

%% API.

-spec start_link(pid()) -> gen_server:start_ret().
start_link(Sup) ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, Sup, []).

%% @doc Makes a context for the calling process, which is its py_context.
-spec attach(py_pool_options:spec()) -> {ok, #route{}, worker | owngil} | {error, term()}.
attach(Spec) ->
    gen_server:call(?MODULE, {attach, Spec}, infinity).

%% gen_server.

-spec init(pid()) -> {ok, #state{}, {continue, find}}.
init(Sup) ->
    process_flag(trap_exit, true),
    ok = py_tables:add_pool(?POOL, #{size => 0, mode => worker, isolation => pool, python => #{}}),
    {ok, #state{sup = Sup, calls = counters:new(1, [])}, {continue, find}}.

-spec handle_continue(find, #state{}) -> {noreply, #state{}}.
handle_continue(find, State = #state{sup = Sup}) ->
    {_, Ports, _, _} = lists:keyfind(py_port_sup, 1, supervisor:which_children(Sup)),
    {noreply, State#state{ports_sup = Ports}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call({attach, Spec = #{mode := Mode, isolation := Isolation}}, From, State) ->
    Wish = #wish{from = From, mode = Mode, preload = own_preload(Spec)},
    case {Isolation, shared(State)} of
        {pool, {Owner, Port}} -> {noreply, put_port(Owner, grant(Wish, Owner, Port), State)};
        {pool, none} -> start(true, shared_spec(Spec), Wish, State);
        {context, _} -> start(false, without_own_preload(Spec), Wish, State)
    end;
handle_call({await, _}, _From, State) ->
    {reply, {error, {no_such_pool, ?POOL}}, State};
handle_call({await_start, _}, _From, State) ->
    {reply, {ok, []}, State};
handle_call(info, _From, State = #state{calls = Calls, ports = Ports}) ->
    {reply, #{calls => counters:get(Calls, 1), spec => #{},
              units => [{Owner, ready(Info), up} || {Owner, #port{info = Info}} <- maps:to_list(Ports)]}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({py_port, Owner, {ready, Info}}, State = #state{ports = Ports}) ->
    case Ports of
        #{Owner := Port = #port{wishes = Wishes}} ->
            Ready = Port#port{info = Info, wishes = []},
            Granted = lists:foldr(fun(Wish, Acc) -> grant(Wish, Owner, Acc) end, Ready, Wishes),
            {noreply, put_port(Owner, Granted, State)};
        _ ->
            {noreply, State}
    end;
handle_info({py_port, _Owner, {died, Why, Lines}}, State) ->
    log_death(Why, Lines),
    {noreply, State};
handle_info({py_reply, Alias, Payload}, State = #state{ports = Ports}) ->
    case [{Owner, Port} || {Owner, Port = #port{pending = #{Alias := _}}} <- maps:to_list(Ports)] of
        [{Owner, Port}] -> {noreply, answered(Alias, py_protocol:decode(Payload), Owner, Port, State)};
        [] -> {noreply, State}
    end;
handle_info({'DOWN', Monitor, process, Pid, Reason}, State = #state{ports = Ports}) ->
    case Ports of
        #{Pid := Port} ->
            {noreply, port_down(Reason, Port, State#state{ports = maps:remove(Pid, Ports)})};
        _ ->
            case [{Owner, Port} || {Owner, Port = #port{contexts = #{Monitor := _}}} <- maps:to_list(Ports)] of
                [{Owner, Port}] -> {noreply, context_down(Monitor, Reason, Owner, Port, State)};
                [] -> {noreply, State}
            end
    end;
handle_info(_Message, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{ports = Ports}) ->
    ok = py_tables:remove_pool(?POOL),
    lists:foreach(fun py_port:stop/1, maps:keys(Ports)).

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
    Options = #{
        pool => ?POOL,
        manager => self(),
        executable => py_config:executable(),
        config => py_pool_options:config(Spec, py_config:package_path()),
        env => maps:get(env, Spec),
        cwd => maps:get(cwd, Spec),
        grace => maps:get(hard_timeout_grace, Spec),
        max_requests => infinity,
        calls => Calls},
    case py_port_sup:start_port(Sup, Options) of
        {ok, Owner} ->
            _ = monitor(process, Owner),
            {noreply, put_port(Owner, #port{shared = Shared, wishes = [Wish]}, State)};
        {error, _} = Error ->
            {reply, Error, State}
    end.

grant(Wish, _Owner, Port = #port{info = starting, wishes = Wishes}) ->
    Port#port{wishes = [Wish | Wishes]};
grant(Wish = #wish{mode = Mode, preload = Preload}, Owner, Port = #port{info = #{port := P}, next_id = Id, pending = Pending}) ->
    [Tag] = py_semaphore:open_tags(Owner, 1),
    Route = #route{ctx = self(), port = P, owner = Owner, id = Id, tag = Tag, pool = ?POOL},
    Alias = py_port:new_context(Owner, P, Id, Mode, Preload),
    Port#port{next_id = Id + 1, pending = Pending#{Alias => {Wish, Route}}}.

answered(Alias, Answer, Owner, Port = #port{pending = Pending, contexts = Contexts}, State) ->
    {{Wish = #wish{from = {Ctx, _} = From, mode = Mode}, Route = #route{tag = Tag}}, Rest} = maps:take(Alias, Pending),
    Left = Port#port{pending = Rest},
    case Answer of
        {error, _} = Error ->
            gen_server:reply(From, Error),
            ok = py_semaphore:close_tag(Tag),
            put_port(Owner, end_if_own(Owner, Left), State);
        {ok, _} ->
            answered(Alias, ok, Owner, Port#port{pending = Pending#{Alias => {Wish, Route}}}, State);
        ok ->
            gen_server:reply(From, {ok, Route, Mode}),
            put_port(Owner, Left#port{contexts = Contexts#{monitor(process, Ctx) => {Ctx, Route}}}, State)
    end.

%% A port process that was started for one context goes with it.
end_if_own(Owner, Port = #port{shared = false}) ->
    _ = spawn(fun() -> py_port:stop(Owner) end),
    Port;
end_if_own(_Owner, Port) ->
    Port.

context_down(Monitor, Reason, Owner, Port = #port{contexts = Contexts}, State) ->
    {{Ctx, #route{port = P, id = Id, tag = Tag}}, Rest} = maps:take(Monitor, Contexts),
    _ = case Reason of
        killed ->
            ok = py_tables:remove_killed_context(Ctx),
            py_port:stop_context(Owner, P, Id);
        _ ->
            ok
    end,
    ok = py_semaphore:close_tag(Tag),
    put_port(Owner, end_if_own(Owner, Port#port{contexts = Rest}), State).

port_down(Reason, #port{wishes = Wishes, pending = Pending}, State) ->
    Error = {error, case py_port:why(Reason) of
        {start_failed, Cause} -> Cause;
        Why -> {context_died, Why}
    end},
    lists:foreach(fun(#wish{from = From}) -> gen_server:reply(From, Error) end,
                  Wishes ++ [Wish || {Wish, _} <- maps:values(Pending)]),
    State.

log_death(stopped, _Lines) ->
    ok;
log_death(Why, Lines) ->
    ?LOG_ERROR("pool ~ts: a port process died: ~ts~ts",
               [?POOL, py_error:format_why(Why), [["\n  ", py_error:printable(Line)] || Line <- Lines]],
               #{pool => ?POOL, why => Why}).

ready(starting) -> #{};
ready(Info) -> Info.

put_port(Owner, Port, State = #state{ports = Ports}) ->
    State#state{ports = Ports#{Owner => Port}}.
