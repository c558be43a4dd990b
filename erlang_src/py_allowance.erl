%% @doc How much of what costs the node something a port process may send in a while: a value. An honest port stays below
%% what is passed on (docs/protocol.md, "Limits"). What is beyond that is dropped; one that goes far beyond is ended, before
%% it can flood processes that pools share.
-module(py_allowance).

-export([new/0, spend/3]).

-export_type([allowance/0, kind/0]).

%% `lines' of output, and `output': their bytes. `logged': other frames that become a line in the log. `atoms': their names.
%% `segments': of shared memory, announced or given back. `notices': frames that ask for nothing but a look, such as answers to what nobody has asked. Of those an honest port sends
%% one when the caller of a request was killed between its write and the mark that it was sent.
-type kind() :: lines | output | logged | atoms | segments | notices.
-opaque allowance() :: #{kind() => {Since :: integer(), Spent :: non_neg_integer()}}.

-define(WINDOW_MS, 1000).

-spec new() -> allowance().
new() ->
    #{}.

%% @doc Adds to what was spent of some kinds in this window of time. `drop': of one it is more than an honest port sends.
%% `exceeded': it is far more.
-spec spend([{kind(), non_neg_integer()}], NowMs :: integer(), allowance()) -> {pass | drop, allowance()} | exceeded.
spend([{Kind, Cost}], Now, Allowance) ->
    spend(Kind, Cost, Now, Allowance);
spend([{Kind, Cost} | More], Now, Allowance) ->
    case spend(Kind, Cost, Now, Allowance) of
        exceeded -> exceeded;
        {pass, Left} -> spend(More, Now, Left);
        {drop, Left} ->
            case spend(More, Now, Left) of
                exceeded -> exceeded;
                {_, Less} -> {drop, Less}
            end
    end.

spend(Kind, Cost, Now, Allowance) ->
    {Since, Spent} = case Allowance of
        #{Kind := {Began, Before}} when Now - Began < ?WINDOW_MS -> {Began, Before + Cost};
        _ -> {Now, Cost}
    end,
    {Honest, Max} = limits(Kind),
    if
        Spent =< Honest -> {pass, Allowance#{Kind => {Since, Spent}}};
        Spent =< Max -> {drop, Allowance#{Kind => {Since, Spent}}};
        true -> exceeded
    end.

%% The port lets a thousand lines pass a second and two thousand at once, of 8 KiB at the most.
limits(lines) -> {4000, 140000};
limits(output) -> {32000000, 64000000};
limits(logged) -> {100, 20000};
limits(atoms) -> {200000, 200000};
%% A segment has 128 KiB: more than can be copied in that time.
limits(segments) -> {200000, 200000};
limits(notices) -> {20000, 20000}.
