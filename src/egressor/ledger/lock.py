"""
One writer at a time, over all processes of this host.

SQLite has locks of its own, which say who may write; this one stands in front of them, for two reasons. It makes those
who come at once take turns without tearing at the file. And in WAL mode, which another user of the same file may have
chosen, SQLite before 3.51.3 can lose committed pages where two connections write and checkpoint at the same moment:
behind one lock there is no such moment.

*Fair.* Two locks, as at a counter where one person stands next in line: whoever comes takes the second lock, waits
for the first, and lets go of the second. So whoever has just had a turn can't have the next one past somebody who
waits, and only one process looks closely; all others, newcomers and old, look each millisecond, and are served by
chance. Eight processes that never stop wait some ten milliseconds each.

The kernel gives a lock back when its holder dies. It is opened anew for each turn, and a child closes the copies that
a fork has given it: so nobody holds it who doesn't know.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import ExitStack, contextmanager, suppress
from threading import Lock
from typing import TYPE_CHECKING

from . import LedgerAway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["hold", "turn"]

_PATIENCE = 2.0
_CLOSELY = 0.000_1
_LOOSELY = 0.001
# Who has waited so long waits for somebody that is stuck, and looks less often.
_LONG = 0.2
_RARELY = 0.02
_held: set[int] = set()
_guard = Lock()


@contextmanager
def turn(path: Path, *, patience: float = _PATIENCE) -> Iterator[None]:
    """
    Hold the lock file at *path* for a piece of work; beside it is another one, for who is next.

    Raises:
        LedgerAway: Somebody else held it for *patience* seconds, or it can't be opened.
    """
    with ExitStack() as mine:
        end = time.monotonic() + patience
        with ExitStack() as door:
            _wait(_descriptor(door, path.with_name(path.name + ".next")), end, _LOOSELY, path, patience)
            _wait(_descriptor(mine, path), end, _CLOSELY, path, patience)
        yield


def _wait(descriptor: int, end: float, pause: float, path: Path, patience: float) -> None:
    while not hold(descriptor):
        left = end - time.monotonic()
        if left <= 0:
            msg = f"another process has held its lock {path.name} for {patience:g} s"
            raise LedgerAway(msg)
        longest = pause if left > patience - _LONG else _RARELY
        time.sleep(longest * (0.5 + random.random()))  # noqa: S311 - so that those who look don't keep step


def _descriptor(stack: ExitStack, path: Path) -> int:
    try:
        descriptor = _open(path)
    except OSError as error:
        msg = f"its lock {path.name} can't be opened: {error.strerror or type(error).__name__}"
        raise LedgerAway(msg) from None
    stack.callback(_close, descriptor)
    return descriptor


def hold(descriptor: int) -> bool:
    """
    Take the lock of an open file, without waiting; closing the file gives it back.
    """
    try:
        import fcntl
    except ImportError:  # pragma: no cover - Windows, whose locks are of a range of bytes
        import msvcrt

        with suppress(OSError):
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            return True
        return False
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


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
    _guard = Lock()
    while _held:
        with suppress(OSError):
            os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
