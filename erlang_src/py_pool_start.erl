%% @doc Starting pools: those of the application, below py_pools_sup, and those of a supervisor of the user's. One that runs
%% already is what was asked for, or that is an error: nobody gets another pool than they have described.
-module(py_pool_start).

-include_lib("kernel/include/logger.hrl").

-export([checked/3, start/1, default/1, stop/1, supervised/3]).

%% @doc The specification of a pool that may be started by this name.
-spec checked(term(), term(), term()) -> {ok, py_pool_options:spec()} | {error, term()}.
checked(contexts, _Size, _Options) ->
    %% Where contexts live that are started by hand (py_standalone).
    {error, {bad_option, pool, contexts}};
checked(Pool, Size, Options) ->
    py_pool_options:pool(Pool, Size, Options).

%% @doc Starts a pool and waits until its contexts are there. One that cannot start is not kept: the caller is told why.
-spec start(py_pool_options:spec()) -> {ok, [pid()]} | {error, term()}.
start(Spec = #{pool := Pool}) ->
    case running(Pool) of
        none -> start_new(Spec);
        {_, Running} -> same(differences(Spec, Running), Pool)
    end.

start_new(Spec = #{pool := Pool}) ->
    case py_pools_sup:start_pool(Spec) of
        {ok, Pool} ->
            case py_pool_await:start(Pool) of
                {ok, _} = Ok -> Ok;
                {error, _} = Error ->
                    _ = py_pools_sup:stop_pool(Pool),
                    Error
            end;
        %% It was started since.
        {error, {already_started, Pool}} ->
            start(Spec);
        {error, _} = Error ->
            Error
    end.

same([], Pool) -> py_pool_await:start(Pool);
same(Keys, Pool) -> {error, {already_started, Pool, Keys}}.

%% @doc The default pool, with these options over those of the environment. It runs when somebody comes to configure it, for
%% the application starts it: so it is started again with them, unless it has them.
-spec default(map()) -> {ok, [pid()]} | {error, term()}.
default(Options) ->
    case py_config:default_pool() of
        {ok, #{contexts := DefaultSize, mode := DefaultMode}} ->
            Size = maps:get(contexts, Options, DefaultSize),
            Own = maps:remove(contexts, Options),
            case py_pool_options:pool(default, Size, maps:merge(#{mode => DefaultMode}, Own)) of
                {ok, Spec} -> default(Spec, maps:keys(Options), running(default));
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

default(Spec, _Keys, none) ->
    start_new(Spec);
default(Spec, Keys, {_, Running}) ->
    case differences(maps:with(Keys, Spec), Running) of
        [] ->
            py_pool_await:start(default);
        Changed ->
            ?LOG_NOTICE("pool default is started again, with other options: ~0tp", [Changed], #{pool => default}),
            _ = py_pools_sup:stop_pool(default),
            start_new(Spec)
    end.

differences(Spec, Running) ->
    [Key || {Key, Value} <- lists:sort(maps:to_list(Spec)), maps:get(Key, Running) =/= Value,
            not (follows_from_size(Key, Value, Spec) andalso follows_from_size(Key, maps:get(Key, Running), Running))].

%% Nobody has asked for it: the size is the difference.
follows_from_size(max_concurrent, Limit, #{contexts := Size}) -> Limit =:= py_pool_options:default_limit(Size);
follows_from_size(_Key, _Value, _Spec) -> false.

%% The supervisor that has it, if that is none of ours, and what it was started with. Of one whose supervisor has died, or ours
%% below that, some may still be on its way out: that is waited for (py_succession).
running(Pool) ->
    case py_tables:spec(Pool) of
        {ok, {supervised, {Theirs, Ours}, Spec}} ->
            case is_process_alive(Theirs) andalso is_process_alive(Ours) of
                true -> {Theirs, Spec};
                false -> none
            end;
        {ok, Spec} ->
            {ours, Spec};
        none ->
            none
    end.

-spec stop(atom()) -> ok | {error, {no_such_pool, atom()} | {supervised, atom(), pid()}}.
stop(Pool) ->
    case running(Pool) of
        {Supervisor, _} when is_pid(Supervisor) -> {error, {supervised, Pool, Supervisor}};
        _ -> py_pools_sup:stop_pool(Pool)
    end.

%% @doc A pool for the calling process, which is a supervisor: {@link py_pool:child_spec/1}.
-spec supervised(atom(), pos_integer(), py_pool_options:options()) -> {ok, pid()} | {error, term()}.
supervised(Pool, Size, Options) ->
    case checked(Pool, Size, Options) of
        {ok, Spec} -> py_started:result(fun() -> supervised(Pool, Spec) end);
        {error, _} = Error -> Error
    end.

supervised(Pool, Spec) ->
    case running(Pool) of
        none ->
            {ok, Sup} = py_pool_sup:start_link(Pool, {supervised, self(), Spec}),
            case py_pool_await:start(Pool) of
                {ok, _} ->
                    {ok, Sup};
                {error, _} = Error ->
                    ok = stop_linked(Sup),
                    Error
            end;
        {_, _} ->
            {error, {already_started, Pool}}
    end.

stop_linked(Sup) ->
    Monitor = monitor(process, Sup),
    true = unlink(Sup),
    true = exit(Sup, shutdown),
    receive {'DOWN', Monitor, process, _, _} -> ok end.
