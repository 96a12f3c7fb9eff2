"""
A client that leaves while nobody reads from it.

As long as a long body waits for its call's turn, its connection is not read, so that the body stays with the client.
But the event loop learns only by reading that a client has gone. So the kernel is asked instead, now and then. What it
can't tell is that a client has gone which had sent more than the kernel's own buffers hold: its end comes after that.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp.web import BaseRequest

__all__ = ["looking_out"]

_EVERY = 0.5
_ESTABLISHED = 1


@contextmanager
def looking_out(request: BaseRequest) -> Iterator[None]:
    """
    Cut *request*'s connection off, and so cancel its handler, if its client leaves while the block lasts.
    """
    loop = asyncio.get_running_loop()
    transport = request.transport
    sock = None if transport is None else transport.get_extra_info("socket")
    if transport is None or sock is None or not hasattr(socket, "TCP_INFO"):
        yield
        return

    alarm: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal alarm
        if transport.is_closing():
            return
        # The first byte is the connection's state; one that the client has closed is established no more.
        if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _ESTABLISHED:
            alarm = loop.call_later(_EVERY, look)
        else:
            transport.abort()

    alarm = loop.call_later(_EVERY, look)
    try:
        yield
    finally:
        alarm.cancel()
