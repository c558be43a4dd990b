%% @doc Values that Erlang and Python share, by key: see docs/state.md.
%%
%% One ETS table, written by whoever calls. The table is the only truth: the limit on its entries (`max_state_entries')
%% is compared with its size, under a lock, by whoever adds a key. There is no counter beside the table, which a process
%% that is killed between two steps would leave wrong for ever. Changing, reading and removing what is there takes no
%% lock, and neither does adding while there is no limit.
%%
%% A row is `{Key, Value, Bytes}': what it takes of `max_state_bytes' (py_state_bytes), 0 when Erlang has stored it.
-module(py_state).

-export([store/2, fetch/1, remove/1, keys/0, clear/0, incr/1, incr/2, decr/1, decr/2, system/2]).

-export_type([key/0, full/0]).

-type key() :: term().
%% Of a key too many; the exception of {@link incr/2} and Python's say what the limit is: `{state_full, Max}', or
%% `{state_full, {bytes, Max}}' of what Python stores.
-type full() :: full.

-define(TABLE, py_state).
-define(LOCK_TABLE, py_state_lock).
%% The lock is held for a microsecond, unless its holder was scheduled out. Then waiting leaves it the scheduler,
%% whatever the priorities are.
-define(YIELDS, 20).
-define(WAIT_MS, 1).

-spec store(key(), term()) -> ok | {error, full() | py_started:not_started()}.
store(Key, Value) ->
    try store(Key, Value, 0) of
        ok -> ok;
        {error, {state_full, _}} -> {error, full}
    catch
        error:Reason:Stack -> py_started:failed(Reason, Stack)
    end.

store(Key, Value, Bytes) ->
    case change(Key, Value, Bytes) of
        ok -> ok;
        missing ->
            add(fun() -> change(Key, Value, Bytes) end,
                fun() ->
                    true = ets:insert(?TABLE, {Key, Value, Bytes}),
                    ok
                end)
    end.

-spec fetch(key()) -> {ok, term()} | {error, not_found | py_started:not_started()}.
fetch(Key) ->
    try ets:lookup(?TABLE, Key) of
        [{_, Value, _}] -> {ok, Value};
        [] -> {error, not_found}
    catch
        error:Reason:Stack -> py_started:failed(Reason, Stack)
    end.

-spec remove(key()) -> ok.
remove(Key) ->
    try ets:delete(?TABLE, Key) of
        true -> ok
    catch
        error:Reason:Stack -> py_started:raise(Reason, Stack)
    end.

%% @doc In no particular order.
-spec keys() -> [key()].
keys() ->
    try
        ets:select(?TABLE, [{{'$1', '_', '_'}, [], ['$1']}])
    catch
        error:Reason:Stack -> py_started:raise(Reason, Stack)
    end.

%% @doc Nobody sees it half done.
-spec clear() -> ok.
clear() ->
    try ets:delete_all_objects(?TABLE) of
        true -> ok
    catch
        error:Reason:Stack -> py_started:raise(Reason, Stack)
    end.

%% @doc Counts a key up by one.
-spec incr(key()) -> integer().
incr(Key) ->
    incr(Key, 1).

%% @doc Adds to an integer, 0 when there is none by this key, and returns the sum. `badarg' when one of the two is no
%% integer; `{state_full, Max}' when the key would be one too many.
-spec incr(key(), integer()) -> integer().
incr(Key, N) ->
    incr(Key, N, 0).

incr(Key, N, Bytes) when is_integer(N) ->
    case count(Key, N, Bytes) of
        missing ->
            Sum = add(fun() -> count(Key, N, Bytes) end,
                      fun() -> sum(ets:update_counter(?TABLE, Key, [{2, N}, {3, Bytes}], {Key, 0, 0})) end),
            case Sum of
                {error, Full} -> error(Full);
                _ -> Sum
            end;
        Sum ->
            Sum
    end;
incr(_Key, _N, _Bytes) ->
    error(badarg).

%% @doc Counts a key down, as {@link incr/2} counts up.
-spec decr(key()) -> integer().
decr(Key) ->
    incr(Key, -1).

-spec decr(key(), integer()) -> integer().
decr(Key, N) when is_integer(N) ->
    incr(Key, -N);
decr(_Key, _N) ->
    error(badarg).

sum([Sum, _Bytes]) -> Sum.

%% @doc What Python asks for: the system functions of docs/protocol.md that are about state.
-spec system(4 | 10..14, [term()]) -> term().
system(4, [Key, N]) ->
    incr(Key, N, reserved(Key, N));
system(10, [Key]) ->
    case fetch(Key) of
        {ok, Value} -> {true, Value};
        {error, not_found} -> false
    end;
system(11, [Key, Value]) ->
    case store(Key, Value, reserved(Key, Value)) of
        ok -> ok;
        {error, Full} -> error(Full)
    end;
system(12, [Key]) ->
    remove(Key);
system(13, []) ->
    keys();
system(14, []) ->
    clear().

%% Room for what Python stores.
reserved(Key, Value) ->
    case py_state_bytes:reserve(?TABLE, Key, Value) of
        {ok, Bytes} -> Bytes;
        {full, Max} -> error({state_full, {bytes, Max}})
    end.

change(Key, Value, Bytes) ->
    case ets:update_element(?TABLE, Key, [{2, Value}, {3, Bytes}]) of
        true -> ok;
        false -> missing
    end.

%% The exception alone does not say which of two things is wrong, and the key may come while we ask.
count(Key, N, Bytes) ->
    try
        sum(ets:update_counter(?TABLE, Key, [{2, N}, {3, Bytes}]))
    catch
        error:badarg ->
            case fetch(Key) of
                {error, not_found} -> missing;
                {ok, Value} when is_integer(Value) -> count(Key, N, Bytes);
                {ok, _} -> error(badarg);
                {error, NotStarted} -> error(NotStarted)
            end
    end.

%% `Add' where there is room. Where there is none the key may have been added since the caller looked: then `Change'.
add(Change, Add) ->
    case py_config:max_state_entries() of
        infinity ->
            Add();
        Max when is_integer(Max), Max > 0 ->
            ok = lock(?YIELDS),
            try
                case ets:info(?TABLE, size) < Max of
                    true -> Add();
                    false -> changed(Change(), Max)
                end
            after
                unlock()
            end;
        %% Looked at when the application started; it has been set since.
        Wrong ->
            error({bad_config, max_state_entries, Wrong})
    end.

changed(missing, Max) -> {error, {state_full, Max}};
changed(Result, _Max) -> Result.

%% A lock that names its holder: one that was killed has left the table whole, and the next one takes the lock from it.
lock(Yields) ->
    case ets:insert_new(?LOCK_TABLE, {lock, self()}) of
        true ->
            ok;
        false ->
            _ = [ets:delete_object(?LOCK_TABLE, Held) || {_, Pid} = Held <- ets:lookup(?LOCK_TABLE, lock),
                                                         not is_process_alive(Pid)],
            wait(Yields)
    end.

wait(0) ->
    receive after ?WAIT_MS -> lock(0) end;
wait(Yields) ->
    true = erlang:yield(),
    lock(Yields - 1).

unlock() ->
    true = ets:delete_object(?LOCK_TABLE, {lock, self()}).
