"""Runs the modules of CPython's own test.test_asyncio in the calling thread, on ErlangEventLoop or on CPython's loop.

The tests make their loops in four ways: ``asyncio.SelectorEventLoop()``, ``asyncio.EventLoop()``,
``asyncio.new_event_loop()`` and what the default policy makes. `substitute` puts ErlangEventLoop behind all, before
the modules are imported. Tests that hand a selector of their choice to the loop get the loop with its own selector.
Nothing else of asyncio or of the tests is touched, but for `_replace_safe_child_watcher`.
"""

from __future__ import annotations

import asyncio
import fnmatch
import importlib
import importlib.util
import os
import time
import traceback
import unittest
from typing import Any

PACKAGE = "test.test_asyncio"

KNOWN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "known.txt")


def known(kind: str, names: list[str]) -> dict[str, str]:
    """Those of the tests that known.txt lists with this kind, with the reasons."""
    reasons = {}
    with open(KNOWN, encoding="utf-8") as lines:
        for line in lines:
            listed, _, rest = line.strip().partition(" ")
            if listed == kind:
                pattern, reason = rest.split(maxsplit=1)
                reasons.update(dict.fromkeys(fnmatch.filter(names, pattern), reason))
    return reasons


def available() -> bool:
    """Whether this Python was installed with its tests: Debian's for instance was not."""
    try:
        return importlib.util.find_spec(PACKAGE) is not None
    except ImportError:
        return False


def modules() -> list[str]:
    """The names of all test modules that mean anything on Unix, without ``test_``."""
    directory = os.path.dirname(importlib.import_module(PACKAGE).__file__ or "")
    names = sorted(name[5:-3] for name in os.listdir(directory) if name.startswith("test_") and name.endswith(".py"))
    return [name for name in names if not name.startswith(("windows", "proactor"))]


_loops_made = 0


def substitute() -> None:
    """Let the tests make ErlangEventLoop wherever they make CPython's loop for Unix."""
    from erlang import ErlangEventLoop

    class SelectorEventLoop(ErlangEventLoop):
        def __init__(self, selector: Any = None) -> None:
            global _loops_made
            _loops_made += 1
            if selector is not None:
                selector.close()
            super().__init__()

    SelectorEventLoop.__qualname__ = "_UnixSelectorEventLoop"
    SelectorEventLoop.__name__ = "_UnixSelectorEventLoop"
    for module in (asyncio, asyncio.unix_events):
        for name in ("SelectorEventLoop", "EventLoop", "_UnixSelectorEventLoop"):
            if hasattr(module, name):
                setattr(module, name, SelectorEventLoop)
    for name in ("_UnixDefaultEventLoopPolicy", "_DefaultEventLoopPolicy"):
        if hasattr(asyncio.unix_events, name):
            getattr(asyncio.unix_events, name)._loop_factory = SelectorEventLoop


def _replace_safe_child_watcher() -> None:
    """For test_events and test_streams, on either loop: SafeChildWatcher needs SIGCHLD, and so the main thread, but
    they use it only to start subprocesses. All tests on real loops would fail when they are set up."""

    class SafeChildWatcher(asyncio.PidfdChildWatcher):
        def attach_loop(self, loop: Any) -> None:
            pass

    asyncio.SafeChildWatcher = SafeChildWatcher


class _Result(unittest.TestResult):
    """Remembers what became of each test by its id, and what happened."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: dict[str, str] = {}
        self.reasons: dict[str, str] = {}

    def _fail(self, test: Any, error: Any) -> None:
        name = _name(test)
        self.outcomes[name] = "failed"
        self.reasons[name] = "".join(traceback.format_exception(*error))[-2000:]

    def startTest(self, test: Any) -> None:
        super().startTest(test)
        self.outcomes[_name(test)] = "passed"

    def addError(self, test: Any, err: Any) -> None:
        self._fail(test, err)

    def addFailure(self, test: Any, err: Any) -> None:
        self._fail(test, err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            self._fail(test, err)

    def addSkip(self, test: Any, reason: str) -> None:
        self.outcomes[_name(test)] = "skipped"
        self.reasons[_name(test)] = reason

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        pass

    def addUnexpectedSuccess(self, test: Any) -> None:
        self.outcomes[_name(test)] = "failed"
        self.reasons[_name(test)] = "succeeded unexpectedly"


def _name(test: Any) -> str:
    # Failures of a class or a module as a whole have the class in parentheses.
    return str(test.id()).removeprefix(PACKAGE + ".test_").replace(PACKAGE + ".test_", "")


def _flat(suite: Any) -> list[Any]:
    return [test for part in suite for test in (_flat(part) if isinstance(part, unittest.TestSuite) else [part])]


def run(loop: str, name: str, only: list[str] | None = None) -> dict[str, Any]:
    """Run ``test_NAME`` on the loop ``erlang`` or ``cpython``; ``only`` some tests, by their names in the result.

    Once per interpreter: what it replaces stays replaced.

    ``outcomes`` says of every test ``passed``, ``failed`` or ``skipped``, ``reasons`` why it did not pass, ``loops``
    how many instances of ErlangEventLoop the tests made.
    """
    import test.support

    if test.support.use_resources is None:
        test.support.use_resources = []  # what python3 -m test allows by default
    if loop == "erlang":
        substitute()
    if name in ("events", "streams") and hasattr(asyncio, "SafeChildWatcher"):
        _replace_safe_child_watcher()
    started = time.monotonic()
    result = _Result()
    try:
        module = importlib.import_module(f"{PACKAGE}.test_{name}")
    except unittest.SkipTest as skip:
        return {"outcomes": {name: "skipped"}, "reasons": {name: str(skip)}, "seconds": 0.0, "loops": 0}
    tests = _flat(unittest.defaultTestLoader.loadTestsFromModule(module))
    never = known("never", [_name(test) for test in tests])
    chosen = [test for test in tests if _name(test) not in never and (only is None or _name(test) in only)]
    unittest.TestSuite(chosen).run(result)
    seconds = time.monotonic() - started
    return {"outcomes": result.outcomes, "reasons": result.reasons, "seconds": seconds, "loops": _loops_made}
