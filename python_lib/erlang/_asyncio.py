"""asyncio on ErlangEventLoop: what the package ``erlang`` has of it. Imported when one of these is first used."""

from __future__ import annotations

import asyncio
import enum
import sys
import time
import warnings
from collections.abc import Awaitable, Coroutine
from typing import Any

from erlang._loop import ErlangEventLoop as ErlangEventLoop
from erlang._loop import in_main_interpreter


def run[T](main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Run a coroutine on a loop of its own in this thread, close the loop, and return the result.

    Like ``asyncio.run``. RuntimeError when a loop runs in this thread already: use ``await`` there, or `spawn_task`.
    """
    if asyncio._get_running_loop() is not None:
        main.close()
        raise RuntimeError("erlang.run() cannot be called while an event loop runs in this thread: await the coroutine")
    with asyncio.Runner(debug=debug, loop_factory=ErlangEventLoop) as runner:
        return runner.run(main)


def new_event_loop() -> ErlangEventLoop:
    """A new loop, which its caller closes."""
    return ErlangEventLoop()


# Held here until they end: a loop has weak references only.
_tasks: set[asyncio.Task[Any]] = set()


def spawn_task[T](coro: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
    """Start a task on the running loop, and keep it until it ends. RuntimeError when no loop runs in this thread."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        coro.close()
        raise RuntimeError("erlang.spawn_task() needs a running event loop: call it from a coroutine") from None
    task = loop.create_task(coro, name=name)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


def sleep(seconds: float) -> Awaitable[None] | None:
    """Sleep: in a coroutine as ``await erlang.sleep(1.5)``, elsewhere as ``erlang.sleep(1.5)``, without the GIL.

    While a loop runs in this thread it returns an awaitable, and otherwise None, having slept.
    """
    if asyncio._get_running_loop() is not None:
        return asyncio.sleep(seconds)
    time.sleep(seconds)
    return None


class ExecutionMode(enum.Enum):
    """What the Python code of a context shares with others. See `detect_mode`."""

    FREE_THREADED = "free_threaded"
    """No GIL: threads of one interpreter run in parallel."""
    SUBINTERP = "subinterp"
    """An interpreter with a GIL of its own: a context of mode owngil."""
    SHARED_GIL = "shared_gil"
    """The main interpreter, whose GIL the worker contexts of a pool share."""


def detect_mode() -> ExecutionMode:
    """The mode of the calling context."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return ExecutionMode.FREE_THREADED
    return ExecutionMode.SHARED_GIL if in_main_interpreter() else ExecutionMode.SUBINTERP


# Policies go away in Python 3.16; from 3.14 on every public name of theirs warns.
_POLICIES_WARN = sys.version_info >= (3, 14)
_DefaultPolicy: Any = getattr(
    asyncio.unix_events, "_DefaultEventLoopPolicy" if _POLICIES_WARN else "DefaultEventLoopPolicy"
)


class _EventLoopPolicy(_DefaultPolicy):  # type: ignore[misc]
    """Makes loops of class `ErlangEventLoop`; otherwise asyncio's default policy, its child watchers too."""

    _loop_factory = ErlangEventLoop


_EventLoopPolicy.__name__ = _EventLoopPolicy.__qualname__ = "EventLoopPolicy"
_policy = _EventLoopPolicy()


def _warn(name: str) -> None:
    if _POLICIES_WARN:
        message = f"'erlang.{name}' is deprecated, as asyncio's policies are, and slated for removal in Python 3.16"
        warnings.warn(message, DeprecationWarning, stacklevel=3)


_INSTALL = (
    "erlang.install() sets an event loop policy, which Python 3.16 will not have: "
    "use erlang.run(), or asyncio.run(..., loop_factory=erlang.new_event_loop)"
)


def get_event_loop_policy() -> Any:
    """The `EventLoopPolicy` that `install` installs. Deprecated from Python 3.14 on."""
    _warn("get_event_loop_policy")
    return _policy


def install(*, silent: bool = False) -> None:
    """Let ``asyncio.run`` and ``asyncio.new_event_loop`` make `ErlangEventLoop`, everywhere in this interpreter.

    Worker contexts share an interpreter: it holds for all contexts of the pool. Gives a DeprecationWarning, unless
    ``silent``, since policies have no future.
    """
    if not silent:
        warnings.warn(_INSTALL, DeprecationWarning, stacklevel=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(_policy)


def __getattr__(name: str) -> Any:
    if name in {"EventLoopPolicy", "ErlangEventLoopPolicy"}:
        _warn(name)
        return _EventLoopPolicy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
