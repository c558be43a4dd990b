%% A segmentation fault in Python: who notices, what the log says, and how soon the next call works.
-module(demo_crash).

-export([run/1]).
%% logger handler.
-export([log/2]).

-define(POOL, demo_crash).
-define(LOG_WAIT_MS, 2000).
-define(LOG_LINES, 10).
-define(LINE_WIDTH, 110).

-spec run(demo:settings()) -> [boolean()].
run(_Settings) ->
    {ok, _} = py_context_router:start_pool(?POOL, 2),
    {ok, Before} = py:call(?POOL, os, getpid, []),
    {ok, Other} = py:call(os, getpid, []),
    demo_screen:tell("Pool demo_crash has two contexts in process ~b; the default pool is process ~b. In one of the "
                     "two contexts a call sleeps; in the other one we read the memory at address 0.", [Before, Other]),
    _ = logger:remove_handler(default),
    ok = logger:add_handler(?MODULE, ?MODULE, #{level => error, config => self()}),
    [One, Two] = py_context_router:contexts(?POOL),
    {_, Waiting} = spawn_monitor(fun() -> exit({result, py:call(One, time, sleep, [60])}) end),
    timer:sleep(100),
    Crash = py:call(Two, ctypes, string_at, [0]),
    Start = erlang:monotonic_time(microsecond),
    demo_screen:say("> py:call(Two, ctypes, string_at, [0]).", []),
    demo_screen:say("  ~tp", [Crash]),
    {NextUs, After} = next_good_call(Start),
    Waited = receive {'DOWN', Waiting, process, _, {result, Result}} -> Result end,
    {ok, Same} = py:call(os, getpid, []),
    demo_screen:tell("~ts.", [py_error:format_error(Crash)]),
    demo_screen:tell("The next good call came ~ts after the error: the pool is back, in process ~b.",
                    [demo_screen:ms(NextUs), After]),
    Logged = show_log(),
    ok = logger:remove_handler(?MODULE),
    ok = py_context_router:stop_pool(?POOL),
    Died = {error, {context_died, {signal, sigsegv}}},
    [demo_screen:check(Crash =:= Died, "the caller learns what happened"),
     demo_screen:check(Waited =:= Died, "so does the other caller, whose call slept in the same process"),
     demo_screen:check(After =/= Before, "the pool was restarted"),
     demo_screen:check(Same =:= Other, "the default pool did not notice"),
     demo_screen:check(Logged, "the log says what died, and of what")].

%% Microseconds from `Start', and the process that answered.
next_good_call(Start) ->
    case py:call(?POOL, os, getpid, []) of
        {ok, Pid} -> {erlang:monotonic_time(microsecond) - Start, Pid};
        {error, _} ->
            timer:sleep(1),
            next_good_call(Start)
    end.

%% The first lines of the event that names the signal.
show_log() ->
    receive
        {logged, Text} ->
            case string:find(Text, "SIGSEGV") of
                nomatch -> show_log();
                _ ->
                    demo_screen:tell("The log says:", []),
                    Lines = [Line || Line <- string:split(Text, "\n", all), string:trim(Line) =/= ""],
                    [demo_screen:say("  | ~ts", [string:slice(Line, 0, ?LINE_WIDTH)])
                     || Line <- lists:sublist(Lines, ?LOG_LINES)],
                    true
            end
    after ?LOG_WAIT_MS ->
        false
    end.

-spec log(logger:log_event(), logger:handler_config()) -> ok.
log(Event, #{config := Reader}) ->
    Text = logger_formatter:format(Event, #{single_line => false, template => [msg]}),
    Reader ! {logged, unicode:characters_to_list(Text)},
    ok.
