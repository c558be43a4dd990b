%% The operations of docs/protocol.md, mirrored by port/protocol/messages.h.

%% Erlang to port.
-define(OP_INIT, 0).
-define(OP_CALL, 1).
-define(OP_EVAL, 2).
-define(OP_EXEC, 3).
-define(OP_PIECE, 4).
-define(OP_LAST_PIECE, 5).
-define(OP_NEW_CONTEXT, 10).
-define(OP_STOP_CONTEXT, 11).
-define(OP_DROP_ENV, 12).
-define(OP_INTERRUPT, 13).
-define(OP_STATS, 14).

%% Port to Erlang.
-define(OP_REPLY, 1).
-define(OP_REPLY_PIECE, 2).
-define(OP_READY, 3).
-define(OP_FATAL, 4).
-define(OP_OUTPUT, 5).
-define(OP_OUTPUT_DROPPED, 6).
-define(OP_STUCK, 7).
-define(OP_MEMORY_LIMIT, 8).
-define(OP_ATOMS, 9).
-define(OP_REFUSED, 10).

%% Flags of a request.
-define(FLAG_TRACEBACK, 1).
-define(FLAG_STRICT, 2).
-define(FLAG_BUFFER, 4).

%% One large value must not block the small ones behind it.
-define(PIECE_BYTES, 1048576).

%% The smallest that max_frame_bytes may be: a request up to this size is sent without asking for the limit.
-define(MIN_FRAME_BYTES, 4096).
