"""Python classes for Erlang terms that no Python type stands for. All of them are immutable, hashable and picklable."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn, Self, final
else:  # `typing` is slow to import, and every context imports this module

    def final(cls: type) -> type:
        return cls


_MAX_ATOM_LENGTH = 255

_NEW_PID, _PID = 88, 103
_NEWER_REFERENCE, _NEW_REFERENCE = 90, 114
_SMALL_ATOMS = {115: "latin-1", 119: "utf-8"}
_LARGE_ATOMS = {100: "latin-1", 118: "utf-8"}

_LISTED_AS = {77: "bitstring", 89: "port", 102: "port", 120: "port", 108: "improper list", 112: "fun", 113: "fun"}


class Atom(str):
    """An Erlang atom, for code that must give Erlang an atom and not a binary. Otherwise an ordinary ``str``.

    TypeError for what is no ``str``, ValueError for more than 255 characters. Erlang has room for a bounded number of
    atoms that it did not know before; do not make atoms of input.
    """

    __slots__ = ()

    def __new__(cls, name: str) -> Self:
        if not isinstance(name, str):
            raise TypeError(f"an atom is made of a str, not of {type(name).__name__}")
        if len(name) > _MAX_ATOM_LENGTH:
            raise ValueError(f"an atom has at most {_MAX_ATOM_LENGTH} characters, this name has {len(name)}")
        return str.__new__(cls, name)

    def __repr__(self) -> str:
        return f"Atom({str.__repr__(self)})"


class _Encoded:
    """A term that Python keeps in Erlang's external term format, without the version byte, in ``etf``."""

    __slots__ = ("etf",)

    etf: bytes

    def __new__(cls, etf: bytes) -> Self:
        if type(etf) is not bytes:
            raise TypeError(f"{cls.__name__} is made of bytes in the external term format, not of {type(etf).__name__}")
        self = object.__new__(cls)
        _set_etf(self, etf)
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} objects cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} objects cannot be changed")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.etf == other.etf

    def __hash__(self) -> int:
        return hash(self.etf)

    def __reduce__(self) -> tuple[type[_Encoded], tuple[bytes]]:
        return type(self), (self.etf,)


# The descriptor of the slot writes past __setattr__.
_set_etf = vars(_Encoded)["etf"].__set__


def _read_node(etf: bytes, at: int) -> tuple[str, int]:
    """The node's name, an atom, at position ``at``, and the position behind it."""
    tag = etf[at]
    if tag in _SMALL_ATOMS:
        start = at + 2
        end = start + etf[at + 1]
        encoding = _SMALL_ATOMS[tag]
    else:
        start = at + 3
        end = start + int.from_bytes(etf[at + 1 : start], "big")
        encoding = _LARGE_ATOMS[tag]
    return etf[start:end].decode(encoding), end


def _shown_node(node: str) -> str:
    """A node that is not distributed shows as 0, as in Erlang; others by name, since the numbers that Erlang gives
    them differ from node to node."""
    return "0" if node == "nonode@nohost" else node


class _Identifier(_Encoded):
    """What pids and references have in common: a node, numbers, and Erlang's order."""

    __slots__ = ()

    def _fields(self) -> tuple[str, int, tuple[int, ...]]:
        """Node, creation of the node, numbers as they are shown. ValueError for bytes of something else."""
        raise NotImplementedError

    def _order(self) -> tuple[Any, ...]:
        """Sorts as Erlang sorts (erts, `erts_cmp_compound`)."""
        raise NotImplementedError

    @property
    def node(self) -> Atom:
        """The node that the process or reference belongs to."""
        return Atom(self._fields()[0])

    def __lt__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._order() < other._order()

    def __le__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._order() <= other._order()

    def __gt__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._order() > other._order()

    def __ge__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._order() >= other._order()

    def __repr__(self) -> str:
        name = type(self).__name__
        try:
            node, _, numbers = self._fields()
        except ValueError:
            return f"{name}<malformed>"
        return f"{name}<{'.'.join([_shown_node(node), *map(str, numbers)])}>"


@final
class Pid(_Identifier):
    """The pid of an Erlang process, of this node or another. Ordered as Erlang orders pids."""

    __slots__ = ()

    def _fields(self) -> tuple[str, int, tuple[int, ...]]:
        etf = self.etf
        try:
            width = {_NEW_PID: 4, _PID: 1}[etf[0]]
            node, at = _read_node(etf, 1)
        except (LookupError, UnicodeDecodeError):
            raise ValueError("these bytes are not a pid") from None
        if len(etf) != at + 8 + width:
            raise ValueError("these bytes are not a pid")
        number = int.from_bytes(etf[at : at + 4], "big")
        serial = int.from_bytes(etf[at + 4 : at + 8], "big")
        return node, int.from_bytes(etf[at + 8 :], "big"), (number, serial)

    def _order(self) -> tuple[Any, ...]:
        node, creation, (number, serial) = self._fields()
        return serial, number, node, creation


@final
class Ref(_Identifier):
    """An Erlang reference. Ordered as Erlang orders references."""

    __slots__ = ()

    def _fields(self) -> tuple[str, int, tuple[int, ...]]:
        etf = self.etf
        try:
            width = {_NEWER_REFERENCE: 4, _NEW_REFERENCE: 1}[etf[0]]
            count = int.from_bytes(etf[1:3], "big")
            node, at = _read_node(etf, 3)
        except (LookupError, UnicodeDecodeError):
            raise ValueError("these bytes are not a reference") from None
        if len(etf) != at + width + 4 * count:
            raise ValueError("these bytes are not a reference")
        creation = int.from_bytes(etf[at : at + width], "big")
        at += width
        words = [int.from_bytes(etf[i : i + 4], "big") for i in range(at, len(etf), 4)]
        return node, creation, tuple(reversed(words))

    def _order(self) -> tuple[Any, ...]:
        node, creation, words = self._fields()
        return node, creation, len(words), words


@final
class Term(_Encoded):
    """A term that Python has no use for (improper list, fun, port, bitstring), kept so that it can be given back.

    Terms are equal when their bytes are.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        kind = _LISTED_AS.get(self.etf[0], "term") if self.etf else "malformed"
        return f"Term<{kind}, {len(self.etf)} bytes>"
