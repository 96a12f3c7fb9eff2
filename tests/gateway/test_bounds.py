"""
How long, how much and how many: a client that is slow, large or many costs the others nothing.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from tests.gateway.rig import LOOP_NAMES, LOOPS, ask_raw, gateway, raw_upstream, until, upstream

pytestmark = pytest.mark.anyio
GET = b"GET /t/x HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(params=LOOPS, ids=LOOP_NAMES)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """
    Run each of these on both event loops: they differ in how connections begin, end and are written to.
    """
    return request.param


async def size(request: web.BaseRequest) -> web.Response:
    """
    Answer with how long the request's body was.
    """
    return web.Response(text=str(len(await request.read())))


def reason(raw: bytes) -> tuple[int, str]:
    """
    Return status and reason of the last answer in *raw*.
    """
    head, _, body = raw.rpartition(b"\r\n\r\n")
    return int(head.rpartition(b"HTTP/1.")[2].split(b" ")[1]), json.loads(body)["reason"]


@pytest.mark.parametrize("begun", [b"G", b"GET /t/x HTTP/1.1\r\nHost: lo", GET[:-2]])
async def test_a_head_that_does_not_come_to_its_end(begun: bytes) -> None:
    """
    A request's head has its time from its first byte on; then there is 408, and no attempt.
    """
    async with upstream(size) as base, gateway(base, bounds={"header_timeout": 0.2}) as rig:
        raw = await ask_raw(rig.port, begun)
        admitted = rig.state()["admitted"]

    assert reason(raw) == (408, "slow_head")
    assert admitted == 0


async def test_a_head_that_drips() -> None:
    """
    A byte now and then gives no more time.
    """
    async with gateway(bounds={"header_timeout": 0.5}) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        answer = asyncio.create_task(reader.read())
        sent = 0
        while not answer.done():
            writer.write(b"GET /t/x HTTP/1.1\r\nX-Long: ".ljust(100_000, b"x")[sent : sent + 1])
            sent += 1
            await asyncio.wait([answer], timeout=0.02)
        writer.close()

    # A byte that crosses the answer resets the connection, and the answer may be lost with it.
    assert isinstance(answer.exception(), ConnectionResetError) or reason(answer.result()) == (408, "slow_head")
    assert sent < 1000


async def test_an_idle_connection_closes() -> None:
    """
    A connection without a request is closed without a word, before its first request and after one.
    """
    async with upstream(size) as base, gateway(base, bounds={"idle_timeout": 0.3}) as rig:
        fresh = await ask_raw(rig.port, b"")
        used = await ask_raw(rig.port, GET)

    assert fresh == b""
    assert used.startswith(b"HTTP/1.1 200 ")
    assert used.endswith(b"\r\n\r\n0")


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length: 10\r\n", b"12345"),
        (b"Content-Length: 1000000\r\n", b"12345"),
        (b"Transfer-Encoding: chunked\r\n", b"5\r\n12345\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"11170\r\n" + b"x" * 70_000 + b"\r\n"),
    ],
)
async def test_a_body_that_does_not_come_to_its_end(head: bytes, body: bytes) -> None:
    """
    A client that stops in its body gets 408, and the service is not blamed.
    """
    async with upstream(size) as base, gateway(base, bounds={"body_timeout": 0.3}) as rig:
        request = b"POST /t/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + head + b"\r\n" + body
        raw = await ask_raw(rig.port, request)
        state = await rig.at_rest()

    assert reason(raw) == (408, "slow_body")
    assert state["breaker"]["failures"] == 0


@pytest.mark.parametrize("most", [10, 100_000])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("above", [0, 1])
async def test_a_body_has_its_most(most: int, chunked: bool, above: int) -> None:
    """
    So many bytes pass, and one more is 413, whether the length is told or found out.
    """

    async def pieces() -> Any:
        yield b"x" * (most - 1)
        yield b"x" * (1 + above)

    data = pieces() if chunked else b"x" * (most + above)
    async with upstream(size) as base, gateway(base, bounds={"max_body": most}) as rig:
        async with rig.session.post(rig.url + "/t/x", data=data) as answer:
            text = await answer.text()
        state = await rig.at_rest()

    assert answer.status == (413 if above else 200)
    assert text == str(most) if not above else json.loads(text)["reason"] == "body_too_large"
    assert state["breaker"]["failures"] == 0


async def test_one_connection_too_many() -> None:
    """
    It gets 503 at once, with a time to come back; the others are served, and so is the next one when one has gone.
    """
    async with upstream(size) as base, gateway(base, bounds={"max_connections": 3}) as rig:
        idle = [await asyncio.open_connection("127.0.0.1", rig.port) for _ in range(3)]
        refused = [await ask_raw(rig.port, GET) for _ in range(5)]
        idle[0][1].write(GET)
        served = await asyncio.wait_for(idle[0][0].readuntil(b"\r\n\r\n"), 10)
        for _, writer in idle:
            writer.close()
            await writer.wait_closed()
        async with rig.session.get(rig.url + "/t/x") as answer:
            pass

    assert {reason(raw) for raw in refused} == {(503, "crowded")}
    assert b"\r\nRetry-After: 1\r\n" in refused[0]
    assert served.startswith(b"HTTP/1.1 200 ")
    assert answer.status == 200


async def test_a_client_that_reads_nothing() -> None:
    """
    It is cut off after its time: the place is back, the upstream is told, and it is no failure of the service.
    """
    gone = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
                await writer.drain()
        except ConnectionError:
            gone.set()

    bounds = {"send_timeout": 0.3}
    async with raw_upstream(flood) as base, gateway(base, max_concurrency=1, bounds=bounds) as rig:
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port, limit=1024)
        writer.write(GET)
        await until(lambda: rig.state()["in_flight"] == 1)
        state = await rig.at_rest()
        await asyncio.wait_for(gone.wait(), 10)
        writer.close()

    assert (state["categories"], state["breaker"]["failures"]) == ({"cancelled": 1}, 0)


async def test_a_client_that_leaves_with_its_body_unread() -> None:
    """
    It leaves the queue, although nobody reads from its connection, and what waits on does wait on.
    """
    head = b"PUT /t/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000000\r\n\r\n"
    async with gateway(limits=["1/hour"], max_wait=86_400) as rig:
        with rig.gov.permit("t"):
            pass
        writers = []
        for _ in range(2):
            _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            # More than is read of it here, and no more than the kernel takes.
            writer.write(head + b"x" * 180_000)
            writers.append(writer)
        await until(lambda: sum(rig.state()["waiting"].values()) == 2)
        writers[0].transport.abort()
        await until(lambda: sum(rig.state()["waiting"].values()) == 1)
        await asyncio.sleep(1.2)  # real time: the other one has been looked at, too
        waiting = sum(rig.state()["waiting"].values())
        writers[1].transport.abort()
        await until(lambda: sum(rig.state()["waiting"].values()) == 0)

    assert waiting == 1
    assert rig.state()["in_flight"] == 0


async def test_a_request_as_a_whole_has_its_time() -> None:
    """
    Waiting for its turn counts: what is not answered by then is 504, in the words of its service.
    """
    bounds = {"total_timeout": 0.2}
    async with gateway(limits=["1/hour"], max_wait=86_400, dialect="gemini", bounds=bounds) as rig:
        with rig.gov.permit("t"):
            pass
        async with rig.session.get(rig.url + "/t/x") as answer:
            document = await answer.json()
        waiting = sum(rig.state()["waiting"].values())

    assert (answer.status, document["reason"], waiting) == (504, "total_timeout", 0)
    assert document["error"]["status"] == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize(
    ("kind", "first", "last"),
    [
        (b"text/event-stream", b"data: 1\n\n", b'"reason": "stream_cut"'),
        (b"application/x-ndjson", b'{"a": 1}\n', b'"reason": "stream_cut"'),
        (b"application/x-ndjson", b'{"a": ', b'{"a": '),
        (b"text/plain", b"abc", b"abc"),
    ],
)
async def test_a_stream_has_its_time_too(kind: bytes, first: bytes, last: bytes) -> None:
    """
    A stream that lasts longer is cut off in its own format, and never looks whole.
    """

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"%x\r\n%s\r\n" % (len(first), first))
        await reader.read()

    async with raw_upstream(talk) as base, gateway(base, bounds={"total_timeout": 0.4}) as rig:
        raw = await ask_raw(rig.port, GET)
        state = await rig.at_rest()

    assert first in raw
    assert last in raw
    assert not raw.endswith(b"0\r\n\r\n")
    assert state["breaker"]["failures"] == 0


async def test_one_upstream_gets_so_many_connections() -> None:
    """
    The pool never holds more to one upstream; what finds none free waits, and is served.
    """
    peers: set[Any] = set()
    most = 0
    now = 0

    async def count(request: web.BaseRequest) -> web.Response:
        nonlocal most, now
        now += 1
        most = max(most, now)
        peers.add(request.transport.get_extra_info("peername") if request.transport else None)
        await asyncio.sleep(0.01)  # real time: so that they overlap
        now -= 1
        return web.Response(text="x")

    async def ask() -> int:
        async with rig.session.get(rig.url + "/t/x") as answer:
            return answer.status

    async with upstream(count) as base, gateway(base, bounds={"upstream_connections": 4}) as rig:
        statuses = await asyncio.gather(*(ask() for _ in range(40)))

    assert statuses == [200] * 40
    assert (most, len(peers)) == (4, 4)
