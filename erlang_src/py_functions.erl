%% @doc The Erlang functions that Python may call by name. Port processes know all names, so that Python finds out about
%% a wrong one without asking. This process only puts changes in order: the table outlives it, and it tells the names
%% again when it is back. What is asked of it at the same time is told at once, as one change.
-module(py_functions).
-behaviour(gen_server).

-include("py_protocol.hrl").

%% API.
-export([register/2, register/3, unregister/1, lookup/1, names/0]).
%% For py_port.
-export([add_port/3, remove_port/1]).
-export([start_link/0]).
%% gen_server.
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-export_type([callable/0]).

%% Gets the list of arguments.
-type callable() :: fun(([term()]) -> term()) | {module(), atom()}.

-record(state, {
    %% Those of the table, in order.
    names :: ordsets:ordset(binary()),
    %% Since names came or went that the ports do not know of: who waits for that.
    waiting = [] :: [gen_server:from()]
}).

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

%% @doc The same for `Module:Function([A, B])', in the code that is loaded by then. No atom is made for it.
-spec register(py_args:name(), py_args:name(), py_args:name()) -> ok.
register(Name, Module, Function) ->
    call({put, text(Name), {existing(module, Module), existing(function, Function)}}).

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

existing(Which, Name) ->
    case py_args:name(Which, Name) of
        Atom when is_atom(Atom) -> Atom;
        Binary ->
            try binary_to_existing_atom(Binary)
            catch error:badarg -> error({bad_argument, Which, Name})
            end
    end.

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
        Names ->
            ok = tell(Port, frames(Names)),
            told(Port, Names)
    end.

-spec remove_port(pid()) -> ok.
remove_port(Owner) ->
    true = ets:delete(?PORTS, Owner),
    ok.

tell(Port, Frames) ->
    case write(Port, Frames, [nosuspend]) of
        ok -> ok;
        busy ->
            %% One process waits for a busy port, however many names come meanwhile: each of them has all of them to tell.
            _ = ets:insert_new(?PORTS, {{waited_for, Port}}) andalso wait_for(Port),
            ok;
        closed ->
            %% A py_port that was killed leaves its row.
            true = ets:match_delete(?PORTS, {'_', Port}),
            ok
    end.

wait_for(Port) ->
    try spawn(fun() -> tell_when_free(Port) end)
    catch error:system_limit -> tell_when_free(Port)
    end.

tell_when_free(Port) ->
    Names = names(),
    Written = write(Port, frames(Names), []),
    %% Before the look whether that is still true: who comes later starts another one.
    true = ets:delete(?PORTS, {waited_for, Port}),
    case Written of
        ok -> told(Port, Names);
        closed -> ok
    end.

%% Several processes may write to a port. All but the registry may come late, when the names have changed: they look
%% whether what they told is still true, so the last word is.
told(Port, Told) ->
    case names() of
        Told -> ok;
        Names ->
            ok = tell(Port, frames(Names)),
            told(Port, Names)
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

-spec init([]) -> {ok, #state{}}.
init([]) ->
    Names = names(),
    ok = tell_all(Names),
    {ok, #state{names = Names}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, ok, #state{}, timeout()} | {noreply, #state{}, timeout()}.
handle_call({put, Name, Function}, From, State = #state{names = Names}) ->
    true = ets:insert(?TABLE, {Name, Function}),
    changed(ordsets:add_element(Name, Names), From, State);
handle_call({remove, Name}, From, State = #state{names = Names}) ->
    true = ets:delete(?TABLE, Name),
    changed(ordsets:del_element(Name, Names), From, State).

-spec handle_cast(term(), #state{}) -> {noreply, #state{}, timeout()}.
handle_cast(_Message, State) ->
    {noreply, State, patience(State)}.

%% Nothing else is asked for at the moment.
-spec handle_info(term(), #state{}) -> {noreply, #state{}, timeout()}.
handle_info(timeout, State = #state{names = Names, waiting = Waiting}) ->
    ok = tell_all(Names),
    lists:foreach(fun(From) -> gen_server:reply(From, ok) end, Waiting),
    {noreply, State#state{waiting = []}, infinity};
handle_info(_Message, State) ->
    {noreply, State, patience(State)}.

%% Another function by a name that the ports know is no news for them.
changed(Names, _From, State = #state{names = Names, waiting = []}) ->
    {reply, ok, State, infinity};
changed(Names, From, State = #state{waiting = Waiting}) ->
    {noreply, State#state{names = Names, waiting = [From | Waiting]}, 0}.

patience(#state{waiting = []}) -> infinity;
patience(#state{}) -> 0.

tell_all(Names) ->
    Frames = frames(Names),
    lists:foreach(fun({Owner, Port}) when is_pid(Owner) -> tell(Port, Frames);
                     (_WaitedFor) -> ok
                  end, ets:tab2list(?PORTS)).
