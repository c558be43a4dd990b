%% The attacks of issue 9 on the node by what Python says to it: messages, frames, atoms, sizes, counts. Each is one line
%% of a table. frames_SUITE, send_SUITE, health_SUITE and robust_SUITE go deeper; signals, processes and files are those of
%% security_kernel_SUITE.
-module(security_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-import(security_test, [unharmed/1, bytes/1]).

-define(BOTH, [default, strict]).
-define(BAD_FRAME, {died, {killed, bad_frame}}).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [{group, default}, {group, strict},
     started_of_another_pool, compressed_answer, frames_to_processes, atoms_of_one_pool, atoms_in_a_payload, many_callbacks,
     limit_of_the_semaphore, no_context, not_running,
     what_is_documented, documented_tests_exist].

groups() -> [Group || {_, _, [_ | _]} = Group <- security_test:groups(attacks())].

init_per_suite(Config) ->
    ok = py_test:start([{max_concurrent, 32}]),
    Config.
end_per_suite(_Config) ->
    py_test:stop(),
    py_test:remove_temp_files().

init_per_group(Level, Config) -> [{level, Level} | Config].
end_per_group(_Level, _Config) -> ok.

%% {Name, Code, Levels, Expected}; security_test:attack().
attacks() ->
    [%% 1. Messages.
     {rex, fun rex/0, ?BOTH, refused},
     {init_stop, "erlang.send('init', (A('stop'), A('stop')))", ?BOTH, refused},
     {application_controller, "insist('application_controller', (A('EXIT'), me, A('shutdown')))", ?BOTH, refused},
     {code_server, "insist('code_server', (A('code_call'), me, (A('delete'), A('lists'))))", ?BOTH, refused},
     {logger, "insist('logger', call((A('remove_handler'), A('default'))))", ?BOTH, refused},
     {signal_server, "insist('erl_signal_server', (A('notify'), A('sigterm')))", ?BOTH, refused},
     {context_router, "insist('py_context_router', call(A('x')))", ?BOTH, refused},
     {semaphore, "insist('py_semaphore', call(A('x')))", ?BOTH, refused},
     {output, "insist('py_output', (A('$gen_cast'), (A('line'), 1)))", ?BOTH, refused},
     {functions, "insist('py_functions', (A('$gen_cast'), A('x')))", ?BOTH, refused},
     {supervisor, "insist('erlang_python_sup', (A('EXIT'), me, A('shutdown')))", ?BOTH, refused},
     {forged_exit, fun forged_exit/0, ?BOTH, refused},
     {whereis_of_a_supervisor, "erlang.whereis('erlang_python_sup')", ?BOTH, refused},
     {pid_from_bytes, fun pid_from_bytes/0, ?BOTH, refused},
     {group_leader_io, fun group_leader_io/0, ?BOTH, refused},
     %% 2. Atoms. The others are cases of their own.
     {atoms_in_headers, {hostile, atoms, [10000]}, ?BOTH, ?BAD_FRAME},
     %% 4. Frames that are not what they should be.
     frame(output_malformed, t({5, 3, x, <<"x">>})),
     frame(memory_limit_malformed, t({8, a, b})),
     frame(refused_malformed, t({10, x})),
     frame(started_malformed, t({15, [1 | x]})),
     frame(ready_again, t({3, #{os_pid => 1}})),
     frame(unknown_operation, t({99})),
     frame(callback_of_somebody, t({11, 1, 1, 1, 0, someone, <<"f">>})),
     frame(empty_frame, <<>>),
     %% 5. Lengths, and then death, or not; a call with `infinity' waits.
     {length_2_31_less_1, {hostile, length_and_death, [16#7fffffff, 9]}, ?BOTH, died},
     {length_2_31, {hostile, length_and_death, [16#80000000, 9]}, ?BOTH, died},
     {length_2_32_less_1, {hostile, length_and_death, [16#ffffffff, 9]}, ?BOTH, died},
     {length_and_life, {hostile, length_and_death, [16#ffffffff, 0]}, ?BOTH, ?BAD_FRAME},
     {replies_closed, {hostile, close_replies, []}, ?BOTH, died},
     {replies_closed_at_the_end, {hostile, close_replies_at_the_end, []}, ?BOTH, died},
     %% 6. Memory and processes.
     frame(compressed_header, term_to_binary({9, [binary:copy(<<0>>, 500000)]}, [{compressed, 9}])),
     {endless_pieces, {hostile, endless, [{bytes, <<(t({2, make_ref()}))/binary, 0:(8 bsl 20)>>}]}, ?BOTH, ?BAD_FRAME},
     {endless_output, {hostile, endless, [{bytes, t({6, 1})}]}, ?BOTH, ?BAD_FRAME},
     {huge_list, {builtins, eval, [<<"[[]] * 60_000_000">>]}, ?BOTH, too_large},
     {huge_integer, {builtins, eval, [<<"1 << 5 * 10**8">>]}, ?BOTH, too_large},
     {huge_bytes, {builtins, eval, [<<"bytes(300_000_000)">>]}, ?BOTH, too_large},
     %% 7. Interpreters that nothing works in any more.
     {modules_none, {sabotage, modules_none, []}, ?BOTH, any},
     {builtins_cleared, {sabotage, builtins_cleared, []}, ?BOTH, any},
     {trace_raises, {sabotage, trace_raises, []}, ?BOTH, any},
     {trace_hangs, {sabotage, trace_hangs, []}, ?BOTH, any},
     {limit_nofile, {sabotage, limit_nofile, []}, [default], any},
     {limit_as, {sabotage, limit_as, []}, [default], any}].

frame(Name, Frame) -> {Name, {hostile, frame_and_wait, [{bytes, Frame}]}, ?BOTH, ?BAD_FRAME}.

rex() -> ["erlang.send('rex', command('", file_of_rex(), "'))"].

file_of_rex() -> "/tmp/security_SUITE_" ++ os:getpid().

forged_exit() ->
    ["insist('py_pools_sup', (A('EXIT'), erlang.Pid(", bytes(whereis(erlang_python_sup)), "), A('shutdown')))"].

pid_from_bytes() -> ["insist(erlang.Pid(", bytes(whereis(code_server)), "), (A('code_call'), me, (A('delete'), A('lists'))))"].

group_leader_io() ->
    ["insist(erlang.Pid(", bytes(group_leader()), "), (A('io_request'), me, me, (A('put_chars'), A('unicode'), b'x')))"].

%% One for each line of the table.

rex(C) -> attack(?FUNCTION_NAME, C), ?assertNot(filelib:is_file(file_of_rex())).
init_stop(C) -> attack(?FUNCTION_NAME, C).
application_controller(C) -> attack(?FUNCTION_NAME, C).
code_server(C) -> attack(?FUNCTION_NAME, C).
logger(C) -> attack(?FUNCTION_NAME, C).
signal_server(C) -> attack(?FUNCTION_NAME, C).
context_router(C) -> attack(?FUNCTION_NAME, C).
semaphore(C) -> attack(?FUNCTION_NAME, C).
output(C) -> attack(?FUNCTION_NAME, C).
functions(C) -> attack(?FUNCTION_NAME, C).
supervisor(C) -> attack(?FUNCTION_NAME, C).
forged_exit(C) -> attack(?FUNCTION_NAME, C).
whereis_of_a_supervisor(C) -> attack(?FUNCTION_NAME, C).
pid_from_bytes(C) -> attack(?FUNCTION_NAME, C).
group_leader_io(C) -> attack(?FUNCTION_NAME, C).
atoms_in_headers(C) -> attack(?FUNCTION_NAME, C).
output_malformed(C) -> attack(?FUNCTION_NAME, C).
memory_limit_malformed(C) -> attack(?FUNCTION_NAME, C).
refused_malformed(C) -> attack(?FUNCTION_NAME, C).
started_malformed(C) -> attack(?FUNCTION_NAME, C).
ready_again(C) -> attack(?FUNCTION_NAME, C).
unknown_operation(C) -> attack(?FUNCTION_NAME, C).
callback_of_somebody(C) -> attack(?FUNCTION_NAME, C).
empty_frame(C) -> attack(?FUNCTION_NAME, C).
length_2_31_less_1(C) -> attack(?FUNCTION_NAME, C).
length_2_31(C) -> attack(?FUNCTION_NAME, C).
length_2_32_less_1(C) -> attack(?FUNCTION_NAME, C).
length_and_life(C) -> attack(?FUNCTION_NAME, C).
replies_closed(C) -> attack(?FUNCTION_NAME, C).
replies_closed_at_the_end(C) -> attack(?FUNCTION_NAME, C).
compressed_header(C) -> attack(?FUNCTION_NAME, C).
endless_pieces(C) -> attack(?FUNCTION_NAME, C).
endless_output(C) -> attack(?FUNCTION_NAME, C).
huge_list(C) -> attack(?FUNCTION_NAME, C).
huge_integer(C) -> attack(?FUNCTION_NAME, C).
huge_bytes(C) -> attack(?FUNCTION_NAME, C).
modules_none(C) -> attack(?FUNCTION_NAME, C).
builtins_cleared(C) -> attack(?FUNCTION_NAME, C).
trace_raises(C) -> attack(?FUNCTION_NAME, C).
trace_hangs(C) -> attack(?FUNCTION_NAME, C).
limit_nofile(C) -> attack(?FUNCTION_NAME, C).
limit_as(C) -> attack(?FUNCTION_NAME, C).

attack(Name, Config) -> security_test:attack(Name, attacks(), ?config(level, Config)).

%% What takes more than one line.

%% Proves that slots of others are not given back by who does not have them.
started_of_another_pool(_) ->
    unharmed(fun() -> with_pool(fun(Pool) ->
        ok = py_semaphore:acquire(Pool, 0),
        Before = py_semaphore:current(Pool),
        {ok, _} = py:call(Pool, hostile, frames, [[{bytes, t({15, lists:seq(0, 200)})}], 20]),
        ?assertEqual({ok, 4.0}, py:call(Pool, math, sqrt, [16])),
        ?assertEqual(Before, py_semaphore:current(Pool)),
        ok = py_semaphore:release(Pool)
    end) end).

%% Proves that an answer to nobody's request, compressed, of 500 MB, is not unpacked.
compressed_answer(_) ->
    Alias = alias(),
    Bomb = term_to_binary({ok, binary:copy(<<0>>, 50_000_000)}, [{compressed, 9}]),
    unharmed(fun() -> with_pool(fun(Pool) ->
        _ = py:call(Pool, hostile, frames, [[{bytes, <<(t({1, Alias, 1}))/binary, Bomb/binary>>}], 10]),
        py_test:answers(Pool),
        receive Forged -> error({forged, Forged}) after 0 -> ok end
    end) end).

%% Proves that messages which go round erlang.send, as frames, reach no process of OTP or of ours.
frames_to_processes(_) ->
    File = py_test:temp_file("security"),
    Run = {'$gen_call', {self(), 1}, {call, os, cmd, ["id > " ++ File], self()}},
    Messages = [{rex, Run}, {<<"rex">>, Run}, {{rex, node()}, Run}, {init, {stop, stop}}, {whereis(init), {stop, stop}},
                {whereis(py_pools_sup), {'EXIT', whereis(erlang_python_sup), shutdown}},
                {py_pools_sup, {'EXIT', whereis(erlang_python_sup), shutdown}}, {whereis(logger), {'EXIT', self(), kill}}],
    Frames = [{bytes, <<(t({12, 1}))/binary, (byte_size(M)):32, M/binary>>} || Message <- Messages, M <- [t(Message)]],
    unharmed(fun() ->
        [py_test:with_pool(1, #{sandbox => Level}, fun(Pool) ->
             _ = py:call(Pool, hostile, frames, [Frames, 8]),
             py_test:answers(Pool)
         end) || Level <- ?BOTH],
        ?assertNot(filelib:is_file(File))
    end).

%% Proves that a pool that has made all the atoms that it may leaves the others theirs.
atoms_of_one_pool(_) ->
    unharmed(fun() -> with_pool(fun(Greedy) ->
        {ok, Made} = py:call(Greedy, attacks, fresh_atoms, [3000]),
        ?assert(Made =< 1000),
        ?assertEqual({ok, 0}, py:call(Greedy, attacks, fresh_atoms, [10])),
        with_pool(fun(Other) -> ?assertEqual({ok, 10}, py:call(Other, attacks, fresh_atoms, [10])) end)
    end) end).

%% Proves that results, exceptions and frames of names make no more atoms than that.
atoms_in_a_payload(_) ->
    unharmed(fun() -> with_pool(fun(Pool) ->
        [?assertMatch({error, _}, py:call(Pool, attacks, atoms_in_a_result, [2000])) || _ <- lists:seq(1, 5)],
        ?assertEqual({ok, 4.0}, py:call(Pool, math, sqrt, [16]))
    end) end).

%% Proves that twenty thousand callbacks at once are no more processes than the pool may have, and all are answered.
many_callbacks(_) ->
    Self = self(),
    ok = py:register_function(security_callback, fun([N]) -> N end),
    Before = erlang:system_info(process_count),
    unharmed(fun() ->
        py_test:with_pool(1, #{max_callbacks => 50}, fun(Pool) ->
            Ref = py:async_call(Pool, attacks, gather, [security_callback, 20000]),
            Watch = spawn_link(fun() -> most(Self, Before) end),
            ?assertEqual({ok, 20000}, py:async_await(Ref, infinity)),
            Watch ! {stop, Self},
            Most = receive {most, Count} -> Count end,
            ?assert(Most - Before < 200)
        end)
    end),
    ok = py:unregister_function(security_callback).

most(Parent, Most) ->
    receive {stop, Parent} -> Parent ! {most, Most}
    after 1 -> most(Parent, max(Most, erlang:system_info(process_count)))
    end.

%% Proves that a limit that no counter holds is refused where it is asked for.
limit_of_the_semaphore(_) ->
    unharmed(fun() ->
        [?assertError({bad_argument, max_concurrent, _}, py_semaphore:set_max_concurrent(1 bsl 80)) || _ <- lists:seq(1, 8)]
    end).

%% Proves that functions for contexts come back for a process that is none.
no_context(_) ->
    Pid = spawn_link(fun() -> receive stop -> ok end end),
    unharmed(fun() ->
        Calls = [fun() -> py_context:stop(Pid) end, fun() -> py_context:destroy(Pid) end, fun() -> py:interrupt(Pid) end,
                 fun() -> py_context:call(Pid, math, sqrt, [4]) end, fun() -> py_context:get_interp_id(Pid) end],
        [py_test:in_process(fun() -> try Call() catch error:_ -> raised end end, 30000) || Call <- Calls],
        ?assert(is_process_alive(Pid))
    end),
    Pid ! stop.

%% Proves that questions are answered, or refused by name, when the application does not run.
not_running(_) ->
    py_test:stop(),
    Why = {error, {not_started, erlang_python}},
    try
        [?assertEqual(false, Is()) || Is <- [fun py_context_router:is_started/0, fun py:contexts_started/0,
                                             fun() -> py_context_router:pool_started(default) end]],
        [?assertEqual(Why, F()) || F <- [fun py:version/0, fun() -> py:state_fetch(a) end,
                                         fun() -> py:call(math, sqrt, [4]) end]],
        [?assertError({not_started, erlang_python}, F()) || F <- [fun py_semaphore:current/0, fun py:stats/0]]
    after
        ok = py_test:start([{max_concurrent, 32}])
    end.

%% docs/security.md.

%% Proves that what cannot be stopped in the default sandbox is said: Python uses the network, reads files, such as the
%% cookie of the node, and writes them, and changes limits and priority of the node's process.
what_is_documented(_) ->
    Lines = string:split(string:lowercase(document()), "\n", all),
    HasAll = fun(Line, Words) -> lists:all(fun(Word) -> string:find(Line, Word) =/= nomatch end, Words) end,
    Said = fun(Words) -> lists:any(fun(Line) -> HasAll(Line, Words) end, Lines) end,
    Sentences = [["files", "not held below *strict*"], ["network", "not held below *strict*"],
                 ["other processes of the user", "limits, priority", "not held below *strict*"], ["cookie"]],
    ?assertEqual([], [Words || Words <- Sentences, not Said(Words)]).

%% Proves that every test that the page names is there.
documented_tests_exist(_) ->
    {match, Found} = re:run(document(), "\\b([a-z0-9_]+_SUITE):([a-z0-9_]+)", [global, {capture, all_but_first, list}]),
    ?assert(length(Found) > 10),
    Missing = [{Suite, Case} || [Suite, Case] <- lists:usort(Found), not is_test(list_to_atom(Suite), list_to_atom(Case))],
    ?assertEqual([], Missing).

%% A case, or a group.
is_test(Suite, Case) ->
    {module, Suite} =:= code:ensure_loaded(Suite)
        andalso (erlang:function_exported(Suite, Case, 1)
                 orelse (erlang:function_exported(Suite, groups, 0) andalso lists:keymember(Case, 1, Suite:groups()))).

document() ->
    Source = proplists:get_value(source, ?MODULE:module_info(compile)),
    {ok, Text} = file:read_file(filename:join([filename:dirname(Source), "..", "..", "docs", "security.md"])),
    unicode:characters_to_list(Text).

%% Helpers.

t(Term) -> term_to_binary(Term).

with_pool(Fun) -> py_test:with_pool(1, #{}, Fun).
