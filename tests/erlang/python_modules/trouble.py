"""Every way in which Python ends, freezes or bloats its process, for the fault suites."""

import os
import re
import resource
import sys
import time


def say(text):
    print(text, flush=True)
    return "said"


def segfault():
    import ctypes

    ctypes.string_at(0)


def abort():
    os.abort()


def leave(status):
    os._exit(status)


def overflow_stack():
    """Iterators nested three million deep: CPython walks them by C recursion without a guard."""
    nested = iter([1])
    for _ in range(3_000_000):
        nested = filter(None, nested)
    return list(nested)


def more_than_there_is():
    """Small here, but not where it is encoded: in a frame, which the parts are not too large for."""
    value = [bytes(100_000)] * 600
    with open("/proc/self/statm", encoding="ascii") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + (32 << 20), resource.RLIM_INFINITY))
    return value


def spin():
    while True:
        pass


def compute():
    """One C loop without an end: it never looks for an interrupt and never gives the GIL away."""
    return sum(range(10**13))


def backtrack():
    """A regular expression that backtracks for longer than anybody waits."""
    return re.match(r"(a+)+$", "a" * 60 + "b") is None


def stubborn(seconds):
    """Takes every interrupt and goes on."""
    deadline = time.monotonic() + seconds
    caught = 0
    while True:
        try:
            caught += _until(deadline)
            return caught
        except KeyboardInterrupt:
            caught += 1


def _until(deadline):
    while time.monotonic() < deadline:
        pass
    return 0


def sleep_in_c(seconds):
    time.sleep(seconds)
    return "slept"


def bloat(mebibytes):
    """Touches every page, then keeps them."""
    block = b"x" * (mebibytes << 20)
    time.sleep(60)
    return len(block)


def deep_recursion():
    def down(level):
        return down(level + 1)

    return down(0)


def mark(path):
    """Tells the test that Python is here."""
    with open(path, "w", encoding="ascii") as file:
        file.write("here")


def mark_and(path, name, *args):
    mark(path)
    return getattr(sys.modules[__name__], name)(*args)
