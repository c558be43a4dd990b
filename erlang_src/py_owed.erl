%% @doc The answers that a port process owes and holds no slot for (those with a slot are in py_slots): control
%% operations, coroutines and streams that gave their slots back, streams whatever they hold. So a port process that
%% answers what nobody asked it, or sends more of a stream than it was allowed to, is found out.
%%
%% A row is `{Address, PyPort, Credit}': the address (py_protocol:address/1) of an alias, who owes it, and how many bytes of
%% items it may still send; `none' for what is no stream: items would use up an alias that waits for one message, and the monitor
%% with it, so that its owner would wait for ever.
-module(py_owed).

-include("py_protocol.hrl").

-export([add/2, add_stream/2, add_credit/2, take/2, spend/3, remove/1, forget/1]).

-define(TABLE, py_owed).

%% @doc One answer to this alias.
-spec add(py_protocol:address(), pid()) -> ok.
add(Address, Owner) ->
    true = ets:insert(?TABLE, {Address, Owner, none}),
    ok.

%% @doc Items, until the answer that ends the stream.
-spec add_stream(py_protocol:address(), pid()) -> ok.
add_stream(Address, Owner) ->
    true = ets:insert(?TABLE, {Address, Owner, ?FIRST_CREDIT_BYTES}),
    ok.

%% @doc The stream may send so many bytes more. One that has ended has no row, and no use for it.
-spec add_credit(py_protocol:address(), non_neg_integer()) -> ok.
add_credit(Address, Bytes) ->
    try ets:update_counter(?TABLE, Address, {3, Bytes}) of
        _ -> ok
    catch
        error:badarg -> ok
    end.

%% @doc The answer has come. False: this port process did not owe it.
-spec take(py_protocol:address(), pid()) -> boolean().
take(Address, Owner) ->
    case ets:lookup(?TABLE, Address) of
        [{_, Owner, _}] -> ets:delete(?TABLE, Address);
        _ -> false
    end.

%% @doc Items of so many bytes have come. How much credit is left, less than 0 when it has sent more; `unknown' when it
%% owes no such stream.
-spec spend(py_protocol:address(), pid(), non_neg_integer()) -> integer() | unknown.
spend(Address, Owner, Bytes) ->
    case ets:lookup(?TABLE, Address) of
        [{_, Owner, Credit}] when is_integer(Credit) ->
            try ets:update_counter(?TABLE, Address, {3, -Bytes})
            catch error:badarg -> unknown
            end;
        _ -> unknown
    end.

%% @doc Nothing is expected any more.
-spec remove(py_protocol:address()) -> ok.
remove(Address) ->
    true = ets:delete(?TABLE, Address),
    ok.

%% @doc The port process is gone. Also what was written for others after they had gone: their callers did not know yet.
-spec forget(pid()) -> ok.
forget(Owner) ->
    Owners = lists:usort([Other || [Other] <- ets:match(?TABLE, {'_', '$1', '_'})]),
    lists:foreach(fun(Gone) -> true = ets:match_delete(?TABLE, {'_', Gone, '_'}) end,
                  [Owner | [Other || Other <- Owners, Other =/= Owner, not is_process_alive(Other)]]).
