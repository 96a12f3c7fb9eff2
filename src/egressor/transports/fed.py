"""
aiohttp's streams of bodies: one that is listened to while it is fed, and one whose body was read before.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from egressor._core.cache import Entry

    from .hearing import Heard

__all__ = ["come", "forget", "given_again", "listen", "replayed"]

_LIMIT = 64 * 1024

_EARS: dict[int, Heard] = {}
"""
Who listens to a body that comes, by the identity of its stream: aiohttp's own class has no place for more.
"""


def listen(content: Any, heard: Heard) -> None:
    """
    Tell *heard* what has come of the body of *content*, and what is yet to come, until `forget`.
    """
    come(content, heard)
    content.__class__ = _telling(content.__class__)
    _EARS[id(content)] = heard


def forget(content: Any) -> None:
    """
    Tell nobody any more what comes.
    """
    _EARS.pop(id(content), None)


def come(content: Any, heard: Heard) -> Heard:
    """
    Tell *heard* what has come of a body already, and return it.
    """
    for part in content._buffer:  # noqa: SLF001 - there is no other way to look without taking
        heard.feed(bytes(part))
    heard.is_whole = content.is_eof()
    return heard


def given_again(request: Any, entry: Entry, headers: Sequence[tuple[str, str]]) -> Any:
    """
    Return an answer that was kept as aiohttp's response to *request*, with no connection.
    """
    from asyncio import get_running_loop

    from aiohttp import HttpVersion11
    from multidict import CIMultiDict, CIMultiDictProxy

    response: Any = request.response_class(
        request.method,
        request.original_url,
        writer=None,
        continue100=None,
        timer=None,
        request_info=request.request_info,
        traces=[],
        loop=get_running_loop(),
        session=request._session,  # noqa: SLF001 - there is no public way to make a response
        stream_writer=_Unwritten(),
    )
    response.version = HttpVersion11
    response.status, response.reason = entry.status, entry.reason
    response._closed = False  # noqa: SLF001 - likewise
    response._headers = CIMultiDictProxy(CIMultiDict(headers))  # noqa: SLF001
    response._raw_headers = tuple([(name.encode(), value.encode()) for name, value in headers])  # noqa: SLF001
    response.content = replayed(*entry.chunks)
    return response


class _Unwritten:
    """
    Stands for the writer of a request that was not sent.
    """

    output_size = 0


def replayed(*chunks: bytes) -> Any:
    """
    Return a stream that holds *chunks*, and its end.
    """
    from asyncio import get_running_loop

    from aiohttp import StreamReader
    from aiohttp.base_protocol import BaseProtocol

    loop = get_running_loop()
    # Above its limit a stream asks its connection to pause, and here there is none.
    limit = max(_LIMIT, sum(map(len, chunks)))
    stream = StreamReader(BaseProtocol(loop), limit, loop=loop)
    for chunk in chunks:
        stream.feed_data(chunk)
    stream.feed_eof()
    return stream


@lru_cache(maxsize=16)
def _telling(kind: type) -> type:
    """
    Return a stream's class that tells what it is fed.
    """

    def feed_data(self: Any, data: bytes, *args: Any, **kwargs: Any) -> Any:
        heard = _EARS.get(id(self))
        if heard is not None:
            heard.feed(data)
        return kind.feed_data(self, data, *args, **kwargs)  # type: ignore[attr-defined]

    body = {"__slots__": (), "__module__": kind.__module__, "__doc__": kind.__doc__, "feed_data": feed_data}
    return type(kind.__name__, (kind,), body)
