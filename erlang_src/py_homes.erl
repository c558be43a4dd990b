%% @doc Where processes have namespaces, for the callbacks that work on their behalf: those are other processes and
%% cannot look into the process dictionary where py_env keeps it.
%%
%% | row of py_homes | |
%% | `{{PyPort, CtxId}, Ctx, Route}' | the context that a port process knows by this number |
%% | `{{Ctx, Pid}, Ctx, Env}' | the namespace of its own that a process has in a context |
%% | `{{Pool, Pid}, Ctx, Route}' | where in a pool that is, the latest |
%%
%% All rows are written by the context.
-module(py_homes).

-include("py_route.hrl").

%% For the context.
-export([add_context/1, remove_context/1, add_env/2, remove_env/2]).
%% For callbacks.
-export([context/2, env/2, in_pool/2, owners/1]).

-define(TABLE, py_homes).

-spec add_context(#route{}) -> ok.
add_context(Route = #route{ctx = Ctx, owner = Owner, id = Id}) ->
    true = ets:insert(?TABLE, {{Owner, Id}, Ctx, Route}),
    ok.

%% @doc With all that processes have in it.
-spec remove_context(pid()) -> ok.
remove_context(Ctx) ->
    true = ets:match_delete(?TABLE, {'_', Ctx, '_'}),
    ok.

%% @doc The process has the namespace that `Route' names.
-spec add_env(pid(), #route{}) -> ok.
add_env(Pid, Route = #route{ctx = Ctx, pool = Pool, env = Env}) ->
    true = ets:insert(?TABLE, [{{Ctx, Pid}, Ctx, Env}, {{Pool, Pid}, Ctx, Route}]),
    ok.

-spec remove_env(pid(), #route{}) -> ok.
remove_env(Pid, #route{ctx = Ctx, pool = Pool}) ->
    true = ets:delete(?TABLE, {Ctx, Pid}),
    true = ets:match_delete(?TABLE, {{Pool, Pid}, Ctx, '_'}),
    ok.

-spec context(pid(), non_neg_integer()) -> #route{} | none.
context(Owner, Id) ->
    case ets:lookup(?TABLE, {Owner, Id}) of
        [{_, _, Route}] -> Route;
        [] -> none
    end.

%% @doc The process's own namespace in this context, 0 when it has none.
-spec env(pid(), pid()) -> non_neg_integer().
env(Ctx, Pid) ->
    case ets:lookup(?TABLE, {Ctx, Pid}) of
        [{_, _, Env}] -> Env;
        [] -> 0
    end.

%% @doc The processes that have a namespace of their own in this context.
-spec owners(pid()) -> [pid()].
owners(Ctx) ->
    ets:select(?TABLE, [{{{Ctx, '$1'}, Ctx, '_'}, [], ['$1']}]).

%% @doc Where in this pool the process has its namespace, if that context still takes requests.
-spec in_pool(atom(), pid()) -> #route{} | none.
in_pool(Pool, Pid) ->
    case ets:lookup(?TABLE, {Pool, Pid}) of
        [{_, _, Route = #route{tag = Tag}}] ->
            case py_counters:load(Tag) of
                Load when Load >= 0 -> Route;
                _Closed -> none
            end;
        [] ->
            none
    end.
