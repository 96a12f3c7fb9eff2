"""
Time that jumps, processes that are suspended, forks, and many loops and threads: the limit holds over all processes.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.fleet import (
    ON_TOP,
    SECOND,
    SLIP,
    Fleet,
    Member,
    Place,
    Stop,
    eventually,
    held,
    least,
    most,
    most_aligned,
    now,
    read_log,
    run_for,
    uses,
)

Start = Callable[..., Fleet]
SOAK = os.environ.get("EGRESSOR_SOAK") == "1"
STOPPED = 30.0 if SOAK else 5.5

pytestmark = pytest.mark.timeout(300)

READINGS = {
    "sliding": ("40/second", most, 40),
    "burst": ("40/second burst 8", most, 48),
    "fixed": ("40/second fixed", most_aligned, 40),
}


def suspended(members: Sequence[Member], seconds: float) -> Stop:
    """
    Stop *members* for so long, each of which has four threads.
    """
    since = now()
    for member in members:
        member.signal(signal.SIGSTOP)
    run_for(seconds)
    until = now()
    for member in members:
        member.signal(signal.SIGCONT)
    return Stop(since, until, 4 * len(members))


@pytest.mark.parametrize("reading", READINGS)
def test_a_process_that_was_stopped_goes_on_without_a_burst(start: Start, reading: str) -> None:
    """
    Stopped for longer than the others remember it, a process uses nothing that it had before.
    """
    limit, judge, allowed = READINGS[reading]
    fleet = start(3, {"s": {"limits": [limit], "max_wait": 60.0}})
    fleet.all("threads(4)")
    run_for(1.2)

    stop = suspended(fleet.members[:1], STOPPED)
    run_for(1.5)

    # Whoever is stopped while it has the file's lock takes the store from all others, which use their shares.
    allowed *= ON_TOP if fleet.has_lost() else 1
    assert least(judge, fleet.lines(), SECOND if judge is most_aligned else SECOND - SLIP, [stop]) <= allowed


@pytest.mark.parametrize("reading", READINGS)
def test_all_processes_at_once_may_be_stopped(start: Start, reading: str) -> None:
    """
    A machine that is suspended goes on without a burst, also where requests to the store were under way.

    Whoever was stopped in the middle of one took the store for away as it went on, for all its time was over, and used
    a share of its own beside the others.
    """
    limit, judge, allowed = READINGS[reading]
    fleet = start(3, {"s": {"limits": [limit], "max_wait": 60.0}})
    fleet.all("threads(4)")
    run_for(0.8)

    stops = []
    for turn in range(6):
        # Most is asked as a second of the calendar begins.
        run_for(1.0 - time.time() % 1.0 + turn * 0.004)
        stops.append(suspended(fleet.members, 1.5 if not turn else 0.7))
    run_for(1.5)

    assert least(judge, fleet.lines(), SECOND if judge is most_aligned else SECOND - SLIP, stops) <= allowed


@pytest.mark.parametrize("limit", ["20/second", "20/second burst 4", "20/minute fixed"])
def test_a_wall_clock_that_jumps_in_one_process_gives_nothing(start: Start, limit: str) -> None:
    """
    An hour forward, an hour back and a sawtooth of a second lend no allowance twice, and lock nobody out.
    """
    fleet = start(3, {"s": {"limits": [limit], "max_wait": 0.3}})
    fleet.members[0].ask("jump(0)")
    fleet.all("threads(3)")

    for seconds in (0, 3600, -3600, *([1, -1] * 4), 0):
        fleet.members[0].ask(f"jump({seconds})")
        run_for(0.2)
    run_for(1.5)

    lines = fleet.lines()
    if "fixed" in limit:
        # The minute may have ended meanwhile.
        assert len(lines) <= 40
        assert most(lines, SECOND) <= 40
    else:
        assert most(lines, SECOND - SLIP) <= 20 + (4 if "burst" in limit else 0)
        assert len([line for line in lines if line.at > lines[-1].at - 2 * SECOND]) >= 20


FORKS = """
import json, os, sys, threading, time, asyncio
from egressor import Governor
store, log, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
services = {"s": {"limits": ["50/second"], "max_wait": 30.0}, "p": {"max_concurrency": 4, "max_wait": 30.0}}
gov = Governor(services, store=store)

def note():
    os.write(log, f"{time.monotonic_ns() // 1000} x 1\\n".encode())

def thread():
    while time.monotonic() < end:
        gov.call("s", note)

async def task():
    while time.monotonic() < end:
        async with gov.permit("s"):
            note()

async def tasks():
    await asyncio.gather(*(task() for _ in range(4)))

def work():
    threads = [threading.Thread(target=thread) for _ in range(2)]
    threads.append(threading.Thread(target=asyncio.run, args=(tasks(),)))
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    gov.call("p", str)

gov.call("s", note)
holder = gov.permit("p").acquire()
end = time.monotonic() + seconds
idle = threading.Thread(target=thread)
idle.start()
children = []
for _ in range(8):
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
idle.join()
in_flight = gov.status()["p"]["in_flight"]
holder.release()
gov.call("s", note)
gov.close()
print(json.dumps([codes, in_flight]))
"""


def test_a_governor_that_was_used_may_be_forked(tmp_path: Path, place: Place) -> None:
    """
    A parent that works, with a loaded store, forks eight children that work: one limit, and the store is whole after.
    """
    log = tmp_path / "log"
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS, place.address, str(log), "5.9"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=surroundings,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [[0] * 8, 1]
    lines = read_log(log)
    assert most(lines, SECOND - SLIP) <= 50
    assert most(lines, 2_850_000) >= 0.95 * 150
    if place.address.startswith("sqlite:"):
        with closing(sqlite3.connect(tmp_path / "store.db.cells")) as db, db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        db.close()


def test_many_loops_and_threads_in_each_process_share_one_limit(start: Start) -> None:
    """
    Four loops and eight threads in each of two processes, with thread switches at every turn, keep the limit.
    """
    fleet = start(2, {"s": {"limits": ["200/second"], "max_wait": 30.0}})
    fleet.all("sys.setswitchinterval(1e-6)")

    fleet.all("[tasks(4) for _ in range(4)] + [threads(8)] and 0")
    run_for(2.5)
    uses(fleet.lines, 0.95 * 400, 1_900_000)

    assert most(fleet.lines(), SECOND - SLIP) <= 200


def test_governors_of_one_process_are_members_of_their_own(start: Start, store: str) -> None:
    """
    Two governors in one process share a store as two processes do.
    """
    [member] = start(1, {"s": {"max_concurrency": 1, "max_wait": 0.0}}).members
    member.ask("later('h', noted('held', OVER.wait))")
    eventually(lambda: held(store) == 1, "one holds the place")

    assert member.ask("other()") == "WaitTooLong"

    member.ask("OVER.set()")
    eventually(lambda: member.ask("other()") == "ok", "the other one has it")
