"""`meson install` puts the application into an Erlang library path, and OTP's own tools make a release of it."""

import pathlib
import re
import shutil

from packaging_case import BUILD, CALL_PYTHON, PackagingCase, library_path

WITHOUT_LIBPYTHON = """
    {ok, _} = application:ensure_all_started(erlang_python),
    Error = py:call(math, sqrt, [16]),
    io:format("error: ~ts~n", [py_error:format_error(Error)]),
    {ok, _} = py_context_router:start_pool(found, 1, #{env => [{"LD_LIBRARY_PATH", "%s"}]}),
    io:format("with LD_LIBRARY_PATH: ~w~n", [py:call(found, math, sqrt, [16])]),
    halt().
"""


class Install(PackagingCase):
    def install(self) -> pathlib.Path:
        """Installs below a folder of the test; returns the library path in it."""
        root = self.folder / "root"
        self.run_command("meson", "install", "-C", BUILD, "--no-rebuild", cwd=self.folder, DESTDIR=str(root))
        return root / library_path().lstrip("/")

    def test_installed_application_is_found_and_works(self) -> None:
        """Proves that DESTDIR is honoured and that what was installed needs nothing of the build directory."""
        libraries = self.install()
        [application] = libraries.glob("erlang_python-*")
        printed = self.call_python(ERL_LIBS=str(libraries))
        self.assertIn(f"called from {application}", printed)

    def test_port_program_is_stripped(self) -> None:
        """Proves that what is installed has no debugging symbols, which are most of the file."""
        [application] = self.install().glob("erlang_python-*")
        sections = self.sections(application / "priv" / "erlang_python_port")
        self.assertIn(".text", sections)
        self.assertEqual([], [name for name in sections if name == ".symtab" or name.startswith(".debug")])

    def sections(self, program: pathlib.Path) -> list[str]:
        """The names of the sections of an executable file."""
        printed = self.run_command("readelf", "--section-headers", "--wide", program, cwd=self.folder)
        return re.findall(r"^ *\[ *\d+\] (\.\S+)", printed, re.MULTILINE)

    def test_missing_libpython(self) -> None:
        """Proves that without libpython error and log say what the loader says, and that LD_LIBRARY_PATH helps."""
        libraries = self.install()
        [application] = libraries.glob("erlang_python-*")
        program = application / "priv" / "erlang_python_port"
        folder = self.library_folder(program)
        program.write_bytes(program.read_bytes().replace(folder.encode(), b"/" + b"x" * (len(folder) - 1)))
        if "not found" not in self.run_command("ldd", program, cwd=self.folder):
            self.skipTest("this machine has the library in another place as well")
        printed = self.run_command(
            "erl", "-noinput", "-eval", WITHOUT_LIBPYTHON % folder, cwd=self.folder, ERL_LIBS=str(libraries)
        )
        sentence = r"libpython[\d.]+so[\d.]+: cannot open shared object file"
        self.assertRegex(printed, r"error: .*" + sentence)
        self.assertRegex(printed, r"pool default does not start: .*" + sentence)
        self.assertIn("with LD_LIBRARY_PATH: {ok,4.0}", printed)

    def library_folder(self, program: pathlib.Path) -> str:
        """Where the program looks for libpython."""
        [found] = re.findall(
            r"\[(.*)\]", self.run_command("sh", "-c", f"readelf -d {program} | grep PATH", cwd=self.folder)
        )
        return str(found)

    def test_second_install_replaces_the_first(self) -> None:
        """Proves that a file of an older version does not stay behind."""
        [application] = self.install().glob("erlang_python-*")
        self.write(application / "ebin" / "py_old.beam", "")
        self.install()
        self.assertFalse((application / "ebin" / "py_old.beam").exists())

    def test_otp_release(self) -> None:
        """Proves that a release made by systools alone carries the port program and the Python package."""
        libraries = self.install()
        [application] = libraries.glob("erlang_python-*")
        version = application.name.removeprefix("erlang_python-")
        self.run_command(
            "erl", "-noinput", "-eval", self.make_release(version), cwd=self.folder, ERL_LIBS=str(libraries)
        )
        shutil.rmtree(self.folder / "root")
        target = self.folder / "unpacked"
        target.mkdir()
        self.run_command("tar", "-xzf", self.folder / "demo.tar.gz", cwd=target)
        # The release brings its own runtime system, so nothing of this machine's Erlang is used.
        [erts] = target.glob("erts-*")
        printed = self.run_command(
            erts / "bin" / "erlexec",
            *("-noinput", "-boot", target / "releases" / "1" / "start", "-eval", CALL_PYTHON),
            cwd=target,
            ROOTDIR=str(target),
            BINDIR=str(erts / "bin"),
            EMU="beam",
            PROGNAME="erl",
        )
        self.assertIn(f"called from {target}/lib/erlang_python-{version}", printed)

    def make_release(self, version: str) -> str:
        """Erlang code that writes demo.rel and makes demo.tar.gz of it."""
        return f"""
            Libraries = [kernel, stdlib, sasl, crypto],
            _ = [application:load(A) || A <- Libraries],
            {{ok, Needed}} = application:ensure_all_started(erlang_python),
            Version = fun(A) -> {{ok, V}} = application:get_key(A, vsn), {{A, V}} end,
            Applications = lists:usort([Version(A) || A <- Libraries ++ Needed]),
            {{erlang_python, "{version}"}} = lists:keyfind(erlang_python, 1, Applications),
            Release = {{release, {{"demo", "1"}}, {{erts, erlang:system_info(version)}}, Applications}},
            ok = file:write_file("demo.rel", io_lib:format("~p.~n", [Release])),
            ok = systools:make_script("demo", []),
            ok = systools:make_tar("demo", [{{erts, code:root_dir()}}]),
            halt().
        """
