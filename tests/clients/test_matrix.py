"""
Each client as it is published, unmodified, against a local API of its shape: what it gets through us is what it gets
without us, and a refusal of ours comes out as its own kind of error.
"""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from egressor.policies.keys import ClientKey
from egressor.policies.loader import from_table
from tests.clients.apis import Server
from tests.clients.rows import ROOT, ROWS, Row
from tests.clients.running import run
from tests.gateway.rig import gateway_of, upstream

# A client's process imports much, and a command is several of them: on a busy machine that takes a while.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]
# One of each form, each in the version that is newest there.
NAMES = ("openai", "anthropic", "mistralai", "google_genai", "langchain_openai")
MODELS = [next(row for row in ROWS if row.name == name) for name in NAMES]
ALL: dict[str, Any] = {
    "budget": {"day": 1000.0},
    "limits": ["1000000 tokens/minute"],
    "cache": {"any_temperature": True},
    "api_key": {"env": "KEY_OF_THE_API"},
}
POLICY: dict[str, Any] = {"retry": {"attempts": 1}, "max_concurrency": 1, "max_wait": 5.0}


def same(found: Any, said: dict[str, str]) -> Any:
    """
    Return what a way came to, without the URL that it went to.
    """
    text = json.dumps(found, sort_keys=True, ensure_ascii=False)
    for key in ("direct", "gateway"):
        text = text.replace(said[key], "API").replace(said[key].removeprefix("http://"), "API")
    # pybit says when it failed.
    return json.loads(re.sub(r"\b\d\d:\d\d:\d\d\b", "TIME", text))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name}-{row.python.parts[-3]}")
async def test_a_client_sees_the_same_through_us(row: Row, tmp_path: Path) -> None:
    """
    Objects, chunks and errors are equal, each way sends the same requests, refusals are told apart, nothing is held.
    """
    server = Server()
    async with upstream(server) as base:
        service = {**POLICY, "base_url": base, "dialect": row.dialect}
        async with gateway_of({"api": service, "paused": service}) as rig:
            rig.gov.pause("paused")
            said = {"direct": base, "gateway": rig.url + "/api", "paused": rig.url + "/paused"}
            found = await run(row, {**said, "src": str(ROOT / "src"), "home": str(tmp_path)})
            api = await rig.at_rest("api")
            denied = rig.state("paused")

    direct = same(found["direct"], said)
    ways = [name for name in ("transport", "gateway") if name in found]
    assert ways == [name for name in ("transport", "gateway") if getattr(row, name) is not None]
    assert len(direct) == row.uses
    assert [name for name, came in direct.items() if "error" in came] == [name for name in direct if "error" in name]
    for way in ways:
        assert same(found[way], said) == direct
        refused = {name: came["error"]["class"] for name, came in found["refused"][way].items()}
        expected = dict.fromkeys((name for name in direct if "error" not in name), getattr(row, way))
        assert refused == expected | (dict(row.apart) if way == "gateway" else {})
    # Nothing that was refused was sent, and nothing else was sent twice.
    once = len(server.asked) // (1 + len(ways))
    assert server.asked == server.asked[:once] * (1 + len(ways))
    if "transport" in ways:
        assert {came["error"]["refused"] for came in found["refused"]["transport"].values()} == {"Paused"}
        assert (found["state"]["in_flight"], found["state"]["admitted"]) == (0, once)
    if "gateway" in ways:
        assert (api["in_flight"], api["admitted"], denied["admitted"]) == (0, once, 0)
        assert sum(denied["denied"].values()) >= len(found["refused"]["gateway"])


@pytest.mark.parametrize("row", MODELS, ids=lambda row: f"{row.name}-{row.python.parts[-3]}")
async def test_a_client_sees_the_same_with_everything_on(
    row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    With a client's key, a budget, tokens per minute and a cache: objects, chunks and errors are those without us, what
    was asked before is not sent again, and money and tokens are counted.
    """
    monkeypatch.setenv("KEY_OF_THE_API", "its-own")
    server = Server()
    # The clients' key is "k".
    key = ClientKey(name="client", sha256=sha256(b"k").hexdigest(), user="ann")
    async with upstream(server) as base:
        service = {**POLICY, **ALL, "base_url": base, "dialect": row.dialect}
        async with gateway_of({"api": service, "paused": service}, bounds={"keys": (key,)}) as rig:
            rig.gov.pause("paused")
            money = rig.gov.context.money
            assert money is not None
            money.prices = from_table({"prices": {"on_unknown_price": "estimate"}}).prices
            said = {"direct": base, "gateway": rig.url + "/api", "paused": rig.url + "/paused"}
            found = await run(row, {**said, "src": str(ROOT / "src"), "home": str(tmp_path)})
            api = await rig.at_rest("api")
            spent = money.till.read(lambda page: page.budgets())[0].cell
            usage = rig.gov.costs()["total"]

    assert same(found["gateway"], said) == same(found["direct"], said)
    once = (len(server.asked) - api["admitted"]) // (2 if "transport" in found else 1)
    assert 0 < api["admitted"] <= once
    assert (api["in_flight"], spent.held, spent.unknown) == (0, 0, 0)
    assert spent.spent > 0
    assert usage["unknown_usd"] == "0.000000"
