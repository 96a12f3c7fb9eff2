"""
Leases in the hands of waiters that have not run yet: reserved at the grant, charged when they are taken up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from egressor._core.admission import Denied, Lease, Why
from egressor._core.breaker import BreakerState
from egressor._core.model import ErrorCategory, Verdict
from egressor.policies import Limit
from egressor.stores import Parked
from tests.stores.scene import SECOND, Scene

if TYPE_CHECKING:
    from collections.abc import Callable

    from egressor.stores import Ticking
    from egressor.stores.gate import Gate


class BusyLoop:
    """
    A home whose waiters run when the test says so.
    """

    is_prompt = False

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.woken: list[Parked] = []

    def is_gone(self) -> bool:
        """
        Say that it lives.
        """
        return False

    def arm(self, ticking: Ticking, when: int) -> None:
        """
        Look at the gate in time: only the waiters are late.
        """
        self.scene.clock.threads.arm(ticking, when)

    def wake(self, parked: Parked) -> None:
        """
        Note who could run.
        """
        self.woken.append(parked)

    def park(self, count: int) -> None:
        """
        Let *count* calls wait.
        """
        for _ in range(count):
            ask = self.scene.gate.compiled.ask(scope={}, cost={"requests": 1}, level=1)
            assert self.scene.gate.park(ask, self.scene.clock.now() + 500 * SECOND, Parked(self, None)) is None

    def run(self) -> list[Lease]:
        """
        Let everybody run who was woken.
        """
        woken, self.woken = self.woken, []
        replies = [self.scene.gate.take_up(parked, object) for parked in woken]
        return [reply for reply in replies if isinstance(reply, Lease)]


@pytest.mark.parametrize(
    ("limit", "at_once", "most"), [("10/second burst 3", 3, 13), ("10/second", 10, 10), ("10/second fixed", 10, 20)]
)
def test_however_late_they_run_no_window_holds_more(limit: str, at_once: int, most: int) -> None:
    """
    Regression: what was granted one after the other while a loop was busy went out as one clump beyond the limit.
    """
    scene = Scene(limits=[limit])
    for _ in range(at_once):
        scene.lease()
    home = BusyLoop(scene)
    home.park(100)
    sent: list[int] = []
    for stall in (5.0, 0.01, 3.0, 0.3, 0.05, 2.0, 0.02, 1.0):
        scene.clock.advance(stall)
        clump = home.run()
        sent += [lease.at for lease in clump]

        assert len(clump) <= at_once
        assert all(lease.at == scene.clock.now() for lease in clump)

    assert len(sent) > at_once
    assert max(sum(1 for each in sent if at <= each < at + SECOND) for at in sent) <= most


def test_places_are_held_from_the_grant() -> None:
    """
    A place that is in a waiter's hand is nobody else's, and is given back once.
    """
    scene = Scene(max_concurrency=1)
    lease = scene.lease()
    home = BusyLoop(scene)
    home.park(2)
    scene.gate.settle(lease, Verdict())

    assert len(home.woken) == 1
    assert not scene.gate.calm

    (first,) = home.run()
    assert home.woken == []
    scene.gate.settle(first, Verdict())
    (second,) = home.run()
    scene.gate.settle(second, Verdict())

    assert scene.gate.calm
    assert scene.gate.snapshot()["in_flight"] == 0
    assert isinstance(scene.admit(), Lease)


@pytest.mark.parametrize("way", ["abandon", "undo"])
def test_what_was_never_taken_up_costs_nothing(way: str) -> None:
    """
    A waiter that was cancelled with the lease in its hand gives back all of it, and the next one has it.
    """
    scene = Scene(limits=["1/second burst 1"])
    scene.lease()
    home = BusyLoop(scene)
    home.park(2)
    scene.clock.advance(1)
    (parked,) = home.woken
    home.woken.clear()

    if way == "abandon":
        scene.gate.abandon(parked)
    else:
        assert isinstance(parked.reply, Lease)
        scene.gate.undo(parked.reply)

    assert len(home.woken) == 1
    assert len(home.run()) == 1
    assert scene.gate.snapshot()["in_flight"] == 2


def test_a_lease_that_is_settled_without_being_taken_up_is_charged() -> None:
    """
    Whatever is settled was used.
    """
    scene = Scene(limits=["1/second burst 1"])
    scene.lease()
    home = BusyLoop(scene)
    home.park(1)
    scene.clock.advance(1)
    reply = home.woken[0].reply
    assert isinstance(reply, Lease)

    scene.gate.settle(reply, Verdict())

    assert scene.gate.snapshot()["limits"][0]["left"] == 0  # type: ignore[index]
    assert scene.gate.calm


def test_a_reload_keeps_what_is_in_hands() -> None:
    """
    A lease that was reserved under the old policy is reserved, and then charged, under the new one.
    """
    scene = Scene(limits=["1/second burst 1"])
    scene.lease()
    home = BusyLoop(scene)
    home.park(1)
    scene.clock.advance(1)
    scene.gate.replace(scene.compiled(limits=[Limit("2/second burst 2")]))

    (lease,) = home.run()

    assert lease.ask.compiled is scene.gate.compiled
    assert scene.gate.snapshot()["limits"][0]["left"] <= 1  # type: ignore[index]
    assert scene.gate.calm


def test_a_loop_that_does_not_come_for_its_lease_delays_nobody_for_long() -> None:
    """
    Regression: one blocked loop, with a turn in its hand, took the whole of a limit away from all others.
    """
    scene = Scene(limits=["10/second burst 1"])
    scene.lease()
    blocked, awake = BusyLoop(scene), BusyLoop(scene)
    blocked.park(1)
    awake.park(20)
    sent = []
    for _ in range(20):
        scene.clock.advance(0.1)
        sent += [lease.at for lease in awake.run()]

    assert len(sent) >= 17
    assert len(blocked.woken) == 1

    # It has lost its turn, stands in the queue again, and gets the next one.
    assert blocked.run() == []
    scene.clock.advance(0.15)
    (late,) = blocked.run()

    assert min(abs(late.at - at) for at in sent) >= SECOND // 10
    scene.gate.settle(late, Verdict())


def test_a_loop_that_was_closed_with_a_lease_in_its_hand_holds_nothing() -> None:
    """
    Regression: such a lease was out for ever, and its place with it.
    """
    scene = Scene(max_concurrency=1)
    lease = scene.lease()
    home = BusyLoop(scene)
    home.park(1)
    scene.gate.settle(lease, Verdict())
    home.is_gone = lambda: True  # type: ignore[method-assign]

    other = scene.lease()

    assert scene.places_left() == 0
    scene.gate.settle(other, Verdict())
    assert (scene.places_left(), scene.gate.calm) == (1, True)


def pause(scene: Scene) -> None:
    """
    Pause the service.
    """
    scene.gate.pause("maintenance")


def force_open(scene: Scene) -> None:
    """
    Open the breaker by hand.
    """
    scene.gate.set_breaker(BreakerState.FORCED_OPEN)


def send_away(scene: Scene) -> None:
    """
    Let another attempt be told to come back in a minute.
    """
    scene.gate.settle(scene.lease(), Verdict(category=ErrorCategory.RATE_LIMIT, retry_after=60.0))


@pytest.mark.parametrize(("happens", "why"), [(pause, Why.PAUSED), (force_open, Why.CIRCUIT_OPEN), (send_away, None)])
def test_what_is_learned_after_the_grant_holds_for_it(happens: Callable[[Scene], None], why: Why | None) -> None:
    """
    Regression: a turn in the hand of a busy loop was used during a pause, an open breaker or a Retry-After.
    """
    scene = Scene(limits=["10/second burst 3"])
    for _ in range(3):
        scene.lease()
    home = BusyLoop(scene)
    home.park(1)
    scene.clock.advance(1)
    parked = home.woken.pop()
    happens(scene)

    reply = scene.gate.take_up(parked, object)

    assert reply is None if why is None else isinstance(reply, Denied) and reply.why is why
    scene.clock.advance(100)
    assert len(home.run()) == (why is None)


def test_who_loses_its_turn_keeps_its_rank() -> None:
    """
    Regression: who had waited longest stood behind everybody who came later, once a blocked loop had cost it its turn.
    """
    scene = Scene(limits=["10/second burst 1"])
    scene.lease()
    blocked, awake = BusyLoop(scene), BusyLoop(scene)
    blocked.park(1)
    scene.clock.advance(0.1)
    awake.park(3)
    scene.clock.advance(0.15)
    first = awake.run()

    assert (len(first), blocked.run()) == (1, [])
    scene.clock.advance(0.1)
    assert (len(awake.run()), len(blocked.run())) == (0, 1)


def test_others_in_the_same_loop_take_no_turn_away() -> None:
    """
    Regression: a turn went from one task of a blocked loop to another, which could not come any sooner.
    """
    scene = Scene(limits=["10/second burst 1"])
    scene.lease()
    home = BusyLoop(scene)
    home.park(3)
    scene.clock.advance(0.3)
    (parked,) = home.woken

    assert isinstance(scene.gate.take_up(parked, object), Lease)


@pytest.mark.parametrize(
    "act",
    [
        lambda gate, lease: gate.leave(lease.ask, lease.at, lease.generation),
        lambda gate, lease: gate.settle(lease, Verdict()),
        lambda gate, lease: gate.drop(lease, Verdict()),
        lambda gate, lease: gate.undo(lease),
    ],
    ids=["leave", "settle", "drop", "undo"],
)
def test_a_lease_may_be_given_back_inside_of_a_step(act: Callable[[Gate, Lease], object]) -> None:
    """
    Regression: a success that ended inside of the gate's own work left itself as word, over and over.
    """
    scene = Scene(max_concurrency=1)
    lease = scene.lease()

    scene.gate.alone.run(lambda: act(scene.gate, lease), instead=None)

    assert (scene.places_left(), scene.gate.counts.in_flight) == (1, 0)
