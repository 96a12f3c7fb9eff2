"""
Answers that come in pieces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from egressor.dialects.usage import Totals, parse

from .answers import BadAnswer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from egressor.dialects.usage import Reported

    from .answers import Answer
    from .vendors import Vendor

__all__ = ["AsyncStream", "Heard", "Stream"]


class Heard:
    """
    What has come of a stream.

    Args:
        vendor: Whose stream it is.

    Attributes:
        text: The text so far.
        finish: Why it ended; empty as long as nobody has said so.
    """

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._totals = Totals()
        self._parts: list[str] = []
        self._is_begun = False
        self.finish = ""

    @property
    def text(self) -> str:
        """
        The text so far.
        """
        return "".join(self._parts)

    def take(self, event: Any) -> str:
        """
        Return the text of the next *event*; often there is none.

        Raises:
            BadAnswer: It is nothing that an SDK could make an event of.
        """
        self._is_begun = True
        if not hasattr(event, "to_json"):
            msg = "the answer is no stream of events: one of them is no object"
            raise BadAnswer(msg)
        said = parse(event.to_json(indent=None, warnings=False).encode())
        if isinstance(said, dict):
            self._totals.add(said)
        piece = self._vendor.piece(said)
        self.finish = piece.finish or self.finish
        if piece.text:
            self._parts.append(piece.text)
        return piece.text

    def end(self) -> Reported:
        """
        Return what the stream, which is over, has said that it used.

        Raises:
            BadAnswer: It had no event at all.
        """
        if not self._is_begun:
            msg = "the answer is no stream: it has no event"
            raise BadAnswer(msg)
        return self._totals.report()


class Stream:
    """
    The pieces of an answer, to be iterated over once: ``for piece in stream``.

    Nothing is sent before the first piece is asked for. The call holds its place until the stream has ended or is
    closed; use ``with``, or read it to its end.

    Args:
        pieces: The pieces.
        whole: Where whoever makes them leaves the answer. They don't know the stream: one that is dropped ends at once.
    """

    def __init__(self, pieces: Generator[str, None, None], whole: list[Answer]) -> None:
        self._pieces = pieces
        self._whole = whole

    @property
    def answer(self) -> Answer | None:
        """
        The whole answer, once the last piece has come; None before, and if it broke or was closed.
        """
        return self._whole[0] if self._whole else None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        return next(self._pieces)

    def close(self) -> None:
        """
        Give up what has not come yet. A second time nothing happens.
        """
        self._pieces.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class AsyncStream:
    """
    As `Stream`, awaiting: ``async for piece in stream``.

    Args:
        pieces: The pieces.
        whole: Where whoever makes them leaves the answer.
    """

    def __init__(self, pieces: AsyncGenerator[str, None], whole: list[Answer]) -> None:
        self._pieces = pieces
        self._whole = whole

    @property
    def answer(self) -> Answer | None:
        """
        The whole answer, once the last piece has come; None before, and if it broke or was closed.
        """
        return self._whole[0] if self._whole else None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        return await anext(self._pieces)

    async def aclose(self) -> None:
        """
        Give up what has not come yet. A second time nothing happens.
        """
        await self._pieces.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()
