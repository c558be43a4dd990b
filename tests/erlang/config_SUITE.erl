%% The application's environment as others see it: its defaults, keys that there are not, and sizes that follow the machine.
-module(config_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 1}}].

all() ->
    [defaults_are_seen, every_key_is_documented, misspelled_keys, nearest_words, nothing_to_warn_of, an_older_name_counts,
     no_control_group, version_2, version_1, groups_that_cannot_be_read, what_the_emulator_knows, default_size].

end_per_testcase(_Case, _Config) -> py_test:stop().

%% Proves that the environment shows every key, and that the code has the same defaults.
defaults_are_seen(_) ->
    py_test:stop(),
    ok = application:load(erlang_python),
    ?assertEqual(py_config_keys:defaults(), maps:from_list(application:get_all_env(erlang_python))).

every_key_is_documented(_) ->
    {ok, Text} = file:read_file(filename:join([filename:dirname(py_test:python_modules()), "../../docs/getting-started.md"])),
    [_, Configuration] = binary:split(Text, <<"\n## Configuration\n">>),
    [Section | _] = binary:split(Configuration, <<"\n## ">>),
    ?assertEqual([], [Key || Key <- maps:keys(py_config_keys:defaults()),
                             binary:match(Section, <<"`", (atom_to_binary(Key))/binary, "`">>) =:= nomatch]).

%% Proves that a key that there is not is warned of at the start, with the one that is meant, and keeps nothing from starting.
misspelled_keys(_) ->
    Log = py_test_log:collect(),
    ok = py_test:start([{max_concurent, 3}, {colour, red}]),
    Lines = collected(),
    py_test_log:stop(Log),
    _ = [?assertMatch({match, _}, re:run(lists:join($\n, Lines), Part))
         || Part <- ["no key max_concurent in its environment; is max_concurrent meant", "no key colour in its environment \\(docs/"]],
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

collected() ->
    receive {py_test_log, Event} -> [py_test_log:text(Event) | collected()]
    after 0 -> []
    end.

nearest_words(_) ->
    Words = [pools, paths, imports, max_callbacks, max_concurrent],
    _ = [?assertEqual({Word, Nearest}, {Word, py_spelling:nearest(Word, Words)})
         || {Word, Nearest} <- [{pool, pools}, {max_concurent, max_concurrent}, {maxconcurrent, max_concurrent},
                                {max_calbacks, max_callbacks}, {import, imports}, {colour, none}, {'', none}, {p, none}]],
    ?assertEqual(none, py_spelling:nearest(x, [])).

%% Proves that known keys, older ones too, are no mistakes.
nothing_to_warn_of(_) ->
    py_test:stop(),
    ok = application:load(erlang_python),
    _ = [application:set_env(erlang_python, Key, 1) || Key <- [num_contexts, num_executors, num_workers, num_async_workers]],
    ?assertEqual([], py_config_keys:misspelled()).

%% Proves that an older name is not hidden by the default of the newer one.
an_older_name_counts(_) ->
    py_test:stop(),
    ok = application:load(erlang_python),
    ok = application:set_env(erlang_python, num_async_workers, 3),
    ok = application:set_env(erlang_python, num_contexts, 2),
    {ok, _} = application:ensure_all_started(erlang_python),
    ?assertEqual({3, 2}, {py_context_router:num_contexts(io), py_context_router:num_contexts()}).

%% Processors.

allowed(Files) ->
    py_processors:allowed(fun(Path) -> case Files of #{Path := Text} -> {ok, Text}; _ -> {error, enoent} end end).

no_control_group(_) ->
    ?assertEqual(infinity, allowed(#{})),
    ?assertEqual(infinity, allowed(#{"/proc/self/cgroup" => <<>>})).

%% Proves that the quota of the group counts, and of those above it, rounded up to whole processors.
version_2(_) ->
    Root = "/sys/fs/cgroup/cpu.max",
    Cgroup = {"/proc/self/cgroup", <<"0::/kubepods/pod1\n">>},
    Group = fun(Files) -> allowed(maps:from_list([Cgroup | Files])) end,
    ?assertEqual(2, Group([{Root, <<"200000 100000\n">>}])),
    ?assertEqual(3, Group([{"/sys/fs/cgroup/kubepods/pod1/cpu.max", <<"250000 100000\n">>}, {Root, <<"max 100000\n">>}])),
    ?assertEqual(1, Group([{"/sys/fs/cgroup/kubepods/pod1/cpu.max", <<"max 100000\n">>},
                           {"/sys/fs/cgroup/kubepods/cpu.max", <<"50000 100000\n">>}])),
    ?assertEqual(4, allowed(#{"/proc/self/cgroup" => <<"0::/\n">>, Root => <<"400000 100000\n">>})).

version_1(_) ->
    Cgroup = {"/proc/self/cgroup", <<"3:memory:/docker/1\n2:cpu,cpuacct:/docker/1\n0::/\n">>},
    Group = fun(Dir, Quota) ->
        allowed(maps:from_list([Cgroup, {Dir ++ "/cpu.cfs_quota_us", Quota}, {Dir ++ "/cpu.cfs_period_us", <<"100000\n">>}]))
    end,
    ?assertEqual(2, Group("/sys/fs/cgroup/cpu/docker/1", <<"150000\n">>)),
    ?assertEqual(2, Group("/sys/fs/cgroup/cpu,cpuacct", <<"200000\n">>)),
    ?assertEqual(infinity, Group("/sys/fs/cgroup/cpu", <<"-1\n">>)).

groups_that_cannot_be_read(_) ->
    _ = [?assertEqual(infinity, allowed(#{"/proc/self/cgroup" => <<"0::/a\n">>, "/sys/fs/cgroup/a/cpu.max" => Text}))
         || Text <- [<<>>, <<"max">>, <<"100000">>, <<"0 100000">>, <<"100000 0">>, <<"a b">>, <<"1 2 3">>]],
    _ = [?assertEqual(infinity, allowed(#{"/proc/self/cgroup" => Text})) || Text <- [<<"0">>, <<"::">>, <<"0::">>, <<255>>]],
    ok.

%% Proves that the quota that the emulator has found counts, and where it has found none, that of the files.
what_the_emulator_knows(_) ->
    Files = #{"/proc/self/cgroup" => <<"0::/\n">>, "/sys/fs/cgroup/cpu.max" => <<"300000 100000\n">>},
    Count = fun(Quota, Online) ->
        py_processors:count(fun(cpu_quota) -> Quota; (schedulers_online) -> Online end,
                            fun(Path) -> case Files of #{Path := Text} -> {ok, Text}; _ -> {error, enoent} end end)
    end,
    ?assertEqual([2, 3, 8, 1, 1], [Count(2, 8), Count(unknown, 8), Count(9, 8), Count(2, 1), Count(unknown, 1)]).

%% Proves that the default pool has as many contexts as schedulers are online, and no more than the control group allows.
default_size(_) ->
    Online = erlang:system_flag(schedulers_online, 1),
    try
        ok = py_test:start_bare(),
        ?assertEqual(1, py_context_router:num_contexts())
    after
        _ = erlang:system_flag(schedulers_online, Online)
    end,
    ok = py_test:start_bare(),
    ?assertEqual(py_processors:count(), py_context_router:num_contexts()).
