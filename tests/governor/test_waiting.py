"""
Many waiters: the order in which they are served, and what it costs.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, ClassVar

import pytest

from egressor import Governor, Priority, QueueFull, WaitTooLong
from egressor._core.admission import Denied, Lease
from egressor.governor.route import Options
from egressor.stores import Parked
from egressor.testing import FakeClock

MICRO = 1_000_000


class Crowd:
    """
    Waiters of one service ``s``, and what they are given, without any thread or task.
    """

    def __init__(self, **policy: Any) -> None:
        self.clock = FakeClock()
        self.gov = Governor({"s": policy}, clock=self.clock, dice=lambda: 0.5)
        self.gate = self.gov.gate("s")
        self.start = self.clock.now()
        self.served: list[tuple[str, float]] = []
        self.refused: list[str] = []
        self.ticks = 0
        tick = self.gate.tick

        def counted() -> None:
            self.ticks += 1
            tick()

        self.gate.tick = counted  # type: ignore[method-assign]

    def wait(self, name: str, *, priority: Priority = Priority.MEDIUM, within: float = 3_600.0, cost: int = 0) -> None:
        """
        Let somebody called *name* wait.
        """
        parked = Parked(self.clock.threads, None)
        parked.signal = lambda: self._woken(name, parked)
        options = Options(priority=priority, cost={"tokens": cost} if cost else None)
        reply = self.gate.park(
            self.gov.route("s", options).ask((), {}), self.clock.now() + round(within * MICRO), parked
        )
        if reply is not None:
            parked.reply = reply
            self._woken(name, parked)

    def _woken(self, name: str, parked: Parked) -> None:
        if isinstance(parked.reply, Lease):
            self.served.append((name, (self.clock.now() - self.start) / MICRO))
        else:
            assert isinstance(parked.reply, Denied)
            self.refused.append(name)

    @property
    def order(self) -> list[str]:
        """
        Who was served, in order.
        """
        return [name for name, _ in self.served]


def test_ten_thousand_waiters_are_woken_once_each() -> None:
    """
    10,000 waiters on 1,000 a second end after ten seconds: one look at the line for each moment at which some are due.
    """
    crowd = Crowd(limits=["1000/second burst 1"], queue_size=10_000)

    for number in range(10_001):
        crowd.wait(str(number))
    crowd.clock.advance(20)

    assert crowd.order == [str(number) for number in range(10_001)]
    assert crowd.served[-1][1] == pytest.approx(10, abs=0.001)
    assert crowd.ticks <= 10_001
    assert crowd.gov.status()["s"]["waiting"] == {"low": 0, "medium": 0, "high": 0, "critical": 0}


def test_a_window_that_opens_wakes_no_more_than_it_lets_in() -> None:
    """
    2,000 waiters on a window of 100 a minute: each minute 100 are woken, after two looks at the line.
    """
    crowd = Crowd(limits=["100/minute fixed"], max_wait=3_600.0)
    for number in range(2_000):
        crowd.wait(str(number))
    assert crowd.ticks == 0

    crowd.clock.advance(3_000)

    per_minute = Counter(int(at // 60) for _, at in crowd.served)
    assert sorted(per_minute.values()) == [100] * 20
    assert crowd.ticks <= 40


def test_ten_thousand_arrivals_at_a_queue_of_a_thousand() -> None:
    """
    A thousand wait; the other nine thousand are refused at once with `QueueFull`, which says when to come back.
    """
    crowd = Crowd(limits=["1/second burst 1"], queue_size=1_000, max_wait=3_600.0)
    crowd.gov.call("s", str)

    for number in range(10_000):
        crowd.wait(str(number))

    assert len(crowd.refused) == 9_000
    assert crowd.gov.status()["s"]["waiting"]["medium"] == 1_000
    with pytest.raises(QueueFull) as caught:
        crowd.gov.call("s", str)
    assert caught.value.retry_after == pytest.approx(1_001)


def test_a_higher_priority_goes_first_and_a_priority_in_its_order() -> None:
    """
    Served are the critical ones, then high, medium, low; among equals by deadline, then by arrival.
    """
    crowd = Crowd(limits=["1/second burst 1"], max_wait=3_600.0, age_after=3_600.0)
    crowd.gov.call("s", str)
    for priority in Priority:
        crowd.wait(f"{priority.name} second", priority=priority)
        crowd.wait(f"{priority.name} third", priority=priority)
        crowd.wait(f"{priority.name} first", priority=priority, within=60.0)

    crowd.clock.advance(60)

    levels = ["CRITICAL", "HIGH", "MEDIUM", "LOW"]
    assert crowd.order == [f"{level} {place}" for level in levels for place in ("first", "second", "third")]


def test_a_low_call_is_served_within_its_bound_under_a_critical_load() -> None:
    """
    With a critical call for every turn, a low call is critical itself after three times *age_after*, and goes next.
    """
    crowd = Crowd(limits=["1/second burst 1"], max_wait=600.0, age_after=10.0)
    crowd.wait("at once")
    crowd.wait("low", priority=Priority.LOW, within=600.0)
    for number in range(60):
        crowd.wait(f"critical {number}", priority=Priority.CRITICAL, within=600.0)
        crowd.clock.advance(1)

    at = dict(crowd.served)["low"]
    assert 29 <= at <= 32


def test_without_ageing_in_time_nobody_passes() -> None:
    """
    Before its three steps are over the low call waits: the load above it is served in its order.
    """
    crowd = Crowd(limits=["1/second burst 1"], max_wait=600.0, age_after=10.0)
    crowd.wait("at once")
    crowd.wait("low", priority=Priority.LOW, within=600.0)
    for number in range(28):
        crowd.wait(f"critical {number}", priority=Priority.CRITICAL, within=600.0)
        crowd.clock.advance(1)

    assert "low" not in crowd.order
    assert len(crowd.served) == 29


def test_a_big_cost_is_not_starved_by_small_ones() -> None:
    """
    A call of the whole burst waits until it has gathered it, though small calls behind it would fit all the time.
    """
    crowd = Crowd(limits=["100 tokens/second burst 100"], max_wait=600.0)
    crowd.wait("first", cost=100)
    crowd.wait("big", cost=100)
    for number in range(50):
        crowd.wait(f"small {number}", cost=1)
        crowd.clock.advance(0.1)

    assert crowd.order[:3] == ["first", "big", "small 0"]
    assert dict(crowd.served)["big"] == pytest.approx(1.0)


@pytest.mark.parametrize("reading", ["", " burst 100000", " fixed"])
@pytest.mark.parametrize("every", [0.3, 0.31, 0.4])
def test_a_big_call_stops_small_ones_for_no_longer_than_its_share(reading: str, every: float) -> None:
    """
    One of 100,000 tokens among those of 1,000 each, which use up to all of 200,000 a minute: it goes after the half
    minute in which as much comes back, and a window's last 64th, and the others stand still for no longer.
    """
    crowd = Crowd(limits=[f"200_000 tokens/minute{reading}"], max_wait=600.0)
    for number in range(round(90 / every)):
        crowd.wait(f"before {number}", cost=1000)
        crowd.clock.advance(every)
    came = (crowd.clock.now() - crowd.start) / MICRO
    crowd.wait("big", cost=100_000)
    for number in range(round(90 / every)):
        crowd.wait(f"after {number}", cost=1000)
        crowd.clock.advance(every)
    crowd.clock.advance(600)

    share = 30 + 60 / 64
    turn = crowd.order.index("big")
    went = [at for _, at in crowd.served]
    assert came <= went[turn] <= came + share + every
    assert went[turn + 1] - went[turn - 1] <= share + 2 * every
    assert len(went) == 2 * round(90 / every) + 1


def test_small_calls_with_less_time_pass_a_big_one_only_until_it_has_aged() -> None:
    """
    Who has less time goes first, for as long as it takes a call to rise by a level: a quarter of `max_wait`.
    """
    crowd = Crowd(limits=["200_000 tokens/minute"], max_wait=60.0)
    for number in range(600):
        if number == 300:
            crowd.wait("big", cost=100_000, within=60)
        crowd.wait(f"small {number}", cost=1000, within=10)
        crowd.clock.advance(0.3)
    turn = crowd.order.index("big")

    assert 90 + 15 < crowd.served[turn][1] <= 90 + 15 + 30 + 60 / 64
    assert 104 <= crowd.served[turn - 1][1] <= 105


def test_a_newcomer_does_not_pass_those_that_wait() -> None:
    """
    A call that comes at the moment in which a turn is due goes behind those that wait for it.
    """
    crowd = Crowd(limits=["1/second burst 1"], max_wait=60.0)
    crowd.wait("at once")
    crowd.wait("waited")
    crowd.clock._run_to = lambda until: setattr(crowd.clock, "_now", until)  # type: ignore[method-assign]
    crowd.clock.advance(1)
    del crowd.clock._run_to

    crowd.wait("newcomer")
    crowd.clock.advance(5)

    assert crowd.order == ["at once", "waited", "newcomer"]


def test_a_user_who_is_held_back_holds_nobody_else_back() -> None:
    """
    Waiters of one user's own limit stand in a line of their own.
    """
    gov = Governor(
        {"s": {"rules": [{"match": {"user": "*"}, "limits": ["1/minute burst 1"]}], "max_wait": 3_600.0}},
        clock=FakeClock(),
    )

    async def main() -> list[str]:
        order: list[str] = []

        async def call(user: str) -> None:
            await gov.acall("s", asyncio.sleep, 0, scope={"user": user})
            order.append(user)

        await asyncio.gather(*(call(user) for user in ("ann", "ann", "bob", "cid", "bob")))
        return order

    assert asyncio.run(main()) == ["ann", "bob", "cid", "ann", "bob"]


def test_those_whose_time_is_over_are_refused_in_time() -> None:
    """
    Waiters with deadlines of one to nine seconds behind a place that is never free leave one a second.
    """
    crowd = Crowd(max_concurrency=1, max_wait=60.0)
    crowd.wait("holder")
    for seconds in range(1, 10):
        crowd.wait(str(seconds), within=seconds)

    left = []
    for _ in range(9):
        crowd.clock.advance(1)
        left.append(list(crowd.refused))

    assert left == [[str(second) for second in range(1, end)] for end in range(2, 11)]


def test_pause_and_lift_reach_those_that_wait() -> None:
    """
    A pause refuses all who wait; lifting a Retry-After serves all whom it held back.
    """
    crowd = Crowd(max_wait=60.0, retry={"attempts": 1})

    class Busy:
        status_code = 429
        headers: ClassVar = {"Retry-After": "30"}

    gov = crowd.gov
    gov.call("s", Busy)
    crowd.wait("one")
    crowd.wait("two")
    assert crowd.order == []
    gov.lift_ban("s")

    assert crowd.order == ["one", "two"]
    assert gov.status()["s"]["retry_after_s"] == 0


@pytest.mark.parametrize(
    ("policy", "deadline", "attempts"),
    [
        ({"max_wait": 60.0}, None, 1),
        ({"max_wait": 89.9}, None, 1),
        ({"max_wait": 90.0}, None, 2),
        ({"max_wait": 60.0, "retry": {"attempts": 2, "cap": 90.0}}, None, 2),
        ({"max_wait": 60.0}, 3_600.0, 2),
        ({"max_wait": 600.0}, 60.0, 1),
    ],
)
def test_who_has_not_said_so_sleeps_no_longer_than_a_call_waits(
    policy: dict[str, Any], deadline: float | None, attempts: int
) -> None:
    """
    A server asks for a minute and a half: there is another attempt if the deadline, or else ``max_wait`` or ``cap``,
    has room for that; whoever comes next is told how long.
    """

    class Busy:
        status_code = 429
        headers: ClassVar = {"Retry-After": "90"}

    made: list[Busy] = []

    def busy() -> Busy:
        made.append(Busy())
        return made[-1]

    clock = FakeClock()
    gov = Governor({"s": {"retry": {"attempts": 2}, **policy}}, clock=clock, dice=lambda: 0.0)
    began = clock.now()

    assert gov.call("s", busy, deadline=deadline) is made[-1]
    assert (len(made), (clock.now() - began) // MICRO) == (attempts, 90 * (attempts - 1))
    with pytest.raises(WaitTooLong) as refusal:
        gov.call("s", busy, deadline=1.0)
    assert (refusal.value.retry_after or 0.0) >= 89.9
