"""
The ledger as the gateway shows it, and what an operator's actions leave there.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from egressor.cli.main import main
from tests.gateway.rig import TOKEN, Rig, gateway

pytestmark = pytest.mark.anyio
AUTH = {"Authorization": f"Bearer {TOKEN}"}


async def look(rig: Rig, query: str = "", status: int = 200) -> Any:
    """
    Ask for the history.
    """
    async with rig.session.get(f"{rig.url}/-/history.json{query}") as answer:
        assert answer.status == status
        return await answer.json()


async def test_an_action_is_written_with_who_and_why() -> None:
    """
    Each action stands in the history with the operator's address and reason, the newest first.
    """
    async with gateway() as rig:
        for action in ("pause", "resume", "reset-breaker", "lift-ban"):
            body = b'{"reason": "tea"}' if action == "pause" else b""
            async with rig.session.post(f"{rig.url}/-/services/t/{action}", headers=AUTH, data=body) as answer:
                assert answer.status == 200
        async with rig.session.post(f"{rig.url}/-/services/t/pause") as answer:
            assert answer.status == 401
        found = await look(rig)

    assert [each["what"] for each in found["entries"]] == ["lift-ban", "reset-breaker", "resume", "pause"]
    assert {each["who"] for each in found["entries"]} == {"the operator's token, from 127.0.0.1"}
    assert [each["data"] for each in found["entries"]] == [{}, {}, {}, {"reason": "tea"}]
    assert (found["ledger"]["ledger"], found["ledger"]["entries"]) == ("memory", 4)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?limit=1", ["resume"]),
        ("?service=t", ["resume", "pause"]),
        ("?kind=breaker", []),
        ("?kind=operator&since=0&limit=1000", ["resume", "pause"]),
        ("?since=99999999999", []),
    ],
)
async def test_a_query_selects(query: str, expected: list[str]) -> None:
    """
    By service, kind, time and number.
    """
    async with gateway() as rig:
        rig.gov.pause("t")
        rig.gov.resume("t")
        found = await look(rig, query)

    assert [each["what"] for each in found["entries"]] == expected


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=1001", "limit=x", "limit=", "since=-1", "since=nan", "since=", "service=%00", "kind=%FF"),
        *("service=tt", "kind=opertor", "serivce=t", "knd=ban"),
    ],
)
async def test_a_wrong_query_is_refused(query: str) -> None:
    """
    What can't be asked for gets 400, with the reason.
    """
    async with gateway() as rig:
        found = await look(rig, f"?{query}", 400)

    assert found["reason"] == "bad_query"


@pytest.mark.parametrize(
    ("query", "nearest"), [("kind=opertor", "operator"), ("serivce=t", "service"), ("service=tt", "t")]
)
async def test_a_slip_is_no_good_news(query: str, nearest: str) -> None:
    """
    A name that nobody knows, and a parameter that there isn't, were answered with an empty list.
    """
    async with gateway() as rig:
        found = await look(rig, f"?{query}", 400)

    assert found["detail"].endswith(f"(did you mean {nearest!r}?)")


@pytest.mark.parametrize("as_json", [False, True])
async def test_the_command_asks_the_gateway(
    as_json: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    ``egressor history --url`` shows the history of a running gateway.
    """
    monkeypatch.setenv("EGRESSOR_TOKEN", TOKEN)
    async with gateway() as rig:
        rig.gov.pause("t", "tea time", by="dana")
        rig.gov.resume("t", by="dana")
        words = ["history", "--url", rig.url, "--service", "t", "--since", "1h", "--limit", "1"]
        code = await asyncio.to_thread(main, [*words, "--json"] if as_json else words)
    said = capsys.readouterr().out

    assert code == 0
    if as_json:
        assert [each["what"] for each in json.loads(said)["entries"]] == ["resume"]
    else:
        assert said.splitlines()[1].split()[2:] == ["operator", "t", "resume", "dana", "-"]
