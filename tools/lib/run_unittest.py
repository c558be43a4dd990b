"""Runs the unittest modules of a folder and writes "passed failed skipped" to a file.

Arguments: folder, file for the counts, patterns (as `python -m unittest -k`).
"""

import pathlib
import sys
import unittest


class CountingResult(unittest.TextTestResult):
    """Counts the tests that passed, which unittest itself does not."""

    passed = 0

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self.passed += 1


def main() -> None:
    folder, counts = sys.argv[1:3]
    loader = unittest.TestLoader()
    if sys.argv[3:]:
        loader.testNamePatterns = [pattern if "*" in pattern else f"*{pattern}*" for pattern in sys.argv[3:]]
    sys.path.insert(0, folder)
    runner = unittest.TextTestRunner(resultclass=CountingResult, verbosity=1, buffer=True)
    result = runner.run(loader.discover(folder))
    passed = result.passed + len(result.expectedFailures)
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    pathlib.Path(counts).write_text(f"{passed} {failed} {len(result.skipped)}\n", encoding="utf-8")
    sys.exit(1 if failed else 0)


main()
