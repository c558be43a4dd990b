%% The two modes of contexts: groups of cases that run in each, and functions that do. What needs interpreters with a
%% GIL of their own is skipped, or left out, where Python has none. The three placements are these two in a port process
%% that contexts share, and a port process for each context.
-module(py_test_modes).

-export([groups/1, init_group/2, pool_group/4, start_group/2]).
-export([placement_groups/1, init_placement/2, placed_pool_group/4, end_pool_group/1, first_context/1]).
-export([supported/0, in_each/1, with_owngil/1]).

-type mode() :: worker | owngil.
-type placement() :: worker | owngil | isolated.
-type config() :: [{atom(), term()}].

%% For groups/0: the same cases in a group of each mode.
-spec groups([atom()]) -> [{mode(), [], [atom()]}].
groups(Cases) -> [{Mode, [], Cases} || Mode <- [worker, owngil]].

%% For init_per_group/2: the mode, which is the name of the group, in the configuration. Groups of a suite that are no
%% modes come through as well.
-spec init_group(atom(), config()) -> config() | {skip, string()}.
init_group(owngil, Config) -> with_owngil(fun() -> [{mode, owngil} | Config] end);
init_group(Group, Config) -> [{mode, Group} | Config].

%% The same, with a pool of that mode, for the suite to stop again.
-spec pool_group(mode(), pos_integer(), map(), config()) -> config() | {skip, string()}.
pool_group(Mode, Size, Opts, Config) ->
    case init_group(Mode, Config) of
        {skip, _} = Skip -> Skip;
        InMode -> [{pool, py_test:start_pool(Size, Opts#{mode => Mode})} | InMode]
    end.

%% The same as init_group/2, with the application started anew, its default pool in that mode.
-spec start_group(mode(), config()) -> config() | {skip, string()}.
start_group(worker, Config) -> start_in(worker, Config);
start_group(owngil, Config) ->
    %% Only a Python that runs can be asked.
    ok = py_test:start(),
    with_owngil(fun() -> start_in(owngil, Config) end).

start_in(Mode, Config) ->
    ok = py_test:start([{context_mode, Mode}]),
    [{mode, Mode} | Config].

%% For groups/0: the same cases in a group of each placement.
-spec placement_groups([atom()]) -> [{placement(), [], [atom()]}].
placement_groups(Cases) -> [{Placement, [], Cases} || Placement <- [worker, owngil, isolated]].

%% For init_per_group/2: the options of a pool or a context in that placement, in the configuration.
-spec init_placement(placement(), config()) -> config() | {skip, string()}.
init_placement(isolated, Config) -> [{options, #{isolation => context}} | Config];
init_placement(Mode, Config) ->
    case init_group(Mode, Config) of
        {skip, _} = Skip -> Skip;
        InMode -> [{options, #{mode => Mode}} | InMode]
    end.

%% The same, with a pool in that placement, for the suite to stop again.
-spec placed_pool_group(placement(), pos_integer(), map(), config()) -> config() | {skip, string()}.
placed_pool_group(Placement, Size, Opts, Config) ->
    case init_placement(Placement, Config) of
        {skip, _} = Skip -> Skip;
        Placed -> [{pool, py_test:start_pool(Size, maps:merge(Opts, proplists:get_value(options, Placed)))} | Placed]
    end.

%% For end_per_group/2: stops the pool of the group.
-spec end_pool_group(config()) -> ok.
end_pool_group(Config) -> py_test:stop_pool(proplists:get_value(pool, Config)).

%% The first context of that pool.
-spec first_context(config()) -> pid().
first_context(Config) -> hd(py_test:contexts(proplists:get_value(pool, Config))).

-spec supported() -> [mode(), ...].
supported() -> [worker | [owngil || py:subinterp_supported()]].

%% Runs Fun(Ctx) with a context of its own in each mode.
-spec in_each(fun((pid()) -> term())) -> ok.
in_each(Fun) -> lists:foreach(fun(Mode) -> py_test:with_context(#{mode => Mode}, Fun) end, supported()).

%% The value of Fun, or for Common Test to skip what it cannot do.
-spec with_owngil(fun(() -> R)) -> R | {skip, string()}.
with_owngil(Fun) ->
    case py:subinterp_supported() of
        true -> Fun();
        false -> {skip, "this Python has no interpreters with their own GIL"}
    end.
