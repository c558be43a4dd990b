%% @doc One child per pool, and one for the contexts that users start themselves. Whatever ends this process, its successor
%% begins with the pools that were there (table py_pool_specs): those of the configuration and those that users started.
-module(py_pools_sup).
-behaviour(supervisor).

-export([start_link/0, start_pool/1, stop_pool/1, init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% @doc Returns before the pool is up: {@link py_pool_await:start/1}.
-spec start_pool(py_pool_options:spec()) -> {ok, atom()} | {error, {already_started, atom()} | term()}.
start_pool(Spec = #{pool := Pool}) ->
    case py_started:again(fun() -> supervisor:start_child(?MODULE, child(Pool, Spec)) end) of
        {ok, _} -> {ok, Pool};
        {error, {already_started, _}} -> {error, {already_started, Pool}};
        {error, _} = Error -> Error
    end.

-spec stop_pool(atom()) -> ok | {error, {no_such_pool, atom()}}.
stop_pool(Pool) ->
    %% First, so that a restart in between does not bring it back.
    ok = py_tables:forget_spec(Pool),
    case py_started:again(fun() -> supervisor:terminate_child(?MODULE, Pool) end) of
        ok ->
            %% Before another one of this name can start.
            ok = py_tables:remove_killed_pool(Pool),
            Deleted = py_started:again(fun() -> supervisor:delete_child(?MODULE, Pool) end),
            %% It may have been starting again.
            ok = py_tables:forget_spec(Pool),
            _ = py_semaphore:close_limit(Pool),
            ok = py_ending:await(Pool),
            deleted(Deleted);
        {error, not_found} ->
            {error, {no_such_pool, Pool}}
    end.

deleted(ok) -> ok;
deleted({error, not_found}) -> ok.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    Pools = [child(Pool, Spec) || {Pool, Spec} <- py_tables:specs(), is_map(Spec)],
    %% A pool that dies as a process is a bug of ours, or somebody killed it; Python's deaths do not come this far (py_pool).
    {ok, {#{strategy => one_for_one, intensity => 10, period => 1}, [child(contexts, standalone) | Pools]}}.

child(Pool, Spec) ->
    #{id => Pool, start => {py_pool_sup, start_link, [Pool, Spec]}, type => supervisor, shutdown => infinity}.
