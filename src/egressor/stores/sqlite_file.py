"""
The file of an SQLite store: its schema, its clock, and this process's connection to it.

*WAL, and nothing waits for the disk* (``synchronous=OFF``). A write is then one page into the system's cache, which
outlives every process, killed at whichever moment. A power cut may tear the file; then, as when somebody has damaged
it, it is set aside and a new one is begun: cells are coordination, and may be lost. For the same reason the cells have
a file of their own, ``….cells``, beside the one that the address names: facts, which the ledger may keep in that one,
wait for the disk, and must not be torn with them.

*WAL needs care.* SQLite before 3.51.3 can lose committed pages of a WAL where two connections write and checkpoint at
the same moment: here all of that happens behind one lock. A reader that keeps a snapshot keeps the WAL from starting
anew: from `WAL_MOST` pages on nothing more is written until it has ended.

*Time.* The store's time is the monotonic clock of the boot in which the file was begun, and goes on after a reboot: the
file keeps for each boot what has to be added to its clock. So no time in it ever has to be translated, none is below
zero, and a wall clock that jumps while the machine runs changes nothing.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from egressor._host.place import trouble

from . import StoreAway
from .sqlite_rows import Damaged

if TYPE_CHECKING:
    from collections.abc import Callable
    from sqlite3 import Connection

__all__ = ["APPLICATION", "SCHEMA", "WAL_MOST", "CellFile", "damage"]

_LOG = logging.getLogger("egressor")
APPLICATION = 0x45475243
"""
What marks our files: "EGRC".
"""

SCHEMA = 1
"""
The schema's version.
"""

WAL_MOST = 16_384
"""
How many pages of 4 KiB the WAL may hold while a reader keeps it from starting anew: 64 MiB.
"""

_BUSY = 0.1
# The file's time, which each exchange looks at anyway, says so to all processes.
_FULL_MARK = 1.0
_PAGE = 4_096
_BOOTS = 16
_ASIDE_EACH = 60.0
_DAMAGE = {
    sqlite3.SQLITE_CORRUPT: "database disk image is malformed",
    sqlite3.SQLITE_NOTADB: "file is not a database",
    # Tables that are not as we have made them.
    sqlite3.SQLITE_ERROR: "its tables are others",
    sqlite3.SQLITE_CONSTRAINT: "its tables are others",
    sqlite3.SQLITE_MISMATCH: "its tables are others",
    # It was cut off behind SQLite's back.
    sqlite3.SQLITE_IOERR_SHORT_READ: "it is too short",
}
_TABLES = (
    "CREATE TABLE services (id INTEGER PRIMARY KEY, name BLOB UNIQUE, text TEXT, seen INTEGER, wall INTEGER)",
    "CREATE TABLE standings (id INTEGER PRIMARY KEY, text BLOB)",
    """
    CREATE TABLE cells (service INTEGER, name BLOB, value, shared TEXT, until INTEGER, PRIMARY KEY (service, name))
    WITHOUT ROWID
    """,
    "CREATE INDEX cells_until ON cells (until) WHERE shared IS NULL",
    "CREATE INDEX cells_shared ON cells (service) WHERE shared IS NOT NULL",
    "CREATE TABLE boots (name TEXT PRIMARY KEY, shift INTEGER)",
)


class CellFile:
    """
    The file, as one process has it open. One thread at a time uses it, with the file's lock held.

    Args:
        path: The file.
        boot: Which boot this is.
        now: Monotonic time, in microseconds.
        wall: Time since 1970, in microseconds.

    Attributes:
        db: The connection; None while it is closed.
        shift: What makes the store's time of *now*.
        is_full: Whether the WAL held too much when it was last looked at.
    """

    def __init__(self, path: Path, *, boot: str, now: Callable[[], int], wall: Callable[[], int]) -> None:
        self.path = path
        self.db: Connection | None = None
        self.shift = 0
        self.is_full = False
        self._boot = boot
        self._now = now
        self._wall = wall
        self._name = str(path)
        self._identity = (0, 0)
        self._doubt = ""
        self._pid = os.getpid()

    def open(self) -> Connection:
        """
        Return the connection to the file that is at the path now, which is made if there is none.

        Raises:
            StoreAway: The place is none for it, or what is there is somebody else's.
            sqlite3.Error: It can't be opened now.
        """
        if self.db is not None:
            if self.is_current():
                return self.db
            self.close()
        self._look_around()
        self._make()
        db = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        try:
            self._set_up(db)
            found = self.path.stat()
        except BaseException:
            db.close()
            raise
        self._identity = found.st_dev, found.st_ino
        self._pid = os.getpid()
        self.db = db
        return db

    def is_current(self) -> bool:
        """
        Whether the file is open, and still the one at the path.
        """
        try:
            found = os.stat(self._name)  # noqa: PTH116 - half as long as Path.stat, and on every exchange's way
        except OSError:
            return False
        if found.st_mtime == _FULL_MARK:
            self.is_full = True
        return self.db is not None and (found.st_dev, found.st_ino) == self._identity

    def checkpoint(self) -> None:
        """
        Bring what the WAL holds into the file, so that it starts anew.

        Raises:
            StoreAway: Somebody has read for so long that it holds too much.
        """
        if self.db is None:
            return
        was_full = self.is_full
        _, pages, done = self.db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        self.is_full = pages - done > WAL_MOST
        if self.is_full or was_full:
            # All must know at once: those who went on would use all of a limit beside the others' shares.
            os.utime(self.path, (_FULL_MARK, _FULL_MARK) if self.is_full else None)
        if self.is_full:
            msg = f"{self.path.name}: somebody reads it without an end, {pages - done} pages wait for that"
            raise StoreAway(msg)

    def close(self) -> None:
        """
        Let go of the file; `open` opens it again.
        """
        db, self.db = self.db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()

    def __del__(self) -> None:
        # From 3.13 on Python complains of a connection that nobody has closed. The file's lock isn't held here, so the
        # WAL stays as it is.
        if sys.version_info >= (3, 12) and self.db is not None and self._pid == os.getpid():
            with suppress(Exception):
                self.db.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)  # noqa: FBT003 - so it is called
                self.db.close()

    def set_aside(self, why: str) -> None:
        """
        Keep a damaged file under another name, so that a new one is begun.

        Raises:
            StoreAway: It can't be moved, or another one was moved a minute ago.
        """
        self.close()
        recent = [each for each in self._asides() if time.time() - each.lstat().st_ctime < _ASIDE_EACH]
        if recent:
            msg = f"{self.path.name} is damaged ({why}), and so was {recent[0].name} a moment ago: is the disk ill?"
            raise StoreAway(msg)
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        kept = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
        # The file itself goes last: a WAL that stayed behind would be taken for the new file's.
        for end in ("-shm", "-wal", ""):
            with suppress(FileNotFoundError):
                Path(f"{self.path}{end}").replace(f"{kept}{end}")
        _LOG.error("%s was damaged (%s): it is kept as %s, and all limits start anew", self.path.name, why, kept.name)

    def _asides(self) -> list[Path]:
        return [each for each in self.path.parent.glob(f"{self.path.name}.corrupt-*") if "-wal" not in each.name]

    def _look_around(self) -> None:
        refusal, doubt = trouble(self.path)
        if refusal:
            raise StoreAway(refusal)
        if doubt and doubt != self._doubt:
            _LOG.warning("the store: %s", doubt)
        self._doubt = doubt

    def _make(self) -> None:
        # Made with its mode, never widened for a moment; SQLite's own files beside it take its mode.
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return
        except OSError as error:
            msg = f"{self.path.name} can't be made: {error.strerror or type(error).__name__}"
            raise StoreAway(msg) from None

    def _set_up(self, db: Connection) -> None:
        mark = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if not mark and not version and not db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
            self._begin(db)
        elif mark != APPLICATION:
            msg = f"{self.path.name} holds something else (application id {mark}): name another file"
            raise StoreAway(msg)
        elif version != SCHEMA:
            msg = f"{self.path.name} has schema {version}, and this version knows {SCHEMA}: name another file"
            raise StoreAway(msg)
        if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            msg = f"{self.path.name} is on a file system on which SQLite can't share memory"
            raise StoreAway(msg)
        for pragma in ("synchronous = OFF", "wal_autocheckpoint = 0", "journal_size_limit = 4194304"):
            db.execute(f"PRAGMA {pragma}").fetchall()
        self._find_time(db)

    def _begin(self, db: Connection) -> None:
        db.execute(f"PRAGMA page_size = {_PAGE}")
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL").fetchall()
        db.execute("BEGIN IMMEDIATE")
        for statement in _TABLES:
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION}")
        db.execute(f"PRAGMA user_version = {SCHEMA}")
        db.execute("COMMIT")

    def _find_time(self, db: Connection) -> None:
        """
        Learn what has to be added to this boot's clock.
        """
        seen, wall = db.execute("SELECT MAX(seen), wall FROM services").fetchone()
        known = db.execute("SELECT shift FROM boots WHERE name = ?", (self._boot,)).fetchone()
        now = self._now()
        # Where the system doesn't tell one boot from another, a clock that stands before the last exchange does.
        if known is not None and (seen is None or now + known[0] >= seen - 1_000_000):
            self.shift = known[0]
            return
        self.shift = 0 if seen is None else self._continued(seen, wall, now)
        db.execute("INSERT OR REPLACE INTO boots VALUES (?, ?)", (self._boot, self.shift))
        db.execute("DELETE FROM boots WHERE rowid <= (SELECT MAX(rowid) FROM boots) - ?", (_BOOTS,))

    def _continued(self, seen: int, wall: int, now: int) -> int:
        passed = self._wall() - wall
        # A wall clock that stands before the last exchange knows nothing; the machine has run for *now* at least.
        return seen + (passed if passed >= 0 else now) - now


def damage(error: Exception) -> str:
    """
    Say what *error* tells of a file that is damaged, or none of SQLite's; empty if it tells of something else.

    What SQLite says of such a file may quote it; this doesn't.
    """
    if isinstance(error, Damaged):
        return str(error)
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        # Python's own complaint about a text that is none has no code.
        return "its text is none" if isinstance(error, sqlite3.OperationalError | UnicodeDecodeError) else ""
    return _DAMAGE.get(code) or _DAMAGE.get(code & 0xFF, "")
