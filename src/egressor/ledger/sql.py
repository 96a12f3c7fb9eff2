"""
The tables of a ledger, and what is said to them, in the words that SQLite and PostgreSQL share.

*Migrations.* They only go forward, one after the other, each in one transaction with the number that says it is done:
killed at any instant, the schema is the old one or the new one. A statement that has been published never changes; what
must be different is another migration. A ledger whose number is above ours was written by a newer version, and is left
alone: what it means by a column is its business.

*Once.* An entry's id is the primary key, and one that is there already changes nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from . import LedgerAway, Pick
from .entry import Entry
from .folding import fewer
from .grouping import ERROR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "CROWDED",
    "DROP",
    "FOLD",
    "INSERT",
    "MIGRATIONS",
    "PRUNED",
    "TALLY",
    "dumped",
    "entry_of",
    "fold_of",
    "migrate",
    "oldest_errors",
    "row_of",
    "selection",
]

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        (
            "CREATE TABLE egressor_entries (id {key} PRIMARY KEY, at BIGINT NOT NULL, kind TEXT NOT NULL,"
            " service TEXT NOT NULL, what TEXT NOT NULL, who TEXT NOT NULL, data TEXT NOT NULL)"
        ),
        "CREATE INDEX egressor_entries_at ON egressor_entries (at)",
        "CREATE INDEX egressor_entries_service ON egressor_entries (service, id)",
        "INSERT INTO egressor_ledger (name, value) VALUES ('pruned', 0)",
    ),
    (
        (
            "CREATE TABLE egressor_budgets (name {key} PRIMARY KEY, start_at BIGINT NOT NULL, end_at BIGINT NOT NULL,"
            " spent BIGINT NOT NULL, held BIGINT NOT NULL, unknown BIGINT NOT NULL, warned BIGINT NOT NULL,"
            " most BIGINT NOT NULL)"
        ),
        "CREATE INDEX egressor_budgets_end_at ON egressor_budgets (end_at)",
        (
            "CREATE TABLE egressor_holds (id {key} PRIMARY KEY, owner TEXT NOT NULL, at BIGINT NOT NULL,"
            " amount BIGINT NOT NULL, places TEXT NOT NULL, expires_at BIGINT NOT NULL, tags TEXT NOT NULL,"
            " lost BIGINT NOT NULL)"
        ),
        "CREATE INDEX egressor_holds_expires_at ON egressor_holds (lost, expires_at)",
        (
            "CREATE TABLE egressor_spend (day BIGINT NOT NULL, service {key} NOT NULL, model {key} NOT NULL,"
            " feature {key} NOT NULL, person {key} NOT NULL, calls BIGINT NOT NULL, micro_usd BIGINT NOT NULL,"
            " unknown BIGINT NOT NULL, PRIMARY KEY (day, service, model, feature, person))"
        ),
    ),
    # Each period of a budget has a cell of its own. A process of an older version that goes on would count beside them,
    # in cells without a period: so the table has another name, and for that process the ledger is away.
    (
        "UPDATE egressor_budgets SET name = name || '#' || start_at",
        "ALTER TABLE egressor_budgets RENAME TO egressor_periods",
    ),
)
"""
The statements of each version of the schema; ``{key}`` is the type of a text that sorts by its bytes.
"""

INSERT = (
    "INSERT INTO egressor_entries (id, at, kind, service, what, who, data) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (id) DO NOTHING"
)
TALLY = (
    "SELECT (SELECT COUNT(*) FROM egressor_entries), (SELECT value FROM egressor_ledger WHERE name = 'pruned'),"
    " (SELECT MIN(at) FROM egressor_entries)"
)
PRUNED = "SELECT value FROM egressor_ledger WHERE name = 'pruned'"
DROP = (
    "DELETE FROM egressor_entries WHERE id IN (SELECT id FROM egressor_entries WHERE at < ? LIMIT ?)",
    "DELETE FROM egressor_entries WHERE id IN (SELECT id FROM egressor_entries ORDER BY id LIMIT ?)",
    "UPDATE egressor_ledger SET value = value + ? WHERE name = 'pruned'",
)
"""
Drop what is older than a time, so many rows at once; drop the oldest so many; count them.
"""

CROWDED = (
    "SELECT service, COUNT(*) FROM egressor_entries WHERE kind = 'error' AND service <> ''"
    " GROUP BY service HAVING COUNT(*) > ?"
)
"""
The services with more than so many failures, and how many those are.
"""
FOLD = ("UPDATE egressor_entries SET data = ? WHERE id = ?", "DELETE FROM egressor_entries WHERE id = ?")
"""
Let an entry stand for others, too; take one of those away.
"""

_VERSION = "SELECT value FROM egressor_ledger WHERE name = 'schema'"
_BEGIN = (
    "CREATE TABLE IF NOT EXISTS egressor_ledger (name TEXT PRIMARY KEY, value BIGINT NOT NULL)",
    "INSERT INTO egressor_ledger (name, value) VALUES ('schema', 0) ON CONFLICT (name) DO NOTHING",
)
_COLUMNS = "id, at, kind, service, what, who, data"


def migrate(
    run: Callable[[str], Any], migrations: Sequence[Sequence[str]], *, key: str, is_begun: bool = False
) -> bool:
    """
    Take the schema one version further inside of the caller's transaction; False if it is there already.

    Args:
        run: Executes a statement and returns its cursor.
        migrations: The statements of each version.
        key: The type of a text that sorts by its bytes.
        is_begun: Whether the table that knows the version is there. Default: it is made if it is not.

    Raises:
        LedgerAway: A newer version of Egressor has been here.
    """
    for statement in () if is_begun else _BEGIN:
        run(statement)
    version = int(run(_VERSION).fetchone()[0])
    if version > len(migrations):
        msg = f"its schema is {version}, and this version of Egressor knows {len(migrations)}: a newer one wrote it"
        raise LedgerAway(msg)
    if version == len(migrations):
        return False
    for statement in migrations[version]:
        run(statement.format(key=key))
    run(f"UPDATE egressor_ledger SET value = {version + 1} WHERE name = 'schema'")  # noqa: S608 - a number of ours
    return True


def row_of(entry: Entry) -> tuple[object, ...]:
    """
    Return *entry* as a row.
    """
    return (*entry[:-1], dumped(entry.data))


def entry_of(row: Iterable[Any]) -> Entry:
    """
    Return the entry of a row.

    Raises:
        LedgerAway: Somebody else has written it, or the disk is ill.
    """
    key, at, kind, service, what, who, data = row
    try:
        found = json.loads(data)
    except (ValueError, TypeError):
        found = None
    if not isinstance(found, dict):
        msg = f"a row is no entry: {str(key)[:36]!r}"
        raise LedgerAway(msg)
    return Entry(key, at, kind, service, what, who, found)


def fold_of(rows: Iterable[Iterable[Any]], room: int) -> tuple[list[tuple[str, str]], list[tuple[str]], int]:
    """
    Return what `FOLD` is told to do so that *rows*, failures of one service, become at most *room*; and how many of
    them are dropped.
    """
    entries, broken = [], []
    for key, *rest in rows:
        try:
            entries.append(entry_of((key, *rest)))
        except LedgerAway:
            # Nobody can read it, now or later: one of them must not keep all the others.
            broken.append(key)
    changed, folded, dropped = fewer(entries, room)
    gone = [(key,) for key in (*folded, *dropped, *broken)]
    return [(dumped(each.data), each.id) for each in changed], gone, len(dropped) + len(broken)


def oldest_errors(service: str, count: int, keep: int) -> tuple[str, list[object]]:
    """
    Return the query for those of the *count* failures of *service* that are to become fewer, where *keep* are kept.
    """
    return selection(Pick(service, ERROR, limit=count - keep // 2, is_newest=False))


def dumped(data: Any) -> str:
    """
    Return an entry's *data* as a column holds it.
    """
    return json.dumps(data, separators=(",", ":"))


def selection(pick: Pick) -> tuple[str, list[object]]:
    """
    Return the query of *pick*, with its values.
    """
    wanted = [
        ("service = ?", _sayable(pick.service)),
        ("kind = ?", _sayable(pick.kind)),
        ("kind <> ?", _sayable(pick.without)),
        ("at >= ?", pick.since),
        ("id > ?", _after(pick.after)),
    ]
    given = [(condition, value) for condition, value in wanted if value]
    where = f" WHERE {' AND '.join(condition for condition, _ in given)}" if given else ""
    order = "DESC" if pick.is_newest else "ASC"
    text = f"SELECT {_COLUMNS} FROM egressor_entries{where} ORDER BY id {order} LIMIT ?"  # noqa: S608 - words of ours
    return text, [*(value for _, value in given), pick.limit]


def _sayable(text: str) -> str:
    # No entry holds what a database can't be asked for.
    return text.encode(errors="replace").decode().replace("\0", "?")


def _after(text: str) -> str:
    # Behind the first of all characters nothing orders any more; one above all that ids have stays above them.
    return text.partition("\0")[0].encode(errors="surrogatepass").decode(errors="replace")
