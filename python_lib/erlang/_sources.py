"""The source text of code that came from Erlang, for tracebacks and ``inspect``.

A text stays in :mod:`linecache` as long as something lives that was compiled from it: a function, a generator, a class.
Of a class that is found by its methods, or, when it has none, because it was in the namespace when the code had run.
"""

from __future__ import annotations

import itertools
import linecache
import sys
import types
import weakref
from collections.abc import Iterator
from typing import Any

# The longest text that is kept: code of programs, not data that somebody sends as code.
_MAX_CHARACTERS = 1_000_000
_CO_OPTIMIZED = 1  # inspect.CO_OPTIMIZED: of functions, not of bodies of classes

_numbers = itertools.count(1)


class _Text:
    """Keeps the lines of a file in linecache until all that it holds on to is gone."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._alive: dict[int, weakref.ref[Any]] = {}  # by identity: code objects are equal when they look alike
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)

    def hold(self, thing: Any) -> None:
        ref = weakref.ref(thing, self._gone)
        self._alive[id(ref)] = ref

    def _gone(self, ref: weakref.ref[Any]) -> None:
        self._alive.pop(id(ref), None)
        if not self._alive:
            linecache.cache.pop(self._file, None)
            _texts.pop(self._file, None)


_texts: dict[str, _Text] = {}
_classes: dict[int, tuple[weakref.ref[type], str]] = {}


def new_file(kind: str) -> str:
    """A file name to compile code under, such as ``<exec-7>``."""
    return f"<{kind}-{next(_numbers)}>"


def _all_code(code: types.CodeType) -> Iterator[types.CodeType]:
    # Without recursion: it may be nested as deep as the limit allows.
    found = [code]
    while found:
        part = found.pop()
        yield part
        found += reversed([constant for constant in part.co_consts if isinstance(constant, types.CodeType)])


def _is_class_body(code: types.CodeType) -> bool:
    return not code.co_flags & _CO_OPTIMIZED


def remember(code: types.CodeType, text: str) -> bool:
    """Keep what ``code`` was compiled from. True: it defines classes, so call :func:`adopt` when it has run."""
    if len(text) > _MAX_CHARACTERS:
        return False
    kept = _texts[code.co_filename] = _Text(code.co_filename, text)
    classes = False
    for part in _all_code(code):
        kept.hold(part)
        classes = classes or (part is not code and _is_class_body(part))
    return classes


def adopt(code: types.CodeType, namespace: dict[str, Any]) -> None:
    """Keep the text for the classes that ``code`` has put into ``namespace`` too."""
    for part in _all_code(code):
        if part is not code and _is_class_body(part):
            cls = namespace.get(part.co_name)
            if _is_made_by(part, cls):
                _adopt(cls, code.co_filename)


def _is_made_by(body: types.CodeType, cls: Any) -> bool:
    # Another class may have the name, when the code has failed before, or has put it there from elsewhere.
    if getattr(cls, "__qualname__", None) != body.co_qualname:
        return False
    return sys.version_info < (3, 13) or bool(vars(cls).get("__firstlineno__") == body.co_firstlineno)


def _adopt(cls: Any, file: str) -> None:
    if not isinstance(cls, type) or cls.__module__ != "__main__" or id(cls) in _classes:
        return
    key = id(cls)
    _classes[key] = (weakref.ref(cls, lambda _: _classes.pop(key, None)), file)
    _texts[file].hold(cls)
    for inner in vars(cls).values():
        if isinstance(inner, type) and inner.__qualname__ == f"{cls.__qualname__}.{inner.__name__}":
            _adopt(inner, file)


def file_of(cls: type) -> str | None:
    """The name of the text that a class was compiled from, if it came from Erlang."""
    known = _classes.get(id(cls))
    if known is not None:
        return known[1]
    for value in vars(cls).values():
        code = getattr(getattr(value, "__func__", value), "__code__", None)
        if isinstance(code, types.CodeType) and code.co_filename in _texts:
            return code.co_filename if code.co_qualname == f"{cls.__qualname__}.{code.co_name}" else None
    return None
