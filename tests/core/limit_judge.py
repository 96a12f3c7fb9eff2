"""
A judge of limits that knows nothing of cells: it reads the log of what was let through, and counts.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from egressor._core.limits import Concurrency, Fixed, Gcra, Sliding

Log = list[tuple[int, int]]


def most_in_any_window(log: Sequence[tuple[int, int]], length: int) -> int:
    """
    Return the largest number of units in any half-open window of *length* microseconds: one that begins at an entry.
    """
    return max((sum(units for at, units in log if start <= at < start + length) for start, _ in log), default=0)


def excess_over_bucket(log: Sequence[tuple[int, int]], *, burst: int, gap: int) -> int:
    """
    Return by how much any stretch of *log* exceeds a bucket of *burst* that gets one unit each *gap*; 0 if none does.
    """
    times = sorted(at for at, _ in log)
    return max(
        (
            sum(units for at, units in log if first <= at <= last) - burst - (last - first) // gap
            for index, first in enumerate(times)
            for last in times[index:]
        ),
        default=0,
    )


def let_through(limit: Gcra | Sliding | Fixed | Concurrency, asks: Sequence[tuple[int, int]]) -> Log:
    """
    Ask *limit* for each (microseconds since the ask before, units), and return what it granted, and when.
    """
    cell, log = 0, []
    for now, (_, units) in zip(accumulate(pause for pause, _ in asks), asks, strict=True):
        after = limit.ask(cell, now, units)
        if after >= 0:
            cell = after
            log.append((now, units))
    return log


def one_after_the_other(limit: Gcra | Sliding | Fixed | Concurrency, cell: int, now: int, units: int) -> int:
    """
    Take *units* one by one, each as soon as the limit says, and return how long the last one waited.
    """
    start = now
    for _ in range(units):
        after = limit.ask(cell, now, 1)
        if after < 0:
            now -= after
            after = limit.ask(cell, now, 1)
        cell = after
    return now - start


def asks(*, pause: int, units: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """
    Draw asks: bursts at one instant, single microseconds, and pauses up to *pause*.
    """
    pauses = st.one_of(st.just(0), st.just(1), st.integers(0, pause))
    return st.lists(st.tuples(pauses, st.integers(1, units)), min_size=1, max_size=60)


def is_sorted(values: Sequence[int], key: Callable[[int], int] = int) -> bool:
    """
    Tell whether *values* never fall.
    """
    return all(key(one) <= key(two) for one, two in pairwise(values))
