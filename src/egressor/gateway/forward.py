"""
The upstream half, behind one small protocol, so that another client can take aiohttp's place.

Whatever `send` is given goes out as it is: no redirect is followed, no cookie kept, nothing compressed, unpacked or
retried behind the governor's back. A proxy is taken from the environment only where the configuration says so, and
never a password from ``.netrc``.
"""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Protocol
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

from aiohttp import ClientPayloadError, ClientResponse, TCPConnector
from yarl import URL

from .dialling import Dialler, proxy_urls
from .interim import PatientConnection
from .outgoing import Outgoing, begin
from .splice import splice
from .trailers import TrailedResponse
from .wires import Wire, WireEnd

if TYPE_CHECKING:
    from egressor.policies import Gateway as Settings

__all__ = ["AiohttpUpstream", "Answer", "NoRoomError", "Upstream"]

_KEEP_ALIVE = 15.0
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class NoRoomError(Exception):
    """
    This process or its system has no file or memory left for a connection: nothing was sent, and no upstream is to
    blame.
    """


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

    @property
    def trailers(self) -> Sequence[tuple[bytes, bytes]]:
        """
        The fields behind the body that its headers have announced, once it is at its end.
        """

    @property
    def is_ready(self) -> bool:
        """
        Whether `read` has something to return at once.
        """

    async def read(self) -> bytes:
        """
        Return what has arrived of the body, as soon as anything has; nothing at its end.

        Raises:
            Exception: The body broke.
        """

    async def relay(self, take: Callable[[bytes], bool]) -> None:
        """
        Hand *take* each piece of the body as it comes, until it returns false, or until the body's end.

        Raises:
            Exception: The body broke, or *take* raised.
        """

    def close(self) -> None:
        """
        Stop, and drop the connection if the body is not at its end.
        """

    def wire(self) -> Wire:
        """
        Return the connection itself, after an answer of 101.
        """


class Upstream(Protocol):
    """
    Whoever sends requests.
    """

    @property
    def dialler(self) -> Dialler:
        """
        Who says which addresses may be dialled.
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
            NoRoomError: It could not even be tried.
            Exception: There is no answer.
        """

    async def aclose(self) -> None:
        """
        Close all connections.
        """


class AiohttpUpstream:
    """
    Upstreams through aiohttp's connection pool. It must be made inside of an event loop.

    Args:
        settings: How many connections one upstream gets, and whether the environment names a proxy.

    Raises:
        ConfigError: The environment's proxy is none.
    """

    def __init__(self, settings: Settings) -> None:
        self._proxies = proxy_urls(settings)
        # How many requests are under way is the governor's decision; the pool only bounds the connections to each.
        self.dialler = Dialler()
        self._connector = TCPConnector(
            limit=0,
            limit_per_host=settings.upstream_connections,
            keepalive_timeout=_KEEP_ALIVE,
            resolver=self.dialler,
        )
        self._loop = asyncio.get_running_loop()
        # There is no public place for a connection of one's own.
        self._connector._factory = partial(PatientConnection, loop=self._loop)  # type: ignore[assignment] # noqa: SLF001

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
        target = URL(url, encoded=True)
        proxy = self._proxy(target) if self._proxies else None
        request = Outgoing(
            method, target, headers=headers, data=body, loop=self._loop, response_class=TrailedResponse, proxy=proxy
        )
        try:
            response = await begin(request, self._connector)
        except OSError as error:
            if error.errno in _NO_ROOM:
                message = "no file or memory is left for a connection"
                raise NoRoomError(message) from None
            raise
        _check_framing(response)
        return _Response(response, silence)

    async def aclose(self) -> None:
        """
        Close all connections.
        """
        await self._connector.close()

    def _proxy(self, target: URL) -> URL | None:
        if proxy_bypass_environment(f"{target.host}:{target.port}", self._proxies):
            return None
        proxy = self._proxies.get(target.scheme) or self._proxies.get("all")
        return None if proxy is None else URL(proxy)


class _Response:
    __slots__ = ("_alarm", "_loop", "_response", "_silence", "_since", "headers", "reason", "status")

    def __init__(self, response: ClientResponse, silence: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._response = response
        self._silence = silence
        self._since = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self.status = response.status
        self.reason = response.reason or ""
        self.headers = response.raw_headers

    @property
    def trailers(self) -> Sequence[tuple[bytes, bytes]]:
        return self._response.trailers if isinstance(self._response, TrailedResponse) else ()

    @property
    def is_ready(self) -> bool:
        content = self._response.content
        return content.at_eof() or bool(content._buffer)  # noqa: SLF001 - there is no public name

    async def read(self) -> bytes:
        content = self._response.content
        if (chunk := content.read_nowait()) or content.at_eof():
            return chunk
        self._watch()
        try:
            return await content.readany()
        finally:
            self._since = 0.0

    async def relay(self, take: Callable[[bytes], bool]) -> None:
        def taken(chunk: bytes) -> bool:
            self._since = self._loop.time()
            return take(chunk)

        if self._response.content.at_eof():
            return
        self._watch()
        try:
            await splice(self._response.content, taken)
        finally:
            self._since = 0.0

    def close(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._response.close()

    def wire(self) -> Wire:
        connection = self._response.connection
        if connection is None or connection.protocol is None or connection.transport is None:
            message = "the upstream hung up behind its answer"
            raise ConnectionResetError(message)
        end = WireEnd(connection.protocol, connection.transport)
        connection.protocol.set_parser(end, end.stream)
        return end

    def _watch(self) -> None:
        # One timer for the whole body, which looks now and then how long the present wait has lasted. Not aiohttp's
        # own sock_read: nonsense between two chunks ends that one, and nobody wakes the reader then.
        self._since = self._loop.time()
        if self._alarm is None:
            self._alarm = self._loop.call_later(self._silence, self._look)

    def _look(self) -> None:
        left = self._since + self._silence - self._loop.time() if self._since else self._silence
        if left > 0:
            self._alarm = self._loop.call_later(left, self._look)
        else:
            self._alarm = None
            self._response.content.set_exception(TimeoutError(f"no piece of the body for {self._silence:g} s"))


def _check_framing(response: ClientResponse) -> None:
    """
    Refuse what can't be passed on as what it is: a body in another form than chunks, which alone are taken off here;
    control characters in the head.

    Raises:
        ClientPayloadError: There is such a thing.
    """
    if response.headers.get("Transfer-Encoding", "chunked").strip().lower() != "chunked":
        response.close()
        message = "the answer's transfer-encoding is not chunked alone"
        raise ClientPayloadError(message)
    words = (response.reason or "") + b"".join(chain.from_iterable(response.raw_headers)).decode("latin-1")
    # The first question is the quicker one, and nearly always enough.
    if not words.isprintable() and _CONTROL.search(words):
        response.close()
        message = "a control character stands in the answer's head"
        raise ClientPayloadError(message)
