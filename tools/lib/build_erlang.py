"""Compiles the Erlang modules that changed, and writes the application file.

All stale modules go through one compiler process, because starting it costs more than most modules do; a module that
fails does not keep the others from being compiled. Modules that others name as their behaviour come first: the compiler
looks their callbacks up in the .beam files.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys

OPTIONS = ["debug_info", "warn_missing_spec", "warn_unused_vars", "warn_export_vars", "warn_obsolete_guard", "report"]
COMPILE = """
    {ok, Tokens, _} = erl_scan:string(os:getenv("COMPILE_OPTIONS")),
    {ok, Options} = erl_parse:parse_term(Tokens),
    Failed = [File || File <- init:get_plain_arguments(), compile:file(File, Options) =:= error],
    halt(min(length(Failed), 1)).
"""
BEHAVIOUR = re.compile(r"^-behaviou?r\((\w+)\)", re.MULTILINE)


def write_if_changed(path: pathlib.Path, text: str) -> None:
    """Leaves the time of an unchanged file alone."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def behaviours_first(sources: list[pathlib.Path]) -> list[pathlib.Path]:
    """Orders the sources so that a module comes after the behaviours that it implements."""
    used = {name for source in sources for name in BEHAVIOUR.findall(source.read_text(encoding="utf-8"))}
    return sorted(sources, key=lambda source: (source.stem not in used, source.stem))


def stale(sources: list[pathlib.Path], headers: list[pathlib.Path], ebin: pathlib.Path) -> list[pathlib.Path]:
    """The sources whose .beam is missing or older than they or any header."""
    newest_header = max((header.stat().st_mtime for header in headers), default=0.0)
    result = []
    for source in sources:
        beam = ebin / (source.stem + ".beam")
        if not beam.exists() or beam.stat().st_mtime <= max(source.stat().st_mtime, newest_header):
            result.append(source)
    return result


def application(template: pathlib.Path, modules: list[str], version: str) -> str:
    """The text of the .app file: the .app.src with its modules filled in, as rebar3 does it."""
    text = template.read_text(encoding="utf-8")
    found = re.search(r'\{\s*vsn\s*,\s*"([^"]*)"', text)
    if not found or found[1] != version:
        sys.exit(f'{template}: vsn must be "{version}", the version in meson.build')
    text = re.sub(r"\{\s*modules\s*,\s*\[[^\]]*\]\s*\},?", "", text)
    return text.replace(found[0], "{modules, [" + ", ".join(modules) + "]},\n    " + found[0], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stamp", type=pathlib.Path, required=True)
    parser.add_argument("--erl", required=True)
    parser.add_argument("--source", type=pathlib.Path, required=True)
    parser.add_argument("--ebin", type=pathlib.Path, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--werror", action=argparse.BooleanOptionalAction)
    arguments = parser.parse_args()

    ebin: pathlib.Path = arguments.ebin
    ebin.mkdir(parents=True, exist_ok=True)
    options = OPTIONS + (["warnings_as_errors"] if arguments.werror else [])
    options += [f'{{outdir, "{ebin}"}}', f'{{i, "{arguments.source}"}}']
    options_text = "[" + ", ".join(options) + "]."
    used_options = arguments.stamp.with_suffix(".options")
    same_options = used_options.exists() and used_options.read_text() == options_text
    sources = sorted(arguments.source.glob("*.erl"))
    headers = sorted(arguments.source.glob("*.hrl"))
    for beam in ebin.glob("*.beam"):
        if not (arguments.source / (beam.stem + ".erl")).exists():
            beam.unlink()
    todo = stale(sources, headers, ebin) if same_options else sources
    if todo:
        what = f"{len(todo)} Erlang modules" if len(todo) > 4 else " ".join(source.name for source in todo)
        print(f"compile    {what}", flush=True)
        command = [arguments.erl, "-noshell", "-pa", str(ebin), "-eval", COMPILE, "-extra"]
        command += [str(source) for source in behaviours_first(todo)]
        environment = os.environ | {"COMPILE_OPTIONS": options_text, "ERL_CRASH_DUMP_SECONDS": "0"}
        if subprocess.run(command, env=environment, check=False).returncode != 0:
            sys.exit(1)
        used_options.write_text(options_text)
    template = arguments.source / "erlang_python.app.src"
    modules = [source.stem for source in sources]
    write_if_changed(ebin / "erlang_python.app", application(template, modules, arguments.version))
    arguments.stamp.touch()


main()
