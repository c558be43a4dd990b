"""The numbers of the wire stand in three places, for three kinds of readers: they are the same in all of them."""

import re
import unittest
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
HRL = (TOP / "erlang_src/py_protocol.hrl").read_text()
MESSAGES = (TOP / "port/protocol/messages.h").read_text()
DOC = (TOP / "docs/protocol.md").read_text()

# Two frames share a name in the documentation, one each way.
OTHER_NAMES = {"REPLY_PIECE": "PIECE"}


def defines(prefix: str, begin: str, end: str | None) -> dict[str, int]:
    """The -define lines of the .hrl between two comments."""
    part = HRL[HRL.index(begin) : HRL.index(end) if end else None]
    return {name: int(value) for name, value in re.findall(rf"-define\({prefix}_(\w+), (\d+)\)", part)}


def enumerators(name: str) -> dict[str, int]:
    """Those of a C++ enum, named as Erlang names them: kLastPiece is LAST_PIECE."""
    match = re.search(rf"enum (?:class )?{name} : [\w:]+ \{{(.*?)\}};", MESSAGES, re.DOTALL)
    assert match is not None
    return {
        re.sub(r"(?<!^)(?=[A-Z])", "_", label).upper(): int(value)
        for label, value in re.findall(r"\bk(\w+) = (\d+)", match[1])
    }


def table(heading: str) -> dict[str, tuple[int, int]]:
    """The rows of the table under a heading: the number beside the name, and the first element of the frame."""
    start = DOC.index(f"\n## {heading}\n")
    section = DOC[start : DOC.find("\n## ", start + 1)]
    rows = re.findall(r"^\| `([A-Z_]+)` (\d+) \| `\{(\d+)", section, re.MULTILINE)
    return {name: (int(number), int(element)) for name, number, element in rows}


def constant(path: str, name: str) -> int:
    """A constexpr integer of a header, written as a product."""
    match = re.search(rf"{name}\s*=\s*([\d' *]+)[;+]", (TOP / path).read_text())
    assert match is not None, name
    product = 1
    for factor in match[1].replace("'", "").split("*"):
        product *= int(factor)
    return product


def number(name: str) -> int:
    """A -define of the .hrl."""
    match = re.search(rf"-define\({name}, (\d+)\)", HRL)
    assert match is not None, name
    return int(match[1])


class ProtocolNumbers(unittest.TestCase):
    def check(self, erlang: dict[str, int], cpp: dict[str, int], documented: dict[str, tuple[int, int]]) -> None:
        self.assertGreater(len(erlang), 10)
        named = {OTHER_NAMES.get(name, name): value for name, value in erlang.items()}
        self.assertEqual(named, cpp)
        self.assertEqual({name: (value, value) for name, value in named.items()}, documented)
        self.assertEqual(len(set(named.values())), len(named))

    def test_operations(self) -> None:
        self.check(
            defines("OP", "%% Erlang to port.", "%% Port to Erlang."), enumerators("Operation"), table("Erlang to port")
        )

    def test_notices(self) -> None:
        self.check(
            defines("OP", "%% Port to Erlang.", "%% System functions"), enumerators("Notice"), table("Port to Erlang")
        )

    def test_flags(self) -> None:
        flags = defines("FLAG", "%% Flags of a request.", None)
        self.assertEqual(flags, enumerators("RequestFlag"))
        text = DOC[DOC.index("`Flags`: ") :][:400]
        for name, value in flags.items():
            self.assertIn(f"{value} {name.lower()}", text)

    def test_sizes(self) -> None:
        self.assertEqual(number("PIECE_BYTES"), constant("port/protocol/frame.h", "kMaxPieceBytes"))
        self.assertEqual(number("LINE_BYTES"), constant("port/runtime/output_sink.h", "kMaxLineBytes"))
        header = re.search(r"WIRE_FRAME_BYTES, \(\?PIECE_BYTES \+ (\d+)\)", HRL)
        assert header is not None
        self.assertIn(f"kMaxFrameBytes = kMaxPieceBytes + {header[1]};", (TOP / "port/protocol/frame.h").read_text())
        self.assertIn("| piece | 1 MiB |", DOC)
        self.assertIn("| frame | 1 MiB + 4 KiB |", DOC)

    def test_first_credit(self) -> None:
        self.assertEqual(number("FIRST_CREDIT_ITEMS"), constant("port/protocol/messages.h", "kFirstCreditItems"))
        self.assertEqual(number("FIRST_CREDIT_BYTES"), constant("port/protocol/messages.h", "kFirstCreditBytes"))
        self.assertIn(f"{number('FIRST_CREDIT_ITEMS')} items and 1 MiB at first", DOC)


if __name__ == "__main__":
    unittest.main()
