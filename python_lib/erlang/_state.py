"""Values that Erlang and Python share, by key, node-wide: see docs/state.md."""

from __future__ import annotations

import operator

try:
    from _erlang import system_call as _ask
except ImportError:  # outside of the port program
    from erlang._outside import system_call as _ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
else:  # `typing` is slow to import, and every context imports this module; for `typing.get_type_hints`
    Any = object


def state_get(key: Any, default: Any = None) -> Any:
    """The value stored under ``key``, or ``default`` when there is none.

    Keys are compared in Erlang: a ``str`` and the Erlang binary with the same text are one key, ``Atom("x")`` is the
    atom ``x`` and another key than ``"x"``, ``1`` and ``1.0`` are two.
    """
    found = _ask("state_get", key)
    return found[1] if found else default


def state_set(key: Any, value: Any) -> None:
    """Stores ``value`` under ``key``, in place of what was there.

    Raises ErlangError with the reason ``("state_full", n)`` when the key would be one more than the ``n`` of the
    environment key ``max_state_entries``, and with ``("state_full", ("bytes", n))`` when what Python has stored would
    take more than the ``n`` bytes of ``max_state_bytes``.
    """
    _ask("state_set", key, value)


def state_delete(key: Any) -> None:
    """Removes ``key``. One that is not there is no error."""
    _ask("state_delete", key)


def state_keys() -> list[Any]:
    """All keys, in no particular order.

    One that Python cannot hold, like a map with a list as a key, is a :class:`Term`, which the other functions take.
    """
    keys: list[Any] = _ask("state_keys")
    return keys


def state_clear() -> None:
    """Removes every key."""
    _ask("state_clear")


def state_incr(key: Any, by: int = 1) -> int:
    """Adds ``by`` to the integer under ``key``, 0 when there is none, and returns the sum; nobody comes in between.

    Raises TypeError when ``by`` is no integer, ErlangError with the reason ``"badarg"`` when the stored value is none,
    and with ``("state_full", n)`` as :func:`state_set` does.
    """
    total: int = _ask("state_incr", key, int(operator.index(by)))
    return total


def state_decr(key: Any, by: int = 1) -> int:
    """Subtracts, as :func:`state_incr` adds."""
    total: int = _ask("state_decr", key, -int(operator.index(by)))
    return total
