%% How much room a term would take, found out without making it; and why a payload was refused.
-module(py_term_size_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

all() ->
    [never_too_small, not_much_too_large, limits_are_exact, small_bytes_that_become_much, deep_terms, every_cut_is_refused,
     random_bytes, compressed_and_unknown, large_maps, unknown_atoms, malformed_is_no_unknown_atom, largest_integer].

%% Proves for thousands of random terms that what they take is never said to be less.
never_too_small(_) ->
    _ = rand:seed(exsss, py_test:seed()),
    _ = [begin
             Term = term(rand:uniform(6)),
             Took = took(Term),
             Said = said(Term),
             Said >= Took orelse error({too_small, Said, Took, Term})
         end || _ <- lists:seq(1, 3000)],
    ok.

%% Proves that what is said is no more than four times and some words of what they take: identifiers count as if they
%% were all of other nodes.
not_much_too_large(_) ->
    _ = rand:seed(exsss, py_test:seed()),
    _ = [begin
             Term = term(rand:uniform(6)),
             Took = took(Term),
             Said = said(Term),
             Said =< 4 * Took + 200 orelse error({too_large, Said, Took, Term})
         end || _ <- lists:seq(1, 3000)],
    ok.

%% Proves that a limit holds to the byte, by the rule of docs/types.md.
limits_are_exact(_) ->
    _ = [begin
             Bytes = term_to_binary(Term),
             ?assertEqual({Term, true}, {Term, py_term_size:within(Bytes, Size)}),
             ?assertEqual({Term, false}, {Term, py_term_size:within(Bytes, Size - 1)})
         end || {Term, Size} <- [{[a, b], 32}, {{a, b}, 24}, {1.5, 16}, {1 bsl 64, 24}, {<<"four">>, 28},
                                 {binary:copy(<<0>>, 100), 164}, {#{a => b}, 48}, {"abc", 48}, {[[] || _ <- lists:seq(1, 9)], 144}]],
    _ = [?assert(py_term_size:within(term_to_binary(Term), 0)) || Term <- [[], {}, a, 5, -5, 1 bsl 40]],
    ok.

%% Proves that the list of which a byte becomes sixteen is refused at once, and how large it says to be is believed.
small_bytes_that_become_much(_) ->
    Count = 1000000,
    Nils = <<131, 108, Count:32, (binary:copy(<<106>>, Count + 1))/binary>>,
    ?assert(py_term_size:within(Nils, 16 * Count)),
    ?assertNot(py_term_size:within(Nils, 16 * Count - 1)),
    _ = [?assertNot(py_term_size:within(Lie, 1 bsl 40))
         || Lie <- [<<131, 108, 16#ffffffff:32, 106>>, <<131, 105, 16#ffffffff:32>>, <<131, 116, 16#ffffffff:32, 97, 1, 97, 1>>,
                    <<131, 109, 16#ffffffff:32, "x">>, <<131, 111, 16#ffffffff:32, 0, 1>>]],
    ok.

%% Proves that depth costs nothing.
deep_terms(_) ->
    Depth = 2000000,
    Deep = iolist_to_binary([131, lists:duplicate(Depth, <<108, 1:32>>), 106, lists:duplicate(Depth, 106)]),
    ?assert(py_term_size:within(Deep, 16 * Depth)),
    ?assertNot(py_term_size:within(Deep, 16 * Depth - 1)).

%% Proves that a term that is cut anywhere, or has something behind it, is not within anything.
every_cut_is_refused(_) ->
    _ = rand:seed(exsss, py_test:seed()),
    _ = [begin
             Bytes = term_to_binary(term(4)),
             _ = [?assertNot(py_term_size:within(binary:part(Bytes, 0, Cut), 1 bsl 40)) || Cut <- lists:seq(0, byte_size(Bytes) - 1)],
             ?assertNot(py_term_size:within(<<Bytes/binary, 0>>, 1 bsl 40))
         end || _ <- lists:seq(1, 50)],
    ok.

%% Proves that bytes of any kind give true or false.
random_bytes(_) ->
    _ = rand:seed(exsss, py_test:seed()),
    _ = [begin
             Bytes = <<131, (rand:bytes(rand:uniform(100)))/binary>>,
             ?assert(is_boolean(py_term_size:within(Bytes, 1 bsl 40))),
             ?assert(is_tuple(py_unknown_atom:find(Bytes)) orelse py_unknown_atom:find(Bytes) =:= none)
         end || _ <- lists:seq(1, 20000)],
    ok.

%% Proves that compressed terms, also inside of others, and tags of nobody are refused.
compressed_and_unknown(_) ->
    Compressed = <<131, 80, _/binary>> = term_to_binary(lists:duplicate(1000, a), [compressed]),
    ?assertNot(py_term_size:within(Compressed, 1 bsl 40)),
    ?assertNot(py_term_size:within(<<131, 104, 1, (binary:part(Compressed, 1, byte_size(Compressed) - 1))/binary>>, 1 bsl 40)),
    _ = [?assertNot(py_term_size:within(<<131, Tag, 0:256>>, 1 bsl 40)) || Tag <- [0, 68, 80, 82, 99, 130, 255]],
    ?assertNot(py_term_size:within(<<>>, 1 bsl 40)),
    ?assertNot(py_term_size:within(<<97, 1>>, 1 bsl 40)).

%% Proves that maps of all sizes are not said to be smaller than they are.
large_maps(_) ->
    _ = [begin
             Map = maps:from_list([{N * Step, N} || N <- lists:seq(1, Size)]),
             ?assert(said(Map) >= took(Map))
         end || Size <- [1, 31, 32, 33, 34, 40, 64, 100, 256, 1000, 4096, 5000, 65536, 100000], Step <- [1, 7, 1 bsl 20]],
    ok.

%% Proves that the atom because of which a payload is refused is found, wherever it is.
unknown_atoms(_) ->
    Name = iolist_to_binary(["nobodys_atom_", integer_to_list(erlang:unique_integer([positive])), "_", os:getpid()]),
    Atom = <<119, (byte_size(Name)), Name/binary>>,
    Known = <<119, 2, "ok">>,
    _ = [begin
             ?assertError(badarg, binary_to_term(Term, [safe])),
             ?assertEqual({ok, Name}, py_unknown_atom:find(Term))
         end || Term <- [<<131, Atom/binary>>, <<131, 104, 2, Known/binary, Atom/binary>>,
                         <<131, 108, 1:32, 97, 5, Atom/binary>>, <<131, 116, 1:32, 109, 1:32, "k", Atom/binary>>,
                         <<131, 88, Atom/binary, 1:32, 2:32, 3:32>>, <<131, 104, 2, 88, Known/binary, 1:32, 2:32, 3:32, Atom/binary>>,
                         <<131, 113, Known/binary, Atom/binary, 97, 1>>]].

%% Proves that other reasons to refuse a payload are not taken for that.
malformed_is_no_unknown_atom(_) ->
    Bytes = py_integers:max_bytes(),
    TooLarge = <<131, 104, 2, 119, 2, "ok", 111, (Bytes + 8):32, 0, 0:(Bytes * 8), 0:56, 1>>,
    _ = [begin
             ?assertError(badarg, binary_to_term(Term, [safe])),
             ?assertEqual(none, py_unknown_atom:find(Term))
         end || Term <- [<<>>, <<131>>, <<131, 200>>, <<131, 104, 2, 97, 1>>, <<131, 116, 2:32, 97, 1, 97, 1, 97, 1, 97, 2>>, TooLarge]].

%% Proves that the largest integer is decoded, and one of a word more is not.
largest_integer(_) ->
    Bytes = py_integers:max_bytes(),
    Largest = binary_to_term(<<131, 111, Bytes:32, 0, 0:((Bytes - 1) * 8), 255>>),
    ?assertEqual(255, Largest bsr ((Bytes - 1) * 8)),
    ?assertError(badarg, binary_to_term(<<131, 111, (Bytes + 8):32, 0, 0:((Bytes + 7) * 8), 255>>)).

%% Helpers.

%% The smallest limit that holds.
said(Term) ->
    Bytes = term_to_binary(Term),
    said(Bytes, -1, 1 bsl 40).

said(_, Refused, Held) when Held - Refused =:= 1 -> Held;
said(Bytes, Refused, Held) ->
    Between = (Refused + Held) div 2,
    case py_term_size:within(Bytes, Between) of
        true -> said(Bytes, Refused, Between);
        false -> said(Bytes, Between, Held)
    end.

%% On the heap, and in binaries outside of it. A term that has just been decoded shares nothing.
took(Term) ->
    Decoded = binary_to_term(term_to_binary(Term)),
    erts_debug:flat_size(Decoded) * erlang:system_info(wordsize) + outside(Decoded).

outside(Binary) when is_bitstring(Binary), bit_size(Binary) > 512 -> (bit_size(Binary) + 7) div 8;
outside([Head | Tail]) -> outside(Head) + outside(Tail);
outside(Tuple) when is_tuple(Tuple) -> outside(tuple_to_list(Tuple));
outside(Map) when is_map(Map) -> outside(maps:to_list(Map));
outside(_) -> 0.

term(0) -> leaf(rand:uniform(14));
term(Depth) ->
    case rand:uniform(6) of
        1 -> [term(Depth - 1) || _ <- lists:seq(1, rand:uniform(8) - 1)];
        2 -> list_to_tuple([term(Depth - 1) || _ <- lists:seq(1, rand:uniform(8) - 1)]);
        3 -> maps:from_list([{term(0), term(Depth - 1)} || _ <- lists:seq(1, rand:uniform(5) - 1)]);
        4 -> [term(Depth - 1) | term(0)];
        5 -> maps:from_list([{N, term(0)} || N <- lists:seq(1, rand:uniform(80))]);
        6 -> term(0)
    end.

leaf(1) -> [];
leaf(2) -> rand:uniform(256) - 1;
leaf(3) -> rand:uniform(1 bsl 40) - (1 bsl 39);
leaf(4) -> (rand:uniform(1 bsl 62) bsl 3) * (1 - 2 * rand:uniform(2) rem 2);
leaf(5) -> rand:uniform(1 bsl 300);
leaf(6) -> rand:uniform() * 1.0e9;
leaf(7) -> rand:bytes(rand:uniform(200) - 1);
leaf(8) -> <<(rand:uniform(1 bsl 30)):(rand:uniform(100))>>;
leaf(9) -> lists:nth(rand:uniform(3), [ok, 'größe', '']);
leaf(10) -> self();
leaf(11) -> make_ref();
leaf(12) -> fun lists:map/2;
leaf(13) -> X = rand:uniform(100), Y = self(), fun() -> {X, Y} end;
leaf(14) -> [rand:uniform(256) - 1 || _ <- lists:seq(1, rand:uniform(20))].
