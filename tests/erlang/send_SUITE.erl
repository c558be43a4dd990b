%% Whom Python may send messages to: the pool options send and send_names, and py:register_name/1.
-module(send_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").
-include("../../erlang_src/py_route.hrl").

-define(MANY, 100000).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [{group, rule}, {group, terms}, {group, table}, {group, worker}, {group, owngil}, {group, isolated},
     {group, attacks}].

groups() ->
    Sources = [arguments, keyword_arguments, locals, inside_of_terms, callback_values, callback_reasons, shared_state,
               no_way_round, the_caller, earlier_callers, whereis_gives, casts_streams_and_coroutines, threads,
               not_granted,
               what_is_dead],
    [{rule, [],
      [granted, local, any, send_names, names_of_pools, registered_names, protected_names, wrong_options,
       environment, delivery_is_checked, names_at_delivery, nonsense_at_delivery, refused_are_counted]},
     {terms, [], [pids_anywhere, large_terms, large_terms_of_other_nodes, opaque_terms]},
     {table, [], [dead_are_forgotten, other_nodes_are_forgotten, short_lived_callers, pruning_survives]},
     {worker, [], Sources}, {owngil, [], Sources}, {isolated, [], Sources},
     {attacks, [], [attacks_by_name, attacks_by_pid, forged_callers]}].

init_per_suite(Config) ->
    ok = py_test:start(),
    Config.

end_per_suite(_Config) ->
    py_test:stop(),
    py_test:remove_temp_files().

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

end_per_testcase(_Case, _Config) ->
    _ = [py:unregister_name(Name) || {Name} <- ets:tab2list(py_send_names)],
    ok = py:state_clear(),
    py_test_callbacks:clean_up().

%% The rule, as a value.

%% Proves that `granted' opens a process when Erlang has given its pid, and no other, by pid or by name.
granted(_) ->
    Rule = rule(granted, []),
    Pid = sink(),
    Other = sink(),
    true = register(send_suite_other, Other),
    ?assertEqual(refused, py_send:reach(Pid, Rule)),
    ok = give(Pid, Rule),
    ?assertEqual({ok, Pid}, py_send:reach(Pid, Rule)),
    [?assertEqual(refused, py_send:reach(To, Rule))
     || To <- [Other, send_suite_other, <<"send_suite_other">>, {send_suite_other, node()},
               {<<"send_suite_other">>, atom_to_binary(node())}, {rex, 'other@host'}, {<<"x">>, <<"other@host">>},
               remote()]],
    ok = give(Other, Rule),
    [?assertEqual({ok, Other}, py_send:reach(To, Rule))
     || To <- [Other, send_suite_other, <<"send_suite_other">>, {send_suite_other, node()},
               {<<"send_suite_other">>, atom_to_binary(node())}]],
    ok = give(remote(), Rule),
    ?assertEqual({ok, remote()}, py_send:reach(remote(), Rule)),
    [?assertEqual(nobody, py_send:reach(To, Rule))
     || To <- [dead(), nobody_of_this_name, <<"nobody of this name">>, <<>>]].

%% Proves that `local' opens the processes of this node that are users', and none of another one.
local(_) ->
    Rule = rule(local, [{there, 'other@host'}]),
    Pid = sink(),
    true = register(send_suite_local, Pid),
    [?assertEqual({ok, Pid}, py_send:reach(To, Rule))
     || To <- [Pid, send_suite_local, <<"send_suite_local">>, {<<"send_suite_local">>, node()}]],
    [?assertEqual(protected, py_send:reach(To, Rule))
     || To <- [rex, {rex, node()}, whereis(rex), whereis(py_semaphore)]],
    ok = py_grants:add(py_send:grants(Rule), remote()),
    ?assertEqual(refused, py_send:reach(remote(), Rule)),
    ?assertEqual(refused, py_send:reach({here, 'other@host'}, Rule)),
    ?assertEqual({ok, {there, 'other@host'}}, py_send:reach({<<"there">>, <<"other@host">>}, Rule)).

%% Proves that `any' opens all of it.
any(_) ->
    Rule = rule(any, []),
    [?assertEqual({ok, whereis(rex)}, py_send:reach(To, Rule)) || To <- [rex, <<"rex">>, {rex, node()}, whereis(rex)]],
    ?assertEqual({ok, remote()}, py_send:reach(remote(), Rule)),
    ?assertEqual({ok, {rex, 'other@host'}}, py_send:reach({<<"rex">>, <<"other@host">>}, Rule)),
    ?assertEqual(nobody, py_send:reach(nobody_of_this_name, Rule)).

%% Proves that a name in send_names opens the process that has it now, by the name only, and none that is protected.
send_names(_) ->
    Rule = rule(granted, [send_suite_name, {send_suite_name, 'other@host'}]),
    ?assertEqual(nobody, py_send:reach(send_suite_name, Rule)),
    Pid = sink(),
    true = register(send_suite_name, Pid),
    [?assertEqual({ok, Pid}, py_send:reach(To, Rule))
     || To <- [send_suite_name, <<"send_suite_name">>, {send_suite_name, node()}]],
    ?assertEqual(refused, py_send:reach(Pid, Rule)),
    ?assertEqual({ok, {send_suite_name, 'other@host'}}, py_send:reach({send_suite_name, 'other@host'}, Rule)),
    ?assertEqual(refused, py_send:reach({send_suite_name, 'another@host'}, Rule)),
    true = unregister(send_suite_name),
    Next = sink(),
    true = register(send_suite_name, Next),
    ?assertEqual({ok, Next}, py_send:reach(send_suite_name, Rule)),
    true = unregister(send_suite_name),
    %% A server of OTP gets the name later.
    {ok, Server} = pg:start(send_suite_name),
    ?assertEqual(protected, py_send:reach(send_suite_name, Rule)),
    exit(Server, kill).

%% Proves that a pool has the names of its option, and only that pool.
names_of_pools(_) ->
    true = register(send_suite_pool, self()),
    py_test:with_pool(1, #{send_names => [send_suite_pool]}, fun(Pool) ->
        ?assertEqual({ok, <<"ok">>}, py:call(Pool, sending, attempt, [send_suite_pool])),
        ?assertEqual({ok, self()}, py:call(Pool, sending, where, [send_suite_pool])),
        %% The name again, and not what the pool was given as a caller's pid.
        ok = py_test:in_process(fun() ->
            {ok, {<<"PermissionError">>, Text}} = py:call(sending, attempt, [send_suite_pool]),
            contains("send_names", Text),
            contains("send_suite_pool", Text)
        end)
    end),
    ?assertEqual([<<"hello">>], mailbox()),
    true = unregister(send_suite_pool).

%% Proves that py:register_name/1 opens a name for all pools at once, and py:unregister_name/1 closes it.
registered_names(_) ->
    Pid = sink(),
    true = register(send_suite_registered, Pid),
    Asked = fun(Pool, Function) -> py:call(Pool, sending, Function, [<<"send_suite_registered">>]) end,
    [begin
         ?assertMatch({ok, {<<"PermissionError">>, _}}, Asked(default, attempt)),
         ?assertMatch({ok, {<<"PermissionError">>, _}}, Asked(default, where)),
         ok = py:register_name(Name),
         [?assertEqual({ok, <<"ok">>}, Asked(Pool, attempt)) || Pool <- [default, io]],
         ok = py:unregister_name(Name),
         [?assertMatch({ok, {<<"PermissionError">>, _}}, Asked(Pool, attempt)) || Pool <- [default, io]]
     end || Name <- [send_suite_registered, <<"send_suite_registered">>, "send_suite_registered"]],
    ?assertEqual({message_queue_len, 6}, process_info(Pid, message_queue_len)),
    ?assertError({bad_argument, name, 1}, py:register_name(1)),
    ?assertError({bad_argument, name, _}, py:register_name(binary:copy(<<"x">>, 256))).

%% Proves that names of OTP and of the application cannot be opened by name, whether their processes run or not, and
%% neither can a name that one of their processes has.
protected_names(_) ->
    [begin
         ?assertEqual({error, {protected_name, Name}}, py:register_name(Name)),
         ?assertEqual({error, {bad_option, send_names, {protected_name, Name}}},
                      py_context_router:start_pool(send_suite_pool, 1, #{send_names => [a_name, Name]}))
     end || Name <- [rex, init, code_server, logger, dets, cover_server, py_semaphore, py_pools_sup,
                     erlang_python_sup]],
    {error, Reason} = py_context_router:start_pool(send_suite_pool, 1, #{send_names => [{rex, 'other@host'}]}),
    ?assertEqual({bad_option, send_names, {protected_name, {rex, 'other@host'}}}, Reason),
    contains("rex", py_error:format_error(Reason)),
    {ok, Server} = pg:start(send_suite_otp),
    ?assertEqual({error, {protected_name, send_suite_otp}}, py:register_name(send_suite_otp)),
    exit(Server, kill).

%% Proves that options which cannot be meant are refused.
wrong_options(_) ->
    [?assertEqual({error, {bad_option, send, Value}},
                  py_context_router:start_pool(send_suite_pool, 1, #{send => Value}))
     || Value <- [all, <<"any">>, true]],
    [?assertEqual({error, {bad_option, send_names, Value}},
                  py_context_router:start_pool(send_suite_pool, 1, #{send_names => Value}))
     || Value <- [a_name, [1], [{a, b, c}], [{1, a}], [a | b], [<<>>], [undefined]]].

%% Proves that the keys of the environment are what pools begin with, and are checked when the application starts.
environment(_) ->
    Restart = fun(Env) -> try py_test:start(Env) catch error:{badmatch, {error, Why}} -> Why end end,
    contains("send_names", io_lib:format("~tp", [Restart([{send_names, [rex]}])])),
    contains("bad_config", io_lib:format("~tp", [Restart([{send, everything}])])),
    true = register(send_suite_environment, self()),
    ok = py_test:start([{send_names, [send_suite_environment]}]),
    ?assertEqual({ok, <<"ok">>}, py:call(io, sending, attempt, [send_suite_environment])),
    ok = py_test:start([{send, local}]),
    Pid = sink(),
    ?assertEqual({ok, <<"ok">>}, py:call(io, sending, forged, [etf(Pid)])),
    ?assertMatch({ok, {<<"PermissionError">>, _}}, py:call(io, sending, attempt, [whereis(rex)])),
    ok = py_test:start([{send, any}]),
    ?assertEqual({ok, <<"ok">>}, py:call(io, sending, attempt, [{rex, node()}])),
    true = unregister(send_suite_environment),
    ok = py_test:start().

%% Delivery, which frames that Python makes itself come to without any question before.

%% One that is told of what is done with.
port() ->
    Port = open_port({spawn, "cat >/dev/null"}, []),
    _ = py_writer:start_link(Port),
    Port.

%% Proves that messages in a frame go to whom they may, and to nobody else, also in the middle of a frame.
delivery_is_checked(_) ->
    Rule = rule(granted, []),
    Refused = sink(),
    ok = give(self(), Rule),
    Messages = py_messages:new(port(), no_pool, Rule),
    Next = deliver([{self(), 1}, {Refused, 2}, {self(), 3}, {whereis(rex), 4}, {rex, 5}, {self(), 6}, {Refused, 7}],
                   Messages),
    ?assertEqual([1, 3, 6], mailbox()),
    ok = give(Refused, Rule),
    Last = deliver([{Refused, 8}], Next),
    ?assertEqual({message_queue_len, 1}, process_info(Refused, message_queue_len)),
    _ = py_messages:large(10, term_to_binary({whereis(code_server), 9}), Last),
    ?assertEqual({message_queue_len, 0}, process_info(whereis(code_server), message_queue_len)).

%% Proves that names at delivery follow py:register_name/1 from one frame to the next.
names_at_delivery(_) ->
    Messages = py_messages:new(port(), no_pool, rule(granted, [])),
    Pid = sink(),
    true = register(send_suite_delivery, Pid),
    Length = fun() -> element(2, process_info(Pid, message_queue_len)) end,
    M1 = deliver([{<<"send_suite_delivery">>, 1}, {send_suite_delivery, 2}], Messages),
    ?assertEqual(0, Length()),
    ok = py:register_name(send_suite_delivery),
    M2 = deliver([{<<"send_suite_delivery">>, 1}, {send_suite_delivery, 2}], M1),
    ?assertEqual(2, Length()),
    ok = py:unregister_name(send_suite_delivery),
    _ = deliver([{<<"send_suite_delivery">>, 1}, {send_suite_delivery, 2}], M2),
    ?assertEqual(2, Length()).

%% Proves that what is no destination is dropped, whatever it is, under each value of the option.
nonsense_at_delivery(_) ->
    Nonsense = [1, 1.5, [], [a], {}, {a}, {a, b, c}, {a, 1}, {1, a}, {{self(), self()}, a}, #{}, make_ref(),
                hd(erlang:ports()), fun() -> ok end, <<1:7>>, binary:copy(<<"x">>, 100000), {binary:copy(<<"x">>, 100000), a},
                undefined,
                {undefined, undefined}, <<"undefined">>],
    [begin
         Messages = py_messages:new(port(), no_pool, rule(Send, [])),
         _ = deliver([{To, 1} || To <- Nonsense] ++ Nonsense, Messages)
     end || Send <- [granted, local, any]],
    ?assertEqual([], mailbox()).

%% Proves that py:stats/0 counts refused messages, those that raised and those that did not, and that the log tells one.
refused_are_counted(_) ->
    Refused = fun() -> #{default := #{messages_refused := N}} = py:stats(), N end,
    Before = Refused(),
    [{ok, {<<"PermissionError">>, _}} = py:call(sending, attempt, [<<"rex">>]) || _ <- lists:seq(1, 10)],
    ?assertEqual(Before + 10, Refused()),
    Log = py_test_log:collect(),
    _ = deliver([{sink(), 1}, {rex, 2}, {rex, 3}], py_messages:new(port(), default, rule(granted, []))),
    ?assertEqual(Before + 13, Refused()),
    contains("send_names", py_test_log:text(py_test_log:wait("messages dropped"))),
    ok = py_test_log:stop(Log).

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
        ok = py:register_function(send_suite_value, fun([]) -> Pid end),
        call(Config, callback_value, [send_suite_value])
    end),
    opens(Config, fun(Pid) ->
        ok = py:register_function(send_suite_value, fun([]) -> Pid end),
        py:async_await(py:async_call(ctx(Config), sending, awaited, [send_suite_value]))
    end).

callback_reasons(Config) ->
    opens(Config, fun(Pid) ->
        ok = py:register_function(send_suite_reason, fun([]) -> error({because, Pid}) end),
        call(Config, callback_reason, [send_suite_reason])
    end),
    opens(Config, fun(Pid) ->
        ok = py:register_function(send_suite_reason, fun([]) -> throw({because, Pid}) end),
        call(Config, callback_reason, [send_suite_reason])
    end).

%% Proves that Python gets no pid granted by sending it round: through a function that returns it or fails with it, and
%% through shared state; and that what it was given may go round.
no_way_round(Config) ->
    Pid = sink(),
    ok = py:register_function(send_suite_same, fun([Value]) -> Value end),
    ok = py:register_function(send_suite_key, fun([Key]) -> maps:get(Key, #{}) end),
    ok = py:register_function(send_suite_killed, fun([Value]) ->
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
    ok = py:register_function(send_suite_inner, fun([]) ->
        {ok, none} = py:eval(Ctx, "erlang.send(erlang.self(), 'inner')"),
        Test ! {inner, mailbox()},
        ok
    end),
    {ok, <<"ok">>} = py:eval(Ctx, "erlang.send_suite_inner()"),
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
        true = register(send_suite_whereis, Pid),
        {ok, {<<"PermissionError">>, Text}} = call(Config, where, [send_suite_whereis]),
        contains("py:register_name/1", Text),
        {ok, {<<"PermissionError">>, Protected}} = call(Config, where, [rex]),
        contains("OTP", Protected),
        ok = py:register_name(send_suite_whereis),
        Answer = call(Config, by_name, [send_suite_whereis]),
        ok = py:unregister_name(send_suite_whereis),
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
    true = register(send_suite_not_granted, Pid),
    [begin
         {ok, {<<"PermissionError">>, Text}} = call(Config, Function, [To]),
         [contains(Part, Text) || Part <- ["pool option send", "send_names", "py:register_name/1"]]
     end || {Function, To} <- [{forged, etf(Pid)}, {attempt, <<"send_suite_not_granted">>},
                               {attempt, {<<"send_suite_not_granted">>, atom_to_binary(node())}},
                               {attempt, {<<"rex">>, <<"other@host">>}}, {forged, etf(remote(77))},
                               {from_thread, <<"send_suite_not_granted">>}]],
    ?assertEqual({message_queue_len, 0}, process_info(Pid, message_queue_len)).

%% Proves that who is dead is a ProcessError, as ever, granted or not.
what_is_dead(Config) ->
    ?assertMatch({ok, {<<"ProcessError">>, _}}, call(Config, attempt, [dead()])),
    ?assertMatch({ok, {<<"ProcessError">>, _}}, call(Config, forged, [etf(dead())])),
    ?assertMatch({ok, {<<"ProcessError">>, _}}, call(Config, attempt, [nobody_of_this_name])).

%% Attacks.

%% Proves that no message to a process of OTP or of ours by its name gets there, in the default sandbox and in strict.
attacks_by_name(_) ->
    ok = timer:start(),
    [py_test:with_pool(1, #{sandbox => Sandbox, send => Send}, fun(Pool) ->
        Before = tree(),
        File = py_test:temp_file("command"),
        {ok, Answers} = py:call(Pool, sending, attacks, [atom_to_binary(node()), list_to_binary(File)]),
        ?assert(length(Answers) > 35),
        %% net_kernel is there in a distributed node only.
        [?assertMatch({_, {<<"PermissionError">>, _}}, Answer)
         || {Name, _} = Answer <- Answers, Name =/= <<"net_kernel">>],
        ?assertNot(filelib:is_file(File)),
        ?assertEqual(Before, tree())
    end) || Sandbox <- [default, strict, off], Send <- [granted, local]].

%% Proves the same of their pids, from Erlang or made from bytes.
attacks_by_pid(_) ->
    [py_test:with_pool(1, #{sandbox => Sandbox, send => Send}, fun(Pool) ->
        Before = tree(),
        Pids = [Pid || Pid <- processes(), py_protected:process(Pid)],
        ?assert(length(Pids) > 40),
        ?assert(lists:member(group_leader(), Pids)),
        [begin
             {ok, Answers} = py:call(Pool, sending, Function, [Argument]),
             ?assertEqual(7 * length(Pids), length(Answers)),
             %% Some are dead by now.
             [?assertMatch({Class, _} when Class =:= <<"PermissionError">>; Class =:= <<"ProcessError">>, Answer)
              || Answer <- Answers]
         end || {Function, Argument} <- [{attack_forged, [etf(Pid) || Pid <- Pids]}, {attack_pids, Pids}]],
        ?assertEqual(Before, tree())
    end) || Sandbox <- [default, strict], Send <- [granted, local]].

%% Proves that a callback whose frame names a caller that has not called is nobody's.
forged_callers(_) ->
    Rule = rule(granted, []),
    Test = self(),
    ok = py:register_function(send_suite_callers, fun([]) -> Test ! {callers, get('$callers')}, ok end),
    Run = fun(Caller) ->
        Header = {11, 0, 1, 1, 0, Caller, <<"send_suite_callers">>},
        Pid = spawn(py_callback, run, [self(), hd(erlang:ports()), py_send:grants(Rule), Header, term_to_binary([])]),
        receive {callers, Callers} -> ets:delete(py_callbacks, Pid), Callers end
    end,
    [?assertEqual([], Run(Caller)) || Caller <- [whereis(rex), self(), {self(), whereis(rex)}, none, 1, {a, b}]],
    ok = give(self(), Rule),
    ?assertEqual([self()], Run(self())),
    ?assertEqual([self()], Run({whereis(rex), self()})).

%% Helpers.

rule(Send, Names) -> py_send:new(no_pool, #{send => Send, send_names => Names}).

give(Pid, Rule) -> py_grants:add(py_send:grants(Rule), Pid).

%% As the answer of a callback does it.
give_all(Term, Rule) -> py_grants:answer(py_send:grants(Rule), {ok, Term}, term_to_binary(Term)).

pids(Rule) -> [Pid || {Pid, _, _} <- ets:tab2list(py_send:grants(Rule))].

grants_of(Pool) ->
    [Route | _] = py_tables:contexts(Pool),
    ets:lookup_element(py_grants, element(#route.grants, Route), 2).

%% A frame's messages, after the header.
deliver(Messages, M) ->
    Frame = << <<(byte_size(Etf)):32, Etf/binary>> || Message <- Messages, Etf <- [term_to_binary(Message)] >>,
    py_messages:frame(byte_size(Frame), Frame, M).

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

%% The bytes of a pid, as Python's Pid takes them.
etf(Pid) ->
    <<131, Etf/binary>> = term_to_binary(Pid),
    {bytes, Etf}.

remote() -> remote(0).

remote(N) -> remote(N, 1).

%% A process of a node that nobody is connected with.
remote(N, Id) ->
    Node = atom_to_binary(list_to_atom("send_suite_" ++ integer_to_list(N) ++ "@nowhere")),
    binary_to_term(<<131, 88, 119, (byte_size(Node)), Node/binary, Id:32, 0:32, 1:32>>).

%% It stays until the test case ends.
sink() ->
    Test = self(),
    spawn(fun() ->
        Monitor = monitor(process, Test),
        receive {'DOWN', Monitor, process, _, _} -> ok end
    end).

dead() ->
    {Pid, Monitor} = spawn_monitor(fun() -> ok end),
    receive {'DOWN', Monitor, process, Pid, _} -> Pid end.

mailbox() ->
    receive Message -> [Message | mailbox()] after 0 -> [] end.

contains(Part, Text) ->
    ?assertMatch({_, true}, {Text, string:find(Text, Part) =/= nomatch}),
    ok.

%% Every process that has a name, and those of the application.
tree() ->
    {[{Name, whereis(Name)} || Name <- lists:sort(registered())], lists:sort(tree(erlang_python_sup)),
     [{Pid, process_info(Pid, message_queue_len)} || Pid <- [whereis(init), whereis(application_controller)]]}.

tree(Sup) ->
    [{Id, Pid, case Type of supervisor -> lists:sort(tree(Pid)); worker -> [] end}
     || {Id, Pid, Type, _} <- supervisor:which_children(Sup)].
