%% @doc What users pass, brought into the form that the protocol wants: names are atoms or UTF-8 binaries, code is a
%% UTF-8 binary. What cannot be meant raises `{bad_argument, Which, Value}'.
-module(py_args).

-export([name/2, args/1, names/2, map/2, code/1, timeout/1, timeout/2, operation/3, operation/4, eval/2, exec/1]).
-export([is_named/1, is_identifier/1]).

-export_type([name/0, code/0, named/0, key/0]).

%% A module or a function.
-type name() :: atom() | binary() | string().
-type code() :: binary() | iodata() | string().
%% Keyword arguments, or local variables: a map, or a list of pairs, of which the first with a key counts.
-type named() :: #{key() => term()} | [{key(), term()}].
-type key() :: atom() | binary() | string().

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
names(Which, List) ->
    names(Which, map(Which, List)).

%% @doc What may be written as a map or as a list of pairs, which is Elixir's keyword list. An atom alone is true, as in a
%% property list.
-spec map(atom(), term()) -> #{term() => term()}.
map(_Which, Map) when is_map(Map) -> Map;
map(Which, List) when length(List) >= 0 ->
    is_named(List) orelse error({bad_argument, Which, List}),
    proplists:to_map(List);
map(Which, Other) -> error({bad_argument, Which, Other}).

%% @doc Whether a list can be a list of keyword arguments.
-spec is_named(term()) -> boolean().
is_named(List) when length(List) >= 0 -> lists:all(fun is_property/1, List);
is_named(_) -> false.

is_property({Key, _}) -> is_atom(Key) orelse is_binary(Key) orelse is_identifier(Key);
is_property(Other) -> is_atom(Other).

%% @doc Whether a string can name a function: `f', `Class.method'.
-spec is_identifier(term()) -> boolean().
is_identifier([First | Rest] = Text) when length(Text) >= 0 ->
    is_letter(First) andalso lists:all(fun(C) -> is_letter(C) orelse C =:= $. orelse (C >= $0 andalso C =< $9) end, Rest);
is_identifier(_) ->
    false.

is_letter(C) when is_integer(C) ->
    (C >= $a andalso C =< $z) orelse (C >= $A andalso C =< $Z) orelse C =:= $_ orelse (C >= 16#80 andalso C =< 16#10ffff);
is_letter(_) ->
    false.

-spec code(code()) -> binary().
code(Code) when is_binary(Code) -> Code;
code(Code) -> text(code, Code).

%% The upper bound is that of `receive ... after'.
-spec timeout(timeout()) -> timeout().
timeout(Timeout) -> timeout(timeout, Timeout).

-spec timeout(Which :: atom(), timeout()) -> timeout().
timeout(_Which, infinity) -> infinity;
timeout(_Which, Ms) when is_integer(Ms), Ms >= 0, Ms =< 16#ffffffff -> Ms;
timeout(Which, Other) -> error({bad_argument, Which, Other}).

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
