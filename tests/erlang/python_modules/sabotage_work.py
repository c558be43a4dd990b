"""A little of what programs do, for tests/fault/health_SUITE: it fails when anything that all of them need is gone."""

import threading

import erlang


def work():
    with open("/dev/null", "rb") as file:
        empty = file.read()
    import importlib
    import sys

    sys.modules.pop("colorsys", None)
    importlib.invalidate_caches()
    import colorsys  # noqa: F401

    class Made:
        length = len("abc")

    scope = {}
    exec(compile("value = 2 * 2", "<work>", "exec"), scope)  # noqa: S102
    ran = []
    thread = threading.Thread(target=ran.append, args=(1,))
    thread.start()
    thread.join()
    bytearray(1 << 23)

    def down(left):
        return 0 if left == 0 else 1 + down(left - 1)

    assert down(50) == 50
    assert erlang.call is not None
    return Made.length + scope["value"] + len(empty) + len(ran) - 2, complex(1, 2)
