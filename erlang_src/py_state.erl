%% @doc Values that Erlang and Python share, by key: see docs/state.md.
%%
%% One ETS table, written by whoever calls. The table is the only truth: the limit on its entries (`max_state_entries')
%% is compared with its size, under a lock, by whoever adds a key. There is no counter beside the table, which a process
%% that is killed between two steps would leave wrong for ever. Changing, reading and removing what is there takes no
%% lock, and neither does adding while there is no limit.
-module(py_state).

-export([store/2, fetch/1, remove/1, keys/0, clear/0, incr/2, system/2]).

-export_type([key/0, full/0]).

-type key() :: term().
-type full() :: {state_full, Max :: pos_integer()}.

-define(TABLE, py_state).
-define(LOCK_TABLE, py_state_lock).
%% The lock is held for a microsecond, unless its holder was scheduled out. Then waiting leaves it the scheduler,
%% whatever the priorities are.
-define(YIELDS, 20).
-define(WAIT_MS, 1).

-spec store(key(), term()) -> ok | {error, full()}.
store(Key, Value) ->
    case change(Key, Value) of
        ok -> ok;
        missing ->
            add(fun() -> change(Key, Value) end,
                fun() ->
                    true = ets:insert(?TABLE, {Key, Value}),
                    ok
                end)
    end.

-spec fetch(key()) -> {ok, term()} | {error, not_found}.
fetch(Key) ->
    case ets:lookup(?TABLE, Key) of
        [{_, Value}] -> {ok, Value};
        [] -> {error, not_found}
    end.

-spec remove(key()) -> ok.
remove(Key) ->
    true = ets:delete(?TABLE, Key),
    ok.

%% @doc In no particular order.
-spec keys() -> [key()].
keys() ->
    ets:select(?TABLE, [{{'$1', '_'}, [], ['$1']}]).

%% @doc Nobody sees it half done.
-spec clear() -> ok.
clear() ->
    true = ets:delete_all_objects(?TABLE),
    ok.

%% @doc Adds to an integer, 0 when there is none by this key, and returns the sum. `badarg' when one of the two is no
%% integer; `{state_full, Max}' when the key would be one too many.
-spec incr(key(), integer()) -> integer().
incr(Key, N) when is_integer(N) ->
    case count(Key, N) of
        missing ->
            Sum = add(fun() -> count(Key, N) end, fun() -> ets:update_counter(?TABLE, Key, {2, N}, {Key, 0}) end),
            case Sum of
                {error, Full} -> error(Full);
                _ -> Sum
            end;
        Sum ->
            Sum
    end;
incr(_Key, _N) ->
    error(badarg).

%% @doc What Python asks for: the system functions of docs/protocol.md that are about state.
-spec system(4 | 10..14, [term()]) -> term().
system(4, [Key, N]) ->
    incr(Key, N);
system(10, [Key]) ->
    case fetch(Key) of
        {ok, Value} -> {true, Value};
        {error, not_found} -> false
    end;
system(11, [Key, Value]) ->
    case store(Key, Value) of
        ok -> ok;
        {error, Full} -> error(Full)
    end;
system(12, [Key]) ->
    remove(Key);
system(13, []) ->
    keys();
system(14, []) ->
    clear().

change(Key, Value) ->
    case ets:update_element(?TABLE, Key, {2, Value}) of
        true -> ok;
        false -> missing
    end.

%% The exception alone does not say which of two things is wrong, and the key may come while we ask.
count(Key, N) ->
    try
        ets:update_counter(?TABLE, Key, {2, N})
    catch
        error:badarg ->
            case ets:lookup(?TABLE, Key) of
                [] -> missing;
                [{_, Value}] when is_integer(Value) -> count(Key, N);
                [_] -> error(badarg)
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
