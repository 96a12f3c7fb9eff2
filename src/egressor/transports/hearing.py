"""
Listening to a body that goes by on its way to its reader.

A stream is never held back for its verdict, and never changed: its pieces are noted as they pass, and read when it has
ended. Of a stream of events the end is kept, since an error is the last thing that it says; of a document the
beginning, which is read only if all of it has passed.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from egressor._core.model import Verdict
from egressor.dialects.answered import AnswerReader
from egressor.dialects.inside import LONGEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from egressor.governor.caching import Tape
    from egressor.governor.money import Purse
    from egressor.governor.pricing import Meter
    from egressor.governor.tokens import Tally

__all__ = ["Counted", "Heard", "Taped", "count", "counting"]

_TAIL: Final = 8 * 1024
_TOGETHER: Final = 8 * 1024
_FINE: Final = Verdict()


class Heard:
    """
    What has passed of one body, as far as its verdict needs.

    Args:
        judge: Reads what was noted.
        is_events: Whether it is a stream of events.

    Attributes:
        is_whole: Whether all of the body has passed.
    """

    __slots__ = ("_is_events", "_judge", "_parts", "_size", "is_whole")

    def __init__(self, judge: Callable[[bytes], Verdict], *, is_events: bool) -> None:
        self._judge = judge
        self._is_events = is_events
        self._parts: deque[bytes] = deque()
        self._size = 0
        self.is_whole = False

    def feed(self, part: bytes) -> None:
        """
        Note *part*, which has come.
        """
        parts = self._parts
        if self._is_events:
            kept = part[-_TAIL:]
            parts.append(kept)
            self._size += len(kept)
            while self._size - len(parts[0]) >= _TAIL:
                self._size -= len(parts.popleft())
            return
        self._size += len(part)
        if self._size <= LONGEST:
            parts.append(part)
        else:
            parts.clear()

    def verdict(self, given: Verdict) -> Verdict:
        """
        Return what the body says, if that is an error; else *given*.
        """
        said = self._said()
        if not said:
            return given
        verdict = self._judge(said)
        return given if verdict.ok else verdict

    def _said(self) -> bytes:
        if not self._is_events:
            return b"".join(self._parts) if self.is_whole and self._size <= LONGEST else b""
        said = b"".join(self._parts)[-_TAIL:]
        if b"error" not in said:
            return b""
        # What was cut off in front ends with the first line.
        return said if self._size < _TAIL else said.partition(b"\n")[2]


class Taped:
    """
    Somebody who listens to a body for the cache, and perhaps another for the verdict.

    Args:
        tape: Notes the body.
        heard: Who listens for the verdict; None where nobody does.
    """

    __slots__ = ("_heard", "_tape")

    def __init__(self, tape: Tape, heard: Heard | None) -> None:
        self._tape = tape
        self._heard = heard

    @property
    def is_whole(self) -> bool:
        """
        Whether all of the body has passed.
        """
        return self._tape.is_whole

    @is_whole.setter
    def is_whole(self, value: bool) -> None:
        self._tape.is_whole = value
        if self._heard is not None:
            self._heard.is_whole = value

    def feed(self, part: bytes) -> None:
        """
        Note *part*, which has come.
        """
        self._tape.feed(part)
        if self._heard is not None:
            self._heard.feed(part)

    def verdict(self, given: Verdict) -> Verdict:
        """
        Return what the body says, if that is an error; else *given*.
        """
        return given if self._heard is None else self._heard.verdict(given)


class Counted(Heard):
    """
    What has passed of one body, as far as its cost, its tokens and its verdict need.

    Args:
        reader: Reads what it says that it used.
        heard: Who listens for the verdict; None where nobody does.
        purse: Told what it has cost, when it is over.
        meter: Knows that; None where nobody does.
        tally: Told what it has used, when it is over; None where nobody counts that.

    Attributes:
        meter: As above.
    """

    __slots__ = ("_heard", "_purse", "_reader", "_tally", "_unread", "meter")

    def __init__(
        self, reader: AnswerReader, heard: Heard | None, purse: Purse | None, meter: Meter | None, tally: Tally | None
    ) -> None:
        self._reader = reader
        self._heard = heard
        self._purse = purse
        self._tally = tally
        self._unread: list[bytes] = []
        self._size = 0
        self.meter = meter
        self.is_whole = False

    def feed(self, part: bytes) -> None:
        """
        Note *part*, which has come.
        """
        # Small pieces are read many at a time: it is the looking that costs, and not the bytes.
        self._unread.append(part)
        self._size += len(part)
        if self._size >= _TOGETHER:
            self._read()

    def _read(self) -> None:
        if not self._unread:
            return
        parts = b"".join(self._unread)
        self._unread.clear()
        self._size = 0
        self._reader.feed(parts)
        if self._heard is not None:
            self._heard.feed(parts)

    @property
    def beginning(self) -> bytes:
        """
        The first byte that has passed, unpacked; empty as long as there is none.
        """
        self._read()
        return self._reader.beginning

    def tell(self) -> None:
        """
        Tell the purse what a document has cost, as far as it has passed.
        """
        self._read()
        if self._purse is not None and self.meter is not None:
            self._purse.truth = self.meter.cost(self._reader.said(is_whole=self.is_whole))

    def verdict(self, given: Verdict) -> Verdict:
        """
        Return what the body says, if that is an error, else *given*; and tell what it has cost and used.
        """
        self.tell()
        said = self._reader.said(is_whole=self.is_whole)
        if self._purse is not None and self.meter is not None and self._purse.truth is None and self._reader.is_events:
            self._purse.seen = self.meter.seen(said)
        if self.meter is not None:
            self.meter.observe(said)
        if self._tally is not None:
            self._tally.settle(said)
        if self._heard is None:
            return given
        self._heard.is_whole = self.is_whole
        return self._heard.verdict(given)


def counting(media: str, heard: Heard | None, *, purse: Purse | None, tally: Tally | None) -> Heard | None:
    """
    Return what listens to the body of a good answer of this media type: to its cost and its tokens, too, if its call
    has a *purse* or a *tally*.
    """
    meter = None if purse is None else purse.meter()
    if meter is None and tally is None:
        return heard
    return Counted(AnswerReader(media), heard, purse, meter, tally)


def count(media: str, body: bytes, *, purse: Purse | None, tally: Tally | None) -> None:
    """
    Tell *purse* and *tally* what a good answer of this media type, whose *body* has come whole, has cost and used.
    """
    heard = counting(media, None, purse=purse, tally=tally)
    if heard is not None:
        heard.feed(body)
        heard.is_whole = True
        heard.verdict(_FINE)
