%% @doc How long a request may take, as it was asked for: in all, and of that for a slot of its pool's limit.
-module(py_time_limit).

-include("py_route.hrl").

-export([total/2, queue/1, with_total/2, with_queue/2, unless_given/2, at_most/2]).

-export_type([limit/0]).

%% `default': nobody asked for a limit of the whole.
-type limit() :: total() | {total(), Queue :: timeout()}.
-type total() :: timeout() | default.

-define(DEFAULT_MS, 30000).

%% @doc Of the whole. In a chain of calls the limit of the call that began it is enough: what it waits for is never cut short by one
%% that nobody asked for.
-spec total(limit(), #caller{}) -> timeout().
total(default, #caller{chain = 0}) -> ?DEFAULT_MS;
total(default, _Caller) -> infinity;
total({Total, _Queue}, Caller) -> total(Total, Caller);
total(Total, _Caller) -> Total.

%% @doc Of the wait for a slot.
-spec queue(limit()) -> timeout().
queue({_Total, Queue}) -> Queue;
queue(_Total) -> infinity.

-spec with_total(total(), limit()) -> limit().
with_total(Total, {_Before, Queue}) -> {Total, Queue};
with_total(Total, _Before) -> Total.

-spec with_queue(timeout(), limit()) -> limit().
with_queue(Queue, {Total, _Before}) -> {Total, Queue};
with_queue(Queue, Total) -> {Total, Queue}.

%% @doc That total, unless somebody asked for one.
-spec unless_given(timeout(), limit()) -> limit().
unless_given(Total, {default, Queue}) -> {Total, Queue};
unless_given(Total, default) -> Total;
unless_given(_Total, Limit) -> Limit.

%% @doc No more than that in all.
-spec at_most(timeout(), limit()) -> limit().
at_most(Most, {Total, Queue}) -> {at_most(Most, Total), Queue};
at_most(Most, default) -> Most;
%% An atom is larger than any number.
at_most(Most, Total) -> min(Most, Total).
