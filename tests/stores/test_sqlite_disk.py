"""
The SQLite store on a disk that fails: away in its own words, nothing granted twice, well again without a restart.
"""

from __future__ import annotations

import errno
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.disk import ALL, CHANGE, KILLS, SYNC, WRITE, Disk, program

BEGIN = """
from functools import partial
from pathlib import Path
from egressor._core.fleet import Part, Rank, Request, Want
from egressor._core.limits import Sliding
from egressor.stores import StoreAway
from egressor.stores.sqlite import SqliteStore
limit = Sliding(amount=10**6, period=3600 * 10**6)
def ask(path, cell="cell", store=None):
    store = store or SqliteStore(Path(path))
    wants = (Want(Rank(1, 0, 1 << 52), (Part(cell, 1, limit),)),)
    try:
        return store.exchange("api", Request("a", wants=wants)).answers[0].times
    except StoreAway as error:
        return str(error)
def used(path):
    cell = SqliteStore(Path(path)).look("api")[0].cells.get("cell", 0)
    return (cell >> 40) & limit.mask
def must(path):
    assert ask(path) == 1
"""


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """
    A disk for the folder ``disk``.
    """
    (tmp_path / "disk").mkdir()
    return Disk(tmp_path / "disk", tmp_path / "plan")


@pytest.mark.parametrize("last", [0, 1 << 30], ids=["once", "from then on"])
@pytest.mark.parametrize("calls", [WRITE, SYNC, CHANGE], ids=["write", "sync", "change"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_a_call_that_fails_is_a_store_that_is_away(
    error: int, calls: int, last: int, disk: Disk, tmp_path: Path
) -> None:
    """
    Whichever call fails, first of all the one that makes the file: the store is away and says so, and answers again as
    soon as the disk does; what was granted is known, and at most what was asked is gone. No file is taken for damaged.
    """
    path = str(tmp_path / "disk" / "s")
    granted = asked = refusals = 0
    with program(disk, BEGIN) as user:
        user.ask(f"globals().update(store=SqliteStore(Path({path!r})))")
        for number in range(1, 80):
            disk.fail(error, calls, first=number, last=max(number, last))
            # New cells every time: so pages are added, too.
            said = user.ask(f"ask('', store=store), ask('', cell='by user|{number}' * 50, store=store)")
            is_over = disk.seen < number
            disk.heal()
            again = user.ask("ask('', store=store)")
            asked += 2
            granted += (said[0] == 1) + 1
            refusals += sum(each != 1 for each in said)
            assert [each for each in said if each != 1 and not each.startswith(("s.cells", "its lock"))] == []
            assert again == 1
            if is_over:
                break
        else:
            pytest.fail("it failed to the end")
        found = user.ask(f"used({path!r})")

    assert refusals > 0
    assert granted <= found <= asked
    assert list((tmp_path / "disk").glob("*.corrupt-*")) == []
    with closing(sqlite3.connect(f"{path}.cells")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_no_exchange_waits_for_the_disk(disk: Disk, tmp_path: Path) -> None:
    """
    Once the file is made nothing is brought to the disk, so a disk that fails at that harms nobody.
    """
    path = str(tmp_path / "disk" / "s")
    with program(disk, BEGIN) as user:
        user.ask(f"globals().update(store=SqliteStore(Path({path!r})))")
        assert user.ask("ask('', store=store)") == 1
        disk.fail(errno.EIO, SYNC)
        said = user.ask("[ask('', store=store) for _ in range(1_100)]")

    assert (said, disk.seen) == ([1] * 1_100, 0)


def test_killed_at_any_call_the_file_is_whole(disk: Disk, tmp_path: Path) -> None:
    """
    Killed at each call to the disk while it makes its file and asks, a process leaves one that the next one goes on
    with; nothing that was granted is granted again.
    """
    folder = tmp_path / "disk"
    killed = 0
    with program(disk, BEGIN) as forks:
        for step in range(1, 200):
            path = str(folder / str(step))
            disk.fail(KILLS, ALL, first=step)
            code = forks.ask(f"forked(partial(must, {path!r}))")
            disk.heal()
            assert code in (0, -9)
            assert forks.ask(f"forked(partial(must, {path!r}))") == 0
            found = forks.ask(f"used({path!r})")
            assert found in ((2,) if code == 0 else (1, 2))
            if code == 0:
                break
            killed += 1
        else:
            pytest.fail("it was killed to the end")

    assert killed > 5
    assert list(folder.glob("*.corrupt-*")) == []
