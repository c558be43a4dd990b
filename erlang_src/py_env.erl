%% @doc What a process remembers of its dealings with Python: bound contexts, and where it has namespaces. It lives in
%% the process dictionary, so routing asks nobody, and it dies with the process. A process in a chain of calls works
%% with the namespaces of the process that began it (py_chain).
-module(py_env).

-include("py_route.hrl").

-export([caller/0, ensure/1, forget/1, without/2, bind/1, bind/2, unbind/0, unbind/1, local/1]).

-define(KEY, '$py_caller').

%% @doc The calling process.
-spec caller() -> #caller{}.
caller() ->
    case get(?KEY) of
        Caller = #caller{root = none} -> Caller;
        undefined -> remembered(py_chain:caller());
        Descendant -> still_in_chain(Descendant)
    end.

remembered(Caller) ->
    put(?KEY, Caller),
    Caller.

%% A process that outlives the callback that it descends from is its own from then on, with nothing but what it was
%% bound to: the namespaces were the chain's.
still_in_chain(Caller = #caller{root = Root, bound = Bound}) ->
    case is_process_alive(Root) of
        true -> Caller;
        false ->
            remembered((py_chain:plain())#caller{bound = case Bound of
                none -> none;
                _ -> Bound#route{env = 0}
            end})
    end.

%% @doc The route with the caller's own namespace in it, which is made if this is the first time; `stale' when the
%% context is gone.
-spec ensure(#route{}) -> #route{} | stale.
ensure(Route = #route{env = Env}) when Env > 0 ->
    Route;
ensure(Route = #route{ctx = Ctx}) ->
    case py_context:env(Ctx, py_chain:starter(caller())) of
        {ok, Env} -> remember(Route#route{env = Env});
        {error, gone} -> stale
    end.

%% A process that went elsewhere because its context died may name many contexts in its life: the dead are dropped
%% whenever one is added.
remember(Route = #route{ctx = Ctx, pool = Pool}) ->
    Caller = #caller{bound = Bound, pools = Pools, envs = Envs} = caller(),
    Alive = maps:filter(fun(Known, _) -> is_process_alive(Known) end, Envs),
    put(?KEY, Caller#caller{
        bound = replace(Bound, Route),
        pools = maps:map(fun(_, Other) -> replace(Other, Route) end, maps:merge(#{Pool => Route}, Pools)),
        envs = Alive#{Ctx => Route}}),
    Route.

replace(#route{ctx = Ctx}, Route = #route{ctx = Ctx}) -> Route;
replace(Other, _Route) -> Other.

%% @doc The context is dead: nothing is routed to it again.
-spec forget(pid()) -> ok.
forget(Ctx) ->
    put(?KEY, without(Ctx, caller())),
    ok.

%% @doc A process's memory without this context.
-spec without(pid(), #caller{}) -> #caller{}.
without(Ctx, Caller = #caller{bound = Bound, pools = Pools, envs = Envs}) ->
    Caller#caller{
        bound = case Bound of
            #route{ctx = Ctx} -> none;
            _ -> Bound
        end,
        pools = maps:filter(fun(_, #route{ctx = Other}) -> Other =/= Ctx end, Pools),
        envs = maps:remove(Ctx, Envs)}.

%% @doc Every routed request of the calling process goes to this context.
-spec bind(pid()) -> ok | {error, {context_died, term()}}.
bind(Ctx) ->
    bind_to(Ctx, fun(Caller, Route) -> Caller#caller{bound = Route} end).

%% @doc Every request of the calling process to this pool goes to this context.
-spec bind(atom(), pid()) -> ok | {error, {context_died, term()}}.
bind(Pool, Ctx) ->
    bind_to(Ctx, fun(Caller = #caller{pools = Pools}, Route) -> Caller#caller{pools = Pools#{Pool => Route}} end).

bind_to(Ctx, Set) ->
    Caller = caller(),
    case py_route:context(Ctx, Caller) of
        Route = #route{} ->
            put(?KEY, Set(Caller, Route)),
            ok;
        gone ->
            py_context:gone(Ctx)
    end.

-spec unbind() -> ok.
unbind() ->
    put(?KEY, (caller())#caller{bound = none}),
    ok.

%% @doc The pool's choice again; a namespace that the process has there keeps it where it is.
-spec unbind(atom()) -> ok.
unbind(Pool) ->
    Caller = #caller{pools = Pools, envs = Envs} = caller(),
    Rest = maps:remove(Pool, Pools),
    Own = [Route || Route = #route{pool = Home} <- maps:values(Envs), Home =:= Pool],
    put(?KEY, Caller#caller{pools = case Own of
        [Route | _] -> Rest#{Pool => Route};
        [] -> Rest
    end}),
    ok.

%% @doc The number of the calling process's namespace in this context, which is made if there is none.
-spec local(pid()) -> {ok, pos_integer()} | {error, {context_died, term()}}.
local(Ctx) ->
    case py_route:context(Ctx, caller()) of
        Route = #route{} ->
            case ensure(Route) of
                #route{env = Env} -> {ok, Env};
                stale -> py_context:gone(Ctx)
            end;
        gone ->
            py_context:gone(Ctx)
    end.
