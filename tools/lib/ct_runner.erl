%% Runs Common Test suites for tools/test: compiles them, prints a line per suite and the reason of each failure, and
%% writes the counts to a file. The full log is Common Test's own, in OutDir/ct.
%%
%% main/1 takes "OutDir CountsFile SourceDir... -- Selection...", all strings; a selection is a suite, or "suite:case"
%% or "suite:group"; without one all suites of the source directories run.
-module(ct_runner).

-export([main/1]).
%% Common Test hook.
-export([init/2, post_end_per_testcase/5, on_tc_fail/4, on_tc_skip/4, post_end_per_suite/4]).

-record(hook, {ok = 0 :: non_neg_integer(), bad = [] :: [atom()]}).

-spec main([string()]) -> no_return().
main([OutDir, CountsFile | Rest]) ->
    {SourceDirs, Selections} = split(Rest),
    Ebin = filename:join(OutDir, "ebin"),
    LogDir = filename:join(OutDir, "ct"),
    Sources = lists:append([filelib:wildcard(filename:join(D, "*.erl")) || D <- SourceDirs]),
    Broken = [S || S <- Sources, compile:file(S, [debug_info, report, {outdir, Ebin} | includes(SourceDirs)]) =:= error],
    Suites = [list_to_atom(filename:basename(S, ".erl")) || S <- Sources, lists:suffix("_SUITE.erl", S)],
    Runs = case Selections of
        [] -> [[{suite, [S || S <- Suites, not is_broken(S, Broken)]}]];
        _ -> [selection(S, Suites) || S <- Selections]
    end,
    Counts = [run(Run, Ebin, LogDir) || Run <- Runs],
    {Ok, Failed, Skipped} = lists:foldl(fun({A, B, C}, {X, Y, Z}) -> {A + X, B + Y, C + Z} end, {0, 0, 0}, Counts),
    AllFailed = Failed + length(Broken),
    ok = file:write_file(CountsFile, io_lib:format("~b ~b ~b~n", [Ok, AllFailed, Skipped])),
    halt(min(AllFailed, 1)).

split(Args) ->
    {Before, After} = lists:splitwith(fun(A) -> A =/= "--" end, Args),
    {Before, After -- ["--"]}.

includes(SourceDirs) -> [{i, D} || D <- SourceDirs].

is_broken(Suite, Broken) -> lists:any(fun(S) -> filename:basename(S, ".erl") =:= atom_to_list(Suite) end, Broken).

selection(Text, Suites) ->
    [Name | Part] = string:split(Text, ":"),
    Suite = list_to_atom(Name),
    lists:member(Suite, Suites) orelse stop("there is no suite ~ts", [Name]),
    [{suite, Suite} | [part(Suite, list_to_atom(P)) || P <- Part]].

part(Suite, Name) ->
    {module, Suite} = code:ensure_loaded(Suite),
    Groups = case erlang:function_exported(Suite, groups, 0) of true -> Suite:groups(); false -> [] end,
    case lists:keymember(Name, 1, Groups) of
        true -> {group, Name};
        false -> {testcase, Name}
    end.

run(Run, Ebin, LogDir) ->
    Options = Run ++ [{dir, Ebin}, {auto_compile, false}, {logdir, LogDir}, {ct_hooks, [?MODULE]},
                      {abort_if_missing_suites, true}, {basic_html, true},
                      {multiply_timetraps, list_to_integer(os:getenv("CT_TIMETRAP_FACTOR", "1"))}],
    %% What Common Test says as it goes is in its log as well.
    Leader = group_leader(),
    {ok, Quiet} = file:open(filename:join(LogDir, "console.log"), [append, {encoding, utf8}]),
    application:set_env(common_test, ?MODULE, Leader),
    group_leader(Quiet, self()),
    Result = ct:run_test(Options),
    group_leader(Leader, self()),
    case Result of
        %% A case that could not run because the preparation of its suite or group failed is no skipped case.
        {Ok, Failed, {UserSkipped, AutoSkipped}} -> {Ok, Failed + AutoSkipped, UserSkipped};
        {error, Reason} -> stop("Common Test: ~tp", [Reason])
    end.

stop(Format, Args) ->
    io:format(standard_error, "ct_runner: " ++ Format ++ "~n", Args),
    halt(1).

%% Common Test hook: runs in Common Test's processes, whose output goes to its log.

-spec init(term(), term()) -> {ok, #hook{}}.
init(_Id, _Options) -> {ok, #hook{}}.

-spec post_end_per_testcase(module(), atom(), term(), term(), #hook{}) -> {term(), #hook{}}.
post_end_per_testcase(_Suite, _Case, _Config, Return, Hook) -> {Return, Hook#hook{ok = Hook#hook.ok + 1}}.

-spec on_tc_fail(module(), term(), term(), #hook{}) -> #hook{}.
on_tc_fail(Suite, Case, Reason, Hook) ->
    say("  FAILED  ~ts:~ts~n~ts~n", [Suite, name(Case), indent(io_lib:format("~tp", [Reason]))]),
    Hook#hook{bad = [name(Case) | Hook#hook.bad]}.

-spec on_tc_skip(module(), term(), term(), #hook{}) -> #hook{}.
on_tc_skip(Suite, Case, {tc_user_skip, Reason}, Hook) ->
    say("  skipped ~ts:~ts: ~0tp~n", [Suite, name(Case), Reason]),
    Hook;
on_tc_skip(Suite, Case, {tc_auto_skip, _WhatFailed}, Hook) ->
    say("  not run ~ts:~ts~n", [Suite, name(Case)]),
    Hook.

-spec post_end_per_suite(module(), term(), term(), #hook{}) -> {term(), #hook{}}.
post_end_per_suite(Suite, _Config, Return, #hook{ok = Run, bad = Bad}) ->
    say("  ~ts: ~b cases ended, ~b failed~n", [Suite, Run, length(Bad)]),
    {Return, #hook{}}.

say(Format, Args) ->
    {ok, Leader} = application:get_env(common_test, ?MODULE),
    io:format(Leader, Format, Args).

name({Case, _Group}) -> Case;
name(Case) -> Case.

indent(Text) ->
    Lines = string:split(unicode:characters_to_list(Text), "\n", all),
    lists:join("\n", ["    " ++ Line || Line <- lists:sublist(Lines, 40)]).
