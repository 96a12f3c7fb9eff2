"""
D: a limit for each of a million users.

Each run has an interpreter of its own (``python -m bench.keys touch NAME``). Memory is what the process grew by while
the keys were touched; the keys' own texts were there before, for everybody.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
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
        make: Returns what touches a key.
        forget: Returns what touches a key, and what lets two idle periods pass and counts the keys that are left.
    """

    label: str
    make: Callable[[], Touch]
    forget: Callable[[], tuple[Touch, Callable[[], int]]] | None = None


def _dictionary() -> Touch:
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

    return touch


def _decorated(limit: str, clock: Any = None) -> tuple[Any, Touch]:
    from egressor import Governor

    rule = {"match": {"user": "*"}, "limits": [limit]}
    gov = Governor(services={"upstream": {"rules": [rule]}}, clock=clock)

    @gov.throttled("upstream", scope=lambda user: {"user": user})
    def touch(user: str) -> None:
        pass

    return gov, touch


def _forgetting(limit: str) -> tuple[Touch, Callable[[], int]]:
    from egressor.testing import FakeClock

    clock = FakeClock(jumps=False)
    gov, touch = _decorated(limit, clock)

    def idle() -> int:
        clock.advance(2.1 * _PERIOD)
        return int(gov.gate("upstream").snapshot()["keys"])

    return touch, idle


def _egressor(limit: str) -> Contender:
    return Contender(
        f"**egressor** `{limit}`, a decorated call",
        lambda: _decorated(limit)[1],
        lambda: _forgetting(limit),
    )


def _gate() -> Touch:
    gov, _ = _decorated("100/minute burst 100")
    gate = gov.gate("upstream")
    make_ask, enter = gate.compiled.ask, gate.enter
    cost = {"requests": 1}

    def touch(user: str) -> object:
        return enter(make_ask(scope={"user": user}, cost=cost, level=1))

    return touch


def _aiolimiters() -> Touch:
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

    return touch


def _throttled() -> Touch:
    from throttled import MemoryStore, RateLimiterType, Throttled, per_min

    store = MemoryStore(options={"MAX_SIZE": 2 * _MANY})
    limiter = Throttled(using=RateLimiterType.GCRA.value, quota=per_min(100, burst=100), store=store)
    touch: Touch = limiter.limit
    return touch


CONTENDERS = {
    "floor": Contender("floor: a dict of floats, no lock", _dictionary),
    "gcra": _egressor("100/minute burst 100"),
    "sliding": _egressor("100/minute"),
    "gate": Contender("**egressor** `100/minute burst 100`, admission alone", _gate),
    "throttled": Contender("throttled-py GCRA, room for all keys", _throttled),
    "aiolimiter": Contender("aiolimiter, one in a dict for each key", _aiolimiters),
}


def measure(*, rounds: int) -> list[Table]:
    """
    Measure everybody, and return the table.
    """
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    idle: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name, contender in CONTENDERS.items():
            runs[name].append(fresh("bench.keys", "touch", name))
            if contender.forget is not None:
                idle[name].append(fresh("bench.keys", "forget", name))
    rows = []
    for name, contender in CONTENDERS.items():
        cells = [_median(runs[name], key) for key in ("bytes", "few_ns", "many_ns")]
        after = [_median(idle[name], key) for key in ("keys", "bytes")] if idle[name] else ["kept", ""]
        rows.append([contender.label, *cells, *after])
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
        "Touches are in random order. The idle periods are a fake clock's, in runs of their own.",
    ]
    return [Table("D. A limit for each of a million keys", columns, rows, notes)]


def _median(runs: list[dict[str, float]], key: str) -> str:
    return f"{statistics.median(run[key] for run in runs):,.0f}"


async def touching(name: str) -> dict[str, float]:
    """
    Touch every key, and return what it took. Nothing here waits; a peer wants a loop to run.
    """
    touch = CONTENDERS[name].make()
    few, many = [f"few{number}" for number in range(_FEW)], _users()
    chance = random.Random(7)
    order_few = [chance.choice(few) for _ in range(20 * _FEW)]
    order_many = [chance.choice(many) for _ in range(_TOUCHES)]
    for key in few:
        touch(key)
    few_ns = _time(touch, order_few)
    grown = _growth(touch, many)
    return {"bytes": grown / _MANY, "few_ns": few_ns, "many_ns": _time(touch, order_many)}


async def forgetting(name: str) -> dict[str, float]:
    """
    Touch every key, let two periods pass, and return what is left.
    """
    forget = CONTENDERS[name].forget
    assert forget is not None, f"{name} forgets nothing"
    touch, idle = forget()
    many = _users()
    before = resident_bytes()
    _growth(touch, many)
    left = idle()
    gc.collect()
    return {"keys": left, "bytes": (resident_bytes() - before) / _MANY}


def _users() -> list[str]:
    return [f"user{number}" for number in range(_MANY)]


def _growth(touch: Touch, keys: list[str]) -> int:
    gc.collect()
    before = resident_bytes()
    for key in keys:
        touch(key)
    gc.collect()
    return resident_bytes() - before


def _time(touch: Touch, order: list[str]) -> float:
    started = time.process_time_ns()
    for key in order:
        touch(key)
    return (time.process_time_ns() - started) / len(order)


def main(what: str, name: str) -> None:
    """
    Run one contender, and print what came of it as JSON.
    """
    print(json.dumps(asyncio.run({"touch": touching, "forget": forgetting}[what](name))))


if __name__ == "__main__":
    main(*sys.argv[1:])
