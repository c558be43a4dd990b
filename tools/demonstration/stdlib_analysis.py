"""The half of tools/demo that runs in Python: what is in the source files of Python's own standard library."""

import ast
import os
import pathlib
from collections import Counter
from typing import Any

_TOP = pathlib.Path(os.__file__).parent
_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


def source_files() -> list[str]:
    """The standard library's source files, the largest first so that no long one is left for the end."""
    found = [path for path in _TOP.rglob("*.py") if not _LEFT_OUT.intersection(path.relative_to(_TOP).parts)]
    found.sort(key=lambda path: (-path.stat().st_size, path))
    return [str(path.relative_to(_TOP)) for path in found]


def analyse(file: str) -> dict[str, Any]:
    """What one file holds.

    Returns a dict with `lines`, `functions` (how many), `longest` (lines, name and file of the longest function; 0
    lines when there is none) and `names` (how often each identifier is used).
    """
    text = (_TOP / file).read_bytes()
    functions = 0
    longest = (0, "", file)
    names: Counter[str] = Counter()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name):
            names[node.id] += 1
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            functions += 1
            longest = max(longest, ((node.end_lineno or node.lineno) - node.lineno + 1, node.name, file))
    return {"lines": text.count(b"\n"), "functions": functions, "longest": longest, "names": dict(names)}
