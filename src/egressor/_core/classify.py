"""
What one outcome was: any exception, response or bare status in, a verdict out.

Rules of this file. It never raises, whatever it is given; the same input gives the same verdict; it needs no client
library, no clock and no network. A verdict names the rule that decided and never repeats what a server or a user wrote,
so that it may be logged.

The order of evidence, nearest to the fact first:

1. what the caller says (``status=``, ``headers=``, ``body=``);
2. Egressor's own refusal anywhere inside the exception: it was never sent, and says why;
3. the response that an exception carries, or the provider's words in its message;
4. a code of another protocol than HTTP (``replies.py``), else the name of the exception's type (``exceptions.py``,
   ``libraries.py``), and where that is vague, the same questions for what it wraps;
5. its message.

The parts: ``evidence.py`` finds status, headers and body on strangers' objects, ``answers.py`` reads HTTP answers with
the table in ``statuses.py``, the pages in ``pages.py`` and the waits of ``retry_after.py``, ``unwrap.py`` walks through
wrappers, ``grade.py`` says what each category weighs. A provider's dialect comes in as a ``Reader``, which is asked
instead of plain HTTP: this room knows no provider. ``egressor.dialects`` picks it, and is what programs call.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from egressor._core.answers import SUCCESS, read_answer
from egressor._core.evidence import (
    NOTHING,
    Evidence,
    attribute,
    document,
    gather,
    headers_of,
    is_a,
    is_plain,
    loaded,
    status_of,
)
from egressor._core.exceptions import CANCELLED, TypeRule, by_type, is_of_http, type_name
from egressor._core.grade import failure
from egressor._core.libraries import STREAMED
from egressor._core.model import ErrorCategory as Kind
from egressor._core.model import Verdict
from egressor._core.replies import reply
from egressor._core.retry_after import LONGEST, retry_after
from egressor._core.type_rules import GARBLED, PROGRAM, PROXY, UNFOLLOWED
from egressor._core.unwrap import DEPTH, members, unwrap, walk, walked
from egressor._core.wordings import by_text, status_in_text
from egressor.errors import ConfigError, EgressorError, PartialResponse, Rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["GENERIC", "Reader", "classify", "pieces", "unwrap"]


class Reader(NamedTuple):
    """
    How a provider's answers are read.

    Attributes:
        answer: Reads an answer that has a status.
        raised: Reads an exception by what stands in it besides an answer; None where nothing is known of it.
    """

    answer: Callable[[Evidence], Verdict]
    raised: Callable[[BaseException, Evidence], Verdict | None]


def _silent(exc: BaseException, evidence: Evidence) -> None:  # noqa: ARG001
    return None


GENERIC: Final = Reader(read_answer, _silent)
"""
Plain HTTP.
"""

_REFUSALS: Final[dict[str, Kind]] = {
    "wait_too_long": Kind.RATE_LIMIT,
    "queue_full": Kind.RATE_LIMIT,
    "never_fits": Kind.CONFIGURATION,
    "circuit_open": Kind.OVERLOADED,
    "shed": Kind.OVERLOADED,
    "banned": Kind.BAN,
    "budget": Kind.QUOTA_EXHAUSTED,
    "paused": Kind.MAINTENANCE,
    "store": Kind.UNKNOWN,
}
# Where aiohttp's parser has its errors. Their code, 400 for whatever it can't read, is no status of the server's, and
# their words ("not enough data") are none of a provider's.
_PARSER: Final = "aiohttp.http_exceptions"
_FIELDS: Final = 16
_FIELD: Final = 512
_UNREADABLE: Final = failure(Kind.UNKNOWN, fingerprint="unreadable", why="reading it failed", counts=False)
# Verdicts that only a status of "your fault" or "not you" has decided.
_COARSE: Final = frozenset({"http.400", "http.403", "http.422"})
# What says most comes first when several exceptions are vague: a time-out, then no connection, then a failing wire.
# Kinds that a message may say more of: nobody knows, or a library's one class for whatever goes wrong over there.
_OPEN: Final = frozenset({Kind.UNKNOWN, Kind.SERVER_ERROR})
# Where an HTTP client says so, no provider has said anything: "Not enough data" is no word on a balance.
_BROKEN: Final = frozenset({Kind.BAD_RESPONSE, Kind.NETWORK, Kind.TIMEOUT})
_WIRES: Final = frozenset({Kind.NETWORK, Kind.TIMEOUT})
_VAGUE: Final = ((Kind.TIMEOUT, True), (Kind.NETWORK, False), (Kind.NETWORK, True))


class _Clue(NamedTuple):
    """
    One exception on the way inwards, and what was read of it.

    Attributes:
        outer: What was raised.
        inner: What is looked at, inside of it.
        rule: What its type says.
        evidence: The answer that it carries, below what the caller said.
    """

    outer: BaseException
    inner: BaseException
    rule: TypeRule
    evidence: Evidence


def classify(
    exception_or_response: object = None,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
    body: bytes | str | None = None,
    dialect: str = "generic",
    now: float | None = None,
    reader: Reader | None = None,
) -> Verdict:
    """
    Say what an outcome was, by HTTP alone or by a provider's *reader*.

    Args:
        exception_or_response: What was raised, or the client's response object. Any other value is a success.
        status: HTTP status; overrules the one found on *exception_or_response*.
        headers: Response headers, as a mapping or as pairs; overrule those found.
        body: Response body, or the beginning of it; overrules the one found. At most 8 KiB of it are read.
        dialect: Name of the provider's dialect; one other than ``generic`` without its *reader* is unknown, and the
            verdict's ``why`` says so.
        now: Seconds since 1970, for a ``Retry-After`` date in a response without a ``Date`` header. Default: without
            either such a date is ignored.
        reader: How the provider's answers are read. Default: as plain HTTP.

    Returns:
        The verdict; ``category`` is None for a success, which is also what no argument at all means. Never raises.
    """
    # Nearly all calls end here.
    if (
        exception_or_response is None
        and body is None
        and headers is None
        and dialect == "generic"
        and (status is None or (type(status) is int and 200 <= status <= 299))
    ):
        return SUCCESS
    try:
        silent = status is None and headers is None and body is None and now is None
        said = NOTHING if silent else Evidence(status_of(status), headers_of(headers), loaded(body), now)
        verdict = _classify(exception_or_response, said, reader or GENERIC)
        if reader is None and not (isinstance(dialect, str) and dialect == "generic"):
            return replace(verdict, why=f"{verdict.why}; no dialect {_word(dialect)}, read as generic")
        return verdict
    except Exception:  # noqa: BLE001 - a classifier that raises would hide the error that it was asked about
        return _last_resort(exception_or_response, status)


def pieces(
    thing: object, status: object, headers: object, body: object, now: float | None
) -> Iterator[tuple[BaseException | None, Evidence]]:
    """
    Yield all that may be matched: *thing* with the answer it carries, then what it wraps, nearest first.

    What the caller says stands above what is found. Nothing is yielded for Egressor's own refusals: no server has said
    anything then.
    """
    said = Evidence(status_of(status), headers_of(headers), loaded(body), now)
    if is_a(thing, BaseException):
        inside = list(walk(thing))
        if not any(is_a(each, EgressorError) for each in inside):
            yield from ((each, _merged(said, gather(each, strict=False))) for each in inside)
    elif thing is None:
        yield None, said
    else:
        yield None, _merged(said, gather(thing, strict=True))


def _last_resort(thing: object, status: object) -> Verdict:
    """
    Read the status or the type alone, after something in *thing* has broken the full reading.
    """
    try:
        if type(status) is int:
            return read_answer(Evidence(status_of(status)))
        if is_a(thing, BaseException):
            rule, name = by_type(thing), type_name(thing)
            return failure(
                rule.kind,
                fingerprint=f"exc.{name}",
                why=f"{name}: {rule.what}; the rest of it can't be read",
                retryable=rule.retry,
                may_have_run=rule.ran,
                counts=rule.counts,
            )
    except Exception:  # noqa: BLE001 - even its type can't be read
        return _UNREADABLE
    return _UNREADABLE


def _classify(thing: object, said: Evidence, reader: Reader) -> Verdict:
    if is_a(thing, BaseException):
        return _raised(thing, said, reader)
    if thing is None:
        # Headers or a body without a status: a success, unless they say otherwise.
        return reader.answer(said if said.status is not None else said._replace(status=200))
    evidence = _merged(said, gather(thing, strict=True))
    return SUCCESS if evidence.status is None else reader.answer(evidence)


def _merged(said: Evidence, found: Evidence) -> Evidence:
    """
    Put what the caller said above what was found.
    """
    if said is NOTHING:
        return found
    known = said.status is not None and said.status >= 0
    return Evidence(
        said.status if known else found.status,
        said.headers or found.headers,
        found.body if said.body is None else said.body,
        said.now,
    )


def _raised(exc: BaseException, said: Evidence, reader: Reader) -> Verdict:
    if not is_a(exc, BaseExceptionGroup):
        return _one(exc, said, reader)
    leaves = _leaves(exc)
    if len(leaves) == 1:
        return _one(leaves[0], said, reader)
    verdicts = [_one(leaf, said, reader) for leaf in leaves]
    worst = max(
        verdicts, key=lambda verdict: (verdict.category is not Kind.CANCELLED, verdict.severity, verdict.counts)
    )
    waits = [verdict.retry_after for verdict in verdicts if verdict.retry_after is not None]
    # Sending a group again sends all of its members again: each of them must allow it.
    return replace(
        worst,
        retryable=all(verdict.retryable for verdict in verdicts),
        retry_after=max(waits, default=None),
        may_have_run=any(verdict.may_have_run for verdict in verdicts),
        counts=any(verdict.counts for verdict in verdicts),
        why=f"the worst of {len(verdicts)}: {worst.why}",
    )


def _leaves(exc: BaseException) -> list[BaseException]:
    """
    List the members of a group and of the groups in it, at most 64; of any other exception, itself.
    """
    leaves: list[BaseException] = []
    waiting = [exc]
    seen = {id(exc)}
    while waiting and len(leaves) < DEPTH:
        current = waiting.pop()
        inside = [member for member in members(current) if id(member) not in seen and len(seen) < DEPTH]
        seen.update(map(id, inside))
        waiting.extend(reversed(inside))
        if not inside:
            leaves.append(current)
    return leaves


def _one(exc: BaseException, said: Evidence, reader: Reader) -> Verdict:
    """
    Read one exception that is no group.
    """
    rule = by_type(exc)
    if rule is CANCELLED:
        return _placed(_Clue(exc, exc, rule, NOTHING))
    inside = walked(exc)
    for each in inside:
        own = _own(each)
        if own is not None:
            return own
    parser = next((each for each in inside if type(each).__module__ == _PARSER), None)
    if parser is not None:
        return _placed(_Clue(exc, parser, by_type(parser), NOTHING))
    vague: list[_Clue] = []
    for each in inside:
        if each is not exc:
            rule = by_type(each)
        if rule is PROXY:
            # What it carries, a status of 407 say, is the proxy's answer: the service has said nothing.
            return _placed(_Clue(exc, each, rule, NOTHING))
        replied = reply(each) if said.status is None else None
        if replied is not None:
            # Its code is none of HTTP's.
            return _placed(_Clue(exc, each, replied, NOTHING))
        if rule is not CANCELLED:
            clue = _Clue(exc, each, rule, _merged(said, gather(each, strict=False)))
            verdict = _answered(clue, reader)
            if verdict is not None:
                return _placed(clue) if _is_finer(rule, verdict) else verdict
            if not rule.vague:
                return _placed(clue)
            vague.append(clue)
    return _vaguest(vague)


def _is_finer(rule: TypeRule, verdict: Verdict) -> bool:
    """
    Whether a library's own class says more than the bare status that came with it, or than a code that is in no table.
    """
    word = verdict.fingerprint
    return rule.finer and (word in _COARSE or (verdict.category is Kind.BAD_REQUEST and word.endswith(".unlisted")))


def _answered(clue: _Clue, reader: Reader) -> Verdict | None:
    """
    Read the answer that an exception carries, else its words; None if neither is a failure by itself.
    """
    evidence = clue.evidence
    broke = clue.rule.kind in _WIRES and not clue.rule.vague
    if evidence.status is None and not broke:
        # What broke on the way has no status, whatever number its message begins with (aiohttp's ClientPayloadError).
        spoken = status_in_text(clue.inner)
        evidence = evidence if spoken is None else evidence._replace(status=spoken)
    if evidence.status is None and type(evidence.body) is dict and clue.rule is STREAMED:
        evidence = _in_a_stream(evidence, evidence.body)
    verdict = SUCCESS if evidence.status is None else reader.answer(evidence)
    has_none = verdict.ok and clue.rule.kind in _BROKEN and is_of_http(clue.inner)
    if not has_none and (verdict.ok or verdict.fingerprint == f"http.{evidence.status}"):
        # Nothing but the status has decided, or not even that: the message may hold the provider's code.
        verdict = reader.raised(clue.inner, evidence) or verdict
    if verdict.ok:
        return None
    wait = _own_wait(clue.inner) if verdict.retry_after is None else None
    return verdict if wait is None else replace(verdict, retry_after=wait)


def _in_a_stream(evidence: Evidence, body: dict[str, object]) -> Evidence:
    """
    Read a *body* without a status as what it came from: an error in the middle of a stream that had begun well.

    OpenAI's and Groq's SDKs keep its inside alone. Of that the words and numbers are put back into an event.
    """
    inside = body.get("error")
    fields = islice((inside if type(inside) is dict else body).items(), _FIELDS)
    kept = {name: each[:_FIELD] if isinstance(each, str) else each for name, each in fields if type(each) in {str, int}}
    if not kept:
        return evidence
    event = json.dumps({"type": "error", "error": kept}, skipkeys=True)
    return evidence._replace(status=200, body=f"event: error\ndata: {event}\n\n")


def _vaguest(clues: list[_Clue]) -> Verdict:
    """
    Decide among vague *clues*: an unfollowed redirect, the wire's trouble inside, the message, else the outermost one.
    """
    first = clues[0]
    status = first.evidence.status
    if status is not None and 300 <= status <= 399:
        return _placed(first._replace(rule=UNFOLLOWED))
    for wish in _VAGUE:
        clue = next((clue for clue in clues if (clue.rule.kind, clue.rule.ran) == wish), None)
        if clue is not None:
            return _placed(clue._replace(rule=by_text(clue.inner) or clue.rule))
    if first.rule is PROGRAM and is_a(first.inner, ValueError) and _is_unreadable(first.evidence):
        return _placed(first._replace(rule=GARBLED))
    spoken = by_text(first.inner) if first.rule.kind in _OPEN and first.rule.counts is not False else None
    return _placed(first._replace(rule=spoken or first.rule))


def _is_unreadable(evidence: Evidence) -> bool:
    """
    Whether a good answer is at hand that is no JSON: what a ``ValueError`` is about then (python-kraken-sdk).
    """
    status = evidence.status
    return (
        status is not None and 200 <= status <= 299 and evidence.body is not None and document(evidence.body)[0] is None
    )


def _placed(clue: _Clue) -> Verdict:
    """
    Build the verdict of the rule by which a clue was read.
    """
    rule, name = clue.rule, type_name(clue.inner)
    wait = retry_after(clue.evidence.headers, now=clue.evidence.now)
    alone = clue.inner is clue.outer
    return failure(
        rule.kind,
        fingerprint=f"exc.{name}",
        why=f"{name}: {rule.what}" if alone else f"{type_name(clue.outer)} around {name}: {rule.what}",
        retryable=rule.retry,
        may_have_run=rule.ran,
        retry_after=_own_wait(clue.outer) if wait is None else wait,
        counts=rule.counts,
    )


def _own(exc: BaseException) -> Verdict | None:
    """
    Read Egressor's own exceptions; None for all others.
    """
    if not is_a(exc, EgressorError):
        return None
    if is_a(exc, Rejected):
        return _refused(exc)
    if is_a(exc, ConfigError):
        return failure(Kind.CONFIGURATION, fingerprint="egressor.config", why="a setting or an argument is wrong")
    if is_a(exc, PartialResponse):
        why = "the stream broke after its first byte: what came is lost if it is sent again"
        return failure(Kind.NETWORK, fingerprint="egressor.partial", why=why, may_have_run=True)
    return None


def _refused(exc: Rejected) -> Verdict:
    reason = _word(attribute(exc, "reason"))
    return failure(
        _REFUSALS.get(reason, Kind.UNKNOWN),
        fingerprint=f"rejected.{reason}",
        why=f"refused by Egressor itself ({reason}), never sent",
        retry_after=_own_wait(exc),
        counts=False,
    )


def _own_wait(exc: BaseException) -> float | None:
    """
    Read the ``retry_after`` that some exceptions carry, in seconds or as a timedelta; 0 to 30 days, else None.
    """
    if is_plain(exc):
        return None
    value = attribute(exc, "retry_after")
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not value >= 0:
        return None
    return min(value, LONGEST) if value != math.inf else None


def _word(value: object) -> str:
    """
    Make a word fit for a log line: at most 32 letters, digits, ``_``, ``-``; ``?`` for anything else.
    """
    fits = isinstance(value, str) and len(value) <= 32 and value.isascii() and value.replace("-", "_").isidentifier()
    return str(value) if fits else "?"
