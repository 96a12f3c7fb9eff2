"""
Which answers may be kept, under which key, and for how long.

*The key.* An answer is given again to the same request only, and the same means: from whoever carries the same
credential. What a credential looks like differs from API to API (a header of any name, a cookie, a part of the query),
so nothing is looked for: every header counts, but for those of `NOISE`, which say nothing of the answer. One more
header that counts costs a miss, one that doesn't may hand somebody's answer to somebody else. All of it goes through
one keyed hash, so that no key holds a secret, or can be tried out without the store's salt.

*A body of JSON* is told from another by what it means, as far as that is safe: white space, escapes and the order of
its outermost members don't count. The order inside does: a model writes the members of a schema in the schema's order.

*What is asked for.* GET and HEAD; and of an LLM's API the POSTs that compute and change nothing, if their answer is
not drawn by chance: embeddings, and chats at temperature 0, unless the policy asks for all. What the provider does
beside that, such as to run a tool, to search, or to write to a thread, would be left out by an answer that is given
again. So its paths are known whole, and of tools only those that the client runs itself.

*What is kept.* An answer of status 200 that has come whole and that its server lets be kept (RFC 9111 section 3). The
server of an LLM's API says ``no-cache`` of each stream and sets a cookie of its front's with each answer, meaning
neither: there the first counts for nothing, and the second isn't kept.
"""

from __future__ import annotations

import json
import re
from array import array
from enum import Enum, auto
from hashlib import blake2b
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .model import ErrorCategory
from .retry_after import http_date

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .model import Verdict

__all__ = [
    "ANY_AGE",
    "NOISE",
    "SIZE",
    "CacheSpec",
    "Entry",
    "Found",
    "Taken",
    "Use",
    "cache_key",
    "canonical",
    "entry_of",
    "found",
    "is_computed",
    "is_last",
    "is_service_down",
    "is_told",
    "lifetime",
    "may_be_cut",
    "may_be_stale",
    "members",
    "pack",
    "request_digest",
    "returned",
    "taken",
    "unpack",
    "use_of",
]

_SECOND: Final = 1_000_000
_CUT: Final = re.compile(
    rb'"(?:finish_reason|finishReason|stop_reason)"\s*:\s*"(?:length|max_tokens|MAX_TOKENS)"|"status"\s*:\s*"incomplete"'
)
_LONGEST: Final = 400 * 86_400
_NO_BODY_LIMIT: Final = 1 << 40

NOISE: Final = frozenset(
    {
        "b3",
        "baggage",
        "cache-control",
        "connection",
        "content-length",
        "date",
        "egressor-hops",
        "expect",
        "idempotency-key",
        "keep-alive",
        "pragma",
        "sentry-trace",
        "te",
        "traceparent",
        "tracestate",
        "transfer-encoding",
        "x-amzn-trace-id",
        "x-client-request-id",
        "x-cloud-trace-context",
        "x-correlation-id",
        "x-request-id",
    }
)
"""
Headers of a request that say nothing of its answer.
"""

SIZE: Final = array("Q").itemsize
"""
Bytes that a note of a chunk's length takes.
"""

# What holds an answer, its key and its place, and what holds a header: as CPython 3.11 does it.
_HOLDER: Final = 640
_PAIR: Final = 192

_NOISY: Final = ("x-b3-", "x-stainless-")
_AUTHORITY: Final = re.compile(r"([a-z][a-z0-9+.-]*)://(?:[^/?#]*@)?([^/?#]*)", re.IGNORECASE)
_PORTS: Final = {"http": ":80", "https": ":443"}
# Conditions and ranges ask for something else than the whole answer.
_PARTIAL: Final = frozenset(
    {"range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"}
)
_CREDENTIAL: Final = ("auth", "cookie", "key", "secret", "session", "token")
# Before the operation stands what a base URL ends with, and no name of a thing that a POST would change:
# `/v1/threads/ID/messages` writes one. See https://platform.openai.com/docs/api-reference/messages/createMessage.
_OPERATION: Final = re.compile(
    r"(?:(?:/[^/]+)*/(?:v[0-9][a-z0-9]*|beta|compat|inference|models|openai|openapi|deployments/[^/]+))?"
    r"/(?:(?:(?:chat|fim)/)?completions|responses|messages|embeddings)"
)
_GEMINI_OPERATION: Final = re.compile(
    r"(?:/[^/]+)*/(?:models|tunedModels|endpoints)/[^/]+"
    r":(?:generateContent|streamGenerateContent|embedContent|batchEmbedContents)"
)
_GEMINI: Final = (":generateContent", ":streamGenerateContent")
_EMBEDDINGS: Final = ("/embeddings", ":embedContent", ":batchEmbedContents")
# What such a request may say that makes it an action, or its answer one of this moment: work that goes on, what is
# kept over there and may name tools of its own, servers to call, and searches under the names that APIs have for them.
_ACTS: Final = (
    "background",
    "cachedContent",
    "cached_content",
    "container",
    "conversation",
    "data_sources",
    "enable_search",
    "mcp_servers",
    "plugins",
    "search_parameters",
    "web_search_options",
)
# The tools that a client runs itself: OpenAI's by these types, Gemini's under these names. Anthropic's have a schema.
_CLIENTS_TOOLS: Final = ("function", "custom")
_DECLARATIONS: Final = frozenset({"functionDeclarations", "function_declarations"})

# Of an answer, what belongs to one connection or one moment, or would teach its reader what is over.
_UNKEPT: Final = frozenset(
    {
        "age",
        "alt-svc",
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "retry-after",
        "set-cookie",
        "strict-transport-security",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_UNKEPT_PARTS: Final = ("ratelimit", "egressor-")

_OF_THE_REQUEST: Final = frozenset(
    {
        ErrorCategory.AUTHENTICATION,
        ErrorCategory.BAD_REQUEST,
        ErrorCategory.CONTENT_POLICY,
        ErrorCategory.NOT_FOUND,
        ErrorCategory.PERMISSION,
    }
)
_OF_THE_SERVICE: Final = frozenset(
    {
        ErrorCategory.BAD_RESPONSE,
        ErrorCategory.BAN,
        ErrorCategory.CHALLENGE,
        ErrorCategory.MAINTENANCE,
        ErrorCategory.NETWORK,
        ErrorCategory.OUTCOME_UNKNOWN,
        ErrorCategory.OVERLOADED,
        ErrorCategory.QUOTA_EXHAUSTED,
        ErrorCategory.RATE_LIMIT,
        ErrorCategory.SERVER_ERROR,
        ErrorCategory.TIMEOUT,
    }
)


class CacheSpec(NamedTuple):
    """
    A cache's policy, in the core's units.

    Attributes:
        ttl: Microseconds that an answer is fresh, if its server does not say less.
        stale: Microseconds after that in which it serves where the service fails.
        any_temperature: Whether answers are kept that were drawn by chance.
        most: Bytes that one answer may have.
    """

    ttl: int
    stale: int = 0
    any_temperature: bool = False
    most: int = _NO_BODY_LIMIT


class Use(Enum):
    """
    What a request wants of the cache.
    """

    NONE = auto()
    """
    Nothing: it is not looked up, and its answer is not kept.
    """
    RENEW = auto()
    """
    A new answer, which may be kept.
    """
    ALL = auto()
    """
    A kept answer, if there is one.
    """


class Entry(NamedTuple):
    """
    An answer, whole.

    Attributes:
        status: Its HTTP status.
        reason: The words beside it.
        headers: Its headers, as far as they are kept.
        body: Its body.
        sizes: How many bytes came at once; all of them if it is no stream.
    """

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    sizes: Sequence[int]

    def __repr__(self) -> str:
        return f"Entry({self.status}, {self.size} bytes)"

    @property
    def chunks(self) -> tuple[bytes, ...]:
        """
        Its body, as it came.
        """
        ends = tuple(accumulate(self.sizes))
        return tuple([self.body[start:end] for start, end in zip((0, *ends), ends, strict=False)])

    @property
    def size(self) -> int:
        """
        Bytes that it takes, about.
        """
        heads = sum([_PAIR + len(name) + len(value) for name, value in self.headers])
        return _HOLDER + heads + len(self.body) + SIZE * len(self.sizes)


def entry_of(status: int, reason: str, headers: Iterable[tuple[str, str]], chunks: Iterable[bytes]) -> Entry:
    """
    Return an answer whose body came in *chunks*.
    """
    # A stream has thousands: as objects of their own they would take more room than what is in them.
    parts = tuple(chunks)
    return Entry(status, reason, tuple(headers), b"".join(parts), array("Q", map(len, parts)))


class Found(NamedTuple):
    """
    An answer that was kept.

    Attributes:
        entry: The answer.
        age: Microseconds since it came.
        is_stale: Whether it is no longer fresh.
    """

    entry: Entry
    age: int = 0
    is_stale: bool = False


class Taken(NamedTuple):
    """
    Which kept answers a request takes.

    Attributes:
        oldest: Microseconds that one may be old; None for any that is fresh.
        is_only: Whether it takes nothing but a kept answer.
    """

    oldest: int | None = None
    is_only: bool = False

    def takes(self, found: Found | None) -> bool:
        """
        Say whether *found* is one.
        """
        return found is not None and (self.oldest is None or (found.age <= self.oldest and not found.is_stale))


ANY_AGE: Final = Taken()
"""
What a request takes that says nothing of it.
"""


def taken(headers: Iterable[tuple[str, str]]) -> Taken:
    """
    Say which kept answers a request takes (RFC 9111 section 5.2.1): ``max-age`` and ``only-if-cached``.

    Args:
        headers: Its headers, their names in lower case.
    """
    said = [pair for pair in headers if pair[0] == "cache-control"]
    if not said:
        return ANY_AGE
    words = _words(said, "cache-control")
    ages = [_whole(word.partition("=")[2].strip('"')) for word in words if word.startswith("max-age=")]
    return Taken(min(ages) * _SECOND if ages else None, "only-if-cached" in words)


def is_computed(method: str, path: str) -> bool:
    """
    Say whether a request to an LLM's API is one of the POSTs that compute.

    Args:
        method: Its method.
        path: Its path, without its query, and without that of the service's base URL, if that is known.
    """
    if method != "POST":
        return False
    return _OPERATION.fullmatch(path) is not None or _GEMINI_OPERATION.fullmatch(path) is not None


def use_of(
    method: str, path: str, headers: Iterable[tuple[str, str]], asked: Mapping[str, Any] | None, *, spec: CacheSpec
) -> Use:
    """
    Say what a request wants of the cache.

    Args:
        method: Its method.
        path: Its path, without its query.
        headers: Its headers, their names in lower case.
        asked: What `members` finds in its body, if it is a POST that computes; else None.
        spec: The cache's policy.
    """
    said = list(headers)
    words = _words(said, "cache-control")
    if "no-store" in words or any(name in _PARTIAL or name == "upgrade" for name, _ in said):
        return Use.NONE
    if method == "POST":
        if asked is None or not _is_certain(path, asked, spec):
            return Use.NONE
    elif method not in {"GET", "HEAD"}:
        return Use.NONE
    if "no-cache" in words or "max-age=0" in words or "no-cache" in _words(said, "pragma"):
        return Use.RENEW
    return Use.ALL


def _is_certain(path: str, asked: Mapping[str, Any], spec: CacheSpec) -> bool:
    if _acts(asked):
        return False
    if path.endswith(_EMBEDDINGS) or spec.any_temperature:
        return True
    options = asked.get("generationConfig") if path.endswith(_GEMINI) else asked
    temperature = options.get("temperature") if isinstance(options, dict) else None
    return isinstance(temperature, (int, float)) and not isinstance(temperature, bool) and temperature == 0


def _acts(asked: Mapping[str, Any]) -> bool:
    """
    Whether a request makes its provider do more than compute.
    """
    tools = asked.get("tools") or []
    # A prompt that is kept over there may name tools; one that is a text is what the model goes on with.
    return (
        any(asked.get(name) for name in _ACTS)
        or isinstance(asked.get("prompt"), dict)
        or not isinstance(tools, list)
        or not all(_is_clients(tool) for tool in tools)
    )


def _is_clients(tool: object) -> bool:
    """
    Whether a tool is one that the client runs itself. One of a kind that isn't known may be the provider's.
    """
    if not isinstance(tool, dict):
        return False
    if tool.get("type") is None:
        return "input_schema" in tool or tool.keys() <= _DECLARATIONS
    return tool["type"] in _CLIENTS_TOOLS


def request_digest(
    *, method: str, url: str, headers: Iterable[tuple[str, str]], body: bytes, is_computed: bool = False
) -> bytes:
    """
    Return what distinguishes a request: 32 bytes, of which `cache_key` makes keys. It has no salt: it is shown nowhere.

    Args:
        method: The method.
        url: The whole URL, with its query.
        headers: The headers, their names in lower case. A ``Host`` counts where it is another than the URL's.
        body: The body, as `canonical` makes it.
        is_computed: Whether it is a POST that computes: who sends it, by ``User-Agent``, doesn't shape its answer.
    """
    digest = blake2b(digest_size=32)
    counting = sorted([pair for pair in headers if not _is_noise(pair[0], is_computed=is_computed)], key=_name)
    counting = [pair for pair in counting if pair[0] != "host" or not _is_of(url, pair[1])]
    texts = [method, url, *[text for pair in counting for text in pair]]
    # Each with its length: no two lists of parts look alike.
    digest.update("".join([f"{len(text)}:{text}" for text in texts]).encode("utf-8", "surrogatepass"))
    digest.update(b"%d:" % len(body))
    digest.update(body)
    return digest.digest()


def cache_key(salt: bytes, digest: bytes) -> str:
    """
    Return the key of a request: 32 hexadecimal digits, of which nothing can be read.

    Args:
        salt: The secret of whoever keeps the answer, at most 64 bytes.
        digest: What `request_digest` makes of the request.
    """
    return blake2b(digest, key=salt, digest_size=16).hexdigest()


def _name(pair: tuple[str, str]) -> str:
    return pair[0]


def _is_of(url: str, host: str) -> bool:
    """
    Whether a ``Host`` says no more than its URL does. Most clients send one; some leave that to what is below them.
    """
    found = _AUTHORITY.match(url)
    if found is None:
        return False
    port = _PORTS.get(found[1].lower(), "")
    return host.strip().lower().removesuffix(port) == found[2].lower().removesuffix(port)


def _is_noise(name: str, *, is_computed: bool) -> bool:
    return name in NOISE or name.startswith(_NOISY) or (is_computed and name == "user-agent")


def canonical(body: bytes, asked: Mapping[str, Any] | None) -> bytes:
    """
    Return a body so that two that mean the same are alike.

    Args:
        body: The body.
        asked: What `members` finds in it; None leaves it as it is.
    """
    if asked is None:
        return body
    try:
        outer = {name: asked[name] for name in sorted(asked)}
        return json.dumps(outer, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, RecursionError):
        return body


def members(body: bytes) -> dict[str, Any] | None:
    """
    Return the members of a body that is an object of JSON; None for any other.
    """
    try:
        found = json.loads(body, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        # Which of the two a server takes is not for us to guess.
        msg = "a name is there twice"
        raise ValueError(msg)
    return found


def lifetime(
    status: int,
    headers: Iterable[tuple[str, str]],
    *,
    asked: Iterable[tuple[str, str]],
    is_computed: bool,
    ttl: int,
    wall: float,
) -> int:
    """
    Return for how many microseconds an answer is fresh; 0 if it must not be kept.

    Args:
        status: Its status.
        headers: Its headers, their names in lower case.
        asked: Those of its request.
        is_computed: Whether its request is a POST that computes.
        ttl: The policy's, in microseconds.
        wall: Seconds since 1970.
    """
    said = list(headers)
    words = _words(said, "cache-control")
    # What is forbidden for some of the fields is forbidden for all of them (RFC 9111 section 5.2.2.4).
    words |= {word.partition("=")[0] for word in words if not word.startswith("max-age=")}
    if status != 200 or "no-store" in words or not _is_same_for(said, is_computed=is_computed):
        return 0
    if "private" in words and not any(_is_credential(name) for name, _ in asked):
        return 0
    if is_computed:
        return ttl
    if "no-cache" in words or any(name == "set-cookie" or _is_endless(name, value) for name, value in said):
        return 0
    return _stated(said, words, ttl, wall)


def _is_endless(name: str, value: str) -> bool:
    """
    Whether a header says that its answer tells what happens from now on, and may never end.
    """
    return name == "content-type" and value.strip().lower().startswith("text/event-stream")


def may_be_stale(entry: Entry, *, is_computed: bool) -> bool:
    """
    Say whether *entry* may serve where the service fails: not if its server forbids that (RFC 9111 section 5.2.2.2).

    Args:
        entry: The answer.
        is_computed: Whether its request is a POST that computes, of which fronts say such things as a matter of form.
    """
    return is_computed or _words(list(entry.headers), "cache-control").isdisjoint(
        {"must-revalidate", "proxy-revalidate"}
    )


def _stated(said: list[tuple[str, str]], words: frozenset[str], ttl: int, wall: float) -> int:
    """
    Return what is left of the time that a server gives its answer (RFC 9111 section 4.2), at most *ttl*.
    """
    ages = [word.partition("=")[2].strip('"') for word in words if word.startswith("max-age=")]
    if ages:
        # Of two that contradict each other the shorter one (RFC 9111 section 4.2.1).
        given = min(_whole(age) for age in ages)
        passed = max([_whole(value) for name, value in said if name == "age"], default=0)
        return max(0, min(ttl, (given - passed) * _SECOND))
    expires = [http_date(value.strip(), near=wall) for name, value in said if name == "expires"]
    if expires:
        # One that is no date, such as 0, is over (RFC 9111 section 5.3).
        return max(0, min([ttl, *[0 if each is None else int((each - wall) * _SECOND) for each in expires]]))
    return ttl


def _whole(text: str) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdecimal()):
        return 0
    # However many digits there are: too many to count is very long (RFC 9111 section 1.2.2).
    digits = text.lstrip("0")
    return _LONGEST if len(digits) > len(str(_LONGEST)) else min(int(digits or "0"), _LONGEST)


def _is_same_for(said: list[tuple[str, str]], *, is_computed: bool) -> bool:
    """
    Whether all requests with one key get this answer: it varies with nothing that the key leaves out.
    """
    varies = _words(said, "vary")
    return "*" not in varies and not any(_is_noise(name, is_computed=is_computed) for name in varies)


def _is_credential(name: str) -> bool:
    return any(part in name for part in _CREDENTIAL)


def _words(headers: list[tuple[str, str]], wanted: str) -> frozenset[str]:
    return frozenset([each.strip().lower() for name, value in headers if name == wanted for each in value.split(",")])


def returned(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """
    Return the headers of an answer that are kept with it, their names in lower case.
    """
    return tuple(
        [
            (name, value)
            for name, value in headers
            if name not in _UNKEPT and not any(part in name for part in _UNKEPT_PARTS)
        ]
    )


def is_last(said: bytes) -> bool:
    """
    Say whether a stream of events that has *said* this at its end has nothing more to say.

    OpenAI ends its chats with a mark, and its responses, as Anthropic its messages, with an event that says so.
    """
    last = said.replace(b"\r\n", b"\n")
    if not last.endswith(b"\n\n"):
        return False
    event = last.rstrip(b"\n").rpartition(b"\n\n")[2]
    return event == b"data: [DONE]" or event.startswith((b"event: message_stop\n", b"event: response.completed\n"))


def may_be_cut(headers: Iterable[tuple[str, str]], said: bytes) -> bool:
    """
    Say whether an answer that has *said* this was cut off by a bound on its length, or may have been.

    Each API has its own word for that; inside of a text its quotes would be escaped. What is packed tells nobody.
    """
    return any(name == "content-encoding" for name, _ in headers) or _CUT.search(said) is not None


def found(entry: Entry, *, at: int, fresh_for: int, stale: int, now: int) -> Found | None:
    """
    Return what *entry* is worth at *now*; None if it is too old, or from a time to come, as its clock was set back.

    Args:
        entry: The answer.
        at: When it came, in microseconds.
        fresh_for: Microseconds that it is fresh.
        stale: Microseconds after that in which it serves where the service fails.
        now: The time, by the same clock as *at*.
    """
    age = now - at
    return Found(entry, age, age >= fresh_for) if 0 <= age < fresh_for + stale else None


def is_told(verdict: Verdict) -> bool:
    """
    Say whether a failure is one of the request itself, so that whoever sends the same gets the same.
    """
    return verdict.category in _OF_THE_REQUEST and not verdict.retryable


def is_service_down(verdict: Verdict | None) -> bool:
    """
    Say whether a failure is the service's, so that an answer from before is better than none; None is a refusal.

    A refused credential is no such failure: who may not ask any more gets no old answer either.
    """
    return verdict is None or verdict.category in _OF_THE_SERVICE


def pack(entry: Entry) -> bytes:
    """
    Return *entry* as bytes: a checksum, a line of JSON, the body.
    """
    head = json.dumps([entry.status, entry.reason, entry.headers, list(entry.sizes)], separators=(",", ":")).encode()
    data = b"".join((head, b"\n", entry.body))
    return _checksum(data) + data


def unpack(data: object) -> Entry | None:
    """
    Return the entry that *data* holds; None for anything that `pack` has not made. Nothing in it is ever executed.
    """
    if not isinstance(data, bytes) or data[:8] != _checksum(data[8:]):
        return None
    head, _, body = data[8:].partition(b"\n")
    try:
        status, reason, headers, sizes = json.loads(head)
        pairs = tuple([(str(name), str(value)) for name, value in headers])
        if not _is_head(status, reason, sizes) or sum(sizes) != len(body):
            return None
    except (ValueError, TypeError, RecursionError):
        return None
    return Entry(status, reason, pairs, body, array("Q", sizes))


def _is_head(status: object, reason: object, sizes: object) -> bool:
    if type(status) is not int or not isinstance(reason, str) or not isinstance(sizes, list):
        return False
    return all(type(size) is int and size >= 0 for size in sizes)


def _checksum(data: bytes) -> bytes:
    return blake2b(data, digest_size=8).digest()
