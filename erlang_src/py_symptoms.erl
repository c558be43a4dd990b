%% @doc Calls that failed, counted where they fail: in the process that made them. Only errors come here; calls that
%% succeed do not know of it.
%%
%% A row of the table py_symptoms: `{Ctx, Failures, Since, NotBefore}', times in milliseconds of monotonic time. When
%% several calls of a context have failed within a while its pool is told, once, and looks after it (py_checkup).
-module(py_symptoms).

-include("py_route.hrl").

-export([note/2, quiet/2, forget/1]).

-define(TABLE, py_symptoms).
%% What happens to everybody now and then is no symptom.
-define(SEVERAL, 3).
-define(WINDOW_MS, 10000).

%% @doc A call through this route has ended with this error.
-spec note(term(), #route{}) -> ok.
note(timeout, Route) -> count(Route);
note({Type, Message}, Route) when is_binary(Message), is_atom(Type) orelse is_binary(Type) -> count(Route);
note({_Type, Message, Traceback}, Route) when is_binary(Message), is_binary(Traceback) -> count(Route);
%% What Python has nothing to do with, or was asked for.
note(_Other, _Route) -> ok.

%% @doc Failures of this context are no news until then.
-spec quiet(pid(), integer()) -> ok.
quiet(Ctx, Until) ->
    true = ets:insert(?TABLE, {Ctx, 0, Until, Until}),
    ok.

%% @doc The context is no more.
-spec forget(pid()) -> ok.
forget(Ctx) ->
    true = ets:delete(?TABLE, Ctx),
    ok.

count(#route{ctx = Ctx, pool = Pool}) ->
    Now = erlang:monotonic_time(millisecond),
    case ets:lookup(?TABLE, Ctx) of
        [{_, _, _, NotBefore}] when Now < NotBefore -> ok;
        [{_, _, Since, _}] when Now - Since =< ?WINDOW_MS -> one_more(Ctx, Pool);
        _ -> first(Ctx, Now)
    end.

%% One that has just died would leave a row behind.
first(Ctx, Now) ->
    case py_tables:route(Ctx) of
        #route{} ->
            true = ets:insert(?TABLE, {Ctx, 1, Now, Now}),
            ok;
        gone ->
            ok
    end.

one_more(Ctx, Pool) ->
    try ets:update_counter(?TABLE, Ctx, {2, 1}) of
        ?SEVERAL -> tell(Ctx, Pool);
        _ -> ok
    catch
        error:badarg -> ok
    end.

tell(Ctx, Pool) ->
    case py_tables:pool(Pool) of
        {Pid, _} ->
            Pid ! {py_symptoms, Ctx},
            ok;
        none ->
            ok
    end.
