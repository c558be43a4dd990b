"""The event loop: CPython's own for Unix, with a selector that libuv drives."""

from __future__ import annotations

import abc
import asyncio
import collections.abc
import selectors

import _erlang_loop

collections.abc.Mapping.register(_erlang_loop.SelectorMap)
abc.ABCMeta.register(selectors.BaseSelector, _erlang_loop.Selector)  # its own `register` is something else


class ErlangEventLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop that sleeps in libuv.

    Everything above the selector is ``asyncio.SelectorEventLoop``: transports, servers, TLS, subprocesses, executors,
    ``sock_*``. What differs: other threads wake it without a system call unless it sleeps, its timers are exact instead
    of rounded up to milliseconds, it gives up the GIL only when it really sleeps, and an interrupted request (a timeout,
    ``py:interrupt/1``) ends its sleep at once.

    Signal handlers need Python's main thread, and no context is on it: ``add_signal_handler`` raises RuntimeError, as in
    any other thread. Close it when it is done, as every loop.
    """

    def __init__(self) -> None:
        selector = _erlang_loop.Selector()
        super().__init__(selector)
        # In the place of a byte through a socket pair, which then is only there for signals. Nothing after close().
        self._write_to_self = selector.wake
