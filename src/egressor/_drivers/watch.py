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
from typing import Any

__all__ = ["Watch", "Watches"]

_MICRO = 1_000_000


class Watch:
    """
    The attempts of one service in one event loop.

    A task makes one attempt on the straight path at a time, as calls inside of it take the plan's way.

    Args:
        loop: The loop.
        timeout: Microseconds that each attempt may take.

    Attributes:
        is_armed: Whether the timer is set, as it must be while an attempt is under way.
        open: When each task's attempt began, in monotonic microseconds.
    """

    __slots__ = ("_expired", "is_armed", "loop", "open", "timeout")

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: int) -> None:
        self.loop = loop
        self.timeout = timeout
        self.open: dict[asyncio.Task[Any] | None, int] = {}
        self._expired: dict[asyncio.Task[Any] | None, int] = {}
        self.is_armed = False

    def is_over(self, task: asyncio.Task[Any] | None) -> bool:
        """
        Whether *task*'s attempt was cancelled because its time is up, and by nobody else; that is taken back then.
        """
        before = self._expired.pop(task, None)
        return before is not None and task is not None and task.uncancel() <= before

    def arm(self, after: int) -> None:
        """
        Look in *after* microseconds whether somebody's time is up.
        """
        self.is_armed = True
        self.loop.call_later(after / _MICRO, self._look)

    def _look(self) -> None:
        self.is_armed = False
        now = time.monotonic_ns() // 1000
        for task, at in list(self.open.items()):
            left = at + self.timeout - now
            if left > 0:
                self.arm(left)
                return
            del self.open[task]
            if task is None:
                continue  # It is driven by hand: there is nobody to cancel.
            self._expired[task] = task.cancelling()
            task.cancel("egressor: the attempt's time is up")


class Watches:
    """
    Every `Watch` of one governor, by event loop and time-out.
    """

    __slots__ = ("_loops",)

    def __init__(self) -> None:
        # No lock, which a fork could leave locked: what is done to it is one operation of the interpreter's each.
        self._loops: dict[asyncio.AbstractEventLoop, dict[int, Watch]] = {}

    def of(self, loop: asyncio.AbstractEventLoop, timeout: int) -> Watch:
        """
        Return the watch over the attempts in *loop* that may take *timeout* microseconds.
        """
        if loop not in self._loops:
            for old in [each for each in list(self._loops) if each.is_closed()]:
                self._loops.pop(old, None)
        return self._loops.setdefault(loop, {}).setdefault(timeout, Watch(loop, timeout))
