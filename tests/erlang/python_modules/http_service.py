"""An HTTP/1.1 service on asyncio streams, as somebody writes it who has no framework: for real_use_SUITE."""

import asyncio
import json
import threading
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

import erlang

_MAX_BODY = 1 << 20

requests = 0
connections = 0


class BadRequest(Exception):
    pass


class Request:
    def __init__(self, method, target, version, headers, body):
        url = urlsplit(target)
        self.method, self.path, self.query = method, url.path, parse_qs(url.query)
        self.headers, self.body = headers, body
        connection = headers.get("connection", "").lower()
        self.keep_alive = connection == "keep-alive" if version == "HTTP/1.0" else connection != "close"


async def _read_request(reader):
    """The next request of a connection, or None when the client has closed it."""
    line = await reader.readline()
    if not line:
        return None
    words = line.decode("latin-1").split()
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadRequest("no request line")
    headers = {}
    while (line := await reader.readline()) != b"\r\n":
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise BadRequest("no header")
        headers[name.strip().lower()] = value.strip()
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _read_chunks(reader)
    else:
        length = int(headers.get("content-length", "0"))
        if length > _MAX_BODY:
            raise BadRequest("too long")
        body = await reader.readexactly(length)
    return Request(*words, headers, body)


async def _read_chunks(reader):
    chunks = []
    while size := int((await reader.readline()).partition(b";")[0], 16):
        chunks.append(await reader.readexactly(size))
        await reader.readexactly(2)
        if sum(map(len, chunks)) > _MAX_BODY:
            raise BadRequest("too long")
    await reader.readline()
    return b"".join(chunks)


async def _answer(request):
    """The status, the type and the body."""
    match request.method, request.path.split("/")[1:]:
        case "GET", [""]:
            return 200, "text/plain", b"Hello, world!\n"
        case "GET", ["square"]:
            number = int(request.query["n"][0])
            return 200, "application/json", json.dumps({"n": number, "square": number * number}).encode()
        case "GET", ["slow", milliseconds]:
            await asyncio.sleep(int(milliseconds) / 1000)
            return 200, "text/plain", milliseconds.encode()
        case "GET", ["erlang", word]:
            return 200, "text/plain", (await erlang.async_call("real_use_reverse", word)).encode()
        case "POST", ["echo"]:
            return 200, request.headers.get("content-type", "application/octet-stream"), request.body
        case "GET", ["broken"]:
            raise RuntimeError("on purpose")
    return 404, "text/plain", b"not found\n"


def _write(writer, status, kind, body, keep_alive):
    writer.write(
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n\r\n".encode()
        + body
    )


async def _serve_connection(reader, writer):
    global requests, connections
    connections += 1
    try:
        keep_alive = True
        while keep_alive and (request := await _read_request(reader)):
            requests += 1
            keep_alive = request.keep_alive
            try:
                status, kind, body = await _answer(request)
            except (KeyError, ValueError) as error:
                status, kind, body = 400, "text/plain", repr(error).encode()
            except RuntimeError as error:
                status, kind, body = 500, "text/plain", str(error).encode()
            _write(writer, status, kind, body, keep_alive)
            await writer.drain()
    except (BadRequest, ValueError) as error:
        _write(writer, 400, "text/plain", str(error).encode(), False)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the client is gone
    finally:
        connections -= 1
        writer.close()


async def serve(told):
    """Serves for ever on a free port of the loopback device: `told` gets ('listening', port), in the end 'closed'."""
    tasks = set()

    async def served(reader, writer):
        task = asyncio.current_task()
        tasks.add(task)
        try:
            await _serve_connection(reader, writer)
        except asyncio.CancelledError:
            pass  # by us, below; asyncio would log it
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(served, "127.0.0.1", 0, backlog=200)
    erlang.send(told, (erlang.Atom("listening"), server.sockets[0].getsockname()[1]))
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await server.wait_closed()
        erlang.send(told, erlang.Atom("closed"))


def counts():
    """A synchronous function, for calls between the requests: what the service has seen, and where it runs."""
    return [requests, connections, threading.get_native_id()]
