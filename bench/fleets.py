"""
E and F: many processes and one key, through Redis and through a file.

Each process is an interpreter of its own that takes the same key again and again, for some seconds that begin at the
same moment (``python -m bench.fleets NAME STORE LIMIT SECONDS``). Two runs each: one where the limit is never
reached, for the speed; and one where it is, for what went through in the worst second, judged by the times at which
the processes say they were let through.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from bench.measure import ROOT, Table
from bench.servers import free_port, missing, nowhere

__all__ = ["run", "server", "through_files", "through_redis"]

_SECONDS = 3.0
# From the moment at which all are ready.
_AHEAD = 0.2
_NEVER = 1_000_000
_REACHED = 1_000
_BURST = 100
_SLOWEST = 20_000

Acquire = Callable[[], bool]


class Run(NamedTuple):
    """
    What came of some processes.

    Attributes:
        rate: Acquired, in a second, by all together.
        p99: Microseconds that 99 of 100 took at most.
        fair: The least that a process got to the most that one got.
        worst: The most that went through in any second.
    """

    rate: float
    p99: float
    fair: float
    worst: int


def through_redis(*, rounds: int) -> list[Table]:
    """
    Return the table of group E.
    """
    title = "E. One key, many processes, Redis"
    if packages := missing("redis-server"):
        return [nowhere(title, packages)]
    with server() as address:
        contenders = (
            ("egressor", "Egressor, by leases"),
            ("egressor_single", "Egressor, a trip each"),
            ("throttled", "throttled-py, GCRA"),
            ("pyrate_redis", "pyrate-limiter, log"),
        )
        rows = [row for count in (1, 4) for row in _beside(contenders, [address] * count, count, rounds)]
    return [Table(title, _COLUMNS, rows, _NOTES)]


def through_files(*, rounds: int) -> list[Table]:
    """
    Return the table of group F.
    """
    contenders = (
        ("egressor", "Egressor, SQLite, by leases"),
        ("egressor_single", "Egressor, SQLite, a transaction each"),
        ("pyrate_sqlite", "pyrate-limiter, SQLite and file lock"),
    )
    rows = [row for count in (1, 4, 8) for row in _beside(contenders, None, count, rounds)]
    return [Table("F. One key, many processes, no server", _COLUMNS, rows, _NOTES)]


_COLUMNS = (
    "contender",
    "processes",
    "acquired/s",
    "of the best peer's",
    "p99 µs",
    "fairness min/max",
    "worst second (may be 1,100)",
)
_NOTES = (
    "The speed is that with a limit that is never reached.",
    f"The worst second is that with {_REACHED}/second burst {_BURST}, or the peer's nearest reading of it.",
)


def _beside(
    contenders: tuple[tuple[str, str], ...], addresses: list[str] | None, count: int, rounds: int
) -> list[list[str]]:
    found = [(shown, name, _measured(name, addresses, count, rounds)) for name, shown in contenders]
    best = max(run.rate for _, name, run in found if not name.startswith("egressor"))
    return [
        [
            shown,
            str(count),
            f"{run.rate:,.0f}",
            f"{run.rate / best:.1f} times",
            f"{run.p99:,.0f}",
            f"{run.fair:.2f}",
            f"{run.worst:,}",
        ]
        for shown, _, run in found
    ]


def _measured(name: str, addresses: list[str] | None, count: int, rounds: int) -> Run:
    runs = []
    worst = 0
    for _ in range(max(1, rounds)):
        with tempfile.TemporaryDirectory() as folder:
            address = addresses[0] if addresses else f"sqlite:///{folder}/bench.db"
            runs.append(_processes(name, address, _NEVER, count))
            worst = max(worst, _processes(name, address, _REACHED, count).worst)
    rate, p99, fair = [statistics.median(column) for column in zip(*runs, strict=True)][:3]
    return Run(rate, p99, fair, worst)


def _processes(name: str, address: str, limit: int, count: int) -> Run:
    command = [sys.executable, "-m", "bench.fleets", name, address, str(limit), str(_SECONDS)]
    pipe = subprocess.PIPE
    started = [subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) for _ in range(count)]
    for each in started:
        assert each.stdout is not None
        each.stdout.readline()
    start = f"{time.monotonic() + _AHEAD}\n"
    for each in started:
        assert each.stdin is not None
        each.stdin.write(start)
        each.stdin.flush()
    told = [json.loads(each.communicate(timeout=120)[0].splitlines()[-1]) for each in started]
    counts = [each["count"] for each in told]
    times = sorted(when for each in told for when in each["times"])
    worst = max((index - bisect_left(times, when - 1.0) + 1 for index, when in enumerate(times)), default=0)
    slowest = sorted(took for each in told for took in each["took"])
    p99 = slowest[int(len(slowest) * 0.99)] if slowest else 0.0
    return Run(sum(counts) / _SECONDS, p99, min(counts) / max(1, *counts), worst)


@contextmanager
def server() -> Iterator[str]:
    """
    A Redis server for the length of the block; its address.
    """
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no", "--dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=folder)
        try:
            time.sleep(0.5)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()
            server.wait()


def run(name: str, address: str, limit: int, seconds: float) -> dict[str, object]:
    """
    Acquire until the time is over, in this process, from the moment on that is told once it is ready.
    """
    acquire = _CONTENDERS[name](address, limit)
    acquire()
    print("ready", flush=True)
    start = float(sys.stdin.readline())
    time.sleep(max(0.0, start - time.monotonic()))
    end = start + seconds
    count = 0
    took: list[float] = []
    times: list[float] = []
    clock = time.monotonic
    now = clock()
    while now < end:
        passed = acquire()
        before, now = now, clock()
        if passed:
            count += 1
            if len(took) < _SLOWEST:
                took.append((now - before) * 1e6)
            if limit == _REACHED:
                times.append(now)
    return {"count": count, "took": took, "times": times}


def _egressor(address: str, limit: int) -> Acquire:
    from egressor import Governor

    burst = 1_000_000 if limit == _NEVER else _BURST
    governor = Governor({"a": {"limits": [f"{limit}/second burst {burst}"], "max_wait": 60.0}}, store=address)

    def acquire() -> bool:
        with governor.permit("a"):
            return True

    return acquire


def _single(address: str, limit: int) -> Acquire:
    from egressor.stores.account import Account

    Account.tops = lambda *_: []  # type: ignore[method-assign]
    return _egressor(address, limit)


def _throttled(address: str, limit: int) -> Acquire:
    from throttled import RateLimiterType, RedisStore, Throttled, per_sec

    burst = 1_000_000 if limit == _NEVER else _BURST
    throttled = Throttled(
        using=RateLimiterType.GCRA.value, quota=per_sec(limit, burst=burst), store=RedisStore(server=address)
    )
    return lambda: not throttled.limit("a").limited


def _pyrate_redis(address: str, limit: int) -> Acquire:
    import redis
    from pyrate_limiter import Limiter, Rate, RedisBucket

    bucket = RedisBucket.init([Rate(limit, 1_000)], redis.Redis.from_url(address), f"pyrate-{limit}")
    limiter = Limiter(bucket)
    return lambda: bool(limiter.try_acquire("a", blocking=False))


def _pyrate_sqlite(address: str, limit: int) -> Acquire:
    from pyrate_limiter import Limiter, Rate, SQLiteBucket

    path = f"{address.removeprefix('sqlite:///')}-pyrate-{limit}"
    limiter = Limiter(SQLiteBucket.init_from_file([Rate(limit, 1_000)], db_path=path, use_file_lock=True))
    return lambda: bool(limiter.try_acquire("a", blocking=False))


_CONTENDERS: dict[str, Callable[[str, int], Acquire]] = {
    "egressor": _egressor,
    "egressor_single": _single,
    "throttled": _throttled,
    "pyrate_redis": _pyrate_redis,
    "pyrate_sqlite": _pyrate_sqlite,
}


if __name__ == "__main__":
    _, _name, _address, _limit, _seconds = sys.argv
    print(json.dumps(run(_name, _address, int(_limit), float(_seconds))))
