"""What a process leaves behind in Python when it ends: opened when it has, and what was seen then."""

import asyncio
import threading
import weakref

opened = threading.Event()
seen = []
kept = []
_waiting = []
_alive = weakref.WeakSet()


class Tracked:
    """Counted for as long as it lives."""

    def __init__(self):
        _alive.add(self)


def alive():
    """Without running Python's collector."""
    return len(_alive)


async def until_opened():
    gate = asyncio.Event()
    _waiting.append((asyncio.get_running_loop(), gate))
    await gate.wait()


def open_all():
    opened.set()
    for loop, gate in _waiting:
        loop.call_soon_threadsafe(gate.set)
    _waiting.clear()


def close():
    opened.clear()
    seen.clear()
    kept.clear()


def take_seen():
    return seen


def kept_value():
    return kept[0]


def call_kept():
    return kept[0].word()
