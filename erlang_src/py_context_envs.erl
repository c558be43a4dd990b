%% @doc The namespaces that processes have in a context: each its own, and those that it made by hand. They live as long as
%% the process. A value that py_context holds.
-module(py_context_envs).

-include("py_route.hrl").

-export([new/1, own/2, make/2, handle/3, down/3, close/1]).

-export_type([envs/0]).

-record(owner, {
    monitor :: reference(),
    own = none :: none | pos_integer(),
    handles = [] :: [{py_context:env(), pos_integer()}]
}).
-record(envs, {
    route :: #route{},
    next = ?SHARED_ENV + 1 :: pos_integer(),
    owners = #{} :: #{pid() => #owner{}}
}).
-opaque envs() :: #envs{}.

%% @doc For the context with this route, which names it.
-spec new(#route{}) -> envs().
new(Route) ->
    #envs{route = Route}.

%% @doc The namespace of its own that a process has, made if there is none.
-spec own(pid(), envs()) -> {pos_integer(), envs()}.
own(Pid, E = #envs{route = Route}) ->
    case owner(Pid, E) of
        #owner{own = Env} when is_integer(Env) ->
            {Env, E};
        Owner ->
            {Env, Next} = allot(E),
            ok = py_homes:add_env(Pid, Route#route{env = Env}),
            {Env, put_owner(Pid, Owner#owner{own = Env}, Next)}
    end.

%% @doc A new one.
-spec make(pid(), envs()) -> {py_context:env(), envs()}.
make(Pid, E) ->
    {Env, Next} = allot(E),
    give(Pid, Env, Next).

%% @doc What stands for a namespace that there is. In a chain it may have been made by somebody else, with whom it goes.
-spec handle(pid(), pos_integer(), envs()) -> {py_context:env(), envs()}.
handle(Pid, Env, E = #envs{owners = Owners}) ->
    case lists:keyfind(Env, 2, lists:append([Handles || #owner{handles = Handles} <- maps:values(Owners)])) of
        {Handle, _} -> {Handle, E};
        false -> give(Pid, Env, E)
    end.

%% @doc A process has ended that may have had some: they go.
-spec down(reference(), pid(), envs()) -> envs().
down(Monitor, Pid, E = #envs{route = Route = #route{port = Port, id = Id}, owners = Owners}) ->
    case Owners of
        #{Pid := #owner{monitor = Monitor, own = Own, handles = Handles}} ->
            ok = py_homes:remove_env(Pid, Route),
            lists:foreach(fun({Handle, _}) -> py_tables:remove_handle(Handle) end, Handles),
            lists:foreach(fun(Env) -> py_writer:post(Port, py_protocol:drop_env(Id, Env)) end,
                          lists:usort([Own || Own =/= none] ++ [Env || {_, Env} <- Handles])),
            E#envs{owners = maps:remove(Pid, Owners)};
        _ ->
            E
    end.

%% @doc The context ends, and they with it.
-spec close(envs()) -> ok.
close(#envs{owners = Owners}) ->
    _ = [py_tables:remove_handle(Handle) || #owner{handles = Handles} <- maps:values(Owners), {Handle, _} <- Handles],
    ok.

allot(E = #envs{next = Env}) ->
    {Env, E#envs{next = Env + 1}}.

give(Pid, Env, E = #envs{route = #route{ctx = Ctx}}) ->
    Owner = #owner{handles = Handles} = owner(Pid, E),
    Handle = make_ref(),
    ok = py_tables:add_handle(Handle, Ctx, Env),
    {Handle, put_owner(Pid, Owner#owner{handles = [{Handle, Env} | Handles]}, E)}.

owner(Pid, #envs{owners = Owners}) ->
    case Owners of
        #{Pid := Owner} -> Owner;
        _ -> #owner{monitor = monitor(process, Pid)}
    end.

put_owner(Pid, Owner, E = #envs{owners = Owners}) ->
    E#envs{owners = Owners#{Pid => Owner}}.
