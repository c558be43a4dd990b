%% What Python, C code and child processes write to file descriptors 1 and 2 goes to the Erlang logger.
-module(output_SUITE).
-compile([export_all, nowarn_export_all]).

-include_lib("stdlib/include/assert.hrl").

suite() -> [{timetrap, {minutes, 2}}].

all() ->
    [print_is_logged, stderr_is_logged, levels_differ, metadata_names_pool_and_context, raw_descriptors,
     child_processes,
     c_buffers, lines_are_kept_apart, line_without_end, empty_lines, long_lines, text_that_is_not_utf8, unicode_text,
     many_writers, floods_are_bounded, flood_of_prints, bytes_like_frames, standard_input_is_empty, streams_of_others, redirected_in_a_request, redirected_in_a_coroutine,
     streams_of_a_preload, streams_of_another_preload, owngil_output,
     output_before_death, output_while_starting, what_looks_like_a_crash, a_long_report].

init_per_suite(Config) -> ok = py_test:start(), Config.
end_per_suite(_Config) -> py_test:stop().

%% The log is collected by the process that runs the test case, so every test wraps itself.
logged(Fun) ->
    Log = py_test_log:collect(),
    try Fun() after py_test_log:stop(Log) end.

token() -> atom_to_binary(py_test:unique(token)).

%% Proves that print reaches the logger with its text.
print_is_logged(_) ->
    logged(fun() ->
        Token = token(),
        ?assertEqual({ok, <<"done">>}, py:call(noise, to_stdout, [Token])),
        _ = py_test_log:wait(Token)
    end).

%% Proves that sys.stderr does too.
stderr_is_logged(_) ->
    logged(fun() ->
        Token = token(),
        {ok, _} = py:call(noise, to_stderr, [Token]),
        _ = py_test_log:wait(Token)
    end).

%% Proves that standard error is of a graver level than standard output.
levels_differ(_) ->
    logged(fun() ->
        [Out, Err] = [token() || _ <- [1, 2]],
        {ok, _} = py:call(noise, to_stdout, [Out]),
        {ok, _} = py:call(noise, to_stderr, [Err]),
        #{level := OutLevel} = py_test_log:wait(Out),
        #{level := ErrLevel} = py_test_log:wait(Err),
        ?assertEqual(gt, logger:compare_levels(ErrLevel, OutLevel))
    end).

%% Proves that the metadata of a line names the pool and the context that wrote it.
metadata_names_pool_and_context(_) ->
    logged(fun() ->
        py_test:with_pool(2, #{}, fun(Pool) ->
            Seen = [begin
                        Token = token(),
                        {ok, _} = py:call(Ctx, noise, to_stdout, [Token]),
                        #{meta := #{pool := Pool, context := Context}} = py_test_log:wait(Token),
                        Context
                    end || Ctx <- py_test:contexts(Pool)],
            ?assertEqual(2, length(lists:usort(Seen)))
        end)
    end).

%% Proves that os.write to descriptors 1 and 2 is captured, with the pool.
raw_descriptors(_) ->
    logged(fun() ->
        _ = [begin
                 Token = token(),
                 {ok, _} = py:call(io, noise, to_fd, [Fd, <<Token/binary, "\n">>]),
                 ?assertMatch(#{meta := #{pool := io}}, py_test_log:wait(Token))
             end || Fd <- [1, 2]],
        ok
    end).

%% Proves that what child processes write is captured.
child_processes(_) ->
    logged(fun() ->
        Token = token(),
        {ok, _} = py:call(noise, from_child, [Token]),
        _ = py_test_log:wait(Token),
        {ok, _} = py:call(noise, from_child, [Token]),
        _ = py_test_log:wait([Token, "-err"])
    end).

%% Proves that C's printf is captured.
c_buffers(_) ->
    logged(fun() ->
        Token = token(),
        {ok, _} = py:call(noise, from_c, [Token]),
        _ = py_test_log:wait(Token)
    end).

%% Proves that each line is an event of its own, in order.
lines_are_kept_apart(_) ->
    logged(fun() ->
        Tokens = [token() || _ <- lists:seq(1, 20)],
        {ok, _} = py:call(noise, to_stdout, [iolist_to_binary(lists:join($\n, Tokens))]),
        _ = [begin
                 Text = py_test_log:text(py_test_log:wait([Token])),
                 ?assertEqual(1, length([T || T <- Tokens, string:find(Text, T) =/= nomatch]))
             end || Token <- Tokens],
        ok
    end).

%% Proves that text without a newline is not held back for ever: it comes at the latest with the next line.
line_without_end(_) ->
    logged(fun() ->
        [Part, Next] = [token() || _ <- [1, 2]],
        {ok, _} = py:call(py:context(1), noise, partial, [Part]),
        {ok, _} = py:call(py:context(1), noise, to_stdout, [Next]),
        Text = py_test_log:text(py_test_log:wait(Part)),
        string:find(Text, Next) =:= nomatch andalso py_test_log:wait(Next)
    end).

%% Proves that empty lines do no harm.
empty_lines(_) ->
    logged(fun() ->
        Token = token(),
        {ok, _} = py:call(noise, to_stdout, [<<"\n\n\r\n\n", Token/binary>>]),
        _ = py_test_log:wait(Token)
    end).

%% Proves that a line of megabytes, printed or written, is cut or split and harms nothing.
long_lines(_) ->
    logged(fun() ->
        Before = py_test:os_pid(default),
        {ok, _} = py:call(noise, print_long, [5000000]),
        {ok, _} = py:call(noise, long_line, [5000000, 1]),
        {ok, _} = py:call(noise, long_line, [5000000, 2]),
        Text = py_test_log:text(py_test_log:wait("LLLLLLLLLL")),
        ?assert(byte_size(Text) < 2 bsl 20),
        Token = token(),
        py_test:eventually(fun() ->
            {ok, _} = py:call(noise, to_stdout, [Token]),
            try py_test_log:wait(Token, 500) of _ -> true catch error:{no_log_line_with, _} -> false end
        end),
        ?assertEqual(Before, py_test:os_pid(default))
    end).

%% Proves that bytes that are not UTF-8 are logged in some readable form, on both descriptors.
text_that_is_not_utf8(_) ->
    logged(fun() ->
        _ = [begin
                 Token = token(),
                 {ok, _} = py:call(noise, to_fd, [Fd, {bytes, <<255, 254, Token/binary, 128, "\n">>}]),
                 _ = py_test_log:wait(Token)
             end || Fd <- [1, 2]],
        Lone = token(),
        {ok, _} = py:call(noise, to_stdout, [Lone]),
        _ = py:exec(<<"print('lone \\ud800 surrogate')">>),
        _ = py_test_log:wait(Lone)
    end).

%% Proves that text outside ASCII arrives as it was printed.
unicode_text(_) ->
    logged(fun() ->
        Token = <<(token())/binary, " naïve 日本 \x{1F600}"/utf8>>,
        {ok, _} = py:call(noise, to_stdout, [Token]),
        _ = py_test_log:wait(Token)
    end).

%% Proves that lines of several contexts and callers are not mixed within a line.
many_writers(_) ->
    logged(fun() ->
        Tokens = [{token(), token()} || _ <- lists:seq(1, 50)],
        Jobs = [py_test:async(fun() -> py:call(noise, to_stdout, [<<A/binary, "<>", B/binary>>]) end)
                || {A, B} <- Tokens],
        _ = [?assertEqual({ok, <<"done">>}, py_test:join(Job)) || Job <- Jobs],
        Texts = collect(50),
        _ = [?assert(lists:any(fun(T) -> string:find(T, <<A/binary, "<>", B/binary>>) =/= nomatch end, Texts))
             || {A, B} <- Tokens],
        ok
    end).

collect(0) -> [];
collect(Count) ->
    Text = py_test_log:text(py_test_log:wait("<>")),
    [Text | collect(Count - 1)].

%% Proves that a flood is bounded: fewer lines are logged than were written, and later lines come through again.
floods_are_bounded(_) ->
    logged(fun() ->
        Lines = 200000,
        {ok, <<"flooded">>} = py:call(noise, flood, [Lines, 1], #{}, infinity),
        ?assert(count_until_settled("flood line") < Lines),
        ?assertEqual({ok, 1}, py:call(probe, echo, [1]))
    end).

%% Proves the same of print, and that the dropped lines are mentioned.
flood_of_prints(_) ->
    logged(fun() ->
        {ok, <<"flooded">>} = py:call(noise, flood_print, [200000], #{}, infinity),
        _ = py_test_log:wait("dropped"),
        ?assertEqual({ok, 1}, py:call(probe, echo, [1]))
    end).

%% Writes a fresh line until one comes through the rate limit; then all lines before it have been decided on. Returns
%% the number of events seen meanwhile whose text holds Part.
count_until_settled(Part) -> count_until_settled(Part, 0).

count_until_settled(Part, Count) ->
    Token = token(),
    {ok, _} = py:call(noise, to_fd, [1, <<Token/binary, "\n">>]),
    case count_until(Token, Part, Count) of
        {seen, Total} -> Total;
        {not_seen, Total} -> count_until_settled(Part, Total)
    end.

count_until(Token, Part, Count) ->
    receive
        {py_test_log, Event} ->
            Text = py_test_log:text(Event),
            case {string:find(Text, Token), string:find(Text, Part)} of
                {nomatch, nomatch} -> count_until(Token, Part, Count);
                {nomatch, _} -> count_until(Token, Part, Count + 1);
                _ -> {seen, Count}
            end
    after 500 -> {not_seen, Count}
    end.

%% Proves that bytes which look like frames of the protocol, written to the descriptors, do not reach it.
bytes_like_frames(_) ->
    logged(fun() ->
        Before = py_test:os_pid(default),
        _ = [{ok, <<"done">>} = py:call(noise, like_frames, []) || _ <- lists:seq(1, 20)],
        ?assertEqual([{ok, N} || N <- lists:seq(1, 100)], [py:call(probe, echo, [N]) || N <- lists:seq(1, 100)]),
        ?assertEqual(Before, py_test:os_pid(default))
    end).

%% Proves that Python code that reads standard input finds its end instead of the protocol.
standard_input_is_empty(_) ->
    ?assertEqual({ok, {<<>>, <<>>}}, py:call(noise, read_stdin, [])),
    ?assertMatch({error, {'EOFError', _}}, py:call(builtins, input, [])),
    ?assertEqual({ok, 1}, py:call(probe, echo, [1])).

%% Proves that output of contexts with a GIL of their own is logged with pool and context.
owngil_output(_) ->
    py_test_modes:with_owngil(fun() ->
        logged(fun() ->
            py_test:with_pool(1, #{mode => owngil}, fun(Pool) ->
                _ = [begin
                         Token = token(),
                         {ok, _} = py:call(Pool, noise, Function, [Token]),
                         ?assertMatch(#{meta := #{pool := Pool}}, py_test_log:wait(Token))
                     end || Function <- [to_stdout, to_stderr]],
                ok
            end)
        end)
    end).

%% Proves that what was written right before the process ended is still logged.
output_before_death(_) ->
    logged(fun() ->
        py_test:with_pool(1, #{}, fun(Pool) ->
            Ctx = py_context_router:get_context(Pool),
            Token = token(),
            {error, _} = py:exec(Ctx, <<"import os\nos.write(2, b'", Token/binary, "\\n')\nos.abort()">>),
            _ = py_test_log:wait(Token)
        end)
    end).

%% Proves that output of preload code is logged too.
output_while_starting(_) ->
    logged(fun() ->
        Token = token(),
        py_test:with_pool(1, #{preload => <<"print('", Token/binary, "')">>}, fun(_) ->
            py_test_log:wait(Token)
        end)
    end).

%% Proves that who writes what a crash begins with, and lives on, finds every line in the log, or in the number of those dropped.
what_looks_like_a_crash(_) ->
    logged(fun() ->
        py_test:with_pool(1, #{}, fun(Pool) ->
            Token = token(),
            Lines = [<<"Fatal Python error: not really">>, <<>>
                     | [<<Token/binary, " ", (integer_to_binary(N))/binary>> || N <- lists:seq(3, 200)]],
            {ok, _} = py:call(Pool, noise, to_fd, [2, iolist_to_binary([[Line, $\n] || Line <- Lines])]),
            _ = [begin
                     Text = py_test_log:text(next_of(Pool)),
                     ?assertEqual({Line, true}, {Line, lists:suffix(": " ++ binary_to_list(Line), binary_to_list(Text))})
                 end || Line <- lists:sublist(Lines, 100)],
            ?assertMatch({match, _}, re:run(py_test_log:text(next_of(Pool)), ": 100 lines of output dropped"))
        end)
    end).

next_of(Pool) ->
    receive {py_test_log, Event = #{meta := #{pool := Pool}}} -> Event
    after 30000 -> error(no_event)
    end.

%% Proves that the report of a crash says how many lines it leaves out, besides empty ones.
a_long_report(_) ->
    Lines = [<<"Fatal Python error: Aborted">>, <<" ">> | [integer_to_binary(N) || N <- lists:seq(3, 200)]],
    Words = lists:foldl(fun(Line, W) -> {_, Next} = py_last_words:add(0, 2, Line, W), Next end, py_last_words:new(), Lines),
    [First, <<"3">> | Rest] = py_last_words:all(Words),
    ?assertEqual({hd(Lines), <<"(and 100 lines more)">>, 98}, {First, lists:last(Rest), length(Rest)}).

%% Proves that each request begins with standard streams that work, whatever another process has done to them.
streams_of_others(_) ->
    logged(fun() ->
        [py_test:with_pool(1, Opts, fun(Pool) ->
             [Ctx] = py_test:contexts(Pool),
             [begin
                  _ = py_test:in_process(fun() -> py:exec(Ctx, Harm) end),
                  [Out, Err] = [token() || _ <- [1, 2]],
                  {ok, _} = py:call(Ctx, noise, to_stdout, [Out]),
                  {ok, _} = py:call(Ctx, noise, to_stderr, [Err]),
                  _ = py_test_log:wait(Out),
                  _ = py_test_log:wait(Err),
                  ?assertEqual({Harm, {ok, {<<>>, <<>>}}}, {Harm, py:call(Ctx, noise, read_stdin, [])})
              end || Harm <- harms()]
         end) || Opts <- [#{mode => worker}, #{mode => owngil}, #{isolation => context}]]
    end).

harms() ->
    [<<"exit()">>,
     <<"import sys\nfor s in (sys.stdin, sys.stdout, sys.stderr): s.close(); s.buffer.close()">>,
     <<"import sys\nfor s in (sys.stdin, sys.stdout, sys.stderr): s.detach()">>,
     <<"import io, sys\nfor s in (sys.stdin, sys.stdout, sys.stderr): io.TextIOWrapper(s.buffer).close()">>,
     <<"import io, sys\nwith open(sys.stdin.fileno(), closefd=False): pass\nio.TextIOWrapper(sys.stdin.buffer.raw)">>,
     <<"import io, sys\nsys.stdin = sys.stdout = sys.stderr = io.StringIO()">>,
     <<"import sys\nsys.stdin = sys.stdout = sys.stderr = None">>,
     <<"import sys\ndel sys.stdin, sys.stdout, sys.stderr">>,
     <<"import codecs, sys\nsys.stdout = codecs.getwriter('utf-16')(sys.stdout.detach())">>].

%% Proves that what a request puts in their place stays as long as it runs, also while it waits for Erlang.
redirected_in_a_request(_) ->
    ok = py:register_function(asked_while_redirected, fun([]) -> {ok, 4.0} = py:call(math, sqrt, [16]), nested end),
    try
        Code = <<"import contextlib, erlang, io\nbuffer = io.StringIO()\n"
                 "with contextlib.redirect_stdout(buffer):\n"
                 "    print('before')\n    erlang.call('asked_while_redirected')\n    print('afterwards')\n">>,
        ok = py:exec(Code),
        ?assertEqual({ok, <<"before\nafterwards\n">>}, py:eval(<<"buffer.getvalue()">>))
    after
        ok = py:unregister_function(asked_while_redirected)
    end.

%% Proves that streams which a preload has set are those that requests begin with.
streams_of_a_preload(_) ->
    Preload = <<"import io, sys\nsys.stdout = kept = io.StringIO()">>,
    py_test:with_pool(1, #{preload => Preload}, fun(Pool) ->
        [Ctx] = py_test:contexts(Pool),
        ok = py:exec(Ctx, <<"import sys; print('one'); sys.stdout = None">>),
        ok = py:exec(Ctx, <<"print('two')">>),
        ?assertEqual({ok, <<"one\ntwo\n">>}, py:eval(Ctx, <<"__import__('sys').stdout.getvalue()">>))
    end).

%% Proves that a stream which a preload has set is not for the next context of the same interpreter.
streams_of_another_preload(_) ->
    py_test_modes:with_owngil(fun() ->
        logged(fun() ->
            py_test:with_context(#{mode => owngil}, fun(Keeper) ->
                {ok, Ended} = py:eval(<<"__import__('sys').version_info >= (3, 14)">>),
                Parked = fun() -> element(2, py:call(Keeper, probe, threads_named, [<<"py_parked">>])) end,
                Before = Parked(),
                Preload = <<"import io, sys\nsys.stdout = io.StringIO()">>,
                py_test:with_context(#{mode => owngil, preload => Preload}, fun(Ctx) ->
                    {ok, _} = py:call(Ctx, noise, to_stdout, [token()])
                end),
                py_test:eventually(fun() -> Ended orelse Parked() > Before end),
                py_test:with_context(#{mode => owngil}, fun(Ctx) ->
                    Token = token(),
                    {ok, _} = py:call(Ctx, noise, to_stdout, [Token]),
                    _ = py_test_log:wait(Token)
                end)
            end)
        end)
    end).

%% Proves that what a coroutine puts in the place of a standard stream is there in each of its steps, and in those of tasks that it
%% makes meanwhile, that nobody else has it, and that nothing of it stays.
redirected_in_a_coroutine(_) ->
    logged(fun() ->
        _ = [py_test:with_pool(1, #{mode => Mode}, fun(Pool) -> redirected_in_a_coroutine_of(Pool) end)
             || Mode <- py_test_modes:supported()]
    end).

redirected_in_a_coroutine_of(Pool) ->
    [Ctx] = py_test:contexts(Pool),
    Names = [token() || _ <- [1, 2]],
    Waiting = [{Name, py:async_call(Ctx, noise, redirected, [Name])} || Name <- Names],
    py_test:eventually(fun() -> py:call(Ctx, noise, begun, []) =:= {ok, 2} end),
    Others = fun() ->
        Token = token(),
        {ok, _} = py:call(Ctx, noise, to_stdout, [Token]),
        _ = py_test_log:wait(Token)
    end,
    Others(),
    Stream = token(),
    ?assertEqual({ok, [1, 2, 3]}, py:stream(Ctx, noise, redirected_items, [Stream])),
    {ok, _} = py:async_await(py:async_call(Ctx, noise, close_for_all, [])),
    Others(),
    _ = [begin
             {ok, _} = py:call(Ctx, noise, release, [Name]),
             Lines = [[Name, " ", Line, "\n"] || Line <- ["before", "child", "child", "afterwards"]],
             ?assertEqual({ok, iolist_to_binary(Lines)}, py:async_await(Ref)),
             _ = py_test_log:wait([Name, " outside"])
         end || {Name, Ref} <- Waiting],
    Others().
