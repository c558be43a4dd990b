%% What the examples have in common: each is a module with a pool of its own that finds the Python half, which has the
%% same name, beside the Erlang half; and with Erlang functions that this Python half calls.
-module(example).

-export([main/1, start/2, stop/2]).

-type functions() :: [{atom(), fun(([term()]) -> term())}].

%% @doc Runs all of an example, for the command line.
-spec main([module()]) -> no_return().
main([Example]) ->
    ok = Example:start(),
    _ = Example:demo_all(),
    halt().

%% @doc Starts a pool that has imported the Python half, and to which its calls go; registers what it may call.
-spec start(module(), functions()) -> ok.
start(Example, Functions) ->
    Directory = filename:dirname(proplists:get_value(source, Example:module_info(compile))),
    {ok, _} = application:ensure_all_started(erlang_python),
    {ok, _} = py_context_router:start_pool(Example, 1, #{paths => [Directory], imports => [Example]}),
    ok = py:register_pool(Example, Example),
    lists:foreach(fun({Name, Fun}) -> ok = py:register_function(Name, Fun) end, Functions).

%% @doc Takes all of that away again.
-spec stop(module(), functions()) -> ok.
stop(Example, Functions) ->
    lists:foreach(fun({Name, _}) -> ok = py:unregister_function(Name) end, Functions),
    ok = py:unregister_pool(Example),
    ok = py_context_router:stop_pool(Example).
