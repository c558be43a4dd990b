"""Builds the Python package `erlang` for `pip install .`: for unit tests and type checkers of code for a node.

The package that runs in a node is not this one: the application brings its own. A build backend (PEP 517, PEP 660) that
needs nothing but Python, so that it works without a package index.
"""

import base64
import hashlib
import pathlib
import re
import zipfile

TOP = pathlib.Path(__file__).resolve().parents[2]
SOURCES = TOP / "python_lib"
NAME = "erlang_python"
SUMMARY = "The package erlang of erlang_python, for unit tests and type checkers; a node brings its own"


def version() -> str:
    """The project's, which stands in meson.build."""
    [found] = re.findall(r"^ +version : '([^']*)'", (TOP / "meson.build").read_text(encoding="utf-8"), re.MULTILINE)
    return str(found)


def package_files() -> dict[str, bytes]:
    files = {
        path.relative_to(SOURCES).as_posix(): path.read_bytes()
        for path in sorted(SOURCES.joinpath("erlang").rglob("*"))
        if path.suffix in {".py", ".pyi"} or path.name == "py.typed"
    }
    # Where type checkers look for the stub of a module that is built in.
    files["_erlang-stubs/__init__.pyi"] = (SOURCES / "_erlang.pyi").read_bytes()
    return files


def write_wheel(directory: str, files: dict[str, bytes]) -> str:
    info = f"{NAME}-{version()}.dist-info"
    files = files | {
        f"{info}/METADATA": (
            f"Metadata-Version: 2.1\nName: {NAME.replace('_', '-')}\nVersion: {version()}\nSummary: {SUMMARY}\n"
            "License: Apache-2.0\nRequires-Python: >=3.12\n"
        ).encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: erlang_python\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{name},{digest(content)},{len(content)}\n" for name, content in files.items()]
    record.append(f"{info}/RECORD,,\n")
    files[f"{info}/RECORD"] = "".join(record).encode()
    wheel = f"{NAME}-{version()}-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(directory) / wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return wheel


def digest(content: bytes) -> str:
    text = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"sha256={text}"


# What pip calls.


def build_wheel(wheel_directory: str, config_settings: object = None, metadata_directory: object = None) -> str:
    return write_wheel(wheel_directory, package_files())


def build_editable(wheel_directory: str, config_settings: object = None, metadata_directory: object = None) -> str:
    return write_wheel(wheel_directory, {f"{NAME}.pth": f"{SOURCES}\n".encode()})


def build_sdist(sdist_directory: str, config_settings: object = None) -> str:
    raise NotImplementedError("erlang_python is no Python distribution: take the source tree")
