"""
Refusals of every kind, as a client's user meets them: of the classes that the API's own answers of that status have,
with the time after which to try again, and not tried again by an SDK's own loop where that is pointless.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from aiohttp import web

from egressor.gateway.app import Gateway
from egressor.gateway.keys import digest
from egressor.policies import ClientKey
from tests.clients.apis import Server
from tests.clients.rows import ROOT, ROWS, Row
from tests.clients.running import run
from tests.gateway.rig import gateway_of, upstream

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

# The class, and a part of the text, for each kind of refusal.
GENAI, TELEGRAM, BINANCE = "google.genai.errors", "telegram.error", "binance.exceptions.BinanceAPIException"
SHAPED = {
    "google_genai": {
        "spent": (f"{GENAI}.ClientError", "429 RESOURCE_EXHAUSTED."),
        "no_key": (f"{GENAI}.ClientError", "401 UNAUTHENTICATED."),
        "paused": (f"{GENAI}.ServerError", "503 UNAVAILABLE."),
    },
    "python_telegram_bot": {
        "spent": (f"{TELEGRAM}.RetryAfter", "Flood control exceeded."),
        "no_key": (f"{TELEGRAM}.InvalidToken", "needs a client's key"),
        "paused": (f"{TELEGRAM}.NetworkError", "paused"),
    },
    "aiogram": {
        "spent": ("aiogram.exceptions.TelegramRetryAfter", "Flood control exceeded"),
        "no_key": ("aiogram.exceptions.TelegramUnauthorizedError", "needs a client's key"),
        "paused": ("aiogram.exceptions.TelegramServerError", "paused"),
    },
    "python_binance": {
        "spent": (BINANCE, "APIError(code=-1003): spent"),
        "no_key": (BINANCE, "APIError(code=-1002): this gateway needs"),
        "paused": (BINANCE, "APIError(code=0): paused"),
    },
    "ccxt": {
        "spent": ("ccxt.base.errors.DDoSProtection", '"code": -1003'),
        "no_key": ("ccxt.base.errors.AuthenticationError", '"code": -1002'),
        "paused": ("ccxt.base.errors.ExchangeNotAvailable", '"code": 0'),
    },
}


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
    The same classes and statuses; Retry-After is there where it helps, and what is final, or an hour off, is asked for
    once.
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
            wanted += [{"name": "spent", "base": f"{rig.url}/spent", "retries": 2}]
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


@pytest.mark.parametrize("name", SHAPED)
async def test_a_refusal_is_in_the_words_of_its_api(name: str) -> None:
    """
    Class, status, code and time are those that the library reads from an answer of the API itself.
    """
    row = next(row for row in ROWS if row.name == name)
    mine = ClientKey(name="ann", sha256=digest("egr_somebody"))
    async with upstream(Server()) as base:
        service = {**ONCE, "base_url": base, "dialect": row.dialect}
        async with (
            gateway_of({"paused": service, "spent": {**service, "limits": ["1/hour"]}}) as rig,
            gateway_of({"no_key": service}, bounds={"keys": (mine,)}) as locked,
            rig.session.get(f"{rig.url}/spent/plain") as first,
        ):
            rig.gov.pause("paused")
            urls = {"spent": rig.url, "no_key": locked.url, "paused": rig.url}
            wanted = [{"name": each, "use": "plain", "base": f"{url}/{each}"} for each, url in urls.items()]
            found = await run(row, {"asked": wanted, "src": str(ROOT / "src")})

    errors = {each: found[each]["plain"]["error"] for each in urls}
    assert (first.status, {each: error["class"] for each, error in errors.items()}) == (
        200,
        {each: kind for each, (kind, _) in SHAPED[name].items()},
    )
    for each, (_, words) in SHAPED[name].items():
        assert words in errors[each]["text"]
    # The others of these libraries show no time.
    assert (int(errors["spent"]["retry_after"] or 0) in HOUR) == (row.dialect != "binance" or name == "python_binance")


async def test_a_gemini_stream_that_breaks() -> None:
    """
    Google's SDK raises what we say about it, and not a fault of the connection.
    """

    async def broken(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"candidates": [{"content": {"parts": [{"text": "he"}]}}]}\r\n\r\n')
        if request.transport is not None:
            request.transport.close()
        return response

    row = next(row for row in ROWS if row.name == "google_genai")
    async with upstream(broken) as base, gateway_of({"g": {**ONCE, "base_url": base, "dialect": "gemini"}}) as rig:
        wanted = [{"name": each, "use": each, "base": f"{rig.url}/g"} for each in ("stream", "async_stream")]
        found = await run(row, {"asked": wanted, "src": str(ROOT / "src")})

    errors = [found[each][each]["error"] for each in ("stream", "async_stream")]
    assert [error["class"] for error in errors] == ["google.genai.errors.ServerError"] * 2
    assert {error["text"][:16] for error in errors} == {"502 UNAVAILABLE."}


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
