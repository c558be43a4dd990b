%% @doc The shapes in which Python can be asked for something, brought down to one, once: a target, an operation, flags and
%% a limit of time. Every function that runs Python takes its arguments from here, so every target (routed, a pool, a
%% context) takes the same: docs/getting-started.md. What runs a request is elsewhere (py_request, py_caster, py_stream).
-module(py_call).

-include("py_protocol.hrl").
-include("py_route.hrl").

-export([request/3, request/4, request/5, request/6, tuple/1, task/4, task_on/5, options/4, target/1]).
-export([eval/1, eval/2, eval/3, eval/4, exec/1, exec/2, exec/3, local/4]).
-export([run/1, cast/1, cancel/1]).

-export_type([request/0, target/0, call/0, timeout_or_options/0]).

-type request() :: {py_route:target(), py_protocol:operation(), Flags :: non_neg_integer(), py_time_limit:limit()}.
%% A context, or a pool by its name.
-type target() :: pid() | atom().
%% A call as one term, in any of its shapes.
-type call() :: {py_args:name(), py_args:name(), [term()]}
    | {py_args:name(), py_args:name(), [term()], py_args:named()}
    | {py_args:name(), py_args:name(), [term()], py_args:named(), timeout_or_options()}
    | {target(), py_args:name(), py_args:name(), [term()]}
    | {target(), py_args:name(), py_args:name(), [term()], py_args:named() | timeout_or_options()}
    | {target(), py_args:name(), py_args:name(), [term()], py_args:named(), timeout_or_options()}.
-type timeout_or_options() :: timeout() | py:options().

%% What values of the option none_as are on the wire.
-define(NONE_AS, #{none => 1, nil => 2, undefined => 3}).

%% Calls.

-spec request(term(), term(), term()) -> request().
request(M, F, Args) ->
    {routed, py_args:operation(M, F, Args), 0, default}.

%% @doc `M, F, Args, Kwargs', or `Target, M, F, Args'.
-spec request(term(), term(), term(), term()) -> request().
request(M, F, Args, Kwargs) when is_map(Kwargs), not is_pid(M) ->
    with_kwargs(routed, M, F, Args, Kwargs);
request(A, B, C, D) ->
    case has_target(A, C, D) of
        true -> {target(A), py_args:operation(B, C, D), 0, limit(A)};
        false -> with_kwargs(routed, A, B, C, D)
    end.

%% @doc `M, F, Args, Kwargs, TimeoutOrOptions', or `Target, M, F, Args, Last'. Last to a pool are keyword arguments, as they
%% are to no target; to a context, options.
-spec request(term(), term(), term(), term(), term()) -> request().
request(M, F, Args, Kwargs, Last) when is_map(Kwargs), not is_pid(M) ->
    complete(routed, py_args:operation(M, F, Args, Kwargs), Last, default);
request(A, B, C, D, E) ->
    case has_target(A, C, D) of
        true when is_pid(A); is_integer(E); E =:= infinity -> options(target(A), limit(A), {B, C, D}, E);
        true -> with_kwargs(target(A), B, C, D, E);
        false -> complete(routed, py_args:operation(A, B, C, D), E, default)
    end.

%% @doc `Target, M, F, Args, Kwargs, TimeoutOrOptions'.
-spec request(term(), term(), term(), term(), term(), term()) -> request().
request(Target, M, F, Args, Kwargs, Last) ->
    complete(target(Target), py_args:operation(M, F, Args, Kwargs), Last, limit(Target)).

-spec tuple(term()) -> request().
tuple({A, B, C}) -> request(A, B, C);
tuple({A, B, C, D}) -> request(A, B, C, D);
tuple({A, B, C, D, E}) -> request(A, B, C, D, E);
tuple({A, B, C, D, E, F}) -> request(A, B, C, D, E, F);
tuple(Call) -> error({bad_argument, call, Call}).

%% @doc A task of py_event_loop, as {@link request/4} and {@link task_on/5} have it.
-spec task(term(), term(), term(), term()) -> request().
task(A, B, C, D) ->
    case has_target(A, C, D) of
        true -> request(A, B, C, D);
        false -> task_on(routed, A, B, C, D)
    end.

%% @doc What stands last are options if `kwargs' or `timeout' is there, otherwise keyword arguments.
-spec task_on(py_route:target(), term(), term(), term(), term()) -> request().
task_on(Target, M, F, Args, Last) ->
    case py_args:map(options, Last) of
        Options when is_map_key(timeout, Options); is_map_key(kwargs, Options) ->
            options(Target, infinity, {M, F, Args}, Options);
        Kwargs ->
            with_kwargs(Target, M, F, Args, Kwargs)
    end.

%% @doc A call whose keyword arguments are among its options, or that has none.
-spec options(py_route:target(), py_time_limit:limit(), {term(), term(), term()}, term()) -> request().
options(Target, Limit, {M, F, Args}, Last) when is_map(Last); is_list(Last) ->
    Options = py_args:map(options, Last),
    complete(Target, py_args:operation(M, F, Args, maps:get(kwargs, Options, #{})), maps:remove(kwargs, Options), Limit);
options(Target, Limit, {M, F, Args}, Last) ->
    complete(Target, py_args:operation(M, F, Args), Last, Limit).

with_kwargs(Target, M, F, Args, Kwargs) ->
    {Target, py_args:operation(M, F, Args, Kwargs), 0, default}.

%% Whether it is `Target, M, F, Args' that begins a call, and not `M, F, Args, Kwargs'. What stands third tells: a name or a
%% list of arguments. A string is both. When what follows it could be keyword arguments as well, it depends on whether there
%% is a pool of that name.
has_target(Ctx, _F, _Args) when is_pid(Ctx) -> true;
has_target(_Pool, F, _Args) when is_atom(F); is_binary(F) -> true;
has_target(Pool, F = [_ | _], Args) when is_atom(Pool), is_list(Args) ->
    py_args:is_identifier(F) andalso (not py_args:is_named(Args) orelse py_context_router:pool_started(Pool));
has_target(_M, _Args, _Kwargs) -> false.

%% @doc Of a context or a pool.
-spec target(term()) -> py_route:target().
target(Ctx) when is_pid(Ctx) -> {context, Ctx};
target(Pool) when is_atom(Pool) -> {pool, Pool};
target(Other) -> error({bad_argument, pool, Other}).

%% Nobody waits for a context by accident.
limit(Ctx) when is_pid(Ctx) -> infinity;
limit(_Pool) -> default.

%% Code.

-spec eval(term()) -> request().
eval(Expr) ->
    {routed, py_args:eval(Expr, #{}), 0, default}.

%% @doc `Expr, Locals', or `Target, Expr'.
-spec eval(term(), term()) -> request().
eval(Target, Expr) when is_pid(Target); is_atom(Target) ->
    {target(Target), py_args:eval(Expr, #{}), 0, limit(Target)};
eval(Expr, Locals) ->
    {routed, py_args:eval(Expr, Locals), 0, default}.

%% @doc `Expr, Locals, TimeoutOrOptions', or `Target, Expr, Locals'.
-spec eval(term(), term(), term()) -> request().
eval(Target, Expr, Locals) when is_pid(Target); is_atom(Target) ->
    {target(Target), py_args:eval(Expr, Locals), 0, limit(Target)};
eval(Expr, Locals, Last) ->
    complete(routed, py_args:eval(Expr, Locals), Last, default).

-spec eval(term(), term(), term(), term()) -> request().
eval(Target, Expr, Locals, Last) ->
    complete(target(Target), py_args:eval(Expr, Locals), Last, limit(Target)).

-spec exec(term()) -> request().
exec(Code) ->
    {routed, py_args:exec(Code), 0, default}.

%% @doc `Code, TimeoutOrOptions', or `Target, Code'.
-spec exec(term(), term()) -> request().
exec(Target, Code) when is_pid(Target); is_atom(Target) ->
    {target(Target), py_args:exec(Code), 0, limit(Target)};
exec(Code, Last) ->
    complete(routed, py_args:exec(Code), Last, default).

-spec exec(term(), term(), term()) -> request().
exec(Target, Code, Last) ->
    complete(target(Target), py_args:exec(Code), Last, limit(Target)).

%% @doc In a namespace that py_context:create_local_env/1 has made, or in the shared one of the context.
-spec local(term(), term(), py_protocol:operation(), term()) -> request() | {error, term()}.
local(Ctx, _Env, _Operation, _Last) when not is_pid(Ctx) ->
    error({bad_argument, context, Ctx});
local(Ctx, shared, Operation, Last) ->
    complete({env, Ctx, ?SHARED_ENV}, Operation, Last, infinity);
local(Ctx, Env, Operation, Last) when is_reference(Env) ->
    case py_started:result(fun() -> py_tables:handle(Env) end) of
        {Ctx, Id} when is_pid(Ctx) -> complete({env, Ctx, Id}, Operation, Last, infinity);
        {error, _} = NotStarted -> NotStarted;
        {_OtherContext, _} -> error({bad_argument, env, Env});
        gone -> py_context:gone(Ctx)
    end;
local(_Ctx, Env, _Operation, _Last) ->
    error({bad_argument, env, Env}).

%% Timeouts and options.

complete(Target, Operation, Last, Limit) when is_map(Last); is_list(Last) ->
    {Flags, Chosen} = maps:fold(fun option/3, {0, Limit}, py_args:map(options, Last)),
    {Target, Operation, Flags, Chosen};
complete(Target, Operation, Timeout, _Limit) ->
    {Target, Operation, 0, py_args:timeout(Timeout)}.

option(timeout, Timeout, {Flags, Limit}) -> {Flags, py_time_limit:with_total(py_args:timeout(Timeout), Limit)};
option(queue_timeout, Timeout, {Flags, Limit}) -> {Flags, py_time_limit:with_queue(py_args:timeout(queue_timeout, Timeout), Limit)};
option(traceback, Value, Request) when is_boolean(Value) -> flag(?FLAG_TRACEBACK, Value, Request);
option(strict, Value, Request) when is_boolean(Value) -> flag(?FLAG_STRICT, Value, Request);
option(buffer, Value, Request) when is_boolean(Value) -> flag(?FLAG_BUFFER, Value, Request);
option(none_as, Atom, {Flags, Limit}) when is_map_key(Atom, ?NONE_AS) ->
    {Flags bor map_get(Atom, ?NONE_AS) * ?FLAG_NONE_AS, Limit};
option(Key, Value, _) -> error({bad_argument, options, {Key, Value}}).

flag(Bit, true, {Flags, Limit}) -> {Flags bor Bit, Limit};
flag(_Bit, false, Request) -> Request.

%% What is done with a request.

-spec run(request() | {error, term()}) -> py_request:result().
run({Target, Operation, Flags, Limit}) -> py_request:run(Target, Operation, Flags, Limit);
run({error, _} = Error) -> Error.

-spec cast(request()) -> reference().
cast({Target, Operation, Flags, Limit}) ->
    py_caster:cast(py_response, Target, Operation, Flags, Limit).

-spec cancel(reference()) -> ok.
cancel(Ref) ->
    ok = py_stream_server:cancel(Ref),
    py_caster:cancel(Ref).
