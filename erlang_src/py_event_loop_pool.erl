%% @doc Tasks as in py_event_loop, spread over the loops of the default pool by process: all tasks of one process go to
%% the same loop, and are begun there in their order. A process that has a namespace in the default pool stays with the
%% context where that is.
%%
%% The environment key `event_loop_pool_size' says how many of the default pool's contexts take part; all by default.
-module(py_event_loop_pool).

-export([run/3, run/4, create_task/3, create_task/4, spawn_task/3, spawn_task/4, await/1, await/2]).
-export([exec/1, eval/1, eval/2, get_loop/0, get_stats/0]).

-include("py_route.hrl").

%% @doc Runs a task and waits for its result.
-spec run(py_args:name(), py_args:name(), [term()]) -> py:result().
run(M, F, Args) ->
    run(M, F, Args, #{}).

-spec run(py_args:name(), py_args:name(), [term()], py_event_loop:options()) -> py:result().
run(M, F, Args, Options) ->
    py_async:await(py_async:start(py_async:request(target(), M, F, Args, Options)), infinity).

%% @doc Begins a task, as {@link py_event_loop:create_task/3} does.
-spec create_task(py_args:name(), py_args:name(), [term()]) -> reference().
create_task(M, F, Args) ->
    create_task(M, F, Args, #{}).

-spec create_task(py_args:name(), py_args:name(), [term()], py_args:named()) -> reference().
create_task(M, F, Args, Kwargs) ->
    py_async:start({target(), py_args:operation(M, F, Args, Kwargs), 0, infinity}).

%% @doc Begins a task whose result nobody wants; it goes on when the calling process dies.
-spec spawn_task(py_args:name(), py_args:name(), [term()]) -> ok.
spawn_task(M, F, Args) ->
    spawn_task(M, F, Args, #{}).

-spec spawn_task(py_args:name(), py_args:name(), [term()], py_args:named()) -> ok.
spawn_task(M, F, Args, Kwargs) ->
    py_async:detached({target(), py_args:operation(M, F, Args, Kwargs), 0, infinity}).

-spec await(reference()) -> py:result().
await(Ref) ->
    py_async:await(Ref).

-spec await(reference(), timeout()) -> py:result().
await(Ref, Timeout) ->
    py_async:await(Ref, Timeout).

%% @doc Runs statements in the calling process's own namespace, on its loop's context.
-spec exec(py_args:code()) -> ok | {error, term()}.
exec(Code) ->
    py_request:run(target(), py_args:exec(Code), 0, default).

%% @doc The value of an expression in that namespace.
-spec eval(py_args:code()) -> py:result().
eval(Expr) ->
    eval(Expr, #{}).

-spec eval(py_args:code(), py_args:named()) -> py:result().
eval(Expr, Locals) ->
    py_request:run(target(), py_args:eval(Expr, Locals), 0, default).

%% @doc The context whose loop the calling process's tasks go to.
-spec get_loop() -> {ok, pid()} | {error, term()}.
get_loop() ->
    case target() of
        {context, Ctx} -> {ok, Ctx};
        {pool, Pool} -> {error, {no_such_pool, Pool}}
    end.

%% @doc How many loops take part.
-spec get_stats() -> #{num_loops := non_neg_integer()}.
get_stats() ->
    #{num_loops => length(loops())}.

target() ->
    case {py_env:caller(), loops()} of
        {#caller{pools = #{default := #route{ctx = Ctx}}}, _} -> {context, Ctx};
        {_, []} -> {pool, default};
        {_, Loops} -> {context, (lists:nth(erlang:phash2(self(), length(Loops)) + 1, Loops))#route.ctx}
    end.

loops() ->
    Contexts = py_tables:contexts(default),
    case py_config:event_loop_pool_size() of
        all -> Contexts;
        Size -> lists:sublist(Contexts, Size)
    end.
