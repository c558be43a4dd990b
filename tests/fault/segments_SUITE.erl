%% Memory that is shared with port processes which lie about it, or which die in the middle: the node is never harmed, and
%% nothing is left. Those who write and read there are in carriers_SUITE, the file is in segment_file_SUITE.
-module(segments_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(OURS, (1 bsl 36)).
-define(FILE_BYTES, (1 bsl 37)).
-define(LARGE, 131072).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [malformed_segments, segments_of_nobody, more_than_may_wait, frames_that_wait, out_of_turn, freed_by_a_liar,
          freed_without_end, an_answer_of_no_carrier, content_that_changes, killed_ports, killed_callers].

init_per_suite(Config) ->
    ok = py_test:start([{max_concurrent, 64}]),
    Config.
end_per_suite(_Config) -> py_test:stop().

init_per_testcase(_Case, Config) ->
    [{log, py_test_log:collect()} | Config].

end_per_testcase(_Case, Config) ->
    ok = py_test_log:stop(proplists:get_value(log, Config)),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ok.

%% Proves that only what lies in the port program's half of the file, and is large, is a segment.
malformed_segments(_) ->
    Key = make_ref(),
    [?assertEqual({Parts, malformed}, {Parts, py_protocol:notice(t({18, Key, 7, Parts}))})
     || Parts <- [[], x, [x], [{0, ?LARGE}], [{?OURS - 1, ?LARGE}], [{?OURS, 0}], [{?OURS, -1}], [{?OURS, ?LARGE - 1}],
                  [{?FILE_BYTES, ?LARGE}], [{?FILE_BYTES - 1, ?LARGE}], [{?OURS, 1 bsl 70}], [{1 bsl 70, ?LARGE}],
                  [{?OURS, ?LARGE} | x], [{?OURS, ?LARGE, 1}], [{?OURS + 0.0, ?LARGE}]]],
    Good = [{?OURS, ?LARGE}],
    [?assertEqual({Frame, malformed}, {Frame, py_protocol:notice(t(Frame))})
     || Frame <- [{18, x, 7, Good}, {18, 0, 7, Good}, {18, Key, x, Good}, {18, Key, -1, Good}, {18, Key, Good},
                  {19, x}, {19, []}, {19, [-1]}, {19, [a]}, {17, x, 1}, {17, 1, -1}, {17, 1, some}, {17, 1}]],
    ?assertMatch({{18, Key, 7, Good}, _}, py_protocol:notice(t({18, Key, 7, Good}))).

%% Proves that segments that belong to no answer change nothing.
segments_of_nobody(_) ->
    py_test:with_pool(2, #{}, fun(Pool) ->
        Frames = [{bytes, t({18, Key, 7, [{?OURS, ?LARGE}]})} || Key <- [make_ref(), 5, -5]],
        ?assertMatch({ok, _}, py:call(Pool, hostile, frames, [Frames])),
        ?assertEqual({ok, 4.0}, py:call(Pool, math, sqrt, [16]))
    end).

%% Proves that a port process cannot make the node read more than may wait, in one value or in many.
more_than_may_wait(_) ->
    Before = erlang:memory(total),
    Values = [{18, make_ref(), 7, [{?OURS, 1 bsl 32}]}, {18, make_ref(), 7, lists:duplicate(3, {?OURS, 30 bsl 20})}],
    [ends(endless, [{bytes, t(Frame)}], "larger values than may wait") || Frame <- Values],
    Many = [[{bytes, t({18, Key, 7, [{?OURS, 60 bsl 20}]})} || Key <- Keys]
            || Keys <- [[make_ref() || _ <- lists:seq(1, 9)], lists:seq(-9, -1)]],
    [ends(frames_and_wait, [Frames], "larger values than may wait") || Frames <- Many],
    py_test:eventually(fun() ->
        [erlang:garbage_collect(Pid) || Pid <- processes()],
        erlang:memory(total) < Before + (200 bsl 20)
    end).

%% Proves that frames that wait for large binaries are bounded by what the node keeps for them, however small they are.
frames_that_wait(_) ->
    Key = make_ref(),
    %% Nothing more of this key goes on before the end of the value to which they belong.
    Before = erlang:memory(total),
    First = [{bytes, t({18, Key, 7, [{?OURS, ?LARGE}]})}],
    ends(frames_and_endless, [First, {bytes, <<(t({2, Key}))/binary, "piece">>}], "more than"),
    ?assert(erlang:memory(total) < Before + (400 bsl 20)).

%% Proves that segments for a value whose segments have come already are the end of a port process, and so is the message
%% that no honest one would send with them.
out_of_turn(_) ->
    Parts = [{?OURS, ?LARGE}],
    Key = make_ref(),
    After = "segments after segments",
    [ends(frames_and_wait, [[{bytes, t(Frame)} || Frame <- Frames]], Text)
     || {Frames, Text} <- [{[{18, -3, 7, Parts}, {18, -3, 7, Parts}, {14, -3}], After},
                           {[{18, Key, 7, Parts}, {18, Key, 7, Parts}], After},
                           {[{18, Key, 7, Parts}, {2, Key}, {18, Key, 7, Parts}], After},
                           {[{18, 5, 7, Parts}, {14, 5}], "malformed"},
                           {[{18, 5, 7, Parts}, {18, 5, 7, Parts}, {13, 5}, {14, 5}], After}]].

%% Proves that what was never lent cannot be given back, or twice.
freed_by_a_liar(_) ->
    [ends(frame_and_wait, [{bytes, t({19, [Offset]})}], "segments given back that it does not have")
     || Offset <- [0, 4096, ?OURS, ?FILE_BYTES]].

%% Proves that giving back, in lists as long as a frame, ends at once and fills no mailbox.
freed_without_end(_) ->
    ends(endless, [{bytes, t({19, lists:seq(1, 100000)})}], "segments given back that it does not have"),
    ends(endless, [{bytes, t({19, []})}], "malformed").

%% Proves that a message that looks like a carrier's ends nothing.
an_answer_of_no_carrier(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        OsPid = py_test:os_pid(Pool),
        Owner = py_test:owner_of(OsPid),
        [Owner ! {py_carried, make_ref(), Read} || Read <- [error, [<<"binary">>], x]],
        Value = binary:copy(<<255>>, 1 bsl 20),
        ?assert({ok, Value} =:= py:call(Pool, probe, echo, [Value])),
        ?assertEqual(OsPid, py_test:os_pid(Pool))
    end).

%% Proves that what Erlang has read does not change any more, whatever the port process writes there; and that it was there.
content_that_changes(_) ->
    py_test:with_pool(2, #{}, fun(Pool) ->
        [One, Other] = py_test:contexts(Pool),
        ok = py:exec(One, <<"import mmap, os\n\n"
                            "fd = next(int(n) for n in os.listdir('/proc/self/fd')\n"
                            "          if 'memfd:erlang_python' in os.path.realpath('/proc/self/fd/' + n))\n"
                            "memory = mmap.mmap(fd, 1 << 22, offset=1 << 36)\n\n"
                            "def holds(part):\n"
                            "    return memory.find(part) >= 0\n\n"
                            "def overwrite(times):\n"
                            "    for i in range(times):\n"
                            "        memory[:] = bytes([i % 256]) * (1 << 22)\n"
                            "    return times\n">>),
        {ok, Marked} = py:eval(Other, <<"b'\\xffmarked' * 50000">>),
        Whole = binary:copy(<<255, "marked">>, 50000),
        ?assert(Marked =:= Whole),
        %% The value was there, and is there no more.
        ?assertEqual({ok, true}, py:call(One, '__main__', holds, [{bytes, binary:part(Whole, 0, 1000)}])),
        ?assertEqual({ok, 1}, py:call(One, '__main__', overwrite, [1])),
        ?assertEqual({ok, false}, py:call(One, '__main__', holds, [{bytes, binary:part(Whole, 0, 1000)}])),
        ?assert(Marked =:= Whole),
        %% While it is overwritten, each value is some bytes, and stays what it is.
        Job = py_test:async(fun() -> [py:eval(Other, <<"bytes(300000)">>) || _ <- lists:seq(1, 200)] end),
        ?assertEqual({ok, 100}, py:call(One, '__main__', overwrite, [100])),
        Values = py_test:join(Job),
        Hashes = [erlang:phash2(Value) || Value <- Values],
        [?assertMatch({ok, <<_:300000/binary>>}, Value) || Value <- Values],
        ?assertEqual({ok, 100}, py:call(One, '__main__', overwrite, [100])),
        ?assertEqual(Hashes, [erlang:phash2(Value) || Value <- Values])
    end).

%% Proves that nothing is left on either side after 10,000 transfers, while port processes are killed 100 times.
killed_ports(_) ->
    Value = binary:copy(<<255>>, 150000),
    Files = segment_files(),
    Servants = servants(),
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
    py_test:eventually(fun() -> servants() =:= Servants end),
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

%% Helpers.

%% The function writes frames that end its port process, for this reason.
ends(Function, Args, Text) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        ?assertEqual({Args, {error, {context_died, {killed, bad_frame}}}},
                     {Args, py:call(hd(py_test:contexts(Pool)), hostile, Function, Args, #{timeout => 60000})}),
        Event = py_test_log:wait(["pool ", atom_to_list(Pool), " is killed"]),
        ?assertMatch({_, <<_/binary>>}, {py_test_log:text(Event), string:find(py_test_log:text(Event), Text)})
    end).

%% Those that this node has open.
segment_files() ->
    {ok, Names} = file:list_dir("/proc/self/fd"),
    length([Name || Name <- Names, {ok, "/memfd:erlang_python" ++ _} <- [file:read_link("/proc/self/fd/" ++ Name)]]).

%% Carriers, and those who send what they have written.
servants() ->
    length([Pid || Pid <- processes(), is_servant(process_info(Pid, [initial_call, dictionary]))]).

is_servant([{initial_call, {py_sender, init, 2}}, _]) -> true;
is_servant([_, {dictionary, Words}]) -> proplists:get_value('$initial_call', Words) =:= {py_carrier, init, 1};
is_servant(undefined) -> false.

in_use(Pool) -> py_segments:in_use(py_test:port_of(py_test:os_pid(Pool))).

t(Term) -> term_to_binary(Term).
