%% @doc How much room a term takes when it is decoded, found out without decoding it: bytes from a port are hostile, and
%% a byte of them can become 16 on the heap.
%%
%% Sizes are those of port/etf/heap_size.h, by which the port program counts what it sends; docs/types.md tells them to
%% users. They are rather too large than too small.
-module(py_term_size).

-export([within/2]).

-define(WORD, 8).
-define(CELL, (2 * ?WORD)).
-define(FLOAT, (2 * ?WORD)).
-define(IDENTIFIER, (9 * ?WORD)).
-define(EXPORT, (6 * ?WORD)).
-define(FUN, (7 * ?WORD)).
-define(PART, (6 * ?WORD)).
-define(MAX_FLATMAP, 32).
-define(MAX_HEAP_BINARY, 64).

%% @doc Whether a term in the external format, with its version byte, is well-formed as far as one can see without making
%% it, and takes no more than so many bytes. Compressed terms are not within anything. Needs no memory of its own,
%% however deep the term is: what is counted is only how many terms must still follow.
-spec within(binary(), non_neg_integer()) -> boolean().
within(<<131, Term/binary>>, Max) ->
    terms(Term, 1, Max);
within(_, _Max) ->
    false.

terms(_, _, Left) when Left < 0 ->
    false;
terms(Rest, 0, _Left) ->
    Rest =:= <<>>;
terms(<<97, _, Rest/binary>>, N, Left) ->
    terms(Rest, N - 1, Left);
terms(<<98, _:4/binary, Rest/binary>>, N, Left) ->
    terms(Rest, N - 1, Left);
terms(<<106, Rest/binary>>, N, Left) ->
    terms(Rest, N - 1, Left);
terms(<<109, Size:32, _:Size/binary, Rest/binary>>, N, Left) ->
    terms(Rest, N - 1, Left - binary_bytes(Size));
terms(<<70, _:8/binary, Rest/binary>>, N, Left) ->
    terms(Rest, N - 1, Left - ?FLOAT);
terms(<<104, Arity, Rest/binary>>, N, Left) ->
    terms(Rest, N - 1 + Arity, Left - tuple_bytes(Arity));
terms(<<108, Count:32, Rest/binary>>, N, Left) ->
    %% The elements, and the tail in the place of this term.
    terms(Rest, N + Count, Left - ?CELL * Count);
terms(<<116, Pairs:32, Rest/binary>>, N, Left) ->
    terms(Rest, N - 1 + 2 * Pairs, Left - map_bytes(Pairs));
terms(<<119, Size, _:Size/binary, Rest/binary>>, N, Left) ->
    terms(Rest, N - 1, Left);
terms(<<118, Size:16, _:Size/binary, Rest/binary>>, N, Left) ->
    terms(Rest, N - 1, Left);
terms(<<115, Size, _:Size/binary, Rest/binary>>, N, Left) ->
    terms(Rest, N - 1, Left);
terms(<<100, Size:16, _:Size/binary, Rest/binary>>, N, Left) ->
    terms(Rest, N - 1, Left);
terms(<<107, Size:16, _:Size/binary, Rest/binary>>, N, Left) ->
    terms(Rest, N - 1, Left - ?CELL * Size);
terms(<<110, Size, _Sign, _:Size/binary, Rest/binary>>, N, Left) ->
    terms(Rest, N - 1, Left - integer_bytes(Size));
terms(<<111, Size:32, _Sign, _:Size/binary, Rest/binary>>, N, Left) ->
    terms(Rest, N - 1, Left - integer_bytes(Size));
terms(<<105, Arity:32, Rest/binary>>, N, Left) ->
    terms(Rest, N - 1 + Arity, Left - tuple_bytes(Arity));
terms(<<77, Size:32, _Bits, _:Size/binary, Rest/binary>>, N, Left) ->
    terms(Rest, N - 1, Left - binary_bytes(Size) - ?PART);
%% Module, function, arity.
terms(<<113, Rest/binary>>, N, Left) ->
    terms(Rest, N + 2, Left - ?EXPORT);
%% Module, old index, old uniq, pid, free variables.
terms(<<112, _Size:32, _Arity, _Uniq:16/binary, _Index:32, Free:32, Rest/binary>>, N, Left) ->
    terms(Rest, N + 3 + Free, Left - ?FUN - ?WORD * Free);
%% A node, and so many bytes.
terms(<<88, Rest/binary>>, N, Left) ->
    identifier(Rest, 4 + 4 + 4, N, Left);
terms(<<103, Rest/binary>>, N, Left) ->
    identifier(Rest, 4 + 4 + 1, N, Left);
terms(<<89, Rest/binary>>, N, Left) ->
    identifier(Rest, 4 + 4, N, Left);
terms(<<120, Rest/binary>>, N, Left) ->
    identifier(Rest, 8 + 4, N, Left);
terms(<<102, Rest/binary>>, N, Left) ->
    identifier(Rest, 4 + 1, N, Left);
terms(<<101, Rest/binary>>, N, Left) ->
    identifier(Rest, 4 + 1, N, Left);
terms(<<90, Words:16, Rest/binary>>, N, Left) when Words =< 5 ->
    identifier(Rest, 4 + 4 * Words, N, Left);
terms(<<114, Words:16, Rest/binary>>, N, Left) when Words =< 5 ->
    identifier(Rest, 1 + 4 * Words, N, Left);
terms(_CutOrUnknown, _N, _Left) ->
    false.

identifier(<<119, Size, _:Size/binary, Rest/binary>>, Bytes, N, Left) -> after_node(Rest, Bytes, N, Left);
identifier(<<118, Size:16, _:Size/binary, Rest/binary>>, Bytes, N, Left) -> after_node(Rest, Bytes, N, Left);
identifier(<<115, Size, _:Size/binary, Rest/binary>>, Bytes, N, Left) -> after_node(Rest, Bytes, N, Left);
identifier(<<100, Size:16, _:Size/binary, Rest/binary>>, Bytes, N, Left) -> after_node(Rest, Bytes, N, Left);
identifier(_, _, _, _) -> false.

after_node(Rest, Bytes, N, Left) ->
    case Rest of
        <<_:Bytes/binary, After/binary>> -> terms(After, N - 1, Left - ?IDENTIFIER);
        _ -> false
    end.

tuple_bytes(0) -> 0;
tuple_bytes(Arity) -> ?WORD * (Arity + 1).

map_bytes(Pairs) when Pairs =< ?MAX_FLATMAP -> ?WORD * (2 * Pairs + 4);
map_bytes(Pairs) -> 5 * ?WORD * Pairs.

integer_bytes(Size) when Size < ?WORD -> 0;
integer_bytes(Size) -> ?WORD * (1 + (Size + ?WORD - 1) div ?WORD).

binary_bytes(Size) when Size =< ?MAX_HEAP_BINARY -> Size + 3 * ?WORD;
binary_bytes(Size) -> Size + 8 * ?WORD.
