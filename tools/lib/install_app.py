"""Called by `meson install`: copies the built OTP application, stripped, to its place in an Erlang library path.

Arguments: the built application, the target (absolute, or relative to Meson's prefix). DESTDIR is put in front.
"""

import os
import pathlib
import shutil
import subprocess
import sys

source = pathlib.Path(sys.argv[1])
target = pathlib.Path(os.environ["MESON_INSTALL_PREFIX"]) / sys.argv[2]
destdir = os.environ.get("DESTDIR", "")
if destdir:
    target = pathlib.Path(destdir) / target.relative_to(target.anchor)
if not (source / "ebin" / "erlang_python.app").exists():
    sys.exit(f"{source} has no ebin: configure with -Derlang_modules=true and build before installing")
if target.exists():
    shutil.rmtree(target)
shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.new"))
if strip := shutil.which("strip"):
    subprocess.run([strip, target / "priv" / "erlang_python_port"], check=True)
print(f"Installing the application to {target}")
