"""A build that cannot be says why, where somebody sees it."""

import pathlib

from packaging_case import TOP, PackagingCase

# Where find-python looks whatever the environment says.
EVERYWHERE = ("/bin", "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin")


class Build(PackagingCase):
    def test_python_that_cannot_be_used(self) -> None:
        """Proves that the terminal shows which Python was refused, and why, and how another one is asked for."""
        command = (TOP / "tools" / "build", "--dir", self.folder / "build")
        printed = self.fails(*command, cwd=self.folder, PYTHON="/bin/false")
        self.assertIn("find-python: /bin/false (given by PYTHON=", printed)
        self.assertIn("it does not run", printed)

    def test_no_python(self) -> None:
        """Proves that where there is none it is said what is wanted, and PYTHON= is named."""
        if found := [str(path) for folder in EVERYWHERE for path in pathlib.Path(folder).glob("python3.1[2-9]")]:
            self.skipTest(f"this machine has a Python where every machine may have one: {found[0]}")
        self.environment.pop("PYTHON", None)
        self.environment.pop("XDG_CACHE_HOME", None)
        nowhere = {"HOME": str(self.folder), "PYENV_ROOT": str(self.folder), "PATH": "/bin:/usr/bin"}
        printed = self.fails(TOP / "tools" / "lib" / "find-python", cwd=self.folder, **nowhere)
        self.assertIn("no Python of 3.12 or later with headers and a shared library", printed)
        self.assertIn("PYTHON=/path/to/python3", printed)
