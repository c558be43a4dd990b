"""The same questions to ErlangEventLoop's selector and to selectors.EpollSelector, for asyncio_SUITE."""

import os
import selectors
import socket
import tempfile
import threading

from erlang._selector import Selector

R, W = selectors.EVENT_READ, selectors.EVENT_WRITE


def _error(function, *arguments):
    try:
        value = function(*arguments)
    except Exception as error:
        return [type(error).__name__, getattr(error, "errno", None)]
    return ["no error", repr(type(value).__name__)]


def _seen(selector, timeout=0):
    return sorted((key.data, events) for key, events in selector.select(timeout))


def regular_file(selector):
    with tempfile.TemporaryFile() as file:
        return [_error(selector.register, file, R), len(selector.get_map()), _error(selector.unregister, file)]


def wrong_arguments(selector):
    mine, other = socket.socketpair()
    with mine, other:
        return [
            _error(selector.register, mine, 0),
            _error(selector.register, mine, 4),
            _error(selector.register, mine, -1),
            _error(selector.register, -1, R),
            _error(selector.register, "no file", R),
            _error(selector.register, 1 << 70, R),
            _error(selector.register, 999_999, R),
            _error(selector.register, mine),
            _error(selector.modify, mine, R),
            _error(selector.unregister, mine),
            _error(selector.get_key, mine),
            len(selector.get_map()),
        ]


def twice(selector):
    mine, other = socket.socketpair()
    with mine, other:
        key = selector.register(mine, R, "first")
        return [_error(selector.register, mine.fileno(), W), tuple(key)[2:], selector.get_key(mine).data]


def readiness(selector):
    mine, other = socket.socketpair()
    with mine, other:
        selector.register(mine, R, "mine")
        quiet = _seen(selector)
        other.send(b"x")
        readable = _seen(selector, 1)
        again = _seen(selector)  # level-triggered
        selector.modify(mine, R | W, "both")
        both = _seen(selector)
        selector.modify(mine, W, "write")
        write = _seen(selector)
        selector.modify(mine, W, "data only")
        renamed = _seen(selector)
        selector.unregister(mine)
        return [quiet, readable, again, both, write, renamed, _seen(selector)]


def hang_up(selector):
    reading, writing = os.pipe()
    selector.register(reading, R, "reader")
    os.close(writing)
    seen = _seen(selector, 1)
    selector.unregister(reading)
    os.close(reading)
    reading, writing = os.pipe()
    selector.register(writing, W, "writer")
    os.close(reading)
    seen += _seen(selector, 1)
    selector.unregister(writing)
    os.close(writing)
    mine, other = socket.socketpair()
    with mine:
        selector.register(mine, R | W, "socket")
        other.close()
        return seen + _seen(selector, 1)


def closed_descriptor(selector):
    """Closed without being unregistered: silent, still in the map, and its end is no error."""
    mine, other = socket.socketpair()
    fd = mine.fileno()
    selector.register(mine, R, "closed")
    other.send(b"x")
    mine.close()
    other.close()
    silent = _seen(selector)
    known = fd in selector.get_map()
    changed = _error(selector.modify, fd, R | W)
    return [silent, known, changed, fd in selector.get_map(), _error(selector.unregister, fd)]


def closed_object(selector):
    """A closed socket has no descriptor any more, but is found by its identity."""
    mine, other = socket.socketpair()
    selector.register(mine, R, "closed")
    mine.close()
    other.close()
    key = selector.unregister(mine)
    return [key.data, len(selector.get_map())]


def reused_descriptor(selector):
    first, other = os.pipe()
    selector.register(first, R, "old")
    os.close(first)
    os.close(other)
    reading, writing = os.pipe()
    same = reading == first
    os.write(writing, b"x")
    stale = _seen(selector)
    selector.unregister(reading)
    selector.register(reading, R, "new")
    seen = _seen(selector, 1)
    selector.unregister(reading)
    os.close(reading)
    os.close(writing)
    return [same, stale, seen]


def duplicate(selector):
    """The kernel goes on watching what has a duplicate; both selectors then report the closed number."""
    reading, writing = os.pipe()
    kept = os.dup(reading)
    selector.register(reading, R, "original")
    os.close(reading)
    os.write(writing, b"x")
    seen = _seen(selector)
    selector.unregister(reading)
    os.close(kept)
    os.close(writing)
    return [seen, _seen(selector)]


def blocking_descriptor(selector):
    """Registering does not make other people's descriptors non-blocking."""
    reading, writing = os.pipe()
    selector.register(reading, R)
    blocking = os.get_blocking(reading)
    selector.unregister(reading)
    os.close(reading)
    os.close(writing)
    return blocking


def mapping(selector):
    mine, other = socket.socketpair()
    with mine, other:
        selector.register(mine, R, "mine")
        found = selector.get_map()
        fd = mine.fileno()
        return [
            len(found),
            list(found) == [fd],
            found[mine].data,
            found[fd].data,
            found.get(mine).data,
            found.get(other),
            found.get(other, 7),
            mine in found,
            fd in found,
            other in found,
            [key.data for key in found.values()],
            list(found.keys()) == [fd],
            [key.data for _, key in found.items()],
            _error(lambda: found[other]),
            _error(found.get, "no file"),
            isinstance(found[fd], selectors.SelectorKey),
            found[fd].fileobj is mine,
        ]


def many(selector):
    pairs = [socket.socketpair() for _ in range(200)]
    for number, (mine, other) in enumerate(pairs):
        selector.register(mine, R, number)
        other.send(b"x")
    seen = _seen(selector, 1)
    for mine, other in pairs:
        selector.unregister(mine)
        mine.close()
        other.close()
    return seen


def after_close(selector):
    mine, other = socket.socketpair()
    with mine, other:
        selector.register(mine, R)
        selector.close()
        selector.close()
        return [
            selector.get_map(),
            _error(selector.get_key, mine),
            _error(selector.select, 0),
            _error(selector.register, mine, R),
            _error(selector.fileno),
        ]


def timeouts(selector):
    return [selector.select(0), selector.select(-1), selector.select(0.001), selector.select(timeout=0.0001)]


def is_selector(selector):
    with selector as entered:
        return [isinstance(selector, selectors.BaseSelector), entered is selector, selector.fileno() > 2]


CASES = [
    regular_file,
    wrong_arguments,
    twice,
    readiness,
    hang_up,
    closed_descriptor,
    closed_object,
    reused_descriptor,
    duplicate,
    blocking_descriptor,
    mapping,
    many,
    after_close,
    timeouts,
    is_selector,
]


def compare():
    """The cases in which the two do not answer alike: name, ours, CPython's."""
    differences = []
    for case in CASES:
        ours, theirs = Selector(), selectors.EpollSelector()
        answers = repr(case(ours)), repr(case(theirs))
        ours.close()
        theirs.close()
        if answers[0] != answers[1]:
            differences.append([case.__name__, *answers])
    return [len(CASES), differences]


def wakes():
    """wake() ends select() at once, the next one when none runs, and only one; after close() it does nothing."""
    selector = Selector()
    selector.wake()
    selector.wake()
    before = selector.select()
    once = selector.select(0.001)
    threading.Timer(0.02, selector.wake).start()
    sleeping = selector.select()
    selector.close()
    selector.wake()
    return [before, once, sleeping]


def second_thread():
    """A second thread in select() is refused: a libuv loop belongs to one thread at a time."""
    selector = Selector()
    first = threading.Thread(target=selector.select)
    first.start()
    answer = None
    while answer is None:
        answer = _error(selector.select, 0)[0]
        if answer == "no error":
            answer = None
    selector.wake()
    first.join()
    selector.close()
    return answer


def closed_while_sleeping():
    selector = Selector()
    answers = []
    sleeper = threading.Thread(target=lambda: answers.append(_error(selector.select)))
    sleeper.start()
    while _error(selector.select, 0)[0] == "no error":
        pass
    selector.close()
    sleeper.join()
    return [answers, _error(selector.select, 0)]
