"""The processes above Python, and below it such as try to outlive it."""

import os
import subprocess
import sys
import time


def parent(of):
    with open(f"/proc/{of}/stat", encoding="latin-1") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def above():
    """The inner keeper, the outer keeper, and what the node starts programs with."""
    inner = os.getppid()
    outer = parent(inner)
    return inner, outer, parent(outer)


def attack(whom, how, number):
    """Sends a signal to keepers, or to their process group, or to Python's own, and waits for what comes."""
    inner, outer, _ = above()
    targets = {"inner": [inner], "outer": [outer], "both": [outer, inner], "own": [os.getpid()]}[whom]
    for target in targets:
        if how == "group":
            os.killpg(os.getpgid(target), number)
        else:
            os.kill(target, number)
    time.sleep(600)


def send(whom, number):
    inner, outer, _ = above()
    os.kill(inner if whom == "inner" else outer, number)
    return True


def _run(code, **options):
    """A child that says when it is ready; its number."""
    child = subprocess.Popen([sys.executable, "-ISc", code], stdout=subprocess.PIPE, text=True, **options)
    return int(child.stdout.readline())


_READY = "print(os.getpid(), flush=True)\n"
_WAIT = "import os, signal, time\n" + _READY + "time.sleep(600)\n"
_DEAF = "import os, signal, time\nfor n in (1, 2, 3, 15): signal.signal(n, signal.SIG_IGN)\n" + _READY + "time.sleep(600)\n"
_STOPPED = "import os, signal, time\n" + _READY + "os.kill(os.getpid(), signal.SIGSTOP)\ntime.sleep(600)\n"
_DAEMON = (
    "import os, time\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n" + _READY + "time.sleep(600)\n"
)
# Its first thread has ended, so it looks like a zombie.
_HEADLESS = (
    "import ctypes, os, threading, time\n"
    "def go():\n    time.sleep(0.1)\n    print(os.getpid(), flush=True)\n    time.sleep(600)\n"
    "threading.Thread(target=go).start()\nctypes.CDLL(None).pthread_exit(None)\n"
)


def start_all_kinds():
    return [
        _run(_WAIT),
        _run(_WAIT, start_new_session=True),
        _run(_WAIT, process_group=0),
        _run(_DEAF, start_new_session=True, env={}),
        _run(_STOPPED, start_new_session=True, env={}),
        _run(_STOPPED),
        _run(_DAEMON, env={}),
        _run(_HEADLESS, start_new_session=True),
    ]


_STORM = """
import os, sys, time
end = time.monotonic() + float(sys.argv[2])
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        break
else:
    print(os.getpid(), flush=True)
    time.sleep(600)
while time.monotonic() < end:
    os.setsid() if os.getsid(0) != os.getpid() else None
    if os.fork() > 0:
        os._exit(0)
"""


def start_storm(lines, seconds):
    """So many processes that fork and leave all the time, each in a session of its own; they end after `seconds`."""
    arguments = [sys.executable, "-ISc", _STORM, str(lines), str(seconds)]
    child = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env={})
    return int(child.stdout.readline())


_POLITE = """
import os, signal, sys, time
def leave(*_):
    open(sys.argv[1], "w").close()
    os._exit(0)
signal.signal(signal.SIGTERM, leave)
print(os.getpid(), flush=True)
time.sleep(600)
"""


def start_polite(file, new_session):
    """A child that leaves a file behind when it is asked to leave."""
    arguments = [sys.executable, "-ISc", _POLITE, file]
    child = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, start_new_session=new_session)
    return int(child.stdout.readline())

