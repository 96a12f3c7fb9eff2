"""
The peers, each in its best honest configuration: in memory, one key, a limit that is never reached.

Where a peer offers several algorithms, the one that does the job for the least is taken. None is asked to do more than
it offers: two limits that a peer can't take at once are taken one after the other, and the table says "not atomic".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiolimiter import AsyncLimiter
from asynciolimiter import LeakyBucketLimiter
from pyrate_limiter import Limiter, Rate, StateBucket, TokenBucket
from throttled import MemoryStore, RateLimiterType, Throttled, per_min, per_sec
from throttled.asyncio import MemoryStore as AsyncMemoryStore
from throttled.asyncio import Throttled as AsyncThrottled

__all__ = [
    "MANY",
    "aiolimiters",
    "asynciolimiters",
    "floor",
    "pyrate_log",
    "pyrate_tokens",
    "throttled_async",
    "throttled_sync",
]

MANY = 1_000_000
"""
A limit per second that no bench reaches.
"""

_SECOND_MS = 1_000
_MINUTE_MS = 60_000


def floor(limits: int) -> Callable[[], bool]:
    """
    Return the cheapest thing in pure Python that does the job: one GCRA cell for each of *limits*, no lock, no wait.
    """
    from time import monotonic_ns

    gap, span = 1_000, 1_000_000_000
    cells = [0] * limits

    def one() -> bool:
        now = monotonic_ns()
        cell = cells[0]
        after = (cell if cell > now else now) + gap
        if after - now > span:
            return False
        cells[0] = after
        return True

    def both() -> bool:
        now = monotonic_ns()
        first, second = cells
        first = (first if first > now else now) + gap
        second = (second if second > now else now) + gap
        if first - now > span or second - now > span:
            return False
        cells[0], cells[1] = first, second
        return True

    return one if limits == 1 else both


def aiolimiters() -> tuple[AsyncLimiter, AsyncLimiter]:
    """
    Return a limiter for a second and one for a minute.
    """
    return AsyncLimiter(MANY, 1), AsyncLimiter(60 * MANY, 60)


def asynciolimiters() -> tuple[LeakyBucketLimiter, LeakyBucketLimiter]:
    """
    Return a limiter for a second and one for a minute.
    """
    return LeakyBucketLimiter(MANY, capacity=MANY), LeakyBucketLimiter(MANY, capacity=60 * MANY)


def pyrate_log(limits: int) -> Limiter:
    """
    Return pyrate's default, a log of what was let through; all *limits* at once.
    """
    return Limiter([Rate(MANY, _SECOND_MS), Rate(60 * MANY, _MINUTE_MS)][:limits])


def pyrate_tokens(limits: int) -> Limiter:
    """
    Return pyrate's token bucket; all *limits* at once.
    """
    rates = [Rate(MANY, _SECOND_MS), Rate(60 * MANY, _MINUTE_MS)][:limits]
    return Limiter(StateBucket(rates, algorithm=TokenBucket()))


def throttled_sync() -> tuple[Throttled, Throttled]:
    """
    Return a GCRA limiter for a second and one for a minute.
    """
    return tuple(_throttled(Throttled, MemoryStore()))


def throttled_async() -> tuple[AsyncThrottled, AsyncThrottled]:
    """
    Return a GCRA limiter for a second and one for a minute.
    """
    return tuple(_throttled(AsyncThrottled, AsyncMemoryStore()))


def _throttled(kind: Any, store: Any) -> list[Any]:
    quotas = {"s": per_sec(MANY, burst=MANY), "m": per_min(60 * MANY, burst=60 * MANY)}
    gcra = RateLimiterType.GCRA.value
    return [kind(key=key, using=gcra, quota=quota, store=store, timeout=10) for key, quota in quotas.items()]
