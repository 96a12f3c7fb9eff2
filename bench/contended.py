"""
C: many that wait for one limit, on one event loop.

Each run has an interpreter of its own (``python -m bench.contended NAME CALLS RATE``), so that its peak of memory and
its CPU time are its own. A run that takes too long is stopped, and reported as it stood.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Coroutine
from time import monotonic_ns
from typing import Any, NamedTuple

from bench.judge import Grant, most_in_any, overshoot, overtakings
from bench.measure import Table, fresh, peak_bytes

__all__ = ["measure"]

_SECOND = 1_000_000_000
_PATIENCE = 20.0
_BURST = 20
_LEVELS = ("critical", "high", "medium", "low")

Note = Callable[[int, int], None]
One = Callable[[int, Note], Coroutine[Any, Any, None]]


class Contender(NamedTuple):
    """
    One way to wait.

    Attributes:
        label: What the table calls it.
        make: Returns the whole of one call, for a rate and a burst: it waits for its turn, and notes that it goes.
        has_priorities: Whether it knows who goes first.
        at_once: How many it lets through at once at the beginning, for a rate and a burst.
        beyond: What it says it may let through beyond the rate, likewise.
    """

    label: str
    make: Callable[[int, int], One]
    has_priorities: bool = False
    at_once: Callable[[int, int], int] = lambda rate, burst: burst  # noqa: ARG005
    beyond: Callable[[int, int], int] = lambda rate, burst: burst  # noqa: ARG005


def _egressor(limit: Callable[[int, int], str]) -> Callable[[int, int], One]:
    def make(rate: int, burst: int) -> One:
        from egressor import Governor

        policy = {"limits": [limit(rate, burst)], "max_wait": 120, "age_after": 120, "queue_size": 100_000}
        gov = Governor(services={"upstream": policy})

        async def one(rank: int, note: Note) -> None:
            came = monotonic_ns()
            async with gov.permit("upstream", priority=_LEVELS[rank]):
                note(came, rank)

        return one

    return make


def _aiolimiter(rate: int, burst: int) -> One:
    from aiolimiter import AsyncLimiter

    limiter = AsyncLimiter(burst, burst / rate)

    async def one(rank: int, note: Note) -> None:
        came = monotonic_ns()
        async with limiter:
            note(came, rank)

    return one


def _asynciolimiter(rate: int, burst: int) -> One:
    from asynciolimiter import Limiter

    limiter = Limiter(rate, max_burst=burst)

    async def one(rank: int, note: Note) -> None:
        came = monotonic_ns()
        await limiter.wait()
        note(came, rank)

    return one


def _throttled(rate: int, burst: int) -> One:
    from throttled import RateLimiterType, per_sec
    from throttled.asyncio import MemoryStore, Throttled

    quota = per_sec(rate, burst=burst)
    limiter = Throttled(key="upstream", using=RateLimiterType.GCRA.value, quota=quota, store=MemoryStore(), timeout=120)

    async def one(rank: int, note: Note) -> None:
        came = monotonic_ns()
        await limiter.limit()
        note(came, rank)

    return one


def _pyrate(rate: int, burst: int) -> One:
    from pyrate_limiter import Limiter, Rate, StateBucket, TokenBucket

    # Its default waits 50 ms longer than it must at each turn, which takes several times as long here.
    limiter = Limiter(StateBucket([Rate(rate, 1_000, burst=burst)], algorithm=TokenBucket()), buffer_ms=0)

    async def one(rank: int, note: Note) -> None:
        came = monotonic_ns()
        await limiter.try_acquire_async()
        note(came, rank)

    return one


CONTENDERS = {
    "bucket": Contender(
        "**egressor** `{rate}/second burst {burst}`", _egressor("{}/second burst {}".format), has_priorities=True
    ),
    "sliding": Contender(
        "**egressor** `{rate}/second`",
        _egressor(lambda rate, _: f"{rate}/second"),
        has_priorities=True,
        at_once=lambda rate, _: rate,
        beyond=lambda rate, burst: 0,  # noqa: ARG005
    ),
    "aiolimiter": Contender("aiolimiter", _aiolimiter),
    "asynciolimiter": Contender("asynciolimiter", _asynciolimiter, at_once=lambda rate, burst: 1),  # noqa: ARG005
    "throttled": Contender("throttled-py GCRA", _throttled),
    "pyrate": Contender("pyrate-limiter TokenBucket, `buffer_ms=0`", _pyrate),
}


def measure(*, rounds: int) -> list[Table]:
    """
    Measure everybody, and return the tables.
    """
    return [
        _table("C. 10,000 calls wait at 2,000 a second", calls=10_000, rate=2_000, burst=_BURST, rounds=rounds),
        _table("C. 200 calls wait at 50 a second", calls=200, rate=50, burst=1, rounds=rounds),
    ]


def _table(title: str, *, calls: int, rate: int, burst: int, rounds: int) -> Table:
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name in CONTENDERS:
            # What was stopped once is as slow the next time.
            if not runs[name] or runs[name][0]["calls"] == calls:
                runs[name].append(fresh("bench.contended", name, str(calls), str(rate), str(burst)))
    columns = ["", "calls done", "seconds", "over ideal", "CPU µs a call", "peak MB", "overshoot", "overtakings"]
    notes = [
        "Ideal: the burst at once, the rest at the rate; the sliding window's burst is its whole limit.",
        "Overshoot: calls beyond limit and burst in the fullest second.",
        "Overtakings: calls that went although one of a higher priority, or as high and earlier, was waiting;",
        "only Egressor has priorities.",
        f"A run is stopped after {_PATIENCE:.0f} s; seconds are the wall clock's.",
        "Overshoot and overtakings are the worst of the rounds, the other figures their medians.",
    ]
    rows = [_cells(name, runs[name], rate=rate, burst=burst) for name in CONTENDERS]
    return Table(title, columns, rows, notes)


def _cells(name: str, runs: list[dict[str, float]], *, rate: int, burst: int) -> list[str]:
    def median(key: str) -> float:
        return statistics.median(run[key] for run in runs)

    contender = CONTENDERS[name]
    at_once = contender.at_once(rate, burst)
    ideal = max(0.001, (median("calls") - at_once) / rate)
    seconds = median("seconds")
    return [
        contender.label.format(rate=rate, burst=burst),
        f"{median('calls'):,.0f}",
        f"{seconds:.3f}",
        f"{seconds / ideal:.3f}",
        f"{median('cpu_us'):.0f}",
        f"{median('peak_mb'):.1f}",
        f"{max(run['overshoot'] for run in runs):.0f}",
        f"{max(run['overtakings'] for run in runs):.0f}" if contender.has_priorities else "-",
    ]


async def run(name: str, *, calls: int, rate: int, burst: int) -> dict[str, float]:
    """
    Let *calls* wait at once, and return what came of it.
    """
    contender = CONTENDERS[name]
    one = contender.make(rate, burst)
    chance = random.Random(7)
    ranks = [chance.randrange(len(_LEVELS)) if contender.has_priorities else 0 for _ in range(calls)]
    grants: list[Grant] = []

    def note(came: int, rank: int) -> None:
        grants.append(Grant(came, monotonic_ns(), rank))

    gc.collect()
    memory, cpu, started = peak_bytes(), time.process_time_ns(), monotonic_ns()
    tasks = [asyncio.create_task(one(rank, note)) for rank in ranks]
    _, late = await asyncio.wait(tasks, timeout=_PATIENCE)
    elapsed, cpu = monotonic_ns() - started, time.process_time_ns() - cpu
    for task in late:
        task.cancel()
    times = [grant.went for grant in grants]
    done = max(1, len(grants))
    return {
        "calls": len(grants),
        "seconds": elapsed / _SECOND,
        "cpu_us": cpu / done / 1_000,
        "peak_mb": (peak_bytes() - memory) / 1e6,
        "overshoot": overshoot(times, limit=rate, burst=contender.beyond(rate, burst), window=_SECOND),
        "fullest": most_in_any(times, _SECOND),
        "overtakings": overtakings(grants),
    }


def main(name: str, calls: str, rate: str, burst: str) -> None:
    """
    Run one contender, and print what came of it as JSON.
    """
    print(json.dumps(asyncio.run(run(name, calls=int(calls), rate=int(rate), burst=int(burst)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
