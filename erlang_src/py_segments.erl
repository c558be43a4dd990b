%% @doc Large binaries that leave the frames and travel through memory that the node shares with a port process: docs/design.md,
%% "Large values".
%%
%% What py_port keeps of those that come is a value. What a port process says of them is as hostile as all that it says: numbers
%% are checked by py_protocol:notice/1, sums here, and what is read is a copy that nobody can change any more.
-module(py_segments).

-include("py_protocol.hrl").

%% Terms.
-export([is_large/1, take_out_of/4, take_out/3, put_in/3]).
%% Sending.
-export([send/6, in_use/1]).
%% For a py_port.
-export([open/6, part_bytes/1, new/4, announced/4, hold/3, carried/3, freed/2, is_idle/1, is_ours/2]).

-export_type([segment/0, segments/0, ready/0, frame/0]).

%% A part of the segment file.
-type segment() :: {py_extents:offset(), Bytes :: pos_integer()}.
-type key() :: py_pieces:key().
-type aside() :: {Token :: non_neg_integer(), [binary()]}.
-type frame() :: {py_protocol:notice(), Used :: non_neg_integer(), Frame :: binary()}.
%% Its turn has come, with the large binaries of its payload.
-type ready() :: {frame(), none | aside()}.
%% What has come for a key, in order: the binaries of the payload that follows, and frames that wait.
-type held() :: {segments, reference(), Token :: non_neg_integer(), [segment()]} | {frame, frame()}.

-record(segments, {
    carriers :: tuple(),
    sender :: pid(),
    usage :: py_carrier:usage(),
    next = 1 :: pos_integer(),              % whose turn it is
    held = #{} :: #{key() => queue:queue(held())},
    reading = #{} :: #{reference() => {key(), unread | [binary()]}},
    %% Of messages: they are read when they come.
    messages = #{} :: #{key() => {Token :: non_neg_integer(), [segment()]}},
    bytes = 0 :: non_neg_integer(),         % of all that is held
    size :: pos_integer(),                  % of the part of the file that a carrier has
    max_value :: pos_integer(),
    most :: pos_integer()
}).
-opaque segments() :: #segments{}.

%% So many of the largest values may wait at once, in either direction. Mirrored by port/main.cc.
%% In the place of a binary stands `[Key | Index]', which no other term looks like.
-dialyzer({no_improper_lists, out/3}).

-define(LARGEST_VALUES, 8).
%% What the node keeps for a segment or a frame that waits, beside its bytes.
-define(HELD_BYTES, 256).
%% How long a carrier may take to read: far longer than it takes to copy all that may wait, and less than a supervisor waits for
%% the end of the py_port.
-define(READ_MS, 4000).
%% Readers and writers of one port process with several contexts. More would copy no faster.
-define(CARRIERS, 4).
%% Parts of the file begin at a multiple of this: memory is given back page by page, and pages may be large.
-define(ALIGNED_BYTES, (1 bsl 20)).
%% So many parts of a term are looked at for large binaries, and one more for each of so many bytes that it has: of a
%% million small terms a few thousand.
-define(PARTS, 1000).
-define(BYTES_PER_PART, 64).

%% Terms.

%% @doc Whether there is a large binary among the arguments, so that it need not be encoded to find that out.
-spec is_large(py_protocol:operation()) -> boolean().
is_large({call, _, _, Args, _}) -> has_large(Args);
is_large(_) -> false.

has_large([Arg | _]) when byte_size(Arg) >= ?LARGE_BYTES -> true;
has_large([{_, Arg} | _]) when byte_size(Arg) >= ?LARGE_BYTES -> true;
has_large([_ | Rest]) -> has_large(Rest);
has_large(_) -> false.

%% @doc The operation without the large binaries of its values, and these; none where there is no memory to put them into.
%% `Bytes': of its frame.
-spec take_out_of(py_protocol:operation(), reference(), port(), any | pos_integer()) -> {py_protocol:operation(), [binary()]}.
take_out_of(Operation, Key, Port, Bytes) ->
    case {py_writer:carriers(Port), Operation} of
        {none, _} ->
            {Operation, []};
        {_, {call, M, F, Args, Kwargs}} ->
            {{Less, LessToo}, Binaries} = take_out({Args, Kwargs}, Key, Bytes),
            {{call, M, F, Less, LessToo}, Binaries};
        {_, {eval, Expr, Locals}} ->
            {Less, Binaries} = take_out(Locals, Key, Bytes),
            {{eval, Expr, Less}, Binaries};
        {_, {exec, _Code}} ->
            {Operation, []}
    end.

%% @doc The term with `[Key | Index]' in the place of large binaries in lists, tuples and the values of maps, and these. Names,
%% keys, and what Python cannot see into, stay as they are. `Bytes': of the term, about.
-spec take_out(term(), reference(), any | pos_integer()) -> {term(), [binary()]}.
take_out(Term, Key, any) ->
    take_out(Term, Key, erlang:external_size(Term));
take_out(Term, Key, Bytes) ->
    {Left, {_, _, Binaries}} = out(Term, Key, {?PARTS + Bytes div ?BYTES_PER_PART, 0, []}),
    {Left, lists:reverse(Binaries)}.

%% With how many parts may still be looked at, how many binaries there are, and these, the newest first.

out(Term, _Key, {0, _, _} = Acc) ->
    {Term, Acc};
out(Binary, Key, {Left, Count, Found}) when is_binary(Binary), byte_size(Binary) >= ?LARGE_BYTES ->
    {[Key | Count], {Left - 1, Count + 1, [Binary | Found]}};
out(List = [_ | _], Key, Acc) ->
    out_of_list(List, [], List, Key, Acc, Acc);
out(Tuple, Key, {Left, Count, Found}) when is_tuple(Tuple) ->
    case out(tuple_to_list(Tuple), Key, {Left - 1, Count, Found}) of
        {_, {_, Count, _} = Next} -> {Tuple, Next};
        {Elements, Next} -> {list_to_tuple(Elements), Next}
    end;
out(Map, Key, {Left, Count, Found}) when is_map(Map), map_size(Map) =< Left ->
    {Keys, Values} = lists:unzip(maps:to_list(Map)),
    case out(Values, Key, {Left - 1, Count, Found}) of
        {_, {_, Count, _} = Next} -> {Map, Next};
        {Changed, Next} -> {maps:from_list(lists:zip(Keys, Changed)), Next}
    end;
out(Term, _Key, {Left, Count, Found}) ->
    {Term, {Left - 1, Count, Found}}.

out_of_list([Term | Rest], Done, List, Key, Before, Acc = {Left, _, _}) when Left > 0 ->
    {New, Next} = out(Term, Key, Acc),
    out_of_list(Rest, [New | Done], List, Key, Before, Next);
out_of_list(_Rest, _Done, List, _Key, {_, Count, _}, Acc = {_, Count, _}) ->
    {List, Acc};
out_of_list(Rest, Done, List, _Key, {_, Count, Found}, Acc = {Left, _, _}) ->
    case is_proper(Rest) of
        true -> {lists:reverse(Done, Rest), Acc};
        %% Python keeps it as it is.
        false -> {List, {Left, Count, Found}}
    end.

is_proper([_ | Rest]) -> is_proper(Rest);
is_proper(Tail) -> Tail =:= [].

%% @doc The term with its large binaries. What stands for one is an improper list, which Python can only have from Erlang, with
%% a number that it cannot know.
-spec put_in(term(), non_neg_integer(), tuple()) -> term().
put_in(Term, Token, Binaries) ->
    {Whole, _Missing} = in(Term, Token, Binaries, tuple_size(Binaries)),
    Whole.

in(Term, _Token, _Binaries, 0) ->
    {Term, 0};
in([Token | Index], Token, Binaries, Missing) when is_integer(Index), Index >= 0, Index < tuple_size(Binaries) ->
    {element(Index + 1, Binaries), Missing - 1};
in(List, Token, Binaries, Missing) when is_list(List) ->
    in_list(List, [], Token, Binaries, Missing);
in(Tuple, Token, Binaries, Missing) when is_tuple(Tuple) ->
    case in(tuple_to_list(Tuple), Token, Binaries, Missing) of
        {_, Missing} -> {Tuple, Missing};
        {List, Less} -> {list_to_tuple(List), Less}
    end;
in(Map, Token, Binaries, Missing) when is_map(Map) ->
    in_map(maps:next(maps:iterator(Map)), Map, Token, Binaries, Missing);
in(Term, _Token, _Binaries, Missing) ->
    {Term, Missing}.

in_list([Term | Rest], Done, Token, Binaries, Missing) when Missing > 0 ->
    {Whole, Less} = in(Term, Token, Binaries, Missing),
    in_list(Rest, [Whole | Done], Token, Binaries, Less);
in_list(Rest, Done, _Token, _Binaries, Missing) ->
    {lists:reverse(Done, Rest), Missing}.

in_map({Key, Value, Next}, Map, Token, Binaries, Missing) when Missing > 0 ->
    case in(Value, Token, Binaries, Missing) of
        {_, Missing} -> in_map(maps:next(Next), Map, Token, Binaries, Missing);
        {Whole, Less} -> in_map(maps:next(Next), Map#{Key := Whole}, Token, Binaries, Less)
    end;
in_map(_, Map, _Token, _Binaries, Missing) ->
    {Map, Missing}.

%% Sending.

%% @doc Sends a frame and the binaries that were taken out of its values. `no_room': they have to be in it. Otherwise as
%% py_carrier:send/6.
-spec send(port(), Owner :: pid(), py_sender:names(), binary(), [binary()], timeout()) ->
    py_sender:result() | late | withdrawn.
send(Port, Owner, Names, Frame, Binaries, Timeout) ->
    case py_writer:carriers(Port) of
        none ->
            no_room;
        Carriers ->
            Carrier = element(erlang:system_info(scheduler_id) rem tuple_size(Carriers) + 1, Carriers),
            py_carrier:send(Carrier, Owner, Names, Frame, Binaries, Timeout)
    end.

%% @doc How many bytes of what Erlang has written the port process still needs; `none' when no memory is shared.
-spec in_use(port()) -> non_neg_integer() | none.
in_use(Port) ->
    case py_writer:carriers(Port) of
        none -> none;
        Carriers -> py_carrier:in_use(element(1, Carriers))
    end.

%% For a py_port.

%% @doc Opens the segment file of a port process in which no code of users has run yet. `Idle': what Erlang's half may keep of
%% memory that nobody needs. `IsShared': several contexts use it.
-spec open(port(), pos_integer(), non_neg_integer(), Idle :: non_neg_integer(), MaxValue :: pos_integer(),
           IsShared :: boolean()) -> {ok, segments()} | {error, term()}.
open(Port, OsPid, Fd, Idle, MaxValue, IsShared) ->
    Path = filename:join(["/proc", integer_to_list(OsPid), "fd", integer_to_list(Fd)]),
    Count = case IsShared of
        true -> min(?CARRIERS, erlang:system_info(schedulers));
        false -> 1
    end,
    Size = part_bytes(Count),
    Usage = py_carrier:usage(?LARGEST_VALUES * MaxValue, Idle),
    Sender = py_sender:start_link(Port),
    Start = fun(Number) -> py_carrier:start_link(Port, Sender, Path, Number * Size, (Number + 1) * Size, Usage) end,
    case carriers(Start, lists:seq(0, Count - 1), []) of
        {ok, Carriers} ->
            ok = py_writer:set_carriers(Port, Carriers),
            {ok, new(Carriers, Sender, Usage, MaxValue)};
        {error, Why, Pids} ->
            _ = [begin unlink(Pid), exit(Pid, kill) end || Pid <- [Sender | Pids]],
            {error, Why}
    end.

%% @doc What each of so many carriers has of Erlang's half of the file.
-spec part_bytes(pos_integer()) -> pos_integer().
part_bytes(Count) ->
    ?PORTS_SEGMENTS div Count band bnot (?ALIGNED_BYTES - 1).

%% @doc Of these carriers.
-spec new(tuple(), pid(), py_carrier:usage(), pos_integer()) -> segments().
new(Carriers, Sender, Usage, MaxValue) ->
    Max = MaxValue + 2 * ?PIECE_BYTES,
    #segments{carriers = Carriers, sender = Sender, usage = Usage, size = part_bytes(tuple_size(Carriers)), max_value = Max,
              most = ?LARGEST_VALUES * Max}.

carriers(_Start, [], Pids) ->
    {ok, list_to_tuple(lists:reverse(Pids))};
carriers(Start, [Number | Rest], Pids) ->
    case Start(Number) of
        {ok, Pid} -> carriers(Start, Rest, [Pid | Pids]);
        {error, Why} -> {error, Why, Pids}
    end.

%% @doc Large binaries of a payload that comes with this key: they are read now. Those of a message (its key is negative) when
%% it comes, since whatever comes later has to wait for it. `out_of_turn': those that came before have no payload yet.
-spec announced(key(), non_neg_integer(), [segment()], segments()) -> {ok, segments()} | too_large | out_of_turn.
announced(Key, Token, Parts, S = #segments{bytes = Before, max_value = MaxValue, most = Most}) ->
    Bytes = bytes(Parts),
    All = Before + kept(Parts),
    case is_out_of_turn(Key, S) of
        true -> out_of_turn;
        false when Bytes > MaxValue; All > Most -> too_large;
        false -> {ok, begun(Key, Token, Parts, S#segments{bytes = All})}
    end.

is_out_of_turn(Key, #segments{messages = Messages}) when is_map_key(Key, Messages) ->
    true;
is_out_of_turn(Key, #segments{held = Held}) when is_map_key(Key, Held) ->
    case queue:get_r(map_get(Key, Held)) of
        {segments, _, _, _} -> true;
        {frame, Frame} -> is_piece(Frame)
    end;
is_out_of_turn(_Key, _S) ->
    false.

begun(Key, Token, Parts, S = #segments{messages = Messages}) when is_integer(Key), Key < 0 ->
    S#segments{messages = Messages#{Key => {Token, Parts}}};
begun(Key, Token, Parts, S = #segments{reading = Reading}) ->
    Ref = make_ref(),
    {Carrier, Next} = carrier(S#segments{reading = Reading#{Ref => {Key, unread}}}),
    ok = py_carrier:read(Carrier, Ref, Parts),
    add(Key, {segments, Ref, Token, Parts}, Next).

carrier(S = #segments{carriers = Carriers, next = Next}) ->
    {element(Next, Carriers), S#segments{next = Next rem tuple_size(Carriers) + 1}}.

add(Key, What, S = #segments{held = Held}) ->
    S#segments{held = Held#{Key => queue:in(What, maps:get(Key, Held, queue:new()))}}.

%% @doc A frame with this key. `free': it need not wait, and has no large binaries. `error': those that it has could not be
%% read, so that the port process has lied. `late': they were not read in time.
-spec hold(key(), frame(), segments()) -> {[ready()], segments()} | free | too_large | error | late.
hold(Key, Frame = {{?OP_LARGE_MESSAGE, _}, _, _}, S = #segments{messages = Messages}) when is_map_key(Key, Messages) ->
    now(Key, Frame, S);
hold(Key, {Notice, Used, Frame}, S = #segments{held = Held, bytes = Before, most = Most}) when is_map_key(Key, Held) ->
    case Before + byte_size(Frame) + ?HELD_BYTES of
        Now when Now =< Most -> ready(Key, add(Key, {frame, {Notice, Used, py_wire:own(Frame)}}, S#segments{bytes = Now}));
        _ -> too_large
    end;
hold(_Key, _Frame, _S) ->
    free.

now(Key, Frame, S = #segments{messages = Messages}) ->
    {{Token, Parts}, Others} = maps:take(Key, Messages),
    {Carrier, Next} = carrier(less(kept(Parts), S#segments{messages = Others})),
    Ref = monitor(process, Carrier),
    ok = py_carrier:read(Carrier, Ref, Parts),
    Read = receive
        {py_carried, Ref, Binaries} -> Binaries;
        {'DOWN', Ref, process, _, _} -> error
    after ?READ_MS ->
        late
    end,
    true = demonitor(Ref, [flush]),
    case Read of
        _ when is_list(Read) -> {[{Frame, {Token, Read}}], Next};
        _ -> Read
    end.

%% @doc What a carrier has read. `error': it could not, so that the port process has lied. `unknown': nobody had asked for it.
-spec carried(reference(), [binary()] | error, segments()) -> {[ready()], segments()} | error | unknown.
carried(Ref, Read, S = #segments{reading = Reading}) when is_map_key(Ref, Reading) ->
    case {map_get(Ref, Reading), Read} of
        {{Key, unread}, Binaries} when is_list(Binaries) -> ready(Key, S#segments{reading = Reading#{Ref := {Key, Binaries}}});
        {_, error} -> error;
        _ -> unknown
    end;
carried(_Ref, _Read, _S) ->
    unknown.

ready(Key, S = #segments{held = Held}) ->
    {Ready, Queue, Left} = in_turn(map_get(Key, Held), [], S),
    {lists:reverse(Ready), Left#segments{held = case queue:is_empty(Queue) of
        true -> maps:remove(Key, Held);
        false -> Held#{Key := Queue}
    end}}.

%% The frames whose turn has come, the last first, and what waits still.
in_turn(Queue, Ready, S = #segments{reading = Reading}) ->
    case queue:peek(Queue) of
        {value, {frame, Frame}} ->
            in_turn(queue:drop(Queue), [{Frame, none} | Ready], less(frame_bytes(Frame), S));
        {value, {segments, Ref, _, _} = Segments} ->
            case map_get(Ref, Reading) of
                %% Before anything is taken out of a queue that may be long.
                {_, unread} -> {Ready, Queue, S};
                {_, Binaries} -> with_frame(Segments, Binaries, queue:drop(Queue), Ready, S)
            end;
        empty ->
            {Ready, Queue, S}
    end.

with_frame(Segments = {segments, Ref, Token, Parts}, Binaries, Queue, Ready, S = #segments{reading = Reading}) ->
    case queue:out(Queue) of
        {{value, {frame, Frame}}, Left} ->
            Less = less(frame_bytes(Frame), S),
            case is_piece(Frame) of
                %% It is not yet what the binaries belong to.
                true -> with_frame(Segments, Binaries, Left, [{Frame, none} | Ready], Less);
                false -> in_turn(Left, [{Frame, {Token, Binaries}} | Ready],
                                 less(kept(Parts), Less#segments{reading = maps:remove(Ref, Reading)}))
            end;
        {empty, _} ->
            {Ready, queue:in(Segments, Queue), S}
    end.

less(Bytes, S = #segments{bytes = Before}) -> S#segments{bytes = Before - Bytes}.

is_piece({Notice, _, _}) -> element(1, Notice) =:= ?OP_REPLY_PIECE.

frame_bytes({_, _, Frame}) -> byte_size(Frame) + ?HELD_BYTES.

kept(Parts) -> bytes(Parts) + ?HELD_BYTES * (1 + length(Parts)).

bytes(Parts) -> lists:sum([Bytes || {_, Bytes} <- Parts]).

%% @doc The port program does not need what begins there any more. False: it has not so much, or that is no part of Erlang's.
-spec freed([py_extents:offset()], segments()) -> boolean().
freed(Offsets, #segments{carriers = Carriers, size = Size, usage = Usage}) ->
    Numbers = lists:usort([Offset div Size || Offset <- Offsets]),
    %% First, so that what waits for a carrier is never more than it has lent.
    py_carrier:returned(length(Offsets), Usage)
        andalso lists:all(fun(Number) -> Number < tuple_size(Carriers) end, Numbers)
        andalso begin
            _ = [py_carrier:free(element(Number + 1, Carriers), [Offset || Offset <- Offsets, Offset div Size =:= Number])
                 || Number <- Numbers],
            true
        end.

%% @doc Whether nothing is held: mostly so.
-spec is_idle(segments()) -> boolean().
is_idle(#segments{held = Held, messages = Messages}) -> map_size(Held) + map_size(Messages) =:= 0.

%% @doc Whether this is one of the processes without which no memory is shared.
-spec is_ours(pid(), segments()) -> boolean().
is_ours(Pid, #segments{carriers = Carriers, sender = Sender}) -> lists:member(Pid, [Sender | tuple_to_list(Carriers)]).
