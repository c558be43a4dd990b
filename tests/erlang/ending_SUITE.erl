%% The end of Python is an orderly one, whoever asks for it: py_ending, port/context/ending.cc, erlang._ending.
-module(ending_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").
-include("../../erlang_src/py_protocol.hrl").

all() ->
    [{group, Mode} || Mode <- [worker, owngil]] ++
        [memory_is_given_back, max_requests, application_stop, hanging_atexit, no_callbacks, hostile, frames_at_the_end,
         a_port_that_is_closed, late_request, pools_end_side_by_side, own_process, supervised, node_killed,
         node_killed_contexts, all_of_the_pipe, executors_of_the_next, options].

groups() ->
    [{Mode, [files_are_flushed, whatever_flush_raises, order, temporary_directory, thread_is_joined]} || Mode <- [worker, owngil]].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

init_per_group(Mode, Config) -> [{mode, Mode} | Config].
end_per_group(_Mode, _Config) -> ok.

init_per_testcase(_Case, Config) -> [{log, py_test_log:collect()} | Config].
end_per_testcase(_Case, Config) -> py_test_log:stop(proplists:get_value(log, Config)).

%% Proves that what Python has buffered is in the file when stop_pool returns, whether a namespace, a module or a thread
%% that goes on has the file.
files_are_flushed(Config) ->
    {ok, [Ctx]} = start(flushed, Config),
    Files = [py_test:temp_file(Name) || Name <- ["global", "module", "thread"]],
    ok = py:exec(Ctx, [with_names(Files), "
import sys, threading, time, types
held = open(names[0], 'w')
held.write('all of it')
module = types.ModuleType('of_the_user')
module.held = open(names[1], 'w')
module.held.write('all of it')
sys.modules['of_the_user'] = module
started = threading.Event()
def go_on():
    mine = open(names[2], 'w')
    mine.write('all of it')
    started.set()
    time.sleep(600)
threading.Thread(target=go_on, daemon=True).start()
started.wait()
"]),
    ok = py_context_router:stop_pool(flushed),
    ?assertEqual([{ok, <<"all of it">>} || _ <- Files], [file:read_file(File) || File <- Files]).

%% Proves that a file is flushed whatever others raise when they are.
whatever_flush_raises(Config) ->
    {ok, [Ctx]} = start(raising, Config),
    File = py_test:temp_file("raising"),
    ok = py:exec(Ctx, [with_names([File]), "
import io, threading, time
class Raises(io.TextIOWrapper):
    def flush(self): raise self.what
class Fails(Raises): what = RuntimeError('no')
class Exits(Raises): what = SystemExit(3)
started = threading.Event()
def go_on():
    others = [kind(io.BytesIO()) for kind in (Fails, Exits)]
    mine = open(names[0], 'w')
    mine.write('all of it')
    others += [kind(io.BytesIO()) for kind in (Fails, Exits)]
    started.set()
    time.sleep(600)
threading.Thread(target=go_on, daemon=True).start()
started.wait()
"]),
    ok = py_context_router:stop_pool(raising),
    ?assertEqual({ok, <<"all of it">>}, file:read_file(File)).

%% Proves that threads are joined before atexit functions run, these in the opposite order of their registration, and
%% that objects are finalised after them.
order(Config) ->
    {ok, [Ctx]} = start(order, Config),
    File = py_test:temp_file("order"),
    ok = py:exec(Ctx, [with_names([File]), "
import atexit, sys, threading, time, types
def note(what, name=names[0]):
    with open(name, 'a') as file:
        file.write(what + ' ')
class Object:
    def __del__(self, note=note):
        note('object')
module = types.ModuleType('of_the_user')
module.object = Object()
sys.modules['of_the_user'] = module
del module
atexit.register(note, 'first')
atexit.register(note, 'second')
started = threading.Event()
def work():
    started.set()
    time.sleep(0.2)
    note('thread')
threading.Thread(target=work).start()
started.wait()
"]),
    ok = py_context_router:stop_pool(order),
    ?assertEqual({ok, <<"thread second first object ">>}, file:read_file(File)).

%% Proves that a TemporaryDirectory is removed.
temporary_directory(Config) ->
    {ok, [Ctx]} = start(temporary, Config),
    ok = py:exec(Ctx, "import tempfile\ndirectory = tempfile.TemporaryDirectory()"),
    {ok, Directory} = py:eval(Ctx, "directory.name"),
    ?assert(filelib:is_dir(Directory)),
    ok = py_context_router:stop_pool(temporary),
    ?assertNot(filelib:is_dir(Directory)).

%% Proves that a thread that never ends does not keep atexit functions from running.
thread_is_joined(Config) ->
    {ok, [Ctx]} = start(endless, Config, #{shutdown_grace => 3000}),
    File = py_test:temp_file("endless"),
    ok = py:exec(Ctx, [with_names([File]), "
import atexit, pathlib, threading
atexit.register(pathlib.Path(names[0]).write_text, 'ran')
threading.Thread(target=threading.Event().wait).start()
"]),
    OsPid = py_test:os_pid(endless),
    ok = py_context_router:stop_pool(endless),
    ?assertNot(py_test:alive(OsPid)),
    ?assertEqual({ok, <<"ran">>}, file:read_file(File)).

%% Proves that stopped worker contexts leave none of the memory of their namespaces to the process that they shared.
memory_is_given_back(_Config) ->
    Start = fun() -> {ok, Ctx} = py_context:new(#{mode => worker}), Ctx end,
    Stays = Start(),
    {ok, OsPid} = py:call(Stays, os, getpid, []),
    Contexts = [Start() || _ <- lists:seq(1, 10)],
    Before = py_test:rss(OsPid),
    _ = [ok = py:exec(Ctx, "
numbers = [float(i) for i in range(600000)]
def function(): return numbers
cycle = [function]
cycle.append(cycle)
") || Ctx <- Contexts],
    ?assert(py_test:rss(OsPid) - Before > 150000000),
    _ = [ok = py_context:stop(Ctx) || Ctx <- Contexts],
    ?assert(py_test:rss(OsPid) - Before < 40000000),
    ok = py_context:stop(Stays).

%% Proves that a port process that is replaced ends in order.
max_requests(_Config) ->
    {ok, [Ctx]} = py_context_router:start_pool(replaced, 1, #{max_requests => 3}),
    File = py_test:temp_file("replaced"),
    ok = py:exec(Ctx, [with_names([File]), "held = open(names[0], 'w')\nheld.write('all of it')"]),
    _ = [py:call(replaced, math, sqrt, [4]) || _ <- lists:seq(1, 3)],
    py_test:eventually(fun() -> file:read_file(File) =:= {ok, <<"all of it">>} end),
    ok = py_context_router:stop_pool(replaced).

%% Proves that the application is stopped when all its pools have ended.
application_stop(_Config) ->
    Files = [py_test:temp_file("stop") || _ <- [1, 2]],
    _ = [begin
             {ok, [Ctx]} = py_context_router:start_pool(Pool, 1, #{}),
             ok = py:exec(Ctx, [with_names([File]), "held = open(names[0], 'w')\nheld.write('all of it')"])
         end || {Pool, File} <- lists:zip([stop_one, stop_two], Files)],
    ok = application:stop(erlang_python),
    ?assertEqual([{ok, <<"all of it">>} || _ <- Files], [file:read_file(File) || File <- Files]),
    ok = py_test:start().

%% Proves that Python that hangs at its end is killed after the grace, and that the log names pool and knob.
hanging_atexit(_Config) ->
    {ok, [Ctx]} = py_context_router:start_pool(hanging, 1, #{shutdown_grace => 500}),
    ok = py:exec(Ctx, "import atexit, time\natexit.register(time.sleep, 600)"),
    OsPid = py_test:os_pid(hanging),
    ok = py_context_router:stop_pool(hanging),
    ?assertNot(py_test:alive(OsPid)),
    ?assertMatch(<<"pool hanging was stopped", _/binary>>, py_test_log:text(py_test_log:wait("pool option shutdown_grace"))).

%% Proves that a callback at the end of Python is refused with an error that says why, and so is a message.
no_callbacks(_Config) ->
    {ok, [Ctx]} = py_context_router:start_pool(calling, 1, #{}),
    Self = self(),
    ok = py:register_function(at_the_end, fun([]) -> Self ! called end),
    ok = py:exec(Ctx, "
import atexit, erlang
def call():
    try: erlang.call('at_the_end')
    except erlang.ErlangError as error: print('call refused:', error)
    try: erlang.send('anybody', 1)
    except erlang.ErlangError as error: print('send refused:', error)
atexit.register(call)
"),
    ok = py_context_router:stop_pool(calling),
    _ = py_test_log:wait("call refused: Erlang cannot be called any more: the pool is being stopped"),
    _ = py_test_log:wait("send refused: no message can be sent any more"),
    receive called -> ct:fail(called) after 0 -> ok end,
    ok = py:unregister_function(at_the_end).

%% Proves that whatever atexit functions do, the process is gone when stop_pool returns, those before them have run unless the
%% process is, and who waits for an answer gets one.
hostile(_Config) ->
    _ = [begin
             {ok, [Ctx]} = py_context_router:start_pool(hostile, 1, #{shutdown_grace => 1500}),
             File = py_test:temp_file("hostile"),
             ok = py:exec(Ctx, [with_names([File]), "
import atexit, os, pathlib, threading, time
def spin():
    while True: print('x' * 100)
def stay():
    threading.Thread(target=time.sleep, args=(600,)).start()
def leave():
    raise SystemExit(3)
def fork():
    os.fork()
atexit.register(", Function, ")
atexit.register(pathlib.Path(names[0]).write_text, 'ran')
"]),
             OsPid = py_test:os_pid(hostile),
             Waits = py_test:async(fun() -> py:call(Ctx, time, sleep, [0.2]) end),
             ok = py_context_router:stop_pool(hostile),
             ?assertNot(py_test:alive(OsPid)),
             ?assertEqual({Function, {ok, <<"ran">>}}, {Function, file:read_file(File)}),
             Answer = py_test:join(Waits),
             ?assert(lists:member(Answer, [{ok, none}, {error, {context_died, stopped}}, {error, {no_such_pool, hostile}}]))
         end || Function <- ["spin", "stay", "leave", "fork", "os._exit, 3", "os.abort"]].

%% Proves that what Python writes to the node at its end is as bounded as before: it is killed, and the log says why.
frames_at_the_end(_Config) ->
    _ = [begin
             {ok, [Ctx]} = py_context_router:start_pool(writing, 1, #{shutdown_grace => 60000}),
             ok = py:exec(Ctx, io_lib:format("
import atexit, hostile, time
def write():
    hostile.frames([bytes(~w)], ~b)
    time.sleep(600)
atexit.register(write)
", [binary_to_list(term_to_binary(Frame)), Times])),
             OsPid = py_test:os_pid(writing),
             ok = py_context_router:stop_pool(writing),
             ?assertNot(py_test:alive(OsPid)),
             _ = py_test_log:wait(Said)
         end || {Frame, Times, Said} <- [{{?OP_OUTPUT_DROPPED, 1}, 100000, "too many counts of dropped lines"},
                                         {{?OP_OUTPUT, 1, 0, <<"x">>}, 200000, "too many lines of output"},
                                         {{99}, 1, "a frame that is malformed"}]],
    ok.

%% Proves that nobody waits for the end of a port that was closed before it was handed over.
a_port_that_is_closed(_Config) ->
    {ok, [Ctx]} = py_context_router:start_pool(closed, 1, #{shutdown_grace => 60000}),
    OsPid = py_test:os_pid(closed),
    Owner = py_test:owner_of(OsPid),
    Port = py_test:port_of(OsPid),
    true = erlang:suspend_process(Owner),
    Stop = py_test:async(fun() -> py_context_router:stop_pool(closed) end),
    py_test:eventually(fun() -> {message_queue_len, N} = process_info(Owner, message_queue_len), N > 0 end),
    %% Before its exit signal is seen.
    true = erlang:port_close(Port),
    true = erlang:resume_process(Owner),
    ?assertEqual(ok, py_test:join(Stop)),
    ?assertNot(py_test:alive(OsPid)),
    ?assertEqual({error, {context_died, stopped}}, py:call(Ctx, math, sqrt, [4])).

%% Proves that a request that does not end is answered at once, and does not keep the rest of Python from ending.
late_request(_Config) ->
    {ok, [One, Two]} = py_context_router:start_pool(late, 2, #{shutdown_grace => 2000}),
    File = py_test:temp_file("late"),
    ok = py:exec(Two, [with_names([File]), "held = open(names[0], 'w')\nheld.write('all of it')"]),
    Waits = py_test:waiting(One, 600),
    ok = py_context_router:stop_pool(late),
    ?assertEqual({error, {context_died, stopped}}, py_test:join(Waits)),
    ?assertEqual({ok, <<"all of it">>}, file:read_file(File)).

%% Proves that a pool can be started and stopped while another one has not ended yet.
pools_end_side_by_side(_Config) ->
    {ok, [Ctx]} = py_context_router:start_pool(slow, 1, #{shutdown_grace => 60000}),
    ok = py:exec(Ctx, "import atexit, time\natexit.register(time.sleep, 600)"),
    OsPid = py_test:os_pid(slow),
    Stop = py_test:async(fun() -> py_context_router:stop_pool(slow) end),
    py_test:eventually(fun() -> py_ending_sup:pids() =/= [] end),
    {ok, [_]} = py_context_router:start_pool(quick, 1, #{}),
    ok = py_context_router:stop_pool(quick),
    ?assert(py_test:alive(OsPid)),
    ok = py_test:signal(OsPid, "KILL"),
    ?assertEqual(ok, py_test:join(Stop)).

%% Proves that py_context:stop of a context with a process of its own returns when Python has ended there.
own_process(_Config) ->
    {ok, Ctx} = py_context:new(#{mode => worker, isolation => context}),
    File = py_test:temp_file("own"),
    ok = py:exec(Ctx, [with_names([File]), "import atexit, pathlib\natexit.register(pathlib.Path(names[0]).write_text, 'ran')"]),
    ok = py_context:stop(Ctx),
    ?assertEqual({ok, <<"ran">>}, file:read_file(File)).

%% Proves that a pool in somebody's own supervision tree has ended when its supervisor has.
supervised(_Config) ->
    File = py_test:temp_file("supervised"),
    Child = py_pool:child_spec(#{name => in_a_tree, size => 1}),
    {ok, Sup} = start_supervisor(Child),
    [Ctx] = py_test:contexts(in_a_tree),
    ok = py:exec(Ctx, [with_names([File]), "held = open(names[0], 'w')\nheld.write('all of it')"]),
    ok = gen_server:stop(Sup),
    ?assertEqual({ok, <<"all of it">>}, file:read_file(File)).

%% Proves that Python ends in order when the node is killed.
node_killed(_Config) ->
    Peer = start_node(),
    File = py_test:temp_file("node"),
    ok = peer:call(Peer, py, exec, [iolist_to_binary([with_names([File]), runs_at_exit()])]),
    kill_node(Peer),
    py_test:eventually(fun() -> file:read_file(File) =:= {ok, <<"ran">>} end).

%% Proves that then all contexts do, also those that sleep, or have threads that go on for longer than there is time.
node_killed_contexts(_Config) ->
    py_test_modes:with_owngil(fun() ->
        Peer = start_node(),
        {ok, Contexts} = peer:call(Peer, py_context_router, start_pool, [killed, 3, #{mode => owngil}]),
        Files = [py_test:temp_file("node") || _ <- Contexts],
        _ = [ok = peer:call(Peer, py, exec, [Ctx, iolist_to_binary([with_names([File]), runs_at_exit(),
                                             "import threading\nthreading.Thread(target=threading.Event().wait).start()"])])
             || {Ctx, File} <- lists:zip(Contexts, Files)],
        kill_node(Peer),
        py_test:eventually(fun() -> [file:read_file(File) || File <- Files] =:= [{ok, <<"ran">>} || _ <- Files] end)
    end).

runs_at_exit() ->
    "import atexit, pathlib\natexit.register(pathlib.Path(names[0]).write_text, 'ran')\n".

start_node() ->
    {ok, Peer, _} = peer:start(#{connection => standard_io, env => [{"ERL_CRASH_DUMP", "/dev/null"}],
                                 args => ["-pa", filename:dirname(code:which(?MODULE))]}),
    ok = peer:call(Peer, code, add_pathsa, [code:get_path()]),
    ok = peer:call(Peer, py_test, start, []),
    Peer.

kill_node(Peer) ->
    ok = py_test:signal(list_to_integer(peer:call(Peer, os, getpid, [])), "KILL"),
    try peer:stop(Peer) catch exit:_ -> ok end.

%% Proves that what C code has buffered until the very end is logged, also when it is more than one read gives.
all_of_the_pipe(_Config) ->
    {ok, [Ctx]} = py_context_router:start_pool(pipe, 1, #{mode => worker}),
    Last = atom_to_binary(py_test:unique(last)),
    ok = py:exec(Ctx, ["last = '", Last, "'", "
import ctypes
c = ctypes.CDLL(None)
c.malloc.restype = ctypes.c_void_p
size = 800000
stdout = ctypes.c_void_p.in_dll(c, 'stdout')
c.setvbuf(stdout, ctypes.c_void_p(c.malloc(ctypes.c_size_t(size))), 0, ctypes.c_size_t(size))
for _ in range(700): c.fputs(b'x' * 1000 + b'\\n', stdout)
c.fputs(last.encode() + b'\\n', stdout)
"]),
    ok = py_context_router:stop_pool(pipe),
    _ = py_test_log:wait(Last).

%% Proves that executors work in a context although one before it in the same process was stopped with threads.
executors_of_the_next(_Config) ->
    py_test_modes:with_owngil(fun() ->
        Submit = "import concurrent.futures\nexecutor = concurrent.futures.ThreadPoolExecutor(1)\n"
                 "four = executor.submit(pow, 2, 2).result()",
        py_test:with_context(#{mode => owngil}, fun(_Keeper) ->
            _ = [py_test:with_context(#{mode => owngil}, fun(Ctx) ->
                     ?assertEqual(ok, py:exec(Ctx, Submit)),
                     ?assertEqual({ok, 4}, py:eval(Ctx, "four"))
                 end) || _ <- [1, 2, 3]]
        end)
    end).

%% Proves that the option is checked.
options(_Config) ->
    _ = [?assertEqual({error, {bad_option, shutdown_grace, Bad}}, py_context_router:start_pool(bad, 1, #{shutdown_grace => Bad}))
         || Bad <- [0, -1, infinity, soon, 3600001]].

start(Pool, Config) -> start(Pool, Config, #{}).

start(Pool, Config, Options) ->
    py_context_router:start_pool(Pool, 1, Options#{mode => proplists:get_value(mode, Config)}).

with_names(Files) ->
    io_lib:format("names = ~p\n", [[unicode:characters_to_list(File) || File <- Files]]).

start_supervisor(Child) ->
    supervisor:start_link(?MODULE, [Child]).

init(Children) ->
    {ok, {#{}, Children}}.
