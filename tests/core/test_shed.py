"""
Shedding: whose calls stay at home while a service limps, judged by what arrives at a server that is simulated apart.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from egressor import ConfigError
from egressor._core.breaker import BreakerCell, BreakerSpec, Result, force_open, reset, settle
from egressor._core.shed import MOST, ShedCell, chance, is_limping, shed

SECOND = 1_000_000
LOW, MEDIUM, HIGH, CRITICAL = range(4)


def spec(**changes: object) -> BreakerSpec:
    """
    Return a breaker that never opens by itself, and sheds.
    """
    plain: dict[str, object] = {
        "consecutive": 0,
        "failure_rate": None,
        "slow_rate": None,
        "slow_call": SECOND,
        "window": 60 * SECOND,
        "min_calls": 10,
        "open_for": SECOND,
        "max_open_for": SECOND,
        "growth": 1.0,
        "probes": 1,
        "probe_lease": SECOND,
        "shed_k": 2.0,
    }
    return BreakerSpec(**{**plain, **changes})  # type: ignore[arg-type]


def counted(policy: BreakerSpec, successes: int, failures: int, now: int = SECOND) -> BreakerCell:
    """
    Return a breaker that has seen so many results.
    """
    cell = BreakerCell()
    for result, times in ((Result.SUCCESS, successes), (Result.FAILURE, failures)):
        for _ in range(times):
            settle(cell, policy, now, generation=cell.generation, probe=0, result=result, duration=1)
    return cell


@pytest.mark.parametrize(
    ("requests", "accepts", "k", "wanted"),
    [
        (0, 0, 2.0, 0.0),
        (100, 100, 2.0, 0.0),
        (100, 50, 2.0, 0.0),
        (100, 49, 2.0, 2 / 101),
        (100, 10, 2.0, 80 / 101),
        (100, 10, 4.0, 60 / 101),
        (100, 90, 1.0, 10 / 101),
        (10, 0, 2.0, 10 / 11),
        (1_000, 10, 2.0, MOST),
    ],
)
def test_the_formula(requests: int, accepts: int, k: float, wanted: float) -> None:
    """
    It is that of the SRE book, with a bound: one call in twenty always goes.
    """
    assert chance(requests, accepts, k) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("successes", "failures", "changes", "levels"),
    [
        (100, 0, {}, []),
        (60, 40, {}, []),
        (50, 50, {}, []),
        (45, 55, {}, [LOW]),
        (20, 80, {}, [LOW, MEDIUM]),
        (10, 90, {}, [LOW, MEDIUM, HIGH]),
        (0, 100, {}, [LOW, MEDIUM, HIGH]),
        (0, 9, {}, []),
        (0, 10, {}, [LOW, MEDIUM, HIGH]),
        (0, 100, {"shed_k": None}, []),
        (90, 10, {"shed_k": 1.0}, [LOW]),
    ],
)
def test_low_priorities_are_shed_first(
    successes: int, failures: int, changes: dict[str, object], levels: list[int]
) -> None:
    """
    A worse ratio reaches a higher priority; critical calls are never shed, and nothing is by a few failures.
    """
    policy = spec(**changes)
    breaker = counted(policy, successes, failures)
    found = [level for level in range(4) if shed(ShedCell(), breaker, policy, SECOND, level=level, dice=0.0)]

    assert found == levels
    assert is_limping(ShedCell(), breaker, policy, SECOND) is bool(levels)


def test_the_dice_decide() -> None:
    """
    A call goes if what is drawn is not below the chance.
    """
    policy = spec()
    breaker = counted(policy, 10, 90)
    edge = chance(100, 10, 2.0)

    assert [shed(ShedCell(), breaker, policy, SECOND, level=LOW, dice=dice) for dice in (edge - 0.001, edge)] == [
        True,
        False,
    ]


def test_successes_that_are_yet_to_be_counted() -> None:
    """
    They count for the question whether the service limps.
    """
    policy = spec()
    breaker = counted(policy, 0, 20)

    assert not is_limping(ShedCell(), breaker, policy, SECOND, fresh=20)


def test_only_a_closed_breaker_sheds() -> None:
    """
    An open one refuses all calls by itself; one that was reset has forgotten, and what was shed is forgotten with it.
    """
    policy, cell = spec(), ShedCell()
    breaker = counted(policy, 9, 11)
    for _ in range(100):
        shed(cell, breaker, policy, SECOND, level=LOW, dice=0.0)
    force_open(breaker, SECOND)
    while_open = shed(cell, breaker, policy, SECOND, level=LOW, dice=0.0)
    reset(breaker)
    for result in [Result.FAILURE] * 10 + [Result.SUCCESS] * 10:
        settle(breaker, policy, SECOND, generation=breaker.generation, probe=0, result=result, duration=1)
    after = shed(cell, breaker, policy, SECOND, level=LOW, dice=0.0)

    assert (while_open, after) == (False, False)
    settle(breaker, policy, SECOND, generation=breaker.generation, probe=0, result=Result.FAILURE, duration=1)
    assert shed(cell, breaker, policy, SECOND, level=LOW, dice=0.0)


def test_a_service_that_is_left_alone_is_forgiven() -> None:
    """
    After the window nothing is left of what it has done.
    """
    policy, cell = spec(), ShedCell()
    breaker = counted(policy, 0, 100)

    assert shed(cell, breaker, policy, SECOND, level=HIGH, dice=0.0)
    assert not shed(cell, breaker, policy, 70 * SECOND, level=LOW, dice=0.0)


def test_a_bad_k() -> None:
    """
    Below 1 it would shed calls of a service that is well.
    """
    with pytest.raises(ConfigError, match=r"shed_k is 0\.5"):
        spec(shed_k=0.5)


def arrivals(
    demand: dict[int, int], capacity: dict[int, int], *, seconds: int, k: float = 2.0
) -> tuple[list[Counter[int]], list[int]]:
    """
    Let callers make so many calls a second by priority, to a server that accepts the first *capacity* of each second.

    Returns:
        What arrived at the server by priority, and how much it accepted, in each second.
    """
    dice, policy, cell, breaker = Random(1), spec(shed_k=k), ShedCell(), BreakerCell()
    came, accepted = [Counter[int]() for _ in range(seconds)], [0] * seconds
    calls = [
        (second * SECOND + at * SECOND // count, level)
        for level, count in demand.items()
        for at in range(count)
        for second in range(seconds)
    ]
    able = 0
    for now, level in sorted(calls):
        second = now // SECOND
        able = capacity.get(second, able)
        if shed(cell, breaker, policy, now, level=level, dice=dice.random()):
            continue
        came[second][level] += 1
        is_good = accepted[second] < able
        accepted[second] += is_good
        result = Result.SUCCESS if is_good else Result.FAILURE
        settle(breaker, policy, now, generation=breaker.generation, probe=0, result=result, duration=1)
    return came, accepted


@pytest.mark.parametrize(("k", "least", "most"), [(2.0, 16, 24), (1.5, 12, 19), (4.0, 34, 46)])
def test_a_limping_service_gets_k_calls_for_each_that_it_accepts(k: float, least: int, most: int) -> None:
    """
    100 calls a second for a server that can do 10: about k times 10 of them are sent, and all of its capacity is used.
    """
    came, accepted = arrivals({LOW: 100}, {0: 10}, seconds=180, k=k)
    settled = came[90:]

    assert least <= sum(each[LOW] for each in settled) / len(settled) <= most
    assert sum(accepted[90:]) >= 0.95 * 10 * 90


def test_urgent_calls_go_on_while_low_ones_stay_at_home() -> None:
    """
    200 low and 5 high calls a second for a server that can do 20: each high one is sent, and few of the low ones.
    """
    came, _ = arrivals({LOW: 200, HIGH: 5, CRITICAL: 2}, {0: 20}, seconds=180)
    settled = came[90:]

    assert sum(each[HIGH] for each in settled) == 5 * len(settled)
    assert sum(each[CRITICAL] for each in settled) == 2 * len(settled)
    assert sum(each[LOW] for each in settled) / len(settled) < 45


def test_a_service_that_is_well_again_gets_everything() -> None:
    """
    Once it accepts all, all is sent, at the latest when the window has forgotten; before, nothing was shed either.
    """
    came, accepted = arrivals({MEDIUM: 50, LOW: 50}, {0: 1_000, 60: 10, 240: 1_000}, seconds=360)

    assert [sum(each.values()) for each in came[:60]] == [100] * 60
    assert sum(each[LOW] for each in came[180:240]) < 0.25 * 50 * 60
    assert sum(each[MEDIUM] for each in came[180:240]) > 0.5 * 50 * 60
    assert sum(accepted[310:]) == 100 * 50


@pytest.mark.parametrize("seed", range(10))
def test_sporadic_failures_shed_nothing(seed: int) -> None:
    """
    A server that fails every fifth call, by chance, is asked for everything.
    """
    dice, policy, cell, breaker = Random(seed), spec(), ShedCell(), BreakerCell()
    shed_calls = 0
    for second in range(1_000):
        now = second * SECOND
        shed_calls += shed(cell, breaker, policy, now, level=LOW, dice=0.0)
        result = Result.FAILURE if dice.random() < 1 / 5 else Result.SUCCESS
        settle(breaker, policy, now, generation=breaker.generation, probe=0, result=result, duration=1)

    assert shed_calls == 0
