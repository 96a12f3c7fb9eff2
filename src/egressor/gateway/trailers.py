"""
Fields behind an answer's chunked body (trailers: checksums, the outcome of what was streamed), which aiohttp drops.

An upstream's bytes are watched beside the parser that reads them, from the end of a head that announces such fields
(``Trailer``) on; all others cost nothing. The watch changes no byte, and where it can't read a body, that body just has
no trailers. They go on to a client that says that it takes them (``TE: trailers``), if they are announced, and are none
of those that only make sense in front of a body: RFC 9110 sections 6.5 and 10.1.4.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import ClientResponse
from aiohttp.client_proto import ResponseHandler

from .framing import Framing, FramingError
from .headers import onward

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aiohttp.connector import Connection

__all__ = ["TrailedConnection", "TrailedResponse", "Watch", "announced"]

_Raw = tuple[bytes, bytes]
_LONGEST_HEAD = 65_536
# What says how to frame, route, read, keep or answer a message has its place in front of the body.
_TOO_LATE = frozenset(
    {
        "age",
        "authorization",
        "cache-control",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "cookie",
        "date",
        "expires",
        "host",
        "location",
        "retry-after",
        "set-cookie",
        "vary",
        "www-authenticate",
    }
)


_MOST_NAMES = 64
_NOTHING = b"", b"", b""


def announced(raw: Iterable[_Raw]) -> list[str]:
    """
    Return the names that the ``Trailer`` headers among *raw* announce, without those that don't go on.
    """
    raw = list(raw)
    values = [value.decode("latin-1") for name, value in raw if name.lower() == b"trailer"]
    names = dict.fromkeys(each.strip() for value in values for each in value.split(",")[:_MOST_NAMES])
    wanted = [(name.encode(), b"") for name in names if name.isascii() and name.lower() not in _TOO_LATE]
    # What a Connection header names goes on neither in front of the body nor behind it (RFC 9110 section 7.6.1).
    good = onward([*(pair for pair in raw if pair[0].lower() == b"connection"), *wanted])
    return [name for name, _ in good if name][:_MOST_NAMES]


class Watch(Framing):
    """
    Where a chunked body ends, and what stands behind it.

    Args:
        names: The fields to look for.

    Attributes:
        fields: Those that were there, once the body is at its end.
    """

    __slots__ = ("_names", "fields")

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self._names = frozenset(name.lower().encode() for name in names)
        self.fields: list[_Raw] = []
        self._read = self._size

    def see(self, data: bytes) -> None:
        """
        Look at the next bytes of the body.
        """
        try:
            self.feed(data)
        except FramingError:
            self._read = _past

    def _trailers(self, data: bytes, at: int) -> int:
        end = super()._trailers(data, at)
        if end > 0:
            pairs = (line.partition(b":") for line in data[at:end].split(b"\r\n"))
            self.fields = [(name, value.strip(b"\t ")) for name, _, value in pairs if name.lower() in self._names]
            self._read = _past
        return end


def _past(data: bytes, at: int) -> int:  # noqa: ARG001 - as all of a framing's readers
    return len(data)


class TrailedConnection(ResponseHandler):
    """
    A connection to an upstream, with a `Watch` where one is of use.

    Attributes:
        watch: That of the present answer, once its head is there; None if it announces nothing.
    """

    def __init__(self, loop: Any) -> None:
        super().__init__(loop)
        self.watch: Watch | None = None
        # What has come of a head; None outside of one.
        self._seen: bytes | None = None

    def set_response_params(self, **params: Any) -> None:
        """
        Get ready for the next answer.
        """
        self.watch, self._seen = None, b""
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """
        Take *data*.
        """
        if self.watch is not None:
            self.watch.see(data)
        elif self._seen is not None:
            self._seen = self._seen + data if len(self._seen) <= _LONGEST_HEAD else None
        super().data_received(data)

    def feed_data(self, data: Any, size: int = 0) -> None:
        """
        Take the head of an answer, be it an interim one.
        """
        message, _ = data
        if self._seen is not None:
            is_interim = 100 <= message.code < 200 and message.code != HTTPStatus.SWITCHING_PROTOCOLS
            names = announced(message.raw_headers) if message.chunked and "Trailer" in message.headers else []
            head, mark, behind = self._seen.partition(b"\r\n\r\n") if is_interim or names else _NOTHING
            self._seen = behind if is_interim else None
            # A head of bare line feeds ends somewhere else: what stands behind it can't be told from the body.
            if names and mark and head.count(b"\n") == head.count(b"\r\n"):
                self.watch = Watch(names)
                self.watch.see(behind)
        super().feed_data(data, size)


class TrailedResponse(ClientResponse):
    """
    An answer that knows its trailers.
    """

    _watch: Watch | None = None

    async def start(self, connection: Connection) -> ClientResponse:
        """
        Wait for the head.
        """
        protocol = connection.protocol
        await super().start(connection)
        # Now, since the connection may belong to another answer as soon as this one is whole.
        self._watch = protocol.watch if isinstance(protocol, TrailedConnection) else None
        return self

    @property
    def trailers(self) -> Sequence[_Raw]:
        """
        The fields behind the body, once it is at its end.
        """
        return self._watch.fields if self._watch is not None else ()
