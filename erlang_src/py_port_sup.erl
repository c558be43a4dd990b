%% @doc The port processes of a pool. Temporary: py_pool decides when a dead one is started again.
-module(py_port_sup).
-behaviour(supervisor).

-export([start_link/0, start_port/4, init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link(?MODULE, []).

%% @doc Starts one for the calling process, which is its manager.
-spec start_port(pid(), atom(), py_pool_options:spec(), counters:counters_ref()) -> {ok, pid()} | {error, term()}.
start_port(Sup, Pool, Spec, Calls) ->
    Options = #{
        pool => Pool,
        manager => self(),
        executable => py_config:executable(),
        config => py_pool_options:config(Spec, py_config:package_path()),
        env => maps:get(env, Spec),
        cwd => maps:get(cwd, Spec),
        grace => maps:get(hard_timeout_grace, Spec),
        shutdown_grace => maps:get(shutdown_grace, Spec),
        shared_memory => maps:get(shared_memory, Spec),
        isolation => maps:get(isolation, Spec),
        max_requests => maps:get(max_requests, Spec),
        calls => Calls,
        send => maps:with([send, send_names], Spec)},
    case supervisor:start_child(Sup, [Options]) of
        {ok, Pid} when is_pid(Pid) -> {ok, Pid};
        {error, _} = Error -> Error
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    {ok, {#{strategy => simple_one_for_one}, [
        #{id => py_port, start => {py_port, start_link, []}, restart => temporary, shutdown => 5000}]}}.
