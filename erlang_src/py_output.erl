%% @doc What Python, C code and children write to standard output and error: log lines with the pool and the context.
%%
%% A process of its own, because log handlers run in the process that logs, and a slow one must not hold up replies.
%% No event of the application has a `domain': the default handler shows those of OTP and those without one.
-module(py_output).
-behaviour(gen_server).

-include_lib("kernel/include/logger.hrl").

%% API.
-export([start_link/0, line/4, dropped/2, memory_limit/3, refused/2, messages_lost/3]).
%% gen_server.
-export([init/1, handle_call/3, handle_cast/2]).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc A line; standard output is logged at level `notice', which is shown by default, standard error at `warning'.
-spec line(atom(), non_neg_integer(), 1 | 2, binary()) -> ok.
line(Pool, Ctx, Fd, Line) ->
    gen_server:cast(?MODULE, {line, Pool, Ctx, Fd, Line}).

-spec dropped(atom(), pos_integer()) -> ok.
dropped(Pool, Count) ->
    gen_server:cast(?MODULE, {dropped, Pool, Count}).

-spec memory_limit(atom(), non_neg_integer(), pos_integer()) -> ok.
memory_limit(Pool, Resident, Limit) ->
    gen_server:cast(?MODULE, {memory_limit, Pool, Resident, Limit}).

-spec refused(atom(), binary()) -> ok.
refused(Pool, Reason) ->
    gen_server:cast(?MODULE, {refused, Pool, Reason}).

%% @doc So many messages from Python had nobody to go to; why the first of them had not. py_messages limits the rate.
-spec messages_lost(atom(), pos_integer(), Why) -> ok when
      Why :: unknown | malformed | atom_table_full | no_room_for_a_process | {nobody, term()}.
messages_lost(Pool, Count, Why) ->
    gen_server:cast(?MODULE, {messages_lost, Pool, Count, Why}).

%% gen_server.

-spec init([]) -> {ok, none}.
init([]) ->
    process_flag(message_queue_data, off_heap),
    {ok, none}.

-spec handle_call(term(), gen_server:from(), none) -> {reply, {error, bad_call}, none}.
handle_call(_Request, _From, none) ->
    {reply, {error, bad_call}, none}.

-spec handle_cast(term(), none) -> {noreply, none}.
handle_cast({line, Pool, Ctx, Fd, Line}, none) ->
    Meta = #{pool => Pool, context => Ctx, fd => Fd},
    ?LOG(level(Fd), "python ~ts~ts: ~ts", [Pool, context(Ctx), py_error:printable(Line)], Meta),
    {noreply, none};
handle_cast({dropped, Pool, Count}, none) ->
    ?LOG_WARNING("python ~ts: ~b lines of output dropped, the pool writes too many", [Pool, Count],
                 #{pool => Pool}),
    {noreply, none};
handle_cast({memory_limit, Pool, Resident, Limit}, none) ->
    ?LOG_ERROR("pool ~ts is killed: resident memory ~ts above memory_limit ~ts (pool option memory_limit)",
               [Pool, py_error:bytes(Resident), py_error:bytes(Limit)], #{pool => Pool}),
    {noreply, none};
handle_cast({refused, Pool, Reason}, none) ->
    ?LOG_ERROR("the port process of pool ~ts refused a frame: ~ts", [Pool, py_error:printable(Reason)],
               #{pool => Pool}),
    {noreply, none};
handle_cast({messages_lost, Pool, Count, Why}, none) ->
    ?LOG_WARNING("python ~ts: ~b messages dropped~ts", [Pool, Count, lost(Why)], #{pool => Pool}),
    {noreply, none}.

lost(unknown) -> "";
lost(malformed) -> ": not a message";
lost(atom_table_full) -> [": ", py_error:format_error({not_encodable, atom_table_full})];
lost(no_room_for_a_process) -> ": no process can be started to send to the other node, see the emulator flag +P";
lost({nobody, Destination}) -> io_lib:format(": there is no process ~tp", [Destination], [{chars_limit, 200}]).

level(1) -> notice;
level(2) -> warning.

context(0) -> "";
context(Ctx) -> ["/", integer_to_list(Ctx)].
