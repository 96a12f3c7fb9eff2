"""
A page of money in PostgreSQL, where every question is a way to the server and back.

It reads what it is told to expect with one question, remembers what it has read, and writes all that has changed at the
end, together with the commit. So a transaction goes that way twice, be it for one call or for five hundred.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .money import Sum
from .money_sql import CELL, KEPT, SqlPage, cell_of, kept_of, row_of_hold

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from egressor._core.budget import Cell

    from .money import Budget, Kept, Tags
    from .wire import Connection

__all__ = ["BatchPage"]

_HOLDS: Final = f"SELECT {KEPT} FROM egressor_holds WHERE id = ANY(%s::text[])"  # noqa: S608 - words of ours
_CELLS: Final = f"SELECT name, {CELL} FROM egressor_budgets WHERE name = ANY(%s::text[])"  # noqa: S608 - likewise
_DROP: Final = "DELETE FROM egressor_holds WHERE id = ANY(%s::text[])"
_KEEP: Final = (
    f"INSERT INTO egressor_holds ({KEPT}) SELECT * FROM"  # noqa: S608 - likewise
    " unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::text[], %s::bigint[], %s::text[], %s::bigint[])"
    " ON CONFLICT (id) DO UPDATE SET lost = excluded.lost, expires_at = excluded.expires_at"
)
_PUT: Final = (
    f"INSERT INTO egressor_budgets (name, {CELL}, most) SELECT * FROM"  # noqa: S608 - likewise
    " unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],"
    " %s::bigint[])"
    " ON CONFLICT (name) DO UPDATE SET start_at = excluded.start_at, end_at = excluded.end_at, spent = excluded.spent,"
    " held = excluded.held, unknown = excluded.unknown, warned = excluded.warned, most = excluded.most"
)
_ADD: Final = (
    "INSERT INTO egressor_spend AS sums (day, service, model, feature, person, calls, micro_usd, unknown)"
    " SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[],"
    " %s::bigint[])"
    " ON CONFLICT (day, service, model, feature, person) DO UPDATE SET calls = sums.calls + excluded.calls,"
    " micro_usd = sums.micro_usd + excluded.micro_usd, unknown = sums.unknown + excluded.unknown"
)


class BatchPage:
    """
    The money of a ledger inside of a transaction of *db*.

    Args:
        db: The connection.
        known: Days and tags of sums that were there before; this adds those that it meets.
        begin: What begins the transaction; it is said together with the first question, as others wait from then on.
    """

    def __init__(self, db: Connection, known: set[tuple[int, Tags]], begin: Sequence[bytes] = ()) -> None:
        self._db = db
        self._known = known
        self._begin = begin
        self._page = SqlPage(self._run)
        self._cells: dict[str, Cell | None] = {}
        self._kept: dict[str, Kept | None] = {}
        self._limits: dict[str, int] = {}
        self._touched: set[str] = set()
        self._sums: dict[tuple[int, Tags], Sum] = {}

    def expect(self, ids: Sequence[str], keys: Sequence[str]) -> None:
        """
        Read the holds and the cells that will be asked for.
        """
        # What was read before may have changed here since.
        ids = [key for key in ids if key not in self._kept]
        keys = [key for key in keys if key not in self._cells]
        with self._db.pipeline():
            self._begun()
            holds = self._db.execute(_HOLDS, (list(ids),))
            cells = self._db.execute(_CELLS, (list(keys),))
        self._kept |= {**dict.fromkeys(ids), **{row[0]: kept_of(row) for row in holds.fetchall()}}
        self._cells |= {**dict.fromkeys(keys), **{row[0]: cell_of(row[1:]) for row in cells.fetchall()}}

    def cells(self, keys: Sequence[str]) -> dict[str, Cell]:
        """
        Return those of the cells that there are.
        """
        unread = [key for key in keys if key not in self._cells]
        if unread:
            self._cells |= {**dict.fromkeys(unread), **self._page.cells(unread)}
        return {key: cell for key in keys if (cell := self._cells[key]) is not None}

    def put(self, cells: Mapping[str, Cell], limits: Mapping[str, int]) -> None:
        """
        Keep *cells*, with the limits of their budgets.
        """
        self._cells |= cells
        self._limits |= {key: limits[key] for key in cells}

    def kept(self, key: str) -> Kept | None:
        """
        Return the hold with this id, if it is there.
        """
        if key not in self._kept:
            self._kept[key] = self._page.kept(key)
        return self._kept[key]

    def keep(self, kept: Kept) -> None:
        """
        Keep a hold; one with the same id is replaced.
        """
        self._kept[kept.id] = kept
        self._touched.add(kept.id)

    def drop(self, key: str) -> None:
        """
        Take away the hold with this id.
        """
        self._kept[key] = None
        self._touched.add(key)

    def overdue(self, now: int) -> list[Kept]:
        """
        Return holds whose time is over at *now* and that are not lost yet, a thousand at most.
        """
        self.write()
        found = self._page.overdue(now)
        self.expect([], sorted({place.key for kept in found for place in kept.hold.places}))
        self._kept |= {kept.id: kept for kept in found}
        return found

    def extend(self, owner: str, until: int) -> None:
        """
        Let the holds of *owner* that are not lost last until *until*.
        """
        self.write()
        self._page.extend(owner, until)

    def add(self, each: Sum, most: int) -> bool:
        """
        Add *each* to the sum of its day and tags, and return true; false if there is no such sum yet, and *most* of
        its day and service.
        """
        key = (each.day, each.tags)
        if key not in self._known:
            if not self._page.add(each, most):
                return False
            self._known.add(key)
            return True
        old = self._sums.get(key, Sum(*key, 0, 0, 0))
        self._sums[key] = Sum(*key, old.calls + each.calls, old.micro_usd + each.micro_usd, old.unknown + each.unknown)
        return True

    def budgets(self) -> list[Budget]:
        """
        Return all budgets, by key.
        """
        self.write()
        return self._page.budgets()

    def sums(self, since: int) -> list[Sum]:
        """
        Return the sums of the day *since* and of later ones, by day and tags.
        """
        self.write()
        return self._page.sums(since)

    def forget(self, *, cells: int, lost: int, sums: int) -> None:
        """
        Drop cells that ended before the time *cells*, lost holds from before *lost*, sums of days before *sums*.
        """
        self.write()
        self._page.forget(cells=cells, lost=lost, sums=sums)

    def write(self, *then: str) -> None:
        """
        Write what has changed, say *then*, and forget what was read.
        """
        kept = [row_of_hold(each) for key in self._touched if (each := self._kept[key]) is not None]
        gone = [key for key in self._touched if self._kept[key] is None]
        put = [
            (key, *cell[:5], int(cell.warned), limit)
            for key, limit in self._limits.items()
            if (cell := self._cells[key]) is not None
        ]
        added = [(each.day, *each.tags, *each[2:]) for each in self._sums.values()]
        with self._db.pipeline():
            self._begun()
            if gone:
                self._db.execute(_DROP, (gone,))
            for text, rows in ((_KEEP, kept), (_PUT, put), (_ADD, added)):
                if rows:
                    self._db.execute(text, _columns(rows))
            for text in then:
                self._db.execute(text.encode())
        self._cells, self._kept, self._limits, self._touched, self._sums = {}, {}, {}, set(), {}

    def _begun(self) -> None:
        begin, self._begin = self._begin, ()
        for text in begin:
            self._db.execute(text)

    def _run(self, text: str, values: Sequence[object]) -> Any:
        self._begun()
        return self._db.execute(text.replace("?", "%s").encode(), values)


def _columns(rows: Iterable[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]
