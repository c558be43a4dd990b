"""What stands for the port program where there is none: outside of it, and in tools that read this package.

Everything is refused, but in a unit test that has put a node of its own there (`erlang.testing`).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from erlang.types import Pid

    class Node(Protocol):
        """What answers for Erlang."""

        def call(self, name: str, *args: object) -> Any: ...
        async def async_call(self, name: str, *args: object) -> Any: ...
        def system_call(self, name: str, *args: object) -> Any: ...
        def send(self, destination: Pid | str | tuple[str, str], message: object) -> None: ...
        def self(self) -> Pid | None: ...
        def is_registered(self, name: str) -> bool: ...


node: Node | None = None


def _reach() -> Node:
    if node is None:
        raise RuntimeError("Erlang can be reached only from Python that erlang_python runs (in tests: erlang.testing)")
    return node


def call(name: str, *args: object) -> Any:
    """Call the Erlang function that is registered as ``name`` and wait for its value.

    Raises ErlangError with what the function raised, UnknownFunction (an AttributeError) when nothing is registered by
    that name, and what converting an argument or the value raises. Any thread may call.
    """
    return _reach().call(name, *args)


async def async_call(name: str, *args: object, **kwargs: object) -> Any:
    """As `erlang.async_call`."""
    if kwargs:
        raise TypeError(f"the Erlang function {name} takes no keyword arguments, only positional ones")
    return await _reach().async_call(name, *args)


def system_call(name: str, *args: object) -> Any:
    """For the package: what Erlang does for its function of this name."""
    return _reach().system_call(name, *args)


def send(destination: Pid | str | tuple[str, str], message: object) -> None:
    """Send a message to an Erlang process: a Pid, the name of a registered process, or a pair of name and node.

    Does not wait for it to arrive; the messages of a thread arrive in order. Raises ProcessError when there is no such
    process on this node, PermissionError when it may not be sent to (pool option send), TypeError for what is no
    destination.
    """
    _reach().send(destination, message)


def self() -> Pid | None:
    """The Erlang process that waits for the running request; None in a thread whose request has ended."""
    return _reach().self()


def is_registered(name: str) -> bool:
    """Whether Erlang has registered a function of this name."""
    return node is not None and node.is_registered(name)
