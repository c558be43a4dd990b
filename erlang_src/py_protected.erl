%% @doc Which processes no Python may reach: those of OTP and of this application. A message to one of them is remote
%% control of the node (`{'$gen_call', ...}' to rex, `{stop, stop}' to init), so it does not matter how Python came by
%% the pid or the name.
%%
%% Decided by what a process is, not by its name alone. Code of users runs in processes that OTP has started, too (of a
%% shell, of rpc, of a timer), and in those of our callbacks: these are the users'.
-module(py_protected).

-export([name/1, process/1, caller/1]).

%% Applications of OTP; what has `registered' names of its own is looked up in its .app.
-define(OTP, [asn1, common_test, compiler, crypto, debugger, dialyzer, diameter, edoc, eldap, erl_docgen, erl_interface,
              erts, et, eunit, ftp, inets, jinterface, kernel, megaco, mnesia, observer, odbc, os_mon, parsetools,
              public_key, reltool, runtime_tools, sasl, snmp, ssh, ssl, stdlib, syntax_tools, tftp, tools, wx, xmerl]).
%% Those of which users start processes with functions, such as spawn(timer, sleep, [1000]).
-define(LIBRARIES, [common_test, erts, eunit, kernel, stdlib]).
%% Those of other languages that the node stands on, by the names that they register alone: their modules are what
%% users' processes run.
-define(LANGUAGES, [elixir, iex, logger, mix]).
%% Their processes have names that no .app tells, or had another one in an older OTP.
-define(BOOT_NAMES, [
    init, erl_prim_loader, erts_code_purger, socket_registry, application_controller, code_server, error_logger,
    logger, logger_proxy, logger_sup, logger_handler_watcher, logger_std_h_default, user, user_drv, user_drv_writer,
    user_drv_reader, standard_error, standard_error_sup, rex, kernel_sup, kernel_safe_sup, kernel_refc, net_kernel,
    net_sup, net_ticker, auth, erl_epmd, erl_signal_server, erl_boot_server, file_server_2, global_name_server,
    global_group, global_group_check, inet_db, inet_gethost_native, inet_gethost_native_sup, timer_server, pg,
    dets, dets_sup, disk_log_sup, disk_log_server, ddll_server, heart, erl_reply, os_server, os_cmd_port_creator,
    rsh_server, slave, cover_server, dbg, ttb, alarm_handler, release_handler, sasl_sup, sasl_safe_sup, overload]).

%% What runs users' code, though it is OTP's: whole modules, and functions of others.
-define(IS_HOST(Module, Function),
        Module =:= erl_eval;
        Module =:= erpc;
        Module =:= init, Function =/= boot_loop, Function =/= loop;
        Module =:= shell, Function =/= server_loop, Function =/= shell_rep, Function =/= server).
%% Ours that users may start processes with: what they see is a process of theirs that waits for Python.
-define(API, [py, py_callback, py_context_router, py_event_loop, py_event_loop_pool, py_nif, py_semaphore]).

-define(ORIGINS, py_origins).
%% A chain of processes that OTP's raw processes have started is short.
-define(PARENTS, 4).

%% @doc Whether this is the name of such a process, be it there or not.
-spec name(atom()) -> boolean().
name(Name) ->
    lists:member(Name, ?BOOT_NAMES) orelse
        lists:any(fun(Application) -> lists:member(Name, registered_by(Application)) end,
                  [erlang_python | ?LANGUAGES] ++ ?OTP).

registered_by(Application) ->
    case application:get_key(Application, registered) of
        {ok, Names} -> Names;
        undefined -> []
    end.

%% @doc Whether it is such a process. Of this node; one that is dead is none.
-spec process(pid()) -> boolean().
process(Pid) ->
    case kind(Pid) of
        protected -> true;
        {unclear, What, Parent} -> from(What, Parent, Pid, ?PARENTS);
        _ -> false
    end.

%% @doc The same of a process that has called Python itself, so that it runs code of users: only what is certain counts.
-spec caller(pid()) -> boolean().
caller(Pid) ->
    case kind(Pid) of
        protected -> true;
        %% It starts the users' applications, and ends them when it is told to.
        {unclear, {raw, application_master}, _} -> true;
        _ -> false
    end.

%% What a process says of itself. `unclear': it may be OTP's or a user's, its parent tells.
kind(Pid) ->
    case process_info(Pid, [registered_name, initial_call, parent]) of
        undefined ->
            dead;
        [{_, Name}, {_, {Module, Function, _}}, {_, Parent}] ->
            case Name =/= [] andalso name(Name) of
                true -> protected;
                false -> by_call(Module, Function, Parent, Pid)
            end
    end.

by_call(proc_lib, _Function, Parent, Pid) ->
    case initial_call(Pid) of
        {Behaviour, Module, _} when Behaviour =:= supervisor; Behaviour =:= supervisor_bridge -> by_module(Module);
        {gen_event, _, _} -> {unclear, gen_event, Parent};
        {Module, Function, _} when ?IS_HOST(Module, Function) -> users;
        {erlang, _, _} -> {unclear, fun_, Parent};
        {Module, _, _} -> by_module(Module);
        %% It is being born.
        none -> {unclear, fun_, Parent}
    end;
by_call(erlang, _Function, Parent, _Pid) ->
    {unclear, fun_, Parent};
by_call(Module, Function, _Parent, _Pid) when ?IS_HOST(Module, Function) ->
    users;
by_call(Module, _Function, Parent, _Pid) ->
    case origin(Module) of
        library -> {unclear, {raw, Module}, Parent};
        otp -> protected;
        ours -> case lists:member(Module, ?API) of true -> users; false -> protected end;
        users -> users
    end.

by_module(Module) ->
    case origin(Module) of
        users -> users;
        _ -> protected
    end.

%% Of a process of proc_lib.
-if(?OTP_RELEASE >= 27).
initial_call(Pid) ->
    case process_info(Pid, {dictionary, '$initial_call'}) of
        {_, {_, _, _} = Call} -> Call;
        _ -> none
    end.
-else.
%% Copies all that the process keeps there: that is why the verdict is remembered (py_send).
initial_call(Pid) ->
    case process_info(Pid, dictionary) of
        {dictionary, Dictionary} ->
            case lists:keyfind('$initial_call', 1, Dictionary) of
                {_, {_, _, _} = Call} -> Call;
                _ -> none
            end;
        undefined ->
            none
    end.
-endif.

%% OTP's are those that a process of OTP has started, and that run nothing but OTP: a user may start a process with a
%% function of OTP (`spawn(timer, sleep, [1000])'), and OTP one with a function of a user (timer:apply_after/4).
from(_What, undefined, _Pid, _Left) ->
    true;
from(What, Parent, Pid, Left) when is_pid(Parent), node(Parent) =:= node(), Left > 0 ->
    IsTheirs = case kind(Parent) of
        %% What these two start is the users', and may be in OTP's code at the moment.
        protected -> Parent =/= whereis(timer_server);
        {unclear, {raw, application_master}, _} -> false;
        {unclear, {raw, _} = Raw, Above} -> from(Raw, Above, Parent, Left - 1);
        _ -> false
    end,
    IsTheirs andalso (What =/= fun_ orelse runs_nothing_else(Pid));
from(_What, _Parent, _Pid, _Left) ->
    false.

%% The function of such a process is not known, but where it is.
runs_nothing_else(Pid) ->
    case process_info(Pid, current_stacktrace) of
        {_, Frames} -> lists:all(fun({Module, Function, _, _}) -> is_theirs(Module, Function) end, Frames);
        undefined -> false
    end.

is_theirs(Module, Function) when ?IS_HOST(Module, Function) -> false;
is_theirs(Module, _Function) ->
    case origin(Module) of
        ours -> not lists:member(Module, [py_request, py_parallel | ?API]);
        users -> false;
        _OfOtp -> true
    end.

%% Where a module comes from. The code server may have to be asked, so the answer is kept.
origin(Module) ->
    try ets:lookup(?ORIGINS, Module) of
        [{_, Origin}] -> Origin;
        [] ->
            Origin = located(Module, code:which(Module)),
            true = ets:insert(?ORIGINS, {Module, Origin}),
            Origin
    catch
        %% The application has not started.
        error:badarg -> located(Module, code:which(Module))
    end.

located(_Module, preloaded) ->
    library;
located(Module, File) when is_list(File), File =/= [] ->
    Ebin = filename:dirname(File),
    case Ebin =:= ebin() of
        true -> ours;
        false ->
            %% .../kernel-9.2/ebin, in an archive too.
            [Application | _] = string:split(filename:basename(filename:dirname(Ebin)), "-"),
            case [Known || Known <- ?OTP, atom_to_list(Known) =:= Application] of
                [Known] -> of_otp(Known);
                [] -> listed(Module)
            end
    end;
located(Module, _CoverCompiledOrNone) ->
    listed(Module).

ebin() ->
    case code:which(?MODULE) of
        File when is_list(File) -> filename:dirname(File);
        _ -> none
    end.

%% Without a file there may still be an application that has it.
listed(Module) ->
    Has = fun(Application) ->
        case application:get_key(Application, modules) of
            {ok, Modules} -> lists:member(Module, Modules);
            undefined -> false
        end
    end,
    case Has(erlang_python) of
        true -> ours;
        false ->
            case lists:filter(Has, ?OTP) of
                [Application | _] -> of_otp(Application);
                [] -> users
            end
    end.

of_otp(Application) ->
    case lists:member(Application, ?LIBRARIES) of
        true -> library;
        false -> otp
    end.
