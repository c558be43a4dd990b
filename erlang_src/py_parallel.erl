%% @doc Many calls at once from one process: all that the limit allows are in flight, over the contexts of the default
%% pool, and nobody but the caller waits for them.
-module(py_parallel).

-export([run/2]).

%% @doc The results, in the order of the operations. Each has `Limit' from when it is sent.
-spec run([py_protocol:operation()], py_request:limit()) -> [py_request:result()].
run(Operations, Limit) ->
    Numbered = lists:zip(lists:seq(1, length(Operations)), Operations),
    Caller = py_env:caller(),
    Timeout = py_request:limit(Limit, Caller),
    Job = fun({Key, Operation}) ->
        #{key => Key, target => routed, operation => Operation, flags => 0, timeout => Timeout, caller => Caller}
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
