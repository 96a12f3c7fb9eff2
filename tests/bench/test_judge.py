"""
The judge of contended runs: what it must find, and what it must let pass.
"""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judge import Grant, most_in_any, overshoot, overtakings


@pytest.mark.parametrize(
    ("times", "window", "most"),
    [
        ([], 10, 0),
        ([5], 10, 1),
        ([0, 10], 10, 1),
        ([0, 9], 10, 2),
        ([3, 3, 3], 1, 3),
        ([9, 0, 4, 20, 12], 10, 3),
    ],
)
def test_the_fullest_window_is_half_open(times: list[int], window: int, most: int) -> None:
    """
    Two calls exactly one window apart are never in the same one; the order in which they are told doesn't matter.
    """
    assert most_in_any(times, window) == most


@given(st.lists(st.integers(0, 200), min_size=1, max_size=40), st.integers(1, 60))
def test_the_fullest_window_is_that_of_a_plain_count(times: list[int], window: int) -> None:
    """
    Counting from every call on finds the same.
    """
    counted = max(sum(start <= time < start + window for time in times) for start in times)

    assert most_in_any(times, window) == counted


@pytest.mark.parametrize(("burst", "beyond"), [(0, 2), (1, 1), (2, 0), (9, 0)])
def test_overshoot_is_what_limit_and_burst_do_not_cover(burst: int, beyond: int) -> None:
    """
    Five calls in a window of three.
    """
    assert overshoot([0, 1, 2, 3, 4], limit=3, burst=burst, window=10) == beyond


@pytest.mark.parametrize(
    ("grants", "wrong"),
    [
        ([], 0),
        ([Grant(0, 5, 3), Grant(0, 6, 0)], 1),
        ([Grant(0, 5, 3), Grant(6, 7, 0)], 0),
        ([Grant(0, 5, 0), Grant(1, 6, 0), Grant(2, 7, 0)], 0),
        ([Grant(1, 5, 0), Grant(0, 6, 0)], 1),
        ([Grant(0, 5, 2), Grant(1, 6, 2), Grant(2, 7, 1)], 2),
    ],
)
def test_a_call_that_goes_before_a_better_one_overtakes_it(grants: list[Grant], wrong: int) -> None:
    """
    A lower rank that waits goes first, then whoever came first; who comes later can't be overtaken.
    """
    assert overtakings(grants) == wrong


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 3)), max_size=25))
def test_overtakings_are_those_of_a_plain_comparison(raw: list[tuple[int, int, int]]) -> None:
    """
    Comparing every call with every other finds the same, where no two come or go at the same time.
    """
    grants = [
        Grant(came * 100 + number, (came + wait) * 100 + 50 + number, rank)
        for number, (came, wait, rank) in enumerate(raw)
    ]
    passed = {
        first
        for pair in combinations(grants, 2)
        for first, second in (pair, pair[::-1])
        if second.came <= first.went < second.went and (second.rank, second.came) < (first.rank, first.came)
    }

    assert overtakings(grants) == len(passed)
