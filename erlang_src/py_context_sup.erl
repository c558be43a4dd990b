%% @doc The contexts of a pool. Temporary: py_pool fills the place of one that ends.
-module(py_context_sup).
-behaviour(supervisor).

-include("py_route.hrl").

-export([start_link/0, start_context/3, init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link(?MODULE, []).

-spec start_context(pid(), #route{}, py_context:mode()) -> {ok, pid()} | {error, term()}.
start_context(Sup, Route, Mode) ->
    case supervisor:start_child(Sup, [Route, Mode]) of
        {ok, Pid} when is_pid(Pid) -> {ok, Pid};
        {error, _} = Error -> Error
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    {ok, {#{strategy => simple_one_for_one}, [
        #{id => py_context, start => {py_context, start_pooled, []}, restart => temporary, shutdown => 10000}]}}.
