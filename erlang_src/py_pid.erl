%% @doc Processes of this node as numbers, for what is kept in `atomics'. A number is the pid's part that tells it from others of
%% this life of the node: 28 bits and 20 bits, with room between them for what py_slots notes about a process.
-module(py_pid).

-export([self_id/0, id/1, template/0, pid/2]).

-export_type([id/0, template/0]).

%% `<<Serial:20, 0:14, Id:28, 0:1>>'.
-type id() :: pos_integer().
-opaque template() :: {binary(), binary()}.

-define(SERIAL_SHIFT, 43).
-define(ID_MASK, 16#fffffff).

%% @doc The calling process. Costs a microsecond: callers keep it.
-spec self_id() -> id().
self_id() ->
    id(self()).

%% @doc A pid of this node.
-spec id(pid()) -> id().
id(Pid) ->
    %% The external format of a local pid ends in <<Id:32, Serial:32, Creation:32>> (NEW_PID_EXT).
    Ext = term_to_binary(Pid),
    <<Id:32, Serial:32, _Creation:32>> = binary:part(Ext, byte_size(Ext), -12),
    ((Serial band 16#fffff) bsl ?SERIAL_SHIFT) bor (Id bsl 1).

%% @doc What {@link pid/2} needs: everything of the external format of a local pid but its numbers. It changes when the node
%% becomes distributed, so nobody keeps it.
-spec template() -> template().
template() ->
    Ext = term_to_binary(self()),
    Size = byte_size(Ext) - 12,
    <<Head:Size/binary, _:8/binary, Creation:4/binary>> = Ext,
    {Head, Creation}.

%% @doc The process of a number; what stands in the room between its parts is passed over.
-spec pid(id(), template()) -> pid().
pid(Number, {Head, Creation}) ->
    Id = (Number bsr 1) band ?ID_MASK,
    Serial = Number bsr ?SERIAL_SHIFT,
    binary_to_term(<<Head/binary, Id:32, Serial:32, Creation/binary>>).
