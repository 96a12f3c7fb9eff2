"""
WebSockets: every byte passes, in both directions, under one lease that is held until a side hangs up.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from egressor.gateway import answers
from tests.gateway.rig import FAST, LOOP_NAMES, LOOPS, ask_raw, gateway, raw_upstream, until, upstream

pytestmark = pytest.mark.anyio
HANDSHAKE = (
    b"GET /t/socket?room=1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Room: 1\r\n\r\n"


@pytest.fixture(params=LOOPS, ids=LOOP_NAMES)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """
    Run each of these on both event loops: they differ in how connections begin, end and are written to.
    """
    return request.param


async def echo(request: web.BaseRequest) -> web.StreamResponse:
    """
    Send every message back.
    """
    socket = web.WebSocketResponse(protocols=["chat"], max_msg_size=0)
    await socket.prepare(request)
    async for message in socket:
        if message.type == WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type == WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


async def switch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """
    Change the protocol, and then send every byte back.
    """
    writer.write(SWITCHING)
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


@pytest.mark.parametrize("compress", [0, 15])
async def test_messages_pass(compress: int) -> None:
    """
    Text, long binary messages and the close pass, with and without compression, and the lease is held meanwhile.
    """
    data = bytes(range(256)) * 8192
    codes: list[int | None] = []

    async def noting(request: web.BaseRequest) -> web.StreamResponse:
        response = await echo(request)
        codes.append(response.close_code if isinstance(response, web.WebSocketResponse) else 0)
        return response

    async with upstream(noting) as base, gateway(base, max_concurrency=1) as rig:
        async with rig.session.ws_connect(
            rig.url + "/t/socket", protocols=["chat"], compress=compress, max_msg_size=0
        ) as socket:
            await socket.send_str("hällo")
            text = await socket.receive_str()
            await socket.send_bytes(data)
            got = await socket.receive_bytes()
            held = rig.state()["in_flight"]
            await socket.close(code=4001)
        state = await rig.at_rest()

    assert (text, socket.protocol, codes) == ("hällo", "chat", [4001])
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()
    assert (held, state["succeeded"], state["failed"]) == (1, 1, 0)


async def test_bytes_pass_untouched() -> None:
    """
    What follows the handshake is nobody's to read: even what no WebSocket would send passes as it is.
    """
    data = b"GET / HTTP/1.1\r\n\r\n\x00\xff" * 10_000
    async with raw_upstream(switch) as base, gateway(base) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        # The first bytes come together with the handshake.
        writer.write(HANDSHAKE + data)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        got = await asyncio.wait_for(reader.readexactly(len(data)), 10)
        writer.close()
        state = await rig.at_rest()

    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"\r\nX-Room: 1\r\n" in head
    assert b"\r\nEgressor-Attempts: 1\r\n" in head
    assert got == data
    assert state["in_flight"] == 0


async def test_two_silent_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    When neither side has said anything for long enough, the connection ends, and the place is back.
    """
    monkeypatch.setattr(answers, "_SILENCE", 0.3)
    async with raw_upstream(switch) as base, gateway(base, max_concurrency=1) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(HANDSHAKE)
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        for _ in range(8):
            # Together longer than the silence that is borne, but never silent for so long.
            await asyncio.sleep(0.1)  # real time: what is measured
            writer.write(b"x")
            assert await asyncio.wait_for(reader.read(1), 10) == b"x"
        rest = await asyncio.wait_for(reader.read(), 10)
        state = await rig.at_rest()
        writer.close()

    assert (rest, state["categories"]) == (b"", {"cancelled": 1})


async def test_one_more_waits_for_the_permit() -> None:
    """
    A second one is refused while the first one holds the only place, and has it afterwards.
    """
    async with upstream(echo) as base, gateway(base, max_concurrency=1, max_wait=0) as rig:
        async with rig.session.ws_connect(rig.url + "/t/socket"):
            refused = await ask_raw(rig.port, HANDSHAKE.replace(b"Connection: ", b"Connection: close, "))
        await rig.at_rest()
        async with rig.session.ws_connect(rig.url + "/t/socket") as socket:
            await socket.send_str("again")
            again = await socket.receive_str()

    assert refused.startswith(b"HTTP/1.1 429 ")
    assert again == "again"


@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_who_hangs_up(who: str) -> None:
    """
    A reset on one side ends the other side, and gives the place back.
    """
    gone, hang_up = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SWITCHING)
        hanging = asyncio.create_task(hang_up.wait())
        reading = asyncio.create_task(reader.read())
        await asyncio.wait([hanging, reading], return_when=asyncio.FIRST_COMPLETED)
        hanging.cancel()
        reading.cancel()
        writer.transport.abort()
        gone.set()

    async with raw_upstream(talk) as base, gateway(base, max_concurrency=1) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(HANDSHAKE)
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        if who == "client":
            writer.transport.abort()
        else:
            hang_up.set()
            assert await asyncio.wait_for(reader.read(), 10) == b""
        await asyncio.wait_for(gone.wait(), 10)
        state = await rig.at_rest()
        writer.close()

    assert state["in_flight"] == 0


async def test_a_slow_reader_slows_the_upstream() -> None:
    """
    While the client takes nothing, the upstream can't send on and on.
    """
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(SWITCHING)
        while sent < 100_000_000:
            writer.write(b"x" * 65_536)
            sent += 65_536
            await writer.drain()

    async with raw_upstream(flood) as base, gateway(base) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port, limit=1024)
        writer.write(HANDSHAKE)
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        last = -1
        while last != sent:
            last = sent
            await asyncio.sleep(0.2)  # real time: the kernel's buffers fill
        writer.transport.abort()
        await rig.at_rest()

    assert last < 50_000_000


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", 500),
    ],
)
async def test_an_upstream_that_declines(answer: bytes, status: int) -> None:
    """
    Its answer is relayed like any other, and the connection can be used again.
    """

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    async with raw_upstream(talk) as base, gateway(base) as rig:
        again = b"GET /-/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        raw = await ask_raw(rig.port, HANDSHAKE + again)
        state = await rig.at_rest()

    assert raw.startswith(b"HTTP/1.1 %d " % status)
    assert raw.count(b"HTTP/1.1 ") == 2
    assert raw.endswith(b'{"status": "ok"}')
    assert state["in_flight"] == 0


async def test_a_switch_that_nobody_asked_for() -> None:
    """
    An upstream that changes the protocol by itself gave no answer.
    """
    async with raw_upstream(switch) as base, gateway(base, retry=FAST) as rig:
        raw = await ask_raw(rig.port, b"GET /t/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        state = await rig.at_rest()

    assert raw.startswith(b"HTTP/1.1 502 ")
    assert state["categories"] == {"bad_response": 1}


@pytest.mark.parametrize("protocol", [b"h2c", b"TLS/1.0", b"websocket, h2c"])
async def test_other_protocols_are_not_offered(protocol: bytes) -> None:
    """
    A wish for another protocol stays here: the upstream answers in HTTP.
    """
    seen: list[str | None] = []

    async def plain(request: web.BaseRequest) -> web.Response:
        seen.append(request.headers.get("Upgrade"))
        return web.Response(text="http")

    async with upstream(plain) as base, gateway(base) as rig:
        head = HANDSHAKE.replace(b"Upgrade: websocket", b"Upgrade: " + protocol)
        raw = await ask_raw(rig.port, head.replace(b"Connection: ", b"Connection: close, "))

    assert raw.startswith(b"HTTP/1.1 200 ")
    assert seen == [None]


async def test_another_sites_page_gets_no_socket() -> None:
    """
    A WebSocket is no way around the check of the origin.
    """
    async with upstream(echo) as base, gateway(base) as rig:
        raw = await ask_raw(
            rig.port, HANDSHAKE.replace(b"\r\n\r\n", b"\r\nOrigin: https://evil.test\r\nConnection: close\r\n\r\n")
        )
        admitted = rig.state()["admitted"]

    assert (raw.split(b" ")[1], admitted) == (b"403", 0)


async def test_the_end_of_the_gateway_ends_it() -> None:
    """
    After the grace a WebSocket is hung up, and its lease is back.
    """
    async with upstream(echo) as base:
        async with gateway(base, grace=0.1) as rig:
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            writer.write(HANDSHAKE)
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            await until(lambda: rig.state()["in_flight"] == 1)
            gov = rig.gov
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()

    assert gov.status()["t"]["in_flight"] == 0
