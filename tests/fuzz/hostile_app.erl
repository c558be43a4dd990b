%% The application as the hostile rounds and the soak run it, and the crashes of its processes.
-module(hostile_app).

-export([start/1, stop/0, crashes/0]).
%% logger.
-export([log/2]).

-define(CRASHES, hostile_crashes).

%% @doc With these keys of its environment, beside those that all have.
-spec start([{atom(), term()}]) -> ok.
start(Env) ->
    ?CRASHES = ets:new(?CRASHES, [named_table, public, bag]),
    ok = logger:add_handler(?MODULE, ?MODULE, #{level => error}),
    ok = py_test:start([{default_pool_size, 2}, {io_pool_size, 1}, {max_concurrent, 64},
                        {paths, [filename:join(filename:dirname(proplists:get_value(source, module_info(compile))),
                                               "python_modules")]} | Env]),
    ok = py:register_function(hostile_echo, fun([X]) -> X end),
    {ok, Modules} = application:get_key(erlang_python, modules),
    ok = code:ensure_modules_loaded(Modules).

-spec stop() -> ok.
stop() ->
    ok = py_test:stop(),
    logger:remove_handler(?MODULE).

%% @doc What processes of the application died of that should not have; the first few.
-spec crashes() -> [term()].
crashes() ->
    lists:sublist([Report || {_, Report} <- ets:tab2list(?CRASHES)], 10).

%% @doc A handler of logger. Ends that supervisors report, and those for a reason that is a shutdown, are none.
-spec log(logger:log_event(), logger:handler_config()) -> ok.
log(#{msg := {report, #{label := {proc_lib, crash}, report := [Facts | _]}}}, _) ->
    case proplists:get_value(error_info, Facts) of
        {exit, Reason, _} when Reason =:= shutdown; element(1, Reason) =:= shutdown -> ok;
        Info -> keep({crash, proplists:get_value(initial_call, Facts), Info})
    end;
log(#{meta := #{error_logger := #{emulator := true}}, msg := Message}, _) -> keep({emulator, Message});
log(#{msg := {report, #{label := {gen_server, terminate}} = Report}}, _) -> keep({terminate, Report});
log(_, _) -> ok.

keep(Report) ->
    case ets:info(?CRASHES, size) < 10 of
        true -> ets:insert(?CRASHES, {crash, Report});
        false -> true
    end,
    ok.
