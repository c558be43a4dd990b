"""Looks with clang for what is wrong in the C++ files of a build, many files at once.

    clang_batches.py BUILD OUT locks|tidy

locks: which lock protects what, by clang's thread safety analysis. tidy: clang-tidy with the settings of .clang-tidy.

Most of what these cost, the headers of C++ and Python and the checks' walk through them, is the same for every file, so
files are joined to one. Those that cannot be, as they use one name for different things, are put into another batch.
Only what is compiled with the project's flags: fuzzers have a build of their own.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
MOST_FILES = 10  # of a batch, so that every core gets some
# Python 3.13's headers do not see that clang 14 has GCC's atomics.
DEFINITION = "-D_Py_USE_GCC_BUILTIN_ATOMICS=1"
LOCKS = ["-Wno-everything", "-Wthread-safety", "-Werror"]

Flags = tuple[str, ...]


def flags_of(unit: dict[str, str]) -> Flags:
    """What a file is compiled with, without the compiler's name and what is of this file alone."""
    words = shlex.split(unit["command"])
    while not words[0].startswith("-"):
        del words[0]
    for option in ("-o", "-MF", "-MQ"):
        if option in words:
            at = words.index(option)
            del words[at : at + 2]
    return tuple(word for word in words if word not in ("-c", "-MD", unit["file"]) and "color" not in word)


def file_groups(build: Path) -> list[tuple[Flags, list[Path]]]:
    """The compiled files by what they are compiled with; those of one folder, which clash more often, are spread."""
    groups: dict[Flags, list[Path]] = defaultdict(list)
    for unit in json.loads((build / "compile_commands.json").read_text(encoding="utf-8")):
        file = Path(os.path.normpath(Path(unit["directory"], unit["file"])))
        groups[flags_of(unit)].append(file)
    parts = []
    for flags, files in groups.items():
        files.sort()
        folders = sorted({f"-iquote{file.parent}" for file in files if TOP / "tests" in file.parents})
        count = -(-len(files) // MOST_FILES)
        parts += [((*flags, *folders, DEFINITION), files[part::count]) for part in range(count)]
    return parts


class Batch:
    """Files joined to one, which is written to a folder."""

    def __init__(self, build: Path, out: Path, flags: Flags, files: Sequence[Path]) -> None:
        self.build, self.out, self.flags, self.files = build, out, flags, files
        self.joined = out / "-".join(files[0].relative_to(TOP).parts)
        self.starts: list[int] = []
        lines = 0
        with self.joined.open("w", encoding="utf-8") as joined:
            for file in files:
                text = file.read_text(encoding="utf-8")
                self.starts.append(lines)
                lines += text.count("\n")
                joined.write(text)

    def run(self, *command: str) -> tuple[int, str, set[Path]]:
        """The status of the command, what it says, and the files with errors."""
        done = subprocess.run(command, cwd=self.build, capture_output=True, text=True, check=False)
        wrong = set()

        def place(found: re.Match[str]) -> str:
            line = int(found[1]) - 1
            number = bisect_right(self.starts, line) - 1
            if found[2]:
                wrong.add(self.files[number])
            return f"{self.files[number].relative_to(TOP)}:{line - self.starts[number] + 1}{found[2] or ''}"

        said = re.sub(
            re.escape(str(self.joined)) + r":(\d+)(:\d+: (?:fatal )?error: )?", place, done.stdout + done.stderr
        )
        said = "".join(line for line in said.splitlines(True) if not line.endswith(" generated.\n"))
        return done.returncode, said, wrong

    def compile(self, options: Sequence[str]) -> tuple[int, str, set[Path]]:
        return self.run(
            "clang++",
            *self.flags,
            *options,
            "-fsyntax-only",
            "-fno-color-diagnostics",
            "-ferror-limit=0",
            str(self.joined),
        )

    def divided(self, wrong: set[Path]) -> "list[Batch]":
        """Two batches, the second with these files, or with half of the files where that does not divide them."""
        second = [file for file in self.files if file in wrong]
        if len(second) in (0, len(self.files)):
            second = list(self.files[len(self.files) // 2 :])
        first = [file for file in self.files if file not in second]
        return [Batch(self.build, self.out, self.flags, files) for files in (first, second)]


def locks(batch: Batch) -> str:
    """What is wrong, which only a file of its own can tell from a clash of names."""
    status, said, wrong = batch.compile(LOCKS)
    if status == 0 or len(batch.files) == 1:
        return said if status else ""
    return "".join(map(locks, batch.divided(wrong)))


def tidy(batch: Batch) -> str:
    """What clang-tidy finds. Where it crashes on a batch, it is given less at once."""
    status, said, wrong = batch.compile(["-w"])
    if status == 0:
        config = f"--config-file={TOP / '.clang-tidy'}"
        status, said, _ = batch.run("clang-tidy", "--quiet", config, str(batch.joined), "--", *batch.flags)
        if status in (0, 1):
            return said if status else ""
    return said if len(batch.files) == 1 else "".join(map(tidy, batch.divided(wrong)))


def main(build: str, out: str, check: str) -> int:
    # A folder of its own: clang maps files, and must not see another run write them anew.
    with tempfile.TemporaryDirectory(prefix=f"{check}-", dir=out) as folder:
        root = Path(build).absolute()
        batches = [Batch(root, Path(folder).absolute(), flags, files) for flags, files in file_groups(root)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = list(filter(None, pool.map({"locks": locks, "tidy": tidy}[check], batches)))
    sys.stdout.writelines(found)
    return 1 if found or not batches else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
