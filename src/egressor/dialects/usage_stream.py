"""
What a stream says that it used, read while its bytes go by.

A relay hands the bytes on as they come; this looks at them beside it, and must not cost what the relay saves. So a
frame is parsed only if it can say something: which model (the first one), usage, or the end. All others are only
searched for the lengths of their texts, from which a stream that the client leaves is estimated; many together, if they
come together.

Server-sent events may be cut anywhere, end their lines in three ways, and hold comments, blank lines and data over
several lines; what is read is the same however the bytes were cut. Of a frame longer than 256 KiB only its last 64 KiB
are read: usage comes last, after an answer that is repeated whole.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Final, NamedTuple

from egressor.dialects.bodies import dig
from egressor.dialects.usage import Reported, Totals, parse

__all__ = ["BodyReader", "StreamReader", "Streamed"]

LONGEST: Final = 256 << 10
TAIL: Final = 64 << 10
_HEAD: Final = 512

# What only a frame has that may say something; tested one by one, since that is quicker than a pattern.
_TELLING: Final = (b'"usage', b"[DONE]", b'"message_stop"', b'"error"', b'"response.', b'"finishReason"')
_NO_USAGE: Final = re.compile(rb'"usage"\s*:\s*null')
_USAGE: Final = re.compile(rb'"(?:usage|usageMetadata)"\s*:\s*(?=\{)')
_TEXT: Final = re.compile(
    rb'"(?:content|text|delta|thinking|reasoning|reasoning_content|refusal|arguments|partial_json)"[ \t]*:[ \t]*'
    rb'"((?:[^"\\\n]|\\.)*)"'
)
_KIND: Final = re.compile(rb'"type"\s*:\s*"(response\.[a-z_.]+)"')
_ENDS: Final = frozenset({"message_stop", "response.completed", "response.incomplete", "response.failed"})


class Streamed(NamedTuple):
    """
    What a stream, or a body, said so far.

    Attributes:
        reported: What it used, and of which model and tier it is.
        ended: Whether it came to its end, and was not cut off.
        failed: Whether it carried an error.
        text_bytes: Bytes of text that came, as they stand in JSON: what an estimate goes by if the rest never comes.
            Of a body that says what it used they are not counted.
        all_bytes: All bytes that came.
    """

    reported: Reported
    ended: bool
    failed: bool
    text_bytes: int
    all_bytes: int


class StreamReader:
    """
    The reader of one stream of server-sent events; nothing is asked of the dialect, as the frames tell their form.
    """

    def __init__(self) -> None:
        self._totals = Totals()
        self._held = bytearray()
        self._skipped = 0
        self._head = b""
        self._after_cr = False
        self._named = False
        self._latest: bytes | None = None
        self._ended = False
        self._failed = False
        self._text = 0
        self._bytes = 0

    def feed(self, data: bytes) -> None:
        """
        Look at the next *data* of the stream, of any length.
        """
        if not data:
            return
        self._bytes += len(data)
        if self._after_cr or b"\r" in data:
            data = self._plain(data)
        held = self._held
        if not held and data.endswith(b"\n\n"):
            # Nearly always: whole frames, nothing left from before.
            self._frames(data)
            return
        if not held:
            data = data.lstrip(b"\n")
        # A blank line may have been cut in its middle.
        begin = max(0, len(held) - 1)
        held += data
        end = held.rfind(b"\n\n", begin)
        if end >= 0:
            whole = bytes(held[: end + 2])
            del held[: end + 2]
            self._frames(whole)
        if len(held) > 2 * LONGEST:
            self._shorten()

    def finish(self) -> Streamed:
        """
        Say that the stream is over, and return what it said. A last frame without a blank line counts.
        """
        if self._held:
            last = bytes(self._held)
            self._held.clear()
            self._frames(last)
        return self.report()

    def report(self) -> Streamed:
        """
        Return what the stream has said so far.
        """
        if self._latest is not None:
            self._totals.add(parse(self._latest))
            self._latest = None
        return Streamed(self._totals.report(), self._ended, self._failed, self._text, self._bytes)

    def _plain(self, data: bytes) -> bytes:
        """
        Return *data* with one kind of line ending, also where a CR LF was cut in two.
        """
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            if not data:
                self._after_cr = False
                return data
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _shorten(self) -> None:
        cut = len(self._held) - LONGEST
        self._head = self._head or bytes(self._held[:_HEAD])
        self._skipped += cut
        del self._held[:cut]

    def _frames(self, data: bytes) -> None:
        if self._named and not self._skipped and len(data) <= LONGEST and not _may_tell(data):
            # No text reaches beyond its line, so those of many frames are found as those of each.
            self._text += sum(map(len, _TEXT.findall(data)))
            return
        for frame in data.split(b"\n\n"):
            plain = frame.strip(b"\n")
            if plain:
                self._frame(plain)

    def _frame(self, frame: bytes) -> None:
        if self._skipped or len(frame) > LONGEST:
            self._text += self._skipped + len(frame) - TAIL
            self._long(self._head or frame[:_HEAD], frame[-TAIL:])
            self._skipped, self._head = 0, b""
            return
        # The end of a response repeats all of it: only what was new is counted.
        if b'"response.' not in frame or b'.delta"' in frame:
            self._text += sum(map(len, _TEXT.findall(frame)))
        for word in _TELLING:
            if word in frame:
                self._telling(frame)
                return
        if not self._named:
            self._telling(frame)

    def _telling(self, frame: bytes) -> None:
        data = _data(frame)
        if data is None:
            return
        if data.strip() == b"[DONE]":
            self._ended = True
            return
        if self._named and b'"usage' in data and _only_null(data):
            return
        if self._named and b'"usageMetadata"' in data and b'"finishReason"' not in data and b'"error"' not in data:
            # Gemini's every piece states the totals so far: only the latest is worth parsing, once somebody asks.
            self._latest = data
            return
        parsed = parse(data)
        if not isinstance(parsed, dict):
            return
        self._named = True
        self._totals.add(parsed)
        kind = str(parsed.get("type"))
        if kind in _ENDS or _is_finished(parsed):
            self._ended = True
        if kind in {"error", "response.failed"} or isinstance(parsed.get("error"), dict):
            self._failed = True

    def _long(self, head: bytes, tail: bytes) -> None:
        """
        Look at the beginning and the end of a frame that is too long to be kept.
        """
        kind = _KIND.search(head)
        if kind is not None and kind[1].decode() in _ENDS:
            self._ended = True
        _from_tail(self._totals, tail)


class BodyReader:
    """
    The reader of one body that is no stream of events; it keeps 256 KiB of it, and the end of a longer one.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._bytes = 0

    def feed(self, data: bytes) -> None:
        """
        Look at the next *data* of the body.
        """
        self._bytes += len(data)
        self._held += data
        if len(self._held) > 2 * LONGEST:
            del self._held[: len(self._held) - LONGEST]

    def report(self, *, ended: bool) -> Streamed:
        """
        Return what the body said; *ended* tells whether all of it has come.
        """
        totals = Totals()
        parsed: object = None
        if self._bytes > LONGEST:
            _from_tail(totals, bytes(self._held[-TAIL:]))
        else:
            parsed = parse(self._held)
            totals.add(parsed)
        failed = isinstance(dig(parsed, ("error",)), dict)
        reported = totals.report()
        text = self._bytes if self._bytes > LONGEST else 0
        if not (text or reported.said):
            text = sum(map(len, _TEXT.findall(self._held)))
        return Streamed(reported, ended, failed, text, self._bytes)


def _data(frame: bytes) -> bytes | None:
    """
    Return the data of a frame, its lines joined; None for a comment, or a frame without any.
    """
    lines = [line[5:].removeprefix(b" ") for line in frame.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def _may_tell(data: bytes) -> bool:
    """
    Tell whether one of the frames in *data* may say something, as OpenAI's ``null`` for usage does not.
    """
    return (b'"usage' in data and not _only_null(data)) or any(word in data for word in _TELLING[1:])


def _only_null(data: bytes) -> bool:
    """
    Tell whether the only usage in *data* is OpenAI's ``null`` of all but the last chunk.
    """
    return len(_NO_USAGE.findall(data)) == data.count(b'"usage') and not any(
        word in data for word in (b'"error"', b'"message_stop"', b'"finishReason"', b'"response.')
    )


def _is_finished(parsed: dict[str, object]) -> bool:
    """
    Tell whether it is Gemini's last piece, which says why it ended.
    """
    return "usageMetadata" in parsed and isinstance(dig(parsed, ("candidates", 0, "finishReason")), str)


def _from_tail(totals: Totals, tail: bytes) -> None:
    """
    Read the last usage that stands whole in *tail*, the end of a document.
    """
    places = [found.end() for found in _USAGE.finditer(tail)]
    if not places:
        return
    decoder = json.JSONDecoder(parse_float=Decimal)
    try:
        usage, _ = decoder.raw_decode(tail[places[-1] :].decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return
    totals.add({"usage": usage} if "promptTokenCount" not in usage else {"usageMetadata": usage})
