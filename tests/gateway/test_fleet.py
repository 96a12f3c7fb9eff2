"""
What all processes on the gateway's store do, on its status page.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from egressor import Governor
from egressor.policies import from_services
from egressor.stores import StoreAway
from tests.gateway.rig import Rig, gateway, gateway_of

pytestmark = pytest.mark.anyio
POLICY = {"base_url": "http://127.0.0.1:9", "max_concurrency": 3, "limits": ["100/hour"], "max_wait": 30.0}


async def shown(rig: Rig) -> Any:
    """
    What the page is told.
    """
    async with rig.session.get(f"{rig.url}/-/status.json") as answer:
        assert answer.status == 200
        return (await answer.json())["fleet"]


async def eventually_shown(rig: Rig, expected: dict[str, Any]) -> None:
    """
    Wait until the page is told this of the service.
    """
    async with asyncio.timeout(20):
        while {name: (await shown(rig))["services"]["t"][name] for name in expected} != expected:
            await asyncio.sleep(0.05)  # real time: another member speaks each two seconds


async def test_in_memory_there_is_no_fleet() -> None:
    """
    Where each process counts by itself nothing is said of others.
    """
    async with gateway() as rig:
        assert await shown(rig) is None
        assert rig.gov.fleet() is None


async def test_others_on_the_store_are_shown(tmp_path: Path) -> None:
    """
    What another process holds and waits for is on the page of a gateway that does nothing; and so is how it stands.
    """
    store = f"sqlite:///{tmp_path}/store.db"
    services = {"t": POLICY}
    async with gateway_of(services, store=store) as rig:
        with Governor(services, store=store) as other, ExitStack() as stack:
            for _ in range(3):
                # Not in a block, where one would lend its place to the next.
                permit = other.permit("t")
                permit.acquire()
                stack.callback(permit.release)
            waiting = [asyncio.ensure_future(_through(other, level)) for level in ("high", "low", "low")]
            expected = {"low": 2, "medium": 0, "high": 1, "critical": 0}
            await eventually_shown(rig, {"in_flight": 3, "waiting": expected, "state": "closed"})
            assert (await shown(rig))["services"]["t"]["members"] in (1, 2)
            assert rig.gov.status()["t"]["in_flight"] == 0
            other.pause("t", "tea")
            await eventually_shown(rig, {"state": "paused", "waiting": dict.fromkeys(expected, 0)})
            await asyncio.gather(*waiting, return_exceptions=True)


async def _through(gov: Governor, level: str) -> None:
    # On a thread that doesn't know of this one's permits: it would borrow a place.
    await asyncio.get_running_loop().run_in_executor(None, partial(gov.call, "t", str, priority=level))


async def test_a_store_that_is_away_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where the store can't be asked the page says why, and still shows this process.
    """

    def look(service: str) -> None:
        message = "store.db.cells: disk I/O error"
        raise StoreAway(message)

    async with gateway_of({"t": POLICY}, store=f"sqlite:///{tmp_path}/store.db") as rig:
        assert rig.gov._courier is not None
        monkeypatch.setattr(rig.gov._courier.store, "look", look)

        assert await shown(rig) == {"away": "store.db.cells: disk I/O error", "services": {}}


async def test_however_many_look_the_store_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Twenty pages at once are one question to the store.
    """
    asked: list[str] = []
    async with gateway_of({"t": POLICY}, store=f"sqlite:///{tmp_path}/store.db") as rig:
        assert rig.gov._courier is not None
        look = rig.gov._courier.store.look

        def looked(service: str) -> Any:
            asked.append(service)
            return look(service)

        monkeypatch.setattr(rig.gov._courier.store, "look", looked)
        found = await asyncio.gather(*(shown(rig) for _ in range(20)))

    assert {each["away"] for each in found} == {""}
    assert len(asked) <= 2


async def test_a_config_without_services_has_an_empty_fleet(tmp_path: Path) -> None:
    """
    A store of which nothing is configured has nothing to show.
    """
    with Governor(config=from_services({}, store=f"sqlite:///{tmp_path}/store.db")) as gov:
        assert gov.fleet() == {"away": "", "services": {}}
