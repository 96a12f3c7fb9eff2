"""
Connections that come, or have no request, while the gateway drains: they end at once, and not with the grace.

Where such a connection stands in its life is up to chance on a real port; here each stage is made by hand, on real
sockets and the real listener, while another call is in flight.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from egressor.gateway.connections import Listener
from egressor.policies import Gateway as Settings
from tests.gateway.rig import LOOP_NAMES, LOOPS, until

pytestmark = pytest.mark.anyio
GET = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"
# Seconds: nobody's patience here, so that what ends with it is a failure.
GRACE = 60.0


@pytest.fixture(params=LOOPS, ids=LOOP_NAMES)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """
    Run each of these on both event loops: they differ in when a connection begins.
    """
    return request.param


def pair() -> tuple[socket.socket, socket.socket]:
    """
    Return the two ends of a connection over TCP: the listener's, which was accepted and no more, and the client's.
    """
    with socket.create_server(("127.0.0.1", 0)) as port:
        client = socket.create_connection(port.getsockname())
        accepted, _ = port.accept()
    client.setblocking(False)
    accepted.setblocking(False)
    return accepted, client


async def begin(listener: Listener, accepted: socket.socket) -> None:
    """
    Begin a connection as the port does, and let it come to where it waits for a request.
    """
    _, connection = await asyncio.get_running_loop().connect_accepted_socket(listener, accepted)
    await until(lambda: connection._waiter is not None)


async def read(client: socket.socket) -> bytes:
    """
    Return what comes until the end of the connection, within 10 s.
    """
    received = b""
    async with asyncio.timeout(10):
        while piece := await asyncio.get_running_loop().sock_recv(client, 65_536):
            received += piece
    return received


@asynccontextmanager
async def busy() -> AsyncIterator[tuple[Listener, Callable[[], Awaitable[bytes]]]]:
    """
    Run a listener with a call in flight, and hand out both: the call's answer comes when it is asked for.
    """
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def handle(request: web.BaseRequest) -> web.Response:
        if request.path == "/slow":
            arrived.set()
            await go_on.wait()
        return web.Response(text="whole")

    async def answer() -> bytes:
        go_on.set()
        return await read(client)

    listener = Listener(handle, settings=Settings(), logger=logging.getLogger("test"))
    accepted, client = pair()
    with client:
        await begin(listener, accepted)
        client.send(GET.replace(b"/x", b"/slow"))
        await asyncio.wait_for(arrived.wait(), 10)
        try:
            yield listener, answer
        finally:
            await listener.shutdown(1)


async def accepted_before(listener: Listener, accepted: socket.socket, client: socket.socket) -> asyncio.Task[None]:
    """
    Let a connection begin when the end has begun: it was accepted just before the port closed.
    """
    draining = asyncio.create_task(listener.drain(GRACE))
    await until(lambda: listener.is_ending)
    await asyncio.get_running_loop().connect_accepted_socket(listener, accepted)
    return draining


async def just_begun(listener: Listener, accepted: socket.socket, client: socket.socket) -> asyncio.Task[None]:
    """
    Let the end begin before the new connection has had a turn to wait for its first request.
    """
    transport, _ = await asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, accepted)

    async def end() -> None:
        connection = listener()
        transport.set_protocol(connection)
        connection.connection_made(transport)
        await listener.drain(GRACE)

    return asyncio.create_task(end())


async def without_a_request(listener: Listener, accepted: socket.socket, client: socket.socket) -> asyncio.Task[None]:
    """
    Let the end find a connection that waits for its first request.
    """
    await begin(listener, accepted)
    return asyncio.create_task(listener.drain(GRACE))


async def with_half_a_head(listener: Listener, accepted: socket.socket, client: socket.socket) -> asyncio.Task[None]:
    """
    Let the end find a connection whose first request is on its way.
    """
    await begin(listener, accepted)
    client.send(GET[:20])
    (connection,) = (each for each in listener.connections if each._alarm is None and not each._request_count)
    await until(lambda: connection._alarm is not None)
    return asyncio.create_task(listener.drain(GRACE))


async def after_an_answer(listener: Listener, accepted: socket.socket, client: socket.socket) -> asyncio.Task[None]:
    """
    Let the end find a connection that is kept alive after an answer.
    """
    await begin(listener, accepted)
    client.send(GET)
    received = b""
    async with asyncio.timeout(10):
        while not received.endswith(b"whole"):
            received += await asyncio.get_running_loop().sock_recv(client, 65_536)
    await until(lambda: any(each._request_count == 1 and each._waiter is not None for each in listener.connections))
    return asyncio.create_task(listener.drain(GRACE))


@pytest.mark.parametrize("stage", [accepted_before, just_begun, without_a_request, with_half_a_head, after_an_answer])
async def test_a_connection_without_a_request_ends_at_once(stage: Callable[..., Awaitable[asyncio.Task[None]]]) -> None:
    """
    Regression: a connection that came just before the port closed hung until the grace was over. Wherever it stands,
    its client reads the end while a call is in flight, and that call is answered whole.
    """
    accepted, client = pair()
    async with busy() as (listener, answer):
        with client:
            draining = await stage(listener, accepted, client)
            last = await read(client)
        was_draining = not draining.done()
        whole = await answer()
        await asyncio.wait_for(draining, 10)

    assert (last, was_draining) == (b"", True)
    assert whole.startswith(b"HTTP/1.1 200 ")
    assert whole.endswith(b"whole")
