"""
What happened at one gate, counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from egressor._core.model import Verdict

__all__ = ["Counts"]

_BUCKETS = 64
_SECOND = 1_000_000


class Counts:
    """
    Plain counters; whoever writes them holds the gate's lock.

    Attributes:
        admitted: Attempts let through.
        failed: Attempts that failed, in `categories` by their kind.
        retried: Retries that were granted.
        openings: How often the breaker opened.
        bans: How often the service banned us.
        denied: Calls refused, by reason.
        categories: Failures, by category.
        latency: Attempts by duration: the number at index n took less than 2^n microseconds and at least half of it.
    """

    __slots__ = (
        "admitted",
        "bans",
        "categories",
        "denied",
        "failed",
        "latency",
        "openings",
        "retried",
    )

    def __init__(self) -> None:
        self.admitted = 0
        self.failed = 0
        self.retried = 0
        self.openings = 0
        self.bans = 0
        self.denied: dict[str, int] = {}
        self.categories: dict[str, int] = {}
        self.latency = [0] * _BUCKETS

    @property
    def in_flight(self) -> int:
        """
        Attempts under way: let through, and neither ended nor taken back.
        """
        return max(0, self.admitted - sum(self.latency))

    def forget_flights(self) -> None:
        """
        Forget the attempts under way: in a forked child nobody ends them, but for the one that forked, maybe.
        """
        self.admitted = sum(self.latency)

    @property
    def succeeded(self) -> int:
        """
        Attempts that succeeded.
        """
        return sum(self.latency) - self.failed

    def settle(self, verdict: Verdict, duration: int) -> None:
        """
        Count an attempt's end; *duration* is in microseconds.
        """
        self.latency[max(0, duration).bit_length()] += 1
        if verdict.category is not None:
            self.failed += 1
            self.categories[verdict.category] = self.categories.get(verdict.category, 0) + 1

    def quantile(self, share: float) -> float | None:
        """
        Return the duration in seconds below which *share* of the attempts stayed, rounded up to a power of two.
        """
        wanted = share * sum(self.latency)
        seen = 0
        for index, count in enumerate(self.latency):
            seen += count
            if count and seen >= wanted:
                return float((1 << index) / _SECOND)
        return None

    def snapshot(self) -> dict[str, object]:
        """
        Return the counters, as plain values.
        """
        return {
            "in_flight": self.in_flight,
            "admitted": self.admitted,
            "succeeded": self.succeeded,
            "failed": self.failed,
            "retried": self.retried,
            "bans_total": self.bans,
            "denied": {str(why): number for why, number in self.denied.items()},
            "categories": {str(kind): number for kind, number in self.categories.items()},
            "latency_s": {f"p{round(share * 100)}": self.quantile(share) for share in (0.5, 0.95, 0.99)},
        }
