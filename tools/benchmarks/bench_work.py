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


if __name__ == "__main__":
    # Starts on a line of input, so that two processes start together, and prints the seconds taken.
    for line in sys.stdin:
        print(seconds(int(line)), flush=True)
