"""
What the entries of failed attempts come to: counts, groups, a timeline, and the newest of them.

An entry may stand for several failures (`count`) and for several calls that ended with one (`calls`). So failures are
summed over all entries, and calls, with what became of them, over those that ended one: a call is counted once,
however often it was tried.

*Groups.* What operators said of a group are entries, too, so every process on the ledger sees the same. A group is
resolved until it is seen again, and then it is reopened; it is muted for a time, or until somebody says otherwise.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from egressor._core.model import ErrorSeverity

from . import Pick
from .entry import as_dict, stamp
from .grouping import ERROR, is_whole

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .entry import Entry
    from .history import History

__all__ = ["DAY", "HOUR", "LONGEST_MUTE", "MARKS", "OUTCOMES", "WEEK", "errors_of", "read_errors", "states_of"]

HOUR: Final = 3_600_000_000
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY
LONGEST_MUTE: Final = 400 * 86_400
"""
For how many seconds a group may be muted at most.
"""
MARKS: Final = {"resolve": "resolve-error", "mute": "mute-error", "unmute": "unmute-error"}
"""
What an operator may do to a group, and what the entry about it says.
"""
OUTCOMES: Final = ("recovered", "fell_back", "gave_up")
"""
What may become of a call after an attempt has failed.
"""

_MOST: Final = 200_000
_MARKS: Final = 10_000
_LEVELS: Final = tuple(each.name.lower() for each in ErrorSeverity)


class Mark(NamedTuple):
    """
    What operators have last said of a group.

    Attributes:
        resolved_at: When it was called resolved, in microseconds since 1970; 0 for never.
        resolved_by: Who did.
        muted_until: Until when it is muted; 0 for not at all, -1 for until somebody says otherwise.
    """

    resolved_at: int = 0
    resolved_by: str = ""
    muted_until: int = 0


class Window(NamedTuple):
    """
    What of the errors is asked for.

    Attributes:
        since: From this time on, in microseconds since 1970.
        now: Until this one.
        fingerprint: Of this group only; empty for all.
        groups: How many groups at most.
        recent: How many of the newest failures at most.
    """

    since: int
    now: int
    fingerprint: str = ""
    groups: int = 100
    recent: int = 20


def read_errors(history: History, window: Window, *, service: str = "") -> dict[str, Any]:
    """
    Return the errors in *history*, of one *service* or of all, as plain values.
    """
    (entries, marks), state = history.look(Pick(service, ERROR, limit=_MOST), Pick(kind="operator", limit=_MARKS))
    return {**errors_of(entries, states_of(marks), window), "ledger": state}


def states_of(marks: Iterable[Entry]) -> dict[str, Mark]:
    """
    Return what operators have last said, by group, from their entries in any order.
    """
    found: dict[str, Mark] = {}
    for entry in sorted(marks, key=lambda each: each.id):
        name = str(entry.data.get("fingerprint", ""))
        mark = found.get(name, Mark())
        if entry.what == MARKS["resolve"]:
            found[name] = mark._replace(resolved_at=entry.at, resolved_by=entry.who)
        elif entry.what == MARKS["mute"]:
            seconds = entry.data.get("seconds")
            until = entry.at + int(seconds * 1e6) if isinstance(seconds, (int, float)) else -1
            found[name] = mark._replace(muted_until=until)
        elif entry.what == MARKS["unmute"]:
            found[name] = mark._replace(muted_until=0)
    return found


def errors_of(entries: Iterable[Entry], marks: dict[str, Mark], window: Window) -> dict[str, Any]:
    """
    Return what *entries* of kind ``error`` come to in a *window* of time.
    """
    known = [each for each in sorted(entries, key=lambda each: each.id) if is_whole(each)]
    if window.fingerprint:
        known = [each for each in known if each.data["fingerprint"] == window.fingerprint]
    # The clock of another host may be ahead of ours: what comes from the future happens now.
    known = [each._replace(at=window.now) if each.at > window.now else each for each in known]
    inside = [each for each in known if window.since <= each.at]
    groups: dict[str, _Group] = {}
    for each in known:
        groups.setdefault(each.data["fingerprint"], _Group(each)).take(each, window)
    shown = sorted((each for each in groups.values() if each.count), key=lambda each: (-each.count, each.name))
    ended = Counter[str]()
    for each in inside:
        ended[each.data["outcome"]] += each.data["calls"]
    calls = sum(ended.values())
    return {
        "since": stamp(window.since),
        "until": stamp(window.now),
        "total": sum(each.data["count"] for each in inside),
        "calls": calls,
        **{outcome: ended[outcome] for outcome in OUTCOMES},
        "recovery_rate": ended["recovered"] / calls if calls else None,
        "by_category": _counted(inside, lambda each: each.what),
        "by_severity": {level: n for level in reversed(_LEVELS) if (n := _of_level(inside, level))},
        "by_service": _counted(inside, lambda each: each.service),
        "by_component": _counted(inside, _component),
        "timeline": _timeline(inside, window),
        "groups_total": len(shown),
        "groups": [each.shown(marks.get(each.name, Mark()), window.now) for each in shown[: window.groups]],
        "recent": [_recent(each, marks) for each in reversed(inside[-window.recent :] if window.recent else [])],
    }


class _Group:
    """
    The errors of one name, as they are added up.
    """

    __slots__ = ("_ended", "_first", "_hours", "_newest", "count", "name")

    def __init__(self, first: Entry) -> None:
        self.name: str = first.data["fingerprint"]
        self.count = 0
        self._first = first
        self._newest = first
        self._hours = Counter[int]()
        self._ended = Counter[str]()

    def take(self, entry: Entry, window: Window) -> None:
        """
        Add *entry*, which is not older than those before it.
        """
        self._newest = entry
        self._hours[entry.at // HOUR] += entry.data["count"]
        if window.since <= entry.at:
            self.count += entry.data["count"]
            self._ended[entry.data["outcome"]] += entry.data["calls"]

    def shown(self, mark: Mark, now: int) -> dict[str, Any]:
        """
        Return it as plain values.
        """
        newest, hour = self._newest, now // HOUR
        data = newest.data
        calls = sum(self._ended.values())
        return {
            "fingerprint": self.name,
            "state": _state(mark, newest.at, now),
            "service": newest.service,
            "category": newest.what,
            "severity": data["severity"],
            "message": data.get("message", ""),
            **{name: data.get(name, "") for name in ("type", "rule", "why", "endpoint", "place", "cause")},
            "count": self.count,
            "calls": calls,
            **{outcome: self._ended[outcome] for outcome in OUTCOMES},
            "recovery_rate": self._ended["recovered"] / calls if calls else None,
            "first_seen": str(self._first.data.get("first") or stamp(self._first.at)),
            "last_seen": stamp(newest.at),
            # The present hour is the last of them, and has begun only.
            "per_hour": [self._hours[hour - back] for back in range(23, -1, -1)],
            "last_24h": sum(self._hours[hour - back] for back in range(24)),
            "last_7d": sum(self._hours[hour - back] for back in range(168)),
            "resolved_at": stamp(mark.resolved_at) if mark.resolved_at else None,
            "resolved_by": mark.resolved_by,
            "muted_until": stamp(mark.muted_until) if mark.muted_until > now else None,
        }


def _state(mark: Mark, seen_at: int, now: int) -> str:
    if mark.muted_until < 0 or mark.muted_until > now:
        return "muted"
    if not mark.resolved_at:
        return "open"
    return "resolved" if seen_at <= mark.resolved_at else "reopened"


def _component(entry: Entry) -> str:
    endpoint = str(entry.data.get("endpoint", ""))
    return f"{entry.service}/{endpoint}" if endpoint else entry.service


def _counted(entries: list[Entry], key: Any) -> dict[str, int]:
    found = Counter[str]()
    for each in entries:
        found[key(each)] += each.data["count"]
    return dict(found.most_common())


def _of_level(entries: list[Entry], level: str) -> int:
    return sum(int(each.data["count"]) for each in entries if each.data["severity"] == level)


def _timeline(entries: list[Entry], window: Window) -> list[dict[str, Any]]:
    """
    Return the hours of the window, the last 168 of them, with what happened in each.
    """
    last = window.now // HOUR
    first = max(window.since // HOUR, last - 167)
    counts, lost = Counter[int](), Counter[int]()
    for each in entries:
        counts[each.at // HOUR] += each.data["count"]
        lost[each.at // HOUR] += each.data["calls"] if each.data["outcome"] == "gave_up" else 0
    return [
        {"hour": stamp(hour * HOUR), "count": counts[hour], "gave_up": lost[hour]} for hour in range(first, last + 1)
    ]


def _recent(entry: Entry, marks: dict[str, Mark]) -> dict[str, Any]:
    plain = as_dict(entry)
    resolved_at = marks.get(entry.data["fingerprint"], Mark()).resolved_at
    return {
        **{name: plain[name] for name in ("id", "at", "service")},
        "category": entry.what,
        **entry.data,
        "resolved": entry.at <= resolved_at,
    }
