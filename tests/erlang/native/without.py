"""Runs a command under a kernel that has no seccomp, or no Landlock: `without.py seccomp|landlock COMMAND ...`."""

import ctypes
import errno
import os
import sys

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
EQUAL = 4
PR_SET_SECCOMP = 22


class Comparison(ctypes.Structure):
    _fields_ = [("argument", ctypes.c_uint), ("operator", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
library.seccomp_init.restype = ctypes.c_void_p
filter_ = ctypes.c_void_p(library.seccomp_init(ALLOW))


def refuse(call: str, code: int, *comparisons: Comparison) -> None:
    number = library.seccomp_syscall_resolve_name(call.encode())
    array = (Comparison * len(comparisons))(*comparisons)
    if library.seccomp_rule_add_array(filter_, ERRNO | code, number, len(comparisons), array) != 0:
        sys.exit("seccomp_rule_add_array failed")


if sys.argv[1] == "seccomp":
    refuse("seccomp", errno.ENOSYS)
    refuse("prctl", errno.EINVAL, Comparison(0, EQUAL, PR_SET_SECCOMP, 0))
else:
    refuse("landlock_create_ruleset", errno.ENOSYS)
if library.seccomp_load(filter_) != 0:
    sys.exit("seccomp_load failed")
os.execvp(sys.argv[2], sys.argv[2:])
