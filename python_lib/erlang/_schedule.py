"""Work that a request leaves for later: a long computation in steps, between which others have their turn."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterable, Mapping

import erlang
from erlang import _encoding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


class Scheduled:
    """What a function returns to go on elsewhere: the result of that is the result of its request.

    A chain of any length takes no stack. Only the port program calls :meth:`resume`, and it knows the two subclasses.
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


class ScheduleMarker(Scheduled):
    """What :func:`schedule` and :func:`schedule_py` return."""

    __slots__ = ()


class InlineScheduleMarker(Scheduled):
    """What :func:`schedule_inline` returns."""

    __slots__ = ()


for _cls in (ScheduleMarker, InlineScheduleMarker):
    _encoding.refuse(_cls, "scheduled work is no value: return it by itself, from the function that Erlang called")


def schedule(name: str, *args: object) -> ScheduleMarker:
    """Go on with a registered Erlang function: ``return erlang.schedule("name", 1, 2)``.

    Raises UnknownFunction, when it is resumed, if nothing is registered by that name.
    """
    if not isinstance(name, str):
        raise TypeError(f"schedule() takes the name of an Erlang function, not {name!r}")
    return ScheduleMarker(lambda: erlang.call(name, *args), yields=False)


def schedule_py(
    module: str, function: str, args: Sequence[object] = (), kwargs: Mapping[str, object] | None = None
) -> ScheduleMarker:
    """Go on with a Python function after other requests of the context have had their turn.

    ``module`` may be ``"__main__"``: the namespace of the code that calls this. ``function`` may have dots. Others are
    whatever waits for the context, and the tasks of its event loop. Raises TypeError for arguments of a wrong type.
    """
    return ScheduleMarker(_python(module, function, args, kwargs), yields=True)


def schedule_inline(
    module: str, function: str, args: Sequence[object] = (), kwargs: Mapping[str, object] | None = None
) -> InlineScheduleMarker:
    """Go on with a Python function at once; as :func:`schedule_py`, but no other request comes in between."""
    return InlineScheduleMarker(_python(module, function, args, kwargs), yields=False)


def _python(
    module: str, function: str, args: Sequence[object], kwargs: Mapping[str, object] | None
) -> Callable[[], object]:
    if not isinstance(module, str):
        raise _wrong("module", "a str", module)
    if not isinstance(function, str):
        raise _wrong("function", "a str", function)
    if type(args) is not list and (not isinstance(args, Iterable) or isinstance(args, (str, bytes))):
        raise _wrong("args", "a list or tuple", args)
    if kwargs is not None and not isinstance(kwargs, Mapping):
        raise _wrong("kwargs", "a dict or None", kwargs)
    namespace = sys._getframe(2).f_globals

    def run() -> object:
        first, *rest = function.split(".") if "." in function else (function,)
        if module == "__main__" and first in namespace:
            found: Any = namespace[first]
        else:
            found = getattr(importlib.import_module(module), first)
        for name in rest:
            found = getattr(found, name)
        return found(*args, **(kwargs or {}))

    return run


def _wrong(argument: str, wanted: str, value: object) -> TypeError:
    called = sys._getframe(2).f_code.co_name
    return TypeError(f"{called}() takes {argument} as {wanted}, not {value!r}")


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
