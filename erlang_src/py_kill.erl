%% @doc SIGKILL for the process group of a port program. The port program itself sends it (`--kill'), so that a release
%% needs neither a shell nor `kill'.
-module(py_kill).

-export([group/1, group_later/1]).

%% A port program that is told to leave flushes what its Python has buffered first.
-define(GRACE_MS, 1000).

%% @doc Kills the group now; also what a dead port program left behind in it.
-spec group(none | pos_integer()) -> ok.
group(OsPid) ->
    after_ms(0, OsPid).

%% @doc Kills what has not left by itself in a second.
-spec group_later(none | pos_integer()) -> ok.
group_later(OsPid) ->
    after_ms(?GRACE_MS, OsPid).

after_ms(_Ms, none) ->
    ok;
after_ms(Ms, OsPid) ->
    _ = spawn(fun() ->
        receive after Ms -> ok end,
        Port = open_port({spawn_executable, py_config:executable()},
                         [{args, ["--kill", integer_to_list(OsPid)]}, exit_status, hide]),
        %% It would die with the process that opened it.
        receive
            {Port, {exit_status, _}} -> ok
        end
    end),
    ok.
