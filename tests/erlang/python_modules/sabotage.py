"""What code can do to an interpreter so that all that comes after it fails, for tests/fault/health_SUITE."""

import asyncio
import builtins
import gc
import importlib
import resource
import sys
import threading
import time

import erlang


def _raise(*_args, **_kwargs):
    raise ValueError("sabotage")


def _hang(*_args, **_kwargs):
    while True:
        pass


def _sleep(*_args, **_kwargs):
    time.sleep(3600)


def modules_none():
    sys.modules = None


def modules_cleared():
    sys.modules.clear()


def module_erlang_replaced():
    sys.modules["erlang"] = sys


def erlang_emptied():
    vars(erlang).clear()


def encoding_broken():
    erlang._encoding.fallback.__code__ = _raise.__code__


def builtins_cleared():
    vars(builtins).clear()


def builtins_len_gone():
    del builtins.len


def builtins_raise():
    builtins.len = builtins.isinstance = _raise


def import_raises():
    builtins.__import__ = _raise


def import_hangs():
    builtins.__import__ = _hang


def import_sleeps():
    builtins.__import__ = _sleep


class _Finder:
    find_spec = staticmethod(_raise)


def meta_path_raises():
    sys.meta_path.insert(0, _Finder)


def meta_path_empty():
    sys.meta_path.clear()


def meta_path_none():
    sys.meta_path = None


def importer_cache_none():
    sys.path_importer_cache = None


def path_hooks_gone():
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()


def importlib_broken():
    importlib._bootstrap._find_spec = _raise


def trace_raises():
    sys.settrace(_raise)


def trace_hangs():
    sys.settrace(_hang)


def profile_raises():
    sys.setprofile(_raise)


def profile_hangs():
    sys.setprofile(_hang)


def _monitor(callback):
    events = sys.monitoring.events
    sys.monitoring.use_tool_id(3, "sabotage")
    sys.monitoring.register_callback(3, events.PY_START, callback)
    sys.monitoring.set_events(3, events.PY_START)


def monitoring_raises():
    _monitor(_raise)


def monitoring_hangs():
    _monitor(_hang)


def audit_raises():
    def hook(event, _args):
        if event in ("compile", "import", "exec"):
            raise ValueError("sabotage")

    sys.addaudithook(hook)


def recursion_limit():
    sys.setrecursionlimit(20)


def _limit(which, value):
    resource.setrlimit(which, (value, resource.getrlimit(which)[1]))


def limit_nofile():
    _limit(resource.RLIMIT_NOFILE, 5)


def limit_as():
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    _limit(resource.RLIMIT_AS, pages * resource.getpagesize())


def limit_data():
    _limit(resource.RLIMIT_DATA, 1 << 20)


def threads_raise():
    threading.Thread.start = _raise


def threading_trace_hangs():
    threading.settrace(_hang)


def gc_hangs():
    def callback(phase, _info):
        if phase == "start":
            _hang()

    gc.callbacks.append(callback)


def switch_interval():
    sys.setswitchinterval(1e6)


def loop_broken():
    asyncio.base_events.BaseEventLoop._run_once = _raise


async def awaited():
    await asyncio.sleep(0.01)
    return "awaited"


# What is no sabotage.


def honest_error(kind):
    raise getattr(builtins, kind)("honest")


def honest_sleep(seconds):
    time.sleep(seconds)
    return "slept"


def honest_import():
    return importlib.import_module("no_such_module_at_all")


async def honest_coroutine(seconds):
    await asyncio.sleep(seconds)
    raise ValueError("honest")


def honest_customs():
    """What programs do to an interpreter and may do: it keeps working."""
    import logging

    real = builtins.__import__
    builtins.__import__ = lambda *args, **kwargs: real(*args, **kwargs)
    builtins.print = lambda *_args, **_kwargs: None
    sys.setprofile(lambda *_args: None)
    sys.settrace(lambda *_args: None)
    sys.setrecursionlimit(5000)
    sys.stdout = open("/dev/null", "w", encoding="utf-8")  # noqa: SIM115
    gc.callbacks.append(lambda *_args: None)
    gc.disable()
    del builtins.exit
    logging.raiseExceptions = False

    class Finder:
        @staticmethod
        def find_spec(_name, _path=None, _target=None):
            return None

    sys.meta_path.insert(0, Finder)
