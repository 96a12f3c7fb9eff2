"""
The door of this room: which dialect reads, and the verdict.

The order of evidence is `egressor._core.classify`'s, with two more steps in front: the user's own patterns, then the
dialect. Where none is named, an exception's library and an answer's shape say whose it is, and what nobody knows is
read as plain HTTP, errors in a good status included that say so in a form of their own (JSON-RPC 2.0, GraphQL).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, lru_cache
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from egressor._core.answers import SUCCESS, read_answer
from egressor._core.classify import Reader, pieces
from egressor._core.classify import classify as classify_plainly
from egressor._core.evidence import Opened, document, is_a
from egressor._core.model import ErrorCategory as Kind
from egressor._core.wordings import message
from egressor.dialects.bodies import embedded
from egressor.dialects.engine import Dialect, read, read_raised
from egressor.dialects.hints import NAMES as _HINTING
from egressor.dialects.hints import START, Hint, read_hints
from egressor.dialects.sniff import by_body, by_headers, by_library
from egressor.policies.values import ALSO, DIALECTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from egressor._core.evidence import Evidence
    from egressor._core.model import Verdict

__all__ = ["NAMES", "classify", "hints", "known", "with_hints"]

# Module and value of each dialect; a module loads when its dialect is first met.
_HOMES: Final = {
    "anthropic": ("anthropic", "DIALECT"),
    "azure": ("openai", "AZURE"),
    "binance": ("binance", "DIALECT"),
    "bitget": ("bitget", "DIALECT"),
    "bybit": ("bybit", "DIALECT"),
    "coinbase": ("coinbase", "DIALECT"),
    "coingecko": ("coingecko", "DIALECT"),
    "coinmarketcap": ("coinmarketcap", "DIALECT"),
    "deepseek": ("openai", "DEEPSEEK"),
    "deribit": ("deribit", "DIALECT"),
    "discord": ("discord", "DIALECT"),
    "gate": ("gate", "DIALECT"),
    "gemini": ("gemini", "DIALECT"),
    "gemini_exchange": ("gemini_exchange", "DIALECT"),
    "github": ("github", "DIALECT"),
    "groq": ("openai", "GROQ"),
    "htx": ("htx", "DIALECT"),
    "kraken": ("kraken", "DIALECT"),
    "kucoin": ("kucoin", "DIALECT"),
    "mexc": ("mexc", "DIALECT"),
    "mistral": ("openai", "MISTRAL"),
    "okx": ("okx", "DIALECT"),
    "openai": ("openai", "DIALECT"),
    "openrouter": ("openai", "OPENROUTER"),
    "reddit": ("reddit", "DIALECT"),
    "stackexchange": ("stackexchange", "DIALECT"),
    "telegram": ("telegram", "DIALECT"),
    "x": ("x", "DIALECT"),
}
NAMES: Final = DIALECTS
"""
All dialects, as a policy may name them. ``generic`` and ``ietf`` are plain HTTP: the IETF's headers are read anywhere.
"""
_LOOSE: Final = frozenset({Kind.BAD_REQUEST, Kind.UNKNOWN})
_PLAIN: Final = frozenset({"generic", "ietf"})
_HINTED: Final = 512
_LONGEST_NAME: Final = 64
# Names of headers as they came: in lower case if hints are read from them, else empty. Servers send the same few.
_WORDS: dict[Any, str] = {}


def classify(
    exception_or_response: object = None,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
    body: bytes | str | None = None,
    dialect: str = "generic",
    now: float | None = None,
    patterns: Callable[..., Verdict | None] | None = None,
) -> Verdict:
    """
    Say what an outcome was.

    Args:
        exception_or_response: What was raised, or the client's response object. Any other value is a success.
        status: HTTP status; overrules the one found on *exception_or_response*.
        headers: Response headers, as a mapping or as pairs; overrule those found.
        body: Response body, or the beginning of it; overrules the one found. At most 8 KiB of it are read, and the
            end of a longer one.
        dialect: Name of the provider's dialect. Default: ``generic``; the exception's library or the answer's shape may
            then say whose it is. An unknown one is read as ``generic``, and the verdict's ``why`` says so.
        now: Seconds since 1970, for a moment in an answer without a ``Date`` header. Default: without either such a
            moment is ignored.
        patterns: The user's own, by `egressor.policies.patterns.compile_patterns`: they are asked first. Default: none.

    Returns:
        The verdict; ``category`` is None for a success, which is also what no argument at all means. Never raises.
    """
    # Nearly all calls end here.
    if (
        exception_or_response is None
        and body is None
        and headers is None
        and patterns is None
        and (status is None or (type(status) is int and 200 <= status <= 299))
        and (dialect == "generic" or dialect in _HOMES)
    ):
        return SUCCESS
    name = ALSO.get(dialect, dialect) if isinstance(dialect, str) else dialect
    known = isinstance(name, str) and (name in _HOMES or name in _PLAIN)
    reader = _reader(name) if known else None
    if reader is _UNSAID and is_a(exception_or_response, BaseException):
        reader = _of_library(exception_or_response)
    if patterns is not None:
        found = _matched(patterns, pieces(exception_or_response, status, headers, body, now))
        if found is not None:
            return found
    return classify_plainly(
        exception_or_response,
        status=status,
        headers=headers,
        body=body,
        dialect="generic" if known else dialect,
        now=now,
        reader=reader,
    )


def hints(
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    *,
    dialect: str = "generic",
    now: float | None = None,
    status: int | None = None,
) -> tuple[Hint, ...]:
    """
    Read what an answer's headers say of limits. Never raises.

    Args:
        headers: Response headers, as a mapping or as pairs.
        dialect: Whose they are. Default: the IETF's, which are also read where the dialect's own are missing.
        now: Seconds since 1970, for moments in an answer without a ``Date`` header.
        status: The answer's status, where some count as bad manners. Default: not known.
    """
    try:
        found: dict[str, list[str]] = {}
        for name, value in islice(_fields(headers), _HINTED):
            word = _WORDS.get(name)
            if word is None:
                word = _word(name)
            if word:
                text = value if isinstance(value, str) else value.decode("latin-1")
                found.setdefault(word, []).append(text[:1024])
        if len(found) <= ("date" in found) and dialect != "discord":
            return ()  # As most answers.
        return read_hints(ALSO.get(dialect, dialect), found, now, status)
    except Exception:  # noqa: BLE001 - a hint is a help; a broken mapping must not cost the answer
        return ()


def _word(name: Any) -> str:
    word: str = (name if isinstance(name, str) else name.decode("latin-1")).lower()
    word = word if word in _HINTING or word.startswith(START) else ""
    if len(_WORDS) < _HINTED and len(name) <= _LONGEST_NAME:
        _WORDS[name] = word
    return word


def _fields(headers: Any) -> Iterable[tuple[Any, Any]]:
    # httpx keeps the fields as they came in `raw`; its items() would decode and join each of them.
    raw = None if type(headers) is dict else getattr(headers, "raw", None)
    if isinstance(raw, list):
        return raw
    fields: Iterable[tuple[Any, Any]] = headers.items() if hasattr(headers, "items") else headers
    return fields


def with_hints(
    verdict: Verdict,
    headers: object,
    *,
    dialect: str = "generic",
    now: float | None = None,
    status: int | None = None,
) -> Verdict:
    """
    Return *verdict* with what the answer's *headers* say of limits. The other arguments are those of `hints`.
    """
    found = hints(headers, dialect=dialect, now=now, status=status)  # type: ignore[arg-type]
    return replace(verdict, hints=found) if found else verdict


@cache
def load(name: str) -> Dialect:
    """
    Load a dialect by its name; KeyError for one that isn't in `NAMES`.
    """
    module, value = _HOMES[name]
    found: Dialect = getattr(import_module(f"egressor.dialects.{module}"), value)
    return found


def known(name: str) -> Dialect | None:
    """
    Return the dialect of that *name*, an alias included; None for plain HTTP, and for what nobody knows.
    """
    name = ALSO.get(name, name)
    return load(name) if name in _HOMES else None


@lru_cache(maxsize=64)
def _reader(name: str) -> Reader:
    if name in _PLAIN:
        return _UNSAID
    dialect = load(name)
    return Reader(lambda evidence: read(dialect, evidence), lambda exc, evidence: read_raised(dialect, exc, evidence))


def _of_library(exc: BaseException) -> Reader:
    """
    Pick the reader by the library of *exc*, or of the exceptions that it was raised from.
    """
    seen = 0
    current: BaseException | None = exc
    while current is not None and seen < 4:
        try:
            name = by_library(current)
            if name:
                return _reader(name)
            current = current.__cause__ or current.__context__
        except Exception:  # noqa: BLE001 - somebody's attributes may raise anything
            return _UNSAID
        seen += 1
    return _UNSAID


def _unsaid(evidence: Evidence) -> Verdict:
    """
    Read an answer of which nobody has said whose it is.
    """
    if evidence.body is None:
        return read_answer(evidence)
    whole, opened = evidence, Opened(*document(evidence.body))
    parsed, evidence = opened.parsed, evidence._replace(body=opened)
    name = (by_body(parsed) if parsed else "") or by_headers(evidence.headers)
    if name:
        return read(load(name), whole if parsed is None else evidence)
    verdict = read_answer(evidence)
    is_open = verdict.ok or verdict.fingerprint == "http.400"
    if is_open and evidence.status is not None and (200 <= evidence.status <= 299 or evidence.status == 400):
        return _enveloped(whole if parsed is None else evidence)
    return verdict


def _enveloped(evidence: Evidence) -> Verdict:
    """
    Look for an error in a form that isn't one provider's, inside a good status or a bare 400.
    """
    from egressor.dialects.envelopes import DIALECT

    return read(DIALECT, evidence)


def _unsaid_raised(exc: BaseException, evidence: Evidence) -> Verdict | None:
    """
    Read an exception of which nobody has said whose it is, if its message quotes an answer in a provider's own shape.
    """
    if not exc.args or "{" not in (text := message(exc)):
        return None
    parsed = embedded(text)
    name = by_body(parsed)
    if name:
        return read_raised(load(name), exc, evidence)
    from egressor.dialects.envelopes import DIALECT, is_error

    if is_error(parsed):
        return read_raised(DIALECT, exc, evidence)
    # A document of nobody's: a telling sentence in it counts, and a code that nobody knows says nothing.
    told = read_raised(DIALECT, exc, evidence) if isinstance(parsed, dict) and "message" in parsed else None
    return told if told is not None and told.category not in _LOOSE else None


_UNSAID: Final = Reader(_unsaid, _unsaid_raised)


def _matched(
    patterns: Callable[[BaseException | None, Evidence], Verdict | None],
    found: Iterable[tuple[BaseException | None, Evidence]],
) -> Verdict | None:
    try:
        return next((verdict for verdict in (patterns(exc, evidence) for exc, evidence in found) if verdict), None)
    except Exception:  # noqa: BLE001 - somebody's exception may raise anything when it is looked at
        return None
