"""
Where answers are kept for all processes of a host: a file of SQLite beside that of the store, ``….answers``.

*Nobody waits for it.* What is looked up may wait for 5 ms, and else is a miss; for the rest see
`egressor.stores.shelf_shared`. A file that can't be used is left alone for a second; a damaged one is set aside, and a
new one begun: answers may be lost. Nothing of it waits for the disk (``synchronous=OFF``), and no WAL is used, which
needs more care than answers are worth (see `egressor.stores.sqlite_file`).

*Bounds* hold for each service: the oldest answers go first. Triggers keep count, so that nothing has to be counted.

*Time* is the wall clock's, which all processes and reboots share. A claim that ends later than one may, since the clock
was set back, counts for nothing, and neither does an answer from a time to come.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Final, TypeVar

from egressor._core.cache import pack, unpack
from egressor._host.place import trouble

from . import StoreAway
from .shelf import Kept
from .shelf_shared import AWAY, LEASE, PATIENT, Clerk, Looked, Name, Scout, Sought
from .sqlite_file import damage

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from sqlite3 import Connection

__all__ = ["AnswerFile"]

_LOG = logging.getLogger("egressor")
_APPLICATION: Final = 0x45475241
_SCHEMA: Final = 1
_BUSY: Final = 0.005
_AWAY: Final = 1.0
_AT_ONCE: Final = 100
_TABLES: Final = (
    """
    CREATE TABLE answers (id INTEGER PRIMARY KEY, service TEXT, key TEXT, at INTEGER, fresh_for INTEGER, until INTEGER,
    size INTEGER, data BLOB, UNIQUE (service, key))
    """,
    "CREATE INDEX answers_at ON answers (service, at)",
    "CREATE INDEX answers_until ON answers (until)",
    "CREATE TABLE totals (service TEXT PRIMARY KEY, entries INTEGER, bytes INTEGER) WITHOUT ROWID",
    """
    CREATE TRIGGER kept AFTER INSERT ON answers BEGIN
    INSERT OR IGNORE INTO totals VALUES (new.service, 0, 0);
    UPDATE totals SET entries = entries + 1, bytes = bytes + new.size WHERE service = new.service;
    END
    """,
    """
    CREATE TRIGGER dropped AFTER DELETE ON answers BEGIN
    UPDATE totals SET entries = entries - 1, bytes = bytes - old.size WHERE service = old.service;
    END
    """,
    "CREATE TABLE claims (service TEXT, key TEXT, owner TEXT, until INTEGER, PRIMARY KEY (service, key)) WITHOUT ROWID",
    "CREATE TABLE salts (salt BLOB)",
)

_INSERT: Final = """
INSERT INTO answers (service, key, at, fresh_for, until, size, data) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_CLAIMED: Final = "SELECT until FROM claims WHERE service = ? AND key = ?"

_Reply = TypeVar("_Reply")


class _Way:
    """
    One connection to the file; one thread at a time uses it.

    Args:
        path: The file.
        busy: Seconds that it may wait for others.
    """

    def __init__(self, path: Path, busy: float) -> None:
        self.path = path
        self.salt = b""
        self._busy = busy
        self._lock = RLock()
        self._db: Connection | None = None
        self._identity = (0, 0)
        self._away_until = 0.0

    def use(self, work: Callable[[Connection], _Reply], *, away: _Reply, busy: _Reply) -> _Reply:
        """
        Return what *work* makes of the file; *busy* if others had it, and *away* if it can't be used.
        """
        with self._lock:
            if time.monotonic() < self._away_until:
                return away
            try:
                return work(self._open())
            except (StoreAway, sqlite3.Error, OSError) as error:
                with suppress(sqlite3.Error):
                    if self._db is not None:
                        self._db.rollback()
                if getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                    return busy
                self._lose(error)
                return away

    def close(self) -> None:
        """
        Let go of the file; the next use opens it again.
        """
        with self._lock:
            db, self._db = self._db, None
            if db is not None:
                with suppress(sqlite3.Error):
                    db.close()

    def _lose(self, error: Exception) -> None:
        self.close()
        self._away_until = time.monotonic() + _AWAY
        why = damage(error)
        if why:
            # Whoever is first moves it; the others find another file, or none.
            with suppress(OSError):
                self.path.replace(self.path.with_name(f"{self.path.name}.corrupt"))
        _LOG.warning("the answers in %s can't be used, and miss: %s", self.path.name, why or type(error).__name__)

    def _open(self) -> Connection:
        if self._db is not None:
            with suppress(OSError):
                found = os.stat(self.path)  # noqa: PTH116 - half as long as Path.stat, and on each hit's way
                if (found.st_dev, found.st_ino) == self._identity:
                    return self._db
            self.close()
        refusal, _ = trouble(self.path)
        if refusal:
            raise StoreAway(refusal)
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        db = sqlite3.connect(self.path, timeout=PATIENT, isolation_level=None, check_same_thread=False)
        try:
            self.salt = _settled(db, self.path)
            db.execute(f"PRAGMA busy_timeout = {int(self._busy * 1000)}").fetchall()
            found = self.path.stat()
        except BaseException:
            db.close()
            raise
        self._identity = found.st_dev, found.st_ino
        self._db = db
        return db


def _settled(db: Connection, path: Path) -> bytes:
    """
    Make the tables if there are none, and return the file's salt.
    """
    for pragma in ("journal_mode = TRUNCATE", "synchronous = OFF"):
        db.execute(f"PRAGMA {pragma}").fetchall()
    db.execute("BEGIN IMMEDIATE")
    mark = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if not mark and not version and not db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
        for statement in _TABLES:
            db.execute(statement)
        db.execute("INSERT INTO salts VALUES (?)", (os.urandom(32),))
        db.execute(f"PRAGMA application_id = {_APPLICATION}")
        db.execute(f"PRAGMA user_version = {_SCHEMA}")
    elif (mark, version) != (_APPLICATION, _SCHEMA):
        msg = f"{path.name} holds something else"
        raise StoreAway(msg)
    row = db.execute("SELECT salt FROM salts").fetchone()
    db.execute("COMMIT")
    if row is None or not isinstance(row[0], bytes) or len(row[0]) != 32:
        msg = f"{path.name} has no salt"
        raise StoreAway(msg)
    return row[0]


class AnswerFile:
    """
    The file of answers, as one process has it.

    Args:
        path: The file.
        wall: Time since 1970, in microseconds.
    """

    def __init__(self, path: Path, *, wall: Callable[[], int]) -> None:
        self._wall = wall
        self._owner = os.urandom(8).hex()
        self._reading = _Way(path, _BUSY)
        self._writing = _Way(path, PATIENT)
        self._clerk: Clerk[Connection] = Clerk(self._writing, _Renewal(wall, self._owner))
        self._looks = _Looks(self._reading, self._clerk, wall=wall, owner=self._owner)
        self._scout = Scout(self._looks)

    @property
    def dropped(self) -> int:
        """
        Answers that were not kept as the queue of the writing thread was full.
        """
        return self._clerk.dropped

    def find(self, sought: Sought) -> Looked:
        """
        Look for *sought*, blocking.
        """
        return self._looks.find(sought)

    def seek(self, sought: Sought) -> Future[Looked]:
        """
        Look for *sought* on another thread: the file may be busy for a while, and an event loop has no time for that.
        """
        return self._scout.seek(sought)

    def put(self, service: str, key: str | Name, kept: Kept, *, until: int, most: tuple[int, int]) -> None:
        """
        Keep an answer soon, at most until *until*; of the service *most* answers and bytes.
        """

        def write(db: Connection) -> None:
            name = key if isinstance(key, str) else key(self._writing.salt)
            data = pack(kept.entry)
            db.execute("BEGIN IMMEDIATE")
            _forget_old(db, self._wall())
            db.execute("DELETE FROM answers WHERE service = ? AND key = ?", (service, name))
            db.execute(_INSERT, (service, name, kept.at, kept.fresh_for, until, len(data), data))
            _fit(db, service, most)
            db.execute("COMMIT")

        self._clerk.keep(write)

    def release(self, service: str, key: str) -> None:
        """
        Let others make the call of *key*, as soon as its answer is written. The collector may do this.
        """
        asked = "DELETE FROM claims WHERE service = ? AND key = ? AND owner = ?"
        self._clerk.released((service, key), lambda db: db.execute(asked, (service, key, self._owner)))

    def renew(self) -> None:
        """
        Claim for longer what is under way.
        """
        self._clerk.renew()

    def flush(self, seconds: float = 5.0) -> bool:
        """
        Wait until all that was ordered is done; false if that takes longer than *seconds*.
        """
        return self._clerk.flush(seconds)

    def close(self) -> None:
        """
        Write what was ordered, for a second at most, and let go of the file.
        """
        for claim in self._clerk.claims:
            self.release(*claim)
        self._scout.close()
        self._clerk.close()
        self._reading.close()


class _Looks:
    """
    How the file is looked through. It doesn't hold the file's owner, so that the thread that looks ends with it.
    """

    def __init__(self, way: _Way, clerk: Clerk[Connection], *, wall: Callable[[], int], owner: str) -> None:
        self._way = way
        self._clerk = clerk
        self._wall = wall
        self._owner = owner

    def __call__(self, orders: list[tuple[Sought, Future[Looked]]]) -> None:
        """
        Look for all that is sought, and tell each.
        """
        for sought, future in orders:
            future.set_result(self.find(sought))

    def find(self, sought: Sought) -> Looked:
        """
        Look for *sought*.
        """
        looked = self._way.use(partial(self._look, sought), away=AWAY, busy=AWAY._replace(is_mine=None))
        if looked.key and looked.is_mine and sought.is_alive is not None:
            self._clerk.claimed((sought.service, looked.key), is_alive=sought.is_alive)
        return looked

    def _look(self, sought: Sought, db: Connection) -> Looked:
        claim = sought.service, sought.name(self._way.salt)
        kept = self._read(db, claim)
        if sought.is_alive is None or (kept is not None and sought.is_enough(kept)):
            return Looked(claim[1], kept, is_mine=False)
        now = self._wall()
        db.execute("BEGIN IMMEDIATE")
        row = db.execute(_CLAIMED, claim).fetchone()
        is_free = row is None or not now < row[0] <= now + 2 * LEASE
        # Whoever had the claim before may have kept an answer.
        kept = self._read(db, claim)
        is_mine = is_free and not (kept is not None and sought.is_enough(kept))
        if is_mine:
            db.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?)", (*claim, self._owner, now + LEASE))
        db.execute("COMMIT")
        return Looked(claim[1], kept, is_mine)

    def _read(self, db: Connection, claim: tuple[str, str]) -> Kept | None:
        row = db.execute("SELECT data, at, fresh_for FROM answers WHERE service = ? AND key = ?", claim).fetchone()
        if row is None:
            return None
        entry = unpack(row[0])
        if entry is None or type(row[1]) is not int or type(row[2]) is not int:
            self._clerk.order(lambda db: db.execute("DELETE FROM answers WHERE service = ? AND key = ?", claim))
            return None
        return Kept(entry, row[1], row[2])


class _Renewal:
    """
    What claims again.
    """

    def __init__(self, wall: Callable[[], int], owner: str) -> None:
        self._wall = wall
        self._owner = owner

    def __call__(self, claims: list[tuple[str, str]]) -> Callable[[Connection], object]:
        """
        Return the order.
        """
        until = self._wall() + LEASE
        rows = [(until, *each, self._owner) for each in claims]
        asked = "UPDATE claims SET until = ? WHERE service = ? AND key = ? AND owner = ?"
        return lambda db: db.executemany(asked, rows)


def _forget_old(db: Connection, now: int) -> None:
    old = "DELETE FROM answers WHERE id IN (SELECT id FROM answers WHERE until <= ? LIMIT ?)"
    db.execute(old, (now, _AT_ONCE))
    db.execute("DELETE FROM claims WHERE until <= ?", (now,))


def _fit(db: Connection, service: str, most: tuple[int, int]) -> None:
    """
    Drop the oldest answers until there are no more than may be.
    """
    while True:
        row = db.execute("SELECT entries, bytes FROM totals WHERE service = ?", (service,)).fetchone()
        if row is None or not row[0] or (row[0] <= most[0] and row[1] <= most[1]):
            return
        oldest = "DELETE FROM answers WHERE id = (SELECT id FROM answers WHERE service = ? ORDER BY at LIMIT 1)"
        db.execute(oldest, (service,))
