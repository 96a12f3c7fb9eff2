"""
A request's body: kept if it is small, so that it can be sent again; else passed on piece by piece, once.

Its first 64 KiB are there before a lease is asked for, unless the client waits for ``100 Continue``. From then on it
must come at the configured rate, as long as it is waited for and not for its upstream: a lease is not for clients that
drip.
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

__all__ = ["SMALL", "Body", "open_body"]

SMALL = 65_536
"""
Bytes up to which a body is kept.
"""

# Seconds that a body may be waited for, all in all, before its rate matters.
_FREE = 5.0
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Body:
    """
    What the client sends.

    Attributes:
        length: Its bytes; None if the client has not said.
        is_spent: Whether a part of it is gone that can't be had again.
        is_done: Whether all of it has been read.
        fault: What the client did wrong while it was read.
    """

    __slots__ = ("_expects", "_head", "_request", "_settings", "fault", "is_done", "is_spent", "length")

    def __init__(
        self,
        request: BaseRequest,
        settings: Settings,
        *,
        head: bytes = b"",
        is_done: bool = True,
        length: int | None = None,
        expects: bool = False,
    ) -> None:
        self._request = request
        self._settings = settings
        self._head = head
        self._expects = expects
        self.length = length
        self.is_done = is_done
        self.is_spent = False
        self.fault: Problem | None = None

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
                chunk = await _read(self._request, self._patience(came, waited), expects=self._expects)
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

    def _patience(self, came: int, waited: float) -> float:
        """
        Return the seconds until the next piece must be there, after *came* bytes for which *waited* seconds went by.
        """
        settings = self._settings
        if not settings.body_rate:
            return settings.body_timeout
        return min(settings.body_timeout, max(0.0, max(_FREE, came / settings.body_rate) - waited))


async def open_body(request: BaseRequest, settings: Settings, *, expects: bool) -> Body:
    """
    Take *request*'s body: all of it if it has at most `SMALL` bytes.

    The rest of a longer one is left where it is until an attempt sends it; all of it, where the client waits for ``100
    Continue``, so that nothing is uploaded for a call that is refused.

    Args:
        request: The request.
        settings: How long and how slow it may be.
        expects: Whether the client waits for ``100 Continue``.

    Raises:
        RefusedError: It is too long, comes too slowly, or in a wrong form.
    """
    length = request.content_length
    if not request.body_exists:
        return Body(request, settings, length=length)
    _check(settings.max_body - (length or 0), settings)
    if length is not None and length > SMALL and expects:
        return Body(request, settings, is_done=False, length=length, expects=expects)
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
    return Body(request, settings, head=bytes(head), is_done=False, length=length)


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
