"""
D: a limit for each of a million users.

Each run has an interpreter of its own (``python -m bench.keys NAME KEYS``). Memory is what the process grew by while
the keys were touched; the keys' own texts were there before, for everybody.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from bench.measure import Table, fresh, resident_bytes

__all__ = ["measure"]

_FEW, _MANY = 1_000, 1_000_000
_TOUCHES = 100_000
_PERIOD = 60.0

Touch = Callable[[str], object]


class Contender(NamedTuple):
    """
    One way to limit by key.

    Attributes:
        label: What the table calls it.
        make: Returns what touches a key; and, where it is asked for, what lets two idle periods pass.
        forgets: Whether it can be told that time passes.
    """

    label: str
    make: Callable[[], tuple[Touch, Callable[[], int] | None]]
    keys: int = _MANY


def _dictionary() -> tuple[Touch, None]:
    cells: dict[str, float] = {}
    gap, span = 0.6, _PERIOD

    def touch(key: str) -> bool:
        now = time.monotonic()
        cell = cells.get(key, 0.0)
        after = (cell if cell > now else now) + gap
        if after - now > span:
            return False
        cells[key] = after
        return True

    return touch, None


def _egressor(limit: str) -> Callable[[], tuple[Touch, Callable[[], int]]]:
    def make() -> tuple[Touch, Callable[[], int]]:
        from egressor import Governor
        from egressor.testing import FakeClock

        clock = FakeClock(jumps=False)
        rule = {"match": {"user": "*"}, "limits": [limit]}
        gov = Governor(services={"upstream": {"rules": [rule]}}, clock=clock)

        @gov.throttled("upstream", scope=lambda user: {"user": user}, deadline=None)
        def touch(user: str) -> None:
            pass

        def idle() -> int:
            clock.advance(2.1 * _PERIOD)
            return int(str(gov.gate("upstream").snapshot()["keys"]))

        return touch, idle

    return make


def _gate(limit: str) -> Callable[[], tuple[Touch, None]]:
    def make() -> tuple[Touch, None]:
        from egressor import Governor

        rule = {"match": {"user": "*"}, "limits": [limit]}
        gate = Governor(services={"upstream": {"rules": [rule]}}).gate("upstream")
        make_ask, enter = gate.compiled.ask, gate.enter
        cost = {"requests": 1}

        def touch(user: str) -> object:
            return enter(make_ask(scope={"user": user}, cost=cost, level=1))

        return touch, None

    return make


def _aiolimiters() -> tuple[Touch, None]:
    from aiolimiter import AsyncLimiter

    limiters: dict[str, AsyncLimiter] = {}

    def touch(key: str) -> object:
        limiter = limiters.get(key)
        if limiter is None:
            limiter = limiters[key] = AsyncLimiter(100, _PERIOD)
        # What acquire() does for somebody who needn't wait; nobody awaits here.
        coroutine = limiter.acquire()
        try:
            coroutine.send(None)
        except StopIteration:
            return True
        return False

    return touch, None


def _throttled() -> tuple[Touch, None]:
    from throttled import MemoryStore, RateLimiterType, Throttled, per_min

    store = MemoryStore(options={"MAX_SIZE": 2 * _MANY})
    limiter = Throttled(using=RateLimiterType.GCRA.value, quota=per_min(100, burst=100), store=store)
    return limiter.limit, None


CONTENDERS = {
    "floor": Contender("floor: a dict of floats, no lock", _dictionary),
    "gcra": Contender("**egressor** `100/minute burst 100`, a decorated call", _egressor("100/minute burst 100")),
    "sliding": Contender("**egressor** `100/minute`, a decorated call", _egressor("100/minute")),
    "gate": Contender("**egressor** `100/minute burst 100`, admission alone", _gate("100/minute burst 100")),
    "throttled": Contender("throttled-py GCRA, room for all keys", _throttled),
    "aiolimiter": Contender("aiolimiter, one in a dict for each key", _aiolimiters),
}


def measure(*, rounds: int) -> list[Table]:
    """
    Measure everybody, and return the table.
    """
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name, contender in CONTENDERS.items():
            runs[name].append(fresh("bench.keys", name, str(contender.keys)))
    rows = []
    for name, contender in CONTENDERS.items():

        def median(key: str, each: list[dict[str, float]] = runs[name]) -> float:
            return statistics.median(run[key] for run in each)

        left = f"{median('left_bytes'):,.0f}" if runs[name][0]["keys_left"] >= 0 else ""
        keys_left = f"{median('keys_left'):,.0f}" if runs[name][0]["keys_left"] >= 0 else "kept"
        rows.append(
            [
                contender.label,
                f"{median('bytes'):,.0f}",
                f"{median('few_ns'):,.0f}",
                f"{median('many_ns'):,.0f}",
                keys_left,
                left,
            ]
        )
    columns = [
        "1,000,000 keys",
        "bytes a key",
        "CPU ns a touch, 1,000 keys",
        "CPU ns a touch, 1,000,000",
        "keys after two idle periods",
        "bytes a key then",
    ]
    notes = [
        "Bytes are the growth of the resident set, without the keys' own texts, which whoever calls holds.",
        "Touches are in random order. The two idle periods are a fake clock's; nothing scans the keys.",
    ]
    return [Table("D. A limit for each of a million keys", columns, rows, notes)]


async def run(name: str, keys: int) -> dict[str, float]:
    """
    Touch *keys* keys, and return what it took. Nothing here waits; a peer wants a loop to run.
    """
    import random

    touch, idle = CONTENDERS[name].make()
    few = [f"few{number}" for number in range(_FEW)]
    many = [f"user{number}" for number in range(keys)]
    chance = random.Random(7)
    order_few = [chance.choice(few) for _ in range(20_000)]
    order_many = [chance.choice(many) for _ in range(_TOUCHES)]
    for key in few:
        touch(key)
    few_ns = _time(touch, order_few)
    gc.collect()
    before = resident_bytes()
    for key in many:
        touch(key)
    gc.collect()
    grown = resident_bytes() - before
    many_ns = _time(touch, order_many)
    keys_left = -1 if idle is None else idle()
    gc.collect()
    return {
        "bytes": grown / keys,
        "few_ns": few_ns,
        "many_ns": many_ns,
        "keys_left": keys_left,
        "left_bytes": (resident_bytes() - before) / keys,
    }


def _time(touch: Touch, order: list[str]) -> float:
    started = time.process_time_ns()
    for key in order:
        touch(key)
    return (time.process_time_ns() - started) / len(order)


def main(name: str, keys: str) -> Any:
    """
    Run one contender, and print what it took as JSON.
    """
    print(json.dumps(asyncio.run(run(name, int(keys)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
