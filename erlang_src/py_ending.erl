%% @doc The orderly end of a port process: Python joins its threads, runs its atexit functions, lets go of its objects and
%% flushes its files, all within the pool's `shutdown_grace'; what has not ended by then is killed.
%%
%% py_port has told all callers and is gone, so nobody is answered here: only what Python prints is logged. What the end of
%% Python may take is decided here alone; who stops a pool waits for this process ({@link await/1}).
-module(py_ending).

-include("py_protocol.hrl").

-export([start_link/1, take/2, await/1, most_ms/1]).
%% proc_lib.
-export([init/2]).

-export_type([options/0]).

-type options() :: #{
    pool := atom(),
    owner := pid(),                              % the py_port that it was
    target := py_kill:target(),
    python := none | pos_integer(),              % its OS process
    grace := pos_integer(),
    partial := none | py_wire:partial(),
    words := py_last_words:words()
}.

%% How long a process may take to be gone, when it has nothing left to do or was killed.
-define(GONE_MS, 1000).
-define(LOOK_MS, 5).
%% So many messages of the port may wait: far more than an honest one sends, whose output is limited.
-define(BACKLOG, 1000).

-record(state, {
    parent :: pid(),
    port :: port(),
    options :: options(),
    until :: integer(),
    partial :: none | py_wire:partial(),
    words :: py_last_words:words(),
    allowance = py_allowance:new() :: py_allowance:allowance()
}).

%% @doc The most that the end takes, in milliseconds.
-spec most_ms(pos_integer()) -> pos_integer().
most_ms(Grace) ->
    Grace + 2 * ?GONE_MS.

-spec start_link(options()) -> {ok, pid()}.
start_link(Options) ->
    proc_lib:start_link(?MODULE, init, [self(), Options]).

%% @doc Hands over a port that the calling process owns. It gets nothing from it any more.
-spec take(port(), options()) -> ok.
take(Port, Options = #{target := Target}) ->
    case py_ending_sup:start_ending(Options) of
        {ok, Pid} ->
            Closed = try
                true = erlang:port_connect(Port, Pid),
                true = unlink(Port),
                []
            catch
                %% Nobody is told of its end who is not linked to it.
                error:badarg -> [closed]
            end,
            Pid ! {?MODULE, self(), Port, waiting(Port) ++ Closed},
            ok;
        error ->
            _ = catch_close(Port),
            py_kill:all_later(Target)
    end.

waiting(Port) ->
    receive
        {Port, Message} -> [Message | waiting(Port)]
    after 0 -> []
    end.

%% @doc Waits for the ends that have begun, of the port processes of a pool or of the port process of this py_port.
-spec await(atom() | pid()) -> ok.
await(Whose) ->
    Asked = [{monitor(process, Pid), Pid} || Pid <- py_ending_sup:pids()],
    lists:foreach(fun({Monitor, Pid}) -> Pid ! {?MODULE, whose, self(), Monitor} end, Asked),
    lists:foreach(fun({Monitor, _}) -> await_one(Monitor, Whose) end, Asked).

await_one(Monitor, Whose) ->
    receive
        {Monitor, Pool, Owner} when Pool =/= Whose, Owner =/= Whose ->
            true = demonitor(Monitor, [flush]),
            ok;
        {Monitor, _, _} ->
            receive {'DOWN', Monitor, process, _, _} -> ok end;
        {'DOWN', Monitor, process, _, _} ->
            ok
    end.

-spec init(pid(), options()) -> no_return().
init(Parent, Options = #{owner := Owner, target := Target}) ->
    %% The supervisor's wish is that this ends, and it does.
    process_flag(trap_exit, true),
    process_flag(message_queue_data, off_heap),
    Monitor = monitor(process, Owner),
    proc_lib:init_ack(Parent, {ok, self()}),
    receive
        {?MODULE, Owner, Port, Messages} ->
            true = demonitor(Monitor, [flush]),
            begin_end(Parent, Port, Messages, Options);
        {'DOWN', Monitor, process, _, _} ->
            py_kill:all(Target),
            exit(normal)
    end.

begin_end(Parent, Port, Messages, Options = #{grace := Grace, partial := Partial, words := Words}) ->
    %% It is suspended while the port does not keep up.
    _ = spawn_link(fun() -> write(Port, py_protocol:end_in_order(Grace)) end),
    State = #state{parent = Parent, port = Port, options = Options, until = now_ms() + Grace, partial = Partial, words = Words},
    loop(lists:foldl(fun message/2, State, Messages)).

write(Port, Frame) ->
    try erlang:port_command(Port, [<<(byte_size(Frame)):32>>, Frame])
    catch
        error:badarg -> true
    end.

-spec loop(#state{}) -> no_return().
loop(State = #state{parent = Parent, port = Port, until = Until}) ->
    Left = Until - now_ms(),
    receive
        {Port, Message} when Left > 0 ->
            loop(message(Message, State));
        {'EXIT', Port, _} ->
            %% Nobody knows what it died of.
            died({signal, sigkill}, State);
        {'EXIT', Parent, Reason} when Reason =/= shutdown ->
            %% Nobody waits for the end of this any more.
            killed(State);
        {?MODULE, whose, From, Ref} when is_pid(From) ->
            ok = say_whose(From, Ref, State),
            loop(State);
        Other when Left > 0, element(1, Other) =/= Port ->
            %% The supervisor ends, or somebody means the py_port.
            loop(State)
    after max(0, Left) ->
        late(State)
    end.

say_whose(From, Ref, #state{options = #{pool := Pool, owner := Owner}}) ->
    From ! {Ref, Pool, Owner},
    ok.

message({data, Bytes}, State) ->
    case process_info(self(), message_queue_len) of
        {_, Waiting} when Waiting > ?BACKLOG -> broken(<<"more than can be handled">>, State);
        _ -> bytes(Bytes, State)
    end;
message({exit_status, 0}, State) ->
    ended(State);
message({exit_status, Status}, State) ->
    died(py_exit_status:why(Status), State);
message(closed, State) ->
    %% Nobody knows what it died of.
    died({signal, sigkill}, State);
message(_, State) ->
    State.

bytes(Bytes, State = #state{partial = none}) ->
    frames(Bytes, State);
bytes(<<>>, State) ->
    State;
bytes(Bytes, State = #state{partial = Partial}) ->
    case py_wire:add(Bytes, Partial) of
        {ready, Begun, Rest} -> bytes(Rest, frames(Begun, State#state{partial = none}));
        Next -> State#state{partial = Next}
    end.

frames(<<Length:32, Frame:Length/binary, Rest/binary>>, State) when Length =< ?WIRE_FRAME_BYTES ->
    case py_protocol:notice(Frame) of
        {Notice, _} -> frames(Rest, notice(Notice, State));
        malformed -> broken(<<"a frame that is malformed">>, State)
    end;
frames(<<>>, State) ->
    State;
frames(Bytes, State) ->
    case py_wire:partial(Bytes) of
        {bad, _} -> broken(<<"a frame that is too large">>, State);
        Partial -> State#state{partial = Partial}
    end.

notice({?OP_ENDED}, State) ->
    ended(State);
notice({?OP_OUTPUT, Fd, Ctx, Line}, State = #state{options = #{pool := Pool}, words = Words, allowance = Allowance}) ->
    case py_allowance:spend([{lines, 1}, {output, byte_size(Line)}], now_ms(), Allowance) of
        {pass, Left} ->
            {What, Next} = py_last_words:add(Ctx, Fd, Line, Words),
            _ = What =:= log andalso py_output:line(Pool, Ctx, Fd, Line),
            State#state{words = Next, allowance = Left};
        {drop, Left} ->
            State#state{allowance = Left};
        exceeded ->
            broken(<<"too many lines of output">>, State)
    end;
notice({?OP_OUTPUT_DROPPED, Count}, State = #state{options = #{pool := Pool}, allowance = Allowance}) ->
    case py_allowance:spend([{logged, 1}], now_ms(), Allowance) of
        {pass, Left} ->
            ok = py_output:dropped(Pool, Count),
            State#state{allowance = Left};
        {drop, Left} ->
            State#state{allowance = Left};
        exceeded ->
            broken(<<"too many counts of dropped lines">>, State)
    end;
notice(_, State) ->
    %% For those who have been told that it is stopped.
    State.

%% Its ends.

%% There is nothing left to do for Python: it leaves at the end of its input.
ended(State = #state{port = Port, options = #{target := Target, python := Python}}) ->
    ok = log_held(State),
    _ = catch_close(Port),
    py_kill:all_later(Target),
    gone(Python, now_ms() + ?GONE_MS, State).

died(Why, State = #state{options = #{pool := Pool, grace := Grace}}) ->
    ok = py_output:not_ended(Pool, Grace, Why),
    killed(State).

late(State = #state{options = #{pool := Pool, grace := Grace}}) ->
    ok = py_output:not_ended(Pool, Grace, timeout),
    killed(State).

broken(What, State = #state{options = #{pool := Pool}}) ->
    ok = py_output:violation(Pool, What),
    killed(State).

killed(State = #state{port = Port, options = #{target := Target, python := Python}}) ->
    ok = log_held(State),
    _ = catch_close(Port),
    py_kill:all(Target),
    gone(Python, now_ms() + ?GONE_MS, State).

-spec gone(none | pos_integer(), integer(), #state{}) -> no_return().
gone(Python, Until, State) ->
    case Python =:= none orelse now_ms() >= Until orelse not py_kill:is_running(Python) of
        true ->
            exit(normal);
        false ->
            receive
                {?MODULE, whose, From, Ref} when is_pid(From) -> say_whose(From, Ref, State)
            after ?LOOK_MS -> ok
            end,
            gone(Python, Until, State)
    end.

%% Where it crashed, or what looked like that.
log_held(#state{options = #{pool := Pool}, words = Words}) ->
    {Released, _} = py_last_words:release(Words),
    lists:foreach(fun(Line) -> py_output:line(Pool, 0, 2, Line) end, Released).

catch_close(Port) ->
    try port_close(Port)
    catch
        error:badarg -> true
    end.

now_ms() ->
    erlang:monotonic_time(millisecond).
