%% @doc Messages from Python to Erlang processes, as a py_port hands them on: a value.
%%
%% What goes to processes of this node is sent on the spot, so a message that Python sent before it returned is there
%% when the call returns. Sending to another node can block: a process for each node does that.
%%
%% Flow control: the port has only so many bytes on the way to us, and is told when they are done with.
-module(py_messages).

-export([new/2, frame/3, large/3, handle/2, ended/2]).
%% System functions.
-export([is_alive/1, whereis/1]).
-compile({no_auto_import, [whereis/1]}).

-export_type([messages/0, destination/0]).

%% Names are atoms or binaries.
-type destination() :: pid() | atom() | binary() | {atom() | binary(), node() | binary()}.

-record(messages, {
    port :: port(),
    pool :: atom(),
    done = 0 :: integer(),                  % bytes that the port has not been told of
    %% Who sends to a node, and the bytes that it has not sent yet.
    senders = #{} :: #{node() => {pid(), non_neg_integer()}},
    lost = 0 :: non_neg_integer(),          % messages since the last log line about them
    is_quiet = false :: boolean()           % that line is recent
}).
-opaque messages() :: #messages{}.

-define(TELL_BYTES, 262144).
-define(LOG_EVERY_MS, 1000).

-spec new(port(), atom()) -> messages().
new(Port, Pool) ->
    #messages{port = Port, pool = Pool}.

%% @doc The messages of a frame, after its header.
-spec frame(pos_integer(), binary(), messages()) -> messages().
frame(FrameBytes, Messages, M) ->
    done(FrameBytes, all(Messages, M)).

%% @doc A message that came in pieces, of which the last was in a frame of this size.
-spec large(pos_integer(), py_protocol:payload(), messages()) -> messages().
large(FrameBytes, Message, M) ->
    done(FrameBytes, one(iolist_to_binary(Message), M)).

%% @doc What comes to py_port as `{py_messages, Event}'.
-spec handle({sent, node(), pos_integer()} | log, messages()) -> messages().
handle({sent, Node, Bytes}, M = #messages{senders = Senders}) ->
    case Senders of
        #{Node := {Pid, Waiting}} -> done(Bytes, M#messages{senders = Senders#{Node := {Pid, Waiting - Bytes}}});
        _ -> M
    end;
handle(log, M = #messages{lost = 0}) ->
    M#messages{is_quiet = false};
handle(log, M) ->
    log(unknown, M).

%% @doc A linked process has ended; when it is one of ours, which only somebody else can have done, the bytes that it
%% had are the port's again.
-spec ended(pid(), messages()) -> messages().
ended(Pid, M = #messages{senders = Senders}) ->
    case [{Node, Waiting} || {Node, {Sender, Waiting}} <- maps:to_list(Senders), Sender =:= Pid] of
        [{Node, Waiting}] -> done(Waiting, M#messages{senders = maps:remove(Node, Senders)});
        [] -> M
    end.

all(<<Length:32, Message:Length/binary, Rest/binary>>, M) ->
    all(Rest, one(Message, M));
all(<<>>, M) ->
    M;
all(_Malformed, M) ->
    lost(malformed, M).

%% Decoded with `[safe]': an atom beyond the bound of py_atoms makes a message undeliverable.
one(Encoded, M) ->
    try binary_to_term(Encoded, [safe]) of
        {Pid, Message} when is_pid(Pid), node(Pid) =:= node() ->
            Pid ! Message,
            M;
        {Destination, Message} ->
            case resolve(Destination) of
                Pid when is_pid(Pid), node(Pid) =:= node() ->
                    Pid ! Message,
                    M;
                {Name, Node} ->
                    remote(Node, {Name, Node}, Message, byte_size(Encoded), M);
                Pid when is_pid(Pid) ->
                    remote(node(Pid), Pid, Message, byte_size(Encoded), M);
                none ->
                    lost({nobody, Destination}, M)
            end;
        _ ->
            lost(malformed, M)
    catch
        error:badarg -> lost(atom_table_full, M)
    end.

%% Names of this node become pids, those of others stay what they are.
resolve(Pid) when is_pid(Pid) ->
    Pid;
resolve({Name, Node}) ->
    case {atom(Name), atom(Node)} of
        {_, none} -> none;
        {_, Here} when Here =:= node() -> whereis(Name);
        {none, _} -> none;
        Remote -> Remote
    end;
resolve(Name) ->
    whereis(Name).

%% A new atom is one of those that Python may make.
atom(Name) when is_atom(Name) -> Name;
atom(Name) when is_binary(Name) ->
    case py_atoms:admit(Name) of
        Atom when is_atom(Atom) -> Atom;
        _ -> none
    end;
atom(_) -> none.

%% @doc The process of this name, on this node.
-spec whereis(atom() | binary()) -> pid() | none.
whereis(Name) when is_atom(Name) ->
    case erlang:whereis(Name) of
        Pid when is_pid(Pid) -> Pid;
        _NobodyOrPort -> none
    end;
whereis(Name) when is_binary(Name) ->
    try binary_to_existing_atom(Name) of
        Atom -> whereis(Atom)
    catch
        error:_ -> none
    end;
whereis(_) ->
    none.

%% @doc Whether a message would find somebody; of processes on other nodes that is taken for granted.
-spec is_alive(destination()) -> boolean().
is_alive(Destination) ->
    case resolve(Destination) of
        none -> false;
        Pid when is_pid(Pid), node(Pid) =:= node() -> is_process_alive(Pid);
        _Remote -> true
    end.

%% The bytes of a message count as done when it has been sent, so a slow node slows Python down.
remote(Node, Destination, Message, Bytes, M = #messages{done = Done, senders = Senders}) ->
    case sender(Node, Senders) of
        {Pid, Waiting} ->
            Pid ! {Destination, Message, Bytes},
            M#messages{done = Done - Bytes, senders = Senders#{Node => {Pid, Waiting + Bytes}}};
        none ->
            lost(no_room_for_a_process, M)
    end.

sender(Node, Senders) when is_map_key(Node, Senders) ->
    map_get(Node, Senders);
sender(Node, _Senders) ->
    Owner = self(),
    try {spawn_link(fun() -> send(Owner, Node) end), 0}
    catch error:system_limit -> none
    end.

-spec send(pid(), node()) -> no_return().
send(Owner, Node) ->
    receive
        {Destination, Message, Bytes} ->
            Destination ! Message,
            Owner ! {py_messages, {sent, Node, Bytes}},
            send(Owner, Node)
    end.

done(Bytes, M = #messages{done = Done, port = Port}) ->
    case Done + Bytes of
        Enough when Enough >= ?TELL_BYTES ->
            ok = py_port:write(Port, py_protocol:messages_taken(Enough)),
            M#messages{done = 0};
        Few ->
            M#messages{done = Few}
    end.

lost(Why, M = #messages{lost = Lost, is_quiet = false}) ->
    log(Why, M#messages{lost = Lost + 1});
lost(_Why, M = #messages{lost = Lost}) ->
    M#messages{lost = Lost + 1}.

log(Why, M = #messages{lost = Lost, pool = Pool}) ->
    ok = py_output:messages_lost(Pool, Lost, Why),
    _ = erlang:send_after(?LOG_EVERY_MS, self(), {py_messages, log}),
    M#messages{lost = 0, is_quiet = true}.
