"""
Answers on their way back: what can't be passed on, what goes at once, and what goes round.
"""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import ClientSession, web

from egressor.gateway.headers import HOPS
from tests.gateway.rig import LOOP_NAMES, LOOPS, ask_raw, gateway, raw_upstream, upstream
from tests.gateway.test_faults import saying

pytestmark = pytest.mark.anyio
GET = b"GET /t/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
HANDSHAKE = b"GET /t/x HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"


@pytest.fixture(params=LOOPS, ids=LOOP_NAMES)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """
    Run each of these on both event loops.
    """
    return request.param


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 O\x0bK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nX-A: a\x01b\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nX-A: a\x7f\r\nContent-Length: 2\r\n\r\nhi",
    ],
)
async def test_control_characters_are_the_upstreams_fault(head: bytes) -> None:
    """
    What can't be passed on is a 502, and no fault of the gateway.
    """
    async with raw_upstream(saying(head)) as base, gateway(base) as rig:
        raw = await ask_raw(rig.port, GET)
        state = await rig.at_rest()

    assert raw.startswith(b"HTTP/1.1 502")
    assert state["breaker"]["failures"] == 1


async def test_a_head_waits_for_no_body() -> None:
    """
    As long as nothing of the body is there, its head is.
    """
    async with (
        raw_upstream(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", then_hang=True)) as base,
        gateway(base, grace=0.1) as rig,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
        writer.write(GET)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        writer.close()

    assert head.startswith(b"HTTP/1.1 200")


async def test_a_loop_through_a_server_in_front_ends() -> None:
    """
    A request that comes back is refused, however many have passed it on.
    """
    ports: list[int] = []
    rounds: list[str] = []

    async def front(request: web.BaseRequest) -> web.Response:
        rounds.append(request.headers[HOPS])
        headers = {**request.headers, "Host": "localhost"}
        async with (
            ClientSession() as session,
            session.get(f"http://127.0.0.1:{ports[0]}/t/x", headers=headers) as answer,
        ):
            return web.Response(status=answer.status, body=await answer.read())

    async with upstream(front) as base, gateway(base) as rig:
        ports.append(rig.port)
        raw = await ask_raw(rig.port, GET)

    assert raw.startswith(b"HTTP/1.1 508")
    assert len(rounds) == 1


async def test_two_gateways_are_no_loop() -> None:
    """
    The one's mark is nothing to the other, which adds its own.
    """
    seen = []

    async def note(request: web.BaseRequest) -> web.Response:
        seen.append(request.headers[HOPS])
        return web.Response()

    async with upstream(note) as base, gateway(base) as inner, gateway(f"{inner.url}/t") as outer:
        raw = await ask_raw(outer.port, GET)

    assert raw.startswith(b"HTTP/1.1 200")
    assert len(set(seen[0].split(", "))) == 2


async def test_gemini_takes_its_key_where_its_clients_send_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A service of that dialect gets the configured key in ``x-goog-api-key``, and the client's in no other place.
    """
    monkeypatch.setenv("KEY", "AIza-canary")
    seen: list[dict[str, str]] = []

    async def note(request: web.BaseRequest) -> web.Response:
        seen.append({name.lower(): value for name, value in request.headers.items()})
        return web.Response()

    async with upstream(note) as base, gateway(base, dialect="gemini", api_key={"env": "KEY"}) as rig:
        await ask_raw(rig.port, GET.replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer mine\r\n\r\n"))

    assert seen[0].get("x-goog-api-key") == "AIza-canary"
    assert "authorization" not in seen[0]


async def test_nonsense_behind_a_request_for_another_protocol() -> None:
    """
    It is answered at once, although the request before it was fine as far as it went.
    """
    request = HANDSHAKE + b"Content-Length: 5\r\n\r\n"
    async with gateway() as rig:
        raw = await ask_raw(rig.port, request + b"hellojunk junk\r\n\r\n")

    assert b" 400 " in raw.split(b"\r\n")[0]
