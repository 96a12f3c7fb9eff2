"""
What is learned of calls: a quantile of their costs, and tokens for a byte.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressor._core.learned import ONE, Costs, guess, learn_most, learn_tokens, observe, quantile, tokens


def learned(*micro_usd: int) -> Costs:
    """
    Learn these costs, one after the other.
    """
    costs = Costs()
    for each in micro_usd:
        costs = observe(costs, each)
    return costs


@given(st.lists(st.integers(0, 2**41 - 1), min_size=1, max_size=300), st.integers(1, 1000))
def test_a_quantile_is_at_most_a_quarter_too_high(values: list[int], per_mille: int) -> None:
    """
    It is never below the true quantile, and above it by less than a step of the scale.
    """
    true = sorted(values)[-(-len(values) * per_mille // 1000) - 1]

    assert true <= quantile(learned(*values), per_mille) <= true + true // 4


@pytest.mark.parametrize(("value", "kept"), [(-5, 0), (2**41 - 1, 2**41 - 1), (2**90, 2**41 - 1)])
def test_what_is_off_the_scale_is_at_its_end(value: int, kept: int) -> None:
    """
    A cost beyond two million dollars, or below nothing, is counted at the end of the scale.
    """
    assert kept == quantile(learned(value), 950)


def test_nothing_learned_is_nothing() -> None:
    """
    Without a call there is no quantile.
    """
    assert quantile(Costs(), 950) == 0


def test_old_calls_are_forgotten() -> None:
    """
    After a thousand dear calls, two thousand cheap ones make the guess cheap again, and the counts stay bounded.
    """
    costs = learned(*[1_000_000] * 1000, *[10] * 4000)

    assert quantile(costs, 950) == 11
    assert sum(costs.counts) == costs.total < 1024


@pytest.mark.parametrize(
    ("costs", "worst", "least", "expected"),
    [
        (Costs(), 800, 1, 100),
        (Costs(), 801, 1, 101),
        (Costs(), 800, 300, 300),
        (Costs(), 800, 900, 800),
        (learned(*[7] * 19), 800, 1, 100),
        (learned(*[7] * 20), 800, 1, 7),
        (learned(*[7] * 20), 5, 1, 5),
        (learned(*[7] * 20), 800, 9, 9),
        (learned(*[7] * 96, *[500] * 4), 800, 1, 7),
        (learned(*[7] * 94, *[500] * 6), 800, 1, 511),
    ],
)
def test_a_guess_is_between_the_least_and_the_worst(costs: Costs, worst: int, least: int, expected: int) -> None:
    """
    Nineteen of twenty calls cost no more; until twenty are known an eighth of the worst case stands in.
    """
    assert expected == guess(costs, worst=worst, least=least)


@pytest.mark.parametrize(
    ("size", "factor", "expected"), [(0, ONE, 0), (1, ONE, 1), (400, ONE, 100), (401, ONE, 101), (400, 2 * ONE, 200)]
)
def test_a_token_is_four_bytes_until_more_is_known(size: int, factor: int, expected: int) -> None:
    """
    Bytes by four, times the factor, rounded up.
    """
    assert expected == tokens(size, factor)


def test_the_factor_learns_what_a_feature_sends() -> None:
    """
    Text of two bytes a token is estimated within 2 % after forty calls.
    """
    factor = ONE
    for _ in range(40):
        factor = learn_tokens(factor, utf8_bytes=10_000, truth=5000)

    assert 4900 <= tokens(10_000, factor) <= 5000


@pytest.mark.parametrize(
    ("size", "truth", "expected"),
    [
        (0, 5, ONE),
        (5, 0, ONE),
        (4000, 1000, ONE),
        (4000, 2000, ONE + ONE // 8),
        (400, 200, ONE + ONE // 64),
        (4000, 10**9, ONE + 7 * ONE // 8),
        (10**9, 1, ONE - 9 * ONE // 80),
    ],
)
def test_a_step_is_small_and_bounded(size: int, truth: int, expected: int) -> None:
    """
    An eighth of the way, of short texts less; nonsense moves it no further than its bounds allow.
    """
    assert expected == learn_tokens(ONE, utf8_bytes=size, truth=truth)


@given(st.lists(st.tuples(st.integers(-5, 10**7), st.integers(-5, 10**9)), max_size=100))
def test_the_factor_stays_between_a_tenth_and_eight(calls: list[tuple[int, int]]) -> None:
    """
    Whatever servers report.
    """
    factor = ONE
    for size, truth in calls:
        factor = learn_tokens(factor, utf8_bytes=size, truth=truth)

    assert ONE // 10 <= factor <= 8 * ONE


def test_the_most_that_was_learned_stays() -> None:
    """
    Regression: it fell by an eighth with each cheaper call, and was too low for the next dear one.
    """
    factors = [0]
    for truth in (1000, 9000, 1000, 9000, 10_000):
        factors.append(learn_most(factors[-1], utf8_bytes=4000, truth=truth))

    assert factors[1:] == [ONE, 9 * ONE, 9 * ONE, 9 * ONE, 10 * ONE]
    assert learn_most(0, utf8_bytes=3, truth=1) == 1_333_334
