"""
What an exception's type says, by names: the type's own, its bases', its modules'.

Clients are recognised without being imported: most of them aren't installed where this runs. A type is looked up from
the most derived class to the base; the first name that is known decides. Exact names come first, since two libraries
mean the same by ``ReadTimeout``; then fragments of names, so that a client nobody has seen yet is read too.

Three kinds of names:

- built-in ones, looked up exactly and only if they are the built-in ones: Python's ``PermissionError`` is a file's;
- **clear** ones, which say what happened;
- **vague** ones (``ConnectError``, ``RequestException``), which only say that something did. They decide only if
  nothing inside the exception knows better: httpx raises ``ConnectError`` for a refusal, a DNS failure and a wrong
  certificate alike.

A programming error (``TypeError``, ``KeyError``, …) says nothing about the service: it is neither retried nor counted.
Everything else that can't be placed is taken for the service's trouble, retried and counted: whoever decorates a
function that raises ``RuntimeError("boom")`` or an exception of their own expects that, as resilience4j and stamina do
it. It is not held to have run: the guard of non-idempotent requests is for writes that we know to have left.
"""

from __future__ import annotations

import errno
from functools import lru_cache
from typing import Final, NamedTuple

from egressor._core.evidence import attribute, is_a
from egressor._core.model import ErrorCategory as Kind

__all__ = ["CANCELLED", "UNPLACED", "TypeRule", "by_text", "by_type", "status_in_text", "type_name"]


class TypeRule(NamedTuple):
    """
    What a type's name says.

    Attributes:
        kind: The category.
        what: What happened, in words.
        retry: Whether the same attempt may succeed later.
        ran: Whether the server may have executed it.
        counts: Whether the breaker counts it; None leaves it to the category.
        vague: Whether something inside the exception may know better.
    """

    kind: Kind
    what: str
    retry: bool = False
    ran: bool = False
    counts: bool | None = None
    vague: bool = False


_REFUSED = TypeRule(Kind.NETWORK, "no connection, nothing was sent", retry=True)
_DNS = TypeRule(Kind.NETWORK, "the name was not resolved, nothing was sent", retry=True)
_TLS = TypeRule(Kind.NETWORK, "no TLS connection, nothing was sent")
_RESET = TypeRule(Kind.NETWORK, "the connection broke after sending", retry=True, ran=True)
_CONNECT_TIMEOUT = TypeRule(Kind.TIMEOUT, "connecting took too long, nothing was sent", retry=True)
_TIMEOUT = TypeRule(Kind.TIMEOUT, "no answer in time", retry=True, ran=True)
_SOME_TIMEOUT = _TIMEOUT._replace(vague=True)
# Our own crowding: the service neither saw the call nor is it to blame.
_POOL = TypeRule(Kind.TIMEOUT, "no free connection in our pool, nothing was sent", retry=True, counts=False)
_GARBLED = TypeRule(Kind.BAD_RESPONSE, "the answer can't be read", retry=True, ran=True)
_REDIRECTS = TypeRule(Kind.BAD_RESPONSE, "too many redirects")
_OURS = TypeRule(Kind.BAD_REQUEST, "the request is malformed, nothing was sent")
_PROGRAM = TypeRule(Kind.UNKNOWN, "an error of the program", counts=False, vague=True)
_LOCAL = TypeRule(Kind.UNKNOWN, "an error of this host, not of the service", counts=False, vague=True)
_CONNECT = TypeRule(Kind.NETWORK, "no connection", retry=True, vague=True)
_WIRE = TypeRule(Kind.NETWORK, "the network failed", retry=True, ran=True, vague=True)
_LIMITED = TypeRule(Kind.RATE_LIMIT, "a rate limit", retry=True)
_AUTH = TypeRule(Kind.AUTHENTICATION, "the credentials were refused")

CANCELLED: Final = TypeRule(Kind.CANCELLED, "cancelled by the caller")
UNPLACED: Final = TypeRule(Kind.UNKNOWN, "not known, taken for the service's", retry=True, counts=True, vague=True)

_BUILTINS: Final[dict[str, TypeRule]] = {
    "TimeoutError": _TIMEOUT,
    "ConnectionRefusedError": _REFUSED,
    "ConnectionResetError": _RESET,
    "ConnectionAbortedError": _RESET,
    "BrokenPipeError": _RESET,
    "ConnectionError": _WIRE,
    "FileNotFoundError": _LOCAL,
    "FileExistsError": _LOCAL,
    "IsADirectoryError": _LOCAL,
    "NotADirectoryError": _LOCAL,
    "PermissionError": _LOCAL,
    "MemoryError": _LOCAL,
    **dict.fromkeys(
        (
            "ArithmeticError",
            "AssertionError",
            "AttributeError",
            "BufferError",
            "ImportError",
            "LookupError",
            "NameError",
            "NotImplementedError",
            "RecursionError",
            "ReferenceError",
            "StopAsyncIteration",
            "StopIteration",
            "SyntaxError",
            "TypeError",
            "ValueError",
            "Warning",
        ),
        _PROGRAM,
    ),
}

# Clients often raise an OSError of their own with the number of the real one (aiohttp's ClientOSError, asyncio's).
_ERRNOS: Final[dict[int, TypeRule]] = {
    **dict.fromkeys((errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL), _REFUSED),
    **dict.fromkeys((errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE), _RESET),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOMEM), _LOCAL),
    errno.ETIMEDOUT: _TIMEOUT,
}

_NAMES: Final[dict[str, TypeRule]] = {
    "Cancelled": CANCELLED,
    "CancelledError": CANCELLED,
    "gaierror": _DNS,
    "herror": _DNS,
    "NewConnectionError": _REFUSED,
    "EndpointConnectionError": _REFUSED,
    "ClientConnectorError": _CONNECT,
    "ConnectError": _CONNECT,
    "ClientConnectorDNSError": _DNS,
    "SSLEOFError": _RESET,
    "SSLZeroReturnError": _RESET,
    "SSLSyscallError": _RESET,
    "ReadError": _RESET,
    "WriteError": _RESET,
    "CloseError": _RESET,
    "RemoteProtocolError": _RESET,
    "RemoteDisconnected": _RESET,
    "ServerDisconnectedError": _RESET,
    "ClientPayloadError": _RESET,
    "ChunkedEncodingError": _RESET,
    "IncompleteRead": _RESET,
    "IncompleteReadError": _RESET,
    "ConnectionClosedError": _RESET,
    "LocalProtocolError": _OURS,
    "UnsupportedProtocol": _OURS,
    "InvalidURL": _OURS,
    "InvalidUrlClientError": _OURS,
    "InvalidSchema": _OURS,
    "MissingSchema": _OURS,
    "InvalidHeader": _OURS,
    "LocationParseError": _OURS,
    "EmptyPoolError": _POOL,
    # SDKs put one class around the connecting, the reading and the pool's time-out.
    "APITimeoutError": _SOME_TIMEOUT,
    "RequestTimeout": _SOME_TIMEOUT,
    "TimedOut": _SOME_TIMEOUT,
    "APIConnectionError": _WIRE,
    "ClientConnectionError": _WIRE,
    "ClientOSError": _WIRE,
    "ConnectionError": _WIRE,
    "HTTPClientError": _WIRE,
    "MaxRetryError": _WIRE,
    "NetworkError": _WIRE,
    "ProtocolError": _WIRE,
    "ProxyError": _WIRE,
    "RequestError": _WIRE,
    "RequestException": _WIRE,
    "TransportError": _WIRE,
    "URLError": _WIRE,
}

# In this order: "ConnectTimeout" is a time-out, "SSLError" isn't one of the connection's kind, and so on.
_FRAGMENTS: Final[tuple[tuple[str, TypeRule], ...]] = (
    ("pooltimeout", _POOL),
    ("connecttimeout", _CONNECT_TIMEOUT),
    ("connectiontimeout", _CONNECT_TIMEOUT),
    ("timeout", _TIMEOUT),
    ("timedout", _TIMEOUT),
    ("ratelimit", _LIMITED),
    ("toomanyrequests", _LIMITED),
    ("throttl", _LIMITED),
    ("retryafter", _LIMITED),
    ("floodwait", _LIMITED),
    ("quota", TypeRule(Kind.QUOTA_EXHAUSTED, "a quota is spent")),
    ("insufficientfund", TypeRule(Kind.INSUFFICIENT_FUNDS, "not enough funds")),
    ("sslerror", _TLS),
    ("tlserror", _TLS),
    ("certificate", _TLS),
    ("nameresolution", _DNS),
    ("resolvehost", _DNS),
    ("dnserror", _DNS),
    ("dnslookup", _DNS),
    ("servernotfound", _DNS),
    ("connectionrefused", _REFUSED),
    ("connectionreset", _RESET),
    ("connectionlost", _RESET),
    ("toomanyredirects", _REDIRECTS),
    ("authenticat", _AUTH),
    ("unauthorized", _AUTH),
    ("credential", _AUTH),
    ("invalidtoken", _AUTH),
    ("expiredtoken", _AUTH),
    ("permission", TypeRule(Kind.PERMISSION, "not allowed")),
    ("forbidden", TypeRule(Kind.PERMISSION, "not allowed")),
    ("accessdenied", TypeRule(Kind.PERMISSION, "not allowed")),
    ("notfound", TypeRule(Kind.NOT_FOUND, "not found")),
    ("conflict", TypeRule(Kind.CONFLICT, "a conflict")),
    ("badrequest", TypeRule(Kind.BAD_REQUEST, "a bad request")),
    ("invalidrequest", TypeRule(Kind.BAD_REQUEST, "a bad request")),
    ("contentpolicy", TypeRule(Kind.CONTENT_POLICY, "refused by the content policy")),
    ("contentfilter", TypeRule(Kind.CONTENT_POLICY, "refused by the content policy")),
    ("jsondecode", _GARBLED),
    ("decodeerror", _GARBLED),
    ("decodingerror", _GARBLED),
    ("contenttype", _GARBLED),
    ("maintenance", TypeRule(Kind.MAINTENANCE, "maintenance", retry=True)),
    ("overload", TypeRule(Kind.OVERLOADED, "overloaded", retry=True)),
    ("servererror", TypeRule(Kind.SERVER_ERROR, "a server's error", retry=True, ran=True)),
    ("serviceunavailable", TypeRule(Kind.SERVER_ERROR, "a server's error", retry=True, ran=True)),
    ("badgateway", TypeRule(Kind.SERVER_ERROR, "a server's error", retry=True, ran=True)),
    ("networkerror", _WIRE),
    ("connectionerror", _WIRE),
    ("connecterror", _CONNECT),
)

# Messages of libraries that keep no link to what happened. Only a library's or a user's own class is read this way: the
# text of a bare RuntimeError is anybody's.
_PHRASES: Final[tuple[tuple[str, TypeRule], ...]] = (
    ("timed out", _TIMEOUT),
    ("timeouterror", _TIMEOUT),
    ("name or service not known", _DNS),
    ("name resolution", _DNS),
    ("getaddrinfo failed", _DNS),
    ("certificate verify failed", _TLS),
    ("connection refused", _REFUSED),
    ("newconnectionerror", _REFUSED),
    ("connect call failed", _REFUSED),
    ("connection reset", _RESET),
    ("connection aborted", _RESET),
    ("connection to the other side was lost", _RESET),
    ("connection was refused", _REFUSED),
    ("dns lookup failed", _DNS),
    ("server disconnected", _RESET),
    ("without sending complete message", _RESET),
)


def by_type(exc: BaseException) -> TypeRule:
    """
    Place *exc* by the names of its classes.

    Returns:
        The rule of the first class that is known; ``UNPLACED`` if none is. An exception that is no ``Exception`` (a
        ``KeyboardInterrupt``, a task's cancellation) says that somebody stopped the call: ``CANCELLED``.
    """
    kind: type = type(exc)
    rule = _by_class(kind)
    if rule.vague and is_a(exc, OSError):
        number = attribute(exc, "errno")
        return _ERRNOS.get(number, rule) if isinstance(number, int) else rule
    return rule


def by_text(exc: BaseException) -> TypeRule | None:
    """
    Place *exc* by the first 512 characters of its message; None if no phrase is known, or if it is of a built-in type.
    """
    if type(exc).__module__ == "builtins":
        return None
    try:
        text = str(exc)[:512].lower()
    except Exception:  # noqa: BLE001 - somebody's __str__ may raise anything
        return None
    return next((rule for phrase, rule in _PHRASES if phrase in text), None)


def status_in_text(exc: BaseException) -> int | None:
    """
    Read the status that urllib3 leaves only in its message, "too many 429 error responses", when its own retries end.
    """
    kind: type = type(exc)
    if _names(kind)[1] not in {"RetryError", "MaxRetryError", "ResponseError"}:
        return None
    try:
        _, found, rest = str(exc)[:4096].partition("too many ")
    except Exception:  # noqa: BLE001 - somebody's __str__ may raise anything
        return None
    number = rest[:3]
    spoken = found and rest[3:].startswith(" error responses") and number.isascii() and number.isdigit()
    return int(number) if spoken else None


def type_name(exc: BaseException) -> str:
    """
    Name the type of *exc* for a fingerprint: ``httpx.ReadTimeout``, ``TimeoutError``; at most 97 characters, ASCII.
    """
    kind: type = type(exc)
    root, name = _names(kind)
    return name if root == "builtins" else f"{root}.{name}"


@lru_cache(maxsize=512)
def _names(kind: type) -> tuple[str, str]:
    module = attribute(kind, "__module__")
    name = attribute(kind, "__name__")
    root = module[:64].split(".")[0] if isinstance(module, str) else "?"
    return _safe(root[:32]), _safe(name[:64] if isinstance(name, str) else "?")


def _safe(word: str) -> str:
    return word if word.isascii() and word.isidentifier() else "?"


# Remembers what never changes, for the 512 types met last; nothing of an exception itself is kept.
@lru_cache(maxsize=512)
def _by_class(kind: type) -> TypeRule:
    rules = (_by_name(*_names(each)) for each in kind.__mro__[:16])
    return next((rule for rule in rules if rule is not None), UNPLACED if issubclass(kind, Exception) else CANCELLED)


def _by_name(root: str, name: str) -> TypeRule | None:
    if root == "builtins":
        return _BUILTINS.get(name)
    if name in _NAMES:
        return _NAMES[name]
    lowered = name.lower()
    return next((rule for fragment, rule in _FRAGMENTS if fragment in lowered), None)
