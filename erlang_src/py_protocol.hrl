%% The operations of docs/protocol.md, mirrored by port/protocol/messages.h: tests/python/test_protocol_numbers.py.

%% Erlang to port.
-define(OP_INIT, 0).
-define(OP_CALL, 1).
-define(OP_EVAL, 2).
-define(OP_EXEC, 3).
-define(OP_PIECE, 4).
-define(OP_LAST_PIECE, 5).
-define(OP_RESULT, 6).
-define(OP_NEW_CONTEXT, 10).
-define(OP_STOP_CONTEXT, 11).
-define(OP_DROP_ENV, 12).
-define(OP_INTERRUPT, 13).
-define(OP_STATS, 14).
-define(OP_FUNCTIONS, 15).
-define(OP_MESSAGES_TAKEN, 16).
-define(OP_CANCEL, 17).
-define(OP_CREDIT, 18).
-define(OP_CHECK, 19).
-define(OP_RESTRICT, 20).
-define(OP_SEGMENTS_OPENED, 21).
-define(OP_WITH_SEGMENTS, 22).
-define(OP_SEGMENTS_READ, 23).
-define(OP_DISCARD, 24).
-define(OP_END, 25).

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
-define(OP_CALLBACK, 11).
-define(OP_MESSAGES, 12).
-define(OP_ABANDONED, 13).
-define(OP_LARGE_MESSAGE, 14).
-define(OP_STARTED, 15).
-define(OP_ITEMS, 16).
-define(OP_SEGMENT_FILE, 17).
-define(OP_SEGMENTS, 18).
-define(OP_SEGMENTS_FREE, 19).
-define(OP_ENDED, 20).

%% System functions: what Python asks of Erlang by number instead of name. Those up to 4 are answered by py_port itself.
-define(SYSTEM_IS_ALIVE, 1).
-define(SYSTEM_WHEREIS, 2).
-define(SYSTEM_ADMIT_ATOM, 3).
-define(SYSTEM_STATE_INCR, 4).
-define(SYSTEM_STATE_STORE, 11).
-define(SYSTEM_INLINE(Function), (is_integer(Function) andalso Function =< ?SYSTEM_STATE_INCR)).

-define(SYSTEM_FUNCTION(Function),
        (is_integer(Function) andalso Function >= 1 andalso (Function =< 4 orelse Function >= 10) andalso Function =< 14)).

%% Flags of a request.
-define(FLAG_TRACEBACK, 1).
-define(FLAG_STRICT, 2).
-define(FLAG_BUFFER, 4).
-define(FLAG_TASK, 8).
%% Two bits: what None is in the answer (py_call), 0 for what the pool says.
-define(FLAG_NONE_AS, 16).
%% The highest: what has it is not less than it.
-define(FLAG_STREAM, 64).

%% What a stream may send before it gets credit.
-define(FIRST_CREDIT_ITEMS, 1000).
-define(FIRST_CREDIT_BYTES, 1048576).

%% One large value must not block the small ones behind it.
-define(PIECE_BYTES, 1048576).

%% Binaries of at least this size leave the frames, where there is memory to share (port/etf/segment_store.h).
-define(LARGE_BYTES, 131072).

%% The segment file: Erlang writes in its first half, the port program in the second (port/segments/segment_file.h).
-define(SEGMENT_FILE_BYTES, (1 bsl 37)).
-define(PORTS_SEGMENTS, (?SEGMENT_FILE_BYTES div 2)).

%% Of a line of output: the port cuts lines there (runtime/output_sink.h).
-define(LINE_BYTES, 8192).

%% A piece and its header: no frame is larger, either way.
-define(WIRE_FRAME_BYTES, (?PIECE_BYTES + 4096)).

%% The smallest that max_frame_bytes may be: a request up to this size is sent without asking for the limit.
-define(MIN_FRAME_BYTES, 4096).

%% The smallest that max_term_bytes may be: what fits in a sixteenth of it is decoded without asking for the limit.
-define(MIN_TERM_BYTES, 1048576).
