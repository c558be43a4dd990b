%% @doc One port process and its contexts, as a value: events in, and out comes what is to be done. Under a pool (py_pool)
%% and under the contexts that users start (py_standalone), which do it, and tell what came of it.
%%
%% A port process starts, and says that it is ready. Then each context gets a number on this node (a tag), is asked for, and
%% answers. When its preload has run the sandbox's late rules are asked for. The contexts of a pool are one thing: they are
%% offered when all of them are there, and one that does not start ends them all. Those of users are each for themselves.
%%
%% One that is replaced *drains*: it is offered no more, and goes when nothing is left to do there.
-module(py_unit).

-include("py_route.hrl").

-export([new/2, new/3, started/3, ready/2, want/2, tags/4, no_tags/3, asked/3, answered/3, placed/3]).
-export([context_down/2, up/2, failed/2, died/3, replaces_nobody/1]).
-export([drain/2, drained/3, tasks_asked/3, tasks_left/3]).
%% What is known of it.
-export([owner/1, info/1, phase/1, answer/1, failure/1, replaces/1, is_starting/1, is_draining/1, is_pending/2, starts/2,
         keys/1, contexts/1, offered/1, find/2]).

-export_type([unit/0, key/0, effect/0]).

%% What a shell knows a context by: its index in the pool, or who wants it.
-type key() :: term().
-type asked() :: {context, key(), #route{}} | restrict.
-type effect() ::
    {open_tags, [key()]}                         % -> tags/4, no_tags/3
    | {new_context, key(), #route{}}             % -> asked/3; the route has no pid yet
    | restrict                                   % -> asked/3
    | {start, key(), #route{}}                   % the port has the context: -> placed/3
    | up                                         % all contexts of a pool are there
    | {granted, key(), #route{}}                 % one of a user
    | {refused, key(), Reason :: term(), #route{} | none}
    | stop                                       % the port process
    | {close, key(), #route{}}.                  % its process has ended

-record(unit, {
    together :: boolean(),                       % one thing, or each for itself
    keys = [] :: [key()],                        % contexts that it is to have; of users those that wait until it is ready
    core = py_pool_core:new() :: py_pool_core:core(),
    phase = down :: down | starting | ready | draining,
    owner = none :: none | pid(),                % py_port
    info = #{} :: map(),                         % from READY
    next_id = 1 :: pos_integer(),
    pending = #{} :: #{reference() => asked()},
    restricted = true :: boolean(),              % whether the rules of the sandbox are in force
    contexts = #{} :: #{key() => #route{}},
    waiting = [] :: [key()],                     % of users: there, and not yet granted
    failure = none :: none | {start_failed, term()},
    replaces = none :: none | pid(),             % the owner that drains when this one is up
    since = 0 :: integer(),                      % when it began to drain
    tasks = none :: none | {reference(), AskedAt :: integer()}
}).
-opaque unit() :: #unit{}.
-type step() :: {[effect()], unit()}.

%% A port process that does not answer STATS by then is frozen.
-define(STATS_MS, 1000).
%% How long coroutines and streams of one that drains may go on.
-define(TASKS_MS, 300000).

%% Starting.

%% @doc `pool': with these contexts. `users': with those that are wanted later.
-spec new(pool | users, [key()]) -> unit().
new(For, Keys) ->
    new(For, Keys, none).

%% @doc It takes the place of the port process of this owner.
-spec new(pool | users, [key()], none | pid()) -> unit().
new(For, Keys, Replaces) ->
    #unit{together = For =:= pool, keys = Keys, replaces = Replaces}.

%% @doc The port process is being started; whether the sandbox has no rules that wait for the preload.
-spec started(pid() | none, boolean(), unit()) -> unit().
started(Owner, Restricted, U = #unit{core = Core}) ->
    U#unit{core = py_pool_core:started(Core), phase = starting, owner = Owner, info = #{}, next_id = 1, pending = #{},
           contexts = #{}, waiting = [], failure = none, restricted = Restricted}.

%% @doc It has said so, which it does once.
-spec ready(map(), unit()) -> step().
ready(Info, U = #unit{phase = starting, together = true, keys = Keys}) ->
    {[{open_tags, Keys}], U#unit{phase = ready, info = Info}};
ready(Info, U = #unit{phase = starting, keys = Keys}) ->
    {[{open_tags, [Key]} || Key <- Keys], U#unit{phase = ready, info = Info, keys = []}}.

%% @doc A context for a user, when the port process is ready.
-spec want(key(), unit()) -> step().
want(Key, U = #unit{phase = starting, keys = Keys}) ->
    {[], U#unit{keys = Keys ++ [Key]}};
want(Key, U = #unit{phase = ready}) ->
    {[{open_tags, [Key]}], U}.

%% @doc The contexts have their tags; `Limit' is the pool's.
-spec tags([{key(), py_counters:tag()}], atom(), py_slots:limit(), unit()) -> step().
tags(Tags, Pool, Limit, U) ->
    lists:mapfoldl(
        fun({Key, Tag}, Next = #unit{owner = Owner, next_id = Id, info = #{port := Port, grants := Grants}}) ->
            %% Its pid comes when it is placed.
            Route = #route{ctx = self(), port = Port, owner = Owner, id = Id, tag = Tag, pool = Pool,
                           limit = Limit, grants = Grants},
            {{new_context, Key, Route}, Next#unit{next_id = Id + 1}}
        end, U, Tags).

-spec no_tags([key()], term(), unit()) -> step().
no_tags(Keys, Reason, U) ->
    refused([{Key, none} || Key <- Keys], Reason, U).

%% @doc What was asked for is answered to this alias.
-spec asked(reference(), asked(), unit()) -> unit().
asked(Alias, What, U = #unit{pending = Pending}) ->
    U#unit{pending = Pending#{Alias => What}}.

-spec answered(reference(), ok | {ok, term()} | {error, term()}, unit()) -> step().
answered(Alias, Answer, U = #unit{pending = Pending}) ->
    {What, Rest} = maps:take(Alias, Pending),
    answer(What, Answer, U#unit{pending = Rest}).

answer({context, Key, Route}, {error, Reason}, U) -> refused([{Key, Route}], Reason, U);
answer({context, Key, Route}, _Ok, U) -> {[{start, Key, Route}], U};
answer(restrict, {error, Reason}, U = #unit{together = true}) -> failed(Reason, U);
answer(restrict, {error, Reason}, U = #unit{waiting = Waiting, contexts = Contexts}) ->
    refused([{Key, maps:get(Key, Contexts)} || Key <- Waiting], Reason,
            U#unit{contexts = maps:without(Waiting, Contexts), waiting = []});
answer(restrict, _Ok, U) -> settled(U#unit{restricted = true}).

%% @doc The context has its process; `Route' names it.
-spec placed(key(), #route{}, unit()) -> step().
placed(Key, Route, U = #unit{contexts = Contexts, waiting = Waiting}) ->
    settled(U#unit{contexts = Contexts#{Key => Route}, waiting = Waiting ++ [Key]}).

%% The rules of the sandbox begin when everything is there and nobody has asked anything yet; for users, who do not wait for
%% each other, with the first.
settled(U = #unit{failure = Failure}) when Failure =/= none ->
    {[], U};
settled(U = #unit{together = true, pending = Pending}) when map_size(Pending) > 0 ->
    {[], U};
settled(U = #unit{restricted = false, pending = Pending}) ->
    {[restrict || not lists:member(restrict, maps:values(Pending))], U};
settled(U = #unit{together = true}) ->
    {[up], U#unit{waiting = []}};
settled(U = #unit{waiting = Waiting, contexts = Contexts}) ->
    {[{granted, Key, maps:get(Key, Contexts)} || Key <- Waiting], U#unit{waiting = []}}.

%% A pool of another size than asked for would be a surprise.
refused(_Keys, Reason, U = #unit{together = true}) ->
    failed(Reason, U);
refused(Keys, Reason, U) ->
    {[{refused, Key, Reason, Route} || {Key, Route} <- Keys], U}.

%% @doc It cannot do what it was started for.
-spec failed(term(), unit()) -> step().
failed(Reason, U = #unit{failure = none}) -> {[stop], U#unit{failure = {start_failed, Reason}}};
failed(_Reason, U) -> {[], U}.

%% Life and death.

%% @doc Requests are sent to it from now on.
-spec up(integer(), unit()) -> unit().
up(Now, U = #unit{core = Core}) ->
    U#unit{core = py_pool_core:up(Now, Core), replaces = none}.

%% @doc The process of a context has ended alone: somebody has stopped or killed it. In a pool its place is filled.
-spec context_down(key(), unit()) -> step().
context_down(Key, U = #unit{together = Together, contexts = Contexts, waiting = Waiting}) ->
    {Route, Rest} = maps:take(Key, Contexts),
    {[{close, Key, Route} | [{open_tags, [Key]} || Together]],
     U#unit{contexts = Rest, waiting = lists:delete(Key, Waiting)}}.

%% @doc The port process has died; in how many milliseconds it is to be started again.
-spec died(py_port:why() | term(), integer(), unit()) -> {non_neg_integer(), unit()}.
died(Why, Now, U = #unit{core = Core}) ->
    {Delay, Next} = py_pool_core:died(Why, Now, Core),
    {Delay, U#unit{core = Next, phase = down, owner = none, info = #{}, pending = #{}, contexts = #{}, waiting = []}}.

%% @doc What it was to replace is gone.
-spec replaces_nobody(unit()) -> unit().
replaces_nobody(U) ->
    U#unit{replaces = none}.

%% Draining.

-spec drain(integer(), unit()) -> unit().
drain(Now, U) ->
    U#unit{phase = draining, since = Now}.

%% @doc To be asked now and then. `IsIdle': none of its requests holds a slot. Coroutines and streams that wait hold none
%% either: the port is asked for those, and they have some time.
-spec drained(boolean(), integer(), unit()) -> wait | ask_for_tasks | stop.
drained(_IsIdle, Now, #unit{tasks = {_Alias, AskedAt}}) when Now - AskedAt > ?STATS_MS -> stop;
drained(true, _Now, #unit{tasks = none}) -> ask_for_tasks;
drained(_IsIdle, _Now, _U) -> wait.

-spec tasks_asked(reference(), integer(), unit()) -> unit().
tasks_asked(Alias, Now, U) ->
    U#unit{tasks = {Alias, Now}}.

%% @doc What it answered.
-spec tasks_left(non_neg_integer(), integer(), unit()) -> stop | unit().
tasks_left(Tasks, Now, #unit{since = Since}) when Tasks =:= 0; Now - Since > ?TASKS_MS -> stop;
tasks_left(_Tasks, _Now, U) -> U#unit{tasks = none}.

%% What is known of it.

-spec owner(unit()) -> none | pid().
owner(#unit{owner = Owner}) -> Owner.

%% @doc What the port process said of itself; nothing yet, or not any more.
-spec info(unit()) -> map().
info(#unit{info = Info}) -> Info.

-spec phase(unit()) -> starting | up | {waiting, non_neg_integer()}.
phase(#unit{core = Core}) -> py_pool_core:phase(Core).

%% @doc For who wants a context of it.
-spec answer(unit()) -> up | wait | {error, term()}.
answer(#unit{core = Core}) -> py_pool_core:answer(Core).

-spec failure(unit()) -> none | {start_failed, term()}.
failure(#unit{failure = Failure}) -> Failure.

-spec replaces(unit()) -> none | pid().
replaces(#unit{replaces = Owner}) -> Owner.

-spec is_starting(unit()) -> boolean().
is_starting(#unit{phase = Phase}) -> Phase =:= starting.

-spec is_draining(unit()) -> boolean().
is_draining(#unit{phase = Phase}) -> Phase =:= draining.

%% @doc Whether an answer to this alias is awaited, and to which question.
-spec is_pending(reference(), unit()) -> false | start | tasks.
is_pending(Alias, #unit{pending = Pending}) when is_map_key(Alias, Pending) -> start;
is_pending(Alias, #unit{tasks = {Alias, _}}) -> tasks;
is_pending(_Alias, _U) -> false.

%% @doc Whether the port process, or this context of it, is still on its way.
-spec starts(CtxId :: non_neg_integer(), unit()) -> boolean().
starts(CtxId, #unit{core = Core, pending = Pending}) ->
    py_pool_core:answer(Core) =/= up
        orelse lists:any(fun({context, _, #route{id = Id}}) -> Id =:= CtxId; (restrict) -> false end, maps:values(Pending)).

%% @doc The contexts of a pool that it is to have.
-spec keys(unit()) -> [key()].
keys(#unit{keys = Keys}) -> Keys.

-spec contexts(unit()) -> #{key() => #route{}}.
contexts(#unit{contexts = Contexts}) -> Contexts.

%% @doc Those that requests are sent to. Of one that is coming up none, before all are there; a context that is being replaced
%% alone takes only itself out.
-spec offered(unit()) -> #{key() => #route{}}.
offered(#unit{phase = ready, core = Core, contexts = Contexts}) ->
    case py_pool_core:answer(Core) of
        up -> Contexts;
        _ -> #{}
    end;
offered(_NotReady) ->
    #{}.

%% @doc The context of this process.
-spec find(pid(), unit()) -> {key(), #route{}} | none.
find(Ctx, #unit{contexts = Contexts}) ->
    case [Found || Found = {_, Route} <- maps:to_list(Contexts), Route#route.ctx =:= Ctx] of
        [Found] -> Found;
        [] -> none
    end.
