"""
Refusals of every kind, as a client's user meets them: of the classes that the API's own answers of that status have,
with the time after which to try again, and not tried again by an SDK's own loop where that is pointless.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from egressor.gateway.app import Gateway
from egressor.gateway.keys import digest
from egressor.policies import ClientKey
from tests.clients.apis import Server
from tests.clients.rows import ROOT, ROWS, Row
from tests.clients.running import run
from tests.gateway.rig import gateway_of, upstream

if TYPE_CHECKING:
    from aiohttp import web

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]
CLIENTS = {"requests", "aiohttp", "httpx", "openai", "anthropic", "groq", "mistralai", "langchain_openai", "litellm"}
CHOSEN = [row for row in ROWS if row.name in CLIENTS]
# Those that have a loop of their own, and obey what an answer says about it.
LOOPS = {"openai", "anthropic", "groq", "langchain_openai", "litellm"}
ONCE: dict[str, Any] = {"retry": {"attempts": 1}, "max_wait": 0}
# What the APIs say of each is read in the same way as what we say.
STATUSES = {"spent": 429, "no_key": 401, "paused": 503}
# Of "1/hour", whose window is a little longer than an hour.
HOUR = range(3000, 3700)


def name_of(row: Row) -> str:
    """
    Return what a case is called.
    """
    return f"{row.name}-{row.python.parts[-3]}"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """
    Count what comes to gateways, by service.
    """
    came: Counter[str] = Counter()
    handle = Gateway.handle

    async def counted(self: Gateway, request: web.BaseRequest) -> web.StreamResponse:
        came[request.path.split("/")[1]] += 1
        return await handle(self, request)

    monkeypatch.setattr(Gateway, "handle", counted)
    return came


@pytest.mark.parametrize("row", CHOSEN, ids=name_of)
async def test_a_refusal_is_what_the_api_itself_would_raise(row: Row, asked: Counter[str]) -> None:
    """
    The same classes and statuses; Retry-After is there where it helps, and what is final is asked for once.
    """
    mine = ClientKey(name="ann", sha256=digest("egr_somebody"))
    async with upstream(Server()) as base:
        service = {**ONCE, "base_url": base, "dialect": row.dialect}
        services = {"paused": service, "spent": {**service, "limits": ["1/hour"]}}
        async with (
            gateway_of(services) as rig,
            gateway_of({"no_key": service}, bounds={"keys": (mine,)}) as locked,
            rig.session.get(f"{rig.url}/spent/plain") as first,
        ):
            rig.gov.pause("paused")
            asked.clear()
            wanted: list[dict[str, Any]]
            wanted = [{"name": str(status), "base": f"{base}/status/{status}"} for status in STATUSES.values()]
            wanted += [{"name": "spent", "base": f"{rig.url}/spent"}]
            wanted += [{"name": "paused", "base": f"{rig.url}/paused", "retries": 2}]
            wanted += [{"name": "no_key", "base": f"{locked.url}/no_key", "retries": 2}]
            found = await run(row, {"asked": wanted, "src": str(ROOT / "src")})

    uses = len(found["spent"])
    seen = {name: _kinds(found[name]) for name in STATUSES}
    assert (first.status, seen) == (200, {name: _kinds(found[str(status)]) for name, status in STATUSES.items()})
    assert asked == dict.fromkeys(STATUSES, uses)
    assert _times(found["paused"]) | _times(found["no_key"]) == {None}
    assert {int(seconds or 0) in HOUR for seconds in _times(found["spent"])} == {True}


def _kinds(found: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    return {name: (came["error"]["class"], came["error"]["status"]) for name, came in found.items()}


def _times(found: dict[str, Any]) -> set[float | None]:
    return {came["error"]["retry_after"] for came in found.values()}


@pytest.mark.parametrize("row", [row for row in CHOSEN if row.transport is not None], ids=name_of)
async def test_behind_a_transport_a_wait_that_is_too_long_is_found(row: Row) -> None:
    """
    Wrapped as any refusal is by that library; what is inside says when to try again, and nothing was sent.
    """
    server = Server()
    async with upstream(server) as base:
        wanted = [{"name": "spent", "base": base, "is_spent": True}]
        found = (await run(row, {"asked": wanted, "src": str(ROOT / "src")}))["spent"]

    kinds = {(came["error"]["class"], came["error"]["refused"]) for came in found.values()}
    assert kinds == {(str(row.transport).replace("Paused", "WaitTooLong"), "WaitTooLong")}
    assert {int(seconds or 0) in HOUR for seconds in _times(found)} == {True}
    assert server.asked == []


@pytest.mark.parametrize("row", [row for row in CHOSEN if row.name in LOOPS], ids=name_of)
async def test_an_sdk_that_waits_as_it_is_told_gets_its_answer(row: Row, asked: Counter[str]) -> None:
    """
    One call in three seconds: the second is refused, and the SDK's own loop comes again when it may.
    """
    async with upstream(Server()) as base:
        service = {**ONCE, "base_url": base, "dialect": row.dialect, "limits": ["1/3 seconds"]}
        async with gateway_of({"brief": service}) as rig:
            wanted = [{"name": n, "use": "plain", "base": f"{rig.url}/brief", "retries": 1} for n in ("first", "then")]
            found = await run(row, {"asked": wanted, "src": str(ROOT / "src")})
            state = await rig.at_rest("brief")

    assert ["value" in came["plain"] for came in found.values()] == [True, True]
    assert (asked["brief"], state["succeeded"], sum(state["denied"].values())) == (3, 2, 1)
