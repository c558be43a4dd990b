%% Shared state: one table for Erlang and Python, whose counters are exact and whose limit holds, whoever writes.
-module(state_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 3}}].

all() -> [{group, erlang}, {group, limit}, {group, python}].

groups() ->
    [{erlang, [any_term_as_key_and_value, keys_are_compared_exactly, removing, counting, counting_beyond_64_bits,
               only_integers_count, first_increment_is_atomic, many_counters, ends_with_the_application]},
     {limit, [limit_holds, full_counter, room_comes_back, limit_is_exact, limit_is_never_exceeded,
              limit_counts_keys_not_writers, lock_of_a_dead_process, lock_of_a_process_that_dies, killed_writers,
              wrong_limit_is_named, explained]},
     {python, [python_and_erlang_see_the_same, python_keys, keys_that_python_cannot_hold, python_values, large_values,
               too_large_values, python_counts, python_errors, python_limit, python_bytes,
               python_bytes_of_many_keys, python_bytes_under_load, contexts_share,
               exact_from_processes_and_threads, exact_from_interpreters_of_their_own]}].

init_per_suite(Config) -> ok = py_test:start([{max_concurrent, 500}]), Config.
end_per_suite(_Config) -> py_test:stop().

init_per_testcase(_Case, Config) ->
    ok = limit(infinity),
    ok = py:state_clear(),
    Config.

end_per_testcase(_Case, _Config) ->
    ok = application:unset_env(erlang_python, max_state_bytes),
    limit(infinity).

%% Looked at whenever a key is added.
limit(Max) -> application:set_env(erlang_python, max_state_entries, Max).

%% Erlang.

%% Proves that every term can be a key and a value, and comes back as it was.
any_term_as_key_and_value(_) ->
    Terms = [a, <<"b">>, "c", 1, 1.5, -(1 bsl 200), {d, [e]}, #{f => g}, [], self(), make_ref(), fun erlang:abs/1,
             <<1:3>>, [h | i], <<255>>],
    _ = [?assertEqual({error, not_found}, py:state_fetch(Term)) || Term <- Terms],
    _ = [?assertEqual(ok, py:state_store(Term, {value, Term})) || Term <- Terms],
    _ = [?assertEqual({ok, {value, Term}}, py:state_fetch(Term)) || Term <- Terms],
    ?assertEqual(lists:sort(Terms), lists:sort(py:state_keys())),
    ok = py:state_store(a, other),
    ?assertEqual({ok, other}, py:state_fetch(a)).

%% Proves that terms that look alike are keys of their own.
keys_are_compared_exactly(_) ->
    Alike = [1, 1.0, '1', <<"1">>, "1"],
    _ = [ok = py:state_store(Key, {of_key, Key}) || Key <- Alike],
    _ = [?assertEqual({ok, {of_key, Key}}, py:state_fetch(Key)) || Key <- Alike],
    ?assertEqual(5, length(py:state_keys())).

%% Proves that what is removed is gone, and that removing what is not there is no error.
removing(_) ->
    _ = [ok = py:state_store(N, N) || N <- lists:seq(1, 5)],
    ?assertEqual(ok, py:state_remove(3)),
    ?assertEqual(ok, py:state_remove(3)),
    ?assertEqual({error, not_found}, py:state_fetch(3)),
    ?assertEqual([1, 2, 4, 5], lists:sort(py:state_keys())),
    ?assertEqual(ok, py:state_clear()),
    ?assertEqual([], py:state_keys()).

%% Proves what counting returns, from nothing and from a value that was stored.
counting(_) ->
    Up = fun() -> py:state_incr(n) end,
    Down = fun() -> py:state_decr(n) end,
    ?assertEqual([1, 2, 1, 0, -1], [Count() || Count <- [Up, Up, Down, Down, Down]]),
    ?assertEqual([10, 7, 7], [py:state_incr(by, 10), py:state_decr(by, 3), py:state_incr(by, 0)]),
    ?assertEqual(-5, py:state_decr(down, 5)),
    ok = py:state_store(stored, 41),
    ?assertEqual(42, py:state_incr(stored)),
    ?assertEqual({ok, 42}, py:state_fetch(stored)).

%% Proves that a counter does not wrap.
counting_beyond_64_bits(_) ->
    ok = py:state_store(n, (1 bsl 63) - 1),
    ?assertEqual(1 bsl 63, py:state_incr(n)),
    ?assertEqual((1 bsl 63) + (1 bsl 100), py:state_incr(n, 1 bsl 100)),
    ?assertEqual(1 bsl 63, py:state_decr(n, 1 bsl 100)).

%% Proves that adding to, or adding, something else than an integer raises badarg and changes nothing.
only_integers_count(_) ->
    ok = py:state_store(text, <<"1">>),
    ok = py:state_store(float, 1.0),
    _ = [?assertError(badarg, Count()) || Count <- [
            fun() -> py:state_incr(text) end, fun() -> py:state_incr(float, 1) end, fun() -> py:state_decr(text) end,
            fun() -> py:state_decr(float, 2) end, fun() -> py:state_incr(new, 1.0) end,
            fun() -> py:state_incr(new, one) end, fun() -> py:state_decr(new, 1.0) end]],
    ?assertEqual({ok, <<"1">>}, py:state_fetch(text)),
    ?assertEqual({ok, 1.0}, py:state_fetch(float)),
    ?assertEqual({error, not_found}, py:state_fetch(new)).

%% Proves that of many processes that count the same new key at once each gets a number of its own.
first_increment_is_atomic(_) ->
    _ = [?assertEqual(lists:seq(1, 100), lists:sort(at_once(100, fun(_) -> py:state_incr(Key) end)))
         || Key <- lists:seq(1, 50)],
    ok.

%% Proves that counters are exact when processes count several of them up and down.
many_counters(_) ->
    _ = at_once(100, fun(N) ->
        _ = [{py:state_incr({up, K rem 7}, 3), py:state_decr({up, K rem 7})} || K <- lists:seq(N, N + 699)]
    end),
    ?assertEqual(lists:duplicate(7, {ok, 100 * 100 * 2}), [py:state_fetch({up, K}) || K <- lists:seq(0, 6)]).

%% Proves that a new start of the application begins with nothing.
ends_with_the_application(_) ->
    ok = py:state_store(kept, 1),
    ok = py_test:start([{max_concurrent, 500}]),
    ?assertEqual([], py:state_keys()).

%% Limit.

%% Proves that as many keys fit as configured, that what is there can be changed, and that others are refused.
limit_holds(_) ->
    ok = limit(3),
    ?assertEqual([ok, ok, ok], [py:state_store(K, 1) || K <- [a, b, c]]),
    ?assertEqual({error, full}, py:state_store(d, 1)),
    ?assertEqual({error, not_found}, py:state_fetch(d)),
    ?assertEqual(ok, py:state_store(a, 2)),
    ?assertEqual(3, py:state_incr(a)).

%% Proves that a counter that would be one too many raises, and the ones there go on.
full_counter(_) ->
    ok = limit(2),
    ?assertEqual([1, 2, 1], [py:state_incr(a), py:state_incr(a), py:state_incr(b)]),
    ?assertError({state_full, 2}, py:state_incr(c)),
    ?assertError({state_full, 2}, py:state_decr(c, 4)),
    ?assertError(badarg, py:state_incr(c, x)),
    ?assertEqual(2, py:state_incr(b)).

%% Proves that removing and clearing make room.
room_comes_back(_) ->
    ok = limit(2),
    [ok, ok, {error, _}] = [py:state_store(K, 1) || K <- [a, b, c]],
    ok = py:state_remove(a),
    ok = py:state_remove(not_there),
    ?assertEqual([ok, {error, full}], [py:state_store(K, 1) || K <- [c, d]]),
    ok = py:state_clear(),
    ?assertEqual([ok, ok, {error, full}], [py:state_store(K, 1) || K <- [d, e, f]]).

%% Proves that of many processes with a key each exactly as many get in as there is room for.
limit_is_exact(_) ->
    ok = limit(37),
    _ = [begin
             ok = py:state_clear(),
             Results = at_once(100, fun(N) -> py:state_store(N, Round) end),
             ?assertEqual({37, 63}, {count(ok, Results), count({error, full}, Results)}),
             ?assertEqual(37, length(py:state_keys()))
         end || Round <- lists:seq(1, 30)],
    ok.

%% Proves that nobody ever sees more keys than the limit, while processes add and remove, and that what is refused was
%% refused for a reason: with a key per process and room for all, none is.
limit_is_never_exceeded(_) ->
    ok = limit(20),
    Stop = atomics:new(1, []),
    Watcher = py_test:async(fun() -> most_keys(Stop, 0) end),
    _ = at_once(50, fun(N) -> [{py:state_store({N, K}, K), py:state_remove({N, K})} || K <- lists:seq(1, 200)] end),
    Again = lists:seq(1, 500),
    Own = at_once(20, fun(N) -> lists:usort([{py:state_store(N, K), py:state_remove(N)} || K <- Again]) end),
    ok = atomics:put(Stop, 1, 1),
    ?assert(py_test:join(Watcher) =< 20),
    ?assertEqual([[{ok, ok}]], lists:usort(Own)),
    ?assertEqual([], py:state_keys()).

most_keys(Stop, Most) ->
    %% Not the keys: collecting them sees some that came after others had gone.
    Now = max(Most, ets:info(py_state, size)),
    case atomics:get(Stop, 1) of
        0 -> most_keys(Stop, Now);
        1 -> Now
    end.

%% Proves that processes that count the same new keys at once take the room of those keys, not of those processes.
limit_counts_keys_not_writers(_) ->
    ok = limit(10),
    _ = [begin
             ok = py:state_clear(),
             _ = at_once(100, fun(N) -> [py:state_incr((N + K) rem 10) || K <- lists:seq(1, 10)] end),
             ?assertEqual(lists:duplicate(10, {ok, 100}), [py:state_fetch(K) || K <- lists:seq(0, 9)])
         end || _ <- lists:seq(1, 10)],
    ok.

%% Proves that a process that was killed while it added a key keeps nobody from adding another.
lock_of_a_dead_process(_) ->
    ok = limit(10),
    {Dead, Monitor} = spawn_monitor(fun() -> ok end),
    receive {'DOWN', Monitor, process, Dead, _} -> ok end,
    true = ets:insert(py_state_lock, {lock, Dead}),
    ?assertEqual(ok, py:state_store(a, 1)),
    ?assertEqual([], ets:tab2list(py_state_lock)).

%% Proves that whoever waits for such a process goes on when it dies, and not before.
lock_of_a_process_that_dies(_) ->
    ok = limit(10),
    Holder = spawn(fun() -> receive after infinity -> ok end end),
    true = ets:insert(py_state_lock, {lock, Holder}),
    Jobs = [py_test:async(fun() -> py:state_incr(a) end) || _ <- lists:seq(1, 5)],
    timer:sleep(100),
    ?assertEqual({error, not_found}, py:state_fetch(a)),
    exit(Holder, kill),
    ?assertEqual(lists:seq(1, 5), lists:sort([py_test:join(Job) || Job <- Jobs])).

%% Proves that the limit is still exact after processes were killed wherever they were in adding and removing.
killed_writers(_) ->
    ok = limit(20),
    _ = [begin
             Pids = [spawn(fun() -> add_and_remove({Round, N}, 1) end) || N <- lists:seq(1, 40)],
             timer:sleep(rand:uniform(10)),
             Monitors = [{Pid, monitor(process, Pid)} || Pid <- Pids],
             _ = [exit(Pid, kill) || Pid <- Pids],
             _ = [receive {'DOWN', Monitor, process, Pid, killed} -> ok end || {Pid, Monitor} <- Monitors],
             Left = length(py:state_keys()),
             Results = [py:state_store({fresh, N}, N) || N <- lists:seq(1, 30)],
             ?assertEqual({20 - Left, 10 + Left}, {count(ok, Results), count({error, full}, Results)}),
             ok = py:state_clear()
         end || Round <- lists:seq(1, 30)],
    ok.

add_and_remove(Name, N) ->
    _ = py:state_store({Name, N}, N),
    ok = py:state_remove({Name, N}),
    add_and_remove(Name, N + 1).

%% Proves that a limit that cannot be meant keeps the application from starting, by name.
wrong_limit_is_named(_) ->
    _ = [begin
             ok = py_test:stop(),
             ok = application:load(erlang_python),
             ok = limit(Wrong),
             ?assertMatch({error, {erlang_python, {{bad_config, max_state_entries, Wrong}, _}}},
                          application:ensure_all_started(erlang_python))
         end || Wrong <- [0, -1, 1.5, many]],
    ok = py_test:start([{max_concurrent, 500}, {max_state_entries, 1}]),
    ?assertEqual([ok, {error, full}], [py:state_store(K, 1) || K <- [a, b]]).

%% Proves that the error names what it is about and the knob.
explained(_) ->
    Text = py_error:format_error({state_full, 7}),
    _ = [?assertNotEqual(nomatch, string:find(Text, Part)) || Part <- ["7 keys", "max_state_entries"]],
    ?assertMatch({match, _}, re:run(py_error:format_error({error, full}), "max_state_entries")),
    ok.

%% Python.

%% Proves that what one side stores, changes and removes the other side sees.
python_and_erlang_see_the_same(_) ->
    ok = py:state_store(<<"from erlang">>, [1, 2]),
    ?assertEqual({ok, [1, 2]}, py:call(erlang, state_get, [<<"from erlang">>])),
    {ok, none} = py:call(erlang, state_set, [<<"from python">>, #{<<"a">> => {1, 2.5}}]),
    ?assertEqual({ok, #{<<"a">> => {1, 2.5}}}, py:state_fetch(<<"from python">>)),
    {ok, Keys} = py:call(erlang, state_keys, []),
    ?assertEqual([<<"from erlang">>, <<"from python">>], lists:sort(Keys)),
    ?assertEqual({ok, none}, py:call(erlang, state_delete, [<<"from erlang">>])),
    ?assertEqual({error, not_found}, py:state_fetch(<<"from erlang">>)),
    ?assertEqual({ok, none}, py:call(erlang, state_clear, [])),
    ?assertEqual([], py:state_keys()).

%% Proves which keys of the two languages are the same.
python_keys(_) ->
    ok = py:state_store(<<"text">>, binary),
    ok = py:state_store(text, atom),
    ?assertEqual({ok, <<"binary">>}, py:eval(<<"erlang.state_get('text')">>)),
    ?assertEqual({ok, <<"binary">>}, py:eval(<<"erlang.state_get(b'text')">>)),
    ?assertEqual({ok, <<"atom">>}, py:eval(<<"erlang.state_get(erlang.Atom('text'))">>)),
    {ok, none} = py:call(shared_state, as_atom, [<<"text">>, 5]),
    ?assertEqual({{ok, 5}, {ok, binary}}, {py:state_fetch(text), py:state_fetch(<<"text">>)}),
    ok = py:exec(<<"erlang.state_set((1, 'two', 3.0), 'tuple')\n"
                   "erlang.state_set(1.0, 'float')\n"
                   "erlang.state_set(1, 'int')">>),
    ?assertEqual([{ok, <<"tuple">>}, {ok, <<"float">>}, {ok, <<"int">>}],
                 [py:state_fetch(Key) || Key <- [{1, <<"two">>, 3.0}, 1.0, 1]]),
    ?assertEqual({ok, <<"int">>}, py:eval(<<"erlang.state_get(1)">>)),
    ?assertEqual({ok, none}, py:eval(<<"erlang.state_get(True)">>)).

%% Proves that a key that Python cannot hold hides no other and is not lost: it is a Term, to read and delete by.
keys_that_python_cannot_hold(_) ->
    Odd = [#{[1] => 2}, {user, #{#{} => 1}}, [#{{[a]} => 1}, 2], #{1 => a, 1.0 => b}],
    Plain = [<<"plain">>, {1, 2.5}, 7, [1, 2]],
    _ = [ok = py:state_store(Key, N) || {N, Key} <- lists:enumerate(Odd ++ Plain)],
    {ok, Keys} = py:call(erlang, state_keys, []),
    ?assertEqual(lists:sort(Odd ++ Plain), lists:sort(Keys)),
    ?assertEqual({ok, 4}, py:eval(<<"sum(type(key) is erlang.Term for key in erlang.state_keys())">>)),
    ?assertEqual({ok, lists:seq(1, 8)}, py:eval(<<"sorted(erlang.state_get(key) for key in erlang.state_keys())">>)),
    ok = py:exec(<<"for key in erlang.state_keys():\n"
                   "    if type(key) is erlang.Term: erlang.state_delete(key)">>),
    ?assertEqual(lists:sort(Plain), lists:sort(py:state_keys())),
    ok = py:state_store(lists:foldl(fun(_, Deep) -> [Deep] end, [], lists:seq(1, 2000)), 1),
    ?assertMatch({error, {not_encodable, depth}}, py:call(erlang, state_keys, [])),
    ok = py:state_clear().

%% Proves that a stored None is a value, that a default stands only for a missing key, and what atoms come as.
python_values(_) ->
    ok = py:exec(<<"erlang.state_set('nothing', None)">>),
    ?assertEqual({ok, none}, py:state_fetch(<<"nothing">>)),
    ?assertEqual({ok, none}, py:eval(<<"erlang.state_get('nothing', 'default')">>)),
    ?assertEqual({ok, <<"default">>}, py:eval(<<"erlang.state_get('missing', 'default')">>)),
    ?assertEqual({ok, none}, py:eval(<<"erlang.state_get('missing')">>)),
    ok = py:state_store(<<"pid">>, self()),
    ?assertEqual({ok, <<"Pid">>}, py:call(shared_state, kind_of, [<<"pid">>])),
    ok = py:state_store(<<"fun">>, fun erlang:abs/1),
    ?assertEqual({ok, <<"Term">>}, py:call(shared_state, kind_of, [<<"fun">>])).

%% Proves that values beyond the size of a piece go both ways whole.
large_values(_) ->
    Large = rand:bytes(5 bsl 20),
    ok = py:state_store(<<"large">>, Large),
    ok = py:exec(<<"erlang.state_set('copy', erlang.state_get('large'))">>),
    ?assert({ok, Large} =:= py:state_fetch(<<"copy">>)).

%% Proves that a value that is larger than Python may get is an error there that says so, and stays.
too_large_values(_) ->
    Before = application:get_env(erlang_python, max_frame_bytes),
    ok = py:state_store(<<"large">>, binary:copy(<<"x">>, 200000)),
    ok = application:set_env(erlang_python, max_frame_bytes, 100000),
    try
        {ok, {<<"ErlangError">>, Text}} = py:call(shared_state, error_of, [state_get, <<"large">>]),
        ?assertNotEqual(nomatch, string:find(Text, "too_large"))
    after
        case Before of
            {ok, Bytes} -> application:set_env(erlang_python, max_frame_bytes, Bytes);
            undefined -> application:unset_env(erlang_python, max_frame_bytes)
        end
    end,
    {ok, <<_:200000/binary>>} = py:call(erlang, state_get, [<<"large">>]).

%% Proves that Python counts as Erlang does, and the same counters.
python_counts(_) ->
    ?assertEqual({ok, [1, 11, 10, 0]},
                 py:eval(<<"[erlang.state_incr('n'), erlang.state_incr('n', 10), erlang.state_decr('n'), "
                           "erlang.state_decr('n', by=10)]">>)),
    ?assertEqual(1, py:state_incr(<<"n">>)),
    ?assertEqual({ok, 1 bsl 90}, py:eval(<<"erlang.state_incr('big', 1 << 90)">>)),
    ?assertEqual({ok, 1}, py:eval(<<"erlang.state_incr('bool', True)">>)).

%% Proves that counting what is no integer raises, says so, and changes nothing.
python_errors(_) ->
    ok = py:state_store(<<"text">>, <<"x">>),
    ?assertEqual({ok, {<<"ErlangError">>, <<"state_incr: error:badarg">>}},
                 py:call(shared_state, error_of, [state_incr, <<"text">>])),
    ?assertEqual({ok, {<<"ErlangError">>, <<"state_decr: error:badarg">>}},
                 py:call(shared_state, error_of, [state_decr, <<"text">>])),
    ok = py:exec("
def function_of_error(use):
    try: use()
    except erlang.ErlangError as error: return error.function
"),
    ?assertEqual({ok, <<"state_incr">>}, py:eval("function_of_error(lambda: erlang.state_incr('text'))")),
    ?assertMatch({ok, {<<"TypeError">>, _}}, py:call(shared_state, error_of, [state_incr, <<"n">>, 1.5])),
    ?assertMatch({ok, {<<"TypeError">>, _}}, py:call(shared_state, error_of, [state_decr, <<"n">>, <<"1">>])),
    ?assertEqual([<<"text">>], py:state_keys()).

%% Proves that the limit holds for Python, and that its error says so.
python_limit(_) ->
    ok = limit(2),
    {ok, none} = py:call(erlang, state_set, [<<"a">>, 1]),
    {ok, 1} = py:call(erlang, state_incr, [<<"b">>]),
    _ = [begin
             {ok, {<<"ErlangError">>, Text}} = py:call(shared_state, error_of, Args),
             ?assertEqual(<<(atom_to_binary(hd(Args)))/binary, ": error:{state_full,2}">>, Text)
         end || Args <- [[state_set, <<"c">>, 1], [state_incr, <<"c">>], [state_decr, <<"c">>]]],
    ?assertEqual({ok, none}, py:call(erlang, state_set, [<<"a">>, 2])),
    ?assertEqual({ok, 2}, py:call(erlang, state_incr, [<<"b">>])).

%% Proves that what Python stores is bounded by its size, and what Erlang stores is not; that replacing a value and removing
%% one need no more room than there is; and that the error names the knob.
python_bytes(_) ->
    ok = application:set_env(erlang_python, max_state_bytes, 1000000),
    Store = fun(Key, Bytes) ->
        py:eval(<<"erlang.state_set(key, bytes(n))">>, #{key => Key, n => Bytes})
    end,
    ?assertEqual(lists:duplicate(9, {ok, none}), [Store(Key, 100000) || Key <- lists:seq(1, 9)]),
    {error, {'ErlangError', Text}} = Store(10, 100000),
    ?assertMatch({match, _}, re:run(Text, "state_full")),
    ?assertEqual({error, not_found}, py:state_fetch(10)),
    _ = [?assertEqual({ok, none}, Store(9, 100000 + N)) || N <- lists:seq(1, 50)],
    ?assertEqual(ok, py:state_store(10, binary:copy(<<0>>, 2000000))),
    ?assertMatch({error, _}, Store(11, 100000)),
    ?assertEqual(ok, py:state_remove(1)),
    ?assertEqual({ok, none}, Store(11, 100000)),
    %% Erlang has taken it over.
    ?assertMatch({error, _}, Store(12, 100000)),
    ?assertEqual(ok, py:state_store(11, binary:copy(<<0>>, 100000))),
    ?assertEqual({ok, none}, Store(12, 100000)),
    ?assertMatch({match, _}, re:run(py_error:format_error({state_full, {bytes, 1000000}}), "max_state_bytes")).

%% Proves that keys and counters take room too.
python_bytes_of_many_keys(_) ->
    ok = application:set_env(erlang_python, max_state_bytes, 1000000),
    Fill = fun(Do) ->
        ok = py:state_clear(),
        ok = py:exec(iolist_to_binary(["for n in range(100000):\n",
                                       "    try:\n        ", Do, "\n",
                                       "    except erlang.ErlangError as error:\n",
                                       "        assert error.reason == ('state_full', ('bytes', 1000000)), error\n",
                                       "        break\n",
                                       "else:\n    raise AssertionError('no bound')\n"])),
        ets:info(py_state, memory) * erlang:system_info(wordsize)
    end,
    _ = [?assert(Fill(Do) < 3000000)
         || Do <- ["erlang.state_set(n, n)", "erlang.state_incr(n)", "erlang.state_set('k' * 200 + str(n), None)",
                   "erlang.state_incr(n % 10, 1 << 40000)", "erlang.state_set(n, [[]] * 100)"]].

%% Proves that the bound holds while many write, and that nothing is lost of it: afterwards as much fits as before.
python_bytes_under_load(_) ->
    ok = application:set_env(erlang_python, max_state_bytes, 1000000),
    Code = <<"
import random, erlang
def churn(times):
    refused = 0
    for _ in range(times):
        try:
            erlang.state_set(random.randrange(50), bytes(random.randrange(60000)))
        except erlang.ErlangError:
            refused += 1
        if random.random() < 0.2:
            erlang.state_delete(random.randrange(50))
    return refused
">>,
    Jobs = [py_test:async(fun() -> ok = py:exec(Ctx, Code), py:call(Ctx, '__main__', churn, [1000]) end)
            || Ctx <- py_test:contexts(default) ++ py_test:contexts(io)],
    _ = [?assertMatch({ok, _}, py_test:join(Job)) || Job <- Jobs],
    Stored = lists:sum([byte_size(V) || K <- py:state_keys(), {ok, V} <- [py:state_fetch(K)]]),
    %% One value for each of the two processes that write may be under way while the rows are added up.
    ?assert(Stored =< 1000000 + 2 * 60000),
    ok = py:state_clear(),
    ?assertEqual({ok, none}, py:eval(<<"erlang.state_set('all', bytes(990000))">>)).

%% Proves that state is one for all contexts, in all pools and modes.
contexts_share(_) ->
    Modes = py_test_modes:supported(),
    Each = fun(Pool) -> [{ok, _} = py:call(Ctx, erlang, state_incr, [<<"n">>]) || Ctx <- py_test:contexts(Pool)] end,
    Numbers = [py_test:with_pool(2, #{mode => Mode}, Each) || Mode <- Modes],
    ?assertEqual(lists:seq(1, 2 * length(Modes)), [N || {ok, N} <- lists:append(Numbers)]).

%% Proves that a counter ends exact that 100 processes and 100 Python threads count at once, of which none gets a number
%% twice.
exact_from_processes_and_threads(_) ->
    Threads = py_test:async(fun() -> py:call(shared_state, count_in_threads, [<<"n">>, 100, 100], #{}, infinity) end),
    Processes = at_once(100, fun(_) -> [py:state_incr(<<"n">>) || _ <- lists:seq(1, 200)] end),
    {ok, Last} = py_test:join(Threads),
    Own = lists:append(Processes),
    ?assertEqual(length(Own), length(lists:usort(Own))),
    ?assertEqual(30000, lists:max([Last | Own])),
    ?assertEqual({ok, 30000}, py:state_fetch(<<"n">>)).

%% Proves the same of threads in interpreters with their own GIL.
exact_from_interpreters_of_their_own(_) ->
    py_test_modes:with_owngil(fun() -> py_test:with_pool(2, #{mode => owngil}, fun exact_in/1) end).

exact_in(Pool) ->
    Threads = [py_test:async(fun() -> py:call(Ctx, shared_state, count_in_threads, [<<"n">>, 50, 100]) end)
               || Ctx <- py_test:contexts(Pool)],
    _ = at_once(100, fun(_) -> [py:state_incr(<<"n">>) || _ <- lists:seq(1, 100)] end),
    Lasts = [py_test:join(Job) || Job <- Threads],
    ?assertMatch([{ok, _}, {ok, _}], Lasts),
    ?assertEqual({ok, 20000}, py:state_fetch(<<"n">>)).

%% The values of Fun(1) to Fun(N), in processes that begin together.
at_once(N, Fun) ->
    Gate = make_ref(),
    Jobs = [py_test:async(fun() -> receive Gate -> Fun(I) end end) || I <- lists:seq(1, N)],
    _ = [Pid ! Gate || {Pid, _} <- Jobs],
    [py_test:join(Job) || Job <- Jobs].

count(Value, Values) -> length([V || V <- Values, V =:= Value]).
