"""
httpx2 and httpx: two libraries with one surface, whose classes know nothing of each other.

Each asserts that a response's body is an instance of its own base class, so that the bodies that we hand out are made
once for each family, from the same code. A request's class tells which family is asked.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from egressor.errors import ConfigError

from .bodies import AsyncBody, AsyncWatched, Body, Watched

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Family", "family_of"]

_NAMES = ("httpx2", "httpx")
_READ = 8192
_SLICE = 1024


class Family:
    """
    One of the two libraries.

    Args:
        name: ``httpx2`` or ``httpx``.

    Attributes:
        name: Its name.
        library: Its module.
        body: `Body`, as this family's stream.
        async_body: `AsyncBody`, likewise.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        library: Any = import_module(name)
        self.library = library
        self.body: Any = type("Body", (Body, library.SyncByteStream), {})
        self.async_body: Any = type("AsyncBody", (AsyncBody, library.AsyncByteStream), {})
        self._watched: Any = type("Watched", (Watched, library.SyncByteStream), {})
        self._async_watched: Any = type("AsyncWatched", (AsyncWatched, library.AsyncByteStream), {})

    def watch(self, stream: Any, *, is_async: bool) -> Any:
        """
        Return a request's body so that it is seen whether it was begun; None for one that can be sent again and again.
        """
        if isinstance(stream, self.library.ByteStream):
            return None
        fields = getattr(stream, "fields", None)
        if isinstance(fields, list) and all(map(_rewinds, fields)):
            return None
        return (self._async_watched if is_async else self._watched)(stream)

    def unread(self, response: Any) -> bytes | None:
        """
        Return the body of *response*, which was read already, as it came; None if it was unpacked, and nobody knows.
        """
        if isinstance(response.stream, self.library.ByteStream):
            return b"".join(response.stream)
        content: bytes = response.content
        return None if "content-encoding" in response.headers else content

    def readable(self, headers: Mapping[str, str], raw: bytes) -> bytes:
        """
        Return the beginning of a body as the classifier reads it: *raw* without its content encoding, at most 8 KiB.
        """
        if "content-encoding" not in headers:
            return raw[:_READ]
        # Small slices: some hundred bytes may unpack to a megabyte.
        slices = [raw[at : at + _SLICE] for at in range(0, len(raw), _SLICE)]
        response = self.library.Response(200, headers=headers, stream=self.body(None, chunks=slices))
        found = bytearray()
        try:
            for part in response.iter_bytes():
                found += part
                if len(found) >= _READ:
                    break
        except self.library.DecodingError:
            # It was cut off, or is not what its header says: what came out so far is what there is to read.
            return bytes(found)
        return bytes(found[:_READ])


def _rewinds(field: Any) -> bool:
    """
    Whether a field of a multipart body can be rendered again.
    """
    file = getattr(field, "file", b"")
    if isinstance(file, (bytes, str)):
        return True
    seekable = getattr(file, "seekable", None)
    return callable(seekable) and bool(seekable())


_family = lru_cache(maxsize=len(_NAMES))(Family)


def family_of(request: object) -> Family:
    """
    Return the family of *request*.

    Raises:
        ConfigError: It is no request of either.
    """
    for kind in type(request).__mro__:
        name = kind.__module__.partition(".")[0]
        if name in _NAMES:
            return _family(name)
    msg = f"a request of httpx2 or httpx is needed, not of {type(request).__module__}"
    raise ConfigError(msg, key="request")
