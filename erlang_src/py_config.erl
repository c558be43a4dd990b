%% @doc The application's environment: checked once when it starts, and the defaults that every pool begins with.
-module(py_config).

-include_lib("kernel/include/logger.hrl").
-include("py_protocol.hrl").

-export([pools/0, default_pool/0, event_loop_pool/0, event_loop_pool_size/0, max_concurrent/0, context_mode/0, check/0]).
-export([defaults/0, max_frame_bytes/0, max_term_bytes/0, max_state_entries/0, max_state_bytes/0, max_mailbox_bytes/0, executable/0, package_path/0]).

-define(APPLICATION, erlang_python).

%% What a byte of a value may become on the heap, as a multiple: lists of floats or small maps take four to six times.
-define(TERM_BYTES_PER_BYTE, 8).

%% @doc The pools that start with the application. An error names the key of the environment.
-spec pools() -> {ok, [py_pool_options:spec()]} | {error, term()}.
pools() ->
    collect([default_pool(), io_pool()] ++ own_loops() ++ custom_pools(), []).

collect([], Specs) -> {ok, lists:reverse(Specs)};
collect([{ok, Spec} | Rest], Specs) -> collect(Rest, [Spec | Specs]);
collect([{error, Reason} | _], _) -> {error, Reason}.

%% @doc The default pool as the environment describes it.
-spec default_pool() -> {ok, py_pool_options:spec()} | {error, term()}.
default_pool() ->
    named(default_pool_size, py_pool_options:pool(default, contexts(), #{mode => value(context_mode)})).

contexts() ->
    chosen([default_pool_size, num_contexts, num_executors, num_workers], py_processors:count()).

io_pool() ->
    Size = chosen([io_pool_size, num_async_workers], value(io_pool_size)),
    named(io_pool_size, py_pool_options:pool(io, Size, #{mode => value(io_pool_mode)})).

own_loops() ->
    case event_loop_pool() of
        default ->
            [];
        Pool ->
            Size = case event_loop_pool_size() of
                all -> contexts();
                N -> N
            end,
            [named(event_loop_pool_size, py_pool_options:pool(Pool, Size, #{mode => owngil}))]
    end.

custom_pools() ->
    [case Entry of
        {Pool, Size} -> named(pools, py_pool_options:pool(Pool, Size, #{}));
        {Pool, Size, Options} -> named(pools, py_pool_options:pool(Pool, Size, Options));
        Other -> {error, {bad_config, pools, Other}}
     end || Entry <- value(pools)].

named(_Key, {ok, _} = Ok) -> Ok;
named(Key, {error, Reason}) -> {error, {bad_config, Key, Reason}}.

%% @doc Refuses what cannot be meant before anything starts, and warns once about older names and keys that there are not.
-spec check() -> ok | {error, term()}.
check() ->
    warn_of_older_names([Key || Key <- [num_executors, num_workers, num_async_workers], py_config_keys:chosen(Key) =/= default]),
    lists:foreach(fun warn_of_misspelled/1, py_config_keys:misspelled()),
    Checks = [{max_concurrent, max_concurrent(), fun py_semaphore:is_limit/1},
              {max_frame_bytes, max_frame_bytes(), fun is_size/1},
              {max_term_bytes, value(max_term_bytes),
               fun(Bytes) -> Bytes =:= auto orelse (is_integer(Bytes) andalso Bytes >= ?MIN_TERM_BYTES) end},
              {max_mailbox_bytes, max_mailbox_bytes(), fun(Max) -> Max =:= infinity orelse is_size(Max) end},
              {max_state_bytes, max_state_bytes(), fun(Max) -> Max =:= infinity orelse is_positive(Max) end},
              {max_state_entries, max_state_entries(), fun(Max) -> Max =:= infinity orelse is_positive(Max) end},
              {event_loop_pool_size, event_loop_pool_size(), fun(Size) -> Size =:= all orelse is_positive(Size) end},
              {event_loop_pool_owngil, value(event_loop_pool_owngil), fun is_boolean/1},
              {pools, value(pools), fun(Pools) when length(Pools) >= 0 -> true; (_) -> false end}],
    case [{bad_config, Key, Value} || {Key, Value, IsGood} <- Checks, not IsGood(Value)] ++ wrong_options() of
        [] -> ok;
        [Reason | _] -> {error, Reason}
    end.

%% Keys that are defaults of pool options.
wrong_options() ->
    [{bad_config, Key, Reason}
     || {Key, Option} <- [{context_mode, mode}, {io_pool_mode, mode}, {python, python}, {venv, venv}, {imports, imports},
                          {paths, paths}, {preload_code, preload}, {sandbox, sandbox}, {send, send},
                          {send_names, send_names}, {none_as, none_as},
                          {hard_timeout_grace, hard_timeout_grace}, {shutdown_grace, shutdown_grace}, {max_callbacks, max_callbacks},
                          {max_queued, max_queued}, {shared_memory, shared_memory}],
        {ok, Value} <- [py_config_keys:chosen(Key)],
        {error, Reason} <- [py_pool_options:check(Option, Value)]].

is_positive(Value) -> is_integer(Value) andalso Value > 0.

is_size(Bytes) -> is_integer(Bytes) andalso Bytes >= ?MIN_FRAME_BYTES.

warn_of_older_names([]) ->
    ok;
warn_of_older_names(Keys) ->
    ?LOG_WARNING("erlang_python: ~p in the environment are older names: num_executors and num_workers are taken for "
                 "default_pool_size, num_async_workers for io_pool_size", [Keys]).

warn_of_misspelled({Key, none}) ->
    ?LOG_WARNING("erlang_python: there is no key ~tp in its environment (docs/getting-started.md lists them)", [Key]);
warn_of_misspelled({Key, Nearest}) ->
    ?LOG_WARNING("erlang_python: there is no key ~tp in its environment; is ~tp meant?", [Key, Nearest]).

%% @doc The limit of the default pool.
-spec max_concurrent() -> pos_integer().
max_concurrent() ->
    case value(max_concurrent) of
        auto -> erlang:system_info(schedulers) * 2 + 1;
        Max -> Max
    end.

%% @doc The pool whose loops py_event_loop_pool uses.
-spec event_loop_pool() -> atom().
event_loop_pool() ->
    case value(event_loop_pool_owngil) of
        true -> event_loop_pool;
        _ -> default
    end.

%% @doc How many contexts of it; of the default pool all unless it is said.
-spec event_loop_pool_size() -> pos_integer() | all.
event_loop_pool_size() ->
    value(event_loop_pool_size).

-spec context_mode() -> worker | owngil.
context_mode() ->
    case py_pool_options:mode(value(context_mode)) of
        {ok, Mode} -> Mode;
        {error, _} -> worker
    end.

%% @doc What every pool begins with.
-spec defaults() -> map().
defaults() ->
    #{mode => context_mode(),
      isolation => pool,
      python => text(value(python)),
      venv => text(value(venv)),
      env => [],
      cwd => none,
      memory_limit => 0,
      hard_timeout_grace => value(hard_timeout_grace),
      shutdown_grace => value(shutdown_grace),
      max_requests => infinity,
      max_callbacks => value(max_callbacks),
      max_concurrent => max_concurrent(),
      max_queued => value(max_queued),
      sandbox => sandbox(value(sandbox)),
      imports => [module(Name) || Name <- value(imports)],
      paths => [text(Path) || Path <- value(paths)],
      preload => [text(Code) || Code <- [value(preload_code)], Code =/= none],
      nice => 0,
      shared_memory => value(shared_memory),
      send => value(send),
      send_names => send_names(),
      none_as => value(none_as)}.

%% Wrong ones are refused when the application starts.
send_names() ->
    case py_send:options(value(send_names)) of
        {ok, Names} -> Names;
        _ -> []
    end.

%% A value that is not right keeps the application from starting (check/0).
sandbox(Value) ->
    case py_sandbox:option(Value) of
        {ok, Sandbox} -> Sandbox;
        _ -> default
    end.

%% @doc The largest request or result, in bytes.
-spec max_frame_bytes() -> pos_integer().
max_frame_bytes() ->
    value(max_frame_bytes).

%% @doc How much a result, an item, the arguments of a callback or a message may take when they are decoded, in bytes.
-spec max_term_bytes() -> pos_integer().
max_term_bytes() ->
    case value(max_term_bytes) of
        auto -> ?TERM_BYTES_PER_BYTE * max_frame_bytes();
        Max -> Max
    end.

%% @doc What the values that Python has stored may take.
-spec max_state_bytes() -> pos_integer() | infinity.
max_state_bytes() ->
    value(max_state_bytes).

%% @doc What a pool's messages may take in the mailbox of a process.
-spec max_mailbox_bytes() -> pos_integer() | infinity.
max_mailbox_bytes() ->
    value(max_mailbox_bytes).

%% @doc How many keys shared state may have.
-spec max_state_entries() -> pos_integer() | infinity.
max_state_entries() ->
    value(max_state_entries).

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

value(Key) ->
    py_config_keys:value(Key).

%% What the first of the keys that somebody has set says.
chosen([], Default) ->
    Default;
chosen([Key | Rest], Default) ->
    case py_config_keys:chosen(Key) of
        {ok, Value} -> Value;
        default -> chosen(Rest, Default)
    end.

module(Name) when is_atom(Name) -> atom_to_binary(Name);
module(Name) -> text(Name).

text(none) -> none;
text(Text) -> unicode:characters_to_binary(Text).
