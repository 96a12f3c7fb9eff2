"""
Upstreams that send what has no end or no meaning: interim answers, and nonsense in a body.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import ClientPayloadError

from tests.gateway.rig import LOOP_NAMES, LOOPS, gateway, raw_upstream

pytestmark = pytest.mark.anyio
HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
DONE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone"
CHUNKED = b" \r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(params=LOOPS, ids=LOOP_NAMES)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """
    Run each of these on both event loops: they differ in how much is read at once.
    """
    return request.param


@pytest.mark.parametrize("together", [True, False], ids=["in one piece", "one by one"])
@pytest.mark.parametrize(("number", "expected"), [(0, 200), (1, 200), (64, 200), (65, 502), (20_000, 502)])
async def test_interim_answers_have_an_end(number: int, expected: int, together: bool) -> None:
    """
    64 of them may come before the answer, and none of them goes on; with one more there will be no answer.
    """

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if together:
            writer.write(HINT * number)
        else:
            for _each in range(number):
                writer.write(HINT)
                await writer.drain()
        writer.write(DONE)
        await writer.drain()

    async with raw_upstream(talk) as base, gateway(base) as rig:
        async with rig.session.get(rig.url + "/t/x") as answer:
            body = await answer.read()
        state = await rig.at_rest()

    assert answer.status == expected
    assert expected == 502 or body == b"done"
    assert (state["succeeded"], state["failed"]) == (int(expected == 200), int(expected == 502))


async def test_each_request_has_its_own_interim_answers() -> None:
    """
    On one connection they are counted anew for each answer.
    """

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(4):
            writer.write(HINT * 40 + DONE.replace(b"Connection: close\r\n", b""))
            await reader.readuntil(b"\r\n\r\n")

    async with raw_upstream(talk) as base, gateway(base) as rig:
        statuses = []
        for _ in range(4):
            async with rig.session.get(rig.url + "/t/x") as answer:
                statuses.append((answer.status, await answer.read()))

    assert statuses == [(200, b"done")] * 4


@pytest.mark.parametrize("status", [b"HTTP/1.1 200", b"HTTP/1.1 503"])
@pytest.mark.parametrize("before", [b"", b"4\r\ngood\r\n"])
@pytest.mark.parametrize("nonsense", [b"zzz\r\n", b"1" + b"0" * 100, b"4\r\ngoodbye\r\n"])
async def test_nonsense_in_a_body_ends_it(status: bytes, before: bytes, nonsense: bytes) -> None:
    """
    Nobody waits for the rest of a body that has turned into nonsense, although the upstream stays there: the service's
    patience is a minute.
    """
    over = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(status + CHUNKED + before)
        await writer.drain()
        await asyncio.sleep(0.05)  # real time: the nonsense comes by itself
        writer.write(nonsense)
        await over.wait()

    async with raw_upstream(talk) as base, gateway(base, timeout=60) as rig:
        try:
            async with asyncio.timeout(10), rig.session.get(rig.url + "/t/x") as answer:
                assert status == b"HTTP/1.1 200" or answer.status == 502
                if status == b"HTTP/1.1 200":
                    with pytest.raises((ClientPayloadError, ConnectionError)):
                        await answer.read()
        finally:
            over.set()
        state = await rig.at_rest()

    assert (state["succeeded"], state["failed"]) == (0, 1)
