"""
Bodies behind the adapter: which hold a lease and how it ends, and the whole or long ones of failing answers.
"""

from __future__ import annotations

import gc
import gzip
import io
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Semaphore
from typing import TYPE_CHECKING, Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

from egressor._core.model import Verdict
from egressor.transports.raw import hold
from tests.transports.sessions import blocking, governor, state, strict
from tests.transports.upstream import answer, lie, stream

if TYPE_CHECKING:
    from tests.transports.upstream import Behaviour, Upstream


pytestmark = pytest.mark.usefixtures("dropped_sessions")


def test_the_lease_is_held_while_the_body_streams(upstream: Upstream) -> None:
    """
    From the headers to the body's end; the chunks come one by one, not when all are there.
    """
    gov = strict()
    gate = Semaphore(0)
    found = blocking(gov).get(upstream.script("/a", stream(b"one", b"two", gate=gate)), stream=True)
    chunks = found.iter_content(None)
    held, got = [state(gov)["in_flight"]], []
    for _ in range(2):
        gate.release()
        got.append(next(chunks))
        held.append(state(gov)["in_flight"])
    gate.release()
    got += list(chunks)

    assert (got, held, state(gov)["in_flight"]) == ([b"one", b"two"], [1, 1, 1], 0)
    assert (state(gov)["succeeded"], isinstance(found.raw, HTTPResponse)) == (1, True)


READERS: dict[str, Any] = {
    "content": lambda found: found.content,
    "iter_content": lambda found: b"".join(found.iter_content(2)),
    "raw.read": lambda found: found.raw.read(),
    "raw.read(n)": lambda found: b"".join(iter(lambda: found.raw.read(2), b"")),
    "raw.read1": lambda found: b"".join(iter(lambda: found.raw.read1(2), b"")),
    "raw.stream": lambda found: b"".join(found.raw.stream(2)),
    "raw": lambda found: b"".join(found.raw),
    "raw.data": lambda found: found.raw.data,
    "BufferedReader": lambda found: io.BufferedReader(found.raw, 2).read(),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("behaviour", [answer(200, b"onetwo"), stream(b"one", b"two")], ids=["length", "chunked"])
def test_each_way_to_read_ends_the_lease(upstream: Upstream, read: Any, behaviour: Behaviour) -> None:
    """
    Whichever of the library's ways a body is read in, at its end the lease is back, before anybody closes it.
    """
    gov = strict()
    found = blocking(gov).get(upstream.script("/a", behaviour), stream=True)
    held = state(gov)["in_flight"]

    assert read(found) == b"onetwo"
    assert (held, state(gov)["in_flight"], state(gov)["succeeded"]) == (1, 0, 1)


def test_closing_ends_the_lease(upstream: Upstream) -> None:
    """
    A caller who has read enough closes the response: a success, and closing again does nothing.
    """
    gov = strict()
    gate = Semaphore(1)
    found = blocking(gov).get(upstream.script("/a", stream(b"one", b"two", gate=gate)), stream=True)
    first = next(found.iter_content(None))
    found.close()
    found.close()
    gate.release(9)

    assert (first, state(gov)["in_flight"], state(gov)["succeeded"], state(gov)["failed"]) == (b"one", 0, 1, 0)


WHOLE = answer(200, b"onetwo")


@pytest.mark.parametrize("is_begun", [False, True])
@pytest.mark.parametrize("behaviour", [WHOLE, stream(b"one", b"two")], ids=["length", "chunked"])
def test_a_dropped_response_gives_its_lease_back(upstream: Upstream, behaviour: Behaviour, is_begun: bool) -> None:
    """
    Nobody closed it, and nobody holds it: the lease is back, without the garbage collector's help.
    """
    gov = strict()
    client = blocking(gov)
    gc.collect()
    gc.disable()
    try:
        found = client.get(upstream.script("/a", behaviour), stream=True)
        chunks = found.iter_content(2)
        if is_begun:
            next(chunks)
        held = state(gov)["in_flight"]
        del found, chunks
        left = state(gov)["in_flight"]
    finally:
        gc.enable()

    assert (held, left, state(gov)["state"]) == (1, 0, "closed")
    # urllib3 closes a chunked body with the generator that reads it.
    is_closed = is_begun and behaviour is not WHOLE
    assert (state(gov)["succeeded"], state(gov)["categories"]) == ((1, {}) if is_closed else (0, {"cancelled": 1}))


class Lease:
    """
    A lease that tells how it was ended.
    """

    def __init__(self) -> None:
        self.told: list[str] = []

    def drop(self, verdict: Any) -> None:
        """
        End soon.
        """
        self.told.append("drop")

    def finish(self, error: Any, verdict: Any) -> None:
        """
        End now, under the store's lock.
        """
        self.told.append("finish")


@pytest.mark.parametrize("is_begun", [False, True])
def test_a_finaliser_takes_no_lock(upstream: Upstream, is_begun: bool) -> None:
    """
    The collector may run inside the store: what it drops, a response or the reader of its chunks, leaves word only.
    """
    lease: Any = Lease()
    found = requests.get(upstream.script("/a", stream(b"one", b"two")), stream=True, timeout=5)
    hold(found.raw, lease, Verdict(category=None))
    chunks = found.iter_content(2)
    if is_begun:
        next(chunks)
    del chunks, found
    gc.collect()

    assert lease.told == ["drop"]


def test_a_body_that_cant_be_unpacked_gives_its_lease_back(upstream: Upstream) -> None:
    """
    Its reader gets the library's own error; the connection, on which the rest still comes, is nobody's lease.
    """
    gov = strict()
    url = upstream.script("/a", answer(200, b"rubbish" * 20_000, {"content-encoding": "gzip"}))
    found = blocking(gov).get(url, stream=True)

    with pytest.raises(requests.exceptions.ContentDecodingError):
        next(found.iter_content(10))
    assert (state(gov)["in_flight"], state(gov)["succeeded"]) == (0, 0)
    found.close()


def test_a_body_that_cant_be_closed_gives_its_lease_back() -> None:
    """
    The close of what lies beneath raises: that is the attempt's outcome, and goes on to whoever closes.
    """

    class Stuck(io.BytesIO):
        def close(self) -> None:
            if sys.exc_info()[0] is None and not self.closed:
                super().close()
                msg = "stuck"
                raise OSError(msg)

    class Local(HTTPAdapter):
        def send(self, request: Any, *args: Any, **options: Any) -> Any:
            raw = HTTPResponse(Stuck(b"onetwo"), preload_content=False, status=200)
            return self.build_response(request, raw)

    gov = strict()
    found = blocking(gov, inner=Local()).get("http://x.example/", stream=True)

    with pytest.raises(OSError, match="stuck"):
        found.close()
    assert (state(gov)["in_flight"], state(gov)["succeeded"]) == (0, 0)


@pytest.mark.parametrize("chunks", [(), (b"one",), (b"one", b"two")])
def test_a_body_that_breaks_counts_against_the_breaker(upstream: Upstream, chunks: tuple[bytes, ...]) -> None:
    """
    The library's own error comes out, after the chunks that had come; the breaker, set to one failure, opens.
    """
    gov = strict()
    gate = Semaphore(len(chunks))
    url = upstream.script("/a", stream(*chunks, gate=gate, breaks=True))
    found = blocking(gov).get(url, stream=True)
    got_parts = found.iter_content(None)
    got = [next(got_parts) for _ in chunks]
    gate.release()

    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        next(got_parts)
    assert (tuple(got), state(gov)["in_flight"], state(gov)["state"]) == (chunks, 0, "open")
    assert state(gov)["categories"] == {"network": 1}


def test_a_body_that_is_too_short_counts_against_the_breaker(upstream: Upstream) -> None:
    """
    Of a body with a length a part came: the lease is back, and it was no success.
    """
    gov = strict()
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        blocking(gov).get(upstream.script("/a", lie))

    assert (state(gov)["in_flight"], state(gov)["categories"]) == (0, {"network": 1})


def test_a_concurrency_limit_counts_bodies_that_stream(upstream: Upstream) -> None:
    """
    Twelve threads, two places: the server never has a third request in hand, and all get their answer.
    """
    gov = strict(max_concurrency=2)
    url = upstream.script("/a", stream(*[b"x"] * 20))
    client = blocking(gov)
    with ThreadPoolExecutor(12) as pool:
        bodies = list(pool.map(lambda _: client.get(url).content, range(24)))

    assert bodies == [b"x" * 20] * 24
    assert (upstream.most <= 2, state(gov)["in_flight"]) == (True, 0)


def test_a_crowd_leaves_nothing_behind(upstream: Upstream) -> None:
    """
    Eight threads, two places: bodies read, closed early, dropped, broken and failing; afterwards nothing is held.
    """
    gov = strict(max_concurrency=2, breaker={"enabled": False})
    urls = [
        upstream.script("/whole", answer(200, b"x" * 20)),
        upstream.script("/chunks", stream(*[b"x"] * 20)),
        upstream.script("/broken", stream(b"x", b"x", breaks=True)),
        upstream.script("/failing", answer(500, bytes(100_000))),
    ]
    client = blocking(gov)

    def use(number: int) -> None:
        found = client.get(urls[number % 4], stream=True)
        with suppress(requests.RequestException):
            match number // 4 % 3:
                case 0:
                    assert len(found.content) in {20, 100_000}
                case 1:
                    found.close()
                case _:
                    next(found.iter_content(1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(96)))
    gc.collect()

    assert (state(gov)["in_flight"], sum(state(gov)["waiting"].values()), state(gov)["admitted"]) == (0, 0, 96)


def test_the_last_answer_comes_out_when_attempts_are_used_up(upstream: Upstream) -> None:
    """
    The caller sees the server's own failure, whole, packed as it was, readable in each way.
    """
    gov = governor()
    packed = gzip.compress(b'{"error": "down"}')
    headers = {"content-type": "application/json", "content-encoding": "gzip", "set-cookie": "c=1"}
    url = upstream.script("/a", answer(500, packed, headers))
    client = blocking(gov)
    found = client.get(url)

    assert (found.json(), dict(found.cookies)) == ({"error": "down"}, {"c": "1"})
    assert client.get(url, stream=True).raw.read() == packed
    assert (len(upstream.received), state(gov)["failed"]) == (6, 6)


def test_a_packed_body_is_read_for_the_verdict(upstream: Upstream) -> None:
    """
    A spent quota is seen through gzip, so that the 429 is not retried.
    """
    packed = gzip.compress(b'{"error": {"code": "insufficient_quota"}}')
    url = upstream.script("/a", answer(429, packed, {"content-encoding": "gzip"}))

    assert blocking(governor()).get(url).json()["error"]["code"] == "insufficient_quota"
    assert len(upstream.received) == 1


@pytest.mark.parametrize(
    "packed", [b"not gzip at all", gzip.compress(bytes(10_000_000))[:5_000]], ids=["rubbish", "bomb"]
)
def test_a_body_that_lies_about_its_encoding_does_no_harm(upstream: Upstream, packed: bytes) -> None:
    """
    Rubbish, or a bomb, instead of gzip: the raw bytes come out, and the status decides.
    """
    url = upstream.script("/a", answer(400, packed, {"content-encoding": "gzip"}))

    assert blocking(governor()).get(url, stream=True).raw.read() == packed


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_long_failure_is_retried_and_streams_to_its_end(upstream: Upstream, is_chunked: bool) -> None:
    """
    Of a failure's body 64 KiB are read, the rest streams to whoever gets it; for a retry its connection, here the only
    one, is freed.
    """
    page = bytes(range(256)) * 4_000

    def chunked(handler: Any) -> None:
        handler.head(500, {"transfer-encoding": "chunked"})
        for at in range(0, len(page), 10_000):
            handler.chunk(page[at : at + 10_000])
        handler.wfile.write(b"0\r\n\r\n")

    url = upstream.script("/a", chunked if is_chunked else answer(500, page))
    client = blocking(governor(), inner=HTTPAdapter(pool_maxsize=1, pool_block=True))

    assert client.get(url).content == page
    client.get(url, stream=True).close()
    assert len(upstream.received) == 6
    assert client.get(upstream.script("/b", answer())).status_code == 200


def test_a_failure_whose_body_breaks_still_has_its_status(upstream: Upstream) -> None:
    """
    The verdict needs the status alone; whoever reads the body gets what came, then the library's error.
    """

    def torn(handler: Any) -> None:
        handler.head(404, {"content-length": "10"})
        handler.wfile.write(b"first")
        handler.close_connection = True

    gov = governor()
    found = blocking(gov).get(upstream.script("/a", torn), stream=True)
    chunks = found.iter_content(5)

    assert (found.status_code, next(chunks)) == (404, b"first")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        next(chunks)
    assert state(gov)["categories"] == {"not_found": 1}
