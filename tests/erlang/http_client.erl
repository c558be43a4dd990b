%% A small HTTP/1.1 client, for suites that ask a server which runs in Python: it keeps connections, pipelines requests,
%% and cuts what it sends where it likes.
-module(http_client).

-export([connect/1, close/1, send/2, send_cut/2, response/1, request/2, request/4, ask/2, is_closed/1]).
-export_type([response/0]).

-type response() :: {Status :: pos_integer(), Headers :: #{binary() => binary()}, Body :: binary()}.

-define(PATIENCE, 30000).

-spec connect(inet:port_number()) -> gen_tcp:socket().
connect(Port) ->
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {active, false}, {packet, raw}, {nodelay, true}]),
    Socket.

-spec close(gen_tcp:socket()) -> ok.
close(Socket) -> gen_tcp:close(Socket).

-spec request(iodata(), iodata()) -> binary().
request(Method, Target) -> request(Method, Target, [], <<>>).

%% A body is announced by its length, unless there is none.
-spec request(iodata(), iodata(), [{iodata(), iodata()}], iodata()) -> binary().
request(Method, Target, Headers, Body) ->
    Length = [{"Content-Length", integer_to_list(iolist_size(Body))} || iolist_size(Body) > 0],
    iolist_to_binary([Method, " ", Target, " HTTP/1.1\r\nHost: localhost\r\n",
                      [[Name, ": ", Value, "\r\n"] || {Name, Value} <- Headers ++ Length], "\r\n", Body]).

-spec send(gen_tcp:socket(), iodata()) -> ok.
send(Socket, Data) -> ok = gen_tcp:send(Socket, Data).

%% In pieces of random length, each a packet of its own as far as the network allows.
-spec send_cut(gen_tcp:socket(), binary()) -> ok.
send_cut(_Socket, <<>>) -> ok;
send_cut(Socket, Data) ->
    {Piece, Rest} = split_binary(Data, min(byte_size(Data), rand:uniform(60))),
    ok = send(Socket, Piece),
    erlang:yield(),
    send_cut(Socket, Rest).

%% The next response on a connection.
-spec response(gen_tcp:socket()) -> response().
response(Socket) ->
    ok = inet:setopts(Socket, [{packet, http_bin}]),
    {ok, {http_response, {1, 1}, Status, _}} = gen_tcp:recv(Socket, 0, ?PATIENCE),
    Headers = headers(Socket, #{}),
    ok = inet:setopts(Socket, [{packet, raw}]),
    {Status, Headers, body(Socket, binary_to_integer(maps:get(<<"content-length">>, Headers)))}.

headers(Socket, Headers) ->
    case gen_tcp:recv(Socket, 0, ?PATIENCE) of
        {ok, {http_header, _, Name, _, Value}} -> headers(Socket, Headers#{lower(Name) => Value});
        {ok, http_eoh} -> Headers
    end.

lower(Name) when is_atom(Name) -> lower(atom_to_binary(Name));
lower(Name) -> string:lowercase(Name).

body(_Socket, 0) -> <<>>;
body(Socket, Length) ->
    {ok, Body} = gen_tcp:recv(Socket, Length, ?PATIENCE),
    Body.

-spec ask(gen_tcp:socket(), iodata()) -> {Status :: pos_integer(), Body :: binary()}.
ask(Socket, Request) ->
    ok = send(Socket, Request),
    {Status, _Headers, Body} = response(Socket),
    {Status, Body}.

%% Whether the other side has closed the connection, and nothing more came.
-spec is_closed(gen_tcp:socket()) -> boolean().
is_closed(Socket) ->
    case gen_tcp:recv(Socket, 0, ?PATIENCE) of
        {error, Reason} -> Reason =:= closed orelse Reason =:= econnreset;
        {ok, _} -> false
    end.
