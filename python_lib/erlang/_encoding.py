"""The slow half of Python to Erlang: objects that the port program does not know by itself.

Libraries are never imported here: an object of a class that comes from one can exist only once it is in
``sys.modules``.
"""

from __future__ import annotations

import sys
from weakref import WeakKeyDictionary

from erlang.errors import ConversionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Converter = Callable[[Any], object]

encoders: dict[type, Callable[[Any], object]] = {}
"""What register_encoder has been told. The port program reads it, and looks classes up along their ``__mro__``."""

_BUILTINS = frozenset({bool, bytes, dict, float, int, list, str, tuple, type(None)})


def register_encoder[T](cls: type[T], fn: Callable[[T], object]) -> None:
    """Let ``fn`` say what stands for objects of ``cls``, and of its subclasses without an encoder of their own.

    ``fn`` is called with the object and returns any value that can be converted; what it raises is what the call
    raises. The last registration of a class counts. It holds for the interpreter that it is made in: a context of mode
    ``owngil`` has an interpreter of its own, so register in the ``preload`` code of the pool, or in the module that
    defines the class.

    Raises TypeError when ``cls`` is no class, or a built-in one with a term of its own, or ``fn`` cannot be called.
    """
    if not isinstance(cls, type):
        raise TypeError(f"register_encoder() takes a class, not {cls!r}")
    if cls in _BUILTINS:
        raise TypeError(f"{cls.__name__} has an Erlang term of its own; register an encoder for a subclass")
    if not callable(fn):
        raise TypeError(f"the encoder of {cls.__qualname__} is not callable: {fn!r}")
    encoders[cls] = fn


def fallback(value: object, strict: bool, buffer: bool) -> object:
    """A value that stands for ``value`` and is nearer to a term; NotImplemented for a subclass of a built-in class
    that is best treated as that class.

    ``buffer``: raw bytes for what has a buffer of one dimension or more. ``strict``: ConversionError instead of
    ``str(value)``. Called by the port program for objects that neither it nor an encoder knows.
    """
    cls = type(value)
    if buffer:
        raw = _raw_bytes(value)
        if raw is not None:
            return raw
    try:
        converter = _converters[cls]
    except KeyError:
        converter = _converters[cls] = _find_converter(cls)
    if converter is not None:
        result = converter(value)
        # numpy's longdouble gives itself back.
        if type(result) is not cls:
            return result
    if strict:
        raise ConversionError(("type", _type_name(cls)))
    return str(value)


# Weak: a class defined in a namespace must not outlive it because an object of it was once returned.
_converters: WeakKeyDictionary[type, Converter | None] = WeakKeyDictionary()


def refuse(cls: type, why: str) -> None:
    """Let a value that holds an object of exactly this class be a TypeError."""

    def refused(_value: object) -> object:
        raise TypeError(why)

    _converters[cls] = refused


def _find_converter(cls: type) -> Converter | None:
    """How objects of ``cls`` are converted; None: as text."""
    if _is_subclass(cls, "enum", "Enum"):
        return _enum_value
    if issubclass(cls, (bytes, dict, float, int, list, str, tuple)):
        return _as_builtin
    if hasattr(cls, "__dataclass_fields__"):
        return _dataclass_converter(cls)
    if _is_subclass(cls, "datetime", "date", "time"):
        return _iso_format
    if _is_subclass(cls, "datetime", "timedelta"):
        return _seconds
    if (
        issubclass(cls, complex)
        or _is_subclass(cls, "decimal", "Decimal")
        or _is_subclass(cls, "uuid", "UUID")
        or _is_subclass(cls, "pathlib", "PurePath")
    ):
        return str
    if callable(getattr(cls, "tolist", None)):
        return _to_list
    return None


def _is_subclass(cls: type, module: str, *names: str) -> bool:
    loaded = sys.modules.get(module)
    bases = [getattr(loaded, name, None) for name in names]
    return any(isinstance(base, type) and issubclass(cls, base) for base in bases)


def _enum_value(value: Any) -> object:
    return value.value


def _as_builtin(value: object) -> object:
    return NotImplemented


def _dataclass_converter(cls: Any) -> Converter:
    names = [field.name for field in sys.modules["dataclasses"].fields(cls)]

    def as_dict(value: object) -> dict[str, object]:
        return {name: getattr(value, name) for name in names}

    return as_dict


def _iso_format(value: Any) -> object:
    return value.isoformat()


def _seconds(value: Any) -> object:
    return value.total_seconds()


def _to_list(value: Any) -> object:
    return value.tolist()


def _raw_bytes(value: Any) -> bytes | None:
    try:
        view = memoryview(value)
    except (TypeError, ValueError, BufferError):
        return None
    with view:
        # A scalar of numpy has a buffer too, but is a number.
        return view.tobytes() if view.ndim > 0 else None


def _type_name(cls: type) -> str:
    if cls.__module__ == "builtins":
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"
