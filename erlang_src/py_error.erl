%% @doc Error reasons as sentences for people: what happened, to what, and which knob is about it.
-module(py_error).

-export([format_error/1, format_why/1, bytes/1, printable/1]).
%% Erlang's own exceptions, for Python.
-export([exception/2, stack/1]).

-define(EXCEPTION_BYTES, 2048).
-define(STACK_BYTES, 8192).
%% Of one argument in a stack trace.
-define(ARGUMENT_CHARS, 200).

%% @doc One sentence, as a UTF-8 binary; takes a reason, or the whole `{error, Reason}'.
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
sentence({gather_failed, Failed}) when is_list(Failed) ->
    ["of the calls that ran together some failed: ",
     lists:join("; ", [io_lib:format("number ~b: ~ts", [Index, sentence(Reason)]) || {Index, Reason} <- Failed])];
sentence(no_loop) ->
    "the context's event loop was not started (py_context:start_loop/1)";
sentence(loop_running) ->
    "the context's event loop is started already (py_context:stop_loop/1 ends it)";
sentence(max_concurrent) ->
    "no slot came free within the timeout (environment key max_concurrent)";
sentence({overloaded, Current, Max}) ->
    io_lib:format("overloaded: ~b of at most ~b calls are in Python's hands and none ended within the timeout "
                  "(environment key max_concurrent, py_semaphore:set_max_concurrent/1)", [Current, Max]);
sentence({context_died, Why}) ->
    ["the Python context died before it answered: ", format_why(Why)];
sentence({no_such_pool, Pool}) ->
    io_lib:format("there is no pool ~tp; py_context_router:start_pool/2,3 starts one", [Pool]);
sentence({no_such_context, N}) ->
    io_lib:format("the default pool has no context ~tp (environment key default_pool_size)", [N]);
sentence({invalid_mode, Mode}) ->
    io_lib:format("~tp is no mode: worker and owngil are", [Mode]);
sentence({bad_option, Key}) ->
    io_lib:format("there is no option ~tp (docs/pools.md lists them)", [Key]);
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
sentence({too_large, Bytes, Max}) ->
    io_lib:format("a value of ~ts is larger than the limit of ~ts (environment key max_frame_bytes)", [bytes(Bytes), bytes(Max)]);
sentence({not_encodable, depth}) ->
    "the value is nested deeper than 1000 levels";
sentence({not_encodable, {map_key, Repr}}) ->
    io_lib:format("~ts cannot be a key of a Python dict: it cannot be hashed", [text(Repr)]);
sentence({not_encodable, {duplicate_key, Repr}}) ->
    io_lib:format("two keys of the map become the same Python key ~ts", [text(Repr)]);
sentence({not_encodable, {type, Type}}) ->
    io_lib:format("Python values of type ~ts have no Erlang form and the call was strict (option strict)", [text(Type)]);
sentence({not_encodable, atom_table_full}) ->
    "Python has made 1000 new atoms on this node and may make no more; use a str";
sentence({not_encodable, What}) ->
    io_lib:format("a value cannot be converted: ~ts", [text(What)]);
sentence({bad_request, Text}) ->
    ["the port program refused the request: ", text(Text)];
sentence({state_full, Max}) ->
    io_lib:format("shared state has its ~b keys already and takes no other (environment key max_state_entries)", [Max]);
sentence({port_program, Path, Reason}) ->
    io_lib:format("the port program ~ts cannot be run: ~tp", [Path, Reason]);
sentence({start_failed, _} = Why) ->
    format_why(Why);
sentence({Type, Message}) when is_atom(Type), is_binary(Message); is_binary(Type), is_binary(Message) ->
    io_lib:format("Python raised ~ts: ~ts", [Type, printable(Message)]);
sentence({Type, Message, Traceback}) when is_binary(Message), is_binary(Traceback) ->
    sentence({Type, Message});
%% The port program's own words, on why it does not start.
sentence(Text) when is_binary(Text) ->
    printable(Text);
sentence(Other) ->
    io_lib:format("~tp", [Other]).

nested(Reason) when is_tuple(Reason) -> sentence(Reason);
nested(Value) -> io_lib:format("~tp cannot be meant", [Value]).

%% @doc What a port process died of.
-spec format_why(term()) -> binary().
format_why(Why) ->
    unicode:characters_to_binary(why(Why)).

why(stopped) ->
    "it was stopped";
why({exit_status, N}) ->
    io_lib:format("its process exited with status ~b", [N]);
why({signal, Signal}) ->
    io_lib:format("its process was ended by signal ~ts", [string:uppercase(atom_to_list(Signal))]);
why({killed, timeout}) ->
    "it was killed, since a call went on after its timeout and did not react to being interrupted "
    "(pool option hard_timeout_grace)";
why({killed, memory_limit}) ->
    "it was killed, since its process used more memory than allowed (pool option memory_limit)";
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
-spec printable(binary()) -> binary().
printable(Bytes) ->
    case unicode:characters_to_binary(Bytes) of
        Text when is_binary(Text) -> Text;
        _ -> unicode:characters_to_binary(Bytes, latin1)
    end.

%% @doc An exception in a line, such as `error:badarith'; at most 2 KiB.
-spec exception(error | exit | throw, term()) -> binary().
exception(Class, Reason) ->
    at_most(?EXCEPTION_BYTES, io_lib:format("~ts:~0tp", [Class, Reason], [{chars_limit, ?EXCEPTION_BYTES}])).

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
text(What) when is_atom(What) -> atom_to_binary(What);
text(What) -> io_lib:format("~tp", [What]).
