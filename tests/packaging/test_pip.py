"""`pip install .` installs the Python package, for unit tests and type checkers of code that runs in a node."""

import pathlib
import venv

from packaging_case import TOP, PackagingCase

USE_IT = """
import erlang, pathlib, sys
from erlang import testing
with testing.Node(price=lambda item: 3):
    print(erlang.price("tea"), pathlib.Path(erlang.__file__).is_relative_to(sys.prefix))
"""


class Pip(PackagingCase):
    def install(self, *options: str) -> pathlib.Path:
        """The interpreter of a fresh environment in which pip has installed the tree, without a package index."""
        environment = self.folder / "venv"
        venv.create(environment, with_pip=True)
        python = environment / "bin" / "python"
        command = (python, "-m", "pip", "install", "--no-index", "--disable-pip-version-check", *options, TOP)
        self.assertIn("Successfully installed erlang-python-", self.run_command(*command, cwd=self.folder))
        return python

    def test_install(self) -> None:
        """Proves that what is installed can be used where there is no node, and has the stub of what is built in."""
        python = self.install()
        self.assertEqual(self.run_command(python, "-c", USE_IT, cwd=self.folder), "3 True\n")
        self.assertTrue(list((self.folder / "venv").glob("lib/*/site-packages/_erlang-stubs/__init__.pyi")))

    def test_editable(self) -> None:
        """Proves that an editable installation finds the sources."""
        python = self.install("--editable")
        printed = self.run_command(python, "-c", "import erlang; print(erlang.__file__)", cwd=self.folder)
        self.assertEqual(pathlib.Path(printed.strip()), TOP / "python_lib" / "erlang" / "__init__.py")
