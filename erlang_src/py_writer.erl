%% @doc Writing to a port process: every frame goes through here.
%%
%% {@link send/4} may suspend the calling process while the port does not keep up. It is for a process that nobody else
%% depends on: a caller with its request, a callback with its answer.
%%
%% {@link post/2} never does. It is for processes that others depend on, and for frames that must not wait behind a request:
%% cancels, credit, control operations, the answers of py_port. What the port does not take at once goes into a queue, which
%% is the mailbox of one process per port. So the posted frames of a process arrive in the order in which it posted them, and
%% one about a request arrives after that request. Only a request may arrive before what its caller had posted earlier.
%%
%% Nothing that was posted is lost while its port process lives. The queue is bounded in bytes: a port process for which more
%% waits is killed, and so is one that takes no input and gives no sign of life (py_port:expect/2), of which py_port is told
%% as soon as something waits.
-module(py_writer).

-export([start_link/1, send/4, send_all/4, post/2, offer/2, post_latest/2]).
-export([set_carriers/2, carriers/1]).
%% spawn.
-export([init/3]).

%% What may wait for a port. An honest one takes it within milliseconds.
-define(QUEUE_BYTES, 16777216).
%% What an entry of the queue takes beside its bytes, about.
-define(ENTRY_BYTES, 128).

%% Entries of the queue's atomics: what waits or is being written, and whether {@link post_latest/2} has something there.
-define(WAITING, 1).
-define(LATEST, 2).

%% @doc Starts the process that writes what a port did not take at once. The calling process owns the port. Frames can be
%% posted from now on.
-spec start_link(port()) -> pid().
start_link(Port) ->
    Queue = atomics:new(2, [{signed, true}]),
    Writer = spawn_opt(?MODULE, init, [Port, self(), Queue], [link, {message_queue_data, off_heap}]),
    %% So whoever knows the port finds its queue, and nothing is left when the port is closed.
    true = erlang:port_set_data(Port, {Writer, self(), Queue, none}),
    Writer.

%% @doc Those who know the port find its carriers in the same way. For its owner.
-spec set_carriers(port(), tuple()) -> ok.
set_carriers(Port, Carriers) ->
    try
        {Writer, Owner, Queue, _} = erlang:port_get_data(Port),
        true = erlang:port_set_data(Port, {Writer, Owner, Queue, Carriers}),
        ok
    catch
        %% It is closed, of which its owner has yet to hear.
        error:badarg -> ok
    end.

%% @doc Its py_carrier processes; `none' when there is no memory that it shares, or it is gone.
-spec carriers(port()) -> tuple() | none.
carriers(Port) ->
    try erlang:port_get_data(Port) of
        {_Writer, _Owner, _Queue, Carriers} -> Carriers
    catch
        error:badarg -> none
    end.

%% @doc Writes a frame; the calling process is suspended while the port does not keep up. `Timeout' is how long somebody
%% waits for what comes of it: py_port is told, since nobody can time out who is suspended.
-spec send(port(), Owner :: pid(), iodata(), timeout()) -> ok | closed.
send(Port, Owner, Frame, Timeout) ->
    Data = framed(Frame),
    case try_write(Port, Data) of
        busy ->
            ok = py_port:expect(Owner, Timeout),
            write(Port, Data);
        Done ->
            Done
    end.

%% @doc The same of several frames, one after the other.
-spec send_all(port(), Owner :: pid(), [iodata()], timeout()) -> ok | closed.
send_all(_Port, _Owner, [], _Timeout) ->
    ok;
send_all(Port, Owner, [Frame | Rest], Timeout) ->
    case send(Port, Owner, Frame, Timeout) of
        ok -> send_all(Port, Owner, Rest, Timeout);
        closed -> closed
    end.

%% @doc Writes a frame, now or later. A port that is gone is no error: who waits for its answers is told otherwise.
-spec post(port(), iodata()) -> ok.
post(Port, Frame) ->
    Data = framed(Frame),
    case queue(Port) of
        closed ->
            ok;
        Queue ->
            case write_if_empty(Port, Queue, Data) of
                busy -> enqueue(Queue, iolist_size(Data), {write, Data});
                _OkOrClosed -> ok
            end
    end.

%% @doc Writes frames, all or none: now, or not at all. `busy' also while others wait.
-spec offer(port(), [iodata()]) -> ok | busy | closed.
offer(Port, Frames) ->
    case queue(Port) of
        closed -> closed;
        Queue -> write_if_empty(Port, Queue, [framed(Frame) || Frame <- Frames])
    end.

%% @doc Writes, in its turn, the frames that `Make' gives then. It is for what only has a latest state: while one waits in
%% the queue others are not added. It may run in any process.
-spec post_latest(port(), fun(() -> [iodata()])) -> ok.
post_latest(Port, Make) ->
    case queue(Port) of
        closed ->
            ok;
        {_Writer, _Owner, Atomics, _} = Queue ->
            case atomics:compare_exchange(Atomics, ?LATEST, 0, 1) of
                ok -> enqueue(Queue, 0, {latest, Make});
                1 -> ok
            end
    end.

queue(Port) ->
    try
        {_Writer, _Owner, _Atomics, _Carriers} = erlang:port_get_data(Port)
    catch
        error:badarg -> closed
    end.

%% What waits must be written first. It counts as waiting until it is.
write_if_empty(Port, {_Writer, _Owner, Atomics, _}, Data) ->
    case atomics:get(Atomics, ?WAITING) of
        0 -> try_write(Port, Data);
        _ -> busy
    end.

enqueue({Writer, Owner, Atomics, _}, Size, What) ->
    Bytes = Size + ?ENTRY_BYTES,
    case atomics:add_get(Atomics, ?WAITING, Bytes) of
        Waiting when Waiting =< ?QUEUE_BYTES ->
            Writer ! {?MODULE, Bytes, What},
            ok;
        %% The first that has no room.
        Waiting when Waiting - Bytes =< ?QUEUE_BYTES ->
            py_port:condemn(Owner, takes_no_input);
        _ ->
            ok
    end.

%% The process of the queue.

%% @private
-spec init(port(), pid(), atomics:atomics_ref()) -> no_return().
init(Port, Owner, Atomics) ->
    receive
        {?MODULE, Bytes, What} ->
            Data = case What of
                {write, Framed} ->
                    Framed;
                {latest, Make} ->
                    %% Before the look: what changes after it has to be told again.
                    ok = atomics:put(Atomics, ?LATEST, 0),
                    [framed(Frame) || Frame <- Make()]
            end,
            _ = case try_write(Port, Data) of
                busy ->
                    ok = py_port:expect(Owner, 0),
                    write(Port, Data);
                OkOrClosed ->
                    OkOrClosed
            end,
            ok = atomics:sub(Atomics, ?WAITING, Bytes);
        Other ->
            ok = py_unexpected:dropped(Other)
    end,
    init(Port, Owner, Atomics).

%% The emulator's side.

framed(Frame) ->
    [<<(iolist_size(Frame)):32>> | Frame].

try_write(Port, Data) ->
    try erlang:port_command(Port, Data, [nosuspend]) of
        true -> ok;
        false -> busy
    catch
        error:badarg -> closed
    end.

write(Port, Data) ->
    try erlang:port_command(Port, Data) of
        true -> ok
    catch
        error:badarg -> closed
    end.
