"""Coroutines and functions that ask Erlang, in loops of several kinds and on top of one another."""

import asyncio
import contextvars
import decimal

import erlang


async def awaits(depth):
    """The depth, counted by coroutines: each waits for an Erlang function that runs the next one."""
    return 0 if depth == 0 else 1 + await erlang.async_call("down", "awaits", depth - 1)


async def blocks(depth):
    """The same with a callback that holds up the loop meanwhile."""
    return 0 if depth == 0 else 1 + erlang.call("down", "blocks", depth - 1)


async def mixes(depth):
    return 0 if depth == 0 else 1 + await erlang.async_call("down", "blocks_next", depth - 1)


async def blocks_next(depth):
    return 0 if depth == 0 else 1 + erlang.call("down", "mixes", depth - 1)


def _runner(name):
    return erlang.run if name == "erlang" else asyncio.run


def two_at_once(runner, first, second):
    """In a loop of its own: waits for two Erlang functions at once."""

    async def both():
        return await asyncio.gather(
            erlang.async_call(first, runner), erlang.async_call(second, runner)
        )

    return _runner(runner)(both())


def one(runner, name):
    return _runner(runner)(erlang.async_call(name, runner))


def plain(value):
    return value


_variable = contextvars.ContextVar("_variable", default=None)


def set_variables(value):
    decimal.getcontext().prec = value
    _variable.set(value)


def variables():
    return [decimal.getcontext().prec, _variable.get()]


def with_variables(value, function):
    """Sets them for the time of a callback."""
    token = _variable.set(value)
    try:
        with decimal.localcontext(prec=value):
            return erlang.call(function)
    finally:
        _variable.reset(token)
