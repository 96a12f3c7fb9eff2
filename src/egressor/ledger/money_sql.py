"""
A page of money in tables, in the words that SQLite and PostgreSQL share.

What a transaction does to cells, holds and sums is gathered, and written at its end: fifty calls that share a budget
write its cell once. Each statement also costs a thread its turn at Python's lock, so rows go several at a time.
"""

from __future__ import annotations

import json
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from egressor._core.budget import Cell, Hold, Place

from . import LedgerAway
from .money import PERIODS_KEPT, Budget, Kept, Sum, Tags
from .sql import dumped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["CELL", "KEPT", "Read", "SqlPage", "cell_of", "kept_of", "row_of_hold"]

CELL: Final = "start_at, end_at, spent, held, unknown, warned"
"""
The columns of a cell.
"""

KEPT: Final = "id, owner, at, amount, places, expires_at, tags, lost"
"""
The columns of a hold.
"""

_PUT: Final = (
    f"INSERT INTO egressor_periods (name, {CELL}, most) VALUES"  # noqa: S608 - words of ours
    " {rows} ON CONFLICT (name) DO UPDATE SET spent = excluded.spent, held = excluded.held,"
    " unknown = excluded.unknown, warned = excluded.warned, most = excluded.most"
)
# Apart, as it writes to the index of their ends, too, changed or not.
_MOVE: Final = f"{_PUT}, start_at = excluded.start_at, end_at = excluded.end_at"
_CELLS: Final = f"SELECT name, {CELL} FROM egressor_periods WHERE name IN {{rows}}"  # noqa: S608 - likewise
_KEEP: Final = (
    f"INSERT INTO egressor_holds ({KEPT}) VALUES"  # noqa: S608 - likewise
    " {rows} ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, at = excluded.at, amount = excluded.amount,"
    " places = excluded.places, expires_at = excluded.expires_at, tags = excluded.tags, lost = excluded.lost"
)
_FIND: Final = f"SELECT {KEPT} FROM egressor_holds WHERE id IN {{rows}}"  # noqa: S608 - likewise
_DROP: Final = "DELETE FROM egressor_holds WHERE id IN {rows}"
# How many rows a statement may have: few numbers, so that the same texts come again and stay compiled.
_SIZES: Final = (64, 16, 8, 4, 3, 2, 1)
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
    # Divided, as the end of a budget that never renews is too large to be multiplied.
    f"DELETE FROM egressor_periods WHERE end_at < ? AND end_at - start_at < (? - end_at) / {PERIODS_KEPT}",  # noqa: S608 - a number of ours
    "DELETE FROM egressor_holds WHERE lost = 1 AND expires_at < ?",
    "DELETE FROM egressor_spend WHERE day < ?",
)


class Read(NamedTuple):
    """
    What was read of cells and holds, by name; None for what is not there.
    """

    cells: dict[str, Cell | None]
    holds: dict[str, Kept | None]


class SqlPage:
    """
    The money of a ledger inside of a transaction.

    Args:
        run: Executes a statement with its values, and returns its cursor.
        read: What is known to stand there, by name: cells, and holds; None for what does not. It is kept up to date.
    """

    def __init__(self, run: Callable[[str, Sequence[object]], Any], read: Read | None = None) -> None:
        self._run = run
        # What was read or changed; and of that, what is yet to be written.
        self._cells, self._holds = read or Read({}, {})
        self._put: dict[str, tuple[Cell, int]] = {}
        # Whose period is another than before.
        self._moved: set[str] = set()
        self._changed: set[str] = set()
        self._sums: dict[tuple[int, Tags], list[int]] = {}

    def flush(self) -> None:
        """
        Write what is yet to be written.
        """
        put, moved, changed, sums = self._put, self._moved, self._changed, self._sums
        self._put, self._moved, self._changed, self._sums = {}, set(), set(), {}
        rows = {key: (key, *cell[:5], int(cell.warned), most) for key, (cell, most) in put.items()}
        self._many(_MOVE, [rows.pop(key) for key in moved])
        self._many(_PUT, list(rows.values()))
        kept = [(key, self._holds[key]) for key in changed]
        self._many(_KEEP, [row_of_hold(each) for _, each in kept if each is not None])
        gone = [(key,) for key, each in kept if each is None]
        self._many(_DROP, gone)
        for (key,) in gone:
            del self._holds[key]
        for (day, tags), more in sums.items():
            if any(more):
                self._run(_ADD, (*more, day, *tags))

    def _many(self, text: str, rows: Sequence[Sequence[object]]) -> list[Sequence[Any]]:
        """
        Execute *text* for all of *rows*, and return what it finds. Lists of names are rows of one.
        """
        found: list[Sequence[Any]] = []
        done = 0
        for size in _SIZES:
            while len(rows) - done >= size:
                some = rows[done : done + size]
                done += size
                cursor = self._run(_text(text, size, len(some[0])), tuple(chain.from_iterable(some)))
                if text.startswith("SELECT"):
                    found += cursor.fetchall()
        return found

    def _forget_read(self) -> None:
        self.flush()
        self._cells.clear()
        self._holds.clear()

    def cells(self, keys: Sequence[str]) -> dict[str, Cell]:
        """
        Return those of the cells that there are, by name.
        """
        if any(key not in self._cells for key in keys):
            self.expect((), keys)
        return {key: cell for key in keys if (cell := self._cells[key]) is not None}

    def put(self, cells: Mapping[str, Cell], limits: Mapping[str, int]) -> None:
        """
        Keep *cells*, which come by name, with the limits of their budgets.
        """
        for key, cell in cells.items():
            before = self._cells.get(key)
            if before is None or before[:2] != cell[:2]:
                self._moved.add(key)
        self._cells.update(cells)
        self._put.update({key: (cell, limits[key]) for key, cell in cells.items()})

    def expect(self, ids: Sequence[str], keys: Sequence[str]) -> None:
        """
        Read the holds and the cells that will be asked for, together.
        """
        # What was read before may have changed here since.
        ids = [key for key in ids if key not in self._holds]
        keys = [key for key in keys if key not in self._cells]
        self._read(ids, self._many(_FIND, [(key,) for key in ids]), keys, self._many(_CELLS, [(key,) for key in keys]))

    def _read(
        self, ids: Sequence[str], holds: Iterable[Sequence[Any]], keys: Sequence[str], cells: Iterable[Sequence[Any]]
    ) -> None:
        self._holds |= {**dict.fromkeys(ids), **{row[0]: kept_of(row) for row in holds}}
        self._cells |= {**dict.fromkeys(keys), **{row[0]: cell_of(row[1:]) for row in cells}}

    def kept(self, key: str) -> Kept | None:
        """
        Return the hold with this id, if it is there.
        """
        if key not in self._holds:
            self.expect((key,), ())
        return self._holds[key]

    def keep(self, kept: Kept) -> None:
        """
        Keep a hold; one with the same id is replaced.
        """
        self._holds[kept.id] = kept
        self._changed.add(kept.id)

    def drop(self, key: str) -> None:
        """
        Take away the hold with this id.
        """
        self._holds[key] = None
        self._changed.add(key)

    def overdue(self, now: int) -> list[Kept]:
        """
        Return holds whose time is over at *now* and that are not lost yet, a thousand at most.
        """
        self.flush()
        text = f"SELECT {KEPT} FROM egressor_holds WHERE lost = 0 AND expires_at <= ? ORDER BY id LIMIT 1000"  # noqa: S608
        found = [kept_of(row) for row in self._run(text, (now,)).fetchall()]
        self._holds |= {kept.id: kept for kept in found}
        self.expect((), sorted({place.cell for kept in found for place in kept.hold.places}))
        return found

    def extend(self, owner: str, until: int) -> None:
        """
        Let the holds of *owner* that are not lost last until *until*.
        """
        self._forget_read()
        self._run("UPDATE egressor_holds SET expires_at = ? WHERE owner = ? AND lost = 0", (until, owner))

    def add(self, each: Sum, most: int) -> bool:
        """
        Add *each* to the sum of its day and tags, and return true; false if there is no such sum yet, and *most* of
        its day and service.
        """
        more = self._sums.get((each.day, each.tags))
        if more is not None:
            self._sums[each.day, each.tags] = [a + b for a, b in zip(more, each[2:], strict=True)]
            return True
        row = (*each[2:], each.day, *each.tags)
        if not self._run(_ADD, row).rowcount:
            if self._run(_COUNT, (each.day, each.tags.service)).fetchone()[0] >= most:
                return False
            self._run(_BEGIN, row)
        self._sums[each.day, each.tags] = [0, 0, 0]
        return True

    def budgets(self) -> list[Budget]:
        """
        Return all cells, by key and period.
        """
        self.flush()
        rows = self._run(f"SELECT name, most, {CELL} FROM egressor_periods", ())  # noqa: S608 - words of ours
        # A cell's name is its budget's and its beginning.
        return sorted(Budget(name.rpartition("#")[0], cell_of(cell), most) for name, most, *cell in rows.fetchall())

    def nearest(self, service: str, *, now: int, most: int) -> tuple[list[Budget], int]:
        """
        Return the budgets of *service*, or of all if it is empty, in their periods at *now*: those nearest to their
        limit first, *most* at most; and how many there are.
        """
        self.flush()
        where = "start_at <= ? AND end_at > ?"
        values: list[object] = [now, now]
        if service:
            where += " AND substr(name, 1, ?) IN (?, ?)"
            values += [len(service) + 1, f"{service}/", f"{service}["]
        text = f"SELECT name, most, {CELL} FROM egressor_periods WHERE {where}"  # noqa: S608
        rows = self._run(f"{text} ORDER BY (spent + held) * 1.0 / most DESC, name LIMIT ?", (*values, most)).fetchall()
        count = self._run(f"SELECT COUNT(*) FROM egressor_periods WHERE {where}", values).fetchone()[0]  # noqa: S608
        return [Budget(name.rpartition("#")[0], cell_of(cell), limit) for name, limit, *cell in rows], count

    def sums(self, since: int) -> list[Sum]:
        """
        Return the sums of the day *since* and of later ones, by day and tags.
        """
        self.flush()
        text = (
            "SELECT day, service, model, feature, person, calls, micro_usd, unknown FROM egressor_spend"
            " WHERE day >= ? ORDER BY day, service, model, feature, person"
        )
        return [Sum(row[0], Tags(*row[1:5]), *row[5:]) for row in self._run(text, (since,)).fetchall()]

    def forget(self, *, cells: int, lost: int, sums: int) -> None:
        """
        Drop cells that ended before the time *cells*, by more than `PERIODS_KEPT` times as long as they lasted; lost
        holds from before *lost*; sums of days before *sums*.
        """
        self._forget_read()
        for text, values in zip(_FORGET, ((cells, cells), (lost,), (sums,)), strict=True):
            self._run(text, values)


@cache
def _text(text: str, rows: int, columns: int) -> str:
    row = ", ".join(["?"] * columns)
    each = f"({row})" if columns > 1 else row
    listed = ", ".join([each] * rows)
    return text.format(rows=listed if columns > 1 else f"({listed})")


def row_of_hold(kept: Kept) -> tuple[object, ...]:
    """
    Return the columns `KEPT` of a hold.
    """
    hold = kept.hold
    told = dumped(hold.places), hold.expires_at, dumped(kept.tags), int(kept.is_lost)
    return (kept.id, kept.owner, kept.at, hold.amount, *told)


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
