%% @doc What the application and its Pythons say of themselves.
-module(py_info).

-include("py_route.hrl").

-export([execution_mode/0, subinterp_supported/0, num_executors/0, version/0]).
-export([port_stats/2, figures/1, memory_stats/0, gc/1, tracemalloc_start/1, tracemalloc_stop/0, reload/1, stats/0]).

%% Of the Python package, for what only Python knows.
-define(HELPERS, <<"erlang._info">>).
-define(TIMEOUT, 30000).
%% A port program that does not answer STATS by then is frozen; its figures are left out.
-define(STATS_MS, 1000).

%% @doc The mode of the default pool, from the environment.
-spec execution_mode() -> worker | owngil.
execution_mode() ->
    py_config:context_mode().

-spec subinterp_supported() -> boolean().
subinterp_supported() ->
    maps:get(owngil, python(), false).

-spec num_executors() -> non_neg_integer().
num_executors() ->
    py_context_router:num_contexts().

%% @doc The version as Python's `sys.version' gives it.
-spec version() -> {ok, binary()} | {error, term()}.
version() ->
    case py_started:result(fun python/0) of
        #{python_version := Version} -> {ok, Version};
        {error, _} = NotStarted -> NotStarted;
        _ -> helper(version, [])
    end.

%% What the port process of the default pool, or of any other, said of its Python when it started.
python() ->
    Ready = [Python || {_, _, #{python := Python}} <- py_tables:pools(), map_size(Python) > 0],
    case {py_tables:pool(default), Ready} of
        {{_, #{python := Python}}, _} when map_size(Python) > 0 -> Python;
        {_, [Python | _]} -> Python;
        {_, []} -> #{}
    end.

%% @doc The garbage collector's figures, and what tracemalloc traced if it runs.
-spec memory_stats() -> {ok, map()} | {error, term()}.
memory_stats() ->
    case helper(memory_stats, []) of
        {ok, Stats} -> {ok, maps:from_list([{key(Key), Value} || {Key, Value} <- maps:to_list(Stats)])};
        {error, _} = Error -> Error
    end.

key(<<"gc_stats">>) -> gc_stats;
key(<<"gc_count">>) -> gc_count;
key(<<"gc_threshold">>) -> gc_threshold;
key(<<"traced_memory_current">>) -> traced_memory_current;
key(<<"traced_memory_peak">>) -> traced_memory_peak;
key(Other) -> Other.

%% @doc Collects garbage up to this generation; how many objects could not be reached.
-spec gc(0..2) -> {ok, non_neg_integer()} | {error, term()}.
gc(Generation) when Generation =:= 0; Generation =:= 1; Generation =:= 2 ->
    helper(gc, [Generation]);
gc(Generation) ->
    error({bad_argument, generation, Generation}).

-spec tracemalloc_start(pos_integer()) -> ok | {error, term()}.
tracemalloc_start(Frames) when is_integer(Frames), Frames > 0 ->
    done(helper(tracemalloc_start, [Frames]));
tracemalloc_start(Frames) ->
    error({bad_argument, frames, Frames}).

-spec tracemalloc_stop() -> ok | {error, term()}.
tracemalloc_stop() ->
    done(helper(tracemalloc_stop, [])).

%% @doc Reloads a module in every context of every pool that has imported it. Worker contexts of a port process share
%% their modules: one of them does it for all.
-spec reload(py_args:name()) -> ok | {error, term()}.
reload(M) ->
    Name = case py_args:name(module, M) of
        Atom when is_atom(Atom) -> atom_to_binary(Atom);
        Binary -> Binary
    end,
    py_started:result(fun() -> reload_everywhere(Name) end).

reload_everywhere(Name) ->
    Contexts = [Route || {Pool, _, #{mode := Mode}} <- py_tables:pools(), Route <- interpreters(Mode, py_tables:contexts(Pool))],
    Results = [py_request:run({context, Ctx}, py_args:operation(?HELPERS, <<"reload">>, [Name]), 0, ?TIMEOUT)
               || #route{ctx = Ctx} <- Contexts],
    case [Error || {error, _} = Error <- Results] of
        [] -> ok;
        [Error | _] -> Error
    end.

interpreters(owngil, Routes) -> Routes;
interpreters(worker, Routes) -> lists:ukeysort(#route.owner, Routes).

helper(Function, Args) ->
    py_request:run(routed, py_args:operation(?HELPERS, Function, Args), 0, ?TIMEOUT).

%% 0 when the pool is just being stopped.
of_limit(Pool, Figure) ->
    case py_limits:find(Pool) of
        {ok, Limit} -> Figure(Limit);
        {error, _} -> 0
    end.

done({ok, _}) -> ok;
done({error, _} = Error) -> Error.

%% @doc Every pool: `size', `mode', `isolation', `in_flight' (requests that hold a slot for it), `max_concurrent'
%% (how many may), `waiting' (for a slot), `queued' (those of them
%% that wait for their context), `envs' (namespaces of Erlang processes), `calls', `errors', `timeouts', `restarts',
%% `messages_refused' (that Python tried to send to a process that it may not send to: option `send'),
%% `shared_memory' (bytes that it takes for large values, or `pipe' where these have to go through the pipe), `rss' (bytes, of all its port processes), `os_pid' (of Python in the first), `os_pids', `keeper' (the
%% process that the node has started for the first, above Python), `keepers', `contexts' (pids), `confined' (what the kernel
%% keeps inside: `signals', and by the level of the sandbox `abstract_sockets', `files', `network', `syscalls').
-spec stats() -> #{atom() => map()}.
stats() ->
    maps:from_list([{Pool, pool_stats(Pool, State, Info)}
                    || {Pool, Pid, Info} <- py_tables:pools(), State <- state(Pid)]).

%% A pool whose process has just died is left out, it is on its way back.
state(Pid) ->
    try
        [gen_server:call(Pid, info, infinity)]
    catch
        exit:_ -> []
    end.

pool_stats(Pool, #{calls := Calls, units := Units}, #{size := Size, mode := Mode, isolation := Isolation}) ->
    Routes = py_tables:routes(Pool),
    Ports = [port_stats(Owner, Port) || {Owner, #{port := Port}, _} <- Units, is_pid(Owner)],
    OsPids = [OsPid || {_, #{os_pid := OsPid}, _} <- Units],
    Keepers = [Keeper || {_, #{keeper := Keeper}, _} <- Units],
    #{size => Size,
      mode => Mode,
      isolation => Isolation,
      contexts => [Ctx || #route{ctx = Ctx} <- lists:keysort(#route.id, Routes)],
      in_flight => lists:sum([py_slots_audit:in_flight(Limit, Tag) || #route{tag = Tag, limit = Limit} <- Routes]),
      max_concurrent => of_limit(Pool, fun py_slots:max/1),
      waiting => of_limit(Pool, fun py_waiters:count/1),
      queued => lists:sum([N || #{contexts := Contexts} <- Ports, #{queued := N} <- maps:values(Contexts)]),
      envs => lists:sum([N || #{contexts := Contexts} <- Ports, #{envs := N} <- maps:values(Contexts)]),
      tasks => lists:sum([N || #{contexts := Contexts} <- Ports, #{tasks := N} <- maps:values(Contexts)]),
      calls => Calls,
      errors => py_tables:counted(Pool, errors),
      timeouts => py_tables:counted(Pool, timeouts),
      restarts => py_tables:counted(Pool, restarts),
      confined => case [Confined || {_, #{confined := Confined}, _} <- Units] of [Confined | _] -> Confined; [] -> [] end,
      messages_refused => py_tables:counted(Pool, messages_refused),
      shared_memory => case [Bytes || #{shared_memory := Bytes} <- Ports] of
          [] -> pipe;
          Shared -> lists:sum(Shared)
      end,
      rss => lists:sum([maps:get(rss, Stats, 0) || Stats <- Ports]),
      os_pid => first(OsPids),
      os_pids => OsPids,
      keeper => first(Keepers),
      keepers => Keepers}.

first([First | _]) -> First;
first([]) -> none.

%% @doc The figures of a port process (docs/protocol.md, STATS); empty when it gives none.
-spec port_stats(pid(), port()) -> map().
port_stats(Owner, Port) ->
    Alias = py_port:control(Owner, Port, fun py_protocol:stats/1),
    receive
        {py_reply, Alias, Payload} -> figures(Payload);
        {'DOWN', Alias, process, _, _} ->
            #{}
    after ?STATS_MS ->
        demonitor(Alias, [flush]),
        receive {py_reply, Alias, Late} -> figures(Late) after 0 -> #{} end
    end.

%% @doc What a port process answers to STATS.
-spec figures(py_protocol:payload()) -> map().
figures(Payload) ->
    case py_protocol:decode(Payload) of
        {ok, Stats} -> Stats;
        {error, _} -> #{}
    end.
