"""
The store is away: every call still ends, in the declared mode, and all is well again when the store is back.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.fleet import SECOND, SLIP, Fleet, Place, eventually, most, most_aligned, now, run_for

Start = Callable[..., Fleet]

AWAY = 2.5
BACK = 2 * SECOND
MOMENT = 5_000
FIRST = 0.3
AFTER = 0.005
_SLACK = 0.2


@pytest.mark.parametrize("limit", ["40/second", "40/second burst 8", "40/second fixed"])
def test_shares_together_are_no_more_than_the_limit(start: Start, place: Place, limit: str) -> None:
    """
    Two processes that have lost their store go on with half of the limit each, and then with all of it together.
    """
    fleet = start(2, {"s": {"limits": [limit], "max_wait": 30.0}})
    burst = 8 if "burst" in limit else 0
    fleet.all("threads(3)")
    for _ in range(10):
        begun = now()
        # To half of a window: where all of one is being taken, each may not know yet what the other took just now.
        run_for(0.7 + (0.8 - time.time()) % 1)

        with place.away():
            lost = now()
            run_for(AWAY)
            returned = now()
        run_for(3.1)

        lines = [line for line in fleet.lines() if line.at >= begun]
        if not any(abs(line.at - lost) <= MOMENT for line in lines):
            break
    else:
        pytest.fail("the store was never lost at a quiet moment")

    during = [line for line in lines if lost <= line.at < returned]
    after = [line for line in lines if line.at >= returned + BACK]
    judge, window = (most_aligned, SECOND) if "fixed" in limit else (most, SECOND - SLIP)
    assert judge(during, window) <= 40 + burst
    assert judge(lines, window) <= 40 + burst
    # Nobody's share is nothing, and none is lost for good.
    assert len(during) >= 40
    assert len(after) >= 35


def test_open_takes_the_whole_limit_each(start: Start, place: Place) -> None:
    """
    With ``open`` each process takes every limit in full, and no more.
    """
    fleet = start(2, {"s": {"limits": ["40/second"], "max_wait": 30.0}}, on_store_loss="open")
    fleet.all("attempt(str)")
    words = ["a", "b"]

    with place.away():
        for word, member in zip(words, fleet.members, strict=True):
            member.ask(f"threads(3, word='{word}')")
        run_for(AWAY)
        lines = {word: fleet.lines(word) for word in words}

    assert max(most(each, SECOND - SLIP) for each in lines.values()) <= 40
    assert min(len(each) for each in lines.values()) >= 60


def test_closed_refuses_until_the_store_is_back(start: Start, place: Place) -> None:
    """
    With ``closed`` no call goes while the store is away, and calls go again when it is back.
    """
    fleet = start(2, {"s": {"limits": ["1000/second"], "max_wait": 1.0}}, on_store_loss="closed")
    fleet.all("attempt(str)")

    with place.away():
        # What they have at hand is theirs.
        eventually(lambda: fleet.all("attempt(str)") == ["StoreUnavailable"] * 2, "all refuse")
        assert fleet.all("attempt(noted('lost'))") == ["StoreUnavailable"] * 2

    eventually(lambda: fleet.all("attempt(str)") == ["ok"] * 2, "it is back")
    assert fleet.lines("lost") == []


def test_a_lost_store_costs_the_first_call_a_moment_and_the_others_nothing(start: Start, place: Place) -> None:
    """
    The first call waits for the store no longer than promised, and those after it don't wait.
    """
    [member] = start(1, {"s": {"limits": ["1000/second"], "max_wait": 1.0}}).members
    member.ask("timed(5)")
    run_for(0.5)

    with place.away():
        first, *after = member.ask("timed(40)")

    assert 0 <= first <= FIRST + _SLACK
    assert min(after) >= 0
    assert statistics.median(after) <= AFTER


def test_what_operators_and_breakers_did_meanwhile_is_told_when_the_store_is_back(start: Start, place: Place) -> None:
    """
    A pause while the store is away holds in its own process at once, and in the others once the store is back.
    """
    fleet = start(2, {"s": {"limits": ["1000/second"], "max_wait": 1.0}})
    fleet.all("attempt(str)")

    with place.away():
        fleet.all("attempt(str)")
        fleet.members[0].ask("gov.pause('s', 'why')")
        assert fleet.members[0].ask("attempt(str)") == "Paused"

    eventually(lambda: fleet.all("attempt(str)") == ["Paused"] * 2, "all know")


def test_places_stay_bounded_through_a_loss(start: Start, place: Place) -> None:
    """
    Of 4 places two processes that lost their store have 2 each; calls in flight keep theirs, and all come back.
    """
    fleet = start(2, {"s": {"max_concurrency": 4, "max_wait": 30.0}})
    fleet.all("attempt(str)")
    fleet.all("threads(4, hold=0.02)")
    run_for(0.3)

    with place.away():
        run_for(1.0)
        within = fleet.all("gov.status()['s']['in_flight']")
    fleet.all("OVER.set()")

    assert max(within) <= 4
    eventually(lambda: sum(fleet.all("gov.status()['s']['in_flight'] + waiting()")) == 0, "nobody is in or waits")
    eventually(lambda: fleet.all("attempt(str)") == ["ok", "ok"], "there are places")


# --- the file of an SQLite store -------------------------------------------------------------------------------------


def overwrite(path: Path) -> None:
    """
    Write noise over the beginning.
    """
    descriptor = os.open(path, os.O_RDWR)
    os.write(descriptor, os.urandom(8192))
    os.close(descriptor)


def replace(path: Path) -> None:
    """
    Put another file, of noise, in its place.
    """
    noise = path.with_name("noise")
    noise.write_bytes(os.urandom(8192))
    noise.replace(path)


def spoil_log(path: Path) -> None:
    """
    Write noise over its write-ahead log.
    """
    overwrite(path.with_name(path.name + "-wal"))


def truncate(path: Path) -> None:
    """
    Cut it to nothing.
    """
    os.truncate(path, 0)


def remove(path: Path) -> None:
    """
    Remove it.
    """
    path.unlink()


def remove_all(path: Path) -> None:
    """
    Remove it and what SQLite keeps beside it.
    """
    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink()


@pytest.mark.parametrize("damage", [overwrite, replace, spoil_log, truncate, remove, remove_all])
def test_a_damaged_file_costs_one_allowance_at_most(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """
    Processes whose file is spoiled begin a new one and go on sharing it; at most one more allowance is given.
    """
    fleet = Fleet(tmp_path, f"sqlite:///{tmp_path}/store.db", {"s": {"limits": ["40/second"], "max_wait": 30.0}})
    try:
        fleet.start(2)
        fleet.all("threads(3)")
        run_for(1.2)
        damage(tmp_path / "store.db.cells")
        damaged = now()
        run_for(2.5)
        lines = fleet.lines()
        alone = fleet.all("gov.status()['s']['in_flight'] > 3")
    finally:
        fleet.end()

    assert most(lines, SECOND - SLIP) <= 80
    assert most([line for line in lines if line.at > damaged + 1_300_000], SECOND - SLIP) <= 40
    assert len([line for line in lines if line.at > damaged]) >= 40
    assert alone == [False, False]


def test_a_full_disk_is_a_lost_store_until_there_is_room(tmp_path: Path) -> None:
    """
    While nothing can be written, each goes on with its share; when there is room again they share as before.
    """
    fleet = Fleet(tmp_path, f"sqlite:///{tmp_path}/store.db", {"s": {"limits": ["40/second"], "max_wait": 30.0}})
    try:
        fleet.start(2)
        fleet.all("threads(3)")
        run_for(1.2)
        fleet.all("no_more_than(16384)")
        full = now()
        run_for(2.0)
        fleet.all("no_more_than(-1)")
        freed = now()
        run_for(3.1)
        lines = fleet.lines()
    finally:
        fleet.end()

    during = [line for line in lines if full <= line.at < freed]
    assert len(during) >= 40
    assert most(lines, SECOND - SLIP) <= 40
    assert len([line for line in lines if line.at >= freed + BACK]) >= 35


def test_a_process_that_is_stopped_in_the_middle_of_a_step_holds_up_nobody_for_long(start: Start, place: Place) -> None:
    """
    Processes are stopped at any moment, perhaps with the store in their hands; the calls of all others end.
    """
    fleet = start(3, {"s": {"limits": ["1000000/second"], "max_wait": 5.0}})
    victim, *others = fleet.members
    victim.ask("threads(2)")

    for _ in range(5):
        run_for(0.05)
        victim.signal(signal.SIGSTOP)
        for each in others:
            assert -1.0 not in each.ask("timed(3)")
        victim.signal(signal.SIGCONT)
