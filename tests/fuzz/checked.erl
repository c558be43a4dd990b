%% Callers of a pool that know what every answer must be.
-module(checked).

-export([start/3, pause/1, resume/1, stop/1, counts/1]).

-export_type([callers/0]).

-record(callers, {pids :: [pid()], counts :: counters:counters_ref()}).
-opaque callers() :: #callers{}.

%% `spared': nobody hurts the pool, so every answer is `{ok, Value}'. `killed': it may die under a call.
-type fate() :: spared | killed.

-define(RIGHT, 1).
-define(WRONG, 2).
-define(LOST, 3).      % not answered in time, or with an error that the pool's fate does not explain
-define(DOUBLED, 4).   % a message that nobody has asked for
-define(DIED, 5).      % answered by the pool's death
-define(COUNTS, 5).
%% No pool needs so long, but a call that is never answered takes longer.
-define(PATIENCE_MS, 60000).

-spec start(atom(), pos_integer(), fate()) -> callers().
start(Pool, Number, Fate) ->
    Counts = counters:new(?COUNTS, []),
    #callers{pids = [spawn_link(fun() -> loop(Pool, Fate, Counts, N) end) || N <- lists:seq(1, Number)], counts = Counts}.

%% @doc Returns when no call is out.
-spec pause(callers()) -> ok.
pause(#callers{pids = Pids, counts = Counts}) ->
    lists:foreach(
        fun(Pid) ->
            Pid ! {checked_pause, self()},
            receive {checked_paused, Pid} -> ok
            after 2 * ?PATIENCE_MS ->
                io:format("a call is not answered: ~0p~n", [process_info(Pid, [current_stacktrace, dictionary, messages])]),
                counters:add(Counts, ?LOST, 1)
            end
        end, Pids).

-spec resume(callers()) -> ok.
resume(#callers{pids = Pids}) ->
    lists:foreach(fun(Pid) -> Pid ! checked_resume end, Pids).

-spec stop(callers()) -> ok.
stop(Callers = #callers{pids = Pids}) ->
    ok = pause(Callers),
    lists:foreach(fun(Pid) -> unlink(Pid), exit(Pid, kill) end, Pids).

-spec counts(callers()) -> #{atom() => non_neg_integer()}.
counts(#callers{counts = Counts}) ->
    maps:from_list([{Name, counters:get(Counts, At)}
                    || {Name, At} <- [{right, ?RIGHT}, {wrong, ?WRONG}, {lost, ?LOST}, {doubled, ?DOUBLED}, {died, ?DIED}]]).

loop(Pool, Fate, Counts, N) ->
    receive
        {checked_pause, From} ->
            From ! {checked_paused, self()},
            receive checked_resume -> ok end
    after 0 -> ok
    end,
    {What, Expected} = question(N),
    count(What, Expected, ask(Pool, What, Expected), Fate, Counts),
    doubled(What, Counts),
    loop(Pool, Fate, Counts, N + 1).

doubled(What, Counts) ->
    receive
        Message when element(1, Message) =/= checked_pause ->
            io:format("a message that nobody has asked for, after ~p: ~0P~n", [What, Message, 20]),
            counters:add(Counts, ?DOUBLED, 1),
            doubled(What, Counts)
    after 0 -> ok
    end.

question(N) ->
    Token = {self(), N, erlang:unique_integer()},
    case rand:uniform(20) of
        1 -> {call, #{N => binary:copy(<<N:32>>, 400000)}};
        2 -> {callback, {N, <<"through a callback">>}};
        3 -> {stream, [N + I || I <- lists:seq(1, 20)]};
        4 -> {eval, [N, N * N bsl 70, -1.5]};
        5 -> {cast, Token};
        _ -> {call, Token}
    end.

ask(Pool, What, Expected) ->
    try
        case What of
            call -> py:call(Pool, probe, echo, [Expected]);
            callback -> in_context(Pool, fun(Ctx) ->
                            py:eval(Ctx, <<"__import__('erlang').call('hostile_echo', x)">>, #{x => Expected}) end);
            eval -> in_context(Pool, fun(Ctx) -> py:eval(Ctx, <<"x">>, #{x => Expected}) end);
            stream -> in_context(Pool, fun(Ctx) -> bound(Ctx, fun() -> py:stream(builtins, iter, [Expected]) end) end);
            cast -> in_context(Pool, fun(Ctx) -> bound(Ctx, fun() ->
                        py:await(py:cast(probe, echo, [Expected]), ?PATIENCE_MS) end) end)
        end
    catch
        Class:Reason:Stack -> {raised, Class, Reason, Stack}
    end.

in_context(Pool, Ask) ->
    case py_context_router:contexts(Pool) of
        [] -> {error, {context_died, starting}};
        Contexts -> Ask(lists:nth(rand:uniform(length(Contexts)), Contexts))
    end.

bound(Ctx, Ask) ->
    case py_context_router:bind_context(Ctx) of
        ok -> try Ask() after py_context_router:unbind_context() end;
        Error -> Error
    end.

count(What, Expected, Answer, Fate, Counts) ->
    At = case Answer of
        {ok, Expected} -> ?RIGHT;
        {ok, _} -> ?WRONG;
        {error, {context_died, _}} when Fate =:= killed -> ?DIED;
        {error, {no_such_pool, _}} when Fate =:= killed -> ?DIED;
        {error, {pool_down, _}} when Fate =:= killed -> ?DIED;
        {error, {context_died, _}, _} when Fate =:= killed -> ?DIED;
        _ -> ?LOST
    end,
    At =:= ?WRONG orelse At =:= ?LOST
        andalso io:format("~p of ~0P is answered by ~0P~n", [What, Expected, 20, Answer, 60]),
    counters:add(Counts, At, 1).
