"""
A page of money in PostgreSQL, where every question is a way to the server and back.

It reads what it is told to expect with one question, remembers what it has read, and writes all that has changed at the
end, together with the commit. So a transaction goes that way twice, be it for one call or for five hundred.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .money_sql import CELL, KEPT, SqlPage, row_of_hold

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .money import Sum, Tags
    from .wire import Connection

__all__ = ["BatchPage"]

_HOLDS: Final = f"SELECT {KEPT} FROM egressor_holds WHERE id = ANY(%s::text[])"  # noqa: S608 - words of ours
_CELLS: Final = f"SELECT name, {CELL} FROM egressor_periods WHERE name = ANY(%s::text[])"  # noqa: S608 - likewise
_DROP: Final = "DELETE FROM egressor_holds WHERE id = ANY(%s::text[])"
_KEEP: Final = (
    f"INSERT INTO egressor_holds ({KEPT}) SELECT * FROM"  # noqa: S608 - likewise
    " unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::text[], %s::bigint[], %s::text[], %s::bigint[])"
    " ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, at = excluded.at, amount = excluded.amount,"
    " places = excluded.places, expires_at = excluded.expires_at, tags = excluded.tags, lost = excluded.lost"
)
_PUT: Final = (
    f"INSERT INTO egressor_periods (name, {CELL}, most) SELECT * FROM"  # noqa: S608 - likewise
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


class BatchPage(SqlPage):
    """
    The money of a ledger inside of a transaction of *db*.

    Args:
        db: The connection.
        known: Days and tags of sums that were there before; this adds those that it meets.
        begin: What begins the transaction; it is said together with the first question, or at the end if there is none,
            as others wait from then on.
    """

    def __init__(self, db: Connection, known: set[tuple[int, Tags]], begin: Sequence[bytes] = ()) -> None:
        super().__init__(self._execute)
        self._db = db
        self._known = known
        self._begin = begin

    def expect(self, ids: Sequence[str], keys: Sequence[str]) -> None:
        """
        Read the holds and the cells that will be asked for, with one question; with none if all of them are known.
        """
        ids = [key for key in ids if key not in self._holds]
        keys = [key for key in keys if key not in self._cells]
        if not (ids or keys):
            return
        with self._db.pipeline():
            self._begun()
            holds = self._db.execute(_HOLDS, (ids,))
            cells = self._db.execute(_CELLS, (keys,))
        self._read(ids, holds.fetchall(), keys, cells.fetchall())

    def add(self, each: Sum, most: int) -> bool:
        """
        As `SqlPage.add`; a sum that is known to be there is added to at the end.
        """
        key = (each.day, each.tags)
        if key in self._known:
            self._sums.setdefault(key, [0, 0, 0])
        if not super().add(each, most):
            return False
        self._known.add(key)
        return True

    def flush(self, *then: str) -> None:
        """
        Write what is yet to be written, and say *then*.
        """
        put, changed, sums = self._put, self._changed, self._sums
        self._put, self._changed, self._sums = {}, set(), {}
        kept = [row_of_hold(each) for key in changed if (each := self._holds[key]) is not None]
        gone = [key for key in changed if self._holds[key] is None]
        cells = [(key, *cell[:5], int(cell.warned), most) for key, (cell, most) in put.items()]
        added = [(day, *tags, *more) for (day, tags), more in sums.items() if any(more)]
        with self._db.pipeline():
            self._begun()
            if gone:
                self._db.execute(_DROP, (gone,))
            for text, rows in ((_KEEP, kept), (_PUT, cells), (_ADD, added)):
                if rows:
                    self._db.execute(text, _columns(rows))
            for text in then:
                self._db.execute(text.encode())

    def _begun(self) -> None:
        begin, self._begin = self._begin, ()
        for text in begin:
            self._db.execute(text)

    def _execute(self, text: str, values: Sequence[object]) -> Any:
        self._begun()
        return self._db.execute(text.replace("?", "%s").encode(), values)


def _columns(rows: Iterable[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]
