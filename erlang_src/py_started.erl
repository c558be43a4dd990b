%% @doc What it means for a caller that the application does not run, or that one of its processes is just being started
%% again. Nobody asks beforehand: who meets a missing table or process comes here with what happened.
%%
%% An application that does not run is `{error, {not_started, erlang_python}}' where a result may be an error, and the
%% exception `{not_started, erlang_python}' where it may not. A process that restarts is asked again.
-module(py_started).

-export([result/1, failed/2, absent/0, raise/2]).
-export([call/2, again/1]).

-export_type([not_started/0]).

-type not_started() :: {not_started, erlang_python}.

-define(NOT_STARTED, {not_started, erlang_python}).
%% While a process restarts: how often to try again.
-define(RETRY_MS, 10).

%% @doc The value of `Fun', or the error.
-spec result(fun(() -> Value)) -> Value | {error, not_started()}.
result(Fun) ->
    try
        Fun()
    catch
        error:Reason:Stack -> failed(Reason, Stack)
    end.

%% @doc For a caller that has caught `error:Reason'. What has another cause goes on.
-spec failed(term(), erlang:stacktrace()) -> {error, not_started()}.
failed(?NOT_STARTED, _Stack) ->
    {error, ?NOT_STARTED};
failed(badarg, Stack) ->
    case is_running() of
        true -> erlang:raise(error, badarg, Stack);
        false -> {error, ?NOT_STARTED}
    end;
failed(Reason, Stack) ->
    erlang:raise(error, Reason, Stack).

%% @doc A table was looked for by its name, and is not there.
-spec absent() -> no_return().
absent() ->
    error(?NOT_STARTED).

%% @doc The exception of a function whose `badarg' may mean that there is no table.
-spec raise(term(), erlang:stacktrace()) -> no_return().
raise(Reason, Stack) ->
    {error, NotStarted} = failed(Reason, Stack),
    error(NotStarted).

%% @doc Asks a registered process of the application, as long as it takes.
-spec call(atom(), term()) -> term().
call(Server, Request) ->
    again(fun() -> gen_server:call(Server, Request, infinity) end).

%% @doc What is asked of our processes can be asked again: that one was killed or stopped is survived. One that crashed
%% is not asked again, since that may be why.
-spec again(fun(() -> Value)) -> Value.
again(Fun) ->
    try
        Fun()
    catch
        exit:{Reason, {gen_server, call, _}} when Reason =:= noproc; Reason =:= killed; Reason =:= shutdown;
                                                  Reason =:= normal ->
            is_running() orelse absent(),
            receive after ?RETRY_MS -> again(Fun) end
    end.

is_running() ->
    whereis(erlang_python_sup) =/= undefined.
