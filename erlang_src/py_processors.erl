%% @doc How many processors Python may use: as many as the emulator has schedulers for that are online, and no more than
%% the control group of the node allows. A node that was told how many schedulers to have does not look at that.
-module(py_processors).

-export([count/0, count/2, allowed/1]).

-type read() :: fun((file:filename()) -> {ok, binary()} | {error, term()}).

-define(ROOT, "/sys/fs/cgroup").
%% Of version 1, where it is not at the root.
-define(CPU_ROOTS, ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"]).

-spec count() -> pos_integer().
count() ->
    count(fun erlang:system_info/1, fun file:read_file/1).

%% @doc What the emulator has found itself counts; it does not look at all the groups that the files speak of.
-spec count(Info :: fun((atom()) -> pos_integer() | unknown), read()) -> pos_integer().
count(Info, Read) ->
    Quota = case Info(cpu_quota) of
        unknown -> allowed(Read);
        Known -> Known
    end,
    min(Info(schedulers_online), Quota).

%% @doc What the control groups allow, rounded up; atoms are larger than numbers. `Read' reads a file.
-spec allowed(read()) -> pos_integer() | infinity.
allowed(Read) ->
    case Read("/proc/self/cgroup") of
        {ok, Text} ->
            Lines = [binary:split(Line, <<":">>, [global]) || Line <- binary:split(Text, <<"\n">>, [global])],
            lists:min([infinity | lists:append([limits(Line, Read) || Line <- Lines])]);
        {error, _} ->
            infinity
    end.

limits([<<"0">>, <<>>, Path], Read) ->
    [limit(Read(filename:join(Dir, "cpu.max"))) || Dir <- dirs(?ROOT, Path)];
limits([_, Controllers, Path], Read) ->
    case lists:member(<<"cpu">>, binary:split(Controllers, <<",">>, [global])) of
        true -> [limit(Read(filename:join(Dir, "cpu.cfs_quota_us")), Read(filename:join(Dir, "cpu.cfs_period_us")))
                 || Root <- ?CPU_ROOTS, Dir <- dirs(Root, Path)];
        false -> []
    end;
limits(_Line, _Read) ->
    [].

%% A group has what those above it have. In a container the path may be that of the host, and only the root is there.
dirs(Root, Path) ->
    Names = [Name || Name <- binary:split(Path, <<"/">>, [global]), Name =/= <<>>],
    [filename:join([Root | [binary_to_list(Name) || Name <- lists:sublist(Names, N)]]) || N <- lists:seq(0, length(Names))].

limit({ok, Text}) ->
    case [number(Word) || Word <- string:lexemes(binary_to_list(Text), " \n")] of
        [Quota, Period] when is_integer(Quota), is_integer(Period) -> share(Quota, Period);
        _ -> infinity
    end;
limit(_) ->
    infinity.

limit({ok, Quota}, {ok, Period}) -> limit({ok, <<Quota/binary, " ", Period/binary>>});
limit(_, _) -> infinity.

share(Quota, Period) when Quota > 0, Period > 0 -> (Quota + Period - 1) div Period;
share(_NoLimit, _Period) -> infinity.

number(Word) ->
    case string:to_integer(Word) of
        {N, []} -> N;
        _ -> Word
    end.
