%% @doc The processes that a port process was given: those that have called it, and those whose pids were in what it was
%% sent. One ETS table per port process, which py_port owns and which dies with it. Python's word is worth nothing here:
%% only the Erlang side adds rows, before it writes the frame that the pid is in.
%%
%% The table does not grow for ever: when it has doubled, a process of its own looks for the dead.
-module(py_grants).

-include("py_route.hrl").

-export([new/1, id/1, forget/1, request/4, answer/3, add/2]).
-export([is_granted/2, knows/2, lookup/2, remember/3]).
%% spawn.
-export([prune/1]).

-export_type([grants/0, id/0]).

%% `{Table}': callers alone are noted, since the pool's option `send' asks for no pid where it comes from.
-type grants() :: ets:tid() | {ets:tid()}.
%% What a route names them by: a table that has no name is no plain term, and whoever reads a row with one counts it, and has
%% it on the heap until the next collection. Rows of py_grants are `{Id, Table, PyPort}'.
-type id() :: pos_integer() | {pos_integer()}.
%% Whether a message may be sent to it (py_protected), once somebody has looked.
-type verdict() :: unknown | open | protected.

%% Rows: `{Pid, caller | given, Verdict}'. Beside them `{limit, Rows}': when to look for the dead; `{pruning, Pid}'.
-define(FIRST_LIMIT, 2000).
%% What the calling process remembers: the tables that know whom it calls for. A process that calls more pools than that
%% forgets, and writes it again.
-define(KEY, '$py_granted').
-define(REMEMBERED, 16).
%% So many parts of a term are looked at, and one more for each of so many bytes that its encoded form has (large
%% binaries cost nothing to look at). Of a term with more parts it is first seen whether there is a pid in it at all, in
%% its encoded form: faster unless there are many nodes, and without garbage. Measured, for a call that takes 10 ms:
%% 100 000 integers 0.2 ms instead of 0.5, 10 000 small maps 0.2 instead of 1, or of 3 with the collections.
-define(PARTS, 1000).
-define(BYTES_PER_PART, 128).
%% A map is as much work as that many parts.
-define(MAP, 15).
-define(ALL, (1 bsl 58)).
-define(NODES, 16).
%% How long another node may take to say which of its processes live.
-define(NODE_MS, 5000).

%% @doc The table of the calling process, a py_port.
-spec new(granted | local | any) -> grants().
new(Send) ->
    Table = ets:new(?MODULE, [public, {write_concurrency, true}]),
    Id = erlang:unique_integer([positive]),
    true = ets:insert(Table, [{limit, ?FIRST_LIMIT}, {id, Id}]),
    %% Of a py_port that was killed before anybody watched it.
    lists:foreach(fun([Owner]) -> is_process_alive(Owner) orelse forget(Owner) end, ets:match(?MODULE, {'_', '_', '$1'})),
    true = ets:insert(?MODULE, {Id, Table, self()}),
    case Send of
        granted -> Table;
        _ -> {Table}
    end.

-spec id(grants()) -> id().
id({Table}) -> {id(Table)};
id(Table) -> ets:lookup_element(Table, id, 2).

%% @doc This py_port has died, or is about to.
-spec forget(pid()) -> ok.
forget(Owner) ->
    true = ets:match_delete(?MODULE, {'_', '_', Owner}),
    ok.

%% @doc What a request gives: the process that makes it, and the pids in it. `Frame' is the request as it is sent.
-spec request(#route{}, #caller{}, py_protocol:operation(), binary()) -> ok.
request(#route{grants = {Id}}, #caller{who = Who}, _Operation, _Frame) ->
    caller(Id, Who);
request(#route{grants = Id}, #caller{who = Who}, Operation, Frame) ->
    ok = caller(Id, Who),
    case Operation of
        {call, _, _, Args, Kwargs} when map_size(Kwargs) =:= 0 -> term(Args, Frame, Who, Id);
        {call, _, _, Args, Kwargs} -> term([Kwargs | Args], Frame, Who, Id);
        {eval, _, Locals} when map_size(Locals) =:= 0 -> ok;
        {eval, _, Locals} -> term(Locals, Frame, Who, Id);
        {exec, _} -> ok
    end.

%% @doc What the answer to a callback gives. Only when its arguments gave nothing away ({@link knows/2}): else Python
%% would have any pid given that it hands to a function which returns it, or fails with it.
-spec answer(grants(), py_protocol:outcome(), binary()) -> ok.
answer(Table, {ok, Value}, Frame) when not is_tuple(Table) ->
    term(Value, Frame, none, Table);
answer(Table, {error, _Class, Reason, _Text, _Stack}, Frame) when not is_tuple(Table) ->
    term(Reason, Frame, none, Table);
answer(_Callers, _Outcome, _Frame) ->
    ok.

%% @doc One pid that Python gets.
-spec add(grants(), pid()) -> ok.
add({_Callers}, _Pid) -> ok;
add(Table, Pid) -> given(Table, Pid).

-spec is_granted(grants(), term()) -> boolean().
is_granted(Grants, Pid) ->
    try
        is_pid(Pid) andalso ets:member(table(Grants), Pid)
    catch
        %% The port process is gone.
        error:badarg -> false
    end.

%% @doc Whether every living process in what Python has sent is one that it was given. Where that does not matter: yes.
-spec knows(grants(), term()) -> boolean().
knows({_Callers}, _Term) ->
    true;
knows(Table, Term) ->
    try part(Term, {known, Table}, ?ALL) of
        _ -> true
    catch
        throw:stranger -> false
    end.

-spec lookup(grants(), pid()) -> {caller | given, verdict()} | none.
lookup(Grants, Pid) ->
    case ets:lookup(table(Grants), Pid) of
        [{_, How, Verdict}] -> {How, Verdict};
        [] -> none
    end.

%% @doc Keeps the verdict about a pid that is there.
-spec remember(grants(), pid(), verdict()) -> ok.
remember(Grants, Pid, Verdict) ->
    _ = ets:update_element(table(Grants), Pid, {3, Verdict}),
    ok.

%% Raises `badarg' when the port process is gone.
table({Table}) -> Table;
table(Id) when is_integer(Id) -> ets:lookup_element(?MODULE, Id, 2);
table(Table) -> Table.

%% Callers.

%% Once per process and port process.
caller(Id, Who) ->
    case get(?KEY) of
        #{Id := Who} -> ok;
        Known -> new_caller(Id, Who, Known)
    end.

new_caller(Id, Who, Known) ->
    case Who of
        {Pid, Starter} -> note(Id, Pid) andalso note(Id, Starter);
        Pid -> note(Id, Pid)
    end andalso put(?KEY, case Known of
        Few when is_map(Few), map_size(Few) < ?REMEMBERED -> Few#{Id => Who};
        _ -> #{Id => Who}
    end),
    ok.

%% False when the port process is gone: the request will find that out as well.
note(Id, Pid) ->
    try
        Table = table(Id),
        _ = ets:insert_new(Table, {Pid, caller, unknown})
            orelse ets:update_element(Table, Pid, [{2, caller}, {3, unknown}]),
        grown(Table)
    catch
        error:badarg -> false
    end.

given(Grants, Pid) ->
    try
        Table = table(Grants),
        _ = ets:member(Table, Pid) orelse ets:insert_new(Table, {Pid, given, unknown}) andalso grown(Table),
        ok
    catch
        error:badarg -> ok
    end.

%% Pids in a term.

%% `Table' may be its id here: most terms have no pids.
term([], _Frame, _Who, _Table) ->
    ok;
term(Term, Frame, Who, Table) ->
    case part(Term, Table, ?PARTS + byte_size(Frame) div ?BYTES_PER_PART) of
        0 -> large(Term, Frame, Who, Table);
        _ -> ok
    end.

large(Term, Frame, Who, Table) ->
    Nodes = nodes(known),
    Some = length(Nodes) > ?NODES orelse
        lists:any(fun(Node) -> occurs(name(Node), in_head(Node, Who), Frame, 0) end, Nodes),
    _ = Some andalso part(Term, Table, ?ALL),
    ok.

%% How often a node is named before the term: a request begins with its alias and the pids of its caller.
in_head(_Node, none) -> 0;
in_head(Node, {Pid, Starter}) -> in_head(Node, Pid) + of_node(Node, Starter);
in_head(Node, Pid) -> of_node(Node, Pid) + case Node =:= node() of true -> 1; false -> 0 end.

of_node(Node, Pid) when node(Pid) =:= Node -> 1;
of_node(_Node, _Pid) -> 0.

%% More often than that?
occurs(Name, Times, Frame, From) ->
    case binary:match(Frame, Name, [{scope, {From, byte_size(Frame) - From}}]) of
        nomatch -> false;
        _ when Times =:= 0 -> true;
        {At, Length} -> occurs(Name, Times - 1, Frame, At + Length)
    end.

%% As it is in every pid of that node.
name(Node) ->
    <<131, Name/binary>> = term_to_binary(Node),
    Name.

%% How many parts may still be looked at; 0: it has been left off. What cannot be seen into (funs, bits) is as opaque to
%% Python.
part(Term, _Table, Left) when is_integer(Term); is_atom(Term); is_binary(Term); is_float(Term) -> Left;
part([_ | _] = List, Table, Left) -> list(List, Table, Left);
part(Tuple, Table, Left) when is_tuple(Tuple) -> tuple(Tuple, 1, tuple_size(Tuple), Table, Left);
part(Map, Table, Left) when is_map(Map) -> map(maps:next(maps:iterator(Map)), Table, max(0, Left - ?MAP));
part(Pid, {known, Table}, Left) when is_pid(Pid) ->
    _ = is_granted(Table, Pid) orelse node(Pid) =:= node() andalso not is_process_alive(Pid) orelse throw(stranger),
    Left;
part(Pid, Table, Left) when is_pid(Pid) ->
    ok = given(Table, Pid),
    Left;
part(_Other, _Table, Left) -> Left.

list(_List, _Table, 0) -> 0;
list([Term | Rest], Table, Left) when is_integer(Term); is_binary(Term); is_atom(Term); is_float(Term) ->
    list(Rest, Table, Left - 1);
list([Term | Rest], Table, Left) ->
    case part(Term, Table, Left - 1) of
        0 -> 0;
        Next -> list(Rest, Table, Next)
    end;
list([], _Table, Left) -> Left;
list(Tail, Table, Left) -> part(Tail, Table, Left).

tuple(_Tuple, _Index, _Size, _Table, 0) -> 0;
tuple(_Tuple, Index, Size, _Table, Left) when Index > Size -> Left;
tuple(Tuple, Index, Size, Table, Left) ->
    tuple(Tuple, Index + 1, Size, Table, part(element(Index, Tuple), Table, Left - 1)).

map(_Iterator, _Table, 0) -> 0;
map({Key, Value, Iterator}, Table, Left) ->
    case part(Key, Table, Left - 1) of
        0 -> 0;
        Next -> map(maps:next(Iterator), Table, part(Value, Table, Next))
    end;
map(none, _Table, Left) -> Left.

%% The dead.

%% In a process of its own, so that neither the caller nor py_port is held up. Always true.
grown(Table) ->
    case ets:lookup(Table, limit) of
        [{_, Limit}] ->
            _ = ets:info(Table, size) > Limit andalso not is_pruned(Table) andalso spawn(?MODULE, prune, [Table]),
            true;
        [] ->
            true
    end.

is_pruned(Table) ->
    case ets:lookup(Table, pruning) of
        [{_, Pid}] -> is_process_alive(Pid);
        [] -> false
    end.

%% @private
-spec prune(ets:tid()) -> ok.
prune(Table) ->
    try
        claim(Table) andalso
            begin
                true = ets:safe_fixtable(Table, true),
                Remote = local(ets:select(Table, [{{'$1', '_', '_'}, [], ['$1']}], 1000), Table, #{}),
                true = ets:safe_fixtable(Table, false),
                maps:foreach(fun(Node, Pids) -> remote(Node, Pids, Table) end, Remote),
                true = ets:insert(Table, {limit, max(?FIRST_LIMIT, 2 * ets:info(Table, size))}),
                ets:delete(Table, pruning)
            end
    of
        _ -> ok
    catch
        %% The port process is gone.
        error:_ -> ok
    end.

%% One that was killed has left its row.
claim(Table) ->
    case ets:lookup(Table, pruning) of
        [{_, Pid} = Claim] -> is_process_alive(Pid) orelse ets:delete_object(Table, Claim);
        [] -> true
    end,
    ets:insert_new(Table, {pruning, self()}).

local('$end_of_table', _Table, Remote) ->
    Remote;
local({Pids, Next}, Table, Remote0) ->
    Remote = lists:foldl(
        fun(Pid, Others) when node(Pid) =:= node() ->
                _ = is_process_alive(Pid) orelse ets:delete(Table, Pid),
                Others;
           (Pid, Others) ->
                maps:update_with(node(Pid), fun(Pids1) -> [Pid | Pids1] end, [Pid], Others)
        end, Remote0, Pids),
    local(ets:select(Next), Table, Remote).

%% What another node does not vouch for is forgotten, or a node that comes and goes would fill the table.
remote(Node, Pids, Table) ->
    Alive = try
        true = lists:member(Node, nodes(connected)),
        erpc:call(Node, lists, filter, [fun erlang:is_process_alive/1, Pids], ?NODE_MS)
    catch
        _:_ -> []
    end,
    lists:foreach(fun(Pid) -> ets:delete(Table, Pid) end, Pids -- Alive).
