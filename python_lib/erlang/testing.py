"""Unit tests of code that uses ``erlang``, without a node.

A `Node` stands for Erlang as long as it is entered. Functions that Erlang would have registered are Python functions::

    from erlang import testing

    with testing.Node(price={"tea": 3}.__getitem__) as node:
        import shop  # which says: from erlang import price

        assert shop.total(["tea", "tea"]) == 6
        assert node.sent == [(node.caller, ("sold", 2))]

A module keeps what it has imported: ``price`` may be another function in the next test, but a node has to be entered
when it is called.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from erlang import _outside
from erlang.errors import ErlangError, ProcessError, UnknownFunction
from erlang.types import Pid

__all__ = ["Node", "pid"]

_NODE = b"\x77\x0dnonode@nohost"  # an atom of 13 characters in the external term format
_BADARG = ("error", "badarg", "error:badarg", "")


def pid(number: int = 1) -> Pid:
    """A pid, the same for the same number. Such a process does not exist."""
    return Pid(b"\x58" + _NODE + number.to_bytes(4, "big") + bytes(8))


class Node:
    """Stands for Erlang while it is entered: ``with Node(price=lambda item: 3) as node``.

    The functions are called with what the code under test passes, unchanged. What they raise goes to that code: raise
    `erlang.ErlangError` for what an Erlang function would raise. For ``await erlang.async_call(...)`` they may be
    ``async``.
    """

    caller: Pid | None
    """What ``erlang.self()`` gives; ``pid()`` at first."""
    sent: list[tuple[Pid | str | tuple[str, str], object]]
    """What was sent: destinations and messages, in their order."""
    names: dict[str, Pid]
    """Registered processes, for ``erlang.whereis`` and ``erlang.send``; none at first."""
    state: dict[Any, Any]
    """The shared state, for ``erlang.state_get`` and the others."""
    functions: dict[str, Callable[..., Any]]
    """The registered functions; may be changed at any time."""

    def __init__(self, **functions: Callable[..., Any]) -> None:
        self.caller = pid()
        self.sent = []
        self.names = {}
        self.state = {}
        self.functions = functions

    def __enter__(self) -> Self:
        if _in_port_program():
            raise RuntimeError("erlang.testing is for tests without a node, and this Python is in one")
        if _outside.node is not None:
            raise RuntimeError("another erlang.testing.Node is entered already")
        _outside.node = self
        return self

    def __exit__(
        self, cls: type[BaseException] | None, exception: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _outside.node = None

    def call(self, name: str, *args: object) -> Any:
        """For ``erlang.call`` and ``erlang.name``."""
        function = self.functions.get(name)
        if function is None:
            raise UnknownFunction(name)
        value = function(*args)
        if inspect.iscoroutine(value):
            value.close()
            raise TypeError(f"{name} is async here: it can be called with erlang.async_call only")
        return value

    async def async_call(self, name: str, *args: object) -> Any:
        """For ``erlang.async_call``."""
        function = self.functions.get(name)
        if function is None:
            raise UnknownFunction(name)
        value = function(*args)
        return await value if inspect.isawaitable(value) else value

    def send(self, destination: Pid | str | tuple[str, str], message: object) -> None:
        """For ``erlang.send``. ProcessError for a name that is not in `names`."""
        if isinstance(destination, str):
            if destination not in self.names:
                raise ProcessError(f"no process is registered as {destination}")
        elif not isinstance(destination, Pid | tuple):
            raise TypeError(f"messages go to a Pid, a str or a tuple, not to {type(destination).__name__}")
        self.sent.append((destination, message))

    def self(self) -> Pid | None:
        """For ``erlang.self``."""
        return self.caller

    def is_registered(self, name: str) -> bool:
        """Whether ``from erlang import name`` finds something."""
        return name in self.functions

    def system_call(self, name: str, *args: Any) -> Any:
        """For the other functions of the package."""
        answer: Any = getattr(self, f"_{name}")(*args)
        return answer

    def _atom(self, name: str) -> bool:
        return True

    def _whereis(self, name: str) -> Pid | None:
        return self.names.get(name)

    def _state_get(self, key: Any) -> Any:
        return (True, self.state[key]) if key in self.state else False

    def _state_set(self, key: Any, value: Any) -> None:
        self.state[key] = value

    def _state_delete(self, key: Any) -> None:
        self.state.pop(key, None)

    def _state_keys(self) -> list[Any]:
        return list(self.state)

    def _state_clear(self) -> None:
        self.state.clear()

    def _state_incr(self, key: Any, by: int) -> int:
        before = self.state.get(key, 0)
        if type(before) is not int:
            raise ErlangError("state_incr", *_BADARG)
        self.state[key] = before + by
        return before + by

    _state_decr = _state_incr


def _in_port_program() -> bool:
    try:
        import _erlang  # noqa: F401
    except ImportError:
        return False
    return True
