%% @doc What the end of a port process means.
-module(py_exit_status).

-export([why/1]).

%% @doc Of an exit status as the emulator reports it: 128 and more is a signal.
-spec why(non_neg_integer()) -> {exit_status, non_neg_integer()} | {signal, atom()}.
why(Status) when Status > 128 ->
    case signal(Status - 128) of
        unknown -> {exit_status, Status};
        Signal -> {signal, Signal}
    end;
why(Status) ->
    {exit_status, Status}.

signal(1) -> sighup;
signal(2) -> sigint;
signal(3) -> sigquit;
signal(4) -> sigill;
signal(5) -> sigtrap;
signal(6) -> sigabrt;
signal(7) -> signal_7();
signal(8) -> sigfpe;
signal(9) -> sigkill;
signal(10) -> signal_10();
signal(11) -> sigsegv;
signal(13) -> sigpipe;
signal(14) -> sigalrm;
signal(15) -> sigterm;
signal(24) -> sigxcpu;
signal(25) -> sigxfsz;
signal(31) -> sigsys;
signal(_) -> unknown.

%% SIGBUS is 7 on Linux and 10 on macOS and the BSDs.
signal_7() -> case os:type() of {unix, linux} -> sigbus; _ -> unknown end.
signal_10() -> case os:type() of {unix, linux} -> sigusr1; _ -> sigbus end.
