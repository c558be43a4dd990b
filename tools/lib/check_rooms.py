"""Compares the #include lines of port/ with the table of CONTRIBUTING.md that says which room may include what.

    check_rooms.py TOP

A row is for a folder of port/, or for the files whose paths begin with it; the longest that fits holds. What it may
include is named in the same way. <Python.h> and <uv.h> count as rooms; other headers of the system are free.
"""

import re
import sys
from pathlib import Path

HEADING = "### Rooms of the port program"
ROW = re.compile(r"^\| `([^`]+)` \|(.*)\|$", re.MULTILINE)
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|(<(?:Python|uv)\.h>))', re.MULTILINE)
GENERATED = "erlang_python_config.h"

Rooms = dict[str, list[str]]


def read_table(text: str) -> Rooms:
    """Room by room what it may include, from the section under HEADING."""
    section = text.partition(HEADING)[2].partition("\n#")[0]
    return {room: re.findall(r"`([^`]+)`", allowed) for room, allowed in ROW.findall(section)}


def upward(rooms: Rooms) -> list[str]:
    """Rows that name something which is not a row below them."""
    order = list(rooms)
    return [
        f"CONTRIBUTING.md: {room} may include {target}, which is no row below it"
        for number, (room, allowed) in enumerate(rooms.items())
        for target in allowed
        if not target.startswith("<") and target not in order[number + 1 :]
    ]


def room_of(path: str, rooms: Rooms) -> str:
    """Of a path in port/, or a header of the system; "" for none."""
    if path.startswith("<"):
        return path
    fitting = [
        room for room in rooms if path.startswith((room + "/", room + ".")) or ("/" in room and path.startswith(room))
    ]
    return max(fitting, key=len, default="")


def forbidden(path: str, text: str, rooms: Rooms) -> list[str]:
    """What a file of port/ includes and may not, each as a sentence."""
    room = room_of(path, rooms)
    if not room:
        return [f"port/{path}: it is in no room of the table in CONTRIBUTING.md"]
    names = [ours or foreign for ours, foreign in INCLUDE.findall(text)]
    allowed = [room, *rooms[room]]
    return [
        f"port/{path}: {room} may not include {name} (CONTRIBUTING.md, {HEADING.lstrip('# ')})"
        for name in names
        if name != GENERATED and not any(room_of(name, rooms) in (a, *parts(a, rooms)) for a in allowed)
    ]


def parts(room: str, rooms: Rooms) -> list[str]:
    """The rows for some files of a folder, which are as free to be included as the others."""
    return [other for other in rooms if other.startswith(room + "/")]


def main(top: Path) -> int:
    rooms = read_table((top / "CONTRIBUTING.md").read_text())
    port = top / "port"
    problems = upward(rooms)
    for path in sorted(path for path in port.rglob("*") if path.suffix in (".cc", ".h")):
        problems += forbidden(path.relative_to(port).as_posix(), path.read_text(), rooms)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
