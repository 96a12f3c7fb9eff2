"""
A store in an SQLite file: many processes of one host, no server.

An exchange is one transaction behind one lock of all processes (`egressor._host.lock`), which is tried for `PATIENCE`
and then given up. In it the pure function decides, on what the file says; a process that finds the text that it has
written itself has read it already.

*Calls.* Who is to ask again is told by a datagram (`egressor._host.bell`), not by a look at the file: a process that
has nothing to do uses no time.

*Forks.* SQLite's connections don't outlive a fork. Before one, every store closes its connection; parent and child
open their own when they need one. A fork that Python knows nothing of is noticed by the process's number; then the
child leaves its copy of the connection alone.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from threading import Event, RLock
from typing import TYPE_CHECKING, Any, TypeVar

from egressor._core.fleet import exchange
from egressor._core.fleet_model import Reply, State
from egressor._host.bell import Bell, ring
from egressor._host.boot import boot_id
from egressor._host.fork import heed, leak
from egressor._host.lock import Latch, LockAway

from . import LATE, PATIENCE, Slept, StoreAway
from .sqlite_file import CellFile, damage
from .sqlite_keyed import bring, every, is_light, keep, prune
from .sqlite_rows import Damaged, Hot, as_key, as_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from sqlite3 import Connection

    from egressor._core.fleet_model import Request

__all__ = ["SqliteStore"]

T = TypeVar("T")
_MARK = b"egressor cells\n"
# The rest is for whoever has the file open without asking for the lock.
_QUEUE = PATIENCE - 0.1
# A process that comes knows of nobody, and its share would be half of each limit: it is more patient, as others may be
# at making the file, on a busy machine.
_FIRST = 2.0
# After so many exchanges of a service: a checkpoint, and rows on which nothing depends any more.
_PAUSE_EACH = 512
_SWEEP = 1_024
# The last one: SQLite quotes what is no text, and Python can't read the quotation.
_BROKEN = (Damaged, sqlite3.Error, UnicodeDecodeError)
_LOOK_MOST = 10_000
_REPLACE = "UPDATE services SET text = ?, seen = ?, wall = ? WHERE id = ? AND text = ?"


def _monotonic() -> int:
    return time.monotonic_ns() // 1000


def _since_1970() -> int:
    return time.time_ns() // 1000


class SqliteStore:
    """
    The store in the file ``….cells`` beside *path*, which is made at the first exchange, readable by this user only.

    Args:
        path: What the address names; its folder must be there.
        now: Monotonic time, in microseconds, the same for all processes of this boot.
        clock_wall: Time since 1970, in microseconds.
        boot: Which boot this is. Default: what the system says.

    Attributes:
        path: The file.
        is_near: An exchange takes some ten microseconds.
    """

    is_near = True

    def __init__(
        self,
        path: Path,
        *,
        now: Callable[[], int] = _monotonic,
        clock_wall: Callable[[], int] = _since_1970,
        boot: str | None = None,
    ) -> None:
        self.path = path.with_name(path.name + ".cells")
        self._now = now
        self._wall = clock_wall
        self._boot = boot_id() if boot is None else boot
        self._called: Callable[[str], object] | None = None
        self._is_closed = False
        self._begin()
        heed(self)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._alone = RLock()
        self._is_busy = False
        # How many forks are about to happen, for which nobody begins a step.
        self._forks = 0
        self._patience = _FIRST
        self._has_forked = Event()
        self._latch = Latch(self.path.with_name(self.path.name + ".lock"))
        self._file = CellFile(self.path, boot=self._boot, now=self._now, wall=self._wall)
        self._hots: dict[str, Hot] = {}
        self._looked = 0
        self._bell: Bell | None = None
        # When the step under way came, the last one was given up, and why.
        self._came = 0.0
        self._lost_at = 0.0
        self._why = ""

    # --- what is shared ----------------------------------------------------------------------------------------------

    @property
    def shift(self) -> int:
        """
        Microseconds that make the store's time of this boot's monotonic clock: 0 unless the file is older than that.
        """
        return self._file.shift

    def exchange(self, service: str, request: Request) -> Reply:
        """
        Do `egressor._core.fleet.exchange` with what is shared of *service*, in one transaction.

        Raises:
            StoreAway: It can't be asked now: the message says why.
        """
        reply: Reply = self._step(self._in_turn, self._exchange, service, request)
        return reply

    def look(self, service: str) -> tuple[State, int]:
        """
        Return what is shared of *service*, and the store's time; of cells with a key some thousands.

        Raises:
            StoreAway: It can't be read now.
        """
        return self._step(self._unlocked, self._look, service) or (State({}), self._now())

    def services(self) -> list[str]:
        """
        Return the names of all services of which something is shared.

        Raises:
            StoreAway: It can't be read now.
        """
        return self._step(self._unlocked, _services) or []

    # --- calls -------------------------------------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """
        Where this process is called; empty if it can't be.
        """
        return self._step(self._hang)

    def call(self, service: str, addresses: Sequence[str]) -> None:
        """
        Tell others that they should ask for *service*; this never waits.
        """
        for address in addresses:
            ring(address, as_key(service))

    def listen(self, called: Callable[[str], object]) -> None:
        """
        From now on hand the name of each service for which this process is called to *called*, on another thread.
        """
        self._called = called
        self._step(self._hang)

    def close(self) -> None:
        """
        Let go of everything; nothing can be asked any more.
        """
        self._step(self._end)

    def _hang(self) -> str:
        if self._bell is None and not self._is_closed:
            try:
                self._bell = Bell()
            except OSError:
                return ""
        if self._bell is None:
            return ""
        if self._called is not None:
            self._bell.listen(self._rung)
        return self._bell.address

    def _rung(self, message: bytes) -> None:
        if self._called is not None:
            self._called(as_name(message))

    def _end(self) -> None:
        self._is_closed = True
        self._forget()
        self._latch.close()
        if self._bell is not None:
            self._bell.close()
            self._bell = None

    # --- in a transaction --------------------------------------------------------------------------------------------

    def _exchange(self, db: Connection, service: str, request: Request) -> Reply:
        if self._file.is_full:
            self._file.checkpoint()
        hot = self._hots.get(service)
        if hot is not None and not self._latch.is_ours:
            hot = self._as_is(db, hot, service)
        if hot is not None:
            wall, now = self._wall(), self._now() + self._file.shift
            if is_light(hot, request, now) and (hot.count + 1) % _PAUSE_EACH:
                reply = self._exchange_light(db, hot, request, now, wall)
                if reply is not None:
                    return reply
                del self._hots[service]
        run = db.execute
        run("BEGIN IMMEDIATE")
        hot = self._hot(db, service)
        state = hot.state
        wall = self._wall()
        now = self._now() + self._file.shift
        if request.version != state.version:
            standing = _standing(db, hot)
            run("COMMIT")
            return Reply(now, state.version, standing, members=len(state.members))
        rows = bring(db, hot, request, now)
        reply = exchange(state, request, now, wall - now)
        keep(db, hot, request, rows, now)
        if request.standing is not None:
            run("INSERT OR REPLACE INTO standings VALUES (?, ?)", (hot.number, _as_blob(request.standing)))
            state.standing = ""
        text = hot.write()
        run("UPDATE services SET text = ?, seen = ?, wall = ? WHERE id = ?", (text, now, wall, hot.number))
        is_pause = not hot.count % _PAUSE_EACH
        if is_pause:
            hot.sweep(now)
            prune(db, now, _SWEEP)
        run("COMMIT")
        hot.text = text
        if is_pause:
            self._file.checkpoint()
        return reply

    def _exchange_light(self, db: Connection, hot: Hot, request: Request, now: int, wall: int) -> Reply | None:
        """
        Do an exchange that touches nothing but the service's text, which is the one that we have written ourselves.

        None: it is not; somebody has written another one since.

        One statement sees to both: the text is replaced if it is still the one that is known here.
        """
        reply = exchange(hot.state, request, now, wall - now)
        text = hot.write()
        done = db.execute(_REPLACE, (text, now, wall, hot.number, hot.text))
        hot.text = text
        return reply if done.rowcount else None

    def _hot(self, db: Connection, service: str) -> Hot:
        hot = self._hots.get(service)
        if hot is not None:
            hot = self._as_is(db, hot, service)
        if hot is not None:
            return hot
        key = as_key(service)
        row = db.execute("SELECT id, text FROM services WHERE name = ?", (key,)).fetchone()
        if row is None:
            row = db.execute("INSERT INTO services VALUES (NULL, ?, '', 0, 0)", (key,)).lastrowid, ""
        hot = self._hots[service] = Hot(*row)
        return hot

    def _as_is(self, db: Connection, hot: Hot, service: str) -> Hot | None:
        """
        Return *hot*, or what others have made of it since; None where it is gone.
        """
        row = db.execute("SELECT text FROM services WHERE id = ?", (hot.number,)).fetchone()
        if row is None:
            del self._hots[service]
            return None
        if row[0] != hot.text:
            hot = self._hots[service] = Hot(hot.number, row[0])
        return hot

    def _look(self, db: Connection, service: str) -> tuple[State, int]:
        db.execute("BEGIN")
        row = db.execute("SELECT id, text FROM services WHERE name = ?", (as_key(service),)).fetchone()
        hot = Hot(*row) if row is not None else Hot(0, "")
        every(db, hot, _LOOK_MOST)
        hot.state.standing = _standing(db, hot)
        db.execute("COMMIT")
        return hot.state, self._now() + self._file.shift

    # --- one at a time -----------------------------------------------------------------------------------------------

    def _step(self, work: Callable[..., T], *args: Any) -> T:
        """
        Do *work* with no other thread in it, nor an outer step of this thread, which a signal has interrupted.
        """
        if self._pid != os.getpid():
            self._abandon()
        if self._forks:
            # Whoever is about to fork would not get the lock past a thread that never stops asking.
            self._has_forked.wait(PATIENCE)
        came = time.monotonic()
        try:
            tried = came
            while not self._alone.acquire(timeout=PATIENCE):
                if (now := time.monotonic()) > tried + PATIENCE + LATE:
                    msg = f"this process slept while another thread had {self.path.name}"
                    raise Slept(msg)
                tried = now
                # It may stand in line, and the line moves.
                if now - self._latch.moved > max(PATIENCE, self._patience):
                    msg = f"another thread has held {self.path.name} for {PATIENCE:g} s"
                    raise StoreAway(msg)
            is_inner = self._is_busy
            try:
                if is_inner:
                    msg = f"{self.path.name} is busy with what a signal has interrupted"
                    raise StoreAway(msg)
                self._is_busy = True
                self._came = came
                return work(*args)
            finally:
                if not is_inner:
                    self._is_busy = False
        finally:
            # A signal that raises behind `acquire` finds it ours. `suppress` is called, and one may raise there.
            try:  # noqa: SIM105
                self._alone.release()
            except RuntimeError:
                pass  # It was not to be had.

    def _in_turn(self, work: Callable[..., T], *args: Any) -> T:
        """
        Do *work* with the file, and with no other process at it; with a new file if the one that is there is damaged.
        """
        if self._came < self._lost_at:
            # Whoever stood behind a step that waited in vain has waited as well: its time is over, too.
            raise StoreAway(self._why)
        try:
            return self._alone_at(work, *args)
        except Slept:
            raise
        except StoreAway as error:
            self._lost_at, self._why = time.monotonic(), str(error)
            raise

    def _alone_at(self, work: Callable[..., T], *args: Any) -> T:
        if self._is_closed:
            msg = f"{self.path.name} is closed"
            raise StoreAway(msg)
        try:
            self._latch.take(patience=self._patience)
        except LockAway as error:
            raise (Slept if error.slept else StoreAway)(str(error)) from None
        finally:
            self._patience = _QUEUE
        try:
            try:
                return work(self._opened(), *args)
            except _BROKEN as error:
                self._mend(error)
            try:
                return work(self._opened(), *args)
            except _BROKEN as error:
                raise self._away(error) from None
        except BaseException:
            # Whatever happened, the next step begins with nothing that is half done.
            self._forget()
            raise
        finally:
            self._latch.give()

    def _unlocked(self, work: Callable[..., T], *args: Any) -> T | None:
        """
        Do *work*, which only reads, with the file; None if there is none.
        """
        if not self._file.is_current():
            if self._is_closed or not self.path.exists():
                return None
            self._in_turn(lambda _: None)
        try:
            return work(self._file.db, *args)
        except _BROKEN as error:
            self._forget()
            raise self._away(error) from None

    def _opened(self) -> Connection:
        was, runs = self._file.db, self._latch.runs
        if was is not None and runs == self._looked:
            # Some milliseconds ago it was still the one at the path.
            return was
        db = self._file.open()
        self._looked = runs
        if db is not was:
            self._hots.clear()
            if not self._latch.is_there():
                # Others may hold another one by now.
                self._latch.close()
                msg = f"the lock of {self.path.name} was removed"
                raise StoreAway(msg)
            self._latch.write(_MARK)
        return db

    def _mend(self, error: Exception) -> None:
        """
        Set a damaged file aside if it is ours.
        """
        why = damage(error)
        if not why:
            raise self._away(error) from None
        self._forget()
        if self._latch.read() != _MARK:
            msg = f"{self.path.name} is no file of ours ({why}): name another file"
            raise StoreAway(msg) from None
        self._file.set_aside(why)

    def _away(self, error: Exception) -> StoreAway:
        # SQLite's own words name causes ("database or disk is full"), never a value.
        return StoreAway(f"{self.path.name}: {damage(error) or error}")

    def _forget(self) -> None:
        self._hots.clear()
        self._file.close()

    # --- forks -------------------------------------------------------------------------------------------------------

    def _abandon(self) -> None:
        # Closing the parent's connection here would take the parent's WAL away.
        if self._file.db is not None:
            leak(self._file.db)
        if self._bell is not None:
            self._bell.close()
        self._begin()

    def before_fork(self) -> None:
        """
        Close the connection, and keep others from opening it.
        """
        self._forks += 1
        self._has_forked.clear()
        if self._alone.acquire(timeout=PATIENCE) and not self._is_busy:
            self._forget()

    def after_fork(self) -> None:
        """
        Go on as before.
        """
        self._forks -= 1
        if not self._forks:
            self._has_forked.set()
        with suppress(RuntimeError):
            self._alone.release()

    def after_fork_in_child(self) -> None:
        """
        Begin anew.
        """
        self._abandon()


def _services(db: Connection) -> list[str]:
    return [as_name(row[0]) for row in db.execute("SELECT name FROM services ORDER BY id")]


def _standing(db: Connection, hot: Hot) -> str:
    row = db.execute("SELECT text FROM standings WHERE id = ?", (hot.number,)).fetchone()
    if row is None:
        return ""
    if not isinstance(row[0], bytes):
        msg = "a standing is no text"
        raise Damaged(msg)
    return row[0].decode("utf-8", "surrogatepass")


def _as_blob(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
