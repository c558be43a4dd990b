%% @doc What Python, C code and children write to standard output and error: log lines with the pool and the context.
%%
%% A process of its own, because log handlers run in the process that logs, and a slow one must not hold up replies.
%% No event of the application has a `domain': the default handler shows those of OTP and those without one.
-module(py_output).
-behaviour(gen_server).

-include_lib("kernel/include/logger.hrl").

%% API.
-export([start_link/0, line/4, not_ended/3, dropped/2, memory_limit/3, refused/2, violation/2, takes_no_input/1, late/2,
         messages_lost/3, unexpected/3]).
%% gen_server.
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

%% So many lines may wait for the handlers of the log.
-define(MAX_WAITING, 10000).
-define(SAY_MS, 1000).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc A line, or how many were dropped where it would stand; standard output is logged at level `notice', which is shown by
%% default, standard error at `warning'.
-spec line(atom(), non_neg_integer(), 1 | 2, py_last_words:released()) -> ok.
line(Pool, _Ctx, _Fd, {dropped, Count}) ->
    dropped(Pool, Count);
line(Pool, Ctx, Fd, Line) ->
    gen_server:cast(?MODULE, {line, Pool, Ctx, Fd, Line}).

%% @doc The end of Python was no orderly one.
-spec not_ended(atom(), pos_integer(), timeout | py_port:why()) -> ok.
not_ended(Pool, Grace, Why) ->
    gen_server:cast(?MODULE, {not_ended, Pool, Grace, Why}).

-spec dropped(atom(), pos_integer()) -> ok.
dropped(Pool, Count) ->
    gen_server:cast(?MODULE, {dropped, Pool, Count}).

-spec memory_limit(atom(), non_neg_integer(), pos_integer()) -> ok.
memory_limit(Pool, Resident, Limit) ->
    gen_server:cast(?MODULE, {memory_limit, Pool, Resident, Limit}).

-spec refused(atom(), binary()) -> ok.
refused(Pool, Reason) ->
    gen_server:cast(?MODULE, {refused, Pool, Reason}).

%% @doc The port process has sent what it may not, and is killed for it.
-spec violation(atom(), binary()) -> ok.
violation(Pool, What) ->
    gen_server:cast(?MODULE, {violation, Pool, What}).

%% @doc The port process takes no input, and is killed for it.
-spec takes_no_input(atom()) -> ok.
takes_no_input(Pool) ->
    gen_server:cast(?MODULE, {takes_no_input, Pool}).

%% @doc Something that the port process has to do with could not be done in time, and it is killed for it.
-spec late(atom(), binary()) -> ok.
late(Pool, What) ->
    gen_server:cast(?MODULE, {late, Pool, What}).

%% @doc So many messages from Python had nobody to go to; why the first of them had not. py_messages limits the rate.
-spec messages_lost(atom(), pos_integer(), Why) -> ok when
      Why :: unknown | malformed | atom_table_full | no_room_for_a_process | {nobody | stuck | py_send:refusal(), term()}.
messages_lost(Pool, Count, Why) ->
    gen_server:cast(?MODULE, {messages_lost, Pool, Count, Why}).

%% @doc A process of ours dropped a message that it does not know, after so many others that the log does not have.
%% py_unexpected limits the rate.
-spec unexpected(atom() | {module(), pid()}, binary(), non_neg_integer()) -> ok.
unexpected(Who, Message, Others) ->
    gen_server:cast(?MODULE, {unexpected, Who, Message, Others}).

%% gen_server. What it is told comes from frames, and it serves all pools: it takes anything.

%% Its state: how many lines it has dropped since it last said so.

-spec init([]) -> {ok, 0}.
init([]) ->
    process_flag(message_queue_data, off_heap),
    {ok, 0}.

-spec handle_call(term(), gen_server:from(), non_neg_integer()) ->
          {reply, {error, bad_request}, non_neg_integer()} | {noreply, non_neg_integer()}.
handle_call(Request, From, Dropped) ->
    py_unexpected:call(Request, From, Dropped).

-spec handle_cast(term(), non_neg_integer()) -> {noreply, non_neg_integer()}.
handle_cast({line, Pool, Ctx, Fd, Line}, Dropped)
        when is_atom(Pool), is_integer(Ctx), Ctx >= 0, (Fd =:= 1 orelse Fd =:= 2), is_binary(Line) ->
    case process_info(self(), message_queue_len) of
        {_, Waiting} when Waiting > ?MAX_WAITING ->
            _ = Dropped =:= 0 andalso erlang:send_after(?SAY_MS, self(), say_dropped),
            {noreply, Dropped + 1};
        _ ->
            Meta = #{pool => Pool, context => Ctx, fd => Fd},
            ?LOG(level(Fd), "python ~ts~ts: ~ts", [Pool, context(Ctx), py_error:printable(Line)], Meta),
            {noreply, Dropped}
    end;
handle_cast({dropped, Pool, Count}, Dropped) when is_atom(Pool), is_integer(Count) ->
    ?LOG_WARNING("python ~ts: ~b lines of output dropped, the pool writes too many", [Pool, Count],
                 #{pool => Pool}),
    {noreply, Dropped};
handle_cast({not_ended, Pool, Grace, timeout}, Dropped) when is_atom(Pool), is_integer(Grace) ->
    ?LOG_WARNING("pool ~ts was stopped, and its port process is killed: Python has not ended within ~b ms "
                 "(pool option shutdown_grace)", [Pool, Grace], #{pool => Pool}),
    {noreply, Dropped};
handle_cast({not_ended, Pool, _Grace, Why}, Dropped) when is_atom(Pool) ->
    ?LOG_WARNING("pool ~ts was stopped, and its port process died before Python had ended: ~ts",
                 [Pool, py_error:format_why(Why)], #{pool => Pool}),
    {noreply, Dropped};
handle_cast({memory_limit, Pool, Resident, Limit}, Dropped)
        when is_atom(Pool), is_integer(Resident), is_integer(Limit) ->
    ?LOG_ERROR("pool ~ts is killed: resident memory ~ts above memory_limit ~ts (pool option memory_limit)",
               [Pool, py_error:bytes(Resident), py_error:bytes(Limit)], #{pool => Pool}),
    {noreply, Dropped};
handle_cast({refused, Pool, Reason}, Dropped) when is_atom(Pool), is_binary(Reason) ->
    ?LOG_ERROR("the port process of pool ~ts refused a frame: ~ts", [Pool, py_error:printable(Reason)],
               #{pool => Pool}),
    {noreply, Dropped};
handle_cast({violation, Pool, What}, Dropped) when is_atom(Pool), is_binary(What) ->
    ?LOG_ERROR("pool ~ts is killed: its port process sent ~ts", [Pool, py_error:printable(What)], #{pool => Pool}),
    {noreply, Dropped};
handle_cast({takes_no_input, Pool}, Dropped) when is_atom(Pool) ->
    ?LOG_ERROR("pool ~ts is killed: its port process takes no input, and too much waits for it", [Pool], #{pool => Pool}),
    {noreply, Dropped};
handle_cast({late, Pool, What}, Dropped) when is_atom(Pool), is_binary(What) ->
    ?LOG_ERROR("pool ~ts is killed: ~ts", [Pool, py_error:printable(What)], #{pool => Pool}),
    {noreply, Dropped};
handle_cast({messages_lost, Pool, Count, Why}, Dropped) when is_atom(Pool), is_integer(Count) ->
    ?LOG_WARNING("python ~ts: ~b messages dropped~ts", [Pool, Count, lost(Why)], #{pool => Pool}),
    {noreply, Dropped};
handle_cast({unexpected, Who, Message, Others}, Dropped) when is_binary(Message), is_integer(Others) ->
    ?LOG_WARNING("~0tp dropped a message that it does not know: ~ts~ts",
                 [Who, py_error:printable(Message), others(Others)]),
    {noreply, Dropped};
handle_cast(Message, Dropped) ->
    py_unexpected:message(Message, Dropped).

-spec handle_info(term(), non_neg_integer()) -> {noreply, non_neg_integer()}.
handle_info(say_dropped, Dropped) when Dropped > 0 ->
    ?LOG_WARNING("~b lines of output of Python dropped, the handlers of the log are too slow", [Dropped]),
    {noreply, 0};
handle_info(Message, Dropped) ->
    py_unexpected:message(Message, Dropped).

lost(unknown) -> "";
lost(malformed) -> ": not a message";
lost(atom_table_full) -> [": ", py_error:format_error({not_encodable, atom_table_full})];
lost(no_room_for_a_process) -> ": no process can be started to send to the other node, see the emulator flag +P";
lost({nobody, Destination}) -> io_lib:format(": there is no process ~tp", [Destination], [{chars_limit, 200}]);
lost({refused, Destination}) ->
    io_lib:format(": it may not send to ~tp (pool option send, send_names, or py:register_name/1)", [Destination],
                  [{chars_limit, 300}]);
lost({protected, Destination}) ->
    io_lib:format(": it may not send to ~tp, which belongs to OTP or erlang_python (pool option send)", [Destination],
                  [{chars_limit, 300}]);
lost({stuck, Destination}) ->
    io_lib:format(": ~tp has not taken its messages for ten seconds, and no more may wait (environment key "
                  "max_mailbox_bytes)", [Destination], [{chars_limit, 300}]);
lost(Other) -> io_lib:format(": ~0tp", [Other], [{chars_limit, 200}]).

others(0) -> "";
others(N) -> io_lib:format(" (and ~b others since the last line)", [N]).

level(1) -> notice;
level(2) -> warning.

context(0) -> "";
context(Ctx) -> ["/", integer_to_list(Ctx)].
