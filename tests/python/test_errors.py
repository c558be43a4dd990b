"""The errors of the package say what happened, keep it in attributes, and survive copying and pickling."""

from __future__ import annotations

import copy
import pickle
import unittest
from unittest import mock

import erlang
from erlang import ConversionError, ErlangError, Error, ProcessError, UnknownFunction


def copies(error: BaseException) -> list[BaseException]:
    pickled = [pickle.dumps(error, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    return [copy.copy(error), copy.deepcopy(error), *map(pickle.loads, pickled)]


class FamilyTest(unittest.TestCase):
    def test_all_can_be_caught_as_one(self) -> None:
        for kind in (ConversionError, ErlangError, ProcessError, UnknownFunction):
            self.assertTrue(issubclass(kind, Error))
            self.assertTrue(issubclass(kind, Exception))

    def test_each_is_what_code_that_knows_nothing_of_erlang_expects(self) -> None:
        self.assertTrue(issubclass(ErlangError, RuntimeError))
        self.assertTrue(issubclass(UnknownFunction, ErlangError))
        self.assertTrue(issubclass(UnknownFunction, AttributeError))
        self.assertFalse(issubclass(ProcessError, ErlangError))


class ErlangErrorTest(unittest.TestCase):
    def error(self) -> ErlangError:
        return ErlangError("add", "error", ("badarg", [1]), "error:{badarg,[1]}", "m:f/1 (m.erl, line 3)")

    def test_it_has_what_erlang_said(self) -> None:
        error = self.error()
        self.assertEqual(error.function, "add")
        self.assertEqual(error.error_class, "error")
        self.assertEqual(getattr(error, "class"), "error")
        self.assertEqual(error.reason, ("badarg", [1]))
        self.assertEqual(error.text, "error:{badarg,[1]}")
        self.assertEqual(error.stack, "m:f/1 (m.erl, line 3)")

    def test_its_text_names_the_function_when_there_is_one(self) -> None:
        self.assertEqual(str(self.error()), "add: error:{badarg,[1]}")
        self.assertEqual(str(ErlangError(None, "exit", None, "exit:killed", "")), "exit:killed")

    def test_copies_are_the_same(self) -> None:
        for other in copies(self.error()):
            self.assertIs(type(other), ErlangError)
            self.assertEqual(vars(other), vars(self.error()))
            self.assertEqual(str(other), str(self.error()))

    def test_a_message_will_do(self) -> None:
        error = ErlangError("boom")
        self.assertEqual(str(error), "boom")
        self.assertEqual(error.args, ("boom",))
        self.assertEqual((error.function, error.error_class, error.stack), (None, "error", ""))
        self.assertEqual((error.reason, error.text), ("boom", "boom"))
        for other in copies(error):
            self.assertIs(type(other), ErlangError)
            self.assertEqual((vars(other), other.args, str(other)), (vars(error), error.args, "boom"))

    def test_it_is_made_of_anything_as_other_exceptions_are(self) -> None:
        self.assertEqual(str(ErlangError()), "")
        self.assertEqual(str(ErlangError("boom", 1)), "('boom', 1)")
        self.assertEqual(ErlangError(("badkey", 1)).reason, ("badkey", 1))
        with self.assertRaises(ErlangError):
            raise ErlangError

    def test_it_can_be_subclassed_and_mocked(self) -> None:
        class Special(ErlangError):
            def __init__(self, code: int) -> None:
                super().__init__(f"code {code}")
                self.code = code

        self.assertEqual((str(Special(3)), Special(3).code, Special(3).error_class), ("code 3", 3, "error"))
        with self.assertRaisesRegex(ErlangError, "^down$"):
            mock.Mock(side_effect=ErlangError("down"))()
        self.assertEqual(mock.create_autospec(ErlangError)("boom").mock_calls, [])


class UnknownFunctionTest(unittest.TestCase):
    def test_it_names_the_function_and_what_registers_one(self) -> None:
        error = UnknownFunction("add")
        self.assertEqual((error.function, error.error_class, error.reason), ("add", "error", "undef"))
        self.assertRegex(str(error), "^add: .*register_function")

    def test_copies_are_the_same(self) -> None:
        for other in copies(UnknownFunction("add")):
            self.assertIs(type(other), UnknownFunction)
            self.assertEqual(vars(other), vars(UnknownFunction("add")))


class ConversionErrorTest(unittest.TestCase):
    def test_every_reason_has_a_sentence(self) -> None:
        for reason, text in (
            ("depth", "deeper than 1000 levels"),
            (("map_key", "{}"), "cannot hash {}"),
            (("duplicate_key", "1"), "the same as 1"),
            (("type", "object"), "no Erlang term for objects of object"),
            ("something new", "something new"),
        ):
            self.assertIn(text, str(ConversionError(reason)))
            self.assertEqual(ConversionError(reason).reason, reason)

    def test_copies_are_the_same(self) -> None:
        for other in copies(ConversionError(("type", "object"))):
            self.assertIs(type(other), ConversionError)
            self.assertEqual(vars(other), {"reason": ("type", "object")})


class ProcessErrorTest(unittest.TestCase):
    def test_copies_are_the_same(self) -> None:
        for other in copies(ProcessError("no process Pid<0.1.0>")):
            self.assertIs(type(other), ProcessError)
            self.assertEqual(str(other), "no process Pid<0.1.0>")


class WithoutErlangTest(unittest.TestCase):
    def test_says_that_there_is_no_erlang(self) -> None:
        """Proves that the package is importable without the port program, and says what is missing when it is used."""
        for use in (
            lambda: erlang.call("add", 1),
            lambda: erlang.send("name", 1),
            lambda: erlang.whereis("name"),
            lambda: erlang.atom("an_atom_that_nobody_has_asked_for"),
            erlang.self,
        ):
            with self.assertRaisesRegex(RuntimeError, "erlang_python"):
                use()
