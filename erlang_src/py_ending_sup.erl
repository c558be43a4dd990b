%% @doc The port processes whose Python is at its end, of all pools: nobody who starts or stops pools waits for the end of
%% another one, and the application stops when all of them are gone, which end side by side.
-module(py_ending_sup).
-behaviour(supervisor).

-export([start_link/0, start_ending/1, pids/0, init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec start_ending(py_ending:options()) -> {ok, pid()} | error.
start_ending(Options) ->
    try supervisor:start_child(?MODULE, [Options]) of
        {ok, Pid} when is_pid(Pid) -> {ok, Pid};
        _ -> error
    catch
        exit:_ -> error
    end.

-spec pids() -> [pid()].
pids() ->
    try [Pid || {_, Pid, _, _} <- supervisor:which_children(?MODULE), is_pid(Pid)]
    catch
        exit:_ -> []
    end.

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    %% They end by themselves, within the grace of their pools.
    {ok, {#{strategy => simple_one_for_one}, [
        #{id => py_ending, start => {py_ending, start_link, []}, restart => temporary, shutdown => infinity}]}}.
