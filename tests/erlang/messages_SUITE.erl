%% Python sends messages to Erlang processes of its node, and knows them: erlang.send, whereis, self, atom.
-module(messages_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(MAX, (8 bsl 20)).       % max_frame_bytes

suite() -> [{timetrap, {minutes, 2}}].

all() -> [{group, destinations}, {group, order}, {group, dead}, {group, values}, {group, flow}, {group, knowing}].

groups() ->
    [{destinations, [],
      [every_destination, names_of_any_text, unknown_names, names_make_no_atoms, no_destinations, made_up_pids,
       wrong_arguments]},
     {order, [],
      [thousands_in_order, messages_come_before_the_reply, messages_and_callbacks, messages_of_nested_calls,
       twenty_threads, many_callers, leaves_while_python_works, leaves_when_no_request_runs]},
     {dead, [], [dead_from_the_start, dies_in_the_middle, name_that_goes, others_get_theirs, python_goes_on]},
     {values, [], [every_type, random_values, large_messages, large_ones_keep_their_place, too_large, not_encodable]},
     {flow, [],
      [flood_waits_for_py_port, receiver_may_be_slow, flood_to_a_process_that_dies, death_of_python_ends_a_flood]},
     {knowing, [], [whereis_of_names, self_is_who_called, self_in_nested_calls, atoms, an_atom_is_one_object, replies, bound_on_atoms]}].

init_per_suite(Config) ->
    ok = py_test:start([{max_frame_bytes, ?MAX}]),
    Config.

end_per_suite(_Config) ->
    py_test:stop(),
    py_test:remove_temp_files().

end_per_testcase(_Case, _Config) ->
    py_test_callbacks:clean_up().

%% Destinations.

%% Proves that a pid, a name as str or Atom, and pairs of name and node all reach the process, in both modes.
every_destination(_) ->
    Name = own_name(),
    Self = self(),
    Node = atom_to_binary(node()),
    py_test_modes:in_each(fun(Ctx) ->
        _ = [begin
                 {ok, none} = py:eval(Ctx, ["erlang.send(", To, ", ('hello', ", integer_to_list(N), "))"],
                                      #{pid => Self, name => atom_to_binary(Name), node => Node}),
                 ?assertEqual([{<<"hello">>, N}], mailbox())
             end || {N, To} <- lists:zip(lists:seq(1, 7), [
                 "pid", "name", "erlang.Atom(name)", "(name, node)", "(erlang.Atom(name), erlang.Atom(node))",
                 "(erlang.Atom(name), node)", "erlang.whereis(name)"])]
    end).

%% Proves that a name is any text that is an atom's.
names_of_any_text(_) ->
    _ = [begin
             true = register(Name, self()),
             {ok, none} = py:call(messaging, send, [atom_to_binary(Name), 1]),
             ?assertEqual([1], mailbox()),
             true = unregister(Name)
         end || Name <- ['Grüße 数', 'with space', none, true, list_to_atom(lists:duplicate(255, $x))]].

%% Proves that a name without a process is a ProcessError that names it.
unknown_names(_) ->
    {ok, {<<"ProcessError">>, Text}} = py:call(messaging, attempt, [nobody_of_this_name, 1]),
    ?assertMatch({match, _}, re:run(Text, "nobody_of_this_name")),
    Node = atom_to_binary(node()),
    {error, {'ProcessError', Pair}} = py:call(messaging, send_name, [<<"nobody_of_this_name">>, Node, 1]),
    ?assertMatch({match, _}, re:run(Pair, "nobody_of_this_name")),
    ?assertMatch({ok, {<<"ProcessError">>, _}}, py:call(messaging, attempt, [binary:copy(<<"x">>, 256), 1])),
    ?assertMatch({ok, {<<"ProcessError">>, _}}, py:call(messaging, attempt, [<<>>, 1])).

%% Proves that asking for names does not fill the node's atom table.
names_make_no_atoms(_) ->
    Before = py_atoms:count(default),
    _ = [{ok, {<<"ProcessError">>, _}} =
             py:call(messaging, attempt, [iolist_to_binary(["nobody_", integer_to_list(N), "_", ref_text()]), 1])
         || N <- lists:seq(1, 50)],
    ?assertEqual(Before, py_atoms:count(default)).

%% Proves that what can be no destination is a TypeError.
no_destinations(_) ->
    py_test_modes:in_each(fun(Ctx) -> ?assertEqual({ok, []}, py:call(Ctx, messaging, bad_destinations, [])) end).

%% Proves that bytes which are no pid, made into one, are refused, and harm nothing else.
made_up_pids(_) ->
    {ok, Raised} = py:call(messaging, made_up_pids, []),
    _ = [?assertNotEqual(<<"ok">>, Class) || Class <- Raised],
    ?assertEqual({ok, none}, py:call(messaging, send, [self(), 1])),
    ?assertEqual([1], mailbox()).

%% Proves that send takes two arguments by position.
wrong_arguments(_) ->
    _ = [?assertMatch({error, {'TypeError', _}}, py:eval(Code, #{pid => self()}))
         || Code <- ["erlang.send()", "erlang.send(pid)", "erlang.send(pid, 1, 2)", "erlang.send(pid, message=1)"]],
    ?assertEqual([], mailbox()).

%% Order.

%% Proves that thousands of messages of one call arrive, each once, in order, and are there when the call returns.
thousands_in_order(_) ->
    py_test_modes:in_each(fun(Ctx) ->
        {ok, none} = py:call(Ctx, messaging, count, [self(), 1, 50000]),
        ?assertEqual(lists:seq(1, 50000), mailbox())
    end).

%% Proves that what is sent before the return is in the mailbox before the reply is, however often.
messages_come_before_the_reply(_) ->
    _ = [begin
             {ok, none} = py:call(messaging, send, [self(), N, {N, N}]),
             ?assertEqual([N, {N, N}], mailbox())
         end || N <- lists:seq(1, 2000)],
    {error, {'ZeroDivisionError', _}} = py:eval("[erlang.send(pid, 1), 1 / 0]", #{pid => self()}),
    ?assertEqual([1], mailbox()).

%% Proves that a callback sees what was sent before it, and that its own messages come before what is sent after it.
messages_and_callbacks(_) ->
    Self = self(),
    ok = py:register_function(note, fun([N]) -> Self ! {callback, N} end),
    {ok, none} = py:call(messaging, with_callbacks, [Self, note, 500]),
    Expected = [[{<<"before">>, N}, {callback, N}, {<<"after">>, N}] || N <- lists:seq(0, 499)],
    ?assertEqual(lists:append(Expected), mailbox()).

%% Proves the same across levels of Python that call each other through Erlang.
messages_of_nested_calls(_) ->
    ok = py:register_function(deeper, fun([To, Depth]) ->
        {ok, none} = py:call(messaging, nested, [To, deeper, Depth]),
        none
    end),
    py_test_modes:in_each(fun(Ctx) ->
        {ok, none} = py:call(Ctx, messaging, nested, [self(), deeper, 20]),
        ?assertEqual([{<<"down">>, N} || N <- lists:seq(20, 0, -1)] ++ [{<<"up">>, N} || N <- lists:seq(0, 20)],
                     mailbox())
    end).

%% Proves that the messages of each of twenty threads arrive in its order, all of them.
twenty_threads(_) ->
    py_test_modes:in_each(fun(Ctx) ->
        {ok, none} = py:call(Ctx, messaging, from_threads, [self(), 20, 1000]),
        Received = mailbox(),
        ?assertEqual(20000, length(Received)),
        _ = [?assertEqual(lists:seq(0, 999), [N || {T, N} <- Received, T =:= Thread])
             || Thread <- lists:seq(0, 19)]
    end).

%% Proves that each of fifty processes that call at once gets its own messages, in order, before its reply.
many_callers(_) ->
    Jobs = [py_test:async(fun() ->
        _ = [begin
                 {ok, none} = py:call(Pool, messaging, count, [self(), N, N + 100]),
                 ?assertEqual(lists:seq(N, N + 100), mailbox())
             end || N <- lists:seq(1, 30), Pool <- [default, io]],
        done
    end) || _ <- lists:seq(1, 50)],
    _ = [?assertEqual(done, py_test:join(Job)) || Job <- Jobs],
    ok.

%% Proves that messages arrive while Python goes on with something else: waiting, or computing.
leaves_while_python_works(_) ->
    py_test_modes:in_each(fun(Ctx) ->
        _ = [begin
                 File = py_test:temp_file("seen"),
                 Messages = lists:seq(1, Count),
                 Ref = py:cast(Ctx, messaging, burst_and_wait, [self(), Messages, list_to_binary(File), Spin]),
                 ?assertEqual(Messages, [receive N -> N end || N <- Messages]),
                 ok = file:write_file(File, <<>>),
                 ?assertEqual({ok, <<"seen">>}, py:await(Ref))
             end || Count <- [1, 2, 100, 5000], Spin <- [false, true]]
    end).

%% Proves that a thread which outlives its request can send, with every context idle.
leaves_when_no_request_runs(_) ->
    py_test_modes:in_each(fun(Ctx) ->
        File = py_test:temp_file("go"),
        {ok, none} = py:call(Ctx, messaging, later, [self(), lists:seq(1, 1000), list_to_binary(File)]),
        ?assertEqual([], mailbox()),
        ok = file:write_file(File, <<>>),
        ?assertEqual(lists:seq(1, 1000), [receive N -> N end || N <- lists:seq(1, 1000)])
    end).

%% Dead processes.

%% Proves that the first message of every request to a process that is dead raises ProcessError.
dead_from_the_start(_) ->
    Dead = dead(),
    py_test_modes:in_each(fun(Ctx) ->
        _ = [begin
                 {ok, {<<"ProcessError">>, Text}} = py:call(Ctx, messaging, attempt, [Dead, 1]),
                 ?assertMatch({match, _}, re:run(Text, "Pid<"))
             end || _ <- lists:seq(1, 100)],
        ?assertMatch({error, {'ProcessError', _}}, py:call(Ctx, messaging, send, [Dead, 1])),
        ?assertMatch({ok, [true, true, false]},
                     py:eval(Ctx, "[issubclass(erlang.ProcessError, c) for c in (Exception, erlang.Error, "
                                  "erlang.ErlangError)]"))
    end).

%% Proves that who goes on sending to a process that dies learns of it, within the same request.
dies_in_the_middle(_) ->
    py_test_modes:in_each(fun(Ctx) ->
        Victim = sink(),
        Ref = py:cast(Ctx, messaging, until_dead, [Victim, self()]),
        receive <<"started">> -> ok end,
        exit(Victim, kill),
        ?assertMatch({ok, <<_/binary>>}, py:await(Ref))
    end).

%% Proves the same of a name that is unregistered, though the process lives.
name_that_goes(_) ->
    Victim = sink(),
    true = register(goes_soon, Victim),
    ok = py:register_name(goes_soon),
    Ref = py:cast(messaging, until_dead, [goes_soon, self()]),
    receive <<"started">> -> ok end,
    true = unregister(goes_soon),
    ?assertMatch({ok, <<_/binary>>}, py:await(Ref)),
    ok = py:unregister_name(goes_soon),
    exit(Victim, kill).

%% Proves that the dead among several destinations do not keep the messages from the living, and are named.
others_get_theirs(_) ->
    ?assertEqual({ok, none}, py:call(messaging, send, [self(), 1])),
    {error, {'ProcessError', _}} = py:call(messaging, send_to_each, [[self(), self(), dead(), self()], 2]),
    ?assertEqual([1, 2, 2], mailbox()).

%% Proves that ProcessError can be caught and everything goes on.
python_goes_on(_) ->
    {ok, [{<<"ProcessError">>, _}, <<"ok">>, {<<"ProcessError">>, _}]} =
        py:eval("[__import__('messaging').attempt(to, 1) for to in (dead, pid, dead)]",
                #{dead => dead(), pid => self()}),
    ?assertEqual([1], mailbox()).

%% Values.

%% Proves that a message of every type is what was given to Python.
every_type(_) ->
    Values = [0, -1, 255, 256, 1 bsl 70, -(1 bsl 200), 1.5, -0.0, true, false, none, [], [1, 2, 3], "abc", {}, {1},
              {<<"a">>, {<<"b">>, [none]}}, #{}, #{<<"b">> => [2]}, #{1 => {2, 3}}, <<>>, <<"text">>, <<0, 255, 254>>,
              <<"grüße"/utf8>>, self(), make_ref(), lists:seq(1, 1000), list_to_tuple(lists:seq(1, 300)),
              [1 | 2], fun lists:map/2, fun() -> self() end, hd(erlang:ports()), <<5:3>>, {self(), [make_ref()]}],
    py_test_modes:in_each(fun(Ctx) ->
        {ok, none} = py:call(Ctx, messaging, send, [self() | Values]),
        ?assertEqual(Values, mailbox())
    end),
    {ok, none} = py:eval("erlang.send(pid, erlang.Atom('mode'))", #{pid => self()}),
    ?assertEqual([mode], mailbox()).

%% Proves the same of random nested values.
random_values(_) ->
    Values = [random(4) || _ <- lists:seq(1, 500)],
    {ok, none} = py:call(messaging, send, [self() | Values]),
    ?assertEqual(Values, mailbox()).

%% Proves that messages of any size arrive whole, also from several contexts at once.
large_messages(_) ->
    Sizes = [(1 bsl 20) - 30, (1 bsl 20) - 1, 1 bsl 20, (1 bsl 20) + 1, 2 bsl 20, 3 bsl 20, 7 bsl 20],
    Jobs = [py_test:async(fun() ->
        _ = [begin
                 Value = binary:copy(<<N>>, Size),
                 {ok, none} = py:call(Pool, messaging, send, [self(), Value]),
                 ?assert([Value] =:= mailbox())
             end || Size <- Sizes],
        done
    end) || N <- lists:seq(1, 3), Pool <- [default, io]],
    _ = [?assertEqual(done, py_test:join(Job)) || Job <- Jobs],
    ok.

%% Proves that large messages stay between those that were sent before and after them.
large_ones_keep_their_place(_) ->
    {ok, _} = py:eval("[erlang.send(pid, m) for m in (1, 2, large, 3, large, large, 4, (5, large), 6)]",
                      #{pid => self(), large => Large = binary:copy(<<"l">>, 3 bsl 20)}),
    ?assert([1, 2, Large, 3, Large, Large, 4, {5, Large}, 6] =:= mailbox()).

%% Proves that a message above max_frame_bytes raises an error that names the limit, and others arrive.
too_large(_) ->
    {error, {'ValueError', Text}} =
        py:eval("[erlang.send(pid, 1), erlang.send(pid, b'x' * (9 << 20))]", #{pid => self()}),
    ?assertMatch({match, _}, re:run(Text, "max_frame_bytes")),
    {ok, none} = py:call(messaging, send, [self(), 2]),
    ?assertEqual([1, 2], mailbox()).

%% Proves that what has no term raises, and is not sent in part.
not_encodable(_) ->
    ok = py:exec("deep = []\nfor _ in range(5000): deep = [deep]\n"),
    ?assertMatch({error, {not_encodable, depth}}, py:eval("erlang.send(pid, deep)", #{pid => self()})),
    {ok, {<<"ConversionError">>, _}} =
        py:eval("__import__('messaging').attempt(pid, [1, deep])", #{pid => self()}),
    ?assertEqual([], mailbox()).

%% Flow control.

%% Proves that Python waits while py_port takes nothing, so that py_port's memory does not grow with the flood.
flood_waits_for_py_port(_) ->
    py_test:with_pool(2, #{}, fun(Pool) ->
        Owner = py_test:owner_of(py_test:os_pid(Pool)),
        File = py_test:temp_file("enough"),
        Counter = spawn_link(fun() -> counter(0) end),
        Job = py_test:async(fun() ->
            py:call(Pool, messaging, flood_until, [Counter, 32768, list_to_binary(File)])
        end),
        %% The first message asks whether the process is there, which py_port answers.
        py_test:eventually(fun() -> counted(Counter) > 0 end),
        true = erlang:suspend_process(Owner),
        ok = py_test:settled(fun() -> py_test:memory(Owner) end),
        ?assert(is_process_alive(element(1, Job))),
        ?assert(py_test:memory(Owner) < 6 bsl 20),
        ok = file:write_file(File, <<>>),
        true = erlang:resume_process(Owner),
        {ok, Sent} = py_test:join(Job),
        ?assertEqual(Sent, counted(Counter))
    end).

%% Proves that a receiver that reads nothing has all in its own mailbox, and py_port keeps none of it.
receiver_may_be_slow(_) ->
    Owner = py_test:owner_of(py_test:os_pid(default)),
    Sink = sink(),
    {ok, <<"flooded">>} = py:call(messaging, flood, [Sink, 4096, 20000]),
    ?assertEqual(20000, message_queue_len(Sink)),
    exit(Sink, kill),
    py_test:eventually(fun() -> true = erlang:garbage_collect(Owner), py_test:memory(Owner) < 1 bsl 20 end).

%% Proves that a flood to a process that is killed ends, by an error, and the context is free again.
flood_to_a_process_that_dies(_) ->
    py_test_modes:in_each(fun(Ctx) ->
        Sink = sink(),
        Job = py_test:async(fun() -> py:call(Ctx, messaging, flood_for_ever, [Sink, 1000]) end),
        py_test:eventually(fun() -> message_queue_len(Sink) > 1000 end),
        exit(Sink, kill),
        ?assertMatch({error, {'ProcessError', _}}, py_test:join(Job)),
        ?assertEqual({ok, 4.0}, py:call(Ctx, math, sqrt, [16]))
    end).

%% Proves that a port process that is killed in the middle of a flood leaves whole messages only.
death_of_python_ends_a_flood(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        OsPid = py_test:os_pid(Pool),
        Self = self(),
        Job = py_test:async(fun() -> py:call(Pool, messaging, flood_for_ever, [Self, 3 bsl 20]) end),
        receive First -> ?assertEqual(3 bsl 20, byte_size(First)) end,
        ok = py_test:signal(OsPid, "KILL"),
        ?assertMatch({error, {context_died, {signal, sigkill}}}, py_test:join(Job)),
        _ = [?assertEqual(3 bsl 20, byte_size(Message)) || Message <- mailbox()],
        py_test:eventually(fun() -> {ok, none} =:= py:call(Pool, messaging, send, [Self, 1]) end),
        receive 1 -> ok end
    end).

%% What Python knows of processes, and atoms.

%% Proves that asking twice for an atom gives the same object, which is what it was.
an_atom_is_one_object(_) ->
    ?assertEqual({ok, [true, true, ok]},
                 py:eval("[erlang.atom('a') is erlang.atom('a'), erlang.atom(erlang.Atom('a')) is erlang.atom('a'),"
                         " erlang.atom('ok')]")).

%% Proves that Python can answer a process, and a gen_server call that was handed to it.
replies(_) ->
    ?assertEqual({ok, none}, py:eval("erlang.reply(to, {'answer': 1})", #{to => self()})),
    receive Answer -> ?assertEqual(#{<<"answer">> => 1}, Answer) end,
    Server = spawn(fun() ->
        receive {'$gen_call', From, {ask, N}} -> {ok, none} = py:eval("erlang.reply(to, n + 1)", #{to => From, n => N}) end
    end),
    ?assertEqual(42, gen_server:call(Server, {ask, 41}, infinity)).

%% Proves that whereis gives the pid of a name or None, and does not take ports for processes.
whereis_of_names(_) ->
    Name = own_name(),
    Whereis = fun(Text) -> py:eval("erlang.whereis(name)", #{name => Text}) end,
    ?assertEqual({ok, self()}, Whereis({bytes, atom_to_binary(Name)})),
    ?assertMatch({error, {'UnicodeDecodeError', _}}, Whereis(<<255>>)),
    ?assertMatch({error, {'TypeError', _}}, Whereis(5)),
    ?assertEqual({ok, self()}, Whereis(atom_to_binary(Name))),
    ?assertEqual({ok, self()}, py:eval(["erlang.whereis(erlang.Atom('", atom_to_list(Name), "'))"])),
    _ = [?assertEqual({ok, none}, Whereis(Text))
         || Text <- [<<"nobody_of_this_name">>, <<>>, binary:copy(<<"x">>, 999)]],
    Port = erlang:open_port({spawn_executable, os:find_executable("cat")}, []),
    true = register(messages_suite_port, Port),
    ?assertEqual({ok, none}, Whereis(<<"messages_suite_port">>)),
    true = port_close(Port),
    true = unregister(Name),
    ?assertEqual({ok, none}, Whereis(atom_to_binary(Name))).

%% Proves that self is the process that asked, whatever way it asked, and in threads that it has started.
self_is_who_called(_) ->
    Self = self(),
    py_test_modes:in_each(fun(Ctx) ->
        ?assertEqual({ok, {Self, Self}}, py:call(Ctx, messaging, self_and_thread, [])),
        ?assertEqual({ok, {Self, Self}}, py:await(py:cast(Ctx, messaging, self_and_thread, []))),
        ?assertEqual({ok, Self}, py:eval(Ctx, "erlang.self()")),
        ok = py:exec(Ctx, "me = erlang.self()"),
        ?assertEqual({ok, Self}, py:eval(Ctx, "me"))
    end),
    ?assertEqual({ok, [{ok, {Self, Self}}]}, py:parallel([{messaging, self_and_thread, []}])),
    Other = py_test:in_process(fun() -> {ok, Me} = py:eval("erlang.self()"), {Me, self()} end),
    ?assertMatch({Me, Me}, Other),
    py_test:with_pool(1, #{preload => <<"import erlang\nwho = erlang.self()\n">>}, fun(Pool) ->
        ?assertEqual({ok, none}, py:eval(hd(py_test:contexts(Pool)), "who"))
    end).

%% Proves that self in a nested call is the process that runs the callback, each level its own, and afterwards the old.
self_in_nested_calls(_) ->
    ok = py:register_function(deeper, fun([Depth]) ->
        {ok, [Inner | Selves]} = py:call(messaging, selves, [deeper, Depth]),
        ?assertEqual(self(), Inner),
        [Inner | Selves]
    end),
    {ok, Selves} = py:call(messaging, selves, [deeper, 10]),
    ?assertEqual(self(), hd(Selves)),
    ?assertEqual(11, length(lists:usort(Selves))),
    {ok, {Before, After}} = py:eval("(erlang.self(), erlang.deeper(2), erlang.self())[0::2]"),
    ?assertEqual({self(), self()}, {Before, After}).

%% Proves that erlang.atom gives atoms that Erlang has or has room for, which are str in Python and atoms in Erlang.
atoms(_) ->
    ?assertEqual({ok, {<<"Atom">>, mode}}, py:call(messaging, atom, [<<"mode">>])),
    {ok, [ok, 'Grüße', '']} = py:eval("[erlang.atom(name) for name in ('ok', 'Grüße', '')]"),
    ?assertMatch({ok, {<<"ValueError">>, _}}, py:call(messaging, atom, [binary:copy(<<"x">>, 256)])),
    ?assertMatch({ok, {<<"Atom">>, _}}, py:call(messaging, atom, [binary:copy(<<"x">>, 255)])),
    _ = [?assertMatch({ok, {<<"TypeError">>, _}}, py:call(messaging, atom, [Name])) || Name <- [1, none, [<<"a">>]]],
    New = iolist_to_binary(["messages_suite_", ref_text()]),
    Before = py_atoms:count(default),
    {ok, Atom} = py:eval("[erlang.atom(name) for _ in range(5)][0]", #{name => New}),
    ?assertEqual(New, atom_to_binary(Atom)),
    ?assertEqual(Before + 1, py_atoms:count(default)).

%% Proves that Python cannot make more than 1 000 atoms: erlang.atom refuses, and a message with another is dropped,
%% which the log says, while those beside it arrive.
bound_on_atoms(_) ->
    ok = py_test:start([{max_frame_bytes, ?MAX}]),
    {ok, {Made, Text}} = py:call(messaging, fill_atoms, [iolist_to_binary(["bound_", ref_text()])]),
    ?assert(Made =< 1000),
    ?assertEqual(1000, py_atoms:count(default)),
    %% That is the bound of this pool: another has room, also for values and the names of classes, and keeps its own count.
    Other = iolist_to_binary(["other_", ref_text()]),
    {ok, OtherAtom} = py:call(io, messaging, identity_of_atom, [Other]),
    ?assertEqual(Other, atom_to_binary(OtherAtom)),
    ?assertEqual(1, py_atoms:count(io)),
    {error, {Class, _}} = py:call(io, messaging, raise_new, [<<"Of_", Other/binary>>]),
    ?assertEqual(<<"Of_", Other/binary>>, atom_to_binary(Class)),
    {error, {InTheFirst, _}} = py:call(messaging, raise_new, [<<"In_", Other/binary>>]),
    ?assertEqual(<<"In_", Other/binary>>, InTheFirst),
    %% It holds when the pool's process is another one.
    {error, {context_died, _}} = py:call(os, '_exit', [0]),
    ok = py_test:answers(default),
    ?assertMatch({ok, {<<"ValueError">>, _}}, py:call(messaging, atom, [<<"After_", Other/binary>>])),
    ?assertEqual({error, {not_encodable, atom_table_full}}, py:call(messaging, identity_of_atom, [<<"Value_", Other/binary>>])),
    ?assertMatch({match, _}, re:run(Text, "1000")),
    ?assertEqual({ok, {<<"Atom">>, mode}}, py:call(messaging, atom, [<<"mode">>])),
    Beyond = iolist_to_binary(["beyond_", ref_text()]),
    Handler = py_test_log:collect(),
    Receiver = py_test:async(fun() -> receive all_sent -> mailbox() end end),
    {ok, none} = py:eval("[erlang.send(pid, m) for m in (1, erlang.Atom(name), [erlang.Atom(name)], 2)][0]",
                         #{pid => element(1, Receiver), name => Beyond}),
    element(1, Receiver) ! all_sent,
    ?assertEqual([1, 2], py_test:join(Receiver)),
    _ = py_test_log:wait("messages dropped: "),
    py_test_log:stop(Handler),
    ?assertError(badarg, binary_to_existing_atom(Beyond)),
    ok = py_test:start([{max_frame_bytes, ?MAX}]).

%% Helpers.

%% All that is in the mailbox now.
mailbox() ->
    receive Message -> [Message | mailbox()] after 0 -> [] end.

own_name() ->
    Name = py_test:unique(messages_suite),
    true = register(Name, self()),
    Name.

dead() ->
    {Pid, Monitor} = spawn_monitor(fun() -> ok end),
    receive {'DOWN', Monitor, process, Pid, _} -> Pid end.

%% A process that receives nothing.
sink() ->
    spawn(fun() -> receive stop_of_this_kind_never_comes -> ok end end).

%% A process that forgets what it receives.
counter(N) ->
    receive
        {count, From} ->
            From ! {counted, N},
            counter(N);
        _ -> counter(N + 1)
    end.

counted(Counter) ->
    Counter ! {count, self()},
    receive {counted, N} -> N end.

message_queue_len(Pid) ->
    {message_queue_len, Length} = process_info(Pid, message_queue_len),
    Length.

random(0) ->
    lists:nth(rand:uniform(6), [rand:uniform(1000), rand:uniform(), true, none, <<"text">>, <<255>>]);
random(Depth) ->
    case rand:uniform(4) of
        1 -> [random(Depth - 1) || _ <- lists:seq(1, rand:uniform(4))];
        2 -> list_to_tuple([random(Depth - 1) || _ <- lists:seq(1, rand:uniform(4))]);
        3 -> maps:from_list([{N, random(Depth - 1)} || N <- lists:seq(1, rand:uniform(4))]);
        4 -> random(0)
    end.

ref_text() -> integer_to_list(erlang:unique_integer([positive])) ++ "_" ++ os:getpid().
