"""Coroutines and generators that tools/bench asks for from Erlang."""

import asyncio
from collections.abc import AsyncIterator, Iterator


def function(value: int) -> int:
    return value


async def coroutine(value: int) -> int:
    return value


async def waits(value: int) -> int:
    """Waits for the other tasks of the loop, once."""
    await asyncio.sleep(0)
    return value


async def sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def sleeps(count: int, seconds: float) -> None:
    """So many sleeps at once, asked for by one request."""
    await asyncio.gather(*[asyncio.sleep(seconds) for _ in range(count)])


def generator(count: int) -> Iterator[int]:
    yield from range(count)


async def async_generator(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def waiting_generator(count: int) -> AsyncIterator[int]:
    """Lets the other tasks of the loop run before each item."""
    for number in range(count):
        await asyncio.sleep(0)
        yield number
