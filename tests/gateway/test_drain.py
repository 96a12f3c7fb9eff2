"""
The end of the gateway: what is in flight finishes, what can't is told so, and nothing is held afterwards.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from tests.gateway.rig import LOOP_NAMES, LOOPS, ask_raw, gateway, until, upstream

pytestmark = pytest.mark.anyio
MANY = 100
EVENTS = {"Content-Type": "text/event-stream"}


@pytest.fixture(params=LOOPS, ids=LOOP_NAMES)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """
    Run each of these on both event loops: they differ in how connections begin, end and are written to.
    """
    return request.param


def get(path: str) -> bytes:
    """
    Return a request for *path*.
    """
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


async def test_streams_and_queue_at_the_end() -> None:
    """
    100 streams, 100 calls that wait and idle connections: streams that end within the grace end well; at its end those
    that go on get a last event and no end mark, and those that wait get 503.
    """
    go_on = asyncio.Event()

    async def stream(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers=EVENTS)
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await go_on.wait()
        if request.raw_path == "/short":
            await response.write(b"data: 2\n\n")
            return response
        await until(lambda: request.transport is None or request.transport.is_closing())
        return response

    async with upstream(stream) as base:
        async with gateway(base, grace=1.0, max_concurrency=MANY, max_wait=600, queue_size=MANY) as rig:
            idle = [await asyncio.open_connection("127.0.0.1", rig.port) for _ in range(5)]
            halves = ["/t/short", "/t/long"] * (MANY // 2)
            streams = [asyncio.create_task(ask_raw(rig.port, get(path))) for path in halves]
            await until(lambda: rig.state()["in_flight"] == MANY)
            # Each place that a short stream gives back lets one of these go; it streams on and on.
            queued = [asyncio.create_task(ask_raw(rig.port, get("/t/long"))) for _ in range(MANY)]
            await until(lambda: sum(rig.state()["waiting"].values()) == MANY)
            asyncio.get_running_loop().call_later(0.2, go_on.set)
            gov = rig.gov
        first = await asyncio.gather(*streams)
        second = await asyncio.gather(*queued)
        for reader, writer in idle:
            assert await reader.read() == b""
            writer.close()

    short, long = first[::2], first[1::2]
    refused = [raw for raw in second if raw.startswith(b"HTTP/1.1 503 ")]
    begun = [raw for raw in second if raw.startswith(b"HTTP/1.1 200 ")]
    assert all(raw.endswith(b"data: 2\n\n\r\n0\r\n\r\n") for raw in short)
    assert all(b'"reason": "stream_cut"' in raw and not raw.endswith(b"0\r\n\r\n") for raw in [*long, *begun])
    assert (len(refused), len(begun)) == (MANY // 2, MANY // 2)
    assert all(b'"reason": "draining"' in raw and b"\r\nRetry-After: 1\r\n" in raw for raw in refused)
    state = gov.status()["t"]
    assert (state["in_flight"], sum(state["waiting"].values())) == (0, 0)


async def test_the_last_answer_closes_its_connection() -> None:
    """
    A client learns from the answer that its connection takes no more requests.
    """
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.Response:
        arrived.set()
        await go_on.wait()
        return web.Response(text="whole")

    async with upstream(slow) as base:
        async with gateway(base) as rig:
            pending = asyncio.create_task(ask_raw(rig.port, get("/t/x")))
            await asyncio.wait_for(arrived.wait(), 10)
            asyncio.get_running_loop().call_later(0.2, go_on.set)
        raw = await pending

    assert b"\r\nConnection: close\r\n" in raw
    assert raw.endswith(b"whole")


async def test_an_upload_at_the_end() -> None:
    """
    A body that is still on its way when the gateway is told to end arrives whole.
    """
    arrived = asyncio.Event()

    async def size(request: web.BaseRequest) -> web.Response:
        arrived.set()
        return web.Response(text=str(len(await request.read())))

    async with upstream(size) as base:
        async with gateway(base) as rig:
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            writer.write(b"PUT /t/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000)
            await asyncio.wait_for(arrived.wait(), 10)
            asyncio.get_running_loop().call_later(0.2, writer.write, b"y" * 100_000)
        raw = await asyncio.wait_for(reader.read(), 10)
        writer.close()

    assert raw.startswith(b"HTTP/1.1 200 ")
    assert raw.endswith(b"200000")
