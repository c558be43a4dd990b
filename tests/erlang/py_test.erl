%% What the suites share: starting the application with a configuration of their own, pools that are stopped again,
%% waiting for a state, calls that are known to run, and looking at OS processes. py_test_modes, py_test_callbacks and
%% py_test_log have more for those that need it.
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
-export([in_process/1, in_process/2, async/1, join/1, join/2, eventually/1, eventually/2, settled/1, memory/1]).
%% Calls.
-export([waiting/2, spinning/1, spinning/2, answers/1, no_slots_taken/0, nothing_left/0]).
%% OS processes.
-export([os_pid/1, alive/1, parent/1, rss/1, cpu_ticks/1, signal/2, owner_of/1, port_of/1]).
%% Files.
-export([temp_file/1, wait_file/1, remove_temp_files/0]).
%% Chance.
-export([seed/0]).

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
    _ = persistent_term:erase(py_counters),
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

%% Waits until the value of Fun has stopped to change.
-spec settled(fun(() -> term())) -> ok.
settled(Fun) ->
    Before = Fun(),
    timer:sleep(300),
    case Fun() of
        Before -> ok;
        _ -> settled(Fun)
    end.

%% Bytes of a process and of the binaries that it holds.
-spec memory(pid()) -> non_neg_integer().
memory(Pid) ->
    [{memory, Own}, {binary, Binaries}] = process_info(Pid, [memory, binary]),
    Own + lists:sum([Size || {_, Size, _} <- lists:usort(Binaries)]).

%% Calls.

%% A call of a pool or a context that waits for so many seconds, and has begun to.
-spec waiting(atom() | pid(), number()) -> {pid(), reference()}.
waiting(Target, Seconds) -> begun(Target, touch_and_wait, [Seconds], #{}).

%% A call that runs bytecode for ever, and has begun to.
-spec spinning(atom() | pid()) -> {pid(), reference()}.
spinning(Target) -> spinning(Target, #{}).

-spec spinning(atom() | pid(), map()) -> {pid(), reference()}.
spinning(Target, Opts) -> begun(Target, touch_and_spin, [], Opts).

begun(Target, Function, Args, Opts) ->
    File = temp_file("begun"),
    Job = async(fun() -> py:call(Target, probe, Function, [list_to_binary(File) | Args], Opts) end),
    wait_file(File),
    Job.

%% Waits until a pool or a context answers, as it will again when it has died.
-spec answers(atom() | pid()) -> ok.
answers(Target) ->
    eventually(fun() ->
        case py:call(Target, probe, echo, [1]) of
            {ok, 1} -> true;
            Other -> Other
        end
    end).

-spec no_slots_taken() -> ok.
no_slots_taken() ->
    lists:foreach(fun(Pool) -> eventually(fun() -> py_semaphore:current(Pool) =:= 0 end) end, limited()).

%% The pools that have a limit.
limited() ->
    [Pool || {Pool, _, _} <- ets:tab2list(py_limits)].

%% Waits until no request and no callback is left, and nothing that was kept for one.
-spec nothing_left() -> ok.
nothing_left() ->
    eventually(fun() -> py_counters:callbacks() =:= 0 end),
    eventually(fun() -> ets:tab2list(py_callbacks) =:= [] end),
    no_slots_taken(),
    lists:foreach(
        fun({Tag, _, Limit}) -> eventually(fun() -> py_slots_audit:in_flight(Limit, Tag) =:= 0 end) end,
        ets:tab2list(py_tags)).

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

%% Time that a process has used, in user mode and in the kernel, in hundredths of a second.
-spec cpu_ticks(pos_integer()) -> non_neg_integer().
cpu_ticks(OsPid) ->
    {ok, Stat} = file:read_file(["/proc/", integer_to_list(OsPid), "/stat"]),
    [_, Rest] = string:split(Stat, <<") ">>, trailing),
    Fields = binary:split(Rest, <<" ">>, [global]),
    binary_to_integer(lists:nth(12, Fields)) + binary_to_integer(lists:nth(13, Fields)).

-spec signal(pos_integer(), string()) -> ok.
signal(OsPid, Name) ->
    _ = os:cmd("kill -" ++ Name ++ " " ++ integer_to_list(OsPid)),
    %% The threads of a process stop one after the other, some time after kill has returned.
    Name =:= "STOP" andalso eventually(fun() -> stopped(OsPid) end),
    ok.

stopped(OsPid) ->
    Stats = filelib:wildcard("/proc/" ++ integer_to_list(OsPid) ++ "/task/*/stat"),
    Stats =/= [] andalso lists:all(fun(File) -> state(File) =:= $T end, Stats).

%% The Erlang port of a Python process, found from outside: the node has started its parent's parent.
-spec port_of(pos_integer()) -> port().
port_of(OsPid) ->
    Keeper = parent(parent(OsPid)),
    [Port] = [P || P <- erlang:ports(), erlang:port_info(P, os_pid) =:= {os_pid, Keeper}],
    Port.

-spec parent(pos_integer()) -> non_neg_integer().
parent(OsPid) ->
    {ok, Stat} = file:read_file(["/proc/", integer_to_list(OsPid), "/stat"]),
    [_, Rest] = string:split(Stat, <<") ">>, trailing),
    binary_to_integer(lists:nth(2, binary:split(Rest, <<" ">>, [global]))).

%% The Erlang process that owns that port.
-spec owner_of(pos_integer()) -> pid().
owner_of(OsPid) ->
    {connected, Owner} = erlang:port_info(port_of(OsPid), connected),
    Owner.

%% Files.

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

%% Chance.

%% A number to seed a random generator with: another in each run, or the one that the environment tells.
-spec seed() -> non_neg_integer().
seed() ->
    Seed = case os:getenv("ERLANG_PYTHON_TEST_SEED") of
        false -> erlang:phash2({node(), os:timestamp(), make_ref()});
        Text -> list_to_integer(Text)
    end,
    ct:pal("ERLANG_PYTHON_TEST_SEED=~p repeats this run", [Seed]),
    Seed.
