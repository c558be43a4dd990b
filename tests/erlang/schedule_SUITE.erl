%% What a function returns to go on elsewhere is what its request goes on with: an Erlang function, or a Python function at
%% once or after others have had their turn; chains of any length, errors and limits as in any other request.
-module(schedule_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

all() -> [{group, worker}, {group, owngil}].

groups() ->
    Cases = [erlang_function, python_function, long_chains, from_eval_and_coroutines, mixed, errors, limits,
             others_have_their_turn, time_slice, markers],
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
    ?assertMatch({error, {'TypeError', _}}, py:eval(Ctx, "erlang.schedule(1)")).

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

%% One that is not returned does nothing, and inside a list it is a value like any other.
markers(Config) ->
    ?assertEqual({ok, 1}, py:eval(ctx(Config), "[erlang.schedule('boom'), 1][1]")),
    ?assertMatch({ok, [<<"<scheduled work", _/binary>>]}, py:eval(ctx(Config), "[erlang.schedule('boom')]")).

ctx(Config) -> proplists:get_value(ctx, Config).
