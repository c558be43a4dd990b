"""Objects that the port program does not know by itself get the values that docs/types.md promises."""

from __future__ import annotations

import array
import dataclasses
import datetime
import decimal
import enum
import fractions
import gc
import pathlib
import unittest
import uuid
import weakref
from typing import Any, ClassVar

import erlang
from erlang import _encoding


def value_of(value: object, *, strict: bool = True, buffer: bool = False) -> object:
    return _encoding.fallback(value, strict, buffer)


class Colour(enum.Enum):
    RED = "red"
    PAIR = (1, "two")


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Point:
    x: int
    y: object = None
    count: ClassVar[int] = 0
    start: dataclasses.InitVar[int] = 0

    def __post_init__(self, start: int) -> None:
        self.not_a_field = start


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    name: str


class FallbackTest(unittest.TestCase):
    def test_an_enum_counts_by_its_value(self) -> None:
        self.assertEqual(value_of(Colour.RED), "red")
        self.assertEqual(value_of(Colour.PAIR), (1, "two"))
        self.assertEqual(value_of(Access.READ | Access.WRITE), 3)
        self.assertEqual(value_of(enum.IntEnum("Level", "LOW HIGH").HIGH), 2)  # type: ignore[attr-defined]

    def test_a_dataclass_is_its_fields_and_its_values_are_left_for_later(self) -> None:
        inner = Point(2)
        self.assertEqual(value_of(Point(1, inner)), {"x": 1, "y": inner})
        self.assertEqual(value_of(Slotted("n")), {"name": "n"})

    def test_a_dataclass_itself_is_text(self) -> None:
        self.assertEqual(value_of(Point, strict=False), str(Point))

    def test_points_in_time_are_iso_8601_and_spans_are_seconds(self) -> None:
        zone = datetime.timezone(datetime.timedelta(hours=2))
        self.assertEqual(value_of(datetime.datetime(2024, 2, 29, 1, 2, 3, 4, zone)), "2024-02-29T01:02:03.000004+02:00")
        self.assertEqual(value_of(datetime.date(2024, 2, 29)), "2024-02-29")
        self.assertEqual(value_of(datetime.time(1, 2)), "01:02:00")
        self.assertEqual(value_of(datetime.timedelta(milliseconds=-1500)), -1.5)

    def test_numbers_and_names_that_erlang_does_not_have_are_text_also_when_strict(self) -> None:
        self.assertEqual(value_of(decimal.Decimal("1.10")), "1.10")
        self.assertEqual(value_of(uuid.UUID(int=1)), "00000000-0000-0000-0000-000000000001")
        self.assertEqual(value_of(1 + 2j), "(1+2j)")
        self.assertEqual(value_of(pathlib.PureWindowsPath("a/b")), "a\\b")

    def test_tolist_is_asked(self) -> None:
        self.assertEqual(value_of(array.array("d", [1.5])), [1.5])

    def test_buffer_gives_raw_bytes_of_arrays_only(self) -> None:
        self.assertEqual(value_of(array.array("B", [1, 255]), buffer=True), b"\x01\xff")
        self.assertEqual(value_of(decimal.Decimal(1), buffer=True), "1")

    def test_anything_else_is_text_or_an_error_that_names_the_type(self) -> None:
        self.assertEqual(value_of(fractions.Fraction(1, 3), strict=False), "1/3")
        with self.assertRaises(erlang.ConversionError) as caught:
            value_of(fractions.Fraction(1, 3))
        self.assertEqual(caught.exception.reason, ("type", "fractions.Fraction"))
        with self.assertRaises(erlang.ConversionError) as caught:
            value_of(object())
        self.assertEqual(caught.exception.reason, ("type", "object"))

    def test_a_subclass_of_a_builtin_is_left_to_the_port_program(self) -> None:
        class Odd(type):
            pass

        for base in (int, float, str, bytes, list, tuple, dict):
            self.assertIs(value_of(Odd("Sub", (base,), {})()), NotImplemented)

    def test_a_class_is_not_kept_alive(self) -> None:
        @dataclasses.dataclass
        class Local:
            x: int

        self.assertEqual(value_of(Local(1)), {"x": 1})
        gone = weakref.ref(Local)
        del Local
        gc.collect()
        self.assertIsNone(gone())

    def test_numpy_gives_lists_numbers_and_raw_bytes(self) -> None:
        try:
            import numpy
        except ImportError:
            self.skipTest("numpy is not installed")
        matrix = numpy.array([[1, 2], [3, 4]], dtype=numpy.int16)
        self.assertEqual(value_of(matrix), [[1, 2], [3, 4]])
        self.assertEqual(value_of(matrix.T, buffer=True), numpy.ascontiguousarray(matrix.T).tobytes())
        self.assertEqual(value_of(numpy.float32(1.5)), 1.5)
        self.assertEqual(value_of(numpy.float32(1.5), buffer=True), 1.5)
        self.assertEqual(value_of(numpy.bool_(True)), True)
        self.assertEqual(value_of(numpy.datetime64("2024-02-29")), datetime.date(2024, 2, 29))
        self.assertEqual(value_of(numpy.longdouble(1.5), strict=False), "1.5")


class RegisterEncoderTest(unittest.TestCase):
    def setUp(self) -> None:
        self.addCleanup(_encoding.encoders.clear)

    def test_it_fills_the_table_that_the_port_program_reads(self) -> None:
        def encode(value: fractions.Fraction) -> object:
            return [value.numerator, value.denominator]

        erlang.register_encoder(fractions.Fraction, encode)
        self.assertEqual(_encoding.encoders, {fractions.Fraction: encode})

    def test_what_cannot_work_is_refused(self) -> None:
        def encode(value: Any) -> object:
            return value

        for builtin in (int, bool, str, dict, type(None)):
            with self.assertRaisesRegex(TypeError, "has an Erlang term of its own"):
                erlang.register_encoder(builtin, encode)
        with self.assertRaisesRegex(TypeError, "takes a class, not 'text'"):
            erlang.register_encoder("text", encode)  # type: ignore[arg-type]
        with self.assertRaisesRegex(TypeError, "is not callable"):
            erlang.register_encoder(uuid.UUID, 7)  # type: ignore[arg-type]


class ConversionErrorTest(unittest.TestCase):
    def test_the_reason_is_kept_and_the_text_is_a_sentence(self) -> None:
        for reason, words in (
            ("depth", "1000 levels"),
            (("map_key", "[1]"), "cannot hash [1]"),
            (("duplicate_key", "1.0"), "same as 1.0"),
            (("type", "a.B"), "objects of a.B"),
        ):
            error = erlang.ConversionError(reason)
            self.assertEqual(error.reason, reason)
            self.assertIn(words, str(error))
            self.assertIsInstance(error, erlang.Error)
