%% What the suites share that are about whom Python may send to (send_SUITE) and which pids it has been given (grants_SUITE).
-module(py_test_send).

-include_lib("stdlib/include/assert.hrl").

-export([clean_up/0, rule/2, give/2, give_all/2, etf/1, remote/0, remote/1, remote/2, sink/0, dead/0, mailbox/0, contains/2]).

%% For end_per_testcase/2.
-spec clean_up() -> ok.
clean_up() ->
    _ = [py:unregister_name(Name) || {Name} <- ets:tab2list(py_send_names)],
    ok = py:state_clear(),
    py_test_callbacks:clean_up().

%% The rule of a pool with these options.
-spec rule(granted | local | any, [atom() | {atom(), node()}]) -> py_send:rule().
rule(Send, Names) -> py_send:new(no_pool, #{send => Send, send_names => Names}).

-spec give(pid(), py_send:rule()) -> ok.
give(Pid, Rule) -> py_grants:add(py_send:grants(Rule), Pid).

%% As the answer of a callback does it.
-spec give_all(term(), py_send:rule()) -> ok.
give_all(Term, Rule) -> py_grants:answer(py_send:grants(Rule), {ok, Term}, term_to_binary(Term)).

%% The bytes of a pid, as Python's Pid takes them.
-spec etf(pid()) -> {bytes, binary()}.
etf(Pid) ->
    <<131, Etf/binary>> = term_to_binary(Pid),
    {bytes, Etf}.

-spec remote() -> pid().
remote() -> remote(0).

-spec remote(non_neg_integer()) -> pid().
remote(N) -> remote(N, 1).

%% A process of a node that nobody is connected with.
-spec remote(non_neg_integer(), pos_integer()) -> pid().
remote(N, Id) ->
    Node = atom_to_binary(list_to_atom("py_test_send_" ++ integer_to_list(N) ++ "@nowhere")),
    binary_to_term(<<131, 88, 119, (byte_size(Node)), Node/binary, Id:32, 0:32, 1:32>>).

%% A process that stays until the test case ends.
-spec sink() -> pid().
sink() ->
    Test = self(),
    spawn(fun() ->
        Monitor = monitor(process, Test),
        receive {'DOWN', Monitor, process, _, _} -> ok end
    end).

-spec dead() -> pid().
dead() ->
    {Pid, Monitor} = spawn_monitor(fun() -> ok end),
    receive {'DOWN', Monitor, process, Pid, _} -> Pid end.

-spec mailbox() -> [term()].
mailbox() ->
    receive Message -> [Message | mailbox()] after 0 -> [] end.

-spec contains(unicode:chardata(), unicode:chardata()) -> ok.
contains(Part, Text) ->
    ?assertMatch({_, true}, {Text, string:find(Text, Part) =/= nomatch}),
    ok.
