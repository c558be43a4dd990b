"""What only Python knows of itself: figures of the collector, tracing of memory, reloading.

Called by erlang_src/py_info.erl; not for users.
"""

from __future__ import annotations

import gc as _gc
import importlib
import sys
from typing import Any


def version() -> str:
    """The version as ``sys.version`` gives it."""
    return sys.version


def memory_stats() -> dict[str, Any]:
    """Figures of the garbage collector, and in bytes what tracemalloc traces if it runs."""
    stats: dict[str, Any] = {
        "gc_stats": _gc.get_stats(),
        "gc_count": _gc.get_count(),
        "gc_threshold": _gc.get_threshold(),
    }
    # Not imported for this: interpreters with a GIL of their own refuse it.
    tracemalloc = sys.modules.get("tracemalloc")
    if tracemalloc is not None and tracemalloc.is_tracing():
        current, peak = tracemalloc.get_traced_memory()
        stats["traced_memory_current"] = current
        stats["traced_memory_peak"] = peak
    return stats


def gc(generation: int) -> int:
    """Collects up to ``generation`` and says how many objects could not be reached."""
    return _gc.collect(generation)


def tracemalloc_start(frames: int) -> None:
    """Traces memory from now on, ``frames`` frames of each allocation. ImportError in mode owngil."""
    import tracemalloc

    tracemalloc.start(frames)


def tracemalloc_stop() -> None:
    """Ends what :func:`tracemalloc_start` began."""
    import tracemalloc

    tracemalloc.stop()


def reload(name: str) -> bool:
    """Reloads a module; False when this interpreter has not imported it."""
    module = sys.modules.get(name)
    if module is None:
        return False
    # A source that changed within the resolution of its time stamp would else be taken from the cache.
    importlib.invalidate_caches()
    importlib.reload(module)
    return True
