"""The event loop: CPython's own for Unix, with a selector that libuv drives."""

from __future__ import annotations

import abc
import asyncio
import collections.abc
import selectors

try:
    import _erlang_loop
except ImportError:  # outside of the port program: what there is instead is CPython's selector
    _erlang_loop = None
else:
    collections.abc.Mapping.register(_erlang_loop.SelectorMap)
    abc.ABCMeta.register(selectors.BaseSelector, _erlang_loop.Selector)  # its own `register` is something else


class ErlangEventLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop that sleeps in libuv.

    Everything above the selector is ``asyncio.SelectorEventLoop``: transports, servers, TLS, subprocesses, executors,
    ``sock_*``. What differs: other threads wake it without a system call unless it sleeps, its timers are exact
    instead of rounded up to milliseconds, it gives up the GIL only when it really sleeps, and an interrupted request
    (a timeout, ``py:interrupt/1``) ends its sleep at once.

    Signal handlers need Python's main thread, and no context is on it: ``add_signal_handler`` raises RuntimeError, as
    in any other thread. Close it when it is done, as every loop.
    """

    def __init__(self) -> None:
        selector = _erlang_loop.Selector() if _erlang_loop is not None else None
        super().__init__(selector)
        if selector is not None:
            # In the place of a byte through a socket pair, which then is only there for signals.
            self._write_to_self = selector.wake


def in_main_interpreter() -> bool:
    """False in the subinterpreter of an owngil context."""
    return _erlang_loop is None or bool(_erlang_loop.in_main_interpreter())
