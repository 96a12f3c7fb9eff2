"""
What a client's key may spend.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, DummyCookieJar

from egressor import Governor
from egressor.gateway.app import Gateway
from egressor.gateway.forward import AiohttpUpstream
from egressor.gateway.keys import PREFIX, digest
from egressor.gateway.serving import listening
from egressor.policies import ClientKey, from_services
from egressor.policies import Gateway as GatewaySettings
from egressor.policies.loader import from_table
from tests.gateway.rig import TOKEN, Rig, until, upstream
from tests.gateway.test_money import ASKED, PRICES, Server
from tests.ports import spare_port

pytestmark = pytest.mark.anyio
KEY, OTHER = PREFIX + "k3Yq" * 10 + "a_c", PREFIX + "0tHr" * 10 + "xyz"
CHAT = "v1/chat/completions"
# What a request holds, in micro-dollars: a token for each byte that it sends, and two for what it may be answered with.
# It costs 20: three are paid for, and then it is one too many.
HELD = len(json.dumps(ASKED)) + 2 * 100
THREE = HELD + 45


def usd(micro_usd: int) -> str:
    """
    Return an amount as settings and messages have it.
    """
    return f"{micro_usd / 1e6:.6f}"


def keys(budget: dict[str, Any], **other: Any) -> tuple[ClientKey, ClientKey]:
    """
    Ann's key with *budget*, and bob's.
    """
    config = from_table(
        {
            "gateway": {
                "keys": [
                    {"name": "ann", "sha256": digest(KEY), "budget": budget},
                    {"name": "bob", "sha256": digest(OTHER), **other},
                ]
            }
        }
    )
    ann, bob = config.gateway.keys
    return ann, bob


@asynccontextmanager
async def gateway_with(
    mine: tuple[ClientKey, ...], services: dict[str, dict[str, Any]], ledger: str
) -> AsyncIterator[Rig]:
    """
    Run a gateway for clients with *mine* on a ledger.
    """
    prices = from_table({"prices": PRICES}).prices
    config = replace(from_services(services), ledger=ledger, gateway=GatewaySettings(keys=mine), prices=prices)
    sender = AiohttpUpstream(config.gateway)
    try:
        with Governor(config=config) as gov:
            gate = Gateway(gov, sender, token=TOKEN)
            async with (
                listening(gate, port=0, grace=5.0) as url,
                ClientSession(auto_decompress=False, cookie_jar=DummyCookieJar()) as session,
            ):
                yield Rig(url, gov, gate, session)
    finally:
        await sender.aclose()


def openai(url: str, **more: Any) -> dict[str, Any]:
    """
    A service whose requests have a price.
    """
    return {"base_url": url, "dialect": "openai", "retry": {"attempts": 1}, **more}


async def ask(session: ClientSession, url: str, key: str = KEY, **more: Any) -> tuple[int, Any]:
    """
    Ask for an answer with *key*, and read it whole.
    """
    headers = {"Authorization": f"Bearer {key}"}
    async with session.post(f"{url}/{CHAT}", json={**ASKED, **more}, headers=headers) as answer:
        status, body = answer.status, await answer.read()
    return status, body.decode()


def budgets(rig: Rig) -> dict[str, tuple[str, str, str, str]]:
    """
    Of each budget whose it is, what is spent, and what is held.
    """
    found = rig.gov.costs()["budgets"]
    return {each["budget"]: (each["service"], each["key"], each["spent_usd"], each["held_usd"]) for each in found}


async def at_rest(rig: Rig) -> dict[str, tuple[str, str, str, str]]:
    """
    The budgets, once nothing is held.
    """
    await until(lambda: all(each[3] == "0.000000" for each in budgets(rig).values()))
    return budgets(rig)


async def test_a_key_whose_budget_is_spent_is_refused_while_another_goes_on(tmp_path: Path) -> None:
    """
    Its requests to all services count, the refusal names it and no secret, and the budgets of services count as ever.
    """
    server = Server()
    async with upstream(server) as url:
        services = {"a": openai(url, budget={"total": 1}), "b": openai(url)}
        mine = keys({"total": usd(THREE)})
        async with gateway_with(mine, services, f"sqlite:///{tmp_path}/l.db") as rig:
            first, spent = [], budgets(rig)
            wishes: list[tuple[str, dict[str, Any]]] = [("a", {}), ("b", {"stream": True}), ("a", {})]
            for name, more in wishes:
                first.append((await ask(rig.session, f"{rig.url}/{name}", **more))[0])
                spent = await at_rest(rig)
            refused = [await ask(rig.session, f"{rig.url}/{name}") for name in ("a", "b")]
            others = [(await ask(rig.session, f"{rig.url}/{name}", OTHER))[0] for name in ("a", "b")]
            after = await at_rest(rig)
            by_service = rig.gov.costs("a")["budgets"]
            listed = rig.session.get(f"{rig.url}/b/v1/models", headers={"x-api-key": KEY})
            async with listed as answer:
                lists = answer.status

    assert (first, others, lists) == ([200, 200, 200], [200, 200], 500)
    assert spent == {
        "a/total@UTC": ("a", "", "0.000040", "0.000000"),
        "key:ann/total@UTC": ("", "ann", "0.000060", "0.000000"),
    }
    assert [status for status, _ in refused] == [402, 402]
    for _, text in refused:
        assert '"error"' in text
        assert f"the budget key:ann/total@UTC of {usd(THREE)} USD has {usd(THREE - 60)} USD left" in text
        assert KEY not in text
        assert digest(KEY) not in text
    assert after["a/total@UTC"][2] == "0.000060"
    assert after["key:ann/total@UTC"][2] == "0.000060"
    assert [each["budget"] for each in by_service] == ["a/total@UTC"]


async def test_nothing_is_held_of_a_key_where_its_services_budget_has_nothing_left(tmp_path: Path) -> None:
    """
    All budgets of a request are held, or none.
    """
    server = Server()
    async with upstream(server) as url:
        services = {"a": openai(url, budget={"total": "0.0001"})}
        async with gateway_with(keys({"day": 5, "month": 50}), services, f"sqlite:///{tmp_path}/l.db") as rig:
            status, text = await ask(rig.session, f"{rig.url}/a")
            found = budgets(rig)

    assert (status, server.costs) == (402, [])
    assert "a/total@UTC" in text
    assert [each[2:] for each in found.values()] == [("0.000000", "0.000000")] * 3
    assert {"key:ann/day@UTC", "key:ann/month@UTC"} <= found.keys()


async def test_fifty_at_once_keep_to_a_keys_budget(tmp_path: Path) -> None:
    """
    What is under way is held.
    """
    server = Server()
    async with upstream(server) as url:
        mine = keys({"total": "0.001"})
        async with gateway_with(mine, {"a": openai(url)}, f"sqlite:///{tmp_path}/l.db") as rig:
            answers = await asyncio.gather(*(ask(rig.session, f"{rig.url}/a") for _ in range(50)))
            found = await at_rest(rig)
    statuses = [status for status, _ in answers]

    assert set(statuses) == {200, 402}
    assert found["key:ann/total@UTC"][2] == f"{sum(server.costs) / 1e6:.6f}"
    assert sum(server.costs) <= 1000


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"dialect": "openai"}, 200),
        ({"dialect": "github"}, 200),
        ({"type": "internal_api"}, 200),
        ({}, 402),
        ({"type": "llm_api"}, 402),
    ],
)
async def test_a_keys_budget_is_for_what_may_be_a_model(settings: dict[str, Any], expected: int) -> None:
    """
    What may be one and has no price is refused; what is none has nothing to do with it.
    """
    server = Server()
    async with upstream(server) as url:
        services = {"a": {"base_url": url, **settings}}
        async with gateway_with(keys({"total": 1}), services, "memory:") as rig:
            status, text = await ask(rig.session, f"{rig.url}/a")
            other = (await ask(rig.session, f"{rig.url}/a", OTHER))[0]

    assert (status, other) == (expected, 200)
    assert (expected == 402) == ("have no price" in text)


async def test_a_reload_brings_a_key_a_budget() -> None:
    """
    From then on what it asks is counted, with its older route forgotten.
    """
    server = Server()
    async with upstream(server) as url:
        ann, bob = keys({"total": 1})
        before = replace(ann, budget=None)
        async with gateway_with((before, bob), {"a": openai(url)}, "memory:") as rig:
            first = (await ask(rig.session, f"{rig.url}/a"))[0]
            none = budgets(rig)
            rig.gateway.reload(replace(rig.gov.config, gateway=GatewaySettings(keys=(ann, bob))))
            second = (await ask(rig.session, f"{rig.url}/a"))[0]
            found = await at_rest(rig)

    assert (first, none, second) == (200, {}, 200)
    assert found == {"key:ann/total@UTC": ("", "ann", "0.000020", "0.000000")}


FILE = """
[egressor]
store = "sqlite:///{folder}/store.db"
ledger = "sqlite:///{folder}/ledger.db"

[gateway]
port = {port}

[[gateway.keys]]
name = "ann"
sha256 = "{mark}"
budget = {{ total = "{most}" }}

[services.a]
base_url = "{url}"
dialect = "openai"

[[prices.models]]
model = "m"
usd_per_mtok = {{ input = 1, output = 2 }}
"""


async def test_two_processes_share_a_keys_budget(tmp_path: Path) -> None:
    """
    What one has spent is gone for the other.
    """
    server = Server()
    crew: list[asyncio.subprocess.Process] = []
    statuses, text = [], ""
    try:
        async with upstream(server) as url, ClientSession() as session:
            places = []
            for number in range(2):
                port = spare_port()
                file = tmp_path / f"{number}.toml"
                text = FILE.format(folder=tmp_path, port=port, mark=digest(KEY), url=url, most=usd(THREE))
                file.write_text(text, encoding="utf-8")
                words = [sys.executable, "-m", "egressor.cli.main", "serve", "--config", str(file)]
                crew.append(await asyncio.create_subprocess_exec(*words))
                places.append(f"http://127.0.0.1:{port}")
            for place in places:
                await _up(session, place)
            with Governor.from_file(tmp_path / "0.toml") as gov:
                for turn in range(4):
                    status, text = await ask(session, f"{places[turn % 2]}/a")
                    statuses.append(status)
                    # What was paid is told after the answer.
                    await until(lambda: gov.costs()["budgets"][0]["held_usd"] == "0.000000")
    finally:
        for each in crew:
            os.kill(each.pid, signal.SIGTERM)
            await each.wait()

    assert (statuses, server.costs) == ([200, 200, 200, 402], [20] * 3)
    assert f"{usd(THREE - 60)} USD left" in text


async def _up(session: ClientSession, place: str) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                async with session.get(f"{place}/-/healthz") as answer:
                    if answer.status == 200:
                        return
            except OSError:
                await asyncio.sleep(0.05)  # real time: another process's start
