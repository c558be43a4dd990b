"""A Redis client on asyncio streams: RESP2, one connection per event loop and server, which all coroutines share.

Commands are written as they come, without waiting for each other's replies, which arrive in the same order.
"""

import asyncio
import collections
import weakref

import erlang


class RedisError(Exception):
    """What the server answered instead of a result."""


class Connection:
    def __init__(self, reader, writer):
        self._reader, self._writer = reader, writer
        self._waiting = collections.deque()
        self._task = asyncio.create_task(self._read_all())
        self.lost = None

    @classmethod
    async def open(cls, path):
        return cls(*await asyncio.open_unix_connection(path))

    async def ask(self, *command):
        if self.lost:
            raise ConnectionResetError(str(self.lost))
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._writer.write(_encode(command))
        await self._writer.drain()
        reply = await answer
        if isinstance(reply, RedisError):
            raise reply
        return reply

    async def _read_all(self):
        try:
            while True:
                reply = await _read_reply(self._reader)
                # The coroutine that asked may have been cancelled meanwhile; its reply comes nevertheless.
                answer = self._waiting.popleft()
                if not answer.done():
                    answer.set_result(reply)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            self.lost = error
            self._writer.close()
            for answer in self._waiting:
                if not answer.done():
                    answer.set_exception(ConnectionResetError("the server closed the connection"))


def _encode(command):
    parts = [b"*%d\r\n" % len(command)]
    for word in command:
        raw = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(parts)


async def _read_reply(reader):
    line = await reader.readuntil(b"\r\n")
    kind, rest = line[:1], line[1:-2]
    if kind == b"+":
        return rest
    if kind == b"-":
        return RedisError(rest.decode())
    if kind == b":":
        return int(rest)
    length = int(rest)
    if length < 0:
        return None
    if kind == b"$":
        return (await reader.readexactly(length + 2))[:-2]
    if kind == b"*":
        return [await _read_reply(reader) for _ in range(length)]
    raise ConnectionError(f"not RESP: {line!r}")


_connections = weakref.WeakKeyDictionary()  # loop -> {path: the task that connects or has connected}


async def _connection(path):
    loop = asyncio.get_running_loop()
    connections = _connections.setdefault(loop, {})
    opening = connections.get(path)
    if opening is not None and opening.done() and (opening.exception() or opening.result().lost):
        opening = None
    if opening is None:
        opening = connections[path] = loop.create_task(Connection.open(path))
    # One task that gives up must not take the others' connection away.
    return await asyncio.shield(opening)


async def ask(path, *command):
    """One command: the reply as Erlang has it (integer, binary, list, none)."""
    return await (await _connection(path)).ask(*command)


async def pipelined(path, commands):
    """Commands that are all written before the first reply is waited for; the replies in their order."""
    connection = await _connection(path)
    return await asyncio.gather(*[connection.ask(*command) for command in commands])


async def subscribe(path, channel, receiver):
    """Sends an Erlang process what is published, for ever: first ('subscribed', channel), then ('published', text)."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(_encode(["SUBSCRIBE", channel]))
        while True:
            kind, _channel, content = await _read_reply(reader)
            if kind == b"subscribe":
                erlang.send(receiver, (erlang.Atom("subscribed"), channel))
            elif kind == b"message":
                erlang.send(receiver, (erlang.Atom("published"), content))
    except asyncio.IncompleteReadError:
        raise ConnectionResetError("the server closed the connection") from None
    finally:
        writer.close()
