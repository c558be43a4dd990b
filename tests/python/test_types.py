"""The classes that stand for Erlang's own terms behave like values: equal, hashable, ordered, fixed, picklable."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import unittest
from pathlib import Path

import erlang
from erlang import Atom, Pid, Ref, Term

NODE = b"w\x0dnonode@nohost"


def pid(number: int, serial: int = 0, node: bytes = NODE, creation: int = 0) -> Pid:
    return Pid(b"X" + node + b"".join(part.to_bytes(4, "big") for part in (number, serial, creation)))


def ref(*words: int, node: bytes = NODE, creation: int = 0) -> Ref:
    head = b"Z" + len(words).to_bytes(2, "big") + node + creation.to_bytes(4, "big")
    return Ref(head + b"".join(word.to_bytes(4, "big") for word in words))


class AtomTest(unittest.TestCase):
    def test_an_atom_is_a_str_that_shows_what_it_is(self) -> None:
        self.assertEqual(Atom("ok"), "ok")
        self.assertEqual(hash(Atom("ok")), hash("ok"))
        self.assertEqual(repr(Atom("it's")), """Atom("it's")""")
        self.assertEqual(f"{Atom('ok')}", "ok")

    def test_the_limit_is_255_characters_not_bytes(self) -> None:
        self.assertEqual(len(Atom("€" * 255)), 255)
        with self.assertRaisesRegex(ValueError, "at most 255 characters, this name has 256"):
            Atom("x" * 256)

    def test_only_a_str_is_the_name_of_an_atom_or_of_a_process(self) -> None:
        for name in (b"x", 5, ["a"], None, True):
            for use, what in ((Atom, "an atom"), (erlang.atom, "an atom"), (erlang.whereis, "a process")):
                if isinstance(name, bytes) and use is erlang.whereis:
                    continue
                with self.assertRaisesRegex(TypeError, f"^{what}.* a str, not .*{type(name).__name__}$"):
                    use(name)  # type: ignore[operator]

    def test_copies_stay_atoms(self) -> None:
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            self.assertIs(type(pickle.loads(pickle.dumps(Atom("ok"), protocol))), Atom)
        self.assertIs(type(copy.deepcopy(Atom("ok"))), Atom)


class IdentifierTest(unittest.TestCase):
    def test_pids_and_references_show_as_in_erlang(self) -> None:
        self.assertEqual(repr(pid(123)), "Pid<0.123.0>")
        self.assertEqual(repr(pid(123, 4)), "Pid<0.123.4>")
        self.assertEqual(repr(pid(123, node=b"d\x00\x03n@h")), "Pid<n@h.123.0>")
        self.assertEqual(repr(ref(3, 2, 1)), "Ref<0.1.2.3>")

    def test_both_widths_of_the_creation_are_read(self) -> None:
        self.assertEqual(repr(Pid(b"g" + NODE + bytes([0, 0, 0, 9, 0, 0, 0, 1, 3]))), "Pid<0.9.1>")
        self.assertEqual(repr(Ref(b"r\x00\x01" + NODE + bytes([3, 0, 0, 0, 7]))), "Ref<0.7>")

    def test_the_node_is_an_atom_in_whatever_encoding(self) -> None:
        for node in (b"d\x00\x03\xe9@h", b"s\x03\xe9@h", b"v\x00\x04\xc3\xa9@h", b"w\x04\xc3\xa9@h"):
            self.assertEqual(pid(1, node=node).node, "é@h")
        self.assertIs(type(pid(1).node), Atom)

    def test_made_up_bytes_show_as_malformed_and_have_no_node(self) -> None:
        for etf in (b"", b"X", b"X" + NODE, b"a\x01", b"X" + NODE + bytes(13), b"Xw\xff", b"Xw\x01\xff" + bytes(12)):
            self.assertEqual(repr(Pid(etf)), "Pid<malformed>")
            self.assertEqual(repr(Ref(etf)), "Ref<malformed>")
            with self.assertRaises(ValueError):
                _ = Pid(etf).node

    def test_pids_sort_by_serial_then_number_then_node(self) -> None:
        # What OTP 25 answers to lists:sort/1 of the same pids.
        a, z = b"w\x05aaa@x", b"w\x05zzz@x"
        in_order = [
            pid(1, 0, a, 1),
            pid(1, 0, a, 2),
            pid(1, 0, z, 1),
            pid(2, 0, a, 1),
            pid(1, 1, a, 1),
            pid(2, 1, z, 1),
        ]
        self.assertEqual(sorted(reversed(in_order)), in_order)
        self.assertTrue(in_order[0] < in_order[1] <= in_order[1] >= in_order[0] and in_order[1] > in_order[0])

    def test_references_sort_by_node_and_creation_then_length_then_highest_word(self) -> None:
        a, z = b"w\x05aaa@x", b"w\x05zzz@x"
        in_order = [
            ref(1, 1, node=a, creation=1),
            ref(2, 1, node=a, creation=1),
            ref(1, 2, node=a, creation=1),
            ref(2, 1, 1, node=a, creation=1),
            ref(1, 1, node=a, creation=2),
            ref(1, 1, node=z, creation=1),
        ]
        self.assertEqual(sorted(reversed(in_order)), in_order)

    def test_kinds_do_not_mix(self) -> None:
        self.assertNotEqual(Pid(b"x"), Ref(b"x"))
        self.assertNotEqual(Pid(b"x"), b"x")
        with self.assertRaises(TypeError):
            _ = pid(1) < ref(1)
        with self.assertRaises(TypeError):
            _ = Term(b"a\x01") < Term(b"a\x02")  # type: ignore[operator]


class ValueTest(unittest.TestCase):
    def values(self) -> list[Pid | Ref | Term]:
        return [pid(1), ref(1, 2, 3), Term(b"l\x00\x00\x00\x01a\x01a\x02")]

    def test_equal_bytes_are_equal_objects_with_equal_hashes(self) -> None:
        for value in self.values():
            again = type(value)(bytes(bytearray(value.etf)))
            self.assertEqual(value, again)
            self.assertEqual({value: 1}[again], 1)
            self.assertNotEqual(value, type(value)(b"a\x01"))

    def test_they_cannot_be_changed(self) -> None:
        for value in self.values():
            with self.assertRaises(AttributeError):
                value.etf = b""
            with self.assertRaises(AttributeError):
                del value.etf
            with self.assertRaises(AttributeError):
                value.other = 1
            before = value.etf
            value.__init__(before)  # type: ignore[call-arg]
            self.assertEqual(value.etf, before)

    def test_pickles_and_copies_are_equal(self) -> None:
        for value in self.values():
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
                self.assertEqual(pickle.loads(pickle.dumps(value, protocol)), value)
            self.assertEqual(copy.deepcopy(value), value)

    def test_only_bytes_will_do(self) -> None:
        with self.assertRaisesRegex(TypeError, "Pid is made of bytes in the external term format, not of str"):
            Pid("<0.1.0>")  # type: ignore[arg-type]
        with self.assertRaises(TypeError):
            Term(bytearray(b"a\x01"))  # type: ignore[arg-type]

    def test_opaque_terms_say_what_they_are(self) -> None:
        self.assertEqual(repr(Term(b"l\x00\x00\x00\x01a\x01a\x02")), "Term<improper list, 9 bytes>")
        self.assertEqual(repr(Term(b"")), "Term<malformed, 0 bytes>")


class PackageTest(unittest.TestCase):
    def test_unknown_names_are_attribute_errors(self) -> None:
        # torch and others probe every module for odd attributes.
        for name in ("no_such_function", "__file_of_nothing__", "__wrapped__"):
            self.assertFalse(hasattr(erlang, name))

    def test_names_that_are_loaded_late_are_listed(self) -> None:
        self.assertLessEqual({*erlang.__all__, "__doc__", "errors"}, set(dir(erlang)))

    def test_importing_it_is_cheap(self) -> None:
        # Every context imports it: slow modules of the library come only with the values that need them.
        package = str(Path(erlang.__file__).parent.parent)
        code = f"import sys; sys.path.insert(0, {package!r}); import erlang; print(*sys.modules)"
        loaded = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
        for module in ("typing", "dataclasses", "datetime", "decimal", "enum", "pathlib", "re", "uuid", "functools"):
            self.assertNotIn(module, loaded.stdout.split())
