%% @doc The options of pools and contexts, checked one by one and brought into the form that py_port sends.
-module(py_pool_options).

-export([pool/3, context/2, check/2, mode/1, config/2]).

-export_type([spec/0]).

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
    max_requests := pos_integer() | infinity,
    sandbox := off | default | strict,
    imports := [binary()],
    paths := [binary()],
    preload := [binary()],
    nice := 0..19
}.

%% Every context is a thread; more than this in one pool is a mistake.
-define(MAX_CONTEXTS, 1024).

%% @doc A pool of `Size' contexts; `Options' over the defaults of the application's environment.
-spec pool(atom(), pos_integer(), map()) -> {ok, spec()} | {error, term()}.
pool(Pool, Size, Options) when is_atom(Pool), is_integer(Size), Size > 0, Size =< ?MAX_CONTEXTS, is_map(Options) ->
    fold(maps:to_list(Options), (py_config:defaults())#{pool => Pool, contexts => Size});
pool(Pool, _Size, _Options) when not is_atom(Pool) ->
    {error, {bad_option, pool, Pool}};
pool(_Pool, _Size, Options) when not is_map(Options) ->
    {error, {bad_option, options, Options}};
pool(_Pool, Size, _Options) ->
    {error, {bad_option, size, Size}}.

%% @doc A context outside the pools. What concerns the process as a whole gives it a port process of its own.
-spec context(atom(), map()) -> {ok, spec()} | {error, term()}.
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
option(env, Value, Spec) when is_list(Value) -> list(env, Value, fun variable/1, Spec);
option(env, _, _) -> bad;
option(memory_limit, infinity, Spec) -> {ok, Spec#{memory_limit => 0}};
option(memory_limit, Value, Spec) when is_integer(Value), Value > 0 -> {ok, Spec#{memory_limit => Value}};
option(memory_limit, _, _) -> bad;
option(hard_timeout_grace, infinity, Spec) -> {ok, Spec#{hard_timeout_grace => infinity}};
option(hard_timeout_grace, Value, Spec) when is_integer(Value), Value > 0, Value =< 16#7fffffff ->
    {ok, Spec#{hard_timeout_grace => Value}};
option(hard_timeout_grace, _, _) -> bad;
option(max_requests, infinity, Spec) -> {ok, Spec#{max_requests => infinity}};
option(max_requests, Value, Spec) when is_integer(Value), Value > 0 -> {ok, Spec#{max_requests => Value}};
option(max_requests, _, _) -> bad;
option(sandbox, Value, Spec) when Value =:= off; Value =:= default; Value =:= strict -> {ok, Spec#{sandbox => Value}};
option(sandbox, _, _) -> bad;
option(imports, Value, Spec) when is_list(Value) -> list(imports, Value, fun module/1, Spec);
option(imports, _, _) -> bad;
option(paths, Value, Spec) when is_list(Value) -> list(paths, Value, fun binary_text/1, Spec);
option(paths, _, _) -> bad;
option(preload, Value, Spec = #{preload := Before}) ->
    case binary_text(Value) of
        {ok, Code} -> {ok, Spec#{preload => Before ++ [Code]}};
        bad -> bad
    end;
option(nice, Value, Spec) when is_integer(Value), Value >= 0, Value =< 19 -> {ok, Spec#{nice => Value}};
option(nice, _, _) -> bad;
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

variable({Name, false}) ->
    case string_text(Name) of
        {ok, Text} -> {ok, {Text, false}};
        bad -> bad
    end;
variable({Name, Value}) ->
    case {string_text(Name), string_text(Value)} of
        {{ok, N}, {ok, V}} -> {ok, {N, V}};
        _ -> bad
    end;
variable(_) ->
    bad.

string_text(Value) when is_atom(Value) -> {ok, atom_to_list(Value)};
string_text(Value) ->
    case binary_text(Value) of
        {ok, Text} -> {ok, unicode:characters_to_list(Text)};
        bad -> bad
    end.

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
    #{pool := Pool, hard_timeout_grace := Grace, sandbox := Sandbox} = Spec,
    (maps:with([python, venv, paths, imports, preload, memory_limit, nice], Spec))#{
        pool => atom_to_binary(Pool),
        package_path => unicode:characters_to_binary(PackagePath),
        hard_timeout_grace => case Grace of infinity -> 0; _ -> Grace end,
        max_value_bytes => py_config:max_frame_bytes(),
        sandbox => case Sandbox of off -> 0; default -> 1; strict -> 2 end}.
