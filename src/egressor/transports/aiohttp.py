"""
A middleware for aiohttp's client (3.14.4 or newer), and for the libraries that are built on it.

::

    gov = egressor.Governor.from_file("egressor.toml")
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
    session = aiohttp.ClientSession(middlewares=(middleware(gov),), timeout=timeout)

A request is one call: it waits for its turn, is sent, and retried as its service's policy says; a redirect that the
session follows is the next call. What the session gets is the library's own response, or the library's own exception; a
call that was not sent raises `Rejected`. The lease of a response ends when its body has come, or is closed, released or
dropped.

``ClientTimeout.total`` runs from before the middleware to the body's end: aiohttp starts it before it asks any of its
hooks, and none can stop it. So it counts our waits for a turn and between retries too, and a call may time out that was
never sent; it gives its place back. Hence ``total=None`` above: the policy's ``timeout`` bounds each attempt up to its
headers, ``sock_read`` each wait for a part of the body, ``max_wait`` the wait for a turn, and a ``deadline`` the whole
up to the headers, with a refusal at once where it can't be kept. A total of your own works too; make it long enough for
all that it counts. A body that it cuts while its reader waits for more is a time-out of the service.

aiohttp sends an idempotent request once more, by itself, if its connection was lost. Behind a policy that is one retry
loop too many: the second round, which aiohttp begins and nobody asked for, gets what the first came to.
"""

from __future__ import annotations

import sys
from asyncio import CancelledError
from contextlib import suppress
from contextvars import ContextVar
from copy import copy
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from egressor._core.cache import Found
from egressor._core.model import Outcome
from egressor.dialects import Heed
from egressor.governor.streams import aopen_call

from .fed import come, forget, given_again, listen, replayed
from .governed import Governed
from .hearing import Taped
from .nested import notice
from .options import CallOptions
from .reading import DROPPED, MOST, Answer, Reading, again, is_idempotent, lowered

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from decimal import Decimal

    from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

    from egressor._core.admission import Lease
    from egressor._core.model import Priority, ServiceType, Verdict
    from egressor.governor import Governor, Route
    from egressor.governor.caching import Memory, Tape
    from egressor.governor.money import Purse
    from egressor.governor.streams import Opened

__all__ = ["middleware"]

_LAST: ContextVar[tuple[object, str, object, Exception] | None] = ContextVar("egressor_aiohttp_last", default=None)
"""
The last connection that was lost for good: whose request it was, by aiohttp's own timer, method and URL, and its error.
"""


def middleware(
    gov: Governor,
    service: str | ServiceType | None = None,
    *,
    priority: Priority | str | None = None,
    scope: Mapping[str, str] | Callable[[Any], Mapping[str, str]] | None = None,
    cost: Mapping[str, float | Decimal] | Callable[[Any], Mapping[str, float | Decimal]] | None = None,
    deadline: float | None = None,
    endpoint: str | None = None,
) -> Callable[[Any, Any], Coroutine[Any, Any, Any]]:
    """
    Return a middleware for ``aiohttp.ClientSession(middlewares=(…,))``, or for one of its requests.

    Args:
        gov: The governor.
        service: Where all requests belong. Default: each to the service whose ``base_url`` holds its URL, and those
            that none holds pass ungoverned, or are refused, as ``unknown_hosts`` says.
        priority: `Priority` or its lower-case name. Default: the policy's.
        scope: Who and what for, ``{"feature": "feed"}``; or a function of the ``ClientRequest`` that returns it.
        cost: Amounts by unit, ``{"tokens": 800}``; or a function of the request. One request is added.
        deadline: Seconds in which a call must have its response, its waits and retries included. Default: none.
        endpoint: A name for what is called; rules match on it.

    Raises:
        ConfigError: There is no such service, or an option is not valid.
    """
    options = CallOptions(priority=priority, scope=scope, cost=cost, deadline=deadline, endpoint=endpoint)
    return _Middleware(gov, service, options)


class _Middleware(Governed):
    """
    What aiohttp calls with each request.
    """

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """
        Send *request* by *handler* as a call, and return its response, whose connection holds the lease.

        Raises:
            Rejected: It was not sent.
            Exception: What the last attempt raised, as it was raised.
        """
        route = self._route(request)
        if route is None:
            return await handler(request)
        _stop_second_round(request)
        notice(self._gov, request.headers)
        memory = _memory(route, request) if self._sees(route, "aiohttp.client", handler) else None
        wish = _Attempts(self._gov, route, handler, request, memory)
        try:
            opened = await aopen_call(route, wish, idempotent=is_idempotent(request), memory=memory)
        except BaseException as error:
            wish.abandon()
            if wish.is_cut and type(error) is TimeoutError:
                raise _timed_out(error, route) from error
            _expect_second_round(request, error)
            raise
        answer = opened.value
        if type(answer) is Found:
            response: ClientResponse = given_again(request, answer.entry, again(answer))
            return response
        response = answer.take()
        if opened.is_open:
            _hold(response, opened, answer, timer=_timer(request))
        return response

    def _place(self, request: Any) -> tuple[str, str, int | None, str]:
        url = request.url
        return url.scheme, url.raw_host or "", url.explicit_port, url.raw_path


class _Attempts(Reading):
    """
    A request's attempts.

    Args:
        gov: The governor.
        route: Where the request goes.
        handler: Sends it.
        request: The request.
        memory: Its part in the service's cache, if it has one.

    Attributes:
        is_cut: Whether the last attempt was cancelled, by its time-out or by the caller.
    """

    is_cut = False

    def __init__(
        self,
        gov: Governor,
        route: Route,
        handler: ClientHandlerType,
        request: ClientRequest,
        memory: Memory | None = None,
    ) -> None:
        super().__init__(gov, route, request, memory)
        self._handler = handler
        # The client's own body, where it may have been given a bound.
        self._plain: bytes | None = None
        self._left: ClientResponse | None = None

    def asked(self) -> tuple[str, str, bytes | None]:
        """
        Return the method, the path, and the body; None for one that can't be read before it is sent.
        """
        from aiohttp.payload import BytesPayload

        body: Any = self._request.body
        if not isinstance(body, bytes):
            body = body.decode().encode() if isinstance(body, BytesPayload) else None
        return self._request.method, self._request.url.raw_path, body

    async def send(self, lease: Lease, timeout: float | None) -> Outcome:  # noqa: ASYNC109 - the driver bounds it
        """
        Make one attempt; the driver cancels it after *timeout* seconds.
        """
        self.is_cut = False
        until = self._until(lease, timeout)
        try:
            if self.purse is not None and self.purse.cap is not None:
                await self._bound(self.purse)
            response = await self._handler(self._request)
            return await self._outcome(response, until)
        except CancelledError:
            self.is_cut = True
            raise
        except Exception as error:  # noqa: BLE001 - raised again, or at the end
            return self._raised(error)

    async def _bound(self, purse: Purse) -> None:
        """
        Put the bound that the attempt's money pays for into the request, in place of an earlier attempt's.
        """
        if self._plain is None:
            self._plain = self.asked()[2] or b""
        body = purse.bounded(self._plain)
        if body != self.asked()[2]:
            await self._request.update_body(body)
        if self._is_capped and self._memory is not None:
            # Of a packed answer nobody sees whether it was cut off.
            self._request.headers.popall("Accept-Encoding", None)

    async def _outcome(self, response: ClientResponse, until: int | None) -> Outcome:
        status, headers = response.status, response.headers
        verdict = self._verdict(status, headers)
        care = self._heed(status, headers) if verdict.ok else Heed.AHEAD
        unpacked = None if self._memory is None else _unpacked(response)
        tape = self._tape(status, response.reason or "", unpacked, ok=verdict.ok)
        if care is Heed.AHEAD:
            verdict = await self._read(response, until, is_good=verdict.ok, tape=tape)
        elif tape is not None and (tape.is_document or not self._has_body(status)):
            read = await self._read(response, until, is_good=True, tape=tape)
            if self._has_body(status) and not read.ok:
                tape.spoil()
        if verdict.ok:
            # Its call must not hold a response that is handed out, or nobody would see that it was dropped.
            self._left = None
        # A body that came with its headers has given its connection back already.
        is_open = verdict.ok and response.connection is not None and self._has_body(status)
        heard: Any = self._listener(status, headers) if care is Heed.ALONG else None
        if verdict.ok:
            heard = self._counted(headers, heard)
        if tape is not None and tape.is_kept and not tape.is_whole and verdict.ok:
            heard = Taped(tape, heard)
        if heard is not None and not is_open:
            verdict = replace(come(response.content, heard).verdict(verdict), retryable=False)
        return Outcome(Answer(verdict, response=response, heard=heard), verdict=verdict, open=is_open)

    async def discard(self, outcome: Outcome) -> None:  # noqa: ARG002 - its unread rest is what `_left` is
        """
        Close an answer that the next attempt replaces.
        """
        self.abandon()

    def abandon(self) -> None:
        """
        Close what is unread of an answer that nobody gets.
        """
        left, self._left = self._left, None
        if left is not None:
            left.close()

    def is_spent(self) -> bool:
        return bool(getattr(self._request.body, "consumed", False))

    async def _read(
        self, response: ClientResponse, until: int | None, *, is_good: bool, tape: Tape | None = None
    ) -> Verdict:
        """
        Read an answer as far as its verdict needs, and put *response* back to its start.

        Raises:
            Exception: The body of an answer with a good status has broken.
        """
        content, chunks, size = response.content, list[bytes](), 0
        most = MOST if tape is None else max(MOST, tape.ahead)
        try:
            while not self._is_enough(size, until, most) and (chunk := await content.readany()):
                chunks.append(chunk)
                size += len(chunk)
        except CancelledError:
            response.close()
            raise
        except Exception:
            if is_good:
                response.close()
                raise
            # The stream keeps it, and raises it for whoever reads.
            return self._verdict(response.status, response.headers, b"".join(chunks))
        body = b"".join(chunks)
        if tape is not None:
            tape.take([body], is_whole=content.is_eof() and content.at_eof())
        if content.is_eof() and content.at_eof():
            response.content = replayed(body)
        else:
            # All that had come was read, so that what comes next is put behind it.
            content.feed_data(body)
            self._left = response
        return self._verdict(response.status, response.headers, body)


class _Hold:
    """
    The lease of a response whose body is on its way.
    """

    __slots__ = ("_content", "_heard", "_opened", "_timer", "_verdict")

    def __init__(self, content: Any, opened: Opened, answer: Answer, timer: object) -> None:
        self._content = content
        self._opened: Opened | None = opened
        self._verdict = answer.verdict
        self._heard = answer.heard
        self._timer = timer
        if self._heard is not None:
            listen(content, self._heard)

    def end(self) -> None:
        """
        End the lease: the connection was given back, or closed. A second time nothing happens.
        """
        opened, self._opened = self._opened, None
        if opened is not None:
            _now(opened.afinish(self._error(), self._said()))

    def leave(self) -> None:
        """
        End the lease soon: nobody holds the response any more.
        """
        opened, self._opened = self._opened, None
        if opened is not None:
            forget(self._content)
            opened.drop(DROPPED)

    def _said(self) -> Verdict:
        heard = self._heard
        if heard is None:
            return self._verdict
        forget(self._content)
        heard.is_whole = self._content.is_eof()
        return heard.verdict(self._verdict)

    def _error(self) -> BaseException | None:
        from aiohttp import ClientConnectionError

        error: BaseException | None = self._content.exception()
        # This very class, with which aiohttp marks a response that was closed by its reader, is no failure.
        if error is not None and type(error) is not ClientConnectionError:
            return error
        handled = sys.exception()
        if error is not None and isinstance(handled, CancelledError):
            return handled
        return TimeoutError("the body was cut by ClientTimeout.total") if self._is_cut() else None

    def _is_cut(self) -> bool:
        """
        Whether aiohttp's total passed before the service had sent the rest.
        """
        content = self._content
        if not getattr(self._timer, "_cancelled", False) or content.is_eof():
            return False
        # What has come and wasn't read says that the reader was late, not the service.
        return not getattr(content, "_buffer", ())


class _Held:
    """
    What a response's class is given in front of its own methods.
    """

    _egressor: _Hold

    def __del__(self) -> None:
        # First, since aiohttp's own finaliser releases the connection, which would end the lease at once.
        self._egressor.leave()
        super().__del__()  # type: ignore[misc]


@lru_cache(maxsize=16)
def _held(kind: type) -> type:
    return type(kind.__name__, (_Held, kind), {"__module__": kind.__module__, "__doc__": kind.__doc__})


def _hold(response: Any, opened: Opened, answer: Answer, *, timer: object) -> None:
    """
    Let *response* hold the lease until its connection is given back; *timer* is the one that aiohttp cuts it by.
    """
    kept = response._egressor = _Hold(response.content, opened, answer, timer)  # noqa: SLF001 - ours
    response.__class__ = _held(response.__class__)
    connection = response.connection
    if connection is None:
        kept.end()
    else:
        connection.add_callback(kept.end)


def _memory(route: Route, request: Any) -> Memory | None:
    """
    Return *request*'s part in the service's cache; None if it has none.

    A certificate of the client's own is a credential that no header shows.
    """
    if route.gate.compiled.policy.cache is None or getattr(request, "_ssl", True) is not True:
        return None
    content = request.body
    body = content if isinstance(content, bytes) else getattr(content, "_value", None)
    if not isinstance(body, (bytes, bytearray)):
        return None
    form = "unpacked" if _unpacks(request) else ""
    headers = lowered(request.headers)
    caches = route.context.caches
    return caches.memory(
        route, method=request.method, url=str(request.url), headers=headers, body=bytes(body), form=form
    )


def _unpacks(either: Any) -> bool:
    """
    Whether the session of a request or a response hands bodies out unpacked.
    """
    return bool(getattr(getattr(either, "_session", None), "auto_decompress", True))


def _unpacked(response: ClientResponse) -> list[tuple[str, str]]:
    """
    Return the headers of a body as aiohttp hands it out: unpacked, if that is so.
    """
    pairs = lowered(response.headers)
    if "Content-Encoding" not in response.headers or not _unpacks(response):
        return pairs
    return [pair for pair in pairs if pair[0] not in {"content-encoding", "content-length"}]


def _now(coroutine: Any) -> None:
    """
    Run *coroutine*, which has nothing to wait for: a call whose answer is there has only its books to close.
    """
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    msg = "the end of a call waited for something"
    raise AssertionError(msg)


def _expect_second_round(request: Any, error: BaseException) -> None:
    """
    Remember *error* if aiohttp answers it by sending *request* once more.
    """
    from aiohttp import ClientConnectorError, ClientOSError, ServerDisconnectedError

    is_lost = isinstance(error, (ClientOSError, ServerDisconnectedError)) and not isinstance(
        error, ClientConnectorError
    )
    if is_lost and isinstance(error, Exception) and is_idempotent(request):
        with suppress(Exception):  # What can't be copied is sent once more.
            # A copy: the error itself refers to every frame that it has passed.
            _LAST.set((_timer(request), request.method, request.url, copy(error)))


def _stop_second_round(request: Any) -> None:
    last = _LAST.get()
    if last is None:
        return
    _LAST.set(None)
    timer, method, url, error = last
    # One timer serves all rounds of one request, and no other's.
    if timer is not None and timer is _timer(request) and (method, url) == (request.method, request.url):
        raise error


def _timer(request: Any) -> object:
    return getattr(request, "_timer", None)


def _timed_out(error: TimeoutError, route: Route) -> Exception:
    # The driver's time-out is ours: who uses aiohttp looks for aiohttp's own.
    from aiohttp import ServerTimeoutError

    timeout = route.gate.compiled.policy.timeout
    msg = f"{route.service}: no response within the attempt's time (timeout {timeout:g} s, or what the deadline left)"
    timed_out = ServerTimeoutError(msg)
    for note in getattr(error, "__notes__", ()):
        timed_out.add_note(note)
    return timed_out
