%% @doc The part of a py_port that is about the end of its port process: the watch on one that gives no sign of life, the
%% kill, what it died of, and the end of the py_port itself.
-module(py_port_end).

-include("py_port.hrl").

-export([expect/2, probe/1, sign_of_life/1, watch/1, look/2, kill/2, violation/2, broken/2, late/2, cause/2, died/2, terminate/2]).
%% For all parts of a py_port.
-export([later/3, tell/2]).

%% How long a port may take to answer STATS, which its loop thread does without Python.
-define(SIGN_OF_LIFE_MS, 1000).
%% How long the emulator may take to report the end of a process that was killed. Somebody outside the pool may hold the
%% other end of its pipes; then it never does.
-define(GONE_MS, 5000).
%% How often to look whether the process is still there.
-define(LOOK_MS, 10000).
-define(LOOK_AGAIN_MS, 1000).

%% Our own timers. Their messages have a secret, so that nobody else's is taken for one.

%% @doc The py_port, which is the calling process, gets `{Secret, Time}'.
-spec later(non_neg_integer(), term(), reference()) -> reference().
later(Ms, Time, Secret) ->
    erlang:send_after(Ms, self(), {Secret, Time}).

%% @doc Tells who manages the port process.
-spec tell(term(), #state{}) -> ok.
tell(What, #state{manager = Manager}) ->
    Manager ! {py_port, self(), What},
    ok.

%% The watch on a port that gives no sign of life. One probe at a time is enough: it is about the port, not the request.

%% @doc In so many milliseconds and the grace it must have done something.
-spec expect(non_neg_integer(), #state{}) -> #state{}.
expect(_Ms, State = #state{grace = infinity}) ->
    State;
expect(Ms, State = #state{probe = none, probe_timer = none, grace = Grace}) ->
    State#state{probe_timer = later(Ms + Grace, probe, State#state.secret)};
expect(Ms, State = #state{probe = none, probe_timer = Timer, grace = Grace}) ->
    case erlang:read_timer(Timer) of
        Left when is_integer(Left), Left > Ms + Grace ->
            _ = erlang:cancel_timer(Timer),
            State#state{probe_timer = later(Ms + Grace, probe, State#state.secret)};
        _ ->
            State
    end;
expect(_Ms, State) ->
    State.

%% @doc Asks for a sign of life.
-spec probe(#state{}) -> #state{}.
probe(State = #state{port = Port}) ->
    Ref = alias([reply]),
    ok = py_owed:add(py_protocol:alias_address(Ref), self()),
    %% When the port takes no input, so that this waits too, there is no answer.
    ok = py_writer:post(Port, py_protocol:stats(Ref)),
    State#state{probe = Ref, probe_timer = later(?SIGN_OF_LIFE_MS, no_sign_of_life, State#state.secret)}.

%% @doc It has given one.
-spec sign_of_life(#state{}) -> #state{}.
sign_of_life(State = #state{probe_timer = Timer, secret = Secret}) ->
    _ = erlang:cancel_timer(Timer, [{async, true}, {info, false}]),
    receive {Secret, no_sign_of_life} -> ok after 0 -> ok end,
    State#state{probe = none, probe_timer = none}.

%% @doc Its end, and that of all that it has started. Once: it takes a program that runs, and the port process can ask for it
%% without end.
-spec kill(py_port:why(), #state{}) -> #state{}.
kill(_Cause, State = #state{is_killed = true}) ->
    State#state{probe = none, probe_timer = none};
kill(Cause, State = #state{target = Target, cause = Known}) ->
    py_kill:all(Target),
    _ = later(?GONE_MS, gone, State#state.secret),
    State#state{cause = case Known of none -> Cause; _ -> Known end, is_killed = true, probe = none, probe_timer = none}.

%% @doc From now on somebody looks whether its processes are there.
-spec watch(reference()) -> ok.
watch(Secret) ->
    _ = later(?LOOK_MS, {look, there}, Secret),
    ok.

%% @doc The emulator reports the end of the port program when its outer keeper reports it and the last holder of its output is
%% gone: the one may have been stopped, the other may be outside the pool. Twice not there: no report is on its way.
-spec look(there | missing, #state{}) -> #state{}.
look(Before, State = #state{target = Target, python = Python}) ->
    case {Before, py_kill:is_whole(Target, Python)} of
        {missing, false} ->
            kill({signal, sigkill}, State);
        {there, false} ->
            _ = later(?LOOK_AGAIN_MS, {look, missing}, State#state.secret),
            State;
        {_, true} ->
            ok = watch(State#state.secret),
            State
    end.

%% @doc What it died of: what we know, or what its end says.
-spec cause({port_closed, term()} | non_neg_integer(), #state{}) -> py_port:why().
cause(_Status, #state{cause = Known}) when Known =/= none -> Known;
cause({port_closed, _Reason}, _) -> {signal, sigkill};
cause(Status, _) -> py_exit_status:why(Status).

%% @doc The end of the port process, at once: nothing more of what it says is read. One that has died had written it before.
-spec violation(binary(), #state{}) -> #state{}.
violation(_What, State = #state{phase = dead}) ->
    State;
violation(What, State) ->
    broken(What, State).

%% @doc The same, in whatever state it is.
-spec broken(binary(), #state{}) -> no_return().
broken(What, State = #state{pool = Pool}) ->
    ok = py_output:violation(Pool, What),
    died({killed, bad_frame}, State#state{cause = {killed, bad_frame}}).

%% @doc Its end, at once: what it has to do with could not be done in time.
-spec late(binary(), #state{}) -> no_return().
late(What, State = #state{pool = Pool}) ->
    ok = py_output:late(Pool, What),
    died({killed, timeout}, State#state{cause = {killed, timeout}}).

%% @doc The port process is gone.
-spec died(py_port:why(), #state{}) -> no_return().
died(Cause, State = #state{port = Port, words = Words, target = Target, cause = Known}) ->
    Why = case Known of
        none -> Cause;
        _ -> Known
    end,
    closed(State),
    close_port(Port),
    py_kill:all(Target),
    tell({died, Why, py_last_words:all(Words)}, State),
    exit({shutdown, {port_died, Why}}).

%% @doc It is not needed any more.
-spec terminate(term(), #state{}) -> no_return().
terminate(Reason, State) ->
    closed(State),
    ok = leave(State),
    case Reason of
        {shutdown, {port_died, _}} -> exit(Reason);
        _ -> exit({shutdown, {port_died, stopped}})
    end.

%% One that is not ready has run nothing that it could end in order.
leave(#state{phase = ready, port = Port, pool = Pool, target = Target, python = Python, shutdown_grace = Grace, partial = Partial,
             words = Words}) ->
    py_ending:take(Port, #{pool => Pool, owner => self(), target => Target, python => Python, grace => Grace,
                           partial => Partial, words => Words});
leave(#state{port = Port, target = Target}) ->
    close_port(Port),
    py_kill:all_later(Target).

close_port(Port) ->
    try port_close(Port) of
        true -> ok
    catch
        error:badarg -> ok
    end.

closed(#state{callbacks = Callbacks}) ->
    ok = py_functions:remove_port(self()),
    ok = py_owed:forget(self()),
    ok = py_grants:forget(self()),
    ok = py_callbacks:close(Callbacks).
