%% @doc The keys of the application's environment, and what each is when nobody sets it. The same stand in
%% erlang_python.app.src, for application:get_all_env/1; these are for an application that is not loaded.
-module(py_config_keys).

-export([defaults/0, value/1, chosen/1, misspelled/0]).

-define(APPLICATION, erlang_python).
%% Of older versions and of the NIF library: what they are called now, docs/getting-started.md.
-define(OLDER, [num_contexts, num_executors, num_workers, num_async_workers]).

%% @doc `auto': py_config works it out.
-spec defaults() -> #{atom() => term()}.
defaults() ->
    #{context_mode => worker,
      default_pool_size => auto,
      event_loop_pool_owngil => false,
      event_loop_pool_size => all,
      hard_timeout_grace => 5000,
      imports => [],
      io_pool_mode => auto,
      io_pool_size => 10,
      %% As many processes as a node of the default size (262,144, or 1,048,576 from OTP 26 on) has room for in many pools.
      max_callbacks => 1000,
      max_concurrent => auto,
      max_queued => infinity,
      %% A value as a whole; pieces are 1 MiB whatever this says.
      max_frame_bytes => 67108864,
      max_mailbox_bytes => 536870912,
      max_state_bytes => 268435456,
      max_state_entries => infinity,
      max_term_bytes => auto,
      none_as => none,
      paths => [],
      pools => [],
      preload_code => none,
      python => none,
      sandbox => default,
      send => granted,
      send_names => [],
      %% That a pool may keep idle for large values.
      shared_memory => 268435456,
      shutdown_grace => 5000,
      venv => none}.

-spec value(atom()) -> term().
value(Key) ->
    case application:get_env(?APPLICATION, Key) of
        {ok, Value} -> Value;
        undefined -> maps:get(Key, defaults())
    end.

%% @doc What somebody has set; also of older keys. One that was set to its default is like one that was not.
-spec chosen(atom()) -> {ok, term()} | default.
chosen(Key) ->
    Defaults = defaults(),
    case application:get_env(?APPLICATION, Key) of
        {ok, Value} when is_map_key(Key, Defaults), map_get(Key, Defaults) =:= Value -> default;
        {ok, Value} -> {ok, Value};
        undefined -> default
    end.

%% @doc Keys that are set and that there are not, each with the one that is meant, if it can be guessed.
-spec misspelled() -> [{atom(), atom() | none}].
misspelled() ->
    Known = maps:keys(defaults()) ++ ?OLDER,
    [{Key, py_spelling:nearest(Key, Known)} || {Key, _} <- application:get_all_env(?APPLICATION), not lists:member(Key, Known)].
