"""
HTTP as it is on the wire: what an upstream may send, and what the client gets of it, byte for byte.
"""

from __future__ import annotations

import asyncio
import gzip
import zlib

import pytest
from aiohttp import web

from tests.gateway.rig import FAST, ask_raw, gateway, raw_upstream, until, upstream
from tests.gateway.test_faults import chunk, saying

pytestmark = pytest.mark.anyio
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
OURS = {b"date", b"egressor-attempts", b"egressor-wait-ms", b"connection"}


def ask(method: bytes = b"GET", *lines: bytes) -> bytes:
    """
    Return a request after which the connection closes.
    """
    head = [method + b" /t/x HTTP/1.1", b"Host: localhost", b"Connection: close", *lines]
    return b"\r\n".join([*head, b"", b""])


def told(raw: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    """
    Return status, headers (ours left out) and body of an answer.
    """
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    pairs = (line.partition(b": ") for line in lines)
    headers = {name.lower(): value for name, _, value in pairs if name.lower() not in OURS}
    return int(first.split(b" ")[1]), headers, body


@pytest.mark.parametrize(
    ("method", "sent", "status", "headers"),
    [
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, {}),
        (b"GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, {}),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", 304, {b"etag": b"x"}),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, {b"content-length": b"5"}),
        (b"GET", b"HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n", 205, {b"content-length": b"0"}),
        (b"HEAD", OK + b"Content-Length: 1234\r\n\r\n", 200, {b"content-length": b"1234"}),
        (b"HEAD", CHUNKED, 200, {}),
        (b"HEAD", OK + b"Content-Type: a/b\r\n\r\n", 200, {b"content-type": b"a/b"}),
        (b"HEAD", b"HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\n", 404, {b"content-length": b"9"}),
    ],
)
async def test_answers_without_a_body(method: bytes, sent: bytes, status: int, headers: dict[bytes, bytes]) -> None:
    """
    They end at once, and say of their length what the upstream said.
    """
    async with raw_upstream(saying(sent, then_hang=True)) as base, gateway(base) as rig:
        raw = await ask_raw(rig.port, ask(method))
        state = await rig.at_rest()

    assert told(raw) == (status, headers, b"")
    assert state["failed"] == (status == 404)


@pytest.mark.parametrize(
    ("method", "sent"),
    [
        (b"GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil"),
        (b"HEAD", OK + b"Content-Length: 4\r\n\r\nevil"),
    ],
)
async def test_a_body_that_may_not_be(method: bytes, sent: bytes) -> None:
    """
    A body where there can be none is not relayed, nor ever taken for the beginning of the next answer.
    """
    async with raw_upstream(saying(sent, then_hang=True)) as base, gateway(base, timeout=1, lease_for=1) as rig:
        answers = [await ask_raw(rig.port, ask(method)) for _ in range(3)]

    assert not any(b"evil" in raw for raw in answers)
    assert {told(raw)[0] for raw in answers} <= {200, 204, 304, 502}


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (OK + b"Content-Length: 5\r\n\r\nhello", b"hello"),
        (OK + b"\r\nhello", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", b"5\r\nhello\r\n0\r\n\r\n"),
        (CHUNKED + chunk(b"hello") + b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        (CHUNKED + b"5;name=value\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        (CHUNKED + chunk(b"hello") + b"0\r\nX-Sum: 1\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nhi", b"hi"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + OK + b"Content-Length: 2\r\n\r\nhi", b"hi"),
    ],
)
async def test_every_way_to_end_a_body(sent: bytes, body: bytes) -> None:
    """
    A body ends by its length, its last chunk or its connection. Fields behind a body that nobody asked for stay here,
    as RFC 9110 section 6.5.1 allows, and so do interim answers.
    """
    async with raw_upstream(saying(sent)) as base, gateway(base) as rig:
        raw = await ask_raw(rig.port, ask())
        state = await rig.at_rest()

    status, headers, got = told(raw)
    assert (status, got) == (200, body)
    assert (b"content-length" in headers) == (b"transfer-encoding" not in headers)
    assert (state["succeeded"], state["failed"]) == (1, 0)


@pytest.mark.parametrize(
    "sent",
    [
        OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        OK + b"Content-Length: 5, 6\r\n\r\nhello!",
        OK + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"hello") + b"0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n" + chunk(b"hello") + b"0\r\n\r\n",
        OK + b"Content-Length: -5\r\n\r\nhello!",
        OK + b"Content-Length: 0x5\r\n\r\nhello!",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunk(b"hello") + b"0\r\n\r\n",
        OK + b"Transfer-Encoding: identity\r\n\r\nhello",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\nhello",
        b"HTTP/1.1 099 Strange\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        OK + b"X-Long: " + b"x" * 70_000 + b"\r\n\r\n",
        OK + b"".join(b"X-%d: 1\r\n" % number for number in range(5_000)) + b"\r\n",
    ],
)
async def test_an_answer_that_can_be_read_in_two_ways(sent: bytes) -> None:
    """
    It is none: the client gets 502, and no byte of it.
    """
    async with raw_upstream(saying(sent)) as base, gateway(base) as rig:
        raw = await ask_raw(rig.port, ask())
        state = await rig.at_rest()

    assert raw.startswith(b"HTTP/1.1 502 ")
    assert b"hello" not in raw
    assert (state["succeeded"], state["failed"]) == (0, 1)


async def test_many_headers() -> None:
    """
    An answer may have as many fields as a request: 256.
    """
    fields = b"".join(b"X-%d: %d\r\n" % (number, number) for number in range(255))
    async with raw_upstream(saying(OK + fields + b"Content-Length: 0\r\n\r\n")) as base, gateway(base) as rig:
        status, headers, _ = told(await ask_raw(rig.port, ask()))

    assert (status, len(headers)) == (200, 256)


async def test_a_status_that_nobody_knows() -> None:
    """
    A status of three digits is relayed, whatever it means, and with the words beside it.
    """
    sent = b"HTTP/1.1 299 Miscellaneous Persistent Warning\r\nContent-Length: 0\r\n\r\n"
    async with raw_upstream(saying(sent)) as base, gateway(base) as rig:
        raw = await ask_raw(rig.port, ask())

    assert raw.startswith(sent.partition(b"\r\n")[0] + b"\r\n")


@pytest.mark.parametrize(
    ("coding", "data"),
    [
        (b"gzip", gzip.compress(b"hello" * 1000, mtime=0)),
        (b"gzip", b"this was never gzip"),
        (b"gzip", gzip.compress(b"hello" * 1000, mtime=0)[:-9]),
        (b"deflate", zlib.compress(b"hello" * 1000)),
        (b"br", bytes(range(256))),
        (b"zstd", b"\x28\xb5\x2f\xfd" + bytes(range(256))),
        (b"x-tomorrow", bytes(range(256))),
        (b"gzip, br", bytes(range(256))),
    ],
)
@pytest.mark.parametrize("status", [200, 206, 404, 500])
async def test_codings_pass_untouched(coding: bytes, data: bytes, status: int) -> None:
    """
    A coded body arrives byte for byte, with its name, whether it can be unpacked or not.
    """
    fields = b"Content-Encoding: %s\r\nContent-Range: bytes 0-9/100\r\nContent-Length: %d\r\n\r\n"
    sent = b"HTTP/1.1 %d X\r\n" % status + fields % (coding, len(data)) + data
    async with raw_upstream(saying(sent)) as base, gateway(base) as rig:
        found, headers, body = told(await ask_raw(rig.port, ask(b"GET", b"Accept-Encoding: br;q=0.5, zstd")))

    assert (found, body) == (status, data)
    assert (headers[b"content-encoding"], headers[b"content-range"]) == (coding, b"bytes 0-9/100")


async def test_ranges_pass() -> None:
    """
    A wish for a part reaches the upstream, and the part comes back as one.
    """
    seen: list[dict[str, str]] = []

    async def part(request: web.BaseRequest) -> web.Response:
        seen.append({name.lower(): value for name, value in request.headers.items()})
        return web.Response(status=206, body=b"bcd", headers={"Content-Range": "bytes 1-3/9", "Accept-Ranges": "bytes"})

    async with upstream(part) as base, gateway(base) as rig:
        raw = await ask_raw(rig.port, ask(b"GET", b"Range: bytes=1-3", b'If-Range: "v1"'))

    status, headers, body = told(raw)
    assert (status, headers[b"content-range"], headers[b"accept-ranges"], body) == (
        206,
        b"bytes 1-3/9",
        b"bytes",
        b"bcd",
    )
    assert (seen[0]["range"], seen[0]["if-range"]) == ("bytes=1-3", '"v1"')


@pytest.mark.parametrize("keep", [True, False])
async def test_an_answer_before_the_upload_is_done(keep: bool) -> None:
    """
    An upstream that has seen enough answers at once, and its answer is what the client gets.
    """

    async def enough(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 Too much\r\nContent-Length: 4\r\nConnection: close\r\n\r\nless")
        await writer.drain()
        if keep:
            await reader.read()

    async with raw_upstream(enough) as base, gateway(base) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(b"PUT /t/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 200_000)
        raw = await asyncio.wait_for(reader.read(), 10)
        state = await rig.at_rest()
        writer.close()

    assert told(raw)[::2] == (413, b"less")
    assert state["in_flight"] == 0


async def test_pipelined_requests_are_answered_in_order() -> None:
    """
    Requests that come at once on one connection get their answers in the order in which they came.
    """

    async def path(request: web.BaseRequest) -> web.Response:
        return web.Response(text=request.raw_path + ";" + str(len(await request.read())))

    async with upstream(path) as base, gateway(base) as rig:
        head = b"POST /t/%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        requests = [head % (number, number) + b"x" * number for number in range(40)]
        raw = await ask_raw(rig.port, b"".join(requests) + ask())

    bodies = [part.partition(b"\r\n\r\n")[2] for part in raw.split(b"HTTP/1.1 200 ")[1:]]
    assert bodies == [*(b"/%d;%d" % (number, number) for number in range(40)), b"/x;0"]


async def test_a_pooled_connection_that_the_upstream_has_closed() -> None:
    """
    A connection that was closed while it lay in the pool is not used: the next request gets a new one.
    """
    count = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        writer.write(OK + b"Content-Length: 2\r\n\r\nhi")
        await writer.drain()

    async with raw_upstream(once) as base, gateway(base, retry=FAST) as rig:
        answers = []
        for _ in range(5):
            answers.append(await ask_raw(rig.port, ask(b"POST", b"Content-Length: 0")))
            await asyncio.sleep(0.05)  # real time: the upstream's FIN arrives

    assert [told(raw)[::2] for raw in answers] == [(200, b"hi")] * 5
    assert count == 5


async def test_events_are_relayed_at_the_readers_pace() -> None:
    """
    A client that reads slowly slows the upstream, and gets every byte in its order.
    """
    sent = 0
    paused = asyncio.Event()

    async def events(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(4_000):
            writer.write(chunk(b"data: %d %s\n\n" % (number, b"x" * 4096)))
            await writer.drain()
            sent = number
        writer.write(b"0\r\n\r\n")
        paused.set()

    async with raw_upstream(events) as base, gateway(base) as rig, rig.session.get(rig.url + "/t/x") as answer:
        last = -1
        while last != sent:
            last = sent
            await asyncio.sleep(0.2)  # real time: the kernel's buffers fill
        was_paused = not paused.is_set()
        got = await answer.read()
        state = await rig.at_rest()

    assert was_paused
    assert got == b"".join(b"data: %d %s\n\n" % (number, b"x" * 4096) for number in range(4_000))
    assert state["succeeded"] == 1


async def test_an_upload_is_taken_at_the_upstreams_pace() -> None:
    """
    An upstream that reads slowly slows the client.
    """
    go_on = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        await reader.readexactly(100_000_000)
        writer.write(OK + b"Content-Length: 2\r\n\r\nhi")
        await writer.drain()

    async with raw_upstream(slow) as base, gateway(base) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(b"PUT /t/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\nConnection: close\r\n\r\n")
        taken = 0

        async def upload() -> None:
            nonlocal taken
            for _ in range(1000):
                writer.write(b"x" * 100_000)
                await writer.drain()
                taken += 1

        uploading = asyncio.create_task(upload())
        last = -1
        while last != taken:
            last = taken
            await asyncio.sleep(0.2)  # real time: the kernel's buffers fill
        was_paused = not uploading.done()
        go_on.set()
        raw = await asyncio.wait_for(reader.read(), 30)
        await uploading
        writer.close()

    assert was_paused
    assert told(raw)[::2] == (200, b"hi")


async def test_a_body_that_trickles() -> None:
    """
    A byte at a time arrives a byte at a time; no byte waits for the next one.
    """
    asked = asyncio.Queue[int]()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Content-Length: 20\r\n\r\n")
        for _ in range(20):
            await asked.get()
            writer.write(b"x")

    async with raw_upstream(trickle) as base, gateway(base) as rig, rig.session.get(rig.url + "/t/x") as answer:
        for _ in range(20):
            asked.put_nowait(1)
            assert await asyncio.wait_for(answer.content.readany(), 10) == b"x"
        await until(lambda: rig.state()["succeeded"] == 1)
