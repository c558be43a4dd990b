%% @doc The Erlang functions that Python may call by name. Port processes know all names, so that Python finds out about
%% a wrong one without asking. This process only puts changes in order: the table outlives it, and it tells the names
%% again when it is back.
-module(py_functions).
-behaviour(gen_server).

-include("py_protocol.hrl").

%% API.
-export([register/2, register/3, unregister/1, lookup/1, names/0]).
%% For py_port.
-export([add_port/3, remove_port/1]).
-export([start_link/0]).
%% gen_server.
-export([init/1, handle_call/3, handle_cast/2]).

-export_type([callable/0]).

%% Gets the list of arguments.
-type callable() :: fun(([term()]) -> term()) | {module(), atom()}.

-define(TABLE, py_functions).
-define(PORTS, py_ports).
%% While the process restarts: how often to try again.
-define(RETRY_MS, 10).

%% API.

%% @doc Python's `erlang.call(Name, A, B)' runs `Fun([A, B])'. One that is registered by this name is replaced.
-spec register(py_args:name(), fun(([term()]) -> term())) -> ok.
register(Name, Fun) when is_function(Fun, 1) ->
    call({put, text(Name), Fun});
register(_Name, Fun) ->
    error({bad_argument, function, Fun}).

%% @doc The same for `Module:Function([A, B])', in the code that is loaded by then.
-spec register(py_args:name(), module(), atom()) -> ok.
register(Name, Module, Function) when is_atom(Module), is_atom(Function) ->
    call({put, text(Name), {Module, Function}});
register(_Name, Module, Function) when is_atom(Module) ->
    error({bad_argument, function, Function});
register(_Name, Module, _Function) ->
    error({bad_argument, module, Module}).

-spec unregister(py_args:name()) -> ok.
unregister(Name) ->
    call({remove, text(Name)}).

-spec lookup(binary()) -> {ok, callable()} | unregistered.
lookup(Name) ->
    case ets:lookup(?TABLE, Name) of
        [{_, Function}] -> {ok, Function};
        [] -> unregistered
    end.

%% @doc All names, in order.
-spec names() -> [binary()].
names() ->
    lists:sort(ets:select(?TABLE, [{{'$1', '_'}, [], ['$1']}])).

text(Name) ->
    case py_args:name(name, Name) of
        Atom when is_atom(Atom) -> atom_to_binary(Atom);
        Binary ->
            case unicode:characters_to_binary(Binary) of
                Binary when Binary =/= <<>> -> Binary;
                _ -> error({bad_argument, name, Name})
            end
    end.

%% What is asked for can be asked for again: a crash is survived.
call(Request) ->
    try
        gen_server:call(?MODULE, Request, infinity)
    catch
        exit:{Reason, {gen_server, call, _}} when Reason =:= noproc; Reason =:= killed ->
            whereis(erlang_python_sup) =/= undefined orelse error({not_started, erlang_python}),
            receive after ?RETRY_MS -> call(Request) end
    end.

%% For py_port.

%% @doc From now on this port process is told the names; those that it was started with are `Known'.
-spec add_port(pid(), port(), [binary()]) -> ok.
add_port(Owner, Port, Known) ->
    true = ets:insert(?PORTS, {Owner, Port}),
    case names() of
        Known -> ok;
        Names -> tell(Port, Names)
    end.

-spec remove_port(pid()) -> ok.
remove_port(Owner) ->
    true = ets:delete(?PORTS, Owner),
    ok.

%% Several processes may write to a port, and one that has to wait for it comes late: each looks whether what it told is
%% still true, so the last word is.
tell(Port, Names) ->
    Frames = frames(Names),
    case write(Port, Frames, [nosuspend]) of
        ok -> told(Port, Names);
        busy ->
            _ = spawn(fun() -> tell_when_free(Port, Names) end),
            ok;
        closed ->
            %% A py_port that was killed leaves its row.
            true = ets:match_delete(?PORTS, {'_', Port}),
            ok
    end.

tell_when_free(Port, Names) ->
    case write(Port, frames(Names), []) of
        ok -> told(Port, Names);
        closed -> ok
    end.

told(Port, Told) ->
    case names() of
        Told -> ok;
        Names -> tell(Port, Names)
    end.

frames(Names) ->
    case py_protocol:functions(Names) of
        Frame when byte_size(Frame) =< ?PIECE_BYTES -> [Frame];
        Frame -> py_protocol:pieces(make_ref(), 0, Frame)
    end.

write(_Port, [], _Options) ->
    ok;
write(Port, [Frame | Rest], Options) ->
    try erlang:port_command(Port, Frame, Options) of
        true -> write(Port, Rest, Options);
        false -> busy
    catch
        error:badarg -> closed
    end.

-spec start_link() -> gen_server:start_ret().
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% gen_server.

-spec init([]) -> {ok, none}.
init([]) ->
    ok = tell_all(),
    {ok, none}.

-spec handle_call(term(), gen_server:from(), none) -> {reply, term(), none}.
handle_call({put, Name, Function}, _From, none) ->
    true = ets:insert(?TABLE, {Name, Function}),
    {reply, tell_all(), none};
handle_call({remove, Name}, _From, none) ->
    true = ets:delete(?TABLE, Name),
    {reply, tell_all(), none}.

-spec handle_cast(term(), none) -> {noreply, none}.
handle_cast(_Message, none) ->
    {noreply, none}.

tell_all() ->
    Names = names(),
    lists:foreach(fun({_, Port}) -> tell(Port, Names) end, ets:tab2list(?PORTS)).
