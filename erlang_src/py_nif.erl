%% @doc What the NIF library's users call by this name. There is no NIF here: these go to the port program.
-module(py_nif).

-export([context_call/6, context_eval/4, context_exec/3]).

%% @doc `Handle' comes from {@link py_context:get_nif_ref/1}, `Env' from {@link py_context:create_local_env/1}.
-spec context_call(reference(), py_args:name(), py_args:name(), [term()], py_args:named(), reference()) ->
    {ok, term()} | {error, term()}.
context_call(Handle, M, F, Args, Kwargs, Env) ->
    in_context(Handle, fun(Ctx) -> py_context:call(Ctx, M, F, Args, Kwargs, infinity, Env) end).

-spec context_eval(reference(), py_args:code(), py_args:named(), reference()) -> {ok, term()} | {error, term()}.
context_eval(Handle, Expr, Locals, Env) ->
    in_context(Handle, fun(Ctx) -> py_context:eval(Ctx, Expr, Locals, infinity, Env) end).

-spec context_exec(reference(), py_args:code(), reference()) -> ok | {error, term()}.
context_exec(Handle, Code, Env) ->
    in_context(Handle, fun(Ctx) -> py_context:exec(Ctx, Code, infinity, Env) end).

in_context(Handle, Run) when is_reference(Handle) ->
    case py_started:result(fun() -> py_context:resolve(Handle) end) of
        {Ctx, _} when is_pid(Ctx) -> Run(Ctx);
        {error, _} = NotStarted -> NotStarted;
        gone -> {error, {context_died, stopped}}
    end;
in_context(Handle, _Run) ->
    error({bad_argument, handle, Handle}).
