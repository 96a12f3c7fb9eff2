"""
A request's body: kept if it is small, so that it can be sent again; else passed on piece by piece, once.

Its first 64 KiB are there before a lease is asked for, unless the client waits for ``100 Continue``. From then on it
must come at the configured rate, as long as it is waited for and not for its upstream: a lease is not for clients that
drip. Where it has to be read (for its price, its tokens, its model, or a cache), all of it is there before, up to a
bound of its own and one over all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import TYPE_CHECKING

from .problems import Problem, RefusedError

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest

    from egressor.policies import Gateway as Settings

__all__ = ["SMALL", "Body", "Shelf", "open_body"]

SMALL = 65_536
"""
Bytes up to which any body is kept.
"""

# A body that is kept must come at so many bytes a second on the whole, as it takes others' room.
_KEEPING = 1 << 18
# What a body may hold to be read: lists and tables, and values. Each takes many times its bytes, and the loop's time.
_BRACKETS = 100_000
_COMMAS = 1_000_000
# Seconds that a body may be waited for, all in all, before its rate matters.
_FREE = 5.0
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Shelf:
    """
    The room for bodies that are longer than 64 KiB and kept.

    Attributes:
        most: Bytes that there is room for, the first 64 KiB of each not counted.
        taken: Bytes that are kept.
    """

    __slots__ = ("most", "taken")

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0

    def take(self, size: int) -> None:
        """
        Make room for *size* more bytes.

        Raises:
            RefusedError: There is none.
        """
        if self.taken + size > self.most:
            detail = f"the bodies that are kept to be read may have {self.most} bytes together, and more have come"
            raise RefusedError(Problem(503, "crowded", "No room for one more body", detail, retry_after=1.0))
        self.taken += size


class Body:
    """
    What the client sends.

    Attributes:
        length: Its bytes; None if the client has not said.
        is_spent: Whether a part of it is gone that can't be had again.
        is_done: Whether all of it has been read.
        fault: What the client did wrong while it was read.
    """

    __slots__ = (
        "_expects",
        "_head",
        "_most",
        "_request",
        "_settings",
        "_shelf",
        "fault",
        "is_done",
        "is_spent",
        "is_tangled",
        "length",
    )

    def __init__(
        self,
        request: BaseRequest,
        settings: Settings,
        *,
        head: bytes = b"",
        is_done: bool = True,
        length: int | None = None,
        expects: bool = False,
        most: int = SMALL,
    ) -> None:
        self._request = request
        self._settings = settings
        self._head = head
        self._expects = expects
        self.length = length
        self.is_done = is_done
        self.is_spent = False
        # Whether it holds more values than anybody should read.
        self.is_tangled = False
        self.fault: Problem | None = None
        # Where more than the first 64 KiB of it have a place, and how long it might have been to be kept.
        self._shelf: Shelf | None = None
        self._most = most

    def close(self) -> None:
        """
        Give back the room that it has taken: nobody sends it again.
        """
        shelf, self._shelf = self._shelf, None
        if shelf is not None:
            shelf.taken -= max(0, len(self._head) - SMALL)

    @property
    def unread(self) -> str:
        """
        Why it can't be read; empty if it can.
        """
        if self.is_kept:
            return ""
        if self.is_tangled:
            return f"its body holds more than {_COMMAS:,} values, or {_BRACKETS:,} lists and tables"
        which = "kept_body" if self._most >= self._settings.kept_body else "there is no room for more, see kept_bodies"
        return f"its body is longer than the {self._most} bytes up to which it is read ({which})"

    @property
    def size(self) -> int:
        """
        How many bytes it has, as far as is known: all that the client has said, or that have come.
        """
        return len(self._head) if self.length is None else self.length

    @property
    def is_kept(self) -> bool:
        """
        Whether it can be sent any number of times.
        """
        return self.is_done and not self.is_spent

    def payload(self) -> bytes | AsyncIterator[bytes] | None:
        """
        Return what is to be sent: None for no body.
        """
        if self.is_kept:
            return None if self.length is None else self._head
        return self._stream()

    async def _stream(self) -> AsyncIterator[bytes]:
        self.is_spent = True
        if self._head:
            yield self._head
        left = self._settings.max_body - len(self._head)
        loop = asyncio.get_running_loop()
        came, waited = 0, 0.0
        try:
            while True:
                began = loop.time()
                chunk = await _read(self._request, _patience(self._settings, came, waited), expects=self._expects)
                if not chunk:
                    break
                waited += loop.time() - began
                came += len(chunk)
                self._expects = False
                left -= len(chunk)
                _check(left, self._settings)
                yield chunk
        except RefusedError as error:
            self.fault = error.problem
            raise
        self.is_done = True


def _patience(settings: Settings, came: int, waited: float) -> float:
    """
    Return the seconds until the next piece must be there, after *came* bytes for which *waited* seconds went by.
    """
    if not settings.body_rate:
        return settings.body_timeout
    return min(settings.body_timeout, max(0.0, max(_FREE, came / settings.body_rate) - waited))


async def open_body(request: BaseRequest, settings: Settings, *, expects: bool, shelf: Shelf | None = None) -> Body:
    """
    Take *request*'s body: all of it if it has at most `SMALL` bytes, or *kept_body* where it has to be read.

    The rest of a longer one is left where it is until an attempt sends it; all of it, where the client waits for ``100
    Continue``, so that nothing is uploaded for a call that is refused.

    Args:
        request: The request.
        settings: How long and how slow it may be.
        expects: Whether the client waits for ``100 Continue``.
        shelf: Where it is kept if it has to be read; it is to be closed then. None if it needn't be.

    Raises:
        RefusedError: It is too long, comes too slowly, or in a wrong form; or there is no room for it.
    """
    length = request.content_length
    if not request.body_exists:
        return Body(request, settings, length=length)
    _check(settings.max_body - (length or 0), settings)
    # One for which there would never be room goes on as any other.
    most = SMALL if shelf is None else max(SMALL, min(settings.kept_body, SMALL + shelf.most))
    is_long = length is not None and length > most
    if is_long and expects:
        return Body(request, settings, is_done=False, length=length, expects=expects, most=most)
    head = bytearray()
    try:
        # What has come whole is not waited for.
        async with nullcontext() if request.content.is_eof() else asyncio.timeout(settings.body_timeout):
            while len(head) <= SMALL:
                chunk = await _read(request, None, expects=expects)
                if not chunk:
                    return Body(request, settings, head=bytes(head), length=len(head))
                head += chunk
                expects = False
                _check(settings.max_body - len(head), settings)
    except TimeoutError:
        raise RefusedError(_slow(settings.body_timeout)) from None
    if shelf is None or is_long or most == SMALL:
        return Body(request, settings, head=bytes(head), is_done=False, length=length, most=most)
    is_whole = await _kept(request, settings, head, shelf, most=most)
    is_tangled = head.count(b"[") + head.count(b"{") > _BRACKETS or head.count(b",") > _COMMAS
    is_done = is_whole and not is_tangled
    length = len(head) if is_whole else length
    body = Body(request, settings, head=bytes(head), is_done=is_done, length=length, most=most)
    body.is_tangled = is_tangled
    body._shelf = shelf  # noqa: SLF001 - it is made here
    return body


async def _kept(request: BaseRequest, settings: Settings, head: bytearray, shelf: Shelf, *, most: int) -> bool:
    """
    Read on behind *head*, up to *most* bytes, with room on *shelf* for them; return whether that is all.

    Raises:
        RefusedError: As `open_body`; then no room is taken.
    """
    loop = asyncio.get_running_loop()
    taken = came = 0
    waited, whole = 0.0, settings.body_timeout + most / _KEEPING
    try:
        shelf.take(len(head) - SMALL)
        taken = len(head) - SMALL
        async with asyncio.timeout(whole):
            while len(head) <= most:
                began = loop.time()
                chunk = await _read(request, _patience(settings, came, waited), expects=False)
                if not chunk:
                    return True
                waited += loop.time() - began
                came += len(chunk)
                _check(settings.max_body - len(head) - len(chunk), settings)
                shelf.take(len(chunk))
                taken += len(chunk)
                head += chunk
    except TimeoutError:
        shelf.taken -= taken
        raise RefusedError(_slow(whole)) from None
    except BaseException:
        shelf.taken -= taken
        raise
    return False


async def _read(request: BaseRequest, patience: float | None, *, expects: bool) -> bytes:
    """
    Return what has arrived of the body, as soon as anything has; nothing at its end.

    Raises:
        RefusedError: The client was silent for *patience* seconds, or what it sent is no body.
    """
    if expects:
        # As aiohttp's own handler does: an interim answer is not part of the answer.
        await request.writer.write(_CONTINUE)
        request.writer.output_size = 0
    try:
        if chunk := request.content.read_nowait():
            return chunk
        if patience is None:
            return await request.content.readany()
        async with asyncio.timeout(patience):
            return await request.content.readany()
    except TimeoutError:
        raise RefusedError(_slow(patience or 0.0)) from None
    except Exception as error:  # noqa: BLE001 - whatever the parser makes of a client's bytes
        detail = f"the request's body can't be read: {type(error).__name__}"
        raise RefusedError(Problem(400, "bad_body", "Bad body", detail)) from None


def _slow(patience: float) -> Problem:
    return Problem(
        408, "slow_body", "The body came too slowly", f"it was not there, or not enough of it, for {patience:.3g} s"
    )


def _check(left: int, settings: Settings) -> None:
    if left < 0:
        detail = f"this gateway takes {settings.max_body} bytes at most"
        raise RefusedError(Problem(413, "body_too_large", "The body is too large", detail))
