%% @doc Tasks on the event loops of contexts, from Erlang. Every context has a loop, which runs from its first task on;
%% tasks go where calls of the same process would go, or to a *target* that stands in front: a context, a pool, or a loop by the
%% reference that {@link get_loop/0} and py_context:loop_ref/1 give. See docs/asyncio.md.
%%
%% A task is a call whose value is awaited if it can be: the function may be `async' or not. It has no limit of time
%% unless one is given, and is cancelled when the process that asked for it dies.
-module(py_event_loop).

-include("py_route.hrl").

-export([run/3, run/4, create_task/3, create_task/4, create_task/5, spawn_task/3, spawn_task/4, await/1, await/2]).
-export([exec/1, exec/2, eval/1, eval/2, get_loop/0, run_async/2]).
-export_type([options/0, target/0, task/0]).

%% Those of {@link py:call/5}. Without the key `kwargs' or `timeout' they are keyword arguments.
-type options() :: py:options() | py_args:named().
-type target() :: py:target() | (LoopRef :: reference()).
-type task() :: #{ref := reference(), caller := pid(), module := py_args:name(), func := py_args:name(), args := [term()],
                  kwargs => py_args:named()} | [{atom(), term()}].

%% @doc Runs a task and waits for its result.
-spec run(py_args:name(), py_args:name(), [term()]) -> py:result().
run(M, F, Args) ->
    py_async:run(py_call:request(M, F, Args)).

%% @doc With options; or on a target.
-spec run(py_args:name() | target(), py_args:name(), [term()] | py_args:name(), options() | [term()]) -> py:result().
run(A, B, C, D) ->
    attempt(fun() -> py_async:run(py_call:task(context(A), B, C, D)) end).

%% @doc Begins a task. Its result comes as `{async_result, Ref, Result}', or is fetched with {@link await/1}; it is ended
%% with py:cancel/1.
-spec create_task(py_args:name(), py_args:name(), [term()]) -> reference().
create_task(M, F, Args) ->
    py_async:start(py_call:request(M, F, Args)).

%% @doc With options; or on a target.
-spec create_task(py_args:name() | target(), py_args:name(), [term()] | py_args:name(), options() | [term()]) -> reference().
create_task(A, B, C, D) ->
    py_async:start(py_call:task(context(A), B, C, D)).

%% @doc On a target, with options.
-spec create_task(target(), py_args:name(), py_args:name(), [term()], options()) -> reference().
create_task(Target, M, F, Args, Options) ->
    py_async:start(py_call:task_on(py_call:target(context(Target)), M, F, Args, Options)).

%% @doc Begins a task whose result nobody wants; it goes on when the calling process dies.
-spec spawn_task(py_args:name(), py_args:name(), [term()]) -> ok.
spawn_task(M, F, Args) ->
    py_async:detached(py_call:request(M, F, Args)).

%% @doc With options; or on a target.
-spec spawn_task(py_args:name() | target(), py_args:name(), [term()] | py_args:name(), options() | [term()]) -> ok.
spawn_task(A, B, C, D) ->
    py_async:detached(py_call:task(context(A), B, C, D)).

%% @doc The result of a task, waited for at most 30 seconds. `{error, timeout}': it goes on, and can be awaited again.
-spec await(reference()) -> py:result().
await(Ref) ->
    py_async:await(Ref).

-spec await(reference(), timeout()) -> py:result().
await(Ref, Timeout) ->
    py_async:await(Ref, Timeout).

%% @doc Runs statements in the calling process's own namespace, where its tasks find what they define in `__main__'.
-spec exec(py_args:code()) -> ok | {error, term()}.
exec(Code) ->
    py_call:run(py_call:exec(Code)).

-spec exec(target(), py_args:code()) -> ok | {error, term()}.
exec(Target, Code) ->
    attempt(fun() -> py_call:run(py_call:exec(context(Target), Code)) end).

%% @doc The value of an expression in that namespace.
-spec eval(py_args:code()) -> py:result().
eval(Expr) ->
    py_call:run(py_call:eval(Expr)).

%% @doc With local variables; or on a target.
-spec eval(py_args:code(), py_args:named()) -> py:result(); (target(), py_args:code()) -> py:result().
eval(A, B) ->
    attempt(fun() -> py_call:run(py_call:eval(context(A), B)) end).

%% @doc The loop that the calling process's tasks go to. `{error, {no_such_loop, Ref}}' says later that its context has ended.
-spec get_loop() -> {ok, reference()} | {error, term()}.
get_loop() ->
    py_started:result(fun() -> py_context:loop_ref(py_context_router:get_context()) end).

%% @doc A task whose result goes to another process: `{async_result, Ref, Result}' to `caller', whose death cancels it.
-spec run_async(pid() | reference(), task()) -> ok.
run_async(Loop, Given) ->
    Ctx = context(Loop),
    is_pid(Ctx) orelse error({bad_argument, context, Ctx}),
    run_in(Ctx, py_args:map(task, Given)).

run_in(Ctx, Task = #{ref := Ref, caller := Caller, module := M, func := F, args := Args})
        when is_reference(Ref), is_pid(Caller) ->
    _ = py_counters:ref(),
    Request = py_call:request(Ctx, M, F, Args, #{kwargs => maps:get(kwargs, Task, #{})}),
    _ = spawn(fun() ->
        Monitor = monitor(process, Caller),
        Own = py_async:start(Request),
        receive
            {async_result, Own, Result} -> Caller ! {async_result, Ref, Result};
            {'DOWN', Monitor, process, _, _} -> ok
        end
    end),
    ok;
run_in(_Ctx, Task) ->
    error({bad_argument, task, Task}).

%% What a reference stands for.
context(Ref) when is_reference(Ref) ->
    case py_context:resolve(Ref) of
        {Ctx, ?SHARED_ENV} -> Ctx;
        _ -> error({no_such_loop, Ref})
    end;
context(Other) ->
    Other.

%% Where a result may be an error, so is that there is no such loop.
attempt(Fun) ->
    try
        py_started:result(Fun)
    catch
        error:{no_such_loop, _} = Reason -> {error, Reason}
    end.
