"""What a fresh interpreter needs before its first request. Called by the port program."""

from __future__ import annotations

import gc
import importlib
import io
import linecache
import os
import site
import sys
import threading
from collections.abc import Iterable

import _erlang

import erlang
import erlang._encoding


class _LoggedOutput(io.RawIOBase):
    """The raw file behind ``sys.stdout`` and ``sys.stderr``: lines go to the Erlang logger with their context.

    ``fileno()`` is the real descriptor (1 or 2), which the port program captures too, so that ``subprocess`` and C
    code that are given it work.
    """

    name: str
    mode = "wb"

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd

    def write(self, data: bytes) -> int:  # type: ignore[override]
        _erlang.write(self._fd, data)
        return len(data)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return False


def _logged(fd: int, name: str) -> io.TextIOWrapper:
    raw = _LoggedOutput(fd)
    raw.name = name
    # Unbuffered, as under `python -u`: the port program joins the parts of a line.
    return io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)


def redirect_output() -> None:
    """Put the logged streams in place of the standard ones. Idempotent."""
    if isinstance(getattr(sys.stdout, "buffer", None), _LoggedOutput):
        return
    sys.stdout = sys.__stdout__ = _logged(1, "<stdout>")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _logged(2, "<stderr>")  # type: ignore[misc]


def prepare(paths: Iterable[str], imports: Iterable[str]) -> None:
    """Put ``paths`` in front of ``sys.path`` in their order, honour their ``.pth`` files, import ``imports``.

    Raises what an import raises. Idempotent, since all worker contexts of a pool share an interpreter.
    """
    for path in reversed(list(paths)):
        if path in sys.path:
            sys.path.remove(path)
        before = len(sys.path)
        site.addsitedir(path)
        added = [entry for entry in sys.path[before:] if entry != path]
        del sys.path[before:]
        sys.path[0:0] = [path, *added]
    for name in imports:
        importlib.import_module(name)


def _is_kept(name: str, module: object) -> bool:
    """The package itself, the standard library and extension modules stay: importing them twice costs memory that no
    interpreter below 3.14 gives back, and their code cannot have changed."""
    if name in _initial_modules or name == "erlang" or name.startswith("erlang."):
        return True
    spec = getattr(module, "__spec__", None)
    origin = getattr(spec, "origin", None)
    if origin in ("built-in", "frozen"):
        return True
    if not isinstance(origin, str):
        return False
    in_library = origin.startswith(_library + os.sep) and "site-packages" not in origin
    return in_library or origin.endswith(".so")


def clean() -> bool:
    """Forget what a context left in its interpreter, so that the next context finds it as new.

    Returns False when the interpreter cannot be reused because threads are still running in it.
    """
    # The main thread of the process, which counts as one of every interpreter, runs no Python.
    ours = (threading.main_thread(), threading.current_thread())
    if any(thread not in ours for thread in threading.enumerate()):
        return False
    for name in [name for name, module in sys.modules.items() if not _is_kept(name, module)]:
        del sys.modules[name]
    erlang._encoding.encoders.clear()
    sys.path[:] = _initial_path
    sys.path_importer_cache.clear()
    linecache.clearcache()
    redirect_output()
    gc.collect()
    return True


redirect_output()
# Worker contexts share a GIL: a computation in one of them may keep the others waiting for this long, not for 5 ms.
sys.setswitchinterval(0.001)
_library = os.path.dirname(os.__file__)
_initial_path = list(sys.path)
_initial_modules = frozenset(sys.modules)
