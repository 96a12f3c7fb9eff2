"""
Counters that forget, against a list that forgets.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.window import SUB_WINDOWS, SubWindows, width_of


@pytest.mark.parametrize(("window", "width"), [(1, 1), (10, 1), (11, 2), (60_000_000, 6_000_000)])
def test_width_rounds_up(window: int, width: int) -> None:
    """
    Ten sub-windows are never shorter than the window.
    """
    assert width_of(window) == width


@pytest.mark.parametrize(
    ("now", "total"), [(0, 5), (99, 5), (100, 3), (109, 3), (110, 0), (10**15, 0), (-5, 5), (-(10**15), 5)]
)
def test_forgets_by_the_sub_window(now: int, total: int) -> None:
    """
    Of 2 counted at 0 and 3 at 10, in ten times 10 µs, the first are gone at 100 and the others at 110.
    """
    window = SubWindows(1)
    window.add(0, 2)
    window.advance(10, 10)
    window.add(0, 3)

    assert window.peek(now, 10) == [total]
    window.advance(now, 10)
    assert window.totals == [total]


@pytest.mark.parametrize(("now", "total"), [(0, 7), (99, 7), (100, 0)])
def test_peek_adds_what_is_fresh(now: int, total: int) -> None:
    """
    What the caller has yet to add belongs to the newest sub-window and is forgotten with it.
    """
    assert SubWindows(1).peek(now, 10, fresh=7) == [total]


def test_clear_forgets_everything() -> None:
    """
    Nothing that was counted before comes back, now or when its sub-window ends.
    """
    window = SubWindows(2)
    window.add(0, 2)
    window.add(1, 3)

    window.clear()

    assert window.totals == [0, 0]
    window.advance(1000, 10)
    assert window.totals == [0, 0]


def test_late_times_belong_to_the_newest_sub_window() -> None:
    """
    Threads that arrive in the wrong order around a sub-window's edge don't use up the window's history.
    """
    window = SubWindows(1)
    window.add(0, 1)
    window.advance(50, 10)

    for _ in range(50):
        window.advance(45, 10)
        window.advance(57, 10)

    assert (window.totals, window.start) == ([1], 50)


@pytest.mark.parametrize(("now", "start"), [(59, 50), (40, 50), (39, 39), (0, 0), (-7, -7), (60, 60), (77, 70)])
def test_only_a_clock_that_was_stepped_moves_the_start_back(now: int, start: int) -> None:
    """
    Up to one width early is early; any earlier is a clock that was set back, and the newest sub-window begins there.
    """
    window = SubWindows(1)
    window.advance(50, 10)

    window.advance(now, 10)

    assert window.start == start


@given(
    steps=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 1), st.integers(-3, 9)), max_size=60),
    width=st.integers(1, 12),
)
def test_totals_are_those_of_a_list(steps: list[tuple[int, int, int]], width: int) -> None:
    """
    While time goes forward, the totals are the sums over the last ten multiples of the width.
    """
    window, kept, now = SubWindows(2), [(0, 0, 0)], 0
    for by, column, amount in steps:
        now += by
        ahead = window.peek(now, width)
        window.advance(now, width)
        assert window.totals == ahead
        window.add(column, amount)
        kept.append((now // width, column, amount))

        last = [entry for entry in kept if entry[0] > now // width - SUB_WINDOWS]
        expected = [sum(amount for _, where, amount in last if where == column) for column in (0, 1)]
        assert window.totals == expected
        assert window.peek(now, width) == expected


@pytest.mark.parametrize("shift", [0, 1_000, -7])
def test_what_was_dumped_is_loaded(shift: int) -> None:
    """
    Counters that are loaded by another clock forget at the same moments by that clock.
    """
    window, other = SubWindows(2), SubWindows(2)
    window.advance(50, 10)
    window.add(0, 2)
    window.add(1, 1)
    window.advance(60, 10)
    window.add(1, 3)
    other.add(0, 99)

    other.load(window.dump(), shift)

    for now in (60, 149, 150, 159, 160):
        assert other.peek(now + shift, 10) == window.peek(now, 10)
    assert other.totals == [2, 4]


@pytest.mark.parametrize("dumped", [[], [0, 0], [0, 0, 1, 2, 3]])
def test_a_dump_of_another_shape_is_nothing(dumped: list[int]) -> None:
    """
    Integers that say something else leave empty counters, and no error.
    """
    window = SubWindows(1)
    window.add(0, 5)

    window.load(dumped)

    assert window.totals == [0]
