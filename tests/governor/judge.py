"""
A judge of rates that knows nothing of the limiter: it only looks at when things were sent.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["most_in_any_window"]


def most_in_any_window(sent_at: Sequence[int], window: int) -> int:
    """
    Return the most of *sent_at* that any half-open window of length *window* holds.
    """
    times = sorted(sent_at)
    most = first = 0
    for last, at in enumerate(times):
        while at - times[first] >= window:
            first += 1
        most = max(most, last - first + 1)
    return most
