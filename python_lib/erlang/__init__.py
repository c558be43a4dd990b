"""Erlang from Python: its functions, processes and shared state, the types that stand for its own, and their errors.

Every Erlang function that is registered by name (``py:register_function``) is an attribute: ``erlang.name(...)`` and
``from erlang import name`` work, for registered names only.

Importable inside the port program and outside of it, for instance in the unit tests of code that uses it; what needs
Erlang raises RuntimeError there.
"""

from __future__ import annotations

from erlang._encoding import register_encoder
from erlang._schedule import consume_time_slice, schedule, schedule_inline, schedule_py
from erlang._state import state_clear, state_decr, state_delete, state_get, state_incr, state_keys, state_set
from erlang.errors import ConversionError, ErlangError, Error, ProcessError, UnknownFunction
from erlang.types import Atom, Pid, Ref, Term

try:
    import _erlang
    from _erlang import call, self, send
    from _erlang import system_call as _ask
except ImportError:  # outside of the port program
    from erlang._outside import call, self, send
    from erlang._outside import system_call as _ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from erlang._asyncio import (
        ErlangEventLoop,
        EventLoopPolicy,
        ExecutionMode,
        detect_mode,
        get_event_loop_policy,
        install,
        new_event_loop,
        run,
        sleep,
        spawn_task,
    )
    from erlang._calls import async_call

__all__ = [
    "Atom",
    "ConversionError",
    "ErlangError",
    "ErlangEventLoop",
    "Error",
    "EventLoopPolicy",
    "ExecutionMode",
    "Pid",
    "ProcessError",
    "Ref",
    "Term",
    "UnknownFunction",
    "async_call",
    "atom",
    "call",
    "consume_time_slice",
    "detect_mode",
    "get_event_loop_policy",
    "install",
    "new_event_loop",
    "register_encoder",
    "run",
    "schedule",
    "schedule_inline",
    "schedule_py",
    "self",
    "send",
    "sleep",
    "spawn_task",
    "state_clear",
    "state_decr",
    "state_delete",
    "state_get",
    "state_incr",
    "state_keys",
    "state_set",
    "whereis",
]


_admitted: set[str] = set()


def atom(name: str) -> Atom:
    """The atom called ``name``, of which Erlang is asked whether it has room for it.

    Raises TypeError for what is no ``str``, ValueError for more than 255 characters, and when Python has made as many
    new atoms as a node allows it (1 000). ``Atom(name)`` does not ask; a value with an atom that Erlang has no room for
    fails when it is returned.
    """
    made = Atom(name)
    if name not in _admitted:
        if not _ask("atom", name):
            raise ValueError(f"no room for the new atom {name!r}: Python has made 1000 on this node; use a str")
        _admitted.add(name)
    return made


def whereis(name: str) -> Pid | None:
    """The process that is registered by this name on the node, or None. Raises TypeError for what is no ``str``."""
    if not isinstance(name, str):
        raise TypeError(f"a process is registered by a str, not by {type(name).__name__}")
    pid: Pid | None = _ask("whereis", name)
    return pid


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name == "async_call":  # imports asyncio, which is slow
        from erlang._calls import async_call

        globals()[name] = async_call
        return async_call
    if name in __all__:  # the event loop; with asyncio too
        from erlang import _asyncio

        return getattr(_asyncio, name)
    # Libraries look into modules: everything but a registered name must fail as in any other module.
    if not name.startswith("__") and _is_registered(name):
        from erlang._functions import Function

        return Function(name)
    raise AttributeError(f"module 'erlang' has no attribute {name!r}, nor is there an Erlang function of that name")


def _is_registered(name: str) -> bool:
    try:
        registered: bool = _erlang.is_registered(name)
    except (NameError, RuntimeError):  # outside of the port program, or while the package is being loaded
        return False
    return registered
