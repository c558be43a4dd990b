%% @doc One pool: its port processes, its contexts, and the process that runs them, which live and die together.
-module(py_pool_sup).
-behaviour(supervisor).

-export([start_link/2, siblings/1, init/1]).

-export_type([kept/0]).

%% What py_pool needs to stop, without the end of Python.
-define(STOP_MS, 10000).
%% How often a child that asks its supervisor looks whether that ends it meanwhile.
-define(LOOK_MS, 10).

%% What is kept of a pool: `standalone', the contexts that users start; `supervised', below a supervisor of theirs, together with
%% ours below that. It is gone when either is dead.
-type kept() :: py_pool_options:spec() | standalone | {supervised, {Theirs :: pid(), Ours :: pid()}, py_pool_options:spec()}.

-spec start_link(atom(), Spec) -> supervisor:startlink_ret() when
      Spec :: py_pool_options:spec() | standalone | {supervised, Theirs :: pid(), py_pool_options:spec()}.
start_link(Pool, Spec) ->
    supervisor:start_link(?MODULE, {Pool, Spec}).

%% @doc The children of this supervisor, for one of them, which traps exits. It may be ending the calling process instead of answering: it
%% would wait for that, and we for its answer.
-spec siblings(pid()) -> {ok, #{Id :: term() => pid()}} | {stop, Reason :: term()}.
siblings(Sup) ->
    siblings(Sup, gen_server:send_request(Sup, which_children)).

siblings(Sup, Request) ->
    receive
        {'EXIT', Sup, Reason} -> {stop, Reason}
    after 0 ->
        case gen_server:wait_response(Request, ?LOOK_MS) of
            {reply, Children} -> {ok, maps:from_list([{Id, Pid} || {Id, Pid, _, _} <- Children, is_pid(Pid)])};
            timeout -> siblings(Sup, Request);
            {error, {Reason, _}} -> {stop, Reason}
        end
    end.

-spec init({atom(), Spec}) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}} when
      Spec :: py_pool_options:spec() | standalone | {supervised, Theirs :: pid(), py_pool_options:spec()}.
init({Pool, {supervised, Theirs, Spec}}) ->
    started(Pool, {supervised, {Theirs, self()}, Spec});
init({Pool, Spec}) ->
    started(Pool, Spec).

started(Pool, Kept) ->
    ok = py_tables:keep_spec(Pool, Kept),
    {ok, {#{strategy => one_for_all, intensity => 5, period => 1}, children(Kept)}}.

%% The last one is stopped first, and ends the port processes in good order.
children(standalone) ->
    [ports(), #{id => py_standalone, start => {py_standalone, start_link, [self()]}, shutdown => ?STOP_MS}];
children(Kept = {supervised, _, #{shutdown_grace := Grace}}) ->
    children(Kept, ?STOP_MS + py_ending:most_ms(Grace));
children(Kept) ->
    children(Kept, ?STOP_MS).

children(Kept, StopMs) ->
    [ports(),
     #{id => py_context_sup, start => {py_context_sup, start_link, []}, type => supervisor, shutdown => infinity},
     #{id => py_pool, start => {py_pool, start_link, [Kept, self()]}, shutdown => StopMs}].

ports() ->
    #{id => py_port_sup, start => {py_port_sup, start_link, []}, type => supervisor, shutdown => infinity}.
