"""
Locks of files between processes and threads.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from egressor._host import lock
from egressor._host.lock import Latch, LockAway, hold

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


def test_nobody_comes_between(tmp_path: Path) -> None:
    """
    Processes that never stop have their turns one after the other, whoever is next.
    """
    crowd = [subprocess.Popen([sys.executable, "-c", COUNTS, tmp_path, "2000"]) for _ in range(4)]
    codes = [each.wait() for each in crowd]
    numbers = [int(line) for line in (tmp_path / "log").read_text().splitlines()]

    assert (codes, numbers) == ([0] * 4, list(range(8_000)))


def test_a_latch_whose_door_is_shut_is_had_in_the_end(tmp_path: Path) -> None:
    """
    Whoever is next may be stopped for ever: the others don't wait for it when the lock itself is free.
    """
    latch = Latch(tmp_path / "lock")
    latch.take(patience=1)
    stopped = os.open(tmp_path / "lock.next", os.O_RDWR)
    assert hold(stopped)
    latch.give()
    latch._began -= 1
    latch.take(patience=30)
    latch.give()
    os.close(stopped)


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


def test_who_is_next_looks_closely_when_a_run_should_be_over(tmp_path: Path) -> None:
    """
    While a run is young whoever is next looks now and then, and closely from its end on; without word of it as before.
    """
    latch = Latch(tmp_path / "lock")
    latch.take(patience=1)
    began = latch._run()
    rests = [latch._pause(began + late, began, began) for late in (0.001, 0.003_5, 0.004_5, 0.01)]

    assert rests[0] > 0.000_5
    assert rests[1] == pytest.approx(0.000_5)
    assert rests[2] < 0.000_2
    assert rests[3] > 0.000_5
    (tmp_path / "lock.next").write_bytes(b"")
    assert latch._run() == 0.0
    latch.close()


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
