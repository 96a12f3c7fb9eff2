"""
The gateway's own answers: refusals, pages, and what operators may do.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from aiohttp import web

from egressor import ConfigError
from egressor.policies import ClientKey, from_services
from tests.gateway.rig import TOKEN, Rig, ask_raw, gateway, gateway_of, until, upstream

pytestmark = pytest.mark.anyio
AUTH = {"Authorization": f"Bearer {TOKEN}"}


async def fine(request: web.BaseRequest) -> web.Response:
    """
    Answer well.
    """
    return web.Response(text="fine")


@pytest.mark.parametrize(
    ("method", "target", "headers", "status", "reason"),
    [
        ("GET", "/", {}, 404, "unknown_service"),
        ("GET", "/nope/x", {}, 404, "unknown_service"),
        ("GET", "/bare/x", {}, 404, "no_base_url"),
        ("GET", "/t/../bare", {}, 400, "bad_path"),
        ("GET", "/t/x", {"Host": "evil.test"}, 421, "wrong_host"),
        ("GET", "/-/", {"Host": "evil.test"}, 421, "wrong_host"),
        ("POST", "/t/x", {"Sec-Fetch-Site": "cross-site"}, 403, "cross_site"),
        ("GET", "/t/x", {"Origin": "https://evil.test"}, 403, "cross_site"),
        ("GET", "/t/x", {"Egressor-Priority": "urgent"}, 400, "bad_header"),
        ("GET", "/?x=1", {}, 404, "unknown_service"),
        ("TRACE", "/t/x", {}, 405, "method"),
        ("CONNECT", "a.example:443", {"Host": "a.example:443"}, 405, "method"),
        ("CONNECT", "/t/x", {}, 405, "method"),
        ("GET", "/-/status.json?x=1", {}, 400, "bad_query"),
        ("GET", "/-/openapi.json?x=1", {}, 400, "bad_query"),
        ("GET", "/-/nothing", {}, 404, "not_found"),
        ("POST", "/-/status.json", {}, 405, "method"),
    ],
)
async def test_refusals(method: str, target: str, headers: dict[str, str], status: int, reason: str) -> None:
    """
    A request that is none of ours ends in a problem that says why, and in no attempt.
    """
    async with gateway_of({"t": {"base_url": "http://127.0.0.1:9"}, "bare": {}}) as rig:
        lines = {"Host": "localhost", "Connection": "close"} | headers
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        raw = await ask_raw(rig.port, head.encode() + b"\r\n")
        admitted = rig.state()["admitted"]

    assert raw.split(b" ", 2)[1] == str(status).encode()
    assert f'"reason": "{reason}"'.encode() in raw
    assert b"application/problem+json" in raw
    assert (b"\r\nAllow: G" in raw) == (status == 405)
    assert admitted == 0


@pytest.mark.parametrize("keys", [(), (ClientKey(name="a", sha256="0" * 64),)])
async def test_who_names_no_service_is_shown_the_way(keys: tuple[ClientKey, ...]) -> None:
    """
    To the status page, with or without a client's key; the services are named only where nobody needs one.
    """
    services = {"t": {"base_url": "http://127.0.0.1:9"}}
    async with gateway_of(services, bounds={"keys": keys}) as rig, rig.session.get(rig.url + "/") as answer:
        document = await answer.json()

    names = "" if keys else ": t"
    assert (answer.status, document["detail"]) == (
        404,
        f"a path begins with a service's name{names}. The status page is at /-/",
    )


async def test_unknown_service_names_the_known_ones() -> None:
    """
    Whoever mistypes a service learns which there are, by name only.
    """
    services = {name: {"base_url": "http://127.0.0.1:9"} for name in ("plain", "other")}
    async with gateway_of(services) as rig, rig.session.get(rig.url + "/plian/x") as answer:
        document = await answer.json()

    assert "one of: other, plain (did you mean 'plain'?). The" in document["detail"]
    assert "127.0.0.1" not in document["detail"]


async def test_a_wait_that_does_not_fit() -> None:
    """
    A refusal is a 429 with the seconds after which the same request is granted, and nothing is sent.
    """
    async with upstream(fine) as base, gateway(base, limits=["1/30 seconds"], max_wait=1, dialect="openai") as rig:
        async with rig.session.get(rig.url + "/t/x") as first:
            pass
        async with rig.session.get(rig.url + "/t/x") as second:
            document: dict[str, Any] = await second.json()

    assert (first.status, second.status, document["reason"]) == (200, 429, "wait_too_long")
    assert 25 < document["retry_after"] <= int(second.headers["Retry-After"]) <= 32
    assert document["error"]["code"] == "wait_too_long"
    assert (second.headers["Egressor-Attempts"], second.headers.get("x-should-retry")) == ("0", None)


async def test_waiting_is_told() -> None:
    """
    A call that waited for its turn says how long.
    """
    async with upstream(fine) as base, gateway(base, limits=["5/second burst 1"]) as rig:
        waits = []
        for _ in range(2):
            async with rig.session.get(rig.url + "/t/x") as answer:
                waits.append(int(answer.headers["Egressor-Wait-Ms"]))

    assert waits[0] < 100 < waits[1] < 1000


async def test_priority_goes_first() -> None:
    """
    Among those that wait, a high priority is served before a low one that came earlier.
    """
    order: list[str] = []

    async def note(request: web.BaseRequest) -> web.Response:
        order.append(request.raw_path)
        return web.Response()

    async with upstream(note) as base, gateway(base, limits=["4/second burst 1"]) as rig:

        async def ask(path: str, priority: str) -> None:
            async with rig.session.get(rig.url + path, headers={"Egressor-Priority": priority}):
                pass

        async def queued(number: int) -> None:
            await until(lambda: sum(rig.state()["waiting"].values()) >= number)

        async with asyncio.TaskGroup() as group:
            await ask("/t/first", "low")
            group.create_task(ask("/t/low", "low"))
            await queued(1)
            group.create_task(ask("/t/high", "high"))
            await queued(2)

    assert order == ["/first", "/high", "/low"]


async def test_pages_load_nothing_foreign() -> None:
    """
    The page comes with a strict policy, and holds no script or style of its own.
    """
    async with gateway() as rig:
        async with rig.session.get(rig.url + "/-/") as answer:
            html = await answer.text()
        for name in ("page.js", "page.css"):
            async with rig.session.get(f"{rig.url}/-/{name}") as part:
                assert part.status == 200
                assert "Content-Security-Policy" in part.headers

    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not any(sign in html for sign in ("<style", " style=", " onclick=", "javascript:", "http://", "https://"))


async def test_status_twin() -> None:
    """
    The JSON twin holds what the page shows.
    """
    async with upstream(fine) as base, gateway(base, limits=["7/hour"]) as rig:
        async with rig.session.get(rig.url + "/t/x"):
            pass
        await rig.at_rest()
        async with rig.session.get(rig.url + "/-/status.json") as answer:
            document = await answer.json()
        for path, expected in (("/-/healthz", 200), ("/-/readyz", 200)):
            async with rig.session.get(rig.url + path) as probe:
                assert probe.status == expected

    service = document["services"]["t"]
    assert (service["state"], service["succeeded"], service["in_flight"]) == ("closed", 1, 0)
    assert service["limits"][0]["left"] == 6
    assert document["uptime_s"] > 0
    assert document["version"]


@pytest.mark.parametrize("action", ["pause", "resume", "reset-breaker", "lift-ban"])
@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", AUTH, 405),
        ("POST", {}, 401),
        ("POST", {"Authorization": "Bearer wrong"}, 401),
        ("POST", {"Authorization": "Bearer "}, 401),
        ("POST", {"Authorization": TOKEN}, 401),
        ("POST", AUTH | {"Origin": "https://evil.test"}, 403),
        ("POST", AUTH | {"Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", AUTH, 200),
    ],
)
async def test_operators(
    action: str, method: str, headers: dict[str, str], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Changing something takes POST, the token, and no foreign page; what was done is in the audit log.
    """
    caplog.set_level(logging.INFO, "egressor.audit")
    async with gateway() as rig:
        async with rig.session.request(method, f"{rig.url}/-/services/t/{action}", headers=headers) as answer:
            pass
        state = rig.state()["state"]

    assert answer.status == status
    assert state == ("paused" if status == 200 and action == "pause" else "closed")
    assert (f"operator: {action} t" in caplog.text) == (status == 200)
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("nope/pause", b"", 404),
        ("llm_api/pause", b"", 404),
        ("t/explode", b"", 404),
        ("t/pause", b"[", 400),
        ("t/pause", b'{"reason": 3}', 400),
        ("t/pause", b'{"reason": "x", "seconds": 5}', 400),
        ("t/resume", b'{"by": "me"}', 400),
        ("t/reset-breaker", b'{"seconds": 5}', 400),
        ("t/lift-ban", b'{"reason": "x", "": null}', 400),
        ("t/pause", b'{"reason": "a\\nb"}', 400),
        ("t/pause", b'{"reason": "' + b"x" * 5000 + b'"}', 413),
        ("t/pause", b'{"reason": "maintenance"}', 200),
    ],
)
async def test_operators_input(path: str, body: bytes, status: int) -> None:
    """
    An unknown service or action, or a reason that is none, changes nothing.
    """
    async with gateway() as rig:
        async with rig.session.post(f"{rig.url}/-/services/{path}", headers=AUTH, data=body) as answer:
            pass
        paused = rig.state()["paused"]
        services = set(rig.gov.status())

    assert answer.status == status
    assert paused == ("maintenance" if status == 200 else "")
    assert services == {"t"}


async def test_a_field_that_there_is_not_is_named() -> None:
    """
    A pause for some seconds was a pause without an end: what is asked for and can't be is said, with what can.
    """
    async with gateway() as rig:
        body = b'{"reason": "x", "seconds": 5}'
        async with rig.session.post(f"{rig.url}/-/services/t/pause", headers=AUTH, data=body) as answer:
            problem = await answer.json()

    assert (problem["reason"], problem["detail"]) == ("bad_body", "no field 'seconds': there is 'reason'")


async def test_reload_is_all_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A configuration whose key is missing changes nothing; a good one holds from the next request on.
    """
    monkeypatch.delenv("NO_KEY", raising=False)
    async with upstream(fine) as base, gateway("http://127.0.0.1:9") as rig:
        with pytest.raises(ConfigError):
            rig.gateway.reload(from_services({"n": {"base_url": base, "api_key": {"env": "NO_KEY"}}}))
        before = set(rig.gov.status())
        rig.gateway.reload(from_services({"n": {"base_url": base}}))
        async with rig.session.get(rig.url + "/n/x") as answer:
            pass
        async with rig.session.get(rig.url + "/t/x") as gone:
            pass

    assert (before, set(rig.gov.status())) == ({"t"}, {"n"})
    assert (answer.status, gone.status) == (200, 404)


async def test_draining() -> None:
    """
    At the end what is in flight finishes, and nothing new is accepted.
    """
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: web.BaseRequest) -> web.Response:
        arrived.set()
        await go_on.wait()
        return web.Response(text="whole")

    async with upstream(slow) as base:
        async with gateway(base) as rig:
            pending = asyncio.create_task(ask_raw(rig.port, b"GET /t/x HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            await asyncio.wait_for(arrived.wait(), 10)
            asyncio.get_running_loop().call_later(0.2, go_on.set)
        raw = await pending
        with pytest.raises(OSError, match="Connect call failed"):
            await asyncio.open_connection("127.0.0.1", rig.port)

    assert raw.startswith(b"HTTP/1.1 200")
    assert raw.endswith(b"whole")


async def test_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """
    A bug is a 500 that says so; the log names its place once, and shows nothing of the request.
    """

    def broken(*_: object) -> None:
        message = "sk-canary"
        raise RuntimeError(message)

    async def ask(rig: Rig) -> tuple[int, str]:
        async with rig.session.get(rig.url + "/t/x") as answer:
            return answer.status, await answer.text()

    async with gateway() as rig:
        monkeypatch.setattr(rig.gov, "route", broken)
        answers = [await ask(rig) for _ in range(3)]

    assert {status for status, _ in answers} == {500}
    text = "".join(text for _, text in answers)
    assert caplog.text.count("t: a request failed by a fault of ours: RuntimeError at") == 1
    assert "sk-canary" not in text + caplog.text
