"""What stands for the port program where there is none: outside of it, and in tools that read this package."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from erlang.types import Pid


def _refuse() -> NoReturn:
    raise RuntimeError("Erlang can be reached only from Python that erlang_python runs")


def call(name: str, *args: object) -> Any:
    _refuse()


def system_call(name: str, *args: object) -> Any:
    _refuse()


def send(destination: Pid | str | tuple[str, str], message: object) -> None:
    _refuse()


def self() -> Pid | None:
    _refuse()
