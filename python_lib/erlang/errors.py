"""The errors of the package. All of them are subclasses of Error."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` is slow to import, and every context imports this module
    from typing import Any

_FIELDS = 5  # what an ErlangError of Erlang is made of


class Error(Exception):
    """Base of everything that the package raises on its own account."""


class ConversionError(Error):
    """A value that has no counterpart on the other side.

    ``reason`` says why, as Erlang gets it in ``{error, {not_encodable, Reason}}``:

    - ``"depth"``: nested deeper than 1 000 levels, or an encoder that never arrives at a value;
    - ``("map_key", repr)``: the key of an Erlang map that Python cannot hash;
    - ``("duplicate_key", repr)``: two keys of a map that are one key on the other side;
    - ``("type", name)``: an object of a class without a counterpart, when ``strict`` was asked for.
    """

    def __init__(self, reason: str | tuple[str, str]) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        reason = self.reason
        if reason == "depth":
            return "the value is nested deeper than 1000 levels"
        if isinstance(reason, tuple) and len(reason) == 2:
            what, text = reason
            if what == "map_key":
                return f"Python cannot hash {text}, the key of an Erlang map"
            if what == "duplicate_key":
                return f"the map has another key that is the same as {text} on the other side"
            if what == "type":
                return f"no Erlang term for objects of {text} (option strict; see erlang.register_encoder)"
        return str(reason)


class ErlangError(RuntimeError, Error):
    """What an Erlang function that was called from Python raised.

    Attributes: ``function``, the name it was called by; ``error_class``, one of ``"error"``, ``"exit"`` and ``"throw"``
    (also reachable as ``class``, through ``getattr``); ``reason``, the Erlang term as a Python value, None when Python
    cannot hold it; ``text``, class and reason as Erlang prints them; ``stack``, Erlang's stack as text, a line per
    function, innermost first.

    Made from these five by the package. Code that raises one itself gives a message, as to any exception: then that is
    ``text`` and ``reason``, ``function`` is None, ``error_class`` ``"error"``, and ``stack`` is empty.
    """

    function: str | None
    error_class: str
    reason: Any
    text: str
    stack: str

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        if len(args) == _FIELDS:
            self.function, self.error_class, self.reason, self.text, self.stack = args
        else:
            self.function, self.error_class, self.stack = None, "error", ""
            self.text = super().__str__()
            self.reason = args[0] if len(args) == 1 else self.text
        vars(self)["class"] = self.error_class

    def __str__(self) -> str:
        return self.text if self.function is None else f"{self.function}: {self.text}"


class UnknownFunction(ErlangError, AttributeError):
    """No Erlang function is registered by this name (``py:register_function``)."""

    def __init__(self, function: str | None) -> None:
        text = "no Erlang function is registered by that name (py:register_function/2)"
        super().__init__(function, "error", "undef", text, "")
        self.args = (function,)


class ProcessError(Error):
    """There is no such Erlang process."""
