%% @doc The application: checks its environment, starts its supervisor, then the pools, and waits until they are there.
-module(erlang_python_app).
-behaviour(application).

-include_lib("kernel/include/logger.hrl").

-export([start/2, stop/1]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    case py_config:check() of
        ok ->
            case py_config:pools() of
                {ok, Specs} -> start_all(Specs);
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

start_all(Specs) ->
    case erlang_python_sup:start_link() of
        {ok, Pid} ->
            %% Side by side: most of the time is Python's start.
            Pools = [Pool || Spec = #{pool := Pool} <- Specs, {ok, _} <- [py_pools_sup:start_pool(Spec)]],
            lists:foreach(fun await/1, Pools),
            {ok, Pid};
        Error ->
            Error
    end.

%% The application starts without a pool that does not: its calls say why, and it is tried again.
await(Pool) ->
    case py_pool_await:start(Pool) of
        {ok, _} -> ok;
        {error, Reason} ->
            ?LOG_ERROR("pool ~ts does not start: ~ts", [Pool, py_error:format_error(Reason)],
                       #{pool => Pool})
    end.

-spec stop(term()) -> ok.
stop(_State) ->
    _ = persistent_term:erase(py_counters),
    ok = py_limits:forget(),
    ok.
