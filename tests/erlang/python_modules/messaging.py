"""What messages_SUITE and messages_nodes_SUITE call: Python that sends messages to Erlang processes."""

import os
import threading
import time

import erlang


def send(to, *messages):
    for message in messages:
        erlang.send(to, message)


def send_to_each(destinations, message):
    return [erlang.send(to, message) for to in destinations]


def send_name(name, node, message):
    """The destination as a pair, which a tuple is."""
    erlang.send((name, node), message)


def attempt(to, message):
    """What the sending raises, as class and text; ok when nothing."""
    try:
        erlang.send(to, message)
    except Exception as error:
        return (type(error).__name__, str(error))
    return "ok"


def bad_destinations():
    """Everything that is no destination; the classes of what is raised."""
    bad = [1, 1.5, None, True, b"name", [], ["name"], {}, (), ("name",), ("a", "b", "c"), ("a", 1), (1, "a"),
           (None, "a"), ("a", b"node"), object(), erlang.Term(b"a\x01"), erlang.Ref(b"")]
    return [(repr(to), attempt(to, 1)[0]) for to in bad if attempt(to, 1)[0] != "TypeError"]


def made_up_pids():
    """Pids that no Erlang made."""
    return [attempt(erlang.Pid(etf), 1) for etf in (b"", b"X", b"a\x01", b"Xw\x01\xff" + bytes(12), b"\xff" * 40)]


def count(to, first, last):
    for number in range(first, last + 1):
        erlang.send(to, number)


def burst_and_wait(to, messages, path, spin=False):
    """Sends, then stays in Python until the file is there, without saying anything to Erlang."""
    send(to, *messages)
    while not os.path.exists(path):
        if not spin:
            time.sleep(0.001)
    return "seen"


def later(to, messages, path):
    """A thread that sends when no request runs any more."""

    def run():
        while not os.path.exists(path):
            time.sleep(0.001)
        send(to, *messages)

    threading.Thread(target=run, daemon=True).start()


def with_callbacks(to, name, rounds):
    for number in range(rounds):
        erlang.send(to, ("before", number))
        erlang.call(name, number)
        erlang.send(to, ("after", number))


def nested(to, name, depth):
    """One message before the next level, one after it."""
    erlang.send(to, ("down", depth))
    if depth > 0:
        erlang.call(name, to, depth - 1)
    erlang.send(to, ("up", depth))


def from_threads(to, threads, each):
    def run(thread):
        for number in range(each):
            erlang.send(to, (thread, number))

    running = [threading.Thread(target=run, args=(thread,)) for thread in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def until_dead(to, started):
    """Sends until somebody finds that the process is gone; a message to `started` says that it has begun."""
    erlang.send(to, 0)
    erlang.send(started, "started")
    while True:
        try:
            erlang.send(to, 1)
        except erlang.ProcessError as error:
            return str(error)


def flood(to, size, number):
    message = b"\xff" * size
    for _ in range(number):
        erlang.send(to, message)
    return "flooded"


def flood_until(to, size, path):
    """Sends until the file is there; how many."""
    message = b"\xff" * size
    sent = 0
    while not os.path.exists(path):
        for _ in range(100):
            erlang.send(to, message)
        sent += 100
    return sent


def flood_for_ever(to, size):
    while True:
        flood(to, size, 1)


def send_atom(to, name):
    erlang.send(to, erlang.Atom(name))


def fill_atoms(prefix):
    """Makes atoms until Erlang refuses; how many, and what it said."""
    for number in range(2000):
        try:
            erlang.atom(f"{prefix}_{number}")
        except ValueError as error:
            return (number, str(error))
    return "no bound"


def atom(name):
    try:
        made = erlang.atom(name)
    except Exception as error:
        return (type(error).__name__, str(error))
    return (type(made).__name__, made)


def self_and_thread():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(erlang.self()))
    thread.start()
    thread.join()
    return (erlang.self(), seen[0])


def selves(name, depth):
    """The process that each level is called by, outermost first."""
    return [erlang.self()] + (erlang.call(name, depth - 1) if depth > 0 else [])


def identity_of_atom(name):
    """An atom that Erlang was not asked for."""
    return erlang.Atom(name)


def raise_new(name):
    """An exception of a class of this name."""
    raise type(name, (Exception,), {})("new")
