%% The file in which memory is shared: there is one or there is none, the port program says which before any code of users
%% runs, and nobody else does.
-module(segment_file_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

%% As resource.RLIMIT_FSIZE and RLIMIT_AS on Linux.
-define(FSIZE, 1).
-define(AS, 9).

suite() -> [{timetrap, {minutes, 3}}].

all() -> [a_second_file, no_segment_file, no_file_at_all, a_file_of_users, a_limit_on_the_address_space,
          a_limit_that_python_sets, functions_registered_while_a_pool_starts].

init_per_suite(Config) ->
    ok = py_test:start(),
    Config.
end_per_suite(_Config) -> py_test:stop().

init_per_testcase(_Case, Config) ->
    [{log, py_test_log:collect()} | Config].

end_per_testcase(_Case, Config) ->
    ok = py_test_log:stop(proplists:get_value(log, Config)),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])),
    ok.

%% Proves that a file is opened before any code of users runs, and never again.
a_second_file(_) ->
    [py_test:with_pool(1, Options, fun(Pool) ->
         OsPid = py_test:os_pid(Pool),
         ?assertEqual({error, {context_died, {killed, bad_frame}}},
                      py:call(Pool, hostile, frame_and_wait, [{bytes, term_to_binary({17, OsPid, Fd})}])),
         _ = py_test_log:wait("a frame out of turn, operation 17")
     end) || Options <- [#{}, #{shared_memory => 0}], Fd <- [0, none]].

%% Proves that what is no segment file is not taken for one, and that opening it does not hang: a pipe, a device, a directory,
%% an ordinary file.
no_segment_file(_) ->
    Fifo = py_test:temp_file("fifo"),
    Plain = py_test:temp_file("plain"),
    _ = os:cmd("mkfifo " ++ Fifo),
    ok = file:write_file(Plain, <<"text">>),
    [?assertMatch({Path, {error, _}},
                  {Path, py_carrier:start_link(hd(erlang:ports()), self(), Path, 0, 4096, py_carrier:usage(1, 1))})
     || Path <- [Fifo, Plain, "/dev/null", "/tmp", "/nowhere/at/all"]],
    ?assertEqual({ok, <<"text">>}, file:read_file(Plain)).

%% Proves that a pool does without shared memory where there can be no such file.
no_file_at_all(_) ->
    limited(?FSIZE, 1 bsl 30, fun() ->
        py_test:with_pool(1, #{}, fun(Pool) ->
            ?assertMatch(#{Pool := #{shared_memory := pipe}}, py:stats()),
            works(Pool)
        end)
    end).

%% Proves that where the port program has no file, code of users that runs before the pool is ready cannot name its own.
a_file_of_users(_) ->
    Dir = py_test:temp_file("site"),
    ok = filelib:ensure_dir(filename:join(Dir, "x")),
    ok = file:write_file(filename:join(Dir, "sitecustomize.py"),
                         <<"import os, resource, struct, sys\n"
                           "sys.path.append(os.environ['HOSTILE'])\n"
                           "import hostile\n"
                           "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
                           "fd = os.memfd_create('mine')\n"
                           "os.ftruncate(fd, 1 << 37)\n"
                           "hostile.frame(b'\\x83h\\x03a\\x11b' + struct.pack('>I', os.getpid()) + b'a' + bytes([fd]))\n">>),
    limited(?FSIZE, 1 bsl 30, fun() ->
        ?assertMatch({error, _}, py_context_router:start_pool(py_test:unique(pool), 1, #{
            env => [{"PYTHONPATH", Dir}, {"HOSTILE", py_test:python_modules()}]})),
        _ = py_test_log:wait("a frame out of turn, operation 17")
    end).

%% Proves that a limit on the address space that is far below the size of the file leaves the memory to large values.
a_limit_on_the_address_space(_) ->
    limited(?AS, 8 bsl 30, fun() ->
        py_test:with_pool(1, #{}, fun(Pool) ->
            works(Pool),
            #{Pool := #{shared_memory := Shared}} = py:stats(),
            ?assert(is_integer(Shared) andalso Shared >= 1 bsl 22)
        end)
    end).

%% Proves that Python can limit its own address space, as anywhere.
a_limit_that_python_sets(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        [Ctx] = py_test:contexts(Pool),
        ok = py:exec(Ctx, <<"import resource\nresource.setrlimit(resource.RLIMIT_AS, (8 << 30, resource.RLIM_INFINITY))\n">>),
        ?assertEqual({ok, 64 bsl 20}, py:eval(Ctx, <<"len(bytearray(64 << 20))">>)),
        works(Pool),
        ?assertMatch({error, {'MemoryError', _}}, py:eval(Ctx, <<"len(bytearray(16 << 30))">>))
    end).

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

%% Helpers.

works(Pool) ->
    Value = binary:copy(<<255>>, 1 bsl 22),
    ?assert({ok, Value} =:= py:call(Pool, probe, echo, [Value])).

%% While Fun runs, programs that the node starts have this limit, which they may raise.
limited(Resource, Bytes, Fun) ->
    Starter = py_test:parent(py_test:parent(py_test:parent(py_test:os_pid(default)))),
    {ok, {Before, Hard}} = py:call(default, resource, prlimit, [Starter, Resource]),
    {ok, _} = py:call(default, resource, prlimit, [Starter, Resource, {Bytes, Hard}]),
    try
        Fun()
    after
        {ok, _} = py:call(default, resource, prlimit, [Starter, Resource, {Before, Hard}])
    end.
