"""Run by a candidate interpreter: prints what the build needs to know of it, or why it cannot be used.

The argument is the lowest minor version to accept. On success five lines: executable, version, include directory,
shared library, directory of the shared library. On failure one line and exit status 1. Old interpreters run this too,
so it keeps to what Python 2 understands.
"""

import os
import sys
import sysconfig


def shared_library():
    """Path of the library to link, or None: Debian and macOS frameworks keep it away from LIBDIR."""
    name = sysconfig.get_config_var("LDLIBRARY") or ""
    folders = [sysconfig.get_config_var(key) for key in ("LIBDIR", "LIBPL", "PYTHONFRAMEWORKPREFIX")]
    folders.append(os.path.join(getattr(sys, "base_prefix", sys.prefix), "lib"))
    framework = "/" in name
    if not (framework or name.endswith((".so", ".dylib"))):
        return None
    for folder in folders:
        if folder and os.path.exists(os.path.join(folder, name)):
            return os.path.join(folder, name)
    return None


def refuse(why):
    print(why)
    sys.exit(1)


lowest = (3, int(sys.argv[1]))
if sys.version_info[:2] < lowest:
    refuse("is Python %d.%d, wanted is %d.%d or later" % (sys.version_info[:2] + lowest))
include = sysconfig.get_path("include")
if not os.path.exists(os.path.join(include, "Python.h")):
    refuse("has no headers (%s/Python.h)" % include)
library = shared_library()
if library is None:
    refuse("has no shared library (built without --enable-shared)")
print(sys.executable)
print("%d.%d.%d" % sys.version_info[:3])
print(include)
print(library)
print(os.path.dirname(os.path.realpath(library)))
