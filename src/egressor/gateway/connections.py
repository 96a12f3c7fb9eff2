"""
Clients' connections: how many, how long each may take for what, and how they end.

aiohttp's server half bounds the size of lines and the number of fields, and closes a connection that stays idle. What
it leaves open is bounded here: a head that drips in, more connections than this process has room for, and how long the
end takes.

At the end, nothing new is accepted; a connection without a request closes at once, the others after their answer. What
is not done after the grace is cancelled: a call that waits is told so, a stream is cut off, every lease goes back.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web

from .lookout import Lookout
from .problems import Problem
from .room import room_for
from .strict import StrictConnection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from egressor.policies import Gateway as Settings

__all__ = ["Connection", "Listener"]

_LINE = 1 << 16
_FIELDS = 256
# What arrives and can't be passed on yet: two of these at most, per direction.
_BUFFER = 1 << 16
# A client that is turned away gets so many seconds to read why, as long as not too many do.
_PARTING = 0.2
_MOST_PARTING = 8
_LAST_WORDS = 1.0
_HEADERS = {"X-Content-Type-Options": "nosniff", "Server": "egressor"}


def _bound_unsent(sock: socket.socket | None) -> None:
    """
    Let the kernel take from us little more than it can send: an answer that nobody reads would hold megabytes there.
    """
    # Where a system lacks the option, its own bound holds.
    if sock is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _BUFFER)


class Listener(web.Server):
    """
    Makes a `Connection` for each client.

    Args:
        handler: Answers a request.
        settings: What the gateway bears.
        logger: Takes what aiohttp says of broken requests.

    Attributes:
        most: Connections at a time.
        header_timeout: Seconds for a request's head.
        parting: How many connections are being turned away.
        is_ending: Whether a connection closes after its present request.
    """

    def __init__(
        self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], *, settings: Settings, logger: Any
    ) -> None:
        super().__init__(
            handler,
            # A client that is gone cancels its request, and so its attempt upstream.
            handler_cancellation=True,
            auto_decompress=False,
            access_log=None,
            logger=logger,
            max_line_size=_LINE,
            max_field_size=_LINE,
            max_headers=_FIELDS,
            read_bufsize=_BUFFER,
            keepalive_timeout=settings.idle_timeout,
            # Time for a client to notice that its unread body is not wanted.
            lingering_time=2.0,
        )
        self.most = room_for(settings)
        self.header_timeout = settings.header_timeout
        self.parting = 0
        self.is_ending = False
        self._lookout = Lookout(self._unread)

    def __call__(self) -> Connection:
        """
        Make a connection.
        """
        self._lookout.begin()
        return Connection(self, loop=self._loop, **self._kwargs)

    @property
    def is_full(self) -> bool:
        """
        Whether one more connection would be too many.
        """
        return len(self._connections) >= self.most

    @property
    def connections(self) -> list[Connection]:  # type: ignore[override] # all of them are made above
        """
        Those that are open.
        """
        return list(self._connections)  # type: ignore[arg-type]

    async def drain(self, grace: float) -> None:
        """
        Let what is in flight finish for *grace* seconds, then cancel it.
        """
        self.is_ending = True
        for connection in self.connections:
            connection.close_if_idle()
        if tasks := self._tasks():
            await asyncio.wait(tasks, timeout=grace)
        for task in self._tasks():
            task.cancel()
        if tasks := self._tasks():
            await asyncio.wait(tasks, timeout=_LAST_WORDS)
        for connection in self.connections:
            connection.force_close()

    def _unread(self) -> list[asyncio.Transport] | None:
        if not self._connections:
            return None
        # As little as can be for each: there may be thousands, and everybody waits meanwhile.
        transports = [each.transport for each in self._connections]
        return [each for each in transports if each is not None and not each.is_reading()]

    def _tasks(self) -> list[asyncio.Task[None]]:
        tasks = (connection._task_handler for connection in self.connections)  # noqa: SLF001 - no public name
        return [task for task in tasks if task is not None and not task.done()]


class Connection(StrictConnection):
    """
    One client's connection.
    """

    __slots__ = ("_alarm", "_listener")

    def __init__(self, listener: Listener, *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(listener, loop=loop, **options)
        self._listener = listener
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def is_ending(self) -> bool:
        """
        Whether it takes no request after the present one.
        """
        return self._listener.is_ending

    def close_if_idle(self) -> None:
        """
        Close, if there is no request; aiohttp's own way would also stop reading the body of one that is there.
        """
        # Before its first request, nobody may wait for one yet.
        waits = self._request_count == 0 if self._waiter is None else not self._waiter.done()
        if waits:
            self.close()
            # aiohttp would leave it open, and say nothing to a request that was on its way.
            if self.transport is not None:
                self.transport.close()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """
        End an answer, and at the end of it all the connection with it.
        """
        if self._listener.is_ending:
            resp.force_close()
        return await super().finish_response(request, resp, start_time)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """
        Begin, or turn the client away.
        """
        if self._listener.is_ending:
            # It was accepted just before the port was closed.
            self._force_close = True
            cast("asyncio.Transport", transport).close()
        elif self._listener.is_full:
            # uvloop's transports are no subclass of asyncio's.
            self._turn_away(cast("asyncio.Transport", transport))
        else:
            _bound_unsent(transport.get_extra_info("socket"))
            super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """
        Take *data*, and watch a head that is not complete yet.
        """
        super().data_received(data)
        # uvloop may bring the first bytes before anybody waits for a request.
        waits = self._request_count == 0 if self._waiter is None else not self._waiter.done()
        if not waits:
            self._disarm()
        elif data and self._alarm is None:
            self._alarm = self._loop.call_later(self._listener.header_timeout, self._late)

    def connection_lost(self, exc: BaseException | None) -> None:
        """
        Forget the client.
        """
        self._disarm()
        super().connection_lost(exc)

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _late(self) -> None:
        self._alarm = None
        if self._waiter is not None and not self._waiter.done():
            limit = f"the request's head was not there within {self._listener.header_timeout:g} s"
            if self.transport is not None:
                self.transport.write(_raw(Problem(408, "slow_head", "The head came too slowly", limit)))
            self.force_close()

    def _turn_away(self, transport: asyncio.Transport) -> None:
        self._force_close = True
        limit = f"{self._listener.most} connections are open, which is the most that this gateway takes"
        transport.write(_raw(Problem(503, "crowded", "Too many connections", limit, retry_after=1.0)))
        if self._listener.parting >= _MOST_PARTING:
            transport.close()
            return
        # Closing with a request unread would reset the connection, and the client might never see why.
        self._listener.parting += 1
        self._loop.call_later(_PARTING, self._part, transport)

    def _part(self, transport: asyncio.Transport) -> None:
        self._listener.parting -= 1
        transport.close()


@lru_cache(8)  # there are two, and thousands of clients may get them at once
def _raw(problem: Problem) -> bytes:
    body = problem.body()
    fields = {**problem.headers(), **_HEADERS, "Content-Length": str(len(body)), "Connection": "close"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {problem.status} {problem.title}\r\n{lines}\r\n".encode() + body
