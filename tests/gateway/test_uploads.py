"""
Long bodies that drip: they hold no lease, or not for long.
"""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from egressor.gateway import body
from tests.gateway.rig import ask_raw, gateway, until, upstream

pytestmark = pytest.mark.anyio
PUT = b"PUT /t/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n"


async def size(request: web.BaseRequest) -> web.Response:
    """
    Say how long the body is.
    """
    return web.json_response(len(await request.read()))


async def test_a_body_begins_before_a_lease_is_asked_for() -> None:
    """
    Clients that announce much and send little are in nobody's way.
    """
    async with upstream(size) as base, gateway(base, max_concurrency=1, max_wait=0) as rig:
        writers = []
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", rig.port)
            writer.write(PUT + b"x" * 60_000)
            writers.append(writer)
        async with rig.session.post(rig.url + "/t/x", data=b"y" * 200_000) as answer:
            said = answer.status, await answer.json()
        in_flight = rig.state()["in_flight"]
        for writer in writers:
            writer.close()

    assert (said, in_flight) == ((200, 200_000), 0)


@pytest.mark.parametrize(("rate", "status"), [(10_000_000, 408), (0, 200), (1, 200)])
async def test_a_body_has_its_least_rate(rate: int, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The rest of a long body must come fast enough while it is waited for; the service is not to blame if it doesn't.
    """
    monkeypatch.setattr(body, "_FREE", 0.05)
    began = asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.Response:
        await request.content.readany()
        began.set()
        return await size(request)

    async with upstream(slow) as base, gateway(base, bounds={"body_rate": rate}) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(PUT + b"x" * 400_000)
        await asyncio.wait_for(began.wait(), 10)
        await asyncio.sleep(0.2)  # real time: more than is free
        writer.write(b"x" * 600_000)
        async with asyncio.timeout(10):
            raw = await reader.read()
        writer.close()
        state = await rig.at_rest()

    assert raw.startswith(b"HTTP/1.1 %d" % status)
    assert (b'"slow_body"' in raw) == (status == 408)
    assert state["breaker"]["failures"] == 0


async def test_an_upstream_that_takes_slowly_is_not_the_clients_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Only the time that the client is waited for counts.
    """
    monkeypatch.setattr(body, "_FREE", 0.05)
    go_on = asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.Response:
        await go_on.wait()
        return await size(request)

    async with upstream(slow) as base, gateway(base, bounds={"body_rate": 50_000_000}) as rig:
        sending = asyncio.create_task(ask_raw(rig.port, PUT + b"x" * 1_000_000))
        await until(lambda: rig.state()["in_flight"] == 1)
        await asyncio.sleep(0.3)  # real time: more than is free
        go_on.set()
        raw = await sending

    assert json.loads(raw.rpartition(b"\r\n\r\n")[2]) == 1_000_000
