"""
Who waits at one gate, told in small scenes: who is served, when, and who is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from egressor._core.admission import Denied, Lease
from egressor._core.model import ErrorCategory, Verdict
from egressor.policies import Limit, Rule
from tests.stores.scene import SECOND, Scene

if TYPE_CHECKING:
    from egressor.stores import Parked
    from egressor.testing import FakeClock

OK = Verdict()
DOWN = Verdict(category=ErrorCategory.SERVER_ERROR, retryable=True, counts=True)
BANNED = Verdict(category=ErrorCategory.BAN)


def test_higher_priorities_pass_those_that_wait() -> None:
    """
    Bottleneck ``priority.js``: 1 runs, 2, 3 and 4 wait, 5 is more important: 1, 5, 2, 3, 4.
    """
    scene = Scene(max_concurrency=1)
    held = scene.lease()
    waiting = {name: scene.park(name, level) for name, level in [("2", 0), ("3", 0), ("4", 0), ("5", 3)]}

    scene.gate.settle(held, OK)
    for name in ("5", "2", "3"):
        reply = waiting[name].reply
        assert isinstance(reply, Lease)
        scene.gate.settle(reply, OK)

    assert scene.told == ["5@0", "2@0", "3@0", "4@0"]


def test_a_full_queue_gives_up_the_newest_of_the_lowest() -> None:
    """
    Bottleneck OVERFLOW_PRIORITY, depth 2: 4 finds it full of its like, 5 displaces 3, 6 displaces 2, and 7 finds
    it full of its like: 1, 5, 6 are served.
    """
    scene = Scene(max_concurrency=1, queue_size=2)
    scene.lease()

    for name, level in [("2", 0), ("3", 0), ("4", 0), ("5", 2), ("6", 2), ("7", 2)]:
        scene.park(name, level)

    assert scene.told == ["4:queue_full@0", "3:queue_full@0", "2:queue_full@0", "7:queue_full@0"]
    assert scene.gate.snapshot()["waiting"] == [0, 0, 2, 0]


def test_a_cancelled_waiter_has_taken_nothing() -> None:
    """
    golang.org/x/time ``TestCancelMulti``: of a burst of 4, four are taken at t0; A wants 3, B 1, C 1. C and A are
    cancelled at t1: theirs gives B its token at t4; ours was not promised to A, so that B has it at t1, and D, which
    wants 3 then, at t4 and not at t5.
    """
    scene = Scene(limits=("1 tokens/second burst 4",))
    scene.lease(tokens=4)
    first = scene.park("A", tokens=3)
    scene.park("B", tokens=1)
    last = scene.park("C", tokens=1)
    scene.clock.advance(1)

    scene.gate.abandon(last)
    scene.gate.abandon(first)
    scene.park("D", tokens=3)
    scene.clock.advance(10)

    assert scene.told == ["B@1", "D@4"]


def test_a_lease_that_comes_too_late_goes_to_the_next() -> None:
    """
    A waiter that is cancelled after it was served hands on what it got; a second time nothing happens.
    """
    scene = Scene(max_concurrency=1)
    held = scene.lease()
    first = scene.park("A")
    scene.park("B")
    scene.gate.settle(held, OK)

    for _ in range(2):
        scene.gate.abandon(first)

    assert scene.told == ["A@0", "B@0"]
    assert scene.gate.counts.in_flight == 1


def test_a_big_cost_is_not_starved_by_small_ones() -> None:
    """
    Whoever stands first waits until all it wants is there; those behind it, and newcomers, do not pass.
    """
    scene = Scene(limits=("1 tokens/second burst 4",))
    scene.lease(tokens=4)
    scene.park("big", tokens=4)
    for number in range(3):
        scene.clock.advance(1)
        scene.park(f"small{number}", tokens=1)
        assert isinstance(scene.admit(tokens=1), Denied)
    scene.clock.advance(10)

    assert scene.told == ["big@4", "small0@5", "small1@6", "small2@7"]


def test_who_waits_for_its_own_limit_holds_back_nobody_else() -> None:
    """
    A user whose limit is used up waits in a line of its own.
    """
    scene = Scene(limits=("100/second",), rules=(Rule(match={"user": "*"}, limits=(Limit("1/second burst 1"),)),))
    for name, user in [("a", "u1"), ("b", "u1"), ("c", "u2"), ("d", "u2")]:
        scene.park(name, scope={"user": user})
    scene.clock.advance(5)

    assert scene.told == ["a@0", "c@0", "b@1", "d@1"]


def test_one_that_waiting_has_raised_is_held_back_by_nobody_lower() -> None:
    """
    A low call that has become critical, and needs two cells, is not sent from line to line by those of middle rank.
    """
    scene = Scene(
        limits=("1 tokens/second burst 1", "1 images/second burst 1"), age_after=10.0, queue_size=100, max_wait=400.0
    )
    scene.lease(tokens=1, images=1)
    scene.clock.advance(0.5)
    scene.park("old", 0, tokens=1, images=1)
    for second in range(60):
        scene.park(f"t{second}", 1, tokens=1, seconds=300)
        scene.park(f"i{second}", 1, images=1, seconds=300)
        if second < 40:
            scene.clock.advance(1)

    scene.clock.advance(1)

    assert any(line.startswith("old@") for line in scene.told)


def test_a_newcomer_is_ranked_with_those_that_waiting_has_raised() -> None:
    """
    Whoever comes before anybody has looked finds those that wait at the level which they have reached by now.
    """
    scene = Scene(limits=("1/minute burst 1",), age_after=10.0)
    scene.lease()
    scene.park("old", 0)
    scene.clock._now += 61 * SECOND

    scene.park("new", 2)
    scene.gate.tick()

    assert scene.told == ["old@61"]


@pytest.mark.parametrize(("seconds", "told"), [(2, "A@2"), (1.999999, "A:wait_too_long@0"), (0, "A:wait_too_long@0")])
def test_a_turn_at_the_last_moment_is_one(seconds: float, told: str) -> None:
    """
    Waiting exactly the returned time is enough; a moment less is refused at once.
    """
    scene = Scene(limits=("1/2 seconds burst 1",))
    scene.lease()
    scene.park("A", seconds=seconds)
    scene.clock.advance(5)

    assert scene.told == [told]


def test_when_the_first_gives_up_the_next_may_go_at_once() -> None:
    """
    What was too little for one whose time is over is enough for the one behind it.
    """
    scene = Scene(limits=("1 tokens/second burst 9",))
    held = scene.lease(tokens=8)
    scene.park("big", tokens=9, seconds=8)
    scene.park("small", tokens=1, seconds=90)
    # Its wait would have fitted, until another call turned out to be dearer than it had said.
    scene.gate.adjust(held, {"tokens": 11})
    scene.clock.advance(10)

    assert scene.told == ["big:wait_too_long@8", "small@8"]


def test_a_loop_that_is_gone_is_passed_over() -> None:
    """
    A waiter that nobody can wake any more neither holds others back nor keeps what it would have got.
    """
    scene = Scene(max_concurrency=1)
    held = scene.lease()
    dead = scene.park("dead", 3)
    dead.home = Closed(scene.clock)
    scene.gate._room._homes[dead.home] = 1
    scene.park("B")

    scene.gate.settle(held, OK)

    assert (scene.told, dead.reply) == (["B@0"], None)


class Closed:
    """
    The home of a closed loop.
    """

    is_prompt = True

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock

    def is_gone(self) -> bool:
        """
        Whether nobody who lived here can be woken.
        """
        return True

    def arm(self, ticking: object, when: int) -> None:
        """
        Do nothing.
        """

    def wake(self, parked: Parked) -> None:
        """
        Fail: there is nobody to be woken.
        """
        raise AssertionError


def test_alarms_follow_those_that_wait() -> None:
    """
    Ten thousand short waits, one after the other, leave no heap of alarms for deadlines that nobody awaits any more.
    """
    scene = Scene(max_concurrency=1)
    held = scene.lease()
    for _ in range(10_000):
        parked = scene.park("A")
        scene.gate.settle(held, OK)
        assert isinstance(parked.reply, Lease)
        held = parked.reply

    assert len(scene.gate._room._alarms) < 100
    assert scene.gate.snapshot()["waits"][1] == [10_000, 0, 0]  # type: ignore[index]


def test_who_comes_to_stand_first_is_looked_at_when_its_own_turn_is_due() -> None:
    """
    Regression: a small and urgent call waited for the moment at which the big one behind it could have gone.
    """
    scene = Scene(limits=("100 tokens/second burst 400",))
    scene.lease(tokens=400)
    scene.park("big", 0, tokens=400)
    scene.park("small", 3, tokens=10)
    scene.clock.advance(5)

    assert scene.told == ["small@0.1", "big@4.1"]


def test_who_follows_one_that_was_displaced_is_looked_at_at_once() -> None:
    """
    Regression: those behind a waiter that made room for a better one kept its alarm.
    """
    scene = Scene(limits=("100 tokens/second burst 400", "100/second burst 9"), queue_size=2)
    scene.lease(tokens=400)
    scene.park("small", 0, tokens=10)
    scene.park("big", 0, tokens=400, seconds=10)
    scene.park("better", 1, tokens=10)
    scene.clock.advance(0.5)

    assert scene.told == ["big:queue_full@0", "better@0.1", "small@0.2"]
