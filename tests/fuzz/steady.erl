%% What must be the same after whatever a hostile port program has done.
-module(steady).

-export([snapshot/0, differences/1, wait/2]).

-export_type([snapshot/0]).

-type snapshot() :: #{atom() => term()}.

%% Tables that grow by what was once used, up to bounds of their own.
-define(GROWING, [py_dead, py_counts, py_atoms, py_symptoms, py_origins]).
-define(GROWING_ROWS, 3000).
%% Code that was not loaded yet, and what the pools of py_atoms have not counted.
-define(ATOMS, 300).
-define(PROCESSES, 4).
-define(MEMORY, 48 bsl 20).
-define(ASK_MS, 200).

%% @doc Taken while nothing is asked of any pool.
-spec snapshot() -> snapshot().
snapshot() ->
    _ = [erlang:garbage_collect(Pid) || Pid <- processes()],
    #{names => maps:from_list([{Name, whereis(Name)} || Name <- registered()]),
      atoms => erlang:system_info(atom_count) - made_atoms(),
      processes => erlang:system_info(process_count),
      ports => length(erlang:ports()),
      descriptors => descriptors(),
      tables => maps:from_list([{Table, rows(Table)} || Table <- tables()]),
      all_tables => length(ets:all()),
      slots => lists:sum([py_semaphore:current(Pool) || {Pool, _, _} <- ets:tab2list(py_limits)]),
      in_flight => in_flight(),
      callbacks => py_counters:callbacks(),
      waiting => waiting_messages(),
      memory => erlang:memory(total)}.

%% What dead port processes owed goes when the next one ends.
rows(py_owed) -> length([Owner || {_, Owner, _} <- ets:tab2list(py_owed), is_process_alive(Owner)]);
rows(Table) -> ets:info(Table, size).

%% Of the node, whose segment files are none of its ports.
descriptors() ->
    {ok, Names} = file:list_dir_all("/proc/self/fd"),
    length(Names).

made_atoms() ->
    lists:sum([py_atoms:count(Pool) || {{made, Pool}, _} <- ets:tab2list(py_atoms)]).

tables() ->
    Owner = whereis(erlang_python_sup),
    [Table || Table <- ets:all(), ets:info(Table, owner) =:= Owner, ets:info(Table, named_table)].

in_flight() ->
    lists:sum([py_slots_audit:in_flight(Limit, Tag) || {Tag, _, Limit} <- ets:tab2list(py_tags)]).

waiting_messages() ->
    [{Name, N} || Name <- registered(), Pid <- [whereis(Name)], is_pid(Pid),
                  {message_queue_len, N} <- [process_info(Pid, message_queue_len)], N > 0].

%% @doc What is not as it was; `[]' when all is.
-spec differences(snapshot()) -> [term()].
differences(Before) ->
    After = snapshot(),
    lists:append([difference(Key, maps:get(Key, Before), maps:get(Key, After)) || Key <- maps:keys(Before)]).

difference(names, Before, After) ->
    [{another_process, Name, Pid, maps:get(Name, After, none)}
     || {Name, Pid} <- maps:to_list(Before), maps:get(Name, After, none) =/= Pid];
difference(tables, Before, After) ->
    [{table, Table, maps:get(Table, Before, none), Rows}
     || {Table, Rows} <- maps:to_list(After), not same_table(Table, maps:get(Table, Before, none), Rows)];
difference(Key, Before, After) ->
    Same = case Key of
        atoms -> After - Before =< ?ATOMS;
        memory -> After - Before =< ?MEMORY;
        processes -> After - Before =< ?PROCESSES;
        waiting -> After =:= [];
        _ -> After =< Before
    end,
    [{Key, Before, After} || not Same].

same_table(Table, Before, Rows) ->
    (is_integer(Before) andalso Rows =< Before) orelse (lists:member(Table, ?GROWING) andalso Rows =< ?GROWING_ROWS).

%% @doc Asks until nothing differs; what still does at the end of the time. Ends of processes take a while.
-spec wait(snapshot(), non_neg_integer()) -> [term()].
wait(Before, LeftMs) ->
    case differences(Before) of
        [] -> [];
        Differences when LeftMs =< 0 -> Differences;
        _ ->
            timer:sleep(?ASK_MS),
            wait(Before, LeftMs - ?ASK_MS)
    end.
