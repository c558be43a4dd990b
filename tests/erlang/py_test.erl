%% What the suites share: starting the application with a configuration of their own, pools that are stopped again,
%% waiting for a state, looking at OS processes, and collecting log events.
%%
%% Nothing here asserts on elapsed time: waiting ends when the state is reached, or fails after a bound so generous
%% that only a product that never gets there meets it.
-module(py_test).

%% Application.
-export([start/0, start/1, start_bare/0, stop/0, python_modules/0]).
-export([start_without_pools/0, stop_without_pools/0]).
%% Names, pools, contexts.
-export([unique/1, start_pool/2, start_pool/3, stop_pool/1, with_pool/3, with_pool/4, with_context/2, contexts/1]).
%% Processes.
-export([in_process/1, in_process/2, async/1, join/1, join/2, eventually/1, eventually/2, nothing_left/0]).
%% Functions for Python.
-export([unregister_all/0, nested_work/2]).
%% OS processes.
-export([os_pid/1, alive/1, rss/1, signal/2, owner_of/1, port_of/1, temp_file/1, wait_file/1,
         remove_temp_files/0]).
%% Log.
-export([collect_log/0, stop_log/1, flush_log/0, wait_log/1, wait_log/2, log_text/1]).
%% logger handler.
-export([log/2]).

-define(APP, erlang_python).
-define(PATIENCE, 30000).

%% Application.

-spec start() -> ok.
start() -> start([]).

%% Starts the application from its defaults and Env alone, whatever ran before.
-spec start([{atom(), term()}]) -> ok.
start(Env) ->
    stop(),
    ok = application:load(?APP),
    Defaults = [{default_pool_size, 2}, {io_pool_size, 2}],
    _ = [application:set_env(?APP, K, V) || {K, V} <- Defaults, not lists:keymember(K, 1, Env)],
    Paths = proplists:get_value(paths, Env, []),
    _ = [application:set_env(?APP, K, V) || {K, V} <- Env, K =/= paths],
    application:set_env(?APP, paths, [python_modules() | Paths]),
    {ok, _} = application:ensure_all_started(?APP),
    ok.

%% Starts the application from its own defaults, as a reader of the documentation would.
-spec start_bare() -> ok.
start_bare() ->
    stop(),
    {ok, _} = application:ensure_all_started(?APP),
    ok.

-spec stop() -> ok.
stop() ->
    _ = application:stop(?APP),
    _ = application:unload(?APP),
    ok.

%% Starts what the application has but its pools: no Python, no port program.
-spec start_without_pools() -> ok.
start_without_pools() ->
    stop(),
    ok = application:load(?APP),
    {ok, Sup} = erlang_python_sup:start_link(),
    unlink(Sup),
    ok.

-spec stop_without_pools() -> ok.
stop_without_pools() ->
    ok = gen_server:stop(erlang_python_sup, shutdown, infinity),
    _ = persistent_term:erase(py_slots),
    ok = application:unload(?APP).

%% The directory of the Python modules that the suites call.
-spec python_modules() -> file:filename().
python_modules() ->
    Source = proplists:get_value(source, ?MODULE:module_info(compile)),
    filename:join(filename:dirname(Source), "python_modules").

%% Names, pools, contexts.

-spec unique(atom()) -> atom().
unique(Prefix) ->
    list_to_atom(atom_to_list(Prefix) ++ "_" ++ integer_to_list(erlang:unique_integer([positive]))).

-spec start_pool(pos_integer(), map()) -> atom().
start_pool(Size, Opts) -> start_pool(unique(pool), Size, Opts).

-spec start_pool(atom(), pos_integer(), map()) -> atom().
start_pool(Name, Size, Opts) ->
    {ok, _} = started(py_context_router:start_pool(Name, Size, Opts)),
    Name.

started(ok) -> {ok, []};
started(Result) -> Result.

-spec stop_pool(atom()) -> ok.
stop_pool(Name) ->
    _ = py_context_router:stop_pool(Name),
    ok.

%% Runs Fun(Name) with a pool that is stopped afterwards, also when Fun fails.
-spec with_pool(pos_integer(), map(), fun((atom()) -> R)) -> R.
with_pool(Size, Opts, Fun) -> with_pool(unique(pool), Size, Opts, Fun).

-spec with_pool(atom(), pos_integer(), map(), fun((atom()) -> R)) -> R.
with_pool(Name, Size, Opts, Fun) ->
    start_pool(Name, Size, Opts),
    try Fun(Name) after stop_pool(Name) end.

%% Runs Fun(Ctx) with a context of its own.
-spec with_context(map(), fun((pid()) -> R)) -> R.
with_context(Opts, Fun) ->
    {ok, Ctx} = py_context:new(Opts),
    try Fun(Ctx) after py_context:stop(Ctx) end.

-spec contexts(atom()) -> [pid()].
contexts(Pool) -> py_context_router:contexts(Pool).

%% Processes.

%% The value of Fun run in a fresh process, which has no env and no bindings; its failure is the caller's.
-spec in_process(fun(() -> R)) -> R.
in_process(Fun) -> join(async(Fun)).

-spec in_process(fun(() -> R), timeout()) -> R.
in_process(Fun, Timeout) -> join(async(Fun), Timeout).

-spec async(fun(() -> term())) -> {pid(), reference()}.
async(Fun) ->
    spawn_monitor(fun() ->
        exit(try {py_test_value, Fun()}
             catch Class:Reason:Stack -> {py_test_failure, Class, Reason, Stack}
             end)
    end).

-spec join({pid(), reference()}) -> term().
join(Job) -> join(Job, infinity).

-spec join({pid(), reference()}, timeout()) -> term().
join({Pid, Monitor}, Timeout) ->
    receive
        {'DOWN', Monitor, process, Pid, {py_test_value, Value}} -> Value;
        {'DOWN', Monitor, process, Pid, {py_test_failure, Class, Reason, Stack}} -> erlang:raise(Class, Reason, Stack);
        {'DOWN', Monitor, process, Pid, Reason} -> exit(Reason)
    after Timeout -> error({still_running, Pid, process_info(Pid, current_stacktrace)})
    end.

%% Asks until Fun() is true.
-spec eventually(fun(() -> term())) -> ok.
eventually(Fun) -> eventually(Fun, ?PATIENCE).

-spec eventually(fun(() -> term()), non_neg_integer()) -> ok.
eventually(Fun, Left) ->
    case Fun() of
        true -> ok;
        Other when Left =< 0 -> error({never_true, Other});
        _ -> timer:sleep(20), eventually(Fun, Left - 20)
    end.

%% Waits until no request and no callback is left, and nothing that was kept for one.
-spec nothing_left() -> ok.
nothing_left() ->
    Slots = py_slots:ref(),
    eventually(fun() -> py_slots:callbacks(Slots) =:= 0 end),
    eventually(fun() -> ets:tab2list(py_callbacks) =:= [] end),
    eventually(fun() -> py_semaphore:current() =:= 0 end),
    Tags = [element(6, Route) || Row <- ets:tab2list(py_routes), Route <- tuple_to_list(Row), is_tuple(Route),
                                 element(1, Route) =:= route],
    lists:foreach(fun(Tag) -> eventually(fun() -> py_slots:in_flight(Slots, Tag) =:= 0 end) end, lists:usort(Tags)).

%% Functions for Python.

-spec unregister_all() -> ok.
unregister_all() ->
    lists:foreach(fun py:unregister_function/1, py_functions:names()).

%% For so many milliseconds, callers begin chains of calls to and fro; each answer is checked.
-spec nested_work(pos_integer(), pos_integer()) -> ok.
nested_work(Ms, Callers) ->
    Until = erlang:monotonic_time(millisecond) + Ms,
    ok = py:register_function(nested_work, fun([_, 0]) -> [];
                                              ([Token, N]) ->
        {ok, V} = py:call(calling, call, [nested_work, Token, N - 1]),
        [Token | V]
    end),
    Jobs = [async(fun() -> nested_work_until(Until, Caller, 0) end) || Caller <- lists:seq(1, Callers)],
    lists:foreach(fun(Job) -> true = join(Job) > 0 end, Jobs).

nested_work_until(Until, Caller, N) ->
    case erlang:monotonic_time(millisecond) < Until of
        true ->
            Depth = N rem 7,
            Token = {Caller, N},
            Expected = {ok, lists:duplicate(Depth, Token)},
            {Expected, Expected} = {Expected, py:call(calling, call, [nested_work, Token, Depth])},
            nested_work_until(Until, Caller, N + 1);
        false ->
            N
    end.

%% OS processes.

%% The OS process of a pool, or of the pool of a context.
-spec os_pid(atom() | pid()) -> pos_integer().
os_pid(Target) ->
    {ok, OsPid} = py:call(Target, os, getpid, []),
    OsPid.

-spec alive(pos_integer()) -> boolean().
alive(OsPid) ->
    not lists:member(state("/proc/" ++ integer_to_list(OsPid) ++ "/stat"), "ZX").

%% The state of a process or a thread, X also when it is gone.
state(File) ->
    case file:read_file(File) of
        {ok, Stat} ->
            %% The name, in parentheses, may hold anything; the state is the first word after it.
            [_, After] = string:split(Stat, <<") ">>, trailing),
            binary:first(After);
        {error, _} -> $X
    end.

%% Resident bytes.
-spec rss(pos_integer()) -> non_neg_integer().
rss(OsPid) ->
    {ok, Status} = file:read_file("/proc/" ++ integer_to_list(OsPid) ++ "/status"),
    {match, [KiB]} = re:run(Status, "VmRSS:\\s+([0-9]+) kB", [{capture, all_but_first, list}]),
    list_to_integer(KiB) * 1024.

-spec signal(pos_integer(), string()) -> ok.
signal(OsPid, Name) ->
    _ = os:cmd("kill -" ++ Name ++ " " ++ integer_to_list(OsPid)),
    %% The threads of a process stop one after the other, some time after kill has returned.
    Name =:= "STOP" andalso eventually(fun() -> stopped(OsPid) end),
    ok.

stopped(OsPid) ->
    Stats = filelib:wildcard("/proc/" ++ integer_to_list(OsPid) ++ "/task/*/stat"),
    Stats =/= [] andalso lists:all(fun(File) -> state(File) =:= $T end, Stats).

%% The Erlang port of an OS process, found from outside.
-spec port_of(pos_integer()) -> port().
port_of(OsPid) ->
    [Port] = [P || P <- erlang:ports(), erlang:port_info(P, os_pid) =:= {os_pid, OsPid}],
    Port.

%% The Erlang process that owns that port.
-spec owner_of(pos_integer()) -> pid().
owner_of(OsPid) ->
    {connected, Owner} = erlang:port_info(port_of(OsPid), connected),
    Owner.

%% A name in the temporary directory that nothing has yet.
-spec temp_file(string()) -> file:filename().
temp_file(Prefix) ->
    Name = lists:concat(["py_test_", os:getpid(), "_", Prefix, "_", erlang:unique_integer([positive])]),
    filename:join(temp_dir(), Name).

%% What this node made by the names of temp_file/1.
-spec remove_temp_files() -> ok.
remove_temp_files() ->
    Made = filelib:wildcard(filename:join(temp_dir(), "py_test_" ++ os:getpid() ++ "_*")),
    _ = [file:del_dir_r(File) || File <- Made],
    ok.

temp_dir() ->
    case os:getenv("TMPDIR") of
        false -> "/tmp";
        Dir -> Dir
    end.

%% Waits until the file is there, then removes it: Python's way to say "I am running".
-spec wait_file(file:filename()) -> ok.
wait_file(File) ->
    eventually(fun() -> filelib:is_file(File) end),
    _ = file:delete(File),
    ok.

%% Log.

%% From now on every log event of the node's level, which is notice by default, is sent to the calling process as
%% {py_test_log, Event}.
-spec collect_log() -> atom().
collect_log() ->
    Id = unique(py_test_log),
    ok = logger:add_handler(Id, ?MODULE, #{level => all, config => #{to => self()}}),
    Id.

-spec stop_log(atom()) -> ok.
stop_log(Id) ->
    _ = logger:remove_handler(Id),
    flush_log().

-spec flush_log() -> ok.
flush_log() ->
    receive {py_test_log, _} -> flush_log()
    after 0 -> ok
    end.

%% The next event whose text holds Part.
-spec wait_log(unicode:chardata()) -> logger:log_event().
wait_log(Part) -> wait_log(Part, ?PATIENCE).

-spec wait_log(unicode:chardata(), timeout()) -> logger:log_event().
wait_log(Part, Timeout) ->
    receive
        {py_test_log, Event} ->
            case string:find(log_text(Event), Part) of
                nomatch -> wait_log(Part, Timeout);
                _ -> Event
            end
    after Timeout -> error({no_log_line_with, Part})
    end.

%% The message of an event as text.
-spec log_text(logger:log_event()) -> binary().
log_text(#{msg := {string, Text}}) -> to_text(Text);
log_text(#{msg := {report, Report}, meta := #{report_cb := Callback}}) when is_function(Callback, 1) ->
    {Format, Args} = Callback(Report),
    to_text(io_lib:format(Format, Args));
log_text(#{msg := {report, Report}}) -> to_text(io_lib:format("~tp", [Report]));
log_text(#{msg := {Format, Args}}) -> to_text(io_lib:format(Format, Args)).

to_text(Chars) ->
    case unicode:characters_to_binary(Chars) of
        Text when is_binary(Text) -> Text;
        _ -> iolist_to_binary(io_lib:format("~p", [Chars]))
    end.

%% logger handler.

-spec log(logger:log_event(), logger:handler_config()) -> ok.
log(Event, #{config := #{to := Pid}}) ->
    Pid ! {py_test_log, Event},
    ok.
