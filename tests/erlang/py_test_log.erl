%% Collects the log events of this node, for suites that look at what is logged.
-module(py_test_log).

-export([collect/0, stop/1, wait/1, wait/2, text/1]).
%% logger handler.
-export([log/2]).

-define(PATIENCE, 30000).

%% From now on every log event of the node's level, which is notice by default, is sent to the calling process as
%% {py_test_log, Event}.
-spec collect() -> atom().
collect() ->
    Id = py_test:unique(?MODULE),
    ok = logger:add_handler(Id, ?MODULE, #{level => all, config => #{to => self()}}),
    Id.

-spec stop(atom()) -> ok.
stop(Id) ->
    _ = logger:remove_handler(Id),
    flush().

flush() ->
    receive {py_test_log, _} -> flush()
    after 0 -> ok
    end.

%% The next event whose text holds Part.
-spec wait(unicode:chardata()) -> logger:log_event().
wait(Part) -> wait(Part, ?PATIENCE).

-spec wait(unicode:chardata(), timeout()) -> logger:log_event().
wait(Part, Timeout) ->
    receive
        {py_test_log, Event} ->
            case string:find(text(Event), Part) of
                nomatch -> wait(Part, Timeout);
                _ -> Event
            end
    after Timeout -> error({no_log_line_with, Part})
    end.

%% The message of an event as text.
-spec text(logger:log_event()) -> binary().
text(#{msg := {string, Text}}) -> to_text(Text);
text(#{msg := {report, Report}, meta := #{report_cb := Callback}}) when is_function(Callback, 1) ->
    {Format, Args} = Callback(Report),
    to_text(io_lib:format(Format, Args));
text(#{msg := {report, Report}}) -> to_text(io_lib:format("~tp", [Report]));
text(#{msg := {Format, Args}}) -> to_text(io_lib:format(Format, Args)).

to_text(Chars) ->
    case unicode:characters_to_binary(Chars) of
        Text when is_binary(Text) -> Text;
        _ -> iolist_to_binary(io_lib:format("~p", [Chars]))
    end.

%% logger handler.

-spec log(logger:log_event(), logger:handler_config()) -> ok.
log(Event, #{config := #{to := Pid}}) ->
    Pid ! {py_test_log, Event},
    ok.
