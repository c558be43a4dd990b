"""A Mix project depends on this one: compiled with its port program, run, and put into a release, without a network."""

import shutil

from packaging_case import PackagingCase

MIX_EXS = """
defmodule Demo.MixProject do
  use Mix.Project

  def project do
    [app: :demo, version: "1.0.0", deps: [{dependency}], releases: [demo: [include_erts: false]]]
  end

  def application, do: [extra_applications: [:sasl]]
end
"""

DEMO_EX = """
defmodule Demo do
  def check do
    {:ok, 4.0} = :py.call(:math, :sqrt, [16])
    IO.puts("called from #{:code.lib_dir(:erlang_python)}")
  end
end
"""


class Mix(PackagingCase):
    def setUp(self) -> None:
        super().setUp()
        for program in ("mix", "rebar3"):
            if not (found := shutil.which(program)):
                self.skipTest(f"there is no {program} (tools/setup --test-tools)")
            self.environment[f"MIX_{program.upper()}"] = found
        # Elixir warns of a node that does not read file names as UTF-8.
        self.environment |= {"LC_ALL": "C.UTF-8", "MIX_ENV": "prod"}
        self.sources = self.folder / "erlang_python"
        self.project = self.folder / "demo"
        self.copy_sources(self.sources)

    def make_project(self, dependency: str) -> None:
        self.write(self.project / "mix.exs", MIX_EXS.replace("{dependency}", "{" + dependency + "}"))
        self.write(self.project / "lib" / "demo.ex", DEMO_EX)

    def mix(self, *arguments: str) -> str:
        """Mix offers to install Hex where there is none, which it does not need for what is not from there."""
        return self.run_command("mix", *arguments, cwd=self.project)

    def test_git_dependency(self) -> None:
        """Proves that a git dependency is compiled with its port program, runs, and goes whole into a release."""
        for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "all"]):
            self.run_command("git", "-c", "user.name=x", "-c", "user.email=x@x", *command, cwd=self.sources)
        self.make_project(f':erlang_python, git: "file://{self.sources}", branch: "main", manager: :rebar3')
        self.mix("deps.get")
        self.assertIn("called from", self.mix("run", "-e", "Demo.check()"))
        self.mix("release")
        release = self.folder / "release"
        shutil.copytree(self.project / "_build" / "prod" / "rel" / "demo", release)
        shutil.rmtree(self.project)
        shutil.rmtree(self.sources)
        check = "Application.ensure_all_started(:demo); Demo.check()"
        printed = self.run_command(release / "bin" / "demo", "eval", check, cwd=release)
        self.assertIn(f"called from {release}/lib/erlang_python-", printed)
