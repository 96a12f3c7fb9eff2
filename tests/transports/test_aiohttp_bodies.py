"""
Bodies behind the middleware: which hold a lease and how it ends, and the whole or long ones of failing answers.
"""

from __future__ import annotations

import asyncio
import gc
import gzip
from threading import Semaphore
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.transports.sessions import awaiting, fetch, governor, state, strict, until
from tests.transports.upstream import answer, stream

if TYPE_CHECKING:
    from tests.transports.upstream import Upstream

pytestmark = pytest.mark.anyio


async def test_the_lease_is_held_while_the_body_streams(upstream: Upstream) -> None:
    """
    From the headers to the body's end; the chunks come one by one, not when all are there.
    """
    gov = strict()
    gate = Semaphore(0)
    url = upstream.script("/a", stream(b"one", b"two", gate=gate))
    async with awaiting(gov) as client, client.get(url) as found:
        held, got = [state(gov)["in_flight"]], []
        for _ in range(2):
            gate.release()
            got.append(await found.content.readany())
            held.append(state(gov)["in_flight"])
        gate.release()
        rest = await found.content.read()
        over = state(gov)["in_flight"]

    assert (got, rest, held, over, state(gov)["succeeded"]) == ([b"one", b"two"], b"", [1, 1, 1], 0, 1)


@pytest.mark.parametrize("way", ["close", "release", "async with", "session"])
async def test_leaving_early_ends_the_lease(upstream: Upstream, way: str) -> None:
    """
    A caller who has read enough closes or releases the response, before or after the session: a success, once.
    """
    gov = strict()
    gate = Semaphore(1)
    async with awaiting(gov) as client:
        found = await client.get(upstream.script("/a", stream(b"one", b"two", gate=gate)))
        held = state(gov)["in_flight"]
        first = await found.content.readany()
        if way == "async with":
            async with found:
                pass
        elif way != "session":
            getattr(found, way)()
            getattr(found, way)()
        left = state(gov)["in_flight"]
    if way == "session":
        found.close()
    gate.release(9)

    assert (first, held, left) == (b"one", 1, int(way == "session"))
    assert (state(gov)["in_flight"], state(gov)["succeeded"], state(gov)["failed"]) == (0, 1, 0)


async def test_a_dropped_response_gives_its_lease_back(upstream: Upstream) -> None:
    """
    Nobody closed it, and nobody holds it: the lease is back when the collector has found it, or its body has come.
    """
    gov = strict()
    gate = Semaphore(0)
    async with awaiting(gov) as client:
        found = await client.get(upstream.script("/a", stream(b"one", gate=gate)))
        held = state(gov)["in_flight"]
        del found
        gc.collect()
        gate.release(9)
        await until(lambda: not state(gov)["in_flight"])

    assert (held, state(gov)["state"]) == (1, "closed")


@pytest.mark.usefixtures("dropped_sessions")
async def test_a_response_that_outlives_its_session_gives_its_lease_back(upstream: Upstream) -> None:
    """
    Its session is closed, and then nobody holds it: the collector finds it, and its lease ends as dropped.
    """
    gov = strict()
    gate = Semaphore(0)
    async with awaiting(gov) as client:
        found = await client.get(upstream.script("/a", stream(b"one", gate=gate)))
    held = state(gov)["in_flight"]
    del found

    def is_over() -> bool:
        gc.collect()
        return not state(gov)["in_flight"]

    await until(is_over)
    gate.release(9)

    assert (held, state(gov)["categories"], state(gov)["succeeded"]) == (1, {"cancelled": 1}, 0)


async def test_a_finaliser_takes_no_lock() -> None:
    """
    A response that is dropped leaves word only: its lease is settled by whoever comes next.
    """
    from egressor.transports.aiohttp import _held

    told: list[str] = []

    class Response:
        def __del__(self) -> None:
            told.append("aiohttp's own")

    class Lease:
        def leave(self) -> None:
            told.append("leave")

    made: Any = Response()
    made._egressor = Lease()
    made.__class__ = _held(Response)
    del made
    gc.collect()

    assert told == ["leave", "aiohttp's own"]


@pytest.mark.parametrize("chunks", [(), (b"one",), (b"one", b"two")])
async def test_a_body_that_breaks_counts_against_the_breaker(upstream: Upstream, chunks: tuple[bytes, ...]) -> None:
    """
    The library's own error comes out, after the chunks that had come; the breaker, set to one failure, opens.
    """
    gov = strict()
    gate = Semaphore(len(chunks))
    got = b""
    async with awaiting(gov) as client:
        found = await client.get(upstream.script("/a", stream(*chunks, gate=gate, breaks=True)))
        while len(got) < sum(map(len, chunks)):
            got += await found.content.readany()
        gate.release()
        with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
            await found.read()

    assert (got, state(gov)["in_flight"], state(gov)["state"]) == (b"".join(chunks), 0, "open")
    assert state(gov)["categories"] == {"network": 1}


async def test_a_task_cancelled_while_it_reads_gives_its_lease_back(upstream: Upstream) -> None:
    """
    The body hangs, its reader is cancelled: the lease is back, and the breaker has heard nothing of it.
    """
    gov = strict()
    gate = Semaphore(1)
    url = upstream.script("/a", stream(b"one", b"two", gate=gate))
    came = asyncio.Event()

    async def read(client: Any) -> None:
        async with client.get(url) as found:
            async for _ in found.content.iter_any():
                came.set()

    async with awaiting(gov) as client:
        task = asyncio.create_task(read(client))
        await came.wait()
        task.cancel()
        await asyncio.wait([task])
        got = (state(gov)["in_flight"], state(gov)["categories"], state(gov)["state"])
    gate.release(9)

    assert got == (0, {"cancelled": 1}, "closed")


@pytest.mark.parametrize("passes", range(0, 40, 3))
async def test_a_cancelled_request_gives_its_lease_back(upstream: Upstream, passes: int) -> None:
    """
    Cancelled after so many passes of the loop, wherever that is: nothing is held, and the next request goes through.
    """
    gov = strict(max_concurrency=1, breaker={"consecutive": 50})
    url = upstream.script("/a", stream(b"one", b"two"))
    async with awaiting(gov) as client:
        task = asyncio.create_task(fetch(client, "GET", url))
        for _ in range(passes):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        held = state(gov)["in_flight"]
        again = await fetch(client, "GET", url)

    assert (held, again) == (0, (200, b"onetwo"))


async def test_a_concurrency_limit_counts_bodies_that_stream(upstream: Upstream) -> None:
    """
    One place is held by a body, so that the next request isn't even sent; it goes when the body has ended.
    """
    gov = strict(max_concurrency=1)
    gate = Semaphore(0)
    url = upstream.script("/a", stream(b"one", gate=gate), answer(200, b"next"))
    async with awaiting(gov) as client:
        async with client.get(url) as found:
            second = asyncio.create_task(fetch(client, "GET", url))
            await until(lambda: any(state(gov)["waiting"].values()))
            sent = len(upstream.received)
            gate.release(2)
            await found.read()
        got = await second

    assert (sent, got, state(gov)["in_flight"]) == (1, (200, b"next"), 0)


async def test_a_crowd_leaves_nothing_behind(upstream: Upstream) -> None:
    """
    Fifty tasks, two places, every second one leaves early: the server never has a third in hand, and all is given back.
    """
    gov = strict(max_concurrency=2)
    url = upstream.script("/a", stream(*[b"x"] * 20))

    async def some(client: Any, number: int) -> bytes:
        async with client.get(url) as found:
            return b"x" * 20 if number % 2 else await found.read()

    async with awaiting(gov) as client:
        bodies = await asyncio.gather(*(some(client, number) for number in range(50)))

    assert bodies == [b"x" * 20] * 50
    assert (state(gov)["in_flight"], sum(state(gov)["waiting"].values())) == (0, 0)
    # The server may still be sending what its reader has left.
    assert state(gov)["admitted"] == 50


async def test_a_websocket_holds_its_lease_until_it_is_closed() -> None:
    """
    The handshake is the call, and the connection its body.
    """
    from aiohttp import web

    from tests.gateway.rig import upstream as serving

    async def echo(request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    gov = strict(max_concurrency=1)
    async with serving(echo) as url, awaiting(gov) as client:
        async with client.ws_connect(url) as socket:
            await socket.send_str("hello")
            said = await socket.receive_str()
            held = state(gov)["in_flight"]
        left = state(gov)["in_flight"]

    assert (said, held, left) == ("hello", 1, 0)


async def test_the_last_answer_comes_out_when_attempts_are_used_up(upstream: Upstream) -> None:
    """
    The caller sees the server's own failure, whole, readable in each way.
    """
    gov = governor()
    packed = gzip.compress(b'{"error": "down"}')
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    url = upstream.script("/a", answer(500, packed, headers))
    async with awaiting(gov) as client:
        async with client.get(url) as found:
            whole = await found.json()
        async with client.get(url) as found:
            pieces = b"".join([each async for each in found.content.iter_chunked(4)])
        with pytest.raises(aiohttp.ClientResponseError) as caught:
            await client.get(url, raise_for_status=True)

    assert (whole, pieces, caught.value.status) == ({"error": "down"}, b'{"error": "down"}', 500)
    assert (len(upstream.received), state(gov)["failed"]) == (9, 9)


async def test_a_packed_body_is_read_for_the_verdict(upstream: Upstream) -> None:
    """
    A spent quota is seen through gzip, so that the 429 is not retried.
    """
    packed = gzip.compress(b'{"error": {"code": "insufficient_quota"}}')
    url = upstream.script("/a", answer(429, packed, {"content-encoding": "gzip"}))
    async with awaiting(governor()) as client:
        status, _ = await fetch(client, "GET", url)

    assert (status, len(upstream.received)) == (429, 1)


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_long_failure_is_retried_and_streams_to_its_end(upstream: Upstream, is_chunked: bool) -> None:
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
    async with awaiting(governor(), said={"connector": aiohttp.TCPConnector(limit=1)}) as client:
        first = await fetch(client, "GET", url)
        (await client.get(url)).close()
        last = await fetch(client, "GET", upstream.script("/b", answer()))

    assert (first, last) == ((500, page), (200, b""))
    assert len([each for each in upstream.received if each.path == "/a"]) == 6


async def test_an_interrupted_retry_frees_the_connection(upstream: Upstream) -> None:
    """
    Cancelled in the wait for a retry: the long failure before it, which nobody gets, gives its connection back.
    """
    gov = strict(breaker={"consecutive": 50}, retry={"base": 60.0, "cap": 60.0, "jitter": False})
    url = upstream.script("/a", answer(500, bytes(1_000_000)), answer())
    async with awaiting(gov, said={"connector": aiohttp.TCPConnector(limit=1)}) as client:
        task = asyncio.create_task(fetch(client, "GET", url))
        await until(lambda: bool(state(gov)["retried"]))
        task.cancel()
        await asyncio.wait([task])
        assert (await fetch(client, "GET", url))[0] == 200


async def test_a_failure_whose_body_hangs_frees_the_connection(upstream: Upstream) -> None:
    """
    The attempt's time passes while its body is read for the verdict: the connection, here the only one, is closed.
    """

    def hanging(handler: Any) -> None:
        handler.head(500, {"content-length": "10"})
        handler.wfile.flush()
        gate.acquire()
        handler.close_connection = True

    gate = Semaphore(0)
    gov = strict(timeout=0.5, breaker={"enabled": False})
    async with awaiting(gov, said={"connector": aiohttp.TCPConnector(limit=1)}) as client:
        with pytest.raises(aiohttp.ServerTimeoutError):
            await fetch(client, "GET", upstream.script("/a", hanging))
        gate.release()
        assert (await fetch(client, "GET", upstream.script("/b", answer())))[0] == 200
    assert state(gov)["in_flight"] == 0


async def test_a_failure_whose_body_breaks_still_has_its_status(upstream: Upstream) -> None:
    """
    The verdict needs the status alone; whoever reads the body gets the library's error.
    """

    def torn(handler: Any) -> None:
        handler.head(404, {"content-length": "10"})
        handler.wfile.write(b"first")
        handler.close_connection = True

    gov = governor()
    async with awaiting(gov) as client, client.get(upstream.script("/a", torn)) as found:
        with pytest.raises(aiohttp.ClientPayloadError):
            await found.read()
        assert found.status == 404
    assert state(gov)["categories"] == {"not_found": 1}
