"""What is changed in modules of the standard library, when they are imported."""

from __future__ import annotations

import functools
import importlib.machinery
import sys
from collections.abc import Callable
from typing import Any

import erlang._sources
import erlang._threads


def _spawn_by_default(context: Any) -> None:
    """Below 3.14 multiprocessing forks by default, which would duplicate the port process and is refused."""
    if sys.version_info < (3, 14):
        context._default_context._default_context = context._concrete_contexts["spawn"]


def _files_of_classes(inspect: Any) -> None:
    """inspect asks the module of a class for its file, and there is one ``__main__`` for all code from Erlang."""
    getfile = inspect.getfile

    @functools.wraps(getfile)
    def getfile_of(object: Any) -> Any:
        file = erlang._sources.file_of(object) if isinstance(object, type) else None
        return getfile(object) if file is None else file

    inspect.getfile = getfile_of


_changes: dict[str, Callable[[Any], None]] = {
    "multiprocessing.context": _spawn_by_default,
    "inspect": _files_of_classes,
    "concurrent.futures.thread": erlang._threads.change_executors,
    "multiprocessing.pool": erlang._threads.change_pools,
}


class _Loader:
    def __init__(self, loader: Any, change: Callable[[Any], None]) -> None:
        self._loader = loader
        self._change = change

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        self._loader.exec_module(module)
        self._change(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


class _Finder:
    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        change = _changes.get(name)
        if change is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, change)  # type: ignore[assignment]
        return spec


def install() -> None:
    """Change what is imported already, and the rest when it is."""
    sys.meta_path.insert(0, _Finder)
    for name, change in _changes.items():
        if name in sys.modules:
            change(sys.modules[name])
