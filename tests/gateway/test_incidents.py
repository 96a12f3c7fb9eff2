"""
Errors and bans as the gateway shows them, and what an operator says of a group.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from egressor.cli.main import main
from tests.gateway.rig import TOKEN, Rig, gateway, upstream

pytestmark = pytest.mark.anyio
AUTH = {"Authorization": f"Bearer {TOKEN}"}


async def look(rig: Rig, path: str, status: int = 200) -> Any:
    """
    Ask for *path*.
    """
    async with rig.session.get(f"{rig.url}/-/{path}") as answer:
        assert answer.status == status
        return await answer.json()


async def tell(rig: Rig, path: str, body: bytes = b"", headers: Any = AUTH) -> tuple[int, Any]:
    """
    Do *path*.
    """
    async with rig.session.post(f"{rig.url}/-/{path}", headers=headers, data=body) as answer:
        return answer.status, await answer.json()


async def unwell(_: web.BaseRequest) -> web.StreamResponse:
    """
    Answer as an API that has no room.
    """
    return web.json_response({"error": {"message": "No room for sk-abc12defghij"}}, status=503)


async def test_a_failing_upstream_is_an_error() -> None:
    """
    Its own words, without its secrets, in `/-/errors.json`.
    """
    async with upstream(unwell) as url, gateway(url, retry={"attempts": 2, "base": 0.0}) as rig:
        async with rig.session.get(f"{rig.url}/t/x", headers={"Egressor-User": "u1"}) as answer:
            assert answer.status == 503
        found = await look(rig, "errors.json")

    (group,) = found["groups"]
    assert (found["total"], found["calls"], found["gave_up"]) == (2, 1, 1)
    assert (group["category"], group["message"]) == ("server_error", "no room for (not shown: it may be a key)")
    assert found["recent"][0]["scope"] == {"user": "u1"}


async def test_a_dead_upstream_is_an_error() -> None:
    """
    A connection that is refused is one, too.
    """
    async with gateway() as rig:
        async with rig.session.get(f"{rig.url}/t/x") as answer:
            assert answer.status == 502
        found = await look(rig, "errors.json")

    assert (found["by_category"], found["gave_up"]) == ({"network": 1}, 1)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", (3, 2, 3)),
        ("?service=t", (3, 2, 3)),
        ("?since=99999999999", (0, 0, 0)),
        ("?groups=1&recent=2", (3, 1, 2)),
        ("?groups=0&recent=0", (3, 0, 0)),
        ("?since=0&fingerprint=", (3, 2, 3)),
    ],
)
async def test_a_query_selects(query: str, expected: tuple[int, int, int]) -> None:
    """
    By service, time and number.
    """
    async with gateway() as rig:
        for error in (ValueError("a"), ValueError("a"), TypeError("b")):
            rig.gov.record_error("t", error)
        found = await look(rig, f"errors.json{query}")

    assert (found["total"], len(found["groups"]), len(found["recent"])) == expected


async def test_one_group_by_its_fingerprint() -> None:
    """
    Only that one is counted.
    """
    async with gateway() as rig:
        for error in (ValueError("a"), ValueError("a"), TypeError("b")):
            rig.gov.record_error("t", error)
        name = (await look(rig, "errors.json"))["groups"][1]["fingerprint"]
        found = await look(rig, f"errors.json?fingerprint={name}")

    assert (found["total"], found["groups"][0]["type"]) == (1, "TypeError")


@pytest.mark.parametrize(
    "query",
    ["groups=1001", "groups=x", "recent=-1", "since=nan", "service=%00", "service=tt", "serivce=t", "fingerprint=x"],
)
async def test_a_wrong_query_is_refused(query: str) -> None:
    """
    What can't be asked for gets 400, with the reason.
    """
    async with gateway() as rig:
        found = await look(rig, f"errors.json?{query}", 400)

    assert found["reason"] == "bad_query"


async def test_an_operator_resolves_and_mutes() -> None:
    """
    With the token, by POST; who did it is in the history.
    """
    async with gateway() as rig:
        rig.gov.record_error("t", ValueError("a"))
        name = (await look(rig, "errors.json"))["groups"][0]["fingerprint"]
        states = []
        for action, body in (("mute", b'{"seconds": 60}'), ("unmute", b""), ("resolve", b""), ("mute", b"")):
            assert await tell(rig, f"errors/{name}/{action}", body) == (200, {"fingerprint": name, "action": action})
            states.append((await look(rig, "errors.json"))["groups"][0]["state"])
        told = (await look(rig, "history.json"))["entries"]

    assert states == ["muted", "open", "resolved", "muted"]
    assert [(each["what"], each["who"]) for each in told[::-1]] == [
        (f"{action}-error", "the operator's token, from 127.0.0.1") for action in ("mute", "unmute", "resolve", "mute")
    ]
    assert told[-1]["data"] == {"fingerprint": name, "seconds": 60.0}


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("errors/0000-0000-0000/resolve", b"", (404, "not_found")),
        ("errors/nonsense/resolve", b"", (404, "not_found")),
        ("errors/0000-0000-0000/burn", b"", (404, "unknown_action")),
        ("errors/0000-0000-0000/mute", b'{"seconds": 0}', (400, "bad_body")),
        ("errors/0000-0000-0000/mute", b'{"seconds": "1"}', (400, "bad_body")),
        ("errors/0000-0000-0000/mute", b'{"seconds": true}', (400, "bad_body")),
        ("errors/0000-0000-0000/mute", b'{"seconds": 1, "for": "2h"}', (400, "bad_body")),
        ("errors/0000-0000-0000/resolve", b'{"seconds": 1}', (400, "bad_body")),
        ("errors/0000-0000-0000/unmute", b'{"by": "me"}', (400, "bad_body")),
        ("errors/0000-0000-0000/burn", b'{"by": "me"}', (404, "unknown_action")),
        ("errors/0000-0000-0000/mute", b"[]", (400, "bad_body")),
        ("errors/0000-0000-0000/mute", b"no JSON", (400, "bad_body")),
        ("errors/0000-0000-0000/mute", b"x" * 5_000, (413, "bad_body")),
    ],
)
async def test_what_can_not_be_done(path: str, body: bytes, expected: tuple[int, str]) -> None:
    """
    Unknown groups and actions, and bodies that are none.
    """
    async with gateway() as rig:
        status, problem = await tell(rig, path, body)

    assert (status, problem["reason"]) == expected


async def test_a_stranger_changes_nothing() -> None:
    """
    Without the token, by GET, or from another site.
    """
    async with gateway() as rig:
        path = "errors/0000-0000-0000/resolve"
        statuses = [
            (await tell(rig, path, headers={}))[0],
            (await tell(rig, path, headers={**AUTH, "Origin": "http://evil.example"}))[0],
        ]
        await look(rig, path, 405)

    assert statuses == [401, 403]


async def test_bans_are_shown() -> None:
    """
    The ledger's entries of kind ``ban``, by service and number.
    """
    async with gateway() as rig:
        for number in range(3):
            rig.gov.ledger.note(
                "ban", "began", service="t", data={"until": "2999-01-01T00:00:00Z", "scope": str(number)}
            )
        found = await look(rig, "bans.json?limit=2&since=0")
        await look(rig, "bans.json?limit=many", 400)

    assert ([each["scope"] for each in found["bans"]], found["total"], len(found["active"])) == (["2", "1"], 3, 3)
    assert found["ledger"]["ledger"] == "memory"


async def test_costs_are_shown() -> None:
    """
    What calls through this gateway's governor have cost, as `egressor costs --url` shows it, too.
    """
    async with gateway(budget={"total": 1}) as rig:
        rig.gov.call("t", str, cost={"usd": 0.25})
        found = await look(rig, "costs.json?service=t&since=0")
        unknown = await look(rig, "costs.json?service=tt", 400)
        await look(rig, "bans.json?service=tt", 400)
        await look(rig, "costs.json?since=yesterday", 400)
        code = await asyncio.to_thread(main, ["costs", "--service", "t", "--since", "7d", "--url", rig.url])
        gone = await asyncio.to_thread(main, ["costs", "--url", "http://127.0.0.1:9"])

    assert (found["total"]["usd"], found["budgets"][0]["left_usd"]) == ("0.250000", "0.750000")
    assert unknown["detail"].endswith("(did you mean 't'?)")
    assert (code, gone) == (0, 1)


async def test_the_commands_ask_the_gateway(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    ``egressor errors --url`` and ``egressor bans --url`` show and change what a running gateway has in memory.
    """
    monkeypatch.setenv("EGRESSOR_TOKEN", TOKEN)
    async with gateway() as rig:
        rig.gov.record_error("t", ValueError("a"))
        rig.gov.ledger.note("ban", "began", service="t", data={"until": "2999-01-01T00:00:00Z"})

        async def command(*words: str) -> tuple[int, str]:
            code = await asyncio.to_thread(main, [*words, "--url", rig.url])
            return code, capsys.readouterr().out

        code, said = await command("errors", "--json", "--service", "t")
        name = json.loads(said)["groups"][0]["fingerprint"]
        codes = [
            code,
            (await command("errors", "mute", name, "--for", "1h"))[0],
            (await command("errors", "unmute", name))[0],
            (await command("errors", "resolve", name))[0],
            (await command("errors", "resolve", "0000-0000-0000"))[0],
            (await command("errors"))[0],
            (await command("bans", "--service", "t"))[0],
        ]
        gone = await asyncio.to_thread(main, ["errors", "tail", "--url", "http://127.0.0.1:9"])

    assert codes == [1, 0, 0, 0, 2, 0, 1]
    assert gone == 1
