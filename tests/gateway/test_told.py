"""
``Retry-After`` in every form, through the gateway (C04): who judges is the upstream, by who comes and who doesn't.
"""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate

import pytest

from tests.gateway.rig import gateway, raw_upstream

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("values", "least", "most"),
    [
        (["0"], 0, 0),
        (["70"], 60, 80),
        (["-1"], 1, 2),
        (["1e12"], 29 * 86_400, 34 * 86_400),
        (["Wed, 99"], 1, 2),
        ([formatdate(time.time() - 3_600, usegmt=True)], 0, 0),
        ([formatdate(time.time() + 3_600, usegmt=True)], 2_400, 4_000),
        (["30", "70"], 60, 80),
        (["\u202e70"], 1, 2),
        ([""], 1, 2),
    ],
    ids=["nought", "seconds", "negative", "endless", "half a date", "past", "future", "two", "right to left", "empty"],
)
async def test_every_form_is_obeyed(values: list[str], least: int, most: int) -> None:
    """
    The answer comes out as it was sent; the next request is sent only if nothing holds it back, and says for how long.
    """
    asked = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        lines = "".join(f"Retry-After: {value}\r\n" for value in values)
        writer.write(f"HTTP/1.1 429 Slow Down\r\n{lines}Content-Length: 4\r\nConnection: close\r\n\r\nslow".encode())
        await writer.drain()

    async with raw_upstream(talk) as url, gateway(url, max_wait=0.01) as rig:
        async with rig.session.get(f"{rig.url}/t/x") as first:
            body = await first.read()
        async with rig.session.get(f"{rig.url}/t/x") as second:
            await second.read()

    assert (first.status, body) == (429, b"slow")
    assert first.headers.getall("Retry-After") == values
    held = int(second.headers.get("Retry-After", "0")) if asked == 1 else 0
    assert asked == (2 if most == 0 else 1)
    assert least <= held <= most
