"""
Until when a ledger may forget: what no single reading of a clock decides.

A clock can jump: a machine whose date was wrong at its start, one process that was told another time. What is deleted
by a wrong date is gone. So a ledger has an age of its own, which goes after the clock on the wall, forwards or back,
eight times as fast at most as the machine lives. Years that a wrong clock makes up age it by minutes, and are forgotten
when it is right again; weeks in which the machine was off are made up for in days.
"""

from __future__ import annotations

import time
from typing import Final

__all__ = ["PACE", "WRITTEN", "aged", "monotonic"]

PACE: Final = 8
"""
How much faster than time a ledger may age.
"""

WRITTEN: Final = 1_793_491_200_000_000
"""
1 November 2026, in microseconds since 1970: a clock that stands before it, as one that has lost its battery, is wrong.
"""


def aged(age: int, lived: int, now: int) -> int:
    """
    Return the age of a ledger that was *age* when the machine had lived *lived* microseconds less, as the clock on the
    wall says *now*.
    """
    most = PACE * max(0, lived)
    return min(max(now, WRITTEN, age - most), age + most)


def monotonic() -> int:
    """
    Return monotonic time, in microseconds.
    """
    return time.monotonic_ns() // 1_000
