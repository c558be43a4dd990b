%% What the operating system (Linux) says of a process, and sending signals without the delay of a new shell.
-module(bench_os).

-export([resident_bytes/1, cpu_ticks/1, wake_ups/1, killer/0, kill/2]).

%% proc(5)
-define(UTIME, 14).
-define(STIME, 15).

-spec resident_bytes(pos_integer()) -> pos_integer().
resident_bytes(Pid) ->
    [KiB] = status_fields(proc([Pid, "status"]), <<"VmRSS:">>),
    KiB * 1024.

%% User and system time of all its threads, in clock ticks (10 ms).
-spec cpu_ticks(pos_integer()) -> non_neg_integer().
cpu_ticks(Pid) ->
    %% The second field, the name of the program in parentheses, may hold spaces.
    [_, Rest] = string:split(proc([Pid, "stat"]), <<") ">>, trailing),
    Fields = [<<"pid">>, <<"name">> | string:lexemes(Rest, " ")],
    binary_to_integer(lists:nth(?UTIME, Fields)) + binary_to_integer(lists:nth(?STIME, Fields)).

%% How often its threads have gone to sleep so far: each time something had woken them.
-spec wake_ups(pos_integer()) -> non_neg_integer().
wake_ups(Pid) ->
    {ok, Threads} = file:list_dir(path([Pid, "task"])),
    lists:sum([hd(status_fields(proc([Pid, "task", Thread, "status"]), <<"voluntary_ctxt_switches:">>))
               || Thread <- Threads]).

-spec killer() -> port().
killer() ->
    open_port({spawn_executable, "/bin/sh"},
              [use_stdio, {args, ["-c", "while read -r pid; do kill -KILL \"$pid\"; done"]}]).

-spec kill(port(), pos_integer()) -> true.
kill(Killer, Pid) ->
    port_command(Killer, [integer_to_list(Pid), $\n]).

status_fields(Text, Key) ->
    [binary_to_integer(hd(string:lexemes(Value, " \t")))
     || Line <- binary:split(Text, <<"\n">>, [global]), [<<>>, Value] <- [string:split(Line, Key)]].

proc(Parts) ->
    {ok, Text} = file:read_file(path(Parts)),
    Text.

path(Parts) ->
    filename:join(["/proc" | [if is_integer(Part) -> integer_to_list(Part); true -> Part end || Part <- Parts]]).
