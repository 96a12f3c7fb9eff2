"""
Bodies that hold a lease.

A response's lease ends with its body, exactly once, whichever comes first:

- the body has ended, or is closed: settled with the verdict that the status got;
- it breaks: settled with the error's verdict, and the error goes on as it was raised;
- nobody holds it any more: the lease is dropped, from the finaliser, which may only leave word.

The last needs care elsewhere: nothing that the lease holds may refer to the response, or only the garbage collector
would notice that a response was dropped. These classes become streams of httpx2 or httpx in `family`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .reading import DROPPED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

    from egressor._core.model import Verdict
    from egressor.governor.streams import Opened

    from .hearing import Heard

__all__ = ["AsyncBody", "AsyncWatched", "Body", "Watched"]


class _Held:
    """
    What both colours of a body are made of.

    Args:
        stream: The client's own stream, which is closed with this one; None if it is over.
        parts: Where to read on if *stream* was begun already.
        chunks: What was read of it.
        error: What reading it came to, to be raised after *chunks*.
        opened: The answer whose lease is held; None if it was settled.
        verdict: How the lease is settled if all goes well.
        heard: Listens to what is read; None where nobody does.
    """

    def __init__(
        self,
        stream: Any,
        *,
        parts: Any = None,
        chunks: Sequence[bytes] = (),
        error: BaseException | None = None,
        opened: Opened | None = None,
        verdict: Verdict | None = None,
        heard: Heard | None = None,
    ) -> None:
        self._stream = stream
        self._parts = parts
        self._chunks = chunks
        self._error = error
        self._opened = opened
        self._verdict = verdict
        self._heard = heard

    @property
    def whole(self) -> Sequence[bytes] | None:
        """
        All of the body, if it was read before; None for one that comes, or broke.
        """
        return self._chunks if self._stream is None and self._error is None else None

    def _said(self) -> Verdict | None:
        """
        Return how the lease is settled: by what the body has said, if that was an error.
        """
        heard, verdict = self._heard, self._verdict
        return verdict if heard is None or verdict is None else heard.verdict(verdict)

    def __del__(self) -> None:
        opened = self._opened
        if opened is not None:
            opened.drop(DROPPED)


class Body(_Held):
    """
    A body that is read by blocking.
    """

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        if self._error is not None:
            raise self._error
        if self._stream is None:
            return
        try:
            yield from self._heard_parts(self._stream if self._parts is None else self._parts)
        except GeneratorExit:
            raise  # Whoever stops reading closes the body next, or drops it.
        except BaseException as error:
            self._end(error)
            raise
        self._end()

    def close(self) -> None:
        """
        Close the client's own stream, and end the lease. A second time the lease isn't touched.
        """
        try:
            if self._parts is not None:
                self._parts.close()
            if self._stream is not None:
                self._stream.close()
        except BaseException as error:
            self._end(error)
            raise
        self._end()

    def _end(self, error: BaseException | None = None) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.finish(error, self._said())

    def _heard_parts(self, parts: Iterable[bytes]) -> Iterable[bytes]:
        heard = self._heard
        return parts if heard is None else _passing(parts, heard)


class AsyncBody(_Held):
    """
    A body that is read by awaiting.
    """

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if self._error is not None:
            raise self._error
        if self._stream is None:
            return
        parts = self._stream.__aiter__() if self._parts is None else self._parts
        heard = self._heard
        try:
            async for chunk in parts:
                if heard is not None:
                    heard.feed(chunk)
                yield chunk
            if heard is not None:
                heard.is_whole = True
        except GeneratorExit:
            raise  # Whoever stops reading closes the body next, or drops it.
        except BaseException as error:
            await self._end(error)
            raise
        finally:
            await _close(parts)
        await self._end()

    async def aclose(self) -> None:
        """
        Close the client's own stream, and end the lease. A second time the lease isn't touched.
        """
        try:
            if self._parts is not None:
                await _close(self._parts)
            if self._stream is not None:
                await self._stream.aclose()
        except BaseException as error:
            await self._end(error)
            raise
        await self._end()

    async def _end(self, error: BaseException | None = None) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.afinish(error, self._said())


def _passing(parts: Iterable[bytes], heard: Heard) -> Iterator[bytes]:
    for chunk in parts:
        heard.feed(chunk)
        yield chunk
    heard.is_whole = True


async def _close(parts: Any) -> None:
    # An asynchronous generator that is left to the garbage collector is closed some time later, or never.
    if hasattr(parts, "aclose"):
        await parts.aclose()


class Watched:
    """
    A request's body that can be sent only once.

    Attributes:
        is_begun: Whether somebody has begun to read it.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.is_begun = False

    def __iter__(self) -> Iterator[bytes]:
        self.is_begun = True
        yield from self._stream


class AsyncWatched:
    """
    As `Watched`, for a body that is read by awaiting.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.is_begun = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.is_begun = True
        parts = self._stream.__aiter__()
        try:
            async for chunk in parts:
                yield chunk
        finally:
            await _close(parts)
