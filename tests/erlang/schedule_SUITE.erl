%% What a function returns to go on elsewhere is what its request goes on with: an Erlang function, or a Python function at
%% once or after others have had their turn; chains of any length, errors and limits as in any other request.
-module(schedule_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

all() -> [{group, worker}, {group, owngil}].

groups() ->
    Cases = [erlang_function, python_function, kinds_of_markers, long_chains, from_eval_and_coroutines, mixed, errors, limits,
             others_have_their_turn, time_slice, markers, chains_take_turns, late_by_itself, interrupted_in_turn,
             swallowed, stopped, steps_see_no_loop, steps_are_their_request, nested_chain, streams],
    py_test_modes:groups(Cases).

init_per_suite(Config) ->
    ok = py_test:start(),
    ok = py:register_function(add, fun([A, B]) -> A + B end),
    ok = py:register_function(boom, fun([]) -> error(kaboom) end),
    Config.

end_per_suite(_Config) -> py_test:stop().

init_per_group(Mode, Config) -> py_test_modes:init_group(Mode, Config).
end_per_group(_Mode, _Config) -> ok.

init_per_testcase(_Case, Config) ->
    {ok, Ctx} = py_context:new(#{mode => proplists:get_value(mode, Config)}),
    ok = py:exec(Ctx, "
def inline(n, acc=0):
    return erlang.schedule_inline('__main__', 'inline', [n - 1], {'acc': acc + 1}) if n else acc

def yielding(n, acc=0):
    return erlang.schedule_py('__main__', 'yielding', [n - 1], {'acc': acc + 1}) if n else acc

def both(n):
    if n == 0:
        return erlang.schedule('add', 40, 2)
    return (erlang.schedule_py if n % 2 else erlang.schedule_inline)('__main__', 'both', [n - 1])

def endless():
    return erlang.schedule_py('__main__', 'endless')

class Steps:
    @staticmethod
    def last(x):
        return x

def dotted():
    return erlang.schedule_inline('__main__', 'Steps.last', ['there'])

async def coroutine(n):
    return erlang.schedule_py('__main__', 'yielding', [n])
"),
    [{ctx, Ctx} | Config].

end_per_testcase(_Case, Config) ->
    py_context:stop(proplists:get_value(ctx, Config)).

erlang_function(Config) ->
    ?assertEqual({ok, 3}, py:eval(ctx(Config), "erlang.schedule('add', 1, 2)")).

python_function(Config) ->
    ?assertEqual({ok, 4.0}, py:eval(ctx(Config), "erlang.schedule_py('math', 'sqrt', [16])")),
    ?assertEqual({ok, 4.0}, py:eval(ctx(Config), "erlang.schedule_inline('math', 'sqrt', [16])")),
    ?assertEqual({ok, <<"there">>}, py:call(ctx(Config), '__main__', dotted, [])).

%% Proves that what is returned to go on with can be told from values, and from one another.
kinds_of_markers(Config) ->
    ?assertEqual({ok, [[true, false], [true, false], [false, true]]},
                 py:eval(ctx(Config), "[[isinstance(marker, cls) for cls in (erlang.ScheduleMarker, erlang.InlineScheduleMarker)]"
                                      " for marker in (erlang.schedule('add', 1), erlang.schedule_py('math', 'sqrt', [1]),"
                                      " erlang.schedule_inline('math', 'sqrt', [1]))]")).

%% Far beyond Python's limit of recursion.
long_chains(Config) ->
    ?assertEqual({ok, 20000}, py:call(ctx(Config), '__main__', inline, [20000])),
    ?assertEqual({ok, 20000}, py:call(ctx(Config), '__main__', yielding, [20000])).

from_eval_and_coroutines(Config) ->
    Ctx = ctx(Config),
    ?assertEqual({ok, 10}, py:eval(Ctx, "yielding(10)")),
    ok = py_context:exec(Ctx, "
def down(n):
    return erlang.schedule_py('__main__', 'down', [n - 1]) if n else 'done'
async def co(n):
    return erlang.schedule_inline('__main__', 'down', [n])
"),
    ?assertEqual({ok, <<"done">>}, py_context:submit_await(Ctx, '__main__', co, [100])),
    %% With the loop of the context running below.
    ?assertEqual({ok, 1000}, py:call(Ctx, '__main__', yielding, [1000])).

mixed(Config) ->
    ?assertEqual({ok, 42}, py:call(ctx(Config), '__main__', both, [101])).

errors(Config) ->
    Ctx = ctx(Config),
    ?assertMatch({error, {'ErlangError', _}}, py:eval(Ctx, "erlang.schedule('boom')")),
    ?assertMatch({error, {'UnknownFunction', _}}, py:eval(Ctx, "erlang.schedule('nobody')")),
    ?assertMatch({error, {'ValueError', _}}, py:eval(Ctx, "erlang.schedule_py('math', 'sqrt', [-1])")),
    ?assertMatch({error, {'AttributeError', _}}, py:eval(Ctx, "erlang.schedule_inline('math', 'nothing')")),
    ?assertMatch({error, {'ModuleNotFoundError', _}}, py:eval(Ctx, "erlang.schedule_inline('no_such', 'f')")),
    ?assertMatch({error, {'TypeError', _}}, py:eval(Ctx, "erlang.schedule(1)")),
    [?assertMatch({{error, {'TypeError', _}}, _}, {py:eval(Ctx, Code), Code})
     || Code <- ["erlang.schedule_py(1, 'f')", "erlang.schedule_py('math', None)", "erlang.schedule_py('math', 'sqrt', 4)",
                 "erlang.schedule_py('math', 'sqrt', '4')", "erlang.schedule_inline('math', 'sqrt', [4], 5)"]],
    {error, {'TypeError', Text}} = py:eval(Ctx, "erlang.schedule_py(1, 2, 3)"),
    ?assertEqual(<<"schedule_py() takes module as a str, not 1">>, Text).

%% An endless chain ends with its timeout, or when it is interrupted.
limits(Config) ->
    Ctx = ctx(Config),
    ?assertEqual({error, timeout}, py:call(Ctx, '__main__', endless, [], #{timeout => 200})),
    ?assertEqual({ok, 4.0}, py:call(Ctx, math, sqrt, [16])),
    %% The caller has its answer before the chain has ended, which gives way to what comes meanwhile.
    py_test:eventually(fun() -> py:interrupt(Ctx) =:= not_running end),
    ok = py_context:exec(Ctx, "def endless():\n    return erlang.schedule_py('__main__', 'endless')\n"),
    Call = py_test:async(fun() -> py:call(Ctx, '__main__', endless, []) end),
    py_test:eventually(fun() -> py:interrupt(Ctx) =:= ok end),
    ?assertEqual({error, interrupted}, py_test:join(Call)).

%% Calls of another process are answered while a chain of schedule_py goes on.
others_have_their_turn(Config) ->
    Ctx = ctx(Config),
    ok = py_context:exec(Ctx, "
running = True
def until_stopped():
    return erlang.schedule_py('__main__', 'until_stopped') if running else 'stopped'
def stop():
    global running
    running = False
"),
    Call = py_test:async(fun() -> py:call(Ctx, '__main__', until_stopped, []) end),
    ?assertEqual([{ok, float(N)} || N <- lists:seq(1, 100)],
                 py_test:in_process(fun() -> [py:call(Ctx, math, sqrt, [N * N]) || N <- lists:seq(1, 100)] end)),
    {ok, none} = py_test:in_process(fun() -> py:call(Ctx, '__main__', stop, []) end),
    ?assertEqual({ok, <<"stopped">>}, py_test:join(Call)).

time_slice(Config) ->
    Ctx = ctx(Config),
    ?assertEqual({ok, [false, false, false, true, false]},
                 py:eval(Ctx, "[erlang.consume_time_slice(25) for _ in range(5)]")),
    ?assertMatch({error, {'ValueError', _}}, py:eval(Ctx, "erlang.consume_time_slice(0)")),
    ?assertMatch({error, {'ValueError', _}}, py:eval(Ctx, "erlang.consume_time_slice(101)")).

%% One that is not returned does nothing, and it is no value: not inside a list, nor as an item or an argument.
markers(Config) ->
    Ctx = ctx(Config),
    ?assertEqual({ok, 1}, py:eval(Ctx, "[erlang.schedule('boom'), 1][1]")),
    ?assertMatch({error, {'TypeError', <<"scheduled work is no value: return it", _/binary>>}},
                 py:eval(Ctx, "[erlang.schedule('boom')]")),
    ?assertMatch({error, {'TypeError', _}}, py:eval(Ctx, "erlang.call('add', erlang.schedule('boom'), 1)")),
    ok = py:exec(Ctx, "def items():\n    yield erlang.schedule('boom')\n"),
    ?assertMatch({error, {'TypeError', _}}, py:stream(Ctx, '__main__', items, [])).

%% Chains of requests and of coroutines, in any combination, go on in turns, with plain calls and coroutines in between,
%% and are cancelled one by one.
chains_take_turns(Config) ->
    Ctx = counting(Config),
    lists:foreach(fun({HowA, HowB}) ->
        A = start(Ctx, HowA, <<"a">>),
        B = start(Ctx, HowB, <<"b">>),
        Turns = turns(Ctx),
        py_test:eventually(fun() -> turns(Ctx) >= Turns + 20 end),
        ?assertEqual({ok, <<"done">>}, py:async_await(py:async_call(Ctx, '__main__', other, []))),
        ?assertEqual({error, cancelled}, cancel(A)),
        ended(Ctx, <<"a">>),
        goes_on(Ctx, <<"b">>),
        ?assertEqual({error, cancelled}, cancel(B)),
        ended(Ctx, <<"b">>)
    end, [{step, step}, {step, co_step}, {co_step, step}, {co_step, co_step}]),
    py_test:no_slots_taken().

%% A timeout ends the chain that it belongs to, whatever others do, and no other.
late_by_itself(Config) ->
    Ctx = counting(Config),
    lists:foreach(fun({How, Other}) ->
        B = start(Ctx, Other, <<"b">>),
        ?assertEqual({error, timeout}, py:async_await(py:async_call(Ctx, '__main__', How, [<<"a">>], #{timeout => 100}))),
        ended(Ctx, <<"a">>),
        ?assertEqual({error, timeout}, py:await(py:cast(Ctx, '__main__', step, [<<"a">>], #{timeout => 100}))),
        ended(Ctx, <<"a">>),
        goes_on(Ctx, <<"b">>),
        ?assertEqual({error, cancelled}, cancel(B)),
        ended(Ctx, <<"b">>)
    end, [{How, Other} || How <- [step, co_step], Other <- [step, co_step]]),
    py_test:no_slots_taken().

%% An interrupt is for the one that has its turn: two end two chains.
interrupted_in_turn(Config) ->
    Ctx = counting(Config),
    Chains = [start(Ctx, step, Name) || Name <- [<<"a">>, <<"b">>]],
    py_test:eventually(fun() -> turns(Ctx) >= 20 end),
    py_test:eventually(fun() -> ok = py:interrupt(Ctx), lists:all(fun(Name) -> at_rest(Ctx, Name) end, [<<"a">>, <<"b">>]) end),
    ?assertEqual([{error, interrupted}, {error, interrupted}], [await(Chain) || Chain <- Chains]),
    py_test:no_slots_taken().

%% A step that swallows the interrupt of its chain is the last one.
swallowed(Config) ->
    Ctx = counting(Config),
    lists:foreach(fun(How) ->
        B = start(Ctx, step, <<"b">>),
        A = start(Ctx, How, <<"a">>),
        ?assertEqual({error, cancelled}, cancel(A)),
        ended(Ctx, <<"a">>),
        ?assertEqual({error, timeout}, py:call(Ctx, '__main__', stubborn, [<<"a">>], #{timeout => 100})),
        ended(Ctx, <<"a">>),
        ?assertEqual({error, cancelled}, cancel(B)),
        ended(Ctx, <<"b">>)
    end, [stubborn, co_stubborn]),
    py_test:no_slots_taken().

%% Chains end with their context, and with the process that asked for them.
stopped(Config) ->
    Ctx = counting(Config),
    Chains = [start(Ctx, How, Name) || {How, Name} <- [{step, <<"a">>}, {co_step, <<"b">>}, {step, <<"c">>}]],
    ok = py_context:stop(Ctx),
    [?assertMatch({error, {context_died, _}}, await(Chain)) || Chain <- Chains],
    py_test:no_slots_taken().

%% The steps of a request that is no coroutine may run loops of their own, though that of the context runs below.
steps_see_no_loop(Config) ->
    Ctx = counting(Config),
    ok = py:exec(Ctx, "
import asyncio
async def soon():
    await asyncio.sleep(0)
    return 1
def looping(n, acc=0):
    acc += asyncio.run(soon())
    return erlang.schedule_py('__main__', 'looping', [n - 1], {'acc': acc}) if n else acc
"),
    B = start(Ctx, co_step, <<"b">>),
    ?assertEqual({ok, 51}, py:call(Ctx, '__main__', looping, [50])),
    ?assertEqual({error, cancelled}, cancel(B)).

%% The steps between which others had their turn are those of their request: its caller, its namespace, its options.
steps_are_their_request(Config) ->
    Ctx = counting(Config),
    B = start(Ctx, step, <<"b">>),
    ok = py:exec(Ctx, "
import sys
mine = 'mine'
def seen(n, acc=()):
    acc = [*acc, (erlang.self(), sys.modules['__main__'].mine, erlang.call('add', n, 1))]
    return erlang.schedule_py('__main__', 'seen', [n - 1, acc]) if n else acc
def unknown():
    return erlang.schedule_py('builtins', 'object')
"),
    ?assertEqual({ok, [{self(), <<"mine">>, N + 1} || N <- lists:seq(20, 0, -1)]}, py:call(Ctx, '__main__', seen, [20])),
    ?assertEqual({ok, [{self(), <<"mine">>, N + 1} || N <- lists:seq(20, 0, -1)]}, py:eval(Ctx, "seen(20)")),
    ?assertMatch({error, {not_encodable, {type, _}}}, py:call(Ctx, '__main__', unknown, [], #{strict => true})),
    ?assertEqual({error, cancelled}, cancel(B)).

%% On top of a request that waits for a callback a chain runs to its end, while other chains wait for their turn.
nested_chain(Config) ->
    Ctx = counting(Config),
    ok = py:register_function(chain_in_callback, fun([N]) -> {ok, N} = py:call(Ctx, '__main__', yielding, [N]), N end),
    B = start(Ctx, step, <<"b">>),
    ok = py:exec(Ctx, "
def yielding(n, acc=0):
    return erlang.schedule_py('__main__', 'yielding', [n - 1], {'acc': acc + 1}) if n else acc
def calls_back(n):
    erlang.call('chain_in_callback', 10)
    return erlang.schedule_py('__main__', 'calls_back', [n - 1]) if n else 'done'
async def co_calls_back(n):
    erlang.call('chain_in_callback', 10)
    return erlang.schedule_py('__main__', 'co_calls_back', [n - 1]) if n else 'done'
"),
    ?assertEqual({ok, <<"done">>}, py:call(Ctx, '__main__', calls_back, [5])),
    ?assertEqual({ok, <<"done">>}, py:async_await(py:async_call(Ctx, '__main__', co_calls_back, [5]))),
    ?assertEqual({ok, <<"done">>}, py:call(Ctx, '__main__', calls_back, [5])),
    goes_on(Ctx, <<"b">>),
    ?assertEqual({error, cancelled}, cancel(B)),
    ok = py:unregister_function(chain_in_callback).

%% A chain may end in a generator or a coroutine, where the request asks for one.
streams(Config) ->
    Ctx = counting(Config),
    ok = py:exec(Ctx, "
def to(name, n):
    return erlang.schedule_py('__main__', 'to', [name, n - 1]) if n else erlang.schedule_py('__main__', name)
def items():
    yield from range(3)
async def value():
    return 'value'
"),
    B = start(Ctx, step, <<"b">>),
    ?assertEqual({ok, [0, 1, 2]}, py:stream(Ctx, '__main__', to, [items, 10])),
    ?assertEqual({ok, <<"value">>}, py:async_await(py:async_call(Ctx, '__main__', to, [value, 10]))),
    ?assertEqual({error, cancelled}, cancel(B)).

%% A context whose chains `step` and `co_step` are endless and count their steps, and how often another's turn came.
counting(Config) ->
    Ctx = ctx(Config),
    ok = py:exec(Ctx, "
import time
counts, last, turns = {}, None, 0
def count(name):
    global last, turns
    counts[name] = counts.get(name, 0) + 1
    turns += name != last
    last = name
    time.sleep(0.001)
def step(name):
    count(name)
    return erlang.schedule_py('__main__', 'step', [name])
async def co_step(name):
    count(name)
    return erlang.schedule_py('__main__', 'co_step', [name])
async def other():
    return 'done'
def stubborn(name):
    try:
        for _ in range(100):
            count(name)
    except BaseException:
        pass
    return erlang.schedule_py('__main__', 'stubborn', [name])
async def co_stubborn(name):
    try:
        count(name)
        await __import__('asyncio').sleep(10)
    except BaseException:
        pass
    return erlang.schedule_py('__main__', 'co_stubborn', [name])
"),
    Ctx.

start(Ctx, Function, Name) ->
    Coroutine = lists:member(Function, [co_step, co_stubborn]),
    Ref = (if Coroutine -> fun py:async_call/4; true -> fun py:cast/4 end)(Ctx, '__main__', Function, [Name]),
    goes_on(Ctx, Name),
    {Coroutine, Ref}.

cancel({_, Ref} = Chain) ->
    ok = py:cancel(Ref),
    await(Chain).

await({true, Ref}) -> py:async_await(Ref);
await({false, Ref}) -> py:await(Ref).

turns(Ctx) -> element(2, {ok, _} = py:eval(Ctx, "turns")).

steps(Ctx, Name) -> element(2, {ok, _} = py:eval(Ctx, "counts.get(name, 0)", #{name => Name})).

goes_on(Ctx, Name) ->
    Steps = steps(Ctx, Name),
    py_test:eventually(fun() -> steps(Ctx, Name) > Steps end).

%% Chains go on in turns with plain calls, so one that is left has made a step between five of these.
at_rest(Ctx, Name) ->
    Steps = steps(Ctx, Name),
    [{ok, _} = py:eval(Ctx, "time.sleep(0.002)") || _ <- lists:seq(1, 5)],
    steps(Ctx, Name) =:= Steps.

ended(Ctx, Name) -> py_test:eventually(fun() -> at_rest(Ctx, Name) end).

ctx(Config) -> proplists:get_value(ctx, Config).
