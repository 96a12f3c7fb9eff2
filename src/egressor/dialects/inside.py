"""
Whether the body of a good answer has to be looked at, and when.

Most providers say by the status that something went wrong, and nobody reads what comes with a 200. Some say it in the
body; for those, a short document is read before it is handed out, so that the attempt may still be retried. What may be
a stream is never waited for: it is listened to while it goes by, and its verdict comes with its end.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from egressor.dialects.reading import known

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EVENTS", "LONGEST", "Heed", "heed"]

LONGEST: Final = 64 * 1024
"""
Bytes of a body that are read for its verdict; a longer one holds data, and no error.
"""
EVENTS: Final = "text/event-stream"
"""
The media type of a stream of events.
"""

_BODILESS: Final = frozenset({204, 205, 206})
# "" is a body of which nothing is said; some exchanges call their JSON plain text, or a script.
_DOCUMENTS: Final = frozenset({"", "application/json", "text/json", "text/javascript", "text/plain"})
_PAGE: Final = "text/html"


class Heed(IntEnum):
    """
    What is done about a good answer's body.
    """

    NOT = 0
    ALONG = 1
    AHEAD = 2


def heed(status: int, headers: Mapping[str, str], dialect: str) -> Heed:
    """
    Say whether the body of an answer of *status* is read before it is handed out, listened to on its way, or neither.

    Args:
        status: The HTTP status.
        headers: The answer's headers, found by their names in any case, or in lower case.
        dialect: The service's dialect.
    """
    if not 200 <= status <= 299 or status in _BODILESS:
        return Heed.NOT
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media == EVENTS:
        # Packed, a stream can only be read from its beginning, and its error stands at its end.
        coding = headers.get("content-encoding", "identity").strip().lower()
        return Heed.ALONG if coding == "identity" else Heed.NOT
    spoken = known(dialect)
    if spoken is None or not _is_document(media, is_inside=spoken.inside, is_json=spoken.is_json):
        return Heed.NOT
    length = headers.get("content-length", "").strip()
    if length.isascii() and length.isdigit() and len(length) < 16:
        return Heed.AHEAD if int(length) <= LONGEST else Heed.NOT
    return Heed.ALONG if spoken.streams and media != _PAGE else Heed.AHEAD


def _is_document(media: str, *, is_inside: bool, is_json: bool) -> bool:
    if media == _PAGE:
        # Where every answer is JSON, a page is the edge's: a challenge, a ban, maintenance.
        return is_json
    return is_inside and (media in _DOCUMENTS or media.endswith("+json"))
