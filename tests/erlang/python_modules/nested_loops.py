"""Coroutines whose steps run the loop that they are on, for nested_loop_SUITE."""

import asyncio
import os
import sys

import erlang


def run(coroutine):
    """Runs a coroutine on the running loop, to its end: asyncio is told that the step that calls this does not run."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    thread, hooks = loop._thread_id, sys.get_asyncgen_hooks()
    asyncio._leave_task(loop, task)
    asyncio._set_running_loop(None)
    loop._thread_id = None
    try:
        return loop.run_until_complete(coroutine)
    finally:
        asyncio._set_running_loop(loop)
        asyncio._enter_task(loop, task)
        loop._thread_id = thread
        sys.set_asyncgen_hooks(*hooks)


async def _value(given, seconds=0.01):
    await asyncio.sleep(seconds)
    return given


async def at_once(given):
    return run(_value(given))


async def down(levels):
    if levels == 0:
        return 0
    return run(down(levels - 1)) + await _value(1, 0)


async def ticks(count):
    for number in range(count):
        await asyncio.sleep(0.001)
    return number + 1


async def _line():
    readable, writable = os.pipe()
    loop = asyncio.get_running_loop()
    arrived = loop.create_future()
    loop.add_reader(readable, lambda: arrived.done() or arrived.set_result(os.read(readable, 100)))
    loop.call_later(0.01, os.write, writable, b"line")
    try:
        return await arrived
    finally:
        loop.remove_reader(readable)
        os.close(readable)
        os.close(writable)


async def reads_a_line():
    return run(_line())


async def for_ever():
    return run(_value(None, 3600))


async def plainly():
    coroutine = _value(1)
    try:
        return asyncio.get_running_loop().run_until_complete(coroutine)
    finally:
        coroutine.close()


async def with_nest_asyncio(given):
    import nest_asyncio

    nest_asyncio.apply()
    return asyncio.get_running_loop().run_until_complete(_value(given))


async def who_am_i():
    before = erlang.self()
    asyncio.get_running_loop().run_until_complete(_value(None, 0.02))
    return [before, erlang.self()]
