"""Work that a request leaves to other threads belongs to it: ``__main__`` there, ``erlang.self()``, its end.

Work leaves a request where a thread is started, and where something is submitted to a pool of threads, which may be
older than the request, and serve others later. There it is wrapped with its origin.
"""

from __future__ import annotations

import _thread
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import _erlang

# Threads of the standard library that do what others give them. They must not end with the request that needed the
# first of them, and keep its namespace for as long as they are there.
_SERVERS = ("concurrent.futures.", "multiprocessing.", "asyncio.")


def _is_server(function: Any) -> bool:
    thread = getattr(function, "__self__", None)
    if not isinstance(thread, threading.Thread):
        return False
    runs = getattr(thread, "_target", None)
    module = getattr(type(thread) if runs is None else runs, "__module__", None)
    return isinstance(module, str) and module.startswith(_SERVERS)


def _starting(start: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(start)
    def start_thread(function: Any, *args: Any, **kwargs: Any) -> Any:
        origin = None if _is_server(function) else _erlang.origin()
        if origin is None or not callable(function):
            return start(function, *args, **kwargs)
        is_thread = isinstance(getattr(function, "__self__", None), threading.Thread)
        run = origin.run_thread if is_thread else origin.run
        return start(functools.partial(run, function), *args, **kwargs)

    return start_thread


def install() -> None:
    """Let threads that are started from now on belong to the request that starts them. Idempotent."""
    changed: dict[Any, Any] = {}
    for module in (_thread, threading):
        for name in ("start_new_thread", "start_new", "start_joinable_thread"):
            for known in (name, f"_{name}"):
                start = getattr(module, known, None)
                if start is None or hasattr(start, "__wrapped__"):
                    continue
                if start not in changed:
                    changed[start] = _starting(start)
                setattr(module, known, changed[start])


def change_executors(thread: Any) -> None:
    """Of ``concurrent.futures.thread``: what is submitted belongs to the request that submits it."""
    submit = thread.ThreadPoolExecutor.submit

    @functools.wraps(submit)
    def submit_here(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        origin = None if _leaves_interpreter(self) else _erlang.origin()
        return submit(self, fn, *args, **kwargs) if origin is None else submit(self, origin.run, fn, *args, **kwargs)

    thread.ThreadPoolExecutor.submit = submit_here


def _leaves_interpreter(executor: Any) -> bool:
    module = sys.modules.get("concurrent.futures.interpreter")  # from 3.14 on
    return module is not None and isinstance(executor, module.InterpreterPoolExecutor)


def change_pools(pool: Any) -> None:
    """The same of ``multiprocessing.pool.ThreadPool``."""
    for name in ("apply_async", "_map_async", "imap", "imap_unordered"):
        setattr(pool.ThreadPool, name, _submitting(getattr(pool.ThreadPool, name), "imap" in name))


def _submitting(submit: Callable[..., Any], lazily: bool) -> Callable[..., Any]:
    @functools.wraps(submit)
    def submit_here(self: Any, func: Any, *args: Any, **kwargs: Any) -> Any:
        origin = _erlang.origin()
        if origin is not None and lazily and args:
            args = (_items(origin, iter(args[0])), *args[1:])  # a thread of the pool asks for them
        if origin is not None and callable(func):
            func = functools.partial(_run, origin, func)
        return submit(self, func, *args, **kwargs)

    return submit_here


def _run(origin: _erlang.Origin, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    # Its threads end with what is no Exception, and nobody gets a result.
    try:
        return origin.run(function, *args, **kwargs)
    except KeyboardInterrupt as error:
        raise InterruptedError("the request that this work belongs to has been told to end") from error


def _items(origin: _erlang.Origin, items: Iterator[Any]) -> Iterator[Any]:
    end = object()
    while (item := _run(origin, next, items, end)) is not end:
        yield item
