%% Which pids Python has been given by Erlang, so that it may send to them: those in terms, wherever they come from, and the table
%% that remembers them. What pools allow beyond that is in send_SUITE.
-module(grants_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").
-include("../../erlang_src/py_route.hrl").

-import(py_test_send, [rule/2, give/2, give_all/2, etf/1, remote/0, remote/1, remote/2, sink/0, dead/0, mailbox/0, contains/2]).

-define(MANY, 100000).

suite() -> [{timetrap, {minutes, 3}}].

all() -> [{group, terms}, {group, table}, {group, worker}, {group, owngil}, {group, isolated}].

groups() ->
    Sources = [arguments, keyword_arguments, locals, inside_of_terms, callback_values, callback_reasons, shared_state,
               no_way_round, the_caller, earlier_callers, whereis_gives, casts_streams_and_coroutines, threads,
               not_granted, what_is_dead],
    [{terms, [], [pids_anywhere, large_terms, large_terms_of_other_nodes, opaque_terms]},
     {table, [], [dead_are_forgotten, other_nodes_are_forgotten, short_lived_callers, pruning_survives]},
     {worker, [], Sources}, {owngil, [], Sources}, {isolated, [], Sources}].

init_per_suite(Config) ->
    ok = py_test:start(),
    Config.

end_per_suite(_Config) -> py_test:stop().

init_per_group(worker, Config) -> py_test_modes:pool_group(worker, 1, #{}, Config);
init_per_group(owngil, Config) -> py_test_modes:pool_group(owngil, 1, #{}, Config);
init_per_group(isolated, Config) -> py_test_modes:pool_group(worker, 1, #{isolation => context}, Config);
init_per_group(_, Config) -> Config.

end_per_group(_, Config) ->
    case proplists:get_value(pool, Config) of
        undefined -> ok;
        Pool -> py_test:stop_pool(Pool)
    end.

init_per_testcase(_Case, Config) -> Config.

end_per_testcase(_Case, _Config) -> py_test_send:clean_up().

%% Terms.

%% Proves that pids are found wherever they are in what Python is sent.
pids_anywhere(_) ->
    [begin
         Rule = rule(granted, []),
         Pids = [A, B] = [sink(), remote()],
         ok = give_all(Make(A, B), Rule),
         [?assertEqual({ok, Pid}, py_send:reach(Pid, Rule)) || Pid <- Pids]
     end || Make <- [
         fun(A, B) -> [A, B] end,
         fun(A, B) -> [1, a, <<"x">>, 1.5, A | B] end,
         fun(A, B) -> {1, {2, [3, {A}]}, B} end,
         fun(A, B) -> #{A => 1, b => B} end,
         fun(A, B) -> #{[x, A] => #{#{{B} => 1} => 2}} end,
         fun(A, B) -> maps:from_list([{N, N} || N <- lists:seq(1, 100)] ++ [{A, [B]}]) end,
         fun(A, B) -> lists:foldl(fun(N, T) -> [N, {T}] end, [A, B], lists:seq(1, 900)) end]].

%% Proves the same of terms that are so large that their encoded form is looked at first.
large_terms(_) ->
    [begin
         Rule = rule(granted, []),
         Pid = sink(),
         ?assertEqual(refused, py_send:reach(Pid, Rule)),
         ok = give_all(Make(Pid), Rule),
         ?assertEqual({ok, Pid}, py_send:reach(Pid, Rule))
     end || Make <- [
         fun(Pid) -> lists:seq(1, ?MANY) ++ [Pid] end,
         fun(Pid) -> [lists:seq(1, ?MANY) | Pid] end,
         fun(Pid) -> [#{id => N, name => <<"abc">>} || N <- lists:seq(1, 10000)] ++ [#{Pid => 1}] end,
         fun(Pid) -> list_to_tuple(lists:seq(1, ?MANY) ++ [{Pid}]) end,
         fun(Pid) -> maps:from_list([{N, N} || N <- lists:seq(1, ?MANY)] ++ [{last, Pid}]) end]],
    Rule = rule(granted, []),
    ok = give_all(lists:seq(1, ?MANY), Rule),
    ok = give_all([#{id => N} || N <- lists:seq(1, 10000)], Rule),
    ?assertEqual(0, length(pids(Rule))).

%% Proves the same of pids of other nodes, of however many.
large_terms_of_other_nodes(_) ->
    Rule = rule(granted, []),
    Pids = [remote(N) || N <- lists:seq(1, 10)],
    [begin
         ok = give_all(lists:seq(1, ?MANY) ++ [Pid], Rule),
         ?assertEqual({ok, Pid}, py_send:reach(Pid, Rule))
     end || Pid <- Pids].

%% Proves that what Python cannot look into gives nothing.
opaque_terms(_) ->
    Rule = rule(granted, []),
    Pid = sink(),
    Self = self(),
    ok = give_all([fun() -> {Pid, Self} end, make_ref(), hd(erlang:ports()), <<1:3>>, term_to_binary(Pid)], Rule),
    ?assertEqual([], pids(Rule)).

%% The table.

%% Proves that dead processes are forgotten when there are many, and that those that live are not.
dead_are_forgotten(_) ->
    Rule = rule(granted, []),
    Living = [sink() || _ <- lists:seq(1, 100)],
    ok = give_all(Living, Rule),
    Dead = dead(),
    Size = fun() -> length(pids(Rule)) end,
    [give(Pid, Rule) || _ <- lists:seq(1, 50), Pid <- [dead() || _ <- lists:seq(1, 1000)] ++ [Dead]],
    %% The next ones look again.
    py_test:eventually(fun() -> [give(dead(), Rule) || _ <- lists:seq(1, 10)], Size() < 5000 end),
    [?assertEqual({ok, Pid}, py_send:reach(Pid, Rule)) || Pid <- Living],
    ?assertEqual(false, py_send:is_alive(Dead, Rule)).

%% Proves that pids of nodes that are not there do not stay for ever.
other_nodes_are_forgotten(_) ->
    Rule = rule(granted, []),
    [give(remote(Node, Id), Rule) || Id <- lists:seq(1, 3000), Node <- [1, 2]],
    py_test:eventually(fun() -> [give(dead(), Rule) || _ <- lists:seq(1, 10)], length(pids(Rule)) < 4000 end).

%% Proves that memory is flat while a hundred thousand processes that live for one call come and go.
short_lived_callers(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        Table = grants_of(Pool),
        Call = fun() -> {ok, 4.0} = py:call(Pool, math, sqrt, [16]) end,
        Workers = [py_test:async(fun() ->
            [py_test:in_process(Call) || _ <- lists:seq(1, ?MANY div 20)], done
        end) || _ <- lists:seq(1, 20)],
        Highest = highest(Workers, Table, 0),
        ?assert(Highest < 50000),
        py_test:eventually(fun() ->
            [py_test:in_process(Call) || _ <- lists:seq(1, 50)],
            ets:info(Table, size) < 5000
        end),
        ?assert(ets:info(Table, memory) * erlang:system_info(wordsize) < 2 bsl 20)
    end).

highest([], _Table, Highest) -> Highest;
highest([Worker | Rest], Table, Highest) ->
    ?assertEqual(done, py_test:join(Worker)),
    highest(Rest, Table, max(Highest, ets:info(Table, size))).

%% Proves that who looks for the dead may be killed, and another one does it.
pruning_survives(_) ->
    Rule = rule(granted, []),
    Table = py_send:grants(Rule),
    true = ets:insert(Table, {pruning, dead()}),
    ok = give_all([dead() || _ <- lists:seq(1, 3000)], Rule),
    py_test:eventually(fun() -> give(dead(), Rule), length(pids(Rule)) < 2500 end).

%% Where pids come from.

%% Proves that Python may send to a pid in the arguments.
arguments(Config) -> opens(Config, fun(Pid) -> call(Config, attempt, [Pid]) end).

keyword_arguments(Config) ->
    opens(Config, fun(Pid) -> py:call(pool(Config), sending, keyword, [], #{to => Pid}) end).

locals(Config) ->
    opens(Config, fun(Pid) -> py:eval(ctx(Config), "__import__('sending').attempt(to)", #{to => Pid}) end).

inside_of_terms(Config) ->
    opens(Config, fun(Pid) -> call(Config, nested, [[#{a => {1, [Pid]}}]]) end),
    opens(Config, fun(Pid) ->
        {ok, [Answer]} = call(Config, in_key, [#{{Pid} => 1}]),
        {ok, Answer}
    end).

%% Proves the same of what a function of Erlang returns, also to a coroutine, and to a thread.
callback_values(Config) ->
    opens(Config, fun(Pid) ->
        ok = py:register_function(grants_suite_value, fun([]) -> Pid end),
        call(Config, callback_value, [grants_suite_value])
    end),
    opens(Config, fun(Pid) ->
        ok = py:register_function(grants_suite_value, fun([]) -> Pid end),
        py:async_await(py:async_call(ctx(Config), sending, awaited, [grants_suite_value]))
    end).

callback_reasons(Config) ->
    opens(Config, fun(Pid) ->
        ok = py:register_function(grants_suite_reason, fun([]) -> error({because, Pid}) end),
        call(Config, callback_reason, [grants_suite_reason])
    end),
    opens(Config, fun(Pid) ->
        ok = py:register_function(grants_suite_reason, fun([]) -> throw({because, Pid}) end),
        call(Config, callback_reason, [grants_suite_reason])
    end).

%% Proves that Python gets no pid granted by sending it round: through a function that returns it or fails with it, and
%% through shared state; and that what it was given may go round.
no_way_round(Config) ->
    Pid = sink(),
    ok = py:register_function(grants_suite_same, fun([Value]) -> Value end),
    ok = py:register_function(grants_suite_key, fun([Key]) -> maps:get(Key, #{}) end),
    ok = py:register_function(grants_suite_killed, fun([Value]) ->
        exit(self(), {because, Value}),
        receive after infinity -> ok end
    end),
    Refused = lists:duplicate(5, <<"PermissionError">>) ++ lists:duplicate(3, <<"ErlangError">>),
    {ok, Answers} = call(Config, round_trips, [etf(Pid)]),
    ?assertEqual(Refused, [Class || {Class, _} <- Answers]),
    ?assertEqual({message_queue_len, 0}, process_info(Pid, message_queue_len)),
    ok = py:state_clear(),
    {ok, <<"ok">>} = call(Config, attempt, [Pid]),
    {ok, Sent} = call(Config, round_trips, [etf(Pid)]),
    ?assertEqual(lists:duplicate(7, <<"ok">>), lists:sublist(Sent, 7)).

shared_state(Config) ->
    opens(Config, fun(Pid) ->
        ok = py:state_store(<<"a pid">>, Pid),
        call(Config, state_value, [<<"a pid">>])
    end),
    opens(Config, fun(Pid) ->
        ok = py:state_store({<<"a key">>, Pid}, 1),
        {ok, [Answer]} = call(Config, state_key, [<<"a key">>]),
        {ok, Answer}
    end).

%% Proves that the process that calls can be sent to, in a chain of calls both: the callback's and the one that began.
the_caller(Config) ->
    Ctx = ctx(Config),
    py_test:in_process(fun() ->
        {ok, none} = py:eval(Ctx, "erlang.send(erlang.self(), 'hello')"),
        ?assertEqual([<<"hello">>], mailbox())
    end),
    Test = self(),
    ok = py:register_function(grants_suite_inner, fun([]) ->
        {ok, none} = py:eval(Ctx, "erlang.send(erlang.self(), 'inner')"),
        Test ! {inner, mailbox()},
        ok
    end),
    {ok, <<"ok">>} = py:eval(Ctx, "erlang.grants_suite_inner()"),
    ?assertEqual([{inner, [<<"inner">>]}], mailbox()).

%% Proves that a caller of earlier, which Python has kept, can be sent to as long as it lives.
earlier_callers(Config) ->
    Test = self(),
    Caller = spawn(fun() ->
        {ok, none} = call(Config, keep_self, []),
        Test ! kept,
        receive Message -> Test ! {got, Message} end
    end),
    receive kept -> ok end,
    ?assertEqual({ok, <<"ok">>}, call(Config, to_kept, [])),
    receive {got, Message} -> ?assertEqual(<<"hello">>, Message) end,
    py_test:eventually(fun() -> not is_process_alive(Caller) end),
    ?assertMatch({ok, {<<"ProcessError">>, _}}, call(Config, to_kept, [])).

%% Proves that whereis of a name that is open gives a pid that can be sent to; of another name it raises.
whereis_gives(Config) ->
    opens(Config, fun(Pid) ->
        true = register(grants_suite_whereis, Pid),
        {ok, {<<"PermissionError">>, Text}} = call(Config, where, [grants_suite_whereis]),
        contains("py:register_name/1", Text),
        {ok, {<<"PermissionError">>, Protected}} = call(Config, where, [rex]),
        contains("OTP", Protected),
        ok = py:register_name(grants_suite_whereis),
        Answer = call(Config, by_name, [grants_suite_whereis]),
        ok = py:unregister_name(grants_suite_whereis),
        Answer
    end),
    ?assertEqual({ok, none}, call(Config, where, [nobody_of_this_name])).

casts_streams_and_coroutines(Config) ->
    Ctx = ctx(Config),
    opens(Config, fun(Pid) -> py:await(py:cast(Ctx, sending, attempt, [Pid])) end),
    opens(Config, fun(Pid) -> py:async_await(py:async_call(Ctx, sending, coroutine, [Pid])) end),
    opens(Config, fun(Pid) -> {ok, [Answer]} = py:stream(Ctx, sending, generator, [Pid]), {ok, Answer} end),
    opens(Config, fun(Pid) ->
        {ok, Ref} = py:stream_start(sending, generator, [Pid], #{context => Ctx}),
        py:stream_next(Ref, 30000)
    end),
    %% The client of a cast is the caller, not the process that makes its casts.
    py_test:in_process(fun() ->
        {ok, <<"ok">>} = py:await(py:cast(Ctx, sending, to_self, [])),
        ?assertEqual([<<"hello">>], mailbox())
    end).

threads(Config) -> opens(Config, fun(Pid) -> call(Config, from_thread, [Pid]) end).

%% Proves that a pid that Python has made itself, or a name, is refused with an error that says what to do.
not_granted(Config) ->
    Pid = sink(),
    true = register(grants_suite_not_granted, Pid),
    [begin
         {ok, {<<"PermissionError">>, Text}} = call(Config, Function, [To]),
         [contains(Part, Text) || Part <- ["pool option send", "send_names", "py:register_name/1"]]
     end || {Function, To} <- [{forged, etf(Pid)}, {attempt, <<"grants_suite_not_granted">>},
                               {attempt, {<<"grants_suite_not_granted">>, atom_to_binary(node())}},
                               {attempt, {<<"rex">>, <<"other@host">>}}, {forged, etf(remote(77))},
                               {from_thread, <<"grants_suite_not_granted">>}]],
    ?assertEqual({message_queue_len, 0}, process_info(Pid, message_queue_len)).

%% Proves that who is dead is a ProcessError, as ever, granted or not.
what_is_dead(Config) ->
    ?assertMatch({ok, {<<"ProcessError">>, _}}, call(Config, attempt, [dead()])),
    ?assertMatch({ok, {<<"ProcessError">>, _}}, call(Config, forged, [etf(dead())])),
    ?assertMatch({ok, {<<"ProcessError">>, _}}, call(Config, attempt, [nobody_of_this_name])).

%% Helpers.

pids(Rule) -> [Pid || {Pid, _, _} <- ets:tab2list(py_send:grants(Rule))].

grants_of(Pool) ->
    [Route | _] = py_tables:contexts(Pool),
    ets:lookup_element(py_grants, element(#route.grants, Route), 2).

pool(Config) -> proplists:get_value(pool, Config).

ctx(Config) -> hd(py_test:contexts(pool(Config))).

call(Config, Function, Args) -> py:call(pool(Config), sending, Function, Args).

%% Python cannot send to a new process before Erlang has given its pid in this way, and can afterwards.
opens(Config, Give) ->
    Test = self(),
    Pid = spawn_link(fun() -> receive Message -> Test ! {self(), Message} end end),
    ?assertMatch({ok, {<<"PermissionError">>, _}}, call(Config, forged, [etf(Pid)])),
    ?assertEqual({ok, <<"ok">>}, Give(Pid)),
    receive {Pid, Message} -> ?assertEqual(<<"hello">>, Message) end.
