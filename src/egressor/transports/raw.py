"""
urllib3's responses, which lie under those of requests: one that holds a lease, and one whose beginning was read before.

requests has no place where a body could be wrapped: ``Response.raw`` is urllib3's own object, and programs look into
it, ask for its class, and set attributes on it. So it stays the object that it is, and only its class becomes one of
ours, made from its own: what reads and what ends is seen, and then done by urllib3.

A body's end is where urllib3 gives its connection back (`release_conn`), which it also does on the way out of a read
that fails. What a read came to is therefore decided when it is over, and not in the midst of it.

The lease ends exactly once, whichever comes first: the body has ended or is closed; a read fails; the generator that
reads chunks, or the response itself, is dropped. The last two may be the collector's doing, which may interrupt
anything, and so only leave word.
"""

from __future__ import annotations

import io
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .reading import DROPPED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from egressor._core.model import Verdict
    from egressor.governor.streams import Opened

    from .hearing import Heard

__all__ = ["give_up", "hold", "is_readable", "part_of", "readable", "replay", "told_again"]

_PART = 8192
_READ = 8192
_SLICE = 1024
_WHOLE = 64 * 1024


class _Hold:
    """
    A lease, and how deep in reading its body we are.
    """

    __slots__ = ("_depth", "_heard", "_is_over", "_opened", "_verdict")

    def __init__(self, opened: Opened, verdict: Verdict, heard: Heard | None) -> None:
        self._opened: Opened | None = opened
        self._verdict = verdict
        self._heard = heard
        self._depth = 0
        self._is_over = False

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if error is not None or (self._is_over and not self._depth):
            self.end(error)

    def hear(self, data: Any) -> Any:
        """
        Note *data*, which was read, and return it. A read inside of a read is not noted twice.
        """
        if self._heard is not None and self._depth == 1 and isinstance(data, bytes):
            self._heard.feed(data)
        return data

    def is_over(self) -> None:
        """
        The connection was given back; if that is in the midst of a read, the read's outcome is yet to come.
        """
        self._is_over = True
        if not self._depth:
            self.end()
        elif self._heard is not None:
            self._heard.is_whole = True

    def end(self, error: BaseException | None = None) -> None:
        """
        End the lease, with *error* if the body broke. A second time nothing happens.
        """
        opened, self._opened = self._opened, None
        if opened is not None:
            verdict = self._verdict if self._heard is None else self._heard.verdict(self._verdict)
            opened.finish(error, verdict)

    def leave(self, verdict: Verdict | None = None) -> None:
        """
        End the lease soon, with *verdict* or the status's own, from where no lock may be waited for.
        """
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.drop(verdict or self._verdict)


class _Held:
    """
    What a response's class is given in front of its own methods.
    """

    _egressor: _Hold

    def read(self, *args: Any, **kwargs: Any) -> Any:
        """
        Read as urllib3 does.
        """
        with self._egressor:
            return self._egressor.hear(super().read(*args, **kwargs))  # type: ignore[misc]

    def read1(self, *args: Any, **kwargs: Any) -> Any:
        """
        Read as urllib3 does.
        """
        with self._egressor:
            return self._egressor.hear(super().read1(*args, **kwargs))  # type: ignore[misc]

    def read_chunked(self, *args: Any, **kwargs: Any) -> Iterator[bytes]:
        """
        Read chunk by chunk, as urllib3 does.
        """
        parts = super().read_chunked(*args, **kwargs)  # type: ignore[misc]
        while True:
            with self._egressor:
                chunk = self._egressor.hear(next(parts, None))
            if chunk is None:
                return
            try:
                yield chunk
            except GeneratorExit:
                # urllib3 gives such a body up. Perhaps it was the collector that closed us.
                self._egressor.leave()
                raise

    def release_conn(self) -> None:
        """
        Give the connection back, as urllib3 does, and end the lease.
        """
        super().release_conn()  # type: ignore[misc]
        self._egressor.is_over()

    def close(self) -> None:
        """
        Close as urllib3 does, and end the lease.
        """
        try:
            super().close()  # type: ignore[misc]
        except BaseException as error:
            self._egressor.end(error)
            raise
        self._egressor.end()

    def __del__(self) -> None:
        # First, since urllib3's own finaliser closes.
        self._egressor.leave(DROPPED)
        super().__del__()  # type: ignore[misc]


@lru_cache(maxsize=16)
def _held(kind: type) -> type:
    return type(kind.__name__, (_Held, kind), {"__module__": kind.__module__, "__doc__": kind.__doc__})


def hold(raw: Any, opened: Opened, verdict: Verdict, heard: Heard | None = None) -> None:
    """
    Let *raw* hold the lease of *opened*, which ends with *verdict* if all goes well, and *heard* has heard no error.

    A body that isn't urllib3's, from an adapter of somebody's own, doesn't tell when it ends: its lease ends now.
    """
    kept = _Hold(opened, verdict, heard)
    if is_readable(raw):
        raw._egressor = kept  # noqa: SLF001 - ours
        raw.__class__ = _held(raw.__class__)
    else:
        kept.end()


def is_readable(raw: Any) -> bool:
    """
    Whether *raw* is urllib3's, and so can be read as it was sent, and tells when it ends.
    """
    from urllib3 import HTTPResponse

    return isinstance(raw, HTTPResponse)


class _Tape(io.BufferedIOBase):
    """
    A body whose beginning was read before.

    Args:
        chunks: What was read of it.
        rest: The response to read on from; None if it is over.
        error: What reading it came to, to be raised after *chunks*.
    """

    def __init__(self, chunks: Sequence[bytes], *, rest: Any = None, error: BaseException | None = None) -> None:
        self._begin = io.BytesIO(b"".join(chunks))
        self._rest = rest
        self._error = error

    def readable(self) -> bool:
        """
        Say yes.
        """
        return True

    def read1(self, size: int | None = -1) -> bytes:
        """
        Return what there is, at most *size* bytes; nothing at the end.
        """
        data = self._begin.read(size)
        if data or size == 0:
            return data
        if self._error is not None:
            raise self._error
        return b"" if self._rest is None else part_of(self._rest, size if size is not None and size > 0 else _WHOLE)

    def read(self, size: int | None = -1) -> bytes:
        """
        Return at most *size* bytes; all of them if it is negative, or None.
        """
        if size is not None and size >= 0:
            return self.read1(size)
        return b"".join(iter(self.read1, b""))

    def close(self) -> None:
        """
        Close, and give the rest up.
        """
        rest, self._rest = self._rest, None
        if rest is not None:
            give_up(rest)
        super().close()


def replay(raw: Any, chunks: Sequence[bytes], *, rest: Any = None, error: BaseException | None = None) -> Any:
    """
    Return *raw* as if nothing had been read of it: *chunks*, then *error* or what *rest* still has.
    """
    from urllib3 import HTTPResponse

    return HTTPResponse(
        body=_Tape(chunks, rest=rest, error=error),
        headers=raw.headers,
        status=raw.status,
        version=raw.version,
        version_string=raw.version_string,
        reason=raw.reason,
        preload_content=False,
        decode_content=False,
        # Where requests finds the cookies. It is private, and requests reads it all the same.
        original_response=getattr(raw, "_original_response", None),
        enforce_content_length=False,
    )


def told_again(status: int, reason: str, headers: Sequence[tuple[str, str]], chunks: Sequence[bytes]) -> Any:
    """
    Return an answer that was kept as urllib3's.
    """
    from urllib3 import HTTPHeaderDict, HTTPResponse

    return HTTPResponse(
        body=_Tape(chunks),
        headers=HTTPHeaderDict(headers),
        status=status,
        version=11,
        version_string="HTTP/1.1",
        reason=reason,
        preload_content=False,
        decode_content=False,
        enforce_content_length=False,
    )


def part_of(raw: Any, size: int = _PART) -> bytes:
    """
    Return the next bytes of *raw* as they were sent, at most *size*; nothing at the end.
    """
    data: bytes = raw.read1(size, decode_content=False)
    return data


def give_up(raw: Any) -> None:
    """
    Close *raw*, and give its connection's place in the pool back.
    """
    with suppress(Exception):
        raw.close()
        raw.release_conn()


def readable(headers: Mapping[str, str], begin: bytes) -> bytes:
    """
    Return the beginning of a body as the classifier reads it: *begin* without its content encoding, at most 8 KiB.
    """
    if "content-encoding" not in headers:
        return begin[:_READ]
    from urllib3 import HTTPResponse
    from urllib3.exceptions import HTTPError

    encoding = {"content-encoding": headers["content-encoding"]}
    found = HTTPResponse(body=io.BytesIO(begin), headers=encoding, preload_content=False)
    data = bytearray()
    # Small slices: some hundred bytes may unpack to a megabyte. What was cut off, or isn't what its header says, ends
    # with an error: what came out so far is what there is to read.
    with suppress(HTTPError):
        while len(data) < _READ and (part := found.read(_SLICE)):
            data += part
    return bytes(data[:_READ])
