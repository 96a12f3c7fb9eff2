"""
What was spent, and how budgets stand: a page of money, added up for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from egressor._core.budget import NEVER, Ask, Cell, forecast

from . import LedgerAway
from .entry import stamp
from .money import Sum, Tags, shown_usd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .money import Budget, Page

__all__ = ["BY", "MONTH", "paid_for", "read_costs"]

BY: Final = ("service", "model", "feature", "user", "day")
"""
What costs are added up by.
"""

MONTH: Final = 30 * 86_400_000_000
"""
How far back is looked, in microseconds.
"""

_DAY: Final = 86_400_000_000
_MOST: Final = 1_000


def read_costs(
    read: Callable[[Callable[[Page], Any]], Any],
    asks: Sequence[Ask],
    *,
    now: int,
    since: int,
    state: Mapping[str, Any],
    service: str = "",
) -> dict[str, Any]:
    """
    Return what was spent and how budgets stand, as plain values; amounts are US dollars with six places, as texts.

    Args:
        read: Does a piece of work on the page of money.
        asks: The budgets of the configuration that are not one for each value, as they are now.
        now: The time.
        since: From the day, in UTC, of this time on.
        state: How the ledger is.
        service: Of this service only. Default: of all.
    """
    found: list[Budget] = []
    sums: list[Sum] = []
    state = dict(state)
    try:
        found, sums = read(lambda page: (page.budgets(), page.sums(since // _DAY)))
    except LedgerAway as error:
        state["away"] = state["away"] or str(error)
    sums = [each for each in sums if service in ("", each.tags.service)]
    budgets = [each for each in _budgets(found, asks, now) if service in ("", each["service"])]
    return {
        "since": stamp(since // _DAY * _DAY),
        "total": _amount(sums),
        **{f"by_{name}": _by(name, sums) for name in BY},
        "budgets": budgets,
        "ledger": state,
    }


def paid_for(read: Callable[[Callable[[Page], Any]], Any]) -> set[str]:
    """
    Return the services that have ever cost something, as far as it is known; none while the ledger is away.

    Args:
        read: Does a piece of work on the page of money.
    """
    try:
        return {each.tags.service for each in read(lambda page: page.sums(0))}
    except LedgerAway:
        return set()


def _amount(sums: Iterable[Sum]) -> dict[str, Any]:
    calls = spent = unknown = 0
    for each in sums:
        calls, spent, unknown = calls + each.calls, spent + each.micro_usd, unknown + each.unknown
    return {"calls": calls, "usd": shown_usd(spent), "unknown_usd": shown_usd(unknown)}


def _by(name: str, sums: list[Sum]) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[Sum]] = {}
    for each in sums:
        key = stamp(each.day * _DAY)[:10] if name == "day" else each.tags[Tags._fields.index(name)]
        groups.setdefault(key, []).append(each)
    if name == "day":
        return {key: _amount(groups[key]) for key in sorted(groups)}
    # The dearest first; beyond a thousand, all others together.
    order = sorted(groups, key=lambda key: (-sum(each.micro_usd for each in groups[key]), key))
    shown = {key: _amount(groups[key]) for key in order[:_MOST]}
    if len(order) > _MOST:
        shown[f"{len(order) - _MOST} others"] = _amount([each for key in order[_MOST:] for each in groups[key]])
    return shown


def _budgets(found: Iterable[Budget], asks: Sequence[Ask], now: int) -> list[dict[str, Any]]:
    known = {each.key: each for each in found if each.cell.start <= now < each.cell.end}
    rows = {}
    for ask in asks:
        kept = known.pop(ask.key, None)
        cell = Cell(ask.start, ask.end) if kept is None else kept.cell
        rows[ask.key] = _row(ask.key, cell, ask.limit, now, ask.soft)
    # Those of single values.
    rows |= {key: _row(key, each.cell, each.limit, now) for key, each in known.items()}
    return [rows[key] for key in sorted(rows)]


def _row(key: str, cell: Cell, limit: int, now: int, soft: int | None = None) -> dict[str, Any]:
    coming = forecast(cell, now)
    return {
        "budget": key,
        "service": key.partition("/")[0].partition("[")[0],
        "limit_usd": shown_usd(limit),
        "spent_usd": shown_usd(cell.spent),
        "held_usd": shown_usd(cell.held),
        "unknown_usd": shown_usd(cell.unknown),
        "left_usd": shown_usd(max(0, limit - cell.spent - cell.held)),
        "is_soft": cell.warned or (soft is not None and cell.spent + cell.held >= soft),
        "began": stamp(cell.start),
        "renews": None if cell.end == NEVER else stamp(cell.end),
        "forecast_usd": None if coming is None else shown_usd(coming),
    }
