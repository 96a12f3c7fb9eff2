"""
A ledger in PostgreSQL, for a fleet.

*Bounded.* Connecting may take 2 s and an answer 2 s, also from a server that is frozen or a network that swallows: the
wait for the socket is ours, and where it ends the connection is dropped. What became of the transaction is unknown
then, which does no harm: entries have ids, and are handed over again.

*Forks.* A connection belongs to the process that opened it. A child leaves it alone, as to close it would end the
parent's session, and opens its own.

*Secrets.* The password comes from where libpq looks for it (``PGPASSWORD``, a password file, a client's certificate),
never from the address. What an error of the server says may repeat what was sent, so only its kind is told.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, suppress
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

from egressor.errors import ConfigError

from . import KEEP_FOR, KEEP_MOST, LedgerAway, Pick, Tally
from .folding import KEEP_ERRORS
from .money_batch import BatchPage
from .sql import (
    CROWDED,
    DROP,
    FOLD,
    INSERT,
    MIGRATIONS,
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

    from .entry import Entry
    from .money import Page, Tags
    from .wire import Connection

__all__ = ["PostgresLedger"]

_PATIENCE = 2.0
_PIECE = 1_000
# Any number, as long as it is always the same: who migrates or drops entries holds it.
_TURN = 0x6567_7265_7373
# Who changes money holds this one. One lock for all budgets: no two can wait for each other, and what a process wants
# at once is one transaction.
_MONEY = _TURN + 1
# Whoever has it gives it back before the disk has what he has written: the others needn't wait for that. They write
# behind him, so nothing of theirs can be on the disk without his.
# What another has committed while this one waited for its turn must be seen, whatever the database's default is.
_BEGIN = (
    b"BEGIN ISOLATION LEVEL READ COMMITTED",
    b"SET LOCAL synchronous_commit = off",
    # A server that says that others are at it is one that answers.
    b"SET LOCAL lock_timeout = 150",
    f"SELECT pg_advisory_xact_lock({_MONEY})".encode(),
)
# For how long money waits for others who are at it, in seconds.
_LINE = 1.0
# A transaction of its own that waits for the disk, and for a standby where the server does: for all before it, too.
_FLUSH = "SELECT pg_logical_emit_message(true, 'egressor', '')"
_TIME = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"
_KNOWN = 10_000
_T = TypeVar("_T")
_SETTINGS = (
    "SET synchronous_commit = on",
    f"SET statement_timeout = {int(_PATIENCE * 1000)}",
    # Whoever is stopped in the midst of a transaction keeps the others waiting for no longer.
    f"SET idle_in_transaction_session_timeout = {int(_PATIENCE * 1000)}",
    "SET client_encoding = 'UTF8'",
)


class PostgresLedger:
    """
    A ledger in the database at *address*.

    Args:
        address: ``postgresql://user@host:port/database``, without a password.
        keep_for: How long an entry is kept, in microseconds. Default: a year.
        keep_most: How many are kept. Default: 1,000,000.
        keep_errors: How many failures are kept of each service, about. Default: 2,000.
        migrations: The schema, version by version.

    Raises:
        ConfigError: psycopg, or the libpq that it needs, is not installed.
    """

    name = "postgresql"
    is_durable = True
    is_at_hand = False

    def __init__(
        self,
        address: str,
        *,
        keep_for: int = KEEP_FOR,
        keep_most: int = KEEP_MOST,
        keep_errors: int = KEEP_ERRORS,
        migrations: Sequence[Sequence[str]] = MIGRATIONS,
    ) -> None:
        try:
            from .wire import Connection
        except ImportError:
            msg = "a PostgreSQL ledger needs psycopg and libpq: pip install 'egressor[postgres]'"
            raise ConfigError(msg, key="egressor.ledger") from None
        self._open = Connection.open
        self._address = address
        self._keep_for = keep_for
        self._keep_most = keep_most
        self._keep_errors = keep_errors
        self._migrations = migrations
        self._known: set[tuple[int, Tags]] = set()
        self._moved_at = 0.0
        self._lock = RLock()
        self._pid = os.getpid()
        self._db: Connection | None = None
        self._left: list[Connection] = []

    def append(self, entries: Sequence[Entry]) -> int:
        """
        Keep *entries*, all or none, and return how many were new.

        Raises:
            LedgerAway: The database can't be written now.
        """
        with self._turn() as db, db.transaction():
            if not entries:
                return 0
            cursor = db.cursor()
            cursor.executemany(_said(INSERT), [row_of(entry) for entry in entries])
            return int(cursor.rowcount)

    def read(self, pick: Pick, *, patience: float | None = None) -> list[Entry]:
        """
        Return the entries that are asked for, after *patience* seconds at most in which this process is at it already.

        Raises:
            LedgerAway: The database can't be read now.
        """
        text, values = selection(pick)
        with self._turn(patience=patience) as db:
            return [entry_of(row) for row in db.execute(_said(text), values)]

    def retain(self, keep_for: int, keep_most: int) -> None:
        """
        From now on keep entries for *keep_for* microseconds, and *keep_most* of them.
        """
        self._keep_for = keep_for
        self._keep_most = keep_most

    def proven(self, now: int) -> int:
        """
        Return up to when it may forget, as a clock says *now*: until that of the server's clock and this that is behind
        the other.

        Raises:
            LedgerAway: The database can't be read now.
        """
        with self._turn() as db:
            row = db.execute(_TIME).fetchone()
        return min(now, int(row[0]) if row else now)

    def prune(self, now: int) -> int:
        """
        Drop the oldest thousand of what is beyond the retention at *now*, or what there is of it, and fold failures.

        Raises:
            LedgerAway: The database can't be written now.
        """
        with self._turn() as db, db.transaction():
            # One after the other: two that count the same excess would drop it twice.
            db.execute("SELECT pg_advisory_xact_lock(%s)", (_TURN,))
            dropped = db.execute(_said(DROP[0]), (now - self._keep_for, _PIECE)).rowcount
            row = db.execute(TALLY).fetchone()
            excess = min((row[0] if row else 0) - self._keep_most, _PIECE - dropped)
            if excess > 0:
                dropped += db.execute(_said(DROP[1]), (excess,)).rowcount
            if dropped:
                db.execute(_said(DROP[2]), (dropped,))
        return dropped + self._fold()

    def _fold(self) -> int:
        # Two processes may do it at once: both come to the same sums, and one of them to rows that are gone.
        keep, total = self._keep_errors, 0
        with self._turn() as db, db.transaction(), db.cursor() as cursor:
            for service, count in db.execute(_said(CROWDED), (keep,)).fetchall():
                text, values = oldest_errors(service, count, keep)
                changed, gone, dropped = fold_of(db.execute(_said(text), values), keep // 4)
                if changed:
                    cursor.executemany(_said(FOLD[0]), changed)
                if gone:
                    cursor.executemany(_said(FOLD[1]), gone)
                total += dropped
            if total:
                db.execute(_said(DROP[2]), (total,))
        return total

    def tally(self, *, patience: float | None = None) -> Tally:
        """
        Return what it holds, after *patience* seconds at most in which this process is at it already.

        Raises:
            LedgerAway: The database can't be read now.
        """
        with self._turn(patience=patience) as db:
            return Tally(*(db.execute(TALLY).fetchone() or (0, 0, None)))

    def money(
        self,
        work: Callable[[Page], _T],
        *,
        at_once: bool = True,  # noqa: ARG002 - it always is
        patience: float | None = None,
    ) -> _T:
        """
        Do *work* on the page of money, in one transaction; it is on the disk when this returns. It begins after
        *patience* seconds at most in which this process is at it already.

        Raises:
            LedgerAway: The database can't be written now, or didn't say whether it has been.
        """
        if len(self._known) > _KNOWN:
            self._known.clear()
        end = time.monotonic() + _LINE
        with self._turn(patience=patience) as db:
            while not (found := self._done(db, work, is_last=time.monotonic() >= end)):
                self._moved_at = time.monotonic()
            return found[0]

    def _done(self, db: Connection, work: Callable[[Page], _T], *, is_last: bool) -> tuple[_T] | None:
        """
        Do *work*, and return what it returns; None if others are at it, and nothing was done.
        """
        from psycopg.errors import LockNotAvailable

        try:
            page = BatchPage(db, self._known, _BEGIN)
            found = work(page)
            page.flush("COMMIT", _FLUSH)
        except LockNotAvailable:
            if is_last:
                raise
            db.execute("ROLLBACK")
            # Those of a transaction that was undone are not there.
            self._known.clear()
            return None
        return (found,)

    def money_nowait(self, work: Callable[[Page], _T]) -> _T:  # noqa: ARG002 - the server is never so near
        """
        Wait for nothing, and so do nothing.

        Raises:
            LedgerAway: Always.
        """
        msg = "a server has to be waited for"
        raise LedgerAway(msg)

    def moved_at(self) -> float:
        """
        Return when the server last said that others are at it, in seconds of monotonic time; 0 for never.
        """
        return self._moved_at

    def close(self) -> None:
        """
        Close the connection; a later call opens another.
        """
        with self._lock:
            self._drop()

    @contextmanager
    def _turn(self, *, patience: float | None = None) -> Iterator[Connection]:
        """
        Lend the connection of this process for one piece of work, with the schema up to date.
        """
        import psycopg

        self._own()
        # A fork within the turn puts another in its place.
        lock = self._lock
        if not lock.acquire(timeout=-1 if patience is None else patience):
            msg = f"PostgreSQL has kept this process waiting for {patience:.1g} s"
            raise LedgerAway(msg)
        try:
            try:
                if self._db is None or self._db.closed:
                    self._db = self._open(self._address, patience=_PATIENCE)
                    for setting in _SETTINGS:
                        self._db.execute(setting)
                    self._migrate()
                yield self._db
            except (psycopg.Error, OSError) as error:
                self._drop()
                code = getattr(error, "sqlstate", None)
                msg = f"PostgreSQL: {type(error).__name__}" + (f" ({code})" if code else "")
                raise LedgerAway(msg) from None
            except BaseException:
                self._drop()
                raise
        finally:
            lock.release()

    def _own(self) -> None:
        if self._pid != os.getpid():
            self._lock = RLock()
            self._pid = os.getpid()
            self._known.clear()
            if self._db is not None:
                self._left.append(self._db)  # Kept, so that nothing closes it.
                self._db = None

    def _drop(self) -> None:
        if self._db is not None and self._pid == os.getpid():
            with suppress(Exception):
                self._db.close()
        self._db = None
        # Those of a transaction that was undone are not there.
        self._known.clear()

    def _migrate(self) -> None:
        db: Any = self._db
        is_behind = True
        while is_behind:
            with db.transaction():
                db.execute("SELECT pg_advisory_xact_lock(%s)", (_TURN,))
                # Even where nothing is to be made, to ask for it takes the right to make tables.
                is_begun = db.execute("SELECT to_regclass('egressor_ledger') IS NOT NULL").fetchone()[0]
                is_behind = migrate(db.execute, self._migrations, key='TEXT COLLATE "C"', is_begun=is_begun)


def _said(text: str) -> str:
    return text.replace("?", "%s")
