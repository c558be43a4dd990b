%% @doc What a py_port keeps of the callbacks that run: a value. py_port is their supervisor; it is linked to them, so
%% they end with it.
%%
%% The port sends no more of them at once than `max_callbacks', and than two of the largest arguments take, but for those of
%% nested requests; the others wait there. Its word is not relied upon: beyond a multiple of that they are refused here,
%% whether they are nested or not. Callbacks that were abandoned and trap exits may take their time, but no more of them than
%% `max_callbacks' do: the oldest is killed.
-module(py_callbacks).

-include("py_protocol.hrl").

-export([new/3, start/3, ended/3, abandon/2, close/1]).

-export_type([callbacks/0]).

-record(callbacks, {
    port :: port(),
    rule :: py_send:rule(),
    max :: pos_integer() | infinity,
    most :: pos_integer() | infinity,       % processes that are not abandoned
    processes = #{} :: #{pid() => {Ctx :: non_neg_integer(), Id :: non_neg_integer()} | {abandoned, integer()}},
    %% Of those with large arguments.
    large = #{} :: #{pid() => Bytes :: pos_integer()},
    bytes = 0 :: non_neg_integer(),
    most_bytes :: pos_integer(),
    ids = #{} :: #{non_neg_integer() => pid()},
    %% Abandoned and still there, by the order in which that happened.
    lingering = gb_trees:empty() :: gb_trees:tree(integer(), pid())
}).
-opaque callbacks() :: #callbacks{}.

%% Processes for each callback that may be out: those of nested requests are beyond the limit. And at least as many as
%% one chain may have, down to a thousand levels in each of two contexts.
-define(PROCESSES_PER_CALLBACK, 10).
-define(MIN_PROCESSES, 2000).
%% Arguments of so many times the largest size, those of nested requests included.
-define(LARGEST_ARGUMENTS, 8).
%% Smaller ones are bounded by their number.
-define(KEPT_BYTES, 65536).

%% @doc Of a pool of whose callbacks at most `Max' run at once, 0 for any number.
-spec new(port(), py_send:rule(), non_neg_integer()) -> callbacks().
new(Port, Rule, Max) ->
    %% A py_port that was killed could not count them down.
    ok = py_counters:add_callbacks(-py_chain:sweep()),
    C = #callbacks{port = Port, rule = Rule, max = infinity, most = infinity,
                   most_bytes = ?LARGEST_ARGUMENTS * py_config:max_frame_bytes()},
    case Max of
        0 -> C;
        _ -> C#callbacks{max = Max, most = max(?MIN_PROCESSES, ?PROCESSES_PER_CALLBACK * Max)}
    end.

%% @doc Starts what Python has called, or does it on the spot where that takes no time.
-spec start(py_callback:header(), py_protocol:payload(), callbacks()) -> callbacks().
start({?OP_CALLBACK, Ctx, Id, _Chain, _Env, _Caller, Function}, Payload, C) when ?SYSTEM_INLINE(Function) ->
    answer(Ctx, Id, py_callback:inline(Function, Payload, C#callbacks.rule), C);
start({?OP_CALLBACK, Ctx, Id, _, _, _, _}, _Payload, C = #callbacks{most = Most, ids = Ids}) when map_size(Ids) >= Most ->
    answer(Ctx, Id, py_callback:killed({too_many_callbacks, Most}), C);
start(Header, Payload, C = #callbacks{bytes = Before, most_bytes = Most}) ->
    case py_payload:size(Payload) of
        Bytes when Bytes < ?KEPT_BYTES ->
            {_, Started} = spawned(Header, Payload, C),
            Started;
        Bytes when Before + Bytes > Most ->
            {?OP_CALLBACK, Ctx, Id, _, _, _, _} = Header,
            answer(Ctx, Id, py_callback:killed({too_many_callbacks, {bytes, Most}}), C);
        Bytes ->
            case spawned(Header, Payload, C) of
                {none, Refused} -> Refused;
                {Pid, Started = #callbacks{large = Large}} ->
                    Started#callbacks{large = Large#{Pid => Bytes}, bytes = Before + Bytes}
            end
    end.

spawned(Header = {?OP_CALLBACK, Ctx, Id, _, _, _, _}, Payload, C = #callbacks{port = Port, rule = Rule}) ->
    #callbacks{processes = Processes, ids = Ids} = C,
    %% Before it runs: whoever it spawns must find that there is one.
    ok = py_counters:add_callbacks(1),
    try py_callback:start(Port, py_send:grants(Rule), Header, Payload) of
        Pid -> {Pid, C#callbacks{processes = Processes#{Pid => {Ctx, Id}}, ids = Ids#{Id => Pid}}}
    catch
        %% The node has no room for a process: that is the caller's news, and not the end of the pool.
        error:system_limit ->
            ok = py_counters:add_callbacks(-1),
            {none, answer(Ctx, Id, py_callback:killed(system_limit), C)}
    end.

%% @doc A linked process has ended; `unknown' when it did not run a callback. One that was killed is answered for.
-spec ended(pid(), term(), callbacks()) -> callbacks() | unknown.
ended(Pid, Reason, C = #callbacks{processes = Processes, ids = Ids}) ->
    case maps:take(Pid, Processes) of
        {What, Rest} ->
            ok = py_chain:leave(Pid),
            ok = py_counters:add_callbacks(-1),
            Left = without_arguments(Pid, C#callbacks{processes = Rest}),
            case What of
                {abandoned, Number} ->
                    ok = py_chain:cancel_asked(Pid),
                    Left#callbacks{lingering = gb_trees:delete_any(Number, C#callbacks.lingering)};
                {_Ctx, Id} when Reason =:= normal -> Left#callbacks{ids = maps:remove(Id, Ids)};
                {Ctx, Id} ->
                    ok = py_chain:cancel_asked(Pid),
                    answer(Ctx, Id, py_callback:killed(Reason), Left#callbacks{ids = maps:remove(Id, Ids)})
            end;
        error ->
            unknown
    end.

without_arguments(Pid, C = #callbacks{large = Large, bytes = Bytes}) when is_map_key(Pid, Large) ->
    C#callbacks{large = maps:remove(Pid, Large), bytes = Bytes - map_get(Pid, Large)};
without_arguments(_Pid, C) ->
    C.

%% @doc Nobody waits for it any more.
-spec abandon(non_neg_integer(), callbacks()) -> callbacks().
abandon(Id, C = #callbacks{processes = Processes, ids = Ids, lingering = Lingering}) ->
    case maps:take(Id, Ids) of
        {Pid, Rest} ->
            true = exit(Pid, {shutdown, abandoned}),
            Number = erlang:unique_integer([monotonic]),
            bounded(C#callbacks{processes = Processes#{Pid := {abandoned, Number}}, ids = Rest,
                                lingering = gb_trees:insert(Number, Pid, Lingering)});
        error ->
            C
    end.

bounded(C = #callbacks{max = Max, lingering = Lingering}) ->
    case is_integer(Max) andalso gb_trees:size(Lingering) > Max of
        true ->
            {_, Pid, Rest} = gb_trees:take_smallest(Lingering),
            true = exit(Pid, kill),
            C#callbacks{lingering = Rest};
        false ->
            C
    end.

%% @doc The port process is gone: callbacks end with their py_port, which cannot see it. Those that were told to end before
%% are not told again.
-spec close(callbacks()) -> ok.
close(#callbacks{processes = Processes}) ->
    Pids = maps:keys(Processes),
    _ = [exit(Pid, kill) || {Pid, {abandoned, _}} <- maps:to_list(Processes)],
    lists:foreach(fun py_chain:leave/1, Pids),
    ok = py_chain:cancel_asked_by(Pids),
    py_counters:add_callbacks(-map_size(Processes)).

%% It gives Python no pids: what a process was killed with may be Python's own word.
answer(Ctx, Id, Outcome, C = #callbacks{port = Port}) ->
    ok = py_writer:post(Port, py_callback:small_result(Ctx, Id, Outcome)),
    C.
