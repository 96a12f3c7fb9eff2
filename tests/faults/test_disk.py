"""
The file of a fleet is read-only, or somebody else has it: calls go on, fairly, and all share again afterwards.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path

import pytest

from tests.faults.disk import Disk
from tests.faults.fleet import ON_TOP, SECOND, SLIP, Fleet, comes_back, most, now, run_for

SOAK = os.environ.get("EGRESSOR_SOAK") == "1"
READ_FOR = 180.0 if SOAK else 4.0
LOCKED_FOR = 5.0
BACK = 2 * SECOND
WORDS = ("a", "b", "c", "d")

pytestmark = pytest.mark.timeout(600)


def test_a_disk_that_turns_read_only_is_a_lost_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    While nothing may be written, each goes on with its share; when it may be, they share as before.
    """
    folder = tmp_path / "disk"
    folder.mkdir()
    disk = Disk(folder, tmp_path / "plan")
    for name, value in disk.surroundings.items():
        monkeypatch.setenv(name, value)
    fleet = Fleet(tmp_path, f"sqlite:///{folder}/store.db", {"s": {"limits": ["40/second"], "max_wait": 30.0}})
    try:
        fleet.start(2)
        fleet.all("threads(3)")
        run_for(1.2)
        disk.fail(errno.EROFS)
        lost = now()
        run_for(2.0)
        refused = disk.seen
        away = fleet.all("bool(gov.status()['s']['store_away'])")
        disk.heal()
        healed = now()
        comes_back(fleet.lines, healed + BACK, 30)
        lines = fleet.lines()
    finally:
        fleet.end()

    assert refused > 0
    assert away == [True, True]
    assert len([line for line in lines if lost <= line.at < healed]) >= 20
    assert most(lines, SECOND - SLIP) <= ON_TOP * 40
    assert list(folder.glob("*.corrupt-*")) == []


READS = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN")
db.execute("SELECT * FROM services").fetchall()
print("reads", flush=True)
sys.stdin.read()
"""


def test_a_reader_that_holds_a_snapshot_stops_nobody(tmp_path: Path) -> None:
    """
    While another program keeps a snapshot, the limit is shared and used as before, and the log of writes is bounded.
    """
    store = tmp_path / "store.db"
    fleet = Fleet(tmp_path, f"sqlite:///{store}", {"s": {"limits": ["200/second"], "max_wait": 30.0}})
    try:
        fleet.start(3)
        fleet.all("threads(4)")
        run_for(0.5)
        command = [sys.executable, "-c", READS, f"{store}.cells"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
            assert reader.stdout is not None
            assert reader.stdout.readline() == b"reads\n"
            began = now()
            run_for(READ_FOR)
            size = Path(f"{store}.cells-wal").stat().st_size
            ended = now()
            reader.kill()
        # When it has gone the log begins anew, and grows no more.
        run_for(1.0)
        grown = Path(f"{store}.cells-wal").stat().st_size - size
        lines = fleet.lines()
    finally:
        fleet.end()

    during = [line.at for line in lines if began <= line.at < ended]
    assert most(lines, SECOND - SLIP) <= ON_TOP * 200
    # Much of it, also where the log is full and each goes on with its share; a busy machine takes its time.
    assert len(during) >= 0.1 * 200 * (ended - began) / SECOND
    assert max(two - one for one, two in pairwise(during)) < 4 * SECOND
    assert 0 < size < 80 << 20
    assert grown < 8 << 20


def test_a_stranger_s_lock_is_borne_by_all_alike(tmp_path: Path) -> None:
    """
    While another program has the file for itself, all processes go on with their shares, each with as much as the
    others, and no call waits for the file.
    """
    store = tmp_path / "store.db"
    fleet = Fleet(tmp_path, f"sqlite:///{store}", {"s": {"limits": ["80/second"], "max_wait": 30.0}})
    try:
        fleet.start(4)
        for word, member in zip(WORDS, fleet.members, strict=True):
            member.ask(f"threads(3, word='{word}')")
        run_for(1.2)
        with closing(sqlite3.connect(f"{store}.cells", isolation_level=None, timeout=10.0)) as db:
            db.execute("BEGIN IMMEDIATE")
            began = now()
            run_for(LOCKED_FOR)
            away = fleet.all("bool(gov.status()['s']['store_away'])")
            ended = now()
            db.execute("ROLLBACK")
        comes_back(fleet.lines, ended + BACK, 60)
        lines = fleet.lines()
        back = fleet.all("gov.status()['s']['store_away']")
    finally:
        fleet.end()

    alone = [line for line in lines if began + SECOND <= line.at < ended]
    during = Counter(line.word for line in alone)
    assert away == [True] * 4
    assert back in ([None] * 4, [""] * 4)
    assert most(lines, SECOND - SLIP) <= ON_TOP * 80
    assert most(alone, SECOND - SLIP) <= 80
    assert sorted(during) == list(WORDS)
    assert min(during.values()) >= 0.7 * max(during.values())
    assert sum(during.values()) >= 0.5 * 80 * (LOCKED_FOR - 1)


REBOOTS = """
import sys, time
from pathlib import Path
from egressor._core.fleet import Part, Rank, Request, Want
from egressor._core.limits import Sliding
from egressor.stores.sqlite import SqliteStore
up = int(sys.argv[2])
options = {} if up < 0 else {"now": lambda: up, "boot": f"boot {up}"}
store = SqliteStore(Path(sys.argv[1]), **options)
limit = Sliding(amount=5, period=3600 * 10**6)
reply = store.exchange("api", Request("a", wants=(Want(Rank(1, 0, 1 << 52), (Part("cell", 1, limit),), 100),)))
print(reply.answers[0].times, reply.answers[0].wait, flush=True)
sys.stdin.read()
"""


def after_boot(stack: ExitStack, path: Path, up: int) -> tuple[int, int]:
    """
    What a process gets of five an hour on a machine that has been up for *up* seconds, and how long it has to wait.

    Where the kernel makes such a machine it does (a time namespace); else the store is told of one. The process stays:
    the kernel would give its namespace's number to the next one.
    """
    command = [sys.executable, "-c", REBOOTS, str(path)]
    uptime = int(float(Path("/proc/uptime").read_text().split()[0]))
    space = ["unshare", "--time", f"--monotonic={up - uptime}", "--fork", "--kill-child"]
    if subprocess.run([*space, "true"], check=False, capture_output=True).returncode == 0:
        command = [*space, *command, "-1"]
    else:
        command = [*command, str(up * SECOND)]
    process = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    stack.callback(process.kill)
    assert process.stdout is not None
    times, wait = map(int, process.stdout.readline().split())
    return times, wait


@pytest.mark.parametrize("ups", [(500_000, 20, 30), (20, 900_000, 40)])
def test_a_reboot_gives_nothing_and_locks_nobody_out(ups: tuple[int, ...], tmp_path: Path) -> None:
    """
    A machine whose monotonic clock begins anew goes on with what was used; nobody waits for longer than the window.
    """
    with ExitStack() as stack:
        found = [after_boot(stack, tmp_path / "s", up) for up in ups]

    assert [times for times, _ in found] == [5, 0, 0]
    assert all(0 < wait <= 3_700 * SECOND for _, wait in found)
