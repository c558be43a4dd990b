"""The module ``__main__`` as code in a context sees it.

Code that runs in a namespace of a context has ``__name__ == "__main__"``, but every context, and every Erlang process
in it, has a namespace of its own, while ``sys.modules`` has one ``__main__``. ``pickle``, ``dataclasses`` and
``typing`` look names up there: they find the namespace of the request that their thread runs.
"""

from __future__ import annotations

import sys
import types
from typing import Any

import _erlang


class Main(types.ModuleType):
    """Shows the namespace of the running request; outside of requests, its own."""

    def __getattribute__(self, name: str) -> Any:
        namespace = _erlang.namespace()
        if namespace is None:
            return super().__getattribute__(name)
        if name == "__dict__":
            return namespace
        try:
            return namespace[name]
        except KeyError:
            return super().__getattribute__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        namespace = _erlang.namespace()
        if namespace is None:
            super().__setattr__(name, value)
        else:
            namespace[name] = value

    def __delattr__(self, name: str) -> None:
        namespace = _erlang.namespace()
        if namespace is None or name not in namespace:
            super().__delattr__(name)
        else:
            del namespace[name]

    def __dir__(self) -> list[str]:
        namespace = _erlang.namespace()
        return sorted(super().__dir__() if namespace is None else namespace)


def install() -> None:
    """Put a :class:`Main` in the place of ``sys.modules["__main__"]``. Idempotent."""
    present = sys.modules.get("__main__")
    if isinstance(present, Main):
        return
    main = Main("__main__", getattr(present, "__doc__", None))
    main.__spec__ = None  # multiprocessing asks for it
    sys.modules["__main__"] = main
