%% @doc Whether a pid is that of a context, and what one died of that is none any more.
-module(py_context_search).

-export([find/1, gone/1]).

-export_type([gone/0]).

%% Of a pid that is no context, or not any more.
-type gone() :: {context_died, Why :: term()} | {no_such_context, pid()} | py_started:not_started().

%% A context whose port process has died follows it at once.
-define(DEATH_MS, 5000).

%% @doc Contexts whose port process is being replaced are dead for the tables, and go on for a while.
-spec find(pid()) -> ours | {error, gone()}.
find(Ctx) when is_pid(Ctx) ->
    try
        py_tables:route(Ctx) =/= gone orelse py_tables:why_dead(Ctx) =/= unknown
    of
        true -> ours;
        false -> gone(Ctx)
    catch
        error:Reason:Stack -> py_started:failed(Reason, Stack)
    end;
find(Ctx) ->
    error({bad_argument, context, Ctx}).

%% @doc The error of a request to a context to which there is no route: what it died of, or that there never was one.
-spec gone(pid()) -> {error, gone()}.
gone(Ctx) when is_pid(Ctx) ->
    try
        py_tables:why_dead(Ctx)
    of
        unknown -> unknown(Ctx);
        Why -> {error, {context_died, Why}}
    catch
        error:Reason:Stack -> py_started:failed(Reason, Stack)
    end;
gone(Ctx) ->
    error({bad_argument, context, Ctx}).

%% The tables forget; a context is known by what its process began with, too. One that is about to die is waited for: its
%% port process is gone already.
unknown(Ctx) when node(Ctx) =/= node() ->
    {error, {no_such_context, Ctx}};
unknown(Ctx) ->
    case is_process_alive(Ctx) andalso proc_lib:translate_initial_call(Ctx) of
        %% It may have died since it was looked for.
        false -> {error, {context_died, known(py_tables:why_dead(Ctx))}};
        {py_context, _, _} -> {error, {context_died, await_death(Ctx)}};
        %% Nothing is known of what a dead process began with.
        _ ->
            case py_tables:why_dead(Ctx) of
                unknown -> {error, {no_such_context, Ctx}};
                Why -> {error, {context_died, Why}}
            end
    end.

await_death(Ctx) ->
    Monitor = monitor(process, Ctx),
    receive
        {'DOWN', Monitor, process, _, {shutdown, {context_died, Why}}} -> Why;
        {'DOWN', Monitor, process, _, _} -> known(py_tables:why_dead(Ctx))
    after ?DEATH_MS ->
        demonitor(Monitor, [flush]),
        stopped
    end.

known(unknown) -> stopped;
known(Why) -> Why.
