%% @doc Which pool has which limit (py_slots): a table that outlives the processes of the pools, so that what is in Python's hands,
%% and who waits, is still known when one of them starts again.
%%
%% py_semaphore alone writes it.
%%
%% A limit has a number, by which routes in tables name it: an `atomics' reference is no plain term, and whoever reads a row with
%% one counts it, and has it on the heap until the next collection. Persistent terms are not copied.
-module(py_limits).

-export([limit/1, find/1, open/3, close/1, all/0, is_limit/1, numbered/1, forget/0]).

%% Rows are `{Pool, Limit, Configured}', `{{limit, Limit}, Pool}' for who is told of a limit, and `{{number}, N}': how many there have been.
-define(TABLE, py_limits).

%% @doc The limit of a pool that is there.
-spec limit(atom()) -> py_slots:limit().
limit(Pool) ->
    {ok, Limit} = find(Pool),
    Limit.

%% @doc Raises `{not_started, erlang_python}' when the application does not run.
-spec find(atom()) -> {ok, py_slots:limit()} | {error, {no_such_pool, atom()}}.
find(Pool) ->
    try ets:lookup(?TABLE, Pool) of
        [{_, Limit, _}] -> {ok, Limit};
        [] -> {error, {no_such_pool, Pool}}
    catch
        error:badarg -> py_started:absent()
    end.

%% @doc The limit of a pool that starts. One that starts again keeps what it has, and what was set by hand, unless it is
%% configured otherwise.
-spec open(atom(), pos_integer(), non_neg_integer() | infinity) -> {new | kept | changed, py_slots:limit()}.
open(Pool, Max, MaxQueued) ->
    case ets:lookup(?TABLE, Pool) of
        [{_, Limit, {Max, MaxQueued}}] ->
            {kept, Limit};
        [{_, Limit, _}] ->
            true = ets:insert(?TABLE, {Pool, Limit, {Max, MaxQueued}}),
            {changed, Limit};
        [] ->
            Number = ets:update_counter(?TABLE, {number}, 1, {{number}, 0}),
            Limit = py_slots:new(Number, Max, MaxQueued),
            ok = persistent_term:put({?MODULE, Number}, Limit),
            true = ets:insert(?TABLE, [{Pool, Limit, {Max, MaxQueued}}, {{limit, Limit}, Pool}]),
            {new, Limit}
    end.

%% @doc The pool is gone for good.
-spec close(atom()) -> ok.
close(Pool) ->
    _ = [begin
             true = ets:delete(?TABLE, {limit, Limit}),
             persistent_term:erase({?MODULE, py_slots:number(Limit)})
         end || {_, Limit, _} <- ets:take(?TABLE, Pool)],
    ok.

%% @doc The limit of this number (py_slots:number/1).
-spec numbered(pos_integer()) -> py_slots:limit() | gone.
numbered(Number) ->
    persistent_term:get({?MODULE, Number}, gone).

%% @doc The application has ended.
-spec forget() -> ok.
forget() ->
    lists:foreach(fun({?MODULE, _} = Key) -> persistent_term:erase(Key); (_Other) -> ok end, [Key || {Key, _} <- persistent_term:get()]).

-spec all() -> [py_slots:limit()].
all() ->
    [Limit || [Limit] <- ets:match(?TABLE, {{limit, '$1'}, '_'})].

%% @doc Whether a term is the limit of a pool. Raises `{not_started, erlang_python}' when the application does not run.
-spec is_limit(term()) -> boolean().
is_limit(Term) ->
    try
        ets:member(?TABLE, {limit, Term})
    catch
        error:badarg -> py_started:absent()
    end.
