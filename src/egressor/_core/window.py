"""
Counts over the last so-and-so many microseconds, in ten sub-windows.

A count goes into the newest sub-window; when time moves on, the oldest ones are subtracted and used again. So adding
is O(1), the totals are always ready, and the memory doesn't depend on the traffic. The price: the window is between
nine and ten tenths of its length, never more.

A time up to one width before the newest sub-window counts as the newest: threads read the clock before they get here,
and may arrive in the wrong order. A time further back means that the clock was stepped: the counts keep their age, and
the newest sub-window is said to begin now. So a clock that steps back neither forgets a count nor keeps one for longer
than the window and one sub-window more.
"""

from __future__ import annotations

__all__ = ["SUB_WINDOWS", "SubWindows", "width_of"]

SUB_WINDOWS = 10
"""
How many parts a window has: what resilience4j and Polly use; finer costs memory, coarser forgets in leaps.
"""


def width_of(window: int) -> int:
    """
    Return the microseconds of one sub-window, rounded up, of a *window* of so many microseconds.
    """
    return -(-window // SUB_WINDOWS)


class SubWindows:
    """
    A few counters that forget.

    Args:
        columns: How many counters there are.

    Attributes:
        start: When the newest sub-window began, in microseconds.
        totals: Each column's count as of the last `advance`; read only.
    """

    __slots__ = ("_columns", "_counts", "_newest", "start", "totals")

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._newest = 0
        self._counts = [0] * (columns * SUB_WINDOWS)
        self.start = 0
        self.totals = [0] * columns

    def advance(self, now: int, width: int) -> None:
        """
        Forget what is too old at *now*; sub-windows are *width* microseconds long.
        """
        if self.start - width <= now < self.start + width:
            return
        for _ in range(self._passed(now, width)):
            self._newest = (self._newest + 1) % SUB_WINDOWS
            at = self._newest * self._columns
            for column in range(self._columns):
                self.totals[column] -= self._counts[at + column]
                self._counts[at + column] = 0
        self.start = now - max(0, now - self.start) % width

    def add(self, column: int, amount: int) -> None:
        """
        Count *amount*, which may be negative, in the newest sub-window.
        """
        self._counts[self._newest * self._columns + column] += amount
        self.totals[column] += amount

    def peek(self, now: int, width: int, *, fresh: int = 0) -> list[int]:
        """
        Return the totals as they would be at *now*, and change nothing.

        Args:
            now: Microseconds.
            width: Microseconds of one sub-window.
            fresh: What the caller has yet to `add` to the first column of the newest sub-window.
        """
        passed = self._passed(now, width)
        totals = list(self.totals)
        if passed < SUB_WINDOWS:
            totals[0] += fresh
        for step in range(1, passed + 1):
            at = (self._newest + step) % SUB_WINDOWS * self._columns
            for column in range(self._columns):
                totals[column] -= self._counts[at + column]
        return totals

    def clear(self) -> None:
        """
        Forget everything.
        """
        self._counts = [0] * len(self._counts)
        self.totals = [0] * self._columns

    def dump(self) -> list[int]:
        """
        Return it as plain integers, for `load`.
        """
        return [self.start, self._newest, *self._counts]

    def load(self, dumped: list[int], shift: int = 0) -> None:
        """
        Become what `dump` has said, *shift* microseconds later; integers of another shape are nothing.
        """
        self.clear()
        if len(dumped) == len(self._counts) + 2:
            self.start = dumped[0] + shift if dumped[0] else 0
            self._newest = dumped[1] % SUB_WINDOWS
            self._counts = dumped[2:]
            self.totals = [sum(dumped[2 + column :: self._columns]) for column in range(self._columns)]

    def _passed(self, now: int, width: int) -> int:
        """
        Return how many sub-windows have ended since the newest began; 0 if the clock was stepped back.
        """
        return max(0, min((now - self.start) // width, SUB_WINDOWS))
