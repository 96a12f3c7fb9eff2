"""
Transports for httpx2 and httpx clients, and for the SDKs that are built on them.

::

    gov = egressor.Governor.from_file("egressor.toml")
    client = openai.OpenAI(http_client=httpx2.Client(transport=Transport(gov)), max_retries=0)

One code serves both libraries: which one is asked is seen by the request. A request is one call: it waits for its turn,
is sent, and retried as its service's policy says; a redirect that the client follows is the next call. What the client
gets is the library's own response, or the library's own exception; a call that was not sent raises `Rejected`. An SDK
that retries by itself would try a refusal again: hence ``max_retries=0``. A transport of ours replaces the one that the
client would make, with its ``verify``, ``http2``, ``limits`` and proxies: if you need those, hand in *inner*.

The policy's ``timeout`` bounds an attempt up to its response's headers, and each wait for a part of the body.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, Self

from egressor._core.cache import Found
from egressor.governor.streams import aopen_call, open_call

from .attempts import AsyncAttempts, Attempts
from .family import family_of
from .governed import Governed
from .nested import keep, keep_error, notice, repeated
from .options import EXTENSION, CallOptions
from .reading import again, is_idempotent, lowered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal
    from types import TracebackType

    import httpx
    import httpx2

    from egressor._core.model import Priority, ServiceType
    from egressor.governor import Governor, Route
    from egressor.governor.caching import Memory
    from egressor.governor.streams import Opened

    from .family import Family

    # What type checkers see: a transport of either library. At run time neither is imported, and neither asks for it.
    class _Blocking(httpx2.BaseTransport, httpx.BaseTransport):
        def handle_request(self, request: Any) -> Any: ...

    class _Awaiting(httpx2.AsyncBaseTransport, httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: Any) -> Any: ...

else:
    _Blocking = _Awaiting = object

__all__ = ["AsyncTransport", "Transport"]

# They name another path, or another host to TLS: https://www.python-httpx.org/advanced/extensions/.
_ELSEWHERE = frozenset({"target", "sni_hostname"})


class _Governed(Governed):
    """
    What both colours of a transport share: the client's own transports.
    """

    _default = ""

    def __init__(
        self,
        gov: Governor,
        service: str | ServiceType | None = None,
        inner: Any = None,
        *,
        priority: Priority | str | None = None,
        scope: Mapping[str, str] | Callable[[Any], Mapping[str, str]] | None = None,
        cost: Mapping[str, float | Decimal] | Callable[[Any], Mapping[str, float | Decimal]] | None = None,
        deadline: float | None = None,
        endpoint: str | None = None,
    ) -> None:
        options = CallOptions(priority=priority, scope=scope, cost=cost, deadline=deadline, endpoint=endpoint)
        super().__init__(gov, service, options)
        self._given = inner
        self._made: dict[str, Any] = {}
        self._is_closed = False
        self._lock = Lock()

    def _inner(self, family: Family) -> Any:
        """
        Return the client's own transport: the given one, else one of *family*, made at its first request.
        """
        if self._given is not None:
            return self._given
        made = self._made.get(family.name)
        if made is None:
            with self._lock:
                made = self._made.get(family.name)
                if made is None:
                    made = self._made[family.name] = getattr(family.library, self._default)()
        return made

    def _place(self, request: Any) -> tuple[str, str, int | None, str]:
        url = request.url
        return url.scheme, url.raw_host.decode("ascii"), url.port, url.raw_path.decode("ascii")

    def _own(self, request: Any) -> object:
        return request.extensions.get(EXTENSION)

    def _memory(self, route: Route, request: Any) -> Memory | None:
        """
        Return *request*'s part in the service's cache; None if it has none.

        What is asked for, and of whom, may be another thing than the URL says: then it has none.
        """
        if not _ELSEWHERE.isdisjoint(request.extensions):
            return None
        try:
            body = request.content
        except Exception:  # noqa: BLE001 - a body that is a stream was not read, whatever its family calls that
            return None
        caches = route.context.caches
        headers = lowered(request.headers)
        return caches.memory(route, method=request.method, url=str(request.url), headers=headers, body=body)

    def _to_close(self) -> list[Any]:
        """
        Return the transports to close, each of them once.
        """
        with self._lock:
            made, self._made = self._made, {}
            given = [] if self._given is None or self._is_closed else [self._given]
            self._is_closed = True
        return given + list(made.values())


class Transport(_Governed, _Blocking):
    """
    A transport for ``httpx2.Client`` and ``httpx.Client``.

    A single request says more, or otherwise, in its extensions: ``client.get(url, extensions={"egressor":
    {"priority": "high", "scope": {"user": "u1"}, "cost": {"tokens": 800}, "deadline": 5.0, "endpoint": "chat"}})``.

    Args:
        gov: The governor.
        service: Where all requests belong. Default: each to the service whose ``base_url`` holds its URL, and those
            that none holds pass ungoverned, or are refused, as ``unknown_hosts`` says.
        inner: The transport that sends. Default: the library's ``HTTPTransport()``.
        priority: `Priority` or its lower-case name. Default: the policy's.
        scope: Who and what for, ``{"feature": "chat"}``; or a function of the request that returns it.
        cost: Amounts by unit, ``{"tokens": 800}``; or a function of the request. One request is added.
        deadline: Seconds in which a call must have its response, its waits and retries included. Default: none.
        endpoint: A name for what is called; rules match on it.

    Raises:
        ConfigError: There is no such service, or an option is not valid.
    """

    _default = "HTTPTransport"

    def handle_request(self, request: Any) -> Any:
        """
        Send *request* as a call, and return its response, whose body holds the lease.

        Raises:
            Rejected: It was not sent.
            ConfigError: Its ``egressor`` extension is wrong.
            Exception: What the last attempt raised, as it was raised.
        """
        family = family_of(request)
        route = self._route(request)
        inner = self._inner(family)
        if route is None:
            return inner.handle_request(request)
        notice(self._gov, request.headers)
        again = repeated(family, request, family.body)
        if again is not None:
            return again
        memory = None
        if self._sees(route, family.name, inner, "handle_request"):
            memory = self._memory(route, request)
        wish = Attempts(self._gov, route, family, inner, request, memory)
        try:
            opened = open_call(route, wish, idempotent=is_idempotent(request), memory=memory)
        except BaseException as error:
            wish.abandon()
            keep_error(request, error)
            raise
        return _handed_out(opened, family, family.body, request)

    def close(self) -> None:
        """
        Close the inner transport, once; the governor, which has all state, stays as it is.
        """
        for inner in self._to_close():
            inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self.close()


class AsyncTransport(_Governed, _Awaiting):
    """
    A transport for ``httpx2.AsyncClient`` and ``httpx.AsyncClient``, on asyncio. As `Transport` otherwise.
    """

    _default = "AsyncHTTPTransport"

    async def handle_async_request(self, request: Any) -> Any:
        """
        Send *request* as a call, and return its response, whose body holds the lease. As `Transport.handle_request`.
        """
        family = family_of(request)
        route = self._route(request)
        inner = self._inner(family)
        if route is None:
            return await inner.handle_async_request(request)
        notice(self._gov, request.headers)
        again = repeated(family, request, family.async_body)
        if again is not None:
            return again
        memory = None
        if self._sees(route, family.name, inner, "handle_async_request"):
            memory = self._memory(route, request)
        wish = AsyncAttempts(self._gov, route, family, inner, request, memory)
        try:
            opened = await aopen_call(route, wish, idempotent=is_idempotent(request), memory=memory)
        except BaseException as error:
            await wish.abandon()
            if wish.is_cut and type(error) is TimeoutError:
                error, cause = _timed_out(error, family, route, request), error
                keep_error(request, error)
                raise error from cause
            keep_error(request, error)
            raise
        return _handed_out(opened, family, family.async_body, request)

    async def aclose(self) -> None:
        """
        Close the inner transport, once; the governor, which has all state, stays as it is.
        """
        for inner in self._to_close():
            await inner.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self.aclose()


def _handed_out(opened: Opened, family: Family, body: Any, request: Any) -> Any:
    """
    Return the client's response; the body of one that streams holds the lease from now on.
    """
    answer = opened.value
    if type(answer) is Found:
        return _given_again(answer, family, body)
    response = answer.take()
    if opened.is_open:
        response.stream = body(response.stream, opened=opened, verdict=answer.verdict, heard=answer.heard)
    elif not answer.verdict.ok:
        keep(request, response)
    return response


def _given_again(found: Found, family: Family, body: Any) -> Any:
    """
    Return an answer that was kept as the client's response: as it came, chunk by chunk.
    """
    entry = found.entry
    extensions = {"reason_phrase": entry.reason.encode("latin-1", "replace")}
    stream = body(None, chunks=entry.chunks)
    return family.library.Response(entry.status, headers=again(found), stream=stream, extensions=extensions)


def _timed_out(error: TimeoutError, family: Family, route: Route, request: Any) -> Exception:
    # The driver's time-out is ours: who uses httpx looks for httpx's own.
    timeout = route.gate.compiled.policy.timeout
    msg = f"{route.service}: no response within the attempt's time (timeout {timeout:g} s, or what the deadline left)"
    timed_out: Exception = family.library.ReadTimeout(msg, request=request)
    for note in getattr(error, "__notes__", ()):
        timed_out.add_note(note)
    return timed_out
