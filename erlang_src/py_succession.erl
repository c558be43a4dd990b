%% @doc One process at a time is a pool. When a supervisor was killed, the pool below it is still on its way out while its
%% successor starts: that one waits, since both would write the same rows.
-module(py_succession).

-export([take_over/2, take_name/1]).

%% What a predecessor may need to stop: more than its shutdown time (py_pool_sup).
-define(PREDECESSOR_MS, 12000).
-define(NAME_MS, 1000).

%% @doc The calling process, which traps exits and has no link but that to its supervisor, is the pool from now on.
-spec take_over(atom(), map()) -> ok.
take_over(Pool, Info) ->
    case py_tables:add_pool(Pool, Info) of
        ok -> ok;
        {held_by, Pid} ->
            ok = await_end(Pid),
            take_over(Pool, Info)
    end.

await_end(Pid) ->
    Monitor = monitor(process, Pid),
    receive
        {'DOWN', Monitor, process, _, _} -> ok;
        {'EXIT', _Supervisor, Reason} -> exit(Reason)
    after ?PREDECESSOR_MS ->
        true = exit(Pid, kill),
        receive {'DOWN', Monitor, process, _, _} -> ok end
    end.

%% @doc Registers the calling process. A predecessor is not alive before its name is free.
-spec take_name(atom()) -> ok.
take_name(Name) ->
    take_name(Name, ?NAME_MS).

take_name(Name, Left) ->
    try register(Name, self()) of
        true -> ok
    catch
        error:badarg when Left > 0 -> receive after 1 -> take_name(Name, Left - 1) end
    end.
