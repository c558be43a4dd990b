%% @doc Numbers of the node that every request looks at, in one `atomics' array: how many requests each context has, how many
%% rules of registration there are, how many callbacks run.
%%
%% A context is known by its tag (py_tags). While it takes no requests its count is a large negative number: whoever counts
%% itself in learns that. The claim comes before that look, and closing before the claims are counted, so no request is lost
%% between the two.
-module(py_counters).

-export([install/0, ref/0]).
%% The requests of a context.
-export([open/2, close/1, claim/2, released/1, answered/2, load/1, is_alone/1, is_slow/1, owner/2]).
%% Others.
-export([registrations/0, set_registrations/1, callbacks/0, add_callbacks/1]).

-export_type([tag/0]).

%% 0 is for slots that are taken by hand, which are not counted.
-type tag() :: 0..16383.

-define(REGISTRATIONS, 1).
-define(CALLBACKS, 2).      % that run; their descendants must look for them
-define(LOAD, 3).           % + tag: requests in flight in a context, CLOSED when it takes no more
-define(TAGS, 16384).
-define(LAST, (?LOAD + ?TAGS)).         % + tag: when it last completed a request, in microseconds
-define(LAST_SLOW, (?LAST + ?TAGS)).    % + tag: when it last did so long after the one before
-define(OWNER, (?LAST_SLOW + ?TAGS)).   % + tag: whose context it is, the pid of a py_port as a number
-define(SIZE, (?OWNER + ?TAGS)).

%% Longer than the wake-up of another context's thread costs.
-define(SLOW_US, 500).
-define(CLOSED, -(1 bsl 40)).

%% @doc Makes the array, unless it is there.
-spec install() -> ok.
install() ->
    case persistent_term:get(?MODULE, none) of
        none ->
            Ref = atomics:new(?SIZE, [{signed, true}]),
            lists:foreach(fun(Tag) -> atomics:put(Ref, ?LOAD + Tag, ?CLOSED) end, lists:seq(1, ?TAGS - 1)),
            persistent_term:put(?MODULE, Ref);
        _ ->
            ok
    end.

%% @doc Raises `{not_started, erlang_python}' when the application does not run.
-spec ref() -> atomics:atomics_ref().
ref() ->
    case persistent_term:get(?MODULE, none) of
        none -> error({not_started, erlang_python});
        Ref -> Ref
    end.

%% @doc From now on requests may be sent to this context.
-spec open(tag(), Owner :: pid()) -> ok.
open(Tag, Owner) ->
    Ref = ref(),
    ok = atomics:put(Ref, ?OWNER + Tag, py_pid:id(Owner)),
    ok = atomics:put(Ref, ?LAST_SLOW + Tag, 0),
    ok = atomics:put(Ref, ?LAST + Tag, erlang:monotonic_time(microsecond) - ?SLOW_US - 1),
    atomics:put(Ref, ?LOAD + Tag, 0).

%% @doc From now on {@link claim/2} answers `false'.
-spec close(tag()) -> ok.
close(Tag) ->
    atomics:put(ref(), ?LOAD + Tag, ?CLOSED).

%% @doc One more request. `false': the context takes none; it is counted all the same. With what {@link ref/0} gave before there
%% was anything to count, since that raises.
-spec claim(atomics:atomics_ref(), tag()) -> boolean().
claim(Ref, Tag) ->
    atomics:add_get(Ref, ?LOAD + Tag, 1) > 0.

%% @doc One less.
-spec released(tag()) -> ok.
released(Tag) ->
    atomics:sub(ref(), ?LOAD + Tag, 1).

%% @doc One less, because it was answered.
-spec answered(atomics:atomics_ref(), tag()) -> ok.
answered(Ref, Tag) ->
    Now = erlang:monotonic_time(microsecond),
    Before = atomics:exchange(Ref, ?LAST + Tag, Now),
    _ = Now - Before > ?SLOW_US andalso atomics:put(Ref, ?LAST_SLOW + Tag, Now),
    atomics:sub(Ref, ?LOAD + Tag, 1).

%% @doc About how many requests a context has: exact unless callers were killed in the act.
-spec load(tag()) -> integer().
load(Tag) ->
    atomics:get(ref(), ?LOAD + Tag).

%% @doc Whether a context has one request only. Of one that was sent: the application may have ended since, which its caller is told
%% otherwise.
-spec is_alone(tag()) -> boolean().
is_alone(Tag) ->
    case persistent_term:get(?MODULE, none) of
        none -> false;
        Ref -> atomics:get(Ref, ?LOAD + Tag) =:= 1
    end.

%% @doc Whether what a busy context runs is not one of those calls that take microseconds: the last took longer, or there
%% was none for a while.
-spec is_slow(tag()) -> boolean().
is_slow(Tag) ->
    Ref = ref(),
    Last = atomics:get(Ref, ?LAST + Tag),
    atomics:get(Ref, ?LAST_SLOW + Tag) =:= Last orelse erlang:monotonic_time(microsecond) - Last > ?SLOW_US.

%% @doc Whose context it is.
-spec owner(atomics:atomics_ref(), tag()) -> py_pid:id().
owner(Ref, Tag) ->
    atomics:get(Ref, ?OWNER + Tag).

%% @doc How many rules say that a module or function goes to a pool.
-spec registrations() -> non_neg_integer().
registrations() ->
    atomics:get(ref(), ?REGISTRATIONS).

-spec set_registrations(non_neg_integer()) -> ok.
set_registrations(N) ->
    atomics:put(ref(), ?REGISTRATIONS, N).

%% @doc How many callbacks run; too many when a py_port was killed, which costs their would-be descendants a look.
-spec callbacks() -> non_neg_integer().
callbacks() ->
    atomics:get(ref(), ?CALLBACKS).

-spec add_callbacks(integer()) -> ok.
add_callbacks(N) ->
    atomics:add(ref(), ?CALLBACKS, N).
