%% Death is contained: Python ends its process in every way there is, and nobody else notices.
-module(death_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [segmentation_fault, abort, exit_with_status, exit_with_success, killed_from_outside, terminated_from_outside,
     stack_overflow, out_of_memory, segmentation_fault_in_owngil, every_caller_is_told, other_pools_do_not_notice,
     casts_are_told, next_call_works, default_pool_recovers, death_is_logged_with_last_words, a_crash_is_one_report, a_crash_that_is_none,
     pool_that_dies_again_and_again, pool_that_cannot_start_again, isolated_context_dies_alone,
     own_context_dies_alone, contexts_are_replaced, no_zombies, large_request_in_flight].

init_per_suite(Config) -> ok = py_test:start([{max_concurrent, 200}]), Config.
end_per_suite(_Config) -> py_test:stop().

%% Proves that a segmentation fault comes as that signal.
segmentation_fault(_) -> dies_of({signal, sigsegv}, fun(Pool) -> py:call(Pool, trouble, segfault, []) end).

%% Proves that abort comes as that signal.
abort(_) -> dies_of({signal, sigabrt}, fun(Pool) -> py:call(Pool, trouble, abort, []) end).

%% Proves that an exit behind the port's back comes with its status.
exit_with_status(_) ->
    _ = [dies_of({exit_status, Status}, fun(Pool) -> py:call(Pool, trouble, leave, [Status]) end)
         || Status <- [1, 3, 127]],
    ok.

%% Proves the same of an exit that claims success.
exit_with_success(_) -> dies_of({exit_status, 0}, fun(Pool) -> py:call(Pool, trouble, leave, [0]) end).

%% Proves that a process killed from outside comes as that signal.
killed_from_outside(_) -> dies_of({signal, sigkill}, fun(Pool) -> signalled(Pool, "KILL") end).

%% Proves the same of a polite signal.
terminated_from_outside(_) -> dies_of({signal, sigterm}, fun(Pool) -> signalled(Pool, "TERM") end).

signalled(Pool, Signal) ->
    OsPid = py_test:os_pid(Pool),
    Job = py_test:waiting(Pool, 600),
    py_test:signal(OsPid, Signal),
    py_test:join(Job).

%% Proves that an overflow of the C stack is a segmentation fault of that process, nothing more.
stack_overflow(_) -> dies_of({signal, sigsegv}, fun(Pool) -> py:call(Pool, trouble, overflow_stack, []) end).

%% Proves that C++ code that gets no memory ends the process, and that the log says that this is why.
out_of_memory(_) ->
    Id = py_test_log:collect(),
    dies_of({signal, sigabrt}, fun(Pool) -> py:call(Pool, trouble, more_than_there_is, []) end),
    _ = py_test_log:wait("the port program is out of memory: the operating system refuses"),
    py_test_log:stop(Id).

%% Proves that a crash in an interpreter with its own GIL is the same.
segmentation_fault_in_owngil(_) ->
    py_test_modes:with_owngil(fun() ->
        dies_of({signal, sigsegv}, #{mode => owngil}, fun(Pool) -> py:call(Pool, trouble, overflow_stack, []) end)
    end).

dies_of(Why, Fun) -> dies_of(Why, #{}, Fun).

dies_of(Why, Opts, Fun) ->
    py_test:with_pool(2, Opts, fun(Pool) ->
        Before = py_test:os_pid(Pool),
        ?assertEqual({error, {context_died, Why}}, Fun(Pool)),
        py_test:answers(Pool),
        ?assertNotEqual(Before, py_test:os_pid(Pool)),
        py_test:eventually(fun() -> not py_test:alive(Before) end)
    end).

%% Proves that all callers in flight, running and queued in every context, are told the same cause.
every_caller_is_told(_) ->
    py_test:with_pool(2, #{max_concurrent => 100}, fun(Pool) ->
        OsPid = py_test:os_pid(Pool),
        Running = [py_test:waiting(Ctx, 600) || Ctx <- py_test:contexts(Pool)],
        Queued = [py_test:async(fun() -> py:call(Ctx, probe, echo, [N]) end)
                  || N <- lists:seq(1, 40), Ctx <- py_test:contexts(Pool)],
        py_test:eventually(fun() -> py_semaphore:current(Pool) =:= 82 end),
        py_test:signal(OsPid, "SEGV"),
        ?assertEqual([{error, {context_died, {signal, sigsegv}}}],
                     lists:usort([py_test:join(Job) || Job <- Running ++ Queued])),
        py_test:no_slots_taken()
    end).

%% Proves that calls, casts and namespaces of another pool go on as if nothing had happened.
other_pools_do_not_notice(_) ->
    Default = py_test:os_pid(default),
    ok = py:exec(<<"kept = 'still here'">>),
    Slow = py_test:waiting(default, 1),
    Steady = py_test:async(fun() -> [py:call(default, probe, echo, [N]) || N <- lists:seq(1, 2000)] end),
    _ = [py_test:with_pool(1, #{}, fun(Pool) -> {error, {context_died, _}} = py:call(Pool, trouble, segfault, []) end)
         || _ <- [1, 2, 3]],
    ?assertEqual([{ok, N} || N <- lists:seq(1, 2000)], py_test:join(Steady)),
    ?assertEqual({ok, <<"waited">>}, py_test:join(Slow)),
    ?assertEqual({ok, <<"still here">>}, py:eval(<<"kept">>)),
    ?assertEqual(Default, py_test:os_pid(default)).

%% Proves that casts are told as well.
casts_are_told(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        [Ctx] = py_test:contexts(Pool),
        Refs = [py:cast(Ctx, probe, wait_gate, [<<"never">>]) || _ <- [1, 2, 3]],
        py_test:eventually(fun() -> py_semaphore:current(Pool) =:= 3 end),
        py_test:signal(busy_os_pid(Pool), "KILL"),
        ?assertEqual([{error, {context_died, {signal, sigkill}}}], lists:usort([py:await(Ref) || Ref <- Refs]))
    end).

%% The only context is busy, so the OS process cannot be asked for its number.
busy_os_pid(Pool) -> maps:get(os_pid, maps:get(Pool, py:stats())).

%% Proves that the calls right after a death wait for or find the new process, time after time.
next_call_works(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        _ = [begin
                 {error, {context_died, {exit_status, 9}}} = py:call(Pool, trouble, leave, [9]),
                 py_test:answers(Pool),
                 ?assertEqual({ok, N}, py:call(Pool, probe, echo, [N]))
             end || N <- [1, 2]],
        ok
    end).

%% Proves that the default pool comes back too, for routed calls and for processes that held a namespace there.
default_pool_recovers(_) ->
    ok = py:exec(<<"lost = 1">>),
    Io = py_test:os_pid(io),
    {error, {context_died, {signal, sigabrt}}} = py:call(trouble, abort, []),
    py_test:answers(default),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ?assertMatch({error, {'NameError', _}}, py:eval(<<"lost">>)),
    ok = py:exec(<<"found = 2">>),
    ?assertEqual({ok, 2}, py:eval(<<"found">>)),
    ?assertEqual(Io, py_test:os_pid(io)).

%% Proves that the log says which pool died, of what, and what it wrote last.
death_is_logged_with_last_words(_) ->
    Log = py_test_log:collect(),
    try
        py_test:with_pool(1, #{}, fun(Pool) ->
            Words = atom_to_binary(py_test:unique(last_words)),
            Ctx = py_context_router:get_context(Pool),
            {ok, _} = py:call(Ctx, trouble, say, [Words]),
            {error, _} = py:call(Ctx, trouble, segfault, []),
            Death = death_event(atom_to_list(Pool)),
            ?assertNotEqual(nomatch, string:find(Death, Words)),
            py_test:answers(Pool)
        end)
    after
        py_test_log:stop(Log)
    end.

death_event(Pool) ->
    receive
        {py_test_log, Event} ->
            Text = py_test_log:text(Event),
            case [Part || Part <- [Pool, "sigsegv"], string:find(string:lowercase(Text), Part) =/= nomatch] of
                [_, _] -> Text;
                _ -> death_event(Pool)
            end
    end.

%% Proves that a crash is one report: what faulthandler says of it stands there and nowhere else.
a_crash_is_one_report(_) ->
    Log = py_test_log:collect(),
    try
        py_test:with_pool(1, #{}, fun(Pool) ->
            {error, _} = py:call(Pool, trouble, segfault, []),
            py_test:answers(Pool),
            %% Lines come in order: all that is said of the crash is there by now.
            ok = py:exec(Pool, "print('afterwards')"),
            Before = events_until("afterwards"),
            [{error, Report}] = [Event || Event = {_, Text} <- Before, re:run(Text, "segfault|Fatal|File|SIGSEGV|" ++ atom_to_list(Pool)) =/= nomatch],
            _ = [?assertMatch({match, _}, re:run(Report, Part))
                 || Part <- [atom_to_list(Pool), "SIGSEGV", "Fatal Python error: Segmentation fault", "trouble.py", "in segfault"]]
        end)
    after
        py_test_log:stop(Log)
    end.

events_until(Part) ->
    receive
        {py_test_log, Event = #{level := Level}} ->
            Text = py_test_log:text(Event),
            case string:find(Text, Part) of
                nomatch -> [{Level, Text} | events_until(Part)];
                _ -> []
            end
    end.

%% Proves that a process that only says that it crashes is believed for a while, and its lines come all the same.
a_crash_that_is_none(_) ->
    Log = py_test_log:collect(),
    try
        py_test:with_pool(1, #{}, fun(Pool) ->
            ok = py:exec(Pool, "import os\nos.write(2, b'Fatal Python error: not at all\\nmore of it\\n')"),
            ?assertMatch(#{level := warning}, py_test_log:wait("Fatal Python error: not at all")),
            ?assertMatch(#{level := warning}, py_test_log:wait("more of it")),
            py_test:answers(Pool)
        end)
    after
        py_test_log:stop(Log)
    end.

%% Proves that a pool that dies again and again leaves the application and the other pools up, and works once it is
%% left in peace.
pool_that_dies_again_and_again(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        _ = [begin
                 Result = py:call(Pool, trouble, leave, [N]),
                 ?assertMatch({error, _}, Result)
             end || N <- lists:seq(1, 30)],
        ?assert(lists:keymember(erlang_python, 1, application:which_applications())),
        ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
        py_test:answers(Pool)
    end).

%% Proves that a pool that cannot start again fails its calls fast and says so in the log, the application stays up,
%% and the pool recovers when the cause is gone.
pool_that_cannot_start_again(_) ->
    Log = py_test_log:collect(),
    Flag = py_test:temp_file("broken"),
    Preload = iolist_to_binary(["import os\nif os.path.exists('", Flag, "'):\n    os._exit(11)\n"]),
    try
        py_test:with_pool(1, #{preload => Preload}, fun(Pool) ->
            ok = file:write_file(Flag, <<>>),
            {error, {context_died, _}} = py:call(Pool, trouble, leave, [1]),
            %% No timeout is given, so each of these returns only because the pool is known to be down.
            _ = [?assertMatch({error, _}, py:call(Pool, probe, echo, [N])) || N <- lists:seq(1, 200)],
            _ = py_test_log:wait(atom_to_list(Pool)),
            timer:sleep(1000),
            ?assert(lists:keymember(erlang_python, 1, application:which_applications())),
            ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
            ok = file:delete(Flag),
            py_test:answers(Pool)
        end)
    after
        py_test_log:stop(Log),
        file:delete(Flag)
    end.

%% Proves that with isolation => context the death of one context's process leaves the others with their calls and
%% state.
isolated_context_dies_alone(_) ->
    py_test:with_pool(3, #{isolation => context}, fun(Pool) ->
        [Victim | Others] = py_test:contexts(Pool),
        _ = [ok = py_context:exec(Ctx, <<"kept = 1">>) || Ctx <- Others],
        Busy = [py_test:waiting(Ctx, 1) || Ctx <- Others],
        ?assertEqual({error, {context_died, {signal, sigsegv}}}, py:call(Victim, trouble, segfault, [])),
        _ = [?assertEqual({ok, <<"waited">>}, py_test:join(Job)) || Job <- Busy],
        ?assertEqual([{ok, 1}, {ok, 1}], [py_context:eval(Ctx, <<"kept">>) || Ctx <- Others]),
        py_test:eventually(fun() -> length(py_test:contexts(Pool)) =:= 3 andalso
                                    not lists:member(Victim, py_test:contexts(Pool)) end),
        ?assertEqual([{ok, 2}], lists:usort([py:call(Ctx, probe, echo, [2]) || Ctx <- py_test:contexts(Pool)]))
    end).

%% Proves that a context of its own process, made by a user, dies alone.
own_context_dies_alone(_) ->
    {ok, Stays} = py_context:new(#{}),
    {ok, Dies} = py_context:new(#{memory_limit => 4 bsl 30}),
    {error, {context_died, {exit_status, 5}}} = py:call(Dies, trouble, leave, [5]),
    ?assertEqual({ok, 1}, py:call(Stays, probe, echo, [1])),
    ?assertMatch({error, {context_died, _}}, py:call(Dies, probe, echo, [1])),
    ok = py_context:stop(Stays).

%% Proves that after a death the pool has all its contexts again, with what preload makes.
contexts_are_replaced(_) ->
    py_test:with_pool(3, #{preload => <<"n = 5">>}, fun(Pool) ->
        {error, {context_died, _}} = py:call(Pool, trouble, abort, []),
        py_test:answers(Pool),
        Contexts = py_test:contexts(Pool),
        ?assertEqual([{ok, 5}, {ok, 5}, {ok, 5}], [py_context:eval(Ctx, <<"n">>) || Ctx <- Contexts]),
        ?assertEqual(3, length(lists:usort([py:call(Ctx, probe, thread, []) || Ctx <- Contexts])))
    end).

%% Proves that neither the dead process nor its children stay behind.
no_zombies(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        Ctx = py_context_router:get_context(Pool),
        {ok, Child} = py:eval(Ctx, <<"__import__('subprocess').Popen(['sleep', '600']).pid">>),
        OsPid = py_test:os_pid(Pool),
        ?assert(py_test:alive(Child)),
        {error, {context_died, _}} = py:call(Ctx, trouble, abort, []),
        py_test:eventually(fun() -> not py_test:alive(OsPid) end),
        py_test:eventually(fun() -> not py_test:alive(Child) end)
    end).

%% Proves that a death in the middle of a large request or reply is an error to its caller and to nobody else.
large_request_in_flight(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        Large = binary:copy(<<"x">>, 30 bsl 20),
        Jobs = [py_test:async(fun() -> py:call(Pool, probe, echo, [Large]) end) || _ <- [1, 2, 3]],
        _ = py:call(Pool, trouble, leave, [1]),
        _ = [case py_test:join(Job) of
                 {ok, Large} -> ok;
                 {error, {context_died, {exit_status, 1}}} -> ok
             end || Job <- Jobs],
        py_test:answers(Pool),
        ?assert({ok, Large} =:= py:call(Pool, probe, echo, [Large]))
    end).
