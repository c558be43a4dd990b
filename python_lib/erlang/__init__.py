"""Erlang from Python: the types that stand for Erlang's own, their errors, and encoders for classes of your own.

Importable inside the port program and outside of it, for instance in the unit tests of code that uses it.
"""

from __future__ import annotations

from erlang._encoding import register_encoder
from erlang._state import state_clear, state_decr, state_delete, state_get, state_incr, state_keys, state_set
from erlang.errors import ConversionError, Error
from erlang.types import Atom, Pid, Ref, Term

__all__ = [
    "Atom",
    "ConversionError",
    "Error",
    "Pid",
    "Ref",
    "Term",
    "atom",
    "register_encoder",
    "state_clear",
    "state_decr",
    "state_delete",
    "state_get",
    "state_incr",
    "state_keys",
    "state_set",
]


def atom(name: str) -> Atom:
    """The atom called ``name``; the same as ``Atom(name)``."""
    return Atom(name)
