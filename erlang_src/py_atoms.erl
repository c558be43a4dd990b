%% @doc Atoms that Python makes: existing ones always, new ones up to a bound for each pool, so that no pool can exhaust
%% the node's atom table, nor take the room of another.
%%
%% A row `{{made, Pool}, N}' in the table py_atoms. Atoms are never freed, so it stays when the pool's process is
%% replaced, and when the pool is stopped and started again.
-module(py_atoms).

-export([admit/2, admit_all/2, count/1, known/0]).

-define(TABLE, py_atoms).
%% Class names and erlang.Atom values of one application: hundreds at most. The node's table holds 1 048 576.
-define(MAX_NEW, 1000).
%% Of the node's table, in percent, however many pools there are: the rest is Erlang's own.
-define(MAX_FILLED, 80).

%% @doc The name as an atom, or as it came when the bound is reached or it is no atom's name (over 255 characters).
-spec admit(atom(), binary()) -> atom() | binary().
admit(Pool, Name) ->
    try
        binary_to_existing_atom(Name, utf8)
    catch
        error:_ -> admit_new(Pool, Name)
    end.

%% @doc Makes sure that the names that fit exist, before a payload that holds them is decoded.
-spec admit_all(atom(), [binary()]) -> ok.
admit_all(Pool, Names) ->
    lists:foreach(fun(Name) -> admit(Pool, Name) end, Names).

%% @doc How many atoms a pool has made.
-spec count(atom()) -> non_neg_integer().
count(Pool) ->
    case ets:lookup(?TABLE, {made, Pool}) of
        [{_, N}] -> min(N, ?MAX_NEW);
        [] -> 0
    end.

%% @doc The names of Python's own exceptions, which exist from the start and do not count.
-spec known() -> [atom()].
known() ->
    ['ArithmeticError', 'AssertionError', 'AttributeError', 'BaseException', 'BaseExceptionGroup', 'BlockingIOError',
     'BrokenPipeError', 'BufferError', 'BytesWarning', 'ChildProcessError', 'ConnectionAbortedError', 'ConnectionError',
     'ConnectionRefusedError', 'ConnectionResetError', 'DeprecationWarning', 'EOFError', 'EncodingWarning',
     'EnvironmentError', 'Exception', 'ExceptionGroup', 'FileExistsError', 'FileNotFoundError', 'FloatingPointError',
     'FutureWarning', 'GeneratorExit', 'IOError', 'ImportError', 'ImportWarning', 'IndentationError', 'IndexError',
     'InterruptedError', 'IsADirectoryError', 'KeyError', 'KeyboardInterrupt', 'LookupError', 'MemoryError',
     'ModuleNotFoundError', 'NameError', 'NotADirectoryError', 'NotImplementedError', 'OSError', 'OverflowError',
     'PendingDeprecationWarning', 'PermissionError', 'ProcessLookupError', 'PythonFinalizationError', 'RecursionError',
     'ReferenceError', 'ResourceWarning', 'RuntimeError', 'RuntimeWarning', 'StopAsyncIteration', 'StopIteration',
     'SyntaxError', 'SyntaxWarning', 'SystemError', 'SystemExit', 'TabError', 'TimeoutError', 'TypeError',
     'UnboundLocalError', 'UnicodeDecodeError', 'UnicodeEncodeError', 'UnicodeError', 'UnicodeTranslateError',
     'UnicodeWarning', 'UserWarning', 'ValueError', 'Warning', 'ZeroDivisionError', 'CancelledError',
     'InvalidStateError', 'JSONDecodeError', 'Error', 'ErlangError', 'ProcessError', 'gaierror', 'herror',
     'CalledProcessError', 'TimeoutExpired'].

%% A name that is no atom's must not use up the room of one that is.
admit_new(Pool, Name) when byte_size(Name) =< 4 * 255 ->
    case is_room() andalso ets:update_counter(?TABLE, {made, Pool}, {2, 1, ?MAX_NEW + 1, ?MAX_NEW + 1}, {{made, Pool}, 0}) of
        N when is_integer(N), N =< ?MAX_NEW ->
            try
                binary_to_atom(Name, utf8)
            catch
                error:_ -> Name
            end;
        _ ->
            Name
    end;
admit_new(_Pool, Name) ->
    Name.

is_room() ->
    erlang:system_info(atom_count) * 100 < erlang:system_info(atom_limit) * ?MAX_FILLED.
