%% Python calls Erlang functions by name.
-module(callback_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() -> [{group, names}, {group, errors}, {group, processes}].

groups() ->
    [{names, [],
      [name_in_every_form, function_in_every_form, bad_registrations, every_way_to_call, list_of_integers_is_a_list,
       unregistered_is_an_attribute_error, probing_finds_nothing, own_names_win, unregister_takes_effect,
       register_replaces, names_reach_every_port, functions_as_objects, keyword_arguments_are_refused]},
     {errors, [],
      [error_attributes, every_class, uncaught_error, exceptions_of_elixir, error_from_other_levels, reason_that_python_cannot_hold,
       errors_are_copied, function_that_is_gone]},
     {processes, [],
      [process_of_its_own, callers_of_a_callback, process_is_gone_afterwards, callback_in_preload, callback_at_import,
       many_at_once, callback_in_destructor]}].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

end_per_testcase(_Case, _Config) ->
    py_test_callbacks:clean_up().

%% Names.

%% Proves that a function is registered and unregistered by an atom, a binary and a string, which are one name.
name_in_every_form(_) ->
    _ = [begin
             ok = py:register_function(Register, fun([]) -> N end),
             ?assertEqual({ok, N}, py:call(calling, call, [<<"formed">>])),
             ok = py:unregister_function(Unregister),
             ?assertMatch({error, {'UnknownFunction', _}}, py:call(calling, call, [<<"formed">>]))
         end || {N, Register, Unregister} <- [{1, formed, <<"formed">>}, {2, <<"formed">>, "formed"},
                                              {3, "formed", formed}]],
    Name = <<"Zähler 数"/utf8>>,
    ok = py:register_function(unicode:characters_to_list(Name), fun([X]) -> X end),
    ?assertEqual({ok, 5}, py:call(calling, call, [Name, 5])).

%% Proves that funs of one list, external funs, and module with function are called with the list of arguments.
function_in_every_form(_) ->
    ok = py:register_function(anonymous, fun(Args) -> {1, Args} end),
    ok = py:register_function(external, fun lists:sum/1),
    ok = py:register_function(module_function, lists, sum),
    ok = py:register_function("text", <<"lists">>, "sum"),
    ?assertEqual({ok, {1, [1, <<"b">>]}}, py:call(calling, call, [anonymous, 1, <<"b">>])),
    ?assertEqual({ok, {1, []}}, py:call(calling, call, [anonymous])),
    ?assertEqual({ok, 6}, py:call(calling, call, [external, 1, 2, 3])),
    ?assertEqual({ok, 6}, py:call(calling, call, [module_function, 1, 2, 3])),
    ?assertEqual({ok, 6}, py:call(calling, call, [text, 1, 2, 3])).

%% Proves that what is no name or no function is refused where it is registered.
bad_registrations(_) ->
    _ = [?assertError({bad_argument, _, _}, Register()) || Register <- [
        fun() -> py:register_function(name, fun() -> 1 end) end,
        fun() -> py:register_function(name, fun(_, _) -> 1 end) end,
        fun() -> py:register_function(name, name) end,
        fun() -> py:register_function(5, fun(_) -> 1 end) end,
        fun() -> py:register_function(<<>>, fun(_) -> 1 end) end,
        fun() -> py:register_function(<<255>>, fun(_) -> 1 end) end,
        fun() -> py:register_function(name, lists, <<"no such function">>) end,
        fun() -> py:register_function(name, 5, sum) end,
        fun() -> py:unregister_function({name}) end]],
    ?assertEqual([], py_functions:names()).

%% Proves that erlang.call, erlang.name and `from erlang import name' are the same function, in both modes.
every_way_to_call(_) ->
    ok = py:register_function(add, fun([A, B]) -> A + B end),
    py_test_modes:in_each(fun(Ctx) ->
        _ = [?assertEqual({ok, 3}, py:call(Ctx, calling, Way, [<<"add">>, 1, 2]))
             || Way <- [call, attribute, imported]],
        ?assertEqual({ok, 3}, py:eval(Ctx, <<"__import__('erlang').add(1, 2)">>)),
        ok = py:exec(Ctx, <<"from erlang import add\nimport erlang\nx = add(1, erlang.add(2, 3))\n">>),
        ?assertEqual({ok, 6}, py:eval(Ctx, <<"x">>))
    end).

%% Proves that arguments that look like text to Erlang arrive as a list of integers, none as an empty one.
list_of_integers_is_a_list(_) ->
    ok = py:register_function(args, fun(Args) -> {length(Args), Args} end),
    ?assertEqual({ok, {3, "abc"}}, py:call(calling, call, [args, $a, $b, $c])),
    ?assertEqual({ok, {2, [0, 255]}}, py:call(calling, call, [args, 0, 255])),
    Many = [N rem 200 || N <- lists:seq(1, 70000)],
    ?assertEqual({ok, {70000, Many}}, py:call(calling, call, [args | Many])).

%% Proves that an unknown name is an AttributeError in all three ways to call, which is an ErlangError as well.
unregistered_is_an_attribute_error(_) ->
    ?assertMatch({error, {'AttributeError', _}}, py:call(calling, attribute, [nope])),
    ?assertMatch({error, {'ImportError', _}}, py:call(calling, imported, [nope])),
    {ok, Caught} = py:call(calling, caught, [nope]),
    ?assertMatch(#{<<"type">> := <<"UnknownFunction">>, <<"function">> := <<"nope">>}, Caught),
    ?assert(lists:member(<<"AttributeError">>, maps:get(<<"bases">>, Caught))),
    _ = [?assertMatch({error, {'TypeError', _}}, py:call(calling, call, [Name])) || Name <- [1.5, none, {a}]],
    ?assertMatch({error, {'TypeError', _}}, py:eval(<<"__import__('erlang').call()">>)).

%% Proves that libraries that look into the module find nothing there that is not, and the module unharmed.
probing_finds_nothing(_) ->
    py_test_modes:in_each(fun(Ctx) ->
        ?assertMatch({ok, #{<<"hasattr">> := false, <<"getattr">> := <<"default">>, <<"dir">> := false,
                            <<"getattr_static">> := <<"default">>, <<"members">> := true, <<"file">> := true,
                            <<"doc">> := true, <<"signature">> := false, <<"path">> := true, <<"all">> := true,
                            <<"dunder">> := [], <<"unwrap">> := true, <<"copy">> := true, <<"help">> := true,
                            <<"import">> := <<"ModuleNotFoundError">>, <<"from">> := <<"ImportError">>,
                            <<"pickle">> := <<"TypeError">>, <<"deepcopy">> := <<"TypeError">>,
                            <<"attribute">> := <<"AttributeError">>}},
                     py:call(Ctx, calling, probed, [nowhere]))
    end).

%% Proves that a registered function does not hide what the module has itself, nor make a dunder appear.
own_names_win(_) ->
    _ = [ok = py:register_function(Name, fun(_) -> 5 end) || Name <- [send, 'ErlangError', '__len__', '__path__']],
    ?assertEqual({ok, <<"ErlangError">>}, py:eval(<<"__import__('erlang').ErlangError.__name__">>)),
    ?assertEqual({ok, false}, py:eval(<<"hasattr(__import__('erlang'), '__len__')">>)),
    ?assertEqual({ok, 5}, py:call(calling, call, [send])).

%% Proves that after unregister_function has returned no port calls the function any more, nor sees its name.
unregister_takes_effect(_) ->
    Contexts = py_test:contexts(default) ++ py_test:contexts(io),
    _ = [begin
             ok = py:register_function(coming, fun([X]) -> X end),
             _ = [?assertEqual({ok, N}, py:call(Ctx, calling, attribute, [coming, N])) || Ctx <- Contexts],
             ok = py:unregister_function(coming),
             _ = [?assertMatch({error, {'AttributeError', _}}, py:call(Ctx, calling, attribute, [coming, N]))
                  || Ctx <- Contexts]
         end || N <- lists:seq(1, 50)],
    ok = py:unregister_function(never_registered).

%% Proves that the later of two registrations counts as soon as it is made, also for a function object kept by Python.
register_replaces(_) ->
    ok = py:register_function(version, fun([]) -> 0 end),
    ok = py:exec(<<"import erlang\nkept = erlang.version\n">>),
    _ = [begin
             ok = py:register_function(version, fun([]) -> N end),
             ?assertEqual({ok, {N, N}}, py:eval(<<"(kept(), erlang.call('version'))">>))
         end || N <- lists:seq(1, 100)],
    ok = py:unregister_function(version),
    ?assertMatch({error, {'UnknownFunction', _}}, py:eval(<<"kept()">>)).

%% Proves that pools started before and after a registration know it, and that thousands of names do no harm.
names_reach_every_port(_) ->
    Names = [<<"a_rather_long_name_of_a_function_", (integer_to_binary(N))/binary>> || N <- lists:seq(1, 2000)],
    py_test:with_pool(1, #{}, fun(Before) ->
        _ = [ok = py:register_function(Name, fun([X]) -> {Name, X} end) || Name <- Names],
        py_test:with_pool(1, #{}, fun(After) ->
            _ = [?assertEqual({ok, {Name, 1}}, py:call(Pool, calling, attribute, [Name, 1]))
                 || Name <- [hd(Names), lists:last(Names)], Pool <- [Before, After]]
        end)
    end).

%% Proves that erlang.name is an object that can be kept, copied and pickled.
functions_as_objects(_) ->
    ok = py:register_function(add, fun([A, B]) -> A + B end),
    ?assertEqual({ok, [3, 3, 3]}, py:call(calling, kept, [add, 1, 2])),
    ?assertEqual({ok, <<"add">>}, py:eval(<<"__import__('erlang').add.__name__">>)),
    ?assertEqual({ok, [5, 7, 9]}, py:eval(<<"list(map(__import__('erlang').add, [1, 2, 3], [4, 5, 6]))">>)).

%% Proves that keyword arguments raise a TypeError that says what is wrong, and call nothing.
keyword_arguments_are_refused(_) ->
    Self = self(),
    ok = py:register_function(add, fun(Args) -> Self ! {called, Args} end),
    _ = [begin
             {error, {'TypeError', Text}} = py:eval(Code),
             ?assertMatch({match, _}, re:run(Text, "keyword arguments"))
         end || Code <- [<<"__import__('erlang').add(1, b=2)">>, <<"__import__('erlang').call('add', b=2)">>,
                         <<"__import__('erlang').add(**{'a': 1})">>]],
    receive {called, _} = Called -> error(Called) after 0 -> ok end.

%% Errors.

%% Proves which attributes the exception has that an Erlang function's failure becomes.
error_attributes(_) ->
    ok = py:register_function(boom, fun([X]) -> error({kaboom, X}) end),
    py_test_modes:in_each(fun(Ctx) ->
        {ok, Caught} = py:call(Ctx, calling, caught, [boom, 7]),
        ?assertMatch(#{<<"type">> := <<"ErlangError">>, <<"function">> := <<"boom">>, <<"error_class">> := <<"error">>,
                       <<"class">> := <<"error">>, <<"reason">> := {<<"kaboom">>, 7},
                           <<"text">> := <<"error:{kaboom,7}">>,
                       <<"str">> := <<"boom: error:{kaboom,7}">>}, Caught),
        #{<<"stack">> := Stack, <<"bases">> := Bases} = Caught,
        ?assertMatch({match, _}, re:run(Stack, "callback_SUITE.*error_attributes")),
        ?assert(lists:member(<<"RuntimeError">>, Bases))
    end).

%% Proves that errors, exits and throws keep their class, also those that end a process elsewhere.
every_class(_) ->
    ok = py:register_function(fails, fun([Class, Reason]) -> erlang:raise(binary_to_atom(Class), atoms(Reason),
        []) end),
    _ = [?assertMatch({ok, #{<<"error_class">> := Text, <<"reason">> := Reason}},
                      py:call(calling, caught, [fails, Class, Reason]))
         || {Class, Text} <- [{error, <<"error">>}, {exit, <<"exit">>}, {throw, <<"throw">>}],
            Reason <- [<<"kaboom">>, <<"normal">>, <<"shutdown">>, <<"killed">>, {<<"a">>, [1, 2.5]}, #{<<"k">> => 1}]],
    ok = py:register_function(badarith, fun([X]) -> 1 / X end),
    ?assertMatch({ok, #{<<"reason">> := <<"badarith">>}}, py:call(calling, caught, [badarith, 0])),
    ?assertMatch({ok, #{<<"reason">> := {<<"badmatch">>, 5}}}, begin
        ok = py:register_function(badmatch, fun([X]) -> 1 = X end),
        py:call(calling, caught, [badmatch, 5])
    end),
    ?assertMatch({ok, #{<<"reason">> := <<"function_clause">>}}, py:call(calling, caught, [badmatch])).

%% Proves that an exception of Elixir reads as what its module says of it, and that one whose module says nothing is a term.
exceptions_of_elixir(_) ->
    Text = "-module('Elixir.Shop.NoSuchItem'). -export([message/1]). message(#{item := Item}) -> <<\"no \", Item/binary>>.",
    {ok, Module, Beam} = compile:forms(forms(Text)),
    {module, Module} = code:load_binary(Module, "shop.ex", Beam),
    Raise = fun(Struct) -> error(#{'__struct__' => Struct, '__exception__' => true, item => <<"tea">>}) end,
    ok = py:register_function(raise, fun(_) -> Raise(Module) end),
    ?assertEqual({error, {'ErlangError', <<"raise: Shop.NoSuchItem: no tea">>}}, py:call(calling, call, [raise])),
    ok = py:register_function(raise, fun(_) -> Raise('Elixir.Nobody') end),
    ?assertMatch({error, {'ErlangError', <<"raise: error:{'Elixir.Nobody',#{", _/binary>>}}, py:call(calling, call, [raise])),
    true = code:delete(Module),
    ok.

forms(Text) ->
    {ok, Tokens, _} = erl_scan:string(Text),
    forms(Tokens, []).

forms([], []) -> [];
forms([Dot = {dot, _} | Rest], Begun) ->
    {ok, Form} = erl_parse:parse_form(lists:reverse(Begun, [Dot])),
    [Form | forms(Rest, [])];
forms([Token | Rest], Begun) -> forms(Rest, [Token | Begun]).

%% Proves that an error that nobody catches is the result of the request, as {'ErlangError', Text}.
uncaught_error(_) ->
    ok = py:register_function(boom, fun([]) -> error(kaboom) end),
    Expected = {error, {'ErlangError', <<"boom: error:kaboom">>}},
    ?assertEqual(Expected, py:call(calling, call, [boom])),
    ?assertEqual(Expected, py:eval(<<"__import__('erlang').boom()">>)),
    ?assertEqual(Expected, py:exec(<<"__import__('erlang').boom()">>)).

%% Proves that a Python exception that a callback met is seen by name in the error of the level above.
error_from_other_levels(_) ->
    ok = py:register_function(down, fun([]) -> {ok, _} = py:call(probe, raise_builtin, ['KeyError', <<"gone">>]) end),
    {ok, #{<<"reason">> := Reason, <<"text">> := Text}} = py:call(calling, caught, [down]),
    ?assertMatch({<<"badmatch">>, {<<"error">>, {<<"KeyError">>, _}}}, Reason),
    ?assertMatch({match, _}, re:run(Text, "KeyError")).

%% Proves that a reason without a counterpart in Python costs the reason only, and a large one arrives.
reason_that_python_cannot_hold(_) ->
    ok = py:register_function(boom, fun([1]) -> error(deep(2000)); ([2]) -> exit(#{#{} => 1});
                                       ([3]) -> error(lists:duplicate(300000, <<"large">>)) end),
    ?assertMatch({ok, #{<<"reason">> := none, <<"error_class">> := <<"error">>}}, py:call(calling, caught, [boom, 1])),
    ?assertMatch({ok, #{<<"reason">> := none, <<"error_class">> := <<"exit">>}}, py:call(calling, caught, [boom, 2])),
    {ok, #{<<"reason">> := Large}} = py:call(calling, caught, [boom, 3]),
    ?assertEqual(300000, length(Large)).

%% Proves that the exceptions can be copied and pickled, as multiprocessing and loggers do.
errors_are_copied(_) ->
    ok = py:register_function(boom, fun([]) -> error(kaboom) end),
    ?assertEqual({ok, lists:duplicate(6, true)}, py:call(calling, copied_error, [boom])).

%% Proves that a module and function that are not there raise undef in Python.
function_that_is_gone(_) ->
    ok = py:register_function(gone, no_such_module, no_such_function),
    ?assertMatch({ok, #{<<"type">> := <<"ErlangError">>, <<"reason">> := <<"undef">>,
        <<"error_class">> := <<"error">>}},
                 py:call(calling, caught, [gone])).

%% Processes.

%% Proves that each callback runs in a process of its own that py_port is linked to.
process_of_its_own(_) ->
    ok = py:register_function(me, fun([]) -> {links, Links} = process_info(self(), links), {self(), Links} end),
    Owner = py_test:owner_of(py_test:os_pid(default)),
    Seen = [begin
        {ok, {Pid, Links}} = py:call(default, calling, call, [me]),
        ?assertEqual([Owner], Links),
        ?assertNotEqual(self(), Pid),
        Pid
    end || _ <- lists:seq(1, 10)],
    ?assertEqual(10, length(lists:usort(Seen))).

%% Proves that a callback finds its caller in $callers, as Elixir's tasks do, on every level the one that began it.
callers_of_a_callback(_) ->
    ok = py:register_function(callers, fun([0]) -> get('$callers');
                                          ([N]) -> {ok, V} = py:call(calling, call, [callers, N - 1]), V end),
    _ = [?assertEqual({ok, [self()]}, py:call(calling, call, [callers, N])) || N <- [0, 1, 3]],
    ok.

%% Proves that nothing is left of callbacks that have returned or failed.
process_is_gone_afterwards(_) ->
    ok = py:register_function(me, fun([1]) -> error(self()); ([0]) -> self() end),
    {ok, Pid} = py:call(calling, call, [me, 0]),
    {ok, #{<<"reason">> := Failed}} = py:call(calling, caught, [me, 1]),
    _ = [py_test:eventually(fun() -> not is_process_alive(P) end) || P <- [Pid, Failed]],
    py_test:eventually(fun() -> py_counters:callbacks() =:= 0 end),
    ?assertEqual([], ets:tab2list(py_callbacks)).

%% Proves that preload code calls Erlang, which calls back into the context that is being made.
callback_in_preload(_) ->
    ok = py:register_function(config, fun([X]) -> {ok, Y} = py:call(math, sqrt, [X]), {get('$callers'), Y} end),
    Preload = <<"import erlang\nfound = erlang.config(16)\n">>,
    _ = [py_test:with_context(#{mode => Mode, preload => Preload}, fun(Ctx) ->
             ?assertEqual({ok, {[], 4.0}}, py:eval(Ctx, <<"found">>))
         end) || Mode <- py_test_modes:supported()],
    py_test:with_pool(2, #{preload => Preload}, fun(Pool) ->
        _ = [?assertEqual({ok, {[], 4.0}}, py:eval(Ctx, <<"found">>)) || Ctx <- py_test:contexts(Pool)]
    end).

%% Proves that a module may call Erlang while it is imported.
callback_at_import(_) ->
    Dir = py_test:temp_file("modules"),
    ok = filelib:ensure_dir(filename:join(Dir, "x")),
    ok = file:write_file(filename:join(Dir, "importer_calls.py"), "import erlang\nvalue = erlang.config()\n"),
    ok = py:register_function(config, fun([]) -> {ok, V} = py:call(math, sqrt, [16]), V end),
    ok = py:exec(["import sys; sys.path.insert(0, '", Dir, "')"]),
    ok = py:exec(<<"import importer_calls">>),
    ?assertEqual({ok, 4.0}, py:eval(<<"importer_calls.value">>)),
    py_test:remove_temp_files().

%% Proves that hundreds of callers that call back at once get their own answers.
many_at_once(_) ->
    ok = py:register_function(same, fun([Value]) -> Value end),
    Jobs = [{N, py_test:async(fun() -> [py:call(calling, call, [same, {N, I}]) || I <- lists:seq(1, 20)] end)}
            || N <- lists:seq(1, 200)],
    _ = [?assertEqual([{ok, {N, I}} || I <- lists:seq(1, 20)], py_test:join(Job)) || {N, Job} <- Jobs],
    ok.

%% Proves that destructors may call Erlang, also those that run because a namespace or a context goes.
callback_in_destructor(_) ->
    Self = self(),
    ok = py:register_function(tell, fun([Value]) -> Self ! {told, Value}, none end),
    Code = <<"import erlang\nclass Last:\n    def __init__(self, n): self.n = n\n"
             "    def __del__(self, tell=erlang.tell): tell(self.n)\n">>,
    py_test_modes:in_each(fun(Ctx) ->
        ok = py:exec(Ctx, Code),
        ok = py:exec(Ctx, <<"x = Last('deleted')\ndel x\n">>),
        receive {told, <<"deleted">>} -> ok end,
        py_test:in_process(fun() -> ok = py:exec(Ctx, Code), ok = py:exec(Ctx, <<"x = Last('namespace')\n">>) end),
        py_test:eventually(fun() ->
            {ok, _} = py:call(Ctx, gc, collect, []),
            receive {told, <<"namespace">>} -> true after 0 -> false end
        end)
    end).

%% Helpers.

atoms(Text) when is_binary(Text) -> binary_to_atom(Text);
atoms(Other) -> Other.

deep(0) -> [];
deep(N) -> [deep(N - 1)].
