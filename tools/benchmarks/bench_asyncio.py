"""What tools/bench lets event loops do: every figure comes from the same code on each loop, in a context.

Run as a program it is the client of the echo server, in a process of its own, without asyncio.
"""

import asyncio
import selectors
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

MESSAGE = b"x" * 64


def _factory(kind: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if kind == "erlang":
        import erlang

        return erlang.new_event_loop
    if kind == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    return asyncio.SelectorEventLoop


def _run(kind: str, main: Awaitable[float]) -> float:
    with asyncio.Runner(loop_factory=_factory(kind)) as runner:
        return runner.run(main)


def available(kind: str) -> bool:
    try:
        _factory(kind)
    except ImportError:
        return False
    return True


async def _trivial() -> int:
    return 1


def tasks(kind: str, in_flight: int, seconds: float) -> float:
    """Tasks of a trivial coroutine per second, so many at a time."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        done = 0
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            if in_flight == 1:
                for _ in range(100):
                    await loop.create_task(_trivial())
                done += 100
            else:
                await asyncio.gather(*[_trivial() for _ in range(in_flight)])
                done += in_flight
        return done / (time.perf_counter() - start)

    return _run(kind, main())


def runs(kind: str, seconds: float) -> float:
    """Loops made, run for one trivial coroutine, and closed, per second."""
    done = 0
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        _run(kind, _trivial())
        done += 1
    return done / (time.perf_counter() - start)


def wakes(kind: str, seconds: float) -> float:
    """Round trips per second between a thread and the loop, which sleeps each time (call_soon_threadsafe)."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        asked = threading.Semaphore(0)
        answered: list[Any] = [None]
        stop = False

        def thread() -> None:
            while True:
                asked.acquire()
                if stop:
                    return
                loop.call_soon_threadsafe(answered[0].set_result, None)

        other = threading.Thread(target=thread)
        other.start()
        done = 0
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            answered[0] = loop.create_future()
            asked.release()
            await answered[0]
            done += 1
        rate = done / (time.perf_counter() - start)
        stop = True
        asked.release()
        other.join()
        return rate

    return _run(kind, main())


def posts(kind: str, threads: int, each: int) -> float:
    """Callbacks per second that threads hand to a loop, without waiting for each other (call_soon_threadsafe)."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        finished = loop.create_future()
        left = threads * each

        def count() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                finished.set_result(None)

        def thread() -> None:
            for _ in range(each):
                loop.call_soon_threadsafe(count)

        start = time.perf_counter()
        others = [threading.Thread(target=thread) for _ in range(threads)]
        for other in others:
            other.start()
        await finished
        rate = threads * each / (time.perf_counter() - start)
        for other in others:
            other.join()
        return rate

    return _run(kind, main())


def lateness(kind: str, delay: float, times: int) -> float:
    """By how many seconds `asyncio.sleep(delay)` is late: the median."""

    async def main() -> float:
        late = []
        for _ in range(times):
            start = time.perf_counter()
            await asyncio.sleep(delay)
            late.append(time.perf_counter() - start - delay)
        return statistics.median(late)

    return _run(kind, main())


def timers(kind: str, count: int, seconds: float) -> float:
    """Timers per second: so many tasks sleep for a millisecond, again and again."""

    async def main() -> float:
        done = 0
        start = time.perf_counter()

        async def one() -> None:
            nonlocal done
            while time.perf_counter() - start < seconds:
                await asyncio.sleep(0.001)
                done += 1

        await asyncio.gather(*[one() for _ in range(count)])
        return done / (time.perf_counter() - start)

    return _run(kind, main())


def sleeps(kind: str, count: int, delay: float) -> float:
    """Sleeps per second when so many begin at once."""

    async def main() -> float:
        start = time.perf_counter()
        await asyncio.gather(*[asyncio.sleep(delay) for _ in range(count)])
        return count / (time.perf_counter() - start)

    return _run(kind, main())


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[attr-defined]


async def _echo_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1024):
            writer.write(data)
            await writer.drain()
    except ConnectionResetError:  # the client leaves without reading the last answers
        pass
    writer.close()


def echo(kind: str, style: str, connections: int, seconds: float) -> float:
    """Requests of 64 bytes per second that a server answers, asked by a client in a process of its own."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        if style == "protocol":
            server: Any = await loop.create_server(_Echo, "127.0.0.1", 0)
        else:
            server = await asyncio.start_server(_echo_stream, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        command = [sys.executable, "-I", __file__, str(port), str(connections), str(seconds)]
        client = await loop.run_in_executor(None, lambda: subprocess.Popen(command, stdout=subprocess.PIPE))
        # In a thread, so that no child watcher takes part.
        out, _ = await loop.run_in_executor(None, client.communicate)
        server.close()
        return float(out)

    return _run(kind, main())


def _client(port: int, connections: int, seconds: float) -> float:
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    for each in sockets:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    done = 0
    if connections == 1:
        only = sockets[0]
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            only.sendall(MESSAGE)
            if len(only.recv(1024)) != len(MESSAGE):
                raise RuntimeError("not the message")
            done += 1
        return done / (time.perf_counter() - start)
    selector = selectors.DefaultSelector()
    for each in sockets:
        selector.register(each, selectors.EVENT_READ)
        each.sendall(MESSAGE)
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        for key, _ in selector.select():
            each = key.fileobj  # type: ignore[assignment]
            if len(each.recv(1024)) != len(MESSAGE):
                raise RuntimeError("not the message")
            each.sendall(MESSAGE)
            done += 1
    return done / (time.perf_counter() - start)


if __name__ == "__main__":
    print(_client(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
