"""Another rebar3 project depends on this one: compiled, run, and put into a release, without a network."""

import re
import shutil

from packaging_case import CALL_PYTHON, TOP, PackagingCase

REBAR_CONFIG = """
{{erl_opts, [debug_info]}}.
{{deps, [{dependency}]}}.
{{relx, [{{release, {{demo, "1"}}, [demo, sasl]}},
        {{dev_mode, false}}, {{include_erts, false}}, {{extended_start_script, false}}]}}.
"""

APP_SRC = """
{application, demo, [{vsn, "1"}, {modules, []}, {registered, []}, {mod, {demo, []}},
                     {applications, [kernel, stdlib, erlang_python]}]}.
"""

DEMO_ERL = (
    """
-module(demo).
-behaviour(application).
-behaviour(supervisor).
-export([start/2, stop/1, init/1, check/0]).
start(_Type, _Args) ->
    {ok, 4.0} = py:call(math, sqrt, [16]),
    supervisor:start_link(?MODULE, []).
stop(_State) -> ok.
init([]) -> {ok, {#{}, []}}.
check() ->"""
    + CALL_PYTHON
)


class Rebar3(PackagingCase):
    def make_project(self, dependency: str) -> None:
        self.project = self.folder / "demo"
        self.write(self.project / "rebar.config", REBAR_CONFIG.format(dependency=dependency))
        self.write(self.project / "src" / "demo.app.src", APP_SRC)
        self.write(self.project / "src" / "demo.erl", DEMO_ERL)

    def package_files(self) -> list[str]:
        text = (TOP / "erlang_src" / "erlang_python.app.src").read_text(encoding="utf-8")
        [listed] = re.findall(r"\{files, \[(.*?)\]\}", text, re.DOTALL)
        return re.findall(r'"([^"]+)"', listed)

    def ebins(self, *folders: str) -> list[str]:
        found = [str(path) for folder in folders for path in (self.project / "_build/default" / folder).glob("*/ebin")]
        self.assertTrue(found)
        return found

    def test_git_dependency(self) -> None:
        """Proves that a git dependency is compiled with its port program, runs, and goes whole into a release."""
        sources = self.folder / "erlang_python"
        self.copy_sources(sources)
        for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "all"]):
            self.run_command("git", "-c", "user.name=x", "-c", "user.email=x@x", *command, cwd=sources)
        self.make_project(f'{{erlang_python, {{git, "file://{sources}", {{branch, "main"}}}}}}')
        self.run_command("rebar3", "compile", cwd=self.project)
        self.call_python("-pa", *self.ebins("lib"))
        # A second time, now that all is there, for whoever compiles in a loop.
        self.run_command("rebar3", "compile", cwd=self.project)

        self.run_command("rebar3", "tar", cwd=self.project)
        [archive] = (self.project / "_build/default/rel/demo").glob("*.tar.gz")
        target = self.folder / "unpacked"
        target.mkdir()
        self.run_command("tar", "-xzf", archive, cwd=target)
        shutil.rmtree(self.project)
        shutil.rmtree(sources)
        printed = self.run_command(target / "bin" / "demo", "-noinput", "-s", "demo", "check", cwd=target)
        self.assertIn(f"called from {target}/lib/erlang_python-", printed)

    def test_checkout(self) -> None:
        """Proves that a folder in _checkouts is compiled with its port program, and runs.

        It has no more than the files that the application says a package of it holds, and the link that rebar3 needs.
        """
        self.make_project("erlang_python")
        self.copy_sources(self.project / "_checkouts" / "erlang_python", (*self.package_files(), "src"))
        self.run_command("rebar3", "compile", cwd=self.project)
        self.call_python("-pa", *self.ebins("lib", "checkouts"))
