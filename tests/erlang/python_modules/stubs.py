"""Whether the stub of _erlang has what the port program has."""

import ast
import pathlib

import _erlang
import erlang


def differences():
    """Names that only one of them has: of the module, and of its classes."""
    stub = pathlib.Path(erlang.__file__).parent.with_name("_erlang.pyi")
    body = ast.parse(stub.read_text()).body
    named = names(body) | {node.target.id for node in body if isinstance(node, ast.AnnAssign)}
    found = [sorted(named ^ public(_erlang))]
    for node in body:
        if isinstance(node, ast.ClassDef):
            found.append(sorted(names(node.body) ^ public(getattr(_erlang, node.name))))
    return found


def names(body):
    return {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def public(thing):
    return {name for name in dir(thing) if not name.startswith("__")}
