"""
J: what a budget costs, by processes on one ledger in SQLite or PostgreSQL.

Each process makes calls, each with a hold before it and a settle after it: so many a second, or without a rest, which
is the worst that processes can do to each other; one after the other, or from some threads. A call waits until its hold
is kept, and not for its settle; each tenth is made at the ledger itself, and times its settle. Times are wall times.
The PostgreSQL is one of Debian's with its own settings, on the same machine. Run alone, ``python -m bench.money``
prints the tables.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from bench.measure import Table
from tests.ledger.places import running_postgres

if TYPE_CHECKING:
    from egressor.ledger import Ledger

__all__ = ["measure"]

_SECONDS = 5.0
# How many processes, how many threads each has, and how many calls a second each of those makes; 0: as many as it can.
_FLEETS = ((1, 1, 0), (4, 1, 25), (4, 1, 100), (4, 1, 0), (8, 1, 0), (4, 32, 0))
_SHARES = (0.5, 0.99, 0.999)


def measure(*, rounds: int = 1) -> list[Table]:
    """
    Time calls with a budget in some processes, *rounds* times five seconds for each kind of ledger.
    """
    with running_postgres() as server:
        return [_table("SQLite", _file, rounds), _table("PostgreSQL", lambda _: server.new_database(), rounds)]


def _file(folder: str) -> str:
    return f"sqlite:///{folder}/ledger.db"


def _table(name: str, address: Callable[[str], str], rounds: int) -> Table:
    rows = []
    for number, threads, pace in _FLEETS:
        calls, settles, refused = _together(address, number, rounds * _SECONDS, threads, pace)
        asked = f"{pace} a second" if pace else "without a rest"
        done = f"{(len(calls) + len(settles) - refused) / (rounds * _SECONDS):,.0f}"
        rows.append([str(number), str(threads), asked, done, *_shown(calls), *_shown(settles), str(refused)])
    columns = ["processes", "threads", "each makes", "calls/s", *(f"call p{100 * share:g}" for share in _SHARES)]
    columns += [f"settle p{100 * share:g}" for share in _SHARES]
    notes = [
        "A settle is timed until it is kept. Refused are calls that waited for their hold for a quarter of a second."
    ]
    title = f"J: a call with a budget, on a ledger in {name} that processes share (milliseconds)"
    return Table(title, [*columns, "refused"], rows, notes)


def _together(
    address: Callable[[str], str], number: int, seconds: float, threads: int, pace: int
) -> tuple[list[float], list[float], int]:
    with tempfile.TemporaryDirectory(prefix="egressor-bench-") as folder:
        words = [address(folder), str(seconds), str(threads), str(pace)]
        command = [sys.executable, "-m", "bench.money", *words]
        workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(number)]
        found = [json.loads(worker.communicate()[0]) for worker in workers]
    calls, settles = ([each for one in found for each in one[key]] for key in ("calls", "settles"))
    return calls, settles, sum(one["refused"] for one in found)


def _shown(times: list[float]) -> list[str]:
    times = sorted(times)
    return [f"{1000 * times[int(share * (len(times) - 1))]:.2f}" for share in _SHARES]


def _work(address: str, seconds: float, threads: int, pace: int) -> None:
    from egressor import Governor, StoreUnavailable
    from egressor.ledger.opening import open_ledger

    gov = Governor({"api": {"budget": {"total": 1_000_000}, "retry": {"attempts": 1}}}, ledger=address)
    ledger = open_ledger(address)
    call = partial(gov.call, "api", str, cost={"usd": 0.000_1})
    with suppress(StoreUnavailable):
        call()
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        work = partial(_calls, call, ledger, start=start, end=start + seconds, pace=pace)
        done = list(pool.map(lambda number: work(settles=number == 0), range(threads)))
    ledger.close()
    gov.close()
    calls, settles, refused = zip(*done, strict=True)
    print(json.dumps({"calls": [*chain(*calls)], "settles": [*chain(*settles)], "refused": sum(refused)}))


def _calls(
    call: Callable[[], object], ledger: Ledger, *, start: float, end: float, pace: int, settles: bool
) -> tuple[list[float], list[float], int]:
    from egressor import StoreUnavailable
    from egressor._core.budget import NEVER, Ask
    from egressor.ledger import LedgerAway
    from egressor.ledger.entry import new_id
    from egressor.ledger.money import SPENT, End, Tags, Want, finish, take

    calls, settled, refused = [], [], 0
    for number in range(10**9):
        if pace:
            time.sleep(max(0.0, start + number / pace - time.perf_counter()))
        began = time.perf_counter()
        if began > end:
            break
        if number % 10 or not settles:
            try:
                call()
            except StoreUnavailable:
                refused += 1
            calls.append(time.perf_counter() - began)
        else:
            now = time.time_ns() // 1000
            want = Want(new_id(now), "bench", (Ask("bench", 10**12, 10**12, 0, NEVER),), 100, Tags("bench"))
            with suppress(LedgerAway):
                ledger.money(partial(take, want=want, now=now, lasts=60_000_000), at_once=False)
            began = time.perf_counter()
            with suppress(LedgerAway):
                ledger.money(partial(finish, end=End(want.id, SPENT, 50)), at_once=False)
            settled.append(time.perf_counter() - began)
    return calls, settled, refused


if __name__ == "__main__":
    if sys.argv[1:]:
        address, seconds, threads, pace = sys.argv[1:]
        _work(address, float(seconds), int(threads), int(pace))
    else:
        for table in measure():
            print(table.markdown())
