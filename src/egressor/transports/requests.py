"""
An adapter for requests, and for the libraries that are built on it.

::

    gov = egressor.Governor.from_file("egressor.toml")
    session = requests.Session()
    session.mount("https://", Adapter(gov))

A request is one call: it waits for its turn, is sent, and retried as its service's policy says; a redirect that the
session follows is the next call. What the session gets is the library's own response, or the library's own exception. A
call that was not sent raises `Rejected`, which some libraries wrap (`egressor.unwrap` finds it). The lease of a
response ends when its body has been read, closed or dropped.

The policy's ``timeout`` bounds each attempt's wait for a connection and for each part of the answer: requests has no
time-out of its own unless it is given one. The waits for a turn and before a retry are not part of it; a ``deadline``
bounds them all.
"""

from __future__ import annotations

from functools import cache, partial
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from egressor._core.cache import Found
from egressor._core.model import Outcome
from egressor._drivers.job import HURRIED
from egressor.dialects import Heed
from egressor.governor.streams import open_call

from .bodies import Watched
from .governed import Governed
from .hearing import Taped
from .nested import notice, notice_adapter
from .options import CallOptions
from .raw import give_up, hold, is_readable, part_of, readable, replay, told_again
from .reading import MOST, Answer, Reading, again, is_idempotent, lowered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal

    from requests.adapters import BaseAdapter as _Base

    from egressor._core.admission import Lease
    from egressor._core.model import Priority, ServiceType, Verdict
    from egressor.governor import Governor, Route
    from egressor.governor.caching import Memory, Tape
else:
    # The library is imported with the first request; a session asks no adapter for its class.
    _Base = object

__all__ = ["Adapter"]


class Adapter(Governed, _Base):
    """
    An adapter for ``requests.Session.mount``.

    It may be closed and used again, as some libraries do after each request: all state is the governor's. An attribute
    that it doesn't have, such as ``max_retries``, is its inner adapter's.

    Args:
        gov: The governor.
        service: Where all requests belong. Default: each to the service whose ``base_url`` holds its URL, and those
            that none holds pass ungoverned, or are refused, as ``unknown_hosts`` says.
        inner: The adapter that sends. Default: ``requests.adapters.HTTPAdapter()``.
        priority: `Priority` or its lower-case name. Default: the policy's.
        scope: Who and what for, ``{"feature": "feed"}``; or a function of the prepared request that returns it.
        cost: Amounts by unit, ``{"tokens": 800}``; or a function of the request. One request is added.
        deadline: Seconds in which a call must have its response, its waits and retries included. Default: none.
        endpoint: A name for what is called; rules match on it.

    Raises:
        ConfigError: There is no such service, or an option is not valid.
    """

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
        self._made = inner
        self._lock = Lock()

    def send(
        self,
        request: Any,
        stream: bool = False,  # noqa: FBT001, FBT002 - the signature is the library's
        timeout: Any = None,
        verify: Any = True,  # noqa: FBT002
        cert: Any = None,
        proxies: Any = None,
    ) -> Any:
        """
        Send *request* as a call, and return its response, whose body holds the lease.

        Raises:
            Rejected: It was not sent.
            Exception: What the last attempt raised, as it was raised.
        """
        said = {"stream": stream, "timeout": timeout, "verify": verify, "cert": cert, "proxies": proxies}
        route = self._route(request)
        inner = self._inner()
        if route is None:
            return inner.send(request, **said)
        notice(self._gov, request.headers)
        notice_adapter(self._gov, getattr(inner, "max_retries", None))
        memory = None
        if self._sees(route, "requests", inner, "send", "add_headers"):
            memory = _memory(route, request, said)
        wish = _Attempts(self._gov, route, inner, request, said, memory)
        try:
            opened = open_call(route, wish, idempotent=is_idempotent(request), memory=memory)
        except BaseException:
            wish.abandon()
            raise
        answer = opened.value
        response = _given_again(answer, request) if type(answer) is Found else answer.take()
        response.request = request
        # Who answers a challenge sends again by this, and so passes the gate again.
        response.connection = self
        if opened.is_open:
            hold(response.raw, opened, answer.verdict, answer.heard)
        return response

    def close(self) -> None:
        """
        Close the inner adapter's connections. The next request makes new ones.
        """
        if self._made is not None:
            self._made.close()

    def _inner(self) -> Any:
        if self._made is None:
            with self._lock:
                if self._made is None:
                    from requests.adapters import HTTPAdapter

                    self._made = HTTPAdapter()
        return self._made

    def __reduce__(self) -> Any:
        """
        Refuse to be pickled or copied.

        Raises:
            TypeError: Always, and says what to do instead.
        """
        msg = (
            "an Adapter can't be pickled or copied, nor can a session that it is mounted on: its governor belongs to "
            "this process; copy the session first, then mount an Adapter on the copy"
        )
        raise TypeError(msg)

    def __getattr__(self, name: str) -> Any:
        # Not for the private ones: what looks for these copies or pickles, and means us.
        if name.startswith("_"):
            msg = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(msg, name=name, obj=self)
        return getattr(self._inner(), name)

    def _place(self, request: Any) -> tuple[str, str, int | None, str]:
        url = urlsplit(request.url)
        return url.scheme, url.hostname or "", url.port, url.path


class _Attempts(Reading):
    """
    A request's attempts.

    Args:
        gov: The governor.
        route: Where the request goes.
        inner: The adapter that sends.
        request: The prepared request.
        said: What the session said besides.
        memory: Its part in the service's cache, if it has one.
    """

    def __init__(
        self,
        gov: Governor,
        route: Route,
        inner: Any,
        request: Any,
        said: Mapping[str, Any],
        memory: Memory | None = None,
    ) -> None:
        super().__init__(gov, route, request, memory)
        self._inner = inner
        self._said = said
        self._once = _watched(request)
        self._is_first = True
        self._left: Any = None

    def asked(self) -> tuple[str, str, bytes | None]:
        """
        Return the method, the path, and the body; None for one that can't be read before it is sent.
        """
        body = self._request.body
        if isinstance(body, str):
            body = body.encode()
        return self._request.method, urlsplit(self._request.url).path, body if isinstance(body, bytes) else None

    def send(self, lease: Lease, timeout: float | None) -> Outcome:
        """
        Make one attempt that takes at most about *timeout* seconds for each thing that it waits for.
        """
        from requests.exceptions import Timeout

        until = self._until(lease, timeout)
        try:
            response = self._inner.send(self._fresh(timeout), **{**self._said, **self._timeout(timeout)})
            return self._outcome(response, until)
        except Exception as error:  # noqa: BLE001 - raised again, or at the end
            if isinstance(error, Timeout) and self._is_hurried(timeout):
                return Outcome(error=error, verdict=HURRIED)
            return self._raised(error)

    def _outcome(self, response: Any, until: int | None) -> Outcome:
        status, headers = response.status_code, response.headers
        verdict = self._verdict(status, headers)
        is_open = verdict.ok and self._has_body(status)
        care = self._heed(status, headers) if is_open else Heed.NOT
        if care is Heed.AHEAD and self._said["stream"]:
            care = Heed.ALONG  # Whoever asks for the body bit by bit is not kept waiting for it.
        # urllib3's headers, unlike those of requests, keep what stands there twice apart.
        raw_headers = getattr(response.raw, "headers", headers)
        tape = self._tape(status, response.reason or "", raw_headers, ok=verdict.ok)
        if not verdict.ok or (care is Heed.AHEAD and is_readable(response.raw)):
            verdict = self._read(response, until, is_good=verdict.ok, tape=tape)
            is_open = verdict.ok and self._left is not None
        elif tape is not None and self._may_note(response, tape, is_open=is_open):
            read = self._read(response, until, is_good=True, tape=tape)
            if is_open and not read.ok:
                tape.spoil()
            is_open = self._left is not None
        heard: Any = self._listener(status, headers, partial(_unpacked, headers)) if care is Heed.ALONG else None
        if verdict.ok:
            heard = self._counted(headers, heard)
        if is_open and tape is not None and tape.is_kept:
            heard = Taped(tape, heard)
        return Outcome(Answer(verdict, response=response, heard=heard), verdict=verdict, open=is_open)

    def _may_note(self, response: Any, tape: Tape, *, is_open: bool) -> bool:
        """
        Whether an answer is read for the cache before it is handed out; else it is noted while it is read, or not.
        """
        if not is_readable(response.raw):
            tape.spoil()
            return False
        if not is_open or tape.is_document or not self._said["stream"]:
            return True
        if "content-encoding" in response.headers:
            tape.spoil()  # Its reader unpacks it, and how it came nobody sees.
        return False

    def discard(self, outcome: Outcome) -> None:  # noqa: ARG002 - its unread rest is what `_left` is
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
            give_up(left)

    def is_spent(self) -> bool:
        return self._once is not None and self._once.is_begun

    def _timeout(self, most: float | None) -> dict[str, Any]:
        return {} if most is None else {"timeout": _lowered(self._said["timeout"], most)}

    def _fresh(self, timeout: float | None) -> Any:
        """
        Return the request for one attempt, its body at its start.
        """
        from requests.exceptions import ConnectTimeout
        from requests.utils import rewind_body

        request = self._request
        if timeout is not None and timeout <= 0:
            raise ConnectTimeout(self._late(), request=request)
        if self._once is not None:
            request = request.copy()
            request.body = self._once
        elif self.purse is not None and self._is_capped:
            request = request.copy()
            request.body = self.purse.bounded(self.asked()[2] or b"")
            request.prepare_content_length(request.body)
            if self._memory is not None:
                # Of a packed answer nobody sees whether it was cut off.
                request.headers.pop("Accept-Encoding", None)
        elif not self._is_first and _position(request) is not None:
            rewind_body(request)
        self._is_first = False
        return request

    def _read(self, response: Any, until: int | None, *, is_good: bool, tape: Tape | None = None) -> Verdict:
        """
        Read an answer as far as its verdict needs, and put *response* back to its start.

        Raises:
            Exception: The body of an answer with a good status has broken.
        """
        raw = response.raw
        if not is_readable(raw):
            return self._verdict(response.status_code, response.headers)
        most = MOST if tape is None else max(MOST, tape.ahead)
        chunks, size = list[bytes](), 0
        rest, error = None, None
        try:
            while chunk := part_of(raw):
                chunks.append(chunk)
                size += len(chunk)
                if self._is_enough(size, until, most):
                    self._left = rest = raw
                    break
        except Exception as caught:
            if is_good:
                give_up(raw)
                raise _as_requests(caught, response) from caught
            error = caught  # Raised where the body breaks.
        response.raw = replay(raw, chunks, rest=rest, error=error)
        if tape is not None:
            tape.take(chunks, is_whole=rest is None and error is None)
        body = readable(response.headers, b"".join(chunks))
        verdict = self._verdict(response.status_code, response.headers, body)
        if rest is None and error is None:
            self._count(response.headers, b"".join(chunks), verdict)
        return verdict


def _memory(route: Route, request: Any, said: Mapping[str, Any]) -> Memory | None:
    """
    Return *request*'s part in the service's cache; None if it has none.

    A certificate of the client's own is a credential that no header shows.
    """
    body = b"" if request.body is None else request.body
    if route.gate.compiled.policy.cache is None or said["cert"] or not isinstance(body, (bytes, str)):
        return None
    content = body.encode() if isinstance(body, str) else body
    headers = lowered(request.headers)
    return route.context.caches.memory(route, method=request.method, url=request.url, headers=headers, body=content)


def _given_again(found: Found, request: Any) -> Any:
    """
    Return an answer that was kept as a response of requests, as its own adapter makes one.
    """
    entry = found.entry
    raw = told_again(entry.status, entry.reason, again(found), entry.chunks)
    return _maker().build_response(request, raw)


@cache
def _maker() -> Any:
    from requests.adapters import HTTPAdapter

    return HTTPAdapter()


def _unpacked(headers: Mapping[str, str], body: bytes) -> bytes:
    """
    Return a body that was read by its user as text, if it is: who reads packed bytes unpacks them later.
    """
    return body if "content-encoding" not in headers or body.lstrip()[:1] in {b"{", b"[", b"<"} else b""


def _as_requests(error: Exception, response: Any) -> Exception:
    """
    Return what requests itself raises where the body of *response* breaks by *error*.
    """
    from requests import exceptions as known
    from urllib3 import exceptions as below

    if isinstance(error, below.ProtocolError):
        return known.ChunkedEncodingError(error, response=response, request=response.request)
    if isinstance(error, below.ReadTimeoutError):
        return known.ConnectionError(error, response=response, request=response.request)
    if isinstance(error, below.SSLError):
        return known.SSLError(error, response=response, request=response.request)
    return error


class _WatchedFile(Watched):
    """
    As `Watched`, for a file that can't be rewound.
    """

    def read(self, size: int = -1) -> bytes:
        """
        Read at most *size* bytes.
        """
        self.is_begun = True
        data = self._stream.read(size)
        return data.encode() if isinstance(data, str) else data


def _watched(request: Any) -> Watched | None:
    """
    Return a body so that it is seen whether it was begun; None for one that can be sent again and again.
    """
    body = request.body
    if body is None or isinstance(body, (bytes, bytearray, str)) or _position(request) is not None:
        return None
    return _WatchedFile(body) if hasattr(body, "read") else Watched(body)


def _position(request: Any) -> int | None:
    """
    Return where a body began that is a file; None if it can't be rewound, or is no file.
    """
    seekable = getattr(request.body, "seekable", None)
    position = getattr(request, "_body_position", None)
    return position if isinstance(position, int) and (seekable is None or seekable()) else None


def _lowered(given: Any, most: float) -> Any:
    """
    Return a request's own time-out, in each of its forms, lowered to *most* seconds where it is longer, or not given.
    """
    if isinstance(given, tuple):
        return tuple(most if each is None else min(each, most) for each in given)
    if given is None or isinstance(given, (int, float)):
        return most if given is None else min(given, most)
    lowered = given.clone()
    lowered.total = most if given.total is None else min(given.total, most)
    return lowered
