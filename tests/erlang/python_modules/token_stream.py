"""Tokens as a language model's server sends them: several at once, then nothing for a while. For real_use_SUITE."""

import asyncio
import random

_made = {}
_ends = {}


async def answer(name, count, seed):
    """Yields 'token 0', 'token 1' ... The pauses and bursts follow from the seed; the end is written down."""
    dice = random.Random(seed)
    _made[name] = 0
    left = 0
    try:
        for number in range(count):
            if left == 0:
                await asyncio.sleep(dice.choice([0, 0.001, 0.003]))
                left = dice.choice([1, 2, 5, 50])
            left -= 1
            _made[name] = number + 1
            yield f"token {number}"
        _ends[name] = "complete"
    except GeneratorExit:
        _ends[name] = "closed"
        raise
    except asyncio.CancelledError:
        _ends[name] = "cancelled"
        raise
    finally:
        # A request for the model to stop, say.
        await asyncio.sleep(0.001)
        _ends[name] += ", cleaned up"


async def thinking(name):
    """One token, and then a wait that nothing ends."""
    try:
        yield "hm"
        await asyncio.get_running_loop().create_future()
    finally:
        await asyncio.sleep(0.001)
        _ends[name] = "cleaned up"


def made(name):
    """How many tokens there have been."""
    return _made.get(name, 0)


def end(name):
    return _ends.get(name)
