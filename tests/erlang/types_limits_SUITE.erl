%% Limits of conversion: depth, size, and what happens at them.
-module(types_limits_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() -> [{group, standard}, {group, small_frames}, {group, small_terms}].

groups() ->
    [{standard, [],
      [thousand_levels_to_python, thousand_levels_from_python, far_too_deep, cyclic_values, megabyte_values,
       sixteen_megabyte_values, many_small_values, result_sizes_around_a_piece, argument_sizes_around_a_piece,
       largest_integers, integers_that_no_node_holds, lists_that_would_be_huge]},
     {small_terms, [], [results_decoded, items_decoded, arguments_of_callbacks_decoded, messages_decoded,
                        opaque_terms_decoded, coroutines_decoded, values_below_the_limit_decoded]},
     {small_frames, [], [arguments_too_large, result_too_large, items_too_large,
                          sizes_just_below_the_limit, error_then_next_call]}].

init_per_suite(Config) -> Config.
end_per_suite(_Config) -> ok.

init_per_group(standard, Config) -> ok = py_test:start(), Config;
%% A frame may hold more than its decoded value may take.
init_per_group(small_terms, Config) -> ok = py_test:start([{max_term_bytes, 1 bsl 20}]), Config;
init_per_group(small_frames, Config) -> ok = py_test:start([{max_frame_bytes, 65536}]), Config.
end_per_group(_Group, _Config) -> py_test:stop().

%% Proves that 1 000 levels reach Python and 1 001 are an error, for lists, tuples and maps.
thousand_levels_to_python(_) ->
    _ = [begin
             ?assertEqual({Shape, {ok, 1000}}, {Shape, py:call(values, levels_of, [nest(Shape, 1000)])}),
             ?assertEqual({Shape, {error, {not_encodable, depth}}},
                          {Shape, py:call(values, levels_of, [nest(Shape, 1001)])})
         end || Shape <- [list, tuple, map]],
    ok.

%% Proves the same of results.
thousand_levels_from_python(_) ->
    _ = [begin
             ?assertEqual({Shape, {ok, nest(Shape, 1000)}}, {Shape, py:call(values, nested, [Shape, 1000])}),
             ?assertEqual({Shape, {error, {not_encodable, depth}}}, {Shape, py:call(values, nested, [Shape, 1001])})
         end || Shape <- [list, tuple, map]],
    ok.

%% Proves that values deep enough to overflow a C stack are an error both ways and end no process.
far_too_deep(_) ->
    Before = py_test:os_pid(default),
    _ = [begin
             ?assertEqual({error, {not_encodable, depth}}, py:call(probe, echo, [nest(Shape, 300000)])),
             ?assertEqual({error, {not_encodable, depth}}, py:call(values, nested, [Shape, 300000]))
         end || Shape <- [list, tuple, map]],
    ?assertEqual({error, {not_encodable, depth}}, py:call(probe, echo, [improper(300000)])),
    ?assertEqual(Before, py_test:os_pid(default)).

%% Proves that a value that holds itself is an error.
cyclic_values(_) ->
    ?assertEqual({error, {not_encodable, depth}}, py:call(values, cycle, [])),
    ?assertEqual({ok, 1}, py:call(probe, echo, [1])).

%% Proves that text and bytes of a megabyte pass both ways unchanged.
megabyte_values(_) -> large_values(1 bsl 20).

%% Proves that text and bytes of sixteen megabytes pass both ways unchanged.
sixteen_megabyte_values(_) -> large_values(16 bsl 20).

large_values(Size) ->
    Text = binary:copy(<<"0123456789abcdef">>, Size div 16),
    Bytes = binary:copy(<<255>>, Size),
    ?assertEqual({ok, Size}, py:call(builtins, len, [Text])),
    ?assertEqual({ok, Size}, py:call(builtins, len, [Bytes])),
    ?assert({ok, Text} =:= py:call(values, text_of, [Size])),
    ?assert({ok, Bytes} =:= py:call(values, bytes_of, [Size])),
    ?assert({ok, Text} =:= py:call(probe, echo, [Text])),
    ?assert({ok, {Bytes, [Text]}} =:= py:call(probe, echo, [{Bytes, [Text]}])).

%% Proves that containers of a hundred thousand elements pass both ways unchanged.
many_small_values(_) ->
    Integers = lists:seq(1, 100000),
    Floats = [N / 7 || N <- Integers],
    Maps = [#{<<"id">> => N, <<"name">> => <<"n">>} || N <- lists:seq(1, 10000)],
    _ = [?assert({ok, Value} =:= py:call(probe, echo, [Value])) || Value <- [Integers, Floats, Maps]],
    ok.

%% Proves that no byte is lost or doubled where a result begins to take one piece more.
result_sizes_around_a_piece(_) ->
    _ = [begin
             {ok, Text} = py:call(values, text_of_exactly, [Size]),
             ?assert(Text =:= pattern(Size))
         end || Size <- around_a_piece()],
    ok.

%% Proves the same of arguments.
argument_sizes_around_a_piece(_) ->
    _ = [?assertEqual({Size, {ok, true}}, {Size, py:call(values, is_text_of_exactly, [pattern(Size), Size])})
         || Size <- around_a_piece()],
    ok.

%% Proves that integers up to the largest that this node holds come and go.
largest_integers(_) ->
    Bits = 8 * py_integers:max_bytes(),
    {ok, Largest} = py:eval(<<"(1 << n) - 1">>, #{n => Bits}),
    ?assertEqual(1, Largest bsr (Bits - 1)),
    ?assertEqual(Bits div 8, byte_size(binary:encode_unsigned(Largest))),
    ?assertEqual({ok, true}, py:eval(<<"x == (1 << n) - 1">>, #{n => Bits, x => Largest})).

%% Proves that larger ones are an error with their size and the limit, wherever they are in a value.
integers_that_no_node_holds(_) ->
    Max = py_integers:max_bytes(),
    _ = [begin
             {error, {too_large, Bytes, Max}} = py:eval(Code, #{n => 8 * Max}),
             ?assert(Bytes > Max)
         end || Code <- [<<"1 << n">>, <<"-(1 << n)">>, <<"[1, (1 << n, 2)]">>, <<"{1: 1 << n}">>, <<"1 << (2 * n)">>]],
    ?assertMatch({error, {too_large, _, Max}}, py:eval(<<"1 << 5 * 10**8">>)),
    ?assertEqual({ok, 1}, py:call(probe, echo, [1])).

%% Proves that a list whose elements are a byte each in a frame, and sixteen in Erlang, is refused by what it would take.
lists_that_would_be_huge(_) ->
    Max = 8 * 64 * 1024 * 1024,
    {error, {too_large, Bytes, Max}} = py:eval(<<"[[]] * 60_000_000">>),
    ?assert(Bytes >= 16 * 60000000),
    {ok, List} = py:eval(<<"[[]] * 1_000_000">>),
    ?assertEqual(1000000, length(List)).

%% Proves that results are refused by what they would take in Erlang, with that and the limit.
results_decoded(_) ->
    Max = 1 bsl 20,
    _ = [begin
             {Code, {error, {too_large, Bytes, Max}}} = {Code, py:eval(Code)},
             ?assert(Bytes > Max)
         end || Code <- [<<"[[]] * 70_000">>, <<"[1.5] * 40_000">>, <<"((1, 2),) * 50_000">>, <<"[{}] * 30_000">>,
                         <<"[2**64] * 30_000">>, <<"['x'] * 30_000">>, <<"'x' * 1_100_000">>, <<"[[0] * 100] * 700">>,
                         <<"{n: n for n in range(30_000)}">>]],
    ?assertEqual({ok, 1}, py:call(probe, echo, [1])).

%% Proves the same of the items of streams, each for itself.
items_decoded(_) ->
    ?assertMatch({ok, [_, _, _]}, py:stream_eval(<<"([[]] * 50_000 for _ in range(3))">>)),
    ?assertMatch({error, {too_large, _, 1048576}}, py:stream_eval(<<"([[]] * n for n in (1, 70_000))">>)).

%% Proves that arguments of callbacks beyond it are a ValueError that names the limit.
arguments_of_callbacks_decoded(_) ->
    ok = py:register_function(limits_same, fun([Value]) -> length(Value) end),
    ?assertEqual({ok, 50000}, py:eval(<<"erlang.limits_same([[]] * 50_000)">>)),
    {error, {'ValueError', Text}} = py:eval(<<"erlang.limits_same([[]] * 70_000)">>),
    ?assertMatch({match, _}, re:run(Text, "max_term_bytes")),
    ok = py:unregister_function(limits_same).

%% Proves the same of messages.
messages_decoded(_) ->
    {error, {'ValueError', Text}} = py:eval(<<"erlang.send(erlang.self(), [[]] * 70_000)">>),
    ?assertMatch({match, _}, re:run(Text, "max_term_bytes")),
    {ok, none} = py:eval(<<"erlang.send(erlang.self(), [[]] * 50_000)">>),
    ?assertEqual(50000, receive List when is_list(List) -> length(List) after 30000 -> none end).

%% Proves that bytes which Python passes off as an opaque term are counted as what they are.
opaque_terms_decoded(_) ->
    Forged = <<"erlang.Term(bytes([108]) + (n).to_bytes(4, 'big') + bytes([106]) * (n + 1))">>,
    ?assertMatch({ok, [_ | _]}, py:eval(Forged, #{n => 50000})),
    ?assertMatch({error, {too_large, _, 1048576}}, py:eval(Forged, #{n => 70000})).

%% Proves the same of what coroutines return.
coroutines_decoded(_) ->
    ok = py:exec(<<"async def lists(n): return [[]] * n">>),
    ?assertMatch({ok, [_ | _]}, py:async_await(py:async_call('__main__', lists, [50000]))),
    ?assertMatch({error, {too_large, _, 1048576}}, py:async_await(py:async_call('__main__', lists, [70000]))).

%% Proves that values of nearly that much pass, and that a value does not count towards the next one.
values_below_the_limit_decoded(_) ->
    _ = [?assertMatch({ok, [_ | _]}, py:eval(<<"[[]] * 65_000">>)) || _ <- lists:seq(1, 20)],
    _ = [?assertMatch({ok, [_ | _]}, py:eval(<<"[1.5] * 32_000">>)) || _ <- lists:seq(1, 20)],
    ok.

around_a_piece() ->
    [Pieces * (1 bsl 20) + Plus
     || Pieces <- [1, 2], Plus <- [-300, -150, -100, -80, -64, -32, -16, -8, -2, -1, 0, 1, 2, 4096]].

%% Proves that an argument beyond max_frame_bytes is refused with its size and the limit.
arguments_too_large(_) ->
    {error, {too_large, Bytes, 65536}} = py:call(probe, echo, [binary:copy(<<"x">>, 70000)]),
    ?assert(Bytes > 65536),
    ?assertMatch({error, {too_large, _, 65536}}, py:eval(<<"len(x)">>, #{x => binary:copy(<<"x">>, 3 bsl 20)})),
    ?assertMatch({error, {too_large, _, 65536}}, py:exec(binary:copy(<<"#">>, 70000))),
    ?assertMatch({error, {too_large, _, 65536}}, py:await(py:cast(probe, echo, [binary:copy(<<"x">>, 70000)]))).

%% Proves that a result beyond max_frame_bytes is refused with its size and the limit.
result_too_large(_) ->
    {error, {too_large, Bytes, 65536}} = py:eval(<<"'x' * 70000">>),
    ?assert(Bytes > 65536),
    ?assertMatch({error, {too_large, _, 65536}}, py:eval(<<"'x' * 30_000_000">>)),
    ?assertMatch({error, {too_large, _, 65536}}, py:eval(<<"list(range(10**6))">>)).

%% Proves that it is the same error in a stream, after the items before it, and that the generator is closed.
items_too_large(_) ->
    ok = py:exec(<<"closed = []\ndef items(n):\n    try:\n        yield 1\n        yield 'x' * n\n    finally:\n"
                   "        closed.append(n)\nasync def async_items(n):\n    for item in items(n):\n        yield item\n">>),
    ok = py:exec(<<"import gc">>),
    _ = [begin
        ?assertMatch({error, {too_large, _, 65536}}, py:stream('__main__', F, [Size])),
        ?assertMatch({error, {too_large, _, 65536}}, py:stream_fold(fun(X, _) -> X end, 0, {'__main__', F, [Size]})),
        {ok, Ref} = py:stream_start('__main__', F, [Size]),
        ?assertEqual({ok, 1}, py:stream_next(Ref, 30000)),
        ?assertMatch({error, {too_large, _, 65536}}, py:stream_next(Ref, 30000))
    end || F <- [items, async_items], Size <- [70000, 30000000]],
    {ok, _} = py:eval(<<"gc.collect()">>),
    ?assertEqual({ok, 12}, py:eval(<<"len(closed)">>)).

%% Proves that values of nearly that size pass.
sizes_just_below_the_limit(_) ->
    Text = binary:copy(<<"x">>, 65000),
    ?assert({ok, Text} =:= py:call(probe, echo, [Text])).

%% Proves that refused values leave the pool as it was, with no slot taken.
error_then_next_call(_) ->
    Before = py_test:os_pid(default),
    _ = [begin
             ?assertMatch({error, {too_large, _, _}}, py:eval(<<"'x' * 70000">>)),
             ?assertMatch({error, {too_large, _, _}}, py:call(probe, echo, [binary:copy(<<"x">>, 70000)])),
             ?assertEqual({ok, N}, py:call(probe, echo, [N]))
         end || N <- lists:seq(1, 20)],
    ?assertEqual(0, py_semaphore:current()),
    ?assertEqual(Before, py_test:os_pid(default)).

nest(Shape, Levels) -> lists:foldl(fun(_, Inner) -> wrap(Shape, Inner) end, <<"leaf">>, lists:seq(1, Levels)).

wrap(list, Inner) -> [Inner];
wrap(tuple, Inner) -> {Inner};
wrap(map, Inner) -> #{<<"k">> => Inner}.

improper(Levels) -> lists:foldl(fun(_, Inner) -> [Inner | tail] end, 1, lists:seq(1, Levels)).

pattern(Size) -> binary:part(binary:copy(<<"0123456789abcdef">>, Size div 16 + 1), 0, Size).
