%% @doc The top of the tree, and the owner of the ETS tables (py_tables). See docs/design.md.
-module(erlang_python_sup).
-behaviour(supervisor).

-export([start_link/0, init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    ok = py_tables:create(),
    %% Whoever is killed comes back with all that it had, so killing each process once a second ends nothing: OTP counts in
    %% whole seconds, and sees three rounds of five in one. What dies more often cannot be helped.
    {ok, {#{strategy => one_for_one, intensity => 20, period => 1}, [
        #{id => py_output, start => {py_output, start_link, []}},
        #{id => py_functions, start => {py_functions, start_link, []}},
        #{id => py_semaphore, start => {py_semaphore, start_link, [py_config:max_concurrent()]}},
        #{id => py_context_router, start => {py_context_router, start_link, []}},
        #{id => py_ending_sup, start => {py_ending_sup, start_link, []}, type => supervisor, shutdown => infinity},
        #{id => py_pools_sup, start => {py_pools_sup, start_link, []}, type => supervisor, shutdown => infinity}]}}.
