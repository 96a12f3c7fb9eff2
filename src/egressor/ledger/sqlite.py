"""
A ledger in an SQLite file, for any number of processes of one host.

*Durable.* What `append` has returned for is on the disk: the rollback journal with ``synchronous=FULL``, of which a
crash of the process or of the machine leaves all or nothing. Not WAL: SQLite before 3.51.3 can lose committed pages of
a WAL that several connections write (its "WAL-reset bug"), and a ledger, which is written a few times a minute, has
nothing to win by it. A file that somebody else has switched to WAL stays so; the lock in front makes that safe, too.

*Bounded.* A connection lives for one piece of work. So a fork, a file that is moved away, a disk that comes back find
nothing stale; it costs a millisecond on a thread that nobody waits for. A turn waits 2 s for other processes, and 1 s
for whoever has the file open without asking for a turn; then the ledger is away for now.
"""

from __future__ import annotations

import os
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from . import KEEP_FOR, KEEP_MOST, LedgerAway, Pick, Tally
from .folding import KEEP_ERRORS
from .lock import turn
from .money_sql import SqlPage
from .sql import (
    CROWDED,
    DROP,
    FOLD,
    INSERT,
    MIGRATIONS,
    PRUNED,
    TALLY,
    entry_of,
    fold_of,
    migrate,
    oldest_errors,
    row_of,
    selection,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from sqlite3 import Connection

    from .entry import Entry
    from .money import Page

__all__ = ["SqliteLedger"]

_BUSY = 1.0
_PIECE = 1_000
_T = TypeVar("_T")


class SqliteLedger:
    """
    A ledger in the file at *path*, which is made at the first entry, readable by this user only.

    Args:
        path: The file; its folder must be there.
        keep_for: How long an entry is kept, in microseconds. Default: a year.
        keep_most: How many are kept. Default: 1,000,000.
        keep_errors: How many failures are kept of each service, about. Default: 2,000.
        migrations: The schema, version by version.
    """

    name = "sqlite"
    is_durable = True

    def __init__(
        self,
        path: Path,
        *,
        keep_for: int = KEEP_FOR,
        keep_most: int = KEEP_MOST,
        keep_errors: int = KEEP_ERRORS,
        migrations: Sequence[Sequence[str]] = MIGRATIONS,
    ) -> None:
        self.path = path
        self._lock = path.with_name(path.name + ".lock")
        self._keep_for = keep_for
        self._keep_most = keep_most
        self._keep_errors = keep_errors
        # How many were too many, when so many had been dropped.
        self._excess = (0, 0)
        self._migrations = migrations

    def append(self, entries: Sequence[Entry]) -> int:
        """
        Keep *entries*, all or none, and return how many were new.

        Raises:
            LedgerAway: The file can't be written now: the message says why.
        """
        with self._turn() as db, _transaction(db):
            before = db.total_changes
            db.executemany(INSERT, [row_of(entry) for entry in entries])
            return db.total_changes - before

    def read(self, pick: Pick) -> list[Entry]:
        """
        Return the entries that are asked for.

        Raises:
            LedgerAway: The file can't be read now.
        """
        if not self.path.exists():
            return []
        text, values = selection(pick)
        with self._turn() as db:
            rows = db.execute(text, values).fetchall()
        # Others need not wait while they are read.
        return [entry_of(row) for row in rows]

    def retain(self, keep_for: int, keep_most: int) -> None:
        """
        From now on keep entries for *keep_for* microseconds, and *keep_most* of them.
        """
        self._keep_for = keep_for
        self._keep_most = keep_most
        self._excess = (0, 0)

    def prune(self, now: int) -> int:
        """
        Drop the oldest thousand of what is beyond the retention at *now*, or what there is of it, and fold failures.

        Raises:
            LedgerAway: The file can't be written now.
        """
        with self._turn() as db, _transaction(db):
            dropped = db.execute(DROP[0], (now - self._keep_for, _PIECE)).rowcount
            excess = self._excess_of(db, dropped)
            more = max(0, min(excess, _PIECE - dropped))
            if more:
                dropped += db.execute(DROP[1], (more,)).rowcount
            if dropped:
                db.execute(DROP[2], (dropped,))
            self._excess = excess - more, db.execute(PRUNED).fetchone()[0]
        # While there is more of it to drop, errors need not be looked through.
        return dropped if dropped >= _PIECE else dropped + self._fold()

    def _excess_of(self, db: Connection, dropped: int) -> int:
        """
        Return how many entries there are too many, or fewer; *dropped* were a moment ago.

        To count millions of them takes long: as long as nobody else has dropped any, what is left of the last count
        is too many still.
        """
        excess, pruned = self._excess
        if excess > dropped and db.execute(PRUNED).fetchone()[0] == pruned:
            return excess - dropped
        return int(db.execute(TALLY).fetchone()[0]) - self._keep_most

    def _fold(self) -> int:
        keep, total = self._keep_errors, 0
        with self._turn() as db, _transaction(db):
            for service, count in db.execute(CROWDED, (keep,)).fetchall():
                changed, gone, dropped = fold_of(db.execute(*oldest_errors(service, count, keep)), keep // 4)
                db.executemany(FOLD[0], changed)
                db.executemany(FOLD[1], gone)
                total += dropped
            if total:
                db.execute(DROP[2], (total,))
        return total

    def tally(self) -> Tally:
        """
        Return what it holds.

        Raises:
            LedgerAway: The file can't be read now.
        """
        if not self.path.exists():
            return Tally(0, 0, None)
        with self._turn() as db:
            return Tally(*db.execute(TALLY).fetchone())

    def money(self, work: Callable[[Page], _T]) -> _T:
        """
        Do *work* on the page of money, in one transaction; it is on the disk when this returns.

        Raises:
            LedgerAway: The file can't be written now.
        """
        with self._turn() as db, _transaction(db):
            return work(SqlPage(db.execute))

    def close(self) -> None:
        """
        Nothing stays open between two pieces of work.
        """

    @contextmanager
    def _turn(self) -> Iterator[Connection]:
        """
        Open the file for one piece of work, with the schema up to date.
        """
        import sqlite3

        with turn(self._lock):
            try:
                with closing(self._connect()) as db:
                    while self._is_behind(db):
                        pass
                    yield db
            except (sqlite3.Error, UnicodeDecodeError) as error:
                # SQLite's own words name tables and causes ("database or disk is full"), never a value. Python's own,
                # which have no code, quote the text that it can't read.
                said = error if hasattr(error, "sqlite_errorcode") else "its text is none"
                msg = f"{self.path.name}: {said}"
                raise LedgerAway(msg) from None
            except OSError as error:
                msg = f"{self.path.name} can't be opened: {error.strerror or type(error).__name__}"
                raise LedgerAway(msg) from None

    def _connect(self) -> Connection:
        import sqlite3

        # Made with its mode, never widened for a moment; SQLite's own files beside it take its mode.
        # One that is there is not touched: to close it would give up the locks that this process has on it.
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        db = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None)
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA fullfsync = ON")  # Only macOS needs it, where fsync stops at the disk's cache.
        return db

    def _is_behind(self, db: Connection) -> bool:
        """
        Take the schema one version further; False if there was nothing to do.
        """
        known = db.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'egressor_ledger'").fetchone()[0]
        if known:
            version = db.execute("SELECT value FROM egressor_ledger WHERE name = 'schema'").fetchone()
            if version is not None and version[0] == len(self._migrations):
                return False
        with _transaction(db):
            return migrate(db.execute, self._migrations, key="TEXT")


@contextmanager
def _transaction(db: Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # A full disk has ended the transaction already.
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
