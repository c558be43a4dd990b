%% Python that lets Erlang processes work for it: from threads, from coroutines, and by messages.
%%
%% To run it, in this directory:
%%
%%     erlc example.erl erlang_concurrency.erl
%%     ERL_LIBS=../../build/lib erl -noshell -s example main erlang_concurrency
%%
%% or in tools/shell, a shell with erlang_python in its path: c(example), c(erlang_concurrency),
%% erlang_concurrency:start(), erlang_concurrency:demo_all().
%%
%% erlang_concurrency.py has the Python half, and example.erl what starts and stops both.
%% tests/erlang/examples_SUITE.erl runs this file.
-module(erlang_concurrency).

-export([start/0, demo_all/0, stop/0]).
-export([word_counts/0, squares/1, first_answer/1, mapped/2]).

%% @doc Starts what the parts need: a pool with the Python half, and the functions that Python calls.
-spec start() -> ok.
start() -> example:start(?MODULE, functions()).

-spec stop() -> ok.
stop() -> example:stop(?MODULE, functions()).

%% What Python may call. Each call runs in an Erlang process of its own, so all of them run at once.
functions() ->
    [{count_words, fun([Text]) -> count_words(Text) end},
     {slow_square, fun([N]) -> timer:sleep(20), N * N end},
     {ask, fun([Worker, Question]) -> ask(Worker, Question) end},
     {start_workers, fun([Number]) -> [spawn(fun collector/0) | workers(Number)] end},
     {collect, fun([Collector, Number]) -> collect(Collector, Number) end}].

python(Function, Args) ->
    {ok, Value} = py:call(?MODULE, Function, Args),
    Value.

%% @doc Runs every part after start/0; what each gives.
-spec demo_all() -> #{atom() => term()}.
demo_all() ->
    say("Threads: eight Python threads give texts to Erlang, each counted in a process of its own.", []),
    Words = word_counts(),
    say("  ~ts", [lists:join(", ", [io_lib:format("~ts ~b", [W, N]) || {W, N} <- lists:sort(maps:to_list(Words))])]),

    say("~nCoroutines: a thousand calls wait in Erlang at once, 20 ms each.", []),
    Start = erlang:monotonic_time(millisecond),
    Squares = squares(1000),
    say("  the sum is ~b; all of them took ~b ms together", [lists:sum(Squares),
                                                             erlang:monotonic_time(millisecond) - Start]),

    say("~nRace: five Erlang processes are asked, the first answer counts, and the others are ended.", []),
    Answer = first_answer(5),
    say("  ~b", [Answer]),

    say("~nMessages: four Erlang processes get twenty jobs in turn.", []),
    Mapped = mapped(20, 4),
    say("  ~ts", [lists:join(", ", [io_lib:format("~b^3 = ~b", Pair) || Pair <- lists:sublist(Mapped, 5)] ++ ["..."])]),
    #{words => Words, squares => Squares, answer => Answer, mapped => Mapped}.

%% @doc How often each word comes in a few texts.
-spec word_counts() -> #{binary() => pos_integer()}.
word_counts() ->
    python(word_counts, [[<<"to be or not to be">>, <<"to do is to be">>, <<"to be is to do">>]]).

count_words(Text) ->
    lists:foldl(fun(Word, Counts) -> maps:update_with(Word, fun(N) -> N + 1 end, 1, Counts) end, #{},
                string:lexemes(Text, " ")).

%% @doc The squares of the first numbers, each made in a process that sleeps a little.
-spec squares(pos_integer()) -> [pos_integer()].
squares(Number) ->
    python(squares, [lists:seq(1, Number)]).

%% @doc The answer of the fastest of so many processes; only the first is fast.
-spec first_answer(pos_integer()) -> integer().
first_answer(Workers) ->
    python(first_answer, [21, Workers]).

ask(0, Question) -> 2 * Question;
ask(_Slow, _Question) -> timer:sleep(infinity).

%% @doc What the workers made of the jobs 1 to Jobs: `[Job, its cube]', in the order of the jobs.
-spec mapped(pos_integer(), pos_integer()) -> [[integer()]].
mapped(Jobs, Workers) ->
    python(mapped, [lists:seq(1, Jobs), Workers]).

workers(Number) ->
    [spawn(fun worker/0) || _ <- lists:seq(1, Number)].

%% A Python str is a binary here.
worker() ->
    receive
        {<<"job">>, Collector, Index, Job} ->
            Collector ! {done, Index, [Job, Job * Job * Job]},
            worker();
        <<"stop">> -> ok
    end.

collector() ->
    receive
        {collect, From, Number} ->
            Done = [receive {done, Index, Result} -> {Index, Result} end || _ <- lists:seq(1, Number)],
            From ! {collected, [Result || {_, Result} <- lists:sort(Done)]},
            collector();
        <<"stop">> -> ok
    end.

collect(Collector, Number) ->
    Collector ! {collect, self(), Number},
    receive {collected, Results} -> Results end.

say(Format, Args) ->
    io:format(Format ++ "~n", Args).
