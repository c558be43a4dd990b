"""Generators that the Common Test suites stream."""

import asyncio
import builtins
import time

import erlang


def count(first, last):
    yield from range(first, last)


async def async_count(first, last, pause=0.0):
    for number in range(first, last):
        await asyncio.sleep(pause)
        yield number


def arguments(*args, **kwargs):
    """All that it was called with."""
    yield list(args)
    yield kwargs


class Range:
    """An asynchronous iterator that is no generator."""

    def __init__(self, last):
        self.next = 0
        self.last = last

    def __aiter__(self):
        return self

    async def __anext__(self):
        await asyncio.sleep(0)
        if self.next == self.last:
            raise StopAsyncIteration
        self.next += 1
        return self.next - 1


class Old:
    """Something that can be iterated only by its indices."""

    def __getitem__(self, index):
        if index == 3:
            raise IndexError
        return index * 10


async def opened(kind, *args, pause=0.01):
    """A coroutine that waits, and returns what is streamed: the value of the function ``kind`` of this module or builtins."""
    await asyncio.sleep(pause)
    return (globals().get(kind) or getattr(builtins, kind))(*args)


async def opens_never(key):
    """A coroutine that never gets to its generator, and tells in the shared state that it was left."""
    erlang.state_set(key, "waits")
    try:
        await asyncio.sleep(3600)
        return iter(())
    finally:
        erlang.state_set(key, "closed")


def fail_after(items, class_name, *args):
    yield from range(items)
    raise getattr(builtins, class_name)(*args)


async def async_fail_after(items, class_name, *args):
    for number in range(items):
        yield number
    await asyncio.sleep(0)
    raise getattr(builtins, class_name)(*args)


def unprintable_after(items):
    yield from range(items)
    yield object()


def endless(key=None):
    """Counts for ever, and tells in the shared state where it is now and then, and that it was closed."""
    number = 0
    try:
        while True:
            yield number
            number += 1
            if key is not None and number % 100 == 0:
                erlang.state_set(f"{key}_at", number)
    finally:
        if key is not None:
            erlang.state_set(key, "closed")


def busy(key):
    """Computes for each of its items, so that it is always in Python code."""
    number = work = 0
    try:
        while True:
            # Not `while`: no `finally` sees an exception that is raised where it jumps back (CPython issue 130279).
            for step in range(500):
                work += step
            yield number
            number += 1
    finally:
        erlang.state_set(key, "closed")


async def async_endless(key):
    number = 0
    try:
        while True:
            yield number
            number += 1
            if number % 100 == 0:
                erlang.state_set(f"{key}_at", number)
                await asyncio.sleep(0)
    finally:
        erlang.state_set(key, "closed")


async def waits_for_ever(key):
    """One item, then nothing."""
    try:
        yield "first"
        await asyncio.sleep(1000)
    finally:
        erlang.state_set(key, "closed")


def sleeps_for_long(key):
    """One item, then a wait that no event loop knows of."""
    try:
        yield "first"
        for _ in range(100000):
            time.sleep(0.01)
    finally:
        erlang.state_set(key, "closed")


def spins(key):
    """One item, then it computes for ever."""
    try:
        yield "first"
        while True:
            pass
    finally:
        erlang.state_set(key, "closed")


_gates = {}


async def gated(name, items):
    """Each item waits until it is let through by a call."""
    for number in range(items):
        gate = _gates[name] = asyncio.Event()
        await gate.wait()
        yield number


def let_through(name):
    """False: the generator has not come to its gate yet."""
    gate = _gates.pop(name, None)
    if gate is not None:
        gate.set()
    return gate is not None


def step_by_step(items, seconds):
    """A synchronous generator that is slow."""
    for number in range(items):
        yield number
        time.sleep(seconds)


def large(items, size):
    for number in range(items):
        yield bytes([number % 256]) * size


def endless_large(size):
    while True:
        yield b"x" * size


def growing(items):
    """Small items first, then large ones."""
    for number in range(items):
        yield b"x" * (10 if number < items // 2 else 100_000)


def who_am_i(items):
    for _ in range(items):
        yield erlang.self()


async def async_who_am_i(items):
    for _ in range(items):
        await asyncio.sleep(0)
        yield erlang.self()


def call(name, items):
    """What Erlang says to each number."""
    for number in range(items):
        yield erlang.call(name, number)


async def async_call(name, items):
    for number in range(items):
        yield await erlang.async_call(name, number)


def swallows_the_end(key):
    """A generator that raises when it is closed."""
    try:
        while True:
            yield 1
    finally:
        erlang.state_set(key, "closed")
        raise ValueError("not so fast")
