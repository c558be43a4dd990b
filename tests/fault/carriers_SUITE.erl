%% The processes that write and read shared memory for a py_port: they wait for nobody, nobody waits for them without end, and
%% what is not sent leaves nothing behind.
-module(carriers_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 3}}].

all() -> [they_read_while_the_port_takes_no_input, callers_give_up, callers_that_were_killed, one_that_does_not_read,
          killed_carriers, killed_sender, a_write_that_fails, one_for_one_context].

init_per_suite(Config) ->
    ok = py_test:start(),
    true = register(?MODULE, spawn(fun() -> noting([]) end)),
    ok = py:register_function(note, fun([N, _Large]) -> ?MODULE ! {note, N}, N end),
    Config.

end_per_suite(_Config) ->
    exit(whereis(?MODULE), kill),
    py_test:stop().

end_per_testcase(_Case, _Config) ->
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ok.

%% Proves that carriers answer while a port process takes no input, and large values wait for it.
they_read_while_the_port_takes_no_input(_) ->
    with_stopped_port(fun(Pool, Port, Signal) ->
        Filling = [filling(Pool, Port) | [py_test:async(fun() -> echo(Pool, infinity) end) || _ <- lists:seq(1, 2)]],
        Used = [py_test:join(py_test:async(fun() -> py_carrier:in_use(Carrier) end), 30000)
                || Carrier <- tuple_to_list(py_writer:carriers(Port))],
        ?assert(lists:all(fun is_integer/1, Used)),
        Signal("CONT"),
        [?assertEqual(ok, py_test:join(Job)) || Job <- Filling]
    end).

%% Proves that a caller behind a port that takes no input waits for its timeout and no longer, and that nothing is sent of it.
callers_give_up(_) ->
    with_stopped_port(fun(Pool, Port, Signal) ->
        Filling = filling(Pool, Port),
        Late = py_test:async(fun() -> note(Pool, late, 200) end),
        Cast = py_test:async(fun() -> py:await(py:cast(Pool, erlang, call, [note, late, large()], #{}, 200), 60000) end),
        ?assertEqual({error, timeout}, py_test:join(Late, 60000)),
        ?assertEqual({error, timeout}, py_test:join(Cast, 60000)),
        Signal("CONT"),
        ?assertEqual(ok, py_test:join(Filling)),
        ?assertEqual({ok, <<"last">>}, note(Pool, last, 60000)),
        ?assertEqual([<<"last">>], noted()),
        nothing_left(Port)
    end).

%% Proves that of callers that were killed behind such a port nothing is sent, in a chain of calls neither.
callers_that_were_killed(_) ->
    Suite = self(),
    ok = py:register_function(gate, fun([Pool, Large]) ->
        Suite ! {at_gate, self()},
        receive go -> py:call(binary_to_atom(Pool), erlang, call, [note, nested, {bytes, Large}]) end
    end),
    with_stopped_port(fun(Pool, Port, Signal) ->
        Signal("CONT"),
        Gated = py_test:async(fun() -> py:call(Pool, erlang, call, [gate, atom_to_binary(Pool), large()]) end),
        Nested = receive {at_gate, Pid} -> Pid end,
        ok = Signal("STOP"),
        Filling = filling(Pool, Port),
        Nested ! go,
        Caller = spawn(fun() -> note(Pool, killed, infinity) end),
        [begin
             py_test:eventually(fun() -> process_info(Waiting, current_function) =:= {current_function, {py_carrier, send, 6}} end),
             exit(Waiting, kill)
         end || Waiting <- [Nested, Caller]],
        Signal("CONT"),
        ?assertMatch({error, {'ErlangError', _}}, py_test:join(Gated)),
        ?assertEqual(ok, py_test:join(Filling)),
        ?assertEqual({ok, <<"last">>}, note(Pool, last, 60000)),
        ?assertEqual([<<"last">>], noted()),
        nothing_left(Port)
    end).

%% Proves that a py_port that cannot read a message ends its port process, and says why.
one_that_does_not_read(_) ->
    Log = py_test_log:collect(),
    py_test:with_pool(1, #{}, fun(Pool) ->
        [true = erlang:suspend_process(Carrier) || Carrier <- tuple_to_list(py_writer:carriers(port(Pool)))],
        ok = py:exec(hd(py_test:contexts(Pool)), <<"import erlang, time\n\ndef tell(pid):\n"
                                                   "    erlang.send(pid, bytes(200000))\n    time.sleep(60)\n">>),
        ?assertEqual({error, {context_died, {killed, timeout}}},
                     py:call(hd(py_test:contexts(Pool)), '__main__', tell, [self()], #{timeout => infinity})),
        _ = py_test_log:wait("shared memory could not be read in time"),
        py_test:answers(Pool)
    end),
    ok = py_test_log:stop(Log).

%% Proves that a pool whose carriers were killed starts again, and shares memory again.
killed_carriers(_) -> killed(fun(Port) -> tuple_to_list(py_writer:carriers(Port)) end).

%% Proves the same of the process that sends for them.
killed_sender(_) -> killed(fun(Port) -> [sender(Port)] end).

killed(Which) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        OsPid = py_test:os_pid(Pool),
        [exit(Pid, kill) || Pid <- Which(py_test:port_of(OsPid))],
        py_test:eventually(fun() -> not py_test:alive(OsPid) end),
        py_test:answers(Pool),
        Value = binary:copy(<<255>>, 1 bsl 20),
        ?assert({ok, Value} =:= py:call(Pool, probe, echo, [Value])),
        #{Pool := #{shared_memory := Shared}} = py:stats(),
        ?assert(is_integer(Shared) andalso Shared >= 1 bsl 20)
    end).

%% Proves that what could not be written takes no room: here because it lies beyond the end of the file.
a_write_that_fails(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        OsPid = py_test:os_pid(Pool),
        Usage = {Counts, _, _} = py_carrier:usage(1 bsl 20, 1 bsl 30),
        {ok, Carrier} = py_carrier:start_link(port(Pool), self(), segment_file(OsPid), 1 bsl 37, 1 bsl 38, Usage),
        Binary = binary:copy(<<1>>, 600000),
        [?assertEqual({N, no_room},
                      {N, py_carrier:send(Carrier, self(), {make_ref(), 0, 0}, <<>>, lists:duplicate(N, Binary), 60000)})
         || N <- [1, 1, 1, 2]],
        ?assertEqual(0, py_carrier:in_use(Carrier)),
        ?assert(atomics:get(Counts, 2) >= 0),
        ?assertEqual(0, atomics:get(Counts, 3)),
        unlink(Carrier),
        exit(Carrier, kill)
    end).

%% Proves that a port process with one context has one carrier, and one with several no more than there are schedulers.
one_for_one_context(_) ->
    py_test:with_pool(1, #{isolation => context}, fun(Pool) ->
        ?assertEqual(1, tuple_size(py_writer:carriers(port(Pool))))
    end),
    py_test:with_pool(1, #{}, fun(Pool) ->
        ?assertEqual(min(4, erlang:system_info(schedulers)), tuple_size(py_writer:carriers(port(Pool))))
    end).

%% Helpers.

%% Fun(Pool, Port, Signal), where Signal("CONT") lets it go on.
with_stopped_port(Fun) ->
    _ = noted(),
    py_test:with_pool(1, #{hard_timeout_grace => infinity}, fun(Pool) ->
        ?assertEqual(ok, echo(Pool, 60000)),
        OsPid = py_test:os_pid(Pool),
        Port = py_test:port_of(OsPid),
        ok = py_test:signal(OsPid, "STOP"),
        Fun(Pool, Port, fun(Signal) -> ok = py_test:signal(OsPid, Signal) end)
    end).

%% A call whose frame, without the large binary in it, is more than the pipe and the port's queue take; and it waits for the port.
filling(Pool, Port) ->
    Job = py_test:async(fun() -> echo(Pool, infinity) end),
    py_test:eventually(fun() -> lists:any(fun is_suspended/1, servants(Port)) end),
    Job.

echo(Pool, Timeout) ->
    Value = [large(), lists:seq(1, 1000000)],
    case py:call(Pool, probe, echo, [Value], #{}, Timeout) of
        {ok, Value} -> ok;
        {error, _} = Error -> Error
    end.

note(Pool, What, Timeout) -> py:call(Pool, erlang, call, [note, What, large()], #{}, Timeout).

large() -> binary:copy(<<255>>, 300000).

nothing_left(Port) ->
    py_test:eventually(fun() -> py_segments:in_use(Port) =:= 0 end),
    py_test:no_slots_taken().

is_suspended(Pid) -> process_info(Pid, status) =:= {status, suspended}.

%% The carriers of a port, and what sends for them.
servants(Port) ->
    Carriers = tuple_to_list(py_writer:carriers(Port)),
    {connected, Owner} = erlang:port_info(Port, connected),
    {links, Links} = process_info(Owner, links),
    Carriers ++ [Pid || Pid <- Links, is_pid(Pid), process_info(Pid, initial_call) =:= {initial_call, {py_sender, init, 2}}].

sender(Port) ->
    [Sender] = servants(Port) -- tuple_to_list(py_writer:carriers(Port)),
    Sender.

port(Pool) -> py_test:port_of(py_test:os_pid(Pool)).

segment_file(OsPid) ->
    Dir = "/proc/" ++ integer_to_list(OsPid) ++ "/fd",
    {ok, Names} = file:list_dir(Dir),
    [File] = [filename:join(Dir, Name) || Name <- Names,
                                          {ok, "/memfd:erlang_python" ++ _} <- [file:read_link(filename:join(Dir, Name))]],
    File.

%% What Python has called note with, in order.
noted() ->
    ?MODULE ! {noted, self()},
    receive {?MODULE, Noted} -> Noted end.

noting(Noted) ->
    receive
        {note, N} -> noting([N | Noted]);
        {noted, From} -> From ! {?MODULE, lists:reverse(Noted)}, noting([])
    end.
