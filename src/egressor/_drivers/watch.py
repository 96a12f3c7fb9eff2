"""
Time-outs for attempts on the straight path: one timer for all of them.

``asyncio.timeout`` sets and cancels a timer for each use, which costs more than all the rest of an admission. All
attempts of one service share one time-out, so they expire in the order in which they began, and a dictionary that is
emptied from its front is the whole timer wheel. The timer is set when the first attempt begins and re-set only when
it goes off: at most once per time-out period.

The end is that of ``asyncio.timeout``: the task is cancelled, and the cancellation becomes a `TimeoutError` unless
somebody else has cancelled the task as well (bpo-33638; CPython, Lib/asyncio/timeouts.py).
"""

from __future__ import annotations

import asyncio
import time
from threading import Lock

__all__ = ["Watch", "Watched", "Watches"]

_MICRO = 1_000_000


class Watched:
    """
    One attempt under a time-out.

    Attributes:
        task: Who makes it.
        due: When its time is up, in monotonic microseconds.
    """

    __slots__ = ("_before", "due", "task")

    def __init__(self, task: asyncio.Task[object], due: int) -> None:
        self.task = task
        self.due = due
        self._before: int | None = None

    def expire(self) -> None:
        """
        Cancel the attempt.
        """
        self._before = self.task.cancelling()
        self.task.cancel("egressor: the attempt's time is up")

    @property
    def is_due(self) -> bool:
        """
        Whether it was cancelled because its time is up.
        """
        return self._before is not None

    def is_expired(self) -> bool:
        """
        Whether the cancellation that has just come is this time-out's, and nobody else's; it is taken back then.
        """
        return self._before is not None and self.task.uncancel() <= self._before


class Watch:
    """
    The attempts of one service in one event loop.

    Args:
        loop: The loop.
        timeout: Microseconds that each attempt may take.
    """

    __slots__ = ("_is_armed", "loop", "open", "timeout")

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: int) -> None:
        self.loop = loop
        self.timeout = timeout
        self.open: dict[Watched, None] = {}
        self._is_armed = False

    def begin(self, at: int) -> Watched:
        """
        Watch the running task's attempt, which began at *at*; delete it from `open` when it ends.
        """
        watched = Watched(asyncio.current_task(self.loop), at + self.timeout)  # type: ignore[arg-type]
        self.open[watched] = None
        if not self._is_armed:
            self._arm(self.timeout)
        return watched

    def _arm(self, after: int) -> None:
        self._is_armed = True
        self.loop.call_later(after / _MICRO, self._look)

    def _look(self) -> None:
        self._is_armed = False
        now = time.monotonic_ns() // 1000
        for watched in list(self.open):
            if watched.due > now:
                self._arm(watched.due - now)
                return
            del self.open[watched]
            watched.expire()


class Watches:
    """
    Every `Watch` of one governor, by event loop and time-out.
    """

    __slots__ = ("_lock", "_loops")

    def __init__(self) -> None:
        self._lock = Lock()
        self._loops: dict[asyncio.AbstractEventLoop, dict[int, Watch]] = {}

    def of(self, loop: asyncio.AbstractEventLoop, timeout: int) -> Watch:
        """
        Return the watch over the attempts in *loop* that may take *timeout* microseconds.
        """
        with self._lock:
            if loop not in self._loops:
                self._loops = {each: watches for each, watches in self._loops.items() if not each.is_closed()}
                self._loops[loop] = {}
            return self._loops[loop].setdefault(timeout, Watch(loop, timeout))
