"""The end of an interpreter, in the order in which Python itself ends. For the port program."""

from __future__ import annotations

import atexit
import gc
import io
import sys
import threading
import weakref
from types import ModuleType
from typing import Any

import erlang._startup

_FILES = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)


def adopt_thread() -> None:
    """Threads that this one starts are waited for at the end, as those of a script's main thread are.

    Python takes a thread that it has not started for a daemon, and what that starts as well.
    """
    threading.current_thread()._daemonic = False  # type: ignore[attr-defined]


def _others() -> list[threading.Thread]:
    ours = (threading.main_thread(), threading.current_thread())
    return [thread for thread in threading.enumerate() if thread not in ours]


def _join_threads(seconds: float, for_good: bool) -> bool:
    """Do what Python does first. False when something of it did not end in time, or left threads.

    Also when the interpreter was to be used again and cannot be: after threading._shutdown no executor works.
    """
    if not for_good and not _others():
        return True
    shutdown: Any = threading._shutdown  # type: ignore[attr-defined]
    # It waits for as long as a thread goes on, so somebody else waits for it.
    joiner = threading.Thread(target=shutdown, name="erlang_ending", daemon=True)
    try:
        joiner.start()
    except RuntimeError:  # no thread to be had
        return False
    joiner.join(seconds)
    return for_good and not joiner.is_alive() and not _others()


def _clear(module: ModuleType) -> None:
    """As CPython empties modules: private names first, so that objects find what they need to end."""
    names = vars(module)
    for private in (True, False):
        for name in list(names):
            if name != "__builtins__" and (name.startswith("_") and not name.startswith("__")) is private:
                names[name] = None


def _let_modules_go() -> None:
    gone = []
    for name, module in list(sys.modules.items()):
        if not erlang._startup.is_kept(name, module):
            del sys.modules[name]
            if isinstance(module, ModuleType):
                gone.append(weakref.ref(module))
    del module
    gc.collect()
    for reference in reversed(gone):
        left = reference()
        if left is not None:
            _clear(left)
            left = None
    gc.collect()


def _flush_files() -> None:
    """What somebody still holds: a thread that goes on, a module of the standard library."""
    for thing in gc.get_objects():
        if issubclass(type(thing), _FILES):
            try:
                thing.flush()
            except BaseException:  # closed, or not for writing; that of a subclass may raise anything
                pass


def _let_go() -> None:
    # Threads that go on meet modules that are empty, and nobody is interested in what they say about that.
    threading.excepthook = lambda _args: None
    try:
        _let_modules_go()
    finally:
        _flush_files()


def end(seconds: float, for_good: bool) -> bool:
    """Join threads for half of ``seconds``, run the atexit functions; ``for_good``, let go of modules and flush files.

    False when threads are left, so that the interpreter cannot be used again.
    """
    # Each of these runs code of users, which may raise anything and be hit by an interrupt. The others follow.
    try:
        joined = _join_threads(seconds / 2, for_good)
    finally:
        try:
            atexit._run_exitfuncs()
        finally:
            if for_good:
                _let_go()
    return joined and not _others()
