%% @doc A context: one Python interpreter thread with its namespace, as an Erlang process that can be monitored, linked
%% and supervised. It is the context's identity and allots the namespaces of Erlang processes; requests do not pass
%% through it.
-module(py_context).
-behaviour(gen_server).

-include("py_protocol.hrl").
-include("py_route.hrl").

%% API: life.
-export([start_link/2, start_link/3, new/1, stop/1, destroy/1]).
%% API: running Python.
-export([call/4, call/5, call/6, call/7, eval/2, eval/3, eval/4, eval/5, exec/2, exec/3, exec/4, interrupt/1]).
%% API: tasks on its event loop.
-export([submit/4, submit/5, submit_await/4, submit_await/5, submit_await/6]).
-export([start_loop/1, start_loop/2, stop_loop/1, stop_loop/2, loop_ref/1]).
%% API: what it is.
-export([create_local_env/1, get_local_env/1, get_nif_ref/1, get_interp_id/1, is_subinterp/1]).
%% For the pool, requests, py_nif.
-export([start_pooled/2, env/2, why_dead/1, resolve/1]).
%% gen_server.
-export([init_standalone/4, init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-export_type([mode/0, option/0, env/0]).

-type mode() :: worker | owngil.
%% `memory_limit' and `isolation => context' give the context a port process of its own.
-type option() :: #{mode => atom(), memory_limit => pos_integer(), preload => py_args:code(), isolation => pool | context,
                    atom() => term()}.
%% A namespace, from {@link create_local_env/1}.
-type env() :: reference().

-record(state, {
    route :: #route{},
    mode :: mode(),
    handle :: reference(),                   % what get_nif_ref/1 gives
    monitor :: reference(),                  % of py_port
    next_env = 1 :: pos_integer(),
    loop = none :: py_context_loop:loop(),
    %% What each process has here: its own namespace, and those it made by hand.
    owners = #{} :: #{pid() => {Monitor :: reference(), Own :: none | pos_integer(), [{env(), pos_integer()}]}}
}).

-define(STOP_MS, 5000).
-define(STOP_LOOP_MS, 5000).
-define(SUBMIT_MS, 30000).

%% API: life.

-spec start_link(term(), atom()) -> {ok, pid()} | {error, term()}.
start_link(Id, Mode) ->
    start_link(Id, Mode, #{}).

%% @doc A context outside the pools, linked to the caller. `Id' is for the user's own use.
-spec start_link(term(), atom(), option()) -> {ok, pid()} | {error, term()}.
start_link(Id, Mode, Options) ->
    maybe_start(Id, Mode, Options, [link]).

%% @doc The same, not linked.
-spec new(option()) -> {ok, pid()} | {error, term()}.
new(Options) when is_map(Options) ->
    Mode = maps:get(mode, Options, worker),
    maybe_start(new, Mode, maps:remove(mode, Options), []);
new(Options) ->
    error({bad_argument, options, Options}).

maybe_start(Id, Mode, Options, Link) ->
    case py_pool_options:context(Mode, Options) of
        {ok, Spec} when Link =:= [link] -> proc_lib:start_link(?MODULE, init_standalone, [self(), Id, Spec, Link]);
        {ok, Spec} -> proc_lib:start(?MODULE, init_standalone, [self(), Id, Spec, Link]);
        {error, _} = Error -> Error
    end.

%% @doc Stops the context; requests in it are answered `{error, {context_died, stopped}}'.
-spec stop(pid()) -> ok.
stop(Ctx) ->
    try gen_server:stop(Ctx, normal, infinity) of
        ok -> ok
    catch
        exit:_ -> ok
    end.

-spec destroy(pid()) -> ok.
destroy(Ctx) ->
    stop(Ctx).

%% API: running Python. Without a namespace these run in the shared one of the context.

-spec call(pid(), py_args:name(), py_args:name(), [term()]) -> {ok, term()} | {error, term()}.
call(Ctx, M, F, Args) ->
    call(Ctx, M, F, Args, #{}, infinity, shared).

-spec call(pid(), py_args:name(), py_args:name(), [term()], py_args:named() | env()) -> {ok, term()} | {error, term()}.
call(Ctx, M, F, Args, Env) when is_reference(Env) ->
    call(Ctx, M, F, Args, #{}, infinity, Env);
call(Ctx, M, F, Args, Kwargs) ->
    call(Ctx, M, F, Args, Kwargs, infinity, shared).

-spec call(pid(), py_args:name(), py_args:name(), [term()], py_args:named(), timeout() | env()) ->
    {ok, term()} | {error, term()}.
call(Ctx, M, F, Args, Kwargs, Env) when is_reference(Env) ->
    call(Ctx, M, F, Args, Kwargs, infinity, Env);
call(Ctx, M, F, Args, Kwargs, Timeout) ->
    call(Ctx, M, F, Args, Kwargs, Timeout, shared).

-spec call(pid(), py_args:name(), py_args:name(), [term()], py_args:named(), timeout(), env() | shared) ->
    {ok, term()} | {error, term()}.
call(Ctx, M, F, Args, Kwargs, Timeout, Env) ->
    run(Ctx, py_args:operation(M, F, Args, Kwargs), Timeout, Env).

-spec eval(pid(), py_args:code()) -> {ok, term()} | {error, term()}.
eval(Ctx, Expr) ->
    eval(Ctx, Expr, #{}, infinity, shared).

-spec eval(pid(), py_args:code(), py_args:named() | env()) -> {ok, term()} | {error, term()}.
eval(Ctx, Expr, Env) when is_reference(Env) ->
    eval(Ctx, Expr, #{}, infinity, Env);
eval(Ctx, Expr, Locals) ->
    eval(Ctx, Expr, Locals, infinity, shared).

-spec eval(pid(), py_args:code(), py_args:named(), timeout() | env()) -> {ok, term()} | {error, term()}.
eval(Ctx, Expr, Locals, Env) when is_reference(Env) ->
    eval(Ctx, Expr, Locals, infinity, Env);
eval(Ctx, Expr, Locals, Timeout) ->
    eval(Ctx, Expr, Locals, Timeout, shared).

-spec eval(pid(), py_args:code(), py_args:named(), timeout(), env() | shared) -> {ok, term()} | {error, term()}.
eval(Ctx, Expr, Locals, Timeout, Env) ->
    run(Ctx, py_args:eval(Expr, Locals), Timeout, Env).

-spec exec(pid(), py_args:code()) -> ok | {error, term()}.
exec(Ctx, Code) ->
    exec(Ctx, Code, infinity, shared).

-spec exec(pid(), py_args:code(), timeout() | env()) -> ok | {error, term()}.
exec(Ctx, Code, Env) when is_reference(Env) ->
    exec(Ctx, Code, infinity, Env);
exec(Ctx, Code, Timeout) ->
    exec(Ctx, Code, Timeout, shared).

-spec exec(pid(), py_args:code(), timeout(), env() | shared) -> ok | {error, term()}.
exec(Ctx, Code, Timeout, Env) ->
    run(Ctx, py_args:exec(Code), Timeout, Env).

run(Ctx, Operation, Timeout, shared) ->
    py_request:run({env, Ctx, 0}, Operation, 0, py_args:timeout(Timeout));
run(Ctx, Operation, Timeout, Env) ->
    case py_tables:handle(Env) of
        {Ctx, Id} -> py_request:run({env, Ctx, Id}, Operation, 0, py_args:timeout(Timeout));
        {_OtherContext, _} -> error({bad_argument, env, Env});
        gone -> {error, {context_died, why_dead(Ctx)}}
    end.

%% @doc Interrupts what the context is running: that request returns `{error, interrupted}'.
-spec interrupt(pid()) -> ok | not_running | {error, term()}.
interrupt(Ctx) ->
    case py_tables:route(Ctx) of
        #route{owner = Owner, port = Port, id = Id} ->
            Alias = py_port:control(Owner, Port, fun(Alias) -> py_protocol:interrupt(Alias, Id) end),
            receive
                {py_reply, Alias, Payload} ->
                    case py_protocol:decode(Payload) of
                        {ok, Answer} -> Answer;
                        Other -> Other
                    end;
                {'DOWN', Alias, process, _, Reason} ->
                    {error, {context_died, py_port:why(Reason)}}
            end;
        gone ->
            {error, {context_died, why_dead(Ctx)}}
    end.

%% API: tasks on its event loop. They run in the shared namespace, and are cancelled when the calling process dies.

%% @doc Calls a function, and awaits what it returns if it is a coroutine. The result comes as
%% `{async_result, Ref, Result}', or is fetched with py_event_loop:await/1,2; py:cancel/1 ends it.
-spec submit(pid(), py_args:name(), py_args:name(), [term()]) -> {ok, reference()}.
submit(Ctx, M, F, Args) ->
    submit(Ctx, M, F, Args, #{}).

-spec submit(pid(), py_args:name(), py_args:name(), [term()], py_args:named()) -> {ok, reference()}.
submit(Ctx, M, F, Args, Kwargs) when is_pid(Ctx) ->
    {ok, py_async:start({{env, Ctx, 0}, py_args:operation(M, F, Args, Kwargs), 0, infinity})}.

%% @doc The same, and waits for the result. The task has 30 seconds.
-spec submit_await(pid(), py_args:name(), py_args:name(), [term()]) -> {ok, term()} | {error, term()}.
submit_await(Ctx, M, F, Args) ->
    submit_await(Ctx, M, F, Args, #{}).

-spec submit_await(pid(), py_args:name(), py_args:name(), [term()], py_args:named()) -> {ok, term()} | {error, term()}.
submit_await(Ctx, M, F, Args, Kwargs) ->
    submit_await(Ctx, M, F, Args, Kwargs, ?SUBMIT_MS).

-spec submit_await(pid(), py_args:name(), py_args:name(), [term()], py_args:named(), timeout()) ->
    {ok, term()} | {error, term()}.
submit_await(Ctx, M, F, Args, Kwargs, Timeout) when is_pid(Ctx) ->
    Request = {{env, Ctx, 0}, py_args:operation(M, F, Args, Kwargs), 0, py_args:timeout(Timeout)},
    py_async:await(py_async:start(Request), infinity).

%% @doc Makes the calling process the owner of the context's event loop: it gets `{py_loop_exit, Ctx, Result}' when the
%% loop ends, for whatever reason, and when it dies the loop is stopped. The loop itself runs whenever there is a task,
%% started or not.
-spec start_loop(pid()) -> ok | {error, loop_running | {context_died, term()}}.
start_loop(Ctx) ->
    start_loop(Ctx, #{}).

%% @doc For another owner.
-spec start_loop(pid(), #{owner => pid()}) -> ok | {error, loop_running | {context_died, term()}}.
start_loop(Ctx, Options) when is_map(Options) ->
    case maps:to_list(Options) of
        [] -> ask(Ctx, {start_loop, self()});
        [{owner, Owner}] when is_pid(Owner) -> ask(Ctx, {start_loop, Owner});
        _ -> error({bad_argument, options, Options})
    end.

%% @doc Cancels all tasks of the context and closes what its loop serves; returns when they have ended. What has not
%% within the time, 5 seconds by default, is interrupted; `{error, timeout}' when that does not help either.
-spec stop_loop(pid()) -> ok | {error, no_loop | timeout | {context_died, term()}}.
stop_loop(Ctx) ->
    stop_loop(Ctx, ?STOP_LOOP_MS).

-spec stop_loop(pid(), timeout()) -> ok | {error, no_loop | timeout | {context_died, term()}}.
stop_loop(Ctx, Timeout) ->
    ask(Ctx, {stop_loop, py_args:timeout(Timeout)}).

%% @doc What tells one start of the loop from another.
-spec loop_ref(pid()) -> {ok, reference()} | {error, no_loop | {context_died, term()}}.
loop_ref(Ctx) ->
    ask(Ctx, loop_ref).

%% API: what it is.

%% @doc A new namespace. It lives as long as the calling process.
-spec create_local_env(pid()) -> {ok, env()} | {error, term()}.
create_local_env(Ctx) ->
    ask(Ctx, {create_env, self()}).

%% @doc The calling process's own namespace, as {@link create_local_env/1} gives it.
-spec get_local_env(pid()) -> env().
get_local_env(Ctx) ->
    {ok, Env} = py_env:local(Ctx),
    {ok, Handle} = gen_server:call(Ctx, {env_handle, py_chain:starter(py_env:caller()), Env}, infinity),
    Handle.

%% @doc The context as py_nif knows it.
-spec get_nif_ref(pid()) -> reference().
get_nif_ref(Ctx) ->
    gen_server:call(Ctx, handle, infinity).

%% @doc The interpreter that it runs in: 0 is the main interpreter, which all worker contexts of a port process share.
-spec get_interp_id(pid()) -> {ok, non_neg_integer()} | {error, term()}.
get_interp_id(Ctx) ->
    ask(Ctx, interp_id).

-spec is_subinterp(pid()) -> boolean().
is_subinterp(Ctx) ->
    gen_server:call(Ctx, is_subinterp, infinity).

ask(Ctx, Request) ->
    try
        gen_server:call(Ctx, Request, infinity)
    catch
        exit:_ -> {error, {context_died, why_dead(Ctx)}}
    end.

%% For the pool, requests, py_nif.

%% @doc For py_context_sup: the context exists in the port already. `Route' lacks only the pid.
-spec start_pooled(#route{}, mode()) -> gen_server:start_ret().
start_pooled(Route, Mode) ->
    gen_server:start_link(?MODULE, {Route, Mode}, []).

%% @doc The namespace of its own that a process has in this context. It lives as long as the process.
-spec env(pid(), pid()) -> {ok, pos_integer()} | {error, gone}.
env(Ctx, Pid) ->
    try
        gen_server:call(Ctx, {env, Pid}, infinity)
    catch
        exit:_ -> {error, gone}
    end.

%% @doc What a context died of. One that is about to die is waited for: its port process is gone already.
-spec why_dead(pid()) -> term().
why_dead(Ctx) ->
    case py_tables:why_dead(Ctx) of
        unknown ->
            case proc_lib:translate_initial_call(Ctx) of
                {?MODULE, _, _} -> await_death(Ctx);
                _ -> stopped
            end;
        Why -> Why
    end.

await_death(Ctx) ->
    Monitor = monitor(process, Ctx),
    receive
        {'DOWN', Monitor, process, _, {shutdown, {context_died, Why}}} -> Why;
        {'DOWN', Monitor, process, _, _} -> known(py_tables:why_dead(Ctx))
    after ?STOP_MS ->
        demonitor(Monitor, [flush]),
        stopped
    end.

known(unknown) -> stopped;
known(Why) -> Why.

%% @doc The context and the namespace that a handle stands for.
-spec resolve(reference()) -> {pid(), non_neg_integer()} | gone.
resolve(Handle) ->
    py_tables:handle(Handle).

%% Start.

%% Not gen_server:start_link: an error must not reach the caller as an exit signal as well.
-spec init_standalone(pid(), term(), map(), list()) -> no_return().
init_standalone(Parent, Id, Spec, Link) ->
    put('$py_context_id', Id),
    case py_standalone:attach(Spec) of
        {ok, Route, Mode} ->
            {ok, State} = init({Route, Mode}),
            proc_lib:init_ack(Parent, {ok, self()}),
            gen_server:enter_loop(?MODULE, [], State);
        {error, _} = Error ->
            _ = [unlink(Parent) || Link =:= [link]],
            proc_lib:init_ack(Parent, Error),
            exit(normal)
    end.

-spec init({#route{}, mode()}) -> {ok, #state{}}.
init({Route0 = #route{owner = Owner}, Mode}) ->
    %% So that terminate/2 runs for whatever ends it but `kill', which the pool sees to.
    process_flag(trap_exit, true),
    Route = Route0#route{ctx = self()},
    Handle = make_ref(),
    ok = py_tables:add_handle(Handle, self(), 0),
    ok = py_tables:add_context(Route),
    ok = py_homes:add_context(Route),
    {ok, #state{route = Route, mode = Mode, handle = Handle, monitor = monitor(process, Owner)}}.

%% gen_server.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call({env, Pid}, _From, State = #state{owners = Owners, route = Route}) ->
    case Owners of
        #{Pid := {_, Own, _}} when is_integer(Own) ->
            {reply, {ok, Own}, State};
        _ ->
            {Monitor, none, Made} = maps:get(Pid, Owners, {none, none, []}),
            {Env, Next} = allot(State),
            ok = py_homes:add_env(Pid, Route#route{env = Env}),
            {reply, {ok, Env}, Next#state{owners = Owners#{Pid => {watch(Monitor, Pid), Env, Made}}}}
    end;
handle_call({create_env, Pid}, _From, State) ->
    {Env, Next} = allot(State),
    give_handle(Pid, Env, Next);
handle_call({env_handle, Pid, Env}, _From, State = #state{owners = Owners}) ->
    %% In a chain it may have been made by somebody else, with whom it goes.
    case lists:keyfind(Env, 2, lists:append([Made || {_, _, Made} <- maps:values(Owners)])) of
        {Handle, _} -> {reply, {ok, Handle}, State};
        false -> give_handle(Pid, Env, State)
    end;
handle_call({start_loop, Owner}, _From, State = #state{loop = Loop}) ->
    {Answer, Started} = py_context_loop:start(Owner, Loop),
    {reply, Answer, State#state{loop = Started}};
handle_call({stop_loop, Timeout}, From, State = #state{loop = Loop}) ->
    case py_context_loop:stop(self(), Timeout, From, Loop) of
        {noreply, Stopping} -> {noreply, State#state{loop = Stopping}};
        {Error, Same} -> {reply, Error, State#state{loop = Same}}
    end;
handle_call(loop_ref, _From, State = #state{loop = Loop}) ->
    {reply, py_context_loop:ref(Loop), State};
handle_call(handle, _From, State = #state{handle = Handle}) ->
    {reply, Handle, State};
handle_call(interp_id, _From, State = #state{mode = worker}) ->
    {reply, {ok, 0}, State};
handle_call(interp_id, _From, State = #state{route = #route{id = Id}}) ->
    {reply, {ok, Id}, State};
handle_call(is_subinterp, _From, State = #state{mode = Mode}) ->
    {reply, Mode =:= owngil, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({'DOWN', Monitor, process, _, Reason}, State = #state{monitor = Monitor}) ->
    {stop, {shutdown, {context_died, py_port:why(Reason)}}, State};
handle_info({'DOWN', _, process, Pid, _} = Down, State = #state{loop = Loop}) ->
    case py_context_loop:handle(Down, self(), Loop) of
        {ok, Next} -> {noreply, State#state{loop = Next}};
        ignored -> {noreply, drop_owner(Pid, State)}
    end;
handle_info({'EXIT', _, normal}, State) ->
    {noreply, State};
handle_info({'EXIT', _, Reason}, State) ->
    {stop, Reason, State};
handle_info(_Message, State) ->
    {noreply, State}.

drop_owner(Pid, State = #state{owners = Owners, route = Route}) ->
    {{_, Own, Made}, Rest} = maps:take(Pid, Owners),
    ok = py_homes:remove_env(Pid, Route),
    lists:foreach(fun({Handle, _}) -> py_tables:remove_handle(Handle) end, Made),
    lists:foreach(fun(Env) -> drop_env(Env, State) end,
                  lists:usort([Own || Own =/= none] ++ [Env || {_, Env} <- Made])),
    State#state{owners = Rest}.

%% Everybody who looks for it finds it gone, and why, before it is.
-spec terminate(term(), #state{}) -> ok.
terminate(Reason, State = #state{route = #route{owner = Owner, port = Port, id = Id}, handle = Handle, owners = Owners}) ->
    ok = py_tables:remove_context(self(), py_port:why(Reason)),
    ok = py_context_loop:context_died(self(), py_port:why(Reason), State#state.loop),
    ok = py_homes:remove_context(self()),
    ok = py_tables:remove_handle(Handle),
    _ = [py_tables:remove_handle(Made) || {_, _, Handles} <- maps:values(Owners), {Made, _} <- Handles],
    case Reason of
        {shutdown, {context_died, _}} -> ok;
        _ -> await_stop(py_port:stop_context(Owner, Port, Id))
    end.

%% A context thread may be in a C call that does not end; the port answers what it ran and lets go of it.
await_stop(Alias) ->
    receive
        {py_reply, Alias, _} -> ok;
        {'DOWN', Alias, process, _, _} -> ok
    after ?STOP_MS ->
        demonitor(Alias, [flush]),
        ok
    end.

allot(State = #state{next_env = Env}) ->
    {Env, State#state{next_env = Env + 1}}.

watch(none, Pid) -> monitor(process, Pid);
watch(Monitor, _Pid) -> Monitor.

give_handle(Pid, Env, State = #state{owners = Owners}) ->
    {Monitor, Own, Made} = maps:get(Pid, Owners, {none, none, []}),
    Handle = make_ref(),
    ok = py_tables:add_handle(Handle, self(), Env),
    {reply, {ok, Handle}, State#state{owners = Owners#{Pid => {watch(Monitor, Pid), Own, [{Handle, Env} | Made]}}}}.

drop_env(Env, #state{route = #route{port = Port, id = Id}}) ->
    try erlang:port_command(Port, py_protocol:drop_env(Id, Env)) of
        true -> ok
    catch
        error:badarg -> ok
    end.
