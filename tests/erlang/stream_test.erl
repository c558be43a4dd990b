%% What the suites of streams share.
-module(stream_test).
-export([received/1, settled/1, no_message/0, eventually_state/2, state/1]).

-include_lib("stdlib/include/assert.hrl").

%% All items of a stream that was started for the calling process, and its end.
received(Ref) -> received(Ref, []).

received(Ref, Items) ->
    receive
        {py_stream, Ref, {data, Item}} -> received(Ref, [Item | Items]);
        {py_stream, Ref, End} -> {lists:reverse(Items), End}
    after 30000 -> error({no_end_after, length(Items)})
    end.

%% The value when it has not changed for some time.
settled(Fun) -> settled(Fun, Fun(), 0).

settled(_Fun, {_, _} = Value, 10) -> Value;
settled(Fun, Value, Times) ->
    timer:sleep(30),
    case Fun() of
        Value -> settled(Fun, Value, Times + 1);
        Other -> settled(Fun, Other, 0)
    end.

no_message() -> receive Message -> ?assertEqual(none, Message) after 0 -> ok end.

%% What a generator has told in the shared state.
eventually_state(Key, Value) -> py_test:eventually(fun() -> state(Key) =:= {ok, Value} end).

state(Key) -> py:state_fetch(atom_to_binary(Key)).
