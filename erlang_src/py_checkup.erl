%% @doc Asks contexts whose calls fail whether they can still work, and has the port process of one that cannot killed;
%% its pool starts it again as after any death. A value in the process that looks after the pool, which gives it its
%% messages. What is decided when: py_health.
-module(py_checkup).

-include_lib("kernel/include/logger.hrl").
-include("py_route.hrl").

-export([new/0, suspect/2, answer/3, down/2]).

-export_type([checkup/0]).

-record(checkup, {
    health = py_health:new() :: py_health:health(),
    asked = #{} :: #{reference() => pid()}      % contexts, by the alias that the answer comes to
}).
-opaque checkup() :: #checkup{}.

-spec new() -> checkup().
new() ->
    #checkup{}.

%% @doc On `{py_symptoms, Ctx}'.
-spec suspect(pid(), checkup()) -> checkup().
suspect(Ctx, C = #checkup{health = Health}) ->
    act(py_health:suspect(Ctx, now_ms(), Health), C).

%% @doc On `{py_reply, Alias, Payload}'; `unknown' when that is not about a check.
-spec answer(reference(), py_protocol:payload(), checkup()) -> checkup() | unknown.
answer(Alias, Payload, C = #checkup{asked = Asked}) ->
    case maps:take(Alias, Asked) of
        {Ctx, Rest} -> answered(Ctx, meaning(py_protocol:decode(Payload)), C#checkup{asked = Rest});
        error -> unknown
    end.

%% @doc On a `DOWN', of which this may be the monitor: the port process has died.
-spec down(reference(), checkup()) -> checkup().
down(Monitor, C = #checkup{asked = Asked}) ->
    case maps:take(Monitor, Asked) of
        {Ctx, Rest} -> answered(Ctx, gone, C#checkup{asked = Rest});
        error -> C
    end.

meaning({ok, ok}) -> healthy;
meaning({error, {unhealthy, Why}}) -> {unhealthy, Why};
meaning({error, timeout}) -> hung;
meaning(_Stopped) -> gone.

answered(Ctx, Answer, C = #checkup{health = Health}) ->
    act(py_health:answered(Ctx, Answer, now_ms(), Health), C).

act({Effects, Health}, C) ->
    lists:foldl(fun effect/2, C#checkup{health = Health}, Effects).

effect({check, Ctx}, C) ->
    with_route(Ctx, fun(Route) -> ask(Route, C) end, C);
effect({quiet, Ctx, Until}, C) ->
    with_route(Ctx, fun(_) -> ok = py_symptoms:quiet(Ctx, Until), C end, C);
effect({replace, Ctx, Why}, C) ->
    with_route(Ctx, fun(Route) -> replace(Route, Why, C) end, C).

with_route(Ctx, Fun, C = #checkup{health = Health}) ->
    case py_tables:route(Ctx) of
        Route = #route{} -> Fun(Route);
        gone -> C#checkup{health = py_health:forget(Ctx, Health)}
    end.

ask(#route{ctx = Ctx, owner = Owner, port = Port, id = Id}, C = #checkup{asked = Asked}) ->
    Alias = py_port:control(Owner, Port, fun(Reply) -> py_protocol:check(Reply, Id) end),
    C#checkup{asked = Asked#{Alias => Ctx}}.

replace(#route{ctx = Ctx, owner = Owner, id = Id, pool = Pool}, Why, C) ->
    ?LOG_ERROR("pool ~ts: context ~b (~p) cannot work any more, after calls that failed its check did too: ~ts. Its "
               "port process is killed.", [Pool, Id, Ctx, py_error:printable(Why)],
               #{pool => Pool, context => Id, why => {killed, unhealthy}}),
    ok = py_port:condemn(Owner, unhealthy),
    C.

now_ms() ->
    erlang:monotonic_time(millisecond).
