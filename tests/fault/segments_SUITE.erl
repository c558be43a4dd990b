%% Memory that is shared with port processes which lie about it, or which die in the middle: the node is never harmed, and
%% nothing is left.
-module(segments_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(OURS, (1 bsl 36)).
-define(FILE_BYTES, (1 bsl 37)).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [malformed_segments, segments_of_nobody, more_than_may_wait, freed_by_a_liar, a_second_file, no_segment_file,
          content_that_changes, killed_ports, killed_callers, killed_carriers,
     functions_registered_while_a_pool_starts].

init_per_suite(Config) ->
    ok = py_test:start([{max_concurrent, 64}]),
    Config.
end_per_suite(_Config) -> py_test:stop().

end_per_testcase(_Case, _Config) ->
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ok.

%% Proves that only what lies in the port program's half of the file is a segment.
malformed_segments(_) ->
    Key = make_ref(),
    [?assertEqual({Parts, malformed}, {Parts, py_protocol:notice(t({18, Key, 7, Parts}))})
     || Parts <- [[], x, [x], [{0, 1}], [{?OURS - 1, 1}], [{?OURS, 0}], [{?OURS, -1}], [{?FILE_BYTES, 1}], [{?FILE_BYTES - 1, 2}],
                  [{?OURS, 1 bsl 70}], [{1 bsl 70, 1}], [{?OURS, 1} | x], [{?OURS, 1, 1}], [{?OURS + 0.0, 1}]]],
    [?assertEqual({Frame, malformed}, {Frame, py_protocol:notice(t(Frame))})
     || Frame <- [{18, x, 7, [{?OURS, 1}]}, {18, Key, x, [{?OURS, 1}]}, {18, Key, -1, [{?OURS, 1}]}, {18, Key, [{?OURS, 1}]},
                  {19, x}, {19, [-1]}, {19, [a]}, {17, x, 1}, {17, 1, -1}, {17, 1}]],
    ?assertMatch({{18, Key, 7, [{?OURS, 1}]}, _}, py_protocol:notice(t({18, Key, 7, [{?OURS, 1}]}))).

%% Proves that segments that belong to no answer change nothing.
segments_of_nobody(_) ->
    py_test:with_pool(2, #{}, fun(Pool) ->
        Frames = [{bytes, t({18, Key, 7, [{?OURS, 100}]})} || Key <- [make_ref(), 5, -5]],
        ?assertMatch({ok, _}, py:call(Pool, hostile, frames, [Frames])),
        ?assertEqual({ok, 4.0}, py:call(Pool, math, sqrt, [16]))
    end).

%% Proves that a port process cannot make the node read more than may wait, in one value or in many.
more_than_may_wait(_) ->
    Before = erlang:memory(total),
    [py_test:with_pool(1, #{}, fun(Pool) ->
         ?assertEqual({error, {context_died, {killed, bad_frame}}}, py:call(hd(py_test:contexts(Pool)), hostile, endless, [{bytes, t(Frame)}], #{timeout => 60000}))
     end) || Frame <- [{18, make_ref(), 7, [{?OURS, 1 bsl 32}]}, {18, make_ref(), 7, [{?OURS, 60 bsl 20}]},
                       {18, -3, 7, [{?OURS, 60 bsl 20}]}]],
    py_test:eventually(fun() ->
        [erlang:garbage_collect(Pid) || Pid <- processes()],
        erlang:memory(total) < Before + (200 bsl 20)
    end).

%% Proves that what was never lent cannot be given back, or twice.
freed_by_a_liar(_) ->
    [py_test:with_pool(1, #{}, fun(Pool) ->
         ?assertEqual({Offset, {error, {context_died, {killed, bad_frame}}}},
                      {Offset, py:call(Pool, hostile, frame_and_wait, [{bytes, t({19, [Offset]})}])})
     end) || Offset <- [0, 4096, ?OURS, ?FILE_BYTES]].

%% Proves that a file is opened before any code of users runs, and never again.
a_second_file(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        OsPid = py_test:os_pid(Pool),
        ?assertEqual({error, {context_died, {killed, bad_frame}}},
                     py:call(Pool, hostile, frame_and_wait, [{bytes, t({17, OsPid, 0})}]))
    end).

%% Proves that what is no segment file is not taken for one, and that opening it does not hang: a pipe, a device, a directory,
%% an ordinary file.
no_segment_file(_) ->
    Fifo = py_test:temp_file("fifo"),
    Plain = py_test:temp_file("plain"),
    _ = os:cmd("mkfifo " ++ Fifo),
    ok = file:write_file(Plain, <<"text">>),
    [?assertMatch({Path, {error, _}}, {Path, py_carrier:start_link(hd(erlang:ports()), Path, 0, 4096, {atomics:new(2, []), 1, 1})})
     || Path <- [Fifo, Plain, "/dev/null", "/tmp", "/nowhere/at/all"]],
    ?assertEqual({ok, <<"text">>}, file:read_file(Plain)).

%% Proves that what Erlang has read does not change any more, whatever the port process writes there.
content_that_changes(_) ->
    py_test:with_pool(2, #{}, fun(Pool) ->
        [One, Other] = py_test:contexts(Pool),
        ok = py:exec(One, <<"import mmap, os\n\ndef overwrite(times):\n"
                             "    fd = next(int(n) for n in os.listdir('/proc/self/fd')\n"
                             "              if 'memfd:erlang_python' in os.readlink('/proc/self/fd/' + n))\n"
                             "    with mmap.mmap(fd, 1 << 22, offset=1 << 36) as memory:\n"
                             "        for i in range(times):\n"
                             "            memory[:] = bytes([i % 256]) * (1 << 22)\n"
                             "    return times\n">>),
        Job = py_test:async(fun() -> [py:eval(Other, <<"bytes(300000)">>) || _ <- lists:seq(1, 200)] end),
        ?assertEqual({ok, 100}, py:call(One, '__main__', overwrite, [100])),
        Values = py_test:join(Job),
        Hashes = [erlang:phash2(Value) || Value <- Values],
        [?assertMatch({ok, <<_:300000/binary>>}, Value) || Value <- Values],
        ?assertEqual(Hashes, [erlang:phash2(Value) || Value <- Values])
    end).

%% Proves that nothing is left on either side after 10,000 transfers, while port processes are killed 100 times.
killed_ports(_) ->
    Value = binary:copy(<<255>>, 150000),
    Files = segment_files(),
    Carriers = carriers(),
    Done = counters:new(1, []),
    %% A pool whose port processes die again and again waits longer and longer before it starts one.
    [py_test:with_pool(2, #{}, fun(Pool) ->
        Jobs = [py_test:async(fun() -> transfer(Pool, Value, Done, 50) end) || _ <- lists:seq(1, 8)],
        Killer = py_test:async(fun() -> kill_ports(Pool, 4) end),
        [py_test:join(Job) || Job <- Jobs],
        py_test:join(Killer),
        py_test:answers(Pool),
        ?assert({ok, Value} =:= py:call(Pool, probe, echo, [Value])),
        py_test:eventually(fun() -> in_use(Pool) =:= 0 end)
    end) || _ <- lists:seq(1, 25)],
    ?assertEqual(10000, counters:get(Done, 1)),
    py_test:eventually(fun() -> segment_files() =:= Files end),
    py_test:eventually(fun() -> carriers() =:= Carriers end),
    py_test:no_slots_taken().

transfer(_Pool, _Value, _Done, 0) ->
    ok;
transfer(Pool, Value, Done, N) ->
    case py:call(Pool, probe, echo, [Value]) of
        {ok, Same} -> ?assert(Same =:= Value);
        {error, {context_died, _}} -> ok
    end,
    ok = counters:add(Done, 1, 1),
    transfer(Pool, Value, Done, N - 1).

kill_ports(_Pool, 0) ->
    ok;
kill_ports(Pool, N) ->
    py_test:eventually(fun() -> is_integer(catch py_test:os_pid(Pool)) end),
    _ = catch py_test:signal(py_test:os_pid(Pool), "KILL"),
    timer:sleep(20),
    kill_ports(Pool, N - 1).

%% Proves the same of callers.
killed_callers(_) ->
    py_test:with_pool(2, #{}, fun(Pool) ->
        Value = binary:copy(<<255>>, 1 bsl 20),
        [begin
             Callers = [spawn(fun() -> forever(Pool, Value) end) || _ <- lists:seq(1, 8)],
             timer:sleep(rand:uniform(20)),
             [exit(Caller, kill) || Caller <- Callers]
         end || _ <- lists:seq(1, 30)],
        py_test:no_slots_taken(),
        py_test:eventually(fun() -> in_use(Pool) =:= 0 end),
        ?assert({ok, Value} =:= py:call(Pool, probe, echo, [Value]))
    end).

forever(Pool, Value) ->
    _ = py:call(Pool, probe, echo, [Value]),
    forever(Pool, Value).

%% Proves that a pool whose carriers were killed starts again.
killed_carriers(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        [exit(Carrier, kill) || Carrier <- tuple_to_list(py_writer:carriers(port(Pool)))],
        py_test:answers(Pool),
        Value = binary:copy(<<255>>, 1 bsl 20),
        ?assert({ok, Value} =:= py:call(Pool, probe, echo, [Value]))
    end).

%% Those that this node has open.
segment_files() ->
    {ok, Names} = file:list_dir("/proc/self/fd"),
    length([Name || Name <- Names, {ok, "/memfd:erlang_python" ++ _} <- [file:read_link("/proc/self/fd/" ++ Name)]]).

carriers() ->
    length([Pid || Pid <- processes(), {dictionary, Words} <- [process_info(Pid, dictionary)],
                   proplists:get_value('$initial_call', Words) =:= {py_carrier, init, 1}]).

in_use(Pool) -> py_segments:in_use(port(Pool)).

port(Pool) -> py_test:port_of(py_test:os_pid(Pool)).

t(Term) -> term_to_binary(Term).

%% Proves that what a port process is told before it knows whether it shares memory is not lost, nor taken for the answer.
functions_registered_while_a_pool_starts(_) ->
    _ = [begin
             Start = {Starting, _} = py_test:async(fun() -> py_test:start_pool(1, #{}) end),
             Names = register_until_dead(Starting, []),
             Pool = py_test:join(Start),
             [Ctx] = py_test:contexts(Pool),
             #{Pool := #{shared_memory := Shared}} = py:stats(),
             ?assert(is_integer(Shared)),
             ?assertEqual({ok, 1}, py:call(Ctx, erlang, call, [hd(Names), 1])),
             _ = [ok = py:unregister_function(Name) || Name <- Names],
             ok = py_test:stop_pool(Pool)
         end || _ <- lists:seq(1, 3)],
    ok.

register_until_dead(Pid, Names) ->
    Name = iolist_to_binary(["while_it_starts_", integer_to_list(length(Names))]),
    ok = py:register_function(Name, fun([X]) -> X end),
    case is_process_alive(Pid) of
        true -> timer:sleep(1), register_until_dead(Pid, [Name | Names]);
        false -> [Name | Names]
    end.
