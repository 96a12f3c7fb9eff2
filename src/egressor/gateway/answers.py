"""
An upstream's answer on its way to the client, and how it ends.

Chunks go on as they come, each before the next one is read: a client that reads slowly slows its upstream, and no
more than two buffers lie here meanwhile. One that reads nothing for the configured time is cut off.

A body that breaks must not look complete: the client's connection is cut before its end mark. A stream of events, or
of lines of JSON, gets a last one that says so, if it stands between two of them.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from aiohttp import hdrs, web
from aiohttp.http import StreamWriter
from multidict import CIMultiDict

from egressor._core.classify import classify
from egressor.dialects.inside import LONGEST
from egressor.errors import PartialResponse
from egressor.transports.hearing import Counted
from egressor.transports.reading import again

from .headers import onward
from .problems import Problem
from .trailers import announced
from .wires import WireEnd, join

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from egressor._core.cache import Found
    from egressor._core.model import Verdict
    from egressor.dialects.asking import UsageHider
    from egressor.governor.caching import Tape
    from egressor.governor.streams import Opened
    from egressor.policies import Gateway as Settings
    from egressor.transports.hearing import Heard, Taped

    from .forward import Answer
    from .targets import Origin

__all__ = ["Arrived", "deliver", "repeat"]

_CANCELLED = classify(asyncio.CancelledError())
_EVENTS = "text/event-stream"
_LINES = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/json-lines"})
_BLANK_LINES = (b"\n\n", b"\r\n\r\n", b"\r\r")
# What aiohttp would say of itself where an upstream has said nothing.
_ADDED = (hdrs.CONTENT_TYPE, hdrs.SERVER)
# Seconds that the head of a document waits for its body.
_MOMENT = 0.25
# Seconds that both sides of a WebSocket may be silent: most ping several times in that.
_SILENCE = 600.0


class Arrived:
    """
    An answer of the upstream, with as much of its body as had to be looked at.
    """

    __slots__ = ("answer", "head", "heard", "hider", "is_whole", "may_tell", "tape", "verdict")

    def __init__(
        self,
        answer: Answer,
        verdict: Verdict,
        head: bytes = b"",
        *,
        is_whole: bool = False,
        heard: Heard | Taped | None = None,
    ) -> None:
        self.answer = answer
        self.verdict = verdict
        self.head = head
        self.is_whole = is_whole
        self.heard = heard
        # Takes out of the body what we have asked for, and the client has not.
        self.hider: UsageHider | None = None
        # Notes what is left then, where it may be kept.
        self.tape: Tape | None = None
        # Whether it is a document that may say what it has cost before its head has to go out.
        self.may_tell = False

    def end(self) -> None:
        """
        Tell those that listen that all of the body has come.
        """
        for each in (self.tape, self.heard):
            if each is not None:
                each.is_whole = True


async def deliver(
    request: web.BaseRequest,
    opened: Opened,
    origin: Origin,
    *,
    told: Callable[[], Mapping[str, str]],
    tries: int,
    settings: Settings,
    takes_trailers: bool = False,
) -> web.StreamResponse:
    """
    Relay the answer that *opened* holds, and settle its lease.

    Args:
        request: Who gets it.
        opened: The answer, open or settled already.
        origin: Where it comes from.
        told: Returns headers about the attempts, once the head has to go out.
        tries: How many attempts were made.
        settings: How long a client may take nothing.
        takes_trailers: Whether the client takes fields behind the body.

    Returns:
        The response, relayed already.
    """
    arrived: Arrived = opened.value
    # A WebSocket has kept its promise with 101: which side hangs up then, and how, is for the two of them to know.
    is_tunnel = arrived.answer.status == 101
    verdict = arrived.verdict if is_tunnel else _CANCELLED
    try:
        if arrived.may_tell and isinstance(arrived.heard, Counted) and arrived.heard.meter is not None:
            await _gather(arrived, arrived.heard)
        response = _response(arrived, told(), tries)
        if takes_trailers and request.version >= (1, 1):
            response.announce(arrived.answer.headers)
        delivery = _Delivery(request, response, arrived, origin, settings.send_timeout)
        try:
            verdict = await (delivery.tunnel() if is_tunnel else delivery.pour())
        except ConnectionError:
            pass  # The client is gone: the server half notices, too, and ends in silence.
        except asyncio.CancelledError:
            delivery.cancelled()
            raise
        return response
    finally:
        # Whatever ended it, the lease goes back; a body that was not read to its end takes its connection along.
        arrived.answer.close()
        # A client that hangs up on an error in its stream has heard it, too.
        await opened.afinish(verdict=verdict if arrived.heard is None else arrived.heard.verdict(verdict))


async def _gather(arrived: Arrived, heard: Counted) -> None:
    """
    Wait a moment for a short document, so that what it has cost can stand in its head.

    What begins as no JSON object is a stream of some kind (Gemini's array, the blanks that keep a connection alive),
    and is not waited for.
    """
    # Whatever goes wrong stays wrong, and is met again where the body is relayed.
    with suppress(Exception):
        async with asyncio.timeout(_MOMENT):
            while len(arrived.head) < LONGEST and heard.beginning in {b"", b"{"}:
                chunk = await arrived.answer.read()
                if not chunk:
                    arrived.is_whole = heard.is_whole = True
                    heard.tell()
                    break
                arrived.head += chunk
                heard.feed(chunk)


async def repeat(
    request: web.BaseRequest, found: Found, *, told: Mapping[str, str], patience: float
) -> web.StreamResponse:
    """
    Give *request* an answer that was kept, chunk by chunk as it came.

    Args:
        request: Who gets it.
        found: The answer.
        told: Headers about the attempts.
        patience: Seconds that the client may take nothing.

    Raises:
        ConnectionError: The client is gone, or as good as gone.
    """
    entry = found.entry
    raw = [(name.encode("latin-1"), value.encode()) for name, value in entry.headers]
    response = _Relayed(entry.status, entry.reason, raw)
    for name, value in (*told.items(), *again(found)[-2:]):
        response.headers[name] = value
    await response.prepare(request)
    for chunk in entry.chunks if request.method != "HEAD" else ():
        response.pass_on(chunk)
        await response.keep_pace(patience)
    response.end()
    return response


class _Delivery:
    """
    One answer, from an upstream to a client.
    """

    __slots__ = ("_arrived", "_gone", "_origin", "_patience", "_request", "_response", "_tail")

    def __init__(
        self, request: web.BaseRequest, response: _Relayed, arrived: Arrived, origin: Origin, patience: float
    ) -> None:
        self._request = request
        self._response = response
        self._arrived = arrived
        self._origin = origin
        self._patience = patience
        self._tail = arrived.head[-4:]
        # What happened to the client while a piece was passed on.
        self._gone: ConnectionError | None = None

    async def pour(self) -> Verdict:
        """
        Relay the body, and say how it ended.

        Raises:
            ConnectionError: The client is gone, or as good as gone.
        """
        arrived, response = self._arrived, self._response
        await response.prepare(self._request)
        if arrived.head:
            response.pass_on(arrived.head)
            await response.keep_pace(self._patience)
        while not arrived.is_whole:
            if not arrived.answer.is_ready:
                response.begin()
            try:
                chunk = await arrived.answer.read()
                if not chunk:
                    break
                if self._take(chunk):
                    await arrived.answer.relay(self._take)
            except Exception as error:  # noqa: BLE001 - whatever the upstream half raises is a body that broke
                return self._broken(classify(error))
            if self._gone is not None:
                raise self._gone
            await response.keep_pace(self._patience)
        if response.is_short:
            return self._broken(classify(PartialResponse("the body is shorter than its stated length")))
        if arrived.hider is not None and (rest := arrived.hider.finish()):
            self._pass_on(rest)
        response.end(arrived.answer.trailers)
        arrived.end()
        return arrived.verdict

    def _take(self, chunk: bytes) -> bool:
        """
        Pass *chunk* on; return whether the client keeps up.
        """
        heard = self._arrived.heard
        if heard is not None:
            heard.feed(chunk)
        hider = self._arrived.hider
        if hider is not None:
            chunk = hider.feed(chunk)
            if not chunk:
                return True
        try:
            keeps_up = self._pass_on(chunk)
        except ConnectionError as error:
            self._gone = error
            return False
        if self._response.form:
            self._tail = chunk[-4:] if len(chunk) >= 4 else (self._tail + chunk)[-4:]
        return keeps_up

    def _pass_on(self, chunk: bytes) -> bool:
        if self._arrived.tape is not None:
            self._arrived.tape.feed(chunk)
        return self._response.pass_on(chunk)

    async def tunnel(self) -> Verdict:
        """
        Let both sides speak their own protocol until one hangs up.

        Raises:
            ConnectionError: The client is gone.
        """
        response = self._response
        upstream = self._arrived.answer.wire()
        await response.prepare(self._request)
        response.end()
        protocol, transport = self._request.protocol, self._request.transport
        if transport is None:
            message = "the client is gone"
            raise ConnectionResetError(message)
        client = WireEnd(protocol, transport)
        protocol.set_parser(client)  # type: ignore[arg-type] # it asks for no more than this
        try:
            await join(client, upstream, silence=_SILENCE)
        except TimeoutError:
            return _CANCELLED
        return self._arrived.verdict

    def cancelled(self) -> None:
        """
        Cut the body off, since this gateway ends or the request has taken too long.
        """
        if self._response.prepared and self._arrived.answer.status != 101:
            problem = Problem(503, "stream_cut", "The gateway cut the stream", "the gateway ends, or it took too long")
            self._cut(problem)

    def _broken(self, verdict: Verdict) -> Verdict:
        detail = f"{self._origin.service}: {verdict.why}"
        self._cut(Problem(502, "stream_broke", "The upstream's stream broke", detail))
        return verdict

    def _cut(self, problem: Problem) -> None:
        """
        End a broken body so that nobody takes it for a whole one.
        """
        transport = self._request.transport
        if transport is None or transport.is_closing():
            return
        self._response.begin()
        dialect = self._origin.dialect
        if self._response.form == _EVENTS and (not self._tail or self._tail.endswith(_BLANK_LINES)):
            self._response.say(problem.event(dialect))
        elif self._response.form in _LINES and (not self._tail or self._tail.endswith(b"\n")):
            self._response.say(problem.line(dialect))
        if self._response.shows_its_end:
            transport.close()
        else:
            transport.abort()


class _Relayed(web.StreamResponse):
    """
    An answer that is written as it came.

    Attributes:
        form: The media type, if it is a stream that can be read here and has a place for errors; else empty.
    """

    form = ""
    # The head goes with the first piece of the body in one write, where that is there already.
    _send_headers_immediately = False
    _absent: tuple[str, ...] = ()
    # Whether all that is left to do with a piece is to frame it as a chunk.
    _is_framing = False

    def __init__(self, status: int, reason: str, raw: Iterable[tuple[bytes, bytes]]) -> None:
        super().__init__(status=status, reason=reason, headers=CIMultiDict(onward(raw)))
        headers = self._headers
        self._absent = tuple([name for name in _ADDED if name not in headers])
        kind = headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
        if (kind == _EVENTS or kind in _LINES) and hdrs.CONTENT_ENCODING not in headers:
            self.form = kind

    def change_protocol(self) -> None:
        """
        Be the answer after which the connection belongs to another protocol.
        """
        self._length_check = False
        self.headers["Connection"] = "Upgrade"
        self.headers["Upgrade"] = "websocket"
        self.force_close()

    def pass_on(self, data: bytes) -> bool:
        """
        Write *data*; return whether the client keeps up.

        Raises:
            ConnectionError: It is gone.
        """
        writer, request = self._payload_writer, self._req
        if not isinstance(writer, StreamWriter) or request is None:
            message = "nothing was begun"
            raise ConnectionResetError(message)
        if self._is_framing and data:
            # As the writer would, in a third of the time.
            writer._write(b"%x\r\n%b\r\n" % (len(data), data))  # noqa: SLF001 - what its own `write` comes to
            return not request.protocol.writing_paused
        try:
            # A coroutine by its name only: without compression and without draining it waits for nothing.
            writer.write(data, drain=False).send(None)
        except StopIteration:
            self._is_framing = bool(data) and writer.chunked and not self._compression
            return not request.protocol.writing_paused
        message = "aiohttp's writer waits where it never did"
        raise RuntimeError(message)

    async def keep_pace(self, patience: float) -> None:
        """
        Wait until the client keeps up.

        Raises:
            ConnectionError: It is gone, or has taken nothing for *patience* seconds.
        """
        writer, request = self._payload_writer, self._req
        if not isinstance(writer, StreamWriter) or request is None or not request.protocol.writing_paused:
            return
        try:
            async with asyncio.timeout(patience):
                await writer.drain()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            message = f"the client has taken nothing for {patience:g} s"
            raise ConnectionResetError(message) from None

    def begin(self) -> None:
        """
        Write the head, if it is not written yet.

        Raises:
            ConnectionError: The client is gone.
        """
        if isinstance(self._payload_writer, StreamWriter):
            self._payload_writer.send_headers()

    def announce(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        """
        Tell, and later write, the fields behind the body that *raw* announces.
        """
        if names := announced(raw):
            self.headers["Trailer"] = ", ".join(names)

    def end(self, trailers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """
        Write the end mark, with *trailers* if they were announced; who waits for the client to take it is the server
        half.
        """
        writer, request = self._payload_writer, self._req
        if not isinstance(writer, StreamWriter):
            return
        if trailers and writer.chunked and "Trailer" in self.headers and request is not None and request.transport:
            writer.send_headers()
            # Its own end mark has no place for fields.
            writer.chunked = False
            lines = "".join(f"{name}: {value}\r\n" for name, value in onward(trailers))
            request.transport.write(f"0\r\n{lines}\r\n".encode())
        writer.set_eof()

    def say(self, data: bytes) -> None:
        """
        Write a last piece without waiting for the client.
        """
        request = self._req
        if request is not None and request.transport is not None:
            framed = b"%x\r\n%s\r\n" % (len(data), data) if "Transfer-Encoding" in self.headers else data
            request.transport.write(framed)

    @property
    def is_short(self) -> bool:
        """
        Whether fewer bytes were written than the headers say.
        """
        writer = self._payload_writer
        return isinstance(writer, StreamWriter) and bool(writer.length) and not self._must_be_empty_body

    @property
    def shows_its_end(self) -> bool:
        """
        Whether a client can tell that it was cut off.
        """
        return "Transfer-Encoding" in self.headers or "Content-Length" in self.headers

    async def _prepare_headers(self) -> None:
        request = self._req
        if getattr(request and request.protocol, "is_ending", False):
            self.force_close()
        length = self.headers.get(hdrs.CONTENT_LENGTH)
        await super()._prepare_headers()
        if self.status == 304 and length is not None:
            self.headers["Content-Length"] = length  # RFC 9110 section 15.4.5: that of the body which was spared.
        # The upstream's silence about its type, or about itself, is a fact too.
        for name in self._absent:
            self.headers.popall(name, None)


def _response(arrived: Arrived, told: Mapping[str, str], tries: int) -> _Relayed:
    answer = arrived.answer
    response = _Relayed(answer.status, answer.reason, answer.headers)
    response.headers.update(told)
    if answer.status == 101:
        response.change_protocol()
    if not arrived.verdict.ok and tries > 1 and "x-should-retry" not in response.headers:
        # It was retried here already: an SDK's own retries on top would multiply.
        response.headers["x-should-retry"] = "false"
    return response
