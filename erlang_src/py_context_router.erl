%% @doc Pools by name, registrations, bound contexts. Readers never come to this process: it only puts changes in order.
-module(py_context_router).
-behaviour(gen_server).

-include("py_route.hrl").

%% API: the default pool.
-export([start/0, start/1, stop/0, is_started/0]).
%% API: contexts.
-export([get_context/0, get_context/1, bind_context/1, bind_context/2, unbind_context/0, unbind_context/1]).
-export([num_contexts/0, num_contexts/1, contexts/0, contexts/1]).
%% API: pools.
-export([start_pool/2, start_pool/3, stop_pool/1, pool_started/1]).
-export([register_pool/2, register_pool/3, unregister_pool/1, unregister_pool/2, lookup_pool/2, list_pool_registrations/0]).
-export([start_link/0]).
%% gen_server.
-export([init/1, handle_call/3, handle_cast/2]).

%% API: the default pool.

%% @doc Starts the default pool; it runs already unless it was stopped.
-spec start() -> {ok, [pid()]} | {error, term()}.
start() ->
    start(#{}).

%% @doc The same with `contexts' (how many), `mode' and the options of {@link start_pool/3}. A pool that runs stays as it
%% is.
-spec start(map()) -> {ok, [pid()]} | {error, term()}.
start(Options) when is_map(Options) ->
    case pool_started(default) of
        true -> {ok, contexts()};
        false -> call({start_default, Options})
    end;
start(Options) ->
    error({bad_argument, options, Options}).

-spec stop() -> ok | {error, term()}.
stop() ->
    case stop_pool(default) of
        {error, {no_such_pool, default}} -> ok;
        Result -> Result
    end.

-spec is_started() -> boolean().
is_started() ->
    pool_started(default).

%% API: contexts.

%% @doc The context that routed requests of the calling process go to.
-spec get_context() -> pid().
get_context() ->
    case py_env:caller() of
        #caller{bound = #route{ctx = Ctx}} -> Ctx;
        _ -> get_context(default)
    end.

%% @doc The `N'th context of the default pool, or the one of this pool that requests of the calling process go to.
-spec get_context(pos_integer() | atom()) -> pid().
get_context(N) when is_integer(N), N > 0 ->
    case contexts() of
        Contexts when N =< length(Contexts) -> lists:nth(N, Contexts);
        _ -> error({no_such_context, N})
    end;
get_context(Pool) when is_atom(Pool) ->
    case py_route:pool(Pool, py_env:caller()) of
        #route{ctx = Ctx} ->
            case is_process_alive(Ctx) of
                true -> Ctx;
                false ->
                    ok = py_env:forget(Ctx),
                    get_context_of(Pool, Ctx)
            end;
        {down, Pool} ->
            get_context_of(Pool, none)
    end.

%% As a call would: a pool that restarts is waited for.
get_context_of(Pool, Stale) ->
    case py_pool:await(Pool, Stale, infinity) of
        ok -> get_context(Pool);
        {error, Reason} -> error(Reason)
    end.

%% @doc Every routed request of the calling process goes to this context, until it dies.
-spec bind_context(pid()) -> ok | {error, term()}.
bind_context(Ctx) when is_pid(Ctx) ->
    py_env:bind(Ctx).

%% @doc Every request of the calling process to this pool goes to this context, until it dies.
-spec bind_context(atom(), pid()) -> ok | {error, term()}.
bind_context(Pool, Ctx) when is_atom(Pool), is_pid(Ctx) ->
    py_env:bind(Pool, Ctx).

-spec unbind_context() -> ok.
unbind_context() ->
    py_env:unbind().

-spec unbind_context(atom()) -> ok.
unbind_context(Pool) when is_atom(Pool) ->
    py_env:unbind(Pool).

%% @doc The size of the default pool, 0 when it is stopped.
-spec num_contexts() -> non_neg_integer().
num_contexts() ->
    num_contexts(default).

-spec num_contexts(atom()) -> non_neg_integer().
num_contexts(Pool) ->
    case py_tables:pool(Pool) of
        {_, #{size := Size}} -> Size;
        none -> 0
    end.

-spec contexts() -> [pid()].
contexts() ->
    contexts(default).

%% @doc The contexts of a pool that take requests now, by index.
-spec contexts(atom()) -> [pid()].
contexts(Pool) ->
    [Ctx || #route{ctx = Ctx} <- py_tables:contexts(Pool)].

%% API: pools.

-spec start_pool(atom(), pos_integer()) -> {ok, [pid()]} | {error, term()}.
start_pool(Pool, Size) ->
    start_pool(Pool, Size, #{}).

%% @doc Starts a pool and waits until its contexts are there. One that runs stays as it is. `Options' are a mode or a map:
%% see docs/pools.md.
-spec start_pool(atom(), pos_integer(), atom() | map()) -> {ok, [pid()]} | {error, term()}.
start_pool(contexts, _Size, _Options) ->
    %% Where contexts live that are started by hand (py_standalone).
    {error, {bad_option, pool, contexts}};
start_pool(Pool, Size, Options) when is_map(Options) ->
    case py_pool_options:pool(Pool, Size, Options) of
        {ok, Spec} -> call({start, Spec});
        {error, _} = Error -> Error
    end;
start_pool(Pool, Size, Mode) when is_atom(Mode) ->
    start_pool(Pool, Size, #{mode => Mode});
start_pool(_Pool, _Size, Options) ->
    {error, {bad_option, options, Options}}.

%% @doc Stops a pool; requests in it are answered `{error, {context_died, stopped}}'.
-spec stop_pool(atom()) -> ok | {error, {no_such_pool, atom()}}.
stop_pool(contexts) ->
    {error, {no_such_pool, contexts}};
stop_pool(Pool) ->
    call({stop, Pool}).

-spec pool_started(atom()) -> boolean().
pool_started(Pool) ->
    py_tables:pool(Pool) =/= none.

%% @doc Calls to the module, or to one function of it with `{M, F}', go to this pool.
-spec register_pool(atom(), py_args:name() | {py_args:name(), py_args:name()}) -> ok.
register_pool(Pool, {M, F}) ->
    register_pool(Pool, M, F);
register_pool(Pool, M) ->
    register_pool(Pool, M, '_').

-spec register_pool(atom(), py_args:name(), py_args:name()) -> ok.
register_pool(Pool, M, F) when is_atom(Pool) ->
    call({register, Pool, py_args:name(module, M), py_args:name(function, F)});
register_pool(Pool, _M, _F) ->
    error({bad_argument, pool, Pool}).

-spec unregister_pool(py_args:name() | {py_args:name(), py_args:name()}) -> ok.
unregister_pool({M, F}) ->
    unregister_pool(M, F);
unregister_pool(M) ->
    unregister_pool(M, '_').

-spec unregister_pool(py_args:name(), py_args:name()) -> ok.
unregister_pool(M, F) ->
    call({unregister, py_args:name(module, M), py_args:name(function, F)}).

%% @doc The pool that calls to this function are routed to.
-spec lookup_pool(py_args:name(), py_args:name()) -> atom().
lookup_pool(M, F) ->
    py_route:lookup_pool(py_args:name(module, M), py_args:name(function, F)).

-spec list_pool_registrations() -> [{{py_args:name(), py_args:name()}, atom()}].
list_pool_registrations() ->
    lists:sort([{Name, Pool} || {_, Pool, Name} <- ets:tab2list(py_registrations)]).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

call(Request) ->
    gen_server:call(?MODULE, Request, infinity).

%% gen_server.

-spec init([]) -> {ok, none}.
init([]) ->
    ok = count_registrations(),
    {ok, none}.

%% Pools start and stop in processes of their own, so that one that takes long does not hold up the others.
-spec handle_call(term(), gen_server:from(), none) -> {reply, term(), none} | {noreply, none}.
handle_call({start_default, Options}, From, none) ->
    in_own_process(From, fun() -> start_default(Options) end);
handle_call({start, Spec}, From, none) ->
    in_own_process(From, fun() -> start_spec(Spec) end);
handle_call({stop, Pool}, From, none) ->
    in_own_process(From, fun() -> py_pools_sup:stop_pool(Pool) end);
handle_call({register, Pool, M, F}, _From, none) ->
    true = ets:insert(py_registrations, {py_route:registration_key(M, F), Pool, {M, F}}),
    {reply, count_registrations(), none};
handle_call({unregister, M, F}, _From, none) ->
    true = ets:delete(py_registrations, py_route:registration_key(M, F)),
    {reply, count_registrations(), none}.

-spec handle_cast(term(), none) -> {noreply, none}.
handle_cast(_Message, none) ->
    {noreply, none}.

%% For the caller, whose chain of calls it belongs to: a pool that its own preload code starts again says so.
in_own_process(From = {Caller, _}, Fun) ->
    _ = spawn_link(fun() ->
        put('$callers', [Caller]),
        gen_server:reply(From, Fun())
    end),
    {noreply, none}.

start_default(Options) ->
    case py_config:default_pool() of
        {ok, Default = #{contexts := DefaultSize, mode := DefaultMode}} ->
            Size = maps:get(contexts, Options, DefaultSize),
            Own = maps:remove(contexts, Options),
            case {map_size(Options), py_pool_options:pool(default, Size, maps:merge(#{mode => DefaultMode}, Own))} of
                {0, _} -> start_spec(Default);
                {_, {ok, Spec}} -> start_spec(Spec);
                {_, {error, _} = Error} -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% A pool that cannot start is not kept: the caller is told why.
start_spec(Spec = #{pool := Pool}) ->
    case py_pools_sup:start_pool(Spec) of
        {ok, Pool} ->
            case py_pool:await_start(Pool) of
                {ok, _} = Ok -> Ok;
                {error, _} = Error ->
                    _ = py_pools_sup:stop_pool(Pool),
                    Error
            end;
        {error, {already_started, Pool}} ->
            py_pool:await_start(Pool);
        {error, _} = Error ->
            Error
    end.

count_registrations() ->
    py_slots:set_registrations(py_slots:ref(), ets:info(py_registrations, size)).
