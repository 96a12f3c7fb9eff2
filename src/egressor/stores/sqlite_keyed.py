"""
Cells of which there is one for each value of a scope: rows of their own, brought into the state for one exchange.

Only the rows that a request names are read and written, so an exchange costs the same among a million users. When a
member has died, the rows at which somebody holds or waits are read, too: it may be one of them. A row on which nothing
depends any more is dropped by whoever makes another one, two at a time, and some at every pause.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from egressor._core.limits import Concurrency

from .sqlite_rows import as_key, as_name, as_number, as_shared, as_value, end_of, from_shared, is_hot, limits_of

if TYPE_CHECKING:
    from sqlite3 import Connection

    from egressor._core.fleet_model import Part, Request
    from egressor._core.limits import Algorithm

    from .sqlite_rows import Hot

__all__ = ["bring", "every", "has_dead", "is_light", "keep", "prune"]

_FIND = "SELECT value, shared, until FROM cells WHERE service = ? AND name = ?"
_SHARED = "SELECT name, value, shared, until FROM cells WHERE service = ? AND shared IS NOT NULL"
_ALL = "SELECT name, value, shared FROM cells WHERE service = ? LIMIT ?"
_NEW = "INSERT OR REPLACE INTO cells VALUES (?, ?, ?, ?, ?)"
_VALUE = "UPDATE cells SET value = ? WHERE service = ? AND name = ?"
_DROP = "DELETE FROM cells WHERE service = ? AND name = ?"
_PRUNE = (
    "DELETE FROM cells WHERE (service, name) IN"
    " (SELECT service, name FROM cells WHERE until <= ? AND shared IS NULL LIMIT ?)"
)
Rows = dict[str, tuple[bytes, int | None, str | None, int]]
"""
By cell: its key, its value (None: there was no row), its places and waiters, its end; as they were read.
"""


def is_light(hot: Hot, request: Request, now: int) -> bool:
    """
    Whether an exchange touches nothing but the service's text; then all is brought that it may touch.
    """
    if request.standing is not None or request.version != hot.state.version:
        return False
    parts = _all_it_names(request)
    if parts and parts is hot.plain[0] and now < hot.plain[1]:
        return True
    if has_dead(hot, now):
        return False
    until = min([member.until for member in hot.state.members.values()], default=0)
    for cell, limit in limits_of(request):
        if not is_hot(cell):
            return False
        _extend(hot, cell, limit, now)
        if limit is not None and type(limit) is not Concurrency:
            until = min(until, hot.ends[cell] - limit.horizon)
    hot.plain = parts, until
    return True


def _all_it_names(request: Request) -> tuple[Part, ...]:
    """
    Return the parts of *request*'s only want, where it names nothing else, nor do backs other cells: mostly so.
    """
    if request.places or request.backs or request.tops or request.left or len(request.wants) != 1:
        return ()
    return request.wants[0].parts


def has_dead(hot: Hot, now: int) -> bool:
    """
    Whether a member has died that nobody has buried yet.
    """
    return any(member.until <= now for member in hot.state.members.values())


def bring(db: Connection, hot: Hot, request: Request, now: int) -> Rows:
    """
    Bring the rows that an exchange may touch into the state.
    """
    rows: Rows = {}
    for cell, limit in limits_of(request):
        if is_hot(cell):
            _extend(hot, cell, limit, now)
        elif cell not in rows:
            key = as_key(cell)
            row = db.execute(_FIND, (hot.number, key)).fetchone()
            rows[cell] = (key, None, None, 0) if row is None else (key, as_number(row[0]), row[1], row[2])
    if has_dead(hot, now):
        keys = {row[0] for row in rows.values()}
        for key, value, shared, until in db.execute(_SHARED, (hot.number,)).fetchall():
            if key not in keys:
                rows[as_name(key)] = key, as_number(value), shared, until
    for cell, (_, number, shared, _) in rows.items():
        _put(hot, cell, number or 0, shared)
    return rows


def keep(db: Connection, hot: Hot, request: Request, rows: Rows, now: int) -> None:
    """
    Take the rows out of the state again, and write those that have changed.
    """
    if not rows:
        return
    state = hot.state
    limits = {cell: limit for cell, limit in limits_of(request) if limit is not None}
    fresh = 0
    for cell, (key, was, shared_was, until_was) in rows.items():
        value = state.cells.pop(cell, 0)
        shared = as_shared(state.held.pop(cell, {}), state.waits.pop(cell, {}))
        limit, until = limits.get(cell), until_was
        if limit is not None and type(limit) is not Concurrency and until < now + limit.horizon:
            until = end_of(limit, now)
        if value == (was or 0) and shared == shared_was:
            continue
        if not value and shared is None:
            db.execute(_DROP, (hot.number, key))
        elif was is not None and shared == shared_was and until == until_was:
            db.execute(_VALUE, (as_value(value), hot.number, key))
        else:
            db.execute(_NEW, (hot.number, key, as_value(value), shared, until))
            fresh += was is None
    if fresh:
        prune(db, now, 2 * fresh)


def prune(db: Connection, now: int, most: int) -> None:
    """
    Drop as many rows as *most* on which nothing depends any more.
    """
    db.execute(_PRUNE, (now, most))


def every(db: Connection, hot: Hot, most: int) -> None:
    """
    Bring every row into the state, or as many as *most*, to be looked at.
    """
    for key, value, shared in db.execute(_ALL, (hot.number, most)):
        _put(hot, as_name(key), as_number(value), shared)


def _extend(hot: Hot, cell: str, limit: Algorithm | None, now: int) -> None:
    if limit is not None and type(limit) is not Concurrency and hot.ends.get(cell, 0) < now + limit.horizon:
        hot.ends[cell] = end_of(limit, now)


def _put(hot: Hot, cell: str, value: int, shared: str | None) -> None:
    state = hot.state
    if value:
        state.cells[cell] = value
    if shared is not None:
        held, waits = from_shared(shared)
        if held:
            state.held[cell] = held
        if waits:
            state.waits[cell] = waits
