"""
Locks of files between processes and threads.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from egressor._host import lock
from egressor._host.lock import Latch, LockAway

HOLDS = """
import sys
from pathlib import Path
from egressor._host.lock import Latch
latch = Latch(Path(sys.argv[1]))
latch.take(patience=10)
print("has it", flush=True)
sys.stdin.read(1)
"""
# Each turn reads a number and writes the next: a turn that somebody comes between writes one that is there already.
COUNTS = """
import os, sys
from pathlib import Path
from egressor._host.lock import Latch
folder, turns = Path(sys.argv[1]), int(sys.argv[2])
latch, log = Latch(folder / "lock"), os.open(folder / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
for _ in range(turns):
    latch.take(patience=60)
    os.write(log, b"%09d\\n" % (os.fstat(log).st_size // 10))
    latch.give()
"""


def test_a_latch_is_held_by_one_process(tmp_path: Path) -> None:
    """
    While another process has it, it can't be had; when that one is killed it can.
    """
    latch = Latch(tmp_path / "lock")
    command = [sys.executable, "-c", HOLDS, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"has it\n"
        with pytest.raises(LockAway, match=r"another process has held its lock lock for 0\.05 s"):
            latch.take(patience=0.05)
        child.kill()
    latch.take(patience=0.05)
    latch.give()
    latch.close()


def test_who_had_no_turn_ends_none(tmp_path: Path) -> None:
    """
    After a `take` that has failed `give` tells nobody that a turn has ended: the other one's goes on.
    """
    one, other = Latch(tmp_path / "lock"), Latch(tmp_path / "lock")
    one.take(patience=1)
    before = one._read_board()
    with pytest.raises(LockAway):
        other.take(patience=0.01)
    other.give()

    assert one._read_board()[:2] == before[:2]
    one.give()
    assert one._read_board()[1] > before[1]
    one.close()
    other.close()


def test_nobody_comes_between(tmp_path: Path) -> None:
    """
    Processes that never stop have their turns one after the other, whoever is next.
    """
    crowd = [subprocess.Popen([sys.executable, "-c", COUNTS, tmp_path, "2000"]) for _ in range(4)]
    codes = [each.wait() for each in crowd]
    numbers = [int(line) for line in (tmp_path / "log").read_text().splitlines()]

    assert (codes, numbers) == ([0] * 4, list(range(8_000)))


def test_who_is_first_in_line_and_does_not_come_holds_nobody_off(tmp_path: Path) -> None:
    """
    Whoever is next may be stopped for ever: the others don't wait for it when nobody uses the lock.
    """
    latch = Latch(tmp_path / "lock")
    latch.take(patience=1)
    latch._post(2, struct.pack("<d", time.monotonic()))
    latch.give()
    latch._began -= 1
    # Sooner than the other one is forgotten.
    latch.take(patience=0.9)
    runs = latch.runs
    latch.give()
    latch.close()

    # It has stood in the line behind the other one, and left it.
    assert runs == 2
    assert lock._line(latch._read_board(), time.monotonic()) == []


class Napping:
    """
    A time in which naps take as long as they should, or one of them *longer*.
    """

    def __init__(self, longer: float) -> None:
        self._now = 1000.0
        self._longer = longer

    def monotonic(self) -> float:
        """
        The time, in seconds.
        """
        return self._now

    def sleep(self, seconds: float) -> None:
        """
        Let it go on.
        """
        self._now += seconds + self._longer
        self._longer = 0.0


def test_whoever_waits_ends_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A run goes on for as long as nobody waits; else it is over after some milliseconds, of which the last are left to
    whoever is next.
    """
    clock = Napping(0.0)
    monkeypatch.setattr(lock, "time", clock)
    latch = Latch(tmp_path / "lock")
    latch.take(patience=1)
    found = []
    for late, waits in [(0.003, True), (0.004_5, True), (0.004_5, False), (0.1, False)]:
        latch.give()
        latch._post(2, struct.pack("<d", clock.monotonic() if waits else 0.0))
        runs = latch.runs
        # Its run is that old.
        latch._began = clock.monotonic() - late
        latch._stamp = struct.pack("<d", latch._began)
        latch._post(0, latch._stamp)
        latch.take(patience=1)
        found.append(latch.runs - runs)
    latch.close()

    assert found == [0, 0, 1, 1]


def test_it_is_told_whether_others_were_there(tmp_path: Path) -> None:
    """
    Who has the lock again knows whether somebody else has had it meanwhile; without a board it knows nothing.
    """
    one, two = Latch(tmp_path / "lock"), Latch(tmp_path / "lock")
    told = []
    for latch in (one, one, two, one, one):
        latch.take(patience=1)
        told.append(latch.is_ours)
        latch.give()
    (tmp_path / "lock.next").write_bytes(b"")
    one.take(patience=1)
    told.append(one.is_ours)
    one.close()
    two.close()

    assert told == [False, True, False, False, True, False]


def test_a_lock_file_that_was_removed_is_noticed(tmp_path: Path) -> None:
    """
    A latch on a file that is gone, or is another one by now, holds nobody off.
    """
    latch = Latch(tmp_path / "lock")
    latch.take(patience=1)
    there = [latch.is_there()]
    (tmp_path / "lock").unlink()
    there.append(latch.is_there())
    (tmp_path / "lock").touch()
    there.append(latch.is_there())
    latch.close()
    latch.take(patience=1)
    there.append(latch.is_there())
    latch.close()

    assert there == [True, False, False, True]


def test_a_lock_file_that_was_removed_is_left(tmp_path: Path) -> None:
    """
    After its file was removed, a latch that was open before and one that was not exclude each other again, in a second.
    """
    old, new = Latch(tmp_path / "lock"), Latch(tmp_path / "lock")
    old.take(patience=1)
    old.give()
    (tmp_path / "lock").unlink()
    new.take(patience=1)
    old._check_at -= 2
    with pytest.raises(LockAway, match="another process has held its lock lock"):
        old.take(patience=0.05)
    new.close()
    old.take(patience=30)
    old.close()


def test_what_is_written_into_it_stays(tmp_path: Path) -> None:
    """
    Who has the lock may leave a mark for whoever has it next.
    """
    one, two = Latch(tmp_path / "lock"), Latch(tmp_path / "lock")
    one.take(patience=1)
    empty = one.read()
    one.write(b"ours\n")
    one.give()
    two.take(patience=1)

    assert (empty, two.read()) == (b"", b"ours\n")
    one.close()
    two.close()


def test_a_lock_that_can_t_be_made(tmp_path: Path) -> None:
    """
    Where its folder is not there the message says so.
    """
    with pytest.raises(LockAway, match=r"its lock lock can't be opened: No such file or directory"):
        Latch(tmp_path / "no" / "lock").take(patience=1)


def test_a_lock_that_can_t_be_made_whole_keeps_nothing(tmp_path: Path) -> None:
    """
    Regression: where only the second file could not be opened, the first stayed open, one more at each try.
    """
    (tmp_path / "lock.next").mkdir()
    before = len(list(Path("/proc/self/fd").iterdir()))
    latch = Latch(tmp_path / "lock")
    for _ in range(20):
        with pytest.raises(LockAway, match=r"its lock lock\.next can't be opened"):
            latch.take(patience=1)

    assert len(list(Path("/proc/self/fd").iterdir())) < before + 5


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from 3.12 on Python warns of forks where threads are
def test_a_lock_outlives_no_fork(tmp_path: Path) -> None:
    """
    A child that is born while the lock is held doesn't hold it: the parent frees it.
    """
    latch, other = Latch(tmp_path / "lock"), Latch(tmp_path / "lock")
    ready, go = os.pipe()
    latch.take(patience=1)
    pid = os.fork()
    if pid == 0:
        os.close(go)
        os.read(ready, 1)
        os._exit(0)
    latch.give()
    # The child may not have run yet; but it waits for our word, so that only its letting go can free the lock.
    other.take(patience=30)
    os.close(go)

    assert os.waitpid(pid, 0)[1] == 0
    os.close(ready)
    latch.close()
    other.close()


def test_a_line_that_moves_is_worth_waiting_in(tmp_path: Path) -> None:
    """
    Who finds the lock taken gives up when nobody has had a turn for that long, not while others have theirs.
    """
    latch, other = Latch(tmp_path / "lock"), Latch(tmp_path / "lock")
    other.take(patience=1)
    over = threading.Event()

    def begin_runs() -> None:
        while not over.wait(0.02):  # real time: the other one has its turns
            other._begin()

    thread = threading.Thread(target=begin_runs)
    thread.start()
    with pytest.raises(LockAway, match=r"its lock lock could not be had for 1(\.\d+)? s: others have it in turns"):
        latch.take(patience=0.3)
    over.set()
    thread.join()
    seen = latch.passed
    with pytest.raises(LockAway, match=r"another process has held its lock lock for 0\.05 s"):
        latch.take(patience=0.05)
    other.close()
    latch.take(patience=1)

    # To wait for somebody who stands still is to see nobody pass.
    assert latch.passed == seen > 0
    latch.close()


@pytest.mark.parametrize(("longer", "slept"), [(0.0, False), (0.05, False), (0.3, True), (30.0, True)])
def test_who_slept_in_line_says_so(longer: float, slept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where this process did not run for most of its wait, nobody knows whether others had the lock for so long.
    """
    other, latch = Latch(tmp_path / "lock"), Latch(tmp_path / "lock")
    other.take(patience=1)
    monkeypatch.setattr(lock, "time", Napping(longer))
    with pytest.raises(LockAway) as caught:
        latch.take(patience=0.25)
    other.close()
    latch.close()

    assert caught.value.slept is slept


@pytest.mark.parametrize(
    ("began", "given", "before", "may_try", "pause"),
    [
        # A run of several turns, young: whoever is next leaves it alone, and looks whether it goes on.
        (0.001, 0.000_05, 0, False, 0.000_8),
        # At its end at last.
        (0.003_5, 0.000_05, 0, False, 0.000_5),
        # From then on it looks closely, and then less so.
        (0.004_5, 0.000_05, 0, True, 0.000_03),
        (0.01, 0.000_05, 0, True, 0.000_8),
        # Nothing has come of it for a while.
        (0.002, 0.000_15, 0, True, 0.000_03),
        # One turn is no run; nor is one that goes on for long.
        (0.000_1, 0.000_05, 0, True, 0.000_03),
        (0.02, 0.03, 0, True, 0.000_8),
        # Whoever has others before it has it where nobody uses it.
        (0.001, 0.000_05, 1, False, 0.000_6),
        (0.001, 0.000_4, 1, True, 0.000_6),
        (0.02, 0.000_2, 3, False, 0.007_2),
        (0.000_2, 0.000_1, 1, False, 0.000_15),
    ],
)
def test_who_waits_looks_when_it_is_worth_it(
    began: float, given: float, before: int, may_try: bool, pause: float
) -> None:
    """
    What is done by whoever waits goes by how long ago the run began, and its last turn ended.
    """
    now = 1_000.0
    board = (now - began, now - given, *[0.0] * 64)
    pauses = [lock._pause(board, now, now - 1, before) for _ in range(50)]

    assert lock._may_try(board, now, before) == may_try
    assert 0.7 * pause < min(pauses) <= max(pauses) < 1.3 * pause


def test_the_board_tells_who_waits() -> None:
    """
    Who has said so in the last second waits; older entries and empty ones are free, and when all are taken any is.
    """
    now = 1_000.0
    line = [now - 0.5, now - 3, now + 5, 0.0, now, *[now - 0.1] * 59]
    board = (0.0, 0.0, *line)

    assert lock._line(board, now) == [now - 0.5, now, *[now - 0.1] * 59]
    assert {lock._free(board, now) for _ in range(200)} == {3, 4, 5}
    assert 2 <= lock._free((0.0, 0.0, *[now] * 64), now) < 66


def test_a_board_that_can_t_be_used_holds_nobody_off(tmp_path: Path) -> None:
    """
    Where it can be neither read nor written there is no order, but turns.
    """
    latch, other = Latch(tmp_path / "lock"), Latch(tmp_path / "lock")
    boards = {}
    for each in (latch, other):
        each.take(patience=1)
        each.give()
        each._began -= 1
        # A number that no file has.
        boards[each], each._board = each._board, -1
    latch.take(patience=1)
    with pytest.raises(LockAway, match="another process has held its lock lock"):
        other.take(patience=0.05)
    latch.give()
    other.take(patience=1)

    assert (latch.runs, other.runs, other.is_ours) == (2, 2, False)
    for each, board in boards.items():
        each._board = board
        each.close()


def test_the_garbage_collector_may_close_one_while_another_is_opened(tmp_path: Path) -> None:
    """
    Regression: a finaliser that ran while its thread opened a file waited for that very thread.
    """
    dropped = Latch(tmp_path / "dropped")
    dropped.take(patience=1)
    dropped.give()

    def collected() -> None:
        with lock._guard:
            dropped.close()

    thread = threading.Thread(target=collected, daemon=True)
    thread.start()
    thread.join(20)

    assert not thread.is_alive()
