"""
What an upstream gets of a request, byte for byte.
"""

from __future__ import annotations

import asyncio
import re

import pytest

from egressor.gateway.body import SMALL
from tests.gateway.rig import LOOP_NAMES, LOOPS, ask_raw, gateway

pytestmark = pytest.mark.anyio
LONG = b"x" * (SMALL + 1)
ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n"


@pytest.fixture(params=LOOPS, ids=LOOP_NAMES)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """
    Run each of these on both event loops.
    """
    return request.param


@pytest.mark.parametrize(
    ("line", "fields", "body", "expected", "on_the_wire"),
    [
        (b"GET", b"", b"", b"", b""),
        (b"GET", b"X-A: 1\r\nx-a: 2\r\nX-A: 3\r\n", b"", b"X-A: 1\r\nx-a: 2\r\nX-A: 3\r\n", b""),
        (b"GET", b"Accept: */*\r\nUser-Agent: me\r\n", b"", b"Accept: */*\r\nUser-Agent: me\r\n", b""),
        (b"DELETE", b"", b"", b"Content-Length: 0\r\n", b""),
        (b"POST", b"", b"", b"Content-Length: 0\r\n", b""),
        (b"POST", b"Content-Length: 0\r\n", b"", b"Content-Length: 0\r\n", b""),
        (b"GET", b"Content-Length: 2\r\n", b"hi", b"Content-Length: 2\r\n", b"hi"),
        (b"POST", b"Content-Length: 2\r\n", b"hi", b"Content-Length: 2\r\n", b"hi"),
        (b"POST", b"Transfer-Encoding: chunked\r\n", b"1\r\nh\r\n1\r\ni\r\n0\r\n\r\n", b"Content-Length: 2\r\n", b"hi"),
        (b"PUT", b"Content-Length: %d\r\n" % len(LONG), LONG, b"Content-Length: %d\r\n" % len(LONG), LONG),
    ],
    ids=range(10),
)
async def test_what_goes_out(line: bytes, fields: bytes, body: bytes, expected: bytes, on_the_wire: bytes) -> None:
    """
    Every header goes on once, in its own spelling, none is added but what a body needs, and the answer has its trailers
    whichever way the body went.
    """
    heads: list[bytes] = []
    bodies: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        bodies.append(await reader.readexactly(len(on_the_wire)))
        writer.write(ANSWER)
        await writer.drain()
        bodies[-1] += await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host = b"127.0.0.1:%d" % server.sockets[0].getsockname()[1]
    async with gateway(f"http://{host.decode()}") as rig:
        head = line + b" /t/x?y=%20 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTE: trailers\r\n"
        raw = await ask_raw(rig.port, head + fields + b"\r\n" + body)
    server.close()
    hops = re.search(rb"Egressor-Hops: [0-9a-f]{12}\r\n", heads[0])

    assert hops is not None
    first, _, rest = heads[0].replace(hops[0], b"").partition(b"\r\n")
    assert first == line + b" /x?y=%20 HTTP/1.1"
    assert sorted(rest.splitlines(keepends=True)) == sorted(
        [
            b"Host: " + host + b"\r\n",
            *expected.splitlines(keepends=True),
            b"Connection: TE\r\n",
            b"TE: trailers\r\n",
            b"\r\n",
        ]
    )
    assert raw.endswith(b"2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n")
    assert bodies == [on_the_wire]
