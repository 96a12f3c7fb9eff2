"""
A connection with `Framing` in front of its parser: what has no single reading is a 400, and the connection ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.web_protocol import RequestHandler

from .app import ALLOWED, respond
from .framing import Framing, FramingError, TunnelError
from .problems import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.streams import StreamReader

__all__ = ["StrictConnection"]

_Messages = tuple["Sequence[tuple[RawRequestMessage, StreamReader]]", bool, bytes]


class StrictConnection(RequestHandler):
    """
    A connection that is read by `Framing` first.
    """

    __slots__ = ()

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._parser: Any = _Parser(self._parser)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """
        Answer what the parser refused, without a word of what it was: aiohttp's own answer repeats the bytes.
        """
        if status == 500 or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        detail = str(exc.__cause__) if exc is not None and isinstance(exc.__cause__, FramingError) else "not HTTP"
        problem = Problem(400, "bad_request", "Not one HTTP request", detail)
        if exc is not None and isinstance(exc.__cause__, TunnelError):
            problem = Problem(405, "method", "Method not allowed", detail)
        answer = respond(problem, extra=ALLOWED if problem.status == 405 else None)
        answer.force_close()
        return answer


class _Parser:
    """
    A parser that is given what `Framing` lets through. It stands where the protocol expects aiohttp's own.
    """

    __slots__ = ("_body", "_framing", "_is_broken", "_parser", "message_consumed", "pause_reading", "set_upgraded")

    def __init__(self, parser: Any) -> None:
        self._parser = parser
        self._framing = Framing()
        self._body: StreamReader | None = None
        self._is_broken = False
        self.message_consumed = parser.message_consumed
        self.pause_reading = parser.pause_reading
        self.set_upgraded = parser.set_upgraded

    def feed_data(self, data: bytes) -> _Messages:
        if self._is_broken:
            return (), False, b""
        found: list[tuple[RawRequestMessage, StreamReader]] = []
        try:
            return self._fed(data, found)
        except FramingError as error:
            self._is_broken = True
            # What came in one piece with the nonsense is not answered either.
            if found or self._body is None or self._body.is_eof():
                raise BadHttpMessage(str(error)) from error
            # A request is being answered: its body broke, and the connection ends with the answer.
            self._body.set_exception(web.RequestPayloadError(str(error)))
            return (), False, b""

    def _fed(self, data: bytes, found: list[tuple[RawRequestMessage, StreamReader]]) -> _Messages:
        """
        Feed the parser, again for each request that asked for another protocol and will not get it; add to *found*.
        """
        while True:
            messages, upgraded, tail = self._parser.feed_data(self._framing.feed(data))
            if messages:
                found += messages
                self._body = messages[-1][1]
            if upgraded:
                return found, True, bytes(tail) + self._framing.rest()
            if not self._framing.has_stopped:
                return found, False, b""
            data = b""
