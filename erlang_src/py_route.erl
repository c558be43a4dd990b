%% @doc Where a request goes. Asks no process: the caller's memory (py_env), the registrations and the routes in ETS.
-module(py_route).

-include("py_route.hrl").

-export([find/3, pool_of/2, limit_of/2, context/2, pool/2, lookup_pool/2, registration_key/2]).

-export_type([target/0]).

%% Routed by the rules; a pool; a context with the caller's namespace; a context with a given one.
-type target() :: routed | {pool, atom()} | {context, pid()} | {env, pid(), pos_integer()}.

%% @doc `{down, Pool}': it has no context now.
-spec find(target(), py_protocol:operation(), #caller{}) -> #route{} | {down, atom()} | {gone, pid()}.
find(routed, Operation, Caller = #caller{bound = none}) ->
    pool(routed_pool(Operation), Caller);
find(routed, _Operation, #caller{bound = Route}) ->
    Route;
find({pool, Pool}, _Operation, Caller) ->
    pool(Pool, Caller);
find({context, Ctx}, _Operation, Caller) ->
    case context(Ctx, Caller) of
        gone -> {gone, Ctx};
        Route -> Route
    end;
find({env, Ctx, Env}, _Operation, _Caller) ->
    case py_tables:route(Ctx) of
        gone -> {gone, Ctx};
        Route -> Route#route{env = Env}
    end.

%% @doc The pool that a request goes to which is bound to nothing.
-spec pool_of({pool, atom()} | routed, py_protocol:operation()) -> atom().
pool_of({pool, Pool}, _Operation) -> Pool;
pool_of(routed, Operation) -> routed_pool(Operation).

%% @doc The limit that a request of this target is subject to.
-spec limit_of(target(), py_protocol:operation()) -> {ok, py_slots:limit()} | {error, term()}.
limit_of({context, Ctx}, _Operation) -> limit_of_context(Ctx);
limit_of({env, Ctx, _Env}, _Operation) -> limit_of_context(Ctx);
limit_of(Target, Operation) -> py_limits:find(pool_of(Target, Operation)).

limit_of_context(Ctx) ->
    case py_tables:route(Ctx) of
        #route{limit = Limit} -> {ok, Limit};
        gone -> py_context:gone(Ctx)
    end.

%% @doc The route to a context, with the caller's namespace there if it has one.
-spec context(pid(), #caller{}) -> #route{} | gone.
context(Ctx, Caller = #caller{envs = Envs, chain = Chain}) ->
    case Envs of
        #{Ctx := Route} -> Route;
        _ when Chain =:= 0 -> py_tables:route(Ctx);
        _ -> with_env(py_tables:route(Ctx), Caller)
    end.

%% A callback works with the namespaces of the process that began the chain.
with_env(Route = #route{ctx = Ctx}, Caller) -> Route#route{env = py_homes:env(Ctx, py_chain:starter(Caller))};
with_env(gone, _Caller) -> gone.

%% @doc The context of a pool that the caller's requests go to.
-spec pool(atom(), #caller{}) -> #route{} | {down, atom()}.
pool(Pool, Caller = #caller{pools = Pools, chain = Chain}) ->
    case Pools of
        #{Pool := Route} -> Route;
        _ when Chain =:= 0 -> by_scheduler(Pool);
        _ ->
            case py_homes:in_pool(Pool, py_chain:starter(Caller)) of
                none -> by_scheduler(Pool);
                Route -> Route
            end
    end.

by_scheduler(Pool) ->
    Scheduler = erlang:system_info(scheduler_id),
    case py_tables:scheduler_row(Pool, Scheduler) of
        {Route, _Own, 1, _Others} ->
            Route;
        {Route = #route{tag = Tag}, Own, Size, Others} ->
            case py_counters:load(Tag) of
                0 -> Route;
                Load ->
                    case Size > erlang:system_info(schedulers) orelse py_counters:is_slow(Tag) of
                        true -> less_busy(Pool, Route, Load, Own, Size, Others);
                        false -> Route
                    end
            end;
        none ->
            {down, Pool}
    end.

%% A busy context that completes requests all the time is the best place for the next one: its thread is awake and reads
%% the requests itself. One that has completed nothing for a while would make it wait. That happens to all processes of a
%% node whose work is waiting for Python: the BEAM then runs them all on one scheduler, so its choice alone would send
%% everything to one context. A pool with more contexts than schedulers is meant for waiting: its first idle one is taken.
less_busy(Pool, Route, Load, Own, Size, Others) ->
    case least(Others, 1, 0, Load) of
        0 -> Route;
        Next ->
            case py_tables:context_at(Pool, (Own - 1 + Next) rem Size + 1) of
                none -> Route;
                Other -> Other
            end
    end.

%% Which of them has least to do, and less than `Load'; 0 for none.
least(_Others, _Next, Best, 0) ->
    Best;
least(Others, Next, Best, _Load) when Next > tuple_size(Others) ->
    Best;
least(Others, Next, Best, Load) ->
    case py_counters:load(element(Next, Others)) of
        Less when Less >= 0, Less < Load -> least(Others, Next + 1, Next, Less);
        _ -> least(Others, Next + 1, Best, Load)
    end.

routed_pool({call, M, F, _, _}) ->
    case py_counters:registrations() of
        0 -> default;
        _ -> lookup_pool(M, F)
    end;
routed_pool(_EvalOrExec) ->
    default.

%% @doc The pool registered for `{M, F}', else for `M', else `default'.
-spec lookup_pool(atom() | binary(), atom() | binary()) -> atom().
lookup_pool(M, F) ->
    case py_tables:registered(registration_key(M, F)) of
        none ->
            case py_tables:registered(registration_key(M, '_')) of
                none -> default;
                {ok, Pool} -> Pool
            end;
        {ok, Pool} -> Pool
    end.

%% @doc The same for an atom and a binary of the same text.
-spec registration_key(atom() | binary(), atom() | binary()) -> {binary(), binary() | '_'}.
registration_key(M, '_') -> {text(M), '_'};
registration_key(M, F) -> {text(M), text(F)}.

text(Name) when is_atom(Name) -> atom_to_binary(Name);
text(Name) -> Name.
