%% Python calls Erlang, which calls Python again, in the same context, to any depth.
%%
%% To run it, in this directory:
%%
%%     erlc example.erl reentrant_demo.erl
%%     ERL_LIBS=../../build/lib erl -noshell -s example main reentrant_demo
%%
%% or in tools/shell, a shell with erlang_python in its path: c(example), c(reentrant_demo), reentrant_demo:start(),
%% reentrant_demo:demo_all().
%%
%% reentrant_demo.py has the Python half, and example.erl what starts and stops both.
%% tests/erlang/examples_SUITE.erl runs this file.
-module(reentrant_demo).

-export([start/0, demo_all/0, stop/0]).
-export([arithmetic/0, fibonacci/1, levels/1, methods/0]).

-define(KNOWN, reentrant_demo_known).

%% @doc Starts what the parts need: a pool with the Python half, and the functions that Python calls.
-spec start() -> ok.
start() -> example:start(?MODULE, functions()).

-spec stop() -> ok.
stop() -> example:stop(?MODULE, functions()).

%% What Python may call. Each runs in an Erlang process of its own, with the arguments as a list.
functions() ->
    [{add, fun([A, B]) -> A + B end},
     {multiply, fun([A, B]) -> A * B end},
     {divide, fun([A, B]) -> A div B end},
     {fibonacci, fun([N]) -> known_fibonacci(N) end},
     {next_level, fun([N]) -> next_level(N) end},
     {for_each, fun([Method, Values]) -> [python(call_method, [Method, Value]) || Value <- Values] end},
     {run_method, fun([Method | Args]) -> python(call_method, [Method | Args]) end}].

%% A Python exception becomes an Erlang one here, and would become a Python one again where Erlang was called.
python(Function, Args) ->
    {ok, Value} = py:call(?MODULE, Function, Args),
    Value.

%% @doc Runs every part after start/0; what each gives.
-spec demo_all() -> #{atom() => term()}.
demo_all() ->
    say("Arithmetic: Python adds and multiplies by calling Erlang.", []),
    Arithmetic = {Results, Divisions} = arithmetic(),
    [say("  ~ts: ~b", [Name, Value]) || {Name, Value} <- lists:sort(maps:to_list(Results))],
    [say("  ~ts", [Division]) || Division <- Divisions],

    say("~nFibonacci: Python calls Erlang for the smaller numbers; Erlang remembers them, or asks Python.", []),
    Fibonacci = {Number, Asked} = fibonacci(90),
    say("  fibonacci(90) = ~b, with ~b calls from Erlang to Python", [Number, Asked]),

    say("~nLevels: Python calls Erlang, which calls Python, and so on, all in one context.", []),
    Levels = levels(12),
    say("  ~ts", [lists:join(" > ", lists:sublist(Levels, 5) ++ ["...", lists:last(Levels)])]),
    say("  ~b levels of Python and Erlang on top of each other, and back", [length(Levels)]),

    say("~nMethods: Erlang calls methods of a Python object, while the function that made it waits.", []),
    Methods = methods(),
    say("  ~ts", [Methods]),
    #{arithmetic => Arithmetic, fibonacci => Fibonacci, levels => Levels, methods => Methods}.

%% @doc Values of Erlang functions in Python expressions, and an Erlang exception that Python catches.
-spec arithmetic() -> {#{binary() => integer()}, [binary()]}.
arithmetic() ->
    {python(arithmetic, [6, 7]), [python(divide, [84, 2]), python(divide, [1, 0])]}.

%% @doc The number, and how often Python had to be asked: once for each smaller one, since ETS knows the others.
-spec fibonacci(non_neg_integer()) -> {non_neg_integer(), non_neg_integer()}.
fibonacci(N) ->
    ?KNOWN = ets:new(?KNOWN, [named_table, public]),
    Value = known_fibonacci(N),
    Asked = ets:info(?KNOWN, size),
    true = ets:delete(?KNOWN),
    {Value, Asked}.

known_fibonacci(N) ->
    case ets:lookup(?KNOWN, N) of
        [{N, Value}] -> Value;
        [] ->
            Value = python(fibonacci, [N]),
            true = ets:insert(?KNOWN, {N, Value}),
            Value
    end.

%% @doc The names of all levels, the outermost first.
-spec levels(non_neg_integer()) -> [binary()].
levels(Depth) ->
    python(level, [Depth]).

next_level(N) ->
    [iolist_to_binary(io_lib:format("Erlang ~b", [N])) | python(level, [N - 1])].

%% @doc What the object has counted, as Python tells it.
-spec methods() -> binary().
methods() ->
    python(methods_as_callbacks, [5, [1, 2, 3]]).

say(Format, Args) ->
    io:format(Format ++ "~n", Args).
