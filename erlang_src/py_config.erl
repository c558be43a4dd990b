%% @doc The application's environment: checked once when it starts, and the defaults that every pool begins with.
-module(py_config).

-include_lib("kernel/include/logger.hrl").
-include("py_protocol.hrl").

-export([pools/0, default_pool/0, event_loop_pool_size/0, max_concurrent/0, context_mode/0, check/0]).
-export([defaults/0, max_frame_bytes/0, max_state_entries/0, executable/0, package_path/0]).

-define(APPLICATION, erlang_python).

%% A value as a whole; pieces are 1 MiB whatever this says.
-define(MAX_FRAME_BYTES, 67108864).
-define(HARD_TIMEOUT_GRACE_MS, 5000).
-define(IO_CONTEXTS, 10).

%% @doc The pools that start with the application. An error names the key of the environment.
-spec pools() -> {ok, [py_pool_options:spec()]} | {error, term()}.
pools() ->
    collect([default_pool() | [io_pool() | custom_pools()]], []).

collect([], Specs) -> {ok, lists:reverse(Specs)};
collect([{ok, Spec} | Rest], Specs) -> collect(Rest, [Spec | Specs]);
collect([{error, Reason} | _], _) -> {error, Reason}.

%% @doc The default pool as the environment describes it.
-spec default_pool() -> {ok, py_pool_options:spec()} | {error, term()}.
default_pool() ->
    Size = first([default_pool_size, num_contexts, num_executors, num_workers], erlang:system_info(schedulers)),
    named(default_pool_size, py_pool_options:pool(default, Size, #{mode => get(context_mode, worker)})).

io_pool() ->
    Size = first([io_pool_size, num_async_workers], ?IO_CONTEXTS),
    named(io_pool_size, py_pool_options:pool(io, Size, #{mode => get(io_pool_mode, auto)})).

custom_pools() ->
    [case Entry of
        {Pool, Size} -> named(pools, py_pool_options:pool(Pool, Size, #{}));
        {Pool, Size, Options} when is_map(Options) -> named(pools, py_pool_options:pool(Pool, Size, Options));
        {Pool, Size, Mode} -> named(pools, py_pool_options:pool(Pool, Size, #{mode => Mode}));
        Other -> {error, {bad_config, pools, Other}}
     end || Entry <- get(pools, [])].

named(_Key, {ok, _} = Ok) -> Ok;
named(Key, {error, Reason}) -> {error, {bad_config, Key, Reason}}.

%% @doc Refuses what cannot be meant before anything starts, and warns once about older names.
-spec check() -> ok | {error, term()}.
check() ->
    warn_of_older_names([Key || Key <- [num_executors, num_workers, num_async_workers], get(Key, none) =/= none]),
    Checks = [{max_concurrent, max_concurrent(), fun is_positive/1},
              {max_frame_bytes, max_frame_bytes(), fun(Bytes) -> is_integer(Bytes) andalso Bytes >= ?MIN_FRAME_BYTES end},
              {max_state_entries, max_state_entries(), fun(Max) -> Max =:= infinity orelse is_positive(Max) end},
              {event_loop_pool_size, event_loop_pool_size(), fun(Size) -> Size =:= all orelse is_positive(Size) end},
              {pools, get(pools, []), fun is_list/1}],
    case [{bad_config, Key, Value} || {Key, Value, IsGood} <- Checks, not IsGood(Value)] ++ wrong_options() of
        [] -> ok;
        [Reason | _] -> {error, Reason}
    end.

%% Keys that are defaults of pool options.
wrong_options() ->
    [{bad_config, Key, Reason}
     || {Key, Option} <- [{context_mode, mode}, {io_pool_mode, mode}, {python, python}, {venv, venv}, {imports, imports},
                          {paths, paths}, {preload_code, preload}, {sandbox, sandbox},
                          {hard_timeout_grace, hard_timeout_grace}],
        Value <- [get(Key, none)], Value =/= none,
        {error, Reason} <- [py_pool_options:check(Option, Value)]].

is_positive(Value) -> is_integer(Value) andalso Value > 0.

warn_of_older_names([]) ->
    ok;
warn_of_older_names(Keys) ->
    ?LOG_WARNING("erlang_python: ~p in the environment are older names: num_executors and num_workers are taken for "
                 "default_pool_size, num_async_workers for io_pool_size", [Keys]).

-spec max_concurrent() -> pos_integer().
max_concurrent() ->
    get(max_concurrent, erlang:system_info(schedulers) * 2 + 1).

%% @doc How many contexts of the default pool py_event_loop_pool uses.
-spec event_loop_pool_size() -> pos_integer() | all.
event_loop_pool_size() ->
    get(event_loop_pool_size, all).

-spec context_mode() -> worker | owngil.
context_mode() ->
    case py_pool_options:mode(get(context_mode, worker)) of
        {ok, Mode} -> Mode;
        {error, _} -> worker
    end.

%% @doc What every pool begins with.
-spec defaults() -> map().
defaults() ->
    #{mode => context_mode(),
      isolation => pool,
      python => text(get(python, none)),
      venv => text(get(venv, none)),
      env => [],
      cwd => none,
      memory_limit => 0,
      hard_timeout_grace => get(hard_timeout_grace, ?HARD_TIMEOUT_GRACE_MS),
      max_requests => infinity,
      sandbox => get(sandbox, default),
      imports => [module(Name) || Name <- get(imports, [])],
      paths => [text(Path) || Path <- get(paths, [])],
      preload => [text(Code) || Code <- [get(preload_code, none)], Code =/= none],
      nice => 0}.

%% @doc The largest request or result, in bytes.
-spec max_frame_bytes() -> pos_integer().
max_frame_bytes() ->
    get(max_frame_bytes, ?MAX_FRAME_BYTES).

%% @doc How many keys shared state may have.
-spec max_state_entries() -> pos_integer() | infinity.
max_state_entries() ->
    get(max_state_entries, infinity).

-spec executable() -> file:filename_all().
executable() ->
    filename:join(priv(), "erlang_python_port").

%% @doc The directory that holds the Python package `erlang'.
-spec package_path() -> file:filename_all().
package_path() ->
    filename:join(priv(), "python").

%% Absolute, since the port may run in another directory (pool option cwd).
priv() ->
    case code:priv_dir(?APPLICATION) of
        {error, bad_name} -> filename:absname(filename:join([filename:dirname(code:which(?MODULE)), "..", "priv"]));
        Dir -> filename:absname(Dir)
    end.

get(Key, Default) ->
    application:get_env(?APPLICATION, Key, Default).

first([], Default) ->
    Default;
first([Key | Rest], Default) ->
    case get(Key, none) of
        none -> first(Rest, Default);
        Value -> Value
    end.

module(Name) when is_atom(Name) -> atom_to_binary(Name);
module(Name) -> text(Name).

text(none) -> none;
text(Text) -> unicode:characters_to_binary(Text).
