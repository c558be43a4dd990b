"""tools/check rooms sees an #include that CONTRIBUTING.md does not allow."""

import importlib.util
import unittest
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("check_rooms", TOP / "tools/lib/check_rooms.py")
assert spec is not None and spec.loader is not None
check_rooms = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check_rooms)

TABLE = f"""
{check_rooms.HEADING}

| room | may include |
|---|---|
| `top` | `middle`, `base` |
| `middle` | `base`, `<uv.h>` |
| `middle/pure` | `base` |
| `base` | |

## Rules
| `other` | `top` |
"""
ROOMS = check_rooms.read_table(TABLE)


def problems(path: str, include: str) -> list[str]:
    found: list[str] = check_rooms.forbidden(path, f"#include {include}\n", ROOMS)
    return found


class Rooms(unittest.TestCase):
    def test_only_the_table_of_the_section_counts(self) -> None:
        self.assertEqual(["top", "middle", "middle/pure", "base"], list(ROOMS))

    def test_what_is_in_the_row_may_be_included(self) -> None:
        for path, include in [
            ("top/a.cc", '"middle/b.h"'),
            ("top/a.cc", '"middle/pure_b.h"'),
            ("top/a.cc", '"top/b.h"'),
            ("middle/b.cc", '"middle/pure_b.h"'),
            ("middle/b.h", "<uv.h>"),
            ("middle/pure_b.h", '"base/c.h"'),
            ("base/c.h", "<vector>"),
        ]:
            self.assertEqual([], problems(path, include), (path, include))

    def test_what_is_not_in_the_row_is_named(self) -> None:
        for path, include in [
            ("middle/b.h", '"top/a.h"'),
            ("top/a.cc", "<uv.h>"),
            ("middle/pure_b.h", '"middle/b.h"'),
            ("middle/pure_b.h", "<uv.h>"),
            ("base/c.h", '"nowhere/d.h"'),
            ("elsewhere/d.h", '"base/c.h"'),
        ]:
            self.assertEqual(1, len(problems(path, include)), (path, include))

    def test_rows_that_go_up_are_named(self) -> None:
        self.assertEqual([], check_rooms.upward(ROOMS))
        self.assertEqual(1, len(check_rooms.upward({"base": ["top"], "top": ["base"]})))


if __name__ == "__main__":
    unittest.main()
