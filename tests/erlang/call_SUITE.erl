%% Calls into Python: every shape of py:call, its options and its limits.
-module(call_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [names_in_every_shape, dotted_modules, positional_arguments, keyword_arguments, call_with_timeout_argument,
     timeout_gives_error, next_call_after_timeout, queued_timeout, infinite_timeout, pool_form, pool_form_with_kwargs,
     pool_that_is_not_there, context_form, context_form_with_options, context_that_is_not_there,
     context_form_timeout, traceback_option, strict_option, buffer_option, class_and_builtin_callables,
     missing_module, missing_function, not_a_callable, wrong_arguments, many_arguments, calls_from_many_processes,
     late_reply_vanishes].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

%% Proves that module and function may each be an atom, a binary or a string, in all nine combinations.
names_in_every_shape(_) ->
    _ = [?assertEqual({ok, 4.0}, py:call(M, F, [16]))
         || M <- [math, <<"math">>, "math"], F <- [sqrt, <<"sqrt">>, "sqrt"]],
    ok.

%% Proves that submodules are reached by their dotted names, imported on the way.
dotted_modules(_) ->
    _ = [?assertEqual({ok, <<"a/b">>}, py:call(M, join, [<<"a">>, <<"b">>]))
         || M <- ['os.path', <<"os.path">>, "os.path"]],
    {ok, <<"a%20b">>} = py:call('urllib.parse', quote, [<<"a b">>]),
    ok.

%% Proves that positional arguments arrive complete and in order, none and many.
positional_arguments(_) ->
    ?assertEqual({ok, {[], #{}}}, py:call(probe, arguments, [])),
    ?assertEqual({ok, {[1, <<"two">>, 3.0], #{}}}, py:call(probe, arguments, [1, two, 3.0])).

%% Proves that keyword arguments with atom and binary names arrive beside the positional ones.
keyword_arguments(_) ->
    Expected = {ok, {[1], #{<<"a">> => 2, <<"b">> => [3]}}},
    ?assertEqual(Expected, py:call(probe, arguments, [1], #{a => 2, b => [3]})),
    ?assertEqual(Expected, py:call(probe, arguments, [1], #{<<"a">> => 2, b => [3]})),
    ?assertEqual({ok, <<"{\n \"a\": 1\n}">>}, py:call(json, dumps, [#{a => 1}], #{indent => 1})),
    {error, {'TypeError', Message}} = py:call(json, dumps, [1], #{no_such_keyword => 1}),
    ?assertNotEqual(nomatch, string:find(Message, <<"no_such_keyword">>)).

%% Proves that call/5 with a timeout returns the value when there is time enough.
call_with_timeout_argument(_) ->
    ?assertEqual({ok, {[1], #{<<"k">> => 2}}}, py:call(probe, arguments, [1], #{k => 2}, 30000)),
    ?assertEqual({ok, 3}, py:call(probe, echo, [3], #{}, infinity)).

%% Proves that a call that outlives its timeout returns {error,timeout}.
timeout_gives_error(_) ->
    ?assertEqual({error, timeout}, py:call(probe, spin, [], #{}, 100)).

%% Proves that contexts answer again after calls in them timed out.
next_call_after_timeout(_) ->
    Timeouts = [py_test:async(fun() -> py:call(probe, spin, [], #{}, 100) end) || _ <- lists:seq(1, 4)],
    _ = [?assertEqual({error, timeout}, py_test:join(T)) || T <- Timeouts],
    _ = [?assertEqual({ok, N}, py_test:in_process(fun() -> py:call(probe, echo, [N]) end)) || N <- lists:seq(1, 20)],
    ok.

%% Proves that a request that times out while it waits behind another one neither runs nor disturbs that other one.
queued_timeout(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        Ctx = py_context_router:get_context(Pool),
        First = py_test:waiting(Ctx, 1.0),
        ?assertEqual({error, timeout}, py:call(Ctx, probe, arrive, [queued], #{timeout => 50})),
        ?assertEqual({ok, <<"waited">>}, py_test:join(First)),
        ?assertEqual({ok, []}, py:call(Ctx, probe, arrivals, []))
    end).

%% Proves that the context form waits for ever unless told otherwise, here shown by the option itself.
infinite_timeout(_) ->
    Ctx = py:context(1),
    ?assertEqual({ok, 1}, py:call(Ctx, probe, tagged_sleep, [1, 0.05], #{timeout => infinity})).

%% Proves that a pool can be named in the call, and that pools are different OS processes.
pool_form(_) ->
    ?assertEqual({ok, 4.0}, py:call(default, math, sqrt, [16])),
    ?assertEqual({ok, 4.0}, py:call(io, <<"math">>, "sqrt", [16])),
    ?assertNotEqual(py:call(default, probe, pid, []), py:call(io, probe, pid, [])).

%% Proves that the pool form takes keyword arguments and does not mistake itself for call(M,F,Args,Kwargs,Timeout).
pool_form_with_kwargs(_) ->
    ?assertEqual({ok, {[1], #{<<"a">> => 2}}}, py:call(io, probe, arguments, [1], #{a => 2})).

%% Proves that naming a pool that does not exist is an error term, not a crash.
pool_that_is_not_there(_) ->
    ?assertEqual({error, {no_such_pool, nowhere}}, py:call(nowhere, math, sqrt, [16])),
    ?assertEqual({error, {no_such_pool, nowhere}}, py:call(nowhere, math, sqrt, [16], #{})).

%% Proves that a call can be sent to a context by its pid, from context/0 and context/1.
context_form(_) ->
    ?assertEqual({ok, 4.0}, py:call(py:context(), math, sqrt, [16])),
    One = py:context(1),
    Two = py:context(2),
    ?assertNotEqual(One, Two),
    ?assertNotEqual(py:call(One, probe, thread, []), py:call(Two, probe, thread, [])).

%% Proves that the options map of the context form carries keyword arguments and a timeout.
context_form_with_options(_) ->
    Ctx = py:context(1),
    ?assertEqual({ok, {[1], #{<<"a">> => 2}}},
                 py:call(Ctx, probe, arguments, [1], #{kwargs => #{a => 2}, timeout => 30000})),
    ?assertEqual({ok, {[], #{}}}, py:call(Ctx, probe, arguments, [], #{})).

%% Proves that a call to a context that was stopped is an error that says so.
context_that_is_not_there(_) ->
    {ok, Ctx} = py_context:new(#{}),
    {ok, 1} = py:call(Ctx, probe, echo, [1]),
    ok = py_context:stop(Ctx),
    ?assertMatch({error, {context_died, _}}, py:call(Ctx, probe, echo, [1])).

%% Proves that the timeout option of the context form works, and that the context is usable afterwards.
context_form_timeout(_) ->
    Ctx = py:context(1),
    ?assertEqual({error, timeout}, py:call(Ctx, probe, spin, [], #{timeout => 50})),
    ?assertEqual({ok, 1}, py:call(Ctx, probe, echo, [1])).

%% Proves that with traceback => true the error carries Python's own text of the stack.
traceback_option(_) ->
    Ctx = py:context(1),
    {error, {'ValueError', <<"from the inner function">>, Traceback}} =
        py:call(Ctx, probe, outer, [], #{traceback => true}),
    _ = [?assertNotEqual(nomatch, string:find(Traceback, Part))
         || Part <- [<<"Traceback (most recent call last)">>, <<"in _inner">>, <<"in outer">>, <<"probe.py">>,
                     <<"ValueError: from the inner function">>]],
    ?assertMatch({error, {'ValueError', _}}, py:call(Ctx, probe, outer, [], #{traceback => false})).

%% Proves that strict => true turns a value that only str() could convert into an error that names its type.
strict_option(_) ->
    Ctx = py:context(1),
    ?assertEqual({ok, <<"plain text">>}, py:call(Ctx, values, make, [plain])),
    {error, {not_encodable, What}} = py:call(Ctx, values, make, [plain], #{strict => true}),
    ?assertNotEqual(nomatch, string:find(io_lib:format("~tp", [What]), "Plain")),
    ?assertEqual({ok, [1, 2, 3]}, py:call(Ctx, values, make, [array], #{strict => true})).

%% Proves that buffer => true keeps the raw bytes of what would become a list.
buffer_option(_) ->
    Ctx = py:context(1),
    ?assertEqual({ok, [1, 2, 3]}, py:call(Ctx, values, make, [array])),
    ?assertEqual({ok, <<1:16/native, 2:16/native, 3:16/native>>},
                 py:call(Ctx, values, make, [array], #{buffer => true})).

%% Proves that whatever can be called in Python can be called from Erlang: builtins, classes, bound constructors.
class_and_builtin_callables(_) ->
    ?assertEqual({ok, 3}, py:call(builtins, len, [[1, 2, 3]])),
    ?assertEqual({ok, #{<<"a">> => 1}}, py:call(collections, 'OrderedDict', [[{a, 1}]])),
    ?assertEqual({ok, <<"0.5">>}, py:call(decimal, 'Decimal', [<<"0.5">>])).

%% Proves that a module that does not exist is Python's error, with the module's name in it.
missing_module(_) ->
    {error, {'ModuleNotFoundError', Message}} = py:call(no_such_module_here, f, []),
    ?assertNotEqual(nomatch, string:find(Message, <<"no_such_module_here">>)).

%% Proves that a function that does not exist is an AttributeError with its name in it.
missing_function(_) ->
    {error, {'AttributeError', Message}} = py:call(math, no_such_function, []),
    ?assertNotEqual(nomatch, string:find(Message, <<"no_such_function">>)).

%% Proves that calling what is not callable is a TypeError.
not_a_callable(_) ->
    ?assertMatch({error, {'TypeError', _}}, py:call(math, pi, [])).

%% Proves that wrong arguments are Python's error and leave the context usable.
wrong_arguments(_) ->
    ?assertMatch({error, {'TypeError', _}}, py:call(math, sqrt, [])),
    ?assertMatch({error, {'TypeError', _}}, py:call(math, sqrt, [<<"x">>])),
    ?assertEqual({ok, 4.0}, py:call(math, sqrt, [16])).

%% Proves that thousands of positional and hundreds of keyword arguments are passed.
many_arguments(_) ->
    Positional = lists:seq(1, 5000),
    Keywords = maps:from_list([{list_to_binary("k" ++ integer_to_list(N)), N} || N <- lists:seq(1, 500)]),
    ?assertEqual({ok, {Positional, Keywords}}, py:call(probe, arguments, Positional, Keywords)).

%% Proves that every one of many concurrent callers gets its own answer.
calls_from_many_processes(_) ->
    Jobs = [{N, py_test:async(fun() -> [py:call(probe, echo, [{N, I}]) || I <- lists:seq(1, 50)] end)}
            || N <- lists:seq(1, 100)],
    _ = [?assertEqual([{ok, {N, I}} || I <- lists:seq(1, 50)], py_test:join(Job)) || {N, Job} <- Jobs],
    ok.

%% Proves that the reply of a call that timed out never reaches the caller's mailbox.
late_reply_vanishes(_) ->
    Ctx = py:context(1),
    py_test:in_process(fun() ->
        ?assertEqual({error, timeout}, py:call(Ctx, time, sleep, [0.3], #{timeout => 20})),
        %% The context works in order: once it answers this, the late reply has been sent.
        ?assertEqual({ok, 1}, py:call(Ctx, probe, echo, [1])),
        ?assertEqual({message_queue_len, 0}, process_info(self(), message_queue_len))
    end).
