"""
Retention under load: who appends meanwhile is not held up, and the disk's bound holds.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from egressor.ledger import Pick
from egressor.ledger.history import History
from egressor.ledger.spool import Spool
from egressor.ledger.sqlite import SqliteLedger
from tests.ledger.places import NOW, entry, note, until

SOAK = os.environ.get("EGRESSOR_SOAK") == "1"
ROWS = 5_000_000 if SOAK else 400_000
KEPT = ROWS // 2
PIECE = 1_000
WRITERS = 3

pytestmark = pytest.mark.timeout(1_800)

APPENDS = """
import sys, time
from pathlib import Path
from egressor.ledger import LedgerAway
from egressor.ledger.entry import made
from egressor.ledger.sqlite import SqliteLedger
ledger = SqliteLedger(Path(sys.argv[1]))
print("begins", flush=True)
while True:
    began = time.monotonic()
    entry = made(at=10**16, kind="operator", what="load")
    is_kept = False
    while not is_kept:
        try:
            ledger.append([entry])
            is_kept = True
        except LedgerAway:
            pass  # Whoever counts millions of entries on a busy machine may take longer than a turn is waited for.
    print(time.monotonic() - began, flush=True)
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


def pruned(path: Path) -> int:
    """
    How many entries have gone, without a turn that others wait for.
    """
    with closing(sqlite3.connect(path, timeout=30.0)) as db:
        return int(db.execute("SELECT value FROM egressor_ledger WHERE name = 'pruned'").fetchone()[0])


def test_retention_holds_nobody_up(tmp_path: Path) -> None:
    """
    While half of a large ledger goes, three processes append: none of their appends waits for the end of it, nor does a
    note of the process that drops them; and the file does not grow.
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
        began = time.monotonic()
        note(history, 0)
        until(lambda: pruned(path) >= PIECE, seconds=60.0)
        note(history, 1)
        assert history.flush(60.0)
        noted_at = pruned(path)
        until(lambda: pruned(path) >= ROWS - KEPT, seconds=1_500.0)
        whole = time.monotonic() - began
    finally:
        for each in writers:
            each.kill()
        told = [each.communicate()[0].splitlines()[:-1] for each in writers]
        history.close()

    assert noted_at <= pruned(path) - PIECE
    assert ledger.tally().entries >= KEPT
    assert len(ledger.read(Pick(kind="operator", limit=1_000_000))) >= sum(map(len, told))
    for lines in told:
        assert len(lines) >= (ROWS - KEPT) // PIECE // (6 * WRITERS)
    waits = sorted(float(line) for lines in told for line in lines)
    # Who had to wait for the end of it would wait for nearly all of it.
    assert waits[-1] < whole / 2
    print(f"append: p50 {waits[len(waits) // 2]:.3f} s, p99 {waits[len(waits) * 99 // 100]:.3f} s")  # noqa: T201
    assert path.stat().st_size <= before + (8 << 20)
