%% @doc The process that runs one callback: an Erlang function that Python has called. It answers the port itself. Its
%% py_port starts it, is linked to it, and answers for it when it is killed.
-module(py_callback).

-include("py_protocol.hrl").
-include("py_route.hrl").

-export([start/4, inline/3, killed/1, small_result/3]).
%% spawn.
-export([run/5]).

-export_type([header/0]).

%% Of a CALLBACK frame.
-type header() ::
    {?OP_CALLBACK, Ctx :: non_neg_integer(), Id :: non_neg_integer(), Chain :: pos_integer(), Env :: non_neg_integer(),
     Caller :: none | pid() | {pid(), Starter :: pid()}, Function :: binary() | non_neg_integer()}.

%% @doc For py_port. `Payload' is the list of arguments, in the external term format.
-spec start(port(), py_grants:grants(), header(), py_protocol:payload()) -> pid().
start(Port, Grants, Header, Payload) ->
    spawn_link(?MODULE, run, [self(), Port, Grants, Header, Payload]).

%% @private
-spec run(pid(), port(), py_grants:grants(), header(), py_protocol:payload()) -> ok.
run(Owner, Port, Grants, {?OP_CALLBACK, Ctx, Id, Chain, Env, Caller, Function}, Payload) ->
    Starter = starter(Caller, Grants),
    %% What proc_lib and Elixir's Task would put there, for who looks where a process comes from.
    put('$ancestors', [Owner]),
    put('$callers', [Starter || Starter =/= none]),
    ok = py_chain:enter(#callback{chain = Chain, starter = Starter, port_owner = Owner, id = Ctx, env = Env}),
    case attempt(fun() -> {ok, arguments(Payload)} end) of
        {ok, Args} ->
            IsKnown = py_grants:knows(Grants, Args),
            answer(Port, Owner, Ctx, Id, outcome(Function, Args, IsKnown), Grants, IsKnown);
        Error ->
            answer(Port, Owner, Ctx, Id, Error, Grants, false)
    end.

%% Python's word alone makes no process the caller.
starter({_, Starter}, Grants) -> starter(Starter, Grants);
starter(Caller, Grants) ->
    case py_grants:is_granted(Grants, Caller) of
        true -> Caller;
        false -> none
    end.

outcome(Function, Args, IsKnown) ->
    attempt(fun() ->
        case is_integer(Function) of
            true -> {ok, state(Function, Args, IsKnown)};
            false ->
                case py_functions:lookup(Function) of
                    {ok, {M, F}} -> {ok, M:F(Args)};
                    {ok, Fun} -> {ok, Fun(Args)};
                    unregistered -> unregistered
                end
        end
    end).

%% @doc Runs one of the system functions that need no process; never fails.
-spec inline(integer(), py_protocol:payload(), py_send:rule()) -> py_protocol:outcome().
inline(Function, Payload, Rule) ->
    attempt(fun() -> {ok, system(Function, arguments(Payload), Rule)} end).

system(?SYSTEM_IS_ALIVE, [Destination], Rule) -> py_send:is_alive(Destination, Rule);
system(?SYSTEM_WHEREIS, [Name], Rule) -> py_send:whereis(Name, Rule);
system(?SYSTEM_ADMIT_ATOM, [Name], Rule) when is_binary(Name) -> is_atom(py_atoms:admit(py_send:pool(Rule), Name));
system(?SYSTEM_STATE_INCR = Function, Args, Rule) ->
    state(Function, Args, py_grants:knows(py_send:grants(Rule), Args)).

%% What is read from there comes from Erlang. So no pid may get there that Python has made.
state(Function, _Args, false) when Function =:= ?SYSTEM_STATE_INCR; Function =:= ?SYSTEM_STATE_STORE ->
    error(pid_not_granted);
state(Function, Args, _IsKnown) ->
    py_state:system(Function, Args).

attempt(Fun) ->
    try
        Fun()
    catch
        Class:Reason:Stack -> {error, Class, Reason, py_error:exception(Class, Reason), py_error:stack(Stack)}
    end.

arguments(Payload) ->
    case py_payload:value(Payload) of
        {value, Arguments} -> Arguments;
        {error, Why} -> error(Why)
    end.

%% @doc The outcome of a callback whose process ended before it answered.
-spec killed(term()) -> py_protocol:outcome().
killed(Reason) ->
    {error, exit, Reason, py_error:exception(exit, Reason), <<>>}.

%% @doc An answer that fits one frame: a reason that is too large is replaced by its text.
-spec small_result(non_neg_integer(), non_neg_integer(), py_protocol:outcome()) -> binary().
small_result(Ctx, Id, Outcome) ->
    within(?PIECE_BYTES, Ctx, Id, Outcome).

%% An answer of any size that is allowed. When the port is closed nobody is left who waits.
answer(Port, Owner, Ctx, Id, Outcome, Grants, IsKnown) ->
    Frame = within(py_config:max_frame_bytes(), Ctx, Id, Outcome),
    _ = IsKnown andalso py_grants:answer(Grants, Outcome, Frame),
    Key = make_ref(),
    case aside(Port, Owner, Key, Ctx, Id, Outcome, byte_size(Frame)) of
        no_room ->
            _ = py_writer:send_all(Port, Owner, py_protocol:in_pieces(Key, 0, Frame), infinity),
            ok;
        _OkOrClosed ->
            ok
    end.

%% Large binaries travel through memory that is shared.
aside(_Port, _Owner, _Key, _Ctx, _Id, _Outcome, Bytes) when Bytes < ?LARGE_BYTES ->
    no_room;
aside(Port, Owner, Key, Ctx, Id, {ok, Value}, Bytes) ->
    case py_segments:take_out(Value, Key, Bytes) of
        {_, []} -> no_room;
        {Less, Binaries} ->
            py_segments:send(Port, Owner, {Key, 0, 0}, py_protocol:result(Ctx, Id, {ok, Less}), Binaries, infinity)
    end;
aside(_Port, _Owner, _Key, _Ctx, _Id, _Error, _Bytes) ->
    no_room.

within(Max, Ctx, Id, Outcome) ->
    case py_protocol:result(Ctx, Id, Outcome) of
        Frame when byte_size(Frame) =< Max -> Frame;
        Frame ->
            TooLarge = {too_large, byte_size(Frame), Max},
            py_protocol:result(Ctx, Id, case Outcome of
                {error, Class, _Reason, Text, Stack} -> {error, Class, Text, Text, Stack};
                _ -> {error, error, TooLarge, py_error:exception(error, TooLarge), <<>>}
            end)
    end.
