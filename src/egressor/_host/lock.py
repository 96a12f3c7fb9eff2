"""
One at a time, over all processes of this host.

SQLite has locks of its own, which say who may write; these stand in front of them, for two reasons. They make those
who come at once take turns without tearing at the file. And in WAL mode SQLite before 3.51.3 can lose committed pages
where two connections write and checkpoint at the same moment: behind one lock there is no such moment.

*Fair.* Who has to wait writes down since when, in a file beside the lock, the board; so everybody sees who is next.
Only that one looks closely, and all others the less often the more there are before them. The board is no more than
a hint: whoever finds that nobody uses the lock has it, be the one who is next stopped, killed or slow to wake.

*Fast.* Turns are short, and to wake somebody takes longer than most of them. So whoever has it may have it again, for a
run of some milliseconds; then it looks whether somebody waits, and goes to the end of the line. When its run began and
its last turn ended stands on the board, too: so whoever is next leaves a run alone until it is over, or until nothing
comes of it any more, and all that wait see that others have their turns. Eight processes that never stop have run after
run, each as many as the others, and wait some thirty milliseconds in between; who comes now and then waits for a tenth
of a millisecond.

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

# A latch. Who comes back this soon goes on with its run: for so long nobody else tries, then whoever is next does, and
# at last it makes room itself. So the lock is in use until somebody is awake to take it.
_GAP = 0.002
_RUN = 0.004
_LAST = 0.005
# A run of several turns goes on if the last one ended this short a time ago.
_PAUSE = 0.000_1
# Nobody has used the lock for so long: whoever looks may have it, although others came before.
_IDLE = 0.000_3
# Who is next looks soon, as a turn is short, and then less often, as there seems to be a run.
_SOON = 0.000_03
_NAP = 0.000_8
# Who isn't next looks the more often the fewer are before it, in parts of a run for each of them.
_PART = 0.6
_LEAST = 0.000_15
# For so long after the end of a run whoever is next looks closely.
_OVER = 0.002
# The board: when the run under way began, when its last turn ended, since when others wait; 0 for nobody.
_STAMP = struct.Struct("<d")
_PLACES = 64
_BOARD = struct.Struct(f"<{2 + _PLACES}d")
_NOBODY = (0.0,) * (2 + _PLACES)
# So long it waits at most while others have their turns, however busy the machine is.
_LONGEST = 1.0
# A nap that ends so much later was none: the process did not run.
_LATE = 0.1
# So often it is seen whether somebody has removed the file, after which others have another lock.
_CHECK_EACH = 1.0

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

    Attributes:
        slept: Whether this process did not run in the middle of its wait, so that its time went by with nobody's fault.
    """

    slept = False


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
        path: The file, made when it is needed; beside it is another one, the board.

    Attributes:
        runs: How many runs of turns it has had, the present one included.
        moved: When somebody had a turn last, as far as is known here, or else this one began to wait, in seconds of
            monotonic time.
        is_ours: Whether nobody else has had a turn since its last one, as far as the board tells.
        passed: When somebody else was last seen to have a turn; 0 for never.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs = 0
        self.moved = 0.0
        self.passed = 0.0
        self.is_ours = False
        self._descriptor = -1
        self._board = -1
        self._began = 0.0
        self._stamp = b"none"
        self._given = 0.0
        self._has_turn = False
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
                self._board = _opened(_beside(self.path))
            except LockAway:
                # Whoever has no second one to spare may not keep the first, and take one more at each try.
                self.close()
                raise
        run = now - self._began
        is_over = run >= _LAST and now - self._given <= _GAP and bool(_line(self._read_board(), now))
        if is_over or not hold(self._descriptor):
            self._stand_in_line(now, patience)
        self._has_turn = True
        self.is_ours = self._read_stamp() == self._stamp
        if self.is_ours and (run < _RUN or (run < _LAST and _line(self._read_board(), now))):
            return
        self._begin()

    def _begin(self) -> None:
        self.runs += 1
        self.moved = self._began = time.monotonic()
        self._stamp = _STAMP.pack(self._began)
        self._post(0, self._stamp)

    def give(self) -> None:
        """
        Let others have it, also after a `take` that has failed.
        """
        if self._descriptor in _held:
            if self._has_turn:
                # Whoever had none may not tell others that a turn has ended.
                self._has_turn = False
                self._given = time.monotonic()
                self._post(1, _STAMP.pack(self._given))
            _lock(self._descriptor, LOCK_UN)

    def _stand_in_line(self, since: float, patience: float) -> None:
        now = self.moved = since
        board = self._read_board()
        place = _free(board, now)
        slept = False
        self._post(place, _STAMP.pack(since))
        try:
            while now - self.moved < patience and now - since < max(_LONGEST, patience):
                before = sum(each < since for each in _line(board, now))
                if _may_try(board, now, before) and hold(self._descriptor):
                    return
                wake_at = now + _pause(board, now, since, before)
                time.sleep(wake_at - now)
                now = time.monotonic()
                slept = slept or now > wake_at + _LATE
                was, board = board, self._read_board()
                if board[0] != was[0]:
                    self.moved = self.passed = now
        finally:
            self._post(place, _STAMP.pack(0.0))
        msg = f"its lock {self.path.name} could not be had for {now - since:.3g} s: others have it in turns"
        if now - self.moved >= patience:
            msg = f"another process has held its lock {self.path.name} for {patience:g} s"
        error = LockAway(msg)
        error.slept = slept
        raise error

    def _read_board(self) -> tuple[float, ...]:
        try:
            return _BOARD.unpack(os.pread(self._board, _BOARD.size, 0).ljust(_BOARD.size, b"\0"))
        except OSError:
            return _NOBODY

    def _read_stamp(self) -> bytes:
        try:
            return os.pread(self._board, _STAMP.size, 0)
        except OSError:
            return b""

    def _post(self, place: int, stamp: bytes) -> None:
        # It helps those that wait; on a full disk they have to do without.
        try:  # noqa: SIM105 - half as long as `suppress`, and on every turn's way
            os.pwrite(self._board, stamp, place * _STAMP.size)
        except OSError:
            pass

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
        _close(self._board)
        self._descriptor = self._board = -1


def _line(board: tuple[float, ...], now: float) -> list[float]:
    """
    Return since when others wait; whoever was killed on the way is forgotten after a second.
    """
    return [each for each in board[2:] if each and now - _LONGEST < each <= now]


def _free(board: tuple[float, ...], now: float) -> int:
    """
    Return a place of the board that nobody seems to have; where there is none, somebody else's.
    """
    free = [place for place in range(2, len(board)) if not now - 2 * _LONGEST < board[place] <= now]
    return random.choice(free or range(2, len(board)))  # noqa: S311 - two that come at once take two places


def _is_in_use(board: tuple[float, ...], now: float) -> bool:
    """
    Whether a run is under way that goes on.
    """
    began, given = board[:2]
    return given - began > _PAUSE and now - given <= _PAUSE and now - began < _RUN


def _may_try(board: tuple[float, ...], now: float, before: int) -> bool:
    """
    Whether whoever has so many *before* it may have the lock if it is free.
    """
    return now - max(board[:2]) > _IDLE if before else not _is_in_use(board, now)


def _pause(board: tuple[float, ...], now: float, since: float, before: int) -> float:
    """
    Return in how many seconds whoever has so many *before* it looks again.
    """
    began = board[0]
    if before:
        return _scattered(max(_LEAST, before * _PART * min(_RUN, now - began)))
    if _is_in_use(board, now):
        return min(began + _RUN - now, _scattered(_NAP))
    return _scattered(_SOON if now == since or now - began - _RUN < _OVER else _NAP)


def _scattered(pause: float) -> float:
    return pause * (0.75 + random.random() / 2)  # noqa: S311 - so that those who look don't keep step


def _beside(path: Path) -> Path:
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
