%% One port process and its contexts, without either: what is done when, and what is offered.
-module(py_unit_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").
-include("../../erlang_src/py_route.hrl").

all() ->
    [contexts_of_a_pool, rules_that_wait_for_the_preload, one_that_does_not_start, no_tags_are_left, one_that_ends_is_replaced,
     death_and_a_second_life, contexts_of_users, users_rules, users_that_are_refused, draining, random_lives].

%% Proves that the contexts of a pool are asked for when the port process is ready, and offered when all are there.
contexts_of_a_pool(_) ->
    U0 = py_unit:started(self(), true, py_unit:new(pool, [1, 2, 3])),
    ?assert(py_unit:is_starting(U0)),
    ?assertEqual(starting, py_unit:phase(U0)),
    {[{open_tags, [1, 2, 3]}], U1} = py_unit:ready(info(), U0),
    ?assertNot(py_unit:is_starting(U1)),
    {[{new_context, 1, R1}, {new_context, 2, R2}, {new_context, 3, R3}], U2} =
        py_unit:tags([{1, 11}, {2, 12}, {3, 13}], p, limit, U1),
    ?assertMatch([#route{id = 1, tag = 11, pool = p}, #route{id = 2, tag = 12}, #route{id = 3, tag = 13}], [R1, R2, R3]),
    Asked = ask([{1, R1}, {2, R2}, {3, R3}], U2),
    ?assert(py_unit:starts(1, Asked)),
    Up = lists:foldl(
        fun({Key, Route}, U) ->
            ?assertEqual(#{}, py_unit:offered(U)),
            {[{start, Key, Route}], Next} = py_unit:answered(alias(Key, U), {ok, 0}, U),
            {Effects, Placed} = py_unit:placed(Key, Route, Next),
            ?assertEqual([up || Key =:= 2], Effects),
            Placed
        end, Asked, [{3, R3}, {1, R1}, {2, R2}]),
    Serving = py_unit:up(0, Up),
    ?assertEqual([1, 2, 3], maps:keys(py_unit:offered(Serving))),
    ?assertEqual(up, py_unit:answer(Serving)),
    ?assertNot(py_unit:starts(1, Serving)).

%% Proves that the rules of the sandbox come when all preloads have run, once, and before anybody asks anything.
rules_that_wait_for_the_preload(_) ->
    {Effects, U} = placed_all(started(false, [1, 2])),
    ?assertEqual([restrict], Effects),
    Asked = asked(restrict, U),
    ?assertEqual(#{}, py_unit:offered(Asked)),
    ?assertMatch({[up], _}, py_unit:answered(alias(restrict, Asked), ok, Asked)),
    {[stop], Failed} = py_unit:answered(alias(restrict, Asked), {error, why}, Asked),
    ?assertEqual({start_failed, why}, py_unit:failure(Failed)).

%% Proves that a context that does not start ends them all, with the first reason.
one_that_does_not_start(_) ->
    U = started(true, [1, 2, 3]),
    {[stop], One} = py_unit:answered(alias(2, U), {error, first}, U),
    {[], Two} = py_unit:answered(alias(1, One), {error, second}, One),
    {[{start, 3, R3}], Three} = py_unit:answered(alias(3, Two), {ok, 0}, Two),
    ?assertMatch({[], _}, py_unit:placed(3, R3, Three)),
    ?assertEqual({start_failed, first}, py_unit:failure(Three)).

no_tags_are_left(_) ->
    {[{open_tags, _}], U} = py_unit:ready(info(), py_unit:started(self(), true, py_unit:new(pool, [1, 2]))),
    {[stop], Failed} = py_unit:no_tags([1, 2], no_tags, U),
    ?assertEqual({start_failed, no_tags}, py_unit:failure(Failed)).

%% Proves that the place of a context that ends alone is filled, by another number, and that the others serve meanwhile.
one_that_ends_is_replaced(_) ->
    U = serving([1, 2]),
    #{1 := #route{ctx = Ctx} = Old} = py_unit:contexts(U),
    ?assertEqual({1, Old}, py_unit:find(Ctx, U)),
    {[{close, 1, Old}, {open_tags, [1]}], Down} = py_unit:context_down(1, U),
    ?assertEqual([2], maps:keys(py_unit:offered(Down))),
    ?assertEqual(none, py_unit:find(Ctx, Down)),
    {[{new_context, 1, New = #route{id = 3, tag = 99}}], Tagged} = py_unit:tags([{1, 99}], p, limit, Down),
    Asked = ask([{1, New}], Tagged),
    ?assert(py_unit:starts(3, Asked)),
    ?assertNot(py_unit:starts(2, Asked)),
    {[{start, 1, New}], Answered} = py_unit:answered(alias(1, Asked), ok, Asked),
    {[up], Again} = py_unit:placed(1, New, Answered),
    ?assertEqual([1, 2], maps:keys(py_unit:offered(py_unit:up(1, Again)))).

%% Proves that nothing of a port process that died is left in the next.
death_and_a_second_life(_) ->
    {Delay, Dead} = py_unit:died({signal, sigkill}, 100000, serving([1, 2])),
    ?assertEqual({0, none, #{}, #{}}, {Delay, py_unit:owner(Dead), py_unit:offered(Dead), py_unit:info(Dead)}),
    ?assertEqual({waiting, 0}, py_unit:phase(Dead)),
    {[{open_tags, [1, 2]}], Ready} = py_unit:ready(info(), py_unit:started(self(), true, Dead)),
    ?assertMatch({[{new_context, 1, #route{id = 1}} | _], _}, py_unit:tags([{1, 5}, {2, 6}], p, limit, Ready)),
    {Later, _} = py_unit:died({signal, sigkill}, 100000, py_unit:started(self(), true, Dead)),
    ?assert(Later > 0).

%% Proves that each user gets a context when the port process is ready, and waits for no other user.
contexts_of_users(_) ->
    {[], U1} = py_unit:want(b, py_unit:started(self(), true, py_unit:new(users, [a]))),
    {[{open_tags, [a]}, {open_tags, [b]}], U2} = py_unit:ready(info(), U1),
    {[{open_tags, [c]}], U3} = py_unit:want(c, U2),
    {News, U4} = py_unit:tags([{a, 1}, {b, 2}, {c, 3}], contexts, limit, U3),
    U5 = ask([{Key, Route} || {new_context, Key, Route} <- News], U4),
    {[{start, b, Route}], U6} = py_unit:answered(alias(b, U5), {ok, 0}, U5),
    {[{granted, b, Route}], U7} = py_unit:placed(b, Route, U6),
    ?assertEqual([b], maps:keys(py_unit:contexts(U7))),
    %% One that ends is not replaced.
    ?assertMatch({[{close, b, Route}], _}, py_unit:context_down(b, U7)).

%% Proves that the rules of the sandbox are asked for with the first context, once, and that nobody has one before.
users_rules(_) ->
    U = users(false, [a, b, c]),
    {[restrict], U1} = placed(a, U),
    U2 = asked(restrict, U1),
    {[], U3} = placed(b, U2),
    {[{granted, a, _}, {granted, b, _}], U4} = py_unit:answered(alias(restrict, U3), ok, U3),
    ?assertMatch({[{granted, c, _}], _}, placed(c, U4)),
    {[{refused, a, why, #route{}}, {refused, b, why, #route{}}], U5} = py_unit:answered(alias(restrict, U3), {error, why}, U3),
    ?assertEqual(#{}, py_unit:contexts(U5)),
    ?assertMatch({[restrict], _}, placed(c, U5)).

%% Proves that a context that does not start is the news of its user alone.
users_that_are_refused(_) ->
    U = users(true, [a, b]),
    {[{refused, a, why, #route{}}], U1} = py_unit:answered(alias(a, U), {error, why}, U),
    ?assertEqual(none, py_unit:failure(U1)),
    ?assertMatch({[{granted, b, _}], _}, placed(b, U1)),
    ?assertMatch({[{refused, x, no_tags, none}], _}, py_unit:no_tags([x], no_tags, U1)).

%% Proves that a port process that is replaced is offered no more, is asked for what waits when nothing holds a slot, and
%% goes when nothing is left, or it does not answer, or its time is over.
draining(_) ->
    U = py_unit:drain(1000, serving([1])),
    ?assert(py_unit:is_draining(U)),
    ?assertEqual(#{}, py_unit:offered(U)),
    ?assertEqual(wait, py_unit:drained(false, 1000, U)),
    ?assertEqual(ask_for_tasks, py_unit:drained(true, 1000, U)),
    Alias = make_ref(),
    Asked = py_unit:tasks_asked(Alias, 2000, U),
    ?assertEqual(tasks, py_unit:is_pending(Alias, Asked)),
    ?assertEqual(wait, py_unit:drained(true, 2500, Asked)),
    ?assertEqual(stop, py_unit:drained(true, 3001, Asked)),
    ?assertEqual(stop, py_unit:tasks_left(0, 2500, Asked)),
    Busy = py_unit:tasks_left(3, 2500, Asked),
    ?assertEqual(ask_for_tasks, py_unit:drained(true, 2500, Busy)),
    ?assertEqual(stop, py_unit:tasks_left(3, 302000, Asked)).

%% Proves of random lives of a pool's port process that its tags are each closed at most once, that no number is given
%% twice, that it is offered only with all its contexts or those that are left while others are replaced, and that a
%% failure stops it once.
random_lives(_) ->
    _ = rand:seed(exsss, {py_test:seed(), 2, 2}),
    lists:foreach(fun(_) -> life(2000) end, lists:seq(1, 20)).

life(Steps) ->
    Keys = lists:seq(1, rand:uniform(4)),
    Unit = py_unit:started(self(), rand:uniform(2) =:= 1, py_unit:new(pool, Keys)),
    life(Steps, Unit, #{keys => Keys, aliases => [], ids => [], tags => [], next => 1, stopped => 0}).

life(0, _, _) ->
    ok;
life(Left, U, World = #{aliases := Aliases}) ->
    Contexts = maps:keys(py_unit:contexts(U)),
    Choices = [ready || py_unit:is_starting(U)] ++ [answer || Aliases =/= []] ++ [down || Contexts =/= []]
        ++ [fail || rand:uniform(20) =:= 1, Aliases =/= []] ++ [die || rand:uniform(30) =:= 1],
    {Next, NextWorld} = case Choices of
        [] -> {U, World};
        _ -> live(lists:nth(rand:uniform(length(Choices)), Choices), U, World)
    end,
    Offered = maps:keys(py_unit:offered(Next)),
    [] = Offered -- maps:keys(py_unit:contexts(Next)),
    true = maps:get(stopped, NextWorld) =< 1,
    true = maps:get(stopped, NextWorld) =:= 1 orelse py_unit:failure(Next) =:= none,
    life(Left - 1, Next, NextWorld).

live(ready, U, World) ->
    effects(py_unit:ready(info(), U), World);
live(answer, U, World = #{aliases := [Alias | Rest]}) ->
    effects(py_unit:answered(Alias, ok, U), World#{aliases := Rest});
live(fail, U, World = #{aliases := [Alias | Rest]}) ->
    effects(py_unit:answered(Alias, {error, why}, U), World#{aliases := Rest});
live(down, U, World) ->
    Contexts = maps:keys(py_unit:contexts(U)),
    effects(py_unit:context_down(lists:nth(rand:uniform(length(Contexts)), Contexts), U), World);
live(die, U, World) ->
    {_, Dead} = py_unit:died(why, 0, U),
    #{} = py_unit:offered(Dead),
    {py_unit:started(self(), rand:uniform(2) =:= 1, Dead), World#{aliases := [], ids := [], tags := [], stopped := 0}}.

effects({Effects, U}, World) ->
    lists:foldl(fun effect/2, {U, World}, Effects).

effect({open_tags, Keys}, {U, World = #{tags := Tags, next := Next}}) ->
    New = lists:zip(Keys, lists:seq(Next, Next + length(Keys) - 1)),
    effects(py_unit:tags(New, p, limit, U), World#{next := Next + length(Keys), tags := [Tag || {_, Tag} <- New] ++ Tags});
effect({new_context, Key, Route = #route{id = Id}}, {U, World = #{ids := Ids, aliases := Aliases}}) ->
    false = lists:member(Id, Ids),
    Alias = make_ref(),
    {py_unit:asked(Alias, {context, Key, Route}, U), World#{ids := [Id | Ids], aliases := Aliases ++ [Alias]}};
effect(restrict, {U, World = #{aliases := Aliases}}) ->
    Alias = make_ref(),
    {py_unit:asked(Alias, restrict, U), World#{aliases := Aliases ++ [Alias]}};
effect({start, Key, Route}, {U, World}) ->
    effects(py_unit:placed(Key, Route#route{ctx = spawn(fun() -> ok end)}, U), World);
effect(up, {U, World = #{keys := Keys}}) ->
    Up = py_unit:up(0, U),
    Keys = maps:keys(py_unit:offered(Up)),
    {Up, World};
effect(stop, {U, World = #{stopped := Stopped}}) ->
    {U, World#{stopped := Stopped + 1}};
effect({close, _Key, #route{tag = Tag}}, {U, World = #{tags := Tags}}) ->
    true = lists:member(Tag, Tags),
    {U, World#{tags := lists:delete(Tag, Tags)}}.

%% Helpers. Aliases are kept beside the unit, in the process dictionary, by what they are for.

info() -> #{port => hd(erlang:ports()), grants => none}.

started(Restricted, Keys) ->
    {_, Ready} = py_unit:ready(info(), py_unit:started(self(), Restricted, py_unit:new(pool, Keys))),
    tagged(Keys, Ready).

users(Restricted, Keys) ->
    {_, Ready} = py_unit:ready(info(), py_unit:started(self(), Restricted, py_unit:new(users, Keys))),
    tagged(Keys, Ready).

tagged(Keys, U) ->
    {News, Tagged} = py_unit:tags(lists:zip(Keys, lists:seq(10, 9 + length(Keys))), p, limit, U),
    ask([{Key, Route} || {new_context, Key, Route} <- News], Tagged).

ask(Contexts, U) ->
    lists:foldl(fun({Key, Route}, Next) -> asked(Key, {context, Key, Route}, Next) end, U, Contexts).

asked(What, U) -> asked(What, What, U).

asked(Key, What, U) ->
    Alias = make_ref(),
    put({alias, Key}, Alias),
    Asked = py_unit:asked(Alias, What, U),
    ?assertEqual(start, py_unit:is_pending(Alias, Asked)),
    Asked.

alias(Key, _U) -> get({alias, Key}).

placed(Key, U) ->
    {[{start, Key, Route}], Answered} = py_unit:answered(alias(Key, U), {ok, 0}, U),
    py_unit:placed(Key, Route#route{ctx = spawn(fun() -> ok end)}, Answered).

placed_all(U) ->
    lists:foldl(fun(Key, {_, Next}) -> placed(Key, Next) end, {[], U}, py_unit:keys(U)).

serving(Keys) ->
    {[up], U} = placed_all(started(true, Keys)),
    py_unit:up(0, U).
