"""Small functions that the Common Test suites call: they show how values, names and threads look from Python."""

import glob
import os
import sys
import threading
import time
import weakref


def echo(value):
    """The value itself: what comes back shows both conversions."""
    return value


def describe(value):
    """Class name and repr of a value that came from Erlang."""
    return (type(value).__name__, repr(value))


def kind(value):
    """Class name of a value that came from Erlang."""
    return type(value).__name__


def arguments(*args, **kwargs):
    """All that the function was called with, so that a lost or reordered argument shows."""
    return (list(args), kwargs)


def equal(left, right):
    """Whether two values are equal for Python, and hash alike."""
    return left == right and hash(left) == hash(right)


def pid():
    """The OS process that runs this: tells pools apart."""
    return os.getpid()


def thread():
    """The OS thread that runs this: tells the contexts of one pool apart."""
    return threading.get_native_id()


def _name(directory):
    with open(f"{directory}/comm") as file:
        return file.read().strip()


def thread_name():
    """What the operating system calls the thread that runs this."""
    return _name(f"/proc/self/task/{threading.get_native_id()}")


def threads_named(name):
    """How many threads of the process it calls so."""
    return sum(_name(directory) == name for directory in glob.glob("/proc/self/task/*"))


def place():
    """OS process and thread, which name a context on the machine."""
    return (os.getpid(), threading.get_native_id())


def tagged_sleep(token, seconds):
    """Sleeps without the GIL, then gives the token back."""
    time.sleep(seconds)
    return token


def spin():
    """Runs Python bytecode for ever: only an interrupt ends it."""
    while True:
        pass


def answer(token, size):
    """The token and a text of `size` characters that is made from it alone."""
    unit = f"{token}."
    return (token, (unit * (size // len(unit) + 1))[:size])


def raise_named(class_name, message="unknown"):
    """Raises an exception of a class made just now, so that nobody can have seen its name before."""
    raise type(class_name, (Exception,), {})(message)


def raise_builtin(class_name, *args):
    """Raises an exception of a built-in class."""
    import builtins

    raise getattr(builtins, class_name)(*args)


class UnprintableError(Exception):
    """An exception that cannot be made a text."""

    def __str__(self):
        raise RuntimeError("no text")


def raise_unprintable():
    raise UnprintableError()


def outer():
    return _inner()


def _inner():
    raise ValueError("from the inner function")


class Tracked:
    """An object that is counted as long as it lives."""

    _alive: "weakref.WeakSet[Tracked]" = weakref.WeakSet()

    def __init__(self):
        Tracked._alive.add(self)


def tracked_alive():
    """How many Tracked objects are alive in this interpreter."""
    import gc

    gc.collect()
    return len(Tracked._alive)


_barriers = {}
_barriers_lock = threading.Lock()


def meet(name, parties):
    """Returns when `parties` threads are here at once; a BrokenBarrierError after 20 s tells that they never were."""
    with _barriers_lock:
        barrier = _barriers.setdefault(name, threading.Barrier(parties))
    barrier.wait(20)
    return "met"


_arrivals = []


def arrive(token, seconds=0.0):
    """Notes the order in which requests ran."""
    _arrivals.append(token)
    if seconds:
        time.sleep(seconds)
    return token


def arrive_with(token, _filler):
    """The same with an argument that only makes the request large."""
    return arrive(token)


def arrivals():
    """The tokens noted so far, and forgets them."""
    tokens = list(_arrivals)
    _arrivals.clear()
    return tokens


_gates = {}


def wait_gate(name):
    """Blocks until open_gate(name) is called in the same interpreter, in steps that an interrupt can end."""
    gate = _gates.setdefault(name, threading.Event())
    while not gate.wait(0.01):
        pass
    return "open"


def open_gate(name):
    _gates.setdefault(name, threading.Event()).set()
    return "opened"


def touch_and_wait(path, seconds):
    """Makes the file, so that the test knows that Python is here, then sleeps in short steps."""
    with open(path, "w", encoding="ascii") as file:
        file.write(str(os.getpid()))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.01)
    return "waited"


def touch_and_spin(path):
    """Makes the file, then runs bytecode for ever."""
    touch_and_wait(path, 0)
    spin()


def module_loaded(name):
    return name in sys.modules


_here = 0


def set_here(value):
    """Writes module state, which belongs to one interpreter."""
    global _here
    _here = value
    return value


def get_here():
    return _here
