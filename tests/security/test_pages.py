"""
The gateway's own pages, under strings that break programs, browsers of other people's pages, and generated requests.

The strings are one JSON text a line, in ``naughty.jsonl``.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import logging
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web

from egressor.cli.main import main
from egressor.gateway import admin, page
from egressor.gateway.keys import digest
from egressor.policies import ClientKey
from tests.gateway.rig import TOKEN, gateway, gateway_of
from tests.gateway.rig import upstream as serving
from tests.security.judge import ask

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]
NAUGHTY: list[str] = [
    json.loads(line) for line in (Path(__file__).parent / "naughty.jsonl").read_text(encoding="ascii").splitlines()
]
AUTH = {"Authorization": f"Bearer {TOKEN}"}
PAGES = [
    "/-/",
    "/-/page.js",
    "/-/page.css",
    "/-/status.json",
    "/-/history.json",
    "/-/errors.json",
    "/-/bans.json",
    "/-/costs.json",
    "/-/openapi.json",
    "/-/healthz",
    "/-/readyz",
    "/-/none",
]


def encoded(text: str) -> bytes:
    """
    Return *text* as bytes, lone surrogates included.
    """
    return text.encode("utf-8", "surrogatepass")


async def test_naughty_strings_break_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """
    In every place of a request: an answer below 500, one line a log entry, and a status that is still JSON.
    """
    caplog.set_level(logging.INFO)

    async def echo(request: web.BaseRequest) -> web.Response:
        return web.Response(body=await request.read())

    wrong: list[tuple[str, str, list[int]]] = []
    async with serving(echo) as base, gateway(base, breaker={"enabled": False}) as rig:
        for text in NAUGHTY:
            data, path = encoded(text), quote(encoded(text), safe="")
            places = {
                "target": b"GET /t/%s HTTP/1.1\r\nHost: localhost\r\n" % data,
                "path": b"GET /t/%s HTTP/1.1\r\nHost: localhost\r\n" % path.encode(),
                "service": b"GET /%s/x HTTP/1.1\r\nHost: localhost\r\n" % path.encode(),
                "query": b"GET /t/x?q=%s HTTP/1.1\r\nHost: localhost\r\n" % path.encode(),
                "user": b"GET /t/x HTTP/1.1\r\nHost: localhost\r\nEgressor-User: %s\r\n" % data,
                "header": b"GET /t/x HTTP/1.1\r\nHost: localhost\r\nX-A: %s\r\n" % data,
                "name": b"GET /t/x HTTP/1.1\r\nHost: localhost\r\n%s: x\r\n" % data,
                "host": b"GET /t/x HTTP/1.1\r\nHost: %s\r\n" % data,
                "method": b"%s /t/x HTTP/1.1\r\nHost: localhost\r\n" % data,
                "origin": b"GET /-/ HTTP/1.1\r\nHost: localhost\r\nOrigin: %s\r\n" % data,
                "action": b"POST /-/services/t/%s HTTP/1.1\r\nHost: localhost\r\n" % path.encode(),
                "token": b"POST /-/services/t/pause HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n" % data,
            }
            found = await asyncio.gather(
                *(ask(rig.port, head + b"Connection: close\r\n\r\n") for head in places.values())
            )
            wrong += [
                (text, place, statuses)
                for place, (statuses, _, _) in zip(places, found, strict=True)
                if not statuses or max(statuses) >= 500
            ]
        async with rig.session.get(rig.url + "/-/status.json") as answer:
            document = await answer.json()

    assert wrong == []
    assert set(document["services"]) == {"t"}
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("egressor")]
    assert not [
        line for line in lines if re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", line)
    ]


async def test_naughty_errors_stay_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    As messages, scopes and contexts of errors: the document is JSON, no line of a table has a control character, and no
    cell of the CSV begins a formula (J04).
    """
    monkeypatch.setenv("EGRESSOR_TOKEN", TOKEN)
    async with gateway() as rig:
        for text in NAUGHTY:
            context = {text[:50]: text}
            rig.gov.record_error("t", ValueError(text), scope={"user": text[:100]}, endpoint=text[:20], context=context)
        async with rig.session.get(rig.url + "/-/errors.json?groups=1000&recent=1000") as answer:
            assert (answer.status, answer.content_type) == (200, "application/json")
            found = await answer.json()
        await asyncio.to_thread(main, ["errors", "--limit", "1000", "--url", rig.url])
        table = capsys.readouterr().out
        await asyncio.to_thread(main, ["errors", "--csv", "--limit", "1000", "--url", rig.url])
        sheet = list(csv.reader(io.StringIO(capsys.readouterr().out)))

    assert found["total"] == len(NAUGHTY)
    assert not [line for line in table.split("\n") if line and not line.isprintable()]
    assert len(sheet) == found["groups_total"] + 1
    assert not [cell for row in sheet for cell in row if cell[:1] in "=+-@\t\r" and cell]


async def test_naughty_reasons_stay_text(caplog: pytest.LogCaptureFixture) -> None:
    """
    A reason that is taken comes back as it was given, and one with control characters is not taken.
    """
    caplog.set_level(logging.INFO, "egressor.audit")
    taken = 0
    async with gateway() as rig:
        for text in NAUGHTY:
            body = json.dumps({"reason": text})
            async with rig.session.post(rig.url + "/-/services/t/pause", headers=AUTH, data=body) as answer:
                assert answer.status in {200, 400}
            if answer.status == 400:
                assert not text.isprintable() or len(text) > 200
                continue
            taken += 1
            async with rig.session.get(rig.url + "/-/status.json") as status:
                assert status.content_type == "application/json"
                assert (await status.json())["services"]["t"]["paused"] == (text or "an operator paused it")
            async with rig.session.get(rig.url + "/t/x") as refused:
                assert (refused.status, refused.content_type) == (503, "application/problem+json")
                assert refused.headers["X-Content-Type-Options"] == "nosniff"

    assert taken > 100
    assert not [line for line in caplog.messages if not line.isprintable()]


def test_the_page_writes_text_only() -> None:
    """
    The page's script makes no markup out of data, and evaluates nothing.
    """
    script = page.FILES["/page.js"][1].decode()

    assert not re.findall(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|Function\(|srcdoc|setAttribute\(\"on", script
    )


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "evil.test:8787",
        "localhost.evil.test",
        "localhost/#@x",
        "localhost:8787/#@x",
        "localhost@evil.test",
        "127.0.0.1.evil.test",
        "[::1].evil.test",
        "[::ffff:8.8.8.8]",
        "0.0.0.0",
        "10.0.0.1",
        "",
        "localhost:",
        "localhost:99999999",
        "local host",
    ],
)
async def test_a_rebound_name_sees_nothing(path: str, host: str) -> None:
    """
    Under every path of ours, and however it is upgraded, another ``Host`` is a 421.
    """
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    async with gateway() as rig:
        for more in (b"", upgrade, b"Accept: text/event-stream\r\n", b"X-Forwarded-Host: localhost\r\n"):
            head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n".encode()
            statuses, raw, hung_up = await ask(rig.port, head + more + b"\r\n")
            assert (statuses, hung_up) == ([421], True)
            assert b"Access-Control-" not in raw


@pytest.mark.parametrize("path", [*PAGES, "/-/services/t/pause", "/t/x"])
async def test_no_page_of_others_reads_or_changes(path: str) -> None:
    """
    A cross-origin page gets no permission, by no method, and its requests are refused before anything happens.
    """
    foreign = [
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.test"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        {"Origin": "http://localhost:1", "Sec-Fetch-Site": "cross-site"},
    ]
    async with gateway() as rig:
        for method in ("GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE"):
            for headers in foreign:
                asked = headers | AUTH | {"Access-Control-Request-Method": "POST"}
                async with rig.session.request(method, rig.url + path, headers=asked) as answer:
                    pass
                assert answer.status == 403
                assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
        state = rig.state()

    assert (state["paused"], state["admitted"]) == ("", 0)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/-/services/t/pause", AUTH, 405),
        ("GET", "/-/services/t/pause?_method=POST", AUTH, 405),
        ("GET", "/-/services/t/pause", AUTH | {"X-HTTP-Method-Override": "POST"}, 405),
        ("HEAD", "/-/services/t/pause", AUTH, 405),
        ("PUT", "/-/services/t/pause", AUTH, 405),
        ("POST", f"/-/services/t/pause?token={TOKEN}", {}, 401),
        ("POST", "/-/services/t/pause", {"Cookie": f"token={TOKEN}"}, 401),
        ("POST", "/-/services/t/pause", {"Authorization": f"Basic {TOKEN}"}, 401),
        ("POST", "/-/services/t/pause", {"Authorization": f"Bearer {TOKEN} x"}, 401),
        ("POST", "/-/services/t/pause", {"Authorization": f"Bearer {TOKEN[:-1]}"}, 401),
        ("POST", "/-/services/t/pause", {"Authorization": "Bearer é"}, 401),
        ("POST", "/-/services/t/pause", AUTH | {"Origin": "moz-extension://x"}, 403),
        ("POST", "/-/services/t/pause/", AUTH, 404),
        ("POST", "/-/services//pause", AUTH, 404),
        ("POST", "/t/-/services/t/pause", AUTH, 502),
    ],
)
async def test_changes_take_the_one_right_way(method: str, path: str, headers: dict[str, str], status: int) -> None:
    """
    No other method, place of the token, or path changes anything.
    """
    async with gateway() as rig:
        async with rig.session.request(method, rig.url + path, headers=headers) as answer:
            pass
        paused = rig.state()["paused"]

    assert (answer.status, paused) == (status, "")


async def test_a_reason_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An operator's request without its body is ended, and changes nothing.
    """
    monkeypatch.setattr(admin, "_PATIENCE", 0.05)
    async with gateway() as rig:
        head = f"POST /-/services/t/pause HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        statuses, _, _ = await ask(rig.port, head.encode() + b"Content-Length: 9\r\n\r\n{")
        paused = rig.state()["paused"]

    assert (statuses, paused) == ([408], "")


async def test_a_token_ends_with_its_gateway() -> None:
    """
    A token of one gateway is nothing to another.
    """
    async with gateway() as rig:
        rig.gateway.token = "another-gateways-token"
        async with rig.session.post(rig.url + "/-/services/t/pause", headers=AUTH) as answer:
            pass

    assert answer.status == 401


@pytest.mark.parametrize("bounds", [{}, {"keys": [ClientKey(name="a", sha256=digest("k"))]}], ids=["open", "keys"])
async def test_generated_requests_get_what_the_document_says(bounds: dict[str, Any], tmp_path: Path) -> None:
    """
    Schemathesis, with all of its checks, finds nothing in ``/-/openapi.json`` that isn't so.
    """
    services = {"t": {"base_url": "http://127.0.0.1:9"}, "u": {"base_url": "http://127.0.0.1:9"}}
    async with gateway_of(services, bounds=bounds) as rig:
        program = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("schemathesis"),
            "run",
            f"{rig.url}/-/openapi.json",
            "--header",
            f"Authorization: Bearer {TOKEN}",
            "--checks=all",
            "--seed=1",
            "--max-examples=60",
            "--phases=examples,coverage,fuzzing",
            "--warnings=off",
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await program.communicate()

    assert program.returncode == 0, out.decode()
    assert re.search(rb"\d\d+ passed", out), out.decode()


async def test_the_document_has_every_path() -> None:
    """
    What the gateway serves under ``/-/`` is in its document, and nothing else.
    """
    async with gateway() as rig:
        async with rig.session.get(rig.url + "/-/openapi.json") as answer:
            document = await answer.json()
        paths = set(document["paths"])
        marks = {f"/-/errors/{{fingerprint}}/{action}" for action in ("resolve", "mute", "unmute")}
        actions = {"/-/services/{service}/{action}", *marks}
        for path in paths - actions:
            async with rig.session.get(rig.url + path) as each:
                assert each.status == 200
                assert each.content_type in document["paths"][path]["get"]["responses"]["200"]["content"]

    assert paths == {*PAGES, *actions} - {"/-/none"}
