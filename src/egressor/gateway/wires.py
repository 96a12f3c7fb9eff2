"""
Connections that have left HTTP: after ``101 Switching Protocols`` their bytes pass as they are, in both directions.

Both halves of aiohttp have the same place for this: a parser of one's own, which is given every byte. Here it feeds a
stream that stops the connection's reading while nobody takes what has come, so that a slow side slows the other one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from aiohttp.streams import StreamReader

if TYPE_CHECKING:
    from aiohttp.base_protocol import BaseProtocol

__all__ = ["Wire", "WireEnd", "join"]

_BUFFER = 1 << 16


class Wire(Protocol):
    """
    One side of a connection that speaks another protocol.
    """

    async def read(self) -> bytes:
        """
        Return what has arrived, as soon as anything has; nothing at the end.
        """

    async def write(self, data: bytes) -> None:
        """
        Send *data*; returns when the other side keeps up.

        Raises:
            ConnectionError: The other side is gone.
        """

    def close(self) -> None:
        """
        Hang up.
        """


class WireEnd:
    """
    A `Wire` over a connection of aiohttp's; also the parser that this connection is given.
    """

    __slots__ = ("_protocol", "_transport", "stream")

    def __init__(self, protocol: BaseProtocol, transport: asyncio.Transport) -> None:
        self._protocol = protocol
        self._transport = transport
        self.stream = StreamReader(protocol, _BUFFER, loop=asyncio.get_running_loop())

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """
        Take *data* from the connection.
        """
        if data:
            self.stream.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        """
        Note that the connection is gone.
        """
        if not self.stream.is_eof():
            self.stream.feed_eof()

    async def read(self) -> bytes:
        """
        As `Wire.read`.
        """
        return await self.stream.readany() if self._protocol.connected else self.stream.read_nowait()

    async def write(self, data: bytes) -> None:
        """
        As `Wire.write`.
        """
        if self._transport.is_closing():
            message = "the other side is gone"
            raise ConnectionResetError(message)
        self._transport.write(data)
        if self._protocol.writing_paused:
            await self._protocol._drain_helper()  # noqa: SLF001 - there is no public name

    def close(self) -> None:
        """
        As `Wire.close`.
        """
        self._transport.close()


async def join(one: Wire, other: Wire, *, silence: float) -> None:
    """
    Pass everything between *one* and *other* until a side hangs up or both are silent for *silence* seconds.

    Raises:
        TimeoutError: Both were silent.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(silence) as limit:

        async def pass_on(source: Wire, target: Wire) -> None:
            while chunk := await source.read():
                limit.reschedule(loop.time() + silence)
                await target.write(chunk)

        tasks = [loop.create_task(pass_on(one, other)), loop.create_task(pass_on(other, one))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # What the side that hung up has said last is written already; closing sends it.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            one.close()
            other.close()
