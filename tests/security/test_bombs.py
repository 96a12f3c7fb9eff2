"""
Small bytes that mean much, and much that has no end: the gateway reads of them what it needs, and no more.

Judged by the kernel's count of the process's memory, and by what went in at one side and came out at the other.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import socket
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from itertools import chain, repeat
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pytest

from tests.cli.test_endurance import MEGABYTE, PIECE, connect, resident
from tests.cli.test_serve import SERVICE, Program
from tests.cli.test_surroundings import gateway

MUCH = 100 * MEGABYTE
# What may be taken for a moment: two buffers in either direction, and the allocator's slack.
MOST = 8 * MEGABYTE
TOKEN = "the-operators-token-of-this-test"
Pieces = Iterable[bytes]


class Answer(NamedTuple):
    """
    What an upstream sends: its head without the status line, and its body in pieces.
    """

    status: int
    fields: str
    body: Callable[[], Pieces]

    def wire(self) -> Iterator[bytes]:
        """
        Return the bytes of the whole answer, which ends with its connection.
        """
        yield f"HTTP/1.1 {self.status} Bang\r\n{self.fields}Connection: close\r\n\r\n".encode()
        yield from self.body()


@cache
def packed(times: int, *, wbits: int = 31) -> bytes:
    """
    Return 100 MB of zeros, packed so many times.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    data = b"".join(packer.compress(bytes(MEGABYTE)) for _ in range(100)) + packer.flush()
    for _ in range(times - 1):
        data = gzip.compress(data, mtime=0)
    return data


def coded(*names: str) -> str:
    """
    Return one header for each of *names*.
    """
    return "".join(f"Content-Encoding: {name}\r\n" for name in names)


def long_line(begin: bytes, end: bytes) -> Callable[[], Pieces]:
    """
    Return a body of 100 MB on one line.
    """
    return lambda: chain([begin], repeat(PIECE, MUCH // len(PIECE)), [end])


JSON = "Content-Type: application/json\r\n"
BOMBS = {
    "gzip": Answer(503, coded("gzip"), lambda: [packed(1)]),
    "x-gzip": Answer(429, coded("x-gzip"), lambda: [packed(1)]),
    "deflate": Answer(503, coded("deflate"), lambda: [packed(1, wbits=15)]),
    "raw-deflate": Answer(503, coded("deflate"), lambda: [packed(1, wbits=-15)]),
    "twice": Answer(503, coded("gzip, gzip"), lambda: [packed(2)]),
    "twice-said-once": Answer(503, coded("gzip"), lambda: [packed(2)]),
    "four-times": Answer(503, coded("gzip, gzip, gzip, gzip"), lambda: [packed(4)]),
    "hundred-codings": Answer(503, coded(", ".join(["gzip"] * 100)), lambda: [packed(1)]),
    "hundred-headers": Answer(503, coded(*["gzip"] * 100), lambda: [packed(1)]),
    "begins-well": Answer(
        503, coded("gzip"), lambda: [gzip.compress(b'{"error": {}}', mtime=0), packed(1), b"\0" * 1000]
    ),
    "packed-depth": Answer(429, JSON + coded("gzip"), lambda: [gzip.compress(b"[" * 20_000_000, mtime=0)]),
    "depth": Answer(429, JSON, lambda: [b"[" * 8000]),
    "depth-of-objects": Answer(429, JSON, lambda: [b'{"error":' * 900]),
    "closed-depth": Answer(429, JSON, lambda: [b"[" * 4000 + b"]" * 4000]),
    "much-depth": Answer(429, JSON, lambda: [b'{"error":' * 1_000_000]),
    "big-integer": Answer(429, JSON, lambda: [b'{"error": {"code": ' + b"9" * 8000 + b"}}"]),
    "big-integer-of-4300-digits": Answer(429, JSON, lambda: [b'{"retry_after": ' + b"9" * 4300 + b"}"]),
    "big-exponent": Answer(429, JSON, lambda: [b'{"error": {"retry_after": 1e999999}, "retryDelay": "1e99999s"}']),
    "no-number": Answer(429, JSON, lambda: [b'{"retry_after": NaN, "error": {"retry_after": -Infinity}}']),
    "double-keys": Answer(429, JSON, lambda: [b"{" + b'"error": {"message": 1},' * 300 + b'"error": []}']),
    "half-a-character": Answer(429, JSON, lambda: [b'{"error": {"message": "\\ud800", "code": "\\udfff"}}']),
    "long-json": Answer(500, JSON, long_line(b'{"error": "', b'"}')),
    "long-event": Answer(200, "Content-Type: text/event-stream\r\n", long_line(b"data: ", b"\n\n")),
    "long-line": Answer(200, "Content-Type: application/x-ndjson\r\n", long_line(b'{"a": "', b'"}\n')),
}
HEADS: dict[str, Callable[[], Pieces]] = {
    "status-line": lambda: chain([b"HTTP/1.1 200 "], repeat(PIECE, MUCH // len(PIECE))),
    "version": lambda: repeat(b"HTTP/1." + PIECE, MUCH // len(PIECE)),
    "header": lambda: chain([b"HTTP/1.1 200 OK\r\nX-Long: "], repeat(PIECE, MUCH // len(PIECE))),
    "name": lambda: chain([b"HTTP/1.1 200 OK\r\n"], repeat(PIECE, MUCH // len(PIECE))),
    "headers": lambda: chain([b"HTTP/1.1 200 OK\r\n"], repeat(b"X-Many: 1\r\n" * 1000, 10_000)),
    "interim": lambda: repeat(b"HTTP/1.1 103 Early Hints\r\nX-A: 1\r\n\r\n" * 1000, 3000),
    "size-line": lambda: chain(
        [b"HTTP/1.1 503 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;"], repeat(PIECE, MUCH // len(PIECE))
    ),
    "size": lambda: chain(
        [b"HTTP/1.1 503 OK\r\nTransfer-Encoding: chunked\r\n\r\n1"], repeat(b"0" * 65_536, MUCH // 65_536)
    ),
}
REQUESTS: dict[str, Callable[[], Pieces]] = {
    "line": lambda: chain([b"GET /ok/"], repeat(PIECE, MUCH // len(PIECE))),
    "method": lambda: repeat(b"G" * 65_536, MUCH // 65_536),
    "header": lambda: chain([b"GET /ok/x HTTP/1.1\r\nHost: localhost\r\nX-A: "], repeat(PIECE, MUCH // len(PIECE))),
    "headers": lambda: chain([b"GET /ok/x HTTP/1.1\r\nHost: localhost\r\n"], repeat(b"X-A: 1\r\n" * 1000, 10_000)),
    "size-line": lambda: chain(
        [b"POST /ok/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1;"],
        repeat(PIECE, MUCH // len(PIECE)),
    ),
    "trailer": lambda: chain(
        [b"POST /ok/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-A: "],
        repeat(PIECE, MUCH // len(PIECE)),
    ),
}


class Upstream:
    """
    An upstream that answers each request as its first segment says, on a connection for each.
    """

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.took = b""
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, suppress(OSError):
            name = stream.readline().split()[1].decode().strip("/")
            length = 0
            while line := stream.readline().strip():
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split()[1])
            self.took = stream.read(length)
            pieces = BOMBS[name].wire() if name in BOMBS else HEADS[name]() if name in HEADS else _fine()
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)


def _fine() -> Pieces:
    return [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfine"]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """
    An upstream.
    """
    running = Upstream()
    yield running
    running.socket.close()


@pytest.fixture(scope="module")
def program(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """
    A gateway with a service for each bomb, so that each has a status of its own.
    """
    once = "retry = { attempts = 1 }\n"
    text = "".join(
        SERVICE.format(name=name, base=f"{upstream.url}/{name}") + once
        for name in ["ok", *BOMBS, *(f"head-{each}" for each in HEADS)]
    ).replace("/head-", "/")
    folder = tmp_path_factory.mktemp("bombs") / "g"
    with gateway(folder, text, {"EGRESSOR_TOKEN": TOKEN}) as running:
        assert running.get("/ok/") == (200, "fine")
        yield running
        assert running.errors.read_text() == ""


@pytest.fixture
def growth(program: Program) -> Callable[[], int]:
    """
    How far the program's memory has risen, at its highest, above what it held when the test began.
    """
    # Of proc(5): the highest mark falls to what is held now.
    Path(f"/proc/{program.process.pid}/clear_refs").write_text("5")
    before = resident(program)
    return lambda: resident(program, "VmHWM") - before


def exchange(program: Program, pieces: Pieces) -> tuple[int, int, str]:
    """
    Send *pieces* as far as they are taken, and return the answer's status (0 without one), and its body's length and
    digest.
    """
    connection = connect(program, b"")

    def push() -> None:
        with suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)

    pusher = Thread(target=push, daemon=True)
    pusher.start()
    head, length, digest = b"", 0, hashlib.sha256()
    with connection, suppress(ConnectionResetError):
        while b"\r\n\r\n" not in head and (piece := connection.recv(65_536)):
            head += piece
        head, _, body = head.partition(b"\r\n\r\n")
        for piece in chain([body], iter(lambda: connection.recv(MEGABYTE), b"")):
            digest.update(piece)
            length += len(piece)
    pusher.join(30)
    return int(head.split(b" ")[1]) if head else 0, length, digest.hexdigest()


def get(path: str) -> Pieces:
    """
    Return a request in HTTP/1.0, whose answer has no frames and ends with its connection.
    """
    return [f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()]


def status_of(program: Program, service: str) -> dict[str, object]:
    """
    Return the status of one service, by the page's JSON twin.
    """
    document = json.loads(program.get("/-/status.json")[1])
    return dict(document["services"][service])


@pytest.mark.parametrize("name", BOMBS)
def test_an_answer_that_means_too_much(name: str, program: Program, growth: Callable[[], int]) -> None:
    """
    It is relayed as it came, is what its status says, and takes no memory.
    """
    bomb = BOMBS[name]
    digest, length = hashlib.sha256(), 0
    for piece in bomb.body():
        digest.update(piece)
        length += len(piece)

    found = exchange(program, get(f"/{name}/"))
    state = status_of(program, name)

    assert found == (bomb.status, length, digest.hexdigest())
    assert growth() < MOST
    category = {429: "rate_limit", 500: "server_error"}.get(bomb.status)
    assert (bomb.status in {200, 503}) or state["categories"] == {category: 1}
    assert (state["in_flight"], state["succeeded"]) == (0, int(bomb.status == 200))


@pytest.mark.parametrize("name", HEADS)
def test_a_head_without_an_end(name: str, program: Program, growth: Callable[[], int]) -> None:
    """
    An upstream that begins an answer whose head, or whose chunk's size, never ends is a 502 or cut off.
    """
    status, length, _ = exchange(program, get(f"/head-{name}/"))
    state = status_of(program, f"head-{name}")

    assert status == 502
    assert length < 2000
    assert growth() < MOST
    assert (state["in_flight"], state["succeeded"], state["failed"]) == (0, 0, 1)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_without_an_end(name: str, program: Program, growth: Callable[[], int]) -> None:
    """
    A client that begins one gets 400, if it still reads, and is cut off; the gateway goes on.
    """
    status, length, _ = exchange(program, REQUESTS[name]())

    assert status in {0, 400}
    assert length < 2000
    assert growth() < MOST
    assert program.get("/ok/") == (200, "fine")


@pytest.mark.parametrize("coding", ["gzip", "gzip, gzip", ", ".join(["gzip"] * 100), "br", "nonsense"])
def test_a_packed_request(coding: str, program: Program, upstream: Upstream, growth: Callable[[], int]) -> None:
    """
    A client's bomb is its upstream's to read: it arrives as it was sent, and nobody opens it here.
    """
    body = packed(1)
    head = f"POST /ok/ HTTP/1.0\r\nHost: localhost\r\nContent-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n"

    found = exchange(program, [head.encode(), body])

    assert (found[0], upstream.took) == (200, body)
    assert growth() < MOST


@pytest.mark.parametrize(
    ("body", "fields", "expected"),
    [
        pytest.param(b"[" * 4000, "", 400, id="depth"),
        pytest.param(b'{"a":' * 500 + b"1" + b"}" * 500, "", 400, id="depth that is closed"),
        pytest.param(b'{"reason": ' + b"9" * 4000 + b"}", "", 400, id="a big integer"),
        pytest.param(b'{"reason": 1e9999}', "", 400, id="a big exponent"),
        pytest.param(b'{"reason": NaN}', "", 400, id="no number"),
        pytest.param(b'{"reason": "\\ud800"}', "", 400, id="half a character"),
        pytest.param(b'{"reason": "' + b"x" * 4000 + b'"}', "", 400, id="a long line"),
        pytest.param(b'{"reason": "a", "reason": ["b"]}', "", 400, id="double keys, the last is none"),
        pytest.param(gzip.compress(b'{"reason": "a"}'), coded("gzip"), 400, id="packed"),
        pytest.param(packed(2)[:4000], coded("gzip", "gzip"), 400, id="packed twice"),
        pytest.param(packed(1), coded("gzip"), 413, id="a packed bomb"),
        pytest.param(b'{"reason": "' + b"x" * 5000 + b'"}', "", 413, id="too long"),
    ],
)
def test_what_an_operator_sends(
    body: bytes, fields: str, expected: int, program: Program, growth: Callable[[], int]
) -> None:
    """
    A body that the gateway itself reads is short, plain JSON, or changes nothing.
    """
    head = f"POST /-/services/ok/pause HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n{fields}"

    status, _, _ = exchange(program, [f"{head}Content-Length: {len(body)}\r\n\r\n".encode(), body])

    assert status == expected
    assert growth() < MOST
    assert program.get("/ok/") == (200, "fine")
