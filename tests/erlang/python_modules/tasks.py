"""Coroutines that the Common Test suites call."""

import asyncio
import builtins
import functools
import time

import erlang
from erlang import _tasks


async def value(given, seconds=0.0):
    """Waits, then gives the value back."""
    await asyncio.sleep(seconds)
    return given


async def value_at_once(given):
    return given


async def arguments(*args, **kwargs):
    """All that it was called with."""
    await asyncio.sleep(0)
    return (list(args), kwargs)


async def fail(class_name, *args):
    """Raises an exception of a built-in class, after having waited."""
    await asyncio.sleep(0)
    raise getattr(builtins, class_name)(*args)


async def fail_at_once(class_name, *args):
    raise getattr(builtins, class_name)(*args)


async def unprintable():
    """A value without an Erlang form."""
    return object()


class Awaitable:
    """Something that is no coroutine and can be awaited all the same."""

    def __init__(self, given):
        self.given = given

    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        return self.given


# Holds the GIL for some tenths of a second without running any bytecode, and then returns an awaitable.
held = functools.partial(max, [Awaitable("given")], key=range(20_000_000).count)


_gates = {}


def _gate(name):
    return _gates.setdefault(name, asyncio.Event())


async def wait_gate(name):
    """Waits until the gate is opened by a call to the same context."""
    await _gate(name).wait()
    return "open"


def close_gate(name):
    """From now on those who come wait again."""
    _gates.pop(name, None)


def open_gate(name):
    """Lets those pass who wait for it."""
    _gate(name).set()
    return "opened"


async def until_cancelled(key):
    """Waits for ever, and tells in the shared state how that ended."""
    erlang.state_set(key, "waiting")
    try:
        await asyncio.sleep(1000)
    except asyncio.CancelledError:
        erlang.state_set(key, "cancelled")
        raise
    erlang.state_set(key, "ended")


async def tell_later(key, seconds):
    """Tells in the shared state that it went on to its end."""
    await asyncio.sleep(seconds)
    erlang.state_set(key, "ended")


def tell_and_spin(key):
    """Tells in the shared state that it runs, then runs for ever."""
    erlang.state_set(key, "running")
    while True:
        time.sleep(0.001)


async def spin():
    """A coroutine that does not let others have their turn."""
    while True:
        pass


async def stubborn(key):
    """Does not end when it is cancelled, nor when it is interrupted."""
    erlang.state_set(key, "waiting")
    while True:
        try:
            await asyncio.sleep(1000)
        except GeneratorExit:  # it is destroyed: without a loop it would go round and round
            raise
        except BaseException:
            pass


async def cancels_itself():
    asyncio.current_task().cancel()
    await asyncio.sleep(1)


async def who_am_i(seconds):
    """The calling process, before and after others had their turn."""
    before = erlang.self()
    await asyncio.sleep(seconds)
    return (before, erlang.self())


async def call(name, *args):
    """Calls Erlang and blocks the loop meanwhile."""
    await asyncio.sleep(0)
    return erlang.call(name, *args)


async def async_call(name, *args):
    """Calls Erlang while others have their turn."""
    return await erlang.async_call(name, *args)


async def loop_name():
    return type(asyncio.get_running_loop()).__name__


def sees_a_loop():
    """Whether a synchronous call sees the loop below it."""
    return asyncio._get_running_loop() is not None


async def background(key):
    """Leaves a task behind."""
    _background.add(asyncio.create_task(tell_later(key, 0.01)))


_background = set()


def pending():
    """How many requests of this context wait on its loop."""
    return sum(not task.done() for task in _tasks._here.tasks.values())


def waiting():
    """What they wait for, for people."""
    return [repr(task.get_coro().cr_frame.f_locals) for task in _tasks._here.tasks.values() if not task.done()]


async def serve():
    """Starts a server on the loop, and gives its port."""
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    return server.sockets[0].getsockname()[1]
