"""Writes a small corpus for the fuzzers: one term of each kind, and a few that once were interesting.

Argument: the folder, one subfolder per target is made in it.
"""

from __future__ import annotations

import pathlib
import sys

NODE = b"w\x0dnonode@nohost"
PID = b"X" + NODE + bytes(12)
IMPROPER = b"l\x00\x00\x00\x01a\x01w\x04tail"
FUN_REST = b"\x02" + bytes(20) + b"\x00\x00\x00\x01w\x01ma\x01a\x02" + PID + b"h\x01a\x01"

TERMS = {
    "small_integer": b"a\x07",
    "integer": b"b\xff\xff\xff\xff",
    "int64": b"n\x08\x01\x00\x00\x00\x00\x00\x00\x00\x80",
    "big": b"n\x09\x00" + bytes(8) + b"\x01",
    "large_big": b"o\x00\x00\x01\x04\x01" + b"\xab" * 260,
    "float": b"F?\xf8" + bytes(6),
    "atoms": b"h\x04d\x00\x02oks\x01\xe9v\x00\x02okw\x04true",
    "text": b"m\x00\x00\x00\x03h\xc3\xa9",
    "bytes": b"h\x02w\x05bytesm\x00\x00\x00\x01\xff",
    "bitstring": b"M\x00\x00\x00\x01\x03\xa0",
    "string": b"k\x00\x03\x01\x02\xff",
    "list": b"l\x00\x00\x00\x02a\x01k\x00\x01\x02j",
    "improper": IMPROPER,
    "improper_unhashable": b"l\x00\x00\x00\x01t\x00\x00\x00\x01ja\x01a\x02",
    "tuples": b"h\x02h\x00i\x00\x00\x00\x01a\x01",
    "map": b"t\x00\x00\x00\x02w\x01aa\x01m\x00\x00\x00\x01bj",
    "map_same_keys": b"t\x00\x00\x00\x02a\x01a\x01F?\xf0" + bytes(6) + b"a\x02",
    "pid": PID,
    "old_pid": b"g" + NODE + bytes(9),
    "reference": b"Z\x00\x03" + NODE + bytes(16),
    "ports": b"h\x02Y" + NODE + bytes(8) + b"x" + NODE + bytes(12),
    "export": b"qw\x05listsw\x03mapa\x02",
    "fun": b"p" + (len(FUN_REST) + 4).to_bytes(4, "big") + FUN_REST,
    "deep": b"l\x00\x00\x00\x01" * 990 + b"j" * 991,
    "too_deep": b"h\x01" * 1001 + b"j",
    "compressed": b"P\x00\x00\x00\x03x\x9cKd\x04\x00\x00\xc3\x00b",
    "hostile_count": b"l\xff\xff\xff\xffa\x01j",
}

for target in ("skip_fuzz", "decode_fuzz"):
    folder = pathlib.Path(sys.argv[1], target)
    folder.mkdir(parents=True, exist_ok=True)
    for name, term in TERMS.items():
        (folder / name).write_bytes(term)
