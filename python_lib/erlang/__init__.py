"""Erlang from Python: its functions, processes and shared state, the types that stand for its own, and their errors.

Every Erlang function that is registered by name (``py:register_function``) is an attribute: ``erlang.name(...)`` and
``from erlang import name`` work, for registered names only.

Importable inside the port program and outside of it; what needs Erlang raises RuntimeError there, unless a unit test
uses ``erlang.testing``.
"""

from __future__ import annotations

from erlang._encoding import register_encoder
from erlang._schedule import (
    InlineScheduleMarker,
    ScheduleMarker,
    consume_time_slice,
    schedule,
    schedule_inline,
    schedule_py,
)
from erlang._state import state_clear, state_decr, state_delete, state_get, state_incr, state_keys, state_set
from erlang.errors import ConversionError, ErlangError, Error, ProcessError, UnknownFunction
from erlang.types import Atom, Pid, Ref, Term

try:
    from _erlang import call, self, send
    from _erlang import is_registered as _is_known
    from _erlang import system_call as _ask
except ImportError:  # outside of the port program
    from erlang._outside import call, self, send
    from erlang._outside import is_registered as _is_known
    from erlang._outside import system_call as _ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from erlang._asyncio import (
        ErlangEventLoop,
        ErlangEventLoopPolicy,
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
    "ErlangEventLoopPolicy",
    "Error",
    "EventLoopPolicy",
    "ExecutionMode",
    "InlineScheduleMarker",
    "Pid",
    "ProcessError",
    "Ref",
    "ScheduleMarker",
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
    "reply",
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


_admitted: dict[str, Atom] = {}


def atom(name: str) -> Atom:
    """The atom called ``name``, of which Erlang is asked whether it has room for it. The same object each time.

    Raises TypeError for what is no ``str``, ValueError for more than 255 characters, and when Python has made as many
    new atoms as a pool may (1 000). ``Atom(name)`` does not ask; a value with an atom that Erlang has no room for
    fails when it is returned.
    """
    made = Atom(name)
    known = _admitted.get(made)
    if known is None:
        if not _ask("atom", name):
            raise ValueError(f"no room for the new atom {name!r}: Python has made 1000 in this pool; use a str")
        known = _admitted.setdefault(made, made)
    return known


def whereis(name: str | bytes) -> Pid | None:
    """The process that is registered by this name on the node, or None. ``bytes`` are taken for UTF-8.

    Raises TypeError for what is neither, PermissionError when messages may not be sent to it (pool option ``send``).
    """
    if isinstance(name, bytes):
        name = name.decode()
    elif not isinstance(name, str):
        raise TypeError(f"a process is registered by a str, not by {type(name).__name__}")
    found: Pid | str | None = _ask("whereis", name)
    if not isinstance(found, str):
        return found
    if found == "protected":
        raise PermissionError(f"the process {name!r} belongs to OTP or erlang_python (pool option send)")
    raise PermissionError(f"the process {name!r} is not granted (pool option send, send_names, or py:register_name/1)")


def reply(to: Pid | tuple[Pid, object], message: object) -> None:
    """Answer whoever has asked: ``to`` is a process, or the ``From`` of a ``gen_server`` call.

    A process gets ``message``; who waits in ``gen_server:call`` gets it as the result. Raises what `send` raises.
    """
    if isinstance(to, tuple):
        process, tag = to
        send(process, (tag, message))
    else:
        send(to, message)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name == "async_call":  # imports asyncio, which is slow
        try:
            from erlang._calls import async_call
        except ImportError:  # outside of the port program
            from erlang._outside import async_call

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
        return _is_known(name)
    except (NameError, RuntimeError):  # while the package is being loaded
        return False
