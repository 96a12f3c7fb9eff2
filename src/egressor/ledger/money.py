"""
Money in a ledger: what is held, what is spent, and what became of both, exactly once.

What may be held is decided by `egressor._core.budget`; a `Page` is where a ledger keeps cells, holds and sums, and all
of a page is of one transaction. So a hold stands in all of its budgets or in none, and whoever is killed leaves what
was committed.

*Once.* A hold has an id, and its row goes with the transaction that ends it. An end that comes twice, from a spool or
from a forked child, finds no row and changes nothing.

*Lost.* A live process moves the end of its holds' time on. One that was killed doesn't: what it held is charged whole
then, and counted as unknown. The row stays for a month; should the truth come after all, it takes the estimate's place.

*Sums.* What was spent is added up by day (UTC, of the moment that it was held), service, model, feature and user, in
the transaction that charges it: the sums are what the cells are, for longer. Who calls may name users and features as
he likes, so a day and service has `MOST_SUMS` of them by all their names; the next 500 leave out who the user is, the
next 500 the feature too, and all others together have one. Sums are never dropped while their day is kept: so what is
corrected later is corrected where it was added, and they always come to what was spent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from egressor._core.budget import Ask, Cell, Denied, Held, Hold, expire, hold, release, resolve, settle

from .aging import PACE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "FREE",
    "MOST_SUMS",
    "OTHER",
    "PERIODS_KEPT",
    "SPENT",
    "UNKNOWN",
    "Away",
    "Budget",
    "End",
    "Kept",
    "Page",
    "Sum",
    "Tags",
    "Want",
    "finish",
    "forget",
    "lose",
    "shown_usd",
    "take",
]

SPENT: Final = "spent"
FREE: Final = "free"
UNKNOWN: Final = "unknown"

MOST_SUMS: Final = 5_000
"""
How many sums of one day and service keep all their names.
"""

OTHER: Final = "other"
"""
The name that stands for names that are not kept.
"""

_MORE_SUMS: Final = 500
PERIODS_KEPT: Final = PACE
"""
How many periods long the cell of one that is over is kept. As a ledger ages no faster than that, the cell of a period
that is not over stays, whatever a wrong clock says.
"""

_DAY: Final = 86_400_000_000
# A clock may be set back by hours; a cell that is gone would begin at nothing.
_CELLS_AFTER: Final = 2 * _DAY
_LOST_AFTER: Final = 30 * _DAY


class Tags(NamedTuple):
    """
    What a call's money is added up by; empty where it is not known.
    """

    service: str
    model: str = ""
    feature: str = ""
    user: str = ""


class Want(NamedTuple):
    """
    Money to be held.

    Attributes:
        id: The hold's.
        owner: Who lives and moves its time on.
        asks: The budgets.
        worst: Micro-dollars that the call can cost at most.
        tags: What it is added up by.
        likely: Micro-dollars that it is likely to cost, if it can be bounded; else None.
    """

    id: str
    owner: str
    asks: tuple[Ask, ...]
    worst: int
    tags: Tags
    likely: int | None = None


class End(NamedTuple):
    """
    What became of a hold.

    Attributes:
        id: The hold's.
        how: `SPENT`; `FREE`, if nothing was; `UNKNOWN`, if nobody can say.
        micro_usd: What was spent; of what is unknown, how much of the hold it can't be: what calls inside were charged,
            and what a stream that was left had not come to.
    """

    id: str
    how: str
    micro_usd: int = 0


class Away(NamedTuple):
    """
    No answer to a wish: the ledger can't be asked, for the reason in *text*.
    """

    text: str


class Kept(NamedTuple):
    """
    A hold as a page keeps it.

    Attributes:
        id: Its id.
        owner: Who lives and moves its time on.
        at: When it was made, in microseconds since 1970.
        hold: How much, where, and until when.
        tags: What it is added up by.
        is_lost: Whether its time was over before anybody ended it.
    """

    id: str
    owner: str
    at: int
    hold: Hold
    tags: Tags
    is_lost: bool = False


class Budget(NamedTuple):
    """
    A period of a budget as a page keeps it: the budget's key, the cell, and the limit at the time of the last call.
    """

    key: str
    cell: Cell
    limit: int


class Sum(NamedTuple):
    """
    What was spent on a day.

    Attributes:
        day: Days since 1970, in UTC.
        tags: On what.
        calls: How many calls.
        micro_usd: How much, *unknown* included.
        unknown: How much of it is only what was held.
    """

    day: int
    tags: Tags
    calls: int
    micro_usd: int
    unknown: int


class Page(Protocol):
    """
    A ledger's money inside of one transaction.
    """

    def expect(self, ids: Sequence[str], keys: Sequence[str]) -> None:
        """
        Be told which holds and cells will be asked for, so that a page far away reads them at once.
        """

    def cells(self, keys: Sequence[str]) -> dict[str, Cell]:
        """
        Return those of the cells that there are, by name.
        """

    def put(self, cells: Mapping[str, Cell], limits: Mapping[str, int]) -> None:
        """
        Keep *cells*, which come by name, with the limits of their budgets.
        """

    def kept(self, key: str) -> Kept | None:
        """
        Return the hold with this id, if it is there.
        """

    def keep(self, kept: Kept) -> None:
        """
        Keep a hold; one with the same id is replaced.
        """

    def drop(self, key: str) -> None:
        """
        Take away the hold with this id.
        """

    def overdue(self, now: int) -> list[Kept]:
        """
        Return holds whose time is over at *now* and that are not lost yet, a thousand at most.
        """

    def extend(self, owner: str, until: int) -> None:
        """
        Let the holds of *owner* that are not lost last until *until*.
        """

    def add(self, each: Sum, most: int) -> bool:
        """
        Add *each* to the sum of its day and tags, and return true; false if there is no such sum yet, and *most* of
        its day and service.
        """

    def budgets(self) -> list[Budget]:
        """
        Return all cells, by key and period.
        """

    def nearest(self, service: str, *, now: int, most: int) -> tuple[list[Budget], int]:
        """
        Return the budgets of *service*, or of all if it is empty, in their periods at *now*: those nearest to their
        limit first, *most* at most; and how many there are.
        """

    def sums(self, since: int) -> list[Sum]:
        """
        Return the sums of the day *since* and of later ones, by day and tags.
        """

    def forget(self, *, cells: int, lost: int, sums: int) -> None:
        """
        Drop cells that ended before the time *cells*, by more than `PERIODS_KEPT` times as long as they lasted; lost
        holds from before *lost*; sums of days before *sums*.
        """


def take(page: Page, want: Want, *, now: int, lasts: int) -> Held | Denied:
    """
    Hold what is wanted in all of its budgets, or in none, for *lasts* microseconds from *now* on.
    """
    cells = page.cells([ask.cell for ask in want.asks])
    answer = hold(cells, want.asks, worst=want.worst, likely=want.likely, now=now, lasts=lasts)
    if isinstance(answer, Held):
        page.put(answer.cells, {ask.cell: ask.limit for ask in want.asks})
        page.keep(Kept(want.id, want.owner, now, answer.hold, want.tags))
    return answer


def finish(page: Page, end: End) -> tuple[str, ...]:
    """
    End a hold; one that isn't there was ended before.

    Returns:
        Keys of the budgets in which more is spent and held than their limit.
    """
    kept = page.kept(end.id)
    if kept is None:
        return ()
    if kept.is_lost and end.how == UNKNOWN:
        page.drop(end.id)
        return ()
    amount = kept.hold.amount
    unsaid = max(0, amount - end.micro_usd)
    cells = page.cells([place.cell for place in kept.hold.places])
    truth = {SPENT: end.micro_usd, FREE: 0, UNKNOWN: unsaid}[end.how]
    calls = 0 if end.how == FREE else 1
    if kept.is_lost:
        settled, unknown = resolve(cells, kept.hold, truth), -amount
        truth, calls = truth - amount, calls - 1
    elif end.how == UNKNOWN:
        settled, unknown = expire(cells, kept.hold, less=end.micro_usd), unsaid
    else:
        settled, unknown = settle(cells, kept.hold, truth) if truth else release(cells, kept.hold), 0
    page.put(settled.cells, {place.cell: place.limit for place in kept.hold.places})
    page.drop(end.id)
    if truth or calls or unknown:
        _add_up(page, Sum(kept.at // _DAY, kept.tags, calls, truth, unknown))
    return settled.over


def _add_up(page: Page, each: Sum) -> None:
    tags, most = each.tags, MOST_SUMS
    for unsaid in ({}, {"user": OTHER}, {"user": OTHER, "feature": OTHER}):
        if page.add(each._replace(tags=tags._replace(**unsaid)), most):
            return
        most += _MORE_SUMS
    page.add(each._replace(tags=Tags(tags.service, OTHER, OTHER, OTHER)), most + 1)


def lose(page: Page, now: int) -> int:
    """
    Charge holds whose time is over at *now* whole, and return how many that were.
    """
    overdue = page.overdue(now)
    for kept in overdue:
        finish(page, End(kept.id, UNKNOWN))
        page.keep(kept._replace(is_lost=True))
    return len(overdue)


def forget(page: Page, now: int, keep_for: int) -> None:
    """
    Drop what is of no more use: cells long after their period, lost holds, sums older than *keep_for* microseconds.
    """
    page.forget(cells=now - _CELLS_AFTER, lost=now - _LOST_AFTER, sums=(now - keep_for) // _DAY)


def shown_usd(micro_usd: int) -> str:
    """
    Return an amount in US dollars, with its six decimal places.
    """
    sign, whole = "-" if micro_usd < 0 else "", abs(micro_usd)
    return f"{sign}{whole // 1_000_000}.{whole % 1_000_000:06d}"
