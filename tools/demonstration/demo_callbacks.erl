%% Python calls Erlang: functions by name, Python again from inside of them, and messages to processes.
-module(demo_callbacks).

-export([run/1]).

-define(LEVELS, 100).
-define(MESSAGES, 300000).
-define(TELLERS, 3).

-spec run(demo:settings()) -> [boolean()].
run(_Settings) ->
    Checks = stock() ++ levels() ++ messages(),
    lists:foreach(fun py:unregister_function/1, [stock, withdraw, deeper]),
    Checks.

%% An Erlang process keeps the truth; Python asks it as if it were a function of its own, and sees its errors.
stock() ->
    Store = spawn_link(fun() -> store(#{<<"screws">> => 120, <<"nails">> => 7}) end),
    ok = py:register_function(stock, fun([]) -> ask(Store, stock) end),
    ok = py:register_function(withdraw, fun([What, Number]) ->
        case ask(Store, {withdraw, What, Number}) of
            {ok, Left} -> Left;
            {error, Reason} -> error({Reason, What})
        end
    end),
    demo_screen:tell("An Erlang process keeps a stock of screws and nails. Its functions are registered by name, and "
                     "Python calls them.", []),
    Code = <<"def order(wanted):\n"
             "    report = []\n"
             "    for what, number in wanted:\n"
             "        try:\n"
             "            report.append(f'{what}: {erlang.withdraw(what, number)} left')\n"
             "        except erlang.ErlangError as error:\n"
             "            report.append(f'{what}: {error.reason[0]}')\n"
             "    return report\n">>,
    ok = py:exec(Code),
    [demo_screen:say("~ts", [Line]) || Line <- string:split(string:trim(Code), "\n", all)],
    {ok, Report} = py:call('__main__', order, [[{screws, 100}, {nails, 5}, {nails, 5}]]),
    demo_screen:say("> py:call('__main__', order, [[{screws, 100}, {nails, 5}, {nails, 5}]]).", []),
    demo_screen:say("  ~tp", [{ok, Report}]),
    Left = py:eval("erlang.stock()"),
    [demo_screen:check(Report =:= [<<"screws: 20 left">>, <<"nails: 2 left">>, <<"nails: out_of_stock">>],
                       "Erlang functions are Python functions, and their errors are exceptions"),
     demo_screen:check(Left =:= {ok, #{<<"screws">> => 20, <<"nails">> => 2}}, "each call was made exactly once")].

store(Stock) ->
    receive
        {From, Ref, stock} ->
            From ! {Ref, Stock},
            store(Stock);
        {From, Ref, {withdraw, What, Number}} ->
            case Stock of
                #{What := Left} when Left >= Number ->
                    From ! {Ref, {ok, Left - Number}},
                    store(Stock#{What := Left - Number});
                _ ->
                    From ! {Ref, {error, out_of_stock}},
                    store(Stock)
            end
    end.

ask(Store, Question) ->
    Ref = monitor(process, Store),
    Store ! {self(), Ref, Question},
    receive
        {Ref, Answer} ->
            demonitor(Ref, [flush]),
            Answer;
        {'DOWN', Ref, process, _, Reason} ->
            exit(Reason)
    end.

%% The same context serves all levels: those above on top of those that wait.
levels() ->
    ok = py:exec(<<"def level(n):\n    return 0 if n == 0 else 1 + erlang.deeper(n - 1)\n">>),
    ok = py:register_function(deeper, fun([N]) -> {ok, Depth} = py:call('__main__', level, [N]), Depth end),
    Start = erlang:monotonic_time(microsecond),
    Deep = py:call('__main__', level, [?LEVELS]),
    Us = erlang:monotonic_time(microsecond) - Start,
    demo_screen:tell("Python calls Erlang, which calls Python in the same context, ~b times over: ~ts for all of it.",
                     [?LEVELS, demo_screen:ms(Us)]),
    [demo_screen:check(Deep =:= {ok, ?LEVELS}, "re-entry to any depth, with the namespace of who began")].

messages() ->
    Self = self(),
    ok = py:exec(<<"def report(pids, number):\n"
                   "    for n in range(number):\n"
                   "        erlang.send(pids[n % len(pids)], n)\n">>),
    Tellers = [spawn_link(fun() -> tell(Self, ?MESSAGES div ?TELLERS, 0, -1) end) || _ <- lists:seq(1, ?TELLERS)],
    Start = erlang:monotonic_time(microsecond),
    {ok, none} = py:call('__main__', report, [Tellers, ?MESSAGES div ?TELLERS * ?TELLERS]),
    Sums = [receive {told, Teller, Sum} -> Sum end || Teller <- Tellers],
    Us = erlang:monotonic_time(microsecond) - Start,
    Sent = ?MESSAGES div ?TELLERS * ?TELLERS,
    demo_screen:tell("Python sends ~ts messages to ~b Erlang processes in turn: ~ts until the last has arrived, "
                     "~.2f us each.", [demo_screen:grouped(Sent), ?TELLERS, demo_screen:ms(Us), Us / Sent]),
    Dead = spawn(fun() -> ok end),
    ok = gone(Dead),
    ToTheDead = py:eval("erlang.send(pid, 'hello')", #{pid => Dead}),
    demo_screen:say("> py:eval(\"erlang.send(pid, 'hello')\", #{pid => Dead}).", []),
    demo_screen:say("  ~tp", [ToTheDead]),
    [demo_screen:check(lists:sum(Sums) =:= Sent * (Sent - 1) div 2, "all of them, each process in the order sent"),
     demo_screen:check(element(1, element(2, ToTheDead)) =:= 'ProcessError', "who sends to a dead process is told")].

%% Adds up what comes, which has to rise.
tell(To, 0, Sum, _Last) ->
    To ! {told, self(), Sum};
tell(To, Left, Sum, Last) ->
    receive N when N > Last -> tell(To, Left - 1, Sum + N, N) end.

gone(Pid) ->
    Monitor = monitor(process, Pid),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.
