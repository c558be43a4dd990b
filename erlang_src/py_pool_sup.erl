%% @doc One pool: its port processes, its contexts, and the process that runs them, which live and die together.
-module(py_pool_sup).
-behaviour(supervisor).

-export([start_link/2, init/1]).

-export_type([spec/0]).

%% `standalone': the contexts that users start. `supervised': below a supervisor of theirs.
-type spec() :: py_pool_options:spec() | standalone | {supervised, pid(), py_pool_options:spec()}.

-spec start_link(atom(), spec()) -> supervisor:startlink_ret().
start_link(Pool, Spec) ->
    supervisor:start_link(?MODULE, {Pool, Spec}).

-spec init({atom(), spec()}) ->
    {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init({Pool, Spec}) ->
    ok = py_tables:keep_spec(Pool, Spec),
    {ok, {#{strategy => one_for_all, intensity => 5, period => 1}, children(Spec)}}.

%% The last one is stopped first, and ends the port processes in good order.
children(standalone) ->
    [ports(), #{id => py_standalone, start => {py_standalone, start_link, [self()]}, shutdown => 10000}];
children({supervised, _, Spec}) ->
    children(Spec);
children(Spec) ->
    [ports(),
     #{id => py_context_sup, start => {py_context_sup, start_link, []}, type => supervisor, shutdown => infinity},
     #{id => py_pool, start => {py_pool, start_link, [Spec, self()]}, shutdown => 10000}].

ports() ->
    #{id => py_port_sup, start => {py_port_sup, start_link, []}, type => supervisor, shutdown => infinity}.
