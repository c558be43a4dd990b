%% @doc The port processes of a pool. Temporary: py_pool decides when a dead one is started again.
-module(py_port_sup).
-behaviour(supervisor).

-export([start_link/0, start_port/2, init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link(?MODULE, []).

-spec start_port(pid(), py_port:options()) -> {ok, pid()} | {error, term()}.
start_port(Sup, Options) ->
    case supervisor:start_child(Sup, [Options]) of
        {ok, Pid} when is_pid(Pid) -> {ok, Pid};
        {error, _} = Error -> Error
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    {ok, {#{strategy => simple_one_for_one}, [
        #{id => py_port, start => {py_port, start_link, []}, restart => temporary, shutdown => 5000}]}}.
