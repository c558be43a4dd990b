%% @doc Atoms that Python makes: existing ones always, new ones up to a bound, so that Python cannot exhaust the
%% node's atom table.
-module(py_atoms).

-export([admit/1, admit_all/1, count/0, known/0]).

-define(TABLE, py_atoms).
%% Class names and erlang.Atom values of one application: hundreds at most. The node's table holds 1 048 576.
-define(MAX_NEW, 1000).

%% @doc The name as an atom, or as it came when the bound is reached or it is no atom's name (over 255 characters).
-spec admit(binary()) -> atom() | binary().
admit(Name) ->
    try
        binary_to_existing_atom(Name, utf8)
    catch
        error:_ -> admit_new(Name)
    end.

%% @doc Makes sure that the names that fit exist, before a payload that holds them is decoded.
-spec admit_all([binary()]) -> ok.
admit_all(Names) ->
    lists:foreach(fun admit/1, Names).

%% @doc How many atoms Python has made on this node.
-spec count() -> non_neg_integer().
count() ->
    case ets:lookup(?TABLE, made) of
        [{made, N}] -> min(N, ?MAX_NEW);
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

admit_new(Name) ->
    case ets:update_counter(?TABLE, made, {2, 1, ?MAX_NEW + 1, ?MAX_NEW + 1}, {made, 0}) of
        N when N =< ?MAX_NEW ->
            try
                binary_to_atom(Name, utf8)
            catch
                error:_ -> Name
            end;
        _ ->
            Name
    end.
