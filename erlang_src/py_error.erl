%% @doc Error reasons as sentences for people: what happened, to what, and which knob is about it.
-module(py_error).

-export([format_error/1, format_why/1, bytes/1, printable/1]).
%% Erlang's own exceptions, for Python.
-export([exception/2, stack/1]).

-define(EXCEPTION_BYTES, 2048).
-define(STACK_BYTES, 8192).
%% Of one argument in a stack trace.
-define(ARGUMENT_CHARS, 200).
-define(LIMIT_KNOBS, "pool option max_concurrent, for the default pool the environment key of that name; "
                     "py_semaphore:set_max_concurrent/2").

%% @doc One sentence, as a UTF-8 binary, and Python's traceback on further lines where there is one (option traceback). Takes a
%% reason, or the whole `{error, Reason}'.
-spec format_error(term()) -> binary().
format_error({error, Reason}) ->
    format_error(Reason);
format_error(Reason) ->
    unicode:characters_to_binary(sentence(Reason)).

sentence(timeout) ->
    "the call did not end within its timeout (last argument, or option timeout)";
sentence(interrupted) ->
    "the call was interrupted (py:interrupt/1)";
sentence(cancelled) ->
    "the request was cancelled (py:cancel/1, py:stream_cancel/1, py_context:stop_loop/1, or its caller's death)";
sentence({not_started, Application}) ->
    io_lib:format("the application ~tp is not running (application:ensure_all_started/1 starts it)", [Application]);
sentence(bad_request) ->
    "the process that was asked knows no such request";
sentence(no_tags) ->
    "the node has 16383 contexts, and can have no more";
sentence({gather_failed, Failed}) when length(Failed) >= 0 ->
    ["of the calls that ran together some failed: ",
     lists:join("; ", [io_lib:format("number ~tp: ~ts", [Index, sentence(Reason)]) || {Index, Reason} <- Failed])];
sentence(no_loop) ->
    "the context's event loop was not started (py_context:start_loop/1)";
sentence(already_running) ->
    "the context's event loop is started already (py_context:stop_loop/1 ends it)";
sentence({no_such_loop, _}) ->
    "there is no event loop of this reference, or its context has ended (py_event_loop:get_loop/0)";
sentence({invalid_memory_limit, Limit}) ->
    io_lib:format("~tp is no memory_limit: it is a positive number of bytes, or infinity", [Limit]);
sentence(max_concurrent) ->
    "no slot came free within the timeout (" ?LIMIT_KNOBS ")";
sentence({overloaded, Current, Max}) ->
    io_lib:format("overloaded: ~tp of at most ~tp calls are in Python's hands and none ended within the timeout "
                  "(" ?LIMIT_KNOBS ")", [Current, Max]);
sentence({queue_full, Pool}) ->
    io_lib:format("as many calls to pool ~tp wait for a slot as may (pool option max_queued)", [Pool]);
sentence({context_died, Why}) ->
    ["the Python context died before it answered: ", format_why(Why)];
sentence({already_started, Pool, Keys}) ->
    io_lib:format("the pool ~tp runs already, with another value of ~ts (py_context_router:stop_pool/1 stops it)",
                  [Pool, lists:join(", ", [option_name(Key) || Key <- Keys])]);
sentence({already_started, Pool}) ->
    io_lib:format("the pool ~tp runs already, elsewhere", [Pool]);
sentence({supervised, Pool, Supervisor}) ->
    io_lib:format("the pool ~tp belongs to the supervisor ~tp, which stops it (supervisor:terminate_child/2)", [Pool, Supervisor]);
sentence({no_such_pool, Pool}) ->
    io_lib:format("there is no pool ~tp; py_context_router:start_pool/2,3 starts one", [Pool]);
sentence({no_such_context, Pid}) when is_pid(Pid) ->
    io_lib:format("the process ~tp is no Python context (py_context_router:contexts/1 lists those of a pool)", [Pid]);
sentence({no_such_context, N}) ->
    io_lib:format("the default pool has no context ~tp (environment key default_pool_size)", [N]);
sentence({invalid_mode, Mode}) ->
    io_lib:format("~tp is no mode: worker and owngil are", [Mode]);
sentence({bad_option, send_names, {protected_name, _} = Why}) ->
    ["the option send_names cannot name it: ", sentence(Why)];
sentence({protected_name, Name}) ->
    io_lib:format("the process ~tp belongs to OTP or erlang_python, which Python must not send to (pool option send)",
                  [Name]);
sentence({bad_option, Key}) ->
    case lists:member(Key, py_pool_options:names()) of
        true -> io_lib:format("the option ~tp is for pools; contexts that are started one by one have one limit together, "
                              "which the environment key ~tp sets", [Key, Key]);
        false -> io_lib:format("there is no option ~tp~ts (docs/pools.md lists them)", [Key, nearest_option(Key)])
    end;
sentence({bad_option, env, Variables}) when length(Variables) > 0 ->
    %% Not their values, which may be secrets.
    io_lib:format("~ts cannot be an environment variable: pool option env takes {Name, Value} and {Name, false}, text in "
                  "UTF-8 without NUL, with no \"=\" in the name",
                  [lists:join(", ", [variable(V) || V <- py_pool_options:wrong_variables(Variables)])]);
sentence({bad_option, Key, Value}) ->
    io_lib:format("~tp is no value for option ~tp", [Value, Key]);
sentence({bad_config, Key, Reason}) ->
    io_lib:format("erlang_python environment key ~tp: ~ts", [Key, nested(Reason)]);
sentence({bad_argument, Which, Value}) ->
    io_lib:format("~tp cannot be the argument ~tp", [Value, Which]);
sentence({unsupported, owngil_requires_python_3_13}) ->
    "mode owngil needs Python 3.13 or later; build with a newer Python (Meson option python) or use mode worker";
sentence({unsupported, What}) ->
    io_lib:format("not supported here: ~ts", [text(What)]);
sentence({too_large, Bytes, Max}) when is_integer(Bytes), is_integer(Max) ->
    io_lib:format("a value of ~ts is larger than the limit of ~ts (environment keys max_frame_bytes, for what is sent, "
                  "and max_term_bytes, for what it takes in Erlang; docs/types.md for an integer)",
                  [bytes(Bytes), bytes(Max)]);
sentence({sandbox_unavailable, What}) ->
    io_lib:format("the operating system cannot enforce what the pool option sandbox asks for: ~ts", [text(What)]);
sentence({not_encodable, depth}) ->
    "the value is nested deeper than 1000 levels";
sentence({not_encodable, {map_key, Repr}}) ->
    io_lib:format("~ts cannot be a key of a Python dict: it cannot be hashed", [text(Repr)]);
sentence({not_encodable, {duplicate_key, Repr}}) ->
    io_lib:format("two keys of the map become the same Python key ~ts", [text(Repr)]);
sentence({not_encodable, {type, Type}}) ->
    io_lib:format("Python values of type ~ts have no Erlang form and the call was strict (option strict)", [text(Type)]);
sentence({not_encodable, atom_table_full}) ->
    "this pool's Python has made 1000 new atoms and may make no more; use a str";
sentence({not_encodable, malformed}) ->
    "the answer is no Erlang term";
sentence({not_encodable, What}) ->
    io_lib:format("a value cannot be converted: ~ts", [text(What)]);
sentence({bad_request, Text}) ->
    ["the port program refused the request: ", text(Text)];
sentence(full) ->
    io_lib:format("shared state has as many keys as it may, ~tp (environment key max_state_entries)",
                  [py_config:max_state_entries()]);
sentence({state_full, {bytes, Max}}) ->
    io_lib:format("the values that Python has stored in the shared state would take more than ~b bytes (environment key "
                  "max_state_bytes)", [Max]);
sentence({state_full, Max}) ->
    io_lib:format("shared state has its ~tp keys already and takes no other (environment key max_state_entries)", [Max]);
sentence({port_program, Path, Reason}) ->
    io_lib:format("the port program ~ts cannot be run: ~tp", [text(Path), Reason]);
sentence({start_failed, _} = Why) ->
    format_why(Why);
sentence({'BdbQuit', <<>>}) ->
    "Python's debugger pdb found no terminal to read commands from (environment variable PYTHONBREAKPOINT, pool option "
    "env, names another debugger for breakpoint())";
sentence({Type, Message}) when is_atom(Type), is_binary(Message); is_binary(Type), is_binary(Message) ->
    io_lib:format("Python raised ~ts: ~ts", [Type, printable(Message)]);
sentence({Type, Message, Traceback}) when is_binary(Message), is_binary(Traceback) ->
    [sentence({Type, Message}), $\n, string:trim(printable(Traceback), trailing)];
%% The port program's own words, on why it does not start.
sentence(Text) when is_binary(Text) ->
    printable(Text);
sentence(Other) ->
    io_lib:format("~tp", [Other]).

variable({Name, _Secret}) when is_atom(Name) ->
    variable({atom_to_binary(Name), none});
variable({Name, _Secret}) when is_binary(Name) ->
    io_lib:write_string(unicode:characters_to_list(printable(Name)));
variable({Name, _Secret}) when is_list(Name) ->
    variable({case io_lib:char_list(Name) of true -> unicode:characters_to_binary(Name); false -> printable(Name) end, none});
variable(_NoName) -> "what is no pair with a name".

option_name(contexts) -> "size";
option_name(Key) -> atom_to_list(Key).

nearest_option(Key) when is_atom(Key) ->
    case py_spelling:nearest(Key, py_pool_options:names()) of
        none -> "";
        Nearest -> io_lib:format("; is ~tp meant?", [Nearest])
    end;
nearest_option(_Key) ->
    "".

nested(Reason) when is_tuple(Reason) -> sentence(Reason);
nested(Value) -> io_lib:format("~tp cannot be meant", [Value]).

%% @doc What a port process died of.
-spec format_why(term()) -> binary().
format_why(Why) ->
    unicode:characters_to_binary(why(Why)).

why(stopped) ->
    "it was stopped";
why({exit_status, N}) ->
    io_lib:format("its process exited with status ~tp", [N]);
why({signal, Signal}) when is_atom(Signal) ->
    io_lib:format("its process was ended by signal ~ts", [string:uppercase(atom_to_list(Signal))]);
why({killed, timeout}) ->
    "it was killed, since a call went on after its timeout and did not react to being interrupted "
    "(pool option hard_timeout_grace)";
why({killed, memory_limit}) ->
    "it was killed, since its process used more memory than allowed (pool option memory_limit)";
why({killed, unhealthy}) ->
    "it was killed, since after calls that failed its check had failed too: Python could not work any more in one of its "
    "contexts";
why({start_failed, timeout}) ->
    "Python did not start within a minute";
why({start_failed, Reason}) ->
    ["it could not start: ", sentence(Reason)];
why({caster_died, Reason}) ->
    io_lib:format("nobody knows, for the process that makes the caller's casts has ended (~tp)", [Reason]);
why(Other) ->
    io_lib:format("~tp", [Other]).

%% @doc A size as people read it.
-spec bytes(non_neg_integer()) -> binary().
bytes(N) when N >= 1 bsl 30 -> scaled(N, 1 bsl 30, "GiB");
bytes(N) when N >= 1 bsl 20 -> scaled(N, 1 bsl 20, "MiB");
bytes(N) when N >= 1 bsl 10 -> scaled(N, 1 bsl 10, "KiB");
bytes(N) -> iolist_to_binary([integer_to_list(N), " bytes"]).

scaled(N, Unit, Name) ->
    iolist_to_binary(io_lib:format("~.1f ~s", [N / Unit, Name])).

%% @doc Text from Python or C, which may be anything, as something that can be printed.
-spec printable(term()) -> binary().
printable(Term) when not is_binary(Term) ->
    unicode:characters_to_binary(io_lib:format("~0tp", [Term]));
printable(Bytes) ->
    case unicode:characters_to_binary(Bytes) of
        Text when is_binary(Text) -> Text;
        _ -> unicode:characters_to_binary(Bytes, latin1)
    end.

%% @doc An exception in a line, such as `error:badarith'; at most 2 KiB. One of Elixir's is what its module says of it, so this
%% may run code of the user's.
-spec exception(error | exit | throw, term()) -> binary().
exception(error, #{'__exception__' := true, '__struct__' := Module} = Exception) when is_atom(Module) ->
    try Module:message(Exception) of
        Text when is_binary(Text) -> at_most(?EXCEPTION_BYTES, [elixir_name(Module), ": ", printable(Text)]);
        _ -> exception(error, {Module, Exception})
    catch
        _:_ -> exception(error, {Module, Exception})
    end;
exception(Class, Reason) ->
    at_most(?EXCEPTION_BYTES, io_lib:format("~ts:~0tp", [Class, Reason], [{chars_limit, ?EXCEPTION_BYTES}])).

elixir_name(Module) ->
    string:replace(atom_to_binary(Module), "Elixir.", "", leading).

%% @doc Where it was raised, a frame to a line, the innermost first; without the frames that run every callback. At most
%% 8 KiB.
-spec stack(erlang:stacktrace()) -> binary().
stack(Frames) ->
    Theirs = lists:takewhile(fun(Frame) -> not (is_tuple(Frame) andalso element(1, Frame) =:= py_callback) end, Frames),
    at_most(?STACK_BYTES, lists:join($\n, [frame(Frame) || Frame <- Theirs])).

frame({Module, Function, Arity, Location}) ->
    [io_lib:format("~0tp:~0tp", [Module, Function]), arity(Arity), place(Location)];
frame({Fun, Arity, Location}) when is_function(Fun) ->
    [io_lib:format("~0tp", [Fun]), arity(Arity), place(Location)];
frame(Other) ->
    limited(Other).

%% Of the function that had no clause for them the arguments are known.
arity(Arity) when is_integer(Arity) -> ["/", integer_to_list(Arity)];
arity(Args) ->
    ["(", lists:join(", ", [limited(Arg) || Arg <- Args]), ")"].

limited(Term) ->
    io_lib:format("~0tp", [Term], [{chars_limit, ?ARGUMENT_CHARS}]).

place([{file, File}, {line, Line} | _]) -> io_lib:format(" (~ts:~b)", [File, Line]);
place(_) -> "".

%% Cut between two characters.
at_most(Bytes, Chars) ->
    case unicode:characters_to_binary(Chars) of
        <<Head:Bytes/binary, Rest/binary>> when Rest =/= <<>> ->
            case unicode:characters_to_binary(Head) of
                {incomplete, Whole, _} -> Whole;
                Whole -> Whole
            end;
        Text ->
            Text
    end.

text(What) when is_binary(What) -> printable(What);
text(What) when is_list(What) ->
    case io_lib:printable_unicode_list(What) of
        true -> What;
        false -> io_lib:format("~tp", [What])
    end;
text(What) when is_atom(What) -> atom_to_binary(What);
text(What) -> io_lib:format("~tp", [What]).
