"""Copies files into the application, each by a rename, so that a running port program keeps the file it started from.

With --tree the folder is mirrored: what disappeared from it disappears from the target as well.
"""

import argparse
import filecmp
import os
import pathlib
import shutil


def copy(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copies content and mode unless the target is equal already."""
    if target.exists() and filecmp.cmp(source, target, shallow=False):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(target.name + ".new")
    shutil.copy(source, fresh)
    os.replace(fresh, target)


def copy_tree(source: pathlib.Path, target: pathlib.Path, suffixes: tuple[str, ...]) -> None:
    """Mirrors the files whose names end in one of the suffixes."""
    wanted = {path.relative_to(source) for path in source.rglob("*") if path.is_file() and path.name.endswith(suffixes)}
    wanted = {path for path in wanted if "__pycache__" not in path.parts}
    for path in sorted(wanted):
        copy(source / path, target / path)
    for path in list(target.rglob("*")):
        if path.is_file() and path.relative_to(target) not in wanted and "__pycache__" not in path.parts:
            path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stamp", type=pathlib.Path, help="file to touch at the end")
    parser.add_argument("--to", type=pathlib.Path, required=True, help="target folder")
    parser.add_argument("--tree", type=pathlib.Path, help="folder to mirror")
    parser.add_argument(
        "--suffix", action="append", default=[], help="with --tree: ends of file names to copy; all without"
    )
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.tree:
        copy_tree(arguments.tree, arguments.to, tuple(arguments.suffix) or ("",))
    for path in arguments.files:
        copy(path, arguments.to / path.name)
    if arguments.stamp:
        arguments.stamp.touch()


main()
