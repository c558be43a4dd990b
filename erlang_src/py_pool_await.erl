%% @doc Waiting for a pool: what callers do, and what the pool (py_pool) remembers of them, a value. They wait until there is a
%% context, or until all have started.
-module(py_pool_await).

-include("py_route.hrl").

%% For callers.
-export([context/3, start/1]).
%% For the pool.
-export([new/0, awaits/5, awaits_start/5, tell/3, is_start_awaited/1]).

-export_type([waiting/0]).

-define(MANY, 1000).

-record(waiting, {
    %% Who waits until there is a context, and not this one. Nobody tells of those that have given up, or are dead.
    callers = #{} :: #{pid() => {gen_server:from(), none | pid()}},
    %% When so many do, it is time to look for the dead.
    many = ?MANY :: pos_integer(),
    starters = [] :: [gen_server:from()]
}).
-opaque waiting() :: #waiting{}.
%% Where the chain of calls began that asks (py_chain).
-type source() :: none | {erlang, pid()} | {python, pid(), non_neg_integer()}.

%% How long a chain of calls may wait for a pool: it may hold what the start of that pool waits for.
-define(CHAIN_MS, 30000).
-define(OWN_START, <<"what it runs while it starts has made this call, which would wait for the start">>).
%% A pool whose processes were killed, and that its supervisor brings back, is waited for.
-define(COMEBACK_MS, 5000).
-define(COMEBACK_POLL_MS, 10).

%% For callers.

%% @doc Waits until the pool has a context that is not `Stale'. Not for long: a pool that is backing off, or cannot
%% start, says so at once, and so does one whose start waits for the calling process: its preload code has called it.
-spec context(atom(), none | pid(), timeout()) -> ok | {error, term()}.
context(Pool, Stale, Timeout) ->
    ask_pool(Pool, fun(Source) -> {await, {Stale, Source}} end, Timeout).

%% @doc Waits until every context of the pool has started: `{ok, Contexts}', or why one has not.
-spec start(atom()) -> {ok, [pid()]} | {error, term()}.
start(Pool) ->
    ask_pool(Pool, fun(Source) -> {await_start, Source} end, infinity).

ask_pool(Pool, Request, Timeout) ->
    ask_pool(Pool, Request, deadline(Timeout), now_ms()).

ask_pool(Pool, Request, Deadline, LastThere) ->
    case py_tables:pool(Pool) of
        none ->
            ask_again(Pool, Request, Deadline, LastThere);
        {Pid, _} ->
            case ask_from_chain(Pid, Request, left(Deadline)) of
                gone -> ask_again(Pool, Request, Deadline, now_ms());
                Answer -> Answer
            end
    end.

ask_again(Pool, Request, Deadline, LastThere) ->
    case {is_to_come_back(Pool, LastThere), left(Deadline)} of
        {false, _} -> {error, {no_such_pool, Pool}};
        {true, 0} -> {error, timeout};
        {true, _} -> receive after ?COMEBACK_POLL_MS -> ask_pool(Pool, Request, Deadline, LastThere) end
    end.

is_to_come_back(Pool, LastThere) ->
    py_tables:spec(Pool) =/= none andalso now_ms() < LastThere + ?COMEBACK_MS.

deadline(infinity) -> infinity;
deadline(Ms) -> now_ms() + Ms.

left(infinity) -> infinity;
left(Deadline) -> max(0, Deadline - now_ms()).

%% Pools whose starts wait for each other, or for a context where a chain waits for them, cannot tell: they have a limit.
ask_from_chain(Pid, Request, Timeout) ->
    case py_chain:source() of
        none -> ask(Pid, Request(none), Timeout);
        Source -> ask(Pid, Request(Source), min(Timeout, ?CHAIN_MS))
    end.

ask(Pid, Request, Timeout) ->
    try
        gen_server:call(Pid, Request, Timeout)
    catch
        exit:{timeout, _} -> {error, timeout};
        exit:_ -> gone
    end.

now_ms() ->
    erlang:monotonic_time(millisecond).

%% For the pool.

-spec new() -> waiting().
new() ->
    #waiting{}.

-spec awaits(none | pid(), source(), gen_server:from(), [py_unit:unit()], waiting()) -> ok | {error, term()} | {wait, waiting()}.
awaits(Stale, Source, From = {Pid, _}, Units, Waiting) ->
    case answer(Stale, Units) of
        wait ->
            case is_own_start(Source, Units) of
                true -> {error, {context_died, {start_failed, ?OWN_START}}};
                false ->
                    Pruned = #waiting{callers = Callers} = pruned(Waiting),
                    {wait, Pruned#waiting{callers = Callers#{Pid => {From, Stale}}}}
            end;
        Answer ->
            Answer
    end.

%% A process waits once; when it asks again it has given up before.
pruned(Waiting = #waiting{callers = Callers, many = Many}) when map_size(Callers) >= Many ->
    Left = maps:filter(fun(Pid, _) -> node(Pid) =/= node() orelse is_process_alive(Pid) end, Callers),
    Waiting#waiting{callers = Left, many = max(?MANY, 2 * map_size(Left))};
pruned(Waiting) ->
    Waiting.

-spec awaits_start(atom(), source(), gen_server:from(), [py_unit:unit()], waiting()) -> {error, binary()} | {wait, waiting()}.
awaits_start(Pool, Source, From, Units, Waiting = #waiting{starters = Starters}) ->
    case is_own_start(Source, Units) of
        true -> {error, ?OWN_START};
        false -> {wait, tell_starters(Pool, Units, Waiting#waiting{starters = [From | Starters]})}
    end.

%% @doc Something has changed: who has waited for it is answered.
-spec tell(atom(), [py_unit:unit()], waiting()) -> waiting().
tell(Pool, Units, Waiting) ->
    tell_starters(Pool, Units, tell_callers(Units, Waiting)).

%% @doc Whether somebody waits for the start, who is told if it fails, and gives the pool up.
-spec is_start_awaited(waiting()) -> boolean().
is_start_awaited(#waiting{starters = Starters}) ->
    Starters =/= [].

%% Whether the start of one of the contexts waits for whoever asks.
is_own_start({python, Owner, CtxId}, Units) ->
    lists:any(fun(Unit) -> py_unit:owner(Unit) =:= Owner andalso py_unit:starts(CtxId, Unit) end, serving(Units));
is_own_start(_NotItsPreload, _Units) ->
    false.

answer(Stale, Units) ->
    Serving = serving(Units),
    Offered = lists:append([maps:values(py_unit:offered(Unit)) || Unit <- Serving]),
    case lists:any(fun(#route{ctx = Ctx, owner = Owner}) -> Ctx =/= Stale andalso is_process_alive(Owner) end, Offered) of
        true -> ok;
        false ->
            case [Why || Unit <- Serving, {error, Why} <- [py_unit:answer(Unit)]] of
                Whys = [Why | _] when length(Whys) =:= length(Serving) -> {error, {context_died, Why}};
                _ -> wait
            end
    end.

serving(Units) ->
    [Unit || Unit <- Units, not py_unit:is_draining(Unit)].

tell_callers(Units, Waiting = #waiting{callers = Callers}) ->
    Left = maps:filter(
        fun(_Pid, {From, Stale}) ->
            case answer(Stale, Units) of
                wait -> true;
                Answer ->
                    gen_server:reply(From, Answer),
                    false
            end
        end,
        Callers),
    Waiting#waiting{callers = Left}.

tell_starters(_Pool, _Units, Waiting = #waiting{starters = []}) ->
    Waiting;
tell_starters(Pool, Units, Waiting) ->
    Answers = [py_unit:answer(Unit) || Unit <- serving(Units)],
    Failures = [Why || {error, Why} <- Answers],
    case {Failures, lists:all(fun(Answer) -> Answer =:= up end, Answers)} of
        {[Why | _], _} -> reply_all({error, start_error(Why)}, Waiting);
        {[], true} -> reply_all({ok, [Ctx || #route{ctx = Ctx} <- py_tables:contexts(Pool)]}, Waiting);
        {[], false} -> Waiting
    end.

reply_all(Answer, Waiting = #waiting{starters = Starters}) ->
    lists:foreach(fun(From) -> gen_server:reply(From, Answer) end, Starters),
    Waiting#waiting{starters = []}.

start_error({start_failed, Reason}) -> py_sandbox:start_error(Reason);
start_error(Why) -> {context_died, Why}.
