"""
What may have been executed is not sent twice (C01), and what has begun to come is not asked for again (C09).
"""

from __future__ import annotations

from threading import Semaphore
from typing import TYPE_CHECKING

import aiohttp
import httpx
import httpx2
import pytest
import requests

from egressor import Governor
from tests.transports.every import CLIENTS, EVERY
from tests.transports.sessions import governor, state
from tests.transports.upstream import answer, hang, reset, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.transports.every import Ask
    from tests.transports.upstream import Upstream

OWN = (httpx.HTTPError, httpx2.HTTPError, requests.RequestException, aiohttp.ClientError)
DOUBT = "egressor: api: not tried again: it may have been executed"


@pytest.fixture(params=CLIENTS)
def ask(request: pytest.FixtureRequest) -> Ask:
    """
    A client.
    """
    return CLIENTS[request.param]


def test_a_post_that_is_reset_arrives_once(ask: Ask, upstream: Upstream) -> None:
    """
    The connection is reset after the request was read: the server has seen one, and the error says what is not known.
    """
    gov = governor()
    url = upstream.script("/order", reset)

    with pytest.raises(OWN) as raised:
        ask(gov, url, "POST")

    assert [each.method for each in upstream.received] == ["POST"]
    assert raised.value.__notes__ == [DOUBT]
    assert (state(gov)["failed"], state(gov)["retried"], state(gov)["in_flight"]) == (1, 0, 0)


def test_a_post_with_a_key_is_sent_again(ask: Ask, upstream: Upstream) -> None:
    """
    Where the server can know the second request by its key, it is sent again, with the same key.
    """
    gov = governor()
    url = upstream.script("/order", reset, answer(200, b"done"))

    assert ask(gov, url, "POST", headers={"Idempotency-Key": "k1"}) == b"done"
    assert [each.headers["idempotency-key"] for each in upstream.received] == ["k1", "k1"]


@pytest.mark.parametrize("way", EVERY)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_stream_that_breaks_is_not_asked_for_again(upstream: Upstream, way: str, method: str) -> None:
    """
    After the first chunk the library's own error comes out, and the attempt counts as failed.
    """
    gov = governor()
    url = upstream.script("/stream", stream(b"data: one\n\n", breaks=True))

    with pytest.raises(OWN):
        EVERY[way](gov, url, method)

    assert len(upstream.received) == 1
    assert (state(gov)["failed"], state(gov)["retried"], state(gov)["in_flight"]) == (1, 0, 0)


async def _parts() -> AsyncIterator[bytes]:
    yield b"part0"
    yield b"part1"


class _Parts:
    """
    Pieces that come once, in a shape of their own.
    """

    def __init__(self) -> None:
        self._rest = iter([b"part0", b"part1"])

    def __aiter__(self) -> _Parts:
        return self

    async def __anext__(self) -> bytes:
        for part in self._rest:
            return part
        raise StopAsyncIteration


@pytest.mark.parametrize("body", [_parts, _Parts])
@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("client", ["httpx-async", "httpx2-async", "aiohttp"])
def test_a_body_that_is_gone_is_not_sent_again_after_a_time_out(
    client: str, method: str, body: Callable[[], AsyncIterator[bytes]], upstream: Upstream
) -> None:
    """
    The policy's time-out ends the attempt from outside: a second one sent nothing where the pieces had been, and the
    caller was told that all was well.
    """
    gate = Semaphore(0)
    gov = Governor({"api": {"retry": {"attempts": 3, "jitter": False}, "timeout": 0.4}})
    url = upstream.script("/object", hang(gate), answer(200, b"done"))
    name = "data" if client == "aiohttp" else "content"

    with pytest.raises(OWN):
        CLIENTS[client](gov, url, method, headers={"Idempotency-Key": "k"}, **{name: body()})
    gate.release()

    assert [each.body for each in upstream.received] in ([b"part0part1"], [])
    assert (state(gov)["failed"], state(gov)["retried"], state(gov)["in_flight"]) == (1, 0, 0)
