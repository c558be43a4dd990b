"""What send_SUITE and grants_SUITE call: Python that sends to whom it may and may not."""

import threading

import erlang

kept = []


def attempt(to, message="hello"):
    """The name of what the sending raises, and its text; ok when nothing."""
    try:
        erlang.send(to, message)
    except Exception as error:
        return (type(error).__name__, str(error))
    return "ok"


def forged(etf, message="hello"):
    """To a pid that is made from bytes."""
    return attempt(erlang.Pid(etf), message)


def keyword(to=None):
    return attempt(to)


def in_key(mapping):
    return [attempt(to) for key in mapping for to in key]


def nested(value):
    return attempt(value[0]["a"][1][0])


def callback_value(name):
    return attempt(erlang.call(name))


def callback_reason(name):
    try:
        erlang.call(name)
    except erlang.ErlangError as error:
        return attempt(error.reason[1])
    return "no error"


def state_value(key):
    return attempt(erlang.state_get(key))


def state_key(text):
    return [attempt(key[1]) for key in erlang.state_keys() if isinstance(key, tuple) and key[0] == text]


def keep_self():
    kept.append(erlang.self())


def to_kept():
    return attempt(kept[-1])


def by_name(name):
    return attempt(erlang.whereis(name))


def from_thread(to):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(attempt(to)))
    thread.start()
    thread.join()
    return answers[0]


def generator(to):
    yield attempt(to)


async def coroutine(to):
    return attempt(to)


async def awaited(name):
    return attempt(await erlang.async_call(name))


def _reason(name, argument):
    """What is in the reason that the function fails with, which has its argument in it."""
    try:
        erlang.call(name, argument)
    except erlang.ErlangError as error:
        return error.reason[1]
    return None


def round_trips(etf):
    """A pid that is made from bytes, sent through Erlang in every way."""
    pid = erlang.Pid(etf)

    def through_state(key, value):
        try:
            erlang.state_set(key, value)
        except Exception as error:
            return (type(error).__name__, str(error))
        return attempt(erlang.state_get(key) if key == "plain" else pid)

    def counted():
        try:
            erlang.state_incr(pid)
        except Exception as error:
            return (type(error).__name__, str(error))
        return "counted"

    return [
        attempt(pid),
        attempt(erlang.call("grants_suite_same", pid)),
        attempt(erlang.call("grants_suite_same", [{"a": (1, pid)}])[0]["a"][1]),
        attempt(_reason("grants_suite_key", pid)),
        attempt(_reason("grants_suite_killed", pid)),
        through_state("plain", pid),
        through_state((pid, "key"), 1),
        counted(),
    ]


def where(name):
    """What whereis raises, by its name and text; what it returns otherwise."""
    try:
        return erlang.whereis(name)
    except Exception as error:
        return (type(error).__name__, str(error))


def _term(value):
    """Atoms are written as strings that begin with a colon."""
    if isinstance(value, str) and value.startswith(":"):
        return erlang.Atom(value[1:])
    if isinstance(value, tuple):
        return tuple(_term(element) for element in value)
    if isinstance(value, list):
        return [_term(element) for element in value]
    return value


def attacks(node, path):
    """Messages that once ended the node, or ran a command in it; each as what it was meant for and what came of it."""
    me = erlang.self()
    command = [ord(char) for char in f"id > {path}"]
    run = (":$gen_call", (me, 1), (":call", ":os", ":cmd", [command], me))
    nothing = (":$gen_call", (me, 1), ":nothing_that_it_knows")
    found = [
        ("rex", run),
        (("rex", node), run),
        (erlang.Atom("rex"), run),
        ("rex", (":$gen_cast", (":cast", ":os", ":cmd", [command], me))),
        ("init", (":stop", ":stop")),
        (("init", node), (":stop", ":reboot")),
        ("init", (":EXIT", me, ":kill")),
        ("application_controller", (":$gen_cast", (":stop_application", ":kernel"))),
        ("application_controller", (":EXIT", me, ":shutdown")),
        ("application_controller", (":$gen_call", (me, 1), (":stop_application", ":erlang_python"))),
        ("code_server", (":code_call", me, (":delete", ":lists"))),
        ("code_server", (":system", (me, 1), (":terminate", ":x"))),
        ("logger", (":$gen_call", (me, 1), (":remove_handler", ":default"))),
        ("logger", (":$gen_cast", ":x")),
        ("erl_signal_server", (":notify", ":sigterm")),
        ("erl_signal_server", ":sigterm"),
        ("kernel_sup", (":EXIT", me, ":shutdown")),
        ("kernel_sup", (":system", (me, 1), (":terminate", ":shutdown"))),
        ("user", (":io_request", me, me, (":put_chars", ":unicode", b"from Python"))),
        ("standard_error", (":EXIT", me, ":kill")),
        ("file_server_2", (":$gen_call", (me, 1), (":delete", [ord(char) for char in path]))),
        ("global_name_server", (":$gen_cast", ":x")),
        ("net_kernel", (":EXIT", me, ":kill")),
        ("erl_prim_loader", (me, (":get_file", [47]))),
        ("timer_server", (":$gen_call", (me, 1), (":apply_once", 0, 0, (":os", ":cmd", [command])))),
        ("inet_db", nothing),
        ("erlang_python_sup", (":EXIT", me, ":shutdown")),
        ("py_context_router", nothing),
        ("py_context_router", (":EXIT", me, ":x")),
        ("py_semaphore", nothing),
        ("py_semaphore", (":$gen_cast", ":x")),
        ("py_functions", nothing),
        ("py_output", (":$gen_cast", (":line", 1))),
        ("py_pools_sup", (":EXIT", me, ":shutdown")),
        (("py_pools_sup", node), (":EXIT", me, ":shutdown")),
        ("py_standalone", (":system", (me, 1), (":terminate", ":x"))),
    ]
    return [(str(to), attempt(to, _term(message))) for to, message in found]


def attack_pids(pids):
    """What servers and supervisors of OTP end for; to pids that came in arguments, and the same made from bytes."""
    me = erlang.self()
    messages = [(":$gen_call", (me, 1), ":nothing_that_it_knows"), (":$gen_cast", ":x"), (":EXIT", me, ":kill"),
                (":system", (me, 1), (":terminate", ":shutdown")), (":io_request", me, me, ":getopts"),
                (":stop", ":stop"), ":py_stop"]
    return [attempt(to, _term(message)) for to in pids for message in messages]


def attack_forged(etfs):
    return attack_pids([erlang.Pid(etf) for etf in etfs])


def to_self():
    return attempt(erlang.self())
