%% @doc What a py_port keeps of the callbacks that run: a value. py_port is their supervisor; it is linked to them, so
%% they end with it.
-module(py_callbacks).

-include("py_protocol.hrl").

-export([new/1, start/3, ended/3, abandon/2, close/1]).

-export_type([callbacks/0]).

-record(callbacks, {
    port :: port(),
    slots :: py_slots:ref(),
    processes = #{} :: #{pid() => {Ctx :: non_neg_integer(), Id :: non_neg_integer()} | abandoned},
    ids = #{} :: #{non_neg_integer() => pid()}
}).
-opaque callbacks() :: #callbacks{}.

-spec new(port()) -> callbacks().
new(Port) ->
    Slots = py_slots:ref(),
    %% A py_port that was killed could not count them down.
    ok = py_slots:add_callbacks(Slots, -py_chain:sweep()),
    #callbacks{port = Port, slots = Slots}.

%% @doc Starts what Python has called, or does it on the spot where that takes no time.
-spec start(py_callback:header(), py_protocol:payload(), callbacks()) -> callbacks().
start({?OP_CALLBACK, Ctx, Id, _Chain, _Env, _Caller, Function}, Payload, C) when ?SYSTEM_INLINE(Function) ->
    answer(Ctx, Id, py_callback:inline(Function, Payload), C);
start(Header = {?OP_CALLBACK, Ctx, Id, _, _, _, _}, Payload, C = #callbacks{port = Port}) ->
    #callbacks{processes = Processes, ids = Ids} = C,
    %% Before it runs: whoever it spawns must find that there is one.
    ok = py_slots:add_callbacks(C#callbacks.slots, 1),
    try py_callback:start(Port, Header, Payload) of
        Pid -> C#callbacks{processes = Processes#{Pid => {Ctx, Id}}, ids = Ids#{Id => Pid}}
    catch
        %% The node has no room for a process: that is the caller's news, and not the end of the pool.
        error:system_limit ->
            ok = py_slots:add_callbacks(C#callbacks.slots, -1),
            answer(Ctx, Id, py_callback:killed(system_limit), C)
    end.

%% @doc A linked process has ended; `unknown' when it did not run a callback. One that was killed is answered for.
-spec ended(pid(), term(), callbacks()) -> callbacks() | unknown.
ended(Pid, Reason, C = #callbacks{processes = Processes, ids = Ids, slots = Slots}) ->
    case maps:take(Pid, Processes) of
        {What, Rest} ->
            ok = py_chain:leave(Pid),
            ok = py_slots:add_callbacks(Slots, -1),
            Left = C#callbacks{processes = Rest},
            case What of
                abandoned ->
                    ok = py_chain:cancel_asked(Pid),
                    Left;
                {_Ctx, Id} when Reason =:= normal -> Left#callbacks{ids = maps:remove(Id, Ids)};
                {Ctx, Id} ->
                    ok = py_chain:cancel_asked(Pid),
                    answer(Ctx, Id, py_callback:killed(Reason), Left#callbacks{ids = maps:remove(Id, Ids)})
            end;
        error ->
            unknown
    end.

%% @doc Nobody waits for it any more.
-spec abandon(non_neg_integer(), callbacks()) -> callbacks().
abandon(Id, C = #callbacks{processes = Processes, ids = Ids}) ->
    case maps:take(Id, Ids) of
        {Pid, Rest} ->
            true = exit(Pid, {shutdown, abandoned}),
            C#callbacks{processes = Processes#{Pid := abandoned}, ids = Rest};
        error ->
            C
    end.

%% @doc The port process is gone: callbacks end with their py_port, which cannot see it.
-spec close(callbacks()) -> ok.
close(#callbacks{processes = Processes, slots = Slots}) ->
    Pids = maps:keys(Processes),
    lists:foreach(fun py_chain:leave/1, Pids),
    ok = py_chain:cancel_asked_by(Pids),
    py_slots:add_callbacks(Slots, -map_size(Processes)).

answer(Ctx, Id, Outcome, C = #callbacks{port = Port}) ->
    ok = py_port:write(Port, py_callback:small_result(Ctx, Id, Outcome)),
    C.
