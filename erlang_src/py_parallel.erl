%% @doc Many calls at once from one process: all that the limit allows are in flight, over the contexts of the default
%% pool, and nobody but the caller waits for them.
-module(py_parallel).

-export([run/1]).

%% @doc The results, in the order of the calls. Each has its time from when it is sent.
-spec run([py_call:call()]) -> {ok, [py_request:result()]} | {error, py_started:not_started()}.
run(Calls) when length(Calls) >= 0 ->
    Requests = [request(Call) || Call <- Calls],
    py_started:result(fun() ->
        %% Raises when the application does not run.
        _ = py_counters:ref(),
        {ok, results(Requests)}
    end);
run(Calls) ->
    error({bad_argument, calls, Calls}).

%% In one context nothing runs at once.
request(Call) ->
    case py_call:tuple(Call) of
        {{context, _}, _, _, _} -> error({bad_argument, call, Call});
        Request -> Request
    end.

results(Requests) ->
    Numbered = lists:zip(lists:seq(1, length(Requests)), Requests),
    Caller = py_env:caller(),
    Job = fun({Key, {Target, Operation, Flags, Limit}}) ->
        #{key => Key, target => Target, operation => Operation, flags => Flags,
          timeout => py_time_limit:total(Limit, Caller), queue_timeout => py_time_limit:queue(Limit), caller => Caller}
    end,
    {Early, Pipeline} = lists:foldl(
        fun(Call, {Done, P}) ->
            {More, Next} = py_pipeline:add(Job(Call), P),
            {More ++ Done, Next}
        end,
        {[], py_pipeline:new(#{balance => true})}, Numbered),
    Results = maps:from_list(collect(Pipeline, Early)),
    [maps:get(Key, Results) || {Key, _} <- Numbered].

collect(Pipeline, Done) ->
    case py_pipeline:is_idle(Pipeline) of
        true ->
            Done;
        false ->
            {Flights, Head} = py_pipeline:references(Pipeline),
            Message = receive
                {py_reply, Alias, _} = Reply when is_map_key(Alias, Flights) -> Reply;
                {'DOWN', Ref, process, _, _} = Down when is_map_key(Ref, Flights); Ref =:= Head -> Down;
                {Head, _} = Granted -> Granted
            after py_pipeline:timeout(Pipeline) ->
                timeout
            end,
            {More, Next} = py_pipeline:handle(Message, Pipeline),
            collect(Next, More ++ Done)
    end.
