%% @doc The numbers that contexts have on this node (tags), and who has them: a value that py_semaphore holds, and the table of
%% those that are given out, which outlives it. What the entries of slots say about a tag is in py_slots.
-module(py_tags).

-export([new/0, open/4, close/3, down/2, is_live/1]).

-export_type([tags/0]).

-record(tags, {
    free :: queue:queue(py_counters:tag()),
    owners = #{} :: #{reference() => pid()}      % the port processes that have some, by the monitors on them
}).
-opaque tags() :: #tags{}.

%% A row is `{Tag, OwnerPid, Limit}'.
-define(TABLE, py_tags).
-define(LAST_TAG, 16383).

%% @doc With those that were given out before, and a watch on who has them. Tag 0 is for slots that are taken by hand.
-spec new() -> tags().
new() ->
    Given = ets:tab2list(?TABLE),
    Free = queue:from_list(lists:seq(1, ?LAST_TAG) -- [Tag || {Tag, _, _} <- Given]),
    lists:foldl(fun watch/2, #tags{free = Free}, lists:usort([Owner || {_, Owner, _} <- Given])).

%% @doc Gives `N' of them to a port process: requests may be sent to these contexts, which take slots of this limit.
-spec open(non_neg_integer(), pid(), py_slots:limit(), tags()) -> {[py_counters:tag()], tags()} | {error, no_tags}.
open(N, Owner, Limit, T = #tags{free = FreeTags}) ->
    case queue:len(FreeTags) >= N of
        true ->
            {Tags, Free} = queue:split(N, FreeTags),
            Opened = queue:to_list(Tags),
            lists:foreach(
                fun(Tag) ->
                    true = ets:insert(?TABLE, {Tag, Owner, Limit}),
                    py_counters:open(Tag, Owner)
                end,
                Opened),
            {Opened, watch(Owner, T#tags{free = Free})};
        false ->
            {error, no_tags}
    end.

%% @doc The context has stopped, and what was sent to it is void. `unknown': the tag is not this port process's, by now.
-spec close(pid(), py_counters:tag(), tags()) -> {py_slots:limit(), tags()} | unknown.
close(Owner, Tag, T) ->
    case ets:lookup(?TABLE, Tag) of
        [{_, Owner, Limit}] -> {Limit, close_of(Limit, Tag, T)};
        _ -> unknown
    end.

%% @doc On a `DOWN': a port process has died, with all its contexts. `unknown': it was none that is watched.
-spec down(reference(), tags()) -> {Owner :: pid(), [py_slots:limit()], tags()} | unknown.
down(Monitor, T = #tags{owners = Owners}) ->
    case maps:take(Monitor, Owners) of
        {Owner, Others} ->
            Had = ets:match(?TABLE, {'$1', Owner, '$2'}),
            {Owner, lists:usort([Limit || [_, Limit] <- Had]),
             lists:foldl(fun([Tag, Limit], Acc) -> close_of(Limit, Tag, Acc) end, T#tags{owners = Others}, Had)};
        error ->
            unknown
    end.

%% @doc Whether what was sent to this context may still be answered.
-spec is_live(py_counters:tag()) -> boolean().
is_live(0) -> true;
is_live(Tag) -> ets:member(?TABLE, Tag).

close_of(Limit, Tag, T = #tags{free = Free}) ->
    ok = py_counters:close(Tag),
    true = ets:delete(?TABLE, Tag),
    ok = py_slots_audit:sweep_tag(Limit, Tag),
    T#tags{free = queue:in(Tag, Free)}.

watch(Owner, T = #tags{owners = Owners}) ->
    case lists:member(Owner, maps:values(Owners)) of
        true -> T;
        false -> T#tags{owners = Owners#{monitor(process, Owner) => Owner}}
    end.
