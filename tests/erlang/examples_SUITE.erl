%% The examples of docs/examples compile without a warning, run, and give what they say.
-module(examples_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() -> [every_example_has_a_case, as_a_program, reentrant_demo, erlang_concurrency].

init_per_suite(Config) ->
    [{modules, [compiled(File) || File <- sources()]} | Config].

end_per_suite(Config) ->
    _ = [begin true = code:delete(Module), code:purge(Module) end || {Module, _} <- ?config(modules, Config)],
    ok.

init_per_testcase(_Case, Config) ->
    ok = py_test:start_bare(),
    Config.

end_per_testcase(_Case, _Config) -> py_test:stop().

%% Proves that an example that is added is tested.
every_example_has_a_case(Config) ->
    [?assert(lists:member(Module, all())) || Module <- examples(Config)].

%% Proves that each runs by the command that stands on top of it.
as_a_program(Config) ->
    py_test:stop(),
    Lib = filename:dirname(code:lib_dir(erlang_python)),
    Dir = filename:dirname(code:which(?MODULE)),
    Files = [{filename:join(Dir, atom_to_list(Module) ++ ".beam"), Beam} || {Module, Beam} <- ?config(modules, Config)],
    _ = [ok = file:write_file(File, Beam) || {File, Beam} <- Files],
    _ = [begin
             Output = os:cmd(lists:concat(["cd ", Dir, " && ERL_LIBS=", Lib, " erl -noshell -s example main ", Module,
                                           " && echo ended well"])),
             ?assertMatch({match, _}, re:run(Output, "ended well\n$"), Output)
         end || Module <- examples(Config)],
    _ = [ok = file:delete(File) || {File, _} <- Files],
    ok.

%% Proves what Python and Erlang find by calling each other, twice in the same application.
reentrant_demo(_) ->
    Twelve = lists:append([[iolist_to_binary(["Python ", integer_to_list(N)])] ++
                           [iolist_to_binary(["Erlang ", integer_to_list(N)]) || N > 0] || N <- lists:seq(12, 0, -1)]),
    twice(reentrant_demo, fun() ->
        ?assertEqual(#{arithmetic => {#{<<"sum">> => 13, <<"product">> => 42, <<"square of the sum">> => 169},
                                      [<<"84 / 2 = 42">>, <<"1 / 0 failed: badarith">>]},
                       fibonacci => {2880067194370816120, 91},
                       levels => Twelve,
                       methods => <<"totals [5, 15, 30]: 30 in steps of 5">>},
                     reentrant_demo:demo_all()),
        ?assertEqual(101, length(reentrant_demo:levels(50))),
        ?assertEqual({0, 1}, reentrant_demo:fibonacci(0))
    end).

%% Proves that work spread over Erlang processes comes back complete, and in order.
erlang_concurrency(_) ->
    twice(erlang_concurrency, fun() ->
        ?assertEqual(#{words => #{<<"be">> => 4, <<"do">> => 2, <<"is">> => 2, <<"not">> => 1, <<"or">> => 1,
                                  <<"to">> => 6},
                       squares => [N * N || N <- lists:seq(1, 1000)],
                       answer => 42,
                       mapped => [[N, N * N * N] || N <- lists:seq(1, 20)]},
                     erlang_concurrency:demo_all()),
        %% The losers of the race are gone.
        py_test:eventually(fun() -> py_counters:callbacks() =:= 0 end)
    end).

%% Helpers.

%% All modules but the one that the examples share.
examples(Config) ->
    Examples = [Module || {Module, _} <- ?config(modules, Config), Module =/= example],
    ?assertMatch([_ | _], Examples),
    Examples.

twice(Module, Fun) ->
    _ = [begin
             ok = Module:start(),
             Fun(),
             ok = Module:stop()
         end || _ <- [1, 2]],
    ?assertEqual([], py_functions:names()).

sources() ->
    Source = proplists:get_value(source, ?MODULE:module_info(compile)),
    Top = filename:dirname(filename:dirname(filename:dirname(Source))),
    filelib:wildcard(filename:join([Top, "docs", "examples", "*.erl"])).

compiled(File) ->
    {ok, Module, Beam, []} = compile:file(File, [binary, return, warn_missing_spec]),
    {module, Module} = code:load_binary(Module, File, Beam),
    {Module, Beam}.
