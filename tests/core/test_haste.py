"""
Pauses after a server's "too fast": how long they are, what makes them longer, and what ends their row.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.haste import HasteCell, pause, too_fast, went_well
from egressor._core.retry import RetrySpec

SECOND = 1_000_000
START = 1_000 * SECOND


def spec(*, base: float = 1.0, factor: float = 2.0, cap: float = 30.0) -> RetrySpec:
    """
    Return a retry policy, in seconds.
    """
    return RetrySpec(
        attempts=4,
        base=round(base * SECOND),
        factor=factor,
        cap=round(cap * SECOND),
        jitter=True,
        idempotent_only=True,
    )


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        (spec(), [1, 2, 4, 8, 16, 30, 30]),
        (spec(base=0.5, factor=3.0, cap=5.0), [0.5, 1.5, 4.5, 5, 5]),
        (spec(factor=1.0), [1, 1, 1]),
        (spec(base=0.0), [0, 0, 0]),
    ],
)
def test_each_pause_is_longer_up_to_the_cap(policy: RetrySpec, wanted: list[float]) -> None:
    """
    An attempt that begins when a pause ends, and is too fast again, makes the next one longer.
    """
    cell, now, found = HasteCell(), START, []
    for _ in wanted:
        found.append(too_fast(cell, policy, now + 1, began=now) / SECOND)
        now = max(now + 1, cell.until)

    assert found == wanted


@pytest.mark.parametrize("late", [0, 1, SECOND // 2, SECOND - 1, SECOND, 100 * SECOND])
def test_twenty_answers_to_calls_that_were_under_way_are_one_pause(late: int) -> None:
    """
    Whenever the answer comes, a call that began before the pause was over adds nothing to it.
    """
    cell = HasteCell()
    too_fast(cell, spec(), START, began=START - 1)
    until = cell.until

    found = [too_fast(cell, spec(), START + late, began=START - each) for each in range(20)]
    assert found == [0] * 20
    assert too_fast(cell, spec(), until, began=until - 1) == 0
    assert (cell.strikes, cell.until) == (1, until)


def test_a_success_ends_the_row_if_it_began_after_the_pause() -> None:
    """
    One that was under way when the pause began says nothing.
    """
    cell = HasteCell()
    for _ in range(3):
        too_fast(cell, spec(), max(START, cell.until), began=max(START, cell.until))
    went_well(cell, cell.until - 1)
    assert cell.strikes == 3
    went_well(cell, cell.until)
    assert cell.strikes == 0
    assert too_fast(cell, spec(), cell.until, began=cell.until) == SECOND


@pytest.mark.parametrize(("cap", "quiet", "wanted"), [(30, 60, 2), (30, 61, 1), (900, 900, 2), (900, 901, 1)])
def test_a_quiet_time_ends_the_row(cap: float, quiet: int, wanted: int) -> None:
    """
    A minute, or the longest pause if that is longer.
    """
    cell, policy = HasteCell(), spec(cap=cap)
    too_fast(cell, policy, START, began=START)
    now = cell.until + quiet * SECOND

    assert too_fast(cell, policy, now, began=now) == wanted * SECOND
    assert cell.strikes == wanted


def test_a_pattern_makes_pauses_longer() -> None:
    """
    A user's pattern multiplies a pause, above the cap too.
    """
    cell = HasteCell()
    assert too_fast(cell, spec(), START, began=START, backoff=40.0) == 40 * SECOND


@given(
    st.lists(st.tuples(st.integers(0, 5 * SECOND), st.integers(0, 5 * SECOND), st.booleans()), max_size=60),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_a_pause_is_never_cut_short_nor_endless(answers: list[tuple[int, int, bool]], base: float) -> None:
    """
    Whatever the answers: what `pause` says is what `too_fast` does, no end moves back, none is later than the cap says.
    """
    cell, policy, now = HasteCell(), spec(base=base, cap=8.0), START
    for passed, took, is_good in answers:
        now += passed
        before = cell.until
        if is_good:
            went_well(cell, now - took)
        else:
            expected = pause(cell, policy, now, began=now - took)
            assert too_fast(cell, policy, now, began=now - took) == expected
            assert cell.until >= min(before, now)
            assert expected <= 8 * SECOND
        assert cell.until >= before
        assert 0 <= cell.strikes <= 64
