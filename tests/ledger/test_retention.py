"""
Retention under load: who appends meanwhile is not held up, and the disk's bound holds.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from egressor.ledger import Pick
from egressor.ledger.history import History
from egressor.ledger.spool import Spool
from egressor.ledger.sqlite import SqliteLedger
from tests.ledger.places import NOW, entry, note, until

SOAK = os.environ.get("EGRESSOR_SOAK") == "1"
ROWS = 5_000_000 if SOAK else 60_000
KEPT = ROWS // 2
PIECE = 1_000
WRITERS = 3

pytestmark = pytest.mark.timeout(1_800)

APPENDS = """
import sys, time
from pathlib import Path
from egressor.ledger.entry import made
from egressor.ledger.sqlite import SqliteLedger
ledger = SqliteLedger(Path(sys.argv[1]))
print("begins", flush=True)
while True:
    began = time.monotonic()
    ledger.append([made(at=10**16, kind="operator", what="load")])
    print(time.monotonic() - began, ledger.tally().pruned, flush=True)
"""


def filled(path: Path) -> SqliteLedger:
    """
    A ledger with so many entries of long ago.
    """
    ledger = SqliteLedger(path)
    ledger.append([entry()])
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA synchronous = OFF")
        rows = ((f"{n:08x}-0000-7000-8000-{n:012x}", NOW + n, "breaker", "api", "open", "", "{}") for n in range(ROWS))
        db.executemany("INSERT INTO egressor_entries VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    return ledger


def test_retention_holds_nobody_up(tmp_path: Path) -> None:
    """
    While half of a large ledger goes, three processes append: each of their appends waits for some thousand rows to go
    and no more, and so does a note of the process that drops them; the file does not grow.
    """
    path = tmp_path / "ledger.db"
    ledger = filled(path)
    before = path.stat().st_size
    ledger.retain(1 << 60, KEPT)
    command = [sys.executable, "-c", APPENDS, str(path)]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(WRITERS)]
    history = History(ledger, spool=Spool(tmp_path / "spool"), wall=lambda: 2 * NOW)
    try:
        for each in writers:
            assert each.stdout is not None
            assert each.stdout.readline() == "begins\n"
        note(history, 0)
        until(lambda: ledger.tally().pruned >= PIECE)
        note(history, 1)
        assert history.flush(60.0)
        noted_at = ledger.tally().pruned
        until(lambda: ledger.tally().entries <= KEPT + PIECE, seconds=1_500.0)
    finally:
        for each in writers:
            each.kill()
        told = [each.communicate()[0].splitlines()[:-1] for each in writers]
        history.close()

    assert noted_at <= ledger.tally().pruned - PIECE
    assert len(ledger.read(Pick(kind="operator", limit=1_000_000))) >= sum(map(len, told))
    for lines in told:
        counts = [int(line.split()[1]) for line in lines]
        assert len(lines) >= (ROWS - KEPT) // PIECE // (6 * WRITERS)
        assert max(two - one for one, two in pairwise([0, *counts])) <= 12 * PIECE
    waits = sorted(float(line.split()[0]) for lines in told for line in lines)
    print(f"append: p50 {waits[len(waits) // 2]:.3f} s, p99 {waits[len(waits) * 99 // 100]:.3f} s")  # noqa: T201
    assert path.stat().st_size <= before + (8 << 20)
