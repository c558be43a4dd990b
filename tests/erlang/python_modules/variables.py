"""Context variables: decimal's precision, whose value changes in place, and one of our own."""

import asyncio
import contextvars
import decimal

import erlang

variable = contextvars.ContextVar("variable", default=None)


def set_both(value):
    decimal.getcontext().prec = value
    variable.set(value)


def both():
    return [decimal.getcontext().prec, variable.get()]


async def both_later():
    seen = both()
    await asyncio.sleep(0)
    return [seen, both()]


async def set_both_later(value):
    await asyncio.sleep(0)
    set_both(value)
    await asyncio.sleep(0)
    return both()


def both_again_and_again(times):
    for _ in range(times):
        yield both()


async def both_again_and_again_later(times):
    for _ in range(times):
        yield both()
        await asyncio.sleep(0)


def set_in_steps(value, steps):
    """Sets them in the first step, and tells what the last one sees."""
    if value is not None:
        set_both(value)
    if steps == 0:
        return both()
    return erlang.schedule_py("variables", "set_in_steps", [None, steps - 1])
