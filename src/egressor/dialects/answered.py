"""
What an answer says that it used, read while its body goes by, as it was sent or unpacked.

A few bytes may be packed from very many: no more than 64 KiB are unpacked at a time, and 32 MiB in all. An answer that
has more, or that can't be unpacked, has said nothing, whatever was read of it before.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final

from egressor.dialects.inside import EVENTS
from egressor.dialects.usage_stream import BodyReader, StreamReader

if TYPE_CHECKING:
    from egressor.dialects.usage_stream import Streamed

__all__ = ["AnswerReader"]

# The first byte of what gzip (RFC 1952 2.3.1) and zlib (RFC 1950 2.2) have packed; neither JSON nor an event begins so.
_PACKED: Final = frozenset({0x1F, 0x78})
_PIECE: Final = 64 << 10
_MOST: Final = 32 << 20


class AnswerReader:
    """
    The reader of one answer.

    Args:
        media: Its media type, which tells a stream of events from a document.

    Attributes:
        is_events: Whether it is a stream of events.
        beginning: The first byte of the body, unpacked; empty as long as there is none.
    """

    __slots__ = ("_is_begun", "_reader", "_room", "_said", "_unpack", "beginning", "is_events")

    def __init__(self, media: str) -> None:
        self.is_events = media.strip().lower().startswith(EVENTS)
        self._reader: StreamReader | BodyReader = StreamReader() if self.is_events else BodyReader()
        # The latest answer to `said`, and what it was asked.
        self._said: tuple[bool, Streamed] | None = None
        self._is_begun = False
        self._unpack: Any = None
        # Bytes that may still be unpacked; below 0 it was given up.
        self._room = _MOST
        self.beginning = b""

    def feed(self, part: bytes) -> None:
        """
        Look at the next *part* of the body.
        """
        self._said = None
        if not self._is_begun and part:
            self._is_begun = True
            self._unpack = zlib.decompressobj(zlib.MAX_WBITS | 32) if part[0] in _PACKED else None
        if self._unpack is None:
            self._read(part)
        elif self._room >= 0:
            try:
                self._unpacked(part)
            except zlib.error:
                self._room = -1
            if self._room < 0:
                # What was read of it is less than came, and no estimate to go by.
                self._reader = BodyReader()

    def _unpacked(self, part: bytes) -> None:
        # What comes after the end would be kept.
        is_more = not self._unpack.eof
        while is_more:
            piece = self._unpack.decompress(part, _PIECE)
            self._room -= len(piece)
            self._read(piece)
            part = self._unpack.unconsumed_tail
            is_more = self._room >= 0 and bool(part or len(piece) == _PIECE)

    def _read(self, part: bytes) -> None:
        self.beginning = self.beginning or part[:1]
        self._reader.feed(part)

    def said(self, *, is_whole: bool) -> Streamed:
        """
        Return what the answer has said; *is_whole* is whether all of its body has come.
        """
        if self._said is None or self._said[0] != is_whole:
            reader = self._reader
            said = reader.finish() if isinstance(reader, StreamReader) else reader.report(ended=is_whole)
            self._said = is_whole, said
        return self._said[1]
