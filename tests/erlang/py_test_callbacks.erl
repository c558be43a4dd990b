%% What the suites share whose Python code calls Erlang: cleaning up after a case, and a load of calls to and fro.
-module(py_test_callbacks).

-export([clean_up/0, nested_work/2]).

%% For end_per_testcase/2: takes away the functions that the case has registered, and waits until
%% nothing is left of it.
-spec clean_up() -> ok.
clean_up() ->
    lists:foreach(fun(Name) -> ok = py:unregister_function(Name) end, py_functions:names()),
    py_test:nothing_left().

%% For so many milliseconds, callers begin chains of calls to and fro; each answer is checked.
-spec nested_work(pos_integer(), pos_integer()) -> ok.
nested_work(Ms, Callers) ->
    Until = erlang:monotonic_time(millisecond) + Ms,
    ok = py:register_function(nested_work, fun([_, 0]) -> [];
                                              ([Token, N]) ->
        {ok, V} = py:call(calling, call, [nested_work, Token, N - 1]),
        [Token | V]
    end),
    Jobs = [py_test:async(fun() -> nested_work_until(Until, Caller, 0) end) || Caller <- lists:seq(1, Callers)],
    lists:foreach(fun(Job) -> true = py_test:join(Job) > 0 end, Jobs).

nested_work_until(Until, Caller, N) ->
    case erlang:monotonic_time(millisecond) < Until of
        true ->
            Depth = N rem 7,
            Token = {Caller, N},
            Expected = {ok, lists:duplicate(Depth, Token)},
            {Expected, Expected} = {Expected, py:call(calling, call, [nested_work, Token, Depth])},
            nested_work_until(Until, Caller, N + 1);
        false ->
            N
    end.
