"""
J: what a budget costs, by processes on one ledger in SQLite.

Each process makes calls one after the other, each with a hold before it and a settle after it: so many a second, or
without a rest, which is the worst that processes can do to each other. A call waits until its hold is kept, and not for
its settle; each tenth is made at the ledger itself, and times its settle. Times are wall times. Run alone,
``python -m bench.money`` prints the table.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial

from bench.measure import Table

__all__ = ["measure"]

_SECONDS = 5.0
# How many processes, and how many calls a second each makes; 0 for as many as it can.
_FLEETS = ((1, 0), (4, 25), (4, 100), (4, 0), (8, 0))
_SHARES = (0.5, 0.99, 0.999)


def measure(*, rounds: int = 1) -> list[Table]:
    """
    Time calls with a budget in some processes, *rounds* times five seconds.
    """
    rows = []
    for number, pace in _FLEETS:
        calls, settles, refused = _together(number, rounds * _SECONDS, pace)
        asked = f"{pace} a second" if pace else "without a rest"
        done = f"{(len(calls) + len(settles)) / (rounds * _SECONDS):,.0f}"
        rows.append([str(number), asked, done, *_shown(calls), *_shown(settles), str(refused)])
    columns = ["processes", "each makes", "calls/s", *(f"call p{100 * share:g}" for share in _SHARES)]
    columns += [f"settle p{100 * share:g}" for share in _SHARES]
    notes = [
        "A settle is timed until it is kept. Refused are calls that waited for their hold for a quarter of a second."
    ]
    title = "J: a call with a budget, on a ledger in SQLite that processes share (milliseconds)"
    return [Table(title, [*columns, "refused"], rows, notes)]


def _together(number: int, seconds: float, pace: int) -> tuple[list[float], list[float], int]:
    with tempfile.TemporaryDirectory(prefix="egressor-bench-") as folder:
        command = [sys.executable, "-m", "bench.money", f"sqlite:///{folder}/ledger.db", str(seconds), str(pace)]
        workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(number)]
        found = [json.loads(worker.communicate()[0]) for worker in workers]
    calls, settles = ([each for one in found for each in one[key]] for key in ("calls", "settles"))
    return calls, settles, sum(one["refused"] for one in found)


def _shown(times: list[float]) -> list[str]:
    times = sorted(times)
    return [f"{1000 * times[int(share * (len(times) - 1))]:.2f}" for share in _SHARES]


def _work(address: str, seconds: float, pace: int) -> None:
    from egressor import Governor, StoreUnavailable
    from egressor._core.budget import NEVER, Ask
    from egressor.ledger import LedgerAway
    from egressor.ledger.entry import new_id
    from egressor.ledger.money import SPENT, End, Tags, Want, finish, take
    from egressor.ledger.opening import open_ledger

    found: dict[str, list[float]] = {"calls": [], "settles": []}
    refused = 0
    gov = Governor({"api": {"budget": {"total": 1_000_000}, "retry": {"attempts": 1}}}, ledger=address)
    ledger = open_ledger(address)
    call = partial(gov.call, "api", str, cost={"usd": 0.000_1})
    with suppress(StoreUnavailable):
        call()
    start = time.perf_counter()
    end = start + seconds
    for number in range(10**9):
        if pace:
            time.sleep(max(0.0, start + number / pace - time.perf_counter()))
        began = time.perf_counter()
        if began > end:
            break
        if number % 10:
            try:
                call()
            except StoreUnavailable:
                refused += 1
            found["calls"].append(time.perf_counter() - began)
        else:
            now = time.time_ns() // 1000
            want = Want(new_id(now), "bench", (Ask("bench", 10**12, 10**12, 0, NEVER),), 100, Tags("bench"))
            with suppress(LedgerAway):
                ledger.money(partial(take, want=want, now=now, lasts=60_000_000), at_once=False)
            began = time.perf_counter()
            with suppress(LedgerAway):
                ledger.money(partial(finish, end=End(want.id, SPENT, 50)), at_once=False)
            found["settles"].append(time.perf_counter() - began)
    ledger.close()
    gov.close()
    print(json.dumps({**found, "refused": refused}))


if __name__ == "__main__":
    if sys.argv[1:]:
        _work(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
    else:
        print(measure()[0].markdown())
