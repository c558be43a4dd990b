%% @doc One child per pool, and one for the contexts that users start themselves.
-module(py_pools_sup).
-behaviour(supervisor).

-export([start_link/0, start_pool/1, stop_pool/1, init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% @doc Returns before the pool is up: {@link py_pool:await_start/1}.
-spec start_pool(py_pool_options:spec()) -> {ok, atom()} | {error, {already_started, atom()} | term()}.
start_pool(Spec = #{pool := Pool}) ->
    case supervisor:start_child(?MODULE, child(Pool, [Spec])) of
        {ok, _} -> {ok, Pool};
        {error, {already_started, _}} -> {error, {already_started, Pool}};
        {error, _} = Error -> Error
    end.

-spec stop_pool(atom()) -> ok | {error, {no_such_pool, atom()}}.
stop_pool(Pool) ->
    case supervisor:terminate_child(?MODULE, Pool) of
        ok -> supervisor:delete_child(?MODULE, Pool);
        {error, not_found} -> {error, {no_such_pool, Pool}}
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    %% A pool that dies as a process is a bug of ours; Python's deaths do not come this far (py_pool).
    {ok, {#{strategy => one_for_one, intensity => 10, period => 10}, [child(contexts, [standalone])]}}.

child(Pool, Args) ->
    #{id => Pool, start => {py_pool_sup, start_link, Args}, type => supervisor, shutdown => infinity}.
