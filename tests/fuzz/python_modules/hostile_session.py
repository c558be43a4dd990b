"""A session with something of everything, whose frames are recorded and changed (hostile_run)."""

import asyncio
import sys

import erlang


def echo(value):
    return value


def fail():
    raise ValueError("on purpose")


def say():
    print("to standard output", flush=True)
    print("to standard error", file=sys.stderr, flush=True)


def callbacks():
    erlang.state_set("hostile_counter", 1)
    return [erlang.call("hostile_echo", number) for number in range(5)] + [
        erlang.whereis("init_not_there") is None,
        erlang.state_get("hostile_counter"),
        erlang.call("hostile_echo", b"large" * 250000) is not None,
    ]


def messages(to):
    for number in range(20):
        erlang.send(to, ("message", number))
    erlang.send(to, b"large" * 250000)


def atoms():
    return [erlang.atom(f"hostile_session_{number}") for number in range(3)]


def items(number):
    yield from range(number)


async def later(value):
    await asyncio.sleep(0.05)
    return value
