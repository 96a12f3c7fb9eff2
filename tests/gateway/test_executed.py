"""
What may have been executed is not sent twice by the gateway either (C01).
"""

from __future__ import annotations

import asyncio

import pytest

from tests.gateway.rig import FAST, gateway, raw_upstream

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("method", "headers", "arrivals", "doubt"),
    [("POST", {}, 1, True), ("PATCH", {}, 1, True), ("GET", {}, 3, False), ("POST", {"Idempotency-Key": "k"}, 3, True)],
)
async def test_a_post_that_is_cut_off_arrives_once(
    method: str, headers: dict[str, str], arrivals: int, doubt: bool
) -> None:
    """
    The upstream has read the request and hangs up: it sees one, and the problem says that it may have been executed.
    """
    arrived = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        arrived += 1

    async with (
        raw_upstream(talk) as url,
        gateway(url, retry=FAST) as rig,
        rig.session.request(method, f"{rig.url}/t/order", headers=headers) as response,
    ):
        problem = await response.json()

    assert (response.status, problem["reason"], arrived) == (502, "upstream_failed", arrivals)
    assert problem["detail"].endswith("; the request may have been executed") is doubt
