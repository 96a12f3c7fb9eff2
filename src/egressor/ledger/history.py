"""
The way of an entry into its ledger, off everybody else's way.

`note` appends to a queue and rings a bell; both can be done with any lock held, by a finaliser, by a signal handler:
they take no lock that could be held already. One thread takes what is there, hands it to the ledger in one
transaction, and goes back to sleep. While the ledger is away entries go to the spool instead, each on the disk before
the next is taken, and come home when it is back: in a second at most, since so often it is tried.

Everything is bounded: the queue, what the thread holds while neither ledger nor spool takes it, the spool, the wait at
the end. What is dropped is counted, and `state` says so.

A ledger in memory needs no thread: the queue is emptied into it whenever somebody looks.
"""

from __future__ import annotations

import atexit
import logging
import os
import time
from collections import deque
from queue import Empty, SimpleQueue
from threading import Condition, Thread, current_thread
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

from egressor._host.threads import starts

from . import LedgerAway, Pick
from .entry import Entry, made

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from . import Ledger
    from .spool import Spool

__all__ = ["History", "here"]

_LOG = logging.getLogger("egressor")
_EVERY: WeakSet[History] = WeakSet()
_QUEUE = 10_000
_BATCH = 500
_FIRST_RETRY = 0.1
_LAST_RETRY = 1.0
_GRACE = 2.0
_LOOK = 0.45
_PRUNE_EACH = 1_000


class _Note(NamedTuple):
    at: int
    kind: str
    what: str
    service: str
    who: str
    data: Mapping[str, Any] | None


class History:
    """
    One program's hand on its ledger; any thread may use it.

    Args:
        ledger: Where entries go.
        spool: Where they wait while a durable ledger is away; None for a ledger in memory.
        wall: The time, in microseconds since 1970.
        queue: How many entries may wait in memory. Default: 10,000.
        is_reading: Whether it leaves the entries that a spool holds where they are.

    Attributes:
        is_durable: Whether entries outlive the process.
        dropped: Entries that found queue and spool full, or came after the end.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        spool: Spool | None = None,
        wall: Callable[[], int],
        queue: int = _QUEUE,
        is_reading: bool = False,
    ) -> None:
        self._ledger = ledger
        self.is_durable = ledger.is_durable
        self.dropped = 0
        self._spool = spool
        self._wall = wall
        self._most = queue
        self._notes: deque[_Note | Entry] = deque()
        self._changed = Condition()
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._pending: list[Entry] = []
        self._thread: Thread | None = None
        self._retry_at = 0.0
        self._away = ""
        self._is_closed = False
        self._unpruned = _PRUNE_EACH
        _EVERY.add(self)
        if spool is not None and not is_reading and not spool.is_empty():
            self._wake()

    def note(
        self, kind: str, what: str, *, service: str = "", who: str = "", data: Mapping[str, Any] | None = None
    ) -> None:
        """
        Take note of what happens now. This never waits and never raises; a full queue drops its oldest note.
        """
        if self._is_closed:
            self.dropped += 1
            return
        if len(self._notes) >= self._most:
            self.dropped += 1
            self._next_note()
        self._notes.append(_Note(self._wall(), kind, what, service, who, data))
        if self._spool is not None:
            self._wake()

    def retain(self, keep_for: int, keep_most: int) -> None:
        """
        From now on keep entries for *keep_for* microseconds, and *keep_most* of them.
        """
        self._ledger.retain(keep_for, keep_most)
        self._unpruned = _PRUNE_EACH

    def add(self, entries: Sequence[Entry]) -> None:
        """
        Take up *entries* that are made already, as `note` does; from a thread of its own, never from a finaliser.
        """
        if self._is_closed:
            self.dropped += len(entries)
        elif self._spool is None:
            self._ledger.append(entries)
        else:
            for entry in entries:
                if len(self._notes) >= self._most:
                    self.dropped += 1
                    self._next_note()
                self._notes.append(entry)
            self._wake()

    def read(self, pick: Pick, *, patience: float | None = None) -> list[Entry]:
        """
        Return the entries that are asked for, with those that wait for the ledger; only those where it is away.

        Args:
            pick: Which.
            patience: How many seconds others' locks on the ledger may hold it up. Default: as long as anything else.
        """
        end = None if patience is None else time.monotonic() + patience
        self.flush(_FIRST_RETRY if patience is None else min(_FIRST_RETRY, patience / 2))
        # In the order in which they move on: what moves meanwhile is found twice, and told once.
        waiting = [note for note in self._notes.copy() if isinstance(note, Entry)]
        # The thread may have it for as long as a lock on the ledger lasts, while the spool's entries go home.
        if self._changed.acquire(timeout=-1 if end is None else max(0.0, end - time.monotonic()) / 2):
            try:
                waiting += self._pending
            finally:
                self._changed.release()
        else:
            waiting += self._pending.copy()
        if self._spool is not None:
            waiting += self._spool.waiting()
        try:
            rest = None if end is None else max(0.0, end - time.monotonic())
            return pick.of([*self._ledger.read(pick, patience=rest), *waiting])
        except LedgerAway as error:
            self._away = self._away or str(error)
            return pick.of(waiting)

    def look(self, *picks: Pick) -> tuple[list[list[Entry]], dict[str, object]]:
        """
        Return the entries of each of *picks*, and `state`, for somebody who waits in front of a screen.

        A ledger that others keep locked is waited for half a second in all. Then there is what waits for it in this
        process, and the state says why there is no more.
        """
        end = time.monotonic() + _LOOK
        found = [self.read(pick, patience=max(0.0, end - time.monotonic())) for pick in picks]
        return found, self.state(patience=max(0.0, end - time.monotonic()))

    def state(self, *, patience: float | None = None) -> dict[str, object]:
        """
        Return how ledger, spool and queue are, as plain values.

        Args:
            patience: How many seconds others' locks on the ledger may hold it up. Default: as long as anything else.
        """
        if patience is None:
            self.flush(_FIRST_RETRY)
        away = self._away
        entries = pruned = None
        try:
            entries, pruned, _ = self._ledger.tally(patience=patience)
        except LedgerAway as error:
            # What has been waited for tells more than what there was no time left for.
            away = away if away and patience is not None else str(error)
        return {
            "ledger": self._ledger.name,
            "away": away,
            "entries": entries,
            "pruned": pruned,
            "waiting": len(self._notes) + len(self._pending),
            "spooled": 0 if self._spool is None else self._spool.count,
            "broken": 0 if self._spool is None else self._spool.broken,
            "dropped": self.dropped,
        }

    def flush(self, timeout: float) -> bool:
        """
        Wait until all notes are in the ledger or the spool; False if that took longer than *timeout* seconds.
        """
        if self._spool is None:
            self._gather()
            return True
        end = time.monotonic() + timeout
        if not self._changed.acquire(timeout=max(0.0, timeout)):
            return False
        try:
            # Where there is no thread to be had, waiting brings nothing.
            is_hopeless = self._thread is None and not self._is_done() and not self._start()
            return self._changed.wait_for(self._is_done, 0.0 if is_hopeless else end - time.monotonic())
        finally:
            self._changed.release()

    def close(self, timeout: float = _GRACE) -> None:
        """
        Take no more notes, and bring those that there are to the ledger, or else to the spool.

        It takes about *timeout* seconds at most; a second time it does nothing. A ledger in memory stays readable, and
        nobody opens a durable one any more, unless it has kept the thread waiting for that long.
        """
        if self._is_closed:
            return
        self._is_closed = True
        end = time.monotonic() + timeout
        is_done = self.flush(timeout)
        if self._spool is None:
            return
        self._bell.put(None)
        if not self._changed.acquire(timeout=timeout):
            return  # The thread is stuck in a file system that doesn't answer.
        try:
            if not is_done:
                # The ledger keeps the thread waiting. Should it say yes yet, the spool's are the same entries.
                self._take(len(self._notes))
                self._to_spool()
                self.dropped += len(self._pending) + len(self._notes)
                self._pending = []
                self._notes.clear()
            self._spool.close()
        finally:
            self._changed.release()
        thread = self._thread
        # A finaliser may close it, in that thread, too.
        if thread is not None and thread is not current_thread():
            thread.join(max(0.0, end - time.monotonic()))

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self, bell: SimpleQueue[None]) -> None:
        retry = _FIRST_RETRY
        while not self._is_over():
            try:
                # While something waits for the ledger, it is tried again by itself.
                bell.get(timeout=retry if self._is_owing() else None)
            except Empty:
                retry = min(2 * retry, _LAST_RETRY)
            if self._is_over():
                break
            try:
                if self._turn():
                    retry = _FIRST_RETRY
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the thread
                self._lost(f"a fault: {type(error).__name__}")
        self._ledger.close()

    def _turn(self) -> bool:
        """
        Bring home what there is; False if the ledger is away, or the spool can't be read.
        """
        with self._changed:
            self._take(_BATCH)
            batch = list(self._pending)
            is_due = time.monotonic() >= self._retry_at
        try:
            if not is_due:
                raise LedgerAway(self._away)  # noqa: TRY301 - it is handled as the real one is
            if batch:
                self._unpruned += self._ledger.append(batch)
                with self._changed:
                    self._pending = self._pending[len(batch) :]
                    self._changed.notify_all()
            self._bring_home()
        except LedgerAway as error:
            if is_due:
                self._lost(str(error))
            with self._changed:
                self._to_spool()
                self._changed.notify_all()
            return False
        return not self._is_spooled()

    def _bring_home(self) -> None:
        if self._spool is not None and not self._is_closed and not self._spool.is_empty():
            with self._changed:
                self._unpruned += self._spool.replay(self._ledger.append)
        elif self._away:
            self._ledger.tally()
        if self._away:
            _LOG.warning("the ledger is back: %s", self._ledger.name)
            self._away = ""
        if self._unpruned >= _PRUNE_EACH:
            if self._ledger.prune(self._ledger.proven(self._wall())):
                # Piece by piece: what is noted meanwhile goes first.
                self._bell.put(None)
            else:
                self._unpruned = 0

    def _lost(self, why: str) -> None:
        if not self._away:
            _LOG.warning("the ledger is away, and history goes to the spool: %s", why)
        self._away = why
        self._retry_at = time.monotonic() + _FIRST_RETRY

    def _to_spool(self) -> None:
        """
        Keep on the disk what the ledger doesn't take; what fits neither there nor into memory is dropped.
        """
        if not self._pending or self._spool is None:
            return
        try:
            self._spool.put(self._pending)
        except OSError as error:
            excess = max(0, len(self._pending) - self._most)
            self.dropped += excess
            self._pending = self._pending[excess:]
            self._away = f"{self._away.partition(' (')[0]} (nor does the spool: {error.strerror or error})"
        else:
            self._pending = []

    def _take(self, most: int) -> None:
        """
        Make entries of up to *most* notes.
        """
        room = max(0, self._most - len(self._pending))
        for _ in range(min(most, room)):
            note = self._next_note()
            if note is None:
                return
            if isinstance(note, Entry):
                self._pending.append(note)
                continue
            try:
                at, kind, what, service, who, data = note
                self._pending.append(made(at=at, kind=kind, what=what, service=service, who=who, data=data))
            except Exception as error:  # noqa: BLE001 - nobody is there any more whom it could be told
                self.dropped += 1
                _LOG.warning("a note that can't be an entry is dropped: %s", type(error).__name__)

    def _gather(self) -> None:
        with self._changed:
            self._take(len(self._notes))
            entries, self._pending = self._pending, []
            self._ledger.append(entries)
            self._ledger.prune(self._ledger.proven(self._wall()))

    def _next_note(self) -> _Note | Entry | None:
        try:
            return self._notes.popleft()
        except IndexError:
            return None

    def _is_done(self) -> bool:
        return not self._notes and not self._pending

    def _is_over(self) -> bool:
        return self._is_closed and self._is_done()

    def _is_owing(self) -> bool:
        return bool(self._away or self._notes or self._pending) or self._is_spooled()

    def _is_spooled(self) -> bool:
        return self._spool is not None and self._spool.count > 0

    def _wake(self) -> None:
        if self._thread is not None or self._start():
            self._bell.put(None)

    def _start(self) -> bool:
        """
        See that there is a thread; False if none is to be had, which the next note tries again.
        """
        with self._changed:
            if self._thread is None:
                thread = self._thread = Thread(
                    target=self._run, args=(self._bell,), name="egressor-history", daemon=True
                )
                if not starts(thread):
                    self._thread = None
                    return False
                # What was noted before there was one.
                self._bell.put(None)
            return True

    def _begin_in_child(self) -> None:
        # The thread, and what it had to write, stayed in the parent.
        self._notes.clear()
        self._changed = Condition()
        self._bell = SimpleQueue()
        self._pending = []
        self._thread = None
        self._retry_at = 0.0
        if self._spool is not None:
            self._spool.leave()


def here() -> str:
    """
    Return who does what this very program does: user, host and process.
    """
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # No name for the number, as in many containers.
        user = "somebody"
    return f"{user}@{socket.gethostname()}, process {os.getpid()}"


def _after_fork() -> None:
    for each in list(_EVERY):
        each._begin_in_child()  # noqa: SLF001 - the same module


def _at_exit() -> None:
    end = time.monotonic() + _GRACE
    for each in list(_EVERY):
        each.close(max(0.0, end - time.monotonic()))


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
