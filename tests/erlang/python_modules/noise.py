"""Everything that writes to file descriptors 1 and 2, for output_SUITE."""

import asyncio
import contextlib
import io
import os
import subprocess
import sys


def to_stdout(text):
    print(text, flush=True)
    return "done"


def to_stderr(text):
    print(text, file=sys.stderr, flush=True)
    return "done"


def to_fd(fd, data):
    if isinstance(data, str):
        data = data.encode()
    os.write(fd, data)
    return "done"


def from_child(text):
    """A child process inherits the descriptors."""
    subprocess.run(["/bin/sh", "-c", 'echo "$1"; echo "$1-err" >&2', "sh", text], check=True)
    return "done"


def from_c(text):
    """C's own buffered output."""
    import ctypes

    libc = ctypes.CDLL(None)
    libc.printf(b"%s\n", text.encode())
    libc.fflush(None)
    return "done"


def partial(text):
    """No newline at the end, and none to come."""
    sys.stdout.write(text)
    sys.stdout.flush()
    return "done"


def flood(lines, fd):
    for number in range(lines):
        os.write(fd, b"flood line %d\n" % number)
    return "flooded"


def flood_print(lines):
    for number in range(lines):
        print("flood line", number)
    return "flooded"


def long_line(size, fd):
    data = b"L" * size + b"\n"
    while data:
        data = data[os.write(fd, data):]
    return "done"


def print_long(size):
    print("L" * size)
    return "done"


def like_frames():
    """Bytes that would be frames of the protocol, were they to reach it."""
    os.write(1, b"\x00\x00\x00\x08\x83h\x02a\x01a\x02a" * 100)
    os.write(1, b"\xff\xff\xff\xff" * 100)
    os.write(1, b"Hello world")
    os.write(2, b"\x7f\xff\xff\xff\n")
    return "done"


def read_stdin():
    """Standard input is empty for user code: the protocol's end is elsewhere."""
    return (sys.stdin.read() if sys.stdin else "", os.read(0, 10))


_begun: set[str] = set()
_released: set[str] = set()


async def redirected(name):
    """What it writes while it waits again and again, and tasks of its own as well, is not for the log."""
    buffer = io.StringIO()

    async def child():
        await asyncio.sleep(0.01)
        print(name, "child")

    with contextlib.redirect_stdout(buffer):
        print(name, "before")
        await asyncio.gather(child(), child())
        _begun.add(name)
        while name not in _released:
            await asyncio.sleep(0.001)
        print(name, "afterwards")
    await asyncio.sleep(0.01)
    print(name, "outside")
    return buffer.getvalue()


async def redirected_items(name):
    """The same of a stream: what it has written so far."""
    buffer = io.StringIO()
    with contextlib.redirect_stdout(buffer):
        for _ in range(3):
            print(name)
            await asyncio.sleep(0.01)
            yield buffer.getvalue().count(name)


async def close_for_all():
    """Leaves nothing to write to."""
    sys.stdout = None
    await asyncio.sleep(0.01)
    sys.stderr = None


def begun():
    return len(_begun)


def release(name):
    _released.add(name)
