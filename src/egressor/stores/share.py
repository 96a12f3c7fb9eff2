"""
A process's share of a limit, for as long as it can't ask the others.
"""

from __future__ import annotations

from egressor._core.limits import Algorithm, Concurrency, Fixed, Gcra, Sliding

__all__ = ["share_of"]


def share_of(limit: Algorithm, members: int) -> Algorithm:
    """
    Return what one of so many *members* may take of *limit*: all of them together take no more than it gives.

    It is never nothing. Where there are more members than units, each takes one in a longer time. Places have no time
    to be cut in: each member gets one at least.
    """
    if isinstance(limit, Concurrency):
        return Concurrency(amount=max(1, limit.amount // members))
    if isinstance(limit, Gcra):
        return Gcra(amount=limit.amount, period=limit.period * members, burst=max(1, limit.most // members))
    if limit.amount < members:
        return Gcra(amount=limit.amount, period=limit.period * members, burst=1)
    if isinstance(limit, Sliding):
        return Sliding(amount=limit.amount // members, period=limit.period)
    return Fixed(
        amount=limit.amount // members, period=limit.period, month=limit.month, count=limit.count, zone=limit.zone
    )
