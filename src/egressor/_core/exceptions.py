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
from typing import Final

from egressor._core.evidence import attribute, is_a
from egressor._core.libraries import LIBRARIES
from egressor._core.model import ErrorCategory as Kind
from egressor._core.type_rules import (
    AUTH,
    BUSY,
    CANCELLED,
    CLASH,
    CONNECT,
    CONNECT_TIMEOUT,
    DNS,
    DOWN,
    GARBLED,
    GEO,
    LIMITED,
    LOCAL,
    LOCKED,
    MALFORMED,
    MISSING,
    OURS,
    POOL,
    PROGRAM,
    PROXY,
    REDIRECTS,
    REFUSED,
    REPLY,
    RESET,
    RIGHTS,
    SETUP,
    SOME_TIMEOUT,
    TIMEOUT,
    TLS,
    UNPLACED,
    WIRE,
    TypeRule,
)
from egressor._core.wordings import errno_in_text, message, speaks_of_keys

__all__ = ["CANCELLED", "UNPLACED", "TypeRule", "by_sqlstate", "by_type", "is_of_http", "type_name"]


_HTTP: Final = frozenset(
    {"aiohttp", "asyncio", "builtins", "http", "httpcore", "httpcore2", "httpx", "httpx2", "requests", "ssl", "urllib"}
    | {"urllib3", "websockets"}
)
_TURNED_AWAY: Final = DOWN._replace(ran=False)
_BUILTINS: Final[dict[str, TypeRule]] = {
    "TimeoutError": TIMEOUT,
    "ConnectionRefusedError": REFUSED,
    "ConnectionResetError": RESET,
    "ConnectionAbortedError": RESET,
    "BrokenPipeError": RESET,
    "ConnectionError": WIRE,
    "FileNotFoundError": LOCAL,
    "FileExistsError": LOCAL,
    "IsADirectoryError": LOCAL,
    "NotADirectoryError": LOCAL,
    "PermissionError": LOCAL,
    "MemoryError": LOCAL,
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
        PROGRAM,
    ),
}

# Clients often raise an OSError of their own with the number of the real one (aiohttp's ClientOSError, asyncio's).
_ERRNOS: Final[dict[int, TypeRule]] = {
    **dict.fromkeys((errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL), REFUSED),
    **dict.fromkeys((errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE), RESET),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOMEM), LOCAL),
    errno.ETIMEDOUT: TIMEOUT,
}

_NAMES: Final[dict[str, TypeRule]] = {
    "Cancelled": CANCELLED,
    "CancelledError": CANCELLED,
    "gaierror": DNS,
    "herror": DNS,
    "NewConnectionError": REFUSED,
    "EndpointConnectionError": REFUSED,
    "ClientConnectorError": CONNECT,
    "ConnectError": CONNECT,
    "ClientConnectorDNSError": DNS,
    "SSLEOFError": RESET,
    "SSLZeroReturnError": RESET,
    "SSLSyscallError": RESET,
    "ReadError": RESET,
    "WriteError": RESET,
    "CloseError": RESET,
    "RemoteProtocolError": RESET,
    "RemoteDisconnected": RESET,
    "ServerDisconnectedError": RESET,
    "BadHttpMessage": GARBLED,
    "BadStatusLine": GARBLED,
    "ContentLengthError": RESET,
    "TransferEncodingError": RESET,
    # Broken off, or unreadable: its message tells.
    "ClientPayloadError": RESET._replace(vague=True),
    "ChunkedEncodingError": RESET,
    "IncompleteRead": RESET,
    "IncompleteReadError": RESET,
    "ConnectionClosed": RESET,
    "ConnectionClosedError": RESET,
    "WebSocketClosedError": RESET,
    "WebSocketConnectionClosedException": RESET,
    "WebSocketDisconnect": RESET,
    "LocalProtocolError": OURS,
    "UnsupportedProtocol": OURS,
    "InvalidURL": OURS,
    "InvalidUrlClientError": OURS,
    "InvalidSchema": OURS,
    "MissingSchema": OURS,
    "InvalidHeader": OURS,
    "LocationParseError": OURS,
    "EmptyPoolError": POOL,
    # SDKs put one class around the connecting, the reading and the pool's time-out.
    "APITimeoutError": SOME_TIMEOUT,
    "RequestTimeout": SOME_TIMEOUT,
    "TimedOut": SOME_TIMEOUT,
    "APIConnectionError": WIRE,
    "ClientConnectionError": WIRE,
    "ClientOSError": WIRE,
    "ConnectionError": WIRE,
    "HTTPClientError": WIRE,
    "MaxRetryError": WIRE,
    "NetworkError": WIRE,
    "ProtocolError": WIRE,
    "ClientHttpProxyError": PROXY,
    "ProxyError": PROXY,
    "RequestError": WIRE,
    "RequestException": WIRE,
    "TransportError": WIRE,
    "URLError": WIRE,
}

# In this order: "ConnectTimeout" is a time-out, "SSLError" isn't one of the connection's kind, and so on.
_FRAGMENTS: Final[tuple[tuple[str, TypeRule], ...]] = (
    ("pooltimeout", POOL),
    ("connecttimeout", CONNECT_TIMEOUT),
    ("connectiontimeout", CONNECT_TIMEOUT),
    ("timeout", TIMEOUT),
    ("timedout", TIMEOUT),
    # A library that has such a class has read more than a bare 403.
    ("ratelimit", LIMITED._replace(finer=True)),
    ("toomanyrequests", LIMITED._replace(finer=True)),
    ("throttl", LIMITED),
    ("retryafter", LIMITED),
    ("floodwait", LIMITED),
    ("quota", TypeRule(Kind.QUOTA_EXHAUSTED, "a quota is spent")),
    ("insufficientfund", TypeRule(Kind.INSUFFICIENT_FUNDS, "not enough funds")),
    # A peer that hangs up in a handshake is told by what is inside.
    ("sslerror", TLS._replace(vague=True)),
    ("tlserror", TLS._replace(vague=True)),
    ("certificate", TLS),
    ("nameresolution", DNS),
    ("resolvehost", DNS),
    ("dnserror", DNS),
    ("dnslookup", DNS),
    ("servernotfound", DNS),
    ("connectionrefused", REFUSED),
    ("connectionreset", RESET),
    ("connectionlost", RESET),
    ("toomanyredirects", REDIRECTS),
    ("authenticat", AUTH),
    ("autherror", AUTH),
    ("expiredsession", AUTH),
    ("sessionexpired", AUTH),
    ("unauthorized", AUTH),
    ("credential", AUTH),
    ("invalidtoken", AUTH),
    ("expiredtoken", AUTH),
    ("permission", TypeRule(Kind.PERMISSION, "not allowed")),
    ("forbidden", TypeRule(Kind.PERMISSION, "not allowed")),
    ("accessdenied", TypeRule(Kind.PERMISSION, "not allowed")),
    ("notfound", TypeRule(Kind.NOT_FOUND, "not found")),
    ("conflict", TypeRule(Kind.CONFLICT, "a conflict")),
    ("badrequest", TypeRule(Kind.BAD_REQUEST, "a bad request")),
    ("invalidrequest", TypeRule(Kind.BAD_REQUEST, "a bad request")),
    ("contentpolicy", TypeRule(Kind.CONTENT_POLICY, "refused by the content policy")),
    ("contentfilter", TypeRule(Kind.CONTENT_POLICY, "refused by the content policy")),
    ("accountsuspended", LOCKED),
    ("accountlocked", LOCKED),
    ("accountbanned", LOCKED),
    ("captcha", TypeRule(Kind.CHALLENGE, "a human is asked for", finer=True)),
    ("restrictedlocation", GEO),
    ("insufficientbalance", TypeRule(Kind.INSUFFICIENT_FUNDS, "not enough funds")),
    ("alreadyexist", CLASH),
    ("resourceexists", CLASH),
    ("entityexists", CLASH),
    # PEP 249's, and asyncpg's.
    ("integrityerror", CLASH),
    ("uniqueviolation", CLASH),
    ("foreignkeyviolation", CLASH),
    ("duplicate", CLASH),
    ("jsondecode", GARBLED),
    ("responsevalidation", GARBLED),
    ("decodeerror", GARBLED),
    ("decodingerror", GARBLED),
    ("contenttype", GARBLED),
    ("maintenance", TypeRule(Kind.MAINTENANCE, "maintenance", retry=True)),
    ("overload", TypeRule(Kind.OVERLOADED, "overloaded", retry=True)),
    ("servererror", TypeRule(Kind.SERVER_ERROR, "a server's error", retry=True, ran=True)),
    # Drivers of databases call so what they got no connection to.
    ("serviceunavailable", DOWN._replace(vague=True)),
    ("badgateway", TypeRule(Kind.SERVER_ERROR, "a server's error", retry=True, ran=True)),
    ("networkerror", WIRE),
    ("connectionerror", WIRE),
    ("connecterror", CONNECT),
)

# SQL's states, which psycopg's and asyncpg's classes carry, by their first two letters; some whole.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_SQLSTATES: Final[dict[str, TypeRule]] = {
    "08": WIRE,
    "22": MALFORMED,
    "23": CLASH,
    "23502": MALFORMED,
    "23514": MALFORMED,
    "25006": DOWN._replace(ran=False),
    # What went before it in the transaction has failed.
    "25P02": MALFORMED,
    "28": AUTH,
    "40": CLASH._replace(retry=True),
    "42": MALFORMED,
    "42501": RIGHTS,
    "53": BUSY,
    "53100": DOWN,
    "55P03": CLASH._replace(retry=True),
    "57014": TIMEOUT,
    "57P": DOWN,
    # ODBC's: https://learn.microsoft.com/sql/odbc/reference/appendixes/appendix-a-odbc-error-codes
    "HYT00": TIMEOUT,
    "HYT01": CONNECT_TIMEOUT,
    "IM": SETUP,
    "57P01": DOWN,
    "57P02": DOWN,
    "57P03": BUSY,
    "58": DOWN,
    "XX": DOWN,
}

_REPLIED: Final = 32
# The first word of an error that Redis replies. redis-py has classes for some of them, and not in each version.
# https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors
_REPLIES: Final[dict[str, TypeRule]] = {
    "ASK": _TURNED_AWAY,
    "BUSY": BUSY,
    "BUSYGROUP": CLASH,
    "BUSYKEY": CLASH,
    "CLUSTERDOWN": _TURNED_AWAY,
    "LOADING": BUSY,
    "MASTERDOWN": _TURNED_AWAY,
    "MISCONF": _TURNED_AWAY,
    "MOVED": _TURNED_AWAY,
    "NOAUTH": AUTH,
    "NOGROUP": MISSING,
    "NOPERM": RIGHTS,
    "NOREPLICAS": _TURNED_AWAY,
    "NOSCRIPT": MISSING,
    "OOM": BUSY,
    "READONLY": _TURNED_AWAY,
    "TRYAGAIN": _TURNED_AWAY,
    "WRONGPASS": AUTH,
}


def by_type(exc: BaseException) -> TypeRule:
    """
    Place *exc* by the names of its classes.

    Returns:
        The rule of the first class that is known; ``UNPLACED`` if none is. An exception that is no ``Exception`` (a
        ``KeyboardInterrupt``, a task's cancellation) says that somebody stopped the call: ``CANCELLED``.
    """
    kind: type = type(exc)
    rule = _by_class(kind)
    if rule is REPLY:
        return _REPLIES.get(message(exc)[:_REPLIED].partition(" ")[0], rule)
    if rule.vague and is_a(exc, OSError):
        number = attribute(exc, "errno")
        if number is None:
            number = errno_in_text(exc)
        if number is None and kind is PermissionError and speaks_of_keys(exc):
            # The host's own has a number: this one was raised by a library, for want of a key.
            return AUTH
        return _ERRNOS.get(number, rule) if isinstance(number, int) else rule
    return rule


def by_sqlstate(state: str) -> TypeRule | None:
    """
    Look up what a *state* of SQL means, by its class of two letters where it has no rule of its own.
    """
    return _SQLSTATES.get(state[:5]) or _SQLSTATES.get(state[:2])


def is_of_http(exc: BaseException) -> bool:
    """
    Whether *exc* is of Python itself or of a client of plain HTTP, whose words are no provider's.
    """
    kind: type = type(exc)
    return _names(kind)[0] in _HTTP


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
    state = attribute(kind, "sqlstate")
    if isinstance(state, str):
        found = by_sqlstate(state)
        if found is not None:
            return found
    rules = (_by_name(*_names(each)) for each in kind.__mro__[:16])
    return next((rule for rule in rules if rule is not None), UNPLACED if issubclass(kind, Exception) else CANCELLED)


def _by_name(root: str, name: str) -> TypeRule | None:
    if root == "builtins":
        return _BUILTINS.get(name)
    known = LIBRARIES.get(root)
    if known is not None and name in known:
        return known[name]
    if name in _NAMES:
        return _NAMES[name]
    lowered = name.lower()
    return next((rule for fragment, rule in _FRAGMENTS if fragment in lowered), None)
