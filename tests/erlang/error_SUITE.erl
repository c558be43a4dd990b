%% Errors: Python exceptions of every shape as Erlang terms, and py_error:format_error/1.
-module(error_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [builtin_exceptions, message_is_str_of_exception, unicode_message, empty_message, long_message,
     message_that_cannot_be_made, exits_are_errors, users_classes, groups_and_chains, same_shape_everywhere,
     recursion_is_an_error, error_in_arguments_leaves_context_usable, unknown_classes_are_bounded,
     unknown_atoms_are_bounded, format_error_of_every_reason, format_error_of_an_option_of_pools, format_error_with_a_traceback, format_error_of_anything].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

%% Proves that the class of a built-in exception is an atom and its text a binary.
builtin_exceptions(_) ->
    _ = [?assertEqual({error, {Class, <<"text">>}}, py:call(probe, raise_builtin, [Class, <<"text">>]))
         || Class <- ['ValueError', 'TypeError', 'RuntimeError', 'OSError', 'MemoryError', 'StopIteration',
                      'StopAsyncIteration', 'GeneratorExit', 'AssertionError', 'Warning', 'EOFError']],
    ok.

%% Proves that the message is what str() makes of the exception, also where that is not the argument.
message_is_str_of_exception(_) ->
    ?assertEqual({error, {'KeyError', <<"'k'">>}}, py:eval(<<"{}['k']">>)),
    ?assertEqual({error, {'ValueError', <<"('a', 1)">>}}, py:call(probe, raise_builtin, ['ValueError', a, 1])),
    ?assertMatch({error, {'FileNotFoundError', <<"[Errno 2] No such file", _/binary>>}},
                 py:call(builtins, open, [<<"/no/such/file">>])).

%% Proves that messages are UTF-8, also when Python's string could not be encoded as such.
unicode_message(_) ->
    Text = <<"naïve 日本 \x{1F600}"/utf8>>,
    ?assertEqual({error, {'ValueError', Text}}, py:call(probe, raise_builtin, ['ValueError', Text])),
    {error, {'ValueError', Lone}} = py:exec(<<"raise ValueError('a\\ud800b')">>),
    ?assert(is_list(unicode:characters_to_list(Lone))).

%% Proves that an exception without arguments has an empty message.
empty_message(_) ->
    ?assertEqual({error, {'ValueError', <<>>}}, py:call(probe, raise_builtin, ['ValueError'])).

%% Proves that a message of megabytes neither breaks the protocol nor is lost without a trace.
long_message(_) ->
    {error, {'ValueError', Message}} = py:exec(<<"raise ValueError('m' * 3_000_000)">>),
    ?assertMatch(<<"mmm", _/binary>>, Message),
    ?assertEqual({ok, 1}, py:eval(<<"1">>)).

%% Proves that an exception whose text cannot be made still arrives under its class.
message_that_cannot_be_made(_) ->
    {error, {Type, Message}} = py:call(probe, raise_unprintable, []),
    ?assertEqual('UnprintableError', type_atom(Type)),
    ?assert(is_binary(Message)).

%% Proves that sys.exit in a call is an error of the caller and ends nothing.
exits_are_errors(_) ->
    Before = py_test:os_pid(default),
    ?assertEqual({error, {'SystemExit', <<"3">>}}, py:call(sys, exit, [3])),
    ?assertMatch({error, {'SystemExit', _}}, py:exec(<<"raise SystemExit">>)),
    ?assertMatch({error, {'SystemExit', _}}, py:eval(<<"exit(1)">>)),
    ?assertEqual(Before, py_test:os_pid(default)).

%% Proves that a class of the user comes under its bare name.
users_classes(_) ->
    ok = py:exec(<<"class AppError(Exception):\n    pass\n\nclass SubError(AppError):\n    pass\n">>),
    {error, {Type, <<"why">>}} = py:exec(<<"raise SubError('why')">>),
    ?assertEqual('SubError', type_atom(Type)).

%% Proves that exception groups and chained exceptions are errors like others, with the outermost class.
groups_and_chains(_) ->
    ?assertMatch({error, {'ExceptionGroup', <<"many", _/binary>>}},
                 py:exec(<<"raise ExceptionGroup('many', [ValueError(1), TypeError(2)])">>)),
    ?assertMatch({error, {'RuntimeError', <<"outer">>}},
                 py:exec(<<"try:\n    1 / 0\nexcept Exception as e:\n    raise RuntimeError('outer') from e">>)).

%% Proves that one exception has the same shape whatever function of the API met it.
same_shape_everywhere(_) ->
    Expected = {error, {'ZeroDivisionError', <<"division by zero">>}},
    Ctx = py:context(1),
    ok = py:exec(<<"def divide(a, b):\n    return a / b\n">>),
    ?assertEqual(Expected, py:call('__main__', divide, [1, 0])),
    ?assertEqual(Expected, py:eval(<<"1 / 0">>)),
    ?assertEqual(Expected, py:exec(<<"1 / 0">>)),
    ?assertEqual(Expected, py:eval(Ctx, <<"1 / 0">>)),
    ?assertEqual(Expected, py:exec(Ctx, <<"1 / 0">>)),
    ?assertEqual(Expected, py:await(py:cast('__main__', divide, [1, 0]))),
    ?assertEqual({ok, [Expected]}, py:parallel([{'__main__', divide, [1, 0]}])),
    ?assertEqual(Expected, py_context:eval(Ctx, <<"1 / 0">>)).

%% Proves that endless recursion in Python code is a RecursionError, not the end of the process.
recursion_is_an_error(_) ->
    Before = py_test:os_pid(default),
    ?assertMatch({error, {'RecursionError', _}}, py:call(trouble, deep_recursion, [])),
    ?assertEqual(Before, py_test:os_pid(default)).

%% Proves that arguments that Python cannot hold are an error of that call alone.
error_in_arguments_leaves_context_usable(_) ->
    Ctx = py:context(1),
    ?assertMatch({error, {not_encodable, _}}, py:call(Ctx, probe, echo, [#{[1] => 2}])),
    ?assertEqual({ok, 2}, py:call(Ctx, probe, echo, [2])).

%% Proves that exception classes with ever new names come as atoms up to a bound and as binaries beyond, so that
%% Python cannot exhaust the atom table, and that names known to Erlang stay atoms all the while.
unknown_classes_are_bounded(_) ->
    Prefix = integer_to_binary(erlang:unique_integer([positive])),
    Before = erlang:system_info(atom_count),
    Types = [begin
                 Name = <<"Unknown", Prefix/binary, "_", (integer_to_binary(N))/binary>>,
                 {error, {Type, <<"unknown">>}} = py:call(probe, raise_named, [Name]),
                 ?assertEqual(Name, type_binary(Type)),
                 Type
             end || N <- lists:seq(1, 1100)],
    ?assert(is_binary(lists:last(Types))),
    ?assert(erlang:system_info(atom_count) - Before < 1100),
    ?assertMatch({error, {'ValueError', _}}, py:call(probe, raise_builtin, ['ValueError'])).

%% Proves the same of atoms that Python makes as values.
unknown_atoms_are_bounded(_) ->
    Prefix = integer_to_binary(erlang:unique_integer([positive])),
    Before = erlang:system_info(atom_count),
    _ = [py:call(values, atom, [<<"unknown_atom", Prefix/binary, "_", (integer_to_binary(N))/binary>>])
         || N <- lists:seq(1, 1100)],
    ?assert(erlang:system_info(atom_count) - Before < 1100),
    ?assertEqual({ok, error_SUITE}, py:call(values, atom, [<<"error_SUITE">>])).

%% Proves that every reason of the contract becomes one line that names the object in question.
format_error_of_every_reason(_) ->
    _ = [begin
             Text = sentence(Reason),
             _ = [?assertNotEqual({Reason, Text, nomatch}, {Reason, Text, string:find(Text, Part)}) || Part <- Parts]
         end
         || {Reason, Parts} <-
                [{{'ValueError', <<"bad value">>}, ["ValueError", "bad value"]},
                 {{<<"FarTooNewError">>, <<"text">>}, ["FarTooNewError", "text"]},
                 {timeout, []},
                 {interrupted, []},
                 {{overloaded, 17, 16}, ["17", "16", "pool option max_concurrent"]},
                 {max_concurrent, ["no slot", "pool option max_concurrent"]},
                 {{context_died, {exit_status, 3}}, ["3"]},
                 {{context_died, {signal, sigsegv}}, ["SIGSEGV"]},
                 {{context_died, {killed, timeout}}, ["hard_timeout_grace"]},
                 {{context_died, {killed, memory_limit}}, ["memory_limit"]},
                 {{context_died, stopped}, ["stopped"]},
                 {{no_such_pool, lost_pool}, ["lost_pool"]},
                 {{invalid_mode, odd_mode}, ["odd_mode", "worker", "owngil"]},
                 {{unsupported, owngil_requires_python_3_13}, ["3.13"]},
                 {{too_large, 70000, 65536}, ["68.4 KiB", "64.0 KiB", "max_frame_bytes"]},
                 {{not_encodable, depth}, ["1000"]},
                 {{not_encodable, {map_key, <<"[1]">>}}, ["[1]"]},
                 {{not_encodable, {duplicate_key, <<"'a'">>}}, ["'a'"]},
                 {{not_encodable, {type, <<"Socket">>}}, ["Socket"]},
                 {{bad_option, colour}, ["colour"]}]],
    ok.

%% Proves that an option that a pool has and a context has not is no slip of the pen.
format_error_of_an_option_of_pools(_) ->
    _ = [begin
             {error, Reason} = py_context:new(#{Key => 3}),
             Text = sentence(Reason),
             ?assertEqual({nomatch, true}, {string:find(Text, "meant"), lists:prefix("the option " ++ atom_to_list(Key) ++ " is for pools", Text)})
         end || Key <- [max_concurrent, max_queued]],
    ?assertNotEqual(nomatch, string:find(sentence({bad_option, max_concurent}), "is max_concurrent meant?")).

%% Proves that a traceback that was asked for is shown, below the sentence.
format_error_with_a_traceback(_) ->
    Error = py:call(json, loads, [<<"x">>], #{}, [traceback]),
    [Sentence | Traceback] = string:split(py_error:format_error(Error), "\n", all),
    ?assertMatch({match, _}, re:run(Sentence, "^Python raised JSONDecodeError: ")),
    ?assertEqual(<<"Traceback (most recent call last):">>, hd(Traceback)),
    ?assertMatch({match, _}, re:run(Traceback, "json/decoder.py")),
    ?assertMatch({match, _}, re:run(lists:last(Traceback), "JSONDecodeError")).

%% Proves that a reason that nobody foresaw is printed rather than crashed on.
format_error_of_anything(_) ->
    ?assertNotEqual(nomatch, string:find(sentence({surprising, reason}), "surprising")),
    ?assertNotEqual(nomatch, string:find(sentence(odd), "odd")).

sentence(Reason) ->
    Text = unicode:characters_to_list(py_error:format_error(Reason)),
    ?assert(is_list(Text)),
    ?assertNotEqual([], Text),
    ?assertNot(lists:member($\n, string:trim(Text))),
    Text.

%% Beyond the bounded table a class name is a binary; other suites of the same node may have filled it.
type_atom(Type) -> binary_to_existing_atom(type_binary(Type)).

type_binary(Type) when is_atom(Type) -> atom_to_binary(Type);
type_binary(Type) when is_binary(Type) -> Type.
