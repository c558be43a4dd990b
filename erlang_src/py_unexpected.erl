%% @doc What the application's processes do with a message that they do not know, or whose contents are wrong: they go
%% on. A request is answered `{error, bad_request}', everything else is dropped, and the log has a line about it, at most
%% one a second from each process. Every process ends its clauses with one of these.
-module(py_unexpected).

-include("py_unexpected.hrl").

-export([call/3, message/2, dropped/1]).

-define(KEY, '$py_unexpected').
-define(LOG_EVERY_MS, 1000).
%% Of the message in the line.
-define(MESSAGE_DEPTH, 12).
-define(MESSAGE_CHARS, 300).

%% @doc For handle_call. What cannot be answered is not.
-spec call(term(), term(), State) -> {reply, {error, bad_request}, State} | {noreply, State}.
call(Request, From, State) when ?IS_FROM(From) ->
    ok = dropped(Request),
    {reply, {error, bad_request}, State};
call(Request, From, State) ->
    message({'$gen_call', From, Request}, State).

%% @doc For handle_cast and handle_info.
-spec message(term(), State) -> {noreply, State}.
message(Message, State) ->
    ok = dropped(Message),
    {noreply, State}.

%% @doc The calling process does nothing with this message.
-spec dropped(term()) -> ok.
dropped(Message) ->
    Now = erlang:monotonic_time(millisecond),
    case get(?KEY) of
        {Last, Others} when Now - Last < ?LOG_EVERY_MS ->
            put(?KEY, {Last, Others + 1}),
            ok;
        undefined -> log(Message, 0, Now);
        {_, Others} -> log(Message, Others, Now)
    end.

%% The line is written by py_output: log handlers run in the process that logs.
log(Message, Others, Now) ->
    put(?KEY, {Now, 0}),
    Text = io_lib:format("~0tP", [Message, ?MESSAGE_DEPTH], [{chars_limit, ?MESSAGE_CHARS}]),
    py_output:unexpected(who(), unicode:characters_to_binary(Text), Others).

who() ->
    case process_info(self(), registered_name) of
        {registered_name, Name} -> Name;
        _ ->
            {Module, _, _} = initial_call(process_info(self(), initial_call)),
            {Module, self()}
    end.

initial_call({initial_call, {proc_lib, _, _}}) -> proc_lib:translate_initial_call(self());
initial_call({initial_call, Call}) -> Call.
