"""
Bodies that go on in the moment in which they come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol

from egressor.gateway.splice import splice


class Connection(BaseProtocol):
    """
    A connection without a parser, whose reader is fed by hand.
    """

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())
        self._upgraded = True


def reader(*, limit: int = 64) -> StreamReader:
    """
    Return a reader as the parser makes it.
    """
    return StreamReader(Connection(), limit, loop=asyncio.get_running_loop())


class Taker(list[bytes]):
    """
    Whoever takes pieces, up to so many.
    """

    def __init__(self, most: int = 1 << 60) -> None:
        super().__init__()
        self.most = most

    def __call__(self, piece: bytes) -> bool:
        """
        Take a piece.
        """
        self.append(piece)
        return len(self) < self.most


async def begun(content: StreamReader, take: Callable[[bytes], bool]) -> asyncio.Task[None]:
    """
    Return a task that sleeps in `splice`.
    """
    task = asyncio.ensure_future(splice(content, take))
    await asyncio.sleep(0)
    return task


def test_a_piece_is_taken_in_the_call_that_brings_it() -> None:
    """
    What was there is handed over first, then each piece at once, chunk by chunk; nothing is kept.
    """

    async def main() -> list[bytes]:
        content, got = reader(), Taker()
        content.begin_http_chunk_receiving()
        content.feed_data(b"before")
        content.end_http_chunk_receiving()
        task = await begun(content, got)
        for number in range(1000):
            content.begin_http_chunk_receiving()
            content.feed_data(b"%d" % number)
            content.end_http_chunk_receiving()
            assert got[-1] == b"%d" % number
        assert not content._buffer
        assert list(content._http_chunk_splits or ()) == [len(b"before")]
        assert not content._protocol._reading_paused
        content.feed_eof()
        await task
        assert content.at_eof()
        return got

    assert asyncio.run(main()) == [b"before", *(b"%d" % number for number in range(1000))]


def test_enough_for_now() -> None:
    """
    Once a taker has enough, pieces are kept and the upstream is held up, until somebody reads again.
    """

    async def main() -> tuple[list[bytes], bytes]:
        content, got = reader(limit=4), Taker(2)
        task = await begun(content, got)
        for piece in (b"one", b"two", b"three", b"four"):
            content.feed_data(piece)
        assert content._protocol._reading_paused
        await task
        assert type(content) is StreamReader
        rest = content.read_nowait()
        assert not content._protocol._reading_paused
        return got, rest

    assert asyncio.run(main()) == ([b"one", b"two"], b"threefour")


def test_enough_already() -> None:
    """
    A taker that has enough of what was there is given no more.
    """

    async def main() -> None:
        content = reader()
        content.feed_data(b"there")
        await splice(content, lambda piece: False)
        assert type(content) is StreamReader
        content.feed_eof()
        await splice(content, lambda piece: True)

    asyncio.run(main())


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_body_that_breaks(has_begun: bool) -> None:
    """
    The task hears of a broken body, be it broken before or meanwhile.
    """

    async def main() -> None:
        content = reader()
        if not has_begun:
            content.set_exception(OSError("broken"))
        task = await begun(content, lambda piece: True)
        if has_begun:
            content.set_exception(OSError("broken"))
        await task

    with pytest.raises(OSError, match="broken"):
        asyncio.run(main())


def test_a_taker_that_breaks() -> None:
    """
    What a taker raises is the task's to hear of, and not the parser's; later pieces are kept.
    """

    async def main() -> None:
        content = reader()

        def take(piece: bytes) -> bool:
            message = "taker"
            raise ValueError(message)

        task = await begun(content, take)
        content.feed_data(b"one")
        content.feed_data(b"two")
        with pytest.raises(ValueError, match="taker"):
            await task
        assert content.read_nowait() == b"two"

    asyncio.run(main())


def test_a_task_that_is_cancelled() -> None:
    """
    A task that is cancelled leaves a plain reader behind.
    """

    async def main() -> Any:
        content, got = reader(), Taker()
        task = await begun(content, got)
        task.cancel()
        content.feed_data(b"kept")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (type(content), got) == (StreamReader, [])
        return await content.readany()

    assert asyncio.run(main()) == b"kept"
