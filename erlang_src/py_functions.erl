%% @doc The Erlang functions that Python may call by name. Port processes know all names, so that Python finds out about
%% a wrong one without asking. This process only puts changes in order: the table outlives it, and it tells the names
%% again when it is back. What is asked of it at the same time is told at once, as one change.
-module(py_functions).
-behaviour(gen_server).

-include("py_protocol.hrl").
-include("py_unexpected.hrl").

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

-define(IS_CALLABLE(Function),
        (is_function(Function, 1)
         orelse (is_tuple(Function) andalso tuple_size(Function) =:= 2 andalso is_atom(element(1, Function))
                 andalso is_atom(element(2, Function))))).

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

call(Request) ->
    py_started:call(?MODULE, Request).

%% For py_port.

%% @doc From now on this port process is told the names; those that it was started with are `Known'.
-spec add_port(pid(), port(), [binary()]) -> ok.
add_port(Owner, Port, Known) ->
    true = ets:insert(?PORTS, {Owner, Port}),
    case names() of
        Known -> ok;
        %% Not at once: the registry may have told this port something newer in this moment, or be about to.
        _ -> tell_later(Port)
    end.

-spec remove_port(pid()) -> ok.
remove_port(Owner) ->
    true = ets:delete(?PORTS, Owner),
    ok.

%% While frames wait for the port the names are told in their turn, as they are then: however many changes come meanwhile.
tell(Port, Frames) ->
    case py_writer:offer(Port, Frames) of
        ok -> ok;
        busy -> tell_later(Port);
        closed ->
            %% A py_port that was killed leaves its row.
            true = ets:match_delete(?PORTS, {'_', Port}),
            ok
    end.

tell_later(Port) ->
    py_writer:post_latest(Port, fun() -> frames(names()) end).

frames(Names) ->
    case py_protocol:functions(Names) of
        Frame when byte_size(Frame) =< ?PIECE_BYTES -> [Frame];
        Frame -> py_protocol:pieces(make_ref(), 0, Frame)
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

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, ok | {error, bad_request}, #state{}, timeout()} | {noreply, #state{}, timeout()}.
handle_call({put, Name, Function}, From, State = #state{names = Names})
        when ?IS_FROM(From), is_binary(Name), ?IS_CALLABLE(Function) ->
    true = ets:insert(?TABLE, {Name, Function}),
    changed(ordsets:add_element(Name, Names), From, State);
handle_call({remove, Name}, From, State = #state{names = Names}) when ?IS_FROM(From), is_binary(Name) ->
    true = ets:delete(?TABLE, Name),
    changed(ordsets:del_element(Name, Names), From, State);
handle_call(Request, From, State) ->
    case py_unexpected:call(Request, From, State) of
        {reply, Answer, _} -> {reply, Answer, State, patience(State)};
        {noreply, _} -> {noreply, State, patience(State)}
    end.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}, timeout()}.
handle_cast(Message, State) ->
    ok = py_unexpected:dropped(Message),
    {noreply, State, patience(State)}.

%% Nothing else is asked for at the moment.
-spec handle_info(term(), #state{}) -> {noreply, #state{}, timeout()}.
handle_info(timeout, State = #state{names = Names, waiting = Waiting}) ->
    ok = tell_all(Names),
    lists:foreach(fun(From) -> gen_server:reply(From, ok) end, Waiting),
    {noreply, State#state{waiting = []}, infinity};
handle_info(Message, State) ->
    ok = py_unexpected:dropped(Message),
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
    lists:foreach(fun({_Owner, Port}) -> tell(Port, Frames) end, ets:tab2list(?PORTS)).
