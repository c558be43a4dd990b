%% @doc Messages from Python to Erlang processes, as a py_port hands them on: a value. Whether one may go where it is
%% meant to py_send says, once for each destination.
%%
%% What goes to processes of this node is sent on the spot, so a message that Python sent before it returned is there
%% when the call returns. Sending to another node can block: a process for each node does that.
%%
%% Flow control: the port has only so many bytes on the way to us, and is told when they are done with. It is not told
%% while a destination does not keep up (py_mailboxes).
-module(py_messages).

-export([new/3, frame/3, large/3, handle/2, ended/2]).
%% spawn.
-export([send/2]).

-export_type([messages/0]).

-record(messages, {
    port :: port(),
    pool :: atom(),
    rule :: py_send:rule(),
    %% Where messages may go: processes of this node, for good; and whatever else this frame has been sent to, since a
    %% name may be granted, and taken back, at any time.
    open = #{} :: #{pid() => []},
    last = none :: none | pid(),            % of these; most messages go where the one before went
    mailboxes :: py_mailboxes:mailboxes(),
    looking = none :: none | reference(),   % at those that do not keep up: a timer runs
    frame = #{} :: #{term() => {ok, pid() | {atom(), node()}} | nobody | py_send:refusal()},
    done = 0 :: integer(),                  % bytes that the port has not been told of
    %% Who sends to a node, and the bytes that it has not sent yet.
    senders = #{} :: #{node() => {pid(), non_neg_integer()}},
    lost = 0 :: non_neg_integer(),          % messages since the last log line about them
    is_quiet = false :: boolean()           % that line is recent
}).
-opaque messages() :: #messages{}.

-define(TELL_BYTES, 262144).
-define(LOG_EVERY_MS, 1000).
-define(LOOK_EVERY_MS, 100).
%% So many destinations are known; then all are forgotten.
-define(KNOWN, 1000).
%% An atom has at most 255 characters of 4 bytes.
-define(NAME_BYTES, 1020).
%% What a message takes in a mailbox beside what is in it.
-define(MESSAGE_BYTES, 96).
-define(WORD_BYTES, 8).
%% A message up to this size needs no look at what it would take before it is decoded.
-define(SMALL_BYTES, 256).

-spec new(port(), atom(), py_send:rule()) -> messages().
new(Port, Pool, Rule) ->
    #messages{port = Port, pool = Pool, rule = Rule, mailboxes = py_mailboxes:new(py_config:max_mailbox_bytes())}.

%% @doc The messages of a frame, after its header.
-spec frame(pos_integer(), binary(), messages()) -> messages().
frame(FrameBytes, Messages, M = #messages{last = Last}) ->
    done(FrameBytes, (all(Messages, Last, 0, 0, M))#messages{frame = #{}}).

%% @doc A message that came in pieces, of which the last was in a frame of this size.
-spec large(pos_integer(), py_protocol:payload(), messages()) -> messages().
large(FrameBytes, Message, M) ->
    done(FrameBytes, (one(term(Message), py_payload:size(Message), M))#messages{frame = #{}}).

%% @doc What comes to py_port as `{py_messages, Event}'.
-spec handle({sent, node(), pos_integer()} | {look, reference()} | log, messages()) -> messages().
handle({sent, Node, Bytes}, M = #messages{senders = Senders}) ->
    case Senders of
        #{Node := {Pid, Waiting}} -> done(Bytes, M#messages{senders = Senders#{Node := {Pid, Waiting - Bytes}}});
        _ -> M
    end;
handle({look, Looking}, M = #messages{looking = Looking, mailboxes = Mailboxes}) ->
    done(0, M#messages{mailboxes = py_mailboxes:look(erlang:monotonic_time(millisecond), Mailboxes), looking = none});
handle({look, _}, M) ->
    M;
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

%% `Bytes' and `Count' of the messages that went to `Last' without a break.
all(<<Length:32, Encoded:Length/binary, Rest/binary>>, Last, Bytes, Count, M) ->
    case term(Encoded) of
        {Last, Message} when is_pid(Last) ->
            Last ! Message,
            all(Rest, Last, Bytes + cost(Message, Length), Count + 1, M);
        Term ->
            Next = one(Term, Length, counted(Last, Bytes, Count, M)),
            all(Rest, Next#messages.last, 0, 0, Next)
    end;
all(<<>>, Last, Bytes, Count, M) ->
    counted(Last, Bytes, Count, M);
all(_Malformed, Last, Bytes, Count, M) ->
    lost(malformed, counted(Last, Bytes, Count, M)).

%% An atom beyond the bound of py_atoms makes a message undeliverable. Small ones are most, and are not looked at twice.
term(Encoded = <<131, 104, 2, _/binary>>) when byte_size(Encoded) =< ?SMALL_BYTES ->
    try
        binary_to_term(Encoded, [safe])
    catch
        error:badarg -> atom_table_full
    end;
term(Encoded) ->
    case py_payload:value(Encoded) of
        {value, Term} -> Term;
        {error, {not_encodable, Why}} -> Why;
        {error, {bad_reply, _}} -> malformed
    end.

one({Pid, Message}, Bytes, M = #messages{open = Open}) when is_map_key(Pid, Open) ->
    Pid ! Message,
    counted(Pid, cost(Message, Bytes), 1, M#messages{last = Pid});
one({Destination, Message}, Bytes, M) ->
    case is_destination(Destination) of
        true -> to(Destination, Message, Bytes, M);
        false -> lost(malformed, M)
    end;
one(atom_table_full, _Bytes, M) ->
    lost(atom_table_full, M);
one(_Malformed, _Bytes, M) ->
    lost(malformed, M).

%% What a message takes where it waits.
cost(Message, _Bytes) when is_integer(Message), Message < 1 bsl 58, Message > -(1 bsl 58); is_atom(Message) ->
    ?MESSAGE_BYTES;
cost(Message, Bytes) ->
    ?MESSAGE_BYTES + Bytes + erts_debug:flat_size(Message) * ?WORD_BYTES.

counted(_Pid, _Bytes, 0, M) ->
    M;
counted(Pid, Bytes, Count, M = #messages{mailboxes = Before, open = Open, last = Last}) ->
    Mailboxes = py_mailboxes:add(Pid, Bytes, Count, Before),
    case py_mailboxes:is_holding(Mailboxes) orelse py_mailboxes:is_stuck(Pid, Mailboxes) of
        false -> M#messages{mailboxes = Mailboxes};
        true ->
            %% From now on each message to it is looked at.
            M#messages{mailboxes = Mailboxes, open = maps:remove(Pid, Open),
                       last = case Last of Pid -> none; _ -> Last end}
    end.

is_destination({Name, Node}) -> is_name(Name) andalso is_name(Node);
is_destination(Destination) -> is_pid(Destination) orelse is_name(Destination).

is_name(Name) -> is_atom(Name) orelse is_binary(Name) andalso byte_size(Name) =< ?NAME_BYTES.

to(Destination, Message, Bytes, M = #messages{frame = Frame}) when is_map_key(Destination, Frame) ->
    reached(map_get(Destination, Frame), Destination, Message, Bytes, M);
to(Destination, Message, Bytes, M = #messages{rule = Rule}) ->
    Answer = py_send:reach(Destination, Rule),
    reached(Answer, Destination, Message, Bytes, known(Destination, Answer, M)).

known(Pid, {ok, Pid}, M = #messages{open = Open, mailboxes = Mailboxes}) when is_pid(Pid), node(Pid) =:= node() ->
    case py_mailboxes:all_keep_up(Mailboxes) of
        true -> M#messages{open = (at_most(?KNOWN, Open))#{Pid => []}, last = Pid};
        false -> M
    end;
known(Destination, Answer, M = #messages{frame = Frame}) ->
    M#messages{frame = (at_most(?KNOWN, Frame))#{Destination => Answer}}.

at_most(Max, Map) when map_size(Map) < Max -> Map;
at_most(_Max, _Map) -> #{}.

reached({ok, Pid}, Destination, Message, Bytes, M) when is_pid(Pid), node(Pid) =:= node() ->
    case py_mailboxes:is_stuck(Pid, M#messages.mailboxes) of
        false ->
            Pid ! Message,
            counted(Pid, cost(Message, Bytes), 1, M);
        true ->
            ok = py_tables:count(M#messages.pool, messages_refused),
            lost({stuck, Destination}, M)
    end;
reached({ok, {_, Node} = Name}, _Destination, Message, Bytes, M) ->
    remote(Node, Name, Message, Bytes, M);
reached({ok, Pid}, _Destination, Message, Bytes, M) ->
    remote(node(Pid), Pid, Message, Bytes, M);
reached(nobody, Destination, _Message, _Bytes, M) ->
    lost({nobody, Destination}, M);
reached(Refusal, Destination, _Message, _Bytes, M = #messages{pool = Pool}) ->
    ok = py_tables:count(Pool, messages_refused),
    lost({Refusal, Destination}, M).

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
    try {spawn_link(?MODULE, send, [Owner, Node]), 0}
    catch error:system_limit -> none
    end.

%% @private
-spec send(pid(), node()) -> no_return().
send(Owner, Node) ->
    receive
        {Destination, Message, Bytes} ->
            Destination ! Message,
            Owner ! {py_messages, {sent, Node, Bytes}},
            ?MODULE:send(Owner, Node)
    end.

done(Bytes, M = #messages{done = Done, port = Port, mailboxes = Mailboxes}) ->
    case {Done + Bytes, py_mailboxes:is_holding(Mailboxes)} of
        {Enough, false} when Enough >= ?TELL_BYTES ->
            ok = py_writer:post(Port, py_protocol:messages_taken(Enough)),
            looking(M#messages{done = 0});
        {All, _} ->
            looking(M#messages{done = All})
    end.

looking(M = #messages{looking = Looking}) when Looking =/= none ->
    M;
looking(M = #messages{mailboxes = Mailboxes}) ->
    case py_mailboxes:all_keep_up(Mailboxes) of
        true -> M;
        false ->
            Looking = make_ref(),
            _ = erlang:send_after(?LOOK_EVERY_MS, self(), {py_messages, {look, Looking}}),
            M#messages{looking = Looking}
    end.

lost(Why, M = #messages{lost = Lost, is_quiet = false}) ->
    log(Why, M#messages{lost = Lost + 1});
lost(_Why, M = #messages{lost = Lost}) ->
    M#messages{lost = Lost + 1}.

log(Why, M = #messages{lost = Lost, pool = Pool}) ->
    ok = py_output:messages_lost(Pool, Lost, Why),
    _ = erlang:send_after(?LOG_EVERY_MS, self(), {py_messages, log}),
    M#messages{lost = 0, is_quiet = true}.
