"""
Counters: what was let through has ended, is under way, or was taken back.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.admission import Why
from egressor._core.model import ErrorCategory, Verdict
from egressor.stores.counts import Counts


def counted(*durations: int) -> Counts:
    """
    Return the counts after a success of each duration.
    """
    counts = Counts()
    for duration in durations:
        counts.admitted += 1
        counts.settle(Verdict(), duration)
    return counts


@given(st.lists(st.integers(0, 1 << 60), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_quantile_is_at_most_twice_the_true_one(durations: list[int], share: float) -> None:
    """
    It is the smallest power of two that so large a share of the attempts stayed below.
    """
    found = counted(*durations).quantile(share)

    assert found is not None
    bound = round(found * 1_000_000)
    below = sum(duration < bound for duration in durations) / len(durations)
    assert below >= share or sum(duration < bound for duration in durations) == len(durations)
    assert sum(duration < bound // 2 for duration in durations) < share * len(durations) or bound == 1


def test_without_attempts_there_is_no_quantile() -> None:
    """
    Nothing is said about nothing.
    """
    assert Counts().quantile(0.5) is None


@pytest.mark.parametrize(("duration", "index"), [(-5, 0), (0, 0), (1, 1), (2, 2), (3, 2), ((1 << 63) - 1, 63)])
def test_an_attempt_is_counted_by_its_power_of_two(duration: int, index: int) -> None:
    """
    A clock that stepped back counts as no time at all.
    """
    assert [number for number, count in enumerate(counted(duration).latency) if count] == [index]


def test_the_snapshot_is_plain_values() -> None:
    """
    It can be shown, sent and stored as it is.
    """
    counts = counted(3)
    counts.admitted += 2
    counts.settle(Verdict(category=ErrorCategory.TIMEOUT), 700_000)
    counts.denied[Why.PAUSED] = 4

    assert counts.snapshot() == {
        "in_flight": 1,
        "admitted": 3,
        "succeeded": 1,
        "failed": 1,
        "retried": 0,
        "bans_total": 0,
        "denied": {"paused": 4},
        "categories": {"timeout": 1},
        "latency_s": {"p50": 4 / 1_000_000, "p95": (1 << 20) / 1_000_000, "p99": (1 << 20) / 1_000_000},
    }
    assert all(type(key) is str for key in (*counts.snapshot()["denied"], *counts.snapshot()["categories"]))  # type: ignore[misc]
