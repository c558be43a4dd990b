%% The fenced blocks of the documentation that are no snippets for a running node: what of them can be wrong is looked at.
%%
%% | tag | what is checked |
%% | `erlang module' | functions: they compile |
%% | `python file' | a file of its own: Python compiles it |
%% | `erlang terms' | what file:consult/1 reads; keys of erlang_python are known, and its pools can be |
%% | `elixir' | where there is Elixir: all of them in a file run, in a node of their own |
%% | `elixir config' | where there is Elixir: it parses |
%% | `sh' | bash parses it, and what it calls in tools/ is there |
%% | `vm.args' | the emulator takes it |
%% | `text', `mermaid' | drawings and what a log shows: files, folders and modules that they name are there |
-module(docs_blocks).

-export([check/3, elixir/2]).

-define(APP, erlang_python).

%% `ok', or what is wrong.
-spec check(string(), string(), file:filename()) -> ok | {error, iodata()}.
check("erlang module", Text, _Top) -> module(Text);
check("python file", Text, _Top) ->
    case py:call(builtins, compile, [unicode:characters_to_binary(Text), <<"file">>, <<"exec">>]) of
        {ok, _} -> ok;
        Error -> {error, py_error:format_error(Error)}
    end;
check("erlang terms", Text, _Top) -> terms(Text);
check("elixir", _Text, _Top) -> ok;
check("elixir config", Text, _Top) -> run_elixir("Code.string_to_quoted!(File.read!(hd(System.argv())))", Text);
check("sh", Text, Top) -> shell(Text, Top);
check("vm.args", Text, _Top) ->
    command("erl", lists:append([string:lexemes(Line, " ") || Line <- string:lexemes(Text, "\n")])
                       ++ ["-noinput", "-eval", "halt()."]);
check("mermaid", Text, Top) -> names(Text, Top);
check("text", Text, Top) -> names(Text, Top);
check("", _Text, _Top) -> {error, "has no tag"};
check(Tag, _Text, _Top) -> {error, ["has an unknown tag, ", Tag]}.

module(Text) ->
    Source = "-module(snippet).\n-compile([export_all, nowarn_export_all]).\n" ++ Text,
    {ok, Tokens, _} = erl_scan:string(Source),
    case compile:forms(forms(Tokens, []), [return]) of
        {ok, snippet, _, _} -> ok;
        {error, Errors, _} -> {error, io_lib:format("~tp", [Errors])}
    end.

forms([], []) -> [];
forms([Dot = {dot, _} | Rest], Begun) ->
    {ok, Form} = erl_parse:parse_form(lists:reverse(Begun, [Dot])),
    [Form | forms(Rest, [])];
forms([Token | Rest], Begun) -> forms(Rest, [Token | Begun]).

terms(Text) ->
    File = py_test:temp_file("docs.config"),
    ok = file:write_file(File, unicode:characters_to_binary(Text)),
    case file:consult(File) of
        {ok, Terms} -> settings(proplists:get_value(?APP, lists:flatten(Terms), []));
        {error, Why} -> {error, file:format_error(Why)}
    end.

settings(Settings) ->
    Wrong = [Key || {Key, _} <- Settings, not is_map_key(Key, py_config_keys:defaults())]
        ++ [Pool || {Name, Size, Options} = Pool <- proplists:get_value(pools, Settings, []),
                    element(1, py_pool_options:pool(Name, Size, Options)) =:= error],
    case Wrong of
        [] -> ok;
        _ -> {error, io_lib:format("there is no ~tp", [Wrong])}
    end.

shell(Text, Top) ->
    File = py_test:temp_file("docs.sh"),
    ok = file:write_file(File, unicode:characters_to_binary(Text)),
    case command("bash", ["-n", File]) of
        ok -> names(Text, Top);
        Error -> Error
    end.

%% Paths that begin with a folder of the tree, and modules of ours.
names(Text, Top) ->
    Paths = found(Text, "(?:^|[ (])((?:port|erlang_src|python_lib|tests|tools|docs|priv)/[A-Za-z0-9_./-]*[A-Za-z0-9_/])"),
    Modules = found(Text, "\\b(py_[a-z_]+)\\b"),
    Missing = [Path || Path <- Paths, not lists:prefix("priv/", Path), not filelib:is_file(filename:join(Top, Path))]
        ++ [Module || Module <- Modules, not filelib:is_file(filename:join([Top, "erlang_src", Module ++ ".erl"]))],
    case Missing of
        [] -> ok;
        _ -> {error, ["names what is not there: ", lists:join(", ", Missing)]}
    end.

found(Text, Pattern) ->
    case re:run(Text, Pattern, [global, multiline, unicode, {capture, all_but_first, list}]) of
        {match, Matches} -> lists:usort(lists:append(Matches));
        nomatch -> []
    end.

%% All of a file, in a node of their own where the application runs.
-spec elixir([string()], file:filename()) -> ok | {skip, string()} | {error, iodata()}.
elixir(Texts, Ebin) ->
    Start = "{:ok, _} = Application.ensure_all_started(:erlang_python)\n",
    case run_elixir(["-pa", Ebin], Start ++ lists:append(Texts)) of
        skipped -> {skip, "there is no Elixir"};
        Result -> Result
    end.

run_elixir(Code, Text) when is_integer(hd(Code)) ->
    case run_elixir(["-e", Code], Text) of
        skipped -> ok;
        Result -> Result
    end;
run_elixir(Options, Text) ->
    case os:find_executable("elixir") of
        false -> skipped;
        Elixir ->
            File = py_test:temp_file("docs.exs"),
            ok = file:write_file(File, unicode:characters_to_binary(Text)),
            command(Elixir, Options ++ [File])
    end.

command(Name, Args) ->
    Port = open_port({spawn_executable, os:find_executable(Name)},
                     [{args, Args}, stderr_to_stdout, exit_status, binary, use_stdio, hide, eof]),
    ended(Port, []).

ended(Port, Said) ->
    receive
        {Port, {data, Bytes}} -> ended(Port, [Said, Bytes]);
        {Port, eof} -> ended(Port, Said);
        {Port, {exit_status, 0}} -> ok;
        {Port, {exit_status, _}} -> {error, Said}
    end.
