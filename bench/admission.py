"""
A: what it costs to pass where nothing stands in the way.

Ours is the whole permit, taken and given back as users do: the limits, the breaker, the retry budget, and the counts.
The peers' is their limiter alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from bench import peers
from bench.measure import Subject, Table, coroutine, interleave
from egressor import Governor

__all__ = ["measure"]

_SLOW = 1_000
_NS = "{:,.0f}"


def governor() -> Governor:
    """
    Return a governor whose services have one limit, two token buckets, and a token bucket with a sliding window.
    """
    second = f"{peers.MANY}/second burst {peers.MANY}"
    minute = 60 * peers.MANY
    return Governor(
        services={
            "one": {"limits": [second]},
            "two": {"limits": [second, f"{minute}/minute burst {minute}"]},
            "sliding": {"limits": [second, f"{minute}/minute"]},
        }
    )


def measure(*, rounds: int) -> list[Table]:
    """
    Measure everybody, and return the tables.
    """
    gov = governor()
    times = interleave([*_ours(gov), *_peers(1), *_peers(2)], rounds=rounds)
    labels = {
        "ours": "**egressor** permit",
        "sliding": "**egressor** permit, token bucket and sliding window",
        "gate": "**egressor** admission alone, not settled",
        "floor": "floor: bare GCRA, no lock, no wait",
        "asynciolimiter": "asynciolimiter leaky bucket",
        "aiolimiter": "aiolimiter",
        "throttled": "throttled-py GCRA",
        "pyrate log": "pyrate-limiter default",
        "pyrate tokens": "pyrate-limiter TokenBucket",
    }
    kinds = [f"{colour} {limits}" for colour in ("async", "sync") for limits in (1, 2)]
    rows = []
    for name, label in labels.items():
        cells = [times.get(f"{name} {kind}") for kind in kinds]
        rows.append([label, *("" if each is None else _NS.format(each) for each in cells)])
    ratio = [times[f"ours {kind}"] / times.get(f"aiolimiter {kind}", times[f"throttled {kind}"]) for kind in kinds]
    rows.append(["egressor over aiolimiter (sync: over throttled-py)", *(f"{each:.2f}" for each in ratio)])
    columns = ["CPU ns for one", "async, 1 limit", "async, 2 limits", "sync, 1 limit", "sync, 2 limits"]
    notes = [
        "Egressor's permit takes and settles: limits, breaker, retry budget and counters are on.",
        "Two limits are taken all or nothing by Egressor and pyrate-limiter, one after the other by the rest.",
    ]
    return [Table("A. Passing where nothing stands in the way", columns, rows, notes)]


def _ours(gov: Governor) -> list[Subject]:
    subjects = []
    for service, name in (("one", "ours {} 1"), ("two", "ours {} 2"), ("sliding", "sliding {} 2")):
        subjects.append(Subject(name.format("sync"), _permit(gov, service)))
        subjects.append(Subject(name.format("async"), _apermit(gov, service)))
    for limits, service in ((1, "one"), (2, "two")):
        subjects.append(Subject(f"gate sync {limits}", _enter(gov, service)))
    return subjects


def _permit(gov: Governor, service: str) -> Any:
    def run(number: int) -> float:
        started = time.process_time_ns()
        for _ in range(number):
            with gov.permit(service):
                pass
        return (time.process_time_ns() - started) / number

    return run


def _apermit(gov: Governor, service: str) -> Any:
    async def run(number: int) -> float:
        started = time.process_time_ns()
        for _ in range(number):
            async with gov.permit(service):
                pass
        return (time.process_time_ns() - started) / number

    return coroutine(run)


def _enter(gov: Governor, service: str) -> Any:
    gate = gov.gate(service)
    ask = gate.compiled.ask(scope={}, cost={"requests": 1}, level=1)

    def run(number: int) -> float:
        started = time.process_time_ns()
        for _ in range(number):
            gate.enter(ask)
        passed = (time.process_time_ns() - started) / number
        # What was let in must go: nothing may pile up from round to round.
        at = gov.clock.now()
        for _ in range(number):
            gate.leave(ask, at, gate.breaker.generation)
        return passed

    return run


def _peers(limits: int) -> Sequence[Subject]:
    return [
        Subject(f"floor sync {limits}", _calls(peers.floor(limits))),
        Subject(f"floor async {limits}", coroutine(_awaits(_coloured(peers.floor(limits))))),
        Subject(f"aiolimiter async {limits}", coroutine(_aiolimiter(limits))),
        Subject(f"asynciolimiter async {limits}", coroutine(_asynciolimiter(limits))),
        Subject(f"throttled sync {limits}", _throttled(limits), _SLOW),
        Subject(f"throttled async {limits}", coroutine(_athrottled(limits)), _SLOW),
        Subject(f"pyrate log sync {limits}", _calls(peers.pyrate_log(limits).try_acquire), _SLOW),
        Subject(f"pyrate log async {limits}", coroutine(_pyrate(peers.pyrate_log, limits)), _SLOW),
        Subject(f"pyrate tokens sync {limits}", _calls(peers.pyrate_tokens(limits).try_acquire), _SLOW),
        Subject(f"pyrate tokens async {limits}", coroutine(_pyrate(peers.pyrate_tokens, limits)), _SLOW),
    ]


def _calls(operation: Any) -> Any:
    def run(number: int) -> float:
        started = time.process_time_ns()
        for _ in range(number):
            operation()
        return (time.process_time_ns() - started) / number

    return run


def _awaits(operation: Any) -> Any:
    async def run(number: int) -> float:
        started = time.process_time_ns()
        for _ in range(number):
            await operation()
        return (time.process_time_ns() - started) / number

    return run


def _coloured(operation: Any) -> Any:
    async def coloured() -> Any:
        return operation()

    return coloured


def _aiolimiter(limits: int) -> Any:
    second, minute = peers.aiolimiters()

    async def one(number: int) -> float:
        started = time.process_time_ns()
        for _ in range(number):
            async with second:
                pass
        return (time.process_time_ns() - started) / number

    async def both(number: int) -> float:
        started = time.process_time_ns()
        for _ in range(number):
            async with second, minute:
                pass
        return (time.process_time_ns() - started) / number

    return one if limits == 1 else both


def _asynciolimiter(limits: int) -> Any:
    second, minute = peers.asynciolimiters()

    async def one(number: int) -> float:
        started = time.process_time_ns()
        for _ in range(number):
            await second.wait()
        return (time.process_time_ns() - started) / number

    async def both(number: int) -> float:
        started = time.process_time_ns()
        for _ in range(number):
            await second.wait()
            await minute.wait()
        return (time.process_time_ns() - started) / number

    return one if limits == 1 else both


def _throttled(limits: int) -> Any:
    second, minute = peers.throttled_sync()

    def both() -> None:
        second.limit()
        minute.limit()

    return _calls(second.limit if limits == 1 else both)


def _athrottled(limits: int) -> Any:
    second, minute = peers.throttled_async()

    async def both() -> None:
        await second.limit()
        await minute.limit()

    return _awaits(second.limit if limits == 1 else both)


def _pyrate(make: Any, limits: int) -> Any:
    # Made on the loop that uses it: it starts a task there.
    made: list[Any] = []

    async def run(number: int) -> float:
        if not made:
            made.append(make(limits))
        acquire = made[0].try_acquire_async
        started = time.process_time_ns()
        for _ in range(number):
            await acquire()
        return (time.process_time_ns() - started) / number

    return run
