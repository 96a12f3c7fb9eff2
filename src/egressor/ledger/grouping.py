"""
What a failed attempt becomes in the ledger: an entry of kind ``error``, with the name of its group.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from egressor._core.evidence import document
from egressor._core.fingerprint import fingerprint, normalised
from egressor._core.model import ErrorCategory
from egressor.dialects.bodies import skimmed, spoken
from egressor.policies.redaction import cut

from .entry import Entry, new_id
from .plain import bounded, clean, fitted

if TYPE_CHECKING:
    from .failure import Failure, Told

__all__ = ["ERROR", "Draft", "Groups", "entry_of", "is_whole"]

ERROR: Final = "error"
"""
The kind of entries that tell of failed attempts.
"""

_GROUPS: Final = 1_000
_REMEMBERED: Final = 4_096
_FORGOTTEN_AFTER: Final = 86_400_000_000
_TIDY_EACH: Final = 60_000_000
_TITLE: Final = re.compile(r"<title[^>]{0,100}>([^<]{1,200})", re.IGNORECASE)
_SHOWN: Final = 200
_LONGEST: Final = 1_000


class Groups:
    """
    The groups that were seen, by service: at most 1,000 of each, those forgotten that have not been seen for a day.

    Attributes:
        merged: Failures beyond them, or of too many at once, which go by their category.
    """

    def __init__(self) -> None:
        self.merged = 0
        self._names: dict[tuple[object, ...], str] = {}
        self._seen: dict[str, dict[str, int]] = {}
        self._tidied_at: dict[str, int] = {}

    def name(self, service: str, failure: Failure) -> str:
        """
        Return the name of the group that *failure* belongs to.
        """
        rule, endpoint = failure.verdict.fingerprint, failure.scope.get("endpoint", "")
        said = failure.message or failure.said
        key = (service, rule, failure.kind, endpoint, failure.place, said)
        name = self._names.get(key)
        if name is None:
            if len(self._names) >= _REMEMBERED:
                self._names.clear()
            text = normalised(said_by(failure))
            name = self._names[key] = fingerprint(service, rule, failure.kind, endpoint, failure.place, text)
        seen = self._seen.setdefault(service, {})
        if name not in seen and len(seen) >= _GROUPS and not self._tidy(service, failure.at):
            return self.merge(service, failure)
        seen[name] = failure.at
        return name

    def merge(self, service: str, failure: Failure) -> str:
        """
        Return the name of the group of all failures of *failure*'s category that have no other.
        """
        self.merged += 1
        return fingerprint(service, str(failure.verdict.category))

    def _tidy(self, service: str, now: int) -> bool:
        """
        Forget what has not been seen for a day; False if that made no room, or was tried a moment ago.
        """
        if now - self._tidied_at.get(service, -_TIDY_EACH) < _TIDY_EACH:
            return False
        self._tidied_at[service] = now
        seen = self._seen[service]
        kept = {name: at for name, at in seen.items() if at > now - _FORGOTTEN_AFTER}
        self._seen[service] = kept
        return len(kept) < _GROUPS


class Draft:
    """
    An entry to be: one or more failures of a group, whose calls ended in the same way.

    Attributes:
        call: The call of the first of them.
        name: The group's.
        newest: The last of them.
        count: How many failures they are.
        calls: How many calls ended with one of them.
    """

    __slots__ = ("call", "calls", "count", "name", "newest")

    newest: Failure

    def __init__(self, call: Told, name: str) -> None:
        self.call = call
        self.name = name
        self.count = self.calls = 0

    def take(self, failure: Failure, *, ends: bool) -> None:
        """
        Let it stand for *failure*, too; *ends* says whether that was the last one of its call.
        """
        self.newest = failure
        self.count += 1
        self.calls += ends


def entry_of(draft: Draft) -> Entry:
    """
    Return the entry of *draft*: redacted and bounded, whatever is in it.
    """
    failure, verdict = draft.newest, draft.newest.verdict
    # Together they stay below what an entry may hold, whatever they are.
    told = {
        "message": _fitting(said_by(failure), 2_400),
        "type": clean(failure.kind),
        "rule": clean(verdict.fingerprint),
        "why": _fitting(verdict.why, 400),
        "endpoint": _fitting(failure.scope.get("endpoint", ""), 500),
        "place": _fitting(failure.place, 500),
        "cause": _fitting(failure.cause, 600),
        "scope": bounded({name: text for name, text in failure.scope.items() if name != "endpoint"}, most=900),
        "context": fitted(failure.context, 1_300),
        "retry_after": verdict.retry_after,
    }
    data: dict[str, Any] = {
        "fingerprint": draft.name,
        "severity": verdict.severity.name.lower(),
        "outcome": draft.call.outcome,
        # What is empty says nothing.
        **{name: value for name, value in told.items() if value or name == "message"},
        "count": draft.count,
        "calls": draft.calls,
    }
    if draft.count == 1:
        data |= {"attempt": failure.attempt, "call": draft.call.name}
    category = str(verdict.category or ErrorCategory.UNKNOWN)
    return Entry(new_id(failure.at), failure.at, ERROR, clean(draft.call.service), category, "", data)


def is_whole(entry: Entry) -> bool:
    """
    Whether *entry* tells of a failure in full: what was taken up from a file may be anything.
    """
    data = entry.data
    numbers = all(type(data.get(name)) is int and data[name] >= 0 for name in ("count", "calls"))
    return numbers and all(type(data.get(name)) is str for name in ("fingerprint", "severity", "outcome"))


def said_by(failure: Failure) -> str:
    """
    Return what a failed attempt said of itself: the exception's text, else the answer's, else the rule's words.
    """
    return failure.message or _said(failure.said) or failure.verdict.why


def _said(body: bytes) -> str:
    if not body:
        return ""
    parsed, text = document(body)
    if parsed is None and text.lstrip()[:1] in "{[":
        parsed = skimmed((), body, text)  # Its end was not read.
    if parsed is not None:
        return spoken(parsed)
    title = _TITLE.search(text)
    return " ".join((title[1] if title else "" if text.lstrip()[:1] == "<" else cut(text, _SHOWN)).split())


def _fitting(text: str, most: int) -> str:
    """
    Return *text* clean, and short enough for *most* bytes of JSON.
    """
    text = clean(text, _LONGEST)
    # A character takes twelve bytes at most.
    return text if len(text) * 12 <= most or len(json.dumps(text)) <= most else text[: most // 12]
