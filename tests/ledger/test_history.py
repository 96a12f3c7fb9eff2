"""
Notes on their way into a ledger that is slow, away, full, or whose writer is killed.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from egressor.ledger import LedgerAway, Pick, Tally
from egressor.ledger.history import History, _Note
from egressor.ledger.memory import MemoryLedger
from egressor.ledger.opening import open_history
from egressor.ledger.spool import Spool
from tests.ledger.places import NOW, Postgres, note, numbers, until

if TYPE_CHECKING:
    from egressor.ledger.entry import Entry


def wall() -> int:
    """
    The time.
    """
    return time.time_ns() // 1000


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    A state folder of the test's own, for spools.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


class Moody(MemoryLedger):
    """
    A ledger that is away when the test says so, or keeps its caller waiting.
    """

    is_durable = True

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.may_go = Event()
        self.may_go.set()
        self.answers_no = False
        self.fault: Exception | None = None

    def append(self, entries: Sequence[Entry]) -> int:
        """
        Keep them, or be away; *answers_no* keeps them and says that it doesn't know.
        """
        self.may_go.wait()
        self._check()
        if self.fault is not None:
            raise self.fault
        new = super().append(entries)
        if self.answers_no:
            message = "no answer"
            raise LedgerAway(message)
        return new

    def read(self, pick: Pick, *, patience: float | None = None) -> list[Entry]:
        """
        Read, or be away.
        """
        self._check()
        return super().read(pick, patience=patience)

    def tally(self, *, patience: float | None = None) -> Tally:
        """
        Count, or be away.
        """
        self._check()
        return super().tally(patience=patience)

    def _check(self) -> None:
        if self.is_away:
            message = "moody"
            raise LedgerAway(message)


@contextmanager
def opened(ledger: MemoryLedger, spool: Spool | None, *, queue: int = 10_000) -> Iterator[History]:
    """
    A history that is closed at the end.
    """
    history = History(ledger, spool=spool, wall=lambda: NOW, queue=queue)
    try:
        yield history
    finally:
        history.close()


def test_in_memory_notes_are_there_at_once() -> None:
    """
    Without a durable ledger a note is read back at once, and no thread is there.
    """
    with opened(MemoryLedger(), None) as history:
        note(history, 1, 2)
        assert numbers(history) == [1, 2]
        assert history._thread is None

        assert history.state() == {
            "ledger": "memory",
            "away": "",
            "entries": 2,
            "pruned": 0,
            "waiting": 0,
            "spooled": 0,
            "broken": 0,
            "dropped": 0,
        }


def test_a_full_queue_drops_the_oldest_and_says_so(tmp_path: Path) -> None:
    """
    Above its bound the queue keeps the newest notes, and the number of the others is told.
    """
    for spool in (None, Spool(tmp_path / "spool")):
        ledger = Moody()
        ledger.may_go.clear()
        with opened(ledger if spool else MemoryLedger(), spool, queue=5) as history:
            if spool:
                note(history, 0)
                until(partial(getattr, history, "_pending"))
                note(history, *range(1, 9))
            else:
                note(history, *range(9))
            ledger.may_go.set()
            assert history.flush(20)

            dropped = history.dropped
            assert numbers(history)[-5:] == [4, 5, 6, 7, 8]
            assert len(numbers(history)) + dropped == 9
            assert history.state()["dropped"] == dropped


def test_what_is_noted_while_the_ledger_is_away_comes_home_once(tmp_path: Path) -> None:
    """
    Away, entries are on the disk and can be read; back, they are in the ledger, once, and the spool is empty.
    """
    ledger, folder = Moody(), tmp_path / "spool"
    with opened(ledger, Spool(folder)) as history:
        note(history, 1)
        assert history.flush(20)
        ledger.is_away = True
        note(history, 2, 3)
        assert history.flush(20)
        assert (history.state()["spooled"], history.state()["away"]) == (2, "moody")
        assert numbers(history) == [2, 3]
        ledger.is_away = False
        until(lambda: not history._away)

        assert numbers(history) == [1, 2, 3]
        assert (history.state()["spooled"], list(folder.iterdir())) == (0, [])


def test_a_spool_that_cannot_be_read_is_tried_again(tmp_path: Path) -> None:
    """
    Regression: one read that failed lost what was in the spool; it stays, is counted, and is tried again by itself.
    """
    ledger, folder = Moody(), tmp_path / "spool"
    with opened(ledger, Spool(folder)) as history:
        ledger.is_away = True
        note(history, 1, 2)
        assert history.flush(20)
        (path,) = folder.iterdir()
        path.rename(tmp_path / "aside")
        path.symlink_to(path)
        ledger.is_away = False
        until(lambda: not history._away)
        assert history.state()["spooled"] == 2
        (tmp_path / "aside").replace(path)
        until(lambda: not history.state()["spooled"])

        assert (numbers(history), list(folder.iterdir())) == ([1, 2], [])


def test_a_yes_that_was_not_heard_doubles_nothing(tmp_path: Path) -> None:
    """
    Entries that the ledger has kept while its answer was lost go to the spool, come again, and stand there once.
    """
    ledger = Moody()
    ledger.answers_no = True
    with opened(ledger, Spool(tmp_path / "spool")) as history:
        note(history, 1, 2)
        assert history.flush(20)
        until(lambda: history.state()["spooled"] == 2)
        ledger.answers_no = False
        until(lambda: not history._away)

        assert numbers(history) == [1, 2]
        assert history.state()["entries"] == 2


def test_closing_does_not_wait_for_a_ledger_that_hangs(tmp_path: Path) -> None:
    """
    What a silent ledger has in its hands at the end goes to the spool; should it say yes yet, it stands there once.
    """
    ledger = Moody()
    ledger.may_go.clear()
    history = History(ledger, spool=Spool(tmp_path / "spool"), wall=lambda: NOW)
    note(history, 1)
    until(lambda: history._pending)
    note(history, 2)
    history.close(0.05)
    history.close(0.05)
    ledger.may_go.set()
    until(lambda: not history._thread or not history._thread.is_alive())
    with opened(ledger, Spool(tmp_path / "spool")) as next_one:
        until(next_one._spool.is_empty)  # type: ignore[union-attr]

        assert sorted(numbers(next_one)) == [1, 2]
        assert (history.dropped, ledger.tally().entries) == (0, 2)


class Pruning(MemoryLedger):
    """
    A ledger whose old entries take until *may_go*.
    """

    is_durable = True

    def __init__(self) -> None:
        super().__init__()
        self.is_at_it = Event()
        self.may_go = Event()

    def prune(self, now: int) -> int:
        """
        Drop them.
        """
        self.is_at_it.set()
        self.may_go.wait()
        return super().prune(now)


def test_after_the_end_nobody_opens_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Regression: the thread went on to drop old entries behind `close`, and made a file anew that was gone by then.
    """
    ledger = Pruning()
    history = History(ledger, spool=Spool(tmp_path / "spool"), wall=lambda: NOW)
    note(history, 1)
    ledger.is_at_it.wait()
    flush = history.flush

    def flushed(timeout: float) -> bool:
        ledger.may_go.set()
        return flush(timeout)

    monkeypatch.setattr(history, "flush", flushed)
    history.close(10.0)

    assert history._thread is not None
    assert not history._thread.is_alive()


def test_after_the_end_notes_are_counted(tmp_path: Path) -> None:
    """
    A note after `close` is dropped, and told.
    """
    history = History(Moody(), spool=Spool(tmp_path / "spool"), wall=lambda: NOW)
    history.close()
    note(history, 1)

    assert history.dropped == 1


def test_neither_ledger_nor_spool(tmp_path: Path) -> None:
    """
    While nothing takes entries they wait in memory up to the bound; what is beyond it is dropped and told.
    """
    ledger = Moody()
    ledger.is_away = True
    with opened(ledger, Spool(tmp_path / "spool", most=10), queue=5) as history:
        for number in range(8):
            note(history, number)
            until(lambda: not history._notes or len(history._pending) == 5)
        until(lambda: "nor does the spool" in history._away)
        ledger.is_away = False
        assert history.flush(20)
        until(lambda: not history._away)

        assert len(numbers(history)) + history.dropped == 8
        assert len(numbers(history)) >= 5


def test_a_note_that_is_none_harms_nobody(tmp_path: Path) -> None:
    """
    What can't be an entry is dropped and counted; those after it arrive.
    """
    with opened(Moody(), Spool(tmp_path / "spool")) as history:
        history.note("No Kind", "pause")
        note(history, 1)
        assert history.flush(20)

        assert (numbers(history), history.dropped) == ([1], 1)


@pytest.mark.parametrize("how", ["stopped", "crashed", "frozen"])
def test_postgres_goes_and_comes_back(how: str, postgres: Postgres) -> None:
    """
    A server that is stopped, crashes or freezes loses and doubles nothing: the spool has it, then the ledger.
    """
    history = open_history(postgres.new_database(), wall=wall)
    note(history, 1, 2)
    assert history.flush(20)
    if how == "frozen":
        with postgres.frozen():
            note(history, 3, 4)
            until(lambda: history._away)
            note(history, 5)
            assert history.flush(20)
            assert history.state()["spooled"]
    else:
        postgres.stop(signal.SIGINT if how == "stopped" else signal.SIGQUIT)
        note(history, 3, 4)
        assert history.flush(20)
        note(history, 5)
        assert history.flush(20)
        assert (history.state()["spooled"], numbers(history)) == (3, [3, 4, 5])
        postgres.start()
    until(lambda: not history._away)

    assert (numbers(history), history.state()["spooled"]) == ([1, 2, 3, 4, 5], 0)
    assert history.state()["entries"] == 5
    history.close()


WRITER = """
import itertools, sys, time
from egressor.ledger.opening import open_history
history = open_history(sys.argv[1], wall=lambda: time.time_ns() // 1000)
for n in itertools.count(int(sys.argv[2])):
    history.note("operator", "pause", data={"n": n})
    if n % 3 == 0 and history.flush(30):
        print(n, flush=True)
"""


def run_killed(address: str, first: int, lines: int, dice: random.Random) -> int:
    """
    Run a writer from number *first* on until it has said so many lines, kill it, and return its last word.
    """
    with subprocess.Popen([sys.executable, "-c", WRITER, address, str(first)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        said = [int(line) for line in itertools.islice(writer.stdout, lines)]
        time.sleep(dice.random() / 50)  # real time: the writer is killed at any instant
        writer.kill()
        said += [int(line) for line in writer.stdout.read().split(b"\n")[:-1]]
    return said[-1]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "away"])
def test_a_killed_writer_loses_nothing_that_it_counted_on(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """
    After ``kill -9`` at any instant, what a flush had returned for is in the ledger or the spool, and nothing is twice.
    """
    dice = random.Random(4)
    folder = tmp_path / "history.db.lock"
    if kind == "postgresql":
        address = request.getfixturevalue("postgres").new_database()
    else:
        address = f"sqlite:///{tmp_path}/history.db"
    if kind == "away":
        folder.mkdir()  # What is no file can't be locked.
    promised: set[int] = set()
    for turn in range(6):
        last = run_killed(address, turn * 1_000_000, dice.randint(1, 30), dice)
        promised |= set(range(turn * 1_000_000, last + 1))
    if kind == "away":
        folder.rmdir()
    history = open_history(address, wall=wall)
    note(history, -1)
    assert history.flush(20)
    until(lambda: history._spool is not None and history._spool.is_empty())
    found = numbers(history)
    history.close()

    assert len(found) == len(set(found))
    assert promised - set(found) == set()


FULL = """
import os, resource, sys, time
from egressor.ledger import Pick
from egressor.ledger.opening import open_history
history = open_history(sys.argv[1], wall=lambda: time.time_ns() // 1000)
def note(*given):
    for n in given:
        history.note("operator", "pause", data={"n": n, "more": ["x" * 150] * 40})
def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, history.state()
        time.sleep(0.01)
note(*range(5))
assert history.flush(20)
size = int(sys.argv[2])
if size > 64:
    # Larger than what the spool will need, so that only the ledger's file is at its end: its WAL, which grows.
    for n in range(60):
        history.note("breaker", "open", data={"n": -n, "more": ["y" * 150] * 40})
    assert history.flush(20)
    size = os.stat(sys.argv[1].removeprefix("sqlite:///") + "-wal").st_size + 60_000
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
note(*range(5, 30))
until(lambda: history._away)
if sys.argv[2] == "64":
    until(lambda: "nor does the spool" in history._away)
else:
    assert history.flush(20)
    until(lambda: history._spool.count == 25)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
assert history.flush(20)
until(lambda: not history._away and not history._spool.count)
found = [each.data["n"] for each in history.read(Pick(limit=1000, is_newest=False))]
assert found == list(range(30)), found
assert history.state()["dropped"] == 0
history.close()
print("fine")
"""


@pytest.mark.parametrize("size", [64, 300_000])
def test_a_full_disk_loses_nothing(size: int, tmp_path: Path) -> None:
    """
    While the disk takes no more, neither in the ledger nor (with the smaller size) in the spool, entries wait.
    """
    address = f"sqlite:///{tmp_path}/history.db"
    command = [sys.executable, "-c", FULL.replace("Pick(", 'Pick(kind="operator", '), address, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)

    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from 3.12 on Python warns of forks where threads are
def test_a_fork_leaves_the_parent_its_own(tmp_path: Path) -> None:
    """
    A child writes its own notes, none of those that its parent has queued, and into a spool of its own.
    """
    lock, folder = tmp_path / "history.db.lock", tmp_path / "history.db.spool"
    lock.mkdir()  # What is no file can't be locked: the ledger is away.
    history = open_history(f"sqlite:///{tmp_path}/history.db", wall=wall)
    note(history, 1)
    assert history.flush(20)
    history._notes.append(_Note(wall(), "operator", "pause", "api", "", {"n": 2}))
    pid = os.fork()
    if pid == 0:
        note(history, 3)
        history.close(20)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert len(list(folder.iterdir())) == 2
    lock.rmdir()
    until(lambda: not history._away)
    note(history, 4)
    history.close(20)

    assert sorted(numbers(history)) == [1, 2, 3, 4]


def test_a_program_that_just_ends_has_written(tmp_path: Path) -> None:
    """
    Who forgets to close still finds everything, as the end of the program does it.
    """
    program = WRITER.replace("itertools.count(int(sys.argv[2]))", "range(50)").replace("if n % 3", "if 0 and n % 3")
    address = f"sqlite:///{tmp_path}/history.db"
    done = subprocess.run([sys.executable, "-c", program, address], capture_output=True, check=True, timeout=60)
    history = open_history(address, wall=wall)

    assert (numbers(history), done.stderr) == (list(range(50)), b"")
    history.close()


def test_the_thread_survives_a_fault_of_ours(tmp_path: Path) -> None:
    """
    Whatever a ledger raises, the notes go to the spool, and home when it has come to its senses.
    """
    ledger = Moody()
    ledger.fault = ZeroDivisionError()
    with opened(ledger, Spool(tmp_path / "spool")) as history:
        note(history, 1)
        until(lambda: "ZeroDivisionError" in history._away)
        ledger.fault = None
        until(lambda: not history._away)

        assert numbers(history) == [1]


class Stingy(Moody):
    """
    A ledger that is kept locked: it uses up all the patience that it is given, by moving the clock.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = time.monotonic()
        self.lent: list[float] = []

    def _check(self) -> None:
        message = "locked"
        raise LedgerAway(message)

    def read(self, pick: Pick, *, patience: float | None = None) -> list[Entry]:
        """
        Wait in vain.
        """
        self._wait(patience)
        return super().read(pick)

    def tally(self, *, patience: float | None = None) -> Tally:
        """
        Wait in vain.
        """
        self._wait(patience)
        return super().tally()

    def _wait(self, patience: float | None) -> None:
        self.lent.append(2.0 if patience is None else patience)
        self.clock += self.lent[-1]


def test_who_looks_waits_half_a_second_for_a_locked_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Regression: gov.errors() waited 5.5 s; now there is what memory and spool have, and the reason for no more.
    """
    ledger = Stingy()
    with opened(ledger, Spool(tmp_path / "spool")) as history:
        monkeypatch.setattr("egressor.ledger.history.time", SimpleNamespace(monotonic=lambda: ledger.clock))
        ledger.is_away = True
        note(history, 1, 2)
        until(lambda: history._spool is not None and history._spool.count == 2)
        ledger.lent.clear()
        found, state = history.look(Pick(), Pick(kind="ban"))

        assert sum(ledger.lent) <= 0.5
        assert ([each.data["n"] for each in found[0]], found[1], state["away"]) == ([2, 1], [], "locked")


def test_a_look_does_not_wait_for_the_thread_that_brings_the_spool_home(tmp_path: Path) -> None:
    """
    Regression: the thread waited for the ledger's lock with the spool's own in its hand.
    """
    with opened(Moody(), Spool(tmp_path / "spool")) as history:
        note(history, 1)
        history.flush(5)
        held, done = Event(), Event()

        def hold() -> None:
            with history._changed:
                held.set()
                done.wait(30)

        thread = Thread(target=hold)
        thread.start()
        held.wait(30)
        found, state = history.look(Pick())
        done.set()
        thread.join()

        assert ([each.data["n"] for each in found[0]], state["away"]) == ([1], "")
