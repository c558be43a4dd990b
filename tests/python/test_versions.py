"""The version stands in several places, for several readers: it is the same in all of them."""

import importlib.util
import re
import unittest
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]


def found(path: str, pattern: str) -> str:
    """The one place in a file that matches."""
    [version] = re.findall(pattern, (TOP / path).read_text(encoding="utf-8"), re.MULTILINE)
    return str(version)


class Versions(unittest.TestCase):
    def test_they_agree(self) -> None:
        spec = importlib.util.spec_from_file_location("python_wheel", TOP / "tools/lib/python_wheel.py")
        assert spec is not None and spec.loader is not None
        wheel = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(wheel)
        version = found("meson.build", r"^ +version : '([^']*)'")
        self.assertRegex(version, r"^\d+\.\d+\.\d+$")
        self.assertEqual(version, wheel.version())
        self.assertEqual(version, found("erlang_src/erlang_python.app.src", r'\{vsn, "([^"]*)"\}'))
        self.assertEqual(version, found("README.md", r"^Version ([\d.]+\d), "))
        self.assertEqual(f"v{version}", found("CHANGELOG.md", r"^## Unreleased, tag `(v[^`]*)`$"))


if __name__ == "__main__":
    unittest.main()
