%% @doc Requests that may be coroutines: what the function returns is awaited on its context's event loop, if it can be.
%% They are cast (py_caster), so the caller goes on, and the result is a message `{async_result, Ref, Result}'.
%%
%% There is no limit of time unless one is asked for: a coroutine that waits holds nothing but memory, and it is
%% cancelled when the process that asked for it dies.
-module(py_async).

-include("py_protocol.hrl").

-export([start/1, detached/1, run/1, await/1, await/2, gather/1, gather/2]).

-export_type([gathered/0]).

-type gathered() :: {ok, [term()]} | {error, {gather_failed, [{pos_integer(), term()}]} | py_started:not_started()}.

-define(GATHER_MS, 30000).

-spec start(py_call:request()) -> reference().
start(Request) ->
    cast(async_result, Request).

%% @doc Nobody waits for it, and it goes on when the caller dies.
-spec detached(py_call:request()) -> ok.
detached(Request) ->
    _ = cast(none, Request),
    ok.

cast(Tag, {Target, Operation, Flags, Limit}) ->
    py_caster:cast(Tag, Target, Operation, Flags bor ?FLAG_TASK, py_time_limit:unless_given(infinity, Limit)).

%% @doc Starts it and waits until it has ended.
-spec run(py_call:request()) -> py:result().
run(Request) ->
    py_started:result(fun() -> await(start(Request), infinity) end).

-spec await(reference()) -> py:result().
await(Ref) ->
    py_caster:await(async_result, Ref).

%% @doc The task goes on when the time is over, and can be awaited again.
-spec await(reference(), timeout()) -> py:result().
await(Ref, Timeout) ->
    py_caster:await(async_result, Ref, Timeout).

-spec gather([py_call:call()]) -> gathered().
gather(Calls) ->
    gather(Calls, ?GATHER_MS).

%% @doc All at once. What has not ended when the time is over is cancelled, and so is a call whose own timeout is over before.
-spec gather([py_call:call()], timeout()) -> gathered().
gather(Calls, Timeout) when length(Calls) >= 0 ->
    Requests = [py_call:tuple(Call) || Call <- Calls],
    Ms = py_args:timeout(Timeout),
    py_started:result(fun() -> gathered(Requests, Ms) end);
gather(Calls, _Timeout) ->
    error({bad_argument, calls, Calls}).

gathered(Requests, Timeout) ->
    Refs = [start({Target, Operation, Flags, py_time_limit:at_most(Timeout, Limit)}) || {Target, Operation, Flags, Limit} <- Requests],
    Results = [await(Ref, infinity) || Ref <- Refs],
    case [{Index, Reason} || {Index, {error, Reason}} <- lists:zip(lists:seq(1, length(Results)), Results)] of
        [] -> {ok, [Value || {ok, Value} <- Results]};
        Failed -> {error, {gather_failed, Failed}}
    end.
