"""
The lease of a response ends with its body: closed, ended, broken, dropped or cancelled.
"""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor
from threading import Semaphore
from typing import TYPE_CHECKING, Any

import pytest

from egressor import Governor
from egressor.transports.httpx import AsyncTransport, Transport
from tests.transports.upstream import FAMILIES, Caller, answer, stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.transports.upstream import Upstream

    Dial = Callable[..., Caller]


def governor(**policy: Any) -> Governor:
    """
    Return a governor of one service, ``api``, on the real clock, without retries.
    """
    return Governor({"api": {"retry": {"attempts": 1}, "breaker": {"consecutive": 1}, "timeout": 20.0, **policy}})


def in_flight(gov: Governor) -> int:
    """
    Return how many leases are held.
    """
    return int(gov.status()["api"]["in_flight"])


def test_the_lease_is_held_while_the_body_streams(dial: Dial, upstream: Upstream) -> None:
    """
    From the headers to the body's end; the chunks come one by one, not when all are there.
    """
    gov = governor()
    gate = Semaphore(0)
    caller = dial(gov, "api")
    response = caller.open(upstream.script("/a", stream(b"one", b"two", gate=gate)))
    chunks = caller.chunks(response)
    held = [in_flight(gov)]
    got = []
    for _ in range(2):
        gate.release()
        got.append(next(chunks))
        held.append(in_flight(gov))
    gate.release()
    got += list(chunks)

    assert (got, held, in_flight(gov)) == ([b"one", b"two"], [1, 1, 1], 0)
    assert gov.status()["api"]["succeeded"] == 1


def test_closing_ends_the_lease(dial: Dial, upstream: Upstream) -> None:
    """
    A caller who has read enough closes the response: a success, and closing again does nothing.
    """
    gov = governor()
    gate = Semaphore(1)
    caller = dial(gov, "api")
    response = caller.open(upstream.script("/a", stream(b"one", b"two", gate=gate)))
    first = next(caller.chunks(response))
    caller.shut(response)
    caller.shut(response)
    gate.release(9)

    state = gov.status()["api"]
    assert (first, state["in_flight"], state["succeeded"], state["failed"]) == (b"one", 0, 1, 0)


@pytest.mark.parametrize("chunks", [(), (b"one",), (b"one", b"two")])
def test_a_body_that_breaks_counts_against_the_breaker(
    dial: Dial, upstream: Upstream, chunks: tuple[bytes, ...]
) -> None:
    """
    The library's own error comes out, after the chunks that had come; the breaker, set to one failure, opens.
    """
    gov = governor()
    caller = dial(gov, "api")
    gate = Semaphore(len(chunks))
    response = caller.open(upstream.script("/a", stream(*chunks, gate=gate, breaks=True)))
    parts = caller.chunks(response)
    got = [next(parts) for _ in chunks]
    gate.release()

    with pytest.raises((caller.library.ReadError, caller.library.RemoteProtocolError)):
        next(parts)
    state = gov.status()["api"]
    assert (tuple(got), state["in_flight"], state["categories"], state["state"]) == (chunks, 0, {"network": 1}, "open")


def test_the_callers_own_exception_passes_unchanged(dial: Dial, upstream: Upstream) -> None:
    """
    What is raised between two chunks is the caller's affair: the lease ends as a success, the exception goes on.
    """
    gov = governor()
    gate = Semaphore(1)
    caller = dial(gov, "api")
    url = upstream.script("/a", stream(b"one", b"two", gate=gate))
    mine = KeyError("mine")

    def read() -> None:
        with caller.client.stream("GET", url) as response:
            for _ in response.iter_raw():
                raise mine

    async def aread() -> None:
        async with caller.client.stream("GET", url) as response:
            async for _ in response.aiter_raw():
                raise mine

    reader: Any = aread if caller.colour == "async" else read
    with pytest.raises(KeyError) as caught:
        caller.run(reader())
    gate.release(9)
    assert (caught.value is mine, in_flight(gov), gov.status()["api"]["succeeded"]) == (True, 0, 1)


@pytest.mark.parametrize("is_begun", [False, True])
def test_a_dropped_response_gives_its_lease_back(dial: Dial, upstream: Upstream, is_begun: bool) -> None:
    """
    Nobody closed it, and nobody holds it: the lease is back, with httpx2 without the garbage collector's help. In
    httpx a response and its stream hold each other.
    """
    gov = governor()
    gate = Semaphore(1)
    caller = dial(gov, "api", Leaky())
    gc.collect()
    gc.disable()
    try:
        response = caller.open(upstream.script("/a", stream(b"one", b"two", gate=gate)))
        chunks = caller.chunks(response)
        if is_begun:
            next(chunks)
        held = in_flight(gov)
        del response, chunks
        caller.run(some_passes() if caller.colour == "async" else None)
        if caller.library.__name__ == "httpx":
            for _ in range(2):
                gc.collect()
                caller.run(some_passes() if caller.colour == "async" else None)
        left = in_flight(gov)
    finally:
        gc.enable()
    gate.release(9)

    assert (held, left, gov.status()["api"]["state"]) == (1, 0, "closed")


async def some_passes() -> None:
    """
    Let the event loop close the asynchronous generators that were dropped.
    """
    for _ in range(9):
        await asyncio.sleep(0)


class Leaky:
    """
    A transport whose responses stream from memory: nothing of a connection is left behind.
    """

    def handle_request(self, request: Any) -> Any:
        """
        Return two chunks.
        """
        library = __import__(type(request).__module__.partition(".")[0])
        return library.Response(200, content=iter([b"one", b"two"]))

    async def handle_async_request(self, request: Any) -> Any:
        """
        Return two chunks.
        """

        async def parts() -> Any:
            yield b"one"
            yield b"two"

        library = __import__(type(request).__module__.partition(".")[0])
        return library.Response(200, content=parts())

    def close(self) -> None:
        """
        Do nothing.
        """

    async def aclose(self) -> None:
        """
        Do nothing.
        """


def test_a_body_that_cant_be_closed_gives_its_lease_back(dial: Dial) -> None:
    """
    The inner stream's close() raises: that is the attempt's outcome, and goes on to whoever closes.
    """
    gov = governor()
    caller = dial(gov, "api", Stuck())
    response = caller.open("http://x.example/")
    reason: Any = caller.library.CloseError

    with pytest.raises(reason, match="stuck"):
        caller.shut(response)
    state = gov.status()["api"]
    assert (state["in_flight"], state["categories"]) == (0, {"network": 1})


class Stuck(Leaky):
    """
    A transport whose streams can't be closed.
    """

    def handle_request(self, request: Any) -> Any:
        """
        Return a response that can't be closed.
        """
        library: Any = __import__(type(request).__module__.partition(".")[0])

        class Stream(library.SyncByteStream):  # type: ignore[misc]
            def close(self) -> None:
                msg = "stuck"
                raise library.CloseError(msg)

        return library.Response(200, stream=Stream())

    async def handle_async_request(self, request: Any) -> Any:
        """
        Return a response that can't be closed.
        """
        library: Any = __import__(type(request).__module__.partition(".")[0])

        class Stream(library.AsyncByteStream):  # type: ignore[misc]
            async def aclose(self) -> None:
                msg = "stuck"
                raise library.CloseError(msg)

        return library.Response(200, stream=Stream())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_concurrency_limit_counts_bodies_that_stream(upstream: Upstream, family: str) -> None:
    """
    Twelve threads, two places: the server never has a third request in hand, and all get their answer.
    """
    gov = governor(max_concurrency=2)
    url = upstream.script("/a", stream(*[b"x"] * 20))
    caller = Caller(family, "sync", Transport(gov, "api"))
    with ThreadPoolExecutor(12) as pool:
        bodies = list(pool.map(lambda _: caller.get(url).content, range(24)))
    caller.close()

    assert bodies == [b"x" * 20] * 24
    assert (upstream.most <= 2, in_flight(gov)) == (True, 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_concurrency_limit_counts_bodies_that_stream_in_tasks(upstream: Upstream, family: str) -> None:
    """
    The same with tasks; one place is held by a body, so that the next request isn't even sent.
    """
    gov = governor(max_concurrency=1)
    gate = Semaphore(0)
    caller = Caller(family, "async", AsyncTransport(gov, "api"))
    url = upstream.script("/a", stream(b"one", gate=gate), answer(200, b"next"))

    async def main() -> tuple[int, bytes]:
        async with caller.client.stream("GET", url) as response:
            second = asyncio.create_task(caller.client.get(url))
            while not any(gov.status()["api"]["waiting"].values()):
                await asyncio.sleep(0)
            sent = len(upstream.received)
            gate.release(2)
            await response.aread()
        return sent, (await second).content

    assert caller.run(main()) == (1, b"next")
    caller.close()
    assert in_flight(gov) == 0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("passes", range(0, 40, 3))
def test_a_cancelled_request_gives_its_lease_back(upstream: Upstream, family: str, passes: int) -> None:
    """
    Cancelled after so many passes of the loop, wherever that is: nothing is held, and the next request goes through.
    """
    gov = governor(max_concurrency=1, breaker={"consecutive": 50})
    caller = Caller(family, "async", AsyncTransport(gov, "api"))
    url = upstream.script("/a", stream(b"one", b"two"))

    async def main() -> tuple[int, bytes]:
        task = asyncio.create_task(caller.client.get(url))
        for _ in range(passes):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
        return in_flight(gov), (await caller.client.get(url)).content

    assert caller.run(main()) == (0, b"onetwo")
    caller.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_task_cancelled_while_it_reads_gives_its_lease_back(upstream: Upstream, family: str) -> None:
    """
    The body hangs, its reader is cancelled: the lease is back, and the breaker has heard nothing of it.
    """
    gov = governor()
    gate = Semaphore(1)
    caller = Caller(family, "async", AsyncTransport(gov, "api"))
    url = upstream.script("/a", stream(b"one", b"two", gate=gate))
    came = asyncio.Event()

    async def read() -> None:
        async with caller.client.stream("GET", url) as response:
            async for _ in response.aiter_raw():
                came.set()

    async def main() -> None:
        task = asyncio.create_task(read())
        await came.wait()
        task.cancel()
        await asyncio.wait([task])

    caller.run(main())
    caller.close()
    gate.release(9)
    state = gov.status()["api"]
    assert (state["in_flight"], state["categories"], state["state"]) == (0, {"cancelled": 1}, "closed")
