"""
Real servers for the gateway's tests, on spare ports of this machine: upstreams that obey or misbehave, and a gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, NamedTuple

from aiohttp import ClientSession, DummyCookieJar, web

from egressor import Governor
from egressor.gateway.app import Gateway
from egressor.gateway.forward import AiohttpUpstream
from egressor.gateway.serving import listening
from egressor.policies import Gateway as GatewaySettings
from egressor.policies import from_services

TOKEN = "an operator's token".replace(" ", "-")
ONCE = {"attempts": 1}
FAST = {"attempts": 3, "base": 0.01, "cap": 0.02, "budget": False}

# What `egressor serve` runs on, where it is installed, and what it runs on else.
LOOPS = [("asyncio", {"use_uvloop": fast}) for fast in ([False, True] if find_spec("uvloop") else [False])]
LOOP_NAMES = ["asyncio", "uvloop"][: len(LOOPS)]

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Rig(NamedTuple):
    """
    A gateway under test.
    """

    url: str
    gov: Governor
    gateway: Gateway
    session: ClientSession

    @property
    def port(self) -> int:
        """
        Where it listens.
        """
        return int(self.url.rpartition(":")[2])

    def state(self, service: str = "t") -> dict[str, Any]:
        """
        The status of one service.
        """
        return self.gov.status()[service]

    async def at_rest(self, service: str = "t") -> dict[str, Any]:
        """
        The status of one service, once nothing is in flight.
        """
        await until(lambda: not self.state(service)["in_flight"])
        return self.state(service)


async def until(condition: Callable[[], bool]) -> None:
    """
    Wait, at most 60 s, until *condition* holds: what the kernel tells of connections comes when it comes.
    """
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)  # real time: the kernel's


@asynccontextmanager
async def upstream(handler: Handler) -> AsyncIterator[str]:
    """
    Serve *handler*, and hand out the URL.
    """
    server = web.Server(handler, access_log=None, auto_decompress=False)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw_upstream(talk: Talk) -> AsyncIterator[str]:
    """
    Let *talk* answer each connection after its request's head has been read, and hand out the URL.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@asynccontextmanager
async def gateway(
    base_url: str = "http://127.0.0.1:9",
    *,
    grace: float = 5.0,
    bounds: Mapping[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Rig]:
    """
    Run a gateway whose service ``t`` is at *base_url*, with no retry unless *settings* say so.
    """
    services = {"t": {"base_url": base_url, "retry": ONCE, **settings}}
    async with gateway_of(services, grace=grace, bounds=bounds) as rig:
        yield rig


@asynccontextmanager
async def gateway_of(
    services: Mapping[str, Mapping[str, Any]],
    *,
    grace: float = 5.0,
    bounds: Mapping[str, Any] | None = None,
    store: str = "memory:",
) -> AsyncIterator[Rig]:
    """
    Run a gateway with *services* on *store*, and what *bounds* say of the section ``[gateway]``.
    """
    config = from_services(services, store=store)
    if bounds:
        config = replace(config, gateway=GatewaySettings(**bounds))
    sender = AiohttpUpstream(config.gateway)
    try:
        with Governor(config=config) as gov:
            mine = Gateway(gov, sender, token=TOKEN)
            async with (
                listening(mine, port=0, grace=grace) as url,
                ClientSession(auto_decompress=False, cookie_jar=DummyCookieJar()) as session,
            ):
                yield Rig(url, gov, mine, session)
    finally:
        await sender.aclose()


async def ask_raw(port: int, request: bytes) -> bytes:
    """
    Send *request* as it is, and return everything that comes until the end of the connection.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(60):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
