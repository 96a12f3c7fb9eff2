"""
A real HTTP server with scripted behaviour, and one face for the four kinds of client.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import struct
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SO_LINGER, SOL_SOCKET
from threading import Lock, Semaphore, Thread
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

    Behaviour = Callable[["Handler"], None]

FAMILIES = ("httpx2", "httpx")
KINDS = tuple((family, colour) for family in FAMILIES for colour in ("sync", "async"))


class Received(NamedTuple):
    """
    A request as it arrived.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Upstream:
    """
    A server on a free port of this host: each path answers by its script, the last behaviour again and again.
    """

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.most = 0
        self._scripts: dict[str, list[Behaviour]] = {}
        self._turn: dict[str, int] = defaultdict(int)
        self._running = 0
        self._lock = Lock()
        self.server = _Server(("127.0.0.1", 0), Handler)
        self.server.upstream = self
        self._thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        """
        Where it listens.
        """
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def script(self, path: str, *behaviours: Behaviour) -> str:
        """
        Let *path* answer by *behaviours*, one for each request; return its URL.
        """
        self._scripts[path] = list(behaviours)
        return self.url + path

    def next(self, path: str) -> Behaviour:
        """
        Return what the next request to *path* gets.
        """
        with self._lock:
            turn = self._turn[path]
            self._turn[path] += 1
        script = self._scripts.get(path) or [answer(404)]
        return script[min(turn, len(script) - 1)]

    def enter(self, received: Received) -> None:
        """
        Note a request that begins.
        """
        with self._lock:
            self.received.append(received)
            self._running += 1
            self.most = max(self.most, self._running)

    def leave(self) -> None:
        """
        Note that a request's answer has been sent.
        """
        with self._lock:
            self._running -= 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    upstream: Upstream

    def handle_error(self, request: Any, client_address: Any) -> None:
        """
        Keep quiet: clients that go away are part of the tests.
        """


class Handler(BaseHTTPRequestHandler):
    """
    One connection.
    """

    protocol_version = "HTTP/1.1"
    server: _Server
    body = b""

    def _any(self) -> None:
        body = self.body = self._body()
        path = self.path.partition("?")[0]
        headers = {name.lower(): value for name, value in self.headers.items()}
        upstream = self.server.upstream
        upstream.enter(Received(self.command, self.path, headers, body))
        try:
            upstream.next(path)(self)
        finally:
            upstream.leave()

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = do_PATCH = _any  # noqa: N815 - names of http.server

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - a name of http.server
        """
        Keep quiet.
        """

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """
        Send the status line and *headers*.
        """
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        """
        Send one chunk.
        """
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def reset(self) -> None:
        """
        Break the connection with a TCP reset.
        """
        self.connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True


def answer(status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Behaviour:
    """
    Answer whole.
    """

    def behave(handler: Handler) -> None:
        length = {} if status == 204 else {"content-length": str(len(body))}
        handler.head(status, {**length, **(headers or {})})
        if handler.command != "HEAD":
            handler.wfile.write(body)

    return behave


def as_json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Behaviour:
    """
    Answer with a JSON document.
    """
    return answer(status, json.dumps(value).encode(), {"content-type": "application/json", **(headers or {})})


def stream(
    *chunks: bytes, gate: Semaphore | None = None, kind: str = "text/event-stream", breaks: bool = False
) -> Behaviour:
    """
    Answer chunk by chunk, each after a leave from *gate*, if there is one; *breaks* ends with a reset.
    """

    def behave(handler: Handler) -> None:
        handler.head(200, {"content-type": kind, "transfer-encoding": "chunked"})
        for chunk in chunks:
            if gate is not None:
                gate.acquire()
            handler.chunk(chunk)
        if gate is not None:
            gate.acquire()
        if breaks:
            handler.reset()
            return
        handler.wfile.write(b"0\r\n\r\n")

    return behave


def reset(handler: Handler) -> None:
    """
    Take the request and reset the connection.
    """
    handler.reset()


def lie(handler: Handler) -> None:
    """
    Promise ten bytes, send five, and hang up.
    """
    handler.head(200, {"content-length": "10"})
    handler.wfile.write(b"first")
    handler.close_connection = True


def hang(gate: Semaphore) -> Behaviour:
    """
    Say nothing until *gate* lets go, then hang up.
    """

    def behave(handler: Handler) -> None:
        gate.acquire()
        handler.close_connection = True

    return behave


class Caller:
    """
    One face for a client of either family and either colour: what awaits is run to its end here.
    """

    def __init__(self, family: str, colour: str, transport: Any) -> None:
        self.library: Any = importlib.import_module(family)
        self.colour = colour
        self._runner = asyncio.Runner() if colour == "async" else None
        kind = self.library.AsyncClient if self._runner else self.library.Client
        self.client: Any = kind(transport=transport)

    def run(self, value: Any) -> Any:
        """
        Run a coroutine to its end; return anything else as it is.
        """
        return self._runner.run(value) if self._runner is not None else value

    def request(self, method: str, url: str, **options: Any) -> Any:
        """
        Send a request and read its response.
        """
        return self.run(self.client.request(method, url, **options))

    def get(self, url: str, **options: Any) -> Any:
        """
        GET.
        """
        return self.request("GET", url, **options)

    def post(self, url: str, **options: Any) -> Any:
        """
        POST.
        """
        return self.request("POST", url, **options)

    def open(self, url: str, method: str = "GET", **options: Any) -> Any:
        """
        Send a request, and return its response with its body unread.
        """
        return self.run(self.client.send(self.client.build_request(method, url, **options), stream=True))

    def chunks(self, response: Any) -> Chunks:
        """
        Return the chunks of a response that is read step by step.
        """
        return Chunks(self, response)

    def shut(self, response: Any) -> None:
        """
        Close *response*.
        """
        self.run(response.aclose() if self._runner is not None else response.close())

    def close(self) -> None:
        """
        Close the client.
        """
        self.run(self.client.aclose() if self._runner is not None else self.client.close())
        if self._runner is not None:
            self._runner.close()


class Chunks:
    """
    An iterator over a body, in either colour.
    """

    def __init__(self, caller: Caller, response: Any) -> None:
        self._caller = caller
        self._parts = response.aiter_raw() if caller.colour == "async" else response.iter_raw()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._caller.colour == "sync":
            return next(self._parts)
        try:
            return self._caller.run(_next(self._parts))
        except StopAsyncIteration:
            raise StopIteration from None


def _next(parts: Any) -> Coroutine[Any, Any, bytes]:
    async def step() -> bytes:
        return await anext(parts)

    return step()
