%% @doc A context: one Python interpreter thread with its namespace, as an Erlang process that can be monitored, linked
%% and supervised. It is the context's identity and allots the namespaces of Erlang processes; requests do not pass
%% through it.
-module(py_context).
-behaviour(gen_server).

-include("py_protocol.hrl").
-include("py_route.hrl").
-include("py_unexpected.hrl").

%% API: life.
-export([child_spec/1, start_link/2, start_link/3, new/1, stop/1, destroy/1]).
%% API: running Python.
-export([call/4, call/5, call/6, call/7, eval/2, eval/3, eval/4, eval/5, exec/2, exec/3, exec/4, interrupt/1]).
%% API: tasks on its event loop.
-export([submit/4, submit/5, submit_await/4, submit_await/5, submit_await/6]).
-export([start_loop/1, start_loop/2, stop_loop/1, stop_loop/2, loop_ref/1]).
%% API: what it is.
-export([create_local_env/1, get_local_env/1, get_nif_ref/1, get_interp_id/1, is_subinterp/1]).
%% For the pool, requests, py_nif.
-export([start_pooled/2, env/2, gone/1, resolve/1]).
%% gen_server.
-export([init_standalone/4, init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-export_type([mode/0, option/0, env/0, gone/0]).

-type mode() :: worker | owngil.
%% `memory_limit' and `isolation => context' give the context a port process of its own.
-type option() :: #{mode => atom(), memory_limit => pos_integer(), preload => py_args:code(), isolation => pool | context,
                    atom() => term()} | [{atom(), term()}].
%% A namespace, from {@link create_local_env/1}.
-type env() :: reference().
-type gone() :: py_context_search:gone().

-record(state, {
    route :: #route{},
    mode :: mode(),
    handle :: reference(),                   % what get_nif_ref/1 gives
    monitor :: reference(),                  % of py_port
    envs :: py_context_envs:envs(),
    loop = none :: py_context_loop:loop()
}).

-define(STOP_MS, 5000).
%% More than the context takes to stop.
-define(SHUTDOWN_MS, 10000).
-define(STOP_LOOP_MS, 5000).
-define(SUBMIT_MS, 30000).

-define(IS_TIMEOUT(Timeout), (Timeout =:= infinity orelse (is_integer(Timeout) andalso Timeout >= 0 andalso Timeout =< 16#ffffffff))).

%% API: life.

%% @doc A context as a child of your own supervisor: `#{id => model, mode => worker}', and the options of {@link new/1}.
-spec child_spec(option()) -> supervisor:child_spec().
child_spec(Given) ->
    Options = py_args:map(options, Given),
    Id = maps:get(id, Options, ?MODULE),
    #{id => Id,
      start => {?MODULE, start_link, [Id, maps:get(mode, Options, worker), maps:without([id, mode], Options)]},
      shutdown => ?SHUTDOWN_MS}.

-spec start_link(term(), atom()) -> {ok, pid()} | {error, term()}.
start_link(Id, Mode) ->
    start_link(Id, Mode, #{}).

%% @doc A context outside the pools, linked to the caller. `Id' is for the user's own use.
-spec start_link(term(), atom(), option()) -> {ok, pid()} | {error, term()}.
start_link(Id, Mode, Options) ->
    start(Id, Mode, py_args:map(options, Options), [link]).

%% @doc The same, not linked.
-spec new(option()) -> {ok, pid()} | {error, term()}.
new(Given) ->
    Options = py_args:map(options, Given),
    start(new, maps:get(mode, Options, worker), maps:remove(mode, Options), []).

start(Id, Mode, Options, Link) ->
    case py_pool_options:context(Mode, Options) of
        {ok, _} when Link =:= [link] -> proc_lib:start_link(?MODULE, init_standalone, [self(), Id, {Mode, Options}, Link]);
        {ok, _} -> proc_lib:start(?MODULE, init_standalone, [self(), Id, {Mode, Options}, Link]);
        {error, _} = Error -> Error
    end.

%% @doc Stops the context, and returns when Python has ended there (pool option `shutdown_grace'); requests in it are
%% answered `{error, {context_died, stopped}}'. One that is dead is no error,
%% a process that is no context is.
-spec stop(pid()) -> ok | {error, {no_such_context, pid()}}.
stop(Ctx) ->
    case py_context_search:find(Ctx) of
        ours ->
            Route = py_tables:route(Ctx),
            _ = try gen_server:stop(Ctx, normal, infinity)
            catch
                exit:_ -> ok
            end,
            case Route of
                #route{pool = contexts, owner = Owner} -> py_standalone:await_end(Owner);
                _ -> ok
            end;
        {error, {no_such_context, _}} = Error -> Error;
        {error, _Dead} -> ok
    end.

-spec destroy(pid()) -> ok | {error, {no_such_context, pid()}}.
destroy(Ctx) ->
    stop(Ctx).

%% API: running Python. Without a namespace these run in the shared one of the context.

-spec call(pid(), py_args:name(), py_args:name(), [term()]) -> py:result().
call(Ctx, M, F, Args) -> call(Ctx, M, F, Args, #{}, infinity, shared).

-spec call(pid(), py_args:name(), py_args:name(), [term()], py_args:named() | env()) -> py:result().
call(Ctx, M, F, Args, Env) when is_reference(Env) -> call(Ctx, M, F, Args, #{}, infinity, Env);
call(Ctx, M, F, Args, Kwargs) -> call(Ctx, M, F, Args, Kwargs, infinity, shared).

-spec call(pid(), py_args:name(), py_args:name(), [term()], py_args:named(), py_call:timeout_or_options() | env()) ->
    py:result().
call(Ctx, M, F, Args, Kwargs, Env) when is_reference(Env) -> call(Ctx, M, F, Args, Kwargs, infinity, Env);
call(Ctx, M, F, Args, Kwargs, Last) -> call(Ctx, M, F, Args, Kwargs, Last, shared).

-spec call(pid(), py_args:name(), py_args:name(), [term()], py_args:named(), py_call:timeout_or_options(), env() | shared) ->
    py:result().
call(Ctx, M, F, Args, Kwargs, Last, Env) ->
    py_call:run(py_call:local(Ctx, Env, py_args:operation(M, F, Args, Kwargs), Last)).

-spec eval(pid(), py_args:code()) -> py:result().
eval(Ctx, Expr) -> eval(Ctx, Expr, #{}, infinity, shared).

-spec eval(pid(), py_args:code(), py_args:named() | env()) -> py:result().
eval(Ctx, Expr, Env) when is_reference(Env) -> eval(Ctx, Expr, #{}, infinity, Env);
eval(Ctx, Expr, Locals) -> eval(Ctx, Expr, Locals, infinity, shared).

-spec eval(pid(), py_args:code(), py_args:named(), py_call:timeout_or_options() | env()) -> py:result().
eval(Ctx, Expr, Locals, Env) when is_reference(Env) -> eval(Ctx, Expr, Locals, infinity, Env);
eval(Ctx, Expr, Locals, Last) -> eval(Ctx, Expr, Locals, Last, shared).

-spec eval(pid(), py_args:code(), py_args:named(), py_call:timeout_or_options(), env() | shared) -> py:result().
eval(Ctx, Expr, Locals, Last, Env) ->
    py_call:run(py_call:local(Ctx, Env, py_args:eval(Expr, Locals), Last)).

-spec exec(pid(), py_args:code()) -> ok | {error, term()}.
exec(Ctx, Code) -> exec(Ctx, Code, infinity, shared).

-spec exec(pid(), py_args:code(), py_call:timeout_or_options() | env()) -> ok | {error, term()}.
exec(Ctx, Code, Env) when is_reference(Env) -> exec(Ctx, Code, infinity, Env);
exec(Ctx, Code, Last) -> exec(Ctx, Code, Last, shared).

-spec exec(pid(), py_args:code(), py_call:timeout_or_options(), env() | shared) -> ok | {error, term()}.
exec(Ctx, Code, Last, Env) ->
    py_call:run(py_call:local(Ctx, Env, py_args:exec(Code), Last)).

%% @doc Interrupts what the context is running: that request returns `{error, interrupted}'.
-spec interrupt(pid()) -> ok | not_running | {error, term()}.
interrupt(Ctx) ->
    case py_started:result(fun() -> py_tables:route(Ctx) end) of
        #route{owner = Owner, port = Port, id = Id} ->
            Alias = py_port:control(Owner, Port, fun(Alias) -> py_protocol:interrupt(Alias, Id) end),
            receive
                {py_reply, Alias, Payload} ->
                    case py_protocol:decode(Payload) of
                        {ok, Answer} when Answer =:= ok; Answer =:= not_running -> Answer;
                        {error, Why} when not is_tuple(Why); element(1, Why) =/= bad_reply -> {error, Why};
                        _ -> py_port:violated(Owner, <<"an answer to an interrupt that is none">>)
                    end;
                {'DOWN', Alias, process, _, Reason} -> {error, {context_died, py_port:why(Reason)}}
            end;
        gone ->
            gone(Ctx);
        {error, _} = NotStarted ->
            NotStarted
    end.

%% API: tasks on its event loop. They run in the shared namespace, and are cancelled when the calling process dies.

%% @doc Calls a function, and awaits what it returns if it is a coroutine. The result comes as
%% `{async_result, Ref, Result}', or is fetched with py_event_loop:await/1,2; py:cancel/1 ends it.
-spec submit(pid(), py_args:name(), py_args:name(), [term()]) -> {ok, reference()}.
submit(Ctx, M, F, Args) -> submit(Ctx, M, F, Args, #{}).

-spec submit(pid(), py_args:name(), py_args:name(), [term()], py_args:named()) -> {ok, reference()}.
submit(Ctx, M, F, Args, Kwargs) ->
    {ok, py_async:start(py_call:local(Ctx, shared, py_args:operation(M, F, Args, Kwargs), infinity))}.

%% @doc The same, and waits for the result. The task has 30 seconds.
-spec submit_await(pid(), py_args:name(), py_args:name(), [term()]) -> py:result().
submit_await(Ctx, M, F, Args) -> submit_await(Ctx, M, F, Args, #{}).

-spec submit_await(pid(), py_args:name(), py_args:name(), [term()], py_args:named()) -> py:result().
submit_await(Ctx, M, F, Args, Kwargs) -> submit_await(Ctx, M, F, Args, Kwargs, ?SUBMIT_MS).

-spec submit_await(pid(), py_args:name(), py_args:name(), [term()], py_args:named(), py_call:timeout_or_options()) ->
    py:result().
submit_await(Ctx, M, F, Args, Kwargs, Last) ->
    py_async:run(py_call:local(Ctx, shared, py_args:operation(M, F, Args, Kwargs), Last)).

%% @doc Makes the calling process the owner of the context's event loop: it gets `{py_loop_exit, Ctx, Result}' when the
%% loop ends, for whatever reason (`{ok, <<"stopped">>}', or an error), and when it dies the loop is stopped. The loop itself runs whenever there is a task,
%% started or not.
-spec start_loop(pid()) -> ok | {error, already_running | gone()}.
start_loop(Ctx) ->
    start_loop(Ctx, #{}).

%% @doc For another owner.
-spec start_loop(pid(), #{owner => pid()} | [{owner, pid()}]) -> ok | {error, already_running | gone()}.
start_loop(Ctx, Given) ->
    case py_args:map(options, Given) of
        Options when map_size(Options) =:= 0 -> ask(Ctx, {start_loop, self()});
        Options = #{owner := Owner} when map_size(Options) =:= 1, is_pid(Owner) -> ask(Ctx, {start_loop, Owner});
        Options -> error({bad_argument, options, Options})
    end.

%% @doc Cancels all tasks of the context and closes what its loop serves; returns when they have ended. What has not
%% within the time, 5 seconds by default, is interrupted; `{error, timeout}' when that does not help either.
-spec stop_loop(pid()) -> ok | {error, no_loop | timeout | gone()}.
stop_loop(Ctx) ->
    stop_loop(Ctx, ?STOP_LOOP_MS).

-spec stop_loop(pid(), timeout()) -> ok | {error, no_loop | timeout | gone()}.
stop_loop(Ctx, Timeout) ->
    ask(Ctx, {stop_loop, py_args:timeout(Timeout)}).

%% @doc The context's event loop as py_event_loop knows it, started or not, as long as the context lives.
-spec loop_ref(pid()) -> {ok, reference()} | {error, gone()}.
loop_ref(Ctx) ->
    ask(Ctx, handle).

%% API: what it is.

%% @doc A new namespace. It lives as long as the calling process.
-spec create_local_env(pid()) -> {ok, env()} | {error, term()}.
create_local_env(Ctx) ->
    ask(Ctx, {create_env, self()}).

%% @doc The calling process's own namespace, as {@link create_local_env/1} gives it.
-spec get_local_env(pid()) -> env().
get_local_env(Ctx) ->
    is_pid(Ctx) orelse error({bad_argument, context, Ctx}),
    Env = value(py_env:local(Ctx)),
    value(ask(Ctx, {env_handle, py_chain:starter(py_env:caller()), Env})).

%% @doc The context as py_nif knows it, and its event loop ({@link loop_ref/1}).
-spec get_nif_ref(pid()) -> reference().
get_nif_ref(Ctx) ->
    value(ask(Ctx, handle)).

%% @doc A number that no other context of the node has now, whatever port process it is in. Worker contexts of a port process
%% have one each too, though they share an interpreter ({@link is_subinterp/1}).
-spec get_interp_id(pid()) -> {ok, pos_integer()} | {error, term()}.
get_interp_id(Ctx) ->
    ask(Ctx, interp_id).

-spec is_subinterp(pid()) -> boolean().
is_subinterp(Ctx) ->
    value(ask(Ctx, is_subinterp)).

%% Where the type has no errors.
value({ok, Value}) -> Value;
value({error, Reason}) -> error(Reason).

%% A process that is no context is not asked: it might never answer.
ask(Ctx, Request) ->
    case py_context_search:find(Ctx) of
        ours ->
            try
                gen_server:call(Ctx, Request, infinity)
            catch
                exit:_ -> gone(Ctx)
            end;
        Error ->
            Error
    end.

%% For the pool, requests, py_nif.

%% @doc For py_context_sup: the context exists in the port already. `Route' lacks only the pid.
-spec start_pooled(#route{}, mode()) -> gen_server:start_ret().
start_pooled(Route, Mode) ->
    gen_server:start_link(?MODULE, {Route, Mode}, []).

%% @doc The namespace of its own that a process has in this context. It lives as long as the process.
-spec env(pid(), pid()) -> {ok, pos_integer()} | {error, gone}.
env(Ctx, Pid) ->
    case ask(Ctx, {env, Pid}) of
        {ok, _} = Ok -> Ok;
        {error, _} -> {error, gone}
    end.

%% @doc The error of a request to a context to which there is no route: what it died of, or that there never was one.
-spec gone(pid()) -> {error, gone()}.
gone(Ctx) -> py_context_search:gone(Ctx).

%% @doc The context and the namespace that a handle stands for.
-spec resolve(reference()) -> {pid(), non_neg_integer()} | gone.
resolve(Handle) ->
    py_tables:handle(Handle).

%% Start.

%% Not gen_server:start_link: an error must not reach the caller as an exit signal as well.
-spec init_standalone(pid(), term(), {atom(), map()}, list()) -> no_return().
init_standalone(Parent, Id, {Mode0, Options}, Link) ->
    put('$py_context_id', Id),
    case py_standalone:attach(Mode0, Options) of
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
    ok = py_tables:add_handle(Handle, self(), ?SHARED_ENV),
    ok = py_tables:add_context(Route),
    ok = py_homes:add_context(Route),
    {ok, #state{route = Route, mode = Mode, handle = Handle, monitor = monitor(process, Owner), envs = py_context_envs:new(Route)}}.

%% gen_server.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call(Request, From, State) when not ?IS_FROM(From) ->
    py_unexpected:call(Request, From, State);
handle_call({env, Pid}, _From, State = #state{envs = Envs}) when is_pid(Pid) ->
    {Env, Next} = py_context_envs:own(Pid, Envs),
    {reply, {ok, Env}, State#state{envs = Next}};
handle_call({create_env, Pid}, _From, State = #state{envs = Envs}) when is_pid(Pid) ->
    {Handle, Next} = py_context_envs:make(Pid, Envs),
    {reply, {ok, Handle}, State#state{envs = Next}};
handle_call({env_handle, Pid, Env}, _From, State = #state{envs = Envs}) when is_pid(Pid), is_integer(Env), Env > 0 ->
    {Handle, Next} = py_context_envs:handle(Pid, Env, Envs),
    {reply, {ok, Handle}, State#state{envs = Next}};
handle_call({start_loop, Owner}, _From, State = #state{loop = Loop}) when is_pid(Owner) ->
    {Answer, Started} = py_context_loop:start(Owner, Loop),
    {reply, Answer, State#state{loop = Started}};
handle_call({stop_loop, Timeout}, From, State = #state{loop = Loop}) when ?IS_TIMEOUT(Timeout) ->
    case py_context_loop:stop(self(), Timeout, From, Loop) of
        {noreply, Stopping} -> {noreply, State#state{loop = Stopping}};
        {Error, Same} -> {reply, Error, State#state{loop = Same}}
    end;
handle_call(handle, _From, State = #state{handle = Handle}) ->
    {reply, {ok, Handle}, State};
handle_call(interp_id, _From, State = #state{route = #route{tag = Tag}}) ->
    {reply, {ok, Tag}, State};
handle_call(is_subinterp, _From, State = #state{mode = Mode}) ->
    {reply, {ok, Mode =:= owngil}, State};
handle_call(Request, From, State) ->
    py_unexpected:call(Request, From, State).

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(Message, State) ->
    py_unexpected:message(Message, State).

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({'DOWN', Monitor, process, _, Reason}, State = #state{monitor = Monitor}) ->
    {stop, {shutdown, {context_died, py_port:why(Reason)}}, State};
handle_info({'DOWN', Monitor, process, Pid, _} = Down, State = #state{loop = Loop, envs = Envs}) ->
    case py_context_loop:handle(Down, self(), Loop) of
        {ok, Next} -> {noreply, State#state{loop = Next}};
        ignored -> {noreply, State#state{envs = py_context_envs:down(Monitor, Pid, Envs)}}
    end;
handle_info({'EXIT', _, normal}, State) ->
    {noreply, State};
handle_info({'EXIT', Pid, Reason}, State = #state{route = #route{pool = contexts}}) when is_pid(Pid); is_port(Pid) ->
    {stop, Reason, State};
handle_info(Message, State) ->
    %% `EXIT' too: a context of a pool is everybody's, and a process that has linked itself to it does not take it along. What
    %% its own supervisor says is OTP's business, and does not come here.
    py_unexpected:message(Message, State).

%% Everybody who looks for it finds it gone, and why, before it is.
-spec terminate(term(), #state{}) -> ok.
terminate(Reason, State = #state{route = #route{owner = Owner, port = Port, id = Id}, handle = Handle}) ->
    ok = py_tables:remove_context(self(), py_port:why(Reason)),
    ok = py_context_loop:context_died(self(), py_port:why(Reason), State#state.loop),
    ok = py_homes:remove_context(self()),
    ok = py_tables:remove_handle(Handle),
    ok = py_context_envs:close(State#state.envs),
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
