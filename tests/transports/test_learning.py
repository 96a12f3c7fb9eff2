"""
What a real server's headers teach, through each client's transport and through the gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from threading import Semaphore
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientSession, web

from egressor import Governor, WaitTooLong
from egressor.testing import FakeClock
from egressor.transports.aiohttp import middleware
from egressor.transports.requests import Adapter
from tests.gateway.rig import gateway
from tests.gateway.rig import upstream as serving
from tests.transports.upstream import Caller, answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.transports.upstream import Handler, Upstream

    Dial = Callable[..., Caller]

POLICY: dict[str, Any] = {"limits": ["1000/minute"], "max_wait": 0.0, "retry": {"attempts": 1}}


def says(rest: int, resets: int = 60) -> dict[str, str]:
    """
    Headers that say that so much is left of a hundred.
    """
    return {"ratelimit-limit": "100", "ratelimit-remaining": str(rest), "ratelimit-reset": str(resets)}


def governor(**policy: Any) -> tuple[Governor, FakeClock]:
    """
    Return a governor of ``api`` that refuses what would have to wait.
    """
    clock = FakeClock()
    return Governor({"api": {**POLICY, **policy}}, clock=clock, dice=lambda: 0.0), clock


def left(gov: Governor, service: str = "api") -> list[int]:
    """
    What is known to be left.
    """
    return [each["left"] for each in gov.status()[service]["learned"]]


def test_a_server_that_says_less_is_obeyed_at_once_and_more_slowly(dial: Dial, upstream: Upstream) -> None:
    """
    A11, through the transport: of our thousand the server says 50 are left, then 90; then none, and nothing more is
    sent before its reset.
    """
    gov, clock = governor()
    caller = dial(gov, "api")
    url = upstream.script("/", *(answer(headers=says(rest)) for rest in (80, 50, 90, 90, 90, 0)))
    seen = []
    for _ in range(6):
        caller.get(url)
        seen += left(gov)

    assert seen == [80, 50, 54, 57, 60, 0]
    for _ in range(5):
        with pytest.raises(WaitTooLong) as refused:
            caller.get(url)
        assert refused.value.retry_after == 60.0
    assert len(upstream.received) == 6
    clock.advance(60)
    assert caller.get(url).status_code == 200


@pytest.mark.parametrize("status", [200, 404, 500])
def test_every_answer_teaches(dial: Dial, upstream: Upstream, status: int) -> None:
    """
    A failure's headers are as true as a success's.
    """
    gov, _ = governor()
    dial(gov, "api").get(upstream.script("/", answer(status, b"x", says(7))))

    assert left(gov) == [7]


def test_what_is_turned_off_is_not_read(dial: Dial, upstream: Upstream) -> None:
    """
    With ``learn = "off"`` headers say nothing.
    """
    gov, _ = governor(learn="off")
    dial(gov, "api").get(upstream.script("/", answer(headers=says(0))))

    assert left(gov) == []


def streaming(headers: Mapping[str, str], gate: Semaphore) -> Callable[[Handler], None]:
    """
    Send a head with *headers*, and the body when *gate* lets go.
    """

    def behave(handler: Handler) -> None:
        handler.head(200, {"transfer-encoding": "chunked", **headers})
        gate.acquire()
        handler.chunk(b"x")
        handler.wfile.write(b"0\r\n\r\n")

    return behave


@pytest.mark.parametrize("straight", [True, False])
def test_a_stream_teaches_while_its_body_has_yet_to_come(dial: Dial, upstream: Upstream, *, straight: bool) -> None:
    """
    What the headers say holds at once, and once: when the body has ended it is not said again; the stream's own request
    is in what is left already.
    """
    gate = Semaphore(0)
    gov, clock = governor()
    if not straight:
        gov.tap(lambda _event: None)
    caller = dial(gov, "api")
    url = upstream.script("/", streaming(says(2), gate), answer(headers=says(1)), answer(headers=says(0)))
    response = caller.open(url)

    assert left(gov) == [2]
    options = {"extensions": {"egressor": {"priority": "critical"}}}
    assert caller.get(url, **options).status_code == 200
    assert caller.get(url, **options).status_code == 200
    assert left(gov) == [0]
    gate.release()
    assert b"".join(caller.chunks(response)) == b"x"
    assert left(gov) == [0]
    assert gov.gate("api")._standing.learned.heard == 0
    clock.advance(60)
    assert left(gov) == []


def test_requests_learns(upstream: Upstream) -> None:
    """
    The adapter of requests reads the same headers.
    """
    import requests

    gov, _ = governor()
    with requests.Session() as session:
        session.mount("http://", Adapter(gov, "api"))
        session.get(upstream.script("/", answer(headers=says(0))), timeout=5)
        with pytest.raises(WaitTooLong):
            session.get(upstream.url, timeout=5)


def test_aiohttp_learns(upstream: Upstream) -> None:
    """
    The middleware of aiohttp reads the same headers.
    """
    gov, _ = governor()
    url = upstream.script("/", answer(headers=says(0)))

    async def main() -> None:
        async with ClientSession(middlewares=(middleware(gov, "api"),)) as session:
            async with session.get(url) as response:
                await response.read()
            with pytest.raises(WaitTooLong):
                await session.get(url)

    asyncio.run(main())


def test_the_gateway_learns() -> None:
    """
    A11, through the gateway: the server says less, then more, then nothing, and the client is told for how long.
    """
    script = iter([80, 50, 90, 0])
    received = []

    async def serve(_: web.BaseRequest) -> web.Response:
        received.append(rest := next(script))
        return web.Response(text="ok", headers=says(rest))

    async def main() -> None:
        async with serving(serve) as url, gateway(url, **{**POLICY, "retry": {"attempts": 1}}) as rig:
            seen = []
            for _ in range(4):
                async with rig.session.get(f"{rig.url}/t/x") as response:
                    await response.read()
                await rig.at_rest()
                seen += left(rig.gov, "t")
            async with rig.session.get(f"{rig.url}/t/x") as response:
                refusal = await response.json()

            assert seen == [80, 50, 54, 0]
            assert (response.status, refusal["reason"]) == (429, "wait_too_long")
            assert 55 <= int(response.headers["Retry-After"]) <= 62
            assert len(received) == 4

    asyncio.run(main())
