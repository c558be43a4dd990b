"""Coroutines and generators that hold up the loop of their context, or end slowly."""

import asyncio
import threading
import time
from collections.abc import Iterator

import erlang

the_loop: asyncio.AbstractEventLoop


async def sleeps(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "slept"


def works(seconds: float) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "worked"


async def holds_up(started: str, seconds: float) -> str:
    await asyncio.sleep(0)
    erlang.send(started, "holding")
    return works(seconds)


async def ends_slowly(seconds: float) -> None:
    try:
        await asyncio.sleep(3600)
    finally:
        await asyncio.sleep(seconds)


def numbers(count: int) -> Iterator[int]:
    yield from range(count)


async def asks(name: str) -> object:
    await asyncio.sleep(0)
    return erlang.call(name)


def slow_items(seconds: float) -> Iterator[int]:
    """The last one comes in a turn of its own, which takes so long."""
    yield 1
    time.sleep(0.01)
    yield 2
    time.sleep(seconds)
    yield 3


def in_thread(name: str) -> object:
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(erlang.call(name)))
    thread.start()
    thread.join()
    return results[0]


async def publish_loop() -> None:
    global the_loop
    the_loop = asyncio.get_running_loop()


async def in_published_loop(name: str) -> object:
    async def call() -> object:
        return erlang.call(name)

    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(), the_loop))
