%% @doc The process that runs one callback: an Erlang function that Python has called. It answers the port itself. Its
%% py_port starts it, is linked to it, and answers for it when it is killed.
-module(py_callback).

-include("py_protocol.hrl").
-include("py_route.hrl").

-export([start/3, inline/2, killed/1, small_result/3]).
%% spawn.
-export([run/4]).

-export_type([header/0]).

%% Of a CALLBACK frame.
-type header() ::
    {?OP_CALLBACK, Ctx :: non_neg_integer(), Id :: non_neg_integer(), Chain :: pos_integer(), Env :: non_neg_integer(),
     Caller :: none | pid() | {pid(), Starter :: pid()}, Function :: binary() | non_neg_integer()}.

%% @doc For py_port. `Payload' is the list of arguments, in the external term format.
-spec start(port(), header(), py_protocol:payload()) -> pid().
start(Port, Header, Payload) ->
    spawn_link(?MODULE, run, [self(), Port, Header, Payload]).

%% @private
-spec run(pid(), port(), header(), py_protocol:payload()) -> ok.
run(Owner, Port, {?OP_CALLBACK, Ctx, Id, Chain, Env, Caller, Function}, Payload) ->
    Starter = starter(Caller),
    %% What proc_lib and Elixir's Task would put there, for who looks where a process comes from.
    put('$ancestors', [Owner]),
    put('$callers', [Starter || Starter =/= none]),
    ok = py_chain:enter(#callback{chain = Chain, starter = Starter, port_owner = Owner, id = Ctx, env = Env}),
    write(Port, result(Ctx, Id, outcome(Function, Payload))).

starter({_, Starter}) -> Starter;
starter(Caller) -> Caller.

outcome(Function, Payload) ->
    attempt(fun() ->
        Args = arguments(Payload),
        case is_integer(Function) of
            true -> {ok, py_state:system(Function, Args)};
            false ->
                case py_functions:lookup(Function) of
                    {ok, {M, F}} -> {ok, M:F(Args)};
                    {ok, Fun} -> {ok, Fun(Args)};
                    unregistered -> unregistered
                end
        end
    end).

%% @doc Runs one of the system functions that need no process; never fails.
-spec inline(integer(), py_protocol:payload()) -> py_protocol:outcome().
inline(Function, Payload) ->
    attempt(fun() -> {ok, system(Function, arguments(Payload))} end).

system(?SYSTEM_IS_ALIVE, [Destination]) -> py_messages:is_alive(Destination);
system(?SYSTEM_WHEREIS, [Name]) -> py_messages:whereis(Name);
system(?SYSTEM_ADMIT_ATOM, [Name]) when is_binary(Name) -> is_atom(py_atoms:admit(Name));
system(?SYSTEM_STATE_INCR = Function, Args) -> py_state:system(Function, Args).

attempt(Fun) ->
    try
        Fun()
    catch
        Class:Reason:Stack -> {error, Class, Reason, py_error:exception(Class, Reason), py_error:stack(Stack)}
    end.

%% Decoded with `[safe]', as results are.
arguments(Pieces) when is_list(Pieces) ->
    arguments(iolist_to_binary(Pieces));
arguments(Payload) ->
    try
        binary_to_term(Payload, [safe])
    catch
        error:badarg -> error({not_encodable, atom_table_full})
    end.

%% @doc The outcome of a callback whose process ended before it answered.
-spec killed(term()) -> py_protocol:outcome().
killed(Reason) ->
    {error, exit, Reason, py_error:exception(exit, Reason), <<>>}.

%% @doc An answer that fits one frame: a reason that is too large is replaced by its text.
-spec small_result(non_neg_integer(), non_neg_integer(), py_protocol:outcome()) -> binary().
small_result(Ctx, Id, Outcome) ->
    within(?PIECE_BYTES, Ctx, Id, Outcome).

%% The frames of an answer of any size that is allowed.
result(Ctx, Id, Outcome) ->
    case within(py_config:max_frame_bytes(), Ctx, Id, Outcome) of
        Frame when byte_size(Frame) =< ?PIECE_BYTES -> [Frame];
        Frame -> py_protocol:pieces(make_ref(), 0, Frame)
    end.

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

write(_Port, []) ->
    ok;
write(Port, [Frame | Rest]) ->
    try erlang:port_command(Port, Frame) of
        true -> write(Port, Rest)
    catch
        %% Nobody is left who waits.
        error:badarg -> ok
    end.
