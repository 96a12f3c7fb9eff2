"""
Promises over a simulated fleet: lost calls, cancels, deaths, a store that comes and goes, in virtual time.

A failure names its seed; ``make soak`` runs many more of them, and longer.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest

from egressor._core.fleet import STAY, Request, exchange
from tests.stores.simulated import SECOND, Fleet, most_at_once, overtaken, worst_window

_IS_SOAK = os.environ.get("EGRESSOR_SOAK") == "1"
_SEEDS = range(8) if _IS_SOAK else range(2)
_CALLS = 3_000 if _IS_SOAK else 400
_MEMBERS = 4
_CASES = {
    "sliding": (("50/second",), 50, None, 80.0),
    "burst": (("50/second burst 5",), 55, None, 80.0),
    "fast": (("1000/second burst 20",), 1_020, None, 1_500.0),
    "single": (("20/second burst 1",), 21, None, 30.0),
    "several": (("40/second burst 10", "100/3 seconds"), 50, None, 60.0),
    "places": ((), 1 << 30, 3, 300.0),
    "both": (("50/second burst 5",), 55, 2, 80.0),
}
# What a grant takes until it is used, at most: the way from the store, and a thread that wakes.
_MOMENT = 1_000
# A call that may go waits no longer for it than this, whatever happened to those that were to call it.
_LATE = SECOND


def played(seed: int, case: str, *, kills: bool = False, goes_away: bool = False, calls: int = _CALLS) -> Fleet:
    """
    Let four processes make *calls* as they come, and wait until all is over.
    """
    limits, _, places, rate = _CASES[case]
    fleet = Fleet(seed, members=_MEMBERS, limits=limits, max_concurrency=places, queue_size=100_000, age_after=1_000.0)
    dice = random.Random(seed)
    at = fleet.world.at
    for number in range(calls):
        at += round(dice.expovariate(rate) * SECOND)
        fleet.world.run(at)
        wait = dice.choice([0, 100_000, SECOND, 20 * SECOND])
        fleet.call(dice.randrange(_MEMBERS), level=dice.randrange(4), wait=wait, hold=dice.randrange(1, 20_000))
        if kills and dice.random() < 0.005:
            fleet.kill(dice.randrange(_MEMBERS))
        # Each of them has to have heard of the others before.
        if goes_away and number > calls // 4 and dice.random() < 0.01:
            if fleet.store.is_away:
                fleet.store.is_away = False
            else:
                fleet.lose()
    fleet.store.is_away = False
    fleet.world.run(at + 60 * SECOND)
    return fleet


def check_end(fleet: Fleet) -> None:
    """
    Check that every call has ended in time, and that nothing is held.
    """
    ends = [(use, use.ended) for use in fleet.uses]
    assert [use for use, ended in ends if ended is None] == []
    late = [use for use, ended in ends if use.why == "wait_too_long" and (ended or 0) > use.deadline + _LATE]
    assert late == []
    # Somebody else looks: the dead are buried by whoever comes next.
    state = fleet.store.state
    exchange(state, Request("judge", version=state.version), fleet.world.at)
    assert state.held == {}
    assert [wait for row in state.waits.values() for wait in row.values() if wait.seen > fleet.world.at - STAY] == []


@pytest.mark.parametrize("case", _CASES)
@pytest.mark.parametrize("seed", _SEEDS)
def test_limits_hold_and_the_better_go_first(case: str, seed: int) -> None:
    """
    No window is overdrawn, no place is lent twice, nobody is stuck, and who waits is not overtaken but by those that
    were granted at the same moment.
    """
    fleet = played(seed, case)
    _, bound, places, _ = _CASES[case]
    assert worst_window(fleet.uses, SECOND) <= bound
    assert places is None or most_at_once(fleet.uses) <= places
    check_end(fleet)
    # A newcomer may take what its process asked for on behalf of another, and the store hears of that a moment later.
    assert len(overtaken(fleet.uses, grace=20_000, moment=_MOMENT)) <= 2


def busy(seed: int) -> Fleet:
    """
    Return three processes with one place, which the third of them holds for a while.
    """
    fleet = Fleet(seed, members=3, max_concurrency=1, age_after=1_000.0)
    fleet.call(2, level=3, hold=100_000)
    fleet.world.run(fleet.world.at + 10_000)
    return fleet


@pytest.mark.parametrize("seed", range(20))
def test_a_worse_one_elsewhere_is_not_called_before_the_next_one_here(seed: int) -> None:
    """
    Regression: once its best one had gone, the store knew of nobody in a process until that came again.
    """
    fleet = busy(seed)
    calls = [fleet.call(member, level=level) for member, level in ((0, 3), (0, 1), (1, 0))]
    fleet.world.run(fleet.world.at + SECOND)

    assert sorted(calls, key=lambda use: use.went or 0) == calls


@pytest.mark.parametrize("seed", range(20))
def test_what_somebody_gives_up_goes_to_the_best_of_all(seed: int) -> None:
    """
    Regression: a grant in the hand of a call that was cancelled went to the next in its own process.
    """
    fleet = busy(seed)
    gone, worse, better = [fleet.call(member, level=level) for member, level in ((0, 2), (0, 0), (1, 1))]
    assert gone.parked is not None
    while gone.parked.reply is None:
        fleet.world.run(fleet.world.at + 1)
    fleet.cancel(gone, gone.parked, fleet.living[0][2])
    fleet.world.run(fleet.world.at + SECOND)

    assert better.went is not None
    assert worse.went is not None
    assert better.went < worse.went


@pytest.mark.parametrize("seed", range(20))
def test_what_comes_too_late_goes_to_the_best_of_all(seed: int) -> None:
    """
    Regression: what was granted to a call whose wait ended meanwhile went to the next in its own process.
    """
    fleet = busy(seed)
    gone, worse, better = [fleet.call(member, level=level) for member, level in ((0, 2), (0, 0), (1, 1))]
    assert gone.parked is not None
    while gone.member not in next(iter(fleet.store.state.held.values()), {}):
        fleet.world.run(fleet.world.at + 1)
    gate: Any = fleet.living[0][2]
    gate._room.hasten(gone.parked.waiter, fleet.world.at)
    fleet.world.run(fleet.world.at + SECOND)

    assert gone.why == "wait_too_long"
    assert better.went is not None
    assert worse.went is not None
    assert better.went < worse.went


@pytest.mark.parametrize("case", _CASES)
@pytest.mark.parametrize("seed", _SEEDS)
def test_processes_may_die(case: str, seed: int) -> None:
    """
    Whatever a process held or waited for when it died comes back to the others, and lets nothing be overdrawn.
    """
    fleet = played(seed, case, kills=True)
    _, bound, places, _ = _CASES[case]
    assert worst_window(fleet.uses, SECOND) <= bound
    assert places is None or most_at_once(fleet.uses) <= places
    check_end(fleet)


def taken_twice(fleet: Fleet) -> int:
    """
    Return the most units of which not all knew at losses that one window may hold the traces of.
    """
    ends = [at for at, _ in fleet.losses]
    return max([sum(units for at, units in fleet.losses if end - 2 * SECOND < at <= end) for end in ends], default=0)


@pytest.mark.parametrize("case", ["sliding", "burst", "several", "both"])
@pytest.mark.parametrize("seed", _SEEDS)
def test_the_store_may_go_and_come(case: str, seed: int) -> None:
    """
    While the store is away, and when it comes back, all shares together stay within the limit; but for what a process
    did not know at the moment of the loss.

    A process goes on with 1/n of what was left when the store told it last. So units that others have taken since are
    taken once more, 1/n of them by each process that has not asked meanwhile, and nothing else is: neither what the
    others know, nor what is left in the share of one that has yet to find out that the store is back.
    """
    fleet = played(seed, case, goes_away=True)
    assert worst_window(fleet.uses, SECOND) <= _CASES[case][1] + taken_twice(fleet)
    check_end(fleet)


@pytest.mark.parametrize(
    ("seed", "calls"),
    [
        pytest.param(3, 400, id="lost again before all had returned"),
        pytest.param(27, 400, id="found by one much later"),
        pytest.param(5, 1_500, id="the last word before the return was of an outdated standing"),
    ],
)
def test_who_has_returned_leaves_to_others_what_is_in_their_shares(seed: int, calls: int) -> None:
    """
    Regression: processes that had found the store again used up a limit of which others still had their shares.
    """
    fleet = played(seed, "sliding", goes_away=True, calls=calls)
    assert worst_window(fleet.uses, SECOND) <= 50 + taken_twice(fleet)
