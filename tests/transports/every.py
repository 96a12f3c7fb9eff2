"""
Each client that has a transport, as one function: it sends a request through a governor, and returns the body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import httpx2

from egressor.transports.httpx import AsyncTransport, Transport
from tests.transports.sessions import awaiting, blocking, fetch

if TYPE_CHECKING:
    from egressor import Governor

__all__ = ["CLIENTS", "EVERY", "Ask"]

Ask = Callable[..., bytes]


def _blocking(library: Any) -> Ask:
    def ask(gov: Governor, url: str, method: str = "GET", **options: Any) -> bytes:
        with library.Client(transport=Transport(gov, "api")) as client:
            return bytes(client.request(method, url, **options).content)

    return ask


def _awaiting(library: Any) -> Ask:
    def ask(gov: Governor, url: str, method: str = "GET", **options: Any) -> bytes:
        async def run() -> bytes:
            async with library.AsyncClient(transport=AsyncTransport(gov, "api")) as client:
                return bytes((await client.request(method, url, **options)).content)

        return asyncio.run(run())

    return ask


def _requests(gov: Governor, url: str, method: str = "GET", **options: Any) -> bytes:
    with blocking(gov) as session:
        return session.request(method, url, **options).content


def _streaming_requests(gov: Governor, url: str, method: str = "GET", **options: Any) -> bytes:
    with blocking(gov) as session, session.request(method, url, stream=True, **options) as response:
        return b"".join(response.iter_content(16))


def _aiohttp(gov: Governor, url: str, method: str = "GET", **options: Any) -> bytes:
    async def run() -> bytes:
        async with awaiting(gov) as client:
            return (await fetch(client, method, url, **options))[1]

    return asyncio.run(run())


CLIENTS: dict[str, Ask] = {
    "httpx2": _blocking(httpx2),
    "httpx": _blocking(httpx),
    "httpx2-async": _awaiting(httpx2),
    "httpx-async": _awaiting(httpx),
    "requests": _requests,
    "aiohttp": _aiohttp,
}
EVERY = {**CLIENTS, "requests-stream": _streaming_requests}
