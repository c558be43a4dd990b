%% What py_port keeps of large binaries that come, and terms without and with them (py_segments), as values.
-module(py_segments_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

-define(MAX, (4 * 1024 * 1024)).
-define(PIECE_BYTES, 1048576).
-define(LARGE_BYTES, 131072).
%% What the port program writes is in the second half of the file.
-define(FIRST, (1 bsl 36)).
-define(OP_REPLY, 1).
-define(OP_REPLY_PIECE, 2).
-define(OP_LARGE_MESSAGE, 14).
-define(OP_ITEMS, 16).
-define(REPLY, {{?OP_REPLY, alias, 1}, 5, <<"reply">>}).
-define(PIECE, {{?OP_REPLY_PIECE, alias}, 5, <<"piece">>}).
-define(ITEMS(N), {{?OP_ITEMS, alias}, N, <<"items">>}).

suite() -> [{timetrap, {minutes, 1}}].

all() ->
    [taken_out, improper_lists_stay, a_bound, there_and_back, what_looks_like_one, others_need_not_wait, a_reply_waits,
     read_before_the_reply, pieces_come_first, items_keep_their_order, a_message_is_read_at_once, bounds, small_ones_are_counted,
     frames_are_copied, out_of_turn, reads_that_nobody_asked_for, nothing_is_lent, parts_of_the_file, unreadable].

%% Proves that large binaries are found in lists, tuples and values of maps, and nothing else is touched.
taken_out(_) ->
    Key = make_ref(),
    {L, M} = {large(1), large(2)},
    ?assertEqual({[Key | 0], [L]}, py_segments:take_out(L, Key, any)),
    ?assertEqual({[1, {bytes, [Key | 0]}, #{a => [Key | 1], L => b}], [L, M]},
                 py_segments:take_out([1, {bytes, L}, #{a => M, L => b}], Key, any)),
    ?assertEqual({{[Key | 0], [Key | 1]}, [L, L]}, py_segments:take_out({L, L}, Key, any)),
    Small = [binary:part(L, 0, ?LARGE_BYTES - 1), {}, [], #{}, 1.0, self(), fun() -> L end, <<L/binary, 1:3>>],
    ?assertEqual({Small, []}, py_segments:take_out(Small, Key, any)).

%% Proves that an improper list keeps its binaries, wherever it is, and what is around it does not.
improper_lists_stay(_) ->
    Key = make_ref(),
    L = large(1),
    ?assertEqual({[a, L | L], []}, py_segments:take_out([a, L | L], Key, any)),
    ?assertEqual({[[Key | 0], [L | b], [Key | 1]], [L, L]}, py_segments:take_out([L, [L | b], L], Key, any)),
    ?assertEqual({[[L, {L} | b], [Key | 0]], [L]}, py_segments:take_out([[L, {L} | b], L], Key, any)).

%% Proves that of a term of many small parts only some are looked at: so much time it may cost to find nothing.
a_bound(_) ->
    Key = make_ref(),
    L = large(1),
    ?assertEqual({[[Key | 0] | lists:seq(1, 5000)], [L]}, py_segments:take_out([L | lists:seq(1, 5000)], Key, 1)),
    Late = lists:seq(1, 5000) ++ [L],
    ?assertEqual({Late, []}, py_segments:take_out(Late, Key, 1)),
    ?assertMatch({_, [L]}, py_segments:take_out(Late, Key, 64 * 5000)).

%% Proves that what stands for a binary is replaced wherever it can stand.
there_and_back(_) ->
    L = large(1),
    Put = fun(Term, Binaries) -> py_segments:put_in(Term, 7, list_to_tuple(Binaries)) end,
    ?assertEqual(L, Put([7 | 0], [L])),
    ?assertEqual({ok, [1, L, #{a => {L, large(2)}, [7 | 1] => b}]}, Put({ok, [1, [7 | 0], #{a => {[7 | 0], [7 | 1]}, [7 | 1] => b}]}, [L, large(2), <<>>])),
    ?assertEqual([[L | a], b], Put([[[7 | 0] | a], b], [L])),
    ?assertEqual([1, 2, 3], Put([1, 2, 3], [L])).

%% Proves that a list that has the number by chance is no such thing.
what_looks_like_one(_) ->
    Binaries = {large(1)},
    [?assertEqual(Term, py_segments:put_in(Term, 7, Binaries))
     || Term <- [[7, 0], [7 | 1], [7 | -1], [8 | 0], [7 | a], [7.0 | 0], {7, 0}]].

%% Proves that frames of other keys go on.
others_need_not_wait(_) ->
    {ok, S} = announce(alias, 10, segments()),
    ?assertEqual(free, py_segments:hold(other, ?REPLY, S)),
    ?assertNot(py_segments:is_idle(S)).

%% Proves that a reply whose binaries are not read yet waits for them.
a_reply_waits(_) ->
    {ok, S1} = announce(alias, 10, segments()),
    {[], S2} = py_segments:hold(alias, ?REPLY, S1),
    {Ready, S3} = py_segments:carried(reading(), [<<"binary">>], S2),
    ?assertEqual([{?REPLY, {7, [<<"binary">>]}}], Ready),
    ?assert(py_segments:is_idle(S3)).

%% Proves the same when they are read first.
read_before_the_reply(_) ->
    {ok, S1} = announce(alias, 10, segments()),
    {[], S2} = py_segments:carried(reading(), [<<"binary">>], S1),
    {Ready, S3} = py_segments:hold(alias, ?REPLY, S2),
    ?assertEqual([{?REPLY, {7, [<<"binary">>]}}], Ready),
    ?assert(py_segments:is_idle(S3)).

%% Proves that binaries belong to the end of a payload in pieces.
pieces_come_first(_) ->
    {ok, S1} = announce(alias, 10, segments()),
    {[], S2} = py_segments:hold(alias, ?PIECE, S1),
    {[], S3} = py_segments:hold(alias, ?REPLY, S2),
    {Ready, S4} = py_segments:carried(reading(), [<<"binary">>], S3),
    ?assertEqual([{?PIECE, none}, {?REPLY, {7, [<<"binary">>]}}], Ready),
    ?assert(py_segments:is_idle(S4)).

%% Proves that what comes for a stream later waits too, whether it has large binaries or not.
items_keep_their_order(_) ->
    {ok, S1} = announce(alias, 10, segments()),
    First = reading(),
    {[], S2} = py_segments:hold(alias, ?ITEMS(1), S1),
    {[], S3} = py_segments:hold(alias, ?ITEMS(2), S2),
    {ok, S4} = announce(alias, 10, S3),
    Second = reading(),
    {[], S5} = py_segments:hold(alias, ?ITEMS(3), S4),
    {[], S6} = py_segments:hold(alias, ?REPLY, S5),
    {[], S7} = py_segments:carried(Second, [<<"second">>], S6),
    {Ready, S8} = py_segments:carried(First, [<<"first">>], S7),
    ?assertEqual([{?ITEMS(1), {7, [<<"first">>]}}, {?ITEMS(2), none}, {?ITEMS(3), {7, [<<"second">>]}}, {?REPLY, none}], Ready),
    ?assert(py_segments:is_idle(S8)).

%% Proves that whatever comes after a message waits for it: it is read on the spot.
a_message_is_read_at_once(_) ->
    Self = self(),
    Carrier = spawn_link(fun() -> receive {py_read, Ref, _} -> Self ! {py_carried, Ref, [<<"binary">>]} end end),
    S0 = segments(Carrier),
    {ok, S1} = py_segments:announced(-1, 7, [{?FIRST, 10}], S0),
    Message = {{?OP_LARGE_MESSAGE, -1}, 5, <<"message">>},
    ?assertEqual(free, py_segments:hold(-1, {{?OP_REPLY_PIECE, -1}, 5, <<"piece">>}, S1)),
    {Ready, S2} = py_segments:hold(-1, Message, S1),
    ?assertEqual([{Message, {7, [<<"binary">>]}}], Ready),
    ?assert(py_segments:is_idle(S2)).

%% Proves that one value, and all that wait, are bounded, and that what was read is counted no more.
bounds(_) ->
    ?assertEqual(too_large, announce(alias, ?MAX + 2 * ?PIECE_BYTES + 1, segments())),
    Fill = fun Fill(N, S) ->
        case announce({alias, N}, ?MAX, S) of
            {ok, Next} -> _ = reading(), Fill(N + 1, Next);
            too_large -> N
        end
    end,
    Held = Fill(0, segments()),
    ?assert(Held >= 8),
    ?assert(Held =< 12),
    Passed = lists:foldl(fun(_, S) ->
        {ok, S1} = announce(alias, ?MAX, S),
        {[], S2} = py_segments:hold(alias, ?REPLY, S1),
        {[_], S3} = py_segments:carried(reading(), [<<>>], S2),
        S3
    end, segments(), lists:seq(1, 100)),
    ?assert(py_segments:is_idle(Passed)).

%% Proves that what has next to no bytes is bounded too: announcements, segments of one announcement, frames that wait.
small_ones_are_counted(_) ->
    Most = 8 * (?MAX + 2 * ?PIECE_BYTES),
    Announce = fun(N, S) ->
        Next = announce({alias, N}, 1, S),
        Next =:= too_large orelse reading(),
        Next
    end,
    ?assert(until_too_large(Announce, segments()) =< Most div 512),
    {ok, S1} = announce(alias, 1, segments()),
    ?assert(until_too_large(fun(N, S) -> held(py_segments:hold(alias, ?ITEMS(N), S)) end, S1) =< Most div 256),
    Parts = lists:duplicate(Most div 256, {?FIRST, 1}),
    ?assertEqual(too_large, py_segments:announced(other, 7, Parts, segments())).

held({[], S}) -> {ok, S};
held(too_large) -> too_large.

until_too_large(Add, S) -> until_too_large(0, Add, S).

until_too_large(N, Add, S) ->
    case Add(N, S) of
        {ok, Next} -> until_too_large(N + 1, Add, Next);
        too_large -> N
    end.

%% Proves that a frame that waits does not keep what was read with it.
frames_are_copied(_) ->
    Read = binary:copy(<<1>>, 65536),
    Frame = binary:part(Read, 5, 100),
    {ok, S1} = announce(alias, 10, segments()),
    {[], S2} = py_segments:hold(alias, {{?OP_REPLY, alias, 1}, 5, Frame}, S1),
    {[{{_, _, Held}, _}], _} = py_segments:carried(reading(), [<<>>], S2),
    ?assertEqual(Frame, Held),
    ?assert(binary:referenced_byte_size(Held) < 1000).

%% Proves that no second segments come before the value of the first, which no honest port program sends.
out_of_turn(_) ->
    {ok, S1} = announce(alias, 10, segments()),
    ?assertEqual(out_of_turn, announce(alias, 10, S1)),
    {[], S2} = py_segments:hold(alias, ?PIECE, S1),
    ?assertEqual(out_of_turn, announce(alias, 10, S2)),
    {[_], S3} = py_segments:carried(reading(), [<<"binary">>], S2),
    ?assertEqual(out_of_turn, announce(alias, 10, S3)),
    {ok, S4} = announce(-3, 10, segments()),
    ?assertEqual(out_of_turn, announce(-3, 10, S4)).

%% Proves that an answer that belongs to no read, or comes twice, changes nothing.
reads_that_nobody_asked_for(_) ->
    {ok, S1} = announce(alias, 10, segments()),
    Ref = reading(),
    ?assertEqual(unknown, py_segments:carried(make_ref(), [<<"binary">>], S1)),
    ?assertEqual(unknown, py_segments:carried(make_ref(), error, S1)),
    {[], S2} = py_segments:carried(Ref, [<<"binary">>], S1),
    ?assertEqual(unknown, py_segments:carried(Ref, [<<"another">>], S2)),
    {[_], S3} = py_segments:hold(alias, ?REPLY, S2),
    ?assertEqual(unknown, py_segments:carried(Ref, [<<"another">>], S3)).

%% Proves that what was not lent is not given back, and that no carrier hears of it.
nothing_is_lent(_) ->
    ?assertNot(py_segments:freed([0], segments())),
    ?assertNot(py_segments:freed(lists:seq(1, 100000), segments())),
    receive Message -> error(Message) after 0 -> ok end.

%% Proves that the parts of carriers, however many there are, begin with a page, and do not reach into the other half.
parts_of_the_file(_) ->
    [begin
         Bytes = py_segments:part_bytes(Count),
         ?assertEqual({Count, 0}, {Count, Bytes rem (1 bsl 20)}),
         ?assert(Count * Bytes =< ?FIRST),
         ?assert(Bytes >= 1 bsl 30)
     end || Count <- lists:seq(1, 64)].

unreadable(_) ->
    {ok, S} = announce(alias, 10, segments()),
    ?assertEqual(error, py_segments:carried(reading(), error, S)).

%% A carrier that does what this process says.
segments() -> segments(self()).

segments(Carrier) -> py_segments:new({Carrier}, self(), py_carrier:usage(1, 1), ?MAX).

announce(Key, Bytes, S) -> py_segments:announced(Key, 7, [{?FIRST, Bytes}], S).

reading() -> receive {py_read, Ref, _} -> Ref after 1000 -> error(not_read) end.

large(N) -> binary:copy(<<N>>, ?LARGE_BYTES).
