%% @doc How a request gets into Python's hands and back, as a value: events in, and out comes what is to be done next. Its
%% shells do that and say what came of it: py_request for one request, whose caller waits, py_pipeline for many.
%%
%% ```
%% queued -> (slot ->) granted -> flight -> done
%%    |         ^         |   its context is gone, and nothing was sent to it
%%    +-> pool -+    <----+   a context is awaited, another than that
%% '''
%% Once it is in flight it is never sent again: Python may have begun.
-module(py_attempt).

-include("py_route.hrl").
-include("py_attempt.hrl").

-export([new/5, step/2, expiry/1, deadline/1, left/1]).

-export_type([attempt/0, event/0, action/0, outcome/0]).

-type attempt() :: #attempt{}.
-type event() ::
    start
    | {route, #route{} | {down, Pool :: atom()} | {gone | stale, Ctx :: pid()} | {error, term()}}
    %% `lost': the queue is gone.
    | {slot, py_slots:slot() | 0 | full | closed | lost | queue_full}
    %% `withdrawn': its time was over, and nothing of it was sent.
    | {sent, Alias :: reference() | closed | withdrawn | {error, term()}}
    | {pool, ok | {error, term()}}
    | {reply, py_protocol:payload()}
    | {down, Reason :: term()}
    | timeout
    | cancel.
-type action() ::
    route                                        % find out where it goes
    | take                                       % a slot, at once or not at all
    | queue                                      % for a slot
    | send
    | wait                                       % for its answer
    %% Until the pool that it goes to has a context, another than `Stale', which is to be forgotten.
    | {await, {pool, atom()} | routed, Stale :: none | pid()}
    | cancel                                     % its end comes from Python, which is told
    | {done, outcome()}.
%% What py_request:result/2 makes the result of.
-type outcome() ::
    {result, py_request:result()}
    | {reply, py_protocol:payload()}
    | {lost, Reason :: term()}                   % with its port process
    | {gone, Ctx :: pid()}                       % the context that it was for, and nothing else would do
    | overloaded                                 % there was no slot in its time
    | queue_full                                 % as many wait for one as may
    | {unsent, timeout | cancelled}              % there was, which is to be given back
    | withdrawn                                  % the same, and it has been given back
    | expired.                                   % it is in Python's hands, and stays there

-spec new(py_route:target(), py_protocol:operation(), non_neg_integer(), timeout(), #caller{}) -> attempt().
new(Target, Operation, Flags, Timeout, Caller) ->
    #attempt{target = Target, operation = Operation, flags = Flags, timeout = Timeout, caller = Caller}.

-spec step(event(), attempt()) -> {action(), attempt()}.
step(start, A) ->
    {route, A};

step({route, Route = #route{}}, A) ->
    {take, A#attempt{route = Route}};
step({route, {down, Pool}}, A) ->
    {{await, {pool, Pool}, none}, A#attempt{at = pool}};
step({route, {gone, Ctx}}, A) ->
    {{done, {gone, Ctx}}, A};
step({route, {stale, Ctx}}, A) ->
    elsewhere(Ctx, A);
step({route, {error, _} = Error}, A) ->
    {{done, {result, Error}}, A};

step({slot, full}, A) ->
    {queue, A#attempt{at = slot}};
step({slot, closed}, A = #attempt{route = #route{ctx = Ctx}}) ->
    elsewhere(Ctx, A);
step({slot, queue_full}, A) ->
    {{done, queue_full}, A};
step({slot, lost}, A) ->
    {route, A#attempt{at = queued}};
step({slot, Slot}, A) ->
    {send, A#attempt{at = granted, slot = Slot}};

step({sent, Alias}, A) when is_reference(Alias) ->
    %% A large value is garbage from now on.
    {wait, A#attempt{at = flight, alias = Alias, operation = none}};
step({sent, closed}, A = #attempt{route = #route{ctx = Ctx}}) ->
    elsewhere(Ctx, A);
step({sent, withdrawn}, A) ->
    {{done, withdrawn}, A};
step({sent, {error, _} = Error}, A) ->
    {{done, {result, Error}}, A};

step({pool, ok}, A) ->
    {route, A};
step({pool, {error, _} = Error}, A) ->
    {{done, {result, Error}}, A};

step({reply, Payload}, A = #attempt{at = flight}) ->
    {{done, {reply, Payload}}, A};
step({down, Reason}, A = #attempt{at = flight}) ->
    {{done, {lost, Reason}}, A};

step(timeout, A = #attempt{at = At}) ->
    {{done, late(At)}, A};
step(cancel, A = #attempt{at = flight}) ->
    {cancel, A};
step(cancel, A = #attempt{at = granted}) ->
    {{done, {unsent, cancelled}}, A};
step(cancel, A) ->
    {{done, {result, {error, cancelled}}}, A}.

late(At) when At =:= queued; At =:= slot -> overloaded;
late(pool) -> {result, {error, timeout}};
late(granted) -> {unsent, timeout};
late(flight) -> expired.

%% The context is gone and nothing was sent to it. What was bound to it, or had a namespace there, is routed anew.
elsewhere(Ctx, A = #attempt{target = {context, Ctx}}) ->
    {{done, {gone, Ctx}}, A};
elsewhere(Ctx, A = #attempt{target = {env, Ctx, _}}) ->
    {{done, {gone, Ctx}}, A};
elsewhere(Ctx, A = #attempt{target = Target, caller = Caller}) ->
    {{await, Target, Ctx},
     A#attempt{at = pool, route = none, slot = 0, caller = py_env:without(Ctx, Caller)}}.

%% Time.

%% @doc When a limit that begins now is over, in milliseconds of monotonic time.
-spec deadline(timeout()) -> integer() | infinity.
deadline(infinity) -> infinity;
deadline(Ms) -> erlang:monotonic_time(millisecond) + Ms.

%% @doc When it is told `timeout', where it is now. Of several limits the first one counts.
-spec expiry(attempt()) -> integer() | infinity.
expiry(#attempt{at = At, deadline = Deadline, queue_deadline = Queue}) when At =:= queued; At =:= slot ->
    min(Deadline, Queue);
expiry(#attempt{deadline = Deadline}) ->
    Deadline.

%% @doc How long until then.
-spec left(integer() | infinity) -> timeout().
left(infinity) -> infinity;
left(Deadline) -> max(0, Deadline - erlang:monotonic_time(millisecond)).
