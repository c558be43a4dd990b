%% No message and no argument ends a process of the application: random ones, and those that are nearly right, at every
%% process of its tree and every function of its public modules.
%%
%% Left out is what OTP itself obeys, whoever says it: `{'EXIT', Supervisor, _}' to a child, `{system, From, terminate}' and
%% other system messages or a system message with a bad From, and unknown calls and casts to supervisors. Those end a
%% process, and comeback_SUITE shows that it comes back with what it had.
%%
%% ERLANG_PYTHON_ROBUST_SECONDS says how long each of the two random cases goes on, ERLANG_PYTHON_TEST_SEED repeats a run.
-module(robust_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(SECONDS, 12).
%% For a call that must return.
-define(RETURNS_MS, 60000).
%% For one that may wait for what never comes.
-define(WAITS_MS, 30).

-define(PUBLIC, [py, py_context, py_context_router, py_semaphore, py_event_loop, py_event_loop_pool, py_nif, py_state,
                 py_error]).

suite() -> [{timetrap, {seconds, 300 + 4 * seconds()}}].

all() ->
    [known_messages, requests_are_answered, unexpected_is_logged, limit_of_any_size, caster_and_streams, random_messages,
     random_arguments].

init_per_testcase(_Case, Config) ->
    ok = py_test:start([{max_concurrent, 20}]),
    _ = py_test:start_pool(extra, 2, #{}),
    {ok, Ctx} = py_context:new(#{}),
    rand:seed(exsss, py_test:seed()),
    [{context, Ctx} | Config].

end_per_testcase(_Case, _Config) -> py_test:stop().

seconds() ->
    list_to_integer(os:getenv("ERLANG_PYTHON_ROBUST_SECONDS", integer_to_list(?SECONDS))).

%% Messages.

%% Proves that what once ended a server is dropped: requests from nobody, events of processes that are alive, replies
%% and figures that are none.
known_messages(_) ->
    unharmed(fun() ->
        _ = [begin
                 Pid ! Message,
                 ?assertEqual({alive, Name, Message}, {ping(Pid), Name, Message})
             end || {Name, Pid, worker} <- tree(), Message <- shapes(Name, Pid)],
        ok
    end).

%% Proves that a request that a server does not know is answered, and one from nobody does it no harm.
requests_are_answered(_) ->
    _ = [?assertEqual({Name, {error, bad_request}}, {Name, gen_server:call(Pid, {no_such, request})})
         || {Name, Pid, worker} <- tree(), Name =/= py_port],
    ok.

%% Proves that the log says what was dropped and by whom, once for many of them.
unexpected_is_logged(_) ->
    Log = py_test_log:collect(),
    _ = [py_semaphore ! {robust, N} || N <- lists:seq(1, 1000)],
    Event = py_test_log:wait("py_semaphore dropped a message that it does not know: {robust,1}"),
    ?assertMatch(#{level := warning}, Event),
    timer:sleep(1100),
    py_semaphore ! {robust, last},
    _ = py_test_log:wait("and 999 others"),
    ok = py_test_log:stop(Log).

%% Proves that a limit that does not fit is refused where it is asked for, also by sys.config, and the largest works.
limit_of_any_size(_) ->
    Before = whereis(py_semaphore),
    _ = [?assertError({bad_argument, max_concurrent, Max}, py_semaphore:set_max_concurrent(Max))
         || Max <- [1 bsl 80, 1 bsl 63, 0, -1, 1.0, infinity]],
    Largest = (1 bsl 63) - 1,
    ok = py_semaphore:set_max_concurrent(Largest),
    ?assertEqual({Largest, 0}, {py_semaphore:max_concurrent(), py_semaphore:current()}),
    ?assertEqual({ok, 1}, py:call(probe, echo, [1])),
    ?assertEqual({error, bad_request}, gen_server:call(py_semaphore, {set_max, 1 bsl 80})),
    ?assertEqual(Before, whereis(py_semaphore)),
    py_test:stop(),
    ok = application:load(erlang_python),
    ok = application:set_env(erlang_python, max_concurrent, 1 bsl 80),
    ?assertMatch({error, {erlang_python, {{bad_config, max_concurrent, _}, _}}},
                 application:ensure_all_started(erlang_python)).

%% Proves that the processes beside a caller, for its casts and its streams, take anything and do their work.
caster_and_streams(_) ->
    {ok, 1} = py:await(py:cast(probe, echo, [1])),
    Caster = get('$py_caster'),
    {ok, Stream} = py:stream_start(builtins, range, [3000]),
    _ = [begin
             Message = py_test_terms:mutate(py_test_terms:one_of([
                 {cast, make_ref(), #{key => 1, target => routed, operation => x, flags => 0, timeout => 1, caller => none}},
                 {cancel, make_ref()}, {py_reply, make_ref(), <<>>}, {'DOWN', make_ref(), process, self(), x},
                 {py_items, make_ref(), <<131, 106>>}, {make_ref(), 5}])),
             Caster ! Message,
             Stream ! {robust, Message}
         end || _ <- lists:seq(1, 2000)],
    ?assertEqual({ok, 2}, py:await(py:cast(probe, echo, [2]))),
    ?assertEqual(Caster, get('$py_caster')),
    ?assertEqual(lists:seq(0, 2999), received(Stream)).

received(Stream) ->
    case py:stream_next(Stream, 30000) of
        {ok, Item} -> [Item | received(Stream)];
        done -> []
    end.

%% Proves the same for random messages, sent to every process of the tree one after the other: after each it is asked
%% whether it still answers.
random_messages(_) ->
    Everybody = tree(),
    Shapes = maps:from_list([{Name, shapes(Name, Pid)} || {Name, Pid, _} <- Everybody]),
    Send = fun(N) ->
        {Name, Pid, Kind} = lists:nth(N rem length(Everybody) + 1, Everybody),
        Message = message(Kind, Name, maps:get(Name, Shapes)),
        Pid ! Message,
        case ping(Pid) of
            alive -> ok;
            Died -> ct:fail({Name, Pid, Died, sent, Message})
        end,
        flush()
    end,
    unharmed(fun() -> repeat(Send) end).

message(supervisor, _Name, _Shapes) ->
    case rand:uniform(3) of
        1 -> {'EXIT', py_test_terms:pid(), py_test_terms:term()};
        2 -> {'DOWN', make_ref(), process, py_test_terms:pid(), py_test_terms:term()};
        3 -> {py_test_terms:term(), py_test_terms:term(), py_test_terms:term(), py_test_terms:term()}
    end;
message(worker, Name, Shapes) ->
    case rand:uniform(8) of
        1 -> py_test_terms:term();
        2 -> {'$gen_call', from(), py_test_terms:term()};
        3 -> {'$gen_cast', py_test_terms:term()};
        4 -> {system, {self(), make_ref()}, py_test_terms:one_of([get_state, get_status, py_test_terms:term()])};
        %% Linked processes may end a context that stands by itself, as they may end any process.
        5 when Name =/= standalone_context -> {'EXIT', py_test_terms:pid(), py_test_terms:term()};
        _ -> wrapped(Name, py_test_terms:mutate(py_test_terms:one_of(Shapes)))
    end.

wrapped(_, {'$gen_call', _, Request}) -> {'$gen_call', from(), Request};
%% A mutation must not become what is left out.
wrapped(_, {system, _, _}) -> system;
wrapped(standalone_context, {'EXIT', _, _}) -> 'EXIT';
wrapped(_, Message) -> Message.

from() ->
    case rand:uniform(3) of
        1 -> {self(), make_ref()};
        2 -> py_test_terms:mutate({py_test_terms:pid(), [alias | alias()]});
        3 -> py_test_terms:term()
    end.

%% What each of them understands, or nearly, but nothing that would do anything. py_standalone makes contexts, and
%% py_semaphore gives slots to processes.
shapes(Name, Pid) ->
    Calls = [{'$gen_call', {self(), make_ref()}, Call} || Call <- calls(Name)],
    Casts = [{'$gen_cast', Cast} || Cast <- casts(Name)],
    General = [{'$gen_call', not_a_from, current}, {'$gen_call', {self()}, info}, {'$gen_call', {1, 2}, info},
               {'$gen_call', {self(), make_ref()}, none}, {'$gen_cast', x}, timeout, x,
               {'DOWN', make_ref(), process, self(), killed}, {py_reply, make_ref(), garbage},
               {py_port, self(), garbage}, {timeout, make_ref(), audit}],
    %% Standalone contexts end with what they are linked to.
    Exits = [{'EXIT', self(), shutdown} || Name =/= standalone_context],
    General ++ Exits ++ Calls ++ Casts ++ infos(Name, Pid).

calls(py_semaphore) ->
    [{set_max, 1 bsl 80}, {set_max, none}, {open_tags, self(), 20000}, {open_tags, self(), 1}, {open_tags, x, 1},
     {close_tag, self(), 1}, {close_tag, self(), 1 bsl 70}];
calls(py_context_router) ->
    [{start, #{}}, {start, x, 0, #{}}, {start, x, 1, [a | b]}, {start, contexts, 1, #{}}, {start_default, x},
     {start_default, #{contexts => 0}}, {stop, "x"}, {stop, contexts}, {register, x, "m", f}, {register, 1, m, f},
     {unregister, #{}, []}];
calls(py_functions) -> [{put, x, y}, {put, <<"robust">>, x}, {remove, x}];
calls(py_pool) -> [{await, x}, {await, {none, {python, x, y}}}, {await_start, {python, x}}, info];
calls(py_standalone) -> [{attach, none, #{}}, {attach, worker, x}, {attach, #{}}, {await, x}, {await_start, x}, info];
calls(Context) when Context =:= py_context; Context =:= standalone_context ->
    [{env, x}, {create_env, 1}, {env_handle, self(), x}, {start_loop, x}, {stop_loop, x}, loop_ref, interp_id];
calls(_) -> [].

casts(py_output) ->
    [{line, pool, 0, 3, <<"x">>}, {line, 1, 0, 1, <<"x">>}, {line, pool, x, 1, <<"x">>}, {line, pool, 0, 1, x},
     {dropped, pool, x}, {memory_limit, pool, x, y}, {refused, pool, x}, {messages_lost, pool, 1, x},
     {messages_lost, "pool", 1, unknown}, {unexpected, x, y, z}];
casts(_) -> [].

infos(py_semaphore, _) ->
    [{freed, -1}, {freed, x}, {freed, 1 bsl 70}, {wait, not_a_ref, {waiter, self(), 1, 0}}, {wait, make_ref(), x},
     {wait, make_ref(), {waiter, self(), 1 bsl 70, 0}}, {wait, make_ref(), {waiter, x, 1, 0}},
     {wait, make_ref(), {waiter, self(), 1, 1 bsl 20}}, {give_up, x}, audit, settle, {timeout, x, settle}];
infos(py_pool, Pid) ->
    Owners = [Owner || {_, Owner, _} <- units(Pid)],
    [{start, 1}, {start, x}, retire | [Message || Owner <- Owners, Message <-
     [{py_port, Owner, garbage}, {py_port, Owner, {ready, #{}}}, {py_port, Owner, {ready, #{port => hd(erlang:ports())}}},
      {py_port, Owner, {died, x, [y | z]}}, {'DOWN', make_ref(), process, Owner, killed}]]];
infos(py_standalone, Pid) ->
    [Message || {_, Owner, _} <- units(Pid), Message <-
     [{py_port, Owner, {ready, x}}, {py_port, Owner, {ready, #{port => hd(erlang:ports())}}}, {py_port, Owner, {died, x, y}},
      {'DOWN', make_ref(), process, Owner, killed}]];
infos(py_port, _) -> [{py_expect, x}, {py_expect, 1 bsl 70}, {py_messages, x}, {py_messages, {sent, x, y}}, probe];
infos(_, _) -> [].

units(Pool) ->
    #{units := Units} = gen_server:call(Pool, info),
    [{unit, Owner, Info} || {Owner, Info, _} <- Units, is_pid(Owner)].

%% Arguments.

%% Proves that no public function, whatever it is given, hangs, ends a process that others use, or raises anything but
%% an error that is documented.
random_arguments(Config) ->
    Contexts = [proplists:get_value(context, Config) | py_test:contexts(extra)],
    Functions = [{M, F, A} || M <- ?PUBLIC, {module, M} =:= code:ensure_loaded(M), {F, A} <- M:module_info(exports),
                              not is_left_out(M, F)],
    Call = fun(N) ->
        {M, F, A} = lists:nth(N rem length(Functions) + 1, Functions),
        Args = [argument(Contexts) || _ <- lists:seq(1, A)],
        would_stop(M, F, Args, Contexts) orelse called(M, F, Args),
        N rem 200 =:= 0 andalso tidy()
    end,
    unharmed(fun() -> repeat(Call), tidy() end).

is_left_out(_, module_info) -> true;
%% They are there to stop things.
is_left_out(py, stop_contexts) -> true;
is_left_out(py_context_router, F) when F =:= stop; F =:= stop_pool -> true;
%% For OTP.
is_left_out(_, F) when F =:= init; F =:= handle_call; F =:= handle_cast; F =:= handle_info; F =:= handle_continue;
                       F =:= terminate; F =:= init_standalone; F =:= start_pooled -> true;
is_left_out(_, _) -> false.

would_stop(py_context, F, [Ctx], Contexts) when F =:= stop; F =:= destroy -> lists:member(Ctx, Contexts);
would_stop(_, _, _, _) -> false.

called(M, F, Args) ->
    {Pid, Monitor} = spawn_monitor(fun() ->
        exit(try {returned, erlang:phash2(apply(M, F, Args))} catch Class:Reason -> {raised, Class, Reason} end)
    end),
    Limit = case may_wait(F) of true -> ?WAITS_MS; false -> ?RETURNS_MS end,
    receive
        {'DOWN', Monitor, process, Pid, {returned, _}} -> ok;
        {'DOWN', Monitor, process, Pid, {raised, Class, Reason}} ->
            is_for_users(M, F) andalso not is_documented(F, Class, Reason)
                andalso ct:fail({M, F, Args, raised, Class, Reason});
        %% A context that it had started, and linked to.
        {'DOWN', Monitor, process, Pid, _} -> ok
    after Limit ->
        Where = process_info(Pid, current_stacktrace),
        exit(Pid, kill),
        receive {'DOWN', Monitor, process, Pid, _} -> ok end,
        may_wait(F) orelse ct:fail({M, F, Args, does_not_return, Where})
    end.

may_wait(F) -> lists:member(F, [await, async_await, stream_next, acquire, wait, give_up]).

is_for_users(py_context, F) -> not lists:member(F, [env, gone, resolve]);
is_for_users(py_context_router, F) -> F =/= start_link;
is_for_users(py_semaphore, F) -> lists:member(F, [max_concurrent, current, set_max_concurrent, acquire, release]);
is_for_users(py_state, F) -> F =/= system;
is_for_users(py_error, F) -> lists:member(F, [format_error, format_why]);
is_for_users(_, _) -> true.

is_documented(_, error, {bad_argument, _, _}) -> true;
is_documented(_, error, {no_such_context, _}) -> true;
is_documented(_, error, {no_such_pool, _}) -> true;
is_documented(_, error, {no_such_loop, _}) -> true;
is_documented(_, error, {context_died, _}) -> true;
is_documented(F, error, badarg) -> lists:member(F, [incr, decr, state_incr, state_decr]);
is_documented(_, _, _) -> false.

argument(Contexts) ->
    case rand:uniform(4) of
        1 -> py_test_terms:term();
        2 -> py_test_terms:one_of([math, sqrt, <<"math">>, "sqrt", [4], [], #{}, 0, 1, 10, none, default, extra, io,
                                   <<"1 + 1">>, <<"y = 1">>, worker, owngil, #{timeout => 10}, #{mode => worker}]);
        3 -> py_test_terms:one_of(Contexts);
        4 -> py_test_terms:mutate(py_test_terms:one_of([
                 {math, sqrt, [4]}, [{math, sqrt, [4]}], #{kwargs => #{}, timeout => 10}, #{owner => self()},
                 #{contexts => 0}, #{context => self()}, [1, 2, 3], <<"name">>]))
    end.

%% What calls that were right have left: pools, contexts, registrations, a limit.
tidy() ->
    _ = [ok = py_context_router:stop_pool(Pool) || Pool <- maps:keys(py:stats()),
                                                   not lists:member(Pool, [default, io, extra, contexts])],
    _ = [py:unregister_pool(Name) || {Name, _} <- py_context_router:list_pool_registrations()],
    _ = [py:unregister_function(Name) || Name <- py_functions:names()],
    ok = py:state_clear(),
    ok = py_semaphore:set_max_concurrent(20),
    ok = py:tracemalloc_stop().

%% Both.

repeat(Fun) ->
    %% What it loads and makes once is no leak.
    lists:foreach(Fun, lists:seq(1, 500)),
    Atoms = erlang:system_info(atom_count),
    Until = erlang:monotonic_time(second) + seconds(),
    Times = repeat(Fun, 501, Until),
    ct:pal("~b times; ~b atoms more", [Times, erlang:system_info(atom_count) - Atoms]),
    ?assert(erlang:system_info(atom_count) - Atoms < 100).

repeat(Fun, N, Until) ->
    Fun(N),
    case erlang:monotonic_time(second) < Until of
        true -> repeat(Fun, N + 1, Until);
        false -> N
    end.

%% Every process is the same afterwards, every pool answers, no slot is taken, and the memory of no process has grown.
unharmed(Fun) ->
    Before = tree(),
    Memory = largest(Before),
    Result = Fun(),
    flush(),
    ?assertEqual([], Before -- tree()),
    _ = [?assertEqual({Pool, {ok, 3}}, {Pool, py:call(Pool, probe, echo, [3])}) || Pool <- [default, io, extra]],
    _ = [?assertEqual({ok, 4}, py:call(Ctx, probe, echo, [4])) || Ctx <- py_test:contexts(extra)],
    ok = py_semaphore:set_max_concurrent(2),
    ?assertEqual({ok, [{ok, N} || N <- lists:seq(1, 20)]}, py:parallel([{probe, echo, [N]} || N <- lists:seq(1, 20)])),
    py_test:no_slots_taken(),
    py_test:eventually(fun() -> (largest(Before) < 2 * Memory + 4000000) orelse {bytes, largest(Before)} end),
    Result.

largest(Tree) ->
    lists:max([begin
                   garbage_collect(Pid),
                   {memory, Bytes} = process_info(Pid, memory),
                   Bytes
               end || {_, Pid, _} <- Tree]).

%% Everybody below the top, by the module that each runs.
tree() -> tree(erlang_python_sup, whereis(erlang_python_sup)).

tree(Name, Sup) ->
    [{Name, Sup, supervisor} | lists:append([below(Child) || Child <- supervisor:which_children(Sup)])]
        ++ [{standalone_context, Ctx, worker} || Name =:= erlang_python_sup, Ctx <- standalone_contexts()].

below({_, Pid, supervisor, [Module]}) -> tree(Module, Pid);
below({_, Pid, worker, [Module]}) -> [{Module, Pid, worker}].

standalone_contexts() ->
    #{contexts := #{contexts := Contexts}} = py:stats(),
    Contexts.

%% Whether a process has dealt with what was sent to it before, and lives. Everybody who speaks `sys' answers what he
%% does not know.
ping(Pid) ->
    Monitor = monitor(process, Pid),
    Pid ! {system, {self(), Monitor}, ping},
    receive
        {Monitor, _} ->
            true = demonitor(Monitor, [flush]),
            alive;
        {'DOWN', Monitor, process, Pid, Reason} -> {died, Reason}
    after ?RETURNS_MS -> {hangs, process_info(Pid, current_stacktrace)}
    end.

flush() ->
    receive _ -> flush() after 0 -> ok end.
