"""The Python half of erlang_concurrency.erl: work is spread over Erlang processes, in three ways."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import erlang


def word_counts(texts: list[str]) -> dict[str, int]:
    """Threads: each waits for the Erlang function `count_words`, whose calls all run at once in Erlang."""
    totals: dict[str, int] = {}
    with ThreadPoolExecutor(max_workers=8) as pool:
        for counts in pool.map(lambda text: erlang.call("count_words", text), texts):
            for word, number in counts.items():
                totals[word] = totals.get(word, 0) + number
    return totals


def squares(numbers: list[int]) -> list[int]:
    """Coroutines: as many calls at once as there are numbers, no thread for any of them."""

    async def square(number: int) -> int:
        answer: int = await erlang.async_call("slow_square", number)
        return answer

    async def gather() -> list[int]:
        return await asyncio.gather(*map(square, numbers))

    return asyncio.run(gather())


def first_answer(question: int, workers: int) -> int:
    """The fastest of several counts, and Erlang ends the processes of the others."""

    async def ask(worker: int) -> int:
        answer: int = await erlang.async_call("ask", worker, question)
        return answer

    async def race() -> int:
        tasks = [asyncio.create_task(ask(worker)) for worker in range(workers)]
        done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()
        return done.pop().result()

    return asyncio.run(race())


def mapped(jobs: list[int], workers: int) -> list[list[int]]:
    """Messages: long-living Erlang processes get the jobs in turn, and a collector keeps what they make of them."""
    collector, *pids = erlang.call("start_workers", workers)
    for index, job in enumerate(jobs):
        erlang.send(pids[index % workers], ("job", collector, index, job))
    results: list[list[int]] = erlang.call("collect", collector, len(jobs))
    for pid in [collector, *pids]:
        erlang.send(pid, "stop")
    return results
