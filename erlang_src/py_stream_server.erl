%% @doc A stream that is sent to a process: the process beside it that reads it from Python. Its owner gets
%% `{py_stream, Ref, {data, Value}}' for each item, and in the end `{py_stream, Ref, done}' or
%% `{py_stream, Ref, {error, Reason}}', exactly once, unless it has died: then the stream is cancelled.
%%
%% Nobody's memory grows when the owner is slow. Python sends what it has credit for, and gets more for what has been
%% sent on. The owner is sent so many items that it has not read: that it has read some is known from
%% {@link next/2}, or seen in its message queue. While it does not, the queue is looked at less and less often.
-module(py_stream_server).

-include("py_protocol.hrl").
-include("py_route.hrl").
-include("py_attempt.hrl").

-export([start/4, cancel/1, next/2]).
%% spawn.
-export([init/3]).

%% What the owner may have unread: so many items, and about so many bytes, but always one item.
-define(UNREAD_ITEMS, 200).
-define(UNREAD_BYTES, 1048576).
%% Looks at the queue of an owner that does not read: some at once, since it may be about to, then with pauses between
%% them that grow from a millisecond to this.
-define(LOOKS_AT_ONCE, 5).
-define(LONGEST_PAUSE_MS, 200).
%% In one look of so many the items in the queue are counted though its length says nothing new.
-define(COUNT_ANYWAY, 16).
%% For each question about a queue on another node.
-define(REMOTE_LOOK_MS, 5000).
%% The pipeline's only key.
-define(KEY, stream).

-record(state, {
    ref :: reference(),                     % an alias of this process
    owner :: pid(),
    monitor :: reference(),
    pipeline :: py_pipeline:pipeline(),
    batches = queue:new() :: queue:queue(py_protocol:payload()),
    items = [] :: [term()],                 % of the batch that is being sent on
    credit = none :: none | {Items :: non_neg_integer(), Bytes :: non_neg_integer()},   % for it, when it is done
    unread = 0 :: non_neg_integer(),        % at most so many of those sent on
    window = ?UNREAD_ITEMS :: pos_integer(),
    counted = none :: non_neg_integer() | none,         % the length of the owner's queue when its items were counted
    looks = 0 :: non_neg_integer(),         % in which it had not read
    ending = none :: none | done | {error, term()}
}).

%% @doc Begins a stream on behalf of the calling process. The reference is an address: whoever has it can cancel it.
-spec start(py_args:name(), py_args:name(), [term()], py:stream_options()) ->
    {ok, reference()} | {error, py_started:not_started()}.
start(M, F, Args, Given) ->
    Options = py_args:map(options, Given),
    Owner = maps:get(owner, Options, self()),
    is_pid(Owner) orelse error({bad_argument, options, {owner, Owner}}),
    Others = maps:without([owner, context, pool], Options),
    Request = py_call:options(target(Options), infinity, {M, F, Args}, Others),
    py_started:result(fun() -> start(Request, Owner) end).

target(#{context := Ctx}) when is_pid(Ctx) -> {context, Ctx};
target(#{context := Ctx}) -> error({bad_argument, options, {context, Ctx}});
target(#{pool := Pool}) when is_atom(Pool) -> {pool, Pool};
target(#{pool := Pool}) -> error({bad_argument, options, {pool, Pool}});
target(_) -> routed.

start({Target, Operation, Flags, Limit}, Owner) ->
    Caller = py_env:caller(),
    _ = py_counters:ref(),
    Job = #{key => ?KEY, target => Target, operation => Operation, flags => Flags bor ?FLAG_STREAM,
            timeout => py_time_limit:total(Limit, Caller), queue_timeout => py_time_limit:queue(Limit), caller => Caller},
    Starter = self(),
    {Pid, Monitor} = spawn_monitor(?MODULE, init, [Starter, Owner, Job]),
    receive
        {Pid, Ref} ->
            true = demonitor(Monitor, [flush]),
            {ok, Ref};
        {'DOWN', Monitor, process, _, Reason} ->
            exit(Reason)
    end.

%% @doc Of a stream that has ended, or is none, nothing is heard.
-spec cancel(reference()) -> ok.
cancel(Ref) when is_reference(Ref) ->
    Ref ! py_stream_cancel,
    ok;
cancel(Ref) ->
    error({bad_argument, reference, Ref}).

%% @doc The owner's next item.
-spec next(reference(), timeout()) -> {ok, term()} | done | {error, term()}.
next(Ref, Timeout) when is_reference(Ref) ->
    Ms = py_args:timeout(Timeout),
    receive
        {py_stream, Ref, {data, Value}} ->
            Ref ! py_stream_read,
            {ok, Value};
        {py_stream, Ref, End} ->
            End
    after Ms ->
        {error, timeout}
    end;
next(Ref, _Timeout) ->
    error({bad_argument, reference, Ref}).

%% @private
-spec init(pid(), pid(), py_pipeline:job()) -> term().
init(Starter, Owner, Job) ->
    Ref = alias(),
    Monitor = monitor(process, Owner),
    Starter ! {self(), Ref},
    Pipeline = py_pipeline:new(#{balance => false}),
    handled(py_pipeline:add(Job, Pipeline),
            #state{ref = Ref, owner = Owner, monitor = Monitor, pipeline = Pipeline}).

loop(State = #state{monitor = Monitor}) ->
    receive
        {py_items, _Alias, Payload} when is_binary(Payload); is_list(Payload) ->
            deliver(State#state{batches = queue:in(Payload, State#state.batches)});
        py_stream_read ->
            deliver(read(1, State));
        py_stream_cancel ->
            _ = cancel_in_python(State),
            tell({error, cancelled}, State);
        {'DOWN', Monitor, process, _, _} ->
            cancel_in_python(State);
        Message ->
            case py_pipeline:handle(Message, State#state.pipeline) of
                ignored -> loop(State);
                Handled -> handled(Handled, State)
            end
    after patience(State) ->
        case is_held_up(State) of
            true -> look(State);
            false -> handled(py_pipeline:handle(timeout, State#state.pipeline), State)
        end
    end.

handled({[], Pipeline}, State) ->
    deliver(State#state{pipeline = Pipeline});
handled({[{?KEY, Result}], Pipeline}, State) ->
    deliver(State#state{pipeline = Pipeline, ending = case Result of
        ok -> done;
        {error, _} -> Result;
        {ok, _} -> ended_with(Result, State)
    end}).

%% The pipeline of before, which still knows the stream.
ended_with(Value, #state{pipeline = Pipeline}) ->
    #attempt{route = Route} = py_pipeline:flight(?KEY, Pipeline),
    py_request:end_of_stream(Value, Route).

cancel_in_python(#state{pipeline = Pipeline}) ->
    _ = py_pipeline:cancel([?KEY], Pipeline),
    ok.

tell(Event, #state{owner = Owner, ref = Ref}) ->
    Owner ! {py_stream, Ref, Event},
    ok.

%% Sending on.

deliver(State = #state{items = [Item | Rest], unread = Unread, window = Window}) when Unread < Window ->
    ok = tell({data, Item}, State),
    deliver(State#state{items = Rest, unread = Unread + 1});
deliver(State = #state{items = [], credit = {Items, Bytes}}) ->
    ok = give_credit(Items, Bytes, State),
    deliver(State#state{credit = none});
deliver(State = #state{items = [], batches = Batches, ending = Ending}) ->
    case queue:out(Batches) of
        {{value, Payload}, Rest} -> deliver(opened(Payload, State#state{batches = Rest}));
        {empty, _} when Ending =/= none -> tell(Ending, State);
        {empty, _} -> loop(State)
    end;
deliver(State) ->
    loop(State).

opened(Payload, State) ->
    case py_protocol:items(Payload) of
        {ok, Items} ->
            Count = length(Items),
            Bytes = py_protocol:items_bytes(Payload),
            State#state{items = Items, credit = {Count, Bytes}, window = window(Count, Bytes)};
        {error, _} = Error ->
            ok = cancel_in_python(State),
            State#state{batches = queue:new(), ending = outcome(Error, State)}
    end.

outcome(Error, #state{pipeline = Pipeline}) ->
    case py_pipeline:flight(?KEY, Pipeline) of
        #attempt{route = Route} -> py_request:outcome(Error, Route);
        none -> Error
    end.

window(0, _Bytes) -> ?UNREAD_ITEMS;
window(Count, Bytes) -> max(1, min(?UNREAD_ITEMS, ?UNREAD_BYTES * Count div max(1, Bytes))).

give_credit(Items, Bytes, #state{pipeline = Pipeline}) ->
    case py_pipeline:flight(?KEY, Pipeline) of
        none -> ok;
        Attempt -> py_request:credit(Attempt, Items, Bytes)
    end.

%% An owner that does not read.

is_held_up(#state{items = Items, unread = Unread, window = Window}) ->
    Items =/= [] andalso Unread >= Window.

patience(State = #state{pipeline = Pipeline, looks = Looks}) ->
    case is_held_up(State) of
        true when Looks < ?LOOKS_AT_ONCE -> 0;
        true -> min(1 bsl min(Looks - ?LOOKS_AT_ONCE, 10), ?LONGEST_PAUSE_MS);
        false -> py_pipeline:timeout(Pipeline)
    end.

%% A queue that is shorter than what was sent says that items were read. One that is not may hold messages of others:
%% then the items in it are counted, but seldom while nothing seems to happen, since that copies the queue.
look(State = #state{unread = Unread, counted = Counted, looks = Looks}) ->
    case queue_of(State, message_queue_len) of
        Length when is_integer(Length), Length < Unread ->
            deliver(left_unread(Length, State));
        Length when is_integer(Length), Looks >= ?LOOKS_AT_ONCE ->
            IsNews = case Counted of
                none -> Length > Unread;
                _ -> Length =/= Counted
            end,
            case IsNews orelse Looks rem ?COUNT_ANYWAY =:= 0 of
                true -> count(State#state{counted = Length});
                false -> loop(waited(State))
            end;
        _ ->
            loop(waited(State))
    end.

count(State = #state{ref = Ref, unread = Unread}) ->
    case queue_of(State, messages) of
        Messages when is_list(Messages) ->
            case length([Ref || {py_stream, Of, {data, _}} <- Messages, Of =:= Ref]) of
                Items when Items < Unread -> deliver(left_unread(Items, State));
                Items -> loop(waited(State#state{unread = Items}))
            end;
        unknown ->
            loop(waited(State))
    end.

read(N, State = #state{unread = Unread}) ->
    left_unread(max(0, Unread - N), State).

left_unread(N, State) ->
    State#state{unread = N, counted = none, looks = 0}.

%% A limit of time goes on while the owner is waited for.
waited(State = #state{looks = Looks, pipeline = Pipeline}) ->
    Longer = State#state{looks = Looks + 1},
    case py_pipeline:timeout(Pipeline) of
        0 ->
            {Completions, Next} = py_pipeline:handle(timeout, Pipeline),
            Longer#state{pipeline = Next, ending = case Completions of
                [{?KEY, Error}] -> Error;
                [] -> State#state.ending
            end};
        _ ->
            Longer
    end.

queue_of(#state{owner = Owner}, What) when node(Owner) =:= node() ->
    info(process_info(Owner, What));
queue_of(#state{owner = Owner}, What) ->
    try
        info(erpc:call(node(Owner), erlang, process_info, [Owner, What], ?REMOTE_LOOK_MS))
    catch
        _:_ -> unknown
    end.

info({_, Value}) -> Value;
info(undefined) -> unknown.
