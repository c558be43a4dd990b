"""The source text of code that came from Erlang, for tracebacks and ``inspect``."""

from __future__ import annotations

import collections
import itertools
import linecache

# Texts that are kept, and the longest one: code of programs, not data that somebody sends as code.
_MAX_TEXTS = 256
_MAX_CHARACTERS = 100_000

_numbers = itertools.count(1)
_kept: collections.deque[str] = collections.deque()


def remember(text: str) -> str:
    """Keep ``text`` in :mod:`linecache` and return the file name to compile it under, such as ``<exec-7>``."""
    if len(text) > _MAX_CHARACTERS:
        return "<exec>"
    name = f"<exec-{next(_numbers)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    _kept.append(name)
    if len(_kept) > _MAX_TEXTS:
        linecache.cache.pop(_kept.popleft(), None)
    return name
