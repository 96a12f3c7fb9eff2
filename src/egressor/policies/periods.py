"""
When budgets' periods begin and end, in a named time zone.

The line of time is cut at the moments at which the calendar there turns a page: the first midnight of a day, or, where
a clock that is set forward skips midnight, the moment of that. Every moment is in exactly one period, whatever the
clocks do: an hour that comes twice is in one day, a day that is skipped has no time in it. Hours are those of UTC in
every zone.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from egressor._core.budget import NEVER, Ask

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

    from egressor.policies.parts import BudgetPolicy

__all__ = ["KINDS", "asks_of", "period_of"]

KINDS: Final = ("hour", "day", "week", "month", "total")
"""
The periods of a budget, as its settings name them.
"""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO: Final = timedelta(microseconds=1)
_HOUR: Final = 3_600_000_000
# The period of each kind that was asked for last: nearly always the one that is asked for next.
_LATEST: Final[dict[tuple[str, str], tuple[int, int]]] = {}


def period_of(kind: str, zone: str, at: int) -> tuple[int, int]:
    """
    Return the beginning and the end of the period that a moment is in.

    Args:
        kind: One of `KINDS`.
        zone: The time zone's name, which has been checked.
        at: Microseconds since 1970.

    Returns:
        Microseconds since 1970; the end is the beginning of the next period.
    """
    if kind == "total":
        return 0, NEVER
    known = _LATEST.get((kind, zone))
    if known is None or not known[0] <= at < known[1]:
        known = _LATEST[kind, zone] = _period(kind, zone, at)
    return known


def _period(kind: str, zone: str, at: int) -> tuple[int, int]:
    if kind == "hour":
        start = at // _HOUR * _HOUR
        return start, start + _HOUR
    where = _zone(zone)
    after = _AFTER[kind]
    first = _FIRST[kind]((_EPOCH + timedelta(microseconds=at)).astimezone(where).date())
    start, end = _moment(first, where), _moment(after(first), where)
    # A clock that is set back over midnight shows yesterday's date again; today has begun all the same.
    while at >= end:
        first = after(first)
        start, end = end, _moment(after(first), where)
    return start, end


def asks_of(policy: BudgetPolicy, owner: str, at: int) -> tuple[Ask, ...]:
    """
    Return the budgets of *policy* at a moment, one for each period that it bounds.

    Args:
        policy: Its amounts, soft share and time zone.
        owner: Whose they are: a service, or a rule and its values.
        at: Microseconds since 1970.
    """
    found = []
    for kind in KINDS:
        usd = getattr(policy, kind)
        if usd is not None:
            limit = int(usd * 1_000_000)
            start, end = period_of(kind, policy.timezone, at)
            soft = -(-limit * round(policy.soft * 1_000_000) // 1_000_000)
            found.append(Ask(f"{owner}/{kind}@{policy.timezone}", limit, soft, start, end))
    return tuple(found)


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)


def _moment(day: date, where: tzinfo) -> int:
    """
    Return the first moment of *day*: of a midnight that comes twice the first, of one that is skipped the skip.
    """
    return (datetime(day.year, day.month, day.day, tzinfo=where).astimezone(UTC) - _EPOCH) // _MICRO


_FIRST: Final[dict[str, Callable[[date], date]]] = {
    "day": lambda day: day,
    "week": lambda day: day - timedelta(days=day.weekday()),
    "month": lambda day: day.replace(day=1),
}
_AFTER: Final[dict[str, Callable[[date], date]]] = {
    "day": lambda day: day + timedelta(days=1),
    "week": lambda day: day + timedelta(days=7),
    "month": lambda day: (day.replace(day=1) + timedelta(days=32)).replace(day=1),
}
