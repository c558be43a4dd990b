%% @doc The event loop of a context as something that is started and stopped. It runs by itself from the first task on;
%% who starts it by hand owns it, and is told when it ends: `{py_loop_exit, Ctx, {ok, <<"stopped">>} | {error, Reason}}'. A
%% value that py_context holds.
-module(py_context_loop).

-include_lib("kernel/include/logger.hrl").
-include("py_route.hrl").

-export([start/2, stop/4, handle/3, context_died/3]).

-export_type([loop/0]).

-record(loop, {
    owner :: pid(),
    monitor :: reference() | none,           % none: it has died
    %% The process that ends the tasks, and who waits for that.
    stopper = none :: none | {pid(), Monitor :: reference()},
    waiting = [] :: [gen_server:from()]
}).
-type loop() :: none | #loop{}.

%% The owner has died: how long its tasks may take to end before they are interrupted, and each time after that.
-define(GRACE_MS, 5000).
%% How often they are told again. Tasks that go on after that go on without an owner.
-define(RETRIES, 2).
%% How long after an interrupt.
-define(INTERRUPT_MS, 1000).

-spec start(pid(), loop()) -> {ok | {error, already_running}, loop()}.
start(Owner, none) ->
    {ok, #loop{owner = Owner, monitor = monitor(process, Owner)}};
start(_Owner, Loop) ->
    {{error, already_running}, Loop}.

%% @doc Ends all tasks of the context. The answer is sent when they have ended.
-spec stop(pid(), timeout(), gen_server:from(), loop()) -> {noreply | {error, no_loop}, loop()}.
stop(_Ctx, _Timeout, _From, none) ->
    {{error, no_loop}, none};
stop(Ctx, Timeout, From, Loop = #loop{waiting = Waiting}) ->
    {noreply, stopping(Ctx, Timeout, Loop#loop{waiting = [From | Waiting]})}.

stopping(Ctx, Timeout, Loop = #loop{stopper = none}) ->
    Loop#loop{stopper = spawn_monitor(fun() -> exit({py_loop_stopped, end_tasks(Ctx, Timeout)}) end)};
stopping(_Ctx, _Timeout, Loop) ->
    Loop.

%% @doc A `DOWN' that may be about the loop.
-spec handle(term(), pid(), loop()) -> {ok, loop()} | ignored.
handle({'DOWN', Monitor, process, _, _}, Ctx, Loop = #loop{monitor = Monitor}) ->
    %% A process that ends the tasks with all the time that somebody else has is not waited for: two of them would
    %% cancel each other.
    ok = dismiss(Loop#loop.stopper),
    Undertaker = spawn_monitor(fun() -> exit({py_loop_stopped, bury_tasks(Ctx)}) end),
    {ok, Loop#loop{monitor = none, stopper = Undertaker}};
handle({'DOWN', Stopper, process, _, {py_loop_stopped, {error, timeout}}}, Ctx, Loop = #loop{stopper = {_, Stopper}}) ->
    ok = answer({error, timeout}, Loop),
    {ok, unstopped(Ctx, Loop#loop{stopper = none, waiting = []})};
handle({'DOWN', Stopper, process, _, {py_loop_stopped, Result}}, Ctx, Loop = #loop{stopper = {_, Stopper}}) ->
    ok = ended(Ctx, Result, Loop),
    {ok, none};
handle({'DOWN', Stopper, process, _, Reason}, Ctx, Loop = #loop{stopper = {_, Stopper}}) ->
    ok = ended(Ctx, {error, Reason}, Loop),
    {ok, none};
handle(_Message, _Ctx, _Loop) ->
    ignored.

%% Nobody is left who could try again for a dead owner.
unstopped(Ctx, #loop{owner = Owner, monitor = none}) ->
    ?LOG_WARNING("context ~p: its event loop was started by ~p, which has died, and some of its tasks do not end; they "
                 "go on, and the loop can be started again", [Ctx, Owner]),
    none;
unstopped(_Ctx, Loop) ->
    Loop.

%% @doc The context ends, and the loop with it.
-spec context_died(pid(), py_port:why(), loop()) -> ok.
context_died(_Ctx, _Why, none) -> ok;
context_died(Ctx, Why, Loop) -> ended(Ctx, {error, {context_died, Why}}, Loop).

ended(Ctx, Result, Loop = #loop{owner = Owner, monitor = Monitor}) ->
    _ = [demonitor(Monitor, [flush]) || Monitor =/= none],
    Owner ! {py_loop_exit, Ctx, case Result of ok -> {ok, <<"stopped">>}; {error, _} -> Result end},
    answer(ok, Loop).

dismiss(none) ->
    ok;
dismiss({Pid, Monitor}) ->
    true = demonitor(Monitor, [flush]),
    true = exit(Pid, kill),
    ok.

answer(Answer, #loop{waiting = Waiting}) ->
    lists:foreach(fun(From) -> gen_server:reply(From, Answer) end, Waiting).

%% In a process of its own. Tasks that do not let go of the thread are interrupted when the time is over.
end_tasks(Ctx, Timeout) ->
    Limit = max_limit(Timeout),
    case end_tasks_within(Ctx, Limit) of
        {error, timeout} ->
            _ = py_context:interrupt(Ctx),
            case end_tasks_within(Ctx, ?INTERRUPT_MS) of
                ok -> {error, interrupted};
                Error -> Error
            end;
        Answer ->
            Answer
    end.

%% Others use the context as well: their requests are interrupted for this once, and not again. What a dismissed process
%% has asked for may come later than what this one asks, and cancel it.
bury_tasks(Ctx) ->
    bury_tasks(Ctx, ?RETRIES, end_tasks(Ctx, ?GRACE_MS)).

bury_tasks(Ctx, Left, {error, Why}) when Left > 0, (Why =:= timeout orelse Why =:= cancelled) ->
    bury_tasks(Ctx, Left - 1, end_tasks_within(Ctx, ?GRACE_MS));
bury_tasks(_Ctx, _Left, Result) ->
    Result.

%% A timeout of 0 would end the request before it is sent.
max_limit(infinity) -> infinity;
max_limit(Ms) -> max(1, Ms).

end_tasks_within(Ctx, Timeout) ->
    Operation = py_args:operation(<<"erlang._tasks">>, <<"end_all">>, []),
    Ref = py_async:start({{env, Ctx, ?SHARED_ENV}, Operation, 0, Timeout}),
    case py_async:await(Ref, infinity) of
        {ok, _} -> ok;
        {error, _} = Error -> Error
    end.
