%% What the suites of attacks share: running one at a sandbox level, and what must be as before afterwards.
-module(security_test).

-include_lib("stdlib/include/assert.hrl").

-export([attack/3, groups/1, unharmed/1, confined/1, bytes/1, tree/0]).
-export_type([attack/0]).

%% Code: Python, behind `from attacks import *'; or a function of a module of the tests. A fun gives either when the node
%% runs. Expected: PermissionError; this value; the end of the port process for this reason, or for any; that the node
%% does not care.
-type code() :: iodata() | {module(), atom(), [term()]}.
-type expected() :: refused | {ok, term()} | {died, term()} | died | too_large | any.
-type attack() :: {atom(), code() | fun(() -> code()), [level()], expected()}.
-type level() :: off | default | strict.

-define(MOST_ATOMS, 1500).
-define(MOST_BYTES, 1 bsl 30).

%% A group for each level, of the attacks that are tried at it.
-spec groups([attack()]) -> [{level(), [], [atom()]}].
groups(Attacks) ->
    [{Level, [], [Name || {Name, _, Levels, _} <- Attacks, lists:member(Level, Levels)]} || Level <- [off, default, strict]].

%% Makes the attack from a pool of its own.
-spec attack(atom(), [attack()], level()) -> ok.
attack(Name, Attacks, Level) ->
    {Name, Code, _, Expected} = lists:keyfind(Name, 1, Attacks),
    unharmed(fun() ->
        py_test:with_pool(1, #{sandbox => Level}, fun(Pool) ->
            check(Expected, run(hd(py_test:contexts(Pool)), Code)),
            answers_again(Pool)
        end)
    end).

run(Ctx, Code) when is_function(Code) -> run(Ctx, Code());
%% Whoever breaks the protocol dies for it, and an `infinity' call is told.
run(Ctx, {hostile, F, Args}) -> py:call(Ctx, hostile, F, Args, #{timeout => infinity});
run(Ctx, {sabotage, F, Args}) -> py:call(Ctx, sabotage, F, Args, #{timeout => 2000});
run(Ctx, {M, F, Args}) -> py:call(Ctx, M, F, Args, #{timeout => 60000});
run(Ctx, Code) ->
    Whole = iolist_to_binary(["from attacks import *\n", Code]),
    py:call(Ctx, builtins, exec, [Whole, #{}], #{timeout => 60000}).

check(refused, Result) -> ?assertMatch({error, {'PermissionError', _}}, Result);
check({ok, Value}, Result) -> ?assertEqual({ok, Value}, Result);
check({died, Why}, Result) -> ?assertEqual({error, {context_died, Why}}, Result);
check(died, Result) -> ?assertMatch({error, {context_died, _}}, Result);
check(too_large, Result) -> ?assertMatch({error, {too_large, _, _}}, Result);
check(any, _) -> ok.

%% With nothing but calls that have a timeout, and to do what programs do.
answers_again(Pool) ->
    Works = fun() ->
        case py_test:contexts(Pool) of
            [Ctx | _] -> py:call(Ctx, sabotage_work, work, [], #{timeout => 1000});
            [] -> no_context
        end
    end,
    py_test:eventually(fun() -> case Works() of {ok, {6, _}} -> true; Other -> Other end end, 60000).

%% Runs Fun. Afterwards the node's processes and those of the application are the same, other pools answer from the same
%% Python processes, and neither atoms nor memory have been taken.
-spec unharmed(fun(() -> R)) -> R.
unharmed(Fun) ->
    {Tree, Pools, Atoms} = {tree(), pools(), erlang:system_info(atom_count)},
    ?assert(length(Tree) > 40),
    Result = Fun(),
    ?assertEqual([], Tree -- tree()),
    ?assertEqual(Pools, pools()),
    [?assertEqual({Pool, {ok, 4.0}}, {Pool, py:call(Pool, math, sqrt, [16])}) || Pool <- [default, io]],
    ?assert(erlang:system_info(atom_count) - Atoms < ?MOST_ATOMS),
    ?assert(erlang:memory(total) < ?MOST_BYTES),
    Result.

pools() -> [{Pool, py_test:os_pid(Pool)} || Pool <- [default, io]].

%% Everybody that has a name and is OTP's or ours, and all of the application.
-spec tree() -> [term()].
tree() ->
    [{Name, Pid} || Name <- registered(), Pid <- [whereis(Name)], is_pid(Pid), py_protected:process(Pid)]
        ++ below(erlang_python_sup).

below(Sup) ->
    [Line || {Id, Pid, Type, _} <- supervisor:which_children(Sup),
             Line <- [{Id, Pid} | case Type of supervisor -> below(Pid); worker -> [] end]].

%% Whether this kernel keeps the signals of pools at this level inside.
-spec confined(level()) -> boolean().
confined(Level) ->
    py_test:with_pool(1, #{sandbox => Level}, fun(Pool) ->
        #{Pool := #{confined := Confined}} = py:stats(),
        lists:member(signals, Confined)
    end).

%% A term's bytes as Python's Pid takes them: without the first.
-spec bytes(term()) -> iodata().
bytes(Term) ->
    <<131, Etf/binary>> = term_to_binary(Term),
    io_lib:format("bytes(~w)", [binary_to_list(Etf)]).
