%% @doc Python from Erlang and Elixir. See docs/getting-started.md.
%%
%% `M' and `F' are atoms, binaries or strings; code is a binary or a string; timeouts are milliseconds or `infinity'. Options,
%% keyword arguments and local variables are maps or lists of pairs (Elixir's keyword lists). What cannot be meant raises
%% `{bad_argument, Which, Value}'; everything that can happen is an `{error, Reason}', which {@link py_error:format_error/1}
%% explains. While the application does not run that is `{error, {not_started, erlang_python}}'; functions whose type has no
%% error raise the same reason.
%%
%% What runs Python takes the same arguments whatever it is and wherever it runs: a *target* in front, which is a context (its
%% pid) or a pool (its name), or none, and then routing decides; last, a timeout or options. Without either a call on a context
%% has no limit of time, others have 30 seconds.
-module(py).

%% Calling.
-export([call/3, call/4, call/5, call/6, eval/1, eval/2, eval/3, eval/4, exec/1, exec/2, exec/3]).
-export([cast/3, cast/4, cast/5, cast/6, spawn_call/3, spawn_call/4, spawn_call/5, spawn_call/6, await/1, await/2]).
-export([parallel/1, interrupt/1]).
%% Coroutines.
-export([async_call/3, async_call/4, async_call/5, async_call/6, async_await/1, async_await/2, async_gather/1, async_gather/2]).
-export([cancel/1]).
%% Streams.
-export([stream/3, stream/4, stream/5, stream/6, stream_eval/1, stream_eval/2, stream_eval/3, stream_eval/4, stream_fold/3]).
-export([stream_start/3, stream_start/4, stream_next/2, stream_cancel/1]).
%% Functions that Python may call.
-export([register_function/2, register_function/3, unregister_function/1]).
%% Processes that Python may send to.
-export([register_name/1, unregister_name/1]).
%% Pools and contexts.
-export([register_pool/2, unregister_pool/1, context/0, context/1]).
-export([start_contexts/0, start_contexts/1, stop_contexts/0, contexts_started/0, get_local_env/1]).
%% State.
-export([state_store/2, state_fetch/1, state_remove/1, state_keys/0, state_clear/0]).
-export([state_incr/1, state_incr/2, state_decr/1, state_decr/2]).
%% Information.
-export([execution_mode/0, subinterp_supported/0, num_executors/0, version/0, memory_stats/0, gc/0, gc/1]).
-export([tracemalloc_start/0, tracemalloc_start/1, tracemalloc_stop/0, reload/1, stats/0]).

-export_type([context/0, target/0, options/0, stream_options/0, result/0, call/0]).

-type name() :: py_args:name().
-type args() :: [term()].
-type kwargs() :: py_args:named().
-type code() :: py_args:code().
-type context() :: pid().
-type target() :: context() | (Pool :: atom()).
%% `timeout': of the whole. `queue_timeout': of that, for a slot of the pool's limit, after which the call is refused as `overloaded'.
%% `traceback': errors are `{Type, Message, Traceback}'. `strict': values without an Erlang form are errors. `buffer': numpy
%% arrays and the like come as their raw bytes. `none_as': what None becomes (the application's key none_as by default).
%% `kwargs': on a context, where no keyword arguments stand in front of the options.
-type options() :: #{kwargs => kwargs(), timeout => timeout(), queue_timeout => timeout(), traceback => boolean(),
                     strict => boolean(), buffer => boolean(), none_as => none | nil | undefined} | [{atom(), term()} | atom()].
-type last() :: timeout() | options().
%% Of a stream, without a limit of time unless one is given; also those of a call. `owner': who gets the messages. `context'
%% or `pool': where it runs, instead of where routing says.
-type stream_options() :: #{owner => pid(), context => context(), pool => atom(), atom() => term()} | [{atom(), term()}].
-type call() :: py_call:call().
-type result() :: {ok, term()} | {error, term()}.

%% Calling.

%% @doc Calls a Python function, where routing says, for at most 30 seconds.
-spec call(name(), name(), args()) -> result().
call(M, F, Args) -> py_call:run(py_call:request(M, F, Args)).

%% @doc `call(M, F, Args, Kwargs)', or `call(Target, M, F, Args)'. What can be read as both, since a string is a list too, goes
%% to the pool if there is one of that name.
-spec call(name() | target(), name(), args() | name(), kwargs() | options() | args()) -> result().
call(A, B, C, D) -> py_call:run(py_call:request(A, B, C, D)).

%% @doc `call(M, F, Args, Kwargs, TimeoutOrOptions)'; on a context `call(Ctx, M, F, Args, TimeoutOrOptions)'; in a pool
%% `call(Pool, M, F, Args, Kwargs)'.
-spec call(name() | target(), name(), args() | name(), kwargs() | args(), last() | kwargs()) -> result().
call(A, B, C, D, E) -> py_call:run(py_call:request(A, B, C, D, E)).

-spec call(target(), name(), name(), args(), kwargs(), last()) -> result().
call(Target, M, F, Args, Kwargs, Last) -> py_call:run(py_call:request(Target, M, F, Args, Kwargs, Last)).

%% @doc The value of an expression in the calling process's own namespace.
-spec eval(code()) -> result().
eval(Expr) -> py_call:run(py_call:eval(Expr)).

%% @doc `eval(Expr, Locals)', or `eval(Target, Expr)'.
-spec eval(code() | target(), kwargs() | code()) -> result().
eval(A, B) -> py_call:run(py_call:eval(A, B)).

%% @doc `eval(Expr, Locals, TimeoutOrOptions)', or `eval(Target, Expr, Locals)'.
-spec eval(code() | target(), kwargs() | code(), last() | kwargs()) -> result().
eval(A, B, C) -> py_call:run(py_call:eval(A, B, C)).

-spec eval(target(), code(), kwargs(), last()) -> result().
eval(Target, Expr, Locals, Last) -> py_call:run(py_call:eval(Target, Expr, Locals, Last)).

%% @doc Runs statements in the calling process's own namespace.
-spec exec(code()) -> ok | {error, term()}.
exec(Code) -> py_call:run(py_call:exec(Code)).

%% @doc `exec(Code, TimeoutOrOptions)', or `exec(Target, Code)'.
-spec exec(code() | target(), last() | code()) -> ok | {error, term()}.
exec(A, B) -> py_call:run(py_call:exec(A, B)).

-spec exec(target(), code(), last()) -> ok | {error, term()}.
exec(Target, Code, Last) -> py_call:run(py_call:exec(Target, Code, Last)).

%% @doc A call that is not waited for: the result is fetched with {@link await/1}. It takes the arguments of {@link call/3} to
%% {@link call/6}.
-spec cast(name(), name(), args()) -> reference().
cast(M, F, Args) -> py_call:cast(py_call:request(M, F, Args)).

-spec cast(name() | target(), name(), args() | name(), kwargs() | options() | args()) -> reference().
cast(A, B, C, D) -> py_call:cast(py_call:request(A, B, C, D)).

-spec cast(name() | target(), name(), args() | name(), kwargs() | args(), last() | kwargs()) -> reference().
cast(A, B, C, D, E) -> py_call:cast(py_call:request(A, B, C, D, E)).

-spec cast(target(), name(), name(), args(), kwargs(), last()) -> reference().
cast(Target, M, F, Args, Kwargs, Last) -> py_call:cast(py_call:request(Target, M, F, Args, Kwargs, Last)).

%% @doc {@link cast/3} by another name. The result comes as `{py_response, Ref, Result}' for both.
-spec spawn_call(name(), name(), args()) -> reference().
spawn_call(M, F, Args) -> cast(M, F, Args).

-spec spawn_call(name() | target(), name(), args() | name(), kwargs() | options() | args()) -> reference().
spawn_call(A, B, C, D) -> cast(A, B, C, D).

-spec spawn_call(name() | target(), name(), args() | name(), kwargs() | args(), last() | kwargs()) -> reference().
spawn_call(A, B, C, D, E) -> cast(A, B, C, D, E).

-spec spawn_call(target(), name(), name(), args(), kwargs(), last()) -> reference().
spawn_call(Target, M, F, Args, Kwargs, Last) -> cast(Target, M, F, Args, Kwargs, Last).

%% @doc The result of a cast, waited for at most 30 seconds.
-spec await(reference()) -> result().
await(Ref) -> py_caster:await(py_response, Ref).

-spec await(reference(), timeout()) -> result().
await(Ref, Timeout) -> py_caster:await(py_response, Ref, Timeout).

%% @doc Runs the calls at once over the contexts of the default pool; the results come in the order of the calls. They have 30
%% seconds each, from when they are sent, or what their options say.
-spec parallel([call()]) -> {ok, [result()]} | {error, py_started:not_started()}.
parallel(Calls) -> py_parallel:run(Calls).

%% @doc Interrupts what the context is running: that call returns `{error, interrupted}'.
-spec interrupt(context()) -> ok | not_running | {error, term()}.
interrupt(Ctx) -> py_context:interrupt(Ctx).

%% Coroutines.

%% @doc Calls a function, and awaits what it returns on the context's event loop if it is a coroutine. The result comes
%% as `{async_result, Ref, Result}', or is fetched with {@link async_await/1}. There is no limit of time but one that is given;
%% when the calling process dies the coroutine is cancelled. It takes the arguments of {@link call/3} to {@link call/6}. See
%% docs/asyncio.md.
-spec async_call(name(), name(), args()) -> reference().
async_call(M, F, Args) -> py_async:start(py_call:request(M, F, Args)).

-spec async_call(name() | target(), name(), args() | name(), kwargs() | options() | args()) -> reference().
async_call(A, B, C, D) -> py_async:start(py_call:request(A, B, C, D)).

-spec async_call(name() | target(), name(), args() | name(), kwargs() | args(), last() | kwargs()) -> reference().
async_call(A, B, C, D, E) -> py_async:start(py_call:request(A, B, C, D, E)).

-spec async_call(target(), name(), name(), args(), kwargs(), last()) -> reference().
async_call(Target, M, F, Args, Kwargs, Last) -> py_async:start(py_call:request(Target, M, F, Args, Kwargs, Last)).

%% @doc The result of {@link async_call/3}, waited for at most 30 seconds. `{error, timeout}': it goes on, and can be
%% awaited again.
-spec async_await(reference()) -> result().
async_await(Ref) -> py_async:await(Ref).

-spec async_await(reference(), timeout()) -> result().
async_await(Ref, Timeout) -> py_async:await(Ref, Timeout).

%% @doc Runs calls at once, and returns their values in the order of the calls. They have 30 seconds; what fails is
%% listed by its number, counted from 1.
-spec async_gather([call()]) -> py_async:gathered().
async_gather(Calls) -> py_async:gather(Calls).

-spec async_gather([call()], timeout()) -> py_async:gathered().
async_gather(Calls, Timeout) -> py_async:gather(Calls, Timeout).

%% @doc Ends what is behind a reference of {@link cast/3}, {@link spawn_call/3} or {@link async_call/3} (and of
%% py_context:submit/4 and py_event_loop:create_task/3) that the calling process has, or a stream of any process. Its
%% result is then `{error, cancelled}', unless it has ended by itself; what has ended stays as it is.
-spec cancel(reference()) -> ok.
cancel(Ref) -> py_call:cancel(Ref).

%% Streams.

%% @doc All items of a generator, sync or async, or of anything else that can be iterated. They have 30 seconds, or what is
%% given. It takes the arguments of {@link call/3} to {@link call/6}.
-spec stream(name(), name(), args()) -> {ok, [term()]} | {error, term()}.
stream(M, F, Args) -> py_stream:collect(py_call:request(M, F, Args)).

-spec stream(name() | target(), name(), args() | name(), kwargs() | options() | args()) -> {ok, [term()]} | {error, term()}.
stream(A, B, C, D) -> py_stream:collect(py_call:request(A, B, C, D)).

-spec stream(name() | target(), name(), args() | name(), kwargs() | args(), last() | kwargs()) ->
    {ok, [term()]} | {error, term()}.
stream(A, B, C, D, E) -> py_stream:collect(py_call:request(A, B, C, D, E)).

-spec stream(target(), name(), name(), args(), kwargs(), last()) -> {ok, [term()]} | {error, term()}.
stream(Target, M, F, Args, Kwargs, Last) -> py_stream:collect(py_call:request(Target, M, F, Args, Kwargs, Last)).

%% @doc All items of the value of an expression, in the calling process's own namespace. It takes the arguments of
%% {@link eval/1} to {@link eval/4}.
-spec stream_eval(code()) -> {ok, [term()]} | {error, term()}.
stream_eval(Expr) -> py_stream:collect(py_call:eval(Expr)).

-spec stream_eval(code() | target(), kwargs() | code()) -> {ok, [term()]} | {error, term()}.
stream_eval(A, B) -> py_stream:collect(py_call:eval(A, B)).

-spec stream_eval(code() | target(), kwargs() | code(), last() | kwargs()) -> {ok, [term()]} | {error, term()}.
stream_eval(A, B, C) -> py_stream:collect(py_call:eval(A, B, C)).

-spec stream_eval(target(), code(), kwargs(), last()) -> {ok, [term()]} | {error, term()}.
stream_eval(Target, Expr, Locals, Last) -> py_stream:collect(py_call:eval(Target, Expr, Locals, Last)).

%% @doc Sends the items of a generator to the calling process as they come: `{py_stream, Ref, {data, Item}}', and in the
%% end once `{py_stream, Ref, done}' or `{py_stream, Ref, {error, Reason}}'. When that process dies the generator is
%% ended; while it does not read, the generator waits. See docs/streaming.md.
-spec stream_start(name(), name(), args()) -> {ok, reference()} | {error, py_started:not_started()}.
stream_start(M, F, Args) -> py_stream_server:start(M, F, Args, #{}).

-spec stream_start(name(), name(), args(), stream_options()) -> {ok, reference()} | {error, py_started:not_started()}.
stream_start(M, F, Args, Options) -> py_stream_server:start(M, F, Args, Options).

%% @doc The next item of a stream that was started for the calling process; at its end `done', or the error, once.
-spec stream_next(reference(), timeout()) -> {ok, term()} | done | {error, term()}.
stream_next(Ref, Timeout) -> py_stream_server:next(Ref, Timeout).

%% @doc Ends a stream, also while its generator waits: its owner gets `{py_stream, Ref, {error, cancelled}}' after what
%% it was sent before. Of one that has ended nothing more is heard.
-spec stream_cancel(reference()) -> ok.
stream_cancel(Ref) -> py_stream_server:cancel(Ref).

%% @doc Calls `Fun(Item, Acc)' with each item as it comes, in the calling process and for as long as it takes, unless options
%% of the call say otherwise. The generator is never far ahead of `Fun'; an exception of `Fun' ends it.
-spec stream_fold(fun((term(), Acc) -> Acc), Acc, call()) -> {ok, Acc} | {error, term()}.
stream_fold(Fun, Acc, Call) -> py_stream:fold(Fun, Acc, Call).

%% Functions that Python may call.

%% @doc From now on Python's `erlang.call(Name, A, B)' runs `Fun([A, B])' in a process of its own: docs/callbacks.md.
-spec register_function(name(), fun(([term()]) -> term())) -> ok.
register_function(Name, Fun) -> py_functions:register(Name, Fun).

%% @doc The same for `Module:Function([A, B])'.
-spec register_function(name(), name(), name()) -> ok.
register_function(Name, Module, Function) -> py_functions:register(Name, Module, Function).

-spec unregister_function(name()) -> ok.
unregister_function(Name) -> py_functions:unregister(Name).

%% Processes that Python may send to.

%% @doc Every pool may send to the process that is registered by this name, now or later: docs/callbacks.md. Processes of
%% OTP and of this application cannot be opened: `{error, {protected_name, Name}}'.
-spec register_name(name()) -> ok | {error, term()}.
register_name(Name) -> py_send:register_name(Name).

-spec unregister_name(name()) -> ok | {error, term()}.
unregister_name(Name) -> py_send:unregister_name(Name).

%% Pools and contexts.

%% @doc Calls to the module, or the function, go to this pool.
-spec register_pool(atom(), name() | {name(), name()}) -> ok.
register_pool(Pool, What) -> py_context_router:register_pool(Pool, What).

-spec unregister_pool(name() | {name(), name()}) -> ok.
unregister_pool(What) -> py_context_router:unregister_pool(What).

%% @doc The context that routed requests of the calling process go to.
-spec context() -> context().
context() -> py_context_router:get_context().

%% @doc The `N'th context of the default pool, counted from 1.
-spec context(pos_integer()) -> context().
context(N) -> py_context_router:get_context(N).

%% @doc Starts the default pool, which runs already unless it was stopped.
-spec start_contexts() -> {ok, [context()]} | {error, term()}.
start_contexts() -> py_context_router:start().

-spec start_contexts(py_pool_options:options()) -> {ok, [context()]} | {error, term()}.
start_contexts(Options) -> py_context_router:start(Options).

-spec stop_contexts() -> ok | {error, term()}.
stop_contexts() -> py_context_router:stop().

-spec contexts_started() -> boolean().
contexts_started() -> py_context_router:is_started().

%% @doc The calling process's own namespace in this context, for py_context and py_nif.
-spec get_local_env(context()) -> py_context:env().
get_local_env(Ctx) -> py_context:get_local_env(Ctx).

%% State.

%% @doc Keeps a value under a key for Erlang and Python, in place of what was there. Both are any terms.
-spec state_store(py_state:key(), term()) -> ok | {error, py_state:full() | py_started:not_started()}.
state_store(Key, Value) -> py_state:store(Key, Value).

-spec state_fetch(py_state:key()) -> {ok, term()} | {error, not_found | py_started:not_started()}.
state_fetch(Key) -> py_state:fetch(Key).

%% @doc A key that is not there is no error.
-spec state_remove(py_state:key()) -> ok.
state_remove(Key) -> py_state:remove(Key).

%% @doc The keys, in no particular order.
-spec state_keys() -> [py_state:key()].
state_keys() -> py_state:keys().

%% @doc Removes every key.
-spec state_clear() -> ok.
state_clear() -> py_state:clear().

%% @doc Counts a key up by one, from 0 when it is not there, and returns the new value. Raises `badarg' when the value is
%% no integer, `{state_full, Max}' when the key would be one too many.
-spec state_incr(py_state:key()) -> integer().
state_incr(Key) -> py_state:incr(Key).

-spec state_incr(py_state:key(), integer()) -> integer().
state_incr(Key, N) -> py_state:incr(Key, N).

%% @doc Counts down, as {@link state_incr/1} counts up.
-spec state_decr(py_state:key()) -> integer().
state_decr(Key) -> py_state:decr(Key).

-spec state_decr(py_state:key(), integer()) -> integer().
state_decr(Key, N) -> py_state:decr(Key, N).

%% Information.

%% @doc The mode of the default pool, from the environment.
-spec execution_mode() -> worker | owngil.
execution_mode() -> py_info:execution_mode().

%% @doc Whether the mode owngil is to be had.
-spec subinterp_supported() -> boolean().
subinterp_supported() -> py_info:subinterp_supported().

%% @doc The size of the default pool.
-spec num_executors() -> non_neg_integer().
num_executors() -> py_info:num_executors().

-spec version() -> {ok, binary()} | {error, term()}.
version() -> py_info:version().

%% @doc Figures of Python's garbage collector and tracemalloc.
-spec memory_stats() -> {ok, map()} | {error, term()}.
memory_stats() -> py_info:memory_stats().

%% @doc Collects Python's garbage; how many objects were found.
-spec gc() -> {ok, non_neg_integer()} | {error, term()}.
gc() -> py_info:gc(2).

-spec gc(0..2) -> {ok, non_neg_integer()} | {error, term()}.
gc(Generation) -> py_info:gc(Generation).

-spec tracemalloc_start() -> ok | {error, term()}.
tracemalloc_start() -> py_info:tracemalloc_start(1).

%% @doc With so many frames per allocation.
-spec tracemalloc_start(pos_integer()) -> ok | {error, term()}.
tracemalloc_start(Frames) -> py_info:tracemalloc_start(Frames).

-spec tracemalloc_stop() -> ok | {error, term()}.
tracemalloc_stop() -> py_info:tracemalloc_stop().

%% @doc Reloads a module wherever it has been imported.
-spec reload(name()) -> ok | {error, term()}.
reload(M) -> py_info:reload(M).

%% @doc Every pool's figures: see {@link py_info:stats/0}.
-spec stats() -> #{atom() => map()}.
stats() -> py_info:stats().
