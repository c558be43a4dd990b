"""What the packaging tests share: copies of the source tree, running commands, and the call that proves it works."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest
from collections.abc import Sequence

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("ERLANG_PYTHON_TEST_BUILD", TOP / "build"))

# Starts the application and calls Python. Prints where the application came from, too.
CALL_PYTHON = """
    {ok, _} = application:ensure_all_started(erlang_python),
    {ok, 4.0} = py:call(math, sqrt, [16]),
    io:format("called from ~ts~n", [code:lib_dir(erlang_python)]),
    halt().
"""


def library_path() -> str:
    """The Erlang library path of this machine, absolute."""
    command = ["erl", "-noinput", "-eval", 'io:format("~ts", [code:lib_dir()]), halt().']
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout


class PackagingCase(unittest.TestCase):
    """Each test gets an empty folder, and an environment that knows nothing of this source tree."""

    def setUp(self) -> None:
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="erlang_python_"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        (self.folder / "home").mkdir()
        self.environment = os.environ | {
            "HOME": str(self.folder / "home"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "ERL_CRASH_DUMP_SECONDS": "0",
            # Every project compiles the same port program, and homes are empty: where there is ccache, Meson takes it.
            "CCACHE_DIR": str(BUILD / "test" / "ccache"),
            "CCACHE_BASEDIR": str(self.folder),
            "CCACHE_NOHASHDIR": "1",
            "CCACHE_DEPEND": "1",
            "CCACHE_SLOPPINESS": "locale",
            "CCACHE_MAXSIZE": "500M",
        }
        if python := os.environ.get("ERLANG_PYTHON_TEST_PYTHON"):
            self.environment["PYTHON"] = python
        for name in ("ERL_LIBS", "ERL_FLAGS", "DESTDIR", "PYTHONPATH"):
            self.environment.pop(name, None)

    def run_command(self, *command: str | os.PathLike[str], cwd: pathlib.Path, **environment: str) -> str:
        """Returns what the command printed; the test fails with that text when the command does."""
        status, printed = self._run(command, cwd, environment)
        self.assertEqual(status, 0, f"{' '.join(map(str, command))}\n{printed}")
        return printed

    def fails(self, *command: str | os.PathLike[str], cwd: pathlib.Path, **environment: str) -> str:
        """Returns what the command printed; the test fails with that text when the command does not."""
        status, printed = self._run(command, cwd, environment)
        self.assertNotEqual(status, 0, f"{' '.join(map(str, command))}\n{printed}")
        return printed

    def _run(
        self, command: Sequence[str | os.PathLike[str]], cwd: pathlib.Path, environment: dict[str, str]
    ) -> tuple[int, str]:
        """The exit status, and what was printed on either channel."""
        done = subprocess.run(
            command,
            cwd=cwd,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def call_python(self, *erl_arguments: str | os.PathLike[str], **environment: str) -> str:
        """Runs the call in a fresh Erlang node and returns what it printed."""
        command = ("erl", "-noinput", *erl_arguments, "-eval", CALL_PYTHON)
        return self.run_command(*command, cwd=self.folder, **environment)

    def copy_sources(self, target: pathlib.Path, only: tuple[str, ...] = ("",)) -> None:
        """Copies what a clone of this tree would hold, with the changes that are not committed yet.

        `only`: files, and folders with all that is in them.
        """
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=TOP, stdout=subprocess.PIPE, check=True).stdout.decode()
        for name in filter(None, listed.split("\0")):
            source = TOP / name
            wanted = any(not part or name == part or name.startswith(part + "/") for part in only)
            if wanted and source.exists():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target / name, follow_symlinks=False)

    def write(self, path: pathlib.Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
