"""Erlang functions as Python callables."""

from __future__ import annotations

import erlang

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Function:
    """An Erlang function as a Python callable; ``erlang.name`` is one for each registered name."""

    __slots__ = ("__name__",)

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, *args: object, **kwargs: object) -> Any:
        if kwargs:
            raise TypeError(f"the Erlang function {self.__name__} takes no keyword arguments, only positional ones")
        return erlang.call(self.__name__, *args)

    def __eq__(self, other: object) -> bool:
        if type(other) is not Function:
            return NotImplemented
        return self.__name__ == other.__name__

    def __hash__(self) -> int:
        return hash((Function, self.__name__))

    def __repr__(self) -> str:
        return f"<Erlang function {self.__name__}>"

    def __reduce__(self) -> tuple[type[Function], tuple[str]]:
        return Function, (self.__name__,)
