%% @doc Chains of calls: Python calls Erlang, which calls Python, which calls Erlang. A callback, and what it spawns,
%% calls Python on behalf of the process that began the chain: in the context that waits for it, with the namespace of
%% that process.
%%
%% A process finds out that it belongs to a chain when it first calls Python: then it looks for a callback among its
%% ancestors. That costs nothing while no callback runs.
-module(py_chain).

-include("py_route.hrl").

%% For callbacks.
-export([asking/2, answered/1, cancel_asked/1, cancel_asked_by/1]).
-export([enter/1, leave/1, sweep/0]).
%% For py_env.
-export([caller/0, plain/0, starter/1]).
%% For py_pool.
-export([source/0]).

-define(TABLE, py_callbacks).
-define(ASKED, py_asked).
%% How many processes are looked at, each before those that it came from.
-define(LOOKS, 9).

%% @doc The calling process runs this callback.
-spec enter(#callback{}) -> ok.
enter(Callback) ->
    true = ets:insert(?TABLE, {self(), Callback}),
    ok.

%% @doc The process that ran a callback has ended.
-spec leave(pid()) -> ok.
leave(Pid) ->
    true = ets:delete(?TABLE, Pid),
    ok.

%% @doc The calling process, which runs a callback, is about to wait for this request.
-spec asking(reference(), #route{}) -> ok.
asking(Alias, #route{port = Port, id = Id}) ->
    true = ets:insert(?ASKED, {{self(), Alias}, Port, Id}),
    ok.

-spec answered(reference()) -> ok.
answered(Alias) ->
    true = ets:delete(?ASKED, {self(), Alias}),
    ok.

%% @doc The process of a callback has ended before its time: nobody waits for what it had asked of Python, so that ends
%% too, with all that it has asked of Erlang in its turn.
-spec cancel_asked(pid()) -> ok.
cancel_asked(Pid) ->
    lists:foreach(
        fun({{_, Alias}, Port, Id}) -> py_writer:post(Port, py_protocol:cancel(Alias, Id)) end,
        take_asked(Pid)).

%% The process of cancel_asked_by/1 may outlive the application, and then there are neither tables nor ports.
take_asked(Pid) ->
    try
        Asked = ets:select(?ASKED, [{{{Pid, '_'}, '_', '_'}, [], ['$_']}]),
        lists:foreach(fun({Key, _, _}) -> ets:delete(?ASKED, Key) end, Asked),
        Asked
    catch
        error:badarg -> []
    end.

%% @doc The same for processes that are about to end.
-spec cancel_asked_by([pid()]) -> ok.
cancel_asked_by([]) ->
    ok;
cancel_asked_by(Pids) ->
    _ = spawn(fun() ->
        Monitors = [{monitor(process, Pid), Pid} || Pid <- Pids],
        lists:foreach(
            fun({Monitor, Pid}) -> receive {'DOWN', Monitor, process, _, _} -> cancel_asked(Pid) end end,
            Monitors)
    end),
    ok.

%% @doc Forgets callbacks whose py_port could not see them end: it died with them. How many those were.
-spec sweep() -> non_neg_integer().
sweep() ->
    length([Pid || {Pid, #callback{port_owner = Owner}} <- ets:tab2list(?TABLE), not is_process_alive(Owner),
                   %% Another py_port may do the same.
                   ets:take(?TABLE, Pid) =/= []]).

%% @doc What a process begins with when it first calls Python.
-spec caller() -> #caller{}.
caller() ->
    case py_counters:callbacks() of
        0 -> plain();
        _ ->
            case callback() of
                none -> plain();
                {Root, Callback} -> nested(Root, Callback)
            end
    end.

%% @doc A process that belongs to no chain.
-spec plain() -> #caller{}.
plain() ->
    #caller{id = py_pid:self_id(), who = self()}.

%% @doc The process whose namespaces the caller works with.
-spec starter(#caller{}) -> pid().
starter(#caller{who = {_, Starter}}) -> Starter;
starter(#caller{who = Self}) -> Self.

%% @doc Where the chain of the calling process began: with an Erlang process, or in a context that was starting or a
%% thread of Python's (then the number of the context may be 0). `none': it belongs to no chain.
-spec source() -> none | {erlang, pid()} | {python, PyPort :: pid(), CtxId :: non_neg_integer()}.
source() ->
    case py_counters:callbacks() of
        0 -> none;
        _ ->
            case callback() of
                none -> none;
                {_, Callback} -> source(Callback)
            end
    end.

source(#callback{starter = none, port_owner = Owner, id = Id}) ->
    {python, Owner, Id};
source(#callback{starter = Starter}) ->
    case running([Starter]) of
        none -> {erlang, Starter};
        {_, First} -> source(First)
    end.

%% Where routed requests go is where Python waits for the callback, so that they find there what its caller defined,
%% unless that has its namespace in the default pool and none here.
nested(Root, #callback{chain = Chain, starter = Known, port_owner = Owner, id = Id, env = Env}) ->
    Starter = case Known of
        none -> Root;
        _ -> Known
    end,
    Caller = (plain())#caller{who = {self(), Starter}, chain = Chain, root = case Root =:= self() of
        true -> none;
        false -> Root
    end},
    case py_homes:context(Owner, Id) of
        none ->
            Caller;
        Route = #route{ctx = Ctx, pool = Pool} ->
            Home = Route#route{env = case Env of
                0 -> py_homes:env(Ctx, Starter);
                _ -> Env
            end},
            Caller#caller{
                home = Ctx,
                pools = #{default => default(Home, Starter), Pool => Home},
                envs = case Home of
                    #route{env = 0} -> #{};
                    _ -> #{Ctx => Home}
                end}
    end.

default(Home = #route{env = 0, pool = Pool}, Starter) when Pool =/= default ->
    case py_homes:in_pool(default, Starter) of
        none -> Home;
        Other -> Other
    end;
default(Home, _Starter) ->
    Home.

%% The callback that the calling process runs or descends from. Elixir's tasks know who asked for them, processes of
%% proc_lib all their ancestors; of the others only the parent is known.
callback() ->
    look([self()], ?LOOKS).

look([Pid | Rest], Left) when Left > 0 ->
    case origin(Pid) of
        {Callers, Ancestors, Parent} ->
            case running([Pid, Parent | Callers ++ Ancestors]) of
                none -> look(Rest ++ next(Callers, Ancestors, Parent), Left - 1);
                Found -> Found
            end;
        unknown ->
            look(Rest, Left - 1)
    end;
look(_, _) ->
    none.

%% Who may know more. Asking a process costs it a signal, and the supervisors of a busy node must not be asked: one of
%% proc_lib is looked up no further than its ancestors go, unless the only one is its parent, which then is not of
%% proc_lib.
next(Callers, Ancestors, Parent) ->
    [lists:last(Callers) || Callers =/= []] ++ [Parent || Ancestors =:= [] orelse Ancestors =:= [Parent]].

origin(Self) when Self =:= self() ->
    {parent, Parent} = process_info(Self, parent),
    {pids(get('$callers')), pids(get('$ancestors')), Parent};
origin(Pid) when is_pid(Pid), node(Pid) =:= node() ->
    case process_info(Pid, [parent, dictionary]) of
        [{parent, Parent}, {dictionary, Dictionary}] ->
            Value = fun(Key) -> pids(proplists:get_value(Key, Dictionary)) end,
            {Value('$callers'), Value('$ancestors'), Parent};
        undefined ->
            unknown
    end;
origin(_) ->
    unknown.

running([Pid | Rest]) when is_pid(Pid) ->
    case ets:lookup(?TABLE, Pid) of
        [Found] ->
            case is_process_alive(Pid) of
                true -> Found;
                false -> running(Rest)
            end;
        [] ->
            running(Rest)
    end;
running([_ | Rest]) ->
    running(Rest);
running([]) ->
    none.

%% Ancestors may be names.
pids(List) when is_list(List) -> [pid(Element) || Element <- List];
pids(_) -> [].

pid(Name) when is_atom(Name) -> whereis(Name);
pid(Other) -> Other.
