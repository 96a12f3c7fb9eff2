"""
Headers on their way through.

RFC 9110 section 7.6.1: what is meant for one connection (hop-by-hop fields, and those that ``Connection`` names) stays
on it. ``Connection`` can't take away who the client says it is, and ``X_Api_Key`` can't pass for ``X-Api-Key`` with an
upstream that reads both as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from .problems import Problem, RefusedError

__all__ = ["CREDENTIALS", "HOPS", "KEY", "Head", "Pairs", "onward", "read"]

Pairs = Sequence[tuple[str, str]]
CREDENTIALS = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key"})
_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Set anew for the upstream by whoever sends, or answered here.
_OURS = frozenset({"host", "content-length", "expect"})
KEY = "egressor-key"
HOPS = "Egressor-Hops"
"""
Which gateways of this kind a request has passed.
"""
_HOPS = HOPS.lower()
_WISHES = {
    "egressor-priority": "priority",
    "egressor-user": "user",
    "egressor-feature": "feature",
    "egressor-deadline": "deadline",
}
# Only a server in front of us could say these truly, and then they are of no concern to a foreign upstream; a client
# that says them wants an upstream to take it for somebody, or somewhere, else.
_HEARSAY = re.compile(r"forwarded|x-forwarded(-.*)?|x-real-ip|x-original-url|x-rewrite-url|true-client-ip")
_OWN = {**_WISHES, KEY: "key"}
_KEPT = CREDENTIALS | {"host", "content-length", "cookie"}
_ALIASED = _HOP | _OURS | CREDENTIALS | _OWN.keys() | {_HOPS, "cookie", "idempotency-key"}
# An upstream's word about its own origin would be taken for one about ours.
_NOT_BACK = _HOP | {"alt-svc", "clear-site-data", "service-worker-allowed", "strict-transport-security"}
_NOT_ITS_WORD = ("egressor-", "access-control-")
# The same few names come with each request: what they are is remembered of short ones, so many at most.
_SHORT = 64
_NAMES = 1024
_DEADLINE = re.compile(r"[0-9]{1,8}(\.[0-9]{1,6})?")


class Head(NamedTuple):
    """
    A request's headers, read.

    Attributes:
        pairs: What is forwarded, in the client's order and spelling.
        priority: ``Egressor-Priority``, or None.
        scope: ``Egressor-User`` and ``Egressor-Feature``, as far as they are given.
        deadline: ``Egressor-Deadline`` in seconds, or None.
        expects_continue: Whether the client waits for ``100 Continue`` before it sends its body.
        is_idempotent: Whether it carries an ``Idempotency-Key``.
        upgrade: The protocol that the client wants to change to; empty for none.
        key: ``Egressor-Key``, or None.
        hops: The marks in ``Egressor-Hops``.
        takes_trailers: Whether the client takes fields behind an answer's body.
    """

    pairs: list[tuple[str, str]]
    priority: str | None
    scope: dict[str, str]
    deadline: float | None
    expects_continue: bool
    is_idempotent: bool
    upgrade: str
    key: str | None = None
    hops: tuple[str, ...] = ()
    takes_trailers: bool = False


def read(raw: Iterable[tuple[bytes, bytes]]) -> Head:
    """
    Read the headers of a request.

    Raises:
        RefusedError: A header can't be forwarded as it is, or an ``Egressor-…`` header has no valid value.
    """
    pairs: list[tuple[str, str]] = []
    named: set[str] = set()
    wishes: dict[str, str] = {}
    known: set[str] = set()
    expects = idempotent = trailers = False
    upgrade = ""
    hops: tuple[str, ...] = ()
    for name_bytes, value_bytes in raw:
        name, value = _decoded(name_bytes, value_bytes)
        if len(name) <= _SHORT and _is_plain(name):
            pairs.append((name, value))
            continue
        low = name.lower()
        if "_" in low and low.replace("_", "-") in _ALIASED:
            raise RefusedError(_bad(f"the header {name!r} can be taken for {low.replace('_', '-')!r}"))
        if low in _OWN:
            _note(wishes, name, value)
        elif low == _HOPS:
            hops += _words(value)
        elif low == "connection":
            named.update(_words(value.lower()))
        elif low == "upgrade":
            upgrade = value
        elif low == "te":
            trailers = trailers or "trailers" in _words(value.lower())
        elif low == "expect":
            expects = value.lower() == "100-continue"
        elif low not in _HOP and low not in _OURS and not _is_hearsay(low):
            _check(low, known)
            idempotent = idempotent or (low == "idempotency-key" and bool(value))
            pairs.append((name, value))
    if not named <= _HOP:
        pairs = [pair for pair in pairs if pair[0].lower() not in named or pair[0].lower() in _KEPT]
    return Head(
        pairs,
        _priority(wishes.get("priority")),
        {each: _scope(each, wishes[each]) for each in ("user", "feature") if each in wishes},
        _deadline(wishes.get("deadline")),
        expects,
        idempotent and "idempotency-key" not in named,
        upgrade if "upgrade" in named else "",
        wishes.get("key"),
        hops,
        trailers,
    )


def onward(raw: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """
    Return the headers of an answer that go on to the client.
    """
    pairs: list[tuple[str, str]] = []
    named: set[str] = set()
    for name_bytes, value in raw:
        name = name_bytes.decode("latin-1")
        if _goes_back(name) if len(name) <= _SHORT else _goes_back.__wrapped__(name):
            pairs.append((name, _text(value)))
        elif name.lower() == "connection":
            named.update(_words(_text(value).lower()))
    named -= {"content-length", "content-type", "content-encoding"}
    return pairs if named <= _NOT_BACK else [pair for pair in pairs if pair[0].lower() not in named]


@lru_cache(_NAMES)
def _is_plain(name: str) -> bool:
    """
    Whether a header of that *name* means nothing here, and goes on.
    """
    low = name.lower()
    return not (low in _ALIASED or "_" in low or low.startswith("egressor-") or _is_hearsay(low))


@lru_cache(_NAMES)
def _goes_back(name: str) -> bool:
    low = name.lower()
    return low not in _NOT_BACK and not low.startswith(_NOT_ITS_WORD)


def _is_hearsay(low: str) -> bool:
    return _HEARSAY.fullmatch(low.replace("_", "-")) is not None


def _words(value: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in value.split(","))


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _decoded(name: bytes, value: bytes) -> tuple[str, str]:
    try:
        return name.decode("ascii"), value.decode()
    except UnicodeDecodeError:
        shown = name.decode("ascii", "replace")
        raise RefusedError(_bad(f"the header {shown!r} holds bytes that are not UTF-8")) from None


def _note(wishes: dict[str, str], name: str, value: str) -> None:
    wish = _OWN[name.lower()]
    if wish in wishes:
        raise RefusedError(_bad(f"{name} is there twice"))
    wishes[wish] = value


def _check(low: str, known: set[str]) -> None:
    """
    Refuse a second credential of one name, of which two programs may take either, and a wish that nobody grants.
    """
    if low in CREDENTIALS:
        if low in known:
            raise RefusedError(_bad(f"{low} is there twice"))
        known.add(low)
    elif low.startswith("egressor-"):
        names = ", ".join(name.title() for name in _OWN)
        raise RefusedError(_bad(f"{low[:64]} is none of {names}"))


def _priority(value: str | None) -> str | None:
    if value is not None and value not in {"low", "medium", "high", "critical"}:
        raise RefusedError(_bad(f"Egressor-Priority {value[:40]!r} is none of low, medium, high, critical"))
    return value


def _scope(key: str, value: str) -> str:
    if not 0 < len(value) <= 256 or not value.isprintable():
        raise RefusedError(_bad(f"Egressor-{key.title()} must be 1 to 256 printable characters"))
    return value


def _deadline(value: str | None) -> float | None:
    if value is None:
        return None
    if not _DEADLINE.fullmatch(value) or not 0 < float(value) <= 86_400:
        raise RefusedError(_bad(f"Egressor-Deadline {value[:40]!r} is not seconds above 0 and at most 86400"))
    return float(value)


def _bad(detail: str) -> Problem:
    return Problem(400, "bad_header", "Bad header", detail)
