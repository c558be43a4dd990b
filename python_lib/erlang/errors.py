"""The errors of the package. All of them are subclasses of Error."""

from __future__ import annotations


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
