%% Whom Python may send messages to: the pool options send and send_names, and py:register_name/1; and attacks on processes
%% that nobody may reach. Which pids Python has been given is in grants_SUITE.
-module(send_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-import(py_test_send, [rule/2, give/2, etf/1, remote/0, sink/0, dead/0, mailbox/0, contains/2]).

suite() -> [{timetrap, {minutes, 3}}].

all() -> [{group, rule}, {group, attacks}].

groups() ->
    [{rule, [],
      [granted, local, any, send_names, names_of_pools, registered_names, protected_names, wrong_options,
       environment, delivery_is_checked, names_at_delivery, nonsense_at_delivery, refused_are_counted]},
     {attacks, [], [attacks_by_name, attacks_by_pid, forged_callers]}].

init_per_suite(Config) ->
    ok = py_test:start(),
    Config.

end_per_suite(_Config) ->
    py_test:stop(),
    py_test:remove_temp_files().

init_per_testcase(_Case, Config) -> Config.

end_per_testcase(_Case, _Config) -> py_test_send:clean_up().

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

%% A frame's messages, after the header.
deliver(Messages, M) ->
    Frame = << <<(byte_size(Etf)):32, Etf/binary>> || Message <- Messages, Etf <- [term_to_binary(Message)] >>,
    py_messages:frame(byte_size(Frame), Frame, M).

%% Every process that has a name, and those of the application.
tree() ->
    {[{Name, whereis(Name)} || Name <- lists:sort(registered())], lists:sort(tree(erlang_python_sup)),
     [{Pid, process_info(Pid, message_queue_len)} || Pid <- [whereis(init), whereis(application_controller)]]}.

tree(Sup) ->
    [{Id, Pid, case Type of supervisor -> lists:sort(tree(Pid)); worker -> [] end}
     || {Id, Pid, Type, _} <- supervisor:which_children(Sup)].
