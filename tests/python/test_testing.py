"""Code that uses ``erlang`` can be imported and tested without a node."""

import asyncio
import sys
import textwrap
import types
import unittest

import erlang
from erlang import testing

SHOP = """
    import erlang
    from erlang import price

    def total(items):
        sum_ = sum(price(item) for item in items)
        erlang.send(erlang.self(), ("sold", len(items)))
        return sum_

    def count():
        return erlang.state_incr("count")

    async def later(item):
        return await erlang.async_call("price", item)
"""


def load(code: str = SHOP) -> types.ModuleType:
    """A module as ``import`` makes it."""
    module = types.ModuleType("shop")
    exec(textwrap.dedent(code), module.__dict__)
    return module


class Testing(unittest.TestCase):
    def test_a_module_with_registered_names_is_imported_and_works(self) -> None:
        with testing.Node(price={"tea": 3, "cake": 5}.__getitem__) as node:
            shop = load()
            self.assertEqual(shop.total(["tea", "cake"]), 8)
            self.assertEqual(node.sent, [(node.caller, ("sold", 2))])
            self.assertEqual(node.caller, testing.pid())
            self.assertEqual([shop.count(), shop.count(), node.state], [1, 2, {"count": 2}])

    def test_a_name_that_was_imported_is_the_function_of_the_node_that_is_entered(self) -> None:
        with testing.Node(price=lambda item: 1):
            shop = load()
        with testing.Node(price=lambda item: 2) as node:
            self.assertEqual(shop.total(["tea"]), 2)
            node.functions["price"] = lambda item: 3
            self.assertEqual(shop.total(["tea"]), 3)
        with self.assertRaisesRegex(RuntimeError, "erlang.testing"):
            shop.total(["tea"])

    def test_only_registered_names_are_there(self) -> None:
        with testing.Node(price=lambda item: 1):
            self.assertFalse(hasattr(erlang, "prise"))
            with self.assertRaises(ImportError):
                load("from erlang import prise")
            with self.assertRaises(erlang.UnknownFunction):
                erlang.call("prise", "tea")
            with self.assertRaisesRegex(TypeError, "no keyword arguments"):
                erlang.price(item="tea")
        with self.assertRaises(ImportError):
            load()

    def test_errors_of_functions_reach_the_code(self) -> None:
        def refuse(item: str) -> int:
            raise erlang.ErlangError(f"no {item}")

        with testing.Node(price=refuse):
            shop = load()
            with self.assertRaisesRegex(erlang.ErlangError, "^no tea$"):
                shop.total(["tea"])

    def test_coroutines(self) -> None:
        async def price(item: str) -> int:
            await asyncio.sleep(0)
            return len(item)

        with testing.Node(price=price):
            shop = load()
            self.assertEqual(asyncio.run(shop.later("tea")), 3)
            with self.assertRaisesRegex(TypeError, "async_call"):
                shop.total(["tea"])
        with testing.Node(price=lambda item: 7):
            self.assertEqual(asyncio.run(shop.later("tea")), 7)

    def test_processes(self) -> None:
        with testing.Node() as node:
            node.names["log"] = testing.pid(2)
            self.assertEqual([erlang.whereis("log"), erlang.whereis("nobody")], [testing.pid(2), None])
            erlang.send("log", 1)
            erlang.send(("log", "other@host"), 2)
            erlang.reply((testing.pid(3), "tag"), 3)
            self.assertEqual(node.sent, [("log", 1), (("log", "other@host"), 2), (testing.pid(3), ("tag", 3))])
            with self.assertRaises(erlang.ProcessError):
                erlang.send("nobody", 1)
            with self.assertRaises(TypeError):
                erlang.send(5, 1)  # type: ignore[arg-type]
            node.caller = None
            self.assertIsNone(erlang.self())
            self.assertEqual(repr(testing.pid(2)), "Pid<0.2.0>")
            self.assertIs(erlang.atom("a"), erlang.atom("a"))

    def test_state(self) -> None:
        with testing.Node() as node:
            node.state["text"] = "x"
            self.assertEqual([erlang.state_get("n", 5), erlang.state_incr("n", 2), erlang.state_decr("n")], [5, 2, 1])
            erlang.state_set("m", [1])
            self.assertEqual(sorted(erlang.state_keys()), ["m", "n", "text"])
            erlang.state_delete("m")
            erlang.state_delete("m")
            with self.assertRaises(erlang.ErlangError) as raised:
                erlang.state_incr("text")
            self.assertEqual(raised.exception.reason, "badarg")
            erlang.state_clear()
            self.assertEqual(node.state, {})

    def test_one_node_at_a_time(self) -> None:
        with testing.Node(), self.assertRaisesRegex(RuntimeError, "entered already"), testing.Node():
            pass
        with testing.Node():
            pass

    def test_there_is_no_second_node_in_the_port_program(self) -> None:
        sys.modules["_erlang"] = types.ModuleType("_erlang")
        try:
            with self.assertRaisesRegex(RuntimeError, "without a node"), testing.Node():
                pass
        finally:
            del sys.modules["_erlang"]


if __name__ == "__main__":
    unittest.main()
