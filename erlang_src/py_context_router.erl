%% @doc Pools by name, registrations, bound contexts. Readers never come to this process: it only puts changes in order.
-module(py_context_router).
-behaviour(gen_server).

-include("py_route.hrl").
-include("py_unexpected.hrl").

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
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

%% Who waits for the start or stop of a pool, by the monitor of the process that does it.
-type jobs() :: #{reference() => gen_server:from()}.

-define(IS_NAME(Name), (is_atom(Name) orelse is_binary(Name))).

%% API: the default pool.

%% @doc Starts the default pool; it runs already unless it was stopped.
-spec start() -> {ok, [pid()]} | {error, term()}.
start() ->
    start(#{}).

%% @doc The same with `contexts' (how many), `mode' and the options of {@link start_pool/3}. When it runs with others it is
%% stopped first, and what was in it is answered `{error, {context_died, stopped}}'.
-spec start(py_pool_options:options()) -> {ok, [pid()]} | {error, term()}.
start(Given) ->
    result({start_default, py_args:map(options, Given)}).

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
    try py_route:pool(Pool, py_env:caller()) of
        #route{ctx = Ctx} ->
            case is_process_alive(Ctx) of
                true -> Ctx;
                false ->
                    ok = py_env:forget(Ctx),
                    get_context_of(Pool, Ctx)
            end;
        {down, Pool} ->
            get_context_of(Pool, none)
    catch
        error:Reason:Stack -> py_started:raise(Reason, Stack)
    end;
get_context(Other) ->
    error({bad_argument, context, Other}).

%% As a call would: a pool that restarts is waited for.
get_context_of(Pool, Stale) ->
    case py_pool_await:context(Pool, Stale, infinity) of
        ok -> get_context(Pool);
        {error, Reason} -> error(Reason)
    end.

%% @doc Every routed request of the calling process goes to this context, until it dies.
-spec bind_context(pid()) -> ok | {error, term()}.
bind_context(Ctx) ->
    is_pid(Ctx) orelse error({bad_argument, context, Ctx}),
    py_started:result(fun() -> py_env:bind(Ctx) end).

%% @doc Every request of the calling process to this pool goes to this context, until it dies.
-spec bind_context(atom(), pid()) -> ok | {error, term()}.
bind_context(Pool, Ctx) ->
    is_atom(Pool) orelse error({bad_argument, pool, Pool}),
    is_pid(Ctx) orelse error({bad_argument, context, Ctx}),
    py_started:result(fun() -> py_env:bind(Pool, Ctx) end).

-spec unbind_context() -> ok.
unbind_context() ->
    py_env:unbind().

-spec unbind_context(atom()) -> ok.
unbind_context(Pool) ->
    is_atom(Pool) orelse error({bad_argument, pool, Pool}),
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

%% @doc Starts a pool and waits until its contexts are there. For one that runs with the same options that is so; of one with
%% others it is `{error, {already_started, Pool, Differing}}'. `Options' are a mode, a map or a list: see docs/pools.md.
-spec start_pool(atom(), pos_integer(), atom() | py_pool_options:options()) -> {ok, [pid()]} | {error, term()}.
start_pool(Pool, Size, Options) ->
    case py_pool_start:checked(Pool, Size, Options) of
        {ok, _} -> result({start, Pool, Size, Options});
        {error, _} = Error -> Error
    end.

%% @doc Stops a pool; requests in it are answered `{error, {context_died, stopped}}'. One of your own supervisor
%% ({@link py_pool:child_spec/1}) is stopped by that.
-spec stop_pool(atom()) -> ok | {error, {no_such_pool, atom()} | {supervised, atom(), pid()}}.
stop_pool(Pool) when is_atom(Pool), Pool =/= contexts ->
    result({stop, Pool});
stop_pool(Pool) ->
    {error, {no_such_pool, Pool}}.

-spec pool_started(atom()) -> boolean().
pool_started(Pool) ->
    case py_started:result(fun() -> py_tables:pool(Pool) end) of
        {Pid, _} when is_pid(Pid) -> true;
        none -> false;
        {error, {not_started, _}} -> false
    end.

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
    try
        py_route:lookup_pool(py_args:name(module, M), py_args:name(function, F))
    catch
        error:Reason:Stack -> py_started:raise(Reason, Stack)
    end.

-spec list_pool_registrations() -> [{{py_args:name(), py_args:name()}, atom()}].
list_pool_registrations() ->
    lists:sort([{Name, Pool} || {_, Pool, Name} <- py_tables:registrations()]).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

call(Request) ->
    py_started:call(?MODULE, Request).

%% Where the result may be an error.
result(Request) ->
    py_started:result(fun() -> call(Request) end).

%% gen_server.

-spec init([]) -> {ok, jobs()}.
init([]) ->
    ok = count_registrations(),
    {ok, #{}}.

%% Pools start and stop in processes of their own, so that one that takes long does not hold up the others.
-spec handle_call(term(), gen_server:from(), jobs()) -> {reply, term(), jobs()} | {noreply, jobs()}.
handle_call(Request, From, Jobs) when not ?IS_FROM(From) ->
    py_unexpected:call(Request, From, Jobs);
handle_call({start_default, Options}, From, Jobs) when is_map(Options) ->
    in_own_process(From, fun() -> py_pool_start:default(Options) end, Jobs);
handle_call({start, Pool, Size, Options}, From, Jobs) ->
    in_own_process(From, fun() -> start_checked(py_pool_start:checked(Pool, Size, Options)) end, Jobs);
handle_call({stop, Pool}, From, Jobs) when is_atom(Pool), Pool =/= contexts ->
    in_own_process(From, fun() -> py_pool_start:stop(Pool) end, Jobs);
handle_call({register, Pool, M, F}, _From, Jobs) when is_atom(Pool), ?IS_NAME(M), ?IS_NAME(F) ->
    ok = py_tables:register(py_route:registration_key(M, F), Pool, {M, F}),
    {reply, count_registrations(), Jobs};
handle_call({unregister, M, F}, _From, Jobs) when ?IS_NAME(M), ?IS_NAME(F) ->
    ok = py_tables:unregister(py_route:registration_key(M, F)),
    {reply, count_registrations(), Jobs};
handle_call(Request, From, Jobs) ->
    py_unexpected:call(Request, From, Jobs).

-spec handle_cast(term(), jobs()) -> {noreply, jobs()}.
handle_cast(Message, Jobs) ->
    py_unexpected:message(Message, Jobs).

-spec handle_info(term(), jobs()) -> {noreply, jobs()}.
handle_info({'DOWN', Job, process, _, Reason}, Jobs) when is_map_key(Job, Jobs) ->
    {From, Others} = maps:take(Job, Jobs),
    gen_server:reply(From, case Reason of
        {py_done, Answer} -> Answer;
        _ -> {error, {start_failed, Reason}}
    end),
    {noreply, Others};
handle_info(Message, Jobs) ->
    py_unexpected:message(Message, Jobs).

%% For the caller, whose chain of calls it belongs to: a pool that its own preload code starts again says so.
in_own_process(From = {Caller, _}, Fun, Jobs) ->
    {_, Job} = spawn_monitor(fun() ->
        put('$callers', [Caller]),
        exit({py_done, Fun()})
    end),
    {noreply, Jobs#{Job => From}}.

start_checked({ok, Spec}) -> py_pool_start:start(Spec);
start_checked({error, _} = Error) -> Error.

count_registrations() ->
    py_counters:set_registrations(length(py_tables:registrations())).
