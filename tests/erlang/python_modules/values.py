"""Python values of every kind that docs/types.md names, made for types_SUITE."""

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import pathlib
import struct
import uuid


@dataclasses.dataclass
class Point:
    x: int
    y: float


@dataclasses.dataclass
class Segment:
    start: Point
    end: Point


Pair = collections.namedtuple("Pair", ["left", "right"])


class Color(enum.Enum):
    RED = 1
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 3


class Flags(enum.IntFlag):
    A = 1
    B = 2


class Plain:
    """Neither a container nor a number: only str() makes a term of it."""

    def __str__(self):
        return "plain text"


class BadText:
    def __str__(self):
        raise LookupError("no text today")


class BadList:
    def tolist(self):
        raise ArithmeticError("no list today")


class Text(str):
    pass


class Number(int):
    pass


class Names(list):
    pass


class Table(dict):
    pass


UTC_NOON = datetime.datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=datetime.timezone.utc)

MAKERS = {
    "none": lambda: None,
    "true": lambda: True,
    "false": lambda: False,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "neg_inf": lambda: float("-inf"),
    "bytes": lambda: b"\x00\xffabc",
    "ascii_bytes": lambda: b"abc",
    "bytearray": lambda: bytearray(b"\x01\x02"),
    "memoryview": lambda: memoryview(b"\x03\x04"),
    "strided_memoryview": lambda: memoryview(b"a-b-c-")[::2],
    "set": lambda: {3, 1, 2},
    "frozenset": lambda: frozenset(["b", "a"]),
    "empty_set": lambda: set(),
    "mixed_set": lambda: {1, "a"},
    "dataclass": lambda: Point(1, 2.5),
    "nested_dataclass": lambda: Segment(Point(0, 0.0), Point(1, 1.0)),
    "namedtuple": lambda: Pair(1, "two"),
    "datetime": lambda: datetime.datetime(2024, 1, 2, 3, 4, 5),
    "datetime_utc": lambda: UTC_NOON,
    "date": lambda: datetime.date(2024, 1, 2),
    "decimal": lambda: decimal.Decimal("1.50"),
    "uuid": lambda: uuid.UUID("12345678-1234-5678-1234-567812345678"),
    "enum": lambda: Color.RED,
    "enum_text": lambda: Color.GREEN,
    "int_enum": lambda: Level.LOW,
    "flags": lambda: Flags.A | Flags.B,
    "complex": lambda: complex(1, 2),
    "path": lambda: pathlib.PurePosixPath("/tmp/x"),
    "ordered": lambda: collections.OrderedDict([("b", 1), ("a", 2)]),
    "defaultdict": lambda: collections.defaultdict(int, {"n": 1}),
    "counter": lambda: collections.Counter("aab"),
    "text": lambda: Text("sub"),
    "number": lambda: Number(7),
    "names": lambda: Names(["n"]),
    "table": lambda: Table({"k": "v"}),
    "plain": lambda: Plain(),
    "bad_text": lambda: BadText(),
    "bad_list": lambda: BadList(),
    "array": lambda: array.array("h", [1, 2, 3]),
    "surrogate": lambda: "\ud800",
    "duplicate_keys": lambda: {"a": 1, b"a": 2},
    "frozenset_key": lambda: {frozenset([1]): "v"},
    "tuple_key": lambda: {(1, "a"): "v"},
    "none_key": lambda: {None: 1},
    "tuple": lambda: (1, (2, ()), []),
    "empty": lambda: [(), [], {}, "", b""],
}


def make(name):
    return MAKERS[name]()


def nested(shape, levels):
    """`levels` containers around a text, made without recursion."""
    value = "leaf"
    for _ in range(levels):
        if shape == "list":
            value = [value]
        elif shape == "tuple":
            value = (value,)
        else:
            value = {"k": value}
    return value


def levels_of(value):
    """How many containers are around the innermost value."""
    count = 0
    while isinstance(value, (list, tuple, dict)):
        value = next(iter(value.values())) if isinstance(value, dict) else value[0]
        count += 1
    return count


def cycle():
    loop = []
    loop.append(loop)
    return loop


def float_bits(value):
    """The eight bytes of a float, most significant first."""
    return struct.pack(">d", value)


def float_from_bits(bits):
    return struct.unpack(">d", bits)[0]


def power(base, exponent, plus=0):
    return base**exponent + plus


def is_power(value, base, exponent, plus=0):
    """Compares inside Python, so that conversion is judged in one direction alone."""
    return value == base**exponent + plus


def code_points(text):
    return [ord(c) for c in text]


def from_code_points(points):
    return "".join(map(chr, points))


def text_of(size):
    return "0123456789abcdef" * (size // 16)


def text_of_exactly(size):
    return ("0123456789abcdef" * (size // 16 + 1))[:size]


def is_text_of_exactly(text, size):
    return text == text_of_exactly(size)


def bytes_of(size):
    return b"\xff" * size


def same_keys(mapping, key):
    return mapping[key]


class Money:
    def __init__(self, amount):
        self.amount = amount


class Broken:
    pass


class Endless:
    pass


def register_encoders():
    import erlang

    def fail(_value):
        raise OverflowError("the encoder failed")

    erlang.register_encoder(Money, lambda money: {"amount": money.amount})
    erlang.register_encoder(Broken, fail)
    erlang.register_encoder(Endless, lambda endless: [endless])


def money(amount):
    return [Money(amount), (Money(amount + 1),)]


def broken():
    return Broken()


def endless():
    return Endless()


def atom(name):
    import erlang

    return erlang.Atom(name)


def numpy_value(name):
    import numpy

    return {
        "matrix": lambda: numpy.arange(6, dtype=numpy.int16).reshape(2, 3),
        "scalar": lambda: numpy.float64(0.5),
        "integer": lambda: numpy.int32(-3),
        "boolean": lambda: numpy.bool_(True),
        "empty": lambda: numpy.zeros((0,)),
    }[name]()
