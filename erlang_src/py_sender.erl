%% @doc A process that sends the frames whose large binaries carriers have written into the segment file: one for each py_port,
%% linked to it. It alone is suspended while the port takes no input, so that a carrier always reads.
%%
%% A caller waits until its frame is sent, and gives up when its time is over: a word that both can change says who was first.
%% Of a caller that has given up or is dead nothing is sent, so that what it leaves behind is as if it had never asked.
-module(py_sender).

-export([start_link/1, send/4]).
%% Jobs.
-export([job/4, is_wanted/1, withdraw/1, answer/2]).
%% spawn.
-export([init/2]).

-export_type([job/0, names/0, result/0]).

%% The alias of a request, its slot, and its context; or a fresh reference and twice 0.
-type names() :: {Key :: reference(), Slot :: non_neg_integer(), CtxId :: non_neg_integer()}.
-type result() :: ok | closed | no_room.

-record(job, {
    call :: reference(),        % the alias that the caller waits at
    caller :: pid(),
    state :: atomics:atomics_ref(),
    names :: names(),
    frame :: binary(),          % in which `[Key | Index]' stands for each binary
    timeout :: timeout()
}).
-opaque job() :: #job{}.

%% States of a job.
-define(WAITS, 0).
-define(IS_SENT, 1).
-define(WITHDRAWN, 2).

%% @doc The calling process owns the port.
-spec start_link(port()) -> pid().
start_link(Port) ->
    spawn_opt(?MODULE, init, [Port, self()], [link, {message_queue_data, off_heap}]).

%% @doc Sends the frame of a job, whose binaries are in these segments of this carrier's.
-spec send(pid(), job(), [py_segments:segment()], Carrier :: pid()) -> ok.
send(Sender, Job, Segments, Carrier) ->
    Sender ! {py_send, Job, Segments, Carrier},
    ok.

%% @doc Of the calling process, which waits for `{Call, Result}'. `Timeout' as in py_writer:send/4.
-spec job(reference(), names(), binary(), timeout()) -> job().
job(Call, Names, Frame, Timeout) ->
    #job{call = Call, caller = self(), state = atomics:new(1, []), names = Names, frame = Frame, timeout = Timeout}.

%% @doc Whether somebody waits for it still.
-spec is_wanted(job()) -> boolean().
is_wanted(#job{state = State, caller = Caller}) ->
    atomics:get(State, 1) =/= ?WITHDRAWN andalso is_process_alive(Caller).

%% @doc From now on it is not sent. False: it is being sent, or was.
-spec withdraw(job()) -> boolean().
withdraw(#job{state = State}) ->
    atomics:compare_exchange(State, 1, ?WAITS, ?WITHDRAWN) =:= ok.

-spec answer(job(), result()) -> ok.
answer(#job{call = Call}, Result) ->
    Call ! {Call, Result},
    ok.

%% The process.

%% @private
-spec init(port(), pid()) -> no_return().
init(Port, Owner) ->
    receive
        {py_send, Job = #job{}, Segments, Carrier} ->
            case is_wanted(Job) andalso take(Job) of
                true -> sent(Job, Segments, Port, Owner);
                false -> unsent(Job, Segments, Carrier)
            end;
        Other ->
            ok = py_unexpected:dropped(Other)
    end,
    %% It would keep a large frame alive, and has next to nothing else.
    true = erlang:garbage_collect(),
    init(Port, Owner).

take(#job{state = State}) ->
    atomics:compare_exchange(State, 1, ?WAITS, ?IS_SENT) =:= ok.

sent(Job = #job{names = {Key, Slot, CtxId}, frame = Frame, timeout = Timeout, caller = Caller}, Segments, Port, Owner) ->
    ok = answer(Job, py_writer:send_all(Port, Owner, py_protocol:with_segments(Key, Slot, Segments, Frame), Timeout)),
    %% Whoever ends what a dead process has asked for may have come too early.
    case CtxId > 0 andalso not is_process_alive(Caller) of
        true -> py_writer:post(Port, py_protocol:cancel(Key, CtxId));
        false -> ok
    end.

unsent(#job{names = {Key, _, _}}, Segments, Carrier) ->
    %% What was noted for an answer that will not come.
    ok = py_owed:remove(py_protocol:alias_address(Key)),
    py_carrier:unsent(Carrier, [Offset || {Offset, _} <- Segments]).
