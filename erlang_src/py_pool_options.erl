%% @doc The options of pools and contexts, checked one by one and brought into the form that py_port sends.
-module(py_pool_options).

-export([pool/3, names/0, default_limit/1, context/2, check/2, mode/1, wrong_variables/1, config/2]).

-export_type([spec/0, options/0]).

%% A map, or a list of pairs: docs/pools.md has the keys.
-type options() :: #{atom() => term()} | [{atom(), term()}].

%% Everything that a pool needs to know; `contexts' is its size.
-type spec() :: #{
    pool := atom(),
    contexts := pos_integer(),
    mode := worker | owngil,
    isolation := pool | context,
    python := binary() | none,
    venv := binary() | none,
    env := [{string(), string() | false}],
    cwd := binary() | none,
    memory_limit := non_neg_integer(),
    hard_timeout_grace := pos_integer() | infinity,
    shutdown_grace := pos_integer(),
    max_requests := pos_integer() | infinity,
    max_callbacks := pos_integer() | infinity,
    max_concurrent := pos_integer(),
    max_queued := non_neg_integer() | infinity,
    sandbox := py_sandbox:sandbox(),
    imports := [binary()],
    paths := [binary()],
    preload := [binary()],
    nice := 0..19,
    shared_memory := non_neg_integer(),
    send := granted | local | any,
    send_names := [atom() | {atom(), node()}],
    none_as := none | nil | undefined
}.

%% Every context is a thread; more than this in one pool is a mistake.
-define(MAX_CONTEXTS, 1024).
%% An application's stop waits for so long: an hour is a mistake already.
-define(MAX_SHUTDOWN_MS, 3600000).

%% @doc A pool of `Size' contexts; `Options', or a mode, over the defaults of the application's environment.
-spec pool(atom(), pos_integer(), atom() | options()) -> {ok, spec()} | {error, term()}.
pool(Pool, _Size, _Options) when not is_atom(Pool) ->
    {error, {bad_option, pool, Pool}};
pool(_Pool, Size, _Options) when not is_integer(Size); Size < 1; Size > ?MAX_CONTEXTS ->
    {error, {bad_option, size, Size}};
pool(Pool, Size, Mode) when is_atom(Mode) ->
    pool(Pool, Size, #{mode => Mode});
pool(Pool, Size, Options) ->
    case pairs(Options) of
        bad -> {error, {bad_option, options, Options}};
        Pairs -> fold(Pairs, with_limit(Pool, Size, (py_config:defaults())#{pool => Pool, contexts => Size}))
    end.

pairs(Options) when is_map(Options); is_list(Options) ->
    try maps:to_list(py_args:map(options, Options))
    catch error:{bad_argument, _, _} -> bad
    end;
pairs(_Options) ->
    bad.

%% What is in the application's environment is for the pool `default', and for contexts that users start.
with_limit(Pool, _Size, Spec) when Pool =:= default; Pool =:= contexts -> Spec;
with_limit(_Pool, Size, Spec) -> Spec#{max_concurrent => default_limit(Size)}.

%% @doc How many requests a pool of this size may have in Python's hands, where nobody says.
-spec default_limit(pos_integer()) -> pos_integer().
default_limit(Size) -> Size * 2 + 1.

%% @doc A context outside the pools. What concerns the process as a whole gives it a port process of its own. The contexts
%% that users start have one limit together.
-spec context(atom(), map()) -> {ok, spec()} | {error, term()}.
context(_Mode, #{max_concurrent := _}) ->
    {error, {bad_option, max_concurrent}};
context(_Mode, #{max_queued := _}) ->
    {error, {bad_option, max_queued}};
context(Mode, Options) ->
    case pool(contexts, 1, Options#{mode => Mode}) of
        {ok, Spec} ->
            Shared = maps:keys(maps:without([mode, preload, isolation], Options)) =:= [],
            {ok, Spec#{
                %% What the pool's preload is (the environment's) the shared port process runs by itself.
                isolation => case Shared andalso maps:get(isolation, Options, pool) of
                    pool -> pool;
                    _ -> context
                end}};
        {error, _} = Error ->
            Error
    end.

%% @doc All options that there are.
-spec names() -> [atom()].
names() ->
    maps:keys(py_config:defaults()).

%% @doc Whether an option may have this value.
-spec check(atom(), term()) -> ok | {error, term()}.
check(Key, Value) ->
    case fold([{Key, Value}], #{preload => []}) of
        {ok, _} -> ok;
        {error, _} = Error -> Error
    end.

fold([], Spec) ->
    {ok, Spec};
fold([{Key, Value} | Rest], Spec) ->
    case option(Key, Value, Spec) of
        {ok, Next} -> fold(Rest, Next);
        unknown -> {error, {bad_option, Key}};
        {error, _} = Error -> Error;
        bad -> {error, {bad_option, Key, Value}}
    end.

option(mode, Value, Spec) ->
    case mode(Value) of
        {ok, Mode} -> {ok, Spec#{mode => Mode}};
        {error, _} = Error -> Error
    end;
option(isolation, Value, Spec) when Value =:= pool; Value =:= context -> {ok, Spec#{isolation => Value}};
option(isolation, _, _) -> bad;
option(python, Value, Spec) -> text(python, Value, Spec);
option(venv, Value, Spec) -> text(venv, Value, Spec);
option(cwd, Value, Spec) -> text(cwd, Value, Spec);
option(env, Value, Spec) when length(Value) >= 0 -> list(env, Value, fun variable/1, Spec);
option(env, _, _) -> bad;
option(memory_limit, infinity, Spec) -> {ok, Spec#{memory_limit => 0}};
option(memory_limit, Value, Spec) when is_integer(Value), Value > 0 -> {ok, Spec#{memory_limit => Value}};
option(memory_limit, Value, _) -> {error, {invalid_memory_limit, Value}};
option(hard_timeout_grace, infinity, Spec) -> {ok, Spec#{hard_timeout_grace => infinity}};
option(hard_timeout_grace, Value, Spec) when is_integer(Value), Value > 0, Value =< 16#7fffffff ->
    {ok, Spec#{hard_timeout_grace => Value}};
option(hard_timeout_grace, _, _) -> bad;
option(shutdown_grace, Value, Spec) when is_integer(Value), Value > 0, Value =< ?MAX_SHUTDOWN_MS ->
    {ok, Spec#{shutdown_grace => Value}};
option(shutdown_grace, _, _) -> bad;
option(max_requests, infinity, Spec) -> {ok, Spec#{max_requests => infinity}};
option(max_requests, Value, Spec) when is_integer(Value), Value > 0 -> {ok, Spec#{max_requests => Value}};
option(max_requests, _, _) -> bad;
option(max_callbacks, infinity, Spec) -> {ok, Spec#{max_callbacks => infinity}};
option(max_callbacks, Value, Spec) when is_integer(Value), Value > 0, Value =< 16#7fffffff ->
    {ok, Spec#{max_callbacks => Value}};
option(max_callbacks, _, _) -> bad;
option(max_concurrent, Value, Spec) ->
    case py_semaphore:is_limit(Value) of
        true -> {ok, Spec#{max_concurrent => Value}};
        false -> bad
    end;
option(max_queued, Value, Spec) ->
    case py_semaphore:is_queue(Value) of
        true -> {ok, Spec#{max_queued => Value}};
        false -> bad
    end;
option(sandbox, Value, Spec) ->
    case py_sandbox:option(Value) of
        {ok, Sandbox} -> {ok, Spec#{sandbox => Sandbox}};
        Refused -> Refused
    end;
option(imports, Value, Spec) when length(Value) >= 0 -> list(imports, Value, fun module/1, Spec);
option(imports, _, _) -> bad;
option(paths, Value, Spec) when length(Value) >= 0 -> list(paths, Value, fun binary_text/1, Spec);
option(paths, _, _) -> bad;
option(preload, Value, Spec = #{preload := Before}) ->
    case binary_text(Value) of
        {ok, Code} -> {ok, Spec#{preload => Before ++ [Code]}};
        bad -> bad
    end;
option(nice, Value, Spec) when is_integer(Value), Value >= 0, Value =< 19 -> {ok, Spec#{nice => Value}};
option(nice, _, _) -> bad;
option(shared_memory, Value, Spec) when is_integer(Value), Value >= 0, Value < 1 bsl 48 ->
    {ok, Spec#{shared_memory => Value}};
option(shared_memory, _, _) -> bad;
option(send, Value, Spec) when Value =:= granted; Value =:= local; Value =:= any -> {ok, Spec#{send => Value}};
option(send, _, _) -> bad;
option(send_names, Value, Spec) ->
    case py_send:options(Value) of
        {ok, Names} -> {ok, Spec#{send_names => Names}};
        Other -> Other
    end;
option(none_as, Value, Spec) when Value =:= none; Value =:= nil; Value =:= undefined -> {ok, Spec#{none_as => Value}};
option(none_as, _, _) -> bad;
option(_, _, _) -> unknown.

%% @doc A mode by any of its names: `auto' is worker, `subinterp' an older name of owngil.
-spec mode(term()) -> {ok, worker | owngil} | {error, {invalid_mode, term()}}.
mode(worker) -> {ok, worker};
mode(auto) -> {ok, worker};
mode(owngil) -> {ok, owngil};
mode(subinterp) -> {ok, owngil};
mode(Other) -> {error, {invalid_mode, Other}}.

text(Key, Value, Spec) ->
    case binary_text(Value) of
        {ok, Text} -> {ok, Spec#{Key => Text}};
        bad -> bad
    end.

list(Key, Values, Check, Spec) ->
    Checked = [Check(Value) || Value <- Values],
    case lists:member(bad, Checked) of
        true -> bad;
        false -> {ok, Spec#{Key => [Value || {ok, Value} <- Checked]}}
    end.

module(Name) when is_atom(Name) -> {ok, atom_to_binary(Name)};
module(Name) -> binary_text(Name).

%% @doc Of a list of environment variables those that the option `env' cannot have.
-spec wrong_variables([term()]) -> [term()].
wrong_variables(Variables) ->
    [Variable || Variable <- Variables, variable(Variable) =:= bad].

variable({Name, false}) ->
    case variable_name(Name) of
        {ok, Text} -> {ok, {Text, false}};
        bad -> bad
    end;
variable({Name, Value}) ->
    case {variable_name(Name), string_text(Value)} of
        {{ok, N}, {ok, V}} -> {ok, {N, V}};
        _ -> bad
    end;
variable(_) ->
    bad.

variable_name(Name) ->
    case string_text(Name) of
        {ok, Text} when Text =/= "" ->
            case lists:member($=, Text) of
                true -> bad;
                false -> {ok, Text}
            end;
        _ -> bad
    end.

string_text(Value) when is_atom(Value) -> without_nul(atom_to_list(Value));
string_text(Value) ->
    case binary_text(Value) of
        {ok, Text} -> without_nul(unicode:characters_to_list(Text));
        bad -> bad
    end.

without_nul(Text) when is_list(Text) ->
    case lists:member(0, Text) of
        true -> bad;
        false -> {ok, Text}
    end;
without_nul(_NotUtf8) ->
    bad.

binary_text(Value) when is_binary(Value) -> {ok, Value};
binary_text(Value) when is_list(Value) ->
    try unicode:characters_to_binary(Value) of
        Text when is_binary(Text) -> {ok, Text};
        _ -> bad
    catch
        error:badarg -> bad
    end;
binary_text(_) -> bad.

%% @doc The `Config' of an INIT frame.
-spec config(spec(), file:filename_all()) -> map().
config(Spec, PackagePath) ->
    #{pool := Pool, hard_timeout_grace := Grace, max_callbacks := MaxCallbacks, sandbox := Sandbox} = Spec,
    Base = maps:merge(maps:with([python, venv, paths, imports, preload, memory_limit, shared_memory, shutdown_grace, nice, none_as], Spec),
                      py_sandbox:rules(Sandbox)),
    Base#{
        pool => atom_to_binary(Pool),
        package_path => unicode:characters_to_binary(PackagePath),
        hard_timeout_grace => case Grace of infinity -> 0; _ -> Grace end,
        max_callbacks => case MaxCallbacks of infinity -> 0; _ -> MaxCallbacks end,
        max_value_bytes => py_config:max_frame_bytes(),
        max_term_bytes => py_config:max_term_bytes(),
        max_integer_bytes => py_integers:max_bytes(),
        sandbox => py_sandbox:level(Sandbox)}.
