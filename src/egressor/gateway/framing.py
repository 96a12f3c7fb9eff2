"""
The bytes of a connection, read strictly before the HTTP parser sees them.

Request smuggling lives where two programs end one request at different bytes. So nothing reaches the parser unless it
has one reading: a request line of three words, header lines without folds or control characters, one ``Host``, at most
one length, chunks whose size lines are hexadecimal and short. What is left out here is everything else: values are not
interpreted, and no byte is ever changed, so that being wrong here can refuse a request but never shift one.

Which rule refuses what: RFC 9112 sections 2.2 (bare CR, bare LF), 3 (request line), 5.1 and 5.2 (blanks around names,
folds), 6.1 and 6.3 (both lengths, two lengths), 7.1.1 (extensions without end). The parser behind this has rules of its
own, and they hold as well; which of aiohttp's two parsers it is makes no difference to a client.
"""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["Framing", "FramingError"]

LONGEST_HEAD = 65_536
"""
Bytes that a request's line and headers may have together.
"""

LONGEST_EXTENSIONS = 4_096
"""
Bytes that the size lines of one body may hold besides their numbers.
"""

LONGEST_TRAILERS = 16_384
"""
Bytes that the fields after a chunked body may have together.
"""

_NAME = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_FIELD = _NAME + rb":[\t -~\x80-\xff]*+\r\n"
_LINE = rb"[A-Z][A-Z0-9_-]{0,31} /[!-~]*+ HTTP/1\.[01]\r\n"
_HEAD = re.compile(_LINE + rb"(?:" + _FIELD + rb")*+\r\n")
_TRAILERS = re.compile(rb"(?:" + _FIELD + rb")*+\r\n")
_WEIGHTY = re.compile(rb"(?i)\n(host|content-length|transfer-encoding|upgrade|expect):[\t ]*+([^\r]*+)")
# Fields that say where a body ends, where a request goes, or who sent it, have their place before the body.
_TOO_LATE = re.compile(
    rb"(?i)(?:^|\n)(?:host|content-length|transfer-encoding|connection|trailer|te|upgrade|expect|cookie|authorization|"
    rb"proxy-authorization|x-api-key|api-key|x-goog-api-key|egressor-[a-z-]*):"
)
_BEGINNING = re.compile(rb"[A-Z][A-Z0-9_-]{0,31}(?: |\Z)")
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|\x00")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})((?:[\t ]*+;[\t -~\x80-\xff]++)?)\r\n")
_LENGTH = re.compile(rb"[0-9]{1,18}")


class FramingError(Exception):
    """
    Bytes that have no single reading; the message says what is wrong, and repeats none of them.
    """


class TunnelError(FramingError):
    """
    The client takes the gateway for a proxy that it is not.
    """


class Framing:
    """
    Where one connection's requests begin and end.

    It is fed with what arrives, and hands out what may go to the parser: a request's head as a whole, a body's bytes as
    they come, the lines between chunks as a whole.
    """

    __slots__ = ("_extensions", "_held", "_known", "_left", "_read", "_stops")

    def __init__(self) -> None:
        self._held = b""
        self._known = 0
        self._left = 0
        self._extensions = 0
        self._stops = False
        self._read: Callable[[bytes, int], int] = self._head

    def feed(self, data: bytes) -> bytes:
        """
        Return what may go to the parser now.

        Behind a request that asks for another protocol nothing is handed out until the next call, or `rest`.

        Raises:
            FramingError: *data* can't be read in one way.
        """
        if not self._held and self._read == self._body and len(data) < self._left:
            self._left -= len(data)
            return data
        # What waits for its end has been searched: a client that drips byte by byte doesn't have it searched each time.
        self._known = 0 if self._stops else len(self._held)
        if self._held:
            data = self._held + data
        self._stops = False
        at = 0
        while at < len(data) and not self._stops:
            after = self._read(data, at)
            if after < 0:
                break
            at = after
        self._held = data[at:]
        return data[:at] if self._held else data

    @property
    def has_stopped(self) -> bool:
        """
        Whether more is held back only because the last request asked for another protocol.
        """
        return self._stops and bool(self._held)

    def rest(self) -> bytes:
        """
        Return what was held back, and forget it: the connection speaks another protocol from there on.
        """
        held, self._held = self._held, b""
        return held

    # Each of these reads one thing at *at*, and returns where the next one begins; -1 if not all of it is there.

    def _head(self, data: bytes, at: int) -> int:
        if data.startswith(b"\r\n", at):
            return at + 2  # RFC 9112 section 2.2: empty lines before a request are passed over.
        end = data.find(b"\r\n\r\n", max(at, self._known - 3)) + 4
        if end < 4:
            _suspect(data, at, max(at, self._known - 1))
            return -1
        if end - at > LONGEST_HEAD:
            raise FramingError(_TOO_LONG)
        head = data[at:end]
        if head.startswith(b"CONNECT "):
            # It would turn the connection into a tunnel as soon as the parser has read it.
            message = "CONNECT is not forwarded: a path begins with a service's name"
            raise TunnelError(message)
        if _HEAD.fullmatch(head) is None:
            message = "the request's line or one of its headers is malformed"
            raise FramingError(message)
        self._weigh(head)
        return end

    def _weigh(self, head: bytes) -> None:
        fields: dict[bytes, bytes] = {}
        for name, value in _WEIGHTY.findall(head):
            low = name.lower()
            if low in fields and low not in (b"upgrade", b"expect"):
                message = f"{low.decode()} is there twice"
                raise FramingError(message)
            fields[low] = value.rstrip(b"\t ")
        if b"host" not in fields:
            message = "there is no host"
            raise FramingError(message)
        if b"expect" in fields and fields[b"expect"].lower() != b"100-continue":
            message = "the only expectation is 100-continue"
            raise FramingError(message)
        self._stops = b"upgrade" in fields
        coding, length = fields.get(b"transfer-encoding"), fields.get(b"content-length")
        if coding is not None:
            # HTTP/1.0 has no chunks: a proxy of that age in front of us would see a body without an end.
            if length is not None or coding.lower() != b"chunked" or b" HTTP/1.0\r\n" in head:
                message = "transfer-encoding must be chunked, alone, and without content-length"
                raise FramingError(message)
            self._extensions = 0
            self._read = self._size
        elif length is not None:
            if _LENGTH.fullmatch(length) is None:
                message = "content-length is not a number of at most 18 digits"
                raise FramingError(message)
            self._left = int(length)
            if self._left:
                self._read = self._body

    def _body(self, data: bytes, at: int) -> int:
        size = min(self._left, len(data) - at)
        self._left -= size
        if not self._left:
            self._read = self._head
        return at + size

    def _size(self, data: bytes, at: int) -> int:
        end = _line(data, at, LONGEST_EXTENSIONS, max(at, self._known - 1))
        if end < 0:
            return -1
        found = _SIZE.fullmatch(data, at, end)
        if found is None:
            message = "a chunk's size line is malformed"
            raise FramingError(message)
        self._extensions += len(found[2])
        if self._extensions > LONGEST_EXTENSIONS:
            message = f"the body's chunk extensions have more than {LONGEST_EXTENSIONS} bytes"
            raise FramingError(message)
        self._left = int(found[1], 16)
        self._read = self._chunk if self._left else self._trailers
        return end

    def _chunk(self, data: bytes, at: int) -> int:
        size = min(self._left, len(data) - at)
        self._left -= size
        if not self._left:
            self._read = self._border
        return at + size

    def _border(self, data: bytes, at: int) -> int:
        if len(data) - at < 2 and data[at] == 13:
            return -1
        if not data.startswith(b"\r\n", at):
            message = "a chunk's data does not end where its size says"
            raise FramingError(message)
        self._read = self._size
        return at + 2

    def _trailers(self, data: bytes, at: int) -> int:
        end = at + 2 if data.startswith(b"\r\n", at) else data.find(b"\r\n\r\n", max(at, self._known - 3)) + 4
        if end < 4 and end != at + 2:
            if len(data) - at > LONGEST_TRAILERS:
                raise FramingError(_TOO_LONG)
            _only_pairs(data, max(at, self._known - 1))
            return -1
        trailers = data[at:end]
        if len(trailers) > LONGEST_TRAILERS or _TRAILERS.fullmatch(trailers) is None or _TOO_LATE.search(trailers):
            message = "a field after the body is malformed, or may not stand there"
            raise FramingError(message)
        self._read = self._head
        return end


_TOO_LONG = f"the headers have more than {LONGEST_HEAD} bytes, or the fields after a body more than {LONGEST_TRAILERS}"


def _line(data: bytes, at: int, longest: int, fresh: int) -> int:
    end = data.find(b"\n", at, at + longest) + 1
    if not end:
        if len(data) - at >= longest:
            message = f"a line between chunks has more than {longest} bytes"
            raise FramingError(message)
        _only_pairs(data, fresh)
        return -1
    return end


def _suspect(data: bytes, at: int, fresh: int) -> None:
    """
    Refuse the beginning of a head at *at* that can't become one, so that nobody waits for its end.

    What stands before *fresh* has been looked at.
    """
    if len(data) - at > LONGEST_HEAD:
        raise FramingError(_TOO_LONG)
    if not (len(data) - at == 1 and data[at] == 13) and _BEGINNING.match(data, at) is None:
        message = "this is no HTTP request"
        raise FramingError(message)
    _only_pairs(data, fresh)


def _only_pairs(data: bytes, fresh: int) -> None:
    if _BARE.search(data, fresh):
        message = "a line does not end in CR LF, or holds NUL"
        raise FramingError(message)
