"""What the README has a reader type first."""

from packaging_case import BUILD, TOP, PackagingCase


class Demo(PackagingCase):
    def test_demo(self) -> None:
        """Proves that the tour goes through all its chapters, and that each of them finds what it says."""
        printed = self.run_command(TOP / "tools" / "demo", "--no-setup", "--dir", BUILD, cwd=self.folder)
        self.assertNotIn("[FAILED]", printed)
        self.assertGreaterEqual(printed.count("[ok]"), 17, printed)
        self.assertTrue(printed.splitlines()[-1].startswith("Everything did what it said."), printed)
