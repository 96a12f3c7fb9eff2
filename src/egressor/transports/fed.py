"""
aiohttp's streams of bodies: one that is listened to while it is fed, and one whose body was read before.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .hearing import Heard

__all__ = ["come", "forget", "listen", "replayed"]

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


def replayed(body: bytes) -> Any:
    """
    Return a stream that holds *body*, and its end.
    """
    from asyncio import get_running_loop

    from aiohttp import StreamReader
    from aiohttp.base_protocol import BaseProtocol

    loop = get_running_loop()
    stream = StreamReader(BaseProtocol(loop), _LIMIT, loop=loop)
    stream.feed_data(body)
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
