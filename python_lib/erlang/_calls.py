"""Calling Erlang functions from coroutines. Apart, because importing asyncio is slow."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, ref

import _erlang


class _Calls:
    """The calls of one event loop whose answers have not come.

    Nothing but the loop holds it, as what is to run when its inbox has something. So it goes when there is nothing to
    wait for any more, when the loop is closed, or with a loop that is forgotten; then the inbox goes too, and what it
    still waits for is ended in Erlang.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._inbox = _idle.pop(loop) if loop in _idle else _erlang.Inbox()
        self._futures: dict[int, tuple[str, asyncio.Future[Any]]] = {}
        self._mail = -1

    def start(self, name: str, args: tuple[object, ...]) -> asyncio.Future[Any]:
        loop = self._loop
        call = self._inbox.call(name, *args)
        future = loop.create_future()
        future.add_done_callback(partial(_forget, ref(self), call))
        if not self._futures:
            # Watched only while there is something to wait for, so that an idle loop can be closed and collected.
            loop.add_reader(self._inbox.fileno(), self)
            _waiting[loop] = ref(self)
            # What the function asks of Python runs here meanwhile. Loops of ours see to that by themselves.
            if not hasattr(loop, "serves_requests"):
                self._mail = _erlang.watch_mail(True)
                if self._mail >= 0:
                    loop.add_reader(self._mail, _erlang.serve_mail)
        self._futures[call] = name, future
        return future

    def __call__(self) -> None:
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

    def forget(self, call: int) -> None:
        if self._futures.pop(call, None) is not None:
            self._inbox.forget(call)
            self._rest()

    def _rest(self) -> None:
        loop = self._loop
        if self._futures or _waiting.pop(loop, None) is None or loop.is_closed():
            return
        loop.remove_reader(self._inbox.fileno())
        _idle[loop] = self._inbox
        if self._mail >= 0:
            loop.remove_reader(self._mail)
            _erlang.watch_mail(False)


_waiting: WeakKeyDictionary[asyncio.AbstractEventLoop, ref[_Calls]] = WeakKeyDictionary()
_idle: WeakKeyDictionary[asyncio.AbstractEventLoop, _erlang.Inbox] = WeakKeyDictionary()


def _forget(calls: ref[_Calls], call: int, _: object) -> None:
    if (waiting := calls()) is not None:
        waiting.forget(call)


def _calls_of(loop: asyncio.AbstractEventLoop) -> _Calls:
    waiting = _waiting.get(loop)
    return (waiting() if waiting is not None else None) or _Calls(loop)


async def async_call(name: str, *args: object, **kwargs: object) -> Any:
    """Call the Erlang function that is registered as ``name`` from a coroutine; others run while it is waited for.

    Raises what :func:`erlang.call` raises. When the task is cancelled, or its loop is closed, the Erlang process that
    runs the function is ended. Works with any asyncio event loop that can watch file descriptors.
    """
    if kwargs:
        raise TypeError(f"the Erlang function {name} takes no keyword arguments, only positional ones")
    # Not kept in a variable, which would live as long as the coroutine: see _Calls.
    return await _calls_of(asyncio.get_running_loop()).start(name, args)
