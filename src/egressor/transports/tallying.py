"""
Listening to a body for the tokens that it says it used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from egressor.dialects.answered import AnswerReader

from .hearing import Heard

if TYPE_CHECKING:
    from egressor._core.model import Verdict
    from egressor.governor.tokens import Tally

__all__ = ["Tallied", "tallied", "tell"]


class Tallied(Heard):
    """
    What has passed of one body, as far as its tokens and its verdict need.

    Args:
        tally: Told what it has said, when it is over.
        reader: Reads that.
        heard: Listens for the verdict; None where nobody does.
    """

    __slots__ = ("_heard", "_reader", "_tally")

    def __init__(self, tally: Tally, reader: AnswerReader, heard: Heard | None) -> None:
        self._tally = tally
        self._reader = reader
        self._heard = heard
        self.is_whole = False

    def feed(self, part: bytes) -> None:
        """
        Note *part*, which has come.
        """
        self._reader.feed(part)
        if self._heard is not None:
            self._heard.feed(part)

    def verdict(self, given: Verdict) -> Verdict:
        """
        Return what the body says, if that is an error, else *given*; and settle the tokens that it has used.
        """
        self._tally.settle(self._reader.said(is_whole=self.is_whole))
        if self._heard is None:
            return given
        self._heard.is_whole = self.is_whole
        return self._heard.verdict(given)


def tallied(tally: Tally, media: str, heard: Heard | None) -> Heard:
    """
    Return what listens to the body of an answer of this media type for its *tally*, beside *heard*.
    """
    return Tallied(tally, AnswerReader(media), heard)


def tell(tally: Tally, media: str, body: bytes) -> None:
    """
    Tell *tally* what a good answer of this media type, whose *body* has come whole, has used.
    """
    reader = AnswerReader(media)
    reader.feed(body)
    tally.settle(reader.said(is_whole=True))
