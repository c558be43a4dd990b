%% The floor: calls of a port program that only sends back what it reads (echo_port.cc), made the way the product makes
%% its own. The caller writes to the port and waits on an alias; the owner decodes the header and passes the rest on.
-module(bench_echo).

-export([open/1, close/1, call/2]).
-export_type([echo/0]).

-define(PIECE_BYTES, 1048576).
-define(LAST, 1).
-define(PIECE, 2).

-opaque echo() :: {port(), pid()}.

-spec open(file:filename()) -> echo().
open(Program) ->
    Self = self(),
    Owner = spawn_link(fun() ->
        Port = open_port({spawn_executable, Program},
                         [{packet, 4}, binary, use_stdio, {busy_limits_port, {262144, 524288}},
                          {busy_limits_msgq, disabled}]),
        Self ! {self(), Port},
        owner(Port, #{})
    end),
    receive {Owner, Port} -> {Port, Owner} end.

-spec close(echo()) -> ok.
close({Port, Owner}) ->
    unlink(Owner),
    Owner ! {close, Port},
    ok.

%% What comes back is what was sent, in one binary when it is no larger than a piece.
-spec call(echo(), binary()) -> binary() | [binary()].
call({Port, Owner}, Payload) ->
    Alias = monitor(process, Owner, [{alias, reply_demonitor}]),
    send(Port, Alias, Payload),
    receive
        {echo, Alias, Reply} -> Reply;
        {'DOWN', Alias, process, _, Reason} -> exit({echo_port_died, Reason})
    end.

send(Port, Alias, <<Piece:?PIECE_BYTES/binary, Rest/binary>>) when Rest =/= <<>> ->
    port_command(Port, [term_to_binary({?PIECE, Alias}), Piece]),
    send(Port, Alias, Rest);
send(Port, Alias, Last) ->
    port_command(Port, [term_to_binary({?LAST, Alias, 0}), Last]).

owner(Port, Pieces) ->
    receive
        {Port, {data, Frame}} ->
            {Header, Used} = binary_to_term(Frame, [used]),
            Bytes = binary:part(Frame, Used, byte_size(Frame) - Used),
            owner(Port, forward(Header, Bytes, Pieces));
        {close, Port} ->
            port_close(Port)
    end.

forward({?LAST, Alias, _Slot}, Bytes, Pieces) when map_size(Pieces) =:= 0 ->
    Alias ! {echo, Alias, Bytes},
    Pieces;
forward({?LAST, Alias, _Slot}, Bytes, Pieces) ->
    Alias ! {echo, Alias, lists:reverse(maps:get(Alias, Pieces, []), [Bytes])},
    maps:remove(Alias, Pieces);
forward({?PIECE, Alias}, Bytes, Pieces) ->
    Pieces#{Alias => [Bytes | maps:get(Alias, Pieces, [])]}.
