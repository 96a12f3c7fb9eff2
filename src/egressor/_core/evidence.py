"""
What an answer or an exception carries, read by the names of attributes and never by importing a client.

Rules of this file. Whatever an object does when it is looked at (raise, lie, return nonsense), reading goes on without
that piece. Nothing is asked of an object that may touch the network or use up a stream: a body is taken only where
the client has it in memory already, hence from the instance's own dictionary, past all properties and methods.
Everything is bounded: header fields, characters of a body, links to a response.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple, TypeGuard, TypeVar

__all__ = [
    "BODY",
    "NOTHING",
    "Evidence",
    "Headers",
    "Opened",
    "attribute",
    "document",
    "gather",
    "headers_of",
    "is_a",
    "is_plain",
    "is_without",
    "loaded",
    "media_type",
    "status_of",
]

T = TypeVar("T")
Headers = dict[str, list[str]]

BODY: Final = 8192
_FIELDS: Final = 512
# The code of aiohttp's parser stands for what could not be parsed, and is no answer's status.
_PARSER: Final = "aiohttp.http_exceptions"
_VALUE: Final = 256
_NAME: Final = 64
# Headers that any rule reads, a dialect's too; the others are passed by.
_WANTED: Final = frozenset(
    {
        "cf-mitigated",
        "content-type",
        "date",
        "gw-ratelimit-reset",
        "location",
        "ratelimit",
        "retry-after",
        "retry-after-ms",
        "via",
        "x-amzn-errortype",
        "x-amzn-waf-action",
        "x-app-limit-24hour-remaining",
        "x-app-limit-24hour-reset",
        "x-bapi-limit-reset-timestamp",
        "x-bapi-limit-status",
        "x-gate-ratelimit-reset-timestamp",
        "x-ms-retry-after-ms",
        "x-rate-limit-remaining",
        "x-rate-limit-reset",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "x-ratelimit-reset-after",
        "x-ratelimit-scope",
        "x-should-retry",
        "x-sucuri-block",
        "x-user-limit-24hour-remaining",
        "x-user-limit-24hour-reset",
        "x-vercel-mitigated",
    }
)
_LOADED: Final = ("body", "_content", "_body", "content", "text", "http_body")
_STATUSES: Final = ("status_code", "status", "http_status", "code")
_HEADERS: Final = ("headers", "hdrs", "response_headers")
_LINKS: Final = ("response", "resp", "original_exception", "original_error", "reason", "os_error", "retry_after")
_ON_TYPES: Final = frozenset((*_STATUSES, *_HEADERS, *_LINKS))
_ON_OBJECTS: Final = frozenset((*_ON_TYPES, *_LOADED))
_LOADABLE: Final = (bytes, bytearray, str, dict, list)


class Evidence(NamedTuple):
    """
    What is known of one attempt's answer.

    Attributes:
        status: The HTTP status; None if there was no answer, -1 if one was named that is no status.
        headers: Values of the headers that rules read, by lower-case name.
        body: The body as far as it is at hand: bytes, text, or JSON that the client has parsed already.
        now: Seconds since 1970; None if the caller has no clock.
    """

    status: int | None = None
    headers: Headers = {}  # noqa: RUF012 - shared and never written: no header
    body: object = None
    now: float | None = None


class Opened(NamedTuple):
    """
    A body that has been read: what `document` returned for it.

    Attributes:
        parsed: The JSON in it, or None.
        text: Its first 8 KiB as text.
    """

    parsed: object
    text: str


NOTHING: Final = Evidence()
_READING: Final = BaseException.__getattribute__


def attribute(holder: object, name: str) -> object:
    """
    Read one attribute; None where there is none, or where reading it raises.
    """
    try:
        return getattr(holder, name, None)
    except Exception:  # noqa: BLE001 - whatever somebody's property raises, we go on without it
        return None


def is_a(value: object, kind: type[T]) -> TypeGuard[T]:
    """
    Whether *value* really is a *kind*: ``isinstance`` would also ask the value itself, which may lie or raise.
    """
    return issubclass(type(value), kind)


def loaded(value: object) -> object:
    """
    Return *value* if it is a body that can be read without asking anybody; else None.
    """
    return value if issubclass(type(value), _LOADABLE) else None


def is_plain(exc: BaseException) -> bool:
    """
    Whether *exc* carries nothing that any rule reads beyond its type and its arguments.

    Most exceptions do, and the dozen lookups in vain would cost more than the rest of the reading.
    """
    return is_without(exc, _ON_TYPES, _ON_OBJECTS)


def is_without(exc: BaseException, names: frozenset[str], own: frozenset[str]) -> bool:
    """
    Whether *exc* surely has no attribute of these *names* from its type, and none of its *own*.
    """
    try:
        kind: type = type(exc)
        return _is_type_without(kind, names) and own.isdisjoint(exc.__dict__)
    except Exception:  # noqa: BLE001 - whatever somebody's metaclass raises, nobody can be sure then
        return False


# Remembers what never changes, for the types met last.
@lru_cache(maxsize=1024)
def _is_type_without(kind: type, names: frozenset[str]) -> bool:
    own = hasattr(kind, "__getattr__") or attribute(kind, "__getattribute__") is not _READING
    return not own and not any(hasattr(kind, name) for name in names)


def gather(holder: object, *, strict: bool) -> Evidence:
    """
    Find status, headers and body on a response or on an exception that carries one.

    Shapes: httpx, requests, aiohttp, openai, anthropic, prawcore, tweepy (``.response``), googleapiclient (``.resp``),
    urllib (``.code``, ``.hdrs``), aiohttp, discord (``.status``), stripe (``.http_status``), botocore (a dictionary).

    Args:
        holder: The response or the exception.
        strict: Whether a lone ``status`` or ``code`` is not enough, and headers must stand beside it. For values
            that a user's function returned: an order with a status is no answer.
    """
    if is_a(holder, BaseException) and (is_plain(holder) or attribute(type(holder), "__module__") == _PARSER):
        return NOTHING
    response = attribute(holder, "response")
    if response is None:
        response = attribute(holder, "resp")
    if type(response) is dict and type(response.get("ResponseMetadata")) is dict:
        metadata = response["ResponseMetadata"]
        return Evidence(status_of(metadata.get("HTTPStatusCode")), headers_of(metadata.get("HTTPHeaders")), response)
    for source in (response, holder):
        if source is not None:
            status = _status(source, strict=strict)
            if status is not None:
                return Evidence(status, _headers(source) or _headers(holder), _body(holder, source))
    return Evidence(None, _headers(holder), _body(holder, holder))


def _status(source: object, *, strict: bool) -> int | None:
    lone = strict and attribute(source, "headers") is None
    for name in _STATUSES[:1] if lone else _STATUSES:
        value = attribute(source, name)
        status = status_of(value)
        if status is not None and 100 <= status <= 599:
            return status
        # A number that is no status (aiohttp's 0, curl's 28) says that there was none; its old aliases stay unasked,
        # since some warn when they are read.
        if isinstance(value, int):
            return None
    return None


def status_of(value: object) -> int | None:
    """
    Read a status: an integer, ``"503"`` or ``"503 Service Unavailable"``; -1 for what is there but is none.
    """
    if value is None:
        return None
    if type(value) is int:
        return value if value >= 100 else -1
    if isinstance(value, (str, bytes)):
        text = value[:64].decode("latin-1") if isinstance(value, bytes) else value[:64]
        word = (text.split() or [""])[0]
        value = int(word) if word.isascii() and word.isdigit() else -1
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 100:
        return -1
    return int(value)


def _headers(source: object) -> Headers:
    for name in _HEADERS:
        value = attribute(source, name)
        if value is not None:
            return headers_of(value)
    return {}


def headers_of(headers: object) -> Headers:
    """
    Collect the headers that rules read, from any shape: a mapping, pairs, bytes or text, one value or a list of them.
    """
    found: Headers = {}
    if type(headers) is dict and len(headers) <= _FIELDS and not any(type(name) is not str for name in headers):
        # The plain case, without a copy of what nobody reads.
        headers = {name: value for name, value in headers.items() if len(name) <= _NAME and name.lower() in _WANTED}
        if not headers:
            return found
    try:
        for item in islice(_fields(headers), _FIELDS):
            if isinstance(item, (tuple, list)) and len(item) == 2:
                _collect(item[0], item[1], found)
    except Exception:  # noqa: BLE001 - a mapping that raises half-way: what came before still counts
        return found
    return found


def _fields(headers: object) -> Iterable[object]:
    # httpx keeps the fields as they came in `raw`; its items() would decode and join each of them.
    raw = None if type(headers) is dict else getattr(headers, "raw", None)
    if isinstance(raw, list):
        return raw
    items = headers.items() if hasattr(headers, "items") else headers
    return items if isinstance(items, Iterable) and not isinstance(items, (str, bytes)) else ()


def _collect(name: object, value: object, found: Headers) -> None:
    if isinstance(name, str):
        word = str.lower(name) if len(name) <= _NAME else ""
    elif isinstance(name, bytes):
        word = bytes.lower(name).decode("latin-1") if len(name) <= _NAME else ""
    else:
        return
    if word not in _WANTED:
        return
    values = value if isinstance(value, (list, tuple)) else (value,)
    found.setdefault(word, []).extend(_text(each) for each in values[:8])


def _text(value: object) -> str:
    if isinstance(value, str):
        return str(value[:_VALUE])
    if isinstance(value, bytes):
        return value[:_VALUE].decode("latin-1")
    # The conversions are those of int and float themselves: a stranger's __str__ stays unasked. So are the digits of
    # an endless int.
    return repr(float(value)) if isinstance(value, (int, float)) and abs(value) < 1e15 else ""


def _body(holder: object, source: object) -> object:
    for place in (holder,) if source is holder else (holder, source):
        own = attribute(place, "__dict__")
        if type(own) is dict:
            for name in _LOADED:
                value = loaded(own.get(name))
                if value:
                    return value
    return None


def media_type(headers: Headers) -> str:
    """
    Return the media type that the response declares, in lower case and without parameters; empty if none.
    """
    values = headers.get("content-type")
    return values[0].split(";")[0].strip().lower() if values else ""


def document(body: object) -> tuple[object, str]:
    """
    Read *body* as JSON and as text.

    Returns:
        The parsed document, or None where the body is no JSON or longer than 8 KiB; and the first 8 KiB as text,
        empty where the client handed over JSON that it had parsed.
    """
    if type(body) is Opened:
        return body
    if isinstance(body, (dict, list)):
        return body, ""
    if isinstance(body, (bytes, bytearray)):
        text = bytes(body[:BODY]).decode("utf-8", "replace")
    else:
        text = body[:BODY] if isinstance(body, str) else ""
    if not text.lstrip("\ufeff \t\r\n").startswith(("{", "[")) or _size(body) > BODY:
        return None, text
    try:
        return json.loads(text.removeprefix("\ufeff")), text
    except (ValueError, RecursionError):
        return None, text


def _size(body: object) -> int:
    return len(body) if isinstance(body, (bytes, bytearray, str)) else 0
