%% @doc How much of the node's memory Python may take with values in the shared state (`max_state_bytes').
%%
%% Each row says what it takes. A counter beside the table is raised before a row is written, and what is removed or replaced
%% lowers it only when the rows are added up again, which is when it reaches the limit. So a process that is killed between two
%% steps leaves it too high, and that is found out. It is too low only by rows that were about to be written when others added
%% up: one for each process that writes.
-module(py_state_bytes).

-export([reserve/3]).

-define(COUNT_TABLE, py_state_lock).
%% Beside key and value: the row.
-define(ROW_BYTES, 128).
-define(ROWS_AT_A_TIME, 1000).

%% @doc Room for this value in place of what the key has. `Bytes': what its row is to say.
-spec reserve(ets:tab(), Key :: term(), Value :: term()) -> {ok, Bytes :: pos_integer()} | {full, Max :: pos_integer()}.
reserve(Table, Key, Value) ->
    Row = {Key, Value},
    %% The one counts what binaries hold, the other what many small terms take.
    Bytes = erlang:external_size(Row) + erts_debug:flat_size(Row) * erlang:system_info(wordsize) + ?ROW_BYTES,
    case py_config:max_state_bytes() of
        infinity -> {ok, Bytes};
        Max when is_integer(Max), Max > 0 -> reserve(Table, Key, Bytes, Max);
        %% Looked at when the application started; it has been set since.
        Wrong -> error({bad_config, max_state_bytes, Wrong})
    end.

reserve(Table, Key, Bytes, Max) ->
    case add(Bytes) of
        Counted when Counted =< Max -> {ok, Bytes};
        Counted ->
            %% What others add meanwhile stays counted.
            case add(Bytes + of_others(Table, Key) - Counted) of
                Exact when Exact =< Max -> {ok, Bytes};
                _ ->
                    _ = add(-Bytes),
                    {full, Max}
            end
    end.

add(Bytes) ->
    ets:update_counter(?COUNT_TABLE, bytes, {2, Bytes}, {bytes, 0}).

of_others(Table, Key) ->
    Rows = [{{'$1', '_', '$2'}, [{'=/=', '$1', {const, Key}}, {'>', '$2', 0}], ['$2']}],
    %% Others remove keys meanwhile.
    true = ets:safe_fixtable(Table, true),
    try
        sum(ets:select(Table, Rows, ?ROWS_AT_A_TIME), 0)
    after
        ets:safe_fixtable(Table, false)
    end.

sum({Found, Rest}, Sum) -> sum(ets:select(Rest), Sum + lists:sum(Found));
sum('$end_of_table', Sum) -> Sum.
