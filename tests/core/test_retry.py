"""
How long to wait before the next attempt. Cases 37 and 38, and C05.
"""

from __future__ import annotations

from math import isclose
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.retry import RetrySpec, backoff, grow
from egressor.errors import ConfigError

SECOND = 1_000_000


def make(**settings: Any) -> RetrySpec:
    """
    Return a spec of 4 attempts: 1 s, times 2, at most 30 s, with jitter.
    """
    values: dict[str, Any] = {
        "attempts": 4,
        "base": SECOND,
        "factor": 2.0,
        "cap": 30 * SECOND,
        "jitter": True,
        "idempotent_only": True,
    }
    return RetrySpec(**values | settings)


specs = st.builds(
    make,
    base=st.integers(0, 10**9),
    factor=st.floats(1, 1e6),
    cap=st.integers(0, 10**12),
    jitter=st.booleans(),
)
dice = st.floats(0, 1, exclude_max=True)
attempts = st.one_of(st.integers(1, 60), st.integers(1, 10**9))
waits = st.integers(0, 30 * 86_400 * SECOND)


@pytest.mark.parametrize(
    ("attempt", "chance", "seconds"),
    [
        # Case 37 (Polly) spreads by ±25 %: 0.75, 0.95, 1.05 and 1.25 s. Full jitter spreads more, which is what keeps
        # callers apart; so the same draws give the same share of the whole range.
        (1, 0.0, 0.0),
        (1, 0.4, 0.4),
        (1, 0.6, 0.6),
        (1, 0.999999, 0.999999),
        (2, 0.5, 1.0),
        (3, 0.5, 2.0),
        (4, 0.5, 4.0),
        (6, 0.5, 15.0),
        (1000, 0.5, 15.0),
    ],
)
def test_jitter_draws_from_the_whole_range(attempt: int, chance: float, seconds: float) -> None:
    """
    The range doubles with each attempt up to the cap, and the draw says where in it.
    """
    assert backoff(make(), attempt, dice=chance) == round(seconds * SECOND)


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 30), *((n, 30) for n in range(1000, 1026))]
)
def test_without_jitter_it_doubles_up_to_the_cap(attempt: int, seconds: int) -> None:
    """
    Case 37, continued: 1, 2, 4 s and so on; attempts 1000 to 1025 wait exactly the cap.
    """
    assert backoff(make(jitter=False), attempt, dice=0.7) == seconds * SECOND


@given(spec=specs, attempt=attempts, chance=dice)
def test_no_wait_of_ours_is_negative_or_above_the_cap(spec: RetrySpec, attempt: int, chance: float) -> None:
    """
    Case 37, continued: whatever the settings and the attempt, the wait is an integer from 0 to the cap.
    """
    wait = backoff(spec, attempt, dice=chance)

    assert isinstance(wait, int)
    assert 0 <= wait <= spec.cap


@given(spec=specs, attempt=st.integers(1, 2000), chance=dice)
def test_the_range_never_shrinks(spec: RetrySpec, attempt: int, chance: float) -> None:
    """
    With the same draw, a later attempt never waits less: so the mean grows, up to half of the cap.
    """
    assert backoff(spec, attempt + 1, dice=chance) >= backoff(spec, attempt, dice=chance)


@pytest.mark.parametrize("attempt", [6, 7, 50])
def test_at_the_cap_the_waits_stay_apart(attempt: int) -> None:
    """
    Case 38: of 1000 late draws no two are equal, none is at the cap, and no tenth of the range is empty.
    """
    chance = Random(38)

    drawn = [backoff(make(), attempt, dice=chance.random()) for _ in range(1000)]

    assert len(set(drawn)) == 1000
    assert max(drawn) < 30 * SECOND
    assert min(sum(wait // (3 * SECOND) == tenth for wait in drawn) for tenth in range(10)) > 50
    assert isclose(sum(drawn) / 1000, 15 * SECOND, rel_tol=0.1)


@pytest.mark.parametrize(
    ("asked", "chance", "seconds"),
    [
        # Nothing asked: our own backoff, here 1 s times the draw. 0 asked: the same, so that nobody hammers.
        (0, 0.5, 0.5),
        # Up to as much again on top, up to 10 s; from 100 s on, up to a tenth.
        (2, 0.0, 2),
        (2, 0.5, 3),
        (10, 0.5, 15),
        (60, 0.5, 65),
        (100, 0.5, 105),
        (600, 0.5, 630),
        # Above the cap of 30 s: the server's word counts.
        (86_400, 0.0, 86_400),
        (86_400, 0.5, 90_720),
    ],
)
def test_jitter_comes_on_top_of_retry_after(asked: int, chance: float, seconds: float) -> None:
    """
    What the server asked for is a floor that no cap lowers, and the jitter is added to it (P8).
    """
    assert backoff(make(), 1, dice=chance, retry_after=asked * SECOND) == round(seconds * SECOND)


@given(spec=specs, attempt=attempts, chance=dice, asked=waits)
def test_never_earlier_than_the_server_asked(spec: RetrySpec, attempt: int, chance: float, asked: int) -> None:
    """
    Neither earlier than the server asked, nor earlier than we would have come anyway, nor absurdly later.
    """
    own = backoff(spec, attempt, dice=chance)

    wait = backoff(spec, attempt, dice=chance, retry_after=asked)

    assert max(asked, own) <= wait <= max(own, asked + max(10 * SECOND, asked // 10))


@given(asked=st.integers(-(10**12), -1), chance=dice)
def test_a_negative_retry_after_is_none(asked: int, chance: float) -> None:
    """
    A retry_after below 0 shortens nothing.
    """
    assert backoff(make(), 1, dice=chance, retry_after=asked) == backoff(make(), 1, dice=chance)


def test_without_jitter_retry_after_is_a_floor() -> None:
    """
    Who turns jitter off gets the larger of the two waits, exactly.
    """
    spec = make(jitter=False)

    assert [backoff(spec, 2, dice=0.9, retry_after=s * SECOND) for s in (0, 1, 50)] == [2e6, 2e6, 50e6]


def test_fifty_waiters_of_one_retry_after_spread() -> None:
    """
    C05: of 50 callers told 2 s none comes early, they spread over 10 % or more, and no 100 ms hold more than a fifth.
    """
    chance = Random(5)

    drawn = [backoff(make(), 1, dice=chance.random(), retry_after=2 * SECOND) for _ in range(50)]

    assert min(drawn) >= 2 * SECOND
    assert max(drawn) - min(drawn) >= 0.2 * SECOND
    assert max(sum(wait // 100_000 == tenth for wait in drawn) for tenth in range(20, 41)) <= 10


@pytest.mark.parametrize(
    ("first", "factor", "steps", "cap", "expected"),
    [
        (0, 1e300, 10**9, 7, 0),
        (5, 1.5, 0, 100, 5),
        (5, 1.5, 1, 100, 8),
        (5, 1.5, 2, 11, 11),
        (5, 1.5, 2, 12, 12),
        (5, 1e300, 1, 100, 100),
        (5, 1e300, 2, 100, 100),
        (5, 2.0, 10**9, 100, 100),
        (5, 1.0, 10**9, 100, 5),
        (200, 1.0, 0, 100, 100),
        (10**18, 1e300, 1, 10**19, 10**19),
    ],
)
def test_growth_rounds_up_and_never_overflows(first: int, factor: float, steps: int, cap: int, expected: int) -> None:
    """
    Powers beyond a double's range are the cap, and so is infinity; nothing times anything stays nothing.
    """
    assert grow(first, factor=factor, steps=steps, cap=cap) == expected


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("attempts", 0, "attempts is 0, and must be at least 1"),
        ("base", -1, "base is -1 µs, and must be at least 0"),
        ("cap", -1, "cap is -1 µs, and must be at least 0"),
        ("factor", 0.99, "factor is 0.99, and must be at least 1"),
        ("factor", float("inf"), "factor is inf, and must be at least 1"),
        ("factor", float("nan"), "factor is nan, and must be at least 1"),
    ],
)
def test_a_spec_names_what_is_wrong(name: str, value: float, message: str) -> None:
    """
    A value out of range is refused with its name, itself and the limit.
    """
    with pytest.raises(ConfigError) as caught:
        make(**{name: value})

    assert str(caught.value) == message
