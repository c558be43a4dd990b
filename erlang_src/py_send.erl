%% @doc Whom Python may send messages to (pool options `send' and `send_names', py:register_name/1): a rule, as a value
%% that each py_port has. It is applied in Erlang, to every message.
-module(py_send).

-export([new/2, pool/1, grants/1, reach/2, is_alive/2, whereis/2]).
%% Names that are registered for all pools, and the names in options.
-export([register_name/1, unregister_name/1, options/1, name/1]).
-compile({no_auto_import, [whereis/1, whereis/2]}).

-export_type([rule/0, options/0, destination/0, refusal/0]).

%% Names are atoms or binaries, as Python gives them.
-type destination() :: pid() | atom() | binary() | {atom() | binary(), node() | binary()}.
-type options() :: #{send := granted | local | any, send_names := [atom() | {atom(), node()}]}.
%% `refused': not without a grant. `protected': a process of OTP or of this application.
-type refusal() :: refused | protected.

-record(rule, {
    pool :: atom(),
    send :: granted | local | any,
    names :: #{atom() | {atom(), node()} => []},
    grants :: py_grants:grants()
}).
-opaque rule() :: #rule{}.

-define(NAMES, py_send_names).

%% @doc The rule of the calling process, a py_port.
-spec new(atom(), options()) -> rule().
new(Pool, #{send := Send, send_names := Names}) ->
    #rule{pool = Pool, send = Send, names = maps:from_keys(Names, []), grants = py_grants:new(Send)}.

%% @doc The pool that the rule is for.
-spec pool(rule()) -> atom().
pool(#rule{pool = Pool}) ->
    Pool.

-spec grants(rule()) -> py_grants:grants().
grants(#rule{grants = Grants}) ->
    Grants.

%% @doc Where a message is to go. Names of this node become pids, those of others stay what they are. `nobody': there is
%% no such process.
-spec reach(term(), rule()) -> {ok, pid() | {atom(), node()}} | nobody | refusal().
reach(Pid, Rule) when is_pid(Pid) ->
    pid(Pid, Rule);
reach({Name, Node}, Rule) ->
    case existing(Node) of
        Here when Here =:= node() -> named(existing(Name), Rule);
        _ -> elsewhere(Name, Node, Rule)
    end;
reach(Name, Rule) ->
    named(existing(Name), Rule).

pid(Pid, #rule{send = any}) -> {ok, Pid};
pid(Pid, Rule = #rule{send = granted}) -> judged(Pid, refused, Rule);
pid(Pid, Rule) when node(Pid) =:= node() -> judged(Pid, open, Rule);
pid(_Pid, _Local) -> refused.

%% `Ungranted': what holds for one that Erlang has not given.
judged(Pid, Ungranted, #rule{grants = Grants}) ->
    case py_grants:lookup(Grants, Pid) of
        {How, unknown} ->
            Verdict = verdict(How, Pid),
            ok = py_grants:remember(Grants, Pid, Verdict),
            answer(Verdict, Pid);
        {_, Verdict} -> answer(Verdict, Pid);
        none when Ungranted =:= open -> answer(verdict(given, Pid), Pid);
        none -> unless_dead(refused, Pid)
    end.

%% Of a process of another node it cannot be known what it is.
verdict(_How, Pid) when node(Pid) =/= node() ->
    open;
verdict(How, Pid) ->
    IsProtected = case How of
        caller -> py_protected:caller(Pid);
        given -> py_protected:process(Pid)
    end,
    case IsProtected of
        true -> protected;
        false -> open
    end.

answer(open, Pid) -> {ok, Pid};
answer(protected, _Pid) -> protected.

unless_dead(Refusal, Pid) ->
    case node(Pid) =/= node() orelse is_process_alive(Pid) of
        true -> Refusal;
        false -> nobody
    end.

named(Name, Rule = #rule{send = Send}) ->
    case erlang:whereis(Name) of
        Pid when is_pid(Pid) ->
            case Send =:= granted andalso is_open(Name, Rule) of
                true -> judged(Pid, open, Rule);
                false -> refused_by_name(Name, pid(Pid, Rule))
            end;
        _NobodyOrPort ->
            nobody
    end.

%% Nobody is to be told to grant what cannot be granted.
refused_by_name(Name, refused) ->
    case py_protected:name(Name) of
        true -> protected;
        false -> refused
    end;
refused_by_name(_Name, Answer) ->
    Answer.

is_open(Name, #rule{names = Names}) ->
    is_map_key(Name, Names) orelse ets:member(?NAMES, Name).

%% A new atom is one of those that Python may make.
elsewhere(Name, Node, #rule{send = any, pool = Pool}) ->
    case {admitted(Name, Pool), admitted(Node, Pool)} of
        {_, undefined} -> nobody;
        {undefined, _} -> nobody;
        Remote -> {ok, Remote}
    end;
elsewhere(Name, Node, #rule{names = Names}) ->
    Remote = {existing(Name), existing(Node)},
    case is_map_key(Remote, Names) of
        true -> {ok, Remote};
        false -> refused
    end.

admitted(Name, _Pool) when is_atom(Name) -> Name;
admitted(Name, Pool) when is_binary(Name) ->
    case py_atoms:admit(Pool, Name) of
        Atom when is_atom(Atom) -> Atom;
        _ -> undefined
    end;
admitted(_, _Pool) -> undefined.

%% `undefined' is nobody's name.
existing(Name) when is_atom(Name) -> Name;
existing(Name) when is_binary(Name) ->
    try
        binary_to_existing_atom(Name)
    catch
        error:_ -> undefined
    end;
existing(_) -> undefined.

%% @doc Whether a message would find somebody; of processes on other nodes that is taken for granted.
-spec is_alive(term(), rule()) -> boolean() | refusal().
is_alive(Destination, Rule = #rule{pool = Pool}) ->
    case reach(Destination, Rule) of
        {ok, Pid} when is_pid(Pid), node(Pid) =:= node() -> is_process_alive(Pid);
        {ok, _Remote} -> true;
        nobody -> false;
        Refusal ->
            ok = py_tables:count(Pool, messages_refused),
            Refusal
    end.

%% @doc The process of this name, on this node, which Python may send to from now on.
-spec whereis(term(), rule()) -> pid() | none | refusal().
whereis(Name, Rule = #rule{grants = Grants}) when is_atom(Name); is_binary(Name) ->
    case named(existing(Name), Rule) of
        {ok, Pid} ->
            ok = py_grants:add(Grants, Pid),
            Pid;
        nobody -> none;
        Refusal -> Refusal
    end;
whereis(_Name, _Rule) ->
    none.

%% @doc Every pool may send to the process of this name, whichever that is, from now on.
-spec register_name(py_args:name()) -> ok | {error, {protected_name, atom()} | {not_started, erlang_python}}.
register_name(Text) ->
    Name = checked(Text),
    case is_protected(Name) of
        true -> {error, {protected_name, Name}};
        false -> change(fun() -> ets:insert(?NAMES, {Name}) end)
    end.

%% @doc What Python was given by that name it keeps.
-spec unregister_name(py_args:name()) -> ok | {error, {not_started, erlang_python}}.
unregister_name(Text) ->
    Name = checked(Text),
    change(fun() -> ets:delete(?NAMES, Name) end).

change(Change) ->
    try Change() of
        true -> ok
    catch
        error:badarg -> {error, {not_started, erlang_python}}
    end.

checked(Text) ->
    case name(py_args:name(name, Text)) of
        {ok, Name} -> Name;
        bad -> error({bad_argument, name, Text})
    end.

%% By its name, or by what has it now.
is_protected(Name) ->
    py_protected:name(Name) orelse
        case erlang:whereis(Name) of
            Pid when is_pid(Pid) -> py_protected:process(Pid);
            _ -> false
        end.

%% @doc The names of the option `send_names'.
-spec options(term()) -> {ok, [atom() | {atom(), node()}]} | bad | {error, {bad_option, send_names, term()}}.
options(Names) when is_list(Names), length(Names) >= 0 ->
    Checked = [option(Name) || Name <- Names],
    case {lists:member(bad, Checked), [Name || {protected, Name} <- Checked]} of
        {true, _} -> bad;
        {false, [Name | _]} -> {error, {bad_option, send_names, {protected_name, Name}}};
        {false, []} -> {ok, [Name || {ok, Name} <- Checked]}
    end;
options(_) ->
    bad.

option({Name, Node}) ->
    case {name(Name), name(Node)} of
        {{ok, N}, {ok, Here}} when Here =:= node() -> option(N);
        {{ok, N}, {ok, Where}} ->
            case py_protected:name(N) of
                true -> {protected, {N, Where}};
                false -> {ok, {N, Where}}
            end;
        _ -> bad
    end;
option(Text) ->
    case name(Text) of
        {ok, Name} ->
            case is_protected(Name) of
                true -> {protected, Name};
                false -> {ok, Name}
            end;
        bad -> bad
    end.

%% @doc The atom that a name is.
-spec name(term()) -> {ok, atom()} | bad.
name(Name) when is_atom(Name), Name =/= undefined -> {ok, Name};
name(Name) when is_binary(Name), Name =/= <<>> ->
    try binary_to_atom(Name) of
        undefined -> bad;
        Atom -> {ok, Atom}
    catch
        error:_ -> bad
    end;
name(_) -> bad.
