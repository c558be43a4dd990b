%% @doc A process that writes large binaries into the segment file of a port process, and reads them there. A py_port has a
%% few of them, and they end with it.
%%
%% They are processes of their own because a raw file belongs to who has opened it, and it is opened once, before any code of
%% users runs in the port process: later nobody could know what would be opened (docs/design.md, "Large values"). And what
%% was begun is ended whoever gives up: what is written is sent or taken back, what is read is given back.
%%
%% Nothing that it does waits for the port process: what is to be sent goes on to py_sender.
-module(py_carrier).

-include_lib("kernel/include/file.hrl").
-include("py_protocol.hrl").

-export([start_link/6, send/6, unsent/2, read/3, free/2, in_use/1, usage/2, returned/2]).
%% proc_lib.
-export([init/1]).

-export_type([usage/0]).

%% Of all carriers of a port process: bytes that are in use in Erlang's part of the file, memory that is idle there, and how
%% many extents the port program has yet to give back.
-type usage() :: {atomics:atomics_ref(), MostUsed :: pos_integer(), MostIdle :: non_neg_integer()}.

%% How long the file may take to be opened.
-define(OPEN_MS, 5000).
-define(USED, 1).
-define(IDLE, 2).
-define(LENT, 3).

-record(carrier, {
    port :: port(),
    owner :: pid(),
    sender :: pid(),
    file :: file:fd(),
    extents :: py_extents:extents(),
    usage :: usage()
}).

-spec usage(pos_integer(), non_neg_integer()) -> usage().
usage(MostUsed, MostIdle) ->
    {atomics:new(3, [{signed, true}]), MostUsed, MostIdle}.

%% @doc The port program says that it gives back so many extents. False: it has not so many.
-spec returned(pos_integer(), usage()) -> boolean().
returned(Count, {Usage, _, _}) ->
    atomics:sub_get(Usage, ?LENT, Count) >= 0.

%% @doc Opens the file; `Begin' to `End' is this process's part of it. `{error, Why}': it is not what it should be.
-spec start_link(port(), pid(), file:filename_all(), py_extents:offset(), py_extents:offset(), usage()) ->
    {ok, pid()} | {error, term()}.
start_link(Port, Sender, Path, Begin, End, Usage) ->
    proc_lib:start_link(?MODULE, init, [{self(), Port, Sender, Path, Begin, End, Usage}], ?OPEN_MS,
                        [{message_queue_data, off_heap}]).

%% @doc Writes binaries into the file, then has the frame sent in which `[Key | Index]' stands for each. Returns when both are
%% done. `no_room': neither is, nor will be when the time is over (`withdrawn'). `late': it is over, and the frame is
%% being sent.
-spec send(pid(), Owner :: pid(), py_sender:names(), binary(), [binary()], timeout()) ->
    py_sender:result() | late | withdrawn.
send(Carrier, Owner, Names, Frame, Binaries, Timeout) ->
    Call = monitor(process, Carrier, [{alias, reply_demonitor}]),
    Job = py_sender:job(Call, Names, Frame, Timeout),
    Carrier ! {py_send, Job, Binaries},
    receive
        {Call, Result} -> Result;
        {'DOWN', Call, process, _, _} -> closed
    after Timeout ->
        Withdrawn = py_sender:withdraw(Job),
        %% What came until now must not stay in the mailbox of the caller.
        true = demonitor(Call, [flush]),
        receive
            {Call, Result} -> Result
        after 0 ->
            case Withdrawn of
                true ->
                    ok = py_port:expect(Owner, 0),
                    withdrawn;
                false ->
                    late
            end
        end
    end.

%% @doc What was written there will not be sent.
-spec unsent(pid(), [py_extents:offset()]) -> ok.
unsent(Carrier, Offsets) ->
    Carrier ! {py_unsent, Offsets},
    ok.

%% @doc Of all carriers of the port process: how many bytes the port program still needs.
-spec in_use(pid()) -> non_neg_integer() | none.
in_use(Carrier) ->
    Call = monitor(process, Carrier, [{alias, reply_demonitor}]),
    Carrier ! {py_in_use, Call},
    receive
        {Call, Bytes} -> Bytes;
        {'DOWN', Call, process, _, _} -> none
    end.

%% @doc Reads; the calling process, the py_port, gets `{py_carried, Ref, Binaries}', or `{py_carried, Ref, error}'.
-spec read(pid(), reference(), [{py_extents:offset(), pos_integer()}]) -> ok.
read(Carrier, Ref, Segments) ->
    Carrier ! {py_read, Ref, Segments},
    ok.

%% @doc The port program does not need what begins there any more: {@link returned/2} was true of so many.
-spec free(pid(), [py_extents:offset()]) -> ok.
free(Carrier, Offsets) ->
    Carrier ! {py_free, Offsets},
    ok.

%% The process.

%% @private
-spec init({pid(), port(), pid(), file:filename_all(), py_extents:offset(), py_extents:offset(), usage()}) -> no_return().
init({Owner, Port, Sender, Path, Begin, End, Usage}) ->
    case open(Path) of
        {ok, File} ->
            proc_lib:init_ack(Owner, {ok, self()}),
            loop(#carrier{port = Port, owner = Owner, sender = Sender, file = File,
                          extents = py_extents:new(Begin, End), usage = Usage});
        {error, _} = Error ->
            unlink(Owner),
            proc_lib:init_ack(Owner, Error),
            exit(normal)
    end.

%% With `write', opening would not wait even for the other end of a pipe. A file without a name in any directory: whatever it
%% is, nothing is lost that others could reach.
open(Path) ->
    case file:open(Path, [raw, binary, read, write]) of
        {ok, File} ->
            case file:read_file_info(File) of
                {ok, #file_info{type = regular, links = 0, size = ?SEGMENT_FILE_BYTES}} ->
                    {ok, File};
                Other ->
                    _ = file:close(File),
                    {error, {no_segment_file, Other}}
            end;
        {error, _} = Error ->
            Error
    end.

-spec loop(#carrier{}) -> no_return().
loop(C) ->
    Next = receive
        {py_send, Job, Binaries} ->
            written(Job, Binaries, C);
        {py_unsent, Offsets} ->
            keep_little(taken_back(Offsets, C));
        {py_read, Ref, Segments} ->
            ok = report(Ref, Segments, C),
            C;
        {py_free, Offsets} ->
            freed(Offsets, C);
        {py_in_use, Call} ->
            {Usage, _, _} = C#carrier.usage,
            Call ! {Call, atomics:get(Usage, ?USED)},
            C;
        Other ->
            ok = py_unexpected:dropped(Other),
            C
    end,
    %% It would keep large binaries alive, and has next to nothing else.
    true = erlang:garbage_collect(),
    loop(Next).

written(Job, Binaries, C = #carrier{sender = Sender}) ->
    case py_sender:is_wanted(Job) andalso put_all(Binaries, [], C) of
        {full, Same} ->
            ok = py_sender:answer(Job, no_room),
            Same;
        {Segments, Next} ->
            ok = py_sender:send(Sender, Job, Segments, self()),
            Next;
        %% What was noted for its answer py_sender forgets.
        false ->
            ok = py_sender:send(Sender, Job, [], self()),
            C
    end.

put_all([], Segments, C) ->
    {lists:reverse(Segments), C};
put_all([Binary | Rest], Segments, C) ->
    case put_one(Binary, C) of
        {full, Same} -> {full, taken_back([Offset || {Offset, _} <- Segments], Same)};
        {Offset, Next} -> put_all(Rest, [{Offset, byte_size(Binary)} | Segments], Next)
    end.

put_one(Binary, C = #carrier{file = File, extents = Extents, usage = {Usage, MostUsed, _}}) ->
    Bytes = byte_size(Binary),
    case atomics:add_get(Usage, ?USED, Bytes) =< MostUsed andalso py_extents:take(Bytes, Extents) of
        {Offset, WasIdle, Taken} ->
            ok = atomics:sub(Usage, ?IDLE, WasIdle),
            ok = atomics:add(Usage, ?LENT, 1),
            Next = C#carrier{extents = Taken},
            case file:pwrite(File, Offset, Binary) of
                ok -> {Offset, Next};
                %% No memory: the value goes through the pipe.
                {error, _} -> {full, taken_back([Offset], Next)}
            end;
        _ ->
            ok = atomics:sub(Usage, ?USED, Bytes),
            {full, C}
    end.

%% Extents that the port program has not seen.
taken_back(Offsets, C = #carrier{usage = {Usage, _, _}}) ->
    ok = atomics:sub(Usage, ?LENT, length(Offsets)),
    given_back(Offsets, C).

report(Ref, Segments, #carrier{port = Port, owner = Owner, file = File}) ->
    Read = case file:pread(File, Segments) of
        {ok, Binaries} -> whole(Binaries, Segments);
        {error, _} -> error
    end,
    %% First: the port program may send as much again when it knows that this was read.
    Owner ! {py_carried, Ref, Read},
    py_writer:post(Port, py_protocol:segments_read([Offset || {Offset, _} <- Segments])).

whole(Binaries, Segments) ->
    Whole = fun({Binary, {_, Bytes}}) -> is_binary(Binary) andalso byte_size(Binary) =:= Bytes end,
    case lists:all(Whole, lists:zip(Binaries, Segments)) of
        true -> Binaries;
        false -> error
    end.

freed(Offsets, C) ->
    keep_little(given_back(Offsets, C)).

given_back(Offsets, C) ->
    lists:foldl(fun give_back/2, C, Offsets).

give_back(Offset, C = #carrier{owner = Owner, extents = Extents, usage = {Usage, _, _}}) ->
    case py_extents:give_back(Offset, Extents) of
        {Bytes, Idle, Next} ->
            ok = atomics:sub(Usage, ?USED, Bytes),
            ok = atomics:add(Usage, ?IDLE, Idle),
            C#carrier{extents = Next};
        unknown ->
            _ = py_port:violated(Owner, <<"a segment given back that it does not have">>),
            C
    end.

keep_little(C = #carrier{port = Port, extents = Extents, usage = {Usage, _, MostIdle}}) ->
    case atomics:get(Usage, ?IDLE) - MostIdle of
        TooMuch when TooMuch > 0 ->
            {Discarded, Next} = py_extents:discard(TooMuch, Extents),
            ok = atomics:sub(Usage, ?IDLE, lists:sum([Memory || {_, Memory} <- Discarded])),
            ok = atomics:add(Usage, ?LENT, length(Discarded)),
            ok = py_writer:post(Port, py_protocol:discard(Discarded)),
            C#carrier{extents = Next};
        _ ->
            C
    end.
