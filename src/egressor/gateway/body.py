"""
A request's body: kept if it is small, so that it can be sent again; else passed on piece by piece, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from .problems import Problem, RefusedError

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest

__all__ = ["SMALL", "Body", "open_body"]

SMALL = 65_536
"""
Bytes up to which a body is kept.
"""

_PATIENCE = 30.0
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

    __slots__ = ("_expects", "_head", "_request", "fault", "is_done", "is_spent", "length")

    def __init__(self, request: BaseRequest, *, head: bytes, is_done: bool, length: int | None, expects: bool) -> None:
        self._request = request
        self._head = head
        self._expects = expects
        self.length = length
        self.is_done = is_done
        self.is_spent = False
        self.fault: Problem | None = None

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
        try:
            while chunk := await read_some(self._request, expects=self._expects):
                self._expects = False
                yield chunk
        except RefusedError as error:
            self.fault = error.problem
            raise
        self.is_done = True


async def open_body(request: BaseRequest, *, expects: bool) -> Body:
    """
    Take *request*'s body: all of it if it has at most `SMALL` bytes.

    A longer one is left where it is until an attempt sends it, so that nothing is uploaded for a call that is refused.

    Args:
        request: The request.
        expects: Whether the client waits for ``100 Continue``.

    Raises:
        RefusedError: The client sends it too slowly, or in a wrong form.
    """
    if not request.body_exists:
        return Body(request, head=b"", is_done=True, length=request.content_length, expects=False)
    length = request.content_length
    if length is not None and length > SMALL:
        return Body(request, head=b"", is_done=False, length=length, expects=expects)
    head = bytearray()
    try:
        async with asyncio.timeout(_PATIENCE):
            while len(head) <= SMALL:
                chunk = await read_some(request, expects=expects)
                if not chunk:
                    return Body(request, head=bytes(head), is_done=True, length=len(head), expects=False)
                head += chunk
                expects = False
    except TimeoutError:
        raise RefusedError(_slow()) from None
    return Body(request, head=bytes(head), is_done=False, length=length, expects=False)


async def read_some(request: BaseRequest, *, expects: bool) -> bytes:
    """
    Return what has arrived of the body, as soon as anything has; nothing at its end.

    Raises:
        RefusedError: The client was silent for 30 s, or what it sent is no body.
    """
    if expects:
        # As aiohttp's own handler does: an interim answer is not part of the answer.
        await request.writer.write(_CONTINUE)
        request.writer.output_size = 0
    try:
        async with asyncio.timeout(_PATIENCE):
            return await request.content.readany()
    except TimeoutError:
        raise RefusedError(_slow()) from None
    except Exception as error:  # noqa: BLE001 - whatever the parser makes of a client's bytes
        detail = f"the request's body can't be read: {type(error).__name__}"
        raise RefusedError(Problem(400, "bad_body", "Bad body", detail)) from None


def _slow() -> Problem:
    return Problem(408, "slow_body", "The body came too slowly", f"nothing more of it arrived for {_PATIENCE:g} s")
