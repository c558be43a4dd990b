%% @doc The ETS tables: makes them, and gives their rows names.
%%
%% Their owner is the top supervisor, the one process whose end is the end of the application: so whichever worker dies,
%% no table goes with it, and none has to be handed over while others read it.
%%
%% | table | row | written by |
%% | py_routes | `{{Pool, SchedulerId}, Route, Index, Size, Others}', `{{Pool, {Index}}, Route}' | the pool |
%% | py_contexts | `{CtxPid, Route}' | the pool |
%% | py_pools | `{Pool, PoolPid, Info}' | the pool |
%% | py_pool_specs | `{Pool, Spec}': what a supervisor that restarts brings back | the pool's supervisor, py_pools_sup |
%% | py_dead | `{CtxPid, Why}', `{{ring, N}, CtxPid}' | the pool |
%% | py_handles | `{Ref, CtxPid, EnvId}' | the context |
%% | py_registrations | `{{M, F}, Pool, AsRegistered}' | py_context_router |
%% | py_functions | `{Name, Fun or {M, F}}' | py_functions |
%% | py_ports | `{PyPort, Port}': who is told the names of functions | py_port, py_functions |
%% | py_homes | see py_homes | the context |
%% | py_asked | `{{Pid, Alias}, Port, CtxId}': what a callback waits for | the callback's process, py_port |
%% | py_owed | `{Address, PyPort, Credit}': see py_owed | the caller, py_port |
%% | py_callbacks | `{Pid, Callback}' | the callback's process, py_port |
%% | py_tags | `{Tag, OwnerPid, Limit}': see py_tags | py_semaphore |
%% | py_limits | `{Pool, Limit, Configured}', `{{limit, Limit}, Pool}' | py_semaphore |
%% | py_grants | see py_grants | py_port, py_semaphore |
%% | py_waiters | see py_waiters | who waits for a slot, py_port, py_semaphore |
%% | py_counts | `{{Pool, errors or timeouts or restarts or messages_refused}, N}' | anybody |
%% | py_state | `{Key, Value, Bytes}' | py_state, in any process |
%% | py_state_lock | `{lock, Pid}', `{bytes, N}' | py_state, py_state_bytes, in any process |
%% | py_atoms | see py_atoms | py_atoms, in any process |
%% | py_send_names | `{Name}' that Python may send to | py_send, in any process |
%% | py_origins | `{Module, Origin}' | py_protected, in any process |
%% | py_symptoms | see py_symptoms | py_symptoms, in any process |
-module(py_tables).

-compile({no_auto_import, [register/2, unregister/1]}).

-include("py_route.hrl").

-export([create/0]).
%% Contexts.
-export([add_context/1, remove_context/2, remove_killed_context/1, route/1, why_dead/1]).
%% Pools.
-export([publish/2, unpublish/1, scheduler_row/2, context_at/2, routes/1]).
-export([add_pool/2, set_pool_info/2, remove_pool/1, remove_killed_pool/1, pool/1, pools/0, is_pool/1, contexts/1]).
-export([keep_spec/2, forget_spec/1, spec/1, specs/0]).
%% Handles.
-export([add_handle/3, remove_handle/1, handle/1]).
%% Registrations.
-export([register/3, unregister/1, registered/1, registrations/0]).
%% Counts.
-export([count/2, counted/2]).

-type count() :: errors | timeouts | restarts | messages_refused.

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
         {py_pool_specs, []},
         {py_handles, Readers},
         {py_registrations, Readers},
         {py_functions, Readers},
         {py_ports, Readers},
         {py_homes, Readers},
         {py_callbacks, Writers},
         {py_owed, Writers},
         {py_asked, [ordered_set | Writers]},
         {py_tags, Readers},
         {py_limits, Readers},
         {py_waiters, Writers},
         {py_grants, Writers},
         {py_dead, []},
         {py_counts, Writers},
         {py_state, Writers},
         {py_state_lock, []},
         {py_atoms, Writers},
         {py_send_names, Readers},
         {py_origins, Readers},
         {py_symptoms, Writers}]),
    %% Loaded now: their atoms must exist before the first reply is decoded.
    _ = [py_protocol:vocabulary(), py_atoms:known()],
    ok.

%% Contexts

-spec add_context(#route{}) -> ok.
add_context(Route = #route{ctx = Ctx}) ->
    true = ets:insert(py_contexts, {Ctx, kept(Route)}),
    ok.

%% As it is in tables: its limit is named by its number (py_limits).
kept(Route = #route{limit = Limit}) -> Route#route{limit = py_slots:number(Limit)}.

%% As it is elsewhere; `gone' when the limit is, and so the pool.
read(Route = #route{limit = Number}) when is_integer(Number) ->
    case py_limits:numbered(Number) of
        gone -> gone;
        Limit -> Route#route{limit = Limit}
    end;
read(Route) ->
    Route.

-spec remove_context(pid(), Why :: term()) -> ok.
remove_context(Ctx, Why) ->
    N = ets:update_counter(py_dead, next, {2, 1}, {next, 0}) rem ?REMEMBERED,
    case ets:lookup(py_dead, {ring, N}) of
        [{_, Forgotten}] -> ets:delete(py_dead, Forgotten);
        [] -> true
    end,
    true = ets:insert(py_dead, [{Ctx, Why}, {{ring, N}, Ctx}]),
    %% Last: who finds it in neither table would take it for no context.
    true = ets:delete(py_contexts, Ctx),
    py_symptoms:forget(Ctx).

%% @doc For a context that could not tidy up itself.
-spec remove_killed_context(pid()) -> ok.
remove_killed_context(Ctx) ->
    true = ets:match_delete(py_handles, {'_', Ctx, '_'}),
    ok = py_homes:remove_context(Ctx),
    remove_context(Ctx, stopped).

%% @doc The route to a context, `gone' when there is none by this pid.
-spec route(pid()) -> #route{} | gone.
route(Ctx) ->
    case lookup(py_contexts, Ctx) of
        [{_, Route}] -> read(Route);
        [] -> gone
    end.

%% @doc What a context died of, `unknown' when it lives or that is forgotten.
-spec why_dead(pid()) -> term() | unknown.
why_dead(Ctx) ->
    case lookup(py_dead, Ctx) of
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
    Array = list_to_tuple([kept(Route) || Route <- Routes]),
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
    case lookup(py_routes, {Pool, {Index}}) of
        [{_, Kept}] ->
            case read(Kept) of
                gone -> [];
                Route -> [Route | contexts(Pool, Index + 1)]
            end;
        [] ->
            []
    end.

%% @doc For who routes: the context, its index, how many there are, and the tags of those that come next. Raises `badarg' when the
%% application does not run.
-spec scheduler_row(atom(), pos_integer()) -> {#route{}, pos_integer(), pos_integer(), tuple()} | none.
scheduler_row(Pool, Scheduler) ->
    case ets:lookup(py_routes, {Pool, Scheduler}) of
        [{_, Kept, Own, Size, Others}] ->
            case read(Kept) of
                gone -> none;
                Route -> {Route, Own, Size, Others}
            end;
        [] ->
            none
    end.

-spec context_at(atom(), pos_integer()) -> #route{} | none.
context_at(Pool, Index) ->
    case ets:lookup(py_routes, {Pool, {Index}}) of
        [{_, Kept}] ->
            case read(Kept) of
                gone -> none;
                Route -> Route
            end;
        [] ->
            none
    end.

%% @doc All contexts of a pool, those that take no requests any more too.
-spec routes(atom()) -> [#route{}].
routes(Pool) ->
    [Route || {_, Kept = #route{pool = Home}} <- all(py_contexts), Home =:= Pool, Route <- [read(Kept)], Route =/= gone].

indices(Pool) ->
    [Index || [Index] <- ets:match(py_routes, {{Pool, {'$1'}}, '_'})].

%% @doc The calling process is the pool, unless another one that lives is.
-spec add_pool(atom(), map()) -> ok | {held_by, pid()}.
add_pool(Pool, Info) ->
    case ets:insert_new(py_pools, {Pool, self(), Info}) of
        true ->
            _ = ets:insert_new(py_counts, [{{Pool, What}, 0} || What <- [errors, timeouts, restarts, messages_refused]]),
            ok;
        false ->
            case ets:lookup(py_pools, Pool) of
                [{_, Pid, _} = Held] ->
                    case is_process_alive(Pid) of
                        true -> {held_by, Pid};
                        false ->
                            true = ets:delete_object(py_pools, Held),
                            add_pool(Pool, Info)
                    end;
                [] -> add_pool(Pool, Info)
            end
    end.

-spec set_pool_info(atom(), map()) -> ok.
set_pool_info(Pool, Info) ->
    true = ets:update_element(py_pools, Pool, {3, Info}),
    ok.

%% @doc For the process that is the pool.
-spec remove_pool(atom()) -> ok.
remove_pool(Pool) ->
    ok = unpublish(Pool),
    true = ets:delete(py_pools, Pool),
    _ = ets:match_delete(py_counts, {{Pool, '_'}, '_'}),
    ok.

%% @doc The same for one that was stopped, and had no time to do so.
-spec remove_killed_pool(atom()) -> ok.
remove_killed_pool(Pool) ->
    case pool(Pool) of
        {Pid, _} ->
            case is_process_alive(Pid) of
                true -> ok;
                false -> remove_pool(Pool)
            end;
        none ->
            ok
    end.

-spec pool(atom()) -> {pid(), map()} | none.
pool(Pool) ->
    case lookup(py_pools, Pool) of
        [{_, Pid, Info}] -> {Pid, Info};
        [] -> none
    end.

-spec pools() -> [{atom(), pid(), map()}].
pools() ->
    lists:sort(all(py_pools)).

-spec is_pool(pid()) -> boolean().
is_pool(Pid) ->
    ets:match(py_pools, {'$1', Pid, '_'}) =/= [].

%% @doc The pool is to be there until {@link forget_spec/1}, whoever dies.
-spec keep_spec(atom(), py_pool_sup:kept()) -> ok.
keep_spec(Pool, Spec) ->
    true = ets:insert(py_pool_specs, {Pool, Spec}),
    ok.

-spec forget_spec(atom()) -> ok.
forget_spec(Pool) ->
    true = ets:delete(py_pool_specs, Pool),
    ok.

-spec spec(atom()) -> {ok, py_pool_sup:kept()} | none.
spec(Pool) ->
    case lookup(py_pool_specs, Pool) of
        [{_, Spec}] -> {ok, Spec};
        [] -> none
    end.

-spec specs() -> [{atom(), py_pool_sup:kept()}].
specs() ->
    lists:sort(all(py_pool_specs)).

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
    case lookup(py_handles, Ref) of
        [{_, Ctx, Env}] -> {Ctx, Env};
        [] -> gone
    end.

%% Registrations

-spec register({binary(), binary() | '_'}, atom(), {py_args:name(), py_args:name()}) -> ok.
register(Key, Pool, AsRegistered) ->
    true = ets:insert(py_registrations, {Key, Pool, AsRegistered}),
    ok.

-spec unregister({binary(), binary() | '_'}) -> ok.
unregister(Key) ->
    true = ets:delete(py_registrations, Key),
    ok.

-spec registered({binary(), binary() | '_'}) -> {ok, atom()} | none.
registered(Key) ->
    case ets:lookup(py_registrations, Key) of
        [{_, Pool, _}] -> {ok, Pool};
        [] -> none
    end.

-spec registrations() -> [{{binary(), binary() | '_'}, atom(), {py_args:name(), py_args:name()}}].
registrations() ->
    all(py_registrations).

%% Counts

%% @doc Counts for a pool that exists: a row made here would outlive it.
-spec count(atom(), count()) -> ok.
count(Pool, What) ->
    try ets:update_counter(py_counts, {Pool, What}, 1) of
        _ -> ok
    catch
        error:badarg -> ok
    end.

-spec counted(atom(), count()) -> non_neg_integer().
counted(Pool, What) ->
    case lookup(py_counts, {Pool, What}) of
        [{_, N}] -> N;
        [] -> 0
    end.

%% For those who may ask while the application does not run: a lookup in a table that is there does not fail.

lookup(Table, Key) ->
    try
        ets:lookup(Table, Key)
    catch
        error:badarg -> py_started:absent()
    end.

all(Table) ->
    try
        ets:tab2list(Table)
    catch
        error:badarg -> py_started:absent()
    end.
