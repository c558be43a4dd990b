%% @doc The part of a py_port that takes what comes from its port process: bytes, the frames in them, and what each of them
%% does. What the port process writes is hostile input (docs/security.md).
-module(py_port_input).

-include("py_port.hrl").

-export([received/2, carried/3, drain/1]).

%% What the emulator reads from a pipe at a time.
-define(READ_BYTES, 65536).
%% So many values of the largest size may wait in the mailbox: far more than an honest port sends while this process is
%% kept from its work.
-define(BACKLOG_VALUES, 8).
%% How long the large binaries of values that it has written before its death may take to be read.
-define(LAST_SEGMENTS_MS, 1000).
%% How long a process that writes that it crashes may take to end.
-define(CRASH_MS, 1000).

%% Bytes.

%% @doc Bytes have come.
-spec received(binary(), #state{}) -> #state{}.
received(Bytes, State) when byte_size(Bytes) > ?READ_BYTES div 2 ->
    %% The emulator reads whatever comes. A port that sends frames that are allowed, but faster than they can be handled,
    %% would fill the mailbox.
    case process_info(self(), message_queue_len) of
        {_, Waiting} when Waiting * ?READ_BYTES > ?BACKLOG_VALUES * State#state.max_value ->
            py_port_end:violation(<<"more than can be handled">>, State);
        _ ->
            joined(Bytes, State)
    end;
received(Bytes, State) ->
    joined(Bytes, State).

joined(Bytes, State = #state{partial = none}) ->
    frames(Bytes, State);
joined(<<>>, State) ->
    State;
joined(Bytes, State = #state{partial = Partial}) ->
    case py_wire:add(Bytes, Partial) of
        {ready, Begun, Rest} -> joined(Rest, frames(Begun, State#state{partial = none}));
        Next -> State#state{partial = Next}
    end.

frames(<<Length:32, Frame:Length/binary, Rest/binary>>, State) when Length =< ?WIRE_FRAME_BYTES ->
    case py_protocol:notice(Frame) of
        {Notice, Used} when not State#state.is_holding -> frames(Rest, notice(Notice, Used, Frame, State));
        {Notice, Used} -> frames(Rest, in_turn(Notice, Used, Frame, State));
        malformed -> py_port_end:violation(<<"a frame that is malformed: ", (some_of(Frame))/binary>>, State)
    end;
frames(<<>>, State) ->
    State;
frames(Bytes, State) ->
    case py_wire:partial(Bytes) of
        {bad, Length} ->
            py_port_end:violation(<<"a frame of ", (integer_to_binary(Length))/binary, " bytes, more than ",
                                    (integer_to_binary(?WIRE_FRAME_BYTES))/binary>>, State);
        Partial ->
            State#state{partial = Partial}
    end.

%% Frames that wait for large binaries, which are in memory that is shared, to be read.

in_turn(Notice, Used, Frame, State = #state{segments = Segments}) ->
    case is_keyed(Notice) andalso py_segments:hold(element(key_at(Notice), Notice), {Notice, Used, Frame}, Segments) of
        {Ready, Next} -> ready(Ready, State#state{segments = Next});
        too_large -> py_port_end:violation(<<"more values than may wait">>, State);
        error -> py_port_end:violation(<<"a segment that cannot be read">>, State);
        late -> py_port_end:late(<<"shared memory could not be read in time">>, State);
        _NeedNotWait -> notice(Notice, Used, Frame, State)
    end.

is_keyed(Notice) ->
    lists:member(element(1, Notice), [?OP_REPLY, ?OP_REPLY_PIECE, ?OP_ITEMS, ?OP_CALLBACK, ?OP_LARGE_MESSAGE, ?OP_ABANDONED]).

key_at({?OP_CALLBACK, _Ctx, _Id, _, _, _, _}) -> 3;
key_at(_) -> 2.

%% @doc A carrier has read, or could not.
-spec carried(reference(), [binary()] | error, #state{}) -> #state{}.
carried(_Ref, _Read, State = #state{segments = Segments}) when is_atom(Segments) ->
    State;
carried(Ref, Read, State = #state{segments = Segments}) ->
    case py_segments:carried(Ref, Read, Segments) of
        {Ready, Next} -> ready(Ready, State#state{segments = Next});
        error -> py_port_end:violation(<<"a segment that cannot be read">>, State);
        unknown ->
            ok = py_unexpected:dropped({py_carried, Ref, Read}),
            State
    end.

ready(Ready, State) ->
    Done = #state{segments = Segments} = lists:foldl(fun({{Notice, Used, Frame}, Aside}, Before) ->
        (notice(Notice, Used, Frame, Before#state{aside = Aside}))#state{aside = none}
    end, State, Ready),
    Done#state{is_holding = not py_segments:is_idle(Segments)}.

%% Notices.

notice({?OP_REPLY, Alias, Slot}, Used, Frame, State) ->
    {Payload, Next} = payload(Alias, Used, Frame, State),
    case answered(Slot, py_protocol:reply_address(Frame), Next) of
        true ->
            counters:add(State#state.calls, 1, 1),
            Alias ! {py_reply, Alias, Payload},
            served(Next);
        false ->
            %% Nothing is given back and nobody is told: it could be somebody else's.
            spend(notices, 1, <<"answers to requests that it does not have">>, Next)
    end;
notice({?OP_REPLY_PIECE, Key}, Used, Frame, State = #state{pieces = Pieces}) ->
    case py_pieces:add(Key, rest(Used, Frame), Pieces) of
        {ok, More} -> State#state{pieces = More};
        too_large -> py_port_end:violation(<<"pieces of more than a value may have (max_frame_bytes)">>, State)
    end;
notice({?OP_ITEMS, Alias}, Used, Frame, State) ->
    {Payload, Next = #state{max_value = MaxValue}} = payload(Alias, Used, Frame, State),
    %% The credit, and one item more.
    case py_owed:spend(py_protocol:reply_address(Frame), self(), py_payload:size(Payload)) of
        unknown ->
            spend(notices, 1, <<"items of streams that it does not have">>, Next);
        Left when Left > -(MaxValue + 2 * ?PIECE_BYTES) ->
            Alias ! {py_items, Alias, Payload},
            Next;
        _Overdrawn ->
            py_port_end:violation(<<"more items of a stream than it had credit for">>, Next)
    end;
notice({?OP_STARTED, Waiting}, _, _, State) ->
    lists:foldl(fun started/2, State, Waiting);
notice(Header = {?OP_CALLBACK, _Ctx, Id, _Chain, _Env, _Caller, _Function}, Used, Frame, State) ->
    {Payload, Rest} = payload(Id, Used, Frame, State),
    case State#state.phase of
        dead -> Rest;
        _ -> Rest#state{callbacks = py_callbacks:start(Header, Payload, State#state.callbacks)}
    end;
notice({?OP_MESSAGES, _Count}, Used, Frame, State = #state{messages = Messages}) ->
    State#state{messages = py_messages:frame(byte_size(Frame), rest(Used, Frame), Messages)};
notice({?OP_LARGE_MESSAGE, Key}, Used, Frame, State) ->
    {Payload, Rest} = payload(Key, Used, Frame, State),
    Bytes = byte_size(Frame) + aside_bytes(State),
    Rest#state{messages = py_messages:large(Bytes, Payload, State#state.messages)};
notice({?OP_SEGMENTS, Key, Token, Parts}, _, _, State = #state{segments = Segments}) when not is_atom(Segments) ->
    case py_segments:announced(Key, Token, Parts, Segments) of
        {ok, Next} -> spend(segments, length(Parts), <<"segments">>, State#state{segments = Next, is_holding = true});
        out_of_turn -> py_port_end:violation(<<"segments after segments whose value has not come">>, State);
        too_large -> py_port_end:violation(<<"larger values than may wait (max_frame_bytes)">>, State)
    end;
notice({?OP_SEGMENTS_FREE, Offsets}, _, _, State = #state{segments = Segments}) when not is_atom(Segments) ->
    case py_segments:freed(Offsets, Segments) of
        true -> spend(segments, length(Offsets), <<"segments given back">>, State);
        false -> py_port_end:violation(<<"segments given back that it does not have">>, State)
    end;
notice({?OP_ABANDONED, Id}, _, _, State = #state{callbacks = Callbacks, pieces = Pieces}) ->
    {_, Left} = py_pieces:take(Id, Pieces),
    spend(notices, 1, <<"abandoned callbacks">>,
          State#state{callbacks = py_callbacks:abandon(Id, Callbacks), pieces = Left});
notice({?OP_OUTPUT, Fd, Ctx, Line}, _, _, State = #state{pool = Pool, words = Words, secret = Secret}) ->
    {What, More} = py_last_words:add(Ctx, Fd, Line, Words),
    _ = What =:= hold andalso py_port_end:later(?CRASH_MS, no_crash, Secret),
    spend_all([{lines, 1}, {output, byte_size(Line)}], <<"lines of output">>, State#state{words = More},
              fun() -> What =:= log andalso py_output:line(Pool, Ctx, Fd, Line) end);
notice({?OP_OUTPUT_DROPPED, Count}, _, _, State = #state{pool = Pool}) ->
    spend(logged, 1, <<"counts of dropped lines">>, State, fun() -> py_output:dropped(Pool, Count) end);
notice({?OP_ATOMS, Names}, _, _, State = #state{pool = Pool}) ->
    spend(atoms, 1 + length(Names), <<"names of atoms">>, State, fun() -> py_atoms:admit_all(Pool, Names) end);
notice({?OP_SEGMENT_FILE, OsPid, Fd}, _, _, State = #state{phase = starting, segments = unknown, shared_memory = Idle})
  when Fd =:= none; Idle > 0 ->
    State#state{segments = share_memory(py_kill:python(OsPid, State#state.target), Fd, State)};
notice({?OP_READY, Info}, _, _, State = #state{port = Port, target = Target, phase = starting}) ->
    OsPid = py_kill:python(maps:get(os_pid, Info, none), Target),
    py_port_end:tell({ready, Info#{port => Port, os_pid => OsPid, keeper => py_kill:keeper(Target),
                       grants => py_grants:id(py_send:grants(State#state.rule))}}, State),
    State#state{python = OsPid, phase = ready, program = none};
notice({?OP_FATAL, Reason}, _, _, State = #state{phase = Phase, cause = none}) when Phase =/= ready ->
    State#state{cause = {start_failed, Reason}};
notice({?OP_STUCK, _Ctx, _Alias}, _, _, State) ->
    py_port_end:kill({killed, timeout}, State);
notice({?OP_MEMORY_LIMIT, Resident, Limit}, _, _, State = #state{pool = Pool, cause = none}) ->
    py_output:memory_limit(Pool, Resident, Limit),
    %% It kills itself; one that only says so is killed.
    py_port_end:kill({killed, memory_limit}, State);
notice({?OP_REFUSED, Reason}, _, _, State = #state{pool = Pool}) ->
    spend(logged, 1, <<"refused frames">>, State, fun() -> py_output:refused(Pool, Reason) end);
notice(_, _, _, State = #state{phase = dead}) ->
    State;
notice({?OP_MEMORY_LIMIT, _, _}, _, _, State) ->
    State;
notice(Notice, _, _, State) ->
    py_port_end:broken(<<"a frame out of turn, operation ", (integer_to_binary(element(1, Notice)))/binary>>, State).

%% Once, and before any code of users has run there: the port program says so in any case.
share_memory(_OsPid, none, _State) ->
    none;
share_memory(OsPid, Fd, #state{port = Port, shared_memory = Idle, max_value = MaxValue, is_shared = IsShared}) ->
    Opened = case OsPid of
        none -> {error, not_its_process};
        _ -> py_segments:open(Port, OsPid, Fd, Idle div 2, MaxValue, IsShared)
    end,
    ok = py_writer:post(Port, py_protocol:segments_opened(element(1, Opened) =:= ok)),
    case Opened of
        {ok, Segments} -> Segments;
        {error, _} -> none
    end.

answered(0, Address, _State) ->
    py_owed:take(Address, self());
answered(Slot, Address, #state{limit = Limit, id = Id}) ->
    case py_slots:answered(Limit, Slot, Address, Id) of
        plain -> true;
        %% It is in both places, and may have been answered as if it had no slot.
        stream -> py_owed:take(Address, self());
        %% One that said before that it goes on without its slot.
        unknown -> py_owed:take(Address, self())
    end.

started(Slot, State = #state{limit = Limit, id = Id}) ->
    case Slot > 0 andalso py_slots:started(Limit, Slot, Id) of
        {plain, Address} ->
            ok = py_owed:add(Address, self()),
            State;
        {stream, _Address} ->
            State;
        _Unknown ->
            spend(notices, 1, <<"slots given back that it does not have">>, State)
    end.

%% What follows the header, with the pieces that came before.
payload(Key, Used, Frame, State = #state{aside = {Token, Binaries}}) ->
    {Payload, Next} = payload(Key, Used, Frame, State#state{aside = none}),
    {py_payload:with_segments(Payload, Token, Binaries), Next};
payload(Key, Used, Frame, State = #state{pieces = Pieces}) ->
    case py_pieces:take(Key, Pieces) of
        {[], _} -> {py_wire:own(rest(Used, Frame)), State};
        {Reversed, Left} -> {lists:reverse(Reversed, [py_wire:own(rest(Used, Frame))]), State#state{pieces = Left}}
    end.

aside_bytes(#state{aside = none}) -> 0;
aside_bytes(#state{aside = {_Token, Binaries}}) -> lists:sum([byte_size(Binary) || Binary <- Binaries]).

rest(Used, Frame) ->
    <<_:Used/binary, Payload/binary>> = Frame,
    Payload.

spend(Kind, Cost, What, State) ->
    spend(Kind, Cost, What, State, fun() -> ok end).

spend(Kind, Cost, What, State, Do) ->
    spend_all([{Kind, Cost}], What, State, Do).

%% What costs the node something: it is done as often as an honest port needs it.
spend_all(Costs, What, State = #state{allowance = Allowance}, Do) ->
    case py_allowance:spend(Costs, erlang:monotonic_time(millisecond), Allowance) of
        {pass, Left} ->
            _ = Do(),
            State#state{allowance = Left};
        {drop, Left} -> State#state{allowance = Left};
        exceeded -> py_port_end:violation(<<"too many ", What/binary>>, State)
    end.

some_of(Frame) ->
    list_to_binary(io_lib:format("~w", [binary:part(Frame, 0, min(16, byte_size(Frame)))])).

served(State = #state{left = infinity}) ->
    State;
served(State = #state{left = 1}) ->
    py_port_end:tell(recycle, State),
    State#state{left = 0};
served(State = #state{left = Left}) ->
    State#state{left = Left - 1}.

%% @doc What it wrote before it died may still be in our mailbox.
-spec drain(#state{}) -> #state{}.
drain(State = #state{port = Port}) ->
    receive
        {Port, {data, Bytes}} -> drain(received(Bytes, State#state{phase = dead}))
    after 0 ->
        read_last(State#state{phase = dead})
    end.

read_last(State = #state{is_holding = false}) ->
    State;
read_last(State) ->
    receive
        {py_carried, Ref, Read} -> read_last(carried(Ref, Read, State))
    after ?LAST_SEGMENTS_MS ->
        State
    end.
