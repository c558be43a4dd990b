"""The Python half of shared state asks Erlang for the right thing. What Erlang does then is tested in state_SUITE."""

from __future__ import annotations

import typing
import unittest
from typing import Any
from unittest import mock

import erlang


class AskingTest(unittest.TestCase):
    def setUp(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.answer: Any = None

        def call(*args: Any) -> Any:
            self.asked.append(args)
            return self.answer

        patch = mock.patch("erlang._state._ask", call)
        patch.start()
        self.addCleanup(patch.stop)

    def test_get_tells_a_stored_value_from_none_stored(self) -> None:
        """Proves that the default stands for a missing key only, whatever the value is."""
        for stored in (1, None, False, 0, (), (False,)):
            self.answer = (True, stored)
            self.assertEqual(erlang.state_get("k", "default"), stored)
        self.answer = False
        self.assertIsNone(erlang.state_get("k"))
        self.assertEqual(erlang.state_get("k", default=7), 7)
        self.assertEqual(set(self.asked), {("state_get", "k")})

    def test_changes(self) -> None:
        """Proves what is asked for, and that an answer that means nothing to Python is not passed on."""
        self.answer = "ok"
        self.assertIsNone(erlang.state_set("k", [1]))  # type: ignore[func-returns-value]
        self.assertIsNone(erlang.state_delete("k"))  # type: ignore[func-returns-value]
        self.assertIsNone(erlang.state_clear())  # type: ignore[func-returns-value]
        self.assertEqual(self.asked, [("state_set", "k", [1]), ("state_delete", "k"), ("state_clear",)])

    def test_keys(self) -> None:
        """Proves that the keys come as they are."""
        self.answer = ["a", 1]
        self.assertEqual(erlang.state_keys(), ["a", 1])
        self.assertEqual(self.asked, [("state_keys",)])

    def test_counting(self) -> None:
        """Proves that down is up by the negative, and that True counts as 1: Erlang would get an atom."""
        self.answer = 5
        for total in (erlang.state_incr("k"), erlang.state_incr("k", 4), erlang.state_incr("k", by=True)):
            self.assertEqual(total, 5)
        erlang.state_decr("k")
        erlang.state_decr("k", by=1 << 70)
        up, down = [("state_incr", "k", n) for n in (1, 4, 1)], [("state_decr", "k", n) for n in (-1, -(1 << 70))]
        self.assertEqual(self.asked, up + down)
        self.assertIs(type(self.asked[2][2]), int)

    def test_only_integers_count(self) -> None:
        """Proves that Erlang is not even asked to add something else."""
        for by in (1.0, "1", None):
            with self.assertRaises(TypeError):
                erlang.state_incr("k", by)  # type: ignore[arg-type]
            with self.assertRaises(TypeError):
                erlang.state_decr("k", by)  # type: ignore[arg-type]
        self.assertEqual(self.asked, [])


class HintsTest(unittest.TestCase):
    def test_hints_can_be_had(self) -> None:
        """Proves that tools that ask for the types of the functions get them, although `typing` is not imported."""
        for function in (erlang.state_get, erlang.state_set, erlang.state_delete, erlang.state_keys, erlang.state_incr):
            self.assertIn("return", typing.get_type_hints(function))


class WithoutErlangTest(unittest.TestCase):
    def test_says_that_there_is_no_erlang(self) -> None:
        """Proves that the package is importable without the port program, and says what is missing when it is used."""
        for use in (erlang.state_keys, lambda: erlang.state_get("k"), lambda: erlang.state_incr("k")):
            with self.assertRaisesRegex(RuntimeError, "erlang_python"):
                use()
