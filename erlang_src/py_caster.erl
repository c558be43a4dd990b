%% @doc Casts: a process beside each process that casts, which sends its calls in their order, has all of them in flight
%% that the limit allows, and turns replies into `{py_response, Ref, Result}' or `{async_result, Ref, Result}' messages. It ends
%% after the process that it works for, when it has sent what that one had cast and cancelled its tasks.
-module(py_caster).

-include("py_route.hrl").

-export([cast/5, await/2, await/3, cancel/1]).
%% spawn.
-export([init/2]).

-export_type([tag/0]).

%% Of the message with the result. `none': nobody wants to know.
-type tag() :: py_response | async_result | none.

-define(AWAIT_MS, 30000).
-define(KEY, '$py_caster').
%% What its caster knows the process by: jobs of others are none.
-define(SECRET, '$py_caster_secret').

%% @doc Never blocks. The call sees the caller's contexts and namespaces as they are now.
-spec cast(tag(), py_route:target(), py_protocol:operation(), non_neg_integer(), py_time_limit:limit()) -> reference().
cast(Tag, Target, Operation, Flags, Limit) ->
    Ref = make_ref(),
    Caller = py_env:caller(),
    %% Raises when the application does not run: whoever it did run for may remember a caster.
    _ = py_counters:ref(),
    Job = #{key => {Ref, Tag}, target => Target, operation => Operation, flags => Flags,
            timeout => py_time_limit:total(Limit, Caller), queue_timeout => py_time_limit:queue(Limit), caller => Caller},
    Caster = caster(),
    Caster ! {cast, get(?SECRET), Job},
    Ref.

%% @doc The result of what the calling process has cast, waited for at most 30 seconds.
-spec await(tag(), reference()) -> py_request:result().
await(Tag, Ref) ->
    await(Tag, Ref, ?AWAIT_MS).

%% @doc The call goes on when the time is over, and can be awaited again. Whoever kills the caster has killed the news of its calls.
-spec await(tag(), reference(), timeout()) -> py_request:result().
await(Tag, Ref, Timeout) when is_reference(Ref) ->
    Ms = py_args:timeout(Timeout),
    case get(?KEY) of
        undefined ->
            receive {Tag, Ref, Result} -> Result
            after Ms -> {error, timeout}
            end;
        Caster ->
            await(Tag, Ref, monitor(process, Caster), Ms)
    end;
await(_Tag, Ref, _Timeout) ->
    error({bad_argument, reference, Ref}).

await(Tag, Ref, Monitor, Timeout) ->
    receive
        {Tag, Ref, Result} ->
            true = demonitor(Monitor, [flush]),
            Result;
        {'DOWN', Monitor, process, _, Reason} ->
            receive {Tag, Ref, Result} -> Result
            after 0 -> {error, {context_died, {caster_died, Reason}}}
            end
    after Timeout ->
        true = demonitor(Monitor, [flush]),
        {error, timeout}
    end.

%% @doc Ends what the calling process has cast and is not done yet.
-spec cancel(reference()) -> ok.
cancel(Ref) ->
    case get(?KEY) of
        undefined -> ok;
        Pid ->
            Pid ! {cancel, Ref},
            ok
    end.

caster() ->
    case get(?KEY) of
        Pid when is_pid(Pid) ->
            case is_process_alive(Pid) of
                true -> Pid;
                false -> new_caster()
            end;
        undefined ->
            new_caster()
    end.

new_caster() ->
    Client = self(),
    Secret = make_ref(),
    Pid = spawn(?MODULE, init, [Client, Secret]),
    put(?KEY, Pid),
    put(?SECRET, Secret),
    Pid.

%% @private
-spec init(pid(), reference()) -> ok.
init(Client, Secret) ->
    loop(Client, monitor(process, Client), Secret, py_pipeline:new(#{balance => false})).

loop(Client, Monitor, Secret, Pipeline) ->
    receive
        {cast, Secret, Job} ->
            told(Client, Monitor, Secret, py_pipeline:add(Job, Pipeline));
        {cancel, Ref} ->
            Keys = [{Ref, Tag} || Tag <- [async_result, py_response, none]],
            told(Client, Monitor, Secret, py_pipeline:cancel(Keys, Pipeline));
        {'DOWN', Monitor, process, Client, _} ->
            %% Nobody is left who would know the end of what goes on for long; casts were made to be done.
            Keys = [Key || Key = {_, async_result} <- py_pipeline:keys(Pipeline)],
            told(Client, gone, Secret, py_pipeline:cancel(Keys, Pipeline));
        Message ->
            case py_pipeline:handle(Message, Pipeline) of
                ignored ->
                    ok = py_unexpected:dropped(Message),
                    loop(Client, Monitor, Secret, Pipeline);
                Handled -> told(Client, Monitor, Secret, Handled)
            end
    after py_pipeline:timeout(Pipeline) ->
        told(Client, Monitor, Secret, py_pipeline:handle(timeout, Pipeline))
    end.

told(Client, Monitor, Secret, {Completions, Pipeline}) ->
    lists:foreach(fun({{Ref, Tag}, Result}) -> Tag =:= none orelse (Client ! {Tag, Ref, Result}) end, Completions),
    next(Client, Monitor, Secret, Pipeline).

next(Client, gone, Secret, Pipeline) ->
    case py_pipeline:is_idle(Pipeline) of
        true -> ok;
        false -> loop(Client, gone, Secret, Pipeline)
    end;
next(Client, Monitor, Secret, Pipeline) ->
    loop(Client, Monitor, Secret, Pipeline).
