"""Event loops at work, for asyncio_SUITE. Every function is called by Erlang and runs a loop of its own."""

import asyncio
import os
import signal
import socket
import ssl
import sys
import threading
import time
import warnings

import erlang


async def _name():
    return type(asyncio.get_running_loop()).__name__


def name():
    return erlang.run(_name())


def asyncio_is_imported():
    return "asyncio" in sys.modules


def meet(file, parties):
    """Waits, in a loop, until so many contexts are in this function at once."""

    async def main():
        with open(file, "a") as out:
            out.write("x")
        while os.path.getsize(file) < parties:
            await asyncio.sleep(0.005)
        return [id(asyncio.get_running_loop()), threading.get_native_id()]

    return erlang.run(main())


async def _ask(reader, writer, lines):
    answers = []
    for line in lines:
        writer.write(line.encode() + b"\n")
        await writer.drain()
        answers.append((await reader.readline()).decode().strip())
    writer.close()
    await writer.wait_closed()
    return answers


async def _upper(reader, writer):
    while line := await reader.readline():
        writer.write(line.upper())
        await writer.drain()
    writer.close()


def tcp(clients):
    async def main():
        async with await asyncio.start_server(_upper, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]

            async def client(n):
                streams = await asyncio.open_connection("127.0.0.1", port)
                return await _ask(*streams, [f"a{n}", f"b{n}"])

            return await asyncio.gather(*[client(n) for n in range(clients)])

    return erlang.run(main())


def unix(path):
    async def main():
        async with await asyncio.start_unix_server(_upper, path):
            return await _ask(*await asyncio.open_unix_connection(path), ["one", "two"])

    return erlang.run(main())


def tls(certificate, key):
    async def main():
        serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        serving.load_cert_chain(certificate, key)
        asking = ssl.create_default_context(cafile=certificate)
        async with await asyncio.start_server(_upper, "127.0.0.1", 0, ssl=serving) as server:
            port = server.sockets[0].getsockname()[1]
            streams = await asyncio.open_connection("127.0.0.1", port, ssl=asking, server_hostname="localhost")
            version = streams[1].get_extra_info("ssl_object").version()
            return [version, await _ask(*streams, ["secret", "x" * 50_000])]

    version, answers = erlang.run(main())
    return [version, answers[0], len(answers[1])]


def udp():
    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, address):
            self.transport.sendto(data.upper(), address)

    class Client(asyncio.DatagramProtocol):
        def __init__(self, answer):
            self.answer = answer

        def datagram_received(self, data, address):
            self.answer.set_result(data.decode())

    async def main():
        loop = asyncio.get_running_loop()
        server, _ = await loop.create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
        answer = loop.create_future()
        address = server.get_extra_info("sockname")
        client, _ = await loop.create_datagram_endpoint(lambda: Client(answer), remote_addr=address)
        client.sendto(b"datagram")
        try:
            return await answer
        finally:
            client.close()
            server.close()

    return erlang.run(main())


def children(count):
    """Subprocesses at once: what each wrote, and how it ended."""

    async def child(n):
        code = f"import sys; print(sys.stdin.read() * 2); sys.exit({n})"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-c", code, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate(str(n).encode())
        return [out.decode().strip(), process.returncode]

    async def main():
        return await asyncio.gather(*[child(n) for n in range(count)])

    return erlang.run(main())


def killed_child():
    async def main():
        process = await asyncio.create_subprocess_shell("sleep 1000")
        process.kill()
        return await process.wait()

    return erlang.run(main())


def executor(count):
    async def main():
        loop = asyncio.get_running_loop()
        threads = await asyncio.gather(*[asyncio.to_thread(threading.get_ident) for _ in range(count)])
        return [len(threads), threading.get_ident() in threads, await loop.run_in_executor(None, sum, [1, 2, 3])]

    return erlang.run(main())


def timers():
    """Numbers in the order in which their timers went off, though none before its time."""

    async def main():
        loop = asyncio.get_running_loop()
        order, early = [], []
        start = loop.time()

        def fire(number, delay):
            order.append(number)
            if loop.time() < start + delay:
                early.append(delay)

        for number, delay in [(4, 0.06), (2, 0.0031), (1, 0.0004), (3, 0.025), (0, 0)]:
            loop.call_later(delay, fire, number, delay)
        cancelled = loop.call_later(0.001, fire, 99, 0.001)
        cancelled.cancel()
        await asyncio.sleep(0.07)
        return [order, early]

    return erlang.run(main())


def threadsafe(threads, each):
    """What threads hand to the loop while it sleeps and while it does not: all of it, and in order per thread."""

    async def main():
        loop = asyncio.get_running_loop()
        seen = {n: [] for n in range(threads)}
        finished = loop.create_future()
        left = threads * each

        def take(thread, number):
            nonlocal left
            seen[thread].append(number)
            left -= 1
            if left == 0:
                finished.set_result(None)

        def thread(n):
            for number in range(each):
                loop.call_soon_threadsafe(take, n, number)
                if number % 10 == 0:
                    time.sleep(0.0005)

        others = [threading.Thread(target=thread, args=(n,)) for n in range(threads)]
        for other in others:
            other.start()
        await finished
        for other in others:
            other.join()
        return all(numbers == list(range(each)) for numbers in seen.values())

    return erlang.run(main())


def ping_pong(rounds):
    """A thread wakes the sleeping loop again and again: a wake-up that is lost leaves it asleep for ever."""

    async def main():
        loop = asyncio.get_running_loop()
        asked = threading.Semaphore(0)
        future = None

        def thread():
            for _ in range(rounds):
                asked.acquire()
                loop.call_soon_threadsafe(future.set_result, None)

        other = threading.Thread(target=thread)
        other.start()
        for _ in range(rounds):
            future = loop.create_future()
            asked.release()
            await future
        other.join()
        return rounds

    return erlang.run(main())


def signal_handler():
    async def main():
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, print)

    erlang.run(main())


def idle_cpu(seconds):
    """CPU seconds that the thread uses while its loop waits for a timer far away and a socket that stays silent."""

    async def main():
        loop = asyncio.get_running_loop()
        mine, other = socket.socketpair()
        loop.add_reader(mine, print)
        before = time.thread_time()
        await asyncio.sleep(seconds)
        used = time.thread_time() - before
        loop.remove_reader(mine)
        mine.close()
        other.close()
        return used

    return erlang.run(main())


def forever(file, cleaned):
    """Sleeps for ever; says that it does, and that its `finally` has run."""

    async def main():
        try:
            with open(file, "w"):
                pass
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            with open(cleaned, "w"):
                pass

    erlang.run(main())


def descriptors(runs):
    """How many descriptors are left behind by loops that were used and closed."""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(runs):
        erlang.run(asyncio.sleep(0.0001))
    return len(os.listdir("/proc/self/fd")) - before


def run_in_loop():
    async def main():
        erlang.run(_name())

    erlang.run(main())


def failing():
    async def main():
        raise LookupError("not here")

    erlang.run(main())


def spawned():
    async def later(out):
        await erlang.sleep(0.001)
        out.append("done")

    async def main():
        out = []
        task = erlang.spawn_task(later(out), name="later")
        name = task.get_name()
        del task
        while not out:
            await asyncio.sleep(0.001)
        return [name, out]

    return erlang.run(main())


def spawn_outside():
    erlang.spawn_task(_name())


def blocking_sleep():
    """`erlang.sleep` without a loop lets other threads run: they are needed for it to end early enough to be seen."""
    ticks = []
    stop = False

    def thread():
        while not stop:
            ticks.append(1)
            time.sleep(0.001)

    other = threading.Thread(target=thread)
    other.start()
    result = erlang.sleep(0.05)
    seen = len(ticks)
    stop = True
    other.join()
    return [result, seen > 1]


def mode():
    return erlang.detect_mode().name


def installed():
    """The names of the loops that asyncio makes before and after `install`, and after it is taken back."""
    names = [asyncio.run(_name())]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        erlang.install(silent=True)
        silent = len(caught)
        erlang.install()
        names.append((silent, [(w.category.__name__, w.filename == __file__) for w in caught]))
    try:
        names.append(asyncio.run(_name()))
        names.append(asyncio.get_event_loop_policy() is erlang.get_event_loop_policy())
        names.append(isinstance(asyncio.get_event_loop_policy(), erlang.EventLoopPolicy))
        names.append(erlang.ErlangEventLoopPolicy is erlang.EventLoopPolicy)
    finally:
        asyncio.set_event_loop_policy(None)
    names.append(asyncio.run(_name()))
    return names


def install():
    erlang.install()


def default_loop():
    return asyncio.run(_name())


def by_hand():
    loop = erlang.new_event_loop()
    try:
        return [loop.run_until_complete(_name()), isinstance(loop, erlang.ErlangEventLoop)]
    finally:
        loop.close()


def interpreter():
    """A number that interpreters that live at the same time do not share."""
    return id(sys.modules)


def ask_erlang(name, count):
    async def main():
        return await asyncio.gather(*[erlang.async_call(name, number) for number in range(count)])

    return erlang.run(main())
