"""Which code the text is kept for."""

from __future__ import annotations

import sys
import types
import unittest

from erlang import _sources


def _compiled(text: str) -> types.CodeType:
    code = compile(text, _sources.new_file("test"), "exec")
    _sources.remember(code, text)
    return code


class Sources(unittest.TestCase):
    def test_code_nested_deeper_than_the_limit_of_recursion(self) -> None:
        """Proves that code in code in code is found however deep."""
        code = compile("1", "<deep>", "exec")
        for _ in range(3 * sys.getrecursionlimit()):
            code = code.replace(co_consts=(code,))
        self.assertEqual(sum(1 for _ in _sources._all_code(code)), 3 * sys.getrecursionlimit() + 1)

    @unittest.skipIf(sys.version_info < (3, 13), "classes do not know their first line")
    def test_a_class_of_the_same_name_that_is_another(self) -> None:
        """Proves that a class keeps no text that did not make it, whatever its name."""
        namespace = {"Same": type("Same", (), {"__module__": "__main__"}), "__name__": "__main__"}
        code = _compiled("if False:\n    class Same:\n        pass\n")
        _sources.adopt(code, namespace)
        self.assertIsNone(_sources.file_of(namespace["Same"]))

    def test_a_class_that_the_code_has_made(self) -> None:
        """Proves that a class without functions is found by its text."""
        namespace = {"__name__": "__main__"}
        code = _compiled("class Made:\n    size = 1\n")
        exec(code, namespace)
        _sources.adopt(code, namespace)
        self.assertEqual(_sources.file_of(namespace["Made"]), code.co_filename)
