%% @doc When a context is asked whether it can still work, and when its port process is replaced. Pure: events in,
%% effects out; py_checkup acts on them.
%%
%% Failing calls are only a hint: code of users raises all day long. So the check decides, not the errors, and as long as
%% it passes it is made less and less often.
-module(py_health).

-export([new/0, suspect/3, answered/4, forget/2]).

-export_type([health/0, answer/0, effect/0]).

%% `hung': the check was interrupted, which ends it whatever it hung in. `gone': there is no such context any more.
-type answer() :: healthy | {unhealthy, binary()} | hung | gone.
%% `quiet': until then more failures of this context are no news.
-type effect() :: {check, Ctx :: term()} | {quiet, Ctx :: term(), Until :: integer()}
    | {replace, Ctx :: term(), Why :: binary()}.

-record(watch, {
    asking = false :: boolean(),
    hung = 0 :: non_neg_integer(),      % checks in a row that did not end
    pause = 0 :: non_neg_integer(),     % after the last one that passed
    not_before = none :: none | integer()
}).
-opaque health() :: #{Ctx :: term() => #watch{}}.

%% At most one check per second for a context, and one in ten while its errors are its users' own.
-define(FIRST_PAUSE_MS, 1000).
-define(MAX_PAUSE_MS, 10000).
%% Errors that come after such a silence are new ones.
-define(FORGET_MS, 60000).
%% A context may be held up for seconds by another that keeps the GIL in a long C call. Two checks in a row hardly are.
-define(MAX_HUNG, 2).

-spec new() -> health().
new() ->
    #{}.

%% @doc Several calls of this context have failed.
-spec suspect(Ctx :: term(), Now :: integer(), health()) -> {[effect()], health()}.
suspect(Ctx, Now, Health) ->
    case maps:get(Ctx, Health, #watch{}) of
        #watch{asking = true} ->
            {[], Health};
        #watch{not_before = NotBefore} when is_integer(NotBefore), Now < NotBefore ->
            {[], Health};
        #watch{not_before = NotBefore, pause = Pause} = Watch ->
            Next = case is_integer(NotBefore) andalso Now - NotBefore < ?FORGET_MS of
                true -> Pause;
                false -> 0
            end,
            {[{check, Ctx}], Health#{Ctx => Watch#watch{asking = true, hung = 0, pause = Next}}}
    end.

%% @doc What became of a check.
-spec answered(Ctx :: term(), answer(), Now :: integer(), health()) -> {[effect()], health()}.
answered(Ctx, Answer, Now, Health) ->
    case Health of
        #{Ctx := Watch = #watch{asking = true}} -> answered(Answer, Ctx, Watch, Now, Health);
        _ -> {[], Health}
    end.

answered(healthy, Ctx, Watch = #watch{pause = Before}, Now, Health) ->
    Pause = min(?MAX_PAUSE_MS, max(?FIRST_PAUSE_MS, 2 * Before)),
    Calm = Watch#watch{asking = false, hung = 0, pause = Pause, not_before = Now + Pause},
    {[{quiet, Ctx, Now + Pause}], Health#{Ctx := Calm}};
answered({unhealthy, Why}, Ctx, _Watch, _Now, Health) ->
    {[{replace, Ctx, Why}], maps:remove(Ctx, Health)};
answered(hung, Ctx, #watch{hung = Hung}, _Now, Health) when Hung + 1 >= ?MAX_HUNG ->
    {[{replace, Ctx, <<"its check did not end within two seconds, twice">>}], maps:remove(Ctx, Health)};
answered(hung, Ctx, Watch = #watch{hung = Hung}, _Now, Health) ->
    {[{check, Ctx}], Health#{Ctx := Watch#watch{hung = Hung + 1}}};
answered(gone, Ctx, _Watch, _Now, Health) ->
    {[], maps:remove(Ctx, Health)}.

%% @doc The context is no more.
-spec forget(Ctx :: term(), health()) -> health().
forget(Ctx, Health) ->
    maps:remove(Ctx, Health).
