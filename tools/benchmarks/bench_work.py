"""What tools/bench lets Python do. Run as a program it does `spin` beside another process, for comparison."""

import sys
import threading
import time
from typing import TypeVar

T = TypeVar("T")


def same(value: T) -> T:
    """Gives back its argument."""
    return value


def spin(steps: int) -> int:
    """Computes in plain Python for a time proportional to `steps`, touching nothing shared."""
    total = 0
    for step in range(steps):
        total = (total * 31 + step) & 0xFFFF
    return total


def seconds(steps: int) -> float:
    """CPU time that `spin(steps)` takes, whatever else the machine does."""
    start = time.thread_time()
    spin(steps)
    return time.thread_time() - start


def count(key: str, threads: int, duration: float) -> int:
    """Counts `key` in Erlang's shared state up from so many threads, for `duration` seconds; how often."""
    import erlang  # only in the port program

    counts = []

    def run() -> None:
        until = time.monotonic() + duration
        done = 0
        while time.monotonic() < until:
            for _ in range(10):
                erlang.state_incr(key)
            done += 10
        counts.append(done)

    if threads == 1:
        run()
    else:
        running = [threading.Thread(target=run) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    return sum(counts)


def called(name: str, duration: float) -> float:
    """Mean microseconds of a call of the Erlang function `name`, one after the other for `duration` seconds."""
    import erlang  # only in the port program

    start = time.monotonic()
    calls = 0
    while time.monotonic() < start + duration:
        for _ in range(100):
            erlang.call(name, 1)
        calls += 100
    return (time.monotonic() - start) * 1e6 / calls


def down(depth: int) -> int:
    """So many levels of Python and Erlang on top of each other."""
    import erlang

    return 0 if depth == 0 else 1 + erlang.call("bench_deeper", depth - 1)


def gathered(name: str, in_flight: int, duration: float) -> float:
    """Microseconds per call of the Erlang function `name` by coroutines, so many of which wait at any time."""
    import asyncio

    import erlang

    async def run() -> float:
        start = time.monotonic()

        async def repeat() -> int:
            calls = 0
            while time.monotonic() < start + duration:
                await erlang.async_call(name, 1)
                calls += 1
            return calls

        calls = sum(await asyncio.gather(*(repeat() for _ in range(in_flight))))
        return (time.monotonic() - start) * 1e6 / max(1, calls)

    return asyncio.run(run())


def send(pid: object, message: object, times: int) -> None:
    """Sends a message to an Erlang process, so many times."""
    import erlang

    for _ in range(times):
        erlang.send(pid, message)


if __name__ == "__main__":
    # Starts on a line of input, so that two processes start together, and prints the seconds taken.
    for line in sys.stdin:
        print(seconds(int(line)), flush=True)
