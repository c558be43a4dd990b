"""Messages to those that Python may not reach, in shapes that servers and supervisors end for (soak_run)."""

import erlang

NAMES = ["init", "rex", "application_controller", "code_server", "logger", "kernel_sup", "erlang_python_sup",
         "py_pools_sup",
         "py_semaphore", "py_output", "py_functions", "py_context_router", "py_standalone", "hostile_victim"]


def _messages():
    me = erlang.self()
    atom = erlang.Atom
    return [
        (atom("EXIT"), me, atom("shutdown")),
        (atom("$gen_call"), (me, 1), atom("nothing_that_it_knows")),
        (atom("$gen_cast"), atom("x")),
        (atom("stop"), atom("stop")),
        (atom("system"), (me, 1), (atom("terminate"), atom("shutdown"))),
    ]


def _refused(to):
    """How many messages were sent after all."""
    sent = 0
    for message in _messages():
        try:
            erlang.send(to, message)
            sent += 1
        except (erlang.Error, OSError):
            pass
    return sent


def by_name():
    return sum(_refused(name) for name in NAMES)


def by_pid(etfs):
    return sum(_refused(erlang.Pid(etf)) for etf in etfs)
