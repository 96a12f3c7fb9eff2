"""
Upstreams and clients that reset, hang, lie or vanish: a clear answer, the right verdict, nothing held.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
from typing import Any

import pytest
from aiohttp import ClientPayloadError, web

from egressor.gateway.forward import _Response
from tests.gateway.rig import FAST, Talk, ask_raw, gateway, raw_upstream, until, upstream

pytestmark = pytest.mark.anyio
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def saying(data: bytes, *, then_hang: bool = False) -> Talk:
    """
    Make an upstream that sends *data*, and closes or hangs.
    """

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if then_hang:
            await reader.read()

    return talk


def chunk(data: bytes) -> bytes:
    """
    Return *data* as a chunk of a chunked body.
    """
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.mark.parametrize(
    ("data", "hang", "status", "reason", "category"),
    [
        (b"", False, 502, "upstream_failed", "network"),
        (b"", True, 504, "upstream_timeout", "timeout"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", False, 502, "upstream_failed", "network"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", False, 502, "upstream_failed", None),
    ],
)
async def test_no_answer(data: bytes, hang: bool, status: int, reason: str, category: str | None) -> None:
    """
    An upstream that gives no answer is a problem of its own, counts against it, and holds nothing.
    """
    timeout = 0.3 if hang else 30
    async with raw_upstream(saying(data, then_hang=hang)) as base, gateway(base, timeout=timeout, lease_for=60) as rig:
        async with rig.session.get(rig.url + "/t/x") as answer:
            document = await answer.json()
        state = await rig.at_rest()

    assert (answer.status, document["status"], document["reason"]) == (status, status, reason)
    assert answer.content_type == "application/problem+json"
    assert state["failed"] == 1
    assert category is None or state["categories"] == {category: 1}
    assert base.removeprefix("http://") not in json.dumps(document)


async def test_nobody_listens() -> None:
    """
    A refused connection was never sent, so that even a POST is tried again.
    """
    async with (
        gateway("http://127.0.0.1:9", retry=FAST) as rig,
        rig.session.post(rig.url + "/t/x", data=b"x" * 100_000) as answer,
    ):
        pass

    assert (answer.status, answer.headers["Egressor-Attempts"]) == (502, "3")
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"only this"),
    ],
)
async def test_a_broken_body_never_looks_whole(data: bytes) -> None:
    """
    A body that ends too early ends too early for the client, too, and counts as a failure.
    """
    async with raw_upstream(saying(data)) as base, gateway(base) as rig:
        async with rig.session.get(rig.url + "/t/x") as answer:
            assert await answer.content.readexactly(9) == b"only this"
            with pytest.raises((ClientPayloadError, ConnectionError)):
                await answer.content.read()
        state = await rig.at_rest()

    assert (state["succeeded"], state["failed"], state["categories"]) == (0, 1, {"network": 1})


async def test_an_upstream_half_that_loses_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Whoever takes the upstream half's place: an answer that is shorter than its headers say never looks whole.
    """
    whole = _Response.read

    async def lossy(self: _Response) -> bytes:
        return (await whole(self))[:-1]

    monkeypatch.setattr(_Response, "read", lossy)
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nonly this"
    async with raw_upstream(saying(data)) as base, gateway(base) as rig:
        raw = await ask_raw(rig.port, b"GET /t/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        state = await rig.at_rest()

    assert raw.endswith(b"only thi")
    assert (state["succeeded"], state["failed"]) == (0, 1)


async def test_a_broken_body_over_http_1_0() -> None:
    """
    Where only the connection's end marks the body's, the connection is reset.
    """
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"only this")
    async with raw_upstream(saying(data)) as base, gateway(base) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(b"GET /t/x HTTP/1.0\r\nHost: localhost\r\n\r\n")
        await asyncio.wait_for(reader.read(), 10)
        state = await rig.at_rest()
        writer.close()

    assert state["failed"] == 1


async def test_an_answer_that_is_too_long() -> None:
    """
    What follows the stated length is nobody's: it is never taken for the next answer.
    """
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwholeHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    async with raw_upstream(saying(data)) as base, gateway(base) as rig:
        texts = []
        for _ in range(3):
            async with rig.session.get(rig.url + "/t/x") as answer:
                texts.append(await answer.text() if answer.status == 200 else answer.status)

    assert set(texts) <= {"whol", 502}


@pytest.mark.parametrize(
    ("dialect", "pieces", "last"),
    [
        ("generic", [b"data: 1\n\n"], b"event: error\ndata: {"),
        ("anthropic", [b"data: 1\r\n\r\n"], b'event: error\ndata: {"type": "error"'),
        ("openai", [b"data: 1\n", b"\n"], b'\r\ndata: {"error": {"message"'),
        ("gemini", [b"data: 1\r\n\r\n"], b'\r\ndata: {"error": {"code": 502'),
        ("openai", [b"data: 1\n\ndata: 2"], None),
    ],
)
async def test_a_broken_stream_of_events(dialect: str, pieces: list[bytes], last: bytes | None) -> None:
    """
    Between two events a last one says what happened; inside of one nothing is added. The end mark is missing.
    """
    data = EVENTS + b"".join(map(chunk, pieces))
    async with raw_upstream(saying(data)) as base, gateway(base, dialect=dialect) as rig:
        raw = await ask_raw(rig.port, b"GET /t/x HTTP/1.1\r\nHost: localhost\r\n\r\n")

    assert not raw.endswith(b"0\r\n\r\n")
    assert (b"stream_broke" in raw) == (last is not None)
    assert last is None or last in raw


@pytest.mark.parametrize("kind", ["text/event-stream", "application/x-ndjson; charset=utf-8", "application/jsonl"])
@pytest.mark.parametrize("whole", [True, False])
async def test_a_broken_stream_ends_in_its_own_format(kind: str, whole: bool) -> None:
    """
    Between two lines or events a last one says what happened; inside of one nothing is added.
    """
    first = b'{"a": 1}\n\n' if whole else b'{"a": 1}'
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with raw_upstream(saying(head.encode() + chunk(first))) as base, gateway(base) as rig:
        raw = await ask_raw(rig.port, b"GET /t/x HTTP/1.1\r\nHost: localhost\r\n\r\n")

    last = raw.partition(first)[2]
    assert (b"stream_broke" in last) == whole
    assert not raw.endswith(b"0\r\n\r\n")
    if whole and "json" in kind:
        assert json.loads(last.split(b"\r\n")[2])["reason"] == "stream_broke"


async def test_no_file_is_left_for_a_connection() -> None:
    """
    An upstream that can't be reached because this process has too many files open is not blamed, and the client learns
    when to come again.
    """
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with gateway("http://127.0.0.1:9") as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        # The connection is there on both sides.
        writer.write(b"GET /-/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asyncio.wait_for(reader.readuntil(b"}"), 10)
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, files[1]))
        try:
            writer.write(b"GET /t/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            raw = await asyncio.wait_for(reader.read(), 10)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, files)
        state = await rig.at_rest()
        writer.close()

    assert raw.startswith(b"HTTP/1.1 503 ")
    assert b'"reason": "crowded"' in raw
    assert b"\r\nRetry-After: 1\r\n" in raw
    assert state["breaker"]["failures"] == 0


async def test_a_silent_stream_ends() -> None:
    """
    A stream that says nothing for the service's time-out is broken off.
    """
    data = EVENTS + chunk(b"data: 1\n\n")
    async with raw_upstream(saying(data, then_hang=True)) as base, gateway(base, timeout=1, lease_for=2) as rig:
        raw = await ask_raw(rig.port, b"GET /t/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        state = await rig.at_rest()

    assert b"stream_broke" in raw
    assert state["categories"] == {"timeout": 1}


@pytest.mark.parametrize("when", ["before the answer", "in the body"])
async def test_client_gone(when: str) -> None:
    """
    A client that leaves cancels the upstream's work, gives the place back, and is no failure of the service.
    """
    arrived, cancelled = asyncio.Event(), asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        try:
            if when == "in the body":
                await response.prepare(request)
                await response.write(b"x")
            arrived.set()
            await until(lambda: request.transport is None or request.transport.is_closing())
        finally:
            cancelled.set()
        return response

    async with upstream(slow) as base, gateway(base, max_concurrency=1) as rig:
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(b"GET /t/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asyncio.wait_for(arrived.wait(), 10)
        writer.transport.abort()
        await asyncio.wait_for(cancelled.wait(), 10)
        state = await rig.at_rest()

    assert (state["categories"], state["breaker"]["failures"]) == ({"cancelled": 1}, 0)


async def test_client_gone_while_it_waits() -> None:
    """
    A client that leaves the queue leaves nothing behind.
    """
    async with gateway(limits=["1/hour"], max_wait=86_400) as rig:
        with rig.gov.permit("t"):
            pass
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(b"GET /t/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until(lambda: sum(rig.state()["waiting"].values()) == 1)
        writer.transport.abort()
        await until(lambda: sum(rig.state()["waiting"].values()) == 0)
        state = rig.state()

    assert (state["admitted"], state["in_flight"]) == (1, 0)


async def test_garbage_in_the_body() -> None:
    """
    Chunks that turn into nonsense break the body off.
    """
    read = asyncio.Event()

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"good"))
        await read.wait()
        writer.write(b"zzz\r\n")
        await writer.drain()

    async with (
        raw_upstream(talk) as base,
        gateway(base) as rig,
        rig.session.get(rig.url + "/t/x") as answer,
    ):
        assert await answer.content.readexactly(4) == b"good"
        read.set()
        with pytest.raises((ClientPayloadError, ConnectionError)):
            await answer.content.read()
        state = await rig.at_rest()

    assert (state["succeeded"], state["failed"]) == (0, 1)


async def test_the_upload_breaks_off() -> None:
    """
    A client that stops in the middle of its body is no failure of the service.
    """

    async def reader(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response()

    async with upstream(reader) as base, gateway(base) as rig:
        _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(b"PUT /t/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 100_000)
        await writer.drain()
        await until(lambda: bool(rig.state()["in_flight"]))
        writer.transport.abort()
        state = await rig.at_rest()

    assert (state["categories"], state["breaker"]["failures"]) == ({"cancelled": 1}, 0)


async def test_an_upload_that_takes_too_long() -> None:
    """
    A client whose body isn't there within the service's time-out gets 504, and the service isn't blamed.
    """

    async def reader(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response()

    head = b"PUT /t/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n"
    async with upstream(reader) as base, gateway(base, timeout=2, lease_for=4) as rig:
        raw = await ask_raw(rig.port, head + b"x" * 100_000)
        state = await rig.at_rest()

    assert raw.startswith(b"HTTP/1.1 504")
    assert (state["categories"], state["breaker"]["failures"]) == ({"cancelled": 1}, 0)


async def test_a_callers_own_deadline_is_no_failure_of_the_service() -> None:
    """
    A short ``Egressor-Deadline`` ends the call with 504, and the breaker doesn't hear of it.
    """
    async with raw_upstream(saying(b"", then_hang=True)) as base, gateway(base, retry=FAST) as rig:
        async with rig.session.get(rig.url + "/t/x", headers={"Egressor-Deadline": "0.2"}) as answer:
            document: dict[str, Any] = await answer.json()
        state = await rig.at_rest()

    assert (answer.status, document["reason"], answer.headers["Egressor-Attempts"]) == (504, "upstream_timeout", "1")
    assert state["breaker"]["failures"] == 0


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /t/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /t/x HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\n\r\n",
        b"GET /t/x HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
        b"GET /t/x HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
        b"GET http://evil.test/t/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /t/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_hostile_bytes(request_bytes: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    """
    What can't be read in one way is a 400, and reaches no upstream.
    """

    async def never(request: web.BaseRequest) -> web.StreamResponse:
        raise AssertionError

    async with upstream(never) as base, gateway(base) as rig:
        raw = await ask_raw(rig.port, request_bytes.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        state = rig.state()

    assert raw.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    assert state["admitted"] == 0
    assert "Traceback" not in capfd.readouterr().err
