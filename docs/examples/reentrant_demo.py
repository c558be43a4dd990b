"""The Python half of reentrant_demo.erl: functions that call Erlang, which calls them again."""

from __future__ import annotations

from collections.abc import Callable

import erlang


def arithmetic(a: int, b: int) -> dict[str, int]:
    """Every step of this is an Erlang function; nested calls, as anywhere in Python."""
    return {
        "sum": erlang.add(a, b),
        "product": erlang.multiply(a, b),
        "square of the sum": erlang.multiply(erlang.add(a, b), erlang.add(a, b)),
    }


def divide(a: int, b: int) -> str:
    """What Erlang raises is an exception."""
    try:
        return f"{a} / {b} = {erlang.divide(a, b)}"
    except erlang.ErlangError as error:
        return f"{a} / {b} failed: {error.reason}"


def fibonacci(n: int) -> int:
    """Erlang remembers what is known already, and asks this function for the rest."""
    if n < 2:
        return n
    value: int = erlang.fibonacci(n - 1) + erlang.fibonacci(n - 2)
    return value


def level(n: int) -> list[str]:
    """Goes down by turns: this is called by Erlang, and calls Erlang, which calls this."""
    here = f"Python {n}"
    if n == 0:
        return [here]
    return [here, *erlang.next_level(n)]


class Counter:
    """An object that stays in Python, and whose methods Erlang calls."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.total = 0

    def count(self, times: int) -> int:
        self.total += self.step * times
        return self.total

    def report(self) -> str:
        return f"{self.total} in steps of {self.step}"


methods: dict[str, Callable[..., object]] = {}


def call_method(name: str, *args: object) -> object:
    """For Erlang: runs the method that was handed out under this name."""
    return methods[name](*args)


def methods_as_callbacks(step: int, times: list[int]) -> str:
    """Hands out methods of an object; the Erlang function `for_each` calls one while this function waits."""
    counter = Counter(step)
    methods["count"] = counter.count
    methods["report"] = counter.report
    try:
        totals = erlang.for_each("count", times)
        return f"totals {totals}: {erlang.run_method('report')}"
    finally:
        methods.clear()
