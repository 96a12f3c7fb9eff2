"""
Promises over millions of calls of simulated fleets, judged apart: windows, places, order, rest.

A failure names its seed. ``make soak`` plays ten million calls, on all processors.
"""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial

import pytest

from egressor._core import fleet
from egressor._core.limits import Sliding
from tests.core.play import Play

SOAK = os.environ.get("EGRESSOR_SOAK") == "1"
SEEDS = 1_000 if SOAK else 60
CALLS = 10_000 if SOAK else 500

pytestmark = pytest.mark.timeout(3_600)


def played(calls: int, seed: int) -> tuple[int, list[str], dict[str, int]]:
    """
    What the judge says of a play, and how its calls ended.
    """
    play = Play(seed, calls).run()
    return seed, play.wrong, play.ends


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from 3.12 on Python warns of forks where threads are
def test_the_promises_hold() -> None:
    """
    With random limits, priorities, costs, cancels, refunds and deaths no window holds too much, nobody goes before a
    better one, everybody's wait ends, and at rest nothing is held.
    """
    play = partial(played, CALLS)
    with ProcessPoolExecutor() if SOAK else nullcontext() as pool:
        found = list(map(play, range(SEEDS)) if pool is None else pool.map(play, range(SEEDS), chunksize=5))

    ends = sum((Counter(ends) for _, _, ends in found), Counter())
    assert {seed: wrong[:3] for seed, wrong, _ in found if wrong} == {}
    assert ends.total() >= SEEDS * CALLS
    assert min(ends.values()) > 0


FAULTS = {
    "a grant that may be used for too long": (
        "grace",
        lambda limit, cell, now, units: now + getattr(limit, "period", fleet.LIFE),
    ),
    "a better waiter that is passed by": ("_best", lambda *_: None),
    "places that are not given back": ("_bury", lambda *_: set()),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_judge_sees_a_fault(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where the step does wrong, the judge says so.
    """
    name, wrong = FAULTS[fault]
    monkeypatch.setattr(fleet, name, wrong)

    assert any(played(500, seed)[1] for seed in range(40))


def test_the_judge_sees_a_unit_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A limit that grants one unit more than it says is found out.
    """
    ask = Sliding.ask
    monkeypatch.setattr(
        Sliding, "ask", lambda limit, *rest: ask(Sliding(amount=limit.amount + 1, period=limit.period), *rest)
    )

    assert any(played(500, seed)[1] for seed in range(40))
