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

-include("py_port.hrl").

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
    isolation := pool | context,
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
%% How long the exit status may take after the end of its output, before the process is killed.
-define(EXIT_STATUS_MS, 1000).

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
            _ = py_port_end:later(?START_MS, start_timeout, Secret),
            ok = py_port_end:watch(Secret),
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
                is_shared = maps:get(isolation, Options) =:= pool,
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
            loop(py_port_input:received(Bytes, State));
        {Port, {exit_status, Status}} ->
            Drained = py_port_input:drain(State),
            py_port_end:died(py_port_program:failure(py_port_end:cause(Status, State), State#state.program), Drained);
        {Port, eof} ->
            %% The emulator reports it together with the exit status.
            _ = py_port_end:later(?EXIT_STATUS_MS, no_exit_status, State#state.secret),
            loop(State);
        {'EXIT', Port, Reason} ->
            %% A write failed before the exit status was known: a port program whose outer keeper was killed, or that has not even been
            %% loaded.
            Drained = py_port_input:drain(State),
            Cause = py_port_end:cause({port_closed, Reason}, State),
            py_port_end:died(py_port_program:failure(Cause, State#state.program), Drained);
        {'EXIT', Parent, Reason} ->
            py_port_end:terminate(Reason, State);
        {'EXIT', Writer, _} when Writer =:= State#state.writer ->
            %% Somebody has killed it, and with it what it had to write.
            py_port_end:terminate({shutdown, {port_died, stopped}}, State);
        {'EXIT', Pid, Reason} ->
            loop(ended(Pid, Reason, State));
        {py_carried, Ref, Read} when is_reference(Ref), (is_list(Read) orelse Read =:= error) ->
            loop(py_port_input:carried(Ref, Read, State));
        {py_messages, Event} when Event =:= log; element(1, Event) =:= look; element(1, Event) =:= sent, is_integer(element(3, Event)) ->
            loop(State#state{messages = py_messages:handle(Event, State#state.messages)});
        {py_expect, Ms} when is_integer(Ms), Ms >= 0, Ms =< 16#ffffffff ->
            loop(py_port_end:expect(Ms, State));
        {py_reply, Probe, _} when is_reference(Probe), Probe =:= State#state.probe ->
            loop(py_port_end:sign_of_life(State));
        {Secret, Time} when Secret =:= State#state.secret ->
            loop(timer(Time, State));
        {py_violated, What} when is_binary(What) ->
            loop(py_port_end:violation(What, State));
        {py_kill, unhealthy} ->
            loop(py_port_end:kill({killed, unhealthy}, State));
        {py_kill, takes_no_input} ->
            ok = py_output:takes_no_input(State#state.pool),
            loop(py_port_end:kill({killed, timeout}, State));
        py_stop ->
            py_port_end:terminate({shutdown, {port_died, stopped}}, State);
        {system, From, Request} ->
            sys:handle_system_msg(Request, From, Parent, ?MODULE, [], State);
        {py_reply, _, _} ->
            %% To a probe that is awaited no more.
            loop(State);
        Other ->
            ok = py_unexpected:dropped(Other),
            loop(State)
    end.

%% Our own timers.

timer(probe, State) -> py_port_end:probe(State);
timer(no_sign_of_life, State) -> py_port_end:kill({killed, timeout}, State);
timer(no_exit_status, State) -> py_port_end:kill({signal, sigkill}, State);
timer(gone, State) -> py_port_end:died(py_port_end:cause({port_closed, gone}, State), State);
timer({look, Before}, State) -> py_port_end:look(Before, State);
timer(no_crash, State = #state{pool = Pool, words = Words}) ->
    {Lines, Rest} = py_last_words:release(Words),
    lists:foreach(fun(Line) -> py_output:line(Pool, 0, 2, Line) end, Lines),
    State#state{words = Rest};
timer(start_timeout, State = #state{phase = starting}) -> py_port_end:kill({start_failed, timeout}, State);
timer(start_timeout, State) -> State.

%% A process that is linked to us, which others than ours may be.
ended(Pid, Reason, State = #state{callbacks = Callbacks, messages = Messages, segments = Segments}) ->
    %% Somebody has killed it, and with it what was being read.
    _ = not is_atom(Segments) andalso py_segments:is_ours(Pid, Segments) andalso
        py_port_end:terminate({shutdown, {port_died, stopped}}, State),
    case py_callbacks:ended(Pid, Reason, Callbacks) of
        unknown -> State#state{messages = py_messages:ended(Pid, Messages)};
        Left -> State#state{callbacks = Left}
    end.

%% sys.

-spec system_continue(pid(), [sys:dbg_opt()], #state{}) -> no_return().
system_continue(_Parent, _Debug, State) ->
    loop(State).

-spec system_terminate(term(), pid(), [sys:dbg_opt()], #state{}) -> no_return().
system_terminate(Reason, _Parent, _Debug, State) ->
    py_port_end:terminate(Reason, State).

-spec system_code_change(#state{}, module(), term(), term()) -> {ok, #state{}}.
system_code_change(State, _Module, _OldVersion, _Extra) ->
    {ok, State}.
