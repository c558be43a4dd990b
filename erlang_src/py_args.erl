%% @doc What users pass, brought into the form that the protocol wants: names are atoms or UTF-8 binaries, code is a
%% UTF-8 binary. What cannot be meant raises `{bad_argument, Which, Value}'.
-module(py_args).

-export([name/2, args/1, names/2, code/1, timeout/1, operation/3, operation/4, eval/2, exec/1]).

-export_type([name/0, code/0, named/0]).

%% A module or a function.
-type name() :: atom() | binary() | string().
-type code() :: binary() | iodata() | string().
%% Keyword arguments, or local variables.
-type named() :: #{atom() | binary() | string() => term()}.

-spec operation(name(), name(), [term()]) -> py_protocol:operation().
operation(M, F, Args) ->
    {call, name(module, M), name(function, F), args(Args), #{}}.

-spec operation(name(), name(), [term()], named()) -> py_protocol:operation().
operation(M, F, Args, Kwargs) ->
    {call, name(module, M), name(function, F), args(Args), names(kwargs, Kwargs)}.

-spec eval(code(), named()) -> py_protocol:operation().
eval(Expr, Locals) ->
    {eval, code(Expr), names(locals, Locals)}.

-spec exec(code()) -> py_protocol:operation().
exec(Code) ->
    {exec, code(Code)}.

-spec name(atom(), name()) -> atom() | binary().
name(_Which, Name) when is_atom(Name) -> Name;
name(_Which, Name) when is_binary(Name) -> Name;
name(Which, Name) -> text(Which, Name).

%% The guard fails for improper lists too.
-spec args([term()]) -> [term()].
args(Args) when length(Args) >= 0 -> Args;
args(Args) -> error({bad_argument, args, Args}).

-spec names(atom(), named()) -> #{atom() | binary() => term()}.
names(_Which, Map) when map_size(Map) =:= 0 ->
    Map;
names(Which, Map) when is_map(Map) ->
    case lists:all(fun(Key) -> is_atom(Key) orelse is_binary(Key) end, maps:keys(Map)) of
        true -> Map;
        false -> maps:from_list([{name(Which, Key), Value} || {Key, Value} <- maps:to_list(Map)])
    end;
names(Which, Map) ->
    error({bad_argument, Which, Map}).

-spec code(code()) -> binary().
code(Code) when is_binary(Code) -> Code;
code(Code) -> text(code, Code).

%% The upper bound is that of `receive ... after'.
-spec timeout(timeout()) -> timeout().
timeout(infinity) -> infinity;
timeout(Ms) when is_integer(Ms), Ms >= 0, Ms =< 16#ffffffff -> Ms;
timeout(Other) -> error({bad_argument, timeout, Other}).

%% Characters, or the bytes of a UTF-8 text.
text(Which, Text) when is_list(Text) ->
    try unicode:characters_to_binary(Text) of
        Binary when is_binary(Binary) -> Binary;
        _ -> error({bad_argument, Which, Text})
    catch
        error:badarg -> error({bad_argument, Which, Text})
    end;
text(Which, Other) ->
    error({bad_argument, Which, Other}).
