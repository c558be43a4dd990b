%% What people build on the event loop, whole: an HTTP service under load, a client of a real Redis server, and tokens
%% as a language model streams them to a process that is slow to read.
-module(real_use_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-define(PATIENCE, 30000).
%% What a stream may have made that its reader has not read: the first credit (1000 items), what may lie in the reader's
%% mailbox (200), and one item too many.
-define(AHEAD, 1201).

suite() -> [{timetrap, {minutes, 2}}].

all() -> [{group, worker}, {group, owngil}, {group, redis}].

groups() -> [{redis, [], redis()} | py_test_modes:groups(in_both_modes())].

in_both_modes() ->
    [http_answers, http_keeps_connections, http_pipelined, http_many_clients, http_under_load, http_calls_erlang,
     http_waits_do_not_block, http_cancelled, http_ends_with_its_owner, http_idle, tokens_to_a_slow_reader,
     tokens_nobody_reads, tokens_among_other_messages, tokens_behind_other_messages, tokens_cancelled,
     tokens_cancelled_while_waiting, tokens_of_a_dead_reader].

redis() ->
    [redis_in_parallel, redis_gather, redis_pipelined, redis_errors, redis_pub_sub, redis_dies].

init_per_suite(Config) ->
    %% Fewer than the requests that the cases have waiting in Python.
    ok = py_test:start([{max_concurrent, 20}]),
    Config.

end_per_suite(_Config) -> py_test:stop(), py_test:remove_temp_files().

init_per_group(redis, Config) ->
    case os:find_executable("redis-server") of
        false -> {skip, "there is no redis-server: tools/setup --test-tools installs it"};
        Program ->
            ok = py:register_pool(io, redis_client),
            [{redis_server, Program} | Config]
    end;
init_per_group(Mode, Config) -> py_test_modes:pool_group(Mode, 1, #{}, Config).

end_per_group(redis, _Config) -> py:unregister_pool(redis_client);
end_per_group(_Mode, Config) -> py_test:stop_pool(?config(pool, Config)).

init_per_testcase(Case, Config) ->
    case atom_to_list(Case) of
        "redis_" ++ _ ->
            Path = list_to_binary(py_test:temp_file("redis")),
            [{redis, start_redis(?config(redis_server, Config), Path)} | Config];
        _ -> Config
    end.

end_per_testcase(_Case, Config) ->
    case ?config(redis, Config) of
        undefined -> ok;
        {Server, OsPid, _Path} -> stop_redis(Server, OsPid)
    end,
    py_test_callbacks:clean_up().

%% HTTP.

%% Proves that the service answers right and wrong requests, with bodies of every kind.
http_answers(Config) ->
    with_service(Config, fun(_Ctx, Port) ->
        Socket = http_client:connect(Port),
        Ask = fun(Request) -> http_client:ask(Socket, Request) end,
        ?assertEqual({200, <<"Hello, world!\n">>}, Ask(http_client:request("GET", "/"))),
        ?assertEqual({200, <<"{\"n\": 12, \"square\": 144}">>}, Ask(http_client:request("GET", "/square?n=12"))),
        ?assertEqual({404, <<"not found\n">>}, Ask(http_client:request("GET", "/nowhere"))),
        ?assertMatch({400, _}, Ask(http_client:request("GET", "/square?n=twelve"))),
        ?assertEqual({500, <<"on purpose">>}, Ask(http_client:request("GET", "/broken"))),
        Large = rand:bytes(1 bsl 20),
        ?assertEqual({200, Large}, Ask(http_client:request("POST", "/echo", [], Large))),
        Chunked = [http_client:request("POST", "/echo", [{"Transfer-Encoding", "chunked"}], <<>>),
                   "5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\n\r\n"],
        ?assertEqual({200, <<"hello, world">>}, Ask(Chunked)),
        ?assertMatch({400, _}, Ask("nonsense\r\n\r\n")),
        ?assert(http_client:is_closed(Socket))
    end).

%% Proves that a connection serves many requests one after the other, cut anywhere, until the client has enough.
http_keeps_connections(Config) ->
    with_service(Config, fun(Ctx, Port) ->
        Socket = http_client:connect(Port),
        lists:foreach(fun(N) ->
            ok = http_client:send_cut(Socket, square(N)),
            ?assertEqual(squared(N), http_client:response(Socket))
        end, lists:seq(1, 200)),
        ?assertMatch({ok, [_, 1, _]}, py:call(Ctx, http_service, counts, [])),
        {200, #{<<"connection">> := <<"close">>}, _} = begin
            ok = http_client:send(Socket, http_client:request("GET", "/", [{"Connection", "close"}], <<>>)),
            http_client:response(Socket)
        end,
        ?assert(http_client:is_closed(Socket)),
        gone(Ctx)
    end).

%% Proves that requests that are sent without waiting are answered in their order, also when the first takes longest.
http_pipelined(Config) ->
    with_service(Config, fun(_Ctx, Port) ->
        Socket = http_client:connect(Port),
        Numbers = lists:seq(1, 500),
        ok = http_client:send(Socket, [http_client:request("GET", "/slow/50"), [square(N) || N <- Numbers]]),
        ?assertMatch({200, _, <<"50">>}, http_client:response(Socket)),
        [?assertEqual(squared(N), http_client:response(Socket)) || N <- Numbers],
        http_client:close(Socket)
    end).

%% Proves that 50 clients, each with pipelined requests of its own, all get their own answers, while synchronous calls
%% to the same context, on the same thread, are answered too.
http_many_clients(Config) ->
    with_service(Config, fun(Ctx, Port) ->
        Calls = keep_calling(Ctx, 3),
        Clients = [py_test:async(fun() ->
            Socket = http_client:connect(Port),
            lists:foreach(fun(Round) ->
                Numbers = [Client * 1000000 + Round * 1000 + N || N <- lists:seq(1, rand:uniform(20))],
                Body = <<(integer_to_binary(Client))/binary, (rand:bytes(rand:uniform(5000)))/binary>>,
                ok = http_client:send_cut(Socket, iolist_to_binary([square(N) || N <- Numbers])),
                ok = http_client:send(Socket, http_client:request("POST", "/echo", [], Body)),
                [?assertEqual(squared(N), http_client:response(Socket)) || N <- Numbers],
                ?assertMatch({200, _, Body}, http_client:response(Socket))
            end, lists:seq(1, 20)),
            http_client:close(Socket)
        end) || Client <- lists:seq(1, 50)],
        [py_test:join(Client) || Client <- Clients],
        ?assert(called(Calls) > 0),
        gone(Ctx)
    end).

%% Proves that the service stands the load of a real load generator without one error, while synchronous calls go on.
http_under_load(Config) ->
    case os:find_executable("wrk") of
        false -> {skip, "there is no wrk: tools/setup --test-tools installs it"};
        Wrk ->
            with_service(Config, fun(Ctx, Port) ->
                {ok, [Before, _, _]} = py:call(Ctx, http_service, counts, []),
                Calls = keep_calling(Ctx, 2),
                Url = " http://127.0.0.1:" ++ integer_to_list(Port),
                Report = os:cmd(Wrk ++ " -t 1 -c 50 -d 3s" ++ Url ++ "/square?n=9"),
                Answered = called(Calls),
                {ok, [After, _, _]} = py:call(Ctx, http_service, counts, []),
                {match, [Requests]} = re:run(Report, "(\\d+) requests in", [{capture, all_but_first, list}]),
                ct:pal("~ts~b synchronous calls meanwhile", [Report, Answered]),
                ?assertEqual(nomatch, re:run(Report, "Socket errors|Non-2xx"), Report),
                ?assert(list_to_integer(Requests) > 0, Report),
                ?assert(After - Before >= list_to_integer(Requests)),
                ?assert(Answered > 0),
                gone(Ctx)
            end)
    end.

%% Proves that a request may ask Erlang for its answer while others go on.
http_calls_erlang(Config) ->
    ok = py:register_function(real_use_reverse, fun([Word]) ->
        timer:sleep(rand:uniform(5)),
        list_to_binary(lists:reverse(binary_to_list(Word)))
    end),
    with_service(Config, fun(_Ctx, Port) ->
        Clients = [py_test:async(fun() ->
            Socket = http_client:connect(Port),
            Word = ["word", integer_to_list(N)],
            ?assertEqual({200, list_to_binary(lists:reverse(lists:flatten(Word)))},
                         http_client:ask(Socket, http_client:request("GET", ["/erlang/" | Word]))),
            http_client:close(Socket)
        end) || N <- lists:seq(1, 40)],
        [py_test:join(Client) || Client <- Clients]
    end).

%% Proves that a request that waits holds up neither other connections nor synchronous calls.
http_waits_do_not_block(Config) ->
    with_service(Config, fun(Ctx, Port) ->
        [Slow, Quick] = [http_client:connect(Port) || _ <- [slow, quick]],
        ok = http_client:send(Slow, http_client:request("GET", "/slow/600000")),
        [?assertMatch({200, _}, http_client:ask(Quick, square(N))) || N <- lists:seq(1, 20)],
        ?assertMatch({ok, [_, 2, _]}, py:call(Ctx, http_service, counts, []))
    end).

%% Proves that cancelling the service ends it with its connections, and that the context goes on.
http_cancelled(Config) ->
    [Ctx] = py_test:contexts(?config(pool, Config)),
    {Ref, Port} = start_service(Ctx),
    Sockets = [http_client:connect(Port) || _ <- lists:seq(1, 10)],
    [?assertMatch({200, _}, http_client:ask(Socket, square(3))) || Socket <- Sockets],
    ok = http_client:send(hd(Sockets), http_client:request("GET", "/slow/600000")),
    ok = stop_service(Ref),
    [?assert(http_client:is_closed(Socket)) || Socket <- Sockets],
    ?assertEqual({error, econnrefused}, gen_tcp:connect({127, 0, 0, 1}, Port, [])),
    ?assertMatch({ok, [_, 0, _]}, py:call(Ctx, http_service, counts, [])).

%% Proves that a service ends with the process that asked for it, here by py_context:submit/4.
http_ends_with_its_owner(Config) ->
    [Ctx] = py_test:contexts(?config(pool, Config)),
    Test = self(),
    Owner = spawn(fun() ->
        {ok, _Ref} = py_context:submit(Ctx, http_service, serve, [Test]),
        receive never -> ok end
    end),
    Port = receive {listening, P} -> P after ?PATIENCE -> error(not_listening) end,
    Socket = http_client:connect(Port),
    ?assertMatch({200, _}, http_client:ask(Socket, square(3))),
    exit(Owner, kill),
    receive closed -> ok after ?PATIENCE -> error(not_closed) end,
    ?assert(http_client:is_closed(Socket)).

%% Proves that a service nobody asks, with open connections, costs no CPU: in two seconds a twentieth of it at most.
http_idle(Config) ->
    with_service(Config, fun(Ctx, Port) ->
        Sockets = [http_client:connect(Port) || _ <- lists:seq(1, 20)],
        [?assertMatch({200, _}, http_client:ask(Socket, square(3))) || Socket <- Sockets],
        OsPid = py_test:os_pid(Ctx),
        timer:sleep(200),
        Before = py_test:cpu_ticks(OsPid),
        timer:sleep(2000),
        ?assert(py_test:cpu_ticks(OsPid) - Before < 10),
        [?assertMatch({200, _}, http_client:ask(Socket, square(4))) || Socket <- Sockets]
    end).

with_service(Config, Fun) ->
    [Ctx] = py_test:contexts(?config(pool, Config)),
    {Ref, Port} = start_service(Ctx),
    try Fun(Ctx, Port) after stop_service(Ref) end.

start_service(Ctx) ->
    Ref = py:async_call(Ctx, http_service, serve, [self()]),
    receive
        {listening, Port} -> {Ref, Port};
        {async_result, Ref, Result} -> error({not_listening, Result})
    after ?PATIENCE -> error(not_listening)
    end.

stop_service(Ref) ->
    ok = py:cancel(Ref),
    ?assertEqual({error, cancelled}, py:async_await(Ref)),
    receive closed -> ok after ?PATIENCE -> error(not_closed) end.

square(N) -> http_client:request("GET", ["/square?n=", integer_to_list(N)]).

squared(N) ->
    Body = iolist_to_binary(io_lib:format("{\"n\": ~b, \"square\": ~b}", [N, N * N])),
    {200, #{<<"content-type">> => <<"application/json">>, <<"connection">> => <<"keep-alive">>,
            <<"content-length">> => integer_to_binary(byte_size(Body))}, Body}.

%% Until the server has noticed that all clients are gone.
gone(Ctx) ->
    py_test:eventually(fun() -> {ok, [_, Open, _]} = py:call(Ctx, http_service, counts, []), Open =:= 0 end).

%% Processes that ask the same context over and over, by synchronous calls; each answer is checked.
keep_calling(Ctx, Processes) ->
    [py_test:async(fun() -> call_until_told(Ctx, 1) end) || _ <- lists:seq(1, Processes)].

call_until_told(Ctx, N) ->
    ?assertEqual({ok, 2 * N}, py:call(Ctx, operator, mul, [2, N])),
    receive stop -> N after 0 -> call_until_told(Ctx, N + 1) end.

called(Calls) ->
    [Pid ! stop || {Pid, _} <- Calls],
    lists:sum([py_test:join(Call) || Call <- Calls]).

%% Redis.

%% Proves that 1000 queries of 50 processes, asked for at once over the connections of two contexts, all get the answer
%% to their own question.
redis_in_parallel(Config) ->
    Path = path(Config),
    Clients = [py_test:async(fun() ->
        Key = fun(N) -> iolist_to_binary(io_lib:format("key ~b ~b", [Client, N])) end,
        Value = fun(N) -> <<N, (rand:bytes(N * 100))/binary>> end,
        Pairs = [{Key(N), Value(N)} || N <- lists:seq(1, 10)],
        Written = [py:async_call(io, redis_client, ask, [Path, <<"SET">>, K, V]) || {K, V} <- Pairs],
        [?assertEqual({ok, <<"OK">>}, py:async_await(Ref)) || Ref <- Written],
        Read = [{py:async_call(io, redis_client, ask, [Path, <<"GET">>, K]), V} || {K, V} <- Pairs],
        [?assertEqual({ok, V}, py:async_await(Ref)) || {Ref, V} <- Read]
    end) || Client <- lists:seq(1, 50)],
    [py_test:join(Client) || Client <- Clients],
    ?assertEqual({ok, 500}, ask(Config, ["DBSIZE"])),
    %% Both contexts of the pool, each with one connection for all its coroutines.
    {ok, Info} = ask(Config, ["INFO", "clients"]),
    {match, [Connections]} = re:run(Info, "connected_clients:(\\d+)", [{capture, all_but_first, list}]),
    ?assert(lists:member(list_to_integer(Connections), [1, 2]), Info).

%% Proves the same of async_gather: the replies come in the order of the questions, and what fails is named.
redis_gather(Config) ->
    Path = path(Config),
    Clients = [py_test:async(fun() ->
        {ok, Counts} = py:async_gather([{redis_client, ask, [Path, <<"INCR">>, <<"n">>]} || _ <- lists:seq(1, 18)]),
        Echo = fun(N) -> iolist_to_binary(io_lib:format("~b of ~b", [N, Client])) end,
        ?assertEqual({ok, [Echo(1), Echo(2)]},
                     py:async_gather([{redis_client, ask, [Path, <<"ECHO">>, Echo(N)]} || N <- [1, 2]])),
        Counts
    end) || Client <- lists:seq(1, 50)],
    Counts = lists:append([py_test:join(Client) || Client <- Clients]),
    ?assertEqual(lists:seq(1, 900), lists:sort(Counts)),
    ?assertMatch({error, {gather_failed, [{2, {'RedisError', _}}]}},
                 py:async_gather([{redis_client, ask, [Path, Command]} || Command <- [<<"PING">>, <<"NONSENSE">>]])).

%% Proves that a thousand commands go out before the first reply is waited for, and come back in order.
redis_pipelined(Config) ->
    Commands = [[<<"RPUSH">>, <<"list">>, N] || N <- lists:seq(1, 1000)],
    ?assertEqual({ok, lists:seq(1, 1000)}, wait(io, pipelined, [path(Config), Commands])),
    ?assertEqual({ok, [integer_to_binary(N) || N <- lists:seq(1, 1000)]}, ask(Config, ["LRANGE", "list", 0, -1])).

%% Proves that the server's errors, missing values and nested replies arrive as they are.
redis_errors(Config) ->
    ?assertMatch({error, {'RedisError', <<"ERR unknown command", _/binary>>}}, ask(Config, ["NONSENSE"])),
    ?assertEqual({ok, none}, ask(Config, ["GET", "nothing"])),
    ?assertEqual({ok, [[1, <<"two">>, none], 3]}, ask(Config, ["EVAL", "return {{1, 'two', false}, 3}", 0])),
    ?assertEqual({ok, <<"PONG">>}, ask(Config, ["PING"])).

%% Proves that what others publish reaches an Erlang process, in order, until the subscription is cancelled.
redis_pub_sub(Config) ->
    Subscription = subscribe(Config, <<"news">>),
    Texts = [iolist_to_binary(io_lib:format("news ~b", [N])) || N <- lists:seq(1, 1000)],
    Publish = [[<<"PUBLISH">>, <<"news">>, Text] || Text <- Texts],
    {ok, Heard} = wait(io, pipelined, [path(Config), Publish]),
    ?assertEqual({1000, [1]}, {length(Heard), lists:usort(Heard)}),
    ?assertEqual(Texts, [receive {published, Text} -> Text after ?PATIENCE -> error({missing, N}) end
                         || N <- lists:seq(1, 1000)]),
    ok = py:cancel(Subscription),
    ?assertEqual({error, cancelled}, py:async_await(Subscription)),
    py_test:eventually(fun() -> ask(Config, ["PUBLISH", "news", "more"]) =:= {ok, 0} end),
    receive {published, _} = Message -> error({unexpected, Message}) after 0 -> ok end.

%% Proves that everybody who waits for a server that is killed gets an error, that later queries do too, and that all is
%% well when the server is back.
redis_dies(Config) ->
    {Server, OsPid, Path} = ?config(redis, Config),
    Subscription = subscribe(Config, <<"news">>),
    Waiting = [py:async_call(io, redis_client, ask, [Path, <<"BLPOP">>, <<"nothing">>, 0]) || _ <- lists:seq(1, 100)],
    py_test:eventually(fun() ->
        {ok, Info} = redis_cli(Path, "INFO clients"),
        nomatch =/= re:run(Info, "blocked_clients:[12]")
    end),
    ok = py_test:signal(OsPid, "KILL"),
    [?assertMatch({error, {Error, _}} when Error =:= 'ConnectionResetError'; Error =:= 'BrokenPipeError',
                  py:async_await(Ref)) || Ref <- [Subscription | Waiting]],
    ?assertMatch({error, {'ConnectionRefusedError', _}}, ask(Config, ["PING"])),
    ok = stop_redis(Server, OsPid),
    {Again, AgainOsPid, Path} = start_redis(?config(redis_server, Config), Path),
    try
        ?assertEqual({ok, <<"PONG">>}, ask(Config, ["PING"]))
    after
        stop_redis(Again, AgainOsPid)
    end.

ask(Config, Command) -> wait(io, ask, [path(Config) | [word(Word) || Word <- Command]]).

word(Word) when is_list(Word) -> list_to_binary(Word);
word(Word) -> Word.

wait(Pool, Function, Args) -> py:async_await(py:async_call(Pool, redis_client, Function, Args)).

subscribe(Config, Channel) ->
    Ref = py:async_call(io, redis_client, subscribe, [path(Config), Channel, self()]),
    receive
        {subscribed, Channel} -> Ref;
        {async_result, Ref, Result} -> error({not_subscribed, Result})
    after ?PATIENCE -> error(not_subscribed)
    end.

path(Config) ->
    {_Server, _OsPid, Path} = ?config(redis, Config),
    Path.

%% A server on a socket of its own. The shell between ends it when this node ends, however that happens.
start_redis(Program, Path) ->
    Script = "exec 3<&0; \"$@\" </dev/null >/dev/null 2>&1 & echo $!; cat <&3 >/dev/null; kill $! 2>/dev/null; wait",
    Args = [Program, "--port", "0", "--unixsocket", Path, "--save", "", "--appendonly", "no", "--daemonize", "no"],
    Server = open_port({spawn_executable, "/bin/sh"}, [{args, ["-c", Script, "sh" | Args]}, {line, 100}, exit_status]),
    OsPid = receive {Server, {data, {eol, Line}}} -> list_to_integer(Line) after ?PATIENCE -> error(no_redis) end,
    py_test:eventually(fun() -> redis_cli(Path, "PING") =:= {ok, <<"+PONG\r\n">>} end),
    {Server, OsPid, Path}.

stop_redis(Server, OsPid) ->
    _ = erlang:port_info(Server) =/= undefined andalso port_close(Server),
    py_test:eventually(fun() -> not py_test:alive(OsPid) end).

%% One command, asked without Python.
redis_cli(Path, Command) ->
    case gen_tcp:connect({local, Path}, 0, [binary, {active, false}]) of
        {ok, Socket} ->
            ok = gen_tcp:send(Socket, [Command, "\r\n"]),
            Reply = gen_tcp:recv(Socket, 0, ?PATIENCE),
            ok = gen_tcp:close(Socket),
            Reply;
        {error, _} = Error ->
            Error
    end.

%% Tokens.

%% Proves that a reader that takes its time gets all tokens in their order, and that the generator does not run ahead of
%% it by more than the stream's window.
tokens_to_a_slow_reader(Config) ->
    [Ctx] = py_test:contexts(?config(pool, Config)),
    Count = 6000,
    {Name, Ref} = start_tokens(Ctx, Count),
    Read = fun Read(N) ->
        N rem 500 =:= 0 andalso begin
            %% Time for the generator to run ahead, if it did.
            timer:sleep(100),
            {ok, Made} = py:call(Ctx, token_stream, made, [Name]),
            ?assert(Made - N =< ?AHEAD, {Made, N})
        end,
        case py:stream_next(Ref, ?PATIENCE) of
            {ok, Token} ->
                ?assertEqual(token(N), Token),
                Read(N + 1);
            done ->
                N
        end
    end,
    ?assertEqual(Count, Read(0)),
    ?assertEqual({ok, <<"complete, cleaned up">>}, py:call(Ctx, token_stream, 'end', [Name])).

%% Proves the same of a reader that only receives messages: while it reads none, the generator stops after the window.
tokens_nobody_reads(Config) ->
    [Ctx] = py_test:contexts(?config(pool, Config)),
    Count = 4000,
    {Name, Ref} = start_tokens(Ctx, Count),
    {Made, Queued} = settled(Ctx, Name),
    ct:pal("~b tokens made, ~b in the mailbox", [Made, Queued]),
    ?assert(Made =< ?AHEAD, Made),
    ?assert(Queued =< 200, Queued),
    ?assertEqual([token(N) || N <- lists:seq(0, Count - 1)],
                 [receive {py_stream, Ref, {data, Token}} -> Token after ?PATIENCE -> error({missing, N}) end
                  || N <- lists:seq(1, Count)]),
    receive {py_stream, Ref, End} -> ?assertEqual(done, End) after ?PATIENCE -> error(no_end) end.

%% Proves that a reader that is busy with other messages meanwhile, many and in bursts, still gets no more than 200
%% tokens that it does not read.
tokens_among_other_messages(Config) ->
    [Ctx] = py_test:contexts(?config(pool, Config)),
    {Name, Ref} = start_tokens(Ctx, 1000000),
    _ = settled(Ctx, Name),
    lists:foreach(fun(Burst) ->
        [self() ! {other, Burst, N} || N <- lists:seq(1, 1000)],
        timer:sleep(400),
        [receive {other, Burst, N} -> ok end || N <- lists:seq(1, 1000)],
        timer:sleep(400),
        {messages, Messages} = process_info(self(), messages),
        ?assert(length([Token || {py_stream, R, {data, Token}} <- Messages, R =:= Ref]) =< 200)
    end, lists:seq(1, 3)),
    ok = py:stream_cancel(Ref),
    {error, cancelled} = rest(Ref),
    cleaned_up(Ctx, Name).

%% Proves that messages that the reader never reads do not hold up the tokens that come after them.
tokens_behind_other_messages(Config) ->
    [Ctx] = py_test:contexts(?config(pool, Config)),
    py_test:in_process(fun() ->
        [self() ! {other, N} || N <- lists:seq(1, 500)],
        Count = 2000,
        {_Name, Ref} = start_tokens(Ctx, Count),
        ?assertEqual([token(N) || N <- lists:seq(0, Count - 1)],
                     [receive {py_stream, Ref, {data, Token}} -> Token after ?PATIENCE -> error({missing, N}) end
                      || N <- lists:seq(1, Count)]),
        receive {py_stream, Ref, End} -> ?assertEqual(done, End) after ?PATIENCE -> error(no_end) end
    end).

%% Proves that a stream that is cancelled in the middle ends for its reader, and that the generator cleans up.
tokens_cancelled(Config) ->
    [Ctx] = py_test:contexts(?config(pool, Config)),
    {Name, Ref} = start_tokens(Ctx, 1000000),
    [?assertEqual({ok, token(N)}, py:stream_next(Ref, ?PATIENCE)) || N <- lists:seq(0, 999)],
    ok = py:stream_cancel(Ref),
    {error, cancelled} = rest(Ref),
    cleaned_up(Ctx, Name),
    {ok, Made} = py:call(Ctx, token_stream, made, [Name]),
    timer:sleep(100),
    ?assertEqual({ok, Made}, py:call(Ctx, token_stream, made, [Name])).

%% Proves the same of a generator that waits for something that never comes.
tokens_cancelled_while_waiting(Config) ->
    [Ctx] = py_test:contexts(?config(pool, Config)),
    Name = name(),
    {ok, Ref} = py:stream_start(token_stream, thinking, [Name], #{context => Ctx}),
    ?assertEqual({ok, <<"hm">>}, py:stream_next(Ref, ?PATIENCE)),
    ?assertEqual({error, timeout}, py:stream_next(Ref, 50)),
    ok = py:stream_cancel(Ref),
    ?assertEqual({error, cancelled}, py:stream_next(Ref, ?PATIENCE)),
    cleaned_up(Ctx, Name).

%% Proves that the generator cleans up when its reader dies, whether it reads or has let the window fill.
tokens_of_a_dead_reader(Config) ->
    [Ctx] = py_test:contexts(?config(pool, Config)),
    lists:foreach(fun(Reads) ->
        Self = self(),
        Reader = spawn(fun() ->
            {Name, Ref} = start_tokens(Ctx, 1000000),
            [{ok, _} = py:stream_next(Ref, ?PATIENCE) || _ <- lists:seq(1, Reads)],
            Self ! {reads, self(), Name},
            receive never -> ok end
        end),
        Name = receive {reads, Reader, N} -> N after ?PATIENCE -> error(no_reader) end,
        _ = Reads =:= 0 andalso settled(Ctx, Name, Reader),
        exit(Reader, kill),
        cleaned_up(Ctx, Name)
    end, [500, 0]).

start_tokens(Ctx, Count) ->
    Name = name(),
    {ok, Ref} = py:stream_start(token_stream, answer, [Name, Count, erlang:phash2(Name)], #{context => Ctx}),
    {Name, Ref}.

name() -> atom_to_binary(py_test:unique(tokens)).

token(N) -> <<"token ", (integer_to_binary(N))/binary>>.

settled(Ctx, Name) -> settled(Ctx, Name, self()).

%% How many tokens were made, and are in the reader's mailbox, when there come no more.
settled(Ctx, Name, Reader) ->
    Look = fun() ->
        {ok, Made} = py:call(Ctx, token_stream, made, [Name]),
        {message_queue_len, Queued} = process_info(Reader, message_queue_len),
        {Made, Queued}
    end,
    py_test:eventually(fun() ->
        {Made, _} = Before = Look(),
        timer:sleep(200),
        Made > 0 andalso Look() =:= Before
    end),
    Look().

cleaned_up(Ctx, Name) ->
    py_test:eventually(fun() ->
        {ok, End} = py:call(Ctx, token_stream, 'end', [Name]),
        End =/= none andalso nomatch =/= string:find(End, "cleaned up")
    end).

%% The end of a stream, after what was sent before it.
rest(Ref) ->
    case py:stream_next(Ref, ?PATIENCE) of
        {ok, _} -> rest(Ref);
        End -> End
    end.
