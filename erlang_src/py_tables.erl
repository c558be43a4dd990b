%% @doc The ETS tables: makes them, and gives their rows names.
%%
%% Their owner is the top supervisor, the one process whose end is the end of the application: so whichever worker dies,
%% no table goes with it, and none has to be handed over while others read it.
%%
%% | table | row | written by |
%% | py_routes | `{{Pool, SchedulerId}, Route, Index, Size, Others}', `{{Pool, {Index}}, Route}' | the pool |
%% | py_contexts | `{CtxPid, Route}' | the pool |
%% | py_pools | `{Pool, PoolPid, Info}' | the pool |
%% | py_dead | `{CtxPid, Why}', `{{ring, N}, CtxPid}' | the pool |
%% | py_handles | `{Ref, CtxPid, EnvId}' | the context |
%% | py_registrations | `{{M, F}, Pool, AsRegistered}' | py_context_router |
%% | py_functions | `{Name, Fun or {M, F}}' | py_functions |
%% | py_ports | `{PyPort, Port}'; `{{waited_for, Port}}' while names are to be told | py_port, py_functions |
%% | py_homes | see py_homes | the context |
%% | py_asked | `{{Pid, Alias}, Port, CtxId}': what a callback waits for | the callback's process, py_port |
%% | py_callbacks | `{Pid, Callback}' | the callback's process, py_port |
%% | py_tags | `{Tag, OwnerPid}' | py_semaphore |
%% | py_counts | `{{Pool, errors or timeouts or restarts}, N}' | anybody |
%% | py_state | `{Key, Value}' | py_state, in any process |
%% | py_state_lock | `{lock, Pid}' | py_state, in any process |
%% | py_atoms | see py_atoms | py_atoms, in any process |
-module(py_tables).

-include("py_route.hrl").

-export([create/0]).
%% Contexts.
-export([add_context/1, remove_context/2, remove_killed_context/1, route/1, why_dead/1]).
%% Pools.
-export([publish/2, unpublish/1, add_pool/2, set_pool_info/2, remove_pool/1, pool/1, pools/0, contexts/1]).
%% Handles.
-export([add_handle/3, remove_handle/1, handle/1]).
%% Counts.
-export([count/2, counted/2]).

%% Why a context died is remembered for this many, for calls on a pid that is gone.
-define(REMEMBERED, 1000).
%% How many other contexts a busy one is compared with. The row is copied by every request.
-define(OTHERS, 32).

%% @doc Makes what is not there; all of it belongs to the caller (erlang_python_sup).
-spec create() -> ok.
create() ->
    Readers = [{read_concurrency, true}],
    %% Without read_concurrency: where reads and writes mix it costs a third (measured).
    Writers = [{write_concurrency, true}],
    lists:foreach(
        fun({Table, Options}) ->
            ets:whereis(Table) =:= undefined andalso ets:new(Table, [named_table, public | Options])
        end,
        [{py_routes, Readers},
         {py_contexts, Readers},
         {py_pools, Readers},
         {py_handles, Readers},
         {py_registrations, Readers},
         {py_functions, Readers},
         {py_ports, Readers},
         {py_homes, Readers},
         {py_callbacks, Writers},
         {py_asked, [ordered_set | Writers]},
         {py_tags, Readers},
         {py_dead, []},
         {py_counts, Writers},
         {py_state, Writers},
         {py_state_lock, []},
         {py_atoms, Writers}]),
    %% Loaded now: their atoms must exist before the first reply is decoded.
    _ = [py_protocol:vocabulary(), py_atoms:known()],
    ok.

%% Contexts

-spec add_context(#route{}) -> ok.
add_context(Route = #route{ctx = Ctx}) ->
    true = ets:insert(py_contexts, {Ctx, Route}),
    ok.

-spec remove_context(pid(), Why :: term()) -> ok.
remove_context(Ctx, Why) ->
    true = ets:delete(py_contexts, Ctx),
    N = ets:update_counter(py_dead, next, {2, 1}, {next, 0}) rem ?REMEMBERED,
    case ets:lookup(py_dead, {ring, N}) of
        [{_, Forgotten}] -> ets:delete(py_dead, Forgotten);
        [] -> true
    end,
    true = ets:insert(py_dead, [{Ctx, Why}, {{ring, N}, Ctx}]),
    ok.

%% @doc For a context that could not tidy up itself.
-spec remove_killed_context(pid()) -> ok.
remove_killed_context(Ctx) ->
    true = ets:match_delete(py_handles, {'_', Ctx, '_'}),
    ok = py_homes:remove_context(Ctx),
    remove_context(Ctx, stopped).

%% @doc The route to a context, `gone' when there is none by this pid.
-spec route(pid()) -> #route{} | gone.
route(Ctx) ->
    case ets:lookup(py_contexts, Ctx) of
        [{_, Route}] -> Route;
        [] -> gone
    end.

%% @doc What a context died of, `unknown' when it lives or that is forgotten.
-spec why_dead(pid()) -> term() | unknown.
why_dead(Ctx) ->
    case ets:lookup(py_dead, Ctx) of
        [{_, Why}] -> Why;
        [] -> unknown
    end.

%% Pools

%% @doc Makes these contexts the pool's, in the order of their indices: one per scheduler, and all of them by index. The
%% row of a scheduler has the tags of the contexts that come after its own, to look for one that has less to do.
-spec publish(atom(), [#route{}]) -> ok.
publish(Pool, []) ->
    unpublish(Pool);
publish(Pool, Routes) ->
    Size = length(Routes),
    Before = indices(Pool),
    Array = list_to_tuple(Routes),
    PerScheduler = [scheduler_row(Pool, Scheduler, Array, Size) || Scheduler <- lists:seq(1, erlang:system_info(schedulers))],
    PerIndex = [{{Pool, {Index}}, element(Index, Array)} || Index <- lists:seq(1, Size)],
    true = ets:insert(py_routes, PerScheduler ++ PerIndex),
    lists:foreach(fun(Index) -> Index > Size andalso ets:delete(py_routes, {Pool, {Index}}) end, Before).

scheduler_row(Pool, Scheduler, Array, Size) ->
    Own = (Scheduler - 1) rem Size + 1,
    Others = [(element((Own - 1 + Next) rem Size + 1, Array))#route.tag || Next <- lists:seq(1, min(Size - 1, ?OTHERS))],
    {{Pool, Scheduler}, element(Own, Array), Own, Size, list_to_tuple(Others)}.

-spec unpublish(atom()) -> ok.
unpublish(Pool) ->
    lists:foreach(
        fun(Scheduler) -> ets:delete(py_routes, {Pool, Scheduler}) end,
        lists:seq(1, erlang:system_info(schedulers))),
    lists:foreach(fun(Index) -> ets:delete(py_routes, {Pool, {Index}}) end, indices(Pool)).

%% @doc The contexts that take requests now, by index.
-spec contexts(atom()) -> [#route{}].
contexts(Pool) ->
    contexts(Pool, 1).

contexts(Pool, Index) ->
    case ets:lookup(py_routes, {Pool, {Index}}) of
        [{_, Route}] -> [Route | contexts(Pool, Index + 1)];
        [] -> []
    end.

indices(Pool) ->
    [Index || [Index] <- ets:match(py_routes, {{Pool, {'$1'}}, '_'})].

-spec add_pool(atom(), map()) -> ok.
add_pool(Pool, Info) ->
    true = ets:insert(py_pools, {Pool, self(), Info}),
    _ = ets:insert_new(py_counts, [{{Pool, What}, 0} || What <- [errors, timeouts, restarts]]),
    ok.

-spec set_pool_info(atom(), map()) -> ok.
set_pool_info(Pool, Info) ->
    true = ets:update_element(py_pools, Pool, {3, Info}),
    ok.

-spec remove_pool(atom()) -> ok.
remove_pool(Pool) ->
    ok = unpublish(Pool),
    true = ets:delete(py_pools, Pool),
    _ = ets:match_delete(py_counts, {{Pool, '_'}, '_'}),
    ok.

-spec pool(atom()) -> {pid(), map()} | none.
pool(Pool) ->
    case ets:lookup(py_pools, Pool) of
        [{_, Pid, Info}] -> {Pid, Info};
        [] -> none
    end.

-spec pools() -> [{atom(), pid(), map()}].
pools() ->
    lists:sort(ets:tab2list(py_pools)).

%% Handles

-spec add_handle(reference(), pid(), non_neg_integer()) -> ok.
add_handle(Ref, Ctx, Env) ->
    true = ets:insert(py_handles, {Ref, Ctx, Env}),
    ok.

-spec remove_handle(reference()) -> ok.
remove_handle(Ref) ->
    true = ets:delete(py_handles, Ref),
    ok.

-spec handle(reference()) -> {pid(), non_neg_integer()} | gone.
handle(Ref) ->
    case ets:lookup(py_handles, Ref) of
        [{_, Ctx, Env}] -> {Ctx, Env};
        [] -> gone
    end.

%% Counts

%% @doc Counts for a pool that exists: a row made here would outlive it.
-spec count(atom(), errors | timeouts | restarts) -> ok.
count(Pool, What) ->
    try ets:update_counter(py_counts, {Pool, What}, 1) of
        _ -> ok
    catch
        error:badarg -> ok
    end.

-spec counted(atom(), errors | timeouts | restarts) -> non_neg_integer().
counted(Pool, What) ->
    case ets:lookup(py_counts, {Pool, What}) of
        [{_, N}] -> N;
        [] -> 0
    end.
