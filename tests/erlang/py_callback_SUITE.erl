%% What Erlang does when Python calls it, without Python: /bin/cat is the port, so every frame that is written to it comes
%% back and can be looked at.
-module(py_callback_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 1}}].

all() ->
    [names_are_texts, bad_registrations, module_and_function_as_text, every_port_is_told, few_frames,
     registry_that_was_killed, late_port_is_told, closed_port,
     many_names_come_in_pieces, answer_of_a_fun, answer_of_a_module, unregistered, exceptions, text_and_stack_are_bounded,
     result_in_pieces, result_that_is_too_large, reason_that_is_too_large, unknown_atom_in_the_arguments,
     callback_that_is_killed, callback_that_is_abandoned, callbacks_are_counted, system_functions,
     state_functions, system_function_that_fails, messages, large_message, messages_to_nobody, malformed_messages,
     messages_are_acknowledged, sender_that_is_killed].

init_per_suite(Config) -> ok = py_test:start_without_pools(), Config.
end_per_suite(_Config) -> py_test:stop_without_pools().

init_per_testcase(_, Config) ->
    [{port, cat()} | Config].

end_per_testcase(_, _Config) ->
    [py_functions:unregister(Name) || Name <- py_functions:names()].

%% Names.

%% Proves that a name is the same as an atom, a binary and a string, and that the last registration counts.
names_are_texts(_) ->
    ok = py_functions:register(add, fun lists:sum/1),
    ok = py_functions:register("naïve", fun lists:sum/1),
    ok = py_functions:register(<<"add">>, lists, max),
    ?assertEqual([<<"add">>, <<"naïve"/utf8>>], py_functions:names()),
    ?assertEqual({ok, {lists, max}}, py_functions:lookup(<<"add">>)),
    ok = py_functions:unregister("add"),
    ok = py_functions:unregister(add),
    ?assertEqual(unregistered, py_functions:lookup(<<"add">>)).

%% Proves that what cannot be meant is refused, and why.
bad_registrations(_) ->
    ?assertError({bad_argument, function, _}, py_functions:register(f, fun() -> ok end)),
    ?assertError({bad_argument, function, _}, py_functions:register(f, lists)),
    ?assertError({bad_argument, function, 7}, py_functions:register(f, lists, 7)),
    ?assertError({bad_argument, module, {lists}}, py_functions:register(f, {lists}, sum)),
    ?assertError({bad_argument, module, <<255>>}, py_functions:register(f, <<255>>, sum)),
    ?assertError({bad_argument, name, <<255>>}, py_functions:register(<<255>>, fun lists:sum/1)),
    ?assertError({bad_argument, name, ""}, py_functions:register("", fun lists:sum/1)),
    ?assertError({bad_argument, name, 7}, py_functions:unregister(7)).

%% Proves that a port knows all names when registering has returned.
every_port_is_told(Config) ->
    Port = port(Config),
    Other = cat(),
    ok = py_functions:add_port(self(), Port, []),
    Pid = spawn_link(fun() -> receive stop -> ok end end),
    ok = py_functions:add_port(Pid, Other, []),
    ok = py_functions:register(b, fun lists:sum/1),
    [?assertEqual({15, [<<"b">>]}, frame(P)) || P <- [Port, Other]],
    ok = py_functions:register(a, fun lists:sum/1),
    [?assertEqual({15, [<<"a">>, <<"b">>]}, frame(P)) || P <- [Port, Other]],
    ok = py_functions:remove_port(Pid),
    ok = py_functions:unregister(b),
    ?assertEqual({15, [<<"a">>]}, frame(Port)),
    nothing(Other),
    ok = py_functions:remove_port(self()).

%% Proves that module and function are named by binaries and strings as well, and that no atom is made of them.
module_and_function_as_text(_) ->
    [begin
         ok = py_functions:register(f, M, F),
         ?assertEqual({ok, {lists, sum}}, py_functions:lookup(<<"f">>))
     end || M <- [lists, <<"lists">>, "lists"], F <- [sum, <<"sum">>, "sum"]],
    None = "no atom " ++ integer_to_list(erlang:unique_integer()),
    ?assertError({bad_argument, module, None}, py_functions:register(f, None, sum)),
    ?assertError({bad_argument, function, None}, py_functions:register(f, lists, None)),
    ?assertError(badarg, list_to_existing_atom(None)).

%% Proves that a port is told nothing when another function takes a name, and of a burst of registrations once or twice.
few_frames(Config) ->
    Port = port(Config),
    ok = py_functions:register(a, fun lists:sum/1),
    ok = py_functions:add_port(self(), Port, [<<"a">>]),
    ok = py_functions:register(a, fun lists:max/1),
    ok = py_functions:unregister(b),
    nothing(Port),
    Names = [integer_to_binary(N) || N <- lists:seq(1001, 1500)],
    ok = sys:suspend(py_functions),
    Jobs = [py_test:async(fun() -> py_functions:register(Name, fun lists:sum/1) end) || Name <- Names],
    Asked = fun() -> {message_queue_len, N} = process_info(whereis(py_functions), message_queue_len), N end,
    py_test:eventually(fun() -> Asked() =:= length(Names) end),
    ok = sys:resume(py_functions),
    [ok = py_test:join(Job) || Job <- Jobs],
    ?assertEqual({15, Names ++ [<<"a">>]}, frame(Port)),
    nothing(Port),
    ok = py_functions:remove_port(self()).

%% Proves that the death of the registry loses no function, and that calls which meet it succeed.
registry_that_was_killed(Config) ->
    Port = port(Config),
    ok = py_functions:register(a, fun lists:sum/1),
    ok = py_functions:add_port(self(), Port, [<<"a">>]),
    nothing(Port),
    Pid = whereis(py_functions),
    exit(Pid, kill),
    ok = py_functions:register(b, fun lists:sum/1),
    ?assertMatch({ok, _}, py_functions:lookup(<<"a">>)),
    %% From the restart, then from the registration.
    ?assertEqual({15, [<<"a">>]}, frame(Port)),
    ?assertEqual({15, [<<"a">>, <<"b">>]}, frame(Port)),
    ok = py_functions:remove_port(self()).

%% Proves that a port which was started with other names than there are by now is told.
late_port_is_told(Config) ->
    ok = py_functions:register(a, fun lists:sum/1),
    ok = py_functions:add_port(self(), port(Config), [<<"old">>]),
    ?assertEqual({15, [<<"a">>]}, frame(port(Config))),
    ok = py_functions:remove_port(self()).

%% Proves that a port which is gone does not disturb registering, and is forgotten.
closed_port(Config) ->
    ok = py_functions:add_port(self(), port(Config), []),
    port_close(port(Config)),
    ok = py_functions:register(a, fun lists:sum/1),
    ?assertEqual([], ets:lookup(py_ports, self())).

%% Proves that more names than fit a frame arrive.
many_names_come_in_pieces(Config) ->
    Names = [<<"a_function_", (integer_to_binary(N))/binary, 0:(8 * 1000)>> || N <- lists:seq(1001, 2200)],
    [ets:insert(py_functions, {Name, fun lists:sum/1}) || Name <- Names],
    ok = py_functions:add_port(self(), port(Config), []),
    ?assertEqual({15, Names}, binary_to_term(joined(port(Config)))),
    [ets:delete(py_functions, Name) || Name <- Names],
    ok = py_functions:remove_port(self()).

%% Callbacks.

%% Proves that a fun gets the list of arguments, in a process of its own that descends from whoever began the chain.
answer_of_a_fun(Config) ->
    Starter = spawn_link(fun() -> receive stop -> ok end end),
    ok = py_functions:register(f, fun(Args) -> {Args, self(), get('$callers'), get('$ancestors')} end),
    ?assertMatch({ok, {[1, <<"two">>], Pid, [Starter], [Self]}} when Pid =/= self() andalso Self =:= self(),
                 call(Config, <<"f">>, [1, <<"two">>], Starter)),
    ?assertMatch({ok, {[], _, [Starter], _}}, call(Config, <<"f">>, [], {self(), Starter})),
    ?assertMatch({ok, {[], _, [], _}}, call(Config, <<"f">>, [], none)).

%% Proves that a module's function is called with one list.
answer_of_a_module(Config) ->
    ok = py_functions:register(f, lists, sum),
    ?assertEqual({ok, 6}, call(Config, <<"f">>, [1, 2, 3])).

%% Proves that a name nobody has registered is said to be so.
unregistered(Config) ->
    ?assertEqual(unregistered, call(Config, <<"f">>, [])).

%% Proves that every class of exception arrives with reason, text and stack, whether it is raised by hand or by a bug.
exceptions(Config) ->
    Raise = fun([Class, Reason]) -> erlang:raise(binary_to_existing_atom(Class), Reason, []) end,
    ok = py_functions:register(f, Raise),
    ok = py_functions:register(g, ?MODULE, only_integers),
    ok = py_functions:register(h, nowhere, nothing),
    ?assertMatch({error, throw, 7, <<"throw:7">>, <<>>}, call(Config, <<"f">>, [<<"throw">>, 7])),
    ?assertMatch({error, exit, normal, <<"exit:normal">>, <<>>}, call(Config, <<"f">>, [<<"exit">>, normal])),
    {error, error, badarith, <<"error:badarith">>, Bug} = call(Config, <<"g">>, [a]),
    ?assertMatch(<<"py_callback_SUITE:only_integers/1 (", _/binary>>, Bug),
    ?assertMatch({error, error, undef, <<"error:undef">>, <<"nowhere:nothing([<<\"ä\"/utf8>>])"/utf8, _/binary>>},
                 call(Config, <<"h">>, [<<"ä"/utf8>>])),
    {error, error, function_clause, _, Stack} = call(Config, <<"g">>, [1, 2]),
    ?assertMatch(<<"py_callback_SUITE:only_integers([1,2]) (", _/binary>>, Stack).

only_integers([A]) -> A + 1.

%% Proves that giant reasons and deep stacks make texts of a bounded size, cut between characters.
text_and_stack_are_bounded(Config) ->
    Reason = lists:duplicate(10000, <<"größe"/utf8>>),
    ok = py_functions:register(f, fun(_) -> error(Reason) end),
    ok = py_functions:register(g, fun(_) -> erlang:raise(error, x, lists:duplicate(8, {m, f, [Reason, Reason], []})) end),
    {error, error, Reason, Text, _} = call(Config, <<"f">>, []),
    {error, error, x, _, Stack} = call(Config, <<"g">>, []),
    ?assert(byte_size(Text) > 1000 andalso byte_size(Text) =< 2048),
    ?assert(byte_size(Stack) > 1000 andalso byte_size(Stack) =< 8192),
    [?assert(is_list(unicode:characters_to_list(T))) || T <- [Text, Stack, py_error:exception(error, lists:duplicate(1500, 228))]].

%% Proves that a result of more than a piece arrives.
result_in_pieces(Config) ->
    Value = binary:copy(<<"12345678">>, 400000),
    ok = py_functions:register(f, fun(_) -> Value end),
    ok = start(port(Config), 1, <<"f">>, [], none),
    ?assertEqual({6, 3, 1, {ok, Value}}, binary_to_term(joined(port(Config)))).

%% Proves that a result beyond the limit of values is an error that says so.
result_that_is_too_large(Config) ->
    application:set_env(erlang_python, max_frame_bytes, 5000),
    ok = py_functions:register(f, fun(_) -> binary:copy(<<0>>, 6000) end),
    ?assertMatch({error, error, {too_large, N, 5000}, <<"error:{too_large,", _/binary>>, <<>>} when N > 6000,
                 call(Config, <<"f">>, [])),
    application:unset_env(erlang_python, max_frame_bytes).

%% Proves that a reason beyond that limit is replaced by its text, and the exception still arrives.
reason_that_is_too_large(Config) ->
    application:set_env(erlang_python, max_frame_bytes, 20000),
    ok = py_functions:register(f, fun(_) -> exit(binary:copy(<<0>>, 30000)) end),
    ?assertMatch({error, exit, Text, Text, _} when byte_size(Text) =< 2048, call(Config, <<"f">>, [])),
    application:unset_env(erlang_python, max_frame_bytes).

%% Proves that an atom which Python may not make is an error of the one call.
unknown_atom_in_the_arguments(Config) ->
    ok = py_functions:register(f, fun(Args) -> Args end),
    Payload = <<131, 108, 1:32, 119, 21, "no_atom_of_this_node!", 106>>,
    ok = start_raw(port(Config), 1, <<"f">>, Payload, none),
    ?assertMatch({6, 3, 1, {error, error, {not_encodable, atom_table_full}, _, _}}, frame(port(Config))).

%% Proves that Python gets an answer when the callback's process is killed, and that nothing of it is left.
callback_that_is_killed(Config) ->
    Self = self(),
    ok = py_functions:register(f, fun(_) -> Self ! {runs, self()}, receive after infinity -> ok end end),
    Callbacks = started(port(Config), 1, <<"f">>),
    Pid = receive {runs, P} -> P end,
    exit(Pid, kill),
    Left = ended(Pid, Callbacks),
    ?assertEqual({6, 3, 1, {error, exit, killed, <<"exit:killed">>, <<>>}}, frame(port(Config))),
    ?assertEqual(unknown, py_callbacks:ended(Pid, killed, Left)),
    ?assertEqual([], ets:lookup(py_callbacks, Pid)).

%% Proves that a callback nobody waits for any more is ended and not answered for; one that traps exits ends by itself.
callback_that_is_abandoned(Config) ->
    Self = self(),
    ok = py_functions:register(f, fun(_) -> Self ! {runs, self()}, receive after infinity -> ok end end),
    ok = py_functions:register(g, fun(_) ->
        process_flag(trap_exit, true),
        Self ! {runs, self()},
        receive {'EXIT', Self, Reason} -> Reason end
    end),
    Running = started(port(Config), 1, <<"f">>),
    Pid = receive {runs, P} -> P end,
    Callbacks = py_callbacks:abandon(1, py_callbacks:abandon(7, Running)),
    receive {'EXIT', Pid, Reason} -> ?assertEqual({shutdown, abandoned}, Reason) end,
    _ = py_callbacks:ended(Pid, {shutdown, abandoned}, Callbacks),
    nothing(port(Config)),
    Trapping = started(port(Config), 2, <<"g">>),
    Other = receive {runs, Q} -> Q end,
    Abandoned = py_callbacks:abandon(2, Trapping),
    ?assertEqual({6, 3, 2, {ok, {shutdown, abandoned}}}, frame(port(Config))),
    _ = ended(Other, Abandoned),
    nothing(port(Config)).

%% Proves that the count of callbacks that run is right when they end, and when their py_port does.
callbacks_are_counted(Config) ->
    ?assertEqual(0, py_counters:callbacks()),
    Self = self(),
    ok = py_functions:register(f, fun(_) -> Self ! {runs, self()}, receive stop -> ok end end),
    One = started(port(Config), 1, <<"f">>),
    First = receive {runs, P} -> P end,
    ?assertEqual(1, py_counters:callbacks()),
    ?assertMatch([_], ets:lookup(py_callbacks, First)),
    First ! stop,
    _ = ended(First, One),
    ?assertEqual(0, py_counters:callbacks()),
    Two = started(port(Config), 2, <<"f">>),
    Second = receive {runs, Q} -> Q end,
    ok = py_callbacks:close(Two),
    ?assertEqual(0, py_counters:callbacks()),
    ?assertEqual([], ets:tab2list(py_callbacks)),
    Second ! stop.

%% System functions.

%% Proves what Python learns about processes and atoms without a process of ours.
system_functions(Config) ->
    register(py_callback_suite, self()),
    Dead = spawn(fun() -> ok end),
    py_test:eventually(fun() -> not is_process_alive(Dead) end),
    Remote = remote_pid(),
    Alive = fun(Destination) -> call(Config, 1, [Destination]) end,
    [?assertEqual({Destination, {ok, true}}, {Destination, Alive(Destination)})
     || Destination <- [self(), py_callback_suite, <<"py_callback_suite">>, {py_callback_suite, node()}, Remote,
                        {anybody, 'other@elsewhere'}]],
    [?assertEqual({Destination, {ok, false}}, {Destination, Alive(Destination)})
     || Destination <- [Dead, nobody, <<"nobody of this name at all">>, {nobody, node()}, 7, {1, 2, 3}]],
    ?assertEqual({ok, self()}, call(Config, 2, [<<"py_callback_suite">>])),
    ?assertEqual({ok, self()}, call(Config, 2, [py_callback_suite])),
    ?assertEqual({ok, none}, call(Config, 2, [<<"nobody of this name at all">>])),
    ?assertEqual({ok, none}, call(Config, 2, [undefined])),
    ?assertEqual({ok, true}, call(Config, 3, [<<"lists">>])),
    ?assertEqual({ok, false}, call(Config, 3, [binary:copy(<<"a">>, 256)])),
    unregister(py_callback_suite).

%% Proves that state is reached by number, counting without a process.
state_functions(Config) ->
    ?assertEqual({ok, ok}, call(Config, 14, [])),
    ?assertEqual({ok, 5}, call(Config, 4, [<<"n">>, 5])),
    ?assertEqual({ok, ok}, call(Config, 11, [<<"k">>, {1, [2]}])),
    ?assertEqual({ok, {true, {1, [2]}}}, call(Config, 10, [<<"k">>])),
    ?assertEqual({ok, false}, call(Config, 10, [<<"other">>])),
    ?assertMatch({error, error, badarg, _, _}, call(Config, 4, [<<"k">>, 1])),
    {ok, Keys} = call(Config, 13, []),
    ?assertEqual([<<"k">>, <<"n">>], lists:sort(Keys)),
    ?assertEqual({ok, ok}, call(Config, 12, [<<"k">>])),
    ?assertEqual({ok, ok}, call(Config, 14, [])),
    ?assertEqual({ok, []}, call(Config, 13, [])).

%% Proves that a system function with wrong arguments, or of a number that there is not, is an error of that call alone.
system_function_that_fails(Config) ->
    [?assertMatch({error, error, _, _, _}, call(Config, Function, Args))
     || {Function, Args} <- [{0, []}, {1, []}, {2, [1, 2]}, {3, [7]}, {4, [k, 1.5]}, {4, []}, {10, []}, {99, []}]],
    ok = start_raw(port(Config), 1, 1, <<131, 255>>, none),
    ?assertMatch({6, 3, 1, {error, error, _, _, _}}, frame(port(Config))).

%% Messages.

%% Proves that messages are handed on in their order, to a process by pid and by name.
messages(Config) ->
    register(py_callback_suite, self()),
    Destinations = [self(), py_callback_suite, <<"py_callback_suite">>, {py_callback_suite, node()},
                    {<<"py_callback_suite">>, atom_to_binary(node())}],
    M = deliver([{To, {N, To}} || {N, To} <- lists:zip(lists:seq(1, 5), Destinations)], messages_of(Config)),
    ?assertEqual(Destinations, [receive {N, To} -> To after 0 -> none end || N <- lists:seq(1, 5)]),
    _ = deliver([{self(), N} || N <- lists:seq(1, 10000)], M),
    ?assertEqual(lists:seq(1, 10000), flush()),
    unregister(py_callback_suite).

%% Proves that a message which came in pieces is put together.
large_message(Config) ->
    Value = binary:copy(<<"x">>, 3000000),
    <<A:1048576/binary, B:1048576/binary, C/binary>> = term_to_binary({self(), {large, Value}}),
    _ = py_messages:large(byte_size(C) + 6, [A, B, C], messages_of(Config)),
    receive {large, Received} -> ?assertEqual(Value, Received) after 0 -> error(nothing) end.

%% Proves that messages to nobody are dropped with a line in the log, one a second however many they are.
messages_to_nobody(Config) ->
    Handler = py_test_log:collect(),
    M = deliver([{nobody, 1}, {self(), here}, {<<"nobody of this name at all">>, 1}, {{nobody, node()}, 1}],
                messages_of(Config)),
    receive here -> ok after 0 -> error(nothing) end,
    py_test_log:wait("python suite: 1 messages dropped: there is no process nobody"),
    N = deliver([{7, 1} || _ <- lists:seq(1, 1000)], M),
    receive {py_messages, log} -> ok end,
    Quiet = py_messages:handle(log, N),
    py_test_log:wait("python suite: 1002 messages dropped"),
    receive {py_messages, log} -> ok end,
    _ = py_messages:handle(log, Quiet),
    py_test_log:stop(Handler).

%% Proves that what is no message is dropped too, and what stands beside it is not.
malformed_messages(Config) ->
    Handler = py_test_log:collect(),
    Atom = <<131, 104, 2, 97, 7, 119, 21, "no_atom_of_this_node?">>,
    Frame = [encoded(term_to_binary(not_a_pair)), encoded(Atom), encoded(<<>>), encoded(term_to_binary({self(), here})), <<1, 2>>],
    _ = py_messages:frame(100, iolist_to_binary(Frame), messages_of(Config)),
    receive here -> ok after 0 -> error(nothing) end,
    py_test_log:wait("messages dropped: not a message"),
    py_test_log:stop(Handler).

%% Proves that the port is told of the bytes that are done with, a quarter of a megabyte at a time, those to other nodes too.
messages_are_acknowledged(Config) ->
    Local = py_messages:frame(200000, <<>>, messages_of(Config)),
    nothing(port(Config)),
    Told = py_messages:frame(100000, <<>>, Local),
    ?assertEqual({16, 300000}, frame(port(Config))),
    Message = term_to_binary({{anybody, 'other@elsewhere'}, binary:copy(<<0>>, 300000)}),
    Sent = py_messages:frame(byte_size(Message) + 20, encoded(Message), Told),
    nothing(port(Config)),
    Event = receive {py_messages, E} -> E end,
    _ = py_messages:handle(Event, Sent),
    Total = byte_size(Message) + 20,
    ?assertEqual({16, Total}, frame(port(Config))).

%% Proves that the death of the process that sends to a node gives its bytes back, and the next message finds another.
sender_that_is_killed(Config) ->
    process_flag(trap_exit, true),
    Message = term_to_binary({{anybody, 'other@elsewhere'}, binary:copy(<<0>>, 300000)}),
    Size = byte_size(Message),
    Before = links(),
    M = py_messages:frame(Size, encoded(Message), messages_of(Config)),
    [Sender] = links() -- Before,
    exit(Sender, kill),
    receive {'EXIT', Sender, _} -> ok end,
    Left = py_messages:ended(Sender, M),
    ?assertEqual({16, Size}, frame(port(Config))),
    _ = py_messages:frame(Size, encoded(Message), Left),
    ?assertMatch([_], links() -- Before).

%% Helpers.

cat() ->
    %% What a case does not read makes cat complain when the port is closed.
    %% The packets are whole frames with the lengths that py_writer has put in front.
    Port = open_port({spawn, "cat 2>/dev/null"}, [{packet, 4}, binary]),
    _ = py_writer:start_link(Port),
    Port.

port(Config) -> proplists:get_value(port, Config).

%% The next frame that was written to the port.
frame(Port) ->
    receive {Port, {data, <<_Length:32, Frame/binary>>}} -> binary_to_term(Frame) after 10000 -> error(no_frame) end.

%% A frame that came in pieces, several of which may have been written at once.
joined(Port) -> joined(Port, <<>>, []).

joined(Port, <<>>, Before) ->
    receive {Port, {data, Written}} -> joined(Port, Written, Before) after 10000 -> error(no_frame) end;
joined(Port, <<Length:32, Frame:Length/binary, Rest/binary>>, Before) ->
    case binary_to_term(Frame) of
        {4, _Ref, 0, Piece} -> joined(Port, Rest, [Before, Piece]);
        {5, _Ref, 0, Piece} -> iolist_to_binary([Before, Piece])
    end.

%% A frame that is known to come back proves that none came before.
nothing(Port) ->
    ok = py_writer:post(Port, term_to_binary(marker)),
    ?assertEqual(marker, frame(Port)).

call(Config, Function, Args) ->
    call(Config, Function, Args, none).

call(Config, Function, Args, Caller) ->
    ok = start(port(Config), 1, Function, Args, Caller),
    {6, 3, 1, Outcome} = frame(port(Config)),
    Outcome.

start(Port, Id, Function, Args, Caller) ->
    start_raw(Port, Id, Function, term_to_binary(Args), Caller).

start_raw(Port, Id, Function, Payload, Caller) ->
    process_flag(trap_exit, true),
    Callbacks = py_callbacks:start({11, 3, Id, 1, 0, Caller, Function}, Payload, py_callbacks:new(Port, rule(Caller), 3)),
    %% Those up to 4 have no process.
    _ = is_integer(Function) andalso Function =< 4 orelse
        receive {'EXIT', Pid, Reason} when is_pid(Pid) -> py_callbacks:ended(Pid, Reason, Callbacks) end,
    ok.

started(Port, Id, Function) ->
    process_flag(trap_exit, true),
    py_callbacks:start({11, 3, Id, 1, 0, none, Function}, term_to_binary([]), py_callbacks:new(Port, rule(none), 3)).

ended(Pid, Callbacks) ->
    receive {'EXIT', Pid, Reason} -> py_callbacks:ended(Pid, Reason, Callbacks) end.

messages_of(Config) -> py_messages:new(port(Config), suite, rule(none)).

%% send_SUITE and grants_SUITE are about who may be sent to; a caller must have called.
rule(none) ->
    py_send:new(suite, #{send => any, send_names => []});
rule({Pid, Starter}) ->
    Rule = rule(Starter),
    ok = py_grants:add(py_send:grants(Rule), Pid),
    Rule;
rule(Caller) ->
    Rule = py_send:new(suite, #{send => granted, send_names => []}),
    ok = py_grants:add(py_send:grants(Rule), Caller),
    Rule.

encoded(Message) -> <<(byte_size(Message)):32, Message/binary>>.

deliver(Messages, M) ->
    Frame = iolist_to_binary([encoded(term_to_binary(Message)) || Message <- Messages]),
    py_messages:frame(byte_size(Frame), Frame, M).

flush() ->
    receive N when is_integer(N) -> [N | flush()] after 0 -> [] end.

links() ->
    {links, Links} = process_info(self(), links),
    [Pid || Pid <- Links, is_pid(Pid)].

%% A pid of a node that there is not.
remote_pid() ->
    binary_to_term(<<131, 88, 119, 15, "other@elsewhere", 77:32, 0:32, 1:32>>).
