"""
What was spent, and how budgets stand: a page of money, added up for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from egressor._core.budget import NEVER, Ask, Cell, forecast
from egressor.policies.keys import KEY

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

    Of the budgets for each value of something a thousand are shown, the nearest to their limit first.

    Args:
        read: Does a piece of work on the page of money.
        asks: The budgets of the configuration that are not one for each value, as they are now.
        now: The time.
        since: From the day, in UTC, of this time on.
        state: How the ledger is.
        service: Of this service only. Default: of all.
    """
    asks = [ask for ask in asks if service in ("", _service_of(ask.key))]
    keys = {ask.key for ask in asks}
    cells: dict[str, Cell] = {}
    nearest: list[Budget] = []
    sums: list[Sum] = []
    count = 0
    state = dict(state)

    def look(page: Page) -> tuple[dict[str, Cell], tuple[list[Budget], int], list[Sum]]:
        nearest = page.nearest(service, now=now, most=_MOST + len(asks))
        return page.cells(sorted(ask.cell for ask in asks)), nearest, page.sums(since // _DAY)

    try:
        cells, (nearest, count), sums = read(look)
    except LedgerAway as error:
        state["away"] = state["away"] or str(error)
    sums = [each for each in sums if service in ("", each.tags.service)]
    single = [each for each in nearest if each.key not in keys][:_MOST]
    return {
        "since": stamp(since // _DAY * _DAY),
        "total": _amount(sums),
        **{f"by_{name}": _by(name, sums) for name in BY},
        "budgets": [*_standing(asks, cells, now), *(_row(each.key, each.cell, each.limit, now) for each in single)],
        "budgets_left_out": count - len(cells) - len(single),
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


def _standing(asks: Iterable[Ask], cells: Mapping[str, Cell], now: int) -> list[dict[str, Any]]:
    return [
        _row(ask.key, cells.get(ask.cell) or Cell(ask.start, ask.end), ask.limit, now, ask.soft) for ask in sorted(asks)
    ]


def _service_of(key: str) -> str:
    return key.partition("/")[0].partition("[")[0]


def _row(key: str, cell: Cell, limit: int, now: int, soft: int | None = None) -> dict[str, Any]:
    coming = forecast(cell, now)
    owner = key.partition("/")[0]
    of_key = owner.removeprefix(KEY) if owner.startswith(KEY) else ""
    return {
        "budget": key,
        # A client's key has one over all services.
        "service": "" if of_key else _service_of(key),
        "key": of_key,
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
