%% The documentation tells the truth: every snippet of README.md and docs/*.md runs. One test case per file.
%%
%% A block fenced as ```erlang holds expressions as typed in an Erlang shell, each with its full stop. A comment
%% `%% => Pattern` after an expression is an Erlang pattern that its value must match; it may go on over further comment
%% lines. Without one the expression must not raise, nor give {error,_}. Bindings last to the end of the file. A block
%% fenced as ```python is run by py:exec in the namespace of the same process. All blocks of a file run in the order of
%% the file, in a fresh application. A block fenced as ```erlang kernel needs what sandbox => kernel needs, and is left out,
%% with a line in the log, where the operating system does not have it. What is done with blocks that have another tag is
%% written in docs_blocks; one without a tag fails.
-module(docs_SUITE).

%% Common Test.
-export([suite/0, all/0, end_per_testcase/2, every_file_with_snippets_has_a_case/1]).
-export(['$handle_undefined_function'/2]).

-record(block, {
    language :: erlang | kernel | python | {other, Tag :: string()},
    line :: pos_integer(),              % of the first line of its text
    text :: string()
}).

suite() -> [{timetrap, {minutes, 3}}].

all() -> [every_file_with_snippets_has_a_case | [Case || {Case, _} <- cases()]].

end_per_testcase(_Case, _Config) -> py_test:stop().

%% Proves that the documentation is found, and that there are snippets in it.
every_file_with_snippets_has_a_case(_Config) ->
    true = lists:member("README.md", files()),
    [_ | _] = cases(),
    ok.

%% A test case per file: which there are is known only when the suite runs, so they are no functions of their own.
'$handle_undefined_function'(Name, Args) ->
    case {lists:keyfind(Name, 1, cases()), Args} of
        {{Name, File}, [_Config]} -> run_file(File);
        _ -> error_handler:raise_undef_exception(?MODULE, Name, Args)
    end.

%% `docs/types.md' is the case `docs_types': Common Test makes file names of the names of cases.
cases() ->
    [{list_to_atom(lists:flatten(string:replace(filename:rootname(File), "/", "_", all))), File}
     || File <- files(), file_blocks(File) =/= []].

files() ->
    [File || Pattern <- ["README.md", "CONTRIBUTING.md", "tests/README.md", "docs/*.md"], File <- lists:sort(filelib:wildcard(Pattern, top()))].

top() ->
    Source = proplists:get_value(source, ?MODULE:module_info(compile)),
    filename:dirname(filename:dirname(filename:dirname(Source))).

run_file(File) ->
    ok = py_test:start_bare(),
    Blocks = file_blocks(File),
    _ = lists:foldl(fun(Block, Bindings) -> run_block(File, Block, Bindings) end, erl_eval:new_bindings(), Blocks),
    run_elixir(File, [Block || Block = #block{language = {other, "elixir"}} <- Blocks]).

run_elixir(_File, []) ->
    ok;
run_elixir(File, Blocks = [#block{line = Line} | _]) ->
    case docs_blocks:elixir([Text || #block{text = Text} <- Blocks], filename:dirname(code:which(py))) of
        ok -> ok;
        {skip, Why} -> ct:pal("the Elixir of ~ts is left out: ~ts", [File, Why]);
        {error, Why} -> fail(File, Line, "the Elixir blocks from here on: ~ts", [Why])
    end.

%% Blocks.

file_blocks(File) ->
    {ok, Binary} = file:read_file(filename:join(top(), File)),
    blocks(unicode:characters_to_list(Binary)).

blocks(Text) -> outside(number(string:split(Text, "\n", all), 1)).

number(Lines, First) -> lists:zip(lists:seq(First, First + length(Lines) - 1), Lines).

outside([]) -> [];
outside([{Number, Line} | Rest]) ->
    case string:trim(Line) of
        "```erlang" -> inside(erlang, indentation(Line), Number + 1, Rest, []);
        "```erlang kernel" -> inside(kernel, indentation(Line), Number + 1, Rest, []);
        "```python" -> inside(python, indentation(Line), Number + 1, Rest, []);
        "```" ++ Tag -> inside({other, Tag}, indentation(Line), Number + 1, Rest, []);
        _ -> outside(Rest)
    end.

%% What a block in a list item is indented by does not belong to its text.
indentation(Line) -> length(Line) - length(string:trim(Line, leading)).

inside(Language, Indent, First, [{_, Line} | Rest], Lines) ->
    case string:trim(Line) of
        "```" ->
            Text = lists:append([L ++ "\n" || L <- lists:reverse(Lines)]),
            [#block{language = Language, line = First, text = Text} | outside(Rest)];
        _ -> inside(Language, Indent, First, Rest, [unindent(Line, Indent) | Lines])
    end.

unindent(" " ++ Line, N) when N > 0 -> unindent(Line, N - 1);
unindent(Line, _) -> Line.

run_block(File, #block{language = python, line = Line, text = Text}, Bindings) ->
    case py:exec(unicode:characters_to_binary(Text)) of
        ok -> Bindings;
        Error -> fail(File, Line, "the Python block gives ~tp", [Error])
    end;
run_block(File, #block{language = {other, Tag}, line = Line, text = Text}, Bindings) ->
    case docs_blocks:check(Tag, Text, top()) of
        ok -> Bindings;
        {error, Why} -> fail(File, Line, "the block ~ts", [Why])
    end;
run_block(File, Block = #block{language = kernel, line = Line}, Bindings) ->
    case py_test_sandbox:needs(kernel, []) of
        {skip, Why} ->
            ct:pal("~ts:~b is left out: ~ts", [File, Line, Why]),
            Bindings;
        _ ->
            run_block(File, Block#block{language = erlang}, Bindings)
    end;
run_block(File, #block{language = erlang, line = Line, text = Text}, Bindings) ->
    case erl_scan:string(Text, Line, [return_comments]) of
        {ok, Tokens, _} -> run_tokens(File, Tokens, [], Bindings);
        {error, {At, Module, What}, _} -> fail(File, At, "~ts", [Module:format_error(What)])
    end.

%% Expressions.

run_tokens(_, [], [], Bindings) -> Bindings;
run_tokens(File, [], Begun, _) -> fail(File, element(2, lists:last(Begun)), "the expression has no full stop", []);
run_tokens(File, [{comment, _, _} | Tokens], Begun, Bindings) -> run_tokens(File, Tokens, Begun, Bindings);
run_tokens(File, [{dot, _} = Dot | Tokens], Begun, Bindings) ->
    Expression = lists:reverse(Begun, [Dot]),
    {Comments, Rest} = lists:splitwith(fun(Token) -> element(1, Token) =:= comment end, Tokens),
    Line = element(2, hd(Expression)),
    {Value, After} = evaluate(File, Line, Expression, Bindings),
    run_tokens(File, Rest, [], check(File, Line, pattern([Text || {comment, _, Text} <- Comments]), Value, After));
run_tokens(File, [Token | Tokens], Begun, Bindings) -> run_tokens(File, Tokens, [Token | Begun], Bindings).

evaluate(File, Line, Tokens, Bindings) ->
    case erl_parse:parse_exprs(Tokens) of
        {ok, Expressions} ->
            try erl_eval:exprs(Expressions, Bindings) of
                {value, Value, After} -> {Value, After}
            catch
                Class:Reason -> fail(File, Line, "~ts: ~tp", [Class, Reason])
            end;
        {error, {At, Module, What}} -> fail(File, At, "~ts", [Module:format_error(What)])
    end.

%% The text after the arrow, joined with the comment lines that follow it until it is a whole pattern.
pattern([]) -> none;
pattern([Comment | Comments]) ->
    case string:split(Comment, "=>") of
        ["%% ", Start] -> whole_pattern(Start, Comments);
        ["%%", Start] -> whole_pattern(Start, Comments);
        _ -> pattern(Comments)
    end.

whole_pattern(Text, Comments) ->
    case parse_pattern(Text) of
        {ok, _} -> Text;
        error when Comments =/= [] ->
            whole_pattern(Text ++ "\n" ++ string:trim(hd(Comments), leading, "%"), tl(Comments));
        error -> Text
    end.

parse_pattern(Text) ->
    case erl_scan:string(Text ++ " = Value__.") of
        {ok, Tokens, _} ->
            case erl_parse:parse_exprs(Tokens) of
                {ok, Match} -> {ok, Match};
                {error, _} -> error
            end;
        {error, _, _} -> error
    end.

check(File, Line, none, {error, Reason}, _) ->
    fail(File, Line, "gives {error, ~tp} and the document does not say so", [Reason]);
check(_, _, none, _, Bindings) -> Bindings;
check(File, Line, Pattern, Value, Bindings) ->
    case parse_pattern(Pattern) of
        {ok, Match} ->
            try erl_eval:exprs(Match, erl_eval:add_binding('Value__', Value, Bindings)) of
                {value, _, After} -> erl_eval:del_binding('Value__', After)
            catch
                error:{badmatch, _} ->
                    fail(File, Line, "gives ~tp, which does not match ~ts", [Value, string:trim(Pattern)])
            end;
        error -> fail(File, Line, "after the arrow is no Erlang pattern: ~ts", [string:trim(Pattern)])
    end.

-spec fail(string(), term(), string(), [term()]) -> no_return().
fail(File, Line, Format, Args) ->
    ct:fail("~ts:~p: ~ts", [File, line(Line), io_lib:format(Format, Args)]).

line({Line, _Column}) -> Line;
line(Line) -> Line.
