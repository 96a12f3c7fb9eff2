"""
A page of money in tables, in the words that SQLite and PostgreSQL share.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from egressor._core.budget import Cell, Hold, Place

from . import LedgerAway
from .money import Budget, Kept, Sum, Tags
from .sql import dumped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["CELL", "KEPT", "SqlPage", "cell_of", "kept_of", "row_of_hold"]

CELL: Final = "start_at, end_at, spent, held, unknown, warned"
"""
The columns of a cell.
"""

_PUT: Final = (
    f"INSERT INTO egressor_budgets (name, {CELL}, most) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - words of ours
    " ON CONFLICT (name) DO UPDATE SET start_at = excluded.start_at, end_at = excluded.end_at, spent = excluded.spent,"
    " held = excluded.held, unknown = excluded.unknown, warned = excluded.warned, most = excluded.most"
)
KEPT: Final = "id, owner, at, amount, places, expires_at, tags, lost"
"""
The columns of a hold.
"""

_KEEP: Final = (
    f"INSERT INTO egressor_holds ({KEPT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - likewise
    " ON CONFLICT (id) DO UPDATE SET lost = excluded.lost, expires_at = excluded.expires_at"
)
_ADD: Final = (
    "UPDATE egressor_spend SET calls = calls + ?, micro_usd = micro_usd + ?, unknown = unknown + ?"
    " WHERE day = ? AND service = ? AND model = ? AND feature = ? AND person = ?"
)
_COUNT: Final = "SELECT COUNT(*) FROM egressor_spend WHERE day = ? AND service = ?"
_BEGIN: Final = (
    "INSERT INTO egressor_spend (calls, micro_usd, unknown, day, service, model, feature, person)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_FORGET: Final = (
    "DELETE FROM egressor_budgets WHERE end_at < ?",
    "DELETE FROM egressor_holds WHERE lost = 1 AND expires_at < ?",
    "DELETE FROM egressor_spend WHERE day < ?",
)


class SqlPage:
    """
    The money of a ledger inside of a transaction.

    Args:
        run: Executes a statement with its values, and returns its cursor.
    """

    def __init__(self, run: Callable[[str, Sequence[object]], Any]) -> None:
        self._run = run

    def expect(self, ids: Sequence[str], keys: Sequence[str]) -> None:
        """
        Do nothing: whoever is asked is near.
        """

    def cells(self, keys: Sequence[str]) -> dict[str, Cell]:
        """
        Return those of the cells that there are.
        """
        found = {}
        for key in keys:
            row = self._run(f"SELECT {CELL} FROM egressor_budgets WHERE name = ?", (key,)).fetchone()  # noqa: S608
            if row is not None:
                found[key] = cell_of(row)
        return found

    def put(self, cells: Mapping[str, Cell], limits: Mapping[str, int]) -> None:
        """
        Keep *cells*, with the limits of their budgets.
        """
        for key, cell in cells.items():
            self._run(_PUT, (key, *cell[:5], int(cell.warned), limits[key]))

    def kept(self, key: str) -> Kept | None:
        """
        Return the hold with this id, if it is there.
        """
        row = self._run(f"SELECT {KEPT} FROM egressor_holds WHERE id = ?", (key,)).fetchone()  # noqa: S608
        return None if row is None else kept_of(row)

    def keep(self, kept: Kept) -> None:
        """
        Keep a hold; one with the same id is replaced.
        """
        self._run(_KEEP, row_of_hold(kept))

    def drop(self, key: str) -> None:
        """
        Take away the hold with this id.
        """
        self._run("DELETE FROM egressor_holds WHERE id = ?", (key,))

    def overdue(self, now: int) -> list[Kept]:
        """
        Return holds whose time is over at *now* and that are not lost yet, a thousand at most.
        """
        text = f"SELECT {KEPT} FROM egressor_holds WHERE lost = 0 AND expires_at <= ? ORDER BY id LIMIT 1000"  # noqa: S608
        return [kept_of(row) for row in self._run(text, (now,)).fetchall()]

    def extend(self, owner: str, until: int) -> None:
        """
        Let the holds of *owner* that are not lost last until *until*.
        """
        self._run("UPDATE egressor_holds SET expires_at = ? WHERE owner = ? AND lost = 0", (until, owner))

    def add(self, each: Sum, most: int) -> bool:
        """
        Add *each* to the sum of its day and tags, and return true; false if there is no such sum yet, and *most* of
        its day and service.
        """
        row = (*each[2:], each.day, *each.tags)
        if self._run(_ADD, row).rowcount:
            return True
        if self._run(_COUNT, (each.day, each.tags.service)).fetchone()[0] >= most:
            return False
        self._run(_BEGIN, row)
        return True

    def budgets(self) -> list[Budget]:
        """
        Return all budgets, by key.
        """
        rows = self._run(f"SELECT name, most, {CELL} FROM egressor_budgets ORDER BY name", ())  # noqa: S608
        return [Budget(name, cell_of(cell), most) for name, most, *cell in rows.fetchall()]

    def sums(self, since: int) -> list[Sum]:
        """
        Return the sums of the day *since* and of later ones, by day and tags.
        """
        text = (
            "SELECT day, service, model, feature, person, calls, micro_usd, unknown FROM egressor_spend"
            " WHERE day >= ? ORDER BY day, service, model, feature, person"
        )
        return [Sum(row[0], Tags(*row[1:5]), *row[5:]) for row in self._run(text, (since,)).fetchall()]

    def forget(self, *, cells: int, lost: int, sums: int) -> None:
        """
        Drop cells that ended before the time *cells*, lost holds from before *lost*, sums of days before *sums*.
        """
        for text, value in zip(_FORGET, (cells, lost, sums), strict=True):
            self._run(text, (value,))


def cell_of(row: Sequence[Any]) -> Cell:
    """
    Return the cell of a row with the columns `CELL`.
    """
    start, end, spent, held, unknown, warned = row
    return Cell(start, end, spent, held, unknown, bool(warned))


def kept_of(row: Sequence[Any]) -> Kept:
    """
    Return the hold of a row with the columns `KEPT`.

    Raises:
        LedgerAway: The row is none.
    """
    key, owner, at, amount, places, expires_at, tags, lost = row
    try:
        stood = tuple(Place(*each) for each in json.loads(places))
        told = Tags(*json.loads(tags))
    except (ValueError, TypeError):
        msg = f"a row is no hold: {str(key)[:36]!r}"
        raise LedgerAway(msg) from None
    return Kept(key, owner, at, Hold(amount, stood, expires_at), told, bool(lost))


def row_of_hold(kept: Kept) -> tuple[object, ...]:
    """
    Return the columns `KEPT` of a hold.
    """
    hold = kept.hold
    told = dumped(hold.places), hold.expires_at, dumped(kept.tags), int(kept.is_lost)
    return kept.id, kept.owner, kept.at, hold.amount, *told
