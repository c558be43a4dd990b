%% Conversion of values, row by row of the table in the contract, both ways.
-module(types_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [booleans_and_none, other_atoms_are_text, atoms_from_python, small_integers, big_integers, enormous_integers,
     floats_keep_every_bit, floats_that_erlang_lacks, text_at_the_edges_of_utf8, bytes_that_are_not_text,
     explicit_bytes, byte_like_objects, lone_surrogates, lists_and_strings, tuples, maps, map_key_collisions,
     unhashable_map_keys, keys_that_become_the_same_term, local_pids_and_references, remote_pids_and_references,
     pids_and_references_as_keys, opaque_terms, opaque_terms_inside, sets, dataclasses_and_namedtuples,
     dates_and_numbers_as_text, enums, subclasses_of_builtins, objects_become_text, objects_that_fail,
     tolist_objects, strict_refuses_by_name, registered_encoders, numpy_values].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

%% Proves that booleans, and the three atoms that mean nothing, are Python's own, and what comes back for them.
booleans_and_none(_) ->
    ?assertEqual({<<"bool">>, <<"True">>}, described(true)),
    ?assertEqual({<<"bool">>, <<"False">>}, described(false)),
    _ = [?assertEqual({<<"NoneType">>, <<"None">>}, described(A)) || A <- [none, nil, undefined]],
    ?assertEqual([true, false, none], [made(N) || N <- [true, false, none]]).

%% Proves that any other atom is a str, whatever characters it has and however long it is.
other_atoms_are_text(_) ->
    ?assertEqual({<<"str">>, <<"'hello'">>}, described(hello)),
    ?assertEqual(<<"été 日本"/utf8>>, echo('été 日本')),
    ?assertEqual(<<>>, echo('')),
    Longest = binary:copy(<<"é"/utf8>>, 255),
    ?assertEqual(Longest, echo(binary_to_atom(Longest))),
    ?assertEqual([<<"True">>, <<"None">>], [echo(A) || A <- ['True', 'None']]).

%% Proves that erlang.Atom comes as an atom, and that a name longer than Erlang allows is an error.
atoms_from_python(_) ->
    ?assertEqual(types_SUITE, ok(py:call(values, atom, [<<"types_SUITE">>]))),
    ?assertEqual('été', ok(py:call(values, atom, [<<"été"/utf8>>]))),
    ?assertMatch({error, _}, py:call(values, atom, [binary:copy(<<"x">>, 256)])),
    ?assertEqual(1, echo(1)).

%% Proves that integers around every change of encoding are ints and come back equal.
small_integers(_) ->
    Edges = [0, 1, -1, 255, 256, -128, -129] ++
            [Sign * (1 bsl Bits) + Plus || Bits <- [7, 8, 15, 16, 27, 28, 31, 32, 59, 60, 62, 63, 64, 65],
                                           Sign <- [1, -1], Plus <- [-1, 0, 1]],
    _ = [?assertEqual({N, {<<"int">>, integer_to_binary(N)}}, {echo(N), described(N)}) || N <- Edges],
    ok.

%% Proves that integers of any size keep their value, each direction judged alone.
big_integers(_) ->
    _ = [begin
             Value = Base * power(abs(Base), Exponent - 1) + Plus,
             ?assertEqual(true, ok(py:call(values, is_power, [Value, Base, Exponent, Plus]))),
             ?assertEqual(Value, ok(py:call(values, power, [Base, Exponent, Plus]))),
             ?assertEqual(-Value, echo(-Value))
         end || {Base, Exponent} <- [{2, 127}, {2, 128}, {2, 2039}, {2, 2040}, {2, 2048}, {10, 100}, {10, 1000},
                                     {10, 5000}],
                Plus <- [-1, 0, 1]],
    ok.

%% Proves that an integer too long for Erlang's small encoding of big integers (255 bytes) and one of 60 000 digits
%% survive.
enormous_integers(_) ->
    _ = [?assertEqual(N, echo(N)) || N <- [1 bsl (255 * 8), (1 bsl (255 * 8)) - 1, -(1 bsl (256 * 8)), 1 bsl 200000]],
    ok.

%% Proves that every bit of a float survives: zeros, denormals, extremes and random patterns, each direction alone.
floats_keep_every_bit(_) ->
    Seed = rand:seed(exsss, {1, 2, erlang:unique_integer([positive])}),
    ct:pal("seed ~p", [rand:export_seed_s(Seed)]),
    Fixed = [0, 16#8000000000000000, 1, 16#8000000000000001, 16#000FFFFFFFFFFFFF, 16#0010000000000000,
             16#7FEFFFFFFFFFFFFF, 16#FFEFFFFFFFFFFFFF, 16#3FF0000000000001],
    Random = [rand:uniform(1 bsl 64) - 1 || _ <- lists:seq(1, 300)],
    Patterns = [<<P:64>> || P <- Fixed ++ Random, (P bsr 52) band 16#7FF =/= 16#7FF],
    _ = [begin
             <<Float:64/float>> = Bits,
             ?assertEqual(Bits, ok(py:call(values, float_bits, [Float]))),
             ?assertEqual(Bits, <<(ok(py:call(values, float_from_bits, [{bytes, Bits}]))):64/float>>),
             ?assertEqual(Bits, <<(echo(Float)):64/float>>)
         end || Bits <- Patterns],
    ok.

%% Proves that nan and the infinities, which Erlang has no floats for, come as atoms.
floats_that_erlang_lacks(_) ->
    ?assertEqual([nan, infinity, neg_infinity], [made(N) || N <- [nan, inf, neg_inf]]),
    ?assertEqual([nan, [infinity], {neg_infinity}], ok(py:eval(<<"[1e999 - 1e999, [1e999], (-1e999,)]">>))).

%% Proves that valid UTF-8 is a str of the same code points, up to the last one and through every length of encoding.
text_at_the_edges_of_utf8(_) ->
    Points = [0, 1, 16#7F, 16#80, 16#7FF, 16#800, 16#D7FF, 16#E000, 16#FEFF, 16#FFFE, 16#FFFF, 16#10000, 16#1F600,
              16#10FFFF],
    Text = unicode:characters_to_binary(Points),
    ?assertEqual({<<"str">>, Points}, {kind(Text), ok(py:call(values, code_points, [Text]))}),
    ?assertEqual(Text, ok(py:call(values, from_code_points, [Points]))),
    _ = [?assertEqual({<<"str">>, <<P/utf8>>}, {kind(<<P/utf8>>), echo(<<P/utf8>>)}) || P <- Points],
    ?assertEqual({<<"str">>, <<"''">>}, described(<<>>)).

%% Proves that a binary that is not valid UTF-8 is bytes: broken, overlong, surrogate, beyond Unicode, cut.
bytes_that_are_not_text(_) ->
    _ = [?assertEqual({<<"bytes">>, Binary}, {kind(Binary), echo(Binary)})
         || Binary <- [<<255>>, <<128>>, <<16#C0, 16#80>>, <<16#C1, 16#BF>>, <<16#E0, 16#80, 16#80>>,
                       <<16#ED, 16#A0, 16#80>>, <<16#ED, 16#BF, 16#BF>>, <<16#F4, 16#90, 16#80, 16#80>>,
                       <<16#F8, 16#88, 16#80, 16#80, 16#80>>, <<"abc", 16#C3>>, <<16#E2, 16#82>>, <<"a", 255, "b">>,
                       <<(binary:copy(<<"x">>, 5000))/binary, 16#80>>]],
    ok.

%% Proves that {bytes,B} is bytes whatever it holds, also inside, and that other tuples of that name are tuples.
explicit_bytes(_) ->
    ?assertEqual({<<"bytes">>, <<"b'abc'">>}, described({bytes, <<"abc">>})),
    ?assertEqual({<<"bytes">>, <<"b''">>}, described({bytes, <<>>})),
    ?assertEqual({<<"list">>, <<"[{'k': b'v'}]">>}, described([#{k => {bytes, <<"v">>}}])),
    ?assertEqual({<<"tuple">>, <<"('bytes', 1)">>}, described({bytes, 1})),
    ?assertEqual({<<"tuple">>, <<"('bytes', 'a', 'b')">>}, described({bytes, a, b})).

%% Proves that bytes, bytearray and memoryview come as binaries, also a memoryview with gaps.
byte_like_objects(_) ->
    ?assertEqual([<<0, 255, "abc">>, <<"abc">>, <<1, 2>>, <<3, 4>>, <<"abc">>],
                 [made(N) || N <- [bytes, ascii_bytes, bytearray, memoryview, strided_memoryview]]).

%% Proves that a str that has no UTF-8 form is an error, and not a binary that is not UTF-8.
lone_surrogates(_) ->
    ?assertMatch({error, _}, py:call(values, make, [surrogate])),
    ?assertEqual(1, echo(1)).

%% Proves that lists, Erlang's strings among them, are lists.
lists_and_strings(_) ->
    ?assertEqual({<<"list">>, <<"[]">>}, described([])),
    ?assertEqual({<<"list">>, <<"[97, 98]">>}, described("ab")),
    ?assertEqual({<<"list">>, <<"[97, 98, 300]">>}, described([97, 98, 300])),
    Long = [N rem 256 || N <- lists:seq(1, 70000)],
    ?assertEqual([Long, "x", lists:seq(1, 1000)], echo([Long, "x", lists:seq(1, 1000)])).

%% Proves that tuples are tuples of any size, and nested.
tuples(_) ->
    ?assertEqual({<<"tuple">>, <<"()">>}, described({})),
    ?assertEqual({<<"tuple">>, <<"(1,)">>}, described({1})),
    Large = list_to_tuple(lists:seq(1, 300)),
    ?assertEqual({Large, {{}}}, echo({Large, {{}}})),
    ?assertEqual({1, {2, {}}, []}, made(tuple)),
    ?assertEqual([{}, [], #{}, <<>>, <<>>], made(empty)).

%% Proves that maps are dicts with keys of every hashable kind.
maps(_) ->
    ?assertEqual({<<"dict">>, <<"{}">>}, described(#{})),
    Map = #{1 => <<"int">>, <<"text">> => [1], {1, <<"t">>} => #{}, 2.5 => none, <<255>> => true},
    ?assertEqual(Map, echo(Map)),
    ?assertEqual(#{<<"a">> => <<"b">>}, echo(#{a => b})),
    Large = maps:from_list([{N, -N} || N <- lists:seq(1, 1000)]),
    ?assertEqual(Large, echo(Large)),
    ?assertEqual([#{{1, <<"a">>} => <<"v">>}, #{none => 1}, #{[1] => <<"v">>}],
                 [made(N) || N <- [tuple_key, none_key, frozenset_key]]).

%% Proves that two keys that Python takes for one are an error, so that no pair is lost in silence.
map_key_collisions(_) ->
    _ = [?assertMatch({error, {not_encodable, {duplicate_key, _}}}, py:call(probe, echo, [Map]))
         || Map <- [#{1 => a, 1.0 => b}, #{1 => a, true => b}, #{a => 1, <<"a">> => 2}, #{none => 1, nil => 2},
                    #{0 => 1, false => 2}, #{0.0 => 1, 0 => 2}, #{{1} => a, {1.0} => b}]],
    ?assertMatch({error, {not_encodable, _}}, py:call(probe, echo, [[#{k => #{1 => a, 1.0 => b}}]])).

%% Proves that a key that Python cannot hash is an error that shows the key.
unhashable_map_keys(_) ->
    {error, {not_encodable, {map_key, Shown}}} = py:call(probe, echo, [#{[1, 2] => v}]),
    ?assertEqual(<<"[1, 2]">>, Shown),
    _ = [?assertMatch({error, {not_encodable, {map_key, _}}}, py:call(probe, echo, [Map]))
         || Map <- [#{#{} => v}, #{{[1]} => v}, #{"string" => v}, #{a => #{[] => v}}]],
    ok.

%% Proves that Python keys that are one term in Erlang are an error.
keys_that_become_the_same_term(_) ->
    ?assertMatch({error, {not_encodable, {duplicate_key, _}}}, py:call(values, make, [duplicate_keys])).

%% Proves that pids and references of this node come back the same, as Pid and Ref.
local_pids_and_references(_) ->
    Ref = make_ref(),
    ?assertEqual({<<"Pid">>, self()}, {kind(self()), echo(self())}),
    ?assertEqual({<<"Ref">>, Ref}, {kind(Ref), echo(Ref)}),
    Alias = alias(),
    ?assertEqual(Alias, echo(Alias)),
    ?assertEqual([self(), {Ref}, #{k => self()}], [echo(self()), echo({Ref}), #{k => echo(self())}]).

%% Proves that pids and references of other nodes come back the same.
remote_pids_and_references(_) ->
    _ = [?assertEqual(Remote, echo(Remote)) || Remote <- [remote_pid(7), remote_reference(3), remote_reference(5)]],
    ?assertEqual('other@nowhere', node(echo(remote_pid(8)))).

%% Proves that pids and references are equal and hash alike in Python exactly when they are the same.
pids_and_references_as_keys(_) ->
    Ref = make_ref(),
    ?assertEqual([true, false, true, false],
                 [ok(py:call(probe, equal, [A, B]))
                  || {A, B} <- [{self(), self()}, {self(), remote_pid(1)}, {Ref, Ref}, {Ref, make_ref()}]]),
    Map = #{self() => 1, Ref => 2, remote_pid(1) => 3, {Ref, self()} => 4},
    ?assertEqual(Map, echo(Map)),
    ?assertEqual(2, ok(py:call(values, same_keys, [Map, Ref]))).

%% Proves that terms that Python has no value for are opaque and come back equal.
opaque_terms(_) ->
    Port = hd(erlang:ports()),
    Value = erlang:unique_integer(),
    _ = [?assertEqual({<<"Term">>, Term}, {kind(Term), echo(Term)})
         || Term <- [[1 | 2], [a, b | <<"c">>], fun lists:map/2, Port, <<1:1>>, <<1, 2, 3:7>>,
                     binary_to_term(<<131, 120, 119, 13, "other@nowhere", 77:64, 5:32>>)]],
    Local = fun(X) -> X + Value end,
    ?assertEqual(Local, echo(Local)),
    ?assertEqual(Value + 1, (echo(Local))(1)).

%% Proves that opaque terms keep everything they hold, and are values like others inside lists and maps.
opaque_terms_inside(_) ->
    Improper = [{atom, nil, "text"} | #{k => fun lists:map/2}],
    ?assertEqual([1, {Improper}, #{<<"k">> => <<5:3>>}], echo([1, {Improper}, #{k => <<5:3>>}])),
    ?assertEqual(true, ok(py:eval(<<"a == b and a != c">>, #{a => [1 | 2], b => [1 | 2], c => [1 | 3]}))).

%% Proves that sets are lists, sorted when their elements can be compared.
sets(_) ->
    ?assertEqual([[1, 2, 3], [<<"a">>, <<"b">>], []], [made(N) || N <- [set, frozenset, empty_set]]),
    ?assertEqual([1, <<"a">>], lists:sort(made(mixed_set))).

%% Proves that a dataclass is a map of its fields, nested too, and a namedtuple a tuple.
dataclasses_and_namedtuples(_) ->
    ?assertEqual(#{<<"x">> => 1, <<"y">> => 2.5}, made(dataclass)),
    ?assertEqual(#{<<"start">> => #{<<"x">> => 0, <<"y">> => 0.0}, <<"end">> => #{<<"x">> => 1, <<"y">> => 1.0}},
                 made(nested_dataclass)),
    ?assertEqual({1, <<"two">>}, made(namedtuple)).

%% Proves that dates, decimals, UUIDs, complex numbers and paths are their standard texts.
dates_and_numbers_as_text(_) ->
    ?assertEqual([<<"2024-01-02T03:04:05">>, <<"2024-02-29T12:00:00.123456+00:00">>, <<"2024-01-02">>, <<"1.50">>,
                  <<"12345678-1234-5678-1234-567812345678">>, <<"(1+2j)">>, <<"/tmp/x">>],
                 [made(N) || N <- [datetime, datetime_utc, date, decimal, uuid, complex, path]]).

%% Proves that a member of an Enum is its value.
enums(_) ->
    ?assertEqual([1, <<"green">>, 3, 3], [made(N) || N <- [enum, enum_text, int_enum, flags]]).

%% Proves that subclasses of built-in types are converted like these.
subclasses_of_builtins(_) ->
    ?assertEqual([#{<<"b">> => 1, <<"a">> => 2}, #{<<"n">> => 1}, #{<<"a">> => 2, <<"b">> => 1}, <<"sub">>, 7,
                  [<<"n">>],
                  #{<<"k">> => <<"v">>}],
                 [made(N) || N <- [ordered, defaultdict, counter, text, number, names, table]]).

%% Proves that any other object is its str().
objects_become_text(_) ->
    ?assertEqual(<<"plain text">>, made(plain)),
    ?assertEqual(<<"range(0, 3)">>, ok(py:eval(<<"range(3)">>))),
    ?assertEqual([<<"plain text">>], ok(py:eval(<<"[__import__('values').Plain()]">>))).

%% Proves that an object whose conversion fails is an error with what its own code raised.
objects_that_fail(_) ->
    ?assertEqual({error, {'LookupError', <<"no text today">>}}, py:call(values, make, [bad_text])),
    ?assertEqual({error, {'ArithmeticError', <<"no list today">>}}, py:call(values, make, [bad_list])),
    ?assertEqual(1, echo(1)).

%% Proves that an object with tolist is a list, also inside others.
tolist_objects(_) ->
    ?assertEqual([1, 2, 3], made(array)),
    ?assertEqual(#{<<"k">> => [1.0]}, ok(py:eval(<<"{'k': __import__('array').array('d', [1.0])}">>))).

%% Proves that strict refuses exactly what only str() could convert, and names the type.
strict_refuses_by_name(_) ->
    Ctx = py:context(1),
    Strict = fun(Name) -> py:call(Ctx, values, make, [atom_to_binary(Name)], #{strict => true}) end,
    ?assertEqual({error, {not_encodable, {type, <<"Plain">>}}}, bare_type(Strict(plain))),
    _ = [?assertMatch({N, {ok, _}}, {N, Strict(N)})
         || N <- [none, set, dataclass, namedtuple, datetime, date, decimal, uuid, enum, complex, path, array,
                  bytearray, counter, text]],
    ok.

%% The type may be named with its module, which differs with the way it was imported.
bare_type({error, {not_encodable, {type, Name}}}) ->
    {error, {not_encodable, {type, lists:last(binary:split(Name, <<".">>, [global]))}}};
bare_type(Other) -> Other.

%% Proves that converters registered in Python are used, inside containers too, and that their failures are errors.
registered_encoders(_) ->
    {ok, none} = py:call(values, register_encoders, []),
    ?assertEqual([#{<<"amount">> => 5}, {#{<<"amount">> => 6}}], ok(py:call(values, money, [5]))),
    ?assertEqual({error, {'OverflowError', <<"the encoder failed">>}}, py:call(values, broken, [])),
    ?assertMatch({error, _}, py:call(values, endless, [])),
    ?assertEqual(1, echo(1)).

%% Proves that numpy arrays are nested lists and numpy scalars numbers, and raw bytes with buffer => true.
%% ERLANG_PYTHON_TEST_PYPI names a directory that holds numpy when Python itself does not have it.
numpy_values(_) ->
    Dirs = [D || D <- [os:getenv("ERLANG_PYTHON_TEST_PYPI")], D =/= false],
    py_test:with_pool(1, #{paths => Dirs ++ [py_test:python_modules()]}, fun(Pool) ->
        case py:call(Pool, 'importlib.util', find_spec, [<<"numpy">>]) of
            {ok, none} -> {skip, "numpy is not installed; set ERLANG_PYTHON_TEST_PYPI to a directory that holds it"};
            {ok, _} -> numpy_values_in(Pool)
        end
    end).

numpy_values_in(Pool) ->
    Value = fun(Name) -> ok(py:call(Pool, values, numpy_value, [Name])) end,
    ?assertEqual([[[0, 1, 2], [3, 4, 5]], 0.5, -3, true, []],
                 [Value(N) || N <- [matrix, scalar, integer, boolean, empty]]),
    ?assertEqual({ok, << <<N:16/native>> || N <- lists:seq(0, 5) >>},
                 py:call(py_context_router:get_context(Pool), values, numpy_value, [matrix], #{buffer => true})).

ok({ok, Value}) -> Value.

echo(Term) -> ok(py:call(probe, echo, [Term])).
described(Term) -> ok(py:call(probe, describe, [Term])).
kind(Term) -> ok(py:call(probe, kind, [Term])).
made(Name) -> ok(py:call(values, make, [atom_to_binary(Name)])).

power(_, 0) -> 1;
power(Base, N) -> Base * power(Base, N - 1).

remote_pid(Id) -> binary_to_term(<<131, 88, 119, 13, "other@nowhere", Id:32, 3:32, 9:32>>).

remote_reference(Words) ->
    Ids = << <<W:32>> || W <- lists:seq(1, Words) >>,
    binary_to_term(<<131, 90, Words:16, 119, 13, "other@nowhere", 9:32, Ids/binary>>).
