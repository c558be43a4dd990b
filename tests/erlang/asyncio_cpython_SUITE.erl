%% CPython's own tests of asyncio, test.test_asyncio, on ErlangEventLoop inside contexts.
%%
%% How the loop gets into the tests is in tests/asyncio/cpython_tests.py, and what does not pass, and why, in
%% tests/asyncio/known.txt. Every module runs in a port process of its own. What does not pass on ErlangEventLoop is run
%% once more; what still does not is run on CPython's loop, in a context of the same mode.
-module(asyncio_cpython_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 10}}].

all() -> [{group, modes}].

groups() -> [{modes, [parallel], [worker, owngil]}].

init_per_suite(Config) ->
    ok = py_test:start([{paths, [filename:join([filename:dirname(py_test:python_modules()), "..", "asyncio"])]}]),
    case py:call(cpython_tests, available, []) of
        {ok, true} -> Config;
        {ok, false} -> py_test:stop(), {skip, "this Python was installed without its own tests (test.test_asyncio)"}
    end.

end_per_suite(_Config) -> py_test:stop().

%% Proves that in a worker context everything passes that passes on CPython's own loop there.
worker(_) -> all_modules(worker).

%% Proves the same of an owngil context.
owngil(_) ->
    py_test_modes:with_owngil(fun() -> all_modules(owngil) end).

all_modules(Mode) ->
    {ok, Modules} = py:call(cpython_tests, modules, []),
    Results = [one_module(Mode, Module) || Module <- Modules],
    {Rows, Counts, OnlyHere, InBoth} = lists:foldl(fun sum/2, {[], [0, 0, 0, 0, 0], #{}, #{}}, Results),
    Line = "| `~ts` | ~b | ~b | ~b | ~b | ~b |~n",
    ct:log("| module | passed | skipped | fails in both | fails only here | loops made |~n|---|---|---|---|---|---|~n"
           "~ts~ts",
           [[io_lib:format(Line, Row) || Row <- lists:reverse(Rows)], io_lib:format(Line, ["all" | Counts])]),
    ?assert(hd(Counts) > 1000),
    %% They did run on ErlangEventLoop.
    ?assert(lists:last(Counts) > 500),
    ?assertEqual(#{}, unexplained(<<"here">>, OnlyHere)),
    %% The list is of 3.13; what other versions add is not known to it.
    {ok, Version} = py:version(),
    case Version of
        <<"3.13", _/binary>> -> ?assertEqual(#{}, unexplained(<<"both">>, InBoth));
        _ -> ok
    end.

sum({Name, Passed, Skipped, OnlyHere, InBoth, Loops}, {Rows, Counts, AllHere, AllBoth}) ->
    Row = [Passed, Skipped, maps:size(InBoth), maps:size(OnlyHere), Loops],
    {[[Name | Row] | Rows], lists:zipwith(fun(A, B) -> A + B end, Row, Counts), maps:merge(AllHere, OnlyHere),
     maps:merge(AllBoth, InBoth)}.

unexplained(Kind, Failures) ->
    {ok, Known} = py:call(cpython_tests, known, [Kind, maps:keys(Failures)]),
    maps:without(maps:keys(Known), Failures).

%% What did not pass on ErlangEventLoop, as #{Test => Reason}: only there, or also on CPython's.
one_module(Mode, Module) ->
    {First, FirstReasons, Loops} = run(Mode, erlang, Module, none),
    Failed = with(First, <<"failed">>),
    {Second, SecondReasons, _} = again(Mode, erlang, Module, Failed),
    Outcomes = maps:merge(First, Second),
    [ct:log("unsteady: ~ts~n~ts~n", [T, maps:get(T, FirstReasons)])
     || T <- Failed, maps:get(T, Outcomes) =:= <<"passed">>],
    Reasons = maps:merge(FirstReasons, SecondReasons),
    NotPassed = with(Outcomes, <<"failed">>) ++ with(Outcomes, <<"skipped">>),
    {Theirs, _, _} = again(Mode, cpython, Module, NotPassed),
    OnlyHere = [T || T <- NotPassed, maps:get(T, Theirs, none) =:= <<"passed">>],
    InBoth = with(Outcomes, <<"failed">>) -- OnlyHere,
    Skipped = with(Outcomes, <<"skipped">>) -- OnlyHere,
    {Module, length(with(Outcomes, <<"passed">>)), length(Skipped), maps:with(OnlyHere, Reasons),
     maps:with(InBoth, Reasons), Loops}.

with(Outcomes, Wanted) -> [Test || {Test, Outcome} <- lists:sort(maps:to_list(Outcomes)), Outcome =:= Wanted].

again(_, _, _, []) -> {#{}, #{}, 0};
again(Mode, Loop, Module, Tests) -> run(Mode, Loop, Module, Tests).

%% With sandbox => off: the tests fork.
run(Mode, Loop, Module, Only) ->
    py_test:with_pool(1, #{mode => Mode, sandbox => off}, fun(Pool) ->
        [Ctx] = py_test:contexts(Pool),
        case py:call(Ctx, cpython_tests, run, [Loop, Module, Only], #{timeout => 180000}) of
            {ok, #{<<"outcomes">> := Outcomes, <<"reasons">> := Reasons, <<"loops">> := Loops}} ->
                {Outcomes, Reasons, Loops};
            Other -> error({module_did_not_end, Module, Loop, Other})
        end
    end).
