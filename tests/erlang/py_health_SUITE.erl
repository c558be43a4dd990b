%% When a context is asked whether it can work, and when it is replaced: the core of py_checkup, without processes.
-module(py_health_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

all() ->
    [failures_lead_to_one_check, a_check_that_passes_makes_quiet, quiet_gets_longer_up_to_a_limit, new_errors_are_looked_at_soon,
     unhealthy_is_replaced_at_once, hung_once_is_asked_again, hung_twice_is_replaced, hung_then_healthy_is_calm,
     gone_is_forgotten, contexts_do_not_know_of_each_other, answers_to_nothing_change_nothing].

%% Proves that as long as a check is out no other is made, however many calls fail.
failures_lead_to_one_check(_) ->
    {[{check, a}], Asking} = py_health:suspect(a, 0, py_health:new()),
    {[], Asking} = py_health:suspect(a, 1, Asking),
    {[], Asking} = py_health:suspect(a, 100000, Asking).

%% Proves that after a check that passed there is none for a second, and there is one then.
a_check_that_passes_makes_quiet(_) ->
    Calm = passed(a, 10, py_health:new()),
    {[], Calm} = py_health:suspect(a, 1009, Calm),
    {[{check, a}], _} = py_health:suspect(a, 1010, Calm).

%% Proves that checks of a context whose errors are its users' own become rare, but not too rare.
quiet_gets_longer_up_to_a_limit(_) ->
    {_, Pauses, _} = lists:foldl(fun(_, {Now, Pauses, Health}) ->
        {[{check, a}], Asking} = py_health:suspect(a, Now, Health),
        {[{quiet, a, Until}], Next} = py_health:answered(a, healthy, Now, Asking),
        {Until, [Until - Now | Pauses], Next}
    end, {0, [], py_health:new()}, lists:seq(1, 7)),
    ?assertEqual([1000, 2000, 4000, 8000, 10000, 10000, 10000], lists:reverse(Pauses)).

%% Proves that errors after a minute without any are new ones.
new_errors_are_looked_at_soon(_) ->
    Twice = passed(a, 1000, passed(a, 0, py_health:new())),
    {[{check, a}], Asking} = py_health:suspect(a, 3000 + 60000, Twice),
    ?assertMatch({[{quiet, a, 64000}], _}, py_health:answered(a, healthy, 63000, Asking)).

%% Proves that a check that fails is enough, and that nothing is kept of that context.
unhealthy_is_replaced_at_once(_) ->
    {_, Asking} = py_health:suspect(a, 0, py_health:new()),
    ?assertEqual({[{replace, a, <<"why">>}], py_health:new()}, py_health:answered(a, {unhealthy, <<"why">>}, 5, Asking)).

%% Proves that a check that did not end is made again: another context may have held the GIL.
hung_once_is_asked_again(_) ->
    {_, Asking} = py_health:suspect(a, 0, py_health:new()),
    {[{check, a}], Again} = py_health:answered(a, hung, 2000, Asking),
    ?assertEqual({[], Again}, py_health:suspect(a, 2001, Again)).

%% Proves that two in a row are the context's own fault.
hung_twice_is_replaced(_) ->
    {_, Asking} = py_health:suspect(a, 0, py_health:new()),
    {_, Again} = py_health:answered(a, hung, 2000, Asking),
    {[{replace, a, Why}], Left} = py_health:answered(a, hung, 4000, Again),
    ?assertMatch({match, _}, re:run(Why, "did not end")),
    ?assertEqual(py_health:new(), Left).

%% Proves that one that passes in between counts them anew.
hung_then_healthy_is_calm(_) ->
    {_, Asking} = py_health:suspect(a, 0, py_health:new()),
    {_, Again} = py_health:answered(a, hung, 2000, Asking),
    {[{quiet, a, 3100}], Calm} = py_health:answered(a, healthy, 2100, Again),
    {[{check, a}], Later} = py_health:suspect(a, 5000, Calm),
    ?assertMatch({[{check, a}], _}, py_health:answered(a, hung, 7000, Later)).

%% Proves that nothing is kept of a context that has ended.
gone_is_forgotten(_) ->
    {_, Asking} = py_health:suspect(a, 0, py_health:new()),
    ?assertEqual({[], py_health:new()}, py_health:answered(a, gone, 5, Asking)),
    ?assertEqual(py_health:new(), py_health:forget(a, Asking)),
    ?assertEqual(py_health:new(), py_health:forget(b, py_health:new())).

%% Proves that each context has its own checks.
contexts_do_not_know_of_each_other(_) ->
    {_, One} = py_health:suspect(a, 0, py_health:new()),
    {[{check, b}], Two} = py_health:suspect(b, 0, One),
    {[{replace, a, _}], Left} = py_health:answered(a, {unhealthy, <<>>}, 1, Two),
    ?assertMatch({[{quiet, b, _}], _}, py_health:answered(b, healthy, 1, Left)).

%% Proves that an answer that nobody waits for does nothing.
answers_to_nothing_change_nothing(_) ->
    Calm = passed(a, 0, py_health:new()),
    _ = [?assertEqual({[], Health}, py_health:answered(a, Answer, 1, Health))
         || Answer <- [healthy, hung, gone, {unhealthy, <<>>}], Health <- [py_health:new(), Calm]],
    ok.

passed(Ctx, Now, Health) ->
    {[{check, Ctx}], Asking} = py_health:suspect(Ctx, Now, Health),
    {[{quiet, Ctx, _}], Calm} = py_health:answered(Ctx, healthy, Now, Asking),
    Calm.
