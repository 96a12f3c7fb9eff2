"""
A page of money in memory: the pure functions, over dictionaries.
"""

from __future__ import annotations

from collections import Counter
from heapq import nsmallest
from typing import TYPE_CHECKING

from .money import PERIODS_KEPT, Budget, Sum

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from egressor._core.budget import Cell

    from .money import Kept, Tags

__all__ = ["MemoryPage"]


class MemoryPage:
    """
    The money of a ledger in memory; whoever uses it holds the ledger's lock.
    """

    def __init__(self) -> None:
        self._budgets: dict[str, Budget] = {}
        self._holds: dict[str, Kept] = {}
        self._sums: dict[tuple[int, Tags], Sum] = {}
        # How many there are of each day and service.
        self._counts: Counter[tuple[int, str]] = Counter()

    def expect(self, ids: Sequence[str], keys: Sequence[str]) -> None:
        """
        Do nothing: it is all there.
        """

    def cells(self, keys: Sequence[str]) -> dict[str, Cell]:
        """
        Return those of the cells that there are, by name.
        """
        return {key: self._budgets[key].cell for key in keys if key in self._budgets}

    def put(self, cells: Mapping[str, Cell], limits: Mapping[str, int]) -> None:
        """
        Keep *cells*, which come by name, with the limits of their budgets.
        """
        self._budgets.update(
            {name: Budget(name.rpartition("#")[0], cell, limits[name]) for name, cell in cells.items()}
        )

    def kept(self, key: str) -> Kept | None:
        """
        Return the hold with this id, if it is there.
        """
        return self._holds.get(key)

    def keep(self, kept: Kept) -> None:
        """
        Keep a hold; one with the same id is replaced.
        """
        self._holds[kept.id] = kept

    def drop(self, key: str) -> None:
        """
        Take away the hold with this id.
        """
        self._holds.pop(key, None)

    def overdue(self, now: int) -> list[Kept]:
        """
        Return holds whose time is over at *now* and that are not lost yet.
        """
        return [kept for kept in self._holds.values() if not kept.is_lost and kept.hold.expires_at <= now]

    def extend(self, owner: str, until: int) -> None:
        """
        Let the holds of *owner* that are not lost last until *until*.
        """
        for key, kept in self._holds.items():
            if kept.owner == owner and not kept.is_lost:
                self._holds[key] = kept._replace(hold=kept.hold._replace(expires_at=until))

    def add(self, each: Sum, most: int) -> bool:
        """
        Add *each* to the sum of its day and tags, and return true; false if there is no such sum yet, and *most* of
        its day and service.
        """
        key, of = (each.day, each.tags), (each.day, each.tags.service)
        old = self._sums.get(key)
        if old is None:
            if self._counts[of] >= most:
                return False
            self._counts[of] += 1
            old = Sum(*key, 0, 0, 0)
        self._sums[key] = Sum(*key, *(a + b for a, b in zip(old[2:], each[2:], strict=True)))
        return True

    def budgets(self) -> list[Budget]:
        """
        Return all cells, by key and period.
        """
        return sorted(self._budgets.values())

    def nearest(self, service: str, *, now: int, most: int) -> tuple[list[Budget], int]:
        """
        Return the budgets of *service*, or of all if it is empty, in their periods at *now*: those nearest to their
        limit first, *most* at most; and how many there are.
        """
        of = (f"{service}/", f"{service}[") if service else ""
        found = [
            each
            for each in self._budgets.values()
            if each.cell.start <= now < each.cell.end and each.key.startswith(of)
        ]
        return nsmallest(most, found, key=lambda each: (-_share(each), each.key)), len(found)

    def sums(self, since: int) -> list[Sum]:
        """
        Return the sums of the day *since* and of later ones, by day and tags.
        """
        return sorted(each for each in self._sums.values() if each.day >= since)

    def forget(self, *, cells: int, lost: int, sums: int) -> None:
        """
        Drop cells that ended before the time *cells*, by more than `PERIODS_KEPT` times as long as they lasted; lost
        holds from before *lost*; sums of days before *sums*.
        """
        self._budgets = {
            name: each
            for name, each in self._budgets.items()
            if each.cell.end >= cells or each.cell.end - each.cell.start >= (cells - each.cell.end) // PERIODS_KEPT
        }
        self._holds = {
            key: kept for key, kept in self._holds.items() if not kept.is_lost or kept.hold.expires_at >= lost
        }
        self._sums = {key: each for key, each in self._sums.items() if each.day >= sums}
        self._counts = Counter((each.day, each.tags.service) for each in self._sums.values())


def _share(budget: Budget) -> float:
    return (budget.cell.spent + budget.cell.held) / budget.limit
