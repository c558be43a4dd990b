%% @doc What the log says of the life of a pool.
-module(py_pool_log).

-include_lib("kernel/include/logger.hrl").

-export([death/4, restart/3, recycle/1]).

%% @doc With the process number, unless it died before it had said that; and with what it wrote last.
-spec death(atom(), none | pos_integer(), term(), [binary()]) -> ok.
death(_Pool, _OsPid, stopped, _Lines) ->
    ok;
death(Pool, none, Why, Lines) ->
    ?LOG_ERROR("pool ~ts, port process: ~ts~ts", [Pool, py_error:format_why(Why), last_lines(Lines)],
               #{pool => Pool, why => Why});
death(Pool, OsPid, Why, Lines) ->
    ?LOG_ERROR("pool ~ts: port process ~p died: ~ts~ts", [Pool, OsPid, py_error:format_why(Why), last_lines(Lines)],
               #{pool => Pool, why => Why}).

last_lines([]) -> "";
last_lines(Lines) -> ["; it wrote last:" | [["\n  ", py_error:printable(Line)] || Line <- Lines]].

%% @doc When it will be started again, if that is not at once.
-spec restart(atom(), term(), non_neg_integer()) -> ok.
restart(_Pool, _Why, 0) ->
    ok;
restart(Pool, Why, Delay) ->
    ?LOG_WARNING("pool ~ts is down (~ts) and starts again in ~b ms", [Pool, py_error:format_why(Why), Delay],
                 #{pool => Pool, why => Why}).

-spec recycle(atom()) -> ok.
recycle(Pool) ->
    ?LOG_NOTICE("pool ~ts: the port process has served its max_requests and is replaced", [Pool], #{pool => Pool}).
