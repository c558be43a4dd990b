"""What a fresh interpreter needs before its first request, and how a used one is made fresh. For the port program."""

from __future__ import annotations

import builtins
import gc
import importlib
import io
import linecache
import os
import site
import sys
import threading
import warnings
from collections.abc import Iterable
from typing import Any

import _erlang

import erlang
import erlang._encoding
import erlang._imports
import erlang._main
import erlang._threads


class _LoggedOutput(io.RawIOBase):
    """The file behind ``sys.stdout`` and ``sys.stderr``: lines go to the Erlang logger with their context.

    ``fileno()`` is the real descriptor (1 or 2), which the port program captures too, so that ``subprocess`` and C
    code that are given it work.
    """

    name: str
    mode = "wb"

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd

    @property
    def raw(self) -> _LoggedOutput:
        """Itself: what code that expects a buffered file looks for."""
        return self

    def write(self, data: Any) -> int:
        with memoryview(data) as view:
            _erlang.write(self._fd, view)
            return view.nbytes

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing: see ``_Standard``."""


class _Standard(io.TextIOWrapper):
    """A standard stream, which no request can close for the others; nor what it has wrapped around its buffer."""

    def close(self) -> None:
        if self.writable():
            self.flush()

    def detach(self) -> Any:
        self.close()
        return self.buffer


class _Input(io.BufferedReader):
    """What is behind ``sys.stdin``, which is empty: the input of the process belongs to Erlang."""

    def close(self) -> None:
        """Nothing: see ``_Standard``."""

    def detach(self) -> Any:
        return self.raw


class _InputFile(io.FileIO):
    def close(self) -> None:
        """Nothing: see ``_Standard``."""


def _logged(fd: int, name: str) -> _Standard:
    raw = _LoggedOutput(fd)
    raw.name = name
    # Unbuffered, as under `python -u`: the port program joins the parts of a line.
    return _Standard(raw, encoding="utf-8", errors="backslashreplace", write_through=True)


def standard_streams() -> None:
    """Put streams of ours in place of the standard ones, where something else is. Idempotent."""
    if not isinstance(sys.stdin, _Standard):
        raw = _InputFile(0, closefd=False)
        sys.stdin = sys.__stdin__ = _Standard(_Input(raw), encoding="utf-8", errors="surrogateescape")  # type: ignore[misc]
    if not isinstance(sys.stdout, _Standard):
        sys.stdout = sys.__stdout__ = _logged(1, "<stdout>")  # type: ignore[misc]
    if not isinstance(sys.stderr, _Standard):
        sys.stderr = sys.__stderr__ = _logged(2, "<stderr>")  # type: ignore[misc]


def _breakpoint(*args: Any, **kwargs: Any) -> Any:
    """In the place of ``sys.breakpointhook``, whose pdb would read the end of its input and leave with ``BdbQuit``."""
    if os.environ.get("PYTHONBREAKPOINT"):
        return sys.__breakpointhook__(*args, **kwargs)
    raise RuntimeError(
        "breakpoint() starts pdb, and there is no terminal here that it could ask. The environment variable "
        "PYTHONBREAKPOINT (pool option env) names another debugger, such as debugpy.breakpoint; with 0 nothing happens"
    )


def prepare(paths: Iterable[str], imports: Iterable[str]) -> list[str]:
    """Put ``paths`` in front of ``sys.path`` in their order, honour their ``.pth`` files, import ``imports``.

    Returns the directories that Python and its modules are in. Raises what an import raises. Idempotent, since all
    worker contexts of a pool share an interpreter.
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
    own = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
    # With the prefix /usr or / Python is where its library is, and not everywhere below.
    return [*sys.path, _library, *(prefix for prefix in own if prefix not in ("/", "/usr", "/usr/local"))]


def is_kept(name: str, module: object) -> bool:
    """The package itself, the standard library and extension modules stay: importing them again costs a megabyte or so
    that no interpreter below 3.14 gives back. So a patch of the standard library stays too (docs/scalability.md)."""
    if name in _initial_modules or name == "erlang" or name.startswith("erlang."):
        return True
    origin = getattr(getattr(module, "__spec__", None), "origin", None)
    if origin in ("built-in", "frozen"):
        return True
    if not isinstance(origin, str):
        return False
    in_library = origin.startswith(_library + os.sep) and "site-packages" not in origin
    return in_library or origin.endswith(".so")


def _reset_library() -> None:
    """What programs usually set in standard modules that stay."""
    decimal = sys.modules.get("_decimal")
    if decimal is not None:
        decimal.setcontext(decimal.Context(prec=28, rounding=decimal.ROUND_HALF_EVEN))
    logging = sys.modules.get("logging")
    if logging is not None:
        logging.root.handlers.clear()
        logging.root.setLevel(logging.WARNING)
        logging.disable(logging.NOTSET)
    events = sys.modules.get("asyncio.events")
    if events is not None:
        events._event_loop_policy = None  # type: ignore[attr-defined]  # without the warning of the public setter


def _restore(mapping: dict[Any, Any], initial: dict[Any, Any]) -> None:
    for key in [key for key in mapping if key not in initial]:
        del mapping[key]
    mapping.update(initial)


def clean() -> bool:
    """Forget what a context left in its interpreter, so that the next context finds it as new.

    Returns False when the interpreter cannot be reused because threads are still running in it.
    """
    # The main thread of the process, which counts as one of every interpreter, runs no Python.
    ours = (threading.main_thread(), threading.current_thread())
    if any(thread not in ours for thread in threading.enumerate()):
        return False
    sys.settrace(None)
    sys.setprofile(None)
    sys.setrecursionlimit(_initial_recursion_limit)
    sys.setswitchinterval(_initial_switch_interval)
    _reset_library()
    for name in [name for name, module in sys.modules.items() if not is_kept(name, module)]:
        del sys.modules[name]
    sys.modules.update(_initial_modules)
    _restore(vars(builtins), _initial_builtins)
    for target, initial in _initial_lists:
        target[:] = initial
    erlang._encoding.encoders.clear()
    sys.path_importer_cache.clear()
    linecache.clearcache()
    sys.breakpointhook = _breakpoint
    standard_streams()
    gc.enable()
    gc.collect()
    return True


standard_streams()
erlang._main.install()
erlang._imports.install()
erlang._threads.install()
sys.breakpointhook = _breakpoint
# Worker contexts share a GIL: a computation in one of them may keep the others waiting for this long, not for 5 ms.
sys.setswitchinterval(0.001)

_library = os.path.dirname(os.__file__)
_initial_recursion_limit = sys.getrecursionlimit()
_initial_switch_interval = sys.getswitchinterval()
_initial_builtins = dict(vars(builtins))
_initial_lists: list[tuple[Any, list[Any]]] = [
    (changing, list(changing)) for changing in (sys.path, sys.argv, sys.meta_path, sys.path_hooks, warnings.filters)
]
_initial_modules = dict(sys.modules)
