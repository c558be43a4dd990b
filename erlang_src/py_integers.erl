%% @doc How large an integer may be: that differs between releases of OTP, and nothing tells but the attempt.
-module(py_integers).

-export([max_bytes/0]).

-define(WORD_BYTES, 8).
%% Every release holds integers of 8 KiB; of those beyond 16 MiB none would have a use.
-define(SURELY_WORDS, 1024).
-define(BEYOND_WORDS, (1 bsl 21)).
%% What it is in releases that were looked at (a search takes a fifth of a second).
-define(KNOWN_WORDS, [1 bsl 19 - 1, 1 bsl 16, 1 bsl 16 - 1]).

%% @doc The largest that this node decodes, in bytes of its magnitude. Found once.
-spec max_bytes() -> pos_integer().
max_bytes() ->
    case persistent_term:get(?MODULE, unknown) of
        unknown ->
            Max = largest() * ?WORD_BYTES,
            ok = persistent_term:put(?MODULE, Max),
            Max;
        Max ->
            Max
    end.

largest() ->
    case lists:search(fun(Words) -> not is_held(Words + 1) andalso is_held(Words) end, ?KNOWN_WORDS) of
        {value, Words} -> Words;
        false -> largest(?SURELY_WORDS, ?BEYOND_WORDS)
    end.

%% `Held' words are decoded, `Refused' are not.
largest(Held, Refused) when Refused - Held =< 1 ->
    Held;
largest(Held, Refused) ->
    Between = (Held + Refused) div 2,
    case is_held(Between) of
        true -> largest(Between, Refused);
        false -> largest(Held, Between)
    end.

%% LARGE_BIG_EXT, positive, of which only the highest byte is not 0.
is_held(Words) ->
    Bytes = Words * ?WORD_BYTES,
    try binary_to_term(<<131, 111, Bytes:32, 0, 0:((Bytes - 1) * 8), 1>>) of
        Integer -> is_integer(Integer)
    catch
        error:_ -> false
    end.
