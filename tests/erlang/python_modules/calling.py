"""Python that calls Erlang, for the suites of callbacks."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import erlang


def call(name, *args):
    return erlang.call(name, *args)


def attribute(name, *args):
    return getattr(erlang, name)(*args)


def imported(name, *args):
    """Through `from erlang import name`."""
    scope = {}
    exec(f"from erlang import {name} as function", scope)  # noqa: S102
    return scope["function"](*args)


def caught(name, *args):
    """What is seen of an exception that Erlang raised."""
    try:
        erlang.call(name, *args)
    except erlang.ErlangError as error:
        return {
            "type": type(error).__name__,
            "bases": [base.__name__ for base in type(error).__mro__],
            "function": error.function,
            "error_class": error.error_class,
            "class": getattr(error, "class"),
            "reason": error.reason,
            "text": error.text,
            "stack": error.stack,
            "str": str(error),
        }
    return "nothing was raised"


def raised(name, *args):
    """Class and text of whatever the call raises."""
    try:
        erlang.call(name, *args)
    except BaseException as error:
        return (type(error).__name__, str(error))
    return "nothing was raised"


def probed(name):
    """Everything by which libraries look for an attribute that is not there."""
    import copy
    import importlib
    import inspect
    import io
    import pickle
    import pydoc

    seen = {
        "hasattr": hasattr(erlang, name),
        "getattr": getattr(erlang, name, "default"),
        "dir": name in dir(erlang),
        "getattr_static": inspect.getattr_static(erlang, name, "default"),
        "members": len(inspect.getmembers(erlang)) > 0,
        "file": inspect.getsourcefile(erlang) is not None,
        "doc": inspect.getdoc(erlang) is not None,
        "signature": callable(getattr(erlang, "__wrapped__", None)),
        "path": hasattr(erlang, "__path__"),
        "all": hasattr(erlang, "__all__"),
        "dunder": [n for n in ("__torch_function__", "__array__", "__len__", "_ipython_display_") if hasattr(erlang, n)],
        "unwrap": inspect.unwrap(erlang) is erlang,
        "copy": copy.copy(erlang.ErlangError) is erlang.ErlangError,
    }
    out = io.StringIO()
    pydoc.Helper(output=out).help(erlang)
    seen["help"] = "Erlang" in out.getvalue()
    for what, probe in {
        "import": lambda: importlib.import_module("erlang." + name),
        "from": lambda: exec(f"from erlang import {name}", {}),  # noqa: S102
        "pickle": lambda: pickle.dumps(erlang),
        "deepcopy": lambda: copy.deepcopy(erlang),
        "attribute": lambda: getattr(erlang, name),
    }.items():
        try:
            probe()
            seen[what] = "worked"
        except BaseException as error:
            seen[what] = type(error).__name__
    return seen


def copied_error(name):
    """An error of Erlang, and the errors of unknown functions, are copied and pickled like any other exception."""
    import copy
    import pickle

    found = []
    for call_name in (name, "not registered at all"):
        try:
            erlang.call(call_name)
        except erlang.ErlangError as error:
            for other in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
                found.append(
                    type(other) is type(error)
                    and (other.function, other.error_class, other.reason, str(other))
                    == (error.function, error.error_class, error.reason, str(error))
                )
    return found


def kept(name, *args):
    """Erlang functions as objects: compared by what they call, pickled by name."""
    import copy
    import pickle

    function = getattr(erlang, name)
    return [f(*args) for f in (function, copy.copy(function), pickle.loads(pickle.dumps(function)))]


def nested(names, value):
    """f(g(h(value)))"""
    for name in reversed(names):
        value = erlang.call(name, value)
    return value


def in_finally(name, *args):
    """A callback while an exception is on its way, which it must not lose."""
    seen = []
    try:
        try:
            raise ValueError("on its way")
        finally:
            seen.append(erlang.call(name, *args))
    except ValueError as error:
        seen.append(str(error))
    return seen


def under_except_base(name, *args):
    """Swallows everything: whatever makes callbacks work must not be an exception."""
    try:
        return ["returned", erlang.call(name, *args)]
    except BaseException as error:
        return ["caught", type(error).__name__]


ended = []


def finally_calls(name, token, function, *args):
    """Notes that it ends, and tells Erlang, whatever ends it."""
    try:
        return getattr(erlang, function)(*args)
    finally:
        ended.append(token)
        erlang.call(name, token)


def take_ended():
    tokens = ended[:]
    ended.clear()
    return tokens


def sleep_steps(seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.005)
    return "slept"


def finally_sleeps(name, token, seconds):
    try:
        return sleep_steps(seconds)
    finally:
        erlang.call(name, token)


def finally_spins(name, token):
    try:
        while True:
            pass
    finally:
        erlang.call(name, token)


def sum_of_calls(name, count):
    return sum(erlang.call(name, i) for i in range(count))


def from_thread(name, *args):
    """The call from a thread that Python started; this one waits for it."""
    return from_threads(1, name, *args)[0]


def from_threads(count, name, *args):
    results = [None] * count

    def run(i):
        try:
            results[i] = ("ok", erlang.call(name, *args))
        except BaseException as error:
            results[i] = ("error", type(error).__name__, str(error))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def from_executor(workers, name, values):
    with ThreadPoolExecutor(workers) as executor:
        return list(executor.map(lambda value: erlang.call(name, value), values))


def thread_tree(name, depth):
    """A thread in each level: Erlang calls this again from the callback."""
    if depth == 0:
        return 0
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(erlang.call, name, depth - 1).result() + 1


def leave_thread(name, *args):
    """Starts a thread that outlives the request."""
    threading.Thread(target=erlang.call, args=(name, *args), daemon=True).start()
    return "started"


async def _gather(name, count):
    return await asyncio.gather(*(erlang.async_call(name, i) for i in range(count)))


def gather(name, count):
    return asyncio.run(_gather(name, count))


def gather_in_loop(kind, name, count):
    if kind == "runner":
        with asyncio.Runner() as runner:
            return runner.run(_gather(name, count))
    if kind == "two_in_turn":
        return gather(name, count) + gather(name, count)
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(_gather(name, count))
    finally:
        loop.close()


def gather_in_threads(threads, name, count):
    with ThreadPoolExecutor(threads) as executor:
        return list(executor.map(lambda _: gather(name, count), range(threads)))


def async_one(name, *args):
    return asyncio.run(_one(name, args))


async def _one(name, args):
    return await erlang.async_call(name, *args)


def async_raised(name, *args):
    async def run():
        found = []
        for _ in range(2):
            try:
                await erlang.async_call(name, *args)
            except erlang.Error as error:
                found.append((type(error).__name__, str(error), getattr(error, "function", None)))
        return found

    return asyncio.run(run())


def async_cancelled(name, *args):
    """A task that waits for Erlang is cancelled."""

    async def run():
        task = asyncio.create_task(_one(name, args))
        await asyncio.sleep(0.05)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return "cancelled"

    return asyncio.run(run())


def async_timeout(seconds, name, *args):
    async def run():
        try:
            async with asyncio.timeout(seconds):
                return await erlang.async_call(name, *args)
        except TimeoutError:
            return "timeout"

    return asyncio.run(run())


def async_beside(name, *args):
    """Other coroutines run while one waits for Erlang."""

    async def run():
        task = asyncio.create_task(_one(name, args))
        turns = 0
        while not task.done():
            turns += 1
            if turns == 20:
                erlang.call("beside_go")
            await asyncio.sleep(0.001)
        return (await task, turns >= 20)

    return asyncio.run(run())


def warm():
    """Imports what the other functions import late."""
    return len([erlang.async_call])


def tell_and(name, function, *args):
    """Tells Erlang that the function below is about to run."""
    erlang.call(name)
    return globals()[function](*args)
