"""The event loop of a context, and the requests that go on on it. For the port program, on the context's thread."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
import types

import _erlang

from erlang._loop import ErlangEventLoop
from erlang._schedule import Scheduled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator
    from typing import Any

_AGAIN = 1.0  # seconds, as long as the port waits before it interrupts a request again
_NO_CREDIT, _ENDED = 1, 2  # what Ticket.pump() answers; 0: there is more


class _Requests(threading.local):
    """Of a context: its loop, and the tasks of its requests."""

    def __init__(self) -> None:
        self.loop: ErlangEventLoop | None = None
        self.ending = False  # the loop is to be closed, and the next task gets another
        self.tasks: dict[_erlang.Ticket, asyncio.Task[None]] = {}
        self.credits: dict[_erlang.Ticket, asyncio.Future[None]] = {}


_here = _Requests()
_check_running: Any = asyncio.BaseEventLoop._check_running  # type: ignore[attr-defined]


def _loop() -> ErlangEventLoop:
    if _here.loop is None:
        _here.loop = ErlangEventLoop()
    return _here.loop


def run() -> None:
    """Runs the loop of the context until :func:`stop`, or until an interrupt hits the loop itself."""
    loop = _loop()
    try:
        loop.run_forever()
    finally:
        if _here.ending:
            _here.loop, _here.ending = None, False
            loop.close()


def stop() -> None:
    """Lets :func:`run` return."""
    if _here.loop is not None:
        _here.loop.stop()


def start(ticket: _erlang.Ticket, value: Any, stream: bool, timeout: float | None, nested: bool) -> None:
    """Lets a coroutine, or a stream, answer for the request of ``ticket``.

    ``timeout`` in seconds. ``nested``: the thread waits for the request below, so it is run to its end, here and now.
    """
    if stream and not _is_awaited_first(value):
        value = _items(value)  # what cannot be iterated is an error of the call
    answer = _stream(ticket, value) if stream else _task(ticket, value)
    context = contextvars.copy_context()
    context.run(_erlang.scope.set, ticket)
    if nested:
        context.run(_run_nested, ticket, answer, value, timeout)
    else:
        _start_on(_loop(), ticket, answer, value, timeout, context)


def _may_run_itself(loop: Any) -> bool:
    return type(loop)._check_running is not _check_running


def _start_on(
    loop: asyncio.AbstractEventLoop,
    ticket: _erlang.Ticket,
    answer: Any,
    value: Any,
    timeout: float | None,
    context: contextvars.Context,
) -> asyncio.Task[None]:
    # A coroutine that never waits is answered before this returns. Of a loop that its own steps may run (nest_asyncio),
    # this first step would run those of others, as if they were this request's.
    eager = loop.is_running() and not _may_run_itself(loop)
    task = asyncio.Task(ticket.steps(answer), loop=loop, context=context, eager_start=eager)
    if task.done():
        _here.tasks.pop(ticket, None)
        return task
    _here.tasks[ticket] = task
    timer = None if timeout is None else loop.call_later(max(timeout, 0), _expire, ticket, task)

    def ended(done: asyncio.Task[None]) -> None:
        _here.tasks.pop(ticket, None)
        if timer is not None:
            timer.cancel()
        # It may have been cancelled before its first step, or interrupted after its value, before it could tell. Of one
        # that is answered nothing is heard.
        if done.cancelled():
            ticket.fail(asyncio.CancelledError())
            if inspect.iscoroutine(value):
                value.close()
        elif (error := done.exception()) is not None:
            ticket.fail(error)

    task.add_done_callback(ended)
    return task


def _run_nested(ticket: _erlang.Ticket, answer: Any, value: Any, timeout: float | None) -> None:
    with asyncio.Runner(loop_factory=ErlangEventLoop) as runner:
        loop = runner.get_loop()
        task = _start_on(loop, ticket, answer, value, timeout, contextvars.copy_context())
        loop.run_until_complete(task)


def run_as_guest(awaitable: Awaitable[Any], timeout: float | None) -> Any:
    """Awaits in a thread that is not the context's, and so cannot use its loop."""

    async def value() -> Any:
        async with asyncio.timeout(timeout):
            return await _value(awaitable)

    with asyncio.Runner(loop_factory=ErlangEventLoop) as runner:
        return runner.run(value())


def _expire(ticket: _erlang.Ticket, task: asyncio.Task[None]) -> None:
    # Again and again: it may swallow that.
    if not task.done():
        ticket.expire()
        task.cancel()
        task.get_loop().call_later(_AGAIN, _expire, ticket, task)


def expire(ticket: _erlang.Ticket) -> None:
    """The request is late, and its timer may not have told it."""
    task = _here.tasks.get(ticket)
    if task is not None:
        _expire(ticket, task)


def cancel(ticket: _erlang.Ticket) -> None:
    """Erlang, or an interrupt, wants the request to end."""
    task = _here.tasks.get(ticket)
    if task is not None:
        task.cancel()


def credited(ticket: _erlang.Ticket) -> None:
    """Erlang has room for more items of a stream that waits for that."""
    future = _here.credits.pop(ticket, None)
    if future is not None and not future.done():
        future.set_result(None)


@types.coroutine
def _round() -> Generator[None, None, None]:
    # asyncio.sleep(0) for chains of a million steps.
    yield


async def _value(awaitable: Awaitable[Any]) -> Any:
    value = await awaitable
    task = asyncio.current_task()
    while isinstance(value, Scheduled):
        if value.yields:
            await _round()
            if task is not None and task.cancelling():  # a step that swallows its cancellation is the last one
                raise asyncio.CancelledError
        value = value.resume()
        if not isinstance(value, Scheduled) and inspect.isawaitable(value):
            value = await value
    return value


async def end_all() -> None:
    """Cancels every other task of the loop and closes what it serves. The context goes on with a fresh loop."""
    loop = asyncio.get_running_loop()
    this = asyncio.current_task()
    for ticket, task in _here.tasks.items():
        if task is not this:
            ticket.cancel()
    others = asyncio.all_tasks(loop) - {this}
    for other in others:
        other.cancel()
    if others:
        await asyncio.wait(others)
    _close_io(loop)
    await asyncio.sleep(0)  # transports tell their protocols in the next round
    await loop.shutdown_asyncgens()
    if loop is _here.loop:
        _here.ending = True
        loop.stop()


def _close_io(loop: Any) -> None:
    """Closes listening sockets, which asyncio keeps nowhere but in the callbacks that accept, and connections."""
    for key in list((loop._selector.get_map() or {}).values()):
        reader, _writer = key.data
        for argument in (reader and reader._args) or ():
            if isinstance(argument, asyncio.AbstractServer):
                argument.close()
    for transport in list(loop._transports.values()):
        transport.abort()


def abandon(ticket: _erlang.Ticket) -> None:
    """The request has been answered although its task may have begun."""
    task = _here.tasks.pop(ticket, None)
    if task is not None:
        task.cancel()


def _begun(ticket: _erlang.Ticket) -> None:
    # By the task itself: an interrupt may hit whoever starts it before he has got hold of it.
    task = asyncio.current_task()
    if task is not None:
        _here.tasks[ticket] = task


async def _task(ticket: _erlang.Ticket, awaitable: Awaitable[Any]) -> None:
    try:
        _begun(ticket)
        value = await _value(awaitable)
    except BaseException as error:  # an interrupt is for this request, not for the loop
        ticket.fail(error)
    else:
        ticket.finish(value)


def _is_awaited_first(value: Any) -> bool:
    """It is no stream, but gives one: an ``async def`` that returns a generator. A stream may be awaitable too."""
    return inspect.isawaitable(value) and not hasattr(value, "__aiter__")


def _items(value: Any) -> Any:
    return value if hasattr(value, "__aiter__") else iter(value)


async def _stream(ticket: _erlang.Ticket, items: Any) -> None:
    try:
        _begun(ticket)
        while _is_awaited_first(items):
            items = await _value(items)
        items = _items(items)
        if hasattr(items, "__aiter__"):
            async for item in items:
                if not ticket.item(item):
                    await _credit(ticket)
        else:
            while (state := ticket.pump(items)) != _ENDED:
                await (_credit(ticket) if state == _NO_CREDIT else asyncio.sleep(0))
    except BaseException as error:
        failed = await _close(items, error)
        ticket.fail(failed)
    else:
        ticket.end()


async def _close(items: Any, error: BaseException) -> BaseException:
    """Ends a generator that was left before its end; what the request fails with."""
    try:
        if hasattr(items, "aclose"):
            await items.aclose()
        elif hasattr(items, "close"):
            items.close()
    except BaseException as worse:
        return worse
    return error


async def _credit(ticket: _erlang.Ticket) -> None:
    if ticket.want_credit():
        future = _here.credits[ticket] = asyncio.get_running_loop().create_future()
        try:
            await future
        finally:
            _here.credits.pop(ticket, None)


def close() -> None:
    """The context stops: ends its tasks and closes its loop."""
    loop, _here.loop = _here.loop, None
    if loop is None:
        return
    try:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=1))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        _here.tasks.clear()
        _here.credits.clear()
        loop.close()
