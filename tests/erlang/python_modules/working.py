"""Every way to leave work to another thread, for thread_SUITE."""

import _thread
import asyncio
import functools
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.pool import ThreadPool

import erlang


def _waited(start):
    """A way that has to hand on the value by itself."""

    def run(function, *args):
        future = Future()

        def work():
            try:
                future.set_result(function(*args))
            except BaseException as error:
                future.set_exception(error)

        start(work)
        return future.result()

    return run


@_waited
def thread(work):
    threading.Thread(target=work).start()


@_waited
def subclass(work):
    class Worker(threading.Thread):
        def run(self):
            work()

    Worker().start()


@_waited
def thread_of_thread(work):
    threading.Thread(target=lambda: threading.Thread(target=work).start()).start()


@_waited
def timer(work):
    threading.Timer(0.001, work).start()


@_waited
def start_new_thread(work):
    _thread.start_new_thread(work, ())


@_waited
def start_joinable_thread(work):
    getattr(_thread, "start_joinable_thread", lambda function: _thread.start_new_thread(function, ()))(work)


# The rest runs the function in the thread with no frame of Python's below it.


def executor(function, *args):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args).result()


def executor_map(function, *args):
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(function, *([arg] for arg in args)))[0] if args else pool.submit(function).result()


shared = ThreadPoolExecutor(2)
"""Older than any request, and of all of them."""


def kept_executor(function, *args):
    return shared.submit(function, *args).result()


def thread_pool(function, *args):
    with ThreadPool(1) as pool:
        return pool.apply(function, args)


def thread_pool_map(function, *args):
    with ThreadPool(2) as pool:
        return pool.starmap(function, [args])[0]


def thread_pool_imap(function, *args):
    def items():
        yield args[0] if args else None

    with ThreadPool(2) as pool:
        return next(pool.imap(function if args else lambda _: function(), items()))


@functools.cache
def shared_pool():
    return ThreadPool(1)


def kept_thread_pool(function, *args):
    return shared_pool().apply(function, args)


def to_thread(function, *args):
    return asyncio.run(asyncio.to_thread(function, *args))


def run_in_executor(function, *args):
    async def run():
        return await asyncio.get_running_loop().run_in_executor(shared, function, *args)

    return asyncio.run(run())


async def awaited_to_thread(function, *args):
    return await asyncio.to_thread(function, *args)


async def awaited_run_in_executor(function, *args):
    return await asyncio.get_running_loop().run_in_executor(None, function, *args)


POOLS = (thread_pool, thread_pool_map, thread_pool_imap, kept_thread_pool)
WAYS = (
    thread,
    subclass,
    thread_of_thread,
    timer,
    start_new_thread,
    start_joinable_thread,
    executor,
    executor_map,
    kept_executor,
    to_thread,
    run_in_executor,
)
AWAITED_WAYS = (awaited_to_thread, awaited_run_in_executor)


def in_threads(function, *args, ways=WAYS):
    """What the function gives in each way, but what is the same as in this thread."""
    here = function(*args)
    return {way.__name__: seen for way in ways if (seen := way(function, *args)) != here}


def in_all(function, *args):
    return in_threads(function, *args, ways=(*WAYS, *POOLS))


async def awaited_in_all(function, *args):
    here = function(*args)
    return {way.__name__: seen for way in AWAITED_WAYS if (seen := await way(function, *args)) != here}


def call(name, *args):
    return erlang.call(name, *args)


# What does not end by itself.


def spin():
    while True:
        pass


def sleep_in_loop():
    asyncio.run(asyncio.sleep(600), loop_factory=erlang.new_event_loop)


def join(function, *args):
    worker = threading.Thread(target=function, args=args)
    worker.start()
    worker.join()
    return "joined"


def join_in_finally(function, *args):
    worker = threading.Thread(target=function, args=args)
    worker.start()
    try:
        erlang.call("never")
    finally:
        worker.join()


def many(count, function, *args):
    with ThreadPoolExecutor(2) as pool:
        return [future.result() for future in [pool.submit(function, *args) for _ in range(count)]]


def keeps_starting():
    while True:
        join(sum, [1])


def keeps_submitting():
    while True:
        list(shared.map(abs, range(10)))


def imap_of_endless_items():
    """A thread of the pool itself asks for them."""

    def items():
        spin()
        yield 1

    return next(shared_pool().imap(abs, items()))


def tree(name, depth):
    """A thread in each level, the last of which spins."""
    return join(spin) if depth == 0 else join(functools.partial(erlang.call, name, depth - 1))


def join_announced(name):
    """Erlang is told when the thread has begun."""
    return join(lambda: (erlang.call(name), spin()))


def kept_call(name):
    return kept_executor(erlang.call, name)


def in_chain_thread(name, then):
    """The request has a chain before its thread asks."""
    erlang.call(name)
    return thread(erlang.call, then)


async def holds_up():
    await asyncio.sleep(0)
    join(spin)


async def goes_on(seconds):
    await asyncio.sleep(seconds)
    return "went on"


# Work that outlives its request.

opened = threading.Event()
seen = []


def leave(function, *args):
    def later():
        opened.wait()
        seen.append(function(*args))

    opened.clear()
    threading.Thread(target=later, daemon=True).start()


def leave_queued(function, *args):
    """In a pool whose only thread is busy."""
    opened.clear()
    single = ThreadPoolExecutor(1)
    single.submit(opened.wait)
    single.submit(lambda: seen.append(function(*args)))


def open():
    opened.set()


def take_seen():
    found = seen[:]
    seen.clear()
    return found
