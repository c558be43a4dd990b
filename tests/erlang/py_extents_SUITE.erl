%% Extents of the part of the segment file that Erlang writes (py_extents), as a value.
-module(py_extents_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(MIB, 1048576).

suite() -> [{timetrap, {minutes, 1}}].

all() -> [used_again, the_oldest_is_discarded, discarded_is_out_of_use, full, unknown, never_overlap].

%% Proves that an extent that was given back is the next one of its size, with its memory.
used_again(_) ->
    {Offset, 0, E1} = py_extents:take(?MIB, py_extents:new(0, 1 bsl 30)),
    {?MIB, ?MIB, E2} = py_extents:give_back(Offset, E1),
    ?assertMatch({Offset, ?MIB, _}, py_extents:take(?MIB - 1, E2)),
    {Other, 0, _} = py_extents:take(2 * ?MIB, E2),
    ?assertNotEqual(Offset, Other).

%% Proves that what is idle for longest is discarded first, and no more than has to be.
the_oldest_is_discarded(_) ->
    {A, _, E1} = py_extents:take(?MIB, py_extents:new(0, 1 bsl 30)),
    {B, _, E2} = py_extents:take(?MIB, E1),
    {C, _, E3} = py_extents:take(?MIB, E2),
    E = lists:foldl(fun(Offset, Before) -> {_, _, After} = py_extents:give_back(Offset, Before), After end, E3, [B, A, C]),
    {Discarded, _} = py_extents:discard(?MIB + 1, E),
    ?assertEqual([{B, ?MIB}, {A, ?MIB}], Discarded),
    {All, Rest} = py_extents:discard(1 bsl 40, E),
    ?assertEqual(3, length(All)),
    ?assertEqual({[], Rest}, py_extents:discard(1, Rest)).

%% Proves that nothing is written where memory is being discarded.
discarded_is_out_of_use(_) ->
    {A, _, E1} = py_extents:take(?MIB, py_extents:new(0, 1 bsl 30)),
    {_, _, E2} = py_extents:give_back(A, E1),
    {[{A, ?MIB}], E3} = py_extents:discard(1, E2),
    {B, 0, E4} = py_extents:take(?MIB, E3),
    ?assertNotEqual(A, B),
    {0, 0, E5} = py_extents:give_back(A, E4),
    ?assertMatch({A, 0, _}, py_extents:take(?MIB, E5)).

full(_) ->
    {_, _, E1} = py_extents:take(?MIB, py_extents:new(0, 2 * ?MIB)),
    ?assertEqual(full, py_extents:take(2 * ?MIB, E1)),
    {_, _, E2} = py_extents:take(?MIB, E1),
    ?assertEqual(full, py_extents:take(1, E2)).

unknown(_) ->
    {A, _, E1} = py_extents:take(?MIB, py_extents:new(0, 1 bsl 30)),
    ?assertEqual(unknown, py_extents:give_back(A + 4096, E1)),
    {_, _, E2} = py_extents:give_back(A, E1),
    ?assertEqual(unknown, py_extents:give_back(A, E2)).

%% Proves that extents in use never overlap, whatever is taken, given back and discarded.
never_overlap(_) ->
    py_test:seed(),
    lists:foldl(fun(_, {E, Used, Discarded}) -> step(rand:uniform(5), E, Used, Discarded) end,
                {py_extents:new(?MIB, 1 bsl 36), [], []}, lists:seq(1, 3000)),
    ok.

step(N, E, Used, Discarded) when N =< 2; Used =:= [] ->
    Bytes = rand:uniform(4 * ?MIB),
    {Offset, _, Next} = py_extents:take(Bytes, E),
    ?assert(Offset >= ?MIB),
    [?assert(Offset + Bytes =< Other orelse Other + Size =< Offset) || {Other, Size} <- Used],
    ?assertNot(lists:keymember(Offset, 1, Discarded)),
    {Next, [{Offset, Bytes} | Used], Discarded};
step(5, E, Used, []) ->
    {Discarded, Next} = py_extents:discard(rand:uniform(8 * ?MIB), E),
    {Next, Used, Discarded};
step(5, E, Used, Discarded) ->
    {lists:foldl(fun({Offset, _}, Before) -> {0, 0, After} = py_extents:give_back(Offset, Before), After end, E, Discarded),
     Used, []};
step(_, E, Used, Discarded) ->
    {Offset, Bytes} = lists:nth(rand:uniform(length(Used)), Used),
    {Bytes, Memory, Next} = py_extents:give_back(Offset, E),
    ?assert(Memory >= Bytes),
    {Next, lists:keydelete(Offset, 1, Used), Discarded}.
