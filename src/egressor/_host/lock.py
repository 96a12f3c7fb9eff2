"""
One at a time, over all processes of this host.

SQLite has locks of its own, which say who may write; these stand in front of them, for two reasons. They make those
who come at once take turns without tearing at the file. And in WAL mode SQLite before 3.51.3 can lose committed pages
where two connections write and checkpoint at the same moment: behind one lock there is no such moment.

*Fair.* Two locks, as at a counter where one person stands next in line: whoever has to wait takes the second lock,
waits for the first, and lets go of the second. So only one process looks closely; all others look now and then.

*Fast.* Turns are short, and to wake somebody takes longer than most of them. So whoever has it may have it again, for a
run of some milliseconds; then it looks whether somebody stands in line, and goes to the end of it. When its run began
stands beside the lock: so whoever is next knows when to look closely, and all that wait see that others have their
turns. Eight processes that never stop have run after run, each as many as the others, and wait some ten milliseconds in
between; who comes now and then waits for a tenth of a millisecond.

The kernel gives a lock back when its holder dies. A child closes the copies that a fork has given it: so nobody holds
one who doesn't know.
"""

from __future__ import annotations

import os
import random
import struct
import time
from contextlib import suppress
from threading import RLock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Latch", "LockAway", "hold"]

_held: set[int] = set()
_guard = RLock()

# A latch. Who comes back this soon goes on with its run, which ends after so long if somebody stands in line.
_GAP = 0.000_1
_RUN = 0.004
# Who is next looks soon, as a turn is short, and then less often, as there seems to be a run. Who isn't next looks the
# more often the longer it has waited: so the line is nearly one.
_SOON = 0.000_08
_NAP = 0.000_8
_FIRST = 0.006
_HALF = 0.004
_LEAST = 0.000_5
# For so long after the end of a run whoever is next looks closely.
_OVER = 0.002
_STAMP = struct.Struct("<d")
# So long it waits at most while others have their turns, however busy the machine is.
_LONGEST = 1.0
# So often it is seen whether somebody has removed the file, after which others have another lock.
_CHECK_EACH = 1.0
# Who has waited so long doesn't count on whoever is next: that one may be stopped.
_STUCK = 0.02

try:
    from fcntl import LOCK_EX, LOCK_NB, LOCK_UN
    from fcntl import flock as _lock
except ImportError:  # pragma: no cover - Windows, whose locks are of a range of bytes
    LOCK_EX, LOCK_NB, LOCK_UN = 2, 4, 8  # type: ignore[misc]

    def _lock(descriptor: Any, how: int, /) -> None:  # type: ignore[misc]
        import msvcrt

        os.lseek(descriptor, 1 << 20, os.SEEK_SET)
        mode = "LK_UNLCK" if how == LOCK_UN else "LK_NBLCK"
        msvcrt.locking(descriptor, getattr(msvcrt, mode), 1)  # type: ignore[attr-defined]


_TAKE = LOCK_EX | LOCK_NB


class LockAway(Exception):
    """
    A lock can't be had: somebody else holds it, or its file can't be opened.
    """


def hold(descriptor: int) -> bool:
    """
    Take the lock of an open file, without waiting; closing the file gives it back.
    """
    try:
        _lock(descriptor, _TAKE)
    except OSError:
        return False
    return True


class Latch:
    """
    The lock file at *path*, kept open between turns. One thread at a time uses it.

    Args:
        path: The file, made when it is needed; beside it is another one, for who is next.

    Attributes:
        runs: How many runs of turns it has had, the present one included.
        moved: When somebody had a turn last, as far as is known here, or else this one began to wait, in seconds of
            monotonic time.
        passed: When somebody else was last seen to have a turn; 0 for never.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs = 0
        self.moved = 0.0
        self.passed = 0.0
        self._descriptor = -1
        self._next = -1
        self._began = 0.0
        self._given = 0.0
        self._check_at = 0.0

    def take(self, *, patience: float) -> None:
        """
        Have the lock.

        Raises:
            LockAway: Nobody had a turn for *patience* seconds, or others had all of them for a second.
        """
        now = time.monotonic()
        if now >= self._check_at:
            self._check_at = now + _CHECK_EACH
            if not self.is_there():
                self.close()
        if self._descriptor not in _held:
            self._descriptor = _opened(self.path)
            try:
                self._next = _opened(_door(self.path))
            except LockAway:
                # Whoever has no second one to spare may not keep the first, and take one more at each try.
                self.close()
                raise
        is_new = now - self._given > _GAP
        if not is_new and now - self._began >= _RUN:
            is_new = True
            if not self._is_alone():
                self._stand_in_line(now, patience)
                self._begin()
                return
        if not hold(self._descriptor):
            self._stand_in_line(now, patience)
            is_new = True
        if is_new:
            self._begin()

    def _begin(self) -> None:
        self.runs += 1
        self.moved = self._began = time.monotonic()
        # It helps those that wait; on a full disk they have to do without.
        with suppress(OSError):
            os.pwrite(self._next, _STAMP.pack(self._began), 0)

    def give(self) -> None:
        """
        Let others have it.
        """
        if self._descriptor in _held:
            _lock(self._descriptor, LOCK_UN)
            self._given = time.monotonic()

    def _is_alone(self) -> bool:
        if not hold(self._next):
            return False
        _lock(self._next, LOCK_UN)
        return True

    def _stand_in_line(self, since: float, patience: float) -> None:
        is_next = False
        now = self.moved = since
        run = self._run()
        try:
            while now - self.moved < patience and now - since < max(_LONGEST, patience):
                waited = now - since
                if not is_next:
                    is_next = hold(self._next)
                if (is_next or waited > _STUCK) and hold(self._descriptor):
                    return
                time.sleep(self._pause(now, since, run) if is_next else _scattered(_look_in(waited)))
                now = time.monotonic()
                before, run = run, self._run()
                if run != before:
                    self.moved = self.passed = now
        finally:
            if is_next:
                _lock(self._next, LOCK_UN)
        msg = f"its lock {self.path.name} could not be had for {now - since:.3g} s: others have it in turns"
        if now - self.moved >= patience:
            msg = f"another process has held its lock {self.path.name} for {patience:g} s"
        raise LockAway(msg)

    def _run(self) -> float:
        """
        Return when the run under way began; 0 where nobody knows.
        """
        try:
            began: float = _STAMP.unpack(os.pread(self._next, _STAMP.size, 0))[0]
        except (OSError, struct.error):
            return 0.0
        return began

    def _pause(self, now: float, since: float, run: float) -> float:
        """
        Return in how many seconds whoever is next looks again.
        """
        rest = run + _RUN - now
        if now == since or -_OVER < rest <= 0:
            return _scattered(_SOON)
        return rest if 0 < rest < _NAP else _scattered(_NAP)

    def is_there(self) -> bool:
        """
        Whether the file at the path is still the one that is open here: if not, others may hold another.
        """
        try:
            return os.path.samestat(os.fstat(self._descriptor), self.path.stat())
        except OSError:
            return False

    def read(self) -> bytes:
        """
        Return what the holder finds in the file.
        """
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        return os.read(self._descriptor, 64)

    def write(self, text: bytes) -> None:
        """
        Write *text* to the start of the file, for whoever holds the lock later.
        """
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.write(self._descriptor, text)

    def close(self) -> None:
        """
        Close the file; the next turn opens it again.
        """
        _close(self._descriptor)
        _close(self._next)
        self._descriptor = self._next = -1


def _look_in(waited: float) -> float:
    return max(_LEAST, _FIRST / (1 + (waited / _HALF) ** 2))


def _scattered(pause: float) -> float:
    return pause * (0.75 + random.random() / 2)  # noqa: S311 - so that those who look don't keep step


def _door(path: Path) -> Path:
    return path.with_name(path.name + ".next")


def _opened(path: Path) -> int:
    try:
        return _open(path)
    except OSError as error:
        msg = f"its lock {path.name} can't be opened: {error.strerror or type(error).__name__}"
        raise LockAway(msg) from None


def _open(path: Path) -> int:
    with _guard:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        _held.add(descriptor)
    return descriptor


def _close(descriptor: int) -> None:
    with _guard:
        # After a fork it may be closed already, and its number another file's.
        if descriptor in _held:
            _held.discard(descriptor)
            os.close(descriptor)


def _after_fork() -> None:
    global _guard  # noqa: PLW0603 - the thread that may hold it is not in the child
    _guard = RLock()
    while _held:
        with suppress(OSError):
            os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
