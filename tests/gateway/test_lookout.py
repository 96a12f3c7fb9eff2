"""
Clients that leave while their connection is not read: nothing is held for them.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Any

import pytest

from tests.gateway.rig import LOOP_NAMES, LOOPS, gateway, raw_upstream, until

pytestmark = pytest.mark.anyio
GET = b"GET /t/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
HANDSHAKE = b"GET /t/x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
UPLOAD = b"PUT /t/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000000\r\n\r\n" + b"x" * 70_000


@pytest.fixture(params=LOOPS, ids=LOOP_NAMES)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """
    Run each of these on both event loops: they differ in how reading is paused.
    """
    return request.param


def stuff(sock: socket.socket, data: bytes) -> None:
    """
    Send as much of *data* as goes at once.
    """
    sent = 0
    with suppress(BlockingIOError):
        while sent < len(data):
            sent += sock.send(data[sent : sent + 65_536])


@pytest.mark.parametrize(
    ("answer", "sent", "flood"),
    [
        (b"", GET * 40, False),
        (EVENTS, GET * 40, False),
        (EVENTS, UPLOAD, True),
        (SWITCHING, HANDSHAKE, True),
    ],
    ids=["requests wait", "requests wait behind a stream", "the upload is stuck", "the socket is stuck"],
)
async def test_a_client_that_is_gone_holds_nothing(answer: bytes, sent: bytes, flood: bool) -> None:
    """
    More lies before its end than is read: the lease goes back all the same.
    """
    done = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await done.wait()
        # Nothing more was read until here.
        writer.transport.abort()

    loop = asyncio.get_running_loop()
    async with raw_upstream(silent) as base, gateway(base, max_concurrency=1, timeout=60, grace=0.1) as rig:
        with socket.create_connection(("127.0.0.1", rig.port)) as sock:
            sock.setblocking(False)
            # Whatever lies in its buffers, it ends with RST.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stuff(sock, sent)
            if answer:
                await asyncio.wait_for(loop.sock_recv(sock, 65_536), 10)
            await until(lambda: rig.state()["in_flight"] == 1)
            for _ in range(20 if flood else 0):
                stuff(sock, b"x" * 1_000_000)
                await asyncio.sleep(0.02)  # real time: until nothing goes on, buffer by buffer
        try:
            state = await rig.at_rest()
        finally:
            done.set()

    assert state["in_flight"] == 0
