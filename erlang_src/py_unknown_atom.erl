%% @doc Why `binary_to_term(Payload, [safe])' has refused a payload: an atom that this node does not know, or bytes that
%% are no term. For the way of an error: every payload that is decoded does without.
-module(py_unknown_atom).

-export([find/1]).

%% @doc The first atom of a term, with its version byte, that does not exist here; `none' when all do, up to where the
%% bytes are no term any more.
-spec find(binary()) -> {ok, Name :: binary()} | none.
find(<<131, Term/binary>>) -> next(Term);
find(_) -> none.

%% Terms in containers follow one after the other, so nothing needs to be remembered of the containers.
next(<<>>) -> none;
next(<<100, Size:16, Name:Size/binary, Rest/binary>>) -> atom(unicode:characters_to_binary(Name, latin1), Rest);
next(<<115, Size, Name:Size/binary, Rest/binary>>) -> atom(unicode:characters_to_binary(Name, latin1), Rest);
next(<<118, Size:16, Name:Size/binary, Rest/binary>>) -> atom(Name, Rest);
next(<<119, Size, Name:Size/binary, Rest/binary>>) -> atom(Name, Rest);
next(<<97, _, Rest/binary>>) -> next(Rest);
next(<<98, _:4/binary, Rest/binary>>) -> next(Rest);
next(<<106, Rest/binary>>) -> next(Rest);
next(<<109, Size:32, _:Size/binary, Rest/binary>>) -> next(Rest);
next(<<77, Size:32, _, _:Size/binary, Rest/binary>>) -> next(Rest);
next(<<70, _:8/binary, Rest/binary>>) -> next(Rest);
next(<<104, _, Rest/binary>>) -> next(Rest);
next(<<105, _:4/binary, Rest/binary>>) -> next(Rest);
next(<<108, _:4/binary, Rest/binary>>) -> next(Rest);
next(<<116, _:4/binary, Rest/binary>>) -> next(Rest);
next(<<107, Size:16, _:Size/binary, Rest/binary>>) -> next(Rest);
next(<<110, Size, _, _:Size/binary, Rest/binary>>) -> next(Rest);
next(<<111, Size:32, _, _:Size/binary, Rest/binary>>) -> next(Rest);
next(<<113, Rest/binary>>) -> next(Rest);
next(<<112, _:29/binary, Rest/binary>>) -> next(Rest);
next(<<88, Rest/binary>>) -> node_then(12, Rest);
next(<<103, Rest/binary>>) -> node_then(9, Rest);
next(<<89, Rest/binary>>) -> node_then(8, Rest);
next(<<120, Rest/binary>>) -> node_then(12, Rest);
next(<<102, Rest/binary>>) -> node_then(5, Rest);
next(<<101, Rest/binary>>) -> node_then(5, Rest);
next(<<90, Words:16, Rest/binary>>) -> node_then(4 + 4 * Words, Rest);
next(<<114, Words:16, Rest/binary>>) -> node_then(1 + 4 * Words, Rest);
next(_NoTerm) -> none.

atom(Name, Rest) ->
    try binary_to_existing_atom(Name, utf8) of
        _ -> next(Rest)
    catch
        error:_ -> {ok, Name}
    end.

%% What makes up a pid, a port or a reference is put aside, then its node is an atom like others.
node_then(Bytes, Rest) ->
    case atom_size(Rest) of
        Size when is_integer(Size), byte_size(Rest) >= Size + Bytes ->
            <<Node:Size/binary, _:Bytes/binary, After/binary>> = Rest,
            case next(Node) of
                none -> next(After);
                Found -> Found
            end;
        _ ->
            none
    end.

atom_size(<<100, Size:16, _/binary>>) -> 3 + Size;
atom_size(<<118, Size:16, _/binary>>) -> 3 + Size;
atom_size(<<115, Size, _/binary>>) -> 2 + Size;
atom_size(<<119, Size, _/binary>>) -> 2 + Size;
atom_size(_) -> none.
