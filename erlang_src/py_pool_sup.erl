%% @doc One pool: its port processes, its contexts, and the process that runs them, which live and die together.
-module(py_pool_sup).
-behaviour(supervisor).

-export([start_link/1, init/1]).

-spec start_link(py_pool_options:spec() | standalone) -> supervisor:startlink_ret().
start_link(Spec) ->
    supervisor:start_link(?MODULE, Spec).

-spec init(py_pool_options:spec() | standalone) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(Spec) ->
    {ok, {#{strategy => one_for_all, intensity => 5, period => 10}, children(Spec)}}.

%% The last one is stopped first, and ends the port processes in good order.
children(standalone) ->
    [ports(), #{id => py_standalone, start => {py_standalone, start_link, [self()]}, shutdown => 10000}];
children(Spec) ->
    [ports(),
     #{id => py_context_sup, start => {py_context_sup, start_link, []}, type => supervisor, shutdown => infinity},
     #{id => py_pool, start => {py_pool, start_link, [Spec, self()]}, shutdown => 10000}].

ports() ->
    #{id => py_port_sup, start => {py_port_sup, start_link, []}, type => supervisor, shutdown => infinity}.
