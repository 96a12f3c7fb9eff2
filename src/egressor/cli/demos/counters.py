"""
The services' own limiters, written apart from the governor's: what they count is what the server sees.

Times are float seconds: these are servers of the kind that are out there.
"""

from __future__ import annotations

__all__ = ["Bucket", "Windows"]


class Bucket:
    """
    A bucket that leaks at *rate*: nginx's ``limit_req`` with ``nodelay``.

    Args:
        rate: Units per second.
        size: Units that it holds.
    """

    def __init__(self, *, rate: float, size: float) -> None:
        self.rate = rate
        self.size = size
        self._level = 0.0
        self._at = 0.0

    def take(self, now: float, units: float = 1.0) -> float:
        """
        Take *units*: 0, or the seconds until they would fit.
        """
        level = max(0.0, self._level - (now - self._at) * self.rate)
        self._level, self._at = level, now
        if level + units > self.size:
            return (level + units - self.size) / self.rate
        self._level += units
        return 0.0

    def left(self, now: float) -> float:
        """
        Return how many units fit.
        """
        return self.size - max(0.0, self._level - (now - self._at) * self.rate)


class Windows:
    """
    Windows aligned to the wall clock.

    Args:
        amount: Units per window.
        period: Seconds.
    """

    def __init__(self, *, amount: int, period: float) -> None:
        self.amount = amount
        self.period = period
        self.used = 0
        self._number = -1

    def take(self, wall: float, units: int = 1) -> float:
        """
        Take *units*: 0, or the seconds until the window is over.
        """
        number = int(wall // self.period)
        if number != self._number:
            self._number, self.used = number, 0
        if self.used + units > self.amount:
            return self.rest(wall)
        self.used += units
        return 0.0

    def rest(self, wall: float) -> float:
        """
        Return the seconds until the window is over.
        """
        return self.period - wall % self.period
