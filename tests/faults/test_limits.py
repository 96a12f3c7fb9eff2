"""
No window of a limit holds more than the limit, over all processes, whatever happens to them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.fleet import SECOND, SLIP, Fleet, Line, most, most_aligned, run_for, uses

Start = Callable[..., Fleet]
SOAK = os.environ.get("EGRESSOR_SOAK") == "1"
KILLS = 30 if SOAK else 4
BETWEEN_KILLS = 2.0 if SOAK else 0.3

pytestmark = pytest.mark.timeout(600 if SOAK else 300)

# A limit, its judge, what a window may hold, and what demand that never ends takes in the first 2.9 seconds at least.
READINGS = {
    "sliding": ("50/second", most, 50, 150),
    "burst": ("50/second burst 10", most, 60, 145),
    "fixed": ("50/second fixed", most_aligned, 50, 100),
}
CALLERS = [
    ("sliding", ("threads(3)",)),
    ("sliding", ("tasks(6)",)),
    ("sliding", ("threads(3)", "tasks(6)")),
    ("burst", ("threads(3)", "tasks(6)")),
    ("fixed", ("threads(3)", "tasks(6)")),
]


def judged(reading: str, lines: list[Line]) -> tuple[int, int]:
    """
    What the fullest window held, and what it may hold.
    """
    _, judge, allowed, _ = READINGS[reading]
    return judge(lines, SECOND if judge is most_aligned else SECOND - SLIP), allowed


def set_to_work(fleet: Fleet, *loads: str) -> None:
    """
    Let all begin at once, each with the next of *loads*.
    """
    for number, member in enumerate(fleet.members):
        member.tell(loads[number % len(loads)])
    for member in fleet.members:
        member.hear()


@pytest.mark.parametrize(("reading", "loads"), CALLERS)
def test_processes_share_a_limit_and_use_it(start: Start, reading: str, loads: tuple[str, ...]) -> None:
    """
    Four processes that want more than there is get what there is: no more in any window, and 95 % of it.
    """
    fleet = start(4, {"s": {"limits": [READINGS[reading][0]], "max_wait": 30.0}})

    set_to_work(fleet, *loads)
    run_for(3.1)
    uses(fleet.lines, 0.95 * READINGS[reading][3], 2_900_000)

    found, allowed = judged(reading, fleet.lines())
    assert found <= allowed


@pytest.mark.parametrize("reading", READINGS)
def test_processes_that_are_killed_take_nothing_with_them_that_others_get_again(start: Start, reading: str) -> None:
    """
    Eight processes of which one is killed again and again, in the middle of whatever it does, keep the limit.
    """
    fleet = start(8, {"s": {"limits": [READINGS[reading][0]], "max_wait": 30.0}})
    dice = random.Random(reading)

    set_to_work(fleet, "threads(3)", "tasks(6, cancel=0.2)")
    for _ in range(KILLS):
        run_for(BETWEEN_KILLS)
        fleet.lose(dice.choice(fleet.members))
        fleet.start(1)[0].ask("threads(3)")
    killed = fleet.lines()
    run_for(2.5)

    lines = fleet.lines()
    found, allowed = judged(reading, lines)
    assert found <= allowed
    # Whoever was killed last may have stood first in line, for a second.
    assert len(lines) - len(killed) >= allowed // 2


@pytest.mark.parametrize("reading", READINGS)
def test_calls_that_are_cancelled_take_nothing(start: Start, reading: str) -> None:
    """
    Where half of those who wait give up, the others get all there is, and no more.
    """
    fleet = start(4, {"s": {"limits": [READINGS[reading][0]], "max_wait": 30.0}})

    set_to_work(fleet, "tasks(12, cancel=0.5)")
    run_for(3.1)
    uses(fleet.lines, 0.95 * READINGS[reading][3], 2_900_000)

    found, allowed = judged(reading, fleet.lines())
    assert found <= allowed


def test_users_of_a_rule_have_limits_of_their_own(start: Start) -> None:
    """
    Each user's limit holds over all processes, and so does the one of all users together.
    """
    rules = [{"match": {"user": "*"}, "limits": ["20/second"]}]
    fleet = start(4, {"s": {"limits": ["50/second"], "rules": rules, "max_wait": 30.0}})
    users = ("u1", "u2", "u3|x")

    load = "[tasks(3, word=user, options={'scope': {'user': user}}) for user in ('u1', 'u2', 'u3|x')]"
    set_to_work(fleet, load)
    run_for(2.5)
    uses(fleet.lines, 95, 1_900_000)

    everybody = fleet.lines()
    assert max(most(fleet.lines(user), SECOND - SLIP) for user in users) <= 20
    assert min(len(fleet.lines(user)) for user in users) > 20
    assert most(everybody, SECOND - SLIP) <= 50


def test_a_cost_that_was_less_comes_back_to_all(start: Start) -> None:
    """
    Tokens that were estimated and not used are there for others, and no window holds more than the limit.
    """
    fleet = start(4, {"s": {"limits": ["300 tokens/second"], "max_wait": 30.0}})

    set_to_work(fleet, "tasks(4, options={'cost': {'tokens': 10}}, truth={'tokens': 3}, units=3)")
    run_for(2.5)
    uses(fleet.lines, 0.95 * 600, 1_900_000)

    assert most(fleet.lines(), SECOND - SLIP) <= 300


def test_a_cost_that_was_more_is_charged_to_all(start: Start) -> None:
    """
    What attempts cost beyond their estimates is missing for the next ones, in whatever process they are.
    """
    fleet = start(4, {"s": {"limits": ["300 tokens/second"], "max_wait": 30.0}})

    set_to_work(fleet, "threads(2, options={'cost': {'tokens': 3}}, truth={'tokens': 10}, units=10)")
    run_for(2.5)

    # Were it not charged, there would be 1,000. What a process has at hand already goes at the estimate.
    assert most(fleet.lines(), SECOND - SLIP) <= 2 * 300


def test_a_reload_gives_no_second_allowance(start: Start) -> None:
    """
    A limit that is changed while it is used goes on from what was used, in all processes.
    """
    fleet = start(3, {"s": {"limits": ["50/minute"], "max_wait": 30.0}})
    set_to_work(fleet, "threads(2)")
    run_for(0.5)
    before = len(fleet.lines())

    fleet.all("gov.reload({'s': {'limits': ['60/minute'], 'max_wait': 30.0}})")
    run_for(1.0)

    assert before == 50
    assert len(fleet.lines()) <= 60


COSTS: list[tuple[dict[str, Any], str]] = [
    ({"tokens": 301}, "NeverFits"),
    ({"tokens": 0}, "ok"),
    ({"tokens": 300}, "ok"),
    ({"tokens": 1 << 63}, "ConfigError"),
]


@pytest.mark.parametrize(("cost", "expected"), COSTS)
def test_a_cost_at_the_edge_is_taken_or_refused_at_once(start: Start, cost: dict[str, Any], expected: str) -> None:
    """
    What can never fit says so; whatever fits an empty cell goes.
    """
    [member] = start(1, {"s": {"limits": ["300 tokens/minute"], "max_wait": 5.0}}).members

    assert expected == member.ask(f"attempt(str, cost={cost})")
