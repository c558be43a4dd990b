%% @doc Tasks on the event loops of contexts, from Erlang. Every context has a loop, which runs from its first task on;
%% tasks go where calls of the same process would go: see docs/asyncio.md.
%%
%% A task is a call whose value is awaited if it can be: the function may be `async' or not. It has no limit of time
%% unless one is given, and is cancelled when the process that asked for it dies.
-module(py_event_loop).

-export([run/3, run/4, create_task/3, create_task/4, create_task/5, spawn_task/3, spawn_task/4, await/1, await/2]).
-export([exec/1, exec/2, eval/1, eval/2, get_loop/0, run_async/2]).

-export_type([options/0]).

%% Without either key the map is keyword arguments.
-type options() :: #{kwargs => py_args:named(), timeout => timeout()} | py_args:named().

%% @doc Runs a task and waits for its result.
-spec run(py_args:name(), py_args:name(), [term()]) -> py:result().
run(M, F, Args) ->
    finish(py_async:start(py_call:request(M, F, Args))).

%% @doc With options; or on a context.
-spec run(py_args:name(), py_args:name(), [term()], options()) -> py:result();
         (pid(), py_args:name(), py_args:name(), [term()]) -> py:result().
run(Ctx, M, F, Args) when is_pid(Ctx) ->
    finish(py_async:start(py_call:request(Ctx, M, F, Args)));
run(M, F, Args, Options) ->
    finish(py_async:start(py_async:request(routed, M, F, Args, Options))).

finish(Ref) ->
    py_async:await(Ref, infinity).

%% @doc Begins a task. Its result comes as `{async_result, Ref, Result}', or is fetched with {@link await/1}; it is ended
%% with py:cancel/1.
-spec create_task(py_args:name(), py_args:name(), [term()]) -> reference().
create_task(M, F, Args) ->
    py_async:start(py_call:request(M, F, Args)).

%% @doc With keyword arguments; or on a context.
-spec create_task(py_args:name(), py_args:name(), [term()], py_args:named()) -> reference();
                 (pid(), py_args:name(), py_args:name(), [term()]) -> reference().
create_task(A, B, C, D) ->
    py_async:start(py_call:request(A, B, C, D)).

%% @doc On a context, with keyword arguments.
-spec create_task(pid(), py_args:name(), py_args:name(), [term()], py_args:named()) -> reference().
create_task(Ctx, M, F, Args, Kwargs) when is_pid(Ctx) ->
    py_async:start({{context, Ctx}, py_args:operation(M, F, Args, Kwargs), 0, infinity}).

%% @doc Begins a task whose result nobody wants; it goes on when the calling process dies.
-spec spawn_task(py_args:name(), py_args:name(), [term()]) -> ok.
spawn_task(M, F, Args) ->
    py_async:detached(py_call:request(M, F, Args)).

%% @doc With keyword arguments; or on a context.
-spec spawn_task(py_args:name(), py_args:name(), [term()], py_args:named()) -> ok;
                (pid(), py_args:name(), py_args:name(), [term()]) -> ok.
spawn_task(A, B, C, D) ->
    py_async:detached(py_call:request(A, B, C, D)).

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
    py_call:exec(Code).

-spec exec(pid(), py_args:code()) -> ok | {error, term()}.
exec(Ctx, Code) ->
    py_call:exec(Ctx, Code).

%% @doc The value of an expression in that namespace.
-spec eval(py_args:code()) -> py:result().
eval(Expr) ->
    py_call:eval(Expr).

%% @doc With local variables; or on a context.
-spec eval(py_args:code(), py_args:named()) -> py:result(); (pid(), py_args:code()) -> py:result().
eval(A, B) ->
    py_call:eval(A, B).

%% @doc The context on whose loop the calling process's tasks go on.
-spec get_loop() -> {ok, pid()}.
get_loop() ->
    {ok, py_context_router:get_context()}.

%% @doc A task whose result goes to another process: `{async_result, Ref, Result}' to `caller', whose death cancels it.
-spec run_async(pid(), #{ref := reference(), caller := pid(), module := py_args:name(), func := py_args:name(),
                         args := [term()], kwargs => py_args:named()}) -> ok.
run_async(Ctx, Task = #{ref := Ref, caller := Caller, module := M, func := F, args := Args}) when is_pid(Ctx) ->
    Request = {{context, Ctx}, py_args:operation(M, F, Args, maps:get(kwargs, Task, #{})), 0, infinity},
    _ = spawn(fun() ->
        Monitor = monitor(process, Caller),
        Own = py_async:start(Request),
        receive
            {async_result, Own, Result} -> Caller ! {async_result, Ref, Result};
            {'DOWN', Monitor, process, _, _} -> ok
        end
    end),
    ok.
