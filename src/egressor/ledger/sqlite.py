"""
A ledger in an SQLite file, for any number of processes of one host.

*Durable.* What `append` has returned for is on the disk: a WAL with ``synchronous=FULL``, of which a crash of the
process or of the machine leaves all or nothing. Money may be kept without waiting for the disk: then a killed process
still loses nothing, and a power cut takes what came since the last transaction that did wait, and nothing else.

*WAL needs care.* SQLite before 3.51.3 can lose committed pages of a WAL that several connections write (its "WAL-reset
bug"): here all of that happens behind one lock. A file that is moved away leaves its WAL behind: whoever notices brings
what it holds into the moved one, and whoever makes a new file removes it, so that it is not taken for the new one's.

*Open.* To open the file takes longer than a turn, so it stays open, for one thread at a time. Each turn looks whether
it is still the one at the path, and whether somebody has changed the schema; after an error it is opened anew. A fork
closes it first: what SQLite knows of its locks would be untrue in the child.

*Bounded.* A turn waits 2 s for other processes, and 1 s for whoever has the file open without asking for a turn; then
the ledger is away for now. Who has less patience waits no longer than that for either.
"""

from __future__ import annotations

import os
import time
import zlib
from contextlib import contextmanager, suppress
from threading import RLock
from typing import TYPE_CHECKING, TypeVar

from egressor._host.boot import boot_id
from egressor._host.fork import heed, leak
from egressor._host.lock import Latch, LockAway
from egressor._host.place import is_remote

from . import KEEP_FOR, KEEP_MOST, LedgerAway, Pick, Tally
from .aging import WRITTEN, aged, monotonic
from .folding import KEEP_ERRORS
from .money_sql import Read, SqlPage
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
_PATIENCE = 2.0
# From how many pages on its log is brought to the disk.
_LONG = 4000
_PRAGMAS = (
    "synchronous = FULL",
    "fullfsync = ON",  # Only macOS needs it, where fsync stops at the disk's cache.
    "checkpoint_fullfsync = ON",
    f"wal_autocheckpoint = {_LONG}",
    "journal_size_limit = 16777216",
)
_TOUCH = "UPDATE egressor_ledger SET value = value WHERE name = 'schema'"
_AGE = "SELECT name, value FROM egressor_ledger WHERE name IN ('age', 'age_at', 'age_boot')"
_PUT_AGE = (
    "INSERT INTO egressor_ledger (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
_OLDEST = (
    "SELECT MIN(at) FROM (SELECT MIN(at) AS at FROM egressor_entries"
    " UNION SELECT MIN(day) * 86400000000 FROM egressor_spend)"
)
_PIECE = 1_000
# Cells and holds that are known at most.
_REMEMBERED = 10_000
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
        mono: Monotonic time, in microseconds, which all processes of a boot share.
        boot: Which boot this is. Default: as the system says.
    """

    name = "sqlite"
    is_durable = True
    is_at_hand = True

    def __init__(
        self,
        path: Path,
        *,
        keep_for: int = KEEP_FOR,
        keep_most: int = KEEP_MOST,
        keep_errors: int = KEEP_ERRORS,
        migrations: Sequence[Sequence[str]] = MIGRATIONS,
        mono: Callable[[], int] = monotonic,
        boot: str | None = None,
    ) -> None:
        self.path = path
        self._mono = mono
        self._boot = boot_id() if boot is None else boot
        self._name = str(path)
        self._keep_for = keep_for
        self._keep_most = keep_most
        self._keep_errors = keep_errors
        # How many were too many, when so many had been dropped.
        self._excess = (0, 0)
        self._migrations = migrations
        self._begin()
        heed(self)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._alone = RLock()
        self._is_busy = False
        self._latch = Latch(self.path.with_name(self.path.name + ".lock"))
        self._db: Connection | None = None
        self._file = (0, 0)
        self._schema = -1
        self._is_full = True
        self._is_kept_short = True
        # What is known of money, since a version of the file's data.
        self._read: Read | None = None
        self._version = -1
        # In milliseconds, as SQLite counts them.
        self._busy = 0

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

    def read(self, pick: Pick, *, patience: float | None = None) -> list[Entry]:
        """
        Return the entries that are asked for, after *patience* seconds at most in which others' locks hold it up.

        Raises:
            LedgerAway: The file can't be read now.
        """
        if not self.path.exists():
            return []
        text, values = selection(pick)
        with self._turn(patience=patience) as db:
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

    def proven(self, now: int) -> int:
        """
        Return up to when it may forget, as a clock says *now*.

        Raises:
            LedgerAway: The file can't be written now.
        """
        with self._turn() as db, _transaction(db):
            at, boot = self._mono(), zlib.crc32(self._boot.encode())
            known = dict(db.execute(_AGE).fetchall())
            before = known.get("age_at", 0) if known.get("age_boot") == boot else 0
            # Of another boot nobody knows how long ago it was: as long at least as this one lasts.
            lived = at - before if at >= before else at
            age = known.get("age")
            if age is None:
                # What is there since before it had an age may be forgotten in due time.
                oldest = db.execute(_OLDEST).fetchone()[0]
                age, lived = max(WRITTEN, now if oldest is None else min(now, oldest)), 0
            age = aged(age, lived, now)
            db.executemany(_PUT_AGE, [("age", age), ("age_at", at), ("age_boot", boot)])
            return min(now, age)

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

    def tally(self, *, patience: float | None = None) -> Tally:
        """
        Return what it holds, after *patience* seconds at most in which others' locks hold it up.

        Raises:
            LedgerAway: The file can't be read now.
        """
        if not self.path.exists():
            return Tally(0, 0, None)
        with self._turn(patience=patience) as db:
            return Tally(*db.execute(TALLY).fetchone())

    def money(self, work: Callable[[Page], _T], *, at_once: bool = True, patience: float | None = None) -> _T:
        """
        Do *work* on the page of money, in one transaction. It is on the disk when this returns; without *at_once* that
        is left to the system, until the next one with it. Others' locks hold it up for *patience* seconds at most.

        Raises:
            LedgerAway: The file can't be written now.
        """
        with self._turn(at_once=at_once, patience=patience) as db, self._paged(db) as page:
            found = work(page)
            page.flush()
            if at_once:
                # What changes nothing would be no reason to bring anything to the disk.
                db.execute(_TOUCH)
            return found

    def money_nowait(self, work: Callable[[Page], _T]) -> _T:
        """
        Do *work* as `money` does without *at_once*, if nobody else is at the file, and it is open.

        The log is not brought to the disk however long it is: the next turn of another kind does that. The first turn
        after that begins the log anew, and SQLite syncs its head then.

        Raises:
            LedgerAway: Somebody is at it, and *work* was not begun; or the file can't be written now.
        """
        with self._turn(at_once=False, patience=0.0, is_open=True) as db, self._paged(db, is_open=True) as page:
            found = work(page)
            page.flush()
            return found

    @contextmanager
    def _paged(self, db: Connection, *, is_open: bool = False) -> Iterator[SqlPage]:
        """
        Open the page of money in a transaction; what it has read, and the schema of a file that *is_open*, stay true
        until somebody else writes to the file.
        """
        read, known, self._read = self._read, self._version, None
        with _transaction(db):
            version = db.execute("PRAGMA data_version").fetchone()[0]
            if is_open and version != known and self._schema_of(db) != self._schema:
                raise LedgerAway(self._has_to_be_opened())
            if read is None or version != known or len(read.cells) + len(read.holds) > _REMEMBERED:
                read = Read({}, {})
            yield SqlPage(db.execute, read)
        self._read, self._version = read, version

    def moved_at(self) -> float:
        """
        Return when another process was last seen to have a turn, in seconds of monotonic time; 0 for never.
        """
        return self._latch.passed

    def close(self) -> None:
        """
        Close the file; a later call opens it again.
        """
        if self._pid == os.getpid():
            with self._alone:
                if not self._is_busy:
                    self._let_go()
                    self._latch.close()

    @contextmanager
    def _turn(
        self, *, at_once: bool = True, patience: float | None = None, is_open: bool = False
    ) -> Iterator[Connection]:
        """
        Lend the file for one piece of work, with nobody else at it and the schema up to date; if it *is_open* already,
        and then without a look at how long its log is.
        """
        if self._pid != os.getpid():
            self._abandon()
        end = None if patience is None else time.monotonic() + patience
        # A fork within the turn puts another in its place.
        alone = self._alone
        if not alone.acquire(timeout=-1 if patience is None else patience):
            msg = f"{self.path.name} has kept this process waiting for {patience:.1g} s"
            raise LedgerAway(msg)
        try:
            if self._is_busy:
                msg = f"{self.path.name} is busy with what a signal has interrupted"
                raise LedgerAway(msg)
            self._is_busy = True
            try:
                self._latch.take(patience=_PATIENCE if end is None else max(0.0, end - time.monotonic()))
                with self._told():
                    if is_open and (self._db is None or not self._is_current()):
                        raise LedgerAway(self._has_to_be_opened())
                    db = self._db if is_open and self._db is not None else self._opened(end)
                    if is_open:
                        self._let_wait(db, end)
                    if is_open is self._is_kept_short:
                        db.execute(f"PRAGMA wal_autocheckpoint = {0 if is_open else _LONG}")
                        self._is_kept_short = not is_open
                    if at_once != self._is_full:
                        db.execute(f"PRAGMA synchronous = {'FULL' if at_once else 'NORMAL'}")
                        self._is_full = at_once
                    yield db
            except LockAway as error:
                raise LedgerAway(str(error)) from None
            finally:
                self._latch.give()
                self._is_busy = False
        finally:
            alone.release()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """
        Say of what goes wrong that the ledger is away, and why; the file is opened anew then.
        """
        import sqlite3

        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._let_go()
            # SQLite's own words name tables and causes ("database or disk is full"), never a value. Python's own,
            # which have no code, quote the text that it can't read.
            said = error if hasattr(error, "sqlite_errorcode") else "its text is none"
            msg = f"{self.path.name}: {said}"
            raise LedgerAway(msg) from None
        except OSError as error:
            self._let_go()
            msg = f"{self.path.name} can't be opened: {error.strerror or type(error).__name__}"
            raise LedgerAway(msg) from None
        except BaseException:
            self._let_go()
            raise

    def _opened(self, end: float | None) -> Connection:
        """
        Return the file, open and of this schema; SQLite waits for others' locks till *end*, or for its usual time.
        """
        if self._db is None or not self._is_current():
            self._let_go()
            self._db = self._connect(_left(end))
        self._let_wait(self._db, end)
        while (schema := self._schema_of(self._db)) != self._schema:
            if not self._is_behind(self._db):
                self._schema = schema
        return self._db

    def _let_wait(self, db: Connection, end: float | None) -> None:
        # Of its own each statement would wait as long as the last turn let it. This one needs no lock itself.
        if (busy := round(_left(end) * 1_000)) != self._busy:
            db.execute(f"PRAGMA busy_timeout = {busy}")
            self._busy = busy

    @staticmethod
    def _schema_of(db: Connection) -> int:
        return int(db.execute("PRAGMA schema_version").fetchone()[0])

    def _has_to_be_opened(self) -> str:
        return f"{self.path.name} has to be opened"

    def _is_current(self) -> bool:
        """
        Whether the file that is open is the one at the path.
        """
        try:
            found = os.stat(self._name)  # noqa: PTH116 - half as long as Path.stat, and on the way of each turn
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == self._file

    def _connect(self, busy: float) -> Connection:
        import sqlite3

        # Made with its mode, never widened for a moment; SQLite's own files beside it take its mode.
        # One that is there is not touched: to close it would give up the locks that this process has on it.
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            # Of one that was here before, and was moved away: they would be taken for the new one's.
            for end in ("-wal", "-shm"):
                self.path.with_name(self.path.name + end).unlink(missing_ok=True)
        db = sqlite3.connect(self.path, timeout=busy, isolation_level=None, check_same_thread=False)
        try:
            self._set_up(db)
            found = self.path.stat()
        except BaseException:
            db.close()
            raise
        self._file = found.st_dev, found.st_ino
        self._busy = round(busy * 1_000)
        return db

    def _set_up(self, db: Connection) -> None:
        import sqlite3

        while self._is_behind(db):
            pass
        # Whoever has it open in another mode goes on in that; shared memory doesn't reach from host to host.
        if not is_remote(self.path):
            with suppress(sqlite3.OperationalError):
                db.execute("PRAGMA journal_mode = WAL").fetchall()
        for pragma in _PRAGMAS:
            db.execute(f"PRAGMA {pragma}").fetchall()

    def _let_go(self) -> None:
        """
        Close the file; one that was moved away gets what the WAL holds, as that stays behind.
        """
        import sqlite3

        db, self._db, self._schema, self._read = self._db, None, -1, None
        # Each connection counts for itself.
        self._version = -1
        self._is_full = self._is_kept_short = True
        if db is not None:
            with suppress(sqlite3.Error):
                if not self._is_current():
                    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            with suppress(sqlite3.Error):
                db.close()

    def __del__(self) -> None:
        # Python complains of a connection that nobody has closed.
        if self._db is not None and self._pid == os.getpid():
            with suppress(Exception):
                self._db.close()

    # --- forks -------------------------------------------------------------------------------------------------------

    def _abandon(self) -> None:
        # What SQLite knows of its locks is true of the parent only.
        if self._db is not None:
            leak(self._db)
        self._begin()

    def before_fork(self) -> None:
        """
        Close the file: a child must not have it open.
        """
        if self._alone.acquire(timeout=_PATIENCE) and not self._is_busy:
            self._let_go()

    def after_fork(self) -> None:
        """
        Go on.
        """
        with suppress(RuntimeError):
            self._alone.release()

    def after_fork_in_child(self) -> None:
        """
        Begin anew.
        """
        self._abandon()

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


def _left(end: float | None) -> float:
    return _BUSY if end is None else min(_BUSY, max(0.0, end - time.monotonic()))


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
