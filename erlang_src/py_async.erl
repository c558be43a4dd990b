%% @doc Requests that may be coroutines: what the function returns is awaited on its context's event loop, if it can be.
%% They are cast (py_caster), so the caller goes on, and the result is a message `{async_result, Ref, Result}'.
%%
%% There is no limit of time unless one is asked for: a coroutine that waits holds nothing but memory, and it is
%% cancelled when the process that asked for it dies.
-module(py_async).

-include("py_protocol.hrl").

-export([request/5, start/1, detached/1, await/1, await/2, gather/2]).

-define(AWAIT_MS, 30000).

%% @doc With the options of {@link py_event_loop:run/4}.
-spec request(py_route:target(), py_args:name(), py_args:name(), [term()], py_event_loop:options()) ->
    py_call:request().
request(Target, M, F, Args, Options) when is_map_key(kwargs, Options); is_map_key(timeout, Options) ->
    case maps:keys(maps:without([kwargs, timeout], Options)) of
        [] -> ok;
        [Key | _] -> error({bad_argument, options, Key})
    end,
    Timeout = py_args:timeout(maps:get(timeout, Options, infinity)),
    {Target, py_args:operation(M, F, Args, maps:get(kwargs, Options, #{})), 0, Timeout};
request(Target, M, F, Args, Kwargs) ->
    {Target, py_args:operation(M, F, Args, Kwargs), 0, infinity}.

-spec start(py_call:request()) -> reference().
start(Request) ->
    cast(async_result, Request).

%% @doc Nobody waits for it, and it goes on when the caller dies.
-spec detached(py_call:request()) -> ok.
detached(Request) ->
    _ = cast(none, Request),
    ok.

cast(Tag, {Target, Operation, Flags, Limit}) ->
    py_caster:cast(Tag, Target, Operation, Flags bor ?FLAG_TASK, unlimited(Limit)).

unlimited(default) -> infinity;
unlimited(Limit) -> Limit.

-spec await(reference()) -> py:result().
await(Ref) ->
    await(Ref, ?AWAIT_MS).

%% @doc The task goes on when the time is over, and can be awaited again.
-spec await(reference(), timeout()) -> py:result().
await(Ref, Timeout) when is_reference(Ref) ->
    py_caster:await(async_result, Ref, py_args:timeout(Timeout));
await(Ref, _Timeout) ->
    error({bad_argument, reference, Ref}).

%% @doc All at once. What has not ended when the time is over is cancelled.
-spec gather([py_call:request()], timeout()) ->
    {ok, [term()]} | {error, {gather_failed, [{pos_integer(), term()}]}}.
gather(Requests, Timeout) ->
    Refs = [start({Target, Operation, Flags, Timeout}) || {Target, Operation, Flags, _} <- Requests],
    Results = [await(Ref, infinity) || Ref <- Refs],
    case [{Index, Reason} || {Index, {error, Reason}} <- lists:zip(lists:seq(1, length(Results)), Results)] of
        [] -> {ok, [Value || {ok, Value} <- Results]};
        Failed -> {error, {gather_failed, Failed}}
    end.
