%% Contexts as Erlang processes: their life, their thread, their interpreter, interrupting them.
-module(context_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 4}}].

all() ->
    [start_link_and_stop, start_link_with_options, linked_to_its_starter, new_and_destroy, monitored, supervised,
     unknown_mode, unknown_option, wrong_memory_limit, subinterpreters, numbers_of_contexts, one_thread_for_life,
     threads_have_names, a_parked_thread_has_a_name,
     owngil_shares_no_modules, owngil_contexts_run_side_by_side, stopped_owngil_context_leaves_nothing,
     refusing_extension_is_named, preloaded_context,
     context_with_memory_limit_has_its_own_process, calls_in_arrival_order, call_forms, interrupt_running,
     interrupt_when_idle, interrupt_does_not_leak, interrupt_queued_survive, queued_timeout_touches_nobody,
     interrupt_through_py_context, thousand_worker_contexts, two_hundred_owngil_contexts, stop_while_busy].

init_per_suite(Config) -> ok = py_test:start([{max_concurrent, 100}]), Config.
end_per_suite(_Config) -> py_test:stop().

%% Proves that the operating system shows the thread of each context by its number.
threads_have_names(_) ->
    _ = [py_test:with_pool(2, Options, fun(Pool) ->
        Names = [Name || Ctx <- py_test:contexts(Pool), {ok, Name} <- [py:call(Ctx, probe, thread_name, [])]],
        ?assertMatch([<<"py_ctx_", _/binary>>, <<"py_ctx_", _/binary>>], Names),
        ?assertEqual(not is_map_key(isolation, Options), length(lists:usort(Names)) =:= 2)
    end) || Options <- [#{isolation => context}, #{sandbox => strict} | [#{mode => Mode} || Mode <- py_test_modes:supported()]]],
    ok.

%% Proves that the thread of an interpreter that waits to be used again says so, and then has the name of its context.
a_parked_thread_has_a_name(_) ->
    case {py_test_modes:supported(), py:eval(<<"__import__('sys').version_info < (3, 14)">>)} of
        {[worker, owngil], {ok, true}} ->
            py_test:with_context(#{}, fun(Keeper) ->
                Parked = fun() -> element(2, py:call(Keeper, probe, threads_named, [<<"py_parked">>])) end,
                {ok, Ctx} = py_context:new(#{mode => owngil}),
                Before = Parked(),
                ok = py_context:stop(Ctx),
                py_test:eventually(fun() -> Parked() =:= Before + 1 end),
                py_test:with_context(#{mode => owngil}, fun(Next) ->
                    ?assertMatch({ok, <<"py_ctx_", _/binary>>}, py:call(Next, probe, thread_name, [])),
                    ?assertEqual(Before, Parked())
                end)
            end);
        _ ->
            {skip, "interpreters are ended here, or there are none"}
    end.

%% Proves that a context can be started by hand, answers, and ends with stop.
start_link_and_stop(_) ->
    {ok, Ctx} = py_context:start_link(100, worker),
    ?assertEqual({ok, 4.0}, py:call(Ctx, math, sqrt, [16])),
    ?assertEqual({ok, 4.0}, py_context:call(Ctx, math, sqrt, [16])),
    Monitor = monitor(process, Ctx),
    ok = py_context:stop(Ctx),
    receive {'DOWN', Monitor, process, Ctx, normal} -> ok end.

%% Proves that start_link/3 takes the options of new/1.
start_link_with_options(_) ->
    {ok, Ctx} = py_context:start_link(py_test:unique(ctx), worker, #{preload => <<"n = 5">>}),
    ?assertEqual({ok, 5}, py_context:eval(Ctx, <<"n">>)),
    ok = py_context:stop(Ctx).

%% Proves that a linked context ends with its starter.
linked_to_its_starter(_) ->
    Parent = self(),
    Starter = spawn(fun() ->
        {ok, Ctx} = py_context:start_link(101, worker),
        Parent ! {context, Ctx},
        receive never -> ok end
    end),
    Ctx = receive {context, C} -> C end,
    Monitor = monitor(process, Ctx),
    {ok, 1} = py:call(Ctx, probe, echo, [1]),
    exit(Starter, kill),
    receive {'DOWN', Monitor, process, Ctx, _} -> ok end,
    ?assertMatch({error, {context_died, _}}, py:call(Ctx, probe, echo, [1])).

%% Proves that new and destroy make and end a context, and that ending it twice is harmless.
new_and_destroy(_) ->
    {ok, Ctx} = py_context:new(#{mode => worker}),
    ?assertEqual({ok, 1}, py:call(Ctx, probe, echo, [1])),
    ok = py_context:destroy(Ctx),
    ?assertNot(is_process_alive(Ctx)),
    _ = py_context:destroy(Ctx),
    ok.

%% Proves that whoever monitors a context learns that its process died, and of what.
monitored(_) ->
    {ok, Ctx} = py_context:new(#{}),
    Monitor = monitor(process, Ctx),
    {error, {context_died, {exit_status, 3}}} = py:call(Ctx, trouble, leave, [3]),
    receive {'DOWN', Monitor, process, Ctx, Reason} -> ?assertNotEqual(normal, Reason) end.

%% Proves that a context can be a child of a user's own supervisor, which restarts it.
supervised(_) ->
    py_test:in_process(fun() ->
        {ok, Sup} = supervisor:start_link(?MODULE, {one_for_one, 5, 10}),
        {ok, Ctx} = supervisor:start_child(Sup, #{id => ctx, start => {py_context, start_link, [102, worker]}}),
        {error, {context_died, _}} = py:call(Ctx, trouble, leave, [1]),
        Child = fun() -> [{ctx, Pid, _, _}] = supervisor:which_children(Sup), Pid end,
        py_test:eventually(fun() -> is_pid(Child()) andalso Child() =/= Ctx end),
        py_test:eventually(fun() -> py:call(Child(), probe, echo, [1]) =:= {ok, 1} end),
        unlink(Sup),
        Monitor = monitor(process, Sup),
        exit(Sup, shutdown),
        receive {'DOWN', Monitor, process, Sup, _} -> ok end
    end).

init({Strategy, Intensity, Period}) ->
    {ok, {#{strategy => Strategy, intensity => Intensity, period => Period}, []}}.

%% Proves that an unknown mode is refused.
unknown_mode(_) ->
    process_flag(trap_exit, true),
    ?assertEqual({error, {invalid_mode, bogus}}, py_context:start_link(103, bogus)),
    ?assertEqual({error, {invalid_mode, bogus}}, py_context:new(#{mode => bogus})).

%% Proves that an unknown option is refused by name.
unknown_option(_) ->
    process_flag(trap_exit, true),
    ?assertEqual({error, {bad_option, colour}}, py_context:new(#{colour => red})).

%% Proves that a limit that cannot be one is refused, by contexts and pools.
wrong_memory_limit(_) ->
    process_flag(trap_exit, true),
    _ = [begin
             Error = {error, {invalid_memory_limit, Wrong}},
             ?assertEqual(Error, py_context:new(#{memory_limit => Wrong})),
             ?assertEqual(Error, py_context:start_link(1, worker, #{memory_limit => Wrong})),
             ?assertEqual(Error, py_context_router:start_pool(py_test:unique(pool), 1, #{memory_limit => Wrong})),
             ?assertMatch({match, _}, re:run(py_error:format_error(Error), "memory_limit"))
         end || Wrong <- [0, -1, lots, 1.5, "1"]],
    ok.

%% Proves that contexts of the mode owngil are subinterpreters, those of the mode worker are not.
subinterpreters(_) ->
    _ = [py_test:with_context(#{mode => Mode}, fun(Ctx) ->
             ?assertEqual(Mode =:= owngil, py_context:is_subinterp(Ctx))
         end) || Mode <- py_test_modes:supported()],
    ok.

%% Proves that no two contexts have the same number, whatever their modes and port processes.
numbers_of_contexts(_) ->
    py_test:with_pool(2, #{isolation => context}, fun(Pool) ->
        Own = [element(2, py_context:new(Options)) || Options <- [#{memory_limit => 1 bsl 30} | [#{mode => Mode} || Mode <- py_test_modes:supported()]]],
        Contexts = Own ++ lists:append([py_test:contexts(Any) || Any <- [default, io, Pool]]),
        Ids = [element(2, {ok, _} = py_context:get_interp_id(Ctx)) || Ctx <- Contexts],
        ?assertEqual(length(Contexts), length(lists:usort(Ids))),
        lists:foreach(fun py_context:stop/1, Own)
    end).

%% Proves that a context serves every request on one OS thread, whoever calls, by whatever path, in both modes.
one_thread_for_life(_) ->
    _ = [py_test:with_context(#{mode => Mode}, fun(Ctx) ->
             Jobs = [py_test:async(fun() ->
                 ok = py:exec(Ctx, <<"import threading">>),
                 [py:call(Ctx, threading, get_ident, []), py:eval(Ctx, <<"threading.get_ident()">>),
                  py:await(py:cast(Ctx, threading, get_ident, []))
                  | [py:call(Ctx, threading, get_ident, []) || _ <- lists:seq(1, 20)]]
             end) || _ <- lists:seq(1, 30)],
             ?assertMatch([{ok, _}], lists:usort(lists:append([py_test:join(Job) || Job <- Jobs])))
         end) || Mode <- py_test_modes:supported()],
    ok.

%% Proves that what one owngil context imports or changes is not seen by another.
owngil_shares_no_modules(_) ->
    py_test_modes:with_owngil(fun() ->
        py_test:with_context(#{mode => owngil}, fun(One) -> py_test:with_context(#{mode => owngil}, fun(Two) ->
            ok = py:exec(One, <<"import sys, wave\nsys.modules['made_up'] = wave\nsys.path.append('/only/one')\n">>),
            See = <<"(lambda sys: [n in sys.modules for n in ('wave', 'made_up')] + ['/only/one' in sys.path])"
                    "(__import__('sys'))">>,
            ?assertEqual({ok, [true, true, true]}, py:eval(One, See)),
            ?assertEqual({ok, [false, false, false]}, py:eval(Two, See))
        end) end)
    end).

%% Proves that a context with a GIL of its own answers while another one computes without giving up its GIL.
owngil_contexts_run_side_by_side(_) ->
    py_test_modes:with_owngil(fun() ->
        py_test:with_pool(2, #{mode => owngil, hard_timeout_grace => 200}, fun(Pool) ->
            [One, Two] = py_test:contexts(Pool),
            {ok, 0} = py:call(One, probe, echo, [0]),
            File = list_to_binary(py_test:temp_file("compute")),
            Busy = py_test:async(fun() ->
                py:call(One, trouble, mark_and, [File, <<"compute">>], #{timeout => infinity})
            end),
            py_test:wait_file(binary_to_list(File)),
            ?assertEqual([{ok, N} || N <- lists:seq(1, 200)],
                         [py:call(Two, probe, echo, [N]) || N <- lists:seq(1, 200)]),
            py_test:signal(py_test:os_pid(Two), "KILL"),
            ?assertEqual({error, {context_died, {signal, sigkill}}}, py_test:join(Busy))
        end)
    end).

%% Proves that an owngil context that reuses the interpreter of a stopped one finds none of its predecessor's state.
stopped_owngil_context_leaves_nothing(_) ->
    py_test_modes:with_owngil(fun() ->
        py_test:with_context(#{mode => owngil}, fun(_Keeper) ->
            py_test:with_context(#{mode => owngil}, fun(Ctx) ->
                ok = py_context:exec(Ctx, <<"left_over = 1\nimport sys\nsys.path.append('/left/over')">>),
                {ok, 9} = py:call(Ctx, probe, set_here, [9])
            end),
            py_test:with_context(#{mode => owngil}, fun(Ctx) ->
                ?assertMatch({error, {'NameError', _}}, py_context:eval(Ctx, <<"left_over">>)),
                ?assertEqual({ok, false}, py:eval(Ctx, <<"'/left/over' in __import__('sys').path">>)),
                ?assertEqual({ok, 0}, py:call(Ctx, probe, get_here, []))
            end)
        end)
    end).

%% Proves that an extension that refuses subinterpreters gives an error with its name and the two ways out.
%% Of the standard library readline, curses or tracemalloc refuse, as far as this Python has them.
refusing_extension_is_named(_) ->
    py_test_modes:with_owngil(fun() ->
        {ok, Present} = py:eval(<<"[n for n in ('_curses', 'readline', '_tracemalloc', 'faulthandler', '_tkinter') "
                                  "if __import__('importlib.util').util.find_spec(n)]">>),
        Contexts = fun(Module) ->
            py_test:with_context(#{mode => owngil}, fun(Ctx) -> py:exec(Ctx, <<"import ", Module/binary>>) end)
        end,
        Refused = [{Module, Message} || Module <- Present, {error, {'ImportError', Message}} <- [Contexts(Module)]],
        ?assertNotEqual([], Refused),
        _ = [?assertNotEqual({Message, nomatch}, {Message, string:find(Message, Part)})
             || {Module, Message} <- Refused, Part <- [Module, <<"worker">>, <<"isolation">>]],
        ok
    end).

%% Proves that new's preload runs in the context's shared namespace, in both modes.
preloaded_context(_) ->
    _ = [py_test:with_context(#{mode => Mode, preload => <<"n = 5\ndef five():\n    return n\n">>}, fun(Ctx) ->
             ?assertEqual({{ok, 5}, {ok, 5}}, {py_context:eval(Ctx, <<"n">>),
                                               py_context:call(Ctx, '__main__', five, [])})
         end) || Mode <- py_test_modes:supported()],
    ok.

%% Proves that a context with a memory limit shares its OS process with no other, so that it alone can be killed.
context_with_memory_limit_has_its_own_process(_) ->
    py_test:with_context(#{}, fun(Plain) ->
        py_test:with_context(#{memory_limit => 1 bsl 30}, fun(Limited) ->
            ?assertNotEqual(py_test:os_pid(Plain), py_test:os_pid(Limited))
        end)
    end).

%% Proves that requests that wait for a context run in the order in which they arrived there, large ones among small.
calls_in_arrival_order(_) ->
    py_test:with_pool(1, #{max_concurrent => 21}, fun(Pool) ->
        Ctx = py_context_router:get_context(Pool),
        First = py_test:waiting(Ctx, 1.0),
        Large = binary:copy(<<"x">>, 2500000),
        Jobs = [begin
                    Filler = case N rem 5 of 0 -> Large; _ -> <<>> end,
                    Job = py_test:async(fun() -> py:call(Ctx, probe, arrive_with, [N, Filler]) end),
                    py_test:eventually(fun() -> maps:get(queued, maps:get(Pool, py:stats())) =:= N end),
                    Job
                end || N <- lists:seq(1, 20)],
        ?assertEqual({ok, <<"waited">>}, py_test:join(First)),
        ?assertEqual([{ok, N} || N <- lists:seq(1, 20)], [py_test:join(Job) || Job <- Jobs]),
        ?assertEqual({ok, lists:seq(1, 20)}, py:call(Ctx, probe, arrivals, []))
    end).

%% Proves that every form of py_context's call, eval and exec works.
call_forms(_) ->
    py_test:with_context(#{}, fun(Ctx) ->
        ?assertEqual({ok, {[1], #{}}}, py_context:call(Ctx, probe, arguments, [1])),
        ?assertEqual({ok, {[1], #{<<"k">> => 2}}}, py_context:call(Ctx, probe, arguments, [1], #{k => 2})),
        ?assertEqual({ok, {[1], #{<<"k">> => 2}}}, py_context:call(Ctx, probe, arguments, [1], #{k => 2}, 30000)),
        ?assertEqual({ok, 3}, py_context:eval(Ctx, <<"1 + 2">>)),
        ?assertEqual({ok, 3}, py_context:eval(Ctx, "n + 2", #{n => 1})),
        ?assertEqual({ok, 3}, py_context:eval(Ctx, <<"n + 2">>, #{n => 1}, 30000)),
        ?assertEqual({error, timeout}, py_context:call(Ctx, probe, spin, [], #{}, 50)),
        ?assertEqual({error, timeout}, py_context:eval(Ctx, <<"[0 for _ in iter(int, 1)]">>, #{}, 50)),
        ?assertEqual(ok, py_context:exec(Ctx, <<"x = 1">>))
    end).

%% Proves that interrupt ends the running call with {error,interrupted}, in both modes.
interrupt_running(_) ->
    _ = [py_test:with_context(#{mode => Mode}, fun(Ctx) ->
             Running = py_test:spinning(Ctx),
             ?assertEqual(ok, py:interrupt(Ctx)),
             ?assertEqual({error, interrupted}, py_test:join(Running)),
             ?assertEqual({ok, 1}, py:call(Ctx, probe, echo, [1]))
         end) || Mode <- py_test_modes:supported()],
    ok.

%% Proves that interrupting an idle context says so and does nothing.
interrupt_when_idle(_) ->
    py_test:with_context(#{}, fun(Ctx) ->
        {ok, 1} = py:call(Ctx, probe, echo, [1]),
        ?assertEqual(not_running, py:interrupt(Ctx)),
        ?assertEqual({ok, 2}, py:call(Ctx, probe, echo, [2]))
    end).

%% Proves that an interrupt never reaches a request other than the one that ran when it was asked for.
interrupt_does_not_leak(_) ->
    py_test:with_context(#{}, fun(Ctx) ->
        Stop = make_ref(),
        {Interrupter, _} = Job = py_test:async(fun() -> interrupt_until(Ctx, Stop) end),
        Results = [py:call(Ctx, probe, echo, [N]) || N <- lists:seq(1, 2000)],
        Interrupter ! Stop,
        py_test:join(Job),
        %% Each call either ran to its end or was interrupted; none got another's value or another error.
        _ = [?assert(R =:= {ok, N} orelse R =:= {error, interrupted})
             || {N, R} <- lists:zip(lists:seq(1, 2000), Results)],
        ?assertEqual([{ok, N} || N <- lists:seq(1, 200)], [py:call(Ctx, probe, echo, [N]) || N <- lists:seq(1, 200)])
    end).

interrupt_until(Ctx, Stop) ->
    receive Stop -> ok
    after 0 ->
        ?assert(lists:member(py:interrupt(Ctx), [ok, not_running])),
        interrupt_until(Ctx, Stop)
    end.

%% Proves that requests that wait behind an interrupted one run as if nothing had happened.
interrupt_queued_survive(_) ->
    py_test:with_context(#{}, fun(Ctx) ->
        Running = py_test:spinning(Ctx),
        Refs = [py:cast(Ctx, probe, echo, [N]) || N <- [1, 2, 3]],
        ok = py:interrupt(Ctx),
        ?assertEqual({error, interrupted}, py_test:join(Running)),
        ?assertEqual([{ok, N} || N <- [1, 2, 3]], [py:await(Ref) || Ref <- Refs])
    end).

%% Proves that a request that times out in the queue does not interrupt the one that is running, nor run itself.
queued_timeout_touches_nobody(_) ->
    _ = [py_test:with_context(#{mode => Mode}, fun(Ctx) ->
             {ok, []} = py:call(Ctx, probe, arrivals, []),
             Running = py_test:waiting(Ctx, 0.5),
             Queued = [py_test:async(fun() -> py:call(Ctx, probe, arrive, [N], #{timeout => 30}) end)
                       || N <- lists:seq(1, 20)],
             ?assertEqual([{error, timeout}], lists:usort([py_test:join(Q) || Q <- Queued])),
             ?assertEqual({ok, <<"waited">>}, py_test:join(Running)),
             ?assertEqual({ok, []}, py:call(Ctx, probe, arrivals, []))
         end) || Mode <- py_test_modes:supported()],
    ok.

%% Proves that py_context:interrupt is the same.
interrupt_through_py_context(_) ->
    py_test:with_context(#{}, fun(Ctx) ->
        Running = py_test:spinning(Ctx),
        ?assertEqual(ok, py_context:interrupt(Ctx)),
        ?assertEqual({error, interrupted}, py_test:join(Running)),
        ?assertEqual(not_running, py_context:interrupt(Ctx))
    end).

%% Proves that a thousand worker contexts come and go in one OS process without a crash and without growing memory.
thousand_worker_contexts(_) -> come_and_go(worker, 300, 700, 24 bsl 20).

%% Proves the same of two hundred owngil contexts; a parked interpreter serves the next context where it cannot be
%% ended.
two_hundred_owngil_contexts(_) -> py_test_modes:with_owngil(fun() -> come_and_go(owngil, 60, 140, 48 bsl 20) end).

come_and_go(Mode, WarmUp, Count, Bound) ->
    py_test:with_context(#{mode => worker}, fun(Keeper) ->
        OsPid = py_test:os_pid(Keeper),
        starts_and_stops(Mode, WarmUp, OsPid),
        Before = py_test:rss(OsPid),
        starts_and_stops(Mode, Count, OsPid),
        After = py_test:rss(OsPid),
        ct:pal("~p: ~p bytes resident before, ~p after ~p contexts", [Mode, Before, After, Count]),
        ?assert(After - Before < Bound)
    end).

starts_and_stops(Mode, Count, OsPid) ->
    _ = [py_test:with_context(#{mode => Mode}, fun(Ctx) ->
             ?assertEqual({ok, {OsPid, N}}, py:eval(Ctx, <<"(__import__('os').getpid(), n)">>, #{n => N}))
         end) || N <- lists:seq(1, Count)],
    ok.

%% Proves that stopping a context that is busy tells its callers so, at once, and hurts no other context.
stop_while_busy(_) ->
    py_test:with_context(#{}, fun(Other) ->
        {ok, Ctx} = py_context:new(#{}),
        Running = py_test:spinning(Ctx),
        Queued = py:cast(Ctx, probe, echo, [1]),
        ok = py_context:stop(Ctx),
        ?assertEqual({error, {context_died, stopped}}, py_test:join(Running)),
        ?assertEqual({error, {context_died, stopped}}, py:await(Queued)),
        ?assertEqual({ok, 2}, py:call(Other, probe, echo, [2])),
        py_test:no_slots_taken()
    end).
