%% @doc Owns one OS process of a pool, from its start to its death.
%%
%% It starts the port program and shakes hands, passes replies on to the callers without decoding them, gives their
%% slots back, starts what Python calls (py_callbacks), hands on what it sends (py_messages), and knows what the port
%% died of. Requests do not come through here: callers write to the port themselves, and monitor this process, so its
%% death is the news of the port's.
%%
%% What comes from the port is hostile input (docs/security.md): a frame that is malformed, or that this port may not
%% send, is its end, and reaches nobody else.
%%
%% A special process and not a gen_server: every reply of the pool passes through it.
-module(py_port).

-include("py_protocol.hrl").

%% API.
-export([start_link/1, stop/1, condemn/2, expect/2, violated/2, why/1]).
%% Control operations on a context; the answer is an ordinary reply to the alias that they return.
-export([new_context/5, stop_context/3, control/3]).
%% proc_lib and sys.
-export([init/2, system_continue/3, system_terminate/4, system_code_change/4]).

-export_type([options/0, why/0]).

%% `manager' gets `{py_port, self(), {ready, Info} | {failed, Reason} | {died, Why, LastLines} | recycle}'.
-type options() :: #{
    pool := atom(),
    manager := pid(),
    executable := file:filename_all(),
    config := map(),
    env := [{string(), string() | false}],
    cwd := binary() | none,
    grace := pos_integer() | infinity,
    shutdown_grace := pos_integer(),
    shared_memory := non_neg_integer(),
    max_requests := pos_integer() | infinity,
    calls := counters:counters_ref(),
    send := py_send:options()
}.
%% What a port process died of.
-type why() ::
    stopped | {exit_status, non_neg_integer()} | {signal, atom()} | {start_failed, term()}
    | {killed, timeout | memory_limit | bad_frame | unhealthy}.

%% Python with a cold disk cache starts in a few seconds; after this long it hangs.
-define(START_MS, 60000).
%% How long a port may take to answer STATS, which its loop thread does without Python.
-define(SIGN_OF_LIFE_MS, 1000).
%% How long a process that writes that it crashes may take to end.
-define(CRASH_MS, 1000).
%% How long the exit status may take after the end of its output, before the process is killed.
-define(EXIT_STATUS_MS, 1000).
%% How long the emulator may take to report the end of a process that was killed. Somebody outside the pool may hold the
%% other end of its pipes; then it never does.
-define(GONE_MS, 5000).
%% What the emulator reads from a pipe at a time.
-define(READ_BYTES, 65536).
%% A binary up to this size is copied with a message.
-define(HEAP_BINARY_BYTES, 64).
%% So many values of the largest size may wait in the mailbox: far more than an honest port sends while this process is
%% kept from its work.
-define(BACKLOG_VALUES, 8).
%% How long the large binaries of values that it has written before its death may take to be read.
-define(LAST_SEGMENTS_MS, 1000).
%% How often to look whether the process is still there.
-define(LOOK_MS, 10000).
-define(LOOK_AGAIN_MS, 1000).

-record(state, {
    port :: port(),
    writer :: pid(),                        % py_writer
    secret :: reference(),                  % in the messages of our own timers
    id :: py_pid:id(),                    % of this process
    limit :: py_slots:limit(),
    calls :: counters:counters_ref(),
    left :: integer() | infinity,           % requests until it is to be recycled
    partial = none :: none | py_wire:partial(),
    pieces :: py_pieces:pieces(),
    shared_memory :: non_neg_integer(),     % that may be idle
    segments = none :: none | py_segments:segments(),
    is_holding = false :: boolean(),        % frames that wait for segments
    aside = none :: none | {non_neg_integer(), [binary()]}, % of the payload of the frame in hand
    max_value :: pos_integer(),             % max_frame_bytes
    allowance = py_allowance:new() :: py_allowance:allowance(),
    callbacks :: py_callbacks:callbacks(),
    messages :: py_messages:messages(),
    rule :: py_send:rule(),                 % whom Python may send to
    pool :: atom(),
    parent :: pid(),
    manager :: pid(),
    target :: py_kill:target(),
    python = none :: none | pos_integer(),  % its OS process
    grace :: pos_integer() | infinity,
    shutdown_grace :: pos_integer(),
    phase = starting :: starting | ready | dead,
    program = none :: none | py_port_program:program(),     % until it is ready
    cause = none :: none | why(),           % why it is about to die, when we know before it does
    words = py_last_words:new() :: py_last_words:words(),
    probe = none :: none | reference(),     % a STATS that is out
    probe_timer = none :: none | reference()
}).

%% API.

-spec start_link(options()) -> {ok, pid()} | {error, term()}.
start_link(Options) ->
    %% off_heap: thousands of replies may be waiting, and no collection of the process should look at them.
    proc_lib:start_link(?MODULE, init, [self(), Options], infinity, [{message_queue_data, off_heap}]).

%% @doc Ends the port process. Returns when nobody is answered any more; its Python has `shutdown_grace' from then on
%% (py_ending).
-spec stop(pid()) -> ok.
stop(Owner) ->
    Monitor = monitor(process, Owner),
    Owner ! py_stop,
    receive
        {'DOWN', Monitor, process, _, _} -> ok
    end.

%% @doc Kills the port process, at once; everybody learns of this cause, `{killed, timeout}' when it takes no input.
-spec condemn(pid(), unhealthy | takes_no_input) -> ok.
condemn(Owner, Cause) ->
    Owner ! {py_kill, Cause},
    ok.

%% @doc Within this time and `hard_timeout_grace' the port must have done something: it will be asked for a sign of
%% life, and killed when it gives none.
-spec expect(pid(), timeout()) -> ok.
expect(_Owner, infinity) ->
    ok;
expect(Owner, Ms) ->
    Owner ! {py_expect, Ms},
    ok.

%% @doc Somebody has found out that the port does not answer as it must: it is killed. Returns the error for who asked.
-spec violated(pid(), binary()) -> {error, {context_died, why()}}.
violated(Owner, What) ->
    Owner ! {py_violated, What},
    {error, {context_died, {killed, bad_frame}}}.

%% @doc What a process that exited with this reason, or that it watched, died of.
-spec why(term()) -> why().
why({shutdown, {port_died, Why}}) -> Why;
why({shutdown, {context_died, Why}}) -> Why;
why(_) -> stopped.

%% @doc Asks for a new context. The calling process gets `{py_reply, Alias, Payload}', or `DOWN'.
-spec new_context(pid(), port(), pos_integer(), worker | owngil, [binary()]) -> reference().
new_context(Owner, Port, Id, Mode, Preload) ->
    control(Owner, Port, fun(Alias) -> py_protocol:new_context(Alias, Id, Mode, Preload) end).

-spec stop_context(pid(), port(), pos_integer()) -> reference().
stop_context(Owner, Port, Id) ->
    control(Owner, Port, fun(Alias) -> py_protocol:stop_context(Alias, Id) end).

%% @doc Sends a control frame. A port that is gone is answered for by `DOWN'.
-spec control(pid(), port(), fun((reference()) -> binary())) -> reference().
control(Owner, Port, Frame) ->
    Alias = monitor(process, Owner, [{alias, reply_demonitor}]),
    ok = py_owed:add(py_protocol:alias_address(Alias), Owner),
    ok = py_writer:post(Port, Frame(Alias)),
    Alias.

%% Start.

-spec init(pid(), options()) -> no_return().
init(Parent, Options = #{pool := Pool, manager := Manager}) ->
    process_flag(trap_exit, true),
    Mark = py_kill:mark(),
    case py_port_program:open(Options, Mark) of
        {error, Reason} ->
            refuse_start(Parent, Reason);
        {ok, Port} ->
            Functions = py_functions:names(),
            Config = (maps:get(config, Options))#{functions => Functions},
            Writer = py_writer:start_link(Port),
            ok = py_writer:post(Port, py_protocol:init(Config)),
            ok = py_functions:add_port(self(), Port, Functions),
            Rule = py_send:new(Pool, maps:get(send, Options)),
            Secret = make_ref(),
            _ = later(?START_MS, start_timeout, Secret),
            _ = later(?LOOK_MS, {look, there}, Secret),
            proc_lib:init_ack(Parent, {ok, self()}),
            loop(#state{
                port = Port,
                writer = Writer,
                secret = Secret,
                id = py_pid:self_id(),
                limit = py_limits:limit(Pool),
                pieces = py_pieces:new(maps:get(max_value_bytes, Config)),
                max_value = maps:get(max_value_bytes, Config),
                shared_memory = maps:get(shared_memory, Options),
                callbacks = py_callbacks:new(Port, Rule, maps:get(max_callbacks, Config)),
                messages = py_messages:new(Port, Pool, Rule),
                rule = Rule,
                calls = maps:get(calls, Options),
                left = maps:get(max_requests, Options),
                pool = Pool,
                parent = Parent,
                manager = Manager,
                program = py_port_program:program(Options),
                target = py_kill:target(Port, Mark),
                shutdown_grace = maps:get(shutdown_grace, Options),
                grace = maps:get(grace, Options)})
    end.

-spec refuse_start(pid(), term()) -> no_return().
refuse_start(Parent, Reason) ->
    unlink(Parent),
    proc_lib:init_ack(Parent, {error, Reason}),
    exit(normal).

loop(State = #state{port = Port, parent = Parent}) ->
    receive
        {Port, {data, Bytes}} ->
            loop(received(Bytes, State));
        {Port, {exit_status, Status}} ->
            Drained = drain(State),
            died(py_port_program:failure(cause(Status, State), State#state.program), Drained);
        {Port, eof} ->
            %% The emulator reports it together with the exit status.
            _ = later(?EXIT_STATUS_MS, no_exit_status, State#state.secret),
            loop(State);
        {'EXIT', Port, Reason} ->
            %% The write of a caller failed before the exit status was known: a port program whose outer keeper was killed.
            died(cause({port_closed, Reason}, State), drain(State));
        {'EXIT', Parent, Reason} ->
            terminate(Reason, State);
        {'EXIT', Writer, _} when Writer =:= State#state.writer ->
            %% Somebody has killed it, and with it what it had to write.
            terminate({shutdown, {port_died, stopped}}, State);
        {'EXIT', Pid, Reason} ->
            loop(ended(Pid, Reason, State));
        {py_carried, Ref, Read} when is_reference(Ref) ->
            loop(carried(Ref, Read, State));
        {py_messages, Event} when Event =:= log; element(1, Event) =:= look; element(1, Event) =:= sent, is_integer(element(3, Event)) ->
            loop(State#state{messages = py_messages:handle(Event, State#state.messages)});
        {py_expect, Ms} when is_integer(Ms), Ms >= 0, Ms =< 16#ffffffff ->
            loop(arm_probe(Ms, State));
        {py_reply, Probe, _} when is_reference(Probe), Probe =:= State#state.probe ->
            loop(end_probe(State));
        {Secret, Time} when Secret =:= State#state.secret ->
            loop(timer(Time, State));
        {py_violated, What} when is_binary(What) ->
            loop(violation(What, State));
        {py_kill, unhealthy} ->
            loop(kill({killed, unhealthy}, State));
        {py_kill, takes_no_input} ->
            ok = py_output:takes_no_input(State#state.pool),
            loop(kill({killed, timeout}, State));
        py_stop ->
            terminate({shutdown, {port_died, stopped}}, State);
        {system, From, Request} ->
            sys:handle_system_msg(Request, From, Parent, ?MODULE, [], State);
        {py_reply, _, _} ->
            %% To a probe that is awaited no more.
            loop(State);
        Other ->
            ok = py_unexpected:dropped(Other),
            loop(State)
    end.

%% Our own timers. Their messages have a secret, so that nobody else's is taken for one.

later(Ms, Time, Secret) ->
    erlang:send_after(Ms, self(), {Secret, Time}).

timer(probe, State) -> probe(State);
timer(no_sign_of_life, State) -> kill({killed, timeout}, State);
timer(no_exit_status, State) -> kill({signal, sigkill}, State);
timer(gone, State) -> died(cause({port_closed, gone}, State), State);
timer({look, Before}, State) -> look(Before, State);
timer(no_crash, State = #state{pool = Pool, words = Words}) ->
    {Lines, Rest} = py_last_words:release(Words),
    lists:foreach(fun(Line) -> py_output:line(Pool, 0, 2, Line) end, Lines),
    State#state{words = Rest};
timer(start_timeout, State = #state{phase = starting}) -> kill({start_failed, timeout}, State);
timer(start_timeout, State) -> State.

%% Bytes.

received(Bytes, State) when byte_size(Bytes) > ?READ_BYTES div 2 ->
    %% The emulator reads whatever comes. A port that sends frames that are allowed, but faster than they can be handled,
    %% would fill the mailbox.
    case process_info(self(), message_queue_len) of
        {_, Waiting} when Waiting * ?READ_BYTES > ?BACKLOG_VALUES * State#state.max_value ->
            violation(<<"more than can be handled">>, State);
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
        malformed -> violation(<<"a frame that is malformed: ", (some_of(Frame))/binary>>, State)
    end;
frames(<<>>, State) ->
    State;
frames(Bytes, State) ->
    case py_wire:partial(Bytes) of
        {bad, Length} ->
            violation(<<"a frame of ", (integer_to_binary(Length))/binary, " bytes, more than ",
                        (integer_to_binary(?WIRE_FRAME_BYTES))/binary>>, State);
        Partial ->
            State#state{partial = Partial}
    end.

%% Frames that wait for large binaries, which are in memory that is shared, to be read.

in_turn(Notice, Used, Frame, State = #state{segments = Segments}) ->
    case is_keyed(Notice) andalso py_segments:hold(element(key_at(Notice), Notice), {Notice, Used, Frame}, Segments) of
        {Ready, Next} -> ready(Ready, State#state{segments = Next});
        too_large -> violation(<<"more values than may wait">>, State);
        error -> violation(<<"a segment that cannot be read">>, State);
        _NeedNotWait -> notice(Notice, Used, Frame, State)
    end.

is_keyed(Notice) ->
    lists:member(element(1, Notice), [?OP_REPLY, ?OP_REPLY_PIECE, ?OP_ITEMS, ?OP_CALLBACK, ?OP_LARGE_MESSAGE, ?OP_ABANDONED]).

key_at({?OP_CALLBACK, _Ctx, _Id, _, _, _, _}) -> 3;
key_at(_) -> 2.

carried(_Ref, _Read, State = #state{segments = none}) ->
    State;
carried(Ref, Read, State = #state{segments = Segments}) ->
    case py_segments:carried(Ref, Read, Segments) of
        {Ready, Next} -> ready(Ready, State#state{segments = Next});
        error -> violation(<<"a segment that cannot be read">>, State)
    end.

ready(Ready, State) ->
    Done = #state{segments = Segments} = lists:foldl(fun({{Notice, Used, Frame}, Aside}, Before) ->
        (notice(Notice, Used, Frame, Before#state{aside = Aside}))#state{aside = none}
    end, State, Ready),
    Done#state{is_holding = not py_segments:is_idle(Segments)}.

%% Notices.

notice({?OP_REPLY, Alias, Slot}, Used, Frame, State) ->
    {Payload, Next} = payload(Alias, Used, Frame, State),
    %% A small tuple of a small integer and the alias.
    Address = py_protocol:address(Frame, 5),
    case answered(Slot, Address, Next) of
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
        too_large -> violation(<<"pieces of more than a value may have (max_frame_bytes)">>, State)
    end;
notice({?OP_ITEMS, Alias}, Used, Frame, State) ->
    {Payload, Next = #state{max_value = MaxValue}} = payload(Alias, Used, Frame, State),
    %% The credit, and one item more.
    case py_owed:spend(py_protocol:address(Frame, 5), self(), py_payload:size(Payload)) of
        unknown ->
            spend(notices, 1, <<"items of streams that it does not have">>, Next);
        Left when Left > -(MaxValue + 2 * ?PIECE_BYTES) ->
            Alias ! {py_items, Alias, Payload},
            Next;
        _Overdrawn ->
            violation(<<"more items of a stream than it had credit for">>, Next)
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
notice({?OP_SEGMENTS, Key, Token, Parts}, _, _, State = #state{segments = Segments}) when Segments =/= none ->
    case py_segments:announced(Key, Token, Parts, Segments) of
        {ok, Next} -> State#state{segments = Next, is_holding = true};
        too_large -> violation(<<"larger values than may wait (max_frame_bytes)">>, State)
    end;
notice({?OP_SEGMENTS_FREE, Offsets}, _, _, State = #state{segments = Segments}) when Segments =/= none ->
    case py_segments:freed(Offsets, Segments) of
        true -> State;
        false -> violation(<<"segments given back that it does not have">>, State)
    end;
notice({?OP_ABANDONED, Id}, _, _, State = #state{callbacks = Callbacks, pieces = Pieces}) ->
    {_, Left} = py_pieces:take(Id, Pieces),
    spend(notices, 1, <<"abandoned callbacks">>,
          State#state{callbacks = py_callbacks:abandon(Id, Callbacks), pieces = Left});
notice({?OP_OUTPUT, Fd, Ctx, Line}, _, _, State = #state{pool = Pool, words = Words, secret = Secret}) ->
    {What, More} = py_last_words:add(Ctx, Fd, Line, Words),
    _ = What =:= hold andalso later(?CRASH_MS, no_crash, Secret),
    spend_all([{lines, 1}, {output, byte_size(Line)}], <<"lines of output">>, State#state{words = More},
              fun() -> What =:= log andalso py_output:line(Pool, Ctx, Fd, Line) end);
notice({?OP_OUTPUT_DROPPED, Count}, _, _, State = #state{pool = Pool}) ->
    spend(logged, 1, <<"counts of dropped lines">>, State, fun() -> py_output:dropped(Pool, Count) end);
notice({?OP_ATOMS, Names}, _, _, State = #state{pool = Pool}) ->
    spend(atoms, 1 + length(Names), <<"names of atoms">>, State, fun() -> py_atoms:admit_all(Pool, Names) end);
notice({?OP_SEGMENT_FILE, OsPid, Fd}, _, _, State = #state{phase = starting, segments = none, shared_memory = Idle}) when Idle > 0 ->
    share_memory(py_kill:python(OsPid, State#state.target), Fd, State);
notice({?OP_READY, Info}, _, _, State = #state{port = Port, target = Target, phase = starting}) ->
    OsPid = py_kill:python(maps:get(os_pid, Info, none), Target),
    tell({ready, Info#{port => Port, os_pid => OsPid, keeper => py_kill:keeper(Target),
                       grants => py_send:grants(State#state.rule)}}, State),
    State#state{python = OsPid, phase = ready, program = none};
notice({?OP_FATAL, Reason}, _, _, State = #state{phase = Phase, cause = none}) when Phase =/= ready ->
    State#state{cause = {start_failed, Reason}};
notice({?OP_STUCK, _Ctx, _Alias}, _, _, State) ->
    kill({killed, timeout}, State);
notice({?OP_MEMORY_LIMIT, Resident, Limit}, _, _, State = #state{pool = Pool, cause = none}) ->
    py_output:memory_limit(Pool, Resident, Limit),
    %% It kills itself; one that only says so is killed.
    kill({killed, memory_limit}, State);
notice({?OP_REFUSED, Reason}, _, _, State = #state{pool = Pool}) ->
    spend(logged, 1, <<"refused frames">>, State, fun() -> py_output:refused(Pool, Reason) end);
notice(_, _, _, State = #state{phase = dead}) ->
    State;
notice({?OP_MEMORY_LIMIT, _, _}, _, _, State) ->
    State;
notice(Notice, _, _, State) ->
    broken(<<"a frame out of turn, operation ", (integer_to_binary(element(1, Notice)))/binary>>, State).

%% Once, and before any code of users has run there.
share_memory(OsPid, Fd, State = #state{port = Port, shared_memory = Idle, max_value = MaxValue}) ->
    Opened = case OsPid of
        none -> {error, not_its_process};
        _ -> py_segments:open(Port, OsPid, Fd, Idle div 2, MaxValue)
    end,
    ok = py_writer:post(Port, py_protocol:segments_opened(element(1, Opened) =:= ok)),
    case Opened of
        {ok, Segments} -> State#state{segments = Segments, shared_memory = 0};
        {error, _} -> State#state{shared_memory = 0}
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
        {[], _} -> {own(rest(Used, Frame)), State};
        {Reversed, Left} -> {lists:reverse(Reversed, [rest(Used, Frame)]), State#state{pieces = Left}}
    end.

aside_bytes(#state{aside = none}) -> 0;
aside_bytes(#state{aside = {_Token, Binaries}}) -> lists:sum([byte_size(Binary) || Binary <- Binaries]).

%% A part of what was read at once keeps all of that alive, and counts as all of it in whoever gets it: who gets many such
%% parts would collect garbage all the time.
own(Payload) when byte_size(Payload) =< ?HEAP_BINARY_BYTES ->
    binary:copy(Payload);
own(Payload) ->
    case binary:referenced_byte_size(Payload) > 2 * byte_size(Payload) of
        true -> binary:copy(Payload);
        false -> Payload
    end.

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
        exceeded -> violation(<<"too many ", What/binary>>, State)
    end.

%% The end of the port process, at once: nothing more of what it says is read. One that has died had written it before.
-spec violation(binary(), #state{}) -> #state{}.
violation(_What, State = #state{phase = dead}) ->
    State;
violation(What, State) ->
    broken(What, State).

-spec broken(binary(), #state{}) -> no_return().
broken(What, State = #state{pool = Pool}) ->
    ok = py_output:violation(Pool, What),
    died({killed, bad_frame}, State#state{cause = {killed, bad_frame}}).

some_of(Frame) ->
    list_to_binary(io_lib:format("~w", [binary:part(Frame, 0, min(16, byte_size(Frame)))])).

%% A process that is linked to us, which others than ours may be.
ended(Pid, Reason, State = #state{callbacks = Callbacks, messages = Messages, segments = Segments}) ->
    %% Somebody has killed it, and with it what was being read.
    _ = Segments =/= none andalso py_segments:is_carrier(Pid, Segments) andalso
        terminate({shutdown, {port_died, stopped}}, State),
    case py_callbacks:ended(Pid, Reason, Callbacks) of
        unknown -> State#state{messages = py_messages:ended(Pid, Messages)};
        Left -> State#state{callbacks = Left}
    end.

served(State = #state{left = infinity}) ->
    State;
served(State = #state{left = 1}) ->
    tell(recycle, State),
    State#state{left = 0};
served(State = #state{left = Left}) ->
    State#state{left = Left - 1}.

tell(What, #state{manager = Manager}) ->
    Manager ! {py_port, self(), What},
    ok.

%% The watch on a port that gives no sign of life. One probe at a time is enough: it is about the port, not the request.

arm_probe(_Ms, State = #state{grace = infinity}) ->
    State;
arm_probe(Ms, State = #state{probe = none, probe_timer = none, grace = Grace}) ->
    State#state{probe_timer = later(Ms + Grace, probe, State#state.secret)};
arm_probe(Ms, State = #state{probe = none, probe_timer = Timer, grace = Grace}) ->
    case erlang:read_timer(Timer) of
        Left when is_integer(Left), Left > Ms + Grace ->
            _ = erlang:cancel_timer(Timer),
            State#state{probe_timer = later(Ms + Grace, probe, State#state.secret)};
        _ ->
            State
    end;
arm_probe(_Ms, State) ->
    State.

probe(State = #state{port = Port}) ->
    Ref = alias([reply]),
    ok = py_owed:add(py_protocol:alias_address(Ref), self()),
    %% When the port takes no input, so that this waits too, there is no answer.
    ok = py_writer:post(Port, py_protocol:stats(Ref)),
    State#state{probe = Ref, probe_timer = later(?SIGN_OF_LIFE_MS, no_sign_of_life, State#state.secret)}.

end_probe(State = #state{probe_timer = Timer, secret = Secret}) ->
    _ = erlang:cancel_timer(Timer, [{async, true}, {info, false}]),
    receive {Secret, no_sign_of_life} -> ok after 0 -> ok end,
    State#state{probe = none, probe_timer = none}.

%% Its end, and that of all that it has started.
kill(Cause, State = #state{target = Target, cause = Known}) ->
    py_kill:all(Target),
    _ = later(?GONE_MS, gone, State#state.secret),
    State#state{cause = case Known of none -> Cause; _ -> Known end, probe = none, probe_timer = none}.

%% The emulator reports the end of the port program when its outer keeper reports it and the last holder of its output is
%% gone: the one may have been stopped, the other may be outside the pool. Twice not there: no report is on its way.
look(Before, State = #state{target = Target, python = Python}) ->
    case {Before, py_kill:is_whole(Target, Python)} of
        {missing, false} ->
            kill({signal, sigkill}, State);
        {there, false} ->
            _ = later(?LOOK_AGAIN_MS, {look, missing}, State#state.secret),
            State;
        {_, true} ->
            _ = later(?LOOK_MS, {look, there}, State#state.secret),
            State
    end.

cause(_Status, #state{cause = Known}) when Known =/= none -> Known;
cause({port_closed, _Reason}, _) -> {signal, sigkill};
cause(Status, _) -> py_exit_status:why(Status).

%% What it wrote before it died may still be in our mailbox.
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

-spec died(why(), #state{}) -> no_return().
died(Cause, State = #state{port = Port, words = Words, target = Target, cause = Known}) ->
    Why = case Known of
        none -> Cause;
        _ -> Known
    end,
    closed(State),
    close_port(Port),
    py_kill:all(Target),
    tell({died, Why, py_last_words:all(Words)}, State),
    exit({shutdown, {port_died, Why}}).

-spec terminate(term(), #state{}) -> no_return().
terminate(Reason, State = #state{port = Port, target = Target, phase = Phase}) ->
    closed(State),
    case Phase of
        ready ->
            #state{pool = Pool, python = Python, shutdown_grace = Grace, partial = Partial, words = Words} = State,
            ok = py_ending:take(Port, #{pool => Pool, owner => self(), target => Target, python => Python, grace => Grace,
                                        partial => Partial, words => Words});
        _ ->
            close_port(Port),
            py_kill:all_later(Target)
    end,
    case Reason of
        {shutdown, {port_died, _}} -> exit(Reason);
        _ -> exit({shutdown, {port_died, stopped}})
    end.

close_port(Port) ->
    try port_close(Port) of
        true -> ok
    catch
        error:badarg -> ok
    end.

closed(#state{callbacks = Callbacks}) ->
    ok = py_functions:remove_port(self()),
    ok = py_owed:forget(self()),
    ok = py_callbacks:close(Callbacks).

%% sys.

-spec system_continue(pid(), [sys:dbg_opt()], #state{}) -> no_return().
system_continue(_Parent, _Debug, State) ->
    loop(State).

-spec system_terminate(term(), pid(), [sys:dbg_opt()], #state{}) -> no_return().
system_terminate(Reason, _Parent, _Debug, State) ->
    terminate(Reason, State).

-spec system_code_change(#state{}, module(), term(), term()) -> {ok, #state{}}.
system_code_change(State, _Module, _OldVersion, _Extra) ->
    {ok, State}.
