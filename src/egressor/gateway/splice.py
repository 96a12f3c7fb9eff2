"""
A body that goes on in the very moment in which it comes.

aiohttp keeps each piece of a body for whoever waits for it: a future, a turn of the loop, a step of a task and another
call of the parser, which is a good part of what relaying a small piece costs. While a task sleeps in `splice`, its body
keeps nothing: a piece is handed over in the call that brings it. The task wakes at the body's end, when something
breaks, and when whoever takes the pieces has enough for now; what comes from then on is kept as ever.

The parser makes its readers itself, so a reader becomes a `_Through` and a plain one again by changing its class.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import StreamReader

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["splice"]


async def splice(content: StreamReader, take: Callable[[bytes], bool]) -> None:
    """
    Hand *take* the pieces of *content* as they come, until it returns false, or until there are no more.

    Args:
        content: A body that nobody else reads.
        take: Takes a piece without waiting; returns whether it may get more. What it raises is raised here.

    Raises:
        Exception: The body broke, or *take* did.
    """
    while piece := content.read_nowait():
        if not take(piece):
            return
    if content.at_eof() or type(content) is not StreamReader:
        return
    sleep = _Sleep(take)
    content.__class__ = _Through
    content._waiter = sleep  # noqa: SLF001 - there is no public place to be told of the end
    try:
        await sleep
    finally:
        content.__class__ = StreamReader
        content._waiter = None  # noqa: SLF001


class _Sleep(asyncio.Future[None]):
    """
    Whoever sleeps in `splice`.
    """

    def __init__(self, take: Callable[[bytes], bool]) -> None:
        super().__init__()
        self.take = take


class _Through(StreamReader):
    """
    A reader that keeps nothing while somebody sleeps in `splice`.
    """

    __slots__ = ()

    def feed_data(self, data: bytes, size: int = 0) -> bool:
        """
        Hand *data* over.
        """
        sleep = self._waiter
        if not isinstance(sleep, _Sleep) or sleep.done():
            return super().feed_data(data, size)
        self.total_bytes += len(data)
        self._cursor += len(data)
        try:
            if not sleep.take(data):
                sleep.set_result(None)
        except Exception as error:  # noqa: BLE001 - it is the task's to hear of it, not the parser's
            sleep.set_exception(error)
        return False

    def end_http_chunk_receiving(self) -> None:
        """
        Keep no mark of where a chunk has ended.
        """
