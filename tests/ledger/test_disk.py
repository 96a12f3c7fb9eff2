"""
A ledger on a disk that fails: all or nothing, said in its own words, and well again without a restart.
"""

from __future__ import annotations

import errno
import os
import random
import sqlite3
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest

from egressor.ledger import LedgerAway, Pick
from egressor.ledger.history import History
from egressor.ledger.spool import Spool
from egressor.ledger.sqlite import SqliteLedger
from tests.faults.disk import ALL, CHANGE, KILLS, SYNC, WRITE, Disk, program
from tests.ledger.places import NOW, entries, entry, note, until

FUZZED = 1_000 if os.environ.get("EGRESSOR_SOAK") == "1" else 30

BEGIN = """
from functools import partial
from pathlib import Path
from egressor.ledger import LedgerAway, sql
from egressor.ledger.entry import made
from egressor.ledger.history import History
from egressor.ledger.spool import Spool
from egressor.ledger.sqlite import SqliteLedger
folder = Path({folder!r})
ledger = SqliteLedger(folder / "ledger.db")
batches = {{}}
def add(number):
    if number not in batches:
        batches[number] = [made(at=10**15 + number, kind="operator", what=f"b{{number}}") for _ in range(3)]
    try:
        ledger.append(batches[number])
    except LedgerAway as error:
        return str(error)
    return "ok"
"""
MORE = """
second = (
    "ALTER TABLE egressor_entries ADD COLUMN more TEXT DEFAULT ''",
    "CREATE INDEX again ON egressor_entries (kind)",
)
new = [made(at=10**15, kind="operator", what="new")]
def migrated(path):
    SqliteLedger(Path(path), migrations=(*sql.MIGRATIONS, second)).append(new)
"""
MONEY = """
from egressor.ledger.money import Sum, Tags
def spend(at_once):
    try:
        ledger.money(lambda page: page.add(Sum(1, Tags("s"), 1, 5, 0), 9), at_once=at_once)
    except LedgerAway as error:
        return str(error)
    return "ok"
"""
NOTES = """
import time
history = History(ledger, spool=Spool(folder / "spool"), wall=lambda: time.time_ns() // 1000)
def note(number):
    history.note("operator", f"n{number}")
    return history.flush(10.0)
"""


def whole(path: Path) -> dict[str, int]:
    """
    How many rows there are of each kind, in a file that SQLite itself calls sound.
    """
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return dict(db.execute("SELECT what, COUNT(*) FROM egressor_entries GROUP BY what"))


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """
    A disk for the folder ``disk``.
    """
    (tmp_path / "disk").mkdir()
    return Disk(tmp_path / "disk", tmp_path / "plan")


@pytest.mark.parametrize("last", [0, 1 << 30], ids=["once", "from then on"])
@pytest.mark.parametrize("calls", [WRITE, SYNC, CHANGE], ids=["write", "sync", "change"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_call_that_fails_is_an_entry_less_or_none(
    error: int, calls: int, last: int, disk: Disk, tmp_path: Path
) -> None:
    """
    Whichever call of an append fails, first of all the one that makes the file: the ledger says so, and the same append
    works as soon as the disk does; no batch is there in part or twice.
    """
    folder = tmp_path / "disk"
    refusals = 0
    with program(disk, BEGIN.format(folder=str(folder))) as writer:
        for number in range(1, 60):
            disk.fail(error, calls, first=number, last=max(number, last))
            said = writer.ask(f"add({number})")
            is_over = disk.seen < number
            disk.heal()
            refusals += said != "ok"
            assert said == "ok" or said.startswith(("ledger.db", "its lock ledger.db.lock")), said
            assert writer.ask(f"add({number})") == "ok"
            if is_over:
                break
        else:
            pytest.fail("it failed to the end")

    found = whole(folder / "ledger.db")
    assert refusals > 0
    assert found == {f"b{each}": 3 for each in range(1, number + 1)}


def test_money_waits_for_the_disk_where_it_is_told_to(disk: Disk, tmp_path: Path) -> None:
    """
    While nothing can be brought to the disk, what has to be there is refused, and what need not is kept.
    """
    folder = tmp_path / "disk"
    with program(disk, BEGIN.format(folder=str(folder)) + MONEY) as writer:
        before = [writer.ask("spend(True)"), writer.ask("spend(False)")]
        disk.fail(errno.EIO, SYNC)
        during = [writer.ask("spend(False)"), writer.ask("spend(True)")]
        disk.heal()
        after = [writer.ask("spend(True)"), writer.ask("ledger.money(lambda page: page.sums(0))[0].calls")]

    assert before == ["ok", "ok"]
    assert during[0] == "ok"
    assert "disk I/O error" in during[1]
    # One that failed may be there all the same.
    assert after in (["ok", 4], ["ok", 5])


def test_a_disk_that_turns_read_only_costs_no_entry(disk: Disk, tmp_path: Path) -> None:
    """
    While nothing may be written, neither ledger nor spool, entries wait in memory; then each is there once.
    """
    folder = tmp_path / "disk"
    with program(disk, BEGIN.format(folder=str(folder)) + NOTES) as writer:
        assert writer.ask("note(0)")
        disk.fail(errno.EROFS)
        for number in (1, 2, 3):
            writer.ask(f"history.note('operator', 'n{number}')")
        until(lambda: "ledger.db" in writer.ask("history.state()['away']"))
        disk.heal()
        assert writer.ask("note(4)")

        expected = {f"n{number}": 1 for number in range(5)}
        until(lambda: whole(folder / "ledger.db") == expected)


@pytest.mark.parametrize("begun", [False, True])
def test_killed_at_any_call_a_migration_is_old_or_new(begun: bool, disk: Disk, tmp_path: Path) -> None:
    """
    Killed at each call to the disk of a migration, a file is of the old schema or of the new one, with all it held.
    """
    folder = tmp_path / "disk"
    seen = set()
    with program(disk, BEGIN.format(folder=str(folder)) + MORE) as forks:
        for step in range(1, 200):
            path = folder / f"{step}.db"
            if begun:
                forks.ask(f"SqliteLedger(folder / '{step}.db').append([made(at=10**15, kind='operator', what='old')])")
            disk.fail(KILLS, ALL, first=step)
            code = forks.ask(f"forked(partial(migrated, {str(path)!r}))")
            disk.heal()
            assert code in (0, -9)
            with closing(sqlite3.connect(path)) as db:
                names = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
                columns = {name for (name,) in db.execute("SELECT name FROM pragma_table_info('egressor_entries')")}
            seen.add(("egressor_entries" in names, "again" in names, "more" in columns))
            assert forks.ask(f"forked(partial(migrated, {str(path)!r}))") == 0
            found = whole(path)
            assert found.get("old", 0) == int(begun)
            assert found["new"] == 1
            if code == 0:
                break
        else:
            pytest.fail("it was killed to the end")

    old = [(True, False, False)] if begun else [(False, False, False), (True, False, False)]
    assert seen == {*old, (True, True, True)}


# --- damage ----------------------------------------------------------------------------------------------------------


def cut(data: bytearray, dice: random.Random) -> None:
    """
    Its end is gone.
    """
    del data[dice.randrange(len(data)) :]


def zero(data: bytearray, dice: random.Random) -> None:
    """
    A part of it reads as zeros.
    """
    start = dice.randrange(len(data))
    size = min(dice.choice([16, 512, 4096, 1 << 20]), len(data) - start)
    data[start : start + size] = bytes(size)


def scramble(data: bytearray, dice: random.Random) -> None:
    """
    Some bytes are others.
    """
    for _ in range(dice.choice([1, 10, 1000])):
        data[dice.randrange(len(data))] = dice.randrange(256)


def replace(data: bytearray, dice: random.Random) -> None:
    """
    It is another program's, or noise.
    """
    data[:] = dice.choice([b"", b"PK\3\4" + dice.randbytes(5_000), b"{}\n" * 900, b"SQLite format 3\0" + b"x" * 4_080])


def is_home(path: Path) -> bool:
    """
    Whether all three notes are in the new file.
    """
    with suppress(sqlite3.OperationalError):  # It is being made.
        return path.exists() and whole(path) == {"pause": 3}
    return False


@pytest.mark.parametrize("seed", range(FUZZED))
def test_a_damaged_ledger_costs_no_entry(seed: int, tmp_path: Path) -> None:
    """
    Whatever happened to the file: it can be used or is away, and nothing else is raised; what is noted while it is
    away comes home once, when somebody has moved it out of the way.
    """
    dice = random.Random(seed)
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger(path)
    ledger.append(entries(60))
    data = bytearray(path.read_bytes())
    dice.choice([cut, zero, scramble, replace])(data, dice)
    path.write_bytes(data)

    for work in (partial(ledger.read, Pick(limit=1_000)), ledger.tally, partial(ledger.prune, NOW)):
        with suppress(LedgerAway):
            work()
    history = History(ledger, spool=Spool(tmp_path / "spool"), wall=lambda: NOW)
    note(history, 1, 2, 3)
    assert history.flush(10.0)
    state = history.state()
    assert (state["waiting"], state["dropped"]) == (0, 0)
    assert (state["spooled"], bool(state["away"])) in ((0, False), (0, True), (3, True))
    path.rename(tmp_path / "moved.db")
    if state["spooled"]:
        until(lambda: is_home(path))
    history.close()


@pytest.mark.parametrize(
    ("value", "why"),
    [("'{'", "a row is no entry"), ("7", "a row is no entry"), ("CAST(x'7bff' AS TEXT)", "its text is none$")],
)
def test_a_row_that_nobody_has_written_is_no_entry(value: str, why: str, tmp_path: Path) -> None:
    """
    Regression: a row that was no JSON, or no UTF-8, raised whatever its reader raises, out of `History.read`, too.
    """
    ledger = SqliteLedger(tmp_path / "ledger.db")
    ledger.append(entries(1))
    with closing(sqlite3.connect(ledger.path)) as db, db:
        db.execute(f"UPDATE egressor_entries SET data = {value}")  # noqa: S608 - the table's own

    with pytest.raises(LedgerAway, match=why):
        ledger.read(Pick())


def test_a_row_that_nobody_can_read_keeps_no_others(tmp_path: Path) -> None:
    """
    Regression: one illegible failure among the oldest of a crowded service made every clean-up fail, and the ledger
    came and went for ever.
    """
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger(path, keep_errors=10)
    ledger.append([entry(number, kind="error", what="timeout") for number in range(30)])
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE egressor_entries SET data = '[1]' WHERE id = (SELECT min(id) FROM egressor_entries)")

    assert ledger.prune(0) > 0
    assert 0 < len(ledger.read(Pick(kind="error", limit=100))) <= 20
