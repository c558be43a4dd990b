%% @doc A process that writes large binaries into the segment file of a port process, and reads them there. A py_port has a
%% few of them, and they end with it.
%%
%% They are processes of their own because a raw file belongs to who has opened it, and it is opened once, before any code of
%% users runs in the port process: later nobody could know what would be opened (docs/design.md, "Large values"). And what
%% was begun is ended whoever gives up: what is written is sent, what is read is given back.
-module(py_carrier).

-include_lib("kernel/include/file.hrl").
-include("py_protocol.hrl").

-export([start_link/5, send/6, read/3, free/2, in_use/1]).
%% proc_lib.
-export([init/1]).

-export_type([usage/0]).

%% Of all carriers of a port process: bytes that are in use in Erlang's part of the file, and memory that is idle there.
-type usage() :: {atomics:atomics_ref(), MostUsed :: pos_integer(), MostIdle :: non_neg_integer()}.

%% How long the file may take to be opened.
-define(OPEN_MS, 5000).
-define(USED, 1).
-define(IDLE, 2).

-record(carrier, {
    port :: port(),
    owner :: pid(),
    file :: file:fd(),
    extents :: py_extents:extents(),
    usage :: usage()
}).

%% @doc Opens the file; `Begin' to `End' is this process's part of it. `{error, Why}': it is not what it should be.
-spec start_link(port(), file:filename_all(), py_extents:offset(), py_extents:offset(), usage()) ->
    {ok, pid()} | {error, term()}.
start_link(Port, Path, Begin, End, Usage) ->
    proc_lib:start_link(?MODULE, init, [{self(), Port, Path, Begin, End, Usage}], ?OPEN_MS,
                        [{message_queue_data, off_heap}]).

%% @doc Writes binaries into the file, then sends the frame in which `[Key | Index]' stands for each. Returns when both are
%% done. `no_room': neither is. `Timeout' as in py_writer:send/4.
-spec send(pid(), reference(), non_neg_integer(), binary(), [binary()], Timeout :: timeout()) -> ok | closed | no_room.
send(Carrier, Key, Slot, Frame, Binaries, Timeout) ->
    Call = monitor(process, Carrier, [{alias, reply_demonitor}]),
    Carrier ! {py_send, Call, Key, Slot, Frame, Binaries, Timeout},
    receive
        {Call, Result} -> Result;
        {'DOWN', Call, process, _, _} -> closed
    end.

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

%% @doc The port program does not need what begins there any more.
-spec free(pid(), [py_extents:offset()]) -> ok.
free(Carrier, Offsets) ->
    Carrier ! {py_free, Offsets},
    ok.

%% The process.

%% @private
-spec init({pid(), port(), file:filename_all(), py_extents:offset(), py_extents:offset(), usage()}) -> no_return().
init({Owner, Port, Path, Begin, End, Usage}) ->
    case open(Path) of
        {ok, File} ->
            proc_lib:init_ack(Owner, {ok, self()}),
            loop(#carrier{port = Port, owner = Owner, file = File, extents = py_extents:new(Begin, End), usage = Usage});
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
        {py_send, Call, Key, Slot, Frame, Binaries, Timeout} ->
            {Result, Sent} = written(Key, Slot, Frame, Binaries, Timeout, C),
            Call ! {Call, Result},
            Sent;
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

written(Key, Slot, Frame, Binaries, Timeout, C = #carrier{port = Port, owner = Owner}) ->
    case put_all(Binaries, [], C) of
        {full, Same} ->
            {no_room, Same};
        {Segments, Next} ->
            {py_writer:send_all(Port, Owner, py_protocol:with_segments(Key, Slot, Segments, Frame), Timeout), Next}
    end.

put_all([], Segments, C) ->
    {lists:reverse(Segments), C};
put_all([Binary | Rest], Segments, C) ->
    case put_one(Binary, C) of
        {Offset, Next} -> put_all(Rest, [{Offset, byte_size(Binary)} | Segments], Next);
        full -> {full, given_back([Offset || {Offset, _} <- Segments], C)}
    end.

put_one(Binary, C = #carrier{file = File, extents = Extents, usage = {Usage, MostUsed, _}}) ->
    Bytes = byte_size(Binary),
    case atomics:add_get(Usage, ?USED, Bytes) =< MostUsed andalso py_extents:take(Bytes, Extents) of
        {Offset, WasIdle, Taken} ->
            ok = atomics:sub(Usage, ?IDLE, WasIdle),
            Next = C#carrier{extents = Taken},
            case file:pwrite(File, Offset, Binary) of
                ok -> {Offset, Next};
                %% No memory. The extent is out of use from now on; the value goes through the pipe.
                {error, _} -> full
            end;
        _ ->
            ok = atomics:sub(Usage, ?USED, Bytes),
            full
    end.

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
            ok = py_writer:post(Port, py_protocol:discard(Discarded)),
            C#carrier{extents = Next};
        _ ->
            C
    end.
