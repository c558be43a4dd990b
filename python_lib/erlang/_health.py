"""Whether this interpreter can still do what every request needs. The port program asks when calls fail oddly.

Nothing here runs code of a user, unless the user has put it where all code runs: hooks, traces, finders. That is what
this looks for. What it needs itself is looked up when it runs, not kept: a name that is gone is gone for others too.
"""

from __future__ import annotations

import builtins
import gc
import importlib._bootstrap
import os
import sys
import threading
from collections.abc import Callable

import _erlang

import erlang
import erlang._encoding
import erlang._sources

# Whoever sets more holds up the other threads for that long, and the interrupt of what has run too long with them.
_MAX_SWITCH_SECONDS = 10.0
_LEVELS = 60
# The port program asks the kernel for more.
_MEMORY_BYTES = 64 * 1024
_JOIN_SECONDS = 1.5

# `site` adds some for interactive use, which programs do take away.
_names = frozenset(vars(builtins)) - {"copyright", "credits", "exit", "help", "license", "quit", "_"}
_modules = {
    name: sys.modules[name]
    for name in ("sys", "builtins", "_erlang", "erlang", "erlang._encoding", "erlang._sources", "importlib")
}
_probe_file = os.path.join(os.path.dirname(__file__), "_probe.py")


def _check_builtins() -> None:
    missing = sorted(_names - set(vars(builtins)))
    if missing:
        raise NameError(f"builtins lack {', '.join(missing[:5])}")
    if not (len("ab") == 2 and int("7") == 7 and str(1) == "1" and isinstance(1, int) and list(range(2)) == [0, 1]):
        raise RuntimeError("len, int, str, isinstance or list do something else than they should")


def _check_modules() -> None:
    if type(sys.modules) is not dict:
        raise TypeError(f"sys.modules is of type {type(sys.modules).__name__}")
    for name, module in _modules.items():
        if sys.modules.get(name) is not module:
            raise ImportError(f"sys.modules[{name!r}] is not the module that it was")


def _check_import() -> None:
    __import__("erlang")
    try:
        os.stat(_probe_file)
    except FileNotFoundError:
        return  # the package was taken away since: modules of others may well be there
    # As `import` does it, but for sys.modules, where other threads would see it come and go.
    directory = os.path.dirname(_probe_file)
    spec = importlib._bootstrap._find_spec("erlang._probe", [directory])  # type: ignore[attr-defined]
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError("a module that is there is not found")
    module = importlib._bootstrap.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not module.FOUND:
        raise ImportError("a module was not loaded as it is")


def _check_code() -> None:
    scope: dict[str, object] = {}
    exec(compile("value = [len(text) for text in ('a', 'bc')]", "<check>", "exec"), scope)
    if scope["value"] != [1, 2]:
        raise RuntimeError("code does not do what it should")


def _check_recursion() -> None:
    def levels(left: int) -> int:
        return 0 if left == 0 else 1 + levels(left - 1)

    levels(_LEVELS)


def _check_memory() -> None:
    bytearray(_MEMORY_BYTES)
    if gc.callbacks:
        gc.collect(0)


def _check_threads() -> None:
    if sys.getswitchinterval() > _MAX_SWITCH_SECONDS:
        raise RuntimeError(f"no other thread has a turn for {sys.getswitchinterval():.0f} s (sys.setswitchinterval)")
    ran: list[bool] = []
    thread = threading.Thread(target=ran.append, args=(True,), daemon=True)
    thread.start()
    thread.join(_JOIN_SECONDS)
    if not ran:
        raise RuntimeError("a new thread does not run")


def _check_erlang() -> None:
    if not (callable(erlang.call) and callable(erlang.send) and callable(erlang._encoding.fallback)):
        raise TypeError("functions of the module erlang are gone")
    _erlang.context_id()
    _erlang.is_registered("")


_STEPS: tuple[tuple[str, Callable[[], None]], ...] = (
    ("built-in functions", _check_builtins),
    ("code", _check_code),
    ("loaded modules", _check_modules),
    ("the module erlang", _check_erlang),
    ("recursion", _check_recursion),
    ("memory", _check_memory),
    ("importing a module", _check_import),
    ("threads", _check_threads),
)


def check() -> str:
    """What does not work, in a few words; the empty text when all does."""
    for what, step in _STEPS:
        try:
            step()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return f"{what}: {type(error).__name__}: {error}"
    return ""
