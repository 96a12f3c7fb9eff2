"""
Suspensions: when they begin, how they grow, and that one probe ends them.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.ban import BanCell, BanSpec, check, lift, settle, suspend, take

SPEC = BanSpec(suspend_for=100, max_suspend_for=1000, growth=2.0, probe_lease=30)


def banned(*, at: int = 1000, told: int | None = None) -> BanCell:
    """
    Return a cell that was suspended once.
    """
    cell = BanCell()
    suspend(cell, SPEC, at, told)
    return cell


def state(cell: BanCell) -> tuple[int, int, int]:
    """
    Return all that the cell holds.
    """
    return cell.until, cell.count, cell.probe_until


def test_without_a_ban_everybody_passes_and_nobody_is_a_probe() -> None:
    """
    A fresh cell stops nobody, and a result says nothing to it.
    """
    cell = BanCell()

    assert (check(cell, 0), take(cell, SPEC, 0), settle(cell, 0, ok=True)) == (0, False, False)
    assert state(cell) == (0, 0, 0)


@pytest.mark.parametrize(("now", "wait"), [(1000, 100), (1099, 1), (1100, 0), (5000, 0)])
def test_a_suspension_is_half_open(now: int, wait: int) -> None:
    """
    Waiting exactly the returned time is enough, one microsecond less is not.
    """
    assert check(banned(), now) == wait


@pytest.mark.parametrize(("told", "lasts"), [(None, 100), (7, 7), (99, 99), (50_000, 50_000), (0, 0)], ids=str)
def test_the_server_s_word_comes_before_ours(told: int | None, lasts: int) -> None:
    """
    What the server names is neither lengthened to our first suspension nor capped by our longest.
    """
    assert banned(told=told).until == 1000 + lasts


def test_suspensions_in_a_row_grow_up_to_the_longest() -> None:
    """
    Each ban after a failed probe doubles the time: 100, 200, 400, 800, then 1000.
    """
    cell, lasts = BanCell(), []

    for _ in range(6):
        start = cell.until
        lasts.append(suspend(cell, SPEC, start, None) - start)

    assert lasts == [100, 200, 400, 800, 1000, 1000]


@given(st.integers(1, 10**6), st.floats(1, 100), st.integers(0, 10_000))
def test_no_number_of_bans_overflows(first: int, growth: float, count: int) -> None:
    """
    However many bans in a row and however steep the growth, the time is the longest at most, and the first at least.
    """
    spec = BanSpec(suspend_for=first, max_suspend_for=first + 10**12, growth=growth, probe_lease=1)
    cell = BanCell()
    cell.count = count

    assert first <= suspend(cell, spec, 0, None) <= first + 10**12


def test_calls_under_way_report_the_same_ban() -> None:
    """
    Three calls that learn of one ban make one suspension, which ends at the latest of what they were told.
    """
    cell = banned()
    suspend(cell, SPEC, 1010, None)
    suspend(cell, SPEC, 1020, 500)
    suspend(cell, SPEC, 1030, 5)

    assert state(cell) == (1520, 1, 0)


def test_after_the_end_one_probe_goes_and_the_others_wait_for_it() -> None:
    """
    While the probe is out the others wait until its lease ends; the one that asks then is the next probe.
    """
    cell = banned()

    assert take(cell, SPEC, 1100)
    assert [check(cell, now) for now in (1100, 1129, 1130)] == [30, 1, 0]
    assert take(cell, SPEC, 1130)
    assert check(cell, 1130) == 30


@pytest.mark.parametrize(
    ("ok", "ended", "after"),
    [(True, True, (0, 0, 0)), (False, False, (1100, 1, 0))],
    ids=["success", "failure"],
)
def test_a_probe_s_result_ends_the_episode_or_lets_the_next_probe_go(
    *, ok: bool, ended: bool, after: tuple[int, int, int]
) -> None:
    """
    A success forgets the bans in a row; a failure that is no ban leaves the episode open, and frees the probe's turn.
    """
    cell = banned()
    take(cell, SPEC, 1100)

    assert settle(cell, 1110, ok=ok) is ended
    assert state(cell) == after
    assert check(cell, 1110) == 0


def test_a_success_from_before_the_ban_ends_nothing() -> None:
    """
    A result that comes while the suspension lasts says nothing about its end.
    """
    cell = banned()

    assert settle(cell, 1050, ok=True) is False
    assert state(cell) == (1100, 1, 0)


def test_a_probe_that_meets_the_ban_begins_the_next_suspension() -> None:
    """
    It lasts twice as long, and no probe is out any more.
    """
    cell = banned()
    take(cell, SPEC, 1100)

    assert suspend(cell, SPEC, 1110, None) == 1310
    assert state(cell) == (1310, 2, 0)


def test_lifting_forgets_everything() -> None:
    """
    After an operator's word the next ban is a first one again.
    """
    cell = banned()
    take(cell, SPEC, 1100)
    lift(cell)

    assert state(cell) == (0, 0, 0)
    assert suspend(cell, SPEC, 2000, None) == 2100
