"""Work that a request leaves for later: a long computation in steps, between which others have their turn."""

from __future__ import annotations

import importlib
import sys
import threading

import erlang

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any


class Scheduled:
    """What a function returns to go on elsewhere: the result of that is the result of its request.

    Made by :func:`schedule`, :func:`schedule_py` and :func:`schedule_inline`; a chain of any length takes no stack.
    Only the port program calls :meth:`resume`.
    """

    __slots__ = ("_what", "yields")

    def __init__(self, what: Callable[[], object], yields: bool) -> None:
        self._what = what
        self.yields = yields

    def resume(self) -> object:
        _slice.used = 0
        return self._what()

    def __repr__(self) -> str:
        return "<scheduled work: return it>"


def schedule(name: str, *args: object) -> Scheduled:
    """Go on with a registered Erlang function: ``return erlang.schedule("name", 1, 2)``.

    Raises UnknownFunction, when it is resumed, if nothing is registered by that name.
    """
    if not isinstance(name, str):
        raise TypeError(f"schedule() takes the name of an Erlang function, not {name!r}")
    return Scheduled(lambda: erlang.call(name, *args), yields=False)


def schedule_py(
    module: str, function: str, args: Sequence[object] = (), kwargs: Mapping[str, object] | None = None
) -> Scheduled:
    """Go on with a Python function after other requests of the context have had their turn.

    ``module`` may be ``"__main__"``: the namespace of the code that calls this. ``function`` may have dots.
    """
    return Scheduled(_python(module, function, args, kwargs), yields=True)


def schedule_inline(
    module: str, function: str, args: Sequence[object] = (), kwargs: Mapping[str, object] | None = None
) -> Scheduled:
    """Go on with a Python function at once; as :func:`schedule_py`, but no other request comes in between."""
    return Scheduled(_python(module, function, args, kwargs), yields=False)


def _python(
    module: str, function: str, args: Sequence[object], kwargs: Mapping[str, object] | None
) -> Callable[[], object]:
    caller = sys._getframe(2).f_globals

    def run() -> object:
        first, *rest = function.split(".")
        if module == "__main__" and first in caller:
            found: Any = caller[first]
        else:
            found = getattr(importlib.import_module(module), first)
        for name in rest:
            found = getattr(found, name)
        return found(*args, **(kwargs or {}))

    return run


class _Slice(threading.local):
    used = 0


_slice = _Slice()


def consume_time_slice(percent: int) -> bool:
    """Say that about so many percent (1 to 100) of a turn, a millisecond, have been used.

    True when the turn is over: time to return :func:`schedule_py`. Counts anew after that.
    """
    if not 1 <= percent <= 100:
        raise ValueError(f"percent must be 1 to 100, not {percent!r}")
    _slice.used += percent
    if _slice.used < 100:
        return False
    _slice.used = 0
    return True
