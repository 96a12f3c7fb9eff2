"""
The judge of contended runs, written apart from what it judges.

It imports nothing of Egressor and is told nothing of how grants are decided. It reads what anybody outside could write
down: when each call came, when it went, and what its priority was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

__all__ = ["Grant", "most_in_any", "overshoot", "overtakings"]


class Grant(NamedTuple):
    """
    One call that went.

    Attributes:
        came: When it asked, in nanoseconds.
        went: When it went, on the same clock.
        rank: What goes first: the lower number.
    """

    came: int
    went: int
    rank: int = 0


def most_in_any(times: Iterable[int], window: int) -> int:
    """
    Return the most of *times* that lie in any half-open interval as long as *window*, in the unit of both.
    """
    inside: deque[int] = deque()
    most = 0
    for time in sorted(times):
        inside.append(time)
        while inside[0] <= time - window:
            inside.popleft()
        most = max(most, len(inside))
    return most


def overshoot(times: Iterable[int], *, limit: int, burst: int, window: int) -> int:
    """
    Return by how many calls the fullest window held more than *limit* and the stated *burst*; 0 where none did.
    """
    return max(0, most_in_any(times, window) - limit - burst)


def overtakings(grants: Sequence[Grant]) -> int:
    """
    Return how many calls went although one that goes first was waiting: of a lower rank, or of the same and earlier.

    Whoever came after a call had gone could not be overtaken by it. What is left over must have been served in order,
    so a call counts if, at its turn, another one that had come before it *went* stood ahead of it.
    """
    order = sorted(grants, key=lambda grant: grant.went)
    arrivals = sorted((grant.came, grant.rank, index) for index, grant in enumerate(order))
    gone = [False] * len(order)
    waiting: list[tuple[int, int, int]] = []
    wrong = 0
    upcoming = iter([*arrivals, (1 << 63, 0, -1)])
    following = next(upcoming)
    for index, grant in enumerate(order):
        while following[0] <= grant.went and following[2] >= 0:
            came, rank, who = following
            heappush(waiting, (rank, came, who))
            following = next(upcoming)
        gone[index] = True
        while waiting and gone[waiting[0][2]]:
            heappop(waiting)
        wrong += bool(waiting) and waiting[0][:2] < (grant.rank, grant.came)
    return wrong
