"""
The bodies of failing answers: read as far as the verdict needs, and handed out byte by byte.
"""

from __future__ import annotations

import asyncio
import gzip
import sys
from threading import Semaphore
from typing import TYPE_CHECKING, Any

import pytest

from egressor import Governor
from egressor.testing import FakeClock
from egressor.transports.httpx import AsyncTransport
from tests.transports.upstream import FAMILIES, Caller, answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.transports.upstream import Upstream

    Dial = Callable[..., Caller]

EASY: dict[str, Any] = {"retry": {"attempts": 3, "jitter": False}, "breaker": {"consecutive": 50}, "timeout": 5.0}


def governor(**policy: Any) -> Governor:
    """
    Return a governor of one service, ``api``, on a clock that jumps over every wait.
    """
    return Governor({"api": {**EASY, **policy}}, clock=FakeClock())


def test_the_last_answer_comes_out_when_attempts_are_used_up(dial: Dial, upstream: Upstream) -> None:
    """
    The caller sees the server's own failure, whole, encoded as it was, readable in each way.
    """
    gov = governor()
    packed = gzip.compress(b'{"error": "down"}')
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    url = upstream.script("/a", answer(500, packed, headers))
    caller = dial(gov, "api")

    assert caller.get(url).json() == {"error": "down"}
    assert b"".join(caller.chunks(caller.open(url))) == packed
    assert len(upstream.received) == 6
    assert gov.status()["api"]["failed"] == 6


def test_a_packed_body_is_read_for_the_verdict(dial: Dial, upstream: Upstream) -> None:
    """
    A spent quota is seen through gzip, so that the 429 is not retried.
    """
    packed = gzip.compress(b'{"error": {"code": "insufficient_quota"}}')
    url = upstream.script("/a", answer(429, packed, {"content-encoding": "gzip"}))

    assert dial(governor(), "api").get(url).json()["error"]["code"] == "insufficient_quota"
    assert len(upstream.received) == 1


@pytest.mark.parametrize("packed", [b"not gzip at all", gzip.compress(bytes(10_000_000))[:5_000]])
def test_a_body_that_lies_about_its_encoding_does_no_harm(dial: Dial, upstream: Upstream, packed: bytes) -> None:
    """
    Rubbish, or a bomb, instead of gzip: the raw bytes come out, and the status decides.
    """
    url = upstream.script("/a", answer(400, packed, {"content-encoding": "gzip"}))
    caller = dial(governor(), "api")

    assert b"".join(caller.chunks(caller.open(url))) == packed


def test_a_long_failure_is_retried_and_streams_to_its_end(dial: Dial, upstream: Upstream) -> None:
    """
    Of a failure's body 64 KiB are read, the rest streams to whoever gets it; for a retry its connection, here the only
    one, is freed.
    """
    page = bytes(range(256)) * 4_000
    url = upstream.script("/a", answer(500, page))
    caller = dial(governor(), "api", Single())

    assert caller.get(url).content == page
    caller.shut(caller.open(url))
    assert len(upstream.received) == 6
    assert caller.get(upstream.script("/b", answer())).status_code == 200


def test_a_failure_that_never_ends_is_handed_out(dial: Dial, upstream: Upstream) -> None:
    """
    After 64 KiB nobody waits for more: the server goes on only when the caller has the answer.
    """
    gate = Semaphore(0)

    def endless(handler: Any) -> None:
        handler.head(404, {"transfer-encoding": "chunked"})
        handler.chunk(bytes(70_000))
        gate.acquire()
        handler.chunk(b"end")
        handler.wfile.write(b"0\r\n\r\n")

    caller = dial(governor(), "api")
    response = caller.open(upstream.script("/a", endless))
    gate.release()

    assert b"".join(caller.chunks(response)) == bytes(70_000) + b"end"


@pytest.mark.parametrize("family", FAMILIES)
def test_an_interrupted_retry_frees_the_connection(upstream: Upstream, family: str) -> None:
    """
    Cancelled in the wait for a retry: the long failure before it, which nobody gets, gives its connection back.
    """
    gov = Governor({"api": {**EASY, "retry": {"base": 60.0, "cap": 60.0, "jitter": False}}})
    caller = Caller(family, "async", AsyncTransport(gov, "api", Single()))
    url = upstream.script("/a", answer(500, bytes(100_000)), answer())

    async def main() -> int:
        task = asyncio.create_task(caller.client.get(url))
        while not gov.status()["api"]["retried"]:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        response = await caller.client.get(url)
        return int(response.status_code)

    assert caller.run(main()) == 200
    caller.close()


class Single:
    """
    A transport, of either family and colour, with one connection, for which nobody waits.
    """

    def __init__(self) -> None:
        self._inner: Any = None

    def _made(self, request: Any, kind: str) -> Any:
        library = sys.modules[type(request).__module__.partition(".")[0]]
        request.extensions["timeout"] = {**request.extensions["timeout"], "pool": 0.1}
        self._inner = self._inner or getattr(library, kind)(limits=library.Limits(max_connections=1))
        return self._inner

    def handle_request(self, request: Any) -> Any:
        """
        Send.
        """
        return self._made(request, "HTTPTransport").handle_request(request)

    async def handle_async_request(self, request: Any) -> Any:
        """
        Send.
        """
        return await self._made(request, "AsyncHTTPTransport").handle_async_request(request)

    def close(self) -> None:
        """
        Close.
        """
        self._inner.close()

    async def aclose(self) -> None:
        """
        Close.
        """
        await self._inner.aclose()


def test_a_failure_whose_body_breaks_still_has_its_status(dial: Dial, upstream: Upstream) -> None:
    """
    The verdict needs the status alone; whoever reads the body gets what came, then the library's error.
    """

    def torn(handler: Any) -> None:
        handler.head(404, {"content-length": "10"})
        handler.wfile.write(b"first")
        handler.close_connection = True

    gov = governor()
    caller = dial(gov, "api")
    response = caller.open(upstream.script("/a", torn))
    chunks = caller.chunks(response)

    assert (response.status_code, next(chunks)) == (404, b"first")
    with pytest.raises(caller.library.RemoteProtocolError):
        next(chunks)
    assert gov.status()["api"]["categories"] == {"not_found": 1}
