"""
One client's key that floods: its own requests are refused, and nobody else's are, nor do they wait behind it.

Judged by order and counts, at the upstream and at the other client, while the flood is on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession, TCPConnector, web

from egressor.gateway.keys import PREFIX, digest
from egressor.policies import ClientKey
from tests.gateway.rig import LOOP_NAMES, LOOPS, Rig, gateway, until, upstream

pytestmark = pytest.mark.anyio
KEY, OTHER = PREFIX + "k3Yq" * 10 + "a_c", PREFIX + "0tHr" * 10 + "xyz"
MOST = 8
FLOOD = 100
CALLS = 40


@pytest.fixture(params=LOOPS, ids=LOOP_NAMES)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """
    Run each of these on both event loops: they differ in whose turn it is.
    """
    return request.param


def keys(most: int | None) -> dict[str, Any]:
    """
    Return the clients: ann, who has *most* requests open at a time, and bob.
    """
    ann = ClientKey(name="ann", sha256=digest(KEY), max_in_flight=most)
    return {"keys": (ann, ClientKey(name="bob", sha256=digest(OTHER)))}


@asynccontextmanager
async def flood(rig: Rig, *, drips: bool = False) -> AsyncIterator[Counter[int]]:
    """
    Let ann keep a hundred requests coming until the block ends, and hand out how often each status came.
    """

    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    async def ask(session: ClientSession) -> None:
        while True:
            with suppress(ClientError):
                data = body() if drips else None
                async with session.post(rig.url + "/t/ann", headers={"x-api-key": KEY}, data=data) as answer:
                    await answer.read()
                    statuses[answer.status] += 1
            await asyncio.sleep(0.01)  # real time: a hundred clients share this event loop with those who judge

    statuses: Counter[int] = Counter()
    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        tasks = [asyncio.create_task(ask(session)) for _ in range(FLOOD)]
        try:
            yield statuses
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("drips", [False, True], ids=["calls that hang", "uploads that drip"])
async def test_what_one_client_holds_is_bounded(drips: bool) -> None:
    """
    One key takes the places that it may take and no more, so that each call of another finds one, at once, between two
    refusals of the flood.
    """
    here: Counter[str] = Counter()
    most: Counter[str] = Counter()

    async def hang(request: web.BaseRequest) -> web.Response:
        who = request.path[1:]
        here[who] += 1
        most[who] = max(most[who], here[who])
        try:
            if who == "ann":
                await asyncio.Event().wait()
            return web.Response(text=who)
        finally:
            here[who] -= 1

    async with (
        upstream(hang) as base,
        # Nobody waits: a place is there, or the call is refused. What hangs is not over before the test is.
        gateway(base, max_concurrency=MOST + 1, queue_size=0, bounds=keys(MOST), timeout=300) as rig,
        flood(rig, drips=drips) as statuses,
    ):
        await until(lambda: statuses[429] > FLOOD)
        served, before = [], []
        for _ in range(CALLS):
            before.append(statuses[429])
            async with rig.session.get(rig.url + "/t/bob", headers={"x-api-key": OTHER}) as answer:
                served.append((answer.status, await answer.text()))
        refused = statuses[429]

    assert served == [(200, "bob")] * CALLS
    assert before == sorted(before)
    assert refused > before[0]
    assert set(statuses) == {429}
    assert most["ann"] <= MOST


@pytest.mark.parametrize(("most", "is_in_the_way"), [(MOST, False), (None, True)])
async def test_nobody_waits_behind_a_flood(most: int | None, is_in_the_way: bool) -> None:
    """
    Where all wait for one place, as many of the flood as its key allows go before another's call; the judge sees the
    whole flood go first where the key allows everything.
    """
    asked: Counter[str] = Counter()
    behind: list[int] = []
    sent = 0

    async def slow(request: web.BaseRequest) -> web.Response:
        who = request.path[1:]
        asked[who] += 1
        if who == "bob":
            behind.append(asked["ann"] - sent)
        await asyncio.sleep(0.002)  # real time: so that there is a queue
        return web.Response(text=who)

    async with (
        upstream(slow) as base,
        gateway(base, max_concurrency=1, queue_size=1000, max_wait=60, bounds=keys(most)) as rig,
        # Whoever comes for the first time needs a moment for the connection.
        rig.session.get(rig.url + "/t/bob", headers={"x-api-key": OTHER}) as first,
        flood(rig) as statuses,
    ):
        served = [first.status]
        await until(lambda: sum(statuses.values()) > FLOOD)
        behind.clear()
        for _ in range(4):
            sent = asked["ann"]
            async with rig.session.get(rig.url + "/t/bob", headers={"x-api-key": OTHER}) as answer:
                served.append(answer.status)

    assert served == [200] * 5
    # Some may go while the call is on its way to the queue.
    assert (max(behind) > 2 * MOST) == is_in_the_way
