%% Large binaries, which travel through memory that Erlang and Python share: in every place where a value can be, with and
%% without that memory.
-module(large_values_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(THRESHOLD, 131072).
%% Values of megabytes are nothing to print.
-define(same(Expected, Value), ?assert((Expected) =:= (Value))).

suite() -> [{timetrap, {minutes, 2}}].

all() -> [{group, shared}, {group, pipe}, who_uses_it, it_is_used, memory_that_is_idle, room_for_no_more, no_copy_is_left,
          counted_by_memory_limit, options].

groups() ->
    Everywhere = [arguments, results, text_and_bytes, around_the_threshold, keys_names_and_code, what_python_keeps, exceptions,
                  locals, streams, coroutines, casts, callbacks, async_callbacks, messages, state, many_at_once, too_large,
                  in_many_pieces],
    [{shared, [], Everywhere}, {pipe, [], Everywhere}].

init_per_suite(Config) -> Config.
end_per_suite(_Config) -> ok.

init_per_group(shared, Config) -> ok = py_test:start(), Config;
init_per_group(pipe, Config) -> ok = py_test:start([{shared_memory, 0}]), Config.
end_per_group(_Group, _Config) -> py_test:stop().

init_per_testcase(Case, Config) ->
    _ = lists:member(Case, all()) andalso (ok = py_test:start()),
    Config.
end_per_testcase(Case, _Config) ->
    _ = lists:member(Case, all()) andalso py_test:stop(),
    ok.

%% Everywhere.

arguments(_) ->
    {A, B} = {bytes(1), bytes(300000)},
    Value = [A, {1, B, A}, #{<<"a">> => A, <<"b">> => [B, <<"small">>]}, [[[[B]]]]],
    ?same({ok, Value}, py:call(probe, echo, [Value])),
    ?same({ok, [[A, B], #{<<"k">> => B}]}, tuple_to_list_in_ok(py:call(probe, arguments, [A, B], #{k => B}))).

tuple_to_list_in_ok({ok, Tuple}) -> {ok, tuple_to_list(Tuple)}.

results(_) ->
    Zeros = fun(Size) -> binary:copy(<<0>>, Size) end,
    ?same({ok, [Zeros(200000), 5, Zeros(400000)]}, py:eval(<<"[bytes(200000), 5, bytes(400000)]">>)),
    ?same({ok, binary:copy(<<7>>, 200000)}, py:eval(<<"bytearray([7]) * 200000">>)),
    ?same({ok, Zeros(200000)}, py:eval(<<"memoryview(bytes(400000))[::2]">>)),
    ?same({ok, #{<<"a">> => {Zeros(200000), [Zeros(200000)]}}}, py:eval(<<"{'a': (bytes(200000), [bytes(200000)])}">>)).

%% Proves that a large binary is text or bytes by the same rule as a small one.
text_and_bytes(_) ->
    Text = binary:copy(<<"Grüße, "/utf8>>, 40000),
    [?same({Kind, {ok, Kind}}, {Kind, py:call(probe, kind, [Value])})
     || {Value, Kind} <- [{Text, <<"str">>}, {binary:copy(<<"x">>, 200000), <<"str">>}, {{bytes, Text}, <<"bytes">>},
                          {bytes(1), <<"bytes">>}]],
    ?same({ok, Text}, py:call(probe, echo, [Text])),
    ?same({ok, Text}, py:call(probe, echo, [{bytes, Text}])),
    ?same({ok, string:length(Text)}, py:call(builtins, len, [Text])).

around_the_threshold(_) ->
    [?same({Size, {ok, [B, B]}}, {Size, py:call(probe, echo, [[B, B]])})
     || Size <- [?THRESHOLD - 1, ?THRESHOLD, ?THRESHOLD + 1, 1048576 - 1, 1048576, 1048577, 3000000], B <- [bytes(3, Size)]].

%% Proves that large keys of maps, names and code work, or fail, as small ones do.
keys_names_and_code(_) ->
    Long = binary:copy(<<"k">>, 200000),
    ?same({ok, #{Long => Long}}, py:call(probe, echo, [#{Long => Long}])),
    ?same({ok, #{bytes(1) => 1}}, py:call(probe, echo, [#{{bytes, bytes(1)} => 1}])),
    ?assertMatch({error, {not_encodable, {duplicate_key, _}}}, py:eval(<<"{b'k' * 200000: 1, 'k' * 200000: 2}">>)),
    ?same({ok, 200000}, py:eval(<<"len('", Long/binary, "')">>)),
    ok = py:exec(<<"text = '", Long/binary, "'">>),
    ?same({ok, Long}, py:eval(<<"text">>)),
    ?assertMatch({error, {'ModuleNotFoundError', _}}, py:call(Long, f, [])),
    ?assertMatch({error, {'AttributeError', _}}, py:call(math, Long, [])).

%% Proves that what Python cannot see into comes back equal.
what_python_keeps(_) ->
    B = bytes(1),
    Fun = fun() -> B end,
    [?same({ok, Term}, py:call(probe, echo, [Term]))
     || Term <- [[a | B], [B | B], [B, [B | B], B], {[B | x], B}, Fun, [B, Fun], <<B/binary, 1:3>>]].

exceptions(_) ->
    Text = binary:copy(<<"x">>, 300000),
    ?same({error, {'ValueError', Text}}, py:eval(<<"(_ for _ in ()).throw(ValueError('x' * 300000))">>)).

locals(_) ->
    ?same({ok, {bytes(1), 200000}}, py:eval(<<"(x, len(y))">>, #{x => bytes(1), y => bytes(200000)})).

%% Proves that items keep their order, whether they are large or not.
streams(_) ->
    Code = <<"(bytes([i % 256]) * (200000 if i % 3 == 0 else 5) for i in range(60))">>,
    Expected = [binary:copy(<<I>>, case I rem 3 of 0 -> 200000; _ -> 5 end) || I <- lists:seq(0, 59)],
    ?same({ok, Expected}, py:stream_eval(Code)),
    {ok, Ref} = py:stream_start(probe, echo, [[bytes(1), 2, bytes(3, 3000000), 4]]),
    ?same([{data, bytes(1)}, {data, 2}, {data, bytes(3, 3000000)}, {data, 4}, done],
                 [receive {py_stream, Ref, What} -> What after 30000 -> late end || _ <- lists:seq(1, 5)]).

coroutines(_) ->
    ok = py:exec(<<"import asyncio\n\nasync def later(x):\n    await asyncio.sleep(0)\n    return [x, x]\n">>),
    Ref = py:async_call('__main__', later, [bytes(1)]),
    ?same({ok, [bytes(1), bytes(1)]}, py:async_await(Ref, 30000)).

casts(_) ->
    Refs = [{I, py:cast(probe, echo, [bytes(I)])} || I <- lists:seq(1, 20)],
    [?same({ok, bytes(I)}, py:await(Ref)) || {I, Ref} <- Refs],
    ?same({ok, [{ok, bytes(I)} || I <- lists:seq(1, 20)]}, py:parallel([{probe, echo, [bytes(I)]} || I <- lists:seq(1, 20)])).

callbacks(_) ->
    ok = py:register_function(both, fun([X, Y]) -> {X, [Y, #{x => X}]} end),
    ok = py:register_function(fails, fun([X]) -> error({no, X}) end),
    {A, B} = {bytes(1), bytes(2)},
    ?same({ok, {A, [B, #{<<"x">> => A}]}}, py:eval(<<"erlang.both(a, b)">>, #{a => A, b => B})),
    ?same({ok, {A, [1, #{<<"x">> => A}]}}, py:eval(<<"erlang.both(a, 1)">>, #{a => A})),
    ?assertMatch({error, {_, _}}, py:eval(<<"erlang.fails(a)">>, #{a => A})).

async_callbacks(_) ->
    ok = py:register_function(same, fun([X]) -> X end),
    ok = py:exec(<<"import asyncio\nimport erlang\n\nasync def ask(x):\n"
                   "    return await asyncio.gather(*[erlang.async_call('same', x) for _ in range(5)])\n">>),
    ?same({ok, lists:duplicate(5, bytes(1))}, py:async_await(py:async_call('__main__', ask, [bytes(1)]), 30000)).

%% Proves that messages keep their order, and come before the reply of the call that sent them.
messages(_) ->
    ok = py:exec(<<"import erlang\n\ndef tell(pid, large):\n    for i in range(30):\n        erlang.send(pid, [i, large if i % 4 == 0 else i])\n">>),
    ?same({ok, none}, py:call('__main__', tell, [self(), bytes(1)])),
    {messages, Messages} = process_info(self(), messages),
    ?same([[I, case I rem 4 of 0 -> bytes(1); _ -> I end] || I <- lists:seq(0, 29)], Messages),
    [receive M -> ok end || M <- Messages].

state(_) ->
    ?same({ok, none}, py:eval(<<"erlang.state_set('large', x)">>, #{x => bytes(1)})),
    ?same({ok, bytes(1)}, py:state_fetch(<<"large">>)),
    ?same({ok, true}, py:eval(<<"erlang.state_get('large') == x">>, #{x => bytes(1)})),
    ok = py:state_remove(<<"large">>).

%% Proves that everybody gets his own value.
many_at_once(_) ->
    Jobs = [py_test:async(fun() ->
        [begin
             B = bytes(I * 7 + J, 140000 + I * 1000 + J),
             ?same({ok, {J, B}}, py:call(probe, echo, [{J, B}]))
         end || J <- lists:seq(1, 30)]
    end) || I <- lists:seq(1, 20)],
    [py_test:join(Job) || Job <- Jobs],
    py_test:no_slots_taken().

%% Proves that the limit counts what is not in the frame.
too_large(_) ->
    Max = 64 * 1024 * 1024,
    Half = bytes(1, Max div 2),
    {error, {too_large, _, Max}} = py:call(probe, echo, [[Half, Half]]),
    {error, {too_large, _, Max}} = py:eval(<<"[bytes(33 * 1024 * 1024)] * 2">>),
    ?same({ok, Max div 2}, py:call(builtins, len, [Half])),
    py_test:no_slots_taken().

%% Proves that large binaries fit together with a frame that is itself cut into pieces.
in_many_pieces(_) ->
    Value = [lists:seq(1, 400000), bytes(1), lists:seq(1, 400000), bytes(2)],
    ?same({ok, Value}, py:call(probe, echo, [Value])),
    ?same({ok, [Value, Value]}, py:stream(probe, echo, [[Value, Value]])).

%% The memory.

who_uses_it(_) ->
    #{default := #{shared_memory := Bytes}} = py:stats(),
    ?assert(is_integer(Bytes)),
    py_test:with_pool(1, #{shared_memory => 0}, fun(Pool) ->
        ?assertMatch(#{Pool := #{shared_memory := pipe}}, py:stats()),
        ?same({ok, bytes(1)}, py:call(Pool, probe, echo, [bytes(1)]))
    end).

%% Proves that large values do take this way, both ways.
it_is_used(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        ?same(0, shared(Pool)),
        ?same({ok, 1 bsl 22}, py:call(Pool, builtins, len, [bytes(1, 1 bsl 22)])),
        To = shared(Pool),
        ?assert(To >= 1 bsl 22),
        ?same({ok, binary:copy(<<0>>, 1 bsl 22)}, py:call(Pool, builtins, bytes, [1 bsl 22])),
        ?assert(shared(Pool) >= To + (1 bsl 22))
    end).

%% Proves that what may be idle is bounded by the pool option, both ways.
memory_that_is_idle(_) ->
    py_test:with_pool(1, #{shared_memory => 4 bsl 20}, fun(Pool) ->
        Values = [bytes(I, 1500000) || I <- lists:seq(1, 8)],
        [?same({ok, Values}, py:call(Pool, probe, echo, [Values])) || _ <- lists:seq(1, 5)],
        py_test:eventually(fun() -> shared(Pool) =< 4 bsl 20 end),
        ?same({ok, Values}, py:call(Pool, probe, echo, [Values]))
    end).

%% Proves that what finds no room goes through the pipe: here because Python keeps what came before in use.
room_for_no_more(_) ->
    ok = application:set_env(erlang_python, max_frame_bytes, 1 bsl 20),
    try py_test:with_pool(1, #{max_concurrent => 60}, fun(Pool) ->
        Value = bytes(1, 500000),
        {Results, Answers} = traced(fun() ->
            Jobs = [py_test:async(fun() -> py:call(Pool, probe, tagged_sleep, [Value, 0.01]) end) || _ <- lists:seq(1, 60)],
            [py_test:join(Job) || Job <- Jobs]
        end),
        [?same({ok, Value}, Result) || Result <- Results],
        ?same([no_room, ok], lists:usort(Answers)),
        py_test:eventually(fun() -> py_segments:in_use(port(Pool)) =:= 0 end)
    end)
    after application:unset_env(erlang_python, max_frame_bytes)
    end.

%% What Fun gives, and what the carriers have said meanwhile.
traced(Fun) ->
    {module, _} = code:ensure_loaded(py_carrier),
    1 = erlang:trace_pattern({py_carrier, send, 6}, [{'_', [], [{return_trace}]}], []),
    _ = erlang:trace(new_processes, true, [call]),
    Result = Fun(),
    _ = erlang:trace(all, false, [call]),
    Delivered = erlang:trace_delivered(all),
    receive {trace_delivered, all, Delivered} -> ok end,
    _ = erlang:trace_pattern({py_carrier, send, 6}, false, []),
    {Result, answers()}.

answers() ->
    receive
        {trace, _, return_from, {py_carrier, send, 6}, Answer} -> [Answer | answers()];
        {trace, _, call, _} -> answers()
    after 0 -> []
    end.

%% Proves that no process keeps a large value when its call is over.
no_copy_is_left(_) ->
    py_test:with_pool(1, #{}, fun(Pool) ->
        ok = py_test:in_process(fun() ->
            Value = bytes(1, 32 bsl 20),
            {ok, Value} = py:call(Pool, probe, echo, [Value]),
            ok
        end),
        py_test:eventually(fun() ->
            _ = erlang:garbage_collect(),
            holders(32 bsl 20) =:= []
        end)
    end).

holders(Size) ->
    [Pid || Pid <- processes(), {binary, Binaries} <- [process_info(Pid, binary)], {_, Bytes, _} <- Binaries, Bytes >= Size].

%% Proves that what Erlang has written counts for the limit of the port process.
counted_by_memory_limit(_) ->
    py_test:with_pool(1, #{memory_limit => 200 bsl 20, shared_memory => 1 bsl 30}, fun(Pool) ->
        Large = bytes(1, 60 bsl 20),
        Result = py:call(Pool, probe, tagged_sleep, [[binary:part(Large, 0, 30 bsl 20), binary:part(Large, 0, 29 bsl 20)], 1.0]),
        ?assertMatch({ok, _}, Result),
        ?same({error, {context_died, {killed, memory_limit}}},
                     py:call(Pool, probe, tagged_sleep, [[Large], 1.0]))
    end).

options(_) ->
    [?same({error, {bad_option, shared_memory, Bad}}, py_context_router:start_pool(bad, 1, #{shared_memory => Bad}))
     || Bad <- [-1, 1.5, infinity, 1 bsl 60]].

shared(Pool) ->
    #{Pool := #{shared_memory := Bytes}} = py:stats(),
    Bytes.

port(Pool) -> py_test:port_of(py_test:os_pid(Pool)).

%% Not UTF-8.
bytes(Seed) -> bytes(Seed, 200000).
bytes(Seed, Size) -> <<255, (binary:copy(<<(Seed rem 256)>>, Size - 1))/binary>>.
