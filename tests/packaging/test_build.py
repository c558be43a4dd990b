"""A build that cannot be says why, where somebody sees it."""

import os
import subprocess

from packaging_case import TOP, PackagingCase


class Build(PackagingCase):
    def fails(self, *command: str | os.PathLike[str], **environment: str) -> str:
        """What a command printed that must not succeed."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.assertNotEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_python_that_cannot_be_used(self) -> None:
        """Proves that the terminal shows which Python was refused, and why, and how another one is asked for."""
        printed = self.fails(TOP / "tools" / "build", "--dir", self.folder / "build", PYTHON="/bin/false")
        self.assertIn("find-python: /bin/false (given by PYTHON=", printed)
        self.assertIn("it does not run", printed)

    def test_no_python(self) -> None:
        """Proves that where there is none it is said what is wanted, and PYTHON= is named."""
        del self.environment["PYTHON"]
        nowhere = {"HOME": str(self.folder), "PYENV_ROOT": str(self.folder), "PATH": "/bin:/usr/bin"}
        command = "! ls /usr/bin/python3.1[2-9] /usr/local/bin/python3.1[2-9] 2>/dev/null"
        if subprocess.run(["sh", "-c", command], check=False, stdout=subprocess.DEVNULL).returncode != 0:
            self.skipTest("this machine has a Python where every machine may have one")
        printed = self.fails(TOP / "tools" / "lib" / "find-python", **nowhere)
        self.assertIn("no Python of 3.12 or later with headers and a shared library", printed)
        self.assertIn("PYTHON=/path/to/python3", printed)
