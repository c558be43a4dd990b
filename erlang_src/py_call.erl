%% @doc The shapes in which a call can be asked for, brought down to one: a target, an operation, flags and a timeout.
%% Documented in `py'.
-module(py_call).

-include("py_protocol.hrl").

-export([call/3, call/4, call/5, eval/1, eval/2, eval/3, exec/1, exec/2, exec/3]).
-export([cast/3, cast/4, cast/5, await/1, await/2, parallel/1, cancel/1, gather/1, gather/2]).
-export([stream_fold/3, stream_start/4, stream_next/2, stream_cancel/1]).
%% The same shapes for others.
-export([request/3, request/4, request/5, with_options/5]).

-export_type([request/0]).

-define(AWAIT_MS, 30000).
-define(GATHER_MS, 30000).

-type request() :: {py_route:target(), py_protocol:operation(), Flags :: non_neg_integer(), py_request:limit()}.

-spec call(py_args:name(), py_args:name(), [term()]) -> py:result().
call(M, F, Args) ->
    py_request:run(routed, py_args:operation(M, F, Args), 0, default).

-spec call(term(), term(), term(), term()) -> py:result().
call(A, B, C, D) ->
    run(request(A, B, C, D)).

-spec call(term(), term(), term(), term(), term()) -> py:result().
call(A, B, C, D, E) ->
    run(request(A, B, C, D, E)).

-spec cast(py_args:name(), py_args:name(), [term()]) -> reference().
cast(M, F, Args) ->
    py_caster:cast(py_response, routed, py_args:operation(M, F, Args), 0, default).

-spec cast(term(), term(), term(), term()) -> reference().
cast(A, B, C, D) ->
    spawned(request(A, B, C, D)).

-spec cast(term(), term(), term(), term(), term()) -> reference().
cast(A, B, C, D, E) ->
    spawned(request(A, B, C, D, E)).

run({Target, Operation, Flags, Timeout}) ->
    py_request:run(Target, Operation, Flags, Timeout).

spawned({Target, Operation, Flags, Timeout}) ->
    py_caster:cast(py_response, Target, Operation, Flags, Timeout).

-spec request(term(), term(), term()) -> request().
request(M, F, Args) ->
    {routed, py_args:operation(M, F, Args), 0, default}.

%% A context is known by its pid, keyword arguments by being a map; what is left names a pool.
-spec request(term(), term(), term(), term()) -> request().
request(Ctx, M, F, Args) when is_pid(Ctx) ->
    {{context, Ctx}, py_args:operation(M, F, Args), 0, infinity};
request(M, F, Args, Kwargs) when is_map(Kwargs) ->
    {routed, py_args:operation(M, F, Args, Kwargs), 0, default};
request(Pool, M, F, Args) when is_list(Args), is_atom(Pool) ->
    {{pool, Pool}, py_args:operation(M, F, Args), 0, default};
request(_M, _F, _Args, Kwargs) ->
    error({bad_argument, kwargs, Kwargs}).

-spec request(term(), term(), term(), term(), term()) -> request().
request(Ctx, M, F, Args, Options) when is_pid(Ctx) ->
    with_options({context, Ctx}, M, F, Args, Options);
request(M, F, Args, Kwargs, Timeout) when is_map(Kwargs) ->
    {routed, py_args:operation(M, F, Args, Kwargs), 0, py_args:timeout(Timeout)};
request(Pool, M, F, Args, Kwargs) when is_list(Args), is_atom(Pool) ->
    {{pool, Pool}, py_args:operation(M, F, Args, Kwargs), 0, default};
request(_M, _F, _Args, Kwargs, _Timeout) ->
    error({bad_argument, kwargs, Kwargs}).

-spec with_options(py_route:target(), term(), term(), term(), term()) -> request().
with_options(Target, M, F, Args, Options) when is_map(Options) ->
    maps:foreach(fun check_option/2, Options),
    Flags = flag(traceback, ?FLAG_TRACEBACK, Options) bor flag(strict, ?FLAG_STRICT, Options)
        bor flag(buffer, ?FLAG_BUFFER, Options),
    Operation = py_args:operation(M, F, Args, maps:get(kwargs, Options, #{})),
    {Target, Operation, Flags, py_args:timeout(maps:get(timeout, Options, infinity))};
with_options(_Target, _M, _F, _Args, Options) ->
    error({bad_argument, options, Options}).

check_option(kwargs, _) -> ok;
check_option(timeout, _) -> ok;
check_option(traceback, Value) when is_boolean(Value) -> ok;
check_option(strict, Value) when is_boolean(Value) -> ok;
check_option(buffer, Value) when is_boolean(Value) -> ok;
check_option(Key, Value) -> error({bad_argument, options, {Key, Value}}).

flag(Key, Bit, Options) ->
    case Options of
        #{Key := true} -> Bit;
        _ -> 0
    end.

-spec eval(py_args:code()) -> py:result().
eval(Expr) ->
    eval_in(routed, Expr, #{}, default).

-spec eval(term(), term()) -> py:result().
eval(Ctx, Expr) when is_pid(Ctx) ->
    eval_in({context, Ctx}, Expr, #{}, infinity);
eval(Expr, Locals) ->
    eval_in(routed, Expr, Locals, default).

-spec eval(term(), term(), term()) -> py:result().
eval(Ctx, Expr, Locals) when is_pid(Ctx) ->
    eval_in({context, Ctx}, Expr, Locals, infinity);
eval(Expr, Locals, Timeout) ->
    eval_in(routed, Expr, Locals, py_args:timeout(Timeout)).

eval_in(Target, Expr, Locals, Timeout) ->
    py_request:run(Target, py_args:eval(Expr, Locals), 0, Timeout).

-spec exec(py_args:code()) -> ok | {error, term()}.
exec(Code) ->
    py_request:run(routed, py_args:exec(Code), 0, default).

-spec exec(pid(), py_args:code()) -> ok | {error, term()}.
exec(Ctx, Code) ->
    exec(Ctx, Code, infinity).

-spec exec(pid(), py_args:code(), timeout()) -> ok | {error, term()}.
exec(Ctx, Code, Timeout) when is_pid(Ctx) ->
    py_request:run({context, Ctx}, py_args:exec(Code), 0, py_args:timeout(Timeout));
exec(Ctx, _Code, _Timeout) ->
    error({bad_argument, context, Ctx}).

-spec await(reference()) -> py:result().
await(Ref) ->
    await(Ref, ?AWAIT_MS).

-spec await(reference(), timeout()) -> py:result().
await(Ref, Timeout) when is_reference(Ref) ->
    py_caster:await(py_response, Ref, py_args:timeout(Timeout));
await(Ref, _Timeout) ->
    error({bad_argument, reference, Ref}).

-spec parallel([{py_args:name(), py_args:name(), [term()]}]) -> {ok, [py:result()]}.
parallel(Calls) when is_list(Calls) ->
    {ok, py_parallel:run([operation(Call) || Call <- Calls], default)};
parallel(Calls) ->
    error({bad_argument, calls, Calls}).

operation({M, F, Args}) -> py_args:operation(M, F, Args);
operation({M, F, Args, Kwargs}) -> py_args:operation(M, F, Args, Kwargs);
operation(Call) -> error({bad_argument, call, Call}).

-spec cancel(reference()) -> ok.
cancel(Ref) when is_reference(Ref) ->
    ok = py_caster:cancel(Ref),
    py_stream_server:cancel(Ref);
cancel(Ref) ->
    error({bad_argument, reference, Ref}).

-spec gather([py:call()]) -> {ok, [term()]} | {error, {gather_failed, [{pos_integer(), term()}]}}.
gather(Calls) ->
    gather(Calls, ?GATHER_MS).

-spec gather([py:call()], timeout()) -> {ok, [term()]} | {error, {gather_failed, [{pos_integer(), term()}]}}.
gather(Calls, Timeout) when length(Calls) >= 0 ->
    py_async:gather([{routed, operation(Call), 0, default} || Call <- Calls], py_args:timeout(Timeout));
gather(Calls, _Timeout) ->
    error({bad_argument, calls, Calls}).

-spec stream_fold(fun((term(), Acc) -> Acc), Acc, py:call()) -> {ok, Acc} | {error, term()}.
stream_fold(Fun, Acc, Call) when is_function(Fun, 2) ->
    py_stream:fold(Fun, Acc, {routed, operation(Call), 0, infinity});
stream_fold(Fun, _Acc, _Call) ->
    error({bad_argument, function, Fun}).

-spec stream_start(py_args:name(), py_args:name(), [term()], py:stream_options()) -> {ok, reference()}.
stream_start(M, F, Args, Options) when is_map(Options) ->
    Owner = maps:get(owner, Options, self()),
    is_pid(Owner) orelse error({bad_argument, options, {owner, Owner}}),
    Others = maps:without([owner, context, pool], Options),
    py_stream_server:start(with_options(target(Options), M, F, Args, Others), Owner);
stream_start(_M, _F, _Args, Options) ->
    error({bad_argument, options, Options}).

target(#{context := Ctx}) when is_pid(Ctx) -> {context, Ctx};
target(#{context := Ctx}) -> error({bad_argument, options, {context, Ctx}});
target(#{pool := Pool}) when is_atom(Pool) -> {pool, Pool};
target(#{pool := Pool}) -> error({bad_argument, options, {pool, Pool}});
target(_) -> routed.

-spec stream_next(reference(), timeout()) -> {ok, term()} | done | {error, term()}.
stream_next(Ref, Timeout) when is_reference(Ref) ->
    py_stream_server:next(Ref, py_args:timeout(Timeout));
stream_next(Ref, _Timeout) ->
    error({bad_argument, reference, Ref}).

-spec stream_cancel(reference()) -> ok.
stream_cancel(Ref) when is_reference(Ref) ->
    py_stream_server:cancel(Ref);
stream_cancel(Ref) ->
    error({bad_argument, reference, Ref}).
