"""Callbacks beyond the limit of a pool, for callback_limit_SUITE."""

import asyncio
import threading

import erlang


async def gather(name, count):
    return await asyncio.gather(*(erlang.async_call(name, n) for n in range(count)))


async def one(name, *args):
    return await erlang.async_call(name, *args)


async def start_and_cancel(name, count):
    """Starts as many as that, lets them leave, and cancels them all."""
    tasks = [asyncio.create_task(one(name, n)) for n in range(count)]
    await asyncio.sleep(0.2)
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    return sum(isinstance(result, asyncio.CancelledError) for result in ended)


async def payloads(name, count, size):
    return len(await asyncio.gather(*(erlang.async_call(name, bytes(size)) for _ in range(count))))


def in_threads(name, count):
    """As many threads as that call at once."""
    results = []
    threads = [threading.Thread(target=lambda n=n: results.append(erlang.call(name, n))) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(results)


def tell(name, value):
    return erlang.call(name, value)


def send_while_waiting(name, pid, count):
    """Callbacks that wait for a message, and the message, whose destination Erlang is asked for."""

    async def run():
        waiting = asyncio.gather(*(erlang.async_call(name, n) for n in range(count)))
        await asyncio.sleep(0.2)
        erlang.send(pid, "go on")
        return len(await waiting)

    return asyncio.run(run())
