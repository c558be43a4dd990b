"""The event loop: CPython's own for Unix, with a selector that libuv drives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

try:
    import _erlang
    import _erlang_loop

    from erlang._selector import Selector
except ImportError:  # outside of the port program: what there is instead is CPython's selector
    _erlang_loop = None


class ErlangEventLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop that sleeps in libuv.

    Everything above the selector is ``asyncio.SelectorEventLoop``: transports, servers, TLS, subprocesses, executors,
    ``sock_*``. What differs: other threads wake it without a system call unless it sleeps, its timers are exact
    instead of rounded up to milliseconds, it gives up the GIL only when it really sleeps, and an interrupted request
    (a timeout, ``py:interrupt/1``) ends its sleep at once.

    Signal handlers need Python's main thread, and no context is on it: ``add_signal_handler`` raises RuntimeError, as
    in any other thread. Close it when it is done, as every loop.
    """

    serves_requests = True  # while it sleeps, what coroutines of a request wait for may use the context (erlang._calls)

    def __init__(self) -> None:
        selector = Selector() if _erlang_loop is not None else None
        super().__init__(selector)
        if selector is not None:
            # In the place of a byte through a socket pair.
            self._write_to_self = selector._selector.wake

    # The socket pair is only there for signals, and so is made with the first handler. Until then `_internal_fds`, the
    # descriptors that the loop needs for itself, counts the selector's bell in its place.
    _internal_fds: int

    def _make_self_pipe(self) -> None:
        if _erlang_loop is None:
            super()._make_self_pipe()  # type: ignore[misc]
            return
        self._ssock = self._csock = None
        self._internal_fds += 1

    def _close_self_pipe(self) -> None:
        if self._csock is not None:
            super()._close_self_pipe()
        else:
            self._internal_fds -= 1

    def create_task[Value](self, coro: Coroutine[Any, Any, Value], **options: Any) -> asyncio.Task[Value]:
        # Of a request that has redirected a standard stream: so have the tasks that it waits for meanwhile.
        if _erlang_loop is not None:
            ticket = _erlang.scope.get(None)
            if ticket is not None and ticket.redirects() and asyncio.iscoroutine(coro):
                coro = ticket.steps(coro)
        return super().create_task(coro, **options)

    def add_signal_handler[*Args](self, sig: int, callback: Callable[[*Args], object], *args: *Args) -> None:
        if self._csock is None and not self.is_closed():
            self._internal_fds -= 1
            super()._make_self_pipe()  # type: ignore[misc]
        super().add_signal_handler(sig, callback, *args)


def in_main_interpreter() -> bool:
    """False in the subinterpreter of an owngil context."""
    return _erlang_loop is None or bool(_erlang_loop.in_main_interpreter())
