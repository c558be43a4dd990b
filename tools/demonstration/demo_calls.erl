%% Calls of several kinds, two pools that do not get in each other's way, and what a caller sees when there is too much.
-module(demo_calls).

-export([values/1, pools/1, overload/1]).

-define(SLEEP_S, 1).
-define(SLEEPERS, 5).

%% Prints a call as one would type it, and its result.
show(Text, Result) ->
    demo_screen:say("> ~ts", [Text]),
    demo_screen:say("  ~tp", [Result]).

-spec values(demo:settings()) -> [boolean()].
values(_Settings) ->
    Sqrt = py:call(math, sqrt, [16]),
    show("py:call(math, sqrt, [16]).", Sqrt),
    Dumps = py:call(json, dumps, [#{b => [1, 2.5], a => none}],
                    #{sort_keys => true, separators => {<<",">>, <<":">>}}),
    show("py:call(json, dumps, [#{b => [1, 2.5], a => none}],\n"
         "             #{sort_keys => true, separators => {<<\",\">>, "
         "<<\":\">>}}).      % keyword arguments", Dumps),
    Eval = py:eval(<<"{word: len(word) for word in words}">>, #{words => [<<"port">>, <<"context">>]}),
    show("py:eval(\"{word: len(word) for word in words}\", #{words => [<<\"port\">>, <<\"context\">>]}).", Eval),
    ok = py:exec(<<"def double(x):\n    return 2 * x\n">>),
    Double = py:call('__main__', double, [1 bsl 100]),
    show("py:exec(\"def double(x): return 2 * x\"), py:call('__main__', double, [1 bsl 100]).", Double),
    Error = py:call(math, sqrt, [-1]),
    show("py:call(math, sqrt, [-1]).", Error),
    {error, {Type, _}} = Error,
    [demo_screen:check(Sqrt =:= {ok, 4.0}, "a plain call"),
     demo_screen:check(Dumps =:= {ok, <<"{\"a\":null,\"b\":[1,2.5]}">>}, "keyword arguments; maps, lists, numbers"),
     demo_screen:check(Eval =:= {ok, #{<<"port">> => 4, <<"context">> => 7}}, "an expression with local variables"),
     demo_screen:check(Double =:= {ok, 1 bsl 101}, "a function of one's own, integers of any size"),
     demo_screen:check(Type =:= 'ValueError', "a Python exception is an ordinary error")].

-spec pools(demo:settings()) -> [boolean()].
pools(_Settings) ->
    demo_screen:tell("~b calls in the pool io sleep for ~b s each. Meanwhile the default pool is asked again and "
                     "again.",
                     [?SLEEPERS, ?SLEEP_S]),
    Start = erlang:monotonic_time(microsecond),
    Sleeping = [start(fun() -> py:call(io, time, sleep, [?SLEEP_S]) end) || _ <- lists:seq(1, ?SLEEPERS)],
    {Calls, BusyUs} = calls_while(Sleeping, 0, erlang:monotonic_time(microsecond)),
    Slept = [join(Sleeper) || Sleeper <- Sleeping],
    AllUs = erlang:monotonic_time(microsecond) - Start,
    demo_screen:tell("~ts calls of the default pool meanwhile, ~.1f us each; the ~b sleeps took ~ts together.",
                     [demo_screen:grouped(Calls), BusyUs / max(1, Calls), ?SLEEPERS, demo_screen:ms(AllUs)]),
    [demo_screen:check(Slept =:= lists:duplicate(?SLEEPERS, {ok, none}), "every sleep ended well"),
     demo_screen:check(Calls > 100, "the default pool worked all the while")].

%% Calls until the sleepers have ended; how many, and their time.
calls_while(Sleeping, Calls, Start) ->
    {ok, 4.0} = py:call(math, sqrt, [16]),
    case lists:any(fun({Pid, _}) -> is_process_alive(Pid) end, Sleeping) of
        true -> calls_while(Sleeping, Calls + 1, Start);
        false -> {Calls + 1, erlang:monotonic_time(microsecond) - Start}
    end.

-spec overload(demo:settings()) -> [boolean()].
overload(_Settings) ->
    Limit = py_semaphore:max_concurrent(io),
    demo_screen:tell("Each pool has a limit of its own: at most ~b calls of the pool io may be in Python's hands at once. For a "
                     "moment we allow two, and keep both busy.",
                     [Limit]),
    ok = py_semaphore:set_max_concurrent(io, 2),
    Busy = [start(fun() -> py:call(io, time, sleep, [?SLEEP_S]) end) || _ <- [1, 2]],
    ok = until(fun() -> py_semaphore:current(io) =:= 2 end, Busy),
    Result = py:call(io, math, sqrt, [16], #{}, 100),
    show("py:call(io, math, sqrt, [16], #{}, 100).      % waits for at most 100 ms", Result),
    demo_screen:tell("~ts.", [py_error:format_error(Result)]),
    Other = py:call(math, sqrt, [16]),
    show("py:call(math, sqrt, [16]).      % in the default pool", Other),
    Ended = [join(Call) || Call <- Busy],
    After = py:call(io, math, sqrt, [16]),
    ok = py_semaphore:set_max_concurrent(io, Limit),
    [demo_screen:check(Result =:= {error, {overloaded, 2, 2}}, "too much work is refused, and it is said why"),
     demo_screen:check(Other =:= {ok, 4.0}, "other pools do not notice"),
     demo_screen:check(Ended =:= [{ok, none}, {ok, none}] andalso After =:= {ok, 4.0}, "afterwards all is as before")].

%% Gives up when the first of them has ended.
until(Holds, [{Pid, _} | _] = Busy) ->
    case {Holds(), is_process_alive(Pid)} of
        {true, _} -> ok;
        {false, true} ->
            timer:sleep(1),
            until(Holds, Busy);
        {false, false} -> not_seen
    end.

start(Work) ->
    spawn_monitor(fun() -> exit({result, Work()}) end).

join({_, Monitor}) ->
    receive {'DOWN', Monitor, process, _, {result, Result}} -> Result end.
