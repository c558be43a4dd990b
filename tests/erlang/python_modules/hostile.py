"""What hostile Python code does to the descriptor that replies go through."""

import os
import struct
import time


def reply_fd() -> int:
    """The port's own copy of standard output: the pipe above 99 that is open for writing and no capture pipe."""
    captured = {os.fstat(1).st_ino, os.fstat(2).st_ino}
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd < 100:
            continue
        try:
            if not os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:") or os.fstat(fd).st_ino in captured:
                continue
            with open(f"/proc/self/fdinfo/{fd}") as info:
                flags = int(info.read().split("flags:")[1].split()[0], 8)
        except OSError:
            continue
        if flags & os.O_ACCMODE == os.O_WRONLY:
            return fd
    raise LookupError("no descriptor for replies")


def request_fd() -> int:
    """The port's own copy of standard input: it is claimed first, so it has the lowest number above 99."""
    return min(fd for fd in map(int, os.listdir("/proc/self/fd")) if fd >= 100)


def write_all(data: bytes) -> int:
    fd = reply_fd()
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            time.sleep(0.001)
    return len(data)


def frame(data: bytes) -> int:
    """Writes one frame, with the length in front."""
    return write_all(struct.pack(">I", len(data)) + data)


def frame_and_wait(data: bytes) -> None:
    frame(data)
    time.sleep(60)


def one_and_wait():
    yield 0
    time.sleep(60)
    yield 1


def frames(datas: list, times: int = 1) -> int:
    return write_all(b"".join(struct.pack(">I", len(data)) + data for data in datas) * times)


def frames_and_wait(datas: list) -> None:
    frames(datas)
    time.sleep(60)


def frames_and_endless(datas: list, data: bytes) -> None:
    frames(datas)
    endless(data)


def endless(data: bytes) -> None:
    """Writes the frame until somebody stops it."""
    block = (struct.pack(">I", len(data)) + data) * max(1, 65536 // (len(data) + 4))
    while True:
        write_all(block)


def length_and_death(length: int, signal: int) -> None:
    write_all(struct.pack(">I", length) + b"\x83")
    if signal:
        os.kill(os.getpid(), signal)
    time.sleep(60)


def close_replies() -> None:
    os.close(reply_fd())
    time.sleep(600)


def close_replies_at_the_end() -> None:
    os.close(reply_fd())


def replace_replies() -> None:
    null = os.open("/dev/null", os.O_WRONLY)
    os.dup2(null, reply_fd())
    time.sleep(600)


def close_requests() -> None:
    os.close(request_fd())
    time.sleep(600)


def new_atoms(round_number: int, count: int) -> bytes:
    """A header with so many atoms that nobody has seen before."""
    parts = [b"\x83\x68\x02\x61\x09\x6c" + struct.pack(">I", count)]
    for n in range(count):
        name = b"hostile_atom_%d_%d" % (round_number, n)
        parts.append(b"\x77" + bytes([len(name)]) + name)
    return b"".join(parts) + b"\x6a"


def atoms(rounds: int) -> None:
    for number in range(rounds):
        frame(new_atoms(number, 250))
    time.sleep(60)


def leave_a_child_with_the_descriptor() -> int:
    """A child in a session of its own that holds the descriptor for replies, and goes on when this process dies."""
    import subprocess

    fd = reply_fd()
    child = subprocess.Popen(["sleep", "30"], pass_fds=[fd], start_new_session=True)
    return child.pid
