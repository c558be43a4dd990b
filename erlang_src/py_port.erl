%% @doc Owns one OS process of a pool, from its start to its death.
%%
%% It starts the port program and shakes hands, passes replies on to the callers without decoding them, gives their
%% slots back, starts what Python calls (py_callbacks), hands on what it sends (py_messages), and knows what the port
%% died of. Requests do not come through here: callers write to the port themselves, and monitor this process, so its
%% death is the news of the port's.
%%
%% A special process and not a gen_server: every reply of the pool passes through it.
-module(py_port).

-include("py_protocol.hrl").

%% API.
-export([start_link/1, stop/1, expect/2, write/2, why/1]).
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
    max_requests := pos_integer() | infinity,
    calls := counters:counters_ref()
}.
%% What a port process died of.
-type why() ::
    stopped | {exit_status, non_neg_integer()} | {signal, atom()} | {killed, timeout | memory_limit} | {start_failed, term()}.

%% Python with a cold disk cache starts in a few seconds; after this long it hangs.
-define(START_MS, 60000).
%% How long a port may take to answer STATS, which its loop thread does without Python.
-define(SIGN_OF_LIFE_MS, 1000).
%% Of what the port wrote last, for the log line about its death.
-define(LAST_LINES, 10).

-record(state, {
    port :: port(),
    slots :: py_slots:ref(),
    calls :: counters:counters_ref(),
    left :: integer() | infinity,           % requests until it is to be recycled
    %% By alias, or the number of a callback or a message; newest first.
    pieces = #{} :: #{reference() | integer() => [binary()]},
    callbacks :: py_callbacks:callbacks(),
    messages :: py_messages:messages(),
    pool :: atom(),
    parent :: pid(),
    manager :: pid(),
    os_pid :: none | pos_integer(),
    grace :: pos_integer() | infinity,
    phase = starting :: starting | ready,
    cause = none :: none | why(),           % why it is about to die, when we know before it does
    lines = [] :: [binary()],               % newest first
    probe = none :: none | reference(),     % a STATS that is out
    probe_timer = none :: none | reference()
}).

%% API.

-spec start_link(options()) -> {ok, pid()} | {error, term()}.
start_link(Options) ->
    %% off_heap: thousands of replies may be waiting, and no collection of the process should look at them.
    proc_lib:start_link(?MODULE, init, [self(), Options], infinity, [{message_queue_data, off_heap}]).

%% @doc Ends the port process: it sees the end of its input and leaves. Returns when the Erlang side is gone.
-spec stop(pid()) -> ok.
stop(Owner) ->
    Monitor = monitor(process, Owner),
    Owner ! py_stop,
    receive
        {'DOWN', Monitor, process, _, _} -> ok
    end.

%% @doc Within this time and `hard_timeout_grace' the port must have done something: it will be asked for a sign of
%% life, and killed when it gives none.
-spec expect(pid(), timeout()) -> ok.
expect(_Owner, infinity) ->
    ok;
expect(Owner, Ms) ->
    Owner ! {py_expect, Ms},
    ok.

%% @doc Writes without ever waiting: while the port does not keep up, a process of its own waits. Frames may overtake
%% each other then.
-spec write(port(), binary()) -> ok.
write(Port, Frame) ->
    try erlang:port_command(Port, Frame, [nosuspend]) of
        true -> ok;
        false ->
            _ = spawn(fun() -> write_when_free(Port, Frame) end),
            ok
    catch
        error:badarg -> ok
    end.

write_when_free(Port, Frame) ->
    try erlang:port_command(Port, Frame) of
        true -> ok
    catch
        error:badarg -> ok
    end.

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
    try erlang:port_command(Port, Frame(Alias)) of
        true -> Alias
    catch
        error:badarg -> Alias
    end.

%% Start.

-spec init(pid(), options()) -> no_return().
init(Parent, Options = #{pool := Pool, manager := Manager, executable := Executable, env := Env, cwd := Cwd}) ->
    process_flag(trap_exit, true),
    %% The emulator's own answer would be a line on the node's standard error and the exit status 2.
    Cwd =:= none orelse filelib:is_dir(Cwd) orelse
        refuse_start(Parent, <<"cwd ", Cwd/binary, " is not a directory (pool option cwd)">>),
    Settings = [
        {packet, 4}, binary, exit_status, use_stdio, hide,
        {args, [native(atom_to_list(Pool))]}, {env, [{native(Name), native(Value)} || {Name, Value} <- Env]},
        %% OTP issue 11052: the default limits on the port's message queue can leave it busy for ever.
        {busy_limits_port, {262144, 524288}}, {busy_limits_msgq, disabled}
        | [{cd, Cwd} || Cwd =/= none]],
    try open_port({spawn_executable, Executable}, Settings) of
        Port ->
            Functions = py_functions:names(),
            port_command(Port, py_protocol:init((maps:get(config, Options))#{functions => Functions})),
            ok = py_functions:add_port(self(), Port, Functions),
            _ = erlang:send_after(?START_MS, self(), start_timeout),
            proc_lib:init_ack(Parent, {ok, self()}),
            loop(#state{
                port = Port,
                slots = py_slots:ref(),
                callbacks = py_callbacks:new(Port),
                messages = py_messages:new(Port, Pool),
                calls = maps:get(calls, Options),
                left = maps:get(max_requests, Options),
                pool = Pool,
                parent = Parent,
                manager = Manager,
                os_pid = os_pid(Port),
                grace = maps:get(grace, Options)})
    catch
        error:Reason -> refuse_start(Parent, {port_program, Executable, Reason})
    end.

-spec refuse_start(pid(), term()) -> no_return().
refuse_start(Parent, Reason) ->
    unlink(Parent),
    proc_lib:init_ack(Parent, {error, Reason}),
    exit(normal).

%% What makes open_port hand out UTF-8, which Python expects, also where the locale made the node count in Latin-1.
native(Text) when is_list(Text) ->
    case file:native_name_encoding() of
        latin1 -> binary_to_list(unicode:characters_to_binary(Text));
        utf8 -> Text
    end;
native(false) -> false.

os_pid(Port) ->
    case erlang:port_info(Port, os_pid) of
        {os_pid, Pid} -> Pid;
        undefined -> none
    end.

loop(State = #state{port = Port, parent = Parent}) ->
    receive
        {Port, {data, Frame}} ->
            {Header, Used} = binary_to_term(Frame, [used]),
            frame(Header, Used, Frame, State);
        {Port, {exit_status, Status}} ->
            died(cause(Status, State), drain(State));
        {'EXIT', Port, Reason} ->
            %% The write of a caller failed before the exit status was known: a port program without its keeper.
            died(cause({port_closed, Reason}, State), drain(State));
        {'EXIT', Parent, Reason} ->
            terminate(Reason, State);
        {'EXIT', Pid, Reason} ->
            loop(ended(Pid, Reason, State));
        {py_messages, Event} ->
            loop(State#state{messages = py_messages:handle(Event, State#state.messages)});
        {py_expect, Ms} ->
            loop(arm_probe(Ms, State));
        probe ->
            loop(probe(State));
        {py_reply, Probe, _} when Probe =:= State#state.probe ->
            loop(end_probe(State));
        no_sign_of_life ->
            loop(kill({killed, timeout}, State));
        start_timeout ->
            case State#state.phase of
                starting -> loop(kill({start_failed, timeout}, State));
                ready -> loop(State)
            end;
        py_stop ->
            terminate({shutdown, {port_died, stopped}}, State);
        {system, From, Request} ->
            sys:handle_system_msg(Request, From, Parent, ?MODULE, [], State);
        _Other ->
            loop(State)
    end.

%% Frames.

frame({?OP_REPLY, Alias, Slot}, Used, Frame, State = #state{pieces = Pieces}) when map_size(Pieces) =:= 0 ->
    py_slots:release(State#state.slots, Slot),
    Alias ! {py_reply, Alias, binary:part(Frame, Used, byte_size(Frame) - Used)},
    counters:add(State#state.calls, 1, 1),
    loop(served(State));
frame({?OP_REPLY, Alias, Slot}, Used, Frame, State) ->
    {Payload, Rest} = payload(Alias, Used, Frame, State),
    py_slots:release(State#state.slots, Slot),
    counters:add(State#state.calls, 1, 1),
    Alias ! {py_reply, Alias, Payload},
    loop(served(Rest));
frame({?OP_REPLY_PIECE, Key}, Used, Frame, State = #state{pieces = Pieces}) ->
    Piece = binary:part(Frame, Used, byte_size(Frame) - Used),
    Before = maps:get(Key, Pieces, []),
    loop(State#state{pieces = Pieces#{Key => [Piece | Before]}});
frame({?OP_ITEMS, Alias}, Used, Frame, State) ->
    {Payload, Rest} = payload(Alias, Used, Frame, State),
    Alias ! {py_items, Alias, Payload},
    loop(Rest);
frame({?OP_STARTED, Waiting}, _, _, State = #state{slots = Slots}) ->
    lists:foreach(fun(Slot) -> py_slots:release(Slots, Slot) end, Waiting),
    loop(State);
frame(Header = {?OP_CALLBACK, _Ctx, Id, _Chain, _Env, _Caller, _Function}, Used, Frame, State) ->
    {Payload, Rest} = payload(Id, Used, Frame, State),
    loop(Rest#state{callbacks = py_callbacks:start(Header, Payload, State#state.callbacks)});
frame({?OP_MESSAGES, _Count}, Used, Frame, State) ->
    loop(messages(Used, Frame, State));
frame({?OP_LARGE_MESSAGE, Key}, Used, Frame, State) ->
    {Payload, Rest} = payload(Key, Used, Frame, State),
    loop(Rest#state{messages = py_messages:large(byte_size(Frame), Payload, State#state.messages)});
frame({?OP_ABANDONED, Id}, _, _, State = #state{callbacks = Callbacks, pieces = Pieces}) ->
    loop(State#state{callbacks = py_callbacks:abandon(Id, Callbacks), pieces = maps:remove(Id, Pieces)});
frame({?OP_OUTPUT, Fd, Ctx, Line}, _, _, State = #state{pool = Pool, lines = Lines}) ->
    py_output:line(Pool, Ctx, Fd, Line),
    loop(State#state{lines = last_lines(Line, Lines)});
frame({?OP_OUTPUT_DROPPED, Count}, _, _, State = #state{pool = Pool}) ->
    py_output:dropped(Pool, Count),
    loop(State);
frame({?OP_ATOMS, Names}, _, _, State) ->
    py_atoms:admit_all(Names),
    loop(State);
frame({?OP_READY, Info}, _, _, State) ->
    tell({ready, Info#{port => State#state.port, os_pid => State#state.os_pid}}, State),
    loop(State#state{phase = ready});
frame({?OP_FATAL, Reason}, _, _, State) ->
    loop(State#state{cause = {start_failed, Reason}});
frame({?OP_STUCK, _Ctx, _Alias}, _, _, State) ->
    loop(kill({killed, timeout}, State));
frame({?OP_MEMORY_LIMIT, Resident, Limit}, _, _, State = #state{pool = Pool}) ->
    py_output:memory_limit(Pool, Resident, Limit),
    loop(State#state{cause = {killed, memory_limit}});
frame({?OP_REFUSED, Reason}, _, _, State = #state{pool = Pool}) ->
    py_output:refused(Pool, Reason),
    loop(State).

%% What follows the header, with the pieces that came before.
payload(Key, Used, Frame, State = #state{pieces = Pieces}) ->
    Last = binary:part(Frame, Used, byte_size(Frame) - Used),
    case maps:take(Key, Pieces) of
        {Reversed, Rest} -> {lists:reverse(Reversed, [Last]), State#state{pieces = Rest}};
        error -> {Last, State}
    end.

messages(Used, Frame, State = #state{messages = Messages}) ->
    Size = byte_size(Frame),
    State#state{messages = py_messages:frame(Size, binary:part(Frame, Used, Size - Used), Messages)}.

%% A process that is linked to us, which others than ours may be.
ended(Pid, Reason, State = #state{callbacks = Callbacks, messages = Messages}) ->
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
    State#state{probe_timer = erlang:send_after(Ms + Grace, self(), probe)};
arm_probe(Ms, State = #state{probe = none, probe_timer = Timer, grace = Grace}) ->
    case erlang:read_timer(Timer) of
        Left when is_integer(Left), Left > Ms + Grace ->
            _ = erlang:cancel_timer(Timer),
            State#state{probe_timer = erlang:send_after(Ms + Grace, self(), probe)};
        _ ->
            State
    end;
arm_probe(_Ms, State) ->
    State.

probe(State = #state{port = Port}) ->
    Ref = alias([reply]),
    %% When the port takes no input this is the answer too.
    _ = try erlang:port_command(Port, py_protocol:stats(Ref), [nosuspend])
        catch error:badarg -> false
        end,
    State#state{probe = Ref, probe_timer = erlang:send_after(?SIGN_OF_LIFE_MS, self(), no_sign_of_life)}.

end_probe(State = #state{probe_timer = Timer}) ->
    _ = erlang:cancel_timer(Timer, [{async, true}, {info, false}]),
    receive no_sign_of_life -> ok after 0 -> ok end,
    State#state{probe = none, probe_timer = none}.

%% Its end. The port program leads a process group, which takes its children along.
kill(Cause, State = #state{os_pid = OsPid}) ->
    py_kill:group(OsPid),
    State#state{cause = Cause, probe = none, probe_timer = none}.

cause(_Status, #state{cause = Known}) when Known =/= none -> Known;
cause({port_closed, _Reason}, _) -> {signal, sigkill};
cause(Status, _) when is_integer(Status), Status > 128 ->
    case signal(Status - 128) of
        unknown -> {exit_status, Status};
        Signal -> {signal, Signal}
    end;
cause(Status, _) -> {exit_status, Status}.

signal(1) -> sighup;
signal(2) -> sigint;
signal(3) -> sigquit;
signal(4) -> sigill;
signal(5) -> sigtrap;
signal(6) -> sigabrt;
signal(7) -> signal_7();
signal(8) -> sigfpe;
signal(9) -> sigkill;
signal(10) -> signal_10();
signal(11) -> sigsegv;
signal(13) -> sigpipe;
signal(14) -> sigalrm;
signal(15) -> sigterm;
signal(24) -> sigxcpu;
signal(25) -> sigxfsz;
signal(31) -> sigsys;
signal(_) -> unknown.

%% SIGBUS is 7 on Linux and 10 on macOS and the BSDs.
signal_7() -> case os:type() of {unix, linux} -> sigbus; _ -> unknown end.
signal_10() -> case os:type() of {unix, linux} -> sigusr1; _ -> sigbus end.

%% What it wrote before it died is still in our mailbox, behind the exit status when the pipe was slower.
drain(State = #state{port = Port, lines = Lines, pool = Pool}) ->
    receive
        {Port, {data, Frame}} ->
            case binary_to_term(Frame, [used]) of
                {{?OP_OUTPUT, Fd, Ctx, Line}, _} ->
                    py_output:line(Pool, Ctx, Fd, Line),
                    drain(State#state{lines = last_lines(Line, Lines)});
                {{?OP_FATAL, Reason}, _} ->
                    drain(State#state{cause = {start_failed, Reason}});
                {{?OP_MEMORY_LIMIT, _, _}, _} ->
                    drain(State#state{cause = {killed, memory_limit}});
                {{?OP_MESSAGES, _}, Used} ->
                    drain(messages(Used, Frame, State));
                _ ->
                    drain(State)
            end
    after 0 ->
        State
    end.

%% Tracebacks and the like have empty lines that tell nothing.
last_lines(Line, Lines) ->
    case re:run(Line, "^\\s*$") of
        {match, _} -> Lines;
        nomatch -> lists:sublist([Line | Lines], ?LAST_LINES)
    end.

-spec died(why(), #state{}) -> no_return().
died(Cause, State = #state{lines = Lines, os_pid = OsPid, cause = Known}) ->
    Why = case Known of
        none -> Cause;
        _ -> Known
    end,
    closed(State),
    py_kill:group(OsPid),
    tell({died, Why, lists:reverse(Lines)}, State),
    exit({shutdown, {port_died, Why}}).

-spec terminate(term(), #state{}) -> no_return().
terminate(Reason, State = #state{port = Port, os_pid = OsPid}) ->
    closed(State),
    try port_close(Port) of
        true -> ok
    catch
        error:badarg -> ok
    end,
    py_kill:group_later(OsPid),
    case Reason of
        {shutdown, {port_died, _}} -> exit(Reason);
        _ -> exit({shutdown, {port_died, stopped}})
    end.

closed(#state{callbacks = Callbacks}) ->
    ok = py_functions:remove_port(self()),
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
