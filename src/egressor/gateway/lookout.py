"""
A client that leaves while nobody reads from it.

A connection is not read as long as a long body waits for its call's turn or for its upstream, as an upgraded one has
more than its upstream takes, or as too many requests wait behind the present one. But the event loop learns only by
reading that a client has gone. So the kernel is asked instead, now and then, with one timer for all connections. What
it can't tell is that a client has gone in peace which had sent more than the kernel's own buffers hold: its end comes
after that.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Lookout"]

_EVERY = 0.5
_ESTABLISHED = 1


class Lookout:
    """
    Looks after connections as long as there are any.

    Args:
        transports: Returns those of the connections that are not read; None where there is no connection at all.
    """

    __slots__ = ("_alarm", "_transports")

    def __init__(self, transports: Callable[[], Iterable[asyncio.Transport] | None]) -> None:
        self._transports = transports
        self._alarm: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """
        Look out from now on; once is enough.
        """
        if self._alarm is None and hasattr(socket, "TCP_INFO"):
            self._alarm = asyncio.get_running_loop().call_later(_EVERY, self._look)

    def _look(self) -> None:
        self._alarm = None
        transports = self._transports()
        if transports is None:
            return
        for transport in transports:
            if not transport.is_closing() and _has_left(transport):
                # Its handler is cancelled with it.
                transport.abort()
        self.begin()


def _has_left(transport: asyncio.Transport) -> bool:
    sock = transport.get_extra_info("socket")
    if sock is None:
        return False
    # The first byte is the connection's state; one that the client has closed is established no more.
    state: int = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return state != _ESTABLISHED
