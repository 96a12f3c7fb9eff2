"""
Bodies that aiohttp's own total cuts: which are a time-out of the service, and which were only read late.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from threading import Semaphore
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.transports.sessions import awaiting, state, strict, until
from tests.transports.upstream import stream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from egressor import Governor
    from tests.transports.upstream import Upstream

    Reader = Callable[[aiohttp.ClientResponse], Awaitable[object]]

pytestmark = pytest.mark.anyio
SHORT: Any = {"timeout": aiohttp.ClientTimeout(total=0.8)}


@pytest.fixture
def hung(upstream: Upstream) -> Iterator[tuple[str, Semaphore]]:
    """
    The URL of a body whose first chunk comes, and whose second waits for the semaphore.
    """
    gate = Semaphore(1)
    yield upstream.script("/a", stream(b"one", b"two", gate=gate)), gate
    gate.release(9)


def ended(gov: Governor) -> tuple[int, int, dict[str, int], str]:
    """
    Return what has become of the only call.
    """
    now = state(gov)
    return now["in_flight"], now["succeeded"], now["categories"], now["state"]


def is_over(found: Any) -> bool:
    """
    Whether the response's total has passed, which nothing public tells.
    """
    return bool(found._egressor._timer._cancelled)


async def whole(found: aiohttp.ClientResponse) -> None:
    """
    Read the body, which closes the response when that fails.
    """
    await found.read()


async def parts(found: aiohttp.ClientResponse) -> None:
    """
    Read part by part, and leave with what was raised.
    """
    async for _ in found.content.iter_any():
        pass


async def exactly(found: aiohttp.ClientResponse) -> None:
    """
    Read more than has come.
    """
    await found.content.readexactly(6)


async def in_silence(found: aiohttp.ClientResponse) -> None:
    """
    Read part by part, and leave as if nothing was.
    """
    with suppress(TimeoutError):
        await parts(found)


@pytest.mark.parametrize("read", [whole, parts, exactly, in_silence])
async def test_a_body_cut_by_the_total_counts_against_the_breaker(hung: tuple[str, Semaphore], read: Reader) -> None:
    """
    However it was read: the reader gets aiohttp's own exception, and the breaker, set to one failure, opens.
    """
    gov = strict()
    raised: list[type[Exception]] = []
    async with awaiting(gov, said=SHORT) as client:
        try:
            async with client.get(hung[0]) as found:
                await read(found)
        except TimeoutError as error:
            raised.append(type(error))

    assert (raised, ended(gov)) == ([TimeoutError] * (read is not in_silence), (0, 0, {"timeout": 1}, "open"))


async def leave(found: aiohttp.ClientResponse) -> None:
    """
    Read nothing of what has come, and leave when the total has passed.
    """
    await until(lambda: is_over(found))


async def come_late(found: aiohttp.ClientResponse) -> None:
    """
    Read when the total has passed, which aiohttp refuses, though a part is there.
    """
    await leave(found)
    with suppress(TimeoutError):
        await found.read()


async def cut_it_oneself(found: aiohttp.ClientResponse) -> None:
    """
    Wait for the second chunk for less time than the total allows.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await found.content.readexactly(6)


@pytest.mark.parametrize("read", [leave, come_late, cut_it_oneself])
async def test_a_reader_who_is_late_or_leaves_says_nothing_of_the_service(
    hung: tuple[str, Semaphore], read: Reader
) -> None:
    """
    The total passed while a part waited for its reader, or had not passed: the lease is back, the breaker is closed.
    """
    gov = strict()
    async with awaiting(gov, said=SHORT) as client, client.get(hung[0]) as found:
        await until(lambda: bool(found.content._buffer))
        await read(found)

    assert ended(gov) == (0, 1, {}, "closed")


async def test_a_body_that_comes_to_its_end_after_the_total_is_a_success(hung: tuple[str, Semaphore]) -> None:
    """
    Nobody waited for it when the total passed, and the service has sent all of it.
    """
    gov = strict()
    async with awaiting(gov, said=SHORT) as client:
        found = await client.get(hung[0])
        await found.content.readany()
        await until(lambda: is_over(found))
        hung[1].release(9)
        await until(found.content.is_eof)

    assert ended(gov) == (0, 1, {}, "closed")


async def test_a_websocket_may_outlive_the_total() -> None:
    """
    The total is the handshake's; the connection was no body that it cut.
    """
    from aiohttp import web

    from tests.gateway.rig import upstream as serving

    async def echo(request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    gov = strict()
    async with serving(echo) as url, awaiting(gov, said=SHORT) as client, client.ws_connect(url) as socket:
        await until(lambda: is_over(socket._response))
        await socket.send_str("hello")
        said = await socket.receive_str()

    assert (said, ended(gov)) == ("hello", (0, 1, {}, "closed"))
