"""Shared state from Python, for state_SUITE."""

import threading

import erlang


def count_in_threads(key, threads, times):
    """Counts `key` up by one from threads of its own that start together; what the last increment returned."""
    start = threading.Barrier(threads)
    seen = []

    def count():
        start.wait()
        for _ in range(times):
            last = erlang.state_incr(key)
        seen.append(last)

    running = [threading.Thread(target=count) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if len(seen) != threads:
        raise RuntimeError(f"{threads - len(seen)} threads failed")
    return max(seen)


def count(key, times):
    """Counts `key` up by one so often, in the calling thread."""
    for _ in range(times):
        last = erlang.state_incr(key)
    return last


def error_of(function, *args):
    """What a function of the package raises: class name and text."""
    try:
        getattr(erlang, function)(*args)
    except Exception as error:
        return (type(error).__name__, str(error))
    return None


def as_atom(name, value):
    """Stores under an atom, which a str from Erlang never is."""
    erlang.state_set(erlang.Atom(name), value)


def kind_of(key):
    """Class name of what is stored."""
    return type(erlang.state_get(key)).__name__
