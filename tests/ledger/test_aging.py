"""
What a ledger forgets is decided by the time that has passed, and by no wrong clock.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.budget import Ask, Denied
from egressor.ledger import Ledger, Pick
from egressor.ledger.aging import PACE, WRITTEN, aged
from egressor.ledger.entry import new_id
from egressor.ledger.memory import MemoryLedger
from egressor.ledger.money import SPENT, End, Tags, Want
from egressor.ledger.opening import open_history, open_ledger, open_till
from egressor.ledger.postgres import PostgresLedger
from egressor.ledger.sqlite import SqliteLedger
from tests.ledger.places import DAY, NOW, SECOND, Postgres, entries

if TYPE_CHECKING:
    from egressor.ledger.history import History

HOUR = 3_600 * SECOND
YEARS = 5 * 366 * DAY


@pytest.mark.parametrize(
    ("lived", "now", "expected"),
    [
        (HOUR, NOW + HOUR, NOW + HOUR),
        (HOUR, NOW + HOUR + 5 * SECOND, NOW + HOUR + 5 * SECOND),
        (HOUR, NOW + YEARS, NOW + 8 * HOUR),
        (HOUR, NOW - HOUR, NOW - HOUR),
        (HOUR, NOW - YEARS, NOW - 8 * HOUR),
        (-HOUR, NOW + YEARS, NOW),
        (10 * YEARS, 0, WRITTEN),
    ],
)
def test_an_age_goes_after_the_clock(lived: int, now: int, expected: int) -> None:
    """
    At once where little is between them, as after a step of NTP's; else eight times as fast as time goes.
    """
    assert aged(NOW, lived, now) == expected


@given(st.lists(st.tuples(st.integers(0, 10 * DAY), st.integers(0, 2**53)), min_size=1, max_size=20))
def test_no_clocks_age_a_ledger_by_more_than_was_lived(told: list[tuple[int, int]]) -> None:
    """
    Whatever they say, and in however many readings; and in twice the time that it was led astray it has the truth.
    """
    age, lived = NOW, 0
    for passed, clock in told:
        age, lived = aged(age, passed, clock), lived + passed

    assert abs(age - NOW) <= PACE * lived
    assert aged(age, 2 * lived + 1, NOW + 3 * lived + 1) == NOW + 3 * lived + 1


class Machine:
    """
    A machine whose two clocks the test moves, with a ledger in a file or in memory.
    """

    def __init__(self, place: Path | None) -> None:
        self.wall = NOW
        self.mono = HOUR
        self.boot = "first"
        self._only = MemoryLedger(mono=lambda: self.mono) if place is None else None
        self._place = place

    def ledger(self) -> Ledger:
        """
        The ledger as a new process has it.
        """
        if self._place is None:
            assert self._only is not None
            return self._only
        return SqliteLedger(self._place, mono=lambda: self.mono, boot=self.boot)

    def proven(self) -> int:
        """
        Return up to when such a process would forget.
        """
        ledger = self.ledger()
        found = ledger.proven(self.wall)
        ledger.close()
        return found


@pytest.mark.parametrize("kind", ["sqlite", "memory"])
def test_a_clock_that_jumps_ahead_is_followed_slowly(kind: str, tmp_path: Path) -> None:
    """
    Each process asks again, and time, not their number, ages the ledger; once the clock is right, it is as old as that.
    """
    machine = Machine(tmp_path / "l.db" if kind == "sqlite" else None)
    machine.ledger().append(entries(1))
    found = [machine.proven() - NOW]
    machine.wall += YEARS
    found += [machine.proven() - NOW for _ in range(3)]
    machine.mono += HOUR
    found += [machine.proven() - NOW for _ in range(3)]
    machine.mono += HOUR
    machine.wall = NOW + 2 * HOUR
    found.append(machine.proven() - NOW)

    assert found == [0, 0, 0, 0, 8 * HOUR, 8 * HOUR, 8 * HOUR, 2 * HOUR]


def test_another_boot_has_lived_as_long_as_it_lasts(tmp_path: Path) -> None:
    """
    A machine whose date is wrong each time that it starts ages by its minutes; one that was off for weeks catches up.
    """
    machine = Machine(tmp_path / "l.db")
    machine.ledger().append(entries(1))
    machine.proven()
    machine.wall += YEARS
    found = []
    # The clock of a system that tells no boots from each other begins anew, too.
    for boot, mono in [("second", 60 * SECOND), ("third", 60 * SECOND), ("third", 30 * SECOND)]:
        machine.boot, machine.mono = boot, mono
        found.append(machine.proven() - NOW)
    machine.wall = NOW + 21 * DAY
    machine.mono = 4 * DAY
    found.append(machine.proven() - NOW)

    assert found == [480 * SECOND, 960 * SECOND, 1200 * SECOND, 21 * DAY]


@pytest.mark.parametrize(("first", "expected"), [(NOW - 9 * DAY, NOW - 9 * DAY), (0, WRITTEN)])
def test_a_ledger_without_an_age_is_as_old_as_what_it_holds(first: int, expected: int, tmp_path: Path) -> None:
    """
    One of an older version forgets nothing at the word of the first who asks; and no clock stands before this was made.
    """
    machine = Machine(tmp_path / "l.db")
    machine.ledger().append([entries(1)[0]._replace(at=first)])

    assert machine.proven() == expected


def test_an_empty_ledger_has_nothing_to_forget(tmp_path: Path) -> None:
    """
    It is as old as the clock says, and no older where that turns out to be ahead.
    """
    machine = Machine(tmp_path / "l.db")
    machine.wall += YEARS
    found = [machine.proven()]
    machine.wall = NOW

    assert [*found, machine.proven()] == [NOW + YEARS, NOW]


def test_a_server_s_clock_and_ours_must_both_be_past(postgres: Postgres) -> None:
    """
    Regression: a process whose clock was ahead emptied the whole fleet's history.
    """
    ledger = PostgresLedger(postgres.new_database())
    found = [ledger.proven(at) for at in (5, 2**62)]
    ledger.close()

    assert found[0] == 5
    assert NOW < found[1] < NOW + 100 * YEARS


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_process_whose_clock_is_years_ahead_empties_no_ledger(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Regression: its first call took all sums, all entries and the others' budgets away.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("egressor.ledger.history._PRUNE_EACH", 1)
    place = f"sqlite:///{tmp_path}/l.db" if kind == "sqlite" else request.getfixturevalue("postgres").new_database()

    def spend(now: int, micro_usd: int) -> object:
        till = open_till(place, wall=lambda: now)
        start = now // DAY * DAY
        want = Want(new_id(now), till.owner, (Ask("a/day@UTC", 1000, 900, start, start + DAY),), micro_usd, Tags("a"))
        answer = till.hold(want)
        till.end(End(want.id, SPENT, micro_usd))
        till.close(20)
        return answer

    def noted(now: int) -> History:
        history = open_history(place, wall=lambda: now)
        history.note("operator", "pause", service="a")
        assert history.flush(20)
        return history

    # The server has a clock of its own, which is right.
    right = time.time_ns() // 1_000
    spend(right, 990)
    noted(right).close(20)
    spend(right + YEARS, 5)
    noted(right + YEARS).close(20)
    history = noted(right)
    entries_left = len(history.read(Pick()))
    history.close(20)
    ledger = open_ledger(place)
    sums = ledger.money(lambda page: page.sums(0))
    ledger.close()

    assert entries_left == 3
    assert [each.micro_usd for each in sums] == [990, 5]
    assert isinstance(spend(right, 20), Denied)
