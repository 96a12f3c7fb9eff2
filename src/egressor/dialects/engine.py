"""
How a dialect's tables are read: one engine for all of them.

An answer is asked in this order: the headers by which an edge says that it answered instead of the service; the
dialect's own *look*, where a code alone is not enough; the codes, at the places where the provider puts them; the
provider's sentences; pages that block; the dialect's word on a bare status; then plain HTTP. A good status is a
failure only where the provider is known to say so inside of it, or where its answer can't be what it promises.

Bounds: 8 KiB of a body are parsed. Of a longer one the first and the last 2 KiB are skimmed for the dialect's codes: an
error that echoes a long prompt has its code behind it. No regular expression runs.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from egressor._core.answers import mitigated, paged, read_answer, told_to_retry
from egressor._core.evidence import Opened, document, media_type
from egressor._core.grade import SCOPE
from egressor._core.model import ErrorCategory as Kind
from egressor._core.pages import page
from egressor._core.phrasebook import plain, words_of
from egressor._core.retry_after import LONGEST, retry_after
from egressor._core.rule import Rule
from egressor._core.wordings import message, unaddressed
from egressor.dialects.bodies import Answer, Path, dig, embedded, event, skimmed, spoken, word
from egressor.dialects.terms import BAN_IP, DOWN, GARBLED, NO_SENTENCES, Sentences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from egressor._core.evidence import Evidence
    from egressor._core.model import Verdict

__all__ = ["Dialect", "read", "read_raised"]

_SAID: Final = 512
_CODE: Final = 160
_WAITED: Final = frozenset(
    {
        Kind.BAN,
        Kind.MAINTENANCE,
        Kind.OVERLOADED,
        Kind.QUOTA_EXHAUSTED,
        Kind.RATE_LIMIT,
        Kind.SERVER_ERROR,
        Kind.TIMEOUT,
    }
)
_BY_MODEL: Final = frozenset({Kind.RATE_LIMIT, Kind.QUOTA_EXHAUSTED})
_TELLING: Final = frozenset({401, 402, 403, 404, 407, 408, 409, 410, 418, 420, 429, 451})
_LOOSE: Final = frozenset({Kind.BAD_REQUEST, Kind.SERVER_ERROR})
_NOBODY_KNOWS: Final = Rule(Kind.UNKNOWN)
_SAYS_LITTLE: Final = frozenset({0, 200, 400})
_MARKUP: Final = ("<!doctype", "<html", "<head", "<body")
_STREAM: Final = ("event:", "data:", "id:", "retry:", ":")


def _no_codes(parsed: object) -> tuple[str, ...]:  # noqa: ARG001
    return ()


class Dialect(NamedTuple):
    """
    One provider's way of saying things.

    Attributes:
        name: What configurations call it.
        source: The page on its errors.
        codes: What its codes mean.
        places: Where a body has them.
        find: Finds codes where a path is not enough.
        fine: Codes that mean success.
        early: Sentences that say more than the code beside them: they are asked before the codes.
        phrases: Sentences of its messages, in lower case; the first that is found decides.
        statuses: What a bare status means here, where HTTP says otherwise.
        inside: Whether a good status may carry an error.
        is_error: Tells an error inside a good status from data; by default, that a code is there which isn't *fine*.
        is_json: Whether each of its answers is JSON, so that anything else is an edge's, or broken.
        unknown: What a code means that is in no table, inside a good status or a 400; None leaves a 400 to HTTP.
        look: Decides before the tables, by more than one piece.
        wait: Seconds to stay away, read from where this provider says it besides ``Retry-After``.
        raised: Reads a client library's exception that holds no answer.
        marks: Words behind which exceptions' messages have a code.
        streams: Whether its JSON may come piece by piece, or long after its head: then nobody waits for the end of a
            body of unknown length.
        by_model: Tells whether a limit that was hit is one model's, and no other's.
    """

    name: str
    source: str = ""
    codes: Mapping[str, Rule] = {}
    places: tuple[Path, ...] = ()
    find: Callable[[object], tuple[str, ...]] = _no_codes
    fine: frozenset[str] = frozenset()
    early: Sentences = NO_SENTENCES
    phrases: Sentences = NO_SENTENCES
    statuses: Mapping[int, Rule] = {}
    inside: bool = False
    is_error: Callable[[object], bool] | None = None
    is_json: bool = True
    unknown: Rule | None = None
    look: Callable[[Answer], tuple[str, Rule] | None] | None = None
    wait: Callable[[Answer], float | None] | None = None
    raised: Callable[[BaseException], tuple[str, Rule] | None] | None = None
    marks: tuple[str, ...] = ()
    streams: bool = False
    by_model: Callable[[Answer], bool] | None = None


def read(dialect: Dialect, evidence: Evidence) -> Verdict:
    """
    Read an answer that has a status, as *dialect* means it.
    """
    status, body = evidence.status, evidence.body
    if status is None or status < 0 or (evidence.body is None and not evidence.headers and not dialect.statuses):
        return read_answer(evidence)
    edge = mitigated(evidence) if evidence.headers else None
    if edge is not None:
        return edge
    if evidence.body is not None:
        # Whoever reads it next needn't parse it again.
        evidence = evidence._replace(body=Opened(*document(evidence.body)))
    answer = taken_apart(dialect, evidence, body)
    found = _told(dialect, answer)
    if found is None and answer.parsed is None and evidence.body is not None:
        edge = paged(evidence)
        if edge is not None:
            return edge
    if found is None:
        found = _bare(dialect, answer)
    if found is not None:
        return _verdict(dialect, answer, *found)
    verdict = _narrowed(dialect, answer, read_answer(evidence))
    wait = None if dialect.wait is None or verdict.category not in _WAITED else dialect.wait(answer)
    return verdict if wait is None else replace(verdict, retry_after=_longer(verdict.retry_after, wait))


def taken_apart(dialect: Dialect, evidence: Evidence, body: object) -> Answer:
    """
    Collect codes and messages out of an opened answer; *body* is the whole one, for its end.
    """
    status = evidence.status or 0
    parsed, text = (None, "") if evidence.body is None else document(evidence.body)
    streamed = False
    if parsed is None and text:
        start = text[:64].lstrip("\ufeff \t\r\n")
        if start.startswith(_STREAM):
            parsed, streamed = event(text), True
        elif start.startswith(("{", "[")):
            parsed = skimmed(dialect.places, body, text) if status >= 400 else {}
    codes = _codes(dialect, parsed)
    is_empty = parsed is None and body is not None and not text.strip()
    return Answer(
        status,
        evidence.headers,
        parsed,
        text=text,
        codes=codes,
        now=evidence.now,
        streamed=streamed,
        is_empty=is_empty,
    )


def _codes(dialect: Dialect, parsed: object) -> tuple[str, ...]:
    if parsed is None:
        return ()
    values = []
    for path in dialect.places:
        value = word(dig(parsed, path))
        if value:
            values.append(value)
    return (*values, *dialect.find(parsed)) if dialect.find is not _no_codes else tuple(values)


def _told(dialect: Dialect, answer: Answer, *, is_known: bool = False) -> tuple[str, Rule] | None:
    """
    Decide by what the provider itself says.

    Args:
        dialect: Whose words they are.
        answer: The answer.
        is_known: Whether only what is in a table counts. Default: a code that is in none is read as *unknown*, too.
    """
    if dialect.look is not None:
        found = dialect.look(answer)
        if found is not None:
            return found
    if answer.parsed is None or not (answer.status >= 400 or answer.streamed or _is_inside(dialect, answer)):
        return None
    found = _sentence(dialect.early, answer)
    if found is not None:
        return found
    # A code that is the status once more says the least.
    repeated = str(answer.status)
    found = _by_code(dialect, (code for code in answer.codes if code != repeated))
    if found is None:
        found = _sentence(dialect.phrases, answer)
        if found is not None and _is_outweighed(found[1], answer):
            found = None
    if found is None and repeated in answer.codes:
        found = _by_code(dialect, (repeated,))
    if found is not None:
        return found
    is_open = answer.status < 300 or answer.status == 400 or answer.streamed
    if is_known or not is_open or not _is_strange(dialect, answer):
        return None
    # In a stream it is what broke the stream.
    default = DOWN if answer.streamed else _NOBODY_KNOWS
    return "unlisted", dialect.unknown or default._replace(source=dialect.source)


def _by_code(dialect: Dialect, codes: Iterable[str]) -> tuple[str, Rule] | None:
    table = dialect.codes
    for code in codes:
        rule = table.get(code) or table.get(code.lower())
        if rule is not None:
            return code, rule
    return None


def _is_outweighed(rule: Rule, answer: Answer) -> bool:
    """
    Whether the status tells more than a sentence for "you did it wrong" or "we have trouble" could.
    """
    if answer.status in _TELLING:
        return rule.kind in _LOOSE
    return answer.status >= 500 and rule.kind is Kind.BAD_REQUEST


def _sentence(known: Sentences, answer: Answer) -> tuple[str, Rule] | None:
    if known is NO_SENTENCES or not answer.said:
        return None
    return known.find(answer.said, words_of(answer.said))


def _is_inside(dialect: Dialect, answer: Answer) -> bool:
    """
    Whether a good status carries an error.
    """
    if not dialect.inside or not answer.parsed:
        return False
    if dialect.is_error is not None:
        return dialect.is_error(answer.parsed)
    return any(code not in dialect.fine for code in answer.codes)


def _is_strange(dialect: Dialect, answer: Answer) -> bool:
    # A 400 is a bad request unless the provider has said more; an error that no status tells of must be one.
    if answer.status >= 400 and not answer.streamed:
        is_said = dialect.unknown is not None and dialect.unknown.kind is not Kind.UNKNOWN
        return is_said and any(code not in dialect.fine for code in answer.codes)
    return True


def _bare(dialect: Dialect, answer: Answer) -> tuple[str, Rule] | None:
    """
    Decide where the provider says nothing: by its meaning of the status, or because its answer can't be its own.
    """
    rule = dialect.statuses.get(answer.status)
    if rule is not None:
        return "", rule
    if answer.parsed is not None or not dialect.is_json:
        return None
    is_page = media_type(answer.headers) == "text/html" or answer.text.lstrip()[:1] == "<"
    if answer.status == 200 and (is_page or answer.is_empty):
        return "not_json", GARBLED._replace(source=dialect.source)
    if answer.status == 403 and is_page:
        # Its own refusals are JSON: this one is by whoever stands in front of it.
        return "edge_page", BAN_IP._replace(source=dialect.source)
    return None


def _verdict(dialect: Dialect, answer: Answer, word: str, rule: Rule) -> Verdict:
    wait = retry_after(answer.headers, status=answer.status, now=answer.now)
    if dialect.wait is not None and rule.kind in _WAITED:
        wait = _longer(wait, dialect.wait(answer))
    safe = _safe(word) if word else ""
    shown = answer.status if 100 <= answer.status <= 999 else "invalid"
    where = " in a stream" if answer.streamed else ""
    verdict = rule.verdict(
        fingerprint=f"{dialect.name}.{shown}" + (f".{safe}" if safe else ""),
        why=f"{dialect.name}: {safe or 'its word on this status'} (status {shown}{where})",
        wait=wait,
    )
    verdict = _narrowed(dialect, answer, verdict)
    told = told_to_retry(answer.headers)
    if told is not None and told is not verdict.retryable:
        verdict = replace(verdict, retryable=told, why=f"{verdict.why}; x-should-retry")
    return replace(verdict, may_have_run=True) if answer.streamed else verdict


def _narrowed(dialect: Dialect, answer: Answer, verdict: Verdict) -> Verdict:
    is_limit = verdict.category in _BY_MODEL and verdict.scope == SCOPE[verdict.category]
    if not is_limit or dialect.by_model is None or not dialect.by_model(answer):
        return verdict
    return replace(verdict, scope="model")


@lru_cache(maxsize=1024)
def _safe(word: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in word[:64])


def _longer(one: float | None, other: float | None) -> float | None:
    # Too early costs a ban, too late costs seconds.
    if one is None or other is None:
        return one if other is None else min(max(other, 0.0), LONGEST)
    return min(max(one, other), LONGEST)


def read_raised(dialect: Dialect, exc: BaseException, evidence: Evidence) -> Verdict | None:
    """
    Read a client library's exception by its name, the JSON in its message, a code in it, or the provider's sentences.
    """
    status = evidence.status or 0
    if dialect.raised is not None:
        found = dialect.raised(exc)
        if found is not None:
            return _verdict(dialect, Answer(status, evidence.headers, now=evidence.now), *found)
    text = _own_words(exc)
    if "<" in text:
        verdict = _quoted_page(dialect, text, evidence)
        if verdict is not None:
            return verdict
    # A document that is quoted may hold an address itself, and is none any more without it.
    parsed = embedded(text) or embedded(message(exc))
    # What a message quotes was an error, whatever the status beside it.
    quoted = _codes(dialect, parsed)
    codes = (*quoted, *_marked(dialect, text))
    # A status that says something stands above a sentence, unless that is the provider's and not the library's.
    rest = text if status in _SAYS_LITTLE else _after(dialect, text, status)
    said = f"{spoken(parsed)} | {plain(rest[:_SAID])}" if parsed is not None else plain(rest[:_SAID])
    answer = Answer(status or 400, evidence.headers, {}, codes=codes, said=said, now=evidence.now)
    is_code = any(code not in dialect.fine for code in quoted) or _has_number(codes)
    found = _told(dialect, answer, is_known=not (is_code and status in _SAYS_LITTLE))
    if found is None:
        return None
    answer.status = status
    return _verdict(dialect, answer, *found)


def _after(dialect: Dialect, text: str, status: int) -> str:
    """
    Return the provider's words: what stands behind the dialect's mark, or behind the status in ccxt's messages.
    """
    marked = next((text.partition(mark)[2] for mark in dialect.marks if mark and mark in text), "")
    head, _, rest = text.partition(f" {status} ")
    # "bybit GET https://… 403 Forbidden 403, access too frequent", without its address by now.
    return marked or (rest if head.count(" ") == 1 else "")


def _has_number(codes: tuple[str, ...]) -> bool:
    return any(code.removeprefix("-").isdigit() and code.strip("-0") for code in codes)


def _quoted_page(dialect: Dialect, text: str, evidence: Evidence) -> Verdict | None:
    """
    Read the page that a message quotes, as if it had been the body (ccxt, python-binance, crawlee).
    """
    status = evidence.status or 0
    edge = page(text[text.index("<") :], status or 403)
    if edge is not None:
        why = f"{dialect.name}: the message quotes the page {edge.name}"
        return edge.rule.verdict(fingerprint=f"{dialect.name}.{edge.name}", why=why, wait=None)
    low = text.lower()
    start = next((place for place in map(low.find, _MARKUP) if place >= 0), -1)
    if start < 0 or status < 400:
        return None
    answer = Answer(status, evidence.headers, text=text[start:], now=evidence.now)
    found = (dialect.look(answer) if dialect.look is not None else None) or _bare(dialect, answer)
    return None if found is None else _verdict(dialect, answer, *found)


def _own_words(exc: BaseException) -> str:
    """
    Return the message without the caller's own words: no addresses, and no request behind the answer (pybit's).
    """
    return unaddressed(message(exc).partition("\nRequest \u2192")[0])


def _marked(dialect: Dialect, text: str) -> tuple[str, ...]:
    found = []
    for mark in dialect.marks:
        _, begun, rest = text.partition(mark) if mark else ("", "yes", text)
        if begun:
            word = rest[:_CODE].split(")")[0].split("\n")[0].strip(" :'\"")
            found += [word, word.split(" ")[0].rstrip(":")]
    return tuple(found)
