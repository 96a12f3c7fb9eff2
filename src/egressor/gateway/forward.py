"""
The upstream half, behind one small protocol, so that another client can take aiohttp's place.

Whatever `send` is given goes out as it is: no redirect is followed, no cookie kept, nothing compressed, unpacked or
retried behind the governor's back, and no proxy taken from the environment.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from aiohttp import ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from multidict import CIMultiDict
from yarl import URL

__all__ = ["AiohttpUpstream", "Answer", "Upstream"]

_KEEP_ALIVE = 15.0
_BUFFER = 1 << 16
_FIELD = 1 << 16
_SILENT = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class Answer(Protocol):
    """
    An upstream's answer, its body still on the way.
    """

    @property
    def status(self) -> int:
        """
        The HTTP status.
        """

    @property
    def reason(self) -> str:
        """
        The words beside the status.
        """

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """
        The headers as they came.
        """

    async def read(self) -> bytes:
        """
        Return what has arrived of the body, as soon as anything has; nothing at its end.

        Raises:
            Exception: The body broke.
        """

    def close(self) -> None:
        """
        Stop, and drop the connection if the body is not at its end.
        """


class Upstream(Protocol):
    """
    Whoever sends requests.
    """

    async def send(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | AsyncIterator[bytes] | None,
        *,
        silence: float,
    ) -> Answer:
        """
        Send a request, and return when the answer's headers are there.

        Args:
            method: The method.
            url: The whole URL, escaped already.
            headers: Its headers, ``Content-Length`` included where the length is known; without ``Host``.
            body: Its body.
            silence: Seconds that may pass between two pieces of the answer's body. The time until its headers is
                the caller's to bound.

        Raises:
            Exception: There is no answer.
        """

    async def aclose(self) -> None:
        """
        Close all connections.
        """


class AiohttpUpstream:
    """
    Upstreams through aiohttp's connection pool. It must be made inside of an event loop.
    """

    def __init__(self) -> None:
        # How many requests are under way is the governor's decision, not the pool's.
        self._session = ClientSession(
            connector=TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE),
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            raise_for_status=False,
            trust_env=False,
            skip_auto_headers=_SILENT,
            timeout=ClientTimeout(total=None),
            read_bufsize=_BUFFER,
            max_line_size=_FIELD,
            max_field_size=_FIELD,
        )
        # aiohttp would send idempotent requests a second time by itself, past every limit.
        self._session._retry_connection = False  # noqa: SLF001 - there is no public switch

    async def send(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | AsyncIterator[bytes] | None,
        *,
        silence: float,
    ) -> Answer:
        """
        As `Upstream.send`.
        """
        response = await self._session.request(
            method,
            URL(url, encoded=True),
            headers=CIMultiDict(headers),
            data=body,
            allow_redirects=False,
        )
        return _Response(response, silence)

    async def aclose(self) -> None:
        """
        Close all connections.
        """
        await self._session.close()


class _Response:
    __slots__ = ("_response", "_silence", "headers", "reason", "status")

    def __init__(self, response: ClientResponse, silence: float) -> None:
        self._response = response
        self._silence = silence
        self.status = response.status
        self.reason = response.reason or ""
        self.headers = response.raw_headers

    async def read(self) -> bytes:
        # Not aiohttp's own sock_read: nonsense between two chunks ends that timer, and nobody wakes the reader then.
        async with asyncio.timeout(self._silence):
            return await self._response.content.readany()

    def close(self) -> None:
        self._response.close()
