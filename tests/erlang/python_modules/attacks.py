"""What the attacks of tests/fault/security_*SUITE share: `from attacks import *` stands in front of each."""

import os
import secrets
import signal
import subprocess
import sys
import time

import erlang

A = erlang.Atom
me = erlang.self()


def call(request):
    return (A("$gen_call"), (me, 1), request)


def command(path):
    """The call that makes `rex` run a shell command."""
    return call((A("call"), A("os"), A("cmd"), [[ord(char) for char in f"id > {path}"]], me))


def insist(to, message):
    """Sends the message often enough to end a supervisor, and raises what came of the last one."""
    refused = None
    for _ in range(8):
        try:
            erlang.send(to, message)
        except Exception as error:
            refused = error
    if refused is not None:
        raise refused


def fresh_atoms(count):
    """Atoms that nobody has seen before; the number of those that there was room for."""
    prefix = secrets.token_hex(8)
    made = 0
    for number in range(count):
        try:
            erlang.atom(f"{prefix}_{number}")
        except ValueError:
            break
        made += 1
    return made


def atoms_in_a_result(count):
    prefix = secrets.token_hex(8)
    return [A(f"{prefix}_{number}") for number in range(count)]


async def gather(name, count):
    """So many callbacks at the same time."""
    import asyncio

    return len(await asyncio.gather(*(erlang.async_call(name, number) for number in range(count))))


def libc():
    """The C library, whose failures are OSError, as those of Python's own functions are."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)

    def invoke(function, *arguments):
        if getattr(library, function)(*arguments) == -1:
            raise OSError(ctypes.get_errno(), function)

    return invoke


def refused_to(program, *arguments):
    """Runs a program that must fail, and raises what it stands for."""
    if subprocess.run([program, *arguments], capture_output=True).returncode != 0:
        raise PermissionError(program)


def daemon():
    """A child in a session of its own, without an environment and deaf to SIGTERM."""
    code = "import os,signal,time\nsignal.signal(15, 1)\nprint(os.getpid(), flush=True)\ntime.sleep(600)"
    arguments = [sys.executable, "-ISc", code]
    child = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, start_new_session=True, env={})
    return int(child.stdout.readline())


def fork_exec():
    import _posixsubprocess

    r, w = os.pipe()
    last = [True] if sys.version_info < (3, 14) else []
    _posixsubprocess.fork_exec(
        [b"true"], [b"/bin/true"], True, (w,), None, None, -1, -1, -1, -1, -1, -1, r, w, False, False, -1, None, None,
        None, -1, None, *last
    )  # fmt: skip


def foreign_library():
    import importlib.machinery
    import importlib.util

    with open("/proc/self/maps") as maps:
        file = next(line.split()[-1] for line in maps if "libc." in line)
    loader = importlib.machinery.ExtensionFileLoader("x", file)
    importlib.util.module_from_spec(importlib.machinery.ModuleSpec("x", loader, origin=file))


def history(path):
    try:
        import readline
    except ImportError:
        raise PermissionError("no readline") from None
    readline.write_history_file(path)


def perf():
    """Switches on what writes a map of the functions that run; fails when there is one."""
    try:
        sys.activate_stack_trampoline("perf")
    except (AttributeError, ValueError, OSError):
        pass
    eval(compile("(lambda: 1)()", "x", "eval"))
    assert not os.path.exists(f"/tmp/perf-{os.getpid()}.map")


__all__ = [name for name in dir() if not name.startswith("_")]
