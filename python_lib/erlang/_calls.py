"""Calling Erlang functions from coroutines. Apart, because importing asyncio is slow."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary, ref

import _erlang

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Calls:
    """The calls of one event loop whose answers have not come."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)  # this object is kept by the loop's entry in a weak dictionary
        self._inbox = _erlang.Inbox()
        self._futures: dict[int, tuple[str, asyncio.Future[Any]]] = {}
        self._watching = False
        self._mail = -1

    def start(self, name: str, args: tuple[object, ...]) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        call = self._inbox.call(name, *args)
        self._futures[call] = name, future
        future.add_done_callback(lambda _: self._forget(call))
        # Watched only while there is something to wait for, so that an idle loop can be closed and collected.
        if not self._watching:
            loop.add_reader(self._inbox.fileno(), self._take)
            self._watching = True
            # What the function asks of Python runs here meanwhile. Loops of ours see to that by themselves.
            if not hasattr(loop, "serves_requests"):
                self._mail = _erlang.watch_mail(True)
                if self._mail >= 0:
                    loop.add_reader(self._mail, _erlang.serve_mail)
        return future

    def _take(self) -> None:
        for call, ok, value in self._inbox.take():
            name, future = self._futures.pop(call, (None, None))
            if future is None or future.done():
                continue
            if ok:
                future.set_result(value)
            else:
                if getattr(value, "function", name) is None:
                    value.function = name
                future.set_exception(value)
        self._rest()

    def _forget(self, call: int) -> None:
        if self._futures.pop(call, None) is not None:
            self._inbox.forget(call)
            self._rest()

    def _rest(self) -> None:
        loop = self._loop()
        if self._watching and not self._futures and loop is not None and not loop.is_closed():
            loop.remove_reader(self._inbox.fileno())
            self._watching = False
            if self._mail >= 0:
                loop.remove_reader(self._mail)
                _erlang.watch_mail(False)
                self._mail = -1


_calls: WeakKeyDictionary[asyncio.AbstractEventLoop, _Calls] = WeakKeyDictionary()


async def async_call(name: str, *args: object) -> Any:
    """Call the Erlang function that is registered as ``name`` from a coroutine; others run while it is waited for.

    Raises what :func:`erlang.call` raises. When the task is cancelled, the Erlang process that runs the function is
    ended. Works with any asyncio event loop that can watch file descriptors.
    """
    loop = asyncio.get_running_loop()
    calls = _calls.get(loop)
    if calls is None:
        calls = _calls[loop] = _Calls(loop)
    return await calls.start(name, args)
