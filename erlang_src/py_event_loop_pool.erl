%% @doc Tasks as in py_event_loop, spread over the loops of a pool by process: all tasks of one process go to
%% the same loop, and are begun there in their order. A process that has a namespace in the pool stays with the
%% context where that is. What a callback asks for goes where that of the process goes that began the chain of calls.
%%
%% The pool is the default pool, and the environment key `event_loop_pool_size' says how many of its contexts take part; all by
%% default. With `event_loop_pool_owngil' it is a pool of its own, `event_loop_pool', of so many contexts of mode owngil.
-module(py_event_loop_pool).

-export([run/3, run/4, create_task/3, create_task/4, spawn_task/3, spawn_task/4, await/1, await/2, run_async/1]).
-export([exec/1, exec/2, eval/1, eval/2, get_loop/0, get_all_loops/0, get_all_sessions/0, get_stats/0]).

-include("py_route.hrl").

%% @doc Runs a task and waits for its result.
-spec run(py_args:name(), py_args:name(), [term()]) -> py:result().
run(M, F, Args) ->
    run(M, F, Args, #{}).

-spec run(py_args:name(), py_args:name(), [term()], py_event_loop:options()) -> py:result().
run(M, F, Args, Options) ->
    py_started:result(fun() -> py_async:run(py_call:task_on(target(), M, F, Args, Options)) end).

%% @doc Begins a task, as {@link py_event_loop:create_task/3} does.
-spec create_task(py_args:name(), py_args:name(), [term()]) -> reference().
create_task(M, F, Args) ->
    create_task(M, F, Args, #{}).

-spec create_task(py_args:name(), py_args:name(), [term()], py_event_loop:options()) -> reference().
create_task(M, F, Args, Options) ->
    py_async:start(py_call:task_on(target(), M, F, Args, Options)).

%% @doc Begins a task whose result nobody wants; it goes on when the calling process dies.
-spec spawn_task(py_args:name(), py_args:name(), [term()]) -> ok.
spawn_task(M, F, Args) ->
    spawn_task(M, F, Args, #{}).

-spec spawn_task(py_args:name(), py_args:name(), [term()], py_event_loop:options()) -> ok.
spawn_task(M, F, Args, Options) ->
    py_async:detached(py_call:task_on(target(), M, F, Args, Options)).

-spec await(reference()) -> py:result().
await(Ref) ->
    py_async:await(Ref).

-spec await(reference(), timeout()) -> py:result().
await(Ref, Timeout) ->
    py_async:await(Ref, Timeout).

%% @doc As {@link py_event_loop:run_async/2}, on the calling process's loop.
-spec run_async(py_event_loop:task()) -> ok | {error, term()}.
run_async(Task) ->
    case py_started:result(fun loop/0) of
        {ok, Ctx} -> py_event_loop:run_async(Ctx, Task);
        {error, _} = Error -> Error
    end.

%% @doc Runs statements in the calling process's own namespace, on its loop's context.
-spec exec(py_args:code()) -> ok | {error, term()}.
exec(Code) ->
    py_started:result(fun() -> py_request:run(target(), py_args:exec(Code), 0, default) end).

%% @doc On a loop of {@link get_all_loops/0}.
-spec exec(reference(), py_args:code()) -> ok | {error, term()}.
exec(Loop, Code) ->
    py_event_loop:exec(Loop, Code).

%% @doc The value of an expression in that namespace.
-spec eval(py_args:code()) -> py:result().
eval(Expr) ->
    eval(Expr, #{}).

%% @doc With local variables; or on a loop of {@link get_all_loops/0}.
-spec eval(py_args:code(), py_args:named()) -> py:result(); (reference(), py_args:code()) -> py:result().
eval(Loop, Expr) when is_reference(Loop) ->
    py_event_loop:eval(Loop, Expr);
eval(Expr, Locals) ->
    py_started:result(fun() -> py_request:run(target(), py_args:eval(Expr, Locals), 0, default) end).

%% @doc The loop that the calling process's tasks go to.
-spec get_loop() -> {ok, reference()} | {error, term()}.
get_loop() ->
    case py_started:result(fun loop/0) of
        {ok, Ctx} -> py_context:loop_ref(Ctx);
        {error, _} = Error -> Error
    end.

%% @doc All that take part.
-spec get_all_loops() -> {ok, [reference()]} | {error, term()}.
get_all_loops() ->
    py_started:result(fun() -> {ok, maps:values(references())} end).

%% @doc The processes that have a namespace in one of them, and in which.
-spec get_all_sessions() -> {ok, [{pid(), reference()}]} | {error, term()}.
get_all_sessions() ->
    py_started:result(fun() ->
        Sessions = [{Pid, Ref} || {Ctx, Ref} <- maps:to_list(references()), Pid <- py_homes:owners(Ctx)],
        {ok, lists:sort(Sessions)}
    end).

%% @doc How many loops take part, and whether tasks find any: a pool of mode owngil does not start where Python has none.
-spec get_stats() -> #{num_loops := non_neg_integer(), supported := boolean()}.
get_stats() ->
    Loops = length(loops()),
    #{num_loops => Loops, supported => Loops > 0}.

references() ->
    maps:from_list([{Ctx, Ref} || #route{ctx = Ctx} <- loops(), {ok, Ref} <- [py_context:loop_ref(Ctx)]]).

loop() ->
    case target() of
        {context, Ctx} -> {ok, Ctx};
        {pool, Pool} -> {error, {no_such_pool, Pool}}
    end.

target() ->
    Pool = py_config:event_loop_pool(),
    case py_env:caller() of
        #caller{pools = #{Pool := #route{ctx = Ctx}}} -> {context, Ctx};
        #caller{chain = 0} -> loop_of(self(), Pool);
        Caller -> in_chain(py_chain:starter(Caller), Pool)
    end.

%% Where the process that began the chain has its namespace, or would go.
in_chain(Starter, Pool) ->
    case py_homes:in_pool(Pool, Starter) of
        none -> loop_of(Starter, Pool);
        #route{ctx = Ctx} -> {context, Ctx}
    end.

loop_of(Pid, Pool) ->
    case loops() of
        [] -> {pool, Pool};
        Loops -> {context, (lists:nth(erlang:phash2(Pid, length(Loops)) + 1, Loops))#route.ctx}
    end.

loops() ->
    case {py_config:event_loop_pool(), py_config:event_loop_pool_size()} of
        {default, Size} when is_integer(Size) -> lists:sublist(py_tables:contexts(default), Size);
        {Pool, _} -> py_tables:contexts(Pool)
    end.
